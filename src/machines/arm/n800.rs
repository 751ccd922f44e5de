//! The Nokia N800 tablet with the OMAP 2420. QEMU 9.2 is the first without it.

use std::rc::Rc;

use crate::drivers::i2c::omap_i2c::OmapI2c;
use crate::graph::{Contains, Machine, Plug, Setup, Site};
use crate::qemu::{MIB, RamSpec, Vm};
use crate::{Result, machine};

/// QEMU's `n800`.
pub struct N800 {
    vm: Rc<Vm>,
}

impl Machine for N800 {
    // Its audio codec wants a back end, and QEMU 8.2 has one only with default devices.
    const SETUP: Setup = Setup::bare(RamSpec::new(0x8000_0000, 128 * MIB)).with_defaults();

    fn boot(site: &Site) -> Result<Self> {
        Ok(Self { vm: site.vm.clone() })
    }
}

impl Contains<OmapI2c> for N800 {
    const PLUG: Plug = Plug::new("i2c-bus.0", "");

    fn contained(&self) -> Result<OmapI2c> {
        OmapI2c::new(&self.vm, 0x4807_0000)
    }
}

machine!(N800 = "arm/n800", "aarch64/n800"; contains OmapI2c);
