//! `qgraph why NAME`: why something is available or not, emulator by emulator.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use super::guests::GuestArguments;
use super::{EmulatorArguments, Stop};
use crate::graph::{Answer, Lack, Model, Subject};
use crate::qemu::Emulator;
use crate::shown::shown;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// A path, a node, or a test (SUITE/CASE).
    name: String,
    #[command(flatten)]
    guests: GuestArguments,
    #[command(flatten)]
    emulators: EmulatorArguments,
}

pub(super) fn main(arguments: &Arguments) -> Result<ExitCode, Stop> {
    let mut model = Model::registered();
    if arguments.guests.are_given() {
        let names = std::slice::from_ref(&arguments.name);
        model.add_guests(arguments.guests.read(names, None)?);
    }
    let model = Arc::new(model);
    let subject = model.subject(&arguments.name);
    let mut out = io::stdout().lock();
    match &subject {
        Subject::Unknown(near) => {
            let near = match near.as_slice() {
                [] => "; `qgraph graph --format json` has all names".to_owned(),
                near => format!("; did you mean {}?", near.join(", ")),
            };
            let name = &arguments.name;
            return Err(Stop::Usage(format!("nothing in the graph is called {name}{near}")));
        }
        Subject::NoEdge { after, rest, instead } => {
            let wanted = rest.trim_matches('/');
            let wanted = if wanted.is_empty() { "a test" } else { wanted };
            writeln!(out, "{}: no such path", shown(&arguments.name))?;
            writeln!(out, "  the graph has no edge from {after} to {}", shown(wanted))?;
            writeln!(out, "  from {after} edges lead to: {}", instead.join(", "))?;
            return Ok(ExitCode::FAILURE);
        }
        Subject::Node(name, kind) => writeln!(out, "{name} is a {}", kind.word())?,
        Subject::Path(path) => writeln!(out, "{} is a path", path.name())?,
    }
    if let Subject::Path(path) = &subject
        && let Some(why) = path.why_no_guest()
    {
        writeln!(out, "  no: {}", shown(&why))?;
        return Ok(ExitCode::FAILURE);
    }
    let mut available = false;
    // Those of other architectures are no news, one line does.
    let (mut others, mut needed) = (Vec::new(), String::new());
    for emulator in arguments.emulators.fleet()?.usable {
        let said = match model.answer(&subject, &emulator.capabilities) {
            None => continue,
            Some(Answer::Path(None)) => match skipped(&subject, &emulator) {
                Some(why) => format!("available, but skipped: {why}"),
                None => "available".to_owned(),
            },
            Some(Answer::Node { paths, .. }) if paths > 0 => format!("available, on {paths} paths"),
            Some(answer) => match lacks(answer).as_slice() {
                [] => "no: no path from any machine leads there and on to a test".to_owned(),
                [Lack::Arch { needs, .. }] => {
                    needed.clone_from(needs);
                    others.push(emulator.name());
                    continue;
                }
                lacks => {
                    let lacks: Vec<String> = lacks.iter().map(|it| format!("it {it}")).collect();
                    format!("no: {}", lacks.join("; "))
                }
            },
        };
        available |= said.starts_with("available");
        writeln!(out, "  {}", shown(&format!("{}: {said}", emulator.path.display())))?;
    }
    if !others.is_empty() {
        let text = format!("no, they do not emulate {needed}: {}", others.join(", "));
        writeln!(out, "  {}", shown(&text))?;
    }
    Ok(if available { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Why the guest at which a path ends is skipped on this emulator, if it is.
fn skipped(subject: &Subject, emulator: &Emulator) -> Option<String> {
    let Subject::Path(path) = subject else { return None };
    path.guest()?.lacks(emulator.guest_accel())
}

fn lacks(answer: Answer) -> Vec<Lack> {
    match answer {
        Answer::Path(lack) => lack.into_iter().collect(),
        Answer::Node { lacks, .. } => lacks.into_iter().collect(),
    }
}
