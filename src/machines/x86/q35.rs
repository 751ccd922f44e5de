//! The PC with the Q35 chipset.

use std::rc::Rc;

use crate::drivers::pci::q35_pcihost::Q35Pcihost;
use crate::drivers::rtc::mc146818rtc::Mc146818;
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

impl Contains<Mc146818> for Q35 {
    fn contained(&self) -> Result<Mc146818> {
        Ok(Mc146818::of_pc(&self.vm))
    }
}

machine!(Q35 = "x86_64/q35", "i386/q35"; contains Q35Pcihost, Mc146818);
