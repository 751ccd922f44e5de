//! The interfaces to a management controller behind a BAR of ports (IPMI v2.0, C2-3; class codes of
//! PCI: 0c0701 and 0c0702).

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qos::ipmi::{BMC, Bt, Ipmi, Kcs};
use crate::qos::pci::{ExpectedBar, Identity, PciBus, PciFunction, PciPlug, Space};
use crate::{Result, driver};

/// The BAR of the registers.
const BAR: u8 = 0;

/// What the configuration space of an interface with this class says.
const fn identity(class: u32) -> Identity {
    Identity {
        vendor: 0x1234,
        device: 0x1112,
        revision: 1,
        class,
        subsystem: (0x1af4, 0x1100),
        pin: 1,
        bars: &[ExpectedBar { number: BAR, space: Space::Io, size: 8, witness: None }],
        capabilities: &[],
    }
}

/// QEMU's `pci-ipmi-kcs`.
pub struct PciIpmiKcs {
    plug: PciPlug,
    kcs: Rc<Kcs>,
}

impl Consumes<dyn PciBus> for PciIpmiKcs {
    const ARGS: QemuArgs = QemuArgs { properties: "bmc=bmc0,bus={bus},addr={addr}", ..BMC };

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        let plug = PciPlug::attach(&bus, site, BAR)?;
        let (vm, registers) = (site.vm.clone(), plug.registers.clone());
        Ok(Self { plug, kcs: Rc::new(Kcs { vm, registers }) })
    }
}

impl Produces<dyn Ipmi> for PciIpmiKcs {
    fn produced(self: Rc<Self>) -> Rc<dyn Ipmi> {
        self.kcs.clone()
    }
}

impl Produces<Kcs> for PciIpmiKcs {
    fn produced(self: Rc<Self>) -> Rc<Kcs> {
        self.kcs.clone()
    }
}

impl Produces<PciFunction> for PciIpmiKcs {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(identity(0x0c_07_01))
    }
}

driver!(PciIpmiKcs = "pci-ipmi-kcs"; consumes dyn PciBus; produces dyn Ipmi, Kcs, PciFunction);

/// QEMU's `pci-ipmi-bt`.
pub struct PciIpmiBt {
    plug: PciPlug,
    bt: Rc<Bt>,
}

impl Consumes<dyn PciBus> for PciIpmiBt {
    const ARGS: QemuArgs = QemuArgs { properties: "bmc=bmc0,bus={bus},addr={addr}", ..BMC };

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        let plug = PciPlug::attach(&bus, site, BAR)?;
        let bt = Rc::new(Bt::new(site.vm, plug.registers.clone()));
        Ok(Self { plug, bt })
    }
}

impl Produces<dyn Ipmi> for PciIpmiBt {
    fn produced(self: Rc<Self>) -> Rc<dyn Ipmi> {
        self.bt.clone()
    }
}

impl Produces<Bt> for PciIpmiBt {
    fn produced(self: Rc<Self>) -> Rc<Bt> {
        self.bt.clone()
    }
}

impl Produces<PciFunction> for PciIpmiBt {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(identity(0x0c_07_02))
    }
}

driver!(PciIpmiBt = "pci-ipmi-bt"; consumes dyn PciBus; produces dyn Ipmi, Bt, PciFunction);
