//! What the MC146818A has beside time and alarm: formats, the periodic and the update-ended
//! interrupt, the warning before an update, ways to stop it, alarms at any value.

use std::rc::Rc;
use std::time::Duration;

use chrono::{Datelike, Timelike};

use crate::drivers::rtc::mc146818rtc::{self as chip, Chip, Mc146818};
use crate::qemu::Vm;
use crate::qos::interrupt::InterruptLine;
use crate::qos::registers::RegistersExt;
use crate::qos::reset;
use crate::qos::rtc::{Alarm, Rtc, at, step, step_seconds, to_bcd};
use crate::qos::wait_until;
use crate::{Error, Result, tests};

tests!(Chip, "mc146818-tests":
    formats,
    twelve_hours = "twelve-hours",
    weekdays,
    century,
    periodic,
    periodic_interrupt = "periodic-interrupt",
    update_ended = "update-ended",
    update_in_progress = "update-in-progress",
    set_mode = "set-mode",
    divider,
    alarm_at_any = "alarm-at-any",
    one_flag_of_three = "one-flag-of-three",
    machine_reset = "machine-reset",
);

/// The interrupt line, watched.
fn line(clock: &Mc146818) -> Result<InterruptLine> {
    let unknown = || Error::skipped("it is not known where the interrupt line ends");
    clock.line()?.ok_or_else(unknown)
}

fn set(clock: &Mc146818, vm: &Vm, hour: u32, minute: u32, second: u32) -> Result<()> {
    vm.note_lasting("the time of a clock");
    clock.set_time(at(2021, 6, 15, hour, minute, second))
}

/// Would catch a register of the time that is BCD where it should be binary, or the reverse, in
/// any of the four formats of Register B.
fn formats(Chip(clock): &Chip, vm: &Rc<Vm>) -> Result<()> {
    let time = at(2058, 12, 31, 23, 49, 58);
    for (dm, hours) in [(0, 0), (0, chip::HOURS_24), (chip::DM, 0), (chip::DM, chip::HOURS_24)] {
        vm.note_lasting("the format of a clock");
        clock.change_b(dm | hours, chip::DM | chip::HOURS_24)?;
        clock.set_time(time)?;
        let encode = |number: u32| if dm == 0 { to_bcd(number as u8) } else { number as u8 };
        let hour = if hours == 0 { chip::PM | encode(11) } else { encode(23) };
        for (register, expected) in [
            (chip::SECONDS, encode(58)),
            (chip::MINUTES, encode(49)),
            (chip::HOURS, hour),
            (chip::DAY_OF_WEEK, 3),
            (chip::DATE, encode(31)),
            (chip::MONTH, encode(12)),
            (chip::YEAR, encode(58)),
            (chip::CENTURY, encode(20)),
        ] {
            let read = clock.registers().get(register)?;
            assert_eq!(read, expected, "{register} with {:#04x} in register B", dm | hours);
        }
        // 10 minutes and 2 seconds to the next year.
        step_seconds(vm, 602)?;
        assert_eq!(clock.time()?, at(2059, 1, 1, 0, 0, 0), "with {:#04x} in B", dm | hours);
    }
    Ok(())
}

/// Would catch an hour of the 12-hour mode taken for another, midnight and noon above all, and
/// one that does not go on to the next.
fn twelve_hours(Chip(clock): &Chip, vm: &Rc<Vm>) -> Result<()> {
    vm.note_lasting("the format of a clock");
    for dm in [0, chip::DM] {
        clock.change_b(dm, chip::DM | chip::HOURS_24)?;
        for hour in 0..24 {
            set(clock, vm, hour, 59, 59)?;
            let expected = |hour| Mc146818::encoded_hour(hour, dm);
            assert_eq!(clock.registers().get(chip::HOURS)?, expected(hour), "{hour} was set");
            step_seconds(vm, 1)?;
            let next = clock.registers().get(chip::HOURS)?;
            assert_eq!(next, expected((hour + 1) % 24), "a second after {hour}:59:59");
            let date = if hour == 23 { 16 } else { 15 };
            assert_eq!(clock.time()?.day(), date, "a second after {hour}:59:59");
        }
    }
    Ok(())
}

