//! A running machine: the process, its two sockets, its RAM. What drivers and tests get.

#[cfg(test)]
mod fake;
mod hang;

use std::cell::{Cell, OnceCell, RefCell};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::command_line::{Config, Wiring};
use super::emulator::Emulator;
use super::process::{Ending, Launch, Process};
use super::ram::{Mapping, Ram, memory_file, zero};
use crate::protocol::{self, Deadline, Endian, Qmp, Qtest, Transcript};
use crate::{Error, Result};

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For the answer to one request; QEMU's start is one.
    pub request: Duration,
    /// For everything together, from the start on.
    pub whole: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { request: Duration::from_secs(10), whole: Duration::from_secs(60) }
    }
}

/// Why a QEMU did not start.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// There is no process.
    #[error("cannot start {program}: {source}")]
    Spawn {
        /// The emulator.
        program: String,
        /// The kernel's word.
        source: io::Error,
    },
    /// Something that QEMU needs could not be made.
    #[error("cannot make {what} for QEMU: {source}")]
    Resource {
        /// Which thing.
        what: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
    /// It did not greet us, or not answer the first questions.
    #[error("QEMU {}", match ending {
        Some(ending) => format!("{ending} before it was ready"),
        None => format!("did not get ready: {protocol}{doing}"),
    })]
    NoGreeting {
        /// How it ended, if it did.
        ending: Option<Ending>,
        /// What happened on the sockets.
        protocol: Box<protocol::Error>,
        /// What it was doing instead, after `; `, if it gave no answer.
        doing: String,
        /// The last lines on the sockets.
        transcript: String,
        /// What it wrote to standard error and output.
        output: String,
    },
}

impl LaunchError {
    /// What to say of a `process` that did not get ready because of this `protocol` error.
    /// It is killed if it still runs.
    pub(super) fn not_ready(
        process: &mut Process,
        protocol: protocol::Error,
        transcript: &Transcript,
    ) -> Self {
        // A closed socket is the first sign of an end that takes a moment more.
        let closed = matches!(protocol, protocol::Error::Closed { .. });
        let patience = if closed { Duration::from_secs(1) } else { Duration::ZERO };
        let ending = process.wait_until(Instant::now() + patience);
        let mut doing = String::new();
        if ending.is_none() && matches!(protocol, protocol::Error::Deadline { .. }) {
            doing = format!("; {}", hang::watch(process.id(), || {}));
        }
        process.kill();
        let (transcript, output) = (transcript.to_string(), process.output());
        Self::NoGreeting { ending, protocol: Box::new(protocol), doing, transcript, output }
    }
}

/// A running QEMU and what connects us to it. It ends when this is dropped.
pub struct Vm {
    // The order is that in which they go: the process first, and with it what it holds.
    process: RefCell<Process>,
    qtest: Rc<Qtest>,
    qmp: Qmp,
    ram: Rc<Ram>,
    images: Vec<File>,
    sockets: Vec<UnixStream>,
    config: Config,
    emulator: Arc<Emulator>,
    deadline: Rc<Deadline>,
    transcript: Rc<Transcript>,
    endian: OnceCell<Endian>,
    attached: Cell<Option<Instant>>,
    lasting: Cell<Option<&'static str>>,
}

fn resource(what: &'static str) -> impl Fn(io::Error) -> LaunchError {
    move |source| LaunchError::Resource { what, source }
}

