//! Every timer: at which nanosecond of the virtual clock its interrupt comes, how often, and how
//! its counter counts; its interrupt up to the interrupt controller; what stops it, and what a
//! reset of the machine leaves of it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::qemu::Vm;
use crate::qos::interrupt::InterruptLine;
use crate::qos::reset;
use crate::qos::timer::{Mode, Profile, Signal, Stopwatch, Tick, Timer, Timers, Zero};
use crate::{Error, Result, tests};

tests!(Timers, "timer-tests":
    reset_state = "reset-state",
    one_shot = "one-shot",
    periodic,
    counter,
    prescaler,
    masked,
    mask_while_running = "mask-while-running",
    level,
    stop,
    reload,
    zero,
    longest,
    machine_reset = "machine-reset",
    machine_reset_pending = "machine-reset-pending",
    independent,
);

/// One of the timers, and what is known of its interrupts.
struct Bench<'a> {
    timer: &'a dyn Timer,
    vm: &'a Rc<Vm>,
    number: usize,
    profile: Profile,
    line: Option<InterruptLine>,
    /// Edges of the line that were seen.
    edges: Cell<u64>,
}

impl<'a> Bench<'a> {
    fn new(timer: &'a dyn Timer, vm: &'a Rc<Vm>, number: usize) -> Result<Self> {
        let (profile, line) = (timer.profile(), timer.interrupt()?);
        if profile.survives_reset.is_some() {
            vm.note_lasting("a timer that QEMU does not reset");
        }
        let bench = Self { timer, vm, number, profile, line, edges: Cell::new(0) };
        bench.edges.set(bench.all_edges()?);
        if bench.line.is_none() && timer.is_pending()?.is_none() {
            return Err(Error::skipped("neither the line nor a status tells of the interrupt"));
        }
        Ok(bench)
    }

    /// Edges of the line by which interrupts are told.
    fn all_edges(&self) -> Result<u64> {
        let Some(line) = &self.line else { return Ok(0) };
        let (raised, lowered) = line.edges()?;
        Ok(match self.profile.signal {
            Signal::Level => raised,
            Signal::Edges(_) => raised + lowered,
        })
    }

    /// Asserts that `count` interrupts were told on the line since the last call.
    #[track_caller]
    fn assert_came(&self, count: u64, when: &str) -> Result<()> {
        let all = self.all_edges()?;
        let came = all - self.edges.replace(all);
        let each = match self.profile.signal {
            Signal::Level => 1,
            Signal::Edges(each) => each,
        };
        let number = self.number;
        if self.line.is_some() {
            assert_eq!(came, count * each, "timer {number}, {when}: edges of the line");
        }
        Ok(())
    }

    /// Asserts that the interrupt is pending, or not, and told to the interrupt controller, or
    /// not.
    #[track_caller]
    fn assert_is(&self, pending: bool, enabled: bool, when: &str) -> Result<()> {
        let number = self.number;
        let told = pending && enabled;
        let is_pending = self.timer.is_pending()?;
        assert_eq!(is_pending.unwrap_or(pending), pending, "timer {number}, {when}: pending");
        let interrupts = self.timer.interrupts()?;
        assert_eq!(interrupts.unwrap_or(told), told, "timer {number}, {when}: interrupts");
        if let (Some(line), Signal::Level) = (&self.line, self.profile.signal) {
            assert_eq!(line.is_high()?, told, "timer {number}, {when}: the line");
        }
        Ok(())
    }

    /// Sees that the interrupt, enabled, comes when `ticks` ticks are over on `watch` and not
    /// before, as number `times` that is counted from there.
    #[track_caller]
    fn assert_runs_out(
        &self,
        watch: &Stopwatch,
        tick: Tick,
        ticks: u64,
        times: u64,
        when: &str,
    ) -> Result<()> {
        // A period ends with a whole nanosecond.
        let slack = Duration::from_nanos(if tick.is_whole() { 0 } else { times });
        let before = tick.earliest(ticks).saturating_sub(slack + Duration::from_nanos(1));
        let gone = watch.gone();
        if before > gone {
            watch.until(before)?;
        }
        self.assert_came(0, &format!("{when}, a moment before"))?;
        self.assert_is(false, true, &format!("{when}, a moment before"))?;
        watch.until(tick.latest(ticks) + if times > 1 { Duration::ZERO } else { slack })?;
        self.assert_came(1, when)?;
        self.assert_is(true, true, when)
    }

