//! The host bridge of the i440FX chipset.

use std::rc::Rc;

use crate::drivers::pci::pci_bus_pc::{Chipset, PciBusPc};
use crate::graph::Contains;
use crate::qemu::Vm;
use crate::{Result, driver};

/// The i440FX's host bridge.
pub struct I440FxPcihost {
    vm: Rc<Vm>,
}

impl I440FxPcihost {
    /// The host bridge of this machine.
    pub fn new(vm: &Rc<Vm>) -> Self {
        Self { vm: vm.clone() }
    }

    /// The machine that it is in.
    pub fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }
}

impl Contains<PciBusPc> for I440FxPcihost {
    fn contained(&self) -> Result<PciBusPc> {
        Ok(PciBusPc::new(&self.vm, Chipset::I440Fx))
    }
}

driver!(I440FxPcihost = "i440FX-pcihost"; contains PciBusPc);
