//! The virtual board with the Versal.

use std::rc::Rc;

use crate::drivers::sd::generic_sdhci::GenericSdhci;
use crate::graph::{Contains, Instance, Plug, Produces, Setup};
use crate::qemu::{MIB, RamSpec};
use crate::qos::sd::{SdSlot, SdhciHost};
use crate::qos::sdhci::{Profile, VERSION_3_00, Vendor};
use crate::{Result, machine};

/// The controllers of the Versal.
const SDHCI: Profile = Profile {
    versions: &[VERSION_3_00],
    capabilities: 0x2807_37ec_6481,
    base_clock_mhz: 100,
    sdma: true,
    max_block: 512,
    vendor: Vendor::Standard,
};

machine! {
    /// QEMU's `xlnx-versal-virt`.
    pub struct XlnxVersalVirt = "aarch64/xlnx-versal-virt";
    setup Setup::bare(RamSpec::new(0, 128 * MIB));
    contains GenericSdhci; produces SdSlot
}

impl XlnxVersalVirt {
    fn host(&self, base: u64) -> GenericSdhci {
        GenericSdhci::new(&self.vm, base, SDHCI)
    }
}

impl Contains<GenericSdhci> for XlnxVersalVirt {
    const PLUG: Plug = Plug::new("", "0");
    const INSTANCES: &'static [Instance<Self, GenericSdhci>] =
        &[Instance::new("sd1", |board: &Self| Ok(board.host(0xf105_0000))).address("1")];

    fn contained(&self) -> Result<GenericSdhci> {
        Ok(self.host(0xf104_0000))
    }
}

impl Produces<SdSlot> for XlnxVersalVirt {
    const PLUG: Plug = Plug::new("", "0");

    fn produced(self: Rc<Self>) -> Rc<SdSlot> {
        Rc::new(SdSlot(SdhciHost::of(&self.vm, self.host(0xf104_0000))))
    }
}
