//! The MAX34451 power-supply manager (Maxim Integrated, data sheet
//! "MAX34451"), on PMBus 1.1.

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::protocol::Endian;
use crate::qos::i2c::pmbus::{PAGE_STRIDE, Pages};
use crate::qos::i2c::{I2cBus, I2cDevice};
use crate::qos::qom::Peripheral;
use crate::qos::registers::{AnyRegister, Fault, RegisterBlock, Registers, RegistersExt, Rule};
use crate::{Result, driver};

/// Commands by their names and codes in PMBus 1.1, part II, appendix I, and in the data
/// sheet, "PMBus Command Codes".
pub mod command {
    use crate::qos::registers::Register;

    /// Selects the page that the other commands are about.
    pub const PAGE: Register<u8> =
        Register::new("PAGE", 0x00).section("PMBus Command Codes").side_effect();
    /// Turns a supply on and off.
    pub const OPERATION: Register<u8> = Register::new("OPERATION", 0x01)
        .section("PMBus Command Codes")
        .reset(0x80)
        .kept(0x80)
        .reserved(0x7f)
        .values(&[0, 0x80]);
    /// How a supply is turned on and off.
    pub const ON_OFF_CONFIG: Register<u8> = Register::new("ON_OFF_CONFIG", 0x02)
        .section("PMBus Command Codes")
        .reset(0x1a)
        .kept(0x1f)
        .reserved(0xe0)
        .values(&[0x12, 0x16, 0x1a]);
    /// Clears all bits of all status registers; a command without data.
    pub const CLEAR_FAULTS: u8 = 0x03;
    /// What the bus can do, read-only.
    pub const CAPABILITY: Register<u8> =
        Register::new("CAPABILITY", 0x19).section("PMBus Command Codes").reset(0x20).read_only();
    /// The data format of voltages.
    pub const VOUT_MODE: Register<u8> =
        Register::new("VOUT_MODE", 0x20).section("PMBus Command Codes").reset(0x40).read_only();
    /// Voltage with OPERATION set to margin high.
    pub const VOUT_MARGIN_HIGH: Register<u16> = Register::new("VOUT_MARGIN_HIGH", 0x25)
        .section("PMBus Command Codes")
        .reset(0)
        .kept(0xffff);
    /// Voltage with OPERATION set to margin low.
    pub const VOUT_MARGIN_LOW: Register<u16> =
        Register::new("VOUT_MARGIN_LOW", 0x26).section("PMBus Command Codes").reset(0).kept(0xffff);
    /// Overvoltage fault limit.
    pub const VOUT_OV_FAULT_LIMIT: Register<u16> = Register::new("VOUT_OV_FAULT_LIMIT", 0x40)
        .section("PMBus Command Codes")
        .reset(0x7fff)
        .kept(0xffff);
    /// Overvoltage warning limit.
    pub const VOUT_OV_WARN_LIMIT: Register<u16> = Register::new("VOUT_OV_WARN_LIMIT", 0x42)
        .section("PMBus Command Codes")
        .reset(0x7fff)
        .kept(0xffff);
    /// Undervoltage warning limit.
    pub const VOUT_UV_WARN_LIMIT: Register<u16> = Register::new("VOUT_UV_WARN_LIMIT", 0x43)
        .section("PMBus Command Codes")
        .reset(0)
        .kept(0xffff);
    /// Undervoltage fault limit.
    pub const VOUT_UV_FAULT_LIMIT: Register<u16> = Register::new("VOUT_UV_FAULT_LIMIT", 0x44)
        .section("PMBus Command Codes")
        .reset(0)
        .kept(0xffff);
    /// Overtemperature fault limit.
    pub const OT_FAULT_LIMIT: Register<u16> = Register::new("OT_FAULT_LIMIT", 0x4f)
        .section("PMBus Command Codes")
        .reset(0x7fff)
        .kept(0xffff);
    /// Overtemperature warning limit.
    pub const OT_WARN_LIMIT: Register<u16> = Register::new("OT_WARN_LIMIT", 0x51)
        .section("PMBus Command Codes")
        .reset(0x7fff)
        .kept(0xffff);
    /// Voltage from which on the power is good.
    pub const POWER_GOOD_ON: Register<u16> =
        Register::new("POWER_GOOD_ON", 0x5e).section("PMBus Command Codes").reset(0).kept(0xffff);
    /// Voltage below which the power is not good.
    pub const POWER_GOOD_OFF: Register<u16> =
        Register::new("POWER_GOOD_OFF", 0x5f).section("PMBus Command Codes").reset(0).kept(0xffff);
    /// The low half of STATUS_WORD.
    pub const STATUS_BYTE: Register<u8> = Register::new("STATUS_BYTE", 0x78)
        .section("PMBus Command Codes")
        .volatile(0xff)
        .undefined(0xff);
    /// Which status registers have bits set.
    pub const STATUS_WORD: Register<u16> = Register::new("STATUS_WORD", 0x79)
        .section("PMBus Command Codes")
        .volatile(0xffff)
        .undefined(0xffff);
    /// Faults of the voltage.
    pub const STATUS_VOUT: Register<u8> =
        Register::new("STATUS_VOUT", 0x7a).section("PMBus Command Codes").reset(0).volatile(0xff);
    /// Faults of the temperature.
    pub const STATUS_TEMPERATURE: Register<u8> = Register::new("STATUS_TEMPERATURE", 0x7d)
        .section("PMBus Command Codes")
        .reset(0)
        .volatile(0xff);
    /// Voltage, read-only.
    pub const READ_VOUT: Register<u16> =
        Register::new("READ_VOUT", 0x8b).section("PMBus Command Codes").reset(0).volatile(0xffff);
    /// Current, read-only.
    pub const READ_IOUT: Register<u16> =
        Register::new("READ_IOUT", 0x8c).section("PMBus Command Codes").reset(0).read_only();
    /// Temperature, read-only.
    pub const READ_TEMPERATURE_1: Register<u16> =
        Register::new("READ_TEMPERATURE_1", 0x8d).section("PMBus Command Codes").read_only();
    /// The revision of PMBus, read-only.
    pub const PMBUS_REVISION: Register<u8> = Register::new("PMBUS_REVISION", 0x98)
        .section("PMBus Command Codes")
        .reset(0x11)
        .read_only();
    /// The manufacturer, read-only.
    pub const MFR_ID: Register<u8> =
        Register::new("MFR_ID", 0x99).section("PMBus Command Codes").reset(0x4d).read_only();
    /// The model, read-only.
    pub const MFR_MODEL: Register<u8> =
        Register::new("MFR_MODEL", 0x9a).section("PMBus Command Codes").reset(0x59).read_only();
    /// Settings of the whole device.
    pub const MFR_MODE: Register<u16> =
        Register::new("MFR_MODE", 0xd1).section("PMBus Command Codes").side_effect();
    /// The highest voltage since it was written.
    pub const MFR_VOUT_PEAK: Register<u16> =
        Register::new("MFR_VOUT_PEAK", 0xd4).section("PMBus Command Codes").reset(0).side_effect();
    /// The highest temperature since it was written.
    pub const MFR_TEMPERATURE_PEAK: Register<u16> =
        Register::new("MFR_TEMPERATURE_PEAK", 0xd6).section("PMBus Command Codes").side_effect();
    /// The lowest voltage since it was written.
    pub const MFR_VOUT_MIN: Register<u16> = Register::new("MFR_VOUT_MIN", 0xd7)
        .section("PMBus Command Codes")
        .reset(0x7fff)
        .side_effect();
}

