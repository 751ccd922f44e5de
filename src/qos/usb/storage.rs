//! Mass storage by the bulk-only transport (USB Mass Storage Class, Bulk-Only Transport 1.0,
//! section 5), with SCSI commands in it.

use super::device::UsbDevice;
use super::{Completion, Endpoint, Status};
use crate::qemu::Buffer;
use crate::{Error, Result};

/// The size of a block in bytes.
pub const BLOCK: usize = 512;
/// The length of a command in bytes.
const COMMAND: usize = 31;
/// The length of a status in bytes.
pub const STATUS: usize = 13;

/// What a command ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Ended {
    /// How its data ended; [`Status::Done`] if it has none.
    pub data: Status,
    /// How many bytes of data were moved.
    pub moved: usize,
    /// How many of those that were asked for the device says that it has not moved.
    pub residue: u32,
    /// Zero if the device has done it.
    pub status: u8,
}

/// The data of a command.
#[derive(Clone, Copy)]
pub enum Data<'a> {
    /// None.
    None,
    /// So many bytes come from the device.
    In(&'a Buffer, usize),
    /// So many bytes go to the device.
    Out(&'a Buffer, usize),
}

/// A mass storage device that is configured.
pub struct Storage<'a> {
    /// The device.
    pub usb: UsbDevice<'a>,
    /// Its endpoint that sends to the host.
    pub input: Endpoint,
    /// Its endpoint that receives.
    pub output: Endpoint,
    memory: Buffer,
}

impl<'a> Storage<'a> {
    /// Configures the device.
    ///
    /// # Errors
    /// It refuses, or has not the endpoints that it should.
    pub fn new(usb: UsbDevice<'a>) -> Result<Self> {
        let endpoints = usb.configure()?;
        let [input, output] = endpoints[..] else {
            return Err(Error::failed(format!("storage has the endpoints {endpoints:?}")));
        };
        Self::of(usb, [input, output])
    }

    /// A device that is configured, by its endpoints that send and receive.
    ///
    /// # Errors
    /// No guest memory is left.
    pub fn of(usb: UsbDevice<'a>, [input, output]: [Endpoint; 2]) -> Result<Self> {
        let memory = usb.hcd.vm().ram().alloc(64, 64)?;
        Ok(Self { usb, input, output, memory })
    }

    /// Sends a command to the first logical unit.
    ///
    /// # Errors
    /// The transfer does not end.
    pub fn command(&self, tag: u32, command: &[u8], data: Data) -> Result<Completion> {
        self.command_to(0, tag, command, data)
    }

    /// Sends a command to a logical unit.
    ///
    /// # Errors
    /// The transfer does not end.
    pub fn command_to(&self, lun: u8, tag: u32, command: &[u8], data: Data) -> Result<Completion> {
        let (length, flags) = match data {
            Data::None => (0, 0),
            Data::In(_, length) => (length, 0x80),
            Data::Out(_, length) => (length, 0),
        };
        let mut block = b"USBC".to_vec();
        block.extend(tag.to_le_bytes());
        block.extend((length as u32).to_le_bytes());
        block.extend([flags, lun, command.len() as u8]);
        block.extend(command);
        block.resize(COMMAND, 0);
        self.memory.write(0, &block)?;
        self.usb.transfer(self.output, &self.memory, (0, COMMAND), "the command")
    }

    /// Moves the data of a command that was sent. A stall is cleared.
    ///
    /// # Errors
    /// The transfer does not end, or the stall is not cleared.
    pub fn data(&self, data: Data, what: &str) -> Result<Completion> {
        let (endpoint, moved) = match data {
            Data::None => return Ok(Completion { status: Status::Done, moved: 0 }),
            Data::In(buffer, length) => {
                (&self.input, self.usb.transfer(self.input, buffer, (0, length), what)?)
            }
            Data::Out(buffer, length) => {
                (&self.output, self.usb.transfer(self.output, buffer, (0, length), what)?)
            }
        };
        if moved.status == Status::Stall {
            self.usb.clear_halt(endpoint)?;
        }
        Ok(moved)
    }

    /// Makes the device ready for a command (5.3.4).
    ///
    /// # Errors
    /// It refuses.
    pub fn recover(&self) -> Result<()> {
        // Bulk-Only Mass Storage Reset (3.1), then both endpoints.
        self.usb.set(0x21, 0xff, 0, 0)?;
        self.usb.clear_halt(&self.input)?;
        self.usb.clear_halt(&self.output)
    }

    /// Receives the status of the command `tag`: residue and status.
    ///
    /// # Errors
    /// It does not come, or is no status, or that of another command.
    pub fn status(&self, tag: u32) -> Result<(u32, u8)> {
        self.memory.write(32, &[0; STATUS])?;
        let what = "the status of a command";
        let moved = self.usb.transfer(self.input, &self.memory, (32, STATUS), what)?.done(what)?;
        let mut bytes = [0; STATUS];
        self.memory.read(32, &mut bytes)?;
        let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| bytes[at + byte]));
        if moved != STATUS || bytes[..4] != *b"USBS" || word(4) != tag {
            let why = format!("the status of command {tag:#x} is {bytes:02x?}, {moved} bytes");
            return Err(Error::failed(why));
        }
        Ok((word(8), bytes[12]))
    }

    /// Has a command done. A stall of its data is cleared.
    ///
    /// # Errors
    /// A transfer does not end, or the status is not as it should be.
    pub fn run(&self, tag: u32, command: &[u8], data: Data, what: &str) -> Result<Ended> {
        self.command(tag, command, data)?.done(what)?;
        let moved = self.data(data, what)?;
        let (residue, status) = self.status(tag)?;
        Ok(Ended { data: moved.status, moved: moved.moved, residue, status })
    }
}

/// READ (10) or WRITE (10) of `count` blocks from `first` on (SBC-3, 5.11 and 5.32).
pub fn transfer10(writes: bool, first: u32, count: u16) -> [u8; 10] {
    let ([a, b, c, d], [n, m]) = (first.to_be_bytes(), count.to_be_bytes());
    [if writes { 0x2a } else { 0x28 }, 0, a, b, c, d, 0, n, m, 0]
}
