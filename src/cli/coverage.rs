//! `qgraph coverage`: which machine types and device types of the emulators are looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use super::page::html;
use super::table::Format;
use super::{EmulatorArguments, NOT_KEPT, Stop, machines, page, warn};
use crate::files::bounded;
use crate::files::output_file::OutputFile;
use crate::graph::{self, Model, Reach};
use crate::harness::{Filter, Plan};
use crate::shown::{self, shown};

const ABOUT: &str = "\
Every machine is asked what it has, unless the cache knows. A device type is reached by a suite
of its own, by a generic suite only, which takes any device, or by none.

The JSON is what --compare reads: what an earlier coverage reached and this one does not is
lost, and the exit status is 1, so that a CI job can see to it that nothing gets lost.

Examples:
  qgraph coverage --qemu build
  qgraph coverage --format json > coverage.json
  qgraph coverage --compare coverage.json --at-least 60";

#[derive(clap::Args)]
#[command(after_help = ABOUT)]
pub(super) struct Arguments {
    /// How the coverage is written to standard output.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Write a page for a browser to this file as well.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Fail if less than this part of the device types is reached by any suite.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    at_least: Option<f64>,
    /// Say what is lost and new since this coverage in JSON, and fail if something is lost.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    #[command(flatten)]
    emulators: EmulatorArguments,
}

fn percent(text: &str) -> Result<f64, String> {
    let percent: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=100.0).contains(&percent) { Ok(percent) } else { Err("0 to 100".to_owned()) }
}

/// What is reached of one emulator.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Of {
    /// QEMU's version.
    version: String,
    /// How many paths it has.
    paths: usize,
    #[serde(flatten)]
    reached: graph::Coverage,
    /// The machine types that do not start, and why.
    refused: BTreeMap<String, String>,
}

/// The emulators by their file names, so that two builds can be compared.
type Covered = BTreeMap<String, Of>;

