//! What the kernel says of processes and threads in `/proc` (proc(5)): their state, the CPU
//! time they have used, and how long they have waited for a CPU. It reads and parses; what
//! follows from that is decided elsewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Ticks of `/proc/…/stat` in a second: `USER_HZ`, which Linux keeps at 100 for programs on
/// all architectures that QEMU is used on, whatever its own clock does.
const TICKS_PER_SECOND: u32 = 100;

/// How many processes of one tree are looked at: a debugger, a shell and QEMU are three.
const MOST_PROCESSES: usize = 32;

/// One line of `/proc/…/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// `R` (runs or waits for a CPU), `S` (sleeps), `D` (waits for a disk), `T` (stopped), …
    pub state: char,
    /// CPU time outside the kernel.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// CPU time, in and outside the kernel, of children that have ended and were waited for,
    /// and of theirs.
    pub children: Duration,
}

impl Stat {
    /// The process or thread with this folder in `/proc`; `None` if it is gone.
    pub fn of(folder: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(folder.join("stat")).ok()?)
    }

    fn parse(line: &str) -> Option<Self> {
        // The second field is a name, which may hold anything; no `)` comes after it.
        let (_, fields) = line.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let time = |field: usize| {
            let ticks = fields.get(field)?.parse().ok()?;
            Some(Duration::from_secs(ticks) / TICKS_PER_SECOND)
        };
        Some(Self {
            state: fields.first()?.chars().next()?,
            user: time(11)?,
            system: time(12)?,
            children: time(13)? + time(14)?,
        })
    }

    /// CPU time in and outside the kernel.
    pub fn used(&self) -> Duration {
        self.user + self.system
    }
}

/// What `/proc/…/schedstat` says of a thread. A kernel without `CONFIG_SCHED_INFO` has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Schedule {
    /// The CPU time it has used, to the nanosecond.
    pub ran: Duration,
    /// The time for which it was ready to run and had no CPU. A wait that lasts is not in it
    /// before it ends.
    pub waited: Duration,
}

impl Schedule {
    /// The thread with this folder in `/proc`.
    pub fn of(folder: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(folder.join("schedstat")).ok()?)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_whitespace();
        let mut time = || Some(Duration::from_nanos(fields.next()?.parse().ok()?));
        Some(Self { ran: time()?, waited: time()? })
    }
}

/// The folder of a process.
pub(crate) fn process(id: u32) -> PathBuf {
    Path::new("/proc").join(id.to_string())
}

/// The folders of the threads of a process; none if it is gone.
pub(crate) fn threads(process: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(process.join("task")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// The children of a process. A kernel without `CONFIG_PROC_CHILDREN` tells none.
pub(crate) fn children(process: &Path) -> Vec<u32> {
    let mut found = Vec::new();
    for thread in threads(process) {
        let listed = fs::read_to_string(thread.join("children")).unwrap_or_default();
        found.extend(listed.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
    }
    found
}

/// A process and all its descendants, as far as they are told.
pub(crate) fn tree(id: u32) -> Vec<u32> {
    let mut found = vec![id];
    let mut next = 0;
    while let Some(&id) = found.get(next).filter(|_| found.len() < MOST_PROCESSES) {
        found.extend(children(&process(id)));
        next += 1;
    }
    found
}

/// Whether a process is there and neither stopped nor at its end.
pub(crate) fn is_running(id: u32) -> bool {
    Stat::of(&process(id)).is_some_and(|stat| !matches!(stat.state, 'T' | 't' | 'Z' | 'X'))
}

/// The CPU time that a process and its descendants have used, with that of those which were
/// waited for.
pub(crate) fn used_by_tree(id: u32) -> Duration {
    let stats = tree(id).into_iter().filter_map(|id| Stat::of(&process(id)));
    stats.map(|stat| stat.used() + stat.children).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch fields counted from the wrong end of a name with blanks and brackets, or
    /// user, system and children's time taken for one another.
    #[test]
    fn the_fields_of_stat() {
        let line = "12 (a) S b) R 1 12 12 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 1 0 99\n";
        let ticks = |count: u64| Duration::from_millis(10 * count);
        let expected =
            Stat { state: 'R', user: ticks(150), system: ticks(50), children: ticks(15) };
        assert_eq!(Stat::parse(line), Some(expected));
        assert_eq!(Stat::parse("12 (a"), None);
        assert_eq!(Stat::parse(""), None);
    }

    /// Would catch the time of running taken for that of waiting.
    #[test]
    fn the_fields_of_schedstat() {
        let (ran, waited) = (Duration::from_nanos(12), Duration::from_secs(3));
        assert_eq!(Schedule::parse("12 3000000000 7\n"), Some(Schedule { ran, waited }));
        assert_eq!(Schedule::parse("12"), None);
    }

    /// Would catch files that are looked for in the wrong place, and a child that is missed.
    #[test]
    fn this_process_and_its_child() {
        let own = process(std::process::id());
        assert!(Stat::of(&own).is_some_and(|stat| stat.used() < Duration::from_secs(86400)));
        assert!(!threads(&own).is_empty());
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let found = tree(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        // Where the kernel tells no children, only the process itself is known.
        let told = threads(&own).iter().any(|thread| thread.join("children").exists());
        assert!(found.contains(&child.id()) || !told, "{found:?}");
        assert_eq!(Stat::of(&process(child.id())), None);
    }
}
