//! Listens in on a test: every request and every answer as one value, whichever wire or memory
//! it came over, and numbered so that the same answer is found again in another run. What is
//! done with them is up to an [`Ear`].

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::json;
use vm_memory::GuestAddress;

use super::answer::{
    Access, Content, QmpLine, Request, Requests, Source, answer, interrupt, memory_place,
    only_asks, qtest_line,
};
use crate::protocol::{Passage, Tap, Wire};

/// Which answer it is. A plain number would do if all runs were alike; but a wait for what
/// takes real time asks now more often, now less. So the answers to equal requests that say
/// the same are counted, and those of one wait as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    request: u64,
    answer: u64,
    /// How often, before, answers to this request began to say this.
    run: u32,
    /// How often it has said so since, without a break.
    index: u32,
}

impl Key {
    /// Whether both are answers to equal requests.
    pub fn is_of_the_same_request(&self, other: &Self) -> bool {
        self.request == other.request
    }
}

/// An answer that came.
pub(super) struct Heard<'a> {
    pub key: Key,
    pub source: Source,
    /// What it is the answer to.
    pub request: &'a Request,
    /// What can be changed in it; `None` for what only keeps the streams in step.
    pub content: Option<Content>,
    /// Grows with every request that may change something. Of the answers to equal requests
    /// with the same number, all but the last were of no use to the test: it waited.
    pub generation: u64,
}

/// What the test gets.
pub(super) enum Say {
    /// The answer as it came.
    Same,
    /// Something else.
    This(Content),
}

/// Who is told.
pub(super) trait Ear {
    /// The test asks for something.
    fn asked(&mut self, request: &Request);

    /// An answer came. What the test gets, in its order; `None` leaves it as it is.
    fn heard(&mut self, heard: Heard) -> Option<Vec<Say>>;
}

#[derive(Default)]
struct Numbering {
    generation: u64,
    places: HashMap<u64, Place>,
}

#[derive(Default)]
struct Place {
    last: Option<(u64, u64)>,
    runs: HashMap<u64, u32>,
    index: u32,
}

