//! A device of a few registers, and tests of it that notice more or less.

use std::collections::HashMap;
use std::rc::Rc;

use fastrand::Rng;
use serde_json::json;
use vm_memory::GuestAddress;

use super::Options;
use super::change::{What, changes};
use super::engine::{Bench, MakeTap, Measured, Stop, measure};
use crate::harness::outcome::Verdict;
use crate::protocol::{Passage, Tap, Wire};
use crate::qemu::{GUARD_PATTERN, Limits, Vm};

/// The device: registers that keep what is written, an interrupt at a write to 0x20, and a
/// status at 0x30 that is 1 after some steps of the clock.
#[derive(Default)]
struct Device {
    registers: HashMap<String, u64>,
    steps: u64,
    busy: u64,
}

/// What a test has of the device.
struct Talk {
    tap: Rc<dyn Tap>,
    vm: Rc<Vm>,
    device: Device,
    raised: usize,
    /// The runs before this one.
    runs: usize,
}

impl Talk {
    /// Hands a line on as the tap wants it; returns the answer, if one came.
    fn receive(&mut self, wire: Wire, line: &str) -> Option<String> {
        let mut lines = Vec::new();
        let passage = self.tap.received(wire, line.as_bytes(), &mut |line| lines.push(line));
        if passage == Passage::Through {
            lines = vec![line.as_bytes().to_vec()];
        }
        let mut answer = None;
        for line in lines {
            let line = String::from_utf8(line).expect("text");
            match line.strip_prefix("IRQ ") {
                Some(edge) => self.raised += usize::from(edge.starts_with("raise")),
                None => answer = Some(line),
            }
        }
        answer
    }

    fn ask(&mut self, request: &str) -> String {
        self.tap.sent(Wire::Qtest, request.as_bytes());
        let words: Vec<&str> = request.split(' ').collect();
        let number = |word: &str| u64::from_str_radix(&word[2..], 16).expect("a number");
        let line = match *words {
            ["clock_step"] => {
                self.device.steps += 1;
                format!("OK {}", self.device.steps)
            }
            ["readl", "0x30"] => {
                format!("OK {:#x}", u64::from(self.device.steps >= self.device.busy))
            }
            ["readl", at] => {
                format!("OK {:#x}", self.device.registers.get(at).copied().unwrap_or(0))
            }
            ["writel", at, value] => {
                self.device.registers.insert(at.to_owned(), number(value));
                if at == "0x20" {
                    self.receive(Wire::Qtest, "IRQ raise 3");
                }
                "OK".to_owned()
            }
            _ => panic!("{request}"),
        };
        self.receive(Wire::Qtest, &line).expect("an answer")
    }

    fn read(&mut self, at: &str) -> u64 {
        let answer = self.ask(&format!("readl {at}"));
        u64::from_str_radix(answer.strip_prefix("OK 0x").expect("a number"), 16).expect("a number")
    }

    fn write(&mut self, at: &str, value: u64) {
        self.ask(&format!("writel {at} {value:#x}"));
    }
}

/// Runs a test, which says whether all is well.
struct Fake {
    vm: Rc<Vm>,
    test: fn(&mut Talk) -> bool,
    runs: usize,
    /// What is wrong with machines that are used again after a failure.
    breaks: bool,
    is_used: bool,
    is_broken: bool,
}

impl Bench for Fake {
    fn run(&mut self, tap: MakeTap, _: Limits) -> Result<Verdict, String> {
        let mut talk = Talk {
            tap: tap(&self.vm),
            vm: self.vm.clone(),
            device: Device::default(),
            raised: 0,
            runs: self.runs,
        };
        self.runs += 1;
        let well = (self.test)(&mut talk);
        self.is_used = self.breaks;
        let passed = well && !self.is_broken;
        self.is_broken = self.breaks && !passed;
        Ok(if passed { Verdict::Passed } else { Verdict::Failed("unwell".to_owned()) })
    }

