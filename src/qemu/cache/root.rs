//! Which folder is the cache: the usual one, if only this user can write to it.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use once_cell::sync::OnceCell;

use crate::files::{atomic, trust};

/// The environment variable that names another folder for the cache.
pub const ENVIRONMENT: &str = "QGRAPH_CACHE";

/// The folder of the cache: `QGRAPH_CACHE`, else `qgraph` in the user's cache folder, else
/// (no home) `qgraph-UID` in the folder for temporary files.
///
/// Modules in it are loaded into QEMU. Where other users can write to it or to a folder above
/// it, it is one of this user's own in the folder for temporary files instead; see
/// [`not_used`].
pub fn folder() -> PathBuf {
    chosen().0.clone()
}

/// Why the usual folder is not the cache, and what to do about it; `None` if it is.
pub fn not_used() -> Option<&'static str> {
    chosen().1.as_deref()
}

fn chosen() -> &'static (PathBuf, Option<String>) {
    static CHOSEN: OnceCell<(PathBuf, Option<String>)> = OnceCell::new();
    CHOSEN.get_or_init(|| {
        let temporary = std::env::temp_dir();
        choose(usual(&temporary), &temporary)
    })
}

fn usual(temporary: &Path) -> PathBuf {
    use etcetera::BaseStrategy;
    if let Some(named) = std::env::var_os(ENVIRONMENT).filter(|folder| !folder.is_empty()) {
        return named.into();
    }
    match etcetera::choose_base_strategy() {
        Ok(user) => user.cache_dir().join("qgraph"),
        Err(_) => temporary.join(format!("qgraph-{}", geteuid())),
    }
}

/// The folder, and why it is not the usual one.
fn choose(usual: PathBuf, temporary: &Path) -> (PathBuf, Option<String>) {
    // What cannot be made is told by whoever writes to it.
    let _ = atomic::make_folder(&usual);
    trust::tighten(&usual);
    let why = match trust::folder(&usual) {
        Err(why) if why.kind() == io::ErrorKind::PermissionDenied => why,
        _ => return (usual, None),
    };
    let Ok(private) = private(temporary) else { return (usual, None) };
    let why = format!(
        "the cache {} is not used: {why}; {} is used instead (set {ENVIRONMENT} to a folder \
         that only you can write to)",
        usual.display(),
        private.display()
    );
    (private, Some(why))
}

/// A folder of this user's own in `temporary`, the same one every time.
fn private(temporary: &Path) -> io::Result<PathBuf> {
    let start = format!("qgraph-{}-", geteuid());
    let is_own_name = |path: &Path| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(start.as_bytes()))
    };
    let there = fs::read_dir(temporary)?.flatten().map(|entry| entry.path());
    let mut own = there.filter(|path| {
        let is_folder = fs::symlink_metadata(path).is_ok_and(|data| data.is_dir());
        is_own_name(path) && is_folder && trust::folder(path).is_ok()
    });
    match own.next() {
        Some(folder) => Ok(folder),
        None => {
            let mut builder = tempfile::Builder::new();
            builder.prefix(&start).permissions(Permissions::from_mode(0o700));
            Ok(builder.tempdir_in(temporary)?.keep())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    /// Would catch a cache in which somebody else can put a module for QEMU to load, and one's
    /// own that is given up because of its umask.
    #[test]
    fn only_a_folder_of_ones_own_is_the_cache() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for folder in ["tmp", "shared", "shared/below"] {
            fs::create_dir(at(folder)).unwrap();
        }
        assert_eq!(choose(at("new/cache"), &at("tmp")), (at("new/cache"), None));
        assert_eq!(mode(&at("new/cache")), 0o700);
        // As a umask of 0 leaves it.
        fs::set_permissions(at("new/cache"), Permissions::from_mode(0o777)).unwrap();
        assert_eq!(choose(at("new/cache"), &at("tmp")), (at("new/cache"), None));
        assert_eq!(mode(&at("new/cache")), 0o755);

        fs::set_permissions(at("shared"), Permissions::from_mode(0o777)).unwrap();
        let (private, why) = choose(at("shared/below"), &at("tmp"));
        assert_eq!((private.parent(), mode(&private)), (Some(&*at("tmp")), 0o700));
        let why = why.unwrap();
        for word in ["shared/below is not used: ", "shared can be written to by others", "QGRAPH"] {
            assert!(why.contains(word), "{word} is not in: {why}");
        }
        assert_eq!(choose(at("shared/below"), &at("tmp")).0, private, "the same again");
        // One that only bears the name.
        fs::set_permissions(&private, Permissions::from_mode(0o777)).unwrap();
        let next = choose(at("shared/below"), &at("tmp")).0;
        assert_ne!(next, private);
        fs::remove_dir(&next).unwrap();
        symlink(at("shared"), &next).unwrap();
        assert_ne!(choose(at("shared/below"), &at("tmp")).0, next);
    }

    /// Would catch a folder that cannot be made taken for one that others have.
    #[test]
    fn what_cannot_be_made_is_told_by_whoever_writes() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let below = file.join("below");
        assert_eq!(choose(below.clone(), root.path()), (below, None));
    }
}
