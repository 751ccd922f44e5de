//! What a run makes of its paths: QEMUs that are used again, paths that depend on what ran
//! before, flaky ones, known failures, the journal and what is resumed from it. Single
//! faults are left to `bad_emulators.rs`.

mod fake;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fake::{Finished, REGISTERS, Sandbox};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use qgraph::graph::Model;
use qgraph::harness::{Filter, Fleet, Plan, Reproducers, Settings, Verdict, run_all};
use qgraph::qemu::{Config, Limits, MIB, Prober, RamSpec, Vm};
use qgraph::qos::sdhci::Sdhci;
use qgraph::qos::{wait_event, wait_until};
use qgraph::{Result, tests};
use serde_json::Value;

fn main() -> ExitCode {
    fake::main(trials![
        one_qemu_runs_many_paths,
        a_qemu_of_its_own,
        a_device_that_does_not_reset,
        a_machine_that_dies_of_a_reset,
        an_emulator_that_tells_of_no_reset,
        a_qemu_that_ends_badly_after_many,
        a_machine_that_does_not_start,
        one_cause_told_once,
        a_flaky_path,
        known_failures,
        a_known_failure_after_others,
        expectations_that_are_none,
        again_and_again,
        until_it_fails,
        another_order,
        a_run_that_takes_too_long,
        a_run_that_is_killed_and_resumed,
        a_journal_of_something_else,
        a_journal_that_cannot_be_written,
        a_test_that_never_returns,
        a_wait_that_fails_again_and_again,
        an_event_that_never_comes,
        a_module_damaged_during_a_run,
        a_matrix_of_faults,
    ])
}

const SUITE: &str = "*/pc/*/sdhci-tests/*";

fn run(sandbox: &Sandbox, role: &str, arguments: &[&str], status: i32) -> Finished {
    let mut command = sandbox.qgraph(["run", "--format", "json", "--jobs", "1"]);
    command.args(arguments).arg("--qemu").arg(sandbox.fake(role));
    sandbox.run(&mut command).expect(status)
}

/// How often a QEMU with this machine was started.
fn launches(sandbox: &Sandbox, role: &str) -> usize {
    sandbox.launches(&sandbox.fake(role)).iter().filter(|machine| *machine == "pc").count()
}

