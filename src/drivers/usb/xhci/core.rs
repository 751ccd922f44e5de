//! What an extensible host controller does: commands, slots, endpoints, transfers (xHCI 1.1, chapter
//! 4), wherever its registers are.

use std::collections::HashMap;
use std::rc::Rc;

use super::packets::Stream;
use super::registers::*;
use super::ring::{Event, Events, Ring};
use crate::qemu::{Buffer, Vm};
use crate::qos::registers::{Registers, RegistersExt};
use crate::qos::usb::{
    Completion, Device, Endpoint, Kind, Packets, Request, Speed, Status, Ticket,
};
use crate::qos::wait_until;
use crate::{Error, Result};

/// Entries of rings: a transfer of data; the stages of a control transfer.
const NORMAL: u32 = 1;
const SETUP_STAGE: u32 = 2;
const DATA_STAGE: u32 = 3;
const STATUS_STAGE: u32 = 4;
/// Commands (6.4.3).
const ENABLE_SLOT: u32 = 9;
const DISABLE_SLOT: u32 = 10;
const ADDRESS_DEVICE: u32 = 11;
const CONFIGURE_ENDPOINT: u32 = 12;
const EVALUATE_CONTEXT: u32 = 13;
const RESET_ENDPOINT: u32 = 14;
const STOP_ENDPOINT: u32 = 15;
const SET_DEQUEUE: u32 = 16;
/// Events (6.4.2).
const TRANSFER_EVENT: u32 = 32;
const COMMAND_EVENT: u32 = 33;
/// Completion codes (table 6-90).
pub(super) const SUCCESS: u32 = 1;
pub(super) const BABBLE: u32 = 3;
pub(super) const TRANSACTION: u32 = 4;
pub(super) const STALL: u32 = 6;
pub(super) const SHORT: u32 = 13;

/// Entry: an interrupt for a short packet; goes on with the next; interrupt; the data are inside.
pub(super) const ON_SHORT: u32 = 1 << 2;
const CHAIN: u32 = 1 << 4;
pub(super) const INTERRUPT: u32 = 1 << 5;
const IMMEDIATE: u32 = 1 << 6;
const INPUT: u32 = 1 << 16;
/// ADDRESS DEVICE: SET_ADDRESS is not sent.
const BLOCK_ADDRESS: u32 = 1 << 9;

/// The size of a context in bytes.
const CONTEXT: usize = 32;
/// The size of the context of a stream, and its type: a ring of the one array (6.2.4.1).
const STREAM: usize = 16;
const PRIMARY: u64 = 1 << 1;

/// A device that has a slot.
struct Slot {
    output: Buffer,
    /// The rings of endpoints, by their index, and their streams.
    rings: HashMap<(u32, u16), Ring>,
    /// Where the rings of the streams of endpoints are.
    streams: HashMap<u32, Buffer>,
    endpoints: Vec<Endpoint>,
    packet: usize,
    halted: Vec<u32>,
}

struct Transfer {
    ticket: Ticket,
    slot: u32,
    dci: u32,
    stream: u16,
    /// The addresses of the entries with data, and how many bytes each has.
    data: Vec<(u64, usize)>,
    /// The addresses of all entries, and the last.
    entries: Vec<u64>,
    last: u64,
    moved: Option<usize>,
    ended: Option<Completion>,
}

/// A controller that was started.
pub(super) struct Core {
    vm: Rc<Vm>,
    registers: Rc<dyn Registers>,
    doorbells: u64,
    contexts: Buffer,
    commands: Ring,
    events: Events,
    slots: HashMap<u32, Slot>,
    transfers: Vec<Transfer>,
    streams: Vec<Stream>,
    answers: Vec<Event>,
    count: u64,
}

/// The index of an endpoint's context.
pub(super) fn index(endpoint: &Endpoint) -> u32 {
    match endpoint.number() {
        0 => 1,
        number => 2 * u32::from(number) + u32::from(endpoint.is_in()),
    }
}

