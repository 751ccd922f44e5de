//! Plugging PCI devices in and out while the machine runs: QEMU's part by QMP, the guest's
//! by the bus.

use std::rc::Rc;

use serde_json::{Value, json};

use super::{PciAddress, PciBus, PciDevice, regs};
use crate::qemu::Vm;
use crate::qos::registers::Width;
use crate::qos::wait_event;
use crate::{Error, Result, protocol};

/// QEMU's event of a device that is gone.
const DELETED: &str = "DEVICE_DELETED";

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

/// Unplugs `device`, whose id is `id`, with the guest's consent. Its `parts` are devices as
/// well, by their names in it.
///
/// # Errors
/// It goes or becomes another before the guest has consented, or stays after. QEMU does not
/// tell, once and in this order, that the parts are gone and then the whole.
pub fn unplug(vm: &Vm, device: &PciDevice, id: &str, parts: &[&str]) -> Result<()> {
    let (bus, at, before) = (device.bus(), device.address(), device.ids());
    vm.qmp().execute("device_del", json!({ "id": id }))?;
    let now = PciDevice::find(bus, at)?.ids();
    assert_not_told(vm, &format!("{at}, before the guest has let {id} go"))?;
    if now != before {
        let why = format!(
            "{at}, asked to unplug {id}, before the guest has let it go: vendor and device were \
             {before:04x?} and are {now:04x?}"
        );
        return Err(Error::failed(why));
    }
    bus.unplugging(at)?;
    let whole = format!("/machine/peripheral/{id}");
    // The parts have a path only.
    let parts = parts.iter().map(|part| json!({ "path": format!("{whole}/{part}") }));
    for expected in parts.chain([json!({ "path": whole, "device": id })]) {
        let told = wait_event(vm, DELETED)?.data;
        if told != expected {
            let why = format!("{at}: {DELETED} tells {told}, not {expected}");
            return Err(Error::failed(why));
        }
    }
    is_empty(bus, at, "after it was unplugged")?;
    vm.qmp().poll()?;
    assert_not_told(vm, &format!("{at}, after {id} was unplugged"))
}

/// Makes sure that no device has gone that has not been waited for.
fn assert_not_told(vm: &Vm, when: &str) -> Result<()> {
    match vm.qmp().events().iter().find(|event| event.name == DELETED) {
        None => Ok(()),
        Some(event) => Err(Error::failed(format!("{when}: {DELETED} tells {}", event.data))),
    }
}

fn is_empty(bus: &Rc<dyn PciBus>, at: PciAddress, when: &str) -> Result<()> {
    // All ones is what nobody answers (PCI 3.0, 6.1).
    match bus.config_read(at, regs::VENDOR_ID, Width::Long)? {
        u32::MAX => Ok(()),
        ids => Err(Error::failed(format!("{at} {when}: Vendor and Device ID are {ids:#010x}"))),
    }
}
