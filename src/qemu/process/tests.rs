//! Processes that are no QEMU: what they inherit, how they end, what they leave behind.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{getpgid, gettid};

use super::*;

/// Longer than anything here takes; reached only when something is broken.
const LONG: Duration = Duration::from_secs(30);

fn launch(program: &str, arguments: &[&str]) -> Launch {
    Launch {
        program: program.into(),
        arguments: arguments.iter().map(|&word| word.into()).collect(),
        ..Launch::default()
    }
}

fn shell(script: &str) -> Launch {
    launch("sh", &["-c", script])
}

/// How `launch` ends by itself, and what it wrote.
fn run(launch: Launch) -> (Ending, String) {
    let mut process = Process::start(launch).expect("a process");
    let ending = process.wait_for(LONG).expect("an end");
    (ending, process.output())
}

/// A pipe that tells when everybody has closed its other end, of which the number is
/// given, too: `/proc/self/fd/NUMBER` is how a shell writes to it.
struct Watch {
    reader: BufReader<PipeReader>,
}

impl Watch {
    fn new() -> (Self, OwnedFd, i32) {
        let (read, write) = io::pipe().expect("a pipe");
        let number = write.as_raw_fd();
        (Self { reader: BufReader::new(read) }, write.into(), number)
    }

    /// The next line; empty when nobody has the pipe open for writing any more.
    fn line(&mut self) -> String {
        if self.reader.buffer().is_empty() {
            let happened = poll(self.reader.get_ref(), PollFlags::POLLIN, LONG).expect("polled");
            assert!(!happened.is_empty(), "somebody still has the pipe");
        }
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("readable");
        line
    }
}

