//! What people ask for of runners: only what failed, only what a list names, an end after so
//! many failures or so much time, more that fails a run, and what each worker did when.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;

use serde_json::Value;

use crate::fake::{Finished, Sandbox};
use crate::{PATHS, REGISTERS, list, qgraph, with_emulator};

/// The names of the outcomes, one for each line.
fn names(finished: &Finished) -> Vec<String> {
    let lines = finished.stdout.lines();
    let outcome = |line| serde_json::from_str::<Value>(line).expect("an outcome");
    lines.map(|line| outcome(line)["name"].as_str().expect("a name").to_owned()).collect()
}

/// Would catch a rerun of what passed, on another emulator, or of nothing without a word; and
/// one that destroys the journal from which it knows.
pub fn what_failed_runs_again() {
    let sandbox = with_emulator();
    let (bad, good) = (sandbox.fake("request-fail"), sandbox.fake("healthy"));
    let both = ["--qemu", &*bad.to_string_lossy(), "--qemu", &*good.to_string_lossy()];
    let run =
        |arguments: &[&str]| qgraph(&sandbox, &[&["run", "--format", "json"], arguments].concat());
    for journal in [&["--journal", "journal"][..], &[]] {
        run(&[&[PATHS], journal, &both].concat()).expect(1);
    }
    for rerun in ["--rerun-failed=journal", "--rerun-failed"] {
        let finished = run(&[rerun]).expect(1);
        let outcomes: Vec<_> = finished.outcomes().into_keys().collect();
        let failed = (bad.to_string_lossy().into_owned(), REGISTERS.to_owned());
        assert_eq!(outcomes, [failed], "{finished}");
    }
    // Where it failed is not at hand.
    let other = ["--rerun-failed=journal", both[2], both[3], "--journal", "other"];
    let finished = run(&other).expect(0);
    assert_eq!(names(&finished), [REGISTERS]);
    let finished = run(&["--rerun-failed=other"]).expect(0).silent();
    finished.says(&["note: nothing failed in other"]);
    run(&["--rerun-failed=journal", "--skip", "registers"]).expect(2).says(&["no path matches"]);
    let words = ["error: --rerun-failed and --journal name the same file"];
    run(&["--rerun-failed=journal", "--journal", "journal"]).expect(2).silent().says(&words);
    run(&["--rerun-failed=nowhere"]).expect(2).silent().says(&["cannot read nowhere"]);
    run(&["--rerun-failed", "--resume"]).expect(2).silent().says(&["cannot be used with"]);
    fs::write(sandbox.at("letter"), "Dear Ada").expect("written");
    run(&["--rerun-failed=letter"]).expect(2).silent().says(&["no outcome is in letter"]);
    let merged = qgraph(&sandbox, &["merge", "journal", "other"]).expect(1);
    assert!(merged.stdout.contains("\n1 failed, "), "{merged}");
    let nothing = Sandbox::new();
    let words = ["there is no journal of an earlier run"];
    qgraph(&nothing, &["run", "--rerun-failed"]).expect(2).silent().says(&words);
}

/// Would catch a run that goes on after as many failures as somebody wanted to see, and one
/// that repeats itself for another time than it was told.
pub fn an_end_after_failures_or_time() {
    let sandbox = Sandbox::new();
    let fake = sandbox.fake("request-fail");
    let run = |arguments: &[&str]| {
        let mut command = sandbox.qgraph(["run", "--format", "json", "--jobs", "1", "--qemu"]);
        sandbox.run(command.arg(&fake).args(arguments))
    };
    let all = names(&run(&[PATHS]).expect(1)).len();
    let finished = run(&[PATHS, "--max-fail", "1", "--fresh"]).expect(1);
    let ran = names(&finished);
    assert!(ran.len() < all && ran.last().is_some_and(|last| last == REGISTERS), "{finished}");
    finished.says(&["warning: 1 failed; nothing more was begun, as --max-fail says"]);
    // It repeats itself until then, or until the time is over.
    let exact = ["--exact", REGISTERS, "--repeat-for"];
    let finished = run(&[&exact[..], &["1h", "--max-fail", "3"]].concat()).expect(1);
    assert_eq!(names(&finished), [REGISTERS; 3]);
    let finished = run(&[&exact[..], &["0.000001"]].concat()).expect(1);
    assert!(!names(&finished).is_empty(), "{finished}");
    for (arguments, words) in [
        (["--repeat-for", "soon"], "no time such as 10m"),
        (["--max-fail", "0"], "'0'"),
        (["--repeat-for", "0s"], "more than 0 seconds"),
    ] {
        run(&arguments).expect(2).silent().says(&[words]);
    }
    run(&["--repeat-for", "1m", "--repeat", "2"]).expect(2).says(&["cannot be used with"]);
}

