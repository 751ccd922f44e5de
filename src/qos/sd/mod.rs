//! SD cards behind an SD host controller: places where one can be put in, and how to talk
//! to one (SD Physical Layer Simplified Specification 3.01, chapter 4; SD Host Controller
//! Simplified Specification 3.00, chapter 3).

mod host;
mod sdhci_host;
mod transfer;

use std::cell::Cell;
use std::rc::Rc;

pub use self::host::{PlainCard, SdHost};
pub use self::sdhci_host::SdhciHost;
pub use self::transfer::{Status, Transfer};
use super::sdhci::{self, Sdhci, USDHC_MIX_CTRL, Vendor};
use super::wait_until;
use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::{Error, Result, interface};

/// A controller with a bus into which `-device sd-card` puts a card.
pub struct SdBus(
    /// The controller.
    pub Rc<dyn SdHost>,
);

interface!(SdBus = "sd-bus");

/// A controller soldered to a board, whose slot takes the card of `-drive if=sd`; the address of
/// the plug is the number of the slot on the board.
pub struct SdSlot(
    /// The controller.
    pub Rc<dyn SdHost>,
);

interface!(SdSlot = "sd-slot");

/// The size of a data block in bytes.
pub const BLOCK: usize = 512;

/// The response that a command has (Physical Layer 4.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response {
    /// None.
    None,
    /// Card status; also R6 and R7, which look the same to the controller.
    R1,
    /// Card status, with busy after it.
    R1b,
    /// 136 bits: CID or CSD.
    R2,
    /// OCR, without CRC.
    R3,
}

impl Response {
    /// How many words of it there are.
    pub fn words(self) -> usize {
        match self {
            Self::None => 0,
            Self::R1 | Self::R1b | Self::R3 => 1,
            Self::R2 => 4,
        }
    }

    /// The response's bits in the Command register (Host Controller 2.2.6, table 2-9).
    fn bits(self) -> u16 {
        match self {
            Self::None => 0,
            Self::R1 => sdhci::RESPONSE_48 | sdhci::CRC_CHECK | sdhci::INDEX_CHECK,
            Self::R1b => sdhci::RESPONSE_48_BUSY | sdhci::CRC_CHECK | sdhci::INDEX_CHECK,
            Self::R2 => sdhci::RESPONSE_136 | sdhci::CRC_CHECK,
            Self::R3 => sdhci::RESPONSE_48,
        }
    }
}

/// What a card told when it was initialised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Operation Conditions Register.
    pub ocr: u32,
    /// Card Identification, bits 127:8, as for `csd`.
    pub cid: [u32; 4],
    /// Relative Card Address.
    pub rca: u16,
    /// Card Specific Data, bits 127:8, as the controller keeps them in its four response
    /// registers.
    pub csd: [u32; 4],
}

/// OCR: the card is powered up (Physical Layer 5.1).
const OCR_POWERED_UP: u32 = 1 << 31;
/// OCR: the card has high capacity and counts blocks, not bytes.
const OCR_CCS: u32 = 1 << 30;
/// OCR: all voltages from 2.7 to 3.6 V.
const OCR_VOLTAGES: u32 = 0x00ff_8000;
/// CMD8: 2.7 to 3.6 V, and a pattern for the card to echo.
const IF_COND: u32 = 0x1aa;
/// Card status: the card takes data (Physical Layer 4.10.1).
const READY_FOR_DATA: u32 = 1 << 8;
/// Card status: the next command is taken for an application's.
const APP_CMD: u32 = 1 << 5;
/// Card status: the bits of R6, which has the address in place of the others (4.9.5).
const IN_R6: u32 = 0xffff;

/// CURRENT_STATE in the card status: the state in which the card got a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle = 0,
    Identification = 2,
    StandBy = 3,
    Transfer = 4,
}

impl State {
    /// The card status of a card in this state that is content.
    fn status(self) -> u32 {
        (self as u32) << 9 | READY_FOR_DATA
    }
}

/// Interrupt status: the buffer can be read, or written.
const BUFFER_READY: u16 = sdhci::BUFFER_READ_READY | sdhci::BUFFER_WRITE_READY;
/// How often ACMD41 is repeated before a card counts as dead.
const POWER_UP_TRIES: usize = 100;

/// A card in the slot of an SD host controller, with all that such a controller can do; behind
/// others, a card is a [`PlainCard`].
pub struct Card<'a> {
    host: &'a dyn Sdhci,
    vm: &'a Vm,
    /// Present State while nothing is going on, as it was before the first command.
    at_rest: Cell<Option<u32>>,
}

impl<'a> Card<'a> {
    /// The card in the slot of `host`.
    pub fn new(host: &'a dyn Sdhci, vm: &'a Vm) -> Self {
        Self { host, vm, at_rest: Cell::new(None) }
    }

