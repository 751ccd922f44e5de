//! One function on a PCI bus.

use std::rc::Rc;

use super::regs;
use super::{Bar, BarSize, PciAddress, PciBus};
use crate::graph::Site;
use crate::qos::interrupt::InterruptLine;
use crate::qos::registers::Width;
use crate::{Error, Result};

/// A function on a bus.
#[derive(Clone)]
pub struct PciDevice {
    bus: Rc<dyn PciBus>,
    at: PciAddress,
    /// Vendor ID and device ID when it was found.
    ids: (u16, u16),
}

/// The last capability ID that is assigned; those behind it and 0 are reserved (PCI Code and ID
/// Assignment 1.11, chapter 2).
const LAST_CAPABILITY: u8 = 0x15;

/// An entry of the capability list (PCI 3.0, 6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability {
    /// What it is, its first byte.
    pub id: u8,
    /// Where it is in configuration space.
    pub offset: u16,
}

impl PciDevice {
    /// The function that this path has plugged into `bus`.
    ///
    /// # Errors
    /// Returns an error if no function is there, or if the edge names no address.
    pub fn plugged(bus: &Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Self::find(bus, PciAddress::plugged(bus, site)?)
    }

    /// The function at `at`.
    ///
    /// # Errors
    /// There is none.
    pub fn find(bus: &Rc<dyn PciBus>, at: PciAddress) -> Result<Self> {
        let ids = bus.config_read(at, regs::VENDOR_ID, Width::Long)?;
        let ids = (ids as u16, (ids >> 16) as u16);
        match ids {
            (0xffff, _) => Err(Error::failed(format!("no PCI function at {at}"))),
            _ => Ok(Self { bus: bus.clone(), at, ids }),
        }
    }

    /// Its vendor ID and device ID, as they were when it was found.
    pub fn ids(&self) -> (u16, u16) {
        self.ids
    }

    /// Where it is.
    pub fn address(&self) -> PciAddress {
        self.at
    }

    /// The bus it is on.
    pub fn bus(&self) -> &Rc<dyn PciBus> {
        &self.bus
    }

    /// Reads a byte of configuration space.
    pub fn config_read8(&self, register: u16) -> Result<u8> {
        Ok(self.bus.config_read(self.at, register, Width::Byte)? as u8)
    }

    /// Reads 16 bits of configuration space.
    pub fn config_read16(&self, register: u16) -> Result<u16> {
        Ok(self.bus.config_read(self.at, register, Width::Word)? as u16)
    }

    /// Reads 32 bits of configuration space.
    pub fn config_read32(&self, register: u16) -> Result<u32> {
        self.bus.config_read(self.at, register, Width::Long)
    }

    /// Writes a byte of configuration space.
    pub fn config_write8(&self, register: u16, value: u8) -> Result<()> {
        self.bus.config_write(self.at, register, Width::Byte, value.into())
    }

    /// Writes 16 bits of configuration space.
    pub fn config_write16(&self, register: u16, value: u16) -> Result<()> {
        self.bus.config_write(self.at, register, Width::Word, value.into())
    }

    /// Writes 32 bits of configuration space.
    pub fn config_write32(&self, register: u16, value: u32) -> Result<()> {
        self.bus.config_write(self.at, register, Width::Long, value)
    }

    /// The vendor ID.
    pub fn vendor_id(&self) -> Result<u16> {
        self.config_read16(regs::VENDOR_ID)
    }

    /// The device ID.
    pub fn device_id(&self) -> Result<u16> {
        self.config_read16(regs::DEVICE_ID)
    }

    /// Lets the function respond to accesses and be a bus master.
    ///
    /// # Errors
    /// QEMU does not answer, or the bits do not stay.
    pub fn enable(&self) -> Result<()> {
        let on = regs::COMMAND_IO | regs::COMMAND_MEMORY | regs::COMMAND_MASTER;
        let command = self.config_read16(regs::COMMAND)?;
        self.config_write16(regs::COMMAND, command | on)?;
        let now = self.config_read16(regs::COMMAND)?;
        // A function without I/O or memory BARs may hardwire those bits to zero.
        let may_be_zero = (regs::COMMAND_IO | regs::COMMAND_MEMORY) & !command;
        if now | may_be_zero != command | on {
            let is_master = now & regs::COMMAND_MASTER != 0;
            return Err(Error::failed(format!(
                "{}: wrote {:#06x} to Command, read back {now:#06x}{}",
                self.at,
                command | on,
                if is_master { "" } else { ": no bus master" }
            )));
        }
        Ok(())
    }

