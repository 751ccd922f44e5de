//! Commands as a host puts them into a slot: the register FIS of a host (SATA 3.2, 10.5.5), a
//! packet, and memory.

use crate::qos::block::Piece;

/// A command, and its memory.
#[derive(Debug, Clone, Copy, Default)]
pub struct Command<'a> {
    /// The command.
    pub command: u8,
    /// Its features; of queued commands, how many sectors.
    pub features: u16,
    /// The first sector.
    pub first: u64,
    /// How many sectors; of queued commands, their tag.
    pub count: u16,
    /// Whether the sector has 28 bits, of which the upper four are with the device.
    pub is_short: bool,
    /// Whether memory is read by the device.
    pub writes: bool,
    /// Its packet, if it has one.
    pub packet: Option<&'a [u8]>,
    /// Its memory.
    pub memory: &'a [Piece],
}

impl<'a> Command<'a> {
    /// A command without anything else.
    pub fn new(command: u8) -> Self {
        Self { command, ..Self::default() }
    }

    /// With sectors of 48 bits.
    pub fn long(command: u8, first: u64, count: u16) -> Self {
        Self { command, first, count, ..Self::default() }
    }

    /// With sectors of 28 bits.
    pub fn short(command: u8, first: u64, count: u16) -> Self {
        Self { is_short: true, ..Self::long(command, first, count) }
    }

    /// A queued command.
    pub fn queued(command: u8, tag: usize, first: u64, count: u16) -> Self {
        Self { command, first, features: count, count: (tag as u16) << 3, ..Self::default() }
    }

    /// A packet command, by DMA or else by PIO with at most `limit` bytes at a time.
    pub fn packet(packet: &'a [u8], is_dma: bool, limit: u16) -> Self {
        Self {
            command: crate::qos::ide::command::PACKET,
            features: is_dma.into(),
            first: u64::from(limit) << 8,
            packet: Some(packet),
            ..Self::default()
        }
    }

    /// Returns this command with `features` in the Features register.
    pub fn features(self, features: u16) -> Self {
        Self { features, ..self }
    }

    /// Returns this command with memory that the device fills.
    pub fn into(self, memory: &'a [Piece]) -> Self {
        Self { memory, writes: false, ..self }
    }

    /// Returns this command with memory that the device reads.
    pub fn from(self, memory: &'a [Piece]) -> Self {
        Self { memory, writes: true, ..self }
    }

    /// How long its memory is in bytes.
    pub fn length(&self) -> usize {
        self.memory.iter().map(|piece| piece.length).sum()
    }

    /// The FIS that the device gets.
    pub fn fis(&self) -> [u8; 20] {
        let [a, b, c, d, e, f, ..] = self.first.to_le_bytes();
        let ([f0, f1], [n0, n1]) = (self.features.to_le_bytes(), self.count.to_le_bytes());
        let (device, d) = if self.is_short { (0x40 | d & 0xf, 0) } else { (0x40, d) };
        // A register FIS whose command is new.
        [0x27, 0x80, self.command, f0, a, b, c, device, d, e, f, f1, n0, n1, 0, 0, 0, 0, 0, 0]
    }
}
