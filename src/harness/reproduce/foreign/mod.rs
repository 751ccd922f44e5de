//! Reproducers of other people: whatever form of qtest script a bug is reported in. Finds
//! them in a text and reads them, without running anything of it. Which options of theirs
//! QEMU may be given is decided in `command_line` and `allowed`.

mod allowed;
mod as_test;
mod c;
mod command_line;
mod fit;
mod list;
mod log;
mod options;
mod reproducer;
mod request;
mod requests;
mod shell;
#[cfg(test)]
mod tests;
mod text;

use std::fmt;
use std::path::Path;

pub use as_test::as_test;
pub use command_line::{Adapted, adapt};
pub use fit::fit;
pub use requests::{refused, refused_requests};

use text::Line;

/// How a reproducer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// A script of a shell that pipes requests into QEMU.
    Script,
    /// A test in C against QEMU's libqtest.
    C,
    /// A list of requests.
    List,
    /// A log of requests and answers.
    Log,
    /// A trace of QEMU's fuzzer.
    Trace,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Script => "a shell script",
            Self::C => "a test in C",
            Self::List => "a list of requests",
            Self::Log => "a log",
            Self::Trace => "a fuzzer's trace",
        })
    }
}

/// A reproducer that was found in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// How it is written.
    pub shape: Shape,
    /// The line in which it begins, from 1.
    pub line: usize,
    /// The emulator that it names, such as `qemu-system-arm`, without a folder.
    pub program: Option<String>,
    /// The emulator's arguments; `None` where the text has none.
    pub arguments: Option<Vec<String>>,
    /// The requests, as QEMU reads them. A QMP command begins with `{`.
    pub requests: Vec<String>,
    /// What a reader should know: what was left out, and why.
    pub notes: Vec<String>,
}

/// The longest text that is read, in bytes.
const MOST_TEXT: usize = 64 << 20;

/// Finds all reproducers in `text`: those of a shell or in C first, in the order in which
/// they stand there, then lists, then logs. A script may read files in `folder`.
///
/// # Errors
/// There is none, or none that can be read: why, in words for a person.
pub fn read(text: &str, folder: &Path) -> Result<Vec<Foreign>, String> {
    if text.len() > MOST_TEXT {
        return Err(format!("it is longer than {} MiB", MOST_TEXT >> 20));
    }
    let lines = text::lines(text);
    let mut troubles: Vec<(usize, String)> = Vec::new();
    let mut found = Vec::new();

    let file = |name: &str| beside(folder, name);
    let scripts = shell::read(&lines, &file);
    let mut taken: Vec<(usize, usize)> = Vec::new();
    let mut commands: Vec<Command> = Vec::new();
    for script in &scripts.scripts {
        let command = Command {
            row: script.rows.0,
            program: script.program.as_deref().map(name_of).filter(|name| name != "qemu"),
            arguments: script.arguments.clone(),
        };
        let Some(input) = &script.input else {
            commands.push(command);
            continue;
        };
        if let Some(missing) = input.iter().find_map(|line| line.strip_prefix(shell::MISSING)) {
            troubles.push((
                script.rows.0,
                format!("its requests are in the file {missing}, which is not beside it"),
            ));
            commands.push(command);
            continue;
        }
        let requests = request::tidy_all(input.iter().map(String::as_str));
        if !requests.iter().any(|line| request::is_request(line)) {
            commands.push(command);
            continue;
        }
        taken.push(script.rows);
        found.push(Foreign {
            shape: Shape::Script,
            line: lines[script.rows.0].number,
            program: command.program,
            arguments: Some(command.arguments),
            requests,
            notes: script.notes.clone(),
        });
    }
    troubles.extend(scripts.troubles);

    for test in c::read(&lines) {
        match test {
            Ok(test) => {
                taken.push(test.rows);
                found.extend(of_test(test, &lines, &mut troubles));
            }
            Err((row, why)) => troubles.push((row, why)),
        }
    }
    found.sort_by_key(|one| one.line);

    let is_taken = |row: usize| taken.iter().any(|(begin, end)| (*begin..*end).contains(&row));
    commands.extend(loose_arguments(&scripts.variables, &commands));
    for list in list::read(&lines, &is_taken) {
        found.push(with_command(
            Shape::List,
            lines[list.rows.0].number,
            list.requests,
            command_for(&commands, list.rows),
        ));
    }
    if let Some(log) = log::read(&lines) {
        let started = log.started.as_ref().and_then(|(target, arguments)| {
            let arguments = shell::split(arguments)?;
            let target = target.rsplit("qemu-fuzz-").next().unwrap_or(target);
            Some(Command { row: 0, program: Some(format!("qemu-system-{target}")), arguments })
        });
        let command = started.or_else(|| command_for(&commands, log.rows).cloned());
        let shape = if log.is_trace { Shape::Trace } else { Shape::Log };
        let mut one = with_command(shape, lines[log.rows.0].number, log.requests, command.as_ref());
        one.notes.extend(log.notes);
        // The same as a script that is there: its output.
        if !found.iter().any(|other| is_output_of(&one, other)) {
            found.push(one);
        }
    }
    for one in &found {
        if let Some((request, why)) =
            one.requests.iter().find_map(|line| Some((line, request::mistake(line)?)))
        {
            return Err(format!(
                "line {} and on: `{request:.80}` would make QEMU itself abort: {why}",
                one.line
            ));
        }
    }
    if found.is_empty() {
        let looked = "no script that pipes requests into QEMU, no test in C against libqtest, no \
                      list and no log of requests of the qtest protocol";
        return Err(match troubles.first() {
            None => looked.to_owned(),
            Some((row, why)) => {
                let number = lines.get(*row).map_or(0, |line| line.number);
                format!("{looked} that can be read; line {number}: {why}")
            }
        });
    }
    Ok(found)
}

