//! The SPI controllers of Xilinx's Zynq-7000: those for any chip, and the one for flash chips, which
//! takes words (Zynq-7000 Technical Reference Manual, UG585, chapters 12 and 17, appendices B.24 and
//! B.30).

use std::rc::Rc;

use crate::drivers::spi::slot;
use crate::graph::{Discovered, FoundDevice, Plug, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, RegistersExt};
use crate::qos::spi::{Chip, SpiController, SpiSlot};
use crate::qos::wait_until;
use crate::{Error, Result, discovered, driver};

/// Configuration.
pub const CONFIG: Register<u32> = Register::new("Config_reg0", 0x00)
    .section("B.30")
    .reset(0x2_0000)
    .kept(0x2_fdff)
    .acts(0x200)
    .reserved(0xfffc_0000);
/// What is pending.
pub const STATUS: Register<u32> =
    Register::new("Intr_status_reg0", 0x04).section("B.30").w1c(0x43).volatile(0x3c);
/// Enables interrupts.
pub const ENABLE: Register<u32> =
    Register::new("Intrpt_en_reg0", 0x08).section("B.30").write_only().side_effect();
/// Disables them.
pub const DISABLE: Register<u32> =
    Register::new("Intrpt_dis_reg0", 0x0c).section("B.30").write_only().side_effect();
/// Which are enabled.
pub const MASK: Register<u32> =
    Register::new("Intrpt_mask_reg0", 0x10).section("B.30").reset(0).read_only();
/// The block is on.
pub const ON: Register<u32> = Register::new("En_reg0", 0x14).section("B.30").reset(0).kept(1);
/// Times between words.
const DELAY: Register<u32> =
    Register::new("Delay_reg0", 0x18).section("B.30").reset(0).kept(0xffff_ffff);
/// Sends a byte, or a word of four.
pub const TRANSMIT: Register<u32> =
    Register::new("Tx_data_reg0", 0x1c).section("B.30").write_only().side_effect();
/// Takes what was received.
pub const RECEIVE: Register<u32> =
    Register::new("Rx_data_reg0", 0x20).section("B.30").read_only().read_effect();
/// How long a slave waits.
const IDLE: Register<u32> =
    Register::new("Slave_Idle_count_reg0", 0x24).section("B.30").reset(0xff).kept(0xff);
/// From how few bytes on there is room.
pub const TX_THRESHOLD: Register<u32> =
    Register::new("TX_thres_reg0", 0x28).section("B.30").reset(1).kept(0x7f).reserved(0xffff_ff80);
/// From how many bytes on there is something.
pub const RX_THRESHOLD: Register<u32> =
    Register::new("RX_thres_reg0", 0x2c).section("B.30").reset(1).kept(0x7f).reserved(0xffff_ff80);
/// What it is.
const MODULE: Register<u32> = Register::new("Mod_id_reg0", 0xfc).section("B.30").read_only();
/// Sends one byte, of the controller for flash chips.
const TRANSMIT_ONE: Register<u32> = Register::new("TXD1", 0x80).section("B.24");
/// How it shows flash chips as memory.
const LINEAR: Register<u32> = Register::new("LQSPI_CFG", 0xa0).section("B.24");

/// All of a controller for any chip.
const TABLE: &[&dyn AnyRegister] = &[
    &CONFIG,
    &STATUS,
    &ENABLE,
    &DISABLE,
    &MASK,
    &ON,
    &DELAY,
    &TRANSMIT,
    &RECEIVE,
    &IDLE,
    &TX_THRESHOLD,
    &RX_THRESHOLD,
    &MODULE,
];

/// Config_reg0: a master; the chip select is that of the register; nothing is sent before
/// [`START`]; no chip is selected.
pub const MASTER: u32 = 1 << 0;
/// The chip select is that of the register.
pub const MANUAL_SELECT: u32 = 1 << 14;
/// Nothing is sent before [`START`].
pub const MANUAL_START: u32 = 1 << 15;
/// What was written is sent.
pub const START: u32 = 1 << 16;
/// Where the chip selects are.
const SELECT_SHIFT: u32 = 10;
/// Config_reg0 of the controller for flash chips: bit 31, words of 32 bits, and bits that must be so.
const FLASH: u32 = 1 << 31 | 3 << 6 | 1 << 19;

/// Intr_status_reg0: a byte was lost that was received.
pub const OVERFLOW: u32 = 1 << 0;
/// There is room for more.
pub const ROOM: u32 = 1 << 2;
/// There is no room.
pub const FULL: u32 = 1 << 3;
/// Something was received.
pub const RECEIVED: u32 = 1 << 4;
/// There is no room for more of that.
pub const RECEIVED_FULL: u32 = 1 << 5;

