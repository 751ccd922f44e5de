//! The QMP client: commands, their replies matched by number, and events kept until asked for.
//! It knows no schema; what a command means is for its callers.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use serde_json::{Value, json};

use super::channel::{Channel, Step, Until};
use super::message::{Event, Greeting, Message};
use super::transcript::{Transcript, Way, show};
use super::{Deadline, Error, Result};

/// The most events that are kept; the oldest goes when one more comes.
const MAX_EVENTS: usize = 10_000;

/// A client of QEMU's monitor protocol.
///
/// All methods fail with the [`Error`]s of the connection: no reply in time, closed, garbled.
/// A reply that comes after its command was given up is dropped.
pub struct Qmp {
    inner: RefCell<Inner>,
    greeting: Greeting,
    changed: Cell<bool>,
}

struct Inner {
    channel: Channel,
    next_id: u64,
    /// The commands whose replies have not come, oldest first.
    unanswered: VecDeque<u64>,
    events: VecDeque<Event>,
}

impl Qmp {
    /// Greets the QEMU whose monitor is at the other end of `stream`, so that it takes commands.
    pub fn connect(
        stream: UnixStream,
        deadline: Rc<Deadline>,
        transcript: Rc<Transcript>,
    ) -> Result<Self> {
        let (sent, received) = (Way::QmpSent, Way::QmpReceived);
        let mut inner = Inner {
            channel: Channel::new(stream, deadline, transcript, sent, received)?,
            next_id: 1,
            unanswered: VecDeque::new(),
            events: VecDeque::new(),
        };
        let greeting = inner.greeting()?;
        let qmp = Self { inner: RefCell::new(inner), greeting, changed: Cell::new(false) };
        qmp.execute("qmp_capabilities", Value::Null)?;
        qmp.changed.set(false);
        Ok(qmp)
    }

    /// Which QEMU it is.
    pub fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// Runs one command and returns what it returns; `arguments` is an object, or
    /// `Value::Null` for none.
    ///
    /// # Errors
    /// [`Error::Qmp`] if QEMU says that the command failed.
    pub fn execute(&self, command: &str, arguments: Value) -> Result<Value> {
        let mut replies = self.execute_all(&[(command, arguments)])?;
        // There are as many replies as commands.
        replies.pop().unwrap_or(Ok(Value::Null))
    }

    /// Runs several commands for one round trip, each with an object of arguments or
    /// `Value::Null`. Returns what each of them returned, in order; one that fails does not
    /// keep the others from running.
    pub fn execute_all(&self, commands: &[(&str, Value)]) -> Result<Vec<Result<Value>>> {
        if !commands.iter().all(|(command, _)| only_asks(command)) {
            self.changed.set(true);
        }
        let inner = &mut *self.inner.borrow_mut();
        let what = match commands {
            [] => return Ok(Vec::new()),
            [(command, _)] => command.to_string(),
            [(command, _), ..] => format!("{command} and {} more", commands.len() - 1),
        };
        let ids = inner.write(commands);
        let first = ids.start;
        let mut replies: Vec<Option<Result<Value>>> = commands.iter().map(|_| None).collect();
        let mut missing = commands.len();
        inner.exchange(Until::Done, &what, ids, |incoming| {
            let Incoming::Reply { id, result } = incoming else {
                return false;
            };
            let index = usize::try_from(id.wrapping_sub(first)).unwrap_or(usize::MAX);
            if let Some(reply @ None) = replies.get_mut(index) {
                let command = commands[index].0.to_string();
                *reply = Some(result.map_err(|failure| Error::Qmp {
                    command,
                    class: failure.class,
                    desc: failure.desc,
                }));
                missing -= 1;
            }
            missing == 0
        })?;
        Ok(replies.into_iter().flatten().collect())
    }

