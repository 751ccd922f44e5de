//! A file as it was when something was found out about it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

/// A file as it was when something was found out about it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    // A path need not be UTF-8, as serde wants it to be.
    path: OsString,
    size: u64,
    /// Nanoseconds since 1970.
    modified: u128,
    /// Another file of the same size and age has another number.
    inode: u64,
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
            inode: data.ino(),
        })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        Path::new(&self.path)
    }

    /// Whether the file is still as it was.
    pub fn is_current(&self) -> bool {
        Self::of(self.path()).is_ok_and(|now| now == *self)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    /// Would catch a file that was replaced by another of the same size and time, as `rsync`
    /// or a reproducible build makes them, taken for the one that was there.
    #[test]
    fn another_file_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let time = SystemTime::now() - Duration::from_secs(1000);
        for name in ["file", "other"] {
            fs::write(at(name), name.len().to_string()).unwrap();
            fs::File::open(at(name)).unwrap().set_modified(time).unwrap();
        }
        let stamp = Stamp::of(&at("file")).unwrap();
        assert!(stamp.is_current());
        fs::rename(at("other"), at("file")).unwrap();
        assert!(!stamp.is_current());
        fs::remove_file(at("file")).unwrap();
        assert!(!stamp.is_current());
    }
}
