//! The TMP105 temperature sensor (Texas Instruments, data sheet "TMP105").

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::i2c::{I2cBus, I2cDevice};
use crate::qos::qom::Peripheral;
use crate::qos::registers::{AnyRegister, Fault, Register, RegisterBlock, Registers, Rule};
use crate::{Error, Result, driver};

/// Temperature: units of 1/256 °C, of which the lowest four bits, or more with less
/// resolution, are zero.
pub const TEMPERATURE: Register<u16> =
    Register::new("temperature", 0).section("Temperature Register").reset(0).read_only();
/// Configuration. Shutdown and one-shot are left to tests that know what they do.
pub const CONFIGURATION: Register<u8> = Register::new("configuration", 1)
    .section("Configuration Register")
    .reset(0)
    .kept(0x7e)
    .acts((ONE_SHOT | SHUTDOWN) as u64);
/// T_LOW, in the units of the temperature.
pub const T_LOW: Register<u16> =
    Register::new("T_LOW", 2).section("High- and Low-Limit Registers").reset(75 << 8).kept(0xfff0);
/// T_HIGH.
pub const T_HIGH: Register<u16> =
    Register::new("T_HIGH", 3).section("High- and Low-Limit Registers").reset(80 << 8).kept(0xfff0);

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[&TEMPERATURE, &CONFIGURATION, &T_LOW, &T_HIGH];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[
    Fault::new(
        &["T_LOW", "T_HIGH"],
        &[Rule::Kept, Rule::ReadOnly],
        "QEMU's tmp105 keeps the low bits of its limits, which are zero",
    )
    .bits(0xf)
    .before(10, 0),
    Fault::new(
        &["configuration", "T_LOW", "T_HIGH"],
        &[Rule::MachineReset],
        "QEMU's tmp105 is not reset with the machine",
    ),
];

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

impl Produces<RegisterBlock> for Tmp105 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let registers = Rc::new(self.device.clone());
        Rc::new(RegisterBlock::new("TMP105", registers, TABLE).faults(FAULTS))
    }
}

driver!(Tmp105 = "tmp105"; consumes dyn I2cBus; produces RegisterBlock);

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
