//! The NE2000 on a PCI bus, Realtek's RTL8029 (Realtek, data sheet RTL8029AS).

use std::rc::Rc;

use crate::drivers::net::ne2000::{Ne2000, chip};
use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qos::net;
use crate::qos::nic::Nic;
use crate::qos::pci::{ExpectedBar, Identity, PciBus, PciFunction, PciPlug, Space};
use crate::qos::registers::RegisterBlock;
use crate::{Result, driver};

/// What its configuration space says; QEMU's subsystem is its own.
const IDENTITY: Identity = Identity {
    vendor: 0x10ec,
    device: 0x8029,
    revision: 0,
    class: 0x02_00_00,
    subsystem: (0x1af4, 0x1100),
    pin: 1,
    bars: &[ExpectedBar { number: 0, space: Space::Io, size: 0x100, witness: None }],
    capabilities: &[],
};

/// QEMU's `ne2k_pci`.
pub struct Ne2kPci {
    plug: PciPlug,
    chip: Rc<Ne2000>,
}

impl Consumes<dyn PciBus> for Ne2kPci {
    const ARGS: QemuArgs = net::PCI_DEVICE;

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        let plug = PciPlug::attach(&bus, site, 0)?;
        Ok(Self { chip: Rc::new(Ne2000::on_card(plug.clone())), plug })
    }
}

impl Produces<PciFunction> for Ne2kPci {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(IDENTITY)
    }
}

impl Produces<RegisterBlock> for Ne2kPci {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(self.chip.block().with(chip::RTL8029_TABLE))
    }
}

impl Produces<dyn Nic> for Ne2kPci {
    fn produced(self: Rc<Self>) -> Rc<dyn Nic> {
        self.chip.clone()
    }
}

impl Produces<Ne2000> for Ne2kPci {
    fn produced(self: Rc<Self>) -> Rc<Ne2000> {
        self.chip.clone()
    }
}

driver!(
    Ne2kPci = "ne2k_pci";
    consumes dyn PciBus;
    produces PciFunction, RegisterBlock, dyn Nic, Ne2000
);
