//! `qgraph merge`: one report of several journals.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use super::run::Format;
use super::{Stop, warn};
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
    /// How outcomes are written to standard output.
    #[arg(long, value_enum, default_value = "pretty")]
    format: Format,
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
        fs::write(file, text)
            .map_err(|e| Stop::Usage(format!("cannot write {}: {e}", file.display())))?;
    }
    if outcomes.is_empty() {
        return Err(Stop::Usage("no outcome is in these journals".to_owned()));
    }
    let mut report = arguments.format.report(outcomes.len());
    outcomes.iter().for_each(|outcome| report.add(outcome));
    let all_passed = report.finish(true);
    Ok(if all_passed && !is_damaged { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
