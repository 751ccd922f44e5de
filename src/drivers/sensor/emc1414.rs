//! The EMC1414 temperature sensor with four channels (Microchip, data sheet DS20005274A).

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::protocol::Endian;
use crate::qos::i2c::{I2cBus, I2cDevice};
use crate::qos::qom::Peripheral;
use crate::qos::registers::{AnyRegister, Fault, Register, RegisterBlock, Registers, Rule};
use crate::{Result, driver};

/// The registers of a channel, in whole degrees Celsius.
#[derive(Debug, Clone, Copy)]
pub struct Channel {
    /// The temperature. QEMU has no low byte with fractions.
    pub temperature: Register<u8>,
    /// The high limit.
    pub high_limit: Register<u8>,
    /// The low limit.
    pub low_limit: Register<u8>,
}

impl Channel {
    const fn new(temperature: u64, high_limit: u64, low_limit: u64) -> Self {
        Self {
            temperature: Register::new("temperature", temperature).section("6.1").read_only(),
            high_limit: Register::new("high limit", high_limit).section("6.5").reset(85).kept(0xff),
            low_limit: Register::new("low limit", low_limit).section("6.5").reset(0).kept(0xff),
        }
    }
}

/// The internal diode, then the three external ones.
pub const CHANNELS: [Channel; 4] = [
    Channel::new(0x00, 0x05, 0x06),
    Channel::new(0x01, 0x07, 0x08),
    Channel::new(0x23, 0x15, 0x16),
    Channel::new(0x2a, 0x2c, 0x2d),
];

/// Product ID: that of this member of the family.
pub const PRODUCT_ID: Register<u8> =
    Register::new("product ID", 0xfd).section("table 6.1").reset(0x25).read_only();
/// Manufacturer ID: Microchip's.
pub const MANUFACTURER_ID: Register<u8> =
    Register::new("manufacturer ID", 0xfe).section("table 6.1").reset(0x5d).read_only();
/// Revision.
pub const REVISION: Register<u8> = Register::new("revision", 0xff).section("table 6.1").read_only();

/// All registers that QEMU has.
const TABLE: &[&dyn AnyRegister] = &[
    &CHANNELS[0].temperature,
    &CHANNELS[0].high_limit,
    &CHANNELS[0].low_limit,
    &CHANNELS[1].temperature,
    &CHANNELS[1].high_limit,
    &CHANNELS[1].low_limit,
    &CHANNELS[2].temperature,
    &CHANNELS[2].high_limit,
    &CHANNELS[2].low_limit,
    &CHANNELS[3].temperature,
    &CHANNELS[3].high_limit,
    &CHANNELS[3].low_limit,
    &PRODUCT_ID,
    &MANUFACTURER_ID,
    &REVISION,
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[Fault::new(
    &["low limit"],
    &[Rule::MachineReset],
    "QEMU's emc1414 does not reset the low limits",
)];

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

impl Produces<RegisterBlock> for Emc1414 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let registers = Rc::new(self.device.clone());
        Rc::new(RegisterBlock::new("DS20005274A", registers, TABLE).faults(FAULTS))
    }
}

driver!(Emc1414 = "emc1414"; consumes dyn I2cBus; produces RegisterBlock);

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
