//! The programs as their user meets them: what they say, where, and with which exit status.
//! `qgraph` itself, and the runner that `cargo test` starts. Emulators are fakes;
//! those that misbehave have a file of their own, `bad_emulators.rs`.

mod fake;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::{ExitCode, Stdio};

use fake::{Finished, Sandbox};
use serde_json::Value;

/// The name under which this executable is the runner of `cargo test`.
const RUNNER: &str = "paths";

fn main() -> ExitCode {
    if fake::called() == RUNNER {
        return qgraph::harness::cargo_test();
    }
    fake::main(trials![
        everything_passes,
        something_fails,
        nothing_matches,
        wrong_usage,
        help_goes_to_standard_output,
        the_manual,
        filters,
        shards,
        shards_by_the_environment,
        shards_by_duration,
        list_as_json,
        journals_are_joined,
        damaged_journals,
        no_emulator,
        emulators_that_are_found,
        emulators_that_are_named,
        odd_names,
        an_unwritable_cache,
        a_damaged_cache,
        a_cold_cache_shared,
        a_warm_cache_costs_no_launch,
        nobody_reads,
        nothing_can_be_written,
        the_runner_lists,
        the_runner_runs,
        the_runner_without_emulator,
        the_runner_in_shares,
    ])
}

const PATHS: &str = "sdhci-tests/";
const REGISTERS: &str =
    "/x86_64/pc/i440FX-pcihost/pci-bus-pc/pci-bus/sdhci-pci/sdhci/sdhci-tests/registers";

/// A sandbox in which a healthy emulator is on `PATH`.
fn with_emulator() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.fake_at(Path::new("bin/qemu-system-x86_64"));
    sandbox
}

fn qgraph(sandbox: &Sandbox, arguments: &[&str]) -> Finished {
    sandbox.run(&mut sandbox.qgraph(arguments))
}

/// The names that `qgraph list` prints.
fn list(sandbox: &Sandbox, arguments: &[&str]) -> Vec<String> {
    let finished = sandbox.run(sandbox.qgraph(["list"]).args(arguments)).expect(0);
    assert_eq!(finished.stderr, "", "{finished}");
    finished.stdout.lines().map(str::to_owned).collect()
}

/// Would catch a pass that is not told as one, and words on the wrong channel.
fn everything_passes() {
    let sandbox = with_emulator();
    let count = list(&sandbox, &[PATHS]).len();
    assert!(count >= 10);
    let finished = qgraph(&sandbox, &["run", PATHS]).expect(0);
    assert_eq!(finished.stderr, "", "{finished}");
    let lines: Vec<&str> = finished.stdout.lines().collect();
    let passed = lines.iter().filter(|line| line.starts_with("passed ")).count();
    assert_eq!((passed, lines.last()), (count, Some(&&*format!("{count} passed"))), "{finished}");
    let finished = qgraph(&sandbox, &["run", "--format", "json", PATHS]).expect(0);
    assert_eq!(finished.outcomes().len(), count, "{finished}");
}

/// Would catch a failure that a script takes for success, or that is lost among the passes.
fn something_fails() {
    let sandbox = Sandbox::new();
    let fake = sandbox.fake("request-fail");
    let finished = sandbox.run(sandbox.qgraph(["run", PATHS, "--qemu"]).arg(&fake)).expect(1);
    let (_, end) = finished.stdout.split_once("\nNot passed:\n").expect("a list of failures");
    assert!(end.contains(REGISTERS) && end.contains("FAIL out of luck"), "{finished}");
    assert!(end.contains("\n1 failed, "), "{finished}");
}

/// Would catch a run of nothing that counts as a pass, and a message that does not say why.
fn nothing_matches() {
    let sandbox = with_emulator();
    for command in ["run", "list"] {
        for filter in ["no-such-thing", "no*such*thing", "x86_64/pc/*"] {
            let finished = qgraph(&sandbox, &[command, filter]).expect(2).silent();
            finished.says(&["error: no path matches", "`qgraph list` shows all"]);
        }
        let finished = qgraph(&sandbox, &[command, "--machine", "no-such"]).expect(2).silent();
        finished.says(&["error: no machine in the graph is called no-such; `qgraph list`"]);
        let finished = qgraph(&sandbox, &[command, "--machine", "raspi2b"]).expect(2).silent();
        let words =
            ["no emulator at hand has a path that matches; /a", "/raspi2b/", " would, but "];
        finished.says(&words).says(&["no emulator of a", " at hand"]);
    }
}

