//! The QMP client against any bytes, beside a model of what it must make of them.

use super::*;
use crate::protocol::fuzz::{End, Far, NoLine, Wire, end, end_of_error, steps};

/// The longest line, so that a small input can have a longer one.
const LIMIT: usize = 300;

/// What QEMU says to whoever connects, unless an input has its own greeting.
const HELLO: &[u8] = br#"{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}}}}
{"return": {}, "id": 1}
"#;

struct Play {
    qmp: Qmp,
    far: Far,
    model: Model,
}

struct Model {
    wire: Wire,
    next_id: u64,
    unanswered: Vec<u64>,
    events: Vec<Event>,
}

/// What the model makes of a line.
enum Got {
    Event,
    Reply(u64, Result<Value, ()>),
    Other,
}

/// Plays `input`. A first step `g` says how QEMU greets.
///
/// # Panics
/// The client does not do as the model does: a bug.
pub fn play(input: &[u8]) {
    let (near, mut far, deadline, transcript) = Far::pair();
    let mut steps = steps(input).peekable();
    let hello = steps.next_if(|(act, _)| *act == b'g').map_or(HELLO, |(_, said)| said);
    let taken = far.say(hello);
    let Ok(qmp) = Qmp::connect(near, deadline, transcript) else { return };
    let mut model = Model {
        // Greetings are not held to the limit.
        wire: Wire::new(crate::protocol::line::LINE_LIMIT),
        next_id: 1,
        unanswered: Vec::new(),
        events: Vec::new(),
    };
    model.wire.say(&hello[..taken]);
    let greeting = model.wire.sent().ok();
    let greeting = greeting.and_then(|line| Message::parse(&line));
    assert_eq!(greeting, Some(Message::Greeting(qmp.greeting().clone())));
    assert!(matches!(model.execute(1).as_deref(), Ok([Ok(_)])), "the client has connected");
    if model.wire.received_all() {
        qmp.inner.borrow_mut().channel.limit_lines(LIMIT);
        model.wire = Wire::new(LIMIT);
    }
    let mut play = Play { qmp, far, model };
    for (act, said) in steps {
        play.say(said);
        play.act(act);
        play.far.requests();
        play.check_bounds();
    }
    play.check_in_step();
}

impl Play {
    fn say(&mut self, said: &[u8]) {
        let taken = self.far.say(said);
        self.model.wire.say(&said[..taken]);
    }

    fn act(&mut self, act: u8) {
        match act {
            b'x' => self.execute(1),
            b'a' => self.execute(3),
            b's' => {
                let expected = self.model.send_only();
                let result = self.qmp.send_only("x");
                self.compare(result, expected);
            }
            b'w' => {
                let expected = self.model.wait_event("A");
                let result = self.qmp.wait_event("A");
                self.compare(result, expected);
            }
            b'e' => assert_eq!(self.qmp.events(), std::mem::take(&mut self.model.events)),
            b'p' => {
                let expected = self.model.poll();
                let result = self.qmp.poll();
                self.compare(result, expected);
            }
            b'c' => {
                let expected = self.model.wait_closed();
                // With no time at all it may not see the end at once.
                let result = self.qmp.wait_closed().or_else(|error| match error {
                    Error::Deadline { .. } if self.model.wire.is_closed() => Ok(()),
                    error => Err(error),
                });
                self.compare(result, expected);
            }
            b'!' => {
                self.far.hang_up();
                self.model.wire.close();
            }
            // QEMU only speaks.
            _ => {}
        }
    }

    fn compare<T: std::fmt::Debug>(&self, result: Result<T>, expected: Result<T, End>) {
        let expected = expected.map_or_else(|end| end, |value| End::Value(format!("{value:?}")));
        assert_eq!(
            match end(result, &self.model.wire) {
                // Here it is garbled as any other line.
                End::Stray => End::Garbled,
                end => end,
            },
            expected
        );
    }

