//! The start of a QEMU: what is handed to it, its process, and its sockets up to the greeting.
//! Its arguments are made in `command_line`.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use once_cell::unsync::OnceCell;

use super::{Limits, Vm, hang};
use crate::protocol::{self, Deadline, Qmp, Qtest, Transcript};
use crate::qemu::accel::AccelError;
use crate::qemu::backend::{Backend, End, Serve};
use crate::qemu::capabilities::Version;
use crate::qemu::command_line::{Config, Socket, Wiring};
use crate::qemu::emulator::Emulator;
use crate::qemu::folder::Owned;
use crate::qemu::keep::Monitors;
use crate::qemu::lost_time::LostTime;
use crate::qemu::process::{Ending, Launch, Process};
use crate::qemu::ram::{Mapping, Ram, memory_file};
use crate::qemu::user_backend::NoBackend;

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
    /// The kernel does not give this user something without which the path does not apply.
    #[error("this user cannot have {what} here: {source}")]
    Unavailable {
        /// Which thing.
        what: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
    /// The module with its accelerator is gone and cannot be made anew.
    #[error(transparent)]
    Module(#[from] AccelError),
    /// It is not the emulator that was probed.
    #[error(
        "{} is {is} now, and was {was} when it was probed; the next run probes it anew",
        program.display()
    )]
    Changed {
        /// The emulator.
        program: PathBuf,
        /// What it was, as its greeting said.
        was: String,
        /// What it is.
        is: String,
    },
    /// What started it does not wait for its end.
    #[error("the wrapper `{wrapper}` {ending} while QEMU ran on; it must wait for QEMU's end")]
    Left {
        /// The wrapper.
        wrapper: String,
        /// How it ended.
        ending: Ending,
    },
    /// A back end of the user's does not serve it.
    #[error("there is no QEMU: the back end `{what}` {why}")]
    Backend {
        /// Its command or socket.
        what: String,
        /// What it did.
        why: String,
        /// What it wrote to standard error and output.
        output: String,
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
    pub(in crate::qemu) fn not_ready(
        process: &mut Process,
        protocol: protocol::Error,
        transcript: &Transcript,
    ) -> Self {
        // A closed socket is the first sign of an end that takes a moment more.
        let closed = matches!(protocol, protocol::Error::Closed { .. });
        let patience = if closed { Duration::from_secs(1) } else { Duration::ZERO };
        let ending = process.wait_for(patience);
        let mut doing = String::new();
        if ending.is_none() && matches!(protocol, protocol::Error::Deadline { .. }) {
            doing = format!("; {}", hang::watch(process.id(), || {}));
        }
        process.kill();
        let (transcript, output) = (transcript.to_string(), process.output());
        Self::NoGreeting { ending, protocol: Box::new(protocol), doing, transcript, output }
    }
}

fn resource(what: &'static str) -> impl Fn(io::Error) -> LaunchError {
    move |source| LaunchError::Resource { what, source }
}

/// A QEMU that was started and has not been heard of yet. Meanwhile something else can be
/// done. It ends when this is dropped.
pub struct Starting {
    spawned: Spawned,
    monitors: Option<Monitors>,
    mapping: Option<Mapping>,
    images: Vec<File>,
    sockets: Vec<End>,
    far_ends: Vec<FarEnd>,
    socket_words: Vec<String>,
    folders: Vec<Owned>,
    config: Config,
    emulator: Arc<Emulator>,
}

/// QEMU's end of a socket.
pub(super) enum FarEnd {
    /// It inherits these: one socket, or what a back end has made.
    Files(Vec<OwnedFd>),
    /// It connects to this name of the abstract namespace, or, where it says so, to this path.
    Address(String),
}

impl FarEnd {
    fn socket(stream: UnixStream) -> Self {
        Self::Files(vec![stream.into()])
    }

    fn files(&self) -> &[OwnedFd] {
        match self {
            Self::Files(files) => files,
            Self::Address(_) => &[],
        }
    }
}

