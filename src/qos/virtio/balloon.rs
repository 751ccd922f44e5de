//! The memory balloon (5.5): pages that the driver gives to the host and takes back, and the
//! statistics of the guest's memory that it reports.

use super::device::Virtio;
use super::queue::Queue;
use super::{Features, Ordered, Plain, Segment};
use crate::qemu::Buffer;
use crate::{Error, Result, interface};

/// The device type.
pub const DEVICE_TYPE: u32 = 5;
/// Feature: there is a queue for statistics.
pub const F_STATS_VQ: u64 = 1 << 1;
/// Feature: the driver may take pages back when it is out of memory.
pub const F_DEFLATE_ON_OOM: u64 = 1 << 2;
/// Feature: the driver says what free pages are filled with.
pub const F_PAGE_POISON: u64 = 1 << 4;
/// Feature: there is a queue for reports of free pages.
pub const F_PAGE_REPORTING: u64 = 1 << 5;

/// What QEMU's balloons offer with all properties but hints of free pages: with them an I/O thread
/// sends an interrupt after every start, at a time of its own, even after a reset.
pub const FEATURES: Features = Features {
    must: F_STATS_VQ | F_DEFLATE_ON_OOM | F_PAGE_POISON | F_PAGE_REPORTING,
    may: 0,
    legacy_may: 0,
};

/// The size of a page of the balloon in bytes (5.5.6).
pub const PAGE: usize = 4096;

/// Fields of the configuration (5.5.4), 32 bits each: how many pages the host wants.
pub const NUM_PAGES: u64 = 0;
/// How many the driver says it has given.
pub const ACTUAL: u64 = 4;
/// The command for hints of free pages.
pub const FREE_PAGE_HINT_CMD_ID: u64 = 8;
/// What free pages are filled with.
pub const POISON_VAL: u64 = 12;

/// The queue of pages that are given.
const INFLATE: u16 = 0;
/// The queue of pages that are taken back.
const DEFLATE: u16 = 1;
/// The queue of statistics.
const STATS: u16 = 2;
/// The queue of reports of free pages, where none is for hints.
const REPORTS: u16 = 3;

/// A balloon, through any transport.
pub struct VirtioBalloon(
    /// The device.
    pub Virtio,
);

interface!(VirtioBalloon = "virtio-balloon");

/// A balloon whose queues are live.
pub struct Live {
    device: Virtio,
    /// The queue of pages that are given.
    pub inflate: Queue,
    /// The queue of pages that are taken back.
    pub deflate: Queue,
    /// The queue of statistics.
    pub stats: Queue,
    /// The queue of reports of free pages.
    pub reports: Queue,
}

impl VirtioBalloon {
    /// Negotiates `wanted`, makes all queues live, and the driver ready.
    ///
    /// # Errors
    /// The device does not agree.
    pub fn start(&self, wanted: u64) -> Result<Live> {
        let accepted = self.0.negotiate(wanted)?;
        let queue = |index| self.0.queue(index, accepted);
        let live = Live {
            device: self.0.clone(),
            inflate: queue(INFLATE)?,
            deflate: queue(DEFLATE)?,
            stats: queue(STATS)?,
            reports: queue(REPORTS)?,
        };
        self.0.driver_ok()?;
        Ok(live)
    }

    /// A field of the configuration, which is little-endian through a legacy interface too
    /// (5.5.4.1).
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn field(&self, at: u64) -> Result<u32> {
        self.0.config_le32(at)
    }

    /// Writes a field of the configuration.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn set_field(&self, at: u64, value: u32) -> Result<()> {
        self.0.set_config_le32(at, value)
    }
}

/// The number of the page at `address` (5.5.6).
pub fn page_number(address: u64) -> u32 {
    (address / PAGE as u64) as u32
}

/// Numbers of pages in memory, as the device reads them.
fn numbers(device: &Virtio, pages: &[u32]) -> Result<Buffer> {
    let (order, buffer) =
        (device.transport().byte_order(), device.vm().ram().alloc(4 * pages.len(), 4)?);
    for (at, &page) in pages.iter().enumerate() {
        buffer.put32(order, 4 * at, page)?;
    }
    Ok(buffer)
}

impl Live {
    /// Tells the device of pages by their numbers, through `queue`, in pieces of memory that end
    /// after `cuts` bytes.
    ///
    /// # Errors
    /// The device does not use the buffer, or says that it has written to it.
    pub fn tell(&self, queue: &Queue, pages: &[u32], cuts: &[u32]) -> Result<()> {
        let buffer = numbers(&self.device, pages)?;
        let (start, end) = (buffer.address().0, buffer.len() as u32);
        let mut segments = Vec::new();
        let mut from = 0;
        for to in cuts.iter().copied().chain([end]) {
            let address = start + u64::from(from);
            segments.push(Segment { address, length: to - from, writable: false });
            from = to;
        }
        expect_nothing_written(queue.carry_out(&segments)?, "numbers of pages")
    }

    /// Gives statistics, pairs of what and how much (5.5.6.3), and keeps them in memory: the
    /// device keeps the buffer until it wants others.
    ///
    /// # Errors
    /// The queue is full.
    pub fn give_stats(&self, stats: &[(u16, u64)], length: usize) -> Result<(u16, Buffer)> {
        let order = self.device.transport().byte_order();
        let buffer = self.device.vm().ram().alloc(10 * stats.len(), 1)?;
        for (number, &(what, value)) in stats.iter().enumerate() {
            buffer.put16(order, 10 * number, what)?;
            buffer.put64(order, 10 * number + 2, value)?;
        }
        let segment = Segment { length: length as u32, ..Segment::readable(&buffer) };
        let id = self.stats.add(&[segment])?;
        self.stats.kick()?;
        Ok((id, buffer))
    }
}

fn expect_nothing_written(written: u32, what: &str) -> Result<()> {
    match written {
        0 => Ok(()),
        written => Err(Error::failed(format!("{what}: {written} bytes written to no memory"))),
    }
}

/// One page that is given to the host, and reads as zeroes then.
///
/// # Errors
/// No guest memory is left.
pub fn plain(device: &Virtio) -> Result<Plain> {
    let page = device.vm().ram().alloc(PAGE, PAGE as u64)?;
    page.write(0, &[0x5a; PAGE])?;
    let list = numbers(device, &[page_number(page.address().0)])?;
    let segments = vec![Segment::readable(&list)];
    let check = move |written| {
        let _keep = &list;
        expect_nothing_written(written, "a page that was given")?;
        match page.to_vec()?.iter().all(|&byte| byte == 0) {
            true => Ok(()),
            false => Err(Error::failed("a page that was given to the host keeps what was in it")),
        }
    };
    Ok(Plain { queue: INFLATE, segments, check: Box::new(check) })
}
