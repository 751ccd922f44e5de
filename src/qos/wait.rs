//! The one way to wait for a device, and for QEMU to be done with what it does by itself.

use std::time::{Duration, Instant};

use super::failed_waits::before;
use crate::protocol::{self, Event};
use crate::qemu::Vm;
use crate::{Error, Result};

/// How far the virtual clock is stepped at the most while waiting. Devices' timers are
/// shorter; this bounds a wait for something that never comes.
const VIRTUAL: Duration = Duration::from_secs(100);
/// How long is waited at least for what takes real time in QEMU's threads, such as a disk.
const REAL: Duration = Duration::from_secs(2);
/// As long as that where the same wait failed before.
const SHORT: Duration = Duration::from_millis(200);
/// How often is looked at least, with the clock stepped and then without, before a wait is over,
/// unless so many times its limit have passed.
const LOOKS: usize = 1000;
const MOST: u32 = 10;

/// Waits until `done` says so, stepping the virtual clock to the next timer in between.
/// `what` says what was awaited, for the error.
///
/// Where the same wait has failed before in the same suite, it fails sooner, and says so: a
/// fault for which many paths wait costs little more than the first ones.
///
/// # Errors
/// It does not happen: within 100 seconds of virtual and two of real time, or within the
/// limits of [`Vm::deadline`]. Or `done` fails.
pub fn wait_until(vm: &Vm, what: &str, done: impl FnMut() -> Result<bool>) -> Result<()> {
    wait(vm, what, true, done)
}

/// The same while the virtual clock stands still: for what a timer must not bring about.
///
/// # Errors
/// As for [`wait_until`], but no virtual time passes.
pub fn wait_with_clock_still(
    vm: &Vm,
    what: &str,
    done: impl FnMut() -> Result<bool>,
) -> Result<()> {
    wait(vm, what, false, done)
}

/// Waits until QEMU has done what it puts off to its main loop, such as a notification that is
/// not urgent: it answers QMP after that.
///
/// # Errors
/// The machine does not run any more: an error of a disk, for one, may stop it.
pub fn settle(vm: &Vm) -> Result<()> {
    let now = vm.qmp().execute("query-status", serde_json::Value::Null)?;
    if now["running"] != true || now["status"] != "running" || now["singlestep"] == true {
        return Err(Error::failed(format!("the machine should be running, but it is {now}")));
    }
    Ok(())
}

/// Waits for the event `name` of QMP, kept or to come. Where the same event has not come before
/// in the same suite, it is waited for less long.
///
/// # Errors
/// It does not come within the limits of [`Vm::deadline`].
pub fn wait_event(vm: &Vm, name: &str) -> Result<Event> {
    let what = format!("the event {name}");
    let before = before(vm, &what);
    let limit = vm.deadline().limit();
    if before.is_often() {
        vm.deadline().set_limit(limit.min(REAL));
    }
    let came = vm.qmp().wait_event(name);
    vm.deadline().set_limit(limit);
    match came {
        Ok(event) => {
            before.note_success();
            Ok(event)
        }
        Err(e @ protocol::Error::Deadline { .. }) if before.is_often() => {
            before.note_failure();
            let (failures, suite) = (before.failures, vm.suite().unwrap_or_default());
            let why = format!(
                "waited less than usual, as {what} had not come {failures} times in {suite}"
            );
            Err(Error::from(e).context(why))
        }
        Err(e) => {
            if matches!(e, protocol::Error::Deadline { .. }) {
                before.note_failure();
            }
            Err(e.into())
        }
    }
}

fn wait(
    vm: &Vm,
    what: &str,
    mut timers: bool,
    mut done: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let before = before(vm, what);
    let begun = Instant::now();
    let lost_before = vm.deadline().lost();
    let limit = vm.deadline().limit();
    let (limit, real) =
        if before.is_often() { (limit.min(REAL), SHORT) } else { (limit, REAL.min(limit)) };
    let mut first = None;
    let stepped = timers;
    let (mut looks, mut still_since) = (0, Duration::ZERO);
    while !done()? {
        looks += 1;
        let now = Instant::now();
        vm.deadline().look(now, Duration::ZERO);
        // What QEMU could not use does not count; nor do few looks where it is we who seldom get
        // to run.
        let lost = vm.deadline().lost().saturating_sub(lost_before);
        let waited = (now - begun).saturating_sub(lost);
        let is_seldom = looks < LOOKS && waited <= limit.saturating_mul(MOST);
        let is_over = waited > limit || !timers && waited.saturating_sub(still_since) > real;
        if is_over && !is_seldom {
            let virtually = if stepped {
                format!("until no timer was left or {VIRTUAL:?} of virtual time were over")
            } else {
                "with the virtual clock standing still".to_owned()
            };
            let shorter = match before.failures {
                failures if before.is_often() => format!(
                    " (less than usual, as this wait had failed {failures} times in {})",
                    vm.suite().unwrap_or_default()
                ),
                _ => String::new(),
            };
            before.note_failure();
            return Err(Error::failed(format!(
                "waited for {what} for {waited:.1?}{shorter}, and {virtually}; it did not happen"
            )));
        }
        let now = if timers { vm.qtest().clock_step_next()? } else { None };
        let was_stepped = timers;
        timers = now.is_some_and(|now| now.saturating_sub(*first.get_or_insert(now)) < VIRTUAL);
        if was_stepped && !timers {
            (looks, still_since) = (0, waited);
        }
        if !timers {
            std::thread::yield_now();
        }
    }
    before.note_success();
    Ok(())
}
