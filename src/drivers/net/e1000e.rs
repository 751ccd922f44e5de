//! Intel's 82574L (82574 GbE Controller Family Datasheet 3.4, whose sections are cited): a
//! gigabit controller on PCI Express whose registers for frames are those of the 8254x.

use std::rc::Rc;

use crate::drivers::net::e1000::nic::{Chip, GigabitNic};
use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qos::net;
use crate::qos::nic::{Nic, Promise};
use crate::qos::pci::regs::CAPABILITY_POWER_MANAGEMENT;
use crate::qos::pci::{ExpectedBar, Identity, PciBus, PciFunction, PciPlug, Space, msix};
use crate::qos::registers::Register;
use crate::{Result, driver};

/// Interrupt Vector Allocation (10.2.4.9): four bits for each cause, of which the highest
/// enables it: receive queue 0, 1, transmit queue 0, 1, other causes.
pub const IVAR: Register<u32> =
    Register::new("IVAR", 0x00e4).section("10.2.4.9").reset(0).kept(0x800f_ffff);
/// ICR, IMS, ICS: receive queue 0 (10.2.4.1).
pub const RXQ0: u32 = 1 << 20;
/// ICR, IMS, ICS: transmit queue 0.
pub const TXQ0: u32 = 1 << 22;
/// ICR, IMS, ICS: other causes.
pub const OTHER: u32 = 1 << 24;

/// What sets it apart from the 8254x.
const CHIP: Chip = Chip {
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

impl Produces<dyn Nic> for E1000e {
    fn produced(self: Rc<Self>) -> Rc<dyn Nic> {
        let (device, registers) = (self.plug.device.clone(), self.plug.registers.clone());
        Rc::new(GigabitNic::new(device, registers, 0, &CHIP))
    }
}

driver!(E1000e = "e1000e"; consumes dyn PciBus; produces PciFunction, dyn Nic);
