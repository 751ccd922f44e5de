//! What the tests of the programs stand on: a fake emulator, which is the test's own
//! executable under another name, and a sandbox in which qgraph runs and after which nothing
//! may be left.

// Every test target uses its own part of it.
#![allow(dead_code)]

pub mod emulator;
mod pc;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use serde_json::Value;
use signal_hook::flag;
use tempfile::TempDir;

/// Far more than any run takes, even on a busy machine: one that takes longer hangs.
pub const PATIENCE: Duration = Duration::from_secs(240);
/// How long a process that was killed may take to be gone.
const LAST_BREATH: Duration = Duration::from_secs(10);
/// The name under which an executable is the runner of `cargo test`, if its `main` asks.
pub const RUNNER: &str = "paths";

/// What that is.
pub const PROGRAM: qgraph::Program = qgraph::Program { name: "qgraph", version: "0.1.0" };
/// The path in whose requests fakes misbehave.
pub const REGISTERS: &str =
    "/x86_64/pc/i440FX-pcihost/pci-bus-pc/pci-bus/sdhci-pci/sdhci/sdhci-tests/registers";
/// The environment variable by which the processes of a sandbox are known.
const MARK: &str = "QGRAPH_TEST_SANDBOX";

/// The name under which the executable was started.
pub fn called() -> String {
    let zeroth = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&zeroth).file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The `main` of a test target: runs the trials, or plays the part that the name of the
/// executable says.
pub fn main(trials: Vec<Trial>) -> ExitCode {
    match &*called() {
        name if name.starts_with("qemu-system-") => emulator::main(),
        emulator::SLEEPER => emulator::sleep(),
        _ => {
            // Where we were started with these ignored, as in the background of a script, what
            // we start would ignore them as well. What is caught is not inherited.
            for signal in [Signal::SIGINT, Signal::SIGHUP] {
                let is_on = Arc::new(AtomicBool::new(true));
                let _ = flag::register_conditional_default(signal as i32, is_on);
            }
            let mut arguments = Arguments::from_args();
            // They wait most of the time.
            arguments.test_threads.get_or_insert(8);
            libtest_mimic::run(&arguments, trials).exit_code()
        }
    }
}

/// A trial for each of these functions, which panic when they find something wrong.
#[macro_export]
macro_rules! trials {
    ($($test:ident),* $(,)?) => {
        vec![$(libtest_mimic::Trial::test(stringify!($test), || {
            $test();
            Ok(())
        })),*]
    };
}

/// Folders of its own for a run: cache, temporary files, fakes.
pub struct Sandbox {
    root: TempDir,
}

/// A run that is over.
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Sandbox {
    pub fn new() -> Self {
        // Where the executable is, so that it can be linked.
        let root = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let sandbox = Self { root };
        for folder in ["cache", "tmp", "bin"] {
            fs::create_dir(sandbox.at(folder)).expect("a folder");
        }
        sandbox
    }

    pub fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.path().join(name)
    }

    /// A fake x86_64 emulator that plays this role.
    pub fn fake(&self, role: &str) -> PathBuf {
        self.fake_at(&Path::new(role).join("qemu-system-x86_64"))
    }

    /// This executable at this place in the sandbox, where it may be already; its name says
    /// what it plays.
    pub fn fake_at(&self, place: &Path) -> PathBuf {
        let path = self.at(place);
        if path.exists() {
            return path;
        }
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        let own = std::env::current_exe().expect("an executable");
        // A copy, where a link is not allowed.
        fs::hard_link(&own, &path).or_else(|_| fs::copy(&own, &path).map(drop)).expect("a link");
        path
    }

    /// A fake in this role whose file says that it needs a module for its accelerator.
    pub fn modular(&self, role: &str) -> PathBuf {
        const BUILD: &str = r"\0QEMU emulator version 7.2.0\0\0accel-qtest-x86_64\0\0qemu_stamp_";
        const STAMP: &str = r"0123456789abcdef0123456789abcdef01234567\0";
        let path = self.at(role).join("qemu-system-x86_64");
        fs::create_dir_all(self.at(role)).expect("a folder");
        let own = std::env::current_exe().expect("an executable");
        // A shell does it: what this process writes, a child that another test starts meanwhile
        // would hold open, and then it cannot be executed.
        let mut copy = Command::new("/bin/sh");
        copy.args(["-c", r#"cp "$1" "$2" && printf "$3" >>"$2""#, "sh"]).args([&own, &path]);
        let status = copy.arg(format!("{BUILD}{STAMP}")).status();
        assert!(status.is_ok_and(|status| status.success()), "no copy");
        path
    }

    /// The machines with which the fake was started, in order.
    pub fn launches(&self, fake: &Path) -> Vec<String> {
        let log = fs::read_to_string(fake.with_file_name(emulator::LAUNCHES)).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// `program`, to be run in the sandbox. No emulator is on its `PATH`.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env(MARK, self.root.path())
            .env("QGRAPH_CACHE", self.at("cache"))
            .env("TMPDIR", self.at("tmp"))
            .env("PATH", self.at("bin"))
            .env_remove("QTEST_QEMU_BINARY")
            .env_remove("QEMU_MODULE_DIR")
            .env_remove("NEXTEST")
            .env_remove("QGRAPH_SHARD")
            .env_remove("CI_NODE_INDEX")
            .env_remove("CI_NODE_TOTAL")
            .env_remove("JOB_COMPLETION_INDEX")
            .env_remove("JOB_COMPLETIONS")
            .current_dir(self.root.path())
            .stdin(Stdio::null());
        command
    }

    /// The program qgraph with these arguments.
    pub fn qgraph<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_qgraph"));
        command.args(arguments);
        command
    }

    /// Runs it to its end.
    pub fn run(&self, command: &mut Command) -> Finished {
        self.start(command).finish()
    }

    /// Starts it.
    pub fn start(&self, command: &mut Command) -> Running<'_> {
        self.start_with(command, None, None)
    }

    /// Starts it. Output is collected where it is not directed elsewhere.
    pub fn start_with(
        &self,
        command: &mut Command,
        stdout: Option<Stdio>,
        stderr: Option<Stdio>,
    ) -> Running<'_> {
        let output = TempDir::new_in(self.root.path()).expect("a folder");
        let file = |name| File::create(output.path().join(name)).expect("a file").into();
        command.stdout(stdout.unwrap_or_else(|| file("stdout")));
        command.stderr(stderr.unwrap_or_else(|| file("stderr")));
        let child = command.spawn().expect("started");
        // Whatever it inherits is not ours any more.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let (ended, over) = channel();
        let pid = pid(&child);
        // It is not reaped here: its number stays its own, for signals and for `wait`.
        let watch = move || {
            while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
                == Err(Errno::EINTR)
            {}
            drop(ended);
        };
        std::thread::spawn(watch);
        Running { sandbox: self, child, over, output }
    }

    /// The processes of the sandbox that are there, by what `/proc` says: number and command
    /// line.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let mark =
            [MARK.as_bytes(), b"=", self.root.path().as_os_str().as_encoded_bytes()].concat();
        let entries = fs::read_dir("/proc").expect("/proc").flatten();
        let marked = entries.filter(|entry| {
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark)
        });
        let shown = marked.filter_map(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let pid = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, String::from_utf8_lossy(&line).replace('\0', " ")))
        });
        shown.collect()
    }

    /// Every file below a folder of the sandbox.
    pub fn files(&self, folder: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.at(folder)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder").flatten() {
                match entry.path() {
                    path if path.is_dir() => folders.push(path),
                    path => found.push(path),
                }
            }
        }
        found
    }

    /// Makes sure that no process is left, and no file but what belongs into a cache.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let begun = Instant::now();
        loop {
            match self.processes() {
                left if left.is_empty() => break,
                left => assert!(begun.elapsed() < LAST_BREATH, "processes left: {left:#?}"),
            }
            std::thread::yield_now();
        }
        let left = self.files("tmp");
        assert!(left.is_empty(), "temporary files left: {left:#?}");
        let is_result = |path: &PathBuf| {
            path.extension() == Some("json".as_ref())
                || path.to_string_lossy().contains("/runs/")
                || path.to_string_lossy().contains("/cache/machines/") && path.extension().is_none()
                || path.to_string_lossy().contains("/cache/reproducers/")
                    && path.extension() == Some("sh".as_ref())
                || path.to_string_lossy().contains("/modules/")
                    && !path.to_string_lossy().contains("/.new-")
        };
        let cache: Vec<PathBuf> = self.files("cache");
        assert!(cache.iter().all(is_result), "files left in the cache: {cache:#?}");
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // After a test that failed.
        for (pid, _) in self.processes() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id() as i32)
}

