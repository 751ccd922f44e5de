//! Whether a file is this user's own: that nobody but they and root can have put it there, or
//! can change it. What is loaded into a process, or believed, has to be.
//!
//! For a file it is its owner and its permissions that count, and those of every folder above
//! it: whoever may write to a folder can put another file in the place of one in it. A folder
//! such as `/tmp`, where everybody may write but only owners may rename (the "sticky" bit),
//! may stand above one's own.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::libc;
use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid};
use once_cell::sync::OnceCell;

/// Permissions: written to by its group, by anybody, and only by owners of what is in it.
const GROUP: u32 = 0o020;
const ANYBODY: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// What others can do to a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Distrust {
    /// It is somebody else's.
    #[error("{} belongs to {owner}", path.display())]
    Foreign {
        /// The file or folder.
        path: PathBuf,
        /// Whose it is.
        owner: String,
    },
    /// Somebody else may write to it.
    #[error("{} can be written to by others (its mode is {mode:o})", path.display())]
    Writable {
        /// The file or folder.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is a link, a pipe, or the like.
    #[error("{} is {kind}", path.display())]
    Kind {
        /// The file or folder.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
}

impl From<Distrust> for io::Error {
    fn from(why: Distrust) -> Self {
        io::Error::new(io::ErrorKind::PermissionDenied, why.to_string())
    }
}

/// Who runs this program.
struct Me {
    user: Uid,
    /// The group that has the user's name and nobody else in it, as most distributions make
    /// one for each user.
    own_group: Option<Gid>,
}

impl Me {
    fn new() -> &'static Self {
        static ME: OnceCell<Me> = OnceCell::new();
        ME.get_or_init(|| {
            let (user, group) = (geteuid(), getegid());
            let name = User::from_uid(user).ok().flatten().map(|user| user.name);
            let own_group = Group::from_gid(group).ok().flatten().filter(|group| {
                let is_me = |member: &String| Some(member) == name.as_ref();
                is_me(&group.name) && group.mem.iter().all(is_me)
            });
            Self { user, own_group: own_group.map(|_| group) }
        })
    }

    fn is_owner(&self, owner: Uid) -> bool {
        owner.is_root() || owner == self.user
    }

    /// Whether others may write to what has this mode and group.
    fn is_shared(&self, mode: u32, group: Gid) -> bool {
        let with_group = mode & GROUP != 0 && group.as_raw() != 0 && Some(group) != self.own_group;
        with_group || mode & ANYBODY != 0
    }

    /// What is wrong with a file of these data at `path`; `above` if it is a folder that only
    /// stands above the one that counts.
    fn judge(&self, path: &Path, data: &Metadata, above: bool) -> Result<(), Distrust> {
        let (owner, mode) = (Uid::from_raw(data.uid()), data.mode() & 0o7777);
        if !self.is_owner(owner) {
            let name = User::from_uid(owner).ok().flatten().map(|user| user.name);
            let owner = name.unwrap_or_else(|| format!("user {owner}"));
            return Err(Distrust::Foreign { path: path.to_owned(), owner });
        }
        if self.is_shared(mode, Gid::from_raw(data.gid())) && !(above && mode & STICKY != 0) {
            return Err(Distrust::Writable { path: path.to_owned(), mode });
        }
        Ok(())
    }
}

/// Makes sure that only this user and root can have put something into `folder`, and returns
/// its name without links.
///
/// # Errors
/// Returns [`io::ErrorKind::PermissionDenied`] if others can, and what the kernel says if it
/// is not there.
pub(crate) fn folder(folder: &Path) -> io::Result<PathBuf> {
    let path = fs::canonicalize(folder)?;
    for (number, folder) in path.ancestors().enumerate() {
        let data = fs::symlink_metadata(folder)?;
        if number == 0 && !data.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Me::new().judge(folder, &data, number > 0)?;
    }
    Ok(path)
}

