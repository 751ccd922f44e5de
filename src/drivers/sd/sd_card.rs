//! An SD card in the slot of a host controller, with an image in memory.

use std::rc::Rc;

use crate::graph::{Consumes, QemuArgs, Site};
use crate::qemu::{Image, MIB};
use crate::qos::sd::{Card, PlainCard, SdBus, SdHost, SdSlot};
use crate::qos::sdhci::Sdhci;
use crate::{Error, Result, driver};

/// The card's image; its size must be a power of two.
pub const IMAGE: Image = Image { name: "sd", size: 16 * MIB };

/// QEMU's `sd-card`.
pub struct SdCard {
    host: Rc<dyn SdHost>,
}

impl SdCard {
    /// The SD host controller that it is in.
    ///
    /// # Errors
    /// Returns [`Error::Skipped`] if it is in a controller of another kind.
    pub fn host(&self) -> Result<&dyn Sdhci> {
        self.sdhci().map(|(host, _)| host)
    }

    /// The card, with all that an SD host controller can do with it.
    ///
    /// # Errors
    /// Returns [`Error::Skipped`] if it is in a controller of another kind.
    pub fn card(&self) -> Result<Card<'_>> {
        self.sdhci().map(|(_, card)| card)
    }

    fn sdhci(&self) -> Result<(&dyn Sdhci, Card<'_>)> {
        let other = || Error::skipped("this is about SDHCI, and the card is in another controller");
        self.host.sdhci().ok_or_else(other)
    }

    /// The card, with what every controller can do with it.
    pub fn plain(&self) -> PlainCard<'_> {
        PlainCard::new(&*self.host)
    }
}

impl Consumes<SdBus> for SdCard {
    const ARGS: QemuArgs = QemuArgs::device("drive=sd")
        .before("-drive if=none,id=sd,format=raw,file={sd}")
        .images(&[IMAGE]);

    fn attach(bus: Rc<SdBus>, _: &Site) -> Result<Self> {
        Ok(Self { host: bus.0.clone() })
    }
}

impl Consumes<SdSlot> for SdCard {
    const ARGS: QemuArgs =
        QemuArgs::NONE.before("-drive if=sd,index={addr},format=raw,file={sd}").images(&[IMAGE]);

    fn attach(slot: Rc<SdSlot>, _: &Site) -> Result<Self> {
        Ok(Self { host: slot.0.clone() })
    }
}

driver!(SdCard = "sd-card"; consumes SdBus, SdSlot);
