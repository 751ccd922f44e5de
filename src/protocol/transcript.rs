//! The last lines of both sockets, in both directions, in order: what led to an outcome. Keeps
//! and shows them; who looks at them, and when, is decided elsewhere.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use super::tap::{Tap, TapSlot, Wire};

/// How many bytes of a line are kept and shown.
const WIDTH: usize = 200;

/// Which socket, and in which direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    QtestSent,
    QtestReceived,
    QmpSent,
    QmpReceived,
}

impl Way {
    fn mark(self) -> &'static str {
        match self {
            Way::QtestSent => "qtest>",
            Way::QtestReceived => "qtest<",
            Way::QmpSent => "qmp>",
            Way::QmpReceived => "qmp<",
        }
    }

    /// Which socket.
    pub(super) fn wire(self) -> Wire {
        match self {
            Way::QtestSent | Way::QtestReceived => Wire::Qtest,
            Way::QmpSent | Way::QmpReceived => Wire::Qmp,
        }
    }
}

/// The last lines that went over the sockets of one QEMU, each shortened to some 200 bytes.
///
/// Displayed, it has a line each: `qtest> readl 0x10`, `qtest< OK 0x…`, `qmp> {…}`, `qmp< {…}`,
/// oldest first, with interrupts and QMP events where they came in between.
pub struct Transcript {
    ring: RefCell<Ring>,
    tap: TapSlot,
}

struct Ring {
    /// Up to `capacity` entries; when full, `next` is the oldest.
    entries: Vec<Entry>,
    next: usize,
    capacity: usize,
}

struct Entry {
    way: Way,
    /// Raw: escaping waits until somebody looks, so that noting a line is one small copy.
    head: Vec<u8>,
    length: usize,
}

impl Transcript {
    /// How many lines [`Transcript::default`] keeps.
    pub const DEFAULT_CAPACITY: usize = 64;

    /// A transcript that keeps the last `capacity` lines.
    pub fn new(capacity: usize) -> Self {
        Self {
            ring: RefCell::new(Ring { entries: Vec::with_capacity(capacity), next: 0, capacity }),
            tap: TapSlot::default(),
        }
    }

    /// Lets `tap` listen in on everything from now on, or nobody.
    pub fn set_tap(&self, tap: Option<Rc<dyn Tap>>) {
        self.tap.set(tap);
    }

    /// Who listens in.
    pub(crate) fn tap(&self) -> &TapSlot {
        &self.tap
    }

    /// Forgets all lines, as when a QEMU is handed to the next test.
    pub fn clear(&self) {
        let mut ring = self.ring.borrow_mut();
        ring.entries.clear();
        ring.next = 0;
    }

    /// Notes one line, given without its line end.
    pub(super) fn note(&self, way: Way, line: &[u8]) {
        let ring = &mut *self.ring.borrow_mut();
        let head = &line[..line.len().min(WIDTH)];
        let length = line.len();
        if ring.entries.len() < ring.capacity {
            ring.entries.push(Entry { way, head: head.to_vec(), length });
        } else if let Some(entry) = ring.entries.get_mut(ring.next) {
            entry.way = way;
            entry.head.clear();
            entry.head.extend_from_slice(head);
            entry.length = length;
            ring.next = (ring.next + 1) % ring.capacity;
        }
    }
}

impl Default for Transcript {
    fn default() -> Self {
        Self::new(Self::DEFAULT_CAPACITY)
    }
}

impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ring = self.ring.borrow();
        let (newer, older) = ring.entries.split_at(ring.next);
        for entry in older.iter().chain(newer) {
            writeln!(f, "{} {}", entry.way.mark(), show_head(&entry.head, entry.length))?;
        }
        Ok(())
    }
}

/// A line of unknown contents as text: escaped where it is not printable, shortened if long.
pub(super) fn show(line: &[u8]) -> String {
    show_head(&line[..line.len().min(WIDTH)], line.len())
}

fn show_head(head: &[u8], length: usize) -> String {
    let mut text = String::with_capacity(head.len());
    for chunk in head.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    if length > head.len() {
        text.push_str(&format!("… ({length} bytes)"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Catches a ring that shows its lines in the wrong order, or one too many or too few.
    #[test]
    fn keeps_the_last_lines_in_order() {
        let transcript = Transcript::new(3);
        assert_eq!(transcript.to_string(), "");
        transcript.note(Way::QtestSent, b"one");
        transcript.note(Way::QtestReceived, b"OK");
        assert_eq!(transcript.to_string(), "qtest> one\nqtest< OK\n");
        transcript.note(Way::QmpSent, b"{}");
        transcript.note(Way::QmpReceived, b"{\"a\": 'b'}");
        transcript.note(Way::QtestSent, b"two");
        assert_eq!(transcript.to_string(), "qmp> {}\nqmp< {\"a\": 'b'}\nqtest> two\n");
        transcript.clear();
        transcript.note(Way::QtestSent, b"three");
        assert_eq!(transcript.to_string(), "qtest> three\n");
    }

    /// Catches garbage that reaches a terminal unescaped, and long lines shown whole.
    #[test]
    fn garbage_is_escaped_and_long_lines_are_shortened() {
        assert_eq!(show(b"a\x1b[2J\xff\xfe \xc3\xa9"), "a\\u{1b}[2J\\xff\\xfe é");
        let long = show(&[b'x'; 1000]);
        assert_eq!(long, format!("{}… (1000 bytes)", "x".repeat(WIDTH)));
    }

    /// Catches a division by zero where nothing is to be kept.
    #[test]
    fn keeping_nothing_is_allowed() {
        let transcript = Transcript::new(0);
        transcript.note(Way::QtestSent, b"one");
        assert_eq!(transcript.to_string(), "");
    }
}