/// Would catch a day of the week that does not go on at midnight, or not from Saturday (7) to
/// Sunday (1).
fn weekdays(Chip(clock): &Chip, vm: &Rc<Vm>) -> Result<()> {
    vm.note_lasting("the time of a clock");
    for day in 10..18 {
        clock.set_time(at(2024, 2, day, 23, 59, 59))?;
        let before = clock.registers().get(chip::DAY_OF_WEEK)?;
        // 2024-02-10 is a Saturday.
        assert_eq!(u32::from(before), (day - 4) % 7 + 1, "2024-02-{day}");
        step_seconds(vm, 1)?;
        let after = clock.registers().get(chip::DAY_OF_WEEK)?;
        assert_eq!(after, before % 7 + 1, "the day after {before}");
    }
    Ok(())
}

/// Would catch a century that is not carried to, and one that the second address of it does not
/// show.
fn century(Chip(clock): &Chip, vm: &Rc<Vm>) -> Result<()> {
    vm.note_lasting("the time of a clock");
    for (year, before, after) in [(1999, 0x19, 0x20), (2099, 0x20, 0x21)] {
        clock.set_time(at(year, 12, 31, 23, 59, 59))?;
        for register in [chip::CENTURY, chip::CENTURY_PS2] {
            assert_eq!(clock.registers().get(register)?, before, "{register} of {year}");
        }
        step_seconds(vm, 1)?;
        for register in [chip::CENTURY, chip::CENTURY_PS2] {
            assert_eq!(clock.registers().get(register)?, after, "{register} after {year}");
        }
        assert_eq!(clock.registers().get(chip::YEAR)?, 0);
    }
    clock.registers().set(chip::CENTURY_PS2, 0x20)?;
    assert_eq!(clock.time()?.year(), 2000, "the century was written at its second address");
    Ok(())
}

/// The period of each rate, in 32,768ths of a second (table 5 of the data sheet).
const PERIODS: [u32; 16] =
    [0, 128, 256, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384];

/// That many 32,768ths of a second, in whole nanoseconds.
fn ticks(ticks: u32) -> Duration {
    Duration::from_nanos(u64::from(ticks) * 1_000_000_000 / 32_768)
}

/// Would catch a rate with another period than that of the data sheet, and a rate of zero that
/// has one.
fn periodic(Chip(clock): &Chip, vm: &Rc<Vm>) -> Result<()> {
    vm.note_lasting("the rate of a clock");
    let take = || Ok::<bool, Error>(clock.flags()? & chip::PIE != 0);
    let margin = Duration::from_micros(2);
    for (rate, period) in PERIODS.into_iter().enumerate() {
        clock.change_b(0, chip::PIE)?;
        clock.registers().set(chip::A, chip::DIVIDER_RUNS | rate as u8)?;
        clock.flags()?;
        clock.change_b(chip::PIE, 0)?;
        if period == 0 {
            step_seconds(vm, 2)?;
            assert!(!take()?, "rate 0 has no periodic interrupt");
            continue;
        }
        let begun = vm.qtest().clock_last_seen();
        wait_until(vm, "the first periodic interrupt", take)?;
        let first = vm.qtest().clock_last_seen() - begun;
        assert!(first <= ticks(period) + ticks(1), "rate {rate}: the first after {first:?}");
        // From here on, one a period, and none a little before it.
        for number in 1..=6 {
            step(vm, ticks(period) - if number == 1 { margin } else { 2 * margin })?;
            assert!(!take()?, "rate {rate}: before the end of period {number}");
            step(vm, 2 * margin)?;
            assert!(take()?, "rate {rate}: after the end of period {number}");
        }
    }
    Ok(())
}

