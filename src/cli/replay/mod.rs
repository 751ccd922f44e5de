//! `qgraph replay`: says whether a recorded failure is still there, and makes it smaller.
//! Foreign files, which qgraph did not write, are for `foreign`.

mod foreign;

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use super::signals::Watch;
use super::{Stop, WrapperArguments, factor, note, seconds, warn};
use crate::files::bounded;
use crate::files::output_file::OutputFile;
use crate::harness::foreign::refused;
use crate::harness::{Judgement, Minimizer, Replay, Reproducer, replay};
use crate::qemu::{self, Confinement, Emulator, Prober, binary};
use crate::shown::{shown, shown_lines};

#[derive(clap::Args)]
#[command(after_help = "\
FILE is one that qgraph wrote, or anybody's qtest reproducer: a script that pipes requests into \
QEMU, a test in C against libqtest, a list or a log of requests, in a mail or a bug report as it \
is. No shell runs. QEMU is started with the options that reproducers need; what runs programs, or \
reaches files outside of FILE's folder, is refused, and where the kernel has Landlock QEMU could \
not do it. Only an emulator that is found, or named, is run.

Exit status: 0 it does not fail; 1 it fails; 2 that cannot be told, or wrong usage. With --bisect, 125 when \
that cannot be told, and 128 for wrong usage.")]
pub(super) struct Arguments {
    /// The file of a failure: one that `qgraph run` named, or a foreign reproducer, which
    /// qgraph did not write.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Another emulator than the one on which it failed.
    #[arg(long, value_name = "PATH")]
    qemu: Option<PathBuf>,
    /// Where the machine moves, move it to this emulator, or the one of the same name in this
    /// folder [default: the one to which it moved when it failed].
    #[arg(long, value_name = "PATH")]
    migrate_to: Option<PathBuf>,
    /// Exit as `git bisect run` wants it: a build on which it cannot be told is skipped.
    #[arg(long, conflicts_with = "minimize")]
    bisect: bool,
    /// How many seconds an answer may take before QEMU is taken for hung.
    #[arg(long, value_name = "S", default_value = "5", value_parser = seconds)]
    timeout: Duration,
    /// The emulator is this many times slower than usual, and so are all limits of time; inf for
    /// no limits [default: as measured when the emulator is probed].
    #[arg(long, value_name = "FACTOR", value_parser = factor)]
    slow: Option<f64>,
    #[command(flatten)]
    wrapper: WrapperArguments,
    /// Leave out what is not needed for the failure, and write the rest to a file of its own.
    #[arg(long)]
    minimize: bool,
    /// The file for the rest [default: FILE with .min.sh at its end].
    #[arg(short, long, value_name = "FILE", requires = "minimize")]
    output: Option<PathBuf>,
    /// How many QEMUs run at once while it is made smaller [default: the number of cores].
    #[arg(short, long, value_name = "N", requires = "minimize")]
    jobs: Option<NonZeroUsize>,
    /// Run it although it makes QEMU run programs or reach files outside of its folder.
    #[arg(long)]
    trust: bool,
    /// Which one, if a foreign file has several reproducers [default: 1].
    #[arg(long, value_name = "N")]
    pick: Option<usize>,
    /// Write a foreign reproducer to this file in qgraph's own format.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Print a foreign reproducer as a test of qgraph, in Rust.
    #[arg(long)]
    as_test: bool,
    /// QEMU's arguments, for a foreign file that has none.
    #[arg(last = true, value_name = "ARGS")]
    arguments: Vec<String>,
}

/// The status with which `git bisect run` skips a commit.
const BISECT_SKIP: u8 = 125;
/// A status with which `git bisect run` ends.
const BISECT_ABORT: u8 = 128;

pub(super) fn main(arguments: &Arguments) -> Result<ExitCode, Stop> {
    let watch = Watch::begin()?;
    let result = match replay_it(arguments, &watch) {
        Err(Stop::Usage(why)) if arguments.bisect => {
            super::say(anstyle::AnsiColor::Red, "error", why);
            Ok(ExitCode::from(BISECT_ABORT))
        }
        other => other,
    };
    // What came of it says nothing when QEMU was killed in the middle.
    match watch.exit_status() {
        Some(status) => Ok(ExitCode::from(status)),
        None => result,
    }
}

