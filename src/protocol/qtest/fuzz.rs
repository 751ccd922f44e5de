//! The qtest client against any bytes, beside a model of what it must make of them.

use std::collections::HashMap;

use super::*;
use crate::protocol::fuzz::{End, Far, NoLine, Wire, end, steps};

/// The longest line, so that a small input can have a longer one.
const LIMIT: usize = 100;

/// What is written at once to fill the client's end of the socket.
const MUCH: usize = 12 << 10;

const AT: GuestAddress = GuestAddress(0x1000);

/// What answers a request properly, as text.
type Parse = fn(&[u8]) -> Result<String, Wrong>;

struct Play {
    qtest: Qtest,
    far: Far,
    model: Model,
}

struct Model {
    wire: Wire,
    /// Answers that were given up.
    owed: usize,
    /// Level, and how often raised and lowered.
    irqs: HashMap<u32, (bool, u64, u64)>,
    /// The requests that the client made, and QEMU has not seen.
    made: Vec<String>,
}

/// Plays `input`.
///
/// # Panics
/// The client does not do as the model does: a bug.
pub fn play(input: &[u8]) {
    let (near, far, deadline, transcript) = Far::pair();
    let qtest = Qtest::new(near, deadline, transcript).expect("a client");
    qtest.inner.borrow_mut().channel.limit_lines(LIMIT);
    let model = Model { wire: Wire::new(LIMIT), owed: 0, irqs: HashMap::new(), made: Vec::new() };
    let mut play = Play { qtest, far, model };
    for (act, said) in steps(input) {
        play.say(said);
        play.act(act);
        play.check_bounds();
    }
    play.check_in_step();
}

fn text<T: std::fmt::Debug>(value: T) -> String {
    format!("{value:?}")
}

fn byte(line: &[u8]) -> Result<String, Wrong> {
    answer::number(line, 0xff).map(text)
}

fn clock(line: &[u8]) -> Result<String, Wrong> {
    answer::clock(line).map(Duration::from_nanos).map(text)
}

fn three_bytes(
    line: &[u8],
    parse: fn(&[u8], &mut [u8]) -> Result<(), Wrong>,
) -> Result<String, Wrong> {
    let mut data = [0; 3];
    parse(line, &mut data).map(|()| text(data))
}

impl Play {
    fn say(&mut self, said: &[u8]) {
        let taken = self.far.say(said);
        self.model.wire.say(&said[..taken]);
    }

    fn act(&mut self, act: u8) {
        let mut data = [0; 3];
        let q = &self.qtest;
        match act {
            b'i' => self.ask("inb 0x1", q.inb(1), byte),
            b'q' => self
                .ask("readq 0x1000", q.readq(AT), |line| answer::number(line, u64::MAX).map(text)),
            b'o' => self.ask("outl 0x2 0x3", q.outl(2, 3), |line| answer::nothing(line).map(text)),
            b'c' => self.ask("clock_step", q.clock_step(None), clock),
            b'e' => self.ask("endianness", q.endianness(), |line| answer::endian(line).map(text)),
            b'x' => self.ask("x", q.command("x"), |line| {
                answer::payload(line).map(|rest| text(String::from_utf8_lossy(rest)))
            }),
            b'h' => {
                let result = q.read(AT, &mut data).map(|()| data);
                self.ask("read 0x1000 0x3", result, |l| three_bytes(l, answer::hex_bytes));
            }
            b'6' => {
                let result = q.b64read(AT, &mut data).map(|()| data);
                self.ask("b64read 0x1000 0x3", result, |l| three_bytes(l, answer::base64_bytes));
            }
            b'b' => self.batch(),
            b'w' => {
                let result = q.b64write(AT, &[0; MUCH]);
                let request = format!("b64write 0x1000 {MUCH:#x} {}", "A".repeat(MUCH / 3 * 4));
                self.ask(&request, result, |line| answer::nothing(line).map(text));
            }
            b'p' => {
                let expected = self.model.poll();
                assert_eq!(end(q.poll_irqs(), &self.model.wire), expected);
            }
            b'r' => {
                q.reset_irq_counts();
                for irq in self.model.irqs.values_mut() {
                    (irq.1, irq.2) = (0, 0);
                }
            }
            b'd' => self.drain(),
            b'!' => {
                self.far.hang_up();
                self.model.wire.close();
            }
            // QEMU only speaks.
            _ => {}
        }
    }

    /// Holds the result of a request against the model's.
    fn ask<T: std::fmt::Debug>(&mut self, request: &str, result: Result<T>, parse: Parse) {
        let result = end(result, &self.model.wire);
        let owed = self.qtest.inner.borrow().owed;
        let expected = match self.model.answers(&[request], owed) {
            Err(end) => end,
            Ok(lines) => judge(parse(&lines[0])),
        };
        assert_eq!(result, expected, "{request}");
    }

