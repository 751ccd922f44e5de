//! The sound device (5.14): streams that play and record, which requests of a control queue set up,
//! and messages with frames in a queue for each direction.

use super::device::Virtio;
use super::queue::Queue;
use super::{Features, Plain, Segment, features};
use crate::qemu::Buffer;
use crate::{Error, Result, interface};

/// The device type.
pub const DEVICE_TYPE: u32 = 25;
/// Feature: there are control elements.
pub const F_CTLS: u64 = 1;

/// What sound devices offer: QEMU's have no control elements, but bits of legacy interfaces through
/// modern ones too.
pub const FEATURES: Features =
    Features { must: 0, may: F_CTLS | features::LEGACY, legacy_may: F_CTLS };

/// Fields of the configuration (5.14.4), 32 bits each: how many jacks there are.
pub const JACKS: u64 = 0;
/// How many streams there are.
pub const STREAMS: u64 = 4;
/// How many channel maps there are.
pub const CHMAPS: u64 = 8;

/// Requests (5.14.6): what the jacks are.
pub const R_JACK_INFO: u32 = 1;
/// Request: another association or sequence number for a jack.
pub const R_JACK_REMAP: u32 = 2;
/// Request: what the streams are.
pub const R_PCM_INFO: u32 = 0x100;
/// Request: the parameters of a stream.
pub const R_PCM_SET_PARAMS: u32 = 0x101;
/// Request: a stream is made ready.
pub const R_PCM_PREPARE: u32 = 0x102;
/// Request: a stream gives back what it has.
pub const R_PCM_RELEASE: u32 = 0x103;
/// Request: a stream begins to run.
pub const R_PCM_START: u32 = 0x104;
/// Request: a stream runs no more.
pub const R_PCM_STOP: u32 = 0x105;
/// Request: what the channel maps are.
pub const R_CHMAP_INFO: u32 = 0x200;

/// Status: success.
pub const S_OK: u32 = 0x8000;
/// Status: the message is malformed, or a parameter is not valid.
pub const S_BAD_MSG: u32 = 0x8001;
/// Status: the operation or a parameter is not supported.
pub const S_NOT_SUPP: u32 = 0x8002;
/// Status: an error of input or output.
pub const S_IO_ERR: u32 = 0x8003;
/// What is in a status that the device has not written.
pub const S_NONE: u32 = 0xeeee_eeee;

/// Formats of samples (5.14.6.6.2): 8 bits with a sign.
pub const FMT_S8: u8 = 3;
/// Format: 8 bits without a sign.
pub const FMT_U8: u8 = 4;
/// Format: 16 bits with a sign.
pub const FMT_S16: u8 = 5;
/// Format: 16 bits without a sign.
pub const FMT_U16: u8 = 6;
/// Format: 32 bits with a sign.
pub const FMT_S32: u8 = 17;
/// Format: 32 bits without a sign.
pub const FMT_U32: u8 = 18;
/// Format: floating-point numbers of 32 bits.
pub const FMT_FLOAT: u8 = 19;
/// How many formats there are.
pub const FORMATS: u8 = 25;

/// Frames a second, by the number of the rate (5.14.6.6.2).
pub const RATES: [u32; 16] = [
    5512, 8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000, 176_400,
    192_000, 384_000, 12_000, 24_000,
];
/// The number of the rate of 44,100 frames a second.
pub const RATE_44100: u8 = 6;
/// The number of the rate of 48,000 frames a second.
pub const RATE_48000: u8 = 7;

/// The direction of a stream that plays.
pub const D_OUTPUT: u8 = 0;
/// The direction of a stream that records.
pub const D_INPUT: u8 = 1;

/// The length of what is told of a stream, in bytes.
pub const PCM_INFO_SIZE: usize = 32;
/// The length of the status behind a message.
pub const STATUS_SIZE: usize = 8;

/// The control queue.
const CONTROL: u16 = 0;
/// The event queue.
const EVENT: u16 = 1;
/// The queue of messages to play.
const TRANSMIT: u16 = 2;
/// The queue of messages to record.
const RECEIVE: u16 = 3;

/// A sound device, through any transport.
pub struct VirtioSound(
    /// The device.
    pub Virtio,
);

interface!(VirtioSound = "virtio-sound");

/// What R_PCM_INFO says of a stream (5.14.6.6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PcmInfo {
    /// The function group node that it belongs to.
    pub hda_fn_nid: u32,
    /// The features, a bit each.
    pub features: u32,
    /// The formats of samples, a bit each.
    pub formats: u64,
    /// The rates, a bit each.
    pub rates: u64,
    /// Whether it plays or records.
    pub direction: u8,
    /// The fewest channels.
    pub channels_min: u8,
    /// The most channels.
    pub channels_max: u8,
    /// Nothing.
    pub padding: [u8; 5],
}

