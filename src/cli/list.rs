//! `qgraph list`: the paths.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use serde_json::json;

use super::cover::CoverArguments;
use super::shard::ShardArguments;
use super::{EmulatorArguments, FilterArguments, Stop};
use crate::shown::{self, shown};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    filter: FilterArguments,
    /// As a JSON array, with machine, test and emulator of each.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cover: CoverArguments,
    #[command(flatten)]
    shard: ShardArguments,
    #[command(flatten)]
    emulators: EmulatorArguments,
}

pub(super) fn main(arguments: &Arguments) -> Result<ExitCode, Stop> {
    let fleet = arguments.emulators.fleet()?;
    let plan = arguments.filter.plan(&fleet)?;
    arguments.filter.has_all_names(&plan)?;
    let (plan, _) = arguments.shard.share(arguments.cover.cover(plan))?;
    let mut out = BufWriter::new(io::stdout().lock());
    if !arguments.json {
        for trial in plan.trials().filter(|trial| trial.copies_before == 0) {
            writeln!(out, "{}", shown(&trial.path.name()))?;
        }
    } else {
        let mut between = "[";
        for trial in plan.trials() {
            let path = json!({
                "name": trial.path.name(),
                "machine": trial.path.machine(),
                "test": trial.path.test(),
                "command": trial.path.command_line(&trial.emulator),
                "emulator": trial.emulator.path.to_string_lossy(),
            });
            write!(out, "{between}\n{}", shown::json(&path)?)?;
            between = ",";
        }
        writeln!(out, "\n]")?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
