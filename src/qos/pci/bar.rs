//! A base address register, sized and mapped.

use std::rc::Rc;

use super::regs;
use super::{PciBus, PciDevice, Space};
use crate::qos::registers::{Registers, Width};
use crate::{Error, Result};

/// The registers behind a base address register.
pub struct Bar {
    bus: Rc<dyn PciBus>,
    space: Space,
    address: u64,
    size: u64,
}

impl Bar {
    /// Sizes BAR `number` as PCI 3.0, 6.2.5.1 says, gives it an address and lets the
    /// function respond to it.
    pub(super) fn map(device: &PciDevice, number: u8) -> Result<Rc<Self>> {
        let register = regs::BASE_ADDRESS_0 + 4 * u16::from(number);
        let original = device.config_read32(register)?;
        // The function must not answer at the address that sizing makes of it.
        let command = device.config_read16(regs::COMMAND)?;
        let decode = regs::COMMAND_IO | regs::COMMAND_MEMORY;
        device.config_write16(regs::COMMAND, command & !decode)?;

        let is_io = original & regs::BASE_ADDRESS_SPACE_IO != 0;
        let is_64 =
            !is_io && original & regs::BASE_ADDRESS_MEM_TYPE == regs::BASE_ADDRESS_MEM_TYPE_64;
        let (space, flags, enable) = match is_io {
            true => (Space::Io, regs::BASE_ADDRESS_IO_FLAGS, regs::COMMAND_IO),
            false => (Space::Memory, regs::BASE_ADDRESS_MEM_FLAGS, regs::COMMAND_MEMORY),
        };
        device.config_write32(register, !0)?;
        let low = device.config_read32(register)? & !flags;
        let mask = if is_64 {
            device.config_write32(register + 4, !0)?;
            u64::from(device.config_read32(register + 4)?) << 32 | u64::from(low)
        } else if low == 0 {
            0
        } else {
            // The upper bits of an I/O BAR may be hardwired to zero.
            let upper = if is_io && low >> 16 == 0 { 0xffff_0000 } else { 0 };
            u64::from(low | upper) | 0xffff_ffff_0000_0000
        };
        let size = mask.wrapping_neg();
        if mask == 0 || !size.is_power_of_two() {
            return Err(Error::failed(format!(
                "{}: BAR {number} is not there, or its size is none: original {original:#x}, \
                 mask {mask:#x}",
                device.address()
            )));
        }
        let bus = device.bus().clone();
        let address = bus.windows().take(space, size)?;
        // From here on dropping it gives the address back.
        let bar = Rc::new(Self { bus, space, address, size });
        device.config_write32(register, address as u32)?;
        if is_64 {
            device.config_write32(register + 4, (address >> 32) as u32)?;
        }
        let now = device.config_read32(register)? & !flags;
        if now != address as u32 {
            return Err(Error::failed(format!(
                "{}: wrote {address:#x} to BAR {number}, read back {now:#x}",
                device.address()
            )));
        }
        device.config_write16(regs::COMMAND, command | enable)?;
        Ok(bar)
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
}

impl Registers for Bar {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        self.bus.space_read(self.space, self.address + offset, width)
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        self.bus.space_write(self.space, self.address + offset, width, value)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bus.windows().give(self.space, self.address);
    }
}
