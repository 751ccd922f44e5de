//! The qtest client: ports, registers in memory, the clock, and what else fits one short line.
//! Writes that are put off are in `posted`, interrupts in `irq`, blocks of memory in `bulk`,
//! many requests at once in `batch`.
//!
//! The protocol has no request numbers: the n-th answer belongs to the n-th request. So answers
//! that came too late are counted, and dropped when they come.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use vm_memory::GuestAddress;

use self::posted::Posted;
use super::answer::{self, Endian, Wrong};
use super::channel::{Channel, Fault, Step, Until};
use super::irq::Irqs;
use super::transcript::{Transcript, Way, show};
use super::{Batch, Deadline, Error, Result};

/// Calls a macro with all accesses to ports and registers.
macro_rules! for_each_access {
    ($define:ident) => {
        $define! {
            u16, u8, inb, outb, "port";
            u16, u16, inw, outw, "port";
            u16, u32, inl, outl, "port";
            GuestAddress, u8, readb, writeb, "guest address";
            GuestAddress, u16, readw, writew, "guest address";
            GuestAddress, u32, readl, writel, "guest address";
            GuestAddress, u64, readq, writeq, "guest address";
        }
    };
}
pub(super) use for_each_access;
pub(crate) use posted::MOST_POSTED;

/// A client of the qtest protocol.
///
/// `readw`, `writel` and their like take and give numbers as the guest's CPU would load and
/// store them: QEMU swaps bytes for a big-endian guest, and nothing is swapped here. Blocks of
/// bytes are the bytes in memory, in order. Port accesses are little-endian on every machine.
///
/// All methods fail with the [`Error`]s of the connection: no answer in time, closed, garbled.
pub struct Qtest {
    pub(super) inner: RefCell<Inner>,
    /// Where the virtual clock was when QEMU last said so.
    clock: Cell<Duration>,
    lasting: Cell<Option<&'static str>>,
}

pub(super) struct Inner {
    channel: Channel,
    posted: Posted,
    /// How many of the last exchange's requests were posted writes.
    ahead: usize,
    /// Answers to requests that were given up, which will come before any other.
    owed: usize,
    pub(super) irqs: Irqs,
}

macro_rules! define_accesses {
    ($($where:ty, $value:ty, $read:ident, $write:ident, $what:literal;)*) => {
        /// Ports (x86) and registers in memory, one access each.
        impl Qtest {
            $(
                #[doc = concat!("Reads the `", stringify!($value), "` at a ", $what, ".")]
                pub fn $read(&self, at: $where) -> Result<$value> {
                    let max = u64::from(<$value>::MAX);
                    let request =
                        |out: &mut Vec<u8>| put_access(out, stringify!($read), &[at.raw()]);
                    self.ask(request, |line| answer::number(line, max))
                        .map(|value| value as $value)
                }

                #[doc = concat!("Writes a `", stringify!($value), "` to a ", $what, ".")]
                pub fn $write(&self, at: $where, value: $value) -> Result<()> {
                    let numbers = [at.raw(), value.into()];
                    self.post(|out| put_access(out, stringify!($write), &numbers))
                }
            )*
        }
    };
}
for_each_access!(define_accesses);

impl Qtest {
    /// A client on `stream`, whose other end is QEMU's qtest character device.
    ///
    /// # Errors
    /// [`Error::Io`] if the socket refuses its settings. Nothing is sent yet.
    pub fn new(
        stream: UnixStream,
        deadline: Rc<Deadline>,
        transcript: Rc<Transcript>,
    ) -> Result<Self> {
        let (sent, received) = (Way::QtestSent, Way::QtestReceived);
        let channel = Channel::new(stream, deadline, transcript, sent, received)?;
        Ok(Self {
            inner: RefCell::new(Inner {
                channel,
                posted: Posted::default(),
                ahead: 0,
                owed: 0,
                irqs: Irqs::default(),
            }),
            clock: Cell::new(Duration::ZERO),
            lasting: Cell::new(None),
        })
    }

    /// Says that the socket is QEMU's standard input and output, as `-qtest stdio` has it.
    /// QEMU and its libraries write there as well (GLib's `Bail out!` before an abort), so a
    /// line that is no answer is passed over. It is in the transcript.
    pub fn note_stdio(&self) {
        let is_stray = |line: &[u8]| answer::edge(line).is_none() && !answer::is_answer(line);
        self.inner.borrow_mut().channel.pass_over(is_stray);
    }

