//! `qgraph.toml` and the options that choose among the environments that it names.

use std::cell::RefCell;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use clap::Args;
use serde::Deserialize;

use super::page::{html, page};
use super::report::ReportArguments;
use super::{EmulatorArguments, Stop, warn};
use crate::files::bounded;
use crate::files::output_file::OutputFile;
use crate::harness::{Fleet, Matrix, MatrixOutput, Report};
use crate::qemu::{Emulator, NamedEnvironment, Prober, Wrapper, accelerator_trouble};

/// The file in the current folder.
const FILE: &str = "qgraph.toml";
/// The largest file that is read, in bytes.
const MOST: u64 = 1 << 20;
/// The environments that are there without being named in a file.
const ACCELERATORS: [&str; 3] = ["tcg", "kvm", "hvf"];

/// In which environments.
#[derive(Args)]
pub(super) struct EnvironmentArguments {
    /// Run everything in each of these environments, separated by commas: those that
    /// qgraph.toml names, or an accelerator (tcg, kvm, hvf); a table shows where they differ.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', help_heading = "Environments")]
    env: Vec<String>,
    /// Run everything in every environment of qgraph.toml.
    #[arg(long, conflicts_with = "env", help_heading = "Environments")]
    matrix: bool,
    /// The file that names environments [default: qgraph.toml, if it is there].
    #[arg(long, value_name = "FILE", help_heading = "Environments")]
    config: Option<PathBuf>,
    /// Write the table of paths and environments to this file: a page if it ends in .html,
    /// else JSON.
    #[arg(long, value_name = "FILE", help_heading = "Environments")]
    pub table: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    environment: Vec<Entry>,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    /// An emulator, or a folder of emulators; from the file's folder on.
    qemu: Option<PathBuf>,
    #[serde(default = "tcg")]
    accel: String,
    cpu: Option<String>,
    smp: Option<u32>,
    memory: Option<String>,
    #[serde(default)]
    options: Vec<String>,
    #[serde(default)]
    machines: Vec<String>,
    wrapper: Option<String>,
    slow: Option<f64>,
}

fn tcg() -> String {
    "tcg".to_owned()
}

impl EnvironmentArguments {
    /// Whether environments are asked for.
    pub fn are_given(&self) -> bool {
        self.matrix || !self.env.is_empty()
    }

    /// The file that they are read from, if one is named.
    pub fn file(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// The emulators, each once for each environment that is asked for.
    ///
    /// # Errors
    /// The file cannot be understood, there is no such environment, or none of its emulators can
    /// be used.
    pub fn fleet(&self, emulators: &EmulatorArguments, prober: &Prober) -> Result<Fleet, Stop> {
        let (file, folder) = self.read()?;
        let mut all = Fleet { usable: Vec::new(), unusable: Vec::new(), named: false };
        for entry in self.wanted(&file)? {
            let slow = entry.slow.or(emulators.slow);
            let fleet = match &entry.qemu {
                Some(qemu) => {
                    let qemu = vec![folder.join(qemu)];
                    EmulatorArguments { qemu, slow }.fleet_by(prober.clone())
                }
                None => EmulatorArguments { qemu: emulators.qemu.clone(), slow }
                    .fleet_by(prober.clone()),
            };
            let about = |e: &dyn std::fmt::Display| {
                Stop::Usage(format!("the environment {}: {e}", entry.name))
            };
            let fleet = fleet.map_err(|e| about(&e))?;
            let wrapper = entry.wrapper.as_deref().map(Wrapper::parse).transpose();
            let wrapper = wrapper.map_err(|e| about(&e))?;
            all.named |= fleet.named;
            all.unusable.extend(fleet.unusable);
            for emulator in fleet.usable {
                let emulator = match &wrapper {
                    Some(wrapper) => prober.wrap(&emulator, wrapper).map_err(|e| about(&e))?,
                    None => (*emulator).clone(),
                };
                let environment = Some(Arc::new(entry.environment(&emulator)));
                all.usable.push(Arc::new(Emulator { environment, ..emulator }));
            }
        }
        Ok(all)
    }

    /// The file and the folder in which it is.
    fn read(&self) -> Result<(File, PathBuf), Stop> {
        let (file, is_named) = match &self.config {
            Some(file) => (file.clone(), true),
            None => (PathBuf::from(FILE), false),
        };
        if !is_named && !file.exists() {
            return Ok((File::default(), PathBuf::new()));
        }
        let bad = |e: String| Stop::Usage(format!("cannot read {}: {e}", file.display()));
        let bytes = bounded::read(&file, MOST).map_err(|e| bad(e.to_string()))?;
        let text = String::from_utf8_lossy(&bytes);
        let read: File = toml::from_str(&text).map_err(|e| bad(e.to_string()))?;
        for (number, entry) in read.environment.iter().enumerate() {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
            if entry.name.is_empty() || !entry.name.chars().all(is_plain) {
                return Err(bad(format!(
                    "{:?} is no name of letters, digits and -_.+",
                    entry.name
                )));
            }
            if read.environment[..number].iter().any(|other| other.name == entry.name) {
                return Err(bad(format!("two environments are called {}", entry.name)));
            }
            if entry.slow.is_some_and(|slow| slow.is_nan() || slow < 1.0) {
                return Err(bad(format!("{}: slow must be at least 1", entry.name)));
            }
        }
        let folder = file.parent().map(Path::to_owned).unwrap_or_default();
        Ok((read, folder))
    }

    fn wanted(&self, file: &File) -> Result<Vec<Entry>, Stop> {
        if self.matrix {
            return match file.environment.is_empty() {
                true => Err(Stop::Usage(format!(
                    "--matrix: no environment is named; {FILE} names them, or --config FILE"
                ))),
                false => Ok(file.environment.clone()),
            };
        }
        let mut wanted: Vec<Entry> = Vec::new();
        for name in &self.env {
            if wanted.iter().any(|entry| entry.name == *name) {
                continue;
            }
            let named = file.environment.iter().find(|entry| entry.name == *name).cloned();
            let accelerator = || {
                ACCELERATORS.iter().find(|it| *it == name).map(|accel| Entry::of_accelerator(accel))
            };
            wanted.push(named.or_else(accelerator).ok_or_else(|| {
                let known: Vec<&str> = file.environment.iter().map(|it| &*it.name).collect();
                let known = [&known[..], &ACCELERATORS[..]].concat().join(", ");
                Stop::Usage(format!("--env: no environment is called {name}; there are {known}"))
            })?);
        }
        Ok(wanted)
    }
}

impl Entry {
    fn of_accelerator(name: &str) -> Self {
        let NamedEnvironment { name, accel, cpu, smp, memory, options, machines, .. } =
            NamedEnvironment::of_accelerator(name);
        let (qemu, wrapper, slow) = Default::default();
        Self { name, qemu, accel, cpu, smp, memory, options, machines, wrapper, slow }
    }

