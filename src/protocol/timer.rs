//! A limit of time that only runs while the other side could work. It does the arithmetic;
//! what the other side did is said by a [`Meter`], and the waiting is done elsewhere.
//!
//! Ten seconds on the wall are no property of a QEMU: on a busy computer it may have had a
//! CPU for none of them. *Lost time* is the part of a wait for which the other side wanted to
//! run and could not, or for which this program could not look. It lengthens the limit. A QEMU
//! that sleeps or spins loses no time, so that one that hangs is told when its limit is over.
//!
//! The monotonic clock stands still while the computer is suspended, so that such time is
//! neither used nor lost.

use std::rc::Rc;
use std::time::{Duration, Instant};

/// How often the other side is looked at. A look costs some 100 µs.
const LOOK: Duration = Duration::from_millis(200);
/// From how much time between two looks on this program was itself stopped, or had no CPU.
const LATE: Duration = Duration::from_millis(600);
/// How long a wait that consists of many lasts at least before it is worth a look.
const LONG: Duration = Duration::from_millis(200);
/// How many times its length a limit is lengthened at the most, and by how much it may be in
/// any case: nothing lasts for ever.
const MOST: u32 = 20;
const LEAST_MOST: Duration = Duration::from_secs(60);
/// The same for a QEMU that is stopped: one that stays so is to be told as well.
const MOST_STOPPED: u32 = 3;

/// What the other side could not do since it was looked at before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    /// It waited for a CPU or a disk.
    pub starved: Duration,
    /// It was stopped, by a signal or a debugger.
    pub stopped: Duration,
}

/// Says what the other side did.
pub trait Meter {
    /// Begins to watch: what was before does not count.
    fn restart(&self);
    /// The time lost since the last look, or since the watch began.
    fn look(&self) -> Lost;
}

/// One wait with a limit.
pub struct Timer {
    started: Instant,
    limit: Duration,
    meter: Option<Rc<dyn Meter>>,
    /// Whether it is made of many waits, with other things between them.
    is_whole: bool,
    /// When it was looked last, and whether the meter watches since then.
    seen: Instant,
    watches: bool,
    starved: Duration,
    /// What the meter said beyond the time that had passed for the caller: on a busy computer a
    /// look takes long itself. It belongs to the next look.
    ahead: Duration,
    stopped: Duration,
    /// The time for which nobody looked.
    unseen: Duration,
}

impl Timer {
    /// A wait that begins at `now` and may last `limit`, not counting the time that was lost
    /// as far as `meter` says.
    pub fn new(now: Instant, limit: Duration, meter: Option<Rc<dyn Meter>>) -> Self {
        let (starved, ahead, stopped, unseen) = Default::default();
        Self {
            started: now,
            limit,
            meter,
            is_whole: false,
            seen: now,
            watches: false,
            starved,
            ahead,
            stopped,
            unseen,
        }
    }

    /// As [`new`](Self::new), for many waits together. What is lost by each for a few
    /// milliseconds adds up; between them, nobody needs to look.
    pub fn of_many(now: Instant, limit: Duration, meter: Option<Rc<dyn Meter>>) -> Self {
        Self { is_whole: true, ..Self::new(now, limit, meter) }
    }

    /// Has another meter watch from now on.
    pub fn set_meter(&mut self, meter: Rc<dyn Meter>) {
        (self.meter, self.watches) = (Some(meter), false);
    }

    /// When it began.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The time that was lost so far.
    pub fn lost(&self) -> Duration {
        // What nobody saw has an end by itself.
        let most = self.limit.saturating_mul(MOST).max(LEAST_MOST);
        self.starved.min(most) + self.lost_otherwise()
    }

    /// The part of the lost time that the meter of another wait has not seen: for which this
    /// program did not look, or the other side was stopped.
    pub(super) fn lost_otherwise(&self) -> Duration {
        self.unseen + self.stopped.min(self.limit.saturating_mul(MOST_STOPPED))
    }

    /// Adds time that was lost in a wait that is a part of this one.
    pub(super) fn add_lost(&mut self, lost: Duration) {
        self.unseen += lost;
    }

    /// When it is over, as far as is known now.
    pub fn end(&self) -> Instant {
        // What overflows the clock means "no limit": a day stands for it.
        let end = self.started.checked_add(self.limit).and_then(|end| end.checked_add(self.lost()));
        end.unwrap_or(self.seen + Duration::from_secs(24 * 60 * 60))
    }

    /// What is left of the limit at `now`. Before it says "nothing" it looks.
    pub fn left(&mut self, now: Instant) -> Duration {
        let left = self.end().saturating_duration_since(now);
        if !left.is_zero() {
            return left;
        }
        self.look_now(now);
        self.end().saturating_duration_since(now)
    }

