//! Feeds any bytes, in any pieces, to real clients as what QEMU sends, and holds all that the
//! clients say against a model that is told the same. Not part of the library: `cargo fuzz`
//! (folder `fuzz`) and a test that replays `tests/corpus` call it.
//!
//! An input is a play of steps, separated by the byte 0xfe: the first byte of a step says what
//! the client does, the rest is what QEMU has sent by then. Nothing waits, as requests have no
//! time at all: a client takes what has come, or says that the deadline has passed. So a play
//! always goes the same way.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::SndBuf;

use super::line::{LineBuffer, TooLong};
use super::{Deadline, Error, Transcript};

pub use super::qmp::fuzz::play as qmp_reader;
pub use super::qtest::fuzz::play as qtest_reader;

/// What separates steps.
const SEPARATOR: u8 = 0xfe;

/// More steps than this add nothing but time.
const MOST_STEPS: usize = 60;

/// The steps of a play: what the client does, and what QEMU has sent by then.
pub(super) fn steps(input: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let steps = input.split(|byte| *byte == SEPARATOR).take(MOST_STEPS);
    steps.filter_map(|step| step.split_first()).map(|(act, said)| (*act, said))
}

/// QEMU's end of a socket.
pub(super) struct Far {
    stream: UnixStream,
    unfinished: Vec<u8>,
}

impl Far {
    /// Both ends, and what a client needs besides. What a client sends soon fills its end.
    pub(super) fn pair() -> (UnixStream, Self, Rc<Deadline>, Rc<Transcript>) {
        let (near, stream) = UnixStream::pair().expect("a socket pair");
        setsockopt(&near, SndBuf, &1).expect("a small buffer");
        stream.set_nonblocking(true).expect("a socket that does not block");
        let deadline = Rc::new(Deadline::new());
        deadline.set_limit(Duration::ZERO);
        (near, Self { stream, unfinished: Vec::new() }, deadline, Rc::new(Transcript::new(4)))
    }

    /// Sends, and returns how much the socket took.
    pub(super) fn say(&mut self, bytes: &[u8]) -> usize {
        self.stream.write(bytes).unwrap_or(0)
    }

    /// Sends nothing more.
    pub(super) fn hang_up(&self) {
        self.stream.shutdown(Shutdown::Write).expect("a socket to hang up");
    }

    /// The requests that have come whole.
    pub(super) fn requests(&mut self) -> Vec<Vec<u8>> {
        match self.stream.read_to_end(&mut self.unfinished) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            other => panic!("the client hung up: {other:?}"),
        }
        let end = memchr::memrchr(b'\n', &self.unfinished).map_or(0, |at| at + 1);
        let rest = self.unfinished.split_off(end);
        let whole = std::mem::replace(&mut self.unfinished, rest);
        whole.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
    }
}

/// What the client must have received, in the model.
pub(super) struct Wire {
    received: LineBuffer,
    coming: Vec<u8>,
    closed: bool,
}

/// Why the model has no line.
pub(super) enum NoLine {
    TooLong,
    /// Nothing more is there.
    Silence,
}

impl Wire {
    pub(super) fn new(limit: usize) -> Self {
        Self { received: LineBuffer::new(limit), coming: Vec::new(), closed: false }
    }

    /// QEMU has sent this.
    pub(super) fn say(&mut self, bytes: &[u8]) {
        self.coming.extend_from_slice(bytes);
    }

    /// QEMU will send nothing more.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether there is nothing that the client has not taken.
    pub(super) fn received_all(&self) -> bool {
        self.coming.is_empty() && self.received.partial().is_empty()
    }

    /// The next line of those that the client has received.
    pub(super) fn received(&mut self) -> Result<Vec<u8>, NoLine> {
        match self.received.next_line() {
            Ok(Some(range)) => Ok(self.received.line(range).to_vec()),
            Ok(None) => Err(NoLine::Silence),
            Err(TooLong) => Err(NoLine::TooLong),
        }
    }

    /// The next line of those that QEMU has sent.
    pub(super) fn sent(&mut self) -> Result<Vec<u8>, NoLine> {
        match self.received() {
            Err(NoLine::Silence) => {
                self.received.push(&std::mem::take(&mut self.coming));
                self.received()
            }
            line => line,
        }
    }
}

/// How an act of the client ends; what it got is compared as text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Value(String),
    Refused,
    Garbled,
    /// An answer without a request.
    Stray,
    TooLong,
    /// Out of time, or closed: with no time at all a client may not see the end at once.
    Nothing,
}

/// How it ended for the client.
pub(super) fn end<T: std::fmt::Debug>(result: Result<T, Error>, wire: &Wire) -> End {
    match result {
        Ok(value) => End::Value(format!("{value:?}")),
        Err(error) => {
            assert!(error.to_string().len() < 2000, "an error of any length: {error}");
            end_of_error(&error, wire)
        }
    }
}

pub(super) fn end_of_error(error: &Error, wire: &Wire) -> End {
    match error {
        Error::Refused { .. } | Error::Qmp { .. } => End::Refused,
        Error::Garbled { request, .. } if request == "(no request)" => End::Stray,
        Error::Garbled { .. } => End::Garbled,
        Error::LineTooLong { .. } => End::TooLong,
        Error::Deadline { .. } => End::Nothing,
        Error::Closed { .. } if wire.is_closed() => End::Nothing,
        error => panic!("QEMU can cause no such error: {error:?}"),
    }
}

#[cfg(test)]
mod tests {
    /// Catches what fuzzing once found, and clients that no longer keep step whatever comes:
    /// all inputs of `tests/corpus`, which between them reach all that fuzzing reached.
    #[test]
    fn replay_the_corpus() {
        replay("qtest", super::qtest_reader);
        replay("qmp", super::qmp_reader);
    }

    fn replay(folder: &str, reader: fn(&[u8])) {
        let folder = format!("{}/tests/corpus/{folder}", env!("CARGO_MANIFEST_DIR"));
        let mut count = 0;
        for file in std::fs::read_dir(&folder).expect(&folder) {
            let path = file.expect("a file").path();
            println!("{}", path.display());
            reader(&std::fs::read(path).expect("an input"));
            count += 1;
        }
        assert!(count > 0, "{folder} is empty");
    }
}