    /// The environment, as it is on this emulator.
    fn environment(&self, emulator: &Emulator) -> NamedEnvironment {
        let base = self.accel.split(',').next().unwrap_or_default();
        let trouble = (base != "tcg").then(|| accelerator_trouble(emulator, &self.accel)).flatten();
        NamedEnvironment {
            name: self.name.clone(),
            accel: self.accel.clone(),
            cpu: self.cpu.clone(),
            smp: self.smp,
            memory: self.memory.clone(),
            options: self.options.clone(),
            machines: self.machines.clone(),
            trouble,
        }
    }
}

/// The table of paths and environments of a run.
pub(super) struct Table {
    matrix: Rc<RefCell<Matrix>>,
    /// Where it is written; `None` in it if nothing can be.
    file: Option<Option<OutputFile>>,
}

impl Table {
    /// Lets `report` gather it, if environments are asked for. It is shown at the end where
    /// standard output is for people.
    pub fn begin(
        arguments: &EnvironmentArguments,
        fleet: &Fleet,
        report: &mut Report,
        shown: &ReportArguments,
    ) -> Option<Self> {
        if !arguments.are_given() && arguments.table.is_none() {
            return None;
        }
        let mut columns: Vec<String> = Vec::new();
        for emulator in &fleet.usable {
            let name = emulator.environment.as_ref().map(|it| it.name.clone());
            columns.extend(name.filter(|name| !columns.contains(name)));
        }
        let matrix = Rc::new(RefCell::new(Matrix::new(columns)));
        report.add_output(MatrixOutput::new(matrix.clone(), shown.is_for_people()));
        let open = |file: &PathBuf| match OutputFile::with_folder(file) {
            Ok(file) => Some(file),
            Err(e) => {
                warn(format!("there will be no table: {e}"));
                None
            }
        };
        Some(Self { matrix, file: arguments.table.as_ref().map(open) })
    }

    /// Writes it to its file, if it has one; whether that could be done.
    pub fn write(self) -> bool {
        let Some(file) = self.file else { return true };
        let Some(file) = file else { return false };
        let matrix = self.matrix.borrow();
        let is_page = file.name().extension().is_some_and(|it| it == "html");
        let text = if is_page { as_page(&matrix) } else { format!("{:#}\n", matrix.json()) };
        let written = file.write(text.as_bytes());
        if let Err(e) = &written {
            warn(format!("the table {} could not be written: {e}", file.name().display()));
        }
        written.is_ok()
    }
}

/// The table as a page: what differs first, each check with its results side by side.
fn as_page(matrix: &Matrix) -> String {
    let mut body = String::from("<h1>Paths and environments</h1>\n");
    let cells = |cells: &[String], tag: &str| {
        let cells = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", html(cell)));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let head: Vec<String> =
        std::iter::once("path".to_owned()).chain(matrix.columns().iter().cloned()).collect();
    let differing = matrix.differing();
    let _ = writeln!(body, "<h2>{} differ</h2>\n<table>\n{}", differing.len(), cells(&head, "th"));
    for row in &differing {
        let said =
            row.words.iter().zip(&row.messages).map(|(word, message)| match message.is_empty() {
                true => (*word).to_owned(),
                false => format!("{word}: {message}"),
            });
        let line: Vec<String> = std::iter::once(row.name.clone()).chain(said).collect();
        body.push_str(&cells(&line, "td"));
        for (check, results) in &row.checks {
            let results = results.iter().map(|it| it.map_or("-", |kind| kind.word()).to_owned());
            let line: Vec<String> = std::iter::once(format!("— {check}")).chain(results).collect();
            body.push_str(&cells(&line, "td"));
        }
    }
    let _ = writeln!(body, "</table>\n<h2>All</h2>\n<table>\n{}", cells(&head, "th"));
    for (name, words) in matrix.words() {
        let line: Vec<String> =
            std::iter::once(name.to_owned()).chain(words.into_iter().map(str::to_owned)).collect();
        body.push_str(&cells(&line, "td"));
    }
    body.push_str("</table>\n");
    page("Paths and environments", &body)
}
