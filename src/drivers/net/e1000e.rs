//! Intel's 82574L (82574 GbE Controller Family Datasheet 3.4, whose sections are cited): a
//! gigabit controller on PCI Express whose registers for frames are those of the 8254x.

use std::rc::Rc;

use crate::drivers::net::e1000;
use crate::drivers::net::e1000::nic::{Chip, Generation, GigabitNic};
use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qos::net;
use crate::qos::nic::{Nic, Promise, RingNic};
use crate::qos::pci::regs::CAPABILITY_POWER_MANAGEMENT;
use crate::qos::pci::{ExpectedBar, Identity, PciBus, PciFunction, PciPlug, Space, msix};
use crate::qos::registers::{AnyRegister, Fault, Register, RegisterBlock, RegistersExt, Rule};
use crate::{Result, driver};

/// Interrupt Vector Allocation (10.2.4.9): four bits for each cause, of which the highest
/// enables it: receive queue 0, 1, transmit queue 0, 1, other causes.
pub const IVAR: Register<u32> = Register::new("IVAR", 0x00e4)
    .section("10.2.4.9")
    .reset(0)
    .kept(0x800f_ffff)
    .reserved(0x7ff0_0000);
/// ICR, IMS, ICS: receive queue 0 (10.2.4.1).
pub const RXQ0: u32 = 1 << 20;
/// ICR, IMS, ICS: transmit queue 0.
pub const TXQ0: u32 = 1 << 22;
/// ICR, IMS, ICS: other causes.
pub const OTHER: u32 = 1 << 24;

/// What sets it apart from the 8254x.
const CHIP: Chip = Chip {
    generation: Generation::I82574,
    prepare: |_, _| Ok(()),
    // As the 8254x.
    longest_received: 1518,
    too_long: 1523,
    faults: &[
        (Promise::Pads, "e1000e: QEMU does not pad short packets (TCTL.PSP)"),
        (Promise::SoftwareReset, "e1000e: a reset by CTRL.RST leaves the interrupt pin as it is"),
    ],
    // ICR: the queues' causes, other causes, and that the interrupt is asserted.
    besides: 0x1f << 20 | 1 << 31,
    // Checksums were looked at, or were not; which of them.
    receive_status: 1 << 2 | 1 << 4 | 1 << 5 | 1 << 6,
};

/// What its configuration space says. Its PCI Express capability comes last.
const IDENTITY: Identity = Identity {
    vendor: 0x8086,
    device: 0x10d3,
    revision: 0,
    class: 0x02_00_00,
    subsystem: (0x8086, 0),
    pin: 1,
    bars: &[
        ExpectedBar { number: 0, space: Space::Memory, size: 0x2_0000, witness: Some(8) },
        ExpectedBar { number: 1, space: Space::Memory, size: 0x2_0000, witness: None },
        ExpectedBar { number: 2, space: Space::Io, size: 0x20, witness: None },
        ExpectedBar { number: 3, space: Space::Memory, size: 0x4000, witness: None },
    ],
    // Message-signalled interrupts (5) and PCI Express (0x10) are in between.
    capabilities: &[CAPABILITY_POWER_MANAGEMENT, 0x05, 0x10, msix::CAPABILITY],
};

/// QEMU's `e1000e`.
pub struct E1000e {
    /// Where it is plugged in, and its registers.
    pub plug: PciPlug,
}

/// The registers that it shares with the 8254x, but for the arrays (chapter 10.2).
const TABLE: &[&dyn AnyRegister] = &[
    &e1000::STATUS,
    &e1000::EERD,
    &e1000::MDIC,
    &e1000::FCAL,
    &e1000::FCAH,
    &e1000::FCT,
    &e1000::VET,
    &e1000::ICS,
    &e1000::IMC,
    &IVAR,
    &e1000::RCTL,
    &e1000::FCTTV,
    &e1000::TCTL,
    &e1000::FCRTL,
    &e1000::FCRTH,
    &e1000::RDBAL,
    &e1000::RDBAH,
    &e1000::RDLEN,
    &e1000::RDH,
    &e1000::RDT,
    &e1000::RADV,
    &e1000::TDBAL,
    &e1000::TDBAH,
    &e1000::TDLEN,
    &e1000::TDH,
    &e1000::TDT,
    &e1000::TIDV,
    &e1000::TADV,
    &RXCSUM,
    &e1000::WUFC,
    &e1000::MPC,
    &e1000::GPRC,
    &e1000::BPRC,
    &e1000::MPRC,
    &e1000::GPTC,
    &e1000::ROC,
    &IMS,
];

/// Receive Checksum Control (10.2.5.15): checks are on after a reset.
const RXCSUM: Register<u32> = e1000::RXCSUM.section("10.2.5.15").reset(0x300);

/// Interrupt Mask Set/Read (10.2.4.5), with the queues' causes and other causes.
const IMS: Register<u32> = e1000::IMS
    .section("10.2.4.5")
    .reserved(0)
    .w1s(0x01f7_02d7)
    .reserved(!0x01f7_02d7 & 0xffff_ffff);

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[
    Fault::new(&["TIDV"], &[Rule::Kept], "TIDV of QEMU's e1000e cannot be read"),
    Fault::new(&[], &[Rule::SoftwareReset], "CTRL.RST resets no register of QEMU's e1000e")
        .before(8, 1),
];

impl Produces<RegisterBlock> for E1000e {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let [a, b, c, d, e, f] = net::MAC.map(u64::from);
        let block = self
            .plug
            .block("82574 GbE Controller Family Datasheet", TABLE)
            .with_array(&e1000::MTA, 128, 4)
            .with_array(&e1000::VFTA, 128, 4)
            .with_array(&e1000::RAL0, 16, 8)
            .with_array(&e1000::RAH0, 16, 8)
            .replace(&e1000::RAL0.reset(a | b << 8 | c << 16 | d << 24))
            .replace(&e1000::RAH0.reset(e | f << 8 | 1 << 31).undefined(0))
            .software_reset(|registers| registers.set(e1000::CTRL, e1000::CTRL_RST))
            .faults(FAULTS);
        Rc::new(block)
    }
}

impl Consumes<dyn PciBus> for E1000e {
    const ARGS: QemuArgs = net::PCI_DEVICE;

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Ok(Self { plug: PciPlug::attach(&bus, site, 0)? })
    }
}

impl Produces<PciFunction> for E1000e {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(IDENTITY)
    }
}

impl E1000e {
    /// Its rings.
    pub fn nic(&self) -> GigabitNic {
        let (device, registers) = (self.plug.device.clone(), self.plug.registers.clone());
        GigabitNic::new(device, registers, 0, &CHIP)
    }
}

impl Produces<dyn Nic> for E1000e {
    fn produced(self: Rc<Self>) -> Rc<dyn Nic> {
        Rc::new(self.nic())
    }
}

impl Produces<dyn RingNic> for E1000e {
    fn produced(self: Rc<Self>) -> Rc<dyn RingNic> {
        Rc::new(self.nic())
    }
}

impl Produces<GigabitNic> for E1000e {
    fn produced(self: Rc<Self>) -> Rc<GigabitNic> {
        Rc::new(self.nic())
    }
}

driver!(E1000e = "e1000e"; consumes dyn PciBus; produces PciFunction, RegisterBlock, dyn Nic, dyn RingNic, GigabitNic);
