//! QEMUs that stay when a path fails on them, to be looked at: for whom, how many, and the
//! monitors by which they are reached. When that is so, the harness says.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::command_line::quote;
use super::folder::Owned;

/// How the folder of a QEMU's monitors begins. What follows is plain.
pub(super) const PREFIX: &str = "qgraph-keep-";
/// The sockets in it: of the monitor for people, and of QMP.
const HMP: &str = "hmp";
const QMP: &str = "qmp";

/// Of which failures the QEMU stays.
#[derive(Clone)]
pub struct Keep {
    left: Arc<AtomicUsize>,
    wants: Arc<dyn Fn(&str) -> bool + Send + Sync>,
}

impl Keep {
    /// As many failures as are `left`, of paths whose names it `wants`.
    pub fn new(
        left: Arc<AtomicUsize>,
        wants: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { left, wants: Arc::new(wants) }
    }

    /// Whether the QEMU on which the path `name` failed stays. That is one less then.
    pub(super) fn takes(&self, name: &str) -> bool {
        let less = |left: usize| left.checked_sub(1);
        (self.wants)(name)
            && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
    }
}

impl fmt::Debug for Keep {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Keep").field("left", &self.left).finish_non_exhaustive()
    }
}

impl PartialEq for Keep {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.left, &other.left)
    }
}

/// The monitors of a QEMU that may stay: a folder that only the user can enter, and that goes
/// with the QEMU.
pub(super) struct Monitors {
    folder: Owned,
}

impl Monitors {
    /// A folder for them.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new() -> io::Result<Self> {
        Ok(Self { folder: Owned::new(PREFIX)? })
    }

    /// The options that make them.
    pub fn arguments(&self) -> Vec<String> {
        let monitor = |socket: &str, mode: &str| {
            let path = format!("{}/{socket}", self.folder.in_option());
            [
                "-chardev".to_owned(),
                format!("socket,id=keep-{socket},path={path},server=on,wait=off"),
                "-mon".to_owned(),
                format!("chardev=keep-{socket},mode={mode}"),
            ]
        };
        [monitor(HMP, "readline"), monitor(QMP, "control")].concat()
    }

    /// Leaves them to the user.
    pub fn leave(mut self) -> PathBuf {
        self.folder.leave();
        self.folder.path().to_owned()
    }
}

/// A QEMU that stays, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its process.
    pub process: u32,
    /// Whether the machine is stopped; it is not if QEMU gave no answer.
    pub is_stopped: bool,
    /// The folder of its monitors.
    pub folder: PathBuf,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { process, .. } = self;
        let state = if self.is_stopped { "stopped where it failed" } else { "as it was" };
        let socket = |name: &str| quote(&self.folder.join(name).to_string_lossy());
        writeln!(f, "process {process}, {state}")?;
        writeln!(f, "debugger: gdb -p {process}")?;
        writeln!(f, "monitor: socat - UNIX-CONNECT:{}", socket(HMP))?;
        writeln!(f, "QMP: socat - UNIX-CONNECT:{}", socket(QMP))?;
        write!(f, "to end it: kill {process}; rm -r {}", quote(&self.folder.to_string_lossy()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a QEMU that stays for a failure that is known, or more than were asked for.
    #[test]
    fn only_so_many_stay() {
        let left = Arc::new(AtomicUsize::new(2));
        let keeps = [(); 2].map(|()| Keep::new(left.clone(), |name| name != "known"));
        assert!(!keeps[0].takes("known"));
        assert!(keeps[0].takes("a") && keeps[1].takes("b"));
        assert!(!keeps[0].takes("c") && !keeps[1].takes("c"));
    }

    /// Would catch a folder that stays, and a comma in its path that ends it for QEMU.
    #[test]
    fn a_folder_goes_with_its_qemu() {
        let monitors = Monitors::new().unwrap();
        let folder = monitors.folder.path().to_owned();
        let words = monitors.arguments().join(" ");
        let path = folder.join("hmp").to_string_lossy().replace(',', ",,");
        assert!(words.contains(&format!(",path={path},server=on,wait=off")), "{words}");
        drop(monitors);
        assert!(!folder.exists());
    }
}
