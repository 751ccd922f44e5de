//! Resetting the whole machine, as its reset button does.

use crate::Result;
use crate::qemu::Vm;

/// Resets the machine and all its devices, and waits until that is done.
///
/// # Errors
/// QEMU does not answer, or does not tell of the reset.
pub fn reset(vm: &Vm) -> Result<()> {
    // One told earlier is not the one that comes now.
    vm.qmp().events();
    vm.qmp().execute("system_reset", serde_json::Value::Null)?;
    vm.qmp().wait_event("RESET")?;
    Ok(())
}
