//! `qgraph graph`: the graph as data or as a picture.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use super::{EmulatorArguments, FilterArguments, Stop, warn};
use crate::files::output_file::OutputFile;
use crate::harness::Fleet;
use crate::qemu::{Capabilities, Prober};

/// How the graph is written.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A picture for Graphviz.
    Dot,
    /// A picture for a browser.
    Svg,
    /// Data: an object with "emulators", "nodes" and "edges".
    Json,
}

impl Format {
    /// The format that the ending of a file's name means.
    fn of(file: &Path) -> Option<Self> {
        match file.extension()?.to_str()? {
            "dot" | "gv" => Some(Self::Dot),
            "svg" => Some(Self::Svg),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

const ABOUT: &str = "\
In the pictures a box holds all cases of one suite, or all nodes that have the same
neighbours, and a line all variants of one edge. With a FILTER only what is on a path that
matches is shown. Grey is what no path on an emulator at
hand leads to. JSON has every node and every edge on its own. Without any QEMU the graph is
shown all the same; nothing is grey then, and \"available\" is null.

Examples:
  qgraph graph -o graph.svg
  qgraph graph tmp105 -o sensor.svg
  qgraph graph --machine raspi2b --format dot | dot -Tpdf > raspi2b.pdf";

#[derive(clap::Args)]
#[command(after_help = ABOUT)]
pub(super) struct Arguments {
    /// How the graph is written [default: as the ending of --output says, else svg].
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Write to this file instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    filter: FilterArguments,
    #[command(flatten)]
    emulators: EmulatorArguments,
}

pub(super) fn main(arguments: &Arguments) -> Result<ExitCode, Stop> {
    let ending = arguments.output.as_deref().and_then(Format::of);
    let format = match (arguments.format.or(ending), &arguments.output) {
        (Some(format), _) => format,
        (None, Some(file)) if file.extension().is_some() => {
            return Err(Stop::Usage(format!(
                "{}: no format is known by this ending; .svg, .dot, .gv and .json are, or choose \
                 --format",
                file.display()
            )));
        }
        (None, Some(_)) => Format::Svg,
        (None, None) if io::stdout().is_terminal() => {
            return Err(Stop::Usage(
                "a picture in SVG is nothing to read on a terminal; \
                 write it to a file with `qgraph graph -o graph.svg` and open it in a browser, \
                 or choose --format"
                    .to_owned(),
            ));
        }
        (None, None) => Format::Svg,
    };
    let filter = arguments.filter.filter()?;
    let fleet = fleet(&arguments.emulators)?;
    let emulators: Vec<(String, &Capabilities)> = fleet
        .usable
        .iter()
        .map(|emulator| (emulator.path.display().to_string(), &emulator.capabilities))
        .collect();
    let model = Arc::new(arguments.filter.model(&fleet, &filter)?);
    let mut drawing = model.drawing(&emulators, |machine| filter.wants_machine(machine));
    if drawing.is_empty() {
        return Err(Stop::Usage(format!(
            "no machine in the graph is called {}; `qgraph graph --format json` has all names",
            arguments.filter.machine.join(" or ")
        )));
    }
    if arguments.filter.names_paths() {
        let wanted = filter.clone();
        let paths = model.walk(None, |machine| filter.wants_machine(machine));
        let paths = paths.within(move |start| wanted.may_want(start));
        drawing = drawing.of_paths(paths.filter(|path| filter.wants_path(&path.name())));
        if drawing.is_empty() {
            let why = "no path matches; `qgraph list` shows all";
            return Err(Stop::Usage(why.to_owned()));
        }
    }
    let text = match format {
        Format::Dot => drawing.dot(),
        Format::Svg => drawing.svg(),
        Format::Json => format!("{:#}\n", drawing.json()),
    };
    match &arguments.output {
        None => io::stdout().lock().write_all(text.as_bytes())?,
        Some(file) => OutputFile::new(file)
            .and_then(|file| file.write(text.as_bytes()))
            .map_err(|e| Stop::Usage(format!("cannot write {}: {e}", file.display())))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The emulators at hand. The graph can be shown without any, but an emulator that was
/// named and cannot be used is an error.
fn fleet(arguments: &EmulatorArguments) -> Result<Fleet, Stop> {
    let fleet = Fleet::gather(&arguments.qemu, &Prober::new(), warn);
    match fleet.nothing_usable() {
        Some(why) if fleet.named => return Err(Stop::Usage(why)),
        Some(why) => warn(format!("{why}\nthe graph is shown without what is available")),
        None => fleet.unusable.iter().for_each(|unusable| warn(unusable.to_string())),
    }
    Ok(fleet)
}
