//! The program: its arguments, in one place, and one file a subcommand.

mod backends;
mod check;
mod cover;
mod coverage;
mod diff;
mod environments;
mod exec;
mod failed;
mod files;
mod graph;
mod guests;
mod help;
mod list;
mod machines;
mod man;
mod merge;
mod mutate;
mod page;
mod probe;
mod replay;
mod report;
mod run;
mod shard;
mod signals;
mod table;
mod timings;
mod why;

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use once_cell::unsync::OnceCell;

use self::guests::GuestArguments;
use crate::Program;
use crate::graph::{Kind, Model};
use crate::harness::{BadPattern, Filter, Fleet, Form, Plan, possible_jobs};
use crate::qemu::{Between, Prober, Wrapper, is_stopping};
use crate::shown::shown_lines;

/// Tests QEMU's device models: every test on every machine that has a path to it.
#[derive(Parser)]
#[command(name = "qgraph", version, after_help = help::end(), arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List paths, one name a line.
    List(list::Arguments),
    /// Run paths.
    Run(Box<run::Arguments>),
    /// Join the journals of several runs into one report. Needs no QEMU.
    Merge(merge::Arguments),
    /// Compare two runs, or two builds of QEMU.
    Diff(diff::Arguments),
    /// Run the file of a failure, or anybody's qtest reproducer, and say whether it fails.
    Replay(replay::Arguments),
    /// Run QEMU with the qtest accelerator in place, for other people's scripts.
    Exec(exec::Arguments),
    /// Measure how strong tests are, by changing what they are answered.
    Mutate(mutate::Arguments),
    /// Say why a path, node or test is available, or why not.
    Why(why::Arguments),
    /// Show the emulators and how each gets its qtest accelerator.
    Probe(probe::Arguments),
    /// Show what the emulators' machines have, as they say themselves.
    Machines(machines::Arguments),
    /// Show which types of machines and devices are looked at.
    Coverage(coverage::Arguments),
    /// Show the graph, as a picture or as data.
    Graph(graph::Arguments),
    /// Look for what is wrong in the graph; needs no QEMU. Tell what no emulator at hand has.
    Check(check::Arguments),
    /// Print a script that lets a shell complete arguments.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual, or write it as man pages.
    Man(man::Arguments),
}

impl Command {
    /// Whether what it does depends on the nodes of the graph.
    fn is_of_graph(&self) -> bool {
        matches!(
            self,
            Self::List(_) | Self::Run(_) | Self::Why(_) | Self::Graph(_) | Self::Check(_)
        )
    }
}

/// Which emulators.
#[derive(Args)]
struct EmulatorArguments {
    /// An emulator, or a folder of emulators; may be given several times.
    #[arg(long, value_name = "PATH", help_heading = "Emulators")]
    qemu: Vec<PathBuf>,
    /// The emulators are this many times slower than usual, and so are all limits of time; inf
    /// for no limits [default: as measured when the emulator is probed].
    #[arg(long, value_name = "FACTOR", value_parser = factor, help_heading = "Emulators")]
    slow: Option<f64>,
}

/// What starts QEMU.
#[derive(Args)]
struct WrapperArguments {
    /// Start QEMU by this command, to which QEMU and its arguments are added: valgrind, strace, a
    /// debugger. A debugger has the terminal, one QEMU at a time, and no limits of time.
    #[arg(long, value_name = "COMMAND", help_heading = "Emulators")]
    wrapper: Option<String>,
}

impl WrapperArguments {
    /// The wrapper, if one is wanted.
    ///
    /// # Errors
    /// It is none, or cannot be run.
    fn wrapper(&self) -> Result<Option<Wrapper>, Stop> {
        let parsed = self.wrapper.as_deref().map(Wrapper::parse).transpose();
        parsed.map_err(|e| Stop::Usage(format!("--wrapper: {e}")))
    }
}

