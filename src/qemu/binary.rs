//! Which emulators there are: those named, those of `QTEST_QEMU_BINARY`, or every
//! `qemu-system-*` on `PATH`; and what starts them, where that is a command.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::wrapper::Wrapper;

/// The environment variable in which QEMU's own tests name the emulator.
pub const ENVIRONMENT: &str = "QTEST_QEMU_BINARY";

/// The emulators to use, and whether somebody named them. A named one that cannot be used
/// is an error; one that was merely found is passed over with a warning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Each once, as it was named or found.
    pub binaries: Vec<PathBuf>,
    /// What starts them, where the environment says so.
    pub wrapper: Option<Wrapper>,
    /// A command in the environment that cannot be used, and why.
    pub refused: Option<(PathBuf, String)>,
    /// Whether they were named.
    pub named: bool,
}

/// Finds the emulators: `named` (files, or folders that hold them) if there are any, else
/// those of `QTEST_QEMU_BINARY`, separated by `:`, else all on `PATH`. A `QTEST_QEMU_BINARY`
/// with blanks that is no file is a command: a wrapper and one emulator behind it.
pub fn find(named: &[PathBuf]) -> Found {
    let variable = std::env::var_os(ENVIRONMENT).filter(|value| !value.is_empty());
    match (named, variable) {
        ([], None) => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let folders = std::env::split_paths(&path).flat_map(|folder| in_folder(&folder));
            Found { binaries: once_each(folders), ..Found::default() }
        }
        ([], Some(value)) => find_in_variable(&value),
        (named, _) => Found { binaries: listed(named), named: true, ..Found::default() },
    }
}

fn find_in_variable(value: &OsStr) -> Found {
    let list: Vec<PathBuf> = std::env::split_paths(value).collect();
    let is_command =
        |entry: &PathBuf| entry.to_string_lossy().contains(char::is_whitespace) && !entry.exists();
    let found = Found { named: true, ..Found::default() };
    if !list.iter().any(is_command) {
        return Found { binaries: listed(&list), ..found };
    }
    match command(&value.to_string_lossy()) {
        Ok((path, wrapper)) => Found { binaries: vec![path], wrapper, ..found },
        Err(why) => {
            Found { refused: Some((value.into(), format!("{ENVIRONMENT}: {why}"))), ..found }
        }
    }
}

/// The emulator in a command, and what starts it.
///
/// # Errors
/// There is none, or it has arguments: why.
fn command(text: &str) -> Result<(PathBuf, Option<Wrapper>), String> {
    let words = shlex::split(text).ok_or("it has a quote or a backslash without an end")?;
    let is_named = |word: &String| {
        Path::new(word).file_name().is_some_and(is_emulator_name) && !word.starts_with('-')
    };
    let is_program = |word: &String| is_executable(Path::new(word));
    let at = words.iter().rposition(is_named).or_else(|| words.iter().rposition(is_program));
    let Some(at) = at else {
        return Err("it is no file, and as a command it names no emulator".to_owned());
    };
    if let Some(more) = words.get(at + 1..).filter(|more| !more.is_empty()) {
        return Err(format!(
            "`{}` stands behind the emulator: qgraph gives QEMU its arguments, so leave that out",
            more.join(" ")
        ));
    }
    let path = on_path(PathBuf::from(&words[at]));
    let before = words[..at].to_vec();
    let wrapper = match before.is_empty() {
        true => None,
        false => Some(Wrapper::of(before).map_err(|e| e.to_string())?),
    };
    Ok((path, wrapper))
}

/// The emulators of a list of files and folders.
fn listed(list: &[PathBuf]) -> Vec<PathBuf> {
    once_each(list.iter().flat_map(|path| {
        // A folder without emulators stays, for a message that says so.
        let inside = if path.is_dir() { in_folder(path) } else { Vec::new() };
        if inside.is_empty() { vec![on_path(path.clone())] } else { inside }
    }))
}

/// A bare name is looked up like a shell does.
fn on_path(name: PathBuf) -> PathBuf {
    if name.components().count() > 1 || name.exists() {
        return name;
    }
    in_path(&name).unwrap_or(name)
}

/// The file that a shell would run for a bare name.
pub(super) fn in_path(name: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(name));
    places.find(|file| is_executable(file))
}

/// The file of a program that a user names as for a shell; what is wrong if it cannot be run.
pub(super) fn program(name: &str) -> Result<PathBuf, &'static str> {
    let program = match name.contains('/') {
        true => PathBuf::from(name),
        false => in_path(Path::new(name)).ok_or("no such program is on PATH")?,
    };
    if !program.exists() {
        return Err("no such file");
    }
    if !is_executable(&program) {
        return Err("it is not executable");
    }
    Ok(program)
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
        let binaries = vec![at("qemu-system-arm")];
        assert_eq!(found, Found { binaries, named: true, ..Found::default() });
    }

    /// Would catch a named file that is silently dropped because it is not there.
    #[test]
    fn what_was_named_stays() {
        let empty = tempfile::tempdir().unwrap();
        let named = [empty.path().to_owned(), "/no/such/qemu".into()];
        assert_eq!(find(&named).binaries, named);
    }

    /// Would catch a file with blanks in its name that is taken for a command, and a list that
    /// is no list any more.
    #[test]
    fn a_list_of_files_is_no_command() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        executable(&at("my qemu"));
        let list = std::env::join_paths([at("my qemu"), at("gone")]).unwrap();
        let found = find_in_variable(&list);
        assert_eq!(found.binaries, [at("my qemu"), at("gone")]);
        assert_eq!((found.wrapper, found.refused), (None, None));
    }

    /// Would catch a wrapper in the environment that is taken for an emulator, as QEMU's own
    /// documentation has it, or arguments that are dropped in silence.
    #[test]
    fn a_command_names_wrapper_and_emulator() {
        let folder = tempfile::tempdir().unwrap();
        let emulator = folder.path().join("qemu-system-x86_64");
        executable(&emulator);
        let emulator_text = emulator.to_str().unwrap();
        let found = |text: String| find_in_variable(OsStr::new(&text));
        let two = found(format!("sh -c 'exec \"$@\" x:y' {emulator_text}"));
        assert_eq!((&two.binaries[..], two.named), (&[emulator.clone()][..], true));
        let wrapper = two.wrapper.expect("a wrapper").to_string();
        assert_eq!(wrapper, "sh -c 'exec \"$@\" x:y'");
        let refused = |text: String| found(text).refused.expect("refused").1;
        let why = refused(format!("sh {emulator_text} -m 1G"));
        assert!(why.contains("`-m 1G` stands behind the emulator"), "{why}");
        let why = refused(format!("no-such-wrapper -x {emulator_text}"));
        assert!(why.contains("the wrapper `no-such-wrapper` cannot be run"), "{why}");
        let why = refused("/no such/qemu".to_owned());
        assert!(why.contains("names no emulator"), "{why}");
        // Any program will do where no name says what it is.
        let other = folder.path().join("fork-of-qemu");
        executable(&other);
        assert_eq!(found(format!("sh {}", other.display())).binaries, [other]);
    }
}
