//! What a guest writes to its console, read as it comes: the beginning and the end are kept, and
//! every line is handed on. However much a guest writes, little memory is used.

use std::collections::VecDeque;

use memchr::memchr;

use super::parts::Parts;

/// Bytes kept of either end of the log.
const KEPT: usize = 32 * 1024;
/// The longest line that is looked at, in bytes; of a longer one the beginning is.
const MOST_LINE: usize = 4096;
/// Bytes in which a line of the console is looked for that says how the guest fared.
const MOST_MARKS: usize = 16;

/// A guest's log, and the results in it.
#[derive(Debug, Clone, Default)]
pub struct Log {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    total: u64,
    line: Vec<u8>,
    lines: u64,
    /// The results that its lines tell of.
    pub parts: Parts,
    /// Texts that are looked for in its lines, each with the number of the first line that has
    /// it.
    marks: Vec<(String, Option<u64>)>,
}

impl Log {
    /// An empty log, in whose lines these texts are looked for.
    pub fn new(marks: impl IntoIterator<Item = String>) -> Self {
        let marks = marks.into_iter().take(MOST_MARKS).map(|text| (text, None)).collect();
        Self { marks, ..Self::default() }
    }

    /// Takes in what the guest wrote.
    pub fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = KEPT - self.head.len().min(KEPT);
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(first);
        let rest = &rest[rest.len().saturating_sub(KEPT)..];
        self.tail.extend(rest);
        let excess = self.tail.len().saturating_sub(KEPT);
        self.tail.drain(..excess);
        let mut left = bytes;
        while let Some(end) = memchr(b'\n', left) {
            self.add_to_line(&left[..end]);
            self.end_line();
            left = &left[end + 1..];
        }
        self.add_to_line(left);
    }

    fn add_to_line(&mut self, bytes: &[u8]) {
        let room = MOST_LINE - self.line.len().min(MOST_LINE);
        self.line.extend_from_slice(&bytes[..room.min(bytes.len())]);
    }

    fn end_line(&mut self) {
        self.lines += 1;
        let line = String::from_utf8_lossy(&self.line);
        let line = line.trim_end_matches('\r').trim_start_matches('\r');
        self.parts.line(line, self.lines);
        for (text, seen) in &mut self.marks {
            if seen.is_none() && line.contains(text.as_str()) {
                *seen = Some(self.lines);
            }
        }
        self.line.clear();
    }

    /// Notes that nothing more comes: an unfinished last line is one, too.
    pub fn finish(&mut self) {
        if !self.line.is_empty() {
            self.end_line();
        }
    }

    /// The number of the first line that has this text, if one has and the text was looked for.
    pub fn first_with(&self, text: &str) -> Option<u64> {
        self.marks.iter().find(|(mark, _)| mark == text).and_then(|(_, seen)| *seen)
    }

    /// How many bytes the guest wrote.
    pub fn length(&self) -> u64 {
        self.total
    }

    /// The beginning and the end, as text.
    pub fn text(&self) -> String {
        let mut bytes = self.head.clone();
        let left_out = self.total - (self.head.len() + self.tail.len()) as u64;
        if left_out > 0 {
            bytes.extend(format!("\n[{left_out} bytes left out]\n").bytes());
        }
        bytes.extend(&self.tail);
        String::from_utf8_lossy(&bytes).replace('\r', "")
    }

    /// The last lines that are not empty, `count` at the most.
    pub fn last_lines(&self, count: usize) -> Vec<String> {
        let text = self.text();
        let mut lines: Vec<&str> = text.lines().rev().filter(|it| !it.trim().is_empty()).collect();
        lines.truncate(count);
        lines.into_iter().rev().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guests::PartKind;

    /// Would catch a line that is lost between two reads, and one that ends in CRLF taken for
    /// another text.
    #[test]
    fn lines_are_put_together() {
        let mut log = Log::new(["READY".to_owned()]);
        for piece in ["PA", "SS: a\r", "\nREADY", " now\nFAIL: b"] {
            log.push(piece.as_bytes());
        }
        assert_eq!(log.parts.total(), 1);
        log.finish();
        assert_eq!(log.parts.kept()[0].text, "a");
        assert_eq!((log.parts.count(PartKind::Fail), log.parts.kept()[1].line), (1, 3));
        assert_eq!((log.first_with("READY"), log.first_with("other")), (Some(2), None));
        assert_eq!(log.last_lines(2), ["READY now", "FAIL: b"]);
    }

    /// Would catch a log of gigabytes that fills the memory, one line of gigabytes that does,
    /// and bytes that are no text.
    #[test]
    fn any_log_takes_little_memory() {
        let mut log = Log::default();
        let block = vec![0xff; 1 << 20];
        (0..64).for_each(|_| log.push(&block));
        log.push(b"\nPASS: after all\n");
        assert_eq!(log.length(), (64 << 20) + 17);
        assert!(log.head.len() + log.tail.capacity() + log.line.capacity() < 4 * KEPT);
        assert!(log.text().contains("bytes left out]"));
        assert_eq!((log.parts.total(), log.parts.kept()[0].line), (1, 2));
    }
}
