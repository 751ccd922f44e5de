//! The TMP105 temperature sensor (Texas Instruments, data sheet "TMP105").

use std::rc::Rc;

use crate::graph::{Consumes, QemuArgs, Site};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::i2c::{I2cBus, I2cDevice};
use crate::qos::qom::Peripheral;
use crate::qos::registers::Registers;
use crate::{Error, Result, driver};

/// Temperature, read-only, 16 bits: units of 1/256 °C, of which the lowest four bits, or
/// more with less resolution, are zero.
pub const TEMPERATURE: u64 = 0;
/// Configuration, 8 bits.
pub const CONFIGURATION: u64 = 1;
/// T_LOW, 16 bits, in the units of the temperature.
pub const T_LOW: u64 = 2;
/// T_HIGH, 16 bits.
pub const T_HIGH: u64 = 3;

/// Configuration: no conversions but those that are asked for (SD).
pub const SHUTDOWN: u8 = 1 << 0;
/// Configuration: interrupt mode, not comparator mode (TM).
pub const THERMOSTAT_INTERRUPT: u8 = 1 << 1;
/// Configuration: ALERT is active high (POL).
pub const POLARITY: u8 = 1 << 2;
/// Configuration: six faults in a row trigger ALERT, not one (F1, F0).
pub const SIX_FAULTS: u8 = 0b11 << 3;
/// Configuration: lowest bit of the resolution (R1, R0): 0 is 9 bits, 3 is 12 bits.
pub const RESOLUTION_SHIFT: u32 = 5;
/// Configuration: convert once (OS).
pub const ONE_SHOT: u8 = 1 << 7;

/// QEMU's `tmp105`.
pub struct Tmp105 {
    device: I2cDevice,
    outside: Peripheral,
    vm: Rc<Vm>,
}

impl Consumes<dyn I2cBus> for Tmp105 {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},address={addr},id=tmp105").at("0x49");

    fn attach(bus: Rc<dyn I2cBus>, site: &Site) -> Result<Self> {
        Ok(Self {
            device: I2cDevice::plugged(bus, site, Endian::Big)?,
            outside: Peripheral::new(site.vm, "tmp105"),
            vm: site.vm.clone(),
        })
    }
}

driver!(Tmp105 = "tmp105"; consumes dyn I2cBus);

impl Tmp105 {
    /// The device on its bus.
    pub fn device(&self) -> &I2cDevice {
        &self.device
    }

    /// Its registers.
    pub fn registers(&self) -> &dyn Registers {
        self.device.registers()
    }

    /// Makes it as warm as that, in thousandths of a degree Celsius.
    ///
    /// # Errors
    /// QEMU refuses what the register cannot hold.
    pub fn set_temperature(&self, millidegrees: i64) -> Result<()> {
        self.outside.set("temperature", millidegrees)
    }

    /// How warm it is, in thousandths of a degree Celsius.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn temperature(&self) -> Result<i64> {
        self.outside.get("temperature")
    }

    /// From now on, watches the ALERT pin. QEMU tells of it only when the device sets it
    /// the next time, as a write to the configuration makes it do. From QEMU 11.1 on the pin
    /// leads nowhere then; nothing but its level is looked at.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn watch_alert(&self) -> Result<()> {
        Ok(self.vm.qtest().irq_intercept_out(self.outside.path())?)
    }

    /// Whether the ALERT pin is high. Only if it is watched.
    ///
    /// # Errors
    /// The pin went up or down more often than once since this was last asked.
    pub fn alert_is_high(&self) -> Result<bool> {
        let qtest = self.vm.qtest();
        qtest.poll_irqs()?;
        let (raised, lowered) = (qtest.irq_raised(0), qtest.irq_lowered(0));
        qtest.reset_irq_counts();
        if raised + lowered > 1 {
            let why = format!("ALERT went up {raised} times and down {lowered} times at once");
            return Err(Error::failed(why));
        }
        Ok(qtest.irq_level(0))
    }
}
