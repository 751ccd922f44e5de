//! The IOMMU device (5.13): requests that attach endpoints to domains and map addresses, and
//! reports of faults. All numbers are little-endian.

use std::cell::RefCell;
use std::rc::Rc;

use super::device::Virtio;
use super::queue::Queue;
use super::{Features, Plain, Segment};
use crate::qemu::Buffer;
use crate::qos::pci::{PciAddress, PciBus};
use crate::{Error, Result, interface};

/// The device type.
pub const DEVICE_TYPE: u32 = 23;
/// Features: the range of addresses, the range of domains, MAP and UNMAP, PROBE, the flag MMIO,
/// and bypass by configuration (5.13.3).
pub const FEATURES: Features = Features { must: 0x77, may: 0, legacy_may: 0 };
/// Feature: the driver writes the field `bypass`, and makes domains of bypass.
pub const F_BYPASS_CONFIG: u64 = 1 << 6;

/// Fields of the configuration (5.13.4): the page sizes, 64 bits.
pub const PAGE_SIZE_MASK: u64 = 0;
/// The first address that can be mapped, 64 bits.
pub const INPUT_START: u64 = 8;
/// The last one, 64 bits.
pub const INPUT_END: u64 = 16;
/// The first domain, 32 bits.
pub const DOMAIN_START: u64 = 24;
/// The last one, 32 bits.
pub const DOMAIN_END: u64 = 28;
/// How many bytes of properties PROBE has, 32 bits.
pub const PROBE_SIZE: u64 = 32;
/// Whether endpoints without a domain are in bypass mode, 8 bits; three reserved bytes follow.
pub const BYPASS: u64 = 36;

/// Types of requests (5.13.6).
pub const T_ATTACH: u8 = 1;
/// Ends an attachment.
pub const T_DETACH: u8 = 2;
/// Maps a range.
pub const T_MAP: u8 = 3;
/// Ends mappings.
pub const T_UNMAP: u8 = 4;
/// Asks for an endpoint's properties.
pub const T_PROBE: u8 = 5;

/// How a request ended: well.
pub const OK: u8 = 0;
/// Its type or what it wants is not known.
pub const UNSUPP: u8 = 2;
/// The device is not in order.
pub const DEVERR: u8 = 3;
/// A parameter is invalid.
pub const INVAL: u8 = 4;
/// A parameter is out of range.
pub const RANGE: u8 = 5;
/// There is no such thing.
pub const NOENT: u8 = 6;

/// ATTACH: the domain is one of bypass.
pub const ATTACH_BYPASS: u32 = 1;
/// MAP: the device may read.
pub const READ: u32 = 1;
/// MAP: the device may write.
pub const WRITE: u32 = 2;
/// MAP: what is there is a device.
pub const MMIO: u32 = 4;

/// Reason of a fault: unknown.
pub const R_UNKNOWN: u8 = 0;
/// The endpoint has no domain.
pub const R_DOMAIN: u8 = 1;
/// There is no mapping, or none that allows it.
pub const R_MAPPING: u8 = 2;
/// Flags of a fault: it was a read.
pub const FAULT_READ: u32 = 1;
/// It was a write.
pub const FAULT_WRITE: u32 = 2;
/// The address is there.
pub const FAULT_ADDRESS: u32 = 1 << 8;

/// How long the report of a fault is in bytes.
const REPORT: usize = 24;
/// How long the end of a request is.
const TAIL: usize = 4;

/// An IOMMU device, and the bus whose devices are behind it.
pub struct VirtioIommu {
    /// The device.
    pub device: Virtio,
    /// The bus.
    pub bus: Rc<dyn PciBus>,
    /// Where on it the device itself is, which is an endpoint too.
    pub at: PciAddress,
}

interface!(VirtioIommu = "virtio-iommu");

/// An IOMMU device whose queues are live.
pub struct Live {
    device: Virtio,
    /// The queue of requests.
    pub requests: Queue,
    /// The queue of reports.
    pub events: Queue,
    reports: RefCell<Vec<(u16, Buffer)>>,
}

/// The report of a fault (5.13.6.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Why.
    pub reason: u8,
    /// What is known of it.
    pub flags: u32,
    /// Whose access it was.
    pub endpoint: u32,
    /// At which address.
    pub address: u64,
}

/// A range of addresses that an endpoint's driver must not map (5.13.6.7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserved {
    /// 0: no access; 1: writes are message-signalled interrupts.
    pub subtype: u8,
    /// The first address.
    pub start: u64,
    /// The last one.
    pub end: u64,
}