/// Registers of the whole device.
const DEVICE: &[&dyn AnyRegister] =
    &[&command::CAPABILITY, &command::PMBUS_REVISION, &command::MFR_ID, &command::MFR_MODEL];

/// Registers of a page with a power supply.
const SUPPLY: &[&dyn AnyRegister] = &[
    &command::OPERATION,
    &command::ON_OFF_CONFIG,
    &command::VOUT_MODE,
    &command::VOUT_OV_FAULT_LIMIT,
    &command::VOUT_OV_WARN_LIMIT,
    &command::VOUT_UV_WARN_LIMIT,
    &command::VOUT_UV_FAULT_LIMIT,
    &command::POWER_GOOD_ON,
    &command::POWER_GOOD_OFF,
    &command::STATUS_VOUT,
    &command::READ_VOUT,
    &command::READ_IOUT,
    &command::MFR_VOUT_PEAK,
    &command::MFR_VOUT_MIN,
];

/// Registers of a page whose supply can be margined.
const MARGINS: &[&dyn AnyRegister] = &[&command::VOUT_MARGIN_HIGH, &command::VOUT_MARGIN_LOW];

/// How many supplies can be margined; they come first.
const MARGINED: u64 = 12;

/// Registers of a page with a temperature sensor.
const SENSOR: &[&dyn AnyRegister] = &[
    &command::ON_OFF_CONFIG,
    &command::OT_FAULT_LIMIT,
    &command::OT_WARN_LIMIT,
    &command::STATUS_TEMPERATURE,
    &command::READ_TEMPERATURE_1,
];

impl Produces<RegisterBlock> for Max34451 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let pages = Rc::new(Pages(self.device.clone()));
        let mut block = RegisterBlock::new("MAX34451", pages, DEVICE);
        for register in SUPPLY {
            block = block.with_array(*register, SUPPLIES.into(), PAGE_STRIDE);
        }
        for register in MARGINS {
            block = block.with_array(*register, MARGINED, PAGE_STRIDE);
        }
        for register in SENSOR {
            block = block.with_pages(*register, SUPPLIES.into(), SENSORS.into(), PAGE_STRIDE);
        }
        Rc::new(block.faults(FAULTS))
    }
}

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[
    Fault::new(&["VOUT_MODE"], &[Rule::ReadOnly], "VOUT_MODE of QEMU's max34451 can be written"),
    Fault::new(
        &[
            "VOUT_MARGIN_HIGH",
            "VOUT_MARGIN_LOW",
            "VOUT_UV_WARN_LIMIT",
            "VOUT_UV_FAULT_LIMIT",
            "POWER_GOOD_ON",
            "POWER_GOOD_OFF",
        ],
        &[Rule::MachineReset],
        "QEMU's max34451 does not reset margins, undervoltage limits and power-good levels",
    ),
];

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

driver!(Max34451 = "max34451"; consumes dyn I2cBus; produces RegisterBlock);

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
        self.registers().set(command::PAGE, page)?;
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
