//! The terminal of this program, lent to a child that talks to the user: a debugger. A child's
//! process group is its own, and only one group may read from a terminal.

use std::io::stdin;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{Pid, getpgrp, getpid, tcgetpgrp, tcsetpgrp};

/// A loan of the terminal. It ends when this is dropped.
pub(super) struct Terminal {
    before: Option<Termios>,
}

impl Terminal {
    /// The terminal that standard input is, to be lent; `None` if it is none, or not ours.
    pub fn ours() -> Option<Self> {
        let input = stdin();
        let is_ours = tcgetpgrp(input.as_fd()).is_ok_and(|group| group == getpgrp());
        is_ours.then(|| Self { before: tcgetattr(input.as_fd()).ok() })
    }

    /// Lets the calling process, a child before it becomes another program, have the terminal.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn take() -> nix::Result<()> {
        // SAFETY: standard input is open, and nothing closes it meanwhile.
        let input = unsafe { BorrowedFd::borrow_raw(0) };
        as_if_in_front(|| tcsetpgrp(input, getpid()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let input = stdin();
        // A terminal that is gone needs nothing.
        let _ = as_if_in_front(|| give_back(input.as_fd(), getpgrp(), self.before.as_ref()));
    }
}

fn give_back(input: BorrowedFd, group: Pid, before: Option<&Termios>) -> nix::Result<()> {
    tcsetpgrp(input, group)?;
    before.map_or(Ok(()), |before| tcsetattr(input, SetArg::TCSADRAIN, before))
}

/// Who is not in front is stopped by SIGTTOU when it changes that, unless it holds it off.
fn as_if_in_front(act: impl FnOnce() -> nix::Result<()>) -> nix::Result<()> {
    let mut stop = SigSet::empty();
    stop.add(Signal::SIGTTOU);
    let before = SigSet::thread_get_mask()?;
    stop.thread_block()?;
    let acted = act();
    before.thread_set_mask()?;
    acted
}
