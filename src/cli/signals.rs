//! SIGINT, SIGTERM and SIGHUP: stop the run, once kindly, the second time at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::qemu::stop_all;

/// Which signal has come; 0 for none.
pub(super) struct Watch(Arc<AtomicI32>);

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
        let first = seen.clone();
        let watch = move || {
            for signal in signals.forever() {
                if first.swap(signal, Ordering::SeqCst) != 0 {
                    // QEMUs die with us.
                    std::process::exit(128 + signal);
                }
                stop_all();
            }
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(watch)?;
        Ok(Self(seen))
    }

    /// The exit status that says which signal stopped us, if one did.
    pub fn exit_status(&self) -> Option<u8> {
        u8::try_from(self.0.load(Ordering::SeqCst)).ok().filter(|&n| n != 0).map(|n| 128 + n)
    }
}

/// The signals that are ignored, a bit each; the first is bit 0.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
