//! Goes through a function of C word by word, as a machine would that knows everything but
//! what QEMU answers, and notes the requests it makes.

use std::collections::HashMap;
use std::rc::Rc;

use super::super::text::Line;
use super::Test;
use super::lex::{Kind, Macro, Token, expand, macros, tokens};
use super::library::{Effect, call};

/// How many steps a test may take, and how many requests it may make: loops end.
const MOST_STEPS: usize = 1 << 20;
const MOST_REQUESTS: usize = 1 << 17;
/// How deep functions, blocks and parentheses may stand in each other.
const DEEPEST: usize = 100;

/// What an expression comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Number(u64),
    /// A text or an array of bytes.
    Bytes(Vec<u8>),
    /// An array of numbers, each of so many bytes.
    Numbers(Vec<u64>, usize),
    /// A running QEMU.
    State,
    /// What QEMU answers.
    Unknown,
    Void,
}

/// A function: its parameters and its body, with the braces.
#[derive(Debug, Clone)]
struct Function {
    name: String,
    parameters: Vec<String>,
    body: Rc<Vec<Token>>,
    rows: (usize, usize),
}

/// How a statement ends.
#[derive(PartialEq, Eq, Clone, Copy)]
enum Flow {
    On,
    Break,
    Continue,
    Return,
}

/// Reads all tests of a text: functions that start a QEMU. What one cannot be read for is
/// beside the others.
pub(in super::super) fn read(lines: &[Line]) -> Vec<Result<Test, (usize, String)>> {
    let starts = ["qtest_init", "qtest_start", "qtest_vstart"];
    if !lines.iter().any(|line| starts.iter().any(|name| line.text.contains(name))) {
        return Vec::new();
    }
    let macros = macros(lines);
    let functions = functions(lines, &macros);
    let globals = globals(lines, &macros);
    let targets = targets(lines);
    let is_test = |function: &&Function| {
        function.body.iter().any(|token| match &token.kind {
            Kind::Name(name) => starts.iter().any(|start| name.starts_with(start)),
            _ => false,
        })
    };
    let by_name: HashMap<&str, &Function> =
        functions.iter().map(|function| (function.name.as_str(), function)).collect();
    let tests = functions.iter().filter(is_test).filter(|function| {
        // A helper that starts QEMU for others is no test.
        function.parameters.is_empty() && function.name != "main"
    });
    let mut found: Vec<Result<Test, (usize, String)>> = Vec::new();
    for function in tests {
        found.push(run(function, &by_name, &globals, &targets));
    }
    if found.is_empty() {
        // Statements outside of any function, as in a mail.
        if let Some(loose) = loose(lines, &macros) {
            found.push(run(&loose, &by_name, &globals, &targets));
        }
    }
    found
}

fn run(
    function: &Function,
    functions: &HashMap<&str, &Function>,
    globals: &HashMap<String, Value>,
    targets: &[String],
) -> Result<Test, (usize, String)> {
    let test = Test {
        name: function.name.clone(),
        rows: function.rows,
        targets: targets.to_vec(),
        ..Test::default()
    };
    let mut machine =
        Machine { functions, globals, test, steps: 0, depth: 0, silent: 0, ended: false };
    let mut frame = Frame::new(function.body.clone(), HashMap::new());
    match machine.statement(&mut frame) {
        Ok(_) => Ok(machine.test),
        Err(why) => {
            let row = frame.row();
            Err((row, why))
        }
    }
}

/// The value of a sum.
pub(super) fn calculate(text: &str, variables: &HashMap<String, String>) -> Option<u64> {
    let lines = [Line { number: 1, text: text.replace('$', "") }];
    let tokens = tokens(&lines, 0).ok()?;
    let values = variables.iter().filter_map(|(name, value)| {
        let value = super::super::request::number(value)?;
        Some((name.clone(), Value::Number(value)))
    });
    let globals = values.collect();
    let functions = HashMap::new();
    let test = Test::default();
    let mut machine = Machine {
        functions: &functions,
        globals: &globals,
        test,
        steps: 0,
        depth: 0,
        silent: 0,
        ended: false,
    };
    let mut frame = Frame::new(Rc::new(tokens), HashMap::new());
    match machine.expression(&mut frame) {
        Ok(Value::Number(value)) => Some(value),
        _ => None,
    }
}

