//! The input device (5.8): what it says of itself, the events that it sends, and those that it is
//! sent.

use super::device::Virtio;
use super::queue::Queue;
use super::{Plain, Segment};
use crate::qemu::Buffer;
use crate::qos::registers::RegistersExt;
use crate::{Error, Result, interface};

/// The device type.
pub const DEVICE_TYPE: u32 = 18;

/// Fields of the configuration (5.8.4), 8 bits each: what is asked for.
pub const SELECT: u64 = 0;
/// Of which kind.
pub const SUBSEL: u64 = 1;
/// How long the answer is.
pub const SIZE: u64 = 2;
/// The answer.
pub const ANSWER: u64 = 8;

/// What can be asked for (5.8.5): its name.
pub const CFG_ID_NAME: u8 = 0x01;
/// Its serial number.
pub const CFG_ID_SERIAL: u8 = 0x02;
/// Bus, vendor, product and version.
pub const CFG_ID_DEVIDS: u8 = 0x03;
/// Properties, a bit each.
pub const CFG_PROP_BITS: u8 = 0x10;
/// Codes of a type of events, a bit each.
pub const CFG_EV_BITS: u8 = 0x11;
/// The range of an axis.
pub const CFG_ABS_INFO: u8 = 0x12;

/// Types of events, as Linux has them: the end of a report.
pub const EV_SYN: u16 = 0;
/// A key or button.
pub const EV_KEY: u16 = 1;
/// A way that was gone.
pub const EV_REL: u16 = 2;
/// A place.
pub const EV_ABS: u16 = 3;
/// A light.
pub const EV_LED: u16 = 0x11;
/// Keys that repeat.
pub const EV_REP: u16 = 0x14;

/// The length of an event in bytes (5.8.6).
pub const EVENT: usize = 8;

/// The queue of events from the device.
const EVENTS: u16 = 0;
/// The queue of events to it.
const STATUS: u16 = 1;

/// Which of QEMU's input devices it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// A keyboard with lights.
    Keyboard,
    /// A mouse with a wheel.
    Mouse,
    /// A tablet with buttons and a wheel.
    Tablet,
}

/// An input device, through any transport.
pub struct VirtioInput {
    /// The device.
    pub device: Virtio,
    /// Which one.
    pub model: Model,
}

interface!(VirtioInput = "virtio-input");

/// An event: type, code and value.
pub type Event = (u16, u16, u32);

/// The bytes of an event, little-endian through any interface.
fn encoded((kind, code, value): Event) -> [u8; EVENT] {
    let mut bytes = [0; EVENT];
    bytes[..2].copy_from_slice(&kind.to_le_bytes());
    bytes[2..4].copy_from_slice(&code.to_le_bytes());
    bytes[4..].copy_from_slice(&value.to_le_bytes());
    bytes
}

/// An input device whose queues are live.
pub struct Live {
    device: Virtio,
    /// The queue of events from the device.
    pub events: Queue,
    /// The queue of events to it.
    pub status: Queue,
}

impl VirtioInput {
    /// Negotiates `wanted`, makes both queues live, and the driver ready.
    ///
    /// # Errors
    /// The device does not agree.
    pub fn start(&self, wanted: u64) -> Result<Live> {
        let accepted = self.device.negotiate(wanted)?;
        let queue = |index| self.device.queue(index, accepted);
        let live =
            Live { device: self.device.clone(), events: queue(EVENTS)?, status: queue(STATUS)? };
        self.device.driver_ok()?;
        Ok(live)
    }

    /// What the configuration answers to a question.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn ask(&self, select: u8, subsel: u8) -> Result<Vec<u8>> {
        let config = self.device.transport().config();
        config.write8(SELECT, select)?;
        config.write8(SUBSEL, subsel)?;
        let size = config.read8(SIZE)?;
        (0..u64::from(size)).map(|at| config.read8(ANSWER + at)).collect()
    }
}

impl Live {
    /// Gives the device this many buffers for events, of `room` bytes each.
    ///
    /// # Errors
    /// The queue is full.
    pub fn offer(&self, count: usize, room: usize) -> Result<Vec<(u16, Buffer)>> {
        let mut offered = Vec::new();
        for _ in 0..count {
            let buffer = self.device.vm().ram().alloc(room, 1)?;
            buffer.write(0, &vec![0xee; room])?;
            offered.push((self.events.add(&[Segment::writable(&buffer)])?, buffer));
        }
        self.events.kick()?;
        Ok(offered)
    }

    /// Takes the event that is in the next of these buffers, which must be the first; `None` if
    /// there is none.
    ///
    /// # Errors
    /// It is another buffer, or is not filled with one event.
    pub fn take(&self, offered: &mut Vec<(u16, Buffer)>) -> Result<Option<Event>> {
        let Some(used) = self.events.take_used()? else { return Ok(None) };
        if offered.first().is_none_or(|(id, _)| *id != used.id) {
            return Err(Error::failed(format!("{used:?} is not the next buffer in turn")));
        }
        let bytes = offered.remove(0).1.to_vec()?;
        let room = bytes.len().min(EVENT);
        if used.written as usize != room || bytes[room..].iter().any(|&byte| byte != 0xee) {
            return Err(Error::failed(format!("an event: {used:?}, {bytes:x?}")));
        }
        let mut event = [0; EVENT];
        event[..room].copy_from_slice(&bytes[..room]);
        let half = |at: usize| u16::from_le_bytes([event[at], event[at + 1]]);
        Ok(Some((half(0), half(2), u32::from(half(4)) | u32::from(half(6)) << 16)))
    }

    /// Sends an event to the device, in a buffer that ends after `length` bytes of it. QEMU says
    /// of what it reads that it has written it; returns how much.
    ///
    /// # Errors
    /// The device does not take it.
    pub fn tell(&self, event: Event, length: usize) -> Result<u32> {
        let buffer = self.device.vm().ram().alloc(length, 1)?;
        let mut bytes = encoded(event).to_vec();
        bytes.resize(length, 0);
        buffer.write(0, &bytes)?;
        let id = self.status.add_miscounted(&[Segment::readable(&buffer)], EVENT as u32)?;
        self.status.kick()?;
        match self.status.wait_used()? {
            used if used.id == id => Ok(used.written),
            used => Err(Error::failed(format!("event {id} was sent, {used:?} came back"))),
        }
    }
}

/// An event to the device, with room for what QEMU says it has written.
///
/// # Errors
/// No guest memory is left.
pub fn plain(device: &Virtio, told: Event) -> Result<Plain> {
    let (event, room) = (device.vm().ram().alloc(EVENT, 1)?, device.vm().ram().alloc(EVENT, 1)?);
    event.write(0, &encoded(told))?;
    let segments = vec![Segment::readable(&event), Segment::writable(&room)];
    let check = move |_| {
        let _keep = &event;
        match room.to_vec()?.iter().all(|&byte| byte == 0) {
            true => Ok(()),
            false => Err(Error::failed("an event to the device was answered")),
        }
    };
    Ok(Plain { queue: STATUS, segments, check: Box::new(check) })
}
