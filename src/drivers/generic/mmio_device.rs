//! A device with registers in memory of which nothing is known but what the machine says.

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, QemuArgs};
use crate::qemu::Vm;
use crate::{Result, discovered, driver};

/// Any device with registers in memory.
pub struct MmioDevice {
    vm: Rc<Vm>,
    found: FoundDevice,
}

/// Options with which registers of unknown purpose can be written and compared: a write that
/// turns the machine off does not end QEMU, and real-time clocks stand still with the virtual
/// clock.
pub(super) const ARGS: QemuArgs = QemuArgs::NONE.before("-no-shutdown -rtc clock=vm");

impl MmioDevice {
    /// The machine that it is in.
    pub fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    /// What the machine says of it.
    pub fn found(&self) -> &FoundDevice {
        &self.found
    }
}

impl Discovered for MmioDevice {
    const QOM_TYPES: &'static [&'static str] = &[];
    const GENERIC: bool = true;
    const ARGS: QemuArgs = ARGS;

    fn drives(device: &FoundDevice) -> bool {
        device.registers().next().is_some()
    }

    /// The QOM type stands before what tells the device from others of it.
    fn instance_name(device: &FoundDevice, name: String) -> String {
        format!("{}-{name}", device.ty)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        Ok(Self { vm: vm.clone(), found: device.clone() })
    }
}

driver!(MmioDevice = "mmio-device");
discovered!(MmioDevice);
