//! The memory device (5.15): a region of guest memory in blocks, and requests that plug and unplug
//! them.

use super::device::Virtio;
use super::queue::Queue;
use super::{Features, Plain, Segment};
use crate::qemu::Vm;
use crate::{Error, Result, interface};

/// The device type.
pub const DEVICE_TYPE: u32 = 24;
/// Feature: the number of a node is in the configuration.
pub const F_ACPI_PXM: u64 = 1 << 0;
/// Feature: the driver does not read what is unplugged.
pub const F_UNPLUGGED_INACCESSIBLE: u64 = 1 << 1;
/// Feature: what is plugged is there after the device has slept (1.4).
pub const F_PERSISTENT_SUSPEND: u64 = 1 << 2;

/// What QEMU's memory devices offer: what there is depends on the machine and the version.
pub const FEATURES: Features = Features {
    must: 0,
    may: F_ACPI_PXM | F_UNPLUGGED_INACCESSIBLE | F_PERSISTENT_SUSPEND,
    legacy_may: 0,
};

/// Fields of the configuration (5.15.4), 64 bits each: the size of a block.
pub const BLOCK_SIZE: u64 = 0;
/// Where the region is.
pub const ADDR: u64 = 16;
/// The size of the region.
pub const REGION_SIZE: u64 = 24;
/// The size of the part of it that can be used now.
pub const USABLE_REGION_SIZE: u64 = 32;
/// How much is plugged.
pub const PLUGGED_SIZE: u64 = 40;
/// How much the device wants plugged.
pub const REQUESTED_SIZE: u64 = 48;

/// Requests (5.15.6): blocks are plugged.
pub const REQ_PLUG: u16 = 0;
/// Request: blocks are unplugged.
pub const REQ_UNPLUG: u16 = 1;
/// Request: all blocks are unplugged.
pub const REQ_UNPLUG_ALL: u16 = 2;
/// Request: whether blocks are plugged.
pub const REQ_STATE: u16 = 3;

/// Response: done.
pub const RESP_ACK: u16 = 0;
/// Response: not done.
pub const RESP_NACK: u16 = 1;
/// Response: not now.
pub const RESP_BUSY: u16 = 2;
/// Response: the request is wrong.
pub const RESP_ERROR: u16 = 3;

/// State: all blocks are plugged.
pub const STATE_PLUGGED: u16 = 0;
/// State: none is.
pub const STATE_UNPLUGGED: u16 = 1;
/// State: some are.
pub const STATE_MIXED: u16 = 2;

/// The length of a request in bytes.
pub const REQUEST_SIZE: usize = 24;
/// The length of a response.
pub const RESPONSE_SIZE: usize = 10;

/// A memory device, and how it is made to ask for another size.
pub struct VirtioMem(
    /// The device.
    pub Virtio,
    /// Has the device ask for so many bytes.
    pub fn(&Vm, u64) -> Result<()>,
);

interface!(VirtioMem = "virtio-mem");

/// The configuration as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// The size of a block.
    pub block_size: u64,
    /// Where the region is.
    pub addr: u64,
    /// The size of the region.
    pub region_size: u64,
    /// The size of the part that can be used now.
    pub usable_region_size: u64,
    /// How much is plugged.
    pub plugged_size: u64,
    /// How much the device wants plugged.
    pub requested_size: u64,
}

/// A device whose queue is live.
pub struct Live {
    device: Virtio,
    /// The queue of requests.
    pub requests: Queue,
}

/// A request: its type, and which blocks it is about. Padding is all ones, which a device ignores
/// (5.15.6.2.2).
pub fn request(kind: u16, addr: u64, blocks: u16) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend([0xff; 6]);
    bytes.extend(addr.to_le_bytes());
    bytes.extend(blocks.to_le_bytes());
    bytes.extend([0xff; 6]);
    bytes
}

impl VirtioMem {
    /// Negotiates all that the device offers, makes the queue live, and the driver ready.
    ///
    /// # Errors
    /// The device does not agree.
    pub fn start(&self) -> Result<Live> {
        let accepted = self.0.negotiate(self.0.acceptable()?)?;
        let requests = self.0.queue(0, accepted)?;
        self.0.driver_ok()?;
        Ok(Live { device: self.0.clone(), requests })
    }