/// The targets that the file names in `strcmp(arch, "…")`.
fn targets(lines: &[Line]) -> Vec<String> {
    let mut targets = Vec::new();
    for line in lines {
        for part in line.text.split("strcmp(arch").skip(1) {
            if let Some(name) = part.split('"').nth(1) {
                targets.push(name.to_owned());
            }
        }
    }
    targets
}

/// The functions that are written out in the text.
fn functions(lines: &[Line], macros: &HashMap<String, Macro>) -> Vec<Function> {
    let mut functions = Vec::new();
    let mut row = 0;
    while row < lines.len() {
        let Some(begin) = function_begins(lines, row) else {
            row += 1;
            continue;
        };
        let Some(end) = function_ends(lines, row) else {
            row += 1;
            continue;
        };
        if let Some(function) = function(&lines[begin..=end], begin, macros) {
            functions.push(function);
            row = end + 1;
        } else {
            row += 1;
        }
    }
    functions
}

/// Whether a function begins in `row`: in which row its head begins.
fn function_begins(lines: &[Line], row: usize) -> Option<usize> {
    let text = lines[row].text.trim_start().trim_start_matches(['}', ' ']);
    let types = ["static ", "void ", "int ", "uint", "bool ", "QTestState "];
    let is_head = types.iter().any(|ty| text.starts_with(ty)) && text.contains('(');
    let open = text.find('(')?;
    let is_value = text.find(['=', ';']).is_some_and(|at| at < open);
    (is_head && !is_value && !text.trim_end().ends_with(';')).then_some(row)
}

/// The row in which the function that begins in `row` ends.
fn function_ends(lines: &[Line], row: usize) -> Option<usize> {
    let mut depth = 0usize;
    let mut seen = false;
    for (at, line) in lines.iter().enumerate().skip(row).take(20_000) {
        let mut quote = None;
        let mut chars = line.text.chars();
        while let Some(c) = chars.next() {
            match (quote, c) {
                (Some(_), '\\') => {
                    chars.next();
                }
                (Some(end), _) if c == end => quote = None,
                (None, '"' | '\'') => quote = Some(c),
                (None, '{') => {
                    depth += 1;
                    seen = true;
                }
                (None, '}') => {
                    depth = depth.checked_sub(1)?;
                    if depth == 0 {
                        return seen.then_some(at);
                    }
                }
                (None, ';') if !seen => return None,
                _ => {}
            }
        }
        if !seen && at > row + 4 {
            return None;
        }
    }
    None
}

fn function(lines: &[Line], row: usize, macros: &HashMap<String, Macro>) -> Option<Function> {
    let mut all = tokens(lines, row).ok()?;
    // What ends the function before on the same line.
    let first = all.iter().position(|token| !token.is("}"))?;
    all.drain(..first);
    let open = all.iter().position(|token| token.is("("))?;
    let Kind::Name(name) = &all.get(open.checked_sub(1)?)?.kind else { return None };
    let name = name.clone();
    let close = all.iter().position(|token| token.is(")"))?;
    let parameters = all[open + 1..close].split(|token| token.is(","));
    let parameters = parameters.filter_map(|parameter| {
        parameter.iter().rev().find_map(|token| match &token.kind {
            Kind::Name(name) if name != "void" => Some(name.clone()),
            _ => None,
        })
    });
    let parameters = parameters.collect();
    let brace = all.iter().position(|token| token.is("{"))?;
    // Behind the last brace another function may begin on the same line.
    let mut depth = 0;
    let mut end = None;
    for (at, token) in all.iter().enumerate().skip(brace) {
        depth += usize::from(token.is("{"));
        if token.is("}") {
            depth -= 1;
            if depth == 0 {
                end = Some(at);
                break;
            }
        }
    }
    let body = expand(&all[brace..=end?], macros, 0).ok()?;
    let rows = (row, row + lines.len());
    Some(Function { name, parameters, body: Rc::new(body), rows })
}

