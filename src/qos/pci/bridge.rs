//! PCI-to-PCI bridges: the type 1 header (PCI-to-PCI Bridge Architecture Specification 1.2,
//! chapter 3), and the bus behind one. A device on that bus is reached like any other, once
//! the bridge has its bus numbers and its windows are open.

use std::rc::Rc;

use super::{PciAddress, PciBus, PciDevice, Space, Windows, regs};
use crate::qos::interrupt::InterruptLine;
use crate::qos::registers::{Registers, Width};
use crate::{Error, Result};

/// Primary Bus Number, 8 bits (3.2.5.2).
pub const PRIMARY_BUS: u16 = 0x18;
/// Secondary Bus Number, 8 bits (3.2.5.3).
pub const SECONDARY_BUS: u16 = 0x19;
/// Subordinate Bus Number, 8 bits (3.2.5.4).
pub const SUBORDINATE_BUS: u16 = 0x1a;
/// I/O Base, 8 bits; I/O Limit follows (3.2.5.6). Bits 7:4 are address bits 15:12.
pub const IO_BASE: u16 = 0x1c;
/// I/O Limit, 8 bits.
pub const IO_LIMIT: u16 = 0x1d;
/// Memory Base, 16 bits; Memory Limit follows (3.2.5.8). Bits 15:4 are address bits 31:20.
pub const MEMORY_BASE: u16 = 0x20;
/// Memory Limit, 16 bits.
pub const MEMORY_LIMIT: u16 = 0x22;
/// Prefetchable Memory Base, 16 bits (3.2.5.9).
pub const PREFETCHABLE_BASE: u16 = 0x24;
/// Prefetchable Memory Limit, 16 bits.
pub const PREFETCHABLE_LIMIT: u16 = 0x26;
/// Prefetchable Base Upper 32 Bits (3.2.5.10); the limit's follow.
pub const PREFETCHABLE_BASE_UPPER: u16 = 0x28;
/// Prefetchable Limit Upper 32 Bits.
pub const PREFETCHABLE_LIMIT_UPPER: u16 = 0x2c;
/// I/O Base Upper 16 Bits (3.2.5.11); the limit's follow.
pub const IO_BASE_UPPER: u16 = 0x30;
/// I/O Limit Upper 16 Bits.
pub const IO_LIMIT_UPPER: u16 = 0x32;
/// Bridge Control, 16 bits (3.2.5.18).
pub const BRIDGE_CONTROL: u16 = 0x3e;

/// Bridge Control: the secondary bus is in reset.
pub const SECONDARY_BUS_RESET: u16 = 1 << 6;

/// The layout of a header that is a bridge's (3.2.3.4).
pub const HEADER_BRIDGE: u8 = 1;

/// The granularity of the I/O window, in bytes.
const IO_STEP: u64 = 0x1000;
/// How much of the parent's memory a bridge gets, in bytes.
const MEMORY_SIZE: u64 = 0x400_0000;

/// A bridge with its windows open, and the bus behind it. Addresses on that bus are those of
/// the primary bus, as far as the windows let them through.
pub struct Bridge {
    device: PciDevice,
    parent: Rc<dyn PciBus>,
    number: u8,
    subordinate: u8,
    windows: Windows,
    io: (u64, u64),
    memory: (u64, u64),
}

impl Bridge {
    /// Gives the bridge the bus number `secondary` and windows out of those of its bus, and
    /// opens it. Bridges up to the number `subordinate` may be behind it.
    ///
    /// # Errors
    /// Returns [`Error::Failed`] if its header is not a bridge's, if a register does not keep
    /// what is written, or if its bus has no room for the windows.
    pub fn open(device: PciDevice, secondary: u8, subordinate: u8) -> Result<Self> {
        let at = device.address();
        let layout = device.config_read8(regs::HEADER_TYPE)? & regs::HEADER_LAYOUT;
        if layout != HEADER_BRIDGE {
            return Err(Error::failed(format!("{at}: header type {layout:#x} is no bridge's")));
        }
        let parent = device.bus().clone();
        let io = match parent.windows().has_ports() {
            true => (parent.windows().take(Space::Io, IO_STEP)?, IO_STEP),
            false => (0, 0),
        };
        let memory = (parent.windows().take(Space::Memory, MEMORY_SIZE)?, MEMORY_SIZE);
        let windows = Windows::new(io, memory);
        let number = secondary;
        let bridge = Self { device, parent, number, subordinate, windows, io, memory };
        bridge.set_numbers(secondary, subordinate)?;
        bridge.open_windows()?;
        bridge.device.enable()?;
        Ok(bridge)
    }

    /// The bridge as a function of its primary bus.
    pub fn device(&self) -> &PciDevice {
        &self.device
    }

    /// The I/O window: start and length, in bytes.
    pub fn io(&self) -> (u64, u64) {
        self.io
    }

    /// The memory window: start and length, in bytes.
    pub fn memory(&self) -> (u64, u64) {
        self.memory
    }

