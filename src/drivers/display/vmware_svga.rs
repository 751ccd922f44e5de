//! VMware's SVGA II (VMware, "SVGA Device Developer Kit"): a VGA, until the guest enables its own
//! frame buffer and queue of commands.

use std::rc::Rc;

use super::vga_card::{Card, Model};
use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qos::display::svga::Svga;
use crate::qos::display::{Dispi, SCREEN, Vga};
use crate::qos::pci::{PciFunction, RootBus};
use crate::qos::registers::RegisterBlock;
use crate::{Result, driver};

const MODEL: Model = Model { memory: 1, mmio: None, identity: None };

/// QEMU's `vmware-svga`.
pub struct VmwareSvga {
    card: Card,
    vga: Rc<Vga>,
    dispi: Rc<Dispi>,
    svga: Rc<Svga>,
}

impl Consumes<RootBus> for VmwareSvga {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr}").images(&[SCREEN]);

    fn attach(bus: Rc<RootBus>, site: &Site) -> Result<Self> {
        let card = Card::attach(&bus.0, site, MODEL, false)?;
        let vga = Rc::new(card.vga()?);
        let dispi = Rc::new(card.dispi(Some(vga.clone()))?);
        let (frame, queue) = (card.memory(), card.bar(2)?);
        let svga = Rc::new(Svga {
            vm: site.vm.clone(),
            ports: card.bar(0)?,
            frame: (frame.clone(), frame.address(), frame.size()),
            queue: (queue.clone(), queue.address(), queue.size()),
        });
        Ok(Self { card, vga, dispi, svga })
    }
}

impl Produces<Vga> for VmwareSvga {
    fn produced(self: Rc<Self>) -> Rc<Vga> {
        self.vga.clone()
    }
}

impl Produces<Dispi> for VmwareSvga {
    fn produced(self: Rc<Self>) -> Rc<Dispi> {
        self.dispi.clone()
    }
}

impl Produces<Svga> for VmwareSvga {
    fn produced(self: Rc<Self>) -> Rc<Svga> {
        self.svga.clone()
    }
}

impl Produces<PciFunction> for VmwareSvga {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.card.function()
    }
}

impl Produces<RegisterBlock> for VmwareSvga {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(self.card.block(&self.vga))
    }
}

driver!(
    VmwareSvga = "vmware-svga";
    consumes RootBus;
    produces Vga, Dispi, Svga, PciFunction, RegisterBlock
);