/// The outcomes in the order in which they came.
fn lines(finished: &Finished) -> Vec<Value> {
    finished.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn count(finished: &Finished, outcome: &str) -> usize {
    lines(finished).iter().filter(|line| line["outcome"] == outcome).count()
}

fn outcome(finished: &Finished, name: &str) -> Value {
    let of = |line: &Value| line["name"] == name;
    lines(finished).into_iter().find(of).unwrap_or_else(|| panic!("no {name}: {finished}"))
}

/// Would catch a QEMU for every path, or paths that share one although their command lines
/// differ.
fn one_qemu_runs_many_paths() {
    let sandbox = Sandbox::new();
    let finished = run(&sandbox, "healthy", &[SUITE], 0);
    let ran = lines(&finished).len();
    assert!(ran >= 5, "{finished}");
    assert_eq!(count(&finished, "passed") + count(&finished, "skipped"), ran);
    let started = launches(&sandbox, "healthy");
    assert!(started < ran, "{started} QEMUs for {ran} paths");
}

/// Would catch `--fresh` that is overlooked.
fn a_qemu_of_its_own() {
    let sandbox = Sandbox::new();
    let finished = run(&sandbox, "healthy", &[SUITE, "--fresh"], 0);
    assert_eq!(launches(&sandbox, "healthy"), lines(&finished).len());
}

/// Would catch a failure that is owed to what ran before and is blamed on the path, or is
/// kept quiet.
fn a_device_that_does_not_reset() {
    let sandbox = Sandbox::new();
    let finished = run(&sandbox, "x-sticky", &[SUITE], 0);
    let outcome = outcome(&finished, REGISTERS);
    assert_eq!(outcome["outcome"], "dependent", "{outcome:#}");
    let message = outcome["message"].as_str().expect("a message");
    assert!(message.starts_with("passes on a fresh QEMU; after /x86_64/pc/"), "{message}");
    assert!(message.contains(" and a reset: "), "{message}");
    let first = &outcome["attempts"][0];
    assert_eq!(first["outcome"], "failed", "{outcome:#}");
    assert!(first["after"].as_array().is_some_and(|after| !after.is_empty()), "{outcome:#}");
    let finished = run(&sandbox, "x-sticky", &[SUITE, "--fresh"], 0);
    assert_eq!(count(&finished, "dependent"), 0, "{finished}");
}

/// Would catch a crash in a reset that is lost, or spoils the next path.
fn a_machine_that_dies_of_a_reset() {
    let sandbox = Sandbox::new();
    let finished = run(&sandbox, "reset-segv", &[SUITE], 1);
    let all = lines(&finished);
    for line in all.iter().filter(|line| line["outcome"] == "crashed") {
        let message = line["message"].as_str().expect("a message");
        let words = "the test passed, but when the machine was reset after it, QEMU was killed by";
        assert!(message.starts_with(words), "{message}");
    }
    assert!(count(&finished, "crashed") > 0, "{finished}");
    assert!(count(&finished, "passed") > 0, "the last one is not reset: {finished}");
    let names: Vec<_> = all.iter().map(|line| line["name"].to_string()).collect();
    let unique: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(unique.len(), names.len(), "{finished}");
}

/// Would catch a run that waits for ever, or fails, where QEMU does not tell of its reset.
fn an_emulator_that_tells_of_no_reset() {
    let sandbox = Sandbox::new();
    let finished = run(&sandbox, "x-deaf", &[SUITE], 0);
    assert_eq!(count(&finished, "passed") + count(&finished, "skipped"), lines(&finished).len());
}

/// Would catch a crash at QEMU's end that reuse hides from all but the last path.
fn a_qemu_that_ends_badly_after_many() {
    let sandbox = Sandbox::new();
    let finished = run(&sandbox, "quit-segv", &[SUITE], 1);
    assert!(count(&finished, "crashed") > 0, "{finished}");
    let fresh = run(&sandbox, "quit-segv", &[SUITE, "--fresh"], 1);
    assert_eq!(count(&fresh, "crashed"), count(&finished, "crashed"), "{fresh}");
    assert_eq!(lines(&fresh).len(), lines(&finished).len());
}

/// Would catch a machine that does not start and costs a start, and a reproducer, for each of
/// its paths; a path without an outcome, or with two; and a machine that starts given up.
fn a_machine_that_does_not_start() {
    let sandbox = Sandbox::new();
    for (role, word) in [("start-exit", "failed"), ("start-segv", "crashed")] {
        let arguments = ["*/sdhci-tests/*", "--repeat", "2", "--retries", "1"];
        let finished = run(&sandbox, role, &arguments, 1);
        let healthy = run(&sandbox, "healthy", &arguments, 0);
        let names = |finished: &Finished| {
            let mut names: Vec<_> = lines(finished).iter().map(|l| l["name"].to_string()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&finished), names(&healthy));
        let all = lines(&finished);
        let (on_pc, others): (Vec<&Value>, Vec<&Value>) =
            all.iter().partition(|line| line["name"].to_string().contains("/pc/"));
        assert!(on_pc.len() > 6, "{finished}");
        assert!(on_pc.iter().all(|line| line["outcome"] == word), "{finished}");
        assert!(others.iter().any(|line| line["outcome"] == "passed"), "{finished}");
        assert!(others.iter().all(|line| line["outcome"] != word), "{finished}");
        let is_untried = |line: &&&Value| line["message"].to_string().contains("was not tried");
        let untried: Vec<_> = on_pc.iter().filter(is_untried).collect();
        assert_eq!(untried.len(), on_pc.len() - 5, "{finished}");
        for line in untried {
            let first = on_pc[0]["name"].as_str().expect("a name");
            assert!(line["message"].as_str().is_some_and(|why| why.contains(first)), "{line:#}");
            assert!(line["reproducer"].is_null() && line["attempts"].is_null(), "{line:#}");
        }
        // The fifth asks; each that was tried is tried twice.
        assert_eq!(launches(&sandbox, role), 5 + 5 + 1, "{finished}");
    }
}

/// Would catch a report in which a firmware that is missing fills a screen for every path.
fn one_cause_told_once() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.qgraph(["run", "--jobs", "1", SUITE, "--qemu"]);
    let finished = sandbox.run(command.arg(sandbox.fake("start-exit"))).expect(1);
    let cause = "fake: cannot set up guest memory (it exited with status 1)";
    let (run, list) = finished.stdout.split_once("\nNot passed:\n").expect("a list");
    assert_eq!(run.matches("cannot set up guest memory (it").count(), 1, "{finished}");
    assert_eq!(run.matches("QEMU wrote:").count(), 1, "{finished}");
    assert_eq!(list.matches("cannot set up guest memory (it").count(), 1, "{finished}");
    let said = " paths, one cause: QEMU did not start, it refused its command line: ";
    assert!(list.contains(&format!("{said}{cause}\n")), "{finished}");
}