    /// Makes the controller ready and takes the card from idle to transfer state (Physical Layer
    /// 4.2).
    ///
    /// # Errors
    /// No card, or one that does not answer as it should.
    pub fn initialise(&self) -> Result<Identity> {
        self.make_ready()?;
        host::identify(&|index, argument, response| self.command(index, argument, response))
    }

    /// Resets the controller, switches clock and power on (Host Controller 3.2, 3.3).
    fn make_ready(&self) -> Result<()> {
        let registers = self.host.registers();
        registers.set(sdhci::SOFTWARE_RESET, sdhci::RESET_FOR_ALL)?;
        wait_until(self.vm, "the controller's reset", || {
            Ok(registers.get(sdhci::SOFTWARE_RESET)? == 0)
        })?;
        let state = registers.get(sdhci::PRESENT_STATE)?;
        if state & sdhci::CARD_INSERTED == 0 {
            return Err(Error::failed("Present State says that no card is inserted"));
        }
        // The uSDHC's tells of its clocks as well, which do not run yet.
        let is_standard = self.host.profile().vendor == Vendor::Standard;
        self.at_rest.set(is_standard.then_some(state));
        registers.set(sdhci::CLOCK_CONTROL, sdhci::INTERNAL_CLOCK_ENABLE)?;
        wait_until(self.vm, "a stable internal clock", || {
            let control = registers.get(sdhci::CLOCK_CONTROL)?;
            Ok(control == sdhci::INTERNAL_CLOCK_ENABLE | sdhci::INTERNAL_CLOCK_STABLE)
        })?;
        let clock = sdhci::INTERNAL_CLOCK_ENABLE | sdhci::SD_CLOCK_ENABLE;
        registers.set(sdhci::CLOCK_CONTROL, clock)?;
        registers.set(sdhci::POWER_CONTROL, sdhci::POWER_ON_3V3)?;
        registers.set(sdhci::NORMAL_INTERRUPT_STATUS_ENABLE, !0)?;
        registers.set(sdhci::ERROR_INTERRUPT_STATUS_ENABLE, !0)
    }

    /// Sends a command without data; returns the four response registers, 0 for those that
    /// the response does not fill (Host Controller 2.2.7).
    ///
    /// # Errors
    /// The controller reports an error, or does not complete the command.
    pub fn command(&self, index: u8, argument: u32, response: Response) -> Result<[u32; 4]> {
        self.issue(index, argument, response.bits())?;
        let registers = self.host.registers();
        let mut words = [0; 4];
        for (number, word) in words.iter_mut().enumerate().take(response.words()) {
            *word = registers.get(sdhci::RESPONSE.nth(number as u64, 4))?;
        }
        Ok(words)
    }

    fn issue(&self, index: u8, argument: u32, flags: u16) -> Result<()> {
        self.begin(index, argument, flags)?;
        let comes_later = match flags & (sdhci::DATA_PRESENT | sdhci::RESPONSE_48_BUSY) {
            sdhci::RESPONSE_48_BUSY => sdhci::TRANSFER_COMPLETE,
            flags if flags & sdhci::DATA_PRESENT != 0 => BUFFER_READY,
            _ => 0,
        };
        let what = format!("CMD{index} to complete");
        self.await_interrupt(sdhci::COMMAND_COMPLETE, comes_later, &what)
    }

    /// Waits until the controller is at rest, and writes a command that `flags` of the Command
    /// register describe. Waits for nothing that comes of it.
    fn begin(&self, index: u8, argument: u32, flags: u16) -> Result<()> {
        let registers = self.host.registers();
        let inhibit = sdhci::COMMAND_INHIBIT_CMD | sdhci::COMMAND_INHIBIT_DAT;
        wait_until(self.vm, "the controller to be at rest and take a command", || {
            let state = registers.get(sdhci::PRESENT_STATE)?;
            let at_rest = self.at_rest.get().unwrap_or(state);
            let is_at_rest = state & inhibit == 0 && state == at_rest;
            if is_at_rest {
                self.at_rest.set(Some(state));
            }
            Ok(is_at_rest)
        })?;
        // What earlier commands left, such as the end of a busy card, is not this one's.
        registers.set(sdhci::NORMAL_INTERRUPT_STATUS, !0)?;
        registers.set(sdhci::ARGUMENT, argument)?;
        registers.set(sdhci::COMMAND, u16::from(index) << 8 | flags)
    }

    /// Waits for a bit of the interrupt status and clears it. None but those of `either` may be
    /// set beside it.
    fn await_interrupt(&self, bit: u16, either: u16, what: &str) -> Result<()> {
        let registers = self.host.registers();
        wait_until(self.vm, what, || {
            let status = registers.get(sdhci::NORMAL_INTERRUPT_STATUS)?;
            if status & sdhci::ERROR_INTERRUPT != 0 {
                let error = registers.get(sdhci::ERROR_INTERRUPT_STATUS)?;
                return Err(Error::failed(format!(
                    "waiting for {what}: Error Interrupt Status {error:#06x}"
                )));
            }
            if status & !(bit | either) != 0 {
                return Err(Error::failed(format!(
                    "waiting for {what}: Normal Interrupt Status {status:#06x}"
                )));
            }
            Ok(status & bit != 0)
        })?;
        registers.set(sdhci::NORMAL_INTERRUPT_STATUS, bit)
    }

