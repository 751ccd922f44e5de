//! An SD host controller in the memory of a board.

use std::rc::Rc;

use crate::drivers::sd::slot;
use crate::graph::{Discovered, FoundDevice, Plug, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::registers::{Mmio, Registers};
use crate::qos::sd::{SdSlot, SdhciHost};
use crate::qos::sdhci::{Profile, Sdhci, VERSION_2_00, VERSION_3_00, Vendor, capabilities};
use crate::{Error, Result, discovered, driver};

/// A memory-mapped controller.
pub struct GenericSdhci {
    registers: Mmio,
    profile: Profile,
}

impl GenericSdhci {
    /// The controller whose registers begin at `base`.
    pub fn new(vm: &Rc<Vm>, base: u64, profile: Profile) -> Self {
        Self { registers: Mmio::new(vm, base, Endian::Little), profile }
    }
}

impl Sdhci for GenericSdhci {
    fn registers(&self) -> &dyn Registers {
        &self.registers
    }

    fn profile(&self) -> Profile {
        self.profile
    }
}

impl Produces<dyn Sdhci> for GenericSdhci {
    fn produced(self: Rc<Self>) -> Rc<dyn Sdhci> {
        self
    }
}

impl Produces<SdSlot> for GenericSdhci {
    fn produced(self: Rc<Self>) -> Rc<SdSlot> {
        let vm = self.registers.vm().clone();
        Rc::new(SdSlot(SdhciHost::shared(&vm, self)))
    }
}

impl Discovered for GenericSdhci {
    const QOM_TYPES: &'static [&'static str] = &["generic-sdhci", "imx-usdhc", "s3c-sdhci"];

    fn plug(device: &FoundDevice) -> Plug {
        slot::of(device)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let number = |name: &str| {
            let none = || Error::failed(format!("{} has no number {name}", device.path));
            device.number(name).ok_or_else(none)
        };
        let capabilities = number("capareg")?;
        // The module of the NPCM7xx around it says 3.00, whatever the part in it is set to.
        let is_npcm7xx = device.parent().is_some_and(|parent| parent.is_a("npcm7xx.sdhci"));
        let version = if is_npcm7xx { 3 } else { number("sd-spec-version")? };
        let (versions, clock): (&[u8], _) = match version {
            2 => (&[VERSION_2_00], capabilities::BASE_CLOCK_V2),
            3 => (&[VERSION_3_00], capabilities::BASE_CLOCK_V3),
            _ => return Err(Error::failed(format!("sd-spec-version is {version}"))),
        };
        let field = |field| capabilities::field(capabilities, field);
        let vendor = if device.is_a("imx-usdhc") { Vendor::Usdhc } else { Vendor::Standard };
        let profile = Profile {
            versions,
            capabilities,
            base_clock_mhz: field(clock),
            sdma: field(capabilities::SDMA) == 1,
            max_block: 512 << field(capabilities::MAX_BLOCK_LENGTH),
            vendor,
        };
        Ok(Self::new(vm, device.base()?, profile))
    }
}

driver!(GenericSdhci = "generic-sdhci"; produces dyn Sdhci, SdSlot);
discovered!(GenericSdhci);
