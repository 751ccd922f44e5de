//! The device by which a guest says that it has panicked, at a port of the ISA bus (QEMU's
//! specification "PVPANIC DEVICE", section "ISA Interface").

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qos::isa::IsaBus;
use crate::qos::pvpanic::{self, Pvpanic};
use crate::qos::registers::Ports;
use crate::{Result, driver};

/// Where its port is, unless an option says otherwise.
const PORT: u16 = 0x505;

/// QEMU's `pvpanic`.
pub struct PvpanicIsa {
    registers: Rc<Ports>,
}

impl Consumes<IsaBus> for PvpanicIsa {
    const ARGS: QemuArgs = QemuArgs::device("");

    fn attach(bus: Rc<IsaBus>, _: &Site) -> Result<Self> {
        Ok(Self { registers: Rc::new(Ports::new(&bus.0, PORT)) })
    }
}

impl Produces<Pvpanic> for PvpanicIsa {
    const ARGS: QemuArgs = pvpanic::ARGS;

    fn produced(self: Rc<Self>) -> Rc<Pvpanic> {
        Rc::new(Pvpanic { registers: self.registers.clone() })
    }
}

driver!(PvpanicIsa = "pvpanic"; consumes IsaBus; produces Pvpanic);
