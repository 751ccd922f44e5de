//! Freescale's Fast Ethernet Controller, FEC, of the i.MX25 and of ColdFire, and ENET of later i.MX,
//! as a [`Nic`] (i.MX25 Reference Manual, chapter 29; MCF5208 Reference Manual, chapter 19; i.MX 6
//! Reference Manual, chapter 23). A ColdFire has its descriptors in the order of its own bytes.

mod registers;

use std::rc::Rc;

pub use self::registers::*;
use crate::graph::{Discovered, FoundDevice, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::net::{self, Address};
use crate::qos::nic::board::Wiring;
use crate::qos::nic::rings::{Layout, Ring, Rings};
use crate::qos::nic::{
    Attack, EventBits, Events, Filter, Groups, Limits, Nic, Overrun, Promise, RingNic, Started,
};
use crate::qos::registers::{Mmio, RegisterBlock, Registers, RegistersExt};
use crate::{Error, Result, discovered, driver, nic};

/// EIR; frames that wait are no event.
const EVENTS: EventBits = EventBits {
    sent: EIR_SENT,
    received: EIR_RECEIVED,
    overrun: 0,
    link: 0,
    besides: EIR_BUFFER_SENT | EIR_BUFFER_RECEIVED | EIR_PHY,
};

/// How many descriptors each ring has, their bytes, and the bytes of a buffer.
const RINGS: (usize, usize, usize) = (8, 8, 1600);
/// The longest frame, its check sequence and a tag included.
const LONGEST: u32 = 1522;
/// PHY status: the link is up (IEEE 802.3, 22.2.4.2).
const LINK_UP: u16 = 1 << 2;

/// Which one it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The FEC of an i.MX.
    Fec,
    /// The ENET.
    Enet,
    /// The FEC of a ColdFire.
    ColdFire,
}

/// The descriptors (29.6): length and status, address.
pub struct Words(Kind);

/// The bit of the last descriptor of a ring.
fn end(ring: &Ring, index: usize) -> u32 {
    if ring.is_last(index) { WRAP } else { 0 }
}

impl Layout for Words {
    fn order(&self) -> Endian {
        if self.0 == Kind::ColdFire { Endian::Big } else { Endian::Little }
    }

    fn put(&self, ring: &Ring, index: usize, buffer: u64, length: usize) -> Result<()> {
        ring.set_word(index, 1, buffer as u32)?;
        let flags = OWN | LAST | APPEND | end(ring, index);
        ring.set_word(index, 0, flags | length as u32 & 0xffff)
    }

    fn is_sent(&self, ring: &Ring, index: usize) -> Result<bool> {
        Ok(ring.word(index, 0)? & OWN == 0)
    }

    fn give(&self, ring: &Ring, index: usize, buffer: u64) -> Result<()> {
        ring.set_word(index, 1, buffer as u32)?;
        ring.set_word(index, 0, OWN | end(ring, index))
    }

    fn received(&self, ring: &Ring, index: usize) -> Result<Option<usize>> {
        let status = ring.word(index, 0)?;
        if status & OWN != 0 {
            return Ok(None);
        }
        if status >> 16 << 16 & !(KINDS | WRAP) != LAST {
            return Err(Error::failed(format!("a frame with the status {status:#010x}")));
        }
        Ok(Some((status & 0xffff) as usize))
    }
}

/// QEMU's `imx.fec`, `imx.enet` and `mcf-fec`.
pub struct ImxFec {
    registers: Rc<Mmio>,
    wiring: Wiring,
    /// Which one it is.
    pub kind: Kind,
    rings: Started<Rings>,
}

impl ImxFec {
    /// Its registers.
    pub fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Register `number` of PHY `phy`.
    ///
    /// # Errors
    /// Returns an error if the access does not end.
    pub fn phy(&self, phy: u32, number: u32) -> Result<u16> {
        self.phy_access(0x6002_0000 | phy << 23 | number << 18)
    }

