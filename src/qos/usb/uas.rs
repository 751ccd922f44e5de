//! USB Attached SCSI (T10/2095-D, "UAS", whose sections are cited): information units on four pipes.
//! At super speed a command's status and data are on the stream of its tag; at high speed a unit
//! says when its data are to be moved.

use super::device::UsbDevice;
use super::{Completion, Endpoint, Ticket, UsbHcd};
use crate::qemu::Buffer;
use crate::qos::wait_until;
use crate::{Error, Result};

/// Identifiers of information units (6.2.1).
pub mod id {
    /// A command.
    pub const COMMAND: u8 = 1;
    /// A status, with sense data.
    pub const SENSE: u8 = 3;
    /// A response.
    pub const RESPONSE: u8 = 4;
    /// A task management function.
    pub const TASK: u8 = 5;
    /// Data are to be read.
    pub const READ_READY: u8 = 6;
    /// Data are to be written.
    pub const WRITE_READY: u8 = 7;
}

/// Task management functions (6.2.6).
pub mod function {
    /// ABORT TASK.
    pub const ABORT_TASK: u8 = 0x01;
    /// LOGICAL UNIT RESET.
    pub const LOGICAL_UNIT_RESET: u8 = 0x08;
}

/// Response codes (6.2.5).
pub mod response {
    /// The function is complete.
    pub const COMPLETE: u8 = 0x00;
    /// The information unit is not valid.
    pub const INVALID: u8 = 0x02;
    /// The function is not supported.
    pub const NOT_SUPPORTED: u8 = 0x04;
    /// There is no such unit.
    pub const INCORRECT_LUN: u8 = 0x09;
    /// The tag is in use.
    pub const OVERLAPPED_TAG: u8 = 0x0a;
}

/// The room for an information unit from the device.
const ROOM: usize = 96;

/// The endpoints by their pipe usage (5.2.3.7).
#[derive(Debug, Clone, Copy)]
pub struct Pipes {
    /// Commands and functions.
    pub command: Endpoint,
    /// What comes back.
    pub status: Endpoint,
    /// Data to the host.
    pub input: Endpoint,
    /// Data from the host.
    pub output: Endpoint,
}

impl Pipes {
    /// The pipes of a configuration whose endpoints are `endpoints`.
    ///
    /// # Errors
    /// One is missing or twice there.
    pub fn new(configuration: &[u8], endpoints: &[Endpoint]) -> Result<Self> {
        /// The descriptor of a pipe's usage.
        const USAGE: u8 = 0x24;
        let mut rest = configuration;
        let (mut address, mut usages) = (0, Vec::new());
        while let [length, kind, third, ..] = *rest
            && length > 1
        {
            match kind {
                super::device::descriptor::ENDPOINT => address = third,
                USAGE => usages.push((third, address)),
                _ => {}
            }
            rest = rest.get(length.into()..).unwrap_or_default();
        }
        usages.sort_unstable();
        let [(1, command), (2, status), (3, input), (4, output)] = usages[..] else {
            return Err(Error::failed(format!("usages of pipes and endpoints: {usages:02x?}")));
        };
        let find = |address: u8| {
            let found = endpoints.iter().find(|it| it.address == address).copied();
            found.ok_or_else(|| Error::failed(format!("there is no endpoint {address:#x}")))
        };
        let (command, status) = (find(command)?, find(status)?);
        Ok(Self { command, status, input: find(input)?, output: find(output)? })
    }

    /// Whether status and data have streams.
    pub fn have_streams(&self) -> bool {
        self.status.streams != 0
    }

    /// The highest tag that a command may have.
    pub fn most(&self) -> u16 {
        if self.have_streams() { 1 << self.status.streams } else { 0xffff }
    }

    /// The stream of a tag.
    fn stream(&self, tag: u16) -> u16 {
        if self.have_streams() { tag } else { 0 }
    }
}

/// A command (6.2.2).
pub fn command(tag: u16, lun: u8, cdb: &[u8]) -> Vec<u8> {
    let [high, low] = tag.to_be_bytes();
    let mut iu = vec![id::COMMAND, 0, high, low, 0, 0, 0, 0, 0, lun, 0, 0, 0, 0, 0, 0];
    iu.extend(cdb);
    iu.resize(32, 0);
    iu
}

/// A task management function (6.2.6).
pub fn task(tag: u16, function: u8, of: u16, lun: u8) -> Vec<u8> {
    let ([high, low], [of_high, of_low]) = (tag.to_be_bytes(), of.to_be_bytes());
    vec![id::TASK, 0, high, low, function, 0, of_high, of_low, 0, lun, 0, 0, 0, 0, 0, 0]
}

/// An information unit from the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A status, and sense data if there are any.
    Sense(u16, u8, Vec<u8>),
    /// A response code.
    Response(u16, u8),
    /// The data of a command are to be read.
    ReadReady(u16),
    /// The data of a command are to be written.
    WriteReady(u16),
}

