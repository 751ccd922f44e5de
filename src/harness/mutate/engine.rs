//! The measurement of one path: a recording run, then a run for every change that is tried.

use std::rc::Rc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::Options;
use super::change::{Change, changes};
use super::listen::Listener;
use super::record::{Answer, Recorder, Recording};
use super::replay::{Replay, Seen, Target};
use super::result::{Counts, Ignored};
use crate::harness::outcome::Verdict;
use crate::protocol::Tap;
use crate::qemu::{Limits, Vm, is_stopping};

/// Makes the tap for a run on a machine.
pub(super) type MakeTap<'a> = &'a dyn Fn(&Rc<Vm>) -> Rc<dyn Tap>;

/// Something that runs a test.
pub(super) trait Bench {
    /// Runs it once, with a tap in.
    ///
    /// # Errors
    /// There is no machine to run it on, and why.
    fn run(&mut self, tap: MakeTap, limits: Limits) -> Result<Verdict, String>;

    /// Whether the next run is on a machine that has run something before.
    fn is_used(&self) -> bool;

    /// Lets the next run be on a fresh machine.
    fn renew(&mut self);

    /// Lets all runs be on fresh machines.
    fn stop_reusing(&mut self);
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Noticed,
    Ignored,
    Rewritten,
    AskedAgain,
    Diverged,
}

impl Fate {
    fn of(verdict: &Verdict, seen: Seen) -> Self {
        match (seen, verdict) {
            (Seen { changed: false, .. }, _) => Self::Diverged,
            (_, verdict) if *verdict != Verdict::Passed => Self::Noticed,
            (Seen { rewritten: true, .. }, _) => Self::Rewritten,
            (Seen { asked_again: true, .. }, _) => Self::AskedAgain,
            _ => Self::Ignored,
        }
    }

    /// Whether it may be the machine's doing, if that has run something before.
    fn is_doubtful(self) -> bool {
        matches!(self, Self::Noticed | Self::Diverged)
    }
}

/// Why a path cannot be measured.
#[derive(Debug)]
pub(super) enum Stop {
    /// It does not pass when nothing is changed.
    NotPassing(Verdict),
    /// There is no machine to run it on, and why.
    NoMachine(String),
    /// Somebody stopped us.
    Stopped,
}

/// What was found out about a path.
#[derive(Debug)]
pub(super) struct Measured {
    pub counts: Counts,
    /// The places are those of the test in this file.
    pub ignored: Vec<Ignored>,
}

/// After so many noticed changes a machine that is reused has to pass with nothing changed.
const CHECK_AFTER: usize = 16;
/// So often a reused machine may be found out of order before reuse is given up.
const PATIENCE: u32 = 2;
/// The shortest limit for one request of a changed run, and for all of it.
const LEAST: Limits = Limits { request: Duration::from_secs(1), whole: Duration::from_secs(5) };

/// Limits for changed runs: ten times what the recorded one took.
fn limits(slowest: Duration, whole: Duration) -> Limits {
    Limits { request: LEAST.request.max(slowest * 10), whole: LEAST.whole.max(whole * 10) }
}

/// Measures what `bench` runs, a test in `file`.
pub(super) fn measure(
    bench: &mut dyn Bench,
    options: &Options,
    rng: &mut Rng,
    file: Option<&str>,
) -> Result<Measured, Stop> {
    let begun = Instant::now();
    let recording = record(bench, options.limits)?;
    let limits = limits(recording.slowest, begun.elapsed());

    let answers = &recording.answers;
    let mut tries = Vec::new();
    let mut counts = Counts::default();
    for (number, answer) in answers.iter().enumerate() {
        let is_wanted = options.attaching || number >= recording.attaching;
        if !is_wanted || answer.is_early {
            continue;
        }
        let changes = changes(answer, rng, options.every_bit);
        counts.answers += usize::from(!changes.is_empty());
        tries.extend(changes.into_iter().map(|change| Try { number, change, fate: None }));
    }
    counts.changes = tries.len();
    rng.shuffle(&mut tries);
    tries.truncate(options.sample.unwrap_or(usize::MAX));

    let mut runs = Runs { bench, answers, limits, doubtful: Vec::new(), disorder: 0 };
    let end = options.time_limit.and_then(|limit| begun.checked_add(limit));
    for number in 0..tries.len() {
        if end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
        runs.try_out(&mut tries, number)?;
    }
    runs.settle(&mut tries)?;

    tries.retain(|it| it.fate.is_some());
    tries.sort_by_key(|it| it.number);
    // What was written back once is written back always, although not every change shows.
    for group in tries.chunk_by_mut(|a, b| a.number == b.number) {
        if group.iter().any(|it| it.fate == Some(Fate::Rewritten)) {
            for it in group.iter_mut().filter(|it| it.fate == Some(Fate::Ignored)) {
                it.fate = Some(Fate::Rewritten);
            }
        }
    }
    let count = |fate| tries.iter().filter(|it| it.fate == Some(fate)).count();
    counts.tried = tries.len();
    counts.noticed = count(Fate::Noticed);
    counts.ignored = count(Fate::Ignored);
    counts.rewritten = count(Fate::Rewritten);
    counts.asked_again = count(Fate::AskedAgain);
    counts.diverged = count(Fate::Diverged);
    Ok(Measured { counts, ignored: ignored(&tries, answers, file) })
}

