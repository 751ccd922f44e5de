//! What is remembered of files: one shelf for each kind of thing that is, and one entry for
//! each file and name on it.
//!
//! An entry is a line of JSON that says what it is about, and the content behind that. It is
//! believed if it is of this version, whole, about the file as it is now, this user's, and not
//! from the future. Entries that nobody has used for long are removed.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Stamp;
use crate::files::prune::{self, DAY};
use crate::files::sum::fnv1a;
use crate::files::{atomic, trust};

/// The largest entry, in bytes; one of a large emulator has a hundred thousand.
const MOST: u64 = 64 << 20;
/// For how long an entry stays that nobody uses.
const KEPT: Duration = DAY.saturating_mul(60);

/// One kind of thing that is remembered of files.
#[derive(Debug, Clone, Copy)]
pub struct Shelf {
    /// Its folder in the cache.
    pub folder: &'static str,
    /// How the names of its files end.
    pub ending: &'static str,
    /// Another number whenever what is remembered takes another form or meaning.
    pub version: u32,
}

/// The line before the content.
#[derive(Serialize, Deserialize)]
struct Label {
    /// The program that wrote it; another one may mean something else by it.
    writer: String,
    stamp: Stamp,
    name: String,
    /// Seconds since 1970.
    written: u64,
    /// Of the content.
    sum: String,
}

impl Shelf {
    fn writer(&self) -> String {
        format!("qgraph {} {} {}", env!("CARGO_PKG_VERSION"), self.folder, self.version)
    }

    /// The file of an entry. Names that are alike in 64 bits of a sum share one, and only the
    /// one that was written last is found.
    pub(super) fn file(&self, cache: &Path, stamp: &Stamp, name: &str) -> PathBuf {
        let mut key = stamp.path().as_os_str().as_encoded_bytes().to_vec();
        key.push(0);
        key.extend(name.bytes());
        cache.join(self.folder).join(format!("{:016x}{}", fnv1a(&key), self.ending))
    }

    /// What is remembered in `cache` under `name` of the file with this stamp, and how long
    /// ago it was written.
    pub fn load<T: DeserializeOwned>(
        &self,
        cache: &Path,
        stamp: &Stamp,
        name: &str,
    ) -> Option<(T, Duration)> {
        let bytes = self.read(cache, stamp, name)?;
        let (label, content) = bytes.split_at(memchr::memchr(b'\n', &bytes)?);
        let label: Label = serde_json::from_slice(label).ok()?;
        let content = &content[1..];
        let is_about_it =
            label.writer == self.writer() && label.stamp == *stamp && label.name == name;
        if !is_about_it || label.sum != sum(content) {
            return None;
        }
        let age = now().checked_sub(Duration::from_secs(label.written))?;
        Some((serde_json::from_slice(content).ok()?, age))
    }

    /// Remembers something in `cache` under `name` of the file with this stamp.
    ///
    /// # Errors
    /// The cache cannot be written, or others can write to it as well.
    pub fn store<T: Serialize>(
        &self,
        cache: &Path,
        stamp: &Stamp,
        name: &str,
        known: &T,
    ) -> io::Result<()> {
        self.store_at(cache, stamp, name, known, now())
    }

    fn store_at<T: Serialize>(
        &self,
        cache: &Path,
        stamp: &Stamp,
        name: &str,
        known: &T,
        time: Duration,
    ) -> io::Result<()> {
        let content = serde_json::to_vec(known)?;
        let label = Label {
            writer: self.writer(),
            stamp: stamp.clone(),
            name: name.to_owned(),
            written: time.as_secs(),
            sum: sum(&content),
        };
        let mut bytes = serde_json::to_vec(&label)?;
        bytes.push(b'\n');
        bytes.extend(content);
        self.write(cache, stamp, name, &bytes)
    }

    /// The bytes of an entry that has a form of its own and says itself what it is about, if
    /// they are this user's.
    pub(in crate::qemu) fn read(&self, cache: &Path, stamp: &Stamp, name: &str) -> Option<Vec<u8>> {
        let file = self.file(cache, stamp, name);
        trust::folder(file.parent()?).ok()?;
        let bytes = trust::read(&file, MOST).ok()?;
        prune::touch(&file);
        Some(bytes)
    }

    /// Writes the bytes of an entry that has a form of its own.
    ///
    /// # Errors
    /// The cache cannot be written, or others can write to it as well.
    pub(in crate::qemu) fn write(
        &self,
        cache: &Path,
        stamp: &Stamp,
        name: &str,
        bytes: &[u8],
    ) -> io::Result<()> {
        let folder = cache.join(self.folder);
        atomic::make_folder(&folder)?;
        trust::tighten(&folder);
        trust::folder(&folder)?;
        atomic::replace(&self.file(cache, stamp, name), bytes, 0o600)?;
        prune_once(folder);
        Ok(())
    }
}

/// Removes old entries, once in the life of a program: when it has found out something new.
fn prune_once(folder: PathBuf) {
    static PRUNED: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);
    let mut pruned = PRUNED.lock().unwrap_or_else(PoisonError::into_inner);
    if pruned.get_or_insert_default().insert(folder.clone()) {
        prune::prune(&folder, KEPT, |_| true);
    }
}

