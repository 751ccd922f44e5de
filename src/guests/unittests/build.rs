//! What a build of kvm-unit-tests says of itself in `config.mak`: its architecture, and where its
//! images are.

use std::path::{Path, PathBuf};

use crate::guests::fixture::{self, Fixture};
use crate::guests::guest::Way;
use crate::guests::read::BadGuests;
use crate::guests::{Convention, unittests};

/// The largest `config.mak` that is read, in bytes.
const MOST: u64 = 1 << 20;

/// A build.
#[derive(Debug, Clone)]
pub(in crate::guests) struct Build {
    /// The folder with images and the list of them.
    pub folder: PathBuf,
    /// The architecture, as the build calls it: `x86_64`, `arm64`, …
    pub arch: String,
    /// The CPU model for entries that name none.
    pub cpu: Option<String>,
    /// The firmware that it was built with.
    pub firmware: Option<PathBuf>,
}

impl Build {
    /// The build in this folder, which is that of the checkout or of one architecture in it.
    ///
    /// # Errors
    /// Returns [`BadGuests`] if it was not configured, or for something that is not supported.
    pub fn of(folder: &Path) -> Result<Self, BadGuests> {
        let root = if folder.join("config.mak").is_file() { Some(folder) } else { folder.parent() };
        let root = root.unwrap_or(folder);
        let file = root.join("config.mak");
        let unusable = |why: String| BadGuests::Format { file: file.clone(), why };
        let bytes = crate::files::bounded::read(&file, MOST);
        let bytes = bytes.map_err(|source| BadGuests::Read { file: file.clone(), source })?;
        let text = String::from_utf8_lossy(&bytes);
        let value = |name: &str| {
            let mut values = text.lines().filter_map(|line| line.strip_prefix(name));
            let value = values.find_map(|rest| rest.strip_prefix('=')).map(str::trim);
            value.filter(|value| !value.is_empty()).map(str::to_owned)
        };
        if value("CONFIG_EFI").as_deref() == Some("y") {
            return Err(unusable("it is a build for EFI, which is not supported".to_owned()));
        }
        let arch = value("ARCH").ok_or_else(|| unusable("it has no line ARCH=".to_owned()))?;
        let folder = match unittests::is_in(folder) {
            true => folder.to_owned(),
            false => root.join(value("TEST_DIR").unwrap_or_default()),
        };
        let firmware = value("FIRMWARE").map(|file| root.join(file));
        let cpu = value("TARGET_CPU").or_else(|| value("DEFAULT_QEMU_CPU"));
        let build = Self { folder, arch, cpu, firmware };
        match build.arches().is_empty() {
            true => Err(unusable(format!("its architecture {} is not known", build.arch))),
            false => Ok(build),
        }
    }

    /// The architectures whose emulators run it, as emulators name them; none if it is not
    /// known.
    pub fn arches(&self) -> Vec<&'static str> {
        match &*self.arch {
            "i386" => vec!["i386", "x86_64"],
            "x86_64" => vec!["x86_64"],
            "arm" => vec!["arm"],
            "arm64" | "aarch64" => vec!["aarch64"],
            "ppc64" => vec!["ppc64"],
            "riscv32" => vec!["riscv32"],
            "riscv64" => vec!["riscv64"],
            "s390x" => vec!["s390x"],
            _ => Vec::new(),
        }
    }

    /// The name that the architecture's folder has in the sources.
    fn family(&self) -> &'static str {
        match &*self.arch {
            "i386" | "x86_64" => "x86",
            "arm" | "arm64" | "aarch64" => "arm",
            _ => "",
        }
    }

    /// How its images are started.
    pub fn way(&self) -> Way {
        if self.family() == "x86" { Way::Multiboot } else { Way::Kernel }
    }

    /// How its guests say how they fared.
    pub fn convention(&self) -> Convention {
        match self.family() {
            "" => Convention::ExitLine,
            _ => Convention::DebugExit,
        }
    }

    /// What all its guests get.
    pub fn fixtures(&self) -> &'static [Fixture] {
        fixture::of_unit_tests(self.family())
    }

    /// The machine type on which its guests run unless they are bound to one.
    pub fn usual_machine(&self) -> Option<&'static str> {
        match &*self.arch {
            "i386" | "x86_64" => None,
            "ppc64" => Some("pseries"),
            "s390x" => Some("s390-ccw-virtio"),
            _ => Some("virt"),
        }
    }

    /// Properties that its guests need of this machine type.
    pub fn properties(&self, machine: &str) -> &'static str {
        match (&*self.arch, machine) {
            ("arm", "virt") => "highmem=off",
            // What TCG does not have, and firmware is not there to turn off.
            ("ppc64", "pseries") => {
                "cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off"
            }
            _ => "",
        }
    }

    /// Options that all its guests get beside the fixtures.
    pub fn options(&self) -> Vec<String> {
        let firmware = self.firmware.iter().map(|file| file.to_string_lossy().into_owned());
        firmware.flat_map(|file| ["-bios".to_owned(), file]).collect()
    }
}
