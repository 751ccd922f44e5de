//! Old files of our own go.

use std::fs::{self, DirEntry, Metadata};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A day.
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long ago the file was written or [touched](touch). `None` if it says that it was in
/// the future.
pub(crate) fn age(data: &Metadata) -> Option<Duration> {
    SystemTime::now().duration_since(data.modified().ok()?).ok()
}

/// Notes that a file or folder is in use, if that was not noted for a day.
pub(crate) fn touch(path: &Path) {
    let is_noted = fs::metadata(path).ok().and_then(|data| age(&data)).is_some_and(|it| it < DAY);
    if !is_noted && let Ok(file) = fs::File::open(path) {
        let _ = file.set_modified(SystemTime::now());
    }
}

/// Removes what is directly in `folder`, was not touched for `most`, and is ours as `is_ours`
/// says. What cannot be removed stays.
pub(crate) fn prune(folder: &Path, most: Duration, is_ours: impl Fn(&DirEntry) -> bool) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(data) = entry.metadata() else { continue };
        if age(&data).is_some_and(|age| age > most) && is_ours(&entry) {
            let _ = match data.is_dir() {
                true => fs::remove_dir_all(entry.path()),
                false => fs::remove_file(entry.path()),
            };
        }
    }
}

/// Whether the file's name ends with one of these.
pub(crate) fn ends_with(endings: &'static [&'static str]) -> impl Fn(&DirEntry) -> bool {
    move |entry| {
        let name = entry.file_name();
        endings.iter().any(|end| name.as_encoded_bytes().ends_with(end.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch files that stay for ever, or that go although they are in use, new, or
    /// somebody else's.
    #[test]
    fn only_what_is_old_and_ours_goes() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let old = SystemTime::now() - 100 * DAY;
        for name in ["old.sh", "used.sh", "new.sh", "old.txt", "old.d.sh"] {
            match name.contains(".d.") {
                true => fs::create_dir_all(at(name).join("inside")).unwrap(),
                false => fs::write(at(name), "").unwrap(),
            }
            if name != "new.sh" {
                fs::File::open(at(name)).unwrap().set_modified(old).unwrap();
            }
        }
        touch(&at("used.sh"));
        prune(root.path(), 90 * DAY, ends_with(&[".sh"]));
        let mut left: Vec<_> =
            fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["new.sh", "old.txt", "used.sh"]);
        prune(&at("nowhere"), DAY, |_| true);
    }
}
