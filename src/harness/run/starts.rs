//! Starts that fail one after the other for the same cause, such as a firmware file that is
//! missing: after a few of them the machine is started by itself, and if that fails for the
//! same cause, its other paths are not tried.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::graph::Path;
use crate::harness::outcome::Verdict;
use crate::harness::plan::Trial;
use crate::harness::run::session::Tried;
use crate::harness::start::NoStart;
use crate::qemu::{Emulator, Limits, Vm};

/// After how many equal failures in a row the machine is started by itself.
const HANDFUL: usize = 5;

/// What is known of the starts of all emulators.
#[derive(Default)]
pub(crate) struct Starts(Mutex<HashMap<PathBuf, Row>>);

/// The last starts of one emulator.
#[derive(Default)]
struct Row {
    /// The failures since the last start that succeeded or failed for another cause.
    failures: usize,
    cause: String,
    /// The path that failed first for it.
    first: String,
    /// The machines that do not start by themselves, each with why.
    machines: HashMap<&'static str, Dead>,
    /// The machines that were started by themselves.
    asked: HashSet<&'static str>,
}

#[derive(Clone)]
struct Dead {
    verdict: fn(String) -> Verdict,
    cause: String,
    first: String,
}

impl Starts {
    fn with<T>(&self, emulator: &Emulator, what: impl FnOnce(&mut Row) -> T) -> T {
        let rows = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        what(rows.entry(emulator.path.clone()).or_default())
    }

    /// QEMU started.
    pub fn note_success(&self, emulator: &Emulator) {
        self.with(emulator, |row| row.failures = 0);
    }

    /// The QEMU of `trial` did not start, as `tried` says. After a few of the same cause the
    /// machine is started by itself, within `limits`.
    pub fn note_failure(&self, trial: &Trial, tried: &Tried, limits: Limits) {
        let Some(cause) = &tried.evidence.no_start else { return };
        let (emulator, path) = (&trial.emulator, &trial.path);
        let is_to_ask = self.with(emulator, |row| row.is_to_ask(cause, path));
        if is_to_ask && let Some(dead) = does_not_start(emulator, path, limits) {
            self.with(emulator, |row| {
                if dead.cause == row.cause {
                    let first = row.first.clone();
                    row.machines.insert(path.machine(), Dead { first, ..dead });
                }
            });
        }
    }

    /// What becomes of `path` without being tried, if its machine is known not to start.
    pub fn known(&self, emulator: &Arc<Emulator>, path: &Path) -> Option<Tried> {
        let machine = path.machine();
        let Dead { verdict, cause, first } =
            self.with(emulator, |row| row.machines.get(machine).cloned())?;
        let why = format!(
            "QEMU did not start, because {cause}; so it was with {first} and others, and with the \
             machine {machine} by itself: this path was not tried"
        );
        let mut tried = Tried::new(path, emulator, verdict(why));
        tried.evidence.no_start = Some(cause);
        tried.is_untried = true;
        Some(tried)
    }
}

impl Row {
    /// Counts a failure; whether the machine is to be started by itself.
    fn is_to_ask(&mut self, cause: &str, path: &Path) -> bool {
        if self.failures == 0 || self.cause != cause {
            let (first, asked) = (path.name(), HashSet::new());
            (self.failures, self.cause, self.first, self.asked) =
                (0, cause.to_owned(), first, asked);
        }
        self.failures += 1;
        self.failures >= HANDFUL && self.asked.insert(path.machine())
    }
}

/// Why the machine of `path` does not start by itself; `None` if it does.
fn does_not_start(emulator: &Arc<Emulator>, path: &Path, limits: Limits) -> Option<Dead> {
    let config = path.machine_config(&emulator.path, emulator.capabilities.version);
    let NoStart { verdict, cause, .. } = Vm::launch(emulator, config, limits).err()?.into();
    let verdict = match verdict {
        Verdict::Crashed(_) => Verdict::Crashed,
        Verdict::Hung(_) => Verdict::Hung,
        _ => Verdict::Failed,
    };
    Some(Dead { verdict, cause, first: String::new() })
}
