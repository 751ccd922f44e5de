//! Intel's 82576 (82576EB Gigabit Ethernet Controller Datasheet 2.63, whose sections are cited): a
//! gigabit controller on PCI Express with sixteen queues, eight virtual functions and advanced
//! descriptors, whose registers for frames are else those of the 8254x.

mod registers;

use std::rc::Rc;
use std::time::Duration;

pub use self::registers::*;
use crate::drivers::net::e1000;
use crate::drivers::net::e1000::nic::{Chip, Generation, GigabitNic};
use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qemu::Vm;
use crate::qos::net;
use crate::qos::nic::{Nic, Promise, RingNic};
use crate::qos::pci::regs::CAPABILITY_POWER_MANAGEMENT;
use crate::qos::pci::{ExpectedBar, Identity, PciBus, PciFunction, PciPlug, Space, msix};
use crate::qos::registers::{RegisterBlock, RegistersExt};
use crate::{Error, Result, driver};

/// What sets it apart from the 8254x.
const CHIP: Chip = Chip {
    generation: Generation::I82576,
    prepare,
    // Without a tag: 1518 bytes, the frame check sequence among them (8.10.1, LPE).
    longest_received: 1514,
    too_long: 1515,
    faults: &[
        (Promise::Pads, "igb: QEMU does not pad short packets (TCTL.PSP)"),
        (Promise::SoftwareReset, "igb: a reset by CTRL.RST leaves the interrupt pin as it is"),
    ],
    // ICR: the interrupt is asserted.
    besides: 1 << 31,
    // Checksums were looked at; which of them.
    receive_status: 1 << 2 | 1 << 4 | 1 << 5 | 1 << 6,
};

/// A write of the PHY's control register: auto-negotiation is on, and begins anew.
const NEGOTIATE: u32 = 1 << 26 | 1 << 21 | 0x1200;
/// How long that takes QEMU's PHY.
const NEGOTIATION: Duration = Duration::from_millis(501);

/// Queue 0 in each direction: advanced descriptors, vectors that cause interrupts, a link.
fn prepare(nic: &GigabitNic, vm: &Vm) -> Result<()> {
    let registers = nic.registers();
    registers.set(SRRCTL, ONE_BUFFER)?;
    registers.set(IVAR, VALID | VALID << 8)?;
    let control = registers.get(CTRL)?;
    registers.set(CTRL, control | CTRL_SLU)?;
    registers.set(e1000::MDIC, NEGOTIATE)?;
    vm.qtest().clock_step(Some(NEGOTIATION))?;
    match registers.get(STATUS)? & STATUS_LU {
        0 => Err(Error::failed("the link is not up when it is negotiated")),
        _ => Ok(()),
    }
}

/// CTRL: set the link up.
const CTRL_SLU: u32 = 1 << 6;
/// STATUS: the link is up.
const STATUS_LU: u32 = 1 << 1;

/// What its configuration space says. Its PCI Express capability comes last.
const IDENTITY: Identity = Identity {
    vendor: 0x8086,
    device: 0x10c9,
    revision: 1,
    class: 0x02_00_00,
    subsystem: (0x1af4, 0x1100),
    pin: 1,
    bars: &[
        ExpectedBar { number: 0, space: Space::Memory, size: 0x2_0000, witness: Some(8) },
        ExpectedBar { number: 1, space: Space::Memory, size: 0x2_0000, witness: None },
        ExpectedBar { number: 2, space: Space::Io, size: 0x20, witness: None },
        ExpectedBar { number: 3, space: Space::Memory, size: 0x4000, witness: None },
    ],
    // Message-signalled interrupts (5) and PCI Express (0x10) are in between.
    capabilities: &[CAPABILITY_POWER_MANAGEMENT, 0x05, msix::CAPABILITY, 0x10],
};

/// QEMU's `igb`.
pub struct Igb {
    /// Where it is plugged in, and its registers.
    pub plug: PciPlug,
}

impl Igb {
    /// Its first queues.
    pub fn nic(&self) -> GigabitNic {
        let (device, registers) = (self.plug.device.clone(), self.plug.registers.clone());
        GigabitNic::new(device, registers, 0, &CHIP)
    }
}

impl Produces<RegisterBlock> for Igb {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let [a, b, c, d, e, f] = net::MAC.map(u64::from);
        let block = self.plug.block("82576EB Gigabit Ethernet Controller Datasheet", TABLE);
        let block =
            OF_QUEUES.iter().fold(block, |block, it| block.with_array(*it, QUEUES, QUEUE_STRIDE));
        let block = ARRAYS
            .iter()
            .fold(block, |block, (it, count, stride)| block.with_array(*it, *count, *stride))
            .replace(&e1000::RAL0.reset(a | b << 8 | c << 16 | d << 24))
            .replace(&RAH.reset(e | f << 8 | 1 << 31).undefined(0))
            .replace(&RXDCTL.reset(0x1_0000 | u64::from(QUEUE_ENABLE)))
            .replace(&TXDCTL.reset(u64::from(QUEUE_ENABLE)))
            .raise(&ICR, CAUSES, |registers| registers.set(e1000::ICS, CAUSES as u32))
            .raise(&EICR, 0x4000_ffff, |registers| registers.set(EICS, 0x4000_ffff))
            .software_reset(|registers| registers.set(CTRL, e1000::CTRL_RST))
            .faults(FAULTS);
        Rc::new(block)
    }
}

impl Consumes<dyn PciBus> for Igb {
    const ARGS: QemuArgs = net::PCI_DEVICE;

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Ok(Self { plug: PciPlug::attach(&bus, site, 0)? })
    }
}

impl Produces<PciFunction> for Igb {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(IDENTITY)
    }
}

impl Produces<dyn Nic> for Igb {
    fn produced(self: Rc<Self>) -> Rc<dyn Nic> {
        Rc::new(self.nic())
    }
}

impl Produces<dyn RingNic> for Igb {
    fn produced(self: Rc<Self>) -> Rc<dyn RingNic> {
        Rc::new(self.nic())
    }
}

impl Produces<GigabitNic> for Igb {
    fn produced(self: Rc<Self>) -> Rc<GigabitNic> {
        Rc::new(self.nic())
    }
}

driver!(Igb = "igb"; consumes dyn PciBus; produces PciFunction, RegisterBlock, dyn Nic, dyn RingNic, GigabitNic);