/// Would catch a periodic interrupt that comes although it is not enabled, comes more than once
/// before it is acknowledged, or stays after that.
fn periodic_interrupt(Chip(clock): &Chip, vm: &Rc<Vm>) -> Result<()> {
    let line = line(clock)?;
    vm.note_lasting("the rate of a clock");
    clock.flags()?;
    clock.registers().set(chip::A, chip::DIVIDER_RUNS | 15)?;
    step_seconds(vm, 2)?;
    assert_eq!(line.edges()?, (0, 0), "not enabled");
    clock.flags()?;
    clock.change_b(chip::PIE, 0)?;
    assert_eq!(line.edges()?, (0, 0), "enabled, and no period over");
    // A period begins somewhere in a tick of the crystal.
    step(vm, ticks(1))?;
    for number in 1..=8 {
        step(vm, Duration::from_millis(500))?;
        assert_eq!(line.edges()?, (number, number - 1), "after {number} half seconds");
        assert!(line.is_high()?);
        assert_eq!(clock.flags()? & chip::PIE, chip::PIE, "register C");
        assert_eq!(line.edges()?, (number, number), "acknowledged");
    }
    step_seconds(vm, 3)?;
    assert_eq!(line.edges()?, (9, 8), "not acknowledged for six periods");
    clock.flags()?;
    clock.change_b(0, chip::PIE)?;
    step_seconds(vm, 3)?;
    assert_eq!(line.edges()?, (9, 9), "disabled");
    Ok(())
}

/// Would catch an update-ended interrupt that does not come every second, at another time than
/// the time goes on, or although it is not enabled.
fn update_ended(Chip(clock): &Chip, vm: &Rc<Vm>) -> Result<()> {
    let line = line(clock)?;
    clock.flags()?;
    clock.change_b(chip::UIE, 0)?;
    let tenth = Duration::from_millis(100);
    let mut seen = 0;
    for number in 0..40 {
        let before = clock.time()?;
        step(vm, tenth)?;
        let has_gone_on = clock.time()? != before;
        let (raised, _) = line.edges()?;
        assert_eq!(raised > seen, has_gone_on, "the tenth of a second number {number}");
        seen = raised;
        let flags = clock.flags()?;
        assert_eq!(flags, if has_gone_on { chip::UIE } else { 0 }, "register C at {number}");
    }
    assert_eq!(line.edges()?, (4, 4), "4 s");
    clock.change_b(0, chip::UIE)?;
    step_seconds(vm, 2)?;
    assert_eq!(line.edges()?, (4, 4), "not enabled");
    assert_eq!(clock.flags()?, chip::UIE, "not enabled");
    Ok(())
}

/// Would catch a warning that does not come before an update, or comes too early: UIP is set for
/// at least 244 µs before it, and clear for the rest of the second.
fn update_in_progress(Chip(clock): &Chip, vm: &Rc<Vm>) -> Result<()> {
    let uip = || Ok::<bool, Error>(clock.registers().get(chip::A)? & chip::UIP != 0);
    // Goes to a place less than a millisecond before an update, by ever smaller steps.
    for width in [100, 10, 1].map(Duration::from_millis) {
        let before = clock.time()?;
        while clock.time()? == before {
            step(vm, width)?;
        }
        step(vm, Duration::from_secs(1) - width)?;
    }
    assert!(!uip()?, "UIP a millisecond before an update");
    let mut shown = 0;
    for _ in 0..21 {
        let before = clock.time()?;
        step(vm, Duration::from_micros(50))?;
        if clock.time()? != before {
            assert!(shown >= 4, "UIP was shown for {shown} times 50 µs before an update");
            assert!(!uip()?, "UIP after the update");
            step(vm, Duration::from_millis(500))?;
            assert!(!uip()?, "UIP in the middle of a second");
            return Ok(());
        }
        match uip()? {
            true => shown += 1,
            false => assert_eq!(shown, 0, "UIP went away before the update"),
        }
    }
    Err(Error::failed("no update came within a millisecond"))
}

