//! What an emulator's file tells about its accelerator without being run: version, build
//! stamp, the modules it knows. What to make of that is `super`'s affair.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::str;

use memchr::memmem;
use memmap2::Mmap;

use super::AccelError;
use crate::qemu::{Pace, Version};

/// What stands before the version in every emulator.
const VERSION: &str = "QEMU emulator version ";

/// What reading the emulator's file tells without running it.
///
/// Of a wrapper (Debian's `qemu-system-i386` is a script, Nix wraps in small programs) this
/// tells what the emulator tells that the wrapper names. Where none is found every field is
/// empty, and `/proc/PID/exe` of a launched one can be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// The emulator's file, symbolic links and wrappers followed.
    pub binary: PathBuf,
    /// QEMU's version.
    pub version: Option<Version>,
    /// The hash that names the build; its modules must bear the same.
    pub stamp: Option<String>,
    /// The names under which QEMU looks for the accelerator's module: none where it is built in,
    /// `accel-qtest-TARGET` (for all targets of the build) up to 10.2, then `accel-qtest`.
    pub modules: BTreeSet<String>,
    /// Whether such a module lies where the emulator will find it.
    pub shipped: bool,
    /// The sanitizer it was built with.
    pub sanitizer: Option<String>,
    /// For which machine the emulator itself is compiled; see [`machine_of`].
    pub(super) machine: Option<[u8; 4]>,
}

impl Facts {
    /// Whether the file is a compiled program, and not a script.
    pub fn is_program(&self) -> bool {
        self.machine.is_some()
    }
}

/// Reads what `binary`'s file tells; takes a few milliseconds.
///
/// # Errors
/// [`AccelError::Read`] when the file cannot be opened or mapped.
pub fn read_facts(binary: &Path) -> Result<Facts, AccelError> {
    let error = |error| AccelError::Read { path: binary.to_owned(), error };
    let mut path = fs::canonicalize(binary).map_err(error)?;
    let mut bytes = map(&path).map_err(error)?;
    if let Some((emulator, its_bytes)) = behind_wrapper(binary, &bytes) {
        (path, bytes) = (emulator, its_bytes);
    }
    let mut facts = from_bytes(&bytes);
    facts.shipped = is_shipped(&facts.modules, &path, env::var_os("QEMU_MODULE_DIR"));
    facts.binary = path;
    Ok(facts)
}

fn map(path: &Path) -> io::Result<Mmap> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    // SAFETY: the mapping is private and only searched, and no value of it is trusted to stay,
    // should somebody rewrite the file.
    unsafe { Mmap::map(&file) }
}

/// The emulator that a small file `wrapper` stands for: an absolute path in it that has the
/// wrapper's own name in its last part and leads to a QEMU.
fn behind_wrapper(wrapper: &Path, bytes: &[u8]) -> Option<(PathBuf, Mmap)> {
    const MOST: usize = 1 << 20;
    let name = wrapper.file_name()?.to_str()?;
    if bytes.len() > MOST {
        return None;
    }
    bytes
        .split(|c| !(c.is_ascii_alphanumeric() || b"/._+-".contains(c)))
        .filter_map(|word| str::from_utf8(word).ok().map(Path::new))
        .filter(|path| path.is_absolute() && *path != wrapper)
        .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().contains(name)))
        .find_map(|path| {
            let bytes = map(path).ok()?;
            memmem::find(&bytes, VERSION.as_bytes())?;
            Some((fs::canonicalize(path).ok()?, bytes))
        })
}

/// All that the bytes alone tell.
fn from_bytes(bytes: &[u8]) -> Facts {
    Facts {
        version: after(bytes, VERSION, |c| c.is_ascii_digit() || c == b'.')
            .find_map(|text| text.parse().ok()),
        // As a string of its own it is what QEMU looks for in a module, and present in every
        // build with modules.
        stamp: after(bytes, "qemu_stamp_", |c| c.is_ascii_hexdigit())
            .find(|text| text.len() == 40)
            .map(str::to_owned),
        modules: after(bytes, "\0accel-qtest", |c| {
            c.is_ascii_alphanumeric() || c == b'-' || c == b'_'
        })
        .filter(|target| target.is_empty() || target.len() > 1 && target.starts_with('-'))
        .map(|target| format!("accel-qtest{target}"))
        .collect(),
        sanitizer: Pace::sanitizer_of(bytes),
        machine: machine_of(bytes),
        ..Facts::default()
    }
}

/// The characters that `fits` allows after each `needle`.
fn after<'a>(
    bytes: &'a [u8],
    needle: &'a str,
    fits: impl Fn(u8) -> bool + 'a,
) -> impl Iterator<Item = &'a str> {
    memmem::find_iter(bytes, needle).filter_map(move |at| {
        let rest = &bytes[at + needle.len()..];
        let len = rest.iter().take_while(|&&c| fits(c)).count();
        str::from_utf8(&rest[..len]).ok()
    })
}

