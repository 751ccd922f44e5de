//! `qgraph probe`: the emulators.

use std::collections::HashMap;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use super::{EmulatorArguments, Stop, warn};
use crate::graph::{Kind, Model};
use crate::harness::{Fleet, start};
use crate::parallel::in_parallel;
use crate::qemu::{Emulator, Pace, Prober};
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
    let troubles = troubles(&fleet);
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
        if let Some((machine, why)) = troubles.get(&emulator.path) {
            let why = shown(why);
            writeln!(out, "    its machine {machine} does not start: {why}")?;
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
        None if fleet.named && !(fleet.unusable.is_empty() && troubles.is_empty()) => {
            Ok(ExitCode::FAILURE)
        }
        None => Ok(ExitCode::SUCCESS),
    }
}

/// The emulators of which the default machine does not start, or where there is none, the first
/// in the graph: which, and why.
fn troubles(fleet: &Fleet) -> HashMap<PathBuf, (String, String)> {
    let model = Model::registered();
    let trouble = |emulator: &Arc<Emulator>| {
        let has = &emulator.capabilities;
        let machines = model.nodes().filter(|node| node.kind == Kind::Machine);
        let mut machines = machines.filter(|node| has.has_machine(node.name));
        let first = || Some(machines.next()?.name.split_once('/')?.1.to_owned());
        let machine = has.default_machine.clone().or_else(first)?;
        let why = start::trouble(emulator, &machine)?;
        Some((emulator.path.clone(), (machine, why)))
    };
    let jobs = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let mut found = HashMap::new();
    in_parallel(fleet.usable.iter(), jobs, trouble, |trouble| found.extend(trouble));
    found
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
