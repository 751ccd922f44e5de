//! `qgraph diff`: two runs, or two builds of QEMU, beside each other.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use serde_json::json;

use super::page::{html, page};
use super::table::Format;
use super::{NOT_KEPT, Stop, note, warn};
use crate::files::output_file::OutputFile;
use crate::harness::compare::{
    Change, Comparison, Difference, Otherwise, Part, Side, Slowness, parts,
};
use crate::harness::journal::read::Reader;
use crate::harness::{Merge, Outcome};
use crate::qemu::Answers;
use crate::shown::{self, shown};

const ABOUT: &str = "\
Each of OLD and NEW is a journal that `qgraph run` or `qgraph merge` has written, or an emulator
or a folder of emulators, on which the paths are run first; what stands behind -- goes to these
runs. JOURNAL@ENVIRONMENT is what a journal has of one environment (`qgraph run --env`). A path counts as the same on emulators of the same file name.

What is gone or new is told by its largest part: a machine, a device or test of which the other
run has no path at all, else the path.

The exit status is 1 if something differs in a way of --fail-on.

Examples:
  qgraph diff before.jsonl after.jsonl
  qgraph diff run.jsonl@tcg run.jsonl@kvm
  qgraph diff /usr/bin ./build --html diff.html -- --cover tests
  qgraph diff qemu-7.2/qemu-system-arm qemu-10.0/qemu-system-arm -- sdhci --machine raspi2b";

#[derive(clap::Args)]
#[command(after_help = ABOUT)]
pub(super) struct Arguments {
    /// The run, or the emulators, to compare with.
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The run, or the emulators, that are looked at.
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Arguments of `qgraph run`, for emulators.
    #[arg(last = true, value_name = "ARGUMENTS OF RUN")]
    run: Vec<OsString>,
    /// How the differences are written to standard output.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Write a page for a browser to this file as well.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// The differences that make the exit status 1, separated by commas; none for none of them.
    #[arg(long, value_name = "CHANGES", value_delimiter = ',', value_parser = change)]
    #[arg(default_value = "now-failing,gone,new-failing,answers-otherwise")]
    fail_on: Vec<OfChange>,
    /// How many times as long a path has to take to be slower, beyond what all paths have in
    /// common.
    #[arg(long, value_name = "FACTOR", value_parser = super::factor, default_value = "5")]
    slower: f64,
}

/// A change, or none at all.
#[derive(Clone, Copy)]
struct OfChange(Option<Change>);

fn change(word: &str) -> Result<OfChange, String> {
    if word == "none" {
        return Ok(OfChange(None));
    }
    let found = Change::ALL.into_iter().find(|change| change.word() == word);
    found.map(|change| OfChange(Some(change))).ok_or_else(|| {
        let words = Change::ALL.map(Change::word).join(", ");
        format!("one of {words}, or none")
    })
}

