//! A TPM in a thread of the harness: the back end of QEMU's `tpmdev` `emulator`. QEMU controls it
//! on one socket, over which it passes another one for commands and responses (QEMU's
//! `docs/specs/tpm.rst`; numbers and layouts are those of swtpm's control protocol). All numbers
//! are big-endian.

use std::io::{self, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::Result;
use crate::qemu::{Backend, Served, Socket, Vm};

/// The name of the socket between QEMU and the back end.
pub const NAME: &str = "tpm";
/// The options of a device `tpm0` for a front end.
pub const OPTIONS: &str =
    "-chardev socket,id=chrtpm,fd={tpm} -tpmdev emulator,id=tpm0,chardev=chrtpm";
/// The socket, with its back end.
pub const SOCKET: Socket = Socket::new(NAME, "socket,id=chrtpm,path=tpm.sock").served_by(BACKEND);
/// The back end.
const BACKEND: Backend = Backend::new(TpmBackend::serve);

/// The length of the header of a command or response: tag, length, code.
pub const HEADER: usize = 10;
/// The tag of a command or response without sessions (TPM 2.0 Library, Part 2, 6.9).
const NO_SESSIONS: u16 = 0x8001;
/// The code of the commands that tests send: that of the vendor (Part 2, 6.5.2), with the length of
/// the response.
const VENDOR: u32 = 0x2000_0000;
/// The response code of a command that was cancelled (Part 2, 6.6.3).
pub const CANCELED: u32 = 0x909;
/// The response code of a TPM that has failed (Part 2, 6.6.3).
pub const FAILURE: u32 = 0x101;
/// The largest command and response in bytes.
pub const BUFFER: u32 = 4096;

/// How the back end treats commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// It answers each.
    Answers,
    /// It answers when it is told to, or when the command is cancelled.
    Holds,
    /// It answers with a header that says so many bytes, and with as many zeroes behind it.
    Says(u32),
    /// It sends a part of the header, and closes the connection.
    ShortThenCloses,
    /// It closes the connection.
    Closes,
}

/// What is known of the back end.
struct State {
    manner: Manner,
    /// Whether the command that is held may be answered, or is cancelled.
    is_released: bool,
    is_cancelled: bool,
    cancels: u64,
    inits: u64,
    locality: Option<u8>,
    commands: Vec<Vec<u8>>,
    faults: Vec<String>,
    is_over: bool,
    data: Option<UnixStream>,
}

type Shared = Arc<(Mutex<State>, Condvar)>;

/// A back end that runs.
pub struct TpmBackend {
    shared: Shared,
    control: UnixStream,
    thread: Option<JoinHandle<()>>,
}

fn locked(shared: &Shared) -> MutexGuard<'_, State> {
    shared.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A command of `length` bytes whose response has `response` bytes.
pub fn command(length: usize, response: usize) -> Vec<u8> {
    let mut bytes = NO_SESSIONS.to_be_bytes().to_vec();
    bytes.extend((length as u32).to_be_bytes());
    bytes.extend((VENDOR | response as u32).to_be_bytes());
    bytes.extend((HEADER..length).map(|at| (at * 29 + response) as u8 ^ (at >> 8) as u8));
    bytes
}

/// The response to a command, which depends on all of it.
pub fn response(to: &[u8]) -> Vec<u8> {
    let code = u32::from_be_bytes([to[6], to[7], to[8], to[9]]);
    let length = if code & VENDOR == 0 { HEADER } else { ((code & 0xffff) as usize).max(HEADER) };
    let sum = to.iter().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
    let mut bytes = header(length as u32, 0);
    bytes.extend((HEADER..length).map(|at| sum.rotate_left(at as u32 % 32) as u8 ^ at as u8));
    bytes
}

/// A response that is a header alone.
pub fn header(length: u32, code: u32) -> Vec<u8> {
    let mut bytes = NO_SESSIONS.to_be_bytes().to_vec();
    bytes.extend(length.to_be_bytes());
    bytes.extend(code.to_be_bytes());
    bytes
}