/// Both ends of a socket, ours served if a back end does that.
fn connected(
    socket: &Socket,
    emulator: &Emulator,
    config: &Config,
    images: &[File],
) -> Result<(End, FarEnd), LaunchError> {
    let pair = || UnixStream::pair().map_err(resource("a socket"));
    let Some(Backend { serve, device }) = socket.backend else {
        let (ours, far) = pair()?;
        return Ok((End::Ours(ours), FarEnd::socket(far)));
    };
    let image_of = |name: &str| {
        let mut named = config.images.iter().zip(images);
        named.find(|(image, _)| image.name == name).map(|(_, file)| file)
    };
    if let Some(user) = emulator.user_backends.iter().find(|it| Some(it.device()) == device) {
        let image = match serve {
            Serve::Image(name, _) => image_of(name),
            Serve::Stream(_) | Serve::Listener(_) | Serve::Maker(..) => None,
        };
        let (path, running) = user.start(image).map_err(|NoBackend { what, why, output }| {
            LaunchError::Backend { what, why, output }
        })?;
        // Only the block device waits at its start until it is connected, as it must then. Since
        // 9.2 the time is in milliseconds.
        let again = match (user.device(), emulator.capabilities.version) {
            ("vhost-user-blk", version) if version >= Version::new(9, 2, 0) => ",reconnect-ms=200",
            ("vhost-user-blk", _) => ",reconnect=1",
            _ => "",
        };
        let path = path.to_string_lossy().replace(',', ",,");
        return Ok((End::User(running.into()), FarEnd::Address(format!("path={path}{again}"))));
    }
    let (served, far) = match serve {
        Serve::Stream(serve) => {
            let (ours, far) = pair()?;
            (serve(ours), FarEnd::socket(far))
        }
        Serve::Image(name, serve) => {
            let (ours, far) = pair()?;
            let image = image_of(name).ok_or_else(|| io::Error::other(format!("no image {name}")));
            let served = image.and_then(File::try_clone).and_then(|file| serve(ours, file));
            (served, FarEnd::socket(far))
        }
        Serve::Listener(serve) => {
            let address = format!("qgraph-{}-{:016x}", std::process::id(), fastrand::u64(..));
            let listener = SocketAddr::from_abstract_name(&address)
                .and_then(|address| UnixListener::bind_addr(&address));
            (listener.and_then(serve), FarEnd::Address(address))
        }
        Serve::Maker(what, make) => {
            let made = make().map_err(|source| LaunchError::Unavailable { what, source });
            let (served, files) = made?;
            (Ok(served), FarEnd::Files(files))
        }
    };
    Ok((End::Served(served.map_err(resource("a back end"))?), far))
}

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
        let has_backend = machine.is_some_and(|machine| machine.default_ram_id.is_some());
        let is_mapped = has_backend && config.asks_for_ram() && !config.brings_ram();
        let mapping = is_mapped.then(|| Mapping::new(config.ram.size)).transpose();
        let mapping = mapping.map_err(resource("shared memory"))?;
        let images = config.images.iter().map(|image| memory_file(image.name, image.size));
        let images = images.collect::<io::Result<Vec<File>>>().map_err(resource("an image"))?;

        let (mut sockets, mut far_ends) = (Vec::new(), Vec::new());
        for socket in &config.sockets {
            let (end, far) = connected(socket, emulator, &config, &images)?;
            sockets.push(end);
            far_ends.push(far);
        }
        let folders = config.folders.iter().map(|_| Owned::shared());
        let folders = folders.collect::<io::Result<Vec<Owned>>>().map_err(resource("a folder"))?;
        let monitors = emulator.keep.as_ref().map(|_| Monitors::new()).transpose();
        let monitors = monitors.map_err(resource("sockets of monitors"))?;
        let ram = mapping.as_ref().and_then(Mapping::file);
        let handed = Handed {
            ram,
            images: &images,
            far_ends: &far_ends,
            folders: &folders,
            is_incoming: false,
        };
        let (spawned, socket_words) = handed.spawn(emulator, &config, monitors.as_ref())?;
        if !config.moves {
            far_ends.clear();
        }
        let emulator = emulator.clone();
        Ok(Starting {
            spawned,
            monitors,
            mapping,
            images,
            sockets,
            far_ends,
            socket_words,
            folders,
            config,
            emulator,
        })
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
        let pace = &self.emulator.pace;
        let given = limits;
        let (limits, start) = (limits.scaled(pace.factor()), pace.start_allowance());
        deadline.set_limit(limits.request.saturating_add(start));
        deadline.set_end(Instant::now().checked_add(limits.whole.saturating_add(start)));
        let connected = self.spawned.connect(&deadline, &transcript).map_err(|e| {
            let ended = self.sockets.iter().find_map(|end| match end {
                End::User(running) => running.no_backend(),
                End::Ours(_) | End::Served(_) => None,
            });
            match ended {
                Some(NoBackend { what, why, output }) => LaunchError::Backend { what, why, output },
                None => e,
            }
        })?;
        let Connected { process, qtest, qmp, images: image_numbers } = connected;
        deadline.set_limit(limits.request);
        if let Some(is) = self.emulator.is_now(qmp.greeting()) {
            let (program, was) = (self.emulator.path.clone(), self.emulator.version_in_words());
            return Err(LaunchError::Changed { program, was, is });
        }
        qtest.post_writes();
        Ok(Vm {
            process: process.into(),
            monitors: self.monitors.into(),
            ram: Ram::new(self.config.ram, self.mapping, qtest.clone()),
            qtest,
            qmp,
            images: self.images,
            image_numbers: image_numbers.into(),
            sockets: self.sockets,
            far_ends: self.far_ends,
            socket_words: self.socket_words,
            folders: self.folders.into(),
            config: self.config,
            emulator: self.emulator,
            has_moved: Cell::new(false),
            deadline,
            transcript,
            limits: Cell::new(given),
            endian: OnceCell::new(),
            attached: Cell::new(None),
            lasting: Cell::new(None),
            suite: Cell::new(None),
            answers: RefCell::default(),
            between: Cell::new(None),
            fuzz_seed: Cell::new(0),
            announced: Cell::new(0),
            said_before: RefCell::default(),
        })
    }
}

