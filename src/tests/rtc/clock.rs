//! Every real-time clock: where it starts, how it goes on, where it wraps around, that it can
//! be set, its alarm, and what a reset of the machine leaves of it.

use std::rc::Rc;
use std::time::Duration;

use chrono::TimeDelta;

use crate::qemu::Vm;
use crate::qos::interrupt::InterruptLine;
use crate::qos::reset;
use crate::qos::rtc::{Alarm, DateTime, Rtc, at, step, step_seconds};
use crate::{Error, Result, tests};

tests!(dyn Rtc, "rtc-tests":
    starts,
    runs,
    set,
    wraps,
    leap_years = "leap-years",
    alarm,
    alarm_interrupt = "alarm-interrupt",
    alarm_again = "alarm-again",
    machine_reset = "machine-reset",
);

/// Sets the time, which no reset of the machine takes back.
fn set_time(clock: &dyn Rtc, vm: &Vm, time: DateTime) -> Result<()> {
    vm.note_lasting("the time of a clock");
    clock.set_time(time)?;
    vm.set_up_ends()
}

fn seconds(seconds: u64) -> TimeDelta {
    TimeDelta::seconds(seconds as i64)
}

/// Would catch a clock that does not start at the time of the command line, in any field of it.
fn starts(clock: &dyn Rtc, vm: &Rc<Vm>) -> Result<()> {
    let Some(start) = clock.profile().start else {
        return Err(Error::skipped("the clock does not run before it is set"));
    };
    let expected = start + seconds(vm.qtest().clock_last_seen().as_secs());
    assert_eq!(clock.time()?, expected, "the time at the start");
    Ok(())
}

/// Would catch a clock that goes faster or slower than the machine's, loses part of a second,
/// or goes on while the machine's clock stands still.
fn runs(clock: &dyn Rtc, vm: &Rc<Vm>) -> Result<()> {
    if clock.profile().start.is_none() {
        set_time(clock, vm, at(2022, 3, 4, 5, 6, 7))?;
    }
    let mut expected = clock.time()?;
    for forward in [1, 1, 8, 59, 60, 61, 599, 3599, 3600, 3661] {
        step_seconds(vm, forward)?;
        expected += seconds(forward);
        assert_eq!(clock.time()?, expected, "{forward} s later");
        assert_eq!(clock.time()?, expected, "read again");
    }
    // Where in a second of the machine's clock one of this clock begins is its own affair.
    let tenth = Duration::from_millis(100);
    let mut begins = Vec::new();
    for number in 0..30 {
        let before = clock.time()?;
        step(vm, tenth)?;
        match (clock.time()? - before).num_seconds() {
            0 => {}
            1 => begins.push(number),
            other => panic!("{other} s later after 100 ms"),
        }
    }
    assert_eq!(begins.len(), 3, "seconds that began within 3 s, at tenths {begins:?}");
    assert!(begins.windows(2).all(|pair| pair[1] - pair[0] == 10), "10 tenths each: {begins:?}");
    Ok(())
}

/// Would catch a field of the time that does not keep what is set, is mixed up with another, or
/// lacks a bit.
fn set(clock: &dyn Rtc, vm: &Rc<Vm>) -> Result<()> {
    let profile = clock.profile();
    for time in [
        at(2021, 9, 28, 17, 46, 35),
        at(2000, 1, 1, 0, 0, 0),
        at(2012, 12, 31, 23, 59, 58),
        at(2034, 5, 6, 7, 8, 9),
        at(2043, 10, 11, 12, 13, 14),
        at(2058, 2, 28, 1, 32, 40),
        at(2064, 2, 29, 16, 4, 2),
        at(2077, 8, 10, 20, 16, 1),
        at(2087, 7, 30, 8, 55, 50),
        at(2099, 6, 19, 19, 9, 29),
        at(2105, 4, 20, 21, 20, 10),
        at(2188, 11, 9, 10, 42, 21),
        at(1970, 3, 15, 4, 1, 3),
        at(1999, 4, 30, 14, 30, 30),
    ] {
        if profile.has(time) {
            set_time(clock, vm, time)?;
            assert_eq!(clock.time()?, time, "{time} was set");
        }
    }
    Ok(())
}

