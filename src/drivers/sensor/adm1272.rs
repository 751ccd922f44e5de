//! The ADM1272 hot-swap controller and power monitor (Analog Devices, data sheet ADM1272 rev. C),
//! on PMBus 1.2.

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::protocol::Endian;
use crate::qos::i2c::pmbus;
use crate::qos::i2c::{I2cBus, I2cDevice};
use crate::qos::qom::Peripheral;
use crate::qos::registers::{AnyRegister, Fault, Register, RegisterBlock, Registers, Rule};
use crate::{Result, driver};

/// Limits of measurements have twelve bits.
const fn limit(register: Register<u16>, reset: u64) -> Register<u16> {
    register.reset(reset).kept(0x0fff).reserved(0xf000)
}

/// A command of the manufacturer's.
const fn own<T: crate::qos::registers::Value>(name: &'static str, code: u64) -> Register<T> {
    Register::new(name, code).section("PMBus command summary")
}

/// RESTART_TIME: how long it is off in a power cycle.
pub const RESTART_TIME: Register<u8> = own("RESTART_TIME", 0xcc).reset(0x64).kept(0xff);
/// PEAK_IOUT: the highest current.
pub const PEAK_IOUT: Register<u16> = own("PEAK_IOUT", 0xd0).volatile(0xffff);
/// PEAK_VIN: the highest voltage of the input.
pub const PEAK_VIN: Register<u16> = own("PEAK_VIN", 0xd1).volatile(0xffff);
/// PEAK_VOUT: the highest voltage of the output.
pub const PEAK_VOUT: Register<u16> = own("PEAK_VOUT", 0xd2).volatile(0xffff);
/// PMON_CONFIG: what is measured, and how often.
pub const PMON_CONFIG: Register<u16> = own("PMON_CONFIG", 0xd4).reset(0x3f35).kept(0xffff);
/// PEAK_PIN: the highest power.
pub const PEAK_PIN: Register<u16> = own("PEAK_PIN", 0xda).volatile(0xffff);
/// HYSTERESIS_LOW: the lower threshold.
pub const HYSTERESIS_LOW: Register<u16> = own("HYSTERESIS_LOW", 0xf2).reset(0).kept(0xffff);
/// HYSTERESIS_HIGH: the upper threshold.
pub const HYSTERESIS_HIGH: Register<u16> = own("HYSTERESIS_HIGH", 0xf3).reset(0xffff).kept(0xffff);
/// POWER_CYCLE: turns it off and on again.
pub const POWER_CYCLE: u8 = 0xd9;

/// Limits, with what they are after a reset.
pub const LIMITS: [Register<u16>; 8] = [
    limit(pmbus::VOUT_OV_WARN_LIMIT, 0xfff),
    limit(pmbus::VOUT_UV_WARN_LIMIT, 0),
    limit(pmbus::IOUT_OC_WARN_LIMIT, 0xfff),
    limit(pmbus::OT_FAULT_LIMIT, 0xfff),
    limit(pmbus::OT_WARN_LIMIT, 0xfff),
    limit(pmbus::VIN_OV_WARN_LIMIT, 0xfff),
    limit(pmbus::VIN_UV_WARN_LIMIT, 0),
    pmbus::PIN_OP_WARN_LIMIT.reset(0x7fff).kept(0x7fff).reserved(0x8000),
];

/// All registers but [`LIMITS`].
const TABLE: &[&dyn AnyRegister] = &[
    &pmbus::OPERATION.reset(0x80).side_effect(),
    &pmbus::CAPABILITY.reset(0x30).read_only(),
    &pmbus::VOUT_MODE.reset(0x40).read_only(),
    &pmbus::STATUS_VOUT.volatile(0xff),
    &pmbus::STATUS_IOUT.volatile(0xff),
    &pmbus::STATUS_INPUT.volatile(0xff),
    &pmbus::STATUS_TEMPERATURE.volatile(0xff),
    &pmbus::READ_VIN.read_only(),
    &pmbus::READ_VOUT.read_only(),
    &pmbus::READ_IOUT.read_only(),
    &pmbus::READ_TEMPERATURE_1.read_only(),
    &pmbus::READ_PIN.read_only(),
    &pmbus::PMBUS_REVISION.reset(0x22).read_only(),
    &RESTART_TIME,
    &PEAK_IOUT,
    &PEAK_VIN,
    &PEAK_VOUT,
    &PEAK_PIN,
    &PMON_CONFIG,
    &HYSTERESIS_LOW,
    &HYSTERESIS_HIGH,
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] =
    &[Fault::new(&["VOUT_MODE"], &[Rule::ReadOnly], "VOUT_MODE of QEMU's adm1272 can be written")];

/// QEMU's `adm1272`.
pub struct Adm1272 {
    device: I2cDevice,
    outside: Peripheral,
}

impl Consumes<dyn I2cBus> for Adm1272 {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},address={addr},id=adm1272").at("0x10");

    fn attach(bus: Rc<dyn I2cBus>, site: &Site) -> Result<Self> {
        Ok(Self {
            device: I2cDevice::plugged(bus, site, Endian::Little)?,
            outside: Peripheral::new(site.vm, "adm1272"),
        })
    }
}

impl Produces<RegisterBlock> for Adm1272 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let mut block = RegisterBlock::new("ADM1272", Rc::new(self.device.clone()), TABLE);
        for register in &LIMITS {
            block = block.with(&[register]);
        }
        Rc::new(block.faults(FAULTS))
    }
}

driver!(Adm1272 = "adm1272"; consumes dyn I2cBus; produces RegisterBlock);

impl Adm1272 {
    /// The device on its bus.
    pub fn device(&self) -> &I2cDevice {
        &self.device
    }

    /// Its commands.
    pub fn registers(&self) -> &dyn Registers {
        self.device.registers()
    }

    /// Has it measure that: `vin` and `vout` in millivolts, `iout` in milliamperes, `pin` in watts.
    ///
    /// # Errors
    /// Returns an error if QEMU knows no such quantity.
    pub fn set(&self, quantity: &str, value: u16) -> Result<()> {
        self.outside.set(quantity, value.into())
    }

    /// What it measures, in the units of [`Adm1272::set`].
    ///
    /// # Errors
    /// Returns an error if QEMU knows no such quantity.
    pub fn get(&self, quantity: &str) -> Result<i64> {
        self.outside.get(quantity)
    }
}
