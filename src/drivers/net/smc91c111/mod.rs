//! SMSC's LAN91C111 (data sheet, revision 1.92, whose sections are cited), as a [`Nic`]: a
//! controller with four packets of memory that a driver hands out, and no access to guest memory.

pub mod registers;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use self::registers::{self as reg, Banks, Mmu};
use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::Vm;
use crate::qos::net::{self, Address};
use crate::qos::nic::board::Wiring;
use crate::qos::nic::{EventBits, Events, Filter, Groups, Limits, Nic, Promise};
use crate::qos::registers::{Access, Mmio, RegisterBlock, Registers, RegistersExt, Width};
use crate::{Error, Result, discovered, driver, nic};

/// IST.
const EVENTS: EventBits = EventBits {
    sent: reg::SENT as u32,
    received: reg::RECEIVED as u32,
    overrun: reg::OVERRUN as u32,
    link: 0,
    besides: (reg::ALLOCATED | reg::EMPTY) as u32,
};

/// How many of the four packets are for transmission; the others are for reception.
const TRANSMIT: usize = 2;
/// The bytes of a packet that are no data: status, byte count, the last byte and control (8.1).
pub const AROUND: usize = 6;
/// The control byte: the frame has an odd number of bytes.
pub const ODD: u8 = 1 << 5;
/// Receive status: a broadcast; a bad check sequence; an odd number of bytes; too long; a group.
pub const STATUS_BROADCAST: u16 = 1 << 14;
/// As [`STATUS_BROADCAST`].
pub const STATUS_ODD: u16 = 1 << 12;
/// As [`STATUS_BROADCAST`].
pub const STATUS_LONG: u16 = 1 << 11;
/// As [`STATUS_BROADCAST`].
pub const STATUS_GROUP: u16 = 1 << 0;
/// Receive status: errors.
const ERRORS: u16 = 1 << 15 | 1 << 13 | 1 << 11 | 1 << 10;

/// A frame as it stands in a packet.
#[derive(Debug, PartialEq, Eq)]
pub struct Packet {
    /// The status word.
    pub status: u16,
    /// The byte count.
    pub count: usize,
    /// The frame, and what else is received with it.
    pub frame: Vec<u8>,
    /// The control byte.
    pub control: u8,
}

/// The packets for transmission.
#[derive(Default)]
struct Sending {
    packets: Vec<u8>,
    /// Frames queued, enqueued, and reported as sent.
    queued: Cell<usize>,
    enqueued: Cell<usize>,
    sent: Cell<usize>,
    /// MIR when nothing is received.
    idle: u8,
}

/// QEMU's `smc91c111`.
pub struct Smc91c111 {
    registers: Rc<Banks>,
    wiring: Wiring,
    sending: RefCell<Sending>,
    /// Whether the end of a transmission was acknowledged that no event has told of.
    untold: Cell<bool>,
}

impl Smc91c111 {
    fn new(registers: Rc<Banks>, wiring: Wiring) -> Self {
        Self { registers, wiring, sending: RefCell::default(), untold: Cell::default() }
    }

    /// Its registers.
    pub fn registers(&self) -> &Banks {
        &self.registers
    }