impl Core {
    /// Gives the controller, which is stopped, its rings.
    pub fn new(vm: &Rc<Vm>, registers: Rc<dyn Registers>) -> Result<Self> {
        let slots = registers.get(PARAMETERS_1)? & 0xff;
        if registers.get(CAPABILITIES)? & 1 << 2 != 0 {
            return Err(Error::skipped("its contexts have 64 bytes"));
        }
        let contexts = vm.ram().alloc(8 * (slots as usize + 1), 64)?;
        let (commands, events) = (Ring::new(vm)?, Events::new(vm)?);
        let set64 = |at: crate::qos::registers::Register<u32>, value: u64| -> Result<()> {
            registers.set(at, value as u32)?;
            registers.set(at.above(4), (value >> 32) as u32)
        };
        registers.set(CONFIG, slots)?;
        set64(CONTEXTS, contexts.address().0)?;
        set64(COMMAND_RING, commands.position().0 | 1)?;
        registers.set(SEGMENTS, 1)?;
        set64(DEQUEUE, events.position())?;
        set64(SEGMENT_TABLE, events.table())?;
        let doorbells = registers.get(DOORBELLS)?.into();
        Ok(Self {
            vm: vm.clone(),
            registers,
            doorbells,
            contexts,
            commands,
            events,
            slots: HashMap::new(),
            transfers: Vec::new(),
            streams: Vec::new(),
            answers: Vec::new(),
            count: 0,
        })
    }

    /// Rings a doorbell.
    pub fn ring(&self, slot: u32, value: u32) -> Result<()> {
        self.registers.write32(self.doorbells + 4 * u64::from(slot), value)
    }

    /// Adds an entry to the ring of an endpoint.
    pub fn push(
        &mut self,
        slot: u32,
        ring: (u32, u16),
        parameter: u64,
        status: u32,
        control: u32,
    ) -> Result<u64> {
        match self.slot(slot)?.rings.get_mut(&ring) {
            Some(ring) => ring.push(parameter, status, control),
            None => Err(Error::failed(format!("endpoint {ring:?} is not configured"))),
        }
    }

    /// Rings for every transfer that is not over.
    pub fn ring_pending(&self) -> Result<()> {
        for transfer in self.transfers.iter().filter(|it| it.ended.is_none()) {
            self.ring(transfer.slot, transfer.dci | u32::from(transfer.stream) << 16)?;
        }
        Ok(())
    }

    /// Takes all events that there are.
    pub fn take_events(&mut self) -> Result<()> {
        let mut any = false;
        while let Some(event) = self.events.pop()? {
            any = true;
            match event.kind {
                TRANSFER_EVENT => self.transfer_event(event)?,
                COMMAND_EVENT => self.answers.push(event),
                _ => {}
            }
        }
        if any {
            let position = self.events.position();
            self.registers.set(DEQUEUE, position as u32 | DEQUEUE_BUSY)?;
            self.registers.set(DEQUEUE.above(4), (position >> 32) as u32)?;
        }
        Ok(())
    }

    fn transfer_event(&mut self, event: Event) -> Result<()> {
        let mut streams = self.streams.iter_mut().filter(|it| it.slot == event.slot);
        if let Some(stream) = streams.find(|it| it.has(event.pointer)) {
            return stream.event(event);
        }
        let is_of = |it: &&mut Transfer| {
            it.ended.is_none() && it.slot == event.slot && it.entries.contains(&event.pointer)
        };
        let Some(transfer) = self.transfers.iter_mut().find(is_of) else { return Ok(()) };
        let mut before = 0;
        let mut here = None;
        for &(at, length) in &transfer.data {
            if at == event.pointer {
                let moved = length.checked_sub(event.left).ok_or_else(|| {
                    Error::failed(format!("{} bytes left of {length}", event.left))
                })?;
                here = Some(before + moved);
                break;
            }
            before += length;
        }
        if here.is_some() {
            transfer.moved = here;
        }
        let all = transfer.data.iter().map(|data| data.1).sum();
        let is_control = transfer.dci == 1;
        let status = match event.code {
            SUCCESS | SHORT => Status::Done,
            STALL => Status::Stall,
            BABBLE => Status::Babble,
            TRANSACTION => Status::NoAnswer,
            code => {
                return Err(Error::failed(format!("a transfer ends with completion code {code}")));
            }
        };
        if status == Status::Done && is_control && event.pointer != transfer.last {
            return Ok(());
        }
        let default = if status == Status::Done { all } else { 0 };
        let moved = transfer.moved.unwrap_or(default);
        transfer.ended = Some(Completion { status, moved });
        if status != Status::Done {
            let dci = transfer.dci;
            if let Some(slot) = self.slots.get_mut(&event.slot) {
                slot.halted.push(dci);
            }
        }
        Ok(())
    }

