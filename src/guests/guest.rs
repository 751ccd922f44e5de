//! A guest: an image, how it is started, how it says how it fared, and where it may run.

use std::path::PathBuf;
use std::time::Duration;

use super::convention::Convention;
use super::fixture::Fixture;

/// How a machine starts an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// `-kernel` with the Multiboot protocol, which PCs have.
    Multiboot,
    /// `-kernel`, an ELF file or a flat image where the machine's RAM begins.
    Kernel,
    /// `-bios`: in place of the machine's firmware.
    Bios,
}

impl Way {
    /// The node of the graph that a machine produces and an image consumes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Multiboot => "multiboot",
            Self::Kernel => "kernel",
            Self::Bios => "bios",
        }
    }

    /// The option that names the image.
    pub fn option(self) -> &'static str {
        match self {
            Self::Multiboot | Self::Kernel => "-kernel",
            Self::Bios => "-bios",
        }
    }
}

/// A guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// Its suite, which is the name of what it was read from.
    pub suite: String,
    /// Its name in the suite.
    pub name: String,
    /// The file that is started.
    pub image: PathBuf,
    /// The file or folder that it was read from.
    pub source: PathBuf,
    /// The architectures whose emulators run it, as emulators name them.
    pub arches: Vec<&'static str>,
    /// The machine type on which alone it runs, if it is bound to one.
    pub machine: Option<String>,
    /// The machine type on which it runs unless it is bound to one; `None` for every machine
    /// that starts images this way.
    pub usual_machine: Option<&'static str>,
    /// Properties of the machine type, `a=b,c=d`; empty for none.
    pub properties: String,
    /// How it is started.
    pub way: Way,
    /// How many CPUs it needs, as `-smp` takes it.
    pub smp: String,
    /// The words of its command line, one text.
    pub append: Option<String>,
    /// Options that all guests of its kind get.
    pub fixtures: &'static [Fixture],
    /// The CPU model, where the options name none.
    pub cpu: Option<String>,
    /// Options of its own.
    pub options: Vec<String>,
    /// How long it may take: `None` as long as any path, zero for no limit.
    pub limit: Option<Duration>,
    /// How the accelerator must be called, or begin, if it runs only on one.
    pub accel: Option<String>,
    /// The files of this computer that must have a value: (file, value).
    pub checks: Vec<(PathBuf, String)>,
    /// The groups that it is in.
    pub groups: Vec<String>,
    /// How it says how it fared.
    pub convention: Convention,
    /// Why it does not run anywhere, if it does not.
    pub skip: Option<String>,
}

impl Guest {
    /// Whether it may run on the machine `ARCH/TYPE`.
    pub fn runs_on(&self, machine: &str) -> bool {
        let Some((arch, ty)) = machine.split_once('/') else { return false };
        let is_type = match (&self.machine, self.usual_machine) {
            (Some(bound), _) => bound == ty,
            (None, Some(usual)) => usual == ty,
            (None, None) => true,
        };
        is_type && self.arches.contains(&arch)
    }

    /// Why it does not run on the machine `ARCH/TYPE`; `None` if it does.
    pub fn why_not_on(&self, machine: &str) -> Option<String> {
        let (arch, ty) = machine.split_once('/')?;
        if !self.arches.contains(&arch) {
            return Some(format!("its image is for {}", self.arches.join(" or ")));
        }
        let bound = self.machine.as_deref().or(self.usual_machine)?;
        (bound != ty).then(|| format!("it runs on the machine {bound} alone"))
    }

    /// Why it is not to be run with this accelerator on this computer, if it is not: what it
    /// needs and is not there.
    pub fn lacks(&self, accel: &str) -> Option<String> {
        if let Some(why) = &self.skip {
            return Some(why.clone());
        }
        let base = |accel: &str| accel.split(',').next().unwrap_or_default().to_owned();
        if let Some(wanted) = self.accel.as_ref().filter(|it| base(it) != base(accel)) {
            return Some(format!(
                "it runs with the accelerator {wanted} alone, and this is {accel}"
            ));
        }
        for (file, value) in &self.checks {
            let read = crate::files::bounded::read(file, MOST_CHECKED);
            let is = read.map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned());
            match is {
                Ok(is) if is == *value => {}
                Ok(is) => {
                    return Some(format!("{} is {is}, and must be {value}", file.display()));
                }
                Err(e) => {
                    return Some(format!("{} must be {value}, but: {e}", file.display()));
                }
            }
        }
        if !self.image.is_file() {
            return Some(format!("its image {} is not there", self.image.display()));
        }
        None
    }

    /// The accelerator with which it runs where `accel` is chosen: its own if that says more.
    pub fn accel<'a>(&'a self, accel: &'a str) -> &'a str {
        let is_more = |own: &&str| !accel.contains(',') && own.split(',').next() == Some(accel);
        self.accel.as_deref().filter(is_more).unwrap_or(accel)
    }

    /// The options of QEMU's command line that concern the guest, without those of the machine,
    /// the accelerator and the console. `has` says whether the emulator has a device type.
    pub fn words(&self, has: impl Fn(&str) -> bool) -> Vec<String> {
        let fixtures = self.fixtures.iter().filter(|it| it.needs.is_empty() || has(it.needs));
        let mut words: Vec<String> =
            fixtures.flat_map(|it| it.words).map(|word| (*word).to_owned()).collect();
        let image = self.image.to_string_lossy().into_owned();
        words.extend([self.way.option().to_owned(), image]);
        words.extend(["-smp".to_owned(), self.smp.clone()]);
        if let Some(append) = &self.append {
            words.extend(["-append".to_owned(), append.clone()]);
        }
        let names_cpu = self.options.iter().any(|word| word == "-cpu");
        if let Some(cpu) = self.cpu.as_ref().filter(|_| !names_cpu) {
            words.extend(["-cpu".to_owned(), cpu.clone()]);
        }
        words.extend(self.options.iter().cloned());
        words
    }
}

/// How many bytes of a file are read whose value is checked.
const MOST_CHECKED: u64 = 4096;