/// Would catch a clock that goes on while SET is set, does not afterwards, or keeps the
/// update-ended interrupt enabled.
fn set_mode(Chip(clock): &Chip, vm: &Rc<Vm>) -> Result<()> {
    set(clock, vm, 12, 30, 15)?;
    clock.change_b(chip::UIE, 0)?;
    clock.change_b(chip::SET, 0)?;
    let b = clock.registers().get(chip::B)?;
    assert_eq!(b & (chip::SET | chip::UIE), chip::SET, "SET clears UIE, register B {b:#04x}");
    clock.flags()?;
    let before = clock.time()?;
    step_seconds(vm, 5)?;
    assert_eq!(clock.time()?, before, "with SET set");
    clock.registers().set(chip::MINUTES, 0x59)?;
    assert_eq!(clock.time()?.minute(), 59, "written with SET set");
    clock.change_b(0, chip::SET)?;
    step_seconds(vm, 46)?;
    let expected = at(2021, 6, 15, 13, 0, 1);
    let read = clock.time()?;
    assert!(
        (expected - read).num_seconds() <= 1 && read <= expected,
        "46 s after 12:59:15 it is {read}"
    );
    Ok(())
}

/// Would catch a divider that does not hold the clock when it is reset, and a first update that
/// does not come half a second after that ends (section "Divider Control").
fn divider(Chip(clock): &Chip, vm: &Rc<Vm>) -> Result<()> {
    set(clock, vm, 12, 30, 15)?;
    vm.note_lasting("the divider of a clock");
    let rate = clock.registers().get(chip::A)? & !chip::DIVIDER & !chip::UIP;
    clock.registers().set(chip::A, chip::DIVIDER_RESET | rate)?;
    let before = clock.time()?;
    clock.flags()?;
    step_seconds(vm, 5)?;
    assert_eq!(clock.time()?, before, "with the divider held in reset");
    assert_eq!(clock.flags()?, 0, "no interrupt in reset");
    clock.registers().set(chip::A, chip::DIVIDER_RUNS | rate)?;
    assert_eq!(clock.time()?, before, "with the divider running again");
    step(vm, Duration::from_millis(499))?;
    assert_eq!(clock.time()?, before, "499 ms later");
    step(vm, Duration::from_millis(2))?;
    assert_eq!((clock.time()? - before).num_seconds(), 1, "501 ms later");
    step_seconds(vm, 1)?;
    assert_eq!((clock.time()? - before).num_seconds(), 2, "1501 ms later");
    Ok(())
}

/// Would catch an alarm in which "any value" of a field does not hold: every hour, every minute,
/// every second.
fn alarm_at_any(Chip(clock): &Chip, vm: &Rc<Vm>) -> Result<()> {
    let write = |hour, minute, second| -> Result<()> {
        clock.registers().set(chip::HOURS_ALARM, hour)?;
        clock.registers().set(chip::MINUTES_ALARM, minute)?;
        clock.registers().set(chip::SECONDS_ALARM, second)?;
        clock.flags()?;
        Ok(())
    };
    let seconds_until = |limit: u32| -> Result<Option<u32>> {
        for second in 1..=limit {
            step_seconds(vm, 1)?;
            if clock.take()? {
                return Ok(Some(second));
            }
        }
        Ok(None)
    };
    let any = chip::ANY;
    for (alarm, first, then) in [
        // Every second, every minute at :20, every hour at :31:20.
        ([any, any, any], 1, Some(1)),
        ([any, any, 0x20], 5, Some(60)),
        ([any, 0x31, 0x20], 65, None),
        ([0x12, any, 0x20], 5, Some(60)),
        ([0x12, 0x30, any], 1, Some(1)),
        ([0x12, 0x31, any], 45, Some(1)),
        ([any, 0x31, any], 45, Some(1)),
        ([0x13, any, any], 1785, Some(1)),
        ([0x12, 0x30, 0x14], 0, None),
    ] {
        set(clock, vm, 12, 30, 15)?;
        write(alarm[0], alarm[1], alarm[2])?;
        if first == 0 {
            assert_eq!(seconds_until(120)?, None, "the alarm {alarm:02x?} was a second ago");
            continue;
        }
        if first > 100 {
            step_seconds(vm, u64::from(first) - 1)?;
            assert!(!clock.take()?, "the alarm {alarm:02x?} a second too early");
            assert_eq!(seconds_until(1)?, Some(1), "the alarm {alarm:02x?}");
        } else {
            assert_eq!(seconds_until(first + 5)?, Some(first), "the alarm {alarm:02x?}");
        }
        assert_eq!(seconds_until(62)?, then, "the alarm {alarm:02x?} once more");
    }
    set(clock, vm, 12, 59, 50)?;
    write(any, 0x00, 0x05)?;
    assert_eq!(seconds_until(20)?, Some(15), "in the next hour");
    set(clock, vm, 23, 59, 50)?;
    write(0x00, any, any)?;
    assert_eq!(seconds_until(20)?, Some(10), "in the first hour of the next day");
    // The next time is a day later.
    set(clock, vm, 12, 59, 50)?;
    write(0x12, any, 0x05)?;
    // Nobody reads the flags meanwhile.
    step_seconds(vm, 20)?;
    assert!(!clock.take()?, "after the last minute of its hour");
    set(clock, vm, 12, 30, 50)?;
    write(0x12, 0x30, any)?;
    for second in 51..=59 {
        assert_eq!(seconds_until(1)?, Some(1), "at 12:30:{second}");
    }
    assert_eq!(seconds_until(10)?, None, "after the last second of its minute");
    Ok(())
}

