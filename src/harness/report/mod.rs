//! Outcomes as they come, for people or programs, in several ways at once. A report that
//! cannot be written changes no outcome.
//!
//! One file a format. `text` has the words for people that several of them use.

mod causes;
mod github;
mod html;
mod json;
mod junit;
mod pretty;
#[cfg(test)]
pub(crate) mod samples;
mod tap;
mod text;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, Write};

pub use github::Github;
pub use html::Html;
pub use json::Json;
pub use junit::Junit;
pub use pretty::Pretty;
pub use tap::Tap;

use crate::harness::environment::Environment;
use crate::harness::outcome::{Outcome, Verdict};
use crate::shown::shown_lines;

/// A way to write outcomes down.
pub trait Output {
    /// What a warning calls it.
    fn name(&self) -> String {
        "the report".to_owned()
    }

    /// Whether it also tells of the outcomes of an earlier run, of which this one is the
    /// rest.
    fn is_whole(&self) -> bool {
        true
    }

    /// The beginning: how many outcomes there will be if all goes well, where that is known.
    ///
    /// # Errors
    /// Those of writing; nothing else is written then.
    fn begin(&mut self, total: Option<usize>) -> io::Result<()> {
        let _ = total;
        Ok(())
    }

    /// On what the outcomes came to be, on several machines perhaps. It is told first.
    ///
    /// # Errors
    /// Those of writing; nothing else is written then.
    fn environment(&mut self, environments: &[Environment]) -> io::Result<()> {
        let _ = environments;
        Ok(())
    }

    /// One outcome. `label` is the path's name, with the emulator behind an `@` where
    /// another one has the same path.
    ///
    /// # Errors
    /// Those of writing; nothing else is written then.
    fn outcome(&mut self, outcome: &Outcome, label: &str) -> io::Result<()>;

    /// The end.
    ///
    /// # Errors
    /// Those of writing.
    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        let _ = summary;
        Ok(())
    }
}

/// The words for outcomes, the worst first.
const WORDS: [&str; 9] = [
    "crashed",
    "hung",
    "failed",
    "unexpected-pass",
    "dependent",
    "flaky",
    "expected-failure",
    "skipped",
    "passed",
];

/// What came of it all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many outcomes there should have been.
    pub total: usize,
    /// How many there are of each word, the worst first; those that were stopped are not
    /// among them.
    pub counts: Vec<(&'static str, usize)>,
    /// How many never came, or were stopped.
    pub left: usize,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let mut parts: Vec<String> =
            self.counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
        if self.left > 0 {
            parts.push(format!("{} not run, the run was stopped", self.left));
        }
        f.write_str(&parts.join(", "))
    }
}

/// An output, until it breaks.
struct Way {
    output: Box<dyn Output>,
    /// The first error of writing.
    broken: Option<io::Error>,
}

impl Way {
    fn go(&mut self, step: impl FnOnce(&mut dyn Output) -> io::Result<()>) {
        if self.broken.is_none() {
            self.broken = step(&mut *self.output).err();
        }
    }
}

/// What came of the outcomes, and of the report itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conclusion {
    /// Whether nothing failed and everything ran, if it was known how much that is.
    pub all_passed: bool,
    /// Whether all that was to be written down was.
    pub all_written: bool,
    /// How many outcomes failed the run that would not without [`Report::fail_on`].
    pub failed_by_choice: usize,
}

/// The report of one run.
pub struct Report {
    total: Option<usize>,
    ways: Vec<Way>,
    counts: BTreeMap<&'static str, usize>,
    failed: bool,
    /// Whether there is something that could not be written.
    is_broken: bool,
    /// The words for outcomes that fail the run although they do not by themselves.
    fail_on: Vec<&'static str>,
    environments: Vec<Environment>,
    /// Which emulator had a path first.
    first: BTreeMap<String, String>,
}

impl Report {
    /// A report of `total` outcomes, `None` if nobody knows how many, that nobody writes
    /// down yet.
    pub fn new(total: impl Into<Option<usize>>) -> Self {
        let (total, counts, first) = (total.into(), BTreeMap::new(), BTreeMap::new());
        let (ways, environments, fail_on) = Default::default();
        let (failed, is_broken) = (false, false);
        Self { total, ways, counts, failed, is_broken, fail_on, environments, first }
    }

    /// A report that also says on what the outcomes came to be.
    pub fn with_environments(self, environments: Vec<Environment>) -> Self {
        Self { environments, ..self }
    }

    /// A report in which outcomes of these words fail the run as well.
    pub fn fail_on(self, words: Vec<&'static str>) -> Self {
        Self { fail_on: words, ..self }
    }

    /// Notes that something that was to be written down cannot be.
    pub fn note_broken(&mut self) {
        self.is_broken = true;
    }

    /// From now on, outcomes are written down in this way as well.
    pub fn add_output(&mut self, output: impl Output + 'static) {
        let mut way = Way { output: Box::new(output), broken: None };
        way.go(|output| output.begin(self.total));
        way.go(|output| output.environment(&self.environments));
        self.ways.push(way);
    }

    /// Adds an outcome.
    pub fn add(&mut self, outcome: &Outcome) {
        self.note(outcome, |_| true);
    }

