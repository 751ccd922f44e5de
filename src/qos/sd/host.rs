//! What a card needs of a host controller of any kind, and a card behind one.

use super::sdhci::Sdhci;
use super::{
    APP_CMD, BLOCK, Card, IF_COND, IN_R6, Identity, OCR_CCS, OCR_POWERED_UP, OCR_VOLTAGES,
    POWER_UP_TRIES, Response, State,
};
use crate::{Error, Result};

/// A controller as a card needs it. Commands are told apart by their number, data are blocks of
/// [`BLOCK`] bytes.
pub trait SdHost {
    /// Resets the controller and gives the card power and clock.
    ///
    /// # Errors
    /// No card is in the slot, where the controller can tell that, or the controller does not
    /// get ready.
    fn power_up(&self) -> Result<()>;

    /// Sends a command without data; returns bits 39:8 of the response, or of 136 bits those
    /// from 39:8 up to 127:104, and 0 for what the response does not have.
    ///
    /// # Errors
    /// The controller reports an error, or does not complete the command.
    fn command(&self, index: u8, argument: u32, response: Response) -> Result<[u32; 4]>;

    /// Sends a command that no card answers, although it has a response, and sees that the
    /// controller says so and nothing else. The next command finds nothing of that.
    ///
    /// # Errors
    /// Returns an error if the controller reports a response, or another error.
    fn unanswered(&self, index: u8, argument: u32) -> Result<()>;

    /// Reads one block by CMD17.
    ///
    /// # Errors
    /// The controller reports an error or does not complete the transfer.
    fn read(&self, argument: u32, into: &mut [u8; BLOCK]) -> Result<()>;

    /// Writes one block by CMD24.
    ///
    /// # Errors
    /// The controller reports an error or does not complete the transfer.
    fn write(&self, argument: u32, data: &[u8; BLOCK]) -> Result<()>;

    /// The controller with the card, if it is an SD host controller as the specification has
    /// it.
    fn sdhci(&self) -> Option<(&dyn Sdhci, Card<'_>)> {
        None
    }
}

/// How [`identify`] sends a command.
type Send<'a> = &'a dyn Fn(u8, u32, Response) -> Result<[u32; 4]>;

/// Sees that command `index` was answered with this card status.
fn expect_status(index: u8, status: u32, expected: u32) -> Result<()> {
    if status == expected {
        return Ok(());
    }
    let why = format!("CMD{index}: the card status is {status:#010x}, not {expected:#010x}");
    Err(Error::failed(why))
}

/// Takes the card from idle to transfer state (Physical Layer 4.2).
pub(super) fn identify(command: Send) -> Result<Identity> {
    command(0, 0, Response::None)?;
    let [echo, ..] = command(8, IF_COND, Response::R1)?;
    if echo != IF_COND {
        return Err(Error::failed(format!("CMD8 sent {IF_COND:#x}, got {echo:#x} back")));
    }
    let ocr = power_up(command)?;
    let cid = command(2, 0, Response::R2)?;
    let [r6, ..] = command(3, 0, Response::R1)?;
    expect_status(3, r6 & IN_R6, State::Identification.status())?;
    let rca = (r6 >> 16) as u16;
    let csd = command(9, u32::from(rca) << 16, Response::R2)?;
    let [status, ..] = command(7, u32::from(rca) << 16, Response::R1b)?;
    expect_status(7, status, State::StandBy.status())?;
    let [status, ..] = command(16, BLOCK as u32, Response::R1)?;
    expect_status(16, status, State::Transfer.status())?;
    Ok(Identity { ocr, cid, rca, csd })
}

fn power_up(command: Send) -> Result<u32> {
    for _ in 0..POWER_UP_TRIES {
        let [status, ..] = command(55, 0, Response::R1)?;
        expect_status(55, status, State::Idle.status() | APP_CMD)?;
        let [ocr, ..] = command(41, OCR_CCS | OCR_VOLTAGES, Response::R3)?;
        if ocr & OCR_POWERED_UP != 0 {
            return Ok(ocr);
        }
    }
    Err(Error::failed(format!("the card was not up after {POWER_UP_TRIES} ACMD41")))
}

/// A card behind a controller of any kind.
pub struct PlainCard<'a> {
    host: &'a dyn SdHost,
}

impl<'a> PlainCard<'a> {
    /// The card in the slot of `host`.
    pub fn new(host: &'a dyn SdHost) -> Self {
        Self { host }
    }

    /// The controller of the slot.
    pub fn host(&self) -> &dyn SdHost {
        self.host
    }

    /// Makes the controller ready, and takes the card from idle to transfer state.
    ///
    /// # Errors
    /// No card, or one that does not answer as it should.
    pub fn initialise(&self) -> Result<Identity> {
        self.host.power_up()?;
        identify(&|index, argument, response| self.host.command(index, argument, response))
    }

    /// The card status of the card with this address (CMD13, Physical Layer 4.10.1).
    ///
    /// # Errors
    /// No card has this address.
    pub fn status(&self, rca: u16) -> Result<u32> {
        let [status, ..] = self.host.command(13, u32::from(rca) << 16, Response::R1)?;
        Ok(status)
    }

    /// Reads one block.
    ///
    /// # Errors
    /// The controller reports an error or does not complete the transfer.
    pub fn read_block(&self, identity: &Identity, block: u32) -> Result<[u8; BLOCK]> {
        let mut data = [0; BLOCK];
        self.host.read(Card::address_of(identity, block)?, &mut data)?;
        Ok(data)
    }

    /// Writes one block.
    ///
    /// # Errors
    /// As for [`PlainCard::read_block`].
    pub fn write_block(&self, identity: &Identity, block: u32, data: &[u8; BLOCK]) -> Result<()> {
        self.host.write(Card::address_of(identity, block)?, data)
    }
}
