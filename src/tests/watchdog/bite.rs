//! Every watchdog: at which nanosecond of the virtual clock it resets the machine, what restarts
//! it and what does not, what stops it, its lock, its warning, and what a reset of the machine
//! leaves of it.

use std::rc::Rc;
use std::time::Duration;

use serde_json::json;

use crate::qemu::Vm;
use crate::qos::timer::Stopwatch;
use crate::qos::wait_event;
use crate::qos::watchdog::{Lock, Watchdog, begin_anew, has_stopped};
use crate::{Error, Result, tests};

tests!(dyn Watchdog, "watchdog-tests":
    reset_state = "reset-state",
    bite,
    kick,
    wrong_kick = "wrong-kick",
    stop,
    lock,
    warning,
    event,
    reset_by_watchdog = "reset-by-watchdog",
    machine_reset = "machine-reset",
);

/// A watchdog after a reset of the machine.
struct Bench<'a> {
    again: Option<Rc<dyn Watchdog>>,
    first: &'a dyn Watchdog,
    vm: &'a Rc<Vm>,
}

const MOMENT: Duration = Duration::from_nanos(1);

impl<'a> Bench<'a> {
    fn new(first: &'a dyn Watchdog, vm: &'a Rc<Vm>) -> Self {
        Self { again: None, first, vm }
    }

    fn dog(&self) -> &dyn Watchdog {
        self.again.as_deref().unwrap_or(self.first)
    }

    /// Resets the machine, and finds the watchdog again.
    fn reset(&mut self) -> Result<()> {
        begin_anew(self.vm)?;
        self.again = self.first.after_reset()?;
        Ok(())
    }

    /// Starts it after a reset of the machine, and counts from then on.
    fn start(&mut self, period: u64) -> Result<Stopwatch<'a>> {
        self.reset()?;
        self.dog().start(period)?;
        self.vm.set_up_ends()?;
        Ok(Stopwatch::new(self.vm))
    }

    /// Sees that it does not stop the machine until `time`.
    #[track_caller]
    fn assert_quiet_until(&self, watch: &Stopwatch, time: Duration, when: &str) -> Result<()> {
        watch.until(time)?;
        assert!(!has_stopped(self.vm)?, "the machine is stopped too early: {when}");
        Ok(())
    }

    /// Sees that it stops the machine `ticks` ticks after the beginning of `watch`, and not before.
    #[track_caller]
    fn assert_bites(&self, watch: &Stopwatch, ticks: u64, when: &str) -> Result<()> {
        let tick = self.dog().profile().tick;
        let slack = if tick.is_whole() { Duration::ZERO } else { MOMENT };
        let before = tick.earliest(ticks) - MOMENT - slack;
        if before > watch.gone() {
            self.assert_quiet_until(watch, before, when)?;
        }
        watch.until(tick.latest(ticks) + slack)?;
        assert!(has_stopped(self.vm)?, "the machine should be stopped after {ticks}: {when}");
        Ok(())
    }

    /// The period that is used where one is enough.
    fn period(&self) -> u64 {
        let periods = self.dog().profile().periods;
        periods[periods.len() / 2]
    }

    /// Leaves the machine running and the watchdog as it was.
    fn finish(mut self) -> Result<()> {
        self.reset()
    }
}

/// Would catch a watchdog that runs before anybody has started it.
fn reset_state(dog: &dyn Watchdog, vm: &Rc<Vm>) -> Result<()> {
    let mut bench = Bench::new(dog, vm);
    bench.again = dog.after_reset()?;
    let (dog, tick, period) = (bench.dog(), dog.profile().tick, bench.period());
    assert!(!dog.warns()?.unwrap_or(false), "it warns at first");
    assert!(!dog.has_bitten()?.unwrap_or(false), "it says that it has reset the machine");
    let long = tick.latest(dog.moments(period).bite * 3);
    bench.assert_quiet_until(&Stopwatch::new(vm), long, "nobody started it")
}

/// Would catch a watchdog that resets the machine a nanosecond too early or too late, or not at
/// all, for every period that it can have.
fn bite(dog: &dyn Watchdog, vm: &Rc<Vm>) -> Result<()> {
    let mut bench = Bench::new(dog, vm);
    for &period in dog.profile().periods {
        let watch = bench.start(period)?;
        let bite = dog.moments(period).bite;
        bench.assert_bites(&watch, bite, &format!("a period of {period}"))?;
    }
    bench.finish()
}

