//! A function of C that is gone through: the place in its words, and its variables.

use std::collections::HashMap;
use std::rc::Rc;

use super::lex::{Kind, Token};
use super::value::Value;

/// A function that is gone through: where, and its variables.
pub(super) struct Frame {
    pub tokens: Rc<Vec<Token>>,
    pub at: usize,
    pub variables: HashMap<String, Value>,
    pub returned: Value,
}

impl Frame {
    pub(super) fn new(tokens: Rc<Vec<Token>>, variables: HashMap<String, Value>) -> Self {
        Self { tokens, at: 0, variables, returned: Value::Void }
    }

    pub(super) fn peek(&self, count: usize) -> Option<&Token> {
        self.tokens.get(self.at + count)
    }

    pub(super) fn row(&self) -> usize {
        self.peek(0).or(self.tokens.last()).map_or(0, |token| token.row)
    }

    pub(super) fn is(&self, sign: &str) -> bool {
        self.peek(0).is_some_and(|token| token.is(sign))
    }

    pub(super) fn take(&mut self, sign: &str) -> bool {
        let is = self.is(sign);
        self.at += usize::from(is);
        is
    }

    pub(super) fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.take(sign) { Ok(()) } else { Err(format!("`{sign}` is missing")) }
    }

    pub(super) fn name(&self, count: usize) -> Option<&str> {
        match &self.peek(count)?.kind {
            Kind::Name(name) => Some(name),
            _ => None,
        }
    }

    /// Passes over a statement.
    pub(super) fn skip_statement(&mut self) -> Result<(), String> {
        let mut depth = 0usize;
        while let Some(token) = self.peek(0) {
            let (open, close) = (token.is("{") || token.is("("), token.is("}") || token.is(")"));
            let (is_end, is_brace) = (token.is(";"), token.is("}"));
            self.at += 1;
            depth += usize::from(open);
            if close {
                depth = depth.checked_sub(1).ok_or("a statement is not complete")?;
            }
            if depth == 0 && (is_end || is_brace) {
                return Ok(());
            }
        }
        Err("a statement is not complete".to_owned())
    }
}

impl Frame {
    pub(super) fn take_name(&mut self) -> bool {
        self.at += 1;
        true
    }

    /// Whether a declaration begins whose type is not known: two names, perhaps with a star
    /// between.
    pub(super) fn declares(&self) -> bool {
        let star = usize::from(self.peek(1).is_some_and(|token| token.is("*")));
        let ends = self.peek(2 + star).is_some_and(|token| token.is("=") || token.is(";"));
        self.name(0).is_some() && self.name(1 + star).is_some() && ends
    }

    /// Passes over what stands in parentheses.
    pub(super) fn skip_parentheses(&mut self) {
        let mut depth = 0usize;
        while let Some(token) = self.peek(0) {
            let (open, close) = (token.is("("), token.is(")"));
            self.at += 1;
            depth += usize::from(open);
            if close {
                depth = depth.saturating_sub(1);
            }
            if depth == 0 {
                return;
            }
        }
    }
}
