//! The Raspberry Pi 2B, and the 3B with the same controller at the same place.

use std::rc::Rc;

use crate::drivers::sd::generic_sdhci::GenericSdhci;
use crate::graph::{Contains, Plug, Produces, Setup};
use crate::qemu::{MIB, RamSpec};
use crate::qos::sd::{SdSlot, SdhciHost};
use crate::qos::sdhci::{Profile, VERSION_3_00, Vendor};
use crate::{Result, machine};

/// The Arasan controller of the BCM2835 family.
const SDHCI: Profile = Profile {
    versions: &[VERSION_3_00],
    capabilities: 0x0521_34b4,
    base_clock_mhz: 52,
    sdma: false,
    max_block: 1024,
    vendor: Vendor::Standard,
};

machine! {
    /// QEMU's `raspi2b` and `raspi3b`.
    pub struct Raspi2b = "arm/raspi2b", "aarch64/raspi2b", "aarch64/raspi3b";
    setup Setup::bare(RamSpec::new(0, 1024 * MIB));
    contains GenericSdhci; produces SdSlot
}

impl Raspi2b {
    fn host(&self, base: u64) -> GenericSdhci {
        GenericSdhci::new(&self.vm, base, SDHCI)
    }
}

impl Contains<GenericSdhci> for Raspi2b {
    const PLUG: Plug = Plug::new("", "0");
    fn contained(&self) -> Result<GenericSdhci> {
        Ok(self.host(0x3f30_0000))
    }
}

impl Produces<SdSlot> for Raspi2b {
    const PLUG: Plug = Plug::new("", "0");

    fn produced(self: Rc<Self>) -> Rc<SdSlot> {
        Rc::new(SdSlot(SdhciHost::of(&self.vm, self.host(0x3f30_0000))))
    }
}
