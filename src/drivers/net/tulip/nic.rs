//! Digital's 21143 as a [`Nic`] (21143 PCI/CardBus LAN Controller Hardware Reference Manual,
//! chapter 4).

use std::cell::Ref;
use std::rc::Rc;

use super::Tulip;
use super::registers::*;
use crate::qemu::Vm;
use crate::qos::net::{Address, BROADCAST};
use crate::qos::nic::microwire::Microwire;
use crate::qos::nic::rings::{Layout, Ring, Rings};
use crate::qos::nic::{
    Attack, EventBits, Events, Filter, Groups, Limits, Nic, Overrun, Promise, RingNic, Started,
};
use crate::qos::pci::PciDevice;
use crate::qos::registers::{RegistersExt, Width};
use crate::qos::wait_until;
use crate::{Error, Result, nic};

/// CSR9: the pins of the EEPROM, which bits 11 (select) and 14 (read) turn on.
const EEPROM: Microwire = Microwire {
    offset: CSR9.offset(),
    width: Width::Long,
    always: 1 << 14 | 1 << 11,
    select: 1 << 0,
    clock: 1 << 1,
    input: 1 << 2,
    output: 1 << 3,
    others: 1 << 19,
};
/// The first word of the station's address in the EEPROM.
const ADDRESS: u16 = 10;

/// CSR5.
const EVENTS: EventBits = EventBits {
    sent: CSR5_SENT,
    received: CSR5_RECEIVED,
    overrun: CSR5_NO_BUFFER,
    link: 0,
    besides: CSR5_NOTHING_TO_SEND | CSR5_ABNORMAL | CSR5_NORMAL | CSR5_STATES | CSR5_ONES,
};

/// How many descriptors each ring has, their bytes, and the bytes of a buffer.
const RINGS: (usize, usize, usize) = (16, 16, 1600);
/// The length in bytes of a setup frame (4.2.3).
pub const SETUP_LENGTH: usize = 192;
/// The status of a setup frame that is done.
const SETUP_DONE: u32 = !OWN;
/// A descriptor's control: a length.
const LENGTH: u32 = 0x7ff;
/// A descriptor's status: the summary of its errors.
const ERRORS: u32 = 1 << 15;

/// The descriptors (4.2): status, control, and two addresses.
pub struct Words;

/// The bit of the last descriptor of a ring.
fn end(ring: &Ring, index: usize) -> u32 {
    if ring.is_last(index) { END_OF_RING } else { 0 }
}

impl Layout for Words {
    fn put(&self, ring: &Ring, index: usize, buffer: u64, length: usize) -> Result<()> {
        ring.set_word(index, 2, buffer as u32)?;
        ring.set_word(index, 3, 0)?;
        let control = REPORT | LAST | FIRST | end(ring, index) | length as u32 & LENGTH;
        ring.set_word(index, 1, control)?;
        ring.set_word(index, 0, OWN)
    }

    fn is_sent(&self, ring: &Ring, index: usize) -> Result<bool> {
        let status = ring.word(index, 0)?;
        if status & OWN == 0 && status & ERRORS != 0 && status != SETUP_DONE {
            return Err(Error::failed(format!("a frame was sent with the status {status:#010x}")));
        }
        Ok(status & OWN == 0)
    }

    fn give(&self, ring: &Ring, index: usize, buffer: u64) -> Result<()> {
        ring.set_word(index, 2, buffer as u32)?;
        ring.set_word(index, 3, 0)?;
        ring.set_word(index, 1, end(ring, index) | RINGS.2 as u32)?;
        ring.set_word(index, 0, OWN)
    }

    fn received(&self, ring: &Ring, index: usize) -> Result<Option<usize>> {
        let status = ring.word(index, 0)?;
        if status & OWN != 0 {
            return Ok(None);
        }
        let about = status & 0xffff & !(TO_GROUP | OF_TYPE);
        if about != RECEIVED_LAST | RECEIVED_FIRST {
            return Err(Error::failed(format!("a frame with the status {status:#010x}")));
        }
        Ok(Some((status >> 16 & 0x3fff) as usize))
    }
}

/// What a started card works on.
pub struct Parts {
    vm: Rc<Vm>,
    /// Its rings.
    pub rings: Rings,
}

/// What a setup frame says that lets in these 16 addresses (4.2.3.1).
pub fn setup_frame(addresses: &[Address; 16]) -> Vec<u8> {
    let words = addresses.iter().flat_map(|address| address.chunks(2));
    // Each two bytes are in the lower half of a longword; the upper is of no matter.
    words.flat_map(|pair| [pair[0], pair[1], 0, 0]).collect()
}

impl Tulip {
    /// What it works on, since it was started.
    ///
    /// # Errors
    /// Returns an error if it was not started.
    pub fn parts(&self) -> Result<Ref<'_, Parts>> {
        self.parts.get()
    }

    /// Word `word` of its EEPROM.
    ///
    /// # Errors
    /// Returns an error if the pins do not stay as they are driven.
    pub fn eeprom(&self, word: u16) -> Result<u16> {
        EEPROM.read(&*self.plug.registers, word)
    }

    /// Has it take a setup frame; `flags` are added to the control of its descriptor.
    ///
    /// # Errors
    /// Returns an error if the card does not take it.
    pub fn set_up(&self, frame: &[u8], flags: u32) -> Result<()> {
        let parts = self.parts()?;
        let (rings, registers) = (&parts.rings, &self.plug.registers);
        let index = rings.queue(frame)?;
        let ring = &rings.transmit;
        ring.set_word(index, 1, SETUP | flags | end(ring, index) | frame.len() as u32)?;
        registers.set(CSR1, 1)?;
        let done = || Ok(rings.transmit.word(index, 0)? & OWN == 0);
        wait_until(&parts.vm, "the end of a setup frame", done)?;
        rings.sent().map(drop)
    }

    /// Sets these bits of CSR6, and no others of `mask`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn mode(&self, mask: u32, bits: u32) -> Result<()> {
        let mode = self.plug.registers.get(CSR6)? & !mask;
        self.plug.registers.set(CSR6, mode | bits)
    }
}

