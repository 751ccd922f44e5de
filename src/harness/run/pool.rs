//! Many trials at once: hands them out to workers, watches over these, and passes every
//! outcome on as it comes. What a worker does with a trial is in `worker`.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use crate::harness::outcome::{Outcome, Phases, Verdict};
use crate::harness::plan::Trial;
use crate::harness::reproduce::reproducer::Reproducers;
use crate::harness::run::expectations::Expectations;
use crate::harness::run::queue::{Desk, Left, Queue};
use crate::harness::run::session::Tried;
use crate::harness::run::silence::Silence;
use crate::harness::run::trace::Trace;
use crate::harness::run::worker::{self, Message};
use crate::qemu::{Limits, is_stopping, stop_all};

/// How a run is done.
#[derive(Clone)]
pub struct Settings {
    /// How many trials run at once.
    pub jobs: NonZeroUsize,
    /// The limits of one attempt.
    pub limits: Limits,
    /// After how long the whole run is stopped.
    pub whole_run: Option<Duration>,
    /// Whether every trial gets a QEMU of its own.
    pub fresh: bool,
    /// Whether the next QEMU starts while the last trial of one runs.
    pub starts_ahead: bool,
    /// How often a trial that failed is tried again.
    pub retries: usize,
    /// After how many failures nothing more is begun.
    pub max_fail: Option<NonZeroUsize>,
    /// What is known to fail.
    pub expectations: Arc<Expectations>,
    /// Where each failure leaves a file that replays it.
    pub reproducers: Arc<Reproducers>,
    /// Where it is noted what each worker does when, if anybody wants to know.
    pub trace: Option<Arc<Trace>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            jobs: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            limits: Limits::default(),
            whole_run: None,
            fresh: false,
            starts_ahead: true,
            retries: 0,
            max_fail: None,
            expectations: Arc::default(),
            reproducers: Arc::default(),
            trace: None,
        }
    }
}

impl Settings {
    /// The same with no more than one QEMU at any time, each for one trial.
    pub fn one_at_a_time(self) -> Self {
        Self { jobs: NonZeroUsize::MIN, fresh: true, starts_ahead: false, ..self }
    }
}

/// What a run took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    /// Where the time went, all workers together, in seconds.
    pub phases: Phases,
    /// How many QEMUs were started.
    pub launches: usize,
    /// How often one was reset and used again.
    pub resets: usize,
    /// Whether the run took longer than it might and was stopped.
    pub is_overtime: bool,
}

/// How often the thread of a test that has exceeded its limit is looked at: as long as it makes
/// requests, their limits end it, and otherwise it is given up.
const LOOK: Duration = Duration::from_millis(200);

struct Pool {
    settings: Settings,
    queue: Arc<Queue>,
    desks: Vec<Arc<Desk>>,
    messages: Sender<Message>,
}

impl Pool {
    fn hire(&mut self) {
        let number = self.desks.len();
        let desk = Arc::new(Desk::new(self.settings.limits.whole));
        self.desks.push(desk.clone());
        self.queue.add_desk(desk.clone());
        let (settings, queue) = (self.settings.clone(), self.queue.clone());
        let messages = self.messages.clone();
        let work = move || worker::work(number, &desk, &queue, &settings, &messages);
        let thread = std::thread::Builder::new().name(format!("worker {number}")).spawn(work);
        if thread.is_err() {
            let _ = self.messages.send(Message::Finished(number));
        }
    }
}

/// Runs `trials` as `settings` say, and hands every outcome to `done` as it comes. Ends
/// early, without beginning any more, when `done` says so or once the run is to stop.
pub fn run_all(
    trials: impl Iterator<Item = Trial> + Send + 'static,
    settings: &Settings,
    mut done: impl FnMut(Outcome) -> ControlFlow<()>,
) -> Totals {
    let end = settings.whole_run.and_then(|whole| Instant::now().checked_add(whole));
    let (messages, coming) = channel();
    let group = if settings.fresh { 1 } else { worker::GROUP };
    let queue = Arc::new(Queue::new(Box::new(trials), group));
    let mut pool = Pool { settings: settings.clone(), queue, desks: Vec::new(), messages };
    (0..settings.jobs.get()).for_each(|_| pool.hire());
    let mut working = pool.desks.len();
    let mut totals = Totals::default();
    // Workers nobody waits for any more, and those whose test has exceeded its limit.
    let mut gone = HashSet::new();
    let mut overdue: HashMap<usize, Silence> = HashMap::new();
    let mut looked = Instant::now();
    let closing = pool.queue.clone();
    let mut note = |outcome: Outcome, totals: &mut Totals| {
        totals.phases.add(&outcome.phases);
        if done(outcome).is_break() {
            closing.close();
        }
    };
    while working > 0 {
        let end = end.filter(|_| !is_stopping());
        let due = pool.desks.iter().filter_map(|desk| desk.due()).min();
        let next = due.map(|due| due.max(looked + LOOK));
        let patience =
            next.into_iter().chain(end).min().map_or(settings.limits.whole, |next| {
                next.saturating_duration_since(Instant::now())
            });
        match coming.recv_timeout(patience) {
            Ok(Message::Outcome(outcome)) => note(*outcome, &mut totals),
            Ok(Message::Launched) => totals.launches += 1,
            Ok(Message::Reset) => totals.resets += 1,
            Ok(Message::Finished(number)) if gone.contains(&number) => {}
            Ok(Message::Finished(number)) => {
                working -= 1;
                // A worker that is gone in the middle of something has panicked.
                let left = pool.desks[number].give_up();
                if !left.is_nothing() && !is_stopping() {
                    let why = "a bug of qgraph: the thread that ran this path panicked";
                    let verdict = Verdict::Failed(why.to_owned());
                    take_over(&mut pool, left, verdict, &mut |outcome| note(outcome, &mut totals));
                    working += 1;
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                if end.is_some_and(|end| end <= Instant::now()) {
                    totals.is_overtime = true;
                    stop_all();
                }
                looked = Instant::now();
                for number in 0..pool.desks.len() {
                    if !is_lost(&pool.desks[number], number, &mut overdue) {
                        continue;
                    }
                    gone.insert(number);
                    let left = pool.desks[number].give_up();
                    let limit = settings.limits.whole;
                    let why = format!(
                        "the test did not end within {limit:?}, and makes no requests that \
                         would end it; its thread was given up"
                    );
                    let verdict = Verdict::Hung(why);
                    take_over(&mut pool, left, verdict, &mut |outcome| note(outcome, &mut totals));
                }
            }
        }
    }
    totals
}

/// Whether the test at a desk has exceeded its limit and makes no requests that would end it.
fn is_lost(desk: &Desk, number: usize, overdue: &mut HashMap<usize, Silence>) -> bool {
    let now = Instant::now();
    let thread = desk.due().filter(|due| *due <= now).and_then(|_| desk.thread());
    let Some(thread) = thread else {
        overdue.remove(&number);
        return false;
    };
    overdue.entry(number).or_insert_with(|| Silence::of(thread, now)).is_over(now)
}

/// Tells what a worker had finished and what became of its trial, and hires another for the
/// rest.
fn take_over(pool: &mut Pool, left: Left, verdict: Verdict, note: &mut dyn FnMut(Outcome)) {
    left.finished.into_iter().for_each(&mut *note);
    if let Some(trial) = left.trial {
        note(Tried::new(&trial.path, &trial.emulator, verdict).outcome(&trial, Vec::new()));
    }
    pool.queue.give_back(left.groups);
    pool.hire();
}
