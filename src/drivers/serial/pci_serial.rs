//! QEMU's `pci-serial`, a 16550A behind a PCI function (docs/specs/pci-serial in QEMU's
//! documentation).

use std::rc::Rc;

use super::ns16550::{Chip16550, Ns16550, TABLE};
use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qemu::Vm;
use crate::qos::pci::{ExpectedBar, Identity, PciBus, PciFunction, PciPlug, Space};
use crate::qos::registers::RegisterBlock;
use crate::qos::uart::{LINE, LINE_BACKEND, Uart};
use crate::{Result, driver};

/// What its configuration space says: Red Hat's card with one 16550.
const IDENTITY: Identity = Identity {
    vendor: 0x1b36,
    device: 0x0002,
    revision: 1,
    class: 0x07_00_02,
    subsystem: (0x1af4, 0x1100),
    pin: 1,
    bars: &[ExpectedBar { number: 0, space: Space::Io, size: 8, witness: None }],
    capabilities: &[],
};

/// QEMU's `pci-serial`.
pub struct PciSerial {
    vm: Rc<Vm>,
    plug: PciPlug,
}

impl Consumes<dyn PciBus> for PciSerial {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr},chardev=line0,id=uart")
        .before(LINE_BACKEND)
        .sockets(&[LINE]);

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Ok(Self { vm: site.vm.clone(), plug: PciPlug::attach(&bus, site, 0)? })
    }
}

impl PciSerial {
    fn chip(&self) -> Rc<Ns16550> {
        Rc::new(Ns16550::on_card(&self.vm, self.plug.clone(), "/machine/peripheral/uart"))
    }
}

impl Produces<dyn Uart> for PciSerial {
    fn produced(self: Rc<Self>) -> Rc<dyn Uart> {
        self.chip()
    }
}

impl Produces<dyn Chip16550> for PciSerial {
    fn produced(self: Rc<Self>) -> Rc<dyn Chip16550> {
        self.chip()
    }
}

impl Produces<PciFunction> for PciSerial {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(IDENTITY)
    }
}

impl Produces<RegisterBlock> for PciSerial {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(self.plug.block("PC16550D", TABLE))
    }
}

driver!(
    PciSerial = "pci-serial";
    consumes dyn PciBus;
    produces dyn Uart, dyn Chip16550, PciFunction, RegisterBlock
);
