//! The AT24C32 EEPROM of 4096 bytes (Microchip, data sheet 20006259): a memory on an I2C bus, to
//! which transfers of every length can be made.

use std::rc::Rc;

use crate::graph::{Consumes, QemuArgs, Site};
use crate::protocol::Endian;
use crate::qos::i2c::{I2cBus, I2cChannel, I2cDevice};
use crate::{Result, driver};

/// How many bytes it has.
pub const SIZE: usize = 4096;

/// QEMU's `at24c-eeprom`.
pub struct At24c {
    device: I2cDevice,
}

impl Consumes<dyn I2cBus> for At24c {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},address={addr},rom-size=4096").at("0x57");

    fn attach(bus: Rc<dyn I2cBus>, site: &Site) -> Result<Self> {
        // The memory is kept when the power is off.
        site.vm.note_lasting("what an EEPROM keeps");
        Ok(Self { device: I2cDevice::plugged(bus, site, Endian::Big)? })
    }
}

impl Consumes<I2cChannel> for At24c {
    const ARGS: QemuArgs = <Self as Consumes<dyn I2cBus>>::ARGS;

    fn attach(channel: Rc<I2cChannel>, site: &Site) -> Result<Self> {
        <Self as Consumes<dyn I2cBus>>::attach(channel.0.clone(), site)
    }
}

driver!(At24c = "at24c-eeprom"; consumes dyn I2cBus, I2cChannel);

impl At24c {
    /// The device on its bus.
    pub fn device(&self) -> &I2cDevice {
        &self.device
    }

    /// Writes bytes from `at` on. Unlike the chip, which wraps around at the end of a page of 32
    /// bytes, QEMU goes on to the next.
    ///
    /// # Errors
    /// Not acknowledged.
    pub fn write(&self, at: u16, data: &[u8]) -> Result<()> {
        self.device.send(&[&at.to_be_bytes(), data].concat())
    }

    /// Fills `into` with the bytes from `at` on: a write of the address, a stop, a read.
    ///
    /// # Errors
    /// Not acknowledged.
    pub fn read(&self, at: u16, into: &mut [u8]) -> Result<()> {
        self.device.send(&at.to_be_bytes())?;
        self.device.bus().recv(self.device.address(), into)
    }

    /// The same with a repeated start instead of the stop ("Random Read").
    ///
    /// # Errors
    /// Not acknowledged.
    pub fn read_at_once(&self, at: u16, into: &mut [u8]) -> Result<()> {
        self.device.bus().send_recv(self.device.address(), &at.to_be_bytes(), into)
    }
}