    /// Moves the virtual clock on by `step`, or without one to the next timer, running the
    /// timers on the way. Returns the new virtual time.
    ///
    /// # Errors
    /// [`Error::Refused`] if time could not move: `step` is zero, or no timer is pending. Older
    /// QEMUs (7.2, say) answer with the unchanged time instead; see
    /// [`clock_step_next`](Self::clock_step_next) for one answer from all.
    pub fn clock_step(&self, step: Option<Duration>) -> Result<Duration> {
        self.ask(|out| put_clock_step(out, step), answer::clock).map(|time| self.note_clock(time))
    }

    /// Moves the virtual clock on to the next timer. Returns the new virtual time, or `None` if
    /// no timer is pending, whichever way this QEMU says so.
    ///
    /// # Errors
    /// [`Error::Refused`] if this QEMU has no clock commands, as without the qtest accelerator.
    pub fn clock_step_next(&self) -> Result<Option<Duration>> {
        let before = self.clock.get();
        match self.clock_step(None) {
            Ok(now) => Ok((now != before).then_some(now)),
            Err(Error::Refused { answer, .. }) if !answer.contains("Unknown command") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Moves the virtual clock on to `time` since the machine's start, running the timers on
    /// the way. Returns the virtual time then: a later one if the clock was already past it.
    pub fn clock_set(&self, time: Duration) -> Result<Duration> {
        self.ask(|out| put_clock_set(out, time), answer::clock).map(|time| self.note_clock(time))
    }

    /// The virtual time when QEMU last told it; zero before.
    pub fn clock_last_seen(&self) -> Duration {
        self.clock.get()
    }

    pub(super) fn note_clock(&self, nanoseconds: u64) -> Duration {
        let time = Duration::from_nanos(nanoseconds);
        self.clock.set(time);
        time
    }

    /// The byte order of the guest's CPU.
    pub fn endianness(&self) -> Result<Endian> {
        self.ask(|out| put(out, format_args!("endianness")), answer::endian)
    }

    /// Calls the RTAS function `name` of a pseries machine (PAPR, section 7.2.6). `args` is
    /// where its `nargs` big-endian words are in guest memory, `ret` where it shall put `nret`
    /// of them, the first being its status. Returns the hypercall's own status: 0 for success.
    ///
    /// # Errors
    /// [`Error::Refused`] on another machine.
    pub fn rtas(
        &self,
        name: &str,
        nargs: u32,
        args: GuestAddress,
        nret: u32,
        ret: GuestAddress,
    ) -> Result<u64> {
        check_words(&format!("rtas {name}"), &[name])?;
        let (args, ret) = (args.0, ret.0);
        let text = format_args!("rtas {name} {nargs} {args:#x} {nret} {ret:#x}");
        self.ask(|out| put(out, text), |line| answer::number(line, u64::MAX))
    }

    /// Loads a module of QEMU: the file `PREFIX` `NAME` `.so` from its module directory.
    ///
    /// # Errors
    /// [`Error::Refused`] if there is no such module. A QEMU built without modules may say that
    /// all is well.
    pub fn module_load(&self, prefix: &str, name: &str) -> Result<()> {
        let text = format!("module_load {prefix} {name}");
        check_words(&text, &[prefix, name])?;
        self.note_lasting("module_load");
        self.ask(|out| put(out, format_args!("{text}")), answer::nothing)
    }

    /// Sends any other request, such as one that only a newer QEMU or a certain machine knows
    /// (`csr` on newer RISC-V ones).
    /// Returns what follows `OK `.
    ///
    /// # Errors
    /// [`Error::Argument`] if `request` is not one line, or one that QEMU does not answer: from
    /// version 11 on those are empty lines and lines that begin with `#`. QEMU itself aborts on
    /// a command with arguments missing.
    pub fn command(&self, request: &str) -> Result<String> {
        if request.is_empty() || request.contains(['\n', '\0']) {
            return Err(bad_argument(request, "a request is one line of text"));
        }
        // From QEMU 11 on; older ones answer that they know no such command.
        if request.starts_with('#') || request.trim().is_empty() {
            let why = "QEMU answers neither empty lines nor those that begin with `#`";
            return Err(bad_argument(request, why));
        }
        self.note_lasting("a raw request");
        let text = |line: &[u8]| {
            answer::payload(line).map(|text| String::from_utf8_lossy(text).into_owned())
        };
        self.ask(|out| put(out, format_args!("{request}")), text)
    }

    /// Starts a batch: many requests that are sent together, for one round trip.
    pub fn batch(&self) -> Batch<'_> {
        Batch::new(self)
    }

    /// Where its lines are kept.
    pub(crate) fn transcript(&self) -> Rc<Transcript> {
        self.inner.borrow().channel.transcript()
    }

    /// What was done that a reset of the machine does not undo, if anything was: lines that
    /// are intercepted or set from outside, modules, requests that only QEMU understands.
    pub fn lasting_change(&self) -> Option<&'static str> {
        self.lasting.get()
    }

