//! A configured network adapter: messages and their answers, frames and notifications.

use std::cell::Cell;

use super::{SUCCESS, bytes, message, oid, request, words};
use crate::qemu::Buffer;
use crate::qos::net::Wire;
use crate::qos::usb::device::{UsbDevice, control, setup};
use crate::qos::usb::{Completion, Endpoint, Ticket};
use crate::qos::wait_until;
use crate::{Error, Result};

/// The largest transfer here.
const ROOM: usize = 2048;

/// A network adapter in one of its configurations.
pub struct Adapter<'a> {
    /// The device.
    pub usb: UsbDevice<'a>,
    /// Its endpoint that notifies.
    pub interrupt: Endpoint,
    /// Its endpoint that sends to the host.
    pub input: Endpoint,
    /// Its endpoint that receives.
    pub output: Endpoint,
    /// The other end of the cable.
    pub wire: Wire,
    number: Cell<u32>,
}

impl<'a> Adapter<'a> {
    /// An adapter that is configured, with its endpoints that notify, send and receive.
    pub(super) fn new(usb: UsbDevice<'a>, endpoints: [Endpoint; 3], wire: Wire) -> Self {
        let [interrupt, input, output] = endpoints;
        Self { usb, interrupt, input, output, wire, number: Cell::new(0x1234_5600) }
    }

    /// The next number of a request.
    pub fn next(&self) -> u32 {
        self.number.set(self.number.get() + 1);
        self.number.get()
    }

    /// Sends a message by the control endpoint.
    ///
    /// # Errors
    /// The transfer does not end.
    pub fn command(&self, message: &[u8]) -> Result<Completion> {
        let data = self.usb.hcd.vm().ram().alloc(message.len().max(1), 16)?;
        data.write(0, message)?;
        let setup = setup(0x21, request::SEND_COMMAND, 0, 0, message.len() as u16);
        control(self.usb.hcd, &self.usb.device, setup, Some(&data), "a message")
    }

    /// The next answer of the control endpoint; one byte if there is none.
    ///
    /// # Errors
    /// The device refuses.
    pub fn response(&self) -> Result<Vec<u8>> {
        self.usb.get(setup(0xa1, request::GET_RESPONSE, 0, 0, 1025), "an answer")
    }

    /// Sends a message of this type with these words behind its number; returns the words of the answer,
    /// which has the same number.
    ///
    /// # Errors
    /// The device refuses, or answers something else.
    pub fn ask(&self, kind: u32, rest: &[u32]) -> Result<Vec<u32>> {
        let number = self.next();
        let length = 12 + 4 * rest.len() as u32;
        let message = bytes(&[&[kind, length, number], rest].concat());
        self.command(&message)?.done("a message")?;
        let answer = self.response()?;
        let of = words(&answer);
        match of[..] {
            [answers, length, same, ..]
                if answers == kind | message::COMPLETE
                    && length as usize == answer.len()
                    && same == number =>
            {
                Ok(of)
            }
            _ => Err(Error::failed(format!("{message:02x?} is answered {answer:02x?}"))),
        }
    }

    /// Begins to talk.
    ///
    /// # Errors
    /// The device refuses.
    pub fn initialize(&self) -> Result<Vec<u32>> {
        let answer = self.ask(message::INITIALIZE, &[1, 0, 0x4000])?;
        match answer.get(3) {
            Some(&SUCCESS) => Ok(answer),
            other => Err(Error::failed(format!("it is not initialized: {other:x?}"))),
        }
    }

    /// Asks for an object: the status, and the data.
    ///
    /// # Errors
    /// The device refuses, or the answer contradicts itself.
    pub fn query(&self, oid: u32) -> Result<(u32, Vec<u8>)> {
        let number = self.next();
        self.command(&bytes(&[message::QUERY, 28, number, oid, 0, 0, 0]))?.done("a query")?;
        let answer = self.response()?;
        let wrong = || Error::failed(format!("object {oid:#x} is answered {answer:02x?}"));
        let [kind, all, same, status, length, offset] = words(&answer)[..6.min(answer.len() / 4)]
        else {
            return Err(wrong());
        };
        let head = (kind, all as usize, same);
        if head != (message::QUERY | message::COMPLETE, answer.len(), number) {
            return Err(wrong());
        }
        // An offset counts from the number of the request.
        let data = match length {
            0 => &[],
            _ => answer[8..].get(offset as usize..(offset + length) as usize).ok_or_else(wrong)?,
        };
        Ok((status, data.to_vec()))
    }

    /// The word that an object is.
    ///
    /// # Errors
    /// The device has none.
    pub fn word(&self, oid: u32) -> Result<u32> {
        match self.query(oid)? {
            (SUCCESS, data) if data.len() == 4 => Ok(words(&data)[0]),
            other => Err(Error::failed(format!("object {oid:#x} is {other:02x?}"))),
        }
    }

    /// Sets an object; returns the status.
    ///
    /// # Errors
    /// The device refuses.
    pub fn assign(&self, oid: u32, value: u32) -> Result<u32> {
        let answer = self.ask(message::SET, &[oid, 4, 20, 0, value])?;
        match answer[..] {
            [_, 16, _, status] => Ok(status),
            _ => Err(Error::failed(format!("object {oid:#x} is set with {answer:x?}"))),
        }
    }

