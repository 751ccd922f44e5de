//! What the units of Intel's fast Ethernet controllers 8255x work on: command blocks and
//! receive frame descriptors (8255x Open Source Software Developer Manual, 6.4). The device
//! is `i8255x`'s.

use std::cell::Cell;

use crate::qemu::{Buffer, Vm};
use crate::{Error, Result};

/// Block: the last of the list. In a command block, a command; so for the next three.
pub const EL: u16 = 1 << 15;
/// Block: suspend the unit after it.
pub const S: u16 = 1 << 14;
/// Command block: interrupt when it is done.
pub const I: u16 = 1 << 13;
/// Transmit command: flexible mode.
pub const SF: u16 = 1 << 3;
/// Command: individual address setup.
pub const IA_SETUP: u16 = 1;
/// Command: configure.
pub const CONFIGURE: u16 = 2;
/// Command: multicast setup.
pub const MULTICAST_SETUP: u16 = 3;
/// Command: transmit.
pub const TRANSMIT: u16 = 4;
/// Command: diagnose.
pub const DIAGNOSE: u16 = 7;
/// Command: none.
pub const NO_OPERATION: u16 = 0;
/// Status of a block: complete.
pub const C: u16 = 1 << 15;
/// Status of a block: without error.
pub const OK: u16 = 1 << 13;
/// Status of a block that is complete without error.
pub const DONE: u16 = C | OK;

/// The base of both units' addresses, not zero so that it shows when it is left out, and so high
/// that offsets from it need all 32 bits.
pub const BASE: u32 = 0x8001_0000;
/// The bytes of a receive frame descriptor (6.4.3.1.2), before the frame.
const HEADER: usize = 16;

/// What the units work on: command blocks and receive frame descriptors (chapter 6). Both
/// begin with status, command and the offset of the next.
pub struct Block {
    memory: Buffer,
    /// Command and flags.
    command: Cell<u16>,
    /// The buffer descriptors of a transmit command in flexible mode.
    _array: Option<Buffer>,
}

impl Block {
    /// A block that is the last, with these bytes behind the link.
    ///
    /// # Errors
    /// No guest memory is left; so for all of these.
    pub fn new(vm: &Vm, command: u16, body: &[u8]) -> Result<Self> {
        let memory = vm.ram().alloc(8 + body.len(), 16)?;
        let block = Self { memory, command: Cell::default(), _array: None };
        block.memory.write(8, body)?;
        block.set_command(command | EL)?;
        Ok(block)
    }

    /// A command to send `frame`, which follows it: simplified mode.
    ///
    /// # Errors
    /// As for [`Block::new`].
    pub fn transmit(vm: &Vm, frame: &[u8]) -> Result<Self> {
        Self::transmit_with(vm, TRANSMIT, !0, frame.len() as u16, 0, frame)
    }

    /// A command to send what is in `pieces`, one after the other: flexible mode. Their
    /// descriptors are in an array; the first two of an `extended` block in the block itself.
    ///
    /// # Errors
    /// As for [`Block::new`].
    pub fn transmit_flexible(vm: &Vm, pieces: &[Buffer], extended: bool) -> Result<Self> {
        let (inside, outside) = pieces.split_at(if extended { 2 } else { 0 });
        let descriptors = |pieces: &[Buffer]| -> Vec<u8> {
            let words = pieces.iter().map(|piece| piece.address().0 | (piece.len() as u64) << 32);
            words.flat_map(u64::to_le_bytes).collect()
        };
        let array = vm.ram().alloc(outside.len() * 8, 16)?;
        array.write(0, &descriptors(outside))?;
        let (at, count) = (array.address().0 as u32, pieces.len() as u8);
        let block = Self::transmit_with(vm, TRANSMIT | SF, at, 0, count, &descriptors(inside))?;
        Ok(Self { _array: Some(array), ..block })
    }

