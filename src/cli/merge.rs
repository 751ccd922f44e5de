//! `qgraph merge`: one report of several journals.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use super::files::{self, Named};
use super::report::ReportArguments;
use super::{NOT_KEPT, Stop, warn};
use crate::files::output_file::OutputFile;
use crate::graph::Model;
use crate::harness::journal::read::Reader;
use crate::harness::{Conclusion, Merge, Outcome, Shares};
use crate::shown;

const ABOUT: &str = "\
Journals are given from the oldest to the newest. Where several have the same path on the
same emulator, the newest counts, but one that was stopped gives way to any other. Of
several in one journal, as --repeat writes them, the worst counts.

A damaged or cut line is told and left out. A journal begins with the share of the paths that
it is of, and how many these are: an empty journal, a share that is missing, and paths of a
share that have no outcome are told as well. In all these cases the exit status is 1.

Example:
  qgraph merge shard-*.jsonl -o all.jsonl";

#[derive(clap::Args)]
#[command(after_help = ABOUT)]
pub(super) struct Arguments {
    /// A journal that `qgraph run` has written.
    #[arg(value_name = "JOURNAL", required = true)]
    journals: Vec<PathBuf>,
    /// Write the joined journal to this file.
    #[arg(short = 'o', long, value_name = "FILE")]
    journal: Option<PathBuf>,
    #[command(flatten)]
    report: ReportArguments,
}

pub(super) fn main(arguments: &Arguments) -> Result<ExitCode, Stop> {
    let written = [("-o", arguments.journal.as_deref())];
    files::distinct(&[&written[..], &arguments.report.files()].concat(), &[])?;
    let read: Vec<Named> =
        arguments.journals.iter().map(|file| ("JOURNAL", Some(file.as_path()))).collect();
    files::distinct(&arguments.report.files(), &read)?;
    let (mut merge, mut shares) = (Merge::default(), Shares::default());
    let mut environments = Vec::new();
    let mut is_damaged = false;
    for file in &arguments.journals {
        let mut journal = Reader::open(file)
            .map_err(|e| Stop::Usage(format!("cannot read {}: {e}", file.display())))?;
        merge.next_journal();
        let mut is_empty = true;
        while let Some(read) = journal.next() {
            is_empty = false;
            match read {
                Ok(outcome) => {
                    shares.add(&outcome, journal.headers().last(), file);
                    merge.add(outcome);
                }
                Err(damaged) => {
                    is_damaged = true;
                    warn(damaged.to_string());
                }
            }
        }
        shares.end(journal.headers(), is_empty, file);
        environments.extend(journal.headers().iter().map(|header| header.environment.clone()));
    }
    let missing = shares.missing();
    missing.said.iter().for_each(|said| warn(said.clone()));
    let outcomes: Vec<Outcome> = merge.into_outcomes().collect();
    if outcomes.is_empty() {
        return Err(Stop::Usage("no outcome is in these journals".to_owned()));
    }
    let mut is_kept = true;
    if let Some(file) = &arguments.journal {
        let text = journal(&outcomes)?;
        let written = OutputFile::new(file).and_then(|file| file.write(text.as_bytes()));
        if let Err(e) = written {
            is_kept = false;
            warn(format!("the joined journal {} could not be written: {e}", file.display()));
        }
    }
    let machines: BTreeSet<String> = outcomes.iter().filter_map(machine).collect();
    let total = outcomes.len() + missing.paths;
    let mut report = arguments.report.report(total, environments, || {
        Model::registered().drawing(&[], |machine| machines.contains(machine))
    });
    outcomes.iter().for_each(|outcome| report.add(outcome));
    let conclusion = report.finish();
    arguments.report.say_chosen(&conclusion);
    let Conclusion { all_passed, all_written, .. } = conclusion;
    let is_whole = !is_damaged && missing.said.is_empty();
    Ok(match () {
        () if !is_kept || !all_written => ExitCode::from(NOT_KEPT),
        () if all_passed && is_whole => ExitCode::SUCCESS,
        () => ExitCode::FAILURE,
    })
}

/// The machine, `ARCH/MACHINE`, of an outcome's path.
fn machine(outcome: &Outcome) -> Option<String> {
    let mut words = outcome.name.strip_prefix('/')?.split('/');
    Some(format!("{}/{}", words.next()?, words.next()?))
}

/// The outcomes as a journal.
fn journal(outcomes: &[Outcome]) -> Result<String, Stop> {
    let mut text = String::new();
    for outcome in outcomes {
        text += &shown::json(outcome)?;
        text.push('\n');
    }
    Ok(text)
}
