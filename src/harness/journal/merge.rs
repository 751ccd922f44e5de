//! The outcomes of several journals, joined: one for each path on each emulator.

use std::collections::HashMap;

use crate::harness::outcome::{Outcome, Verdict};

/// Joins journals, given from the oldest to the newest.
#[derive(Debug, Default)]
pub struct Merge {
    /// In the order in which the paths were first met, with the number of the journal.
    outcomes: Vec<(Outcome, usize)>,
    /// Where the outcome of a path on an emulator is.
    places: HashMap<(String, String), usize>,
    journal: usize,
}

impl Merge {
    /// What is added from now on is of another, newer journal.
    pub fn next_journal(&mut self) {
        self.journal += 1;
    }

    /// Adds an outcome. It takes the place of that of an older journal, unless it is the one
    /// of the two that was stopped. Of several in one journal, as a run that repeats itself
    /// writes them, the worst counts.
    pub fn add(&mut self, outcome: Outcome) {
        let key = (outcome.name.clone(), outcome.emulator.clone());
        let Some(&place) = self.places.get(&key) else {
            self.places.insert(key, self.outcomes.len());
            self.outcomes.push((outcome, self.journal));
            return;
        };
        let (before, journal) = &mut self.outcomes[place];
        let (old, new) = (gravity(&before.verdict), gravity(&outcome.verdict));
        let is_better = if *journal == self.journal { new >= old } else { new > 0 || old == 0 };
        if is_better {
            (*before, *journal) = (outcome, self.journal);
        }
    }

    /// The outcomes.
    pub fn into_outcomes(self) -> impl ExactSizeIterator<Item = Outcome> {
        self.outcomes.into_iter().map(|(outcome, _)| outcome)
    }
}

/// How much a verdict says that something is wrong; 0 if it says nothing.
fn gravity(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Stopped => 0,
        verdict if verdict.is_failure() => 3,
        verdict if verdict.is_notable() => 2,
        _ => 1,
    }
}