/// Would catch a restart that does nothing, or does not give the whole time again, early and at
/// the last moment.
fn kick(dog: &dyn Watchdog, vm: &Rc<Vm>) -> Result<()> {
    let mut bench = Bench::new(dog, vm);
    let period = bench.period();
    let (tick, moments) = (dog.profile().tick, dog.moments(period));
    let first = moments.warning.unwrap_or(moments.bite);
    let mut watch = bench.start(period)?;
    let last = tick.earliest(first) - 2 * MOMENT;
    for part in [tick.latest(first / 2), last, tick.latest(first / 3), last, last] {
        bench.assert_quiet_until(&watch, part, "it was restarted in time")?;
        bench.dog().kick()?;
        watch = Stopwatch::new(vm);
    }
    if moments.warning.is_some() {
        // After the warning there is still time.
        for moment in [tick.latest(first + 1), tick.earliest(moments.bite) - 2 * MOMENT] {
            bench.assert_quiet_until(&watch, moment, "it was restarted after the warning")?;
            bench.dog().kick()?;
            watch = Stopwatch::new(vm);
        }
    }
    bench.assert_bites(&watch, moments.bite, "after restarts")?;
    bench.finish()
}

/// Would catch a watchdog that any write restarts.
fn wrong_kick(dog: &dyn Watchdog, vm: &Rc<Vm>) -> Result<()> {
    let mut bench = Bench::new(dog, vm);
    let period = bench.period();
    let bite = dog.moments(period).bite;
    let watch = bench.start(period)?;
    watch.until(dog.profile().tick.latest(bite / 3))?;
    bench.dog().kick_wrongly()?;
    bench.assert_bites(&watch, bite, "after writes that are no restart")?;
    bench.finish()
}

/// Would catch a watchdog that goes on when it is stopped, is stopped although nothing must, or
/// has less than the whole time when it is started again.
fn stop(dog: &dyn Watchdog, vm: &Rc<Vm>) -> Result<()> {
    let mut bench = Bench::new(dog, vm);
    let period = bench.period();
    let (profile, bite) = (dog.profile(), dog.moments(period).bite);
    let watch = bench.start(period)?;
    watch.until(profile.tick.latest(bite / 3))?;
    bench.dog().stop()?;
    if profile.stops {
        let long = profile.tick.latest(bite * 4);
        bench.assert_quiet_until(&watch, long, "it was stopped")?;
        bench.dog().start(period)?;
        let watch = Stopwatch::new(vm);
        bench.assert_bites(&watch, bite, "started again")?;
    } else {
        bench.assert_bites(&watch, bite, "nothing stops it")?;
    }
    bench.finish()
}

/// Would catch a lock that does not hold, cannot be taken off, or stops the restart by which
/// software keeps a locked watchdog quiet.
fn lock(dog: &dyn Watchdog, vm: &Rc<Vm>) -> Result<()> {
    if dog.profile().lock == Lock::None {
        return Err(Error::skipped("this watchdog has no lock"));
    }
    let mut bench = Bench::new(dog, vm);
    let period = bench.period();
    let (tick, bite) = (dog.profile().tick, dog.moments(period).bite);
    let watch = bench.start(period)?;
    bench.dog().set_lock(true)?;
    watch.until(tick.latest(bite / 3))?;
    bench.dog().stop()?;
    bench.assert_bites(&watch, bite, "stopped while it was locked")?;
    let watch = bench.start(period)?;
    bench.dog().set_lock(true)?;
    bench.dog().set_lock(false)?;
    bench.dog().stop()?;
    if dog.profile().lock == Lock::Opens && dog.profile().stops {
        bench.assert_quiet_until(&watch, tick.latest(bite * 3), "stopped, unlocked before")?;
    } else {
        bench.assert_bites(&watch, bite, "nothing opens the lock")?;
    }
    bench.finish()
}

