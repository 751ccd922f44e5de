//! The SMDKC210 and NURI boards with the Exynos 4210.

use std::rc::Rc;

use crate::drivers::sd::generic_sdhci::GenericSdhci;
use crate::graph::{Contains, Instance, Plug, Produces, Setup};
use crate::qemu::{MIB, RamSpec};
use crate::qos::sd::{SdSlot, SdhciHost};
use crate::qos::sdhci::{Profile, VERSION_2_00, Vendor};
use crate::{Result, machine};

/// The controllers of the Exynos 4210.
const SDHCI: Profile = Profile {
    versions: &[VERSION_2_00],
    capabilities: 0x05e8_0080,
    base_clock_mhz: 0,
    sdma: true,
    max_block: 512,
    vendor: Vendor::Standard,
};

machine! {
    /// QEMU's `smdkc210` and `nuri`.
    pub struct Smdkc210 = "arm/smdkc210", "aarch64/smdkc210", "arm/nuri", "aarch64/nuri";
    setup Setup::bare(RamSpec::new(0x4000_0000, 1024 * MIB));
    contains GenericSdhci; produces SdSlot
}

impl Smdkc210 {
    fn host(&self, base: u64) -> GenericSdhci {
        GenericSdhci::new(&self.vm, base, SDHCI)
    }
}

impl Contains<GenericSdhci> for Smdkc210 {
    const PLUG: Plug = Plug::new("", "0");
    const INSTANCES: &'static [Instance<Self, GenericSdhci>] = &[
        Instance::new("sdhci1", |board: &Self| Ok(board.host(0x1252_0000))).address("1"),
        Instance::new("sdhci2", |board: &Self| Ok(board.host(0x1253_0000))).address("2"),
        Instance::new("sdhci3", |board: &Self| Ok(board.host(0x1254_0000))).address("3"),
    ];

    fn contained(&self) -> Result<GenericSdhci> {
        Ok(self.host(0x1251_0000))
    }
}

impl Produces<SdSlot> for Smdkc210 {
    const PLUG: Plug = Plug::new("", "0");

    fn produced(self: Rc<Self>) -> Rc<SdSlot> {
        Rc::new(SdSlot(SdhciHost::of(&self.vm, self.host(0x1251_0000))))
    }
}
