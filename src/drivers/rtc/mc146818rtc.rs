//! The MC146818A real-time clock of PCs (Motorola, data sheet "MC146818A", DS 3.9) behind its
//! index and data ports.

use std::cell::Cell;
use std::rc::Rc;

use chrono::{Datelike, Timelike, Weekday};

use crate::graph::{Discovered, FoundDevice, Produces, QemuArgs};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qemu::discovery::Space;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Ports, Register, RegisterBlock, Registers, RegistersExt, Rule, Width,
};
use crate::qos::rtc::{self, Alarm, DateTime, Profile, Rtc, at, from_bcd, to_bcd};
use crate::{Error, Result, discovered, driver, interface};

/// A register of the time, which goes on by itself.
const fn time(name: &'static str, index: u64) -> Register<u8> {
    Register::new(name, index).section("Time, Calendar, and Alarm").volatile(0xff).side_effect()
}

/// A register of the alarm. Two ones at the top stand for every value.
const fn alarm(name: &'static str, index: u64) -> Register<u8> {
    Register::new(name, index).section("Time, Calendar, and Alarm").kept(0xff).lasting()
}

/// Seconds.
pub const SECONDS: Register<u8> = time("seconds", 0x00);
/// Seconds of the alarm.
pub const SECONDS_ALARM: Register<u8> = alarm("seconds alarm", 0x01);
/// Minutes.
pub const MINUTES: Register<u8> = time("minutes", 0x02);
/// Minutes of the alarm.
pub const MINUTES_ALARM: Register<u8> = alarm("minutes alarm", 0x03);
/// Hours; in 12-hour mode with [`PM`].
pub const HOURS: Register<u8> = time("hours", 0x04);
/// Hours of the alarm.
pub const HOURS_ALARM: Register<u8> = alarm("hours alarm", 0x05);
/// Day of the week, 1 is Sunday.
pub const DAY_OF_WEEK: Register<u8> = time("day of the week", 0x06);
/// Day of the month.
pub const DATE: Register<u8> = time("date of the month", 0x07);
/// Month.
pub const MONTH: Register<u8> = time("month", 0x08);
/// Year of the century.
pub const YEAR: Register<u8> = time("year", 0x09);
/// Register A: an update is near, divider, rate.
pub const A: Register<u8> = Register::new("register A", 0x0a)
    .section("Register A")
    .reset(DIVIDER_RUNS as u64 | 6)
    .kept(0x0f)
    .acts(DIVIDER as u64)
    .volatile(UIP as u64)
    .lasting();
/// Register B: interrupts and formats. A reset clears the enable bits, and leaves the formats.
pub const B: Register<u8> = Register::new("register B", 0x0b)
    .section("Register B")
    .reset(0)
    .undefined((DM | HOURS_24 | 1) as u64)
    .kept((PIE | AIE | UIE | SQWE | DM | HOURS_24 | 1) as u64)
    .acts(SET as u64);
/// Register C: interrupt flags.
pub const C: Register<u8> =
    Register::new("register C", 0x0c).section("Register C").reset(0).clears_on_read();
/// Register D: the battery is good.
pub const D: Register<u8> =
    Register::new("register D", 0x0d).section("Register D").reset(0x80).read_only();
/// Shutdown status, in RAM: what firmware is to do after a reset. A reset of the whole machine
/// clears it.
pub const SHUTDOWN: Register<u8> =
    Register::new("shutdown status", 0x0f).section("Address Map").reset(0).kept(0xff);
/// The first byte of RAM, which firmware uses.
pub const RAM: Register<u8> =
    Register::new("RAM", 0x0e).section("Address Map").kept(0xff).lasting();
/// Century, where PCs have it in RAM (ACPI 6.5, section 5.2.9, field CENTURY).
pub const CENTURY: Register<u8> = time("century", 0x32);
/// Century, where the IBM PS/2 has it.
pub const CENTURY_PS2: Register<u8> = time("century (PS/2)", 0x37);

