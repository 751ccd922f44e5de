//! The grammar of the shell, as far as reproducers use it: words and quotes, pipelines,
//! here-documents, groups, loops. What is read here is made to say what it stands for in
//! `evaluate`; nothing is ever run.

use super::super::allowed::option;
use super::super::request;
use super::super::text::Line;

/// How deep groups may stand in each other.
const DEEPEST: usize = 12;
/// How many lines a quoted text may span. More is prose with an apostrophe.
const LONGEST_QUOTE: usize = 60;

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

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(Word),
    /// `|`, `;`, `&`, `(`, `)`.
    Op(char),
    Redirect(Redirect),
    Newline,
    End,
}

/// Reads the complete command that begins in row `row`, at byte `column`.
///
/// # Errors
/// What is wrong with it, for a person.
pub(super) fn parse(lines: &[Line], row: usize, column: usize) -> Result<Complete, String> {
    let chars = lines.get(row).map_or(Vec::new(), |line| line.text[column..].chars().collect());
    let mut parser = Parser {
        lines,
        row,
        chars,
        at: 0,
        pending: Vec::new(),
        heredocs: Vec::new(),
        peeked: None,
        depth: 0,
    };
    let list = parser.list(&[])?;
    Ok(Complete { list, heredocs: parser.heredocs, next: parser.row })
}

struct Parser<'a> {
    lines: &'a [Line],
    row: usize,
    chars: Vec<char>,
    at: usize,
    /// Here-documents whose text begins at the next line end: number, last line, and
    /// whether tabs before it are cut.
    pending: Vec<(usize, String)>,
    heredocs: Vec<Heredoc>,
    peeked: Option<Token>,
    depth: usize,
}