impl Nic for Tulip {
    fn function(&self) -> Option<&PciDevice> {
        Some(&self.plug.device)
    }

    fn limits(&self) -> Limits {
        Limits {
            transmit: RINGS.0,
            receive: RINGS.0,
            overrun: Overrun::Discards,
            link_event: false,
            ..Limits::PLAIN
        }
    }

    fn known_fault(&self, _: &Vm, promise: Promise) -> Option<&'static str> {
        match promise {
            Promise::NoBroadcast => {
                Some("tulip: broadcasts are received although no setup frame names them")
            }
            Promise::CheckSequence => {
                Some("tulip: behind a frame is what was there before, not its check sequence")
            }
            _ => None,
        }
    }

    fn set_loopback(&self, on: bool) -> Result<bool> {
        self.mode(CSR6_LOOP, if on { CSR6_LOOP } else { 0 })?;
        Ok(true)
    }

    fn start(&self, vm: &Rc<Vm>) -> Result<()> {
        self.reset(vm)?;
        let registers = &self.plug.registers;
        let rings = Rings::new(vm, Words, RINGS, true)?;
        registers.set(CSR3, rings.receive.address() as u32)?;
        registers.set(CSR4, rings.transmit.address() as u32)?;
        registers.set(CSR7, 0)?;
        registers.set(CSR6, CSR6_SEND)?;
        self.parts.set(Parts { vm: vm.clone(), rings });
        self.set_filter(&Filter::PLAIN)?;
        self.mode(CSR6_RECEIVE, CSR6_RECEIVE)?;
        registers.set(CSR5, !0)
    }

    fn reset(&self, _: &Rc<Vm>) -> Result<()> {
        self.plug.registers.set(CSR0, CSR0_RESET)
    }

    fn remapped(&self) -> Result<Rc<dyn Nic>> {
        Ok(Rc::new(Self { plug: self.plug.again()?, parts: Started::default() }))
    }

    fn station_address(&self) -> Result<Address> {
        let mut address = Address::default();
        for (word, bytes) in (ADDRESS..).zip(address.chunks_mut(2)) {
            bytes.copy_from_slice(&self.eeprom(word)?.to_le_bytes());
        }
        Ok(address)
    }

    fn set_filter(&self, filter: &Filter) -> Result<()> {
        let mut addresses = [filter.own; 16];
        if filter.broadcast {
            addresses[1] = BROADCAST;
        }
        let mut mode = if filter.foreign { CSR6_PROMISCUOUS } else { 0 };
        match filter.groups {
            Groups::None => {}
            Groups::One(group) => addresses[15] = group,
            Groups::All => mode |= CSR6_ALL_GROUPS,
        }
        self.set_up(&setup_frame(&addresses), 0)?;
        self.mode(CSR6_PROMISCUOUS | CSR6_ALL_GROUPS, mode)
    }

    fn queue(&self, frame: &[u8]) -> Result<()> {
        self.parts()?.rings.queue(frame).map(drop)
    }

    fn send(&self) -> Result<()> {
        self.plug.registers.set(CSR1, 1)
    }

    fn sent(&self) -> Result<usize> {
        self.parts()?.rings.sent()
    }

    fn arrived(&self) -> Result<usize> {
        self.parts()?.rings.arrived()
    }

    fn take(&self) -> Result<Vec<u8>> {
        self.parts()?.rings.take()
    }

    fn check_sequence(&self) -> Result<Option<[u8; 4]>> {
        Ok(self.parts()?.rings.check_sequence())
    }

    fn recycle(&self) -> Result<()> {
        self.parts()?.rings.recycle()?;
        self.plug.registers.set(CSR2, 1)
    }

    fn unmask(&self, events: Events) -> Result<()> {
        let summaries = CSR5_ABNORMAL | CSR5_NORMAL;
        self.plug.registers.set(CSR7, EVENTS.of(events) | summaries)
    }

    fn events(&self) -> Result<Events> {
        let status = self.plug.registers.get(CSR5)?;
        self.plug.registers.set(CSR5, status)?;
        EVENTS.events(status)
    }

    fn link_is_up(&self) -> Result<Option<bool>> {
        Ok(None)
    }

    fn memory(&self) -> Result<Vec<u8>> {
        self.parts()?.rings.memory()
    }
}

impl RingNic for Tulip {
    fn base(&self) -> u64 {
        self.plug.registers.address()
    }

    fn attack(&self, attack: Attack) -> Result<()> {
        let registers = &self.plug.registers;
        match attack {
            Attack::Rings(at) => {
                registers.set(CSR3, at as u32)?;
                registers.set(CSR4, at as u32)?;
            }
            Attack::Buffers { at, length } => self.parts()?.rings.fill(at, length)?,
        }
        registers.set(CSR2, 1)
    }
}

nic!(Tulip: Nic, RingNic);