/// Takes from others the permission to write to `folder`, if it is this user's; an umask may
/// have left it to them. What they have put there is told by its owner.
pub(crate) fn tighten(folder: &Path) {
    if let Ok(data) = fs::symlink_metadata(folder)
        && data.is_dir()
        && Uid::from_raw(data.uid()) == Me::new().user
        && Me::new().is_shared(data.mode(), Gid::from_raw(data.gid()))
    {
        let mode = data.mode() & 0o7777 & !(GROUP | ANYBODY);
        let _ = fs::set_permissions(folder, Permissions::from_mode(mode));
    }
}

/// Opens the regular file `path`, which has to be this user's or root's; its folder is not
/// looked at.
///
/// # Errors
/// Returns [`io::ErrorKind::PermissionDenied`] if others can have written it, and what the
/// kernel says otherwise.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    // Not to wait for whoever writes to a pipe.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let data = file.metadata()?;
    if !data.is_file() {
        let kind = super::kind(data.file_type());
        return Err(Distrust::Kind { path: path.to_owned(), kind }.into());
    }
    Me::new().judge(path, &data, false)?;
    Ok(file)
}

/// Reads a file as [`open`] opens it, of at most `most` bytes.
///
/// # Errors
/// Those of [`open`], and [`io::ErrorKind::FileTooLarge`].
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// Would catch a file that another user has put into a folder, or can replace, taken for
    /// one's own, and one's own refused.
    #[test]
    fn what_others_can_write_to_is_not_believed() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/b/file"), "text").unwrap();
        let deep = at("a/b");
        set(&at("a"), 0o755);
        set(&deep, 0o700);
        assert_eq!(folder(&deep).unwrap(), fs::canonicalize(&deep).unwrap());
        assert_eq!(read(&at("a/b/file"), 4).unwrap(), b"text");
        assert_eq!(read(&at("a/b/file"), 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);

        // The mode of the folder, of that above it, and whether the folder is still believed.
        for (above, own, good) in [
            (0o700, 0o702, false),
            (0o702, 0o700, false),
            (0o1777, 0o700, true),
            (0o700, 0o1777, false),
        ] {
            set(&at("a"), above);
            set(&deep, own);
            let told = folder(&deep);
            assert_eq!(told.is_ok(), good, "{above:o} {own:o}: {told:?}");
            if let Err(e) = told {
                assert!(e.to_string().contains("can be written to by others"), "{e}");
            }
        }
        tighten(&deep);
        tighten(&at("a"));
        assert!(folder(&deep).is_ok());

        set(&at("a/b/file"), 0o646);
        assert!(read(&at("a/b/file"), 9).is_err());
        symlink("file", at("a/b/link")).unwrap();
        assert!(read(&at("a/b/link"), 9).is_err(), "a link may lead anywhere");
        assert!(read(&deep, 9).is_err());
        assert!(folder(&at("a/b/file")).is_err());
        assert!(folder(&at("nowhere")).is_err());
    }

    /// Would catch the group of an own name taken for strangers, or strangers for it.
    #[test]
    fn owners_and_groups() {
        let [mine, own, other] = [1000, 1000, 100];
        let me = Me { user: Uid::from_raw(mine), own_group: Some(Gid::from_raw(own)) };
        assert!(me.is_owner(Uid::from_raw(0)) && me.is_owner(Uid::from_raw(mine)));
        assert!(!me.is_owner(Uid::from_raw(1001)));
        for (mode, group, shared) in [
            (0o755, other, false),
            (0o775, own, false),
            (0o775, 0, false),
            (0o775, other, true),
            (0o777, own, true),
        ] {
            assert_eq!(me.is_shared(mode, Gid::from_raw(group)), shared, "{mode:o} {group}");
        }
        let nobody = Me { own_group: None, ..me };
        assert!(nobody.is_shared(0o775, Gid::from_raw(own)));
    }

    /// Would catch what belongs to another user believed because nobody else may write to it.
    /// Only root can give a file away.
    #[test]
    fn what_belongs_to_others_is_not_believed() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "text").unwrap();
        if chown(&file, Some(65534), None).is_err() {
            return;
        }
        let e = read(&file, 9).unwrap_err();
        assert!(e.to_string().contains("file belongs to "), "{e}");
        chown(root.path(), Some(65534), None).unwrap();
        set(root.path(), 0o700);
        assert!(folder(root.path()).unwrap_err().to_string().contains(" belongs to "));
        tighten(root.path());
    }
}
