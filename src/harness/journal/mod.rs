//! The journal of a run: every outcome, one JSON object a line, written the moment it is
//! known, so that a run that was killed can be finished. The first line says what the run was
//! to do.

mod header;
pub(crate) mod merge;
pub mod read;
mod shares;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use header::Header;
pub use merge::Merge;
pub use shares::{Missing, Shares};

use crate::files::prune::{self, DAY};
use crate::files::{atomic, bounded, path_text, trust};
use crate::harness::outcome::{Outcome, Verdict};
use crate::harness::plan::{Trial, outcome_name};
use crate::qemu::cache;
use crate::shown;

/// A journal that is written. It is locked as long.
pub struct Journal {
    file: File,
    path: PathBuf,
}

/// How many runs without a journal of their own may go on at once and still be resumed.
const SLOTS: usize = 16;
/// For how long the arguments of a run are remembered, and how many bytes of them.
const KEPT: Duration = DAY.saturating_mul(90);
const MOST_ARGUMENTS: u64 = 4 << 20;
/// The largest journal that is gone on with, in bytes.
const MOST_BYTES: u64 = 4 << 30;

fn at(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |e| io::Error::new(e.kind(), format!("the journal {}: {e}", path.display()))
}

/// Opens and locks the journal at `path`.
fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).append(true).create(true).open(path);
    let file = file.map_err(at(path))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            let busy = io::Error::new(io::ErrorKind::WouldBlock, "another run is writing it");
            Err(at(path)(busy))
        }
        // What cannot be locked, a pipe or some network's file, can be written all the same.
        _ => Ok(file),
    }
}

impl Journal {
    /// A new journal at `path`; what was there is gone.
    ///
    /// # Errors
    /// It cannot be written, or another run is writing it.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        if file.metadata()?.is_file() {
            file.set_len(0).map_err(at(path))?;
        }
        Ok(Self { file, path: path.to_owned() })
    }

    /// Goes on with the journal at `path`, which an earlier run left. Also returns the
    /// outcomes that are there, without those of paths that were stopped: these run now. A last
    /// line that was cut off is removed.
    ///
    /// # Errors
    /// It is not there, is no journal, cannot be read, or another run is writing it. The file
    /// is as it was then.
    pub fn resume(path: &Path) -> io::Result<(Self, Vec<Outcome>)> {
        if !fs::metadata(path).map_err(at(path))?.is_file() {
            let why = "it is no regular file, of which there is nothing to resume";
            return Err(at(path)(io::Error::new(io::ErrorKind::InvalidInput, why)));
        }
        let file = open(path)?;
        let no_journal = |what: String| {
            let what = format!("{what}; it is to be a journal that `qgraph run` has written");
            at(path)(io::Error::new(io::ErrorKind::InvalidData, what))
        };
        let text = bounded::read(path, MOST_BYTES).map_err(at(path))?;
        let whole = memchr::memrchr(b'\n', &text).map_or(0, |end| end + 1);
        let mut outcomes = Vec::new();
        for (number, line) in text[..whole].split(|&byte| byte == b'\n').enumerate() {
            if line.is_empty() || Header::is_meant(line) && Header::parse(line).is_ok() {
                continue;
            }
            outcomes.push(serde_json::from_slice(line).map_err(|e| {
                let line = number + 1;
                no_journal(format!("line {line} is no outcome: {e}"))
            })?);
        }
        // What is cut off will be removed, so it has to be the beginning of one of our lines.
        if !is_beginning(&text[whole..], whole == 0) {
            return Err(no_journal("its last line has no end and is no outcome".to_owned()));
        }
        file.set_len(whole as u64).map_err(at(path))?;
        outcomes.retain(|outcome: &Outcome| outcome.verdict != Verdict::Stopped);
        Ok((Self { file, path: path.to_owned() }, outcomes))
    }

    /// A new journal in the cache, where [`Journal::last`] finds it. The oldest that no run
    /// writes any more gives way.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub fn create_in_cache() -> io::Result<Self> {
        let folder = cache::folder().join("runs");
        atomic::make_folder(&folder).map_err(at(&folder))?;
        let mut slots: Vec<_> = (0..SLOTS).map(|slot| slot_file(&folder, slot)).collect();
        slots.sort_by_key(|file| fs::metadata(file).and_then(|data| data.modified()).ok());
        let mut last = Ok(());
        for slot in slots {
            match Self::create(&slot) {
                Ok(journal) => return Ok(journal),
                Err(e) => last = Err(e),
            }
        }
        last.and(Err(io::Error::other("no journal is free")))
    }

    /// The journal in the cache that was written last, if there is one.
    pub fn last() -> Option<PathBuf> {
        let folder = cache::folder().join("runs");
        let written = (0..SLOTS).map(|slot| slot_file(&folder, slot)).filter_map(|file| {
            let modified = fs::metadata(&file).ok()?.modified().ok()?;
            Some((modified, file))
        });
        written.max().map(|(_, file)| file)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says what the run is to do. It is the first thing that is written.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin(&mut self, header: &Header) -> io::Result<()> {
        self.write(header.line()?)
    }

    /// Adds an outcome.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add(&mut self, outcome: &Outcome) -> io::Result<()> {
        self.write(shown::json(outcome)?)
    }

    fn write(&mut self, line: String) -> io::Result<()> {
        // At once, so that a line is there whole or is the last one.
        self.file.write_all((line + "\n").as_bytes()).map_err(at(&self.path))
    }

    /// Makes sure that everything is on the disk: some file systems tell only now that it is
    /// full.
    ///
    /// # Errors
    /// It is not.
    pub fn finish(self) -> io::Result<()> {
        match self.file.metadata() {
            Ok(data) if data.is_file() => self.file.sync_data().map_err(at(&self.path)),
            _ => Ok(()),
        }
    }

    /// Remembers the arguments of the run beside the journal, in the cache.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub fn note_arguments(&self, arguments: &[OsString]) -> io::Result<()> {
        let file = arguments_file(&self.path);
        let words: Vec<String> =
            arguments.iter().map(|word| path_text::text(Path::new(word))).collect();
        atomic::replace(&file, &serde_json::to_vec(&words)?, 0o600)?;
        if let Some(folder) = file.parent() {
            prune::prune(folder, KEPT, prune::ends_with(&[".arguments"]));
        }
        Ok(())
    }
}