/// The statements around a `qtest_init` that stands in no function.
fn loose(lines: &[Line], macros: &HashMap<String, Macro>) -> Option<Function> {
    let begin = lines
        .iter()
        .position(|line| line.text.contains("qtest_init") || line.text.contains("qtest_start"))?;
    let is_code = |line: &Line| {
        let text = line.text.trim();
        text.is_empty() || text.starts_with("qtest_") || text.starts_with(['"', '/', '*'])
    };
    let length = 1 + lines[begin + 1..].iter().take_while(|line| is_code(line)).count();
    let inner = tokens(&lines[begin..begin + length], begin).ok()?;
    let mut body = vec![Token { kind: Kind::Sign("{"), row: begin }];
    body.extend(expand(&inner, macros, 0).ok()?);
    body.push(Token { kind: Kind::Sign("}"), row: begin + length });
    Some(Function {
        name: "statements".to_owned(),
        parameters: Vec::new(),
        body: Rc::new(body),
        rows: (begin, begin + length),
    })
}

/// Arrays, texts and numbers outside of functions.
fn globals(lines: &[Line], macros: &HashMap<String, Macro>) -> HashMap<String, Value> {
    let mut globals = HashMap::new();
    let types = ["static ", "const ", "uint", "int ", "char ", "unsigned "];
    let mut row = 0;
    while row < lines.len() {
        let text = lines[row].text.as_str();
        let begins = types.iter().any(|ty| text.starts_with(ty)) && text.contains('=');
        if !begins || text.find('(').is_some_and(|at| Some(at) < text.find('=')) {
            row += 1;
            continue;
        }
        let length = lines[row..].iter().take(2000).position(|line| line.text.contains(';'));
        let end = row + length.unwrap_or(0) + 1;
        let value = tokens(&lines[row..end], row).and_then(|tokens| expand(&tokens, macros, 0));
        row = end;
        let Ok(tokens) = value else { continue };
        let functions = HashMap::new();
        let mut machine = Machine {
            functions: &functions,
            globals: &globals,
            test: Test::default(),
            steps: 0,
            depth: 0,
            silent: 0,
            ended: false,
        };
        let mut frame = Frame::new(Rc::new(tokens), HashMap::new());
        if machine.statement(&mut frame).is_ok() {
            globals.extend(frame.variables);
        }
    }
    globals
}

/// A function that is gone through: where, and its variables.
struct Frame {
    tokens: Rc<Vec<Token>>,
    at: usize,
    variables: HashMap<String, Value>,
    returned: Value,
}

impl Frame {
    fn new(tokens: Rc<Vec<Token>>, variables: HashMap<String, Value>) -> Self {
        Self { tokens, at: 0, variables, returned: Value::Void }
    }

    fn peek(&self, count: usize) -> Option<&Token> {
        self.tokens.get(self.at + count)
    }

    fn row(&self) -> usize {
        self.peek(0).or(self.tokens.last()).map_or(0, |token| token.row)
    }

    fn is(&self, sign: &str) -> bool {
        self.peek(0).is_some_and(|token| token.is(sign))
    }

    fn take(&mut self, sign: &str) -> bool {
        let is = self.is(sign);
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.take(sign) { Ok(()) } else { Err(format!("`{sign}` is missing")) }
    }

    fn name(&self, count: usize) -> Option<&str> {
        match &self.peek(count)?.kind {
            Kind::Name(name) => Some(name),
            _ => None,
        }
    }

