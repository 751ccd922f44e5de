//! The paravirtual machine of the 64-bit PowerPC emulator.

use std::rc::Rc;

use crate::drivers::pci::spapr_pci_host_bridge::SpaprPciHostBridge;
use crate::graph::{Contains, Machine, Setup, Site};
use crate::qemu::{MIB, RamSpec, Vm};
use crate::{Result, machine};

/// QEMU's `pseries`.
pub struct Pseries {
    vm: Rc<Vm>,
}

impl Machine for Pseries {
    const SETUP: Setup = Setup::bare(RamSpec::new(0, 256 * MIB));

    fn boot(site: &Site) -> Result<Self> {
        Ok(Self { vm: site.vm.clone() })
    }
}

impl Contains<SpaprPciHostBridge> for Pseries {
    fn contained(&self) -> Result<SpaprPciHostBridge> {
        Ok(SpaprPciHostBridge::new(&self.vm))
    }
}

machine!(Pseries = "ppc64/pseries"; contains SpaprPciHostBridge);
