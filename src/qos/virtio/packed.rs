//! The packed ring (2.8), raw: whatever a test wants is written to it, and nothing is kept
//! but where it is. It is little-endian: legacy devices have none.

use std::rc::Rc;

use super::Segment;
use super::split::DESCRIPTOR;
use super::transport::RingAddresses;
use crate::Result;
use crate::qemu::{Buffer, Ram};

/// Descriptor flag (2.8.1): equals the driver's wrap counter where the descriptor is
/// available.
pub const DESC_F_AVAIL: u16 = 1 << 7;
/// Descriptor flag: equals the other one where the descriptor is used.
pub const DESC_F_USED: u16 = 1 << 15;

/// Event suppression flags (2.8.10): notify always.
pub const EVENT_ENABLE: u16 = 0;
/// Event suppression flags: never notify.
pub const EVENT_DISABLE: u16 = 1;
/// Event suppression flags: notify when the descriptor at an offset is reached.
pub const EVENT_DESC: u16 = 2;

/// A descriptor ring and the two event suppression structures.
pub struct PackedRing {
    memory: Buffer,
    size: u16,
}

/// Writes a descriptor, the flags last, since they make it available.
fn write_descriptor(table: &Buffer, index: u16, of: Segment, id: u16, flags: u16) -> Result<()> {
    let at = DESCRIPTOR * usize::from(index);
    table.write_le64(at, of.address)?;
    table.write_le32(at + 8, of.length)?;
    table.write_le16(at + 12, id)?;
    table.write_le16(at + 14, of.flags() | flags)
}

/// An indirect table (2.8.7) of these segments. They are not chained: its length says how
/// many they are.
///
/// # Errors
/// No memory is left, or QEMU does not answer.
pub fn indirect_table(ram: &Rc<Ram>, segments: &[Segment]) -> Result<Buffer> {
    let table = ram.alloc(DESCRIPTOR * segments.len(), 16)?;
    for (index, &segment) in (0..).zip(segments) {
        write_descriptor(&table, index, segment, 0, 0)?;
    }
    Ok(table)
}

impl PackedRing {
    /// A ring of `size` descriptors, all zeroes.
    ///
    /// # Errors
    /// No memory is left.
    pub fn new(ram: &Rc<Ram>, size: u16) -> Result<Self> {
        Self::with_room(ram, size, 0)
    }

    /// Allocates a ring with `room` further bytes of memory behind it.
    ///
    /// # Errors
    /// No memory is left.
    pub fn with_room(ram: &Rc<Ram>, size: u16, room: usize) -> Result<Self> {
        Ok(Self { memory: ram.alloc(DESCRIPTOR * usize::from(size) + 8 + room, 16)?, size })
    }

    fn driver(&self) -> usize {
        DESCRIPTOR * usize::from(self.size)
    }

    /// Where the device finds it.
    pub fn addresses(&self) -> RingAddresses {
        let at = self.memory.address().0;
        let driver = at + self.driver() as u64;
        RingAddresses { descriptors: at, driver, device: driver + 4 }
    }

    /// The number of descriptors.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Writes a descriptor, the flags last, since they make it available. Its direction
    /// comes from the segment, `flags` are further ones.
    ///
    /// # Errors
    /// There is none of this index, or QEMU does not answer.
    pub fn set_descriptor(&self, index: u16, of: Segment, id: u16, flags: u16) -> Result<()> {
        write_descriptor(&self.memory, index, of, id, flags)
    }

    /// Reads the flags of a descriptor, which tell whether the rest is there.
    ///
    /// # Errors
    /// As for [`PackedRing::set_descriptor`].
    pub fn flags(&self, index: u16) -> Result<u16> {
        self.memory.read_le16(DESCRIPTOR * usize::from(index) + 14)
    }

    /// Reads the rest of a used descriptor: the buffer's ID, and how many bytes were written.
    ///
    /// # Errors
    /// As for [`PackedRing::set_descriptor`].
    pub fn used(&self, index: u16) -> Result<(u16, u32)> {
        let at = DESCRIPTOR * usize::from(index);
        Ok((self.memory.read_le16(at + 12)?, self.memory.read_le32(at + 8)?))
    }

    /// Says when the driver wants to be notified: an offset with its wrap counter in bit
    /// 15, and one of the event suppression flags.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn set_driver_event(&self, offset_wrap: u16, flags: u16) -> Result<()> {
        self.memory.write_le16(self.driver(), offset_wrap)?;
        self.memory.write_le16(self.driver() + 2, flags)
    }

    /// Whether the device wants to be notified: an event suppression flag.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn device_event_flags(&self) -> Result<u16> {
        self.memory.read_le16(self.driver() + 6)
    }

    /// The offset at which it wants to be. It means something only where the flags ask for one.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn device_event_offset(&self) -> Result<u16> {
        self.memory.read_le16(self.driver() + 4)
    }
}
