//! One JSON object a line.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::Format;
use crate::harness::outcome::Outcome;

/// Writes to standard output.
pub(super) struct Json;

impl Format for Json {
    fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        let line = serde_json::to_string(outcome).map_err(io::Error::other)?;
        writeln!(io::stdout(), "{line}")
    }

    fn end(&mut self, _: &BTreeMap<&'static str, usize>, _: usize) -> io::Result<()> {
        Ok(())
    }
}
