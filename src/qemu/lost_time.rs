//! Which time a QEMU could not use: it was ready to run and had no CPU, waited for a disk, or
//! was stopped. Says nothing of how long that may go on; that is [`Timer`](crate::protocol::Timer)'s.
//!
//! | sign | source | means |
//! |---|---|---|
//! | run delay of a thread grows | `schedstat` | it was starved for that long |
//! | a thread is in state R, and neither CPU time nor run delay grows | `stat`, `schedstat` | it is starved still |
//! | a thread is in state D | `stat` | it waits for a disk, or for memory that comes from one |
//! | a thread is in state T, and none in R or D | `stat` | it is stopped |
//! | CPU time grows | `schedstat`, else `stat` | it had that time, whatever else is said |
//!
//! All threads count, for the main one may sleep until another is done; and all descendants,
//! for what was started may be a debugger or a script. A QEMU that spins uses its CPU time,
//! one that sleeps is in state S: neither loses any.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::proc_stat::{Schedule, Stat, process, threads, tree};
use crate::protocol::{Lost, Meter};

/// The time lost by a QEMU, or by a thread of this program, from look to look.
pub(crate) struct LostTime {
    /// The process, and with it its descendants.
    process: Option<u32>,
    /// A thread of this program that has its part in what is waited for.
    thread: Option<PathBuf>,
    before: RefCell<Look>,
}

/// What was seen at a moment.
struct Look {
    at: Instant,
    threads: HashMap<PathBuf, Thread>,
}

/// One thread at a moment.
#[derive(Debug, Clone, Copy)]
struct Thread {
    state: char,
    ran: Duration,
    waited: Duration,
    /// The part of a wait that goes on, which was said to be lost before it is in `waited`.
    ahead: Duration,
}

impl LostTime {
    /// Of the process and its descendants.
    pub fn of_process(id: u32) -> Self {
        Self::new(Some(id), None)
    }

    /// Of the process, its descendants, and the calling thread.
    pub fn of_process_and_this_thread(id: u32) -> Self {
        Self::new(Some(id), this_thread())
    }

    /// Of this thread of this program, given by [`this_thread`].
    pub fn of_thread(folder: PathBuf) -> Self {
        Self::new(None, Some(folder))
    }

    fn new(process: Option<u32>, thread: Option<PathBuf>) -> Self {
        let before = Look { at: Instant::now(), threads: HashMap::new() };
        Self { process, thread, before: before.into() }
    }

    fn look_now(&self) -> Look {
        let processes = self.process.map(tree).unwrap_or_default();
        let folders = processes.into_iter().flat_map(|id| threads(&process(id)));
        let folders = folders.chain(self.thread.clone());
        // Who looks at itself runs at that moment, and does not wait for a CPU.
        let own = self.thread.as_ref().and_then(|_| this_thread());
        let seen = |folder: &PathBuf| {
            let thread = Thread::of(folder)?;
            let is_own = own.as_ref() == Some(folder);
            Some(Thread { state: if is_own { 'S' } else { thread.state }, ..thread })
        };
        let threads = folders.filter_map(|folder| Some((folder.clone(), seen(&folder)?)));
        Look { at: Instant::now(), threads: threads.collect() }
    }
}

/// The folder of the calling thread in `/proc`; `None` if there is no `/proc`.
pub(crate) fn this_thread() -> Option<PathBuf> {
    let link = std::fs::read_link("/proc/thread-self").ok()?;
    Some(Path::new("/proc").join(link))
}

impl Meter for LostTime {
    fn restart(&self) {
        *self.before.borrow_mut() = self.look_now();
    }

    fn look(&self) -> Lost {
        let mut now = self.look_now();
        let before = &mut *self.before.borrow_mut();
        let lost = now.since(before);
        *before = now;
        lost
    }
}

impl Thread {
    fn of(folder: &Path) -> Option<Self> {
        let stat = Stat::of(folder)?;
        let schedule = Schedule::of(folder);
        let Schedule { ran, waited } =
            schedule.unwrap_or(Schedule { ran: stat.used(), waited: Duration::ZERO });
        Some(Self { state: stat.state, ran, waited, ahead: Duration::ZERO })
    }

