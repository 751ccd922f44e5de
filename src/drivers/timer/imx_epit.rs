//! The Enhanced Periodic Interrupt Timer of NXP's i.MX (i.MX 6 reference manual, chapter "Enhanced
//! Periodic Interrupt Timer").

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

/// Control.
pub const CONTROL: Register<u32> = Register::new("EPIT_CR", 0x00)
    .section("EPIT_CR")
    .reset(0)
    .kept((FROM_LOAD | INTERRUPT | RELOAD | AT_ONCE) as u64 | 0x003c_0000)
    .acts((ENABLE | RESET | CLOCK | PRESCALER) as u64)
    .reserved(0xfcc0_0000);
/// Status; a one clears.
pub const STATUS: Register<u32> = Register::new("EPIT_SR", 0x04).section("EPIT_SR").reset(0).w1c(1);
/// Load.
pub const LOAD: Register<u32> =
    Register::new("EPIT_LR", 0x08).section("EPIT_LR").reset(0xffff_ffff).kept(0xffff_ffff);
/// Compare: the value of the counter at which the status is set.
pub const COMPARE: Register<u32> =
    Register::new("EPIT_CMPR", 0x0c).section("EPIT_CMPR").reset(0).kept(0xffff_ffff);
/// The counter.
pub const COUNTER: Register<u32> =
    Register::new("EPIT_CNR", 0x10).section("EPIT_CNR").volatile(0xffff_ffff).read_only();

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[&CONTROL, &STATUS, &LOAD, &COMPARE, &COUNTER];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[Fault::new(
    &["EPIT_CR"],
    &[Rule::MachineReset],
    "a reset of the machine is to QEMU's imx.epit one by software, which leaves bits of EPIT_CR",
)
.before(8, 0)];

/// CR: it runs; it begins from the load register; its interrupt gets out; it begins anew from the
/// load register; the prescaler less one; it is reset; a load holds at once; the clock, the one of
/// 32 kHz.
const ENABLE: u32 = 1 << 0;
const FROM_LOAD: u32 = 1 << 1;
const INTERRUPT: u32 = 1 << 2;
const RELOAD: u32 = 1 << 3;
const PRESCALER: u32 = 0xfff << 4;
const RESET: u32 = 1 << 16;
const AT_ONCE: u32 = 1 << 17;
const CLOCK: u32 = 3 << 24;
const CLOCK_32K: u32 = 3 << 24;

/// The counter.
struct Counter {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    pin: Option<Pin>,
    loaded: Cell<u64>,
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
            reset_value: 0xffff_ffff,
            asserts_after_reset: Some("a reset of QEMU's imx.epit does not lower its interrupt"),
            ..Profile::new(Tick::hertz(32_768))
        }
    }

    fn start(&self, ticks: u64, _: Mode, prescaler: u64) -> Result<()> {
        let control = FROM_LOAD | RELOAD | AT_ONCE | CLOCK_32K | (prescaler as u32 - 1) << 4;
        self.change(ENABLE | PRESCALER | CLOCK, control)?;
        self.reload(ticks)?;
        self.registers().set(COMPARE, 0)?;
        self.clear()?;
        self.change(0, ENABLE)
    }

    fn stop(&self) -> Result<()> {
        self.change(ENABLE | FROM_LOAD, 0)
    }

    fn resume(&self) -> Result<()> {
        self.change(0, ENABLE)
    }

    fn reload(&self, ticks: u64) -> Result<()> {
        self.loaded.set(ticks);
        self.registers().set(LOAD, ticks as u32)
    }

    fn value(&self) -> Result<u64> {
        Ok(self.registers().get(COUNTER)?.into())
    }

    fn elapsed(&self) -> Result<u64> {
        let (value, loaded) = (self.value()?, self.loaded.get());
        let elapsed = loaded.checked_sub(value);
        elapsed.ok_or_else(|| Error::failed(format!("EPIT_CNR is {value:#x}, of {loaded:#x}")))
    }

    fn enable_interrupt(&self, is_enabled: bool) -> Result<()> {
        self.change(INTERRUPT, if is_enabled { INTERRUPT } else { 0 })
    }

    fn is_pending(&self) -> Result<Option<bool>> {
        match self.registers().get(STATUS)? {
            status @ (0 | 1) => Ok(Some(status == 1)),
            other => Err(Error::failed(format!("EPIT_SR is {other:#x}"))),
        }
    }

    fn interrupts(&self) -> Result<Option<bool>> {
        Ok(None)
    }

    fn clear(&self) -> Result<()> {
        self.registers().set(STATUS, 1)
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        self.pin.as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }
}

/// QEMU's `imx.epit`.
pub struct ImxEpit {
    counter: Rc<Counter>,
}

impl Produces<Timers> for ImxEpit {
    fn produced(self: Rc<Self>) -> Rc<Timers> {
        Rc::new(Timers(vec![self.counter.clone()]))
    }
}

impl Produces<RegisterBlock> for ImxEpit {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("i.MX 6 RM", self.counter.registers.clone(), TABLE);
        let block = block.software_reset(|registers| registers.set(CONTROL, RESET));
        Rc::new(block.faults(FAULTS))
    }
}

impl Discovered for ImxEpit {
    const QOM_TYPES: &'static [&'static str] = &["imx.epit"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        let (vm, pin, loaded) = (vm.clone(), Pin::of(device, 0), Cell::new(0));
        Ok(Self { counter: Rc::new(Counter { vm, registers, pin, loaded }) })
    }
}

driver!(ImxEpit = "imx.epit"; produces Timers, RegisterBlock);
discovered!(ImxEpit);
