//! The PCA9554, eight pins that are inputs or outputs (NXP, data sheet PCA9554 rev. 10).

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::i2c::{I2cBus, I2cDevice};
use crate::qos::qom::Peripheral;
use crate::qos::registers::{AnyRegister, Register, RegisterBlock, Registers};
use crate::{Result, driver};

/// Input port: the levels of the pins, whether they are inputs or outputs.
pub const INPUT: Register<u8> = Register::new("input port", 0).section("6.2.2").volatile(0xff);
/// Output port: the levels that outputs have.
pub const OUTPUT: Register<u8> =
    Register::new("output port", 1).section("6.2.3").reset(0xff).kept(0xff);
/// Polarity inversion: pins whose level the input port shows inverted.
pub const POLARITY: Register<u8> =
    Register::new("polarity inversion", 2).section("6.2.4").reset(0).kept(0xff);
/// Configuration: pins that are inputs.
pub const CONFIGURATION: Register<u8> =
    Register::new("configuration", 3).section("6.2.5").reset(0xff).kept(0xff);

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[&INPUT, &OUTPUT, &POLARITY, &CONFIGURATION];

/// QEMU's `pca9554`.
pub struct Pca9554 {
    device: I2cDevice,
    outside: Peripheral,
    vm: Rc<Vm>,
}

impl Consumes<dyn I2cBus> for Pca9554 {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},address={addr},id=pca9554").at("0x26");

    fn attach(bus: Rc<dyn I2cBus>, site: &Site) -> Result<Self> {
        Ok(Self {
            device: I2cDevice::plugged(bus, site, Endian::Big)?,
            outside: Peripheral::new(site.vm, "pca9554"),
            vm: site.vm.clone(),
        })
    }
}

impl Produces<RegisterBlock> for Pca9554 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("PCA9554", Rc::new(self.device.clone()), TABLE))
    }
}

driver!(Pca9554 = "pca9554"; consumes dyn I2cBus; produces RegisterBlock);

impl Pca9554 {
    /// The device on its bus.
    pub fn device(&self) -> &I2cDevice {
        &self.device
    }

    /// Its registers.
    pub fn registers(&self) -> &dyn Registers {
        self.device.registers()
    }

    /// Has the world outside pull a pin low, or let go of it.
    ///
    /// # Errors
    /// Returns an error if QEMU knows no such pin.
    pub fn drive(&self, pin: u32, is_high: bool) -> Result<()> {
        let path = self.outside.path();
        Ok(self.vm.qtest().set_irq_in(path, "unnamed-gpio-in", pin, is_high.into())?)
    }

    /// From now on, watches all pins.
    ///
    /// # Errors
    /// Returns an error if QEMU cannot watch them.
    pub fn watch(&self) -> Result<()> {
        Ok(self.vm.qtest().irq_intercept_out(self.outside.path())?)
    }

    /// The level of a watched pin, as the world outside saw it last.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn seen(&self, pin: u32) -> Result<bool> {
        self.vm.qtest().poll_irqs()?;
        Ok(self.vm.qtest().irq_level(pin))
    }
}