fn ignored(tries: &[Try], answers: &[Answer], file: Option<&str>) -> Vec<Ignored> {
    let mut ignored = Vec::new();
    for group in tries.chunk_by(|a, b| a.number == b.number) {
        let changes = group.iter().filter(|it| it.fate == Some(Fate::Ignored));
        let mut changes: Vec<String> = changes.map(|it| it.change.name.clone()).collect();
        if changes.is_empty() {
            continue;
        }
        changes.sort();
        let answer = &answers[group[0].number];
        let place = answer.trace.place(file);
        ignored.push(Ignored {
            at: place.test,
            driver: place.driver,
            request: answer.request.text.clone(),
            answer: answer.content.to_string(),
            changes,
        });
    }
    ignored
}

fn record(bench: &mut dyn Bench, limits: Limits) -> Result<Recording, Stop> {
    let recorder = std::cell::OnceCell::new();
    let tap = |vm: &Rc<Vm>| -> Rc<dyn Tap> {
        let make = || Rc::new(Listener::new(Recorder::new(Rc::downgrade(vm))));
        recorder.get_or_init(make).clone()
    };
    let verdict = bench.run(&tap, limits).map_err(Stop::NoMachine)?;
    match recorder.get() {
        _ if is_stopping() => Err(Stop::Stopped),
        Some(recorder) if verdict == Verdict::Passed => Ok(recorder.with_ear(Recorder::finish)),
        _ => Err(Stop::NotPassing(verdict)),
    }
}

/// A change, and what became of it.
struct Try {
    /// Which answer is changed.
    number: usize,
    change: Change,
    fate: Option<Fate>,
}

struct Runs<'a> {
    bench: &'a mut dyn Bench,
    answers: &'a [Answer],
    limits: Limits,
    /// Tries whose fate may be due to the reused machine that they ran on.
    doubtful: Vec<usize>,
    /// How often a reused machine was out of order.
    disorder: u32,
}

impl Runs<'_> {
    /// One run, with an answer changed, or with none.
    fn run(&mut self, target: Option<&Try>) -> Result<(Verdict, Seen), Stop> {
        let target = target.map(|it| Target::new(&self.answers[it.number], &it.change));
        let replay = Rc::new(Listener::new(Replay::new(target)));
        let tap = |_: &Rc<Vm>| -> Rc<dyn Tap> { replay.clone() };
        let verdict = self.bench.run(&tap, self.limits);
        if is_stopping() {
            return Err(Stop::Stopped);
        }
        let verdict = verdict.map_err(Stop::NoMachine)?;
        Ok((verdict, replay.with_ear(|replay| replay.seen())))
    }

    fn try_out(&mut self, tries: &mut [Try], number: usize) -> Result<(), Stop> {
        let was_used = self.bench.is_used();
        let (verdict, seen) = self.run(Some(&tries[number]))?;
        let fate = Fate::of(&verdict, seen);
        tries[number].fate = Some(fate);
        if was_used && fate.is_doubtful() {
            self.doubtful.push(number);
        }
        if self.doubtful.len() >= CHECK_AFTER || !self.bench.is_used() {
            self.settle(tries)?;
        }
        Ok(())
    }

    /// Makes sure that the doubtful ones are not the machine's doing: it passes when nothing
    /// is changed, or they are tried again on fresh ones.
    fn settle(&mut self, tries: &mut [Try]) -> Result<(), Stop> {
        if self.doubtful.is_empty() {
            return Ok(());
        }
        if self.bench.is_used() {
            if self.run(None)?.0 == Verdict::Passed {
                self.doubtful.clear();
                return Ok(());
            }
            self.disorder += 1;
        }
        for number in std::mem::take(&mut self.doubtful) {
            self.bench.renew();
            let (verdict, seen) = self.run(Some(&tries[number]))?;
            let fate = Some(Fate::of(&verdict, seen));
            if tries[number].fate != fate {
                tries[number].fate = fate;
                self.disorder += 1;
            }
        }
        self.bench.renew();
        if self.disorder > PATIENCE {
            self.bench.stop_reusing();
        }
        Ok(())
    }
}
