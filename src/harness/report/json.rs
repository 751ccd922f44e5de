//! One JSON object a line.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::json;

use super::Format;
use crate::harness::outcome::Outcome;

/// Writes to standard output.
pub(super) struct Json;

impl Format for Json {
    fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        let mut line = json!({
            "name": outcome.name,
            "outcome": outcome.verdict.word(),
            "seconds": outcome.took.as_secs_f64(),
            "emulator": outcome.emulator.to_string_lossy(),
        });
        if !outcome.verdict.message().is_empty() {
            line["message"] = outcome.verdict.message().into();
        }
        if let Some(evidence) = &outcome.evidence {
            line["command_line"] = evidence.command_line.as_str().into();
            line["transcript"] = evidence.transcript.as_str().into();
            line["output"] = evidence.output.as_str().into();
        }
        writeln!(io::stdout(), "{line}")
    }

    fn end(&mut self, _: &BTreeMap<&'static str, usize>, _: usize) -> io::Result<()> {
        Ok(())
    }
}
