//! A run in which one answer is changed.

use super::answer::{Access, Content, Request};
use super::change::{Change, What};
use super::listen::{Ear, Heard, Key, Say};
use super::record::Answer;

/// Which answer is changed, and how.
pub(super) struct Target {
    key: Key,
    previous: Option<Key>,
    content: Content,
    what: What,
    /// The place that was read, and what the test wrote there next.
    place: Option<String>,
    written: Vec<Content>,
    is_last: bool,
}

impl Target {
    pub fn new(answer: &Answer, change: &Change) -> Self {
        let place = match &answer.request.access {
            Access::Read { place, .. } => Some(place.clone()),
            _ => None,
        };
        Self {
            key: answer.key,
            previous: answer.previous,
            content: answer.content.clone(),
            what: change.what.clone(),
            place,
            written: answer.written.clone(),
            is_last: answer.is_last,
        }
    }
}

/// Changes one answer, and looks what the test does with it.
pub(super) struct Replay {
    target: Option<Target>,
    /// The interrupt or event was handed on before its time.
    was_early: bool,
    /// The change was made, in this generation of requests.
    changed: Option<u64>,
    /// So many writes to the place were looked at since.
    writes: usize,
    seen: Seen,
}

/// What was seen of a test's reaction to a change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The answer came, and was changed.
    pub changed: bool,
    /// The test wrote back what it read, with the change in it.
    pub rewritten: bool,
    /// The test asked the same again, as it does while it waits for something.
    pub asked_again: bool,
}

impl Replay {
    /// Changes `target`; without one, nothing.
    pub fn new(target: Option<Target>) -> Self {
        Self { target, was_early: false, changed: None, writes: 0, seen: Seen::default() }
    }

    /// What was seen.
    pub fn seen(&self) -> Seen {
        Seen { changed: self.changed.is_some(), ..self.seen }
    }
}

/// Whether `now` was written in place of `then` because `read` was changed to `changed`: it
/// differs in bits that were changed, and in no other.
fn shows_in(read: &Content, changed: &Content, then: &Content, now: &Content) -> bool {
    let all = (read.bytes(), changed.bytes(), then.bytes(), now.bytes());
    let (Some(read), Some(changed), Some(then), Some(now)) = all else { return false };
    let differs = |a: &[u8], b: &[u8]| -> Vec<u8> { a.iter().zip(b).map(|(a, b)| a ^ b).collect() };
    let (change, effect) = (differs(&read, &changed), differs(&then, &now));
    then.len() == now.len()
        && effect.iter().any(|&byte| byte != 0)
        && effect.iter().zip(&change).all(|(effect, change)| effect & !change == 0)
}

impl Ear for Replay {
    fn asked(&mut self, request: &Request) {
        let Some(Target { content, what: What::Becomes(changed), place, written, .. }) =
            &self.target
        else {
            return;
        };
        if self.changed.is_some()
            && let Access::Write { place: at, content: now } = &request.access
            && place.as_ref() == Some(at)
            && let Some(then) = written.get(self.writes)
        {
            self.writes += 1;
            self.seen.rewritten |= shows_in(content, changed, then, now);
        }
    }

    fn heard(&mut self, heard: Heard) -> Option<Vec<Say>> {
        let target = self.target.as_ref()?;
        if let Some(generation) = self.changed
            && heard.key != target.key
        {
            let same = heard.key.is_of_the_same_request(&target.key);
            self.seen.asked_again |= same && target.is_last && generation == heard.generation;
        }
        if matches!(target.what, What::Early) {
            if Some(heard.key) == target.previous && !self.was_early {
                self.was_early = true;
                return Some(vec![Say::This(target.content.clone()), Say::Same]);
            }
            if heard.key == target.key && self.was_early {
                self.changed = Some(heard.generation);
                return Some(Vec::new());
            }
            return None;
        }
        if heard.key != target.key || self.changed.is_some() {
            return None;
        }
        self.changed = Some(heard.generation);
        Some(match &target.what {
            What::Becomes(content) => vec![Say::This(content.clone())],
            What::Lost => Vec::new(),
            What::Doubled => match target.content {
                // Lines have levels: only a change is one.
                Content::Edge { line, raised } => {
                    vec![Say::Same, Say::This(Content::Edge { line, raised: !raised }), Say::Same]
                }
                _ => vec![Say::Same, Say::Same],
            },
            What::Early => return None,
        })
    }
}
