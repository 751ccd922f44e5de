//! Bits that are cleared or set by ones, or cleared by reading.

use std::rc::Rc;

use super::findings::Findings;
use crate::qemu::Vm;
use crate::qos::registers::{Declaration, Raise, RegisterBlock, Registers, Rule};
use crate::{Error, Result};

/// Checks all status bits.
pub(super) fn check(block: &RegisterBlock, _: &Rc<Vm>, findings: &mut Findings) -> Result<()> {
    block.make_ready()?;
    let mut checked = 0;
    let registers = block.registers();
    let shown = || block.declared().iter().filter(|register| register.is_shown());
    for register in shown().filter(|register| register.w1s != 0 && !register.side_effect) {
        set_by_ones(registers, register, findings)?;
        checked += 1;
    }
    for register in shown().filter(|register| register.w1c != 0 && !register.clears_on_read) {
        nothing_set(registers, register, findings)?;
        checked += 1;
    }
    for register in shown().filter(|register| register.clears_on_read) {
        cleared_by_reading(registers, register, findings)?;
        checked += 1;
    }
    for raise in block.raises() {
        raised(registers, raise, findings)?;
        checked += 1;
    }
    match checked {
        0 => Err(Error::skipped("no register has bits that ones or reads clear")),
        _ => Ok(()),
    }
}

fn read(registers: &dyn Registers, register: &Declaration) -> Result<u64> {
    registers.read(register.offset, register.width)
}

fn write(registers: &dyn Registers, register: &Declaration, value: u64) -> Result<()> {
    registers.write(register.offset, register.width, value)
}

/// The bits of `mask`, one by one.
fn bits(mask: u64) -> impl Iterator<Item = u64> {
    (0..64).map(|bit| 1 << bit).filter(move |bit| mask & bit != 0)
}

/// Ones set their bits, zeroes none; and where another register clears them, each alone.
fn set_by_ones(
    registers: &dyn Registers,
    register: &Declaration,
    findings: &mut Findings,
) -> Result<()> {
    let mask = register.w1s;
    let clear = |ones: u64| match register.cleared_through {
        Some(offset) => registers.write(offset, register.width, ones),
        None => Ok(()),
    };
    clear(mask)?;
    let mut expected = read(registers, register)? & mask;
    if register.cleared_through.is_some() {
        findings.add(register, Rule::WriteOneToSet, expected, || "they were cleared".to_owned());
        expected = 0;
    }
    let mut compare = |expected: u64, what: &dyn Fn() -> String| -> Result<()> {
        let read = read(registers, register)?;
        findings.add(register, Rule::WriteOneToSet, (read ^ expected) & mask, || {
            format!("should be {expected:#x}, but is {read:#x}, {}", what())
        });
        Ok(())
    };
    for bit in bits(mask) {
        write(registers, register, bit)?;
        expected |= bit;
        compare(expected, &|| format!("with {bit:#x} written"))?;
    }
    write(registers, register, 0)?;
    compare(expected, &|| "with zero written".to_owned())?;
    if register.cleared_through.is_some() {
        for bit in bits(mask) {
            clear(bit)?;
            expected &= !bit;
            compare(expected, &|| format!("with {bit:#x} written to the register that clears"))?;
        }
    }
    Ok(())
}

/// Bits that are not set stay so, whatever is written.
fn nothing_set(
    registers: &dyn Registers,
    register: &Declaration,
    findings: &mut Findings,
) -> Result<()> {
    if register.side_effect {
        return Ok(());
    }
    let before = read(registers, register)?;
    for wrote in [0, register.w1c] {
        write(registers, register, wrote | before & register.kept)?;
        let read = read(registers, register)?;
        let expected = before & !wrote;
        findings.add(register, Rule::WriteOneToClear, (read ^ expected) & register.w1c, || {
            format!("were {before:#x}, and are {read:#x} with {wrote:#x} written")
        });
    }
    Ok(())
}

/// The second read gives the reset value.
fn cleared_by_reading(
    registers: &dyn Registers,
    register: &Declaration,
    findings: &mut Findings,
) -> Result<()> {
    let first = read(registers, register)?;
    let second = read(registers, register)?;
    let mask = register.stable();
    let bits = (register.reset.unwrap_or(0) ^ second) & mask;
    findings.add(register, Rule::ClearsOnRead, bits, || {
        format!("read {first:#x}, and {second:#x} the next time")
    });
    Ok(())
}

/// Bits that the device has set.
fn raised(registers: &dyn Registers, raise: &Raise, findings: &mut Findings) -> Result<()> {
    let (register, mask) = (&raise.register, raise.bits);
    let rule = match register.clears_on_read {
        true => Rule::ClearsOnRead,
        false => Rule::WriteOneToClear,
    };
    (raise.how)(registers)?;
    if register.w1c & mask == mask {
        for bit in bits(mask) {
            write(registers, register, 0)?;
            if !register.clears_on_read {
                let read = read(registers, register)?;
                findings.add(register, rule, !read & mask, || {
                    format!("{mask:#x} were raised, {read:#x} read after zero was written")
                });
            }
            write(registers, register, bit)?;
            let read = read(registers, register)?;
            let expected = mask & !bit;
            findings.add(register, rule, (read ^ expected) & mask, || {
                format!("{mask:#x} were raised, {read:#x} read with {bit:#x} written")
            });
            // What is left would be in the way of the next bit.
            write(registers, register, mask)?;
            (raise.how)(registers)?;
        }
    }
    let first = read(registers, register)?;
    findings
        .add(register, rule, !first & mask, || format!("{mask:#x} were raised, {first:#x} read"));
    if register.clears_on_read {
        let second = read(registers, register)?;
        findings.add(register, rule, second & mask, || {
            format!("{mask:#x} were raised, {second:#x} read the second time")
        });
    } else {
        write(registers, register, register.w1c & mask)?;
    }
    Ok(())
}
