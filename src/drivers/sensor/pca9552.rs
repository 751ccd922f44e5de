//! The PCA9552, a driver of sixteen LEDs whose pins can be read (NXP, data sheet PCA9552 rev. 7).

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::protocol::Endian;
use crate::qos::i2c::{I2cBus, I2cDevice};
use crate::qos::qom::Peripheral;
use crate::qos::registers::{AnyRegister, Fault, Register, RegisterBlock, Registers, Rule};
use crate::{Result, driver};

/// INPUT0, INPUT1: the state of the pins, 0 where an LED is on.
pub const INPUT: [Register<u8>; 2] = [
    Register::new("INPUT0", 0x00).section("7.3.1").reset(0xff).volatile(0xff),
    Register::new("INPUT1", 0x01).section("7.3.2").reset(0xff).volatile(0xff),
];
/// PSC0, PWM0, PSC1, PWM1: period and duty of the two rates of blinking.
pub const BLINK: [Register<u8>; 4] = [
    Register::new("PSC0", 0x02).section("7.3.3").reset(0xff).kept(0xff),
    Register::new("PWM0", 0x03).section("7.3.4").reset(0x80).kept(0xff),
    Register::new("PSC1", 0x04).section("7.3.5").reset(0xff).kept(0xff),
    Register::new("PWM1", 0x05).section("7.3.6").reset(0x80).kept(0xff),
];
/// LS0 to LS3: what four LEDs each do, two bits for each.
pub const SELECT: [Register<u8>; 4] = [
    Register::new("LS0", 0x06).section("7.3.7").reset(0x55).kept(0xff),
    Register::new("LS1", 0x07).section("7.3.7").reset(0x55).kept(0xff),
    Register::new("LS2", 0x08).section("7.3.7").reset(0x55).kept(0xff),
    Register::new("LS3", 0x09).section("7.3.7").reset(0x55).kept(0xff),
];
/// In the number of a register: it goes up with every byte (7.2).
pub const AUTO_INCREMENT: u8 = 1 << 4;
/// LS0 to LS3: the LED is on; its pin is low.
pub const ON: u8 = 0b00;
/// LS0 to LS3: the LED is off; its pin floats, and is pulled up.
pub const OFF: u8 = 0b01;

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[
    &INPUT[0], &INPUT[1], &BLINK[0], &BLINK[1], &BLINK[2], &BLINK[3], &SELECT[0], &SELECT[1],
    &SELECT[2], &SELECT[3],
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[Fault::new(
    &["INPUT0", "INPUT1"],
    &[Rule::ResetValue, Rule::MachineReset],
    "the pins of QEMU's pca9552 are inverted",
)
.before(9, 0)];

/// QEMU's `pca9552`.
pub struct Pca9552 {
    device: I2cDevice,
    outside: Peripheral,
}

impl Consumes<dyn I2cBus> for Pca9552 {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},address={addr},id=pca9552").at("0x60");

    fn attach(bus: Rc<dyn I2cBus>, site: &Site) -> Result<Self> {
        Ok(Self {
            device: I2cDevice::plugged(bus, site, Endian::Big)?,
            outside: Peripheral::new(site.vm, "pca9552"),
        })
    }
}

impl Produces<RegisterBlock> for Pca9552 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let registers = Rc::new(self.device.clone());
        Rc::new(RegisterBlock::new("PCA9552", registers, TABLE).faults(FAULTS))
    }
}

driver!(Pca9552 = "pca9552"; consumes dyn I2cBus; produces RegisterBlock);

impl Pca9552 {
    /// The device on its bus.
    pub fn device(&self) -> &I2cDevice {
        &self.device
    }

    /// Its registers.
    pub fn registers(&self) -> &dyn Registers {
        self.device.registers()
    }

    /// What is known of it in QEMU's object model.
    pub fn outside(&self) -> &Peripheral {
        &self.outside
    }
}
