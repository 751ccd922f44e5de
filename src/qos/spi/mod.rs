//! Serial Peripheral Interface: a controller as a chip behind it needs it, and the chips.
//!
//! | file | holds |
//! |---|---|
//! | `mod` | controllers, and the places where boards have a chip |
//! | `part` | the types of flash chips, as their data sheets describe them |
//! | `flash` | a flash chip: its commands and what they send |

mod flash;
mod part;

use std::rc::Rc;

pub use flash::{SpiFlash, command, status};
pub use part::{Maker, PAGE, PARTS, Part};

use crate::qemu::Vm;
use crate::{Result, interface};

/// An SPI controller that is the master of its bus, and that is told when a transaction begins
/// and ends.
pub trait SpiController {
    /// The machine that it is in.
    fn vm(&self) -> &Rc<Vm>;

    /// Begins a transaction: selects chip `number`, and no other.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or if the controller has no such chip select.
    fn select(&self, number: usize) -> Result<()>;

    /// Ends the transaction.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn deselect(&self) -> Result<()>;

    /// Sends bytes, and drops what comes back meanwhile.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or if the controller does not take them.
    fn send(&self, bytes: &[u8]) -> Result<()>;

    /// Receives `length` bytes, and sends anything meanwhile.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or if the controller does not give them.
    fn receive(&self, length: usize) -> Result<Vec<u8>>;

    /// Lets `cycles` of the clock pass on one data line, a multiple of eight.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or if the controller does not take or give the bytes.
    fn dummy(&self, cycles: usize) -> Result<()> {
        self.send(&vec![0xff; cycles / 8])
    }

    /// Tells the controller how many bytes the addresses have that are sent to chip `number`. One
    /// that does not look at what it sends need not know.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer, or if the controller does not take or give the bytes.
    fn set_address_length(&self, number: usize, bytes: usize) -> Result<()> {
        let _ = (number, bytes);
        Ok(())
    }
}

/// A flash chip that a board has.
#[derive(Debug, Clone)]
pub struct Chip {
    /// The number of its chip select.
    pub select: usize,
    /// What type it is.
    pub part: &'static Part,
    /// Its path in QEMU's object model.
    pub path: String,
}

/// The place of the first flash chip on an SPI bus, which takes a drive.
pub struct SpiSlot {
    /// The controller of the bus.
    pub controller: Rc<dyn SpiController>,
    /// The chip, if the board has one.
    pub chip: Option<Chip>,
}

interface!(SpiSlot = "spi-slot");
