//! A QEMU whose CPUs run a guest: its start, its console, its end, and where its CPUs are if it
//! does not end. What the guest is, and what its end means, is said elsewhere.
//!
//! The machine is started stopped and let go once the monitor has answered: so an end of QEMU is
//! that of a guest that could run, or of a QEMU that never started.

use std::cell::Cell;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::emulator::Emulator;
use super::lost_time::LostTime;
use super::process::{Ending, Launch, Process};
use super::vm::LaunchError;
use super::vm::watch;
use crate::protocol::{Deadline, Qmp, Transcript};

/// How long a QEMU that closed its monitor may take to end: it may be writing a core.
const LAST_MOMENTS: Duration = Duration::from_secs(5);
/// How long the monitor may take for each question about a guest that does not end.
const MONITOR: Duration = Duration::from_secs(2);
/// How long the rest of the console's text is waited for once QEMU has ended.
const REST: Duration = Duration::from_secs(2);
/// How much of the console is read at a time, in bytes.
const READ: usize = 64 * 1024;

/// What to start.
#[derive(Debug, Clone)]
pub struct GuestStart {
    /// QEMU's arguments. The guest's console is its standard output.
    pub words: Vec<String>,
    /// How long the monitor may take to answer first.
    pub start: Duration,
    /// How long the guest may take, not counting time that it could not use.
    pub limit: Duration,
}

/// What came of a guest.
#[derive(Debug)]
pub struct GuestEnd {
    /// How QEMU ended; `None` if it did not within the limit, or before the console was enough.
    pub ending: Option<Ending>,
    /// Whether the machine had started: an end before that says nothing of the guest.
    pub is_started: bool,
    /// Why the machine shut down, as QEMU's event `SHUTDOWN` says; `None` if it did not.
    pub shutdown: Option<String>,
    /// Where the CPUs were when the limit was over, and what QEMU did, in words.
    pub doing: String,
    /// What QEMU wrote to its standard error.
    pub output: String,
    /// How long QEMU took to start.
    pub launch: Duration,
    /// How long the guest ran.
    pub ran: Duration,
}

/// Runs a guest on `emulator`. `console` is given what it writes, on another thread, and
/// `is_enough` is asked whether that is all there is to wait for.
///
/// # Errors
/// Returns [`LaunchError`] if there is no process.
pub fn run_guest(
    emulator: &Emulator,
    start: GuestStart,
    console: impl FnMut(&[u8]) + Send + 'static,
    is_enough: impl Fn() -> bool,
) -> Result<GuestEnd, LaunchError> {
    let begun = Instant::now();
    let (mut process, qmp, reader) = spawn(emulator, start.words, console)?;
    let deadline = Rc::new(Deadline::new());
    deadline.set_limit(start.start);
    let meter = || Rc::new(LostTime::of_process(process.id()));
    deadline.set_meters(meter(), meter());
    let qmp = Qmp::connect(qmp, deadline.clone(), Rc::new(Transcript::default()));
    let qmp = qmp.ok();
    let launch = begun.elapsed();
    let mut end = GuestEnd {
        ending: None,
        is_started: qmp.is_some(),
        shutdown: None,
        doing: String::new(),
        output: String::new(),
        launch,
        ran: Duration::ZERO,
    };
    let running = Instant::now();
    match &qmp {
        Some(qmp) => {
            // QEMU may end before it answers.
            let _ = qmp.execute("cont", Value::Null);
            let has_enough = Cell::new(false);
            let asked = || {
                has_enough.set(is_enough());
                has_enough.get()
            };
            end.ending = process.wait_unless(start.limit, asked);
            if end.ending.is_none() && !has_enough.get() {
                deadline.set_limit(MONITOR);
                let mut places = String::new();
                let doing = watch(process.id(), || places = where_cpus_are(qmp));
                end.doing = format!("{places}; {doing}");
            }
            if end.ending.is_some() {
                deadline.set_limit(REST);
                let _ = qmp.wait_closed();
            }
            let events = qmp.events();
            let shutdown = events.iter().find(|event| event.name == "SHUTDOWN");
            let reason = |event: &crate::protocol::Event| {
                event.data["reason"].as_str().unwrap_or("for no reason told").to_owned()
            };
            end.shutdown = shutdown.map(reason);
        }
        None => end.ending = process.wait_for(LAST_MOMENTS),
    }
    end.ran = running.elapsed();
    process.kill();
    reader.finish();
    end.output = process.output();
    Ok(end)
}

