//! The system timer of the BCM2835 and its kind: a counter that always runs, and four registers
//! with which it is compared (Broadcom, BCM2835 ARM Peripherals, chapter 12).

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt};
use crate::qos::rtc;
use crate::qos::timer::{Mode, Profile, Tick, Timer, Timers};
use crate::{Error, Result, discovered, driver};

/// Control and status: a bit for each match, which a one clears.
const STATUS: Register<u32> = Register::new("CS", 0x00).section("12.1").reset(0).w1c(0xf);
/// The counter.
const LOW: Register<u32> =
    Register::new("CLO", 0x04).section("12.1").volatile(0xffff_ffff).read_only();
const HIGH: Register<u32> =
    Register::new("CHI", 0x08).section("12.1").volatile(0xffff_ffff).read_only();
/// The first of the registers with which its lower half is compared.
const COMPARE: Register<u32> = Register::new("C0", 0x0c).section("12.1").reset(0).side_effect();

/// How many of these there are.
const CHANNELS: u64 = 4;
/// Ticks that are longer than any test.
const FAR: u32 = u32::MAX;
/// The length of a tick.
const MICROSECOND: u64 = 1000;

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[&STATUS, &LOW, &HIGH];

/// One of the registers with which the counter is compared.
struct Channel {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    number: u64,
    pin: Option<Pin>,
    /// The value of the counter at which it began.
    begun: Cell<u32>,
    /// How many ticks it was to go on for when it was stopped.
    left: Cell<Option<u32>>,
}

impl Channel {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    fn compare(&self) -> Register<u32> {
        COMPARE.nth(self.number, 4)
    }

    /// Has the counter begin a tick now: it counts whole microseconds.
    fn align(&self) -> Result<()> {
        let now = self.vm.qtest().clock_last_seen().as_nanos() as u64;
        match now % MICROSECOND {
            0 => Ok(()),
            over => rtc::step(&self.vm, Duration::from_nanos(MICROSECOND - over)),
        }
    }

    /// Has it match so many ticks from now.
    fn match_in(&self, ticks: u32) -> Result<()> {
        self.align()?;
        let now = self.registers().get(LOW)?;
        self.registers().set(self.compare(), now.wrapping_add(ticks))
    }
}

impl Timer for Channel {
    fn profile(&self) -> Profile {
        Profile {
            modes: &[Mode::OneShot],
            // It is no part of the chip that a match stops or is masked.
            most: (FAR - 1).into(),
            ..Profile::new(Tick::hertz(1_000_000))
        }
    }

    fn start(&self, ticks: u64, _: Mode, _: u64) -> Result<()> {
        self.match_in(FAR)?;
        self.clear()?;
        self.reload(ticks)?;
        self.begun.set(self.registers().get(LOW)?);
        self.left.set(None);
        Ok(())
    }

    fn stop(&self) -> Result<()> {
        let end = self.registers().get(self.compare())?;
        self.left.set(Some(end.wrapping_sub(self.registers().get(LOW)?)));
        self.match_in(FAR)
    }

    fn resume(&self) -> Result<()> {
        self.left.take().map_or(Ok(()), |left| self.match_in(left))
    }

    fn reload(&self, ticks: u64) -> Result<()> {
        self.match_in(ticks as u32)
    }

    /// What it is compared with, as nothing else of the chip stands still when it has matched.
    fn value(&self) -> Result<u64> {
        Ok(self.registers().get(self.compare())?.into())
    }

    fn elapsed(&self) -> Result<u64> {
        let (high, low) = (self.registers().get(HIGH)?, self.registers().get(LOW)?);
        let seen = u64::from(high) << 32 | u64::from(low);
        let now = self.vm.qtest().clock_last_seen().as_micros() as u64;
        if seen != now {
            return Err(Error::failed(format!("CHI and CLO are {seen:#x} after {now} us")));
        }
        Ok(low.wrapping_sub(self.begun.get()).into())
    }

    fn enable_interrupt(&self, _: bool) -> Result<()> {
        Ok(())
    }

    fn is_pending(&self) -> Result<Option<bool>> {
        Ok(Some(self.registers().get(STATUS)? >> self.number & 1 == 1))
    }

    fn interrupts(&self) -> Result<Option<bool>> {
        Ok(None)
    }

    fn clear(&self) -> Result<()> {
        self.registers().set(STATUS, 1 << self.number)
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        self.pin.as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }
}

/// QEMU's `bcm2835-sys-timer`.
pub struct Bcm2835SysTimer {
    registers: Rc<Mmio>,
    channels: Vec<Rc<dyn Timer>>,
}

impl Produces<Timers> for Bcm2835SysTimer {
    fn produced(self: Rc<Self>) -> Rc<Timers> {
        Rc::new(Timers(self.channels.clone()))
    }
}

impl Produces<RegisterBlock> for Bcm2835SysTimer {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let sheet = "BCM2835 ARM Peripherals";
        let block = RegisterBlock::new(sheet, self.registers.clone(), TABLE);
        Rc::new(block.with_array(&COMPARE, CHANNELS, 4))
    }
}

impl Discovered for Bcm2835SysTimer {
    const QOM_TYPES: &'static [&'static str] = &["bcm2835-sys-timer"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, Endian::Little));
        let channel = |number: u64| {
            let (vm, registers) = (vm.clone(), registers.clone());
            let pin = Pin::of(device, number as u32);
            let (begun, left) = (Cell::new(0), Cell::new(None));
            Rc::new(Channel { vm, registers, number, pin, begun, left }) as Rc<dyn Timer>
        };
        Ok(Self { channels: (0..CHANNELS).map(channel).collect(), registers })
    }
}

driver!(Bcm2835SysTimer = "bcm2835-sys-timer"; produces Timers, RegisterBlock);
discovered!(Bcm2835SysTimer);
