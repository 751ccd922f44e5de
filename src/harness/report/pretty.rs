//! Lines for people.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};

use super::Format;
use crate::harness::outcome::{Outcome, Verdict};

/// Writes to standard output; the progress bar, on a terminal only, to standard error.
pub(super) struct Pretty {
    bar: ProgressBar,
    failures: Vec<String>,
}

impl Pretty {
    pub fn new(total: usize) -> Self {
        // It hides itself where there is no terminal.
        let bar = ProgressBar::new(total as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} eta {eta}") {
            bar.set_style(style);
        }
        Self { bar, failures: Vec::new() }
    }

    fn write(&self, text: &str) -> io::Result<()> {
        self.bar.suspend(|| {
            let mut out = anstream::stdout().lock();
            out.write_all(text.as_bytes())?;
            out.flush()
        })
    }
}

fn style(verdict: &Verdict) -> Style {
    match verdict {
        Verdict::Passed => AnsiColor::Green.on_default(),
        Verdict::Skipped(_)
        | Verdict::Stopped
        | Verdict::Dependent(_)
        | Verdict::Flaky(_)
        | Verdict::ExpectedFailure(_)
        | Verdict::UnexpectedPass(_) => AnsiColor::Yellow.on_default(),
        Verdict::Failed(_) | Verdict::Crashed(_) | Verdict::Hung(_) => {
            AnsiColor::Red.on_default().bold()
        }
    }
}

impl Format for Pretty {
    fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        let (verdict, style) = (&outcome.verdict, style(&outcome.verdict));
        let (word, millis) = (verdict.word(), outcome.took.as_millis());
        let line = format!("{style}{word:8}{style:#}{millis:6} ms  {}", outcome.name);
        let mut text = format!("{line}\n");
        for line in verdict.message().lines() {
            text.push_str(&format!("    {line}\n"));
        }
        if let Some(evidence) = &outcome.evidence {
            for line in evidence.to_string().lines() {
                text.push_str(&format!("    {line}\n"));
            }
        }
        self.write(&text)?;
        if verdict.is_failure() {
            let said = verdict.message().lines().next().unwrap_or_default();
            self.failures.push(format!("{line}\n    {said}\n"));
            self.bar.set_message(format!("{} not passed", self.failures.len()));
        }
        self.bar.inc(1);
        Ok(())
    }

    fn end(&mut self, counts: &BTreeMap<&'static str, usize>, left: usize) -> io::Result<()> {
        self.bar.finish_and_clear();
        let mut text = String::new();
        if !self.failures.is_empty() {
            text.push_str("\nNot passed:\n");
            text.extend(self.failures.drain(..));
        }
        let counted = |(&word, &count): (&&str, &usize)| format!("{count} {word}");
        let mut parts: Vec<String> =
            counts.iter().filter(|(word, _)| **word != "stopped").map(counted).collect();
        if left > 0 {
            parts.push(format!("{left} not run, the run was stopped"));
        }
        text.push_str(&format!("\n{}\n", parts.join(", ")));
        self.write(&text)
    }
}
