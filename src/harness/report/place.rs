//! A file that a report is written to whole or not at all.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Where a report goes.
pub(super) struct Place {
    /// As its user calls it.
    pub name: PathBuf,
    target: Target,
}

enum Target {
    /// A file, there already or not; links are followed.
    File(PathBuf),
    /// A device or a pipe.
    Stream(PathBuf),
}

impl Place {
    /// Makes sure, as far as can be known now, that something can be written there. The
    /// folder is made if it does not exist.
    ///
    /// # Errors
    /// Nothing can.
    pub fn new(name: PathBuf) -> io::Result<Self> {
        let target = match fs::metadata(&name) {
            Ok(there) if there.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(there) if there.is_file() => Target::File(fs::canonicalize(&name)?),
            Ok(_) => Target::Stream(name.clone()),
            Err(_) if name.file_name().is_none() => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "no name of a file"));
            }
            Err(_) => Target::File(name.clone()),
        };
        if let Target::File(path) = &target {
            fs::create_dir_all(folder(path))?;
            beside(path)?;
        }
        Ok(Self { name, target })
    }

    /// Writes it.
    ///
    /// # Errors
    /// Those of the system; a file that was there before is still there then.
    pub fn write(&self, content: &[u8]) -> io::Result<()> {
        match &self.target {
            Target::Stream(path) => File::options().write(true).open(path)?.write_all(content),
            Target::File(path) => {
                let mut file = beside(path)?;
                file.write_all(content)?;
                file.persist(path).map(drop).map_err(|e| e.error)
            }
        }
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// An empty file in the same folder, removed when it is dropped.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".qgraph-")
        // What the umask leaves of it, as for any file.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Would catch half a report, a report that replaces a link or a device, and a file left
    /// behind.
    #[test]
    fn whole_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let place = Place::new(at("new/folder/a.html")).unwrap();
        assert!(!at("new/folder/a.html").exists());
        place.write(b"one").unwrap();
        symlink(at("new/folder/a.html"), at("link")).unwrap();
        Place::new(at("link")).unwrap().write(b"two").unwrap();
        assert!(at("link").is_symlink());
        assert_eq!(fs::read(at("new/folder/a.html")).unwrap(), b"two");
        assert_eq!(fs::read_dir(at("new/folder")).unwrap().count(), 1);

        let full = Place::new("/dev/full".into()).unwrap().write(b"x").unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        let null = Place::new("/dev/null".into()).unwrap();
        null.write(b"x").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());

        assert!(Place::new(root.path().to_owned()).is_err());
        assert!(Place::new(at("link/below")).is_err());
        assert!(Place::new("/proc/no/such".into()).is_err());
        assert!(Place::new("..".into()).is_err());
    }
}
