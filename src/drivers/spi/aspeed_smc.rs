//! The static memory controllers of the ASPEED BMCs (AST2500 and AST2600 data sheets, chapters
//! "Firmware SPI Memory Controller" and "SPI Flash Controller"): a flash chip on a chip select is
//! read as memory, or by software byte by byte.

use std::rc::Rc;

use crate::drivers::spi::slot;
use crate::graph::{Discovered, FoundDevice, Plug, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::registers::{Mmio, Register, RegistersExt};
use crate::qos::spi::{Chip, SpiController, SpiSlot};
use crate::{Error, Result, discovered, driver};

/// CE type setting: which chip selects may be written.
const CONFIG: Register<u32> = Register::new("FMC00", 0x00).section("CE Type Setting");
/// CE control: which have addresses of four bytes.
const CE_CONTROL: Register<u32> = Register::new("FMC04", 0x04).section("CE Control");
/// The control register of the first chip select; others follow.
const CONTROL: Register<u32> = Register::new("FMC10", 0x10).section("CE0 Control");
/// The same in the second controller of the AST2400, which has registers of its own.
const OLD_CONTROL: Register<u32> = Register::new("SPI04", 0x04).section("CE0 Control");

/// CONTROL: the chip select is not active.
const STOP: u32 = 1 << 2;
/// CONTROL: software transfers bytes.
const USER: u32 = 3;
/// OLD_CONTROL: addresses have four bytes.
const OLD_FOUR_BYTES: u32 = 1 << 13;

/// One of the controllers.
pub struct AspeedSmc {
    registers: Rc<Mmio>,
    /// The windows of the chip selects.
    windows: Vec<Mmio>,
    /// Whether it is the one with registers of its own.
    is_old: bool,
    chip: Option<Chip>,
}

impl AspeedSmc {
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
        let enable = if self.is_old { 1 } else { 1 << (16 + number) };
        self.change(CONFIG, 0, enable)?;
        self.change(self.control(number), 0, USER | STOP)?;
        self.change(self.control(number), STOP, 0)
    }

    fn deselect(&self) -> Result<()> {
        for number in 0..self.windows.len() {
            self.change(self.control(number), 0, STOP)?;
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
            flash.regions.first().map(|region| mmio(region.base))
        };
        Ok(Self {
            registers: Rc::new(mmio(device.base()?)),
            windows: (0..5).map_while(window).collect(),
            is_old: &*device.ty == "aspeed.spi1-ast2400",
            chip: slot::chip(device),
        })
    }
}

driver!(AspeedSmc = "aspeed.smc"; produces SpiSlot);
discovered!(AspeedSmc);