impl VirtioIommu {
    /// Negotiates `wanted`, makes both queues live, and the driver ready.
    ///
    /// # Errors
    /// The device does not agree.
    pub fn start(&self, wanted: u64) -> Result<Live> {
        let accepted = self.device.negotiate(wanted)?;
        let queue = |index| self.device.queue(index, accepted);
        let live = Live {
            device: self.device.clone(),
            requests: queue(0)?,
            events: queue(1)?,
            reports: RefCell::default(),
        };
        self.device.driver_ok()?;
        Ok(live)
    }

    /// Negotiates all that the device offers and starts it.
    ///
    /// # Errors
    /// The device does not agree.
    pub fn start_whole(&self) -> Result<Live> {
        self.start(self.device.acceptable()?)
    }

    /// The number by which requests call the function at `at`.
    pub fn endpoint(at: PciAddress) -> u32 {
        u32::from(at.bus) << 8 | u32::from(at.devfn())
    }

    /// A field of 32 bits of the configuration.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn field32(&self, at: u64) -> Result<u32> {
        self.device.config_le32(at)
    }

    /// A field of 64 bits.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn field64(&self, at: u64) -> Result<u64> {
        Ok(u64::from(self.field32(at)?) | u64::from(self.field32(at + 4)?) << 32)
    }
}

/// The bytes of a request of this type: numbers of 32 bits after the head.
pub fn request(kind: u8, numbers: &[u32]) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, 0];
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    bytes
}

/// Both halves of an address, the lower first.
fn halves(address: u64) -> [u32; 2] {
    [address as u32, (address >> 32) as u32]
}

/// The bytes of a request that maps `start` to `end`, which is the last address, to `to`.
pub fn map_request(domain: u32, start: u64, end: u64, to: u64, flags: u32) -> Vec<u8> {
    let ([a, b], [c, d], [e, f]) = (halves(start), halves(end), halves(to));
    request(T_MAP, &[domain, a, b, c, d, e, f, flags])
}

impl Live {
    /// Sends a request of any bytes and has `answer` bytes written, of which it returns those
    /// that the device says it has written.
    ///
    /// # Errors
    /// The device does not take it, or writes elsewhere.
    pub fn ask(&self, request: &[&[u8]], answer: &[usize]) -> Result<Vec<u8>> {
        self.device.exchange(&self.requests, request, answer).map(|(written, _)| written)
    }

    /// As [`Live::ask`], where the device may write behind what it says it has written; returns
    /// that and all.
    ///
    /// # Errors
    /// The device does not take it.
    pub fn ask_loosely(&self, request: &[&[u8]], answer: &[usize]) -> Result<(Vec<u8>, Vec<u8>)> {
        self.device.exchange_loosely(&self.requests, request, answer)
    }

    /// Sends a request that has nothing but a status in its answer; returns that.
    ///
    /// # Errors
    /// The device does not answer as it must.
    pub fn status(&self, request: &[u8]) -> Result<u8> {
        match self.ask(&[request], &[TAIL])?[..] {
            [status, 0, 0, 0] => Ok(status),
            ref other => {
                Err(Error::failed(format!("the request {request:x?} came back with {other:x?}")))
            }
        }
    }

    /// Attaches an endpoint to a domain.
    ///
    /// # Errors
    /// The device does not answer as it must.
    pub fn attach(&self, domain: u32, endpoint: u32, flags: u32) -> Result<u8> {
        self.status(&request(T_ATTACH, &[domain, endpoint, flags, 0]))
    }

    /// Detaches an endpoint.
    ///
    /// # Errors
    /// The device does not answer as it must.
    pub fn detach(&self, domain: u32, endpoint: u32) -> Result<u8> {
        self.status(&request(T_DETACH, &[domain, endpoint, 0, 0]))
    }

    /// Maps addresses from `start` to `end`, which is the last one, to `to`.
    ///
    /// # Errors
    /// The device does not answer as it must.
    pub fn map(&self, domain: u32, start: u64, end: u64, to: u64, flags: u32) -> Result<u8> {
        self.status(&map_request(domain, start, end, to, flags))
    }

    /// Ends the mappings from `start` to `end`, which is the last address.
    ///
    /// # Errors
    /// The device does not answer as it must.
    pub fn unmap(&self, domain: u32, start: u64, end: u64) -> Result<u8> {
        let ([a, b], [c, d]) = (halves(start), halves(end));
        self.status(&request(T_UNMAP, &[domain, a, b, c, d, 0]))
    }

