//! The DS1338 real-time clock with 56 bytes of RAM (Maxim Integrated, data sheet "DS1338").

use std::rc::Rc;

use crate::graph::{Consumes, QemuArgs, Site};
use crate::protocol::Endian;
use crate::qos::i2c::{I2cBus, I2cDevice};
use crate::qos::registers::Registers;
use crate::{Result, driver};

/// Seconds, in BCD, as all registers of the time; bit 7 stops the clock.
pub const SECONDS: u8 = 0x00;
/// Minutes.
pub const MINUTES: u8 = 0x01;
/// Hours, of 24, or of 12 with [`TWELVE_HOURS`].
pub const HOURS: u8 = 0x02;
/// Day of the week, 1 to 7; which is which is for the user to say.
pub const DAY: u8 = 0x03;
/// Day of the month.
pub const DATE: u8 = 0x04;
/// Month.
pub const MONTH: u8 = 0x05;
/// Year of the century.
pub const YEAR: u8 = 0x06;
/// Control.
pub const CONTROL: u8 = 0x07;
/// The first byte of RAM.
pub const RAM: u8 = 0x08;
/// The last byte of RAM; the register pointer goes on at [`SECONDS`].
pub const LAST: u8 = 0x3f;

/// Hours: 12-hour mode.
pub const TWELVE_HOURS: u8 = 1 << 6;
/// Hours in 12-hour mode: PM.
pub const PM: u8 = 1 << 5;

/// Control: the oscillator was stopped (OSF); writing 1 leaves it as it is.
pub const OSCILLATOR_STOPPED: u8 = 1 << 5;
/// Control: bits that keep what is written (OUT, SQWE, RS1, RS0).
pub const CONTROL_KEPT: u8 = 0b1001_0011;

/// QEMU's `ds1338`. It runs by the virtual clock, so that its time stands still but for
/// the clock being stepped.
pub struct Ds1338 {
    device: I2cDevice,
}

impl Consumes<dyn I2cBus> for Ds1338 {
    // At the first second of 2020 when the machine starts.
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},address={addr}")
        .at("0x68")
        .before("-rtc base=2020-01-01T00:00:00,clock=vm");

    fn attach(bus: Rc<dyn I2cBus>, site: &Site) -> Result<Self> {
        site.vm.note_lasting("what a battery keeps");
        Ok(Self { device: I2cDevice::plugged(bus, site, Endian::Big)? })
    }
}

driver!(Ds1338 = "ds1338"; consumes dyn I2cBus);

impl Ds1338 {
    /// The device on its bus.
    pub fn device(&self) -> &I2cDevice {
        &self.device
    }

    /// Its registers.
    pub fn registers(&self) -> &dyn Registers {
        self.device.registers()
    }
}
