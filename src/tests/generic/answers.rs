//! What the registers of a device answer, whatever they are for: a description by which two
//! builds of QEMU can be compared. Nothing here is right or wrong.

use std::fmt::Write as _;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use crate::Result;
use crate::protocol::Width;
use crate::qemu::{AnsweringRegister, Answers, Vm};
use crate::qos::registers::{Access, Registers};
use crate::qos::sweep::{Location, Sweep, read};
use crate::tests::generic::unknown::{WALKED, settle};

/// How many registers on either side of one are read after it was written, at least and at most.
const NEIGHBOURS: RangeInclusive<usize> = 1..=16;
/// How many of these reads one pass makes, about.
const READS: usize = 8 << 10;
/// How many other registers that change with one are told.
const MOST_OTHERS: usize = 8;
/// How much virtual time passes at the end.
const STEP: Duration = Duration::from_millis(1);
/// What is said of a register that does not answer the same twice.
const VARIES: &str = "varies";

/// What was seen of one register.
#[derive(Default, PartialEq, Eq)]
struct Seen {
    /// After a reset, and read again.
    reset: [u64; 2],
    /// After a write of no and of all bits.
    zeros: u64,
    ones: u64,
    /// After a write of each bit alone.
    alone: Vec<u64>,
    /// Others that have another value then.
    others: Vec<(Location, u64)>,
    /// When time has passed, if that changes it.
    later: Option<u64>,
}

/// Registers as they are looked at: where they are, and which accesses reach them.
pub(in crate::tests) struct Block<'r> {
    /// Where accesses go.
    pub space: &'r dyn Registers,
    /// Their names.
    pub sweep: &'r Sweep,
    /// The accesses.
    pub locations: &'r [Location],
    /// The addresses of locks, and what opens them.
    pub keys: &'r [(u64, u64)],
}

impl Block<'_> {
    /// Looks at all registers of a machine that was just reset: what they read, what they keep of
    /// zeros, of ones and of each bit alone, which others change with them, and what passing time
    /// does.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn look(&self, vm: &Vm) -> Result<Vec<Seen>> {
        let resets = [read(self.space, self.locations)?, read(self.space, self.locations)?];
        let mut last = resets[1].clone();
        let mut all = Vec::with_capacity(last.len());
        for (number, at) in self.locations.iter().enumerate() {
            let mut seen = self.write(number, resets[1][number])?;
            seen.reset = resets.each_ref().map(|it| it[number]);
            let near = self.near(number);
            let values = read(self.space, &self.locations[near.clone()])?;
            for (other, value) in near.zip(values) {
                let is_other = self.locations[other].address.abs_diff(at.address) >= 8;
                if last[other] != value && is_other {
                    seen.others.push((self.locations[other], value));
                }
                last[other] = value;
            }
            all.push(seen);
        }
        settle(vm)?;
        let before = read(self.space, self.locations)?;
        vm.qtest().clock_step(Some(STEP))?;
        let after = read(self.space, self.locations)?;
        for (seen, (before, after)) in all.iter_mut().zip(before.into_iter().zip(after)) {
            seen.later = (before != after).then_some(after);
        }
        Ok(all)
    }

    /// Writes one register, and then what it had after the reset.
    fn write(&self, number: usize, had: u64) -> Result<Seen> {
        let Location { address, width } = self.locations[number];
        let bits = if width == Width::Long && number < WALKED { u32::BITS } else { 0 };
        let values = [0, width.ones()].into_iter().chain((0..bits).map(|bit| 1 << bit));
        let each = |value| [Access::Write(address, width, value), Access::Read(address, width)];
        // A lock that was closed by the register before is opened again.
        let keys = self.keys.iter().map(|(lock, key)| Access::Write(*lock, Width::Long, *key));
        let mut accesses: Vec<Access> = keys.chain(values.flat_map(each)).collect();
        accesses.push(Access::Write(address, width, had));
        let answers = self.space.sequence(&accesses)?;
        let (zeros, ones) = (answers[0], answers[1]);
        Ok(Seen { zeros, ones, alone: answers[2..].to_vec(), ..Seen::default() })
    }

    /// The registers around one: the fewer, the more there are.
    fn near(&self, number: usize) -> Range<usize> {
        let all = self.locations.len();
        let each = (READS / 2 / all.max(1)).clamp(*NEIGHBOURS.start(), *NEIGHBOURS.end());
        number.saturating_sub(each)..(number + each + 1).min(all)
    }

    /// What was seen of a register, in words; `None` if it is not there.
    fn describe(&self, seen: &Seen) -> Option<String> {
        let Seen { reset: [first, again], zeros, ones, alone, others, later } = seen;
        let mut values = [again, zeros, ones].into_iter().chain(alone);
        if values.all(|it| it == first) && others.is_empty() && later.is_none() {
            return (*first != 0).then(|| format!("always {first:#x}"));
        }
        let mut text = format!("reset {first:#x}");
        if again != first {
            let _ = write!(text, ", then {again:#x}");
        }
        let _ = write!(text, ", zeros {zeros:#x}, ones {ones:#x}");
        if !alone.is_empty() {
            text += &bits(alone);
        }
        for (at, value) in others.iter().take(MOST_OTHERS) {
            let _ = write!(text, ", {}: {value:#x}", self.sweep.name(at.address));
        }
        if others.len() > MOST_OTHERS {
            let _ = write!(text, " and {} more", others.len() - MOST_OTHERS);
        }
        if let Some(later) = later {
            let _ = write!(text, ", later {later:#x}");
        }
        Some(text)
    }

    fn register(&self, at: Location) -> Option<AnsweringRegister> {
        let (region, offset) = self.sweep.register(at.address)?;
        let bytes = at.width.bytes() as u8;
        Some(AnsweringRegister { region: region.to_owned(), bytes, offset })
    }
}

