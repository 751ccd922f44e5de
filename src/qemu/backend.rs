//! Back ends: what serves the harness's end of a socket while QEMU starts and runs, in a thread
//! of its own. QEMU waits at its start for some (vhost-user, a TPM), where a test could not yet
//! answer.

use std::any::Any;
use std::fmt;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};

use super::user_backend::Running;

/// What is left of a back end that runs: its state, which the test reads, and whose `Drop` ends
/// it once QEMU is gone.
pub type Served = Box<dyn Any + Send>;

/// How a back end begins to serve its end of the socket.
///
/// ```
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
/// use std::thread::JoinHandle;
///
/// use qgraph::qemu::{Backend, Socket};
///
/// /// Sends back what it gets, and counts the bytes.
/// struct Echo(JoinHandle<u64>);
///
/// const ECHO: Backend = Backend::new(|stream: UnixStream| {
///     let (mut from, mut to) = (stream.try_clone()?, stream);
///     Ok(Box::new(Echo(std::thread::spawn(move || std::io::copy(&mut from, &mut to).unwrap_or(0)))))
/// });
///
/// const SOCKET: Socket = Socket::new("echo", "null,id=echo").served_by(ECHO);
/// # let _ = SOCKET;
/// ```
///
/// In a test, [`Vm::backend`](super::Vm::backend) gives what the function returned.
#[derive(Clone, Copy)]
pub struct Backend {
    pub(super) serve: Serve,
    /// The devices for which the user can name another.
    pub(super) device: Option<&'static str>,
}

/// What a back end is given when it begins.
#[derive(Clone, Copy)]
pub(super) enum Serve {
    /// The harness's end of a socket.
    Stream(fn(UnixStream) -> io::Result<Served>),
    /// That, and an image of the machine.
    Image(&'static str, fn(UnixStream, File) -> io::Result<Served>),
    /// A socket to which QEMU connects.
    Listener(fn(UnixListener) -> io::Result<Served>),
    /// Nothing: it makes QEMU's ends as well, which are no sockets.
    Maker(&'static str, fn() -> io::Result<(Served, Vec<OwnedFd>)>),
}

impl Backend {
    /// A back end that `serve` begins. It must return at once: what goes on stands in a thread,
    /// which ends when its socket is closed.
    pub const fn new(serve: fn(UnixStream) -> io::Result<Served>) -> Self {
        Self::by(Serve::Stream(serve))
    }

    /// A back end that is also given the image `name`, of those of the same edge or test.
    pub const fn with_image(
        name: &'static str,
        serve: fn(UnixStream, File) -> io::Result<Served>,
    ) -> Self {
        Self::by(Serve::Image(name, serve))
    }

    /// A back end to which QEMU connects, and can connect again. Where options say the name of
    /// the socket, a name of the abstract namespace stands then, for `path=…,abstract=on`
    /// (QEMU 5.1 and later).
    pub const fn listening(serve: fn(UnixListener) -> io::Result<Served>) -> Self {
        Self::by(Serve::Listener(serve))
    }

    /// A back end that makes the files that QEMU inherits, `what` of the kernel's. Where options
    /// say the name of the socket, the files' numbers stand then, with colons between them. A path
    /// is skipped where the kernel refuses `what`.
    pub const fn making(
        what: &'static str,
        make: fn() -> io::Result<(Served, Vec<OwnedFd>)>,
    ) -> Self {
        Self::by(Serve::Maker(what, make))
    }

    const fn by(serve: Serve) -> Self {
        Self { serve, device: None }
    }

    /// This one, in whose place a [`UserBackend`](super::UserBackend) for `device` serves where
    /// the user names one.
    pub const fn of(self, device: &'static str) -> Self {
        Self { device: Some(device), ..self }
    }
}

/// The harness's end of a socket: with the test, or with a back end; that of the user's has it
/// itself.
pub(super) enum End {
    /// The test's.
    Ours(UnixStream),
    /// What the back end left.
    Served(Served),
    /// A back end of the user's.
    User(Box<Running>),
}

impl End {
    /// The socket, if the test has it.
    pub fn ours(&self) -> Option<&UnixStream> {
        match self {
            Self::Ours(stream) => Some(stream),
            Self::Served(_) | Self::User(_) => None,
        }
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Backend")
    }
}

// Two configurations are equal if they are served by the same function.
impl PartialEq for Backend {
    fn eq(&self, other: &Self) -> bool {
        match (self.serve, other.serve) {
            (Serve::Stream(one), Serve::Stream(other)) => std::ptr::fn_addr_eq(one, other),
            (Serve::Image(name, one), Serve::Image(its, other)) => {
                name == its && std::ptr::fn_addr_eq(one, other)
            }
            (Serve::Listener(one), Serve::Listener(other)) => std::ptr::fn_addr_eq(one, other),
            (Serve::Maker(_, one), Serve::Maker(_, other)) => std::ptr::fn_addr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for Backend {}

impl Hash for Backend {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.serve {
            Serve::Stream(serve) => (serve as usize).hash(state),
            Serve::Image(_, serve) => (serve as usize).hash(state),
            Serve::Listener(serve) => (serve as usize).hash(state),
            Serve::Maker(_, make) => (make as usize).hash(state),
        }
    }
}
