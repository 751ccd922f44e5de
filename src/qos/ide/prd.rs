//! Tables of memory of the bus master (SFF-8038i 1.0, 1.2): physical region descriptors.

use crate::qemu::{Buffer, Vm};
use crate::qos::block::Piece;
use crate::{Error, Result};

/// No region crosses an address that is a multiple of this.
const BOUNDARY: u64 = 0x1_0000;

/// A table in memory.
pub struct Table {
    buffer: Buffer,
}

impl Table {
    /// A table of these pieces, cut where a region must not go on.
    ///
    /// # Errors
    /// Returns an error if there is none, or no guest memory is left; [`Error::Skipped`] if memory
    /// is above 4 GiB.
    pub fn of(vm: &Vm, pieces: &[Piece]) -> Result<Self> {
        let mut regions = Vec::new();
        for piece in pieces {
            let (mut address, mut left) = (piece.address, piece.length as u64);
            while left > 0 {
                let length = left.min(BOUNDARY - address % BOUNDARY);
                regions.push((address, length as usize));
                (address, left) = (address + length, left - length);
            }
        }
        Self::of_regions(vm, &regions)
    }

    /// A table of these regions, as they are.
    ///
    /// # Errors
    /// As for [`Table::of`].
    pub fn of_regions(vm: &Vm, regions: &[(u64, usize)]) -> Result<Self> {
        if regions.is_empty() {
            return Err(Error::failed("a table of no region"));
        }
        // It must not cross a boundary either.
        let buffer = vm.ram().alloc(8 * regions.len(), 0x1000)?;
        for (at, (address, length)) in regions.iter().enumerate() {
            let address = u32::try_from(*address)
                .map_err(|_| Error::skipped("the bus master does not reach above 4 GiB"))?;
            let last = if at + 1 == regions.len() { 1 << 31 } else { 0 };
            buffer.write_le32(8 * at, address)?;
            // 0 stands for 64 KiB.
            buffer.write_le32(8 * at + 4, (*length as u32 & 0xffff) | last)?;
        }
        Ok(Self { buffer })
    }

    /// Its address.
    ///
    /// # Errors
    /// Returns [`Error::Skipped`] if it is above 4 GiB.
    pub fn address(&self) -> Result<u32> {
        u32::try_from(self.buffer.address().0)
            .map_err(|_| Error::skipped("the bus master does not reach above 4 GiB"))
    }
}