/// Would catch a warning that comes at another moment than it should, not to the interrupt
/// controller, twice, or stays when the watchdog is restarted.
fn warning(dog: &dyn Watchdog, vm: &Rc<Vm>) -> Result<()> {
    let mut bench = Bench::new(dog, vm);
    let line = dog.interrupt()?;
    let is_high = || line.as_ref().map(|line| line.is_high()).transpose();
    let tick = dog.profile().tick;
    let mut tried = false;
    for &period in dog.profile().periods {
        let Some(warning) = dog.moments(period).warning else { continue };
        let mut watch = bench.start(period)?;
        for round in 0..2 {
            let when = format!("a period of {period}, round {round}");
            let check = |is: bool, at: &str| -> Result<()> {
                assert_eq!(bench.dog().warns()?.unwrap_or(is), is, "{when}, {at}: its word");
                assert_eq!(is_high()?.unwrap_or(is), is, "{when}, {at}: the line");
                Ok(())
            };
            tried |= line.is_some() || bench.dog().warns()?.is_some();
            check(false, "at first")?;
            watch.until(tick.earliest(warning) - 2 * MOMENT)?;
            check(false, "a moment before")?;
            watch.until(tick.latest(warning) + MOMENT)?;
            check(true, "the moment")?;
            watch.until(tick.latest(warning) + 3 * MOMENT)?;
            check(true, "later")?;
            bench.dog().kick()?;
            watch = Stopwatch::new(vm);
            check(false, "restarted")?;
        }
    }
    if !tried {
        return Err(Error::skipped("no warning that could be seen"));
    }
    bench.finish()
}

/// Sets what a watchdog does, now and from now on.
fn set_action(vm: &Vm, action: &str) -> Result<()> {
    vm.qmp().execute("watchdog-set-action", json!({ "action": action }))?;
    Ok(())
}

/// Would catch a watchdog of which management is not told, or with another action than the one
/// that was set; and one that stops a machine although it was told to do nothing.
fn event(dog: &dyn Watchdog, vm: &Rc<Vm>) -> Result<()> {
    let mut bench = Bench::new(dog, vm);
    let period = bench.period();
    let bite = dog.moments(period).bite;
    for action in ["pause", "none"] {
        // QEMU tells it once in a second at the most, which may be one of the virtual clock.
        bench.reset()?;
        Stopwatch::new(vm).until(Duration::from_secs(2))?;
        let watch = bench.start(period)?;
        set_action(vm, action)?;
        vm.qmp().events();
        watch.until(dog.profile().tick.latest(bite) + MOMENT)?;
        let told = wait_event(vm, "WATCHDOG");
        let stopped = has_stopped(vm);
        set_action(vm, "pause")?;
        assert_eq!(told?.data, json!({ "action": action }), "what the event tells");
        assert_eq!(stopped?, action == "pause", "whether the machine stands after {action}");
    }
    bench.finish()
}

/// Would catch a watchdog that does not reset the machine, runs on after that, or does not tell
/// afterwards that it was the cause.
fn reset_by_watchdog(dog: &dyn Watchdog, vm: &Rc<Vm>) -> Result<()> {
    let mut bench = Bench::new(dog, vm);
    let period = bench.period();
    let (tick, bite) = (dog.profile().tick, dog.moments(period).bite);
    let watch = bench.start(period)?;
    set_action(vm, "reset")?;
    vm.qmp().events();
    watch.until(tick.latest(bite) + MOMENT)?;
    let told = wait_event(vm, "RESET");
    set_action(vm, "pause")?;
    assert_eq!(told?.data, json!({ "guest": true, "reason": "guest-reset" }), "the cause");
    bench.again = dog.after_reset()?;
    let bitten = bench.dog().has_bitten()?;
    bench.assert_quiet_until(&watch, tick.latest(bite * 4), "after the reset that it made")?;
    assert!(!bench.dog().warns()?.unwrap_or(false), "it warns after the reset that it made");
    assert!(bitten.unwrap_or(true), "it does not tell that it has reset the machine");
    bench.dog().start(period)?;
    bench.assert_bites(&Stopwatch::new(vm), bite, "after the reset that it made")?;
    bench.finish()
}

/// Would catch a reset of the machine that does not stop the watchdog, its warning included.
fn machine_reset(dog: &dyn Watchdog, vm: &Rc<Vm>) -> Result<()> {
    let mut bench = Bench::new(dog, vm);
    let period = bench.period();
    let (tick, moments) = (dog.profile().tick, dog.moments(period));
    let parts = [Some(moments.bite / 3), moments.warning.map(|warning| warning + 1)];
    for part in parts.into_iter().flatten() {
        let watch = bench.start(period)?;
        watch.until(tick.latest(part))?;
        bench.reset()?;
        let long = tick.latest(moments.bite * 4);
        bench.assert_quiet_until(&watch, long, "after a reset")?;
        assert!(!bench.dog().warns()?.unwrap_or(false), "it warns after a reset");
        assert!(!bench.dog().has_bitten()?.unwrap_or(false), "it has not reset the machine");
    }
    Ok(())
}