/// A: an update is in progress, or begins within 244 µs.
pub const UIP: u8 = 1 << 7;
/// A: the divider.
pub const DIVIDER: u8 = 0b111 << 4;
/// A: the divider as a crystal of 32.768 kHz needs it.
pub const DIVIDER_RUNS: u8 = 0b010 << 4;
/// A: the divider is held in reset.
pub const DIVIDER_RESET: u8 = 0b111 << 4;
/// B: the time does not go on, so that it can be set.
pub const SET: u8 = 1 << 7;
/// B: the periodic interrupt is enabled; the flag is the same bit of C.
pub const PIE: u8 = 1 << 6;
/// B: the alarm interrupt is enabled; the flag is the same bit of C.
pub const AIE: u8 = 1 << 5;
/// B: the update-ended interrupt is enabled; the flag is the same bit of C.
pub const UIE: u8 = 1 << 4;
/// B: a square wave is put out.
pub const SQWE: u8 = 1 << 3;
/// B: numbers are binary, not BCD.
pub const DM: u8 = 1 << 2;
/// B: hours are those of 24.
pub const HOURS_24: u8 = 1 << 1;
/// C: an enabled interrupt is pending.
pub const IRQF: u8 = 1 << 7;
/// Hours in 12-hour mode: PM.
pub const PM: u8 = 1 << 7;
/// In a register of the alarm: any value.
pub const ANY: u8 = 0xc0;

/// All registers but the RAM.
const TABLE: &[&dyn AnyRegister] = &[
    &SECONDS,
    &SECONDS_ALARM,
    &MINUTES,
    &MINUTES_ALARM,
    &HOURS,
    &HOURS_ALARM,
    &DAY_OF_WEEK,
    &DATE,
    &MONTH,
    &YEAR,
    &A,
    &B,
    &C,
    &D,
    &SHUTDOWN,
    &CENTURY,
    &CENTURY_PS2,
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[Fault::new(
    &["register B"],
    &[Rule::MachineReset],
    "a reset of the machine does not clear UIE of QEMU's mc146818rtc",
)
.bits(UIE as u64)];

/// The registers behind the ports: an offset is an index.
struct Indexed {
    ports: Box<dyn Registers>,
}

/// The port that takes the index, and the one that gives the register.
const INDEX_AND_DATA: (u64, u64) = (0, 1);

impl Indexed {
    fn select(&self, offset: u64, width: Width) -> Result<()> {
        if offset > 0x7f || width != Width::Byte {
            return Err(Error::failed(format!("no index of this clock is {offset:#x}")));
        }
        self.ports.write(INDEX_AND_DATA.0, Width::Byte, offset)
    }
}

impl Registers for Indexed {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        self.select(offset, width)?;
        self.ports.read(INDEX_AND_DATA.1, width)
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        self.select(offset, width)?;
        self.ports.write(INDEX_AND_DATA.1, width, value)
    }
}

/// QEMU's `mc146818rtc`.
pub struct Mc146818 {
    vm: Rc<Vm>,
    registers: Rc<Indexed>,
    pin: Option<Pin>,
    /// Which interrupts were enabled last.
    enabled: Cell<u8>,
}

/// All interrupts of the clock, as bits of B and C.
pub const INTERRUPTS: u8 = PIE | AIE | UIE;

impl Mc146818 {
    /// The clock of a PC, at ports 0x70 and 0x71 and at input 8 of the I/O APIC.
    pub fn of_pc(vm: &Rc<Vm>) -> Self {
        let pin = Pin { path: "ioapic".to_owned(), input: 8 };
        Self::new(vm, Box::new(Ports::new(vm, 0x70)), Some(pin))
    }

    fn new(vm: &Rc<Vm>, ports: Box<dyn Registers>, pin: Option<Pin>) -> Self {
        let registers = Rc::new(Indexed { ports });
        Self { vm: vm.clone(), registers, pin, enabled: Cell::new(0) }
    }

