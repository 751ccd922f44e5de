//! Requests and lines over one socket, within a deadline. Knows neither what a line means nor
//! which line answers which request: the clients say that, line by line.
//!
//! Two things keep the stream in step whatever happens. A request that was cut short by a
//! deadline is finished before the next one is sent, and half a line that came stays in the
//! buffer. And input is always drained while output is blocked, so that two full socket
//! buffers never wait for each other.
//!
//! A request costs one `send` and one `recv`: the socket blocks, but only for a [`TICK`] at a
//! time, and the clock is looked at when that passes without a byte. Only when less than a
//! tick is left is `poll` needed to wake up in time.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{ControlMessage, MsgFlags, recv, send, sendmsg};

use super::line::{LINE_LIMIT, LineBuffer, TooLong};
use super::poll;
use super::pulse::note_waiting;
use super::tap::Passage;
use super::tap::Wire;
use super::timer::Timer;
use super::transcript::{Transcript, Way, show};
use super::{Deadline, Error};

/// How long one receive blocks before the clock is looked at.
const TICK: Duration = Duration::from_millis(50);

/// From how many answers on it pays to let some gather before they are received.
const MANY: usize = 64;

/// How long they gather; with the kernel's slack that is some 50 answers. A client that waits
/// in the kernel is woken up by each answer, whatever low-water mark it asks for, and that
/// costs QEMU more than the answer itself where both share a core. So it does not wait there.
const PAUSE: Duration = Duration::from_micros(50);

/// From how many bytes on a line is thought to have no end; more than any socket holds.
const LONG: usize = 1 << 20;

/// What a client makes of a line.
pub(super) enum Step {
    /// It was the last that was waited for.
    Done,
    /// It was an answer; `left` or so are waited for still, and the limit of a request starts
    /// anew.
    Answer { left: usize },
    /// Something else, such as an event.
    Aside,
}

/// Whether an exchange ends by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// When the client says [`Step::Done`].
    Done,
    /// As soon as all is sent.
    Sent,
}

/// Why an exchange ended too early.
pub(super) enum Fault {
    Deadline { waited: Duration, lost: Duration },
    Closed,
    TooLong,
    Io(io::Error),
}

/// One socket and its buffers.
pub(super) struct Channel {
    stream: UnixStream,
    lines: LineBuffer,
    /// What a tap put in the place of lines that came.
    handed_on: VecDeque<Vec<u8>>,
    /// Files that go with the requests of this exchange.
    files: Vec<OwnedFd>,
    /// Which lines are none of the protocol, where somebody else writes to the socket too.
    is_stray: Option<fn(&[u8]) -> bool>,
    /// `[what was left of a request that was cut short][the requests of this exchange]`
    out: Vec<u8>,
    /// Length of the first part of `out`.
    head: usize,
    /// What the last exchange left of a request that it could send only in part: there until
    /// the next exchange, since not every [`begin`](Self::begin) comes to one.
    leftover: Vec<u8>,
    deadline: Rc<Deadline>,
    transcript: Rc<Transcript>,
    sent_way: Way,
    received_way: Way,
}

/// The waiting of one exchange.
struct Wait {
    timer: Timer,
    deadline: Rc<Deadline>,
    /// The part of the lost time that was told to the deadline.
    told: Duration,
    /// Less than a tick is left, so that a plain receive would sleep too long.
    hurry: bool,
    /// The time is over, and what had come by then was asked for.
    over: bool,
}

impl Wait {
    fn new(deadline: &Rc<Deadline>) -> Self {
        let timer = deadline.timer();
        let hurry = timer.end() < timer.started() + TICK;
        Self { timer, deadline: deadline.clone(), told: Duration::ZERO, hurry, over: false }
    }

    fn look_at_clock(&mut self) {
        let now = Instant::now();
        if now.saturating_duration_since(self.timer.started()) >= TICK {
            note_waiting();
            self.timer.look(now);
            self.tell(now);
        }
        self.hurry = self.timer.end().saturating_duration_since(now) < TICK;
    }

