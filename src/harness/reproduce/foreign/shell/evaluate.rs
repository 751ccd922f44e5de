//! What a script stands for: the text that each emulator in it would be given.

use std::collections::HashMap;

use super::super::c;
use super::super::text::{Line, without_prompt};
use super::parse::parse;
use super::syntax::{Command, Complete, Heredoc, List, Part, Redirect, Word, escapes};

/// How often the body of a loop without an end is repeated.
const FOREVER: usize = 50;
/// The most text that a script may make, in bytes.
const MOST_TEXT: usize = 16 << 20;

/// A command line of an emulator in a script.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Script {
    /// The rows that it takes, from 0.
    pub rows: (usize, usize),
    /// The program, as it is called there; `None` where a variable stands that has no value.
    pub program: Option<String>,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What it is given on its standard input, if anything is.
    pub input: Option<Vec<String>>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// What all scripts of a text say.
#[derive(Debug, Default)]
pub(in super::super) struct Read {
    /// The command lines of emulators.
    pub scripts: Vec<Script>,
    /// The variables at the end.
    pub variables: HashMap<String, String>,
    /// What could not be read, and in which row.
    pub troubles: Vec<(usize, String)>,
}

/// Reads all that looks like shell in `lines`. `file` gives the content of a file that a
/// script reads.
pub(in super::super) fn read(lines: &[Line], file: &dyn Fn(&str) -> Option<String>) -> Read {
    let mut reader = Reader { read: Read::default(), files: HashMap::new(), file, size: 0 };
    let mut row = 0;
    while row < lines.len() {
        let text = &lines[row].text;
        let command = without_prompt(text);
        let column = text.len() - command.len();
        if !may_begin(command) {
            row += 1;
            continue;
        }
        let complete = match parse(lines, row, column) {
            Ok(complete) => complete,
            Err(why) => {
                if command.contains("<<") || is_emulator(command.split(' ').next().unwrap_or("")) {
                    reader.read.troubles.push((row, why));
                }
                row += 1;
                continue;
            }
        };
        let before = reader.read.scripts.len();
        let useful = reader.run(&complete, row);
        let found = reader.read.scripts.len() > before;
        row = if useful || found { complete.next.max(row + 1) } else { row + 1 };
    }
    reader.read
}

/// Splits a line into words like a shell, without variables; `None` if quotes do not close.
pub(in super::super) fn split(line: &str) -> Option<Vec<String>> {
    let lines = [Line { number: 1, text: line.replace('\n', " ") }];
    let mut reader =
        Reader { read: Read::default(), files: HashMap::new(), file: &|_| None, size: 0 };
    let complete = parse(&lines, 0, 0).ok()?;
    let mut words = Vec::new();
    for command in complete.list.iter().flatten() {
        let Command::Simple { assignments, words: more, .. } = command else { return None };
        for (name, word) in assignments {
            words.push(format!("{name}={}", reader.text(word, &[], &mut Vec::new())));
        }
        words.extend(more.iter().flat_map(|word| reader.fields(word, &[], &mut Vec::new())));
    }
    Some(words)
}

/// Whether a command begins with a word that matters here.
fn may_begin(command: &str) -> bool {
    let first = command.split_whitespace().next().unwrap_or_default();
    let assigns = first.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    });
    let words = ["cat", "echo", "printf", "export", "while", "for", "{", "(", "timeout", "exec"];
    assigns
        || words.contains(&first)
        || first.starts_with(['{', '('])
        || command.contains("<<")
        || is_emulator(first) && (first != "qemu" || command.contains(" -"))
        || command.starts_with(['$', '"']) && command.to_lowercase().contains("qemu")
        || command.contains("qemu-system-") && command.contains(" -")
}

/// Whether a word names an emulator.
pub(in super::super) fn is_emulator(word: &str) -> bool {
    // An assignment, or what an emulator writes.
    if word.contains('=') || word.ends_with(':') {
        return false;
    }
    let name = word.rsplit('/').next().unwrap_or(word);
    let name = name.trim_start_matches(['"', '\'', '\\']);
    name == "qemu"
        || ["qemu-system-", "qemu-kvm", "qemu-fuzz-"].iter().any(|prefix| name.starts_with(prefix))
}

