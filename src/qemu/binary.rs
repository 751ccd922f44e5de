//! Which emulators there are: those named, those of `QTEST_QEMU_BINARY`, or every
//! `qemu-system-*` on `PATH`.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The environment variable in which QEMU's own tests name the emulator.
pub const ENVIRONMENT: &str = "QTEST_QEMU_BINARY";

/// The emulators to use, and whether somebody named them. A named one that cannot be used
/// is an error; one that was merely found is passed over with a warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Each once, as it was named or found.
    pub binaries: Vec<PathBuf>,
    /// Whether they were named.
    pub named: bool,
}

/// Finds the emulators: `named` (files, or folders that hold them) if there are any, else
/// those of `QTEST_QEMU_BINARY`, separated by `:`, else all on `PATH`.
pub fn find(named: &[PathBuf]) -> Found {
    let variable = std::env::var_os(ENVIRONMENT).filter(|value| !value.is_empty());
    let listed: Vec<PathBuf> = match (named, variable) {
        ([], None) => Vec::new(),
        ([], Some(value)) => std::env::split_paths(&value).collect(),
        (named, _) => named.to_vec(),
    };
    if listed.is_empty() {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).flat_map(|folder| in_folder(&folder));
        return Found { binaries: once_each(folders), named: false };
    }
    let binaries = listed.into_iter().flat_map(|path| {
        // A folder without emulators stays, for a message that says so.
        let inside = if path.is_dir() { in_folder(&path) } else { Vec::new() };
        if inside.is_empty() { vec![on_path(path)] } else { inside }
    });
    Found { binaries: once_each(binaries), named: true }
}

/// A bare name is looked up like a shell does.
fn on_path(name: PathBuf) -> PathBuf {
    if name.components().count() > 1 || name.exists() {
        return name;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(&name));
    places.find(|file| is_executable(file)).unwrap_or(name)
}

/// The emulators in a folder, by name.
fn in_folder(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .filter(|entry| is_emulator_name(&entry.file_name()))
        .map(|entry| entry.path())
        .filter(|file| is_executable(file))
        .collect();
    files.sort();
    files
}

fn is_emulator_name(name: &OsStr) -> bool {
    name.to_str()
        .and_then(|name| name.strip_prefix("qemu-system-"))
        .is_some_and(|arch| !arch.is_empty())
}

/// Whether it is a file that somebody may execute.
pub(super) fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// Whether it is known to be neither a program nor a script. The C library would have a
/// shell execute it, line by line.
pub(super) fn is_mere_text(file: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(file).and_then(|file| file.take(4).read_to_end(&mut start));
    read.is_ok() && !start.starts_with(b"\x7fELF") && !start.starts_with(b"#!")
}

/// Each file once, whatever links lead to it; the first name stays.
fn once_each(files: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    files.filter(|file| seen.insert(file.canonicalize().unwrap_or_else(|_| file.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn executable(file: &Path) {
        fs::write(file, "").unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Would catch an emulator run twice, or a file that is none taken for one.
    #[test]
    fn a_folder_gives_its_emulators_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        executable(&at("qemu-system-arm"));
        executable(&at("qemu-system-"));
        executable(&at("qemu-img"));
        fs::write(at("qemu-system-x86_64"), "").unwrap();
        symlink(at("qemu-system-arm"), at("qemu-system-armel")).unwrap();
        let found = find(&[folder.path().to_owned(), at("qemu-system-arm")]);
        assert_eq!(found, Found { binaries: vec![at("qemu-system-arm")], named: true });
    }

    /// Would catch a named file that is silently dropped because it is not there.
    #[test]
    fn what_was_named_stays() {
        let empty = tempfile::tempdir().unwrap();
        let named = [empty.path().to_owned(), "/no/such/qemu".into()];
        assert_eq!(find(&named).binaries, named);
    }
}
