//! The watchdog of the Cortex-M System Design Kit (Arm, technical reference manual, DDI 0479D,
//! section 4.7), and the one in Stellaris chips (LM3S6965 data sheet, chapter 10), which cannot be
//! stopped.

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces, QemuArgs};
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt};
use crate::qos::timer::Tick;
use crate::qos::watchdog::{self, Lock, Moments, Profile, Watchdog};
use crate::{Error, Result, discovered, driver};

/// The count from which it begins; the counter takes it at once.
const LOAD: Register<u32> =
    Register::new("WDOGLOAD", 0x000).section("4.7.2").reset(0xffff_ffff).kept(0xffff_ffff);
/// The counter.
const VALUE: Register<u32> =
    Register::new("WDOGVALUE", 0x004).section("4.7.2").volatile(0xffff_ffff).side_effect();
/// Control.
const CONTROL: Register<u32> = Register::new("WDOGCONTROL", 0x008)
    .section("4.7.2")
    .reset(0)
    .kept(RESET as u64)
    .acts(INTERRUPT as u64);
/// Interrupt clear, which restarts the counter.
const CLEAR: Register<u32> =
    Register::new("WDOGINTCLR", 0x00c).section("4.7.2").write_only().side_effect();
/// Raw interrupt status.
const RAW_STATUS: Register<u32> =
    Register::new("WDOGRIS", 0x010).section("4.7.2").reset(0).read_only();
/// Masked interrupt status.
const MASKED_STATUS: Register<u32> =
    Register::new("WDOGMIS", 0x014).section("4.7.2").reset(0).read_only();
/// Lock: a number opens it, all others close it. A one says that it is closed.
const LOCK: Register<u32> =
    Register::new("WDOGLOCK", 0xc00).section("4.7.2").reset(0).side_effect();

/// A byte of the identification.
const fn id(name: &'static str, offset: u64, value: u64) -> Register<u32> {
    Register::new(name, offset).section("4.7.2").reset(value).read_only()
}

/// The registers that both have.
const TABLE: &[&dyn AnyRegister] = &[
    &LOAD,
    &VALUE,
    &CONTROL,
    &CLEAR,
    &RAW_STATUS,
    &MASKED_STATUS,
    &LOCK,
    &id("WDOGPCELLID0", 0xff0, 0x0d),
    &id("WDOGPCELLID1", 0xff4, 0xf0),
    &id("WDOGPCELLID2", 0xff8, 0x05),
    &id("WDOGPCELLID3", 0xffc, 0xb1),
];
/// What Arm's has besides.
const OF_ARM: &[&dyn AnyRegister] = &[
    // What is written to WDOGITOP drives interrupt and reset while this is set.
    &Register::<u32>::new("WDOGITCR", 0xf00).section("4.7.2").reset(0).acts(1),
    &id("WDOGPERIPHID4", 0xfd0, 0x04),
    &id("WDOGPERIPHID5", 0xfd4, 0x00),
    &id("WDOGPERIPHID6", 0xfd8, 0x00),
    &id("WDOGPERIPHID7", 0xfdc, 0x00),
    &id("WDOGPERIPHID0", 0xfe0, 0x24),
    &id("WDOGPERIPHID1", 0xfe4, 0xb8),
    &id("WDOGPERIPHID2", 0xfe8, 0x1b),
    &id("WDOGPERIPHID3", 0xfec, 0x00),
];
/// The identification of that in Stellaris chips.
const OF_STELLARIS: &[&dyn AnyRegister] = &[
    &id("WDTPeriphID0", 0xfe0, 0x05),
    &id("WDTPeriphID1", 0xfe4, 0x18),
    &id("WDTPeriphID2", 0xfe8, 0x18),
    &id("WDTPeriphID3", 0xfec, 0x01),
];

/// WDOGCONTROL: the counter and its interrupt are on; it resets the machine.
const INTERRUPT: u32 = 1 << 0;
const RESET: u32 = 1 << 1;
/// WDOGLOCK: what opens it.
const KEY: u32 = 0x1acc_e551;

