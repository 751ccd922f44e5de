//! What holds of every declared register of every device: reset values, kept, read-only and
//! status bits, neighbours, widths, and what resets leave. The devices' data sheets are in
//! their declarations; nothing here knows a device.

mod change;
mod findings;
mod status;
mod widths;

use std::rc::Rc;

use self::change::{Plan, patterns, read_all, write_all};
use self::findings::Findings;
use crate::qemu::Vm;
use crate::qos::registers::{Access, Declaration, RegisterBlock, Registers, Rule};
use crate::qos::reset;
use crate::{Error, Result, tests};

tests!(RegisterBlock, "registers-tests":
    reset_values = "reset-values",
    kept_bits = "kept-bits",
    read_only = "read-only",
    status_bits = "status-bits",
    neighbours,
    widths = "widths",
    software_reset = "software-reset",
    machine_reset = "machine-reset",
);

/// Would catch a register that a machine does not start with at its reset value, identification
/// registers included.
fn reset_values(block: &RegisterBlock, vm: &Rc<Vm>) -> Result<()> {
    let mut findings = Findings::new(block, vm);
    let (registers, values) = read_all(block, block.registers())?;
    for (register, value) in registers.iter().zip(values) {
        if !block.is_touched(register) {
            findings.compare_with_reset(register, value, Rule::ResetValue);
        }
    }
    findings.into_result()
}

/// Would catch a bit that does not keep what is written, or takes another bit's value, and a
/// bit that can be written although it is not among the documented ones.
fn kept_bits(block: &RegisterBlock, vm: &Rc<Vm>) -> Result<()> {
    let mut findings = begin(block, vm)?;
    for register in written(block).filter(|register| register.kept != 0) {
        let plan = Plan::new(block.registers(), register)?;
        let values = plan.all_values();
        let read = plan.write_and_read(block.registers(), &values)?;
        for (&wrote, read) in values.iter().zip(read) {
            let bits = (wrote ^ read) & register.kept;
            findings
                .add(register, Rule::Kept, bits, || format!("wrote {wrote:#x}, read {read:#x}"));
            let bits = (plan.before ^ read) & register.read_only();
            findings.add(register, Rule::ReadOnly, bits, || {
                format!("was {:#x}, wrote {wrote:#x}, read {read:#x}", plan.before)
            });
        }
    }
    findings.into_result()
}

/// Would catch a read-only bit that a write sets or clears.
fn read_only(block: &RegisterBlock, vm: &Rc<Vm>) -> Result<()> {
    let mut findings = begin(block, vm)?;
    for register in written(block).filter(|register| register.read_only() != 0) {
        let plan = Plan::new(block.registers(), register)?;
        let mask = register.read_only();
        let values: Vec<u64> = patterns(mask).map(|bits| plan.kept_as_before() | bits).collect();
        let read = plan.write_and_read(block.registers(), &values)?;
        for (wrote, read) in values.into_iter().zip(read) {
            findings.add(register, Rule::ReadOnly, (plan.before ^ read) & mask, || {
                format!("was {:#x}, wrote {wrote:#x}, read {read:#x}", plan.before)
            });
        }
    }
    findings.into_result()
}

/// Would catch a status bit that a zero clears, that a one clears together with another, that
/// no one clears, that a read does not clear or clears too early; and a mask that a zero
/// clears, or whose other register clears what it must not.
fn status_bits(block: &RegisterBlock, vm: &Rc<Vm>) -> Result<()> {
    let mut findings = begin(block, vm)?;
    let checked = status::check(block, &mut findings)?;
    findings.into_result()?;
    match checked {
        0 => Err(Error::skipped("no register has bits that ones or reads clear")),
        _ => Ok(()),
    }
}

