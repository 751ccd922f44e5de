//! How much CPU time this process and its children have used.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::qemu::proc_stat::Stat;

/// CPU time, user and system together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuTime {
    /// Of this process.
    pub own: Duration,
    /// The part of `own` that the kernel took: for messages, for starting others.
    pub own_in_kernel: Duration,
    /// Of its children that have ended and were waited for, and of theirs.
    pub children: Duration,
}

impl CpuTime {
    /// That used so far.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn now() -> io::Result<Self> {
        let stat = Stat::of(Path::new("/proc/self"));
        let stat = stat.ok_or_else(|| io::Error::other("/proc/self/stat cannot be read"))?;
        Ok(Self { own: stat.used(), own_in_kernel: stat.system, children: stat.children })
    }

    /// That used since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            own: self.own - earlier.own,
            own_in_kernel: self.own_in_kernel - earlier.own_in_kernel,
            children: self.children - earlier.children,
        }
    }
}
