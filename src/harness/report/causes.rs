//! Outcomes by what caused them, for the list at the end: a cause that many paths share is
//! told once.

use std::collections::HashMap;
use std::fmt;

use super::text::first_line;
use crate::harness::outcome::Outcome;

/// How many of the paths are listed for which QEMU did not start for one cause.
const MOST_UNSTARTED: usize = 3;

/// Outcomes by cause, in the order in which the causes came.
#[derive(Default)]
pub(super) struct Causes {
    causes: Vec<Cause>,
    numbers: HashMap<(String, String), usize>,
    count: usize,
}

struct Cause {
    /// What is said of the first outcome.
    why: String,
    /// The lines of the outcomes, each with its end.
    lines: Vec<String>,
    count: usize,
    is_no_start: bool,
}

/// Why QEMU did not start for `outcome`, if that is what went wrong.
fn no_start(outcome: &Outcome) -> Option<&String> {
    outcome.evidence.as_ref().and_then(|evidence| evidence.no_start.as_ref())
}

impl Causes {
    /// Adds an outcome, whose line is `line`, with its end.
    pub fn add(&mut self, outcome: &Outcome, line: &str) {
        let first_line = first_line(&outcome.verdict);
        let no_start = no_start(outcome);
        let key = match no_start {
            Some(cause) => (outcome.emulator.clone(), cause.clone()),
            None => (outcome.verdict.word().to_owned(), first_line.clone()),
        };
        let number = *self.numbers.entry(key).or_insert(self.causes.len());
        if number == self.causes.len() {
            let (lines, is_no_start) = (Vec::new(), no_start.is_some());
            self.causes.push(Cause { why: first_line, lines, count: 0, is_no_start });
        }
        let cause = &mut self.causes[number];
        cause.count += 1;
        if !cause.is_no_start || cause.count <= MOST_UNSTARTED {
            cause.lines.push(line.to_owned());
        }
        self.count += 1;
    }

    /// Whether QEMU did not start for `outcome`, for a cause that was told before.
    pub fn is_told(&self, outcome: &Outcome) -> bool {
        no_start(outcome).is_some_and(|cause| {
            self.numbers.contains_key(&(outcome.emulator.clone(), cause.clone()))
        })
    }

    /// How many outcomes there are.
    pub fn count(&self) -> usize {
        self.count
    }
}

impl fmt::Display for Causes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for Cause { why, lines, count, .. } in &self.causes {
            f.write_str(&lines.concat())?;
            if let Some(more) = count.checked_sub(lines.len()).filter(|&more| more > 0) {
                writeln!(f, "… and {more} more")?;
            }
            match count {
                1 => writeln!(f, "    {why}")?,
                _ => writeln!(f, "    {count} paths, one cause: {why}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use crate::harness::outcome::{Evidence, Verdict};

    /// Would catch a cause that is told once for every path, or for some of its paths only,
    /// and a path that is left out where each is of interest.
    #[test]
    fn a_cause_is_told_once() {
        let mut causes = Causes::default();
        let unstarted = |name: &str| Outcome {
            evidence: Some(Evidence {
                no_start: Some("no BIOS".to_owned()),
                ..Evidence::default()
            }),
            ..samples::outcome(name, Verdict::Failed(format!("no BIOS, {name}")))
        };
        assert!(!causes.is_told(&unstarted("/a")));
        for number in 0..10 {
            let name = format!("/a/{number}");
            causes.add(&unstarted(&name), &format!("{name}\n"));
            assert!(causes.is_told(&unstarted("/b")));
            let failed = samples::outcome(&name, Verdict::Failed("left: 1".to_owned()));
            causes.add(&failed, &format!("failed {name}\n"));
        }
        causes.add(&samples::outcome("/c", Verdict::Crashed("left: 1".to_owned())), "/c\n");
        assert_eq!(causes.count(), 21);
        let text = causes.to_string();
        let unstarted = "/a/0\n/a/1\n/a/2\n… and 7 more\n    10 paths, one cause: no BIOS, /a/0\n";
        assert!(text.starts_with(unstarted), "{text}");
        assert!(text.contains("failed /a/9\n    10 paths, one cause: left: 1\n"), "{text}");
        assert!(text.ends_with("/c\n    left: 1\n"), "{text}");
    }
}
