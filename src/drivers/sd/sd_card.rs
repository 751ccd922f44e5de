//! An SD card in the slot of a host controller, with an image in memory.

use std::rc::Rc;

use crate::graph::{Consumes, QemuArgs, Site};
use crate::qemu::{Image, MIB, Vm};
use crate::qos::sd::{Card, SdBus, SdSlot};
use crate::qos::sdhci::Sdhci;
use crate::{Result, driver};

/// The card's image; its size must be a power of two.
pub const IMAGE: Image = Image { name: "sd", size: 16 * MIB };

/// QEMU's `sd-card`.
pub struct SdCard {
    host: Rc<dyn Sdhci>,
    vm: Rc<Vm>,
}

impl SdCard {
    /// The controller that it is in.
    pub fn host(&self) -> &dyn Sdhci {
        &*self.host
    }

    /// The card, to talk to.
    pub fn card(&self) -> Card<'_> {
        Card::new(&*self.host, &self.vm)
    }
}

impl Consumes<SdBus> for SdCard {
    const ARGS: QemuArgs = QemuArgs::device("drive=sd")
        .before("-drive if=none,id=sd,format=raw,file={sd}")
        .images(&[IMAGE]);

    fn attach(bus: Rc<SdBus>, site: &Site) -> Result<Self> {
        Ok(Self { host: bus.0.clone(), vm: site.vm.clone() })
    }
}

impl Consumes<SdSlot> for SdCard {
    const ARGS: QemuArgs =
        QemuArgs::NONE.before("-drive if=sd,index=0,format=raw,file={sd}").images(&[IMAGE]);

    fn attach(slot: Rc<SdSlot>, site: &Site) -> Result<Self> {
        Ok(Self { host: slot.0.clone(), vm: site.vm.clone() })
    }
}

driver!(SdCard = "sd-card"; consumes SdBus, SdSlot);