impl PcmInfo {
    /// What these [`PCM_INFO_SIZE`] bytes say.
    ///
    /// # Errors
    /// Returns [`Error::Failed`] if there are less.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let le = |from: usize, to: usize| {
            bytes[from..to].iter().rev().fold(0, |all, &byte| all << 8 | u64::from(byte))
        };
        if bytes.len() < PCM_INFO_SIZE {
            return Err(Error::failed(format!("{} bytes tell nothing of a stream", bytes.len())));
        }
        let mut padding = [0; 5];
        padding.copy_from_slice(&bytes[27..32]);
        Ok(Self {
            hda_fn_nid: le(0, 4) as u32,
            features: le(4, 8) as u32,
            formats: le(8, 16),
            rates: le(16, 24),
            direction: bytes[24],
            channels_min: bytes[25],
            channels_max: bytes[26],
            padding,
        })
    }
}

/// The parameters of a stream (5.14.6.6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Params {
    /// The size of the buffer in bytes.
    pub buffer_bytes: u32,
    /// The size of a period in bytes.
    pub period_bytes: u32,
    /// Features, a bit each.
    pub features: u32,
    /// How many channels.
    pub channels: u8,
    /// The format of a sample.
    pub format: u8,
    /// The number of the rate.
    pub rate: u8,
}

impl Params {
    /// 16 bits in stereo, 44,100 frames a second.
    pub const CD: Self = Self {
        buffer_bytes: 16_384,
        period_bytes: 4096,
        features: 0,
        channels: 2,
        format: FMT_S16,
        rate: RATE_44100,
    };

    /// The request that sets them.
    pub fn request(&self, stream: u32) -> Vec<u8> {
        let mut bytes =
            words(&[R_PCM_SET_PARAMS, stream, self.buffer_bytes, self.period_bytes, self.features]);
        bytes.extend([self.channels, self.format, self.rate, 0]);
        bytes
    }
}

/// The bytes of these numbers, the lowest first.
pub fn words(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The first number in these bytes.
fn word(bytes: &[u8]) -> Result<u32> {
    match bytes {
        &[a, b, c, d, ..] => Ok(u32::from_le_bytes([a, b, c, d])),
        _ => Err(Error::failed(format!("an answer of {} bytes has no status", bytes.len()))),
    }
}

/// A device whose queues are live.
pub struct Live {
    device: Virtio,
    /// The control queue.
    pub control: Queue,
    /// The event queue.
    pub event: Queue,
    /// The queue of messages to play.
    pub transmit: Queue,
    /// The queue of messages to record.
    pub receive: Queue,
}

/// A message with frames, which the device has or had.
pub struct Message {
    /// The buffer's number.
    pub id: u16,
    _header: Buffer,
    frames: Buffer,
    status: Buffer,
}

impl Message {
    /// The status and the latency that the device has written.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn status(&self) -> Result<(u32, u32)> {
        Ok((self.status.read_le32(0)?, self.status.read_le32(4)?))
    }

    /// The frames.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn frames(&self) -> Result<Vec<u8>> {
        self.frames.to_vec()
    }
}

