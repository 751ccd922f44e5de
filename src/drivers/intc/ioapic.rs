//! The I/O APIC of a PC (Intel, "82093AA I/O Advanced Programmable Interrupt Controller", order
//! number 290566-001), with the EOI register of later ones (Intel, ICH9 data sheet, 13.5.7), and
//! what the local APIC of the first CPU has got from it, as QEMU tells people.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice};
use crate::qemu::Vm;
use crate::qos::intc::Inputs;
use crate::qos::local_apic;
use crate::qos::registers::{Mmio, Register, RegistersExt};
use crate::{Error, Result, discovered, driver};

/// Chooses the register that the window shows.
const IOREGSEL: Register<u32> = Register::new("IOREGSEL", 0x00).section("3.1.1");
/// The window.
const IOWIN: Register<u32> = Register::new("IOWIN", 0x10).section("3.1.2");
/// Ends the interrupts with a vector.
const EOI: Register<u32> = Register::new("EOI", 0x40).section("13.5.7").write_only();

/// What is behind the window: the identification, in bits 27 to 24.
pub const IOAPICID: u8 = 0x00;
/// The version, and the number of the last entry in bits 23 to 16.
pub const IOAPICVER: u8 = 0x01;
/// The identification for arbitration.
pub const IOAPICARB: u8 = 0x02;
/// The lower word of the first entry of the redirection table.
pub const IOREDTBL: u8 = 0x10;

/// An entry (3.2.4): its interrupt is masked.
pub const MASKED: u64 = 1 << 16;
/// It is triggered by a level.
pub const LEVEL: u64 = 1 << 15;
/// Remote IRR: a CPU has got the level, and has not ended it.
pub const REMOTE_IRR: u64 = 1 << 14;
/// Where the identification of the CPU's local APIC begins.
pub const DESTINATION: u32 = 56;

/// QEMU's `ioapic`.
pub struct Ioapic {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    inputs: Inputs,
    version: u32,
}

impl Ioapic {
    /// What is outside of its inputs. To QEMU number 0 is input 2.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// Its version, which a property of QEMU chooses.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Reads a register through the window.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn get(&self, register: u8) -> Result<u32> {
        self.registers.set(IOREGSEL, register.into())?;
        self.registers.get(IOWIN)
    }

    /// Writes a register through the window.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set(&self, register: u8, value: u32) -> Result<()> {
        self.registers.set(IOREGSEL, register.into())?;
        self.registers.set(IOWIN, value)
    }

    /// An entry of the redirection table.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn entry(&self, input: u32) -> Result<u64> {
        let register = IOREDTBL + 2 * input as u8;
        Ok(u64::from(self.get(register)?) | u64::from(self.get(register + 1)?) << 32)
    }

    /// Writes an entry, the upper word first, so that nothing goes to a wrong CPU.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set_entry(&self, input: u32, entry: u64) -> Result<()> {
        let register = IOREDTBL + 2 * input as u8;
        self.set(register + 1, (entry >> 32) as u32)?;
        self.set(register, entry as u32)
    }

    /// Ends the interrupts with this vector.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or a skip if this version has no such register.
    pub fn end(&self, vector: u8) -> Result<()> {
        if self.version < 0x20 {
            return Err(Error::skipped("this version of the I/O APIC has no EOI register"));
        }
        self.registers.set(EOI, vector.into())
    }

    /// The vectors that the local APIC of the first CPU has got, and whether each is a level. They
    /// stay until the machine is reset, for the CPU takes none.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or tells nothing of a local APIC.
    pub fn received(&self) -> Result<BTreeMap<u8, bool>> {
        local_apic::received(&self.vm)
    }
}

impl Discovered for Ioapic {
    const QOM_TYPES: &'static [&'static str] = &["ioapic"];

    fn drives(device: &FoundDevice) -> bool {
        // A second one has the inputs behind those of the first, which boards do not wire.
        let mut all = device.machine().devices_of("ioapic");
        device.is_mapped_one_of(Self::QOM_TYPES)
            && all.next().is_some_and(|first| first.path == device.path)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        Ok(Self {
            vm: vm.clone(),
            registers: Rc::new(Mmio::new(vm, device.base()?, vm.endian()?)),
            inputs: Inputs::new(vm, device),
            version: device.number("version").unwrap_or(0x11) as u32,
        })
    }
}

driver!(Ioapic = "ioapic");
discovered!(Ioapic);