fn sum(content: &[u8]) -> String {
    format!("{:016x}", fnv1a(content))
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    const SHELF: Shelf = Shelf { folder: "probes", ending: ".json", version: 1 };

    /// A folder with a file in it, the file's stamp, and a cache.
    fn start() -> (tempfile::TempDir, PathBuf, Stamp) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("qemu");
        fs::write(&file, "one").unwrap();
        let stamp = Stamp::of(&file).unwrap();
        let cache = folder.path().join("cache");
        (folder, cache, stamp)
    }

    fn known(cache: &Path, stamp: &Stamp) -> Option<String> {
        SHELF.load(cache, stamp, "").map(|(known, _)| known)
    }

    fn remember(cache: &Path, stamp: &Stamp, known: &str) {
        SHELF.store(cache, stamp, "", &known).unwrap();
    }

    /// Would catch a stale, damaged or foreign entry taken for true.
    #[test]
    fn only_what_was_said_of_the_same_file_is_known() {
        let (folder, cache, stamp) = start();
        assert_eq!(known(&cache, &stamp), None);
        remember(&cache, &stamp, "fact");
        let (fact, age) = SHELF.load::<String>(&cache, &stamp, "").unwrap();
        assert_eq!(fact, "fact");
        assert!(age < Duration::from_secs(3600));
        assert!(SHELF.load::<u32>(&cache, &stamp, "").is_none(), "another type");
        assert!(SHELF.load::<String>(&cache, &stamp, "x").is_none(), "another name");
        let newer = Shelf { version: 2, ..SHELF };
        assert!(newer.load::<String>(&cache, &stamp, "").is_none(), "another version");

        fs::write(folder.path().join("qemu"), "longer").unwrap();
        let changed = Stamp::of(&folder.path().join("qemu")).unwrap();
        assert_eq!(known(&cache, &changed), None);

        let file = SHELF.file(&cache, &stamp, "");
        for damage in ["", "{", "\u{0}\u{1}", "null", "{}\n{}", "\n", "null\nnull"] {
            fs::write(&file, damage).unwrap();
            assert_eq!(known(&cache, &stamp), None, "{damage:?}");
        }
        remember(&cache, &stamp, "again");
        assert_eq!(known(&cache, &stamp).as_deref(), Some("again"));
        let left = fs::read_dir(cache.join("probes")).unwrap().count();
        assert_eq!(left, 1, "no temporary file stays");
    }

    /// Would catch an entry of which a byte has changed, in its content too, and is believed;
    /// or a panic on what is no entry.
    #[test]
    fn a_changed_byte_is_noticed() {
        let (_folder, cache, stamp) = start();
        remember(&cache, &stamp, "the fact");
        let file = SHELF.file(&cache, &stamp, "");
        let whole = fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&file, &damaged).unwrap();
            // When it was written is no part of what is known.
            let known = known(&cache, &stamp);
            assert!(known.is_none() || known.as_deref() == Some("the fact"), "byte {at}");
            fs::write(&file, &whole[..at]).unwrap();
            assert_eq!(self::known(&cache, &stamp), None, "cut at {at}");
        }
    }

    proptest! {
        /// Would catch a panic on what is no entry.
        #[test]
        fn anything_can_be_an_entry(bytes: Vec<u8>) {
            let (_folder, cache, stamp) = start();
            atomic::replace(&SHELF.file(&cache, &stamp, ""), &bytes, 0o600).unwrap();
            prop_assert_eq!(known(&cache, &stamp), None);
        }
    }

    /// Would catch an entry that a clock gone wrong has made, believed for ever.
    #[test]
    fn the_future_is_not_believed() {
        let (_folder, cache, stamp) = start();
        let tomorrow = now() + DAY;
        SHELF.store_at(&cache, &stamp, "", &"fact", tomorrow).unwrap();
        assert_eq!(known(&cache, &stamp), None);
        SHELF.store_at(&cache, &stamp, "", &"fact", now() - DAY).unwrap();
        assert!(known(&cache, &stamp).is_some());
    }

    /// Would catch an entry believed that another user has put there, or can change.
    #[test]
    fn what_others_can_write_is_not_believed() {
        let (_folder, cache, stamp) = start();
        remember(&cache, &stamp, "fact");
        let (shelf, file) = (cache.join("probes"), SHELF.file(&cache, &stamp, ""));
        for (path, own) in [(&file, 0o600), (&shelf, 0o700), (&cache, 0o700)] {
            fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
            assert_eq!(known(&cache, &stamp), None, "{}", path.display());
            fs::set_permissions(path, Permissions::from_mode(own)).unwrap();
            assert!(known(&cache, &stamp).is_some());
        }
        fs::set_permissions(&cache, Permissions::from_mode(0o777)).unwrap();
        let e = SHELF.store(&cache, &stamp, "", &1).unwrap_err();
        assert!(e.to_string().contains("can be written to by others"), "{e}");
    }

    /// Would catch entries of emulators that are long gone and stay for ever, and those in use
    /// that go.
    #[test]
    fn old_entries_go() {
        let (_folder, cache, stamp) = start();
        let age = |name: &str| {
            let file = SHELF.file(&cache, &stamp, name);
            fs::File::open(file).unwrap().set_modified(SystemTime::now() - 2 * KEPT).unwrap();
        };
        fs::create_dir_all(&cache).unwrap();
        for name in ["old", "used"] {
            SHELF.store(&cache, &stamp, name, &name).unwrap();
            age(name);
        }
        assert!(SHELF.load::<String>(&cache, &stamp, "used").is_some());
        // As another program would.
        prune::prune(&cache.join("probes"), KEPT, |_| true);
        let is_there = |name: &str| SHELF.file(&cache, &stamp, name).exists();
        assert!(is_there("used") && !is_there("old"));
    }

    /// Would catch an unwritable cache that is not reported.
    #[test]
    fn an_unwritable_cache_is_an_error() {
        let (folder, _, stamp) = start();
        assert!(SHELF.store(&folder.path().join("qemu"), &stamp, "", &1).is_err());
    }
}
