//! The fake emulator: a process that takes QEMU's command line, speaks enough of qtest and
//! QMP to be taken for one, and misbehaves as the name of its folder says: `WHEN-WHAT`.
//!
//! WHEN is `probe` (as soon as it is started without a machine), `ask` (at the first request
//! without a machine), `start` (as soon as it is started with the machine `pc`), `request` (at a certain request of the test
//! `sdhci-tests/registers`, on `pc`), `once` (so, but only the first of those who share the
//! folder), `half` (as `start`, but only every second one), `reset` or `quit` (when told to,
//! on `pc`), `monitor` (when the human monitor is asked, on `pc`). WHAT is one of the
//! things that [`Emulator::misbehave`] does. Any other name is well-behaved. `old`, and any
//! name behind `old-`, is so as a QEMU before 7.0, whose qtest socket is its standard output.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write, stderr, stdin, stdout};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, raise};
use nix::sys::socket::{Shutdown, shutdown};
use serde_json::{Value, json};

use super::pc::Pc;

/// The file beside the fake in which every launch adds the name of its machine as a line.
pub const LAUNCHES: &str = "launches";
/// What a fake that is started under this name does: nothing, for a while.
pub const SLEEPER: &str = "sleeper";
/// Longer than any test: a fake that nobody ends ends itself.
const LONG: Duration = Duration::from_secs(120);
/// The CPU time that a fake takes for its work, and the time after which one answers late.
pub const WORK: Duration = Duration::from_millis(30);
pub const LATE: Duration = Duration::from_millis(700);
/// The file beside the fake that is there once one is about to answer late.
pub const IS_LATE: &str = "late";
/// What drives a terminal, begins lines of its own, and is a command in the log of a CI job.
pub const NASTY: &str = "\u{1b}[31m\u{7}\n::error::made up\r\n  ::warning::made up\n##[error]made up \u{9b}2J\u{202e}<b>";
/// What a machine tells of itself.
const TREE: &str = "/machine (pc-machine)\r\n  /uart (board-uart)\r\n";
const MAP: &str = "FlatView #0\r\n AS \"memory\", root: system\r\n  0000000000001000-00000000000010ff \
                   (prio 0, i/o): registers owner:{dev path=/machine/uart}\r\n";
/// What endless lines and floods are made of.
static CHUNK: [u8; 1_000_000] = [b'x'; 1_000_000];

/// A connection: a socket, or two pipes.
struct Port {
    input: File,
    output: File,
}

struct Emulator {
    arch: String,
    qtest: Port,
    qmp: Port,
    /// When it misbehaves on this machine.
    when: String,
    what: String,
    is_old: bool,
    /// Whether it is one version after the others.
    is_newer: bool,
    folder: PathBuf,
    has_qmp: bool,
    pc: Mutex<Pc>,
}

/// What becomes of the answer after a misbehaviour.
#[derive(PartialEq)]
enum Answer {
    /// It follows as usual.
    Follows,
    /// Something else was sent in its place.
    Replaced,
}

/// What follows `option` on the command line.
fn value<'a>(words: &'a [String], option: &str, prefix: &str) -> Option<&'a str> {
    let mut pairs = words.windows(2).filter(|pair| pair[0] == option);
    pairs.find_map(|pair| pair[1].strip_prefix(prefix))
}

impl Port {
    fn socket(number: &str) -> Self {
        let number = number.parse().expect("the number of a file");
        // SAFETY: whoever started us says that this inherited file is ours; we take it once.
        let input = unsafe { File::from_raw_fd(number) };
        Self { output: input.try_clone().expect("a copy"), input }
    }

    fn stdio() -> Self {
        let file = |fd: BorrowedFd| File::from(fd.try_clone_to_owned().expect("a copy"));
        Self { input: file(stdin().as_fd()), output: file(stdout().as_fd()) }
    }

    fn pipes(path: &str) -> Self {
        let open = |end: &str| {
            let file = OpenOptions::new().read(true).write(true).open(format!("{path}.{end}"));
            file.expect("a pipe")
        };
        Self { input: open("in"), output: open("out") }
    }

    /// Nobody is connected.
    fn nobody() -> Self {
        let file =
            || File::options().read(true).write(true).open("/dev/null").expect("it is there");
        Self { input: file(), output: file() }
    }