/// Would catch wrong usage that is taken for something else.
fn wrong_usage() {
    let sandbox = with_emulator();
    let cases: [(&[&str], &[&str]); 18] = [
        (&[], &["Usage: qgraph"]),
        (&["--no-such-option"], &["unexpected argument '--no-such-option'", "Usage: qgraph"]),
        (&["run", "--no-such-option"], &["unexpected argument '--no-such-option'", "qgraph run"]),
        (&["no-such-command"], &["no-such-command"]),
        (&["runn"], &["a similar subcommand exists: 'run'"]),
        (&["run", "--jobs", "0"], &["--jobs", "'0'"]),
        (&["run", "--timeout", "0"], &["must be more than 0 seconds"]),
        (&["run", "--timeout", "1e19"], &["at most 1000000000"]),
        (&["run", "--timeout", "NaN"], &["must be more than 0 seconds"]),
        (&["run", "--timeout", "soon"], &["not a number of seconds"]),
        (&["run", "--format", "xml"], &["possible values: pretty, json"]),
        (&["run", "[z-a]"], &["the pattern \"[z-a]\" is no glob"]),
        (&["graph", "-o", "/nowhere/graph.pdf"], &["graph.pdf: no format", ".svg", "--format"]),
        (&["run", "--shard", "0/3"], &["--shard <K/N>", "not a shard K/N"]),
        (&["list", "--shard", "4/3"], &["--shard <K/N>", "K at most N"]),
        (&["run", "--shard", "1"], &["'1'", "not a shard K/N"]),
        (&["run", "--durations", "/no/journal"], &["cannot read /no/journal: No such file"]),
        (&["list", "--machine", "{a"], &["the pattern \"{a\" is no glob"]),
    ];
    for (arguments, words) in cases {
        qgraph(&sandbox, arguments).expect(2).silent().says(words);
    }
    qgraph(&sandbox, &["why", "no-such-node"]).expect(2).silent().says(&["no-such-node"]);
    qgraph(&sandbox, &["why", "sdhci-pcj"]).expect(2).says(&["did you mean ", "sdhci-pci,"]);
}

/// Would catch help that cannot be piped, and a program without a version.
fn help_goes_to_standard_output() {
    let sandbox = Sandbox::new();
    for arguments in [&["--help"][..], &["run", "--help"], &["--version"], &["check"]] {
        let finished = qgraph(&sandbox, arguments).expect(0);
        assert!(finished.stderr.is_empty() && !finished.stdout.is_empty(), "{finished}");
    }
    let help = qgraph(&sandbox, &["--help"]).stdout;
    for word in ["QTEST_QEMU_BINARY", "QGRAPH_CACHE", "Exit status: 0 all", "; 129, 130, 143 "] {
        assert!(help.contains(word), "{word:?} is not in {help}");
    }
}

/// The options in a help.
fn options(help: &str) -> impl Iterator<Item = &str> {
    let words = help.split([' ', '\n', ',', '=', '[', '.', ';', ')']);
    words.filter(|word| word.starts_with("--") && word.len() > 2)
}

/// Would catch a command or an option without manual, and pages that are not installed.
fn the_manual() {
    let sandbox = Sandbox::new();
    qgraph(&sandbox, &["man", "--output", "man/man1"]).expect(0).silent();
    // As the roff has it: a hyphen is \- there.
    let page = |name: &str| {
        let page = fs::read_to_string(sandbox.at("man/man1").join(name)).expect("a page");
        page.replace("\\-", "-").replace("\\fB", "").replace("\\fR", "").replace("\\fI", "")
    };
    let main = page("qgraph.1");
    assert_eq!(qgraph(&sandbox, &["man"]).expect(0).stdout.lines().next(), main.lines().next());
    let help = qgraph(&sandbox, &["--help"]).expect(0).stdout;
    let (_, commands) = help.split_once("Commands:\n").expect("commands");
    let commands = commands.split("\n\n").next().unwrap_or_default().lines();
    let commands: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains(&"run") && commands.contains(&"man"), "{commands:?}");
    for command in commands.iter().filter(|command| **command != "help") {
        assert!(main.contains(&format!("qgraph-{command}(1)")), "{command} is not in {main}");
        let (own, help) = (page(&format!("qgraph-{command}.1")), [*command, "--help"]);
        assert_eq!(
            qgraph(&sandbox, &["man", command]).expect(0).stdout.lines().next(),
            own.lines().next()
        );
        let help = qgraph(&sandbox, &help).expect(0).stdout;
        assert!(options(&help).next().is_some());
        for option in options(&help) {
            assert!(own.contains(option), "{option} is not in the page of {command}: {own}");
        }
        assert!(own.contains(".SH \"EXIT STATUS\"") && own.contains(".SH \"SEE ALSO\""), "{own}");
    }
    for word in [
        ".SH \"EXIT STATUS\"",
        "129, 130, 143",
        ".SH ENVIRONMENT",
        "QGRAPH_SHARD",
        ".SH FILES",
        "~/.cache/qgraph",
        ".SH EXAMPLES",
    ] {
        assert!(main.contains(word), "{word:?} is not in {main}");
    }
    qgraph(&sandbox, &["man", "no-such"]).expect(2).silent().says(&["no command no-such", "run"]);
    let words = ["cannot write /proc/no/such/qgraph-"];
    qgraph(&sandbox, &["man", "-o", "/proc/no/such"]).expect(2).silent().says(&words);
}

