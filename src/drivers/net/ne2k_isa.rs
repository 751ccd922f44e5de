//! The NE2000 on an ISA bus (National Semiconductor, data sheet DP8390D).

use std::rc::Rc;

use crate::drivers::net::ne2000::Ne2000;
use crate::graph::{Discovered, FoundDevice, Produces, QemuArgs};
use crate::qemu::Vm;
use crate::qos::net::SOCKET;
use crate::qos::nic::Nic;
use crate::qos::registers::RegisterBlock;
use crate::{Result, discovered, driver};

/// Where its ports are, and its interrupt.
const BASE: u16 = 0x300;
const INTERRUPT: u32 = 5;

/// QEMU's `ne2k_isa`, which is plugged into the ISA bus of PCs with an I/O APIC.
pub struct Ne2kIsa {
    chip: Rc<Ne2000>,
}

impl Discovered for Ne2kIsa {
    const QOM_TYPES: &'static [&'static str] = &["isa-pit"];
    const ARGS: QemuArgs = QemuArgs::NONE
        .before(
            "-netdev socket,id=net,fd={net} \
             -device ne2k_isa,iobase=0x300,irq=5,netdev=net,mac=02:11:22:33:44:55",
        )
        .sockets(&[SOCKET]);

    fn drives(device: &FoundDevice) -> bool {
        // The ports of a PC alone are where tests look for them.
        let machine = device.machine();
        let is_pc = device.is_a("isa-pit") && machine.devices_of("ioapic").next().is_some();
        is_pc && machine.pluggable.iter().any(|it| *it.ty == *"ne2k_isa")
    }

    fn found(_: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        Ok(Self { chip: Rc::new(Ne2000::on_isa(vm, BASE, INTERRUPT)) })
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

driver!(Ne2kIsa = "ne2k_isa"; produces RegisterBlock, dyn Nic, Ne2000);
discovered!(Ne2kIsa);
