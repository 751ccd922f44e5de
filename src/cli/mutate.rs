//! `qgraph mutate`: how strong tests are, by changing what they are answered.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::seconds;
use super::signals::Watch;
use super::{EmulatorArguments, FilterArguments, Stop, jobs, warn};
use crate::files::bounded;
use crate::harness::mutate::{
    Counts, Ignored, Line, Options, PathStrength, SuiteStrength, measure_all, suites,
};
use crate::qemu::{Limits, Prober};
use crate::shown::{self, shown};

/// How results are written.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Pretty,
    /// One JSON object a line: the paths as they come, then the suites.
    Json,
}

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    filter: FilterArguments,
    /// Try at most N changes of each path, picked by chance.
    #[arg(long, value_name = "N", default_value = "200")]
    sample: NonZeroUsize,
    /// Try all changes, and flip every bit of a register.
    #[arg(long, conflicts_with = "sample")]
    thorough: bool,
    /// What chance starts from: the same seed tries the same changes.
    #[arg(long, value_name = "N", default_value = "0")]
    seed: u64,
    /// Begin no more changes of a path that has taken S seconds.
    #[arg(long, value_name = "S", value_parser = seconds)]
    time_limit: Option<Duration>,
    /// Change what drivers are answered while they are attached, too.
    #[arg(long)]
    attaching: bool,
    /// Fail if a suite notices less than PERCENT of the changes.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    at_least: Option<f64>,
    /// Show how suites have changed since this output of --format json.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// How many paths are measured at once [default: the number of cores].
    #[arg(short, long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// How many seconds a path may take when nothing is changed, and an emulator to say what
    /// it is.
    #[arg(long, value_name = "S", default_value = "60", value_parser = seconds)]
    timeout: Duration,
    /// How results are written to standard output.
    #[arg(long, value_enum, default_value = "pretty")]
    format: Format,
    #[command(flatten)]
    emulators: EmulatorArguments,
}

fn percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').parse() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("not a number from 0 to 100".to_owned()),
    }
}

pub(super) fn main(arguments: &Arguments) -> Result<ExitCode, Stop> {
    let before = arguments.compare.as_deref().map(read_suites).transpose()?;
    if arguments.filter.guests.are_given() {
        let why = "--guests: what a guest is answered cannot be changed";
        return Err(Stop::Usage(why.to_owned()));
    }
    let watch = Watch::begin()?;
    let prober = Prober::for_tests_of(arguments.timeout);
    let planned = arguments.emulators.fleet_by(prober);
    let planned = planned.and_then(|fleet| arguments.filter.plan(&fleet));
    let plan = match (planned, watch.exit_status()) {
        (Ok(plan), _) => plan,
        (Err(stop), None) => return Err(stop),
        (Err(stop), Some(status)) => {
            warn(stop.to_string());
            return Ok(ExitCode::from(status));
        }
    };
    if plan.is_debugged() {
        let why = "a debugger runs one QEMU at a time: QTEST_QEMU_BINARY must not name one here";
        return Err(Stop::Usage(why.to_owned()));
    }
    let options = Options {
        seed: arguments.seed,
        sample: (!arguments.thorough).then_some(arguments.sample.get()),
        time_limit: arguments.time_limit,
        every_bit: arguments.thorough,
        attaching: arguments.attaching,
        limits: Limits::of_tests(arguments.timeout),
    };
    let jobs = jobs(arguments.jobs);
    watch.note_running();
    let mut paths = Vec::new();
    let mut written = Ok(());
    measure_all(plan.trials(), jobs, &options, |path| {
        if written.is_ok() {
            written = match arguments.format {
                Format::Pretty => show_path(&path),
                Format::Json => json(&Line::Path(path.clone())),
            };
        }
        paths.push(path);
    });
    written?;
    let suites = suites(&paths);
    match arguments.format {
        Format::Pretty => show_end(&paths, &suites, before.as_ref(), options.seed)?,
        Format::Json => {
            for suite in &suites {
                json(&Line::Suite(suite.clone()))?;
            }
        }
    }
    let failed = |path: &PathStrength| path.unmeasured.as_ref().is_some_and(|it| it.is_failure());
    let weak = |suite: &SuiteStrength| match (arguments.at_least, suite.percent) {
        (Some(least), Some(percent)) => percent < least,
        _ => false,
    };
    Ok(match watch.exit_status() {
        Some(status) => ExitCode::from(status),
        None if paths.iter().any(failed) || suites.iter().any(weak) => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
    })
}

