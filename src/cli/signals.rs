//! SIGINT, SIGTERM and SIGHUP: stop the run, once kindly, the second time at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::qemu::stop_all;

/// What a program has to end that was stopped before it ran anything: a file that nobody
/// writes to may keep it for ever.
const LAST_MOMENTS: Duration = Duration::from_secs(2);

/// Which signal has come; 0 for none.
pub(super) struct Watch {
    signal: Arc<AtomicI32>,
    /// Whether anything runs whose outcome is to be told.
    runs: Arc<AtomicBool>,
}

impl Watch {
    /// Watches from now on: the first signal kills all QEMUs and lets the run come to its
    /// end, the second ends the program. What was ignored when we were started stays so:
    /// SIGHUP under `nohup`, SIGINT in the background of a script.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn begin() -> io::Result<Self> {
        let ignored = ignored();
        let watched = [SIGHUP, SIGINT, SIGTERM].into_iter();
        let mut signals = Signals::new(watched.filter(|signal| ignored >> (signal - 1) & 1 == 0))?;
        let seen = Arc::new(AtomicI32::new(0));
        let runs = Arc::new(AtomicBool::new(false));
        let (first, running) = (seen.clone(), runs.clone());
        let watch = move || {
            for signal in signals.forever() {
                if first.swap(signal, Ordering::SeqCst) != 0 {
                    // QEMUs die with us.
                    std::process::exit(128 + signal);
                }
                stop_all();
                if !running.load(Ordering::SeqCst) {
                    // A second signal is not waited for: it may come meanwhile, or never.
                    std::thread::sleep(LAST_MOMENTS);
                    if !running.load(Ordering::SeqCst) {
                        super::warn("stopped before anything ran".to_owned());
                        std::process::exit(128 + signal);
                    }
                }
            }
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(watch)?;
        Ok(Self { signal: seen, runs })
    }

    /// From now on the program comes to its end by itself when it is stopped, for it has
    /// something to tell.
    pub fn note_running(&self) {
        self.runs.store(true, Ordering::SeqCst);
    }

    /// The exit status that says which signal stopped us, if one did.
    pub fn exit_status(&self) -> Option<u8> {
        u8::try_from(self.signal.load(Ordering::SeqCst)).ok().filter(|&n| n != 0).map(|n| 128 + n)
    }
}

/// The signals that are ignored, a bit each; the first is bit 0.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
