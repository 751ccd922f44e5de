//! What holds of every device that a user plugs into a bus other than PCI, whatever it is: that
//! QEMU starts with it or says why not, that its properties can be looked at, that it survives a
//! reset of the machine, and that it can be unplugged where its bus lets devices go.

use std::rc::Rc;

use serde_json::json;

use crate::drivers::generic::bus_device::BusDevice;
use crate::drivers::pci::pci_card::ID;
use crate::qemu::Vm;
use crate::qos::{reset_from_any_state, wait_until};
use crate::tests::generic::properties;
use crate::{Error, Result, protocol, tests};

tests!(BusDevice, "bus-device-tests": start, reset, unplug);

/// Would catch a property that ends QEMU when it is looked at, or an error without words; and,
/// by being there for every type, a device with which QEMU neither starts nor says why.
fn start(device: &BusDevice, vm: &Rc<Vm>) -> Result<()> {
    properties::check(vm, &device.path(), |_| false)
}

/// Would catch a device that does not survive a reset of the machine, or that is another one
/// after it.
fn reset(device: &BusDevice, vm: &Rc<Vm>) -> Result<()> {
    for _ in 0..3 {
        reset_from_any_state(vm)?;
    }
    properties::check(vm, &device.path(), |_| false)
}

/// Would catch a device that QEMU does not survive the unplugging of, or that stays although
/// QEMU does not say why.
fn unplug(_: &BusDevice, vm: &Rc<Vm>) -> Result<()> {
    match vm.qmp().execute("device_del", json!({ "id": ID })) {
        Ok(_) => {}
        Err(protocol::Error::Qmp { desc, .. }) => return Err(Error::skipped(desc)),
        Err(error) => return Err(error.into()),
    }
    wait_until(vm, "QEMU's word that the device is gone (DEVICE_DELETED)", || {
        vm.qmp().poll()?;
        let mut events = vm.qmp().events().into_iter();
        Ok(events.any(|event| event.name == "DEVICE_DELETED" && event.data["device"] == ID))
    })?;
    reset_from_any_state(vm)
}
