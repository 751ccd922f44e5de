//! Serial EEPROMs with 64 words of 16 bits (Microchip, data sheet 93C46), whose pins are bits of a
//! register of the card that they are on.

use crate::qos::registers::{Access, Registers, Width};
use crate::{Error, Result};

/// The register and its bits that are the pins of an EEPROM.
#[derive(Debug, Clone, Copy)]
pub struct Microwire {
    /// The offset of the register in bytes.
    pub offset: u64,
    /// How wide the register is.
    pub width: Width,
    /// Bits that are set all the time, so that the others are the pins.
    pub always: u32,
    /// Chip select, CS.
    pub select: u32,
    /// Clock, CLK.
    pub clock: u32,
    /// What the EEPROM is told, DI.
    pub input: u32,
    /// What the EEPROM says, DO.
    pub output: u32,
    /// Bits that are nothing of the EEPROM's.
    pub others: u32,
}

impl Microwire {
    /// Word `word` of the EEPROM.
    ///
    /// # Errors
    /// Returns an error if the pins do not stay as they are driven.
    pub fn read(&self, registers: &dyn Registers, word: u16) -> Result<u16> {
        let drive =
            |pins: u32| Access::Write(self.offset, self.width, u64::from(pins | self.always));
        let request = u32::from(0b110 << 6 | word & 0x3f) << 16;
        let bits = (0..25).rev().map(|bit| match request >> bit & 1 {
            1 => self.select | self.input,
            _ => self.select,
        });
        let mut accesses = vec![drive(0), drive(self.select)];
        for pins in bits.clone() {
            // A bit is taken, and the next one given, when the clock rises.
            let look = Access::Read(self.offset, self.width);
            accesses.extend([drive(pins), drive(pins | self.clock), look]);
        }
        accesses.extend([drive(self.select), drive(0)]);
        let seen = registers.sequence(&accesses)?;
        // Of what comes during the request nothing is left in 16 bits.
        bits.zip(seen).try_fold(0, |value, (driven, pins)| {
            let (driven, pins) = (driven | self.clock | self.always, pins as u32);
            if (pins ^ driven) & !(self.output | self.others) != 0 {
                return Err(Error::failed(format!(
                    "the register of the EEPROM: {driven:#x} was written, {pins:#x} read"
                )));
            }
            Ok(value << 1 | u16::from(pins & self.output != 0))
        })
    }
}
