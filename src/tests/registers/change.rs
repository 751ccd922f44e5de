//! Which values are written to a register, and how all registers are read and written.

use crate::Result;
use crate::qos::registers::{Access, Declaration, RegisterBlock, Registers};

/// Every second bit.
const EVEN: u64 = 0x5555_5555_5555_5555;

/// How one register is written: which bits stay as they were found.
pub(super) struct Plan<'a> {
    register: &'a Declaration,
    /// What was in it.
    pub before: u64,
}

impl<'a> Plan<'a> {
    /// Reads what is in `register` now.
    pub fn new(registers: &dyn Registers, register: &'a Declaration) -> Result<Self> {
        let before = registers.read(register.offset, register.width)?;
        Ok(Self { register, before })
    }

    /// What is written together with values of kept bits: acting, volatile and reserved bits as
    /// a reset leaves them, and no ones where ones clear or set.
    fn rest(&self) -> u64 {
        let same = self.register.acts | self.register.volatile | self.register.reserved;
        let reset = self.register.reset.unwrap_or(self.before);
        reset & same & !self.register.volatile | self.before & self.register.volatile
    }

    /// A value for a write that changes no kept bit, its read-only bits zero.
    pub fn kept_as_before(&self) -> u64 {
        self.rest() | self.before & self.register.kept
    }

    /// Every value by which kept bits show that they are independent: none, all, each alone
    /// and each left out; or those that the register accepts. Read-only bits are zero and one
    /// in turn.
    pub fn all_values(&self) -> Vec<u64> {
        let read_only = self.register.read_only();
        let kept = self.register.kept;
        let bits: Vec<u64> = match (self.register.values, self.register.index) {
            ([], None | Some(0)) => patterns(kept).collect(),
            // Of an array, one register shows how the bits are wired, the others that they
            // are there.
            ([], Some(_)) => [0, !0, EVEN, !EVEN].map(|bits| bits & kept).to_vec(),
            (values, _) => values.to_vec(),
        };
        let turns = [0, read_only].into_iter().cycle();
        bits.into_iter().zip(turns).map(|(bits, other)| self.rest() | bits | other).collect()
    }

    /// A value whose kept bits are all other than a reset makes them, or one of the accepted
    /// ones that is.
    pub fn unlike_reset(&self) -> u64 {
        let reset = self.register.reset.unwrap_or(self.before);
        let other = if self.register.values.is_empty() {
            !reset & self.register.kept
        } else {
            let other = self.register.values.iter().find(|value| **value != reset);
            other.copied().unwrap_or(reset)
        };
        self.rest() | other | self.register.w1s
    }

    /// Writes each of `values` and reads it back, then writes what was there before.
    pub fn write_and_read(&self, registers: &dyn Registers, values: &[u64]) -> Result<Vec<u64>> {
        let (at, width) = (self.register.offset, self.register.width);
        let mut accesses: Vec<Access> = values
            .iter()
            .flat_map(|&value| [Access::Write(at, width, value), Access::Read(at, width)])
            .collect();
        accesses.push(Access::Write(at, width, self.kept_as_before()));
        registers.sequence(&accesses)
    }
}

/// Values of the bits of `mask`: none, all, each alone, all but each.
pub(super) fn patterns(mask: u64) -> impl Iterator<Item = u64> {
    let bits = (0..64).map(|bit| 1 << bit).filter(move |bit| mask & bit != 0);
    [0, mask].into_iter().chain(bits.flat_map(move |bit: u64| [bit, mask & !bit]))
}

/// Reads all registers that can be read, those that reading clears included.
pub(super) fn read_all(
    block: &RegisterBlock,
    registers: &dyn Registers,
) -> Result<(Vec<Declaration>, Vec<u64>)> {
    let shown: Vec<Declaration> =
        block.declared().iter().filter(|register| register.is_shown()).copied().collect();
    let accesses: Vec<Access> =
        shown.iter().map(|register| Access::Read(register.offset, register.width)).collect();
    let values = registers.sequence(&accesses)?;
    Ok((shown, values))
}

/// The value that `register` gets from `seed`, of its own among its neighbours.
fn own_value(plan: &Plan, seed: u64) -> u64 {
    let register = plan.register;
    let mixed = (register.offset + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let bits = match register.values {
        [] => (mixed ^ mixed >> 32 ^ seed) & register.kept,
        values => values[((mixed >> 32 ^ seed) % values.len() as u64) as usize],
    };
    plan.rest() | bits
}

/// Gives every register a value of its own, in this order; returns offsets and what each
/// register was, read at once.
pub(super) fn write_all(
    block: &RegisterBlock,
    registers: &dyn Registers,
    seed: u64,
    descending: bool,
) -> Result<Vec<(u64, u64)>> {
    let mut values = Vec::new();
    for register in written(block).filter(|register| register.kept != 0) {
        let plan = Plan::new(registers, register)?;
        values.push((register, own_value(&plan, seed)));
    }
    if descending {
        values.reverse();
    }
    let accesses: Vec<Access> = values
        .iter()
        .flat_map(|(register, value)| {
            let (at, width) = (register.offset, register.width);
            [Access::Write(at, width, *value), Access::Read(at, width)]
        })
        .collect();
    let read = registers.sequence(&accesses)?;
    Ok(values.iter().zip(read).map(|((register, _), read)| (register.offset, read)).collect())
}

/// Says by which other register's write `victim` changes, if that can be seen again.
pub(super) fn culprit(
    block: &RegisterBlock,
    registers: &dyn Registers,
    victim: &Declaration,
) -> String {
    let changes = |other: &Declaration, seed: u64| -> Result<bool> {
        let read = || registers.read(victim.offset, victim.width);
        let plan = Plan::new(registers, victim)?;
        if victim.kept != 0 && !victim.side_effect {
            registers.write(victim.offset, victim.width, own_value(&plan, !seed))?;
        }
        let before = read()?;
        let value = own_value(&Plan::new(registers, other)?, seed);
        registers.write(other.offset, other.width, value)?;
        Ok((read()? ^ before) & victim.stable() != 0)
    };
    let others = written(block).filter(|other| other.offset != victim.offset);
    for other in others.filter(|other| other.kept != 0) {
        for seed in [0, !0] {
            if changes(other, seed).unwrap_or(false) {
                return format!("since {other} was written");
            }
        }
    }
    "after all were written".to_owned()
}

/// Registers that this suite may write and then read.
pub(super) fn written(block: &RegisterBlock) -> impl Iterator<Item = &Declaration> {
    let declared = block.declared().iter();
    declared.filter(|it| it.is_shown() && !it.side_effect && !it.clears_on_read)
}
