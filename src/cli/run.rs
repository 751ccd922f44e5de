//! `qgraph run`: runs paths and reports.

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Duration;

use super::signals::Watch;
use super::{EmulatorArguments, FilterArguments, Stop, warn};
use crate::harness::{Report, run_all};
use crate::qemu::{Limits, Prober};

/// How outcomes are written.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    filter: FilterArguments,
    /// How many QEMUs run at once [default: the number of cores].
    #[arg(short, long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// How many seconds one path may take, and an emulator to say what it is.
    #[arg(long, value_name = "S", default_value = "60", value_parser = seconds)]
    timeout: Duration,
    /// How outcomes are written to standard output.
    #[arg(long, value_enum, default_value = "pretty")]
    format: Format,
    #[command(flatten)]
    emulators: EmulatorArguments,
}

/// More is no limit at all, and more than the clock can count.
const MOST_SECONDS: f64 = 1e9;

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() && seconds <= MOST_SECONDS => Ok(duration),
        _ => Err(format!("must be more than 0 seconds and at most {MOST_SECONDS}")),
    }
}

pub(super) fn main(arguments: &Arguments) -> Result<ExitCode, Stop> {
    let watch = Watch::begin()?;
    let prober = Prober { patience: arguments.timeout, ..Prober::new() };
    let planned = arguments.emulators.fleet_by(&prober).and_then(|fleet| {
        let plan = arguments.filter.plan(&fleet)?;
        Ok((fleet, plan))
    });
    let (fleet, plan) = match (planned, watch.exit_status()) {
        (Ok(planned), _) => planned,
        (Err(stop), None) => return Err(stop),
        (Err(stop), Some(status)) => {
            warn(stop.to_string());
            return Ok(ExitCode::from(status));
        }
    };
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let jobs = arguments.jobs.unwrap_or(cores);
    let limits = Limits {
        request: Limits::default().request.min(arguments.timeout),
        whole: arguments.timeout,
    };
    let total = plan.trials().count();
    let mut report = match arguments.format {
        Format::Pretty => Report::pretty(total),
        Format::Json => Report::json(total),
    };
    run_all(plan.trials(), jobs, limits, |outcome| report.add(&outcome));
    let all_passed = report.finish();
    Ok(match watch.exit_status() {
        Some(status) => ExitCode::from(status),
        None if !all_passed => ExitCode::FAILURE,
        // An emulator that was asked for and could not be used has passed nothing.
        None if fleet.named && !fleet.unusable.is_empty() => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
    })
}
