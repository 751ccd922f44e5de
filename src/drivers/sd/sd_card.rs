//! An SD card in the slot of a host controller, with an image in memory.

use std::rc::Rc;

use serde_json::Value;

use crate::graph::{Consumes, QemuArgs, Site};
use crate::qemu::{Image, MIB, Vm};
use crate::qos::qom;
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

/// Whether the image went to an eMMC. In QEMU 7.2 it is a card, on boards of Aspeed.
fn is_soldered(vm: &Vm) -> Result<bool> {
    let soldered = qom::find(vm, "emmc")?;
    if soldered.is_empty() {
        return Ok(false);
    }
    let drives = vm.qmp().execute("query-block", Value::Null)?;
    let has_image = |it: &&Value| it["inserted"].is_object();
    let drives = drives.as_array().into_iter().flatten().filter(has_image);
    let devices: Vec<&str> = drives.filter_map(|it| it["qdev"].as_str()).collect();
    Ok(soldered.iter().any(|it| devices.contains(&it.as_str())))
}

impl Consumes<SdSlot> for SdCard {
    // Boards of Aspeed take no card of `-drive` with -nodefaults.
    const ARGS: QemuArgs = QemuArgs::NONE
        .before("-drive if=sd,index={addr},format=raw,file={sd}")
        .images(&[IMAGE])
        .with_defaults_since(8);

    fn attach(slot: Rc<SdSlot>, site: &Site) -> Result<Self> {
        if is_soldered(site.vm)? {
            return Err(Error::skipped("the board has an eMMC there, and no slot for a card"));
        }
        Ok(Self { host: slot.0.clone() })
    }
}

driver!(SdCard = "sd-card"; consumes SdBus, SdSlot);