    /// Has a command done; returns its completion code and slot.
    fn command(&mut self, parameter: u64, kind: u32, control: u32) -> Result<(u32, u32)> {
        self.command_of(parameter, 0, kind, control)
    }

    /// The same for a command with something in its status field.
    pub fn command_of(
        &mut self,
        parameter: u64,
        status: u32,
        kind: u32,
        control: u32,
    ) -> Result<(u32, u32)> {
        let at = self.commands.push(parameter, status, kind << 10 | control)?;
        self.ring(0, 0)?;
        let vm = self.vm.clone();
        let mut answer = None;
        wait_until(&vm, &format!("the command {kind} of the controller"), || {
            self.take_events()?;
            answer = self.answers.iter().position(|event| event.pointer == at);
            Ok(answer.is_some())
        })?;
        let event = self.answers.remove(answer.unwrap_or_default());
        Ok((event.code, event.slot))
    }

    fn must(&mut self, what: &str, parameter: u64, kind: u32, control: u32) -> Result<u32> {
        match self.command(parameter, kind, control)? {
            (SUCCESS, slot) => Ok(slot),
            (code, _) => Err(Error::failed(format!("{what}: completion code {code}"))),
        }
    }

    fn slot(&mut self, slot: u32) -> Result<&mut Slot> {
        let none = || Error::failed(format!("slot {slot} is not in use"));
        self.slots.get_mut(&slot).ok_or_else(none)
    }

    /// Gives a device a slot, in which it has no address.
    pub fn open(&mut self, port: usize, speed: Speed, route: u32) -> Result<Device> {
        let number = self.must("ENABLE SLOT", 0, ENABLE_SLOT, 0)?;
        let device = Device::new(port, speed, number, route);
        let output = self.vm.ram().alloc(32 * CONTEXT, 64)?;
        self.contexts.write_le64(8 * number as usize, output.address().0)?;
        let slot = Slot {
            output,
            rings: HashMap::from([((1, 0), Ring::new(&self.vm)?)]),
            streams: HashMap::new(),
            endpoints: Vec::new(),
            packet: device.packet.get(),
            halted: Vec::new(),
        };
        self.slots.insert(number, slot);
        self.address(&device, BLOCK_ADDRESS)?;
        Ok(device)
    }

    /// Frees a slot.
    pub fn close(&mut self, device: &Device) -> Result<()> {
        self.must("DISABLE SLOT", 0, DISABLE_SLOT, device.slot << 24)?;
        self.transfers.retain(|it| it.slot != device.slot);
        self.streams.retain(|it| it.slot != device.slot);
        self.slots.remove(&device.slot);
        self.contexts.write_le64(8 * device.slot as usize, 0)
    }

