//! Waiting for something to happen on one file, for a limited time.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::Result;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

/// More than anybody waits for, and few enough seconds for every kernel.
const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);

/// Waits until one of `events` has happened on `file`, at most for `time`. Returns those that
/// have, with [`PollFlags::POLLERR`] and [`PollFlags::POLLHUP`] where these apply, and nothing
/// once the time is over.
///
/// # Errors
/// Returns `EINTR` if a signal came, and what else the kernel says.
pub(crate) fn poll(file: impl AsFd, events: PollFlags, time: Duration) -> Result<PollFlags> {
    let mut files = [PollFd::new(file.as_fd(), events)];
    // Not `poll`, which counts in milliseconds: the last one before a deadline would be lost.
    ppoll(&mut files, Some(TimeSpec::from_duration(time.min(LONGEST))), None)?;
    Ok(files[0].revents().unwrap_or(PollFlags::empty()))
}
