//! OHCI: devices that are plugged in and out, the status of the root hub's ports, their reset (OpenHCI
//! Specification 1.0a, 7.4).

use std::rc::Rc;

use serde_json::json;

use crate::drivers::usb::ohci::{self as ohci, PciOhci};
use crate::qemu::Vm;
use crate::qos::registers::{Register, RegistersExt};
use crate::qos::{wait_event, wait_until};
use crate::{Result, tests};

tests!(PciOhci, "pci-ohci-tests": hotplug = "ohci_pci-test-hotplug", ports);

/// The status of port `number`, from 0.
fn port(number: u64) -> Register<u32> {
    ohci::PORT.nth(number, 4)
}

/// Plugs a tablet into port `number`, counted from 1 as QEMU does.
fn plug(vm: &Vm, number: u64) -> Result<()> {
    let id = format!("tablet{number}");
    let arguments = json!({
        "driver": "usb-tablet", "id": id, "bus": PciOhci::BUS, "port": number.to_string(),
    });
    vm.qmp().execute("device_add", arguments)?;
    Ok(())
}

/// Takes it away again.
fn unplug(vm: &Vm, number: u64) -> Result<()> {
    let id = format!("tablet{number}");
    vm.qmp().execute("device_del", json!({ "id": id }))?;
    let event = wait_event(vm, "DEVICE_DELETED")?;
    assert_eq!(event.data["device"], id.as_str(), "which device is gone");
    Ok(())
}

/// Would catch a device that is plugged in or out and that its port does not report, or that
/// another port reports; a change that cannot be acknowledged, and an interrupt that is not pending for it.
fn hotplug(hcd: &PciOhci, vm: &Rc<Vm>) -> Result<()> {
    let registers = &hcd.plug.registers;
    let count = u64::from(registers.get(ohci::DESCRIPTOR_A)? & 0xff);
    assert_eq!(count, 3, "the number of ports");
    for round in 0..2 {
        for number in 0..count {
            let what = |text: &str| format!("port {number} {text}, round {round}");
            let before = registers.get(port(number))?;
            assert_eq!(before & ohci::PORT_CONNECTED, 0, "{}", what("at first"));
            registers.set(ohci::INTERRUPT_STATUS, u32::MAX)?;
            plug(vm, number + 1)?;
            let bits = ohci::PORT_CONNECTED | ohci::PORT_CONNECT_CHANGED;
            let status = registers.get(port(number))?;
            assert_eq!(status & bits, bits, "{}", what("with a device"));
            assert_eq!(status & ohci::PORT_LOW_SPEED, 0, "{}: full speed", what("with a device"));
            let told = registers.get(ohci::INTERRUPT_STATUS)? & ohci::INTERRUPT_HUB;
            assert_eq!(told, ohci::INTERRUPT_HUB, "{}: the interrupt", what("with a device"));
            for other in (0..count).filter(|other| *other != number) {
                let status = registers.get(port(other))? & bits;
                assert_eq!(status, 0, "{}: port {other}", what("with a device"));
            }
            registers.set(port(number), ohci::PORT_CONNECT_CHANGED)?;
            let status = registers.get(port(number))? & bits;
            assert_eq!(status, ohci::PORT_CONNECTED, "{}", what("acknowledged"));
            unplug(vm, number + 1)?;
            let status = registers.get(port(number))? & bits;
            assert_eq!(status, ohci::PORT_CONNECT_CHANGED, "{}", what("without the device"));
            registers.set(port(number), ohci::PORT_CONNECT_CHANGED)?;
            let status = registers.get(port(number))? & bits;
            assert_eq!(status, 0, "{}", what("acknowledged at last"));
        }
    }
    Ok(())
}

/// Would catch a port that is not reset, is not enabled by that, or is enabled without a device.
fn ports(hcd: &PciOhci, vm: &Rc<Vm>) -> Result<()> {
    let registers = &hcd.plug.registers;
    registers.set(port(0), ohci::PORT_POWER)?;
    registers.set(port(0), ohci::PORT_RESET)?;
    let status = registers.get(port(0))? & ohci::PORT_ENABLED;
    assert_eq!(status, 0, "a port without a device, reset");
    plug(vm, 1)?;
    registers.set(port(0), ohci::PORT_CONNECT_CHANGED)?;
    registers.set(port(0), ohci::PORT_RESET)?;
    wait_until(vm, "the port's reset to be over", || {
        Ok(registers.get(port(0))? & ohci::PORT_RESET_CHANGED != 0)
    })?;
    let bits = ohci::PORT_CONNECTED | ohci::PORT_ENABLED | ohci::PORT_RESET;
    let status = registers.get(port(0))? & bits;
    assert_eq!(status, ohci::PORT_CONNECTED | ohci::PORT_ENABLED, "the port after its reset");
    registers.set(port(0), ohci::PORT_RESET_CHANGED)?;
    let status = registers.get(port(0))? & ohci::PORT_RESET_CHANGED;
    assert_eq!(status, 0, "the end of the reset, acknowledged");
    // Clear Port Enable (7.4.4, bit 0 written).
    registers.set(port(0), ohci::PORT_CONNECTED)?;
    assert_eq!(registers.get(port(0))? & ohci::PORT_ENABLED, 0, "the port, disabled");
    unplug(vm, 1)
}
