//! An I2C bus in QEMU's object model: which devices the machine says are on it.

use std::collections::BTreeSet;
use std::rc::Rc;

use serde_json::json;

use crate::graph::FoundDevice;
use crate::qemu::Vm;
use crate::qemu::discovery::FoundBus;
use crate::qos::interrupt::Pin;
use crate::{Error, Result};

/// A bus in QEMU's object model, and the interrupt line of its controller.
pub struct OnBus {
    vm: Rc<Vm>,
    path: String,
    pin: Option<Pin>,
    shares_its_name: bool,
}

impl OnBus {
    /// The first bus of a controller that was found.
    pub fn of(device: &FoundDevice, vm: &Rc<Vm>) -> Option<Self> {
        Some(Self::of_bus(device, device.buses.first()?, vm))
    }

    /// A bus of a controller that was found.
    pub fn of_bus(device: &FoundDevice, bus: &FoundBus, vm: &Rc<Vm>) -> Self {
        let (path, pin) = (device.bus_path(bus), Pin::of(device, 0));
        Self { vm: vm.clone(), path, pin, shares_its_name: false }
    }

    /// The bus at this path, which a device of the command line has brought. Other buses may have
    /// its name.
    pub fn at(vm: &Rc<Vm>, path: String) -> Self {
        Self { vm: vm.clone(), path, pin: None, shares_its_name: true }
    }

    /// The same bus, where others may have the name by which devices are plugged in.
    pub fn with_shared_name(self) -> Self {
        Self { shares_its_name: true, ..self }
    }

    /// Whether other buses may have the name by which devices are plugged in.
    pub fn shares_its_name(&self) -> bool {
        self.shares_its_name
    }

    /// The same with another interrupt line.
    pub fn with_pin(self, pin: Option<Pin>) -> Self {
        Self { pin, ..self }
    }

    /// Where the controller's interrupt line ends, where that is known.
    pub fn pin(&self) -> Option<&Pin> {
        self.pin.as_ref()
    }

    /// The machine.
    pub fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    /// The addresses of the devices that are on the bus now.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or knows no such bus.
    pub fn addresses(&self) -> Result<BTreeSet<u8>> {
        Ok(self.devices()?.into_iter().map(|(_, address)| address).collect())
    }

    /// Whether a device of the command line is on the bus at this address.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or knows no such bus.
    pub fn has_plugged(&self, address: u8) -> Result<bool> {
        let is_it =
            |(path, at): &(String, u8)| *at == address && path.starts_with("/machine/peripheral");
        Ok(self.devices()?.iter().any(is_it))
    }

    /// The devices that are on the bus now, by path and address.
    fn devices(&self) -> Result<Vec<(String, u8)>> {
        let get = |path: &str, property: &str| {
            let arguments = json!({ "path": path, "property": property });
            self.vm.qmp().execute("qom-get", arguments)
        };
        let children = self.vm.qmp().execute("qom-list", json!({ "path": self.path }))?;
        let mut devices = Vec::new();
        for child in children.as_array().into_iter().flatten() {
            let name = child["name"].as_str().unwrap_or_default();
            if !name.starts_with("child[") {
                continue;
            }
            let device = get(&self.path, name)?;
            let device = device.as_str().unwrap_or_default();
            let address = get(device, "address")?;
            let number = address.as_u64().and_then(|number| u8::try_from(number).ok());
            let number = number.ok_or_else(|| {
                Error::failed(format!("{device} is at the I2C address {address}"))
            })?;
            devices.push((device.to_owned(), number));
        }
        Ok(devices)
    }
}
