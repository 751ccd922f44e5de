//! `qgraph merge`: one report of several journals.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use super::report::ReportArguments;
use super::{Stop, warn};
use crate::files::output_file::OutputFile;
use crate::graph::Model;
use crate::harness::journal::read::Reader;
use crate::harness::{Merge, Outcome};

const ABOUT: &str = "\
Journals are given from the oldest to the newest. Where several have the same path on the
same emulator, the newest counts, but one that was stopped gives way to any other. Of
several in one journal, as --repeat writes them, the worst counts.

A damaged or cut line is told and left out, and the exit status is 1. Only what is in the
journals is known here: a machine that was killed may have written less than it should, so
look at the exit status of every `qgraph run` as well.

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
    let mut merge = Merge::default();
    let mut is_damaged = false;
    for file in &arguments.journals {
        let journal = Reader::open(file)
            .map_err(|e| Stop::Usage(format!("cannot read {}: {e}", file.display())))?;
        merge.next_journal();
        for read in journal {
            match read {
                Ok(outcome) => merge.add(outcome),
                Err(damaged) => {
                    is_damaged = true;
                    warn(damaged.to_string());
                }
            }
        }
    }
    let outcomes: Vec<Outcome> = merge.into_outcomes().collect();
    if let Some(file) = &arguments.journal {
        let text = journal(&outcomes)?;
        let written = OutputFile::new(file).and_then(|file| file.write(text.as_bytes()));
        written.map_err(|e| Stop::Usage(format!("cannot write {}: {e}", file.display())))?;
    }
    if outcomes.is_empty() {
        return Err(Stop::Usage("no outcome is in these journals".to_owned()));
    }
    let machines: BTreeSet<String> = outcomes.iter().filter_map(machine).collect();
    let mut report = arguments.report.report(outcomes.len(), || {
        Model::registered().drawing(&[], |machine| machines.contains(machine))
    });
    outcomes.iter().for_each(|outcome| report.add(outcome));
    let all_passed = report.finish();
    Ok(if all_passed && !is_damaged { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
        text += &serde_json::to_string(outcome).map_err(std::io::Error::from)?;
        text.push('\n');
    }
    Ok(text)
}
