//! The schedule of a universal host controller (UHCI Design Guide 1.1, chapter 3): every entry of
//! the list of frames points to one chain of queue heads, one for each transfer.

use std::rc::Rc;

use super::packets::Stream;
use crate::qemu::{Buffer, Vm};
use crate::qos::usb::{Completion, Packets, Request, Speed, Status, Ticket};
use crate::{Error, Result};

/// The entries of the list of frames.
pub(super) const FRAMES: usize = 1024;
/// Link: there is nothing.
const NOTHING: u32 = 1;
/// Link: a queue head.
const QUEUE: u32 = 2;
/// Link: go on with the next transfer of the queue in the same frame.
const DEPTH: u32 = 4;

/// Where a transfer descriptor is behind its queue head, and how far one is from the next.
const FIRST: usize = 32;
const STRIDE: usize = 32;

/// TD: errors that may happen; active; short packets stop; interrupt; low speed.
const ERRORS: u32 = 3 << 27;
pub(super) const ACTIVE: u32 = 1 << 23;
const SHORT: u32 = 1 << 29;
pub(super) const INTERRUPT: u32 = 1 << 24;
const LOW_SPEED: u32 = 1 << 26;
/// TD: stalled; data buffer error; babble; timeout; bit stuffing.
pub(super) const STALLED: u32 = 1 << 22;
pub(super) const BABBLE: u32 = 1 << 20;
pub(super) const FAILED: u32 = 1 << 21 | 1 << 18 | 1 << 17;

/// Packet identifications (USB 2.0, table 8-1).
pub(super) const IN: u32 = 0x69;
pub(super) const OUT: u32 = 0xe1;
const SETUP: u32 = 0x2d;

/// Which part of a transfer a descriptor is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Setup,
    Data,
    Status,
}

/// A transfer in the schedule: the queue head and its descriptors.
struct Transfer {
    ticket: Ticket,
    memory: Buffer,
    /// Which part each descriptor is, and the bytes that it asks for.
    parts: Vec<(Part, usize)>,
    toggles: Box<dyn Fn(usize)>,
}

/// All that the controller reads.
pub(super) struct Schedule {
    vm: Rc<Vm>,
    list: Buffer,
    head: Buffer,
    transfers: Vec<Transfer>,
    streams: Vec<Stream>,
    count: u64,
}

/// Length fields count from one less, in eleven bits.
pub(super) fn encoded(length: usize) -> u32 {
    (length as u32).wrapping_sub(1) & 0x7ff
}

impl Schedule {
    /// An empty schedule.
    pub fn new(vm: &Rc<Vm>) -> Result<Self> {
        let ram = vm.ram();
        let list = ram.alloc(4 * FRAMES, 4096)?;
        let head = ram.alloc(16, 16)?;
        head.write_le32(0, NOTHING)?;
        head.write_le32(4, NOTHING)?;
        let link = (head.address().0 as u32 | QUEUE).to_le_bytes();
        list.write(0, &link.repeat(FRAMES))?;
        let (transfers, streams) = (Vec::new(), Vec::new());
        Ok(Self { vm: vm.clone(), list, head, transfers, streams, count: 0 })
    }

    /// The guest-physical address of the list of frames.
    pub fn list(&self) -> u64 {
        self.list.address().0
    }

    /// What every entry of the list points to, before all transfers.
    pub fn set_first(&mut self, link: Option<u32>) -> Result<()> {
        let link = link.unwrap_or(self.head.address().0 as u32 | QUEUE);
        self.list.write(0, &link.to_le_bytes().repeat(FRAMES))
    }

    /// Adds a transfer.
    pub fn submit(&mut self, request: &Request) -> Result<Ticket> {
        let device = request.device;
        let is_in = request.is_in();
        let mut packets: Vec<(Part, u32, bool, u64, usize)> = Vec::new();
        let mut toggle = device.toggle(&request.endpoint);
        if request.setup.is_some() {
            packets.push((Part::Setup, SETUP, false, 0, 8));
            toggle = true;
        }
        let pid = if is_in { IN } else { OUT };
        let mut done = 0;
        while done < request.length || request.setup.is_none() && packets.is_empty() {
            let length = (request.length - done).min(request.endpoint.packet);
            packets.push((Part::Data, pid, toggle, request.address + done as u64, length));
            toggle = !toggle;
            done += length;
        }
        if request.setup.is_some() {
            let pid = if is_in && request.length > 0 { OUT } else { IN };
            packets.push((Part::Status, pid, true, 0, 0));
        }
        let memory = self.vm.ram().alloc(FIRST + STRIDE * packets.len() + 16, 32)?;
        let base = memory.address().0 as u32;
        let setup = base + (FIRST + STRIDE * packets.len()) as u32;
        if let Some(bytes) = request.setup {
            memory.write((setup - base) as usize, &bytes)?;
        }
        let last = packets.len() - 1;
        for (at, &(part, pid, toggle, address, length)) in packets.iter().enumerate() {
            let offset = FIRST + STRIDE * at;
            let next = base + (offset + STRIDE) as u32;
            let mut control = ERRORS | ACTIVE;
            if at == last {
                control |= INTERRUPT;
            }
            if part == Part::Data && pid == IN && at != last {
                control |= SHORT;
            }
            if device.speed == Speed::Low {
                control |= LOW_SPEED;
            }
            let token = pid
                | u32::from(device.address.get()) << 8
                | u32::from(request.endpoint.number()) << 15
                | u32::from(toggle) << 19
                | encoded(length) << 21;
            let address = if part == Part::Setup { setup } else { address as u32 };
            memory.write_le32(offset, if at == last { NOTHING } else { next | DEPTH })?;
            memory.write_le32(offset + 4, control)?;
            memory.write_le32(offset + 8, token)?;
            memory.write_le32(offset + 12, address)?;
        }
        memory.write_le32(4, base + FIRST as u32)?;
        let parts = packets.iter().map(|packet| (packet.0, packet.4)).collect();
        self.count += 1;
        let ticket = Ticket(self.count);
        let toggles = device.follow(&request.endpoint);
        memory.write_le32(0, self.first())?;
        self.transfers.push(Transfer { ticket, memory, parts, toggles });
        self.head.write_le32(0, base | QUEUE)?;
        Ok(ticket)
    }

