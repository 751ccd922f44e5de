//! What starts QEMU: wrappers by `--wrapper` and by `QTEST_QEMU_BINARY`, debuggers on a terminal,
//! wrappers that leave QEMU behind, and QEMUs that are kept. The emulators are fakes, see
//! `fake::emulator`, and so are the wrappers: scripts.

mod fake;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fake::{Finished, REGISTERS, Sandbox};
use nix::pty::{OpenptyResult, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

fn main() -> ExitCode {
    fake::main(trials![
        a_wrapper_starts_every_qemu,
        a_wrapper_in_the_environment,
        what_cannot_be_a_wrapper,
        a_wrapper_that_takes_its_time,
        a_wrapper_that_does_not_work,
        a_wrapper_that_forks,
        a_wrapper_that_does_not_wait,
        a_debugger_has_the_terminal,
        a_debugger_that_reads_nothing,
        a_replay_behind_a_wrapper,
        a_slow_replay,
        a_qemu_is_kept,
        as_many_as_are_wanted_are_kept,
        nothing_is_there_to_be_kept,
        a_run_that_keeps_is_killed,
    ])
}

/// The suite of which fakes know enough.
const SUITE: &str = "*/pc/*/sdhci-tests/*";

/// An executable script in the sandbox.
fn script(sandbox: &Sandbox, name: &str, text: &str) -> PathBuf {
    let path = sandbox.at("wrappers").join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(&path, format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{text}\n")).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
    path
}

/// A script that writes down its arguments, and becomes what they say.
fn tracer(sandbox: &Sandbox) -> (PathBuf, PathBuf) {
    let log = sandbox.at("trace");
    let text = format!("echo \"$@\" >>'{}'\nshift\nexec \"$@\"", log.display());
    (script(sandbox, "tracer", &text), log)
}

fn run(sandbox: &Sandbox, wrapper: &str, fake: &Path, more: &[&str]) -> Finished {
    let mut command = sandbox.qgraph(["run", "--format", "json", "--wrapper", wrapper]);
    sandbox.run(command.args(more).arg("--qemu").arg(fake))
}

fn lines(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn count(finished: &Finished, outcome: &str) -> usize {
    finished.outcomes().values().filter(|it| it["outcome"] == outcome).count()
}

/// Would catch a wrapper that is lost, split wrongly, or does not hand on QEMU's sockets and
/// files.
fn a_wrapper_starts_every_qemu() {
    for role in ["healthy", "old"] {
        let sandbox = Sandbox::new();
        let (tracer, log) = tracer(&sandbox);
        let fake = sandbox.fake(role);
        let wrapper = format!("'{}' 'a b'", tracer.display());
        let finished = run(&sandbox, &wrapper, &fake, &[SUITE]).expect(0);
        assert!(count(&finished, "passed") >= 5, "{finished}");
        let traced = lines(&log);
        let beginning = format!("a b {} ", fake.display());
        assert!(traced.iter().all(|line| line.starts_with(&beginning)), "{traced:#?}");
        let started = sandbox.launches(&fake).iter().filter(|machine| *machine == "pc").count();
        let with_machine = traced.iter().filter(|line| line.contains("-machine pc")).count();
        assert_eq!(with_machine, started, "{traced:#?}");
    }
}

/// Would catch a `QTEST_QEMU_BINARY` as QEMU's own documentation has it that is taken for a
/// file, and one that loses words in silence.
fn a_wrapper_in_the_environment() {
    let sandbox = Sandbox::new();
    let (tracer, log) = tracer(&sandbox);
    let fake = sandbox.fake("healthy");
    let value = format!("'{}' x:y '{}'", tracer.display(), fake.display());
    let mut command = sandbox.qgraph(["run", "--format", "json", "--exact", REGISTERS]);
    let finished = sandbox.run(command.env("QTEST_QEMU_BINARY", &value)).expect(0);
    assert_eq!(count(&finished, "passed"), 1, "{finished}");
    assert!(lines(&log).iter().any(|line| line.contains("-machine pc")), "{finished}");
    // A list starts nothing, behind a wrapper or not.
    let before = lines(&log).len();
    sandbox.run(sandbox.qgraph(["list"]).env("QTEST_QEMU_BINARY", &value)).expect(0);
    assert_eq!(lines(&log).len(), before);
    let more = format!("{value} -m 1G");
    let finished = sandbox.run(command.env("QTEST_QEMU_BINARY", &more)).expect(2).silent();
    finished.says(&["QTEST_QEMU_BINARY: ", "`-m 1G` stands behind the emulator"]);
    let no_wrapper = format!("no-such-wrapper '{}'", fake.display());
    let finished = sandbox.run(command.env("QTEST_QEMU_BINARY", &no_wrapper)).expect(2).silent();
    finished.says(&["the wrapper `no-such-wrapper` cannot be run: no such program is on PATH"]);
}

/// Would catch a wrapper that cannot be run and is told path by path, or as a fault of QEMU.
fn what_cannot_be_a_wrapper() {
    let sandbox = Sandbox::new();
    let fake = sandbox.fake("healthy");
    let file = sandbox.at("file");
    fs::write(&file, "").expect("a file");
    let file = file.to_string_lossy().into_owned();
    for (wrapper, why) in [
        ("no-such-wrapper -x", "`no-such-wrapper` cannot be run: no such program is on PATH"),
        ("/no/such/wrapper", "`/no/such/wrapper` cannot be run: no such file"),
        (&*file, "cannot be run: it is not executable"),
        ("sh -c '", "a quote or a backslash has no end"),
        ("", "a program and its arguments"),
    ] {
        let finished = run(&sandbox, wrapper, &fake, &[SUITE]).expect(2).silent();
        finished.says(&["error: --wrapper: ", why]);
    }
    assert!(sandbox.launches(&fake).is_empty(), "nothing is started for it");
}

/// Would catch a QEMU called hung because its wrapper needs longer to start it than a request
/// may take.
fn a_wrapper_that_takes_its_time() {
    let sandbox = Sandbox::new();
    let slow = script(&sandbox, "slow", "sleep 3\nexec \"$@\"");
    let fake = sandbox.fake("healthy");
    let slow = slow.to_string_lossy();
    let finished = run(&sandbox, &slow, &fake, &["--timeout", "2", "--exact", REGISTERS]);
    assert_eq!(count(&finished.expect(0), "passed"), 1);
}

/// Would catch a wrapper that fails at every start and is blamed on QEMU, path by path.
fn a_wrapper_that_does_not_work() {
    let sandbox = Sandbox::new();
    let broken = script(&sandbox, "broken", "echo 'wrapper: no licence' >&2\nexit 4");
    let broken = broken.to_string_lossy();
    let fake = sandbox.fake("healthy");
    let finished = run(&sandbox, &broken, &fake, &[SUITE]).expect(2).silent();
    let words = ["behind the wrapper `", "exited with status 4", "wrapper: no licence"];
    finished.says(&words);
    assert_eq!(sandbox.launches(&fake), ["none"], "it is probed without");
}

/// Would catch a QEMU that outlives a wrapper which has started it in a process group of its
/// own, however the run ends.
fn a_wrapper_that_forks() {
    let sandbox = Sandbox::new();
    let forks = script(&sandbox, "forks", "setsid \"$@\" &\nwait");
    let fake = sandbox.fake("healthy");
    let finished = run(&sandbox, &forks.to_string_lossy(), &fake, &[SUITE]).expect(0);
    assert!(count(&finished, "passed") >= 5, "{finished}");
}

/// Would catch a QEMU that stays behind although its wrapper has ended, and one that is blamed
/// for that.
fn a_wrapper_that_does_not_wait() {
    let sandbox = Sandbox::new();
    let leaves = script(&sandbox, "leaves", "setsid \"$@\" &\nexit 0");
    let fake = sandbox.fake("healthy");
    let finished = run(&sandbox, &leaves.to_string_lossy(), &fake, &[SUITE]).expect(2).silent();
    finished.says(&["exited with status 0 while QEMU ran on; it must wait for QEMU's end"]);
}

/// Would catch several debuggers at once, a limit of time that ends one, and one that has no
/// terminal to read from.
fn a_debugger_has_the_terminal() {
    let sandbox = Sandbox::new();
    let log = sandbox.at("trace");
    // It reads a line before each start, and tells of its beginning and its end.
    let text = format!(
        "read -r line || line=none\necho \"begins $line $(tty)\" >>'{0}'\nshift\n\"$@\" <&-\n\
         echo ends >>'{0}'",
        log.display()
    );
    let gdb = script(&sandbox, "gdb", &text);
    let fake = sandbox.fake("healthy");
    let OpenptyResult { master, slave } = openpty(None, None).expect("a terminal");
    let mut keyboard = File::from(master);
    keyboard.write_all(b"go\n".repeat(40).as_slice()).expect("typed");
    let wrapper = format!("{} --args", gdb.display());
    // The program is the first of its session, and in front on that terminal.
    let mut command = sandbox.command("/usr/bin/setsid");
    command.args(["--ctty", env!("CARGO_BIN_EXE_qgraph"), "run", "--format", "json"]);
    command.args(["--wrapper", &wrapper, "--jobs", "2", "--timeout", "1", SUITE, "--qemu"]);
    let finished = sandbox.run(command.arg(&fake).stdin(slave)).expect(0);
    drop(keyboard);
    let ran = finished.outcomes().len();
    let traced = lines(&log);
    assert_eq!(traced.len(), 2 * ran, "each path has its own: {traced:#?}\n{finished}");
    for two in traced.chunks(2) {
        assert!(two[0].starts_with("begins go /dev/pts/"), "{traced:#?}");
        assert_eq!(two[1], "ends", "{traced:#?}");
    }
}

/// Would catch a debugger without a terminal that is waited for without end, and a failure
/// that ends it before its user has seen anything.
fn a_debugger_that_reads_nothing() {
    let sandbox = Sandbox::new();
    let log = sandbox.at("trace");
    let text = format!(
        "trap '' INT\nshift\n\"$@\" &\nqemu=$!\nwhile kill -0 $qemu 2>/dev/null && ! [ -e \
         '{0}' ]; do sleep 0.05; done\necho stopped >>'{1}'\nkill -9 $qemu",
        sandbox.at("interrupted").display(),
        log.display()
    );
    let gdb = script(&sandbox, "gdb", &text);
    let fake = sandbox.fake("request-fail");
    let wrapper = format!("{} --args", gdb.display());
    let mut command = sandbox.qgraph(["run", "--format", "json", "--wrapper", &wrapper]);
    command.args(["--exact", REGISTERS, "--qemu"]).arg(&fake);
    let running = sandbox.start(&mut command);
    let begun = std::time::Instant::now();
    while !running.stderr().contains("QEMU is left to `") {
        assert!(begun.elapsed() < fake::PATIENCE, "nothing is said");
        assert!(!running.is_over_within(std::time::Duration::from_millis(5)), "it is over");
    }
    assert!(lines(&log).is_empty(), "the debugger has ended");
    fs::write(sandbox.at("interrupted"), "").expect("a file");
    let finished = running.finish().expect(1);
    assert_eq!(lines(&log), ["stopped"]);
    assert_eq!(count(&finished, "failed"), 1, "{finished}");
}

/// The file of a failure on a fake in this role.
fn failure(sandbox: &Sandbox, role: &str) -> (PathBuf, PathBuf) {
    let fake = sandbox.fake(role);
    let folder = sandbox.at("failures");
    let mut command = sandbox.qgraph(["run", "--exact", REGISTERS, "--reproducers"]);
    sandbox.run(command.arg(&folder).arg("--qemu").arg(&fake)).expect(1);
    let file = fs::read_dir(&folder).expect("a folder").flatten().next().expect("a file");
    (file.path(), fake)
}

/// Would catch `--wrapper` of a replay that is overlooked, and one that cannot be run.
fn a_replay_behind_a_wrapper() {
    let sandbox = Sandbox::new();
    let (file, _) = failure(&sandbox, "request-abort");
    let (tracer, log) = tracer(&sandbox);
    let wrapper = format!("{} x", tracer.display());
    let mut command = sandbox.qgraph(["replay", "--trust", "--wrapper", &wrapper]);
    let finished = sandbox.run(command.arg(&file)).expect(1);
    assert!(finished.stdout.contains("still fails: "), "{finished}");
    assert!(lines(&log).iter().any(|line| line.contains("-machine pc")), "{finished}");
    let mut command = sandbox.qgraph(["replay", "--wrapper", "no-such-wrapper"]);
    sandbox.run(command.arg(&file)).expect(2).says(&["no such program is on PATH"]);
}

/// Would catch `--slow` of a replay that has no effect: an emulator that takes longer than a
/// request may is called hung.
fn a_slow_replay() {
    let sandbox = Sandbox::new();
    let (file, _) = failure(&sandbox, "request-abort");
    let late = sandbox.fake("request-late");
    let replay = |more: &[&str], status: i32| {
        // What it writes down would be kept from it.
        let mut command = sandbox.qgraph(["replay", "--trust", "--timeout", "0.2"]);
        sandbox.run(command.args(more).arg(&file).arg("--qemu").arg(&late)).expect(status)
    };
    let finished = replay(&[], 2);
    assert!(finished.stdout.contains("gave no answer"), "{finished}");
    for slow in ["20", "inf"] {
        let finished = replay(&["--slow", slow], 0);
        assert!(finished.stdout.contains("no longer fails: "), "{finished}");
    }
}

/// What is said of the QEMUs that are kept, of a run with these arguments. It has one worker: of
/// two, one may start a QEMU ahead for a path that the other takes.
fn kept(sandbox: &Sandbox, role: &str, arguments: &[&str]) -> (Vec<Vec<String>>, Finished) {
    let mut command = sandbox.qgraph(["run", "--format", "json", "--jobs", "1", SUITE]);
    let running = sandbox.start(command.args(arguments).arg("--qemu").arg(sandbox.fake(role)));
    let finished = running.wait().expect(1);
    let outcomes = finished.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    let kept = outcomes.filter_map(|outcome: Value| outcome["kept"].as_str().map(str::to_owned));
    (kept.map(|text| text.lines().map(str::to_owned).collect()).collect(), finished)
}

/// Ends a QEMU that was kept, as was said.
fn end(told: &[String]) {
    let how = told.last().and_then(|line| line.strip_prefix("to end it: ")).expect("how");
    let status = std::process::Command::new("/bin/sh").args(["-c", how]).status();
    assert!(status.expect("a shell").success(), "{how}");
}

/// The process of a QEMU that was kept.
fn process(told: &[String]) -> i32 {
    let words = told[0].strip_prefix("process ").expect("a process");
    words.split(',').next().and_then(|number| number.parse().ok()).expect("a number")
}

/// Would catch a QEMU that ends with the run, whose monitors nobody can reach, or that is not
/// the only one to stay; and instructions that do not end it.
fn a_qemu_is_kept() {
    let sandbox = Sandbox::new();
    let (told, finished) = kept(&sandbox, "request-fail", &["--keep"]);
    assert_eq!(told.len(), 1, "{finished}");
    let told = &told[0];
    for (line, beginning) in
        told.iter().zip(["process ", "debugger: gdb -p ", "monitor: ", "QMP: "])
    {
        assert!(line.starts_with(beginning), "{told:#?}");
    }
    assert!(finished.stderr.contains("is kept: process "), "{finished}");
    let process = process(told);
    // The guard is about to end.
    let begun = std::time::Instant::now();
    while sandbox.processes().len() != 1 {
        assert!(begun.elapsed() < fake::PATIENCE, "{:?}", sandbox.processes());
    }
    let (left, line) = sandbox.processes().remove(0);
    assert_eq!(left, process);
    let socket = told[2].rsplit(':').next().expect("a socket");
    assert!(line.contains(&format!("path={socket},server=on,wait=off")), "{line}");
    assert_eq!(
        sandbox.launches(&sandbox.fake("request-fail")).len(),
        1 + finished.outcomes().len()
    );
    end(told);
    // The fake ignores what ends a QEMU.
    let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
    sandbox.assert_nothing_left();
}

/// Would catch more QEMUs kept than somebody asked for, or fewer.
fn as_many_as_are_wanted_are_kept() {
    for (option, count) in [("--keep", 1), ("--keep=2", 2), ("--keep=9", 3)] {
        let sandbox = Sandbox::new();
        let (told, finished) = kept(&sandbox, "request-fail", &[option, "--repeat", "3"]);
        assert_eq!(told.len(), count, "{finished}");
        for told in told {
            end(&told);
            let _ = kill(Pid::from_raw(process(&told)), Signal::SIGKILL);
        }
        sandbox.assert_nothing_left();
    }
}

/// Would catch a QEMU that crashed and is said to be kept, and silence about that.
fn nothing_is_there_to_be_kept() {
    let sandbox = Sandbox::new();
    let (told, finished) = kept(&sandbox, "request-abort", &["--keep"]);
    assert!(told.is_empty(), "{finished}");
    finished.says(&["no QEMU is kept: none failed that was still there"]);
    sandbox.assert_nothing_left();
    let gdb = script(&sandbox, "gdb", "exit 1");
    let wrapper = format!("{} --args", gdb.display());
    let finished = run(&sandbox, &wrapper, &sandbox.fake("healthy"), &["--keep"]).expect(2);
    finished.silent().says(&["--keep: a debugger has the QEMU of a failure"]);
}

/// Would catch a QEMU that outlives a run which was killed, only because others may.
fn a_run_that_keeps_is_killed() {
    let sandbox = Sandbox::new();
    let fake = sandbox.fake("request-hang");
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let mut command =
            sandbox.qgraph(["run", "--jobs", "2", "--keep", "sdhci-tests/", "--qemu"]);
        let running = sandbox.start(command.arg(&fake));
        let begun = std::time::Instant::now();
        while !running.stdout().contains("/x86_64/q35/") {
            assert!(begun.elapsed() < fake::PATIENCE, "no path is done");
            assert!(!running.is_over_within(std::time::Duration::from_millis(2)), "it is over");
        }
        running.signal(signal);
        let status = running.finish().status.code();
        assert_eq!(status, (signal == Signal::SIGTERM).then_some(143));
    }
}
