//! Real-time clocks: what a clock does, whichever chip it is, and the command line that makes it
//! depend on nothing but the machine's virtual clock.

use std::time::Duration;

use chrono::{NaiveDate, NaiveDateTime, TimeDelta};

use crate::graph::QemuArgs;
use crate::qemu::{Version, Vm};
use crate::qos::interrupt::InterruptLine;
use crate::{Error, Result, interface};

/// A date and a time of day, without a time zone.
pub type DateTime = NaiveDateTime;

/// What makes the clocks of a machine start at [`START`] and run by the virtual clock. All its
/// fields differ, so that none can stand for another.
pub const ARGS: QemuArgs = QemuArgs::NONE.before("-rtc base=2021-09-28T17:46:35,clock=vm");

/// The time at which clocks start with [`ARGS`].
pub const START: DateTime = at(2021, 9, 28, 17, 46, 35);

/// A date and time as a constant.
///
/// # Panics
/// Panics, which ends compilation, if there is no such date or time.
pub const fn at(year: i32, month: u32, day: u32, hour: u32, minute: u32, second: u32) -> DateTime {
    let Some(date) = NaiveDate::from_ymd_opt(year, month, day) else { panic!("no such date") };
    match date.and_hms_opt(hour, minute, second) {
        Some(time) => time,
        None => panic!("no such time of day"),
    }
}

/// The time `seconds` after 1970 began.
///
/// # Errors
/// Returns [`Error::Failed`] if no calendar has that time.
pub fn from_epoch(seconds: i64) -> Result<DateTime> {
    let since = TimeDelta::try_seconds(seconds);
    let time = since.and_then(|since| at(1970, 1, 1, 0, 0, 0).checked_add_signed(since));
    time.ok_or_else(|| Error::failed(format!("{seconds} s since 1970 is no time")))
}

/// Seconds from the beginning of 1970 to `time`.
pub fn to_epoch(time: DateTime) -> i64 {
    time.and_utc().timestamp()
}

/// A number below 100 in BCD.
pub const fn to_bcd(number: u8) -> u8 {
    ((number / 10) << 4) | (number % 10)
}

/// The number that `bcd` is, or an error if a digit is more than 9.
///
/// # Errors
/// Returns [`Error::Failed`] in that case.
pub fn from_bcd(bcd: u8) -> Result<u8> {
    if bcd & 0xf > 9 || bcd >> 4 > 9 {
        return Err(Error::failed(format!("{bcd:#04x} is no BCD")));
    }
    Ok((bcd >> 4) * 10 + (bcd & 0xf))
}

/// The date and time of these numbers, or an error that says which time does not exist.
///
/// # Errors
/// Returns [`Error::Failed`] in that case.
pub fn checked([year, month, day]: [u32; 3], [hour, minute, second]: [u32; 3]) -> Result<DateTime> {
    let date = NaiveDate::from_ymd_opt(year as i32, month, day);
    let time = date.and_then(|date| date.and_hms_opt(hour, minute, second));
    time.ok_or_else(|| {
        Error::failed(format!(
            "the clock shows {year}-{month}-{day} {hour}:{minute}:{second}, which does not exist"
        ))
    })
}

/// Whether this QEMU, before 8.2, keeps a time that is set as a difference of 31 bits from the
/// machine's, 68 years, in clocks that show the date, so that 2087 is the last year of theirs.
pub fn is_short(vm: &Vm) -> bool {
    vm.emulator().capabilities.version < Version::new(8, 2, 0)
}

/// What a clock is known to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// The time at which it starts, where the command line says it.
    pub start: Option<DateTime>,
    /// The first time that it can have.
    pub first: DateTime,
    /// The last one.
    pub last: DateTime,
    /// Why a reset of the machine stops or changes it, where QEMU does that although a battery
    /// keeps it going.
    pub lost_in_reset: Option<&'static str>,
}