/// Would catch a write that changes another register, too: every register is given a value of
/// its own, in ascending and then in descending order, and all are read after that.
fn neighbours(block: &RegisterBlock, vm: &Rc<Vm>) -> Result<()> {
    let mut findings = begin(block, vm)?;
    let before = read_all(block, block.registers())?.1;
    for descending in [false, true] {
        let seed = if descending { !0 } else { 0 };
        let expected = write_all(block, block.registers(), seed, descending)?;
        let (registers, values) = read_all(block, block.registers())?;
        for ((register, read), before) in registers.iter().zip(values).zip(&before) {
            let written = expected.iter().find(|(at, _)| at == &register.offset);
            let expected = written.map_or(*before, |(_, value)| *value);
            let mask = if register.clears_on_read { 0 } else { register.kept };
            let fixed = if register.clears_on_read { 0 } else { register.read_only() };
            let bits = (expected ^ read) & mask | (before ^ read) & fixed;
            findings.add(register, Rule::Neighbours, bits, || {
                let by = change::culprit(block, block.registers(), register);
                format!("should be {expected:#x}, but is {read:#x}, {by}")
            });
        }
    }
    findings.into_result()
}

/// Would catch an access of another width than the register's that gets or changes other bits,
/// or bytes in another order.
fn widths(block: &RegisterBlock, vm: &Rc<Vm>) -> Result<()> {
    let mut findings = begin(block, vm)?;
    let checked = widths::check(block, &mut findings)?;
    findings.into_result()?;
    match checked {
        0 => Err(Error::skipped("every register has one width only")),
        _ => Ok(()),
    }
}

/// Would catch a reset by software that forgets a register or a status bit, or resets what it
/// must not.
fn software_reset(block: &RegisterBlock, vm: &Rc<Vm>) -> Result<()> {
    if !block.has_software_reset() {
        return Err(Error::skipped("the device has no reset by software"));
    }
    let mut findings = begin(block, vm)?;
    let registers = block.registers();
    let changed = change_all(block, registers)?;
    block.reset_by_software()?;
    let (declared, values) = read_all(block, registers)?;
    for (register, value) in declared.iter().zip(values) {
        if register.survives_software_reset {
            findings.compare_with_changed(register, &changed, value, Rule::SoftwareReset);
        } else {
            findings.compare_with_reset(register, value, Rule::SoftwareReset);
        }
    }
    findings.into_result()
}

/// Would catch a reset of the machine that forgets a register or a status bit, or that resets
/// what a battery keeps.
fn machine_reset(block: &RegisterBlock, vm: &Rc<Vm>) -> Result<()> {
    let mut findings = begin(block, vm)?;
    let changed = change_all(block, block.registers())?;
    reset(vm)?;
    let registers = block.attached_again()?;
    let (declared, values) = read_all(block, &*registers)?;
    for (register, value) in declared.iter().zip(values) {
        if register.lasting {
            findings.compare_with_changed(register, &changed, value, Rule::MachineReset);
        } else if !(block.moves() && block.is_touched(register)) {
            findings.compare_with_reset(register, value, Rule::MachineReset);
        }
    }
    findings.into_result()
}

/// Makes registers ready to be written.
fn begin<'a>(block: &'a RegisterBlock, vm: &'a Rc<Vm>) -> Result<Findings<'a>> {
    if block.leaves_traces(vm) {
        vm.note_lasting("registers that QEMU does not reset");
    }
    block.make_ready()?;
    Ok(Findings::new(block, vm))
}

/// Registers that this suite may write and then read.
fn written(block: &RegisterBlock) -> impl Iterator<Item = &Declaration> {
    let declared = block.declared().iter();
    declared.filter(|it| it.is_shown() && !it.side_effect && !it.clears_on_read)
}

/// Changes every register, sets every status bit that can be set; returns what was written,
/// by offset.
fn change_all(block: &RegisterBlock, registers: &dyn Registers) -> Result<Vec<(u64, u64)>> {
    for raise in block.raises() {
        (raise.how)(registers)?;
    }
    let mut changed = Vec::new();
    let mut accesses = Vec::new();
    for register in written(block).filter(|it| it.kept | it.w1s != 0) {
        let plan = Plan::new(registers, register)?;
        let value = plan.unlike_reset();
        accesses.push(Access::Write(register.offset, register.width, value));
        changed.push((register.offset, value));
    }
    registers.sequence(&accesses)?;
    Ok(changed)
}