    /// Notes that a reset of the machine will not undo `what`.
    pub(super) fn note_lasting(&self, what: &'static str) {
        self.lasting.set(Some(what));
    }

    /// The socket itself, for measuring what this client adds to it. Whoever reads an answer
    /// from it must have sent the request.
    #[doc(hidden)]
    pub fn socket(&self) -> std::io::Result<UnixStream> {
        self.flush_quietly();
        self.inner.borrow().channel.socket()
    }

    /// Makes `other`, a client of the QEMU to which the machine of this one is about to move,
    /// what this one is: its clock is set, its lines are intercepted.
    ///
    /// # Errors
    /// Those of the connection.
    pub(crate) fn hand_over_to(&self, other: &Self) -> Result<()> {
        self.flush()?;
        if !self.clock.get().is_zero() {
            other.clock_set(self.clock.get())?;
        }
        self.hand_lines_to(other)
    }

    /// Goes on with the connection of `other`. What is known of lines stays.
    pub(crate) fn go_on_at(&self, other: &Self) {
        let there = &mut *other.inner.borrow_mut();
        let here = &mut *self.inner.borrow_mut();
        std::mem::swap(&mut here.channel, &mut there.channel);
        here.owed = there.owed;
    }

    /// One request, one answer. Allocates nothing unless something is wrong.
    pub(super) fn ask<T>(
        &self,
        request: impl FnOnce(&mut Vec<u8>),
        parse: impl FnOnce(&[u8]) -> Result<T, Wrong>,
    ) -> Result<T> {
        let inner = &mut *self.inner.borrow_mut();
        request(inner.begin());
        let (mut parse, mut value) = (Some(parse), None);
        inner.run(1, |_, line| {
            value = parse.take().map(|parse| parse(line)).transpose()?;
            Ok(())
        })?;
        // `run` gives every answer or fails.
        let none = || {
            Wrong::Garbled("an answer".into()).error(inner.describe(inner.ahead, 1), String::new())
        };
        value.ok_or_else(none)
    }
}

impl Inner {
    /// Where to write the requests of the next [`run`](Self::run), behind those that waited.
    pub(super) fn begin(&mut self) -> &mut Vec<u8> {
        let out = self.channel.begin();
        self.ahead = self.posted.move_to(out);
        out
    }

    /// Sends the requests that were written, `count` of them, and gives `take` each answer with
    /// its number. The first that is wrong is the error, but those behind it are taken too.
    pub(super) fn run(
        &mut self,
        count: usize,
        mut take: impl FnMut(usize, &[u8]) -> Result<(), Wrong>,
    ) -> Result<()> {
        if let Some(error) = self.posted.take_error() {
            return Err(error);
        }
        self.check_in_step()?;
        let Self { channel, owed, irqs, ahead, .. } = self;
        let (ahead, all) = (*ahead, *ahead + count);
        if all == 0 {
            return Ok(());
        }
        let mut got = 0_usize;
        let mut first_wrong = None;
        let (result, requests) = channel.exchange(Until::Done, |line| {
            if let Some(edge) = answer::edge(line) {
                irqs.note(edge);
                return Step::Aside;
            }
            if *owed > 0 {
                *owed -= 1;
                return Step::Answer { left: all };
            }
            let taken = match got.checked_sub(ahead) {
                Some(index) => take(index, line),
                None => answer::nothing(line),
            };
            if let (Err(wrong), None) = (taken, &first_wrong) {
                first_wrong = Some((got, wrong, show(line)));
            }
            got += 1;
            if got < all { Step::Answer { left: all - got } } else { Step::Done }
        });
        *owed += requests.saturating_sub(got);
        if let Err(fault) = result {
            let what = self.describe(got, count);
            return Err(self.fault(fault, what));
        }
        match first_wrong {
            Some((at, wrong, answer)) => Err(wrong.error(self.describe(at, count), answer)),
            None => Ok(()),
        }
    }

