//! Two runs beside each other: which paths are new or gone, and which of them turned out
//! otherwise. It only compares; where outcomes come from, and how a difference is shown, is for
//! others.

mod losses;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::harness::outcome::{Outcome, Verdict};
use crate::qemu::{AnsweringRegister, Answers};

pub use losses::{Part, parts};

/// In what way a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It failed in the new run, and did not in the old one.
    NowFailing,
    /// It is only in the old run.
    Gone,
    /// It is only in the new run, and failed there.
    NewFailing,
    /// It failed in both, with other words.
    FailsOtherwise,
    /// It passed in both, and registers answer otherwise.
    AnswersOtherwise,
    /// It is skipped, and was not.
    NowSkipped,
    /// It was skipped, and is not.
    NoLongerSkipped,
    /// It failed in the old run, and does not in the new one.
    NowPassing,
    /// It is only in the new run, and did not fail there.
    New,
    /// It takes longer than the other paths' times explain.
    Slower,
}

impl Change {
    /// All there are, the gravest first.
    pub const ALL: [Self; 10] = [
        Self::NowFailing,
        Self::Gone,
        Self::NewFailing,
        Self::FailsOtherwise,
        Self::AnswersOtherwise,
        Self::NowSkipped,
        Self::NoLongerSkipped,
        Self::NowPassing,
        Self::New,
        Self::Slower,
    ];

    /// One word for it, as options and JSON have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::NowFailing => "now-failing",
            Self::Gone => "gone",
            Self::NewFailing => "new-failing",
            Self::FailsOtherwise => "fails-otherwise",
            Self::AnswersOtherwise => "answers-otherwise",
            Self::NowSkipped => "now-skipped",
            Self::NoLongerSkipped => "no-longer-skipped",
            Self::NowPassing => "now-passing",
            Self::New => "new",
            Self::Slower => "slower",
        }
    }
}

/// One path in one of the runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Side {
    /// How it went, in one word.
    pub outcome: &'static str,
    /// What there is to say of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl Side {
    fn of(outcome: &Outcome) -> Self {
        Self {
            outcome: outcome.verdict.word(),
            message: outcome.verdict.message().to_owned(),
            seconds: outcome.took.as_secs_f64(),
        }
    }
}

/// What registers answered and answer; `None` if they read as zero whatever was done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Otherwise {
    /// In the old run.
    pub old: Option<String>,
    /// In the new one.
    pub new: Option<String>,
}

/// A path that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The path.
    pub name: String,
    /// The file name of the emulator.
    pub emulator: String,
    /// In what way.
    pub change: Change,
    /// How it was.
    pub old: Option<Side>,
    /// How it is.
    pub new: Option<Side>,
    /// The registers that answer otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answers<Otherwise>>,
}

/// What two runs have, and how they differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// How many paths are in both.
    pub common: usize,
    /// How many of them differ in nothing.
    pub same: usize,
    /// The others, those of one change together, the gravest first, then by name.
    pub differences: Vec<Difference>,
}

/// What counts as slower.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slowness {
    /// How many times as long a path has to take as it did, once what all paths have in common
    /// is taken out: a slower machine makes no path slower.
    pub factor: f64,
    /// And by how much longer at least.
    pub least: Duration,
}

impl Default for Slowness {
    fn default() -> Self {
        Self { factor: 5.0, least: Duration::from_secs(1) }
    }
}

/// A path on an emulator of this file name: two builds are in two folders.
type Key = (String, String, usize);

/// The outcomes by key. Those that were stopped say nothing.
fn by_key(outcomes: Vec<Outcome>) -> BTreeMap<Key, Outcome> {
    let mut times = HashMap::<(String, String), usize>::new();
    let said = outcomes.into_iter().filter(|outcome| outcome.verdict != Verdict::Stopped);
    said.map(|outcome| {
        let file = Path::new(&outcome.emulator).file_name();
        let emulator = file.map_or_else(String::new, |file| file.to_string_lossy().into_owned());
        let time = times.entry((outcome.name.clone(), emulator.clone())).or_default();
        let key = (outcome.name.clone(), emulator, *time);
        *time += 1;
        (key, outcome)
    })
    .collect()
}

