//! The harness's end of a stream of bytes to a device: a cable, a serial line.

use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{MsgFlags, recv, send};

use crate::protocol::{self, poll};
use crate::qemu::Vm;
use crate::{Error, Result};

/// How often a full stream is looked at.
const TICK: Duration = Duration::from_millis(50);

/// Has QEMU finish what it is at: a request is answered only then.
pub(super) fn answered(vm: &Vm) -> Result<()> {
    vm.qtest().endianness()?;
    Ok(())
}

/// One of the sockets that the machine was started with.
pub(super) struct Stream {
    vm: Rc<Vm>,
    name: &'static str,
}

impl Stream {
    /// The socket `name`.
    ///
    /// # Errors
    /// The machine has none of that name.
    pub fn new(vm: &Rc<Vm>, name: &'static str) -> Result<Self> {
        vm.socket(name)?;
        Ok(Self { vm: vm.clone(), name })
    }

    /// Sends bytes. They are there when this returns, but QEMU may still have to take them.
    /// `what` says what they are, for the error.
    ///
    /// # Errors
    /// QEMU does not take what was sent before, within the limits of [`Vm::deadline`].
    pub fn send(&self, bytes: &[u8], what: impl Fn() -> String) -> Result<()> {
        let mut rest = bytes;
        let socket = self.vm.socket(self.name)?;
        let mut timer = self.vm.deadline().timer();
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        while !rest.is_empty() {
            match send(socket.as_raw_fd(), rest, flags) {
                Ok(sent) => rest = &rest[sent..],
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    let now = Instant::now();
                    timer.look(now);
                    if timer.left(now).is_zero() {
                        let (partial, waited) = (String::new(), now - timer.started());
                        let (what, lost) = (what(), timer.lost());
                        let e = protocol::Error::Deadline { what, partial, waited, lost };
                        return Err(e.into());
                    }
                    let left = timer.left(now).min(TICK);
                    // An error shows itself at the next send.
                    let _ = poll(socket, PollFlags::POLLOUT, left);
                }
                Err(errno) => return Err(lost(what(), errno)),
            }
        }
        Ok(())
    }

    /// Appends to `arrived` what has come, if anything has. It does not wait.
    ///
    /// # Errors
    /// QEMU has closed the socket.
    pub fn take(&self, arrived: &mut Vec<u8>, what: &str) -> Result<bool> {
        let socket = self.vm.socket(self.name)?;
        let mut room = [0; 4096];
        loop {
            match recv(socket.as_raw_fd(), &mut room, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return Err(lost(what.to_owned(), Errno::ECONNRESET)),
                Ok(count) => {
                    arrived.extend_from_slice(&room[..count]);
                    return Ok(true);
                }
                Err(Errno::EAGAIN) => return Ok(false),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(lost(what.to_owned(), errno)),
            }
        }
    }
}

/// The error of a socket that carries nothing any more.
fn lost(what: String, errno: Errno) -> Error {
    let e = match errno {
        Errno::EPIPE | Errno::ECONNRESET => {
            protocol::Error::Closed { what, partial: String::new() }
        }
        errno => protocol::Error::Io { what, source: errno.into() },
    };
    e.into()
}
