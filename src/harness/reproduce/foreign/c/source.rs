//! Finds the tests of a text in C: its functions, macros and global variables.

use std::collections::HashMap;
use std::rc::Rc;

use super::Test;
use super::frame::Frame;
use super::lex::{Kind, Macro, Token, expand, macros, tokens};
use super::statement::Machine;
use super::value::Value;
use crate::harness::reproduce::foreign::request;
use crate::harness::reproduce::foreign::text::Line;

/// A function: its parameters and its body, with the braces.
#[derive(Debug, Clone)]
pub(super) struct Function {
    pub name: String,
    pub parameters: Vec<String>,
    pub body: Rc<Vec<Token>>,
    pub rows: (usize, usize),
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
        let value = request::number(value)?;
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