/// What an information unit says (6.2.3 to 6.2.5).
///
/// # Errors
/// It is none, or is longer or shorter than it should be.
pub fn answer(iu: &[u8]) -> Result<Answer> {
    match *iu {
        [id::SENSE, 0, h, l, 0, 0, status, ref rest @ ..]
            if rest.len() >= 9
                && rest.len() - 9 == usize::from(u16::from_be_bytes([rest[7], rest[8]])) =>
        {
            Ok(Answer::Sense(u16::from_be_bytes([h, l]), status, rest[9..].to_vec()))
        }
        [id::RESPONSE, 0, h, l, 0, 0, 0, code] => {
            Ok(Answer::Response(u16::from_be_bytes([h, l]), code))
        }
        [id::READ_READY, 0, h, l] => Ok(Answer::ReadReady(u16::from_be_bytes([h, l]))),
        [id::WRITE_READY, 0, h, l] => Ok(Answer::WriteReady(u16::from_be_bytes([h, l]))),
        _ => Err(Error::failed(format!("an information unit is {iu:02x?}"))),
    }
}

/// A transfer that was submitted, and its memory.
pub struct Pending {
    /// The transfer.
    pub ticket: Ticket,
    memory: Buffer,
}

/// A device that is configured.
pub struct Uas<'a> {
    /// The device.
    pub usb: UsbDevice<'a>,
    /// Its endpoints.
    pub pipes: Pipes,
}

impl<'a> Uas<'a> {
    /// Configures the device.
    ///
    /// # Errors
    /// It refuses, or has not the endpoints that it should. Skipped if they have streams and the
    /// controller does not know them.
    pub fn new(usb: UsbDevice<'a>) -> Result<Self> {
        let endpoints = usb.configure()?;
        let pipes = Pipes::new(&usb.configuration()?, &endpoints)?;
        if pipes.status.streams > usb.hcd.profile().streams {
            return Err(Error::skipped("its controller has no streams"));
        }
        Ok(Self { usb, pipes })
    }

    fn hcd(&self) -> &dyn UsbHcd {
        self.usb.hcd
    }

    /// Sends an information unit.
    ///
    /// # Errors
    /// The transfer does not end.
    pub fn send(&self, iu: &[u8]) -> Result<Completion> {
        let memory = self.hcd().vm().ram().alloc(iu.len().max(1), 64)?;
        memory.write(0, iu)?;
        self.usb.transfer(self.pipes.command, &memory, (0, iu.len()), "an information unit")
    }

    /// Begins to receive what comes for `tag`, or, without streams, what comes next.
    ///
    /// # Errors
    /// The controller refuses.
    pub fn listen(&self, tag: u16) -> Result<Pending> {
        let memory = self.hcd().vm().ram().alloc(ROOM, 64)?;
        let mut request = self.usb.request(self.pipes.status, &memory, (0, ROOM));
        request.stream = self.pipes.stream(tag);
        Ok(Pending { ticket: self.hcd().submit(&request)?, memory })
    }

    /// What has come; `None` while nothing has.
    ///
    /// # Errors
    /// The transfer has failed, or what came is no information unit.
    pub fn heard(&self, pending: &Pending) -> Result<Option<Answer>> {
        let Some(completion) = self.hcd().completion(pending.ticket)? else { return Ok(None) };
        let length = completion.done("an information unit from the device")?;
        let mut iu = pending.memory.to_vec()?;
        iu.truncate(length);
        answer(&iu).map(Some)
    }

    /// Waits for that.
    ///
    /// # Errors
    /// It does not come, or as for [`Uas::heard`].
    pub fn hear(&self, pending: &Pending) -> Result<Answer> {
        let mut answer = None;
        wait_until(self.hcd().vm(), "an information unit from the device", || {
            answer = self.heard(pending)?;
            Ok(answer.is_some())
        })?;
        answer.ok_or_else(|| Error::failed("an information unit was lost"))
    }

    /// Sends an information unit with `tag` and waits for what comes back.
    ///
    /// # Errors
    /// The device refuses it, or nothing comes.
    pub fn ask(&self, tag: u16, iu: &[u8]) -> Result<Answer> {
        let pending = self.listen(tag)?;
        self.send(iu)?.done("an information unit")?;
        self.hear(&pending)
    }

    /// Begins to move the first `length` bytes of `memory` for the command `tag`.
    ///
    /// # Errors
    /// The controller refuses.
    pub fn data(&self, tag: u16, is_out: bool, memory: &Buffer, length: usize) -> Result<Ticket> {
        let pipe = if is_out { self.pipes.output } else { self.pipes.input };
        let mut request = self.usb.request(pipe, memory, (0, length));
        request.stream = self.pipes.stream(tag);
        self.hcd().submit(&request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a field in the place of another, and an information unit that is cut off.
    #[test]
    fn information_units() {
        let expected = [1, 0, 1, 2, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0x12, 0, 0, 0, 36, 0];
        let iu = command(0x0102, 3, &[0x12, 0, 0, 0, 36, 0]);
        assert_eq!((iu.len(), &iu[..22]), (32, &expected[..]));
        assert_eq!(answer(&[4, 0, 1, 2, 0, 0, 0, 9]).unwrap(), Answer::Response(0x0102, 9));
        let mut sense = vec![3, 0, 0, 7, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0x70, 0];
        assert_eq!(answer(&sense).unwrap(), Answer::Sense(7, 2, vec![0x70, 0]));
        sense.pop();
        assert!(answer(&sense).is_err() && answer(&[6, 0, 1]).is_err());
    }
}