/// What a QEMU is handed beside the sockets of qtest and QMP.
pub(super) struct Handed<'a> {
    /// The memory that is its RAM, when that is mapped.
    pub ram: Option<BorrowedFd<'a>>,
    pub images: &'a [File],
    /// QEMU's ends of the sockets.
    pub far_ends: &'a [FarEnd],
    /// The folders that it shares.
    pub folders: &'a [Owned],
    /// Whether it waits for the state of another QEMU, with which it is to go on.
    pub is_incoming: bool,
}

impl Handed<'_> {
    /// Starts `emulator` as `config` says, with all this. Beside that, what QEMU calls its ends of
    /// the sockets.
    pub fn spawn(
        self,
        emulator: &Emulator,
        config: &Config,
        monitors: Option<&Monitors>,
    ) -> Result<(Spawned, Vec<String>), LaunchError> {
        let copies = |what, files: Vec<BorrowedFd>| {
            let copies = files.into_iter().map(|file| file.try_clone_to_owned());
            copies.collect::<io::Result<Vec<OwnedFd>>>().map_err(resource(what))
        };
        let numbers_of =
            |files: &[OwnedFd]| files.iter().map(AsRawFd::as_raw_fd).collect::<Vec<RawFd>>();
        let images = copies("an image", self.images.iter().map(AsFd::as_fd).collect())?;
        let files = self.far_ends.iter().flat_map(FarEnd::files).map(AsFd::as_fd).collect();
        let sockets = copies("a socket", files)?;
        let mut inherited = numbers_of(&sockets).into_iter();
        let word = |end: &FarEnd| match end {
            FarEnd::Files(files) => {
                let numbers = inherited.by_ref().take(files.len());
                numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(":")
            }
            FarEnd::Address(address) => address.clone(),
        };
        let socket_words: Vec<String> = self.far_ends.iter().map(word).collect();
        let ram = copies("shared memory", self.ram.into_iter().collect())?;
        let machine = emulator.capabilities.machines.get(&config.machine);
        let backend = machine.and_then(|machine| machine.default_ram_id.clone());
        let wiring = (
            ram.first().map(AsRawFd::as_raw_fd).zip(backend),
            numbers_of(&images),
            socket_words.clone(),
            self.folders.iter().map(Owned::in_option).collect(),
        );
        let incoming = self.is_incoming.then_some(["-incoming", "defer"]);
        let make = |own: &Wiring| {
            let (ram, images, sockets, folders) = wiring;
            let wiring = Wiring { ram, images, sockets, folders, ..own.clone() };
            let words = config.arguments(&wiring);
            let incoming = incoming.into_iter().flatten().map(str::to_owned);
            let monitors = monitors.into_iter().flat_map(Monitors::arguments);
            words.into_iter().chain(incoming).chain(monitors).collect()
        };
        let image_numbers = numbers_of(&images);
        let files = images.into_iter().chain(sockets).chain(ram);
        let spawned = spawn(emulator, make, files.collect())?;
        Ok((Spawned { images: image_numbers, ..spawned }, socket_words))
    }
}