    /// The input of a command: contexts to be added and dropped, and the contexts themselves.
    pub fn input(&mut self, device: &Device, add: u32, drop: u32, entries: u32) -> Result<Buffer> {
        let input = self.vm.ram().alloc(33 * CONTEXT, 64)?;
        let slot = self.slot(device.slot)?;
        input.write_le32(0, drop)?;
        input.write_le32(4, add)?;
        // The speeds of the default protocol (table 7-13).
        let speed = match device.speed {
            Speed::Full => 1u32,
            Speed::Low => 2,
            Speed::High => 3,
            Speed::Super => 4,
        };
        input.write_le32(CONTEXT, entries << 27 | speed << 20 | device.route)?;
        input.write_le32(CONTEXT + 4, (device.port as u32 + 1) << 16)?;
        let control = Endpoint::control(slot.packet);
        for endpoint in slot.endpoints.iter().chain([&control]) {
            let dci = index(endpoint);
            let offset = CONTEXT * (1 + dci as usize);
            let kind = match (endpoint.kind, endpoint.is_in()) {
                (Kind::Control, _) => 4u32,
                (Kind::Isochronous, false) => 1,
                (Kind::Isochronous, true) => 5,
                (Kind::Bulk, false) => 2,
                (Kind::Bulk, true) => 6,
                (Kind::Interrupt, false) => 3,
                (Kind::Interrupt, true) => 7,
            };
            let interval = match (endpoint.kind, device.speed) {
                (Kind::Interrupt | Kind::Isochronous, Speed::High | Speed::Super) => {
                    u32::from(endpoint.interval.max(1)) - 1
                }
                (Kind::Isochronous, _) => u32::from(endpoint.interval.clamp(1, 16)) + 2,
                // Full speed: milliseconds to a power of two of microframes (6.2.3.6).
                (Kind::Interrupt, _) => (u32::from(endpoint.interval.max(1)) * 8).ilog2(),
                _ => 0,
            };
            let (position, streams) = match (slot.streams.get(&dci), slot.rings.get(&(dci, 0))) {
                // One array of all streams (6.2.3).
                (Some(array), _) => {
                    (array.address().0, 1 << 15 | u32::from(endpoint.streams) << 10)
                }
                (None, Some(ring)) => (ring.dequeue(), 0),
                (None, None) => continue,
            };
            input.write_le32(offset, interval << 16 | streams)?;
            let packet = endpoint.packet as u32;
            // Isochronous transfers are not tried again (6.2.3).
            let errors = if endpoint.kind == Kind::Isochronous { 0 } else { 3 << 1 };
            let payload = match endpoint.kind {
                Kind::Interrupt | Kind::Isochronous => packet << 16,
                Kind::Control | Kind::Bulk => 0,
            };
            input.write_le32(offset + 4, packet << 16 | kind << 3 | errors)?;
            input.write_le64(offset + 8, position)?;
            input.write_le32(offset + 16, packet | payload)?;
        }
        Ok(input)
    }

    fn address(&mut self, device: &Device, flags: u32) -> Result<()> {
        let input = self.input(device, 3, 0, 1)?;
        let control = device.slot << 24 | flags;
        self.must("ADDRESS DEVICE", input.address().0, ADDRESS_DEVICE, control).map(drop)
    }

    /// Gives a device an address, which the controller chooses.
    pub fn set_address(&mut self, device: &Device) -> Result<()> {
        self.address(device, 0)?;
        let state = self.slot(device.slot)?.output.read_le32(12)?;
        // Addressed (table 6-7).
        match (state >> 27, state as u8) {
            (2, address @ 1..=127) => {
                device.address.set(address);
                Ok(())
            }
            _ => Err(Error::failed(format!("an addressed device has the state {state:#x}"))),
        }
    }

    /// Changes the size of the packets of the default endpoint.
    pub fn set_packet(&mut self, device: &Device, packet: usize) -> Result<()> {
        self.slot(device.slot)?.packet = packet;
        device.packet.set(packet);
        let input = self.input(device, 2, 0, 1)?;
        let control = device.slot << 24;
        self.must("EVALUATE CONTEXT", input.address().0, EVALUATE_CONTEXT, control)?;
        let shown = self.slot(device.slot)?.output.read_le32(CONTEXT + 4)? >> 16;
        match shown as usize == packet {
            true => Ok(()),
            false => Err(Error::failed(format!("packets have {shown} bytes, not {packet}"))),
        }
    }

