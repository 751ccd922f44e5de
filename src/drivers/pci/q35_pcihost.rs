//! The host bridge of the Q35 chipset.

use std::rc::Rc;

use crate::drivers::pci::pci_bus_pc::{Chipset, PciBusPc};
use crate::graph::{Contains, Plug, Produces};
use crate::qemu::Vm;
use crate::qos::pci::{PcieBus, RootComplex, SLOT};
use crate::{Result, driver};

/// The Q35's host bridge.
pub struct Q35Pcihost {
    vm: Rc<Vm>,
}

impl Q35Pcihost {
    /// The host bridge of this machine.
    pub fn new(vm: &Rc<Vm>) -> Self {
        Self { vm: vm.clone() }
    }

    /// The machine.
    pub fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }
}

impl Contains<PciBusPc> for Q35Pcihost {
    fn contained(&self) -> Result<PciBusPc> {
        Ok(PciBusPc::new(&self.vm, Chipset::Q35))
    }
}

impl Produces<PcieBus> for Q35Pcihost {
    const PLUG: Plug = SLOT;

    fn produced(self: Rc<Self>) -> Rc<PcieBus> {
        Rc::new(PcieBus(Rc::new(PciBusPc::new(&self.vm, Chipset::Q35))))
    }
}

impl Produces<RootComplex> for Q35Pcihost {
    fn produced(self: Rc<Self>) -> Rc<RootComplex> {
        let bus = Rc::new(PciBusPc::new(&self.vm, Chipset::Q35));
        Rc::new(RootComplex { vm: self.vm.clone(), bus })
    }
}

driver!(Q35Pcihost = "q35-pcihost"; contains PciBusPc; produces PcieBus, RootComplex);