    /// Tells the deadline what was lost.
    fn tell(&mut self, now: Instant) {
        let lost = self.timer.lost_otherwise();
        self.deadline.look(now, lost - self.told);
        self.told = lost;
    }

    /// What is left; once it is nothing, so that an answer that came in time is taken even if
    /// this process was not awake to see it, and then it is a fault.
    fn left(&mut self) -> Result<Duration, Fault> {
        let now = Instant::now();
        let left = self.timer.left(now);
        self.tell(now);
        if std::mem::replace(&mut self.over, left.is_zero()) {
            let waited = now.saturating_duration_since(self.timer.started());
            return Err(Fault::Deadline { waited, lost: self.timer.lost() });
        }
        Ok(left)
    }
}

impl Channel {
    pub(super) fn new(
        stream: UnixStream,
        deadline: Rc<Deadline>,
        transcript: Rc<Transcript>,
        sent_way: Way,
        received_way: Way,
    ) -> Result<Self, Error> {
        let prepared =
            stream.set_nonblocking(false).and_then(|()| stream.set_read_timeout(Some(TICK)));
        if let Err(source) = prepared {
            let what = "preparing the socket".to_string();
            return Err(Error::Io { what, source });
        }
        Ok(Self {
            stream,
            lines: LineBuffer::new(LINE_LIMIT),
            handed_on: VecDeque::new(),
            files: Vec::new(),
            is_stray: None,
            out: Vec::new(),
            head: 0,
            leftover: Vec::new(),
            deadline,
            transcript,
            sent_way,
            received_way,
        })
    }

    /// From now on, lines that `is_stray` says to be none of the protocol go to the transcript
    /// and nowhere else.
    pub(super) fn pass_over(&mut self, is_stray: fn(&[u8]) -> bool) {
        self.is_stray = Some(is_stray);
    }

    /// Where its lines are kept.
    pub(super) fn transcript(&self) -> Rc<Transcript> {
        self.transcript.clone()
    }

    /// Another handle to the socket.
    pub(super) fn socket(&self) -> io::Result<UnixStream> {
        self.stream.try_clone()
    }

    /// Takes lines of up to `limit` bytes only, as long as none has come.
    #[cfg(any(test, fuzzing))]
    pub(super) fn limit_lines(&mut self, limit: usize) {
        self.lines = LineBuffer::new(limit);
    }

    /// How many bytes the buffer for lines has room for.
    #[cfg(any(test, fuzzing))]
    pub(super) fn room_for_lines(&self) -> usize {
        self.lines.held()
    }

    /// Where to write the requests of the next exchange, each with its line end, behind what is
    /// there already.
    pub(super) fn begin(&mut self) -> &mut Vec<u8> {
        self.out.clear();
        self.out.extend_from_slice(&self.leftover);
        self.head = self.out.len();
        &mut self.out
    }

    /// Has a copy of `file` go with the requests of the exchange that was begun.
    pub(super) fn attach(&mut self, file: OwnedFd) {
        self.files.push(file);
    }

    /// The text of the `index`th request of the last exchange, for messages.
    pub(super) fn request(&self, index: usize) -> String {
        let requests = &self.out[self.head..];
        let line = requests.split(|byte| *byte == b'\n').nth(index);
        show(line.unwrap_or_default())
    }

    /// Takes the lines that are buffered, without input or output, until `on_line` says
    /// [`Step::Done`].
    pub(super) fn take_lines(
        &mut self,
        on_line: &mut impl FnMut(&[u8]) -> Step,
    ) -> Result<Option<Step>, Fault> {
        let mut last = None;
        while let Some(step) = self.take_line(on_line)? {
            match (step, &last) {
                (Step::Done, _) => return Ok(Some(Step::Done)),
                (step @ Step::Answer { .. }, _) => last = Some(step),
                (Step::Aside, None) => last = Some(Step::Aside),
                (Step::Aside, Some(_)) => {}
            }
        }
        Ok(last)
    }

