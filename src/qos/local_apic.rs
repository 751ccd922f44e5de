//! The local APICs of x86's CPUs, as far as they can be seen from outside: by their CPUs alone they
//! are read and written.

use std::collections::BTreeMap;

use serde_json::json;

use crate::qemu::Vm;
use crate::{Error, Result};

/// The vectors that the local APIC of the first CPU has got, and whether each is a level. They stay
/// until the machine is reset, for the CPU takes none.
///
/// # Errors
/// Returns an error if QEMU does not answer, or a skip if it tells nothing of a local APIC.
pub fn received(vm: &Vm) -> Result<BTreeMap<u8, bool>> {
    let command = json!({ "command-line": "info lapic 0" });
    let told = vm.qmp().execute("human-monitor-command", command)?;
    let told = told.as_str().unwrap_or_default();
    let line = told.lines().find_map(|line| line.strip_prefix("IRR"));
    let Some(line) = line else {
        return Err(Error::skipped(format!("QEMU shows no local APIC: {}", told.trim())));
    };
    let words = line.split_whitespace().filter(|word| *word != "(none)");
    words
        .map(|word| {
            let level = word.strip_suffix("(level)");
            let vector = level.unwrap_or(word).parse();
            let vector =
                vector.map_err(|_| Error::failed(format!("QEMU tells the vector {word:?}")));
            Ok((vector?, level.is_some()))
        })
        .collect()
}
