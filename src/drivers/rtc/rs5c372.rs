//! The RS5C372A real-time clock (Ricoh, data sheet "RS5C372A/B", EA-086), whose internal registers
//! are addressed by the upper half of a byte.

use std::rc::Rc;

use crate::graph::{Consumes, QemuArgs, Site};
use crate::protocol::Endian;
use crate::qos::i2c::{I2cBus, I2cDevice};
use crate::{Error, Result, driver};

/// How many internal registers there are.
pub const REGISTERS: usize = 16;
/// Seconds, in BCD, as all registers of the time.
pub const SECONDS: u8 = 0x0;
/// Minutes.
pub const MINUTES: u8 = 0x1;
/// Hours, of 24, or of 12 without [`TWENTY_FOUR`].
pub const HOURS: u8 = 0x2;
/// Day of the month.
pub const DAY: u8 = 0x4;
/// Month.
pub const MONTH: u8 = 0x5;
/// Year of the century.
pub const YEAR: u8 = 0x6;
/// Control register 2, with which a read without an address begins.
pub const CONTROL_2: u8 = 0xf;

/// Hours of 12: after noon.
pub const PM: u8 = 1 << 5;
/// Control register 2: hours of 24.
pub const TWENTY_FOUR: u8 = 1 << 5;

/// QEMU's `rs5c372`. It runs by the virtual clock.
pub struct Rs5c372 {
    device: I2cDevice,
}

impl Rs5c372 {
    /// All registers, in the order of their addresses.
    ///
    /// # Errors
    /// Returns an error if the chip does not acknowledge, or [`CONTROL_2`], with which a read
    /// begins and goes round, is not the same twice.
    pub fn all(&self) -> Result<[u8; REGISTERS]> {
        let [first, read @ ..] = self.device.recv::<{ REGISTERS + 1 }>()?;
        match read[usize::from(CONTROL_2)] {
            again if again == first => Ok(read),
            again => Err(Error::failed(format!("register F is {first:#x}, then {again:#x}"))),
        }
    }

    /// Writes registers from `register` on.
    ///
    /// # Errors
    /// Returns an error if the chip does not acknowledge.
    pub fn write(&self, register: u8, values: &[u8]) -> Result<()> {
        self.device.send(&[&[register << 4], values].concat())
    }
}

impl Consumes<dyn I2cBus> for Rs5c372 {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},address={addr}")
        .at("0x32")
        .before("-rtc base=2020-01-01T00:00:00,clock=vm");

    fn attach(bus: Rc<dyn I2cBus>, site: &Site) -> Result<Self> {
        site.vm.note_lasting("what a battery keeps");
        Ok(Self { device: I2cDevice::plugged(bus, site, Endian::Big)? })
    }
}

driver!(Rs5c372 = "rs5c372"; consumes dyn I2cBus);
