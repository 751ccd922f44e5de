//! The watchdogs of the ASPEED BMCs (AST2500 and AST2600 data sheets, chapter "Watchdog Timer").

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces, QemuArgs};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::interrupt::InterruptLine;
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt};
use crate::qos::timer::Tick;
use crate::qos::watchdog::{self, Lock, Moments, Profile, Watchdog};
use crate::{Error, Result, discovered, driver};

/// The counter.
const STATUS: Register<u32> =
    Register::new("WDT00", 0x00).section("Counter Status").volatile(0xffff_ffff).side_effect();
/// The count from which it begins.
const RELOAD: Register<u32> =
    Register::new("WDT04", 0x04).section("Counter Reload").reset(0x014f_b180).kept(0xffff_ffff);
/// The count from which the watchdog of the AST2400 begins.
const RELOAD_2400: Register<u32> = RELOAD.reset(0x03ef_1480);
/// Restart, by a number.
const RESTART: Register<u32> =
    Register::new("WDT08", 0x08).section("Counter Restart").write_only().side_effect();
/// Control. What it resets, and by what signals, differs between the generations.
const CONTROL: Register<u32> = Register::new("WDT0C", 0x0c)
    .section("Control")
    .undefined(CLOCK_1MHZ as u64)
    .reset(0)
    .kept(RESET_SYSTEM as u64)
    .acts((ENABLE | CLOCK_1MHZ) as u64)
    .reserved(0xffff_ffec);
/// Width of the signal that resets.
const WIDTH: Register<u32> = Register::new("WDT18", 0x18)
    .section("Reset Width")
    .reset(0xff)
    .kept(0xff)
    .reserved(0xffff_ff00);

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[&STATUS, &RELOAD, &RESTART, &CONTROL, &WIDTH];

/// WDT08: what restarts it.
const MAGIC: u32 = 0x4755;
/// WDT0C: it runs; it resets the system; its clock is that of 1 MHz.
const ENABLE: u32 = 1 << 0;
const RESET_SYSTEM: u32 = 1 << 1;
const CLOCK_1MHZ: u32 = 1 << 4;

/// One of the watchdogs.
struct Dog {
    registers: Rc<Mmio>,
}

impl Dog {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }
}

impl Watchdog for Dog {
    fn profile(&self) -> Profile {
        Profile {
            tick: Tick::hertz(1_000_000),
            periods: &[1, 2, 3, 1000, 65_537, 10_000_000, 0xffff_ffff],
            stops: true,
            lock: Lock::None,
        }
    }

    fn moments(&self, period: u64) -> Moments {
        Moments { warning: None, bite: period }
    }

    fn start(&self, period: u64) -> Result<()> {
        let registers = self.registers();
        registers.set(CONTROL, CLOCK_1MHZ)?;
        registers.set(RELOAD, period as u32)?;
        registers.set(RESTART, MAGIC)?;
        match registers.get(STATUS)? {
            status if u64::from(status) == period => {}
            other => return Err(Error::failed(format!("WDT00 is {other:#x}, not {period:#x}"))),
        }
        registers.set(CONTROL, CLOCK_1MHZ | RESET_SYSTEM | ENABLE)
    }

    fn stop(&self) -> Result<()> {
        self.registers().set(CONTROL, CLOCK_1MHZ | RESET_SYSTEM)
    }

    fn kick(&self) -> Result<()> {
        self.registers().set(RESTART, MAGIC)
    }

    fn kick_wrongly(&self) -> Result<()> {
        for wrong in [0, 0x4754, 0x5547, 0x4655, 0x4757, 0xffff] {
            self.registers().set(RESTART, wrong)?;
        }
        // Nor does a write of the other registers.
        let control = self.registers().get(CONTROL)?;
        self.registers().set(CONTROL, control)
    }

    fn set_lock(&self, _: bool) -> Result<()> {
        Err(Error::failed("this watchdog has no lock"))
    }

    fn warns(&self) -> Result<Option<bool>> {
        Ok(None)
    }

    fn has_bitten(&self) -> Result<Option<bool>> {
        Ok(None)
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        Ok(None)
    }
}

/// QEMU's `aspeed.wdt` of all generations.
pub struct AspeedWdt {
    dog: Rc<Dog>,
    is_2400: bool,
}

impl Produces<dyn Watchdog> for AspeedWdt {
    const ARGS: QemuArgs = watchdog::ARGS;

    fn produced(self: Rc<Self>) -> Rc<dyn Watchdog> {
        self.dog.clone()
    }
}

impl Produces<RegisterBlock> for AspeedWdt {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("AST2500 data sheet", self.dog.registers.clone(), TABLE);
        let block = if self.is_2400 { block.replace(&RELOAD_2400) } else { block };
        Rc::new(block)
    }
}

impl Discovered for AspeedWdt {
    const QOM_TYPES: &'static [&'static str] = &["aspeed.wdt"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, Endian::Little));
        Ok(Self { dog: Rc::new(Dog { registers }), is_2400: device.ty.ends_with("ast2400") })
    }
}

driver!(AspeedWdt = "aspeed.wdt"; produces dyn Watchdog, RegisterBlock);
discovered!(AspeedWdt);
