//! The ADM1266 sequencer of 17 supplies (Analog Devices, data sheet ADM1266 rev. B), on PMBus 1.2.
//! What the supplies have at first is the board's affair; here it is what QEMU gives them.

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::protocol::Endian;
use crate::qos::i2c::pmbus::{self, PAGE_STRIDE, Pages};
use crate::qos::i2c::{I2cBus, I2cDevice};
use crate::qos::registers::{AnyRegister, Fault, RegisterBlock, Rule};
use crate::{Result, driver};

/// How many supplies there are, a page each.
pub const SUPPLIES: u8 = 17;

/// Registers that are the same on all pages.
const DEVICE: &[&dyn AnyRegister] =
    &[&pmbus::CAPABILITY.reset(0x20).read_only(), &pmbus::PMBUS_REVISION.reset(0x22).read_only()];

/// Registers of a page.
const SUPPLY: &[&dyn AnyRegister] = &[
    &pmbus::OPERATION.reset(0x80).side_effect(),
    &pmbus::VOUT_MODE.reset(0).side_effect(),
    &pmbus::VOUT_MARGIN_HIGH.reset(15).kept(0xffff),
    &pmbus::VOUT_MARGIN_LOW.reset(3).kept(0xffff),
    &pmbus::VOUT_OV_FAULT_LIMIT.reset(16).kept(0xffff),
    &pmbus::VOUT_OV_WARN_LIMIT.reset(0).kept(0xffff),
    &pmbus::VOUT_UV_WARN_LIMIT.reset(0).kept(0xffff),
    &pmbus::STATUS_VOUT.volatile(0xff),
    &pmbus::READ_VOUT.reset(12).read_only(),
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[Fault::new(
    &["VOUT_OV_WARN_LIMIT", "VOUT_UV_WARN_LIMIT"],
    &[Rule::MachineReset],
    "a reset of the machine does not change limits that QEMU's adm1266 gives no value",
)];

/// QEMU's `adm1266`.
pub struct Adm1266 {
    device: I2cDevice,
}

impl Adm1266 {
    /// The device on its bus.
    pub fn device(&self) -> &I2cDevice {
        &self.device
    }

    /// The commands of all pages.
    pub fn pages(&self) -> Pages {
        Pages(self.device.clone())
    }
}

impl Consumes<dyn I2cBus> for Adm1266 {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},address={addr},id=adm1266").at("0x12");

    fn attach(bus: Rc<dyn I2cBus>, site: &Site) -> Result<Self> {
        Ok(Self { device: I2cDevice::plugged(bus, site, Endian::Little)? })
    }
}

impl Produces<RegisterBlock> for Adm1266 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let mut block = RegisterBlock::new("ADM1266", Rc::new(self.pages()), DEVICE);
        for register in SUPPLY {
            block = block.with_array(*register, SUPPLIES.into(), PAGE_STRIDE);
        }
        Rc::new(block.faults(FAULTS))
    }
}

driver!(Adm1266 = "adm1266"; consumes dyn I2cBus; produces RegisterBlock);
