//! The PC with the Q35 chipset.

use std::rc::Rc;

use crate::drivers::pci::q35_pcihost::Q35Pcihost;
use crate::graph::{Contains, Machine, Setup, Site};
use crate::qemu::{MIB, RamSpec, Vm};
use crate::{Result, machine};

/// QEMU's `q35`.
pub struct Q35 {
    vm: Rc<Vm>,
}

impl Machine for Q35 {
    const SETUP: Setup = Setup::bare(RamSpec::new(0, 128 * MIB));

    fn boot(site: &Site) -> Result<Self> {
        Ok(Self { vm: site.vm.clone() })
    }
}

impl Contains<Q35Pcihost> for Q35 {
    fn contained(&self) -> Result<Q35Pcihost> {
        Ok(Q35Pcihost::new(&self.vm))
    }
}

machine!(Q35 = "x86_64/q35", "i386/q35"; contains Q35Pcihost);