/// Would catch a filter that lets through what it should not, or the reverse.
fn filters() {
    let sandbox = with_emulator();
    let all = list(&sandbox, &[PATHS]);
    let expect = |arguments: &[&str], fits: fn(&str) -> bool| {
        let listed = list(&sandbox, arguments);
        let fit: Vec<String> = all.iter().filter(|name| fits(name)).cloned().collect();
        assert!(!fit.is_empty() && listed == fit, "{arguments:?}: {listed:#?}, not {fit:#?}");
    };
    for machine in ["pc", "x86_64/pc", "*/pc", "x86_64/{pc,no-such}"] {
        expect(&[PATHS, "--machine", machine], |name| name.starts_with("/x86_64/pc/"));
    }
    expect(&[PATHS, "--machine", "pc", "--machine", "q35"], |_| true);
    expect(&[PATHS, "--skip", "registers"], |name| !name.ends_with("/registers"));
    expect(&[PATHS, "--skip", "/x86_64/pc/*", "--skip", "reset"], |name| {
        name.starts_with("/x86_64/q35/") && !name.contains("reset")
    });
    expect(&["sdhci-tests/registers", "sdhci-tests/block-size"], |name| {
        name.ends_with("/registers") || name.ends_with("/block-size")
    });
    expect(&["/x86_64/*/sdhci-tests/reg?sters"], |name| name.ends_with("/registers"));
    expect(&["--exact", REGISTERS], |name| name == REGISTERS);
    expect(&[PATHS, "--exact", REGISTERS], |name| name == REGISTERS);
    qgraph(&sandbox, &["list", "--exact", PATHS]).expect(2).silent();
}

