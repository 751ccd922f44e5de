//! Finding out what an emulator is: one launch, remembered in the cache.

use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::accel::{self, Candidate, Facts, Source};
use super::binary;
use super::cache::{self, Shelf, Stamp};
use super::capabilities::{Capabilities, MachineType, Version};
use super::command_line::Wiring;
use super::emulator::Emulator;
use super::pace::{Pace, scaled};
use super::proc_stat;
use super::process::is_stopping;
use super::vm::{Connected, LaunchError, connect};
use super::wrapper::Wrapper;
use crate::parallel::in_parallel;
use crate::protocol::Deadline;

/// How long an emulator may take to say what it is, unless somebody says otherwise.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many times as long one may take that a wrapper such as valgrind starts.
const WRAPPED: f64 = 10.0;
/// For how long an emulator that could not be used is not tried again, in seconds: one
/// that hangs should not cost every test of a run its patience.
const REMEMBER_FAILURE: Duration = Duration::from_secs(60);

/// What was found out about emulators.
const PROBES: Shelf = Shelf { folder: "probes", ending: ".json", version: 5 };

/// What is remembered of an emulator, or why it cannot be used.
type Remembered = Result<Known, Unusable>;

/// What is remembered of an emulator. No folder is: modules that are loaded into it are looked
/// for where they belong.
#[derive(Serialize, Deserialize)]
struct Known {
    way: Candidate,
    /// The build of its module, if one was brought to it.
    build: Option<String>,
    capabilities: Capabilities,
    behind: Option<Stamp>,
    /// The file of the program that runs, where it is another one than that which is started.
    runs: Option<Stamp>,
    pace: Pace,
}

/// What was found out about an emulator.
struct Found {
    emulator: Emulator,
    way: Candidate,
    runs: Option<Stamp>,
}

impl Known {
    fn of(found: &Found) -> Self {
        let Found { emulator, way, runs } = found;
        Self {
            way: *way,
            build: emulator.accelerator.build(),
            capabilities: emulator.capabilities.clone(),
            behind: emulator.behind.clone(),
            runs: runs.clone(),
            pace: emulator.pace.clone(),
        }
    }
}

/// An emulator that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct Unusable {
    /// The program.
    #[serde(skip)]
    pub path: PathBuf,
    /// What was tried, what happened, what to do.
    pub why: String,
}

/// What a probe found.
pub type Probed = Result<Emulator, Unusable>;

/// How to probe.
#[derive(Debug, Clone)]
pub struct Prober {
    /// The folder of the cache.
    pub cache: PathBuf,
    /// Whether failures are tried again although they are remembered.
    pub retry: bool,
    /// How long an emulator may take to say what it is, not counting the time that it could
    /// not use.
    pub patience: Duration,
    /// How many times slower than usual the emulators are, if somebody says so instead of
    /// having it measured; infinite for no limits of time.
    pub slow: Option<f64>,
    /// Whether an emulator behind a script is started to see whether it is still the one that
    /// is remembered: which one a script starts, its file does not always tell. Worth it before
    /// paths are run.
    pub is_careful: bool,
}

impl Prober {
    /// With the user's cache.
    pub fn new() -> Self {
        Self {
            cache: cache::folder(),
            retry: false,
            patience: PATIENCE,
            slow: None,
            is_careful: false,
        }
    }

    /// With the user's cache, for tests that may take as long as `limit` each. An emulator has a
    /// third of that to say what it is, but no less than usual unless `limit` is less.
    pub fn for_tests_of(limit: Duration) -> Self {
        Self { patience: limit.min(PATIENCE).max(limit / 3), is_careful: true, ..Self::new() }
    }

