//! The EMC1414 temperature sensor with four channels (Microchip, data sheet DS20005274A).

use std::rc::Rc;

use crate::graph::{Consumes, QemuArgs, Site};
use crate::protocol::Endian;
use crate::qos::i2c::{I2cBus, I2cDevice};
use crate::qos::qom::Peripheral;
use crate::qos::registers::Registers;
use crate::{Result, driver};

/// The registers of a channel, 8 bits each, in whole degrees Celsius.
#[derive(Debug, Clone, Copy)]
pub struct Channel {
    /// The temperature, read-only (6.1). QEMU has no low byte with fractions.
    pub temperature: u64,
    /// The high limit (6.5).
    pub high_limit: u64,
    /// The low limit (6.5).
    pub low_limit: u64,
}

/// The internal diode, then the three external ones.
pub const CHANNELS: [Channel; 4] = [
    Channel { temperature: 0x00, high_limit: 0x05, low_limit: 0x06 },
    Channel { temperature: 0x01, high_limit: 0x07, low_limit: 0x08 },
    Channel { temperature: 0x23, high_limit: 0x15, low_limit: 0x16 },
    Channel { temperature: 0x2a, high_limit: 0x2c, low_limit: 0x2d },
];

/// Product ID, read-only: 0x25 for this member of the family.
pub const PRODUCT_ID: u64 = 0xfd;
/// Manufacturer ID, read-only: 0x5d.
pub const MANUFACTURER_ID: u64 = 0xfe;
/// Revision, read-only.
pub const REVISION: u64 = 0xff;

/// QEMU's `emc1414`.
pub struct Emc1414 {
    device: I2cDevice,
    outside: Peripheral,
}

impl Consumes<dyn I2cBus> for Emc1414 {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},address={addr},id=emc1414").at("0x70");

    fn attach(bus: Rc<dyn I2cBus>, site: &Site) -> Result<Self> {
        Ok(Self {
            device: I2cDevice::plugged(bus, site, Endian::Big)?,
            outside: Peripheral::new(site.vm, "emc1414"),
        })
    }
}

driver!(Emc1414 = "emc1414"; consumes dyn I2cBus);

impl Emc1414 {
    /// Its registers.
    pub fn registers(&self) -> &dyn Registers {
        self.device.registers()
    }

    /// Makes a channel as warm as that, in thousandths of a degree Celsius.
    ///
    /// # Errors
    /// QEMU refuses what the register cannot hold.
    pub fn set_temperature(&self, channel: usize, millidegrees: i64) -> Result<()> {
        self.outside.set(&format!("temperature{channel}"), millidegrees)
    }

    /// How warm a channel is, in thousandths of a degree Celsius.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn temperature(&self, channel: usize) -> Result<i64> {
        self.outside.get(&format!("temperature{channel}"))
    }
}
