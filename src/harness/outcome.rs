//! What came of one path, and what led to it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::files::path_text;
use crate::guests::Part;
use crate::qemu::Answers;
use crate::qemu::command_line::quote;
use crate::shown::shown;

/// How a path went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", content = "message", rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything was as it should be.
    Passed,
    /// What was asserted and did not hold.
    Failed(String),
    /// QEMU ended: how, and during what.
    Crashed(String),
    /// Which request got no answer.
    Hung(String),
    /// Why it does not apply.
    Skipped(String),
    /// It failed on a QEMU that had run other paths and was reset, and passes on a fresh
    /// one: what went wrong, and after what.
    Dependent(String),
    /// It failed, and then passed on a QEMU as fresh as the first: what went wrong.
    Flaky(String),
    /// It failed as the list of expectations says: why that is known, and what went wrong.
    ExpectedFailure(String),
    /// It passed although the list of expectations says that it fails: which entry.
    UnexpectedPass(String),
    /// The run was stopped before it was over.
    Stopped,
}

impl Verdict {
    /// One word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "failed",
            Self::Crashed(_) => "crashed",
            Self::Hung(_) => "hung",
            Self::Skipped(_) => "skipped",
            Self::Dependent(_) => "dependent",
            Self::Flaky(_) => "flaky",
            Self::ExpectedFailure(_) => "expected-failure",
            Self::UnexpectedPass(_) => "unexpected-pass",
            Self::Stopped => "stopped",
        }
    }

    /// What there is to say of it.
    pub fn message(&self) -> &str {
        match self {
            Self::Passed | Self::Stopped => "",
            Self::Failed(why)
            | Self::Crashed(why)
            | Self::Hung(why)
            | Self::Skipped(why)
            | Self::Dependent(why)
            | Self::Flaky(why)
            | Self::ExpectedFailure(why)
            | Self::UnexpectedPass(why) => why,
        }
    }

    /// Whether something is wrong with the device, QEMU or the test, and fails the run.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Crashed(_) | Self::Hung(_))
    }

    /// Whether somebody should look at it, although it does not fail the run.
    pub fn is_notable(&self) -> bool {
        matches!(self, Self::Dependent(_) | Self::Flaky(_) | Self::UnexpectedPass(_))
    }
}

/// What led to an outcome that is not a pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// A line for a shell that starts the same QEMU.
    pub command_line: String,
    /// What QEMU said of its own faults: a sanitizer's report, a failed assertion.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub diagnosis: String,
    /// Why QEMU did not start, if it did not: the same text for the same cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_start: Option<String>,
    /// The last requests and answers.
    #[serde(default)]
    pub transcript: String,
    /// What QEMU wrote to standard error and output.
    #[serde(default)]
    pub output: String,
    /// What the guest wrote to its console.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub console: String,
    /// How QEMU is reached, if it stays.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kept: String,
    /// The source file of the test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// Where the time of one attempt went, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Phases {
    /// Waiting for QEMU's start, or for its reset.
    pub launch: f64,
    /// Attaching the objects along the path.
    pub attach: f64,
    /// In the test itself.
    pub test: f64,
    /// Waiting for QEMU's end.
    pub leave: f64,
}

impl Phases {
    /// Adds those of another.
    pub fn add(&mut self, other: &Self) {
        self.launch += other.launch;
        self.attach += other.attach;
        self.test += other.test;
        self.leave += other.leave;
    }
}

/// One of several attempts at a path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// How it went.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// How long it took.
    #[serde(rename = "seconds", with = "seconds")]
    pub took: Duration,
    /// The paths that had run on the same QEMU before, the last one last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// What led to it; none for a pass.
    #[serde(flatten)]
    pub evidence: Option<Evidence>,
}

/// One path's outcome on one emulator. As a line of JSON it has at least `name`, `outcome`,
/// `seconds` and `emulator`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The path.
    pub name: String,
    /// How it went.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// How long it took, all attempts together.
    #[serde(rename = "seconds", with = "seconds")]
    pub took: Duration,
    /// The emulator; what is no UTF-8 in its path is written as `\\x` and two digits.
    pub emulator: String,
    /// Where the time of the last attempt went.
    #[serde(default)]
    pub phases: Phases,
    /// The attempts before the last one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// The checks of a guest, each with its result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// What registers answer, but for those that are always zero, of a path that looks at that:
    /// two runs are compared by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<Vec<Answers>>,
    /// A file that replays what led to the failure.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "path_text::option")]
    pub reproducer: Option<PathBuf>,
    /// What led to it; none for a pass.
    #[serde(flatten)]
    pub evidence: Option<Evidence>,
}

impl Outcome {
    /// What led to it, and to each attempt before.
    pub fn all_evidence(&self) -> impl Iterator<Item = &Evidence> {
        let attempts = self.attempts.iter().filter_map(|attempt| attempt.evidence.as_ref());
        attempts.chain(&self.evidence)
    }
}

/// A duration as a number of seconds, of [`LONGEST`] at most: those of a run can be added up.
mod seconds {
    use std::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(time.as_secs_f64())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(from)?;
        let time = Duration::try_from_secs_f64(seconds).map_err(Error::custom)?;
        match time <= super::LONGEST {
            true => Ok(time),
            false => Err(Error::custom(format!("nothing takes {seconds} seconds"))),
        }
    }
}

