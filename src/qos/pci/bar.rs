//! A base address register, sized and mapped.

use std::rc::Rc;

use super::regs;
use super::{PciBus, PciDevice, Space};
use crate::qos::registers::{Access, Registers, Width};
use crate::{Error, Result};

/// How many base address registers a function has.
const COUNT: u8 = 6;

/// Whether a function responds to accesses at all.
const DECODE: u16 = regs::COMMAND_IO | regs::COMMAND_MEMORY;

/// The registers behind a base address register.
pub struct Bar {
    bus: Rc<dyn PciBus>,
    space: Space,
    address: u64,
    size: u64,
}

/// A base address register as it was found.
struct Slot<'a> {
    device: &'a PciDevice,
    number: u8,
    register: u16,
    /// Its content, of which the flags never change.
    original: u32,
    /// Its upper half, if it is 64 bits wide.
    upper: Option<u32>,
}

impl<'a> Slot<'a> {
    fn new(device: &'a PciDevice, number: u8) -> Result<Self> {
        let there = |number: u8| regs::BASE_ADDRESS_0 + 4 * u16::from(number);
        let mut slot = Self { device, number, register: 0, original: 0, upper: None };
        if number >= COUNT {
            return Err(slot.error("functions have BARs 0 to 5"));
        }
        slot.register = there(number);
        slot.original = device.config_read32(slot.register)?;
        let is_64 = slot.original & regs::BASE_ADDRESS_MEM_TYPE == regs::BASE_ADDRESS_MEM_TYPE_64;
        if slot.space() == Space::Memory && is_64 {
            if number + 1 == COUNT {
                return Err(slot.error("it is 64 bits wide, but no register is left for half"));
            }
            slot.upper = Some(device.config_read32(there(number + 1))?);
        }
        Ok(slot)
    }

    fn error(&self, what: &str) -> Error {
        Error::failed(format!("{}: BAR {}: {what}", self.device.address(), self.number))
    }

    fn space(&self) -> Space {
        match self.original & regs::BASE_ADDRESS_SPACE_IO {
            0 => Space::Memory,
            _ => Space::Io,
        }
    }

    fn flags(&self) -> u32 {
        match self.space() {
            Space::Io => regs::BASE_ADDRESS_IO_FLAGS,
            Space::Memory => regs::BASE_ADDRESS_MEM_FLAGS,
        }
    }

    /// Writes it; returns what address then is in it.
    fn write(&self, value: u64) -> Result<u64> {
        self.device.config_write32(self.register, value as u32)?;
        let now = self.device.config_read32(self.register)?;
        let (before, flags) = (self.original & self.flags(), now & self.flags());
        if flags != before {
            return Err(self.error(&format!(
                "its lowest bits are no address and cannot be written, but {before:#x} became \
                 {flags:#x}"
            )));
        }
        let low = u64::from(now & !self.flags());
        if self.upper.is_none() {
            return Ok(low);
        }
        let upper = self.register + 4;
        self.device.config_write32(upper, (value >> 32) as u32)?;
        Ok(u64::from(self.device.config_read32(upper)?) << 32 | low)
    }

    fn restore(&self) -> Result<()> {
        let before =
            u64::from(self.upper.unwrap_or(0)) << 32 | u64::from(self.original & !self.flags());
        match self.write(before)? {
            now if now == before => Ok(()),
            now => Err(self.error(&format!("was {before:#x}, and is {now:#x} written again"))),
        }
    }

    /// Finds its size; `None` if it is not implemented. All ones are in it then, and the
    /// function must not respond meanwhile.
    fn size(&self) -> Result<Option<u64>> {
        let low = self.write(!0)?;
        let mask = match (self.upper, self.space()) {
            _ if low == 0 && self.upper.is_none() => 0,
            (Some(_), _) => low,
            // The upper bits of an I/O BAR may be hardwired to zero.
            (None, Space::Io) if low >> 16 == 0 => low | 0xffff_ffff_ffff_0000,
            (None, _) => low | 0xffff_ffff_0000_0000,
        };
        let size = mask.wrapping_neg();
        match mask {
            0 => Ok(None),
            _ if size.is_power_of_two() => Ok(Some(size)),
            _ => Err(self.error(&format!(
                "its size is no power of two: all ones written, mask {mask:#x} read back"
            ))),
        }
    }

