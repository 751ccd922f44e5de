//! The split ring (2.7), raw: whatever a test wants is written to it, and nothing is kept
//! but where it is.

use super::transport::RingAddresses;
use super::{DESC_F_NEXT, Ordered, Segment};
use crate::Result;
use crate::protocol::Endian;
use crate::qemu::{Buffer, Ram};
use std::rc::Rc;

/// The size of a descriptor in bytes.
pub const DESCRIPTOR: usize = 16;
/// Available ring flag (2.7.6): no used buffer notification is wanted.
pub const AVAIL_F_NO_INTERRUPT: u16 = 1;
/// Used ring flag (2.7.8): no available buffer notification is wanted.
pub const USED_F_NO_NOTIFY: u16 = 1;
/// The page to which a legacy used ring is aligned, and with it the queue (2.7.2).
const LEGACY_ALIGN: usize = 4096;

/// A descriptor table, an available ring and a used ring.
pub struct SplitRing {
    memory: Buffer,
    size: u16,
    /// Where the used ring begins.
    used: usize,
    order: Endian,
}

/// Writes a descriptor into a table: that of a ring, or an indirect one.
fn write_descriptor(
    table: &Buffer,
    order: Endian,
    index: u16,
    segment: Segment,
    flags: u16,
    next: u16,
) -> Result<()> {
    let at = DESCRIPTOR * usize::from(index);
    table.put64(order, at, segment.address)?;
    table.put32(order, at + 8, segment.length)?;
    table.put16(order, at + 12, segment.flags() | flags)?;
    table.put16(order, at + 14, next)
}

/// An indirect table (2.7.5.3) of these segments, chained.
///
/// # Errors
/// No memory is left, or QEMU does not answer.
pub fn indirect_table(ram: &Rc<Ram>, order: Endian, segments: &[Segment]) -> Result<Buffer> {
    let table = ram.alloc(DESCRIPTOR * segments.len(), 16)?;
    for (index, &segment) in (0..).zip(segments) {
        let more = usize::from(index) + 1 < segments.len();
        let (flags, next) = if more { (DESC_F_NEXT, index + 1) } else { (0, 0) };
        write_descriptor(&table, order, index, segment, flags, next)?;
    }
    Ok(table)
}

impl SplitRing {
    /// A ring of `size` descriptors, a power of two, all zeroes.
    ///
    /// # Errors
    /// No memory is left.
    pub fn new(ram: &Rc<Ram>, size: u16, order: Endian, legacy: bool) -> Result<Self> {
        Self::with_room(ram, size, order, legacy, 0)
    }

    /// Allocates a ring with `room` further bytes of memory behind it.
    ///
    /// # Errors
    /// No memory is left.
    pub fn with_room(
        ram: &Rc<Ram>,
        size: u16,
        order: Endian,
        legacy: bool,
        room: usize,
    ) -> Result<Self> {
        let count = usize::from(size);
        let align = if legacy { LEGACY_ALIGN } else { 16 };
        let used = (DESCRIPTOR * count + 6 + 2 * count).next_multiple_of(align);
        let memory = ram.alloc(used + 6 + 8 * count + room, align as u64)?;
        Ok(Self { memory, size, used, order })
    }

    /// Where the device finds it.
    pub fn addresses(&self) -> RingAddresses {
        let at = self.memory.address().0;
        let available = at + (DESCRIPTOR * usize::from(self.size)) as u64;
        RingAddresses { descriptors: at, driver: available, device: at + self.used as u64 }
    }

    /// The number of descriptors.
    pub fn size(&self) -> u16 {
        self.size
    }

    fn available(&self) -> usize {
        DESCRIPTOR * usize::from(self.size)
    }

    fn slot(&self, index: u16) -> usize {
        usize::from(index % self.size)
    }

    /// Writes a descriptor; its direction comes from the segment, `flags` are further ones.
    ///
    /// # Errors
    /// There is none of this index, or QEMU does not answer.
    pub fn set_descriptor(&self, index: u16, of: Segment, flags: u16, next: u16) -> Result<()> {
        write_descriptor(&self.memory, self.order, index, of, flags, next)
    }

    /// Writes an entry of the available ring: the head of a chain.
    ///
    /// # Errors
    /// QEMU does not answer; so for all of the following.
    pub fn set_available(&self, index: u16, head: u16) -> Result<()> {
        self.memory.put16(self.order, self.available() + 4 + 2 * self.slot(index), head)
    }

    /// Writes the available ring's index.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn set_available_index(&self, index: u16) -> Result<()> {
        self.memory.put16(self.order, self.available() + 2, index)
    }

    /// Writes the available ring's flags.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn set_available_flags(&self, flags: u16) -> Result<()> {
        self.memory.put16(self.order, self.available(), flags)
    }

    /// Writes `used_event` (2.7.7).
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn set_used_event(&self, index: u16) -> Result<()> {
        let at = self.available() + 4 + 2 * usize::from(self.size);
        self.memory.put16(self.order, at, index)
    }

    /// The used ring's flags.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn used_flags(&self) -> Result<u16> {
        self.memory.get16(self.order, self.used)
    }

    /// The used ring's index.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn used_index(&self) -> Result<u16> {
        self.memory.get16(self.order, self.used + 2)
    }

    /// An entry of the used ring: the head of the chain, and how many bytes were written.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn used(&self, index: u16) -> Result<(u32, u32)> {
        let at = self.used + 4 + 8 * self.slot(index);
        Ok((self.memory.get32(self.order, at)?, self.memory.get32(self.order, at + 4)?))
    }

    /// `avail_event` (2.7.10).
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn available_event(&self) -> Result<u16> {
        self.memory.get16(self.order, self.used + 4 + 8 * usize::from(self.size))
    }
}