    fn set_up_block(&self, mode: u16) -> Result<()> {
        let registers = self.host.registers();
        registers.set(sdhci::BLOCK_SIZE, BLOCK as u16)?;
        registers.set(sdhci::BLOCK_COUNT, 1)?;
        match self.host.profile().vendor {
            Vendor::Standard => registers.set(sdhci::TRANSFER_MODE, mode),
            Vendor::Usdhc => registers.set(USDHC_MIX_CTRL, mode.into()),
        }
    }

    fn block_address(identity: &Identity, block: u32) -> Result<u32> {
        if identity.ocr & OCR_CCS != 0 {
            return Ok(block);
        }
        block.checked_mul(BLOCK as u32).ok_or_else(|| {
            Error::failed(format!("a card that counts bytes in 32 bits has no block {block}"))
        })
    }

    /// Reads one block through the Buffer Data Port (Host Controller 3.7.2.1).
    ///
    /// # Errors
    /// The controller reports an error or does not complete the transfer.
    pub fn read_block(&self, identity: &Identity, block: u32) -> Result<[u8; BLOCK]> {
        self.read_at(Self::block_address(identity, block)?)
    }

    fn read_at(&self, address: u32) -> Result<[u8; BLOCK]> {
        let registers = self.host.registers();
        self.set_up_block(sdhci::TRANSFER_READ)?;
        let flags = Response::R1.bits() | sdhci::DATA_PRESENT;
        self.issue(17, address, flags)?;
        wait_until(self.vm, "data in the buffer", || {
            Ok(registers.get(sdhci::PRESENT_STATE)? & sdhci::BUFFER_READ_ENABLE != 0)
        })?;
        let mut data = [0; BLOCK];
        for word in data.chunks_exact_mut(4) {
            word.copy_from_slice(&registers.get(sdhci::BUFFER_DATA_PORT)?.to_le_bytes());
        }
        self.await_interrupt(sdhci::TRANSFER_COMPLETE, BUFFER_READY, "the read to complete")?;
        Ok(data)
    }

    /// Writes one block through the Buffer Data Port.
    ///
    /// # Errors
    /// As for [`Card::read_block`].
    pub fn write_block(&self, identity: &Identity, block: u32, data: &[u8; BLOCK]) -> Result<()> {
        self.write_at(Self::block_address(identity, block)?, data)
    }

    fn write_at(&self, address: u32, data: &[u8; BLOCK]) -> Result<()> {
        let registers = self.host.registers();
        self.set_up_block(0)?;
        let flags = Response::R1.bits() | sdhci::DATA_PRESENT;
        self.issue(24, address, flags)?;
        wait_until(self.vm, "room in the buffer", || {
            Ok(registers.get(sdhci::PRESENT_STATE)? & sdhci::BUFFER_WRITE_ENABLE != 0)
        })?;
        for word in data.as_chunks::<4>().0 {
            registers.set(sdhci::BUFFER_DATA_PORT, u32::from_le_bytes(*word))?;
        }
        self.await_interrupt(sdhci::TRANSFER_COMPLETE, BUFFER_READY, "the write to complete")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch the wrong block of a card that counts the other way, and a block number
    /// that wraps around to another block (Physical Layer 4.3.14).
    #[test]
    fn cards_count_bytes_or_blocks() {
        let identity = |ocr| Identity { ocr, cid: [0; 4], rca: 1, csd: [0; 4] };
        let bytes = identity(OCR_POWERED_UP | OCR_VOLTAGES);
        assert_eq!(Card::block_address(&bytes, 0x7f_ffff).unwrap(), 0xffff_fe00);
        let beyond = Card::block_address(&bytes, 0x80_0000).unwrap_err().to_string();
        assert_eq!(beyond, "a card that counts bytes in 32 bits has no block 8388608");
        let blocks = identity(OCR_POWERED_UP | OCR_CCS);
        assert_eq!(Card::block_address(&blocks, u32::MAX).unwrap(), u32::MAX);
    }

    /// Would catch a response that the controller checks in a way that it cannot hold: R2
    /// has no index, R3 neither index nor CRC (Host Controller, table 2-9).
    #[test]
    fn responses_are_checked_for_what_they_have() {
        use Response::{None, R1, R1b, R2, R3};
        assert_eq!([None, R1, R1b, R2, R3].map(Response::bits), [0, 0x1a, 0x1b, 0x09, 0x02]);
    }
}