/// Would catch a flag that is enabled by another flag's bit, or raises the line with another's.
fn one_flag_of_three(Chip(clock): &Chip, vm: &Rc<Vm>) -> Result<()> {
    let line = line(clock)?;
    vm.note_lasting("the rate of a clock");
    clock.registers().set(chip::A, chip::DIVIDER_RUNS | 15)?;
    let all = chip::INTERRUPTS;
    let mut raised = 0;
    for enabled in [0, chip::UIE, chip::AIE, chip::PIE, all] {
        clock.change_b(0, all)?;
        set(clock, vm, 12, 30, 15)?;
        clock.set(at(2021, 6, 15, 12, 30, 17))?;
        clock.change_b(enabled, 0)?;
        step_seconds(vm, 3)?;
        let flags = clock.flags()?;
        let periodic = enabled & chip::PIE;
        // QEMU counts the periods of a periodic interrupt that is enabled, and no others.
        assert_eq!(flags, chip::AIE | chip::UIE | periodic, "{enabled:#04x} enabled");
        raised += u64::from(enabled != 0);
        assert_eq!(line.edges()?, (raised, raised), "{enabled:#04x} enabled");
    }
    clock.change_b(0, all)?;
    Ok(())
}

/// Would catch a reset of the machine that leaves interrupts enabled or pending, and one that
/// changes the formats or the rate ("RESET": PIE, AIE, UIE and SQWE are cleared, the flags too,
/// and nothing else).
fn machine_reset(Chip(clock): &Chip, vm: &Rc<Vm>) -> Result<()> {
    let line = line(clock)?;
    vm.note_lasting("the format of a clock");
    set(clock, vm, 12, 30, 15)?;
    clock.registers().set(chip::A, chip::DIVIDER_RUNS | 13)?;
    let enabled = chip::INTERRUPTS;
    clock.change_b(enabled | chip::SQWE | chip::DM, 0)?;
    step_seconds(vm, 2)?;
    assert!(line.is_high()?, "interrupts before the reset");
    reset(vm)?;
    assert!(!line.is_high()?, "the line after the reset");
    let edges = line.edges()?;
    // Whether UIE is cleared is for the suite of registers to tell.
    let b = clock.registers().get(chip::B)? & !chip::UIE;
    assert_eq!(b, chip::DM | chip::HOURS_24, "register B after the reset");
    clock.change_b(0, chip::UIE)?;
    assert_eq!(clock.registers().get(chip::A)? & !chip::UIP, chip::DIVIDER_RUNS | 13);
    assert_eq!(clock.registers().get(chip::C)?, 0, "register C after the reset");
    step_seconds(vm, 2)?;
    assert_eq!(line.edges()?, edges, "interrupts 2 s after the reset");
    assert_eq!(clock.time()?, at(2021, 6, 15, 12, 30, 19), "4 s went by");
    Ok(())
}
