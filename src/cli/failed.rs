//! What failed in an earlier run, for `--rerun-failed`.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use super::{Stop, warn};
use crate::files::path_text;
use crate::harness::journal::read::Reader;
use crate::harness::outcome_name;
use crate::harness::{Fleet, Journal, Merge, Verdict};

/// The paths that failed, each with its emulator.
pub(super) struct Failed {
    journal: PathBuf,
    paths: Vec<(String, String)>,
}

impl Failed {
    /// Those in `journal`, or in that of the last run, that `is_failure` says failed.
    ///
    /// # Errors
    /// There is no such journal.
    pub fn read(
        journal: Option<&Path>,
        is_failure: impl Fn(&Verdict) -> bool,
    ) -> Result<Self, Stop> {
        let nothing = || Stop::Usage("there is no journal of an earlier run".to_owned());
        let journal = match journal {
            Some(journal) => journal.to_owned(),
            None => Journal::last().ok_or_else(nothing)?,
        };
        let outcomes = Reader::open(&journal)
            .map_err(|e| Stop::Usage(format!("cannot read {}: {e}", journal.display())))?;
        let (mut merge, mut is_damaged, mut is_empty) = (Merge::default(), false, true);
        for outcome in outcomes {
            match outcome {
                Ok(outcome) => {
                    is_empty = false;
                    merge.add(outcome);
                }
                Err(damaged) => {
                    is_damaged = true;
                    warn(damaged.to_string());
                }
            }
        }
        if is_damaged && is_empty {
            return Err(Stop::Usage(format!("no outcome is in {}", journal.display())));
        }
        let failed = merge.into_outcomes().filter(|outcome| is_failure(&outcome.verdict));
        let paths = failed.map(|outcome| (outcome.name, outcome.emulator)).collect();
        Ok(Self { journal, paths })
    }

    /// Where this is from.
    pub fn journal(&self) -> &Path {
        &self.journal
    }

    /// The names of the paths.
    pub fn names(&self) -> BTreeSet<String> {
        self.paths.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The emulators on which something failed.
    pub fn emulators(&self) -> Vec<PathBuf> {
        let emulators: BTreeSet<&String> =
            self.paths.iter().map(|(_, emulator)| emulator).collect();
        let file = |text: &&String| {
            let end = text.rfind(" [").filter(|_| text.ends_with(']'));
            path_text::path(&text[..end.unwrap_or(text.len())])
        };
        let files: BTreeSet<PathBuf> = emulators.iter().map(file).collect();
        files.into_iter().collect()
    }

    /// What is to run on `fleet`: each path on the emulator on which it failed, or on all where
    /// that one is not among them.
    pub fn pairs(&self, fleet: &Fleet) -> HashSet<(String, String)> {
        let usable = fleet.usable.iter();
        let emulators: Vec<String> = usable.map(|it| outcome_name(it)).collect();
        let on = |(name, emulator): &(String, String)| {
            let on = match emulators.contains(emulator) {
                true => vec![emulator.clone()],
                false => emulators.clone(),
            };
            on.into_iter().map(|emulator| (name.clone(), emulator)).collect::<Vec<_>>()
        };
        self.paths.iter().flat_map(on).collect()
    }
}
