//! The RS5C372A: the time at the start and how it goes on, both ways to count hours, setting it,
//! and the registers beside the time.

use std::rc::Rc;

use crate::Result;
use crate::drivers::rtc::rs5c372::{
    CONTROL_2, DAY, HOURS, MINUTES, MONTH, PM, Rs5c372, SECONDS, TWENTY_FOUR, YEAR,
};
use crate::qemu::Vm;
use crate::qos::rtc::{step_seconds, to_bcd};
use crate::tests;

tests!(Rs5c372, "rs5c372-tests":
    read_date,
    runs,
    hours,
    set,
    beside_time = "beside-time",
    addresses,
);

/// Seconds, minutes and hours, then day, month and year; the day of the week, between them, is for
/// software to say.
fn time(chip: &Rs5c372) -> Result<[u8; 6]> {
    let [second, minute, hour, _, day, month, year, ..] = chip.all()?;
    Ok([second, minute, hour, day, month, year])
}

/// Would catch a clock that does not start at the time of the command line, in any field of it.
fn read_date(chip: &Rs5c372, vm: &Rc<Vm>) -> Result<()> {
    chip.write(CONTROL_2, &[TWENTY_FOUR])?;
    let gone = vm.qtest().clock_last_seen().as_secs();
    step_seconds(vm, 60 - gone % 60)?;
    let minutes = vm.qtest().clock_last_seen().as_secs() / 60;
    let expected = [0, to_bcd((minutes % 60) as u8), to_bcd((minutes / 60) as u8), 1, 1, 0x20];
    assert_eq!(time(chip)?, expected);
    Ok(())
}

/// Would catch a clock that is faster or slower than the machine's, and a carry that is lost.
fn runs(chip: &Rs5c372, vm: &Rc<Vm>) -> Result<()> {
    chip.write(CONTROL_2, &[TWENTY_FOUR])?;
    let number = |bcd: u8| u64::from(bcd >> 4) * 10 + u64::from(bcd & 0xf);
    let of_day = |time: [u8; 6]| number(time[0]) + 60 * number(time[1]) + 3600 * number(time[2]);
    let mut before = time(chip)?;
    for seconds in [1, 1, 58, 59, 61, 3599, 3601, 7, 20_000] {
        step_seconds(vm, seconds)?;
        let now = time(chip)?;
        assert_eq!(of_day(now), of_day(before) + seconds, "{seconds} s after {before:02x?}");
        assert_eq!(now[3..], before[3..], "the date {seconds} s after {before:02x?}");
        before = now;
    }
    step_seconds(vm, 86_400)?;
    let mut expected = before;
    expected[3] += 1;
    assert_eq!(time(chip)?, expected, "a day after {before:02x?}");
    Ok(())
}

/// Would catch an hour of 12 that is shown as one of 24, noon or midnight as hour 0, or in the
/// wrong half of the day.
fn hours(chip: &Rs5c372, vm: &Rc<Vm>) -> Result<()> {
    chip.write(CONTROL_2, &[TWENTY_FOUR])?;
    let first = time(chip)?[2];
    for hour in (u64::from(first >> 4) * 10 + u64::from(first & 0xf)..).take(25) {
        let hour = (hour % 24) as u8;
        chip.write(CONTROL_2, &[TWENTY_FOUR])?;
        assert_eq!(time(chip)?[2], to_bcd(hour), "hour {hour} of 24");
        chip.write(CONTROL_2, &[0])?;
        let half = if hour < 12 { 0 } else { PM };
        let expected = half | to_bcd((hour + 11) % 12 + 1);
        assert_eq!(time(chip)?[2], expected, "hour {hour} of 12");
        step_seconds(vm, 3600)?;
    }
    Ok(())
}

/// Would catch a date or an hour that is not taken, of 24 and of 12. What QEMU reckons from the
/// host's clock, minutes and seconds, may be others by then.
fn set(chip: &Rs5c372, _: &Rc<Vm>) -> Result<()> {
    let cases = [
        (TWENTY_FOUR, 0x00, [0x29, 0x02, 0x24]),
        (TWENTY_FOUR, 0x23, [0x28, 0x02, 0x30]),
        (0, 0x12, [0x15, 0x06, 0x25]),
        (0, PM | 0x12, [0x15, 0x07, 0x25]),
        (0, PM | 0x11, [0x30, 0x11, 0x36]),
        (0, 0x01, [0x01, 0x12, 0x37]),
    ];
    for (control, hour, date) in cases {
        chip.write(CONTROL_2, &[control])?;
        chip.write(DAY, &[0x01])?;
        chip.write(YEAR, &[date[2]])?;
        chip.write(MONTH, &[date[1]])?;
        chip.write(DAY, &[date[0]])?;
        chip.write(SECONDS, &[0x30])?;
        chip.write(MINUTES, &[0x30])?;
        chip.write(HOURS, &[hour])?;
        let [_, minute, found, day, month, year] = time(chip)?;
        assert_eq!((found, [day, month, year]), (hour, date), "control {control:#x}, {minute:x}");
        assert!((0x25..0x36).contains(&minute), "minute 30 was written, {minute:x} is read");
    }
    Ok(())
}

/// Would catch a register that does not keep what is written, or takes another's value.
fn beside_time(chip: &Rs5c372, _: &Rc<Vm>) -> Result<()> {
    for seed in [0x11, 0x25] {
        for register in 0x8..0xe {
            chip.write(register, &[seed + (register - 0x8)])?;
        }
        let found = &chip.all()?[0x8..0xe];
        let expected: Vec<u8> = (0..6).map(|number| seed + number).collect();
        assert_eq!(found, expected);
    }
    Ok(())
}

/// Would catch bytes of one transfer that do not go to one register after the other, from the last
/// on to the first.
fn addresses(chip: &Rs5c372, _: &Rc<Vm>) -> Result<()> {
    let values = [0x21, 0x07, 0x03, 0x12, 0x06, 0x05];
    chip.write(0x8, &values)?;
    assert_eq!(chip.all()?[0x8..0xe], values, "in one transfer");
    chip.write(CONTROL_2, &[TWENTY_FOUR, 0x17])?;
    let all = chip.all()?;
    let (control, second) = (all[usize::from(CONTROL_2)], all[usize::from(SECONDS)]);
    assert_eq!(control & TWENTY_FOUR, TWENTY_FOUR, "the last register");
    assert!((0x10..0x27).contains(&second), "17 s was written behind it, {second:#x} is read");
    Ok(())
}
