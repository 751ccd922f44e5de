//! Folders of the host that go with us, however we end: those that a machine shares with its
//! guest, and those of monitors' sockets.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::OnceLock;

use serde::{Deserialize, Deserializer, Serialize};
use tempfile::TempDir;

use super::process::note_folder;

/// A folder that a machine shares with its guest. It is empty at first, and goes with the QEMU
/// that uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Folder {
    /// Its name: options say `{NAME}` where its path belongs.
    pub name: &'static str,
}

impl<'de> Deserialize<'de> for Folder {
    /// The name stays in memory, as that of an [`Image`](super::Image).
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Written {
            name: String,
        }
        let Written { name } = Written::deserialize(from)?;
        Ok(Self { name: name.leak() })
    }
}

/// How the name of a folder begins that a machine shares. What follows is plain.
const SHARED: &str = "qgraph-share-";

/// Where folders are made that a confined QEMU uses.
static PLACE: OnceLock<Owned> = OnceLock::new();

/// A folder among the temporary files that only the user can enter. It is removed when this is
/// dropped, and when the program is killed.
pub(super) struct Owned {
    folder: TempDir,
    /// Its path, seen from that of the temporary files.
    name: String,
}

impl Owned {
    /// A folder whose name begins so.
    ///
    /// # Errors
    /// Returns the error of the kernel if it cannot be made.
    pub fn new(prefix: &str) -> io::Result<Self> {
        Self::inside(&std::env::temp_dir(), "", prefix)
    }

    /// A folder for a machine to share.
    ///
    /// # Errors
    /// Returns the error of the kernel if it cannot be made.
    pub fn shared() -> io::Result<Self> {
        match PLACE.get() {
            Some(place) => Self::inside(place.path(), &format!("{}/", place.name), SHARED),
            None => Self::new(SHARED),
        }
    }

    fn inside(parent: &Path, above: &str, prefix: &str) -> io::Result<Self> {
        let own = fs::Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix(prefix).permissions(own).tempdir_in(parent)?;
        let last = folder.path().file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{above}{last}");
        note_folder(&name, true);
        Ok(Self { folder, name })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Its path as a part of an option of QEMU.
    pub fn in_option(&self) -> String {
        self.path().to_string_lossy().replace(',', ",,")
    }

    /// Leaves it to the user.
    pub fn leave(&mut self) {
        self.folder.disable_cleanup(true);
    }

    /// Removes everything that is in it.
    ///
    /// # Errors
    /// Returns the error of the kernel if something cannot be removed.
    pub fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.path())? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }
        Ok(())
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        note_folder(&self.name, false);
    }
}

/// Has all [shared](Owned::shared) folders made in one place from now on, which is returned: the
/// only one that a confined QEMU can write to.
///
/// # Errors
/// Returns the error of the kernel if that cannot be made.
pub(super) fn in_one_place() -> io::Result<&'static Path> {
    if PLACE.get().is_none() {
        // Another thread may have been first: its folder is the place then.
        let _ = PLACE.set(Owned::new(SHARED)?);
    }
    PLACE.get().map(Owned::path).ok_or_else(|| io::Error::other("no place for folders"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a folder that stays, that others can look into, or whose content outlasts
    /// what it was made for.
    #[test]
    fn a_folder_goes_with_what_it_is_for() {
        use std::os::unix::fs::symlink;

        let outside = tempfile::tempdir().unwrap();
        let folder = Owned::shared().unwrap();
        let path = folder.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        fs::create_dir_all(path.join("a/b")).unwrap();
        fs::write(path.join("a/b/c"), "x").unwrap();
        symlink(outside.path(), path.join("link")).unwrap();
        folder.clear().unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        assert!(outside.path().exists());
        fs::write(path.join("c"), "x").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