    /// Adds the endpoints of a configuration in the place of those of another.
    pub fn configure(&mut self, device: &Device, endpoints: &[Endpoint]) -> Result<()> {
        let vm = self.vm.clone();
        let flags = |list: &[Endpoint]| list.iter().fold(0, |all, it| all | 1u32 << index(it));
        let drop = flags(&self.slot(device.slot)?.endpoints);
        let most = (self.registers.get(CAPABILITIES)? >> 12 & 0xf) as u8;
        let within = |it: &Endpoint| Endpoint { streams: it.streams.min(most), ..*it };
        let endpoints = &endpoints.iter().map(within).collect::<Vec<_>>()[..];
        let slot = self.slot(device.slot)?;
        slot.endpoints = endpoints.to_vec();
        slot.rings.retain(|(dci, _), _| *dci == 1);
        slot.streams.clear();
        for endpoint in endpoints {
            let dci = index(endpoint);
            if endpoint.streams == 0 {
                slot.rings.insert((dci, 0), Ring::new(&vm)?);
                continue;
            }
            let array = vm.ram().alloc(STREAM << (endpoint.streams + 1), 64)?;
            for stream in 1..=1 << endpoint.streams {
                let ring = Ring::new(&vm)?;
                let at = STREAM * usize::from(stream);
                array.write_le64(at, ring.dequeue() | PRIMARY)?;
                slot.rings.insert((dci, stream), ring);
            }
            slot.streams.insert(dci, array);
        }
        let entries = endpoints.iter().map(index).max().unwrap_or(1);
        let input = self.input(device, 1 | flags(endpoints), drop, entries)?;
        let control = device.slot << 24;
        self.must("CONFIGURE ENDPOINT", input.address().0, CONFIGURE_ENDPOINT, control)?;
        for endpoint in endpoints {
            let dci = index(endpoint) as usize;
            let state = self.slot(device.slot)?.output.read_le32(CONTEXT * dci)? & 7;
            // Running (table 6-8).
            if state != 1 {
                let why = format!("endpoint {:#x}, configured: state {state}", endpoint.address);
                return Err(Error::failed(why));
            }
        }
        Ok(())
    }

    /// Begins anew with an endpoint that has halted; one that has not stays as it is.
    pub fn clear_halt(&mut self, slot: u32, dci: u32) -> Result<()> {
        let halted = &mut self.slot(slot)?.halted;
        if !halted.contains(&dci) {
            return Ok(());
        }
        halted.retain(|it| *it != dci);
        let state = self.slot(slot)?.output.read_le32(CONTEXT * dci as usize)? & 7;
        // Halted (table 6-8).
        if state != 2 {
            return Err(Error::failed(format!("an endpoint that has halted has state {state}")));
        }
        let control = slot << 24 | dci << 16;
        self.must("RESET ENDPOINT", 0, RESET_ENDPOINT, control)?;
        let rings = self.slot(slot)?.rings.keys().copied();
        let rings: Vec<_> = rings.filter(|ring| ring.0 == dci).collect();
        for (dci, stream) in rings {
            self.set_dequeue(slot, dci, stream)?;
        }
        Ok(())
    }

    fn set_dequeue(&mut self, slot: u32, dci: u32, stream: u16) -> Result<()> {
        let ring = self.slot(slot)?.rings.get(&(dci, stream));
        let Some(position) = ring.map(Ring::dequeue) else { return Ok(()) };
        let (kind, stream) = if stream == 0 { (0, 0) } else { (PRIMARY, u32::from(stream) << 16) };
        let control = slot << 24 | dci << 16;
        let what = "SET TR DEQUEUE POINTER";
        match self.command_of(position | kind, stream, SET_DEQUEUE, control)? {
            (SUCCESS, _) => Ok(()),
            (code, _) => Err(Error::failed(format!("{what}: completion code {code}"))),
        }
    }

    /// Clears the halt of this endpoint of `device`.
    pub fn clear_halt_of(&mut self, device: &Device, endpoint: &Endpoint) -> Result<()> {
        self.clear_halt(device.slot, index(endpoint))
    }

