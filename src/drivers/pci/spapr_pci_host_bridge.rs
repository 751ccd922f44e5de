//! The first PCI host bridge of a pSeries machine.

use std::rc::Rc;

use crate::drivers::pci::pci_bus_spapr::PciBusSpapr;
use crate::graph::Contains;
use crate::qemu::Vm;
use crate::{Result, driver};

/// The first host bridge.
pub struct SpaprPciHostBridge {
    vm: Rc<Vm>,
}

impl SpaprPciHostBridge {
    /// The host bridge of this machine.
    pub fn new(vm: &Rc<Vm>) -> Self {
        Self { vm: vm.clone() }
    }
}

impl Contains<PciBusSpapr> for SpaprPciHostBridge {
    fn contained(&self) -> Result<PciBusSpapr> {
        Ok(PciBusSpapr::new(&self.vm))
    }
}

driver!(SpaprPciHostBridge = "spapr-pci-host-bridge"; contains PciBusSpapr);