impl Profile {
    /// A clock that starts at [`START`] and has these times.
    pub const fn new(first: DateTime, last: DateTime) -> Self {
        Self { start: Some(START), first, last, lost_in_reset: None }
    }

    /// A clock of 32 bits that counts seconds from 1970 on.
    pub const SECONDS_32: Self = Self::new(at(1970, 1, 1, 0, 0, 0), at(2106, 2, 7, 6, 28, 15));

    /// Whether the clock can have this time, and the second after it.
    pub fn has(&self, time: DateTime) -> bool {
        (self.first..self.last).contains(&time)
    }
}

/// A clock that shows date and time in whole seconds.
pub trait Rtc {
    /// What it is known to be.
    fn profile(&self) -> Profile;

    /// The time that it shows.
    ///
    /// # Errors
    /// Returns [`Error::Failed`] if that is no date and time.
    fn time(&self) -> Result<DateTime>;

    /// Sets it.
    ///
    /// # Errors
    /// Returns [`Error::Skipped`] if this QEMU's clock cannot be set.
    fn set_time(&self, time: DateTime) -> Result<()>;

    /// Its alarm, where QEMU has one.
    fn alarm(&self) -> Option<&dyn Alarm> {
        None
    }
}

interface!(dyn Rtc = "rtc");

/// The alarm of a clock.
pub trait Alarm {
    /// Has it fire at the beginning of the second `at`, which is less than a day away, once.
    /// What it had been set to and what has fired before is forgotten.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn set(&self, at: DateTime) -> Result<()>;

    /// Lets it raise the interrupt line, or not.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn enable(&self, is_enabled: bool) -> Result<()>;

    /// Whether it has fired since it was set or asked. Acknowledges it, which lowers the line.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn take(&self) -> Result<bool>;

    /// Its interrupt line, from now on watched, where it is known where that ends.
    ///
    /// # Errors
    /// Returns an error if QEMU cannot watch it.
    fn line(&self) -> Result<Option<InterruptLine>>;
}

/// Moves the machine's clock on by `time`.
///
/// # Errors
/// Returns [`Error::Skipped`] on a QEMU whose clock cannot be moved everywhere.
pub fn step(vm: &Vm, time: Duration) -> Result<()> {
    let before = vm.qtest().clock_last_seen();
    let after = vm.qtest().clock_step(Some(time))?;
    let version = vm.emulator().capabilities.version;
    if after == before && version >= Version::new(9, 1, 0) && version < Version::new(10, 0, 0) {
        let why = "the clock of QEMU 9.1 and 9.2 does not move where no timer is pending";
        return Err(Error::skipped(why));
    }
    Ok(())
}

/// Moves the machine's clock on by whole seconds.
///
/// # Errors
/// Returns an error as [`step`] does.
pub fn step_seconds(vm: &Vm, seconds: u64) -> Result<()> {
    step(vm, Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch digits that are mixed up, and a hexadecimal digit taken for a decimal one.
    #[test]
    fn bcd_is_two_decimal_digits() {
        for number in 0..100 {
            assert_eq!(from_bcd(to_bcd(number)).unwrap(), number);
        }
        assert_eq!((to_bcd(59), to_bcd(7)), (0x59, 0x07));
        assert!(from_bcd(0x0a).is_err() && from_bcd(0xa0).is_err());
    }

    /// Would catch an epoch that is not 1970, and a time that wraps.
    #[test]
    fn seconds_count_from_1970() {
        assert_eq!(to_epoch(Profile::SECONDS_32.last), i64::from(u32::MAX));
        assert_eq!(from_epoch(0).unwrap(), at(1970, 1, 1, 0, 0, 0));
        assert_eq!(from_epoch(to_epoch(START)).unwrap(), START);
        assert!(from_epoch(i64::MAX / 1000).is_err());
        assert!(checked([2023, 2, 29], [0; 3]).is_err());
    }
}