/// The content of the file `name` in `folder`, if it is there and no other folder is named.
fn beside(folder: &Path, name: &str) -> Option<String> {
    let name = name.strip_prefix("./").unwrap_or(name);
    if name.is_empty() || name.contains('/') || name == ".." {
        return None;
    }
    let file = folder.join(name);
    let about = std::fs::symlink_metadata(&file).ok()?;
    if !about.is_file() || about.len() > MOST_TEXT as u64 {
        return None;
    }
    String::from_utf8(std::fs::read(file).ok()?).ok()
}

/// A line that starts an emulator.
#[derive(Debug, Clone)]
struct Command {
    row: usize,
    program: Option<String>,
    arguments: Vec<String>,
}

/// The last part of the path of a program.
fn name_of(program: &str) -> String {
    let name = program.rsplit('/').next().unwrap_or(program);
    let name = name.trim_start_matches('\\');
    match name.strip_prefix("qemu-fuzz-") {
        Some(target) => {
            let target = target.split("-target-").next().unwrap_or(target);
            format!("qemu-system-{target}")
        }
        None if name.starts_with("qemu-kvm") => "qemu-system-x86_64".to_owned(),
        None => name.to_owned(),
    }
}

/// The command line that belongs to what stands in these rows: the last before it, else the
/// first after it.
fn command_for(commands: &[Command], rows: (usize, usize)) -> Option<&Command> {
    let before = commands.iter().filter(|command| command.row <= rows.0);
    before.max_by_key(|command| command.row).or(commands.first())
}

/// Arguments that a variable such as `QEMU_ARGS` holds, where no command uses it.
fn loose_arguments(
    variables: &std::collections::HashMap<String, String>,
    commands: &[Command],
) -> Option<Command> {
    let mut names: Vec<&String> =
        variables.keys().filter(|name| name.to_uppercase().contains("QEMU")).collect();
    names.sort();
    let value = names.iter().find_map(|name| {
        variables.get(*name).filter(|value| value.trim_start().starts_with('-'))
    })?;
    let arguments = shell::split(value)?;
    commands.is_empty().then_some(Command { row: 0, program: None, arguments })
}

fn with_command(
    shape: Shape,
    line: usize,
    requests: Vec<String>,
    command: Option<&Command>,
) -> Foreign {
    Foreign {
        shape,
        line,
        program: command.and_then(|command| command.program.clone()),
        arguments: command.map(|command| command.arguments.clone()),
        requests,
        notes: Vec::new(),
    }
}

/// What a test in C comes to.
fn of_test(test: c::Test, lines: &[Line], troubles: &mut Vec<(usize, String)>) -> Option<Foreign> {
    let arguments = shell::split(&test.arguments.unwrap_or_default());
    if arguments.is_none() {
        troubles.push((test.rows.0, "the arguments of its QEMU cannot be read".to_owned()));
    }
    let mut notes = test.notes;
    notes.insert(0, format!("the test `{}`", test.name));
    if test.requests.is_empty() {
        notes.push("it makes no requests: it only starts QEMU".to_owned());
    }
    Some(Foreign {
        shape: Shape::C,
        line: lines[test.rows.0].number,
        program: test.targets.first().map(|target| format!("qemu-system-{target}")),
        arguments: Some(arguments?),
        requests: test.requests,
        notes,
    })
}

/// Whether a log is what running another reproducer of the same text gave.
fn is_output_of(log: &Foreign, other: &Foreign) -> bool {
    let begins = |one: &Foreign, two: &Foreign| {
        let count = one.requests.len().min(two.requests.len()).min(4);
        count > 0 && one.requests[..count] == two.requests[..count]
    };
    other.shape != Shape::Log && begins(log, other)
}
