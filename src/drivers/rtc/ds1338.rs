//! The DS1338 real-time clock with 56 bytes of RAM (Maxim Integrated, data sheet "DS1338").

use std::rc::Rc;

use chrono::{Datelike, Timelike};

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::i2c::{I2cBus, I2cDevice};
use crate::qos::registers::{
    AnyRegister, Fault, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::qos::rtc::{self, DateTime, Profile, Rtc, at, from_bcd, step_seconds, to_bcd};
use crate::{Error, Result, driver};

/// Seconds, in BCD, as all registers of the time; bit 7 stops the clock.
pub const SECONDS: Register<u8> = time("seconds", 0x00);
/// Minutes.
pub const MINUTES: Register<u8> = time("minutes", 0x01);
/// Hours, of 24, or of 12 with [`TWELVE_HOURS`].
pub const HOURS: Register<u8> = time("hours", 0x02);
/// Day of the week, 1 to 7; which is which is for the user to say.
pub const DAY: Register<u8> = time("day", 0x03);
/// Day of the month.
pub const DATE: Register<u8> = time("date", 0x04);
/// Month.
pub const MONTH: Register<u8> = time("month", 0x05);
/// Year of the century.
pub const YEAR: Register<u8> = time("year", 0x06);
/// Control. A zero clears bit 5.
pub const CONTROL: Register<u8> = Register::new("control", 0x07)
    .section("Control Register")
    .kept(CONTROL_KEPT as u64)
    .volatile(OSCILLATOR_STOPPED as u64)
    .lasting();
/// The first byte of RAM, of 56.
pub const RAM: Register<u8> =
    Register::new("RAM", 0x08).section("RTC and RAM Address Map").kept(0xff).lasting();
/// The last byte of RAM; the register pointer goes on at [`SECONDS`].
pub const LAST: Register<u8> = RAM.nth(55, 1);

/// A register of the time, which goes on by itself.
const fn time(name: &'static str, offset: u64) -> Register<u8> {
    Register::new(name, offset).section("Clock and Calendar").volatile(0xff).side_effect()
}

/// All registers but the RAM.
const TABLE: &[&dyn AnyRegister] =
    &[&SECONDS, &MINUTES, &HOURS, &DAY, &DATE, &MONTH, &YEAR, &CONTROL];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[Fault::new(
    &["control", "RAM"],
    &[Rule::MachineReset],
    "a reset of the machine clears what the battery of QEMU's ds1338 keeps",
)];

/// Hours: 12-hour mode.
pub const TWELVE_HOURS: u8 = 1 << 6;
/// Hours in 12-hour mode: PM.
pub const PM: u8 = 1 << 5;

/// Control: the oscillator was stopped (OSF); writing 1 leaves it as it is.
pub const OSCILLATOR_STOPPED: u8 = 1 << 5;
/// Control: bits that keep what is written (OUT, SQWE, RS1, RS0).
pub const CONTROL_KEPT: u8 = 0b1001_0011;

/// QEMU's `ds1338`. It runs by the virtual clock, so that its time stands still but for
/// the clock being stepped.
pub struct Ds1338 {
    device: I2cDevice,
    vm: Rc<Vm>,
}

/// Seconds, minutes, hours, day, date, month, year as the registers have them: `0x59` is 59.
pub type Time = [u8; 7];

/// The number that a register of the time is, in BCD or not.
pub const fn number(bcd: u8) -> u8 {
    (bcd >> 4) * 10 + (bcd & 0xf)
}

impl Consumes<dyn I2cBus> for Ds1338 {
    // At the first second of 2020 when the machine starts.
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},address={addr}")
        .at("0x68")
        .before("-rtc base=2020-01-01T00:00:00,clock=vm");

    fn attach(bus: Rc<dyn I2cBus>, site: &Site) -> Result<Self> {
        site.vm.note_lasting("what a battery keeps");
        Ok(Self { device: I2cDevice::plugged(bus, site, Endian::Big)?, vm: site.vm.clone() })
    }
}

impl Produces<RegisterBlock> for Ds1338 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let registers = Rc::new(self.device.clone());
        let block = RegisterBlock::new("DS1338", registers, TABLE).with_array(&RAM, 56, 1);
        Rc::new(block.faults(FAULTS))
    }
}

driver!(Ds1338 = "ds1338"; consumes dyn I2cBus; produces dyn Rtc, RegisterBlock);

impl Ds1338 {
    /// The device on its bus.
    pub fn device(&self) -> &I2cDevice {
        &self.device
    }

    /// Its registers.
    pub fn registers(&self) -> &dyn Registers {
        self.device.registers()
    }

    /// What the registers of the time show.
    ///
    /// # Errors
    /// Returns an error if the chip does not acknowledge.
    pub fn get(&self) -> Result<Time> {
        self.device.read_from(SECONDS.offset() as u8)
    }

