//! What a script is made of: words and their pieces, commands, pipelines, here-documents.

/// A piece of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Text that stands for itself; whether it was quoted.
    Text(String, bool),
    /// `$NAME`, `${NAME:-default}`; whether it was quoted.
    Variable(String, Option<String>, bool),
    /// `$((…))`.
    Sum(String),
    /// `$(…)`.
    Output(List),
}

pub(super) type Word = Vec<Part>;

/// Where a command reads from or writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Redirect {
    /// `< FILE`
    From(Word),
    /// `> FILE`
    To(Word),
    /// A here-document, by its number.
    Here(usize),
    /// Another file descriptor than the first two.
    Other,
}

/// The text of a here-document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Heredoc {
    pub lines: Vec<String>,
    /// Whether variables in it are replaced.
    pub expands: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Simple {
        assignments: Vec<(String, Word)>,
        words: Vec<Word>,
        redirects: Vec<Redirect>,
    },
    Group {
        list: List,
        redirects: Vec<Redirect>,
    },
    /// Repeated without end.
    Forever {
        list: List,
        redirects: Vec<Redirect>,
    },
    /// `for NAME in WORDS`
    For {
        name: String,
        words: Vec<Word>,
        list: List,
        redirects: Vec<Redirect>,
    },
}

/// Commands whose output is the input of the next.
pub(super) type Pipeline = Vec<Command>;
/// Pipelines one after the other.
pub(super) type List = Vec<Pipeline>;

/// A complete command: all up to the line end that ends it.
#[derive(Debug, Default)]
pub(super) struct Complete {
    pub list: List,
    pub heredocs: Vec<Heredoc>,
    /// The row after it.
    pub next: usize,
}

/// The text of a part that stands for itself.
pub(super) fn plain(part: &Part) -> String {
    match part {
        Part::Text(text, _) => text.clone(),
        Part::Variable(name, ..) => format!("${name}"),
        Part::Sum(_) | Part::Output(_) => String::new(),
    }
}

/// A text with the escapes of `echo -e`, `printf` and `$'…'` replaced.
pub(super) fn escapes(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => plain.push('\n'),
            Some('t') => plain.push('\t'),
            Some('r') => plain.push('\r'),
            Some('x') => {
                let mut value = 0;
                for _ in 0..2 {
                    let Some(digit) = chars.peek().and_then(|c| c.to_digit(16)) else { break };
                    value = value * 16 + digit;
                    chars.next();
                }
                plain.extend(char::from_u32(value));
            }
            Some(digit @ '0'..='7') => {
                let mut value = digit.to_digit(8).unwrap_or(0);
                for _ in 0..3 {
                    let Some(digit) = chars.peek().and_then(|c| c.to_digit(8)) else { break };
                    value = value * 8 + digit;
                    chars.next();
                }
                plain.extend(char::from_u32(value));
            }
            Some(other) if "\\\"'".contains(other) => plain.push(other),
            Some(other) => plain.extend(['\\', other]),
            None => plain.push('\\'),
        }
    }
    plain
}
