//! The recording run: which answers a test gets, and what there is to know of each for changing
//! it in another run.

use std::collections::HashMap;
use std::rc::Weak;
use std::time::{Duration, Instant};

use super::answer::{Access, Content, Expects, Request, Source};
use super::listen::{Ear, Heard, Key, Say};
use super::place::Trace;
use crate::qemu::{GUARD_PATTERN, Vm};

/// An answer that a test got.
pub(super) struct Answer {
    pub key: Key,
    pub source: Source,
    /// What it is the answer to.
    pub request: Request,
    pub content: Content,
    /// What was there when it was last asked for and was something else.
    pub before: Option<Content>,
    /// The answer before it on the same wire.
    pub previous: Option<Key>,
    /// What the test next wrote to the place that it read, up to [`WRITES`] times.
    pub written: Vec<Content>,
    /// No more such answers came before the test did something else.
    pub is_last: bool,
    /// The test waited for another answer.
    pub is_early: bool,
    /// Whose request it was.
    pub trace: Trace,
}

/// How many answers of a test are kept, with a trace each; those behind are not changed. Only a
/// test that repeats itself has more.
const MOST_ANSWERS: usize = 20_000;

/// A value that is written back is among so many writes.
const WRITES: usize = 4;

/// What was read at one place.
#[derive(Default)]
struct Place {
    generation: u64,
    /// The answers of this generation.
    answers: Vec<usize>,
    last: Option<Content>,
    before: Option<Content>,
}

/// Records all answers of a run.
pub(super) struct Recorder {
    answers: Vec<Answer>,
    /// How many of them came before the test began.
    attaching: usize,
    places: HashMap<(Source, String), Place>,
    /// The answers to reads of a place that has not been written so often since.
    unwritten: HashMap<String, Vec<usize>>,
    /// The last answers: on the qtest socket, on that of QMP.
    previous: [Option<Key>; 2],
    /// Knows when the test begins.
    vm: Weak<Vm>,
    heard: Instant,
    slowest: Duration,
}

/// A recording.
pub(super) struct Recording {
    /// In the order in which they came.
    pub answers: Vec<Answer>,
    /// How many of them came before the test began.
    pub attaching: usize,
    /// The longest that the test waited for anything.
    pub slowest: Duration,
}

impl Recorder {
    /// Records what goes to and from `vm`.
    pub fn new(vm: Weak<Vm>) -> Self {
        Self {
            answers: Vec::new(),
            attaching: 0,
            places: HashMap::new(),
            unwritten: HashMap::new(),
            previous: [None; 2],
            vm,
            heard: Instant::now(),
            slowest: Duration::ZERO,
        }
    }

    /// What was recorded.
    pub fn finish(&mut self) -> Recording {
        for (_, place) in self.places.drain() {
            close(&mut self.answers, &place.answers);
        }
        let answers = std::mem::take(&mut self.answers);
        Recording { answers, attaching: self.attaching, slowest: self.slowest }
    }

    fn clocked(&mut self) {
        self.slowest = self.slowest.max(self.heard.elapsed());
        self.heard = Instant::now();
    }
}

/// Ends a series of `own` answers of one place, between which the test did nothing else: if
/// only the last differs, the test waited for it.
fn close(answers: &mut [Answer], own: &[usize]) {
    let [waited @ .., last] = own else { return };
    answers[*last].is_last = true;
    let Some(&first) = waited.first() else { return };
    let same = |&number: &usize| answers[number].content == answers[first].content;
    if waited.iter().all(same) && !same(last) {
        for &number in waited {
            answers[number].is_early = true;
        }
    }
}

impl Ear for Recorder {
    fn asked(&mut self, request: &Request) {
        self.clocked();
        if let Access::Write { place, content } = &request.access {
            let Some(numbers) = self.unwritten.get_mut(place) else { return };
            numbers.retain(|&number| {
                let written = &mut self.answers[number].written;
                written.push(content.clone());
                written.len() < WRITES
            });
        }
    }

    fn heard(&mut self, heard: Heard) -> Option<Vec<Say>> {
        self.clocked();
        let wire = match heard.source {
            Source::Qtest | Source::Interrupt | Source::Memory | Source::Image => 0,
            Source::Reply | Source::Event => 1,
        };
        let previous = self.previous[wire];
        if matches!(heard.source, Source::Qtest | Source::Reply) {
            self.previous[wire] = Some(heard.key);
        }
        let content = heard.content.filter(|content| !is_guard(content))?;

        let number = self.answers.len();
        if number >= MOST_ANSWERS {
            return None;
        }
        let place = self.places.entry((heard.source, heard.request.text.clone())).or_default();
        if place.generation != heard.generation {
            close(&mut self.answers, &place.answers);
            place.answers.clear();
            place.generation = heard.generation;
        }
        place.answers.push(number);
        if place.last.as_ref() != Some(&content) {
            place.before = place.last.replace(content.clone());
        }
        let before = place.before.clone();
        match &heard.request.access {
            Access::Read { expects: Expects::Message, .. } => {}
            Access::Read { place, .. } => {
                self.unwritten.entry(place.clone()).or_default().push(number);
            }
            _ => {}
        }
        if self.vm.upgrade().is_some_and(|vm| vm.attached().is_none()) {
            self.attaching = number + 1;
        }
        self.answers.push(Answer {
            key: heard.key,
            source: heard.source,
            request: heard.request.clone(),
            content,
            before,
            previous,
            written: Vec::new(),
            is_last: false,
            is_early: false,
            trace: Trace::here(),
        });
        // Looking at the trace takes time that is not QEMU's.
        self.heard = Instant::now();
        None
    }
}

/// Whether it is what stands around buffers, which the harness looks at by itself.
fn is_guard(content: &Content) -> bool {
    matches!(content, Content::Bytes(bytes) if *bytes == GUARD_PATTERN)
}
