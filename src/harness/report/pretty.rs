//! Lines for people.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};

use super::causes::Causes;
use super::text::told;
use super::{Output, Summary};
use crate::harness::outcome::{Outcome, Verdict};
use crate::shown::shown;

/// Writes to standard output; the progress bar, on a terminal only, to standard error.
pub struct Pretty {
    bar: ProgressBar,
    failures: Causes,
    notable: Causes,
}

impl Pretty {
    /// Nothing is written yet.
    pub fn new() -> Self {
        let (failures, notable) = Default::default();
        Self { bar: ProgressBar::hidden(), failures, notable }
    }

    fn write(&self, text: &str) -> io::Result<()> {
        self.bar.suspend(|| {
            let mut out = anstream::stdout().lock();
            out.write_all(text.as_bytes())?;
            out.flush()
        })
    }
}

impl Default for Pretty {
    fn default() -> Self {
        Self::new()
    }
}

fn style(verdict: &Verdict) -> Style {
    match verdict {
        Verdict::Passed => AnsiColor::Green.on_default(),
        verdict if verdict.is_failure() => AnsiColor::Red.on_default().bold(),
        _ => AnsiColor::Yellow.on_default(),
    }
}

/// The line of one outcome. The longest word and the longest usual duration fill the first
/// two columns.
fn line(outcome: &Outcome, label: &str) -> String {
    let (word, style) = (outcome.verdict.word(), style(&outcome.verdict));
    let (millis, label) = (outcome.took.as_millis(), shown(label));
    format!("{style}{word:16}{style:#}{millis:6} ms  {label}\n")
}

impl Output for Pretty {
    fn is_whole(&self) -> bool {
        false
    }

    fn begin(&mut self, total: Option<usize>) -> io::Result<()> {
        // It hides itself where there is no terminal.
        self.bar =
            total.map_or_else(ProgressBar::no_length, |total| ProgressBar::new(total as u64));
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} eta {eta}") {
            self.bar.set_style(style);
        }
        Ok(())
    }

    fn outcome(&mut self, outcome: &Outcome, label: &str) -> io::Result<()> {
        let line = line(outcome, label);
        let told = if self.failures.is_told(outcome) { Vec::new() } else { told(outcome) };
        let told = told.into_iter().map(|line| format!("    {line}\n"));
        self.write(&(line.clone() + &told.collect::<String>()))?;
        let verdict = &outcome.verdict;
        if verdict.is_failure() {
            self.failures.add(outcome, &line);
            self.bar.set_message(format!("{} not passed", self.failures.count()));
        } else if verdict.is_notable() {
            self.notable.add(outcome, &line);
        }
        self.bar.inc(1);
        Ok(())
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        self.bar.finish_and_clear();
        let mut text = String::new();
        for (title, list) in
            [("Worth a look, although passed", &self.notable), ("Not passed", &self.failures)]
        {
            if list.count() > 0 {
                text.push_str(&format!("\n{title}:\n{list}"));
            }
        }
        text.push_str(&format!("\n{summary}\n"));
        self.write(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    /// Would catch columns that are not aligned, and text of a test or of QEMU that drives
    /// the terminal.
    #[test]
    fn lines_are_aligned_and_tame() {
        for outcome in samples::all() {
            let line = anstream::adapter::strip_str(&line(&outcome, &outcome.name)).to_string();
            assert_eq!(line.find(" ms  /arm/"), Some(22), "{line}");
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            for line in told(&outcome) {
                assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
            }
        }
    }

    /// Would catch an attempt or a file to replay that nobody hears of, and evidence that is
    /// told where there is nothing to look at.
    #[test]
    fn what_is_told() {
        let all = samples::all();
        let of = |word: &str| {
            let outcome = all.iter().find(|outcome| outcome.verdict.word() == word).unwrap();
            told(outcome).join("\n")
        };
        let hung = of("hung");
        let first = "attempt 1: failed in 500 ms after /arm/virt/bus/dev/dev-tests/one, /arm/";
        assert!(hung.contains(first), "{hung}");
        assert!(hung.contains("\n    the first time\n    QEMU says of itself:\n"), "{hung}");
        assert!(hung.contains("\n    QEMU: qemu-system-arm"), "{hung}");
        assert!(hung.contains("\nQEMU: qemu-system-arm"), "{hung}");
        assert!(of("crashed").contains("\nreproduce with: sh '/tmp/replay it.sh'\n"));
        assert!(!of("expected-failure").contains("QEMU: "));
        assert_eq!(of("passed"), "");
    }
}
