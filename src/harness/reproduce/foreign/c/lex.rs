//! The words of C: names, numbers, texts, signs. Comments and directives are passed over,
//! and macros are replaced by what they stand for.

use std::collections::HashMap;
use std::rc::Rc;

use super::super::request;
use super::super::text::Line;

/// How deep macros may stand in each other, and how many words they may make.
const DEEPEST: usize = 16;
const MOST_TOKENS: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Name(String),
    Number(u64),
    Text(Rc<Vec<u8>>),
    Sign(&'static str),
}

/// A word, and the row in which it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub kind: Kind,
    pub row: usize,
}

impl Token {
    pub(super) fn is(&self, sign: &str) -> bool {
        matches!(&self.kind, Kind::Sign(own) if *own == sign)
    }
}

/// The signs, the longest first.
const SIGNS: [&str; 47] = [
    "<<=", ">>=", "...", "->", "++", "--", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "+=",
    "-=", "*=", "/=", "%=", "&=", "|=", "^=", "##", "(", ")", "{", "}", "[", "]", ";", ",", ":",
    "?", "=", "<", ">", "+", "-", "*", "/", "%", "&", "|", "^", "~", "!", ".",
];

/// The words of these lines, the first of which is row `row`.
///
/// # Errors
/// A text without its end, or a character that C does not have.
pub(super) fn tokens(lines: &[Line], row: usize) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut in_comment = false;
    let mut in_directive = false;
    for (at, line) in lines.iter().enumerate() {
        let directive = in_directive || !in_comment && line.text.trim_start().starts_with('#');
        in_directive = directive && line.text.ends_with('\\');
        if directive {
            continue;
        }
        line_tokens(&line.text, row + at, &mut in_comment, &mut tokens)?;
    }
    Ok(tokens)
}

fn line_tokens(
    line: &str,
    row: usize,
    in_comment: &mut bool,
    tokens: &mut Vec<Token>,
) -> Result<(), String> {
    let mut rest = line;
    loop {
        if *in_comment {
            let Some((_, after)) = rest.split_once("*/") else { return Ok(()) };
            (*in_comment, rest) = (false, after);
        }
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return Ok(()) };
        if rest.starts_with("//") || rest == "\\" {
            return Ok(());
        }
        if let Some(after) = rest.strip_prefix("/*") {
            (*in_comment, rest) = (true, after);
            continue;
        }
        let (kind, length) = if first.is_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            (Kind::Name(rest[..end].to_owned()), end)
        } else if first.is_ascii_digit() {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
            let word = rest[..end].trim_end_matches(['u', 'U', 'l', 'L']);
            let number = request::number(word)
                .ok_or_else(|| format!("`{}` is no whole number", &rest[..end]))?;
            (Kind::Number(number), end)
        } else if first == '"' || first == '\'' {
            let (bytes, length) = quoted(rest)?;
            if first == '"' {
                (Kind::Text(Rc::new(bytes)), length)
            } else {
                (Kind::Number(bytes.first().copied().unwrap_or(0).into()), length)
            }
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            let sign = sign.ok_or_else(|| format!("`{first}` is no part of C"))?;
            (Kind::Sign(sign), sign.len())
        };
        tokens.push(Token { kind, row });
        rest = &rest[length..];
    }
}

