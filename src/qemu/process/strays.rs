//! Processes that a child has started and that it does not answer for: they lead a process
//! group of their own, and perhaps who started them has ended. All that comes from one child
//! is known by a variable in its environment.

use std::ffi::OsString;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::unistd::{Pid, getpgid, getpgrp};

/// The variable.
const VARIABLE: &str = "QGRAPH_CHILD";

/// What marks a child and all that comes from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark(String);

impl Mark {
    /// One that no other child has.
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(format!("{}-{count}", std::process::id()))
    }

    /// What is put into the environment.
    pub fn variable(&self) -> (&'static str, OsString) {
        (VARIABLE, (&self.0).into())
    }

    /// All processes with this mark that are there. Those of other users cannot be seen.
    pub fn processes(&self) -> Vec<Pid> {
        let variable = format!("{VARIABLE}={}", self.0);
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let processes = entries.filter_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            let environment = fs::read(entry.path().join("environ")).ok()?;
            let mut variables = environment.split(|byte| *byte == 0);
            variables.any(|it| it == variable.as_bytes()).then(|| Pid::from_raw(id))
        });
        processes.collect()
    }

    /// The process groups, beside that of `child`, in which there are such processes.
    pub fn other_groups(&self, child: Pid) -> Vec<Pid> {
        let groups = self.processes().into_iter().filter_map(|it| getpgid(Some(it)).ok());
        let mut groups: Vec<Pid> =
            groups.filter(|&group| group != child && group != getpgrp()).collect();
        groups.sort();
        groups.dedup();
        groups
    }
}
