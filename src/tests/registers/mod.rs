//! What holds of every declared register of every device: reset values, kept, read-only and
//! status bits, neighbours, widths, and what resets leave. The devices' data sheets are in
//! their declarations; nothing here knows a device.

mod change;
mod check;
mod findings;
mod status;
mod widths;

use std::rc::Rc;

use self::findings::Findings;
use crate::qemu::Vm;
use crate::qos::registers::RegisterBlock;
use crate::{Error, Result, tests};

tests!(RegisterBlock, "registers-tests":
    reset_values = "reset-values",
    kept_bits = "kept-bits",
    read_only = "read-only",
    status_bits = "status-bits",
    neighbours,
    widths,
    software_reset = "software-reset",
    machine_reset = "machine-reset",
    known_faults = "known-faults",
);

/// One check of all registers. It fails with [`Error::Skipped`] where the device has nothing
/// that it is about.
type Check = fn(&RegisterBlock, &Rc<Vm>, &mut Findings) -> Result<()>;

/// All checks; those that end with other registers than they began with come last.
const CHECKS: [Check; 8] = [
    check::reset_values,
    check::kept_bits,
    check::read_only,
    status::check,
    widths::check,
    check::neighbours,
    check::software_reset,
    check::machine_reset,
];

fn run(block: &RegisterBlock, vm: &Rc<Vm>, check: Check) -> Result<()> {
    if block.leaves_traces(vm) {
        vm.note_lasting("registers that QEMU does not reset");
    }
    let mut findings = Findings::new(block, vm);
    check(block, vm, &mut findings)?;
    findings.into_result()
}

/// All checks of a block that is no interface of its own, such as a configuration space.
///
/// # Errors
/// Returns everything that is wrong and not known.
pub(in crate::tests) fn check_all(block: &RegisterBlock, vm: &Rc<Vm>) -> Result<()> {
    let mut findings = Findings::new(block, vm);
    for check in CHECKS {
        match check(block, vm, &mut findings) {
            Ok(()) | Err(Error::Skipped(_)) => {}
            Err(error) => return Err(error),
        }
    }
    findings.into_result()
}

/// Would catch a register that a machine does not start with at its reset value, identification
/// registers included.
fn reset_values(block: &RegisterBlock, vm: &Rc<Vm>) -> Result<()> {
    run(block, vm, check::reset_values)
}

/// Would catch a bit that does not keep what is written, or takes another bit's value, and a
/// bit that can be written although it is not among the documented ones.
fn kept_bits(block: &RegisterBlock, vm: &Rc<Vm>) -> Result<()> {
    run(block, vm, check::kept_bits)
}

/// Would catch a read-only bit that a write sets or clears.
fn read_only(block: &RegisterBlock, vm: &Rc<Vm>) -> Result<()> {
    run(block, vm, check::read_only)
}

/// Would catch a status bit that a zero clears, that a one clears together with another, that
/// no one clears, that a read does not clear or clears too early; and a mask that a zero
/// clears, or whose other register clears what it must not.
fn status_bits(block: &RegisterBlock, vm: &Rc<Vm>) -> Result<()> {
    run(block, vm, status::check)
}

/// Would catch a write that changes another register, too: every register is given a value of
/// its own, in ascending and then in descending order, and all are read after that.
fn neighbours(block: &RegisterBlock, vm: &Rc<Vm>) -> Result<()> {
    run(block, vm, check::neighbours)
}

/// Would catch an access of another width than the register's that gets or changes other bits,
/// or bytes in another order.
fn widths(block: &RegisterBlock, vm: &Rc<Vm>) -> Result<()> {
    run(block, vm, widths::check)
}

/// Would catch a reset by software that forgets a register or a status bit, or resets what it
/// must not.
fn software_reset(block: &RegisterBlock, vm: &Rc<Vm>) -> Result<()> {
    run(block, vm, check::software_reset)
}

/// Would catch a reset of the machine that forgets a register or a status bit, or that resets
/// what a battery keeps.
fn machine_reset(block: &RegisterBlock, vm: &Rc<Vm>) -> Result<()> {
    run(block, vm, check::machine_reset)
}

/// Tells which of its known faults this QEMU has, and which it should have by its version and
/// has not: a skipped test, since nothing of that is news. A QEMU that is known to have none
/// passes. Would catch a list of faults that nobody keeps.
fn known_faults(block: &RegisterBlock, vm: &Rc<Vm>) -> Result<()> {
    let listed = block.listed_faults(vm);
    if listed.is_empty() {
        return Ok(());
    }
    vm.note_lasting("registers that QEMU does not reset");
    let mut findings = Findings::new(block, vm);
    for check in CHECKS {
        match check(block, vm, &mut findings) {
            Ok(()) | Err(Error::Skipped(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let seen = |fault: &&str| findings.known().contains(fault);
    let (seen, gone): (Vec<&str>, Vec<&str>) = listed.into_iter().partition(seen);
    let mut text = seen.join("; ");
    if !gone.is_empty() {
        text = format!("{text}; listed for this version, but not there: {}", gone.join("; "));
    }
    Err(Error::skipped(text))
}