    fn execute(&mut self, count: usize) {
        let expected = self.model.execute(count);
        let result = self.qmp.execute_all(&vec![("x", Value::Null); count]);
        let result = result.map(|replies| {
            let refused = |error| assert_eq!(end_of_error(&error, &self.model.wire), End::Refused);
            replies.into_iter().map(|reply| reply.map_err(refused)).collect::<Vec<_>>()
        });
        self.compare(result, expected);
    }

    fn check_bounds(&self) {
        let inner = self.qmp.inner.borrow();
        assert!(inner.channel.room_for_lines() <= 1 << 20);
        assert_eq!(inner.unanswered, self.model.unanswered);
        assert_eq!(inner.events, self.model.events);
    }

    /// Whatever was before: a command gets its own reply, though late ones come first.
    fn check_in_step(&mut self) {
        if self.model.wire.is_closed() {
            return;
        }
        // Finish the line that QEMU is in.
        self.say(b"\n");
        while self.qmp.poll().is_err() {
            let _ = self.model.poll();
        }
        let _ = self.model.poll();
        self.check_bounds();
        let late: Vec<u64> = self.model.unanswered.drain(..).collect();
        for id in late.iter().chain([&self.model.next_id]) {
            self.far.say(format!("{{\"return\": {id}, \"id\": {id}}}\n").as_bytes());
        }
        let reply = self.qmp.execute("x", Value::Null);
        assert_eq!(reply.ok(), Some(json!(self.model.next_id)), "out of step");
    }
}

impl Model {
    fn take(&mut self, next: fn(&mut Wire) -> Result<Vec<u8>, NoLine>) -> Result<Got, End> {
        let line = next(&mut self.wire).map_err(|no_line| match no_line {
            NoLine::TooLong => End::TooLong,
            NoLine::Silence => End::Nothing,
        })?;
        Ok(match Message::parse(&line).ok_or(End::Garbled)? {
            Message::Greeting(_) => Got::Other,
            Message::Event(event) => {
                self.events.push(event);
                Got::Event
            }
            Message::Reply { id, result } => {
                let Some(id) = id.or(self.unanswered.first().copied()) else {
                    return Ok(Got::Other);
                };
                let before = self.unanswered.len();
                self.unanswered.retain(|unanswered| *unanswered != id);
                match self.unanswered.len() < before {
                    true => Got::Reply(id, result.map_err(drop)),
                    false => Got::Other,
                }
            }
        })
    }

    fn new_commands(&mut self, count: usize) -> Range<u64> {
        let first = self.next_id;
        self.next_id += count as u64;
        self.unanswered.extend(first..self.next_id);
        first..self.next_id
    }

    fn execute(&mut self, count: usize) -> Result<Vec<Result<Value, ()>>, End> {
        let ids = self.new_commands(count);
        let mut replies = std::collections::BTreeMap::new();
        while replies.len() < count {
            if let Got::Reply(id, result) = self.take(Wire::sent)?
                && ids.contains(&id)
            {
                replies.insert(id, result);
            }
        }
        Ok(replies.into_values().collect())
    }

    fn send_only(&mut self) -> Result<(), End> {
        self.new_commands(1);
        self.silence(Wire::received)
    }

    fn poll(&mut self) -> Result<(), End> {
        self.silence(Wire::sent)?;
        if self.wire.is_closed() { Err(End::Nothing) } else { Ok(()) }
    }

    fn wait_closed(&mut self) -> Result<(), End> {
        self.silence(Wire::sent)?;
        if self.wire.is_closed() { Ok(()) } else { Err(End::Nothing) }
    }

    /// Takes lines until there are no more.
    fn silence(&mut self, next: fn(&mut Wire) -> Result<Vec<u8>, NoLine>) -> Result<(), End> {
        loop {
            match self.take(next) {
                Ok(_) => {}
                Err(End::Nothing) => return Ok(()),
                Err(end) => return Err(end),
            }
        }
    }

    fn wait_event(&mut self, name: &str) -> Result<Event, End> {
        loop {
            if let Some(at) = self.events.iter().position(|event| event.name == name) {
                return Ok(self.events.remove(at));
            }
            self.take(Wire::sent)?;
        }
    }
}
