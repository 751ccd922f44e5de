//! Paths of the form fuzz: the test runs several times, each time with other errors of its
//! driver. What the test says of that does not matter; QEMU must survive.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use crate::Error;
use crate::graph::Path;
use crate::harness::run::session::{End, LAST_MOMENTS, run_test};
use crate::qemu::Vm;

/// Runs the test of `path` on `vm` with errors, and tells whether QEMU survived them all. What
/// does not apply does not apply with errors either.
pub(super) fn run(path: &Path, vm: &Rc<Vm>) -> End {
    if vm.is_served() {
        let why = "a back end of the test's own serves QEMU, and may not answer a driver that errs";
        return End::Returned(Err(Error::skipped(why)));
    }
    let fuzzing = vm.emulator().fuzzing;
    for round in 0..fuzzing.rounds.get() {
        let mut hasher = DefaultHasher::new();
        (fuzzing.seed, path.name(), round).hash(&mut hasher);
        vm.set_fuzz_seed(hasher.finish());
        let end = run_test(path, vm);
        let skipped = |e: &Error| matches!(e.root(), Error::Skipped(_));
        // Where the driver has not come so far that it errs, nothing is tested.
        let is_untried = !vm.errs() || matches!(&end, End::Returned(Err(e)) if skipped(e));
        if round == 0 && is_untried {
            return end;
        }
        if let Err(e) = vm.survives() {
            // A guest may end QEMU: it can switch some machines off.
            let is_off = vm.ending_within(LAST_MOMENTS).is_some_and(|it| it.is_success());
            let off = || Error::skipped("the guest has switched the machine off");
            return End::Returned(Err(if is_off { off() } else { e }));
        }
    }
    End::Returned(Ok(()))
}
