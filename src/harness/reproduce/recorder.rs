//! Listens in on a test and keeps what it asked of QEMU, and what came, so that it can be
//! written down as a reproducer. It is always on, so noting something is one copy; turning
//! it into requests waits until somebody wants them.

mod store;

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use vm_memory::GuestAddress;

use self::store::Store;
use crate::harness::reproduce::reproducer::{Record, Step};
use crate::protocol::{Passage, Tap, Wire, answer, message::Message};
use crate::qemu::{Between, GUARD_PATTERN, Vm};

/// How much is kept of one test, in bytes.
pub(super) const LIMIT: usize = 32 << 20;

/// The most that one request moves, in bytes.
const CHUNK: usize = 64 << 10;

/// Up to how many bytes data is written in hexadecimal, which people can read.
const READABLE: usize = 64;

/// Events that a test waits for before it goes on.
const AWAITED: [&str; 2] = ["RESET", "DEVICE_DELETED"];

/// What one test asked of QEMU.
pub(crate) struct Recorder {
    limit: usize,
    log: RefCell<Log>,
}

struct Log {
    /// The entries, each with what came with it.
    store: Store,
    /// The names of images, by number.
    images: Vec<String>,
    /// It did not all fit.
    is_full: bool,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sent(Wire),
    Received(Wire),
    MemoryRead,
    MemoryWritten,
    ImageRead(u16),
    ImageWritten(u16),
    Reset,
    Moved,
}

struct Entry {
    kind: Kind,
    length: u32,
    /// An address, or an offset in an image.
    at: u64,
}

/// The bytes of an [`Entry`] in the [`Store`].
const ENTRY: usize = 16;

impl Entry {
    fn to_bytes(&self) -> [u8; ENTRY] {
        let (kind, number) = match self.kind {
            Kind::Sent(Wire::Qtest) => (0, 0),
            Kind::Sent(Wire::Qmp) => (1, 0),
            Kind::Received(Wire::Qtest) => (2, 0),
            Kind::Received(Wire::Qmp) => (3, 0),
            Kind::MemoryRead => (4, 0),
            Kind::MemoryWritten => (5, 0),
            Kind::ImageRead(number) => (6, number),
            Kind::ImageWritten(number) => (7, number),
            Kind::Reset => (8, 0),
            Kind::Moved => (9, 0),
        };
        let kind = u128::from(kind | u32::from(number) << 16);
        (kind | u128::from(self.length) << 32 | u128::from(self.at) << 64).to_le_bytes()
    }

    fn from_bytes(bytes: [u8; ENTRY]) -> Self {
        let all = u128::from_le_bytes(bytes);
        let number = (all >> 16) as u16;
        let kind = match all as u16 {
            0 => Kind::Sent(Wire::Qtest),
            1 => Kind::Sent(Wire::Qmp),
            2 => Kind::Received(Wire::Qtest),
            3 => Kind::Received(Wire::Qmp),
            4 => Kind::MemoryRead,
            5 => Kind::MemoryWritten,
            6 => Kind::ImageRead(number),
            7 => Kind::ImageWritten(number),
            8 => Kind::Reset,
            _ => Kind::Moved,
        };
        Self { kind, length: (all >> 32) as u32, at: (all >> 64) as u64 }
    }
}

impl Recorder {
    /// Listens in on `vm` from now on, instead of whoever did before.
    pub fn attach(vm: &Vm) -> Rc<Self> {
        let recorder = Rc::new(Self::new(LIMIT));
        vm.transcript().set_tap(Some(recorder.clone()));
        recorder
    }

    fn new(limit: usize) -> Self {
        let log = Log { store: Store::new(), images: Vec::new(), is_full: false };
        Self { limit, log: log.into() }
    }

    fn note(&self, kind: Kind, at: u64, bytes: &[u8]) {
        // While a failed test is unwound, its buffers are looked at: not of its own accord.
        if !std::thread::panicking() {
            self.log.borrow_mut().note(self.limit, kind, at, bytes);
        }
    }

    fn image(&self, name: &str) -> u16 {
        let images = &mut self.log.borrow_mut().images;
        let number = images.iter().position(|known| known == name).unwrap_or_else(|| {
            images.push(name.to_owned());
            images.len() - 1
        });
        // A machine has a handful.
        number as u16
    }

