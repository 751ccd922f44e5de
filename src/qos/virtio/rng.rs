//! The entropy device (5.4).

use super::device::Virtio;
use super::queue::{Queue, Used};
use super::{Plain, Segment};
use crate::qemu::Buffer;
use crate::qos::wait_with_clock_still;
use crate::{Error, Result, interface};

/// The device type.
pub const DEVICE_TYPE: u32 = 4;

/// An entropy device, through any transport. It has one queue, no configuration and no
/// features of its own.
pub struct VirtioRng(
    /// The device.
    pub Virtio,
);

interface!(VirtioRng = "virtio-rng");

/// A buffer for entropy, in pieces.
pub struct Request(Vec<Buffer>);

impl Request {
    /// Pieces of these lengths in bytes, all zeroes.
    ///
    /// # Errors
    /// No guest memory is left.
    pub fn new(device: &Virtio, lengths: &[usize]) -> Result<Self> {
        let ram = device.vm().ram();
        lengths.iter().map(|&length| ram.alloc(length, 1)).collect::<Result<_>>().map(Self)
    }

    /// Makes it available to the device; returns its number.
    ///
    /// # Errors
    /// The queue is full.
    pub fn add(&self, queue: &Queue) -> Result<u16> {
        queue.add(&self.0.iter().map(Segment::writable).collect::<Vec<_>>())
    }

    /// What is in it.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn data(&self) -> Result<Vec<u8>> {
        Ok(self.0.iter().map(Buffer::to_vec).collect::<Result<Vec<_>>>()?.concat())
    }
}

/// Sixteen bytes of entropy.
///
/// # Errors
/// No guest memory is left.
pub fn plain(device: &Virtio) -> Result<Plain> {
    device.vm().note_lasting("requests that are with the source of entropy");
    let buffer = device.vm().ram().alloc(16, 1)?;
    buffer.write(0, &[0xa5; 16])?;
    let segments = vec![Segment::writable(&buffer)];
    // The device may use less than the whole buffer (virtio 1.2, section 5.4.6.1), as it does
    // when its source still answers an earlier request.
    let check = move |written: u32| {
        let data = buffer.to_vec()?;
        let (fresh, rest) = data.split_at(16.min(written as usize));
        let is_filled = (1..=16).contains(&written) && fresh.iter().any(|&byte| byte != 0xa5);
        match is_filled && rest.iter().all(|&byte| byte == 0xa5) {
            true => Ok(()),
            false => {
                Err(Error::failed(format!("entropy of 16 bytes: {written} written, {data:x?}")))
            }
        }
    };
    Ok(Plain { queue: 0, segments, check: Box::new(check) })
}

impl VirtioRng {
    /// Negotiates `wanted`, makes the queue live, and the driver ready.
    ///
    /// # Errors
    /// The device does not agree.
    pub fn start(&self, wanted: u64) -> Result<Queue> {
        self.0.vm().note_lasting("how far the source of entropy was read");
        let accepted = self.0.negotiate(wanted)?;
        let queue = self.0.queue(0, accepted)?;
        self.0.driver_ok()?;
        Ok(queue)
    }

    /// Has the device fill pieces of these lengths while the virtual clock stands still, so
    /// that it gives no more than it may; returns all bytes.
    ///
    /// # Errors
    /// It does not, or fills less than there is.
    pub fn entropy(&self, queue: &Queue, lengths: &[usize]) -> Result<Vec<u8>> {
        let request = Request::new(&self.0, lengths)?;
        let id = request.add(queue)?;
        queue.kick()?;
        self.finish(queue, id, &request)
    }

    /// Waits for what was made available as number `id` to be the next used buffer, likewise.
    ///
    /// # Errors
    /// As for [`VirtioRng::entropy`].
    pub fn finish(&self, queue: &Queue, id: u16, request: &Request) -> Result<Vec<u8>> {
        let mut used = None;
        wait_with_clock_still(self.0.vm(), "entropy", || {
            used = queue.take_used()?;
            Ok(used.is_some())
        })?;
        let data = request.data()?;
        match (used, Used { id, written: data.len() as u32 }) {
            (Some(used), expected) if used == expected => Ok(data),
            (used, expected) => Err(Error::failed(format!(
                "a buffer for entropy should have come back as {expected:?}, but it was {used:?}"
            ))),
        }
    }
}