/// The suites in an output of an earlier run.
/// The largest file of `--compare`, in bytes.
const MOST_COMPARED: u64 = 256 << 20;

fn read_suites(file: &Path) -> Result<BTreeMap<String, SuiteStrength>, Stop> {
    let bad = |e: &dyn std::fmt::Display| {
        Stop::Usage(format!(
            "cannot read {}: {e}; it is to hold what `qgraph mutate --format json` wrote",
            file.display()
        ))
    };
    let text = bounded::read(file, MOST_COMPARED).map_err(|e| bad(&e))?;
    let text = String::from_utf8(text).map_err(|e| bad(&e))?;
    let mut suites = BTreeMap::new();
    for line in text.lines() {
        if let Line::Suite(suite) = serde_json::from_str(line).map_err(|e| bad(&e))? {
            suites.insert(suite.suite.clone(), suite);
        }
    }
    Ok(suites)
}

fn json(line: &Line) -> io::Result<()> {
    writeln!(io::stdout(), "{}", shown::json(line)?)
}

fn share(percent: Option<f64>) -> String {
    percent.map_or("–".to_owned(), |percent| format!("{percent:.1} %"))
}

/// What is said of counts: the tried changes by their fates.
fn fates(counts: &Counts) -> String {
    let mut text = format!("{} noticed, {} ignored", counts.noticed, counts.ignored);
    for (count, word) in [
        (counts.rewritten, "written back"),
        (counts.asked_again, "asked again"),
        (counts.diverged, "diverged"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {word}"));
        }
    }
    text
}

fn show_path(path: &PathStrength) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    let Some(unmeasured) = &path.unmeasured else {
        let counts = &path.counts;
        writeln!(
            out,
            "{:>8}  {}\n          {} answers, {} of {} changes tried: {}",
            share(path.percent),
            path.name,
            counts.answers,
            counts.tried,
            counts.changes,
            fates(counts)
        )?;
        return out.flush();
    };
    writeln!(out, "{:>8}  {}", unmeasured.outcome, path.name)?;
    for line in unmeasured.why.lines() {
        writeln!(out, "          {}", shown(line))?;
    }
    out.flush()
}

/// So many answers are shown of each line.
const EXAMPLES: usize = 3;

fn show_end(
    paths: &[PathStrength],
    suites: &[SuiteStrength],
    before: Option<&BTreeMap<String, SuiteStrength>>,
    seed: u64,
) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    let mut places = BTreeMap::<(&str, &[String], Option<&str>), Vec<&Ignored>>::new();
    for path in paths {
        let (_, test) = path.name.split_at(path.name.find(&path.suite).unwrap_or(0));
        for ignored in &path.ignored_answers {
            let place = (test, &*ignored.at, ignored.driver.as_deref());
            places.entry(place).or_default().push(ignored);
        }
    }
    if !places.is_empty() {
        writeln!(out, "\nIgnored:")?;
    }
    let mut last = "";
    for ((test, at, driver), ignored) in places {
        if test != last {
            writeln!(out, "{test}")?;
            last = test;
        }
        let via = driver.map_or(String::new(), |driver| format!(" via {driver}"));
        let at = if at.is_empty() { "(outside the test's file)".to_owned() } else { lines(at) };
        writeln!(out, "    {at}{via}")?;
        for it in ignored.iter().take(EXAMPLES) {
            let changes = it.changes.join("; ");
            let text = format!("{} = {}: {changes}", it.request, it.answer);
            writeln!(out, "        {}", shown(&text))?;
        }
        if ignored.len() > EXAMPLES {
            writeln!(out, "        and {} more answers", ignored.len() - EXAMPLES)?;
        }
    }
    writeln!(out, "\nSuites, seed {seed}:")?;
    for suite in suites {
        let was = before.map(|before| match before.get(&suite.suite) {
            Some(before) => format!("  was {}", share(before.percent)),
            None => "  is new".to_owned(),
        });
        writeln!(
            out,
            "{:>8}  {:24} {} paths, {}{}",
            share(suite.percent),
            suite.suite,
            suite.paths,
            fates(&suite.counts),
            was.unwrap_or_default()
        )?;
    }
    out.flush()
}

/// Lines of one file, the file's name only once.
fn lines(at: &[String]) -> String {
    let mut text = String::new();
    let mut file = "";
    for place in at {
        let (this, line) = place.rsplit_once(':').unwrap_or((place, ""));
        if this == file {
            text.push_str(&format!(" < {line}"));
        } else {
            text.push_str(&format!("{}{place}", if text.is_empty() { "" } else { " < " }));
            file = this;
        }
    }
    text
}
