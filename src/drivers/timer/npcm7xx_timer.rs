//! The timer modules of Nuvoton's NPCM7xx BMCs (data sheet of the NPCM750, chapter "Timers and
//! Watchdog"): five counters of 24 bits each.

use std::cell::Cell;
use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt};
use crate::qos::timer::{Mode, Profile, Tick, Timer, Timers};
use crate::{Error, Result, discovered, driver};

/// A control and status register.
const fn control(name: &'static str, offset: u64) -> Register<u32> {
    Register::new(name, offset)
        .section("TCSR")
        .reset(5)
        .kept((INTERRUPT | PERIODIC | PRESCALER) as u64)
        .acts((ENABLE | RESET) as u64)
        .reserved(0x9000_0000)
}

/// An initial count. Of its 32 bits QEMU has all.
const fn count(name: &'static str, offset: u64) -> Register<u32> {
    Register::new(name, offset).section("TICR").reset(0).kept(0xff_ffff).reserved(0xff00_0000)
}

/// A counter.
const fn data(name: &'static str, offset: u64) -> Register<u32> {
    Register::new(name, offset).section("TDR").volatile(0xffff_ffff).side_effect()
}

/// Control, initial count and counter of each.
const COUNTERS: [[Register<u32>; 3]; 5] = [
    [control("TCSR0", 0x00), count("TICR0", 0x08), data("TDR0", 0x10)],
    [control("TCSR1", 0x04), count("TICR1", 0x0c), data("TDR1", 0x14)],
    [control("TCSR2", 0x20), count("TICR2", 0x28), data("TDR2", 0x30)],
    [control("TCSR3", 0x24), count("TICR3", 0x2c), data("TDR3", 0x34)],
    [control("TCSR4", 0x40), count("TICR4", 0x48), data("TDR4", 0x50)],
];
/// Interrupt status, a bit each; a one clears.
pub const STATUS: Register<u32> = Register::new("TISR", 0x18).section("TISR").reset(0).w1c(0x1f);
/// The watchdog's control. What clears what, and what starts it, is its own suite's affair.
pub const WATCHDOG: Register<u32> =
    Register::new("WTCR", 0x1c).section("WTCR").reset(0x400).side_effect();

/// TCSR: it runs, its interrupt gets out, it begins anew, it is set back; the prescaler less one.
const ENABLE: u32 = 1 << 30;
const INTERRUPT: u32 = 1 << 29;
const PERIODIC: u32 = 1 << 27;
const RESET: u32 = 1 << 26;
const ACTIVE: u32 = 1 << 25;
const PRESCALER: u32 = 0xff;

/// One counter.
struct Counter {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    number: usize,
    pin: Option<Pin>,
    tick: Tick,
    loaded: Cell<u64>,
}

impl Counter {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Changes bits of TCSR, and sees that it says whether the counter runs.
    fn change(&self, clear: u32, set: u32) -> Result<()> {
        let [control, ..] = COUNTERS[self.number];
        let before = self.registers().get(control)?;
        let is_active = before & ACTIVE != 0;
        if is_active != (before & ENABLE != 0) {
            return Err(Error::failed(format!("{} is {before:#010x}", control.name())));
        }
        self.registers().set(control, before & !(clear | ACTIVE) | set)
    }
}

impl Timer for Counter {
    fn profile(&self) -> Profile {
        Profile {
            prescalers: &[1, 2, 6, 255, 256],
            most: 0xff_ffff,
            is_early: true,
            ..Profile::new(self.tick)
        }
    }

    fn start(&self, ticks: u64, mode: Mode, prescaler: u64) -> Result<()> {
        let periodic = if mode == Mode::Periodic { PERIODIC } else { 0 };
        self.change(ENABLE | PERIODIC | PRESCALER, periodic | (prescaler as u32 - 1))?;
        self.reload(ticks)?;
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
        let [_, count, _] = COUNTERS[self.number];
        self.loaded.set(ticks);
        self.registers().set(count, ticks as u32)
    }

    fn value(&self) -> Result<u64> {
        let [.., data] = COUNTERS[self.number];
        Ok(self.registers().get(data)?.into())
    }

    fn elapsed(&self) -> Result<u64> {
        let (value, loaded) = (self.value()?, self.loaded.get());
        let elapsed = loaded.checked_sub(value);
        elapsed.ok_or_else(|| Error::failed(format!("TDR is {value:#x}, of {loaded:#x}")))
    }

    fn enable_interrupt(&self, is_enabled: bool) -> Result<()> {
        self.change(INTERRUPT, if is_enabled { INTERRUPT } else { 0 })
    }

    fn is_pending(&self) -> Result<Option<bool>> {
        Ok(Some(self.registers().get(STATUS)? & 1 << self.number != 0))
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

/// QEMU's `npcm7xx-timer`.
pub struct Npcm7xxTimer {
    registers: Rc<Mmio>,
    timers: Vec<Rc<dyn Timer>>,
}

impl Produces<Timers> for Npcm7xxTimer {
    fn produced(self: Rc<Self>) -> Rc<Timers> {
        Rc::new(Timers(self.timers.clone()))
    }
}

impl Produces<RegisterBlock> for Npcm7xxTimer {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let all = COUNTERS.iter().flatten().map(|register| register as &dyn AnyRegister);
        let all: Vec<_> = all.chain([&STATUS as &dyn AnyRegister, &WATCHDOG]).collect();
        Rc::new(RegisterBlock::new("NPCM750 data sheet", self.registers.clone(), &all))
    }
}

impl Discovered for Npcm7xxTimer {
    const QOM_TYPES: &'static [&'static str] = &["npcm7xx-timer"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        let tick = Tick::of_clock(vm, device, "clock")?;
        let timers = (0..COUNTERS.len()).map(|number| {
            let pin = Pin::of(device, number as u32);
            let (vm, registers) = (vm.clone(), registers.clone());
            let loaded = Cell::new(0);
            Rc::new(Counter { vm, registers, number, pin, tick, loaded }) as Rc<dyn Timer>
        });
        Ok(Self { timers: timers.collect(), registers })
    }
}

driver!(Npcm7xxTimer = "npcm7xx-timer"; produces Timers, RegisterBlock);
discovered!(Npcm7xxTimer);
