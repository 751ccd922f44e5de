//! The General Purpose Timer of NXP's i.MX (i.MX 6 reference manual, chapter "General Purpose
//! Timer"), which counts up to a compare register.

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt};
use crate::qos::timer::{Mode, Profile, Tick, Timer, Timers};
use crate::{Error, Result, discovered, driver};

/// Control. Others of its bits are about pins.
pub const CONTROL: Register<u32> = Register::new("GPT_CR", 0x00)
    .section("GPT_CR")
    .reset(0)
    .kept((FROM_ZERO | FREE_RUN) as u64 | 0x28)
    .acts((ENABLE | RESET | CLOCK) as u64)
    .reserved(0xffff_7c14);
/// Prescaler, less one. Bits 12 to 15 are of another clock.
pub const PRESCALER: Register<u32> =
    Register::new("GPT_PR", 0x04).section("GPT_PR").reset(0).kept(0xfff).reserved(0xf000);
/// Status; a one clears.
pub const STATUS: Register<u32> =
    Register::new("GPT_SR", 0x08).section("GPT_SR").reset(0).w1c(0x3f);
/// Interrupt enable.
pub const INTERRUPTS: Register<u32> =
    Register::new("GPT_IR", 0x0c).section("GPT_IR").reset(0).kept(0x3f);
/// Compare, channel 1: after it the counter begins anew, if it does not run freely.
pub const COMPARE: Register<u32> =
    Register::new("GPT_OCR1", 0x10).section("GPT_OCR").reset(0xffff_ffff).kept(0xffff_ffff);
/// Compare, channel 2.
pub const COMPARE_2: Register<u32> =
    Register::new("GPT_OCR2", 0x14).section("GPT_OCR").reset(0xffff_ffff).kept(0xffff_ffff);
/// Compare, channel 3.
pub const COMPARE_3: Register<u32> =
    Register::new("GPT_OCR3", 0x18).section("GPT_OCR").reset(0xffff_ffff).kept(0xffff_ffff);
/// Capture, channel 1.
pub const CAPTURE: Register<u32> =
    Register::new("GPT_ICR1", 0x1c).section("GPT_ICR").reset(0).read_only();
/// Capture, channel 2.
pub const CAPTURE_2: Register<u32> =
    Register::new("GPT_ICR2", 0x20).section("GPT_ICR").reset(0).read_only();
/// The counter.
pub const COUNTER: Register<u32> =
    Register::new("GPT_CNT", 0x24).section("GPT_CNT").volatile(0xffff_ffff).read_only();

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[
    &CONTROL,
    &PRESCALER,
    &STATUS,
    &INTERRUPTS,
    &COMPARE,
    &COMPARE_2,
    &COMPARE_3,
    &CAPTURE,
    &CAPTURE_2,
    &COUNTER,
];

/// CR: it runs; it begins from zero; the clock, the one of 32 kHz; it runs freely; it is reset.
const ENABLE: u32 = 1 << 0;
const FROM_ZERO: u32 = 1 << 1;
const CLOCK: u32 = 7 << 6;
const CLOCK_32K: u32 = 4 << 6;
const FREE_RUN: u32 = 1 << 9;
const RESET: u32 = 1 << 15;
/// SR, IR: compare, channel 1.
const COMPARED: u32 = 1 << 0;

/// The counter.
struct Counter {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    pin: Option<Pin>,
}

impl Counter {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Changes bits of CR.
    fn change(&self, clear: u32, set: u32) -> Result<()> {
        let control = self.registers().get(CONTROL)?;
        self.registers().set(CONTROL, control & !clear | set)
    }
}

impl Timer for Counter {
    fn profile(&self) -> Profile {
        Profile {
            // The prescaler has others. QEMU rounds the frequency to whole Hz.
            prescalers: &[1, 2, 16, 1024, 4096],
            modes: &[Mode::Periodic],
            interrupts_when_stopped: false,
            is_early: true,
            asserts_after_reset: Some("a reset of QEMU's imx.gpt does not lower its interrupt"),
            ..Profile::new(Tick::hertz(32_768))
        }
    }

    fn start(&self, ticks: u64, _: Mode, prescaler: u64) -> Result<()> {
        let registers = self.registers();
        registers.set(CONTROL, FROM_ZERO | CLOCK_32K)?;
        registers.set(PRESCALER, prescaler as u32 - 1)?;
        registers.set(COMPARE, ticks as u32)?;
        self.clear()?;
        registers.set(CONTROL, FROM_ZERO | CLOCK_32K | ENABLE)
    }

    fn stop(&self) -> Result<()> {
        self.change(ENABLE | FROM_ZERO, 0)
    }

    fn resume(&self) -> Result<()> {
        self.change(0, ENABLE)
    }

    fn reload(&self, ticks: u64) -> Result<()> {
        // A write of it resets the counter.
        self.registers().set(COMPARE, ticks as u32)
    }

    fn value(&self) -> Result<u64> {
        Ok(self.registers().get(COUNTER)?.into())
    }

    fn elapsed(&self) -> Result<u64> {
        self.value()
    }

    fn enable_interrupt(&self, is_enabled: bool) -> Result<()> {
        self.registers().set(INTERRUPTS, if is_enabled { COMPARED } else { 0 })
    }

    fn is_pending(&self) -> Result<Option<bool>> {
        match self.registers().get(STATUS)? {
            0 => Ok(Some(false)),
            COMPARED => Ok(Some(true)),
            other => Err(Error::failed(format!("GPT_SR is {other:#x}"))),
        }
    }

    fn interrupts(&self) -> Result<Option<bool>> {
        Ok(None)
    }

    fn clear(&self) -> Result<()> {
        self.registers().set(STATUS, COMPARED)
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        self.pin.as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }
}

/// QEMU's `imx25.gpt` and its kin.
pub struct ImxGpt {
    counter: Rc<Counter>,
}

impl Produces<Timers> for ImxGpt {
    fn produced(self: Rc<Self>) -> Rc<Timers> {
        Rc::new(Timers(vec![self.counter.clone()]))
    }
}

impl Produces<RegisterBlock> for ImxGpt {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("i.MX 6 RM", self.counter.registers.clone(), TABLE);
        Rc::new(block.software_reset(|registers| registers.set(CONTROL, RESET)))
    }
}

impl Discovered for ImxGpt {
    const QOM_TYPES: &'static [&'static str] =
        &["imx25.gpt", "imx31.gpt", "imx6.gpt", "imx6ul.gpt", "imx7.gpt"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        let (vm, pin) = (vm.clone(), Pin::of(device, 0));
        Ok(Self { counter: Rc::new(Counter { vm, registers, pin }) })
    }
}

driver!(ImxGpt = "imx.gpt"; produces Timers, RegisterBlock);
discovered!(ImxGpt);