    /// Gives QEMU a copy of `file` under `name`, by which other commands call it, such as
    /// `add_client` or `migrate` with the URI `fd:NAME`. It is QEMU's from then on, and closed
    /// by the command that uses it, or by `closefd`.
    ///
    /// # Errors
    /// [`Error::Io`] if no copy can be made, [`Error::Qmp`] if QEMU does not want the file.
    pub fn send_file(&self, name: &str, file: impl AsFd) -> Result<()> {
        let what = format!("getfd {name}");
        let copy = file.as_fd().try_clone_to_owned();
        let copy = copy.map_err(|source| Error::Io { what, source })?;
        self.inner.borrow_mut().channel.attach(copy);
        // Nothing is sent in between, so it goes with this command.
        self.execute("getfd", json!({ "fdname": name })).map(drop)
    }

    /// Goes on with the connection of `other`, a client of the QEMU to which the machine of this
    /// one has moved. What was done to bring that about is no change of the machine.
    pub(crate) fn go_on_at(&self, other: Self) {
        self.changed.set(false);
        *self.inner.borrow_mut() = other.inner.into_inner();
    }

    /// Whether a command was run that may have changed the machine for longer than until its
    /// next reset, such as one that plugs a device or sets a property.
    pub fn has_changed_something(&self) -> bool {
        self.changed.get()
    }

    /// Sends a command, such as `quit`, without waiting for its reply, which is dropped.
    pub fn send_only(&self, command: &str) -> Result<()> {
        self.changed.set(true);
        let inner = &mut *self.inner.borrow_mut();
        let ids = inner.write(&[(command, Value::Null)]);
        inner.exchange(Until::Sent, command, ids, |_| false)
    }

    /// The first event called `name` that was kept or comes next. Other events stay kept.
    ///
    /// # Errors
    /// [`Error::Deadline`] if none comes within the limit of a request.
    pub fn wait_event(&self, name: &str) -> Result<Event> {
        let inner = &mut *self.inner.borrow_mut();
        let kept = inner.events.iter().position(|event| event.name == name);
        if let Some(event) = kept.and_then(|index| inner.events.remove(index)) {
            return Ok(event);
        }
        let what = format!("waiting for event {name}");
        let ids = inner.write(&[]);
        inner.exchange(
            Until::Done,
            &what,
            ids,
            |incoming| matches!(incoming, Incoming::Event(event) if event == name),
        )?;
        // It was the last thing that came.
        let event = inner.events.pop_back();
        event.ok_or_else(|| garbled(&what, b"", "an event"))
    }

    /// Takes all events that are kept: those that came with replies so far.
    pub fn events(&self) -> Vec<Event> {
        self.inner.borrow_mut().events.drain(..).collect()
    }

    /// Reads what has come, without waiting for more, so that [`events`](Self::events) has it.
    pub fn poll(&self) -> Result<()> {
        let inner = &mut *self.inner.borrow_mut();
        let what = "(no command)";
        let Inner { channel, unanswered, events, .. } = inner;
        let mut wrong = None;
        let taken = channel.take_arrived(|line| {
            if take(line, unanswered, events).is_none() {
                wrong = Some(garbled(what, line, "a QMP message"));
                return Step::Done;
            }
            Step::Aside
        });
        match wrong {
            Some(error) => Err(error),
            None => taken.map_err(|fault| channel.error(fault, what.into())),
        }
    }