/// Would catch a retry that forgets what happened first, or a flaky path that fails the run.
fn a_flaky_path() {
    let sandbox = Sandbox::new();
    let arguments = ["--exact", REGISTERS, "--retries", "2"];
    let finished = run(&sandbox, "once-fail", &arguments, 0);
    let flaky = outcome(&finished, REGISTERS);
    assert_eq!(flaky["outcome"], "flaky", "{flaky:#}");
    let attempts = flaky["attempts"].as_array().expect("attempts");
    assert_eq!(attempts.len(), 1, "{flaky:#}");
    assert_eq!(attempts[0]["outcome"], "failed");
    assert!(attempts[0]["message"].as_str().is_some_and(|why| why.contains("FAIL out of luck")));

    let finished = run(&sandbox, "request-fail", &arguments, 1);
    let failed = outcome(&finished, REGISTERS);
    assert_eq!(failed["outcome"], "failed");
    assert_eq!(failed["attempts"].as_array().map(Vec::len), Some(2), "{failed:#}");
}

fn expect(sandbox: &Sandbox, text: &str) {
    fs::write(sandbox.at("expectations.toml"), text).expect("a file");
}

/// Would catch a known failure that fails the run, and a known one that passes unnoticed.
fn known_failures() {
    let sandbox = Sandbox::new();
    let text = "[[expected]]\npath = \"*/registers\"\nversions = \"=7.2\"\nreason = \"bug 1\"\n";
    expect(&sandbox, text);
    let finished = run(&sandbox, "request-fail", &["--exact", REGISTERS], 0);
    let known = outcome(&finished, REGISTERS);
    assert_eq!(known["outcome"], "expected-failure", "{known:#}");
    assert!(known["message"].as_str().is_some_and(|why| why.starts_with("bug 1; failed: ")));
    let finished = run(&sandbox, "healthy", &["--exact", REGISTERS], 0);
    assert_eq!(outcome(&finished, REGISTERS)["outcome"], "unexpected-pass");

    fs::rename(sandbox.at("expectations.toml"), sandbox.at("other.toml")).expect("renamed");
    run(&sandbox, "request-fail", &["--exact", REGISTERS], 1);
    let named = ["--exact", REGISTERS, "--expectations", "other.toml"];
    run(&sandbox, "request-fail", &named, 0);
}