    /// Passes over a statement.
    fn skip_statement(&mut self) -> Result<(), String> {
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

struct Machine<'a> {
    functions: &'a HashMap<&'a str, &'a Function>,
    globals: &'a HashMap<String, Value>,
    test: Test,
    steps: usize,
    depth: usize,
    /// How many expressions are gone through without effect.
    silent: usize,
    /// QEMU was told to quit.
    ended: bool,
}

/// What is a type, as far as tests use them.
fn is_type(name: &str) -> bool {
    let types = [
        "void",
        "int",
        "char",
        "long",
        "short",
        "unsigned",
        "signed",
        "bool",
        "size_t",
        "hwaddr",
        "const",
        "static",
        "QTestState",
        "gchar",
        "guint",
        "gint",
        "gsize",
        "QDict",
        "struct",
        "g_autofree",
        "uintptr_t",
        "register",
        "inline",
        "QObject",
        "g_autoptr",
    ];
    types.contains(&name) || name.ends_with("_t") && name.contains("int")
}

impl Machine<'_> {
    fn step(&mut self) -> Result<(), String> {
        self.steps += 1;
        if self.steps > MOST_STEPS || self.test.requests.len() > MOST_REQUESTS {
            return Err("its loops go on for too long".to_owned());
        }
        if self.depth > DEEPEST {
            return Err("it stands in itself too deep".to_owned());
        }
        Ok(())
    }

    fn statement(&mut self, frame: &mut Frame) -> Result<Flow, String> {
        self.depth += 1;
        let flow = self.one_statement(frame);
        self.depth -= 1;
        flow
    }

