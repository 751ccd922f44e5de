//! The IndustryPack module IP-Octal 232 with eight serial ports, whose chip is a SCC2698B (SBS,
//! IP-Octal user manual; Philips, data sheet SCC2698B). Its first port ends in a buffer of QEMU's.

use std::rc::Rc;

use super::tpci200::{IndustryPack, ModuleSpace};
use crate::graph::{Consumes, QemuArgs, Site};
use crate::{Result, driver};

/// The slot that it is in.
const SLOT: u64 = 0;

/// Registers of a port, 16 bytes apart: mode, status, command, data.
pub const MODE: u64 = 0x01;
/// Status, read; clock select, written.
pub const STATUS: u64 = 0x03;
/// Command.
pub const COMMAND: u64 = 0x05;
/// Data.
pub const DATA: u64 = 0x07;
/// Interrupt status of a pair of ports.
pub const INTERRUPT_STATUS: u64 = 0x0b;

/// Status: there is room for a byte to send.
pub const STATUS_TX_READY: u8 = 1 << 2;
/// Status: all bytes were sent.
pub const STATUS_TX_EMPTY: u8 = 1 << 3;
/// Command: turns the receiver on.
pub const COMMAND_RX_ON: u8 = 1 << 0;
/// Command: turns the transmitter on.
pub const COMMAND_TX_ON: u8 = 1 << 2;
/// Command: turns the transmitter off.
pub const COMMAND_TX_OFF: u8 = 1 << 3;
/// Command: the next access of the mode is one of its first register.
pub const COMMAND_FIRST_MODE: u8 = 1 << 4;

/// QEMU's `ipoctal232`.
pub struct IpOctal232 {
    bus: Rc<IndustryPack>,
}

impl IpOctal232 {
    /// QEMU's name of the buffer that the first port sends to.
    pub const RING: &str = "port0";

    /// Reads a register of port number `port`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn read(&self, port: u64, register: u64) -> Result<u8> {
        self.bus.read(SLOT, ModuleSpace::Io, 16 * port + register)
    }

    /// Writes a register of port number `port`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn write(&self, port: u64, register: u64, value: u8) -> Result<()> {
        self.bus.write(SLOT, ModuleSpace::Io, 16 * port + register, value)
    }

    /// Byte `number` of what the module says of itself.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn identification(&self, number: u64) -> Result<u8> {
        self.bus.read(SLOT, ModuleSpace::Id, 2 * number + 1)
    }

    /// The carrier.
    pub fn bus(&self) -> &IndustryPack {
        &self.bus
    }
}

impl Consumes<IndustryPack> for IpOctal232 {
    const ARGS: QemuArgs =
        QemuArgs::device("bus={bus},chardev0=port0").before("-chardev ringbuf,id=port0,size=4096");

    fn attach(bus: Rc<IndustryPack>, _: &Site) -> Result<Self> {
        Ok(Self { bus })
    }
}

driver!(IpOctal232 = "ipoctal232"; consumes IndustryPack);
