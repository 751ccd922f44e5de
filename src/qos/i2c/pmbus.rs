//! PMBus: the commands of devices for power, as registers behind an I2C address (PMBus Power
//! System Management Protocol Specification 1.3, part II, whose appendix I has the codes). Reset
//! values are those of a device's data sheet.

use super::I2cDevice;
use crate::Result;
use crate::qos::registers::{Register, Registers, RegistersExt, Width};

macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident: $ty:ty = $code:literal;)+) => {$(
        $(#[$doc])*
        pub const $name: Register<$ty> =
            Register::new(stringify!($name), $code).section("appendix I");
    )+};
}

commands! {
    /// Selects the page that the other commands are about.
    PAGE: u8 = 0x00;
    /// Turns the output on and off.
    OPERATION: u8 = 0x01;
    /// How the output is turned on and off.
    ON_OFF_CONFIG: u8 = 0x02;
    /// What the bus can do.
    CAPABILITY: u8 = 0x19;
    /// The data format of voltages.
    VOUT_MODE: u8 = 0x20;
    /// The voltage.
    VOUT_COMMAND: u16 = 0x21;
    /// The highest voltage that can be asked for.
    VOUT_MAX: u16 = 0x24;
    /// The voltage with OPERATION set to margin high.
    VOUT_MARGIN_HIGH: u16 = 0x25;
    /// The voltage with OPERATION set to margin low.
    VOUT_MARGIN_LOW: u16 = 0x26;
    /// How fast the voltage changes.
    VOUT_TRANSITION_RATE: u16 = 0x27;
    /// Overvoltage fault limit of the output.
    VOUT_OV_FAULT_LIMIT: u16 = 0x40;
    /// Overvoltage warning limit of the output.
    VOUT_OV_WARN_LIMIT: u16 = 0x42;
    /// Undervoltage warning limit of the output.
    VOUT_UV_WARN_LIMIT: u16 = 0x43;
    /// Overcurrent warning limit of the output.
    IOUT_OC_WARN_LIMIT: u16 = 0x4a;
    /// Overtemperature fault limit.
    OT_FAULT_LIMIT: u16 = 0x4f;
    /// Overtemperature warning limit.
    OT_WARN_LIMIT: u16 = 0x51;
    /// Overvoltage warning limit of the input.
    VIN_OV_WARN_LIMIT: u16 = 0x57;
    /// Undervoltage warning limit of the input.
    VIN_UV_WARN_LIMIT: u16 = 0x58;
    /// Overcurrent fault limit of the input.
    IIN_OC_FAULT_LIMIT: u16 = 0x5b;
    /// The time until the output begins to rise.
    TON_DELAY: u16 = 0x60;
    /// The time that the output takes to rise.
    TON_RISE: u16 = 0x61;
    /// The time that the output takes to fall.
    TOFF_FALL: u16 = 0x65;
    /// Overpower warning limit of the input.
    PIN_OP_WARN_LIMIT: u16 = 0x6b;
    /// Which status registers have bits set.
    STATUS_WORD: u16 = 0x79;
    /// Faults of the output's voltage.
    STATUS_VOUT: u8 = 0x7a;
    /// Faults of the output's current.
    STATUS_IOUT: u8 = 0x7b;
    /// Faults of the input.
    STATUS_INPUT: u8 = 0x7c;
    /// Faults of the temperature.
    STATUS_TEMPERATURE: u8 = 0x7d;
    /// The input's voltage.
    READ_VIN: u16 = 0x88;
    /// The input's current.
    READ_IIN: u16 = 0x89;
    /// The output's voltage.
    READ_VOUT: u16 = 0x8b;
    /// The output's current.
    READ_IOUT: u16 = 0x8c;
    /// The first temperature.
    READ_TEMPERATURE_1: u16 = 0x8d;
    /// The second temperature.
    READ_TEMPERATURE_2: u16 = 0x8e;
    /// The third temperature.
    READ_TEMPERATURE_3: u16 = 0x8f;
    /// The output's power.
    READ_POUT: u16 = 0x96;
    /// The input's power.
    READ_PIN: u16 = 0x97;
    /// The revision of PMBus.
    PMBUS_REVISION: u8 = 0x98;
}

/// The command that clears all status registers of the page; it has no data.
pub const CLEAR_FAULTS: u8 = 0x03;

/// STATUS_WORD: see STATUS_VOUT (17.2).
pub const WORD_VOUT: u16 = 1 << 15;
/// STATUS_WORD: see STATUS_IOUT.
pub const WORD_IOUT: u16 = 1 << 14;
/// STATUS_WORD: see STATUS_INPUT.
pub const WORD_INPUT: u16 = 1 << 13;
/// STATUS_VOUT: overvoltage fault.
pub const OV_FAULT: u8 = 1 << 7;
/// STATUS_VOUT: overvoltage warning.
pub const OV_WARNING: u8 = 1 << 6;
/// STATUS_VOUT: undervoltage warning.
pub const UV_WARNING: u8 = 1 << 5;
/// STATUS_IOUT: overcurrent warning (17.4).
pub const IOUT_OC_WARNING: u8 = 1 << 5;
/// STATUS_INPUT: overvoltage warning (17.5).
pub const VIN_OV_WARNING: u8 = 1 << 6;
/// STATUS_INPUT: undervoltage warning.
pub const VIN_UV_WARNING: u8 = 1 << 5;
/// STATUS_INPUT: overcurrent fault.
pub const IIN_OC_FAULT: u8 = 1 << 2;
/// STATUS_INPUT: overpower warning.
pub const PIN_OP_WARNING: u8 = 1 << 0;

/// From a page's commands to those of the next, as [`Pages`] numbers them.
pub const PAGE_STRIDE: u64 = 0x100;

/// The commands of all pages: that of page `n` is `n` times [`PAGE_STRIDE`] higher.
pub struct Pages(
    /// The device.
    pub I2cDevice,
);

impl Pages {
    fn select(&self, offset: u64) -> Result<u64> {
        self.0.set(PAGE, (offset / PAGE_STRIDE) as u8)?;
        Ok(offset % PAGE_STRIDE)
    }
}

impl Registers for Pages {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        self.0.read(self.select(offset)?, width)
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        self.0.write(self.select(offset)?, width, value)
    }
}
