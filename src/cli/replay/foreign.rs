//! `qgraph replay` of a foreign file, which qgraph did not write: finds the reproducer in it, chooses
//! the emulator, shows the command line, and tells what came of it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use super::{Arguments, Stop, minimize, note, shown, shown_lines, warn};
use crate::harness::foreign::{self, Foreign};
use crate::harness::{Replay, Reproducer, Verdict, replay};
use crate::qemu::{Emulator, Prober, binary};

/// Emulators that have the machines of another.
const INSTEAD: [(&str, &str); 8] = [
    ("qemu-system-i386", "qemu-system-x86_64"),
    ("qemu-system-arm", "qemu-system-aarch64"),
    ("qemu-system-ppc", "qemu-system-ppc64"),
    ("qemu-system-ppc64le", "qemu-system-ppc64"),
    ("qemu-system-mips", "qemu-system-mips64"),
    ("qemu-system-mipsel", "qemu-system-mips64el"),
    ("qemu-system-sh4", "qemu-system-sh4eb"),
    ("qemu-system-x86_64", "qemu-system-i386"),
];

pub(super) fn main(arguments: &Arguments, text: &str) -> Result<ExitCode, Stop> {
    let usage = |why: String| Stop::Usage(format!("{}: {why}", arguments.file.display()));
    let folder = folder_of(&arguments.file);
    let all = foreign::read(text, &folder).map_err(usage)?;
    let mut found = pick(&all, arguments.pick)?.clone();
    if let Some((first, rest)) = arguments.arguments.split_first() {
        let names = first.rsplit('/').next().is_some_and(|name| name.starts_with("qemu-system-"));
        let given = if names { rest } else { &arguments.arguments };
        if names {
            found.program = first.rsplit('/').next().map(str::to_owned);
        }
        if found.arguments.is_some() {
            note(format!("the arguments of {} are used instead of the file's", "-- …"));
        }
        found.arguments = Some(given.to_vec());
    }
    let Some(own) = &found.arguments else {
        let why = format!("{} in line {} has no command line", found.shape, found.line);
        return Err(usage(format!("{why}: give QEMU's arguments after `--`")));
    };
    let mut adapted = foreign::adapt(own, &folder, arguments.trust);
    let refused = objections(&found, &adapted.refused, arguments, &folder);
    let emulator = Arc::new(emulator(arguments, &found, &adapted.config.machine)?);
    foreign::fit(&mut adapted, &emulator.capabilities);
    let name = arguments.file.file_name().unwrap_or_default().to_string_lossy();
    let name = format!("{name}, line {}", found.line);
    let mut reproducer = found.reproducer(&name, adapted.config, &emulator);

    let mut out = io::stdout().lock();
    if !arguments.as_test {
        describe(&mut out, &found, all.len(), &reproducer, &emulator)?;
        for note in adapted.notes.iter().chain(&found.notes) {
            writeln!(out, "note: {}", shown(note))?;
        }
    }
    if !refused.is_empty() {
        out.flush()?;
        return Err(Stop::Usage(format!(
            "not run, for a foreign file may not make QEMU do this:\n    {}\n--trust \
             runs it all the same",
            refused.iter().map(|why| shown(why)).collect::<Vec<_>>().join("\n    ")
        )));
    }
    out.flush()?;
    if !arguments.trust {
        super::confine(&emulator, &folder);
    }
    let replayed = replay(&reproducer, &emulator, arguments.timeout);
    let replayed = replayed.map_err(|e| Stop::Usage(e.to_string()))?;
    reproducer.note(&replayed);
    if arguments.as_test && replayed.verdict().is_some() {
        let test = foreign::as_test(&reproducer, &emulator.capabilities.arch);
        write!(out, "{}", test.map_err(usage)?)?;
        out.flush()?;
    }
    let status = tell(&mut out, &reproducer, &replayed, arguments)?;
    save(&mut out, arguments, &reproducer, &emulator, &replayed, status)?;
    out.flush()?;
    Ok(ExitCode::from(status))
}

/// The folder of a file.
pub(super) fn folder_of(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).to_owned()
}

/// The reproducer that is asked for.
fn pick(all: &[Foreign], number: Option<usize>) -> Result<&Foreign, Stop> {
    let number = number.unwrap_or(1);
    number.checked_sub(1).and_then(|at| all.get(at)).ok_or_else(|| {
        let list = all
            .iter()
            .enumerate()
            .map(|(at, one)| format!("\n    {}: {} in line {}", at + 1, one.shape, one.line));
        Stop::Usage(format!("there is no reproducer {number}:{}", list.collect::<String>()))
    })
}

/// What of it is not allowed.
fn objections(
    found: &Foreign,
    refused: &[String],
    arguments: &Arguments,
    folder: &Path,
) -> Vec<String> {
    let mut refused = refused.to_vec();
    if !arguments.trust {
        refused.extend(foreign::refused_requests(&found.requests, folder));
    }
    refused
}

