//! The grammar of the shell, as far as reproducers use it: pipelines, groups, loops. What is
//! read here is made to say what it stands for in `evaluate`; nothing is ever run.

use super::lex::{Parser, Token};
use super::syntax::{Command, Complete, List, Part, Pipeline, Redirect, Word};
use crate::harness::reproduce::foreign::text::Line;

/// How deep groups may stand in each other.
const DEEPEST: usize = 12;

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

impl Parser<'_> {
    fn peek(&mut self) -> Result<&Token, String> {
        if self.peeked.is_none() {
            let token = self.token()?;
            self.peeked = Some(token);
        }
        self.peeked.as_ref().ok_or_else(String::new)
    }

    pub(super) fn take(&mut self) -> Result<Token, String> {
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
    pub(super) fn list(&mut self, ends: &[&str]) -> Result<List, String> {
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
