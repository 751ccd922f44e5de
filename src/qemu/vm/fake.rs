//! For tests only: a machine that nobody emulates. Whatever needs a [`Vm`] to be handed
//! on can be tested with it; requests to it fail.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;

use super::Vm;
use crate::protocol::{Deadline, Qmp, Qtest, Transcript};
use crate::qemu::accel::Source;
use crate::qemu::backend::End;
use crate::qemu::process::{Launch, Process};
use crate::qemu::ram::Ram;
use crate::qemu::{Capabilities, Config, Emulator, RamSpec, Socket};

impl Vm {
    /// A machine whose process is `sleep` and whose sockets are closed at the far end.
    pub(crate) fn fake() -> io::Result<Rc<Self>> {
        Self::fake_with_sockets(Vec::new())
    }

    /// The same with these sockets; their far ends are the caller's.
    pub(crate) fn fake_with_sockets(sockets: Vec<(Socket, UnixStream)>) -> io::Result<Rc<Self>> {
        let mut config = Config::new("none", "", RamSpec::new(0, 0));
        let (named, sockets) = sockets.into_iter().map(|(it, end)| (it, End::Ours(end))).unzip();
        config.sockets = named;
        let (deadline, transcript) = (Rc::new(Deadline::new()), Rc::new(Transcript::default()));
        let ((qtest, _), (qmp, mut far)) = (UnixStream::pair()?, UnixStream::pair()?);
        // Greeting and first answer lie ready before they are asked for.
        far.write_all(
            b"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 2, \"major\": 7}, \
              \"package\": \"\"}, \"capabilities\": []}}\r\n{\"return\": {}, \"id\": 1}\r\n",
        )?;
        let qmp = Qmp::connect(qmp, deadline.clone(), transcript.clone());
        let qmp = qmp.map_err(io::Error::other)?;
        let qtest = Qtest::new(qtest, deadline.clone(), transcript.clone());
        let qtest = Rc::new(qtest.map_err(io::Error::other)?);
        let process = Process::start(Launch {
            program: "sleep".into(),
            arguments: vec!["infinity".into()],
            ..Launch::default()
        })?;
        let emulator = Emulator::new("sleep".into(), Source::BuiltIn, Capabilities::default());
        Ok(Rc::new(Self {
            process: process.into(),
            monitors: None.into(),
            ram: Ram::new(config.ram, None, qtest.clone()),
            qtest,
            qmp,
            images: Vec::new(),
            image_numbers: Default::default(),
            sockets,
            folders: Vec::new().into(),
            far_ends: Vec::new(),
            socket_words: Vec::new(),
            config,
            emulator: Arc::new(emulator),
            has_moved: false.into(),
            deadline,
            transcript,
            endian: Default::default(),
            attached: Default::default(),
            lasting: Default::default(),
            suite: Default::default(),
            answers: Default::default(),
            limits: Default::default(),
            between: Default::default(),
            fuzz_seed: Default::default(),
            announced: Default::default(),
            said_before: Default::default(),
        }))
    }
}