    /// Writes register `number` of PHY `phy`.
    ///
    /// # Errors
    /// Returns an error if the access does not end.
    pub fn set_phy(&self, phy: u32, number: u32, value: u16) -> Result<()> {
        self.phy_access(0x5002_0000 | phy << 23 | number << 18 | u32::from(value)).map(drop)
    }

    fn phy_access(&self, frame: u32) -> Result<u16> {
        self.registers.set(EIR, EIR_PHY)?;
        self.registers.set(MMFR, frame)?;
        match self.registers.get(EIR)? & EIR_PHY {
            0 => Err(Error::failed("an access to the PHY does not end")),
            _ => Ok(self.registers.get(MMFR)? as u16),
        }
    }

    /// The address of a PHY that answers; `None` if none does.
    ///
    /// # Errors
    /// Returns an error if an access does not end.
    pub fn find_phy(&self) -> Result<Option<u32>> {
        for phy in 0..32 {
            if self.phy(phy, 2)? != 0xffff {
                return Ok(Some(phy));
            }
        }
        Ok(None)
    }

    /// Tells it where both rings begin, turned off, and turns it on with `mode`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn turn_on(&self, receive: u64, transmit: u64, mode: u32) -> Result<()> {
        self.registers.set(ECR, 0xf000_0000)?;
        self.registers.set(RDSR, receive as u32)?;
        self.registers.set(TDSR, transmit as u32)?;
        self.registers.set(ECR, 0xf000_0000 | ECR_ON | mode)?;
        self.registers.set(RDAR, ACTIVE)
    }
}

impl Nic for ImxFec {
    fn started(&self) -> Option<&Started<Rings>> {
        Some(&self.rings)
    }

    fn wiring(&self) -> Option<&Wiring> {
        Some(&self.wiring)
    }

    fn limits(&self) -> Limits {
        let overrun = if self.kind == Kind::ColdFire { Overrun::Discards } else { Overrun::Waits };
        Limits {
            transmit: RINGS.0,
            receive: RINGS.0,
            pads: true,
            link_event: false,
            overrun,
            ..Limits::PLAIN
        }
    }

