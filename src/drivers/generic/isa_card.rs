//! Any device that a user plugs into the ISA bus, of which nothing is known but what the emulator
//! says, and where its registers are.

use std::rc::Rc;

use super::bus_device::{BusDevice, ISA};
use crate::drivers::pci::pci_card::ID;
use crate::graph::{BusKind, DeviceType, PlugArgs, PluggedAnywhere, Site};
use crate::qemu::Vm;
use crate::qemu::discovery::{Region, registers_of};
use crate::{Result, driver, plugged_anywhere};

/// A device on the ISA bus.
pub struct IsaCard {
    vm: Rc<Vm>,
    ty: String,
}

impl IsaCard {
    /// QEMU's name for its type.
    pub fn ty(&self) -> &str {
        &self.ty
    }

    /// Its registers, in memory and behind ports.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn registers(&self) -> Result<Vec<Region>> {
        registers_of(self.vm.qmp(), ID)
    }
}

/// Devices whose purpose is that a write ends QEMU.
const DEADLY: &[&str] = &["isa-debug-exit"];

impl PluggedAnywhere for IsaCard {
    /// One whose ISA bus is behind ports, and one where it is in memory.
    const MACHINES: &'static [&'static str] = &["pc", "malta"];
    const BUSES: &'static [BusKind] = &[ISA];

    fn args(device: &DeviceType, carrier: Option<&str>) -> Result<PlugArgs, &'static str> {
        if DEADLY.contains(&device.ty.as_str()) {
            return Err("a write to this device is meant to end QEMU");
        }
        let mut args = BusDevice::args(device, carrier)?;
        // Clocks stand still with the virtual clock.
        args.before.push_str(" -rtc clock=vm");
        Ok(args)
    }

    fn attach(site: &Site, device: &DeviceType) -> Result<Self> {
        Ok(Self { vm: site.vm.clone(), ty: device.ty.to_string() })
    }
}

driver!(IsaCard = "isa-card");
plugged_anywhere!(IsaCard);