    /// Its registers.
    pub fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Sets bits of B and clears others.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn change_b(&self, set: u8, clear: u8) -> Result<()> {
        let b = self.registers().get(B)? & !clear | set;
        // SET clears UIE.
        let cleared = if b & SET == 0 { 0 } else { UIE };
        self.enabled.set(b & INTERRUPTS & !cleared);
        self.registers().set(B, b)
    }

    /// Reads the flags of C, which clears them, and sees that IRQF is set if one of them is of
    /// an enabled interrupt.
    ///
    /// # Errors
    /// Returns [`Error::Failed`] if it is not so, or a reserved bit is set.
    pub fn flags(&self) -> Result<u8> {
        let (flags, enabled) = (self.registers().get(C)?, self.enabled.get());
        if flags & 0x0f != 0 || (flags & IRQF != 0) != (flags & enabled != 0) {
            let what = format!("register C is {flags:#04x}, with {enabled:#04x} enabled in B");
            return Err(Error::failed(what));
        }
        Ok(flags & INTERRUPTS)
    }

    /// The day of the week that it shows.
    ///
    /// # Errors
    /// Returns [`Error::Failed`] if it shows none.
    pub fn weekday(&self) -> Result<Weekday> {
        let day = self.registers().get(DAY_OF_WEEK)?;
        let from_monday = (day + 5) % 7;
        Weekday::try_from(from_monday)
            .ok()
            .filter(|_| (1..=7).contains(&day))
            .ok_or_else(|| Error::failed(format!("{day:#x} is no day of the week")))
    }

    fn encoded(number: u32, b: u8) -> u8 {
        if b & DM == 0 { to_bcd(number as u8) } else { number as u8 }
    }

    fn decoded(number: u8, b: u8) -> Result<u32> {
        let number = if b & DM == 0 { from_bcd(number)? } else { number };
        Ok(number.into())
    }

    /// The register of this hour in the mode that B says.
    pub fn encoded_hour(hour: u32, b: u8) -> u8 {
        if b & HOURS_24 != 0 {
            return Self::encoded(hour, b);
        }
        let afternoon = if hour < 12 { 0 } else { PM };
        afternoon | Self::encoded((hour + 11) % 12 + 1, b)
    }

    fn decoded_hour(register: u8, b: u8) -> Result<u32> {
        if b & HOURS_24 != 0 {
            return Self::decoded(register, b);
        }
        let hour = Self::decoded(register & !PM, b)?;
        if !(1..=12).contains(&hour) {
            return Err(Error::failed(format!("{register:#x} is no hour in 12-hour mode")));
        }
        Ok(hour % 12 + if register & PM == 0 { 0 } else { 12 })
    }
}

impl Rtc for Mc146818 {
    fn profile(&self) -> Profile {
        Profile::new(at(1970, 1, 1, 0, 0, 0), at(2199, 12, 31, 23, 59, 59))
    }

    fn time(&self) -> Result<DateTime> {
        // The virtual clock stands still, so that no update comes between these reads.
        let b = self.registers().get(B)?;
        let number = |register| Self::decoded(self.registers().get(register)?, b);
        let (century, year) = (number(CENTURY)?, number(YEAR)?);
        let date = [century * 100 + year, number(MONTH)?, number(DATE)?];
        let hour = Self::decoded_hour(self.registers().get(HOURS)?, b)?;
        let time = rtc::checked(date, [hour, number(MINUTES)?, number(SECONDS)?])?;
        let weekday = self.weekday()?;
        if weekday != time.weekday() {
            return Err(Error::failed(format!("{time} is no {weekday}")));
        }
        Ok(time)
    }