    /// Maps base address register `number`, 0 to 5, to an address of its own. That is free
    /// for others when the last copy of the BAR is dropped, although the function responds
    /// there until its register or Command is written.
    ///
    /// # Errors
    /// The register is not implemented, does not behave like one, or the window is full.
    /// Then BAR and Command are as they were.
    pub fn map_bar(&self, number: u8) -> Result<Rc<Bar>> {
        // A reset of the machine has closed the bridges that the bus is behind.
        self.bus.reopen()?;
        Bar::map(self, number)
    }

    /// Asks base address register `number`, 0 to 5, for its size: `None` if there is none.
    ///
    /// # Errors
    /// It is no power of two, or QEMU does not answer.
    pub fn bar_size(&self, number: u8) -> Result<Option<BarSize>> {
        BarSize::ask(self, number)
    }

    /// Whether the function asserts its interrupt pin (PCI 3.0, 6.2.3).
    ///
    /// # Errors
    /// As for [`PciDevice::status`].
    pub fn asserts_interrupt(&self) -> Result<bool> {
        Ok(self.status()? & regs::STATUS_INTERRUPT != 0)
    }

    /// Watches the input of the machine's interrupt controller that its pin reaches, which must
    /// be low. `None` where that is not known, or where it has no pin.
    ///
    /// # Errors
    /// As for [`PciBus::watch_pin`].
    pub fn watch_pin(&self) -> Result<Option<InterruptLine>> {
        match self.config_read8(regs::INTERRUPT_PIN)? {
            pin @ 1..=4 => self.bus.watch_pin(self.at, pin - 1),
            _ => Ok(None),
        }
    }

    /// Status (PCI 3.0, 6.2.3).
    ///
    /// # Errors
    /// It tells of an error on the bus, or has reserved bits set.
    pub fn status(&self) -> Result<u16> {
        let status = self.config_read16(regs::STATUS)?;
        let wrong = status & (regs::STATUS_ERRORS | regs::STATUS_RESERVED);
        if wrong != 0 {
            let why = format!("{}: Status is {status:#06x}, with errors {wrong:#06x}", self.at);
            return Err(Error::failed(why));
        }
        Ok(status)
    }

    /// The capability list, in its order.
    ///
    /// # Errors
    /// It leads into the header, has reserved bits set, or does not end; an ID is reserved; or
    /// as for [`PciDevice::status`].
    pub fn capabilities(&self) -> Result<Vec<Capability>> {
        let mut list = Vec::new();
        if self.status()? & regs::STATUS_CAP_LIST == 0 {
            return Ok(list);
        }
        let mut offset = u16::from(self.config_read8(regs::CAPABILITY_LIST)?);
        while offset != 0 {
            let wrong = if offset & 3 != 0 {
                "the reserved bits of a pointer, which must be 0"
            } else if offset < 0x40 {
                "the header, where none can be"
            } else if list.iter().any(|before: &Capability| before.offset == offset) {
                "an entry that came before, so that it has no end"
            } else {
                ""
            };
            if !wrong.is_empty() {
                return Err(Error::failed(format!(
                    "{}: the capability list {list:x?} goes on at {offset:#x}: {wrong}",
                    self.at
                )));
            }
            let [id, next] = self.config_read16(offset)?.to_le_bytes();
            if !(1..=LAST_CAPABILITY).contains(&id) {
                return Err(Error::failed(format!(
                    "{}: the capability at {offset:#x} has the ID {id:#04x}, which is reserved",
                    self.at
                )));
            }
            list.push(Capability { id, offset });
            offset = next.into();
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests;
