//! The 8254 programmable interval timer of PCs (Intel, "8254 Programmable Interval Timer", order
//! number 231164-005) at ports 0x40 to 0x43, with the gate and the output of counter 2 at port
//! 0x61 (Intel 82371SB data sheet, 2.3.2.1).

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice};
use crate::qemu::Vm;
use crate::qos::interrupt::InterruptLine;
use crate::qos::registers::{Ports, Register, Registers, RegistersExt};
use crate::qos::timer::Tick;
use crate::{Result, discovered, driver};

/// The first of the three counters.
pub const COUNTER: Register<u8> = Register::new("counter", 0x40).section("Operational Description");
/// The control word.
pub const CONTROL: Register<u8> = Register::new("control word", 0x43).write_only();
/// System control: bit 0 is the gate of counter 2, bit 5 its output.
pub const SYSTEM: Register<u8> = Register::new("NMI Status and Control", 0x61);

/// Control word: both bytes, the lower first.
pub const BOTH: u8 = 3 << 4;
/// Control word: the lower byte alone.
pub const LOW: u8 = 1 << 4;
/// Control word: the upper byte alone.
pub const HIGH: u8 = 2 << 4;
/// Control word: the counter counts decimal digits.
pub const BCD: u8 = 1;

/// The clock of all counters.
pub const TICK: Tick = Tick::hertz(1_193_182);

/// The timer of a PC.
pub struct I8254 {
    vm: Rc<Vm>,
    ports: Rc<Ports>,
}

impl I8254 {
    /// The timer of the PC `vm`.
    pub fn of_pc(vm: &Rc<Vm>) -> Self {
        Self { vm: vm.clone(), ports: Rc::new(Ports::new(vm, 0)) }
    }

    /// The ports, by their numbers.
    pub fn ports(&self) -> &dyn Registers {
        &*self.ports
    }

    /// Chooses what counter `number` does: a mode, 0 to 5, and bits of the control word.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn control(&self, number: u8, mode: u8, bits: u8) -> Result<()> {
        self.ports().set(CONTROL, number << 6 | mode << 1 | bits)
    }

    /// Writes a byte of the count of counter `number`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn write(&self, number: u8, byte: u8) -> Result<()> {
        self.ports().set(COUNTER.nth(number.into(), 1), byte)
    }

    /// Reads a byte of counter `number`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn read(&self, number: u8) -> Result<u8> {
        self.ports().get(COUNTER.nth(number.into(), 1))
    }

    /// Has counter `number` count `count` in a mode, both bytes read and written.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn start(&self, number: u8, mode: u8, count: u16) -> Result<()> {
        self.control(number, mode, BOTH)?;
        self.reload(number, count)
    }

    /// Writes both bytes of a count.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn reload(&self, number: u8, count: u16) -> Result<()> {
        let [low, high] = count.to_le_bytes();
        self.write(number, low)?;
        self.write(number, high)
    }

    /// Reads both bytes of a counter that was given [`BOTH`].
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn value(&self, number: u8) -> Result<u16> {
        Ok(u16::from_le_bytes([self.read(number)?, self.read(number)?]))
    }

    /// Has the next read of counter `number` give its status (Read-Back Command).
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn status(&self, number: u8) -> Result<u8> {
        self.ports().set(CONTROL, 0xe0 | 2 << number)?;
        self.read(number)
    }

    /// Sets the gate of counter 2.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set_gate(&self, is_high: bool) -> Result<()> {
        let others = self.ports().get(SYSTEM)? & 0x0e;
        self.ports().set(SYSTEM, others | u8::from(is_high))
    }

    /// The output of counter 2.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn output(&self) -> Result<bool> {
        Ok(self.ports().get(SYSTEM)? & 0x20 != 0)
    }

    /// Watches the output of counter 0 at the I/O APIC, which must be low. To QEMU it is input 0,
    /// which stands for input 2 there.
    ///
    /// # Errors
    /// Returns an error if there is none, or another's lines are watched already.
    pub fn line(&self) -> Result<InterruptLine> {
        InterruptLine::watch(&self.vm, "ioapic", 0)
    }
}

impl Discovered for I8254 {
    const QOM_TYPES: &'static [&'static str] = &["isa-pit"];

    fn drives(device: &FoundDevice) -> bool {
        // The ports of a PC alone are where tests look for them.
        let mut apics = device.machine().devices_of("ioapic");
        device.is_a("isa-pit") && apics.next().is_some()
    }

    fn found(_: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        Ok(Self::of_pc(vm))
    }
}

driver!(I8254 = "i8254");
discovered!(I8254);
