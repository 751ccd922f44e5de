//! AHCI controllers of boards, whose registers are in memory: the one that is nothing else, and
//! Allwinner's (Serial ATA AHCI Specification 1.3.1).

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces, QemuArgs};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::ahci::{AhciHba, Unit};
use crate::qos::block::DISK;
use crate::qos::interrupt::Pin;
use crate::qos::registers::Mmio;
use crate::{Result, discovered, driver};

/// QEMU's `sysbus-ahci` and `allwinner-ahci`, with a disk at the first port alone.
pub struct SysbusAhci {
    vm: Rc<Vm>,
    base: u64,
    pin: Option<Pin>,
}

/// What is at the ports that every board has.
const UNITS: &[Unit] = &[Unit::Disk];

fn hba(vm: &Rc<Vm>, base: u64, pin: Option<Pin>) -> AhciHba {
    let (machine, end) = (vm.clone(), pin.clone());
    AhciHba {
        vm: vm.clone(),
        registers: Rc::new(Mmio::new(vm, base, Endian::Little)),
        units: UNITS,
        function: None,
        pin,
        again: Rc::new(move || Ok(Rc::new(hba(&machine, base, end.clone())))),
    }
}

impl Produces<AhciHba> for SysbusAhci {
    const ARGS: QemuArgs = QemuArgs::NONE
        .before("-drive if=none,id=drive0,format=raw,discard=unmap,auto-read-only=off,file={disk}")
        .after("-device ide-hd,bus=ide.0,drive=drive0,serial=qgraph-disk")
        .images(&[DISK]);

    fn produced(self: Rc<Self>) -> Rc<AhciHba> {
        Rc::new(hba(&self.vm, self.base, self.pin.clone()))
    }
}

impl Discovered for SysbusAhci {
    const QOM_TYPES: &'static [&'static str] = &["sysbus-ahci"];

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        Ok(Self { vm: vm.clone(), base: device.base()?, pin: Pin::of(device, 0) })
    }
}

driver!(SysbusAhci = "sysbus-ahci"; produces AhciHba);
discovered!(SysbusAhci);
