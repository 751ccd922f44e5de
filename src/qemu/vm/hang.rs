//! What a QEMU that gives no answer is doing: what its monitor says, if it still speaks, and
//! what the kernel tells of its threads. In words, for people.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::Vm;
use crate::qemu::proc_stat::{Stat, children, process as folder, threads};

/// How long the monitor may take for each question.
const MONITOR: Duration = Duration::from_millis(500);
/// For how long threads are watched at least: the kernel counts their time in ticks of
/// 10 ms.
const WATCHED: Duration = Duration::from_millis(200);

impl Vm {
    /// What QEMU is doing while it gives no answer: whether its monitor still speaks, and
    /// whether its main thread runs or sleeps, and where. Takes up to a second. It is not
    /// recorded, and the limits of time are as before afterwards.
    pub fn doing(&self) -> String {
        let mut monitor = String::new();
        let process = self.process.borrow().id();
        let threads = self.briefly(|| watch(process, || monitor = self.monitor_says()));
        format!("{threads}; {monitor}")
    }

    /// Does something with QEMU that is not recorded and has a short limit, of its own.
    pub(super) fn briefly<T>(&self, act: impl FnOnce() -> T) -> T {
        self.transcript.set_tap(None);
        let (limit, end) = (self.deadline.limit(), self.deadline.end());
        self.deadline.set_limit(MONITOR);
        self.deadline.set_end(None);
        let done = act();
        self.deadline.set_limit(limit);
        self.deadline.set_end(end);
        done
    }

    fn monitor_says(&self) -> String {
        let status = match self.qmp.execute("query-status", Value::Null) {
            Ok(status) => status,
            Err(crate::protocol::Error::Qmp { .. }) => return "its monitor answers".to_owned(),
            Err(_) => return "its monitor does not answer either".to_owned(),
        };
        let status = status["status"].as_str().unwrap_or("of no known status");
        let mut said = format!("its monitor answers, the machine is {status}");
        let drives = self.qmp.execute("query-block", Value::Null).unwrap_or_default();
        for drive in drives.as_array().into_iter().flatten() {
            let text = |key: &str| drive[key].as_str().unwrap_or_default();
            if !matches!(text("io-status"), "" | "ok") {
                said.push_str(&format!(", the drive {} {}", text("device"), text("io-status")));
            }
        }
        said
    }
}

/// What the threads of `process` do while `meanwhile` runs, and for a moment at least.
pub(in crate::qemu) fn watch(process: u32, meanwhile: impl FnOnce()) -> String {
    let process = innermost(process);
    let (before, begun) = (Threads::of(process), Instant::now());
    meanwhile();
    std::thread::sleep(WATCHED.saturating_sub(begun.elapsed()));
    match before.zip(Threads::of(process)) {
        Some((before, after)) => after.since(&before, begun.elapsed()),
        None => "it has ended".to_owned(),
    }
}

/// Interrupts the emulator that `process` is, or has started.
pub(super) fn interrupt(process: u32) {
    // It may have ended.
    let _ = kill(Pid::from_raw(innermost(process) as i32), Signal::SIGINT);
}

/// The emulator, where `process` is a script that started it.
pub(super) fn innermost(mut process: u32) -> u32 {
    // A script that starts a script that …
    for _ in 0..8 {
        let program = fs::read_link(folder(process).join("exe")).unwrap_or_default();
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_alive = |child: &u32| Stat::of(&folder(*child)).is_some_and(|it| it.state != 'Z');
        let mut alive = children(&folder(process)).into_iter().filter(is_alive);
        match (alive.next(), alive.next()) {
            (Some(child), None) if !name.starts_with("qemu") => process = child,
            _ => break,
        }
    }
    process
}

/// The threads of a process at a moment.
#[derive(Debug, Clone)]
struct Threads {
    /// What the main one does.
    state: char,
    /// Whether another one runs, or would if it had a CPU.
    another_runs: bool,
    /// Where in the kernel it waits; empty if that is not told.
    waits_in: String,
    /// The CPU time of the main one so far, in seconds.
    main: f64,
    /// The CPU time of all so far, in seconds.
    all: f64,
}