    /// Asks for the properties of an endpoint; returns them and the status.
    ///
    /// # Errors
    /// The device does not answer as it must.
    pub fn probe(&self, endpoint: u32, size: usize) -> Result<(Vec<u8>, u8)> {
        let mut numbers = [0; 17];
        numbers[0] = endpoint;
        let answer = self.ask(&[&request(T_PROBE, &numbers)], &[size, TAIL])?;
        match answer.split_at_checked(size) {
            Some((properties, &[status, 0, 0, 0])) => Ok((properties.to_vec(), status)),
            _ => Err(Error::failed(format!("PROBE came back with {answer:x?}"))),
        }
    }

    /// The ranges that an endpoint's driver must not map.
    ///
    /// # Errors
    /// The device does not tell them as it must (5.13.6.6).
    pub fn reserved(&self, endpoint: u32, size: usize) -> Result<Vec<Reserved>> {
        let (properties, status) = self.probe(endpoint, size)?;
        let bad =
            |why: &str| Error::failed(format!("PROBE of {endpoint:#x}: {why}: {properties:x?}"));
        if status != OK {
            return Err(bad(&format!("status {status}")));
        }
        let mut found = Vec::new();
        let mut rest = &properties[..];
        while let [1, 0, 20, 0, subtype, 0, 0, 0, after @ ..] = rest {
            let (range, after) = after.split_at_checked(16).ok_or_else(|| bad("cut off"))?;
            let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b));
            let (start, end) = (number(&range[..8]), number(&range[8..]));
            found.push(Reserved { subtype: *subtype, start, end });
            rest = after;
        }
        match rest.iter().all(|&byte| byte == 0) {
            true => Ok(found),
            false => Err(bad("what follows the properties is no zero")),
        }
    }

    /// Gives the device memory for `count` reports.
    ///
    /// # Errors
    /// The queue is full.
    pub fn take_reports(&self, count: usize) -> Result<()> {
        for _ in 0..count {
            let buffer = self.device.vm().ram().alloc(REPORT, 1)?;
            buffer.write(0, &[super::device::UNTOUCHED; REPORT])?;
            let id = self.events.add(&[Segment::writable(&buffer)])?;
            self.reports.borrow_mut().push((id, buffer));
        }
        self.events.kick().map(|_| ())
    }

    /// The next report, if there is one.
    ///
    /// # Errors
    /// It is none (5.13.6.8.2).
    pub fn report(&self) -> Result<Option<Report>> {
        let Some(used) = self.events.take_used()? else { return Ok(None) };
        let mut reports = self.reports.borrow_mut();
        let at = reports.iter().position(|(id, _)| *id == used.id);
        let at = at.ok_or_else(|| Error::failed("the device used memory that it does not have"))?;
        let bytes = reports.remove(at).1.to_vec()?;
        let number = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        if used.written as usize != REPORT || bytes[1..4] != [0; 3] || number(12) != 0 {
            let written = used.written;
            let why = format!("{written} bytes of a report were written: {bytes:x?}");
            return Err(Error::failed(why));
        }
        let address = u64::from(number(16)) | u64::from(number(20)) << 32;
        let (flags, endpoint) = (number(4), number(8));
        Ok(Some(Report { reason: bytes[0], flags, endpoint, address }))
    }
}

/// The end of all mappings of a domain that is not there, which is refused.
///
/// # Errors
/// No guest memory is left.
pub fn plain(device: &Virtio) -> Result<Plain> {
    let ram = device.vm().ram();
    let bytes = request(T_UNMAP, &[0xfffe, 0, 0, !0, !0, 0]);
    let asked = ram.alloc(bytes.len(), 1)?;
    asked.write(0, &bytes)?;
    let answer = ram.alloc(TAIL, 1)?;
    let segments = vec![Segment::readable(&asked), Segment::writable(&answer)];
    let check = move |written| {
        let _keep = &asked;
        match (written, &answer.to_vec()?[..]) {
            (4, [NOENT, 0, 0, 0]) => Ok(()),
            (written, answer) => Err(Error::failed(format!(
                "UNMAP in no domain: {written} bytes written, {answer:x?}"
            ))),
        }
    };
    Ok(Plain { queue: 0, segments, check: Box::new(check) })
}
