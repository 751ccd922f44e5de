//! The Zynq-7000 board.

use std::rc::Rc;

use crate::drivers::sd::generic_sdhci::GenericSdhci;
use crate::graph::{Contains, Instance, Plug, Produces, Setup};
use crate::qemu::{MIB, RamSpec};
use crate::qos::sd::{SdSlot, SdhciHost};
use crate::qos::sdhci::{Profile, VERSION_2_00, Vendor};
use crate::{Result, machine};

/// The controllers of the Zynq-7000 (UG585, appendix B.27).
const SDHCI: Profile = Profile {
    versions: &[VERSION_2_00],
    capabilities: 0x69ec_0080,
    base_clock_mhz: 0,
    sdma: true,
    max_block: 512,
    vendor: Vendor::Standard,
};

machine! {
    /// QEMU's `xilinx-zynq-a9`.
    pub struct XilinxZynqA9 = "arm/xilinx-zynq-a9", "aarch64/xilinx-zynq-a9";
    setup Setup::bare(RamSpec::new(0, 128 * MIB));
    contains GenericSdhci; produces SdSlot
}

impl XilinxZynqA9 {
    fn host(&self, base: u64) -> GenericSdhci {
        GenericSdhci::new(&self.vm, base, SDHCI)
    }
}

impl Contains<GenericSdhci> for XilinxZynqA9 {
    const PLUG: Plug = Plug::new("", "0");
    const INSTANCES: &'static [Instance<Self, GenericSdhci>] =
        &[Instance::new("sd1", |board: &Self| Ok(board.host(0xe010_1000))).address("1")];

    fn contained(&self) -> Result<GenericSdhci> {
        Ok(self.host(0xe010_0000))
    }
}

impl Produces<SdSlot> for XilinxZynqA9 {
    const PLUG: Plug = Plug::new("", "0");

    fn produced(self: Rc<Self>) -> Rc<SdSlot> {
        Rc::new(SdSlot(SdhciHost::of(&self.vm, self.host(0xe010_0000))))
    }
}
