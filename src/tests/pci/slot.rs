//! Hot-plug behind a root port of PCI Express: what its slot reports, the interrupt for it, and
//! what the guest does about it (PCI Express Base Specification 3.0, 6.7).

use std::rc::Rc;

use serde_json::json;

use crate::drivers::pci::slot::PcieSlot;
use crate::qemu::{Version, Vm};
use crate::qos::pci::PciDevice;
use crate::qos::pci::msix::{Control, Msix};
use crate::qos::pci::slot::{self, Slot};
use crate::qos::{reset, settle};
use crate::{Error, Result, protocol, tests};

tests!(PcieSlot, "slot-tests":
    empty,
    hotplug,
    refused,
    interlock,
    interrupts,
    message,
    machine_reset = "machine-reset",
);

/// QEMU's test device, which is plugged in: vendor and device.
const TESTDEV: (u16, u16) = (0x1b36, 0x0005);
/// What a guest enables.
const ALL_ENABLED: u16 =
    slot::ENABLE_ATTENTION | slot::ENABLE_PRESENCE | slot::ENABLE_COMMAND | slot::ENABLE_INTERRUPT;

/// Plugs a test device into the slot.
fn plug(vm: &Vm, id: &str) -> Result<()> {
    let device = json!({ "driver": "pci-testdev", "id": id, "bus": PcieSlot::BUS });
    match vm.qmp().execute("device_add", device) {
        Err(protocol::Error::Qmp { desc, .. }) if desc.contains("is not a valid device model") => {
            Err(Error::skipped("this emulator has no pci-testdev to plug in"))
        }
        other => Ok(other.map(drop)?),
    }
}

/// Asks for the device to be unplugged.
fn unplug(vm: &Vm, id: &str) -> Result<()> {
    vm.qmp().execute("device_del", json!({ "id": id }))?;
    Ok(())
}

/// Whether QEMU has told that a device is gone; forgets it.
fn is_deleted(vm: &Vm) -> Result<bool> {
    vm.qmp().poll()?;
    Ok(vm.qmp().events().iter().any(|event| event.name == "DEVICE_DELETED"))
}

/// Skips what QEMU has from 6.2 on: power that can be off.
fn needs_power(vm: &Vm) -> Result<()> {
    match vm.emulator().capabilities.version < Version::new(6, 2, 0) {
        true => Err(Error::skipped("QEMU before 6.2 does not follow a slot's power")),
        false => Ok(()),
    }
}

/// Asserts the events and the presence in Slot Status, and clears the events, each alone.
fn assert_status(slot: &Slot, expected: u16, when: &str) -> Result<()> {
    let status = slot.status()?;
    assert_eq!(status, expected, "Slot Status {when}: {status:#x}");
    let mut left = expected;
    for event in (0..16).map(|bit| 1u16 << bit).filter(|bit| expected & slot::EVENTS & bit != 0) {
        slot.clear(event)?;
        left &= !event;
        let status = slot.status()?;
        assert_eq!(status, left, "Slot Status {when}, {event:#x} cleared: {status:#x}");
    }
    Ok(())
}

