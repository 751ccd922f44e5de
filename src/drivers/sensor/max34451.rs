//! The MAX34451 power-supply manager (Maxim Integrated, data sheet
//! "MAX34451"), on PMBus 1.1.

use std::rc::Rc;

use crate::graph::{Consumes, QemuArgs, Site};
use crate::protocol::Endian;
use crate::qos::i2c::{I2cBus, I2cDevice};
use crate::qos::qom::Peripheral;
use crate::qos::registers::{Registers, RegistersExt};
use crate::{Result, driver};

/// Commands by their names and codes in PMBus 1.1, part II, appendix I, and in the data
/// sheet, "PMBus Command Codes".
pub mod command {
    /// Selects the page that the other commands are about.
    pub const PAGE: u64 = 0x00;
    /// Turns a supply on and off.
    pub const OPERATION: u64 = 0x01;
    /// How a supply is turned on and off.
    pub const ON_OFF_CONFIG: u64 = 0x02;
    /// Clears all bits of all status registers; a command without data.
    pub const CLEAR_FAULTS: u8 = 0x03;
    /// What the bus can do, read-only.
    pub const CAPABILITY: u64 = 0x19;
    /// The data format of voltages.
    pub const VOUT_MODE: u64 = 0x20;
    /// Voltage with OPERATION set to margin high.
    pub const VOUT_MARGIN_HIGH: u64 = 0x25;
    /// Voltage with OPERATION set to margin low.
    pub const VOUT_MARGIN_LOW: u64 = 0x26;
    /// Overvoltage fault limit.
    pub const VOUT_OV_FAULT_LIMIT: u64 = 0x40;
    /// Overvoltage warning limit.
    pub const VOUT_OV_WARN_LIMIT: u64 = 0x42;
    /// Undervoltage warning limit.
    pub const VOUT_UV_WARN_LIMIT: u64 = 0x43;
    /// Undervoltage fault limit.
    pub const VOUT_UV_FAULT_LIMIT: u64 = 0x44;
    /// Overtemperature fault limit.
    pub const OT_FAULT_LIMIT: u64 = 0x4f;
    /// Overtemperature warning limit.
    pub const OT_WARN_LIMIT: u64 = 0x51;
    /// Voltage from which on the power is good.
    pub const POWER_GOOD_ON: u64 = 0x5e;
    /// Voltage below which the power is not good.
    pub const POWER_GOOD_OFF: u64 = 0x5f;
    /// The low half of STATUS_WORD.
    pub const STATUS_BYTE: u64 = 0x78;
    /// Which status registers have bits set.
    pub const STATUS_WORD: u64 = 0x79;
    /// Faults of the voltage.
    pub const STATUS_VOUT: u64 = 0x7a;
    /// Faults of the temperature.
    pub const STATUS_TEMPERATURE: u64 = 0x7d;
    /// Voltage, read-only.
    pub const READ_VOUT: u64 = 0x8b;
    /// Current, read-only.
    pub const READ_IOUT: u64 = 0x8c;
    /// Temperature, read-only.
    pub const READ_TEMPERATURE_1: u64 = 0x8d;
    /// The revision of PMBus, read-only.
    pub const PMBUS_REVISION: u64 = 0x98;
    /// The manufacturer, read-only.
    pub const MFR_ID: u64 = 0x99;
    /// The model, read-only.
    pub const MFR_MODEL: u64 = 0x9a;
    /// Settings of the whole device.
    pub const MFR_MODE: u64 = 0xd1;
    /// The highest voltage since it was written.
    pub const MFR_VOUT_PEAK: u64 = 0xd4;
    /// The highest temperature since it was written.
    pub const MFR_TEMPERATURE_PEAK: u64 = 0xd6;
    /// The lowest voltage since it was written.
    pub const MFR_VOUT_MIN: u64 = 0xd7;
}

/// PAGE: writes go to all pages.
pub const ALL_PAGES: u8 = 255;
/// How many pages have a power supply; they come first.
pub const SUPPLIES: u8 = 16;
/// How many pages have a temperature sensor; they come behind.
pub const SENSORS: u8 = 5;

/// OPERATION: on.
pub const ON: u8 = 0x80;

/// STATUS_WORD: see STATUS_VOUT.
pub const STATUS_WORD_VOUT: u16 = 1 << 15;
/// STATUS_WORD and STATUS_BYTE: see STATUS_TEMPERATURE.
pub const STATUS_WORD_TEMPERATURE: u16 = 1 << 2;
/// STATUS_WORD and STATUS_BYTE: a command or data were wrong.
pub const STATUS_WORD_CML: u16 = 1 << 1;

/// STATUS_VOUT: overvoltage fault.
pub const VOUT_OV_FAULT: u8 = 1 << 7;
/// STATUS_VOUT: overvoltage warning.
pub const VOUT_OV_WARNING: u8 = 1 << 6;
/// STATUS_VOUT: undervoltage warning.
pub const VOUT_UV_WARNING: u8 = 1 << 5;
/// STATUS_VOUT: undervoltage fault.
pub const VOUT_UV_FAULT: u8 = 1 << 4;
/// STATUS_TEMPERATURE: overtemperature fault.
pub const OT_FAULT: u8 = 1 << 7;
/// STATUS_TEMPERATURE: overtemperature warning.
pub const OT_WARNING: u8 = 1 << 6;

/// QEMU's `max34451`.
pub struct Max34451 {
    device: I2cDevice,
    outside: Peripheral,
}

impl Consumes<dyn I2cBus> for Max34451 {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},address={addr},id=max34451").at("0x4e");

    fn attach(bus: Rc<dyn I2cBus>, site: &Site) -> Result<Self> {
        Ok(Self {
            device: I2cDevice::plugged(bus, site, Endian::Little)?,
            outside: Peripheral::new(site.vm, "max34451"),
        })
    }
}

driver!(Max34451 = "max34451"; consumes dyn I2cBus);

impl Max34451 {
    /// The device on its bus.
    pub fn device(&self) -> &I2cDevice {
        &self.device
    }

    /// Its commands, those of the page that was selected last.
    pub fn registers(&self) -> &dyn Registers {
        self.device.registers()
    }

    /// Its commands, those of `page`, which becomes the selected one.
    ///
    /// # Errors
    /// Not acknowledged.
    pub fn page(&self, page: u8) -> Result<&dyn Registers> {
        self.registers().write8(command::PAGE, page)?;
        Ok(self.registers())
    }

    /// Has supply number `supply` give that voltage, in millivolts.
    ///
    /// # Errors
    /// There is no such supply.
    pub fn set_vout(&self, supply: u8, millivolts: u16) -> Result<()> {
        self.outside.set(&format!("vout[{supply}]"), millivolts.into())
    }

    /// Makes sensor number `sensor`, that of page 16 + `sensor`, as warm as that, in
    /// hundredths of a degree Celsius.
    ///
    /// # Errors
    /// There is no such sensor.
    pub fn set_temperature(&self, sensor: u8, centidegrees: u16) -> Result<()> {
        self.outside.set(&format!("temperature[{sensor}]"), centidegrees.into())
    }

    /// How warm a sensor is, in hundredths of a degree Celsius.
    ///
    /// # Errors
    /// There is no such sensor.
    pub fn temperature(&self, sensor: u8) -> Result<i64> {
        self.outside.get(&format!("temperature[{sensor}]"))
    }

    /// The voltage of a supply, in millivolts.
    ///
    /// # Errors
    /// There is no such supply.
    pub fn vout(&self, supply: u8) -> Result<i64> {
        self.outside.get(&format!("vout[{supply}]"))
    }
}