pub(super) fn main(arguments: &Arguments) -> Result<ExitCode, Stop> {
    let old = arguments.compare.as_deref().map(read).transpose()?;
    let html = match arguments.html.as_deref().map(OutputFile::with_folder) {
        None => None,
        Some(Ok(file)) => Some(file),
        Some(Err(e)) => return Err(Stop::Usage(format!("there can be no page: {e}"))),
    };
    let covered = covered(&arguments.emulators)?;
    let changes = old.map(|old| Changes::of(&old, &covered));
    let text = table(&covered, changes.as_ref());
    let mut out = io::stdout().lock();
    match arguments.format {
        Format::Table => out.write_all(text.as_bytes())?,
        Format::Json => writeln!(out, "{}", shown::json(&covered)?)?,
    }
    out.flush()?;
    let mut is_kept = true;
    if let Some(Err(e)) =
        html.map(|file| file.write(whole_page(&covered, changes.as_ref()).as_bytes()))
    {
        is_kept = false;
        warn(format!("the page could not be written: {e}"));
    }
    let (reached, all) = devices(&covered, Reach::Generic);
    let percent = 100.0 * reached as f64 / all.max(1) as f64;
    let is_little = arguments.at_least.is_some_and(|least| percent < least);
    if is_little {
        warn(format!("{percent:.1} % of the device types are reached: too few"));
    }
    let is_lost = changes.is_some_and(|changes| !changes.lost.is_empty());
    Ok(match is_little || is_lost {
        _ if !is_kept => ExitCode::from(NOT_KEPT),
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

/// The largest coverage that is read, in bytes.
const MOST_BYTES: u64 = 64 << 20;

fn read(file: &Path) -> Result<Covered, Stop> {
    let cannot = |e: &dyn std::fmt::Display| {
        Stop::Usage(format!("cannot read the coverage {}: {e}", file.display()))
    };
    let bytes = bounded::read(file, MOST_BYTES).map_err(|e| cannot(&e))?;
    serde_json::from_slice(&bytes).map_err(|e| cannot(&e))
}

fn covered(arguments: &EmulatorArguments) -> Result<Covered, Stop> {
    let fleet = arguments.fleet()?;
    let filter = Filter::default();
    let (discoveries, refusals) = machines::described(&fleet, &filter, false);
    let mut model = Model::registered();
    model.discover(&discoveries);
    let model = std::sync::Arc::new(model);
    let mut covered = Covered::new();
    for emulator in &fleet.usable {
        let plan = Plan::new(model.clone(), vec![emulator.clone()], filter.clone());
        let refused = refusals.iter().filter(|(wanted, _)| wanted.emulator.path == emulator.path);
        let first = |text: String| text.lines().next().unwrap_or_default().to_owned();
        let refused = refused.map(|(wanted, why)| (wanted.machine.clone(), first(why.to_string())));
        let of = Of {
            version: emulator.capabilities.version.to_string(),
            paths: plan.trials().count(),
            reached: model.coverage(emulator),
            refused: refused.collect(),
        };
        // Two builds of one name are told apart by their folders.
        let name = match covered.contains_key(&emulator.name()) {
            true => emulator.path.display().to_string(),
            false => emulator.name(),
        };
        covered.insert(name, of);
    }
    Ok(covered)
}

/// How many device types of all emulators are reached at least so, and how many there are. A
/// type counts once.
fn devices(covered: &Covered, least: Reach) -> (usize, usize) {
    let mut all = BTreeMap::<&str, Reach>::new();
    for (name, reach) in covered.values().flat_map(|of| &of.reached.devices) {
        let known = all.entry(name).or_default();
        *known = (*known).max(*reach);
    }
    (all.values().filter(|reach| **reach >= least).count(), all.len())
}

/// What one coverage reaches and the other does not, as lines.
struct Changes {
    lost: Vec<String>,
    new: Vec<String>,
    paths: (usize, usize),
}

impl Changes {
    fn of(old: &Covered, new: &Covered) -> Self {
        let paths = |of: &Covered| of.values().map(|of| of.paths).sum();
        let (before, after) = (reached(old), reached(new));
        let only = |these: &BTreeSet<String>, those: &BTreeSet<String>| {
            these.difference(those).cloned().collect()
        };
        Self {
            lost: only(&before, &after),
            new: only(&after, &before),
            paths: (paths(old), paths(new)),
        }
    }

    fn summary(&self) -> String {
        let (lost, new, (before, after)) = (self.lost.len(), self.new.len(), self.paths);
        format!("since then {lost} lost, {new} new; {before} paths then, {after} now")
    }
}

/// All that is reached, as words.
fn reached(covered: &Covered) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for (emulator, of) in covered {
        let kinds = [("machine", &of.reached.machines), ("device", &of.reached.devices)];
        for (kind, entries) in kinds {
            for (name, reach) in entries {
                if *reach >= Reach::Generic {
                    words.insert(format!("{kind} {name} ({emulator})"));
                }
                if *reach >= Reach::Own && kind == "device" {
                    words.insert(format!("suites of device {name} ({emulator})"));
                }
            }
        }
    }
    words
}

/// How many names a table has in one line.
const MOST_NAMES: usize = 12;

fn unreached(of: &Of) -> Vec<&str> {
    let none = of.reached.devices.iter().filter(|(_, reach)| **reach == Reach::None);
    none.map(|(name, _)| name.as_str()).collect()
}

fn line(emulator: &str, of: &Of) -> String {
    let reached = &of.reached;
    shown(&format!(
        "{emulator} {}: {} of {} machine types, {} of {} device types ({} by suites of their \
         own), {} paths",
        of.version,
        reached.machines_reached(Reach::Generic),
        reached.machines.len(),
        reached.devices_reached(Reach::Generic),
        reached.devices.len(),
        reached.devices_reached(Reach::Own),
        of.paths,
    ))
}

fn total(covered: &Covered) -> String {
    let (own, _) = devices(covered, Reach::Own);
    let (any, all) = devices(covered, Reach::Generic);
    let paths: usize = covered.values().map(|of| of.paths).sum();
    format!("{any} of {all} device types are reached, {own} by suites of their own; {paths} paths")
}

fn table(covered: &Covered, changes: Option<&Changes>) -> String {
    let mut text = String::new();
    for (emulator, of) in covered {
        let _ = writeln!(text, "{}", line(emulator, of));
        for (machine, why) in &of.refused {
            let _ = writeln!(text, "    machine {machine} does not start: {}", shown(why));
        }
        let none = unreached(of);
        if !none.is_empty() {
            let names = none[..none.len().min(MOST_NAMES)].join(", ");
            let more = match none.len().saturating_sub(MOST_NAMES) {
                0 => String::new(),
                more => format!(" and {more} more; --format json has them all"),
            };
            let _ = writeln!(text, "    reached by no suite: {}{more}", shown(&names));
        }
    }
    if let Some(changes) = changes {
        for (word, names) in [("lost", &changes.lost), ("new", &changes.new)] {
            names.iter().for_each(|name| {
                let _ = writeln!(text, "{word}: {}", shown(name));
            });
        }
        let _ = writeln!(text, "{}", changes.summary());
    }
    text + &total(covered) + "\n"
}

fn whole_page(covered: &Covered, changes: Option<&Changes>) -> String {
    let mut body = format!("<h1>Coverage</h1>\n<p>{}</p>\n", html(&total(covered)));
    if let Some(changes) = changes {
        let _ = writeln!(body, "<p>{}</p>", html(&changes.summary()));
        for (word, class, names) in [("lost", "gone", &changes.lost), ("new", "new", &changes.new)]
        {
            let names: Vec<String> = names.iter().map(|name| html(name)).collect();
            if !names.is_empty() {
                let names = names.join("<br>");
                let _ = writeln!(body, "<details open class={class}><summary>{word}</summary>");
                let _ = writeln!(body, "<p>{names}</p></details>");
            }
        }
    }
    for (emulator, of) in covered {
        let _ = writeln!(body, "<details><summary>{}</summary>", html(&line(emulator, of)));
        for (machine, why) in &of.refused {
            let why = html(&format!("machine {machine} does not start: {why}"));
            let _ = writeln!(body, "<p>{why}</p>");
        }
        let kinds =
            [("machine types", &of.reached.machines), ("device types", &of.reached.devices)];
        for (kind, entries) in kinds {
            for (reach, how) in [
                (Reach::Own, "by suites of their own"),
                (Reach::Generic, "by generic suites only"),
                (Reach::None, "by none"),
            ] {
                let names = entries.iter().filter(|(_, it)| **it == reach);
                let names: Vec<String> = names.map(|(name, _)| html(name)).collect();
                if !names.is_empty() {
                    let (count, names) = (names.len(), names.join(", "));
                    let _ = writeln!(body, "<p><b>{count} {kind} {how}</b><br>{names}</p>");
                }
            }
        }
        body += "</details>\n";
    }
    page::page("coverage", &body)
}
