//! What becomes of a run on a machine that has no time for it: a QEMU that could not run is
//! waited for, one that sleeps or spins is told within its limit all the same. The emulators
//! are fakes, see `fake::emulator`, on a CPU that others keep busy.

mod fake;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fake::emulator::{IS_LATE, LATE};
use fake::{Finished, PATIENCE, Sandbox};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

fn main() -> ExitCode {
    fake::main(trials![
        a_starved_qemu_is_waited_for,
        a_qemu_that_starts_slowly_because_it_is_starved,
        a_qemu_that_sleeps_is_told_although_the_machine_is_busy,
        a_qemu_that_spins_is_told_although_the_machine_is_busy,
        a_qemu_that_was_stopped_for_a_moment,
        a_run_that_was_stopped_for_a_moment,
        a_start_that_takes_long,
    ])
}

/// The path at whose request fakes misbehave.
const PATH: &str = "*/pc/*/sdhci-tests/registers";
/// The limit of a request, in seconds.
const LIMIT: &str = "1";

/// One CPU that is kept busy until this is dropped, for a while at the most.
struct BusyCpu {
    _only: MutexGuard<'static, ()>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    others: CpuSet,
}

impl BusyCpu {
    /// Waits for its turn: several would make it several times as busy. This thread, and what it starts from now on, may use only that CPU.
    fn new() -> Self {
        static ONLY: Mutex<()> = Mutex::new(());
        let only = ONLY.lock().unwrap_or_else(PoisonError::into_inner);
        let own = Pid::from_raw(0);
        let others = sched_getaffinity(own).expect("CPUs");
        let mut used = (0..CpuSet::count()).filter(|&cpu| others.is_set(cpu).unwrap_or(false));
        let mut one = CpuSet::new();
        one.set(used.next().expect("a CPU")).expect("a CPU");
        sched_setaffinity(own, &one).expect("a CPU of ours");
        let stop = Arc::new(AtomicBool::new(false));
        let spin = |stop: Arc<AtomicBool>| {
            move || {
                let begun = Instant::now();
                while !stop.load(Ordering::Relaxed) && begun.elapsed() < PATIENCE / 3 {}
            }
        };
        let threads = (0..2).map(|_| std::thread::spawn(spin(stop.clone()))).collect();
        Self { _only: only, stop, threads, others }
    }
}

impl Drop for BusyCpu {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
        let _ = sched_setaffinity(Pid::from_raw(0), &self.others);
    }
}

/// A script that gives the fake of this role a hundredth of what others have of a CPU.
fn starved_fake(sandbox: &Sandbox, role: &str) -> PathBuf {
    let script = sandbox.at("starved").join(role).join("qemu-system-x86_64");
    let fake = sandbox.fake(role);
    fs::create_dir_all(script.parent().expect("a folder")).expect("a folder");
    let text =
        format!("#!/bin/sh\nPATH=/usr/bin:/bin exec nice -n 19 '{}' \"$@\"\n", fake.display());
    fs::write(&script, text).expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("executable");
    script
}

/// Runs the path on this emulator.
fn run(sandbox: &Sandbox, emulator: &Path, status: i32) -> (Finished, Value) {
    let arguments = ["run", "--format", "json", "--timeout", LIMIT, "--jobs", "1", PATH, "--qemu"];
    let finished = sandbox.run(sandbox.qgraph(arguments).arg(emulator)).expect(status);
    let outcome = finished.outcomes().into_values().next().expect("an outcome");
    (finished, outcome)
}

/// Would catch a QEMU called hung that has a hundredth of a CPU: it needs several seconds on
/// the wall for 30 ms of work.
fn a_starved_qemu_is_waited_for() {
    let sandbox = Sandbox::new();
    let fake = starved_fake(&sandbox, "request-work");
    let busy = BusyCpu::new();
    let (finished, outcome) = run(&sandbox, &fake, 0);
    drop(busy);
    assert_eq!(outcome["outcome"], "passed", "{finished}");
}

/// The same for its start.
fn a_qemu_that_starts_slowly_because_it_is_starved() {
    let sandbox = Sandbox::new();
    let fake = starved_fake(&sandbox, "start-work");
    let busy = BusyCpu::new();
    let (finished, outcome) = run(&sandbox, &fake, 0);
    drop(busy);
    assert_eq!(outcome["outcome"], "passed", "{finished}");
}

/// Would catch a busy machine that excuses a QEMU which asks for no CPU.
fn a_qemu_that_sleeps_is_told_although_the_machine_is_busy() {
    let sandbox = Sandbox::new();
    let fake = starved_fake(&sandbox, "request-hang");
    let busy = BusyCpu::new();
    let (finished, outcome) = run(&sandbox, &fake, 1);
    drop(busy);
    assert_eq!(outcome["outcome"], "hung", "{finished}");
    let waited = outcome["phases"]["test"].as_f64().expect("seconds");
    assert!(waited < 4.0, "{finished}");
}

