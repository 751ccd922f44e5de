//! An emulator that was probed: what it has, and how it gets its qtest accelerator.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::accel::{self, AccelError, Source};
use super::cache::Stamp;
use super::capabilities::{Capabilities, Version};
use super::environment::NamedEnvironment;
use super::keep::Keep;
use super::pace::Pace;
use super::user_backend::UserBackend;
use super::wrapper::Wrapper;
use crate::protocol::Greeting;

/// The GNU C library's settings; see its manual, "Tunables". Other libraries ignore them.
const TUNABLES: &str = "GLIBC_TUNABLES";

/// A usable emulator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Emulator {
    /// The program, as it was named or found.
    #[serde(skip)]
    pub path: PathBuf,
    /// Where its accelerator comes from.
    pub accelerator: Source,
    /// What it has.
    pub capabilities: Capabilities,
    /// The file of the emulator, when `path` is a script that starts it; what is known of
    /// it holds as long as neither changes.
    pub behind: Option<Stamp>,
    /// How slow it is.
    #[serde(default)]
    pub pace: Pace,
    /// What starts it when paths run on it; it is probed without.
    #[serde(skip)]
    pub wrapper: Option<Wrapper>,
    /// The environment in which it runs what it is given, if one is named.
    #[serde(skip)]
    pub environment: Option<Arc<NamedEnvironment>>,
    /// Of which failures its QEMUs stay, if any may.
    #[serde(skip)]
    pub keep: Option<Keep>,
    /// The emulator on which its machines go on where a path moves them, if that is another.
    #[serde(skip)]
    pub moves_to: Option<Arc<Emulator>>,
    /// How drivers err on paths of the form fuzz.
    #[serde(skip)]
    pub fuzzing: Fuzzing,
    /// Back ends of the user's, in place of the harness's own.
    #[serde(skip)]
    pub user_backends: Arc<[UserBackend]>,
}

/// How drivers err, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fuzzing {
    /// Chance is the same for the same seed and path.
    pub seed: u64,
    /// How often a path is run, each time with other errors.
    pub rounds: NonZeroU32,
}

impl Default for Fuzzing {
    fn default() -> Self {
        Self { seed: 0, rounds: const { NonZeroU32::new(4).unwrap() } }
    }
}

impl Emulator {
    /// An emulator that starts by itself, as fast as any.
    pub(super) fn new(path: PathBuf, accelerator: Source, capabilities: Capabilities) -> Self {
        Self {
            path,
            accelerator,
            capabilities,
            behind: None,
            pace: Pace::default(),
            wrapper: None,
            environment: None,
            keep: None,
            moves_to: None,
            fuzzing: Fuzzing::default(),
            user_backends: Arc::default(),
        }
    }

    /// The name of its file.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }

    /// Whether a debugger starts it: one runs at a time then, and has the terminal.
    pub fn is_debugged(&self) -> bool {
        self.wrapper.as_ref().is_some_and(Wrapper::is_debugger)
    }

    /// Makes sure that the module is there that it needs, if it needs one of ours.
    ///
    /// # Errors
    /// It is not, and cannot be made.
    pub(super) fn ensure_module(&self) -> Result<(), AccelError> {
        let program = self.behind.as_ref().map_or(&*self.path, Stamp::path);
        accel::ensure(&self.accelerator, program)
    }

    /// What it is now, as its greeting says, if that is something else than what was found out
    /// about it.
    pub(super) fn is_now(&self, greeting: &Greeting) -> Option<String> {
        let has = &self.capabilities;
        let version = Version::new(greeting.major, greeting.minor, greeting.micro);
        let is_known = has.version != Version::default();
        let is_same = (has.version, &has.package) == (version, &greeting.package);
        (is_known && !is_same).then(|| in_words(version, &greeting.package))
    }

    /// Its version and what its packager added.
    pub(super) fn version_in_words(&self) -> String {
        in_words(self.capabilities.version, &self.capabilities.package)
    }

    /// The accelerator with which guests run on it.
    pub fn guest_accel(&self) -> &str {
        self.environment.as_ref().map_or("tcg", |environment| &environment.accel)
    }

    /// The folder in which it must look for modules first, if it has its accelerator from
    /// there.
    pub fn module_dir(&self) -> Option<&Path> {
        self.accelerator.module_dir()
    }

    /// The environment variables it gets beside ours.
    pub(super) fn environment(&self) -> Vec<(&'static str, OsString)> {
        let modules = self.module_dir().map(|folder| ("QEMU_MODULE_DIR", folder.into()));
        let tunables = huge_pages(std::env::var_os(TUNABLES));
        modules.into_iter().chain(tunables.map(|value| (TUNABLES, value))).collect()
    }

    /// Whether `-object qtest` exists, which takes a character device: since 7.0. Where
    /// the version is not known, it is taken for new.
    pub(super) fn has_qtest_object(&self) -> bool {
        let version = self.capabilities.version;
        version == Version::default() || version >= Version::new(7, 0, 0)
    }
}

fn in_words(version: Version, package: &str) -> String {
    let blank = if package.is_empty() { "" } else { " " };
    format!("QEMU {version}{blank}{package}")
}

/// The tunables that let QEMU's heap have huge pages where the kernel gives them to those
/// who ask, beside those that `ours` are; `None` if nothing is to be changed.
///
/// Boards fill their flash chips at start, hundreds of megabytes on some: page by page that
/// takes several times as long as all the rest.
fn huge_pages(ours: Option<OsString>) -> Option<OsString> {
    const ASK: &str = "glibc.malloc.hugetlb";
    let ours = ours.unwrap_or_default();
    if ours.to_string_lossy().contains(ASK) {
        return None;
    }
    let mut value = ours;
    if !value.is_empty() {
        value.push(":");
    }
    value.push(format!("{ASK}=1"));
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch settings of the user that are lost or overruled.
    #[test]
    fn tunables_of_the_user_stay() {
        let added = |ours: Option<&str>| huge_pages(ours.map(OsString::from));
        assert_eq!(added(None).unwrap(), "glibc.malloc.hugetlb=1");
        assert_eq!(added(Some("")).unwrap(), "glibc.malloc.hugetlb=1");
        let both = "glibc.malloc.perturb=5:glibc.malloc.hugetlb=1";
        assert_eq!(added(Some("glibc.malloc.perturb=5")).unwrap(), both);
        assert_eq!(added(Some("glibc.malloc.hugetlb=0")), None);
    }
}
