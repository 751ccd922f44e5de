//! Plugging PCI devices in and out while the machine runs: QEMU's part by QMP, the guest's
//! by the bus.

use std::rc::Rc;

use serde_json::{Value, json};

use super::{PciAddress, PciBus, PciDevice};
use crate::qemu::Vm;
use crate::{Error, Result, protocol};

/// Plugs QEMU's `driver` with these properties (an object) and this `id` in at `at`, and has
/// the guest take it over. `None` where the bus takes no devices while the machine runs: QEMU
/// says so, and nothing is at `at`.
///
/// # Errors
/// QEMU refuses the device, the guest does not hear of it, or it is not where it should be.
pub fn plug(
    bus: &Rc<dyn PciBus>,
    vm: &Vm,
    at: PciAddress,
    (id, driver): (&str, &str),
    mut properties: Value,
) -> Result<Option<PciDevice>> {
    properties["driver"] = driver.into();
    properties["id"] = id.into();
    properties["addr"] = format!("{:02x}.{}", at.device, at.function).into();
    match vm.qmp().execute("device_add", properties) {
        Err(protocol::Error::Qmp { desc, .. })
            if !bus.takes_devices() && desc.contains("does not support hotplugging") =>
        {
            is_empty(bus, at, "after it was refused")?;
            Ok(None)
        }
        other => {
            other?;
            bus.plugged(at)?;
            PciDevice::find(bus, at).map(Some)
        }
    }
}

/// Unplugs the device `id`, which is at `at`, with the guest's consent.
///
/// # Errors
/// It goes or becomes another before the guest has consented, or stays after.
pub fn unplug(bus: &Rc<dyn PciBus>, vm: &Vm, at: PciAddress, id: &str) -> Result<()> {
    let device = PciDevice::find(bus, at)?;
    let identity = || Ok::<_, Error>((device.vendor_id()?, device.device_id()?));
    let before = identity()?;
    vm.qmp().execute("device_del", json!({ "id": id }))?;
    let now = identity()?;
    if now != before {
        let why = format!(
            "{at}, asked to unplug {id}, before the guest has let it go: vendor and device were \
             {before:04x?} and are {now:04x?}"
        );
        return Err(Error::failed(why));
    }
    bus.unplugging(at)?;
    // The parts of a device are told of before the whole, by their paths only.
    while vm.qmp().wait_event("DEVICE_DELETED")?.data["device"] != id {}
    is_empty(bus, at, "after it was unplugged")
}

fn is_empty(bus: &Rc<dyn PciBus>, at: PciAddress, when: &str) -> Result<()> {
    match PciDevice::find(bus, at) {
        Err(_) => Ok(()),
        Ok(device) => {
            let (vendor, id) = (device.vendor_id()?, device.device_id()?);
            Err(Error::failed(format!("{at} {when}: there is {vendor:04x}:{id:04x}")))
        }
    }
}
