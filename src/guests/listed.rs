//! `guests.toml`: a list of images with what is to be known of each, among them how they say how
//! they fared.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::Convention;
use super::elf::{self, Kind};
use super::folder::of_image;
use super::guest::{Guest, Way};
use super::read::{BadGuests, plain_name};

/// The name of the file.
pub(super) const FILE: &str = "guests.toml";
/// The largest file that is read, in bytes.
const MOST: u64 = 4 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    suite: Option<String>,
    #[serde(default)]
    guest: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// The file, from the folder of the list on.
    file: String,
    name: Option<String>,
    /// The architecture, where the image does not say it.
    arch: Option<String>,
    machine: Option<String>,
    #[serde(default)]
    properties: String,
    boot: Option<Boot>,
    exit: Option<Convention>,
    args: Option<String>,
    #[serde(default)]
    options: Vec<String>,
    cpu: Option<String>,
    smp: Option<u32>,
    /// In seconds; 0 for no limit.
    timeout: Option<f64>,
    #[serde(default)]
    groups: Vec<String>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Boot {
    Multiboot,
    Kernel,
    Bios,
}

/// The guests that the list of this folder has.
///
/// # Errors
/// Returns [`BadGuests`] if the file cannot be read or understood.
pub(super) fn read(folder: &Path) -> Result<Vec<Guest>, BadGuests> {
    let file = folder.join(FILE);
    let bytes = crate::files::bounded::read(&file, MOST);
    let bytes = bytes.map_err(|source| BadGuests::Read { file: file.clone(), source })?;
    let bad = |why: String| BadGuests::Format { file: file.clone(), why };
    let list: List =
        toml::from_str(&String::from_utf8_lossy(&bytes)).map_err(|e| bad(e.to_string()))?;
    let own = folder.file_name().unwrap_or_default().to_string_lossy();
    let suite = plain_name(list.suite.as_deref().unwrap_or(&own));
    list.guest.iter().map(|entry| entry.guest(folder, &file, &suite).map_err(bad)).collect()
}

impl Entry {
    fn guest(&self, folder: &Path, list: &Path, suite: &str) -> Result<Guest, String> {
        let image = folder.join(&self.file);
        let told = self.arch.as_deref().map(|arch| known_arch(arch).ok_or(arch)).transpose();
        let told =
            told.map_err(|arch| format!("{}: no architecture is called {arch}", self.file))?;
        let found = elf::kind(&image);
        let arches = match (told, &found) {
            (Some(arch), _) => vec![arch],
            (None, Some(kind)) => kind.arches.clone(),
            (None, None) if !image.is_file() => Vec::new(),
            (None, None) => {
                return Err(format!("{}: no ELF file; say for which `arch` it is", self.file));
            }
        };
        let way = match (self.boot, found) {
            (Some(Boot::Multiboot), _) => Way::Multiboot,
            (Some(Boot::Kernel), _) => Way::Kernel,
            (Some(Boot::Bios), _) => Way::Bios,
            (None, Some(kind)) => kind.way,
            (None, None) => Way::Kernel,
        };
        let is_absent = arches.is_empty();
        let mut guest = of_image(&image, suite, Kind { arches, way });
        if is_absent {
            return Err(format!(
                "{}: there is no such file, so that its `arch` is not known",
                self.file
            ));
        }
        if let Some(name) = &self.name {
            guest.name = plain_name(name);
        }
        if let Some(seconds) = self.timeout {
            let limit = Duration::try_from_secs_f64(seconds);
            guest.limit = Some(limit.map_err(|_| format!("{}: {seconds} is no time", self.file))?);
        }
        if let Some(exit) = &self.exit {
            guest.convention = exit.clone();
        }
        guest.source = list.to_owned();
        guest.machine = self.machine.clone();
        guest.properties = self.properties.clone();
        guest.append = self.args.clone();
        guest.options = self.options.clone();
        guest.cpu = self.cpu.clone();
        guest.smp = self.smp.unwrap_or(1).to_string();
        guest.groups = self.groups.clone();
        Ok(guest)
    }
}

/// The architecture, as emulators are called by it.
fn known_arch(name: &str) -> Option<&'static str> {
    const KNOWN: [&str; 12] = [
        "x86_64",
        "i386",
        "arm",
        "aarch64",
        "ppc",
        "ppc64",
        "riscv32",
        "riscv64",
        "s390x",
        "loongarch64",
        "m68k",
        "mips",
    ];
    KNOWN.into_iter().find(|it| *it == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<Guest>, String> {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join(FILE), text).unwrap();
        std::fs::write(root.path().join("a.bin"), "flat").unwrap();
        read(root.path()).map_err(|e| e.to_string())
    }

    /// Would catch a key that is read and does nothing.
    #[test]
    fn every_key_counts() {
        let text = "suite = \"fw\"\n[[guest]]\nfile = \"a.bin\"\nname = \"up\"\narch = \"arm\"\n\
                    machine = \"virt\"\nproperties = \"secure=on\"\nboot = \"bios\"\nargs = \"x y\"\n\
                    options = [\"-m\", \"1G\"]\ncpu = \"cortex-a7\"\nsmp = 2\ntimeout = 5.5\n\
                    groups = [\"g\"]\nexit = { lines = { pass = \"login:\" } }\n";
        let guest = &read_text(text).unwrap()[0];
        assert_eq!((&*guest.suite, &*guest.name, &*guest.smp), ("fw", "up", "2"));
        assert_eq!((&*guest.arches, guest.way), (&["arm"][..], Way::Bios));
        assert_eq!(guest.convention, Convention::Lines { pass: "login:".to_owned(), fail: None });
        assert_eq!(guest.limit, Some(Duration::from_secs_f64(5.5)));
        let words = guest.words(|_| true).join(" ");
        assert!(words.ends_with("-smp 2 -append x y -cpu cortex-a7 -m 1G"), "{words}");
        assert!(words.starts_with("-bios /"), "{words}");
        assert!(guest.runs_on("arm/virt") && !guest.runs_on("arm/raspi2b"));
        let exits = ["debug-exit", "exit-line", "exit-status", "power-off"];
        for exit in exits {
            let text = format!("[[guest]]\nfile = \"a.bin\"\narch = \"arm\"\nexit = \"{exit}\"\n");
            assert_eq!(read_text(&text).unwrap().len(), 1);
        }
    }

    /// Would catch a list that is damaged and read as far as it goes.
    #[test]
    fn a_damaged_list_has_a_message() {
        let why = |text: &str| read_text(text).unwrap_err();
        assert!(why("[[guest]]\n").contains("file"));
        assert!(why("[[guest]]\nfile = \"a.bin\"\n").contains("say for which `arch`"));
        assert!(why("[[guest]]\nfile = \"b.bin\"\n").contains("no such file"));
        assert!(why("[[guest]]\nfile = \"a.bin\"\narch = \"z80\"\n").contains("z80"));
        assert!(
            why("[[guest]]\nfile = \"a.bin\"\narch = \"arm\"\ntimeout = -1\n").contains("time")
        );
        assert!(why("[[guest]]\nfile = \"a.bin\"\ncolour = 1\n").contains("colour"));
    }
}