fn replay_it(arguments: &Arguments, watch: &Watch) -> Result<ExitCode, Stop> {
    let usage = |e: &dyn std::fmt::Display| Stop::Usage(e.to_string());
    let text = bounded::read(&arguments.file, Reproducer::MOST_BYTES);
    watch.note_running();
    if let Ok(text) = text.as_deref().map(String::from_utf8_lossy)
        && !Reproducer::is_own(&text)
    {
        return foreign::main(arguments, &text);
    }
    let reproducer = Reproducer::read(&arguments.file).map_err(|e| usage(&e))?;
    if arguments.save.is_some() || arguments.as_test || !arguments.arguments.is_empty() {
        return Err(Stop::Usage(
            "--save, --as-test and arguments for QEMU are for foreign files; qgraph \
             wrote this one"
                .to_owned(),
        ));
    }
    let folder = foreign::folder_of(&arguments.file);
    let refused = if arguments.trust { Vec::new() } else { refused(&reproducer, &folder) };
    if !refused.is_empty() {
        return Err(Stop::Usage(format!(
            "not run, for the file of a failure may not make QEMU do this:\n    {}\n--trust runs \
             it all the same",
            refused.iter().map(|why| shown(why)).collect::<Vec<_>>().join("\n    ")
        )));
    }
    let mut out = io::stdout().lock();
    let cannot_tell = if arguments.bisect { BISECT_SKIP } else { 2 };
    let emulator = match emulator(arguments, &reproducer) {
        Ok(emulator) => Arc::new(emulator),
        Err(why) if arguments.bisect => {
            writeln!(out, "{}", shown_lines(&format!("cannot tell: {why}")))?;
            return Ok(ExitCode::from(cannot_tell));
        }
        Err(why) => return Err(Stop::Usage(why)),
    };
    if !arguments.trust {
        confine(&emulator, &folder);
    }
    let what = format!("replaying {} on {}", reproducer.about.path, emulator.path.display());
    writeln!(out, "{}", shown(&what))?;
    let replayed = match replay(&reproducer, &emulator, arguments.timeout) {
        Ok(replayed) => replayed,
        Err(why) => {
            let what = format!("cannot tell: QEMU did not start, because {why}");
            writeln!(out, "{}", shown_lines(&what))?;
            return Ok(ExitCode::from(cannot_tell));
        }
    };
    let (status, what) = match replayed.judge(&reproducer) {
        Judgement::StillFails(why) => (1, format!("still fails: {why}")),
        Judgement::Passes(why) => (0, format!("no longer fails: {why}")),
        Judgement::Unknown(why) => (cannot_tell, format!("cannot tell: {why}")),
    };
    writeln!(out, "{}", shown_lines(&what))?;
    if let Some(refusals) = replayed.refusals() {
        writeln!(out, "{}", shown(&refusals))?;
    }
    if status != 0 && !replayed.output.trim().is_empty() {
        writeln!(out, "QEMU wrote:\n{}", shown_lines(replayed.output.trim_end()))?;
    }
    if arguments.minimize {
        if status != 1 {
            return Err(Stop::Usage("there is nothing to minimize".to_owned()));
        }
        minimize(arguments, &reproducer, &emulator, &replayed)?;
    }
    out.flush()?;
    Ok(ExitCode::from(status))
}

/// The emulator to use, probed.
///
/// # Errors
/// There is none, or it has no such machine: why.
fn emulator(arguments: &Arguments, reproducer: &Reproducer) -> Result<Emulator, String> {
    let about = &reproducer.about;
    // In a folder, the one of the same name.
    let named = |path: &PathBuf| {
        let found = binary::find(std::slice::from_ref(path)).binaries;
        let same = found.iter().find(|found| found.file_name() == about.emulator.file_name());
        same.or(found.first()).cloned().unwrap_or_else(|| path.clone())
    };
    let path = match &arguments.qemu {
        Some(path) => named(path),
        None => known(arguments, "--qemu", &about.emulator)?,
    };
    let emulator = probe(arguments, &path).map_err(|why| {
        let hint = if arguments.qemu.is_some() { "" } else { " (--qemu names another emulator)" };
        format!("{why}{hint}")
    })?;
    let machine = &about.config.machine;
    let to = match (&arguments.migrate_to, &about.migrate_to) {
        (Some(path), _) => Some(named(path)),
        (None, Some(path)) => Some(known(arguments, "--migrate-to", path)?),
        (None, None) => None,
    };
    let prober = Prober { is_careful: true, slow: arguments.slow, ..Prober::new() };
    let to = to.map(|to| prober.probe(&to, warn)).transpose();
    let to = to.map_err(|unusable| format!("where it moves: {unusable}"))?;
    for it in std::iter::once(&emulator).chain(&to) {
        if !it.capabilities.machines.contains_key(machine) {
            return Err(format!("{} has no machine {machine}", it.path.display()));
        }
    }
    Ok(Emulator { moves_to: to.map(Arc::new), ..emulator })
}

