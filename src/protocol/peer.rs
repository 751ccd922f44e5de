//! For tests only: somebody to talk to, at the other end of a socket pair, in a thread.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::SndBuf;

use super::{Deadline, Error, Transcript};

/// The far end. All it does is checked: a request that is not as expected fails the test.
pub(super) struct Peer {
    reader: BufReader<UnixStream>,
    signal: Receiver<()>,
}

impl Peer {
    /// The next request, without its line end; empty at the end of the connection.
    pub(super) fn request(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("readable");
        line.trim_end_matches('\n').to_string()
    }

    /// Takes a request, which must be this one.
    pub(super) fn expect(&mut self, request: &str) {
        assert_eq!(self.request(), request);
    }

    /// Sends bytes, which need not be whole lines.
    pub(super) fn say(&mut self, bytes: impl AsRef<[u8]>) {
        // The test may be over by now.
        let _ = self.reader.get_mut().write_all(bytes.as_ref());
    }

    /// Waits for [`Talk::go`], as a peer that is too late for a deadline does.
    pub(super) fn wait_for_go(&mut self) {
        let _ = self.signal.recv();
    }
}

/// The near end's accessories.
pub(super) struct Talk {
    pub(super) deadline: Rc<Deadline>,
    pub(super) transcript: Rc<Transcript>,
    peer: JoinHandle<()>,
    signal: Sender<()>,
}

impl Talk {
    /// A socket whose other end is in the hands of `script`.
    pub(super) fn start(script: impl FnOnce(Peer) + Send + 'static) -> (UnixStream, Self) {
        let (near, far) = UnixStream::pair().expect("a socket pair");
        Self::with(near, far, script)
    }

    /// The same over sockets whose buffers are as small as the system has them.
    pub(super) fn start_narrow(script: impl FnOnce(Peer) + Send + 'static) -> (UnixStream, Self) {
        let (near, far) = UnixStream::pair().expect("a socket pair");
        for end in [&near, &far] {
            setsockopt(end, SndBuf, &1).expect("a small buffer");
        }
        Self::with(near, far, script)
    }

    fn with(
        near: UnixStream,
        far: UnixStream,
        script: impl FnOnce(Peer) + Send + 'static,
    ) -> (UnixStream, Self) {
        let (signal, received) = channel();
        let peer = Peer { reader: BufReader::new(far), signal: received };
        let talk = Self {
            deadline: Rc::new(Deadline::new()),
            transcript: Rc::new(Transcript::default()),
            peer: std::thread::spawn(move || script(peer)),
            signal,
        };
        (near, talk)
    }

    /// Lets [`Peer::wait_for_go`] go on.
    pub(super) fn go(&self) {
        let _ = self.signal.send(());
    }

    /// Runs `request` with next to no time, which must not be enough.
    pub(super) fn too_late<T>(&self, request: impl FnOnce() -> Result<T, Error>) -> String {
        self.deadline.set_limit(Duration::from_millis(20));
        let result = request();
        self.deadline.set_limit(Deadline::DEFAULT_LIMIT);
        match result {
            Err(Error::Deadline { what, waited, .. }) => {
                assert!(waited >= Duration::from_millis(20));
                what
            }
            Err(error) => panic!("no deadline, but {error}"),
            Ok(_) => panic!("no deadline"),
        }
    }

    /// Hangs up `client`, and makes sure that the peer saw what it expected.
    pub(super) fn finish<C>(self, client: C) {
        drop(client);
        self.go();
        if let Err(panic) = self.peer.join() {
            std::panic::resume_unwind(panic);
        }
    }
}
