//! `qgraph probe`: the emulators.

use std::io::{self, Write};
use std::process::ExitCode;

use super::{EmulatorArguments, Stop, warn};
use crate::harness::Fleet;
use crate::qemu::{Pace, Prober};
use crate::shown::{shown, shown_lines};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    emulators: EmulatorArguments,
}

pub(super) fn main(arguments: &Arguments) -> Result<ExitCode, Stop> {
    // Who asks has perhaps just mended what was wrong.
    let slow = arguments.emulators.slow;
    let prober = Prober { retry: true, is_careful: true, slow, ..Prober::new() };
    let fleet = Fleet::gather(&arguments.emulators.qemu, &prober, warn);
    let mut out = io::stdout().lock();
    for emulator in &fleet.usable {
        let has = &emulator.capabilities;
        let package = if has.package.is_empty() { "" } else { " " };
        writeln!(
            out,
            "{}\n    QEMU {}{package}{}, {}: {} machines, {} devices\n    qtest accelerator: {}",
            shown(&emulator.path.to_string_lossy()),
            has.version,
            shown(&has.package),
            shown(&has.arch),
            has.machines.len(),
            has.devices.len(),
            shown(&emulator.accelerator.to_string()),
        )?;
        if let Some(slow) = slowness(&emulator.pace) {
            writeln!(out, "    {slow}")?;
        }
    }
    for unusable in &fleet.unusable {
        writeln!(
            out,
            "{}\n    cannot be used\n    {}",
            shown(&unusable.path.to_string_lossy()),
            shown_lines(&unusable.why).replace('\n', "\n    ")
        )?;
    }
    if !fleet.usable.is_empty() {
        writeln!(
            out,
            "`qgraph exec -- QEMU ARGS…` runs any of them with its accelerator in place."
        )?;
    }
    out.flush()?;
    match fleet.nothing_usable() {
        Some(_) if fleet.unusable.is_empty() => {
            Err(Stop::Usage(fleet.nothing_usable().unwrap_or_default()))
        }
        Some(_) => Ok(ExitCode::from(2)),
        None if fleet.named && !fleet.unusable.is_empty() => Ok(ExitCode::FAILURE),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// What to say of an emulator that is slow.
fn slowness(pace: &Pace) -> Option<String> {
    let factor = pace.factor();
    let why = match (&pace.told, &pace.sanitizer) {
        (Some(_), _) => "as --slow says".to_owned(),
        (None, Some(sanitizer)) => format!("it was built with {sanitizer}"),
        (None, None) => format!("it took {:.1?} of CPU time to say what it has", pace.cpu),
    };
    (factor > 1.0).then(|| format!("slow: limits of time are {factor:.1} times as long; {why}"))
}
