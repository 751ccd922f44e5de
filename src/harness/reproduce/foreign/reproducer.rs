//! A foreign reproducer as one of qgraph's: with the command line that was made of
//! its own, and with what came of it once it was replayed.

use std::path::Path;

use super::Foreign;
use crate::harness::Verdict;
use crate::harness::reproduce::replay::{End, Replay};
use crate::harness::reproduce::reproducer::{About, Reproducer, Step};
use crate::qemu::{Config, Emulator};

impl Foreign {
    /// What is to be replayed on `emulator`: as yet nothing says how it ends. `name` says
    /// where it comes from.
    pub fn reproducer(&self, name: &str, config: Config, emulator: &Emulator) -> Reproducer {
        let capabilities = &emulator.capabilities;
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or(path.to_owned());
        let about = About {
            path: name.to_owned(),
            verdict: Verdict::Passed,
            emulator: absolute(&emulator.path),
            version: format!("{} {}", capabilities.version, capabilities.package),
            module_dir: emulator.module_dir().map(absolute),
            migrate_to: None,
            config,
            is_whole: true,
            minimized_from: None,
            no_start: None,
        };
        let step = |text: &String| Step { text: text.clone(), ..Step::default() };
        Reproducer { about, steps: self.requests.iter().map(step).collect() }
    }
}

impl Reproducer {
    /// Notes how it went: what it does after the end is cut off, and each answer is kept.
    pub fn note(&mut self, replayed: &Replay) {
        let Some(verdict) = replayed.verdict() else { return };
        self.about.verdict = verdict;
        if let End::NoStart(cause) = &replayed.end {
            self.about.no_start = Some(cause.clone());
        }
        let answered = self.steps.iter_mut().filter(|step| step.is_answered());
        for (step, now) in answered.zip(replayed.steps()) {
            step.answer.clone_from(&now.answer);
            step.interrupts.clone_from(&now.interrupts);
        }
        if matches!(self.about.verdict, Verdict::Crashed(_) | Verdict::Hung(_)) {
            let mut left = replayed.steps().len();
            self.steps.retain(|step| {
                let stays = left > 0 || !step.is_answered();
                left = left.saturating_sub(usize::from(step.is_answered()));
                stays
            });
        }
    }
}