/// Would catch a failure that is known and for which a QEMU of its own is started once more.
fn a_known_failure_after_others() {
    let sandbox = Sandbox::new();
    let text =
        "[[expected]]\npath = \"*/registers\"\noutcomes = [\"failed\"]\nreason = \"bug 1\"\n";
    expect(&sandbox, text);
    let finished = run(&sandbox, "x-sticky", &[SUITE], 0);
    let known = outcome(&finished, REGISTERS);
    assert_eq!(known["outcome"], "expected-failure", "{known:#}");
    assert!(known["attempts"].is_null(), "{known:#}");
    // What fails otherwise is tried again.
    expect(&sandbox, &text.replace("failed", "hung"));
    let finished = run(&sandbox, "x-sticky", &[SUITE], 0);
    assert_eq!(outcome(&finished, REGISTERS)["outcome"], "dependent", "{finished}");
}

/// Would catch a list of known failures with a mistake, under which everything is forgiven
/// or nothing.
fn expectations_that_are_none() {
    let sandbox = Sandbox::new();
    expect(&sandbox, "[[expected]]\npath = \"x\"\n");
    run(&sandbox, "healthy", &[SUITE], 2).silent().says(&["expectations.toml", "`reason`"]);
    let named = [SUITE, "--expectations", "nowhere.toml"];
    run(&sandbox, "healthy", &named, 2).says(&["nowhere.toml: cannot be read"]);
}

/// Would catch repetitions that are lost or not counted.
fn again_and_again() {
    let sandbox = Sandbox::new();
    let once = lines(&run(&sandbox, "healthy", &[SUITE], 0)).len();
    let thrice = lines(&run(&sandbox, "healthy", &[SUITE, "--repeat", "3"], 0));
    let mut counts = BTreeMap::<String, usize>::new();
    for line in &thrice {
        *counts.entry(line["name"].to_string()).or_default() += 1;
    }
    assert_eq!(counts.len(), once);
    assert!(counts.values().all(|count| *count == 3), "{counts:?}");
}

/// Would catch a hunt that goes on after it has found something, or gives up before.
fn until_it_fails() {
    let sandbox = Sandbox::new();
    let finished = run(&sandbox, "once-fail", &[SUITE, "--until-fail", "--fresh"], 1);
    let all = lines(&finished);
    assert_eq!(count(&finished, "failed"), 1, "{finished}");
    assert!(all.len() < 30, "{finished}");
    let finished =
        run(&sandbox, "healthy", &["--exact", REGISTERS, "--until-fail", "--repeat", "4"], 0);
    assert_eq!(count(&finished, "passed"), 4, "{finished}");
}

/// Would catch a seed that does not make the order, or an order that loses something.
fn another_order() {
    let sandbox = Sandbox::new();
    let names = |arguments: &[&str]| -> Vec<String> {
        let finished = run(&sandbox, "healthy", arguments, 0);
        lines(&finished).iter().map(|line| line["name"].to_string()).collect()
    };
    let (one, two) = (names(&[SUITE, "--shuffle=1"]), names(&[SUITE, "--shuffle=2"]));
    assert_eq!(one, names(&[SUITE, "--shuffle=1"]));
    assert_ne!(one, two);
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(sorted(one), sorted(names(&[SUITE])));
    let finished = run(&sandbox, "healthy", &[SUITE, "--shuffle"], 0);
    finished.says(&["the order is that of --shuffle="]);
}

/// Would catch a run that cannot be limited, or that hides that it was.
fn a_run_that_takes_too_long() {
    let sandbox = Sandbox::new();
    let finished = run(&sandbox, "request-hang", &[SUITE, "--run-timeout", "1"], 1);
    finished.says(&["the run was stopped after 1s, as --run-timeout says"]);
}