/// The longest that a path is said to have taken, of which a million can be added up.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How many lines of one kind are shown; more than there are of requests and answers.
const MOST_LINES: usize = 100;
/// How many characters of one of these lines are shown.
const MOST_CHARACTERS: usize = 4000;

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        show(f, "QEMU is kept", &self.kept)?;
        show(f, "QEMU says of itself", &self.diagnosis)?;
        writeln!(f, "QEMU: {}", shown(&self.command_line))?;
        if let Some(file) = &self.file {
            writeln!(f, "test: {}", shown(here(file)))?;
        }
        show(f, "the guest wrote", &self.console)?;
        show(f, "the last requests and answers", &self.transcript)?;
        show(f, "QEMU wrote", &self.output)
    }
}

/// Writes `text` below its title, if there is any.
fn show(f: &mut std::fmt::Formatter, title: &str, text: &str) -> std::fmt::Result {
    let lines = abridged(text);
    if !lines.is_empty() {
        writeln!(f, "{title}:")?;
    }
    lines.iter().try_for_each(|line| writeln!(f, "    {line}"))
}

/// The lines that are shown of a text that somebody else wrote: where there are too many,
/// the first and the last ones. They are fit for a terminal.
pub(super) fn abridged(text: &str) -> Vec<String> {
    if text.trim().is_empty() {
        return Vec::new();
    }
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let left_out = lines.len().saturating_sub(MOST_LINES);
    let (first, rest) = lines.split_at(lines.len().min(MOST_LINES / 2));
    let left_out_line = (left_out > 0).then(|| format!("[{left_out} lines left out]"));
    let first = first.iter().map(|line| cut(line));
    first.chain(left_out_line).chain(rest[left_out..].iter().map(|line| cut(line))).collect()
}

/// The beginning of a line, fit for a terminal.
fn cut(line: &str) -> String {
    match line.char_indices().nth(MOST_CHARACTERS) {
        Some((end, _)) => format!("{}…", shown(&line[..end])),
        None => shown(line),
    }
}

/// A line that says how a failure can be seen again.
pub(super) fn reproduce(file: &Path) -> String {
    format!("reproduce with: sh {}", quote(&file.to_string_lossy()))
}

/// A source file, without the folder in which this library was built.
pub(super) fn here(file: &str) -> &str {
    file.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/")).unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::AnsweringRegister;

    fn outcome() -> Outcome {
        let first = AnsweringRegister { region: "gpio".to_owned(), bytes: 4, offset: 8 };
        let answers = Answers { first, count: 2, text: "always 0x1".to_owned() };
        Outcome {
            name: "/arm/virt/x/t".to_owned(),
            verdict: Verdict::Passed,
            took: Duration::from_millis(1500),
            emulator: "/usr/bin/qemu-system-arm".into(),
            phases: Phases::default(),
            attempts: Vec::new(),
            parts: Vec::new(),
            answers: Some(vec![answers]),
            reproducer: None,
            evidence: None,
        }
    }

    /// Would catch a failure whose text fills a screen a thousand times, and a line that is
    /// cut although somebody is to paste it.
    #[test]
    fn only_long_texts_are_cut() {
        let long = "é\u{7}".repeat(MOST_CHARACTERS);
        let lines = abridged(&format!("{}{long}\nlast\n\n", "line\n".repeat(200)));
        assert_eq!(lines.len(), MOST_LINES + 1);
        assert_eq!((&*lines[49], &*lines[50]), ("line", "[102 lines left out]"));
        assert_eq!(lines[99].chars().count(), MOST_CHARACTERS + 1);
        assert!(lines[99].starts_with("é\u{fffd}é") && lines[99].ends_with("\u{fffd}…"));
        assert_eq!(lines[100], "last");
        assert_eq!(abridged(" \n\n"), [""; 0]);
        assert_eq!(shown(&long).chars().count(), 2 * MOST_CHARACTERS);
    }

    /// Would catch a line of the journal that another program, or we ourselves, cannot read
    /// back.
    #[test]
    fn an_outcome_survives_a_line_of_json() {
        let line = serde_json::to_string(&outcome()).unwrap();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["outcome"], "passed");
        assert_eq!(value["seconds"], 1.5);
        assert_eq!(value["emulator"], "/usr/bin/qemu-system-arm");
        assert_eq!(serde_json::from_str::<Outcome>(&line).unwrap(), outcome());

        let evidence = Evidence { output: "boom".to_owned(), ..Evidence::default() };
        let attempt = Attempt {
            verdict: Verdict::Hung("why".to_owned()),
            took: Duration::from_secs(1),
            after: vec!["/a".to_owned()],
            evidence: Some(evidence.clone()),
        };
        let failed = Outcome {
            verdict: Verdict::ExpectedFailure("known".to_owned()),
            attempts: vec![attempt],
            reproducer: Some("x.sh".into()),
            evidence: Some(evidence),
            ..outcome()
        };
        let line = serde_json::to_string(&failed).unwrap();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["outcome"], "expected-failure");
        assert_eq!(value["attempts"][0]["outcome"], "hung");
        assert_eq!(serde_json::from_str::<Outcome>(&line).unwrap(), failed);
    }
}
