//! The enhanced configurable SPI of the i.MX chips (i.MX6 Dual/Quad reference manual, chapter 21).

use std::cell::Cell;
use std::rc::Rc;

use crate::drivers::spi::slot;
use crate::graph::{Discovered, FoundDevice, Plug, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::registers::{Mmio, Register, RegistersExt};
use crate::qos::spi::{Chip, SpiController, SpiSlot};
use crate::qos::wait_until;
use crate::{Error, Result, discovered, driver};

/// Takes a word that was received.
const RXDATA: Register<u32> = Register::new("ECSPI_RXDATA", 0x00).section("21.7.1");
/// Sends a word.
const TXDATA: Register<u32> = Register::new("ECSPI_TXDATA", 0x04).section("21.7.2");
/// Control.
const CONREG: Register<u32> = Register::new("ECSPI_CONREG", 0x08).section("21.7.3");
/// Status.
const STATREG: Register<u32> = Register::new("ECSPI_STATREG", 0x18).section("21.7.7");

/// CONREG: the block is on.
const ENABLE: u32 = 1 << 0;
/// CONREG: what is written is sent at once.
const AT_ONCE: u32 = 1 << 3;
/// CONREG: all channels are masters.
const MASTERS: u32 = 0xf << 4;
/// CONREG: which channel.
const CHANNEL_SHIFT: usize = 18;
/// CONREG: bursts of eight bits.
const BYTES: u32 = 7 << 20;
/// STATREG: there is a word to take.
const RECEIVED: u32 = 1 << 3;
/// STATREG: the last word is sent; a one clears.
const SENT: u32 = 1 << 7;

/// Data of the pins of a GPIO port.
const DR: Register<u32> = Register::new("GPIO_DR", 0x00).section("28.5.1");
/// Which of them are outputs.
const GDIR: Register<u32> = Register::new("GPIO_GDIR", 0x04).section("28.5.2");

/// The pin of a GPIO port by which a board selects a chip: low is selected.
struct Pin {
    port: Mmio,
    bit: u32,
}

impl Pin {
    /// The pin that leads to the chip select of `chip`.
    fn of(device: &FoundDevice, chip: &Chip, vm: &Rc<Vm>) -> Option<Self> {
        let input = format!("{}/ssi-gpio-cs[0]", chip.path);
        device.machine().devices.iter().find_map(|port| {
            let mut ends = port.outputs.iter().flat_map(|output| &output.connected);
            let (bit, _) = ends.find(|(_, end)| **end == *input)?;
            let base = port.registers().next()?.base;
            (*port.ty == *"imx.gpio")
                .then(|| Self { port: Mmio::new(vm, base, Endian::Little), bit: 1 << bit })
        })
    }

    fn set(&self, is_high: bool) -> Result<()> {
        let other = self.port.get(DR)? & !self.bit;
        self.port.set(DR, other | if is_high { self.bit } else { 0 })?;
        let outputs = self.port.get(GDIR)?;
        self.port.set(GDIR, outputs | self.bit)
    }
}

/// QEMU's `imx.spi`. The board selects its chip by a pin, or by the channel that is chosen.
pub struct ImxSpi {
    registers: Mmio,
    chip: Option<Chip>,
    pin: Option<Pin>,
    is_selected: Cell<bool>,
}

impl ImxSpi {
    fn set_pin(&self, is_high: bool) -> Result<()> {
        self.pin.as_ref().map_or(Ok(()), |pin| pin.set(is_high))
    }

    fn transfer(&self, byte: u8) -> Result<u8> {
        let registers = &self.registers;
        if !self.is_selected.get() {
            return Err(Error::failed("no chip is selected"));
        }
        registers.set(TXDATA, byte.into())?;
        wait_until(registers.vm(), "a byte to be sent and received", || {
            Ok(registers.get(STATREG)? & (SENT | RECEIVED) == SENT | RECEIVED)
        })?;
        registers.set(STATREG, SENT)?;
        let read = registers.get(RXDATA)?;
        match registers.get(STATREG)? & (SENT | RECEIVED) {
            0 => Ok(read as u8),
            left => Err(Error::failed(format!("one byte was sent, and the status is {left:#x}"))),
        }
    }
}

impl SpiController for ImxSpi {
    fn vm(&self) -> &Rc<Vm> {
        self.registers.vm()
    }

    fn select(&self, number: usize) -> Result<()> {
        self.is_selected.set(true);
        let channel = (number as u32) << CHANNEL_SHIFT;
        self.registers.set(CONREG, BYTES | channel | MASTERS | AT_ONCE | ENABLE)?;
        self.set_pin(false)
    }

    fn deselect(&self) -> Result<()> {
        self.is_selected.set(false);
        self.set_pin(true)?;
        self.registers.set(CONREG, 0)
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        bytes.iter().try_for_each(|byte| self.transfer(*byte).map(drop))
    }

    fn receive(&self, length: usize) -> Result<Vec<u8>> {
        (0..length).map(|_| self.transfer(0xff)).collect()
    }
}

impl Produces<SpiSlot> for ImxSpi {
    fn produced(self: Rc<Self>) -> Rc<SpiSlot> {
        Rc::new(SpiSlot { chip: self.chip.clone(), controller: self })
    }
}

impl Discovered for ImxSpi {
    const QOM_TYPES: &'static [&'static str] = &["imx.spi"];

    fn plug(device: &FoundDevice) -> Plug {
        slot::of(device)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let chip = slot::chip(device);
        Ok(Self {
            registers: Mmio::new(vm, device.base()?, Endian::Little),
            pin: chip.as_ref().and_then(|chip| Pin::of(device, chip, vm)),
            chip,
            is_selected: Cell::default(),
        })
    }
}

driver!(ImxSpi = "imx.spi"; produces SpiSlot);
discovered!(ImxSpi);
