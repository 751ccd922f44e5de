//! The DS1338 real-time clock with 56 bytes of RAM (Maxim Integrated, data sheet "DS1338").

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::protocol::Endian;
use crate::qos::i2c::{I2cBus, I2cDevice};
use crate::qos::registers::{AnyRegister, Fault, Register, RegisterBlock, Registers, Rule};
use crate::{Result, driver};

/// Seconds, in BCD, as all registers of the time; bit 7 stops the clock.
pub const SECONDS: Register<u8> = time("seconds", 0x00);
/// Minutes.
pub const MINUTES: Register<u8> = time("minutes", 0x01);
/// Hours, of 24, or of 12 with [`TWELVE_HOURS`].
pub const HOURS: Register<u8> = time("hours", 0x02);
/// Day of the week, 1 to 7; which is which is for the user to say.
pub const DAY: Register<u8> = time("day", 0x03);
/// Day of the month.
pub const DATE: Register<u8> = time("date", 0x04);
/// Month.
pub const MONTH: Register<u8> = time("month", 0x05);
/// Year of the century.
pub const YEAR: Register<u8> = time("year", 0x06);
/// Control. A zero clears bit 5.
pub const CONTROL: Register<u8> = Register::new("control", 0x07)
    .section("Control Register")
    .kept(CONTROL_KEPT as u64)
    .volatile(OSCILLATOR_STOPPED as u64)
    .lasting();
/// The first byte of RAM, of 56.
pub const RAM: Register<u8> =
    Register::new("RAM", 0x08).section("RTC and RAM Address Map").kept(0xff).lasting();
/// The last byte of RAM; the register pointer goes on at [`SECONDS`].
pub const LAST: Register<u8> = RAM.nth(55, 1);

/// A register of the time, which goes on by itself.
const fn time(name: &'static str, offset: u64) -> Register<u8> {
    Register::new(name, offset).section("Clock and Calendar").volatile(0xff).side_effect()
}

/// All registers but the RAM.
const TABLE: &[&dyn AnyRegister] =
    &[&SECONDS, &MINUTES, &HOURS, &DAY, &DATE, &MONTH, &YEAR, &CONTROL];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[Fault::new(
    &["control", "RAM"],
    &[Rule::MachineReset],
    "a reset of the machine clears what the battery of QEMU's ds1338 keeps",
)];

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

impl Produces<RegisterBlock> for Ds1338 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let registers = Rc::new(self.device.clone());
        let block = RegisterBlock::new("DS1338", registers, TABLE).with_array(&RAM, 56, 1);
        Rc::new(block.faults(FAULTS))
    }
}

driver!(Ds1338 = "ds1338"; consumes dyn I2cBus; produces RegisterBlock);

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
