//! The general-purpose timer of Stellaris chips, as one timer of 32 bits (Texas Instruments,
//! LM3S6965 data sheet, chapter 11).

use std::cell::Cell;
use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::qos::timer::{Mode, Profile, Tick, Timer, Timers};
use crate::{Error, Result, discovered, driver};

/// Configuration: zero is one timer of 32 bits.
const CONFIGURATION: Register<u32> =
    Register::new("GPTMCFG", 0x000).section("11.5").reset(0).kept(0x7);
/// The mode of timer A.
const MODE: Register<u32> = Register::new("GPTMTAMR", 0x004).section("11.5").reset(0).kept(0xf);
/// Control.
const CONTROL: Register<u32> =
    Register::new("GPTMCTL", 0x00c).section("11.5").reset(0).kept(0x6c6e).acts(0x101);
/// Interrupt mask: a one lets it through.
const MASK: Register<u32> = Register::new("GPTMIMR", 0x018).section("11.5").reset(0).kept(0x707);
/// Interrupt status before the mask and behind it.
const RAW: Register<u32> = Register::new("GPTMRIS", 0x01c).section("11.5").reset(0).read_only();
const MASKED: Register<u32> = Register::new("GPTMMIS", 0x020).section("11.5").reset(0).read_only();
/// Interrupt clear.
const CLEAR: Register<u32> =
    Register::new("GPTMICR", 0x024).section("11.5").write_only().side_effect();
/// The count from which timer A begins.
const LOAD: Register<u32> =
    Register::new("GPTMTAILR", 0x028).section("11.5").reset(0xffff_ffff).kept(0xffff_ffff);
/// Its counter.
const VALUE: Register<u32> =
    Register::new("GPTMTAR", 0x048).section("11.5").reset(0xffff_ffff).read_only();

/// The registers.
const TABLE: &[&dyn AnyRegister] = &[
    &CONFIGURATION,
    &MODE,
    &Register::<u32>::new("GPTMTBMR", 0x008).section("11.5").reset(0).kept(0xf),
    &CONTROL,
    &MASK,
    &RAW,
    &MASKED,
    &CLEAR,
    &LOAD,
    &VALUE,
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[
    Fault::new(
        &["GPTMTAILR", "GPTMTAR"],
        &[Rule::ResetValue],
        "the counts of QEMU's stellaris-gptm are zero at first",
    ),
    Fault::new(
        &["GPTMCFG", "GPTMTAMR", "GPTMTBMR", "GPTMCTL"],
        &[Rule::ReadOnly, Rule::Kept],
        "QEMU's stellaris-gptm keeps what is written to reserved bits",
    ),
    Fault::new(&["GPTMIMR"], &[Rule::Kept], "QEMU's stellaris-gptm has one bit of GPTMIMR wrong"),
    Fault::new(
        &["GPTMIMR"],
        &[Rule::ReadOnly],
        "QEMU's stellaris-gptm keeps bits 6 to 4 of GPTMIMR",
    ),
    Fault::new(&[], &[Rule::MachineReset], "QEMU's stellaris-gptm has no reset"),
];

/// CTL: it runs.
const ENABLE: u32 = 1 << 0;
/// TAMR: it stops at its end, or begins anew.
const ONE_SHOT: u32 = 1;
const PERIODIC: u32 = 2;
/// The time-out of timer A, in the registers of interrupts.
const TIME_OUT: u32 = 1 << 0;

/// The timer.
struct Counter {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    pin: Option<Pin>,
    tick: Tick,
    /// The count from which it began.
    loaded: Cell<u64>,
}

impl Counter {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// A status of the time-out.
    fn status(&self, register: Register<u32>) -> Result<bool> {
        match self.registers().get(register)? {
            status @ (0 | TIME_OUT) => Ok(status == TIME_OUT),
            other => Err(Error::failed(format!("{} is {other:#x}", register.name()))),
        }
    }
}

impl Timer for Counter {
    fn profile(&self) -> Profile {
        Profile {
            // It begins anew in the cycle after the one in which it is zero (11.3.2.1).
            extra: 1,
            reset_value: 0xffff_ffff,
            survives_reset: Some("QEMU's stellaris-gptm has no reset"),
            ..Profile::new(self.tick)
        }
    }

    fn start(&self, ticks: u64, mode: Mode, _: u64) -> Result<()> {
        let registers = self.registers();
        registers.set(CONTROL, 0)?;
        registers.set(CONFIGURATION, 0)?;
        registers.set(MODE, if mode == Mode::OneShot { ONE_SHOT } else { PERIODIC })?;
        self.reload(ticks)?;
        self.clear()?;
        registers.set(CONTROL, ENABLE)
    }

    fn stop(&self) -> Result<()> {
        self.registers().set(CONTROL, 0)
    }

    fn resume(&self) -> Result<()> {
        self.registers().set(CONTROL, ENABLE)
    }

    fn reload(&self, ticks: u64) -> Result<()> {
        self.loaded.set(ticks);
        self.registers().set(LOAD, ticks as u32)?;
        match self.registers().get(LOAD)? {
            load if u64::from(load) == ticks => Ok(()),
            other => Err(Error::failed(format!("GPTMTAILR is {other:#x}, not {ticks:#x}"))),
        }
    }

    fn value(&self) -> Result<u64> {
        Ok(self.registers().get(VALUE)?.into())
    }

    fn elapsed(&self) -> Result<u64> {
        let (value, loaded) = (self.value()?, self.loaded.get());
        let elapsed = loaded.checked_sub(value);
        elapsed.ok_or_else(|| Error::failed(format!("GPTMTAR is {value:#x}, of {loaded:#x}")))
    }

    fn enable_interrupt(&self, is_enabled: bool) -> Result<()> {
        self.registers().set(MASK, if is_enabled { TIME_OUT } else { 0 })
    }

    fn is_pending(&self) -> Result<Option<bool>> {
        self.status(RAW).map(Some)
    }

    fn interrupts(&self) -> Result<Option<bool>> {
        self.status(MASKED).map(Some)
    }

    fn clear(&self) -> Result<()> {
        self.registers().set(CLEAR, TIME_OUT)
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        self.pin.as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }
}

/// QEMU's `stellaris-gptm`.
pub struct StellarisGptm {
    counter: Rc<Counter>,
}

impl Produces<Timers> for StellarisGptm {
    fn produced(self: Rc<Self>) -> Rc<Timers> {
        Rc::new(Timers(vec![self.counter.clone()]))
    }
}

impl Produces<RegisterBlock> for StellarisGptm {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let registers = self.counter.registers.clone();
        Rc::new(RegisterBlock::new("LM3S6965 data sheet", registers, TABLE).faults(FAULTS))
    }
}

impl Discovered for StellarisGptm {
    const QOM_TYPES: &'static [&'static str] = &["stellaris-gptm"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        let tick = Tick::of_clock(vm, device, "clk")?;
        let (vm, pin, loaded) = (vm.clone(), Pin::of(device, 0), Cell::new(0));
        Ok(Self { counter: Rc::new(Counter { vm, registers, pin, tick, loaded }) })
    }
}

driver!(StellarisGptm = "stellaris-gptm"; produces Timers, RegisterBlock);
discovered!(StellarisGptm);