    /// Allocates a packet; `None` if there is none.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn allocate(&self) -> Result<Option<u8>> {
        self.registers.mmu(Mmu::Allocate)?;
        let done = self.registers.get(reg::IST)? & reg::ALLOCATED != 0;
        let packet = self.registers.get(reg::ARR)?;
        Ok((done && packet & reg::NONE == 0).then_some(packet))
    }

    /// Has the MMU do `command` with `packet`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn with(&self, packet: u8, command: Mmu) -> Result<()> {
        self.registers.set(reg::PNR, packet)?;
        self.registers.mmu(command)
    }

    /// Writes `bytes` into `packet` from byte `at` on.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn write(&self, packet: u8, at: u16, bytes: &[u8]) -> Result<()> {
        let data = reg::DATA.offset();
        let mut accesses = vec![
            Access::Write(reg::PNR.offset(), Width::Byte, packet.into()),
            Access::Write(reg::PTR.offset(), Width::Word, (reg::PTR_COUNTS | at).into()),
        ];
        accesses.extend(bytes.chunks(4).flat_map(|chunk| match *chunk {
            [a, b, c, d] => {
                let value = u32::from_le_bytes([a, b, c, d]);
                vec![Access::Write(data, Width::Long, value.into())]
            }
            _ => {
                chunk.iter().map(|byte| Access::Write(data, Width::Byte, (*byte).into())).collect()
            }
        }));
        self.registers.sequence(&accesses).map(drop)
    }

    /// Reads `length` bytes from byte `at` on of a packet, or of the one that was received first.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn read(&self, packet: Option<u8>, at: u16, length: usize) -> Result<Vec<u8>> {
        let from = if packet.is_none() { reg::PTR_RECEIVED } else { 0 };
        let pointer = from | reg::PTR_COUNTS | reg::PTR_READS | at;
        let mut accesses: Vec<_> = packet
            .map(|packet| Access::Write(reg::PNR.offset(), Width::Byte, packet.into()))
            .into_iter()
            .chain([Access::Write(reg::PTR.offset(), Width::Word, pointer.into())])
            .collect();
        let words = length.div_ceil(4);
        accesses.extend(vec![Access::Read(reg::DATA.offset(), Width::Long); words]);
        let values = self.registers.sequence(&accesses)?;
        let bytes = values.into_iter().flat_map(|word| (word as u32).to_le_bytes());
        Ok(bytes.take(length).collect())
    }

    /// Puts a frame into a packet (8.1).
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn put(&self, packet: u8, frame: &[u8]) -> Result<()> {
        let even = frame.len() / 2 * 2;
        let count = (even + AROUND) as u16;
        let mut bytes = [&[0, 0], &count.to_le_bytes()[..], &frame[..even]].concat();
        bytes.extend(match frame.get(even) {
            Some(last) => [*last, ODD],
            None => [0, 0],
        });
        self.write(packet, 0, &bytes)
    }

    /// The packet that was received first, which stays there.
    ///
    /// # Errors
    /// Returns an error if none was received, or its byte count makes no sense.
    pub fn first(&self) -> Result<Packet> {
        if self.registers.get(reg::RX_FIFO)? & reg::NONE != 0 {
            return Err(Error::failed("no frame has arrived"));
        }
        let begin = self.read(None, 0, 4)?;
        let status = u16::from_le_bytes([begin[0], begin[1]]);
        let count = usize::from(u16::from_le_bytes([begin[2], begin[3]]) & 0x7ff);
        let Some(even) = count.checked_sub(AROUND) else {
            return Err(Error::failed(format!("a frame with a byte count of {count}")));
        };
        let mut frame = self.read(None, 4, even + 2)?;
        let control = frame.pop().unwrap_or_default();
        frame.truncate(if control & ODD != 0 { even + 1 } else { even });
        Ok(Packet { status, count, frame, control })
    }

    /// Acknowledges every transmission that has ended. Returns whether there was one.
    fn reclaim(&self) -> Result<bool> {
        let mut some = false;
        while self.registers.get(reg::TX_FIFO)? & reg::NONE == 0 {
            self.registers.set(reg::IST, reg::SENT)?;
            some = true;
        }
        Ok(some)
    }
}

impl Nic for Smc91c111 {
    fn wiring(&self) -> Option<&Wiring> {
        Some(&self.wiring)
    }

    fn limits(&self) -> Limits {
        Limits {
            transmit: TRANSMIT,
            receive: 4 - TRANSMIT,
            longest_received: 1514,
            masters: false,
            fifo: true,
            link_event: false,
            received_is_level: true,
            pads_received_to: 64,
            ..Limits::PLAIN
        }
    }