    fn clear(&self, when: &str) -> Result<()> {
        self.timer.clear()?;
        self.assert_is(false, true, &format!("{when}, cleared"))
    }

    /// Some numbers of ticks that the timer can have.
    fn some_ticks(&self) -> impl Iterator<Item = u64> + use<> {
        let (least, most) = (self.profile.least, self.profile.most);
        let mut ticks = vec![least, least + 1, 2, 3, 10, 255, 256, 1000, 65_535, 65_536, 70_001];
        ticks.retain(|ticks| (least..=most).contains(ticks));
        ticks.sort_unstable();
        ticks.dedup();
        ticks.into_iter()
    }

    /// A number of ticks in whose middle there is time for something.
    fn thousand(&self) -> u64 {
        (self.profile.least * 4).max(1000).min(self.profile.most)
    }

    /// The mode in which what is the same in both is tried.
    fn any_mode(&self) -> Mode {
        self.profile.modes[0]
    }

    fn has(&self, mode: Mode) -> bool {
        self.profile.modes.contains(&mode)
    }

    /// Starts the timer with its interrupt enabled.
    fn start(&self, ticks: u64, mode: Mode, prescaler: u64) -> Result<Stopwatch<'a>> {
        self.timer.stop()?;
        self.timer.clear()?;
        self.timer.enable_interrupt(true)?;
        self.edges.set(self.all_edges()?);
        self.timer.start(ticks, mode, prescaler)?;
        self.vm.set_up_ends()?;
        self.assert_came(0, "just started")?;
        self.assert_is(false, true, "just started")?;
        Ok(Stopwatch::new(self.vm))
    }

    /// Asserts that `count` ticks are over by the counter, in the middle of the next.
    #[track_caller]
    fn assert_elapsed(&self, count: u64, period: u64, when: &str) -> Result<()> {
        let expected = (count + u64::from(self.profile.is_early)) % period;
        let number = self.number;
        // Between two periods the counter may show the end of one or the beginning of the next.
        let elapsed = self.timer.elapsed()? % period;
        assert_eq!(elapsed, expected, "timer {number}, {when}: ticks by the counter");
        Ok(())
    }
}

/// Does `check` with each of the timers; a skip of one is told when all others have passed.
fn each(timers: &Timers, vm: &Rc<Vm>, check: fn(&Bench) -> Result<()>) -> Result<()> {
    let mut skipped = None;
    for (number, timer) in timers.0.iter().enumerate() {
        match Bench::new(&**timer, vm, number).and_then(|bench| check(&bench)) {
            Err(error @ Error::Skipped(_)) => skipped = Some(error),
            other => other?,
        }
        timer.stop()?;
        timer.clear()?;
    }
    skipped.map_or(Ok(()), Err)
}

/// Would catch a timer that runs or interrupts before anybody has started it, or whose counter
/// does not begin with its reset value.
fn reset_state(timers: &Timers, vm: &Rc<Vm>) -> Result<()> {
    each(timers, vm, |bench| {
        let value = bench.profile.reset_value;
        for when in ["at first", "later"] {
            assert_eq!(bench.timer.value()?, value, "timer {}, {when}", bench.number);
            bench.assert_is(false, true, when)?;
            bench.assert_came(0, when)?;
            Stopwatch::new(bench.vm).until(Duration::from_secs(10))?;
        }
        Ok(())
    })
}

/// Would catch an interrupt that comes a nanosecond too early or too late, for small and large
/// numbers of ticks, comes again in one-shot mode, or cannot be cleared, and a counter that goes
/// on after that.
fn one_shot(timers: &Timers, vm: &Rc<Vm>) -> Result<()> {
    each(timers, vm, |bench| {
        if !bench.has(Mode::OneShot) {
            return Err(Error::skipped("this timer has no one-shot mode"));
        }
        let tick = bench.profile.tick;
        for ticks in bench.some_ticks() {
            let when = format!("one-shot, {ticks} ticks");
            let watch = bench.start(ticks, Mode::OneShot, 1)?;
            bench.assert_runs_out(&watch, tick, ticks, 1, &when)?;
            bench.clear(&when)?;
            let value = bench.timer.value()?;
            watch.until(tick.latest(ticks * 10 + 3))?;
            bench.assert_came(0, &format!("{when}, ten times as long"))?;
            bench.assert_is(false, true, &format!("{when}, ten times as long"))?;
            assert_eq!(bench.timer.value()?, value, "{when}: a counter that has stopped");
        }
        Ok(())
    })
}

