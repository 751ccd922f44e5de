//! vhost-user back ends of one's own: a device whose rings are served by a thread of the harness,
//! which QEMU tells by messages on a socket where guest memory and the rings are, and what was
//! negotiated. A test sees in a [`VhostUser`] what the back end was told, and can have it answer
//! otherwise. The protocol is that of QEMU's `docs/interop/vhost-user.rst`; its messages are read
//! by the crate `vhost`.

pub mod blk;
mod device;
mod kinds;
mod memory;
mod net;
mod ring;
mod serve;
mod state;

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use super::wait_until;
use crate::qemu::{Served, Socket, Vm};
use crate::{Error, Result};

pub use device::{Answer, Device, SimpleDevice};
pub use kinds::{VhostUserBlk, VhostUserDevice, VhostUserGpio, VhostUserScmi, inverted, plain};
pub use memory::Region;
use serve::locked;
use state::State;
pub use state::{F_LOG_ALL, F_PROTOCOL, Request, Seen};
pub use vhost::vhost_user::VhostUserProtocolFeatures as Protocol;

/// The name of the socket between QEMU and the back end.
pub const NAME: &str = "vhost";
/// The options of a character device `vhost` on that socket.
pub const CHARDEV: &str = "-chardev socket,id=vhost,fd={vhost}";
/// The socket, to be [served](Socket::served_by) by a back end.
pub const SOCKET: Socket = Socket::new(NAME, "socket,id=vhost,path=vhost.sock");

/// How often a back end of the user's is connected to again before it counts as broken.
const CONNECTIONS: usize = 3;

/// Does what is to work after a driver broke the rules. A back end of the user's may have hung up
/// on that driver, or be about to: once QEMU has connected to it again, it is done again.
///
/// # Errors
/// Returns what the last attempt did; also where QEMU does not connect again.
pub fn once_connected(vm: &Vm, attempt: impl Fn() -> Result<()>) -> Result<()> {
    let is_connected = || {
        let devices = vm.qmp().execute("query-chardev", json!({}))?;
        let is_cut = |device: &Value| {
            let name = device["filename"].as_str().unwrap_or_default();
            device["label"] == NAME && name.starts_with("disconnected:")
        };
        Ok(!devices.as_array().is_some_and(|devices| devices.iter().any(is_cut)))
    };
    if !vm.has_user_backend() {
        return attempt();
    }
    let mut result = Ok(());
    for _ in 0..CONNECTIONS {
        if wait_until(vm, "QEMU to be connected to its back end", is_connected).is_err() {
            let what = "QEMU does not connect again to the back end, which hung up";
            return result.and_then(|()| attempt()).map_err(|e| e.context(what));
        }
        result = attempt();
        if result.is_ok() {
            break;
        }
    }
    result
}

/// A back end that serves a device.
pub struct VhostUser {
    state: Arc<Mutex<State>>,
    /// What it listens to, and whether that is to end.
    listener: Option<(UnixListener, Arc<AtomicBool>)>,
    thread: Option<JoinHandle<()>>,
}

impl VhostUser {
    /// Begins to serve `device` on `stream`.
    ///
    /// # Errors
    /// The socket cannot be used twice, or no thread can be had.
    pub fn serve(stream: UnixStream, device: impl Device) -> io::Result<Served> {
        let state = Arc::new(Mutex::new(State::new(Box::new(device))));
        // Known from the first, so that it can be closed before the thread runs.
        locked(&state).connected(Some(stream.try_clone()?));
        let its = state.clone();
        let thread = std::thread::Builder::new().name("vhost-user".to_owned());
        let thread = Some(thread.spawn(move || serve::serve(stream, &its))?);
        Ok(Box::new(Self { state, listener: None, thread }))
    }

    /// Begins to serve `device` to whoever connects, one after the other; the first is turned away
    /// if `refuses_first`.
    ///
    /// # Errors
    /// As for [`VhostUser::serve`].
    pub fn listen(
        listener: UnixListener,
        device: impl Device,
        refuses_first: bool,
    ) -> io::Result<Served> {
        let state = State::new(Box::new(device));
        let state = Arc::new(Mutex::new(State { refuses_first, ..state }));
        let is_over = Arc::new(AtomicBool::new(false));
        let (its, over) = (state.clone(), is_over.clone());
        let ours = Some((listener.try_clone()?, is_over));
        let thread = std::thread::Builder::new().name("vhost-user".to_owned());
        let thread = thread.spawn(move || {
            serve::serve_all(&listener, &its, || over.load(Ordering::SeqCst));
        });
        Ok(Box::new(Self { state, listener: ours, thread: Some(thread?) }))
    }

    /// That of `vm`.
    ///
    /// # Errors
    /// It has none.
    pub fn of(vm: &Vm) -> Result<&Self> {
        vm.backend(NAME)
    }

    /// What the back end was told when it was negotiated with: the features that were accepted.
    pub fn accepted(&self) -> Option<u64> {
        locked(&self.state).accepted
    }

    /// The features that it offers.
    pub fn offered(&self) -> u64 {
        locked(&self.state).offered()
    }

