//! What came of changing answers: for each path, and summed up for each suite.

use serde::{Deserialize, Serialize};

/// How many changes had which fate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Answers that a test got.
    pub answers: usize,
    /// Changes of them that are worth a try.
    pub changes: usize,
    /// Changes that were tried.
    pub tried: usize,
    /// Changes that made the test end in anything but a pass.
    pub noticed: usize,
    /// Changes that it passed with.
    pub ignored: usize,
    /// It passed, and wrote back what it read: a read-modify-write.
    pub rewritten: usize,
    /// It passed, but asked again until it got another answer.
    pub asked_again: usize,
    /// The answer did not come a second time, so that nothing was changed.
    pub diverged: usize,
}

impl Counts {
    /// How many per cent of the changes were noticed that could have been.
    pub fn percent(&self) -> Option<f64> {
        let all = self.noticed + self.ignored;
        let per_mille = (1000 * self.noticed).checked_div(all)?;
        Some(per_mille as f64 / 10.0)
    }

    /// Adds those of another path.
    pub fn add(&mut self, other: &Self) {
        self.answers += other.answers;
        self.changes += other.changes;
        self.tried += other.tried;
        self.noticed += other.noticed;
        self.ignored += other.ignored;
        self.rewritten += other.rewritten;
        self.asked_again += other.asked_again;
        self.diverged += other.diverged;
    }
}

/// An answer that may say something else without the test noticing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ignored {
    /// Lines of the test's file that led to the request, `FILE:LINE`, the innermost first.
    pub at: Vec<String>,
    /// The innermost line of a driver, or of what drivers share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// What was asked.
    pub request: String,
    /// What was answered.
    pub answer: String,
    /// Which changes of that were ignored.
    pub changes: Vec<String>,
}

/// How strong the test of one path is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathStrength {
    /// The path.
    pub name: String,
    /// Its suite.
    pub suite: String,
    /// The emulator; what is no UTF-8 in its path is written as `\\x` and two digits.
    pub emulator: String,
    /// Why it was not measured: it does not pass, or not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmeasured: Option<Unmeasured>,
    /// How many changes had which fate.
    #[serde(flatten)]
    pub counts: Counts,
    /// How many per cent of the changes were noticed that could have been; none if there were
    /// no such changes.
    pub percent: Option<f64>,
    /// What was ignored, in the order of the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored_answers: Vec<Ignored>,
}

/// Why the test of a path was not measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmeasured {
    /// How it ended with nothing changed.
    pub outcome: String,
    /// What it said.
    pub why: String,
}

impl Unmeasured {
    /// Whether that is a failure: all but not to apply and to be stopped.
    pub fn is_failure(&self) -> bool {
        !matches!(&*self.outcome, "skipped" | "stopped")
    }
}

/// How strong a suite is: all its paths together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SuiteStrength {
    /// The suite.
    pub suite: String,
    /// How many of its paths were measured.
    pub paths: usize,
    /// Its paths' counts, summed up.
    #[serde(flatten)]
    pub counts: Counts,
    /// As for a path.
    pub percent: Option<f64>,
}

/// A line of JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Line {
    /// A path.
    Path(PathStrength),
    /// A suite.
    Suite(SuiteStrength),
}

/// Sums up `paths` by suite, in the order of the suites' names.
pub fn suites(paths: &[PathStrength]) -> Vec<SuiteStrength> {
    let mut suites = std::collections::BTreeMap::<&str, SuiteStrength>::new();
    for path in paths.iter().filter(|path| path.unmeasured.is_none()) {
        let empty = || SuiteStrength {
            suite: path.suite.clone(),
            paths: 0,
            counts: Counts::default(),
            percent: None,
        };
        let suite = suites.entry(&path.suite).or_insert_with(empty);
        suite.paths += 1;
        suite.counts.add(&path.counts);
        suite.percent = suite.counts.percent();
    }
    suites.into_values().collect()
}
