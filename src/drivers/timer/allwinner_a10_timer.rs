//! The timers of Allwinner's A10 (A10 user manual, V1.20, chapter "Timer"), of which the first
//! three have clocks of the chip's own.

use std::cell::Cell;
use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::qos::timer::{Mode, Profile, Tick, Timer, Timers};
use crate::{Error, Result, discovered, driver};

/// Interrupt enable, a bit a timer.
const ENABLE: Register<u32> = Register::new("TMR_IRQ_EN_REG", 0x00)
    .section("TMR_IRQ_EN_REG")
    .reset(0)
    .kept(0x3f)
    .reserved(0xffff_ffc0);
/// Interrupt status; ones clear.
const STATUS: Register<u32> =
    Register::new("TMR_IRQ_STA_REG", 0x04).section("TMR_IRQ_STA_REG").reset(0).w1c(0x3f);
/// Control of a timer; 16 bytes more for the next.
const CONTROL: Register<u32> = Register::new("TMRx_CTRL_REG", 0x10)
    .section("TMRx_CTRL_REG")
    .reset(0x4)
    .acts(0xff)
    .reserved(0xffff_ff00);
/// The count from which it begins.
const INTERVAL: Register<u32> = Register::new("TMRx_INTV_VALUE_REG", 0x14)
    .section("TMRx_INTV_VALUE_REG")
    .reset(0)
    .kept(0xffff_ffff);
/// The counter.
const CURRENT: Register<u32> = Register::new("TMRx_CUR_VALUE_REG", 0x18)
    .section("TMRx_CUR_VALUE_REG")
    .reset(0)
    .volatile(0xffff_ffff)
    .side_effect();

/// The registers of all timers together.
const TABLE: &[&dyn AnyRegister] = &[&ENABLE, &STATUS];
/// Those of one.
const OF_TIMERS: &[&dyn AnyRegister] = &[&CONTROL, &INTERVAL, &CURRENT];
/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[Fault::new(
    &["TMRx_CUR_VALUE_REG"],
    &[Rule::MachineReset],
    "a reset of the machine leaves the counters of QEMU's allwinner-A10-timer",
)];
/// How many are driven.
const TIMERS: u64 = 3;
const STRIDE: u64 = 0x10;

/// CTRL: it runs; it begins anew from its interval; its clock, of which this is the crystal's; the
/// prescaler, in powers of two; it stops at its end.
const RUN: u32 = 1 << 0;
const RELOAD: u32 = 1 << 1;
const CRYSTAL: u32 = 1 << 2;
const PRESCALER: u32 = 4;
const SINGLE: u32 = 1 << 7;

/// One timer.
struct Counter {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    number: u64,
    pin: Option<Pin>,
    tick: Tick,
    /// The count from which it began.
    loaded: Cell<u64>,
}

impl Counter {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    fn of(&self, register: Register<u32>) -> Register<u32> {
        register.nth(self.number, STRIDE)
    }

    /// Changes bits of CTRL.
    fn change(&self, clear: u32, set: u32) -> Result<()> {
        let control = self.registers().get(self.of(CONTROL))? & !RELOAD;
        self.registers().set(self.of(CONTROL), control & !clear | set)
    }

    /// Its bit of a register of all.
    fn bit(&self) -> u32 {
        1 << self.number
    }
}

impl Timer for Counter {
    fn profile(&self) -> Profile {
        Profile { prescalers: &[1, 2, 8, 128], is_early: true, ..Profile::new(self.tick) }
    }

    fn start(&self, ticks: u64, mode: Mode, prescaler: u64) -> Result<()> {
        let single = if mode == Mode::OneShot { SINGLE } else { 0 };
        let control = CRYSTAL | prescaler.trailing_zeros() << PRESCALER | single;
        self.registers().set(self.of(CONTROL), control)?;
        self.loaded.set(ticks);
        self.registers().set(self.of(INTERVAL), ticks as u32)?;
        self.change(0, RELOAD)?;
        self.clear()?;
        self.change(0, RUN)
    }

    fn stop(&self) -> Result<()> {
        self.change(RUN, 0)
    }

    fn resume(&self) -> Result<()> {
        self.change(0, RUN)
    }

    fn reload(&self, ticks: u64) -> Result<()> {
        self.loaded.set(ticks);
        self.registers().set(self.of(INTERVAL), ticks as u32)?;
        self.change(0, RELOAD)
    }

    fn value(&self) -> Result<u64> {
        Ok(self.registers().get(self.of(CURRENT))?.into())
    }

    fn elapsed(&self) -> Result<u64> {
        let (value, loaded) = (self.value()?, self.loaded.get());
        let elapsed = loaded.checked_sub(value);
        elapsed.ok_or_else(|| Error::failed(format!("the counter is {value:#x}, of {loaded:#x}")))
    }

    fn enable_interrupt(&self, is_enabled: bool) -> Result<()> {
        let others = self.registers().get(ENABLE)? & !self.bit();
        self.registers().set(ENABLE, others | if is_enabled { self.bit() } else { 0 })
    }

    fn is_pending(&self) -> Result<Option<bool>> {
        Ok(Some(self.registers().get(STATUS)? & self.bit() != 0))
    }

    fn interrupts(&self) -> Result<Option<bool>> {
        Ok(None)
    }

    fn clear(&self) -> Result<()> {
        self.registers().set(STATUS, self.bit())
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        self.pin.as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }
}

/// QEMU's `allwinner-A10-timer`.
pub struct AllwinnerA10Timer {
    registers: Rc<Mmio>,
    timers: Vec<Rc<dyn Timer>>,
}

impl Produces<Timers> for AllwinnerA10Timer {
    fn produced(self: Rc<Self>) -> Rc<Timers> {
        Rc::new(Timers(self.timers.clone()))
    }
}

impl Produces<RegisterBlock> for AllwinnerA10Timer {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("A10 user manual", self.registers.clone(), TABLE);
        let with =
            |block: RegisterBlock, it: &&dyn AnyRegister| block.with_array(*it, TIMERS, STRIDE);
        Rc::new(OF_TIMERS.iter().fold(block, with).faults(FAULTS))
    }
}

impl Discovered for AllwinnerA10Timer {
    const QOM_TYPES: &'static [&'static str] = &["allwinner-A10-timer"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        let none = || Error::failed(format!("{} tells no clk1-freq", device.path));
        let tick = Tick::hertz(device.number("clk1-freq").filter(|it| *it > 0).ok_or_else(none)?);
        let timer = |number: u64| {
            let (vm, registers) = (vm.clone(), registers.clone());
            let (pin, loaded) = (Pin::of(device, number as u32), Cell::new(0));
            Rc::new(Counter { vm, registers, number, pin, tick, loaded }) as Rc<dyn Timer>
        };
        Ok(Self { timers: (0..TIMERS).map(timer).collect(), registers })
    }
}

driver!(AllwinnerA10Timer = "allwinner-A10-timer"; produces Timers, RegisterBlock);
discovered!(AllwinnerA10Timer);
