//! The SP804 (Arm, Dual-Timer module technical reference manual, DDI 0271C, chapter 3), whose
//! counters others of Arm's chips have, too.

use std::cell::Cell;
use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::qos::timer::{Mode, Profile, Tick, Timer, Timers, Zero};
use crate::{Error, Result, discovered, driver};

/// Load: the count, from which the counter begins at once.
pub const LOAD: Register<u32> =
    Register::new("TimerLoad", 0x00).section("3.3.1").reset(0).kept(0xffff_ffff);
/// The counter.
pub const VALUE: Register<u32> =
    Register::new("TimerValue", 0x04).section("3.3.2").volatile(0xffff_ffff).side_effect();
/// Control.
pub const CONTROL: Register<u32> = Register::new("TimerControl", 0x08)
    .section("3.3.3")
    .reset(INTERRUPT as u64)
    .kept((INTERRUPT | ONE_SHOT) as u64)
    .acts((ENABLE | PERIODIC | WIDE | PRESCALE) as u64);
/// Interrupt clear.
pub const CLEAR: Register<u32> =
    Register::new("TimerIntClr", 0x0c).section("3.3.4").write_only().side_effect();
/// Raw interrupt status.
pub const RAW_STATUS: Register<u32> =
    Register::new("TimerRIS", 0x10).section("3.3.5").reset(0).read_only();
/// Masked interrupt status.
pub const MASKED_STATUS: Register<u32> =
    Register::new("TimerMIS", 0x14).section("3.3.6").reset(0).read_only();
/// Background load: the count from the next period on. It is read as Load is.
pub const BACKGROUND: Register<u32> =
    Register::new("TimerBGLoad", 0x18).section("3.3.7").volatile(0xffff_ffff).side_effect();

/// The registers of one counter.
const COUNTER: &[&dyn AnyRegister] =
    &[&LOAD, &VALUE, &CONTROL, &CLEAR, &RAW_STATUS, &MASKED_STATUS, &BACKGROUND];
/// By how much those of the second counter are above.
pub(super) const SECOND: u64 = 0x20;

/// A byte of the identification.
const fn id(name: &'static str, offset: u64, value: u64) -> Register<u32> {
    Register::new(name, offset).section("3.3.9").reset(value).read_only()
}

