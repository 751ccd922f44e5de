//! `qgraph check`: what is wrong in the graph.

use std::io::{self, Write};
use std::process::ExitCode;

use super::Stop;
use crate::graph::Model;

pub(super) fn main() -> Result<ExitCode, Stop> {
    let model = Model::registered();
    let findings = model.check();
    let mut out = io::stdout().lock();
    for finding in &findings {
        writeln!(out, "{finding}")?;
    }
    if !findings.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let (nodes, edges) = (model.nodes().count(), model.edges().count());
    writeln!(out, "the graph is sound: {nodes} nodes, {edges} edges")?;
    Ok(ExitCode::SUCCESS)
}
