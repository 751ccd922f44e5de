//! A sign of life of each thread that makes requests: a number that grows with every request
//! and while its answer is waited for. Whoever watches a thread can tell from it whether the
//! limits of requests will end what it does.

use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static PULSE: OnceCell<Arc<AtomicU64>> = const { OnceCell::new() };
}

/// The number of the calling thread.
pub(crate) fn pulse() -> Arc<AtomicU64> {
    PULSE.with(|pulse| pulse.get_or_init(Arc::default).clone())
}

/// The calling thread makes a request, or waits within a limit.
pub(crate) fn note_waiting() {
    PULSE.with(|pulse| {
        let pulse = pulse.get_or_init(Arc::default);
        // Only the thread itself writes it.
        pulse.store(pulse.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Deadline;

    /// Would catch a thread that makes requests taken for one that makes none.
    #[test]
    fn requests_are_noted() {
        let (pulse, before) = (pulse(), pulse().load(Ordering::Relaxed));
        Deadline::new().timer();
        assert_ne!(pulse.load(Ordering::Relaxed), before);
        let own = pulse.load(Ordering::Relaxed);
        std::thread::spawn(note_waiting).join().unwrap();
        assert_eq!(pulse.load(Ordering::Relaxed), own, "each thread has its own");
    }
}
