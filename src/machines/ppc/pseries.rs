//! The paravirtual machine of the 64-bit PowerPC emulator.

use crate::drivers::pci::spapr_pci_host_bridge::SpaprPciHostBridge;
use crate::graph::{Boots, Contains, Setup};
use crate::guests::Way;
use crate::qemu::{MIB, RamSpec};
use crate::{Result, boots, machine};

machine! {
    /// QEMU's `pseries`.
    pub struct Pseries = "ppc64/pseries";
    setup Setup::bare(RamSpec::new(0, 256 * MIB));
    contains SpaprPciHostBridge
}

boots!(Pseries, Boots::with_serial(Way::Kernel));

impl Contains<SpaprPciHostBridge> for Pseries {
    fn contained(&self) -> Result<SpaprPciHostBridge> {
        Ok(SpaprPciHostBridge::new(&self.vm))
    }
}
