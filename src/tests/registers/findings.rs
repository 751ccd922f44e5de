//! What was found wrong: all of it is told at once, with register, bits and section; what
//! QEMU is known to do wrong is told apart.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos::registers::{Declaration, RegisterBlock, Rule};
use crate::{Error, Result};

/// How many findings an error tells of one by one.
const MAX_TOLD: usize = 20;

/// What one check found wrong.
pub(super) struct Findings<'a> {
    block: &'a RegisterBlock,
    vm: &'a Rc<Vm>,
    /// What is wrong and not known.
    wrong: Vec<String>,
    /// Names of registers, and rules, of which something was told: one value of one of an array
    /// says enough.
    told: BTreeSet<(&'static str, &'static str)>,
    /// Known faults of QEMU that were seen.
    known: BTreeSet<&'static str>,
    /// One of them, of which all registers suffer.
    general: Option<&'static str>,
}

impl<'a> Findings<'a> {
    /// Nothing is wrong yet.
    pub fn new(block: &'a RegisterBlock, vm: &'a Rc<Vm>) -> Self {
        let (wrong, told, known) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        Self { block, vm, wrong, told, known, general: None }
    }

    /// Notes that `bits` of `register` break `rule`, if there are any; `how` says in what way.
    pub fn add(
        &mut self,
        register: &Declaration,
        rule: Rule,
        bits: u64,
        how: impl FnOnce() -> String,
    ) {
        if bits == 0 {
            return;
        }
        let (known, left) = self.block.known(self.vm, register, rule, bits);
        for fault in known {
            self.known.insert(fault.what());
            if fault.is_general() {
                self.general = Some(fault.what());
            }
        }
        if left != 0 && self.told.insert((register.name, words(rule))) {
            self.wrong.push(format!("{register}: bits {left:#x} {}: {}", words(rule), how()));
        }
    }

    /// Compares what was read with the reset value, if that is known.
    pub fn compare_with_reset(&mut self, register: &Declaration, read: u64, rule: Rule) {
        if let Some(reset) = register.reset {
            let bits = (reset ^ read) & register.ones() & !register.reserved & !register.undefined;
            self.add(register, rule, bits, || format!("should be {reset:#x}, but is {read:#x}"));
        }
    }

    /// Compares what was read with what was written before a reset, by offset.
    pub fn compare_with_changed(
        &mut self,
        register: &Declaration,
        changed: &[(u64, u64)],
        read: u64,
        rule: Rule,
    ) {
        if let Some((_, wrote)) = changed.iter().find(|(offset, _)| *offset == register.offset) {
            self.add(register, rule, (wrote ^ read) & register.kept, || {
                format!("should stay {wrote:#x}, but is {read:#x}")
            });
        }
    }

    /// Known faults of QEMU that were seen.
    pub fn known(&self) -> &BTreeSet<&'static str> {
        &self.known
    }

    /// What all this comes to. A known fault is excused here, and told by a test of its own.
    ///
    /// # Errors
    /// Returns [`Error::Failed`] with everything that is wrong, or [`Error::Skipped`] if nothing
    /// could be compared since a known fault is one of all registers.
    pub fn into_result(self) -> Result<()> {
        if self.wrong.is_empty() {
            return self.general.map_or(Ok(()), |fault| Err(Error::skipped(fault)));
        }
        let known = self.known.into_iter().collect::<Vec<_>>().join("; ");
        let mut text = format!("{} registers against {}:", self.wrong.len(), self.block.sheet());
        for wrong in self.wrong.iter().take(MAX_TOLD) {
            // Writing to memory does not fail.
            let _ = write!(text, "\n  {wrong}");
        }
        if self.wrong.len() > MAX_TOLD {
            let _ = write!(text, "\n  and {} more", self.wrong.len() - MAX_TOLD);
        }
        if !known.is_empty() {
            let _ = write!(text, "\n  besides known faults: {known}");
        }
        Err(Error::failed(text))
    }
}

/// What bits do that break a rule.
fn words(rule: Rule) -> &'static str {
    match rule {
        Rule::ResetValue => "do not start with their reset value",
        Rule::Kept => "do not keep what is written",
        Rule::ReadOnly => "are read-only, but a write changed them",
        Rule::WriteOneToClear => "are not cleared by ones, and only by ones",
        Rule::WriteOneToSet => "are not set by ones and cleared where they should be",
        Rule::ClearsOnRead => "are not cleared by reading, and only by reading",
        Rule::Neighbours => "change when another register is written",
        Rule::Widths => "differ when accessed in another width",
        Rule::SoftwareReset => "are not as a reset by software should leave them",
        Rule::MachineReset => "are not as a reset of the machine should leave them",
    }
}
