//! The static memory controllers of the ASPEED BMCs (AST2500 and AST2600 data sheets, chapters
//! "Firmware SPI Memory Controller" and "SPI Flash Controller"): a flash chip on a chip select is
//! read as memory, or by software byte by byte.

use std::rc::Rc;

use crate::drivers::spi::slot;
use crate::graph::{Discovered, FoundDevice, Plug, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, RegistersExt};
use crate::qos::spi::{Chip, SpiController, SpiSlot};
use crate::{Error, Result, discovered, driver};

/// CE type setting: which chip selects may be written.
pub const CONFIG: Register<u32> =
    Register::new("FMC00", 0x00).section("CE Type Setting").kept(0x001f_0000).reserved(0xffe0_ffff);
/// CE control: which have addresses of four bytes.
const CE_CONTROL: Register<u32> =
    Register::new("FMC04", 0x04).section("CE Control").kept(0x7).reserved(0xffff_fff8);
/// Interrupt control and status.
pub const INTERRUPT: Register<u32> =
    Register::new("FMC08", 0x08).section("Interrupt Control and Status").acts(0xffff_ffff);
/// Which bytes of commands are not sent.
const COMMAND: Register<u32> = Register::new("FMC0C", 0x0c)
    .section("Command Control")
    .reset(0)
    .kept(0xff)
    .reserved(0xffff_ff00);
/// The control register of the first chip select; others follow.
const CONTROL: Register<u32> = Register::new("FMC10", 0x10).section("CE0 Control");
/// The segment of the first chip select; others follow.
pub const SEGMENT: Register<u32> = Register::new("FMC30", 0x30).section("CE0 Segment Address");
/// What is sent in dummy cycles.
const DUMMY: Register<u32> =
    Register::new("FMC54", 0x54).section("Dummy Data").kept(0xff).reserved(0xffff_ff00);
/// DMA control and status.
pub const DMA_CONTROL: Register<u32> = Register::new("FMC80", 0x80).section("DMA Control");
/// The address of a DMA in the flash.
pub const DMA_FLASH: Register<u32> = Register::new("FMC84", 0x84).section("DMA Flash Address");
/// The address of a DMA in RAM.
pub const DMA_RAM: Register<u32> = Register::new("FMC88", 0x88).section("DMA DRAM Address");
/// The length of a DMA.
pub const DMA_LENGTH: Register<u32> = Register::new("FMC8C", 0x8c).section("DMA Length");
/// The sum of the words of a DMA.
pub const DMA_SUM: Register<u32> = Register::new("FMC90", 0x90).section("DMA Checksum");
/// The control register of the second controller of the AST2400, which has registers of its own.
const OLD_CONTROL: Register<u32> = Register::new("SPI04", 0x04).section("CE0 Control");
/// The configuration of that.
const OLD_CONFIG: Register<u32> = Register::new("SPI00", 0x00)
    .section("SPI Flash Configuration")
    .reset(0)
    .kept(1)
    .reserved(0xffff_fffe);
/// The timings of that.
const OLD_TIMINGS: Register<u32> = Register::new("SPI14", 0x14)
    .section("Read Timing Compensation")
    .reset(0)
    .kept(0x0fff_ffff)
    .reserved(0xf000_0000);

/// Registers that all but that one have.
const TABLE: &[&dyn AnyRegister] = &[&CONFIG, &CE_CONTROL, &INTERRUPT, &COMMAND, &DUMMY];
/// Registers of that one.
const OLD_TABLE: &[&dyn AnyRegister] = &[&OLD_CONFIG, &OLD_TIMINGS];

/// CONTROL: the chip select is not active.
const STOP: u32 = 1 << 2;
/// CONTROL: software transfers bytes.
const USER: u32 = 3;
/// CONTROL: dummy cycles, in bytes.
const DUMMY_BYTE: u32 = 1 << 6;
/// OLD_CONTROL: addresses have four bytes.
const OLD_FOUR_BYTES: u32 = 1 << 13;

/// What an access to the window of a chip select does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It reads by the command 03h.
    Read,
    /// It reads by a command with a byte of dummy cycles.
    FastRead(u8),
    /// It writes by a command.
    Write(u8),
}

/// One of the controllers.
#[derive(Clone)]
pub struct AspeedSmc {
    registers: Rc<Mmio>,
    /// The windows of the chip selects.
    windows: Vec<Rc<Mmio>>,
    /// Whether it is the one with registers of its own.
    is_old: bool,
    chip: Option<Chip>,
    pin: Option<Pin>,
    /// The QOM type.
    ty: String,
}

impl AspeedSmc {
    /// Its registers.
    pub fn registers(&self) -> &Mmio {
        &self.registers
    }

    /// The window of a chip select.
    ///
    /// # Errors
    /// Returns an error if it has no such chip select.
    pub fn window(&self, select: usize) -> Result<&Mmio> {
        let none = || Error::skipped(format!("{} has no chip select {select}", self.ty));
        self.windows.get(select).map(|window| &**window).ok_or_else(none)
    }

    /// How many chip selects it has.
    pub fn selects(&self) -> usize {
        self.windows.len()
    }

    /// The chip that the board has at chip select 0, if it has one.
    pub fn chip(&self) -> Option<Chip> {
        self.chip.clone()
    }

