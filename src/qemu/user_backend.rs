//! vhost-user back ends that the user names: a program that is started for each QEMU, or the socket
//! of a program that runs already. Such a back end serves a device in place of the harness's own, and
//! the suites of the device test it.

use std::cell::RefCell;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::binary;
use super::command_line::quote;
use super::folder::Owned;
use super::process::{Ending, Launch, Process};

/// Where a command has the path of the socket on which it is to listen.
const SOCKET: &str = "{socket}";
/// Where it has the file of the image that the suite looks into.
const IMAGE: &str = "{image}";
/// How long it may take until it listens.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether it does.
const TICK: Duration = Duration::from_millis(5);
/// How long the program is observed for a bad end once QEMU has left it.
const LAST_MOMENTS: Duration = Duration::from_millis(20);

/// A vhost-user back end that the user names, for devices of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserBackend {
    /// The devices that it serves, as [`Backend::of`](super::Backend::of) says them.
    device: &'static str,
    how: How,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum How {
    /// A program with these words; the first is the program as it was named.
    Command(PathBuf, Vec<String>),
    /// A socket on which it listens.
    Socket(PathBuf),
}

/// Why a text names no back end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBackend {
    /// It cannot be split into words.
    #[error("`{0}` cannot be split into words: a quote or a backslash has no end")]
    Unbalanced(String),
    /// It has no place for the socket.
    #[error(
        "`{0}` is no socket, and no command with {SOCKET} where the path of its socket belongs"
    )]
    NoSocket(String),
    /// Its program cannot be run.
    #[error("the program of `{0}` cannot be run: {1}")]
    NoProgram(String, &'static str),
}

impl UserBackend {
    /// The back end that a user names for `device`: a command, written as for a shell, with
    /// `{socket}` where the path of its socket belongs and `{image}` where it takes the image that
    /// the suite looks into; or the path of a socket on which it listens. No shell runs.
    ///
    /// # Errors
    /// Returns [`BadBackend`] if it is neither, or its program cannot be run.
    pub fn parse(device: &'static str, text: &str) -> Result<Self, BadBackend> {
        if fs::metadata(text).is_ok_and(|it| it.file_type().is_socket()) {
            return Ok(Self { device, how: How::Socket(text.into()) });
        }
        let words = shlex::split(text).ok_or_else(|| BadBackend::Unbalanced(text.to_owned()))?;
        if !words.iter().any(|word| word.contains(SOCKET)) {
            return Err(BadBackend::NoSocket(text.to_owned()));
        }
        let program = binary::program(&words[0]);
        let program = program.map_err(|why| BadBackend::NoProgram(text.to_owned(), why))?;
        Ok(Self { device, how: How::Command(program, words) })
    }

    /// The devices that it serves.
    pub fn device(&self) -> &'static str {
        self.device
    }

    /// Whether it has the image that the suite looks into.
    fn takes_image(&self) -> bool {
        matches!(&self.how, How::Command(_, words) if words.iter().any(|it| it.contains(IMAGE)))
    }

    /// Starts it, and waits until it listens; it is to serve `image` if it takes one. Beside it,
    /// where it listens.
    pub(super) fn start(&self, image: Option<&File>) -> Result<(PathBuf, Running), NoBackend> {
        let failed = |why: String| NoBackend { what: self.to_string(), why, output: String::new() };
        let (program, words) = match &self.how {
            How::Command(program, words) => (program, words),
            How::Socket(path) => {
                return Ok((path.clone(), Running { backend: self.clone(), process: None }));
            }
        };
        let folder = Owned::new("qgraph-backend-")
            .map_err(|e| failed(format!("has no folder for its socket: {e}")))?;
        let socket = folder.path().join("socket");
        let image =
            image.map(|file| format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
        let fill = |word: &String| {
            let word = word.replace(SOCKET, &socket.to_string_lossy());
            word.replace(IMAGE, image.as_deref().unwrap_or(IMAGE)).into()
        };
        let arguments = words.iter().skip(1).map(fill).collect();
        let launch =
            Launch { program: program.clone(), arguments, may_fork: true, ..Launch::default() };
        let mut process =
            Process::start(launch).map_err(|e| failed(format!("cannot be started: {e}")))?;
        match wait_until_it_listens(&socket, &mut process) {
            Ok(()) => {
                let process = Some((RefCell::new(process), folder));
                Ok((socket, Running { backend: self.clone(), process }))
            }
            Err(why) => {
                process.kill();
                Err(NoBackend { output: process.output(), ..failed(why) })
            }
        }
    }
}

impl fmt::Display for UserBackend {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.how {
            How::Command(_, words) => {
                let words: Vec<_> = words.iter().map(|word| quote(word)).collect();
                f.write_str(&words.join(" "))
            }
            How::Socket(path) => f.write_str(&path.to_string_lossy()),
        }
    }
}

