//! `qgraph check`: what is wrong in the graph, and which of its names no emulator at hand knows.

use std::io::{self, Write};
use std::process::ExitCode;

use super::{EmulatorArguments, Stop, warn};
use crate::graph::Model;
use crate::harness::Fleet;
use crate::qemu::Prober;
use crate::shown::shown;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    emulators: EmulatorArguments,
}

pub(super) fn main(arguments: &Arguments) -> Result<ExitCode, Stop> {
    let model = Model::registered();
    let findings = model.check();
    let mut out = io::stdout().lock();
    for finding in &findings {
        writeln!(out, "{finding}")?;
    }
    // A graph is sound whatever QEMU there is: these are told, and no more.
    let prober = Prober { slow: arguments.emulators.slow, ..Prober::new() };
    let fleet = Fleet::gather(&arguments.emulators.qemu, &prober, warn);
    let emulators: Vec<_> = fleet.usable.iter().map(|it| &it.capabilities).collect();
    let (alike, others): (Vec<_>, Vec<_>) =
        model.unknown_to(&emulators).into_iter().partition(|it| it.near.is_some());
    for unknown in &alike {
        writeln!(out, "{}", shown(&unknown.to_string()))?;
    }
    if !others.is_empty() {
        let names: Vec<_> = others.iter().map(|unknown| unknown.name).collect();
        writeln!(out, "no emulator at hand has {}", names.join(", "))?;
    }
    if !findings.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let (nodes, edges) = (model.nodes().count(), model.edges().count());
    writeln!(out, "the graph is sound: {nodes} nodes, {edges} edges")?;
    Ok(ExitCode::SUCCESS)
}
