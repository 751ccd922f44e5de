//! The NE2000 on an ISA bus (National Semiconductor, data sheet DP8390D).

use std::rc::Rc;

use crate::drivers::net::ne2000::Ne2000;
use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qos::isa::IsaBus;
use crate::qos::net::{BACKEND, SOCKET};
use crate::qos::nic::Nic;
use crate::qos::registers::RegisterBlock;
use crate::{Result, driver};

/// Where its ports are, and its interrupt.
const BASE: u16 = 0x300;
const INTERRUPT: u32 = 5;

/// QEMU's `ne2k_isa`.
pub struct Ne2kIsa {
    chip: Rc<Ne2000>,
}

impl Consumes<IsaBus> for Ne2kIsa {
    const ARGS: QemuArgs = QemuArgs::device("iobase=0x300,irq=5,netdev=net,mac=02:11:22:33:44:55")
        .before(BACKEND)
        .sockets(&[SOCKET]);

    fn attach(bus: Rc<IsaBus>, _: &Site) -> Result<Self> {
        Ok(Self { chip: Rc::new(Ne2000::on_isa(&bus.0, BASE, INTERRUPT)) })
    }
}

impl Produces<RegisterBlock> for Ne2kIsa {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(self.chip.block())
    }
}

impl Produces<dyn Nic> for Ne2kIsa {
    fn produced(self: Rc<Self>) -> Rc<dyn Nic> {
        self.chip.clone()
    }
}

impl Produces<Ne2000> for Ne2kIsa {
    fn produced(self: Rc<Self>) -> Rc<Ne2000> {
        self.chip.clone()
    }
}

driver!(Ne2kIsa = "ne2k_isa"; consumes IsaBus; produces RegisterBlock, dyn Nic, Ne2000);
