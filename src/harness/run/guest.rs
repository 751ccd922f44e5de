//! A path that ends at a guest: QEMU is started with CPUs that run, and its end and the guest's
//! lines are the outcome. Nothing is reset and used again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::graph::Path;
use crate::guests::{self, Guest, Judged, Log, Seen};
use crate::harness::outcome::Verdict;
use crate::harness::run::session::Tried;
use crate::harness::run::trace;
use crate::harness::start::said;
use crate::qemu::{Emulator, GuestEnd, GuestStart, Limits, run_guest as start_and_wait};

/// How many of the last lines are told of a guest that does not end.
const LAST_LINES: usize = 5;
/// What stands for no limit: the timers count no more than that.
const NO_LIMIT: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long a guest may take on this emulator, where other paths may take as long as `limits`
/// say.
pub(crate) fn limit(guest: &Guest, emulator: &Emulator, limits: Limits) -> Duration {
    match guest.limit.unwrap_or(limits.whole) {
        Duration::ZERO => NO_LIMIT,
        whole => Limits { whole, ..limits }.scaled(emulator.pace.factor()).whole.min(NO_LIMIT),
    }
}

/// Runs the guest at which `path` ends.
pub(super) fn run_guest(
    path: &Path,
    guest: &Guest,
    emulator: &Arc<Emulator>,
    limits: Limits,
) -> Tried {
    let accel = emulator.guest_accel();
    let trouble = emulator.environment.as_ref().and_then(|it| it.trouble.clone());
    if let Some(why) = trouble.or_else(|| guest.lacks(accel)) {
        return Tried::new(path, emulator, Verdict::Skipped(why));
    }
    let words = path.guest_words(emulator, accel).unwrap_or_default();
    let words = words.into_iter().map(|word| guests::with_time(&word, now())).collect();
    let limit = limit(guest, emulator, limits);
    let start = limits.scaled(emulator.pace.factor()).request;
    let log = Arc::new(Mutex::new(Log::new(guest.convention.marks())));
    let (written, looked) = (log.clone(), log.clone());
    let take = move |bytes: &[u8]| lock(&written).push(bytes);
    let is_enough = || guest.convention.is_over(&lock(&looked));
    let run = || start_and_wait(emulator, GuestStart { words, start, limit }, take, is_enough);
    let end = match trace::span("guest", || path.name(), run) {
        Ok(end) => end,
        Err(e) => return Tried::new(path, emulator, Verdict::Failed(e.to_string())),
    };
    let mut log = std::mem::take(&mut *lock(&log));
    log.finish();
    let mut tried = Tried::new(path, emulator, verdict(guest, &end, &log, limit));
    tried.took = end.launch + end.ran;
    tried.phases.launch = end.launch.as_secs_f64();
    tried.phases.test = end.ran.as_secs_f64();
    tried.evidence.console = log.text();
    tried.evidence.output = end.output;
    tried.parts = log.parts.into_kept();
    tried.judged()
}

fn lock(log: &Mutex<Log>) -> std::sync::MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// What the end of QEMU and the guest's lines mean.
fn verdict(guest: &Guest, end: &GuestEnd, log: &Log, limit: Duration) -> Verdict {
    let is_over = guest.convention.is_over(log);
    let ending = match end.ending {
        Some(ending) if !is_over => ending,
        _ if is_over => return judged(guest, end, log, None),
        _ if !end.is_started => {
            let why = "QEMU did not start: its monitor does not answer";
            return Verdict::Hung(why.to_owned());
        }
        _ => return Verdict::Hung(hung(end, log, limit)),
    };
    let Some(status) = ending.status() else {
        let words = &log.parts.in_words();
        let checks =
            if words.is_empty() { String::new() } else { format!(", after {words} of the guest") };
        return Verdict::Crashed(format!("QEMU {ending}{checks}"));
    };
    match (end.is_started, said(&end.output)) {
        (true, _) => judged(guest, end, log, Some(status)),
        (false, Some(said)) if ending.is_refusal() => {
            Verdict::Skipped(format!("QEMU refuses its command line: {said}"))
        }
        (false, said) => {
            let said =
                said.map_or_else(|| "without a word".to_owned(), |it| format!("saying: {it}"));
            Verdict::Failed(format!("QEMU {ending} before the guest could start, {said}"))
        }
    }
}

fn judged(guest: &Guest, end: &GuestEnd, log: &Log, status: Option<i32>) -> Verdict {
    let shutdown = end.shutdown.as_deref();
    match guest.convention.judge(Seen { status, shutdown, log }) {
        Judged::Passed => Verdict::Passed,
        Judged::Failed(why) => Verdict::Failed(why),
        Judged::Skipped(why) => Verdict::Skipped(why),
        Judged::Crashed(why) => Verdict::Crashed(why),
    }
}

/// What there is to say of a guest that did not end.
fn hung(end: &GuestEnd, log: &Log, limit: Duration) -> String {
    let words = log.parts.in_words();
    let checks = if words.is_empty() { String::new() } else { format!("; so far {words}") };
    let mut text = format!("the guest did not end within {limit:?}; {}{checks}", end.doing);
    let lines = log.last_lines(LAST_LINES);
    if lines.is_empty() {
        text.push_str("; it wrote nothing");
    }
    for line in lines {
        text.push_str(&format!("\n    {line}"));
    }
    text
}