    fn set_time(&self, time: DateTime) -> Result<()> {
        self.change_b(SET, 0)?;
        let b = self.registers().get(B)?;
        let year = time.year().cast_unsigned();
        for (register, number) in [
            (SECONDS, time.second()),
            (MINUTES, time.minute()),
            (DAY_OF_WEEK, time.weekday().number_from_sunday()),
            (DATE, time.day()),
            (MONTH, time.month()),
            (YEAR, year % 100),
            (CENTURY, year / 100),
        ] {
            self.registers().set(register, Self::encoded(number, b))?;
        }
        self.registers().set(HOURS, Self::encoded_hour(time.hour(), b))?;
        self.change_b(0, SET)
    }

    fn alarm(&self) -> Option<&dyn Alarm> {
        Some(self)
    }
}

impl Alarm for Mc146818 {
    fn set(&self, at: DateTime) -> Result<()> {
        let b = self.registers().get(B)?;
        self.registers().set(SECONDS_ALARM, Self::encoded(at.second(), b))?;
        self.registers().set(MINUTES_ALARM, Self::encoded(at.minute(), b))?;
        self.registers().set(HOURS_ALARM, Self::encoded_hour(at.hour(), b))?;
        self.flags().map(drop)
    }

    fn enable(&self, is_enabled: bool) -> Result<()> {
        if is_enabled { self.change_b(AIE, 0) } else { self.change_b(0, AIE) }
    }

    fn take(&self) -> Result<bool> {
        Ok(self.flags()? & AIE != 0)
    }

    fn line(&self) -> Result<Option<InterruptLine>> {
        let Some(pin) = &self.pin else { return Ok(None) };
        // The interval timer ticks at the same controller. Its counter 0 stops when it is to
        // count once and gets no count (Intel 8254 data sheet, mode 0).
        self.vm.qtest().outb(0x43, 0x30)?;
        pin.watch(&self.vm).map(Some)
    }
}

impl Produces<dyn Rtc> for Mc146818 {
    const ARGS: QemuArgs = rtc::ARGS;

    fn produced(self: Rc<Self>) -> Rc<dyn Rtc> {
        self
    }
}

/// The clock with what it has beside time and alarm, by the virtual clock.
pub struct Chip(
    /// The clock.
    pub Rc<Mc146818>,
);

interface!(Chip = "mc146818");

impl Produces<Chip> for Mc146818 {
    const ARGS: QemuArgs = rtc::ARGS;

    fn produced(self: Rc<Self>) -> Rc<Chip> {
        Rc::new(Chip(self))
    }
}

impl Produces<RegisterBlock> for Mc146818 {
    // An update of the time is raised by the virtual clock.
    const ARGS: QemuArgs = rtc::ARGS;

    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let vm = self.vm.clone();
        vm.note_lasting("what a battery keeps");
        let block = RegisterBlock::new("MC146818A", self.registers.clone(), TABLE)
            .with_pages(&RAM, 0, 1, 1)
            .with_pages(&RAM, 2, 0x22, 1)
            .with_pages(&RAM, 0x25, 4, 1)
            .with_pages(&RAM, 0x2a, 0x48, 1)
            .raise(&C, UIE.into(), move |_| rtc::step_seconds(&vm, 1))
            .faults(FAULTS);
        Rc::new(block)
    }
}

impl Discovered for Mc146818 {
    const QOM_TYPES: &'static [&'static str] = &["mc146818rtc"];

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let none = || Error::failed(format!("{} has no region called rtc", device.path));
        let region = device.region("rtc").ok_or_else(none)?;
        let ports: Box<dyn Registers> = match region.space {
            Space::Ports => Box::new(Ports::new(vm, region.base as u16)),
            Space::Memory => Box::new(Mmio::new(vm, region.base, Endian::Little)),
        };
        let mut apics = device.machine().devices_of("ioapic");
        let pin = apics.next().map(|apic| Pin { path: apic.path.to_string(), input: 8 });
        Ok(Self::new(vm, ports, pin))
    }
}

driver!(Mc146818 = "mc146818rtc"; produces dyn Rtc, Chip, RegisterBlock);
discovered!(Mc146818);