/// Whether `text` may be the beginning of a line that somebody who was killed did not finish:
/// of a header, if it is the first line, else of an outcome.
fn is_beginning(text: &[u8], is_first: bool) -> bool {
    let begins = |with: &str| {
        let with = with.as_bytes();
        text.starts_with(with) || with.starts_with(text)
    };
    match is_first {
        true => begins(header::BEGINNING),
        false => begins("{\"name\":\"") || begins("{\"name\": \""),
    }
}

fn slot_file(folder: &Path, slot: usize) -> PathBuf {
    folder.join(format!("{slot}.jsonl"))
}

/// The arguments with which the run that wrote the journal at `path` was started, if they
/// are known.
pub fn arguments(path: &Path) -> Option<Vec<OsString>> {
    let bytes = trust::read(&arguments_file(path), MOST_ARGUMENTS).ok()?;
    let words: Vec<String> = serde_json::from_slice(&bytes).ok()?;
    Some(words.iter().map(|word| path_text::path(word).into_os_string()).collect())
}

fn arguments_file(journal: &Path) -> PathBuf {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    fs::canonicalize(journal).unwrap_or_else(|_| journal.to_owned()).hash(&mut hasher);
    cache::folder().join("runs").join(format!("{:016x}.arguments", hasher.finish()))
}

/// What an earlier run has done already.
pub struct Done(BTreeMap<(String, String), usize>);

impl Done {
    /// What these outcomes say, none of which was stopped.
    pub fn new(outcomes: &[Outcome]) -> Self {
        let mut done = BTreeMap::new();
        for outcome in outcomes {
            *done.entry((outcome.name.clone(), outcome.emulator.clone())).or_default() += 1;
        }
        Self(done)
    }

    /// Whether `trial` was done; each outcome stands for one trial.
    pub fn take(&mut self, trial: &Trial) -> bool {
        let key = (trial.path.name(), outcome_name(&trial.emulator));
        let left = self.0.get_mut(&key).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    }
}
