//! QEMU's own VGA (QEMU, "QEMU Standard VGA"), with Bochs's VBE extensions: `VGA` with the ports of
//! a PC, which the variant `mmio` reaches in memory, and `secondary-vga`, which has no ports.

use std::rc::Rc;

use super::vga_card::{Card, Model, standard};
use crate::graph::{Addition, Consumes, Produces, QemuArgs, Site, Variant};
use crate::qos::display::{Dispi, Edid, SCREEN, Vga};
use crate::qos::pci::{PciBus, PciFunction, RootBus};
use crate::qos::registers::RegisterBlock;
use crate::{Result, driver};

/// QEMU's `VGA`.
const FIRST: Model = Model { memory: 0, mmio: Some(2), identity: Some(standard(0x03_00_00)) };
/// QEMU's `secondary-vga`.
const SECOND: Model = Model { identity: Some(standard(0x03_80_00)), ..FIRST };

/// What both have.
struct Standard {
    card: Card,
    vga: Rc<Vga>,
    dispi: Rc<Dispi>,
    edid: Rc<Edid>,
}

impl Standard {
    fn attach(bus: &Rc<dyn PciBus>, site: &Site, model: Model, in_memory: bool) -> Result<Self> {
        let card = Card::attach(bus, site, model, in_memory)?;
        let vga = Rc::new(card.vga()?);
        let dispi = Rc::new(card.dispi(Some(vga.clone()))?);
        Ok(Self { vga, dispi, edid: card.edid()?, card })
    }
}

/// QEMU's `VGA`.
pub struct StdVga(Standard);

/// Its ports are used where they are in memory.
const IN_MEMORY: &str = "mmio";

impl Consumes<RootBus> for StdVga {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr}").images(&[SCREEN]);
    const VARIANTS: &'static [Variant] = &[Variant { name: IN_MEMORY, add: Addition::NONE }];

    fn attach(bus: Rc<RootBus>, site: &Site) -> Result<Self> {
        Standard::attach(&bus.0, site, FIRST, site.variant == IN_MEMORY).map(Self)
    }
}

/// QEMU's `secondary-vga`.
pub struct SecondaryVga(Standard);

impl Consumes<dyn PciBus> for SecondaryVga {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr}").images(&[SCREEN]);

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Standard::attach(&bus, site, SECOND, true).map(Self)
    }
}

impl Produces<Vga> for StdVga {
    fn produced(self: Rc<Self>) -> Rc<Vga> {
        self.0.vga.clone()
    }
}

impl Produces<Dispi> for StdVga {
    fn produced(self: Rc<Self>) -> Rc<Dispi> {
        self.0.dispi.clone()
    }
}

impl Produces<Edid> for StdVga {
    fn produced(self: Rc<Self>) -> Rc<Edid> {
        self.0.edid.clone()
    }
}

impl Produces<PciFunction> for StdVga {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.0.card.function()
    }
}

impl Produces<RegisterBlock> for StdVga {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(self.0.card.block(&self.0.vga))
    }
}

impl Produces<Vga> for SecondaryVga {
    fn produced(self: Rc<Self>) -> Rc<Vga> {
        self.0.vga.clone()
    }
}

impl Produces<Dispi> for SecondaryVga {
    fn produced(self: Rc<Self>) -> Rc<Dispi> {
        self.0.dispi.clone()
    }
}

impl Produces<Edid> for SecondaryVga {
    fn produced(self: Rc<Self>) -> Rc<Edid> {
        self.0.edid.clone()
    }
}

impl Produces<PciFunction> for SecondaryVga {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.0.card.function()
    }
}

impl Produces<RegisterBlock> for SecondaryVga {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(self.0.card.block(&self.0.vga))
    }
}

driver!(
    StdVga = "VGA";
    consumes RootBus;
    produces Vga, Dispi, Edid, PciFunction, RegisterBlock
);
driver!(
    SecondaryVga = "secondary-vga";
    consumes dyn PciBus;
    produces Vga, Dispi, Edid, PciFunction, RegisterBlock
);
