//! What journals of several machines lack, by what their first lines say: shares that no
//! journal is of, and paths of a share that have no outcome. What the outcomes are is for
//! [`Merge`](super::Merge).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use super::header::Header;
use crate::harness::outcome::{Outcome, Verdict};
use crate::harness::plan::Shard;

/// The shares whose journals are read.
#[derive(Debug, Default)]
pub struct Shares {
    shares: BTreeMap<Shard, Share>,
    empty: Vec<PathBuf>,
}

/// One share, as its journals have it.
#[derive(Debug, Default)]
struct Share {
    files: BTreeSet<PathBuf>,
    /// How many paths it has; `None` if that is not known.
    paths: Option<usize>,
    /// The paths, each with its emulator, that have an outcome.
    done: HashSet<(String, String)>,
}

impl Share {
    fn missing(&self) -> usize {
        self.paths.map_or(0, |paths| paths.saturating_sub(self.done.len()))
    }
}

/// What is missing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// What to say of it, a sentence each.
    pub said: Vec<String>,
    /// How many paths of the shares that are there have no outcome.
    pub paths: usize,
}

impl Shares {
    /// Notes an outcome in `file`, before which `header` was read.
    pub fn add(&mut self, outcome: &Outcome, header: Option<&Header>, file: &Path) {
        if let Some(share) = self.share(header, file)
            && outcome.verdict != Verdict::Stopped
        {
            share.done.insert((outcome.name.clone(), outcome.emulator.clone()));
        }
    }

    /// Notes that `file` was read to its end: its headers, and whether anything else was in it.
    pub fn end(&mut self, headers: &[Header], is_empty: bool, file: &Path) {
        for header in headers {
            self.share(Some(header), file);
        }
        if headers.is_empty() && is_empty {
            self.empty.push(file.to_owned());
        }
    }

    fn share(&mut self, header: Option<&Header>, file: &Path) -> Option<&mut Share> {
        let header = header?;
        let shard = header.shard.as_ref().map_or(Some(Shard::WHOLE), |text| text.parse().ok())?;
        let share = self.shares.entry(shard).or_default();
        share.files.insert(file.to_owned());
        share.paths = share.paths.max(header.paths);
        Some(share)
    }

    /// What is missing.
    pub fn missing(&self) -> Missing {
        let mut missing = Missing::default();
        for file in &self.empty {
            missing.said.push(format!(
                "{} is empty: the run that was to write it has kept nothing",
                file.display()
            ));
        }
        for (shard, share) in self.shares.iter().filter(|(_, share)| share.missing() > 0) {
            let files: Vec<String> =
                share.files.iter().map(|it| it.display().to_string()).collect();
            let which = if shard.is_whole() { String::new() } else { format!(", shard {shard}") };
            missing.paths += share.missing();
            missing.said.push(format!(
                "{}{which}: {} of {} paths have no outcome; the run was stopped, or could not \
                 write its journal",
                files.join(", "),
                share.missing(),
                share.paths.unwrap_or_default()
            ));
        }
        let mut absent = BTreeMap::<usize, Vec<String>>::new();
        for of in self.shares.keys().filter(|shard| !shard.is_whole()).map(|shard| shard.of()) {
            let all = (1..=of).filter_map(|number| Shard::new(number, of));
            let without = all.filter(|shard| !self.shares.contains_key(shard));
            absent.insert(of, without.map(|shard| shard.to_string()).collect());
        }
        for (of, absent) in absent.iter().filter(|(_, absent)| !absent.is_empty()) {
            let of = format!("of {of} shares no journal is of {}", absent.join(", "));
            missing.said.push(format!("{of}: their paths are missing"));
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(name: &str, verdict: Verdict) -> Outcome {
        let line = r#"{"name":"","outcome":"passed","seconds":1.0,"emulator":"q"}"#;
        let outcome = serde_json::from_str(line).unwrap();
        Outcome { name: name.to_owned(), verdict, ..outcome }
    }

    fn header(shard: &str, paths: impl Into<Option<usize>>) -> Header {
        let shard = Some(shard.to_owned()).filter(|shard| !shard.is_empty());
        Header { shard, paths: paths.into(), ..Header::default() }
    }

    /// The shares of journals, each a header and how many of its paths passed.
    fn missing(journals: &[(Header, usize)]) -> Missing {
        let mut shares = Shares::default();
        for (number, (header, passed)) in journals.iter().enumerate() {
            let file = PathBuf::from(number.to_string());
            let shard = header.shard.clone().unwrap_or_default();
            for path in 0..*passed {
                let outcome = outcome(&format!("{shard} {path}"), Verdict::Passed);
                shares.add(&outcome, Some(header), &file);
            }
            shares.add(&outcome("stopped", Verdict::Stopped), Some(header), &file);
            shares.end(std::slice::from_ref(header), false, &file);
        }
        shares.missing()
    }

    /// Would catch a share that is missing, or a part of one, of which nobody hears; and one
    /// that is said to be missing although another journal has it.
    #[test]
    fn what_is_missing() {
        let said = |journals: &[(Header, usize)]| missing(journals).said;
        assert!(said(&[(header("1/2", 3), 3), (header("2/2", 0), 0)]).is_empty());
        let absent = "of 4 shares no journal is of 2/4, 4/4: their paths are missing";
        assert_eq!(said(&[(header("1/4", 3), 3), (header("3/4", 2), 2)]), [absent]);
        let cut = missing(&[(header("1/2", 3), 1), (header("2/2", 2), 2)]);
        assert_eq!(cut.paths, 2);
        assert!(cut.said[0].starts_with("0, shard 1/2: 2 of 3 paths have no outcome"), "{cut:?}");
        // The rest of it is in another journal.
        assert!(said(&[(header("1/1", 3), 1), (header("", 3), 3)]).is_empty());
        assert_eq!(missing(&[(header("", 5), 2)]).paths, 3);
        // A run that may end early has no number.
        assert!(said(&[(header("", None), 2)]).is_empty());
        // One of some paths, as of those that failed, stands for no share.
        assert_eq!(said(&[(header("1/2", 3), 3), (header("", 1), 1)]).len(), 1);
    }

    /// Would catch an empty journal that passes for one that needs nothing.
    #[test]
    fn an_empty_journal() {
        let mut shares = Shares::default();
        shares.end(&[], true, Path::new("a"));
        shares.end(&[], false, Path::new("b"));
        let said = ["a is empty: the run that was to write it has kept nothing"];
        assert_eq!(shares.missing().said, said);
    }
}
