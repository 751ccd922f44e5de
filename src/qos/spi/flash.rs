//! A flash chip on an SPI bus: its commands (M25P80 data sheet, chapter 6, which later chips
//! extend), and what they send.

use std::rc::Rc;

use super::{Chip, Maker, Part, SpiController};
use crate::qemu::Vm;
use crate::qos::wait_until;
use crate::{Error, Result, interface};

/// Commands, by the codes that all makers have in common.
pub mod command {
    /// Write the status register.
    pub const WRITE_STATUS: u8 = 0x01;
    /// Program a page.
    pub const PROGRAM: u8 = 0x02;
    /// Read.
    pub const READ: u8 = 0x03;
    /// Clear the write enable latch.
    pub const WRITE_DISABLE: u8 = 0x04;
    /// Read the status register.
    pub const READ_STATUS: u8 = 0x05;
    /// Set the write enable latch.
    pub const WRITE_ENABLE: u8 = 0x06;
    /// Read, with eight dummy cycles behind the address.
    pub const FAST_READ: u8 = 0x0b;
    /// As [`FAST_READ`], with four bytes of address.
    pub const FAST_READ_4: u8 = 0x0c;
    /// As [`PROGRAM`], with four bytes of address.
    pub const PROGRAM_4: u8 = 0x12;
    /// As [`READ`], with four bytes of address.
    pub const READ_4: u8 = 0x13;
    /// Erase 4 KiB.
    pub const ERASE_4K: u8 = 0x20;
    /// As [`ERASE_4K`], with four bytes of address.
    pub const ERASE_4K_4: u8 = 0x21;
    /// Read on two data lines, with eight dummy cycles behind the address.
    pub const DUAL_READ: u8 = 0x3b;
    /// Erase 32 KiB.
    pub const ERASE_32K: u8 = 0x52;
    /// Read the parameter tables (JESD216).
    pub const READ_SFDP: u8 = 0x5a;
    /// Enable the reset that follows.
    pub const RESET_ENABLE: u8 = 0x66;
    /// Read on four data lines, with eight dummy cycles behind the address.
    pub const QUAD_READ: u8 = 0x6b;
    /// Reset.
    pub const RESET: u8 = 0x99;
    /// Read the identification.
    pub const READ_ID: u8 = 0x9f;
    /// Take four bytes of address from now on.
    pub const FOUR_BYTES: u8 = 0xb7;
    /// Write the extended address register: bits 31:24 of addresses of three bytes.
    pub const WRITE_EXTENDED: u8 = 0xc5;
    /// Erase all.
    pub const ERASE_ALL: u8 = 0xc7;
    /// Read the extended address register.
    pub const READ_EXTENDED: u8 = 0xc8;
    /// Erase a sector.
    pub const ERASE_SECTOR: u8 = 0xd8;
    /// As [`ERASE_SECTOR`], with four bytes of address.
    pub const ERASE_SECTOR_4: u8 = 0xdc;
    /// Take three bytes of address from now on.
    pub const THREE_BYTES: u8 = 0xe9;
}

/// Bits of the status register.
pub mod status {
    /// A write, program or erase is going on.
    pub const BUSY: u8 = 1 << 0;
    /// The write enable latch.
    pub const WRITE_ENABLED: u8 = 1 << 1;
    /// The block protect bits that all makers have.
    pub const PROTECT: u8 = 0b111 << 2;
    /// The status register itself is protected while the pin W# is low.
    pub const REGISTER_PROTECTED: u8 = 1 << 7;
}

/// A flash chip behind an SPI controller.
#[derive(Clone)]
pub struct SpiFlash {
    /// The controller.
    pub controller: Rc<dyn SpiController>,
    /// The chip.
    pub chip: Chip,
    /// The name of the image of the machine that is its drive.
    pub image: &'static str,
}

interface!(SpiFlash = "spi-flash");

