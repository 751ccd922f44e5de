//! The SCSI host adapter (5.6): commands to logical units, and what they come back with.

use super::device::Virtio;
use super::queue::Queue;
use super::{Features, Ordered, Plain, Segment};
use crate::qemu::Buffer;
use crate::qos::registers::RegistersExt;
use crate::qos::scsi::ScsiHba;
use crate::{Error, Result, interface};

/// The device type.
pub const DEVICE_TYPE: u32 = 8;
/// Feature: requests may both read and write.
pub const F_INOUT: u64 = 1 << 0;
/// Feature: units that come and go are told of.
pub const F_HOTPLUG: u64 = 1 << 1;
/// Feature: changes of units are told of.
pub const F_CHANGE: u64 = 1 << 2;

/// What QEMU's adapters offer.
pub const FEATURES: Features = Features { must: F_HOTPLUG | F_CHANGE, may: 0, legacy_may: 0 };

/// A logical unit: target and number.
pub type Unit = (u8, u16);
/// The disk whose image is the harness's.
pub const DISK: Unit = (1, 0);
/// A disk that reads as zeroes.
pub const ZEROES: Unit = (1, 2);
/// A CD-ROM.
pub const CDROM: Unit = (2, 0);

/// The size of a block of the disks in bytes.
pub const BLOCK: usize = 512;
/// The length of a command in a request, as the configuration has it after a reset.
pub const CDB: usize = 32;
/// The length of sense data, likewise.
pub const SENSE: usize = 96;
/// The length of what the device writes before its data.
const RESPONSE: usize = 12 + SENSE;
/// The length of what it reads before the driver's.
const REQUEST: usize = 19 + CDB;

/// SCSI status: the command was carried out.
pub const GOOD: u8 = 0;
/// SCSI status: it was not, and sense data says why.
pub const CHECK_CONDITION: u8 = 2;

/// Responses (5.6.6.1): the command was given to the unit.
pub const S_OK: u8 = 0;
/// More data than there is room for.
pub const S_OVERRUN: u8 = 1;
/// It was aborted.
pub const S_ABORTED: u8 = 2;
/// There is no such target.
pub const S_BAD_TARGET: u8 = 3;
/// The unit was reset before it was carried out.
pub const S_RESET: u8 = 4;
/// The tag of every request.
pub const TAG: u64 = 0x1122_3344;

/// The control queue.
const CONTROL: u16 = 0;
/// The event queue.
const EVENTS: u16 = 1;
/// The first queue of requests.
const REQUESTS: u16 = 2;

/// A host adapter, through any transport.
pub struct VirtioScsi(
    /// The device.
    pub Virtio,
);

interface!(VirtioScsi = "virtio-scsi"; produces dyn ScsiHba);

/// How a command came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The response of the adapter.
    pub response: u8,
    /// The status of the unit.
    pub status: u8,
    /// How many bytes of the data there was room for were not used.
    pub residual: u32,
    /// Sense data, as long as the device says it is.
    pub sense: Vec<u8>,
    /// What was read, with all the room that there was.
    pub data: Vec<u8>,
}

impl Reply {
    /// Sense key, additional sense code and its qualifier, of sense data of fixed format.
    pub fn sense_code(&self) -> (u8, u8, u8) {
        let byte = |at: usize| self.sense.get(at).copied().unwrap_or(0xff);
        (byte(2) & 0xf, byte(12), byte(13))
    }
}

/// A request in guest memory.
pub struct Request {
    unit: Unit,
    header: Buffer,
    out: Option<Buffer>,
    response: Buffer,
    room: Option<Buffer>,
}

/// The field that says which unit (5.6.6.1).
fn lun(unit: Unit) -> [u8; 8] {
    [1, unit.0, 0x40 | (unit.1 >> 8) as u8, unit.1 as u8, 0, 0, 0, 0]
}

