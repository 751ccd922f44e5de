//! How long requests may take: one value shared by both clients of a QEMU. It holds the limits;
//! the waiting itself is done in `channel`. Both limits run only while QEMU could work, as far
//! as a [`Meter`] says; see [`Timer`].

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::pulse::note_waiting;
use super::timer::{Meter, Timer};

/// The time every request may take, and the moment at which all of them must be over.
pub struct Deadline {
    limit: Cell<Duration>,
    whole: RefCell<Option<Timer>>,
    meter: RefCell<Option<Rc<dyn Meter>>>,
    meter_of_whole: RefCell<Option<Rc<dyn Meter>>>,
}

impl Deadline {
    /// What one request may take unless [`set_limit`](Self::set_limit) says otherwise.
    pub const DEFAULT_LIMIT: Duration = Duration::from_secs(10);

    /// The default limit for every request, and no overall end.
    pub fn new() -> Self {
        let limit = Cell::new(Self::DEFAULT_LIMIT);
        let (whole, meter, meter_of_whole) = Default::default();
        Self { limit, whole, meter, meter_of_whole }
    }

    /// Has `meter` say from now on which time QEMU could not use while a request waits for its
    /// answer, and `meter_of_whole` which of all the time until the end. Without them, only
    /// the time in which this program did not run is not counted.
    pub fn set_meters(&self, meter: Rc<dyn Meter>, meter_of_whole: Rc<dyn Meter>) {
        *self.meter.borrow_mut() = Some(meter);
        if let Some(whole) = &mut *self.whole.borrow_mut() {
            whole.set_meter(meter_of_whole.clone());
        }
        *self.meter_of_whole.borrow_mut() = Some(meter_of_whole);
    }

    /// The limit of a request that is made now, running.
    pub fn timer(&self) -> Timer {
        note_waiting();
        self.timer_at(Instant::now())
    }

    fn timer_at(&self, now: Instant) -> Timer {
        let whole = &mut *self.whole.borrow_mut();
        let left = whole.as_mut().map(|whole| {
            whole.look(now);
            whole.left(now)
        });
        let limit = left.map_or(self.limit(), |left| left.min(self.limit()));
        Timer::new(now, limit, self.meter.borrow().clone())
    }

    /// The time that was lost since the end was set, if one was set.
    pub(crate) fn lost(&self) -> Duration {
        self.whole.borrow().as_ref().map_or(Duration::ZERO, Timer::lost)
    }

    /// Looks, at `now`, what all together could not use. It is given that time more, and
    /// `lost`, which its own meter cannot see.
    pub(crate) fn look(&self, now: Instant, lost: Duration) {
        if let Some(whole) = &mut *self.whole.borrow_mut() {
            whole.add_lost(lost);
            whole.look(now);
        }
    }

    /// What one request may take.
    pub fn limit(&self) -> Duration {
        self.limit.get()
    }

    /// Sets what one request may take, from the next request on.
    pub fn set_limit(&self, limit: Duration) {
        self.limit.set(limit);
    }

    /// The moment after which no request may wait any longer, if there is one. It comes later
    /// by the time that QEMU could not use.
    pub fn end(&self) -> Option<Instant> {
        self.whole.borrow().as_ref().map(Timer::end)
    }

    /// Sets or removes the moment after which no request may wait any longer.
    pub fn set_end(&self, end: Option<Instant>) {
        let (now, meter) = (Instant::now(), self.meter_of_whole.borrow().clone());
        *self.whole.borrow_mut() = end.map(|end| Timer::of_many(now, end - now, meter));
    }
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (limit, end) = (self.limit(), self.end());
        f.debug_struct("Deadline").field("limit", &limit).field("end", &end).finish_non_exhaustive()
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

    /// Would catch an overall end that is ignored, or that lengthens a request's own limit.
    #[test]
    fn the_nearer_of_limit_and_end_counts() {
        let now = Instant::now();
        let deadline = Deadline::new();
        let second = Duration::from_secs(1);
        let is_near = |expected: Duration| {
            let until = deadline.timer_at(now).end();
            let off = until.saturating_duration_since(now + expected);
            assert!(until >= now + expected && off < second / 4, "{off:?} more than {expected:?}");
        };
        is_near(Deadline::DEFAULT_LIMIT);
        deadline.set_end(Some(now + second));
        is_near(second);
        deadline.set_limit(second / 2);
        is_near(second / 2);
        deadline.set_end(None);
        is_near(second / 2);
        assert_eq!(deadline.end(), None);
    }

    /// Would catch an end that does not move when a request lost time.
    #[test]
    fn lost_time_moves_the_end() {
        let deadline = Deadline::new();
        let end = Instant::now() + Duration::from_secs(5);
        deadline.set_end(Some(end));
        deadline.look(Instant::now(), Duration::from_secs(3));
        assert!(deadline.end() >= Some(end + Duration::from_secs(3)));
    }

    /// Would catch an overflow of the clock's arithmetic, which would panic.
    #[test]
    fn an_endless_limit_is_allowed() {
        let deadline = Deadline::new();
        deadline.set_limit(Duration::MAX);
        assert!(deadline.timer().end() > Instant::now() + Duration::from_secs(3600));
    }
}