/// Would catch a period that is too long or too short by a nanosecond, drifts, or ends; a period
/// that needs the interrupt of the last to be cleared; and one that raises a line that is high.
fn periodic(timers: &Timers, vm: &Rc<Vm>) -> Result<()> {
    each(timers, vm, |bench| {
        if !bench.has(Mode::Periodic) {
            return Err(Error::skipped("this timer has no periodic mode"));
        }
        let (tick, extra) = (bench.profile.tick, bench.profile.extra);
        for ticks in bench.some_ticks() {
            let watch = bench.start(ticks, Mode::Periodic, 1)?;
            let end_of = |times: u64| ticks + (times - 1) * (ticks + extra);
            for times in 1..=12 {
                let when = format!("periodic, {ticks} ticks, number {times}");
                bench.assert_runs_out(&watch, tick, end_of(times), times, &when)?;
                bench.clear(&when)?;
            }
            let when = format!("periodic, {ticks} ticks, not cleared");
            let is_level = bench.profile.signal == Signal::Level;
            watch.until(tick.latest(end_of(31)) + Duration::from_nanos(1))?;
            bench.assert_came(if is_level { 1 } else { 19 }, &when)?;
            bench.assert_is(true, true, &when)?;
            bench.timer.clear()?;
            let when = format!("periodic, {ticks} ticks, number 32");
            if tick.earliest(ticks) > Duration::from_nanos(34) {
                bench.assert_runs_out(&watch, tick, end_of(32), 32, &when)?;
            }
        }
        Ok(())
    })
}

/// Would catch a counter that goes in the wrong direction, at another rate than the clock, or past
/// its end.
fn counter(timers: &Timers, vm: &Rc<Vm>) -> Result<()> {
    each(timers, vm, |bench| counts(bench, 1))
}

fn counts(bench: &Bench, prescaler: u64) -> Result<()> {
    let (ticks, tick) = (bench.thousand(), bench.profile.tick.times(prescaler));
    for &mode in bench.profile.modes {
        let watch = bench.start(ticks, mode, prescaler)?;
        // QEMU rounds a counter down whose ticks are not whole nanoseconds.
        let rounded = u64::from(bench.profile.is_early && !tick.is_whole());
        let elapsed = bench.timer.elapsed()?;
        assert!(elapsed <= rounded, "timer {}, just started: {elapsed} ticks", bench.number);
        let period = match mode {
            Mode::OneShot => u64::MAX,
            Mode::Periodic => ticks + bench.profile.extra,
        };
        let mut moments = vec![0, 1, 2, 3, 10, ticks / 2, ticks / 2 + 1, ticks - 2, ticks - 1];
        if mode == Mode::Periodic {
            moments.extend([period + 1, period + 7, period * 3 + 5]);
        }
        for count in moments {
            let Some(middle) = tick.middle(count) else { continue };
            watch.until(middle)?;
            let when = format!("{mode:?}, prescaler {prescaler}, tick {count} of {ticks}");
            bench.assert_elapsed(count, period, &when)?;
        }
        if mode == Mode::OneShot {
            watch.until(tick.latest(ticks + 1))?;
            let value = bench.timer.value()?;
            watch.until(tick.latest(ticks + 100))?;
            assert_eq!(bench.timer.value()?, value, "a one-shot timer that has run out");
        }
    }
    Ok(())
}

/// Would catch a prescaler that divides by another number, for the interrupt or for the counter.
fn prescaler(timers: &Timers, vm: &Rc<Vm>) -> Result<()> {
    each(timers, vm, |bench| {
        if bench.profile.prescalers.len() < 2 {
            return Err(Error::skipped("this timer has no prescaler"));
        }
        for &prescaler in bench.profile.prescalers {
            let (tick, mode) = (bench.profile.tick.times(prescaler), bench.any_mode());
            for ticks in [bench.profile.least.max(1), bench.thousand()] {
                let when = format!("prescaler {prescaler}, {ticks} ticks");
                let watch = bench.start(ticks, mode, prescaler)?;
                bench.assert_runs_out(&watch, tick, ticks, 1, &when)?;
                bench.clear(&when)?;
            }
            counts(bench, prescaler)?;
        }
        Ok(())
    })
}

