//! Resetting the whole machine, as its reset button does.

use serde_json::json;

use super::wait_event;
use crate::qemu::Vm;
use crate::{Error, Result};

/// Resets the machine whatever state a guest has brought it into, turned off or waiting to be
/// reset among them, so that it runs again.
///
/// # Errors
/// Returns an error if QEMU does not answer, or does not tell that it has reset the machine.
pub fn reset_from_any_state(vm: &Vm) -> Result<()> {
    vm.qmp().events();
    vm.qmp().execute("system_reset", serde_json::Value::Null)?;
    // What the guest asked for before comes first.
    while vm.qmp().wait_event("RESET")?.data["guest"] == true {}
    let state = vm.qmp().execute("query-status", serde_json::Value::Null)?;
    if state["running"] != true {
        vm.qmp().execute("cont", serde_json::Value::Null)?;
    }
    Ok(())
}

/// Resets the machine and all its devices, and waits until that is done.
///
/// # Errors
/// QEMU does not answer, or does not tell of the reset, once, as of ours.
pub fn reset(vm: &Vm) -> Result<()> {
    // One told earlier is not the one that comes now.
    vm.qmp().events();
    vm.qmp().execute("system_reset", serde_json::Value::Null)?;
    let event = wait_event(vm, "RESET")?;
    let expected = json!({"guest": false, "reason": "host-qmp-system-reset"});
    if event.data != expected {
        return Err(Error::failed(format!("RESET tells {}, not {expected}", event.data)));
    }
    if vm.qmp().events().iter().any(|event| event.name == "RESET") {
        return Err(Error::failed("QEMU was reset once, and told so twice"));
    }
    Ok(())
}