impl Request {
    /// The unit that it is for.
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// How many bytes the device writes, and how many of the driver's data it reads.
    fn lengths(&self) -> (u32, u32) {
        let length = |buffer: &Option<Buffer>| buffer.as_ref().map_or(0, Buffer::len);
        ((RESPONSE + length(&self.room)) as u32, length(&self.out) as u32)
    }

    fn new(device: &Virtio, unit: Unit, cdb: &[u8], out: &[u8], room: usize) -> Result<Self> {
        let ram = device.vm().ram();
        let header = ram.alloc(REQUEST, 1)?;
        header.write(0, &lun(unit))?;
        header.put64(device.transport().byte_order(), 8, TAG)?;
        header.write(19, cdb)?;
        let some = |length: usize| match length {
            0 => Ok(None),
            length => ram.alloc(length, 1).map(Some),
        };
        let (data, response, room) = (some(out.len())?, ram.alloc(RESPONSE, 1)?, some(room)?);
        if let Some(data) = &data {
            data.write(0, out)?;
        }
        response.write(0, &[0xee; RESPONSE])?;
        Ok(Self { unit, header, out: data, response, room })
    }

    fn segments(&self) -> Vec<Segment> {
        let mut segments = vec![Segment::readable(&self.header)];
        segments.extend(self.out.as_ref().map(Segment::readable));
        segments.push(Segment::writable(&self.response));
        segments.extend(self.room.as_ref().map(Segment::writable));
        segments
    }

    fn reply(&self, device: &Virtio) -> Result<Reply> {
        let order = device.transport().byte_order();
        let bytes = self.response.to_vec()?;
        let length = self.response.get32(order, 0)? as usize;
        if length > SENSE {
            return Err(Error::failed(format!("{length} bytes of sense data in {SENSE}")));
        }
        Ok(Reply {
            response: bytes[11],
            status: bytes[10],
            residual: self.response.get32(order, 4)?,
            sense: bytes[12..12 + length].to_vec(),
            data: self.room.as_ref().map_or(Ok(Vec::new()), Buffer::to_vec)?,
        })
    }
}

/// An INQUIRY of the first disk.
///
/// # Errors
/// No guest memory is left.
pub fn plain(device: &Virtio) -> Result<Plain> {
    let request = Request::new(device, DISK, &[0x12, 0, 0, 0, 36, 0], &[], 36)?;
    let segments = request.segments();
    let weak = device.transport().clone();
    let order = weak.byte_order();
    let check = move |written| {
        // All of the request, as its parts are memory that the device uses.
        let request = &request;
        let bytes = request.response.to_vec()?;
        let data = request.room.as_ref().map_or(Ok(Vec::new()), Buffer::to_vec)?;
        let residual = request.response.get32(order, 4)?;
        match (bytes[11], bytes[10], residual, &data[8..16], written as usize) {
            (S_OK, GOOD, 0, b"QEMU    ", written) if written == RESPONSE + 36 => Ok(()),
            other => Err(Error::failed(format!("an INQUIRY came back as {other:x?}"))),
        }
    };
    Ok(Plain { queue: REQUESTS, segments, check: Box::new(check) })
}

/// An adapter whose queues are live.
pub struct Live {
    device: Virtio,
    control: Queue,
    events: Queue,
    /// The queues of requests.
    pub requests: Vec<Queue>,
}

impl VirtioScsi {
    /// Negotiates all that the device offers, makes its queues live, and the driver ready.
    ///
    /// # Errors
    /// The device does not agree.
    pub fn start(&self) -> Result<Live> {
        let accepted = self.0.negotiate(self.0.acceptable()?)?;
        let count = self.0.transport().config().read32(0)? as u16;
        let queue = |index| self.0.queue(index, accepted);
        let (control, events) = (queue(CONTROL)?, queue(EVENTS)?);
        let requests = (0..count).map(|at| queue(REQUESTS + at)).collect::<Result<_>>()?;
        self.0.driver_ok()?;
        Ok(Live { device: self.0.clone(), control, events, requests })
    }
}

