//! Modules that lie in the cache, in a home of their own for each build of QEMU: whether they
//! are whole and this user's, and whether they still are when the next QEMU is started.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::bring::bring;
use super::{AccelError, Source, read_facts};
use crate::files::sum::fnv1a;
use crate::files::{atomic, prune, trust};

/// Of a home: the check sum of its modules, all of which are the same file, and a line with
/// the name of each.
const LIST: &str = "sum";
/// Of a home: the folder with the modules and nothing else, where QEMU looks.
const MODULES: &str = "lib";
/// The largest module, in bytes, and the largest list.
const MOST: u64 = 16 << 20;

/// A file as the kernel tells of it; another one, or one that was written to, differs.
type Data = (u64, u64, u64, i64, i64, i64, i64);

/// The modules of folders that were found to be whole in the life of this program, as they
/// were then.
static SEEN: Mutex<Option<HashMap<PathBuf, Vec<Data>>>> = Mutex::new(None);

/// The folder with the modules of a home.
pub(super) fn modules(home: &Path) -> PathBuf {
    home.join(MODULES)
}

/// The folder with the modules of a build in `cache`. `None` for what is no name of a build.
pub(super) fn folder(cache: &Path, build: &str) -> Option<PathBuf> {
    let is_name = !build.is_empty() && build.bytes().all(|c| c.is_ascii_hexdigit() || c == b'-');
    // What is not there yet is made where it was.
    let root = std::path::absolute(cache).ok()?.join("modules");
    let root = fs::canonicalize(&root).unwrap_or(root);
    is_name.then(|| modules(&root.join(build)))
}

/// Writes the list of a home whose modules have these names and all this content.
pub(super) fn seal(home: &Path, names: &BTreeSet<String>, content: &[u8]) -> io::Result<()> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let list = format!("{:016x}\n{}\n", fnv1a(content), names.join("\n"));
    atomic::replace(&home.join(LIST), list.as_bytes(), 0o600)
}

/// Whether all these modules are in the home, with the bytes that were compiled, and nothing
/// else; and whether only this user can have put them there.
pub(super) fn is_whole(home: &Path, names: &BTreeSet<String>) -> bool {
    let whole = inspect(home).is_ok_and(|there| names.is_subset(&there));
    if whole {
        prune::touch(home);
    }
    whole
}

/// The names of a home's modules, if all is in order.
fn inspect(home: &Path) -> io::Result<BTreeSet<String>> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let folder = trust::folder(&modules(home))?;
    // Before the files are read: what changes meanwhile is noticed at the next look.
    let data = data(&folder)?;
    let list = trust::read(&home.join(LIST), MOST)?;
    let list = String::from_utf8(list).map_err(|_| wrong("the list is no text"))?;
    let mut lines = list.lines();
    let sum = lines.next().unwrap_or_default();
    let names: BTreeSet<String> = lines.map(str::to_owned).collect();
    if !list.ends_with('\n') || names.is_empty() || data.len() != names.len() {
        return Err(wrong("there are more or fewer modules than on the list"));
    }
    // Most are one file under many names.
    let mut sound = BTreeSet::new();
    for name in &names {
        let file = folder.join(format!("{name}.so"));
        let there = fs::symlink_metadata(&file)?;
        if !sound.contains(&(there.dev(), there.ino())) {
            if format!("{:016x}", fnv1a(&trust::read(&file, MOST)?)) != sum {
                return Err(wrong("a module has changed"));
            }
            sound.insert((there.dev(), there.ino()));
        }
    }
    SEEN.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get_or_insert_default()
        .insert(modules(home), data);
    Ok(names)
}

/// What the kernel tells of the files in a folder.
fn data(folder: &Path) -> io::Result<Vec<Data>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        // Of a link, not of what it leads to.
        let it = entry?.metadata()?;
        let (dev, ino, size) = (it.dev(), it.ino(), it.size());
        all.push((dev, ino, size, it.mtime(), it.mtime_nsec(), it.ctime(), it.ctime_nsec()));
    }
    all.sort_unstable();
    Ok(all)
}

fn is_as_seen(folder: &Path) -> bool {
    let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let before = seen.as_ref().and_then(|seen| seen.get(folder));
    before.is_some_and(|before| data(folder).is_ok_and(|now| now == *before))
}

/// Makes sure that the module is there and whole with which `program` is about to be started,
/// and makes it anew if not. Costs some microseconds when all is in order.
///
/// # Errors
/// It is not, and cannot be made.
pub(in crate::qemu) fn ensure(source: &Source, program: &Path) -> Result<(), AccelError> {
    let Source::Brought { folder } = source else { return Ok(()) };
    if is_as_seen(folder) {
        return Ok(());
    }
    // One mends it for all.
    static MENDING: Mutex<()> = Mutex::new(());
    let _mending = MENDING.lock().unwrap_or_else(PoisonError::into_inner);
    let home = folder.parent().unwrap_or(folder);
    if is_as_seen(folder) || inspect(home).is_ok() {
        return Ok(());
    }
    let cache = home.ancestors().nth(2).unwrap_or(home);
    let brought = bring(&read_facts(program)?, cache)?;
    if brought == *folder {
        return Ok(());
    }
    let error = io::Error::other("the emulator is of another build than before");
    Err(AccelError::Cache { path: folder.clone(), error })
}
