//! The watchdogs in the timer modules of Nuvoton's NPCM7xx BMCs (data sheet of the NPCM750, chapter
//! "Timers and Watchdog", register WTCR).

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces, QemuArgs};
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{Mmio, Register, RegistersExt};
use crate::qos::timer::Tick;
use crate::qos::watchdog::{self, Lock, Moments, Profile, Watchdog};
use crate::{Error, Result, discovered, driver};

/// Control.
const CONTROL: Register<u32> = Register::new("WTCR", 0x1c).section("WTCR").side_effect();

/// WTCR: the prescaler; it runs; its interrupt gets out; the time; the interrupt is pending; it has
/// reset the machine; it does that; it begins anew.
const PRESCALER: u32 = 10;
const ENABLE: u32 = 1 << 7;
const INTERRUPT: u32 = 1 << 6;
const TIME: u32 = 4;
const PENDING: u32 = 1 << 3;
const WAS_RESET: u32 = 1 << 2;
const RESETS: u32 = 1 << 1;
const ANEW: u32 = 1 << 0;

/// Which prescaler and time make a period, and by how much the prescaler divides.
const PERIODS: [(u64, u32, u32, u64); 8] = [
    (1 << 14, 0, 0, 1),
    (1 << 16, 0, 1, 1),
    (1 << 18, 0, 2, 1),
    (1 << 20, 0, 3, 1),
    (1 << 22, 1, 0, 256),
    (1 << 25, 2, 0, 2048),
    (1 << 27, 2, 1, 2048),
    (1 << 30, 3, 0, 65_536),
];
/// Those periods.
const TICKS: [u64; 8] = {
    let mut ticks = [0; 8];
    let mut at = 0;
    while at < ticks.len() {
        ticks[at] = PERIODS[at].0;
        at += 1;
    }
    ticks
};
/// How many ticks of the prescaler are between the interrupt and the reset.
const TO_RESET: u64 = 1024;

/// QEMU's `npcm7xx-timer`, of which this is a part.
pub struct Npcm7xxWatchdog {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    pin: Option<Pin>,
    tick: Tick,
}

impl Npcm7xxWatchdog {
    fn control(&self) -> Result<u32> {
        self.registers.get(CONTROL)
    }

    fn set_control(&self, control: u32) -> Result<()> {
        self.registers.set(CONTROL, control)
    }
}

/// Prescaler, time and divider of a period.
fn settings(period: u64) -> Result<(u32, u32, u64)> {
    let found = PERIODS.iter().find(|(ticks, ..)| *ticks == period);
    let none = || Error::failed(format!("this watchdog has no period of {period} ticks"));
    found.map(|&(_, prescaler, time, divider)| (prescaler, time, divider)).ok_or_else(none)
}

impl Watchdog for Npcm7xxWatchdog {
    fn profile(&self) -> Profile {
        Profile { tick: self.tick, periods: &TICKS, stops: true, lock: Lock::None }
    }

    fn moments(&self, period: u64) -> Moments {
        let divider = settings(period).map_or(1, |(.., divider)| divider);
        Moments { warning: Some(period), bite: period + TO_RESET * divider }
    }

    fn start(&self, period: u64) -> Result<()> {
        let (prescaler, time, _) = settings(period)?;
        let control = prescaler << PRESCALER | time << TIME | INTERRUPT | RESETS;
        self.set_control(control | PENDING | WAS_RESET)?;
        self.set_control(control | ENABLE | ANEW)?;
        match self.control()? {
            now if now == control | ENABLE => Ok(()),
            other => Err(Error::failed(format!("WTCR is {other:#x}, of {control:#x}"))),
        }
    }

    fn stop(&self) -> Result<()> {
        let control = self.control()?;
        self.set_control(control & !(ENABLE | PENDING | WAS_RESET))
    }

    fn kick(&self) -> Result<()> {
        let control = self.control()? & !WAS_RESET;
        self.set_control(control | PENDING | ANEW)
    }

    fn kick_wrongly(&self) -> Result<()> {
        let control = self.control()? & !(WAS_RESET | PENDING);
        self.set_control(control)
    }

    fn set_lock(&self, _: bool) -> Result<()> {
        Err(Error::failed("this watchdog has no lock"))
    }

    fn warns(&self) -> Result<Option<bool>> {
        Ok(Some(self.control()? & PENDING != 0))
    }

    fn has_bitten(&self) -> Result<Option<bool>> {
        Ok(Some(self.control()? & WAS_RESET != 0))
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        self.pin.as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }
}

impl Produces<dyn Watchdog> for Npcm7xxWatchdog {
    const ARGS: QemuArgs = watchdog::ARGS;

    fn produced(self: Rc<Self>) -> Rc<dyn Watchdog> {
        self
    }
}

impl Discovered for Npcm7xxWatchdog {
    const QOM_TYPES: &'static [&'static str] = &["npcm7xx-timer"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        // Five lines are those of the timers.
        let (pin, tick) = (Pin::of(device, 5), Tick::of_clock(vm, device, "clock")?);
        Ok(Self { vm: vm.clone(), registers, pin, tick })
    }
}

driver!(Npcm7xxWatchdog = "npcm7xx-watchdog"; produces dyn Watchdog);
discovered!(Npcm7xxWatchdog);
