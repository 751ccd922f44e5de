//! One path on one QEMU, and what came of it. Whatever QEMU, a driver or a test does, it
//! stays in here. Which QEMU, and what becomes of it afterwards, is decided elsewhere.

use std::cell::RefCell;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use crate::graph::Path;
use crate::guests::Part;
use crate::harness::diagnose;
use crate::harness::outcome::{Attempt, Evidence, Outcome, Phases, Verdict, here};
use crate::harness::plan::{Trial, outcome_name};
use crate::harness::reproduce::recorder::Recorder;
use crate::harness::run::fuzz;
use crate::harness::run::guest::run_guest;
use crate::harness::run::trace;
use crate::harness::start::NoStart;
use crate::protocol;
use crate::qemu::{Answers, Emulator, LaunchError, Limits, Vm, is_stopping};
use crate::shown::shown_lines;
use crate::{Error, Result};

/// How long a QEMU that closed its sockets may take to end: it may be writing a core.
pub(super) const LAST_MOMENTS: Duration = Duration::from_secs(5);

thread_local! {
    /// What a test that panics on this thread said; `None` while no test runs here.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Lets panics of tests be kept instead of printed. Others go where they went before.
fn catch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let kept = PANIC.with_borrow_mut(|slot| {
                let Some(text) = slot else { return false };
                let payload = panic.payload();
                let said = payload.downcast_ref::<&str>().copied();
                let said = said.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
                let said = said.unwrap_or("a panic without words");
                let at = panic
                    .location()
                    .map_or(String::new(), |at| format!(" ({}:{})", here(at.file()), at.line()));
                *text = format!("{said}{at}");
                true
            });
            if !kept {
                before(panic);
            }
        }));
    });
}

/// How a test's function ended.
pub(crate) enum End {
    Returned(Result<()>),
    Panicked(String),
}

/// Runs the test of `path` on `vm`, come what may.
pub(crate) fn run_test(path: &Path, vm: &Rc<Vm>) -> End {
    catch_panics();
    PANIC.set(Some(String::new()));
    let result = catch_unwind(AssertUnwindSafe(|| path.run(vm)));
    let said = PANIC.take().unwrap_or_default();
    match result {
        Ok(result) => End::Returned(result),
        Err(_) => End::Panicked(said),
    }
}

/// One run of a path.
pub(crate) struct Tried {
    pub verdict: Verdict,
    pub took: Duration,
    pub phases: Phases,
    pub evidence: Evidence,
    /// The checks of a guest.
    pub parts: Vec<Part>,
    /// What registers answered.
    pub answers: Option<Vec<Answers>>,
    /// What listened to the test, if it came to that.
    pub recorder: Option<Rc<Recorder>>,
    /// No QEMU was started for it: it is known that none would start.
    pub is_untried: bool,
}

impl Tried {
    /// A run that came to nothing, or to its end somewhere else.
    pub fn new(path: &Path, emulator: &Emulator, verdict: Verdict) -> Self {
        let command_line = path.command_line(emulator);
        let file = path.file().map(str::to_owned);
        let evidence = Evidence { command_line, file, ..Evidence::default() };
        Self {
            verdict,
            took: Duration::ZERO,
            phases: Phases::default(),
            evidence,
            parts: Vec::new(),
            answers: None,
            recorder: None,
            is_untried: false,
        }
    }

    /// The same as one of several, on a QEMU on which the paths called `after` had run.
    pub fn attempt(self, after: Vec<String>) -> Attempt {
        let evidence = self.verdict.is_failure().then_some(self.evidence);
        Attempt { verdict: self.verdict, took: self.took, after, evidence }
    }

    /// Whether it passed, or did not apply.
    pub fn is_good(&self) -> bool {
        matches!(self.verdict, Verdict::Passed | Verdict::Skipped(_))
    }

    /// The outcome of `trial`, of which this was the last run, after these attempts.
    pub fn outcome(self, trial: &Trial, attempts: Vec<Attempt>) -> Outcome {
        let plain = self.is_good() || self.verdict == Verdict::Stopped;
        Outcome {
            name: trial.path.name(),
            emulator: outcome_name(&trial.emulator),
            verdict: self.verdict,
            took: self.took + attempts.iter().map(|attempt| attempt.took).sum::<Duration>(),
            phases: self.phases,
            attempts,
            parts: self.parts,
            answers: self.answers,
            reproducer: None,
            evidence: (!plain).then_some(self.evidence),
        }
    }