/// A process and its sockets.
pub(in crate::qemu) struct Connected {
    pub process: Process,
    pub qtest: Rc<Qtest>,
    pub qmp: Qmp,
    /// The numbers that the images have there.
    pub images: Vec<RawFd>,
}

/// Starts `emulator` with two socketpairs and these files, and waits for its greeting.
/// The arguments come from `arguments`, which is told the numbers of the sockets.
pub(in crate::qemu) fn connect(
    emulator: &Emulator,
    arguments: impl FnOnce(&Wiring) -> Vec<String>,
    files: Vec<OwnedFd>,
    deadline: &Rc<Deadline>,
    transcript: &Rc<Transcript>,
) -> Result<Connected, LaunchError> {
    spawn(emulator, arguments, files)?.connect(deadline, transcript)
}

/// A process and our ends of its sockets.
pub(super) struct Spawned {
    process: Process,
    /// What started it, in words.
    wrapper: Option<String>,
    qtest_on_stdio: bool,
    qtest: UnixStream,
    qmp: UnixStream,
    images: Vec<RawFd>,
}

fn spawn(
    emulator: &Emulator,
    arguments: impl FnOnce(&Wiring) -> Vec<String>,
    files: Vec<OwnedFd>,
) -> Result<Spawned, LaunchError> {
    emulator.ensure_module()?;
    let pair = || UnixStream::pair().map_err(resource("a socket"));
    let ((qtest, qtest_there), (qmp, qmp_there)) = (pair()?, pair()?);
    let wiring = Wiring {
        qtest: qtest_there.as_raw_fd(),
        qtest_on_stdio: !emulator.has_qtest_object(),
        qmp: qmp_there.as_raw_fd(),
        ram: None,
        images: Vec::new(),
        sockets: Vec::new(),
        folders: Vec::new(),
    };
    let mut launch = Launch {
        program: emulator.path.clone(),
        arguments: arguments(&wiring).into_iter().map(Into::into).collect(),
        environment: emulator.environment(),
        inherit: files,
        stdio: None,
        has_terminal: false,
        may_stay: emulator.keep.is_some(),
        may_fork: emulator.wrapper.is_some() || emulator.behind.is_some(),
    };
    launch.inherit.push(qmp_there.into());
    if wiring.qtest_on_stdio {
        launch.stdio = Some(qtest_there.into());
    } else {
        launch.inherit.push(qtest_there.into());
    }
    if let Some(wrapper) = &emulator.wrapper {
        launch.arguments = wrapper.arguments(&emulator.path, launch.arguments);
        launch.program = wrapper.program().to_owned();
        launch.has_terminal = wrapper.is_debugger();
    }
    let program = launch.program.display().to_string();
    let process = Process::start(launch);
    let process = process.map_err(|source| LaunchError::Spawn { program, source })?;
    let qtest_on_stdio = wiring.qtest_on_stdio;
    let wrapper = emulator.wrapper.as_ref().map(ToString::to_string);
    Ok(Spawned { process, wrapper, qtest_on_stdio, qtest, qmp, images: Vec::new() })
}

impl Spawned {
    pub(super) fn connect(
        mut self,
        deadline: &Rc<Deadline>,
        transcript: &Rc<Transcript>,
    ) -> Result<Connected, LaunchError> {
        let process = self.process.id();
        let (request, whole) =
            (LostTime::of_process(process), LostTime::of_process_and_this_thread(process));
        deadline.set_meters(Rc::new(request), Rc::new(whole));
        let qmp = Qmp::connect(self.qmp, deadline.clone(), transcript.clone());
        let connected = qmp.and_then(|qmp| {
            let qtest = Qtest::new(self.qtest, deadline.clone(), transcript.clone())?;
            if self.qtest_on_stdio {
                qtest.note_stdio();
            }
            Ok((Rc::new(qtest), qmp))
        });
        match connected {
            Ok((qtest, qmp)) => {
                self.process.note_groups();
                if let (Some(wrapper), Some(ending)) = (self.wrapper, self.process.ending()) {
                    return Err(LaunchError::Left { wrapper, ending });
                }
                Ok(Connected { process: self.process, qtest, qmp, images: self.images })
            }
            Err(protocol) => Err(LaunchError::not_ready(&mut self.process, protocol, transcript)),
        }
    }
}