    /// Probes all of them, in parallel. The results are in the order of `binaries`.
    /// Warnings, such as of a cache that cannot be written, go to `warn`.
    pub fn probe_all(&self, binaries: &[PathBuf], warn: impl Fn(String) + Sync) -> Vec<Probed> {
        let workers = std::thread::available_parallelism().map_or(2, usize::from);
        let Some(workers) = NonZeroUsize::new(workers.min(binaries.len())) else {
            return Vec::new();
        };
        if let Some(why) = cache::not_used().filter(|_| self.cache == cache::folder()) {
            warn(why.to_owned());
        }
        let mut results = Vec::with_capacity(binaries.len());
        let probe = |(number, path): (usize, &PathBuf)| (number, self.probe(path, &warn));
        in_parallel(binaries.iter().enumerate(), workers, probe, |result| results.push(result));
        results.sort_by_key(|(number, _)| *number);
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// Finds out what the emulator at `path` is.
    ///
    /// # Errors
    /// It is not there, not executable, no QEMU, or has no way to a qtest accelerator.
    pub fn probe(&self, path: &Path, warn: impl Fn(String)) -> Probed {
        let mut emulator = self.know(path, warn)?;
        emulator.pace.told = self.slow;
        Ok(emulator)
    }

    /// `emulator` as it is where `wrapper` starts it. Before paths are run it is started so
    /// once, for its pace. Behind a debugger, nothing has a limit of time.
    ///
    /// # Errors
    /// It does not start so.
    pub fn wrap(&self, emulator: &Emulator, wrapper: &Wrapper) -> Probed {
        let mut wrapped = Emulator { wrapper: Some(wrapper.clone()), ..emulator.clone() };
        wrapped.pace.told = self.slow;
        if wrapper.is_debugger() {
            if !emulator.has_qtest_object() {
                let why = "a debugger needs the terminal, and so does the qtest protocol of QEMU \
                           before 7.0";
                return Err(Unusable { path: emulator.path.clone(), why: why.to_owned() });
            }
            wrapped.pace.told = Some(f64::INFINITY);
        } else if self.is_careful {
            let patience = scaled(self.limit(), WRAPPED);
            let told = wrapped.pace.told;
            let (known, _) = interview(wrapped, patience).map_err(|e| Unusable {
                path: emulator.path.clone(),
                why: format!("behind the wrapper `{wrapper}`: {}", with_output(&e)),
            })?;
            wrapped = Emulator { pace: Pace { told, ..known.pace.clone() }, ..known };
        }
        Ok(wrapped)
    }

    fn know(&self, path: &Path, warn: impl Fn(String)) -> Probed {
        let unusable = |why: String| Unusable { path: path.to_owned(), why };
        let stamp = Stamp::of(path).map_err(|e| unusable(no_file(&e)))?;
        if path.is_dir() {
            return Err(unusable("a folder without any qemu-system-* in it".to_owned()));
        }
        if !binary::is_executable(path) {
            return Err(unusable("not executable; is it a program?".to_owned()));
        }
        if binary::is_mere_text(path) {
            return Err(unusable("neither a program (ELF) nor a script (#!)".to_owned()));
        }
        match PROBES.load::<Remembered>(&self.cache, &stamp, "") {
            Some((Ok(known), _)) => {
                if let Some(emulator) = self.recall(path, known) {
                    return Ok(emulator);
                }
            }
            Some((Err(failure), age)) if age < REMEMBER_FAILURE && !self.retry => {
                return Err(unusable(failure.why));
            }
            _ => {}
        }
        let probed = self.find_out(path).map_err(unusable);
        // That the run was stopped, or could not wait, says nothing about the emulator.
        if probed.is_err() && (is_stopping() || self.patience < PATIENCE) {
            return probed.map(|found| found.emulator);
        }
        let remembered = probed.as_ref().map(Known::of).map_err(Unusable::clone);
        let probed = probed.map(|found| found.emulator);
        if let Err(e) = PROBES.store(&self.cache, &stamp, "", &remembered) {
            warn(format!(
                "cannot write the cache {}: {e}; every run will probe QEMU anew \
                 (set {} to a folder that can be written)",
                self.cache.display(),
                cache::ENVIRONMENT
            ));
        }
        probed
    }

    /// Whether the emulator at `path` was probed before and could be used: somebody wanted
    /// it to be run.
    pub fn knows(&self, path: &Path) -> bool {
        let known = |stamp: Stamp| PROBES.load::<Remembered>(&self.cache, &stamp, "");
        let known = Stamp::of(path).ok().and_then(known);
        known.is_some_and(|(known, _)| known.is_ok())
    }

    /// The limit of one conversation.
    fn limit(&self) -> Duration {
        scaled(self.patience, self.slow.unwrap_or(1.0).max(1.0))
    }

    /// The emulator at `path` by what is remembered of it, if that still holds: the program
    /// behind a script is the same, and the module it needs is whole.
    fn recall(&self, path: &Path, known: Known) -> Option<Emulator> {
        let Known { way, build, capabilities, behind, runs, pace } = known;
        if ![&behind, &runs].into_iter().flatten().all(Stamp::is_current) {
            return None;
        }
        let accelerator = Source::of(way, build.as_deref(), &self.cache)?;
        let path = path.to_owned();
        let emulator = Emulator { behind, pace, ..Emulator::new(path, accelerator, capabilities) };
        emulator.ensure_module().ok()?;
        let is_script = emulator.behind.is_some() || runs.is_some();
        let is_the_same = !self.is_careful || !is_script || self.runs_as(&emulator, runs.as_ref());
        is_the_same.then_some(emulator)
    }

    /// Whether what starts is still this emulator, and the program that it was.
    fn runs_as(&self, emulator: &Emulator, runs: Option<&Stamp>) -> bool {
        let arguments = |wiring: &Wiring| wiring.no_machine(true);
        let deadline = within(self.limit());
        let vm = connect(emulator, arguments, Vec::new(), &deadline, &Rc::default());
        vm.is_ok_and(|vm| {
            emulator.is_now(vm.qmp.greeting()).is_none()
                && running(&emulator.path, &vm).as_ref() == runs
        })
    }

    fn find_out(&self, path: &Path) -> Result<Found, String> {
        let facts = accel::read_facts(path).map_err(|e| e.to_string())?;
        let tried = self.try_ways(path, &facts);
        if tried.is_ok() || facts.is_program() {
            return tried;
        }
        // A script, perhaps, that starts the emulator: the emulator's own file tells more.
        let Some(program) = program_behind(path, self.limit()) else { return tried };
        let facts = accel::read_facts(&program).map_err(|e| e.to_string())?;
        self.try_ways(path, &facts)
    }

    /// Tries one way after the other to the accelerator; usually the first is right.
    fn try_ways(&self, path: &Path, facts: &Facts) -> Result<Found, String> {
        let mut said = Vec::new();
        for candidate in accel::candidates(facts) {
            let accelerator = match candidate.obtain(facts, &self.cache) {
                Ok(accelerator) => accelerator,
                Err(e) => {
                    said.push(e.to_string());
                    continue;
                }
            };
            let version = facts.version.unwrap_or_default();
            let capabilities = Capabilities { version, ..Capabilities::default() };
            let is_script = path.canonicalize().is_ok_and(|path| path != facts.binary);
            let behind = is_script.then(|| Stamp::of(&facts.binary).ok()).flatten();
            let pace = Pace { sanitizer: facts.sanitizer.clone(), ..Pace::default() };
            let bare = Emulator::new(path.to_owned(), accelerator, capabilities);
            let emulator = Emulator { behind, pace, ..bare };
            match interview(emulator, self.limit()) {
                Ok((mut emulator, runs)) => {
                    // What a script names in clear tells more than what runs, which may be its
                    // interpreter.
                    emulator.behind = emulator.behind.or_else(|| runs.clone());
                    return Ok(Found { emulator, way: candidate, runs });
                }
                Err(e) => said.push(explain(candidate, &e)),
            }
        }
        Err(said.join("; "))
    }
}

impl Default for Prober {
    fn default() -> Self {
        Self::new()
    }
}

/// In the words of the person who has to do something about it.
fn no_file(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        _ => e.to_string(),
    }
}

