//! Intel's gigabit controllers 8254x as [`Nic`]s (PCI/PCI-X Family of Gigabit Ethernet
//! Controllers Software Developer's Manual).

use std::cell::Cell;
use std::rc::Rc;

use super::ring::{CMD_EOP, CMD_IFCS, CMD_RS, Format, Ring, STA_DD, STA_RECEIVED};
use super::{self as e1000, E1000};
use crate::graph::Produces;
use crate::qemu::Vm;
use crate::qos::net::Address;
use crate::qos::nic::{
    Attack, EventBits, Events, Filter, Groups, Limits, Nic, Promise, RingNic, Started,
};
use crate::qos::pci::{Bar, PciDevice};
use crate::qos::registers::{Register, RegistersExt};
use crate::{Error, Result, interface};

/// The descriptors of a ring; the device may own all but one.
const COUNT: usize = 16;
/// The bytes of a buffer, those of RCTL.BSIZE 0.
const SIZE: usize = 2048;
/// STATUS: the link is up.
const STATUS_LU: u32 = 1 << 1;

/// MDIC (13.4.7): the access, the PHY's address, that it is done, and that it failed.
const PHY_WRITE: u32 = 1 << 26;
const PHY_READ: u32 = 2 << 26;
const PHY_ADDRESS: u32 = 1 << 21;
const MDIC_READY: u32 = 1 << 28;
const MDIC_ERROR: u32 = 1 << 30;
/// The PHY's control: it loops back, it negotiates.
const PHY_LOOPBACK: u32 = 1 << 14;
const PHY_AUTO: u32 = 1 << 12;

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

/// The generations of the family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// The 8254x.
    I8254x,
    /// The 82574.
    I82574,
    /// The 82576, with sixteen queues and advanced descriptors.
    I82576,
}

/// What sets a member of the family, or one of its successors, apart.
pub struct Chip {
    /// Which generation it is of.
    pub generation: Generation,
    /// What has to be done after a reset, before there are rings.
    pub prepare: fn(&GigabitNic, &Vm) -> Result<()>,
    /// The longest frame without a tag that is surely received, in bytes.
    pub longest_received: usize,
    /// The shortest frame that is too long to be received, in bytes.
    pub too_long: usize,
    /// What it promises and does not keep.
    pub faults: &'static [(Promise, &'static str)],
    /// Further bits that ICR may have with the causes of a [`Nic`]'s events.
    pub besides: u32,
    /// Further bits that the status of a receive descriptor may have.
    pub receive_status: u8,
}

/// QEMU's 8254x.
const E1000_CHIP: Chip = Chip {
    generation: Generation::I8254x,
    prepare: |_, _| Ok(()),
    // With a tag (3.2.2): 1522 bytes, the frame check sequence among them. QEMU before 8.1 takes
    // four more.
    longest_received: 1518,
    too_long: 1523,
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

    /// Whether it is an 8254x.
    pub fn is_8254x(&self) -> bool {
        self.chip.generation == Generation::I8254x
    }

    /// Whether it is an 82574.
    pub fn is_82574(&self) -> bool {
        self.chip.generation == Generation::I82574
    }

    /// Whether it is an 82576.
    pub fn is_82576(&self) -> bool {
        self.chip.generation == Generation::I82576
    }

    /// A ring of its descriptors, as [`Ring::new`] makes it.
    ///
    /// # Errors
    /// Returns an error if no guest memory is left.
    pub fn ring(&self, vm: &Vm, base: Register<u32>, count: usize, size: usize) -> Result<Ring> {
        let format = if self.is_82576() { Format::Advanced } else { Format::Legacy };
        Ring::of_format(&self.registers, vm, base, (count, size), format)
    }

    /// Reads or writes the control register of the PHY (IEEE 802.3, 22.2.4.1).
    fn phy(&self, operation: u32, value: u32) -> Result<u32> {
        self.write(e1000::MDIC, operation | PHY_ADDRESS | value)?;
        let done = self.read(e1000::MDIC)?;
        match done & (MDIC_READY | MDIC_ERROR) {
            MDIC_READY => Ok(done & 0xffff),
            _ => Err(Error::failed(format!("MDIC is {done:#x} after an access to the PHY"))),
        }
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

    fn set_loopback(&self, on: bool) -> Result<bool> {
        let control = self.phy(PHY_READ, 0)? & !(PHY_LOOPBACK | PHY_AUTO);
        let mode = if on { PHY_LOOPBACK } else { PHY_AUTO };
        self.phy(PHY_WRITE, control | mode)?;
        Ok(true)
    }

    fn limits(&self) -> Limits {
        Limits {
            transmit: COUNT - 1,
            receive: COUNT - 1,
            longest_received: self.chip.longest_received,
            too_long: Some(self.chip.too_long),
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
        (self.chip.prepare)(self, vm)?;
        // The registers of a ring are written before the last one is freed.
        let rings = Rings {
            transmit: self.ring(vm, e1000::TDBAL, COUNT, SIZE)?,
            receive: self.ring(vm, e1000::RDBAL, COUNT, SIZE)?,
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

impl RingNic for GigabitNic {
    fn base(&self) -> u64 {
        self.registers.address()
    }

    fn attack(&self, attack: Attack) -> Result<()> {
        let rings = self.rings.get()?;
        let both = [&rings.receive, &rings.transmit];
        both.into_iter().try_for_each(|ring| match attack {
            Attack::Rings(at) => ring.begin_at(at),
            Attack::Buffers { at, length } => ring.fill(at, length),
        })
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

impl Produces<dyn RingNic> for E1000 {
    fn produced(self: Rc<Self>) -> Rc<dyn RingNic> {
        Rc::new(self.nic())
    }
}

impl Produces<GigabitNic> for E1000 {
    fn produced(self: Rc<Self>) -> Rc<GigabitNic> {
        Rc::new(self.nic())
    }
}
