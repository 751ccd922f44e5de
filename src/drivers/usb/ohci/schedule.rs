//! The lists of an open host controller (OpenHCI 1.0a, chapter 4): an endpoint descriptor for each
//! transfer, in the list of its kind.

use std::rc::Rc;

use super::packets::Stream;
use crate::qemu::{Buffer, Vm};
use crate::qos::usb::{Completion, Kind, Packets, Request, Speed, Status, Ticket};
use crate::{Error, Result};

/// The length of the communications area, and where its parts are (4.4.1).
const AREA: usize = 256;
const TABLE: usize = 32;

/// The size of a descriptor.
const DESCRIPTOR: usize = 16;
/// Offsets in an endpoint descriptor: tail, head, next.
pub(super) const TAIL: usize = 4;
pub(super) const HEAD: usize = 8;
pub(super) const NEXT: usize = 12;
/// Head: halted; the toggle of the next packet.
pub(super) const HALTED: u32 = 1;
const CARRY: u32 = 2;
/// ED: low speed.
const LOW_SPEED: u32 = 1 << 13;

/// TD: a short packet is no error; no interrupt; the toggle is that of the descriptor.
const ROUNDING: u32 = 1 << 18;
const SILENT: u32 = 7 << 21;
const OWN_TOGGLE: u32 = 2 << 24;
/// TD: the condition code of one that was not looked at (4.3.3).
const NOT_ACCESSED: u32 = 0xe;
/// Directions.
const SETUP: u32 = 0;
const OUT: u32 = 1;
const IN: u32 = 2;

/// How many bytes a descriptor moves at the most here: those that it can wherever they begin.
const MOST: usize = 4096;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Setup,
    Data,
    Status,
}

struct Transfer {
    ticket: Ticket,
    memory: Buffer,
    kind: Kind,
    parts: Vec<(Part, u64, usize)>,
    packet: usize,
    toggles: Box<dyn Fn(usize)>,
}

/// All that the controller reads.
pub(super) struct Schedule {
    vm: Rc<Vm>,
    area: Buffer,
    heads: [Buffer; 2],
    transfers: Vec<Transfer>,
    streams: Vec<Stream>,
    count: u64,
}

impl Schedule {
    /// Empty lists.
    pub fn new(vm: &Rc<Vm>) -> Result<Self> {
        let ram = vm.ram();
        let head = || -> Result<Buffer> {
            let head = ram.alloc(DESCRIPTOR, 16)?;
            // Skipped.
            head.write_le32(0, 1 << 14)?;
            Ok(head)
        };
        let (area, heads) = (ram.alloc(AREA, 256)?, [head()?, head()?]);
        let (transfers, streams) = (Vec::new(), Vec::new());
        Ok(Self { vm: vm.clone(), area, heads, transfers, streams, count: 0 })
    }

    /// The guest-physical address of the communications area.
    pub fn area(&self) -> u64 {
        self.area.address().0
    }

    /// Those of the heads of the lists of control and bulk transfers.
    pub fn heads(&self) -> [u64; 2] {
        [self.heads[0].address().0, self.heads[1].address().0]
    }

    /// Adds a transfer.
    pub fn submit(&mut self, request: &Request) -> Result<Ticket> {
        let (device, packet) = (request.device, request.endpoint.packet);
        let is_in = request.is_in();
        let mut parts: Vec<(Part, u32, u32, u64, usize)> = Vec::new();
        if request.setup.is_some() {
            parts.push((Part::Setup, SETUP, OWN_TOGGLE, 0, 8));
        }
        let mut done = 0;
        while done < request.length || request.setup.is_none() && parts.is_empty() {
            let length = (request.length - done).min(MOST);
            let direction = if is_in { IN } else { OUT };
            let toggle = match request.setup {
                Some(_) if done == 0 => OWN_TOGGLE | 1 << 24,
                _ => 0,
            };
            let is_last = done + length == request.length;
            let flags = toggle | if is_last { ROUNDING } else { 0 };
            parts.push((Part::Data, direction, flags, request.address + done as u64, length));
            done += length;
        }
        if request.setup.is_some() {
            let direction = if is_in && request.length > 0 { OUT } else { IN };
            parts.push((Part::Status, direction, OWN_TOGGLE | 1 << 24, 0, 0));
        }
        // The endpoint, the descriptors, an empty one that ends them, and the setup packet.
        let setup = DESCRIPTOR * (parts.len() + 2);
        let memory = self.vm.ram().alloc(setup + 8, 16)?;
        let base = memory.address().0;
        memory.write(setup, &request.setup.unwrap_or_default())?;
        let last = parts.len() - 1;
        let mut noted = Vec::new();
        for (number, &(part, direction, flags, address, length)) in parts.iter().enumerate() {
            let offset = DESCRIPTOR * (number + 1);
            let silent = if number == last { 0 } else { SILENT };
            let address = if part == Part::Setup { base + setup as u64 } else { address };
            let word = NOT_ACCESSED << 28 | flags | silent | direction << 19;
            memory.write_le32(offset, word)?;
            let (first, end) = match length {
                0 => (0, 0),
                _ => (address as u32, address as u32 + length as u32 - 1),
            };
            memory.write_le32(offset + 4, first)?;
            memory.write_le32(offset + 8, base as u32 + (offset + DESCRIPTOR) as u32)?;
            memory.write_le32(offset + 12, end)?;
            noted.push((part, address, length));
        }
        let low = if device.speed == Speed::Low { LOW_SPEED } else { 0 };
        let endpoint = u32::from(device.address.get())
            | u32::from(request.endpoint.number()) << 7
            | low
            | (packet as u32) << 16;
        memory.write_le32(0, endpoint)?;
        memory.write_le32(TAIL, base as u32 + (DESCRIPTOR * (parts.len() + 1)) as u32)?;
        let carry = if device.toggle(&request.endpoint) { CARRY } else { 0 };
        memory.write_le32(HEAD, (base as u32 + DESCRIPTOR as u32) | carry)?;
        self.count += 1;
        let (ticket, kind) = (Ticket(self.count), request.endpoint.kind);
        let toggles = device.follow(&request.endpoint);
        self.transfers.push(Transfer { ticket, memory, kind, parts: noted, packet, toggles });
        self.link()?;
        Ok(ticket)
    }

