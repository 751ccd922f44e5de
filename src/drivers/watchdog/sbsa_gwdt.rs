//! The generic watchdog of Arm's servers (Arm, Base System Architecture, DEN0094C, appendix A),
//! with a frame of registers to control it and one to refresh it.

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces, QemuArgs};
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt};
use crate::qos::timer::Tick;
use crate::qos::watchdog::{self, Lock, Moments, Profile, Watchdog};
use crate::{Error, Result, discovered, driver};

/// Control and status.
const STATUS: Register<u32> =
    Register::new("WCS", 0x000).section("A.3").reset(0).acts(ENABLE as u64).side_effect();
/// Offset: ticks from a refresh to the first signal, and from that to the second.
const OFFSET: Register<u32> = Register::new("WOR", 0x008).section("A.3").reset(0).kept(0xffff_ffff);
/// The upper half of that.
const OFFSET_HIGH: Register<u32> =
    Register::new("WORU", 0x00c).section("A.3").reset(0).kept(0xffff);
/// When the next signal comes, of the system counter.
const COMPARE: Register<u32> =
    Register::new("WCV", 0x010).section("A.3").undefined(0xffff_ffff).side_effect();
/// Implementer: Arm, of version 1.
const IDENTITY: Register<u32> =
    Register::new("W_IIDR", 0xfcc).section("A.3").reset(0x1043b).read_only();

/// All registers of the control frame.
const TABLE: &[&dyn AnyRegister] = &[&STATUS, &OFFSET, &OFFSET_HIGH, &COMPARE, &IDENTITY];

/// WCS: it runs; the first and the second signal have been given.
const ENABLE: u32 = 1 << 0;
const FIRST: u32 = 1 << 1;
const SECOND: u32 = 1 << 2;
/// The system counter of QEMU's machine, unless a property says otherwise.
const FREQUENCY: u64 = 62_500_000;

/// The watchdog.
struct Dog {
    vm: Rc<Vm>,
    control: Rc<Mmio>,
    refresh: Rc<Mmio>,
    pin: Option<Pin>,
    frequency: u64,
}

impl Dog {
    fn control(&self) -> &dyn Registers {
        &*self.control
    }
}

impl Watchdog for Dog {
    fn profile(&self) -> Profile {
        Profile {
            tick: Tick::hertz(self.frequency),
            periods: &[1, 2, 1000, 65_537, 10_000_000, 0xffff_ffff, 0x1_0000_0001],
            stops: true,
            lock: Lock::None,
        }
    }

    fn moments(&self, period: u64) -> Moments {
        Moments { warning: Some(period), bite: period * 2 }
    }

    fn start(&self, period: u64) -> Result<()> {
        let control = self.control();
        control.set(OFFSET_HIGH, (period >> 32) as u32)?;
        control.set(OFFSET, period as u32)?;
        control.set(STATUS, ENABLE)?;
        match control.get(STATUS)? {
            ENABLE => Ok(()),
            other => Err(Error::failed(format!("WCS is {other:#x} after a start"))),
        }
    }

    fn stop(&self) -> Result<()> {
        self.control().set(STATUS, 0)
    }

    fn kick(&self) -> Result<()> {
        // Any value refreshes.
        self.refresh.write32(0, 0)
    }

    fn kick_wrongly(&self) -> Result<()> {
        self.control().set(IDENTITY, 0xffff_ffff)?;
        self.control().get(STATUS)?;
        self.refresh.read32(0).map(|_| ())
    }

    fn set_lock(&self, _: bool) -> Result<()> {
        Err(Error::failed("this watchdog has no lock"))
    }

    fn warns(&self) -> Result<Option<bool>> {
        let status = self.control().get(STATUS)?;
        if status & !(ENABLE | FIRST | SECOND) != 0 {
            return Err(Error::failed(format!("WCS is {status:#x}")));
        }
        Ok(Some(status & FIRST != 0))
    }

    fn has_bitten(&self) -> Result<Option<bool>> {
        Ok(None)
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        self.pin.as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }
}

/// QEMU's `sbsa_gwdt`.
pub struct SbsaGwdt {
    dog: Rc<Dog>,
}

impl Produces<dyn Watchdog> for SbsaGwdt {
    const ARGS: QemuArgs = watchdog::ARGS;

    fn produced(self: Rc<Self>) -> Rc<dyn Watchdog> {
        self.dog.clone()
    }
}

impl Produces<RegisterBlock> for SbsaGwdt {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("DEN0094C", self.dog.control.clone(), TABLE))
    }
}

impl Discovered for SbsaGwdt {
    const QOM_TYPES: &'static [&'static str] = &["sbsa_gwdt"];

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let frame = |name: &str| {
            let none = || Error::failed(format!("{} has no frame {name}", device.path));
            let base = device.region(name).ok_or_else(none)?.base;
            Ok::<_, Error>(Rc::new(Mmio::new(vm, base, vm.endian()?)))
        };
        let dog = Dog {
            vm: vm.clone(),
            control: frame("sbsa_gwdt.control")?,
            refresh: frame("sbsa_gwdt.refresh")?,
            pin: Pin::of(device, 0),
            frequency: device.number("clock-frequency").unwrap_or(FREQUENCY),
        };
        Ok(Self { dog: Rc::new(dog) })
    }
}

driver!(SbsaGwdt = "sbsa_gwdt"; produces dyn Watchdog, RegisterBlock);
discovered!(SbsaGwdt);
