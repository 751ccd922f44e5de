//! Reading a journal, whatever state it is in: a line that is no outcome is told with its
//! number, and the next is read. What the outcomes mean together is for others.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::header::Header;
use crate::files::bounded;
use crate::harness::outcome::Outcome;

/// The longest line, in bytes. That of an outcome has a megabyte at most for each attempt.
const MOST_LINE: u64 = 64 << 20;
/// From how many damaged lines on it is taken for something else than a journal.
const MOST_DAMAGED: usize = 1000;

/// A journal that is being read: an iterator over its outcomes.
#[derive(Debug)]
pub struct Reader<R = BufReader<File>> {
    file: PathBuf,
    lines: R,
    /// Of the line that was read last, counted from 1.
    number: usize,
    /// How many were no outcomes.
    damages: usize,
    over: bool,
    headers: Vec<Header>,
}

/// A line that is no outcome.
#[derive(Debug, thiserror::Error)]
#[error("{}:{line}: {why}", file.display())]
pub struct Damaged {
    /// The journal.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub why: String,
    /// Whether it is a last line without an end, as whoever is killed while writing leaves
    /// behind.
    pub cut: bool,
}

impl Reader {
    /// Opens the journal `file`.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(file: &Path) -> io::Result<Self> {
        Ok(Self::new(file, BufReader::new(File::open(file)?)))
    }
}

impl<R: BufRead> Reader<R> {
    /// Reads `lines` as the journal `file`.
    pub fn new(file: &Path, lines: R) -> Self {
        Self {
            file: file.to_owned(),
            lines,
            number: 0,
            damages: 0,
            over: false,
            headers: Vec::new(),
        }
    }

    /// What the lines that were read so far say of what the run was to do. The first one
    /// counts; there are more where files were put together.
    pub fn headers(&self) -> &[Header] {
        &self.headers
    }

    fn damaged(&self, why: String, cut: bool) -> Damaged {
        Damaged { file: self.file.clone(), line: self.number, why, cut }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Outcome, Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        while !self.over {
            self.number += 1;
            match bounded::read_line(&mut self.lines, &mut line, MOST_LINE) {
                Ok(0) => self.over = true,
                Ok(_) if line.trim_ascii().is_empty() => {}
                Ok(_) => {
                    let cut = line.last() != Some(&b'\n');
                    if Header::is_meant(&line) {
                        match Header::parse(&line) {
                            Ok(header) => self.headers.push(header),
                            Err(e) => {
                                let why =
                                    format!("the first line is damaged: {}", without_place(&e));
                                return Some(Err(self.damaged(why, cut)));
                            }
                        }
                        continue;
                    }
                    return Some(serde_json::from_slice(&line).map_err(|e| {
                        let what = if cut { "is cut off" } else { "is no outcome" };
                        let mut why = format!("the line {what}: {}", without_place(&e));
                        self.damages += 1;
                        if self.damages == MOST_DAMAGED {
                            self.over = true;
                            why.push_str("; so many lines are none that no more are read");
                        }
                        self.damaged(why, cut)
                    }));
                }
                Err(e) => {
                    self.over = true;
                    return Some(Err(self.damaged(format!("cannot be read: {e}"), false)));
                }
            }
        }
        None
    }
}

/// What is wrong, without the place, which counts lines of its own.
fn without_place(e: &serde_json::Error) -> String {
    let text = e.to_string();
    match text.rsplit_once(" at line ") {
        Some((what, place)) => match place.split_once(" column ") {
            Some((_, column)) => format!("{what}, column {column}"),
            None => what.to_owned(),
        },
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = r#"{"name":"/a","outcome":"passed","seconds":1.5,"emulator":"q"}"#;

    fn read(text: &[u8]) -> Vec<Result<Outcome, Damaged>> {
        Reader::new(Path::new("j"), text).collect()
    }

    /// Would catch a damaged line that ends the journal, passes for an outcome, or is told
    /// with the wrong number.
    #[test]
    fn what_is_damaged_is_told_and_the_rest_read() {
        let text = format!("{GOOD}\nnonsense\n\n[1]\n{{\"name\":\"/a\"}}\n\u{ff}\n{GOOD}\n{GOOD}");
        let read = read(text.as_bytes());
        let said: Vec<String> = read
            .iter()
            .map(|it| it.as_ref().map_or_else(Damaged::to_string, |outcome| outcome.name.clone()))
            .collect();
        assert_eq!(said[0], "/a");
        assert_eq!(said[1], "j:2: the line is no outcome: expected ident, column 2");
        assert!(said[2].starts_with("j:4: the line is no outcome: "), "{said:?}");
        assert!(said[3].starts_with("j:5: the line is no outcome: "), "{said:?}");
        assert!(said[4].starts_with("j:6: "), "{said:?}");
        assert_eq!(said[5..], ["/a", "/a"]);
    }

    /// Would catch a file without end, or with a line without end, that is read for ever, and
    /// numbers that stop the program when they are added up.
    #[test]
    fn what_is_no_journal_comes_to_an_end() {
        let endless = BufReader::new(std::io::Read::chain(GOOD.as_bytes(), std::io::repeat(b'x')));
        let read: Vec<_> = Reader::new(Path::new("j"), endless).collect();
        let [Err(damaged)] = &read[..] else { panic!("{} lines", read.len()) };
        assert!(damaged.to_string().contains("it has more than 64 MiB"), "{damaged}");

        let lines = "{}\n".repeat(2 * MOST_DAMAGED);
        let read = self::read(lines.as_bytes());
        assert_eq!(read.len(), MOST_DAMAGED);
        let last = read.last().and_then(|last| last.as_ref().err()).unwrap().to_string();
        assert!(last.contains("no more are read"), "{last}");

        let deep = format!("{GOOD}\n{}\n{GOOD}\n", "[".repeat(100_000));
        assert_eq!(self::read(deep.as_bytes()).len(), 3);
        for seconds in ["1e19", "1e300", "-1", "1e999", "4e8"] {
            let line = GOOD.replace("1.5", seconds);
            assert!(self::read(line.as_bytes())[0].is_err(), "{seconds}");
        }
    }

    proptest! {
        /// Would catch a journal that cannot be read after whoever wrote it was killed.
        #[test]
        fn a_cut_journal_keeps_the_lines_before(cut in 0..=2 * (GOOD.len() + 1)) {
            let text = format!("{GOOD}\n{GOOD}\n");
            let read = read(&text.as_bytes()[..cut]);
            let whole = read.iter().filter(|it| it.is_ok()).count();
            prop_assert_eq!(whole, (cut + 1) / (GOOD.len() + 1));
            let damaged: Vec<&Damaged> = read.iter().filter_map(|it| it.as_ref().err()).collect();
            let inside = ![0, GOOD.len()].contains(&(cut % (GOOD.len() + 1)));
            prop_assert_eq!(damaged.len(), usize::from(inside), "{:?}", damaged);
            prop_assert!(damaged.iter().all(|it| it.cut && it.line == whole + 1));
        }

        /// Would catch a panic, or a loop without end, on what is no journal at all.
        #[test]
        fn anything_can_be_read(bytes: Vec<u8>) {
            prop_assert!(read(&bytes).len() <= bytes.len());
        }
    }
}
