//! Cards that have QEMU's VGA with Bochs's VBE extensions besides what else they are, each with the
//! ports of a PC.

use std::rc::Rc;

use super::vga_card::{Card, Model};
use crate::graph::{Consumes, Member, Produces, QemuArgs, Site};
use crate::qos::display::{Dispi, SCREEN, Vga};
use crate::qos::pci::{PciFunction, RootBus};
use crate::qos::registers::RegisterBlock;
use crate::{Result, driver};

const MODEL: Model = Model { memory: 0, mmio: None, identity: None };

const MEMBERS: [Member<Model>; 3] = [
    Member::new("ati-vga", MODEL),
    Member::new("qxl-vga", MODEL),
    Member::new("virtio-vga", Model { mmio: Some(2), ..MODEL }),
];

/// One of these cards.
pub struct OtherVga {
    card: Card,
    vga: Rc<Vga>,
    dispi: Rc<Dispi>,
}

impl Consumes<RootBus> for OtherVga {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr}").images(&[SCREEN]);

    fn attach(bus: Rc<RootBus>, site: &Site) -> Result<Self> {
        let card = Card::attach(&bus.0, site, *site.member(&MEMBERS)?, false)?;
        let vga = Rc::new(card.vga()?);
        Ok(Self { dispi: Rc::new(card.dispi(Some(vga.clone()))?), vga, card })
    }
}

impl Produces<Vga> for OtherVga {
    fn produced(self: Rc<Self>) -> Rc<Vga> {
        self.vga.clone()
    }
}

impl Produces<Dispi> for OtherVga {
    fn produced(self: Rc<Self>) -> Rc<Dispi> {
        self.dispi.clone()
    }
}

impl Produces<PciFunction> for OtherVga {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.card.function()
    }
}

impl Produces<RegisterBlock> for OtherVga {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(self.card.block(&self.vga))
    }
}

driver!(OtherVga as MEMBERS; consumes RootBus; produces Vga, Dispi, PciFunction, RegisterBlock);