/// Would catch a journal that loses outcomes or lines, and a resumed run that does
/// something twice, forgets something, or forgets what failed before.
fn a_run_that_is_killed_and_resumed() {
    let sandbox = Sandbox::new();
    let fake = sandbox.fake("request-hang");
    let all = sandbox.run(sandbox.qgraph(["list", "sdhci-tests", "--qemu"]).arg(&fake)).expect(0);
    for journal in [Some("journal.jsonl"), None] {
        let mut command = sandbox.qgraph(["run", "sdhci-tests", "--jobs", "2"]);
        command.arg("--qemu").arg(&fake);
        command.args(journal.iter().flat_map(|file| ["--journal", *file]));
        let running = sandbox.start(&mut command);
        while running.stdout().lines().count() < 3 {
            assert!(!running.is_over_within(Duration::from_millis(10)), "{}", running.stdout());
        }
        running.signal(Signal::SIGKILL);
        running.wait();
        if let Some(file) = journal {
            // As if it had been killed in the middle of a line.
            let mut file = File::options().append(true).open(sandbox.at(file)).expect("it");
            file.write_all(b"{\"name\": \"/x86").expect("written");
        }
        // It is told nothing of what was to run.
        let mut command = sandbox.qgraph(["run", "--resume", "--timeout", "2", "--format", "json"]);
        command.args(journal.iter().flat_map(|file| ["--journal", *file]));
        let finished = sandbox.run(&mut command).expect(1);
        let rest = lines(&finished).len();
        assert!(rest > 0 && rest < all.stdout.lines().count(), "{finished}");
        assert_eq!(outcome(&finished, REGISTERS)["outcome"], "hung");
        if let Some(file) = journal {
            let text = fs::read_to_string(sandbox.at(file)).expect("the journal");
            let mut names: Vec<String> = text
                .lines()
                .skip(1)
                .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
                .map(|line| line["name"].as_str().expect("a name").to_owned())
                .collect();
            names.sort();
            let mut expected: Vec<&str> = all.stdout.lines().collect();
            expected.sort();
            assert_eq!(names, expected, "each once");
        }
        // Now there is nothing left, and the failure is not forgotten.
        let mut command = sandbox.qgraph(["run", "--resume"]);
        command.args(journal.iter().flat_map(|file| ["--journal", *file]));
        sandbox.run(&mut command).expect(1);
    }
}

/// Would catch a file of the user's that is overwritten because it was taken for a journal, and
/// a path that was stopped and counts as not run after it was.
fn a_journal_of_something_else() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.at("letter"), "Dear Ada,\nhow are you?\n").expect("a letter");
    let resume = [SUITE, "--resume", "--journal", "letter"];
    run(&sandbox, "healthy", &resume, 2).says(&["letter", "line 1 is no outcome"]);
    let letter = fs::read_to_string(sandbox.at("letter")).expect("it");
    assert_eq!(letter, "Dear Ada,\nhow are you?\n");
    // A cut line is removed, but only if it is one of ours. Each of these has no end.
    let ours = "{\"run\":{\"environment\":{\"qgraph\":\"\",\"host\":\"\",\"kernel\":\"\",\
                \"arguments\":[],\"emulators\":[]}}}\n";
    for text in ["{\"name\":\"a-package\"}", "Dear Ada", "\u{0}\u{ff}", "[1]\n[2"] {
        fs::write(sandbox.at("letter"), text).expect("a letter");
        run(&sandbox, "healthy", &resume, 2).says(&["letter", "it is to be a journal"]);
        assert_eq!(fs::read_to_string(sandbox.at("letter")).expect("it"), text);
    }
    fs::write(sandbox.at("letter"), format!("{ours}Yours, Charles")).expect("a letter");
    run(&sandbox, "healthy", &resume, 2).says(&["letter", "its last line has no end"]);
    fs::write(sandbox.at("cut"), format!("{ours}{{\"na")).expect("written");
    run(&sandbox, "healthy", &[SUITE, "--resume", "--journal", "cut"], 0);
    let text = fs::read_to_string(sandbox.at("cut")).expect("it");
    assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{text}");
    // What was stopped is not done: it runs, and nothing of it is left in the end.
    fs::write(sandbox.at("cut"), text.replacen("\"passed\"", "\"stopped\"", 1)).expect("written");
    for runs in [1, 0] {
        let resumed = run(&sandbox, "healthy", &[SUITE, "--resume", "--journal", "cut"], 0);
        assert_eq!(resumed.stdout.matches("/sdhci-tests/").count(), runs, "{resumed}");
    }
    let resume = [SUITE, "--resume", "--journal", "nowhere"];
    run(&sandbox, "healthy", &resume, 2).says(&["nowhere"]);
    run(&sandbox, "healthy", &[SUITE, "--journal", "no/such/folder"], 2).says(&["no/such/folder"]);
}

