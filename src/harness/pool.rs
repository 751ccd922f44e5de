//! Many trials at once.

use std::num::NonZeroUsize;
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};

use super::outcome::Outcome;
use super::plan::Trial;
use super::run::run;
use crate::qemu::{Limits, is_stopping};

/// Runs `trials`, `jobs` of them at a time, and hands every outcome to `done` as it comes.
/// Ends early, without starting any more, once the run is to stop.
pub fn run_all(
    trials: impl Iterator<Item = Trial> + Send,
    jobs: NonZeroUsize,
    limits: Limits,
    mut done: impl FnMut(Outcome),
) {
    let trials = Mutex::new(trials);
    let next = || trials.lock().unwrap_or_else(PoisonError::into_inner).next();
    let (outcomes, coming) = channel();
    std::thread::scope(|scope| {
        for _ in 0..jobs.get() {
            let (outcomes, next) = (outcomes.clone(), &next);
            scope.spawn(move || {
                while !is_stopping()
                    && let Some(trial) = next()
                {
                    let outcome = run(&trial.path, &trial.emulator, limits);
                    if outcomes.send(outcome).is_err() {
                        break;
                    }
                }
            });
        }
        drop(outcomes);
        coming.into_iter().for_each(&mut done);
    });
}
