//! Goes through the statements of a function of C, as a machine would that knows everything
//! but what QEMU answers. Expressions are in `expression`.

use std::collections::HashMap;

use super::Test;
use super::frame::Frame;
use super::lex::Kind;
use super::source::Function;
use super::value::{Value, is_type, truth, type_size};

/// How many steps a test may take, and how many requests it may make: loops end.
const MOST_STEPS: usize = 1 << 20;
const MOST_REQUESTS: usize = 1 << 17;
/// How deep functions, blocks and parentheses may stand in each other.
const DEEPEST: usize = 100;

/// How a statement ends.
#[derive(PartialEq, Eq, Clone, Copy)]
pub(super) enum Flow {
    On,
    Break,
    Continue,
    Return,
}

pub(super) struct Machine<'a> {
    pub functions: &'a HashMap<&'a str, &'a Function>,
    pub globals: &'a HashMap<String, Value>,
    pub test: Test,
    pub steps: usize,
    pub depth: usize,
    /// How many expressions are gone through without effect.
    pub silent: usize,
    /// QEMU was told to quit.
    pub ended: bool,
}

impl Machine<'_> {
    pub(super) fn step(&mut self) -> Result<(), String> {
        self.steps += 1;
        if self.steps > MOST_STEPS || self.test.requests.len() > MOST_REQUESTS {
            return Err("its loops go on for too long".to_owned());
        }
        if self.depth > DEEPEST {
            return Err("it stands in itself too deep".to_owned());
        }
        Ok(())
    }

    pub(super) fn statement(&mut self, frame: &mut Frame) -> Result<Flow, String> {
        self.depth += 1;
        let flow = self.one_statement(frame);
        self.depth -= 1;
        flow
    }

    pub(super) fn one_statement(&mut self, frame: &mut Frame) -> Result<Flow, String> {
        self.step()?;
        if frame.take(";") {
            return Ok(Flow::On);
        }
        if frame.take("{") {
            while !frame.is("}") {
                if frame.peek(0).is_none() {
                    return Err("a `{` without its `}`".to_owned());
                }
                let flow = self.statement(frame)?;
                if flow != Flow::On {
                    return Ok(flow);
                }
            }
            frame.at += 1;
            return Ok(Flow::On);
        }
        match frame.name(0) {
            Some("return") => {
                frame.at += 1;
                if !frame.is(";") {
                    frame.returned = self.expression(frame)?;
                }
                return Ok(Flow::Return);
            }
            Some("break") => return Ok(Flow::Break),
            Some("continue") => return Ok(Flow::Continue),
            Some("if") => return self.condition(frame),
            Some("for") => return self.for_loop(frame),
            Some("while") => return self.while_loop(frame),
            Some("do") => return self.do_loop(frame),
            Some("goto" | "switch") => {
                return Err("`goto` and `switch` are not read".to_owned());
            }
            Some(name) if is_type(name) || frame.declares() => {
                self.declaration(frame)?;
                return Ok(Flow::On);
            }
            _ => {}
        }
        self.expression(frame)?;
        while frame.take(",") {
            self.expression(frame)?;
        }
        frame.expect(";")?;
        Ok(Flow::On)
    }

    pub(super) fn condition(&mut self, frame: &mut Frame) -> Result<Flow, String> {
        frame.at += 1;
        frame.expect("(")?;
        let value = self.expression(frame)?;
        frame.expect(")")?;
        let Some(holds) = truth(&value) else {
            return Err("an `if` depends on what QEMU answers".to_owned());
        };
        let mut flow = Flow::On;
        if holds {
            flow = self.statement(frame)?;
            if flow != Flow::On {
                return Ok(flow);
            }
        } else {
            frame.skip_statement()?;
        }
        if frame.name(0) == Some("else") {
            frame.at += 1;
            if holds {
                if frame.name(0) == Some("if") {
                    // `else if (…) …`, perhaps with an `else` of its own.
                    frame.at += 1;
                    self.silent += 1;
                    frame.expect("(")?;
                    let skipped = self.expression(frame);
                    self.silent -= 1;
                    skipped?;
                    frame.expect(")")?;
                }
                frame.skip_statement()?;
                while frame.name(0) == Some("else") {
                    frame.at += 1;
                    if frame.name(0) == Some("if") {
                        frame.at += 1;
                    }
                    frame.skip_statement()?;
                }
            } else {
                flow = self.statement(frame)?;
            }
        }
        Ok(flow)
    }

    /// Whether the condition of a loop holds.
    pub(super) fn holds(&mut self, frame: &mut Frame) -> Result<bool, String> {
        let value = self.expression(frame)?;
        truth(&value).ok_or_else(|| {
            "a loop depends on what QEMU answers, so its requests are not known".to_owned()
        })
    }

    pub(super) fn for_loop(&mut self, frame: &mut Frame) -> Result<Flow, String> {
        frame.at += 1;
        frame.expect("(")?;
        if !frame.take(";") {
            if frame.name(0).is_some_and(is_type) {
                self.declaration(frame)?;
            } else {
                self.expression(frame)?;
                while frame.take(",") {
                    self.expression(frame)?;
                }
                frame.expect(";")?;
            }
        }
        let condition = frame.at;
        loop {
            self.step()?;
            frame.at = condition;
            let holds = frame.is(";") || self.holds(frame)?;
            frame.expect(";")?;
            let step = frame.at;
            self.silent += 1;
            while !frame.is(")") {
                let skipped = self.expression(frame);
                if skipped.is_err() || !frame.take(",") {
                    break;
                }
            }
            self.silent -= 1;
            frame.expect(")")?;
            let body = frame.at;
            if !holds {
                frame.skip_statement()?;
                return Ok(Flow::On);
            }
            match self.statement(frame)? {
                Flow::Return => return Ok(Flow::Return),
                Flow::Break => {
                    frame.at = body;
                    frame.skip_statement()?;
                    return Ok(Flow::On);
                }
                _ => {}
            }
            frame.at = step;
            while !frame.is(")") {
                self.expression(frame)?;
                if !frame.take(",") {
                    break;
                }
            }
        }
    }

    pub(super) fn while_loop(&mut self, frame: &mut Frame) -> Result<Flow, String> {
        frame.at += 1;
        let begin = frame.at;
        loop {
            self.step()?;
            frame.at = begin;
            frame.expect("(")?;
            let holds = self.holds(frame)?;
            frame.expect(")")?;
            let body = frame.at;
            if !holds {
                frame.skip_statement()?;
                return Ok(Flow::On);
            }
            match self.statement(frame)? {
                Flow::Return => return Ok(Flow::Return),
                Flow::Break => {
                    frame.at = body;
                    frame.skip_statement()?;
                    return Ok(Flow::On);
                }
                _ => {}
            }
        }
    }

    pub(super) fn do_loop(&mut self, frame: &mut Frame) -> Result<Flow, String> {
        frame.at += 1;
        let begin = frame.at;
        loop {
            self.step()?;
            frame.at = begin;
            let flow = self.statement(frame)?;
            if flow == Flow::Return {
                return Ok(flow);
            }
            frame.at = begin;
            frame.skip_statement()?;
            if frame.name(0) != Some("while") {
                return Err("a `do` without its `while`".to_owned());
            }
            frame.at += 1;
            frame.expect("(")?;
            let holds = flow != Flow::Break && self.holds(frame)?;
            if flow == Flow::Break {
                while !frame.is(";") && frame.peek(0).is_some() {
                    frame.at += 1;
                }
            } else {
                frame.expect(")")?;
            }
            frame.expect(";")?;
            if !holds {
                return Ok(Flow::On);
            }
        }
    }

    pub(super) fn declaration(&mut self, frame: &mut Frame) -> Result<(), String> {
        let mut size = 8;
        if frame.name(0).is_some_and(|name| !is_type(name)) {
            frame.at += 1;
        }
        while let Some(name) = frame.name(0).filter(|name| is_type(name)) {
            size = type_size(name).unwrap_or(size);
            let is_struct = name == "struct";
            let is_auto = name == "g_autoptr";
            frame.at += 1;
            if is_struct {
                return Err("structures are not read".to_owned());
            }
            if is_auto {
                frame.skip_parentheses();
            }
        }
        loop {
            while frame.take("*") || frame.name(0) == Some("const") && frame.take_name() {}
            let Some(name) = frame.name(0).map(str::to_owned) else {
                return Err("a declaration is not understood".to_owned());
            };
            frame.at += 1;
            let mut length = None;
            while frame.take("[") {
                if !frame.is("]") {
                    let value = self.expression(frame)?;
                    if let Value::Number(value) = value {
                        length = Some((value as usize).min(1 << 20));
                    }
                } else {
                    length = length.or(Some(0));
                }
                frame.expect("]")?;
            }
            let mut value = Value::Unknown;
            if frame.take("=") {
                value = if frame.is("{") {
                    self.array(frame, size, length)?
                } else {
                    self.expression(frame)?
                };
                if let (Value::Bytes(bytes), Some(length)) = (&mut value, length) {
                    // The byte that ends a text.
                    let length = if length == 0 { bytes.len() + 1 } else { length };
                    if frame
                        .tokens
                        .get(frame.at - 1)
                        .is_some_and(|token| matches!(token.kind, Kind::Text(_)))
                    {
                        bytes.resize(length, 0);
                    }
                }
            } else if let Some(length) = length {
                value = Value::Numbers(vec![0; length], size);
            }
            frame.variables.insert(name, value);
            if !frame.take(",") {
                break;
            }
        }
        frame.expect(";")
    }

    /// `{ 1, 2, 3 }`
    pub(super) fn array(
        &mut self,
        frame: &mut Frame,
        size: usize,
        length: Option<usize>,
    ) -> Result<Value, String> {
        frame.expect("{")?;
        let mut numbers = Vec::new();
        while !frame.is("}") {
            if frame.is(".") || frame.is("[") || frame.is("{") {
                return Err("an array of this form is not read".to_owned());
            }
            match self.expression(frame)? {
                Value::Number(value) => numbers.push(value),
                _ => return Err("an element of an array is no known number".to_owned()),
            }
            if !frame.take(",") {
                break;
            }
        }
        frame.expect("}")?;
        let length = length.unwrap_or(0).max(numbers.len());
        numbers.resize(length, 0);
        Ok(Value::Numbers(numbers, size))
    }
}