    /// Writes the three bus numbers.
    ///
    /// # Errors
    /// Returns [`Error::Failed`] if one reads back as another.
    pub fn set_numbers(&self, secondary: u8, subordinate: u8) -> Result<()> {
        let primary = self.device.address().bus;
        let numbers =
            [(PRIMARY_BUS, primary), (SECONDARY_BUS, secondary), (SUBORDINATE_BUS, subordinate)];
        numbers.into_iter().try_for_each(|(register, number)| {
            self.device.config_write8(register, number)?;
            match self.device.config_read8(register)? {
                now if now == number => Ok(()),
                now => Err(self.differs(register, number.into(), now.into())),
            }
        })
    }

    fn differs(&self, register: u16, written: u32, now: u32) -> Error {
        Error::failed(format!(
            "{}: wrote {written:#x} to register {register:#x}, read back {now:#x}",
            self.device.address()
        ))
    }

    /// Opens the windows for the bus behind it, and closes that for prefetchable memory.
    ///
    /// # Errors
    /// Returns [`Error::Failed`] if a base or limit reads back as another.
    pub fn open_windows(&self) -> Result<()> {
        self.set_io_window(self.io)?;
        self.set_memory_window(MEMORY_BASE, self.memory)?;
        self.set_memory_window(PREFETCHABLE_BASE, (0, 0))
    }

    /// Sets the I/O window to a start and a length, multiples of 4 KiB; closes it if the
    /// length is 0.
    ///
    /// # Errors
    /// Returns [`Error::Failed`] if base or limit reads back as another.
    pub fn set_io_window(&self, (start, length): (u64, u64)) -> Result<()> {
        // A base above the limit is a window that is closed (3.2.5.6).
        let (base, limit) = match length {
            0 => (0xf000, 0),
            _ => (start, start + length - 1),
        };
        let registers = [(IO_BASE, IO_BASE_UPPER, base), (IO_LIMIT, IO_LIMIT_UPPER, limit)];
        registers.into_iter().try_for_each(|(register, upper, address)| {
            let (low, high) = ((address >> 8) as u8 & 0xf0, (address >> 16) as u16);
            self.device.config_write8(register, low)?;
            let now = self.device.config_read8(register)?;
            if now & 0xf0 != low {
                return Err(self.differs(register, low.into(), now.into()));
            }
            // Bits 3:0 say whether the window is of 32 bits; then there is an upper half.
            if now & 0xf == 1 {
                self.device.config_write16(upper, high)?;
                let now = self.device.config_read16(upper)?;
                if now != high {
                    return Err(self.differs(upper, high.into(), now.into()));
                }
            }
            Ok(())
        })
    }

    /// Sets the window at `register`, [`MEMORY_BASE`] or [`PREFETCHABLE_BASE`], to a start and
    /// a length, multiples of 1 MiB; closes it if the length is 0.
    ///
    /// # Errors
    /// Returns [`Error::Failed`] if base or limit reads back as another.
    pub fn set_memory_window(&self, register: u16, (start, length): (u64, u64)) -> Result<()> {
        let (base, limit) = match length {
            0 => (0xfff0_0000, 0),
            _ => (start, start + length - 1),
        };
        let registers = [(register, base), (register + 2, limit)];
        registers.into_iter().try_for_each(|(register, address)| {
            let value = (address >> 16) as u16 & 0xfff0;
            self.device.config_write16(register, value)?;
            match self.device.config_read16(register)? {
                now if now & 0xfff0 == value => Ok(()),
                now => Err(self.differs(register, value.into(), now.into())),
            }
        })
    }
}

impl PciBus for Bridge {
    fn number(&self) -> u8 {
        self.number
    }

    fn config_read(&self, at: PciAddress, register: u16, width: Width) -> Result<u32> {
        self.parent.config_read(at, register, width)
    }

    fn config_write(&self, at: PciAddress, register: u16, width: Width, value: u32) -> Result<()> {
        self.parent.config_write(at, register, width, value)
    }

    fn space(&self, space: Space) -> &dyn Registers {
        self.parent.space(space)
    }

    fn reaches_ram(&self) -> Result<()> {
        self.parent.reaches_ram()
    }

    fn windows(&self) -> &Windows {
        &self.windows
    }

    fn watch_pin(&self, at: PciAddress, pin: u8) -> Result<Option<InterruptLine>> {
        // The pins of a device are turned by its number (2.6, table 9-1).
        self.parent.watch_pin(self.device.address(), (pin + at.device) % 4)
    }

    fn messages_reach_memory(&self) -> bool {
        self.parent.messages_reach_memory()
    }

    fn lowers_lines_in_reset(&self) -> bool {
        self.parent.lowers_lines_in_reset()
    }

    fn reopen(&self) -> Result<()> {
        self.parent.reopen()?;
        self.set_numbers(self.number, self.subordinate)?;
        self.open_windows()?;
        self.device.enable()
    }

    fn numbers_bridges(&self) -> bool {
        self.parent.numbers_bridges()
    }

    fn bridge(&self) -> Option<&Bridge> {
        Some(self)
    }

    fn free_slot(&self) -> Option<PciAddress> {
        None
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if self.io.1 > 0 {
            self.parent.windows().give(Space::Io, self.io.0);
        }
        self.parent.windows().give(Space::Memory, self.memory.0);
    }
}