/// Sets `time`, and sees that the next second is that of the calendar, and the one after it.
fn goes_on(clock: &dyn Rtc, vm: &Vm, time: DateTime) -> Result<()> {
    let profile = clock.profile();
    if !profile.has(time) || !profile.has(time + seconds(2)) {
        return Ok(());
    }
    set_time(clock, vm, time)?;
    assert_eq!(clock.time()?, time, "{time} was set");
    step_seconds(vm, 1)?;
    assert_eq!(clock.time()?, time + seconds(1), "a second after {time}");
    step_seconds(vm, 1)?;
    assert_eq!(clock.time()?, time + seconds(2), "two seconds after {time}");
    Ok(())
}

/// Would catch a field that wraps around too early or too late, or does not carry: seconds,
/// minutes, hours, the last day of each month, years, the century.
fn wraps(clock: &dyn Rtc, vm: &Rc<Vm>) -> Result<()> {
    for (hour, minute, second) in [(4, 5, 9), (4, 5, 59), (4, 9, 59), (9, 59, 59), (11, 59, 59)] {
        goes_on(clock, vm, at(2021, 6, 15, hour, minute, second))?;
    }
    for (month, day) in [
        (1, 31),
        (2, 28),
        (3, 31),
        (4, 30),
        (5, 31),
        (6, 30),
        (7, 31),
        (8, 31),
        (9, 30),
        (10, 31),
        (11, 30),
        (12, 31),
        (5, 9),
    ] {
        goes_on(clock, vm, at(2021, month, day, 23, 59, 59))?;
    }
    goes_on(clock, vm, at(2029, 12, 31, 23, 59, 59))?;
    goes_on(clock, vm, at(1999, 12, 31, 23, 59, 59))?;
    goes_on(clock, vm, at(2099, 12, 31, 23, 59, 59))
}

/// Would catch a leap year that is missed or is none: of four years, of a century, of four
/// centuries.
fn leap_years(clock: &dyn Rtc, vm: &Rc<Vm>) -> Result<()> {
    for year in [2000, 2020, 2023, 2024, 2025, 2028, 2080, 2096, 2098, 2100, 1972, 1996] {
        goes_on(clock, vm, at(year, 2, 28, 23, 59, 59))?;
    }
    goes_on(clock, vm, at(2024, 2, 29, 23, 59, 59))?;
    goes_on(clock, vm, at(2096, 2, 29, 23, 59, 59))
}

/// The alarm, which a test of it needs.
fn alarm_of(clock: &dyn Rtc) -> Result<&dyn Alarm> {
    clock.alarm().ok_or_else(|| Error::skipped("QEMU's clock has no alarm"))
}

/// Sets the alarm `ahead` seconds after `from`, and sees that it fires then, and only then.
fn fires(clock: &dyn Rtc, vm: &Vm, from: DateTime, ahead: u64) -> Result<()> {
    let alarm = alarm_of(clock)?;
    set_time(clock, vm, from)?;
    let due = from + seconds(ahead);
    alarm.set(due)?;
    assert!(!alarm.take()?, "at {from}, set for {due}");
    if ahead > 1 {
        step_seconds(vm, ahead - 1)?;
        assert!(!alarm.take()?, "a second before {due}");
    }
    step(vm, Duration::from_millis(999))?;
    assert!(!alarm.take()?, "a millisecond before {due}");
    step(vm, Duration::from_millis(1))?;
    assert_eq!(clock.time()?, due);
    assert!(alarm.take()?, "at {due}");
    assert!(!alarm.take()?, "at {due}, after it was acknowledged");
    step_seconds(vm, 1)?;
    assert!(!alarm.take()?, "a second after {due}");
    Ok(())
}

/// Moves the machine's clock to the beginning of a second, where a clock that counts seconds
/// of it, and one that is set, agree when the next one begins.
fn align(vm: &Vm) -> Result<()> {
    let rest = vm.qtest().clock_last_seen().subsec_nanos();
    if rest > 0 {
        step(vm, Duration::from_secs(1) - Duration::from_nanos(rest.into()))?;
    }
    Ok(())
}

/// Would catch an alarm that fires at another second than that it was set to, fires again, does
/// not fire past a full minute, hour, day or year, or looks at a part of the time only.
fn alarm(clock: &dyn Rtc, vm: &Rc<Vm>) -> Result<()> {
    alarm_of(clock)?;
    align(vm)?;
    for (from, ahead) in [
        (at(2021, 6, 15, 12, 30, 15), 1),
        (at(2021, 6, 15, 12, 30, 15), 5),
        (at(2021, 6, 15, 12, 30, 55), 10),
        (at(2021, 6, 15, 12, 58, 58), 62),
        (at(2021, 6, 15, 11, 59, 59), 3601),
        (at(2021, 12, 31, 23, 59, 50), 30),
        (at(2024, 2, 28, 23, 0, 0), 3600),
    ] {
        fires(clock, vm, from, ahead)?;
    }
    Ok(())
}