pub(super) fn main(arguments: &Arguments) -> Result<ExitCode, Stop> {
    let html = match arguments.html.as_deref().map(OutputFile::with_folder) {
        None => None,
        Some(Ok(file)) => Some(file),
        Some(Err(e)) => return Err(Stop::Usage(format!("there can be no page: {e}"))),
    };
    let (old, new) = (arguments.outcomes(&arguments.old)?, arguments.outcomes(&arguments.new)?);
    let names = |outcomes: &[Outcome]| outcomes.iter().map(|it| it.name.clone()).collect();
    let names: [BTreeSet<String>; 2] = [names(&old), names(&new)];
    let slowness = Slowness { factor: arguments.slower, ..Slowness::default() };
    let comparison = Comparison::of(old, new, slowness);
    let told = Told { comparison: &comparison, names: &names, arguments };
    let mut out = io::stdout().lock();
    match arguments.format {
        Format::Table => out.write_all(told.table().as_bytes())?,
        Format::Json => writeln!(out, "{}", shown::json(&told.json())?)?,
    }
    out.flush()?;
    let mut is_kept = true;
    if let Some(Err(e)) = html.map(|file| file.write(told.page().as_bytes())) {
        is_kept = false;
        warn(format!("the page could not be written: {e}"));
    }
    let fails = |it: &Difference| arguments.fail_on.iter().any(|of| of.0 == Some(it.change));
    Ok(match comparison.differences.iter().any(fails) {
        _ if !is_kept => ExitCode::from(NOT_KEPT),
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

/// Whether something can be run, or is a folder of what can.
fn is_emulator(path: &Path) -> bool {
    fs::metadata(path)
        .is_ok_and(|it| it.is_dir() || it.is_file() && it.permissions().mode() & 0o111 != 0)
}

impl Arguments {
    /// What came of every path in this journal, or on these emulators.
    fn outcomes(&self, of: &Path) -> Result<Vec<Outcome>, Stop> {
        if let Some((file, environment)) = with_environment(of) {
            return in_environment(read(&file)?, &environment).ok_or_else(|| {
                Stop::Usage(format!(
                    "no outcome of {} is in the environment {environment}",
                    file.display()
                ))
            });
        }
        if !is_emulator(of) {
            return read(of);
        }
        let folder = tempfile::tempdir()?;
        let journal = folder.path().join("journal");
        note(format!("running the paths on {}", of.display()));
        let status = Command::new(std::env::current_exe()?)
            .arg("run")
            .args(&self.run)
            .args(["--format", "json", "--qemu"])
            .arg(of)
            .arg("--journal")
            .arg(&journal)
            .stdout(Stdio::null())
            .status()?;
        match status.code() {
            Some(0 | 1) => read(&journal),
            _ => Err(Stop::Usage(format!("the run on {} ended with {status}", of.display()))),
        }
    }
}

/// The journal and the environment, where this is `JOURNAL@ENVIRONMENT` and no file itself.
fn with_environment(of: &Path) -> Option<(PathBuf, String)> {
    let (file, environment) = of.to_str().filter(|_| !of.exists())?.rsplit_once('@')?;
    Some((file.into(), environment.to_owned()))
}

/// The outcomes in this environment, as if there were no other; `None` if there are none.
fn in_environment(outcomes: Vec<Outcome>, environment: &str) -> Option<Vec<Outcome>> {
    let end = format!(" [{environment}]");
    let bare = |outcome: Outcome| {
        let emulator = outcome.emulator.strip_suffix(&end)?.to_owned();
        Some(Outcome { emulator, ..outcome })
    };
    let here: Vec<Outcome> = outcomes.into_iter().filter_map(bare).collect();
    (!here.is_empty()).then_some(here)
}

/// The outcomes of a journal.
fn read(file: &Path) -> Result<Vec<Outcome>, Stop> {
    let cannot = |e| Stop::Usage(format!("cannot read {}: {e}", file.display()));
    let mut merge = Merge::default();
    for outcome in Reader::open(file).map_err(cannot)? {
        match outcome {
            Ok(outcome) => merge.add(outcome),
            Err(damaged) => warn(damaged.to_string()),
        }
    }
    let outcomes: Vec<Outcome> = merge.into_outcomes().collect();
    match outcomes.is_empty() {
        true => Err(Stop::Usage(format!("no outcome is in {}", file.display()))),
        false => Ok(outcomes),
    }
}

/// How many differences of one change a table has.
const MOST_ROWS: usize = 100;

/// A comparison, to be told.
struct Told<'a> {
    comparison: &'a Comparison,
    /// The paths of the old and of the new run.
    names: &'a [BTreeSet<String>; 2],
    arguments: &'a Arguments,
}

/// One line of a table, with what is to say below it.
struct Row {
    text: String,
    below: Vec<String>,
}

impl Told<'_> {
    /// The rows for one change.
    fn rows(&self, change: Change) -> Vec<Row> {
        let of = self.comparison.differences.iter().filter(|it| it.change == change);
        let others = match change {
            Change::Gone => &self.names[1],
            Change::New => &self.names[0],
            _ => return of.map(row).collect(),
        };
        let others = others.iter().map(String::as_str);
        parts(of.map(|it| it.name.as_str()), others).into_iter().map(part).collect()
    }

    /// A line with all numbers.
    fn summary(&self) -> String {
        let mut text = format!("{} paths the same", self.comparison.same);
        for change in Change::ALL {
            let count = self.comparison.count(change);
            if count > 0 {
                let _ = write!(text, ", {count} {}", change.word());
            }
        }
        text
    }

    fn table(&self) -> String {
        let mut text = String::new();
        for change in Change::ALL {
            let rows = self.rows(change);
            if rows.is_empty() {
                continue;
            }
            let _ = writeln!(text, "{}: {}", change.word(), self.comparison.count(change));
            for row in rows.iter().take(MOST_ROWS) {
                let _ = writeln!(text, "  {}", row.text);
                row.below.iter().for_each(|line| {
                    let _ = writeln!(text, "      {line}");
                });
            }
            if let Some(more) = rows.len().checked_sub(MOST_ROWS).filter(|more| *more > 0) {
                let _ = writeln!(text, "  … and {more} more; --format json has them all");
            }
        }
        text + &self.summary() + "\n"
    }

    fn json(&self) -> serde_json::Value {
        let path = |path: &Path| shown(&path.display().to_string());
        json!({
            "old": path(&self.arguments.old),
            "new": path(&self.arguments.new),
            "common": self.comparison.common,
            "same": self.comparison.same,
            "differences": self.comparison.differences,
        })
    }

    fn page(&self) -> String {
        let (old, new) = (&self.arguments.old, &self.arguments.new);
        let title = format!("{} and {}", old.display(), new.display());
        let mut body = format!("<h1>{}</h1>\n<p>{}</p>\n", html(&title), html(&self.summary()));
        for change in Change::ALL {
            let rows = self.rows(change);
            if rows.is_empty() {
                continue;
            }
            let (word, count) = (change.word(), self.comparison.count(change));
            let _ = writeln!(body, "<details open class={word}><summary>{word}: {count}</summary>");
            for Row { text, below } in rows {
                let _ = write!(body, "<p><code>{}</code>", html(&text));
                below.iter().for_each(|line| {
                    let _ = write!(body, "<br>{}", html(line));
                });
                body += "</p>\n";
            }
            body += "</details>\n";
        }
        page(&title, &body)
    }
}

fn row(difference: &Difference) -> Row {
    let Difference { name, emulator, old, new, change, answers } = difference;
    let seconds = |side: &Option<Side>| side.as_ref().map_or(0.0, |side| side.seconds);
    let said = |when, side: &Option<Side>| {
        let side = side.as_ref()?;
        let first = side.message.lines().next().unwrap_or_default();
        let colon = if first.is_empty() { "" } else { ": " };
        Some(shown(&format!("{when} {}{colon}{first}", side.outcome)))
    };
    let below = match change {
        Change::AnswersOtherwise => told(answers),
        Change::Slower => {
            vec![format!("{:.2} s, was {:.2} s", seconds(new), seconds(old))]
        }
        _ => said("is", new).into_iter().chain(said("was", old)).collect(),
    };
    Row { text: shown(&format!("{name} ({emulator})")), below }
}

/// How many registers of a path a table has.
const MOST_ANSWERS: usize = 12;

fn told(answers: &[Answers<Otherwise>]) -> Vec<String> {
    let text = |it: &Option<String>| it.clone().unwrap_or_else(|| "always 0x0".to_owned());
    let of = |it: &Answers<Otherwise>| {
        let (registers, new, old) = (it.name(), text(&it.text.new), text(&it.text.old));
        let indent = registers.chars().count() + 1;
        [format!("{registers}: is {new}"), format!("{:indent$} was {old}", "")]
    };
    let mut lines: Vec<String> =
        answers.iter().take(MOST_ANSWERS).flat_map(of).map(|line| shown(&line)).collect();
    if answers.len() > MOST_ANSWERS {
        lines.push(format!("and {} registers more", answers.len() - MOST_ANSWERS));
    }
    lines
}

fn part((part, count): (Part, usize)) -> Row {
    let what = match part {
        Part::Machine(name) => format!("machine {name}"),
        Part::Node(name) => format!("node {name}"),
        Part::Test(name) => format!("test {name}"),
        Part::Path(name) => return Row { text: shown(&name), below: Vec::new() },
    };
    let paths = if count == 1 { "path" } else { "paths" };
    Row { text: shown(&format!("{what}: {count} {paths}")), below: Vec::new() }
}