/// A QEMU that was started and has not been heard of yet. Meanwhile something else can be
/// done. It ends when this is dropped.
pub struct Starting {
    spawned: Spawned,
    mapping: Option<Mapping>,
    images: Vec<File>,
    sockets: Vec<UnixStream>,
    config: Config,
    emulator: Arc<Emulator>,
}

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
    /// Starts `emulator` as `config` says and waits until it answers.
    ///
    /// # Errors
    /// No process, or one that ends or says nothing; what it wrote is in the error.
    pub fn launch(
        emulator: &Arc<Emulator>,
        config: Config,
        limits: Limits,
    ) -> Result<Self, LaunchError> {
        Self::start(emulator, config)?.ready(limits)
    }

    /// Starts `emulator` as `config` says, and leaves it to itself.
    ///
    /// # Errors
    /// There is no process.
    pub fn start(emulator: &Arc<Emulator>, config: Config) -> Result<Starting, LaunchError> {
        let machine = emulator.capabilities.machines.get(&config.machine);
        let backend = machine.and_then(|machine| machine.default_ram_id.clone());
        let mapping = backend.as_ref().filter(|_| config.ram.size > 0);
        let mapping = mapping.map(|_| Mapping::new(config.ram.size)).transpose();
        let mapping = mapping.map_err(resource("shared memory"))?;
        let images = config.images.iter().map(|image| memory_file(image.name, image.size));
        let images = images.collect::<io::Result<Vec<File>>>().map_err(resource("an image"))?;

        let image_files = images.iter().map(|file| file.as_fd().try_clone_to_owned());
        let image_files = image_files.collect::<io::Result<Vec<OwnedFd>>>();
        let image_files = image_files.map_err(resource("an image"))?;
        let image_numbers = image_files.iter().map(AsRawFd::as_raw_fd).collect();
        let pairs = config.sockets.iter().map(|_| UnixStream::pair());
        let pairs = pairs.collect::<io::Result<Vec<_>>>().map_err(resource("a socket"))?;
        let (sockets, sockets_there): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let socket_numbers = sockets_there.iter().map(AsRawFd::as_raw_fd).collect();
        let ram_file = mapping.as_ref().and_then(Mapping::file);
        let ram_file = ram_file.map(|file| file.try_clone_to_owned()).transpose();
        let ram_file = ram_file.map_err(resource("shared memory"))?;
        let ram = ram_file.as_ref().map(AsRawFd::as_raw_fd).zip(backend);
        let sockets_there = sockets_there.into_iter().map(OwnedFd::from);
        let files = image_files.into_iter().chain(sockets_there).chain(ram_file).collect();
        let make = |wiring: &Wiring| {
            let (images, sockets) = (image_numbers, socket_numbers);
            config.arguments(&Wiring { ram, images, sockets, ..wiring.clone() })
        };
        let spawned = spawn(emulator, make, files)?;
        Ok(Starting { spawned, mapping, images, sockets, config, emulator: emulator.clone() })
    }

    /// What a test did that a reset of the machine does not undo, if it did.
    pub fn lasting_change(&self) -> Option<&'static str> {
        let by_qmp = self.qmp.has_changed_something().then_some("a QMP command");
        self.lasting.get().or(self.qtest.lasting_change()).or(by_qmp)
    }

    /// Notes that a reset of the machine will not undo `what`, because it is not meant to: a
    /// battery keeps it, for instance. No other path runs on this QEMU afterwards.
    pub fn note_lasting(&self, what: &'static str) {
        self.lasting.set(Some(what));
    }

    /// Makes the machine as it was at its start, as far as a reset does that, and its RAM
    /// and images all zeroes. The clock goes on.
    ///
    /// # Errors
    /// QEMU does not do it; it should not be used any more.
    pub fn reset(&self, limits: Limits) -> Result<(), ResetError> {
        self.set_limits(limits);
        // A test that was skipped may have left some.
        self.qtest.flush().map_err(ResetError::Protocol)?;
        self.transcript.clear();
        self.process.borrow().forget_output();
        // Before the reset, which puts firmware and device trees back.
        self.ram.renew().map_err(ResetError::Io)?;
        self.qmp.events();
        self.qmp.execute("system_reset", serde_json::Value::Null).map_err(ResetError::Protocol)?;
        self.deadline.set_limit(limits.request.min(RESET));
        match self.qmp.wait_event("RESET") {
            Ok(_) => {}
            Err(protocol::Error::Deadline { .. }) => return Err(ResetError::Unknown),
            Err(e) => return Err(ResetError::Protocol(e)),
        }
        for (file, image) in self.images.iter().zip(&self.config.images) {
            zero(file, image.size).map_err(ResetError::Io)?;
        }
        self.sockets.iter().try_for_each(drain).map_err(ResetError::Io)?;
        self.qmp.events();
        self.qtest.poll_irqs().map_err(ResetError::Protocol)?;
        self.set_limits(limits);
        Ok(())
    }

    fn set_limits(&self, limits: Limits) {
        self.deadline.set_limit(limits.request);
        self.deadline.set_end(Instant::now().checked_add(limits.whole));
        self.attached.set(None);
    }

    /// Notes that the objects along a path are attached and its test begins.
    pub(crate) fn note_attached(&self) {
        self.attached.set(Some(Instant::now()));
    }

    /// When the test of the path began that runs on this QEMU.
    pub fn attached(&self) -> Option<Instant> {
        self.attached.get()
    }

    /// The qtest connection: ports, memory, clock, interrupts.
    pub fn qtest(&self) -> &Rc<Qtest> {
        &self.qtest
    }

    /// The QMP connection. All writes of registers are done by now.
    pub fn qmp(&self) -> &Qmp {
        self.qtest.flush_quietly();
        &self.qmp
    }

    /// The guest's RAM.
    pub fn ram(&self) -> &Rc<Ram> {
        &self.ram
    }

    /// The byte order of the target's CPU, in which qtest reads and writes numbers.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn endian(&self) -> Result<Endian> {
        if let Some(&known) = self.endian.get() {
            return Ok(known);
        }
        let endian = self.qtest.endianness()?;
        Ok(*self.endian.get_or_init(|| endian))
    }

    /// What this QEMU was asked to be.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The emulator that runs.
    pub fn emulator(&self) -> &Arc<Emulator> {
        &self.emulator
    }

    /// The limits of time that requests keep to.
    pub fn deadline(&self) -> &Rc<Deadline> {
        &self.deadline
    }

    /// The last requests and answers.
    pub fn transcript(&self) -> &Rc<Transcript> {
        &self.transcript
    }

    fn image(&self, name: &str) -> Result<&File> {
        let number = self.config.images.iter().position(|image| image.name == name);
        number
            .and_then(|number| self.images.get(number))
            .ok_or_else(|| Error::failed(format!("this machine has no image called {name}")))
    }

    /// Reads the image `name` from byte `offset` on, past QEMU.
    ///
    /// # Errors
    /// There is no such image, or it is shorter.
    pub fn read_image(&self, name: &str, offset: u64, into: &mut [u8]) -> Result<()> {
        self.qtest.flush()?;
        let read = self.image(name)?.read_exact_at(into, offset);
        read.map_err(|e| Error::failed(format!("reading the image {name} at {offset}: {e}")))?;
        self.transcript.tap().with(|tap| tap.image_read(name, offset, into));
        Ok(())
    }

    /// Writes the image `name` from byte `offset` on, past QEMU.
    ///
    /// # Errors
    /// There is no such image.
    pub fn write_image(&self, name: &str, offset: u64, from: &[u8]) -> Result<()> {
        self.qtest.flush()?;
        self.transcript.tap().with(|tap| tap.image_written(name, offset, from));
        let written = self.image(name)?.write_all_at(from, offset);
        written.map_err(|e| Error::failed(format!("writing the image {name} at {offset}: {e}")))
    }

    /// The harness's end of the socket `name`.
    ///
    /// # Errors
    /// There is no such socket.
    pub fn socket(&self, name: &str) -> Result<&UnixStream> {
        self.qtest.flush()?;
        let mut sockets = self.config.sockets.iter().zip(&self.sockets);
        let found = sockets.find(|(socket, _)| socket.name == name);
        found
            .map(|(_, stream)| stream)
            .ok_or_else(|| Error::failed(format!("this machine has no socket called {name}")))
    }

    /// How QEMU ended, if it does within `patience`.
    pub fn ending_within(&self, patience: Duration) -> Option<Ending> {
        self.process.borrow_mut().wait_until(Instant::now() + patience)
    }

    /// What QEMU wrote to standard error and output so far.
    pub fn output(&self) -> String {
        self.process.borrow().output()
    }

    /// Asks QEMU to quit and waits for its end; kills it when it does not come.
    ///
    /// # Errors
    /// It had to be killed; what it did instead of ending, after "QEMU …".
    pub fn quit(&self, patience: Duration) -> Result<Ending, String> {
        let _ = self.qmp.send_only("quit");
        self.ending_within(patience).ok_or_else(|| {
            let why = match self.qmp.poll() {
                Ok(()) => String::new(),
                Err(protocol::Error::Closed { .. }) => ", although it closed QMP".to_owned(),
                Err(e) => format!("; {e}"),
            };
            let doing = self.doing();
            self.kill();
            format!("did not quit within {patience:?}{why}; {doing}")
        })
    }

    /// Kills QEMU.
    pub fn kill(&self) -> Ending {
        self.process.borrow_mut().kill()
    }
}