    /// Takes one line that is buffered.
    fn take_line(
        &mut self,
        on_line: &mut impl FnMut(&[u8]) -> Step,
    ) -> Result<Option<Step>, Fault> {
        loop {
            if let Some(line) = self.handed_on.pop_front() {
                return Ok(Some(on_line(&line)));
            }
            let range = self.lines.next_line().map_err(|TooLong| {
                self.transcript.note(self.received_way, b"(a line without end)");
                Fault::TooLong
            })?;
            let Some(range) = range else { return Ok(None) };
            let line = self.lines.line(range);
            self.transcript.note(self.received_way, line);
            if self.is_stray.is_some_and(|is_stray| is_stray(line)) {
                continue;
            }
            let handed_on = &mut self.handed_on;
            let passage = self.transcript.tap().with(|tap| {
                tap.received(self.received_way.wire(), line, &mut |line| handed_on.push_back(line))
            });
            if passage != Some(Passage::Replaced) {
                return Ok(Some(on_line(line)));
            }
        }
    }

    /// Sends the requests written after [`begin`](Self::begin) and hands every line that comes
    /// to `on_line`.
    ///
    /// Beside the result it says how many of the requests will have an answer: those that were
    /// sent, or will be finished before the next exchange.
    pub(super) fn exchange(
        &mut self,
        until: Until,
        mut on_line: impl FnMut(&[u8]) -> Step,
    ) -> (Result<(), Fault>, usize) {
        if self.sent_way.wire() == Wire::Qtest {
            let own = &self.out[self.head..];
            if let Some(other) = self.transcript.tap().spoiled(|it| it.requests(own)) {
                self.out.truncate(self.head);
                self.out.extend_from_slice(&other);
            }
        }
        let mut requests = &self.out[self.head..];
        while let Some(end) = memchr::memchr(b'\n', requests) {
            let line = &requests[..end];
            self.transcript.note(self.sent_way, line);
            self.transcript.tap().with(|tap| tap.sent(self.sent_way.wire(), line));
            requests = &requests[end + 1..];
        }
        self.leftover.clear();
        let mut sent = 0;
        let result = self.pump(until, &mut sent, &mut on_line);
        (result, self.settle(sent))
    }

    fn pump(
        &mut self,
        until: Until,
        sent: &mut usize,
        on_line: &mut impl FnMut(&[u8]) -> Step,
    ) -> Result<(), Fault> {
        let mut wait = Wait::new(&self.deadline);
        loop {
            self.send(sent)?;
            match self.take_lines(on_line)? {
                Some(Step::Done) => return Ok(()),
                Some(Step::Answer { left }) => {
                    wait = Wait::new(&self.deadline);
                    if left >= MANY && *sent == self.out.len() {
                        std::thread::sleep(PAUSE);
                    }
                }
                Some(Step::Aside) | None => {}
            }
            if *sent < self.out.len() {
                // A full socket: whatever moves first, read or write, goes on.
                let events = PollFlags::POLLIN | PollFlags::POLLOUT;
                if self.poll(events, &mut wait)?.contains(PollFlags::POLLIN) {
                    self.receive(MsgFlags::MSG_DONTWAIT)?;
                }
            } else if until == Until::Sent {
                return Ok(());
            } else {
                self.wait_for_bytes(&mut wait)?;
            }
        }
    }

    /// Sends what the socket takes now.
    fn send(&mut self, sent: &mut usize) -> Result<(), Fault> {
        while *sent < self.out.len() {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match self.send_once(*sent, flags) {
                Ok(count) => *sent += count,
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                // What it had answered before it went may still be read; then comes the end.
                Err(Errno::EPIPE | Errno::ECONNRESET) => *sent = self.out.len(),
                Err(errno) => return Err(Fault::Io(errno.into())),
            }
        }
        Ok(())
    }