fn is_there(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// Would catch a file that QEMU does not get or gets under another number, and one of
/// ours that it gets unasked.
#[test]
fn the_child_has_the_files_that_were_named() {
    let file = |name: &str| -> OwnedFd {
        let file = memfd_create(name, MFdFlags::MFD_CLOEXEC).expect("a file");
        File::from(file.try_clone().expect("a file")).write_all(name.as_bytes()).expect("room");
        file
    };
    let (one, two, other) = (file("one\n"), file("two\n"), file("other\n"));
    let [first, second, third] = [&one, &two, &other].map(AsRawFd::as_raw_fd);
    let script =
        format!("cat fd/{first} fd/{second}; test -e fd/{third} && echo unasked; echo end");
    let script = script.replace("fd/", "/proc/self/fd/");
    let (ending, output) = run(Launch { inherit: vec![one, two], ..shell(&script) });
    assert!(ending.is_success());
    assert_eq!(output, "one\ntwo\nend\n");
    drop(other);
}

/// Would catch a copy of an inherited file that stays open here: an end of the other side
/// would never be noticed.
#[test]
fn inherited_files_are_closed_here() {
    let (mut watch, write, _) = Watch::new();
    let mut process = Process::start(Launch { inherit: vec![write], ..shell("sleep 1000") });
    process.as_mut().expect("a process").kill();
    assert_eq!(watch.line(), "");

    let (mut watch, write, _) = Watch::new();
    let refused = Process::start(Launch { inherit: vec![write], ..launch("/no/such/qemu", &[]) });
    assert_eq!(refused.err().map(|e| e.kind()), Some(io::ErrorKind::NotFound));
    assert_eq!(watch.line(), "");
}

/// Would catch a file without execute permission that is told as something else.
#[test]
fn what_cannot_be_started_is_an_error() {
    let refused = Process::start(launch("/etc/passwd", &[]));
    assert_eq!(refused.err().map(|e| e.kind()), Some(io::ErrorKind::PermissionDenied));
}

/// Would catch environment variables that do not arrive, a child that reads from our
/// terminal, and output that is lost.
#[test]
fn environment_and_standard_streams() {
    let environment = vec![("QGRAPH_TEST", OsString::from("a b"))];
    let script = "cat; echo \"$QGRAPH_TEST\"; echo wrong >&2";
    let (ending, output) = run(Launch { environment, ..shell(script) });
    assert!(ending.is_success());
    assert_eq!(output, "a b\nwrong\n");

    let (near, far) = UnixStream::pair().expect("a pair");
    let stdio = Some(OwnedFd::from(far));
    let mut process = Process::start(Launch { stdio, ..shell("cat; echo wrong >&2") }).unwrap();
    near.set_read_timeout(Some(LONG)).unwrap();
    (&near).write_all(b"echo\n").unwrap();
    near.shutdown(std::net::Shutdown::Write).unwrap();
    let mut said = String::new();
    (&near).read_to_string(&mut said).expect("the far end is closed after the child's");
    assert_eq!(said, "echo\n");
    assert!(process.wait_for(LONG).is_some_and(Ending::is_success));
    assert_eq!(process.output(), "wrong\n");
}

/// Would catch a child in our process group, which a Ctrl-C meant for us would end.
#[test]
fn a_child_leads_a_group_of_its_own() {
    let process = Process::start(launch("sleep", &["1000"])).unwrap();
    assert_eq!(getpgid(Some(process.pid)), Ok(process.pid));
}

/// Would catch what a child has started and what outlives it.
#[test]
fn the_childs_children_end_with_it() {
    for (end, kill) in [("wait", true), ("exit 0", false)] {
        let (mut watch, write, number) = Watch::new();
        let script = format!("sleep 1000 & echo ready >/proc/self/fd/{number}; {end}");
        let launch = Launch { inherit: vec![write], ..shell(&script) };
        let mut process = Process::start(launch).unwrap();
        assert_eq!(watch.line(), "ready\n");
        if kill {
            process.kill();
        } else {
            assert!(process.wait_for(LONG).is_some_and(Ending::is_success));
        }
        // `sleep` holds the pipe, too.
        assert_eq!(watch.line(), "", "after {end}");
    }
}

/// Would catch a child that dies with the thread that asked for it, as the kernel's death
/// signal has it: every QEMU that one worker starts and another uses.
#[test]
fn a_child_outlives_the_thread_that_asked_for_it() {
    let (near, far) = UnixStream::pair().expect("a pair");
    let launch = Launch { stdio: Some(far.into()), ..launch("cat", &[]) };
    let thread = move || {
        let process = Process::start(launch).expect("a process");
        (process, gettid())
    };
    let (mut process, thread) = std::thread::spawn(thread).join().unwrap();
    // A thread that was joined may still be on its way out.
    let deadline = Instant::now() + LONG;
    while Path::new(&format!("/proc/self/task/{thread}")).exists() {
        assert!(Instant::now() < deadline, "the thread does not end");
        std::thread::yield_now();
    }
    near.set_read_timeout(Some(LONG)).unwrap();
    (&near).write_all(b"alive").unwrap();
    let mut said = [0; 5];
    (&near).read_exact(&mut said).expect("an echo");
    assert_eq!(&said, b"alive");
    assert_eq!(process.ending(), None);
}

/// Would catch a wait that goes on past its limit, gives up before it, or does not
/// notice the end.
#[test]
fn waiting_keeps_to_its_limit() {
    let (near, far) = UnixStream::pair().expect("a pair");
    let cat = Launch { stdio: Some(far.into()), ..launch("cat", &[]) };
    let mut process = Process::start(cat).unwrap();
    assert_eq!(process.wait_for(Duration::ZERO), None);
    let deadline = Instant::now() + Duration::from_millis(30);
    assert_eq!(process.wait_for(Duration::from_millis(30)), None);
    assert!(Instant::now() >= deadline);
    drop(near);
    let ending = process.wait_for(LONG);
    assert!(ending.is_some_and(Ending::is_success));
    assert_eq!(process.wait_for(Duration::ZERO), ending, "it stays what it was");
    assert_eq!(Some(process.kill()), ending, "also when it is killed afterwards");
}

/// Would catch an end that is told as another one.
#[test]
fn endings_in_words() {
    let words = |script: &str| run(shell(script)).0.to_string();
    assert_eq!(words("exit 0"), "exited with status 0");
    assert_eq!(words("exit 3"), "exited with status 3");
    // Whether a core is dumped is for the system to say.
    let segv = words("ulimit -c 0; kill -SEGV $$");
    let expected = "was killed by signal 11 (SIGSEGV, an access to memory that is not there)";
    assert_eq!(segv.split(';').next(), Some(expected));
    let abort = words("ulimit -c 0; kill -ABRT $$");
    let expected = "was killed by signal 6 (SIGABRT, usually a failed assertion)";
    assert_eq!(abort.split(';').next(), Some(expected));
    assert_eq!(words("kill -TERM $$"), "was killed by signal 15 (SIGTERM)");
    assert_eq!(words("kill -40 $$"), "was killed by signal 40 (an unnamed signal)");
    let killed = Process::start(launch("sleep", &["1000"])).unwrap().kill();
    assert!(!killed.is_success());
    assert!(killed.to_string().starts_with("was killed by signal 9 (SIGKILL"));
}

/// Would catch a process or a zombie that a dropped handle leaves behind.
#[test]
fn nothing_is_left_of_a_dropped_process() {
    let running = Process::start(launch("sleep", &["1000"])).unwrap();
    let (mut watch, write, number) = Watch::new();
    let script = format!("echo end >/proc/self/fd/{number}");
    let ended = Process::start(Launch { inherit: vec![write], ..shell(&script) }).unwrap();
    assert_eq!((watch.line(), watch.line()), ("end\n".to_owned(), String::new()));
    for process in [running, ended] {
        let pid = process.id();
        assert!(is_there(pid), "nobody but us waits for it");
        drop(process);
        assert!(!is_there(pid));
    }
}

/// Would catch a chatty child that is blocked for want of a reader, fills our memory, or
/// whose first or last words are lost.
#[test]
fn of_a_flood_the_beginning_and_the_end_are_kept() {
    let script = "echo begin; head -c 1000000 /dev/zero | tr '\\0' x; echo; echo end";
    let (ending, output) = run(shell(script));
    assert!(ending.is_success());
    let left_out = format!("\n[{} bytes left out]\n", 1_000_011 - 2 * KEPT);
    assert_eq!(output.len(), 2 * KEPT + left_out.len());
    assert!(output.starts_with("begin\nxxx"));
    assert!(output.ends_with("xxx\nend\n"));
    assert_eq!(output[KEPT..].find(&left_out), Some(0));
}

/// Would catch output that is cut or garbled where its beginning ends and its end begins.
#[test]
fn output_is_whole_until_it_is_too_long() {
    let text = "ö".repeat(KEPT / 2);
    for pieces in [1, 7, 4096] {
        let (mut output, whole) =
            (Output::default(), format!("x{text}{text}")[..2 * KEPT - 1].to_owned());
        whole.as_bytes().chunks(pieces).for_each(|piece| output.push(piece));
        assert_eq!((output.text() == whole, output.left_out), (true, 0));
        output.push(b"yz");
        assert_eq!(output.left_out, 1);
        assert!(output.text().ends_with("yz"));
    }
}

/// Would catch a process that is started, or leaves the group, while the others are killed.
#[test]
fn what_leaves_the_group_meanwhile_is_killed() {
    for round in 0..40 {
        let (mut watch, write, number) = Watch::new();
        let script = format!(
            "for i in 1 2 3 4 5 6 7 8 9 10; do
                 setsid sleep 1000 &
                 echo $i >/proc/self/fd/{number}
             done; wait"
        );
        let launch = Launch { inherit: vec![write], ..shell(&script) };
        let mut process = Process::start(launch).expect("a process");
        for _ in 0..round % 10 {
            watch.line();
        }
        process.kill();
        while watch.line() != "" {}
    }
}