    /// Takes what `vm` has to say of how it went. It is killed, once the user of a debugger has
    /// seen it.
    fn with_last_words(mut self, path: &Path, vm: &Vm) -> Self {
        if let Some(wrapper) = vm.emulator().wrapper.as_ref().filter(|it| it.is_debugger())
            && self.verdict.is_failure()
            && !is_stopping()
        {
            let said = format!(
                "{}: {}\nQEMU is left to `{wrapper}`; the run goes on when that ends",
                self.verdict.word(),
                self.verdict.message()
            );
            let _ = writeln!(std::io::stderr(), "{}", shown_lines(&said));
            vm.leave_to_debugger();
        }
        if self.verdict.is_failure() && !is_stopping() {
            self.evidence.kept = vm.keep(&path.name()).map_or(String::new(), |it| it.to_string());
        }
        vm.kill();
        self.evidence.transcript = vm.transcript().to_string();
        self.evidence.output = vm.output();
        let mut judged = self.judged();
        // Behind that, so that faults of a back end are not taken for QEMU's.
        judged.evidence.output.push_str(&vm.backend_stories());
        judged
    }

    /// Looks what QEMU said of its own faults, and whether all this is owed to the run being
    /// stopped.
    pub(super) fn judged(mut self) -> Self {
        (self.verdict, self.evidence) = diagnose::judge(self.verdict, self.evidence);
        if is_stopping() && self.verdict.is_failure() {
            self.verdict = Verdict::Stopped;
        }
        self
    }
}

/// Waits for the QEMU that `launch` gives.
///
/// # Errors
/// There is none: how the path went, then.
pub(crate) fn launched(
    path: &Path,
    emulator: &Emulator,
    launch: impl FnOnce() -> Result<Vm, LaunchError>,
) -> Result<(Rc<Vm>, Duration), Box<Tried>> {
    let begun = Instant::now();
    let e = match trace::span("start", || path.machine().to_owned(), launch) {
        Ok(vm) => return Ok((Rc::new(vm), begun.elapsed())),
        Err(e) => e,
    };
    let is_refusal =
        matches!(&e, LaunchError::NoGreeting { ending: Some(ending), .. } if ending.is_refusal());
    let NoStart { verdict, cause, transcript, output } = NoStart::from(e);
    let verdict = match verdict {
        Verdict::Failed(why)
            if is_refusal && path.may_be_refused(&output) && !output.trim().is_empty() =>
        {
            Verdict::Skipped(why)
        }
        other => other,
    };
    let mut tried = Tried::new(path, emulator, verdict);
    tried.took = begun.elapsed();
    tried.phases.launch = tried.took.as_secs_f64();
    tried.evidence.no_start = tried.verdict.is_failure().then_some(cause);
    (tried.evidence.transcript, tried.evidence.output) = (transcript, output);
    Err(Box::new(tried.judged()))
}

/// Runs `path` on `vm`, which became ready in `launch`. Unless the path passed or was
/// skipped, that QEMU is dead then.
pub(crate) fn run_on(path: &Path, vm: &Rc<Vm>, launch: Duration) -> Tried {
    let begun = Instant::now();
    let recorder = Recorder::attach(vm);
    vm.note_suite(path.suite());
    let is_fuzz = path.errs();
    let end = if is_fuzz { fuzz::run(path, vm) } else { run_test(path, vm) };
    let ended = Instant::now();
    let attached = vm.attached().unwrap_or(ended);
    let mut tried = Tried::new(path, vm.emulator(), judge(end, vm));
    tried.took = launch + begun.elapsed();
    tried.phases = Phases {
        launch: launch.as_secs_f64(),
        attach: (attached - begun).as_secs_f64(),
        test: (ended - attached).as_secs_f64(),
        leave: 0.0,
    };
    let word = tried.verdict.word();
    let whole = vm.attached().is_none().then_some(word);
    trace::note("attach", || path.name(), (begun, attached), whole);
    if whole.is_none() {
        trace::note("test", || path.name(), (attached, ended), Some(word));
    }
    tried.recorder = Some(recorder);
    tried.answers = vm.take_answers();
    if let Verdict::Hung(why) = &mut tried.verdict {
        why.push_str(&format!("; {}", vm.doing()));
    }
    if let Some(trouble) = vm.backend_trouble() {
        tried.verdict = blamed(tried.verdict, trouble);
    }
    let findings = vm.ram().findings();
    if tried.verdict == Verdict::Passed && !findings.is_empty() && !is_fuzz {
        tried.verdict = Verdict::Failed(findings.join("; "));
    }
    if tried.is_good() { tried } else { tried.with_last_words(path, vm) }
}