    /// The queue head that comes first: that of the latest transfer.
    fn first(&self) -> u32 {
        self.transfers.last().map_or(NOTHING, |it| it.memory.address().0 as u32 | QUEUE)
    }

    fn position(&self, ticket: Ticket) -> Result<usize> {
        let position = self.transfers.iter().position(|it| it.ticket == ticket);
        position.ok_or_else(|| Error::failed(format!("there is no transfer {ticket:?}")))
    }

    /// What became of a transfer.
    pub fn completion(&mut self, ticket: Ticket) -> Result<Option<Completion>> {
        let number = self.position(ticket)?;
        let transfer = &self.transfers[number];
        let (mut moved, mut packets, mut at) = (0, 0, 0);
        let mut status = Status::Done;
        while let Some(&(part, length)) = transfer.parts.get(at) {
            let word = transfer.memory.read_le32(FIRST + STRIDE * at + 4)?;
            if word & ACTIVE != 0 {
                return Ok(None);
            }
            if word & (STALLED | BABBLE | FAILED) != 0 {
                status = match word {
                    _ if word & BABBLE != 0 => Status::Babble,
                    _ if word & STALLED != 0 => Status::Stall,
                    _ => Status::NoAnswer,
                };
                break;
            }
            let actual = (word.wrapping_add(1) & 0x7ff) as usize;
            if actual > length {
                return Err(Error::failed(format!("{actual} bytes in a packet of {length}")));
            }
            at += 1;
            if part == Part::Data {
                moved += actual;
                packets += 1;
                if actual < length {
                    let status = transfer.parts.len() - 1;
                    if transfer.parts[status].0 != Part::Status {
                        break;
                    }
                    self.skip_to(number, status)?;
                    at = status;
                }
            }
        }
        let transfer = self.transfers.remove(number);
        (transfer.toggles)(packets);
        self.link()?;
        Ok(Some(Completion { status, moved }))
    }

    /// After a short packet, has the queue go on with the descriptor `to`, once.
    fn skip_to(&self, number: usize, to: usize) -> Result<()> {
        let memory = &self.transfers[number].memory;
        let next = memory.address().0 as u32 + (FIRST + STRIDE * to) as u32;
        let now = memory.read_le32(4)?;
        if now & NOTHING == 0 && now & !0xf < next {
            memory.write_le32(4, next)?;
        }
        Ok(())
    }

    /// Links the queue heads anew.
    fn link(&self) -> Result<()> {
        let mut next = NOTHING;
        for transfer in &self.transfers {
            transfer.memory.write_le32(0, next)?;
            next = transfer.memory.address().0 as u32 | QUEUE;
        }
        self.head.write_le32(0, next)
    }

    /// Adds packets, before all transfers of their frames.
    pub fn submit_packets(&mut self, packets: &Packets) -> Result<Ticket> {
        self.count += 1;
        let stream = Stream::new(&self.vm, Ticket(self.count), packets)?;
        let frames = stream.frames();
        self.streams.push(stream);
        self.link_frames(&frames)?;
        Ok(Ticket(self.count))
    }

    /// What became of packets, if frame `now` is the current one.
    pub fn packets(&mut self, ticket: Ticket, now: u32) -> Result<Option<Vec<Completion>>> {
        let Some(stream) = self.streams.iter().find(|it| it.ticket == ticket) else {
            return Err(Error::failed(format!("there are no packets {ticket:?}")));
        };
        let completions = stream.completions(now)?;
        if completions.is_some() {
            self.remove(ticket)?;
        }
        Ok(completions)
    }

    /// Links the packets of frames anew, the first ones last.
    fn link_frames(&self, frames: &[usize]) -> Result<()> {
        for &frame in frames {
            let mut first = self.head.address().0 as u32 | QUEUE;
            for stream in &self.streams {
                first = stream.link(frame, first)?;
            }
            self.list.write_le32(4 * frame, first)?;
        }
        Ok(())
    }

    /// Takes a transfer out, or packets; the controller may still look at it.
    pub fn remove(&mut self, ticket: Ticket) -> Result<Buffer> {
        if let Some(at) = self.streams.iter().position(|it| it.ticket == ticket) {
            let stream = self.streams.remove(at);
            self.link_frames(&stream.frames())?;
            return Ok(stream.into_memory());
        }
        let number = self.position(ticket)?;
        let transfer = self.transfers.remove(number);
        self.link()?;
        Ok(transfer.memory)
    }
}