    fn fault(&mut self, fault: Fault, what: String) -> Error {
        if matches!(fault, Fault::TooLong) {
            // That line was an answer too.
            self.owed = self.owed.saturating_sub(1);
        }
        self.channel.error(fault, what)
    }

    /// Notes the interrupts that are buffered, and makes sure that no answer is: it would be
    /// taken for that of the next request.
    fn check_in_step(&mut self) -> Result<()> {
        let Self { channel, owed, irqs, .. } = self;
        let mut stray = None;
        let taken = channel.take_lines(&mut aside(owed, irqs, &mut stray));
        self.aside_result(taken.map(drop), stray)
    }

    /// Notes the interrupts that have come, without waiting.
    pub(super) fn take_arrived(&mut self) -> Result<()> {
        let Self { channel, owed, irqs, .. } = self;
        let mut stray = None;
        let taken = channel.take_arrived(aside(owed, irqs, &mut stray));
        self.aside_result(taken, stray)
    }

    fn aside_result(&mut self, taken: Result<(), Fault>, stray: Option<String>) -> Result<()> {
        if let Some(answer) = stray {
            return Err(Error::Garbled {
                request: "(no request)".into(),
                answer,
                expected: "nothing but interrupts".into(),
            });
        }
        taken.map_err(|fault| self.fault(fault, "(no request)".into()))
    }

    /// The request number `at` of the last run, of which `count` were no posted writes.
    fn describe(&self, at: usize, count: usize) -> String {
        let request = self.channel.request(at);
        match at.checked_sub(self.ahead) {
            Some(index) if count > 1 => format!("{request} (request {} of {count})", index + 1),
            _ => request,
        }
    }
}

impl Wrong {
    /// The error for this answer to `request`.
    fn error(self, request: String, answer: String) -> Error {
        match self {
            Self::Refused => Error::Refused { request, answer },
            Self::Garbled(expected) => Error::Garbled { request, answer, expected },
        }
    }
}

/// What to do with lines while no answer is waited for.
fn aside<'a>(
    owed: &'a mut usize,
    irqs: &'a mut Irqs,
    stray: &'a mut Option<String>,
) -> impl FnMut(&[u8]) -> Step + 'a {
    move |line| {
        if let Some(edge) = answer::edge(line) {
            irqs.note(edge);
        } else if *owed > 0 {
            *owed -= 1;
        } else {
            stray.get_or_insert_with(|| show(line));
        }
        Step::Aside
    }
}

/// The number that stands for a place in a request.
pub(super) trait Raw {
    fn raw(self) -> u64;
}

impl Raw for u16 {
    fn raw(self) -> u64 {
        self.into()
    }
}

impl Raw for GuestAddress {
    fn raw(self) -> u64 {
        self.0
    }
}

/// Writes a request that is a word and numbers, and its line end: by hand, because formatting
/// would be most of what a register access costs on this side.
pub(super) fn put_access(out: &mut Vec<u8>, command: &str, numbers: &[u64]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(command.as_bytes());
    for number in numbers {
        out.extend_from_slice(b" 0x");
        let nibbles = (64 - number.leading_zeros()).div_ceil(4).max(1);
        for nibble in (0..nibbles).rev() {
            out.push(DIGITS[(number >> (4 * nibble)) as usize & 0xf]);
        }
    }
    out.push(b'\n');
}

/// Writes one request and its line end.
pub(super) fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to memory does not fail.
    let _ = writeln!(out, "{text}");
}

pub(super) fn put_clock_step(out: &mut Vec<u8>, step: Option<Duration>) {
    match step {
        Some(step) => put(out, format_args!("clock_step {}", nanoseconds(step))),
        None => put(out, format_args!("clock_step")),
    }
}

pub(super) fn put_clock_set(out: &mut Vec<u8>, time: Duration) {
    put(out, format_args!("clock_set {}", nanoseconds(time)));
}

/// QEMU's clock is a signed number; 292 years are as good as any longer time.
fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// Makes sure that `words` do not change the sense of the request they become part of.
pub(super) fn check_words(request: &str, words: &[&str]) -> Result<()> {
    let bad = |word: &&str| word.is_empty() || word.contains(|c: char| c == ' ' || c.is_control());
    if words.iter().any(bad) {
        let why = "a name in a request is not empty and has no spaces";
        return Err(bad_argument(request, why));
    }
    Ok(())
}

pub(super) fn bad_argument(request: &str, why: impl Into<String>) -> Error {
    Error::Argument { request: show(request.as_bytes()), why: why.into() }
}

#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod posted;
#[cfg(test)]
pub(super) mod tests;
