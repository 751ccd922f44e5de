//! The schedules of an enhanced host controller (EHCI 1.0, chapter 3): a queue head for each transfer,
//! in the periodic list for interrupt transfers, and in the asynchronous list for others.

use std::rc::Rc;

use crate::qemu::{Buffer, Vm};
use crate::qos::usb::{Completion, Kind, Request, Status, Ticket};
use crate::{Error, Result};

/// The entries of the list of frames.
const FRAMES: usize = 1024;
/// Link: there is nothing.
const NOTHING: u32 = 1;
/// Link: a queue head.
const QUEUE: u32 = 2;

/// The room of a queue head, and of a transfer descriptor.
const HEAD: usize = 64;
const DESCRIPTOR: usize = 32;
/// Offsets in a queue head: endpoint; what it can; next; alternate; token.
const ENDPOINT: usize = 4;
const CAPABILITIES: usize = 8;
const NEXT: usize = 16;
const ALTERNATE: usize = 20;
const TOKEN: usize = 24;

/// Endpoint: high speed; toggles are those of descriptors; head of the list.
const HIGH: u32 = 2 << 12;
const DESCRIPTORS_TOGGLE: u32 = 1 << 14;
const LIST_HEAD: u32 = 1 << 15;

/// Token: active; halted; babble; transaction error.
const ACTIVE: u32 = 1 << 7;
const HALTED: u32 = 1 << 6;
const BABBLE: u32 = 1 << 4;
const FAILED: u32 = 1 << 3;
const ERRORS: u32 = 3 << 10;
const INTERRUPT: u32 = 1 << 15;
/// Packet identifications.
const OUT: u32 = 0;
const IN: u32 = 1;
const SETUP: u32 = 2;

/// How many bytes a descriptor moves at the most here: those that it can wherever they begin.
const MOST: usize = 16384;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Setup,
    Data,
    Status,
}

struct Transfer {
    ticket: Ticket,
    memory: Buffer,
    is_periodic: bool,
    parts: Vec<(Part, usize)>,
    packet: usize,
    toggles: Box<dyn Fn(usize)>,
}

/// All that the controller reads.
pub(super) struct Schedule {
    vm: Rc<Vm>,
    list: Buffer,
    head: Buffer,
    transfers: Vec<Transfer>,
    count: u64,
}

impl Schedule {
    /// Empty schedules.
    pub fn new(vm: &Rc<Vm>) -> Result<Self> {
        let list = vm.ram().alloc(4 * FRAMES, 4096)?;
        list.write(0, &NOTHING.to_le_bytes().repeat(FRAMES))?;
        let head = vm.ram().alloc(HEAD, 64)?;
        head.write_le32(0, head.address().0 as u32 | QUEUE)?;
        head.write_le32(ENDPOINT, HIGH | LIST_HEAD)?;
        head.write_le32(CAPABILITIES, 1 << 30)?;
        head.write_le32(NEXT, NOTHING)?;
        head.write_le32(ALTERNATE, NOTHING)?;
        head.write_le32(TOKEN, HALTED)?;
        Ok(Self { vm: vm.clone(), list, head, transfers: Vec::new(), count: 0 })
    }

    /// The guest-physical address of the list of frames.
    pub fn list(&self) -> u64 {
        self.list.address().0
    }

    /// The guest-physical address of the head of the asynchronous list.
    pub fn head(&self) -> u64 {
        self.head.address().0
    }

