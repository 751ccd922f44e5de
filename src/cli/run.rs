//! `qgraph run`: runs paths and reports.

use std::ffi::OsString;
use std::io;
use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use clap::Parser;

use super::backends::BackendArguments;
use super::cover::CoverArguments;
use super::environments::{EnvironmentArguments, Table};
use super::failed::Failed;
use super::files;
use super::report::ReportArguments;
use super::shard::ShardArguments;
use super::signals::Watch;
use super::timings::Timings;
use super::{
    EmulatorArguments, FilterArguments, NOT_KEPT, Stop, WrapperArguments, jobs, note, seconds, warn,
};
use crate::files::output_file::OutputFile;
use crate::files::path_text;
use crate::graph::Model;
use crate::harness::journal::{self, Done};
use crate::harness::{
    Conclusion, Environment, Expectations, Fleet, Header, Journal, Order, Outcome, Plan,
    Reproducers, Settings, Shard, run_all,
};
use crate::qemu::{Between, Emulator, Fuzzing, Keep, Limits, Prober, UserBackend};

const ABOUT: &str = "\
Paths with the same QEMU command line run on one QEMU, which is reset in between. What fails
there is run again on a fresh one, and is \"dependent\" if it passes: a device did not reset.

Every outcome is written to a journal the moment it is known. After a run that was killed,
`qgraph run --resume` does the rest, with the arguments of that run unless others are given.

Known failures are in expectations.toml in the current folder, or the file of --expectations:

  [[expected]]
  path = \"/ppc64/*/sdhci-tests/*\"   # a glob over the whole name
  versions = \">=7.0, <8.2\"          # of QEMU; all without
  outcomes = [\"crashed\"]            # or \"failed\", \"hung\"; any without
  reason = \"why\"
  link = \"https://…\"                # may be left out";

#[derive(clap::Args)]
#[command(args_override_self = true, after_help = ABOUT)]
pub(super) struct Arguments {
    #[command(flatten)]
    filter: FilterArguments,
    /// How many paths run at once [default: the number of cores].
    #[arg(short, long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// How many seconds one path may take, and an emulator to say what it is [default: 60; a
    /// guest may take as long as its own list says].
    #[arg(long, value_name = "S", value_parser = seconds)]
    timeout: Option<Duration>,
    /// After how many seconds the whole run is stopped.
    #[arg(long, value_name = "S", value_parser = seconds)]
    run_timeout: Option<Duration>,
    /// Every path gets a QEMU of its own; none is reset and used again.
    #[arg(long)]
    fresh: bool,
    /// Leave the QEMU of the first N failures [default: 1] running, stopped where it failed, and
    /// say how to reach and end it. Every path gets a QEMU of its own.
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true)]
    keep: Option<Option<NonZeroUsize>>,
    /// How often a path that failed is run again; if it passes then, it is "flaky".
    #[arg(long, value_name = "N", default_value = "0")]
    retries: usize,
    /// Run in another order, by this seed or a random one.
    #[arg(long, value_name = "SEED", num_args = 0..=1, require_equals = true)]
    shuffle: Option<Option<u64>>,
    /// Run everything N times.
    #[arg(long, value_name = "N")]
    repeat: Option<NonZeroUsize>,
    /// Run everything again and again for this long, such as 90, 10m or 1h30m.
    #[arg(long, value_name = "TIME", value_parser = seconds, conflicts_with = "repeat")]
    repeat_for: Option<Duration>,
    /// Run everything again and again, or as often as --repeat says, until something fails.
    #[arg(long)]
    until_fail: bool,
    /// Begin nothing more once N paths have failed.
    #[arg(long, value_name = "N")]
    max_fail: Option<NonZeroUsize>,
    /// Run only what failed in this journal, or in the last run; on the emulators of that run
    /// unless others are named.
    #[arg(long, value_name = "JOURNAL", num_args = 0..=1, require_equals = true)]
    #[arg(conflicts_with_all = ["resume", "names_from"])]
    rerun_failed: Option<Option<PathBuf>>,
    /// In which way the drivers of paths of the form fuzz err: another seed, other errors.
    #[arg(long, value_name = "SEED", default_value = "0")]
    fuzz_seed: u64,
    /// How often each of those paths is run, each time with other errors.
    #[arg(long, value_name = "N", default_value = "4")]
    fuzz_rounds: NonZeroU32,
    /// The file of known failures [default: expectations.toml, if it is there].
    #[arg(long, value_name = "FILE")]
    expectations: Option<PathBuf>,
    /// Say at the end where the time went.
    #[arg(long)]
    timings: bool,
    /// Write what each worker did when to this file, for Chrome's trace viewers.
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    trace: Option<PathBuf>,
    /// Where every outcome is written the moment it is known [default: a file in the cache].
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Run only what the journal does not have: that of --journal, or of the last run.
    #[arg(long)]
    resume: bool,
    /// The folder for files that replay failures [default: reproducers in the cache].
    #[arg(long, value_name = "DIR")]
    reproducers: Option<PathBuf>,
    #[command(flatten)]
    cover: CoverArguments,
    #[command(flatten)]
    shard: ShardArguments,
    #[command(flatten)]
    report: ReportArguments,
    #[command(flatten)]
    environments: EnvironmentArguments,
    #[command(flatten)]
    emulators: EmulatorArguments,
    #[command(flatten)]
    wrapper: WrapperArguments,
    #[command(flatten)]
    backends: BackendArguments,
    /// Where paths move the machine, move it to this emulator, or the one of its architecture in
    /// this folder: another build or version. Only paths of the form migrate run then. Machines
    /// are of the newest version that both know.
    #[arg(long, value_name = "PATH", help_heading = "Emulators")]
    migrate_to: Option<PathBuf>,
}