    /// By how many seconds QEMU misses a time that is set.
    ///
    /// It reckons the time from the machine's clock, but what is set from the host's, which
    /// runs on its own. So each write to a register of the time adds the difference.
    fn error_of_setting(&self) -> Result<i16> {
        // Within the hour: on a busy computer it may be minutes.
        let of_hour = |minute: u8, second: i16| 60 * i16::from(number(minute)) + second;
        let [_, minute, ..] = self.get()?;
        self.registers().set(SECONDS, 0x20)?;
        let [second, after, ..] = self.get()?;
        let error = of_hour(after, i16::from(number(second))) - of_hour(minute, 20);
        Ok((error + 1800).rem_euclid(3600) - 1800)
    }

    /// Moves the machine's clock on where the host's is ahead of it. Returns by how many seconds
    /// QEMU misses a time that is set from then on: more than 0 if the machine's is ahead, and
    /// less again as the host's goes on.
    ///
    /// # Errors
    /// Returns an error if the chip does not acknowledge.
    pub fn catch_up(&self) -> Result<u16> {
        loop {
            let error = self.error_of_setting()?;
            match u16::try_from(error) {
                Ok(ahead) => return Ok(ahead),
                Err(_) => step_seconds(&self.vm, error.unsigned_abs().into())?,
            };
        }
    }

    /// Sets time and date, exactly, whatever `error_of_setting` is. QEMU carries a
    /// date that the month does not have over into the next at once, and derives the day from
    /// the date, hence this order, where on the chip there is none.
    ///
    /// The host's clock goes on meanwhile, so that the second which is set last comes out too
    /// early rather than too late, and the machine's clock, which nobody else moves, is stepped
    /// by the rest.
    ///
    /// # Errors
    /// Returns [`Error::Failed`] if other registers are read than were written, or if the
    /// machine's clock is further ahead of the host's than the second that is to be set.
    pub fn set(&self, time: &Time) -> Result<()> {
        let [second, minute, hour, day, date, month, year] = *time;
        let without_hour = |time: Time| [time[0], time[1], time[4], time[5], time[6]];
        let mut read = *time;
        // The host may have been stopped in between for longer than that.
        for _ in 0..5 {
            let error = self.catch_up()?;
            let last = u16::from(number(second)).checked_sub(error).ok_or_else(|| {
                Error::failed(format!("{second:#x} s is too early for an error of {error} s"))
            })?;
            // Half a minute from either end, if that can be, before the minutes are written.
            let middle = 30_u16.saturating_sub(error);
            let carry = (middle + 2 * error) / 60;
            let before = u16::from(number(minute)).checked_sub(carry).ok_or_else(|| {
                Error::failed(format!("{minute:#x} min is too early for an error of {error} s"))
            })?;
            for (register, value) in [
                (SECONDS, 0),
                (MINUTES, 0x30),
                (HOURS, 0x12),
                (DATE, 0x01),
                (MONTH, month),
                (YEAR, year),
                (DATE, date),
                (DAY, day),
                (HOURS, hour),
                (SECONDS, to_bcd(middle as u8)),
                (MINUTES, to_bcd(before as u8)),
                (SECONDS, to_bcd(last as u8)),
            ] {
                self.registers().set(register, value)?;
            }
            read = self.get()?;
            let missing = number(second).saturating_sub(number(read[0]));
            if missing > 0 && read[1] == minute {
                step_seconds(&self.vm, missing.into())?;
                read = self.get()?;
            }
            if without_hour(read) == without_hour(*time) {
                return Ok(());
            }
        }
        Err(Error::failed(format!("{time:02x?} was written, {read:02x?} read")))
    }
}

impl Rtc for Ds1338 {
    fn profile(&self) -> Profile {
        let last = at(if rtc::is_short(&self.vm) { 2087 } else { 2099 }, 12, 31, 23, 59, 59);
        Profile {
            start: Some(at(2020, 1, 1, 0, 0, 0)),
            lost_in_reset: Some("a reset of the machine sets QEMU's ds1338, which a battery keeps"),
            ..Profile::new(at(2000, 1, 1, 0, 0, 0), last)
        }
    }

    fn time(&self) -> Result<DateTime> {
        let [second, minute, hour, _, date, month, year] = self.get()?;
        if hour & TWELVE_HOURS != 0 {
            return Err(Error::failed(format!("{hour:#x} is not in 24-hour mode")));
        }
        let number = |bcd| from_bcd(bcd).map(u32::from);
        let date = [2000 + number(year)?, number(month)?, number(date)?];
        rtc::checked(date, [number(hour)?, number(minute)?, number(second)?])
    }

    fn set_time(&self, time: DateTime) -> Result<()> {
        let bcd = |number: u32| to_bcd(number as u8);
        self.set(&[
            bcd(time.second()),
            bcd(time.minute()),
            bcd(time.hour()),
            time.weekday().number_from_sunday() as u8,
            bcd(time.day()),
            bcd(time.month()),
            bcd(time.year().cast_unsigned() % 100),
        ])
    }
}

impl Produces<dyn Rtc> for Ds1338 {
    fn produced(self: Rc<Self>) -> Rc<dyn Rtc> {
        self
    }
}
