//! The persistent memory device (5.19): a region of guest memory, and a request after which what was
//! written to it lasts.

use super::device::Virtio;
use super::queue::Queue;
use super::{Features, Ordered, Plain, Segment};
use crate::{Error, Result, interface};

/// The device type.
pub const DEVICE_TYPE: u32 = 27;
/// Feature: the region is one of shared memory.
pub const F_SHMEM_REGION: u64 = 1;
/// What QEMU's persistent memory offers.
pub const FEATURES: Features = Features::NONE;

/// Fields of the configuration (5.19.4), 64 bits each: where the region is.
pub const START: u64 = 0;
/// The size of the region.
pub const SIZE: u64 = 8;

/// The type of the one request (5.19.6): all that was written lasts.
pub const REQ_FLUSH: u32 = 0;

/// A persistent memory device.
pub struct VirtioPmem(
    /// The device.
    pub Virtio,
);

interface!(VirtioPmem = "virtio-pmem");

impl VirtioPmem {
    /// Negotiates `wanted`, makes the queue live, and the driver ready.
    ///
    /// # Errors
    /// The device does not agree.
    pub fn start(&self, wanted: u64) -> Result<Queue> {
        let accepted = self.0.negotiate(wanted)?;
        let queue = self.0.queue(0, accepted)?;
        self.0.driver_ok()?;
        Ok(queue)
    }

    /// A field of the configuration.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn field(&self, at: u64) -> Result<u64> {
        let (low, high) = (self.0.config_le32(at)?, self.0.config_le32(at + 4)?);
        Ok(u64::from(high) << 32 | u64::from(low))
    }

    /// Has what was written made to last; returns what the device says of it, 0 for success.
    ///
    /// # Errors
    /// The device does not answer, or with another length.
    pub fn flush(&self, queue: &Queue) -> Result<u32> {
        let request = REQ_FLUSH.to_le_bytes();
        let (written, _) = self.0.exchange(queue, &[&request], &[4])?;
        match *written {
            [a, b, c, d] => Ok(u32::from_le_bytes([a, b, c, d])),
            _ => Err(Error::failed(format!("an answer of {} bytes, not 4", written.len()))),
        }
    }
}

/// A request that makes nothing last.
///
/// # Errors
/// No guest memory is left.
pub fn plain(device: &Virtio) -> Result<Plain> {
    let (ram, order) = (device.vm().ram(), device.transport().byte_order());
    let (request, answer) = (ram.alloc(4, 4)?, ram.alloc(4, 4)?);
    request.put32(order, 0, REQ_FLUSH)?;
    answer.put32(order, 0, 0xeeee_eeee)?;
    let segments = vec![Segment::readable(&request), Segment::writable(&answer)];
    let check = move |written| {
        let (_keep, status) = (&request, answer.get32(order, 0)?);
        match (written, status) {
            (4, 0) => Ok(()),
            _ => Err(Error::failed(format!("a flush: {written} bytes written, {status:#x}"))),
        }
    };
    Ok(Plain { queue: 0, segments, check: Box::new(check) })
}
