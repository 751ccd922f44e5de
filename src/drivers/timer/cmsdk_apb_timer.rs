//! The timer of the Cortex-M System Design Kit (Arm, technical reference manual, DDI 0479D,
//! section 4.4).

use std::cell::Cell;
use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt};
use crate::qos::timer::{Mode, Profile, Tick, Timer, Timers, Zero};
use crate::{Error, Result, discovered, driver};

/// Control. Bits 1 and 2 have an input from outside gate the clock or be it.
pub const CONTROL: Register<u32> = Register::new("CTRL", 0x00)
    .section("table 4-8")
    .reset(0)
    .kept((INTERRUPT | 6) as u64)
    .acts(ENABLE as u64);
/// The counter.
pub const VALUE: Register<u32> =
    Register::new("VALUE", 0x04).section("table 4-8").volatile(0xffff_ffff).side_effect();
/// The count from which it begins anew; the counter takes it at once.
pub const RELOAD: Register<u32> =
    Register::new("RELOAD", 0x08).section("table 4-8").reset(0).kept(0xffff_ffff);
/// Interrupt status; a one clears.
pub const STATUS: Register<u32> =
    Register::new("INTSTATUS", 0x0c).section("table 4-8").reset(0).w1c(1);

/// A byte of the identification.
const fn id(name: &'static str, offset: u64, value: u64) -> Register<u32> {
    Register::new(name, offset).section("table 4-8").reset(value).read_only()
}

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[
    &CONTROL,
    &VALUE,
    &RELOAD,
    &STATUS,
    &id("PID4", 0xfd0, 0x04),
    &id("PID5", 0xfd4, 0x00),
    &id("PID6", 0xfd8, 0x00),
    &id("PID7", 0xfdc, 0x00),
    &id("PID0", 0xfe0, 0x22),
    &id("PID1", 0xfe4, 0xb8),
    &id("PID2", 0xfe8, 0x1b),
    &id("PID3", 0xfec, 0x00),
    &id("CID0", 0xff0, 0x0d),
    &id("CID1", 0xff4, 0xf0),
    &id("CID2", 0xff8, 0x05),
    &id("CID3", 0xffc, 0xb1),
];

/// CTRL: it runs; its interrupt is enabled.
const ENABLE: u32 = 1 << 0;
const INTERRUPT: u32 = 1 << 3;

/// The counter.
struct Counter {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    pin: Option<Pin>,
    profile: Profile,
    /// The count from which it began, and what it does at its end.
    begun: Cell<(u64, Mode)>,
}

impl Counter {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Changes bits of CTRL.
    fn change(&self, clear: u32, set: u32) -> Result<()> {
        let control = self.registers().get(CONTROL)?;
        self.registers().set(CONTROL, control & !clear | set)
    }
}

impl Timer for Counter {
    fn profile(&self) -> Profile {
        self.profile
    }

    fn start(&self, ticks: u64, mode: Mode, _: u64) -> Result<()> {
        self.change(ENABLE, 0)?;
        self.begun.set((ticks, mode));
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
        let (_, mode) = self.begun.get();
        self.begun.set((ticks, mode));
        // Without a count to begin anew from it stays at zero.
        let reload = if mode == Mode::OneShot { 0 } else { ticks as u32 };
        self.registers().set(RELOAD, reload)?;
        self.registers().set(VALUE, ticks as u32)?;
        match self.registers().get(RELOAD)? {
            read if read == reload => Ok(()),
            other => Err(Error::failed(format!("RELOAD is {other:#x}, not {reload:#x}"))),
        }
    }

    fn value(&self) -> Result<u64> {
        Ok(self.registers().get(VALUE)?.into())
    }

    fn elapsed(&self) -> Result<u64> {
        let (value, (loaded, _)) = (self.value()?, self.begun.get());
        let elapsed = loaded.checked_sub(value);
        elapsed.ok_or_else(|| Error::failed(format!("VALUE is {value:#x}, of {loaded:#x}")))
    }

    fn enable_interrupt(&self, is_enabled: bool) -> Result<()> {
        self.change(INTERRUPT, if is_enabled { INTERRUPT } else { 0 })
    }

    fn is_pending(&self) -> Result<Option<bool>> {
        match self.registers().get(STATUS)? {
            status @ (0 | 1) => Ok(Some(status == 1)),
            other => Err(Error::failed(format!("INTSTATUS is {other:#x}"))),
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

/// QEMU's `cmsdk-apb-timer`.
pub struct CmsdkApbTimer {
    registers: Rc<Mmio>,
    timer: Rc<dyn Timer>,
}

impl Produces<Timers> for CmsdkApbTimer {
    fn produced(self: Rc<Self>) -> Rc<Timers> {
        Rc::new(Timers(vec![self.timer.clone()]))
    }
}

impl Produces<RegisterBlock> for CmsdkApbTimer {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("DDI 0479D", self.registers.clone(), TABLE))
    }
}

impl Discovered for CmsdkApbTimer {
    const QOM_TYPES: &'static [&'static str] = &["cmsdk-apb-timer"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        let timer = Counter {
            vm: vm.clone(),
            registers: registers.clone(),
            pin: Pin::of(device, 0),
            profile: Profile {
                // The counter stays at zero for a tick, before it begins anew.
                extra: 1,
                zero: Zero::Never,
                // The enable bit is in front of the status.
                latches: false,
                asserts_after_reset: Some(
                    "a reset of QEMU's cmsdk-apb-timer does not lower its interrupt",
                ),
                ..Profile::new(Tick::of_clock(vm, device, "pclk")?)
            },
            begun: Cell::new((0, Mode::Periodic)),
        };
        Ok(Self { registers, timer: Rc::new(timer) })
    }
}

driver!(CmsdkApbTimer = "cmsdk-apb-timer"; produces Timers, RegisterBlock);
discovered!(CmsdkApbTimer);
