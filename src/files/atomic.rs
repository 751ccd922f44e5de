//! A file of our own, under a name of our choice, that appears whole or not at all. Only a
//! regular file gives way to it.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::linkat;

use super::kind;

/// Makes a folder, and those above it, that only this user may write to, whatever the umask.
///
/// # Errors
/// Those of the kernel.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Writes `file` with the permissions `mode`, in place of one that is there, and makes its
/// folder if need be.
///
/// # Errors
/// Returns [`io::ErrorKind::AlreadyExists`] if what is there is no regular file, a link to one
/// included, and what the kernel says otherwise.
pub(crate) fn replace(file: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    make_folder(folder)?;
    // A folder that is itself refused by the kernel has no such file either.
    if let Ok(there) = fs::symlink_metadata(file)
        && !there.is_file()
    {
        let why = format!("it is {}, and is left alone", kind(there.file_type()));
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
    }
    if link_whole(folder, file, bytes, mode).is_ok() {
        return Ok(());
    }
    // A file system, or a kernel, that knows no files without a name.
    let mut fresh = tempfile::NamedTempFile::new_in(folder)?;
    fresh.write_all(bytes)?;
    fresh.as_file().set_permissions(Permissions::from_mode(mode))?;
    fresh.persist(file)?;
    Ok(())
}

/// Writes a file that has no name until it is whole: should the program be killed before,
/// nothing of it stays.
fn link_whole(folder: &Path, file: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let flags = OFlag::O_TMPFILE | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let mut fresh = File::from(open(folder, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
    fresh.write_all(bytes)?;
    // The umask has no say in it.
    fresh.set_permissions(Permissions::from_mode(mode))?;
    let from = format!("/proc/self/fd/{}", fresh.as_raw_fd());
    // A link does not replace; and somebody else may be doing the same.
    for _ in 0..10 {
        let _ = fs::remove_file(file);
        match linkat(AT_FDCWD, &*from, AT_FDCWD, file, AtFlags::AT_SYMLINK_FOLLOW) {
            Err(Errno::EEXIST) => {}
            linked => return Ok(linked?),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::unistd::mkfifo;

    use super::*;

    /// Would catch a writer that replaces a pipe, a link or a device of the user by a file.
    #[test]
    fn only_a_regular_file_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        replace(&at("new/file"), b"one", 0o640).unwrap();
        replace(&at("new/file"), b"two", 0o750).unwrap();
        assert_eq!(fs::read(at("new/file")).unwrap(), b"two");
        let mode = |file: &Path| fs::metadata(file).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&at("new/file")), mode(&at("new"))), (0o750, 0o700));
        assert_eq!(fs::read_dir(at("new")).unwrap().count(), 1);

        mkfifo(&at("pipe"), Mode::S_IRWXU).unwrap();
        symlink(at("new/file"), at("link")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        for (name, word) in
            [("pipe", "a pipe"), ("link", "a link"), ("dangling", "a link"), ("folder", "a folder")]
        {
            let before = fs::symlink_metadata(at(name)).unwrap().file_type();
            let e = replace(&at(name), b"x", 0o600).unwrap_err();
            assert_eq!(e.kind(), io::ErrorKind::AlreadyExists, "{name}");
            assert!(e.to_string().contains(word), "{e}");
            assert_eq!(fs::symlink_metadata(at(name)).unwrap().file_type(), before);
        }
        assert_eq!(fs::read(at("new/file")).unwrap(), b"two");
        assert!(replace(Path::new("/dev/full"), b"x", 0o600).is_err());
        assert!(!fs::metadata("/dev/full").unwrap().is_file());
    }
}
