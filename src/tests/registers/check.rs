//! The checks that have no file of their own: values, kept and read-only bits, neighbours,
//! resets.

use std::rc::Rc;

use super::change::{self, Plan, patterns, read_all, write_all, written};
use super::findings::Findings;
use crate::qemu::Vm;
use crate::qos::registers::{Access, RegisterBlock, Registers, Rule};
use crate::qos::reset;
use crate::{Error, Result};

pub(super) fn reset_values(
    block: &RegisterBlock,
    _: &Rc<Vm>,
    findings: &mut Findings,
) -> Result<()> {
    let (registers, values) = read_all(block, block.registers())?;
    for (register, value) in registers.iter().zip(values) {
        if !block.is_touched(register) {
            findings.compare_with_reset(register, value, Rule::ResetValue);
        }
    }
    Ok(())
}

pub(super) fn kept_bits(block: &RegisterBlock, _: &Rc<Vm>, findings: &mut Findings) -> Result<()> {
    block.make_ready()?;
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
    Ok(())
}

pub(super) fn read_only(block: &RegisterBlock, _: &Rc<Vm>, findings: &mut Findings) -> Result<()> {
    block.make_ready()?;
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
    Ok(())
}

pub(super) fn neighbours(block: &RegisterBlock, _: &Rc<Vm>, findings: &mut Findings) -> Result<()> {
    block.make_ready()?;
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
    Ok(())
}

pub(super) fn software_reset(
    block: &RegisterBlock,
    _: &Rc<Vm>,
    findings: &mut Findings,
) -> Result<()> {
    if !block.has_software_reset() {
        return Err(Error::skipped("the device has no reset by software"));
    }
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
    nothing_comes_back(block, registers, findings, Rule::SoftwareReset)
}

pub(super) fn machine_reset(
    block: &RegisterBlock,
    vm: &Rc<Vm>,
    findings: &mut Findings,
) -> Result<()> {
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
    nothing_comes_back(block, &*registers, findings, Rule::MachineReset)
}

/// After a reset, writes no ones to registers that ones clear: a status bit that the reset only
/// hid would show again.
fn nothing_comes_back(
    block: &RegisterBlock,
    registers: &dyn Registers,
    findings: &mut Findings,
    rule: Rule,
) -> Result<()> {
    for register in written(block).filter(|register| register.w1c != 0) {
        let value = register.reset.unwrap_or(0) & !register.w1c;
        registers.write(register.offset, register.width, value)?;
        let read = registers.read(register.offset, register.width)?;
        findings.compare_with_reset(register, read, rule);
    }
    Ok(())
}

/// Changes every register, sets every status bit that can be set; returns offsets and what
/// each register then was.
fn change_all(block: &RegisterBlock, registers: &dyn Registers) -> Result<Vec<(u64, u64)>> {
    block.make_ready()?;
    let mut changed = Vec::new();
    let mut accesses = Vec::new();
    for register in written(block).filter(|it| it.kept | it.w1s != 0) {
        let value = Plan::new(registers, register)?.unlike_reset();
        accesses.push(Access::Write(register.offset, register.width, value));
        accesses.push(Access::Read(register.offset, register.width));
        changed.push(register.offset);
    }
    let values = registers.sequence(&accesses)?;
    for raise in block.raises() {
        (raise.how)(registers)?;
    }
    Ok(changed.into_iter().zip(values).collect())
}
