//! Outcomes as they come, for people or programs. A report that cannot be written changes
//! no outcome.

mod json;
mod pretty;

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::outcome::Outcome;

/// A way to write outcomes.
trait Format {
    /// One outcome.
    fn outcome(&mut self, outcome: &Outcome) -> io::Result<()>;

    /// The end: how many there are of each word, and how many of the total never came.
    fn end(&mut self, counts: &BTreeMap<&'static str, usize>, left: usize) -> io::Result<()>;
}

/// The report of one run.
pub struct Report {
    format: Box<dyn Format>,
    total: usize,
    counts: BTreeMap<&'static str, usize>,
    failed: bool,
    /// The first error of writing.
    broken: Option<io::Error>,
}

impl Report {
    /// Lines for people, and a progress bar where they have a terminal.
    pub fn pretty(total: usize) -> Self {
        Self::new(Box::new(pretty::Pretty::new(total)), total)
    }

    /// One JSON object a line.
    pub fn json(total: usize) -> Self {
        Self::new(Box::new(json::Json), total)
    }

    fn new(format: Box<dyn Format>, total: usize) -> Self {
        Self { format, total, counts: BTreeMap::new(), failed: false, broken: None }
    }

    /// Adds an outcome.
    pub fn add(&mut self, outcome: &Outcome) {
        *self.counts.entry(outcome.verdict.word()).or_default() += 1;
        self.failed |= outcome.verdict.is_failure();
        if self.broken.is_none() {
            self.broken = self.format.outcome(outcome).err();
        }
    }

    /// Adds an outcome of an earlier run, of which this one is the rest.
    pub fn add_earlier(&mut self, outcome: &Outcome) {
        *self.counts.entry(outcome.verdict.word()).or_default() += 1;
        self.failed |= outcome.verdict.is_failure();
    }

    /// Ends the report. Returns whether nothing failed and, where all was
    /// wanted, everything ran.
    pub fn finish(mut self, all_wanted: bool) -> bool {
        let stopped = self.counts.get("stopped").copied().unwrap_or(0);
        let ran: usize = self.counts.values().sum();
        let total = if all_wanted { self.total } else { ran };
        let left = total.saturating_sub(ran) + stopped;
        if self.broken.is_none() {
            self.broken = self.format.end(&self.counts, left).err();
        }
        // Whoever closed the pipe has seen enough.
        if let Some(e) = self.broken.filter(|e| e.kind() != io::ErrorKind::BrokenPipe) {
            let _ = writeln!(io::stderr(), "warning: the report could not be written: {e}");
        }
        left == 0 && !self.failed
    }
}
