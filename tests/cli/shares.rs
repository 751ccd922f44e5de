//! Several machines that run the paths together, as their users meet them: which share each
//! has, and what comes of their journals.

use std::fs;

use crate::fake::{Finished, Sandbox};
use crate::{PATHS, REGISTERS, RUNNER, list, qgraph, runner, with_emulator};

/// Would catch a path that no machine of a fleet runs, or that two of them do.
pub fn shards() {
    let sandbox = with_emulator();
    let mut all = list(&sandbox, &[]);
    all.sort();
    for of in [1, 2, 3, 7] {
        let mut together = Vec::new();
        for number in 1..=of {
            let shard = format!("{number}/{of}");
            let finished = qgraph(&sandbox, &["list", "--shard", &shard]).expect(0);
            let share: Vec<String> = finished.stdout.lines().map(str::to_owned).collect();
            // Paths that can use one QEMU stay together, so that a share may be empty.
            if share.is_empty() {
                finished.says(&["warning: no path is left for shard "]);
            }
            assert!(share.len() * of < all.len() * 2, "{number}/{of}: {}", share.len());
            together.extend(share);
        }
        together.sort();
        assert_eq!(together, all, "of {of}");
    }
    let share = list(&sandbox, &[PATHS, "--shard", "2/3"]);
    let run = ["run", "--format", "json", PATHS, "--shard", "2/3"];
    let finished = qgraph(&sandbox, &run).expect(0);
    let mut ran: Vec<String> = finished.outcomes().into_keys().map(|(_, name)| name).collect();
    ran.sort();
    assert_eq!(ran, sorted(&share));
    // More shards than paths: nothing to do is no failure, where there is something elsewhere.
    let (mut empty, one) = (0, ["list", "--exact", REGISTERS, "--shard"]);
    for number in 1..=3 {
        let finished = sandbox.run(sandbox.qgraph(one).arg(format!("{number}/3"))).expect(0);
        if finished.stdout.is_empty() {
            empty += 1;
            finished.says(&["warning: no path is left for shard ", "more shards than paths"]);
        }
    }
    assert_eq!(empty, 2);
    qgraph(&sandbox, &["run", "no-such", "--shard", "1/2"]).expect(2).silent();
}

fn sorted(names: &[String]) -> Vec<String> {
    let mut names = names.to_vec();
    names.sort();
    names
}

/// Would catch a job that runs everything, or another's share, or does so without a word.
pub fn shards_by_the_environment() {
    let sandbox = with_emulator();
    let with = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = sandbox.qgraph(["list", PATHS]);
        sandbox.run(command.args(arguments).envs(variables.iter().copied()))
    };
    let share = list(&sandbox, &[PATHS, "--shard", "2/3"]).join("\n") + "\n";
    let gitlab = [("CI_NODE_INDEX", "2"), ("CI_NODE_TOTAL", "3")];
    let finished = with(&gitlab, &[]).expect(0);
    assert_eq!(finished.stdout, share, "{finished}");
    finished.says(&["note: shard 2/3, by CI_NODE_INDEX=2 and CI_NODE_TOTAL=3; --shard 1/1 is"]);
    let finished = with(&[("JOB_COMPLETION_INDEX", "1"), ("JOB_COMPLETIONS", "3")], &[]).expect(0);
    assert_eq!(finished.stdout, share, "{finished}");
    let finished = with(&[gitlab[0], gitlab[1], ("QGRAPH_SHARD", "2/3")], &[]).expect(0);
    finished.says(&["note: shard 2/3, by QGRAPH_SHARD=2/3;"]);
    let finished = with(&gitlab, &["--shard", "1/1"]).expect(0);
    assert_eq!(finished.stdout, list(&sandbox, &[PATHS]).join("\n") + "\n", "{finished}");
    assert_eq!(finished.stderr, "", "{finished}");
    let words = ["error: CI_NODE_INDEX=4 and CI_NODE_TOTAL=3 ", "1 to the total", "--shard 1/1"];
    with(&[("CI_NODE_INDEX", "4"), gitlab[1]], &[]).expect(2).silent().says(&words);
    let words = ["error: JOB_COMPLETION_INDEX=0 and JOB_COMPLETIONS (not set) ", " no shard: "];
    with(&[("JOB_COMPLETION_INDEX", "0")], &[]).expect(2).silent().says(&words);
}

