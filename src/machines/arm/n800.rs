//! The Nokia N800 tablet with the OMAP 2420. QEMU 9.2 is the first without it.

use crate::drivers::i2c::omap_i2c::OmapI2c;
use crate::graph::{Contains, Plug, Setup};
use crate::qemu::{MIB, RamSpec};
use crate::{Result, machine};

machine! {
    /// QEMU's `n800`.
    pub struct N800 = "arm/n800", "aarch64/n800";
    // Its audio codec wants a back end, and QEMU 8.2 has one only with default devices.
    setup Setup::bare(RamSpec::new(0x8000_0000, 128 * MIB)).with_defaults();
    contains OmapI2c
}

impl Contains<OmapI2c> for N800 {
    const PLUG: Plug = Plug::new("i2c-bus.0", "");

    fn contained(&self) -> Result<OmapI2c> {
        OmapI2c::new(&self.vm, 0x4807_0000)
    }
}