impl Comparison {
    /// Compares the outcomes of an old and a new run, each path on each emulator once.
    pub fn of(old: Vec<Outcome>, new: Vec<Outcome>, slowness: Slowness) -> Self {
        let (old, mut new) = (by_key(old), by_key(new));
        let pace = pace(&old, &new);
        let (mut common, mut differences) = (0, Vec::new());
        let mut add =
            |(name, emulator, _): Key, change, old: Option<&Outcome>, new: Option<&Outcome>| {
                let answers = match (old, new) {
                    (Some(old), Some(new)) => answers(old, new),
                    _ => Vec::new(),
                };
                let (old, new) = (old.map(Side::of), new.map(Side::of));
                differences.push(Difference { name, emulator, change, old, new, answers });
            };
        for (key, old) in old {
            let Some(new) = new.remove(&key) else {
                add(key, Change::Gone, Some(&old), None);
                continue;
            };
            common += 1;
            let is_slower = slowness.holds(old.took, new.took, pace);
            let change = change(&old.verdict, &new.verdict);
            let otherwise = !answers(&old, &new).is_empty();
            let change = change.or(otherwise.then_some(Change::AnswersOtherwise));
            if let Some(change) = change.or(is_slower.then_some(Change::Slower)) {
                add(key, change, Some(&old), Some(&new));
            }
        }
        for (key, new) in new {
            let failed = new.verdict.is_failure();
            add(key, if failed { Change::NewFailing } else { Change::New }, None, Some(&new));
        }
        differences.sort_by(|a, b| (a.change, &a.name).cmp(&(b.change, &b.name)));
        let only = differences.iter().filter(|it| it.old.is_none() || it.new.is_none()).count();
        let same = common - (differences.len() - only);
        Self { common, same, differences }
    }

    /// How many paths differ in this way.
    pub fn count(&self, change: Change) -> usize {
        self.differences.iter().filter(|it| it.change == change).count()
    }
}

/// The registers that answer otherwise, where both paths looked at that. Parts of a register that
/// does are left out.
fn answers(old: &Outcome, new: &Outcome) -> Vec<Answers<Otherwise>> {
    let (Some(old), Some(new)) = (&old.answers, &new.answers) else { return Vec::new() };
    let of = |answers: &[Answers]| -> BTreeMap<AnsweringRegister, String> {
        let registers = answers.iter().flat_map(Answers::registers);
        registers.map(|(register, text)| (register, text.clone())).collect()
    };
    let (old, new) = (of(old), of(new));
    let both: BTreeSet<&AnsweringRegister> = old.keys().chain(new.keys()).collect();
    let differs: BTreeSet<_> = both.into_iter().filter(|at| old.get(at) != new.get(at)).collect();
    let is_part = |at: &&&AnsweringRegister| {
        let wider = [2u8, 4].into_iter().filter(|bytes| *bytes > at.bytes);
        wider.into_iter().any(|bytes| {
            let offset = at.offset - at.offset % u64::from(bytes);
            differs.contains(&AnsweringRegister { bytes, offset, ..(**at).clone() })
        })
    };
    let told = differs.iter().filter(|at| !is_part(at)).map(|at| {
        let (old, new) = (old.get(at).cloned(), new.get(at).cloned());
        ((*at).clone(), Otherwise { old, new })
    });
    Answers::together(told)
}

/// In what way an outcome differs from an earlier one.
fn change(old: &Verdict, new: &Verdict) -> Option<Change> {
    let is_skipped = |verdict: &Verdict| matches!(verdict, Verdict::Skipped(_));
    // A path that did not run did not pass.
    match (old.is_failure(), new.is_failure()) {
        (false, true) => Some(Change::NowFailing),
        (true, true) if old != new => Some(Change::FailsOtherwise),
        (true, true) => None,
        _ if is_skipped(new) && !is_skipped(old) => Some(Change::NowSkipped),
        (true, false) => Some(Change::NowPassing),
        _ if is_skipped(old) && !is_skipped(new) => Some(Change::NoLongerSkipped),
        (false, false) => None,
    }
}

/// How much longer the paths of both runs took in the new one: the median of all ratios.
fn pace(old: &BTreeMap<Key, Outcome>, new: &BTreeMap<Key, Outcome>) -> f64 {
    let ratio = |(key, old): (&Key, &Outcome)| {
        let (old, new) = (old.took.as_secs_f64(), new.get(key)?.took.as_secs_f64());
        (old > 0.0 && new > 0.0).then_some(new / old)
    };
    let mut ratios: Vec<f64> = old.iter().filter_map(ratio).collect();
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len().saturating_sub(1) / 2).copied().unwrap_or(1.0)
}

impl Slowness {
    fn holds(&self, old: Duration, new: Duration, pace: f64) -> bool {
        let expected = old.as_secs_f64() * pace.max(1.0);
        let new = new.as_secs_f64();
        new > expected * self.factor && new - expected > self.least.as_secs_f64()
    }
}

#[cfg(test)]
mod tests;