fn hash(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

impl Numbering {
    fn key(&mut self, source: Source, request: &str, said: &impl Hash) -> Key {
        let (request, answer) = (hash((source, request)), hash(said));
        let place = self.places.entry(request).or_default();
        let run = place.runs.entry(answer).or_default();
        if place.last == Some((self.generation, answer)) {
            place.index += 1;
        } else {
            (*run, place.index) = (*run + 1, 0);
        }
        place.last = Some((self.generation, answer));
        Key { request, answer, run: *run, index: place.index }
    }
}

struct Inner<E> {
    requests: Requests,
    numbering: Numbering,
    /// Requests on the qtest socket that are not answered, oldest first.
    qtest: VecDeque<Request>,
    qmp: HashMap<u64, Request>,
    ear: E,
}

/// A tap that tells an [`Ear`].
pub(super) struct Listener<E>(RefCell<Inner<E>>);

impl<E: Ear> Listener<E> {
    pub fn new(ear: E) -> Self {
        Self(RefCell::new(Inner {
            requests: Requests::default(),
            numbering: Numbering::default(),
            qtest: VecDeque::new(),
            qmp: HashMap::new(),
            ear,
        }))
    }

    /// Takes the ear back.
    pub fn with_ear<T>(&self, look: impl FnOnce(&mut E) -> T) -> T {
        look(&mut self.0.borrow_mut().ear)
    }
}

impl<E: Ear> Inner<E> {
    fn asked(&mut self, request: &Request) {
        let changes_nothing = match &request.access {
            Access::Read { expects: super::answer::Expects::Message, .. } => {
                only_asks(&request.text)
            }
            Access::Read { .. } | Access::Aside => true,
            Access::Write { .. } | Access::Other => false,
        };
        if !changes_nothing {
            self.numbering.generation += 1;
        }
        self.ear.asked(request);
    }

    fn heard(
        &mut self,
        source: Source,
        request: &Request,
        said: &impl Hash,
        content: Option<Content>,
    ) -> Option<Vec<Say>> {
        let key = self.numbering.key(source, &request.text, said);
        let generation = self.numbering.generation;
        self.ear.heard(Heard { key, source, request, content, generation })
    }

    /// Bytes that were read past the sockets.
    fn bytes(&mut self, source: Source, place: String, bytes: &mut [u8]) {
        let expects = super::answer::Expects::Base64;
        let request = Request { text: place.clone(), access: Access::Read { place, expects } };
        let content = Content::Bytes(bytes.to_vec());
        let said = self.heard(source, &request, &content.clone(), Some(content));
        for say in said.into_iter().flatten() {
            if let Say::This(Content::Bytes(new)) = say
                && new.len() == bytes.len()
            {
                bytes.copy_from_slice(&new);
            }
        }
    }

    fn qtest_line(&mut self, line: &[u8], hand_on: &mut dyn FnMut(Vec<u8>)) -> Passage {
        let (said, expects) = if let Some(content) = interrupt(line) {
            let text = String::from_utf8_lossy(line).into_owned();
            let request = Request { text, access: Access::Other };
            (self.heard(Source::Interrupt, &request, &(), Some(content)), None)
        } else {
            let Some(request) = self.qtest.pop_front() else { return Passage::Through };
            let expects = match request.access {
                Access::Read { expects, .. } => Some(expects),
                _ => None,
            };
            let content = expects.and_then(|expects| answer(expects, line));
            // The clock, for one, is another in every run.
            let said = content.is_some().then_some(line);
            (self.heard(Source::Qtest, &request, &said, content), expects)
        };
        pass(said, line, hand_on, |content| match content {
            Content::Edge { .. } => qtest_line(content, None),
            _ => qtest_line(content, expects),
        })
    }

    fn qmp_line(&mut self, line: &[u8], hand_on: &mut dyn FnMut(Vec<u8>)) -> Passage {
        let Some(parsed) = QmpLine::parse(line) else { return Passage::Through };
        let message = &parsed.content;
        let said = if let Some(event) = message["event"].as_str() {
            let request = Request { text: event.to_owned(), access: Access::Other };
            let content = Some(Content::Message(message.clone()));
            self.heard(Source::Event, &request, &message.to_string(), content)
        } else {
            let request = parsed.id.and_then(|id| self.qmp.remove(&id));
            let Some(request) = request else { return Passage::Through };
            let says_something = message["return"] != json!({});
            let content = says_something.then(|| Content::Message(message.clone()));
            self.heard(Source::Reply, &request, &message.to_string(), content)
        };
        pass(said, line, hand_on, |content| match content {
            Content::Message(message) if message.get("event").is_some() => {
                let timestamp = json!({"seconds": 0, "microseconds": 0});
                let timestamp = parsed.timestamp.clone().unwrap_or(timestamp);
                QmpLine { content: json!(null), id: None, timestamp: Some(timestamp) }
                    .saying(message)
            }
            Content::Message(message) => parsed.saying(message),
            _ => line.to_vec(),
        })
    }
}

fn pass(
    said: Option<Vec<Say>>,
    line: &[u8],
    hand_on: &mut dyn FnMut(Vec<u8>),
    encode: impl Fn(&Content) -> Vec<u8>,
) -> Passage {
    let Some(said) = said else { return Passage::Through };
    for say in said {
        hand_on(match say {
            Say::Same => line.to_vec(),
            Say::This(content) => encode(&content),
        });
    }
    Passage::Replaced
}

impl<E: Ear> Tap for Listener<E> {
    fn sent(&self, wire: Wire, line: &[u8]) {
        let inner = &mut *self.0.borrow_mut();
        match wire {
            Wire::Qtest => {
                let request = inner.requests.qtest(line);
                inner.asked(&request);
                inner.qtest.push_back(request);
            }
            Wire::Qmp => {
                if let Some((id, request)) = inner.requests.qmp(line) {
                    inner.asked(&request);
                    inner.qmp.insert(id, request);
                }
            }
        }
    }

    fn received(&self, wire: Wire, line: &[u8], hand_on: &mut dyn FnMut(Vec<u8>)) -> Passage {
        let inner = &mut *self.0.borrow_mut();
        match wire {
            Wire::Qtest => inner.qtest_line(line, hand_on),
            Wire::Qmp => inner.qmp_line(line, hand_on),
        }
    }

    fn memory_read(&self, address: GuestAddress, bytes: &mut [u8]) {
        let place = memory_place(address.0, bytes.len());
        self.0.borrow_mut().bytes(Source::Memory, place, bytes);
    }

    fn memory_written(&self, address: GuestAddress, bytes: &[u8]) {
        let place = memory_place(address.0, bytes.len());
        self.written(place, bytes);
    }

    fn image_read(&self, name: &str, offset: u64, bytes: &mut [u8]) {
        let place = image_place(name, offset, bytes.len());
        self.0.borrow_mut().bytes(Source::Image, place, bytes);
    }

    fn image_written(&self, name: &str, offset: u64, bytes: &[u8]) {
        self.written(image_place(name, offset, bytes.len()), bytes);
    }
}

impl<E: Ear> Listener<E> {
    fn written(&self, place: String, bytes: &[u8]) {
        let content = Content::Bytes(bytes.to_vec());
        let text = format!("write {place}");
        self.0.borrow_mut().asked(&Request { text, access: Access::Write { place, content } });
    }
}

fn image_place(name: &str, offset: u64, length: usize) -> String {
    format!("image {name} {offset:#x} {length:#x}")
}