    /// The CPU time it had and that which it waited for one, in `passed` since `before`.
    fn since(&mut self, before: Option<&Self>, passed: Duration) -> (Duration, Duration) {
        let none = Self { state: 'S', ran: Duration::ZERO, waited: Duration::ZERO, ..*self };
        let before = before.unwrap_or(&none);
        let ran = self.ran.saturating_sub(before.ran).min(passed);
        let reported = self.waited.saturating_sub(before.waited);
        let known = reported.min(before.ahead);
        let mut waited = reported - known;
        if self.state == 'R' {
            self.ahead = before.ahead - known;
            if before.state == 'R' {
                // Neither runs nor has finished waiting: it waits.
                let pending = passed.saturating_sub(ran + waited);
                waited += pending;
                self.ahead += pending;
            }
        }
        (ran, waited.min(passed))
    }
}

impl Look {
    /// What was lost since `before`.
    fn since(&mut self, before: &Self) -> Lost {
        let passed = self.at.saturating_duration_since(before.at);
        let (mut ran, mut starved) = (Duration::ZERO, Duration::ZERO);
        let (mut waits_for_disk, mut stopped, mut active) = (false, false, false);
        for (folder, thread) in &mut self.threads {
            let (its, waited) = thread.since(before.threads.get(folder), passed);
            ran += its;
            starved += waited;
            waits_for_disk |= thread.state == 'D';
            stopped |= matches!(thread.state, 'T' | 't');
            active |= matches!(thread.state, 'R' | 'D');
        }
        // Two threads that spin on one CPU wait for each other: what ran was not lost.
        let most = passed.saturating_sub(ran);
        // A script that has started it sleeps meanwhile.
        if stopped && !active {
            return Lost { starved: Duration::ZERO, stopped: most };
        }
        let starved = if waits_for_disk { most } else { starved.min(most) };
        Lost { starved, stopped: Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn thread(state: char, ran: f64, waited: f64) -> Thread {
        let time = Duration::from_secs_f64;
        Thread { state, ran: time(ran), waited: time(waited), ahead: Duration::ZERO }
    }

    /// Looks a second apart: what each saw of the threads, and what was lost from look to look.
    fn lost(looks: &[&[Thread]]) -> Vec<Lost> {
        let begun = Instant::now();
        let look = |(number, threads): (usize, &&[Thread])| Look {
            at: begun + SECOND * number as u32,
            threads: threads
                .iter()
                .enumerate()
                .map(|(id, thread)| (PathBuf::from(id.to_string()), *thread))
                .collect(),
        };
        let mut looks = looks.iter().enumerate().map(look);
        let mut before = looks.next().expect("two looks");
        looks
            .map(|mut now| {
                let lost = now.since(&before);
                before = now;
                lost
            })
            .collect()
    }

    fn starved(looks: &[&[Thread]]) -> f64 {
        lost(looks).iter().map(|lost| lost.starved.as_secs_f64()).sum()
    }

    /// Would catch a QEMU that sleeps, or spins on a CPU of its own, given more time.
    #[test]
    fn sleeping_and_spinning_lose_nothing() {
        let sleeping = thread('S', 1.0, 5.0);
        assert_eq!(starved(&[&[sleeping], &[sleeping], &[sleeping]]), 0.0);
        let spinning = [thread('R', 1.0, 0.0)];
        assert_eq!(starved(&[&spinning, &[thread('R', 2.0, 0.0)]]), 0.0);
        // Another thread spins while the main one sleeps.
        let (before, after) = (thread('R', 0.0, 0.0), thread('R', 1.0, 0.0));
        assert_eq!(starved(&[&[sleeping, before], &[sleeping, after]]), 0.0);
        // Two threads that spin take the one CPU they have from each other.
        let (one, other) = (thread('R', 0.5, 0.5), thread('R', 0.5, 0.5));
        let none = thread('R', 0.0, 0.0);
        assert_eq!(starved(&[&[none, none], &[one, other]]), 0.0);
    }

    /// Would catch run delay that is not noticed, in the main thread or in another.
    #[test]
    fn waiting_for_a_cpu_is_lost() {
        let (before, after) = (thread('S', 0.0, 0.0), thread('S', 0.2, 0.7));
        assert!((starved(&[&[before], &[after]]) - 0.7).abs() < 1e-6);
        let main = thread('S', 0.0, 0.0);
        assert!((starved(&[&[main, before], &[main, after]]) - 0.7).abs() < 1e-6);
        // A spinning QEMU that has a third of a CPU has used that third.
        let third = thread('R', 1.0 / 3.0, 2.0 / 3.0);
        assert!((starved(&[&[thread('R', 0.0, 0.0)], &[third]]) - 2.0 / 3.0).abs() < 1e-6);
    }

    /// Would catch a wait that is not seen until it ends, or that then counts twice.
    #[test]
    fn a_wait_that_goes_on_counts_once() {
        let waits = thread('R', 0.0, 0.0);
        let looks: [&[Thread]; 5] =
            [&[waits], &[waits], &[waits], &[thread('S', 0.5, 2.4)], &[thread('S', 0.5, 2.4)]];
        let lost: Vec<f64> = lost(&looks).iter().map(|lost| lost.starved.as_secs_f64()).collect();
        let expected = [1.0, 1.0, 0.4, 0.0];
        let near = lost.iter().zip(expected).all(|(lost, expected)| (lost - expected).abs() < 1e-6);
        assert!(near, "{lost:?}");
    }

    /// Would catch a QEMU that waits for the disk called hung.
    #[test]
    fn waiting_for_a_disk_is_lost() {
        let waits = thread('D', 0.1, 0.0);
        let sleeps = thread('S', 0.0, 0.0);
        assert_eq!(starved(&[&[sleeps, waits], &[sleeps, waits]]), 1.0);
    }

    /// Would catch a stopped QEMU taken for a starved one, and one with a thread that runs on
    /// taken for stopped.
    #[test]
    fn being_stopped_is_told_apart() {
        let (stopped, sleeps) = (thread('T', 0.0, 0.0), thread('S', 0.0, 0.0));
        let all = Lost { starved: Duration::ZERO, stopped: SECOND };
        assert_eq!(lost(&[&[sleeps, sleeps], &[stopped, stopped]]), [all]);
        assert_eq!(lost(&[&[sleeps, sleeps], &[stopped, sleeps]]), [all], "behind a script");
        let (before, runs) = (thread('R', 0.0, 0.0), thread('R', 1.0, 0.0));
        assert_eq!(lost(&[&[sleeps, before], &[stopped, runs]]), [Lost::default()]);
        assert_eq!(lost(&[&[], &[]]), [Lost::default()], "gone");
    }

    /// Would catch files of `/proc` that are not found: nothing would ever be lost.
    #[test]
    fn a_process_that_is_stopped() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let id = child.id();
        let stopped = std::process::Command::new("kill").args(["-STOP", &id.to_string()]).status();
        assert!(stopped.unwrap().success());
        let begun = Instant::now();
        while Stat::of(&process(id)).is_some_and(|stat| stat.state != 'T') {
            assert!(begun.elapsed() < 10 * SECOND, "it does not stop");
            std::thread::yield_now();
        }
        let lost = LostTime::of_process_and_this_thread(id);
        assert!(this_thread().is_some_and(|folder| Thread::of(&folder).is_some()));
        lost.restart();
        let begun = Instant::now();
        std::thread::sleep(Duration::from_millis(20));
        let (passed, seen) = (begun.elapsed(), lost.look());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(seen.stopped >= passed / 2, "{seen:?} in {passed:?}");
        assert_eq!(seen.starved, Duration::ZERO);
    }

    /// Would catch a limit that grows by every moment in which this thread sleeps until an
    /// answer comes: it runs whenever it looks at itself.
    #[test]
    fn a_thread_that_sleeps_and_looks_at_itself() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let lost = LostTime::of_process_and_this_thread(child.id());
        lost.restart();
        std::thread::sleep(Duration::from_millis(20));
        // What it was kept waiting for, on a busy computer, is known to the kernel.
        let of_this_thread = || Schedule::of(&this_thread().unwrap()).unwrap_or_default().waited;
        let before = of_this_thread();
        lost.restart();
        std::thread::sleep(SECOND / 2);
        let seen = lost.look();
        let waited = of_this_thread() - before;
        child.kill().unwrap();
        child.wait().unwrap();
        let other = seen.starved.saturating_sub(waited);
        assert!(other < SECOND / 4, "{seen:?}, {waited:?} of which were waits for a CPU");
    }
}
