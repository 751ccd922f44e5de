//! Runs that are interrupted: they stop, say what was done, and leave no process and no file
//! behind, even when they are killed.
//!
//! A dozen runs are interrupted at random moments. For more, and with real emulators too:
//!
//! ```sh
//! QGRAPH_INTERRUPTS=100 cargo test --test interrupts -- --nocapture random
//! QGRAPH_INTERRUPTS=100 QGRAPH_INTERRUPTS_QEMU=/usr/bin/qemu-system-x86_64 \
//!     cargo test --test interrupts -- --nocapture random
//! ```
//!
//! `QGRAPH_INTERRUPTS_QEMU` is a list of emulators, separated by `:`. Each half of the runs
//! begins with an empty cache.

mod fake;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use fake::{Finished, PATIENCE, RUNNER, Running, Sandbox};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;

fn main() -> ExitCode {
    if fake::called() == RUNNER {
        return qgraph::harness::cargo_test(fake::PROGRAM);
    }
    fake::main(trials![
        random_moments,
        random_moments_of_the_runner,
        during_the_probe,
        during_a_request,
        a_second_signal,
        what_is_ignored,
        killed_during_a_request,
        the_runner_killed_during_a_request,
        while_a_file_is_waited_for,
        while_a_compiler_runs,
        a_script_that_forks,
    ])
}

/// Waits until `done`, or until the run is over.
fn until(running: &Running, what: &str, done: impl Fn(&Running) -> bool) {
    let begun = Instant::now();
    while !done(running) {
        assert!(begun.elapsed() < PATIENCE, "waited for {what}");
        assert!(!running.is_over_within(Duration::from_millis(2)), "over before {what}");
    }
}

/// A fake emulator that hangs at a request on `pc`, and the command that runs it.
fn hanging(sandbox: &Sandbox) -> Command {
    let fake = sandbox.fake("request-hang");
    // Each path is final when its QEMU has ended.
    let arguments = ["run", "--jobs", "2", "--fresh", "sdhci-tests/", "--qemu"];
    let mut command = sandbox.qgraph(arguments);
    command.arg(fake);
    command
}

/// Would catch a signal during the probe that is taken for a fault of the emulator: told as
/// one, with the wrong exit status, or remembered.
fn during_the_probe() {
    let sandbox = Sandbox::new();
    let fake = sandbox.fake("probe-hang");
    for (count, (signal, status)) in
        [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)]
            .into_iter()
            .enumerate()
    {
        let running = sandbox.start(sandbox.qgraph(["run", "--qemu"]).arg(&fake));
        until(&running, "the probe", |_| sandbox.launches(&fake).len() == count + 1);
        running.signal(signal);
        let finished = running.finish().expect(status).silent();
        assert!(!finished.stderr.contains("qemu-system"), "no word about it: {finished}");
        finished.says(&["stopped before anything ran"]);
    }
    assert!(sandbox.files("cache").is_empty());
    // A listing has nothing to say; it just ends, and the emulator with it.
    let running = sandbox.start(sandbox.qgraph(["list", "--qemu"]).arg(&fake));
    until(&running, "the probe", |_| sandbox.launches(&fake).len() == 4);
    running.signal(Signal::SIGTERM);
    assert_eq!(running.finish().status.signal(), Some(15));
}

/// Would catch a signal that does not end a request at once, is taken for a crash of QEMU,
/// or takes what was done with it.
fn during_a_request() {
    for (signal, status) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let sandbox = Sandbox::new();
        let count = sandbox
            .run(sandbox.qgraph(["list", "sdhci-tests/", "--qemu"]).arg(sandbox.fake("healthy")));
        let count = count.expect(0).stdout.lines().count();
        let running = sandbox.start(&mut hanging(&sandbox));
        // One worker hangs, the other has done all the rest.
        until(&running, "the other paths", |run| run.stdout().lines().count() == count - 1);
        assert!(!sandbox.processes().is_empty());
        running.signal(signal);
        let finished = running.finish().expect(status);
        let lines: Vec<&str> = finished.stdout.lines().collect();
        let passed = lines.iter().filter(|line| line.starts_with("passed ")).count();
        assert_eq!(passed, count - 1, "{finished}");
        let summary = format!("{passed} passed, 1 not run, the run was stopped");
        assert_eq!(lines.last(), Some(&&*summary), "{finished}");
        assert!(!finished.stdout.contains("crashed"), "{finished}");
    }
}

