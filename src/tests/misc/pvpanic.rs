//! The device by which a guest says that it has panicked: which events it knows, what the host is
//! told of each, what it ignores, and what the machine does then.

use std::rc::Rc;

use serde_json::{Value, json};

use crate::graph::QemuArgs;
use crate::protocol::Event;
use crate::qemu::{Version, Vm};
use crate::qos::pvpanic::{CRASHLOADED, EVENTS, PANICKED, Pvpanic, SHUTDOWN};
use crate::qos::registers::RegistersExt;
use crate::{Error, Result, attacks, tests};

tests!(Pvpanic, "pvpanic-tests":
    events,
    panicked,
    panicked_again = "panicked-again",
    crashloaded,
    shutdown,
    nothing,
    unknown,
    unknown_with_known = "unknown-with-known",
    every_value = "every-value",
);
tests!(Pvpanic, "pvpanic-none-tests":
    goes_on = "goes-on";
    with QemuArgs::NONE.after("-action panic=none"));
tests!(Pvpanic, "pvpanic-events-tests":
    known,
    not_offered = "not-offered";
    with QemuArgs::NONE.after("-global pvpanic.events=1"));
attacks!(Pvpanic, "pvpanic-attacks": crashloaded, every_value);

/// The events that this QEMU's device knows if no option says otherwise.
fn known_to(vm: &Vm) -> u8 {
    let has_shutdown = vm.emulator().capabilities.version >= Version::new(9, 1, 0);
    PANICKED | CRASHLOADED | if has_shutdown { SHUTDOWN } else { 0 }
}

/// What the run state is.
fn state(vm: &Vm) -> Result<String> {
    let status = vm.qmp().execute("query-status", Value::Null)?;
    Ok(status["status"].as_str().unwrap_or_default().to_owned())
}

/// Writes the byte and returns what the host is told because of that.
fn tell(device: &Pvpanic, vm: &Vm, events: u8) -> Result<Vec<Event>> {
    vm.qmp().poll()?;
    vm.qmp().events();
    device.registers.set(EVENTS, events)?;
    // An answer comes after the events before it.
    state(vm)?;
    Ok(vm.qmp().events())
}

/// Events without the time.
fn in_short(events: &[Event]) -> Vec<(&str, &Value)> {
    events.iter().map(|event| (&*event.name, &event.data)).collect()
}

/// Has a machine go on that a panic has stopped.
fn go_on(vm: &Vm) -> Result<()> {
    vm.qmp().execute("cont", Value::Null)?;
    assert_eq!(state(vm)?, "running", "after cont");
    Ok(())
}

/// Would catch an event that is not offered, one that is not known, and a byte that tells what was
/// written.
fn events(device: &Pvpanic, vm: &Rc<Vm>) -> Result<()> {
    vm.set_up_ends()?;
    let known = known_to(vm);
    assert_eq!(device.registers.get(EVENTS)?, known, "at first");
    device.registers.set(EVENTS, 0xf8)?;
    assert_eq!(device.registers.get(EVENTS)?, known, "after a write of bits that are not known");
    device.registers.set(EVENTS, CRASHLOADED)?;
    assert_eq!(device.registers.get(EVENTS)?, known, "after an event");
    Ok(())
}

/// Asserts that a panic was told, once, and that the machine stands still.
fn assert_panic(vm: &Vm, told: &[Event], when: &str) -> Result<()> {
    let pause = json!({ "action": "pause" });
    let expected = [("GUEST_PANICKED", &pause), ("STOP", &Value::Null)];
    assert_eq!(in_short(told), expected, "{when}: what the host is told");
    assert_eq!(state(vm)?, "guest-panicked", "{when}: the run state");
    Ok(())
}

/// Would catch a panic that is not told, is told twice or as something else, or leaves the machine
/// running.
fn panicked(device: &Pvpanic, vm: &Rc<Vm>) -> Result<()> {
    vm.set_up_ends()?;
    let told = tell(device, vm, PANICKED)?;
    assert_panic(vm, &told, "a panic")?;
    go_on(vm)
}

/// Would catch a second panic that is not told, and one that goes on when the machine goes on.
fn panicked_again(device: &Pvpanic, vm: &Rc<Vm>) -> Result<()> {
    vm.set_up_ends()?;
    for round in 0..3 {
        let told = tell(device, vm, PANICKED)?;
        assert_panic(vm, &told, &format!("panic {round}"))?;
        go_on(vm)?;
        let told = tell(device, vm, 0)?;
        assert_eq!(in_short(&told), [], "round {round}: nothing more is told");
    }
    Ok(())
}

/// Would catch a crash that the guest goes on with by itself and that stops it, is told as a panic,
/// or is not told.
fn crashloaded(device: &Pvpanic, vm: &Rc<Vm>) -> Result<()> {
    vm.set_up_ends()?;
    let run = json!({ "action": "run" });
    for round in 0..2 {
        let told = tell(device, vm, CRASHLOADED)?;
        assert_eq!(in_short(&told), [("GUEST_CRASHLOADED", &run)], "round {round}");
        assert_eq!(state(vm)?, "running", "round {round}: the run state");
    }
    Ok(())
}

