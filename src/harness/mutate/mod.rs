//! How strong a test is: whether it notices when an answer is not what the device said.
//!
//! A path that passes is run once, and every answer it gets is recorded: registers, guest
//! memory, images, interrupts, QMP. Then it is run again, each time with one answer changed.
//! A run that does not pass has noticed the change; one that passes has ignored it, unless it
//! wrote back what it read (a read-modify-write), or asked again until it got another answer.
//!
//! What only keeps the streams in step is not changed, and neither is what the harness asks
//! by itself, nor, unless wanted, what drivers ask while they are attached.

mod answer;
mod change;
mod engine;
mod listen;
mod place;
mod record;
mod replay;
mod result;
mod session;
#[cfg(test)]
mod tests;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;
use std::time::Duration;

use fastrand::Rng;

use self::engine::{Stop, measure};
use self::session::Session;
use crate::files::path_text;
use crate::harness::plan::Trial;
use crate::parallel::in_parallel;
use crate::qemu::{Limits, is_stopping};

pub use self::result::{Counts, Ignored, Line, PathStrength, SuiteStrength, Unmeasured, suites};

/// Which changes are tried.
#[derive(Debug, Clone)]
pub struct Options {
    /// Chance is the same for the same seed and path.
    pub seed: u64,
    /// At most so many changes of a path are tried, picked by chance; all if there is none.
    pub sample: Option<usize>,
    /// No change is begun when a path has taken as long.
    pub time_limit: Option<Duration>,
    /// Every bit of a register is flipped, not one.
    pub every_bit: bool,
    /// What drivers are answered while they are attached is changed as well.
    pub attaching: bool,
    /// For runs in which nothing is changed.
    pub limits: Limits,
}

/// Measures `trials`, `jobs` of them at a time, and hands every result to `done` as it comes.
/// Ends early once the run is to stop.
pub fn measure_all(
    trials: impl Iterator<Item = Trial> + Send,
    jobs: NonZeroUsize,
    options: &Options,
    done: impl FnMut(PathStrength),
) {
    let trials = trials.take_while(|_| !is_stopping());
    in_parallel(trials, jobs, |trial| measure_path(&trial, options), done);
}

fn measure_path(trial: &Trial, options: &Options) -> PathStrength {
    let path = &trial.path;
    let name = path.name();
    let mut hasher = DefaultHasher::new();
    (options.seed, &name).hash(&mut hasher);
    let mut rng = Rng::with_seed(hasher.finish());
    let mut session = Session::new(path, &trial.emulator, options.limits);
    let measured = measure(&mut session, options, &mut rng, path.file());
    let (suite, _) = path.test().split_once('/').unwrap_or((path.test(), ""));
    let mut strength = PathStrength {
        suite: suite.to_owned(),
        emulator: path_text::text(&trial.emulator.path),
        name,
        unmeasured: None,
        counts: Counts::default(),
        percent: None,
        ignored_answers: Vec::new(),
    };
    let unmeasured = |outcome: &str, why: &str| {
        Some(Unmeasured { outcome: outcome.to_owned(), why: why.to_owned() })
    };
    match measured {
        Ok(measured) => {
            strength.percent = measured.counts.percent();
            strength.counts = measured.counts;
            strength.ignored_answers = measured.ignored;
        }
        Err(Stop::NotPassing(verdict)) => {
            strength.unmeasured = unmeasured(verdict.word(), verdict.message());
        }
        Err(Stop::NoMachine(why)) => strength.unmeasured = unmeasured("failed", &why),
        Err(Stop::Stopped) => strength.unmeasured = unmeasured("stopped", ""),
    }
    strength
}
