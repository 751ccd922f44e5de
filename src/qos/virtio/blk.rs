//! The block device (5.2).

use super::device::Virtio;
use super::queue::{Queue, Used};
use super::{Features, Ordered, Plain, Segment};
use crate::qemu::{Buffer, Vm};
use crate::qos::block::BlockDevice;
use crate::qos::registers::RegistersExt;
use crate::{Error, Result, interface};

/// The device type.
pub const DEVICE_TYPE: u32 = 2;
/// The size of a sector in bytes, the unit of requests.
pub const SECTOR: usize = 512;

/// Feature: the largest segment is in `size_max`.
pub const F_SIZE_MAX: u64 = 1 << 1;
/// Feature: the largest number of segments is in `seg_max`.
pub const F_SEG_MAX: u64 = 1 << 2;
/// Feature: the geometry is in the configuration.
pub const F_GEOMETRY: u64 = 1 << 4;
/// Feature: it is read-only.
pub const F_RO: u64 = 1 << 5;
/// Feature: the block size is in `blk_size`.
pub const F_BLK_SIZE: u64 = 1 << 6;
/// Feature, legacy: SCSI commands are passed on.
pub const F_SCSI: u64 = 1 << 7;
/// Feature: there is a flush command.
pub const F_FLUSH: u64 = 1 << 9;
/// Feature: the topology is in the configuration.
pub const F_TOPOLOGY: u64 = 1 << 10;
/// Feature: the cache can be switched between write-back and write-through.
pub const F_CONFIG_WCE: u64 = 1 << 11;
/// Feature: the number of queues is in `num_queues`.
pub const F_MQ: u64 = 1 << 12;
/// Feature: there is a discard command.
pub const F_DISCARD: u64 = 1 << 13;
/// Feature: there is a write zeroes command.
pub const F_WRITE_ZEROES: u64 = 1 << 14;

/// What QEMU's block devices offer.
pub const FEATURES: Features = Features {
    must: F_SEG_MAX
        | F_GEOMETRY
        | F_BLK_SIZE
        | F_FLUSH
        | F_TOPOLOGY
        | F_CONFIG_WCE
        | F_DISCARD
        | F_WRITE_ZEROES,
    may: F_MQ | F_RO,
    legacy_may: F_MQ | F_RO | F_SCSI,
};

/// Fields of the configuration (5.2.4): the capacity in sectors, 64 bits.
pub const CAPACITY: u64 = 0;
/// The largest number of segments, 32 bits.
pub const SEG_MAX: u64 = 12;
/// The geometry: cylinders, 16 bits.
pub const CYLINDERS: u64 = 16;
/// Heads, 8 bits.
pub const HEADS: u64 = 18;
/// Sectors of a track, 8 bits.
pub const TRACK_SECTORS: u64 = 19;
/// The topology: logical blocks of a physical one, as a power of two, 8 bits.
pub const PHYSICAL_BLOCK_EXP: u64 = 24;
/// The first aligned logical block, 8 bits.
pub const ALIGNMENT_OFFSET: u64 = 25;
/// The smallest transfer that is no waste, in blocks, 16 bits.
pub const MIN_IO_SIZE: u64 = 26;
/// The best size of long transfers, in blocks, 32 bits.
pub const OPT_IO_SIZE: u64 = 28;
/// The block size in bytes, 32 bits.
pub const BLK_SIZE: u64 = 20;
/// Whether the cache is write-back, 8 bits.
pub const WRITEBACK: u64 = 32;
/// The number of queues, 16 bits.
pub const NUM_QUEUES: u64 = 34;
/// The most sectors of a discard segment, 32 bits.
pub const MAX_DISCARD_SECTORS: u64 = 36;
/// The most sectors of a write zeroes segment, 32 bits.
pub const MAX_WRITE_ZEROES_SECTORS: u64 = 48;

/// Request types (5.2.6).
pub const T_IN: u32 = 0;
/// Write.
pub const T_OUT: u32 = 1;
/// Flush.
pub const T_FLUSH: u32 = 4;
/// Get the device's ID.
pub const T_GET_ID: u32 = 8;
/// Discard.
pub const T_DISCARD: u32 = 11;
/// Write zeroes.
pub const T_WRITE_ZEROES: u32 = 13;

