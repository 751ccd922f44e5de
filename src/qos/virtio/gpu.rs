//! The GPU device (5.7) in two dimensions: resources, their memory, and what a screen shows of
//! them. All numbers are little-endian, through any interface.

use super::device::Virtio;
use super::queue::Queue;
use super::{Features, Plain, Segment};
use crate::qemu::Buffer;
use crate::{Error, Result, interface};

/// The device type.
pub const DEVICE_TYPE: u32 = 16;
/// Feature: the identification data of the monitor can be read.
pub const F_EDID: u64 = 1 << 1;
/// Feature: resources can be memory of the guest, without a copy of it.
pub const F_RESOURCE_BLOB: u64 = 1 << 3;

/// What QEMU's offers, without a third dimension.
pub const FEATURES: Features =
    Features { must: F_EDID, may: F_RESOURCE_BLOB, legacy_may: F_RESOURCE_BLOB };

/// Fields of the configuration (5.7.4), 32 bits each: what happened to the screens.
pub const EVENTS_READ: u64 = 0;
/// How many screens there can be.
pub const NUM_SCANOUTS: u64 = 8;
/// How many sets of capabilities of three dimensions there are.
pub const NUM_CAPSETS: u64 = 12;

/// Commands (5.7.6.7): what screens there are.
pub const GET_DISPLAY_INFO: u32 = 0x100;
/// A new resource.
pub const RESOURCE_CREATE_2D: u32 = 0x101;
/// The end of one.
pub const RESOURCE_UNREF: u32 = 0x102;
/// What a screen shows.
pub const SET_SCANOUT: u32 = 0x103;
/// A resource has changed.
pub const RESOURCE_FLUSH: u32 = 0x104;
/// A resource is to be filled from its memory.
pub const TRANSFER_TO_HOST_2D: u32 = 0x105;
/// A resource gets memory.
pub const RESOURCE_ATTACH_BACKING: u32 = 0x106;
/// It loses it.
pub const RESOURCE_DETACH_BACKING: u32 = 0x107;
/// The identification data of a monitor.
pub const GET_EDID: u32 = 0x10a;
/// A new resource that is memory.
pub const RESOURCE_CREATE_BLOB: u32 = 0x10c;
/// What a screen shows of one.
pub const SET_SCANOUT_BLOB: u32 = 0x10d;
/// The cursor gets an image and a place.
pub const UPDATE_CURSOR: u32 = 0x300;
/// It gets another place.
pub const MOVE_CURSOR: u32 = 0x301;

/// Answers: done, and there is nothing to tell.
pub const OK_NODATA: u32 = 0x1100;
/// What screens there are.
pub const OK_DISPLAY_INFO: u32 = 0x1101;
/// The identification data.
pub const OK_EDID: u32 = 0x1104;
/// It failed.
pub const ERR_UNSPEC: u32 = 0x1200;
/// There is no room for it.
pub const ERR_OUT_OF_MEMORY: u32 = 0x1201;
/// There is no such screen.
pub const ERR_INVALID_SCANOUT_ID: u32 = 0x1202;
/// There is no such resource.
pub const ERR_INVALID_RESOURCE_ID: u32 = 0x1203;
/// Another number cannot be.
pub const ERR_INVALID_PARAMETER: u32 = 0x1205;

/// The length of what every command and answer begins with.
pub const HEADER: usize = 24;
/// The length of the answer that says what screens there are.
const DISPLAY_INFO: usize = HEADER + 16 * 24;

/// A rectangle: column, row, width and height in pixels.
pub type Rectangle = [u32; 4];

/// A GPU, through any transport.
pub struct VirtioGpu(
    /// The device.
    pub Virtio,
);

interface!(VirtioGpu = "virtio-gpu");

/// A GPU whose queues are live.
pub struct Live {
    device: Virtio,
    /// The queue of commands.
    pub control: Queue,
    /// The queue of commands for the cursor.
    pub cursor: Queue,
}

/// A command: its header, and these numbers.
pub fn command(kind: u32, numbers: &[u32]) -> Vec<u8> {
    fenced(kind, 0, 0, numbers)
}

/// A command with flags and a fence.
pub fn fenced(kind: u32, flags: u32, fence: u64, numbers: &[u32]) -> Vec<u8> {
    let header = [kind, flags, fence as u32, (fence >> 32) as u32, 0, 0];
    header.iter().chain(numbers).flat_map(|number| number.to_le_bytes()).collect()
}

/// The 32-bit number at `offset` of an answer, 0 behind its end.
pub fn number(answer: &[u8], offset: usize) -> u32 {
    let byte = |at: usize| u32::from(answer.get(offset + at).copied().unwrap_or_default());
    byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24
}

impl VirtioGpu {
    /// Negotiates `wanted`, makes both queues live, and the driver ready.
    ///
    /// # Errors
    /// The device does not agree.
    pub fn start(&self, wanted: u64) -> Result<Live> {
        let accepted = self.0.negotiate(wanted)?;
        let queue = |index| self.0.queue(index, accepted);
        let live = Live { device: self.0.clone(), control: queue(0)?, cursor: queue(1)? };
        self.0.driver_ok()?;
        Ok(live)
    }