/// Would catch shares that are of equal number although one path takes as long as all others.
pub fn shards_by_duration() {
    let sandbox = with_emulator();
    let all = list(&sandbox, &[PATHS]);
    let emulator = sandbox.at("bin/qemu-system-x86_64");
    let line = |(number, name): (usize, &String)| {
        let seconds = if number == 3 { 100.0 } else { 0.1 };
        let outcome = serde_json::json!({
            "name": name, "outcome": "passed", "seconds": seconds, "emulator": emulator,
        });
        format!("{outcome}\n")
    };
    let journal: String = all.iter().enumerate().map(line).collect();
    fs::write(sandbox.at("journal"), journal + "{\"name\":").expect("written");
    let share = |number: &str| {
        let finished =
            qgraph(&sandbox, &["list", PATHS, "--shard", number, "--durations", "journal"]);
        let names: Vec<String> = finished.stdout.lines().map(str::to_owned).collect();
        finished.expect(0).says(&[&format!("journal:{}: the line is cut off", all.len() + 1)]);
        names
    };
    let (one, two) = (share("1/2"), share("2/2"));
    assert_eq!(one, [all[3].clone()]);
    assert_eq!(sorted(&[one, two].concat()), sorted(&all));
    fs::write(sandbox.at("journal"), "").expect("written");
    let finished = qgraph(&sandbox, &["list", "--shard", "1/2", "--durations", "journal"]);
    finished.expect(0).says(&["warning: journal has none of these paths"]);
}

/// A line of a journal.
fn line(name: &str, outcome: &str, message: &str) -> String {
    let mut line = serde_json::json!({
        "name": name, "outcome": outcome, "seconds": 0.25, "emulator": "q",
        "command_line": "q -M pc",
    });
    if !message.is_empty() {
        line["message"] = message.into();
    }
    format!("{line}\n")
}

/// Runs `qgraph merge` on journals with these texts, in the order of their names.
fn merge(sandbox: &Sandbox, journals: &[&str], arguments: &[&str]) -> Finished {
    let mut command = sandbox.qgraph(["merge"]);
    for (number, text) in journals.iter().enumerate() {
        let file = format!("{number}.jsonl");
        fs::write(sandbox.at(&file), text).expect("written");
        command.arg(file);
    }
    sandbox.run(command.args(arguments))
}

/// Would catch an outcome that is lost or counted twice, an old one that hides a new one, and
/// a failure that a script takes for success.
pub fn journals_are_joined() {
    let sandbox = Sandbox::new();
    let [a, b] = ["/x/a", "/x/b"].map(|name| line(name, "passed", ""));
    let [bad, stopped] = [("failed", "no luck"), ("stopped", "")]
        .map(|(outcome, message)| line("/x/a", outcome, message));
    let joined = |journals: &[&str], status| -> Vec<String> {
        let arguments = ["--format", "json", "--journal", "all"];
        let finished = merge(&sandbox, journals, &arguments).expect(status);
        assert_eq!(finished.stderr, "", "{finished}");
        assert_eq!(fs::read_to_string(sandbox.at("all")).expect("a file"), finished.stdout);
        let outcomes = finished.outcomes().into_iter();
        outcomes.map(|((_, name), it)| format!("{name} {}", it["outcome"])).collect()
    };
    let passed = ["/x/a \"passed\"", "/x/b \"passed\""];
    let failed = ["/x/a \"failed\""];
    assert_eq!(joined(&[&a, &b], 0), passed);
    assert_eq!(joined(&[&bad, &format!("{a}{b}")], 0), passed);
    assert_eq!(joined(&[&a, &bad], 1), failed);
    assert_eq!(joined(&[&a, &stopped], 0), [passed[0]]);
    assert_eq!(joined(&[&stopped, &a], 0), [passed[0]]);
    assert_eq!(joined(&[&bad, &stopped], 1), failed);
    assert_eq!(joined(&[&stopped, &stopped], 1), ["/x/a \"stopped\""]);
    // One that was resumed, one that repeats itself.
    assert_eq!(joined(&[&format!("{stopped}{a}")], 0), [passed[0]]);
    assert_eq!(joined(&[&format!("{a}{bad}{a}")], 1), failed);
    // Another emulator is another outcome.
    let other = bad.replace("\"q\"", "\"r\"");
    assert_eq!(joined(&[&a, &other], 1), [passed[0], failed[0]]);
    let finished = merge(&sandbox, &[&b, &bad], &[]).expect(1);
    for word in ["passed ", "no luck", "QEMU: q -M pc", "\n1 failed, 1 passed\n"] {
        assert!(finished.stdout.contains(word), "{word:?} is not said: {finished}");
    }
    // A joined journal may take the place of one of those it is made of.
    merge(&sandbox, &[&a, &b], &["-o", "0.jsonl"]).expect(0);
    assert_eq!(fs::read_to_string(sandbox.at("0.jsonl")).expect("a file").lines().count(), 2);
}

