//! How much CPU time this process and its children have used.

use std::io;
use std::time::Duration;

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
    /// That used so far, by `/proc/self/stat` (proc(5), fields 14 to 17).
    ///
    /// # Errors
    /// It cannot be read.
    pub fn now() -> io::Result<Self> {
        let strange = || io::Error::other("/proc/self/stat is strange");
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        // The name of the program, field 2, may hold anything; no `)` comes after it.
        let (_, fields) = stat.rsplit_once(')').ok_or_else(strange)?;
        let ticks = fields.split_whitespace().skip(11).take(4).map(str::parse);
        let ticks: Vec<u64> = ticks.collect::<Result<_, _>>().map_err(|_| strange())?;
        let [user, system, children_user, children_system] = ticks[..] else {
            return Err(strange());
        };
        let time = |ticks: u64| Duration::from_secs(ticks) / TICKS_PER_SECOND;
        Ok(Self {
            own: time(user + system),
            own_in_kernel: time(system),
            children: time(children_user + children_system),
        })
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

/// `USER_HZ`, which Linux keeps at 100 for programs whatever its own clock does.
const TICKS_PER_SECOND: u32 = 100;