/// How long a path may take unless the user says something else.
const USUAL_LIMIT: Duration = Duration::from_secs(60);
/// How long a path with a back end of the user's may take: one that hangs up on a driver that
/// breaks the rules is connected to again a second later, each time.
const LIMIT_OF_BACKENDS: Duration = Duration::from_secs(300);

/// The arguments alone, to be read from a journal.
#[derive(Parser)]
#[command(no_binary_name = true)]
struct Remembered {
    #[command(flatten)]
    arguments: Arguments,
}

impl Arguments {
    fn settings(&self) -> Result<Settings, Stop> {
        let expectations = Expectations::read(self.expectations.as_deref());
        let reproducers =
            self.reproducers.clone().map_or_else(Reproducers::default, Reproducers::new);
        Ok(Settings {
            jobs: jobs(self.jobs),
            limits: Limits::of_tests(self.limit()),
            whole_run: self.run_timeout,
            fresh: self.fresh || self.keep.is_some(),
            starts_ahead: true,
            retries: self.retries,
            max_fail: self.max_fail,
            expectations: expectations.map_err(|e| Stop::Usage(e.to_string()))?.into(),
            reproducers: reproducers.into(),
            trace: self.trace.is_some().then(Arc::default),
        })
    }

    /// How long a path may take.
    fn limit(&self) -> Duration {
        let usual = if self.backends.are_given() { LIMIT_OF_BACKENDS } else { USUAL_LIMIT };
        self.timeout.unwrap_or(usual)
    }

    /// Whether it may end, as it should, before all paths have run.
    fn may_end_early(&self) -> bool {
        self.until_fail || self.max_fail.is_some() || self.repeat_for.is_some()
    }

    fn order(&self) -> Order {
        let seed = self.shuffle.map(|seed| {
            seed.unwrap_or_else(|| {
                let seed = fastrand::u64(..1_000_000_000);
                note(format!("the order is that of --shuffle={seed}"));
                seed
            })
        });
        let times = match (self.repeat, self.until_fail || self.repeat_for.is_some()) {
            (Some(times), _) => times.get(),
            (None, true) => usize::MAX,
            (None, false) => 1,
        };
        Order { seed, times }
    }

