//! A guest that writes anything anywhere: accesses to registers at places and with values that a
//! seed chooses, among them values that mean something to most devices. Nothing here knows a
//! device, or what comes of an access.
//!
//! Equal seeds, blocks and values give equal accesses.

use fastrand::Rng;

use crate::Result;
use crate::qos::registers::{Access, Registers, Width};

/// The most accesses that are sent together.
const TOGETHER: usize = 64;
/// Up to which offset registers are accessed most.
const FRONT: u64 = 0x100;

/// A block of registers.
pub struct Block<'r> {
    /// The space that it is in.
    pub space: &'r dyn Registers,
    /// The address of its first byte in that space.
    pub base: u64,
    /// Its size in bytes.
    pub size: u64,
    /// The widest access that the space has.
    pub widest: Width,
}

/// Accesses that a seed chooses.
pub struct Fuzz {
    rng: Rng,
    /// Addresses that are written now and then, and those near them.
    addresses: Vec<u64>,
    /// Where the last access was, from the start of its block on.
    last: u64,
}

impl Fuzz {
    /// Accesses chosen by `seed`, of which some write one of these addresses.
    pub fn new(seed: u64, addresses: Vec<u64>) -> Self {
        Self { rng: Rng::with_seed(seed), addresses, last: 0 }
    }

    /// Makes `count` accesses to these blocks.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn run(&mut self, blocks: &[Block], count: usize) -> Result<()> {
        let mut left = count;
        while left > 0 {
            let Some(block) = self.rng.choice(blocks) else { return Ok(()) };
            let some = left.min(self.rng.usize(1..=TOGETHER));
            let accesses: Vec<Access> = (0..some).map(|_| self.access(block)).collect();
            block.space.sequence(&accesses)?;
            left -= some;
        }
        Ok(())
    }

    fn access(&mut self, block: &Block) -> Access {
        let width = self.width(block);
        let bytes = width.bytes() as u64;
        let room = block.size - bytes;
        let offset = match self.rng.u8(0..8) {
            0..4 => self.rng.u64(..=room.min(FRONT - 1)),
            4 => self.last.saturating_add(bytes),
            5 => self.last,
            // As often in each power of two.
            _ => self.rng.u64(..=room) >> self.rng.u32(0..room.checked_ilog2().unwrap_or(0) + 1),
        };
        // Few registers are at odd places.
        let aligned = if self.rng.u8(..16) == 0 { offset } else { offset & !(bytes - 1) };
        self.last = aligned.min(room);
        let at = block.base + self.last;
        match self.rng.u8(0..8) {
            0 => Access::Read(at, width),
            _ => Access::Write(at, width, self.value() & width.ones()),
        }
    }

    fn width(&mut self, block: &Block) -> Width {
        let width = match self.rng.u8(0..16) {
            0..2 => Width::Byte,
            2..4 => Width::Word,
            4..14 => Width::Long,
            _ => Width::Quad,
        };
        let fits = |width: &Width| *width <= block.widest && width.bytes() as u64 <= block.size;
        if fits(&width) { width } else { Width::Byte }
    }

    /// A value that may mean something to a device: a bit, a size, an address, or any.
    pub fn value(&mut self) -> u64 {
        match self.rng.u8(0..16) {
            0 => 0,
            1 => u64::MAX,
            2..4 => 1 << self.rng.u32(0..32),
            4..6 => self.rng.u64(0..32),
            6 => (1u64 << self.rng.u32(0..20)).wrapping_sub(1),
            7..9 => self.rng.u64(..),
            9 => self.rng.u64(..=0xffff),
            10 => self.address() >> 12,
            11 => self.address() >> 32,
            _ => self.address(),
        }
    }

    /// One of the addresses, or one near it.
    fn address(&mut self) -> u64 {
        let near = match self.rng.u8(0..4) {
            0..2 => 0,
            2 => self.rng.u64(0..64) * 8,
            _ => self.rng.u64(0..0x1_0000),
        };
        let address = self.rng.choice(&self.addresses).copied().unwrap_or_default();
        address.wrapping_add(near)
    }

    /// `length` bytes that a device may take for descriptors: values, 32 or 64 bits each.
    pub fn bait(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            match self.rng.bool() {
                true => bytes.extend((self.value() as u32).to_le_bytes()),
                false => bytes.extend(self.value().to_le_bytes()),
            }
        }
        bytes.truncate(length);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// A space that keeps what is accessed.
    #[derive(Default)]
    struct Kept(RefCell<Vec<Access>>);

    impl Registers for Kept {
        fn read(&self, offset: u64, width: Width) -> Result<u64> {
            self.0.borrow_mut().push(Access::Read(offset, width));
            Ok(0)
        }

        fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
            self.0.borrow_mut().push(Access::Write(offset, width, value));
            Ok(())
        }
    }

    fn accesses(seed: u64, size: u64) -> Vec<Access> {
        let kept = Kept::default();
        let block = Block { space: &kept, base: 0x1000, size, widest: Width::Long };
        Fuzz::new(seed, vec![0x4000_0000]).run(&[block], 2000).unwrap();
        kept.0.into_inner()
    }

    /// Would catch accesses that another run does not make again, or that every seed makes.
    #[test]
    fn a_seed_gives_the_same_accesses_again() {
        assert_eq!(accesses(1, 0x1000), accesses(1, 0x1000));
        assert_ne!(accesses(1, 0x1000), accesses(2, 0x1000));
    }

    /// Would catch an access outside of the block, or wider than its space has, and a part of
    /// the block that is never accessed.
    #[test]
    fn accesses_stay_in_their_block() {
        for size in [1, 2, 3, 0x1000] {
            let all = accesses(3, size);
            assert_eq!(all.len(), 2000);
            let mut is_end_accessed = false;
            for access in all {
                let (at, width) = match access {
                    Access::Read(at, width) | Access::Write(at, width, _) => (at, width),
                };
                let end = at + width.bytes() as u64;
                assert!(at >= 0x1000 && end <= 0x1000 + size && width <= Width::Long, "{access:?}");
                is_end_accessed |= end > 0x1000 + size / 2;
            }
            assert!(is_end_accessed, "{size:#x}");
        }
    }
}