impl TpmBackend {
    fn serve(control: UnixStream) -> io::Result<Served> {
        let state = State {
            manner: Manner::Answers,
            is_released: false,
            is_cancelled: false,
            cancels: 0,
            inits: 0,
            locality: None,
            commands: Vec::new(),
            faults: Vec::new(),
            is_over: false,
            data: None,
        };
        let shared: Shared = Arc::new((Mutex::new(state), Condvar::new()));
        let (its, stream) = (shared.clone(), control.try_clone()?);
        let thread = std::thread::Builder::new().name("tpm".to_owned());
        let thread = Some(thread.spawn(move || {
            if let Err(why) = serve_control(stream, &its) {
                locked(&its).faults.push(format!("the control channel: {why}"));
            }
        })?);
        Ok(Box::new(Self { shared, control, thread }))
    }

    /// That of `vm`.
    ///
    /// # Errors
    /// It has none.
    pub fn of(vm: &Vm) -> Result<&Self> {
        vm.backend(NAME)
    }

    /// Changes how it treats commands, and forgets those that came.
    pub fn set_manner(&self, manner: Manner) {
        let mut state = locked(&self.shared);
        (state.manner, state.is_released, state.is_cancelled) = (manner, false, false);
        state.commands.clear();
        self.shared.1.notify_all();
    }

    /// Lets it answer the command that it holds.
    pub fn release(&self) {
        locked(&self.shared).is_released = true;
        self.shared.1.notify_all();
    }

    /// The commands that came since this was asked.
    pub fn take_commands(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut locked(&self.shared).commands)
    }

    /// How many commands came that were not taken.
    pub fn waiting(&self) -> usize {
        locked(&self.shared).commands.len()
    }

    /// How often QEMU has cancelled a command.
    pub fn cancels(&self) -> u64 {
        locked(&self.shared).cancels
    }

    /// How often QEMU has started it.
    pub fn inits(&self) -> u64 {
        locked(&self.shared).inits
    }

    /// The locality of the last command, if QEMU has told one.
    pub fn locality(&self) -> Option<u8> {
        locked(&self.shared).locality
    }

    /// What QEMU did against the protocol.
    pub fn faults(&self) -> Vec<String> {
        locked(&self.shared).faults.clone()
    }
}

impl Drop for TpmBackend {
    fn drop(&mut self) {
        {
            let mut state = locked(&self.shared);
            state.is_over = true;
            if let Some(data) = &state.data {
                drop(data.shutdown(Shutdown::Both));
            }
        }
        self.shared.1.notify_all();
        drop(self.control.shutdown(Shutdown::Both));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Commands of the control channel.
mod control {
    pub const GET_CAPABILITY: u32 = 0x01;
    pub const INIT: u32 = 0x02;
    pub const SHUTDOWN: u32 = 0x03;
    pub const GET_ESTABLISHED: u32 = 0x04;
    pub const SET_LOCALITY: u32 = 0x05;
    pub const CANCEL: u32 = 0x09;
    pub const RESET_ESTABLISHED: u32 = 0x0b;
    pub const GET_STATE: u32 = 0x0c;
    pub const SET_STATE: u32 = 0x0d;
    pub const STOP: u32 = 0x0e;
    pub const GET_CONFIG: u32 = 0x0f;
    pub const SET_DATA_FD: u32 = 0x10;
    pub const SET_BUFFER_SIZE: u32 = 0x11;
}

/// What it can do: initialise, shut down, established flag and its reset, locality, cancel, state
/// blobs, stop, configuration, data socket, buffer size.
const CAPABILITIES: u32 =
    1 | 2 | 4 | 8 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13;

/// The state that is given out for every type of blob.
const BLOB: &[u8] = b"the state of this TPM";

/// Reads the number of a command, with the socket that may come with it.
fn next(stream: &UnixStream) -> io::Result<Option<(u32, Option<OwnedFd>)>> {
    let mut number = [0; 4];
    let mut space = cmsg_space!([i32; 1]);
    let mut parts = [IoSliceMut::new(&mut number)];
    let flags = MsgFlags::MSG_WAITALL | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let mut passed = None;
    for message in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = message {
            // SAFETY: the kernel has just made these numbers, which nobody else owns.
            passed = fds.first().map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) });
        }
    }
    let length = message.bytes;
    Ok((length == 4).then(|| (u32::from_be_bytes(number), passed)))
}

