//! Making a running machine what it was at its start, so that the next path can have it.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use super::{Limits, Vm};
use crate::protocol;
use crate::qemu::backend::End;
use crate::qemu::folder::Owned;
use crate::qemu::pace::scaled;
use crate::qemu::ram::zero;

/// Why a machine could not be made as it was at its start.
#[derive(Debug)]
pub enum ResetError {
    /// QEMU is in order, but does not say when it has reset the machine.
    Unknown,
    /// QEMU did not answer, or ended.
    Protocol(protocol::Error),
    /// Memory could not be cleared.
    Io(io::Error),
}

/// How long QEMU may take to tell of a reset after it said that it is going to do one.
const RESET: Duration = Duration::from_secs(2);

impl Vm {
    /// Makes the machine as it was at its start, as far as a reset does that, its RAM and images
    /// all zeroes, and its folders empty. The clock goes on.
    ///
    /// # Errors
    /// QEMU does not do it; it should not be used any more.
    pub fn reset(&self, limits: Limits) -> Result<(), ResetError> {
        self.set_limits(limits);
        // A test that was skipped may have left some.
        self.qtest.flush().map_err(ResetError::Protocol)?;
        self.transcript.clear();
        self.process.borrow().forget_output();
        self.said_before.borrow_mut().clear();
        self.renew(limits.request)?;
        self.set_limits(limits);
        Ok(())
    }

    /// The same in the middle of a path, which keeps its limits and what was said: a request may
    /// take as long as `limit`.
    pub(super) fn renew(&self, limit: Duration) -> Result<(), ResetError> {
        // Before the reset, which puts firmware and device trees back.
        self.ram.renew().map_err(ResetError::Io)?;
        self.qmp.events();
        self.qmp.execute("system_reset", serde_json::Value::Null).map_err(ResetError::Protocol)?;
        let (before, factor) = (self.deadline.limit(), self.emulator.pace.factor());
        self.deadline.set_limit(scaled(limit.min(RESET), factor));
        let told = self.qmp.wait_event("RESET");
        self.deadline.set_limit(before);
        match told {
            Ok(_) => {}
            Err(protocol::Error::Deadline { .. }) => return Err(ResetError::Unknown),
            Err(e) => return Err(ResetError::Protocol(e)),
        }
        for (file, image) in self.images.iter().zip(&self.config.images) {
            zero(file, image.size).map_err(ResetError::Io)?;
        }
        self.folders.borrow().iter().try_for_each(Owned::clear).map_err(ResetError::Io)?;
        self.sockets.iter().filter_map(End::ours).try_for_each(drain).map_err(ResetError::Io)?;
        self.qmp.events();
        self.qtest.poll_irqs().map_err(ResetError::Protocol)
    }
}

/// Takes out of a socket what has come.
fn drain(socket: &UnixStream) -> io::Result<()> {
    let mut scrap = [0; 4096];
    loop {
        match recv(socket.as_raw_fd(), &mut scrap, MsgFlags::MSG_DONTWAIT) {
            Ok(0) | Err(Errno::EAGAIN) => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}
