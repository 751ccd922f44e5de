//! The clock of the Goldfish platform, which counts nanoseconds since 1970 (Android emulator,
//! "Goldfish virtual hardware specification", section "Goldfish timer").

use std::cell::Cell;
use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces, QemuArgs};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt};
use crate::qos::rtc::{self, Alarm, DateTime, Profile, Rtc, at};
use crate::{Error, Result, discovered, driver};

/// The low half of the time; reading latches the high half.
pub const TIME_LOW: Register<u32> =
    Register::new("TIME_LOW", 0x00).volatile(0xffff_ffff).side_effect();
/// The high half.
pub const TIME_HIGH: Register<u32> =
    Register::new("TIME_HIGH", 0x04).volatile(0xffff_ffff).side_effect();
/// The low half of the alarm; writing arms it.
pub const ALARM_LOW: Register<u32> = Register::new("ALARM_LOW", 0x08).reset(0).kept(0xffff_ffff);
/// The high half, which is written before the low one.
pub const ALARM_HIGH: Register<u32> = Register::new("ALARM_HIGH", 0x0c).reset(0).kept(0xffff_ffff);
/// Lets the interrupt through.
pub const IRQ_ENABLED: Register<u32> = Register::new("IRQ_ENABLED", 0x10).reset(0).kept(1);
/// Disarms the alarm.
pub const CLEAR_ALARM: Register<u32> =
    Register::new("CLEAR_ALARM", 0x14).write_only().side_effect();
/// Whether the alarm is armed.
pub const ALARM_STATUS: Register<u32> =
    Register::new("ALARM_STATUS", 0x18).volatile(1).reset(0).side_effect();
/// Clears the interrupt.
pub const CLEAR_INTERRUPT: Register<u32> =
    Register::new("CLEAR_INTERRUPT", 0x1c).write_only().side_effect();

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[
    &TIME_LOW,
    &TIME_HIGH,
    &ALARM_LOW,
    &ALARM_HIGH,
    &IRQ_ENABLED,
    &CLEAR_ALARM,
    &ALARM_STATUS,
    &CLEAR_INTERRUPT,
];

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// QEMU's `goldfish_rtc`.
pub struct GoldfishRtc {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    pin: Option<Pin>,
    /// Whether the alarm was armed and has not been seen to fire.
    armed: Cell<bool>,
}

impl GoldfishRtc {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    fn set_pair(&self, low: Register<u32>, high: Register<u32>, time: DateTime) -> Result<()> {
        let seconds = u64::try_from(rtc::to_epoch(time)).ok();
        let nanoseconds = seconds.and_then(|seconds| seconds.checked_mul(SECOND));
        let nanoseconds =
            nanoseconds.ok_or_else(|| Error::failed(format!("nanoseconds cannot hold {time}")))?;
        self.registers().set(high, (nanoseconds >> 32) as u32)?;
        self.registers().set(low, nanoseconds as u32)
    }
}

impl Rtc for GoldfishRtc {
    fn profile(&self) -> Profile {
        Profile::new(at(1970, 1, 1, 0, 0, 0), at(2262, 4, 11, 23, 47, 16))
    }

    fn time(&self) -> Result<DateTime> {
        let low = self.registers().get(TIME_LOW)?;
        let high = self.registers().get(TIME_HIGH)?;
        let nanoseconds = u64::from(high) << 32 | u64::from(low);
        rtc::from_epoch((nanoseconds / SECOND) as i64)
    }

    fn set_time(&self, time: DateTime) -> Result<()> {
        self.set_pair(TIME_LOW, TIME_HIGH, time)
    }

    fn alarm(&self) -> Option<&dyn Alarm> {
        Some(self)
    }
}

impl Alarm for GoldfishRtc {
    fn set(&self, at: DateTime) -> Result<()> {
        self.registers().set(CLEAR_ALARM, 1)?;
        if self.registers().get(ALARM_STATUS)? != 0 {
            return Err(Error::failed("ALARM_STATUS shows an alarm that was cleared"));
        }
        self.registers().set(CLEAR_INTERRUPT, 1)?;
        self.set_pair(ALARM_LOW, ALARM_HIGH, at)?;
        if self.registers().get(ALARM_STATUS)? != 1 {
            return Err(Error::failed("ALARM_STATUS does not show the alarm that was set"));
        }
        self.armed.set(true);
        Ok(())
    }

    fn enable(&self, is_enabled: bool) -> Result<()> {
        self.registers().set(IRQ_ENABLED, is_enabled.into())
    }

    fn take(&self) -> Result<bool> {
        let has_fired = self.armed.get() && self.registers().get(ALARM_STATUS)? == 0;
        if has_fired {
            self.armed.set(false);
        }
        self.registers().set(CLEAR_INTERRUPT, 1)?;
        Ok(has_fired)
    }

    fn line(&self) -> Result<Option<InterruptLine>> {
        self.pin.as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }
}

impl Produces<dyn Rtc> for GoldfishRtc {
    const ARGS: QemuArgs = rtc::ARGS;

    fn produced(self: Rc<Self>) -> Rc<dyn Rtc> {
        self
    }
}

impl Produces<RegisterBlock> for GoldfishRtc {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let sheet = "Goldfish virtual hardware specification";
        Rc::new(RegisterBlock::new(sheet, self.registers.clone(), TABLE))
    }
}

impl Discovered for GoldfishRtc {
    const QOM_TYPES: &'static [&'static str] = &["goldfish_rtc"];

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        // The m68k board has it in the other order of bytes.
        let is_big = device.property("big-endian") == Some("true");
        let order = if is_big { Endian::Big } else { Endian::Little };
        let registers = Rc::new(Mmio::new(vm, device.base()?, order));
        Ok(Self { vm: vm.clone(), registers, pin: Pin::of(device, 0), armed: Cell::new(false) })
    }
}

driver!(GoldfishRtc = "goldfish_rtc"; produces dyn Rtc, RegisterBlock);
discovered!(GoldfishRtc);
