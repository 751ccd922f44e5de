//! A flash chip that a board has on an SPI bus, with an image in memory.

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qemu::{Image, MIB};
use crate::qos::spi::{SpiFlash, SpiSlot};
use crate::{Error, Result, driver};

/// The chip's image: as large as the largest, of which a chip takes what it needs.
pub const IMAGE: Image = Image { name: "spi-flash", size: 256 * MIB };

/// One of the types of QEMU's `m25p80`.
pub struct M25p80(SpiFlash);

impl Consumes<SpiSlot> for M25p80 {
    const ARGS: QemuArgs = QemuArgs::NONE
        .before("-drive if=mtd,{bus},id=spi-flash,format=raw,size={addr},file={spi-flash}")
        .images(&[IMAGE]);

    fn attach(slot: Rc<SpiSlot>, _: &Site) -> Result<Self> {
        let none = || Error::skipped("the board has no flash chip there");
        let chip = slot.chip.clone().ok_or_else(none)?;
        Ok(Self(SpiFlash { controller: slot.controller.clone(), chip, image: IMAGE.name }))
    }
}

impl Produces<SpiFlash> for M25p80 {
    fn produced(self: Rc<Self>) -> Rc<SpiFlash> {
        Rc::new(self.0.clone())
    }
}

driver!(M25p80 = "m25p80"; consumes SpiSlot; produces SpiFlash);
