//! The QEMUs on which one path is run again and again: reset and used once more where that
//! works, else a fresh one each time, started while its predecessor runs.

use std::rc::Rc;
use std::sync::Arc;

use super::engine::{Bench, MakeTap};
use crate::graph::Path;
use crate::harness::outcome::Verdict;
use crate::harness::run::session::{judge, run_test};
use crate::qemu::{Emulator, Limits, Starting, Vm};

/// Runs one path on one emulator.
pub(super) struct Session<'a> {
    path: &'a Path,
    emulator: &'a Arc<Emulator>,
    /// For the start and the reset of a QEMU.
    limits: Limits,
    /// Reset, and ready for the next run.
    ready: Option<Vm>,
    starting: Option<Starting>,
    reuses: bool,
}

impl<'a> Session<'a> {
    pub fn new(path: &'a Path, emulator: &'a Arc<Emulator>, limits: Limits) -> Self {
        Self { path, emulator, limits, ready: None, starting: None, reuses: true }
    }

    fn launch(&mut self) -> Result<Vm, String> {
        let starting = match self.starting.take() {
            Some(starting) => Ok(starting),
            None => Vm::start(
                self.emulator,
                self.path.config(&self.emulator.path, self.emulator.capabilities.version),
            ),
        };
        starting.and_then(|it| it.ready(self.limits)).map_err(|e| e.to_string())
    }
}

impl Bench for Session<'_> {
    fn run(&mut self, tap: MakeTap, limits: Limits) -> Result<Verdict, String> {
        let vm = match self.ready.take() {
            Some(vm) => vm,
            None => self.launch()?,
        };
        if !self.reuses && self.starting.is_none() {
            // Whatever is wrong with it is told when it is needed.
            self.starting = Vm::start(
                self.emulator,
                self.path.config(&self.emulator.path, self.emulator.capabilities.version),
            )
            .ok();
        }
        let vm = Rc::new(vm);
        vm.deadline().set_limit(limits.request);
        vm.deadline().set_end(std::time::Instant::now().checked_add(limits.whole));
        vm.transcript().set_tap(Some(tap(&vm)));
        let end = run_test(self.path, &vm);
        vm.transcript().set_tap(None);
        let verdict = match judge(end, &vm) {
            Verdict::Passed => match vm.ram().findings().as_slice() {
                [] => Verdict::Passed,
                findings => Verdict::Failed(findings.join("; ")),
            },
            other => other,
        };
        // A test that keeps the machine for itself keeps it.
        if let Ok(vm) = Rc::try_unwrap(vm)
            && self.reuses
            && !matches!(verdict, Verdict::Crashed(_))
        {
            if vm.lasting_change().is_some() {
                // It will be so in every run that gets as far.
                self.reuses = verdict != Verdict::Passed;
            } else if vm.reset(self.limits).is_ok() {
                self.ready = Some(vm);
            } else if verdict == Verdict::Passed {
                self.reuses = false;
            }
        }
        Ok(verdict)
    }

    fn is_used(&self) -> bool {
        self.ready.is_some()
    }

    fn renew(&mut self) {
        self.ready = None;
    }

    fn stop_reusing(&mut self) {
        self.renew();
        self.reuses = false;
    }
}
