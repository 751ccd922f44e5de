//! The Test Anything Protocol, version 13 (<https://testanything.org>), as Meson, prove and
//! others read it: the plan first, a line for each path, and below it, as YAML, what led to
//! an outcome that somebody should look at.
//!
//! A failure that was expected is a `TODO`. One that was expected and did not come is a plain
//! pass, because it fails no run of ours, and Meson would let it.

use std::io::{self, Write};

use serde_json::Value;

use super::text::attempts;
use super::{Output, Summary};
use crate::harness::outcome::{Outcome, Verdict, abridged, here};
use crate::shown::shown;

/// Writes the protocol.
pub struct Tap<W> {
    out: W,
    /// The number of the last test.
    number: usize,
    plan_is_last: bool,
}

impl<W: Write> Tap<W> {
    /// To be written to `out`.
    pub fn new(out: W) -> Self {
        Self { out, number: 0, plan_is_last: false }
    }
}

impl<W: Write> Output for Tap<W> {
    fn begin(&mut self, total: Option<usize>) -> io::Result<()> {
        self.plan_is_last = total.is_none();
        match total {
            Some(total) => writeln!(self.out, "TAP version 13\n1..{total}")?,
            None => writeln!(self.out, "TAP version 13")?,
        }
        self.out.flush()
    }

    fn outcome(&mut self, outcome: &Outcome, label: &str) -> io::Result<()> {
        let verdict = &outcome.verdict;
        let (ok, directive) = match verdict {
            // The plan misses it, and the end says why.
            Verdict::Stopped => return Ok(()),
            Verdict::Skipped(why) => ("ok", format!(" # SKIP {}", one_line(why))),
            Verdict::ExpectedFailure(why) => ("not ok", format!(" # TODO {}", one_line(why))),
            verdict if verdict.is_failure() => ("not ok", String::new()),
            _ => ("ok", String::new()),
        };
        self.number += 1;
        // A # begins a directive, and readers do not agree on how to escape it.
        let name = one_line(label).replace('#', "\u{ff03}");
        let mut text = format!("{ok} {} - {name}", self.number);
        text.truncate(text.trim_end().len());
        text.push_str(directive.trim_end());
        text.push('\n');
        if verdict.is_failure() || verdict.is_notable() {
            text.push_str(&diagnostics(outcome));
        }
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        if summary.left > 0 {
            writeln!(self.out, "Bail out! {} not run, the run was stopped", summary.left)?;
        }
        if self.plan_is_last {
            writeln!(self.out, "1..{}", self.number)?;
        }
        self.out.flush()
    }
}

fn one_line(text: &str) -> String {
    abridged(text).join(" ")
}

/// What led to an outcome, as a block of YAML that the simplest readers understand: strings
/// as JSON has them, and texts whose lines begin with a bar, so that none of them is empty or
/// looks like the end of the block.
fn diagnostics(outcome: &Outcome) -> String {
    let mut text = String::from("  ---\n");
    let verdict = &outcome.verdict;
    let mut say = |key: &str, value: &str| {
        text.push_str(&format!("  {key}: {}\n", Value::from(value)));
    };
    say("outcome", verdict.word());
    say("message", &abridged(verdict.message()).join("\n"));
    say("emulator", &shown(&outcome.emulator));
    if let Some(evidence) = &outcome.evidence {
        say("command", &shown(&evidence.command_line));
        if let Some(file) = &evidence.file {
            say("file", &shown(here(file)));
        }
    }
    if let Some(file) = &outcome.reproducer {
        say("replay", &shown(&file.display().to_string()));
    }
    text.push_str(&format!("  duration_ms: {}\n", outcome.took.as_millis()));
    let evidence = outcome.evidence.clone().unwrap_or_default();
    for (key, lines) in [
        ("attempts", attempts(outcome)),
        ("transcript", abridged(&evidence.transcript)),
        ("output", abridged(&evidence.output)),
    ] {
        if !lines.is_empty() {
            text.push_str(&format!("  {key}: |\n"));
        }
        lines.iter().for_each(|line| text.push_str(&format!("    | {line}\n")));
    }
    text + "  ...\n"
}

