//! The words of a script: quotes, variables, redirections, and the here-documents that
//! begin behind a line.

use super::syntax::{Heredoc, Part, Redirect, Word, escapes, plain};
use crate::harness::reproduce::foreign::allowed::option;
use crate::harness::reproduce::foreign::request;
use crate::harness::reproduce::foreign::text::Line;

/// How many lines a quoted text may span. More is prose with an apostrophe.
const LONGEST_QUOTE: usize = 60;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Word(Word),
    /// `|`, `;`, `&`, `(`, `)`.
    Op(char),
    Redirect(Redirect),
    Newline,
    End,
}

pub(super) struct Parser<'a> {
    pub lines: &'a [Line],
    pub row: usize,
    pub chars: Vec<char>,
    pub at: usize,
    /// Here-documents whose text begins at the next line end: number, last line, and
    /// whether tabs before it are cut.
    pub pending: Vec<(usize, String)>,
    pub heredocs: Vec<Heredoc>,
    pub peeked: Option<Token>,
    pub depth: usize,
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

    /// Goes to the next row, where the line goes on. Empty rows before it are passed over, as
    /// Markdown has them, unless a request follows: then the backslash is one too many.
    fn continue_line(&mut self) -> bool {
        let rest = self.lines.get(self.row + 1..).unwrap_or_default();
        let empty = rest.iter().take_while(|line| line.text.trim().is_empty()).count();
        let goes_on = rest.get(empty).is_some_and(|line| !request::begins_request(&line.text));
        for _ in 0..if goes_on { empty } else { 0 } {
            self.next_row();
        }
        self.next_row()
    }

    /// Whether the row begins with an option of QEMU.
    fn option_begins(&self) -> bool {
        let row: String = self.chars.iter().take(40).collect();
        let word = row.split_whitespace().next().unwrap_or_default();
        !row.starts_with(char::is_whitespace)
            && word.strip_prefix('-').is_some_and(|name| option(name).is_some())
    }

    pub(super) fn token(&mut self) -> Result<Token, String> {
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
    pub(super) fn redirect(&mut self, number: usize) -> Result<Token, String> {
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
    pub(super) fn heredoc(&mut self, word: &Word) -> Redirect {
        let expands = word.iter().all(|part| matches!(part, Part::Text(_, false)));
        self.heredocs.push(Heredoc { lines: Vec::new(), expands });
        let number = self.heredocs.len() - 1;
        self.pending.push((number, word.iter().map(plain).collect()));
        Redirect::Here(number)
    }

    /// Reads the texts that begin in this row.
    pub(super) fn read_heredocs(&mut self) {
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

    pub(super) fn word(&mut self) -> Result<Word, String> {
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
    pub(super) fn until_quote(&mut self) -> Result<String, String> {
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

    pub(super) fn double_quoted(&mut self, word: &mut Word) -> Result<(), String> {
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
    pub(super) fn dollar(&mut self, quoted: bool) -> Result<Part, String> {
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
