//! The interfaces to a management controller at ports of the ISA bus (IPMI v2.0, 9.5 and 11.5).

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qos::ipmi::{BMC, Bt, Ipmi, Kcs};
use crate::qos::isa::IsaBus;
use crate::qos::registers::Ports;
use crate::{Result, driver};

/// QEMU's `isa-ipmi-kcs`.
pub struct IsaIpmiKcs(Rc<Kcs>);

impl Consumes<IsaBus> for IsaIpmiKcs {
    const ARGS: QemuArgs = BMC;

    fn attach(bus: Rc<IsaBus>, _: &Site) -> Result<Self> {
        let registers = Rc::new(Ports::new(&bus.0, 0xca2));
        Ok(Self(Rc::new(Kcs { vm: bus.0.clone(), registers })))
    }
}

impl Produces<dyn Ipmi> for IsaIpmiKcs {
    fn produced(self: Rc<Self>) -> Rc<dyn Ipmi> {
        self.0.clone()
    }
}

impl Produces<Kcs> for IsaIpmiKcs {
    fn produced(self: Rc<Self>) -> Rc<Kcs> {
        self.0.clone()
    }
}

driver!(IsaIpmiKcs = "isa-ipmi-kcs"; consumes IsaBus; produces dyn Ipmi, Kcs);

/// QEMU's `isa-ipmi-bt`.
pub struct IsaIpmiBt(Rc<Bt>);

impl Consumes<IsaBus> for IsaIpmiBt {
    const ARGS: QemuArgs = BMC;

    fn attach(bus: Rc<IsaBus>, _: &Site) -> Result<Self> {
        Ok(Self(Rc::new(Bt::new(&bus.0, Rc::new(Ports::new(&bus.0, 0xe4))))))
    }
}

impl Produces<dyn Ipmi> for IsaIpmiBt {
    fn produced(self: Rc<Self>) -> Rc<dyn Ipmi> {
        self.0.clone()
    }
}

impl Produces<Bt> for IsaIpmiBt {
    fn produced(self: Rc<Self>) -> Rc<Bt> {
        self.0.clone()
    }
}

driver!(IsaIpmiBt = "isa-ipmi-bt"; consumes IsaBus; produces dyn Ipmi, Bt);
