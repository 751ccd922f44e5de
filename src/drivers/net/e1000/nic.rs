//! Intel's gigabit controllers 8254x as [`Nic`]s (PCI/PCI-X Family of Gigabit Ethernet
//! Controllers Software Developer's Manual).

use std::cell::Cell;
use std::rc::Rc;

use super::ring::{CMD_EOP, CMD_IFCS, CMD_RS, Ring, STA_DD, STA_RECEIVED};
use super::{self as e1000, E1000};
use crate::graph::Produces;
use crate::qemu::Vm;
use crate::qos::net::Address;
use crate::qos::nic::{EventBits, Events, Filter, Groups, Limits, Nic, Promise, Started};
use crate::qos::pci::{Bar, PciDevice};
use crate::qos::registers::{Register, RegistersExt};
use crate::{Error, Result, interface};

/// The descriptors of a ring; the device may own all but one.
const COUNT: usize = 16;
/// The bytes of a buffer, those of RCTL.BSIZE 0.
const SIZE: usize = 2048;
/// STATUS: the link is up.
const STATUS_LU: u32 = 1 << 1;

/// The causes of a [`Nic`]'s events, and those that come with them.
const EVENTS: EventBits = EventBits {
    sent: e1000::ICR_TXDW,
    received: e1000::ICR_RXT0,
    overrun: e1000::ICR_RXO,
    link: e1000::ICR_LSC,
    besides: e1000::ICR_TXQE | e1000::ICR_RXDMT0,
};

/// Both rings, and where the driver is in them.
struct Rings {
    transmit: Ring,
    receive: Ring,
    /// The first transmit descriptor that was not yet reported as sent.
    unsent: Cell<usize>,
    /// The receive descriptor that the next frame comes into.
    next: Cell<usize>,
    /// How many frames were taken since descriptors were recycled.
    taken: Cell<usize>,
}

/// What sets a member of the family, or one of its successors, apart.
pub struct Chip {
    /// Whether it is an 82574, with what came after the 8254x.
    pub is_82574: bool,
    /// What it promises and does not keep.
    pub faults: &'static [(Promise, &'static str)],
    /// Further bits that ICR may have with the causes of a [`Nic`]'s events.
    pub besides: u32,
    /// Further bits that the status of a receive descriptor may have.
    pub receive_status: u8,
}

/// QEMU's 8254x.
const E1000_CHIP: Chip = Chip {
    is_82574: false,
    faults: &[
        (Promise::Pads, "e1000: QEMU does not pad short packets (TCTL.PSP)"),
        (Promise::SoftwareReset, "e1000: QEMU ignores CTRL.RST"),
    ],
    besides: 0,
    receive_status: 0,
};

/// A controller with a ring in each direction.
pub struct GigabitNic {
    device: PciDevice,
    registers: Rc<Bar>,
    bar: u8,
    chip: &'static Chip,
    rings: Started<Rings>,
}

impl GigabitNic {
    /// The controller whose registers are behind the BAR of number `bar`.
    pub fn new(device: PciDevice, registers: Rc<Bar>, bar: u8, chip: &'static Chip) -> Self {
        Self { device, registers, bar, chip, rings: Started::default() }
    }

    /// Its function on the PCI bus.
    pub fn device(&self) -> &PciDevice {
        &self.device
    }

    /// Its registers.
    pub fn registers(&self) -> &Rc<Bar> {
        &self.registers
    }

    /// Whether it is an 82574, with what came after the 8254x.
    pub fn is_82574(&self) -> bool {
        self.chip.is_82574
    }

    fn write(&self, register: Register<u32>, value: u32) -> Result<()> {
        self.registers.set(register, value)
    }

    fn read(&self, register: Register<u32>) -> Result<u32> {
        self.registers.get(register)
    }
}

impl GigabitNic {
    /// Whether a whole frame is in descriptor `at`.
    fn is_received(&self, ring: &Ring, at: usize) -> Result<bool> {
        let status = ring.status(at)? & !self.chip.receive_status;
        match status & STA_DD {
            0 => Ok(false),
            _ if status == STA_RECEIVED & !self.chip.receive_status => Ok(true),
            _ => Err(Error::failed(format!("a frame with the status {status:#04x}"))),
        }
    }
}

impl Nic for GigabitNic {
    fn function(&self) -> Option<&PciDevice> {
        Some(&self.device)
    }

    fn limits(&self) -> Limits {
        Limits {
            transmit: COUNT - 1,
            receive: COUNT - 1,
            // With a tag (3.2.2): 1522 bytes, the frame check sequence among them. QEMU before 8.1
            // takes four more.
            longest_received: 1518,
            too_long: Some(1523),
            pads: true,
            ..Limits::PLAIN
        }
    }

