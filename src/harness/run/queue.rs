//! What lies on the desks of the workers, and the queue from which they take it: so that
//! nothing is lost with a worker, and one that has nothing to do can help another.

use std::collections::{HashSet, VecDeque};
use std::iter::Peekable;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::harness::outcome::{Outcome, Verdict};
use crate::harness::plan::Trial;
use crate::harness::run::guest::limit;
use crate::harness::run::silence::WorkerThread;
use crate::harness::run::starts::Starts;
use crate::qemu::{Config, Emulator, Limits};

/// Trials that the same QEMU can run, one after the other.
pub(crate) struct Group {
    pub emulator: Arc<Emulator>,
    pub config: Config,
    pub trials: VecDeque<Trial>,
}

impl Group {
    fn of(trial: Trial) -> Self {
        let (emulator, config) = (trial.emulator.clone(), trial.config());
        Self { emulator, config, trials: VecDeque::from([trial]) }
    }

    fn fits(&self, trial: &Trial) -> bool {
        Arc::ptr_eq(&self.emulator, &trial.emulator) && self.config == trial.config()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One worker's.
pub(crate) struct Desk {
    patience: Duration,
    work: Mutex<Work>,
    thread: Mutex<Option<WorkerThread>>,
}

#[derive(Default)]
struct Work {
    /// The group that is being run, and behind it the one that comes next.
    groups: VecDeque<Group>,
    /// What is being run, and when it must be over.
    trial: Option<(Trial, Instant)>,
    /// Outcomes that are not final before the QEMU has ended well.
    finished: Vec<Outcome>,
    /// Nobody waits for this worker any more.
    given_up: bool,
}

/// What was on the desk of a worker that was given up.
#[derive(Default)]
pub(crate) struct Left {
    pub trial: Option<Trial>,
    pub groups: Vec<Group>,
    pub finished: Vec<Outcome>,
}

impl Left {
    pub fn is_nothing(&self) -> bool {
        self.trial.is_none() && self.groups.is_empty() && self.finished.is_empty()
    }
}

impl Desk {
    /// A desk at which a trial may take as long as `patience`.
    pub fn new(patience: Duration) -> Self {
        Self { patience, work: Mutex::default(), thread: Mutex::default() }
    }

    fn due_from_now(&self, trial: &Trial) -> Instant {
        let now = Instant::now();
        // What starts and ends around a guest takes as long as a path may.
        let own = trial.path.guest().map(|it| limit(it, &trial.emulator, Limits::default()));
        let patience = own.map_or(self.patience, |own| own.saturating_add(self.patience));
        // What overflows the clock means "no limit": a year stands for it.
        now.checked_add(patience).unwrap_or(now + Duration::from_secs(365 * 24 * 60 * 60))
    }

    /// The calling thread is the worker's.
    pub fn note_thread(&self) {
        *lock(&self.thread) = Some(WorkerThread::this());
    }

    /// The worker's thread, once it runs.
    pub fn thread(&self) -> Option<WorkerThread> {
        lock(&self.thread).clone()
    }

    /// Puts a group behind those that are there.
    pub fn put(&self, group: Group) {
        lock(&self.work).groups.push_back(group);
    }

    /// Takes the next trial of the first group; `None` when it has none left. Also says how
    /// many are left in it then.
    pub fn next(&self) -> Option<(Trial, usize)> {
        let work = &mut *lock(&self.work);
        let group = work.groups.front_mut()?;
        let trial = group.trials.pop_front()?;
        let left = group.trials.len();
        work.trial = Some((trial.clone(), self.due_from_now(&trial)));
        Some((trial, left))
    }

    /// The first group is done.
    pub fn next_group(&self) {
        lock(&self.work).groups.pop_front();
    }

    /// Whether nothing is on it.
    pub fn is_clear(&self) -> bool {
        lock(&self.work).groups.is_empty()
    }

    /// This trial is run again.
    pub fn take_up(&self, trial: &Trial) {
        lock(&self.work).trial = Some((trial.clone(), self.due_from_now(trial)));
    }

    /// Whether there is an outcome that is a pass if QEMU ends well.
    pub fn has_passed(&self) -> bool {
        let skipped = |outcome: &Outcome| matches!(outcome.verdict, Verdict::Skipped(_));
        lock(&self.work).finished.iter().any(|outcome| !skipped(outcome))
    }

    /// Another attempt at the trial begins, with a limit of its own.
    pub fn go_on(&self) {
        if let Some((trial, due)) = &mut lock(&self.work).trial {
            *due = self.due_from_now(trial);
        }
    }

    /// The trial is over, or its outcome known as far as the test goes.
    pub fn put_down(&self, finished: Option<Outcome>) {
        let work = &mut *lock(&self.work);
        work.trial = None;
        work.finished.extend(finished);
    }

    /// Takes the outcomes that were not final.
    pub fn take_finished(&self) -> Vec<Outcome> {
        std::mem::take(&mut lock(&self.work).finished)
    }

    /// Does `what` unless nobody waits for this worker any more; whether somebody does.
    pub fn unless_given_up(&self, what: impl FnOnce()) -> bool {
        let work = lock(&self.work);
        if !work.given_up {
            what();
        }
        !work.given_up
    }

    /// When the trial must be over that is being run.
    pub fn due(&self) -> Option<Instant> {
        lock(&self.work).trial.as_ref().map(|(_, due)| *due)
    }

    /// Takes everything; from now on nobody waits for this worker.
    pub fn give_up(&self) -> Left {
        let nothing = Work { given_up: true, ..Work::default() };
        let work = std::mem::replace(&mut *lock(&self.work), nothing);
        Left {
            trial: work.trial.map(|(trial, _)| trial),
            groups: work.groups.into(),
            finished: work.finished,
        }
    }

    /// Takes the trials away that nobody has begun.
    fn clear(&self) {
        lock(&self.work).groups.iter_mut().for_each(|group| group.trials.clear());
    }

    /// How many trials nobody has begun.
    fn idle(&self) -> usize {
        lock(&self.work).groups.iter().map(|group| group.trials.len()).sum()
    }

    /// Gives the group away that comes next, or half of what is left of the one being run.
    fn share(&self) -> Option<Group> {
        let work = &mut *lock(&self.work);
        if work.groups.len() > 1 {
            return work.groups.pop_back().filter(|group| !group.trials.is_empty());
        }
        let group = work.groups.front_mut()?;
        let keep = group.trials.len() / 2;
        let trials = group.trials.split_off(keep);
        let (emulator, config) = (group.emulator.clone(), group.config.clone());
        (!trials.is_empty()).then_some(Group { emulator, config, trials })
    }

    /// Whether the first group is for a QEMU of this kind.
    pub fn wants(&self, emulator: &Arc<Emulator>, config: &Config) -> bool {
        let work = lock(&self.work);
        let wants =
            |group: &Group| Arc::ptr_eq(&group.emulator, emulator) && group.config == *config;
        work.groups.front().is_some_and(wants)
    }
}

/// How many culprits are searched for in one run.
const MOST_SEARCHES: usize = 10;

type Trials = Box<dyn Iterator<Item = Trial> + Send>;

/// What nobody has taken yet.
pub(crate) struct Queue {
    /// How many trials a group has at most.
    most: usize,
    trials: Mutex<Peekable<Trials>>,
    returned: Mutex<Vec<Group>>,
    desks: Mutex<Vec<Arc<Desk>>>,
    /// Emulators that do not tell when they have reset a machine.
    deaf: Mutex<HashSet<PathBuf>>,
    /// How many culprits were searched for.
    searches: AtomicUsize,
    /// Which machines do not start.
    pub starts: Starts,
    failures: AtomicUsize,
}

impl Queue {
    pub fn new(trials: Trials, most: usize) -> Self {
        let (returned, desks, deaf, searches, starts, failures) = Default::default();
        let trials = Mutex::new(trials.peekable());
        Self { most, trials, returned, desks, deaf, searches, starts, failures }
    }

    /// Whether another culprit may be searched for: that costs several launches, and one
    /// device that does not reset has many victims.
    pub fn may_search(&self) -> bool {
        self.searches.fetch_add(1, Ordering::Relaxed) < MOST_SEARCHES
    }

    /// Counts a failure. Returns how many there are.
    pub fn count_failure(&self) -> usize {
        self.failures.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// This emulator does not tell when it has reset a machine.
    pub fn note_deaf(&self, emulator: &Emulator) {
        lock(&self.deaf).insert(emulator.path.clone());
    }

    /// Whether that is known of it.
    pub fn is_deaf(&self, emulator: &Emulator) -> bool {
        lock(&self.deaf).contains(&emulator.path)
    }

    pub fn add_desk(&self, desk: Arc<Desk>) {
        lock(&self.desks).push(desk);
    }

    /// Groups that somebody took and will not run.
    pub fn give_back(&self, groups: Vec<Group>) {
        lock(&self.returned).extend(groups.into_iter().filter(|group| !group.trials.is_empty()));
    }

    /// Nothing is begun any more.
    pub fn close(&self) {
        let desks = lock(&self.desks);
        *lock(&self.trials) = (Box::new(std::iter::empty()) as Trials).peekable();
        lock(&self.returned).clear();
        desks.iter().for_each(|desk| desk.clear());
    }

    /// The next group that nobody has.
    pub fn take(&self) -> Option<Group> {
        if let Some(group) = lock(&self.returned).pop() {
            return Some(group);
        }
        let trials = &mut *lock(&self.trials);
        let mut group = Group::of(trials.next()?);
        while group.trials.len() < self.most
            && let Some(trial) = trials.next_if(|trial| group.fits(trial))
        {
            group.trials.push_back(trial);
        }
        Some(group)
    }

    /// A part of what the one who has most has not begun.
    pub fn help(&self) -> Option<Group> {
        let desks = lock(&self.desks);
        let desk = desks.iter().max_by_key(|desk| desk.idle())?;
        desk.share()
    }
}
