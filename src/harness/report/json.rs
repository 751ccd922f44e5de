//! One JSON object a line.

use std::io::{self, Write};

use super::Output;
use crate::harness::outcome::Outcome;
use crate::shown;

/// Writes each outcome as a line of JSON.
pub struct Json<W>(pub W);

impl<W: Write> Output for Json<W> {
    fn is_whole(&self) -> bool {
        false
    }

    fn outcome(&mut self, outcome: &Outcome, _: &str) -> io::Result<()> {
        let line = shown::json(outcome)?;
        writeln!(self.0, "{line}")?;
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Report, samples};
    use super::*;

    /// Would catch an outcome that does not survive a line, whatever is in it.
    #[test]
    fn a_line_each() {
        let out = samples::Shared::default();
        let mut report = Report::new(0);
        report.add_output(Json(out.clone()));
        samples::all().iter().for_each(|outcome| report.add(outcome));
        report.finish();
        let read: Vec<Outcome> =
            out.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read, samples::all());
    }
}
