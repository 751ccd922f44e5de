//! How long requests may take: one value shared by both clients of a QEMU. It holds the limits;
//! the waiting itself is done in `channel`.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// The time every request may take, and the moment at which all of them must be over.
#[derive(Debug)]
pub struct Deadline {
    limit: Cell<Duration>,
    end: Cell<Option<Instant>>,
}

impl Deadline {
    /// What one request may take unless [`set_limit`](Self::set_limit) says otherwise.
    pub const DEFAULT_LIMIT: Duration = Duration::from_secs(10);

    /// The default limit for every request, and no overall end.
    pub fn new() -> Self {
        Self { limit: Cell::new(Self::DEFAULT_LIMIT), end: Cell::new(None) }
    }

    /// What one request may take.
    pub fn limit(&self) -> Duration {
        self.limit.get()
    }

    /// Sets what one request may take, from the next request on.
    pub fn set_limit(&self, limit: Duration) {
        self.limit.set(limit);
    }

    /// The moment after which no request may wait any longer, if there is one.
    pub fn end(&self) -> Option<Instant> {
        self.end.get()
    }

    /// Sets or removes the moment after which no request may wait any longer.
    pub fn set_end(&self, end: Option<Instant>) {
        self.end.set(end);
    }

    /// The moment by which a request that is made now must be answered.
    pub fn for_request(&self) -> Instant {
        self.for_request_at(Instant::now())
    }

    /// As [`for_request`](Self::for_request), for a request made at `now`.
    pub(super) fn for_request_at(&self, now: Instant) -> Instant {
        // A limit that overflows the clock means "no limit": a day stands for it.
        let until =
            now.checked_add(self.limit.get()).unwrap_or(now + Duration::from_secs(24 * 60 * 60));
        self.end.get().map_or(until, |end| end.min(until))
    }
}

impl Default for Deadline {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Catches an overall end that is ignored, or that lengthens a request's own limit.
    #[test]
    fn the_nearer_of_limit_and_end_counts() {
        let now = Instant::now();
        let deadline = Deadline::new();
        let second = Duration::from_secs(1);
        assert_eq!(deadline.for_request_at(now), now + Deadline::DEFAULT_LIMIT);
        deadline.set_end(Some(now + second));
        assert_eq!(deadline.for_request_at(now), now + second);
        deadline.set_limit(second / 2);
        assert_eq!(deadline.for_request_at(now), now + second / 2);
        deadline.set_end(None);
        assert_eq!(deadline.for_request_at(now), now + second / 2);
        assert_eq!(deadline.end(), None);
    }

    /// Catches an overflow of the clock's arithmetic, which would panic.
    #[test]
    fn an_endless_limit_is_allowed() {
        let deadline = Deadline::new();
        deadline.set_limit(Duration::MAX);
        assert!(deadline.for_request() > Instant::now() + Duration::from_secs(3600));
    }
}