    /// Makes sure that no file is written twice, or read and written.
    fn check_files(&self) -> Result<(), Stop> {
        let summary = std::env::var_os("GITHUB_STEP_SUMMARY").map(PathBuf::from);
        let mut written = vec![("--journal", self.journal.as_deref())];
        written.extend(self.report.files());
        written.push(("--trace", self.trace.as_deref()));
        written.push(("--table", self.environments.table.as_deref()));
        written.push(("GITHUB_STEP_SUMMARY", summary.as_deref()));
        let rerun = self.rerun_failed.as_ref().and_then(|file| file.as_deref());
        let read = [
            ("--expectations", self.expectations.as_deref()),
            ("--names-from", self.filter.names_from.as_deref()),
            ("--rerun-failed", rerun),
            self.shard.durations_file(),
            ("--config", self.environments.file()),
        ];
        files::distinct(&written, &read)
    }

    fn plan(&self, failed: Option<&Failed>) -> Result<Planned, Stop> {
        let slow = self.emulators.slow;
        let prober = Prober { slow, ..Prober::for_tests_of(self.limit()) };
        let wrapper = self.wrapper.wrapper()?;
        let fleet = match failed {
            Some(failed) if self.emulators.qemu.is_empty() && !self.environments.are_given() => {
                let qemu = failed.emulators();
                EmulatorArguments { qemu, slow }.fleet_by(prober.clone())?
            }
            _ if self.environments.are_given() => {
                let fleet = self.environments.fleet(&self.emulators, &prober)?;
                for emulator in &fleet.usable {
                    let trouble = emulator.environment.as_ref().and_then(|it| it.trouble.clone());
                    trouble.into_iter().for_each(note);
                }
                fleet
            }
            _ => self.emulators.fleet_by(prober.clone())?,
        };
        let then = failed.and_then(|failed| {
            let words = journal::arguments(failed.journal())?;
            Remembered::try_parse_from(words).ok()?.arguments.migrate_to
        });
        let fleet = match self.migrate_to.as_ref().or(then.as_ref()) {
            Some(to) => {
                let moved = Some(Between::Migrate);
                if !self.filter.form.is_empty() && !self.filter.form.contains(&moved) {
                    let why =
                        "--migrate-to is about paths of the form migrate, which --form leaves out";
                    return Err(Stop::Usage(why.to_owned()));
                }
                let _ = self.filter.usual_form.set(moved);
                moving(fleet, to, &prober)?
            }
            None => fleet,
        };
        let backends: Arc<[UserBackend]> = self.backends.backends()?.into();
        let devices = backends.iter().map(|backend| backend.device().to_owned());
        let _ = self.filter.through.set(devices.collect());
        if let Some(limit) = self.timeout {
            let _ = self.filter.guest_limit.set(limit);
        }
        let mut plan = self.filter.plan(&fleet)?;
        if let Some(failed) = failed {
            plan = plan.only(failed.pairs(&fleet));
        }
        let has_all_names = self.filter.has_all_names(&plan)?;
        let (mut plan, shard) = self.shard.share(self.cover.cover(plan))?;
        if let Some(wrapper) = wrapper {
            let wrap = |emulator: &Emulator| prober.wrap(emulator, &wrapper);
            plan = plan.with_emulators(wrap).map_err(|e| Stop::Usage(e.to_string()))?;
        }
        let fuzzing = Fuzzing { seed: self.fuzz_seed, rounds: self.fuzz_rounds };
        if fuzzing != Fuzzing::default() {
            plan = altered(plan, |emulator| Emulator { fuzzing, ..emulator.clone() });
        }
        if !backends.is_empty() {
            plan = altered(plan, |emulator| Emulator {
                user_backends: backends.clone(),
                ..emulator.clone()
            });
        }
        Ok(Planned { fleet, plan, shard, has_all_names })
    }