/// Sees whether the line is as it should be, and how often it was raised and lowered.
fn expect_line(line: &InterruptLine, edges: (u64, u64), what: &str) -> Result<()> {
    assert_eq!(line.edges()?, edges, "raised and lowered: {what}");
    assert_eq!(line.is_high()?, edges.0 > edges.1, "level: {what}");
    Ok(())
}

/// Would catch an alarm whose interrupt comes although it is not enabled, does not come when it
/// is, at its second or when it is enabled later, or stays after it was acknowledged.
fn alarm_interrupt(clock: &dyn Rtc, vm: &Rc<Vm>) -> Result<()> {
    let alarm = alarm_of(clock)?;
    let Some(line) = alarm.line()? else {
        return Err(Error::skipped("it is not known where the interrupt line ends"));
    };
    align(vm)?;
    let from = at(2021, 6, 15, 12, 30, 15);
    set_time(clock, vm, from)?;
    alarm.enable(false)?;
    alarm.set(from + seconds(2))?;
    expect_line(&line, (0, 0), "set")?;
    step_seconds(vm, 2)?;
    expect_line(&line, (0, 0), "fired, not enabled")?;
    alarm.enable(true)?;
    expect_line(&line, (1, 0), "enabled after it fired")?;
    alarm.enable(false)?;
    expect_line(&line, (1, 1), "disabled again")?;
    assert!(alarm.take()?, "a disabled interrupt takes nothing from the alarm");
    alarm.enable(true)?;
    expect_line(&line, (1, 1), "enabled after it was acknowledged")?;

    let from = clock.time()?;
    alarm.set(from + seconds(3))?;
    step(vm, Duration::from_millis(2999))?;
    expect_line(&line, (1, 1), "a millisecond before the alarm")?;
    step(vm, Duration::from_millis(1))?;
    expect_line(&line, (2, 1), "at the alarm")?;
    step_seconds(vm, 2)?;
    expect_line(&line, (2, 1), "two seconds after it")?;
    assert!(alarm.take()?);
    expect_line(&line, (2, 2), "acknowledged")?;
    step_seconds(vm, 2)?;
    expect_line(&line, (2, 2), "two seconds after that")
}

/// Would catch an alarm that cannot be set to another time, earlier or later, before it fires,
/// or that does not follow when the clock is set.
fn alarm_again(clock: &dyn Rtc, vm: &Rc<Vm>) -> Result<()> {
    let alarm = alarm_of(clock)?;
    align(vm)?;
    let from = at(2021, 6, 15, 12, 30, 15);
    set_time(clock, vm, from)?;
    alarm.set(from + seconds(5))?;
    alarm.set(from + seconds(9))?;
    step_seconds(vm, 8)?;
    assert!(!alarm.take()?, "set to a later time");
    step_seconds(vm, 1)?;
    assert!(alarm.take()?, "at the later time");
    let from = clock.time()?;
    alarm.set(from + seconds(9))?;
    alarm.set(from + seconds(2))?;
    step_seconds(vm, 2)?;
    assert!(alarm.take()?, "set to an earlier time");
    step_seconds(vm, 7)?;
    assert!(!alarm.take()?, "at the later time, which does not hold any more");
    Ok(())
}

/// Would catch a reset of the machine that stops the clock, sets it, or leaves the interrupt of
/// an alarm that is pending.
fn machine_reset(clock: &dyn Rtc, vm: &Rc<Vm>) -> Result<()> {
    let profile = clock.profile();
    align(vm)?;
    let from = at(2021, 6, 15, 12, 30, 15);
    match set_time(clock, vm, from) {
        Err(Error::Skipped(_)) if profile.start.is_some() => {}
        other => other?,
    }
    let before = clock.time()?;
    step_seconds(vm, 2)?;
    reset(vm)?;
    match (clock.time(), profile.lost_in_reset) {
        (Ok(after), None) => assert_eq!(after, before + seconds(2), "after a reset"),
        (Ok(after), Some(_)) if after == before + seconds(2) => {}
        (_, Some(why)) => return Err(Error::skipped(why)),
        (Err(error), None) => return Err(error),
    }
    step_seconds(vm, 3)?;
    assert_eq!(clock.time()?, before + seconds(5), "3 s after a reset");
    Ok(())
}