/// The watchdog.
struct Dog {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    pin: Option<Pin>,
    tick: Tick,
    is_stellaris: bool,
}

impl Dog {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }
}

impl Watchdog for Dog {
    fn profile(&self) -> Profile {
        Profile {
            tick: self.tick,
            periods: &[1, 2, 1000, 65_537, 10_000_000, 0xffff_fffe],
            stops: !self.is_stellaris,
            lock: Lock::Opens,
        }
    }

    fn moments(&self, period: u64) -> Moments {
        // The counter stays at zero for a tick, before it begins anew.
        Moments { warning: Some(period), bite: period * 2 + 1 }
    }

    fn start(&self, period: u64) -> Result<()> {
        self.registers().set(LOAD, period as u32)?;
        let value = self.registers().get(VALUE)?;
        if u64::from(value) != period {
            return Err(Error::failed(format!("WDOGVALUE is {value:#x}, not {period:#x}")));
        }
        self.registers().set(CONTROL, INTERRUPT | RESET)
    }

    fn stop(&self) -> Result<()> {
        self.registers().set(CONTROL, 0)
    }

    fn kick(&self) -> Result<()> {
        // Any value clears.
        self.registers().set(CLEAR, 0)
    }

    fn kick_wrongly(&self) -> Result<()> {
        self.registers().set(RAW_STATUS, 1)?;
        self.registers().set(MASKED_STATUS, 1)?;
        self.registers().set(VALUE, 0xffff_ffff)?;
        self.registers().set(CONTROL, INTERRUPT | RESET)
    }

    fn set_lock(&self, is_locked: bool) -> Result<()> {
        self.registers().set(LOCK, if is_locked { 0 } else { KEY })?;
        match self.registers().get(LOCK)? {
            lock if lock == u32::from(is_locked) => Ok(()),
            other => Err(Error::failed(format!("WDOGLOCK is {other:#x}, locked {is_locked}"))),
        }
    }

    fn warns(&self) -> Result<Option<bool>> {
        let (raw, masked) =
            (self.registers().get(RAW_STATUS)?, self.registers().get(MASKED_STATUS)?);
        let enabled = self.registers().get(CONTROL)? & INTERRUPT;
        if raw & !1 != 0 || masked != raw & enabled {
            return Err(Error::failed(format!("WDOGMIS is {masked:#x}, of {raw:#x}, {enabled}")));
        }
        Ok(Some(masked == 1))
    }

    fn has_bitten(&self) -> Result<Option<bool>> {
        Ok(None)
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        self.pin.as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }
}

/// QEMU's `cmsdk-apb-watchdog` and `luminary-watchdog`.
pub struct CmsdkApbWatchdog {
    dog: Rc<Dog>,
}

impl Produces<dyn Watchdog> for CmsdkApbWatchdog {
    const ARGS: QemuArgs = watchdog::ARGS;

    fn produced(self: Rc<Self>) -> Rc<dyn Watchdog> {
        self.dog.clone()
    }
}

impl Produces<RegisterBlock> for CmsdkApbWatchdog {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let of = if self.dog.is_stellaris { OF_STELLARIS } else { OF_ARM };
        Rc::new(RegisterBlock::new("DDI 0479D", self.dog.registers.clone(), TABLE).with(of))
    }
}

impl Discovered for CmsdkApbWatchdog {
    const QOM_TYPES: &'static [&'static str] = &["cmsdk-apb-watchdog"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        let (tick, pin) = (Tick::of_clock(vm, device, "WDOGCLK")?, Pin::of(device, 0));
        let is_stellaris = device.is_a("luminary-watchdog");
        let vm = vm.clone();
        Ok(Self { dog: Rc::new(Dog { vm, registers, pin, tick, is_stellaris }) })
    }
}

driver!(CmsdkApbWatchdog = "cmsdk-apb-watchdog"; produces dyn Watchdog, RegisterBlock);
discovered!(CmsdkApbWatchdog);