    /// All of it, as requests that do the same.
    pub fn record(&self) -> Record {
        let log = self.log.borrow();
        let mut steps = Steps::default();
        let mut rest = log.store.bytes();
        while let Some((head, behind)) = rest.split_first_chunk() {
            let entry = Entry::from_bytes(*head);
            let (bytes, behind) = behind.split_at(entry.length as usize);
            steps.take(&entry, bytes, &log.images);
            rest = behind;
        }
        let steps = steps.steps.into_iter().filter(|step| !step.text.is_empty());
        Record { steps: steps.collect(), is_whole: !log.is_full }
    }
}

impl Log {
    fn note(&mut self, limit: usize, kind: Kind, at: u64, bytes: &[u8]) {
        let more = ENTRY + bytes.len();
        // What comes after a gap leads nowhere.
        self.is_full |= self.store.bytes().len() + more > limit || more > self.store.room();
        if !self.is_full {
            self.store.push(&Entry { kind, length: bytes.len() as u32, at }.to_bytes());
            self.store.push(bytes);
        }
    }
}

impl Tap for Recorder {
    fn sent(&self, wire: Wire, line: &[u8]) {
        self.note(Kind::Sent(wire), 0, line);
    }

    fn received(&self, wire: Wire, line: &[u8], _: &mut dyn FnMut(Vec<u8>)) -> Passage {
        self.note(Kind::Received(wire), 0, line);
        Passage::Through
    }

    fn memory_read(&self, address: GuestAddress, bytes: &mut [u8]) {
        self.note(Kind::MemoryRead, address.0, bytes);
    }

    fn memory_written(&self, address: GuestAddress, bytes: &[u8]) {
        self.note(Kind::MemoryWritten, address.0, bytes);
    }

    fn image_read(&self, name: &str, offset: u64, bytes: &mut [u8]) {
        self.note(Kind::ImageRead(self.image(name)), offset, bytes);
    }

    fn image_written(&self, name: &str, offset: u64, bytes: &[u8]) {
        self.note(Kind::ImageWritten(self.image(name)), offset, bytes);
    }

    fn machine_reset(&self) {
        self.note(Kind::Reset, 0, b"");
    }

    fn machine_moved(&self) {
        self.note(Kind::Moved, 0, b"");
    }
}

/// Entries on their way to requests.
#[derive(Default)]
struct Steps {
    steps: Vec<Step>,
    /// The requests that are not answered yet, by wire.
    qtest: VecDeque<usize>,
    qmp: VecDeque<usize>,
    /// The last look at each piece of mapped memory since something was done that is more
    /// than looking and letting time pass.
    looks: HashMap<String, usize>,
}

/// Requests that a test makes while it waits.
const WAITING: [&str; 5] = ["read", "in", "b64read", "clock_step", "{\"execute\":\"query-"];

impl Steps {
    fn take(&mut self, entry: &Entry, bytes: &[u8], images: &[String]) {
        let image = |number: u16| images.get(usize::from(number)).map_or("", String::as_str);
        match entry.kind {
            Kind::Sent(wire) => {
                let waiting = match wire {
                    Wire::Qtest => &mut self.qtest,
                    Wire::Qmp => &mut self.qmp,
                };
                waiting.push_back(self.steps.len());
                let request = text(bytes);
                if !WAITING.iter().any(|word| request.starts_with(word)) {
                    self.looks.clear();
                }
                self.steps.push(Step::new(request));
            }
            Kind::Received(Wire::Qtest) => self.qtest_line(bytes),
            Kind::Received(Wire::Qmp) => self.qmp_line(bytes),
            Kind::MemoryRead => chunks(entry.at, bytes, |at, bytes| {
                let request = read_request(at, bytes.len());
                // Of a loop that waits only the last look counts: how many there are is chance.
                let before = self.looks.insert(request.clone(), self.steps.len());
                if let Some(before) = before {
                    self.steps[before].text.clear();
                }
                self.push(request, read_answer(bytes));
            }),
            Kind::MemoryWritten => chunks(entry.at, bytes, |at, bytes| {
                self.looks.clear();
                self.push(write_request(at, bytes), "OK".to_owned());
            }),
            Kind::ImageRead(number) => {
                let request = Step::read_image(image(number), entry.at, bytes.len());
                self.push(request, format!("OK 0x{}", hex::encode(bytes)));
            }
            Kind::ImageWritten(number) => chunks(entry.at, bytes, |at, bytes| {
                self.steps.push(Step::new(Step::write_image(image(number), at, bytes)));
            }),
            Kind::Reset | Kind::Moved => {
                self.looks.clear();
                let moved = entry.kind == Kind::Moved;
                self.steps.push(Step::between(if moved {
                    Between::Migrate
                } else {
                    Between::Reset
                }));
            }
        }
    }

