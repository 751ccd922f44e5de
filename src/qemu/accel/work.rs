//! A folder to work in that goes away with us, however we end.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the guard does: it says that it is there, waits until nobody holds the other end of
/// its standard input, and removes the folder. A compiler that outlives us may still be
/// writing there, so it tries for some seconds.
const GUARD: &str = r#"echo
read -r _
tries=0
until rm -rf -- "$1" 2>/dev/null || [ $((tries += 1)) -gt 50 ]; do sleep 0.1; done"#;

/// A folder, removed when this is dropped or the program is killed.
pub(super) struct WorkFolder {
    path: PathBuf,
    /// Kills cannot be caught, but somebody else can see them.
    guard: Child,
}

impl WorkFolder {
    /// An empty folder of its own in `root`.
    ///
    /// # Errors
    /// It cannot be made, or there is no shell to guard it.
    pub fn new(root: &Path) -> io::Result<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = root.join(format!(".new-{}-{count}", std::process::id()));
        let guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(&path)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A Ctrl-C is for us, not for it.
            .process_group(0)
            .spawn()?;
        let mut folder = Self { path, guard };
        let mut ready = [0];
        if let Some(said) = &mut folder.guard.stdout {
            said.read_exact(&mut ready)?;
        }
        std::fs::create_dir(&folder.path)?;
        Ok(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a folder that stays, and one removed while somebody works in it.
    #[test]
    fn it_goes_with_its_owner() {
        let root = tempfile::tempdir().unwrap();
        let (one, two) =
            (WorkFolder::new(root.path()).unwrap(), WorkFolder::new(root.path()).unwrap());
        std::fs::write(one.path().join("file"), "").unwrap();
        drop(two);
        assert!(one.path().join("file").exists());
        drop(one);
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
        assert!(WorkFolder::new(&root.path().join("not there")).is_err());
    }
}
