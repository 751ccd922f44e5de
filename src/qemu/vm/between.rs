//! What is done to a machine between the set-up of a path and its check: a reset, or a move to
//! another QEMU process, as a migration makes it; or that from then on its driver errs. Where the
//! set-up ends, the path and its test say; what becomes of the path's objects is the path's affair.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use serde_json::{Value, json};

use super::start::{Connected, Handed};
use super::{ResetError, Vm};
use crate::protocol::{self, Qmp};
use crate::qemu::keep::Monitors;
use crate::qemu::moves;
use crate::{Error, Result};

/// What is done between set-up and check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Between {
    /// The machine is reset; what was set up is set up again.
    Reset,
    /// The machine is saved, and goes on in another QEMU process.
    Migrate,
    /// Some of what is written from then on is something else: QEMU must survive that, and no
    /// more.
    Fuzz,
}

impl Between {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Reset, Self::Migrate, Self::Fuzz];

    /// Its name in those of paths, behind an `@`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Migrate => "migrate",
            Self::Fuzz => "fuzz",
        }
    }
}

impl fmt::Display for Between {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The name under which QEMU gets the socket for the machine's state.
const STATE: &str = "qgraph-state";

/// How large that may be, in bytes. RAM is not part of it where it is mapped.
const MOST_STATE: u64 = 1 << 30;

impl Vm {
    /// To be called by a test where its set-up ends and its check begins: here the machine of a
    /// path that is called `…@migrate` moves to another QEMU process, and that of a path called
    /// `…@reset` is reset and the test begins anew. On other paths nothing happens. The first
    /// call of a test counts.
    ///
    /// A path does the same before its test begins. A test that sets up more than its drivers
    /// do, such as transfers or timers that are under way, says with one line where that is
    /// done:
    ///
    /// ```
    /// # use std::rc::Rc;
    /// # use qgraph::prelude::*;
    /// fn timer_goes_on(timer: &dyn Fn(u32), vm: &Rc<Vm>) -> Result<()> {
    ///     timer(1000);
    ///     vm.set_up_ends()?;
    ///     vm.qtest().clock_step(None)?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// Those of the move; or what makes the path begin anew, which a test returns like any
    /// other.
    pub fn set_up_ends(&self) -> Result<()> {
        match self.between.take() {
            None => Ok(()),
            Some(Between::Reset) => Err(Error::SetUpEnds),
            Some(Between::Migrate) => self.migrate(),
            Some(Between::Fuzz) => {
                self.err(self.fuzz_seed.get());
                Ok(())
            }
        }
    }

    /// Says what [`set_up_ends`](Self::set_up_ends) does when it is called next.
    pub(crate) fn set_between(&self, between: Option<Between>) {
        self.between.set(between);
    }

    /// Says by which seed the driver of a path errs that is called `…@fuzz`.
    pub fn set_fuzz_seed(&self, seed: u64) {
        self.fuzz_seed.set(seed);
    }

    /// Resets the machine in the middle of a path. Its RAM and images are all zeroes then, and
    /// the clock goes on.
    ///
    /// # Errors
    /// It does not go well; skipped if QEMU does not tell of a reset.
    pub(crate) fn reset_between(&self) -> Result<()> {
        self.qtest.flush()?;
        let renewed = self.transcript.tap().without(|| self.renew(self.limits.get().request));
        renewed.map_err(|e| match e {
            ResetError::Unknown => {
                Error::skipped("QEMU does not say when it has reset the machine")
            }
            ResetError::Io(e) => Error::failed(format!("clearing memory after the reset: {e}")),
            ResetError::Protocol(e) => Error::from(e).context("resetting the machine"),
        })?;
        self.qtest.reset_irq_counts();
        self.transcript.tap().with(|tap| tap.machine_reset());
        Ok(())
    }

    /// Saves the machine and restores it in another process, of the same emulator or the one that
    /// is named for that, to which it then belongs.
    ///
    /// # Errors
    /// QEMU saves what it does not restore, or ends meanwhile; skipped if this machine or what
    /// is plugged into it cannot move.
    pub(crate) fn migrate(&self) -> Result<()> {
        self.qtest.flush()?;
        if let Some(why) = self.cannot_move() {
            return Err(Error::skipped(format!("the machine cannot move to another QEMU: {why}")));
        }
        self.note_lasting("a move to another QEMU");
        self.transcript.tap().without(|| {
            let state = self.save().map_err(|e| e.context("saving the machine"))?;
            self.restore(state).map_err(|e| {
                e.context(match &self.emulator.moves_to {
                    Some(to) => format!("restoring the machine on {}", to.path.display()),
                    None => "restoring the machine".to_owned(),
                })
            })
        })?;
        self.transcript.tap().with(|tap| tap.machine_moved());
        self.announced.update(|count| count + 1);
        Ok(())
    }

    /// Whether QEMU sends a frame on its own, after a move, that nobody has taken yet; now it is
    /// taken. It sends one from each network card.
    pub(crate) fn take_announcement(&self) -> bool {
        let left = self.announced.get();
        self.announced.set(left.saturating_sub(1));
        left > 0
    }

    /// Why this machine cannot move, as far as that is ours.
    fn cannot_move(&self) -> Option<String> {
        if self.is_served() {
            return Some("a back end serves one of its sockets".to_owned());
        }
        if self.emulator.wrapper.is_some() || self.emulator.behind.is_some() {
            return Some("something else starts this emulator".to_owned());
        }
        if self.qmp.has_changed_something() {
            return Some("a QMP command has changed what its command line says".to_owned());
        }
        if self.qtest.has_high_output() {
            return Some("that cannot be told that an intercepted output is high".to_owned());
        }
        let lacks = self.emulator.moves_to.as_ref().and_then(|to| {
            moves::lacks(&self.config, &self.emulator.capabilities, &to.capabilities)
        });
        if lacks.is_some() {
            return lacks;
        }
        (!self.config.moves).then(|| "it was not started so that it can".to_owned())
    }