/// Would catch damage that hides what else there is, that nobody hears of, or that counts as
/// success.
pub fn damaged_journals() {
    let sandbox = Sandbox::new();
    let (a, b) = (line("/x/a", "passed", ""), line("/x/b", "passed", ""));
    let damaged = format!("{a}nonsense\n{}", &b[..20]);
    let finished = merge(&sandbox, &[&damaged, &b], &[]).expect(1);
    assert!(finished.stdout.contains("\n2 passed\n"), "{finished}");
    finished.says(&["warning: 0.jsonl:2: the line is no", "warning: 0.jsonl:3: the line is cut"]);
    let nothing = ["error: no outcome is in these journals"];
    merge(&sandbox, &["", ""], &[]).expect(2).silent().says(&nothing);
    merge(&sandbox, &["{}\n"], &[]).expect(2).silent().says(&nothing).says(&["0.jsonl:1: "]);
    let words = ["error: cannot read no-such: No such file"];
    qgraph(&sandbox, &["merge", "no-such"]).expect(2).silent().says(&words);
    qgraph(&sandbox, &["merge", "/"]).expect(2).silent().says(&["/:1: cannot be read"]);
    qgraph(&sandbox, &["merge"]).expect(2).silent().says(&["<JOURNAL>"]);
    for file in ["/proc/no/file", "/dev/full"] {
        let finished = merge(&sandbox, &[&a], &["-o", file]).expect(3);
        assert!(finished.stdout.contains("\n1 passed\n"), "{finished}");
        finished.says(&[&format!("warning: the joined journal {file} could not be written: ")]);
    }
}

/// Would catch a share of which nothing came, or only a part, and that nobody misses.
pub fn what_journals_lack() {
    let sandbox = with_emulator();
    for number in ["1", "2", "3"] {
        let journal = format!("{number}.journal");
        let shard = format!("{number}/3");
        qgraph(&sandbox, &["run", PATHS, "--shard", &shard, "--journal", &journal]).expect(0);
    }
    let merge = |journals: &[&str], status| {
        qgraph(&sandbox, &[&["merge"][..], journals].concat()).expect(status)
    };
    let all = ["1.journal", "2.journal", "3.journal"];
    let finished = merge(&all, 0);
    assert_eq!(finished.stderr, "", "{finished}");
    let words = ["warning: of 3 shares no journal is of 2/3: their paths are missing"];
    merge(&["1.journal", "3.journal"], 1).says(&words);
    let text = fs::read_to_string(sandbox.at("2.journal")).expect("a journal");
    let end = text.trim_end().rfind('\n').expect("several lines");
    fs::write(sandbox.at("2.journal"), &text[..end + 20]).expect("cut");
    let paths = text.lines().count() - 1;
    let said =
        format!("warning: 2.journal, shard 2/3: 1 of {paths} paths have no outcome; the run");
    let finished = merge(&all, 1).says(&[&said, "2.journal:"]);
    assert!(finished.stdout.contains(", 1 not run, the run was stopped\n"), "{finished}");
    fs::write(sandbox.at("2.journal"), "").expect("emptied");
    merge(&all, 1).says(&["warning: 2.journal is empty: the run", words[0]]);
    // Which share the rest of a line is of nobody knows, but which one is missing.
    fs::write(sandbox.at("2.journal"), &text[..30]).expect("cut");
    merge(&all, 1).says(&["warning: 2.journal:1: the first line is damaged", words[0]]);
}

/// Would catch a path that is in no share of the runner, or in two; and nextest, which starts
/// the runner once a path, left without it.
pub fn the_runner_in_shares() {
    let sandbox = with_emulator();
    let lines = |shard: Option<&str>, arguments: &[&str]| -> Vec<String> {
        runner(&sandbox, &["--list", "no-such"]).expect(0);
        let mut command = sandbox.command(sandbox.at(RUNNER));
        command.args(arguments).env("NEXTEST", "1");
        // It is not asked what a CI system says: `cargo test` has partitions of its own.
        command.env("CI_NODE_INDEX", "1").env("CI_NODE_TOTAL", "2");
        shard.map(|shard| command.env("QGRAPH_SHARD", shard));
        sandbox.run(&mut command).expect(0).stdout.lines().map(str::to_owned).collect()
    };
    let list = ["--list", "sdhci"];
    let all = lines(None, &list);
    let (one, two) = (lines(Some("1/2"), &list), lines(Some("2/2"), &list));
    assert!(!one.is_empty() && !two.is_empty());
    assert_eq!(sorted(&[one.clone(), two].concat()), sorted(&all));
    for shard in ["1/2", "2/2"] {
        let ran = lines(Some(shard), &["--exact", REGISTERS]).concat();
        assert!(ran.contains("1 passed; 0 failed"), "{ran}");
    }
    let mut command = sandbox.command(sandbox.at(RUNNER));
    let finished = sandbox.run(command.arg("--list").env("QGRAPH_SHARD", "3/2")).expect(101);
    finished.silent().says(&["error: QGRAPH_SHARD in the environment: not a shard K/N"]);
}
