//! The timer controller of the ASPEED BMCs (AST2500 and AST2600 data sheets, chapter "Timer
//! Controller"): eight counters.

use std::cell::Cell;
use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt};
use crate::qos::timer::{Mode, Profile, Signal, Tick, Timer, Timers};
use crate::{Error, Result, discovered, driver};

/// The counter.
const COUNTER: Register<u32> =
    Register::new("TMC00", 0x00).section("Counter Status").volatile(0xffff_ffff).side_effect();
/// The count from which it begins anew. QEMU raises what is below 20 µs.
const RELOAD: Register<u32> =
    Register::new("TMC04", 0x04).section("Counter Reload").reset(0).side_effect();
/// A value of the counter at which it interrupts.
const MATCH: Register<u32> =
    Register::new("TMC08", 0x08).section("First Matching").reset(0).kept(0xffff_ffff);
/// Another one.
const MATCH_2: Register<u32> =
    Register::new("TMC0C", 0x0c).section("Second Matching").reset(0).kept(0xffff_ffff);
/// Control: four bits each.
const CONTROL: Register<u32> =
    Register::new("TMC30", 0x30).section("Control").reset(0).kept(0x6666_6666).acts(0x9999_9999);
/// Interrupt status of the AST2600; a one clears.
const STATUS: Register<u32> =
    Register::new("TMC34", 0x34).section("Interrupt Status").reset(0).w1c(0xff);
/// Clears bits of the control register of the AST2600.
const CONTROL_CLEAR: Register<u32> =
    Register::new("TMC3C", 0x3c).section("Control Clear").write_only().side_effect();

/// The registers of a counter.
const ONE: &[&dyn AnyRegister] = &[&COUNTER, &RELOAD, &MATCH, &MATCH_2];

/// Where those of each begin.
const OFFSETS: [u64; 8] = [0x00, 0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0x80];

/// TMC30: it runs; its clock is that of 1 MHz; it interrupts at zero.
const ENABLE: u32 = 1 << 0;
const EXTERNAL: u32 = 1 << 1;
const OVERFLOW: u32 = 1 << 2;
/// A match that never comes.
const NEVER: u32 = 0xffff_ffff;

/// One counter.
struct Counter {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    number: usize,
    has_status: bool,
    pin: Option<Pin>,
    loaded: Cell<u64>,
}

impl Counter {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    fn at(&self, register: Register<u32>) -> Register<u32> {
        register.above(OFFSETS[self.number])
    }

    /// Changes bits of its part of TMC30.
    fn change(&self, clear: u32, set: u32) -> Result<()> {
        let shift = self.number * 4;
        if self.has_status {
            self.registers().set(CONTROL_CLEAR, clear << shift)?;
        }
        let control = self.registers().get(CONTROL)?;
        self.registers().set(CONTROL, control & !(clear << shift) | set << shift)
    }
}

impl Timer for Counter {
    fn profile(&self) -> Profile {
        Profile {
            modes: &[Mode::Periodic],
            least: 20,
            signal: Signal::Edges(2),
            latches: false,
            resumes: false,
            reloads_at_once: false,
            ..Profile::new(Tick::hertz(1_000_000))
        }
    }

    fn start(&self, ticks: u64, _: Mode, _: u64) -> Result<()> {
        self.change(ENABLE, EXTERNAL)?;
        self.registers().set(self.at(MATCH), NEVER)?;
        self.registers().set(self.at(MATCH_2), NEVER)?;
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
        self.loaded.set(ticks);
        self.registers().set(self.at(RELOAD), ticks as u32)?;
        match self.registers().get(self.at(RELOAD))? {
            reload if u64::from(reload) == ticks => Ok(()),
            other => Err(Error::failed(format!("the reload is {other:#x}, not {ticks:#x}"))),
        }
    }

    fn value(&self) -> Result<u64> {
        Ok(self.registers().get(self.at(COUNTER))?.into())
    }

    fn elapsed(&self) -> Result<u64> {
        let (value, loaded) = (self.value()?, self.loaded.get());
        let elapsed = loaded.checked_sub(value);
        elapsed.ok_or_else(|| Error::failed(format!("the counter is {value:#x} of {loaded:#x}")))
    }

    fn enable_interrupt(&self, is_enabled: bool) -> Result<()> {
        self.change(OVERFLOW, if is_enabled { OVERFLOW } else { 0 })
    }

    fn is_pending(&self) -> Result<Option<bool>> {
        if !self.has_status {
            return Ok(None);
        }
        Ok(Some(self.registers().get(STATUS)? & 1 << self.number != 0))
    }

    fn interrupts(&self) -> Result<Option<bool>> {
        Ok(None)
    }

    fn clear(&self) -> Result<()> {
        if self.has_status { self.registers().set(STATUS, 1 << self.number) } else { Ok(()) }
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        self.pin.as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }
}

/// QEMU's `aspeed.timer` of all generations.
pub struct AspeedTimer {
    registers: Rc<Mmio>,
    has_status: bool,
    timers: Vec<Rc<dyn Timer>>,
}

impl Produces<Timers> for AspeedTimer {
    fn produced(self: Rc<Self>) -> Rc<Timers> {
        Rc::new(Timers(self.timers.clone()))
    }
}

impl Produces<RegisterBlock> for AspeedTimer {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("AST2500 data sheet", self.registers.clone(), &[&CONTROL]);
        let block = ONE.iter().fold(block, |block, &register| {
            block.with_array(register, 3, 0x10).with_pages(register, 4, 5, 0x10)
        });
        Rc::new(if self.has_status { block.with(&[&STATUS]) } else { block })
    }
}

impl Discovered for AspeedTimer {
    const QOM_TYPES: &'static [&'static str] = &["aspeed.timer"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn instance_name(device: &FoundDevice, name: String) -> String {
        // A machine has one, of which the generation tells more.
        device.ty.rsplit_once('-').map_or(name, |(_, generation)| generation.to_owned())
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, Endian::Little));
        let has_status = device.ty.ends_with("ast2600") || device.ty.ends_with("ast1030");
        let timers = (0..OFFSETS.len()).map(|number| {
            let pin = Pin::of(device, number as u32);
            let (vm, registers, loaded) = (vm.clone(), registers.clone(), Cell::new(0));
            Rc::new(Counter { vm, registers, number, has_status, pin, loaded }) as Rc<dyn Timer>
        });
        Ok(Self { timers: timers.collect(), registers, has_status })
    }
}

driver!(AspeedTimer = "aspeed.timer"; produces Timers, RegisterBlock);
discovered!(AspeedTimer);