/// Would catch a masked interrupt that gets out, is not told by the status before the mask, or is
/// lost when it is enabled; and a mask that does not act on an interrupt that is out.
fn masked(timers: &Timers, vm: &Rc<Vm>) -> Result<()> {
    each(timers, vm, |bench| {
        let (timer, ticks) = (bench.timer, bench.thousand());
        timer.stop()?;
        timer.clear()?;
        timer.enable_interrupt(false)?;
        timer.start(ticks, bench.any_mode(), 1)?;
        bench.assert_is(false, false, "masked")?;
        let watch = Stopwatch::new(bench.vm);
        watch.until(bench.profile.tick.latest(ticks) + Duration::from_nanos(1))?;
        bench.assert_came(0, "masked, run out")?;
        let latches = bench.profile.latches;
        bench.assert_is(latches, false, "masked, run out")?;
        for _ in 0..2 {
            timer.enable_interrupt(true)?;
            bench.assert_came(u64::from(latches), "enabled")?;
            bench.assert_is(latches, true, "enabled")?;
            timer.enable_interrupt(false)?;
            bench.assert_is(latches, false, "masked again")?;
        }
        timer.enable_interrupt(true)?;
        bench.assert_came(u64::from(latches), "enabled at last")?;
        bench.clear("enabled at last")
    })
}

/// Would catch a mask that stops or restarts the counter.
fn mask_while_running(timers: &Timers, vm: &Rc<Vm>) -> Result<()> {
    each(timers, vm, |bench| {
        let (tick, ticks) = (bench.profile.tick, bench.thousand());
        let watch = bench.start(ticks, bench.any_mode(), 1)?;
        for part in 1..=3 {
            watch.until(tick.latest(ticks * part / 4))?;
            bench.timer.enable_interrupt(false)?;
            bench.timer.enable_interrupt(true)?;
        }
        bench.assert_runs_out(&watch, tick, ticks, 1, "masked and unmasked while it ran")?;
        bench.clear("masked and unmasked while it ran")
    })
}

/// Would catch an interrupt that ends by itself, when the counter is read, or when the timer is
/// stopped or started again.
fn level(timers: &Timers, vm: &Rc<Vm>) -> Result<()> {
    each(timers, vm, |bench| {
        if bench.profile.signal != Signal::Level {
            return Err(Error::skipped("the line of this timer makes pulses"));
        }
        let (tick, ticks) = (bench.profile.tick, bench.thousand());
        let watch = bench.start(ticks, bench.any_mode(), 1)?;
        bench.assert_runs_out(&watch, tick, ticks, 1, "a level")?;
        watch.until(tick.latest(ticks) + tick.latest(ticks / 2))?;
        bench.timer.value()?;
        bench.assert_is(true, true, "half a period later")?;
        if bench.profile.interrupts_when_stopped {
            bench.timer.stop()?;
            bench.assert_is(true, true, "the timer is stopped")?;
        }
        bench.assert_came(0, "the level")?;
        bench.clear("the level")
    })
}

/// Would catch a timer that does not stop, loses its count while it stands, or does not go on with
/// it.
fn stop(timers: &Timers, vm: &Rc<Vm>) -> Result<()> {
    each(timers, vm, |bench| {
        let (tick, ticks) = (bench.profile.tick, bench.thousand());
        let watch = bench.start(ticks, bench.any_mode(), 1)?;
        let part = ticks * 2 / 5;
        watch.until(tick.latest(part))?;
        bench.timer.stop()?;
        let (number, value) = (bench.number, bench.timer.value()?);
        let mut gone = 0;
        if bench.profile.resumes {
            gone = bench.timer.elapsed()?;
            // Whether a tick is over at its very end is QEMU's affair.
            assert!(gone.abs_diff(part) <= 1, "timer {number}: {gone} ticks, not {part}");
        }
        watch.until(tick.latest(ticks * 5))?;
        bench.assert_came(0, "stopped")?;
        bench.assert_is(false, true, "stopped")?;
        assert_eq!(bench.timer.value()?, value, "timer {number}: the counter, stopped");
        bench.timer.resume()?;
        let watch = Stopwatch::new(bench.vm);
        bench.assert_runs_out(&watch, tick, ticks - gone, 1, "stopped, and going on")?;
        bench.clear("stopped, and going on")
    })
}