/// Would catch a full disk that changes an outcome, or of which nobody, a script among them,
/// is told.
fn a_journal_that_cannot_be_written() {
    let sandbox = Sandbox::new();
    let finished = run(&sandbox, "healthy", &[SUITE, "--journal", "/dev/full"], 3);
    assert!(finished.stdout.contains("\"outcome\":\"passed\""), "{finished}");
    let finished = finished.says(&["the results are not all kept", "exit status 3"]);
    assert_eq!(finished.stderr.matches("goes on without a journal").count(), 1, "{finished}");
}

tests!(dyn Sdhci, "stuck-tests": spins);

/// A test with a mistake: it does not return.
fn spins(_: &dyn Sdhci, _: &Rc<Vm>) -> Result<()> {
    loop {
        std::thread::park();
    }
}

/// Would catch a test that takes the whole run with it.
fn a_test_that_never_returns() {
    let sandbox = Sandbox::new();
    let fake = sandbox.fake("healthy");
    let prober = Prober { cache: sandbox.at("cache"), ..Prober::new() };
    let fleet = Fleet::gather(&[fake], &prober, |warning| panic!("{warning}"));
    let wanted = ["*/pc/*/{stuck-tests/spins,sdhci-tests/registers,sdhci-tests/reset}".to_owned()];
    let filter = Filter::new(&wanted, &[], &[], false).expect("a filter");
    let plan = Plan::new(Arc::new(Model::registered()), fleet.usable, filter);
    let limits = Limits { whole: Duration::from_secs(1), ..Limits::default() };
    let settings = Settings { limits, jobs: 1.try_into().expect("1"), ..Settings::default() };
    let mut verdicts = BTreeMap::new();
    run_all(plan.trials(), &settings, |outcome| {
        let test = Path::new(&outcome.name).file_name().expect("a test").to_owned();
        verdicts.insert(test.to_string_lossy().into_owned(), outcome.verdict);
        ControlFlow::Continue(())
    });
    assert_eq!(verdicts.len(), plan.trials().count(), "{verdicts:?}");
    let Some(Verdict::Hung(why)) = verdicts.remove("spins") else { panic!("{verdicts:?}") };
    assert!(why.starts_with("the test did not end within 1s"), "{why}");
    assert!(verdicts.values().all(|verdict| *verdict == Verdict::Passed), "{verdicts:?}");
}

tests!(dyn Sdhci, "waiting-tests": waits);

/// A test that waits for what never comes, as tests do of a device without its interrupt.
fn waits(_: &dyn Sdhci, vm: &Rc<Vm>) -> Result<()> {
    wait_until(vm, "an interrupt that never comes", || {
        vm.qtest().endianness()?;
        Ok(false)
    })
}