/// What single bits that are written leave: a mask, where each leaves itself or nothing beside
/// bits that are always set; else all values.
fn bits(alone: &[u64]) -> String {
    let always = alone.iter().fold(u64::MAX, |all, value| all & value);
    let own = |(bit, value): (usize, &u64)| value & !always & (1 << bit);
    let mask = alone.iter().enumerate().map(own).fold(0, |all, bit| all | bit);
    let is_plain =
        alone.iter().enumerate().all(|(bit, value)| *value == always | mask & (1 << bit));
    if is_plain {
        return format!(", bits {:#x}", mask | always);
    }
    let values: Vec<String> = alone.iter().map(|value| format!("{value:x}")).collect();
    format!(", bits alone {}", values.join(" "))
}

/// Tells what all registers of `block` answer, twice to see what varies.
/// `reset` resets the machine and makes the registers accessible; `is_left_out` are those that
/// rightly have another value each time.
///
/// # Errors
/// Returns an error if QEMU does not answer.
pub(in crate::tests) fn answers(
    vm: &Vm,
    block: &Block,
    reset: impl Fn() -> Result<()>,
    is_left_out: impl Fn(Location) -> bool,
) -> Result<Vec<Answers>> {
    reset()?;
    let first = block.look(vm)?;
    reset()?;
    let second = block.look(vm)?;
    let told = block.locations.iter().zip(first.iter().zip(&second)).filter_map(|(at, both)| {
        let text = match both.0 == both.1 {
            _ if is_left_out(*at) => None,
            true => block.describe(both.0),
            false => Some(VARIES.to_owned()),
        };
        Some((block.register(*at)?, text?))
    });
    Ok(Answers::together(told))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a bit that is kept otherwise and told alike, and a mask that is a page long.
    #[test]
    fn bits_are_told_by_a_mask_where_one_says_it() {
        assert_eq!(bits(&[1, 2, 4, 8]), ", bits 0xf");
        assert_eq!(bits(&[1, 0, 4, 0]), ", bits 0x5");
        assert_eq!(bits(&[0x101, 0x100, 0x104, 0x100]), ", bits 0x105");
        assert_eq!(bits(&[0, 1, 2, 4]), ", bits alone 0 1 2 4");
    }
}
