//! The SPI controller of SiFive's chips (FU540-C000 manual, chapter 19): a FIFO of eight bytes
//! each way.

use std::rc::Rc;

use crate::drivers::spi::slot;
use crate::graph::{Discovered, FoundDevice, Plug, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, RegistersExt};
use crate::qos::spi::{Chip, SpiController, SpiSlot};
use crate::qos::wait_until;
use crate::{Error, Result, discovered, driver};

/// The divisor of the clock.
const SCKDIV: Register<u32> =
    Register::new("sckdiv", 0x00).section("19.4").reset(3).kept(0xfff).reserved(0xffff_f000);
/// The mode of the clock.
const SCKMODE: Register<u32> =
    Register::new("sckmode", 0x04).section("19.5").reset(0).kept(3).reserved(0xffff_fffc);
/// Which chip select.
const CSID: Register<u32> = Register::new("csid", 0x10).section("19.6").reset(0).acts(0xffff_ffff);
/// Which chip selects are high while no chip is selected.
const CSDEF: Register<u32> =
    Register::new("csdef", 0x14).section("19.7").reset(1).acts(0xffff_ffff);
/// When the chip is selected.
const CSMODE: Register<u32> = Register::new("csmode", 0x18).section("19.8").reset(0).acts(3);
/// How bytes are sent.
const FMT: Register<u32> = Register::new("fmt", 0x40).section("19.10").acts(0xffff_ffff);
/// Sends a byte.
const TXDATA: Register<u32> = Register::new("txdata", 0x48).section("19.11").reset(0).side_effect();
/// Takes a byte that was received.
const RXDATA: Register<u32> =
    Register::new("rxdata", 0x4c).section("19.12").reset(EMPTY as u64).read_effect();
/// How few bytes are to be sent when it interrupts.
const TXMARK: Register<u32> =
    Register::new("txmark", 0x50).section("19.13").kept(7).reserved(0xffff_fff8);
/// How many were received when it interrupts.
const RXMARK: Register<u32> =
    Register::new("rxmark", 0x54).section("19.14").reset(0).kept(7).reserved(0xffff_fff8);
/// Interrupts that are enabled.
const IE: Register<u32> =
    Register::new("ie", 0x70).section("19.15").reset(0).kept(3).reserved(0xffff_fffc);

/// The registers.
const TABLE: &[&dyn AnyRegister] =
    &[&SCKDIV, &SCKMODE, &CSID, &CSDEF, &CSMODE, &FMT, &TXDATA, &RXDATA, &TXMARK, &RXMARK, &IE];

/// CSMODE: select for the time of a byte; until something else is written.
const AUTO: u32 = 0;
const HOLD: u32 = 2;
/// FMT: eight bits a frame on one line, sent and received.
const BYTES: u32 = 8 << 16;
/// TXDATA: the FIFO is full.
const FULL: u32 = 1 << 31;
/// RXDATA: the FIFO is empty.
const EMPTY: u32 = 1 << 31;

/// QEMU's `sifive.spi`.
pub struct SifiveSpi {
    registers: Rc<Mmio>,
    chip: Option<Chip>,
}

impl SifiveSpi {
    fn transfer(&self, byte: u8) -> Result<u8> {
        let registers = &*self.registers;
        if registers.get(TXDATA)? & FULL != 0 {
            return Err(Error::failed("the FIFO of what is sent is full, of nothing"));
        }
        registers.set(TXDATA, byte.into())?;
        let mut read = EMPTY;
        wait_until(registers.vm(), "a byte to be received", || {
            read = registers.get(RXDATA)?;
            Ok(read & EMPTY == 0)
        })?;
        let rest = registers.get(RXDATA)?;
        match rest & EMPTY {
            0 => Err(Error::failed(format!("one byte was sent, and another came: {rest:#x}"))),
            _ => Ok(read as u8),
        }
    }
}

impl SpiController for SifiveSpi {
    fn vm(&self) -> &Rc<Vm> {
        self.registers.vm()
    }

    fn select(&self, number: usize) -> Result<()> {
        self.registers.set(FMT, BYTES)?;
        self.registers.set(CSID, number as u32)?;
        self.registers.set(CSMODE, HOLD)
    }

    fn deselect(&self) -> Result<()> {
        self.registers.set(CSMODE, AUTO)
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        bytes.iter().try_for_each(|byte| self.transfer(*byte).map(drop))
    }

    fn receive(&self, length: usize) -> Result<Vec<u8>> {
        (0..length).map(|_| self.transfer(0xff)).collect()
    }
}

impl Produces<SpiSlot> for SifiveSpi {
    fn produced(self: Rc<Self>) -> Rc<SpiSlot> {
        Rc::new(SpiSlot { chip: self.chip.clone(), controller: self })
    }
}

impl Produces<RegisterBlock> for SifiveSpi {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("FU540-C000 manual", self.registers.clone(), TABLE))
    }
}

impl Discovered for SifiveSpi {
    const QOM_TYPES: &'static [&'static str] = &["sifive.spi"];

    fn plug(device: &FoundDevice) -> Plug {
        slot::of(device)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, Endian::Little));
        Ok(Self { registers, chip: slot::chip(device) })
    }
}

driver!(SifiveSpi = "sifive.spi"; produces SpiSlot, RegisterBlock);
discovered!(SifiveSpi);
