//! `qgraph man`: the manual, made of the same definitions as the help.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::help::{ENVIRONMENT, EXAMPLES, EXIT_STATUS, FILES, Row};
use super::{Stop, program};
use crate::files::output_file::OutputFile;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Print the page of this command; without, that of qgraph.
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
    /// Write all pages to this folder, which is made if it is missing.
    #[arg(short, long, value_name = "DIR", conflicts_with = "command")]
    output: Option<PathBuf>,
}

pub(super) fn main(arguments: &Arguments) -> Result<ExitCode, Stop> {
    let program = program();
    if let Some(folder) = &arguments.output {
        for command in program.get_subcommands().chain([&program]) {
            let file = folder.join(format!("{}.1", name(command)));
            let written = OutputFile::with_folder(&file)
                .and_then(|file| file.write(&page(command, &program)));
            written.map_err(|e| Stop::Usage(format!("cannot write {}: {e}", file.display())))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let command = match &arguments.command {
        None => &program,
        Some(name) => program.find_subcommand(name).ok_or_else(|| {
            let names: Vec<&str> = program.get_subcommands().map(Command::get_name).collect();
            Stop::Usage(format!("qgraph has no command {name}, but {}", names.join(", ")))
        })?,
    };
    io::stdout().lock().write_all(&page(command, &program))?;
    Ok(ExitCode::SUCCESS)
}

/// `qgraph`, or `qgraph-COMMAND`.
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or(command.get_name())
}

/// The page of `command`, which is `program` or a part of it.
fn page(command: &Command, program: &Command) -> Vec<u8> {
    let is_program = name(command) == name(program);
    let version = program.get_version().unwrap_or_default();
    let man = Man::new(command.clone())
        .title(name(command).to_uppercase())
        .source(format!("qgraph {version}"))
        .manual("qgraph");
    let mut page = Vec::new();
    let write = |page: &mut Vec<u8>| {
        man.render_title(page)?;
        man.render_name_section(page)?;
        man.render_synopsis_section(page)?;
        man.render_description_section(page)?;
        man.render_options_section(page)?;
        if is_program {
            man.render_subcommands_section(page)?;
        } else if command.get_after_help().is_some() {
            man.render_extra_section(page)?;
        }
        rest(program, is_program).to_writer(page)
    };
    write(&mut page).expect("memory can be written");
    page
}

/// The sections that no argument has.
fn rest(program: &Command, is_program: bool) -> Roff {
    let mut roff = Roff::new();
    table(&mut roff, "EXIT STATUS", &EXIT_STATUS);
    if !is_program {
        roff.control("SH", ["SEE ALSO"]);
        roff.text([bold(name(program)), roman("(1) on environment and files")]);
        return roff;
    }
    table(&mut roff, "ENVIRONMENT", &ENVIRONMENT);
    table(&mut roff, "FILES", &FILES);
    table(&mut roff, "EXAMPLES", &EXAMPLES);
    roff
}

fn table(roff: &mut Roff, title: &str, rows: &[Row]) {
    roff.control("SH", [title]);
    for (key, means) in rows {
        roff.control("TP", []);
        roff.text([bold(*key)]);
        roff.text([roman(*means)]);
    }
}