/// Which paths.
#[derive(Args)]
struct FilterArguments {
    /// Paths whose name holds this, or, with * ? [ or {, matches it as a glob.
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    /// Only machines of this name, such as arm/raspi2b, raspi2b or 'arm/*'.
    #[arg(long, value_name = "MACHINE", help_heading = "Filters")]
    machine: Vec<String>,
    /// Also the machines and devices that the emulators themselves tell of; what they tell is
    /// kept in the cache.
    #[arg(long, help_heading = "Filters")]
    discover: bool,
    /// With --discover, also the versions of a machine type, such as pc-q35-7.1.
    #[arg(long, requires = "discover", help_heading = "Filters")]
    versioned: bool,
    /// Paths of this form: with nothing, or a reset of the machine, or its move to another QEMU,
    /// between set-up and check, or with errors in what the driver writes (fuzz), which QEMU must
    /// survive. Their names end with @reset, @migrate and @fuzz [default: plain, or what FILTER
    /// says].
    #[arg(long, value_name = "FORM", value_delimiter = ',', value_parser = form)]
    #[arg(help_heading = "Filters")]
    form: Vec<Form>,
    /// FILTER and --skip are whole names.
    #[arg(long, help_heading = "Filters")]
    exact: bool,
    /// Leave out the paths that match this.
    #[arg(long, value_name = "FILTER", help_heading = "Filters")]
    skip: Vec<String>,
    /// Only the paths whose whole names are in this file, one a line; - is standard input.
    #[arg(long, value_name = "FILE", help_heading = "Filters")]
    names_from: Option<PathBuf>,
    #[command(flatten)]
    guests: GuestArguments,
    /// The form of the paths where neither --form nor FILTER says it.
    #[arg(skip)]
    usual_form: OnceCell<Form>,
    /// How the name of a device begins that is on the way of every path; none for any.
    #[arg(skip)]
    through: OnceCell<Vec<String>>,
    /// How long a guest may take, if --timeout says so.
    #[arg(skip)]
    guest_limit: OnceCell<Duration>,
    /// The names of --names-from, or of --rerun-failed. Standard input can be read only once.
    #[arg(skip)]
    names: OnceCell<Arc<BTreeSet<String>>>,
}

/// What ends a subcommand early.
#[derive(Debug, thiserror::Error)]
enum Stop {
    /// Wrong usage, or nothing to run.
    #[error("{0}")]
    Usage(String),
    /// Somebody no longer reads what we write.
    #[error(transparent)]
    Write(#[from] io::Error),
}

impl From<BadPattern> for Stop {
    fn from(e: BadPattern) -> Self {
        Self::Usage(e.to_string())
    }
}

/// The exit status that says that not all results are kept.
const NOT_KEPT: u8 = 3;

/// More is no limit at all, and more than the clock can count.
const MOST_SECONDS: f64 = 1e9;

/// A number of seconds, or one with a unit, such as 10m or 1h30m.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().or_else(|_| {
        humantime::parse_duration(text)
            .map(|duration| duration.as_secs_f64())
            .map_err(|_| "not a number of seconds, and no time such as 10m or 1h30m".to_owned())
    })?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() && seconds <= MOST_SECONDS => Ok(duration),
        _ => Err(format!("must be more than 0 seconds and at most {MOST_SECONDS}")),
    }
}

/// What `--form` says is done between set-up and check.
fn form(text: &str) -> Result<Form, String> {
    let word = |form: &Form| form.map_or("plain", Between::word);
    let all = || std::iter::once(None).chain(Between::ALL.map(Some));
    all().find(|form| word(form) == text).ok_or_else(|| {
        let known: Vec<&str> = all().map(|form| word(&form)).collect();
        format!("known forms are {}", known.join(", "))
    })
}

/// How many QEMUs run at once: as many as are wanted, if that is possible, else one for each
/// CPU.
fn jobs(wanted: Option<NonZeroUsize>) -> NonZeroUsize {
    let Some(wanted) = wanted else {
        return std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    };
    let (jobs, why) = possible_jobs(wanted);
    why.into_iter().for_each(warn);
    jobs
}

