//! Which waits failed before: where a fault has many paths wait for what never comes, all but
//! the first ones are to fail sooner. What is remembered is what was awaited, in which suite
//! and on which emulator; a wait that succeeds is forgotten.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::qemu::Vm;

/// How often a wait must have failed, so that a slow moment of the computer does not count.
const OFTEN: usize = 2;

/// Which wait it is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    emulator: PathBuf,
    suite: &'static str,
    what: String,
}

/// How often waits failed, in a row.
#[derive(Default)]
pub(super) struct FailedWaits {
    counts: Mutex<Option<HashMap<Key, usize>>>,
    /// How many waits are remembered: nothing is looked up as long as there are none.
    remembered: AtomicUsize,
}

/// Those of this process: what runs in it runs on the same computer.
static FAILED: FailedWaits =
    FailedWaits { counts: Mutex::new(None), remembered: AtomicUsize::new(0) };

/// One wait, and how often it failed before.
pub(super) struct Before<'a, K> {
    waits: &'a FailedWaits,
    /// Makes its key: `None` where no suite runs, and nothing is remembered.
    key: K,
    /// How often it failed since it last succeeded.
    pub failures: usize,
}

/// What is known of the wait for `what` in the suite that runs on `vm`.
pub(super) fn before(vm: &Vm, what: &str) -> Before<'static, impl Fn() -> Option<Key>> {
    Before::new(&FAILED, move || {
        let (emulator, what) = (vm.emulator().path.clone(), what.to_owned());
        vm.suite().map(|suite| Key { emulator, suite, what })
    })
}

impl<'a, K: Fn() -> Option<Key>> Before<'a, K> {
    fn new(waits: &'a FailedWaits, key: K) -> Self {
        // Most waits end here: nothing has failed.
        let known = (waits.remembered.load(Ordering::Relaxed) > 0).then(&key).flatten();
        let failures = known.and_then(|key| waits.with(|counts| counts.get(&key).copied()));
        Self { waits, key, failures: failures.unwrap_or(0) }
    }

    /// Whether it failed so often that it will fail again.
    pub fn is_often(&self) -> bool {
        self.failures >= OFTEN
    }

    /// What was awaited did not come.
    pub fn note_failure(&self) {
        if let Some(key) = (self.key)() {
            self.waits.with(|counts| *counts.entry(key).or_default() += 1);
        }
    }

    /// What was awaited came.
    pub fn note_success(&self) {
        if self.failures > 0
            && let Some(key) = (self.key)()
        {
            self.waits.with(|counts| counts.remove(&key));
        }
    }
}

impl FailedWaits {
    fn with<T>(&self, what: impl FnOnce(&mut HashMap<Key, usize>) -> T) -> T {
        let counts = &mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = counts.get_or_insert_default();
        let result = what(counts);
        self.remembered.store(counts.len(), Ordering::Relaxed);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a single slow moment that makes others fail, a wait that stays short after
    /// it succeeded, and one that is short because another one failed.
    #[test]
    fn a_wait_that_fails_often() {
        let waits = FailedWaits::default();
        let key = |suite: &'static str, what: &str| {
            Some(Key { emulator: "q".into(), suite, what: what.to_owned() })
        };
        let before = |suite, what| Before::new(&waits, move || key(suite, what));
        before("a", "x").note_failure();
        assert!(!before("a", "x").is_often());
        before("a", "x").note_failure();
        assert!(before("a", "x").is_often());
        assert!(!before("a", "y").is_often() && !before("b", "x").is_often());
        Before::new(&waits, || None).note_failure();
        assert!(!Before::new(&waits, || None).is_often());
        before("a", "x").note_success();
        assert!(!before("a", "x").is_often());
        assert_eq!(waits.remembered.load(Ordering::Relaxed), 0);
    }
}