/// Would catch a count that is given while the timer runs, larger and smaller than the old, and
/// does not hold from when it should, or holds for the first period only.
fn reload(timers: &Timers, vm: &Rc<Vm>) -> Result<()> {
    each(timers, vm, |bench| {
        let (tick, ticks, extra) = (bench.profile.tick, bench.thousand(), bench.profile.extra);
        for &mode in bench.profile.modes {
            for new in [ticks / 2, ticks * 3] {
                if new > bench.profile.most {
                    continue;
                }
                let when = format!("{mode:?}, {new} instead of {ticks} ticks");
                let mut watch = bench.start(ticks, mode, 1)?;
                watch.until(tick.latest(ticks * 3 / 4))?;
                bench.timer.reload(new)?;
                if bench.profile.reloads_at_once {
                    watch = Stopwatch::new(bench.vm);
                    bench.assert_runs_out(&watch, tick, new, 1, &when)?;
                } else {
                    bench.assert_runs_out(&watch, tick, ticks, 1, &when)?;
                }
                bench.clear(&when)?;
                if mode == Mode::Periodic {
                    let first = if bench.profile.reloads_at_once { new } else { ticks };
                    for times in 2..=4 {
                        let end = first + (times - 1) * (new + extra);
                        let when = format!("{when}, number {times}");
                        bench.assert_runs_out(&watch, tick, end, times, &when)?;
                        bench.clear(&when)?;
                    }
                }
            }
        }
        Ok(())
    })
}

/// Would catch an interrupt that a count of zero brings about and should not, or does not and
/// should.
fn zero(timers: &Timers, vm: &Rc<Vm>) -> Result<()> {
    each(timers, vm, |bench| {
        let comes = match bench.profile.zero {
            Zero::Open => return Err(Error::skipped("the data sheet leaves a zero open")),
            Zero::AtOnce => true,
            Zero::Never => false,
        };
        let (timer, tick) = (bench.timer, bench.profile.tick);
        for &mode in bench.profile.modes {
            timer.stop()?;
            timer.clear()?;
            timer.enable_interrupt(true)?;
            timer.start(0, mode, 1)?;
            let watch = Stopwatch::new(bench.vm);
            watch.until(tick.latest(1))?;
            bench.assert_is(comes, true, &format!("{mode:?}, zero ticks"))?;
            watch.until(tick.latest(if comes { 2 } else { 100_000 }))?;
            bench.assert_is(comes, true, &format!("{mode:?}, zero ticks, later"))?;
            timer.stop()?;
            timer.clear()?;
            // It can be used after that.
            let ticks = bench.thousand();
            let watch = bench.start(ticks, mode, 1)?;
            bench.assert_runs_out(&watch, tick, ticks, 1, "after zero ticks")?;
            timer.stop()?;
            bench.clear("after zero ticks")?;
        }
        Ok(())
    })
}

/// Would catch a counter that lacks its uppermost bits.
fn longest(timers: &Timers, vm: &Rc<Vm>) -> Result<()> {
    each(timers, vm, |bench| {
        let (tick, most) = (bench.profile.tick, bench.profile.most);
        for ticks in [most / 2 + 1, most] {
            let when = format!("{ticks} ticks");
            let watch = bench.start(ticks, bench.any_mode(), 1)?;
            for part in 1..4 {
                let count = ticks / 4 * part;
                if let Some(middle) = tick.middle(count) {
                    watch.until(middle)?;
                    bench.assert_elapsed(count, u64::MAX, &when)?;
                }
            }
            bench.assert_runs_out(&watch, tick, ticks, 1, &when)?;
            bench.clear(&when)?;
        }
        Ok(())
    })
}

/// Would catch a reset of the machine that leaves a timer running or its interrupt enabled.
fn machine_reset(timers: &Timers, vm: &Rc<Vm>) -> Result<()> {
    each(timers, vm, |bench| {
        if let Some(why) = bench.profile.survives_reset {
            return Err(Error::skipped(why));
        }
        let (tick, ticks) = (bench.profile.tick, bench.thousand());
        for &mode in bench.profile.modes {
            let watch = bench.start(ticks, mode, 1)?;
            watch.until(tick.latest(ticks / 2))?;
            reset(bench.vm)?;
            let value = bench.profile.reset_value;
            assert_eq!(bench.timer.value()?, value, "timer {}, after a reset", bench.number);
            bench.assert_is(false, true, "after a reset")?;
            watch.until(tick.latest(ticks * 10))?;
            bench.assert_came(0, "long after a reset")?;
            bench.assert_is(false, true, "long after a reset")?;
            assert_eq!(bench.timer.value()?, value, "timer {}, long after", bench.number);
            let watch = bench.start(ticks, mode, 1)?;
            bench.assert_runs_out(&watch, tick, ticks, 1, "started after a reset")?;
            bench.clear("started after a reset")?;
        }
        Ok(())
    })
}

