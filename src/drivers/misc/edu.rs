//! QEMU's educational PCI device (QEMU's specification "EDU device"): a register that shows that it
//! is alive, one that computes factorials, interrupts at will, and DMA to and from a buffer.

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::protocol::Width;
use crate::qos::pci::{ExpectedBar, Identity, PciBus, PciFunction, PciPlug, Space};
use crate::qos::registers::Registers;
use crate::{Error, Result, driver};

/// Identification: version 1.0.
pub const ID: u64 = 0x00;
/// The inverse of what was written last.
pub const LIVENESS: u64 = 0x04;
/// Takes a number, and becomes its factorial.
pub const FACTORIAL: u64 = 0x08;
/// Whether it computes, and whether it interrupts afterwards.
pub const STATUS: u64 = 0x20;
/// Why it interrupts.
pub const INTERRUPT_STATUS: u64 = 0x24;
/// Adds to it.
pub const INTERRUPT_RAISE: u64 = 0x60;
/// Takes away from it.
pub const INTERRUPT_ACKNOWLEDGE: u64 = 0x64;
/// Where DMA comes from, where it goes to, how long it is, and its start.
pub const DMA: [u64; 4] = [0x80, 0x88, 0x90, 0x98];

/// STATUS: a factorial is computed; an interrupt follows.
pub const COMPUTING: u32 = 1 << 0;
/// STATUS: an interrupt follows.
pub const INTERRUPTS: u32 = 1 << 7;
/// The command of DMA: start; to memory; with an interrupt.
pub const RUN: u64 = 1 << 0;
/// To memory, not from it.
pub const TO_MEMORY: u64 = 1 << 1;
/// An interrupt follows.
pub const WITH_INTERRUPT: u64 = 1 << 2;

/// What [`ID`] reads.
pub const IDENTIFICATION: u32 = 0x0100_00ed;

/// What the configuration space says.
const IDENTITY: Identity = Identity {
    vendor: 0x1234,
    device: 0x11e8,
    revision: 0x10,
    class: 0x00_ff_00,
    subsystem: (0x1af4, 0x1100),
    pin: 1,
    bars: &[ExpectedBar { number: 0, space: Space::Memory, size: 1 << 20, witness: None }],
    capabilities: &[0x05],
};

/// QEMU's `edu`.
pub struct Edu {
    /// Where it is plugged in, and its registers.
    pub plug: PciPlug,
    /// Whether its registers are in the other byte order.
    is_swapped: bool,
}

impl Edu {
    fn in_order(&self, value: u64, width: Width) -> u64 {
        match (self.is_swapped, width) {
            (false, _) => value,
            (true, Width::Quad) => value.swap_bytes(),
            (true, _) => u64::from((value as u32).swap_bytes()),
        }
    }

    /// The same after a reset of the machine.
    ///
    /// # Errors
    /// Returns an error if its BAR cannot be mapped again.
    pub fn again(&self) -> Result<Self> {
        Ok(Self { plug: self.plug.again()?, is_swapped: self.is_swapped })
    }

    /// Reads a register of 32 bits.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn get(&self, register: u64) -> Result<u32> {
        let value = self.plug.registers.read(register, Width::Long)?;
        Ok(self.in_order(value, Width::Long) as u32)
    }

    /// Writes a register of 32 bits.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set(&self, register: u64, value: u32) -> Result<()> {
        let value = self.in_order(value.into(), Width::Long);
        self.plug.registers.write(register, Width::Long, value)
    }

    /// Reads a register of DMA, 64 bits.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn dma(&self, number: usize) -> Result<u64> {
        Ok(self.in_order(self.plug.registers.read(DMA[number], Width::Quad)?, Width::Quad))
    }

    /// Starts DMA: where it comes from, where it goes to, how long it is, and the command.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn start(&self, values: [u64; 4]) -> Result<()> {
        values.into_iter().zip(DMA).try_for_each(|(value, register)| {
            let value = self.in_order(value, Width::Quad);
            self.plug.registers.write(register, Width::Quad, value)
        })
    }
}

impl Consumes<dyn PciBus> for Edu {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr},dma_mask=0xffffffffffffffff");

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        let plug = PciPlug::attach(&bus, site, 0)?;
        let id = plug.registers.read(ID, Width::Long)? as u32;
        match id {
            IDENTIFICATION => Ok(Self { plug, is_swapped: false }),
            _ if id == IDENTIFICATION.swap_bytes() => Ok(Self { plug, is_swapped: true }),
            _ => Err(Error::failed(format!("the identification is {id:#x}"))),
        }
    }
}

impl Produces<PciFunction> for Edu {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(IDENTITY)
    }
}

driver!(Edu = "edu"; consumes dyn PciBus; produces PciFunction);
