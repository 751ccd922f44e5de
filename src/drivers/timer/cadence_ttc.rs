//! The Triple Timer Counter of the Zynq-7000 (Xilinx, UG585, chapter 8 and appendix B, "Triple Timer
//! Counter (ttc)"): three counters of 16 bits.
//!
//! Those of Zynq UltraScale+ have 32 bits (Xilinx, UG1087, `Interval_Counter_1 (TTC)`), where QEMU
//! has this device, too; the driver leaves them alone.

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, RegistersExt, Rule,
};
use crate::qos::timer::{Mode, Profile, Tick, Timer, Timers};
use crate::{Result, discovered, driver};

/// The clock and its prescaler. Bit 5 has an input from outside be the clock.
pub const CLOCK: Register<u32> =
    Register::new("Clock_Control", 0x00).section("ttc").reset(0).kept(0x7f);
/// What the counter does; it stands after a reset, with its waveform output off.
pub const CONTROL: Register<u32> = Register::new("Counter_Control", 0x0c)
    .section("ttc")
    .reset(0x21)
    .kept((INTERVAL_MODE | DECREMENT | MATCH) as u64 | 0x60)
    .acts((DISABLE | RESTART) as u64);
/// The counter.
pub const VALUE: Register<u32> =
    Register::new("Counter_Value", 0x18).section("ttc").reset(0).volatile(0xffff).read_only();
/// The highest value of the counter in interval mode.
pub const INTERVAL: Register<u32> =
    Register::new("Interval_Counter", 0x24).section("ttc").reset(0).kept(0xffff);
/// The first of three values that the counter is compared with.
pub const MATCH_1: Register<u32> =
    Register::new("Match_1_Counter", 0x30).section("ttc").reset(0).kept(0xffff);
/// The second.
pub const MATCH_2: Register<u32> =
    Register::new("Match_2_Counter", 0x3c).section("ttc").reset(0).kept(0xffff);
/// The third.
pub const MATCH_3: Register<u32> =
    Register::new("Match_3_Counter", 0x48).section("ttc").reset(0).kept(0xffff);
/// Which interrupts are pending; a read clears all.
pub const STATUS: Register<u32> =
    Register::new("Interrupt_Register", 0x54).section("ttc").reset(0).clears_on_read().read_only();
/// Interrupts that get out.
pub const ENABLED: Register<u32> =
    Register::new("Interrupt_Enable", 0x60).section("ttc").reset(0).kept(0x3f);
/// What a pulse at an input does.
pub const EVENT_CONTROL: Register<u32> =
    Register::new("Event_Control_Timer", 0x6c).section("ttc").reset(0).kept(6).acts(1);
/// The length of that pulse.
pub const EVENT: Register<u32> =
    Register::new("Event_Register", 0x78).section("ttc").reset(0).read_only();

/// The registers of one counter; those of the next are 4 bytes higher.
const TABLE: &[&dyn AnyRegister] = &[
    &CLOCK,
    &CONTROL,
    &VALUE,
    &INTERVAL,
    &MATCH_1,
    &MATCH_2,
    &MATCH_3,
    &STATUS,
    &ENABLED,
    &EVENT_CONTROL,
    &EVENT,
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[
    Fault::new(&[], &[Rule::MachineReset], "QEMU's cadence_ttc is not reset with the machine"),
    Fault::new(
        &["Clock_Control", "Counter_Control"],
        &[Rule::Kept],
        "QEMU's cadence_ttc has no bit 6 of Clock_Control and Counter_Control",
    )
    .bits(1 << 6),
];

/// Clock_Control: the prescaler is on; the power of two, less one, by which it divides.
const PRESCALE: u32 = 1 << 0;
const PRESCALER: u32 = 1;
/// Counter_Control: it stands.
pub const DISABLE: u32 = 1 << 0;
/// Counter_Control: it counts up to, or down from, the interval; else all 16 bits.
pub const INTERVAL_MODE: u32 = 1 << 1;
/// Counter_Control: it counts down.
pub const DECREMENT: u32 = 1 << 2;
/// Counter_Control: the match registers interrupt.
pub const MATCH: u32 = 1 << 3;
/// Counter_Control: it begins anew; clears itself.
pub const RESTART: u32 = 1 << 4;
/// Interrupt_Register: the end of an interval.
pub const INTERVAL_OVER: u32 = 1 << 0;
/// Interrupt_Register: the first match; the next bits are of the others.
pub const MATCHED: u32 = 1 << 1;
/// Interrupt_Register: the end of all 16 bits.
pub const OVERFLOW: u32 = 1 << 4;

/// Where the two are on a Zynq-7000 (UG585, appendix B, "Module Summary").
const ADDRESSES: [u64; 2] = [0xf800_1000, 0xf800_2000];
/// How many counters there are, and how far the registers of two are apart.
const COUNTERS: u64 = 3;
const STRIDE: u64 = 4;
/// The clock, which software selects; QEMU has one of 133 MHz for all.
const FREQUENCY: u64 = 133_000_000;
/// A microsecond, in ticks of the clock. QEMU stops answering at the end of an interval that is no
/// whole number of nanoseconds, so that the suite of timers, which is about their time, counts
/// microseconds; another suite has such an interval.
pub const MICROSECOND: u32 = 133;

/// One of the counters.
pub struct Counter {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    number: u64,
    pin: Option<Pin>,
}

impl Counter {
    /// Reads one of its registers.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn get(&self, register: Register<u32>) -> Result<u32> {
        self.registers.get(register.nth(self.number, STRIDE))
    }

    /// Writes one of its registers.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set(&self, register: Register<u32>, value: u32) -> Result<()> {
        self.registers.set(register.nth(self.number, STRIDE), value)
    }

    /// Has it count from zero, as `control` says, with the prescaler off or at a power of two.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn begin(&self, control: u32, prescaler: u64) -> Result<()> {
        self.set(CONTROL, DISABLE)?;
        let divides = match prescaler.ilog2() {
            0 => 0,
            power => PRESCALE | (power - 1) << PRESCALER,
        };
        self.set(CLOCK, divides)?;
        self.get(STATUS)?;
        self.set(CONTROL, control | RESTART)
    }
}

