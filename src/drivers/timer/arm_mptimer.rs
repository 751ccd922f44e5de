//! The private timers of the Cortex-A9 MPCore (Arm, technical reference manual, DDI 0407I,
//! section 4.2) and of the ARM11 MPCore, and their watchdogs, which count like timers.

use std::cell::Cell;
use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::Vm;
use crate::qemu::discovery::Region;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::qos::timer::{Mode, Profile, Tick, Timer, Timers};
use crate::{Error, Result, discovered, driver};

/// Load: the count from which it begins; the counter takes it at once.
pub const LOAD: Register<u32> =
    Register::new("Load", 0x00).section("4.2.2").reset(0).kept(0xffff_ffff);
/// The counter.
pub const COUNTER: Register<u32> =
    Register::new("Counter", 0x04).section("4.2.3").volatile(0xffff_ffff).side_effect();
/// Control.
pub const CONTROL: Register<u32> = Register::new("Control", 0x08)
    .section("4.2.4")
    .reset(0)
    .kept((PRESCALER | INTERRUPT | RELOAD) as u64)
    .acts(ENABLE as u64);
/// Interrupt status; a one clears.
pub const STATUS: Register<u32> =
    Register::new("Interrupt status", 0x0c).section("4.2.5").reset(0).w1c(1);

/// All registers of one of them.
const TABLE: &[&dyn AnyRegister] = &[&LOAD, &COUNTER, &CONTROL, &STATUS];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[Fault::new(
    &["Control"],
    &[Rule::ReadOnly],
    "QEMU's arm_mptimer keeps what is written to reserved bits",
)];

/// Control: the prescaler, less one; the interrupt gets out; it begins anew; it runs.
const PRESCALER: u32 = 0xff << 8;
const INTERRUPT: u32 = 1 << 2;
const RELOAD: u32 = 1 << 1;
const ENABLE: u32 = 1 << 0;
/// The clock, which is the board's affair. QEMU has the same for all.
const FREQUENCY: u64 = 100_000_000;

/// One of them.
struct Counter {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    pin: Option<Pin>,
    loaded: Cell<u64>,
}

impl Counter {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Changes bits of the control register.
    fn change(&self, clear: u32, set: u32) -> Result<()> {
        let control = self.registers().get(CONTROL)?;
        self.registers().set(CONTROL, control & !clear | set)
    }
}

impl Timer for Counter {
    fn profile(&self) -> Profile {
        Profile {
            prescalers: &[1, 2, 3, 16, 129, 256],
            // The counter stays at zero for a tick, before it begins anew.
            extra: 1,
            asserts_after_reset: Some("a reset of QEMU's arm_mptimer does not lower its interrupt"),
            ..Profile::new(Tick::hertz(FREQUENCY))
        }
    }

    fn start(&self, ticks: u64, mode: Mode, prescaler: u64) -> Result<()> {
        let reload = if mode == Mode::Periodic { RELOAD } else { 0 };
        let prescaler = (prescaler as u32 - 1) << 8;
        self.change(ENABLE | RELOAD | PRESCALER, reload | prescaler)?;
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
        self.registers().set(LOAD, ticks as u32)?;
        match self.registers().get(LOAD)? {
            load if u64::from(load) == ticks => Ok(()),
            other => Err(Error::failed(format!("Load is {other:#x}, not {ticks:#x}"))),
        }
    }

    fn value(&self) -> Result<u64> {
        Ok(self.registers().get(COUNTER)?.into())
    }

    fn elapsed(&self) -> Result<u64> {
        let (value, loaded) = (self.value()?, self.loaded.get());
        let elapsed = loaded.checked_sub(value);
        elapsed.ok_or_else(|| Error::failed(format!("Counter is {value:#x}, of {loaded:#x}")))
    }

    fn enable_interrupt(&self, is_enabled: bool) -> Result<()> {
        self.change(INTERRUPT, if is_enabled { INTERRUPT } else { 0 })
    }

    fn is_pending(&self) -> Result<Option<bool>> {
        match self.registers().get(STATUS)? {
            status @ (0 | 1) => Ok(Some(status == 1)),
            other => Err(Error::failed(format!("the interrupt status is {other:#x}"))),
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

/// QEMU's `arm_mptimer`: as many as there are CPUs.
pub struct ArmMptimer {
    first: Rc<Mmio>,
    timers: Vec<Rc<dyn Timer>>,
}

impl Produces<Timers> for ArmMptimer {
    fn produced(self: Rc<Self>) -> Rc<Timers> {
        Rc::new(Timers(self.timers.clone()))
    }
}

impl Produces<RegisterBlock> for ArmMptimer {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("DDI 0407I", self.first.clone(), TABLE).faults(FAULTS))
    }
}

impl Discovered for ArmMptimer {
    const QOM_TYPES: &'static [&'static str] = &["arm_mptimer"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        // The Cortex-A9 has but one block, with the registers of the CPU that reads it. To qtest
        // that is the first.
        let is_of_one = |region: &&Region| *region.name == *"arm_mptimer_timerblock";
        let count = device.registers().filter(is_of_one).count().max(1);
        let all = device.registers().filter(|region| count == 1 || is_of_one(region));
        let blocks = all.take(count).enumerate();
        let counters = blocks.map(|(number, region)| {
            let registers = Rc::new(Mmio::new(vm, region.base, vm.endian()?));
            let pin = Pin::of(device, number as u32);
            Ok(Rc::new(Counter { vm: vm.clone(), registers, pin, loaded: Cell::new(0) }))
        });
        let counters = counters.collect::<Result<Vec<_>>>()?;
        let Some(first) = counters.first().map(|counter| counter.registers.clone()) else {
            return Err(device.unreachable());
        };
        Ok(Self { first, timers: counters.into_iter().map(|it| it as Rc<dyn Timer>).collect() })
    }
}

driver!(ArmMptimer = "arm_mptimer"; produces Timers, RegisterBlock);
discovered!(ArmMptimer);
