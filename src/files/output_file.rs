//! A file that somebody names for a result: replaced whole if it is a regular one, written to
//! if it is a pipe or a character device, and refused if it is anything else.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use tempfile::NamedTempFile;

use super::kind;

/// Where a result goes.
pub(crate) struct OutputFile {
    /// As its user calls it.
    name: PathBuf,
    target: Target,
    /// The permissions of a file that is not there yet.
    mode: u32,
}

enum Target {
    /// A regular file, there already or not; links are followed.
    File(PathBuf),
    /// A pipe or a character device.
    Stream(PathBuf),
    /// A file that this process has open already, such as `/dev/stdout`, whatever it is:
    /// somebody else writes there too.
    Open(PathBuf),
}

/// How many links lead to a file at most, as for the kernel.
const MOST_LINKS: usize = 40;

impl OutputFile {
    /// Makes sure, as far as can be known now, that something can be written to `name`.
    ///
    /// # Errors
    /// Nothing can, as where there is no such folder; or what is there is a folder, a disk, or
    /// a socket.
    pub fn new(name: impl Into<PathBuf>) -> io::Result<Self> {
        let name = name.into();
        let target = target(&name)?;
        if let Target::File(path) = &target {
            beside(path).map_err(|e| match e.kind() {
                // Without the name that the file would have had for now.
                io::ErrorKind::NotFound => io::Error::from(Errno::ENOENT),
                _ => e,
            })?;
        }
        // What the umask leaves of it, as for any file.
        Ok(Self { name, target, mode: 0o666 })
    }

    /// The same in a folder that is made if it does not exist.
    ///
    /// # Errors
    /// Those of [`new`](Self::new), and those of making the folder.
    pub fn with_folder(name: impl Into<PathBuf>) -> io::Result<Self> {
        let name = name.into();
        if let Target::File(path) = target(&name)? {
            fs::create_dir_all(folder(&path))?;
        }
        Self::new(name)
    }

    /// The same, to be executable.
    pub fn executable(self) -> Self {
        Self { mode: 0o777, ..self }
    }

    /// The name that its user gave it.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// Writes it.
    ///
    /// # Errors
    /// Those of the kernel; a file that was there before is still there then.
    pub fn write(&self, content: &[u8]) -> io::Result<()> {
        match &self.target {
            Target::Open(path) => {
                let mut file = File::options().append(true).open(path)?;
                file.write_all(content)?;
                file.flush()
            }
            Target::Stream(path) => open_stream(path)?.write_all(content),
            Target::File(path) => {
                let mut file = beside(path)?;
                file.write_all(content)?;
                // The same permissions as before, and those of a new file otherwise.
                match fs::metadata(path) {
                    Ok(there) => file.as_file().set_permissions(there.permissions())?,
                    Err(_) => file.as_file().set_permissions(self.fresh(file.as_file())?)?,
                }
                file.persist(path).map(drop).map_err(|e| e.error)
            }
        }
    }

    /// The permissions of a new file, of which `file` has what the umask leaves.
    fn fresh(&self, file: &File) -> io::Result<Permissions> {
        let left = file.metadata()?.mode() & 0o666;
        // Whoever may read it may execute it.
        let executable = (left & 0o444) >> 2;
        let mode = if self.mode & 0o111 == 0 { left } else { left | executable };
        Ok(Permissions::from_mode(mode))
    }
}

fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why.into())
}

/// What a file of this name is.
fn target(name: &Path) -> io::Result<Target> {
    let mut path = name.to_owned();
    for _ in 0..MOST_LINKS {
        if is_open_file(&path) {
            return Ok(Target::Open(path));
        }
        match fs::symlink_metadata(&path) {
            Ok(there) if there.is_symlink() => path = folder(&path).join(fs::read_link(&path)?),
            Ok(there) if there.is_file() => {
                // Where it may not be written to, it may not be replaced either.
                File::options().append(true).open(&path)?;
                return Ok(Target::File(fs::canonicalize(&path)?));
            }
            Ok(there) if there.file_type().is_char_device() || there.file_type().is_fifo() => {
                return Ok(Target::Stream(path));
            }
            Ok(there) if there.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(there) => {
                let kind = kind(there.file_type());
                return Err(invalid(format!("it is {kind}, to which nothing is written")));
            }
            Err(_) if path.file_name().is_none() => return Err(invalid("no name of a file")),
            // Not there, or nobody may know; making the file tells.
            Err(_) => return Ok(Target::File(path)),
        }
    }
    Err(invalid("too many links lead to it"))
}

