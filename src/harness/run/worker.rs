//! What a worker does: runs trials on QEMUs that it starts, resets, or replaces, so that
//! neither a failure nor a pass is owed to what ran before.
//!
//! - A QEMU that saw a failure, a crash or a hang, or something that a reset does not undo,
//!   is not used again.
//! - What fails on a QEMU that was used before is tried again on a fresh one.
//! - A pass is final when its QEMU has ended. If that does not end well, all that ran on it
//!   are run again, each on a fresh one.

use std::rc::Rc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use crate::harness::outcome::{Attempt, Outcome, Verdict};
use crate::harness::plan::Trial;
use crate::harness::reproduce::recorder::Recorder;
use crate::harness::run::pool::Settings;
use crate::harness::run::queue::{Desk, Queue};
use crate::harness::run::session::{
    Tried, is_suspicious, launched, leave, run_fresh, run_on, spoiled,
};
use crate::harness::run::trace;
use crate::protocol;
use crate::qemu::{ResetError, Starting, Vm, is_stopping};

/// How many trials one QEMU runs at most; more would make a failure hard to trace.
pub(crate) const GROUP: usize = 32;

/// How many of the paths that ran before a failure are tried alone before it.
const SUSPECTS: usize = 8;

/// What workers tell.
pub(crate) enum Message {
    Outcome(Box<Outcome>),
    /// A QEMU was started.
    Launched,
    /// A QEMU was reset and is used again.
    Reset,
    /// Worker number so and so is gone.
    Finished(usize),
}

/// Tells that the worker is gone, however that comes.
struct Farewell<'a>(&'a Sender<Message>, usize);

impl Drop for Farewell<'_> {
    fn drop(&mut self) {
        let _ = self.0.send(Message::Finished(self.1));
    }
}

/// Works until there is nothing left to do.
pub(crate) fn work(
    number: usize,
    desk: &Desk,
    queue: &Queue,
    settings: &Settings,
    messages: &Sender<Message>,
) {
    let farewell = Farewell(messages, number);
    desk.note_thread();
    trace::enter(settings.trace.clone(), number);
    let mut worker = Worker { desk, queue, settings, messages, starting: None };
    while !is_stopping() && worker.has_group() && worker.run_group() {
        desk.next_group();
    }
    // What it holds goes before it says that it is gone.
    drop(worker);
    drop(farewell);
}

/// A QEMU and what has run on it.
struct Session {
    vm: Rc<Vm>,
    ran: Vec<Trial>,
    /// What listened to the last of them.
    recorder: Option<Rc<Recorder>>,
}

struct Worker<'a> {
    desk: &'a Desk,
    queue: &'a Queue,
    settings: &'a Settings,
    messages: &'a Sender<Message>,
    /// The QEMU for the next group.
    starting: Option<Starting>,
}