    /// Sends what is behind `sent`, with the files if there are some: whoever receives the
    /// first of these bytes has them.
    fn send_once(&mut self, sent: usize, flags: MsgFlags) -> nix::Result<usize> {
        let (socket, bytes) = (self.stream.as_raw_fd(), &self.out[sent..]);
        if self.files.is_empty() {
            return send(socket, bytes, flags);
        }
        let numbers: Vec<_> = self.files.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let count = sendmsg::<()>(socket, &[IoSlice::new(bytes)], &rights, flags, None)?;
        // They are in the socket now, or with QEMU.
        self.files.clear();
        Ok(count)
    }

    /// Blocks until bytes have come.
    fn wait_for_bytes(&mut self, wait: &mut Wait) -> Result<(), Fault> {
        loop {
            if wait.hurry {
                self.poll(PollFlags::POLLIN, wait)?;
            }
            let came = self.receive(MsgFlags::empty())?;
            // Also when something came: a QEMU that never falls silent may never answer. A line
            // that has come this far will soon be too long, and that says more.
            if !came || self.lines.partial().len() < LONG {
                wait.look_at_clock();
            }
            if came {
                return Ok(());
            }
        }
    }

    /// Receives once; whether there was something.
    fn receive(&mut self, flags: MsgFlags) -> Result<bool, Fault> {
        match recv(self.stream.as_raw_fd(), self.lines.room(), flags) {
            Ok(0) | Err(Errno::ECONNRESET) => Err(Fault::Closed),
            Ok(count) => {
                self.lines.filled(count);
                Ok(true)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            Err(errno) => Err(Fault::Io(errno.into())),
        }
    }

    /// Waits for `events` until the deadline.
    fn poll(&mut self, events: PollFlags, wait: &mut Wait) -> Result<PollFlags, Fault> {
        loop {
            match poll(&self.stream, events, wait.left()?.min(TICK)) {
                Err(Errno::EINTR) => {}
                Ok(happened) if happened.is_empty() => wait.look_at_clock(),
                // An error or a hang-up shows itself at the next receive.
                Ok(happened) if happened.intersects(PollFlags::POLLERR | PollFlags::POLLHUP) => {
                    return Ok(PollFlags::POLLIN);
                }
                Ok(happened) => return Ok(happened),
                Err(errno) => return Err(Fault::Io(errno.into())),
            }
        }
    }

    /// Takes the lines that have come, without waiting for more.
    pub(super) fn take_arrived(
        &mut self,
        mut on_line: impl FnMut(&[u8]) -> Step,
    ) -> Result<(), Fault> {
        loop {
            if let Some(Step::Done) = self.take_lines(&mut on_line)? {
                return Ok(());
            }
            if !self.receive(MsgFlags::MSG_DONTWAIT)? {
                return Ok(());
            }
        }
    }

    /// Keeps the rest of a request that was sent in part, drops those that were not sent at
    /// all, and counts those of this exchange that will be answered.
    fn settle(&mut self, sent: usize) -> usize {
        let cut_short = sent > 0 && self.out.get(sent - 1) != Some(&b'\n');
        let mut end = sent;
        if sent < self.out.len() && (cut_short || sent < self.head) {
            let line_end = memchr::memchr(b'\n', &self.out[sent..]);
            end = line_end.map_or(self.out.len(), |at| sent + at + 1);
            self.leftover.extend_from_slice(&self.out[sent..end]);
        }
        let own = &self.out[self.head.min(end)..end];
        memchr::memchr_iter(b'\n', own).count()
    }

    /// The error for a fault in the exchange about `what`.
    pub(super) fn error(&self, fault: Fault, what: String) -> Error {
        match fault {
            Fault::Deadline { waited, lost } => {
                Error::Deadline { what, partial: show(self.lines.partial()), waited, lost }
            }
            Fault::Closed => Error::Closed { what, partial: show(self.lines.partial()) },
            Fault::TooLong => Error::LineTooLong { what, limit: self.lines.limit() },
            Fault::Io(source) => Error::Io { what, source },
        }
    }
}