impl SpiFlash {
    /// What type of chip it is.
    pub fn part(&self) -> &'static Part {
        self.chip.part
    }

    /// The machine.
    pub fn vm(&self) -> &Rc<Vm> {
        self.controller.vm()
    }

    /// A transaction: sends bytes, then receives `length`.
    ///
    /// # Errors
    /// Returns an error if the controller does not do it.
    pub fn exchange(&self, bytes: &[u8], length: usize) -> Result<Vec<u8>> {
        self.controller.select(self.chip.select)?;
        self.controller.send(bytes)?;
        let received = match length {
            0 => Vec::new(),
            _ => self.controller.receive(length)?,
        };
        self.controller.deselect()?;
        Ok(received)
    }

    /// A command that is one byte.
    ///
    /// # Errors
    /// Returns an error if the controller does not do it.
    pub fn command(&self, code: u8) -> Result<()> {
        self.exchange(&[code], 0).map(drop)
    }

    /// The status register.
    ///
    /// # Errors
    /// Returns an error if the controller does not do it.
    pub fn status(&self) -> Result<u8> {
        Ok(self.exchange(&[command::READ_STATUS], 1)?[0])
    }

    /// Waits until nothing is programmed or erased any more, and returns the status then.
    ///
    /// # Errors
    /// Returns an error if that does not end.
    pub fn ready(&self) -> Result<u8> {
        let mut now = 0;
        wait_until(self.vm(), "the flash to be ready", || {
            now = self.status()?;
            Ok(now & status::BUSY == 0)
        })?;
        Ok(now)
    }

    /// Sets the write enable latch.
    ///
    /// # Errors
    /// Returns an error if it is not set then.
    pub fn enable_writes(&self) -> Result<()> {
        self.command(command::WRITE_ENABLE)?;
        let now = self.status()?;
        if now & status::WRITE_ENABLED != 0 {
            return Ok(());
        }
        Err(Error::failed(format!("the status after a write enable is {now:#04x}")))
    }

    /// Resets the chip, and clears its protection: what a test before may have left.
    ///
    /// # Errors
    /// Returns an error if it is not ready then.
    pub fn begin(&self) -> Result<()> {
        self.command(command::RESET_ENABLE)?;
        self.command(command::RESET)?;
        self.controller.set_address_length(self.chip.select, 3)?;
        self.enable_writes()?;
        self.write_status(0)?;
        self.command(command::WRITE_DISABLE)?;
        match self.ready()? {
            0 => Ok(()),
            left => Err(Error::failed(format!("the status is {left:#04x} at the begin"))),
        }
    }

    /// Writes the status register, which the write enable latch must allow.
    ///
    /// # Errors
    /// Returns an error if the controller does not do it.
    pub fn write_status(&self, value: u8) -> Result<()> {
        match self.chip.part.maker {
            // Its configuration register comes with it.
            Maker::Spansion => self.exchange(&[command::WRITE_STATUS, value, 0], 0)?,
            _ => self.exchange(&[command::WRITE_STATUS, value], 0)?,
        };
        self.ready().map(drop)
    }

    /// A command with an address of `bytes` bytes.
    pub fn addressed(code: u8, address: u64, bytes: usize) -> Vec<u8> {
        let mut all = vec![code];
        all.extend(&address.to_be_bytes()[8 - bytes..]);
        all
    }

    /// Reads `length` bytes with a command that has addresses of `bytes` bytes, and `cycles` of
    /// dummy behind them.
    ///
    /// # Errors
    /// Returns an error if the controller does not do it.
    pub fn read_by(
        &self,
        (code, bytes, cycles): (u8, usize, usize),
        address: u64,
        length: usize,
    ) -> Result<Vec<u8>> {
        self.controller.select(self.chip.select)?;
        self.controller.send(&Self::addressed(code, address, bytes))?;
        if cycles != 0 {
            self.controller.dummy(cycles)?;
        }
        let read = self.controller.receive(length)?;
        self.controller.deselect()?;
        Ok(read)
    }

    /// Reads with three bytes of address.
    ///
    /// # Errors
    /// Returns an error if the controller does not do it.
    pub fn read(&self, address: u64, length: usize) -> Result<Vec<u8>> {
        self.read_by((command::READ, 3, 0), address, length)
    }

    /// Programs with three bytes of address, and waits until that is done.
    ///
    /// # Errors
    /// Returns an error if the controller does not do it.
    pub fn program(&self, address: u64, data: &[u8]) -> Result<()> {
        self.program_by(command::PROGRAM, 3, address, data)
    }

    /// Programs by a command that has addresses of `bytes` bytes.
    ///
    /// # Errors
    /// Returns an error if the controller does not do it.
    pub fn program_by(&self, code: u8, bytes: usize, address: u64, data: &[u8]) -> Result<()> {
        self.enable_writes()?;
        self.raw_program(code, bytes, address, data)
    }

    /// As [`SpiFlash::program_by`], without setting the write enable latch.
    ///
    /// # Errors
    /// Returns an error if the controller does not do it.
    pub fn raw_program(&self, code: u8, bytes: usize, address: u64, data: &[u8]) -> Result<()> {
        let mut all = Self::addressed(code, address, bytes);
        all.extend(data);
        self.exchange(&all, 0)?;
        self.ready().map(drop)
    }

    /// Erases by a command that has addresses of `bytes` bytes, and waits until that is done.
    ///
    /// # Errors
    /// Returns an error if the controller does not do it.
    pub fn erase_by(&self, code: u8, bytes: usize, address: u64) -> Result<()> {
        self.enable_writes()?;
        self.exchange(&Self::addressed(code, address, bytes), 0)?;
        self.ready().map(drop)
    }

    /// Erases the sector that begins at `address`.
    ///
    /// # Errors
    /// Returns an error if the controller does not do it.
    pub fn erase_sector(&self, address: u64) -> Result<()> {
        self.erase_by(command::ERASE_SECTOR, 3, address)
    }

    /// Takes addresses of four bytes, or of three, from now on.
    ///
    /// # Errors
    /// Returns an error if the controller does not do it.
    pub fn take_four_bytes(&self, four: bool) -> Result<()> {
        // Some makers want the latch set.
        self.enable_writes()?;
        self.command(if four { command::FOUR_BYTES } else { command::THREE_BYTES })?;
        self.command(command::WRITE_DISABLE)?;
        self.controller.set_address_length(self.chip.select, if four { 4 } else { 3 })
    }

    /// What the image has.
    ///
    /// # Errors
    /// Returns an error if the machine has no such image.
    pub fn in_image(&self, address: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.vm().read_image(self.image, address, &mut bytes)?;
        Ok(bytes)
    }
}