    /// As [`Block::transmit_flexible`] with all descriptors outside, the last of which says so by
    /// its bit EL; the block counts one more, which is there as well.
    ///
    /// # Errors
    /// As for [`Block::new`].
    pub fn transmit_ended(vm: &Vm, pieces: &[Buffer]) -> Result<Self> {
        let words = pieces.iter().map(|piece| piece.address().0 | (piece.len() as u64) << 32);
        let mut words: Vec<u64> = words.collect();
        let stray = words[0];
        if let Some(last) = words.last_mut() {
            *last |= 1 << 48;
        }
        words.push(stray);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let array = vm.ram().alloc(bytes.len(), 16)?;
        array.write(0, &bytes)?;
        let (at, count) = (array.address().0 as u32, words.len() as u8);
        let block = Self::transmit_with(vm, TRANSMIT | SF, at, 0, count, &[])?;
        Ok(Self { _array: Some(array), ..block })
    }

    fn transmit_with(
        vm: &Vm,
        command: u16,
        array: u32,
        bytes: u16,
        count: u8,
        behind: &[u8],
    ) -> Result<Self> {
        // The array's address; byte count with EOF; threshold; number of descriptors.
        let [low, high] = (bytes | if bytes > 0 { 1 << 15 } else { 0 }).to_le_bytes();
        let body = [&array.to_le_bytes()[..], &[low, high, 1, count], behind].concat();
        Self::new(vm, command, &body)
    }

    /// A receive frame descriptor for up to `size` bytes, which follow it.
    ///
    /// # Errors
    /// As for [`Block::new`].
    pub fn receive(vm: &Vm, size: u16) -> Result<Self> {
        let mut body = vec![0; 8 + usize::from(size)];
        body[6..8].copy_from_slice(&size.to_le_bytes());
        Self::new(vm, 0, &body)
    }

    /// Its offset from [`BASE`].
    pub fn offset(&self) -> u32 {
        (self.memory.address().0 as u32).wrapping_sub(BASE)
    }

    /// Has `next` follow it, instead of being the last.
    pub fn link(&self, next: &Self) -> Result<()> {
        self.memory.write_le32(4, next.offset())?;
        self.set_command(self.command.get() & !EL)
    }

    /// Sets command and flags.
    pub fn set_command(&self, command: u16) -> Result<()> {
        self.command.set(command);
        self.memory.write_le16(2, command)
    }

    /// Its status.
    pub fn status(&self) -> Result<u16> {
        self.memory.read_le16(0)
    }

    /// Whether it is complete, and then with the status `expected`: the device writes it as
    /// a whole.
    ///
    /// # Errors
    /// It has another status.
    pub fn is_complete(&self, expected: u16) -> Result<bool> {
        match self.status()? {
            0 => Ok(false),
            status if status == expected => Ok(true),
            status => Err(Error::failed(format!(
                "status of a block: {status:#06x}, neither zero nor {expected:#06x}"
            ))),
        }
    }

    /// Clears its status.
    pub fn clear_status(&self) -> Result<()> {
        self.memory.write_le16(0, 0)
    }

    /// Clears status, count and data of a receive frame descriptor.
    pub fn recycle(&self) -> Result<()> {
        self.clear_status()?;
        self.memory.write_le16(12, 0)?;
        self.memory.write(HEADER, &vec![0; self.memory.len() - HEADER])
    }

    /// All that is in it.
    pub fn contents(&self) -> Result<Vec<u8>> {
        self.memory.to_vec()
    }

    /// The frame that a receive frame descriptor says it has.
    ///
    /// # Errors
    /// It says more than it has room for.
    pub fn received(&self) -> Result<Vec<u8>> {
        // Above the 14 bits of the count are EOF and F, which QEMU leaves alone.
        let count = self.memory.read_le16(12)? & 0x3fff;
        let mut frame = vec![0; count.into()];
        self.memory.read(HEADER, &mut frame)?;
        Ok(frame)
    }
}
