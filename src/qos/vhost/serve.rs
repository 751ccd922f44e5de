//! The thread of a vhost-user back end: requests of QEMU's on the socket, and kicks of its rings.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::cmsg_space;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recv, recvmsg, send};
use vhost::vhost_user::{BackendReqHandler, Error};

use super::state::State;
use crate::protocol::Endian;

/// Requests that the crate does not take: whether a ring is enabled, which QEMU says before it sets
/// features, the channel for requests of the back end, whose messages the crate does not know, and
/// the byte order of a ring.
const SET_VRING_ENABLE: u32 = 18;
const SET_BACKEND_REQ_FD: u32 = 21;
const SET_VRING_ENDIAN: u32 = 23;
/// Flags of a header: the version, and that it is a reply or that one is wanted.
const VERSION: u32 = 1;
const REPLY: u32 = 4;
const NEED_REPLY: u32 = 8;
/// The length of a header in bytes.
const HEADER: usize = 12;

/// The state, also after a thread that had it has panicked.
pub(super) fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves one connection, up to its end.
pub(super) fn serve(stream: UnixStream, state: &Arc<Mutex<State>>) {
    let ended = serve_until_end(&stream, state);
    let mut state = locked(state);
    state.is_connected = false;
    state.hang_up();
    if let Err(why) = ended {
        state.faults.push(why);
    }
}

/// Serves one connection after the other.
pub(super) fn serve_all(
    listener: &UnixListener,
    state: &Arc<Mutex<State>>,
    is_over: impl Fn() -> bool,
) {
    while let Ok((stream, _)) = listener.accept() {
        if is_over() {
            return;
        }
        let mut now = locked(state);
        now.connected(stream.try_clone().ok());
        if now.connections == 1 && now.refuses_first {
            (now.is_connected, now.stream) = (false, None);
            drop(now);
            // Once QEMU has asked something, so that it knows of the connection.
            let mut byte = [0];
            let _ = recv(stream.as_raw_fd(), &mut byte, MsgFlags::empty());
            continue;
        }
        drop(now);
        serve(stream, state);
    }
}

fn serve_until_end(stream: &UnixStream, state: &Arc<Mutex<State>>) -> Result<(), String> {
    let clone = stream.try_clone().map_err(|e| e.to_string())?;
    let mut handler = BackendReqHandler::from_stream(clone, state.clone());
    loop {
        let kicks = locked(state).kicks();
        let mut polled: Vec<PollFd> =
            kicks.iter().map(|(_, kick)| PollFd::new(kick.as_fd(), PollFlags::POLLIN)).collect();
        polled.push(PollFd::new(stream.as_fd(), PollFlags::POLLIN));
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(format!("waiting for QEMU: {e}")),
        }
        let is_ready: Vec<bool> = polled.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        for ((queue, _), _) in kicks.iter().zip(&is_ready).filter(|(_, ready)| **ready) {
            let mut state = locked(state);
            state.rings[*queue].take_kick().map_err(|e| format!("taking a kick: {e}"))?;
            state.run(*queue);
        }
        if is_ready.last() == Some(&true) {
            match request(stream, state) {
                Ok(Some(None)) => {}
                Ok(Some(Some(header))) => match handler.handle_request() {
                    Ok(()) | Err(Error::InvalidParam) => {}
                    // Read whole, and not answered.
                    Err(Error::InvalidMessage) => {
                        let why = format!("request {}, which is not valid", header.code);
                        locked(state).faults.push(why);
                        header.acknowledge(stream, 1).map_err(|e| format!("an answer: {e}"))?;
                    }
                    Err(Error::Disconnected) => return Ok(()),
                    Err(Error::SocketBroken(_)) => return Ok(()),
                    Err(e) => return Err(format!("a request of QEMU's: {e}")),
                },
                Ok(None) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                Err(e) => return Err(format!("QEMU's socket: {e}")),
            }
        }
    }
}

/// What a request begins with.
struct Header {
    code: u32,
    flags: u32,
}

impl Header {
    /// Tells QEMU how the request went, if it wants to know: 0 is well.
    fn acknowledge(&self, stream: &UnixStream, result: u64) -> io::Result<()> {
        if self.flags & NEED_REPLY != 0 {
            let header = [self.code, VERSION | REPLY, 8].map(u32::to_ne_bytes).concat();
            let reply = [&header[..], &result.to_ne_bytes()].concat();
            send(stream.as_raw_fd(), &reply, MsgFlags::MSG_NOSIGNAL)?;
        }
        Ok(())
    }
}

/// Does the next request if it is one that the crate does not take; its header if it is another.
/// `None` at the end of the connection.
fn request(stream: &UnixStream, state: &Mutex<State>) -> io::Result<Option<Option<Header>>> {
    let mut bytes = [0; HEADER];
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_WAITALL;
    match recv(stream.as_raw_fd(), &mut bytes, flags)? {
        0 => return Ok(None),
        HEADER => {}
        count => return Err(io::Error::other(format!("{count} bytes are no header"))),
    }
    let word =
        |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let header = Header { code: word(0), flags: word(4) };
    let code = header.code;
    if ![SET_VRING_ENABLE, SET_BACKEND_REQ_FD, SET_VRING_ENDIAN].contains(&code) {
        return Ok(Some(Some(header)));
    }
    let mut message = [0; HEADER + 8];
    let (length, file) = receive(stream, &mut message)?;
    let mut state = locked(state);
    let (index, value) = (usize::from(message[HEADER]), message[HEADER + 4]);
    let name = match code {
        SET_VRING_ENABLE => "SET_VRING_ENABLE",
        SET_VRING_ENDIAN => "SET_VRING_ENDIAN",
        _ => "SET_BACKEND_REQ_FD",
    };
    state.asked.push(name);
    match (code, state.rings.get_mut(index)) {
        (SET_BACKEND_REQ_FD, _) => state.channel = file.map(UnixStream::from),
        (_, ring) if length != message.len() || value > 1 || ring.is_none() => {
            state.faults.push(format!("{name} of ring {index}: {value}"));
        }
        (SET_VRING_ENABLE, Some(ring)) => ring.is_enabled = value == 1,
        (_, Some(ring)) => {
            ring.order = if value == 0 { Endian::Little } else { Endian::Big };
        }
        (_, None) => {}
    }
    drop(state);
    header.acknowledge(stream, 0)?;
    Ok(Some(None))
}

/// Receives a message with at most one file.
fn receive(stream: &UnixStream, into: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut parts = [io::IoSliceMut::new(into)];
    let mut room = cmsg_space!([i32; 1]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let came = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut room), flags)?;
    let mut file = None;
    for message in came.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = message {
            for number in numbers {
                // SAFETY: the kernel has just made this number for us, and nobody else has it.
                file = Some(unsafe { OwnedFd::from_raw_fd(number) });
            }
        }
    }
    Ok((came.bytes, file))
}