impl Threads {
    fn of(process: u32) -> Option<Self> {
        let main = folder(process).join(format!("task/{process}"));
        let Stat { state, .. } = Stat::of(&main)?;
        let used = |folder: &Path| Some(Stat::of(folder)?.used().as_secs_f64());
        let (main_time, all) = (used(&main)?, used(&folder(process))?);
        let waits_in = fs::read_to_string(main.join("wchan")).unwrap_or_default();
        let waits_in = waits_in.trim().trim_matches('0').to_owned();
        let runs = |thread: &Path| Stat::of(thread).is_some_and(|stat| stat.state == 'R');
        let threads = threads(&folder(process));
        let another_runs = threads.iter().filter(|it| **it != main).any(|it| runs(it));
        Some(Self { state, another_runs, waits_in, main: main_time, all })
    }

    /// What happened in `time` since `before`.
    fn since(&self, before: &Self, time: Duration) -> String {
        // A busy computer gives it only a part of a CPU, or none for a while.
        let (main, all) = (self.main - before.main, (self.all - before.all).max(0.0));
        let much = time.as_secs_f64() / 10.0;
        let main_runs = main > much || (before.state, self.state) == ('R', 'R');
        let another_runs = all - main > much || before.another_runs && self.another_runs;
        // It was woken up by what the monitor was asked.
        let was_woken = self.state == 'R' && !main_runs;
        let state = if was_woken { before.state } else { self.state };
        let place = match &*(if was_woken { before } else { self }).waits_in {
            "" => String::new(),
            place => format!(" in {place}"),
        };
        let mut said = match state {
            'T' | 't' => "QEMU is stopped, by a signal or a debugger".to_owned(),
            'Z' | 'X' => "QEMU has ended".to_owned(),
            _ if main_runs => "QEMU's main thread spins".to_owned(),
            'D' => format!("QEMU's main thread waits for a device of this computer{place}"),
            'S' | 'I' if place.contains("poll") => {
                format!("QEMU's main thread sleeps{place}, as when it waits for something to do")
            }
            'S' | 'I' => format!("QEMU's main thread sleeps{place}"),
            _ => "QEMU's main thread runs and sleeps".to_owned(),
        };
        if another_runs {
            said.push_str(", another thread spins");
        }
        said.push_str(&format!(" ({all:.2} s of CPU time in {:.2} s)", time.as_secs_f64()));
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(state: char, waits_in: &str, main: f64, all: f64) -> String {
        let waits_in = waits_in.to_owned();
        let before = Threads { state, another_runs: false, waits_in, main: 1.0, all: 2.0 };
        let after = Threads { main: 1.0 + main, all: 2.0 + all, ..before.clone() };
        after.since(&before, Duration::from_millis(500))
    }

    /// Catches a QEMU that sleeps taken for one that spins, or the reverse.
    #[test]
    fn spinning_and_sleeping_are_told_apart() {
        assert_eq!(
            said('R', "", 0.0, 0.0),
            "QEMU's main thread spins (0.00 s of CPU time in 0.50 s)"
        );
        assert!(said('S', "", 0.4, 0.4).starts_with("QEMU's main thread spins (0.40 s"));
        assert_eq!(
            said('S', "futex_wait_queue", 0.0, 0.3),
            "QEMU's main thread sleeps in futex_wait_queue, another thread spins (0.30 s of CPU \
             time in 0.50 s)"
        );
        assert!(said('S', "do_sys_poll", 0.0, 0.0).contains("waits for something to do"));
        assert!(said('T', "do_signal_stop", 0.0, 0.0).starts_with("QEMU is stopped"));
        assert!(said('D', "io_schedule", 0.0, 0.0).contains("device of this computer in io_sch"));
    }

    /// Catches files of `/proc` that are not found, and a process that sleeps called busy.
    #[test]
    fn a_process_that_sleeps() {
        let vm = Vm::fake().unwrap();
        let said = vm.doing();
        assert!(said.starts_with("QEMU's main thread sleeps"), "{said}");
        assert!(said.ends_with("its monitor does not answer either"), "{said}");
    }
}
