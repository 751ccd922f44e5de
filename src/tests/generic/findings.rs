//! What was found wrong with registers of which only the place is known: all of it is told at
//! once, each register by its region and offset.

use crate::qos::sweep::{Location, Sweep};
use crate::{Error, Result};

/// How many findings an error tells of one by one.
const MOST_TOLD: usize = 12;

/// What a test found wrong.
pub(in crate::tests) struct Findings<'s> {
    sweep: &'s Sweep,
    wrong: Vec<(Location, String)>,
}

impl<'s> Findings<'s> {
    /// Nothing is wrong yet with these registers.
    pub(in crate::tests) fn new(sweep: &'s Sweep) -> Self {
        Self { sweep, wrong: Vec::new() }
    }

    /// Something is wrong with what is at `location`.
    pub(in crate::tests) fn add(&mut self, location: Location, what: String) {
        self.wrong.push((location, what));
    }

    /// An error that says `what` is wrong, and where, if anything is.
    pub(in crate::tests) fn into_result(self, what: &str) -> Result<()> {
        // A register of 32 bits says enough; its bytes would say the same again.
        let told = self.wrong.iter().take(MOST_TOLD).map(|(location, how)| {
            let bits = 8 * location.width.bytes();
            format!("{} ({bits} bits): {how}", self.sweep.name(location.address))
        });
        let told: Vec<String> = told.collect();
        match self.wrong.len().saturating_sub(told.len()) {
            _ if told.is_empty() => Ok(()),
            0 => Err(Error::failed(format!("{what}: {}", told.join("; ")))),
            more => Err(Error::failed(format!("{what}: {}; and {more} more", told.join("; ")))),
        }
    }
}