fn serve_control(mut stream: UnixStream, shared: &Shared) -> io::Result<()> {
    let mut data = None;
    while let Some((number, fd)) = next(&stream)? {
        let mut words = |count: usize| -> io::Result<Vec<u32>> {
            let mut bytes = vec![0; 4 * count];
            stream.read_exact(&mut bytes)?;
            Ok(bytes.as_chunks().0.iter().map(|word| u32::from_be_bytes(*word)).collect())
        };
        let mut answer = vec![0_u32];
        let mut blob = &[][..];
        match number {
            control::GET_CAPABILITY => answer.push(CAPABILITIES),
            control::INIT => {
                words(1)?;
                locked(shared).inits += 1;
            }
            control::SHUTDOWN | control::STOP => {}
            // A byte, and three to fill up.
            control::GET_ESTABLISHED | control::GET_CONFIG => answer.push(0),
            control::SET_LOCALITY => {
                let locality = words(1)?[0] >> 24;
                locked(shared).locality = Some(locality as u8);
            }
            control::CANCEL => {
                let mut state = locked(shared);
                state.cancels += 1;
                state.is_cancelled = true;
                shared.1.notify_all();
            }
            control::RESET_ESTABLISHED => drop(words(1)?),
            control::GET_STATE => {
                words(3)?;
                answer.extend([0, BLOB.len() as u32, BLOB.len() as u32]);
                blob = BLOB;
            }
            control::SET_STATE => {
                let length = words(3)?[2];
                let mut bytes = vec![0; length as usize];
                stream.read_exact(&mut bytes)?;
                if length != 0 && bytes != BLOB {
                    locked(shared).faults.push("another state was set than was got".to_owned());
                }
            }
            control::SET_BUFFER_SIZE => {
                let wanted = words(1)?[0];
                let size = if wanted == 0 { BUFFER } else { wanted.clamp(HEADER as u32, BUFFER) };
                answer.extend([size, HEADER as u32, BUFFER]);
            }
            control::SET_DATA_FD => match fd {
                Some(fd) => {
                    let socket = UnixStream::from(fd);
                    locked(shared).data = Some(socket.try_clone()?);
                    let its = shared.clone();
                    data = Some(std::thread::spawn(move || serve_data(socket, &its)));
                }
                None => locked(shared).faults.push("no data socket came".to_owned()),
            },
            other => {
                locked(shared).faults.push(format!("an unknown control command {other:#x}"));
            }
        }
        let mut bytes: Vec<u8> = answer.iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes.extend(blob);
        stream.write_all(&bytes)?;
    }
    if let Some(data) = &locked(shared).data {
        drop(data.shutdown(Shutdown::Both));
    }
    drop(data.map(JoinHandle::join));
    Ok(())
}

/// Answers commands until the socket is closed.
fn serve_data(mut socket: UnixStream, shared: &Shared) {
    loop {
        let mut bytes = vec![0; HEADER];
        if socket.read_exact(&mut bytes).is_err() {
            return;
        }
        let length = u32::from_be_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]) as usize;
        if !(HEADER..=BUFFER as usize).contains(&length) {
            locked(shared).faults.push(format!("a command says {length} bytes"));
        }
        bytes.resize(length.clamp(HEADER, BUFFER as usize), 0);
        if socket.read_exact(&mut bytes[HEADER..]).is_err() {
            return;
        }
        let mut state = locked(shared);
        state.commands.push(bytes.clone());
        while state.manner == Manner::Holds
            && !(state.is_released || state.is_cancelled || state.is_over)
        {
            state = shared.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let answer = match state.manner {
            Manner::Holds if state.is_cancelled => header(HEADER as u32, CANCELED),
            Manner::Answers | Manner::Holds => response(&bytes),
            Manner::Says(length) => {
                let mut answer = header(length, 0);
                answer.resize((length as usize).max(HEADER), 0);
                answer
            }
            Manner::ShortThenCloses => vec![0x80, 0x01, 0],
            Manner::Closes => Vec::new(),
        };
        let closes = matches!(state.manner, Manner::ShortThenCloses | Manner::Closes);
        (state.is_released, state.is_cancelled) = (false, false);
        drop(state);
        if socket.write_all(&answer).is_err() {
            return;
        }
        if closes {
            drop(socket.shutdown(Shutdown::Both));
            return;
        }
    }
}