impl Timer for Counter {
    fn profile(&self) -> Profile {
        Profile {
            prescalers: &[1, 2, 4, 256, 65_536],
            modes: &[Mode::Periodic],
            most: 0x1_0000 / u64::from(MICROSECOND),
            ..Profile::new(Tick::hertz(FREQUENCY).times(MICROSECOND.into()))
        }
    }

    fn start(&self, ticks: u64, _: Mode, prescaler: u64) -> Result<()> {
        self.set(INTERVAL, ticks as u32 * MICROSECOND - 1)?;
        self.begin(INTERVAL_MODE, prescaler)
    }

    fn stop(&self) -> Result<()> {
        self.set(CONTROL, self.get(CONTROL)? | DISABLE)
    }

    fn resume(&self) -> Result<()> {
        self.set(CONTROL, self.get(CONTROL)? & !DISABLE)
    }

    fn reload(&self, ticks: u64) -> Result<()> {
        self.set(INTERVAL, ticks as u32 * MICROSECOND - 1)?;
        self.set(CONTROL, self.get(CONTROL)? | RESTART)
    }

    fn value(&self) -> Result<u64> {
        Ok(self.get(VALUE)?.into())
    }

    fn elapsed(&self) -> Result<u64> {
        Ok(self.value()? / u64::from(MICROSECOND))
    }

    fn enable_interrupt(&self, is_enabled: bool) -> Result<()> {
        self.set(ENABLED, if is_enabled { INTERVAL_OVER } else { 0 })
    }

    /// A read of the status would clear it.
    fn is_pending(&self) -> Result<Option<bool>> {
        Ok(None)
    }

    fn interrupts(&self) -> Result<Option<bool>> {
        Ok(None)
    }

    fn clear(&self) -> Result<()> {
        self.get(STATUS).map(drop)
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        self.pin.as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }
}

/// QEMU's `cadence_ttc`.
pub struct CadenceTtc {
    registers: Rc<Mmio>,
    /// Its counters.
    pub counters: Vec<Rc<Counter>>,
}

impl Produces<Timers> for CadenceTtc {
    fn produced(self: Rc<Self>) -> Rc<Timers> {
        let counters = self.counters.iter().cloned();
        Rc::new(Timers(counters.map(|counter| counter as Rc<dyn Timer>).collect()))
    }
}

impl Produces<RegisterBlock> for CadenceTtc {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("UG585", self.registers.clone(), &[]);
        let all = |block: RegisterBlock, register: &&dyn AnyRegister| {
            block.with_array(*register, COUNTERS, STRIDE)
        };
        Rc::new(TABLE.iter().fold(block, all).faults(FAULTS))
    }
}

impl Discovered for CadenceTtc {
    const QOM_TYPES: &'static [&'static str] = &["cadence_ttc"];

    fn drives(device: &FoundDevice) -> bool {
        let is_zynq_7000 = device.base().is_ok_and(|base| ADDRESSES.contains(&base));
        is_zynq_7000 && device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        let counter = |number: u64| {
            let (vm, registers) = (vm.clone(), registers.clone());
            Rc::new(Counter { vm, registers, number, pin: Pin::of(device, number as u32) })
        };
        Ok(Self { counters: (0..COUNTERS).map(counter).collect(), registers })
    }
}

driver!(CadenceTtc = "cadence_ttc"; produces Timers, RegisterBlock);
discovered!(CadenceTtc);
