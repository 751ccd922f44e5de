//! The SJA1000, a stand-alone CAN controller (NXP data sheet "SJA1000", 2000 Jan 04, whose sections
//! are cited), and two of them on one bus.

use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos::pci::PciDevice;
use crate::qos::registers::{Registers, Width};
use crate::{Result, interface};

/// Mode; in BasicCAN, Control.
pub const MOD: u64 = 0;
/// Command.
pub const CMR: u64 = 1;
/// Status.
pub const SR: u64 = 2;
/// Interrupt; a read clears all but that of reception.
pub const IR: u64 = 3;
/// Interrupt enable.
pub const IER: u64 = 4;
/// Bus timing 0 and 1, output control.
pub const TIMING: [u64; 3] = [6, 7, 8];
/// Frames, and in reset mode acceptance code and mask.
pub const FRAME: u64 = 16;
/// How many messages there are.
pub const RMC: u64 = 29;
/// Clock divider: PeliCAN.
pub const CDR: u64 = 31;

/// MOD: reset mode; listen only; self test; one acceptance filter.
pub const RESET_MODE: u8 = 1 << 0;
/// Listen only.
pub const LISTEN_ONLY: u8 = 1 << 1;
/// Self test.
pub const SELF_TEST: u8 = 1 << 2;
/// One acceptance filter.
pub const SINGLE_FILTER: u8 = 1 << 3;
/// CMR: transmit; release the receive buffer; clear the data overrun; receive one's own.
pub const TRANSMIT: u8 = 1 << 0;
/// Release the receive buffer.
pub const RELEASE: u8 = 1 << 2;
/// Clear the data overrun.
pub const CLEAR_OVERRUN: u8 = 1 << 3;
/// Receive one's own frame.
pub const SELF_RECEPTION: u8 = 1 << 4;
/// SR: a message is there; one was lost; the transmit buffer is free; a transmission is complete.
pub const RECEIVED: u8 = 1 << 0;
/// A message was lost.
pub const OVERRUN: u8 = 1 << 1;
/// The transmit buffer is free, and the transmission complete.
pub const SENT: u8 = 0b11 << 2;
/// IR and IER: reception; transmission; data overrun.
pub const BY_RECEPTION: u8 = 1 << 0;
/// Transmission.
pub const BY_TRANSMISSION: u8 = 1 << 1;
/// Data overrun.
pub const BY_OVERRUN: u8 = 1 << 3;
/// CDR: PeliCAN, not BasicCAN.
pub const PELICAN: u8 = 1 << 7;

/// The bytes that the receive FIFO has (6.4.13).
pub const FIFO: usize = 64;

/// A frame (6.4.13).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The identifier.
    pub id: u32,
    /// Whether it has 29 bits, not 11.
    pub is_extended: bool,
    /// Whether it asks for data.
    pub is_remote: bool,
    /// The data length code.
    pub length: u8,
    /// The data.
    pub data: Vec<u8>,
}

impl Frame {
    /// A frame with data and an identifier of 11 bits.
    pub fn new(id: u32, data: &[u8]) -> Self {
        let (length, data) = (data.len() as u8, data.to_vec());
        Self { id, is_extended: false, is_remote: false, length, data }
    }

    /// This frame with the identifier `id`, of 29 bits.
    #[must_use]
    pub fn extended(self, id: u32) -> Self {
        Self { id, is_extended: true, ..self }
    }

    /// The bytes of it in the buffers of PeliCAN (6.4.13).
    pub fn bytes(&self) -> Vec<u8> {
        let flags = u8::from(self.is_extended) << 7 | u8::from(self.is_remote) << 6;
        let id = if self.is_extended { self.id << 3 } else { self.id << 21 }.to_be_bytes();
        let id = if self.is_extended { &id[..] } else { &id[..2] };
        [&[flags | self.length], id, &self.data].concat()
    }
}

/// One controller.
pub struct Sja1000 {
    registers: Rc<dyn Registers>,
    /// How far one register is from the next, in bytes.
    stride: u64,
}

impl Sja1000 {
    /// The controller with these registers.
    pub fn new(registers: Rc<dyn Registers>, stride: u64) -> Self {
        Self { registers, stride }
    }

    /// Reads a register.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn get(&self, register: u64) -> Result<u8> {
        Ok(self.registers.read(register * self.stride, Width::Byte)? as u8)
    }

    /// Writes a register.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set(&self, register: u64, value: u8) -> Result<()> {
        self.registers.write(register * self.stride, Width::Byte, value.into())
    }

    /// Reads registers one behind the other.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn read(&self, first: u64, count: usize) -> Result<Vec<u8>> {
        (first..first + count as u64).map(|register| self.get(register)).collect()
    }

    /// Writes registers one behind the other.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn write(&self, first: u64, bytes: &[u8]) -> Result<()> {
        (first..).zip(bytes).try_for_each(|(register, byte)| self.set(register, *byte))
    }

    /// Makes it take part in the traffic, as PeliCAN, in this mode, with these acceptance code and
    /// mask.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn start(&self, mode: u8, acceptance: [u8; 8]) -> Result<()> {
        self.set(MOD, RESET_MODE)?;
        self.set(CDR, PELICAN)?;
        self.set(MOD, RESET_MODE)?;
        self.set(IER, 0)?;
        self.write(FRAME, &acceptance)?;
        self.set(MOD, mode | RESET_MODE)?;
        self.set(MOD, mode)?;
        self.get(IR)?;
        Ok(())
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn send(&self, frame: &Frame) -> Result<()> {
        self.write(FRAME, &frame.bytes())?;
        self.set(CMR, TRANSMIT)
    }

    /// The bytes of the first message, `count` of them, which is released.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn take(&self, count: usize) -> Result<Vec<u8>> {
        let bytes = self.read(FRAME, count)?;
        self.set(CMR, RELEASE)?;
        Ok(bytes)
    }
}

/// Two controllers on one bus, behind the first two BARs of a card.
pub struct CanPair {
    /// They.
    controllers: [Sja1000; 2],
    /// The card that they are on.
    pub device: PciDevice,
    stride: u64,
}

interface!(CanPair = "sja1000-pair");

/// An acceptance mask that lets everything through.
pub const ALL: [u8; 8] = [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];

impl CanPair {
    /// The controllers of this card, which is made to answer. Their registers are `stride` bytes
    /// apart.
    ///
    /// # Errors
    /// Returns an error if its BARs cannot be mapped.
    pub fn on(device: &PciDevice, stride: u64) -> Result<Self> {
        let controllers =
            [Sja1000::new(device.map_bar(0)?, stride), Sja1000::new(device.map_bar(1)?, stride)];
        device.enable()?;
        Ok(Self { controllers, device: device.clone(), stride })
    }

    /// The same after a reset of the machine.
    ///
    /// # Errors
    /// Returns an error if the BARs of the card cannot be mapped again.
    pub fn again(&self) -> Result<Self> {
        Self::on(&self.device, self.stride)
    }

    /// Both, taking part in the traffic and receiving everything.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn start(&self, vm: &Vm) -> Result<&[Sja1000; 2]> {
        self.bare(vm).iter().try_for_each(|it| it.start(0, ALL))?;
        Ok(&self.controllers)
    }

    /// Both, as they are.
    pub fn bare(&self, vm: &Vm) -> &[Sja1000; 2] {
        // QEMU's does not begin anew at the start of the FIFO after a reset.
        vm.note_lasting("the place in the FIFO of a CAN controller");
        &self.controllers
    }
}