    /// Looks at the other side, if it is time to. To be called some ten times a second while
    /// nothing comes.
    pub fn look(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.seen);
        let is_time = match (self.is_whole, self.watches) {
            (false, false) => true,
            (true, false) => passed >= LONG,
            (_, true) => passed >= LOOK,
        };
        if is_time {
            self.look_now(now);
        }
    }

    fn look_now(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.seen);
        self.seen = now;
        let Lost { starved, stopped } = match &self.meter {
            Some(meter) if self.watches => meter.look(),
            Some(meter) => {
                meter.restart();
                Lost::default()
            }
            None => Lost::default(),
        };
        self.watches = true;
        // Nobody looked for a while: what the other side did in that time is not known.
        let is_late = passed > LATE && !self.is_whole;
        let unseen = if is_late { passed - LOOK } else { Duration::ZERO };
        let told = starved + self.ahead;
        let starved = told.min(passed);
        self.ahead = told - starved;
        self.starved += starved;
        self.unseen += unseen.saturating_sub(starved);
        self.stopped += stopped.min(passed - starved);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Says the same at each look.
    struct Fixed {
        lost: Lost,
        watches: Cell<bool>,
    }

    impl Meter for Fixed {
        fn restart(&self) {
            self.watches.set(true);
        }

        fn look(&self) -> Lost {
            assert!(self.watches.get(), "looked before the watch began");
            self.lost
        }
    }

    /// How long a wait with a limit of one second lasts where each look, `every` so often,
    /// says that this was lost.
    fn lasts(starved: Duration, stopped: Duration, every: Duration) -> Duration {
        let meter = Rc::new(Fixed { lost: Lost { starved, stopped }, watches: Cell::default() });
        let begun = Instant::now();
        let mut timer = Timer::new(begun, SECOND, Some(meter));
        let mut now = begun;
        while !timer.left(now).is_zero() {
            now += every;
            timer.look(now);
        }
        now - begun
    }

    /// Would catch a limit that a QEMU with all the time it wants exceeds.
    #[test]
    fn nothing_lost_nothing_added() {
        assert_eq!(lasts(Duration::ZERO, Duration::ZERO, LOOK), SECOND);
        let mut timer = Timer::new(Instant::now(), SECOND / 2, None);
        let over = timer.started() + SECOND / 2;
        assert!(timer.left(over).is_zero());
        assert_eq!(timer.lost(), Duration::ZERO);
    }

    /// Would catch lost time that does not lengthen the limit, or does without an end.
    #[test]
    fn lost_time_is_added_up_to_a_limit() {
        // Half of each look is lost: twice as long.
        let half = lasts(LOOK / 2, Duration::ZERO, LOOK);
        assert!((SECOND * 18 / 10..=SECOND * 2).contains(&half), "{half:?}");
        let all = lasts(LOOK, Duration::ZERO, LOOK);
        let most = LEAST_MOST + SECOND;
        assert!((most..=most + SECOND).contains(&all), "{all:?}");
    }

    /// Would catch time that is forgotten because it passed during a look: on a busy computer a
    /// look may take longer than what it looks at.
    #[test]
    fn what_is_lost_during_a_look_counts() {
        struct Slow(Cell<bool>);
        impl Meter for Slow {
            fn restart(&self) {}

            /// Each second look sees a second that had not passed when it began, and the next
            /// one only what is left.
            fn look(&self) -> Lost {
                let is_slow = !self.0.replace(!self.0.get());
                let starved = if is_slow { SECOND + LOOK } else { LOOK };
                Lost { starved, stopped: Duration::ZERO }
            }
        }
        let begun = Instant::now();
        let meter: Rc<dyn Meter> = Rc::new(Slow(Cell::new(false)));
        let mut timer = Timer::of_many(begun, SECOND, Some(meter));
        let mut now = begun + LONG;
        timer.look(now);
        for _ in 0..5 {
            now += LOOK;
            timer.look(now);
            now += SECOND + LOOK;
            timer.look(now);
        }
        let lost = timer.lost();
        assert!(lost >= (SECOND + LOOK * 2) * 5, "{lost:?} of {:?}", now - begun);
    }

    /// Would catch a QEMU that was stopped for a moment called hung, or one that stays stopped
    /// waited for as long as one that is starved.
    #[test]
    fn a_stopped_qemu_is_told_earlier() {
        let stopped = lasts(Duration::ZERO, LOOK, LOOK);
        assert!((SECOND * 4..SECOND * 5).contains(&stopped), "{stopped:?}");
    }

    /// Would catch a QEMU blamed because this program was stopped and continued.
    #[test]
    fn time_in_which_nobody_looked_is_lost() {
        let begun = Instant::now();
        for before in [Duration::from_millis(10), SECOND / 2] {
            let mut timer = Timer::new(begun, SECOND, None);
            let mut now = begun;
            while now < begun + before {
                now += Duration::from_millis(50);
                timer.look(now);
            }
            now += SECOND * 30;
            let left = timer.left(now);
            assert!(left > SECOND / 4, "{left:?} left");
            for _ in 0..20 {
                now += Duration::from_millis(50);
                timer.look(now);
            }
            assert!(timer.left(now).is_zero());
        }
    }

    /// Would catch an overflow of the clock's arithmetic, which would panic.
    #[test]
    fn an_endless_limit_is_allowed() {
        let mut timer = Timer::new(Instant::now(), Duration::MAX, None);
        let now = timer.started() + SECOND * 100;
        timer.look(now);
        assert!(timer.left(now) > SECOND * 3600);
    }
}