    /// Links all lists, the latest first; isochronous endpoints come last (4.2.2).
    fn link(&self) -> Result<()> {
        let (mut control, mut bulk, mut periodic) = (0, 0, 0);
        for stream in &self.streams {
            periodic = stream.link(periodic)?;
        }
        for transfer in &self.transfers {
            let after = match transfer.kind {
                Kind::Control => &mut control,
                Kind::Bulk => &mut bulk,
                Kind::Interrupt | Kind::Isochronous => &mut periodic,
            };
            transfer.memory.write_le32(NEXT, *after)?;
            *after = transfer.memory.address().0 as u32;
        }
        self.area.write(0, &periodic.to_le_bytes().repeat(TABLE))?;
        self.heads[0].write_le32(NEXT, control)?;
        self.heads[1].write_le32(NEXT, bulk)
    }

    fn position(&self, ticket: Ticket) -> Result<usize> {
        let position = self.transfers.iter().position(|it| it.ticket == ticket);
        position.ok_or_else(|| Error::failed(format!("there is no transfer {ticket:?}")))
    }

    /// What became of a transfer, which is taken out then, and its memory.
    pub fn completion(&mut self, ticket: Ticket) -> Result<Option<(Completion, Buffer)>> {
        let number = self.position(ticket)?;
        let transfer = &self.transfers[number];
        let (mut moved, mut packets) = (0, 0);
        let mut status = Status::Done;
        for (at, &(part, address, length)) in transfer.parts.iter().enumerate() {
            let offset = DESCRIPTOR * (at + 1);
            let code = transfer.memory.read_le32(offset)? >> 28;
            if code >= NOT_ACCESSED {
                return Ok(None);
            }
            let pointer = u64::from(transfer.memory.read_le32(offset + 4)?);
            let actual = match pointer {
                0 => length,
                _ => (pointer - address.min(pointer)) as usize,
            };
            if actual > length {
                return Err(Error::failed(format!("{actual} bytes moved of {length}")));
            }
            // Condition codes (table 4-7).
            status = match code {
                0 | 9 => Status::Done,
                4 => Status::Stall,
                5 => Status::NoAnswer,
                8 => Status::Babble,
                code => return Err(Error::failed(format!("the condition code {code}"))),
            };
            if part == Part::Data && status == Status::Done {
                moved += actual;
                packets += match actual == length {
                    true => length.div_ceil(transfer.packet).max(1),
                    false => actual / transfer.packet + 1,
                };
            }
            if status != Status::Done || code == 9 {
                let head = transfer.memory.read_le32(HEAD)?;
                if head & HALTED == 0 {
                    return Err(Error::failed(format!("code {code}, and the endpoint goes on")));
                }
                break;
            }
        }
        let transfer = self.transfers.remove(number);
        (transfer.toggles)(packets);
        self.link()?;
        Ok(Some((Completion { status, moved }, transfer.memory)))
    }

    /// Adds packets.
    pub fn submit_packets(&mut self, packets: &Packets) -> Result<Ticket> {
        self.count += 1;
        self.streams.push(Stream::new(&self.vm, Ticket(self.count), packets)?);
        self.link()?;
        Ok(Ticket(self.count))
    }

    /// What became of packets, which are taken out then, and their memory.
    pub fn packets(&mut self, ticket: Ticket) -> Result<Option<(Vec<Completion>, Buffer)>> {
        let Some(stream) = self.streams.iter().find(|it| it.ticket == ticket) else {
            return Err(Error::failed(format!("there are no packets {ticket:?}")));
        };
        match stream.completions()? {
            Some(completions) => Ok(Some((completions, self.remove(ticket)?))),
            None => Ok(None),
        }
    }

    /// Takes a transfer out, or packets; the controller may still look at it.
    pub fn remove(&mut self, ticket: Ticket) -> Result<Buffer> {
        if let Some(at) = self.streams.iter().position(|it| it.ticket == ticket) {
            let stream = self.streams.remove(at);
            self.link()?;
            return Ok(stream.into_memory());
        }
        let number = self.position(ticket)?;
        let transfer = self.transfers.remove(number);
        self.link()?;
        Ok(transfer.memory)
    }
}