/// A factor of at least 1, or `inf`.
fn factor(text: &str) -> Result<f64, String> {
    let factor = text.parse().map_err(|_| "not a number".to_owned())?;
    if factor >= 1.0 { Ok(factor) } else { Err("must be at least 1, or inf".to_owned()) }
}

/// Says something on standard error, made fit for it. That nobody reads it is no reason to
/// end, as `eprintln!` would.
fn say(colour: anstyle::AnsiColor, kind: &str, text: impl std::fmt::Display) {
    let style = colour.on_default();
    let text = shown_lines(&text.to_string());
    let _ = writeln!(anstream::stderr(), "{style}{kind}:{style:#} {text}");
}

fn note(text: String) {
    say(anstyle::AnsiColor::Cyan, "note", text);
}

fn warn(text: String) {
    say(anstyle::AnsiColor::Yellow, "warning", text);
}

impl EmulatorArguments {
    /// The emulators, with a word about each that cannot be used.
    ///
    /// # Errors
    /// None can be used.
    fn fleet(&self) -> Result<Fleet, Stop> {
        self.fleet_by(Prober::new())
    }

    /// As [`Self::fleet`], probed by `prober`.
    fn fleet_by(&self, prober: Prober) -> Result<Fleet, Stop> {
        let prober = Prober { slow: self.slow, ..prober };
        let fleet = Fleet::gather(&self.qemu, &prober, warn);
        if is_stopping() {
            return Err(Stop::Usage("stopped before anything ran".to_owned()));
        }
        if let Some(why) = fleet.nothing_usable() {
            return Err(Stop::Usage(why));
        }
        for unusable in &fleet.unusable {
            warn(unusable.to_string());
        }
        Ok(fleet)
    }
}

impl FilterArguments {
    /// Whether they leave nothing out.
    fn is_empty(&self) -> bool {
        self.filters.is_empty()
            && self.machine.is_empty()
            && self.skip.is_empty()
            && self.names_from.is_none()
            && self.form.is_empty()
    }

    /// Whether they choose among the paths of a machine.
    fn names_paths(&self) -> bool {
        !self.filters.is_empty() || !self.skip.is_empty() || self.names_from.is_some()
    }

    fn filter(&self) -> Result<Filter, Stop> {
        let usual = self.usual_form.get().filter(|_| self.form.is_empty());
        let forms = self.form.iter().chain(usual).copied().collect();
        let filter =
            Filter::new(&self.filters, &self.skip, &self.machine, self.exact)?.with_forms(forms);
        let filter = filter.through(self.through.get().cloned().unwrap_or_default());
        Ok(match self.names()? {
            Some(names) => filter.with_names(names.clone()),
            None => filter,
        })
    }

    /// The names that --names-from lists; none without it.
    fn names(&self) -> Result<Option<&Arc<BTreeSet<String>>>, Stop> {
        let Some(file) = &self.names_from else { return Ok(self.names.get()) };
        let read = || {
            let mut bytes = Vec::new();
            match file.to_str() {
                Some("-") => io::stdin().read_to_end(&mut bytes),
                _ => File::open(file).and_then(|mut file| file.read_to_end(&mut bytes)),
            }
            .map_err(|e| Stop::Usage(format!("cannot read {}: {e}", file.display())))?;
            let text = String::from_utf8_lossy(&bytes);
            let names = text.lines().map(str::trim).filter(|name| !name.is_empty());
            let names: BTreeSet<String> = names.map(str::to_owned).collect();
            match names.is_empty() {
                true => Err(Stop::Usage(format!("no name is in {}", file.display()))),
                false => Ok(Arc::new(names)),
            }
        };
        self.names.get_or_try_init(read).map(Some)
    }

    /// Whether all names that were listed are paths of `plan`, as far as the other filters let
    /// them through. Says which are not.
    fn has_all_names(&self, plan: &Plan) -> Result<bool, Stop> {
        let Some(names) = self.names()? else { return Ok(true) };
        let filter = self.filter()?;
        let is_wanted = |name: &&String| {
            let mut words = name.trim_start_matches('/').splitn(3, '/');
            let machine = words.by_ref().take(2).collect::<Vec<_>>().join("/");
            filter.wants_path(name) && filter.wants_machine(&machine)
        };
        let there: HashSet<String> = plan.trials().map(|trial| trial.path.name()).collect();
        let absent: Vec<_> =
            names.iter().filter(is_wanted).filter(|name| !there.contains(*name)).collect();
        if let Some(first) = absent.first() {
            let count = absent.len();
            warn(format!("{count} listed paths are on no emulator at hand; the first is {first}"));
        }
        Ok(absent.is_empty())
    }

