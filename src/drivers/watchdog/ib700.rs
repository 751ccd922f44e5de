//! The watchdog of iBASE's IB700 boards (IB700 user's manual, section "Watchdog Timer"), at two
//! ports of the ISA bus.

use std::cell::Cell;
use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces, QemuArgs};
use crate::qemu::Vm;
use crate::qos::interrupt::InterruptLine;
use crate::qos::registers::{Ports, Register, RegistersExt};
use crate::qos::timer::Tick;
use crate::qos::watchdog::{self, Lock, Moments, Profile, Watchdog};
use crate::{Error, Result, discovered, driver};

/// A write stops it.
const STOP: Register<u8> = Register::new("stop", 0).write_only().side_effect();
/// A write starts it, for two seconds less than 30 for each one of the number.
const START: Register<u8> = Register::new("start", 2).write_only().side_effect();

/// Where its ports are.
const BASE: u16 = 0x441;

/// QEMU's `ib700`, which is plugged into the ISA bus of machines that have the timer of a PC.
pub struct Ib700 {
    ports: Ports,
    period: Cell<u64>,
}

impl Watchdog for Ib700 {
    fn profile(&self) -> Profile {
        let periods = &[2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30];
        Profile { tick: Tick::hertz(1), periods, stops: true, lock: Lock::None }
    }

    fn moments(&self, period: u64) -> Moments {
        Moments { warning: None, bite: period }
    }

    fn start(&self, period: u64) -> Result<()> {
        self.period.set(period);
        // The upper half of the byte does not count.
        self.ports.set(START, 0xa0 | (15 - period / 2) as u8)
    }

    fn stop(&self) -> Result<()> {
        self.ports.set(STOP, 0x5a)
    }

    fn kick(&self) -> Result<()> {
        self.start(self.period.get())
    }

    fn kick_wrongly(&self) -> Result<()> {
        Err(Error::skipped("any write starts it anew"))
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

impl Produces<dyn Watchdog> for Ib700 {
    const ARGS: QemuArgs = watchdog::ARGS;

    fn produced(self: Rc<Self>) -> Rc<dyn Watchdog> {
        self
    }
}

impl Discovered for Ib700 {
    const QOM_TYPES: &'static [&'static str] = &["isa-pit"];
    const ARGS: QemuArgs = QemuArgs::NONE.before("-device ib700");

    fn drives(device: &FoundDevice) -> bool {
        // Emulators of other targets than PCs do not have it.
        let pluggable = &device.machine().pluggable;
        device.is_a("isa-pit") && pluggable.iter().any(|it| *it.ty == *"ib700")
    }

    fn found(_: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        Ok(Self { ports: Ports::new(vm, BASE), period: Cell::new(30) })
    }
}

driver!(Ib700 = "ib700"; produces dyn Watchdog);
discovered!(Ib700);
