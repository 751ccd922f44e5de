//! The watchdog of NXP's i.MX (i.MX 6 reference manual, chapter "Watchdog Timer"). Most of its
//! control is written once after a reset, and it cannot be stopped.

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces, QemuArgs};
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt};
use crate::qos::timer::Tick;
use crate::qos::watchdog::{self, Lock, Moments, Profile, Watchdog};
use crate::{Error, Result, discovered, driver};

/// Control. Some bits are written once.
const CONTROL: Register<u16> = Register::new("WDOG_WCR", 0x0)
    .section("WDOG_WCR")
    .reset((NO_SIGNAL | NO_RESET) as u64)
    .side_effect();
/// Service: two numbers, one after the other, restart it.
const SERVICE: Register<u16> =
    Register::new("WDOG_WSR", 0x2).section("WDOG_WSR").reset(0).side_effect();
/// Reset status: what has reset the machine.
const RESET_STATUS: Register<u16> =
    Register::new("WDOG_WRSR", 0x4).section("WDOG_WRSR").volatile(0x13).read_only();
/// Interrupt control: that of the warning, written once.
const INTERRUPT: Register<u16> =
    Register::new("WDOG_WICR", 0x6).section("WDOG_WICR").reset(0x0004).side_effect();
/// Miscellaneous: a counter that power-on starts.
const MISCELLANEOUS: Register<u16> =
    Register::new("WDOG_WMCR", 0x8).section("WDOG_WMCR").reset(1).kept(1);

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[&CONTROL, &SERVICE, &RESET_STATUS, &INTERRUPT, &MISCELLANEOUS];

/// WCR: it makes no signal and no reset now; it runs.
const NO_SIGNAL: u16 = 1 << 5;
const NO_RESET: u16 = 1 << 4;
const ENABLE: u16 = 1 << 2;
/// WSR: what restarts it.
const SEQUENCE: [u16; 2] = [0x5555, 0xaaaa];
/// WRSR: it was the watchdog that ran out.
const TIMED_OUT: u16 = 1 << 1;
/// WICR: the warning is on, it is pending; how many half-seconds before the end it comes.
const WARN: u16 = 1 << 15;
const WARNS: u16 = 1 << 14;
const BEFORE_END: u64 = 4;

/// The watchdog.
struct Dog {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    pin: Option<Pin>,
    has_warning: bool,
}

impl Dog {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }
}

impl Watchdog for Dog {
    fn profile(&self) -> Profile {
        let periods = &[2, 3, 5, 6, 20, 120, 256];
        Profile { tick: Tick::hertz(2), periods, stops: false, lock: Lock::None }
    }

    fn moments(&self, period: u64) -> Moments {
        let before = period.checked_sub(BEFORE_END).filter(|&before| before > 0);
        Moments { warning: before.filter(|_| self.has_warning), bite: period }
    }

    fn start(&self, period: u64) -> Result<()> {
        if self.has_warning {
            self.registers().set(INTERRUPT, WARN | BEFORE_END as u16)?;
        }
        // A time of zero is half a second.
        let time = (period as u16 - 1) << 8;
        self.registers().set(CONTROL, time | NO_SIGNAL | NO_RESET | ENABLE)
    }

    fn stop(&self) -> Result<()> {
        let control = self.registers().get(CONTROL)?;
        self.registers().set(CONTROL, control & !ENABLE | NO_RESET)
    }

    fn kick(&self) -> Result<()> {
        for word in SEQUENCE {
            self.registers().set(SERVICE, word)?;
        }
        if self.has_warning {
            self.registers().set(INTERRUPT, WARNS)?;
        }
        Ok(())
    }

    fn kick_wrongly(&self) -> Result<()> {
        for word in [0xaaaa, 0x5555, 0x5555, 0xaaab, 0xaaaa, 0x5554, 0xaaaa, 0] {
            self.registers().set(SERVICE, word)?;
        }
        Ok(())
    }

    fn set_lock(&self, _: bool) -> Result<()> {
        Err(Error::failed("this watchdog has no lock that opens"))
    }

    fn warns(&self) -> Result<Option<bool>> {
        if !self.has_warning {
            return Ok(None);
        }
        Ok(Some(self.registers().get(INTERRUPT)? & WARNS != 0))
    }

    fn has_bitten(&self) -> Result<Option<bool>> {
        Ok(Some(self.registers().get(RESET_STATUS)? & TIMED_OUT != 0))
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        if !self.has_warning {
            return Ok(None);
        }
        self.pin.as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }
}

/// QEMU's `imx2.wdt`.
pub struct Imx2Wdt {
    dog: Rc<Dog>,
}

impl Produces<dyn Watchdog> for Imx2Wdt {
    const ARGS: QemuArgs = watchdog::ARGS;

    fn produced(self: Rc<Self>) -> Rc<dyn Watchdog> {
        self.dog.clone()
    }
}

impl Produces<RegisterBlock> for Imx2Wdt {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("i.MX 6 RM", self.dog.registers.clone(), TABLE))
    }
}

impl Discovered for Imx2Wdt {
    const QOM_TYPES: &'static [&'static str] = &["imx2.wdt"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        let has_warning = device.property("pretimeout-support") == Some("true");
        let (vm, pin) = (vm.clone(), Pin::of(device, 0));
        Ok(Self { dog: Rc::new(Dog { vm, registers, pin, has_warning }) })
    }
}

driver!(Imx2Wdt = "imx2.wdt"; produces dyn Watchdog, RegisterBlock);
discovered!(Imx2Wdt);