/// Waits until the program listens on `socket`. The wait makes no connection, because some programs
/// serve one connection and end.
fn wait_until_it_listens(socket: &Path, process: &mut Process) -> Result<(), String> {
    let end = Instant::now() + PATIENCE;
    while !is_listening(socket).map_err(|e| format!("cannot be seen to listen: {e}"))? {
        if let Some(ending) = process.wait_for(TICK) {
            return Err(format!("{ending} before it listened on its socket"));
        }
        if Instant::now() > end {
            return Err(format!("does not listen on its socket after {PATIENCE:?}"));
        }
    }
    Ok(())
}

/// Whether a listening socket has this path, as `/proc/net/unix` says; see `proc(5)`.
fn is_listening(socket: &Path) -> io::Result<bool> {
    const ACCEPTS_CONNECTIONS: &str = "00010000";
    let known = fs::read("/proc/net/unix")?;
    let known = String::from_utf8_lossy(&known);
    let socket = socket.to_string_lossy();
    let is_it = |line: &str| {
        line.ends_with(&*socket) && line.split_whitespace().nth(3) == Some(ACCEPTS_CONNECTIONS)
    };
    Ok(known.lines().any(is_it))
}

/// Why there is no back end.
#[derive(Debug)]
pub(super) struct NoBackend {
    /// Its command or socket.
    pub what: String,
    /// What it did, as the rest of a sentence about it.
    pub why: String,
    /// What it wrote.
    pub output: String,
}

/// A back end that serves a QEMU. It ends when this is dropped, unless it was there before.
pub(super) struct Running {
    backend: UserBackend,
    /// Its process, and the folder of its socket.
    process: Option<(RefCell<Process>, Owned)>,
}

impl Running {
    /// Whether the image that the suite looks into is not the one that it serves.
    pub fn has_other_image(&self) -> bool {
        !self.backend.takes_image()
    }

    fn ending_within(&self, limit: Duration) -> Option<Ending> {
        self.process.as_ref()?.0.borrow_mut().wait_for(limit)
    }

    /// Why no QEMU was to be had with it, if it ended before that was ready.
    pub fn no_backend(&self) -> Option<NoBackend> {
        let ending = self.ending_within(LAST_MOMENTS)?;
        let why = format!("{ending} while QEMU started");
        Some(NoBackend { what: self.backend.to_string(), why, output: self.story() })
    }

    /// What is wrong if it has ended, although a QEMU uses it.
    pub fn trouble(&self) -> Option<String> {
        let ending = self.ending_within(Duration::ZERO)?;
        Some(format!("the back end `{}` {ending} while QEMU used it", self.backend))
    }

    /// What is wrong if it ends badly once QEMU has left it.
    pub fn trouble_at_end(&self) -> Option<String> {
        let ending = self.ending_within(LAST_MOMENTS).filter(|ending| !ending.is_success())?;
        Some(format!("the back end `{}` {ending} when QEMU left it", self.backend))
    }

    /// How it is, and what it wrote.
    pub fn story(&self) -> String {
        let Some((process, _)) = &self.process else {
            return format!("[the back end at {} was not started by the run]\n", self.backend);
        };
        let mut process = process.borrow_mut();
        let state = match process.ending() {
            Some(ending) => ending.to_string(),
            None => "ran on".to_owned(),
        };
        let said = process.output();
        let wrote = if said.is_empty() { "nothing]" } else { "this:]" };
        format!("[the back end `{}` {state}, and had written {wrote}\n{said}", self.backend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<UserBackend, BadBackend> {
        UserBackend::parse("vhost-user-blk", text)
    }

    /// Would catch a command without a socket that is taken and then waited for in vain, and one
    /// whose words are split within quotes.
    #[test]
    fn commands_and_sockets() {
        let sh = parse("sh -c 'exec x --socket={socket}' {image}").unwrap();
        assert!(sh.takes_image());
        assert_eq!(sh.to_string(), "sh -c 'exec x --socket={socket}' '{image}'");
        assert!(matches!(parse("sh -c x"), Err(BadBackend::NoSocket(_))));
        assert!(matches!(parse(""), Err(BadBackend::NoSocket(_))));
        assert!(matches!(parse("sh '{socket}"), Err(BadBackend::Unbalanced(_))));
        assert!(matches!(parse("no-such-program {socket}"), Err(BadBackend::NoProgram(..))));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("listens");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let there = parse(path.to_str().unwrap()).unwrap();
        let (found, running) = there.start(None).map_err(|e| e.why).unwrap();
        assert!(is_listening(&path).unwrap() && found == path && running.has_other_image());
        drop(listener);
        assert!(!is_listening(&path).unwrap());
        assert_eq!((running.trouble(), running.trouble_at_end()), (None, None));
    }

    /// Would catch a back end that ends at once and is waited for, and whose words are lost.
    #[test]
    fn one_that_does_not_listen() {
        let Err(none) = parse("sh -c 'echo {socket} is bad >&2; exit 3'").unwrap().start(None)
        else {
            panic!("it listens");
        };
        assert_eq!(none.why, "exited with status 3 before it listened on its socket");
        assert!(none.output.ends_with("/socket is bad\n"), "{}", none.output);
    }
}