    fn known_fault(&self, _: &Vm, promise: Promise) -> Option<&'static str> {
        match promise {
            Promise::LengthReceived => {
                Some("smc91c111: QEMU pads frames shorter than 64 bytes, check sequence left out")
            }
            Promise::NoBroadcast => Some("the LAN91C111 always receives broadcasts"),
            _ => None,
        }
    }

    fn start(&self, vm: &Rc<Vm>) -> Result<()> {
        self.reset(vm)?;
        let mut sending = Sending::default();
        for _ in 0..TRANSMIT {
            let none = || Error::failed("no packet can be allocated after a reset");
            sending.packets.push(self.allocate()?.ok_or_else(none)?);
        }
        sending.idle = (self.registers.get(reg::MIR)? >> 8) as u8;
        self.sending.replace(sending);
        self.untold.set(false);
        self.registers.set(reg::TCR, reg::TCR_FULL_DUPLEX | reg::TCR_ON)?;
        self.set_filter(&Filter::PLAIN)
    }

    fn reset(&self, _: &Rc<Vm>) -> Result<()> {
        self.registers.set(reg::RCR, reg::RCR_RESET)?;
        self.registers.set(reg::RCR, 0)
    }

    fn remapped(&self) -> Result<Rc<dyn Nic>> {
        Ok(Rc::new(Self::new(self.registers.clone(), self.wiring.clone())))
    }

    fn station_address(&self) -> Result<Address> {
        let mut address = Address::default();
        for (word, bytes) in (0..).zip(address.chunks_exact_mut(2)) {
            bytes.copy_from_slice(&self.registers.get(reg::IAR.nth(word, 2))?.to_le_bytes());
        }
        Ok(address)
    }

    fn set_filter(&self, filter: &Filter) -> Result<()> {
        for (word, bytes) in (0..).zip(filter.own.chunks_exact(2)) {
            let value = u16::from_le_bytes([bytes[0], bytes[1]]);
            self.registers.set(reg::IAR.nth(word, 2), value)?;
        }
        let (hash, groups) = match filter.groups {
            Groups::None => (0, 0),
            Groups::One(group) => (1_u64 << net::group_hash(&group), 0),
            Groups::All => (0, reg::RCR_GROUPS),
        };
        for (number, byte) in (0..).zip(hash.to_le_bytes()) {
            self.registers.set(reg::MT.nth(number, 1), byte)?;
        }
        let foreign = if filter.foreign { reg::RCR_ALL } else { 0 };
        self.registers.set(reg::RCR, reg::RCR_ON | reg::RCR_STRIPS | groups | foreign)
    }

    fn queue(&self, frame: &[u8]) -> Result<()> {
        let sending = self.sending.borrow();
        let queued = sending.queued.get();
        if queued - sending.sent.get() >= sending.packets.len() {
            return Err(Error::failed("all packets for transmission hold frames"));
        }
        let packet = sending.packets[queued % sending.packets.len()];
        // A packet is not enqueued again before the end of its transmission is acknowledged.
        if queued >= sending.packets.len() && self.reclaim()? {
            self.untold.set(true);
        }
        sending.queued.set(queued + 1);
        self.put(packet, frame)
    }

    fn send(&self) -> Result<()> {
        let sending = self.sending.borrow();
        for number in sending.enqueued.get()..sending.queued.get() {
            self.with(sending.packets[number % sending.packets.len()], Mmu::Enqueue)?;
        }
        sending.enqueued.set(sending.queued.get());
        Ok(())
    }

    fn sent(&self) -> Result<usize> {
        let sending = self.sending.borrow();
        let before = sending.sent.get();
        while sending.sent.get() < sending.enqueued.get() {
            let packet = sending.packets[sending.sent.get() % sending.packets.len()];
            // The status word tells that the frame was sent well.
            if self.read(Some(packet), 0, 1)?[0] & 1 == 0 {
                break;
            }
            sending.sent.set(sending.sent.get() + 1);
        }
        Ok(sending.sent.get() - before)
    }

    fn arrived(&self) -> Result<usize> {
        // MIR counts the free packets, or those in use, as QEMU has it.
        let now = (self.registers.get(reg::MIR)? >> 8) as u8;
        Ok(now.abs_diff(self.sending.borrow().idle).into())
    }

    fn take(&self) -> Result<Vec<u8>> {
        let Packet { status, frame, .. } = self.first()?;
        if status & ERRORS != 0 {
            return Err(Error::failed(format!("a frame with the status {status:#06x}")));
        }
        self.registers.mmu(Mmu::RemoveAndRelease)?;
        Ok(frame)
    }

    fn recycle(&self) -> Result<()> {
        Ok(())
    }

    fn unmask(&self, events: Events) -> Result<()> {
        self.registers.set(reg::MSK, EVENTS.of(events) as u8)
    }

    fn events(&self) -> Result<Events> {
        let status = self.registers.get(reg::IST)?;
        let untold = self.reclaim()? | self.untold.take();
        self.registers.set(reg::IST, status & reg::OVERRUN)?;
        EVENTS.events(u32::from(status) | if untold { EVENTS.sent } else { 0 })
    }

    fn link_is_up(&self) -> Result<Option<bool>> {
        Ok(None)
    }

    fn memory(&self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }
}

impl Produces<RegisterBlock> for Smc91c111 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("LAN91C111", self.registers.clone(), reg::TABLE)
            .with_array(&reg::IAR, 3, 2)
            .with_array(&reg::MT, 8, 1)
            .widths(&[Width::Byte, Width::Word])
            .software_reset(|registers| {
                registers.set(reg::RCR, reg::RCR_RESET)?;
                registers.set(reg::RCR, 0)
            })
            .faults(reg::FAULTS);
        Rc::new(block)
    }
}

impl Discovered for Smc91c111 {
    const QOM_TYPES: &'static [&'static str] = &["smc91c111"];

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Banks(Rc::new(Mmio::new(vm, device.base()?, vm.endian()?))));
        Ok(Self::new(registers, Wiring::of(device, vm)))
    }
}

nic!(Smc91c111: Nic; with net::BOARD);
driver!(Smc91c111 = "smc91c111"; produces dyn Nic, RegisterBlock);
discovered!(Smc91c111);