    /// The graph: what is declared, and what was discovered on the machines of `fleet`; or, if
    /// guests are asked for, these alone.
    ///
    /// # Errors
    /// Guests cannot be read.
    fn model(&self, fleet: &Fleet, filter: &Filter) -> Result<Model, Stop> {
        if self.guests.are_given() {
            let guests = self.guests.read(&self.filters, self.guest_limit.get().copied())?;
            return Ok(Model::of_guests(guests));
        }
        let mut model = Model::registered();
        if self.discover {
            model.discover(&machines::discoveries(fleet, filter, self.versioned));
        }
        Ok(model)
    }

    /// What is to run on `fleet`.
    ///
    /// # Errors
    /// Nothing is, or a glob is none.
    fn plan(&self, fleet: &Fleet) -> Result<Plan, Stop> {
        let filter = self.filter()?;
        let model = Arc::new(self.model(fleet, &filter)?);
        let known =
            model.nodes().any(|node| node.kind == Kind::Machine && filter.wants_machine(node.name));
        let plan = Plan::new(model, fleet.usable.clone(), filter);
        if plan.trials().next().is_some() {
            return Ok(plan);
        }
        Err(Stop::Usage(match plan.missing().next() {
            Some(path) => format!(
                "no emulator at hand has a path that matches; {} would, but {}",
                path.name(),
                plan.why_missing(&path)
            ),
            None if !known => format!(
                "no machine in the graph is called {}; `qgraph list` shows all paths",
                self.machine.join(" or ")
            ),
            None => "no path matches; `qgraph list` shows all".to_owned(),
        }))
    }
}

/// The program's arguments, as its manual tells them.
fn program() -> clap::Command {
    let mut program = Arguments::command().disable_help_subcommand(true);
    program.build();
    program
}

/// Runs `program` with the arguments of the process.
pub fn main(program: Program) -> ExitCode {
    let known = Arguments::command().name(program.name);
    // Told once in the life of a program.
    let known = known.version(&*program.version_in_words().leak());
    let parsed = known.get_matches();
    let arguments = Arguments::from_arg_matches(&parsed).unwrap_or_else(|e| e.exit());
    if arguments.command.is_of_graph() {
        program.lacks_nodes().into_iter().for_each(warn);
    }
    let result = match arguments.command {
        Command::List(arguments) => list::main(&arguments),
        Command::Run(arguments) => run::main(&arguments),
        Command::Merge(arguments) => merge::main(&arguments),
        Command::Diff(arguments) => diff::main(&arguments),
        Command::Replay(arguments) => replay::main(&arguments),
        Command::Exec(arguments) => exec::main(&arguments),
        Command::Mutate(arguments) => mutate::main(&arguments),
        Command::Why(arguments) => why::main(&arguments),
        Command::Probe(arguments) => probe::main(&arguments),
        Command::Machines(arguments) => machines::main(&arguments),
        Command::Coverage(arguments) => coverage::main(&arguments),
        Command::Graph(arguments) => graph::main(&arguments),
        Command::Check(arguments) => check::main(&arguments),
        Command::Man(arguments) => man::main(&arguments),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "qgraph", &mut script);
            let written = io::stdout().write_all(&script);
            written.map(|()| ExitCode::SUCCESS).map_err(Stop::from)
        }
    };
    match result {
        Ok(status) => status,
        // As a program that is killed by SIGPIPE: whoever reads has seen enough.
        Err(Stop::Write(e)) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(stop) => {
            say(anstyle::AnsiColor::Red, "error", stop);
            ExitCode::from(2)
        }
    }
}
