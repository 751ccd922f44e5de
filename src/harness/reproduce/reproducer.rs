//! A failure as a file: a shell script that replays what a test asked of QEMU. Here are its
//! content, reading it back, and the folder where such files are kept; the script's own
//! text is in `script`, and what is replayed comes from `recorder`.

mod bounds;
mod script;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::guest::guest_script;
use crate::files::output_file::OutputFile;
use crate::files::prune::{self, DAY};
use crate::files::{atomic, bounded, path_text};
use crate::guests::Guest;
use crate::harness::outcome::{Outcome, Verdict};
use crate::harness::reproduce::recorder::Recorder;
use crate::protocol::MOST_POSTED;
use crate::qemu::{Between, Config, Emulator, cache};

/// How the line begins that says what the file is, and which kind of such files.
const MARK: &str = "#qgraph-reproducer 1 ";
/// The word that ends the requests.
const END: &str = "END_OF_REQUESTS";
/// What no QEMU refuses, and nothing changes.
const HARMLESS: &str = "endianness";

/// One thing that is done: a line among the requests.
///
/// It is a request of the qtest protocol; or a QMP command, which begins with `{`; or,
/// after `# `, something that is done beside QEMU.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// The line.
    pub text: String,
    /// What was answered, if anything was.
    pub answer: Option<String>,
    /// Interrupts that were told of before the answer.
    pub interrupts: Vec<String>,
}

/// What kind of thing a step is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action<'a> {
    Qtest,
    Qmp,
    /// Reads a piece of an image: its name, offset and length in bytes.
    ReadImage(&'a str, u64, usize),
    /// Writes a piece of an image: its name, offset in bytes, and data.
    WriteImage(&'a str, u64, Vec<u8>),
    WaitEvent(&'a str),
    /// Resets the machine, or moves it to another QEMU.
    Between(Between),
    /// A remark.
    Nothing,
}

impl Step {
    pub(crate) fn new(text: String) -> Self {
        Self { text, ..Self::default() }
    }

    pub(crate) fn read_image(name: &str, offset: u64, length: usize) -> String {
        format!("# read-image {name} {offset} {length}")
    }

    pub(crate) fn write_image(name: &str, offset: u64, bytes: &[u8]) -> String {
        format!("# write-image {name} {offset} {}", script::escaped(bytes))
    }

    pub(crate) fn wait_event(name: &str) -> String {
        format!("# wait-event {name}")
    }

    pub(crate) fn between(between: Between) -> Self {
        Self::new(format!("# {between}"))
    }

    pub(crate) fn action(&self) -> Action<'_> {
        if self.text.starts_with('{') {
            return Action::Qmp;
        }
        let Some(order) = self.text.strip_prefix('#') else { return Action::Qtest };
        let words: Vec<&str> = order.trim_start().splitn(4, ' ').collect();
        let read = match words[..] {
            ["wait-event", name] => Some(Action::WaitEvent(name)),
            [word] => {
                let known = Between::ALL.into_iter().find(|between| between.word() == word);
                known.map(Action::Between)
            }
            ["read-image", name, offset, length] => offset
                .parse()
                .ok()
                .zip(length.parse().ok())
                .map(|(offset, length)| Action::ReadImage(name, offset, length)),
            ["write-image", name, offset, data] => offset
                .parse()
                .ok()
                .zip(script::unescaped(data))
                .map(|(offset, data)| Action::WriteImage(name, offset, data)),
            _ => None,
        };
        read.unwrap_or(Action::Nothing)
    }

    /// Whether there is an answer to it.
    pub(crate) fn is_answered(&self) -> bool {
        matches!(self.action(), Action::Qtest | Action::Qmp | Action::ReadImage(..))
    }

    /// Whether it reads guest memory: as tests do until a device has written there. It can
    /// be repeated.
    pub(crate) fn reads_memory(&self) -> bool {
        self.text.starts_with("read ") || self.text.starts_with("b64read ")
    }

    /// Whether it ends QEMU.
    pub(crate) fn is_quit(&self) -> bool {
        self.action() == Action::Qmp && self.text.contains("\"quit\"")
    }
}

/// What a test did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub steps: Vec<Step>,
    /// Whether there was room for all of it.
    pub is_whole: bool,
}

impl Record {
    /// Leaves out what was sent together with the request that failed, but behind it: one
    /// without an answer, or a write that was not simply done.
    fn end_at_failure(&mut self) {
        let failed = |step: &Step| {
            let writes = ["out", "write"].iter().any(|verb| step.text.starts_with(verb));
            let answer = step.answer.as_deref();
            step.is_answered() && (answer.is_none() || writes && answer != Some("OK"))
        };
        // Earlier ones did not end the test.
        let at = self.steps.len().saturating_sub(2 * MOST_POSTED);
        if let Some(end) = self.steps[at..].iter().position(failed) {
            self.steps.truncate(at + end + 1);
        }
    }
}