/// Would catch a shutdown that is told as a panic, or that the host does nothing about.
fn shutdown(device: &Pvpanic, vm: &Rc<Vm>) -> Result<()> {
    vm.set_up_ends()?;
    if known_to(vm) & SHUTDOWN == 0 {
        return Err(Error::skipped("QEMU's device knows of shutdowns since 9.1"));
    }
    vm.note_lasting("a machine that was shut down");
    let mut told = tell(device, vm, SHUTDOWN)?;
    crate::qos::wait_with_clock_still(vm, "the machine to stop", || {
        let is_down = state(vm)? == "shutdown";
        told.extend(vm.qmp().events());
        Ok(is_down)
    })?;
    let names: Vec<_> = told.iter().map(|event| &*event.name).collect();
    assert_eq!(names, ["GUEST_PVSHUTDOWN", "SHUTDOWN", "STOP"], "what the host is told");
    let reason = json!({ "guest": true, "reason": "guest-shutdown" });
    assert_eq!(told[1].data, reason, "why the machine is down");
    Ok(())
}

/// Would catch a write of no event that is one.
fn nothing(device: &Pvpanic, vm: &Rc<Vm>) -> Result<()> {
    vm.set_up_ends()?;
    let told = tell(device, vm, 0)?;
    assert_eq!(in_short(&told), [], "what the host is told");
    assert_eq!(state(vm)?, "running");
    Ok(())
}

/// Would catch a bit that the device does not know and that is taken for an event.
fn unknown(device: &Pvpanic, vm: &Rc<Vm>) -> Result<()> {
    vm.set_up_ends()?;
    let unknown = !known_to(vm);
    let bits = (0..8).map(|bit| 1 << bit).filter(|bit| unknown & bit != 0);
    for events in bits.chain([unknown]) {
        let told = tell(device, vm, events)?;
        assert_eq!(in_short(&told), [], "{events:#x}: what the host is told");
        assert_eq!(state(vm)?, "running", "{events:#x}");
    }
    Ok(())
}

/// Would catch an event that is lost for bits beside it which the device does not know.
fn unknown_with_known(device: &Pvpanic, vm: &Rc<Vm>) -> Result<()> {
    vm.set_up_ends()?;
    let unknown = !known_to(vm);
    let run = json!({ "action": "run" });
    let told = tell(device, vm, unknown | CRASHLOADED)?;
    assert_eq!(in_short(&told), [("GUEST_CRASHLOADED", &run)], "a crash");
    let told = tell(device, vm, unknown | PANICKED)?;
    assert_panic(vm, &told, "a panic")?;
    go_on(vm)
}

/// Would catch a byte that ends QEMU, and a panic that is told though its bit is clear.
fn every_value(device: &Pvpanic, vm: &Rc<Vm>) -> Result<()> {
    vm.set_up_ends()?;
    for events in (0..=u8::MAX).filter(|events| events & SHUTDOWN == 0) {
        let told = tell(device, vm, events)?;
        let is_told = told.iter().any(|event| event.name == "GUEST_PANICKED");
        assert_eq!(is_told, events & PANICKED != 0, "a panic, by {events:#x}");
        if is_told {
            go_on(vm)?;
        }
    }
    assert_eq!(device.registers.get(EVENTS)?, known_to(vm), "what the device knows");
    Ok(())
}

/// Would catch a panic that stops a machine which is to go on, or is not told then.
fn goes_on(device: &Pvpanic, vm: &Rc<Vm>) -> Result<()> {
    vm.set_up_ends()?;
    let run = json!({ "action": "run" });
    for round in 0..2 {
        let told = tell(device, vm, PANICKED)?;
        assert_eq!(in_short(&told), [("GUEST_PANICKED", &run)], "round {round}");
        assert_eq!(state(vm)?, "running", "round {round}: the run state");
    }
    Ok(())
}

/// Would catch a device that offers other events than it is told to.
fn known(device: &Pvpanic, vm: &Rc<Vm>) -> Result<()> {
    vm.set_up_ends()?;
    assert_eq!(device.registers.get(EVENTS)?, PANICKED, "what the device knows");
    let told = tell(device, vm, PANICKED)?;
    assert_panic(vm, &told, "a panic")?;
    go_on(vm)
}

/// Would catch an event that the device does not offer and that is not ignored.
fn not_offered(device: &Pvpanic, vm: &Rc<Vm>) -> Result<()> {
    vm.set_up_ends()?;
    let told = tell(device, vm, CRASHLOADED)?;
    assert_eq!(in_short(&told), [], "what the host is told");
    assert_eq!(state(vm)?, "running");
    Ok(())
}
