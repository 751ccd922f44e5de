//! What is made of requests, answers, and memory past QEMU.

use super::*;
use crate::protocol::Wire::{Qmp, Qtest};

fn received(recorder: &Recorder, wire: Wire, line: &str) {
    let through = recorder.received(wire, line.as_bytes(), &mut |_| {});
    assert_eq!(through, Passage::Through);
}

fn steps(recorder: &Recorder) -> Vec<(String, Option<String>)> {
    let steps = recorder.record().steps.into_iter();
    steps.map(|step| (step.text, step.answer)).collect()
}

fn step(text: &str, answer: &str) -> (String, Option<String>) {
    (text.to_owned(), Some(answer.to_owned()).filter(|answer| !answer.is_empty()))
}

/// Catches answers given to the wrong request: of a batch, of the other wire, after
/// interrupts and events.
#[test]
fn answers_belong_to_requests_in_order() {
    let recorder = Recorder::new(LIMIT);
    recorder.sent(Qtest, b"inb 0x1");
    recorder.sent(Qtest, b"inb 0x2");
    received(&recorder, Qtest, "OK 0x1");
    received(&recorder, Qtest, "IRQ raise 3");
    received(&recorder, Qtest, "FAIL");
    recorder.sent(Qmp, br#"{"execute":"system_reset","id":1}"#);
    received(&recorder, Qmp, r#"{"event": "STOP"}"#);
    received(&recorder, Qmp, r#"{"return": {}, "id": 1}"#);
    received(&recorder, Qmp, r#"{"event": "RESET"}"#);
    recorder.sent(Qtest, b"inb 0x3");
    received(&recorder, Qtest, "OK \x1b[2J");
    recorder.sent(Qtest, b"inb 0x4");
    assert_eq!(
        steps(&recorder),
        [
            step("inb 0x1", "OK 0x1"),
            step("inb 0x2", "FAIL"),
            step(r#"{"execute":"system_reset","id":1}"#, r#"{"return": {}, "id": 1}"#),
            step("# wait-event RESET", ""),
            step("inb 0x3", r"OK \x1b[2J"),
            step("inb 0x4", ""),
        ]
    );
    assert_eq!(recorder.record().steps[1].interrupts, ["IRQ raise 3"]);
}

/// Catches memory past QEMU that is left out, or replayed as something else.
#[test]
fn memory_and_images_become_requests() {
    let recorder = Recorder::new(LIMIT);
    let at = GuestAddress(0x1000);
    recorder.memory_written(at, &[]);
    recorder.memory_written(at, &[1, 2, 0xff]);
    recorder.memory_written(at, &[0; 4096]);
    let long: Vec<u8> = (0..=255).collect();
    recorder.memory_written(at, &long);
    recorder.memory_read(at, &mut [1, 2]);
    recorder.image_written("sd", 512, b"a\0");
    recorder.image_read("sd", 512, &mut [0x61, 0]);
    let encoded = STANDARD.encode(&long);
    assert_eq!(
        steps(&recorder),
        [
            step("write 0x1000 0x3 0x0102ff", "OK"),
            step("memset 0x1000 0x1000 0x0", "OK"),
            step(&format!("b64write 0x1000 0x100 {encoded}"), "OK"),
            step("read 0x1000 0x2", "OK 0x0102"),
            step(r"# write-image sd 512 a\0000", ""),
            step("# read-image sd 512 2", "OK 0x6100"),
        ]
    );
    assert_eq!(written("write 0x1000 0x3 0x0102ff"), Some((0x1000, vec![1, 2, 0xff])));
    assert_eq!(written(&format!("b64write 0x1000 0x100 {encoded}")), Some((0x1000, long)));
    assert_eq!(written("outb 0x1 0x2"), None);
}

/// Catches a loop whose looks are all kept, though chance says how many there are, and the
/// last look of one loop lost to the next.
#[test]
fn a_loop_that_waits_is_one_look() {
    let recorder = Recorder::new(LIMIT);
    let look = |value: u8| recorder.memory_read(GuestAddress(0x10), &mut [value]);
    look(0);
    recorder.sent(Qtest, b"clock_step");
    received(&recorder, Qtest, "OK 1");
    look(0);
    look(1);
    recorder.sent(Qtest, b"outb 0x1 0x1");
    received(&recorder, Qtest, "OK");
    look(2);
    assert_eq!(
        steps(&recorder),
        [
            step("clock_step", "OK 1"),
            step("read 0x10 0x1", "OK 0x01"),
            step("outb 0x1 0x1", "OK"),
            step("read 0x10 0x1", "OK 0x02"),
        ]
    );
}

/// Catches blocks that are larger than what QEMU takes at once, or cut in the wrong places.
#[test]
fn long_blocks_are_cut() {
    let recorder = Recorder::new(LIMIT);
    recorder.memory_written(GuestAddress(0), &vec![7; CHUNK + 3]);
    let expected = [step("memset 0x0 0x10000 0x7", "OK"), step("memset 0x10000 0x3 0x7", "OK")];
    assert_eq!(steps(&recorder), expected);
}

/// Catches memory that grows without bound, a gap in the middle, and one that is not told.
#[test]
fn it_is_bounded() {
    let recorder = Recorder::new(100);
    recorder.sent(Qtest, b"inb 0x1");
    recorder.sent(Qtest, &[b'x'; 100]);
    recorder.sent(Qtest, b"inb 0x2");
    assert_eq!(steps(&recorder), [step("inb 0x1", "")]);
    assert!(!recorder.record().is_whole);
}

/// Catches a look at a buffer that is dropped, taken for the answer that a test objects to.
#[test]
fn looks_at_guards_are_known() {
    let recorder = Recorder::new(LIMIT);
    recorder.memory_read(GuestAddress(0x1000), &mut { GUARD_PATTERN });
    recorder.memory_read(GuestAddress(0x2000), &mut [0; 16]);
    let known: Vec<bool> = recorder.record().steps.iter().map(is_guard_check).collect();
    assert_eq!(known, [true, false]);
}

/// Catches a kind, a length or an address that is kept as another.
#[test]
fn entries_are_kept_as_they_are() {
    use Kind::*;
    let kinds = [Sent(Qtest), Sent(Qmp), Received(Qtest), Received(Qmp), MemoryRead];
    for kind in kinds.into_iter().chain([MemoryWritten, ImageRead(0), ImageWritten(u16::MAX)]) {
        for (length, at) in [(0, 0), (u32::MAX, u64::MAX), (1, 2 << 40)] {
            let back = Entry::from_bytes(Entry { kind, length, at }.to_bytes());
            assert_eq!((back.kind, back.length, back.at), (kind, length, at));
        }
    }
}