/// Would catch a fault that costs each of many paths the whole time of a wait, and a wait that
/// is cut short without a word, or the first time.
fn a_wait_that_fails_again_and_again() {
    let sandbox = Sandbox::new();
    let prober = Prober { cache: sandbox.at("cache"), ..Prober::new() };
    let fleet = Fleet::gather(&[sandbox.fake("healthy")], &prober, |warning| panic!("{warning}"));
    let filter = Filter::new(&["*/pc/*/waiting-tests/*".to_owned()], &[], &[], false);
    let plan = Plan::new(Arc::new(Model::registered()), fleet.usable, filter.expect("a filter"));
    let trials: Vec<_> = plan.trials().collect();
    assert_eq!(trials.len(), 1);
    let trials = trials.into_iter().cycle().take(5);
    let reproducers = Arc::new(Reproducers::new(sandbox.at("reproducers")));
    let settings = Settings {
        jobs: 1.try_into().expect("1"),
        fresh: true,
        reproducers,
        ..Settings::default()
    };
    let mut said = Vec::new();
    run_all(trials, &settings, |outcome| {
        let Verdict::Failed(why) = outcome.verdict else { panic!("{outcome:?}") };
        assert!(why.starts_with("waited for an interrupt that never comes for "), "{why}");
        said.push(why.contains("less than usual, as this wait had failed"));
        ControlFlow::Continue(())
    });
    assert_eq!(said, [false, false, true, true, true]);
}

tests!(dyn Sdhci, "event-tests": waits_for_event = "waits-for-event");

fn waits_for_event(_: &dyn Sdhci, vm: &Rc<Vm>) -> Result<()> {
    wait_event(vm, "NEVER").map(drop)
}

/// The same for an event, which has the limit of a request.
fn an_event_that_never_comes() {
    let sandbox = Sandbox::new();
    let prober = Prober { cache: sandbox.at("cache"), ..Prober::new() };
    let fleet = Fleet::gather(&[sandbox.fake("healthy")], &prober, |warning| panic!("{warning}"));
    let filter = Filter::new(&["*/pc/*/event-tests/*".to_owned()], &[], &[], false);
    let plan = Plan::new(Arc::new(Model::registered()), fleet.usable, filter.expect("a filter"));
    let trials: Vec<_> = plan.trials().collect();
    let trials = trials.into_iter().cycle().take(3);
    let settings = Settings {
        jobs: 1.try_into().expect("1"),
        limits: Limits { request: Duration::from_secs(4), ..Limits::default() },
        fresh: true,
        reproducers: Arc::new(Reproducers::new(sandbox.at("reproducers"))),
        ..Settings::default()
    };
    let mut said = Vec::new();
    run_all(trials, &settings, |outcome| {
        let Verdict::Hung(why) = outcome.verdict else { panic!("{outcome:?}") };
        assert!(why.contains("`waiting for event NEVER` got no answer within "), "{why}");
        let is_short = why.starts_with("waited less than usual, as the event NEVER had not come 2");
        assert_eq!(outcome.phases.test < 4.0, is_short, "{why}");
        said.push(is_short);
        ControlFlow::Continue(())
    });
    assert_eq!(said, [false, false, true]);
}

/// Would catch a module that is damaged while a run goes on, after which no QEMU starts.
fn a_module_damaged_during_a_run() {
    let sandbox = Sandbox::new();
    let fake = sandbox.modular("modular");
    let prober = Prober { cache: sandbox.at("cache"), ..Prober::new() };
    let emulator = Arc::new(prober.probe(&fake, |warning| panic!("{warning}")).expect("usable"));
    let launch = || {
        let config = Config::new("pc", "", RamSpec::new(0, MIB));
        Vm::launch(&emulator, config, Limits::default()).expect("started");
    };
    launch();
    let is_module = |file: &PathBuf| file.extension() == Some("so".as_ref());
    let module = sandbox.files("cache").into_iter().find(is_module).expect("a module");
    let whole = fs::read(&module).expect("a module");
    let damages: [&dyn Fn(); 4] = [
        &|| fs::write(&module, &whole[..100]).expect("cut"),
        &|| fs::write(&module, [&whole[..], &whole].concat()).expect("replaced"),
        &|| fs::remove_file(&module).expect("deleted"),
        &|| fs::remove_dir_all(sandbox.at("cache/modules")).expect("deleted"),
    ];
    for damage in damages {
        damage();
        launch();
        assert!(is_module(&module) && fs::metadata(&module).expect("there").len() > 4096);
    }
}

