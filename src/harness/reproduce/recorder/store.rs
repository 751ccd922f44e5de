//! The memory in which a recorder keeps what it hears. The next recorder of the same thread
//! uses it again, and no fork copies it: with all that a run has ever recorded in its page
//! tables, each start of a QEMU would take a millisecond longer.

use std::cell::RefCell;

use memmap2::{Advice, MmapMut};

use super::LIMIT;

thread_local! {
    static SPARE: RefCell<Vec<MmapMut>> = const { RefCell::new(Vec::new()) };
}

/// How much is kept for later: what ran last, and what runs.
const SPARES: usize = 2;

/// Up to [`LIMIT`] bytes, of which only those that are used take memory.
pub(super) struct Store {
    memory: Option<MmapMut>,
    used: usize,
}

impl Store {
    /// An empty one.
    pub fn new() -> Self {
        let spare = SPARE.with_borrow_mut(Vec::pop);
        let memory = spare.or_else(|| {
            let memory = MmapMut::map_anon(LIMIT).ok()?;
            // What comes of it if not is said above.
            let _ = memory.advise(Advice::DontFork);
            Some(memory)
        });
        Self { memory, used: 0 }
    }

    /// All that was put in.
    pub fn bytes(&self) -> &[u8] {
        self.memory.as_ref().map_or(&[], |memory| &memory[..self.used])
    }

    /// How many bytes fit still.
    pub fn room(&self) -> usize {
        self.memory.as_ref().map_or(0, |memory| memory.len() - self.used)
    }

    /// Puts these behind the others, as far as there is room.
    pub fn push(&mut self, bytes: &[u8]) {
        let rest = self.memory.as_mut().and_then(|memory| memory.get_mut(self.used..));
        if let Some(place) = rest.and_then(|rest| rest.get_mut(..bytes.len())) {
            place.copy_from_slice(bytes);
            self.used += bytes.len();
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // A thread that ends has no place for it any more.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < SPARES {
                spare.extend(self.memory.take());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Catches what the recorder before had heard showing up in the next one, and room that
    /// is not there.
    #[test]
    fn the_next_one_begins_empty() {
        let mut first = Store::new();
        first.push(b"heard");
        assert_eq!(first.bytes(), b"heard");
        let at = first.bytes().as_ptr();
        drop(first);
        let mut next = Store::new();
        assert_eq!((next.bytes(), next.room()), (&[][..], LIMIT));
        next.push(b"x");
        assert_eq!((next.bytes(), next.bytes().as_ptr()), (&b"x"[..], at));
        next.push(&vec![0; LIMIT]);
        assert_eq!((next.bytes(), next.room()), (&b"x"[..], LIMIT - 1));
    }
}
