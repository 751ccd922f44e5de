//! How long a QEMU may take for what. How slow one is, is said by its `Pace`; what counts as
//! time is the affair of `protocol::Timer`.

use std::time::Duration;

use super::pace::scaled;

/// How long to wait for what, of an emulator that is not slow.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For the answer to one request; QEMU's start is one.
    pub request: Duration,
    /// For everything together, from the start on.
    pub whole: Duration,
}

impl Limits {
    /// Limits for tests that may take as long as `limit` each. A request may take a sixth of
    /// that, but no less than usual unless `limit` is less.
    pub fn of_tests(limit: Duration) -> Self {
        let usual = Self::default().request;
        Self { request: limit.min(usual).max(limit / 6), whole: limit }
    }

    /// Each limit times `factor`; infinite for none.
    pub fn scaled(self, factor: f64) -> Self {
        Self { request: scaled(self.request, factor), whole: scaled(self.whole, factor) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { request: Duration::from_secs(10), whole: Duration::from_secs(60) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a limit of tests that does not reach their requests, in either direction.
    #[test]
    fn the_limit_of_tests_is_that_of_requests() {
        let request = |limit| Limits::of_tests(Duration::from_secs(limit)).request.as_secs();
        assert_eq!([1, 10, 60].map(request), [1, 10, 10], "as usual, but no more than all");
        assert_eq!(request(200), 33);
        let usual = Limits::default();
        assert_eq!(Limits::of_tests(usual.whole).request, usual.request);
    }

    /// Would catch a limit that cannot be turned off.
    #[test]
    fn limits_can_be_infinite() {
        let Limits { request, whole } = Limits::default().scaled(f64::INFINITY);
        assert_eq!((request, whole), (Duration::MAX, Duration::MAX));
        let Limits { request, .. } = Limits::default().scaled(2.0);
        assert_eq!(request, Limits::default().request * 2);
    }
}
