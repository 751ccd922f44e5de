//! Bytes to lines: a buffer that keeps half lines, finds line ends without looking at a byte
//! twice, and refuses endless lines. Pure: no input or output and no clock, so that it can be
//! tested (and fuzzed) on slices of bytes.

use std::ops::Range;

/// The longest line, in bytes without its end, that is taken from QEMU.
pub const LINE_LIMIT: usize = 16 << 20;

/// The least room that is offered for one receive, and what an idle buffer holds.
const ROOM: usize = 64 << 10;

/// An idle buffer larger than this is given back to the system.
const KEEP: usize = 4 << 20;

/// A line was longer than the limit; what is left of it will be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// Received bytes, and where in them the lines are.
///
/// Fill it through [`room`](Self::room) and [`filled`](Self::filled) (or [`push`](Self::push)),
/// then call [`next_line`](Self::next_line) until it gives nothing more.
pub struct LineBuffer {
    /// Zeroed up to its length, so that a receive may write anywhere behind `end`.
    bytes: Vec<u8>,
    /// Where the first line that is not yet taken starts.
    start: usize,
    /// Up to here no line end was found.
    scanned: usize,
    /// Where the received bytes end.
    end: usize,
    limit: usize,
    /// Dropping the rest of a line that was too long.
    skipping: bool,
}

impl LineBuffer {
    /// An empty buffer that takes lines of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, scanned: 0, end: 0, limit, skipping: false }
    }

    /// The longest line it takes, in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Room for the next bytes. Ranges given before by [`next_line`](Self::next_line) are
    /// void afterwards.
    pub fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.scanned, self.end) = (0, 0, 0);
            if self.bytes.len() > KEEP {
                self.bytes = Vec::new();
            }
        }
        if self.bytes.len() - self.end < ROOM && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.scanned -= self.start;
            self.start = 0;
        }
        if self.bytes.len() - self.end < ROOM {
            // Doubling keeps the copying linear; the cap keeps the memory near the limit.
            let doubled = (2 * self.bytes.len()).min(self.limit.saturating_add(2 * ROOM));
            let size = doubled.max(self.end + ROOM);
            self.bytes.reserve_exact(size - self.bytes.len());
            self.bytes.resize(size, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Says that `count` bytes were written to the start of [`room`](Self::room).
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// Appends `bytes`.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.room();
            let count = bytes.len().min(room.len());
            room[..count].copy_from_slice(&bytes[..count]);
            self.filled(count);
            bytes = &bytes[count..];
        }
    }

    /// The next whole line, without its end (LF or CR LF), as a range for
    /// [`line`](Self::line); `None` if it has not come yet.
    ///
    /// # Errors
    /// [`TooLong`], once for every line longer than the limit; the lines after it are whole.
    pub fn next_line(&mut self) -> Result<Option<Range<usize>>, TooLong> {
        loop {
            let Some(found) = memchr::memchr(b'\n', &self.bytes[self.scanned..self.end]) else {
                self.scanned = self.end;
                let too_long = !self.skipping && self.end - self.start > self.limit;
                if too_long || self.skipping {
                    self.skipping = true;
                    self.start = self.end;
                }
                return if too_long { Err(TooLong) } else { Ok(None) };
            };
            let line = self.start..self.scanned + found;
            self.start = line.end + 1;
            self.scanned = self.start;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            if line.len() > self.limit {
                return Err(TooLong);
            }
            let cr = self.bytes[line.clone()].ends_with(b"\r");
            return Ok(Some(line.start..line.end - usize::from(cr)));
        }
    }

    /// The line at a range that [`next_line`](Self::next_line) just gave.
    pub fn line(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// How many bytes of memory it holds.
    #[cfg(any(test, fuzzing))]
    pub fn held(&self) -> usize {
        self.bytes.capacity()
    }

    /// What has come of a line whose end has not.
    pub fn partial(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Everything the buffer makes of `chunks`: lines, `None` where one was too long, and rest.
    fn split<'a>(
        limit: usize,
        chunks: impl IntoIterator<Item = &'a [u8]>,
    ) -> (Vec<Option<Vec<u8>>>, Vec<u8>) {
        let mut buffer = LineBuffer::new(limit);
        let mut lines = Vec::new();
        for chunk in chunks {
            buffer.push(chunk);
            loop {
                match buffer.next_line() {
                    Ok(Some(range)) => lines.push(Some(buffer.line(range).to_vec())),
                    Ok(None) => break,
                    Err(TooLong) => lines.push(None),
                }
            }
        }
        (lines, buffer.partial().to_vec())
    }

    /// Catches lost or doubled bytes at line ends, and CR taken off in the wrong place.
    #[test]
    fn finds_lines() {
        let (lines, rest) = split(100, [&b"one\ntwo\r\n\n\rthr"[..], b"ee\r", b"\nfour"]);
        let expected = ["one", "two", "", "\rthree"].map(|line| Some(line.as_bytes().to_vec()));
        assert_eq!(lines, expected);
        assert_eq!(rest, b"four");
    }

    /// Catches a limit that is off by one, and a long line whose rest is taken for a line.
    #[test]
    fn refuses_a_line_that_is_too_long_and_goes_on_behind_it() {
        let (lines, rest) = split(3, [&b"abc\nabcd\nef\nabcd"[..], b"efgh", b"i\nj\nk"]);
        let line = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(lines, [line("abc"), None, line("ef"), None, line("j")]);
        assert_eq!(rest, b"k");
    }

    /// Catches memory that grows with what an endless line sends.
    #[test]
    fn holds_no_more_than_the_limit_of_an_endless_line() {
        let mut buffer = LineBuffer::new(1 << 20);
        let mut refusals = 0;
        for _ in 0..2000 {
            buffer.push(&[b'x'; 50_000]);
            refusals += usize::from(buffer.next_line().is_err());
            assert!(buffer.held() <= (1 << 20) + 2 * ROOM);
        }
        assert_eq!(refusals, 1);
        buffer.push(b"\nOK\n");
        let line = buffer.next_line().unwrap().unwrap();
        assert_eq!(buffer.line(line), b"OK");
    }

    proptest! {
        /// Catches any dependence on how the bytes were cut into chunks.
        #[test]
        fn chunks_make_no_difference(
            text in proptest::collection::vec(
                prop_oneof![3 => Just(b'\n'), 1 => Just(b'\r'), 8 => any::<u8>()], 0..400),
            cuts in proptest::collection::vec(0..400usize, 0..20),
            limit in 0..30usize,
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.push(0);
            cuts.push(text.len());
            cuts.sort_unstable();
            let whole = split(limit, [&text[..]]);
            let chunks = split(limit, cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]));
            prop_assert_eq!(&whole.0, &chunks.0);
            prop_assert_eq!(&whole.1, &chunks.1);

            // And what it must be, said the slow way.
            let mut parts: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
            parts.pop();
            let expected: Vec<_> = parts.iter().map(|line| {
                (line.len() <= limit).then(|| line.strip_suffix(b"\r").unwrap_or(line).to_vec())
            }).collect();
            let complete = &whole.0[..expected.len()];
            prop_assert_eq!(complete, &expected[..]);
        }
    }
}