    /// Hangs up, where it is a socket.
    fn shutdown(&self) {
        let _ = shutdown(self.output.as_raw_fd(), Shutdown::Both);
    }
}

/// Plays the emulator.
pub fn main() -> ! {
    let words: Vec<_> = std::env::args_os().collect();
    let path = Path::new(&words[0]);
    let words: Vec<String> = words.iter().map(|w| w.to_string_lossy().into_owned()).collect();
    let folder = path.parent().expect("started by its path");
    let role = folder.file_name().and_then(|name| name.to_str()).expect("a role");
    let machine = value(&words, "-machine", "").unwrap_or("").split(',').next().unwrap_or("");
    // Confined, it may not write beside itself.
    if let Ok(mut log) = OpenOptions::new().append(true).create(true).open(folder.join(LAUNCHES)) {
        log.write_all(format!("{machine}\n").as_bytes()).expect("logged");
    }

    if std::env::var_os(MODULES).is_some_and(|folder| !has_module(Path::new(&folder))) {
        eprintln!("fake: invalid accelerator qtest");
        exit(1);
    }
    let is_object = value(&words, "-object", "qtest,").is_some();
    // Where the version is not known yet, the new way is tried.
    let is_old = role == "old" || role.starts_with("old-");
    let role = role.strip_prefix("old-").unwrap_or(role);
    assert!(!is_old || !is_object || machine == "none", "this QEMU is old: {words:?}");
    let qtest = match value(&words, "-chardev", "socket,id=qtest,fd=") {
        Some(number) => Port::socket(number),
        None => value(&words, "-qtest", "stdio").map(|_| Port::stdio()).expect("a qtest socket"),
    };
    let number = value(&words, "-chardev", "socket,id=qmp,fd=").map(Port::socket);
    let qmp = number.or_else(|| value(&words, "-qmp", "pipe:").map(Port::pipes));
    let has_qmp = qmp.is_some();
    let (when, what) = role.split_once('-').unwrap_or((role, ""));
    let concerned = match when {
        "probe" | "ask" => machine == "none",
        _ => machine == "pc",
    };
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
    let emulator = Emulator {
        arch: name.strip_prefix("qemu-system-").unwrap_or("").to_owned(),
        qtest,
        qmp: qmp.unwrap_or_else(Port::nobody),
        has_qmp,
        when: if concerned { when } else { "" }.to_owned(),
        what: what.to_owned(),
        is_old,
        is_newer: role == "newer",
        folder: folder.to_owned(),
        pc: Mutex::new(Pc::new()),
    };
    emulator.run()
}

/// The environment variable that says where to look for modules.
const MODULES: &str = "QEMU_MODULE_DIR";

/// Whether the module with the accelerator is in this folder, and more than its beginning.
fn has_module(folder: &Path) -> bool {
    let content = fs::read(folder.join("accel-qtest-x86_64.so")).unwrap_or_default();
    content.starts_with(b"\x7fELF") && content.len() >= 4096
}

/// Neither SIGTERM nor SIGINT nor SIGHUP ends it.
fn hang() -> ! {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let _ = signal_hook::flag::register(signal as i32, Arc::default());
    }
    std::thread::sleep(LONG);
    exit(99)
}

impl Emulator {
    fn run(&self) -> ! {
        let is_time = match &*self.when {
            "probe" | "start" => true,
            "half" => std::process::id().is_multiple_of(2),
            _ => false,
        };
        if is_time && self.misbehave(&self.qmp) == Answer::Replaced {
            hang();
        }
        std::thread::scope(|scope| {
            scope.spawn(|| self.serve_qtest());
            if self.has_qmp {
                self.serve_qmp();
            }
            // The monitor is gone; as QEMU, we stay.
            hang()
        })
    }

    fn send(&self, to: &Port, line: &[u8]) {
        let mut to = &to.output;
        // Whoever asked may be gone.
        let _ = to.write_all(&[line, b"\n"].concat());
    }