    /// The journal of this run, and the outcomes it has already. A run of its own does
    /// without a journal if the cache cannot be written.
    fn journal(&self) -> Result<(Option<Journal>, Vec<Outcome>), Stop> {
        let bad = |e: io::Error| Stop::Usage(e.to_string());
        let (journal, outcomes) = match (&self.journal, self.resume) {
            (Some(file), true) => Journal::resume(file).map_err(bad)?,
            (Some(file), false) => (Journal::create(file).map_err(bad)?, Vec::new()),
            (None, true) => {
                let nothing = "there is no journal of an earlier run to resume";
                let last = Journal::last().ok_or_else(|| Stop::Usage(nothing.to_owned()))?;
                Journal::resume(&last).map_err(bad)?
            }
            (None, false) => match Journal::create_in_cache() {
                Ok(journal) => (journal, Vec::new()),
                Err(e) => {
                    warn(format!("this run cannot be resumed: {e}"));
                    return Ok((None, Vec::new()));
                }
            },
        };
        Ok((Some(journal), outcomes))
    }

    /// With `--resume` and nothing said of what to run: what was said when the journal was
    /// begun, as far as that is known.
    fn remembered(&self) -> Option<Self> {
        let says_what =
            !self.filter.is_empty() || !self.emulators.qemu.is_empty() || self.shard.is_given();
        if !self.resume || says_what {
            return None;
        }
        let journal = self.journal.clone().or_else(Journal::last)?;
        let remembered = journal::arguments(&journal).and_then(|mut words| {
            words.extend(own_words());
            Remembered::try_parse_from(words).ok()
        });
        if remembered.is_none() {
            let file = journal.display();
            note(format!("what the run of {file} was to do is not known; everything is done"));
        }
        remembered.map(|remembered| remembered.arguments)
    }
}

/// The fleet with, for each emulator, the one at `to` on which its machines go on; without those
/// for which there is none, with a word about each.
///
/// # Errors
/// There is none for any of them.
fn moving(fleet: Fleet, to: &Path, prober: &Prober) -> Result<Fleet, Stop> {
    let there = Fleet::gather(&[to.to_owned()], prober, warn);
    if let Some(why) = there.nothing_usable() {
        return Err(Stop::Usage(format!("--migrate-to {}: {why}", to.display())));
    }
    let mut usable = Vec::new();
    for emulator in fleet.usable {
        let arch = &emulator.capabilities.arch;
        let of_arch = || there.usable.iter().filter(|it| it.capabilities.arch == *arch);
        let same = of_arch().find(|it| it.name() == emulator.name());
        match same.or_else(|| of_arch().next()) {
            Some(to) => {
                let moves_to = Some(to.clone());
                usable.push(Arc::new(Emulator { moves_to, ..(*emulator).clone() }));
            }
            None => note(format!(
                "nothing of {} runs: no emulator of {arch} is in {}",
                emulator.path.display(),
                to.display()
            )),
        }
    }
    if usable.is_empty() {
        let why = "no emulator of an architecture that is to run";
        return Err(Stop::Usage(format!("--migrate-to {}: {why}", to.display())));
    }
    Ok(Fleet { usable, ..fleet })
}

/// What is to run.
struct Planned {
    fleet: Fleet,
    plan: Plan,
    shard: Shard,
    /// Whether every path that was listed by name is there.
    has_all_names: bool,
}

/// The journal of a run, until it cannot be written.
struct Kept {
    journal: Option<Journal>,
    /// Whether somebody asked for it. The one in the cache is a mere convenience.
    is_named: bool,
    /// Whether something is not in it that should be.
    is_lost: bool,
}

impl Kept {
    fn write(&mut self, write: impl FnOnce(&mut Journal) -> io::Result<()>) {
        let Some(journal) = &mut self.journal else { return };
        if let Err(e) = write(journal) {
            warn(format!("{e}; this run goes on without a journal"));
            self.journal = None;
            self.is_lost = true;
        }
    }

