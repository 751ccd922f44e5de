//! The i.MX 6UltraLite evaluation kit.

use std::rc::Rc;

use crate::drivers::sd::generic_sdhci::GenericSdhci;
use crate::graph::{Contains, Instance, Plug, Produces, Setup};
use crate::qemu::{MIB, RamSpec};
use crate::qos::sd::{SdSlot, SdhciHost};
use crate::qos::sdhci::{Profile, VERSION_2_00, VERSION_3_00, Vendor};
use crate::{Result, machine};

/// The uSDHC of the i.MX 6UltraLite. It is one of version 3.00, which
/// QEMU has right since 10.2.
const SDHCI: Profile = Profile {
    versions: &[VERSION_2_00, VERSION_3_00],
    capabilities: 0x0578_34b4,
    base_clock_mhz: 52,
    sdma: true,
    max_block: 512,
    vendor: Vendor::Usdhc,
};

machine! {
    /// QEMU's `mcimx6ul-evk`.
    pub struct Mcimx6ulEvk = "arm/mcimx6ul-evk", "aarch64/mcimx6ul-evk";
    setup Setup::bare(RamSpec::new(0x8000_0000, 128 * MIB));
    contains GenericSdhci; produces SdSlot
}

impl Mcimx6ulEvk {
    fn host(&self, base: u64) -> GenericSdhci {
        GenericSdhci::new(&self.vm, base, SDHCI)
    }
}

impl Contains<GenericSdhci> for Mcimx6ulEvk {
    const PLUG: Plug = Plug::new("", "0");
    const INSTANCES: &'static [Instance<Self, GenericSdhci>] =
        &[Instance::new("usdhc2", |board: &Self| Ok(board.host(0x0219_4000))).address("1")];

    fn contained(&self) -> Result<GenericSdhci> {
        Ok(self.host(0x0219_0000))
    }
}

impl Produces<SdSlot> for Mcimx6ulEvk {
    const PLUG: Plug = Plug::new("", "0");

    fn produced(self: Rc<Self>) -> Rc<SdSlot> {
        Rc::new(SdSlot(SdhciHost::of(&self.vm, self.host(0x0219_0000))))
    }
}