    fn push(&mut self, request: String, answer: String) {
        self.steps.push(Step { answer: Some(answer), ..Step::new(request) });
    }

    fn qtest_line(&mut self, line: &[u8]) {
        if answer::edge(line).is_some() {
            // It comes before the answer to what caused it.
            let last = self.steps.len().checked_sub(1);
            let step = self.qtest.front().copied().or(last);
            if let Some(step) = step.and_then(|step| self.steps.get_mut(step)) {
                step.interrupts.push(text(line));
            }
        } else if let Some(step) = self.qtest.pop_front() {
            self.steps[step].answer = Some(text(line));
        }
    }

    fn qmp_line(&mut self, line: &[u8]) {
        match Message::parse(line) {
            Some(Message::Event(event)) if AWAITED.contains(&&*event.name) => {
                self.steps.push(Step::new(Step::wait_event(&event.name)));
            }
            Some(Message::Event(_)) => {}
            _ => {
                if let Some(step) = self.qmp.pop_front() {
                    self.steps[step].answer = Some(text(line));
                }
            }
        }
    }
}

/// A line that is safe to show and to keep in a file; most are as they are.
fn text(line: &[u8]) -> String {
    match std::str::from_utf8(line) {
        Ok(line) if !line.contains(char::is_control) => line.to_owned(),
        _ => line.escape_ascii().to_string(),
    }
}

/// Calls `each` with pieces that one request can move. Blocks of nothing are left out: old
/// QEMUs stumble over them.
fn chunks(at: u64, bytes: &[u8], mut each: impl FnMut(u64, &[u8])) {
    for (number, chunk) in bytes.chunks(CHUNK).enumerate() {
        each(at + (number * CHUNK) as u64, chunk);
    }
}

fn read_request(at: u64, length: usize) -> String {
    let command = if length <= READABLE { "read" } else { "b64read" };
    format!("{command} {at:#x} {length:#x}")
}

fn read_answer(bytes: &[u8]) -> String {
    match bytes.len() {
        0..=READABLE => format!("OK 0x{}", hex::encode(bytes)),
        _ => format!("OK {}", STANDARD.encode(bytes)),
    }
}

/// The request that writes `bytes` to guest memory, which need not be written one by one
/// when they are all the same.
pub(crate) fn write_request(at: u64, bytes: &[u8]) -> String {
    let length = bytes.len();
    match bytes {
        [first, rest @ ..] if length > 1 && rest.iter().all(|byte| byte == first) => {
            format!("memset {at:#x} {length:#x} {first:#x}")
        }
        _ if length <= READABLE => format!("write {at:#x} {length:#x} 0x{}", hex::encode(bytes)),
        _ => format!("b64write {at:#x} {length:#x} {}", STANDARD.encode(bytes)),
    }
}

/// The data of a request that writes guest memory, and where it goes.
pub(crate) fn written(request: &str) -> Option<(u64, Vec<u8>)> {
    let words: Vec<&str> = request.split(' ').collect();
    let number = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
    let (at, bytes) = match words[..] {
        ["write", at, _, data] => (at, hex::decode(data.strip_prefix("0x")?).ok()?),
        ["b64write", at, _, data] => (at, STANDARD.decode(data).ok()?),
        _ => return None,
    };
    Some((number(at)?, bytes))
}

/// Whether it is the look at a buffer's guards when the buffer is dropped, and they are in
/// order: a test does that after it has found what it objects to.
pub(crate) fn is_guard_check(step: &Step) -> bool {
    let in_hex = format!("OK 0x{}", hex::encode(GUARD_PATTERN));
    let in_base64 = format!("OK {}", STANDARD.encode(GUARD_PATTERN));
    step.answer.as_ref().is_some_and(|answer| *answer == in_hex || *answer == in_base64)
}

#[cfg(test)]
mod tests;
