//! The Sabre Lite board with the i.MX 6.

use std::rc::Rc;

use crate::drivers::sd::generic_sdhci::GenericSdhci;
use crate::graph::{Contains, Instance, Plug, Produces, Setup};
use crate::qemu::{MIB, RamSpec};
use crate::qos::sd::{SdBus, SdhciHost};
use crate::qos::sdhci::{Profile, VERSION_3_00, Vendor};
use crate::{Result, machine};

/// The uSDHC of the i.MX 6.
const SDHCI: Profile = Profile {
    versions: &[VERSION_3_00],
    capabilities: 0x0578_34b4,
    base_clock_mhz: 52,
    sdma: true,
    max_block: 512,
    vendor: Vendor::Usdhc,
};

machine! {
    /// QEMU's `sabrelite`.
    pub struct Sabrelite = "arm/sabrelite", "aarch64/sabrelite";
    setup Setup::bare(RamSpec::new(0x1000_0000, 128 * MIB));
    contains GenericSdhci; produces SdBus
}

impl Sabrelite {
    fn host(&self, base: u64) -> GenericSdhci {
        GenericSdhci::new(&self.vm, base, SDHCI)
    }
}

impl Contains<GenericSdhci> for Sabrelite {
    const PLUG: Plug = Plug::CLOSED;
    const INSTANCES: &'static [Instance<Self, GenericSdhci>] = &[
        Instance::new("sdhc2", |board: &Self| Ok(board.host(0x0219_4000))).closed(),
        Instance::new("sdhc3", |board: &Self| Ok(board.host(0x0219_8000))).closed(),
        Instance::new("sdhc4", |board: &Self| Ok(board.host(0x0219_c000))).closed(),
    ];

    fn contained(&self) -> Result<GenericSdhci> {
        Ok(self.host(0x0219_0000))
    }
}

impl Produces<SdBus> for Sabrelite {
    fn produced(self: Rc<Self>) -> Rc<SdBus> {
        // The bus that QEMU takes for a card without an address is that of the last one.
        Rc::new(SdBus(SdhciHost::of(&self.vm, self.host(0x0219_c000))))
    }
}