    fn is_used(&self) -> bool {
        self.is_used
    }

    fn renew(&mut self) {
        (self.is_used, self.is_broken) = (false, false);
    }

    fn stop_reusing(&mut self) {
        self.renew();
        self.breaks = false;
    }
}

const OPTIONS: Options = Options {
    seed: 0,
    sample: None,
    time_limit: None,
    every_bit: false,
    attaching: true,
    limits: Limits {
        request: std::time::Duration::from_secs(1),
        whole: std::time::Duration::from_secs(1),
    },
};

fn fake(test: fn(&mut Talk) -> bool) -> Fake {
    let vm = Vm::fake().expect("a machine");
    Fake { vm, test, runs: 0, breaks: false, is_used: false, is_broken: false }
}

fn try_measure(bench: &mut Fake, options: &Options) -> Result<Measured, Stop> {
    let mut rng = Rng::with_seed(options.seed);
    measure(bench, options, &mut rng, Some(file!()))
}

fn measured(test: fn(&mut Talk) -> bool) -> Measured {
    try_measure(&mut fake(test), &OPTIONS).expect("a test that passes")
}

/// Would catch a measure that has no ends: all is ignored by a test that looks at nothing,
/// and none by one that looks at everything.
#[test]
fn the_weakest_and_the_strongest() {
    let weak = measured(|talk| {
        talk.write("0x10", 5);
        talk.read("0x10");
        true
    });
    assert_eq!((weak.counts.answers, weak.counts.noticed), (1, 0));
    assert_eq!((weak.counts.ignored, weak.counts.tried), (4, 4));
    assert_eq!(weak.counts.percent(), Some(0.0));

    let strong = measured(|talk| {
        talk.write("0x10", 5);
        talk.read("0x10") == 5
    });
    assert_eq!((strong.counts.noticed, strong.counts.ignored), (4, 0));
    assert_eq!(strong.counts.percent(), Some(100.0));
    assert!(strong.ignored.is_empty());
}

/// Would catch an ignored answer that is told as another, or whose request is not found in
/// the sources.
#[test]
fn what_is_ignored_is_found_in_the_sources() {
    let before = line!();
    let half = measured(|talk| {
        talk.write("0x10", 0x5a);
        talk.write("0x14", 0xa5);
        talk.read("0x14");
        talk.read("0x10") == 0x5a
    });
    let [ignored] = half.ignored.as_slice() else { panic!("{half:?}") };
    assert_eq!((&*ignored.request, &*ignored.answer), ("readl 0x14", "0x000000a5"));
    assert_eq!(ignored.changes.len(), 4, "{ignored:?}");
    let line = format!("src/harness/mutate/tests.rs:{}", before + 4);
    assert!(ignored.at.contains(&line), "{ignored:?}");
    assert_eq!(half.counts.percent(), Some(50.0));
}

/// Would catch a read-modify-write that counts against a test, and a write of something
/// else that is taken for one.
#[test]
fn reads_that_serve_a_write() {
    let modify = measured(|talk| {
        talk.write("0x10", 0x50);
        let value = talk.read("0x10");
        talk.write("0x10", value & !0xff | 1);
        true
    });
    assert_eq!((modify.counts.rewritten, modify.counts.ignored), (4, 0));
    assert_eq!(modify.counts.percent(), None);

    let other = measured(|talk| {
        talk.write("0x10", 0x50);
        talk.read("0x10");
        talk.write("0x10", 1);
        true
    });
    assert_eq!((other.counts.rewritten, other.counts.ignored), (0, 4));
}