/// A run that has begun.
pub struct Running<'a> {
    sandbox: &'a Sandbox,
    child: Child,
    /// Closed once it is over.
    over: Receiver<()>,
    output: TempDir,
}

impl Running<'_> {
    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.output.path().join("stdout")).unwrap_or_default()
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.output.path().join("stderr")).unwrap_or_default()
    }

    /// Whether it is over by now, or within this time. It is not reaped: signals reach nobody
    /// else.
    pub fn is_over_within(&self, time: Duration) -> bool {
        self.over.recv_timeout(time) != Err(RecvTimeoutError::Timeout)
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(pid(&self.child), signal).expect("it is not reaped");
    }

    /// Waits for its end, and makes sure that it leaves nothing behind.
    #[track_caller]
    pub fn finish(self) -> Finished {
        let sandbox = self.sandbox;
        let finished = self.wait();
        sandbox.assert_nothing_left();
        finished
    }

    /// Waits for its end, while others may go on.
    #[track_caller]
    pub fn wait(mut self) -> Finished {
        let over = self.is_over_within(PATIENCE);
        if !over {
            let _ = self.child.kill();
        }
        let status = self.child.wait().expect("it was waited for");
        let read = |name| {
            let bytes = fs::read(self.output.path().join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let finished = Finished { status, stdout: read("stdout"), stderr: read("stderr") };
        assert!(over, "it did not end within {PATIENCE:?}: {finished}");
        finished
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Self { status, stdout, stderr } = self;
        write!(f, "{status}\nstandard output:\n{stdout}\nstandard error:\n{stderr}")
    }
}

impl Finished {
    /// Makes sure that it exited with this status.
    #[track_caller]
    pub fn expect(self, status: i32) -> Self {
        assert_eq!(self.status.code(), Some(status), "{self}");
        assert!(!self.stderr.contains("panicked"), "{self}");
        self
    }

    /// Makes sure that nothing was written to standard output.
    #[track_caller]
    pub fn silent(self) -> Self {
        assert_eq!(self.stdout, "", "{self}");
        self
    }

    /// Makes sure that standard error has all these words.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not said: {self}");
        }
        self
    }

    /// The outcomes of a run with `--format json`, by emulator and path.
    #[track_caller]
    pub fn outcomes(&self) -> BTreeMap<(String, String), Value> {
        let mut outcomes = BTreeMap::new();
        for line in self.stdout.lines() {
            let outcome: Value = serde_json::from_str(line).expect("a JSON object a line");
            let text = |key: &str| outcome[key].as_str().expect("a text").to_owned();
            let before = outcomes.insert((text("emulator"), text("name")), outcome.clone());
            assert!(before.is_none(), "two outcomes: {line}\n{self}");
        }
        outcomes
    }
}