/// Would catch a program that cannot be stopped while nobody reads its report.
fn a_second_signal() {
    let sandbox = Sandbox::new();
    // Its failure is more than a pipe holds.
    let fake = sandbox.fake("request-floodfail");
    let (mut reader, writer) = io::pipe().expect("a pipe");
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).expect("a small pipe");
    let mut command = sandbox.qgraph(["run", "sdhci-tests/registers", "--qemu"]);
    let running = sandbox.start_with(command.arg(fake), Some(writer.into()), None);
    // The report has begun, and will not end.
    reader.read_exact(&mut [0; 1000]).expect("the report");
    let begun = Instant::now();
    while !running.is_over_within(Duration::from_millis(20)) {
        assert!(begun.elapsed() < PATIENCE, "it cannot be stopped");
        running.signal(Signal::SIGTERM);
    }
    running.finish().expect(143);
}

/// Would catch a run that ends with its terminal although it was started by `nohup`.
fn what_is_ignored() {
    let sandbox = Sandbox::new();
    let run = hanging(&sandbox);
    let mut command = sandbox.command("/bin/sh");
    command.args(["-c", "trap '' HUP INT; exec \"$@\"", "sh"]).arg(run.get_program());
    let running = sandbox.start(command.args(run.get_args()));
    until(&running, "a path", |run| run.stdout().contains("/x86_64/q35/"));
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
        running.signal(signal);
    }
    // The first that counts says the status.
    running.finish().expect(143);
}

/// Would catch QEMUs that outlive a program that could not end them itself.
fn killed_during_a_request() {
    let sandbox = Sandbox::new();
    let fake = sandbox.at("request-hang/qemu-system-x86_64");
    let running = sandbox.start(&mut hanging(&sandbox));
    // In its process and its transcript alike it now hangs: all others are over.
    until(&running, "a path", |run| run.stdout().contains("/x86_64/q35/"));
    assert!(sandbox.processes().iter().any(|(_, line)| line.contains(&*fake.to_string_lossy())));
    running.signal(Signal::SIGKILL);
    assert_eq!(running.finish().status.signal(), Some(9));
}

/// Would catch QEMUs that outlive the runner of `cargo test`, which does not watch signals.
fn the_runner_killed_during_a_request() {
    let sandbox = Sandbox::new();
    let fake = sandbox.fake("request-hang");
    let runner = sandbox.fake_at(Path::new(RUNNER));
    for signal in [Signal::SIGKILL, Signal::SIGINT, Signal::SIGTERM] {
        let before = sandbox.launches(&fake).len();
        let mut command = sandbox.command(&runner);
        command.args(["sdhci-tests/registers", "--test-threads", "2"]);
        let running = sandbox.start(command.env("QTEST_QEMU_BINARY", &fake));
        until(&running, "its emulators", |_| {
            sandbox.launches(&fake).len() > before && sandbox.processes().len() > 1
        });
        running.signal(signal);
        assert_eq!(running.finish().status.signal(), Some(signal as i32));
    }
}