/// Starts QEMU with its console and its monitor connected to us, and its CPUs stopped.
fn spawn(
    emulator: &Emulator,
    mut words: Vec<String>,
    console: impl FnMut(&[u8]) + Send + 'static,
) -> Result<(Process, UnixStream, Reader), LaunchError> {
    let resource = |what| move |source| LaunchError::Resource { what, source };
    let (ours, theirs) = UnixStream::pair().map_err(resource("a console"))?;
    let (qmp, qmp_there) = UnixStream::pair().map_err(resource("a socket"))?;
    let fd = qmp_there.as_raw_fd();
    words.extend(["-S", "-chardev"].map(str::to_owned));
    words.push(format!("socket,id=qgraph-qmp,fd={fd}"));
    words.extend(["-mon", "chardev=qgraph-qmp,mode=control"].map(str::to_owned));
    let mut launch = Launch {
        program: emulator.path.clone(),
        arguments: words.into_iter().map(Into::into).collect(),
        inherit: vec![OwnedFd::from(qmp_there)],
        stdio: Some(OwnedFd::from(theirs)),
        may_fork: emulator.wrapper.is_some() || emulator.behind.is_some(),
        ..Launch::default()
    };
    if let Some(wrapper) = &emulator.wrapper {
        launch.arguments = wrapper.arguments(&emulator.path, launch.arguments);
        launch.program = wrapper.program().to_owned();
    }
    let reader = Reader::start(ours, console).map_err(resource("a thread"))?;
    let program = launch.program.display().to_string();
    let process = Process::start(launch);
    let mut process = process.map_err(|source| LaunchError::Spawn { program, source })?;
    process.note_groups();
    Ok((process, qmp, reader))
}

/// The thread that reads a console.
struct Reader {
    console: UnixStream,
    finished: Receiver<()>,
}

impl Reader {
    fn start(
        console: UnixStream,
        mut take: impl FnMut(&[u8]) + Send + 'static,
    ) -> std::io::Result<Self> {
        let mut from = console.try_clone()?;
        let (done, finished) = channel();
        let read = move || {
            let mut buffer = vec![0; READ];
            loop {
                match from.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(length) => take(&buffer[..length]),
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            drop(take);
            let _ = done.send(());
        };
        std::thread::Builder::new().name("console".to_owned()).spawn(read)?;
        Ok(Self { console, finished })
    }

    /// Waits for the end of the text, up to a limit: another process may hold the console open.
    fn finish(self) {
        if self.finished.recv_timeout(REST).is_err() {
            let _ = self.console.shutdown(std::net::Shutdown::Both);
            let _ = self.finished.recv_timeout(REST);
        }
    }
}

/// Where each CPU is, as the monitor says.
fn where_cpus_are(qmp: &Qmp) -> String {
    let registers = json!({ "command-line": "info registers -a" });
    let answers =
        qmp.execute_all(&[("query-cpus-fast", Value::Null), ("human-monitor-command", registers)]);
    let Ok([Ok(cpus), registers]) = answers.as_deref() else {
        return "its monitor does not answer".to_owned();
    };
    let count = cpus.as_array().map_or(0, Vec::len);
    let text = registers.as_ref().ok().and_then(Value::as_str).unwrap_or_default();
    let places = places(text, count);
    match places.is_empty() {
        true => format!("it has {count} CPUs"),
        false => places.join(", "),
    }
}

/// How many CPUs are named.
const MOST_CPUS: usize = 8;

/// What `info registers -a` tells of the place of each of `count` CPUs, in words.
fn places(text: &str, count: usize) -> Vec<String> {
    let one = count == 1 && !text.contains("CPU#");
    let parts: Vec<&str> = if one { vec![text] } else { text.split("CPU#").skip(1).collect() };
    let place = |(number, text): (usize, &&str)| {
        let at = program_counter(text)?;
        let halted = if text.contains("HLT=1") { ", halted" } else { "" };
        Some(format!("CPU {number} is at {at}{halted}"))
    };
    parts.iter().enumerate().take(MOST_CPUS).filter_map(place).collect()
}

/// The program counter in one CPU's registers, as the architectures write them.
fn program_counter(text: &str) -> Option<String> {
    const NAMES: [&str; 9] = ["RIP=", "EIP=", "PC=", "R15=", "NIP ", "pc ", "pc=", "addr ", "PC "];
    NAMES.iter().find_map(|name| {
        let rest = text.match_indices(name).find_map(|(at, _)| {
            let is_word = text[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric());
            is_word.then(|| text[at + name.len()..].trim_start())
        })?;
        let rest = rest.strip_prefix("0x").unwrap_or(rest);
        let digits: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
        let number = u64::from_str_radix(&digits, 16).ok()?;
        Some(format!("{number:#x}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch CPUs whose place is not told, or told as that of another, on one of the
    /// architectures.
    #[test]
    fn places_of_cpus() {
        let pc = "\nCPU#0\nEAX=00000001 EBX=0\nEIP=0010000c EFL=00000002 CPL=0 II=0 HLT=0\n\n\
                  CPU#1\nEIP=0000fff0 HLT=1\n";
        let told = places(pc, 2);
        assert_eq!(told, ["CPU 0 is at 0x10000c", "CPU 1 is at 0xfff0, halted"]);
        assert_eq!(program_counter("RAX=0 R15=7\nRIP=00000000004012ab RFL=2").unwrap(), "0x4012ab");
        assert_eq!(program_counter(" PC=0000000040080000 X00=0").unwrap(), "0x40080000");
        assert_eq!(program_counter("R14=1 R15=40010000\nPSR=1d3").unwrap(), "0x40010000");
        assert_eq!(program_counter("NIP 0000000000000100   LR 0").unwrap(), "0x100");
        assert_eq!(
            program_counter(" V      =   0\n pc       0000000080000000").unwrap(),
            "0x80000000"
        );
        assert_eq!(program_counter("PSW=mask 1 addr 0000000000010000 cc 00").unwrap(), "0x10000");
        assert_eq!(program_counter("nothing"), None);
        assert!(places("", 1).is_empty());
    }
}
