//! One trial, one outcome. Whatever QEMU, a driver or a test does, it stays in here.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use super::outcome::{Evidence, Outcome, Phases, Verdict, here};
use crate::graph::Path;
use crate::protocol;
use crate::qemu::{Emulator, LaunchError, Limits, Vm, is_stopping};
use crate::{Error, Result};

/// How long a QEMU that closed its sockets may take to end: it may be writing a core.
const LAST_MOMENTS: Duration = Duration::from_secs(5);

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
enum End {
    Returned(Result<()>),
    Panicked(String),
}

fn run_test(path: &Path, vm: &Rc<Vm>) -> End {
    catch_panics();
    PANIC.set(Some(String::new()));
    let result = catch_unwind(AssertUnwindSafe(|| path.run(vm)));
    let said = PANIC.take().unwrap_or_default();
    match result {
        Ok(result) => End::Returned(result),
        Err(_) => End::Panicked(said),
    }
}

/// Runs `path` on a QEMU of its own.
pub fn run(path: &Path, emulator: &Arc<Emulator>, limits: Limits) -> Outcome {
    let begun = Instant::now();
    let config = path.config();
    let command_line = config.pasteable(&emulator.path, emulator.module_dir());
    let file = path.file().map(str::to_owned);
    let evidence = Evidence { command_line, file, ..Evidence::default() };
    let (verdict, evidence) = match Vm::launch(emulator, config, limits) {
        Ok(vm) => on_vm(path, &Rc::new(vm), evidence),
        Err(e) => not_launched(e, evidence),
    };
    let verdict =
        if is_stopping() && verdict != Verdict::Passed { Verdict::Stopped } else { verdict };
    let evidence = verdict.is_failure().then_some(evidence);
    Outcome {
        name: path.name(),
        emulator: emulator.path.to_string_lossy().into_owned(),
        verdict,
        took: begun.elapsed(),
        phases: Phases::default(),
        attempts: Vec::new(),
        reproducer: None,
        evidence,
    }
}

fn not_launched(e: LaunchError, evidence: Evidence) -> (Verdict, Evidence) {
    let message = e.to_string();
    let LaunchError::NoGreeting { ending, protocol, transcript, output } = e else {
        return (Verdict::Failed(message), evidence);
    };
    let verdict = match (ending, *protocol) {
        (Some(_), _) | (None, protocol::Error::Closed { .. }) => Verdict::Crashed(message),
        (None, protocol::Error::Deadline { .. }) => Verdict::Hung(message),
        (None, _) => Verdict::Failed(message),
    };
    (verdict, Evidence { transcript, output, ..evidence })
}

fn on_vm(path: &Path, vm: &Rc<Vm>, evidence: Evidence) -> (Verdict, Evidence) {
    let end = run_test(path, vm);
    let transcript = vm.transcript().to_string();
    let mut verdict = judge(end, vm);
    if verdict == Verdict::Passed {
        verdict = match vm.ram().findings().as_slice() {
            [] => leave(vm),
            findings => Verdict::Failed(findings.join("; ")),
        };
    }
    vm.kill();
    let output = vm.output();
    (verdict, Evidence { transcript, output, ..evidence })
}

/// Lets QEMU quit, and looks how it does.
fn leave(vm: &Vm) -> Verdict {
    match vm.quit(vm.deadline().limit()) {
        Ok(ending) if ending.is_success() => Verdict::Passed,
        Ok(ending) => Verdict::Crashed(format!("the test passed, but then QEMU {ending}")),
        Err(why) => Verdict::Hung(format!("the test passed, but then QEMU {why}")),
    }
}

fn judge(end: End, vm: &Vm) -> Verdict {
    // A closed socket is the first sign of an end; other errors may hide one.
    let patience = match &end {
        End::Returned(Err(e)) if is_closed(e) => LAST_MOMENTS,
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