    /// Ends it; whether all that was asked for is in it.
    fn finish(mut self) -> bool {
        if let Some(Err(e)) = self.journal.take().map(Journal::finish) {
            warn(format!("{e}; the last outcomes may be missing in it"));
            self.is_lost = true;
        }
        !self.is_named || !self.is_lost
    }
}

/// The arguments behind `run`.
fn own_words() -> Vec<OsString> {
    std::env::args_os().skip_while(|word| word != "run").skip(1).collect()
}

pub(super) fn main(arguments: &Arguments) -> Result<ExitCode, Stop> {
    match arguments.remembered() {
        Some(remembered) => run(&remembered),
        None => run(arguments),
    }
}

/// The plan with emulators whose QEMUs stay when a path fails on them that is not known to fail,
/// `count` of them.
fn keeping(plan: Plan, count: usize, settings: &Settings) -> Plan {
    let left = Arc::new(AtomicUsize::new(count));
    let keeping = |emulator: &Emulator| {
        let (expectations, version) =
            (settings.expectations.clone(), emulator.capabilities.version);
        let wants = move |name: &str| !expectations.concern(name, version);
        Emulator { keep: Some(Keep::new(left.clone(), wants)), ..emulator.clone() }
    };
    altered(plan, keeping)
}

/// The plan with emulators that are other than they were in something that none refuses.
fn altered(plan: Plan, alter: impl Fn(&Emulator) -> Emulator + Sync) -> Plan {
    plan.clone().with_emulators(|emulator| Ok(alter(emulator))).unwrap_or(plan)
}