    /// What both ends of a move are to do, beside what they do anyway.
    fn capabilities(&self) -> Value {
        let mut wanted = vec!["events"];
        // Both map the same file, so nothing of it need be copied.
        if self.ram.is_mapped() {
            wanted.push("x-ignore-shared");
        }
        let on = |name: &&str| json!({ "capability": name, "state": true });
        json!({ "capabilities": wanted.iter().map(on).collect::<Vec<_>>() })
    }

    /// Has QEMU hand out the machine's state, and quit.
    fn save(&self) -> Result<Vec<u8>> {
        let qmp = &self.qmp;
        qmp.execute("migrate-set-capabilities", self.capabilities())?;
        qmp.execute("migrate-set-parameters", parameters())?;
        let (ours, theirs) = UnixStream::pair().map_err(moving)?;
        qmp.send_file(STATE, &theirs)?;
        drop(theirs);
        let reader = spawn(move || {
            let mut state = Vec::new();
            ours.take(MOST_STATE).read_to_end(&mut state).map(|_| state)
        });
        match qmp.execute("migrate", json!({ "uri": format!("fd:{STATE}") })) {
            Err(protocol::Error::Qmp { desc, .. }) => {
                return Err(Error::skipped(format!("QEMU does not save this machine: {desc}")));
            }
            other => other?,
        };
        completed(qmp)?;
        let ending = self.quit(self.deadline.limit());
        let ending = ending.map_err(|why| Error::failed(format!("saved, but then QEMU {why}")))?;
        if !ending.is_success() {
            return Err(Error::failed(format!("saved, but then QEMU {ending}")));
        }
        // QEMU is gone, and with it the other end.
        let state = reader.map_err(moving)?.join().unwrap_or_else(|_| Ok(Vec::new()));
        state.map_err(moving)
    }

    /// Has another QEMU go on with this state.
    fn restore(&self, state: Vec<u8>) -> Result<()> {
        let monitors = self.emulator.keep.as_ref().map(|_| Monitors::new()).transpose();
        let monitors = monitors.map_err(moving)?;
        let (images, far_ends) = (&*self.images, &*self.far_ends);
        let (ram, folders) = (self.ram.file(), &*self.folders.borrow());
        let handed = Handed { ram, images, far_ends, folders, is_incoming: true };
        let limit = self.deadline.limit();
        let emulator = self.emulator.moves_to.as_ref().unwrap_or(&self.emulator);
        self.deadline.set_limit(limit.saturating_add(emulator.pace.start_allowance()));
        let connected = handed
            .spawn(emulator, &self.config.there(), monitors.as_ref())
            .and_then(|(spawned, _)| spawned.connect(&self.deadline, &self.transcript));
        self.deadline.set_limit(limit);
        let connected = connected.map_err(|e| Error::failed(e.to_string()))?;
        let Connected { process, qtest, qmp, images } = connected;
        self.image_numbers.replace(images);

        let before = self.output();
        drop(self.process.replace(process));
        self.has_moved.set(true);
        self.said_before.replace(before);
        self.monitors.replace(monitors);
        self.qtest.hand_over_to(&qtest)?;
        qmp.execute("migrate-set-capabilities", self.capabilities())?;
        qmp.execute("migrate-set-parameters", parameters())?;
        let (mut ours, theirs) = UnixStream::pair().map_err(moving)?;
        qmp.send_file(STATE, &theirs)?;
        drop(theirs);
        // It ends with all written, or with QEMU.
        spawn(move || ours.write_all(&state)).map_err(moving)?;
        qmp.execute("migrate-incoming", json!({ "uri": format!("fd:{STATE}") }))?;
        completed(&qmp)?;
        let status = qmp.execute("query-status", Value::Null)?;
        if status["status"] != "running" {
            qmp.execute("cont", Value::Null)?;
        }
        qmp.events();
        self.qmp.go_on_at(qmp);
        self.qtest.go_on_at(&qtest);
        self.qtest.poll_irqs()?;
        Ok(())
    }
}

fn moving(e: io::Error) -> Error {
    Error::failed(format!("moving the machine's state: {e}"))
}

fn spawn<T: Send + 'static>(
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    std::thread::Builder::new().name("state".to_owned()).spawn(body)
}

/// How both ends of a move go about it: as fast as they can, and with one frame only by which
/// each network card tells a switch where it is now. With none of them QEMU ends at the next
/// reset of a virtio-net device. That device's own turn comes after this many milliseconds, the
/// most that QEMU takes.
fn parameters() -> Value {
    json!({ "max-bandwidth": 1_u64 << 40, "announce-rounds": 1, "announce-initial": 100_000 })
}

/// Waits until QEMU has sent or taken all.
fn completed(qmp: &Qmp) -> Result<()> {
    loop {
        let event = qmp.wait_event("MIGRATION")?;
        match event.data["status"].as_str() {
            Some("completed") => return Ok(()),
            Some("failed") => {
                let info = qmp.execute("query-migrate", Value::Null)?;
                let why = info["error-desc"].as_str().unwrap_or("QEMU does not say why");
                return Err(Error::failed(format!("the migration failed: {why}")));
            }
            _ => {}
        }
    }
}