/// Whether a device answers in the slot.
fn answers(slot: &Slot) -> Result<bool> {
    match PciDevice::find(slot.bus(), slot.address()) {
        Ok(device) => {
            assert_eq!(device.ids(), TESTDEV, "vendor and device in the slot");
            Ok(true)
        }
        Err(Error::Failed(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Would catch a slot that has other abilities than it should, is not empty, or does not say
/// that a command is completed (6.7.3.2), and a bit of Slot Control that is not kept.
fn empty(device: &PcieSlot, _: &Rc<Vm>) -> Result<()> {
    let slot = device.slot();
    let capabilities = slot.capabilities()?;
    let has = slot::HAS_ATTENTION_BUTTON
        | slot::HAS_POWER_CONTROLLER
        | slot::HAS_ATTENTION_INDICATOR
        | slot::HAS_POWER_INDICATOR
        | slot::IS_HOT_PLUG_CAPABLE;
    assert_eq!(capabilities & has, has, "Slot Capabilities {capabilities:#x}");
    assert_eq!(capabilities >> slot::NUMBER_SHIFT, 3, "the slot's number");
    assert_status(slot, 0, "at first")?;
    let control = slot.control()?;
    let off = slot::POWER_INDICATOR_OFF | slot::ATTENTION_INDICATOR | slot::POWER_OFF;
    assert_eq!(control, off, "Slot Control at first: {control:#x}");
    for written in [
        off | slot::ENABLE_ATTENTION,
        off | slot::ENABLE_PRESENCE,
        off | slot::ENABLE_COMMAND,
        off | slot::ENABLE_INTERRUPT,
        off & !slot::ATTENTION_INDICATOR | 1 << 6,
        off & !slot::POWER_INDICATOR | slot::POWER_INDICATOR_BLINK,
        off & !slot::POWER_INDICATOR | slot::POWER_INDICATOR_ON,
        off & !slot::POWER_OFF,
        off,
    ] {
        slot.set_control(written)?;
        let now = slot.control()?;
        assert_eq!(now, written, "Slot Control, of which {written:#x} was written: {now:#x}");
        assert_status(slot, slot::COMMAND_COMPLETED, "after a command")?;
    }
    // What is not set cannot be cleared, and what is no event cannot be written.
    slot.clear(!0)?;
    assert_status(slot, 0, "after all ones were written")?;
    assert!(!answers(slot)?, "nothing is in the slot");
    Ok(())
}

/// Would catch a device whose coming is not told, that answers without power or not with it; a
/// button that is not pressed when it is to go, one that goes before the guest lets it or stays
/// after that, and a slot that takes no second one.
fn hotplug(device: &PcieSlot, vm: &Rc<Vm>) -> Result<()> {
    needs_power(vm)?;
    let slot = device.slot();
    slot.set_control(slot.control()? | ALL_ENABLED & !slot::ENABLE_INTERRUPT)?;
    assert_status(slot, slot::COMMAND_COMPLETED, "after a command")?;
    let came = slot::PRESENT | slot::PRESENCE_CHANGED | slot::ATTENTION;
    for id in ["hot0", "hot1"] {
        let when = |text: &str| format!("{text}, {id}");
        plug(vm, id)?;
        assert_status(slot, came, &when("after a device came"))?;
        assert!(!answers(slot)?, "{}", when("a device without power"));
        slot.set_power(slot::POWER_INDICATOR_BLINK, true)?;
        slot.set_power(slot::POWER_INDICATOR_ON, true)?;
        let powered = slot::PRESENT | slot::COMMAND_COMPLETED;
        assert_status(slot, powered, &when("with power"))?;
        assert!(answers(slot)?, "{}", when("a device with power"));
        assert!(slot.link_is_active()?, "{}", when("the link"));

        unplug(vm, id)?;
        assert!(!is_deleted(vm)?, "{}", when("gone before the guest has let it go"));
        let pressed = slot::PRESENT | slot::ATTENTION;
        assert_status(slot, pressed, &when("when it is to go"))?;
        assert!(answers(slot)?, "{}", when("a device that is to go"));
        slot.set_power(slot::POWER_INDICATOR_BLINK, true)?;
        assert!(!is_deleted(vm)?, "{}", when("gone while the indicator blinks"));
        slot.set_power(slot::POWER_INDICATOR_BLINK, false)?;
        assert!(!is_deleted(vm)?, "{}", when("gone before the indicator is off"));
        slot.set_power(slot::POWER_INDICATOR_OFF, false)?;
        let event = vm.qmp().wait_event("DEVICE_DELETED")?;
        assert_eq!(event.data["device"], id, "the device that is gone");
        let gone = slot::PRESENCE_CHANGED | slot::COMMAND_COMPLETED;
        assert_status(slot, gone, &when("after it is gone"))?;
        assert!(!answers(slot)?, "{}", when("a device that is gone"));
        assert!(!slot.link_is_active()?, "{}", when("the link, the device gone"));
    }
    // Without power it goes at once.
    plug(vm, "hot2")?;
    assert_status(slot, came, "after a third device came")?;
    unplug(vm, "hot2")?;
    vm.qmp().wait_event("DEVICE_DELETED")?;
    let status = slot.status()?;
    assert_eq!(status & slot::PRESENT, 0, "Slot Status after it went: {status:#x}");
    Ok(())
}

/// Would catch a device that is to go while the guest is busy with the slot: it is refused as
/// long as the power indicator blinks.
fn refused(device: &PcieSlot, vm: &Rc<Vm>) -> Result<()> {
    needs_power(vm)?;
    let slot = device.slot();
    plug(vm, "hot0")?;
    slot.set_power(slot::POWER_INDICATOR_BLINK, true)?;
    slot.clear(slot::EVENTS & slot.status()?)?;
    let refused = unplug(vm, "hot0");
    assert!(refused.is_err(), "unplugged while the power indicator blinks");
    assert_eq!(slot.status()?, slot::PRESENT, "Slot Status after a refusal");
    slot.set_power(slot::POWER_INDICATOR_ON, true)?;
    assert!(answers(slot)?, "the device after a refusal");
    Ok(())
}

/// Would catch an interlock that does not follow its control, and one that does not hold
/// (6.7.1.4).
fn interlock(device: &PcieSlot, vm: &Rc<Vm>) -> Result<()> {
    let slot = device.slot();
    for locked in [true, false, true] {
        let control = slot.control()?;
        assert_eq!(control & slot::INTERLOCK, 0, "Slot Control tells no interlock");
        slot.set_control(control | slot::INTERLOCK)?;
        let expected = if locked { slot::LOCKED } else { 0 } | slot::COMMAND_COMPLETED;
        assert_status(slot, expected, &format!("with the interlock {locked}"))?;
    }
    assert!(plug(vm, "hot0").is_err(), "a device in a slot that is locked");
    let status = slot.status()?;
    assert_eq!(status, slot::LOCKED, "Slot Status after a refusal: {status:#x}");
    reset(vm)?;
    slot.bus().reopen()?;
    let status = slot.status()? & slot::LOCKED;
    assert_eq!(status, 0, "the interlock after a reset");
    Ok(())
}

/// Lets the port interrupt for these events, with no event pending.
fn enable(slot: &Slot, events: u16) -> Result<()> {
    let rest = slot.control()? & !ALL_ENABLED;
    slot.set_control(rest)?;
    slot.clear(slot.status()? & slot::EVENTS)?;
    slot.set_control(rest | events)?;
    slot.clear(slot.status()? & slot::EVENTS & !slot::COMMAND_COMPLETED)?;
    match events & slot::ENABLE_COMMAND {
        0 => slot.clear(slot::COMMAND_COMPLETED),
        _ => Ok(()),
    }
}

/// Would catch an interrupt for an event that is not enabled, none for one that is, and one that
/// stays when its event is cleared, at the pin and at the interrupt controller (6.7.3.4).
fn interrupts(device: &PcieSlot, vm: &Rc<Vm>) -> Result<()> {
    let slot = device.slot();
    let line = slot.port().watch_pin()?;
    let assert_pin = |expected: bool, when: &str| -> Result<()> {
        assert_eq!(slot.port().asserts_interrupt()?, expected, "the pin {when}");
        if let Some(line) = &line {
            assert_eq!(line.is_high()?, expected, "the interrupt controller {when}");
        }
        Ok(())
    };
    let (presence, attention) = (slot::ENABLE_PRESENCE, slot::ENABLE_ATTENTION);
    assert_pin(false, "at first")?;
    // What comes of a write is not seen here: QEMU takes the pin back with every write.
    for (number, enables, expected, event) in [
        (0, presence | slot::ENABLE_INTERRUPT, true, slot::PRESENCE_CHANGED),
        (1, presence | attention, false, slot::PRESENCE_CHANGED),
        (2, slot::ENABLE_COMMAND | slot::ENABLE_INTERRUPT, false, slot::ATTENTION),
        (3, attention | slot::ENABLE_INTERRUPT, true, slot::ATTENTION),
    ] {
        let id = format!("hot{number}");
        let when = |text: &str| format!("{text}, enabled {enables:#x}");
        enable(slot, enables)?;
        slot.clear(slot.status()? & slot::EVENTS)?;
        assert_pin(false, &when("before a device comes"))?;
        plug(vm, &id)?;
        assert_pin(expected, &when("when a device comes"))?;
        slot.clear(event)?;
        assert_pin(false, &when("when the event is cleared"))?;
        enable(slot, 0)?;
        slot.clear(slot.status()? & slot::EVENTS)?;
        slot.set_power(slot::POWER_INDICATOR_ON, true)?;
        slot.set_power(slot::POWER_INDICATOR_OFF, false)?;
        vm.qmp().wait_event("DEVICE_DELETED")?;
    }
    enable(slot, slot::ENABLE_COMMAND | slot::ENABLE_INTERRUPT)?;
    match slot.port().asserts_interrupt()? {
        true => Ok(()),
        false => Err(Error::skipped(
            "pcie-root-port: every write to its configuration space takes back the pin of a \
             hot-plug event",
        )),
    }
}

/// Would catch an event that is not sent as the port's message or although it is not enabled, one
/// that is sent twice, and a pin that is asserted besides.
fn message(device: &PcieSlot, vm: &Rc<Vm>) -> Result<()> {
    needs_power(vm)?;
    let (slot, port) = (device.slot(), device.slot().port());
    if !port.bus().messages_reach_memory() {
        return Err(Error::skipped("on this bus a message to RAM does not get there"));
    }
    let control = Control::find(port, &port.capabilities()?)?;
    let control = control.ok_or_else(|| Error::skipped("the port has no MSI-X here"))?;
    let memory = vm.ram().alloc(4, 4)?;
    let msix = Msix::enable(&control)?;
    let vector = slot.message()?;
    msix.set_message(vector, memory.address().0, 0x4711)?;
    msix.mask(vector, false)?;
    let assert_sent = |expected: bool, when: &str| -> Result<()> {
        settle(vm)?;
        let value = memory.read_le32(0)?;
        memory.write_le32(0, 0)?;
        assert_eq!(value, if expected { 0x4711 } else { 0 }, "the message {when}");
        assert!(!port.asserts_interrupt()?, "the pin, with messages enabled, {when}");
        Ok(())
    };
    let (presence, attention) = (slot::ENABLE_PRESENCE, slot::ENABLE_ATTENTION);
    enable(slot, slot::ENABLE_COMMAND)?;
    assert_sent(false, "for a command, without Hot-Plug Interrupt Enable")?;
    enable(slot, slot::ENABLE_INTERRUPT | presence | attention)?;
    assert_sent(false, "for a command, with other events enabled")?;
    enable(slot, slot::ENABLE_INTERRUPT | slot::ENABLE_COMMAND)?;
    assert_sent(true, "for a command")?;
    for (number, enables, came, pressed) in [
        (0, slot::ENABLE_INTERRUPT | presence, true, false),
        (1, slot::ENABLE_INTERRUPT | attention, true, true),
        (2, slot::ENABLE_INTERRUPT | slot::ENABLE_COMMAND, false, false),
        (3, presence | attention, false, false),
    ] {
        let id = format!("hot{number}");
        let when = |text: &str| format!("{text}, enabled {enables:#x}");
        enable(slot, 0)?;
        enable(slot, enables)?;
        slot.clear(slot.status()? & slot::EVENTS)?;
        memory.write_le32(0, 0)?;
        plug(vm, &id)?;
        assert_sent(came, &when("when a device comes"))?;
        slot.clear(slot.status()? & slot::EVENTS)?;
        assert_sent(false, &when("when the events are cleared"))?;
        enable(slot, 0)?;
        slot.set_power(slot::POWER_INDICATOR_ON, true)?;
        enable(slot, enables)?;
        slot.clear(slot.status()? & slot::EVENTS)?;
        memory.write_le32(0, 0)?;
        unplug(vm, &id)?;
        assert_sent(pressed, &when("when the button is pressed"))?;
        slot.clear(slot.status()? & slot::EVENTS)?;
        enable(slot, 0)?;
        slot.set_power(slot::POWER_INDICATOR_OFF, false)?;
        vm.qmp().wait_event("DEVICE_DELETED")?;
        memory.write_le32(0, 0)?;
    }
    Ok(())
}

/// Would catch events, controls or an interrupt that a reset of the machine leaves, and a device
/// that came before it and has no power after it.
fn machine_reset(device: &PcieSlot, vm: &Rc<Vm>) -> Result<()> {
    needs_power(vm)?;
    let slot = device.slot();
    enable(slot, ALL_ENABLED & !slot::ENABLE_COMMAND)?;
    plug(vm, "hot0")?;
    assert!(slot.port().asserts_interrupt()?, "the pin before a reset");
    reset(vm)?;
    slot.bus().reopen()?;
    assert!(!slot.port().asserts_interrupt()?, "the pin after a reset");
    assert_status(slot, slot::PRESENT, "after a reset")?;
    let control = slot.control()?;
    let on = slot::POWER_INDICATOR_ON | slot::ATTENTION_INDICATOR;
    assert_eq!(control & !slot::POWER_INDICATOR, on & !slot::POWER_INDICATOR, "{control:#x}");
    assert!(answers(slot)?, "the device after a reset");
    Ok(())
}
