//! Digital multiphase voltage regulators of Renesas on PMBus 1.3: ISL69260, RAA228000, RAA229004
//! (data sheets of these names; QEMU's defaults where they leave a value to the board).

use std::rc::Rc;

use crate::graph::{Consumes, Node, Produces, QemuArgs, Site};
use crate::protocol::Endian;
use crate::qos::i2c::pmbus::{self, PAGE_STRIDE, Pages};
use crate::qos::i2c::{I2cBus, I2cDevice};
use crate::qos::qom::Peripheral;
use crate::qos::registers::{
    AnyRegister, Fault, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::{Result, driver};

/// What sets a member apart.
#[derive(Debug, Clone, Copy)]
pub struct Chip {
    /// How many pages it has, an output each.
    pub pages: u8,
    /// Whether it measures something at first: what QEMU gives it.
    pub measures: bool,
}

/// The members of the family: ISL69260, RAA228000, RAA229004.
const MEMBERS: [Chip; 3] = [
    Chip { pages: 2, measures: true },
    Chip { pages: 1, measures: false },
    Chip { pages: 2, measures: true },
];

/// A register that keeps what is written.
const fn kept(register: Register<u16>, reset: u64) -> Register<u16> {
    register.reset(reset).kept(0xffff)
}

/// Registers of every page.
const TABLE: &[&dyn AnyRegister] = &[
    &pmbus::OPERATION.reset(0x80).side_effect(),
    &pmbus::ON_OFF_CONFIG.reset(0x16).kept(0x1f).reserved(0xe0),
    &pmbus::CAPABILITY.reset(0x40).read_only(),
    &pmbus::VOUT_MODE.reset(0x40).read_only(),
    &kept(pmbus::VOUT_COMMAND, 0x384),
    &kept(pmbus::VOUT_MAX, 0x8fc),
    &kept(pmbus::VOUT_MARGIN_HIGH, 0x640),
    &kept(pmbus::VOUT_MARGIN_LOW, 0xfa),
    &kept(pmbus::VOUT_TRANSITION_RATE, 0x64),
    &kept(pmbus::VOUT_OV_FAULT_LIMIT, 0x76c),
    &kept(pmbus::OT_FAULT_LIMIT, 0x7d),
    &kept(pmbus::OT_WARN_LIMIT, 0x7d0),
    &kept(pmbus::IIN_OC_FAULT_LIMIT, 0x32),
    &kept(pmbus::TON_DELAY, 0x14),
    &kept(pmbus::TON_RISE, 0x1f4),
    &kept(pmbus::TOFF_FALL, 0x1f4),
    &pmbus::STATUS_VOUT.volatile(0xff),
    &pmbus::STATUS_INPUT.volatile(0xff),
    &pmbus::READ_VOUT.volatile(0xffff),
    &pmbus::READ_IOUT.read_only(),
    &pmbus::READ_POUT.read_only(),
    &pmbus::READ_TEMPERATURE_1.read_only(),
    &pmbus::READ_TEMPERATURE_3.read_only(),
    &pmbus::PMBUS_REVISION.reset(0x33).read_only(),
];

/// Registers of page 0 alone: those of the input.
const FIRST: &[&dyn AnyRegister] = &[
    &kept(pmbus::VIN_OV_WARN_LIMIT, 0x36b0),
    &kept(pmbus::VIN_UV_WARN_LIMIT, 0x1f40),
    &pmbus::READ_VIN.read_only(),
    &pmbus::READ_TEMPERATURE_2.read_only(),
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[
    Fault::new(
        &["VOUT_MODE"],
        &[Rule::ReadOnly],
        "VOUT_MODE of QEMU's Renesas regulators can be written",
    ),
    Fault::new(
        &["TON_DELAY", "TON_RISE", "TOFF_FALL"],
        &[Rule::ResetValue, Rule::Kept, Rule::MachineReset],
        "QEMU's Renesas regulators have no TON_DELAY, TON_RISE and TOFF_FALL",
    ),
];

/// Member number `MEMBER` of the family.
pub struct IslVr<const MEMBER: usize> {
    device: I2cDevice,
    outside: Peripheral,
}

/// QEMU's `isl69260`.
pub type Isl69260 = IslVr<0>;
/// QEMU's `raa228000`.
pub type Raa228000 = IslVr<1>;
/// QEMU's `raa229004`.
pub type Raa229004 = IslVr<2>;

impl<const MEMBER: usize> Consumes<dyn I2cBus> for IslVr<MEMBER>
where
    Self: Node,
{
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},address={addr},id=vr0").at("0x43");

    fn attach(bus: Rc<dyn I2cBus>, site: &Site) -> Result<Self> {
        Ok(Self {
            device: I2cDevice::plugged(bus, site, Endian::Little)?,
            outside: Peripheral::new(site.vm, "vr0"),
        })
    }
}

impl<const MEMBER: usize> Produces<RegisterBlock> for IslVr<MEMBER>
where
    Self: Node,
{
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let pages = Rc::new(Pages(self.device.clone()));
        let mut block = RegisterBlock::new("ISL69260, RAA228000, RAA229004", pages, FIRST);
        for register in TABLE {
            block = block.with_array(*register, MEMBERS[MEMBER].pages.into(), PAGE_STRIDE);
        }
        Rc::new(block.faults(FAULTS))
    }
}

driver!(Isl69260 = "isl69260"; consumes dyn I2cBus; produces RegisterBlock);
driver!(Raa228000 = "raa228000"; consumes dyn I2cBus; produces RegisterBlock);
driver!(Raa229004 = "raa229004"; consumes dyn I2cBus; produces RegisterBlock);

impl<const MEMBER: usize> IslVr<MEMBER> {
    /// What sets this member apart.
    pub fn chip(&self) -> Chip {
        MEMBERS[MEMBER]
    }

    /// The device on its bus.
    pub fn device(&self) -> &I2cDevice {
        &self.device
    }

    /// The commands of `page`, which becomes the selected one.
    ///
    /// # Errors
    /// Returns an error if the device does not acknowledge.
    pub fn page(&self, page: u8) -> Result<&dyn Registers> {
        self.device.set(pmbus::PAGE, page)?;
        Ok(self.device.registers())
    }

    /// Has the device measure `value`, in the units of the register that tells it.
    ///
    /// # Errors
    /// Returns an error if QEMU knows no such quantity.
    pub fn set(&self, quantity: &str, page: u8, value: u16) -> Result<()> {
        self.outside.set(&format!("{quantity}[{page}]"), value.into())
    }

    /// What the device measures.
    ///
    /// # Errors
    /// Returns an error if QEMU knows no such quantity.
    pub fn get(&self, quantity: &str, page: u8) -> Result<i64> {
        self.outside.get(&format!("{quantity}[{page}]"))
    }
}
