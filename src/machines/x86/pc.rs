//! The PC with the i440FX chipset.

use std::rc::Rc;

use crate::drivers::pci::i440fx_pcihost::I440FxPcihost;
use crate::drivers::rtc::mc146818rtc::Mc146818;
use crate::graph::{Contains, Machine, Setup, Site};
use crate::qemu::{MIB, RamSpec, Vm};
use crate::{Result, machine};

/// QEMU's `pc`.
pub struct Pc {
    vm: Rc<Vm>,
}

impl Machine for Pc {
    const SETUP: Setup = Setup::bare(RamSpec::new(0, 128 * MIB));

    fn boot(site: &Site) -> Result<Self> {
        Ok(Self { vm: site.vm.clone() })
    }
}

impl Contains<I440FxPcihost> for Pc {
    fn contained(&self) -> Result<I440FxPcihost> {
        Ok(I440FxPcihost::new(&self.vm))
    }
}

impl Contains<Mc146818> for Pc {
    fn contained(&self) -> Result<Mc146818> {
        Ok(Mc146818::of_pc(&self.vm))
    }
}

machine!(Pc = "x86_64/pc", "i386/pc"; contains I440FxPcihost, Mc146818);
