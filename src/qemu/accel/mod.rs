//! The qtest accelerator of an emulator: built in, shipped, or brought as a module.
//!
//! A test drives a device while no guest CPU runs and the clock stands still; QEMU's
//! accelerator `qtest` does both. Distributions build it as a module, and some do not ship
//! the file. [`read_facts`] tells from the emulator's file how it stands with that emulator,
//! [`candidates`] which ways are worth trying, and [`Candidate::obtain`] makes one ready, if
//! need be by compiling the missing module (`module.c`). Launching QEMU, and finding out
//! by [`PROOF`] that the way works, is left to the caller.

mod bring;
mod facts;
mod kept;
mod work;

pub use bring::bring;
pub use facts::{Facts, read_facts};
pub(super) use kept::ensure;

use std::path::{Path, PathBuf};
use std::{fmt, io};

use serde::{Deserialize, Serialize};

/// qtest commands for a freshly launched `-machine none`, and the virtual times that an
/// accelerator that works answers, in nanoseconds.
///
/// The numbers count: with a clock that is not the accelerator's, the commands succeed too,
/// but the answer is the time that has passed on the host. QEMU 9.1 and 9.2 do not move a
/// clock that no timer waits for: there 0 is right as well.
pub const PROOF: [(&str, u64); 3] =
    [("clock_step 1", 1), ("clock_step 2", 3), ("clock_set 1000", 1000)];

/// One way for an emulator to get its qtest accelerator.
///
/// This, not the [`Source`], is what to remember of an emulator once it is proven: a folder
/// that somebody has written down is none to load modules from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Candidate {
    /// The emulator has it inside.
    BuiltIn,
    /// The emulator finds the module that came with it.
    Shipped,
    /// The module is compiled into the cache.
    Brought,
}

impl Candidate {
    /// Makes this way ready for the emulator that `facts` tell of; `cache` is the folder that
    /// keeps what is compiled.
    ///
    /// # Errors
    /// Those of [`bring`], when this is [`Candidate::Brought`].
    pub fn obtain(self, facts: &Facts, cache: &Path) -> Result<Source, AccelError> {
        Ok(match self {
            Candidate::BuiltIn => Source::BuiltIn,
            Candidate::Shipped => Source::Shipped,
            Candidate::Brought => Source::Brought { folder: bring(facts, cache)? },
        })
    }
}

/// Where an emulator that is about to be launched gets its accelerator from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Built in.
    BuiltIn,
    /// The module that came with the emulator.
    Shipped,
    /// A module of ours.
    Brought {
        /// The folder that holds it and nothing else.
        folder: PathBuf,
    },
}

impl Source {
    /// The source for an emulator that gets its accelerator in this way, with the module of
    /// this build from `cache`. Whether the module is there is not looked at. `None` if there
    /// can be no such build.
    pub(super) fn of(way: Candidate, build: Option<&str>, cache: &Path) -> Option<Self> {
        Some(match way {
            Candidate::BuiltIn => Self::BuiltIn,
            Candidate::Shipped => Self::Shipped,
            Candidate::Brought => Self::Brought { folder: kept::folder(cache, build?)? },
        })
    }

    /// The build of a module of ours.
    pub(super) fn build(&self) -> Option<String> {
        let home = self.module_dir()?.parent()?;
        home.file_name()?.to_str().map(str::to_owned)
    }

    /// What the environment variable `QEMU_MODULE_DIR` must be for the launch; `None`: leave it
    /// as it is. QEMU looks there first and then in its usual folders, so its other modules are
    /// found as ever.
    pub fn module_dir(&self) -> Option<&Path> {
        match self {
            Source::Brought { folder } => Some(folder),
            Source::BuiltIn | Source::Shipped => None,
        }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::BuiltIn => "the accelerator built in",
            Self::Shipped => "the module that comes with it",
            Self::Brought => "a module brought to it",
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built in"),
            Self::Shipped => f.write_str("a module that comes with it"),
            Self::Brought { folder } => write!(f, "brought, a module in {}", folder.display()),
        }
    }
}

/// The ways worth trying for an emulator, the likeliest first; never empty.
pub fn candidates(facts: &Facts) -> Vec<Candidate> {
    use Candidate::{Brought, BuiltIn, Shipped};
    if facts.modules.is_empty() {
        // It knows of no such module: it has the accelerator inside or not at all.
        vec![BuiltIn]
    } else if facts.stamp.is_none() {
        vec![Shipped]
    } else if facts.shipped {
        vec![Shipped, Brought]
    } else {
        // QEMU may have folders for modules that only it knows of.
        vec![Brought, Shipped]
    }
}

/// Why an emulator's accelerator could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum AccelError {
    /// The emulator's file could not be read.
    #[error("cannot read the emulator {}: {error}", path.display())]
    Read {
        /// The emulator.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The emulator takes no module of ours.
    #[error(
        "cannot make the qtest accelerator for {}: the file names {missing}; {INSTALL}",
        path.display()
    )]
    NoModule {
        /// The emulator.
        path: PathBuf,
        /// What a module needs and the file lacks.
        missing: &'static str,
    },
    /// The cache could not be written.
    #[error(
        "cannot keep the qtest accelerator in {}: {error}; set QGRAPH_CACHE to a folder that \
         can be written",
        path.display()
    )]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// No compiler made the module.
    #[error(
        "QEMU lacks its qtest accelerator here, and compiling it failed:\n{attempts}\nInstall \
         a C compiler (or set CC to one); or {INSTALL}"
    )]
    Compile {
        /// A line or more for each compiler tried.
        attempts: String,
    },
}

const INSTALL: &str = "install the distribution's package that has it (Fedora, RHEL, Arch: \
     qemu-tests; openSUSE: qemu-accel-qtest)";

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(modules: &[&str], stamp: Option<&str>, shipped: bool) -> Facts {
        Facts {
            modules: modules.iter().map(|name| name.to_string()).collect(),
            stamp: stamp.map(str::to_owned),
            shipped,
            ..Facts::default()
        }
    }

    /// Catches a launch wasted on every start, or a way never tried.
    #[test]
    fn the_likeliest_way_comes_first() {
        use Candidate::{Brought, BuiltIn, Shipped};
        let modular = ["accel-qtest-arm"];
        assert_eq!(candidates(&facts(&[], Some("0a"), false)), [BuiltIn]);
        assert_eq!(candidates(&facts(&modular, Some("0a"), false)), [Brought, Shipped]);
        assert_eq!(candidates(&facts(&modular, Some("0a"), true)), [Shipped, Brought]);
        assert_eq!(candidates(&facts(&modular, None, false)), [Shipped]);
    }

    /// Catches `QEMU_MODULE_DIR` set where it must not be, or to the wrong folder.
    #[test]
    fn only_a_brought_module_needs_a_folder() {
        let folder = PathBuf::from("/cache/modules");
        assert_eq!(Source::Shipped.module_dir(), None);
        assert_eq!(Source::Brought { folder: folder.clone() }.module_dir(), Some(folder.as_path()));
    }
}