struct Reader<'a> {
    read: Read,
    /// Files that the script itself writes.
    files: HashMap<String, String>,
    file: &'a dyn Fn(&str) -> Option<String>,
    /// How much text was made.
    size: usize,
}

/// What one command works on.
struct Context<'a> {
    heredocs: &'a [Heredoc],
    rows: (usize, usize),
}

impl Reader<'_> {
    /// Evaluates a complete command; whether it did anything that later ones may need.
    fn run(&mut self, complete: &Complete, row: usize) -> bool {
        let context = Context { heredocs: &complete.heredocs, rows: (row, complete.next) };
        let assigns = complete.list.iter().flatten().any(|command| {
            let Command::Simple { assignments, words, redirects } = command else { return false };
            let export = words.first().is_some_and(|word| plain(word) == "export");
            let writes = redirects.iter().any(|redirect| matches!(redirect, Redirect::To(_)));
            (words.is_empty() && !assignments.is_empty()) || export || writes
        });
        self.list(&complete.list, None, &context);
        assigns
    }

    /// The output of a list.
    fn list(&mut self, list: &List, input: Option<&str>, context: &Context) -> String {
        let mut output = String::new();
        for pipeline in list {
            let mut text: Option<String> = input.map(str::to_owned);
            for command in pipeline {
                let made = self.command(command, text.as_deref(), context);
                text = Some(made);
            }
            output.push_str(&text.unwrap_or_default());
            self.size += output.len();
            if self.size > MOST_TEXT {
                break;
            }
        }
        output
    }

    /// The output of a command.
    fn command(&mut self, command: &Command, input: Option<&str>, context: &Context) -> String {
        let (redirects, output) = match command {
            Command::Simple { assignments, words, redirects } => {
                let given = self.input(redirects, context).or(input.map(str::to_owned));
                (redirects, self.simple(assignments, words, given, context))
            }
            Command::Group { list, redirects } => {
                let given = self.input(redirects, context).or(input.map(str::to_owned));
                (redirects, self.list(list, given.as_deref(), context))
            }
            Command::Forever { list, redirects } => {
                let mut output = String::new();
                for _ in 0..FOREVER {
                    output.push_str(&self.list(list, None, context));
                    if self.size > MOST_TEXT {
                        break;
                    }
                }
                (redirects, output)
            }
            Command::For { name, words, list, redirects } => {
                let mut notes = Vec::new();
                let heredocs = context.heredocs;
                let values: Vec<String> =
                    words.iter().flat_map(|word| self.fields(word, heredocs, &mut notes)).collect();
                let mut output = String::new();
                for value in values {
                    self.read.variables.insert(name.clone(), value);
                    output.push_str(&self.list(list, None, context));
                    if self.size > MOST_TEXT {
                        break;
                    }
                }
                (redirects, output)
            }
        };
        for redirect in redirects {
            if let Redirect::To(word) = redirect {
                let name = self.text(word, context.heredocs, &mut Vec::new());
                self.files.insert(name, output);
                return String::new();
            }
        }
        output
    }

    /// What redirections give a command to read: the last one counts.
    fn input(&mut self, redirects: &[Redirect], context: &Context) -> Option<String> {
        redirects.iter().rev().find_map(|redirect| match redirect {
            Redirect::Here(number) => {
                let heredoc = context.heredocs.get(*number)?;
                Some(self.heredoc(heredoc))
            }
            Redirect::From(word) => {
                let name = self.text(word, context.heredocs, &mut Vec::new());
                let known = self.files.get(&name).cloned().or_else(|| (self.file)(&name));
                known.or(Some(format!("{MISSING}{name}\n")))
            }
            _ => None,
        })
    }

    fn heredoc(&mut self, heredoc: &Heredoc) -> String {
        let mut text = String::new();
        for line in &heredoc.lines {
            let line = if heredoc.expands && line.contains('$') {
                let quoted =
                    [Line { number: 0, text: format!("\"{}\"", line.replace('"', "\\\"")) }];
                let word = parse(&quoted, 0, 0).ok().and_then(|complete| {
                    match complete.list.into_iter().flatten().next() {
                        Some(Command::Simple { words, .. }) => words.into_iter().next(),
                        _ => None,
                    }
                });
                word.map_or(line.clone(), |word| self.text(&word, &[], &mut Vec::new()))
            } else {
                line.clone()
            };
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    fn simple(
        &mut self,
        assignments: &[(String, Word)],
        words: &[Word],
        input: Option<String>,
        context: &Context,
    ) -> String {
        let mut notes = Vec::new();
        let heredocs = context.heredocs;
        if words.is_empty() {
            for (name, word) in assignments {
                let value = self.text(word, heredocs, &mut notes);
                self.read.variables.insert(name.clone(), value);
            }
            return String::new();
        }
        // A program that only a variable names, and the variable has no value.
        let unnamed = matches!(&words[0][..], [Part::Variable(name, None, _)]
            if !self.read.variables.contains_key(name) && name.to_lowercase().contains("qemu"));
        let mut fields: Vec<String> = Vec::new();
        let mut emulator = None;
        for (at, word) in words.iter().enumerate() {
            let begin = fields.len();
            fields.extend(self.fields(word, heredocs, &mut notes));
            if emulator.is_none() && fields[begin..].iter().any(|field| is_emulator(field)) {
                emulator = fields.iter().position(|field| is_emulator(field));
            }
            if at == 0 && unnamed {
                break;
            }
        }
        if unnamed {
            let rest = words[1..].iter();
            let arguments = rest.flat_map(|word| self.fields(word, heredocs, &mut notes)).collect();
            self.found(None, arguments, input, notes, context);
            return String::new();
        }
        match (emulator, fields.first().map(String::as_str)) {
            (Some(at), Some(first)) => {
                if at > 0 && !matches!(first, "cat" | "exec" | "sudo" | "time") {
                    notes.push(format!("`{first}` before the emulator is left out"));
                }
                let program = fields[at].clone();
                let arguments = fields.split_off(at + 1);
                self.found(Some(program), arguments, input, notes, context);
                String::new()
            }
            (None, Some("export" | "set" | "declare" | "local")) => {
                for word in &fields[1..] {
                    if let Some((name, value)) = word.split_once('=') {
                        self.read.variables.insert(name.to_owned(), value.to_owned());
                    }
                }
                // A value with blanks is one word only within quotes.
                for word in &words[1..] {
                    let text = self.text(word, heredocs, &mut notes);
                    if let Some((name, value)) = text.split_once('=') {
                        self.read.variables.insert(name.to_owned(), value.to_owned());
                    }
                }
                String::new()
            }
            (None, Some("cat" | "tee")) => {
                let mut text = input.unwrap_or_default();
                for name in fields[1..].iter().filter(|name| *name != "-") {
                    let known = self.files.get(name).cloned().or_else(|| (self.file)(name));
                    text.push_str(&known.unwrap_or_default());
                }
                text
            }
            (None, Some("echo")) => echo(&fields[1..]),
            (None, Some("printf")) => printf(&fields[1..]),
            (None, Some("sed" | "grep" | "tr" | "head" | "tail" | "awk")) => {
                input.unwrap_or_default()
            }
            _ => String::new(),
        }
    }

    fn found(
        &mut self,
        program: Option<String>,
        arguments: Vec<String>,
        input: Option<String>,
        mut notes: Vec<String>,
        context: &Context,
    ) {
        notes.dedup();
        let input = input.map(|text| text.lines().map(str::to_owned).collect());
        self.read.scripts.push(Script { rows: context.rows, program, arguments, input, notes });
    }

    /// A word as one text.
    fn text(&mut self, word: &Word, heredocs: &[Heredoc], notes: &mut Vec<String>) -> String {
        word.iter().map(|part| self.part(part, heredocs, notes)).collect()
    }

    fn part(&mut self, part: &Part, heredocs: &[Heredoc], notes: &mut Vec<String>) -> String {
        match part {
            Part::Text(text, _) => text.clone(),
            Part::Variable(name, default, _) => {
                if let Some(value) = self.read.variables.get(name) {
                    return value.clone();
                }
                match default {
                    Some(default) => default.clone(),
                    None => {
                        notes.push(format!("the variable {name} has no value in the file"));
                        String::new()
                    }
                }
            }
            Part::Sum(text) => {
                let value = c::calculate(text, &self.read.variables);
                value.map_or(String::new(), |value| value.to_string())
            }
            Part::Output(list) => {
                let context = Context { heredocs, rows: (0, 0) };
                let output = self.list(list, None, &context);
                output.trim_end_matches('\n').to_owned()
            }
        }
    }

    /// A word as the fields into which a shell splits it: at blanks in the values of
    /// variables that are not quoted.
    fn fields(
        &mut self,
        word: &Word,
        heredocs: &[Heredoc],
        notes: &mut Vec<String>,
    ) -> Vec<String> {
        let mut fields: Vec<String> = Vec::new();
        let mut open = false;
        for part in word {
            let splits = match part {
                Part::Variable(_, _, quoted) => !quoted,
                Part::Output(_) => true,
                _ => false,
            };
            let text = self.part(part, heredocs, notes);
            if !splits {
                match fields.last_mut().filter(|_| open) {
                    Some(last) => last.push_str(&text),
                    None => fields.push(text),
                }
                open = true;
                continue;
            }
            for (at, piece) in text.split_whitespace().enumerate() {
                match fields.last_mut().filter(|_| open && at == 0) {
                    Some(last) if !text.starts_with(char::is_whitespace) => last.push_str(piece),
                    _ => fields.push(piece.to_owned()),
                }
                open = true;
            }
            if text.ends_with(char::is_whitespace) {
                open = false;
            }
        }
        fields
    }
}

/// How the text begins that stands for a file which is not there.
pub(in super::super) const MISSING: &str = "\u{1}missing ";

fn plain(word: &Word) -> String {
    word.iter().map(super::syntax::plain).collect()
}

fn echo(words: &[String]) -> String {
    let mut words = words;
    let (mut newline, mut escaped) = (true, true);
    while let [first, rest @ ..] = words {
        match first.as_str() {
            "-n" => newline = false,
            "-e" | "-en" | "-ne" => newline &= first == "-e",
            "-E" => escaped = false,
            _ => break,
        }
        words = rest;
    }
    let text = words.join(" ");
    let text = if escaped { escapes(&text) } else { text };
    if newline { format!("{text}\n") } else { text }
}

fn printf(words: &[String]) -> String {
    let words = if words.first().is_some_and(|word| word == "--") { &words[1..] } else { words };
    let Some((format, mut values)) = words.split_first() else { return String::new() };
    let mut output = String::new();
    loop {
        let left = values.len();
        let mut chars = format.chars().peekable();
        let mut text = String::new();
        while let Some(c) = chars.next() {
            if c != '%' {
                text.push(c);
                continue;
            }
            let mut flags = String::new();
            while let Some(c) = chars.peek().filter(|c| "#0123456789lh-".contains(**c)) {
                flags.push(*c);
                chars.next();
            }
            let kind = chars.next().unwrap_or('%');
            if kind == '%' {
                text.push('%');
                continue;
            }
            let value = match values.split_first() {
                Some((value, rest)) => {
                    values = rest;
                    value.as_str()
                }
                None => "",
            };
            text.push_str(&c::formatted(&flags, kind, value));
        }
        output.push_str(&escapes(&text));
        if values.is_empty() || values.len() == left || output.len() > MOST_TEXT {
            return output;
        }
    }
}