/// Would catch a path that no machine of a fleet runs, or that two of them do.
fn shards() {
    let sandbox = with_emulator();
    let mut all = list(&sandbox, &[]);
    all.sort();
    for of in [1, 2, 3, 7] {
        let mut together = Vec::new();
        for number in 1..=of {
            let share = list(&sandbox, &["--shard", &format!("{number}/{of}")]);
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
fn shards_by_the_environment() {
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
fn shards_by_duration() {
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

/// Would catch JSON that a program cannot read.
fn list_as_json() {
    let sandbox = with_emulator();
    let finished = qgraph(&sandbox, &["list", "--json", "--exact", REGISTERS]).expect(0);
    let paths: Value = serde_json::from_str(&finished.stdout).expect("JSON");
    let emulator = sandbox.at("bin/qemu-system-x86_64");
    let expected = serde_json::json!([{
        "name": REGISTERS,
        "machine": "x86_64/pc",
        "test": "sdhci-tests/registers",
        "emulator": emulator,
    }]);
    assert_eq!(paths, expected, "{finished}");
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
fn journals_are_joined() {
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
    assert_eq!(joined(&[&bad, "", &format!("{a}{b}")], 0), passed);
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
fn damaged_journals() {
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
    let words = ["error: cannot write /no/such/file: No such file"];
    merge(&sandbox, &[&a], &["-o", "/no/such/file"]).expect(2).silent().says(&words);
}

/// Would catch a user left without a word about what to do.
fn no_emulator() {
    let sandbox = Sandbox::new();
    for command in ["run", "list", "probe"] {
        let finished = qgraph(&sandbox, &[command]).expect(2).silent();
        let words = ["no usable QEMU", "qemu-system-* on PATH", "install", "--qemu"];
        finished.says(&words).says(&["QTEST_QEMU_BINARY"]);
        let mut without_path = sandbox.qgraph([command]);
        sandbox.run(without_path.env_remove("PATH")).expect(2).silent().says(&words);
    }
}

/// Would catch an emulator on `PATH` that is overlooked, and one beside it that cannot be
/// used and spoils the run although nobody asked for it.
fn emulators_that_are_found() {
    let sandbox = with_emulator();
    let bad = sandbox.fake_at(Path::new("probe-exit/qemu-system-arm"));
    let path = std::env::join_paths([sandbox.at("bin"), sandbox.at("probe-exit")]).expect("PATH");
    let finished = sandbox.run(sandbox.qgraph(["run", PATHS]).env("PATH", &path)).expect(0);
    finished.says(&["warning: ", &bad.to_string_lossy(), "fake: cannot set up guest memory"]);
    let finished = sandbox.run(sandbox.qgraph(["probe"]).env("PATH", &path)).expect(0);
    for word in ["cannot be used", "QEMU 7.2.0 fake, x86_64: 5 machines, 1 devices"] {
        assert!(finished.stdout.contains(word), "{word:?} is not said: {finished}");
    }
}

/// Would catch an emulator that is named and not used, or used twice.
fn emulators_that_are_named() {
    let sandbox = with_emulator();
    let (one, two) = (sandbox.fake("one"), sandbox.fake("two"));
    let folder = one.parent().expect("a folder");
    let run = ["run", "--format", "json", "--exact", REGISTERS];
    let used = |finished: Finished| -> Vec<String> {
        finished.expect(0).outcomes().into_keys().map(|(emulator, _)| emulator).collect()
    };
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let named = sandbox.run(sandbox.qgraph(run).arg("--qemu").arg(folder).arg("--qemu").arg(&one));
    assert_eq!(used(named), [text(&one)]);
    let both = std::env::join_paths([&one, &two]).expect("a list");
    let variable = sandbox.run(sandbox.qgraph(run).env("QTEST_QEMU_BINARY", &both));
    assert_eq!(used(variable), [text(&one), text(&two)]);
    let mut stronger = sandbox.qgraph(run);
    stronger.arg("--qemu").arg(&two).env("QTEST_QEMU_BINARY", &one);
    assert_eq!(used(sandbox.run(&mut stronger)), [text(&two)]);
    let bare = sandbox.run(sandbox.qgraph(run).args(["--qemu", "qemu-system-x86_64"]));
    assert_eq!(used(bare), [text(&sandbox.at("bin/qemu-system-x86_64"))]);
}

/// Would catch a name that is taken apart at its blanks, not quoted for a shell, or that
/// ends the program because it is not UTF-8.
fn odd_names() {
    let sandbox = Sandbox::new();
    let quoted = sandbox.fake_at(Path::new("it's a \"q\"/request-fail/qemu-system-x86_64"));
    let not_utf8 = OsString::from_vec(b"caf\xe9\n/request-fail/qemu-system-x86_64".into());
    let not_utf8 = sandbox.fake_at(Path::new(&not_utf8));
    for fake in [&quoted, &not_utf8] {
        let named = |arguments: &[&str]| {
            let finished = sandbox.run(sandbox.qgraph(arguments).arg("--qemu").arg(fake));
            assert!(!finished.stderr.contains("cannot write the cache"), "{finished}");
            finished
        };
        named(&["probe"]).expect(0);
        named(&["list"]).expect(0);
        named(&["list", "--json"]).expect(0);
        named(&["why", "sdhci-pci"]).expect(0);
        named(&["run", "--exact", REGISTERS]).expect(1);
        let finished = named(&["run", "--format", "json", "--exact", REGISTERS]).expect(1);
        let outcomes = finished.outcomes();
        let (_, outcome) = outcomes.iter().next().expect("an outcome");
        let line = outcome["command_line"].as_str().expect("a line");
        let shown = fake.to_string_lossy().replace('\'', r"'\''");
        assert!(line.starts_with(&format!("'{shown}' -machine pc ")), "{line}");
        let probes = sandbox.launches(fake).iter().filter(|machine| *machine == "none").count();
        assert_eq!(probes, 1, "the cache knows it");
    }
}

/// Would catch a cache without which nothing works, or that fails in silence.
fn an_unwritable_cache() {
    let sandbox = with_emulator();
    let file = sandbox.at("file");
    fs::write(&file, "").expect("a file");
    for cache in [file.join("below"), file, "/proc/no-such-folder".into()] {
        let mut command = sandbox.qgraph(["run", "--exact", REGISTERS]);
        let finished = sandbox.run(command.env("QGRAPH_CACHE", &cache)).expect(0);
        let words = ["warning: cannot write the cache ", &cache.to_string_lossy(), "QGRAPH_CACHE"];
        finished.says(&words);
    }
}

/// Would catch a damaged cache that is believed, stays damaged, or ends the program.
fn a_damaged_cache() {
    let sandbox = with_emulator();
    let fake = sandbox.at("bin/qemu-system-x86_64");
    let names = list(&sandbox, &[PATHS]);
    let mut launches = 1;
    for damage in [&b""[..], b"{", b"\0\xff\xfe", b"null", b"{\"writer\":\"qgraph\"}"] {
        for file in sandbox.files("cache") {
            fs::write(file, damage).expect("damaged");
        }
        launches += 1;
        for _ in 0..2 {
            assert_eq!(list(&sandbox, &[PATHS]), names);
            assert_eq!(sandbox.launches(&fake).len(), launches);
        }
    }
}

/// Would catch programs that disturb each other while they fill the cache.
fn a_cold_cache_shared() {
    let sandbox = with_emulator();
    let mut commands: Vec<_> = (0..6).map(|_| sandbox.qgraph(["run", PATHS])).collect();
    let running: Vec<_> = commands.iter_mut().map(|command| sandbox.start(command)).collect();
    for run in running {
        let finished = run.wait().expect(0);
        assert_eq!(finished.stderr, "", "{finished}");
    }
    sandbox.assert_nothing_left();
    let fake = sandbox.at("bin/qemu-system-x86_64");
    let before = sandbox.launches(&fake).len();
    list(&sandbox, &[PATHS]);
    assert_eq!((sandbox.launches(&fake).len(), sandbox.files("cache/probes").len()), (before, 1));
}

/// Would catch a listing that starts QEMUs, as nextest asks for one again and again.
fn a_warm_cache_costs_no_launch() {
    let sandbox = with_emulator();
    let fake = sandbox.at("bin/qemu-system-x86_64");
    for _ in 0..3 {
        list(&sandbox, &[]);
        qgraph(&sandbox, &["why", "sdhci-pci"]).expect(0);
        runner(&sandbox, &["--list"]).expect(0);
        assert_eq!(sandbox.launches(&fake), ["none"]);
    }
    // Another file under the same name is another emulator.
    fs::remove_file(&fake).expect("removed");
    let own = std::env::current_exe().expect("an executable");
    fs::copy(own, &fake).expect("a copy");
    list(&sandbox, &[]);
    assert_eq!(sandbox.launches(&fake), ["none"; 2]);
}

/// A pipe from which nobody reads any more.
fn closed_pipe() -> Stdio {
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

/// Would catch a panic after `qgraph … | head`, or after `2>&1 | head` for warnings.
fn nobody_reads() {
    let sandbox = with_emulator();
    for arguments in [
        &["list"][..],
        &["list", "--json"],
        &["run", PATHS],
        &["run", "--format", "json", PATHS],
        &["probe"],
        &["check"],
        &["why", "sdhci-pci"],
        &["completions", "bash"],
        &["--help"],
    ] {
        let running = sandbox.start_with(&mut sandbox.qgraph(arguments), Some(closed_pipe()), None);
        let finished = running.finish().expect(0);
        assert_eq!(finished.stderr, "", "{arguments:?}: {finished}");
    }
    // A warning and an error that nobody reads.
    let unwritable = sandbox.at("bin/qemu-system-x86_64/below");
    for (arguments, status) in [(["list", PATHS], 0), (["list", "no-such-path"], 2)] {
        let mut command = sandbox.qgraph(arguments);
        command.env("QGRAPH_CACHE", &unwritable);
        sandbox.start_with(&mut command, None, Some(closed_pipe())).finish().expect(status);
    }
}

/// Would catch output that is lost on a full disk without a word.
fn nothing_can_be_written() {
    let sandbox = with_emulator();
    for (arguments, status) in [(["list", PATHS], 2), (["run", PATHS], 0)] {
        let full: Stdio = File::options().write(true).open("/dev/full").expect("/dev/full").into();
        let running = sandbox.start_with(&mut sandbox.qgraph(arguments), Some(full), None);
        running.finish().expect(status).says(&["No space left on device"]);
    }
}

/// Runs the runner of `cargo test`.
fn runner(sandbox: &Sandbox, arguments: &[&str]) -> Finished {
    let runner = sandbox.at(RUNNER);
    if !runner.exists() {
        sandbox.fake_at(Path::new(RUNNER));
    }
    sandbox.run(sandbox.command(&runner).args(arguments))
}

/// Would catch a listing that nextest cannot read, and names that are not unique.
fn the_runner_lists() {
    let sandbox = with_emulator();
    let finished = runner(&sandbox, &["--list"]).expect(0);
    let name =
        |line: &str| line.strip_suffix(": test").filter(|name| !name.contains(' ')).is_some();
    assert!(finished.stdout.lines().all(name), "{finished}");
    let mut names: Vec<&str> = finished.stdout.lines().collect();
    let count = names.len();
    assert!(names.contains(&&*format!("{REGISTERS}: test")), "{finished}");
    assert!(names.iter().any(|name| name.starts_with("/arm/raspi2b/")), "{finished}");
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "{finished}");
    finished.says(&["note: ", " ignored: no emulator of arm at hand"]);
    // Two emulators with the same paths.
    let both = std::env::join_paths([sandbox.fake("one"), sandbox.fake("two")]).expect("a list");
    let mut command = sandbox.command(sandbox.at(RUNNER));
    let finished = sandbox.run(command.arg("--list").env("QTEST_QEMU_BINARY", both)).expect(0);
    let same = |line: &&str| line.starts_with(REGISTERS);
    let mut lines: Vec<&str> = finished.stdout.lines().filter(same).collect();
    lines.dedup();
    assert_eq!(lines.len(), 2, "{finished}");
    assert!(finished.stdout.lines().all(name), "{finished}");
}

/// Would catch a failure that `cargo test` takes for success, a name that does not exist
/// and passes, and a path that no emulator has and that is not told apart.
fn the_runner_runs() {
    let sandbox = with_emulator();
    let finished = runner(&sandbox, &["--exact", REGISTERS]).expect(0);
    assert!(finished.stdout.contains("1 passed; 0 failed; 0 ignored"), "{finished}");
    runner(&sandbox, &["--exact", "/no/such/path"]).expect(101).says(&["/no/such/path"]);
    let raspi = "/arm/raspi2b/generic-sdhci/sdhci/sdhci-tests/registers";
    let finished = runner(&sandbox, &["--exact", raspi]).expect(0);
    assert!(finished.stdout.contains("0 passed; 0 failed; 1 ignored"), "{finished}");
    assert!(finished.stdout.contains("no emulator of arm at hand"), "{finished}");

    let fake = sandbox.fake("request-segv");
    let mut command = sandbox.command(sandbox.at(RUNNER));
    let finished = sandbox.run(command.arg("sdhci-tests").env("QTEST_QEMU_BINARY", fake));
    assert_eq!(finished.status.code(), Some(101), "{finished}");
    assert!(finished.stdout.contains("; 1 failed; "), "{finished}");
    for word in ["crashed: QEMU was killed by signal 11", "qtest> writeq", " -machine pc "] {
        assert!(finished.stdout.contains(word), "{word:?} is not said: {finished}");
    }
}

/// Would catch a run without any QEMU that counts as a pass.
fn the_runner_without_emulator() {
    let sandbox = Sandbox::new();
    let finished = runner(&sandbox, &[]);
    assert_eq!(finished.status.code(), Some(101), "{finished}");
    for word in ["no usable QEMU", "qemu-system-* on PATH", "QTEST_QEMU_BINARY", "; 1 failed; "] {
        assert!(finished.stdout.contains(word), "{word:?} is not said: {finished}");
    }
    // A named one that cannot be used is a failure beside those that can.
    let (bad, good) = (sandbox.fake("probe-exit"), sandbox.fake("healthy"));
    let both = std::env::join_paths([&bad, &good]).expect("a list");
    let mut command = sandbox.command(sandbox.at(RUNNER));
    let finished = sandbox.run(command.arg("usable-qemu").env("QTEST_QEMU_BINARY", both));
    assert_eq!(finished.status.code(), Some(101), "{finished}");
    assert!(finished.stdout.contains("fake: cannot set up guest memory"), "{finished}");
}

/// Would catch a path that is in no share of the runner, or in two; and nextest, which starts
/// the runner once a path, left without it.
fn the_runner_in_shares() {
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
    let all = lines(None, &["--list"]);
    let (one, two) = (lines(Some("1/2"), &["--list"]), lines(Some("2/2"), &["--list"]));
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