    /// The configuration.
    ///
    /// # Errors
    /// It changes all the time.
    pub fn config(&self) -> Result<Config> {
        let field = |at| {
            let (low, high) = (self.0.config_le32(at)?, self.0.config_le32(at + 4)?);
            Ok::<_, Error>(u64::from(high) << 32 | u64::from(low))
        };
        self.0.read_config(|_| {
            Ok(Config {
                block_size: field(BLOCK_SIZE)?,
                addr: field(ADDR)?,
                region_size: field(REGION_SIZE)?,
                usable_region_size: field(USABLE_REGION_SIZE)?,
                plugged_size: field(PLUGGED_SIZE)?,
                requested_size: field(REQUESTED_SIZE)?,
            })
        })
    }
}

/// The numbers of 16 bits at the start of a response and at its end.
fn parts(response: &[u8]) -> Result<(u16, u16)> {
    match response {
        &[a, b, _, _, _, _, _, _, c, d] => {
            Ok((u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])))
        }
        _ => Err(Error::failed(format!("a response of {} bytes, not 10", response.len()))),
    }
}

impl Live {
    /// Has a request carried out; returns the response and, of [`REQ_STATE`], the state.
    ///
    /// # Errors
    /// The device does not answer, or with another length.
    pub fn ask(&self, kind: u16, addr: u64, blocks: u16) -> Result<(u16, u16)> {
        let request = request(kind, addr, blocks);
        let (written, _) = self.device.exchange(&self.requests, &[&request], &[RESPONSE_SIZE])?;
        parts(&written)
    }

    /// The response to a request.
    ///
    /// # Errors
    /// Returns an error if the device does not answer, or with another length.
    pub fn response(&self, kind: u16, addr: u64, blocks: u16) -> Result<u16> {
        self.ask(kind, addr, blocks).map(|(response, _)| response)
    }

    /// Has a request carried out with success.
    ///
    /// # Errors
    /// The response is another.
    pub fn done(&self, kind: u16, addr: u64, blocks: u16) -> Result<()> {
        match self.response(kind, addr, blocks)? {
            RESP_ACK => Ok(()),
            response => Err(Error::failed(format!(
                "request {kind} for {blocks} blocks at {addr:#x} should be done, but the response \
                 is {response}"
            ))),
        }
    }

    /// The state of blocks.
    ///
    /// # Errors
    /// The device does not tell.
    pub fn state(&self, addr: u64, blocks: u16) -> Result<u16> {
        match self.ask(REQ_STATE, addr, blocks)? {
            (RESP_ACK, state) => Ok(state),
            (response, _) => Err(Error::failed(format!(
                "the state of {blocks} blocks at {addr:#x} should be told, but the response is \
                 {response}"
            ))),
        }
    }
}

/// A request for the state of the first block, which is unplugged as long as no test has plugged it.
///
/// # Errors
/// No guest memory is left.
pub fn plain(device: &Virtio) -> Result<Plain> {
    let (ram, memory) = (device.vm().ram(), VirtioMem(device.clone(), |_, _| Ok(())));
    let (asked, answer) = (ram.alloc(REQUEST_SIZE, 8)?, ram.alloc(16, 8)?);
    asked.write(0, &request(REQ_STATE, memory.config()?.addr, 1))?;
    answer.write(0, &[0xee; 16])?;
    let room = Segment { length: RESPONSE_SIZE as u32, ..Segment::writable(&answer) };
    let segments = vec![Segment::readable(&asked), room];
    let check = move |written: u32| {
        let (_keep, bytes) = (&asked, answer.to_vec()?);
        let (response, state) = parts(&bytes[..RESPONSE_SIZE])?;
        match (written as usize, response, state) {
            (RESPONSE_SIZE, RESP_ACK, STATE_UNPLUGGED) if bytes[RESPONSE_SIZE..] == [0xee; 6] => {
                Ok(())
            }
            told => Err(Error::failed(format!(
                "the state of the first block: {told:?} are the length, response and state; \
                 {bytes:x?}"
            ))),
        }
    };
    Ok(Plain { queue: 0, segments, check: Box::new(check) })
}
