//! A piece of guest memory that a test or driver owns.

use std::rc::Rc;

use vm_memory::GuestAddress;

use super::Ram;
use crate::{Error, Result};

/// Bytes before and after a buffer that nobody may write.
const GUARD: u64 = 16;
/// What stands there.
pub(crate) const GUARD_PATTERN: [u8; GUARD as usize] = *b"qgraph-guard\xa5\x5a\xc3\x3c";

/// Guest memory between guards, freed when dropped. Guards that were written by then are
/// a finding against the test, see [`Ram::findings`].
pub struct Buffer {
    ram: Rc<Ram>,
    /// The first byte of the buffer, after the guard.
    address: u64,
    length: usize,
}

macro_rules! typed {
    ($($ty:ty: $read_le:ident $write_le:ident $read_be:ident $write_be:ident)*) => {$(
        #[doc = concat!("Reads a little-endian `", stringify!($ty), "` at `offset`.")]
        pub fn $read_le(&self, offset: usize) -> Result<$ty> {
            let mut bytes = [0; size_of::<$ty>()];
            self.read(offset, &mut bytes)?;
            Ok(<$ty>::from_le_bytes(bytes))
        }

        #[doc = concat!("Writes a little-endian `", stringify!($ty), "` at `offset`.")]
        pub fn $write_le(&self, offset: usize, value: $ty) -> Result<()> {
            self.write(offset, &value.to_le_bytes())
        }

        #[doc = concat!("Reads a big-endian `", stringify!($ty), "` at `offset`.")]
        pub fn $read_be(&self, offset: usize) -> Result<$ty> {
            self.$read_le(offset).map(<$ty>::swap_bytes)
        }

        #[doc = concat!("Writes a big-endian `", stringify!($ty), "` at `offset`.")]
        pub fn $write_be(&self, offset: usize, value: $ty) -> Result<()> {
            self.$write_le(offset, value.swap_bytes())
        }
    )*};
}

impl Buffer {
    pub(super) fn new(ram: Rc<Ram>, length: usize, align: u64) -> Result<Self> {
        if !align.is_power_of_two() {
            return Err(Error::failed(format!(
                "guest memory cannot be aligned to {align}, which is no power of two"
            )));
        }
        let whole = (length as u64).checked_add(2 * GUARD);
        let mut heap = ram.heap.borrow_mut();
        let taken = whole.and_then(|whole| heap.take_after(GUARD, whole, align.max(GUARD)));
        drop(heap);
        let taken = taken.ok_or_else(|| {
            Error::failed(format!(
                "no {length} bytes of guest memory, aligned to {align}, are left"
            ))
        })?;
        let buffer = Self { ram, address: taken + GUARD, length };
        buffer.ram.write(GuestAddress(taken), &GUARD_PATTERN)?;
        buffer.ram.write(buffer.address(), &vec![0; length])?;
        buffer.ram.write(GuestAddress(buffer.address + length as u64), &GUARD_PATTERN)?;
        Ok(buffer)
    }

    /// Address and length of the buffer in what the heap gave.
    pub(super) fn inside(taken: u64, whole: u64) -> (u64, u64) {
        (taken + GUARD, whole - 2 * GUARD)
    }

    /// The guest-physical address of the first byte.
    pub fn address(&self) -> GuestAddress {
        GuestAddress(self.address)
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    fn at(&self, offset: usize, length: usize) -> Result<GuestAddress> {
        if offset.checked_add(length).is_none_or(|end| end > self.length) {
            return Err(Error::failed(format!(
                "{length} bytes at offset {offset} are not in a buffer of {} bytes",
                self.length
            )));
        }
        Ok(GuestAddress(self.address + offset as u64))
    }

    /// Reads from `offset` on.
    ///
    /// # Errors
    /// The range is not in the buffer, or QEMU does not answer.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<()> {
        self.ram.read(self.at(offset, into.len())?, into)
    }

    /// Writes from `offset` on.
    ///
    /// # Errors
    /// As for [`Buffer::read`].
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<()> {
        self.ram.write(self.at(offset, from.len())?, from)
    }

    /// The whole content.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.length];
        self.read(0, &mut bytes)?;
        Ok(bytes)
    }

    typed! {
        u16: read_le16 write_le16 read_be16 write_be16
        u32: read_le32 write_le32 read_be32 write_be32
        u64: read_le64 write_le64 read_be64 write_be64
    }

    fn check_guards(&self) -> Result<()> {
        let end = self.address + self.length as u64;
        for (side, address) in [("before", self.address - GUARD), ("after", end)] {
            let mut guard = GUARD_PATTERN;
            self.ram.read(GuestAddress(address), &mut guard)?;
            if guard != GUARD_PATTERN {
                return Err(Error::failed(format!(
                    "the buffer of {} bytes at {:#x}: the {GUARD} bytes {side} it were written: \
                     {guard:02x?}",
                    self.length, self.address
                )));
            }
        }
        Ok(())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // A QEMU that no longer answers has its own error, which says more.
        if let Err(Error::Failed(fault)) = self.check_guards() {
            self.ram.faults.borrow_mut().push(fault);
        }
        self.ram.heap.borrow_mut().give(self.address - GUARD);
    }
}