/// The bytes of a text in quotes at the beginning of `rest`, and its length there.
fn quoted(rest: &str) -> Result<(Vec<u8>, usize), String> {
    let end = rest.as_bytes()[0];
    let text = rest.as_bytes();
    let (mut bytes, mut at) = (Vec::new(), 1);
    loop {
        match text.get(at) {
            None => return Err("a text without its end".to_owned()),
            Some(&byte) if byte == end => return Ok((bytes, at + 1)),
            Some(b'\\') => {
                let (byte, length) = escape(&text[at + 1..]);
                bytes.extend(byte);
                at += 1 + length;
            }
            Some(&byte) => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
}

/// The byte that an escape stands for, and its length behind the backslash.
fn escape(text: &[u8]) -> (Option<u8>, usize) {
    let digits = |radix: u32, most: usize, text: &[u8]| {
        let digit = |byte: &&u8| char::from(**byte).is_digit(radix);
        text.iter().take_while(digit).take(most).count()
    };
    let value = |radix, digits: &[u8]| {
        let digits = std::str::from_utf8(digits).unwrap_or_default();
        u32::from_str_radix(digits, radix).ok().map(|value| value as u8)
    };
    match text.first() {
        Some(b'x') => {
            // As many digits as there are belong to it; the last two count.
            let count = digits(16, usize::MAX, &text[1..]);
            let last = &text[1 + count.saturating_sub(2)..1 + count];
            (value(16, last), 1 + count)
        }
        Some(b'0'..=b'7') => {
            let count = digits(8, 3, text);
            (value(8, &text[..count]), count)
        }
        Some(b'n') => (Some(b'\n'), 1),
        Some(b't') => (Some(b'\t'), 1),
        Some(b'r') => (Some(b'\r'), 1),
        Some(b'a') => (Some(7), 1),
        Some(b'b') => (Some(8), 1),
        Some(b'f') => (Some(12), 1),
        Some(b'v') => (Some(11), 1),
        Some(&other) => (Some(other), 1),
        None => (None, 0),
    }
}

/// A macro: its parameters, if it takes any, and what it stands for.
#[derive(Debug, Clone)]
pub(super) struct Macro {
    parameters: Option<Vec<String>>,
    body: Vec<Token>,
}

/// The macros that these lines define. One that cannot be read is left out: it may not be
/// used.
pub(super) fn macros(lines: &[Line]) -> HashMap<String, Macro> {
    let mut macros = HashMap::new();
    let mut row = 0;
    while row < lines.len() {
        let begin = row;
        let mut text = lines[row].text.trim().to_owned();
        while text.ends_with('\\') && row + 1 < lines.len() {
            row += 1;
            text.pop();
            text.push_str(lines[row].text.trim());
        }
        row += 1;
        let Some(rest) = text.strip_prefix('#').map(str::trim_start) else { continue };
        let Some(rest) = rest.strip_prefix("define").map(str::trim_start) else { continue };
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (name, mut body) = rest.split_at(end);
        let mut parameters = None;
        if let Some((inner, after)) = body.strip_prefix('(').and_then(|inner| inner.split_once(')'))
        {
            let names = inner.split(',').map(|name| name.trim().to_owned());
            parameters = Some(names.filter(|name| !name.is_empty()).collect());
            body = after;
        }
        let mut tokens = Vec::new();
        if line_tokens(body, begin, &mut false, &mut tokens).is_ok() {
            macros.insert(name.to_owned(), Macro { parameters, body: tokens });
        }
    }
    macros
}

/// The words with all macros replaced.
///
/// # Errors
/// Macros that stand in each other without end.
pub(super) fn expand(
    tokens: &[Token],
    macros: &HashMap<String, Macro>,
    depth: usize,
) -> Result<Vec<Token>, String> {
    if depth > DEEPEST {
        return Err("macros stand in each other too deep".to_owned());
    }
    let mut expanded = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        at += 1;
        let Kind::Name(name) = &token.kind else {
            expanded.push(token.clone());
            continue;
        };
        let Some(known) = macros.get(name) else {
            expanded.push(token.clone());
            continue;
        };
        let mut body: Vec<Token> = Vec::new();
        match &known.parameters {
            None => body.clone_from(&known.body),
            Some(names) => {
                let Some((arguments, end)) = call_arguments(tokens, at) else {
                    expanded.push(token.clone());
                    continue;
                };
                at = end;
                for word in &known.body {
                    let parameter = match &word.kind {
                        Kind::Name(name) => names.iter().position(|own| own == name),
                        _ => None,
                    };
                    match parameter.and_then(|number| arguments.get(number)) {
                        Some(argument) => body.extend_from_slice(argument),
                        None => body.push(word.clone()),
                    }
                }
            }
        }
        for word in &mut body {
            word.row = token.row;
        }
        // A macro does not stand in itself.
        let mut inner = macros.clone();
        inner.remove(name);
        expanded.extend(expand(&body, &inner, depth + 1)?);
        if expanded.len() > MOST_TOKENS {
            return Err("macros make too much".to_owned());
        }
    }
    Ok(expanded)
}

/// The arguments of a call whose parenthesis is at `at`, and where it ends.
fn call_arguments(tokens: &[Token], at: usize) -> Option<(Vec<Vec<Token>>, usize)> {
    tokens.get(at).filter(|token| token.is("("))?;
    let mut arguments = vec![Vec::new()];
    let mut depth = 0;
    for (number, token) in tokens.iter().enumerate().skip(at) {
        if token.is("(") {
            depth += 1;
            if depth == 1 {
                continue;
            }
        }
        if token.is(")") {
            depth -= 1;
            if depth == 0 {
                return Some((arguments, number + 1));
            }
        }
        if token.is(",") && depth == 1 {
            arguments.push(Vec::new());
        } else {
            arguments.last_mut()?.push(token.clone());
        }
    }
    None
}
