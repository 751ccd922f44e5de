//! Whether the thread of a worker is beyond the reach of limits: it has made no request for a
//! while, although it could have. What is done with such a thread is decided elsewhere.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::protocol::{Meter, Timer, pulse};
use crate::qemu::{LostTime, this_thread};

/// For how long a thread must have made no request.
const SILENCE: Duration = Duration::from_secs(15);

/// The thread of a worker, as others see it.
#[derive(Clone)]
pub(crate) struct WorkerThread {
    /// Its folder in `/proc`.
    folder: Option<PathBuf>,
    /// Grows while it makes requests or waits for their answers.
    pulse: Arc<AtomicU64>,
}

impl WorkerThread {
    /// The calling thread.
    pub fn this() -> Self {
        Self { folder: this_thread(), pulse: pulse() }
    }
}

/// What is seen of a thread from now on.
pub(crate) struct Silence {
    thread: WorkerThread,
    pulse: u64,
    timer: Timer,
}

impl Silence {
    pub fn of(thread: WorkerThread, now: Instant) -> Self {
        Self::limited(thread, now, SILENCE)
    }

    fn limited(thread: WorkerThread, now: Instant, limit: Duration) -> Self {
        let meter = thread.folder.clone().map(LostTime::of_thread);
        let meter = meter.map(|meter| Rc::new(meter) as Rc<dyn Meter>);
        let pulse = thread.pulse.load(Ordering::Relaxed);
        Self { thread, pulse, timer: Timer::new(now, limit, meter) }
    }

    /// Whether it has made no request for too long. To be asked some times a second. The time
    /// for which it had no CPU does not count, nor that for which nobody asked.
    pub fn is_over(&mut self, now: Instant) -> bool {
        if self.thread.pulse.load(Ordering::Relaxed) != self.pulse {
            *self = Self::of(self.thread.clone(), now);
        }
        self.timer.look(now);
        self.timer.left(now).is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Deadline;

    /// Would catch a thread that is given up although its requests are limited, and one that
    /// makes none and is waited for without end.
    #[test]
    fn only_a_thread_without_requests_is_silent() {
        let tick = Duration::from_millis(100);
        let mut now = Instant::now();
        let mut silence = Silence::of(WorkerThread::this(), now);
        for _ in 0..1000 {
            now += tick;
            Deadline::new().timer();
            assert!(!silence.is_over(now));
        }
        let begun = now;
        while !silence.is_over(now) {
            now += tick;
            assert!(now - begun < 3 * SILENCE, "it is never over");
        }
        assert!(now - begun >= SILENCE);
    }

    /// Would catch a test that is given up because this program was stopped.
    #[test]
    fn a_pause_of_everything_is_no_silence() {
        let begun = Instant::now();
        let mut silence = Silence::of(WorkerThread::this(), begun);
        assert!(!silence.is_over(begun + Duration::from_millis(100)));
        assert!(!silence.is_over(begun + Duration::from_secs(3600)));
    }
}