    /// Its interrupt line, if that can be watched.
    ///
    /// # Errors
    /// Returns an error if another's lines are watched already.
    pub fn interrupt(&self) -> Result<Option<InterruptLine>> {
        self.pin.as_ref().map(|pin| pin.watch(self.registers.vm())).transpose()
    }

    /// Whether it has DMA.
    pub fn has_dma(&self) -> bool {
        let spi_without = ["ast2400", "ast2500"].iter().any(|soc| self.ty.ends_with(soc));
        self.ty.contains(".fmc-") || !spi_without && !self.ty.contains(".smc-")
    }

    /// The generation of the chip it is in, such as 2500.
    pub fn generation(&self) -> u32 {
        let digits = self.ty.rsplit_once("ast").map_or("", |(_, digits)| digits);
        digits.parse().unwrap_or(0)
    }

    /// Lets accesses to the window of a chip select do something.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set_mode(&self, select: usize, mode: Mode) -> Result<()> {
        let kept = self.registers.get(self.control(select))? & OLD_FOUR_BYTES;
        let value = match mode {
            Mode::Read => 0,
            Mode::FastRead(code) => 1 | DUMMY_BYTE | u32::from(code) << 16,
            Mode::Write(code) => 2 | u32::from(code) << 16,
        };
        self.registers.set(self.control(select), kept | value)
    }

    /// Lets software transfer bytes, without a chip that is selected.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn stop(&self, select: usize) -> Result<()> {
        self.change(self.control(select), 0, USER | STOP)
    }

    /// Lets writes to the window of a chip select through, or not.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn allow_writes(&self, select: usize, allow: bool) -> Result<()> {
        let bit = if self.is_old { 1 } else { 1 << (16 + select) };
        self.change(CONFIG, bit, if allow { bit } else { 0 })
    }

    /// Whether its registers are those of all but the second controller of the AST2400.
    pub fn is_usual(&self) -> bool {
        !self.is_old
    }

    fn control(&self, select: usize) -> Register<u32> {
        if self.is_old { OLD_CONTROL } else { CONTROL.nth(select as u64, 4) }
    }

    fn change(&self, register: Register<u32>, clear: u32, set: u32) -> Result<()> {
        let before = self.registers.get(register)?;
        self.registers.set(register, before & !clear | set)
    }

    /// The chip select in user mode with the select active, if there is one.
    fn active(&self) -> Result<&Mmio> {
        for (number, window) in self.windows.iter().enumerate() {
            if self.registers.get(self.control(number))? & (USER | STOP) == USER {
                return Ok(window);
            }
        }
        Err(Error::failed("no chip is selected"))
    }
}

impl SpiController for AspeedSmc {
    fn vm(&self) -> &Rc<Vm> {
        self.registers.vm()
    }

    fn select(&self, number: usize) -> Result<()> {
        self.allow_writes(number, true)?;
        self.change(self.control(number), STOP, USER)
    }

    fn deselect(&self) -> Result<()> {
        for number in 0..self.windows.len() {
            let control = self.registers.get(self.control(number))?;
            if control & (USER | STOP) == USER {
                self.registers.set(self.control(number), control | STOP)?;
            }
        }
        Ok(())
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        let window = self.active()?;
        bytes.iter().try_for_each(|byte| window.write8(0, *byte))
    }

    fn receive(&self, length: usize) -> Result<Vec<u8>> {
        let window = self.active()?;
        (0..length).map(|_| window.read8(0)).collect()
    }

    fn set_address_length(&self, number: usize, bytes: usize) -> Result<()> {
        let four = bytes == 4;
        let (register, bit) = match self.is_old {
            true => (OLD_CONTROL, OLD_FOUR_BYTES),
            false => (CE_CONTROL, 1 << number),
        };
        self.change(register, bit, if four { bit } else { 0 })
    }
}

impl Produces<SpiSlot> for AspeedSmc {
    fn produced(self: Rc<Self>) -> Rc<SpiSlot> {
        Rc::new(SpiSlot { chip: self.chip.clone(), controller: self })
    }
}

impl Produces<RegisterBlock> for AspeedSmc {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let table = if self.is_old { OLD_TABLE } else { TABLE };
        let sheet = "AST2500 data sheet, FMC";
        Rc::new(RegisterBlock::new(sheet, self.registers.clone(), table))
    }
}

impl Discovered for AspeedSmc {
    const QOM_TYPES: &'static [&'static str] = &["aspeed.smc"];

    fn plug(device: &FoundDevice) -> Plug {
        slot::of(device)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let mmio = |base| Mmio::new(vm, base, Endian::Little);
        let machine = device.machine();
        let window = |number| {
            let flash = machine.device(&format!("{}/flash[{number}]", device.path))?;
            flash.regions.first().map(|region| Rc::new(mmio(region.base)))
        };
        Ok(Self {
            registers: Rc::new(mmio(device.base()?)),
            windows: (0..5).map_while(window).collect(),
            is_old: &*device.ty == "aspeed.spi1-ast2400",
            chip: slot::chip(device),
            pin: Pin::of(device, 0),
            ty: device.ty.to_string(),
        })
    }
}

driver!(AspeedSmc = "aspeed.smc"; produces SpiSlot, RegisterBlock);
discovered!(AspeedSmc);
