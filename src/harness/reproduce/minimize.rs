//! Making a reproducer smaller: leaving out requests, and data of requests, as long as it
//! still fails in the same way. Every trial has a fresh QEMU.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::reproduce::recorder::{write_request, written};
use crate::harness::reproduce::replay::{Replay, is_about_an_answer, is_judged, replay};
use crate::harness::reproduce::reproducer::{Reproducer, Step};
use crate::qemu::{Emulator, is_stopping};

/// Looks for a smaller one.
pub struct Minimizer<'a> {
    /// On this emulator.
    pub emulator: &'a Arc<Emulator>,
    /// How long an answer may take.
    pub patience: Duration,
    /// How many QEMUs run at once.
    pub jobs: NonZeroUsize,
    /// How it failed before anything was left out.
    pub before: &'a Replay,
    /// How many QEMUs were started so far.
    pub trials: AtomicUsize,
}

impl Minimizer<'_> {
    /// Whether it fails in the same way.
    pub fn still_fails(&self, reproducer: &Reproducer) -> bool {
        if is_stopping() {
            return false;
        }
        self.trials.fetch_add(1, Ordering::Relaxed);
        replay(reproducer, self.emulator, self.patience)
            .is_ok_and(|now| now.is_same(self.before, reproducer))
    }

    /// The smallest that was found; after a signal the smallest so far. `progress` is told
    /// how many requests are left.
    pub fn minimize(&self, from: &Reproducer, mut progress: impl FnMut(usize)) -> Reproducer {
        let mut best = from.clone();
        let before = from.about.minimized_from.unwrap_or(from.request_count());
        best.about.minimized_from = Some(before);
        let keep = usize::from(is_about_an_answer(from));
        if let (1, Some(judged)) = (keep, best.steps.iter().rposition(is_judged)) {
            best.steps.truncate(judged + 1);
        }
        // Halves, quarters, … single ones; the single ones until none can go.
        let mut size = best.steps.len().div_ceil(2).max(1);
        loop {
            let count = best.steps.len();
            self.leave_out(&mut best, size, keep, &mut progress);
            if size == 1 && best.steps.len() == count || is_stopping() {
                break;
            }
            size = size.div_ceil(2);
        }
        self.shorten(&mut best);
        best
    }

    /// Leaves out pieces of `size` steps, wherever one can go, but not the last `keep`.
    fn leave_out(
        &self,
        best: &mut Reproducer,
        size: usize,
        keep: usize,
        progress: &mut impl FnMut(usize),
    ) {
        // From the end: what comes last leads to the failure, what it needs goes last.
        let mut end = best.steps.len().saturating_sub(keep);
        while end > 0 && !is_stopping() {
            let starts = (0..self.jobs.get()).map(|number| end.saturating_sub(size * number));
            let ends: Vec<usize> = starts.filter(|&end| end > 0).collect();
            let without = |&end: &usize| {
                let mut steps = best.steps.clone();
                steps.drain(end.saturating_sub(size)..end);
                Reproducer { about: best.about.clone(), steps }
            };
            let smaller: Vec<Reproducer> = ends.iter().map(without).collect();
            match self.first_that_fails(&smaller) {
                Some(number) => {
                    end = ends[number].saturating_sub(size);
                    *best = smaller.into_iter().nth(number).unwrap_or_else(|| best.clone());
                    progress(best.request_count());
                }
                None => end = end.saturating_sub(size * self.jobs.get()),
            }
        }
    }

    /// The first of `candidates` that still fails; they are tried at the same time.
    fn first_that_fails(&self, candidates: &[Reproducer]) -> Option<usize> {
        std::thread::scope(|scope| {
            let fails = |candidate| move || self.still_fails(candidate);
            let running: Vec<_> = candidates.iter().map(|one| scope.spawn(fails(one))).collect();
            let failed: Vec<bool> =
                running.into_iter().map(|trial| trial.join().unwrap_or(false)).collect();
            failed.into_iter().position(|failed| failed)
        })
    }

    /// Replaces data that is written by zeroes, or by its first half.
    fn shorten(&self, best: &mut Reproducer) {
        for at in 0..best.steps.len() {
            while let Some((address, bytes)) = written(&best.steps[at].text) {
                let zeroes = write_request(address, &vec![0; bytes.len()]);
                let half = write_request(address, &bytes[..bytes.len() / 2]);
                let shorter: Vec<Reproducer> = [zeroes, half]
                    .into_iter()
                    .filter(|text| text.len() < best.steps[at].text.len() && bytes.len() > 1)
                    .map(|text| {
                        let mut smaller = best.clone();
                        smaller.steps[at] = Step { text, ..smaller.steps[at].clone() };
                        smaller
                    })
                    .collect();
                match self.first_that_fails(&shorter) {
                    Some(number) => *best = shorter[number].clone(),
                    None => break,
                }
            }
        }
    }
}
