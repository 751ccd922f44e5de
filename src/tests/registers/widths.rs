//! Accesses of other widths than a register's own.

use std::rc::Rc;

use super::change::write_all;
use super::findings::Findings;
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::registers::{Access, Declaration, RegisterBlock, Rule, Width};
use crate::{Error, Result};

/// Checks reads and writes in every accepted width.
pub(super) fn check(block: &RegisterBlock, _: &Rc<Vm>, findings: &mut Findings) -> Result<()> {
    block.make_ready()?;
    write_all(block, block.registers(), 0, false)?;
    let mut checked = 0;
    for unit in units(block) {
        unit.check_read(block, findings)?;
        checked += 1;
    }
    write_all(block, block.registers(), !0, false)?;
    for unit in units(block).into_iter().filter(|unit| unit.can_be_written(block)) {
        unit.check_write(block, findings)?;
        checked += 1;
    }
    match checked {
        0 => Err(Error::skipped("every register has one width only")),
        _ => Ok(()),
    }
}

/// An access of another width: where, how wide, and the registers that it reaches.
struct Unit {
    offset: u64,
    width: Width,
    registers: Vec<Declaration>,
}

/// All accesses that the registers accept in other widths than their own.
fn units(block: &RegisterBlock) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    for width in Width::ALL {
        let bytes = width.bytes() as u64;
        let mut offsets: Vec<u64> = block
            .declared()
            .iter()
            .filter(|register| register.width != width && block.accepts(register, width))
            .flat_map(|register| {
                (register.offset / bytes..register.end().div_ceil(bytes)).map(|at| at * bytes)
            })
            .collect();
        offsets.sort_unstable();
        offsets.dedup();
        for offset in offsets {
            let there = |it: &&Declaration| it.offset < offset + bytes && offset < it.end();
            let registers: Vec<_> = block.declared().iter().filter(there).copied().collect();
            let reads_are_free =
                |it: &Declaration| it.is_shown() && !it.clears_on_read && block.accepts(it, width);
            if registers.iter().all(reads_are_free) {
                units.push(Unit { offset, width, registers });
            }
        }
    }
    units
}

/// By how many bits byte `at` of a register of `bytes` is shifted in its value.
fn shift(order: Endian, at: u64, bytes: u64) -> u64 {
    match order {
        Endian::Little => 8 * at,
        Endian::Big => 8 * (bytes - 1 - at),
    }
}

impl Unit {
    /// Moves what of a register of `bytes` at `offset` is in this access from its own value to
    /// the access's, or back.
    fn moved(&self, order: Endian, register: &Declaration, value: u64, back: bool) -> u64 {
        let (bytes, own) = (self.width.bytes() as u64, register.width.bytes() as u64);
        let first = register.offset.max(self.offset);
        let end = register.end().min(self.offset + bytes);
        (first..end).fold(0, |all, at| {
            let there = shift(order, at - register.offset, own);
            let here = shift(order, at - self.offset, bytes);
            let (from, to) = if back { (here, there) } else { (there, here) };
            all | (value >> from & 0xff) << to
        })
    }

    fn check_read(&self, block: &RegisterBlock, findings: &mut Findings) -> Result<()> {
        let registers = block.registers();
        let order = block.byte_order();
        let read = registers.read(self.offset, self.width)?;
        for register in &self.registers {
            let own = registers.read(register.offset, register.width)?;
            let part = self.moved(order, register, self.width.ones(), true);
            let got = self.moved(order, register, read, true);
            let bits = (own ^ got) & part & register.stable();
            findings.add(register, Rule::Widths, bits, || {
                format!(
                    "it is {own:#x}, but {read:#x} with {:?} read at {:#x}",
                    self.width, self.offset
                )
            });
        }
        Ok(())
    }

    /// Whether all its bytes belong to registers that may be written, and some bit is kept.
    fn can_be_written(&self, block: &RegisterBlock) -> bool {
        let free =
            |it: &Declaration| !it.side_effect && it.values.is_empty() && it.w1c | it.w1s == 0;
        let covered = self.registers.iter().fold(0, |all, register| {
            all | self.moved(block.byte_order(), register, register.ones(), false)
        });
        let kept = self
            .registers
            .iter()
            .any(|register| self.moved(block.byte_order(), register, register.kept, false) != 0);
        kept && covered == self.width.ones() && self.registers.iter().all(free)
    }

    /// Writes to every register in its own width what this access shall write to it, to see what
    /// comes of that; then takes that back, and makes this access.
    fn check_write(&self, block: &RegisterBlock, findings: &mut Findings) -> Result<()> {
        let registers = block.registers();
        let order = block.byte_order();
        let mut expected = Vec::new();
        let mut wrote = 0;
        for register in &self.registers {
            let (at, width) = (register.offset, register.width);
            let before = registers.read(at, width)?;
            let reset = register.reset.unwrap_or(before);
            let fixed = register.acts | register.reserved;
            let same = before & !fixed | reset & fixed;
            let part = self.moved(order, register, self.width.ones(), true) & register.kept;
            let read = registers.sequence(&[
                Access::Write(at, width, same ^ part),
                Access::Read(at, width),
                Access::Write(at, width, same),
            ])?;
            wrote |= self.moved(order, register, same ^ part, false);
            expected.push((before, read[0]));
        }
        registers.write(self.offset, self.width, wrote)?;
        for (register, (before, expected)) in self.registers.iter().zip(expected) {
            let read = registers.read(register.offset, register.width)?;
            let bits = (read ^ expected) & register.stable() & !register.acts;
            findings.add(register, Rule::Widths, bits, || {
                format!(
                    "it was {before:#x}, and {:?} {wrote:#x} written at {:#x} made it {read:#x}, \
                     not {expected:#x}",
                    self.width, self.offset
                )
            });
        }
        Ok(())
    }
}