/// What is to be said of a path on whose QEMU a back end came to grief: a QEMU that crashes or
/// hangs then is at fault all the same.
fn blamed(verdict: Verdict, trouble: String) -> Verdict {
    match verdict {
        Verdict::Crashed(why) => Verdict::Crashed(format!("{why}; {trouble}")),
        Verdict::Hung(why) => Verdict::Hung(format!("{why}; {trouble}")),
        Verdict::Failed(why) => Verdict::Failed(format!("{trouble}: {why}")),
        _ => Verdict::Failed(trouble),
    }
}

/// Lets QEMU quit, and looks how it does: `None` if well.
pub(crate) fn leave(vm: &Vm) -> Option<Verdict> {
    let quit = || vm.quit(vm.deadline().limit());
    match trace::span("quit", || vm.config().machine.clone(), quit) {
        Ok(ending) if ending.is_success() => vm
            .backend_trouble_at_end()
            .map(|why| Verdict::Failed(format!("the test passed, but then {why}"))),
        // A debugger's own status says nothing of QEMU.
        Ok(ending) if ending.is_own_exit() && vm.emulator().is_debugged() => None,
        Ok(ending) => Some(Verdict::Crashed(format!("the test passed, but then QEMU {ending}"))),
        Err(why) => Some(Verdict::Hung(format!("the test passed, but then QEMU {why}"))),
    }
}

/// What became of a path that had passed on `vm` as the last one there, because of what
/// QEMU did afterwards. QEMU is dead then.
pub(crate) fn spoiled(
    path: &Path,
    vm: &Vm,
    recorder: Option<Rc<Recorder>>,
    verdict: Verdict,
) -> Tried {
    Tried { recorder, ..Tried::new(path, vm.emulator(), verdict) }.with_last_words(path, vm)
}

/// Whether QEMU wrote of a fault of its own, although the last path on `vm` passed.
pub(crate) fn is_suspicious(vm: &Vm) -> bool {
    let evidence = Evidence { output: vm.output(), ..Evidence::default() };
    diagnose::judge(Verdict::Passed, evidence).0.is_failure()
}

/// Runs `path` on a QEMU of its own, from its start to its end.
pub(crate) fn run_fresh(path: &Path, emulator: &Arc<Emulator>, limits: Limits) -> Tried {
    if let Some(guest) = path.guest() {
        return run_guest(path, guest, emulator, limits);
    }
    let launch = || Vm::launch(emulator, path.config_on(emulator), limits);
    let (vm, took) = match launched(path, emulator, launch) {
        Ok(launched) => launched,
        Err(tried) => return *tried,
    };
    let mut tried = run_on(path, &vm, took);
    match tried.verdict {
        Verdict::Passed => {
            let begun = Instant::now();
            let ill = leave(&vm).or_else(|| is_suspicious(&vm).then_some(Verdict::Passed));
            if let Some(verdict) = ill {
                let Tried { took, phases, recorder, .. } = tried;
                tried = Tried { took, phases, ..spoiled(path, &vm, recorder, verdict) };
            }
            tried.took += begun.elapsed();
            tried.phases.leave = begun.elapsed().as_secs_f64();
        }
        _ => {
            vm.kill();
        }
    }
    tried
}

/// What is to be said of a test that ended so.
pub(crate) fn judge(end: End, vm: &Vm) -> Verdict {
    // A closed socket is the first sign of an end; other errors may hide one.
    let patience = match &end {
        End::Returned(Err(e)) if is_closed(e) => vm.at_its_pace(LAST_MOMENTS),
        _ => Duration::ZERO,
    };
    let (what, verdict) = match end {
        End::Returned(Ok(())) => ("the test had passed".to_owned(), Verdict::Passed),
        End::Panicked(said) => (said.clone(), Verdict::Failed(said)),
        End::Returned(Err(e)) => {
            let what = e.to_string();
            let verdict = match e.root() {
                Error::Skipped(_) => Verdict::Skipped(what.clone()),
                Error::Protocol(protocol::Error::Deadline { .. }) => Verdict::Hung(what.clone()),
                _ => Verdict::Failed(what.clone()),
            };
            (what, verdict)
        }
    };
    match vm.ending_within(patience) {
        Some(ending) => Verdict::Crashed(format!("QEMU {ending}: {what}")),
        None if patience > Duration::ZERO => Verdict::Crashed(format!(
            "QEMU closed its connection, but was still there {patience:?} later: {what}"
        )),
        None => verdict,
    }
}

fn is_closed(e: &Error) -> bool {
    matches!(e.root(), Error::Protocol(protocol::Error::Closed { .. }))
}