/// Whether it is the name of a file that this process has open. What is behind it may be a
/// regular file: one that a shell has opened for all that it starts.
fn is_open_file(path: &Path) -> bool {
    let standard = ["/dev/stdout", "/dev/stderr"].map(Path::new);
    let folders = ["/dev/fd", "/proc/self/fd"].map(Path::new);
    let is_number = |name: &OsStr| name.to_str().is_some_and(|name| name.parse::<u32>().is_ok());
    standard.contains(&path)
        || path.parent().is_some_and(|parent| folders.contains(&parent))
            && path.file_name().is_some_and(is_number)
}

/// Opens a pipe or a device for writing. A pipe that nobody reads is an error, as to wait for
/// a reader could be to wait for ever.
fn open_stream(path: &Path) -> io::Result<File> {
    let without_waiting = File::options().write(true).custom_flags(libc::O_NONBLOCK).open(path);
    match without_waiting {
        Err(e) if e.raw_os_error() == Some(libc::ENXIO) => {
            Err(io::Error::new(e.kind(), "nobody reads from this pipe; start the reader first"))
        }
        Err(e) => Err(e),
        // Somebody reads, so this one does not wait; but to write is to wait for them.
        Ok(_held) => File::options().write(true).open(path),
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// An empty file in the same folder, removed when it is dropped.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".qgraph-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder(path))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    fn mode(file: &Path) -> u32 {
        fs::metadata(file).unwrap().mode() & 0o777
    }

    /// Would catch half a report, a report that replaces a link or a device, a file whose
    /// permissions change, and a file left behind.
    #[test]
    fn whole_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        assert!(OutputFile::new(at("new/folder/a.html")).is_err() && !at("new").exists());
        let output = OutputFile::with_folder(at("new/folder/a.html")).unwrap();
        assert!(!at("new/folder/a.html").exists());
        output.write(b"one").unwrap();
        fs::set_permissions(at("new/folder/a.html"), Permissions::from_mode(0o604)).unwrap();
        symlink("new/folder/a.html", at("link")).unwrap();
        OutputFile::new(at("link")).unwrap().write(b"two").unwrap();
        assert!(at("link").is_symlink());
        assert_eq!(fs::read(at("new/folder/a.html")).unwrap(), b"two");
        assert_eq!(mode(&at("new/folder/a.html")), 0o604);
        assert_eq!(fs::read_dir(at("new/folder")).unwrap().count(), 1);

        symlink("new/b.html", at("dangling")).unwrap();
        OutputFile::new(at("dangling")).unwrap().executable().write(b"three").unwrap();
        assert!(at("dangling").is_symlink());
        assert_eq!(fs::read(at("new/b.html")).unwrap(), b"three");
        assert_ne!(mode(&at("new/b.html")) & 0o100, 0);

        let full = OutputFile::new("/dev/full").unwrap().write(b"x").unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        OutputFile::new("/dev/null").unwrap().write(b"x").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());

        assert!(OutputFile::new(root.path()).is_err());
        assert!(OutputFile::new(at("link/below")).is_err());
        assert!(OutputFile::new("/proc/no/such").is_err());
        assert!(OutputFile::new("..").is_err());
        symlink("loop", at("loop")).unwrap();
        assert!(OutputFile::new(at("loop")).is_err());
        let _listener = UnixListener::bind(at("socket")).unwrap();
        let Err(socket) = OutputFile::new(at("socket")) else { panic!("a socket is taken") };
        assert!(socket.to_string().contains("a socket"), "{socket}");
    }

    /// Would catch a pipe that is replaced, or waited for without end when nobody reads it.
    #[test]
    fn a_pipe_is_written_to() {
        let root = tempfile::tempdir().unwrap();
        let pipe = root.path().join("pipe");
        mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        let output = OutputFile::new(&pipe).unwrap();
        let e = output.write(b"x").unwrap_err();
        assert!(e.to_string().contains("nobody reads"), "{e}");
        // More than a pipe holds.
        let content = vec![7; 200_000];
        let mut reader = File::options().read(true).write(true).open(&pipe).unwrap();
        let mut read = vec![0; content.len()];
        std::thread::scope(|scope| {
            scope.spawn(|| output.write(&content).unwrap());
            reader.read_exact(&mut read).unwrap();
        });
        assert!(read == content);
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    }

    /// Would catch a file that a shell has opened for the whole program and that is replaced
    /// or overwritten from its beginning by one part of it.
    #[test]
    fn an_open_file_is_added_to() {
        use std::os::fd::AsRawFd;
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("log");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"before ").unwrap();
        let output = OutputFile::new(format!("/dev/fd/{}", file.as_raw_fd())).unwrap();
        output.write(b"after").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"before after");
    }
}