    fn known_fault(&self, _: &Vm, promise: Promise) -> Option<&'static str> {
        let fault = self.chip.faults.iter().find(|(broken, _)| *broken == promise);
        fault.map(|(_, what)| *what)
    }

    fn start(&self, vm: &Rc<Vm>) -> Result<()> {
        self.reset(vm)?;
        self.write(e1000::RCTL, 0)?;
        self.write(e1000::TCTL, 0)?;
        self.write(e1000::IMC, !0)?;
        // The registers of a ring are written before the last one is freed.
        let rings = Rings {
            transmit: Ring::new(&self.registers, vm, e1000::TDBAL, COUNT, SIZE)?,
            receive: Ring::new(&self.registers, vm, e1000::RDBAL, COUNT, SIZE)?,
            unsent: Cell::new(0),
            next: Cell::new(0),
            taken: Cell::new(0),
        };
        self.rings.set(rings);
        self.write(e1000::TCTL, e1000::TCTL_EN | e1000::TCTL_PSP)?;
        self.set_filter(&Filter::PLAIN)?;
        self.rings.get()?.receive.give(COUNT - 1)?;
        self.read(e1000::ICR).map(drop)
    }

    fn reset(&self, _: &Rc<Vm>) -> Result<()> {
        let control = self.read(e1000::CTRL)?;
        self.write(e1000::CTRL, control | e1000::CTRL_RST)
    }

    fn remapped(&self) -> Result<Rc<dyn Nic>> {
        let registers = self.device.map_bar(self.bar)?;
        self.device.enable()?;
        Ok(Rc::new(Self::new(self.device.clone(), registers, self.bar, self.chip)))
    }

    fn station_address(&self) -> Result<Address> {
        let (low, high) = (self.read(e1000::RAL0)?, self.read(e1000::RAH0)?);
        let [a, b, c, d] = low.to_le_bytes();
        let [e, f, ..] = high.to_le_bytes();
        Ok([a, b, c, d, e, f])
    }

    fn set_filter(&self, filter: &Filter) -> Result<()> {
        let [a, b, c, d, e, f] = filter.own;
        self.write(e1000::RAH0, 0)?;
        self.write(e1000::RAL0, u32::from_le_bytes([a, b, c, d]))?;
        self.write(e1000::RAH0, u32::from_le_bytes([e, f, 0, 0]) | e1000::RAH_AV)?;
        let hash = match filter.groups {
            // RCTL.MO 0: bits 47:36 of the address.
            Groups::One(group) => Some(u64::from(group[5]) << 4 | u64::from(group[4]) >> 4),
            _ => None,
        };
        for index in 0..128 {
            let here = hash.filter(|hash| hash >> 5 == index);
            self.write(e1000::MTA.nth(index, 4), here.map_or(0, |hash| 1 << (hash & 31)))?;
        }
        let broadcast = if filter.broadcast { e1000::RCTL_BAM } else { 0 };
        let groups = if filter.groups == Groups::All { e1000::RCTL_MPE } else { 0 };
        let foreign = if filter.foreign { e1000::RCTL_UPE } else { 0 };
        let on = e1000::RCTL_EN | e1000::RCTL_SECRC;
        self.write(e1000::RCTL, on | broadcast | groups | foreign)
    }

    fn queue(&self, frame: &[u8]) -> Result<()> {
        self.rings.get()?.transmit.put(frame, CMD_EOP | CMD_IFCS | CMD_RS).map(drop)
    }

    fn send(&self) -> Result<()> {
        self.rings.get()?.transmit.ring()
    }

    fn sent(&self) -> Result<usize> {
        let rings = self.rings.get()?;
        let mut count = 0;
        loop {
            let at = rings.unsent.get();
            if at == rings.transmit.tail() || !rings.transmit.is_done(at, STA_DD)? {
                return Ok(count);
            }
            rings.unsent.set(rings.transmit.wrap(at, 1));
            count += 1;
        }
    }

    fn arrived(&self) -> Result<usize> {
        let rings = self.rings.get()?;
        let mut at = rings.next.get();
        let mut count = 0;
        while at != rings.receive.tail() && self.is_received(&rings.receive, at)? {
            at = rings.receive.wrap(at, 1);
            count += 1;
        }
        Ok(count)
    }

    fn take(&self) -> Result<Vec<u8>> {
        if self.arrived()? == 0 {
            return Err(Error::failed("no frame has arrived"));
        }
        let rings = self.rings.get()?;
        let (ring, at) = (&rings.receive, rings.next.get());
        match ring.errors(at)? {
            0 => {}
            errors => return Err(Error::failed(format!("a frame with the errors {errors:#x}"))),
        }
        rings.next.set(ring.wrap(at, 1));
        rings.taken.set(rings.taken.get() + 1);
        ring.received(at)
    }

    fn recycle(&self) -> Result<()> {
        let rings = self.rings.get()?;
        rings.receive.give(rings.taken.take())
    }

    fn unmask(&self, events: Events) -> Result<()> {
        self.write(e1000::IMC, !0)?;
        self.write(e1000::IMS, EVENTS.of(events))
    }

    fn events(&self) -> Result<Events> {
        let causes = self.read(e1000::ICR)?;
        // Some members clear by reading what is not masked only.
        self.write(e1000::ICR, causes)?;
        EVENTS.events(causes & !self.chip.besides)
    }

    fn link_is_up(&self) -> Result<Option<bool>> {
        Ok(Some(self.read(e1000::STATUS)? & STATUS_LU != 0))
    }

    fn memory(&self) -> Result<Vec<u8>> {
        let rings = self.rings.get()?;
        Ok([rings.transmit.memory()?, rings.receive.memory()?].concat())
    }
}

interface!(GigabitNic = "gigabit");

impl E1000 {
    fn nic(&self) -> GigabitNic {
        let (device, registers) = (self.device().clone(), self.bar().clone());
        GigabitNic::new(device, registers, 0, &E1000_CHIP)
    }
}

impl Produces<dyn Nic> for E1000 {
    fn produced(self: Rc<Self>) -> Rc<dyn Nic> {
        Rc::new(self.nic())
    }
}

impl Produces<GigabitNic> for E1000 {
    fn produced(self: Rc<Self>) -> Rc<GigabitNic> {
        Rc::new(self.nic())
    }
}
