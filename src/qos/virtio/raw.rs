//! A queue whose driver follows no rule: every descriptor, head and index is what a test writes.
//! [`Queue`](super::Queue) is the driver that follows them.

use super::device::Virtio;
use super::packed::{self, PackedRing};
use super::split::SplitRing;
use super::transport::RingAddresses;
use super::{DESC_F_WRITE, Segment, features};
use crate::Result;
use crate::qemu::Buffer;

/// How many bytes behind the rings are theirs: as many as a queue of 1024 descriptors takes, of
/// which a driver may tell the device later.
const ROOM: usize = 32_768;

/// The ring, of either format.
enum Ring {
    Split(SplitRing),
    Packed(PackedRing),
}

/// A queue that is live, with a ring that was not used yet.
pub struct RawQueue {
    device: Virtio,
    index: u16,
    size: u16,
    ring: Ring,
}

impl RawQueue {
    /// Makes queue `index` of `device` live, of at most `limit` descriptors, with the features
    /// that were accepted.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new(device: &Virtio, index: u16, accepted: u64, limit: u16) -> Result<Self> {
        let transport = device.transport();
        let largest = device.max_queue_size(index)?;
        let size = if transport.can_size_queues() { largest.min(limit) } else { largest };
        let ram = device.vm().ram();
        let (ring, at) = if accepted & features::RING_PACKED != 0 {
            let ring = PackedRing::with_room(ram, size, ROOM)?;
            let at = ring.addresses();
            (Ring::Packed(ring), at)
        } else {
            let (order, legacy) = (transport.byte_order(), !transport.is_modern());
            let ring = SplitRing::with_room(ram, size, order, legacy, ROOM)?;
            let at = ring.addresses();
            (Ring::Split(ring), at)
        };
        transport.enable_queue(index, size, at)?;
        Ok(Self { device: device.clone(), index, size, ring })
    }

    /// The number of descriptors.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Whether the ring is packed.
    pub fn is_packed(&self) -> bool {
        matches!(self.ring, Ring::Packed(_))
    }

    /// Where its ring is.
    pub fn addresses(&self) -> RingAddresses {
        match &self.ring {
            Ring::Split(ring) => ring.addresses(),
            Ring::Packed(ring) => ring.addresses(),
        }
    }

    /// Writes descriptor `index` with these flags, [`DESC_F_WRITE`] among them, and `next`. In a
    /// packed ring that makes it available, and `next` is the buffer's ID.
    ///
    /// # Errors
    /// There is no such descriptor, or QEMU does not answer.
    pub fn describe(&self, index: u16, of: (u64, u32), flags: u16, next: u16) -> Result<()> {
        let (address, length) = of;
        let segment = Segment { address, length, writable: flags & DESC_F_WRITE != 0 };
        match &self.ring {
            Ring::Split(ring) => ring.set_descriptor(index, segment, flags, next),
            Ring::Packed(ring) => {
                ring.set_descriptor(index, segment, next, flags | packed::DESC_F_AVAIL)
            }
        }
    }

    /// Writes these heads, from the start of an available ring on, and its index. A packed ring
    /// has neither.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn publish(&self, heads: &[u16], index: u16) -> Result<()> {
        let Ring::Split(ring) = &self.ring else { return Ok(()) };
        for (at, &head) in (0..).zip(heads) {
            ring.set_available(at, head)?;
        }
        ring.set_available_index(index)
    }

    /// Makes the segments available as one buffer of descriptors from 0 on.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn offer(&self, segments: &[Segment]) -> Result<()> {
        // The first descriptor of a packed ring makes all available.
        for (number, segment) in segments.iter().enumerate().rev() {
            let (at, more) = (number as u16, number + 1 < segments.len());
            let next = if more { super::DESC_F_NEXT } else { 0 };
            let flags = segment.flags() | next;
            let next = if self.is_packed() { 0 } else { at + 1 };
            self.describe(at, (segment.address, segment.length), flags, next)?;
        }
        self.publish(&[0], 1)
    }

    /// A table of descriptors in memory, each with flags and a number of the next (or, in the
    /// format of packed rings, an ID).
    ///
    /// # Errors
    /// No memory is left, or QEMU does not answer.
    pub fn table(&self, descriptors: &[(Segment, u16, u16)]) -> Result<Buffer> {
        use super::Ordered;
        let order = self.device.transport().byte_order();
        let table = self.device.vm().ram().alloc(16 * descriptors.len(), 16)?;
        for (number, (segment, flags, next)) in descriptors.iter().enumerate() {
            let (at, flags) = (16 * number, flags | segment.flags());
            let (third, fourth) = if self.is_packed() { (*next, flags) } else { (flags, *next) };
            table.put64(order, at, segment.address)?;
            table.put32(order, at + 8, segment.length)?;
            table.put16(order, at + 12, third)?;
            table.put16(order, at + 14, fourth)?;
        }
        Ok(table)
    }

    /// Tells the device that there is something in the queue.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn notify(&self) -> Result<()> {
        self.device.transport().notify(self.index)
    }
}
