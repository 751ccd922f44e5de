//! The firmware configuration device (QEMU's specification "QEMU Firmware Configuration (fw_cfg)
//! Device"): items by number and files by name, read byte by byte or by DMA.

use std::rc::Rc;

use super::registers::{Registers, Width};
use super::wait_until;
use crate::qemu::{Buffer, Vm};
use crate::{Error, Result, interface};

/// The item that says what the device is.
pub const SIGNATURE: u16 = 0x00;
/// The item of features.
pub const ID: u16 = 0x01;
/// The item with the machine's UUID.
pub const UUID: u16 = 0x02;
/// The item that says whether there is no graphic display.
pub const NO_GRAPHIC: u16 = 0x04;
/// The item that says whether there is to be a boot menu.
pub const BOOT_MENU: u16 = 0x0e;
/// The item that lists the files.
pub const DIRECTORY: u16 = 0x19;
/// The first item that is a file.
pub const FIRST_FILE: u16 = 0x20;

/// ID: items are read byte by byte; there is DMA.
pub const ID_TRADITIONAL: u32 = 1 << 0;
/// ID: there is DMA.
pub const ID_DMA: u32 = 1 << 1;

/// A control field of DMA: it went wrong.
pub const DMA_ERROR: u32 = 1 << 0;
/// A control field of DMA: read an item.
pub const DMA_READ: u32 = 1 << 1;
/// A control field of DMA: go on without reading.
pub const DMA_SKIP: u32 = 1 << 2;
/// A control field of DMA: select the item in the upper half.
pub const DMA_SELECT: u32 = 1 << 3;
/// A control field of DMA: write an item.
pub const DMA_WRITE: u32 = 1 << 4;
/// What the DMA register reads as.
pub const DMA_SIGNATURE: [u8; 8] = *b"QEMU CFG";

/// A register, as a block of registers and an offset there.
pub type At = (Rc<dyn Registers>, u64);

/// Where the device's registers are.
#[derive(Clone)]
pub struct FwCfg {
    /// The machine.
    pub vm: Rc<Vm>,
    /// The selector, 16 bits.
    pub selector: At,
    /// The data, a byte at a time.
    pub data: At,
    /// The DMA address, if there is one.
    pub dma: Option<At>,
    /// The bytes of an access to the DMA address come in the other order than the block's.
    pub swaps_dma: bool,
}

interface!(FwCfg = "fw-cfg");

/// A file of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its size in bytes.
    pub size: u32,
    /// Its item.
    pub item: u16,
    /// What is reserved of its entry.
    pub reserved: u16,
    /// Its name.
    pub name: String,
}

impl FwCfg {
    /// Selects an item, and its first byte.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn select(&self, item: u16) -> Result<()> {
        self.selector.0.write(self.selector.1, Width::Word, item.into())
    }

    /// Reads the next bytes of the item.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn read(&self, length: usize) -> Result<Vec<u8>> {
        let (registers, offset) = &self.data;
        (0..length).map(|_| registers.read(*offset, Width::Byte).map(|byte| byte as u8)).collect()
    }

    /// The first bytes of an item.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn item(&self, item: u16, length: usize) -> Result<Vec<u8>> {
        self.select(item)?;
        self.read(length)
    }

    /// The features.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn id(&self) -> Result<u32> {
        let bytes = self.item(ID, 4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// The directory.
    ///
    /// # Errors
    /// Returns an error if a name is not text that ends.
    pub fn files(&self) -> Result<Vec<File>> {
        let count = self.item(DIRECTORY, 4)?;
        let count = u32::from_be_bytes([count[0], count[1], count[2], count[3]]);
        if count > 4096 {
            return Err(Error::failed(format!("the directory has {count} files")));
        }
        let entry = |_| {
            let entry = self.read(64)?;
            let name = entry[8..].split(|byte| *byte == 0).next().unwrap_or_default();
            let name = String::from_utf8(name.to_vec());
            let name = name.map_err(|e| Error::failed(format!("the name of a file: {e}")))?;
            if name.is_empty() || name.len() > 55 {
                return Err(Error::failed(format!("the name of a file is {name:?}")));
            }
            let [a, b, c, d, e, f, g, h] = [0, 1, 2, 3, 4, 5, 6, 7].map(|at| entry[at]);
            Ok(File {
                size: u32::from_be_bytes([a, b, c, d]),
                item: u16::from_be_bytes([e, f]),
                reserved: u16::from_be_bytes([g, h]),
                name,
            })
        };
        (0..count).map(entry).collect()
    }

    /// The file of this name.
    ///
    /// # Errors
    /// Returns an error if there is none.
    pub fn file(&self, name: &str) -> Result<File> {
        let found = self.files()?.into_iter().find(|file| file.name == name);
        found.ok_or_else(|| Error::failed(format!("there is no file {name}")))
    }

    /// The DMA address.
    ///
    /// # Errors
    /// Returns [`Error::Skipped`] if there is none, or the device says so.
    pub fn dma(&self) -> Result<&At> {
        match &self.dma {
            Some(dma) if self.id()? & ID_DMA != 0 => Ok(dma),
            _ => Err(Error::skipped("this fw_cfg has no DMA")),
        }
    }

    /// A value of 32 bits in the byte order of the DMA address.
    pub fn dma_word(&self, value: u32) -> u64 {
        if self.swaps_dma { value.swap_bytes().into() } else { value.into() }
    }

    /// Starts DMA from a structure at `address`.
    ///
    /// # Errors
    /// Returns [`Error::Skipped`] if there is no DMA.
    pub fn start_dma(&self, address: u64) -> Result<()> {
        // The features are not asked for, since that would select another item.
        let dma = self.dma.as_ref().ok_or_else(|| Error::skipped("this fw_cfg has no DMA"))?;
        let (registers, offset) = dma;
        let halves = [(address >> 32) as u32, address as u32].map(|half| self.dma_word(half));
        registers.write(*offset, Width::Long, halves[0])?;
        registers.write(*offset + 4, Width::Long, halves[1])
    }

    /// Has DMA done with this control field, between `memory` and the item; returns the control
    /// field at the end.
    ///
    /// # Errors
    /// Returns [`Error::Skipped`] if there is no DMA; or an error if it does not end.
    pub fn transfer(&self, control: u32, memory: Option<&Buffer>, length: usize) -> Result<u32> {
        let address = memory.map_or(0, |memory| memory.address().0);
        self.transfer_at(control, address, length)
    }

    /// The same with any address.
    ///
    /// # Errors
    /// As for [`FwCfg::transfer`].
    pub fn transfer_at(&self, control: u32, address: u64, length: usize) -> Result<u32> {
        let access = self.vm.ram().alloc(16, 8)?;
        access.write_be32(0, control)?;
        access.write_be32(4, length as u32)?;
        access.write_be64(8, address)?;
        self.start_dma(access.address().0)?;
        let mut left = control;
        wait_until(&self.vm, "DMA of fw_cfg", || {
            left = access.read_be32(0)?;
            Ok(left & !DMA_ERROR == 0)
        })?;
        Ok(left)
    }
}