    /// Reads until QEMU closes the connection, as after `quit`.
    ///
    /// # Errors
    /// [`Error::Deadline`] if it does not within the limit of a request.
    pub fn wait_closed(&self) -> Result<()> {
        let inner = &mut *self.inner.borrow_mut();
        let ids = inner.write(&[]);
        match inner.exchange(Until::Done, "waiting for the end", ids, |_| false) {
            Err(Error::Closed { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Whether a command changes nothing, or nothing that outlives a reset.
fn only_asks(command: &str) -> bool {
    let asks = [
        "query-",
        "qom-get",
        "qom-list",
        "device-list-properties",
        "system_reset",
        // It writes an image, which is renewed.
        "screendump",
    ];
    asks.iter().any(|prefix| command.starts_with(prefix))
}

/// What a line was, as far as a command is concerned. Events are kept already.
enum Incoming<'e> {
    Event(&'e str),
    Reply { id: u64, result: Result<Value, super::message::Failure> },
    Other,
}

/// Takes one line: keeps events, and strikes the command off that it answers. `None` if it is
/// not a message.
fn take<'e>(
    line: &[u8],
    unanswered: &mut VecDeque<u64>,
    events: &'e mut VecDeque<Event>,
) -> Option<Incoming<'e>> {
    match Message::parse(line)? {
        Message::Greeting(_) => Some(Incoming::Other),
        Message::Event(event) => {
            if events.len() >= MAX_EVENTS {
                events.pop_front();
            }
            events.push_back(event);
            Some(Incoming::Event(&events.back()?.name))
        }
        Message::Reply { id, result } => {
            // Replies come in order, so one without a number is the oldest command's.
            let id = id.or(unanswered.front().copied());
            let at = id.and_then(|id| unanswered.iter().position(|other| *other == id));
            Some(match at.and_then(|at| unanswered.remove(at)) {
                Some(id) => Incoming::Reply { id, result },
                None => Incoming::Other,
            })
        }
    }
}

impl Inner {
    fn greeting(&mut self) -> Result<Greeting> {
        let what = "connecting to QMP";
        let mut greeting = None;
        self.channel.begin();
        let (result, _) = self.channel.exchange(Until::Done, |line| {
            greeting = Some(match Message::parse(line) {
                Some(Message::Greeting(greeting)) => Ok(greeting),
                _ => Err(garbled(what, line, "the greeting of QMP")),
            });
            Step::Done
        });
        result.map_err(|fault| self.channel.error(fault, what.into()))?;
        greeting.unwrap_or_else(|| Err(garbled(what, b"", "the greeting of QMP")))
    }

    /// Writes commands, ready to be sent, and returns their numbers.
    fn write(&mut self, commands: &[(&str, Value)]) -> Range<u64> {
        let first = self.next_id;
        let out = self.channel.begin();
        for (id, (command, arguments)) in (first..).zip(commands) {
            let mut message = json!({ "execute": command, "id": id });
            if !arguments.is_null() {
                message["arguments"] = arguments.clone();
            }
            // Neither a value nor writing to memory fails.
            let _ = serde_json::to_writer(&mut *out, &message);
            out.push(b'\n');
        }
        self.next_id += commands.len() as u64;
        first..self.next_id
    }

    /// Sends what was written and takes what comes, until `on_incoming` says that it is done.
    fn exchange(
        &mut self,
        until: Until,
        what: &str,
        ids: Range<u64>,
        mut on_incoming: impl FnMut(Incoming<'_>) -> bool,
    ) -> Result<()> {
        let Self { channel, unanswered, events, .. } = self;
        unanswered.extend(ids.clone());
        let mut wrong = None;
        let (result, sent) = channel.exchange(until, |line| {
            let Some(incoming) = take(line, unanswered, events) else {
                wrong = Some(garbled(what, line, "a QMP message"));
                return Step::Done;
            };
            let is_reply = matches!(incoming, Incoming::Reply { .. });
            match (on_incoming(incoming), is_reply) {
                (true, _) => Step::Done,
                (false, true) => Step::Answer { left: 0 },
                (false, false) => Step::Aside,
            }
        });
        // Those that were never sent get no reply.
        unanswered.retain(|id| !ids.contains(id) || id - ids.start < sent as u64);
        match wrong {
            Some(error) => Err(error),
            None => result.map_err(|fault| channel.error(fault, what.into())),
        }
    }
}

fn garbled(request: &str, answer: &[u8], expected: &str) -> Error {
    Error::Garbled { request: request.into(), answer: show(answer), expected: expected.into() }
}

#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
#[cfg(test)]
mod tests;