/// The identification.
const IDENTIFICATION: &[&dyn AnyRegister] = &[
    &id("TimerPeriphID0", 0xfe0, 0x04),
    &id("TimerPeriphID1", 0xfe4, 0x18),
    &id("TimerPeriphID2", 0xfe8, 0x14),
    &id("TimerPeriphID3", 0xfec, 0x00),
    &id("TimerPCellID0", 0xff0, 0x0d),
    &id("TimerPCellID1", 0xff4, 0xf0),
    &id("TimerPCellID2", 0xff8, 0x05),
    &id("TimerPCellID3", 0xffc, 0xb1),
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[
    Fault::new(
        &["TimerControl"],
        &[Rule::ReadOnly],
        "QEMU's sp804 keeps what is written to reserved bits",
    ),
    Fault::new(&[], &[Rule::MachineReset], "QEMU's sp804 has no reset"),
];

/// TimerControl: it runs; it begins anew; its interrupt gets out; it has 32 bits; it stops when
/// it has run out.
const ENABLE: u32 = 1 << 7;
const PERIODIC: u32 = 1 << 6;
const INTERRUPT: u32 = 1 << 5;
const PRESCALE: u32 = 3 << 2;
const WIDE: u32 = 1 << 1;
const ONE_SHOT: u32 = 1 << 0;

/// One counter.
pub(super) struct Counter {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    pin: Option<Pin>,
    profile: Profile,
    /// The count from which it began.
    loaded: Cell<u64>,
}

impl Counter {
    /// The counter with registers from `base` on.
    pub(super) fn attach(
        vm: &Rc<Vm>,
        base: u64,
        pin: Option<Pin>,
        profile: Profile,
    ) -> Result<Rc<dyn Timer>> {
        let registers = Rc::new(Mmio::new(vm, base, vm.endian()?));
        Ok(Rc::new(Self { vm: vm.clone(), registers, pin, profile, loaded: Cell::new(0) }))
    }

    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Changes bits of TimerControl.
    fn change(&self, clear: u32, set: u32) -> Result<()> {
        let control = self.registers().get(CONTROL)?;
        self.registers().set(CONTROL, control & !clear | set)
    }

    /// A status of one bit.
    fn status(&self, register: Register<u32>) -> Result<bool> {
        match self.registers().get(register)? {
            status @ (0 | 1) => Ok(status == 1),
            other => Err(Error::failed(format!("{} is {other:#x}", register.name()))),
        }
    }
}

/// Adds the registers of two counters.
pub(super) fn with_counters(block: RegisterBlock) -> RegisterBlock {
    COUNTER.iter().fold(block, |block, &register| block.with_array(register, 2, SECOND))
}

/// The profile of a counter of these chips.
pub(super) const fn profile(tick: Tick) -> Profile {
    Profile { prescalers: &[1, 16, 256], ..Profile::new(tick) }
}

impl Timer for Counter {
    fn profile(&self) -> Profile {
        self.profile
    }

    fn start(&self, ticks: u64, mode: Mode, prescaler: u64) -> Result<()> {
        let prescale = match prescaler {
            1 => 0,
            16 => 1 << 2,
            256 => 2 << 2,
            _ => return Err(Error::failed(format!("no prescaler divides by {prescaler}"))),
        };
        let one_shot = if mode == Mode::OneShot { ONE_SHOT } else { 0 };
        let control = WIDE | PERIODIC | prescale | one_shot;
        self.change(ENABLE | PRESCALE | ONE_SHOT, control)?;
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
            other => Err(Error::failed(format!("TimerLoad is {other:#x}, not {ticks:#x}"))),
        }
    }

    fn value(&self) -> Result<u64> {
        Ok(self.registers().get(VALUE)?.into())
    }

    fn elapsed(&self) -> Result<u64> {
        let (value, loaded) = (self.value()?, self.loaded.get());
        let elapsed = loaded.checked_sub(value);
        elapsed.ok_or_else(|| Error::failed(format!("TimerValue is {value:#x}, of {loaded:#x}")))
    }

    fn enable_interrupt(&self, is_enabled: bool) -> Result<()> {
        self.change(INTERRUPT, if is_enabled { INTERRUPT } else { 0 })
    }

    fn is_pending(&self) -> Result<Option<bool>> {
        self.status(RAW_STATUS).map(Some)
    }

    fn interrupts(&self) -> Result<Option<bool>> {
        self.status(MASKED_STATUS).map(Some)
    }

    fn clear(&self) -> Result<()> {
        // Any value clears (3.3.4).
        self.registers().set(CLEAR, 0)
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        self.pin.as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }
}

/// QEMU's `sp804`.
pub struct Sp804 {
    registers: Rc<Mmio>,
    timers: Vec<Rc<dyn Timer>>,
}

impl Produces<Timers> for Sp804 {
    fn produced(self: Rc<Self>) -> Rc<Timers> {
        Rc::new(Timers(self.timers.clone()))
    }
}

impl Produces<RegisterBlock> for Sp804 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("DDI 0271C", self.registers.clone(), IDENTIFICATION);
        Rc::new(with_counters(block).faults(FAULTS))
    }
}

impl Discovered for Sp804 {
    const QOM_TYPES: &'static [&'static str] = &["sp804"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let base = device.base()?;
        let registers = Rc::new(Mmio::new(vm, base, vm.endian()?));
        let timers = [("freq0", 0), ("freq1", SECOND)].into_iter().map(|(property, offset)| {
            let none = || Error::failed(format!("{} tells no {property}", device.path));
            let tick = Tick::hertz(device.number(property).ok_or_else(none)?);
            // A count of zero interrupts at once (3.3.1).
            let profile = Profile { zero: Zero::AtOnce, is_early: true, ..profile(tick) };
            let survives_reset = Some("QEMU's sp804 has no reset");
            let profile = Profile { reset_value: 0xffff_ffff, survives_reset, ..profile };
            Counter::attach(vm, base + offset, Pin::of(device, 0), profile)
        });
        Ok(Self { registers, timers: timers.collect::<Result<_>>()? })
    }
}

driver!(Sp804 = "sp804"; produces Timers, RegisterBlock);
discovered!(Sp804);