/// Would catch a first signal that is lost while a file is read to which nobody writes.
fn while_a_file_is_waited_for() {
    let sandbox = Sandbox::new();
    let fifo = sandbox.at("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let fake = sandbox.fake("healthy");
    let mut command = sandbox.qgraph(["run", "--expectations"]);
    let running = sandbox.start(command.arg(&fifo).arg("--qemu").arg(fake));
    until(&running, "the file", |run| {
        let folder = Path::new("/proc").join(run.pid().to_string());
        let waits_in = fs::read_to_string(folder.join("wchan")).unwrap_or_default();
        // Signals are watched by then.
        waits_in.contains("fifo")
            || fs::read_dir(folder.join("task")).is_ok_and(|it| it.count() > 1)
    });
    running.signal(Signal::SIGTERM);
    running.finish().expect(143).silent().says(&["stopped before anything ran"]);
}

/// Would catch a first signal that is lost while a compiler makes the accelerator, and a
/// compiler or a folder of its that is left behind.
fn while_a_compiler_runs() {
    let sandbox = Sandbox::new();
    let write = |name: &str, bytes: &[u8]| {
        let path = sandbox.at(name);
        fs::write(&path, bytes).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("permissions");
        path
    };
    // For an emulator with these words in its file, a module is made.
    let emulator = [
        &b"#!/bin/sh\nexit 3\n\0QEMU emulator version 7.2.0\0qemu_stamp_"[..],
        &[b'0'; 40],
        b"\0accel-qtest-x86_64\0",
    ];
    let emulator = write("qemu-system-x86_64", &emulator.concat());
    let begun = sandbox.at("begun");
    let text = format!("#!/bin/sh\n: >'{}'\nsleep 1000 & wait\n", begun.display());
    let compiler = write("slow-cc", text.as_bytes());
    let mut command = sandbox.qgraph(["run", "--qemu"]);
    command.arg(emulator).env("CC", compiler).env("PATH", "/usr/bin:/bin");
    let running = sandbox.start(&mut command);
    until(&running, "the compiler", |_| begun.exists());
    running.signal(Signal::SIGTERM);
    running.finish().expect(143).silent().says(&["stopped before anything ran"]);
}

/// Would catch a QEMU that outlives a script which has started it without becoming it, however
/// the run ends.
fn a_script_that_forks() {
    let cases = [("", Signal::SIGTERM), ("", Signal::SIGKILL), ("setsid ", Signal::SIGTERM)];
    for (how, signal) in cases {
        let sandbox = Sandbox::new();
        let fake = sandbox.fake("request-hang");
        let script = sandbox.at("qemu-system-x86_64");
        let text =
            format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{how}'{}' \"$@\" &\nwait\n", fake.display());
        fs::write(&script, text).expect("a script");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("permissions");
        let mut command = sandbox.qgraph(["run", "--jobs", "2", "--fresh", "sdhci-tests/"]);
        let running = sandbox.start(command.arg("--qemu").arg(script));
        until(&running, "a path", |run| run.stdout().contains("/x86_64/q35/"));
        until(&running, "QEMU", |_| {
            let name = fake.to_string_lossy();
            sandbox.processes().iter().any(|(_, line)| line.starts_with(&*name))
        });
        running.signal(signal);
        // Makes sure that no process is left.
        let status = running.finish().status;
        let expected = if signal == Signal::SIGKILL { None } else { Some(143) };
        assert_eq!(status.code(), expected);
    }
}

/// How many runs are interrupted at random moments.
fn count() -> usize {
    let wanted = std::env::var("QGRAPH_INTERRUPTS").ok();
    wanted.map_or(12, |text| text.parse().expect("QGRAPH_INTERRUPTS is a number"))
}

/// What is in the folder of shared memory that may be ours.
fn shared_memory() -> BTreeSet<OsString> {
    let entries = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name());
    names
        .filter(|name| ["qgraph", "qemu"].iter().any(|own| name.to_string_lossy().contains(own)))
        .collect()
}