    fn batch(&mut self) {
        let mut batch = self.qtest.batch();
        let b = batch.inb(1);
        batch.outb(2, 3);
        let c = batch.clock_step(None);
        let m = batch.read(AT, 3);
        let result = batch.send();
        let result =
            result.map(|got| [text(got.get(b)), text(got.get(c)), text(got.get(m))].concat());
        let result = end(result, &self.model.wire);

        let requests = ["inb 0x1", "outb 0x2 0x3", "clock_step", "b64read 0x1000 0x3"];
        let parse: [Parse; 4] = [
            byte,
            |line| answer::nothing(line).map(|()| String::new()),
            clock,
            |l| three_bytes(l, answer::base64_bytes),
        ];
        let owed = self.qtest.inner.borrow().owed;
        let expected = match self.model.answers(&requests, owed) {
            Err(end) => end,
            Ok(lines) => {
                let values = parse.iter().zip(&lines).map(|(parse, line)| parse(line));
                judge(values.collect::<Result<Vec<_>, _>>().map(|values| values.concat()).map(text))
            }
        };
        // A string within a string, on both sides.
        assert_eq!(result, expected);
    }

    /// QEMU reads its requests: those that were made, in order, none cut and none run into
    /// another. Those that never found room in the socket are missing.
    fn drain(&mut self) {
        for request in self.far.requests() {
            let request = String::from_utf8(request).expect("a request is text");
            let at = self.model.made.iter().position(|made| *made == request);
            let at = at.unwrap_or_else(|| panic!("not a request that was made: {request}"));
            self.model.made.drain(..=at);
        }
    }

    fn check_bounds(&self) {
        let inner = self.qtest.inner.borrow();
        assert!(inner.channel.room_for_lines() <= 1 << 20);
        assert_eq!(inner.owed, self.model.owed);
        drop(inner);
        for (line, (level, raised, lowered)) in &self.model.irqs {
            let (q, line) = (&self.qtest, *line);
            let got = (q.irq_level(line), q.irq_raised(line), q.irq_lowered(line));
            assert_eq!(got, (*level, *raised, *lowered), "line {line}");
        }
    }

    /// Whatever was before: once QEMU has answered all it owes, a request gets its own answer.
    fn check_in_step(&mut self) {
        if self.model.wire.is_closed() {
            return;
        }
        // Finish the line that QEMU is in, and the request that it has in part.
        self.say(b"\n");
        self.act(b'd');
        while self.qtest.poll_irqs().is_err() {
            self.model.poll();
        }
        self.model.poll();
        for _ in 0..8 {
            self.act(b'i');
            self.act(b'd');
        }
        let late = "IRQ raise 7\nFAIL late\n".repeat(self.model.owed);
        self.say(late.as_bytes());
        self.say(b"OK 0x5a\n");
        assert_eq!(self.qtest.inb(1).ok(), Some(0x5a), "out of step");
    }
}

fn judge(parsed: Result<String, Wrong>) -> End {
    match parsed {
        Ok(value) => End::Value(value),
        Err(Wrong::Refused) => End::Refused,
        Err(Wrong::Garbled(_)) => End::Garbled,
    }
}

impl Model {
    /// The next line that is no interrupt.
    fn line(&mut self, next: fn(&mut Wire) -> Result<Vec<u8>, NoLine>) -> Result<Vec<u8>, NoLine> {
        loop {
            let line = next(&mut self.wire)?;
            let Some(edge) = answer::edge(&line) else { return Ok(line) };
            let (level, raised, lowered) = self.irqs.entry(edge.line).or_default();
            *raised += u64::from(edge.raised && !*level);
            *lowered += u64::from(!edge.raised && *level);
            *level = edge.raised;
        }
    }

    /// Lines for which nobody waits.
    fn aside(&mut self, next: fn(&mut Wire) -> Result<Vec<u8>, NoLine>) -> Result<(), End> {
        let mut stray = false;
        let end = loop {
            match self.line(next) {
                Ok(_) if self.owed > 0 => self.owed -= 1,
                Ok(_) => stray = true,
                Err(NoLine::TooLong) if stray => break End::Stray,
                Err(NoLine::TooLong) => {
                    self.owed = self.owed.saturating_sub(1);
                    break End::TooLong;
                }
                Err(NoLine::Silence) if stray => break End::Stray,
                Err(NoLine::Silence) => return Ok(()),
            }
        };
        Err(end)
    }

    fn poll(&mut self) -> End {
        match self.aside(Wire::sent) {
            Err(end) => end,
            Ok(()) if self.wire.is_closed() => End::Nothing,
            Ok(()) => End::Value(text(())),
        }
    }

    /// The answers to `requests`, or how it ends instead. `owed` is what the client then says:
    /// only it knows how many requests the socket took.
    fn answers(&mut self, requests: &[&str], owed: usize) -> Result<Vec<Vec<u8>>, End> {
        self.aside(Wire::received)?;
        self.made.extend(requests.iter().map(|request| format!("{request}\n")));
        let mut lines = Vec::new();
        let end = loop {
            match self.line(Wire::sent) {
                Ok(_) if self.owed > 0 => self.owed -= 1,
                Ok(line) => lines.push(line),
                Err(NoLine::TooLong) => break End::TooLong,
                Err(NoLine::Silence) => break End::Nothing,
            }
            if lines.len() == requests.len() {
                return Ok(lines);
            }
        };
        let most = self.owed + requests.len() - lines.len();
        let settled = usize::from(end == End::TooLong);
        let fewest = self.owed.saturating_sub(settled);
        assert!((fewest..=most.saturating_sub(settled)).contains(&owed), "{owed} owed");
        self.owed = owed;
        Err(end)
    }
}