    /// Sets which frames are received.
    ///
    /// # Errors
    /// The device refuses.
    pub fn set_filter(&self, filter: u32) -> Result<()> {
        match self.assign(oid::PACKET_FILTER, filter)? {
            SUCCESS => Ok(()),
            other => Err(Error::failed(format!("the filter is set with status {other:#x}"))),
        }
    }

    /// Sends bytes in one transfer.
    ///
    /// # Errors
    /// The device does not take them all.
    pub fn transfer(&self, bytes: &[u8]) -> Result<()> {
        let memory = self.usb.hcd.vm().ram().alloc(bytes.len().max(1), 64)?;
        memory.write(0, bytes)?;
        let sent = self.usb.transfer(self.output, &memory, (0, bytes.len()), "a frame out")?;
        match sent.done("a frame out")? {
            all if all == bytes.len() => Ok(()),
            some => Err(Error::failed(format!("{some} of {} bytes were sent", bytes.len()))),
        }
    }

    /// Sends a frame of CDC, whose end is a short packet (ECM120, 3.3.1).
    ///
    /// # Errors
    /// The device does not take it.
    pub fn send_frame(&self, frame: &[u8]) -> Result<()> {
        self.transfer(frame)?;
        if frame.len().is_multiple_of(self.output.packet) { self.transfer(&[]) } else { Ok(()) }
    }

    /// The next frame of CDC, which ends with a short packet.
    ///
    /// # Errors
    /// None comes.
    pub fn receive_frame(&self) -> Result<Vec<u8>> {
        let memory = self.usb.hcd.vm().ram().alloc(ROOM, 64)?;
        let moved = self.usb.transfer(self.input, &memory, (0, ROOM), "a frame in")?;
        let mut bytes = memory.to_vec()?;
        bytes.truncate(moved.done("a frame in")?);
        Ok(bytes)
    }

    /// The next message of the bulk endpoint, packet by packet up to the length that it says.
    ///
    /// # Errors
    /// None comes, or one that is longer than it says.
    pub fn receive_message(&self) -> Result<Vec<u8>> {
        let packet = self.input.packet;
        let memory = self.usb.hcd.vm().ram().alloc(packet, 64)?;
        let mut message = Vec::new();
        loop {
            let moved = self.usb.transfer(self.input, &memory, (0, packet), "a message in")?;
            let moved = moved.done("a message in")?;
            message.extend(&memory.to_vec()?[..moved]);
            let length = words(&message).get(1).copied().unwrap_or(0) as usize;
            match message.len() {
                all if all == length => return Ok(message),
                some if some < length && moved == packet => {}
                _ => return Err(Error::failed(format!("{moved} bytes end {message:02x?}"))),
            }
        }
    }

    /// The frame of the next message of the bulk endpoint.
    ///
    /// # Errors
    /// None comes, or it is no packet.
    pub fn receive_packet(&self) -> Result<Vec<u8>> {
        let message = self.receive_message()?;
        match words(&message)[..] {
            [message::PACKET, _, offset, length, 0, 0, 0, 0, 0, _, 0, ..]
                if 8 + offset as usize + length as usize == message.len() =>
            {
                Ok(message[8 + offset as usize..].to_vec())
            }
            _ => Err(Error::failed(format!("what is no packet: {message:02x?}"))),
        }
    }

    /// Asks for a packet of an endpoint, which may come later.
    ///
    /// # Errors
    /// The controller has no room for it.
    pub fn listen(&self, endpoint: Endpoint) -> Result<Listening<'_>> {
        let memory = self.usb.hcd.vm().ram().alloc(endpoint.packet, 64)?;
        let ticket =
            self.usb.hcd.submit(&self.usb.request(endpoint, &memory, (0, endpoint.packet)))?;
        Ok(Listening { adapter: self, memory, ticket })
    }
}

/// A packet that was asked for.
pub struct Listening<'a> {
    adapter: &'a Adapter<'a>,
    memory: Buffer,
    ticket: Ticket,
}

impl Listening<'_> {
    /// What has come, if anything has.
    ///
    /// # Errors
    /// QEMU does not answer, or the transfer has failed.
    pub fn look(&self) -> Result<Option<Vec<u8>>> {
        let Some(completion) = self.adapter.usb.hcd.completion(self.ticket)? else {
            return Ok(None);
        };
        let mut bytes = self.memory.to_vec()?;
        bytes.truncate(completion.done("a packet")?);
        Ok(Some(bytes))
    }

    /// Waits for it.
    ///
    /// # Errors
    /// It does not come.
    pub fn wait(self, what: &str) -> Result<Vec<u8>> {
        let mut came = None;
        wait_until(self.adapter.usb.hcd.vm(), what, || {
            came = self.look()?;
            Ok(came.is_some())
        })?;
        Ok(came.unwrap_or_default())
    }

    /// Takes it back.
    ///
    /// # Errors
    /// The controller does not let it go.
    pub fn cancel(self) -> Result<()> {
        self.adapter.usb.hcd.cancel(self.ticket)
    }
}