    fn misbehave(&self, to: &Port) -> Answer {
        let mut raw = &to.output;
        match &*self.what {
            "exit" => {
                eprintln!("fake: cannot set up guest memory");
                exit(1)
            }
            "leave" => exit(0),
            "abort" => {
                eprintln!("fake: assertion failed: (size <= limit)");
                std::process::abort()
            }
            // As GLib's g_assert(), which says it to standard output as well.
            "bail" => {
                let said = "ERROR:../hw/foo/foo.c:5:foo_write: assertion failed: (size <= limit)";
                eprintln!("**\n{said}");
                println!("Bail out! {said}");
                std::process::abort()
            }
            // As QEMU's hw_error().
            "hwerror" => {
                eprintln!("qemu: hardware error: foo_write: Bad size 0x1");
                for cpu in 0..2 {
                    eprintln!("CPU #{cpu}:");
                    (0..30).for_each(|n| eprintln!("R{n:02}=0000000000000000 FPR{n:02}=0"));
                }
                std::process::abort()
            }
            "segv" => loop {
                // The first one only takes Rust's own handler away.
                let _ = raise(Signal::SIGSEGV);
            },
            "hang" => hang(),
            "spin" => {
                let begun = Instant::now();
                while begun.elapsed() < LONG {}
                exit(99)
            }
            "work" => {
                let worked = || {
                    let line = std::fs::read_to_string("/proc/thread-self/schedstat");
                    let line = line.expect("the kernel tells the CPU time of threads");
                    let ran = line.split(' ').next().expect("a number").parse().expect("a number");
                    Duration::from_nanos(ran)
                };
                let begun = worked();
                while worked() < begun + WORK {}
                return Answer::Follows;
            }
            "late" => {
                File::create(self.folder.join(IS_LATE)).expect("a file");
                std::thread::sleep(LATE);
                return Answer::Follows;
            }
            "stop" => {
                let _ = raise(Signal::SIGSTOP);
                // Another thread may be the one that is stopped first.
                hang()
            }
            "asan" => {
                eprintln!(
                    "==9==ERROR: AddressSanitizer: heap-buffer-overflow on address 0x602000000011\n\
                     WRITE of size 4 at 0x602000000011 thread T0\n    \
                     #0 0x5581 in foo_write ../hw/foo/foo.c:123:5\n\
                     SUMMARY: AddressSanitizer: heap-buffer-overflow ../hw/foo/foo.c:123:5"
                );
                exit(1)
            }
            "ubsan" => {
                eprintln!("../hw/foo/foo.c:5:17: runtime error: shift exponent 32 is too large");
                return Answer::Follows;
            }
            "half" => {
                let _ = raw.write_all(b"OK 0x05");
                hang()
            }
            "close" => {
                self.qtest.shutdown();
                self.qmp.shutdown();
                hang()
            }
            "closeqtest" => {
                self.qtest.shutdown();
                return if self.when == "request" { Answer::Replaced } else { Answer::Follows };
            }
            "closeqmp" => {
                self.qmp.shutdown();
                return Answer::Follows;
            }
            "garbage" => self.send(to, b"\x1b[2J\x00\xff\xfe{\"garbage"),
            "latin1" => self.send(to, b"OK caf\xe9"),
            "json" => self.send(to, b"{\"hello\": [1, 2]}"),
            "fail" => self.send(to, b"FAIL out of luck"),
            "number" => self.send(to, b"OK 0x1"),
            "endless" => {
                for _ in 0..100 {
                    let _ = raw.write_all(&CHUNK);
                }
                self.send(to, b"");
            }
            "flood" => {
                eprintln!("fake: the flood begins");
                for _ in 0..200 {
                    let _ = stderr().write_all(&CHUNK);
                }
                eprintln!("fake: the flood ends");
                return Answer::Follows;
            }
            "floodfail" => {
                eprintln!("fake: the flood begins");
                for _ in 0..200 {
                    let _ = stderr().write_all(&CHUNK);
                }
                eprintln!("fake: the flood ends");
                self.send(to, b"FAIL out of luck");
            }
            "stdout" => {
                println!("fake: hello");
                return Answer::Follows;
            }
            "orphan" => {
                // It inherits the sockets and the pipe.
                let child = Command::new("/proc/self/exe").arg0(SLEEPER).spawn();
                child.expect("a child");
                exit(3)
            }
            "nasty" => {
                eprintln!("{NASTY}");
                if self.when == "probe" {
                    exit(1)
                }
                let line: String = NASTY.chars().filter(|c| !"\r\n".contains(*c)).collect();
                self.send(to, format!("FAIL {line}").as_bytes());
            }
            "events" | "nothing" | "mute" | "deaf" | "sticky" => return Answer::Follows,
            other => panic!("no such role: {other}"),
        }
        Answer::Replaced
    }

