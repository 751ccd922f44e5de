//! SysTick, the timer in every Cortex-M (Arm, ARMv7-M Architecture Reference Manual, DDI 0403E,
//! section B3.3), with the exception that it makes pending.

use std::cell::Cell;
use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::interrupt::InterruptLine;
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt};
use crate::qos::timer::{Mode, Profile, Tick, Timer, Timers, Zero};
use crate::{Error, Result, discovered, driver};

/// Control and status. Bit 2, the source of the clock, is stuck where there is but one.
pub const CONTROL: Register<u32> = Register::new("SYST_CSR", 0x0)
    .section("B3.3.3")
    .reset(0)
    .undefined(CPU_CLOCK as u64)
    .kept(INTERRUPT as u64)
    .acts((ENABLE | CPU_CLOCK) as u64);
/// The count from which it begins anew, of 24 bits.
pub const RELOAD: Register<u32> =
    Register::new("SYST_RVR", 0x4).section("B3.3.4").undefined(0xff_ffff).kept(0xff_ffff);
/// The counter; any write sets it to zero.
pub const VALUE: Register<u32> =
    Register::new("SYST_CVR", 0x8).section("B3.3.5").volatile(0xff_ffff).side_effect();

/// All registers but the calibration.
const TABLE: &[&dyn AnyRegister] = &[&CONTROL, &RELOAD, &VALUE];

/// Interrupt control and state of the CPU.
const ICSR: Register<u32> =
    Register::new("ICSR", 0xcf4).section("B3.2.4").volatile(0xffff_ffff).side_effect();

/// SYST_CSR: it runs; it makes the exception pending; its clock is that of the CPU; it has counted
/// to zero.
const ENABLE: u32 = 1 << 0;
const INTERRUPT: u32 = 1 << 1;
const CPU_CLOCK: u32 = 1 << 2;
const COUNTED: u32 = 1 << 16;
/// ICSR: clears that, and tells whether the exception is pending.
const CLEAR_PENDING: u32 = 1 << 25;
const PENDING: u32 = 1 << 26;

/// Where every Cortex-M has it (B3.2.2).
const BASE: u64 = 0xe000_e010;

/// The counter.
struct Counter {
    registers: Rc<Mmio>,
    tick: Tick,
    ticks: Cell<u64>,
}

impl Counter {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Changes bits of SYST_CSR. Reading it clears one.
    fn change(&self, clear: u32, set: u32) -> Result<()> {
        let control = self.registers().get(CONTROL)?;
        self.registers().set(CONTROL, control & !clear | set)
    }
}

impl Timer for Counter {
    fn profile(&self) -> Profile {
        Profile {
            modes: &[Mode::Periodic],
            // It takes a tick to begin, and reloads with a zero of a tick in between.
            least: 2,
            most: 1 << 24,
            zero: Zero::Open,
            latches: false,
            reloads_at_once: false,
            ..Profile::new(self.tick)
        }
    }

    fn start(&self, ticks: u64, _: Mode, _: u64) -> Result<()> {
        self.change(ENABLE, CPU_CLOCK)?;
        self.reload(ticks)?;
        self.registers().set(VALUE, 0)?;
        self.clear()?;
        self.change(0, ENABLE)
    }

    fn stop(&self) -> Result<()> {
        self.change(ENABLE, 0)
    }

    fn resume(&self) -> Result<()> {
        self.change(0, ENABLE)
    }

    fn reload(&self, ticks: u64) -> Result<()> {
        self.ticks.set(ticks);
        self.registers().set(RELOAD, ticks as u32 - 1)
    }

    fn value(&self) -> Result<u64> {
        Ok(self.registers().get(VALUE)?.into())
    }

    fn elapsed(&self) -> Result<u64> {
        let (value, ticks) = (self.value()?, self.ticks.get());
        match value {
            0 => Ok(0),
            value if value < ticks => Ok(ticks - value),
            _ => Err(Error::failed(format!("SYST_CVR is {value:#x}, of {ticks:#x} ticks"))),
        }
    }

    fn enable_interrupt(&self, is_enabled: bool) -> Result<()> {
        self.change(INTERRUPT, if is_enabled { INTERRUPT } else { 0 })
    }

    fn is_pending(&self) -> Result<Option<bool>> {
        Ok(Some(self.registers().get(ICSR)? & PENDING != 0))
    }

    fn interrupts(&self) -> Result<Option<bool>> {
        Ok(None)
    }

    fn clear(&self) -> Result<()> {
        self.registers().set(ICSR, CLEAR_PENDING)?;
        self.registers().get(CONTROL)?;
        match self.registers().get(CONTROL)? & COUNTED {
            0 => Ok(()),
            _ => Err(Error::failed("COUNTFLAG is set though a read has cleared it")),
        }
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        Ok(None)
    }
}

/// QEMU's `armv7m_systick`, that of the first CPU, as non-secure software sees it.
pub struct Systick {
    counter: Rc<Counter>,
}

impl Produces<Timers> for Systick {
    fn produced(self: Rc<Self>) -> Rc<Timers> {
        Rc::new(Timers(vec![self.counter.clone()]))
    }
}

impl Produces<RegisterBlock> for Systick {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("DDI 0403E", self.counter.registers.clone(), TABLE))
    }
}

impl Discovered for Systick {
    const QOM_TYPES: &'static [&'static str] = &["armv7m_systick"];

    fn drives(device: &FoundDevice) -> bool {
        // Others are banked, or those of CPUs whose memory qtest does not reach.
        let mut all = device.machine().devices_of("armv7m_systick");
        let first = all.find(|it| it.path.ends_with("systick-reg-ns"));
        first.is_some_and(|first| first.path == device.path)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, BASE, Endian::Little));
        let tick = Tick::of_clock(vm, device, "cpuclk")?;
        Ok(Self { counter: Rc::new(Counter { registers, tick, ticks: Cell::new(0) }) })
    }
}

driver!(Systick = "armv7m_systick"; produces Timers, RegisterBlock);
discovered!(Systick);
