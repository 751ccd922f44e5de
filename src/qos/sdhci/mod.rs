//! The SD host controller: its registers and bits by the names of the SD Host Controller
//! Simplified Specification 3.00 (chapter 2), and the interface to one. What is declared of
//! the registers is in `registers`.

mod registers;

use std::rc::Rc;

pub use self::registers::*;
use crate::qos::pci::PciDevice;
use crate::qos::registers::{RegisterBlock, Registers};
use crate::{Result, interface};

/// Transfer Mode: by DMA.
pub const TRANSFER_DMA: u16 = 1 << 0;
/// Transfer Mode: Block Count counts and ends the transfer.
pub const TRANSFER_COUNT: u16 = 1 << 1;
/// Transfer Mode: the controller sends CMD12 when the transfer ends.
pub const TRANSFER_AUTO_CMD12: u16 = 1 << 2;
/// Transfer Mode: several blocks.
pub const TRANSFER_MULTI: u16 = 1 << 5;
/// Transfer Mode: from the card to the host.
pub const TRANSFER_READ: u16 = 1 << 4;

/// Command: the response is 136 bits long.
pub const RESPONSE_136: u16 = 0b01;
/// Command: the response is 48 bits long.
pub const RESPONSE_48: u16 = 0b10;
/// Command: the response is 48 bits long, and the card may be busy after it.
pub const RESPONSE_48_BUSY: u16 = 0b11;
/// Command: check the CRC of the response.
pub const CRC_CHECK: u16 = 1 << 3;
/// Command: check the index in the response.
pub const INDEX_CHECK: u16 = 1 << 4;
/// Command: data follows.
pub const DATA_PRESENT: u16 = 1 << 5;

/// Present State: a command may not be issued.
pub const COMMAND_INHIBIT_CMD: u32 = 1 << 0;
/// Present State: a command with data may not be issued.
pub const COMMAND_INHIBIT_DAT: u32 = 1 << 1;
/// Present State: the data line is in use.
pub const DAT_LINE_ACTIVE: u32 = 1 << 2;
/// Present State: data go to the card.
pub const WRITE_TRANSFER_ACTIVE: u32 = 1 << 8;
/// Present State: data come from the card.
pub const READ_TRANSFER_ACTIVE: u32 = 1 << 9;
/// Present State: the buffer takes data.
pub const BUFFER_WRITE_ENABLE: u32 = 1 << 10;
/// Present State: the buffer has data.
pub const BUFFER_READ_ENABLE: u32 = 1 << 11;
/// Present State: a card is in.
pub const CARD_INSERTED: u32 = 1 << 16;

/// Power Control: on, at 3.3 V.
pub const POWER_ON_3V3: u8 = 0b111 << 1 | 1;

/// Clock Control: the internal clock runs.
pub const INTERNAL_CLOCK_ENABLE: u16 = 1 << 0;
/// Clock Control: the internal clock is stable.
pub const INTERNAL_CLOCK_STABLE: u16 = 1 << 1;
/// Clock Control: the card gets the clock.
pub const SD_CLOCK_ENABLE: u16 = 1 << 2;

/// Software Reset: everything.
pub const RESET_FOR_ALL: u8 = 1 << 0;
/// Software Reset: what belongs to commands.
pub const RESET_FOR_CMD: u8 = 1 << 1;
/// Software Reset: what belongs to data.
pub const RESET_FOR_DAT: u8 = 1 << 2;

/// Command: it aborts a transfer (CMD12).
pub const ABORT: u16 = 3 << 6;

/// Host Control 1: DMA Select, and in it ADMA2 with addresses of 32 bits.
pub const DMA_SELECT: u8 = 3 << 3;
/// As [`DMA_SELECT`].
pub const DMA_ADMA2: u8 = 2 << 3;

/// Error interrupt status: no response came.
pub const COMMAND_TIMEOUT: u16 = 1 << 0;
/// Error interrupt status: ADMA found a descriptor wrong.
pub const ADMA_ERROR: u16 = 1 << 9;

/// Interrupt status: the command is complete.
pub const COMMAND_COMPLETE: u16 = 1 << 0;
/// Interrupt status: the transfer is complete.
pub const TRANSFER_COMPLETE: u16 = 1 << 1;
/// Interrupt status: the SDMA boundary was reached, or an ADMA descriptor asked for it.
pub const DMA_INTERRUPT: u16 = 1 << 3;
/// Interrupt status: the buffer can be written.
pub const BUFFER_WRITE_READY: u16 = 1 << 4;
/// Interrupt status: the buffer can be read.
pub const BUFFER_READ_READY: u16 = 1 << 5;
/// Interrupt status: there is an error, see the error interrupt status.
pub const ERROR_INTERRUPT: u16 = 1 << 15;

/// Specification version number, in the Host Controller Version register: 2.00.
pub const VERSION_2_00: u8 = 1;
/// Specification version number: 3.00.
pub const VERSION_3_00: u8 = 2;

/// Fields of the Capabilities register (2.2.25): lowest bit and number of bits.
pub mod capabilities {
    /// Base clock in MHz; 0 says that it is to be found out by another way. Two bits wider
    /// from version 3.00 on.
    pub const BASE_CLOCK_V2: (u32, u32) = (8, 6);
    /// Base clock from version 3.00 on.
    pub const BASE_CLOCK_V3: (u32, u32) = (8, 8);
    /// Max block length: 512 bytes, shifted by this.
    pub const MAX_BLOCK_LENGTH: (u32, u32) = (16, 2);
    /// ADMA2 support.
    pub const ADMA2: (u32, u32) = (19, 1);
    /// SDMA support.
    pub const SDMA: (u32, u32) = (22, 1);

    /// The value of `field` in the register's value.
    pub const fn field(value: u64, field: (u32, u32)) -> u64 {
        value >> field.0 & ((1 << field.1) - 1)
    }
}

/// Whose idea of the registers a controller follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vendor {
    /// The specification's.
    Standard,
    /// NXP's uSDHC (i.MX 6 reference manual, chapter 67): Host Control 1 is part of a
    /// 32-bit register with another layout, the transfer mode is set through a register
    /// of its own, and the SDMA boundary cannot be set.
    Usdhc,
}

/// What a controller is known to be, from the board's manual or the device's model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// Specification version numbers that it may show, the low byte of Host Controller
    /// Version: one, unless QEMU corrected it at some time.
    pub versions: &'static [u8],
    /// The Capabilities register.
    pub capabilities: u64,
    /// The base clock in MHz, 0 where the controller does not say.
    pub base_clock_mhz: u64,
    /// Whether it can do SDMA.
    pub sdma: bool,
    /// The largest block in bytes.
    pub max_block: u16,
    /// Whose register layout it has.
    pub vendor: Vendor,
}

/// An SD host controller.
pub trait Sdhci {
    /// Its registers.
    fn registers(&self) -> &dyn Registers;

    /// What it is known to be.
    fn profile(&self) -> Profile;

    /// The PCI function that it is, if it is one: its DMA goes through that bus, its interrupt
    /// over that pin.
    fn function(&self) -> Option<&PciDevice> {
        None
    }

    /// Finds its registers again after a reset of the machine. `None` if they stay where they
    /// are.
    ///
    /// # Errors
    /// Returns an error if they are not found.
    fn found_again(&self) -> Option<Result<Rc<dyn Registers>>> {
        None
    }
}

interface!(dyn Sdhci = "sdhci"; produces RegisterBlock);
