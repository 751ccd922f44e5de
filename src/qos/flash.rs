//! Parallel flash with Intel's command set (Common Flash Memory Interface, JESD68; Intel's 28F
//! data sheets): commands, and what they do to blocks.

use std::rc::Rc;

use super::registers::{Registers, Width};
use crate::qemu::Vm;
use crate::{Error, Result, interface};

/// Commands.
pub mod command {
    /// Read the memory.
    pub const READ_ARRAY: u8 = 0xff;
    /// Read the identification.
    pub const READ_ID: u8 = 0x90;
    /// Read what CFI says.
    pub const QUERY: u8 = 0x98;
    /// Read the status.
    pub const READ_STATUS: u8 = 0x70;
    /// Clear the status.
    pub const CLEAR_STATUS: u8 = 0x50;
    /// Program a word.
    pub const PROGRAM: u8 = 0x40;
    /// The same, by its other code.
    pub const PROGRAM_OTHER: u8 = 0x10;
    /// Program a buffer.
    pub const PROGRAM_BUFFER: u8 = 0xe8;
    /// Erase a block.
    pub const ERASE: u8 = 0x20;
    /// Confirm what was begun.
    pub const CONFIRM: u8 = 0xd0;
}

/// Status: ready.
pub const READY: u8 = 0x80;

/// A bank of flash devices side by side.
#[derive(Clone)]
pub struct IntelFlash {
    /// The machine.
    pub vm: Rc<Vm>,
    /// The bank.
    pub bank: Rc<dyn Registers>,
    /// How wide the bank is.
    pub width: Width,
    /// How many bits an offset is shifted by to be an address of a device.
    pub shift: u32,
    /// How many devices are side by side, if the bank says.
    pub devices: Option<u32>,
    /// The length of a block of the bank in bytes.
    pub block: u64,
    /// How many blocks there are.
    pub blocks: u64,
    /// The bytes of the identification: those of two words in a bank that says how many devices
    /// it has, else four.
    pub ids: [u64; 4],
}

interface!(IntelFlash = "intel-flash");

impl IntelFlash {
    /// Gives all devices a command, at `offset`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn command(&self, offset: u64, command: u8) -> Result<()> {
        self.bank.write(offset, self.width, self.all(command))
    }

    /// A byte for every device.
    pub fn all(&self, byte: u8) -> u64 {
        let bits = 8 * self.width.bytes() as u32;
        let each = bits / self.devices.unwrap_or(1);
        (0..bits / each).fold(0, |all, at| all | u64::from(byte) << (each * at))
    }

    /// What is at `offset`, in the width of the bank.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn word(&self, offset: u64) -> Result<u64> {
        self.bank.read(offset, self.width)
    }

    /// The lowest byte of the CFI table at an address of the devices.
    ///
    /// # Errors
    /// Returns an error if the devices do not say the same.
    pub fn query(&self, address: u64) -> Result<u8> {
        let word = self.word(address << self.shift)?;
        let byte = word as u8;
        let lanes = self.devices.unwrap_or(1);
        let each = 8 * self.width.bytes() as u32 / lanes;
        for lane in 0..lanes {
            if (word >> (each * lane)) as u8 != byte {
                return Err(Error::failed(format!(
                    "the devices differ at {address:#x}: {word:#x}"
                )));
            }
        }
        Ok(byte)
    }

    /// The status of the devices, which must say the same.
    ///
    /// # Errors
    /// Returns an error if they do not.
    pub fn status(&self) -> Result<u8> {
        self.command(0, command::READ_STATUS)?;
        let word = self.word(0)?;
        match self.devices {
            Some(_) if word != self.all(word as u8) => {
                Err(Error::failed(format!("the devices' statuses differ: {word:#x}")))
            }
            _ => Ok(word as u8),
        }
    }

    /// Lets the memory be read.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn read_array(&self) -> Result<()> {
        self.command(0, command::READ_ARRAY)
    }
}