#[cfg(test)]
mod tests {
    use super::super::{Report, samples};
    use super::*;

    fn written(total: usize, outcomes: &[Outcome]) -> String {
        let out = samples::Shared::default();
        let mut report = Report::new(total);
        report.add_output(Tap::new(out.clone()));
        outcomes.iter().for_each(|outcome| report.add(outcome));
        report.finish();
        out.text()
    }

    /// Would catch a line that a reader takes for another one, a directive made by a name, a
    /// number that is missing, and a block that does not end where it should.
    #[test]
    fn every_line_is_what_it_should_be() {
        let text = written(11, &samples::all());
        let mut lines = text.lines();
        assert_eq!((lines.next(), lines.next()), (Some("TAP version 13"), Some("1..11")));
        let (mut results, mut blocks, mut inside) = (Vec::new(), Vec::new(), false);
        for line in lines {
            assert!(!line.contains(|c: char| c.is_control() || c == '\u{2028}'), "{line:?}");
            match line {
                "  ---" => {
                    assert!(!inside);
                    blocks.push(String::new());
                    inside = true;
                }
                "  ..." => inside = false,
                line if inside => {
                    assert!(line.starts_with("  "), "{line}");
                    assert!(!line.trim().is_empty() && !line.trim().starts_with('.'), "{line}");
                    blocks.last_mut().unwrap().push_str(&format!("{line}\n"));
                }
                line => results.push(line),
            }
        }
        assert!(!inside);
        assert_eq!(results.len(), 11, "{results:#?}");
        assert_eq!(results.pop(), Some("Bail out! 1 not run, the run was stopped"));
        let path = "/arm/virt/bus/dev/dev-tests/";
        assert_eq!(results[0], format!("ok 1 - {path}passed"));
        assert_eq!(results[1], format!("not ok 2 - {path}failed"));
        assert!(results[2].starts_with("not ok 3 - /arm/a \u{ff03} TODO <b>"), "{}", results[2]);
        assert!(!results[2].contains('#'));
        assert_eq!(results[4], format!("not ok 5 - {path}hung"));
        assert!(results[5].starts_with(&format!("ok 6 - {path}skipped # SKIP a # TODO <b>")));
        assert_eq!(
            results[6..8],
            [format!("ok 7 - {path}dependent"), format!("ok 8 - {path}flaky")]
        );
        assert!(results[8].starts_with(&format!("not ok 9 - {path}known # TODO a # TODO")));
        assert_eq!(results[9], format!("ok 10 - {path}surprise"));
        assert_eq!(blocks.len(), 7);
        assert!(blocks[0].contains("  message: \"left: 1, right: 2 (src/tests/sdhci.rs:42)\"\n"));
        assert!(blocks[0].contains("  command: \"qemu-system-arm -M virt -name 'a b'\"\n"));
        assert!(blocks[0].contains("\n  output: |\n    | a # TODO <b>"), "{}", blocks[0]);
        assert!(blocks[0].contains("\n    | ok 7 - no\n    | ...\n"), "{}", blocks[0]);
        assert!(blocks[2].contains("  replay: \"/tmp/replay it.sh\"\n"), "{}", blocks[2]);
        assert!(blocks[3].contains("  attempts: |\n    | attempt 1: failed in"), "{}", blocks[3]);
    }

    /// Would catch a whole run that looks stopped, or one that lost its end and looks whole.
    #[test]
    fn only_a_run_that_was_stopped_bails_out() {
        let passed = [samples::outcome("/a/b/c", Verdict::Passed)];
        assert_eq!(written(1, &passed), "TAP version 13\n1..1\nok 1 - /a/b/c\n");
        assert!(written(3, &passed).ends_with("\nBail out! 2 not run, the run was stopped\n"));
    }
}
