//! A running machine: the process, its two sockets, its RAM. What drivers and tests get.
//! How it starts is in `start`, how it becomes what it was then in `reset`, what a driver that
//! errs does to it in `erring`, and what it is found to do when it does not answer in `hang`.

mod between;
mod erring;
#[cfg(test)]
mod fake;
mod hang;
mod reset;
mod start;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::os::fd::RawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use between::Between;
pub(super) use hang::watch;
pub use reset::ResetError;
use start::FarEnd;
pub(super) use start::{Connected, connect};
pub use start::{LaunchError, Starting};

use once_cell::unsync::OnceCell;

use super::answers::Answers;
use super::backend::End;
use super::command_line::Config;
use super::emulator::Emulator;
use super::folder::Owned;
use super::keep::{Kept, Monitors};
use super::limits::Limits;
use super::pace::scaled;
use super::process::{Ending, Process};
use super::ram::Ram;
use super::user_backend::Running;
use crate::protocol::{self, Deadline, Endian, Qmp, Qtest, Transcript};
use crate::{Error, Result};

/// A running QEMU and what connects us to it. It ends when this is dropped.
pub struct Vm {
    // The order is that in which they go: the process first, and with it what it holds.
    process: RefCell<Process>,
    monitors: RefCell<Option<Monitors>>,
    qtest: Rc<Qtest>,
    qmp: Qmp,
    ram: Rc<Ram>,
    images: Vec<File>,
    /// The numbers that the images have in QEMU.
    image_numbers: RefCell<Vec<RawFd>>,
    sockets: Vec<End>,
    /// The folders that the machine shares.
    folders: RefCell<Vec<Owned>>,
    /// QEMU's ends of the sockets, for the QEMU to which the machine moves.
    far_ends: Vec<FarEnd>,
    /// What QEMU calls its ends of them.
    socket_words: Vec<String>,
    config: Config,
    emulator: Arc<Emulator>,
    /// Whether another QEMU process than the first has the machine.
    has_moved: Cell<bool>,
    deadline: Rc<Deadline>,
    transcript: Rc<Transcript>,
    endian: OnceCell<Endian>,
    attached: Cell<Option<Instant>>,
    lasting: Cell<Option<&'static str>>,
    suite: Cell<Option<&'static str>>,
    /// What registers answered.
    answers: RefCell<Option<Vec<Answers>>>,
    limits: Cell<Limits>,
    /// What is done at the marks of this path.
    between: Cell<Option<Between>>,
    /// By which seed the driver of this path errs, if it does.
    fuzz_seed: Cell<u64>,
    /// How many moves there were after which QEMU told a switch so.
    announced: Cell<usize>,
    /// What the QEMUs wrote in which the machine was before.
    said_before: RefCell<String>,
}

