//! Text of others, made fit to be printed. What an emulator, a test or a file says may hold
//! escape sequences that drive a terminal, line ends that begin lines of their own, and words
//! that a CI system takes for commands. Every text that is not the program's own goes through
//! [`shown`] or [`shown_lines`] before it is printed; JSON goes through [`json`].

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// Whether a character does something else than being seen: it controls a terminal, ends a
/// line, turns the direction of writing, or is forbidden in XML.
fn is_unfit(c: char) -> bool {
    match c {
        '\t' => false,
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => true,
        c => c.is_control(),
    }
}

/// What begins a command anywhere in a line of a log: GitHub's old way, Azure's, TeamCity's.
const COMMANDS: [&str; 3] = ["##[", "##vso[", "##teamcity["];

/// `line`, fit for a terminal, for the log of a CI job and for XML. Unfit characters, line
/// ends among them, become U+FFFD; a mark by which a CI system knows a command is broken by a
/// blank.
pub(crate) fn shown(line: &str) -> String {
    // Names of paths, of which there are many.
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'#';
    if line.as_bytes().iter().all(is_plain) && !line.trim_start().starts_with("::") {
        return line.to_owned();
    }
    let fit = |c: char| if is_unfit(c) { '\u{fffd}' } else { c };
    let mut text: String = line.chars().map(fit).collect();
    for command in COMMANDS {
        if text.contains(command) {
            text = text.replace(command, &command.replacen("##", "## ", 1));
        }
    }
    // GitHub's runner trims a line before it looks for `::name`.
    let start = text.len() - text.trim_start().len();
    if text[start..].starts_with("::") {
        text.insert(start + 1, ' ');
    }
    text
}

/// The lines of `text`, each as [`shown`] makes it.
pub(crate) fn shown_lines(text: &str) -> String {
    text.split('\n').map(|line| shown(line.trim_end_matches('\r'))).collect::<Vec<_>>().join("\n")
}

/// `value` as one line of JSON that holds nothing unfit: such characters are escaped, which
/// changes no meaning.
///
/// # Errors
/// Returns the error of `value`'s own serialization.
pub(crate) fn json(value: &impl Serialize) -> io::Result<String> {
    let mut line = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut line, Escaped))?;
    String::from_utf8(line).map_err(io::Error::other)
}

/// Compact JSON with more escapes than are needed.
struct Escaped;

impl Formatter for Escaped {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut before = ' ';
        for c in fragment.chars() {
            if is_unfit(c) || c == '#' && before == '#' {
                // All of them are in the Basic Multilingual Plane.
                write!(writer, "\\u{:04x}", u32::from(c))?;
            } else {
                write!(writer, "{c}")?;
            }
            before = c;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Would catch an escape sequence, a line end or a command of a CI system that survives.
    #[test]
    fn nothing_acts() {
        let fit = |text: &str| shown(text);
        assert_eq!(
            fit("a\u{1b}[31m\r\nb\u{9b}c\u{202e}"),
            "a\u{fffd}[31m\u{fffd}\u{fffd}b\u{fffd}c\u{fffd}"
        );
        assert_eq!(fit("\t ::error::x"), "\t : :error::x");
        assert_eq!(fit("std::string ::x"), "std::string ::x");
        assert_eq!(fit("x ##[error]y ##vso[z ##teamcity["), "x ## [error]y ## vso[z ## teamcity[");
        assert_eq!(shown_lines("a\r\n::b\n\n"), "a\n: :b\n\n");
    }

    proptest! {
        /// Would catch JSON that means something else, or that drives a terminal.
        #[test]
        fn json_means_the_same(text in "([\u{1b}\u{9b}\u{7f}\u{202e}#\n\"\\\\]|\\PC|##\\[){0,40}") {
            let line = json(&[&text]).unwrap();
            let read: Vec<String> = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(&read, &[text]);
            prop_assert!(!line.contains(is_unfit) && !line.contains("##"), "{}", line);
        }

        /// Would catch a text that is changed again each time it is shown.
        #[test]
        fn what_is_shown_stays(text in "(\u{1b}|::|##\\[|##vso\\[|[ :#\n]|\\PC){0,40}") {
            let once = shown_lines(&text);
            prop_assert_eq!(shown_lines(&once), once.clone());
            for line in once.lines() {
                prop_assert!(!line.trim_start().starts_with("::") && !line.contains("##["));
            }
        }
    }
}