impl Worker<'_> {
    fn has_group(&mut self) -> bool {
        if !self.desk.is_clear() {
            return true;
        }
        let group = self.queue.take().or_else(|| self.queue.help());
        group.map(|group| self.desk.put(group)).is_some()
    }

    /// Has the QEMU of the next group start, while the last trial of this one runs.
    fn prepare_next(&mut self) {
        let Some(group) = self.queue.take() else { return };
        let first = group.trials.front().map(|trial| &trial.path);
        let starts = &self.queue.starts;
        let is_hopeless = first.is_some_and(|path| {
            path.guest().is_some() || starts.known(&group.emulator, path).is_some()
        });
        if !is_hopeless {
            self.starting = Vm::start(&group.emulator, group.config.clone()).ok();
        }
        self.desk.put(group);
    }

    /// Runs the first group; whether anybody waits for more.
    fn run_group(&mut self) -> bool {
        // Somebody else may have taken the group for which it was started.
        let mut ready = self.starting.take();
        ready = ready.filter(|it| self.desk.wants(it.emulator(), it.config()));
        let mut session: Option<Session> = None;
        while let Some((trial, left)) = self.desk.next() {
            if is_stopping() {
                self.desk.put_down(None);
                break;
            }
            if trial.path.guest().is_some() {
                // No QEMU has two of them, and none of it is there for a path beside.
                let tried = self.fresh(&trial);
                if !self.conclude(&trial, tried, &[]) {
                    return false;
                }
                continue;
            }
            let before = session.take().and_then(|session| self.renewed(session));
            let started = ready.take();
            if left == 0 && self.settings.starts_ahead {
                self.prepare_next();
            }
            let (mut at, launch) = match before {
                Some(before) => before,
                None => match self.launch(&trial, started) {
                    Ok(fresh) => fresh,
                    Err(tried) => {
                        if !self.conclude(&trial, *tried, &[]) {
                            return false;
                        }
                        continue;
                    }
                },
            };
            let version = trial.emulator.capabilities.version;
            if self.settings.expectations.may_hang(&trial.path.name(), version) {
                at.vm.hurry();
            }
            let tried = run_on(&trial.path, &at.vm, launch);
            if tried.is_good() {
                at.recorder = tried.recorder.clone();
                self.desk.put_down(Some(self.outcome(&trial, tried, Vec::new())));
                at.ran.push(trial);
                session = Some(at);
                if self.settings.fresh && !self.end(session.take()) {
                    return false;
                }
            } else {
                // How it would have ended, nobody will know.
                let after = std::mem::take(&mut at.ran);
                drop(at);
                if !self.send_finished() || !self.conclude(&trial, tried, &after) {
                    return false;
                }
            }
        }
        self.end(session)
    }

    fn launch(
        &self,
        trial: &Trial,
        started: Option<Starting>,
    ) -> Result<(Session, Duration), Box<Tried>> {
        let (limits, starts) = (self.settings.limits, &self.queue.starts);
        if let Some(untried) = starts.known(&trial.emulator, &trial.path) {
            return Err(Box::new(untried));
        }
        let launched = launched(&trial.path, &trial.emulator, || match started {
            Some(starting) => starting.ready(limits),
            None => Vm::launch(&trial.emulator, trial.config(), limits),
        });
        let (vm, took) = launched.inspect_err(|tried| {
            self.desk.go_on();
            starts.note_failure(trial, tried, limits);
        })?;
        starts.note_success(&trial.emulator);
        let _ = self.messages.send(Message::Launched);
        Ok((Session { vm, ran: Vec::new(), recorder: None }, took))
    }

    /// The same QEMU for another trial, and how long that took; `None` if it cannot be used
    /// for one, and is gone then.
    fn renewed(&self, session: Session) -> Option<(Session, Duration)> {
        let vm = &session.vm;
        let is_kept = Rc::strong_count(vm) > 1;
        if is_kept || vm.lasting_change().is_some() || self.queue.is_deaf(vm.emulator()) {
            self.end(Some(session));
            return None;
        }
        if is_suspicious(vm) {
            self.spoil_last(&session, Verdict::Passed);
            return None;
        }
        let begun = Instant::now();
        let reset = || session.vm.reset(self.settings.limits);
        let why = match trace::span("reset", || session.vm.config().machine.clone(), reset) {
            Ok(()) => {
                let _ = self.messages.send(Message::Reset);
                return Some((session, begun.elapsed()));
            }
            Err(e @ (ResetError::Unknown | ResetError::Io(_))) => {
                if matches!(e, ResetError::Unknown) {
                    self.queue.note_deaf(session.vm.emulator());
                }
                self.end(Some(session));
                return None;
            }
            Err(ResetError::Protocol(e)) => e,
        };
        // The test did pass; but a machine that does not survive its reset is broken.
        let what = "the test passed, but when the machine was reset after it";
        let ending = session.vm.ending_within(Duration::from_secs(1));
        let verdict = match (ending, &why) {
            (Some(ending), _) => Verdict::Crashed(format!("{what}, QEMU {ending}: {why}")),
            (None, protocol::Error::Deadline { .. }) => Verdict::Hung(format!("{what}: {why}")),
            (None, _) => Verdict::Failed(format!("{what}: {why}")),
        };
        self.spoil_last(&session, verdict);
        None
    }

    /// The last path on this QEMU, which had passed, went as `verdict` and what QEMU wrote
    /// say.
    fn spoil_last(&self, session: &Session, verdict: Verdict) {
        let mut finished = self.desk.take_finished();
        if let (Some(mut last), Some(trial)) = (finished.pop(), session.ran.last()) {
            let recorder = session.recorder.clone();
            let spoiled = spoiled(&trial.path, &session.vm, recorder, verdict);
            if spoiled.verdict.is_failure() {
                let Outcome { took, phases, .. } = last;
                last = self.outcome(trial, Tried { took, phases, ..spoiled }, Vec::new());
            }
            finished.push(last);
        }
        finished.into_iter().for_each(|outcome| self.send(outcome));
    }

    /// Ends a QEMU on which everything passed. If it does not end well, all that ran on it
    /// are run again. Whether anybody waits for more.
    fn end(&self, session: Option<Session>) -> bool {
        let Some(session) = session else { return self.send_finished() };
        let begun = Instant::now();
        let last = session.ran.last();
        // Nothing is expected of a QEMU on which nothing was tested.
        let tested = self.desk.has_passed();
        let ill = if tested { leave(&session.vm) } else { None };
        session.vm.kill();
        let ill = ill.or_else(|| is_suspicious(&session.vm).then_some(Verdict::Passed));
        let mut finished = self.desk.take_finished();
        if let Some(last) = finished.last_mut() {
            last.took += begun.elapsed();
            last.phases.leave = begun.elapsed().as_secs_f64();
        }
        let (Some(verdict), Some(trial)) = (ill, last) else {
            finished.into_iter().for_each(|outcome| self.send(outcome));
            return self.desk.unless_given_up(|| {});
        };
        let tried = spoiled(&trial.path, &session.vm, session.recorder.clone(), verdict);
        let (last, others) = session.ran.split_last().unwrap_or((trial, &[]));
        if others.is_empty() || !tried.verdict.is_failure() {
            finished.pop();
            finished.into_iter().for_each(|outcome| self.send(outcome));
            return self.conclude(last, tried, &[]);
        }
        let mut is_found = false;
        let alone = |trial: &Trial| {
            self.desk.take_up(trial);
            let alone = self.fresh(trial);
            is_found |= alone.verdict.is_failure();
            self.conclude(trial, alone, &[])
        };
        if !others.iter().all(alone) {
            return false;
        }
        self.desk.take_up(last);
        // With a guilty one found, only what it does alone counts.
        match is_found {
            true => self.conclude(last, self.fresh(last), &[]),
            false => self.conclude(last, tried, others),
        }
    }

    fn fresh(&self, trial: &Trial) -> Tried {
        self.desk.go_on();
        let _ = self.messages.send(Message::Launched);
        run_fresh(&trial.path, &trial.emulator, self.settings.limits)
    }

    /// Settles the outcome of a trial that did not pass, on a QEMU that had run `after`.
    /// Whether anybody waits for more.
    fn conclude(&self, trial: &Trial, tried: Tried, after: &[Trial]) -> bool {
        let outcome = self.settle(trial, tried, after);
        self.desk.put_down(None);
        self.send(outcome);
        self.desk.unless_given_up(|| {})
    }

    fn settle(&self, trial: &Trial, tried: Tried, after: &[Trial]) -> Outcome {
        let failed = |tried: &Tried| tried.verdict.is_failure() && !is_stopping();
        let mut attempts: Vec<Attempt> = Vec::new();
        let mut tried = tried;
        // What fails as it is known to needs no second look.
        let is_known = |tried: &Tried| {
            let (name, version) = (trial.path.name(), trial.emulator.capabilities.version);
            let judged = self.settings.expectations.judge(&name, version, tried.verdict.clone());
            matches!(judged, Verdict::ExpectedFailure(_))
        };
        if failed(&tried) && !after.is_empty() && !is_known(&tried) {
            let names = after.iter().map(|trial| trial.path.name()).collect();
            let first = std::mem::replace(&mut tried, self.fresh(trial));
            if tried.is_good() {
                let search = self.queue.may_search();
                let culprit = search.then(|| self.culprit(trial, after)).flatten();
                tried.verdict = Verdict::Dependent(format!(
                    "passes on a fresh QEMU; after {} and a reset: {}",
                    culprit.unwrap_or_else(|| listed(after)),
                    first.verdict.message()
                ));
                tried.evidence = first.evidence.clone();
            }
            attempts.push(first.attempt(names));
        }
        let version = trial.emulator.capabilities.version;
        let expected = self.settings.expectations.concern(&trial.path.name(), version);
        for _ in 0..self.settings.retries {
            if !failed(&tried) || expected || tried.is_untried {
                break;
            }
            let before = std::mem::replace(&mut tried, self.fresh(trial));
            if tried.verdict == Verdict::Passed {
                let message = before.verdict.message();
                let why = format!("passes at attempt {}; before: {message}", attempts.len() + 2);
                tried.verdict = Verdict::Flaky(why);
                tried.evidence = before.evidence.clone();
            }
            attempts.push(before.attempt(Vec::new()));
        }
        self.outcome(trial, tried, attempts)
    }

    /// The outcome of a trial after these attempts, in the light of what was expected.
    fn outcome(&self, trial: &Trial, tried: Tried, attempts: Vec<Attempt>) -> Outcome {
        let (recorder, is_untried) = (tried.recorder.clone(), tried.is_untried);
        let mut outcome = tried.outcome(trial, attempts);
        let version = trial.emulator.capabilities.version;
        let expectations = &self.settings.expectations;
        outcome.verdict = expectations.judge(&outcome.name, version, outcome.verdict);
        let (emulator, config) = (&trial.emulator, trial.config());
        match trial.path.guest() {
            Some(guest) => {
                self.settings.reproducers.keep_guest(&mut outcome, emulator, guest, &config)
            }
            None if is_untried => {}
            None => {
                self.settings.reproducers.keep(
                    &mut outcome,
                    emulator,
                    &config,
                    recorder.as_deref(),
                );
            }
        }
        outcome
    }

    /// The one path after which alone `trial` fails, if one of the last does that.
    fn culprit(&self, trial: &Trial, after: &[Trial]) -> Option<String> {
        let limits = self.settings.limits;
        let fails_after = |suspect: &&Trial| {
            self.desk.go_on();
            let _ = self.messages.send(Message::Launched);
            let Ok(vm) = Vm::launch(&suspect.emulator, suspect.config(), limits) else {
                return false;
            };
            let vm = Rc::new(vm);
            let first = run_on(&suspect.path, &vm, Duration::ZERO);
            first.is_good()
                && vm.reset(limits).is_ok()
                && run_on(&trial.path, &vm, Duration::ZERO).verdict.is_failure()
        };
        let found = after.iter().rev().take(SUSPECTS).find(fails_after);
        found.map(|suspect| suspect.path.name())
    }

    fn send_finished(&self) -> bool {
        self.desk.take_finished().into_iter().for_each(|outcome| self.send(outcome));
        self.desk.unless_given_up(|| {})
    }

    fn send(&self, outcome: Outcome) {
        // Here, so that this worker begins nothing more either.
        if let Some(most) = self.settings.max_fail
            && outcome.verdict.is_failure()
            && self.queue.count_failure() >= most.get()
        {
            self.queue.close();
        }
        self.desk.unless_given_up(|| {
            let _ = self.messages.send(Message::Outcome(Box::new(outcome)));
        });
    }
}

/// Runs `trial` on a QEMU of its own, as often as it takes.
pub fn run_alone(trial: &Trial, settings: &Settings) -> Outcome {
    let (messages, _) = channel();
    let desk = &Desk::new(Duration::from_secs(24 * 60 * 60));
    let queue = &Queue::new(Box::new(std::iter::empty()), 1);
    let worker = Worker { desk, queue, settings, messages: &messages, starting: None };
    worker.settle(trial, worker.fresh(trial), &[])
}

/// The paths in a few words.
fn listed(trials: &[Trial]) -> String {
    let names: Vec<String> = trials.iter().map(|trial| trial.path.name()).collect();
    names.join(", ")
}