/// Request status: success.
pub const S_OK: u8 = 0;
/// Request status: an error of the device or the driver.
pub const S_IOERR: u8 = 1;
/// Request status: the device does not support the request.
pub const S_UNSUPP: u8 = 2;
/// What stands in the status before the device writes it; no status is this.
pub const S_NONE: u8 = 0xff;

/// The length of a device ID in bytes.
pub const ID_BYTES: usize = 20;

/// A block device, through any transport.
pub struct VirtioBlk(
    /// The device.
    pub Virtio,
    /// What changes its size.
    pub Resize,
);

/// Makes the disk of a machine one of so many bytes.
pub type Resize = fn(&Vm, u64) -> Result<()>;

interface!(VirtioBlk = "virtio-blk"; produces dyn BlockDevice);

/// A request in guest memory: header, data, status.
pub struct Request {
    header: Buffer,
    data: Vec<(Buffer, bool)>,
    status: Buffer,
}

/// How a request went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// One of the `S_` constants.
    pub status: u8,
    /// How many bytes the device says it has written, the status among them.
    pub written: u32,
}

impl Request {
    /// A request without data.
    ///
    /// # Errors
    /// No guest memory is left; so for all of these.
    pub fn new(device: &Virtio, kind: u32, sector: u64) -> Result<Self> {
        let ram = device.vm().ram();
        let (header, status) = (ram.alloc(16, 16)?, ram.alloc(1, 1)?);
        let order = device.transport().byte_order();
        header.put32(order, 0, kind)?;
        header.put64(order, 8, sector)?;
        status.write(0, &[S_NONE])?;
        Ok(Self { header, data: Vec::new(), status })
    }

    /// The same with data for the device to read.
    ///
    /// # Errors
    /// As for [`Request::new`].
    pub fn with_data(mut self, device: &Virtio, data: &[u8]) -> Result<Self> {
        let buffer = device.vm().ram().alloc(data.len(), 1)?;
        buffer.write(0, data)?;
        self.data.push((buffer, false));
        Ok(self)
    }

    /// The same with room for the device to write to.
    ///
    /// # Errors
    /// As for [`Request::new`].
    pub fn with_room(mut self, device: &Virtio, length: usize) -> Result<Self> {
        self.data.push((device.vm().ram().alloc(length, 1)?, true));
        Ok(self)
    }

    /// Fills the room for what the device writes.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn fill(&self, byte: u8) -> Result<()> {
        let mut room = self.data.iter().filter(|(_, writable)| *writable);
        room.try_for_each(|(buffer, _)| buffer.write(0, &vec![byte; buffer.len()]))
    }

    /// Its parts in order, for a queue.
    pub fn segments(&self) -> Vec<Segment> {
        let data = self.data.iter().map(|(buffer, writable)| match writable {
            true => Segment::writable(buffer),
            false => Segment::readable(buffer),
        });
        let header = std::iter::once(Segment::readable(&self.header));
        header.chain(data).chain([Segment::writable(&self.status)]).collect()
    }

    /// The status as it is now.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn status(&self) -> Result<u8> {
        Ok(self.status.to_vec()?[0])
    }

    /// All data, in order.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn data(&self) -> Result<Vec<u8>> {
        let parts = self.data.iter().map(|(buffer, _)| buffer.to_vec());
        Ok(parts.collect::<Result<Vec<_>>>()?.concat())
    }

    /// Has it done by the device.
    ///
    /// # Errors
    /// The device does not use it, or uses something else.
    pub fn run(&self, queue: &Queue) -> Result<Outcome> {
        let id = queue.add(&self.segments())?;
        queue.kick()?;
        self.finish(id, queue.wait_used()?)
    }

    /// How it went, given the used buffer that came.
    ///
    /// # Errors
    /// That is another one, or another length was written than there is room for.
    pub fn finish(&self, id: u16, used: Used) -> Result<Outcome> {
        if used.id != id {
            return Err(Error::failed(format!("waited for buffer {id}, got {}", used.id)));
        }
        // The status is the last of what is writable. QEMU counts all of it, also when it
        // refuses the request.
        let segments = self.segments();
        let writable: u32 = segments.iter().filter(|s| s.writable).map(|s| s.length).sum();
        if used.written != writable {
            return Err(Error::failed(format!(
                "the device wrote {} bytes of a request that has room for {writable}",
                used.written
            )));
        }
        Ok(Outcome { status: self.status()?, written: used.written })
    }
}