/// The emulator to use, probed: the one that was told, else one of those found that has the
/// name in the file, or, where there is none, the machine.
fn emulator(arguments: &Arguments, found: &Foreign, machine: &str) -> Result<Emulator, Stop> {
    let named = arguments.qemu.as_slice();
    let binary::Found { binaries, refused, .. } = binary::find(named);
    if let Some((_, why)) = refused {
        return Err(Stop::Usage(why));
    }
    let called = |name: &str| {
        binaries.iter().find(|path| path.file_name().is_some_and(|file| file == name)).cloned()
    };
    let probe = |path: &Path| super::probe(arguments, path).map_err(Stop::Usage);
    if let ([path], Some(_)) = (&binaries[..], &arguments.qemu) {
        return probe(path);
    }
    if let Some(name) = &found.program {
        if let Some(path) = called(name) {
            return probe(&path);
        }
        let instead = INSTEAD.iter().filter(|(own, _)| own == name);
        if let Some(path) = instead.filter_map(|(_, other)| called(other)).next() {
            note(format!("there is no {} here; {} is used", shown(name), path.display()));
            return probe(&path);
        }
        return Err(Stop::Usage(format!(
            "the file wants {}, which is not among the emulators found (--qemu PATH tells where \
             one is)",
            shown(name)
        )));
    }
    // PCs are what most reproducers are for.
    let is_pc = machine.is_empty() || machine.starts_with("pc") || machine == "q35";
    let likely = if is_pc { "qemu-system-x86_64" } else { "qemu-system-aarch64" };
    let mut others: Vec<PathBuf> = called(likely).into_iter().collect();
    others.extend(binaries.iter().filter(|path| !path.ends_with(likely)).cloned());
    for path in &others {
        let Ok(emulator) = Prober::new().probe(path, warn) else { continue };
        if machine.is_empty() || emulator.capabilities.machines.contains_key(machine) {
            return probe(path);
        }
    }
    Err(Stop::Usage(format!(
        "the file names no emulator, and none that was found has the machine {}",
        shown(machine)
    )))
}

fn describe(
    out: &mut impl Write,
    found: &Foreign,
    count: usize,
    reproducer: &Reproducer,
    emulator: &Emulator,
) -> Result<(), Stop> {
    let others = match count {
        1 => String::new(),
        _ => format!(" (one of {count} in the file; --pick N takes another)"),
    };
    writeln!(
        out,
        "{} in line {}{others}: {} requests\nreplaying it on QEMU {}:\n    {}",
        found.shape,
        found.line,
        found.requests.len(),
        reproducer.about.version.trim_end(),
        shown(&reproducer.about.config.pasteable(&emulator.path, emulator.module_dir()))
    )?;
    Ok(())
}

/// Tells what came of it; returns the exit status.
fn tell(
    out: &mut impl Write,
    reproducer: &Reproducer,
    replayed: &Replay,
    arguments: &Arguments,
) -> Result<u8, Stop> {
    let output = replayed.output.trim_end();
    let cannot_tell = if arguments.bisect { super::BISECT_SKIP } else { 2 };
    let Some(verdict) = replayed.verdict() else {
        let what = shown_lines(&format!("cannot tell: {}", replayed.in_words()));
        if arguments.as_test {
            return Err(Stop::Usage(what));
        }
        writeln!(out, "{what}")?;
        if !output.is_empty() {
            writeln!(out, "QEMU wrote:\n{}", shown_lines(output))?;
        }
        return Ok(cannot_tell);
    };
    let (status, word) = match &verdict {
        Verdict::Crashed(_) => (1, "crashed"),
        Verdict::Hung(_) => (1, "hung"),
        Verdict::Failed(_) => (1, "failed"),
        _ => (0, "passed"),
    };
    if arguments.as_test {
        return Ok(status);
    }
    let made = replayed.steps().len();
    let all = reproducer.request_count();
    let what = match verdict.message() {
        "" => "QEMU answered all requests and is still there".to_owned(),
        message => message.to_owned(),
    };
    writeln!(out, "{word}: {}", shown(&what))?;
    if let (1, [.., before, last]) = (status, replayed.steps())
        && last.answer.is_none()
    {
        writeln!(
            out,
            "request {} of {all}, `{:.100}`, was the last that was answered; request {made}, \
             `{:.100}`, was not",
            made - 1,
            shown(&before.text),
            shown(&last.text)
        )?;
    }
    if let Some(refusals) = replayed.refusals() {
        writeln!(out, "{}", shown(&refusals))?;
    }
    if !output.is_empty() && status != 0 {
        writeln!(out, "QEMU wrote:\n{}", shown_lines(output))?;
    }
    Ok(status)
}

/// Writes it as one of qgraph's, and makes it smaller, if that is asked for.
fn save(
    out: &mut impl Write,
    arguments: &Arguments,
    reproducer: &Reproducer,
    emulator: &Arc<Emulator>,
    replayed: &Replay,
    status: u8,
) -> Result<(), Stop> {
    if let Some(file) = &arguments.save {
        if replayed.verdict().is_none() {
            return Err(Stop::Usage("there is nothing to save: QEMU did not start".to_owned()));
        }
        let written = reproducer.write(file);
        written.map_err(|e| Stop::Usage(format!("cannot write {}: {e}", file.display())))?;
        if !arguments.as_test {
            writeln!(out, "saved as {}", file.display())?;
        }
    }
    if arguments.minimize {
        if status != 1 {
            return Err(Stop::Usage("there is nothing to minimize".to_owned()));
        }
        out.flush()?;
        minimize(arguments, reproducer, emulator, replayed)?;
    }
    Ok(())
}
