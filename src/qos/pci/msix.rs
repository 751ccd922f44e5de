//! MSI-X (PCI 3.0, 6.8.2): the capability, its table and its pending bits.

use std::rc::Rc;

use super::{Bar, PciDevice};
use crate::qos::registers::Registers;
use crate::{Error, Result};

/// The capability's id.
pub const CAPABILITY: u8 = 0x11;
/// Message Control, 16 bits, from the capability's start on.
const MESSAGE_CONTROL: u16 = 2;
/// Where the table is: BAR in bits 2:0.
const TABLE: u16 = 4;
/// Where the pending bits are.
const PENDING: u16 = 8;
/// Message Control: MSI-X is enabled.
const ENABLE: u16 = 1 << 15;
/// Message Control: table size, less one.
const TABLE_SIZE: u16 = 0x7ff;
/// Vector Control: the vector is masked.
const MASKED: u32 = 1;

/// Whether the function has MSI-X, and it is enabled.
///
/// # Errors
/// QEMU does not answer.
pub fn is_enabled(device: &PciDevice) -> Result<bool> {
    Ok(match device.capability(CAPABILITY)? {
        Some(at) => device.config_read16(at.offset + MESSAGE_CONTROL)? & ENABLE != 0,
        None => false,
    })
}

/// A function's MSI-X, enabled as long as this is there.
pub struct Msix {
    device: PciDevice,
    control: u16,
    size: u16,
    table: (Rc<Bar>, u64),
    pending: (Rc<Bar>, u64),
}

impl Msix {
    /// Enables it, every vector masked.
    ///
    /// # Errors
    /// The function has none.
    pub fn enable(device: &PciDevice) -> Result<Self> {
        let at = device
            .capability(CAPABILITY)?
            .ok_or_else(|| Error::failed(format!("{}: no MSI-X capability", device.address())))?;
        let (table, pending) =
            (device.config_read32(at.offset + TABLE)?, device.config_read32(at.offset + PENDING)?);
        let bar = device.map_bar((table & 7) as u8)?;
        let pending_bar = match pending & 7 == table & 7 {
            true => bar.clone(),
            false => device.map_bar((pending & 7) as u8)?,
        };
        let control = at.offset + MESSAGE_CONTROL;
        let value = device.config_read16(control)?;
        let msix = Self {
            device: device.clone(),
            control,
            size: (value & TABLE_SIZE) + 1,
            table: (bar, u64::from(table & !7)),
            pending: (pending_bar, u64::from(pending & !7)),
        };
        device.config_write16(control, value | ENABLE)?;
        for vector in 0..msix.size {
            msix.mask(vector, true)?;
        }
        Ok(msix)
    }

    /// The number of vectors.
    pub fn size(&self) -> u16 {
        self.size
    }

    fn entry(&self, vector: u16) -> (&dyn Registers, u64) {
        (&*self.table.0, self.table.1 + 16 * u64::from(vector))
    }

    /// Sets what a vector writes, and where.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn set_message(&self, vector: u16, address: u64, data: u32) -> Result<()> {
        let (table, entry) = self.entry(vector);
        table.write32(entry, address as u32)?;
        table.write32(entry + 4, (address >> 32) as u32)?;
        table.write32(entry + 8, data)
    }

    /// Masks a vector, or unmasks it, which sends what is pending.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn mask(&self, vector: u16, masked: bool) -> Result<()> {
        let (table, entry) = self.entry(vector);
        table.write32(entry + 12, if masked { MASKED } else { 0 })
    }

    /// Whether a masked vector's message is pending.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn is_pending(&self, vector: u16) -> Result<bool> {
        let pending: &dyn Registers = &*self.pending.0;
        let word = pending.read32(self.pending.1 + 4 * u64::from(vector / 32))?;
        Ok(word >> (vector % 32) & 1 != 0)
    }
}

impl Drop for Msix {
    fn drop(&mut self) {
        // A QEMU that no longer answers needs nothing disabled.
        let value = self.device.config_read16(self.control);
        let _ = value.and_then(|value| self.device.config_write16(self.control, value & !ENABLE));
    }
}