/// What a reproducer says of the failure, beside the requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The path that failed.
    pub path: String,
    /// How.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The emulator on which it did.
    #[serde(with = "path_text")]
    pub emulator: PathBuf,
    /// Its version, and what its packager added.
    pub version: String,
    /// The folder of modules that it needs, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "path_text::option")]
    pub module_dir: Option<PathBuf>,
    /// The emulator to which its machine moved, if that was another.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "path_text::option")]
    pub migrate_to: Option<PathBuf>,
    /// What the emulator was asked to be.
    pub config: Config,
    /// Why the emulator did not start, if that is the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_start: Option<String>,
    /// Whether all requests are in the file.
    pub is_whole: bool,
    /// From how many requests they were chosen, if they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimized_from: Option<usize>,
}

/// A failure that can be replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reproducer {
    /// What failed, and how.
    pub about: About,
    /// What is done, in order.
    pub steps: Vec<Step>,
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BadReproducer {
    /// The file itself.
    #[error("cannot read {}: {error}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The kernel's word.
        error: io::Error,
    },
    /// It is something else.
    #[error("{} is no reproducer of this qgraph: {why}", file.display())]
    Parse {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl Reproducer {
    /// Whether `text` is one of qgraph's, rather than a foreign one.
    pub fn is_own(text: &str) -> bool {
        text.lines().any(|line| line.starts_with(MARK.trim_end()))
    }

    /// The largest file that is read, in bytes.
    pub(crate) const MOST_BYTES: u64 = bounds::MOST_BYTES;

    /// Reads a file that [`Reproducers`] or [`Reproducer::write`] wrote. People may have
    /// changed the requests in it.
    ///
    /// # Errors
    /// It is not there, or no such file.
    pub fn read(file: &Path) -> Result<Self, BadReproducer> {
        let bytes = bounded::read(file, bounds::MOST_BYTES).map_err(|error| {
            let file = file.to_owned();
            BadReproducer::Read { file, error }
        })?;
        let parsed = match std::str::from_utf8(&bytes) {
            Ok(text) => Self::parse(text),
            Err(_) => Err("it is not text".to_owned()),
        };
        parsed.map_err(|why| BadReproducer::Parse { file: file.to_owned(), why })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        let about = lines.find_map(|line| line.strip_prefix(MARK));
        let about = about.ok_or_else(|| format!("no line begins with `{}`", MARK.trim_end()))?;
        let about: About = serde_json::from_str(about)
            .map_err(|e| format!("what is after `{}` cannot be read: {e}", MARK.trim_end()))?;
        lines
            .find(|line| line.ends_with(&format!("<<'{END}'")))
            .ok_or_else(|| format!("there are no requests, which begin after <<'{END}'"))?;
        let mut ended = false;
        let requests = lines.by_ref().take_while(|line| {
            ended = *line == END;
            !ended
        });
        let steps = requests.map(|line| Step::new(line.to_owned()));
        let steps = steps.filter(|step| step.action() != Action::Nothing);
        let mut steps: Vec<Step> = steps.collect();
        if !ended {
            return Err(format!("the requests do not end with {END}"));
        }
        let mut answers: VecDeque<&str> =
            lines.filter(|line| line.len() > 2 && line.starts_with('#')).collect();
        let fits = {
            let tells = |line: &&&str| line.starts_with("#<") || line.starts_with("#?");
            let counted = answers.iter().filter(tells).count();
            counted == steps.iter().filter(|step| step.is_answered()).count()
        };
        // Where somebody has changed the requests nobody knows which answer is whose.
        for step in steps.iter_mut().filter(|step| fits && step.is_answered()) {
            while let Some(line) = answers.pop_front() {
                match line.split_at_checked(3) {
                    Some(("#! ", line)) => step.interrupts.push(line.to_owned()),
                    Some(("#< ", line)) => {
                        step.answer = Some(line.to_owned());
                        break;
                    }
                    Some(("#? ", _)) => break,
                    _ => {}
                }
            }
        }
        let reproducer = Self { about, steps };
        bounds::check(&reproducer)?;
        Ok(reproducer)
    }

    /// Writes it as a script to a file that somebody has named.
    ///
    /// # Errors
    /// Those of the kernel; or the file is neither a regular one nor a pipe or a device.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        OutputFile::new(file)?.executable().write(self.script()?.as_bytes())
    }

    /// How many requests it makes.
    pub fn request_count(&self) -> usize {
        self.steps.iter().filter(|step| step.is_answered()).count()
    }
}