/// Takes out of a socket what has come.
fn drain(socket: &UnixStream) -> io::Result<()> {
    let mut scrap = [0; 4096];
    loop {
        match recv(socket, &mut scrap, RecvFlags::DONTWAIT) {
            Ok((_, 0)) | Err(Errno::AGAIN) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// A process and its sockets.
pub(super) struct Connected {
    pub process: Process,
    pub qtest: Rc<Qtest>,
    pub qmp: Qmp,
}

/// Starts `emulator` with two socketpairs and these files, and waits for its greeting.
/// The arguments come from `arguments`, which is told the numbers of the sockets.
pub(super) fn connect(
    emulator: &Emulator,
    arguments: impl FnOnce(&Wiring) -> Vec<String>,
    files: Vec<OwnedFd>,
    deadline: &Rc<Deadline>,
    transcript: &Rc<Transcript>,
) -> Result<Connected, LaunchError> {
    spawn(emulator, arguments, files)?.connect(deadline, transcript)
}

/// A process and our ends of its sockets.
struct Spawned {
    process: Process,
    qtest: UnixStream,
    qmp: UnixStream,
}

fn spawn(
    emulator: &Emulator,
    arguments: impl FnOnce(&Wiring) -> Vec<String>,
    files: Vec<OwnedFd>,
) -> Result<Spawned, LaunchError> {
    let pair = || UnixStream::pair().map_err(resource("a socket"));
    let ((qtest, qtest_there), (qmp, qmp_there)) = (pair()?, pair()?);
    let wiring = Wiring {
        qtest: qtest_there.as_raw_fd(),
        qtest_on_stdio: !emulator.has_qtest_object(),
        qmp: qmp_there.as_raw_fd(),
        ram: None,
        images: Vec::new(),
        sockets: Vec::new(),
    };
    let mut launch = Launch {
        program: emulator.path.clone(),
        arguments: arguments(&wiring),
        environment: emulator.environment(),
        inherit: files,
        stdio: None,
    };
    launch.inherit.push(qmp_there.into());
    if wiring.qtest_on_stdio {
        launch.stdio = Some(qtest_there.into());
    } else {
        launch.inherit.push(qtest_there.into());
    }
    let program = emulator.path.display().to_string();
    let process = Process::start(launch);
    let process = process.map_err(|source| LaunchError::Spawn { program, source })?;
    Ok(Spawned { process, qtest, qmp })
}

impl Spawned {
    fn connect(
        mut self,
        deadline: &Rc<Deadline>,
        transcript: &Rc<Transcript>,
    ) -> Result<Connected, LaunchError> {
        let qmp = Qmp::connect(self.qmp, deadline.clone(), transcript.clone());
        let connected = qmp.and_then(|qmp| {
            let qtest = Qtest::new(self.qtest, deadline.clone(), transcript.clone())?;
            Ok((Rc::new(qtest), qmp))
        });
        match connected {
            Ok((qtest, qmp)) => Ok(Connected { process: self.process, qtest, qmp }),
            Err(protocol) => Err(LaunchError::not_ready(&mut self.process, protocol, transcript)),
        }
    }
}

impl Starting {
    /// What it is asked to be.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The emulator that starts.
    pub fn emulator(&self) -> &Arc<Emulator> {
        &self.emulator
    }

    /// Waits until it answers. The limits begin now.
    ///
    /// # Errors
    /// It ended or says nothing; what it wrote is in the error.
    pub fn ready(self, limits: Limits) -> Result<Vm, LaunchError> {
        let (deadline, transcript) = (Rc::new(Deadline::new()), Rc::new(Transcript::default()));
        deadline.set_limit(limits.request);
        deadline.set_end(Instant::now().checked_add(limits.whole));
        let Connected { process, qtest, qmp } = self.spawned.connect(&deadline, &transcript)?;
        qtest.post_writes();
        Ok(Vm {
            process: process.into(),
            ram: Ram::new(self.config.ram, self.mapping, qtest.clone()),
            qtest,
            qmp,
            images: self.images,
            sockets: self.sockets,
            config: self.config,
            emulator: self.emulator,
            deadline,
            transcript,
            endian: OnceCell::new(),
            attached: Cell::new(None),
            lasting: Cell::new(None),
        })
    }
}