/// Would catch waits whose length counts: answers that only said "not yet", and a change
/// that only makes a test wait longer.
#[test]
fn waiting() {
    let waits = measured(|talk| {
        // In no two runs alike.
        talk.device.busy = 3 + talk.runs as u64 % 2;
        for _ in 0..100 {
            if talk.read("0x30") == 1 {
                return true;
            }
            talk.ask("clock_step");
        }
        false
    });
    assert_eq!((waits.counts.answers, waits.counts.diverged), (1, 0));
    assert_eq!((waits.counts.asked_again, waits.counts.tried), (3, 3), "{waits:?}");
}

/// Would catch interrupts that are not lost, doubled or early, and a test that does not see
/// them so.
#[test]
fn interrupts() {
    fn test(talk: &mut Talk, check: bool) -> bool {
        let read = talk.read("0x10") == 0;
        let before = talk.raised;
        talk.write("0x20", 1);
        read && (!check || (before, talk.raised) == (0, 1))
    }
    let strong = measured(|talk| test(talk, true));
    assert_eq!((strong.counts.noticed, strong.counts.ignored), (strong.counts.tried, 0));
    let weak = measured(|talk| test(talk, false));
    let [ignored] = weak.ignored.as_slice() else { panic!("{weak:?}") };
    assert_eq!(ignored.request, "IRQ raise 3");
    assert_eq!(ignored.changes, ["doubled", "early", "lost"]);
}

/// Would catch a failure that a broken machine has left behind and that is taken for a
/// change that was noticed.
#[test]
fn machines_that_do_not_survive_a_failure() {
    let test = |talk: &mut Talk| {
        let mut well = true;
        for at in 0..40 {
            let place = format!("{:#x}", 0x1000 + 4 * at);
            talk.write(&place, at);
            well &= talk.read(&place) == at || at % 2 == 1;
        }
        well
    };
    let fresh = measured(test);
    assert!(fresh.counts.noticed > 50 && fresh.counts.ignored > 50);
    let mut bench = Fake { breaks: true, ..fake(test) };
    let reused = try_measure(&mut bench, &OPTIONS).expect("it passes");
    assert_eq!(reused.counts, fresh.counts);
    let names = |of: &Measured| -> Vec<_> {
        of.ignored.iter().map(|it| (it.request.clone(), it.changes.clone())).collect()
    };
    assert_eq!(names(&reused), names(&fresh));
    assert!(!bench.breaks, "reuse is given up");
}

/// Would catch an answer that never came again and counts as noticed, because the test did
/// not pass.
#[test]
fn other_ways() {
    let diverges = measured(|talk| {
        let at = format!("{:#x}", 0x1000 + 4 * talk.runs);
        talk.read(&at) == 0 && talk.runs == 0
    });
    assert_eq!((diverges.counts.diverged, diverges.counts.noticed), (diverges.counts.tried, 0));
    assert!(diverges.counts.tried >= 2);
    let fails = try_measure(&mut fake(|_| false), &OPTIONS);
    assert!(matches!(fails, Err(Stop::NotPassing(Verdict::Failed(_)))));
}

/// Would catch the harness' own reads of guards, and those of drivers that are attached,
/// counted as the test's.
#[test]
fn whose_answers_count() {
    let test = |talk: &mut Talk| {
        talk.read("0x10");
        talk.vm.note_attached();
        let mut guard = GUARD_PATTERN;
        talk.tap.memory_read(GuestAddress(0x5000), &mut guard);
        let mut byte = [7];
        talk.tap.memory_read(GuestAddress(0x5010), &mut byte);
        guard == GUARD_PATTERN && byte == [7]
    };
    let own = try_measure(&mut fake(test), &Options { attaching: false, ..OPTIONS });
    let own = own.expect("it passes");
    assert_eq!((own.counts.answers, own.counts.noticed), (1, 4));
    assert_eq!((own.counts.ignored, own.counts.diverged), (0, 0));
    assert_eq!(measured(test).counts.answers, 2);
}

