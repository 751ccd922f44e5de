//! The high precision event timers of PCs (Intel, "IA-PC HPET Specification", revision 1.0a): a
//! counter of 64 bits, and comparators that interrupt when it reaches a value.

use std::rc::Rc;
use std::time::Duration;

use crate::graph::{Discovered, FoundDevice, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::interrupt::InterruptLine;
use crate::qos::qom::find;
use crate::qos::registers::{
    AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt, Width,
};
use crate::{Error, Result, discovered, driver};

/// General Capabilities and ID: the period of the counter in femtoseconds in the upper half.
pub const ID: Register<u64> = Register::new("General Capabilities and ID", 0x000)
    .section("2.3.4")
    .reset(0x0098_9680_8086_a201)
    .read_only();
/// General Configuration: [`ENABLE`] and [`LEGACY`].
pub const CONFIGURATION: Register<u64> =
    Register::new("General Configuration", 0x010).section("2.3.5").reset(0).acts(3);
/// General Interrupt Status: a bit a timer, which a one clears.
pub const STATUS: Register<u64> =
    Register::new("General Interrupt Status", 0x020).section("2.3.6").reset(0).w1c(0x7);
/// Main Counter Value, which can be written while it stands.
pub const COUNTER: Register<u64> =
    Register::new("Main Counter Value", 0x0f0).section("2.3.7").reset(0).kept(!0);
/// Configuration and Capabilities of the first timer.
pub const TIMER: Register<u64> = Register::new("Timer Configuration and Capabilities", 0x100)
    .section("2.3.8.1")
    .kept(LEVEL | PERIODIC | ROUTE)
    // The comparator loses its upper half to the one.
    .acts(INTERRUPT | NARROW)
    // The capabilities differ with the machine, and setting the value is no state.
    .reserved(SET_VALUE | MESSAGE | 1 << 15 | 0xffff_ffff << 32)
    .reset(PERIODIC_ABLE | WIDE);
/// Comparator Value of the first timer.
pub const COMPARATOR: Register<u64> =
    Register::new("Timer Comparator Value", 0x108).section("2.3.8.2").reset(!0).kept(!0);

/// The distance between the registers of one timer and those of the next.
pub const STRIDE: u64 = 0x20;

/// Configuration: the counter runs, and timers interrupt.
pub const ENABLE: u64 = 1 << 0;
/// Configuration: timers 0 and 1 replace the 8254 and the clock of the PC.
pub const LEGACY: u64 = 1 << 1;

/// Timer: its interrupt is a level until its status is cleared.
pub const LEVEL: u64 = 1 << 1;
/// Timer: it interrupts.
pub const INTERRUPT: u64 = 1 << 2;
/// Timer: it begins anew.
pub const PERIODIC: u64 = 1 << 3;
/// Timer: it is able to.
pub const PERIODIC_ABLE: u64 = 1 << 4;
/// Timer: it has 64 bits.
pub const WIDE: u64 = 1 << 5;
/// Timer: the next write of the comparator sets the value, too, of one that begins anew.
pub const SET_VALUE: u64 = 1 << 6;
/// Timer: it counts by the lower 32 bits.
pub const NARROW: u64 = 1 << 8;
/// Timer: the number of its input at the I/O APIC.
pub const ROUTE: u64 = 0x1f << 9;
/// Timer: its interrupt is a message.
pub const MESSAGE: u64 = 1 << 14;

/// The registers of one kind of a timer.
pub const fn of(register: Register<u64>, number: u64) -> Register<u64> {
    register.nth(number, STRIDE)
}

/// What does not change with the number of timers.
const TABLE: &[&dyn AnyRegister] = &[&ID, &CONFIGURATION, &STATUS, &COUNTER];

/// How many timers QEMU's PCs have.
pub const TIMERS: u64 = 3;

/// QEMU's `hpet`.
pub struct Hpet {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
}

impl Hpet {
    /// The timers of the PC `vm`.
    ///
    /// # Errors
    /// Returns [`Error::Skipped`] if this QEMU is built without them.
    pub fn of_pc(vm: &Rc<Vm>) -> Result<Self> {
        if find(vm, "hpet")?.is_empty() {
            return Err(Error::skipped("this QEMU has no HPET"));
        }
        Ok(Self::at(vm, 0xfed0_0000))
    }

    fn at(vm: &Rc<Vm>, base: u64) -> Self {
        Self { vm: vm.clone(), registers: Rc::new(Mmio::new(vm, base, Endian::Little)) }
    }

    /// The registers.
    pub fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// The time of one tick of the counter, as the identification says.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn tick(&self) -> Result<Duration> {
        Ok(Duration::from_nanos((self.registers().get(ID)? >> 32) / 1_000_000))
    }

    /// An input to which timer `number` can be routed, and that nothing else on a bare machine
    /// uses but the 8254, which is stopped.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn route(&self, number: u64) -> Result<u64> {
        // Its counter 0 counts once, and gets no count (mode 0).
        self.vm.qtest().outb(0x43, 0x30)?;
        let able = (self.registers().get(of(TIMER, number))? >> 32) as u32;
        Ok(able.trailing_zeros().into())
    }

    /// Watches that input, which must be low.
    ///
    /// # Errors
    /// Returns an error if there is none, or another's lines are watched already.
    pub fn line(&self, route: u64) -> Result<InterruptLine> {
        InterruptLine::watch(&self.vm, "ioapic", route as u32)
    }
}

impl Produces<RegisterBlock> for Hpet {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("IA-PC HPET", self.registers.clone(), TABLE)
            .with_array(&TIMER, TIMERS, STRIDE)
            .with_array(&COMPARATOR, TIMERS, STRIDE)
            .widths(&[Width::Long]);
        Rc::new(block)
    }
}

impl Discovered for Hpet {
    const QOM_TYPES: &'static [&'static str] = &["hpet"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        Ok(Self::at(vm, device.base()?))
    }
}

driver!(Hpet = "hpet"; produces RegisterBlock);
discovered!(Hpet);
