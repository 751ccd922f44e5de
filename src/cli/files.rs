//! The files that a command reads and writes: none of them twice.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Stop;

/// A file, and the option that names it.
pub(super) type Named<'a> = (&'static str, Option<&'a Path>);

/// What a file is, whatever leads to it.
#[derive(PartialEq)]
enum Identity {
    There(u64, u64),
    NotYet(PathBuf),
}

/// What `path` leads to; `None` for what several can write to, a device or a pipe.
fn identity(path: &Path) -> Option<Identity> {
    let mut path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // A link to a file that is not there yet. The kernel follows no more than 40.
    for _ in 0..40 {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("/")).join(target),
            Err(_) => break,
        }
    }
    match fs::metadata(&path) {
        Ok(data) if data.is_file() => Some(Identity::There(data.dev(), data.ino())),
        Ok(_) => None,
        Err(_) => {
            let folder = path.parent().unwrap_or(Path::new("/"));
            let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
            Some(Identity::NotYet(folder.join(path.file_name().unwrap_or_default())))
        }
    }
}

/// Makes sure that all `written` files are different ones, and that none of them is `read`.
///
/// # Errors
/// Two options name the same file.
pub(super) fn distinct(written: &[Named], read: &[Named]) -> Result<(), Stop> {
    let named = |(option, file): &Named| Some((*option, file.and_then(identity)?));
    let read: Vec<_> = read.iter().filter_map(named).collect();
    let written: Vec<_> = written.iter().filter_map(named).collect();
    for (number, (option, file)) in written.iter().enumerate() {
        let others = written[..number].iter().chain(&read);
        if let Some((other, _)) = others.into_iter().find(|(_, other)| other == file) {
            return Err(Stop::Usage(format!(
                "{other} and {option} name the same file; each needs a file of its own"
            )));
        }
    }
    Ok(())
}