/// Would catch a run that cannot be repeated, or a sample that is not one.
#[test]
fn the_seed_decides() {
    let test = |talk: &mut Talk| {
        (0..20).for_each(|at| talk.write(&format!("{at:#x}"), at * 77));
        (0..20).all(|at| talk.read(&format!("{at:#x}")) == at * 77 || at > 10)
    };
    let with = |seed, sample| {
        let options = Options { seed, sample, ..OPTIONS };
        try_measure(&mut fake(test), &options).expect("it passes")
    };
    let (first, again, other) = (with(1, Some(25)), with(1, Some(25)), with(2, Some(25)));
    assert_eq!((first.counts, &first.ignored), (again.counts, &again.ignored));
    assert_ne!(first.ignored, other.ignored);
    assert_eq!(first.counts.tried, 25);
    assert!(first.counts.changes > 70);
    assert!(with(1, None).counts.tried == first.counts.changes);
}

/// What `changes` makes of the answer that a test gets.
fn names_of(line: &str, every_bit: bool) -> Vec<(String, What)> {
    use super::listen::Listener;
    use super::record::Recorder;
    let listener = Listener::new(Recorder::new(std::rc::Weak::new()));
    let mut sink = |_| panic!("recording changes nothing");
    match line.strip_prefix("OK") {
        Some(_) => {
            listener.sent(Wire::Qtest, b"readb 0x10");
            assert_eq!(
                listener.received(Wire::Qtest, line.as_bytes(), &mut sink),
                Passage::Through
            );
        }
        None => {
            listener.sent(Wire::Qmp, br#"{"execute": "qom-get", "id": 9}"#);
            assert_eq!(listener.received(Wire::Qmp, line.as_bytes(), &mut sink), Passage::Through);
        }
    }
    let recording = listener.with_ear(|ear| ear.finish());
    let [answer] = recording.answers.as_slice() else { return Vec::new() };
    let changes = changes(answer, &mut Rng::with_seed(7), every_bit);
    changes.into_iter().map(|change| (change.name, change.what)).collect()
}

/// Would catch a change that changes nothing, one that is tried twice, and a value that is
/// wider than its register.
#[test]
fn changes_of_registers() {
    use super::answer::Content;
    for line in ["OK 0x00", "OK 0x01", "OK 0xff", "OK 0x7e"] {
        let made = names_of(line, true);
        let mut values = Vec::new();
        for (name, what) in &made {
            let What::Becomes(Content::Number { value, bits: 8 }) = what else {
                panic!("{name}: {what:?}")
            };
            assert!(*value <= 0xff && format!("OK {value:#04x}") != line, "{name}");
            assert!(!values.contains(value), "{name}: {value:#x} a second time");
            values.push(*value);
        }
        assert!(values.contains(&0) || line == "OK 0x00");
        assert!(values.contains(&0xff) || line == "OK 0xff");
        assert!((8..=11).contains(&values.len()), "{line}: {values:x?}");
    }
    assert_eq!(names_of("OK", false), []);
}

/// Would catch a changed reply that no longer is one, and an empty one that is taken for an
/// answer.
#[test]
fn changes_of_replies() {
    use super::answer::Content;
    assert_eq!(names_of(r#"{"return": {}, "id": 9}"#, false), []);
    let made = names_of(r#"{"return": [{"a": true}, {"b/c": 5}, "x"], "id": 9}"#, false);
    assert!(made.len() >= 2, "{made:?}");
    for (name, what) in made {
        let What::Becomes(Content::Message(message)) = what else { panic!("{name}: {what:?}") };
        assert_ne!(message, json!({"return": [{"a": true}, {"b/c": 5}, "x"]}), "{name}");
        assert_eq!(message["return"].as_array().map(Vec::len), Some(3), "{name}");
    }
    let error = r#"{"error": {"class": "GenericError", "desc": "no"}, "id": 9}"#;
    let [(_, What::Becomes(Content::Message(message)))] = &*names_of(error, false) else {
        panic!("an error can only become a success")
    };
    assert_eq!(*message, json!({"return": {}}));
}
