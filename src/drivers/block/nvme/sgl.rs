//! Scatter gather lists of NVMe: descriptors, and the segments that hold them in guest memory
//! (NVM Express 1.4, 4.4).

use super::command::Command;
use crate::Result;
use crate::qemu::Buffer;

/// PSDT, bits 7:6 of [`Command::flags`]: the data are where an SGL says; metadata is contiguous.
pub const PSDT_SGL: u8 = 1 << 6;
/// PSDT: the reserved value.
pub const PSDT_RESERVED: u8 = 3 << 6;

/// The length of a descriptor in bytes.
pub const DESCRIPTOR_BYTES: usize = 16;

/// SGL descriptor types, with the subtype for addresses.
pub mod kind {
    /// SGL Data Block.
    pub const DATA_BLOCK: u8 = 0x00;
    /// SGL Bit Bucket.
    pub const BIT_BUCKET: u8 = 0x10;
    /// SGL Segment.
    pub const SEGMENT: u8 = 0x20;
    /// SGL Last Segment.
    pub const LAST_SEGMENT: u8 = 0x30;
}

/// An SGL descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// Where the data, or the descriptors of a segment, are.
    pub address: u64,
    /// Their length in bytes.
    pub length: u32,
    /// SGL Identifier: one of [`kind`], or what no controller knows.
    pub identifier: u8,
}

impl Descriptor {
    /// Data of `length` bytes at `address`.
    pub const fn data(address: u64, length: u32) -> Self {
        Self { address, length, identifier: kind::DATA_BLOCK }
    }

    /// A segment of `count` descriptors at `address`; no other follows on it, if it is the `last`.
    pub const fn segment(address: u64, count: usize, last: bool) -> Self {
        let identifier = if last { kind::LAST_SEGMENT } else { kind::SEGMENT };
        Self { address, length: (count * DESCRIPTOR_BYTES) as u32, identifier }
    }

    /// Its two halves, as they are in a command.
    pub fn halves(&self) -> (u64, u64) {
        (self.address, u64::from(self.length) | u64::from(self.identifier) << 56)
    }

    /// Its bytes.
    pub fn bytes(&self) -> [u8; DESCRIPTOR_BYTES] {
        let (low, high) = self.halves();
        (u128::from(low) | u128::from(high) << 64).to_le_bytes()
    }
}

/// Writes descriptors into `memory`, one behind another from `offset` on, and returns where.
///
/// # Errors
/// Returns an error if QEMU does not answer.
pub fn write(memory: &Buffer, offset: usize, descriptors: &[Descriptor]) -> Result<u64> {
    let bytes: Vec<u8> = descriptors.iter().flat_map(Descriptor::bytes).collect();
    memory.write(offset, &bytes)?;
    Ok(memory.address().0 + offset as u64)
}

impl Command {
    /// This command with its data where `descriptor` says.
    pub fn sgl(self, descriptor: Descriptor) -> Self {
        let (prp1, prp2) = descriptor.halves();
        Self { flags: PSDT_SGL, prp1, prp2, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::block::nvme::command::io;

    /// Would catch a field of a descriptor at another's place.
    #[test]
    fn fields_of_a_descriptor() {
        let segment = Descriptor::segment(0x0807_0605_0403_0201, 3, true);
        let expected = [1, 2, 3, 4, 5, 6, 7, 8, 48, 0, 0, 0, 0, 0, 0, 0x30];
        assert_eq!(segment.bytes(), expected);
        let command = Command::transfer(io::READ, 1, 0, 1).sgl(segment).bytes(0);
        assert_eq!((command[1], &command[24..40]), (PSDT_SGL, &expected[..]));
    }
}