/// A read of the first sector.
///
/// # Errors
/// No guest memory is left.
pub fn plain(device: &Virtio) -> Result<Plain> {
    let request = Request::new(device, T_IN, 0)?.with_room(device, SECTOR)?;
    let segments = request.segments();
    request.data[0].0.write(0, &[0xa5; SECTOR])?;
    let (vm, expected) = (device.vm().clone(), SECTOR as u32 + 1);
    let check = move |written| {
        let mut image = vec![0; SECTOR];
        vm.read_image("disk", 0, &mut image)?;
        let (status, data) = (request.status()?, request.data()?);
        match (status, written) {
            (S_OK, written) if written == expected && data == image => Ok(()),
            _ => Err(Error::failed(format!(
                "a read of a sector: status {status}, {written} bytes written, data as in the \
                 image: {}",
                data == image
            ))),
        }
    };
    Ok(Plain { queue: 0, segments, check: Box::new(check) })
}

impl VirtioBlk {
    /// Negotiates `wanted`, makes the first queue live, and the driver ready.
    ///
    /// # Errors
    /// The device does not agree.
    pub fn start(&self, wanted: u64) -> Result<Queue> {
        let accepted = self.0.negotiate(wanted)?;
        let queue = self.0.queue(0, accepted)?;
        self.0.driver_ok()?;
        Ok(queue)
    }

    /// The same with every feature that the device offers.
    ///
    /// # Errors
    /// As for [`VirtioBlk::start`].
    pub fn start_with_everything(&self) -> Result<Queue> {
        self.start(self.0.acceptable()?)
    }

    /// Makes the disk one of so many bytes, and has the device know.
    ///
    /// # Errors
    /// QEMU or the back end refuses.
    pub fn resize(&self, bytes: u64) -> Result<()> {
        (self.1)(self.0.vm(), bytes)
    }

    /// Makes every queue live. `accepted` is what was negotiated.
    ///
    /// # Errors
    /// The device does not have as many queues as it says.
    pub fn queues(&self, accepted: u64) -> Result<Vec<Queue>> {
        let told = match self.0.offered()? & F_MQ {
            0 => 1,
            _ => self.0.transport().config().read16(NUM_QUEUES)?,
        };
        if told != self.0.queue_count() {
            let has = self.0.queue_count();
            return Err(Error::failed(format!(
                "num_queues is {told}, but the device has {has} queues"
            )));
        }
        let count = if accepted & F_MQ == 0 { 1 } else { told };
        (0..count).map(|index| self.0.queue(index, accepted)).collect()
    }

    /// The capacity in sectors.
    ///
    /// # Errors
    /// The configuration changes while it is read.
    pub fn capacity(&self) -> Result<u64> {
        self.0.read_still_config(|config| config.read64(CAPACITY))
    }

    /// Reads `length` bytes from `sector` on, in one segment.
    ///
    /// # Errors
    /// The device does not do it, or says that it did not.
    pub fn read(&self, queue: &Queue, sector: u64, length: usize) -> Result<Vec<u8>> {
        let request = Request::new(&self.0, T_IN, sector)?.with_room(&self.0, length)?;
        let outcome = request.run(queue)?;
        let expected = Outcome { status: S_OK, written: length as u32 + 1 };
        check(outcome, expected, "read", sector)?;
        request.data()
    }

    /// Writes `data` from `sector` on, in one segment.
    ///
    /// # Errors
    /// As for [`VirtioBlk::read`].
    pub fn write(&self, queue: &Queue, sector: u64, data: &[u8]) -> Result<()> {
        let request = Request::new(&self.0, T_OUT, sector)?.with_data(&self.0, data)?;
        check(request.run(queue)?, Outcome { status: S_OK, written: 1 }, "write", sector)
    }
}

fn check(outcome: Outcome, expected: Outcome, what: &str, sector: u64) -> Result<()> {
    match outcome == expected {
        true => Ok(()),
        false => Err(Error::failed(format!(
            "a {what} at sector {sector} should have ended as {expected:?}, but it was {outcome:?}"
        ))),
    }
}
