//! The ZCU102 board with the Zynq UltraScale+.

use std::rc::Rc;

use crate::drivers::sd::generic_sdhci::GenericSdhci;
use crate::graph::{Contains, Instance, Plug, Produces, Setup};
use crate::qemu::{MIB, RamSpec};
use crate::qos::sd::{SdSlot, SdhciHost};
use crate::qos::sdhci::{Profile, VERSION_3_00, Vendor};
use crate::{Result, machine};

/// The controllers of the Zynq UltraScale+ (UG1087, module SDIO).
const SDHCI: Profile = Profile {
    versions: &[VERSION_3_00],
    capabilities: 0x2807_37ec_6481,
    base_clock_mhz: 100,
    sdma: true,
    max_block: 512,
    vendor: Vendor::Standard,
};

machine! {
    /// QEMU's `xlnx-zcu102`.
    pub struct XlnxZcu102 = "aarch64/xlnx-zcu102";
    // Its DisplayPort plays sound, for which QEMU has no back end without its defaults.
    setup Setup::bare(RamSpec::new(0, 128 * MIB)).with_defaults();
    contains GenericSdhci; produces SdSlot
}

impl XlnxZcu102 {
    fn host(&self, base: u64) -> GenericSdhci {
        GenericSdhci::new(&self.vm, base, SDHCI)
    }
}

impl Contains<GenericSdhci> for XlnxZcu102 {
    const PLUG: Plug = Plug::new("", "0");
    const INSTANCES: &'static [Instance<Self, GenericSdhci>] =
        &[Instance::new("sd1", |board: &Self| Ok(board.host(0xff17_0000))).address("1")];

    fn contained(&self) -> Result<GenericSdhci> {
        Ok(self.host(0xff16_0000))
    }
}

impl Produces<SdSlot> for XlnxZcu102 {
    const PLUG: Plug = Plug::new("", "0");

    fn produced(self: Rc<Self>) -> Rc<SdSlot> {
        Rc::new(SdSlot(SdhciHost::of(&self.vm, self.host(0xff16_0000))))
    }
}
