//! The i.MX25 product development kit.

use crate::drivers::i2c::imx_i2c::ImxI2c;
use crate::drivers::sd::generic_sdhci::GenericSdhci;
use crate::graph::{Contains, Instance, Plug, Setup};
use crate::qemu::{MIB, RamSpec, Version};
use crate::qos::sdhci::{Profile, VERSION_2_00, Vendor};
use crate::{Error, Result, machine};

/// The two SD host controllers of the i.MX25, as QEMU models them.
const SDHCI: Profile = Profile {
    versions: &[VERSION_2_00],
    capabilities: 0x07e2_0000,
    base_clock_mhz: 0,
    sdma: true,
    max_block: 2048,
    vendor: Vendor::Usdhc,
};

machine! {
    /// QEMU's `imx25-pdk`.
    pub struct Imx25Pdk = "arm/imx25-pdk", "aarch64/imx25-pdk";
    setup Setup::bare(RamSpec::new(0x8000_0000, 128 * MIB));
    contains ImxI2c, GenericSdhci
}

impl Imx25Pdk {
    fn host(&self, base: u64) -> Result<GenericSdhci> {
        // It is NXP's eSDHC, and QEMU from 11 on has its reset values and Block Count. They
        // are neither the specification's nor the uSDHC's.
        if self.vm.emulator().capabilities.version >= Version::new(11, 0, 0) {
            return Err(Error::skipped("from QEMU 11 on it is an eSDHC, with its own registers"));
        }
        Ok(GenericSdhci::new(&self.vm, base, SDHCI))
    }
}

impl Contains<ImxI2c> for Imx25Pdk {
    const PLUG: Plug = Plug::new("i2c-bus.0", "");

    fn contained(&self) -> Result<ImxI2c> {
        Ok(ImxI2c::new(&self.vm, 0x43f8_0000))
    }
}

impl Contains<GenericSdhci> for Imx25Pdk {
    const PLUG: Plug = Plug::new("", "0");
    const INSTANCES: &'static [Instance<Self, GenericSdhci>] =
        &[Instance::new("esdhc2", |board: &Self| board.host(0x53fb_8000)).address("1")];

    fn contained(&self) -> Result<GenericSdhci> {
        self.host(0x53fb_4000)
    }
}