fn explain(candidate: Candidate, e: &InterviewError) -> String {
    format!("tried {candidate}: {}", with_output(e))
}

/// What went wrong, and what was written meanwhile.
fn with_output(e: &InterviewError) -> String {
    let output = match e {
        InterviewError::Launch(LaunchError::NoGreeting { output, .. }) => output.trim(),
        _ => "",
    };
    let mut why = e.to_string();
    if !output.is_empty() {
        let start: String = output.chars().take(400).collect();
        why.push_str(&format!("; it wrote: {start}"));
    }
    why
}

/// Why an interview did not succeed.
#[derive(Debug, thiserror::Error)]
enum InterviewError {
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error(transparent)]
    Protocol(#[from] crate::protocol::Error),
    #[error("{question} was answered with {answer}, which no QEMU with a qtest accelerator does")]
    Answer { question: &'static str, answer: String },
}

impl InterviewError {
    fn answer(question: &'static str, answer: impl ToString) -> Self {
        Self::Answer { question, answer: answer.to_string().chars().take(200).collect() }
    }
}

/// Limits for one conversation with an emulator that may be anything.
fn within(patience: Duration) -> Rc<Deadline> {
    let deadline = Rc::new(Deadline::new());
    deadline.set_limit(patience);
    deadline.set_end(Instant::now().checked_add(patience));
    deadline
}

/// The file of the program that runs, if it is another one than `path`, which was started.
fn running(path: &Path, vm: &Connected) -> Option<Stamp> {
    let file = vm.process.executable()?;
    let is_other = path.canonicalize().is_ok_and(|path| path != file);
    is_other.then(|| Stamp::of(&file).ok()).flatten()
}

/// The file of the program that runs when `path` is started.
fn program_behind(path: &Path, patience: Duration) -> Option<PathBuf> {
    let emulator = Emulator::new(path.to_owned(), accel::Source::BuiltIn, Capabilities::default());
    let arguments = |wiring: &Wiring| wiring.no_machine(false);
    let vm = connect(&emulator, arguments, Vec::new(), &within(patience), &Rc::default()).ok()?;
    vm.process.executable()
}

/// Starts it without a machine, proves that the accelerator works, and asks what it has; and
/// looks which program runs then.
fn interview(
    mut emulator: Emulator,
    patience: Duration,
) -> Result<(Emulator, Option<Stamp>), InterviewError> {
    let arguments = |wiring: &Wiring| wiring.no_machine(true);
    let transcript = Rc::default();
    let deadline = within(patience);
    let begun = Instant::now();
    let mut vm = connect(&emulator, arguments, Vec::new(), &deadline, &transcript)?;
    emulator.pace.start = begun.elapsed().saturating_sub(deadline.lost());
    match ask(&vm) {
        Ok(capabilities) => emulator.capabilities = capabilities,
        Err(InterviewError::Protocol(e)) => {
            return Err(LaunchError::not_ready(&mut vm.process, e, &transcript).into());
        }
        Err(e) => return Err(e),
    }
    if let (Some(wrapper), Some(ending)) = (&emulator.wrapper, vm.process.ending()) {
        let wrapper = wrapper.to_string();
        return Err(LaunchError::Left { wrapper, ending }.into());
    }
    emulator.pace.cpu = proc_stat::used_by_tree(vm.process.id());
    let runs = running(&emulator.path, &vm);
    vm.process.kill();
    Ok((emulator, runs))
}

fn ask(vm: &Connected) -> Result<Capabilities, InterviewError> {
    for (request, nanoseconds) in accel::PROOF {
        let said = vm.qtest.command(request)?;
        if said != nanoseconds.to_string() && said != "0" {
            return Err(InterviewError::answer(request, said));
        }
    }
    let devices = json!({ "implements": "device", "abstract": false });
    let questions =
        [("query-target", json!({})), ("query-machines", json!({})), ("qom-list-types", devices)];
    let mut answers = vm.qmp.execute_all(&questions)?.into_iter();
    let mut answer = || answers.next().unwrap_or(Ok(Value::Null));
    let target = answer()?;
    let arch =
        target["arch"].as_str().ok_or_else(|| InterviewError::answer("query-target", &target))?;
    let machines = answer()?;
    let machines =
        machines.as_array().ok_or_else(|| InterviewError::answer("query-machines", &machines))?;
    let types = answer()?;
    let types = types.as_array().ok_or_else(|| InterviewError::answer("qom-list-types", &types))?;

    let greeting = vm.qmp.greeting();
    let mut has = Capabilities {
        arch: arch.to_owned(),
        version: Version::new(greeting.major, greeting.minor, greeting.micro),
        package: greeting.package.clone(),
        ..Capabilities::default()
    };
    for machine in machines {
        let default_ram_id = machine["default-ram-id"].as_str().map(str::to_owned);
        if machine["is-default"] == true {
            let name = machine["alias"].as_str().or(machine["name"].as_str());
            has.default_machine = name.map(str::to_owned);
        }
        for key in ["name", "alias"] {
            if let Some(name) = machine[key].as_str() {
                let own = machine["name"].as_str().filter(|_| key == "alias");
                let known = MachineType {
                    default_ram_id: default_ram_id.clone(),
                    alias_of: own.map(str::to_owned),
                };
                has.machines.insert(name.to_owned(), known);
            }
        }
    }
    has.devices = types.iter().filter_map(|ty| ty["name"].as_str()).map(str::to_owned).collect();
    Ok(has)
}

#[cfg(test)]
mod tests;