    fn serve_qtest(&self) {
        for line in BufReader::new(&self.qtest.input).lines().map_while(Result::ok) {
            let answer = self.pc.lock().expect("no panic").answer(&line);
            if self.what == "events" {
                self.send(&self.qtest, b"IRQ raise 1\nIRQ lower 1");
            }
            let is_once = || File::create_new(self.folder.join("once")).is_ok();
            let is_time = match &*self.when {
                "ask" => true,
                "request" => answer.is_cue,
                "once" => answer.is_cue && is_once(),
                _ => false,
            };
            if !is_time || self.misbehave(&self.qtest) == Answer::Follows {
                self.send(&self.qtest, answer.text.as_bytes());
            }
        }
    }

    fn serve_qmp(&self) {
        let (major, minor) = if self.is_old { (6, 2) } else { (7, 2) };
        let micro = u32::from(self.is_newer || self.when == "grown");
        let package = if self.what == "nasty" { NASTY } else { "fake" };
        let greeting = json!({"QMP": {"capabilities": [], "version": {
            "qemu": {"major": major, "minor": minor, "micro": micro}, "package": package}}});
        self.send(&self.qmp, greeting.to_string().as_bytes());
        for line in BufReader::new(&self.qmp.input).lines().map_while(Result::ok) {
            let request: Value = serde_json::from_str(&line).expect("JSON");
            let command = request["execute"].as_str().expect("a command");
            if self.what == "events" {
                let event = json!({"event": "RTC_CHANGE", "data": {"offset": 0},
                    "timestamp": {"seconds": 1, "microseconds": 0}});
                self.send(&self.qmp, event.to_string().as_bytes());
            }
            if command == "quit" && self.when == "quit"
                || command == "system_reset" && self.when == "reset"
                || command == "human-monitor-command" && self.when == "monitor"
            {
                self.misbehave(&self.qmp);
            }
            let mut reply = self.reply(command, &request["arguments"]);
            reply["id"] = request["id"].clone();
            self.send(&self.qmp, reply.to_string().as_bytes());
            if command == "system_reset" && self.what != "deaf" {
                let event = json!({"event": "RESET", "data": {"guest": false},
                    "timestamp": {"seconds": 1, "microseconds": 0}});
                self.send(&self.qmp, event.to_string().as_bytes());
            }
            if command == "quit" {
                exit(0);
            }
        }
    }

    fn reply(&self, command: &str, arguments: &Value) -> Value {
        if self.what == "nothing" && command.starts_with("query-") {
            return json!({"return": null});
        }
        let machines = json!([
            {"name": "none"},
            {"name": "pc-i440fx-7.2", "alias": "pc", "default-ram-id": "pc.ram",
             "is-default": true},
            {"name": "pc-q35-7.2", "alias": "q35", "default-ram-id": "pc.ram"},
        ]);
        json!({"return": match command {
            "qmp_capabilities" | "quit" => json!({}),
            "system_reset" => {
                let mut pc = self.pc.lock().expect("no panic");
                *pc = Pc::new();
                if self.what == "sticky" {
                    pc.spoil();
                }
                json!({})
            }
            "query-status" => json!({"running": true, "status": "running"}),
            "query-target" => json!({"arch": self.arch}),
            "query-machines" => machines,
            "human-monitor-command" => match arguments["command-line"].as_str() {
                Some("info qom-tree") if self.when == "monitor" => json!("what?"),
                Some("info qom-tree") => json!(TREE),
                _ => json!(MAP),
            },
            "qom-list-types" if arguments["abstract"] == true => {
                let name = if self.what == "nasty" { NASTY } else { "board-uart" };
                json!([{"name": name, "parent": "device"}])
            }
            "qom-list" => json!([{"name": "sysbus-irq[0]", "type": "link<irq>"}]),
            "qom-get" => json!("/machine/pic/unnamed-gpio-in[4]"),
            "qom-list-types" if self.what == "nasty" => {
                json!([{"name": "sdhci-pci", "parent": "pci-device"}, {"name": NASTY}])
            }
            "qom-list-types" => json!([{"name": "sdhci-pci", "parent": "pci-device"}]),
            other => {
                let desc = format!("The command {other} has not been found");
                return json!({"error": {"class": "CommandNotFound", "desc": desc}});
            }
        }})
    }
}

/// What a child of a fake does.
pub fn sleep() -> ! {
    hang()
}
