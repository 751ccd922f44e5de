//! The expressions of C: works out what they come to, and notes the requests that their
//! calls make.

use super::frame::Frame;
use super::lex::{Kind, Token};
use super::library::{Effect, call};
use super::statement::Machine;
use super::value::{Value, as_bytes, binary, element, is_type, truth, type_size};

/// Operators, those that bind least first.
const LEVELS: [&[&str]; 10] = [
    &["||"],
    &["&&"],
    &["|"],
    &["^"],
    &["&"],
    &["==", "!="],
    &["<", ">", "<=", ">="],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "/", "%"],
];

impl Machine<'_> {
    /// An expression with assignments, but no comma.
    pub(super) fn expression(&mut self, frame: &mut Frame) -> Result<Value, String> {
        self.step()?;
        self.depth += 1;
        let value = self.assignment(frame);
        self.depth -= 1;
        value
    }

    pub(super) fn assignment(&mut self, frame: &mut Frame) -> Result<Value, String> {
        let place = frame.name(0).map(str::to_owned);
        let operator = frame.peek(1).and_then(|token| match token.kind {
            Kind::Sign(sign) => Some(sign),
            _ => None,
        });
        let operators = ["=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="];
        if let (Some(name), Some(sign)) = (place, operator.filter(|sign| operators.contains(sign)))
        {
            frame.at += 2;
            let right = self.expression(frame)?;
            let value = match sign.strip_suffix('=') {
                Some("") | None => right,
                Some(operator) => {
                    let left = self.variable(frame, &name)?;
                    binary(operator, &left, &right)?
                }
            };
            if self.silent == 0 {
                frame.variables.insert(name, value.clone());
            }
            return Ok(value);
        }
        let value = self.binary(frame, 0)?;
        if frame.is("=") {
            // Into an element or through a pointer: what is there is not known then.
            frame.at += 1;
            return self.expression(frame);
        }
        if !frame.take("?") {
            return Ok(value);
        }
        let holds = truth(&value);
        self.silent += usize::from(holds != Some(true));
        let yes = self.expression(frame);
        self.silent -= usize::from(holds != Some(true));
        let yes = yes?;
        frame.expect(":")?;
        self.silent += usize::from(holds != Some(false));
        let no = self.expression(frame);
        self.silent -= usize::from(holds != Some(false));
        let no = no?;
        Ok(match holds {
            Some(true) => yes,
            Some(false) => no,
            None => Value::Unknown,
        })
    }

    pub(super) fn binary(&mut self, frame: &mut Frame, level: usize) -> Result<Value, String> {
        let Some(operators) = LEVELS.get(level) else { return self.unary(frame) };
        let mut left = self.binary(frame, level + 1)?;
        loop {
            let Some(Token { kind: Kind::Sign(sign), .. }) = frame.peek(0) else {
                return Ok(left);
            };
            let Some(operator) = operators.iter().find(|operator| *operator == sign) else {
                return Ok(left);
            };
            frame.at += 1;
            // The right side of `&&` and `||` has an effect only where it counts.
            let decided = match (*operator, truth(&left)) {
                ("&&", Some(false)) | ("||", Some(true)) => 1,
                _ => 0,
            };
            self.silent += decided;
            let right = self.binary(frame, level + 1);
            self.silent -= decided;
            left = binary(operator, &left, &right?)?;
        }
    }

    pub(super) fn unary(&mut self, frame: &mut Frame) -> Result<Value, String> {
        self.step()?;
        self.depth += 1;
        let value = self.one_unary(frame);
        self.depth -= 1;
        value
    }

    pub(super) fn one_unary(&mut self, frame: &mut Frame) -> Result<Value, String> {
        for sign in ["++", "--"] {
            if frame.take(sign) {
                let Some(name) = frame.name(0).map(str::to_owned) else {
                    return Err(format!("`{sign}` before what is no variable"));
                };
                frame.at += 1;
                let value = binary(&sign[..1], &self.variable(frame, &name)?, &Value::Number(1))?;
                if self.silent == 0 {
                    frame.variables.insert(name, value.clone());
                }
                return Ok(value);
            }
        }
        for sign in ["!", "~", "-", "+", "&", "*"] {
            if !frame.take(sign) {
                continue;
            }
            let value = self.unary(frame)?;
            return Ok(match (sign, &value) {
                ("!", _) => {
                    truth(&value).map_or(Value::Unknown, |holds| Value::Number(u64::from(!holds)))
                }
                ("~", Value::Number(value)) => Value::Number(!value),
                ("-", Value::Number(value)) => Value::Number(value.wrapping_neg()),
                ("+", _) => value,
                // The address of a number: its bytes.
                ("&", Value::Number(value)) => Value::Bytes(value.to_le_bytes().to_vec()),
                ("&", _) => value,
                ("*", Value::Bytes(bytes)) => {
                    bytes.first().map_or(Value::Unknown, |byte| Value::Number((*byte).into()))
                }
                _ => Value::Unknown,
            });
        }
        if frame.name(0) == Some("sizeof") {
            frame.at += 1;
            return self.size_of(frame);
        }
        // A cast.
        if frame.is("(") && frame.name(1).is_some_and(is_type) {
            let mut size = None;
            let mut at = frame.at + 1;
            while let Some(token) = frame.tokens.get(at).filter(|token| !token.is(")")) {
                match &token.kind {
                    Kind::Name(name) => size = type_size(name).or(size),
                    Kind::Sign("*") => size = None,
                    _ => {}
                }
                at += 1;
            }
            frame.at = at + 1;
            let value = self.unary(frame)?;
            return Ok(match (value, size) {
                (Value::Number(value), Some(size)) if size < 8 => {
                    Value::Number(value & ((1 << (8 * size)) - 1))
                }
                (value, _) => value,
            });
        }
        self.postfix(frame)
    }

    pub(super) fn size_of(&mut self, frame: &mut Frame) -> Result<Value, String> {
        if frame.is("(") && frame.name(1).is_some_and(is_type) {
            let size = frame.name(1).and_then(type_size).unwrap_or(8);
            frame.skip_parentheses();
            return Ok(Value::Number(size as u64));
        }
        self.silent += 1;
        let value = self.unary(frame);
        self.silent -= 1;
        Ok(match value? {
            Value::Bytes(bytes) => Value::Number(bytes.len() as u64),
            Value::Numbers(numbers, size) => Value::Number((numbers.len() * size) as u64),
            Value::Number(_) => Value::Number(4),
            _ => return Err("the size of something that is not known".to_owned()),
        })
    }

    pub(super) fn postfix(&mut self, frame: &mut Frame) -> Result<Value, String> {
        let name = frame.name(0).map(str::to_owned);
        let mut value = self.primary(frame)?;
        loop {
            if frame.take("[") {
                let index = self.expression(frame)?;
                frame.expect("]")?;
                value = element(&value, &index);
            } else if frame.is(".") || frame.is("->") {
                frame.at += 2;
                value = Value::Unknown;
            } else if frame.is("++") || frame.is("--") {
                let sign = if frame.is("++") { "+" } else { "-" };
                frame.at += 1;
                let Some(name) = &name else { return Err("`++` behind no variable".to_owned()) };
                let next = binary(sign, &value, &Value::Number(1))?;
                if self.silent == 0 {
                    frame.variables.insert(name.clone(), next);
                }
            } else {
                return Ok(value);
            }
        }
    }

    pub(super) fn primary(&mut self, frame: &mut Frame) -> Result<Value, String> {
        let Some(token) = frame.peek(0).cloned() else {
            return Err("an expression is missing".to_owned());
        };
        frame.at += 1;
        match token.kind {
            Kind::Number(value) => Ok(Value::Number(value)),
            Kind::Text(bytes) => {
                let mut bytes = bytes.to_vec();
                loop {
                    match frame.peek(0).map(|token| &token.kind) {
                        Some(Kind::Text(more)) => bytes.extend_from_slice(more),
                        // A format such as PRIx64 between texts.
                        Some(Kind::Name(name)) if name.starts_with("PRI") => {
                            bytes.extend(name.chars().nth(3).map(|c| c as u8));
                        }
                        _ => return Ok(Value::Bytes(bytes)),
                    }
                    frame.at += 1;
                }
            }
            Kind::Sign("(") => {
                let mut value = self.expression(frame)?;
                while frame.take(",") {
                    value = self.expression(frame)?;
                }
                frame.expect(")")?;
                Ok(value)
            }
            Kind::Sign(sign) => Err(format!("`{sign}` is not understood here")),
            Kind::Name(name) if frame.is("(") => self.call(frame, &name),
            Kind::Name(name) => self.variable(frame, &name),
        }
    }

    pub(super) fn variable(&self, frame: &Frame, name: &str) -> Result<Value, String> {
        let known = frame.variables.get(name).or_else(|| self.globals.get(name));
        if let Some(value) = known {
            return Ok(value.clone());
        }
        match name {
            "true" | "TRUE" => Ok(Value::Number(1)),
            "false" | "FALSE" | "NULL" => Ok(Value::Number(0)),
            "global_qtest" => Ok(Value::State),
            "argc" | "argv" | "stderr" | "stdout" => Ok(Value::Unknown),
            _ if self.functions.contains_key(name) => Ok(Value::Unknown),
            _ => Err(format!("`{name}` has no value in this file")),
        }
    }

    pub(super) fn call(&mut self, frame: &mut Frame, name: &str) -> Result<Value, String> {
        frame.expect("(")?;
        let quiet = name.starts_with("g_assert") || name == "qtest_add_func";
        let mut arguments = Vec::new();
        while !frame.is(")") {
            // A comparison that is asserted has its sign between commas.
            if quiet
                && frame.peek(1).is_some_and(|token| token.is(",") || token.is(")"))
                && matches!(frame.peek(0), Some(Token { kind: Kind::Sign(_), .. }))
            {
                frame.at += 1;
                frame.take(",");
                continue;
            }
            arguments.push(self.expression(frame)?);
            if !frame.take(",") {
                break;
            }
        }
        frame.expect(")")?;
        if self.silent > 0 {
            return Ok(Value::Unknown);
        }
        if let Some(function) = self.functions.get(name).copied() {
            let variables = function.parameters.iter().cloned().zip(arguments).collect();
            let mut inner = Frame::new(function.body.clone(), variables);
            self.statement(&mut inner)?;
            return Ok(inner.returned);
        }
        match call(name, &arguments.into_iter().map(as_bytes).collect::<Vec<_>>())? {
            Effect::Request(text, value) => {
                if !self.ended {
                    self.test.requests.push(text);
                }
                Ok(value)
            }
            Effect::Start(arguments) => {
                if self.test.arguments.is_some() {
                    self.test.notes.push("it starts a second QEMU: only the first is read".into());
                    self.ended = true;
                } else {
                    self.test.arguments = Some(arguments);
                }
                Ok(Value::State)
            }
            Effect::Quit => {
                self.ended = true;
                Ok(Value::Void)
            }
            Effect::Nothing(value) => Ok(value),
            Effect::Unknown => Err(format!(
                "`{name}` is none of the functions that are understood, which are those of \
                 libqtest.h and of the file itself"
            )),
        }
    }
}