fn run(arguments: &Arguments) -> Result<ExitCode, Stop> {
    let watch = Watch::begin()?;
    arguments.check_files()?;
    let mut settings = arguments.settings()?;
    let failed = match &arguments.rerun_failed {
        None => None,
        Some(file) => {
            let failed = Failed::read(file.as_deref(), |it| arguments.report.is_failure(it))?;
            if failed.names().is_empty() {
                note(format!("nothing failed in {}", failed.journal().display()));
                return Ok(ExitCode::SUCCESS);
            }
            let _ = arguments.filter.names.set(Arc::new(failed.names()));
            Some(failed)
        }
    };
    let planned = match (arguments.plan(failed.as_ref()), watch.exit_status()) {
        (Ok(planned), _) => planned,
        (Err(stop), None) => return Err(stop),
        (Err(stop), Some(status)) => {
            warn(stop.to_string());
            return Ok(ExitCode::from(status));
        }
    };
    let Planned { fleet, mut plan, shard, has_all_names } = planned;
    if let Some(count) = arguments.keep {
        if plan.is_debugged() {
            let why = "--keep: a debugger has the QEMU of a failure until its user ends it";
            return Err(Stop::Usage(why.to_owned()));
        }
        plan = keeping(plan, count.map_or(1, NonZeroUsize::get), &settings);
    }
    if plan.is_debugged() {
        settings = settings.one_at_a_time();
    }
    let (trace_file, mut all_kept) = match arguments.trace.as_deref().map(OutputFile::with_folder) {
        None => (None, true),
        Some(Ok(file)) => (Some(file), true),
        Some(Err(e)) => {
            warn(format!("there will be no trace: {e}"));
            (None, false)
        }
    };
    let (journal, earlier) = arguments.journal()?;
    if let Some(journal) = journal.as_ref().filter(|_| !arguments.resume)
        && let Err(e) = journal.note_arguments(&own_words())
    {
        warn(format!("the arguments of this run will not be remembered: {e}"));
    }
    let emulators = fleet.usable.iter().map(|emulator| &**emulator);
    let words = own_words().iter().map(|word| path_text::text(Path::new(word))).collect();
    let environment = Environment::of_this_process(emulators, words);
    let paths = plan.trials().count();
    let header = Header {
        shard: (!shard.is_whole()).then(|| shard.to_string()),
        paths: (!arguments.may_end_early()).then_some(paths),
        environment: environment.clone(),
    };
    let mut journal = Kept { journal, is_named: arguments.journal.is_some(), is_lost: false };
    if earlier.is_empty() {
        journal.write(|journal| journal.begin(&header));
    }
    let order = arguments.order();
    let mut done = Done::new(&earlier);
    let trials = order.trials(plan.clone()).filter(move |trial| !done.take(trial));

    let is_endless = arguments.until_fail || arguments.repeat_for.is_some();
    let total = (!is_endless).then(|| paths.saturating_mul(order.times));
    let filter = arguments.filter.filter()?;
    let drawn = plan.clone();
    let mut report = arguments.report.report(total, vec![environment], || {
        let wants = |machine: &str| filter.wants_machine(machine);
        match arguments.filter.guests.are_given() {
            true => drawn.model().drawing(&[], wants),
            false => Model::registered().drawing(&[], wants),
        }
    });
    let table = Table::begin(&arguments.environments, &fleet, &mut report, &arguments.report);
    if arguments.resume {
        note(format!("{} outcomes are in the journal of the earlier run", earlier.len()));
    }
    earlier.iter().for_each(|outcome| report.add_earlier(outcome));
    watch.note_running();
    let mut kept = 0;
    let begun = Instant::now();
    let mut failures = 0;
    let totals = run_all(trials, &settings, |outcome| {
        report.add(&outcome);
        for evidence in outcome.all_evidence().filter(|it| !it.kept.is_empty()) {
            kept += 1;
            note(format!("the QEMU of {} is kept: {}", outcome.name, evidence.kept));
        }
        journal.write(|journal| journal.add(&outcome));
        let verdict = &outcome.verdict;
        failures += usize::from(arguments.report.is_failure(verdict));
        let failed = verdict.is_failure() || verdict.is_notable();
        let is_over = arguments.repeat_for.is_some_and(|time| begun.elapsed() >= time);
        let are_enough = arguments.max_fail.is_some_and(|most| failures >= most.get());
        if arguments.until_fail && failed || is_over || are_enough {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    let conclusion = report.finish();
    arguments.report.say_chosen(&conclusion);
    all_kept &= table.is_none_or(Table::write);
    let Conclusion { all_passed, all_written, .. } = conclusion;
    if arguments.max_fail.is_some_and(|most| failures >= most.get()) {
        warn(format!("{failures} failed; nothing more was begun, as --max-fail says"));
    }
    all_kept &= journal.finish() && all_written;
    if let (Some(file), Some(trace)) = (trace_file, &settings.trace)
        && let Err(e) = file.write(trace.json().to_string().as_bytes())
    {
        warn(format!("the trace {} could not be written: {e}", file.name().display()));
        all_kept = false;
    }
    if totals.is_overtime {
        let limit = arguments.run_timeout.unwrap_or_default();
        warn(format!("the run was stopped after {limit:?}, as --run-timeout says"));
    }
    if arguments.timings {
        Timings::new(&totals, begun.elapsed(), settings.jobs).print()?;
    }
    if kept == 0 && arguments.keep.is_some() {
        note("no QEMU is kept: none failed that was still there".to_owned());
    }
    if let Some(trouble) = settings.reproducers.trouble() {
        warn(trouble);
    }
    if !all_kept {
        warn(format!("the results are not all kept, see above; exit status {NOT_KEPT} says so"));
    }
    Ok(match watch.exit_status() {
        Some(status) => ExitCode::from(status),
        None if !all_kept => ExitCode::from(NOT_KEPT),
        None if !all_passed || totals.is_overtime => ExitCode::FAILURE,
        None if !has_all_names => ExitCode::FAILURE,
        // An emulator that was asked for and could not be used has passed nothing.
        None if fleet.named && !fleet.unusable.is_empty() => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
    })
}
