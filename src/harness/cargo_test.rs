//! Every path as a trial of `cargo test` and nextest.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::Program;
use crate::graph::Model;
use crate::harness::outcome::{Outcome, Verdict, abridged, reproduce};
use crate::harness::plan::Plan;
use crate::harness::plan::cover::{self, Cover};
use crate::harness::plan::filter::{Filter, WILD};
use crate::harness::plan::fleet::Fleet;
use crate::harness::plan::shard::{self, Shard};
use crate::harness::reproduce::reproducer::Reproducers;
use crate::harness::run::expectations::Expectations;
use crate::harness::run::pool::Settings;
use crate::harness::run::worker::run_alone;
use crate::qemu::{Prober, Unusable};
use crate::shown::{shown, shown_lines};

/// The name of the trial that fails when there is no QEMU to run anything on.
const USABLE: &str = "usable-qemu";

/// The name of the trial that fails when something is wrong with the graph itself.
const SOUND: &str = "sound-graph";

/// The name of the trial that fails when the list of known failures cannot be used.
const READABLE: &str = "readable-expectations";

/// The `main` of a test target with `harness = false`: runs all paths of the graph that
/// this program is linked with, as the usual arguments of a test program say.
///
/// Emulators are those of `QTEST_QEMU_BINARY`, else all on `PATH`. A path that none of
/// them has is ignored, with the reason, if it is asked for, and counted otherwise; without any
/// usable emulator the run fails. What
/// `expectations.toml` in the current folder says of known failures holds here too.
/// `QGRAPH_SHARD=K/N` leaves only the K-th of N shares, unless one path is asked for by
/// its whole name; `QGRAPH_COVER=nodes`, `edges`, `cases` or `tests` leaves only a set of paths on which
/// everything is all the same, unless some are asked for by a filter.
pub fn main(program: Program) -> ExitCode {
    let mut arguments = Arguments::from_args();
    program.lacks_nodes().iter().for_each(|it| say("warning", it));
    let prober = Prober { is_careful: !arguments.list, ..Prober::new() };
    let fleet = Fleet::gather(&[], &prober, |warning| {
        say("warning", &warning);
    });
    if fleet.usable.iter().any(|emulator| emulator.is_debugged()) {
        arguments.test_threads = Some(1);
    }
    let shard = match std::env::var_os(shard::ENVIRONMENT) {
        Some(_) if arguments.exact && arguments.filter.is_some() => Ok(Shard::WHOLE),
        None => Ok(Shard::WHOLE),
        Some(text) => text.to_string_lossy().parse(),
    };
    let shard = match shard {
        Ok(shard) => shard,
        Err(e) => {
            say("error", &format!("{} in the environment: {e}", shard::ENVIRONMENT));
            return ExitCode::from(101);
        }
    };
    let cover = match std::env::var_os(cover::ENVIRONMENT) {
        Some(text) if arguments.filter.is_none() => match text.to_string_lossy().parse() {
            Ok(cover) => Some(cover),
            Err(e) => {
                say("error", &format!("{} in the environment: {e}", cover::ENVIRONMENT));
                return ExitCode::from(101);
            }
        },
        _ => None,
    };
    let reproducers = Arc::<Reproducers>::default();
    let trials = trials(&fleet, (cover, shard), &arguments, &reproducers);
    if let Some(name) = arguments.filter.as_ref().filter(|_| arguments.exact)
        && !trials.iter().any(|trial| trial.name() == name)
    {
        say("error", &format!("there is no path called {name}; `qgraph why {name}` may say why"));
        return ExitCode::from(101);
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Some(trouble) = reproducers.trouble() {
        say("warning", &trouble);
    }
    conclusion.exit_code()
}

/// Says something on standard error, whoever reads it.
fn say(kind: &str, text: &str) {
    let _ = writeln!(io::stderr(), "{kind}: {}", shown_lines(text));
}

fn trials(
    fleet: &Fleet,
    (cover, shard): (Option<Cover>, Shard),
    arguments: &Arguments,
    reproducers: &Arc<Reproducers>,
) -> Vec<Trial> {
    let mut trials = Vec::new();
    if let Some(why) = fleet.nothing_usable() {
        trials.push(Trial::test(USABLE, move || Err(Failed::from(shown_lines(&why)))));
    } else if fleet.named {
        trials.extend(fleet.unusable.iter().map(unusable));
    }
    let model = Arc::new(Model::registered());
    let findings: Vec<String> = model.check().iter().map(ToString::to_string).collect();
    if !findings.is_empty() {
        trials.push(Trial::test(SOUND, move || Err(Failed::from(findings.join("\n")))));
    }
    let mut plan = Plan::new(model, fleet.usable.clone(), filter(arguments));
    if let Some(cover) = cover {
        plan = plan.covering(cover).0;
    }
    let plan = plan.share(shard, None);
    let expectations = Expectations::read(None).unwrap_or_else(|e| {
        trials.push(Trial::test(READABLE, move || Err(Failed::from(e.to_string()))));
        Expectations::default()
    });
    let settings = Settings {
        expectations: expectations.into(),
        reproducers: reproducers.clone(),
        ..Settings::default()
    };
    for trial in plan.trials() {
        let name = shown(&trial.unique_name());
        let settings = settings.clone();
        let job = move || conclude(run_alone(&trial, &settings));
        trials.push(Trial::ignorable_test(name, job));
    }
    let list = arguments.list;
    let mut reasons = BTreeMap::<String, usize>::new();
    // What no emulator has is in no share; the first tells of it.
    let missing = shard.is_first().then(|| plan.missing()).into_iter().flatten();
    for path in missing {
        let why = plan.why_missing(&path);
        *reasons.entry(why.clone()).or_default() += 1;
        if !list && arguments.filter.is_none() {
            continue;
        }
        // A list is read by programs, which want names and nothing else.
        let kind = if list { String::new() } else { shown(&why) };
        let trial = Trial::test(path.name(), move || Err(Failed::from(why)));
        trials.push(trial.with_kind(kind).with_ignored_flag(true));
    }
    // nextest, which sets this, lists for itself.
    if std::env::var_os("NEXTEST").is_none() {
        for (why, count) in reasons {
            say("note", &format!("{count} ignored: {why}"));
        }
    }
    trials
}

/// The paths that may be asked for. A filter here is no glob; what is asked for in the end says
/// the crate that reads the arguments.
fn filter(arguments: &Arguments) -> Filter {
    let wanted: Vec<String> = arguments.filter.iter().cloned().collect();
    let filter = Filter::new(&wanted, &[], &[], arguments.exact);
    let is_glob = |text: &String| text.contains(WILD);
    match wanted.iter().any(is_glob) && !arguments.exact {
        true => Filter::default(),
        false => filter.unwrap_or_default(),
    }
}

fn unusable(unusable: &Unusable) -> Trial {
    let why = shown_lines(&unusable.to_string());
    let name = shown(&format!("{USABLE}/{}", unusable.path.display()));
    Trial::test(name, move || Err(Failed::from(why)))
}

fn conclude(outcome: Outcome) -> Result<Completion, Failed> {
    match outcome.verdict {
        Verdict::Skipped(why) => Ok(Completion::ignored_with(shown(&why))),
        verdict if !verdict.is_failure() && verdict != Verdict::Stopped => {
            Ok(Completion::Completed)
        }
        verdict => {
            let evidence = outcome.evidence.unwrap_or_default();
            let (word, message) = (verdict.word(), verdict.message());
            let message = abridged(message).join("\n");
            let replay = outcome.reproducer.as_deref().map(reproduce).unwrap_or_default();
            Err(Failed::from(format!("{word}: {message}\n{}{evidence}", shown(&replay))))
        }
    }
}