/// What goes wrong in the runs of the matrix, beside QEMUs that are killed by hand.
const FAULTS: &[&str] = &[
    "healthy",
    "start-exit",
    "start-segv",
    "start-hang",
    "start-garbage",
    "half-segv",
    "half-exit",
    "once-abort",
    "request-segv",
    "request-abort",
    "request-hang",
    "request-garbage",
    "request-close",
    "request-orphan",
    "reset-segv",
    "reset-hang",
    "quit-segv",
    "quit-exit",
    "quit-hang",
    "x-sticky",
    "x-deaf",
];

/// How many runs, for whoever has time for more.
const RUNS: &str = "QGRAPH_FAULT_MATRIX";

/// Would catch a path that is lost, or accounted for twice, and anything left behind,
/// whatever goes wrong in several emulators of one run.
fn a_matrix_of_faults() {
    let runs = std::env::var(RUNS).ok().and_then(|runs| runs.parse().ok()).unwrap_or(8);
    let (next, accounted) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= runs {
                        break;
                    }
                    accounted.fetch_add(a_run_of_the_matrix(number as u64), Ordering::SeqCst);
                }
            });
        }
    });
    let accounted = accounted.into_inner();
    println!("{runs} runs with faults, {accounted} paths, each accounted for once");
}

/// One run, on three emulators with faults chosen by this seed. Returns the number of paths.
fn a_run_of_the_matrix(seed: u64) -> usize {
    let mut rng = fastrand::Rng::with_seed(seed);
    let sandbox = Sandbox::new();
    let fakes = rng.choose_multiple(FAULTS.iter(), 3);
    let fakes: Vec<_> = fakes.into_iter().map(|role| sandbox.fake(role)).collect();
    let jobs = rng.usize(1..5).to_string();
    let mut command = sandbox.qgraph(["run", SUITE, "--format", "json", "--timeout", "1"]);
    command.args(["--jobs", &jobs, "--journal", "journal.jsonl"]);
    command.args(if rng.bool() { &["--fresh"][..] } else { &[] });
    command.args(if rng.bool() { &["--retries", "1"][..] } else { &[] });
    command.args(fakes.iter().flat_map(|fake| [Path::new("--qemu"), fake]));
    let running = sandbox.start(&mut command);
    let kills = rng.usize(0..3);
    for _ in 0..kills {
        // Whenever there is one, somebody kills it.
        while !running.is_over_within(Duration::from_millis(rng.u64(1..50))) {
            let mut qemus =
                sandbox.processes().into_iter().filter(|(_, line)| line.contains("-machine"));
            if let Some((pid, _)) = qemus.next_back() {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                break;
            }
        }
    }
    let finished = running.finish();
    let (mut expected, mut got) = (Vec::new(), Vec::new());
    for fake in &fakes {
        let list = sandbox.run(sandbox.qgraph(["list", SUITE, "--qemu"]).arg(fake));
        let emulator = fake.to_string_lossy().into_owned();
        expected.extend(list.stdout.lines().map(|name| (name.to_owned(), emulator.clone())));
    }
    for line in lines(&finished) {
        let text = |key: &str| line[key].as_str().expect("a text").to_owned();
        got.push((text("name"), text("emulator")));
    }
    expected.sort();
    got.sort();
    // An emulator that somebody killed while it was probed is not used, which was said.
    let is_used = |(_, emulator): &(String, String)| !finished.stderr.contains(&**emulator);
    let used: Vec<_> =
        expected.iter().filter(|path| kills == 0 || is_used(path)).cloned().collect();
    assert!(got == expected || got == used, "seed {seed}: {finished}");
    let journal = fs::read_to_string(sandbox.at("journal.jsonl")).expect("a journal");
    let (_, outcomes) = journal.split_once('\n').expect("a first line");
    assert_eq!(outcomes, finished.stdout, "seed {seed}");
    got.len()
}
