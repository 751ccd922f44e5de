//! `qgraph machines`: what the emulators' machines have, as they say themselves.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{EmulatorArguments, Stop, warn};
use crate::graph::Discovery;
use crate::harness::{Filter, Fleet};
use crate::qemu::discovery::{
    Access, Described, Description, Discoverer, Found, FoundRam, Refusal, Space, Wanted,
    is_versioned, machine_types,
};
use crate::qemu::{Emulator, is_stopping};
use crate::shown::{self, shown};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Only machines of this name, such as arm/raspi2b, raspi2b or 'arm/*'.
    #[arg(value_name = "MACHINE")]
    machines: Vec<String>,
    /// Show the devices: type, addresses, interrupts, buses.
    #[arg(long)]
    devices: bool,
    /// As JSON, an object a line for each machine, with its devices.
    #[arg(long)]
    json: bool,
    /// Also the versions of a machine type, such as pc-q35-7.1; one that is named is always
    /// shown.
    #[arg(long)]
    versioned: bool,
    /// Start the machines although it is known what they have.
    #[arg(long)]
    refresh: bool,
    /// How many machines to start at a time [default: the number of cores].
    #[arg(short, long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    #[command(flatten)]
    emulators: EmulatorArguments,
}

pub(super) fn main(arguments: &Arguments) -> Result<ExitCode, Stop> {
    let fleet = arguments.emulators.fleet()?;
    let filter = Filter::new(&[], &[], &arguments.machines, false)?;
    let mut wanted = Vec::new();
    for emulator in &fleet.usable {
        for machine in machine_types(emulator, true) {
            let node = node(emulator, machine);
            let named = || arguments.machines.iter().any(|name| *name == node || name == machine);
            let version = arguments.versioned || !is_versioned(machine) || named();
            if version && filter.wants_machine(&node) {
                let (emulator, machine) = (emulator.clone(), machine.to_owned());
                wanted.push(Wanted { emulator, machine });
            }
        }
    }
    if wanted.is_empty() {
        let names = arguments.machines.join(" or ");
        let why = format!("no emulator at hand has a machine called {names}");
        return Err(Stop::Usage(format!("{why}; `qgraph machines` shows all")));
    }
    let mut discoverer = Discoverer::new();
    discoverer.refresh = arguments.refresh;
    discoverer.jobs = arguments.jobs.unwrap_or(discoverer.jobs);
    let described = discover(&discoverer, &wanted);
    if is_stopping() {
        return Err(Stop::Usage("stopped before all machines were described".to_owned()));
    }
    let mut out = BufWriter::new(io::stdout().lock());
    for (wanted, described) in wanted.iter().zip(&described) {
        let name = node(&wanted.emulator, &wanted.machine);
        if arguments.json {
            writeln!(out, "{}", shown::json(&data(wanted, described))?)?;
            continue;
        }
        match described {
            Err(refusal) => {
                let why = refusal.to_string();
                writeln!(out, "{}: does not start", shown(&name))?;
                why.lines().try_for_each(|line| writeln!(out, "    {}", shown(line)))?;
            }
            Ok(description) => {
                writeln!(out, "{}: {}", shown(&name), summary(description))?;
                if arguments.devices {
                    for device in &description.devices {
                        write_device(&mut out, description, device)?;
                    }
                }
            }
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn node(emulator: &Emulator, machine: &str) -> String {
    format!("{}/{machine}", emulator.capabilities.arch)
}

/// What the machines that `filter` leaves say of themselves, but for those that do not start.
/// Versions of a machine type are left out unless they are wanted.
pub(super) fn discoveries(fleet: &Fleet, filter: &Filter, versioned: bool) -> Vec<Discovery> {
    described(fleet, filter, versioned).0
}

/// As [`discoveries`], and with them the machines that do not start.
pub(super) fn described(
    fleet: &Fleet,
    filter: &Filter,
    versioned: bool,
) -> (Vec<Discovery>, Vec<(Wanted, Arc<Refusal>)>) {
    let machines = fleet.usable.iter().flat_map(|emulator| {
        let name = |machine: &str| node(emulator, machine);
        machine_types(emulator, true)
            .filter(move |machine| {
                let node = name(machine);
                let version = versioned || !is_versioned(machine) || filter.names_machine(&node);
                version && filter.wants_machine(&node) && filter.may_want(&format!("/{node}/"))
            })
            .map(|machine| Wanted { emulator: emulator.clone(), machine: machine.to_owned() })
    });
    let wanted: Vec<Wanted> = machines.collect();
    let described = discover(&Discoverer::new(), &wanted);
    let (mut discoveries, mut refusals) = (Vec::new(), Vec::new());
    for (wanted, described) in wanted.into_iter().zip(described) {
        match described {
            Ok(description) => discoveries.push(Discovery {
                emulator: wanted.emulator.path.clone(),
                machine: node(&wanted.emulator, &wanted.machine),
                description,
            }),
            Err(refusal) => refusals.push((wanted, refusal)),
        }
    }
    (discoveries, refusals)
}

/// Describes them, with progress on a terminal.
fn discover(discoverer: &Discoverer, wanted: &[Wanted]) -> Vec<Described> {
    let known = |wanted: &&Wanted| {
        !discoverer.refresh && discoverer.described(&wanted.emulator, &wanted.machine).is_some()
    };
    let missing = wanted.len() - wanted.iter().filter(known).count();
    // It is drawn on a terminal only.
    let bar = if missing > 0 { ProgressBar::new(missing as u64) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} machines, {msg}") {
        bar.set_style(style);
    }
    let progress = |wanted: &Wanted, _: &Described| {
        bar.set_message(shown(&node(&wanted.emulator, &wanted.machine)));
        bar.inc(1);
    };
    let described = discoverer.discover_all(wanted, progress, |text| bar.suspend(|| warn(text)));
    bar.finish_and_clear();
    described
}

fn summary(description: &Description) -> String {
    let devices = &description.devices;
    let mapped = devices.iter().filter(|device| device.registers().next().is_some()).count();
    let mut text = format!("{} devices, {mapped} of them with registers in memory", devices.len());
    if let Some(ram) = &description.ram {
        let _ = write!(text, "; {}", ram_in_words(ram));
    }
    text
}

fn ram_in_words(ram: &FoundRam) -> String {
    let pieces = ram.pieces.iter().map(|piece| {
        format!("{:#x}-{:#x}", piece.address, piece.address.saturating_add(piece.size - 1))
    });
    let pieces = pieces.collect::<Vec<_>>().join(", ");
    let mapped = if ram.id.is_some() { "" } else { ", which cannot be mapped" };
    let size = match ram.size {
        size if size.is_multiple_of(1 << 20) => format!("{} MiB", size >> 20),
        size => format!("{} KiB", size.div_ceil(1 << 10)),
    };
    format!("{size} of RAM at {pieces}{mapped}")
}

fn write_device(out: &mut impl Write, of: &Description, device: &Found) -> io::Result<()> {
    writeln!(out, "    {} ({})", shown(&device.path), shown(&device.ty))?;
    if let Some(bus) = &device.bus {
        writeln!(out, "        on {}", shown(bus))?;
    }
    for region in &device.regions {
        let space = match region.space {
            Space::Memory => "memory",
            Space::Ports => "ports",
        };
        let access = match region.access {
            Access::Registers => "",
            Access::Ram => ", RAM",
            Access::Rom => ", ROM",
        };
        for piece in &region.pieces {
            let (first, last) = (region.address(piece.offset), region.address(piece.last));
            writeln!(out, "        {space} {first:#x}-{last:#x} {}{access}", shown(&region.name))?;
        }
    }
    for outputs in &device.outputs {
        for (number, to) in &outputs.connected {
            write!(out, "        {}[{number}] to {}", shown(&outputs.name), shown(to))?;
            match of.interrupt(device, *number).filter(|end| end != to) {
                Some(end) if outputs.name == "sysbus-irq" => writeln!(out, ", {}", shown(&end))?,
                _ => writeln!(out)?,
            }
        }
    }
    for bus in &device.buses {
        writeln!(out, "        bus {} ({})", shown(&bus.name), shown(&bus.ty))?;
    }
    Ok(())
}

/// A machine as JSON.
fn data(wanted: &Wanted, described: &Described) -> Value {
    let mut data = match described {
        Ok(description) => json!(Arc::as_ref(description)),
        Err(refusal) => json!({ "machine": refusal.machine, "why": refusal.why }),
    };
    data["arch"] = json!(wanted.emulator.capabilities.arch);
    data["emulator"] = json!(wanted.emulator.path.to_string_lossy());
    data
}
