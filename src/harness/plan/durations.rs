//! How long paths took the last time, as a journal tells.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use crate::files::path_text;
use crate::harness::outcome::{Outcome, Verdict};

/// More than any path takes; the times of a plan can be added up in 64 bits.
const LONGEST: Duration = Duration::from_secs(10 * 24 * 3600);

/// The times of paths, in microseconds.
#[derive(Debug)]
pub struct Durations {
    /// By path and emulator, and by path alone for emulators that are not known.
    by_emulator: HashMap<(String, String), u64>,
    by_name: HashMap<String, u64>,
    /// The average of those.
    typical: u64,
}

impl Durations {
    /// The times in `outcomes`. The last of several counts; what was stopped on its way does
    /// not.
    pub fn new(outcomes: impl Iterator<Item = Outcome>) -> Self {
        let (mut by_emulator, mut by_name) = (HashMap::new(), HashMap::new());
        for outcome in outcomes.filter(|outcome| outcome.verdict != Verdict::Stopped) {
            let micros = u64::try_from(outcome.took.min(LONGEST).as_micros()).unwrap_or(u64::MAX);
            by_name.insert(outcome.name.clone(), micros);
            by_emulator.insert((outcome.name, outcome.emulator), micros);
        }
        let sum: u64 = by_name.values().sum();
        let typical = sum.checked_div(by_name.len() as u64).unwrap_or(1);
        Self { by_emulator, by_name, typical }
    }

    /// Whether it is known how long a path of this name takes.
    pub fn knows(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// How long the path is likely to take on the emulator: as the last time, else as on
    /// another emulator, else as paths take on average.
    pub(crate) fn micros(&self, name: &str, emulator: &Path) -> u64 {
        let key = (name.to_owned(), path_text::text(emulator));
        let known = self.by_emulator.get(&key).or_else(|| self.by_name.get(name));
        known.copied().unwrap_or(self.typical)
    }
}
