//! The magnetometer of the LSM303DLHC (ST, data sheet DocID018771 rev. 2, whose sections are
//! cited), with its thermometer.

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::protocol::Endian;
use crate::qos::i2c::{I2cBus, I2cDevice};
use crate::qos::qom::Peripheral;
use crate::qos::registers::{AnyRegister, Fault, Register, RegisterBlock, Registers, Rule};
use crate::{Result, driver};

/// CRA_REG_M: whether the thermometer is on, and how often is measured.
pub const CRA: Register<u8> =
    Register::new("CRA_REG_M", 0x00).section("7.2.1").reset(0x10).kept(0x9c).reserved(0x63);
/// CRB_REG_M: the gain, 1 to 7.
pub const CRB: Register<u8> = Register::new("CRB_REG_M", 0x01)
    .section("7.2.2")
    .reset(0x20)
    .kept(0xe0)
    .reserved(0x1f)
    .values(&[0x20, 0x40, 0x60, 0x80, 0xa0, 0xc0, 0xe0]);
/// MR_REG_M: the mode.
pub const MR: Register<u8> =
    Register::new("MR_REG_M", 0x02).section("7.2.3").reset(0x03).kept(0x03).reserved(0xfc);
/// OUT_X_H_M: the field, two bytes each of X, Z and Y, the high one first.
pub const OUT_X_H: u8 = 0x03;
/// SR_REG_M: data are ready, and are kept still while they are read.
pub const SR: Register<u8> =
    Register::new("SR_REG_M", 0x09).section("7.2.5").reset(0x01).undefined(0x02).volatile(0x02);
/// IRA_REG_M, IRB_REG_M, IRC_REG_M: the device's identity.
pub const IR: [Register<u8>; 3] = [
    Register::new("IRA_REG_M", 0x0a).section("7.2.6").reset(0x48).read_only(),
    Register::new("IRB_REG_M", 0x0b).section("7.2.6").reset(0x34).read_only(),
    Register::new("IRC_REG_M", 0x0c).section("7.2.6").reset(0x33).read_only(),
];
/// TEMP_OUT_H_M: the temperature in eighths of a degree Celsius, the high byte first.
pub const TEMP_OUT_H: u8 = 0x31;
/// CRA: the thermometer is on.
pub const CRA_TEMP_EN: u8 = 1 << 7;

/// All registers but data.
const TABLE: &[&dyn AnyRegister] = &[&CRA, &CRB, &MR, &SR, &IR[0], &IR[1], &IR[2]];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[Fault::new(
    &["SR_REG_M", "IRA_REG_M", "IRB_REG_M", "IRC_REG_M"],
    &[Rule::ReadOnly],
    "status and identity of QEMU's lsm303dlhc_mag can be written",
)];

/// QEMU's `lsm303dlhc_mag`.
pub struct Lsm303dlhcMag {
    device: I2cDevice,
    outside: Peripheral,
}

impl Consumes<dyn I2cBus> for Lsm303dlhcMag {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},address={addr},id=lsm303").at("0x1e");

    fn attach(bus: Rc<dyn I2cBus>, site: &Site) -> Result<Self> {
        Ok(Self {
            device: I2cDevice::plugged(bus, site, Endian::Big)?,
            outside: Peripheral::new(site.vm, "lsm303"),
        })
    }
}

impl Produces<RegisterBlock> for Lsm303dlhcMag {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let registers = Rc::new(self.device.clone());
        Rc::new(RegisterBlock::new("LSM303DLHC", registers, TABLE).faults(FAULTS))
    }
}

driver!(Lsm303dlhcMag = "lsm303dlhc_mag"; consumes dyn I2cBus; produces RegisterBlock);

impl Lsm303dlhcMag {
    /// The device on its bus.
    pub fn device(&self) -> &I2cDevice {
        &self.device
    }

    /// Its registers.
    pub fn registers(&self) -> &dyn Registers {
        self.device.registers()
    }

    /// The field around it, `mag-x` and so on in units of 10 microgauss, and its `temperature` in
    /// thousandths of a degree Celsius.
    pub fn outside(&self) -> &Peripheral {
        &self.outside
    }
}