    fn known_fault(&self, _: &Vm, promise: Promise) -> Option<&'static str> {
        match promise {
            Promise::OverrunEvent => Some("the FEC does not tell of frames without a descriptor"),
            Promise::Pads => Some("imx.fec: short frames are not padded"),
            Promise::CheckSequence => {
                Some("imx.fec: the check sequence behind a frame is of another start value")
            }
            Promise::AddressAfterReset => {
                Some("imx.fec: a reset leaves the address that was set up")
            }
            Promise::SoftwareReset | Promise::PinAfterReset => {
                Some("imx.fec: a reset leaves the interrupt line high")
            }
            _ => None,
        }
    }

    fn start(&self, vm: &Rc<Vm>) -> Result<()> {
        self.reset(vm)?;
        let rings = Rings::new(vm, Words(self.kind), RINGS, true)?;
        let (receive, transmit) = (rings.receive.address(), rings.transmit.address());
        self.rings.set(rings);
        self.registers.set(MRBR, RINGS.2 as u32)?;
        self.registers.set(TCR, TCR_FULL_DUPLEX)?;
        self.registers.set(EIMR, 0)?;
        self.set_filter(&Filter::PLAIN)?;
        self.turn_on(receive, transmit, 0)?;
        self.registers.set(EIR, !0)
    }

    fn reset(&self, _: &Rc<Vm>) -> Result<()> {
        self.registers.set(ECR, ECR_RESET)?;
        match self.registers.get(ECR)? & ECR_RESET {
            0 => Ok(()),
            _ => Err(Error::failed("ECR: a reset by software does not end")),
        }
    }

    fn remapped(&self) -> Result<Rc<dyn Nic>> {
        let (registers, wiring) = (self.registers.clone(), self.wiring.clone());
        Ok(Rc::new(Self { registers, wiring, kind: self.kind, rings: Started::default() }))
    }

    fn station_address(&self) -> Result<Address> {
        let [a, b, c, d] = self.registers.get(PALR)?.to_be_bytes();
        let [e, f, ..] = self.registers.get(PAUR)?.to_be_bytes();
        Ok([a, b, c, d, e, f])
    }

    fn set_filter(&self, filter: &Filter) -> Result<()> {
        let [a, b, c, d, e, f] = filter.own;
        self.registers.set(PALR, u32::from_be_bytes([a, b, c, d]))?;
        self.registers.set(PAUR, u32::from_be_bytes([e, f, 0, 0]))?;
        let hash = match filter.groups {
            Groups::None => 0_u64,
            // The upper six bits of the check sequence, before it is inverted.
            Groups::One(group) => 1 << (!net::check_sequence(&group) >> 26),
            Groups::All => !0,
        };
        self.registers.set(IAUR, 0)?;
        self.registers.set(IALR, 0)?;
        self.registers.set(GAUR, (hash >> 32) as u32)?;
        self.registers.set(GALR, hash as u32)?;
        let broadcasts = if filter.broadcast { 0 } else { RCR_NO_BROADCASTS };
        let all = if filter.foreign { RCR_ALL } else { 0 };
        self.registers.set(RCR, LONGEST << 16 | RCR_MII | broadcasts | all)
    }

    fn send(&self) -> Result<()> {
        self.registers.set(TDAR, ACTIVE)
    }

    fn recycle(&self) -> Result<()> {
        self.rings.get()?.recycle()?;
        self.registers.set(RDAR, ACTIVE)
    }

    fn unmask(&self, events: Events) -> Result<()> {
        self.registers.set(EIMR, EVENTS.of(events))
    }

    fn events(&self) -> Result<Events> {
        let status = self.registers.get(EIR)?;
        self.registers.set(EIR, status)?;
        EVENTS.events(status)
    }

    fn link_is_up(&self) -> Result<Option<bool>> {
        let Some(phy) = self.find_phy()? else {
            return Ok(None);
        };
        // A link that was down shows once.
        self.phy(phy, 1)?;
        Ok(Some(self.phy(phy, 1)? & LINK_UP != 0))
    }
}

impl RingNic for ImxFec {
    fn base(&self) -> u64 {
        self.registers.base()
    }

    fn attack(&self, attack: Attack) -> Result<()> {
        match attack {
            Attack::Rings(at) => {
                self.registers.set(RDSR, at as u32)?;
                self.registers.set(TDSR, at as u32)?;
            }
            Attack::Buffers { at, length } => self.rings.get()?.fill(at, length)?,
        }
        self.registers.set(RDAR, ACTIVE)
    }
}

impl Produces<RegisterBlock> for ImxFec {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let (own, faults) = match self.kind {
            Kind::Fec => (FEC_TABLE, &[][..]),
            Kind::Enet => (ENET_TABLE, &[][..]),
            Kind::ColdFire => (FEC_TABLE, COLDFIRE_FAULTS),
        };
        let block = RegisterBlock::new("i.MX25 Reference Manual", self.registers.clone(), TABLE)
            .with(own)
            .software_reset(|registers| registers.set(ECR, ECR_RESET))
            .faults(FAULTS)
            .faults(faults);
        Rc::new(block)
    }
}

impl Discovered for ImxFec {
    const QOM_TYPES: &'static [&'static str] = &["imx.fec", "imx.enet", "mcf-fec"];

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        // A ColdFire has a line for each of 13 events.
        let (kind, lines) = match () {
            () if device.is_a("mcf-fec") => (Kind::ColdFire, 13),
            () if device.is_a("imx.enet") => (Kind::Enet, 1),
            () => (Kind::Fec, 1),
        };
        let wiring = Wiring::with_lines(device, vm, lines);
        Ok(Self { registers, wiring, kind, rings: Started::default() })
    }
}

nic!(ImxFec: Nic, RingNic; with net::BOARD);
driver!(ImxFec = "imx.fec"; produces dyn Nic, dyn RingNic, RegisterBlock);
discovered!(ImxFec);
