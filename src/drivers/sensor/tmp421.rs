//! The temperature sensors TMP421, TMP422 and TMP423 with one, two and three remote channels (Texas
//! Instruments, data sheet SBOS398).

use std::rc::Rc;

use crate::graph::{Consumes, Node, Produces, QemuArgs, Site};
use crate::protocol::Endian;
use crate::qos::i2c::{I2cBus, I2cDevice};
use crate::qos::qom::Peripheral;
use crate::qos::registers::{
    AnyRegister, Fault, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::{Result, driver};

/// High byte of the local temperature; those of the remote channels follow.
pub const HIGH: Register<u8> =
    Register::new("temperature high byte", 0x00).section("table 3").volatile(0xff);
/// Status: a conversion is under way.
pub const STATUS: Register<u8> =
    Register::new("status", 0x08).section("Status Register").reset(0).volatile(0x80);
/// Configuration 1.
pub const CONFIGURATION_1: Register<u8> = Register::new("configuration 1", 0x09)
    .section("Configuration Register 1")
    .reset(0)
    .kept(RANGE as u64)
    .acts(SHUTDOWN as u64)
    .reserved(0xbb);
/// Configuration 2: which channels are measured, and the correction of their resistance. What is
/// set after a reset differs among the members.
pub const CONFIGURATION_2: Register<u8> =
    Register::new("configuration 2", 0x0a).section("Configuration Register 2");
/// Conversion rate: eight a second after a reset.
pub const RATE: Register<u8> =
    Register::new("conversion rate", 0x0b).section("table 8").reset(7).kept(7).reserved(0xf8);
/// One-shot: a write of any value starts a conversion in shutdown.
pub const ONE_SHOT: Register<u8> =
    Register::new("one-shot", 0x0f).section("One-Shot Conversion").write_only().side_effect();
/// Low byte of the local temperature; those of the remote channels follow.
pub const LOW: Register<u8> =
    Register::new("temperature low byte", 0x10).section("table 3").volatile(0xff);
/// Ideality factor of the first remote channel; those of the others follow.
pub const N_CORRECTION: Register<u8> =
    Register::new("n correction", 0x21).section("Ideality Factor Register").reset(0).kept(0xff);
/// Software reset: a write of any value.
pub const RESET: Register<u8> =
    Register::new("software reset", 0xfc).section("Software Reset").write_only().side_effect();
/// Manufacturer: Texas Instruments.
pub const MANUFACTURER: Register<u8> =
    Register::new("manufacturer", 0xfe).section("Identification Registers").reset(0x55).read_only();
/// Device: the number of the member.
pub const DEVICE: Register<u8> =
    Register::new("device", 0xff).section("Identification Registers").read_only();

/// All registers that are alike in all members, but for the channels'.
const TABLE: &[&dyn AnyRegister] =
    &[&STATUS, &CONFIGURATION_1, &RATE, &ONE_SHOT, &RESET, &MANUFACTURER];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[
    Fault::new(
        &["n correction"],
        &[Rule::ResetValue, Rule::Kept, Rule::Neighbours, Rule::SoftwareReset, Rule::MachineReset],
        "QEMU's tmp421 has no ideality factors; it reads as what was read before",
    ),
    Fault::new(
        &["configuration 1", "configuration 2", "conversion rate"],
        &[Rule::MachineReset],
        "QEMU's tmp421 is not reset with the machine",
    ),
];

/// Configuration 1: extended range, from -64 °C on (RANGE).
pub const RANGE: u8 = 1 << 2;
/// Configuration 1: no conversions but those that are asked for (SD).
pub const SHUTDOWN: u8 = 1 << 6;

/// How many remote channels the members have.
const REMOTE: [u8; 3] = [1, 2, 3];

/// Member number `MEMBER` of the family.
pub struct Tmp42x<const MEMBER: usize> {
    device: I2cDevice,
    outside: Peripheral,
}

/// QEMU's `tmp421`.
pub type Tmp421 = Tmp42x<0>;
/// QEMU's `tmp422`.
pub type Tmp422 = Tmp42x<1>;
/// QEMU's `tmp423`.
pub type Tmp423 = Tmp42x<2>;

impl<const MEMBER: usize> Consumes<dyn I2cBus> for Tmp42x<MEMBER>
where
    Self: Node,
{
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},address={addr},id=tmp42x").at("0x4d");

    fn attach(bus: Rc<dyn I2cBus>, site: &Site) -> Result<Self> {
        Ok(Self {
            device: I2cDevice::plugged(bus, site, Endian::Big)?,
            outside: Peripheral::new(site.vm, "tmp42x"),
        })
    }
}

impl<const MEMBER: usize> Produces<RegisterBlock> for Tmp42x<MEMBER>
where
    Self: Node,
{
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let registers = Rc::new(self.device.clone());
        let (device, enabled) = (self.device_id(), u64::from(self.enabled()));
        let block = RegisterBlock::new("SBOS398", registers, TABLE)
            .with_array(&HIGH, self.channels(), 1)
            .with_array(&LOW, self.channels(), 1)
            .with_array(&N_CORRECTION, self.channels() - 1, 1)
            .with(&[
                &DEVICE.reset(device.into()),
                &CONFIGURATION_2.reset(enabled).kept(enabled).reserved(!enabled & 0xff),
            ])
            .software_reset(|registers| registers.set(RESET, 0));
        Rc::new(block.faults(FAULTS))
    }
}

driver!(Tmp421 = "tmp421"; consumes dyn I2cBus; produces RegisterBlock);
driver!(Tmp422 = "tmp422"; consumes dyn I2cBus; produces RegisterBlock);
driver!(Tmp423 = "tmp423"; consumes dyn I2cBus; produces RegisterBlock);

impl<const MEMBER: usize> Tmp42x<MEMBER> {
    /// How many channels it has: the local one, and the remote ones.
    pub const fn channels(&self) -> u64 {
        REMOTE[MEMBER] as u64 + 1
    }

    /// What its identification says.
    pub const fn device_id(&self) -> u8 {
        0x20 + REMOTE[MEMBER]
    }

    /// Configuration 2 after a reset: all channels and the correction of resistance are on.
    pub const fn enabled(&self) -> u8 {
        ((1 << (REMOTE[MEMBER] + 2)) - 1) << 2
    }

    /// The device on its bus.
    pub fn device(&self) -> &I2cDevice {
        &self.device
    }

    /// Its registers.
    pub fn registers(&self) -> &dyn Registers {
        self.device.registers()
    }

    /// The temperature of a channel in units of 1/256 °C, read as two bytes at once.
    ///
    /// # Errors
    /// Returns an error if the device does not acknowledge.
    pub fn read(&self, channel: u64) -> Result<i16> {
        let bytes = self.device.read_from(HIGH.offset() as u8 + channel as u8)?;
        Ok(i16::from_be_bytes(bytes))
    }

    /// Makes a channel as warm as that, in thousandths of a degree Celsius.
    ///
    /// # Errors
    /// Returns an error if QEMU refuses what the register cannot hold.
    pub fn set_temperature(&self, channel: u64, millidegrees: i64) -> Result<()> {
        self.outside.set(&format!("temperature{channel}"), millidegrees)
    }

    /// How warm a channel is, in thousandths of a degree Celsius.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn temperature(&self, channel: u64) -> Result<i64> {
        self.outside.get(&format!("temperature{channel}"))
    }
}
