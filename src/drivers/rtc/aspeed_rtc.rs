//! The real-time clock of the ASPEED BMCs (AST2500 data sheet, chapter "Real Time Clock").

use std::rc::Rc;

use chrono::{Datelike, TimeDelta, Timelike};

use crate::graph::{Discovered, FoundDevice, Produces, QemuArgs};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt};
use crate::qos::rtc::{self, DateTime, Profile, Rtc, at};
use crate::{Error, Result, discovered, driver};

/// Day, hour, minute, second, a byte each.
pub const COUNTER_1: Register<u32> =
    Register::new("RTC00", 0x00).section("Counter 1").reset(0).volatile(0xffff_ffff).side_effect();
/// Century, year, month.
pub const COUNTER_2: Register<u32> =
    Register::new("RTC04", 0x04).section("Counter 2").reset(0).volatile(0xffff_ffff).side_effect();
/// Control; bit 0 starts the clock.
pub const CONTROL: Register<u32> = Register::new("RTC10", 0x10)
    .section("Control")
    .reset(0)
    .kept(UNLOCK as u64)
    .acts(ENABLE as u64)
    .reserved(!0b11 & 0xffff_ffff);

/// Control: the counters can be written.
const UNLOCK: u32 = 1 << 1;
/// Control: the clock runs.
const ENABLE: u32 = 1 << 0;

/// The registers that QEMU has; it has no alarm.
const TABLE: &[&dyn AnyRegister] = &[&COUNTER_1, &COUNTER_2, &CONTROL];

/// QEMU's `aspeed.rtc`.
pub struct AspeedRtc {
    registers: Rc<Mmio>,
}

impl AspeedRtc {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Writes the counters and sees that they take nothing while they are locked.
    fn write(&self, time: DateTime) -> Result<()> {
        let registers = self.registers();
        let year = time.year().cast_unsigned();
        let first = time.day() << 24 | time.hour() << 16 | time.minute() << 8 | time.second();
        let second = (year / 100) << 16 | (year % 100) << 8 | time.month();
        registers.set(CONTROL, UNLOCK)?;
        registers.set(COUNTER_1, first)?;
        registers.set(COUNTER_2, second)?;
        registers.set(CONTROL, 0)?;
        registers.set(COUNTER_1, !first)?;
        registers.set(COUNTER_2, !second)?;
        let read = (registers.get(COUNTER_1)?, registers.get(COUNTER_2)?);
        if read != (first, second) {
            return Err(Error::failed(format!(
                "{first:#010x} and {second:#010x} were written and locked, {read:#010x?} read"
            )));
        }
        registers.set(CONTROL, ENABLE)
    }
}

impl Rtc for AspeedRtc {
    fn profile(&self) -> Profile {
        let is_short = rtc::is_short(self.registers.vm());
        let last = at(if is_short { 2087 } else { 2099 }, 12, 31, 23, 59, 59);
        let lost_in_reset =
            Some("a reset of the machine clears QEMU's aspeed.rtc, which a battery can keep going");
        Profile { start: None, lost_in_reset, ..Profile::new(at(1970, 1, 1, 0, 0, 0), last) }
    }

    fn time(&self) -> Result<DateTime> {
        let (first, second) = (self.registers().get(COUNTER_1)?, self.registers().get(COUNTER_2)?);
        if first & 0xe0e0_c0c0 != 0 || second & 0xffe0_80f0 != 0 {
            return Err(Error::failed(format!(
                "bits that no time has: {first:#010x}, {second:#010x}"
            )));
        }
        let [day, hour, minute, second_of_minute] = first.to_be_bytes().map(u32::from);
        let [_, century, year, month] = second.to_be_bytes().map(u32::from);
        rtc::checked([century * 100 + year, month, day], [hour, minute, second_of_minute])
    }

    fn set_time(&self, time: DateTime) -> Result<()> {
        // QEMU reckons what is set from the host's clock, and shows the time by the machine's.
        let mut error = TimeDelta::zero();
        for _ in 0..5 {
            self.write(time - error)?;
            match self.time()? - time {
                zero if zero.is_zero() => return Ok(()),
                more => error += more,
            }
        }
        Err(Error::failed(format!("{time} was set, and {} is shown", self.time()?)))
    }
}

impl Produces<dyn Rtc> for AspeedRtc {
    const ARGS: QemuArgs = rtc::ARGS;

    fn produced(self: Rc<Self>) -> Rc<dyn Rtc> {
        self
    }
}

impl Produces<RegisterBlock> for AspeedRtc {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("AST2500 data sheet", self.registers.clone(), TABLE))
    }
}

impl Discovered for AspeedRtc {
    const QOM_TYPES: &'static [&'static str] = &["aspeed.rtc"];

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        Ok(Self { registers: Rc::new(Mmio::new(vm, device.base()?, Endian::Little)) })
    }
}

driver!(AspeedRtc = "aspeed.rtc"; produces dyn Rtc, RegisterBlock);
discovered!(AspeedRtc);