impl Live {
    /// Has a unit carry out a command, through the first queue.
    ///
    /// # Errors
    /// It does not come back.
    pub fn command(&self, unit: Unit, cdb: &[u8], out: &[u8], room: usize) -> Result<Reply> {
        self.command_by(0, unit, cdb, out, room)
    }

    /// Has a unit carry out a command, through the queue of this number.
    ///
    /// # Errors
    /// It does not come back.
    pub fn command_by(
        &self,
        queue: usize,
        unit: Unit,
        cdb: &[u8],
        out: &[u8],
        room: usize,
    ) -> Result<Reply> {
        let (request, id) = self.begin(queue, unit, cdb, out, room)?;
        self.end(queue, &request, id)
    }

    /// Hands a command over, through the queue of this number; returns it and its buffer's number.
    ///
    /// # Errors
    /// No guest memory is left.
    pub fn begin(
        &self,
        queue: usize,
        unit: Unit,
        cdb: &[u8],
        out: &[u8],
        room: usize,
    ) -> Result<(Request, u16)> {
        let request = Request::new(&self.device, unit, cdb, out, room)?;
        let queue = &self.requests[queue];
        let (writes, reads) = request.lengths();
        let id = queue.add_miscounted(&request.segments(), writes + reads)?;
        queue.kick()?;
        Ok((request, id))
    }

    /// Waits for the command that was handed over last through the queue of this number.
    ///
    /// # Errors
    /// It does not come back.
    pub fn end(&self, queue: usize, request: &Request, id: u16) -> Result<Reply> {
        let used = self.requests[queue].wait_used()?;
        let reply = request.reply(&self.device)?;
        let (writes, reads) = request.lengths();
        // QEMU counts the data that it has read as written.
        let is_right = used.written == writes || used.written == writes + reads;
        match used.id == id && (reply.response != S_OK || is_right) {
            true => Ok(reply),
            false => Err(Error::failed(format!(
                "request {id}, which has room for {writes} bytes, and {used:?} came back"
            ))),
        }
    }

    /// Asks for a task management function of a unit (5.6.6.2); returns the response.
    ///
    /// # Errors
    /// It does not come back.
    pub fn manage(&self, unit: Unit, subtype: u32, tag: u64) -> Result<u8> {
        let ram = self.device.vm().ram();
        let order = self.device.transport().byte_order();
        let (request, answer) = (ram.alloc(24, 1)?, ram.alloc(1, 1)?);
        request.put32(order, 4, subtype)?;
        request.write(8, &lun(unit))?;
        request.put64(order, 16, tag)?;
        answer.write(0, &[0xee])?;
        let id = self.control.add(&[Segment::readable(&request), Segment::writable(&answer)])?;
        self.control.kick()?;
        match self.control.wait_used()? {
            used if used.id == id && used.written == 1 => Ok(answer.to_vec()?[0]),
            used => Err(Error::failed(format!("function {id}, and {used:?} came back"))),
        }
    }

    /// Gives the device a buffer for an event, runs `cause`, and waits for it: its number, the
    /// unit's field, and the reason.
    ///
    /// # Errors
    /// None comes.
    pub fn event(&self, cause: impl FnOnce() -> Result<()>) -> Result<(u32, [u8; 8], u32)> {
        let order = self.device.transport().byte_order();
        let buffer = self.device.vm().ram().alloc(16, 1)?;
        let id = self.events.add(&[Segment::writable(&buffer)])?;
        self.events.kick()?;
        cause()?;
        let used = self.events.wait_used()?;
        if used.id != id || used.written != 16 {
            return Err(Error::failed(format!("event {id}, and {used:?} came back")));
        }
        let mut unit = [0; 8];
        buffer.read(4, &mut unit)?;
        Ok((buffer.get32(order, 0)?, unit, buffer.get32(order, 12)?))
    }
}