/// The folder where reproducers are kept. What cannot be kept changes no outcome.
#[derive(Debug)]
pub struct Reproducers {
    folder: PathBuf,
    /// Whether it is that of the cache, where old files go.
    is_in_cache: bool,
    pruned: Once,
    /// What went wrong first.
    trouble: Mutex<Option<String>>,
}

/// For how long a reproducer stays in the cache.
const KEPT: Duration = DAY.saturating_mul(90);

impl Reproducers {
    /// Files go to `folder`, which is made when there is one.
    pub fn new(folder: PathBuf) -> Self {
        let (pruned, trouble) = (Once::new(), Mutex::new(None));
        Self { folder, is_in_cache: false, pruned, trouble }
    }

    /// What is to be said if not all of them could be kept.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps the reproducer of `outcome` if that is a failure, and notes its file in it.
    /// `recorder` listened to its test, if it came to that.
    pub(crate) fn keep(
        &self,
        outcome: &mut Outcome,
        emulator: &Emulator,
        config: &Config,
        recorder: Option<&Recorder>,
    ) {
        if !outcome.verdict.is_failure() {
            return;
        }
        let mut record = recorder.map_or_else(
            || Record { steps: Vec::new(), is_whole: true },
            |recorder| recorder.record(),
        );
        record.end_at_failure();
        let capabilities = &emulator.capabilities;
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let about = About {
            path: outcome.name.clone(),
            verdict: outcome.verdict.clone(),
            emulator: absolute(&emulator.path),
            version: format!("{} {}", capabilities.version, capabilities.package),
            module_dir: emulator.module_dir().map(absolute),
            migrate_to: emulator.moves_to.as_ref().map(|to| absolute(&to.path)),
            config: config.clone(),
            no_start: outcome.evidence.as_ref().and_then(|evidence| evidence.no_start.clone()),
            is_whole: record.is_whole,
            minimized_from: None,
        };
        let mut reproducer = Reproducer { about, steps: record.steps };
        reproducer.ask_once_more();
        self.put(outcome, &emulator.path, reproducer.script());
    }

    /// Keeps a script that starts the guest of `outcome` as it was started, if that is a failure.
    pub(crate) fn keep_guest(
        &self,
        outcome: &mut Outcome,
        emulator: &Emulator,
        guest: &Guest,
        config: &Config,
    ) {
        if outcome.verdict.is_failure() {
            let script = guest_script(outcome, emulator, guest, &config.options);
            self.put(outcome, &emulator.path, Ok(script));
        }
    }

    /// Puts a script into the file for `outcome` on the emulator `program`.
    fn put(&self, outcome: &mut Outcome, program: &Path, script: io::Result<String>) {
        let file = self.folder.join(file_name(&outcome.name, program));
        match script.and_then(|script| atomic::replace(&file, script.as_bytes(), 0o755)) {
            Ok(()) => {
                outcome.reproducer = Some(file);
                if self.is_in_cache {
                    let prune = || prune::prune(&self.folder, KEPT, prune::ends_with(&[".sh"]));
                    self.pruned.call_once(prune);
                }
            }
            Err(e) => {
                let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
                trouble.get_or_insert_with(|| {
                    format!(
                        "no reproducers can be kept in {}: {e} (name another folder with \
                         --reproducers, or set {})",
                        self.folder.display(),
                        cache::ENVIRONMENT
                    )
                });
            }
        }
    }
}

impl Default for Reproducers {
    /// In the user's cache.
    fn default() -> Self {
        Self { is_in_cache: true, ..Self::new(cache::folder().join("reproducers")) }
    }
}

impl Reproducer {
    /// A QEMU that ended or hung after it had answered all there was shows that at the next
    /// request.
    fn ask_once_more(&mut self) {
        let last = self.steps.iter().rev().find(|step| step.is_answered());
        let unanswered = last.is_some_and(|step| step.answer.is_none() || step.is_quit());
        if matches!(self.about.verdict, Verdict::Crashed(_) | Verdict::Hung(_)) && !unanswered {
            self.steps.push(Step::new(HARMLESS.to_owned()));
        }
    }
}

/// The longest part of a file name that is a path; systems take 255 bytes.
const MOST_NAME: usize = 200;

/// A name for the file of `path` on the emulator `program`: the same one for both alike.
fn file_name(path: &str, program: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    (path, program).hash(&mut hasher);
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-.".contains(c) { c } else { '_' };
    let name: String = path.trim_start_matches('/').chars().map(plain).take(MOST_NAME).collect();
    format!("{name}-{:08x}.sh", hasher.finish() as u32)
}
