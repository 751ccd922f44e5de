//! The two 8237A DMA controllers of a PC (Intel, 8237A data sheet, 231466-005), of which the second
//! moves words, with the page registers beside them (Intel, 82371SB data sheet, 2.5.1).

use std::rc::Rc;

use vm_memory::GuestAddress;

use crate::graph::{Discovered, FoundDevice};
use crate::qemu::Vm;
use crate::qos::registers::{Ports, Register, Registers, RegistersExt};
use crate::{Error, Result, discovered, driver};

/// How many channels both have together; the fifth connects the controllers.
pub const CHANNELS: usize = 8;

/// The page registers of the channels; that of channel 4 is the refresh's.
const PAGES: [u64; CHANNELS] = [0x87, 0x83, 0x81, 0x82, 0x8f, 0x8b, 0x89, 0x8a];

/// A register of a controller, by its number from 0 to 15.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Command, and status when it is read.
    Command = 8,
    /// Software requests.
    Request = 9,
    /// The mask of one channel.
    SingleMask = 10,
    /// The mode of one channel.
    Mode = 11,
    /// Clears the flip-flop that says which byte comes next.
    ClearFlipFlop = 12,
    /// Resets the controller.
    MasterClear = 13,
    /// Clears the masks of all channels.
    ClearMask = 14,
    /// The masks of all channels.
    AllMasks = 15,
}

/// QEMU's two `i8257`.
pub struct I8257 {
    ports: Rc<Ports>,
}

/// What a channel does with the bytes of a device: the transfer of its mode, in bits 3:2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// Addresses are counted, and neither memory nor the device is read or written.
    Verify = 0,
    /// From the device to memory.
    ToMemory = 1,
    /// From memory to the device.
    ToDevice = 2,
}

impl I8257 {
    /// The controllers of a PC.
    pub fn of_pc(vm: &Rc<Vm>) -> Self {
        Self { ports: Rc::new(Ports::new(vm, 0)) }
    }

    /// Gives a channel of bytes memory for one transfer, byte by byte as the device asks for them.
    ///
    /// # Errors
    /// Returns an error if the channel does not reach the memory.
    pub fn give(
        &self,
        channel: usize,
        transfer: Transfer,
        start: GuestAddress,
        length: usize,
    ) -> Result<()> {
        let (start, length) = (start.0, length as u64);
        let [low, middle, page, 0, 0, 0, 0, 0] = start.to_le_bytes() else {
            return Err(Error::failed(format!("channel {channel} does not reach {start:#x}")));
        };
        if start >> 16 != (start + length - 1) >> 16 {
            return Err(Error::failed(format!("{length} bytes at {start:#x} cross a page")));
        }
        let number = channel as u8 % 4;
        self.set(channel / 4, Control::SingleMask, 4 | number)?;
        self.set(channel / 4, Control::Mode, 0x40 | (transfer as u8) << 2 | number)?;
        self.set_word(channel, false, u16::from_le_bytes([low, middle]))?;
        self.set_word(channel, true, (length - 1) as u16)?;
        self.ports().set(Self::page(channel), page)?;
        self.set(channel / 4, Control::SingleMask, number)
    }

    /// The ports, by their numbers.
    pub fn ports(&self) -> &dyn Registers {
        &*self.ports
    }

    /// The port of register `number` of a controller.
    fn port(controller: usize, number: u64) -> Register<u8> {
        let at = if controller == 0 { number } else { 0xc0 + number * 2 };
        Register::new("port", at)
    }

    /// Writes a register of controller 0 or 1.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set(&self, controller: usize, register: Control, value: u8) -> Result<()> {
        self.ports().set(Self::port(controller, register as u64), value)
    }

    /// Reads a register of controller 0 or 1.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn get(&self, controller: usize, register: Control) -> Result<u8> {
        self.ports().get(Self::port(controller, register as u64))
    }

    /// The port of a channel's address or count.
    fn of_channel(channel: usize, is_count: bool) -> Register<u8> {
        Self::port(channel / 4, (channel % 4 * 2 + usize::from(is_count)) as u64)
    }

    /// Writes the next byte of a channel's base and current address or count.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set_byte(&self, channel: usize, is_count: bool, value: u8) -> Result<()> {
        self.ports().set(Self::of_channel(channel, is_count), value)
    }

    /// Reads the next byte of a channel's current address or count.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn byte(&self, channel: usize, is_count: bool) -> Result<u8> {
        self.ports().get(Self::of_channel(channel, is_count))
    }

    /// Writes both bytes, the lower first.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set_word(&self, channel: usize, is_count: bool, value: u16) -> Result<()> {
        self.set(channel / 4, Control::ClearFlipFlop, 0)?;
        value.to_le_bytes().into_iter().try_for_each(|it| self.set_byte(channel, is_count, it))
    }

    /// Reads both bytes, the lower first.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn word(&self, channel: usize, is_count: bool) -> Result<u16> {
        self.set(channel / 4, Control::ClearFlipFlop, 0)?;
        Ok(u16::from_le_bytes([self.byte(channel, is_count)?, self.byte(channel, is_count)?]))
    }

    /// The page register of a channel.
    pub fn page(channel: usize) -> Register<u8> {
        Register::new("page", PAGES[channel])
    }

    /// The masks of a controller's channels, at the port where QEMU shows them, of which the data
    /// sheet says nothing.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn masks(&self, controller: usize) -> Result<u8> {
        Ok(self.get(controller, Control::Request)? & 0xf)
    }
}

impl Discovered for I8257 {
    const QOM_TYPES: &'static [&'static str] = &["i8257"];

    fn drives(device: &FoundDevice) -> bool {
        // The ports of a PC alone are where tests look for them. Both controllers are one.
        let mut apics = device.machine().devices_of("ioapic");
        let is_first = device.number("dshift") == Some(0);
        device.is_a("i8257") && is_first && apics.next().is_some()
    }

    fn found(_: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        Ok(Self::of_pc(vm))
    }
}

driver!(I8257 = "i8257");
discovered!(I8257);