impl VirtioSound {
    /// Negotiates `wanted`, makes all queues live, and the driver ready.
    ///
    /// # Errors
    /// The device does not agree.
    pub fn start(&self, wanted: u64) -> Result<Live> {
        let accepted = self.0.negotiate(wanted)?;
        let queue = |index| self.0.queue(index, accepted);
        let live = Live {
            device: self.0.clone(),
            control: queue(CONTROL)?,
            event: queue(EVENT)?,
            transmit: queue(TRANSMIT)?,
            receive: queue(RECEIVE)?,
        };
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
    /// Has a request carried out whose answer is a status alone; returns that.
    ///
    /// # Errors
    /// The device does not answer, or writes more or less.
    pub fn ask(&self, request: &[u8]) -> Result<u32> {
        let (written, _) = self.device.exchange(&self.control, &[request], &[4])?;
        match written.len() {
            4 => word(&written),
            length => Err(Error::failed(format!("a status of 4 bytes has {length}"))),
        }
    }

    /// Has one of the requests for a stream carried out.
    ///
    /// # Errors
    /// Returns an error if the device does not answer, or with another length.
    pub fn pcm(&self, code: u32, stream: u32) -> Result<u32> {
        self.ask(&words(&[code, stream]))
    }

    /// As [`Live::pcm`], with success.
    ///
    /// # Errors
    /// The device says anything else.
    pub fn pcm_ok(&self, code: u32, stream: u32) -> Result<()> {
        match self.pcm(code, stream)? {
            S_OK => Ok(()),
            status => Err(Error::failed(format!(
                "request {code:#x} for stream {stream} should be carried out, but its status is \
                 {status:#x}"
            ))),
        }
    }

    /// Sets the parameters of a stream; returns the status.
    ///
    /// # Errors
    /// Returns an error if the device does not answer, or with another length.
    pub fn set_params(&self, stream: u32, params: &Params) -> Result<u32> {
        self.ask(&params.request(stream))
    }

    /// Sets the parameters of a stream and makes it ready.
    ///
    /// # Errors
    /// The device refuses.
    pub fn prepare(&self, stream: u32, params: &Params) -> Result<()> {
        match self.set_params(stream, params)? {
            S_OK => self.pcm_ok(R_PCM_PREPARE, stream),
            status => {
                let why = format!("stream {stream} with {params:?}: status {status:#x}");
                Err(Error::failed(why))
            }
        }
    }

    /// Asks for information of `count` items from `start` on, of `size` bytes each; returns the
    /// status and what is behind it.
    ///
    /// # Errors
    /// The device does not answer, or writes behind what it says it has written.
    pub fn info(&self, code: u32, start: u32, count: u32, size: u32) -> Result<(u32, Vec<u8>)> {
        let request = words(&[code, start, count, size]);
        let room = 4 + count.saturating_mul(size).min(4096) as usize;
        let (written, _) = self.device.exchange(&self.control, &[&request], &[room])?;
        Ok((word(&written)?, written[4..].to_vec()))
    }

    /// What the device says of all of `count` streams.
    ///
    /// # Errors
    /// It refuses, or says too little.
    pub fn streams(&self, count: u32) -> Result<Vec<PcmInfo>> {
        match self.info(R_PCM_INFO, 0, count, PCM_INFO_SIZE as u32)? {
            (S_OK, bytes) if bytes.len() == count as usize * PCM_INFO_SIZE => {
                bytes.chunks(PCM_INFO_SIZE).map(PcmInfo::read).collect()
            }
            (status, bytes) => {
                let length = bytes.len();
                let why = format!("{count} streams: status {status:#x} and {length} bytes");
                Err(Error::failed(why))
            }
        }
    }

    fn message(&self, stream: u32, frames: Buffer, reads: bool) -> Result<Message> {
        let ram = self.device.vm().ram();
        let (header, status) = (ram.alloc(4, 4)?, ram.alloc(STATUS_SIZE, 4)?);
        header.write(0, &words(&[stream]))?;
        status.write(0, &[0xee; STATUS_SIZE])?;
        let (queue, body) = match reads {
            true => (&self.transmit, Segment::readable(&frames)),
            false => (&self.receive, Segment::writable(&frames)),
        };
        let segments = [Segment::readable(&header), body, Segment::writable(&status)];
        let id = queue.add(&segments)?;
        queue.kick()?;
        Ok(Message { id, _header: header, frames, status })
    }

    /// Gives the device frames to play.
    ///
    /// # Errors
    /// The queue is full.
    pub fn play(&self, stream: u32, frames: &[u8]) -> Result<Message> {
        let buffer = self.device.vm().ram().alloc(frames.len(), 4)?;
        buffer.write(0, frames)?;
        self.message(stream, buffer, true)
    }

    /// Gives the device room for `length` bytes to record.
    ///
    /// # Errors
    /// The queue is full.
    pub fn record(&self, stream: u32, length: usize) -> Result<Message> {
        let buffer = self.device.vm().ram().alloc(length, 4)?;
        buffer.write(0, &vec![0xee; length])?;
        self.message(stream, buffer, false)
    }

    /// Waits until the device is done with a message of `queue`, which is the next to come back.
    /// Returns how many bytes it says it has written.
    ///
    /// # Errors
    /// It does not come back, or its status is not success.
    pub fn finish(&self, queue: &Queue, message: &Message) -> Result<u32> {
        let (used, (status, _)) = (queue.wait_used()?, message.status()?);
        match used.id == message.id && status == S_OK {
            true => Ok(used.written),
            false => Err(Error::failed(format!(
                "message {} should come back with success, but {used:?} came back, and the status \
                 is {status:#x}",
                message.id
            ))),
        }
    }
}

/// The information of one stream.
///
/// # Errors
/// No guest memory is left.
pub fn plain(device: &Virtio) -> Result<Plain> {
    let ram = device.vm().ram();
    let (request, answer) = (ram.alloc(16, 4)?, ram.alloc(4 + PCM_INFO_SIZE, 4)?);
    request.write(0, &words(&[R_PCM_INFO, 0, 1, PCM_INFO_SIZE as u32]))?;
    let segments = vec![Segment::readable(&request), Segment::writable(&answer)];
    let check = move |written: u32| {
        let (_keep, bytes) = (&request, answer.to_vec()?);
        let info = PcmInfo::read(&bytes[4..])?;
        match (word(&bytes)?, written as usize) {
            (S_OK, length) if length == bytes.len() && info.formats & 1 << FMT_S16 != 0 => Ok(()),
            (status, length) => Err(Error::failed(format!(
                "the first stream: status {status:#x}, {length} bytes written, {info:?}"
            ))),
        }
    };
    Ok(Plain { queue: CONTROL, segments, check: Box::new(check) })
}
