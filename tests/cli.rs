//! The programs as their user meets them: what they say, where, and with which exit status.
//! `qgraph` itself, and the runner that `cargo test` starts. Emulators are fakes;
//! those that misbehave have a file of their own, `bad_emulators.rs`.

mod fake;
mod shares;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::{ExitCode, Stdio};

use fake::{Finished, Sandbox};
use serde_json::Value;
use shares::*;

/// The name under which this executable is the runner of `cargo test`.
const RUNNER: &str = "paths";

fn main() -> ExitCode {
    if fake::called() == RUNNER {
        return qgraph::harness::cargo_test();
    }
    fake::main(trials![
        everything_passes,
        something_fails,
        reports,
        a_report_that_cannot_be_written,
        nothing_matches,
        wrong_usage,
        help_goes_to_standard_output,
        the_manual,
        what_is_written_about_options,
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
        where_reproducers_go,
        replay_of_something_else,
        a_reproducer_gets_smaller,
        how_strong_tests_are,
        strength_as_json,
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

/// Would catch a format that is not written, or lacks what failed, and a file that is not
/// there at the end or has something beside it.
fn reports() {
    let sandbox = Sandbox::new();
    let fake = sandbox.fake("request-fail");
    let summary = sandbox.at("summary.md");
    let run = |arguments: &[&str]| {
        let mut command = sandbox.qgraph(["run", PATHS, "--qemu"]);
        command.arg(&fake).args(arguments).env("GITHUB_STEP_SUMMARY", &summary);
        sandbox.run(&mut command).expect(1)
    };
    let tap = run(&["--format", "tap", "--junit", "out/junit.xml", "--html", "out/page.html"]);
    let count = list(&sandbox, &[PATHS, "--qemu", &fake.to_string_lossy()]).len();
    assert!(tap.stdout.starts_with(&format!("TAP version 13\n1..{count}\n")), "{tap}");
    let failed = tap.stdout.lines().find(|line| line.starts_with("not ok ")).expect("a failure");
    assert!(failed.ends_with(REGISTERS), "{tap}");
    let mut files: Vec<_> = fs::read_dir(sandbox.at("out"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    files.sort();
    assert_eq!(files, ["junit.xml", "page.html"]);
    let junit = fs::read_to_string(sandbox.at("out/junit.xml")).expect("a report");
    assert!(
        junit.contains(&format!("tests=\"{count}\"")) && junit.contains("out of luck"),
        "{junit}"
    );
    let page = fs::read_to_string(sandbox.at("out/page.html")).expect("a page");
    for part in [REGISTERS, "out of luck", "<g class=\"machine mixed\">", "</html>"] {
        assert!(page.contains(part), "{part:?} is not in the page");
    }
    let github = run(&["--format", "github"]);
    assert!(github.stdout.contains("\n::error "), "{github}");
    let summary = fs::read_to_string(&summary).expect("a summary");
    assert!(summary.contains("### qgraph: ") && summary.contains("| failed | "), "{summary}");
}

/// Would catch a report that nobody can write and that changes the result, or is lost
/// without a word.
fn a_report_that_cannot_be_written() {
    let sandbox = with_emulator();
    let early = ["run", REGISTERS, "--junit", "/proc/no/junit.xml", "--html", "."];
    let finished = qgraph(&sandbox, &early).expect(0);
    finished.says(&["warning: there will be no report", "/proc/no/junit.xml", " to .: "]);
    let finished = qgraph(&sandbox, &["run", REGISTERS, "--junit", "/dev/full"]).expect(0);
    let finished =
        finished.says(&["warning: the JUnit report /dev/full could not be written: No space left"]);
    assert!(finished.stdout.ends_with("\n1 passed\n"), "{finished}");
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

/// Would catch a weakness that is not told, or that is told of another line, and a wanted
/// strength that is missed without anybody knowing.
fn how_strong_tests_are() {
    let sandbox = with_emulator();
    let finished = qgraph(&sandbox, &["mutate", "pc/*/sdhci-tests/reset-values"]).expect(2);
    finished.says(&["error: no path matches"]);
    let reset_values = ["mutate", "--machine", "pc", "sdhci-tests/reset-values"];
    let finished = qgraph(&sandbox, &reset_values).expect(0);
    assert_eq!(finished.stderr, "", "{finished}");
    // Present State has bits that this test leaves alone.
    for words in
        ["19 answers, ", "Ignored:\nsdhci-tests/reset-values\n    src/tests/sdhci.rs:", "seed 0:\n"]
    {
        assert!(finished.stdout.contains(words), "no {words}: {finished}");
    }
    let at_least = |percent| [&reset_values[..], &["--at-least", percent]].concat();
    qgraph(&sandbox, &at_least("80")).expect(0);
    qgraph(&sandbox, &at_least("100%")).expect(1);
    let fake = sandbox.fake("request-fail");
    let mut failing = sandbox.qgraph(["mutate", "sdhci-tests/registers", "--qemu"]);
    let finished = sandbox.run(failing.arg(&fake)).expect(1);
    assert!(finished.stdout.contains(&format!("  failed  {REGISTERS}")), "{finished}");
}

/// Would catch output that another run cannot be compared with.
fn strength_as_json() {
    let sandbox = with_emulator();
    let arguments = ["mutate", "--machine", "pc", "sdhci-tests/registers", "--seed", "7"];
    let as_json = || {
        let mut command = sandbox.qgraph(arguments);
        sandbox.run(command.args(["--format", "json"])).expect(0).stdout
    };
    let first = as_json();
    assert_eq!(as_json(), first);
    let lines: Vec<Value> = first.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [path, suite] = lines.as_slice() else { panic!("two lines: {first}") };
    assert_eq!((&path["kind"], &path["name"]), (&"path".into(), &REGISTERS.into()));
    assert_eq!((&suite["kind"], &suite["suite"]), (&"suite".into(), &"sdhci-tests".into()));
    assert_eq!(path["noticed"], suite["noticed"]);
    fs::write(sandbox.at("old.json"), &first).unwrap();
    let mut command = sandbox.qgraph(arguments);
    let finished = sandbox.run(command.args(["--compare", "old.json"])).expect(0);
    let percent = suite["percent"].as_f64().unwrap();
    assert!(finished.stdout.contains(&format!("  was {percent:.1} %\n")), "{finished}");
}

/// Would catch wrong usage that is taken for something else.
fn wrong_usage() {
    let sandbox = with_emulator();
    let cases: [(&[&str], &[&str]); 22] = [
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
        (&["run", "--format", "xml"], &["possible values: pretty, tap, json, github"]),
        (&["mutate", "--sample", "0"], &["--sample", "'0'"]),
        (&["mutate", "--at-least", "101"], &["not a number from 0 to 100"]),
        (&["mutate", "--thorough", "--sample", "5"], &["cannot be used with"]),
        (&["mutate", "--compare", "/nowhere"], &["cannot read /nowhere", "--format json"]),
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

/// Would catch a page or a ready file that names an option which is not there.
fn what_is_written_about_options() {
    let sandbox = Sandbox::new();
    let mut wrong = Vec::new();
    let mut check = |file: &str, command: &str, text: &str| {
        let help = qgraph(&sandbox, &[command, "--help"]).expect(0).stdout;
        let there: Vec<&str> = options(&help).collect();
        let absent = options(text).filter(|option| !there.contains(option));
        wrong.extend(absent.map(|option| format!("{file}: qgraph {command} {option}")));
    };
    let read = |file: &str| {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect(file)
    };
    for file in [
        "README.md",
        "contrib/qemu/README.md",
        "contrib/ci/README.md",
        "contrib/ci/github.yml",
        "contrib/ci/gitlab.yml",
        "contrib/ci/kubernetes.yaml",
    ] {
        // A command goes on where a line begins with an option.
        let text = read(file).replace("\\\n", "\n");
        let lines = text.lines().map(|line| match line.trim_start() {
            line if line.starts_with('-') && !line.starts_with("- ") => format!(" {line}"),
            line => format!("\n{line}"),
        });
        for line in lines.collect::<String>().lines() {
            for part in line.split("qgraph ").skip(1) {
                let part = part.split(['`', '|']).next().unwrap_or_default();
                if let Some(command @ ("run" | "list" | "merge" | "graph" | "man")) =
                    part.split_whitespace().next()
                {
                    check(file, command, part);
                }
            }
        }
    }
    let meson = read("contrib/qemu/meson.build").replace('\'', " ");
    let (_, test) = meson.split_once("args: [ run ,").expect("arguments");
    check("contrib/qemu/meson.build", "run", test.split(']').next().unwrap_or_default());
    assert!(wrong.is_empty(), "{wrong:#?}");
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

/// Runs a path that fails, with these arguments; the reproducer that it leaves.
fn failing(sandbox: &Sandbox, role: &str, arguments: &[&str]) -> (Finished, Option<String>) {
    let there = sandbox.at(role).join("qemu-system-x86_64");
    let fake = if there.exists() { there } else { sandbox.fake(role) };
    let run = ["run", "--format", "json", "--exact", REGISTERS, "--qemu"];
    let mut command = sandbox.qgraph(run);
    let finished = sandbox.run(command.arg(&fake).args(arguments)).expect(1);
    let outcomes = finished.outcomes();
    let (_, outcome) = outcomes.iter().next().expect("an outcome");
    let file = outcome["reproducer"].as_str().map(str::to_owned);
    (finished, file)
}

/// Would catch a reproducer that is not where it was asked for, one file more for each
/// failure of the same path, and a folder that cannot be written that changes an outcome.
fn where_reproducers_go() {
    let sandbox = Sandbox::new();
    let folder = sandbox.at("mine");
    for _ in 0..2 {
        let arguments = ["--reproducers", &folder.to_string_lossy()];
        let (finished, file) = failing(&sandbox, "request-fail", &arguments);
        assert_eq!(finished.stderr, "", "{finished}");
        let file = file.expect("a reproducer");
        assert_eq!(sandbox.files("mine"), [Path::new(&file)]);
        assert!(sandbox.files("cache").iter().all(|file| file.extension() != Some("sh".as_ref())));
    }
    let unwritable = sandbox.at("request-fail/qemu-system-x86_64");
    let arguments = ["--reproducers", &*unwritable.to_string_lossy()];
    let (finished, file) = failing(&sandbox, "request-fail", &arguments);
    assert_eq!(file, None, "{finished}");
    finished.says(&["warning: no reproducers can be kept in ", "--reproducers", "QGRAPH_CACHE"]);

    let fake = sandbox.fake("request-segv");
    let finished = sandbox.run(sandbox.qgraph(["run", "--exact", REGISTERS, "--qemu"]).arg(fake));
    assert!(finished.stdout.contains("\n    reproduce with: sh /"), "{finished}");
}

/// Would catch a file that is no reproducer and is run, or refused without a reason.
fn replay_of_something_else() {
    let sandbox = Sandbox::new();
    let (_, file) = failing(&sandbox, "request-fail", &[]);
    let file = file.expect("a reproducer");
    let usual = fs::read_to_string(&file).expect("text");
    let cases = [
        ("#!/bin/sh\nexit 0\n".to_owned(), "no line begins with `#qgraph-reproducer"),
        (usual.replace("END_OF_REQUESTS\n\n", "\n"), "the requests do not end"),
        (usual.replace("\"machine\":\"pc\"", "\"machine\":\"px\""), "has no machine px"),
        (usual.replace("request-fail", "gone"), "no such file (--qemu names another emulator)"),
    ];
    for (content, word) in cases {
        let other = sandbox.at("other.sh");
        fs::write(&other, content).expect("a file");
        let finished = sandbox.run(sandbox.qgraph(["replay"]).arg(&other)).expect(2);
        finished.says(&["error: ", word]);
    }
    qgraph(&sandbox, &["replay", "/no/such/file"]).expect(2).says(&["cannot read /no/such/file"]);
    qgraph(&sandbox, &["replay", &file, "-o", "x"]).expect(2).says(&["--minimize"]);
    let healthy = sandbox.fake("healthy");
    let mut command = sandbox.qgraph(["replay", &file, "--minimize", "--qemu"]);
    sandbox.run(command.arg(healthy)).expect(2).says(&["there is nothing to minimize"]);
}

/// Would catch requests that are left out although the failure needs them, or kept although
/// it does not.
fn a_reproducer_gets_smaller() {
    let sandbox = Sandbox::new();
    // It misbehaves at a write to a register of a device that must be mapped first.
    let needed = [
        "outl 0xcf8 0x80002010",
        "outl 0xcfc 0xe0000000",
        "outl 0xcf8 0x80002004",
        "outw 0xcfc 0x2",
        "writeq 0xe0000040 0xffffffffffffffff",
    ];
    for (role, last) in [("request-segv", needed.len()), ("request-fail", needed.len())] {
        let (_, file) = failing(&sandbox, role, &[]);
        let smaller = sandbox.at("smaller.sh");
        let mut command = sandbox.qgraph(["replay", &*file.expect("one"), "--minimize", "-o"]);
        let finished = sandbox.run(command.arg(&smaller)).expect(1);
        assert!(finished.stdout.contains("\n5 of "), "{finished}");
        let text = fs::read_to_string(&smaller).expect("text");
        let (_, requests) = text.split_once("<<'END_OF_REQUESTS'\n").expect("requests");
        let requests: Vec<&str> = requests.lines().take(last).collect();
        assert_eq!(requests, needed, "{text}");
        assert!(text.contains("\n# These 5 requests are what was needed of "), "{text}");
        let finished = sandbox.run(sandbox.qgraph(["replay"]).arg(&smaller)).expect(1);
        assert!(finished.stdout.contains("\nstill fails: "), "{finished}");
    }
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
    let words = [
        "crashed: QEMU was killed by signal 11",
        "reproduce with: sh /",
        "qtest> writeq",
        " -machine pc ",
    ];
    for word in words {
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
