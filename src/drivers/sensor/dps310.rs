//! The DPS310 sensor of pressure and temperature (Infineon, data sheet "DPS310" 1.2, section 7).

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::protocol::Endian;
use crate::qos::i2c::{I2cBus, I2cDevice};
use crate::qos::registers::{
    AnyRegister, Fault, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::{Result, driver};

/// PRS_B2: the pressure, three bytes with the highest first; the temperature follows.
pub const PRESSURE: Register<u8> = Register::new("PRS_B2", 0x00).section("7.1").volatile(0xff);
/// PRS_CFG: how often pressure is measured, and how finely.
pub const PRESSURE_CONFIGURATION: Register<u8> =
    Register::new("PRS_CFG", 0x06).section("7.3").reset(0).kept(0x7f).reserved(0x80);
/// TMP_CFG: how often temperature is measured, how finely, and by which sensor.
pub const TEMPERATURE_CONFIGURATION: Register<u8> =
    Register::new("TMP_CFG", 0x07).section("7.4").reset(0).kept(0xf7).reserved(0x08);
/// MEAS_CFG: what is measured now, and what is ready.
pub const MEASUREMENT: Register<u8> =
    Register::new("MEAS_CFG", 0x08).section("7.5").volatile(0xf0).acts(0x07).reserved(0x08);
/// CFG_REG: interrupts, shifts of results, the FIFO.
pub const CONFIGURATION: Register<u8> =
    Register::new("CFG_REG", 0x09).section("7.6").reset(0).kept(0xfc).acts(0x02).reserved(0x01);
/// RESET: a soft reset, and an emptied FIFO.
pub const RESET: Register<u8> =
    Register::new("RESET", 0x0c).section("7.9").write_only().side_effect();
/// Product and Revision ID.
pub const PRODUCT: Register<u8> =
    Register::new("Product ID", 0x0d).section("7.10").reset(0x10).read_only();
/// COEF: the first of 18 bytes of calibration.
pub const COEFFICIENTS: u8 = 0x10;
/// COEF_SRCE: which sensor the calibration of temperature is for.
pub const COEFFICIENT_SOURCE: Register<u8> =
    Register::new("COEF_SRCE", 0x28).section("7.12").reserved(0x7f).read_only();

/// RESET: a soft reset.
pub const SOFT_RESET: u8 = 0b1001;
/// MEAS_CFG: coefficients and the sensor are ready.
pub const READY: u8 = 0xc0;

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[
    &PRESSURE_CONFIGURATION,
    &TEMPERATURE_CONFIGURATION,
    &MEASUREMENT,
    &CONFIGURATION,
    &RESET,
    &PRODUCT,
    &COEFFICIENT_SOURCE,
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[
    Fault::new(
        &["Product ID"],
        &[Rule::ResetValue, Rule::MachineReset, Rule::SoftwareReset],
        "QEMU's dps310 has no product ID",
    ),
    Fault::new(
        &["TMP_CFG"],
        &[Rule::ResetValue, Rule::MachineReset, Rule::SoftwareReset],
        "QEMU's dps310 has its external sensor of temperature selected from the start on",
    )
    .bits(0x80),
];

/// QEMU's `dps310`.
pub struct Dps310 {
    device: I2cDevice,
}

impl Consumes<dyn I2cBus> for Dps310 {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},address={addr}").at("0x77");

    fn attach(bus: Rc<dyn I2cBus>, site: &Site) -> Result<Self> {
        Ok(Self { device: I2cDevice::plugged(bus, site, Endian::Big)? })
    }
}

impl Produces<RegisterBlock> for Dps310 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let registers = Rc::new(self.device.clone());
        let block = RegisterBlock::new("DPS310", registers, TABLE)
            .with_array(&PRESSURE, 6, 1)
            .software_reset(|registers| registers.set(RESET, SOFT_RESET));
        Rc::new(block.faults(FAULTS))
    }
}

driver!(Dps310 = "dps310"; consumes dyn I2cBus; produces RegisterBlock);

impl Dps310 {
    /// The device on its bus.
    pub fn device(&self) -> &I2cDevice {
        &self.device
    }

    /// Its registers.
    pub fn registers(&self) -> &dyn Registers {
        self.device.registers()
    }
}
