//! What came of one path, and what led to it.

use std::path::PathBuf;
use std::time::Duration;

/// How a path went.
#[derive(Debug, Clone, PartialEq, Eq)]
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
            Self::Stopped => "stopped",
        }
    }

    /// What there is to say of it.
    pub fn message(&self) -> &str {
        match self {
            Self::Passed | Self::Stopped => "",
            Self::Failed(why) | Self::Crashed(why) | Self::Hung(why) | Self::Skipped(why) => why,
        }
    }

    /// Whether something is wrong with the device, QEMU or the test.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Crashed(_) | Self::Hung(_))
    }
}

/// What led to an outcome that is not a pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// A line for a shell that starts the same QEMU.
    pub command_line: String,
    /// The last requests and answers.
    pub transcript: String,
    /// What QEMU wrote to standard error and output.
    pub output: String,
    /// The source file of the test.
    pub file: Option<&'static str>,
}

/// One path's outcome on one emulator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The path.
    pub name: String,
    /// The emulator.
    pub emulator: PathBuf,
    /// How it went.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
    /// What led to it; none for a pass.
    pub evidence: Option<Evidence>,
}

/// How many lines of one kind are shown; more than there are of requests and answers.
const MOST_LINES: usize = 100;

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        writeln!(f, "QEMU: {}", self.command_line)?;
        if let Some(file) = self.file {
            writeln!(f, "test: {}", here(file))?;
        }
        for (title, text) in
            [("the last requests and answers", &self.transcript), ("QEMU wrote", &self.output)]
        {
            if !text.trim().is_empty() {
                writeln!(f, "{title}:")?;
                let lines: Vec<&str> = text.trim_end().lines().collect();
                let left_out = lines.len().saturating_sub(MOST_LINES);
                let (first, rest) = lines.split_at(lines.len().min(MOST_LINES / 2));
                for line in first {
                    writeln!(f, "    {}", shown(line))?;
                }
                if left_out > 0 {
                    writeln!(f, "    [{left_out} lines left out]")?;
                }
                for line in &rest[left_out..] {
                    writeln!(f, "    {}", shown(line))?;
                }
            }
        }
        Ok(())
    }
}

/// A source file, without the folder in which this library was built.
pub(super) fn here(file: &str) -> &str {
    file.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/")).unwrap_or(file)
}

/// A line that somebody else wrote, fit for a terminal.
fn shown(line: &str) -> String {
    line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}