/// The emulator at `path`, as it is behind the wrapper of `--wrapper` or the environment.
///
/// # Errors
/// It cannot be used, or the wrapper cannot: why.
fn probe(arguments: &Arguments, path: &Path) -> Result<Emulator, String> {
    let prober = Prober { is_careful: true, slow: arguments.slow, ..Prober::new() };
    let emulator = prober.probe(path, warn).map_err(|unusable| unusable.to_string())?;
    let named = arguments.wrapper.wrapper().map_err(|e| e.to_string())?;
    let wrapper = named.or_else(|| match arguments.qemu {
        Some(_) => None,
        None => binary::find(&[]).wrapper,
    });
    match wrapper {
        Some(wrapper) if wrapper.is_debugger() && arguments.minimize => {
            Err(format!("--minimize starts QEMU again and again: `{wrapper}` would each time"))
        }
        Some(wrapper) => prober.wrap(&emulator, &wrapper).map_err(|e| e.to_string()),
        None => Ok(emulator),
    }
}

/// The emulator that the file names, if it is one that was found, or that was run before:
/// a file cannot make qgraph run a program.
fn known(arguments: &Arguments, option: &str, emulator: &Path) -> Result<PathBuf, String> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let found = binary::find(&[]).binaries.iter().any(|path| real(path) == real(emulator));
    if found || arguments.trust || !emulator.exists() || Prober::new().knows(emulator) {
        return Ok(emulator.to_owned());
    }
    Err(format!(
        "the file names the emulator {0}, which qgraph neither finds nor has run before: if you \
         want that one to be run, say {option} {0}",
        emulator.display()
    ))
}

/// Confines QEMU to what it needs, where the kernel can.
fn confine(emulator: &Emulator, folder: &Path) {
    if let Some(wrapper) = &emulator.wrapper {
        note(format!(
            "`{wrapper}` is confined as QEMU is: it writes only in {} and {} (--trust lifts that)",
            folder.display(),
            std::env::temp_dir().display()
        ));
    }
    match qemu::confine(emulator, folder) {
        Ok(Confinement::Whole | Confinement::Partial) => {}
        Ok(Confinement::None) => {
            note("this kernel has no Landlock: QEMU can reach what you can".to_owned());
        }
        Err(e) => warn(format!("QEMU cannot be confined to its files: {e}")),
    }
}

fn minimize(
    arguments: &Arguments,
    reproducer: &Reproducer,
    emulator: &Arc<Emulator>,
    before: &Replay,
) -> Result<(), Stop> {
    let jobs = super::jobs(arguments.jobs);
    let patience = arguments.timeout;
    let minimizer = Minimizer { emulator, patience, jobs, before, trials: AtomicUsize::new(0) };
    if !minimizer.still_fails(reproducer) {
        return Err(Stop::Usage(
            "it does not fail in the same way every time, so nothing can be left out".to_owned(),
        ));
    }
    // Said before the trials rather than after them.
    let file = arguments.output.clone().unwrap_or_else(|| beside(&arguments.file));
    let bad = |e: io::Error| Stop::Usage(format!("cannot write {}: {e}", file.display()));
    OutputFile::new(&file).map_err(bad)?;
    let bar = indicatif::ProgressBar::new_spinner();
    let smaller = minimizer.minimize(reproducer, |left| {
        bar.set_message(format!("{left} requests left"));
        bar.tick();
    });
    bar.finish_and_clear();
    smaller.write(&file).map_err(bad)?;
    writeln!(
        io::stdout(),
        "{} of {} requests are needed, as {} trials showed: {}",
        smaller.request_count(),
        reproducer.request_count(),
        minimizer.trials.into_inner(),
        shown(&file.to_string_lossy())
    )?;
    Ok(())
}

/// `FILE.min.sh` for `FILE.sh`.
fn beside(file: &Path) -> PathBuf {
    file.with_extension("min.sh")
}
