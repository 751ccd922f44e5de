//! A device with registers behind I/O ports of which nothing is known but what the machine says.

use std::rc::Rc;

use super::mmio_device::ARGS;
use crate::graph::{Discovered, FoundDevice, QemuArgs};
use crate::qemu::Vm;
use crate::qemu::discovery::Space;
use crate::{Result, discovered, driver};

/// Any device with registers behind I/O ports.
pub struct PortDevice {
    found: FoundDevice,
}

impl PortDevice {
    /// What the machine says of it.
    pub fn found(&self) -> &FoundDevice {
        &self.found
    }
}

impl Discovered for PortDevice {
    const QOM_TYPES: &'static [&'static str] = &[];
    const GENERIC: bool = true;
    const ARGS: QemuArgs = ARGS;

    fn drives(device: &FoundDevice) -> bool {
        device.registers_in(Space::Ports).next().is_some()
    }

    /// The QOM type stands before what tells the device from others of it.
    fn instance_name(device: &FoundDevice, name: String) -> String {
        format!("{}-{name}", device.ty)
    }

    fn found(device: &FoundDevice, _: &Rc<Vm>) -> Result<Self> {
        Ok(Self { found: device.clone() })
    }
}

driver!(PortDevice = "port-device");
discovered!(PortDevice);