    /// Adds a transfer.
    pub fn submit(&mut self, request: &Request) -> Result<Ticket> {
        let (number, dci) = (request.device.slot, index(&request.endpoint));
        if request.setup.is_some() {
            self.clear_halt(number, dci)?;
        }
        let slot = self.slot(number)?;
        let Some(ring) = slot.rings.get_mut(&(dci, request.stream)) else {
            let why = format!(
                "endpoint {:#x} with stream {} is not configured",
                request.endpoint.address, request.stream
            );
            return Err(Error::failed(why));
        };
        let input = if request.is_in() { INPUT } else { 0 };
        let (mut data, mut entries) = (Vec::new(), Vec::new());
        let last = if let Some(setup) = request.setup {
            // No data, out, or in (table 6-26).
            let kind = match (request.length, request.is_in()) {
                (0, _) => 0u32,
                (_, false) => 2,
                (_, true) => 3,
            };
            let control = SETUP_STAGE << 10 | IMMEDIATE | kind << 16;
            entries.push(ring.push(u64::from_le_bytes(setup), 8, control)?);
            if request.length > 0 {
                let control = DATA_STAGE << 10 | ON_SHORT | input;
                let at = ring.push(request.address, request.length as u32, control)?;
                data.push((at, request.length));
            }
            let input = if request.is_in() && request.length > 0 { 0 } else { INPUT };
            ring.push(0, 0, STATUS_STAGE << 10 | INTERRUPT | input)?
        } else {
            let mut done = 0;
            loop {
                let address = request.address + done as u64;
                // An entry does not cross 64 KiB (6.4.1).
                let room = 0x1_0000 - (address & 0xffff) as usize;
                let length = (request.length - done).min(room);
                done += length;
                let is_last = done == request.length;
                let flags = if is_last { INTERRUPT } else { CHAIN };
                let control = NORMAL << 10 | ON_SHORT | flags;
                let at = ring.push(address, length as u32, control)?;
                data.push((at, length));
                if is_last {
                    break at;
                }
            }
        };
        self.count += 1;
        let ticket = Ticket(self.count);
        entries.extend(data.iter().map(|data| data.0).chain([last]));
        let (slot, stream, moved, ended) = (number, request.stream, None, None);
        let transfer = Transfer { ticket, slot, dci, stream, data, entries, last, moved, ended };
        self.transfers.push(transfer);
        self.ring(number, dci | u32::from(stream) << 16)?;
        Ok(ticket)
    }

    /// What became of a transfer.
    pub fn completion(&mut self, ticket: Ticket) -> Result<Option<Completion>> {
        self.take_events()?;
        let position = self.transfers.iter().position(|it| it.ticket == ticket);
        let Some(position) = position else {
            return Err(Error::failed(format!("there is no transfer {ticket:?}")));
        };
        let ended = self.transfers[position].ended;
        if ended.is_some() {
            self.transfers.remove(position);
        }
        Ok(ended)
    }

    /// Adds packets, each an entry of its own with an interrupt.
    pub fn submit_packets(&mut self, packets: &Packets) -> Result<Ticket> {
        let (slot, dci) = (packets.device.slot, index(&packets.endpoint));
        let none = || Error::failed(format!("endpoint {dci} is not configured"));
        self.count += 1;
        let ticket = Ticket(self.count);
        let ring = self.slot(slot)?.rings.get_mut(&(dci, 0)).ok_or_else(none)?;
        let stream = Stream::new(ring, ticket, (slot, dci), packets)?;
        self.streams.push(stream);
        self.ring(slot, dci)?;
        Ok(ticket)
    }

    /// What became of packets.
    pub fn packets(&mut self, ticket: Ticket) -> Result<Option<Vec<Completion>>> {
        self.take_events()?;
        let Some(at) = self.streams.iter().position(|it| it.ticket == ticket) else {
            return Err(Error::failed(format!("there are no packets {ticket:?}")));
        };
        let completions = self.streams[at].completions();
        if completions.is_some() {
            self.streams.remove(at);
        }
        Ok(completions)
    }

    /// Takes a transfer back, or packets.
    pub fn cancel(&mut self, ticket: Ticket) -> Result<()> {
        let position = self.transfers.iter().position(|it| it.ticket == ticket);
        let packets = self.streams.iter().position(|it| it.ticket == ticket);
        let (slot, dci, stream) = match (position, packets) {
            (Some(at), _) => {
                let transfer = self.transfers.remove(at);
                (transfer.slot, transfer.dci, transfer.stream)
            }
            (None, Some(at)) => {
                let stream = self.streams.remove(at);
                (stream.slot, stream.dci, 0)
            }
            (None, None) => return Ok(()),
        };
        let state = self.slot(slot)?.output.read_le32(CONTEXT * dci as usize)? & 7;
        // Only a running endpoint can be stopped (4.6.9).
        if state == 1 {
            self.must("STOP ENDPOINT", 0, STOP_ENDPOINT, slot << 24 | dci << 16)?;
            self.set_dequeue(slot, dci, stream)?;
            // The others of the endpoint's streams go on.
            self.ring_pending()?;
        }
        Ok(())
    }
}
