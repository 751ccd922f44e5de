//! Finding out what machines have: known ones from the cache, others by starting them, many
//! at a time.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::description::Refusal;
use super::store::Store;
use super::types::Types;
use super::{Described, Description, Pluggable, interview, needs, pluggable};
use crate::parallel::in_parallel;
use crate::protocol;
use crate::qemu::Emulator;
use crate::qemu::cache::{self, Stamp};
use crate::qemu::command_line::RamSpec;
use crate::qemu::limits::Limits;
use crate::qemu::process::{Ending, is_stopping};
use crate::qemu::vm::{LaunchError, Vm};

/// How long one request of a discovery may take, the start among them, and how long all.
const LIMITS: Limits = Limits { request: Duration::from_secs(20), whole: Duration::from_secs(40) };

/// How much of QEMU's own words is kept, in characters.
const MOST_WORDS: usize = 1000;

/// The machine types of `emulator` that can be discovered: without those that are one
/// version of a type, such as `pc-q35-7.1`, unless they are wanted. `none` is no machine.
pub fn machine_types(emulator: &Emulator, versioned: bool) -> impl Iterator<Item = &str> {
    let names = emulator.capabilities.machines.keys().map(String::as_str);
    names.filter(move |name| *name != "none" && (versioned || !is_versioned(name)))
}

/// Whether a machine type's name says which version of the type it is: `pc-q35-7.1`,
/// `pseries-2.12-sxxm`.
pub fn is_versioned(machine: &str) -> bool {
    machine.split('-').skip(1).any(|part| {
        part.split_once('.').is_some_and(|(major, minor)| {
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            digits(major) && minor.split('.').all(digits)
        })
    })
}

/// Finds out what machines have.
pub struct Discoverer {
    /// The folder of the cache.
    pub cache: PathBuf,
    /// Whether machines are started although the cache knows them.
    pub refresh: bool,
    /// How many machines are started at a time.
    pub jobs: NonZeroUsize,
    /// How long a machine may take.
    pub limits: Limits,
    /// The emulators whose file was read.
    stores: Mutex<BTreeMap<PathBuf, Arc<Store>>>,
}

/// A machine that was asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The emulator.
    pub emulator: Arc<Emulator>,
    /// The machine type.
    pub machine: String,
}

impl Discoverer {
    /// With the user's cache, and as many machines at a time as there are cores.
    pub fn new() -> Self {
        Self::at(cache::folder())
    }

    /// With the cache in this folder.
    pub fn at(cache: PathBuf) -> Self {
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let stores = Mutex::default();
        Self { cache, refresh: false, jobs: cores, limits: LIMITS, stores }
    }

    /// What the cache knows about this machine type: its description, or why it does not
    /// start. `None` if nothing. Starts no machine.
    pub fn described(&self, emulator: &Emulator, machine: &str) -> Option<Described> {
        self.store(emulator)?.get(machine)
    }

    fn store(&self, emulator: &Emulator) -> Option<Arc<Store>> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(&emulator.path) {
            return Some(store.clone());
        }
        let store = Arc::new(Store::open(&self.cache, &stamps(emulator)?));
        stores.insert(emulator.path.clone(), store.clone());
        Some(store)
    }

    /// Describes the machines that are wanted: from the cache, or by starting them, several
    /// at a time. The answers are in the order of `wanted`. `progress` is told of each machine
    /// that was started; warnings, such as of a cache that cannot be written, go to `warn`.
    pub fn discover_all(
        &self,
        wanted: &[Wanted],
        mut progress: impl FnMut(&Wanted, &Described),
        mut warn: impl FnMut(String),
    ) -> Vec<Described> {
        let known = |wanted: &Wanted| self.described(&wanted.emulator, &wanted.machine);
        let mut all: Vec<Option<Described>> =
            wanted.iter().map(|wanted| known(wanted).filter(|_| !self.refresh)).collect();
        let mut emulators: BTreeMap<&PathBuf, Pending> = BTreeMap::new();
        let missing: Vec<usize> = (0..all.len()).filter(|&number| all[number].is_none()).collect();
        for &number in &missing {
            emulators.entry(&wanted[number].emulator.path).or_default().missing += 1;
        }
        let once: BTreeMap<&PathBuf, Once> =
            emulators.keys().map(|path| (*path, Once::default())).collect();
        let start = |number: usize| {
            let Wanted { emulator, machine } = &wanted[number];
            (number, discover(emulator, machine, self.limits, &once[&emulator.path]))
        };
        in_parallel(missing.into_iter(), self.jobs, start, |(number, described)| {
            progress(&wanted[number], &described);
            let emulator = &wanted[number].emulator;
            if let Some(pending) = emulators.get_mut(&emulator.path) {
                // That the run is being stopped says nothing about the machine.
                if described.is_ok() || !is_stopping() {
                    pending.found.push(described.clone());
                }
                pending.missing -= 1;
                if pending.missing == 0
                    && let Err(e) = self.keep(emulator, &pending.found)
                {
                    warn(format!(
                        "cannot write the cache {}: {e}; every run will start each machine anew \
                         (set {} to a folder that can be written)",
                        self.cache.display(),
                        cache::ENVIRONMENT
                    ));
                }
            }
            all[number] = Some(described);
        });
        all.into_iter().flatten().collect()
    }

    fn keep(&self, emulator: &Emulator, found: &[Described]) -> std::io::Result<()> {
        let stamps = stamps(emulator).ok_or(std::io::ErrorKind::NotFound)?;
        Store::add(&self.cache, &stamps, found)?;
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        stores.remove(&emulator.path);
        Ok(())
    }
}