    /// Finds its size and gives it an address. The function must not respond meanwhile.
    fn place(&self) -> Result<Rc<Bar>> {
        let size = self
            .size()?
            .ok_or_else(|| self.error("it is not implemented: no bit of it can be set"))?;
        let (bus, space) = (self.device.bus().clone(), self.space());
        let address = bus.windows().take(space, size).map_err(|e| self.error(&e.to_string()))?;
        // From here on dropping it gives the address back.
        let bar = Rc::new(Bar { bus, space, address, size });
        match self.write(address)? {
            now if now == address => Ok(bar),
            now => Err(self.error(&format!("wrote {address:#x}, read back {now:#x}"))),
        }
    }
}

/// What a base address register says of itself when it is asked for its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BarSize {
    /// The space it maps into.
    pub space: Space,
    /// Whether the next register holds the upper half of its address.
    pub is_64: bool,
    /// Its size in bytes, a power of two.
    pub size: u64,
}

impl BarSize {
    /// Sizes BAR `number` as PCI 3.0, 6.2.5.1 says: `None` if there is none. The function
    /// decodes no address meanwhile; the register and Command are then as they were.
    pub(super) fn ask(device: &PciDevice, number: u8) -> Result<Option<Self>> {
        let slot = Slot::new(device, number)?;
        let command = device.config_read16(regs::COMMAND)?;
        device.config_write16(regs::COMMAND, command & !DECODE)?;
        let size = slot.size();
        slot.restore()?;
        device.config_write16(regs::COMMAND, command)?;
        let (space, is_64) = (slot.space(), slot.upper.is_some());
        Ok(size?.map(|size| Self { space, is_64, size }))
    }
}

impl Bar {
    /// Sizes BAR `number` as PCI 3.0, 6.2.5.1 says, gives it an address and lets the
    /// function respond to it. After an error everything is as it was.
    pub(super) fn map(device: &PciDevice, number: u8) -> Result<Rc<Self>> {
        let slot = Slot::new(device, number)?;
        // The function must not answer at the address that sizing makes of it.
        let command = device.config_read16(regs::COMMAND)?;
        device.config_write16(regs::COMMAND, command & !DECODE)?;
        let placed = slot.place();
        let enable = match &placed {
            Ok(bar) if bar.space == Space::Io => regs::COMMAND_IO,
            Ok(_) => regs::COMMAND_MEMORY,
            Err(_) => {
                // The first error says more than one of these would.
                let _ = slot.restore();
                let _ = device.config_write16(regs::COMMAND, command);
                return placed;
            }
        };
        device.config_write16(regs::COMMAND, command | enable)?;
        placed
    }

    /// The space it is in.
    pub fn space(&self) -> Space {
        self.space
    }

    /// Its bus address.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Its size in bytes, a power of two.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bus address of `width` at `offset`.
    fn at(&self, offset: u64, width: Width) -> Result<u64> {
        match offset.checked_add(width.bytes() as u64) {
            Some(end) if end <= self.size => Ok(self.address + offset),
            _ => Err(Error::failed(format!(
                "{} bytes at offset {offset:#x} are not in a BAR of {:#x} bytes",
                width.bytes(),
                self.size
            ))),
        }
    }
}

impl Registers for Bar {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        self.bus.space(self.space).read(self.at(offset, width)?, width)
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        self.bus.space(self.space).write(self.at(offset, width)?, width, value)
    }

    fn sequence(&self, accesses: &[Access]) -> Result<Vec<u64>> {
        let there = |access: &Access| -> Result<Access> {
            Ok(match *access {
                Access::Read(offset, width) => Access::Read(self.at(offset, width)?, width),
                Access::Write(offset, width, value) => {
                    Access::Write(self.at(offset, width)?, width, value)
                }
            })
        };
        let accesses = accesses.iter().map(there).collect::<Result<Vec<_>>>()?;
        self.bus.space(self.space).sequence(&accesses)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bus.windows().give(self.space, self.address);
    }
}

#[cfg(test)]
mod tests;