    /// Adds a transfer.
    pub fn submit(&mut self, request: &Request) -> Result<Ticket> {
        let device = request.device;
        let packet = request.endpoint.packet;
        let is_in = request.is_in();
        let mut parts: Vec<(Part, u32, bool, u64, usize)> = Vec::new();
        let mut toggle = device.toggle(&request.endpoint);
        if request.setup.is_some() {
            parts.push((Part::Setup, SETUP, false, 0, 8));
            toggle = true;
        }
        let mut done = 0;
        while done < request.length || request.setup.is_none() && parts.is_empty() {
            let length = (request.length - done).min(MOST);
            let pid = if is_in { IN } else { OUT };
            parts.push((Part::Data, pid, toggle, request.address + done as u64, length));
            toggle ^= length.div_ceil(packet) % 2 == 1;
            done += length;
        }
        if request.setup.is_some() {
            let pid = if is_in && request.length > 0 { OUT } else { IN };
            parts.push((Part::Status, pid, true, 0, 0));
        }
        // Behind the descriptors: one at which short data stop, and the setup packet.
        let stop = HEAD + DESCRIPTOR * parts.len();
        let memory = self.vm.ram().alloc(stop + DESCRIPTOR + 8, 64)?;
        let base = memory.address().0 as u32;
        let at = |number: usize| base + (HEAD + DESCRIPTOR * number) as u32;
        let last = parts.len() - 1;
        let after_short = if request.setup.is_some() { at(last) } else { at(parts.len()) };
        memory.write_le32(stop, NOTHING)?;
        memory.write_le32(stop + 4, NOTHING)?;
        memory.write(stop + DESCRIPTOR, &request.setup.unwrap_or_default())?;
        for (number, &(part, pid, toggle, address, length)) in parts.iter().enumerate() {
            let offset = HEAD + DESCRIPTOR * number;
            let is_last = number == last;
            let alternate = if part == Part::Data { after_short } else { NOTHING };
            let mut token = ACTIVE | pid << 8 | ERRORS;
            token |= (length as u32) << 16 | u32::from(toggle) << 31;
            if is_last {
                token |= INTERRUPT;
            }
            let address = match part {
                Part::Setup => base + (stop + DESCRIPTOR) as u32,
                _ => address as u32,
            };
            memory.write_le32(offset, if is_last { NOTHING } else { at(number + 1) })?;
            memory.write_le32(offset + 4, alternate)?;
            memory.write_le32(offset + 8, token)?;
            memory.write_le32(offset + 12, address)?;
            for page in 1..5u32 {
                let next = (address & !0xfff) + page * 0x1000;
                memory.write_le32(offset + 12 + 4 * page as usize, next)?;
            }
        }
        let is_periodic = request.endpoint.kind == Kind::Interrupt;
        let endpoint = u32::from(device.address.get())
            | u32::from(request.endpoint.number()) << 8
            | HIGH
            | DESCRIPTORS_TOGGLE
            | (packet as u32) << 16;
        memory.write_le32(ENDPOINT, endpoint)?;
        memory.write_le32(CAPABILITIES, 1 << 30 | u32::from(is_periodic))?;
        memory.write_le32(NEXT, at(0))?;
        memory.write_le32(ALTERNATE, NOTHING)?;
        self.count += 1;
        let ticket = Ticket(self.count);
        let toggles = device.follow(&request.endpoint);
        let parts = parts.iter().map(|part| (part.0, part.4)).collect();
        self.transfers.push(Transfer { ticket, memory, is_periodic, parts, packet, toggles });
        self.link()?;
        Ok(ticket)
    }

    /// Links all queue heads, the latest first, so that a new one is whole before it is reached.
    fn link(&self) -> Result<()> {
        let (mut next, mut periodic) = (self.head() as u32 | QUEUE, NOTHING);
        for transfer in &self.transfers {
            let after = if transfer.is_periodic { &mut periodic } else { &mut next };
            transfer.memory.write_le32(0, *after)?;
            *after = transfer.memory.address().0 as u32 | QUEUE;
        }
        self.list.write(0, &periodic.to_le_bytes().repeat(FRAMES))?;
        self.head.write_le32(0, next)
    }

    fn position(&self, ticket: Ticket) -> Result<usize> {
        let position = self.transfers.iter().position(|it| it.ticket == ticket);
        position.ok_or_else(|| Error::failed(format!("there is no transfer {ticket:?}")))
    }

    /// What became of a transfer, which is taken out then, and its memory.
    pub fn completion(&mut self, ticket: Ticket) -> Result<Option<(Completion, Removed)>> {
        let number = self.position(ticket)?;
        let transfer = &self.transfers[number];
        let (mut moved, mut packets, mut at) = (0, 0, 0);
        let mut status = Status::Done;
        while let Some(&(part, length)) = transfer.parts.get(at) {
            let token = transfer.memory.read_le32(HEAD + DESCRIPTOR * at + 8)?;
            if token & ACTIVE != 0 {
                return Ok(None);
            }
            let left = (token >> 16 & 0x7fff) as usize;
            let Some(actual) = length.checked_sub(left) else {
                return Err(Error::failed(format!("{left} bytes left of {length}")));
            };
            if part == Part::Data {
                moved += actual;
                packets += if left == 0 {
                    length.div_ceil(transfer.packet).max(1)
                } else {
                    actual / transfer.packet + 1
                };
            }
            if token & HALTED != 0 {
                status = match token {
                    _ if token & BABBLE != 0 => Status::Babble,
                    _ if token & FAILED != 0 => Status::NoAnswer,
                    _ => Status::Stall,
                };
                break;
            }
            let end = transfer.parts.len() - 1;
            at = match (part, left) {
                (Part::Data, 1..) if transfer.parts[end].0 == Part::Status => end,
                (Part::Data, 1..) => break,
                _ => at + 1,
            };
        }
        (transfer.toggles)(packets);
        let removed = self.remove(ticket)?;
        Ok(Some((Completion { status, moved }, removed)))
    }

    /// Takes a transfer out; the controller may still look at it.
    pub fn remove(&mut self, ticket: Ticket) -> Result<Removed> {
        let number = self.position(ticket)?;
        let Transfer { memory, is_periodic, .. } = self.transfers.remove(number);
        self.link()?;
        Ok(Removed { _memory: memory, is_periodic })
    }
}

/// The memory of a transfer that was taken out.
pub(super) struct Removed {
    _memory: Buffer,
    /// Whether it was in the periodic list.
    pub is_periodic: bool,
}