/// Word size, byte order and instruction set of an ELF file (`EI_CLASS`, `EI_DATA`,
/// `e_machine`; System V ABI, chapter 4, "ELF Header").
pub(super) fn machine_of(elf: &[u8]) -> Option<[u8; 4]> {
    let header = elf.get(..20).filter(|h| h.starts_with(b"\x7fELF"))?;
    Some([header[4], header[5], header[18], header[19]])
}

/// Whether one of `modules` lies in a folder where the emulator `binary` looks for modules.
/// There are more such folders than are known here: `false` only means "not seen".
fn is_shipped(
    modules: &BTreeSet<String>,
    binary: &Path,
    module_dir: Option<std::ffi::OsString>,
) -> bool {
    let here = binary.parent().unwrap_or(Path::new("/"));
    let triplet = format!("../lib/{}-linux-gnu/qemu", env::consts::ARCH);
    let folders = ["", "../lib64/qemu", "../lib64/qemu-kvm", "../lib/qemu", &triplet];
    folders
        .iter()
        .map(|folder| here.join(folder))
        .chain(module_dir.map(PathBuf::from))
        .any(|folder| modules.iter().any(|name| folder.join(format!("{name}.so")).is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: &str = "0123456789abcdef0123456789abcdef01234567";

    fn emulator() -> Vec<u8> {
        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0".to_vec();
        elf.extend(b"\0QEMU emulator version \0QEMU emulator version 7.2.22 (Debian 1:7.2)\n\0");
        elf.extend(b"qemu_stamp_\0qemu_stamp_0123\0");
        elf.extend(format!("qemu_stamp_{STAMP}\0").bytes());
        elf.extend(b"my-accel-qtest-no\0accel-qtest-ppc64\0accel-qtest-arm\0accel-tcg-arm\0");
        elf
    }

    /// Catches a fact missed, or taken from the wrong place.
    #[test]
    fn facts_are_read_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("qemu-system-arm");
        fs::write(&binary, emulator()).unwrap();
        let facts = read_facts(&binary).unwrap();
        assert_eq!(facts.version.unwrap().to_string(), "7.2.22");
        assert_eq!(facts.stamp.as_deref(), Some(STAMP));
        assert_eq!(Vec::from_iter(&facts.modules), ["accel-qtest-arm", "accel-qtest-ppc64"]);
        assert_eq!(facts.machine, Some([2, 1, 0x3e, 0]));
        assert!(!facts.shipped);

        fs::write(folder.path().join("accel-qtest-arm.so"), "").unwrap();
        assert!(read_facts(&binary).unwrap().shipped);
    }

    /// Catches a file name without a target (QEMU 11 on) passed over.
    #[test]
    fn a_module_for_all_targets_is_seen() {
        let facts = from_bytes(b"\0accel-qtest\0accel-qtests\0accel-qtest-\0");
        assert_eq!(Vec::from_iter(&facts.modules), ["accel-qtest"]);
    }

    /// Catches a panic, or facts invented, on files that are no emulator.
    #[test]
    fn other_files_tell_nothing() {
        for bytes in [&b""[..], b"#!/bin/sh\nexec qemu-system-arm", b"\x7fELF", b"\0accel-qtest"] {
            let facts = from_bytes(bytes);
            assert_eq!((facts.version, facts.stamp), (None, None));
        }
    }

    /// Catches an emulator behind a script (Debian's `qemu-system-i386`) passed over, and the
    /// other one that the script names taken for it.
    #[test]
    fn a_wrapper_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        let emulator_path = root.join("libexec-qemu-system-arm");
        fs::write(&emulator_path, emulator()).unwrap();
        fs::write(root.join("xen-qemu-system-arm"), "no QEMU").unwrap();
        let wrapper = root.join("qemu-system-arm");
        let script = format!(
            "#!/bin/sh\nxen={0}/xen-qemu-system-arm\nexe={0}/libexec-qemu-system-arm\n# {0}/qemu-system-arm\nexec $exe",
            root.display()
        );
        fs::write(&wrapper, script).unwrap();
        let facts = read_facts(&wrapper).unwrap();
        assert_eq!(facts.binary, emulator_path);
        assert_eq!(facts.stamp.as_deref(), Some(STAMP));
    }

    /// Catches an error that does not say which file it is about.
    #[test]
    fn a_missing_emulator_is_named() {
        let text = read_facts(Path::new("/nowhere/qemu")).unwrap_err().to_string();
        assert!(text.contains("/nowhere/qemu"), "{text}");
        assert!(read_facts(Path::new("/")).is_err());
    }
}