    /// The features of the protocol that were accepted.
    pub fn protocol(&self) -> Option<Protocol> {
        locked(&self.state).protocol.map(Protocol::from_bits_retain)
    }

    /// The features of the protocol that it offers.
    pub fn offered_protocol(&self) -> Protocol {
        locked(&self.state).offered_protocol()
    }

    /// How often QEMU has made itself its owner.
    pub fn owners(&self) -> u64 {
        locked(&self.state).owners
    }

    /// How often QEMU has connected, and whether it is.
    pub fn connections(&self) -> (u64, bool) {
        let state = locked(&self.state);
        (state.connections, state.is_connected)
    }

    /// What QEMU has asked since it connected, in order, by the names of the protocol.
    pub fn asked(&self) -> Vec<&'static str> {
        locked(&self.state).asked.clone()
    }

    /// The guest memory that it was given.
    pub fn regions(&self) -> Vec<Region> {
        locked(&self.state).memory.regions()
    }

    /// How long the log of pages is, in bytes, if it was given one.
    pub fn log_length(&self) -> Option<usize> {
        locked(&self.state).memory.log_length()
    }

    /// How many pages the log says were written, since QEMU has looked at it.
    ///
    /// # Errors
    /// It was given none.
    pub fn logged_pages(&self) -> Result<u64> {
        locked(&self.state).memory.logged().map_err(Error::failed)
    }

    /// Reads guest memory as the back end sees it.
    ///
    /// # Errors
    /// It was not given that.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<()> {
        locked(&self.state).memory.read(address, into).map_err(Error::failed)
    }

    /// Writes guest memory as the back end sees it.
    ///
    /// # Errors
    /// It was not given that.
    pub fn write(&self, address: u64, from: &[u8]) -> Result<()> {
        locked(&self.state).memory.write(address, from, false).map_err(Error::failed)
    }

    /// What it knows of a queue.
    ///
    /// # Errors
    /// It has no such queue.
    pub fn queue(&self, queue: u16) -> Result<Seen> {
        let seen = locked(&self.state).seen(queue.into());
        seen.ok_or_else(|| Error::failed(format!("the back end has no queue {queue}")))
    }

    /// How many queues it has.
    pub fn queue_count(&self) -> u16 {
        locked(&self.state).rings.len() as u16
    }

    /// The requests that came since this was asked.
    pub fn take_requests(&self) -> Vec<Request> {
        locked(&self.state).requests.drain(..).collect()
    }

    /// What QEMU did against the protocol.
    pub fn faults(&self) -> Vec<String> {
        locked(&self.state).faults.clone()
    }

    /// Its configuration.
    pub fn config(&self) -> Vec<u8> {
        locked(&self.state).device.config().to_vec()
    }

    /// Gives the next buffer of a queue that waits back with `answer`.
    ///
    /// # Errors
    /// No buffer comes, or the ring breaks the rules.
    pub fn fill(&self, vm: &Vm, queue: u16, answer: &[u8]) -> Result<()> {
        wait_until(vm, "a buffer for the back end", || {
            locked(&self.state).fill(queue.into(), answer).map_err(Error::failed)
        })
    }

    /// Whether a buffer of a queue that waits was there to be given back with `answer`.
    ///
    /// # Errors
    /// The ring breaks the rules.
    pub fn try_fill(&self, queue: u16, answer: &[u8]) -> Result<bool> {
        locked(&self.state).fill(queue.into(), answer).map_err(Error::failed)
    }

    /// Changes the configuration from byte `offset` on, and tells QEMU.
    ///
    /// # Errors
    /// QEMU has not said where it is to be told.
    pub fn change_config(&self, offset: usize, data: &[u8]) -> Result<()> {
        let mut state = locked(&self.state);
        state.device.set_config(offset, data);
        state.tell_config_changed().map_err(|e| Error::failed(format!("telling QEMU: {e}")))
    }

    /// Hides these features from whoever connects, and offers all others.
    pub fn hide(&self, features: u64) {
        locked(&self.state).hidden = features;
    }

    /// Waits until `is_so` of it.
    ///
    /// # Errors
    /// That does not become so; what QEMU did wrong is told.
    pub fn wait(&self, vm: &Vm, what: &str, is_so: impl Fn(&Self) -> bool) -> Result<()> {
        wait_until(vm, what, || Ok(is_so(self))).map_err(|e| {
            let (asked, faults) = (self.asked(), self.faults());
            let last = &asked[asked.len().saturating_sub(12)..];
            e.context(format!("the back end was asked … {last:?}; wrong were {faults:?}"))
        })
    }

    /// Closes the connection.
    pub fn hang_up(&self) {
        locked(&self.state).hang_up();
    }
}

impl Drop for VhostUser {
    fn drop(&mut self) {
        if let Some((listener, is_over)) = &self.listener {
            is_over.store(true, Ordering::SeqCst);
            // Wakes the thread.
            if let Ok(address) = listener.local_addr() {
                drop(UnixStream::connect_addr(&address));
            }
        }
        self.hang_up();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
