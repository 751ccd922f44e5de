//! The user's cache: what was found out about emulators, and the modules made for them.
//!
//! Nothing in it is needed: what is missing, damaged or of another version is made anew.
//! Files appear whole or not at all, so that several programs may use it at once.

use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::unistd::getuid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::files::atomic;

/// The environment variable that names another folder for the cache.
pub const ENVIRONMENT: &str = "QGRAPH_CACHE";

/// The folder of the cache: `QGRAPH_CACHE`, else `qgraph` in the user's cache folder, else
/// (no home) in the folder for temporary files, by user.
pub fn folder() -> PathBuf {
    use etcetera::BaseStrategy;
    if let Some(folder) = std::env::var_os(ENVIRONMENT).filter(|folder| !folder.is_empty()) {
        return folder.into();
    }
    match etcetera::choose_base_strategy() {
        Ok(user) => user.cache_dir().join("qgraph"),
        Err(_) => {
            let user = getuid();
            std::env::temp_dir().join(format!("qgraph-{user}"))
        }
    }
}

/// A file as it was when something was found out about it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    // A path need not be UTF-8, as serde wants it to be.
    path: OsString,
    size: u64,
    /// Nanoseconds since 1970.
    modified: u128,
}

impl Stamp {
    /// The file at `path` as it is now.
    ///
    /// # Errors
    /// It is not there.
    pub fn of(path: &Path) -> io::Result<Self> {
        let data = fs::metadata(path)?;
        let modified = data.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            path: std::path::absolute(path)?.into_os_string(),
            size: data.len(),
            modified: modified.as_nanos(),
        })
    }

    /// Whether the file is still as it was.
    pub fn is_current(&self) -> bool {
        Self::of(Path::new(&self.path)).is_ok_and(|now| now == *self)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        Path::new(&self.path)
    }

    /// A number for its path, by which files of the cache are named.
    pub(super) fn path_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.path.hash(&mut hasher);
        hasher.finish()
    }

    fn file(&self, cache: &Path) -> PathBuf {
        cache.join("probes").join(format!("{:016x}.json", self.path_hash()))
    }
}

/// What is known about a file, and since when.
#[derive(Serialize, Deserialize)]
struct Entry<T> {
    /// The program that wrote it; another one may mean something else by it.
    writer: String,
    stamp: Stamp,
    /// Seconds since 1970.
    written: u64,
    known: T,
}

const WRITER: &str = concat!("qgraph ", env!("CARGO_PKG_VERSION"), " probe 3");

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// What the cache knows about the file with this stamp, and how many seconds ago it was
/// written.
pub fn load<T: DeserializeOwned>(cache: &Path, stamp: &Stamp) -> Option<(T, u64)> {
    let bytes = fs::read(stamp.file(cache)).ok()?;
    let entry: Entry<T> = serde_json::from_slice(&bytes).ok()?;
    let same = entry.writer == WRITER && entry.stamp == *stamp;
    same.then(|| (entry.known, now().saturating_sub(entry.written)))
}

/// Remembers something about the file with this stamp.
///
/// # Errors
/// The cache cannot be written.
pub fn store<T: Serialize>(cache: &Path, stamp: &Stamp, known: &T) -> io::Result<()> {
    let entry = Entry { writer: WRITER.to_owned(), stamp: stamp.clone(), written: now(), known };
    atomic::replace(&stamp.file(cache), &serde_json::to_vec(&entry)?, 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a stale, damaged or foreign entry taken for true.
    #[test]
    fn only_what_was_said_of_the_same_file_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, file) = (folder.path().join("cache"), folder.path().join("qemu"));
        fs::write(&file, "one").unwrap();
        let stamp = Stamp::of(&file).unwrap();
        assert_eq!(load::<String>(&cache, &stamp), None);
        store(&cache, &stamp, &"fact".to_owned()).unwrap();
        let (known, age) = load::<String>(&cache, &stamp).unwrap();
        assert_eq!(known, "fact");
        assert!(age < 3600);
        assert!(load::<u32>(&cache, &stamp).is_none(), "another type");

        fs::write(&file, "longer").unwrap();
        let changed = Stamp::of(&file).unwrap();
        assert_eq!(load::<String>(&cache, &changed), None);

        for damage in ["", "{", "\u{0}\u{1}", "null"] {
            fs::write(stamp.file(&cache), damage).unwrap();
            assert_eq!(load::<String>(&cache, &stamp), None);
        }
        store(&cache, &stamp, &"again".to_owned()).unwrap();
        assert_eq!(load::<String>(&cache, &stamp).unwrap().0, "again");
        let left = fs::read_dir(cache.join("probes")).unwrap().count();
        assert_eq!(left, 1, "no temporary file stays");
    }

    /// Would catch an unwritable cache that is not reported.
    #[test]
    fn an_unwritable_cache_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let stamp = Stamp::of(&file).unwrap();
        assert!(store(&file, &stamp, &1).is_err());
    }
}
