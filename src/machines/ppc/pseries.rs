//! The paravirtual machine of the 64-bit PowerPC emulator.

use crate::drivers::pci::spapr_pci_host_bridge::SpaprPciHostBridge;
use crate::graph::{Contains, Setup};
use crate::qemu::{MIB, RamSpec};
use crate::{Result, machine};

machine! {
    /// QEMU's `pseries`.
    pub struct Pseries = "ppc64/pseries";
    setup Setup::bare(RamSpec::new(0, 256 * MIB));
    contains SpaprPciHostBridge
}

impl Contains<SpaprPciHostBridge> for Pseries {
    fn contained(&self) -> Result<SpaprPciHostBridge> {
        Ok(SpaprPciHostBridge::new(&self.vm))
    }
}
