//! MSI-X (PCI 3.0, 6.8.2): the capability, its table and its pending bits.

use std::rc::Rc;

use super::{Bar, Capability, PciDevice};
use crate::qos::registers::{Registers, RegistersExt};
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
/// Message Control: the function is masked.
const MASK_ALL: u16 = 1 << 14;
/// Message Control: table size, less one.
const TABLE_SIZE: u16 = 0x7ff;
/// Vector Control: the vector is masked.
const MASKED: u32 = 1;

/// A function's Message Control, and the capability it is in.
#[derive(Clone)]
pub struct Control {
    device: PciDevice,
    /// Where the capability is.
    capability: u16,
    /// Message Control as it was at first.
    first: u16,
    /// A BAR that is mapped already, and its number.
    mapped: Option<(u8, Rc<Bar>)>,
}

impl Control {
    /// That of `device`, if there is MSI-X among its capabilities, `list`.
    ///
    /// # Errors
    /// Message Control has other bits set than the table's size: it is not as after a reset.
    pub fn find(device: &PciDevice, list: &[Capability]) -> Result<Option<Self>> {
        let Some(at) = list.iter().find(|capability| capability.id == CAPABILITY) else {
            return Ok(None);
        };
        let first = device.config_read16(at.offset + MESSAGE_CONTROL)?;
        if first & !TABLE_SIZE != 0 {
            let why = format!("{}: Message Control is {first:#06x}", device.address());
            return Err(Error::failed(why));
        }
        Ok(Some(Self { device: device.clone(), capability: at.offset, first, mapped: None }))
    }

    /// Uses `bar`, the BAR of this number, which is mapped already and stays mapped.
    pub fn sharing(self, number: u8, bar: Rc<Bar>) -> Self {
        Self { mapped: Some((number, bar)), ..self }
    }

    /// The BAR of this number.
    fn bar(&self, number: u8) -> Result<Rc<Bar>> {
        match &self.mapped {
            Some((mapped, bar)) if *mapped == number => Ok(bar.clone()),
            _ => self.device.map_bar(number),
        }
    }

    /// Whether MSI-X is enabled.
    ///
    /// # Errors
    /// Other bits than those that say so have changed.
    pub fn is_enabled(&self) -> Result<bool> {
        let now = self.device.config_read16(self.capability + MESSAGE_CONTROL)?;
        if (now ^ self.first) & !ENABLE != 0 {
            return Err(Error::failed(format!(
                "{}: Message Control was {:#06x} and is {now:#06x}",
                self.device.address(),
                self.first
            )));
        }
        Ok(now & ENABLE != 0)
    }

    /// Enables MSI-X or disables it.
    fn enable(&self, on: bool) -> Result<()> {
        let value = self.first | if on { ENABLE } else { 0 };
        self.device.config_write16(self.capability + MESSAGE_CONTROL, value)
    }

    /// The number of vectors.
    pub fn size(&self) -> u16 {
        (self.first & TABLE_SIZE) + 1
    }
}

/// A function's MSI-X, enabled as long as this is there.
pub struct Msix {
    control: Control,
    table: (Rc<Bar>, u64),
    pending: (Rc<Bar>, u64),
}

impl Msix {
    /// Enables it, every vector masked.
    ///
    /// # Errors
    /// Its table cannot be mapped, or it stays disabled.
    pub fn enable(control: &Control) -> Result<Self> {
        let msix = Self::enable_as_found(control)?;
        for vector in 0..msix.size() {
            msix.mask(vector, true)?;
        }
        Ok(msix)
    }

    /// Enables it, the table as it is.
    ///
    /// # Errors
    /// As for [`Msix::enable`].
    pub fn enable_as_found(control: &Control) -> Result<Self> {
        let (control, device) = (control.clone(), &control.device);
        let at = control.capability;
        let (table, pending) =
            (device.config_read32(at + TABLE)?, device.config_read32(at + PENDING)?);
        let bar = control.bar((table & 7) as u8)?;
        let pending_bar = match pending & 7 == table & 7 {
            true => bar.clone(),
            false => control.bar((pending & 7) as u8)?,
        };
        let msix = Self {
            control,
            table: (bar, u64::from(table & !7)),
            pending: (pending_bar, u64::from(pending & !7)),
        };
        msix.control.enable(true)?;
        if !msix.control.is_enabled()? {
            return Err(Error::failed(format!("{}: MSI-X stays disabled", device.address())));
        }
        Ok(msix)
    }

    /// The number of vectors.
    pub fn size(&self) -> u16 {
        self.control.size()
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

    /// Masks the whole function, or unmasks it, which sends what is pending of vectors that are
    /// not masked themselves.
    ///
    /// # Errors
    /// Message Control does not keep it.
    pub fn mask_function(&self, masked: bool) -> Result<()> {
        let Control { device, capability, first, .. } = &self.control;
        let at = capability + MESSAGE_CONTROL;
        let value = first | ENABLE | if masked { MASK_ALL } else { 0 };
        device.config_write16(at, value)?;
        match device.config_read16(at)? {
            now if now == value => Ok(()),
            now => Err(Error::failed(format!("Message Control: wrote {value:#x}, read {now:#x}"))),
        }
    }

    /// The four words of a vector's entry: address, its upper half, data, control.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn words(&self, vector: u16) -> Result<[u32; 4]> {
        let (table, entry) = self.entry(vector);
        Ok([
            table.read32(entry)?,
            table.read32(entry + 4)?,
            table.read32(entry + 8)?,
            table.read32(entry + 12)?,
        ])
    }

    /// Writes a word of the pending bits, which a guest must not.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn write_pending(&self, value: u32) -> Result<()> {
        (&*self.pending.0 as &dyn Registers).write32(self.pending.1, value)
    }

    /// The masked vectors whose messages are pending.
    ///
    /// # Errors
    /// There are bits of vectors that are not there.
    pub fn pending(&self) -> Result<Vec<u16>> {
        let registers: &dyn Registers = &*self.pending.0;
        let mut vectors = Vec::new();
        for first in (0..self.size()).step_by(32) {
            let word = registers.read32(self.pending.1 + u64::from(first / 8))?;
            vectors.extend((0..32).filter(|bit| word >> bit & 1 != 0).map(|bit| first + bit));
        }
        match vectors.last() {
            Some(&last) if last >= self.size() => {
                let size = self.size();
                Err(Error::failed(format!("{vectors:?} are pending of {size} MSI-X vectors")))
            }
            _ => Ok(vectors),
        }
    }
}

impl Drop for Msix {
    fn drop(&mut self) {
        // A QEMU that no longer answers needs nothing disabled.
        let _ = self.control.enable(false);
    }
}
