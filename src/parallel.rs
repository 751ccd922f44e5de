//! The same for many things at once.

use std::num::NonZeroUsize;
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};

/// Does `what` is to be done with each of `things`, `jobs` of them at a time, and hands what
/// comes of it to `done` as it comes.
pub(crate) fn in_parallel<I: Iterator + Send, T: Send>(
    things: I,
    jobs: NonZeroUsize,
    what: impl Fn(I::Item) -> T + Sync,
    done: impl FnMut(T),
) {
    let things = Mutex::new(things);
    let next = || things.lock().unwrap_or_else(PoisonError::into_inner).next();
    let (results, coming) = channel();
    std::thread::scope(|scope| {
        for _ in 0..jobs.get() {
            let (results, next, what) = (results.clone(), &next, &what);
            scope.spawn(move || {
                while let Some(thing) = next()
                    && results.send(what(thing)).is_ok()
                {}
            });
        }
        drop(results);
        coming.into_iter().for_each(done);
    });
}