    /// A field of the configuration.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn field(&self, at: u64) -> Result<u32> {
        self.0.config_le32(at)
    }
}

impl Live {
    /// Has a command carried out, in pieces of memory of `split` bytes where it is longer, with
    /// room for an answer of `room` bytes; returns what was written.
    ///
    /// # Errors
    /// The device does not answer, or writes what it does not say.
    pub fn exchange(&self, command: &[u8], split: usize, room: usize) -> Result<Vec<u8>> {
        let ram = self.device.vm().ram();
        let mut pieces = Vec::new();
        for bytes in command.chunks(split) {
            let piece = ram.alloc(bytes.len(), 1)?;
            piece.write(0, bytes)?;
            pieces.push(piece);
        }
        let answer = ram.alloc(room, 1)?;
        answer.write(0, &vec![0xee; room])?;
        let segments: Vec<_> = pieces.iter().map(Segment::readable).collect();
        let segments = [&segments[..], &[Segment::writable(&answer)]].concat();
        let written = self.control.carry_out(&segments)? as usize;
        let mut bytes = answer.to_vec()?;
        if bytes[written..].iter().any(|&byte| byte != 0xee) {
            return Err(Error::failed(format!("{written} bytes were written, and more")));
        }
        bytes.truncate(written);
        Ok(bytes)
    }

    /// Has a command with these numbers carried out that is answered without data; returns which
    /// answer it is.
    ///
    /// # Errors
    /// The answer is no header, or has a fence.
    pub fn tell(&self, kind: u32, numbers: &[u32]) -> Result<u32> {
        let answer = self.exchange(&command(kind, numbers), usize::MAX, HEADER)?;
        match answer.len() == HEADER && answer[4..].iter().all(|&byte| byte == 0) {
            true => Ok(number(&answer, 0)),
            false => Err(Error::failed(format!("command {kind:#x}: {answer:x?} came back"))),
        }
    }

    /// The same, which must be done.
    ///
    /// # Errors
    /// It is not done.
    pub fn done(&self, kind: u32, numbers: &[u32]) -> Result<()> {
        match self.tell(kind, numbers)? {
            OK_NODATA => Ok(()),
            other => Err(Error::failed(format!(
                "command {kind:#x} with {numbers:x?}: answer {other:#x}"
            ))),
        }
    }

    /// Gives a resource memory: parts of `memory` that end at `cuts`, and its end.
    ///
    /// # Errors
    /// It is not done.
    pub fn attach(&self, resource: u32, memory: &Buffer, cuts: &[usize]) -> Result<()> {
        let mut numbers = vec![resource, cuts.len() as u32 + 1];
        let mut from = 0;
        for to in cuts.iter().copied().chain([memory.len()]) {
            let at = memory.address().0 + from as u64;
            numbers.extend([at as u32, (at >> 32) as u32, (to - from) as u32, 0]);
            from = to;
        }
        self.done(RESOURCE_ATTACH_BACKING, &numbers)
    }

    /// Fills a part of a resource from its memory, from `offset` on, and shows it.
    ///
    /// # Errors
    /// It is not done.
    pub fn transfer(&self, resource: u32, part: Rectangle, offset: u64) -> Result<()> {
        let place = [offset as u32, (offset >> 32) as u32, resource, 0];
        self.done(TRANSFER_TO_HOST_2D, &[&part[..], &place].concat())?;
        self.done(RESOURCE_FLUSH, &[&part[..], &[resource, 0]].concat())
    }

    /// Has the first screen show a part of a resource.
    ///
    /// # Errors
    /// It is not done.
    pub fn show(&self, resource: u32, part: Rectangle) -> Result<()> {
        self.done(SET_SCANOUT, &[&part[..], &[0, resource]].concat())
    }

    /// Sends a command to the queue of the cursor, which has no answer.
    ///
    /// # Errors
    /// The device does not take it, or writes something.
    pub fn tell_cursor(&self, bytes: &[u8]) -> Result<()> {
        let buffer = self.device.vm().ram().alloc(bytes.len(), 1)?;
        buffer.write(0, bytes)?;
        match self.cursor.carry_out(&[Segment::readable(&buffer)])? {
            0 => Ok(()),
            written => Err(Error::failed(format!("{written} bytes written to no memory"))),
        }
    }
}

/// A question for the screens.
///
/// # Errors
/// No guest memory is left.
pub fn plain(device: &Virtio) -> Result<Plain> {
    let ram = device.vm().ram();
    let (question, answer) = (ram.alloc(HEADER, 1)?, ram.alloc(DISPLAY_INFO, 1)?);
    question.write(0, &command(GET_DISPLAY_INFO, &[]))?;
    let segments = vec![Segment::readable(&question), Segment::writable(&answer)];
    let check = move |written| {
        let _keep = &question;
        let kind = number(&answer.to_vec()?, 0);
        match (written as usize, kind) {
            (DISPLAY_INFO, OK_DISPLAY_INFO) => Ok(()),
            (written, kind) => Err(Error::failed(format!(
                "a question for the screens: {written} bytes written, answer {kind:#x}"
            ))),
        }
    };
    Ok(Plain { queue: 0, segments, check: Box::new(check) })
}
