//! The AXI Quad SPI of Xilinx in its standard mode (PG153, chapter "Register Space").

use std::rc::Rc;

use crate::drivers::spi::slot;
use crate::graph::{Discovered, FoundDevice, Plug, Produces};
use crate::qemu::Vm;
use crate::qos::registers::{Mmio, Register, RegistersExt};
use crate::qos::spi::{Chip, SpiController, SpiSlot};
use crate::qos::wait_until;
use crate::{Error, Result, discovered, driver};

/// Control.
const SPICR: Register<u32> = Register::new("SPICR", 0x60).section("SPI Control");
/// Status.
const SPISR: Register<u32> = Register::new("SPISR", 0x64).section("SPI Status");
/// Sends a byte.
const SPIDTR: Register<u32> = Register::new("SPIDTR", 0x68).section("SPI Data Transmit");
/// Takes a byte that was received.
const SPIDRR: Register<u32> = Register::new("SPIDRR", 0x6c).section("SPI Data Receive");
/// Chip selects, of which a zero selects.
const SPISSR: Register<u32> = Register::new("SPISSR", 0x70).section("SPI Slave Select");

/// SPICR: the block is on, a master, and the chip selects are those of SPISSR.
const MANUAL_MASTER: u32 = 1 << 1 | 1 << 2 | 1 << 7;
/// SPICR: empty both FIFOs.
const EMPTY_BOTH: u32 = 1 << 5 | 1 << 6;
/// SPISR: nothing was received that was not taken.
const NONE_RECEIVED: u32 = 1 << 0;
/// SPISR: all is sent.
const ALL_SENT: u32 = 1 << 2;

/// QEMU's `xlnx.xps-spi`.
pub struct XpsSpi {
    registers: Mmio,
    chip: Option<Chip>,
}

impl XpsSpi {
    fn transfer(&self, byte: u8) -> Result<u8> {
        let registers = &self.registers;
        registers.set(SPIDTR, byte.into())?;
        wait_until(registers.vm(), "a byte to be sent and received", || {
            Ok(registers.get(SPISR)? & (NONE_RECEIVED | ALL_SENT) == ALL_SENT)
        })?;
        let read = registers.get(SPIDRR)?;
        match registers.get(SPISR)? & NONE_RECEIVED {
            0 => Err(Error::failed("one byte was sent, and more than one came")),
            _ => Ok(read as u8),
        }
    }
}

impl SpiController for XpsSpi {
    fn vm(&self) -> &Rc<Vm> {
        self.registers.vm()
    }

    fn select(&self, number: usize) -> Result<()> {
        self.registers.set(SPICR, MANUAL_MASTER | EMPTY_BOTH)?;
        self.registers.set(SPISSR, !(1 << number))
    }

    fn deselect(&self) -> Result<()> {
        self.registers.set(SPISSR, !0)
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        bytes.iter().try_for_each(|byte| self.transfer(*byte).map(drop))
    }

    fn receive(&self, length: usize) -> Result<Vec<u8>> {
        (0..length).map(|_| self.transfer(0xff)).collect()
    }
}

impl Produces<SpiSlot> for XpsSpi {
    fn produced(self: Rc<Self>) -> Rc<SpiSlot> {
        Rc::new(SpiSlot { chip: self.chip.clone(), controller: self })
    }
}

impl Discovered for XpsSpi {
    const QOM_TYPES: &'static [&'static str] = &["xlnx.xps-spi"];

    fn plug(device: &FoundDevice) -> Plug {
        slot::of(device)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Mmio::new(vm, device.base()?, vm.endian()?);
        Ok(Self { registers, chip: slot::chip(device) })
    }
}

driver!(XpsSpi = "xlnx.xps-spi"; produces SpiSlot);
discovered!(XpsSpi);