impl Vm {
    /// What a test did that a reset of the machine does not undo, if it did.
    pub fn lasting_change(&self) -> Option<&'static str> {
        let by_qmp = self.qmp.has_changed_something().then_some("a QMP command");
        let by_backend = self.is_served().then_some("what a back end was told");
        let shares = !self.config.folders.is_empty();
        let by_guest = shares.then_some("what the guest did in a shared folder");
        let known = self.lasting.get().or(self.qtest.lasting_change());
        known.or(by_qmp).or(by_backend).or(by_guest)
    }

    /// Whether a back end serves one of its sockets.
    pub(crate) fn is_served(&self) -> bool {
        self.sockets.iter().any(|end| end.ours().is_none())
    }

    /// Notes that a reset of the machine will not undo `what`, because it is not meant to: a
    /// battery keeps it, for instance. No other path runs on this QEMU afterwards.
    pub fn note_lasting(&self, what: &'static str) {
        self.lasting.set(Some(what));
    }

    fn set_limits(&self, limits: Limits) {
        self.limits.set(limits);
        let limits = limits.scaled(self.emulator.pace.factor());
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

    /// Notes whose test runs on this QEMU from now on, by the name of its suite.
    pub fn note_suite(&self, suite: &'static str) {
        self.suite.set(Some(suite));
    }

    /// Notes what registers answer, so that runs can be compared.
    pub fn note_answers(&self, answers: Vec<Answers>) {
        self.answers.borrow_mut().get_or_insert_default().extend(answers);
    }

    /// Takes what was noted of registers; `None` if nobody has looked at them.
    pub fn take_answers(&self) -> Option<Vec<Answers>> {
        self.answers.take()
    }

    /// The suite whose test runs on this QEMU, where that was noted, its driver does not err, and
    /// no back end of the user's serves it: what did not come then may come another time.
    pub fn suite(&self) -> Option<&'static str> {
        self.suite.get().filter(|_| !self.errs() && !self.has_user_backend())
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
        Ok(*self.endian.get_or_try_init(|| self.qtest.endianness())?)
    }

    /// What this QEMU was asked to be.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The emulator that runs: after a move, the one to which the machine moved.
    pub fn emulator(&self) -> &Arc<Emulator> {
        let there = self.emulator.moves_to.as_ref().filter(|_| self.has_moved.get());
        there.unwrap_or(&self.emulator)
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
        if self.user_backends().any(Running::has_other_image) {
            return Err(Error::skipped(
                "the back end serves an image of its own; {image} in its command would be the one \
                 that the suite looks into",
            ));
        }
        let number = self.config.images.iter().position(|image| image.name == name);
        number
            .and_then(|number| self.images.get(number))
            .ok_or_else(|| Error::failed(format!("this machine has no image called {name}")))
    }

    /// The file name by which QEMU itself reaches the image `name`, for commands that write a
    /// file, such as `screendump`.
    ///
    /// # Errors
    /// There is no such image.
    pub fn image_path(&self, name: &str) -> Result<String> {
        let number = self.config.images.iter().position(|image| image.name == name);
        let numbers = self.image_numbers.borrow();
        number
            .and_then(|number| numbers.get(number))
            .map(|number| format!("/proc/self/fd/{number}"))
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

    /// The path of the folder `name`, which the machine shares with its guest. All writes of
    /// registers are done by now.
    ///
    /// # Errors
    /// There is no such folder.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        self.qtest.flush()?;
        let number = self.config.folders.iter().position(|folder| folder.name == name);
        let folders = self.folders.borrow();
        let found = number.and_then(|number| folders.get(number));
        found
            .map(|folder| folder.path().to_owned())
            .ok_or_else(|| Error::failed(format!("this machine has no folder called {name}")))
    }

    /// The harness's end of the socket `name`.
    ///
    /// # Errors
    /// There is no such socket.
    pub fn socket(&self, name: &str) -> Result<&UnixStream> {
        match self.end(name)? {
            End::Ours(stream) => Ok(stream),
            End::Served(_) | End::User(_) => {
                Err(Error::failed(format!("a back end serves the socket {name}")))
            }
        }
    }

    /// What QEMU calls its end of the socket `name`: the number of the file, or an address.
    ///
    /// # Errors
    /// There is no such socket.
    pub fn socket_there(&self, name: &str) -> Result<&str> {
        let mut sockets = self.config.sockets.iter().zip(&self.socket_words);
        let found = sockets.find(|(socket, _)| socket.name == name);
        found
            .map(|(_, word)| word.as_str())
            .ok_or_else(|| Error::failed(format!("this machine has no socket called {name}")))
    }

    fn user_backends(&self) -> impl Iterator<Item = &Running> {
        self.sockets.iter().filter_map(|end| match end {
            End::User(running) => Some(&**running),
            End::Ours(_) | End::Served(_) => None,
        })
    }

    /// Whether a back end of the user's serves one of its sockets.
    pub fn has_user_backend(&self) -> bool {
        self.user_backends().next().is_some()
    }

    /// What is wrong if a back end of the user's has ended although this QEMU uses it.
    pub(crate) fn backend_trouble(&self) -> Option<String> {
        self.user_backends().find_map(Running::trouble)
    }

    /// What is wrong if a back end of the user's ended badly once this QEMU had left it.
    pub(crate) fn backend_trouble_at_end(&self) -> Option<String> {
        self.user_backends().find_map(Running::trouble_at_end)
    }

    /// What back ends of the user's have written, and how they are.
    pub(crate) fn backend_stories(&self) -> String {
        self.user_backends().map(Running::story).collect()
    }

    /// What the back end of the socket `name` returned when it began.
    ///
    /// # Errors
    /// There is no such socket, no back end serves it, or it returned something of another type.
    /// The path does not apply where a back end of the user's serves it.
    pub fn backend<T: Any>(&self, name: &str) -> Result<&T> {
        let served = match self.end(name)? {
            End::Served(served) => served.downcast_ref(),
            End::User(_) => {
                return Err(Error::skipped(
                    "what a back end is asked is known of the harness's own alone",
                ));
            }
            End::Ours(_) => None,
        };
        served.ok_or_else(|| {
            let kind = std::any::type_name::<T>();
            Error::failed(format!("no back end that returned a {kind} serves the socket {name}"))
        })
    }

    /// Our end of the socket `name`. All writes of registers are done by now.
    fn end(&self, name: &str) -> Result<&End> {
        self.qtest.flush()?;
        let mut sockets = self.config.sockets.iter().zip(&self.sockets);
        let found = sockets.find(|(socket, _)| socket.name == name);
        found
            .map(|(_, end)| end)
            .ok_or_else(|| Error::failed(format!("this machine has no socket called {name}")))
    }

    /// `time`, times as many as this emulator is slower than usual; as long as can be where it
    /// has no limits.
    pub fn at_its_pace(&self, time: Duration) -> Duration {
        scaled(time, self.emulator.pace.factor())
    }

    /// Lets each request take two seconds at the most until the next path begins, so that a QEMU
    /// that hangs is seen sooner.
    pub fn hurry(&self) {
        let limits = self.limits.get();
        let request = limits.request.min(Duration::from_secs(2));
        self.limits.set(Limits { request, ..limits });
        self.deadline.set_limit(self.at_its_pace(request).min(self.deadline.limit()));
    }

    /// Leaves a QEMU that a debugger started to its user: interrupts it, as Ctrl-C would, and
    /// waits for the debugger's end.
    pub fn leave_to_debugger(&self) {
        let process = self.process.borrow().id();
        hang::interrupt(process);
        self.ending_within(Duration::MAX);
    }

    /// Lets QEMU stay for its user, the machine stopped, if it is there and one may stay on which
    /// the path `name` fails.
    pub fn keep(&self, name: &str) -> Option<Kept> {
        let keep = self.emulator.keep.as_ref()?;
        if self.ending_within(Duration::ZERO).is_some() || !keep.takes(name) {
            return None;
        }
        let folder = self.monitors.borrow_mut().take()?.leave();
        self.folders.borrow_mut().iter_mut().for_each(Owned::leave);
        let is_stopped = self.briefly(|| self.qmp.execute("stop", serde_json::Value::Null).is_ok());
        let mut process = self.process.borrow_mut();
        process.release();
        Some(Kept { process: hang::innermost(process.id()), is_stopped, folder })
    }

    /// How QEMU ended, if it does within `limit`, not counting the time that it could not use.
    pub fn ending_within(&self, limit: Duration) -> Option<Ending> {
        self.process.borrow_mut().wait_for(limit)
    }

    /// What QEMU wrote to standard error and output so far.
    pub fn output(&self) -> String {
        let mut output = self.said_before.borrow().clone();
        output.push_str(&self.process.borrow().output());
        output
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