/// Would catch a flaky path that passes although somebody wants none, in a run or when
/// journals are joined.
pub fn more_that_fails_a_run() {
    for (fail_on, status) in [(None, 0), (Some("flaky"), 1), (Some("skipped,flaky"), 1)] {
        let sandbox = Sandbox::new();
        let fake = sandbox.fake("once-fail");
        let mut command = sandbox.qgraph(["run", "--retries", "1", "--exact", REGISTERS]);
        command.args(["--journal", "journal", "--qemu"]).arg(&fake);
        let option: Vec<&str> = fail_on.iter().flat_map(|words| ["--fail-on", words]).collect();
        let finished = sandbox.run(command.args(&option)).expect(status);
        assert!(finished.stdout.ends_with("\n1 flaky\n"), "{finished}");
        let merged = qgraph(&sandbox, &[&["merge", "journal"], &option[..]].concat());
        for finished in [finished, merged.expect(status)] {
            if status == 1 {
                let finished = finished.says(&["flaky: --fail-on says that this fails the run"]);
                assert!(finished.stderr.contains("warning: 1 "), "{finished}");
            }
        }
    }
    let words = ["possible values: dependent, flaky, unexpected-pass, skipped"];
    qgraph(&Sandbox::new(), &["run", "--fail-on", "flakey"]).expect(2).silent().says(&words);
}

/// Would catch a listed path that does not run, one that runs without being listed, and a name
/// that stands for nothing and passes.
pub fn paths_by_a_list() {
    let sandbox = with_emulator();
    let all = list(&sandbox, &[PATHS]);
    let wanted = [all[1].clone(), all[4].clone()];
    fs::write(sandbox.at("names"), format!("{}\r\n\n  {}", wanted[1], wanted[0])).expect("written");
    assert_eq!(list(&sandbox, &["--names-from", "names"]), wanted);
    let one = ["--names-from", "names", "--skip", &wanted[0]];
    assert_eq!(list(&sandbox, &one), wanted[1..]);
    let mut command = sandbox.qgraph(["run", "--format", "json", "--names-from", "-"]);
    command.stdin(File::open(sandbox.at("names")).expect("it"));
    let ran: BTreeSet<String> = names(&sandbox.run(&mut command).expect(0)).into_iter().collect();
    assert_eq!(ran, BTreeSet::from(wanted.clone()));
    fs::write(sandbox.at("names"), format!("/x86_64/pc/no/such\n{}\n", wanted[0]))
        .expect("written");
    let words = ["warning: 1 listed paths are on no emulator at hand; the first is /x86_64/pc/no"];
    qgraph(&sandbox, &["run", "--names-from", "names"]).expect(1).says(&words);
    qgraph(&sandbox, &["list", "--names-from", "names"]).expect(0).says(&words);
    // Another filter has left it out.
    qgraph(&sandbox, &["run", "--names-from", "names", "sdhci"]).expect(0);
    fs::write(sandbox.at("names"), "\n").expect("written");
    let words = ["error: no name is in names"];
    qgraph(&sandbox, &["run", "--names-from", "names"]).expect(2).silent().says(&words);
    let words = ["error: cannot read nowhere: No such file"];
    qgraph(&sandbox, &["run", "--names-from", "nowhere"]).expect(2).silent().says(&words);
}

/// Would catch a trace that viewers cannot read, or that lacks a test, a start or a reset.
pub fn what_workers_did() {
    let sandbox = with_emulator();
    let run = ["run", PATHS, "--jobs", "2", "--trace"];
    qgraph(&sandbox, &[&run[..], &["out/trace.json"]].concat()).expect(0);
    let text = fs::read_to_string(sandbox.at("out/trace.json")).expect("a trace");
    let trace: Value = serde_json::from_str(&text).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("events");
    let of = |kind: &str| -> Vec<&Value> {
        events.iter().filter(|event| event["cat"] == kind && event["ph"] == "X").collect()
    };
    let text = |event: &&Value| event["name"].as_str().expect("a name").to_owned();
    let mut tests: Vec<String> = of("test").iter().map(text).collect();
    tests.sort();
    let mut all = list(&sandbox, &[PATHS]);
    all.sort();
    assert_eq!(tests, all);
    assert!(of("test").iter().all(|event| event["args"]["outcome"] == "passed"));
    assert_eq!(of("attach").len(), all.len());
    let launches = sandbox.launches(Path::new(&sandbox.at("bin/qemu-system-x86_64"))).len() - 1;
    assert_eq!((of("start").len(), of("quit").len()), (launches, launches));
    assert_eq!(of("reset").len(), all.len() - launches);
    let number = |event: &Value, key: &str| event[key].as_f64().expect("a number");
    for event in events.iter().filter(|event| event["ph"] == "X") {
        assert!(number(event, "ts") >= 0.0 && number(event, "dur") >= 0.0, "{event}");
        let thread =
            |other: &&Value| other["name"] == "thread_name" && other["tid"] == event["tid"];
        assert_eq!(events.iter().filter(thread).count(), 1, "{event}");
    }
    let finished = qgraph(&sandbox, &[&run[..], &["/dev/full"]].concat()).expect(3);
    finished.says(&["warning: the trace /dev/full could not be written: No space"]);
    qgraph(&sandbox, &[&run[..], &["/proc/no/x"]].concat()).expect(3).says(&["no trace"]);
}