    fn one_statement(&mut self, frame: &mut Frame) -> Result<Flow, String> {
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

    fn condition(&mut self, frame: &mut Frame) -> Result<Flow, String> {
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
    fn holds(&mut self, frame: &mut Frame) -> Result<bool, String> {
        let value = self.expression(frame)?;
        truth(&value).ok_or_else(|| {
            "a loop depends on what QEMU answers, so its requests are not known".to_owned()
        })
    }

    fn for_loop(&mut self, frame: &mut Frame) -> Result<Flow, String> {
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

    fn while_loop(&mut self, frame: &mut Frame) -> Result<Flow, String> {
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

    fn do_loop(&mut self, frame: &mut Frame) -> Result<Flow, String> {
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

    fn declaration(&mut self, frame: &mut Frame) -> Result<(), String> {
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
    fn array(
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

    /// An expression with assignments, but no comma.
    fn expression(&mut self, frame: &mut Frame) -> Result<Value, String> {
        self.step()?;
        self.depth += 1;
        let value = self.assignment(frame);
        self.depth -= 1;
        value
    }

    fn assignment(&mut self, frame: &mut Frame) -> Result<Value, String> {
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

    fn binary(&mut self, frame: &mut Frame, level: usize) -> Result<Value, String> {
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

    fn unary(&mut self, frame: &mut Frame) -> Result<Value, String> {
        self.step()?;
        self.depth += 1;
        let value = self.one_unary(frame);
        self.depth -= 1;
        value
    }

    fn one_unary(&mut self, frame: &mut Frame) -> Result<Value, String> {
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

    fn size_of(&mut self, frame: &mut Frame) -> Result<Value, String> {
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

    fn postfix(&mut self, frame: &mut Frame) -> Result<Value, String> {
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

    fn primary(&mut self, frame: &mut Frame) -> Result<Value, String> {
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

    fn variable(&self, frame: &Frame, name: &str) -> Result<Value, String> {
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

    fn call(&mut self, frame: &mut Frame, name: &str) -> Result<Value, String> {
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

impl Frame {
    fn take_name(&mut self) -> bool {
        self.at += 1;
        true
    }

    /// Whether a declaration begins whose type is not known: two names, perhaps with a star
    /// between.
    fn declares(&self) -> bool {
        let star = usize::from(self.peek(1).is_some_and(|token| token.is("*")));
        let ends = self.peek(2 + star).is_some_and(|token| token.is("=") || token.is(";"));
        self.name(0).is_some() && self.name(1 + star).is_some() && ends
    }

    /// Passes over what stands in parentheses.
    fn skip_parentheses(&mut self) {
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

/// An array as the bytes it has in memory.
fn as_bytes(value: Value) -> Value {
    match value {
        Value::Numbers(numbers, size) => {
            let bytes = numbers
                .iter()
                .flat_map(|number| number.to_le_bytes().into_iter().take(size).collect::<Vec<_>>());
            Value::Bytes(bytes.collect())
        }
        other => other,
    }
}

fn element(value: &Value, index: &Value) -> Value {
    let Value::Number(index) = index else { return Value::Unknown };
    let index = usize::try_from(*index).unwrap_or(usize::MAX);
    match value {
        Value::Bytes(bytes) => bytes.get(index).map(|byte| Value::Number((*byte).into())),
        Value::Numbers(numbers, _) => numbers.get(index).map(|number| Value::Number(*number)),
        _ => None,
    }
    .unwrap_or(Value::Unknown)
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Number(value) => Some(*value != 0),
        Value::Bytes(_) | Value::Numbers(..) | Value::State => Some(true),
        Value::Unknown | Value::Void => None,
    }
}

/// The size of a type in bytes.
fn type_size(name: &str) -> Option<usize> {
    Some(match name {
        "char" | "bool" | "uint8_t" | "int8_t" | "gchar" => 1,
        "short" | "uint16_t" | "int16_t" => 2,
        "int" | "uint32_t" | "int32_t" | "unsigned" | "guint" | "gint" => 4,
        "long" | "uint64_t" | "int64_t" | "size_t" | "hwaddr" | "uintptr_t" | "gsize" => 8,
        _ => return None,
    })
}

/// The value of `left operator right`.
fn binary(operator: &str, left: &Value, right: &Value) -> Result<Value, String> {
    if operator == "&&" || operator == "||" {
        let (left, right) = (truth(left), truth(right));
        return Ok(match (operator, left, right) {
            ("&&", Some(false), _) | ("&&", _, Some(false)) => Value::Number(0),
            ("||", Some(true), _) | ("||", _, Some(true)) => Value::Number(1),
            ("&&", Some(true), Some(true)) => Value::Number(1),
            ("||", Some(false), Some(false)) => Value::Number(0),
            _ => Value::Unknown,
        });
    }
    if let (Value::Bytes(bytes), "+", Value::Number(offset)) = (left, operator, right) {
        let offset = usize::try_from(*offset).unwrap_or(usize::MAX);
        return Ok(Value::Bytes(bytes.get(offset..).unwrap_or_default().to_vec()));
    }
    let (Value::Number(left), Value::Number(right)) = (left, right) else {
        return Ok(Value::Unknown);
    };
    let (left, right) = (*left, *right);
    let flag = |holds: bool| u64::from(holds);
    let shift = u32::try_from(right).unwrap_or(u32::MAX);
    Ok(Value::Number(match operator {
        "|" => left | right,
        "^" => left ^ right,
        "&" => left & right,
        "==" => flag(left == right),
        "!=" => flag(left != right),
        "<" => flag(left < right),
        ">" => flag(left > right),
        "<=" => flag(left <= right),
        ">=" => flag(left >= right),
        "<<" => left.checked_shl(shift).unwrap_or(0),
        ">>" => left.checked_shr(shift).unwrap_or(0),
        "+" => left.wrapping_add(right),
        "-" => left.wrapping_sub(right),
        "*" => left.wrapping_mul(right),
        "/" => left.checked_div(right).ok_or("it divides by zero")?,
        "%" => left.checked_rem(right).ok_or("it divides by zero")?,
        _ => return Err(format!("`{operator}` is not understood")),
    }))
}