/// Would catch a QEMU that spins without end and is excused because others are busy, too: at
/// an even share of the CPU it is told when it has used the limit.
fn a_qemu_that_spins_is_told_although_the_machine_is_busy() {
    let sandbox = Sandbox::new();
    let fake = sandbox.fake("request-spin");
    let busy = BusyCpu::new();
    let (finished, outcome) = run(&sandbox, &fake, 1);
    drop(busy);
    assert_eq!(outcome["outcome"], "hung", "{finished}");
    let message = outcome["message"].as_str().expect("a message");
    assert!(message.contains("another thread spins"), "{finished}");
}

/// Starts the run on a fake that answers late, and waits until it is about to.
fn late(sandbox: &Sandbox, during: impl FnOnce(Pid, Pid)) -> Finished {
    let fake = sandbox.fake("request-late");
    let arguments = ["run", "--format", "json", "--timeout", LIMIT, "--jobs", "1", PATH, "--qemu"];
    let running = sandbox.start(sandbox.qgraph(arguments).arg(&fake));
    let begun = Instant::now();
    while !fake.with_file_name(IS_LATE).exists() {
        assert!(begun.elapsed() < PATIENCE, "it does not come to the request");
        assert!(!running.is_over_within(Duration::from_millis(2)), "over before the request");
    }
    let name = fake.to_string_lossy().into_owned();
    let found = sandbox.processes().into_iter().find(|(_, line)| line.starts_with(&name));
    let (qemu, _) = found.expect("the fake runs");
    during(running.pid(), Pid::from_raw(qemu));
    running.finish()
}

fn signal(processes: &[Pid], signal: Signal) {
    processes.iter().for_each(|&process| kill(process, signal).expect("it is there"));
}

/// Waits on purpose: nobody tells when a limit that must not count has passed.
fn let_pass(time: Duration) {
    let (reader, _writer) = io::pipe().expect("a pipe");
    let mut files =
        [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(&reader), nix::poll::PollFlags::POLLIN)];
    let time = nix::poll::PollTimeout::try_from(time).expect("some seconds");
    let _ = nix::poll::poll(&mut files, time);
}

/// Would catch a QEMU called hung that somebody stopped for a moment, as a debugger does.
fn a_qemu_that_was_stopped_for_a_moment() {
    let sandbox = Sandbox::new();
    let finished = late(&sandbox, |_, qemu| {
        signal(&[qemu], Signal::SIGSTOP);
        let_pass(Duration::from_millis(1500));
        signal(&[qemu], Signal::SIGCONT);
    });
    let finished = finished.expect(0);
    assert!(finished.stdout.contains("\"passed\""), "{finished}");
}

/// Would catch a QEMU blamed for the time in which everything was stopped: a job in a
/// terminal, a container, a virtual machine.
fn a_run_that_was_stopped_for_a_moment() {
    let sandbox = Sandbox::new();
    let finished = late(&sandbox, |qgraph, qemu| {
        signal(&[qgraph, qemu], Signal::SIGSTOP);
        let_pass(Duration::from_secs(3));
        // The one whose limit is over first, the one that has not answered yet after it.
        signal(&[qgraph], Signal::SIGCONT);
        let_pass(LATE / 2);
        signal(&[qemu], Signal::SIGCONT);
    });
    let finished = finished.expect(0);
    assert!(finished.stdout.contains("\"passed\""), "{finished}");
}

/// Would catch a limit that cannot be raised for an emulator that is slow to start.
fn a_start_that_takes_long() {
    let sandbox = Sandbox::new();
    let sleeping = |machine: &str, seconds: &str| {
        let script = sandbox.at(machine).join("qemu-system-x86_64");
        fs::create_dir_all(script.parent().expect("a folder")).expect("a folder");
        let fake = sandbox.fake("healthy");
        let text = format!(
            "#!/bin/sh\nPATH=/usr/bin:/bin\ncase $* in *'-machine {machine}'*) sleep {seconds};; \
             esac\nexec '{}' \"$@\"\n",
            fake.display()
        );
        fs::write(&script, text).expect("a script");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("executable");
        script
    };
    let run = |emulator: &Path, more: &[&str], status: i32| {
        let arguments = ["run", "--format", "json", "--jobs", "1", PATH, "--timeout", "2"];
        let mut command = sandbox.qgraph(arguments);
        sandbox.run(command.args(more).arg("--qemu").arg(emulator)).expect(status)
    };
    let slow = sleeping("pc", "3");
    let finished = run(&slow, &[], 1);
    assert!(finished.stdout.contains("\"hung\""), "{finished}");
    run(&slow, &["--slow", "4"], 0);
    run(&slow, &["--slow", "inf"], 0);
}
