//! QEMU's `bochs-display`: a screen by Bochs's VBE extensions, without a VGA.

use std::rc::Rc;

use super::vga_card::{Card, Model};
use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qos::display::dispi;
use crate::qos::display::{Dispi, Edid, SCREEN};
use crate::qos::pci::{PciBus, PciFunction};
use crate::qos::registers::{AnyRegister, Fault, Register, RegisterBlock, Rule};
use crate::{Result, driver};

/// Its capabilities depend on whether the bus is PCI Express.
const MODEL: Model = Model { memory: 0, mmio: Some(2), identity: None };

/// A register that keeps what is written.
const fn kept(register: Register<u16>) -> Register<u16> {
    register.reset(0).kept(0xffff)
}

/// All registers. The mode that they tell is looked at when the screen is drawn.
const TABLE: &[&dyn AnyRegister] = &[
    &dispi::ID.reset(0xb0c5).read_only(),
    &kept(dispi::XRES),
    &kept(dispi::YRES),
    &kept(dispi::BPP),
    &kept(dispi::ENABLE),
    &kept(dispi::BANK),
    &kept(dispi::VIRT_WIDTH),
    &kept(dispi::X_OFFSET),
    &kept(dispi::Y_OFFSET),
    &dispi::MEMORY_64K.reset(0x100).read_only(),
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[Fault::new(
    &["XRES", "YRES", "BPP", "ENABLE", "BANK", "VIRT_WIDTH", "X_OFFSET", "Y_OFFSET"],
    &[Rule::MachineReset],
    "a reset of the machine does nothing to QEMU's bochs-display",
)];

/// QEMU's `bochs-display`.
pub struct BochsDisplay {
    card: Card,
    dispi: Rc<Dispi>,
    edid: Rc<Edid>,
}

impl Consumes<dyn PciBus> for BochsDisplay {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr}").images(&[SCREEN]);

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        let card = Card::attach(&bus, site, MODEL, true)?;
        Ok(Self { dispi: Rc::new(card.dispi(None)?), edid: card.edid()?, card })
    }
}

impl Produces<Dispi> for BochsDisplay {
    fn produced(self: Rc<Self>) -> Rc<Dispi> {
        self.dispi.clone()
    }
}

impl Produces<Edid> for BochsDisplay {
    fn produced(self: Rc<Self>) -> Rc<Edid> {
        self.edid.clone()
    }
}

impl Produces<PciFunction> for BochsDisplay {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.card.function()
    }
}

impl Produces<RegisterBlock> for BochsDisplay {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(self.card.dispi_block(&self.dispi, TABLE).faults(FAULTS))
    }
}

driver!(
    BochsDisplay = "bochs-display";
    consumes dyn PciBus;
    produces Dispi, Edid, PciFunction, RegisterBlock
);