/// Interrupts `command` again and again, each signal in turn, at moments from its start to
/// its usual end; `check` judges how it ended.
fn interrupt(sandbox: &Sandbox, mut command: Command, check: impl Fn(Signal, &Finished)) {
    let begun = Instant::now();
    sandbox.run(&mut command);
    let mut usual = begun.elapsed();
    let before = shared_memory();
    let (mut over, mut interrupted, mut done) = (0, 0, 0);
    while interrupted < count() {
        if interrupted % 2 == 0 {
            fs::remove_dir_all(sandbox.at("cache")).expect("an empty cache");
            fs::create_dir(sandbox.at("cache")).expect("a cache");
        }
        let signal = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL][interrupted / 2 % 3];
        let share = RandomState::new().hash_one(interrupted) as u32;
        let moment = usual.mul_f64(f64::from(share) / f64::from(u32::MAX));
        let begun = Instant::now();
        let running = sandbox.start(&mut command);
        if running.is_over_within(moment) {
            // It does not count; the next moment comes earlier.
            (over, usual) = (over + 1, usual.min(begun.elapsed()));
            assert!(over < 10 * count(), "too short to be interrupted");
        } else {
            running.signal(signal);
            interrupted += 1;
        }
        let finished = running.finish();
        done += finished.stdout.matches("passed ").count();
        check(signal, &finished);
    }
    let left: Vec<_> = shared_memory().difference(&before).cloned().collect();
    assert!(left.is_empty(), "left in /dev/shm: {left:?}");
    println!(
        "{interrupted} runs of some {usual:.1?} interrupted, {over} were over before; {done} \
         paths had passed; no process and no file left"
    );
}

/// The emulators of a run: real ones if they are named.
fn emulators(sandbox: &Sandbox, command: &mut Command) {
    if let Some(real) = std::env::var_os("QGRAPH_INTERRUPTS_QEMU") {
        command.env("QTEST_QEMU_BINARY", real);
        // Their accelerator may have to be compiled, or lie where somebody has put it.
        for variable in ["PATH", "QEMU_MODULE_DIR"] {
            if let Some(value) = std::env::var_os(variable) {
                command.env(variable, value);
            }
        }
    } else {
        let fakes = ["one", "two", "three"].map(|role| sandbox.fake(role));
        command.env("QTEST_QEMU_BINARY", std::env::join_paths(fakes).expect("a list"));
    }
}

/// Would catch a moment at which a signal leaves something behind, is lost, or ends the
/// program without a word of what was done.
fn random_moments() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.qgraph(["run", "--jobs", "3", "sdhci-tests/"]);
    emulators(&sandbox, &mut command);
    interrupt(&sandbox, command, |signal, finished| {
        assert!(!finished.stderr.contains("panicked"), "{finished}");
        let number = signal as i32;
        // Before it watches signals, and when nothing can be done, it is killed by them; after
        // its last path it has passed.
        match (finished.status.code(), finished.status.signal()) {
            (None, by) => assert_eq!(by, Some(number), "{finished}"),
            (Some(0), _) => assert!(!finished.stdout.contains("not run"), "{finished}"),
            (Some(status), _) => {
                assert_eq!(status, 128 + number, "{finished}");
                let lines: Vec<&str> = finished.stdout.lines().collect();
                let passed = lines.iter().filter(|line| line.starts_with("passed ")).count();
                let summary = lines.last().copied().unwrap_or_default();
                let told = summary.starts_with(&format!("{passed} passed"))
                    || passed == 0 && summary.contains(" not run, the run was stopped")
                    || lines.is_empty() && finished.stderr.contains("stopped before anything ran");
                assert!(told, "what was done is not told: {finished}");
            }
        }
        for word in ["failed ", "crashed ", "hung "] {
            assert!(!finished.stdout.contains(word), "no fault of QEMU: {finished}");
        }
    });
}

/// The same for the runner of `cargo test`, which lets signals end it.
fn random_moments_of_the_runner() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(sandbox.fake_at(Path::new(RUNNER)));
    emulators(&sandbox, command.arg("sdhci-tests/"));
    interrupt(&sandbox, command, |signal, finished| match finished.status.code() {
        None => assert_eq!(finished.status.signal(), Some(signal as i32), "{finished}"),
        Some(status) => assert_eq!(status, 0, "{finished}"),
    });
}