impl Parser<'_> {
    fn here(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn after(&self, count: usize) -> Option<char> {
        self.chars.get(self.at + count).copied()
    }

    /// Goes to the next row; `false` if there is none.
    fn next_row(&mut self) -> bool {
        self.row += 1;
        self.at = 0;
        let line = self.lines.get(self.row);
        self.chars = line.map_or(Vec::new(), |line| line.text.chars().collect());
        line.is_some()
    }

    /// Goes to the next row that is not empty: the line goes on there.
    fn continue_line(&mut self) -> bool {
        while self.next_row() {
            if self.chars.iter().any(|c| !c.is_whitespace()) {
                return true;
            }
        }
        false
    }

    /// Whether the row begins with an option of QEMU.
    fn option_begins(&self) -> bool {
        let row: String = self.chars.iter().take(40).collect();
        let word = row.split_whitespace().next().unwrap_or_default();
        !row.starts_with(char::is_whitespace)
            && word.strip_prefix('-').is_some_and(|name| option(name).is_some())
    }

    fn peek(&mut self) -> Result<&Token, String> {
        if self.peeked.is_none() {
            let token = self.token()?;
            self.peeked = Some(token);
        }
        self.peeked.as_ref().ok_or_else(String::new)
    }

    fn take(&mut self) -> Result<Token, String> {
        match self.peeked.take() {
            Some(token) => Ok(token),
            None => self.token(),
        }
    }

    /// The bare word that comes next, if one does.
    fn keyword(&mut self) -> Result<Option<String>, String> {
        Ok(match self.peek()? {
            Token::Word(word) => match &word[..] {
                [Part::Text(text, false)] => Some(text.clone()),
                _ => None,
            },
            _ => None,
        })
    }

    /// Pipelines up to one of the words `ends`, a closing parenthesis, or, outside of
    /// groups, the end of the line.
    fn list(&mut self, ends: &[&str]) -> Result<List, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("groups stand in each other too deep".to_owned());
        }
        let mut list = List::new();
        loop {
            match self.peek()? {
                Token::End => break,
                Token::Newline => {
                    self.take()?;
                    if self.depth == 1 {
                        break;
                    }
                    continue;
                }
                Token::Op(')') => break,
                Token::Op(';' | '&') => {
                    self.take()?;
                    continue;
                }
                _ => {}
            }
            if self.keyword()?.is_some_and(|word| ends.contains(&&*word)) {
                break;
            }
            list.push(self.pipeline()?);
        }
        self.depth -= 1;
        Ok(list)
    }

    fn pipeline(&mut self) -> Result<Pipeline, String> {
        let mut pipeline = vec![self.command()?];
        while *self.peek()? == Token::Op('|') {
            self.take()?;
            if *self.peek()? == Token::Op('|') {
                // `||`: another command, as far as is known here.
                self.take()?;
                break;
            }
            while *self.peek()? == Token::Newline {
                self.take()?;
            }
            pipeline.push(self.command()?);
        }
        Ok(pipeline)
    }

    fn command(&mut self) -> Result<Command, String> {
        match self.keyword()?.as_deref() {
            Some("{") => {
                self.take()?;
                let list = self.list(&["}"])?;
                self.expect("}")?;
                return Ok(Command::Group { list, redirects: self.redirects()? });
            }
            Some("while" | "until") => {
                self.take()?;
                self.list(&["do"])?;
                let list = self.body()?;
                return Ok(Command::Forever { list, redirects: self.redirects()? });
            }
            Some("for") => {
                self.take()?;
                let name = self.keyword()?.ok_or("a loop without a name")?;
                self.take()?;
                self.expect("in")?;
                let mut words = Vec::new();
                while let Token::Word(_) = self.peek()? {
                    if let Token::Word(word) = self.take()? {
                        words.push(word);
                    }
                }
                self.list(&["do"])?;
                let list = self.body()?;
                let redirects = self.redirects()?;
                return Ok(Command::For { name, words, list, redirects });
            }
            Some("if" | "case" | "function" | "select") => {
                return Err("conditions and functions of a shell are not read".to_owned());
            }
            _ => {}
        }
        if *self.peek()? == Token::Op('(') {
            self.take()?;
            let list = self.list(&[])?;
            if self.take()? != Token::Op(')') {
                return Err("a `(` without its `)`".to_owned());
            }
            return Ok(Command::Group { list, redirects: self.redirects()? });
        }
        self.simple()
    }

    fn body(&mut self) -> Result<List, String> {
        self.expect("do")?;
        let list = self.list(&["done"])?;
        self.expect("done")?;
        Ok(list)
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        if self.keyword()?.as_deref() == Some(word) {
            self.take()?;
            return Ok(());
        }
        Err(format!("`{word}` is missing"))
    }

    fn redirects(&mut self) -> Result<Vec<Redirect>, String> {
        let mut redirects = Vec::new();
        while let Token::Redirect(_) = self.peek()? {
            if let Token::Redirect(redirect) = self.take()? {
                redirects.push(redirect);
            }
        }
        Ok(redirects)
    }

    fn simple(&mut self) -> Result<Command, String> {
        let (mut assignments, mut words, mut redirects) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            match self.peek()? {
                Token::Word(_) => {
                    let Token::Word(word) = self.take()? else { continue };
                    match assignment(&word).filter(|_| words.is_empty()) {
                        Some(assignment) => assignments.push(assignment),
                        None => words.push(word),
                    }
                }
                Token::Redirect(_) => redirects.extend(self.redirects()?),
                _ => break,
            }
        }
        if assignments.is_empty() && words.is_empty() && redirects.is_empty() {
            let token = self.take()?;
            return Err(match token {
                Token::Op(c) => format!("a `{c}` where a command belongs"),
                _ => "a command is missing".to_owned(),
            });
        }
        Ok(Command::Simple { assignments, words, redirects })
    }

    fn token(&mut self) -> Result<Token, String> {
        loop {
            let Some(c) = self.here() else {
                if self.row >= self.lines.len() {
                    return Ok(Token::End);
                }
                self.next_row();
                self.read_heredocs();
                return Ok(Token::Newline);
            };
            match c {
                '\\' if self.at + 1 == self.chars.len() => {
                    if !self.continue_line() {
                        return Ok(Token::End);
                    }
                }
                '#' => self.at = self.chars.len(),
                _ if c.is_whitespace() => self.at += 1,
                '|' | ';' | '(' | ')' => {
                    self.at += 1;
                    return Ok(Token::Op(c));
                }
                '&' if self.after(1) == Some('>') => self.at += 1,
                '&' => {
                    self.at += 1;
                    return Ok(Token::Op(c));
                }
                '<' | '>' => return self.redirect(0),
                _ if c.is_ascii_digit() => {
                    let digits =
                        self.chars[self.at..].iter().take_while(|c| c.is_ascii_digit()).count();
                    if matches!(self.after(digits), Some('<' | '>')) {
                        let number = c.to_digit(10).unwrap_or(9) as usize;
                        let number = if digits == 1 { number } else { 9 };
                        self.at += digits;
                        return self.redirect(number.max(2) * usize::from(number > 1));
                    }
                    return Ok(Token::Word(self.word()?));
                }
                _ => return Ok(Token::Word(self.word()?)),
            }
        }
    }

    /// A redirection of the file descriptor `number`: 0 stands for the usual one.
    fn redirect(&mut self, number: usize) -> Result<Token, String> {
        let input = self.here() == Some('<');
        self.at += 1;
        if input && self.here() == Some('<') && self.after(1) == Some('<') {
            // `<<< WORD`: the word is the text.
            self.at += 2;
            let Token::Word(word) = self.token()? else { return Err("`<<<` of nothing".into()) };
            let text = word.iter().map(plain).collect::<String>();
            self.heredocs
                .push(Heredoc { lines: text.lines().map(str::to_owned).collect(), expands: false });
            return Ok(Token::Redirect(Redirect::Here(self.heredocs.len() - 1)));
        }
        if input && self.here() == Some('<') {
            self.at += 1;
            if self.here() == Some('-') {
                self.at += 1;
            }
            let Token::Word(word) = self.token()? else {
                return Err("`<<` without the word that ends the text".to_owned());
            };
            return Ok(Token::Redirect(self.heredoc(&word)));
        }
        if matches!(self.here(), Some('>' | '|')) {
            self.at += 1;
        }
        let duplicates = self.here() == Some('&');
        if duplicates {
            self.at += 1;
        }
        let Token::Word(word) = self.token()? else {
            return Err("a redirection without a file".to_owned());
        };
        if number > 0 || duplicates {
            return Ok(Token::Redirect(Redirect::Other));
        }
        // `< EOF`, meant as `<< EOF`.
        let next = self.lines.get(self.row + 1);
        let meant = input
            && matches!(&word[..], [Part::Text(text, _)] if text.starts_with("EO"))
            && next.is_some_and(|line| request::is_request(&line.text));
        if meant {
            return Ok(Token::Redirect(self.heredoc(&word)));
        }
        Ok(Token::Redirect(if input { Redirect::From(word) } else { Redirect::To(word) }))
    }

    /// A here-document that ends with `word`.
    fn heredoc(&mut self, word: &Word) -> Redirect {
        let expands = word.iter().all(|part| matches!(part, Part::Text(_, false)));
        self.heredocs.push(Heredoc { lines: Vec::new(), expands });
        let number = self.heredocs.len() - 1;
        self.pending.push((number, word.iter().map(plain).collect()));
        Redirect::Here(number)
    }

    /// Reads the texts that begin in this row.
    fn read_heredocs(&mut self) {
        for (number, end) in std::mem::take(&mut self.pending) {
            let body = &self.lines[self.row.min(self.lines.len())..];
            let is_end = |line: &Line| line.text.trim().trim_matches('`') == end;
            let (length, ends) = match body.iter().position(is_end) {
                Some(length) => (length, 1),
                // The end was cut off: as far as there are requests.
                None => (body.iter().take_while(|line| is_body(&line.text)).count(), 0),
            };
            self.heredocs[number].lines =
                body[..length].iter().map(|line| line.text.clone()).collect();
            self.row += length + ends;
        }
        self.at = 0;
        self.chars =
            self.lines.get(self.row).map_or(Vec::new(), |line| line.text.chars().collect());
    }

    fn word(&mut self) -> Result<Word, String> {
        let mut word = Word::new();
        let mut text = String::new();
        let mut quoted_any = false;
        macro_rules! flush {
            () => {
                if !text.is_empty() {
                    word.push(Part::Text(std::mem::take(&mut text), quoted_any));
                }
            };
        }
        while let Some(c) = self.here() {
            match c {
                '\\' if self.at + 1 == self.chars.len() => {
                    // A blank before an option, lost as the text was shown somewhere.
                    if !self.continue_line() || self.option_begins() {
                        break;
                    }
                }
                '\\' => {
                    flush!();
                    quoted_any = true;
                    text.extend(self.after(1));
                    self.at += 2;
                    flush!();
                    quoted_any = false;
                }
                '\'' => {
                    flush!();
                    self.at += 1;
                    let inner = self.until_quote()?;
                    word.push(Part::Text(inner, true));
                }
                '"' => {
                    flush!();
                    self.at += 1;
                    self.double_quoted(&mut word)?;
                }
                '$' => {
                    flush!();
                    let part = self.dollar(false)?;
                    word.push(part);
                }
                _ if c.is_whitespace() || "|;&()<>".contains(c) => break,
                _ => {
                    text.push(c);
                    self.at += 1;
                }
            }
        }
        flush!();
        if word.is_empty() {
            word.push(Part::Text(String::new(), true));
        }
        Ok(word)
    }

    /// The text up to the next single quote.
    fn until_quote(&mut self) -> Result<String, String> {
        let mut text = String::new();
        for _ in 0..LONGEST_QUOTE {
            while let Some(c) = self.here() {
                self.at += 1;
                if c == '\'' {
                    return Ok(text);
                }
                text.push(c);
            }
            text.push('\n');
            if !self.next_row() {
                break;
            }
        }
        Err("a quote without its end".to_owned())
    }

    fn double_quoted(&mut self, word: &mut Word) -> Result<(), String> {
        let mut text = String::new();
        for _ in 0..LONGEST_QUOTE {
            while let Some(c) = self.here() {
                match c {
                    '"' => {
                        self.at += 1;
                        word.push(Part::Text(text, true));
                        return Ok(());
                    }
                    '\\' => match self.after(1) {
                        None => {
                            self.at += 1;
                            if !self.continue_line() {
                                return Err("a quote without its end".to_owned());
                            }
                        }
                        Some(next) => {
                            if !"$`\"\\".contains(next) {
                                text.push('\\');
                            }
                            text.push(next);
                            self.at += 2;
                        }
                    },
                    '$' => {
                        word.push(Part::Text(std::mem::take(&mut text), true));
                        let part = self.dollar(true)?;
                        word.push(part);
                    }
                    _ => {
                        text.push(c);
                        self.at += 1;
                    }
                }
            }
            text.push('\n');
            if !self.next_row() {
                break;
            }
        }
        Err("a quote without its end".to_owned())
    }

    /// What a dollar sign begins.
    fn dollar(&mut self, quoted: bool) -> Result<Part, String> {
        self.at += 1;
        match self.here() {
            Some('\'') if !quoted => {
                self.at += 1;
                let text = self.until_quote()?;
                Ok(Part::Text(escapes(&text), true))
            }
            Some('{') => {
                let rest: String = self.chars[self.at + 1..].iter().collect();
                let (inner, _) = rest.split_once('}').ok_or("a `${` without its `}`")?;
                self.at += inner.chars().count() + 2;
                let name: String =
                    inner.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let default = inner[name.len()..].trim_start_matches(':');
                let default = default.strip_prefix(['-', '=']).map(str::to_owned);
                Ok(Part::Variable(name, default, quoted))
            }
            Some('(') if self.after(1) == Some('(') => {
                let rest: String = self.chars[self.at + 2..].iter().collect();
                let (inner, _) = rest.split_once("))").ok_or("a `$((` without its `))`")?;
                self.at += inner.chars().count() + 4;
                Ok(Part::Sum(inner.to_owned()))
            }
            Some('(') => {
                self.at += 1;
                let peeked = self.peeked.take();
                let list = self.list(&[])?;
                if self.take()? != Token::Op(')') {
                    return Err("a `$(` without its `)`".to_owned());
                }
                self.peeked = peeked;
                Ok(Part::Output(list))
            }
            Some(c) if c.is_alphabetic() || c == '_' => {
                let name: String = self.chars[self.at..]
                    .iter()
                    .take_while(|c| c.is_alphanumeric() || **c == '_')
                    .collect();
                self.at += name.chars().count();
                Ok(Part::Variable(name, None, quoted))
            }
            Some(c) if "0123456789@*#?!$-".contains(c) => {
                self.at += 1;
                Ok(Part::Variable(c.to_string(), None, quoted))
            }
            _ => Ok(Part::Text("$".to_owned(), quoted)),
        }
    }
}

/// Whether a line may stand in a text whose end was cut off.
fn is_body(line: &str) -> bool {
    request::tidy(line).is_none() || request::is_request(line)
}

/// `NAME=VALUE`
fn assignment(word: &Word) -> Option<(String, Word)> {
    let Some(Part::Text(first, false)) = word.first() else { return None };
    let (name, value) = first.split_once('=')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(plain) || name.starts_with(|c: char| c.is_ascii_digit())
    {
        return None;
    }
    let mut rest = vec![Part::Text(value.to_owned(), false)];
    rest.extend(word[1..].iter().cloned());
    Some((name.to_owned(), rest))
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