/// Would catch a reset of the machine that leaves an interrupt pending or its line high.
fn machine_reset_pending(timers: &Timers, vm: &Rc<Vm>) -> Result<()> {
    each(timers, vm, |bench| {
        if bench.profile.signal != Signal::Level {
            return Err(Error::skipped("the line of this timer makes pulses"));
        }
        if let Some(why) = bench.profile.survives_reset {
            return Err(Error::skipped(why));
        }
        let (tick, ticks) = (bench.profile.tick, bench.thousand());
        let watch = bench.start(ticks, bench.any_mode(), 1)?;
        bench.assert_runs_out(&watch, tick, ticks, 1, "before a reset")?;
        reset(bench.vm)?;
        let known = bench.profile.asserts_after_reset;
        let number = bench.number;
        assert!(!bench.timer.is_pending()?.unwrap_or(false), "timer {number}, after a reset");
        assert!(!bench.timer.interrupts()?.unwrap_or(false), "timer {number}, after a reset");
        let is_high = bench.line.as_ref().map(|line| line.is_high()).transpose()?;
        assert!(known.is_some() || !is_high.unwrap_or(false), "timer {number}: the line");
        // What is left behind the mask would show when the interrupt is cleared and enabled.
        bench.timer.enable_interrupt(true)?;
        bench.clear("after a reset, enabled")?;
        known.map_or(Ok(()), |why| Err(Error::skipped(why)))
    })
}

/// Would catch a timer that another one of the chip starts, stops, reloads or clears, or whose
/// interrupt is cleared with that of another.
fn independent(timers: &Timers, vm: &Rc<Vm>) -> Result<()> {
    let timers = &timers.0;
    if timers.len() < 2 {
        return Err(Error::skipped("this chip has one timer"));
    }
    if timers.iter().any(|timer| timer.profile().signal != Signal::Level) {
        return Err(Error::skipped("no status tells which timer has run out"));
    }
    let mode = |timer: &Rc<dyn Timer>| timer.profile().modes[0];
    let ticks = |number: usize| 1000 + 100 * number as u64;
    // By when each ends, with its own clock, in the order of time.
    let mut ends = Vec::new();
    for (number, timer) in timers.iter().enumerate() {
        timer.stop()?;
        timer.clear()?;
        timer.enable_interrupt(true)?;
        timer.start(ticks(number), mode(timer), 1)?;
        ends.push((timer.profile().tick.latest(ticks(number)) + Duration::from_nanos(1), number));
    }
    ends.sort_unstable();
    let watch = Stopwatch::new(vm);
    let mut over = vec![false; timers.len()];
    for (end, number) in ends {
        watch.until(end)?;
        over[number] = true;
        for (other, timer) in timers.iter().enumerate() {
            let is_pending = timer.is_pending()?;
            let expected = over[other] && other == number;
            assert_eq!(is_pending.unwrap_or(expected), expected, "timer {other} of {number}");
        }
        timers[number].stop()?;
        timers[number].clear()?;
    }
    cleared_alone(timers, vm)
}

/// Asserts that of timers that have all run out, each is pending until it is cleared itself.
fn cleared_alone(timers: &[Rc<dyn Timer>], vm: &Rc<Vm>) -> Result<()> {
    let mut end = Duration::ZERO;
    for timer in timers {
        let profile = timer.profile();
        if !profile.interrupts_when_stopped && profile.modes[0] == Mode::Periodic {
            return Ok(());
        }
        timer.start(1000, profile.modes[0], 1)?;
        end = end.max(profile.tick.latest(1001));
    }
    Stopwatch::new(vm).until(end)?;
    timers.iter().try_for_each(|timer| timer.stop())?;
    for (number, timer) in timers.iter().enumerate() {
        timer.clear()?;
        for (other, timer) in timers.iter().enumerate() {
            let is_pending = timer.is_pending()?.unwrap_or(other > number);
            assert_eq!(is_pending, other > number, "timer {other}, {number} is cleared");
        }
    }
    Ok(())
}
