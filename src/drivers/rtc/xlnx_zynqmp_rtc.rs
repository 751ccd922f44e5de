//! The real-time clock of the Zynq UltraScale+, which counts seconds (AMD, UG1087, module RTC).

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces, QemuArgs};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, RegistersExt, Width};
use crate::qos::rtc::{self, DateTime, Profile, Rtc};
use crate::{Error, Result, discovered, driver};

/// The time that is set next.
const SET_TIME_WRITE: Register<u32> =
    Register::new("SET_TIME_WRITE", 0x00).section("RTC").write_only().side_effect();
/// The time.
const SET_TIME_READ: Register<u32> =
    Register::new("SET_TIME_READ", 0x04).section("RTC").volatile(0xffff_ffff).side_effect();
/// The calibration that is set.
const CALIB_READ: Register<u32> = Register::new("CALIB_READ", 0x0c)
    .section("RTC")
    .undefined(0x1f_ffff)
    .read_only()
    .reserved(0xffe0_0000);
/// The time.
const CURRENT_TIME: Register<u32> =
    Register::new("CURRENT_TIME", 0x10).section("RTC").volatile(0xffff_ffff).side_effect();
/// The fraction of a second.
const CURRENT_TICK: Register<u32> =
    Register::new("CURRENT_TICK", 0x14).section("RTC").volatile(0xffff).side_effect();
/// The time of the alarm.
const ALARM: Register<u32> = Register::new("ALARM", 0x18).section("RTC").reset(0).kept(0xffff_ffff);
/// Interrupt status: the alarm, the second.
const RTC_INT_STATUS: Register<u32> =
    Register::new("RTC_INT_STATUS", 0x20).section("RTC").reset(0).w1c(0b11).reserved(0xffff_fffc);
/// Interrupt mask.
const RTC_INT_MASK: Register<u32> = Register::new("RTC_INT_MASK", 0x24)
    .section("RTC")
    .reset(0b11)
    .read_only()
    .reserved(0xffff_fffc);
/// Interrupt enable.
const RTC_INT_EN: Register<u32> =
    Register::new("RTC_INT_EN", 0x28).section("RTC").write_only().side_effect();
/// Interrupt disable.
const RTC_INT_DIS: Register<u32> =
    Register::new("RTC_INT_DIS", 0x2c).section("RTC").write_only().side_effect();
/// An address that no register has was accessed.
const ADDR_ERROR: Register<u32> =
    Register::new("ADDR_ERROR", 0x30).section("RTC").reset(0).w1c(1).reserved(0xffff_fffe);
/// Its interrupt mask.
const ADDR_ERROR_INT_MASK: Register<u32> = Register::new("ADDR_ERROR_INT_MASK", 0x34)
    .section("RTC")
    .reset(1)
    .read_only()
    .reserved(0xffff_fffe);
/// Control: the battery is enabled.
const CONTROL: Register<u32> = Register::new("CONTROL", 0x40)
    .section("RTC")
    .reset(0x0100_0000)
    .kept(0x8f00_0001)
    .reserved(0x70ff_fffe);
/// A register for a check of the bus.
const SAFETY_CHK: Register<u32> =
    Register::new("SAFETY_CHK", 0x50).section("RTC").reset(0).kept(0xffff_ffff);

/// All registers that can be read or written.
const TABLE: &[&dyn AnyRegister] = &[
    &SET_TIME_WRITE,
    &SET_TIME_READ,
    &CALIB_READ,
    &CURRENT_TIME,
    &CURRENT_TICK,
    &ALARM,
    &RTC_INT_STATUS,
    &RTC_INT_MASK,
    &RTC_INT_EN,
    &RTC_INT_DIS,
    &ADDR_ERROR,
    &ADDR_ERROR_INT_MASK,
    &CONTROL,
    &SAFETY_CHK,
];

/// QEMU's `xlnx-zynmp.rtc`. It has no alarm.
pub struct XlnxZynqmpRtc {
    registers: Rc<Mmio>,
}

impl Rtc for XlnxZynqmpRtc {
    fn profile(&self) -> Profile {
        Profile::SECONDS_32
    }

    fn time(&self) -> Result<DateTime> {
        let now = self.registers.get(CURRENT_TIME)?;
        let same = self.registers.get(SET_TIME_READ)?;
        if now != same {
            return Err(Error::failed(format!("CURRENT_TIME is {now}, SET_TIME_READ {same}")));
        }
        rtc::from_epoch(now.into())
    }

    fn set_time(&self, _: DateTime) -> Result<()> {
        Err(Error::skipped("QEMU's xlnx-zynmp.rtc cannot be set"))
    }
}

impl Produces<dyn Rtc> for XlnxZynqmpRtc {
    const ARGS: QemuArgs = rtc::ARGS;

    fn produced(self: Rc<Self>) -> Rc<dyn Rtc> {
        self
    }
}

impl Produces<RegisterBlock> for XlnxZynqmpRtc {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        const WIDTHS: &[Width] = &[Width::Long];
        Rc::new(RegisterBlock::new("UG1087", self.registers.clone(), TABLE).widths(WIDTHS))
    }
}

impl Discovered for XlnxZynqmpRtc {
    const QOM_TYPES: &'static [&'static str] = &["xlnx-zynmp.rtc"];

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        Ok(Self { registers: Rc::new(Mmio::new(vm, device.base()?, Endian::Little)) })
    }
}

driver!(XlnxZynqmpRtc = "xlnx-zynmp.rtc"; produces dyn Rtc, RegisterBlock);
discovered!(XlnxZynqmpRtc);