/// How many bytes each FIFO has.
pub const DEPTH: usize = 128;

/// Selects nothing, as a chip select.
const NOBODY: u32 = 0xf;

/// QEMU's `xlnx.ps7-spi` and `xlnx.ps7-qspi`.
pub struct ZynqSpi {
    vm: Rc<Vm>,
    device: FoundDevice,
    registers: Rc<Mmio>,
    chip: Option<Chip>,
    /// It is the one for flash chips.
    is_quad: bool,
}

impl ZynqSpi {
    /// Its registers.
    pub fn registers(&self) -> &Rc<Mmio> {
        &self.registers
    }

    /// Its interrupt.
    ///
    /// # Errors
    /// Returns an error if it leads nowhere.
    pub fn interrupt(&self) -> Result<InterruptLine> {
        let pin = Pin::of(&self.device, 0);
        pin.ok_or_else(|| Error::skipped("its interrupt leads nowhere"))?.watch(&self.vm)
    }

    /// Skips a test of what only a controller for any chip has.
    ///
    /// # Errors
    /// Returns [`Error::Skipped`].
    pub fn need_bytes(&self) -> Result<()> {
        match self.is_quad {
            true => Err(Error::skipped("this one takes words of four bytes")),
            false => Ok(()),
        }
    }

    fn transfer(&self, byte: u8) -> Result<u8> {
        let registers = &self.registers;
        registers.set(if self.is_quad { TRANSMIT_ONE } else { TRANSMIT }, byte.into())?;
        wait_until(&self.vm, "a byte to be sent and received", || {
            Ok(registers.get(STATUS)? & RECEIVED != 0)
        })?;
        let read = registers.get(RECEIVE)?;
        match registers.get(STATUS)? & RECEIVED {
            // One byte of a word comes in its upper bits (12.2.5).
            0 => Ok((if self.is_quad { read >> 24 } else { read }) as u8),
            _ => Err(Error::failed("one byte was sent, and more than one came")),
        }
    }
}

impl SpiController for ZynqSpi {
    fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    fn select(&self, number: usize) -> Result<()> {
        let registers = &self.registers;
        if self.is_quad {
            registers.set(LINEAR, 0)?;
        }
        let flash = if self.is_quad { FLASH } else { 0 };
        // The lowest bit that is clear selects.
        let select = (!(1 << number) & NOBODY) << SELECT_SHIFT;
        registers.set(CONFIG, flash | MASTER | MANUAL_SELECT | select)?;
        registers.set(ON, 1)
    }

    fn deselect(&self) -> Result<()> {
        let flash = if self.is_quad { FLASH } else { 0 };
        self.registers.set(CONFIG, flash | MASTER | MANUAL_SELECT | NOBODY << SELECT_SHIFT)
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        bytes.iter().try_for_each(|byte| self.transfer(*byte).map(drop))
    }

    fn receive(&self, length: usize) -> Result<Vec<u8>> {
        (0..length).map(|_| self.transfer(0xff)).collect()
    }
}

impl Produces<SpiSlot> for ZynqSpi {
    fn produced(self: Rc<Self>) -> Rc<SpiSlot> {
        Rc::new(SpiSlot { chip: self.chip.clone(), controller: self })
    }
}

impl Produces<RegisterBlock> for ZynqSpi {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        // Of the other one the interrupts alone are where these are.
        let table = if self.is_quad { &TABLE[2..5] } else { TABLE };
        Rc::new(RegisterBlock::new("UG585", self.registers.clone(), table))
    }
}

impl Discovered for ZynqSpi {
    const QOM_TYPES: &'static [&'static str] = &["xlnx.ps7-spi", "xlnx.ps7-qspi"];

    fn plug(device: &FoundDevice) -> Plug {
        slot::of(device)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let is_quad = *device.ty == *"xlnx.ps7-qspi";
        // The flash chips as memory come before the registers of theirs.
        let own = device.registers().find(|region| &*region.name != "lqspi");
        let own = own.ok_or_else(|| Error::skipped("it is not mapped"))?;
        Ok(Self {
            vm: vm.clone(),
            device: device.clone(),
            registers: Rc::new(Mmio::new(vm, own.base, Endian::Little)),
            chip: slot::chip(device),
            is_quad,
        })
    }
}

driver!(ZynqSpi = "xlnx.ps7-spi"; produces SpiSlot, RegisterBlock);
discovered!(ZynqSpi);