    fn note(&mut self, outcome: &Outcome, wants: impl Fn(&dyn Output) -> bool) {
        *self.counts.entry(outcome.verdict.word()).or_default() += 1;
        self.failed |= outcome.verdict.is_failure();
        let label = match self.first.entry(outcome.name.clone()) {
            Entry::Occupied(first) if *first.get() != outcome.emulator => {
                format!("{}@{}", outcome.name, outcome.emulator)
            }
            Entry::Occupied(_) => outcome.name.clone(),
            Entry::Vacant(slot) => {
                slot.insert(outcome.emulator.clone());
                outcome.name.clone()
            }
        };
        for way in self.ways.iter_mut().filter(|way| wants(&*way.output)) {
            way.go(|output| output.outcome(outcome, &label));
        }
    }

    /// Adds an outcome of an earlier run, of which this one is the rest.
    pub fn add_earlier(&mut self, outcome: &Outcome) {
        self.note(outcome, |output| output.is_whole());
    }

    /// Ends the report.
    pub fn finish(mut self) -> Conclusion {
        let stopped = self.counts.get(Verdict::Stopped.word()).copied().unwrap_or(0);
        let ran = self.counts.values().sum();
        let total = self.total.unwrap_or(ran);
        let left = total.saturating_sub(ran) + stopped;
        let count = |&word| self.counts.get(word).map(|&count| (word, count));
        let counts = WORDS.iter().filter_map(count).collect();
        let summary = Summary { total, counts, left };
        for way in &mut self.ways {
            way.go(|output| output.end(&summary));
            // Whoever closed the pipe has seen enough.
            if let Some(e) = way.broken.take().filter(|e| e.kind() != io::ErrorKind::BrokenPipe) {
                self.is_broken = true;
                let name = way.output.name();
                let text = format!("warning: {name} could not be written: {e}");
                let _ = writeln!(io::stderr(), "{}", shown_lines(&text));
            }
        }
        let chosen = self.fail_on.iter().filter_map(|word| self.counts.get(word));
        let failed_by_choice = chosen.sum();
        Conclusion {
            all_passed: left == 0 && !self.failed && failed_by_choice == 0,
            all_written: !self.is_broken,
            failed_by_choice,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    /// Keeps what it is told, and breaks when it is told too much.
    struct Listener(Rc<RefCell<Vec<String>>>, usize);

    impl Listener {
        fn hear(&self, what: String) -> io::Result<()> {
            let mut heard = self.0.borrow_mut();
            heard.push(what);
            if heard.len() > self.1 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
    }

    impl Output for Listener {
        fn begin(&mut self, total: Option<usize>) -> io::Result<()> {
            self.hear(format!("begin {}", total.unwrap_or(0)))
        }

        fn outcome(&mut self, _: &Outcome, label: &str) -> io::Result<()> {
            self.hear(label.to_owned())
        }

        fn end(&mut self, summary: &Summary) -> io::Result<()> {
            self.hear(format!("end: {summary}"))
        }
    }

    /// Would catch an output that breaks and takes the others, or the result, with it; and
    /// two emulators whose outcomes cannot be told apart.
    #[test]
    fn outputs_break_on_their_own() {
        let (whole, broken) = (Rc::<RefCell<Vec<String>>>::default(), Rc::default());
        let mut report = Report::new(4);
        report.add_output(Listener(Rc::clone(&broken), 1));
        report.add_output(Listener(whole.clone(), 100));
        let passed = samples::outcome("/arm/virt/t", Verdict::Passed);
        report.add(&passed);
        report.add(&Outcome { emulator: "other".to_owned(), ..passed.clone() });
        report.add(&Outcome { verdict: Verdict::Flaky(String::new()), ..passed.clone() });
        report.add(&Outcome { verdict: Verdict::Skipped(String::new()), ..passed });
        let conclusion = report.finish();
        assert!(conclusion.all_passed && !conclusion.all_written);
        let end = "end: 1 flaky, 1 skipped, 2 passed";
        let heard = ["begin 4", "/arm/virt/t", "/arm/virt/t@other", "/arm/virt/t", "/arm/virt/t"];
        assert_eq!(whole.borrow()[..5], heard);
        assert_eq!(whole.borrow()[5..], [end]);
        assert_eq!(broken.borrow().len(), 2);
    }

    /// Would catch a run that failed or was stopped and counts as a success.
    #[test]
    fn only_a_whole_run_without_failure_is_a_success() {
        let result = |total: usize, verdicts: &[Verdict]| {
            let mut report = Report::new(total);
            verdicts.iter().for_each(|v| report.add(&samples::outcome("/a", v.clone())));
            report.finish().all_passed
        };
        let why = String::new;
        assert!(result(2, &[Verdict::ExpectedFailure(why()), Verdict::UnexpectedPass(why())]));
        assert!(!result(2, &[Verdict::Passed]));
        assert!(!result(1, &[Verdict::Stopped]));
        for bad in [Verdict::Failed(why()), Verdict::Hung(why()), Verdict::Crashed(why())] {
            assert!(!result(1, &[bad]));
        }
    }
}