impl Default for Discoverer {
    fn default() -> Self {
        Self::new()
    }
}

/// The machines of one emulator that are being started.
#[derive(Default)]
struct Pending {
    missing: usize,
    found: Vec<Described>,
}

/// What is asked once for an emulator, of whichever of its machines is the first to answer.
#[derive(Default)]
pub(super) struct Once {
    types: OnceLock<Arc<Types>>,
    pluggable: OnceLock<Arc<Vec<Pluggable>>>,
}

/// By which files what is known of an emulator holds.
fn stamps(emulator: &Emulator) -> Option<Vec<Stamp>> {
    let own = Stamp::of(&emulator.path).ok()?;
    Some([own].into_iter().chain(emulator.behind.clone()).collect())
}

/// Starts a machine type and asks it what it has. `once` is what is the same for all machines of
/// the emulator.
pub(super) fn discover(
    emulator: &Arc<Emulator>,
    machine: &str,
    limits: Limits,
    once: &Once,
) -> Described {
    let mut config = needs::config(machine, emulator.capabilities.version, RamSpec::new(0, 0));
    needs::give_nic(&mut config);
    let refused =
        |why: String, passing| Err(Arc::new(Refusal { machine: machine.into(), why, passing }));
    // What a machine has is the same behind a wrapper.
    let emulator = &Arc::new(Emulator { wrapper: None, ..Emulator::clone(emulator) });
    let vm = match Vm::launch(emulator, config.clone(), limits) {
        Ok(vm) => vm,
        Err(LaunchError::NoGreeting { ending, output, protocol, .. }) => {
            return refused(words(ending, &output, &protocol), passes(ending));
        }
        Err(e) => return refused(e.to_string(), true),
    };
    let described = ask(&vm, machine, &once.types);
    match described {
        Ok(mut description) => {
            let again = || Vm::launch(emulator, config.clone(), limits).ok();
            // Without an answer nothing can be plugged in.
            let ask = || pluggable::ask(vm, again).unwrap_or_default();
            description.pluggable = once.pluggable.get_or_init(ask).clone();
            Ok(Arc::new(description))
        }
        Err(e) => {
            let ending = vm.ending_within(Duration::from_secs(1));
            vm.kill();
            refused(words(ending, &vm.output(), &e), passes(ending))
        }
    }
}

fn ask(
    vm: &Vm,
    machine: &str,
    types: &OnceLock<Arc<Types>>,
) -> crate::protocol::Result<Description> {
    let types = match types.get() {
        Some(types) => types,
        None => {
            let asked = Arc::new(interview::types(vm)?);
            types.get_or_init(|| asked)
        }
    };
    let has = &vm.emulator().capabilities;
    let ram_id = has.machines.get(machine).and_then(|known| known.default_ram_id.as_deref());
    interview::describe(vm, machine, &interview::Known { version: has.version, ram_id, types })
}

/// Whether what ended a machine like this may be otherwise the next time.
fn passes(ending: Option<Ending>) -> bool {
    ending.is_none_or(Ending::is_killed)
}

/// Why a machine cannot be described: what QEMU wrote if it exited by itself, else how it
/// ended or what happened on the sockets, and what it wrote.
fn words(ending: Option<Ending>, output: &str, error: &protocol::Error) -> String {
    // Warnings tell of something else, and the lines of a terminal's cursor of nothing.
    let lines = output.lines().map(str::trim_end).filter(|line| !line.is_empty());
    let (warnings, words): (Vec<&str>, Vec<&str>) =
        lines.partition(|line| line.contains(": warning: "));
    let said = if words.is_empty() { warnings } else { words };
    let said: String = said.join("\n").chars().take(MOST_WORDS).collect();
    let how = match ending {
        Some(ending) if ending.is_own_exit() && !said.is_empty() => return said,
        Some(ending) => format!("QEMU {ending}"),
        None => error.to_string(),
    };
    if said.is_empty() { how } else { format!("{how}: {said}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a machine that is taken for a version of another, and is never looked at.
    #[test]
    fn versions_are_told_by_their_names() {
        for name in ["pc-q35-7.1", "pseries-2.12-sxxm", "virt-10.0", "pc-0.15", "xenfv-4.2"] {
            assert!(is_versioned(name), "{name}");
        }
        for name in ["pc", "xlnx-versal-virt", "spike_v1.10", "mps2-an385", "a-v1.0", "x-.1", "40p"]
        {
            assert!(!is_versioned(name), "{name}");
        }
    }

    /// Would catch QEMU's reason lost among its warnings.
    #[test]
    fn a_refusal_is_in_qemus_own_words() {
        use std::os::unix::process::ExitStatusExt;
        let error = || protocol::Error::Refused { request: "x".to_owned(), answer: "y".to_owned() };
        let ended = |status: i32| Some(Ending::from(std::process::ExitStatus::from_raw(status)));
        let said = "qemu: warning: old\nqemu: no firmware\r\n\n";
        assert_eq!(words(ended(1 << 8), said, &error()), "qemu: no firmware");
        assert_eq!(words(ended(1 << 8), "q: warning: a\n", &error()), "q: warning: a");
        assert_eq!(words(ended(1 << 8), "", &error()), "QEMU exited with status 1");
        let killed = words(ended(6), said, &error());
        assert!(killed.starts_with("QEMU was killed by signal 6"), "{killed}");
        assert!(killed.ends_with(": qemu: no firmware"), "{killed}");
        assert_eq!(words(None, "", &error()), error().to_string());
        assert!(passes(None) && passes(ended(9)) && !passes(ended(6)) && !passes(ended(1 << 8)));
    }
}
