//! What becomes of a run whose emulator misbehaves: each fault has a clear message within
//! the deadline and an outcome for the path it concerns, and for no other. The emulators are
//! fakes, see `fake::emulator`; how the program deals with its user is left to `cli`.

mod fake;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;

use fake::{Finished, Sandbox};
use libtest_mimic::Trial;

/// A fault at one of the moments after the probe, and what must be said of it.
struct Fault {
    role: &'static str,
    outcome: &'static str,
    /// Words of the message.
    message: &'static [&'static str],
    /// Words of what QEMU wrote.
    output: &'static [&'static str],
    /// Words of the last requests and answers.
    transcript: &'static str,
}

/// Shorter than usual where something hangs, but long for one that does not.
const TIMEOUT: &str = "2";
/// What is asked when fakes misbehave at a request.
const REQUEST: &str = "`writeq 0xe0000040 0xffffffffffffffff`";
const SENT: &str = "qtest> writeq 0xe0000040 0xffffffffffffffff\n";
const NOTHING: &[&str] = &[];

const fn fault(
    role: &'static str,
    outcome: &'static str,
    message: &'static [&'static str],
    output: &'static [&'static str],
    transcript: &'static str,
) -> Fault {
    Fault { role, outcome, message, output, transcript }
}

const FAULTS: &[Fault] = &[
    // In the middle of a request.
    fault(
        "request-exit",
        "crashed",
        &["QEMU exited with status 1: QEMU closed the connection before ", REQUEST],
        &["fake: cannot set up guest memory"],
        SENT,
    ),
    fault("request-leave", "crashed", &["QEMU exited with status 0: ", REQUEST], NOTHING, SENT),
    fault(
        "request-abort",
        "crashed",
        &["QEMU was killed by signal 6 (SIGABRT, usually a failed assertion)", REQUEST],
        &["fake: assertion failed: (size <= limit)"],
        SENT,
    ),
    fault(
        "request-bail",
        "crashed",
        &[
            "QEMU was killed by signal 6",
            "hw/foo/foo.c:5:foo_write: assertion failed: (size <= limit)",
        ],
        &["Bail out! ERROR:../hw/foo/foo.c"],
        SENT,
    ),
    // Where it is said on the qtest socket.
    fault(
        "old-request-bail",
        "crashed",
        &[
            "QEMU was killed by signal 6",
            "hw/foo/foo.c:5:foo_write: assertion failed: (size <= limit)",
        ],
        &["**\nERROR:../hw/foo/foo.c"],
        "qtest< Bail out! ERROR:../hw/foo/foo.c",
    ),
    fault(
        "request-hwerror",
        "crashed",
        &["QEMU was killed by signal 6", ": hardware error: foo_write: Bad size 0x1"],
        &["foo_write: Bad size 0x1\n[62 lines with the registers of the CPUs left out]\n"],
        SENT,
    ),
    fault("request-segv", "crashed", &["killed by signal 11 (SIGSEGV", REQUEST], NOTHING, SENT),
    fault(
        "request-hang",
        "hung",
        &[
            REQUEST,
            " got no answer within ",
            "; QEMU's main thread sleeps",
            "; its monitor answers, the machine is running",
        ],
        NOTHING,
        SENT,
    ),
    fault(
        "request-spin",
        "hung",
        &["; QEMU's main thread sleeps", ", another thread spins (", " s); its monitor answers"],
        NOTHING,
        SENT,
    ),
    fault(
        "request-stop",
        "hung",
        &[REQUEST, "; QEMU is stopped, by a signal or a debugger", "; its monitor does not answer"],
        NOTHING,
        SENT,
    ),
    fault(
        "request-asan",
        "crashed",
        &[
            "QEMU exited with status 1: ",
            ": AddressSanitizer: heap-buffer-overflow in foo_write hw/foo/foo.c:123",
        ],
        &["SUMMARY: AddressSanitizer"],
        SENT,
    ),
    fault(
        "request-ubsan",
        "failed",
        &["the test passed, but QEMU reported: hw/foo/foo.c:5:17: runtime error: shift exponent"],
        &["runtime error"],
        SENT,
    ),
    fault(
        "request-half",
        "hung",
        &[REQUEST, " got no whole answer within ", ", only `OK 0x05`"],
        NOTHING,
        SENT,
    ),
    fault(
        "request-close",
        "crashed",
        &["QEMU closed its connection, but was still there 5s later: ", REQUEST],
        NOTHING,
        SENT,
    ),
    fault(
        "request-closeqtest",
        "crashed",
        &["QEMU closed its connection, but was still there 5s later: ", REQUEST],
        NOTHING,
        SENT,
    ),
    fault(
        "request-closeqmp",
        "hung",
        &["the test passed, but then QEMU did not quit within 2s, although it closed QMP"],
        NOTHING,
        SENT,
    ),
    fault(
        "request-garbage",
        "failed",
        &[REQUEST, r#" was answered with `\u{1b}[2J\u{0}\xff\xfe{"garbage`"#, "where `OK`"],
        NOTHING,
        r#"qtest< \u{1b}[2J\u{0}\xff\xfe{"garbage"#,
    ),
    fault(
        "request-latin1",
        "failed",
        &[REQUEST, r" was answered with `OK caf\xe9`"],
        NOTHING,
        r"qtest< OK caf\xe9",
    ),
    fault(
        "request-fail",
        "failed",
        &["QEMU refused ", REQUEST, ": FAIL out of luck"],
        NOTHING,
        "qtest< FAIL out of luck",
    ),
    fault(
        "request-number",
        "failed",
        &[REQUEST, " was answered with `OK 0x1`, where `OK` was expected"],
        NOTHING,
        "qtest< OK 0x1",
    ),
    fault(
        "request-endless",
        "failed",
        &["the answer to ", REQUEST, " is longer than 16777216 bytes"],
        NOTHING,
        "qtest< (a line without end)",
    ),
    fault(
        "request-floodfail",
        "failed",
        &["QEMU refused ", REQUEST],
        &["fake: the flood begins", " bytes left out]", "fake: the flood ends"],
        SENT,
    ),
    fault("request-orphan", "crashed", &["QEMU exited with status 3: ", REQUEST], NOTHING, SENT),
    fault("request-flood", "passed", NOTHING, NOTHING, ""),
    fault("request-stdout", "passed", NOTHING, NOTHING, ""),
    fault("request-events", "passed", NOTHING, NOTHING, ""),
    // As soon as it is started.
    fault(
        "start-exit",
        "failed",
        &["QEMU did not start, it refused its command line: fake: cannot set up guest memory (it \
             exited with status 1)"],
        &["fake: cannot set up guest memory"],
        "",
    ),
    fault("start-leave", "failed", &["line: it exited with status 0 without a word"], NOTHING, ""),
    fault("start-asan", "crashed", &["exited with status 1 before", "foo.c:123"], NOTHING, ""),
    fault("start-segv", "crashed", &["killed by signal 11 (SIGSEGV", "before"], NOTHING, ""),
    fault(
        "start-hang",
        "hung",
        &[
            "QEMU did not get ready: `connecting to QMP` got no answer within ",
            "; QEMU's main thread sleeps",
        ],
        NOTHING,
        "",
    ),
    fault("start-half", "hung", &["QEMU did not get ready: ", "only `OK 0x05`"], NOTHING, ""),
    fault(
        "start-close",
        "crashed",
        &["QEMU did not get ready: QEMU closed the connection before `connecting to QMP`"],
        NOTHING,
        "",
    ),
    fault("start-closeqtest", "crashed", &["QEMU closed the connection before `"], NOTHING, ""),
    fault("start-closeqmp", "crashed", &["QEMU closed the connection before `"], NOTHING, ""),
    fault(
        "start-garbage",
        "failed",
        &[r#"answered with `\u{1b}[2J\u{0}\xff\xfe{"garbage`, where the greeting of QMP was"#],
        NOTHING,
        r#"qmp< \u{1b}[2J\u{0}\xff\xfe{"garbage"#,
    ),
    fault(
        "start-json",
        "failed",
        &[r#"was answered with `{"hello": [1, 2]}`, where the greeting of QMP was expected"#],
        NOTHING,
        r#"qmp< {"hello": [1, 2]}"#,
    ),
    fault(
        "start-endless",
        "failed",
        &["the answer to `connecting to QMP` is longer than 16777216 bytes"],
        NOTHING,
        "qmp< (a line without end)",
    ),
    fault("start-orphan", "failed", &["it exited with status 3 without a word"], NOTHING, ""),
    fault("start-flood", "passed", NOTHING, NOTHING, ""),
    // When it is told to quit.
    fault(
        "quit-exit",
        "crashed",
        &["the test passed, but then QEMU exited with status 1"],
        &["fake: cannot set up guest memory"],
        SENT,
    ),
    fault(
        "quit-segv",
        "crashed",
        &["the test passed, but then QEMU was killed by signal 11 (SIGSEGV"],
        NOTHING,
        SENT,
    ),
    fault(
        "quit-hang",
        "hung",
        &["the test passed, but then QEMU did not quit within 2s"],
        NOTHING,
        SENT,
    ),
    fault("quit-half", "hung", &["did not quit within 2s"], NOTHING, SENT),
    fault("quit-close", "hung", &["did not quit within 2s, although it closed QMP"], NOTHING, SENT),
    fault("quit-endless", "hung", &["did not quit within 2s"], NOTHING, SENT),
    fault("quit-orphan", "crashed", &["the test passed, but then QEMU exited with"], NOTHING, SENT),
    fault("quit-garbage", "passed", NOTHING, NOTHING, ""),
];

/// Faults during the probe, and what must be said of them.
const PROBE_FAULTS: &[(&str, &[&str])] = &[
    ("probe-exit", &["QEMU exited with status 1", "it wrote: fake: cannot set up guest memory"]),
    ("probe-leave", &["QEMU exited with status 0 before it was ready"]),
    ("probe-segv", &["QEMU was killed by signal 11 (SIGSEGV"]),
    ("probe-hang", &["did not get ready: `connecting to QMP` got no answer within "]),
    ("probe-half", &["`connecting to QMP` got no whole answer within ", "only `OK 0x05`"]),
    ("probe-close", &["QEMU closed the connection before `connecting to QMP` was answered"]),
    ("probe-garbage", &[r"\u{1b}[2J\u{0}\xff\xfe", "where the greeting of QMP was expected"]),
    ("probe-json", &[r#"`{"hello": [1, 2]}`, where the greeting of QMP was expected"#]),
    ("probe-endless", &["the answer to `connecting to QMP` is longer than 16777216 bytes"]),
    ("probe-orphan", &["QEMU exited with status 3 before it was ready"]),
    ("ask-abort", &["was killed by signal 6", "it wrote: fake: assertion failed: (size <= limit)"]),
    ("ask-hang", &["QEMU did not get ready: `", "got no answer within "]),
    ("ask-closeqmp", &["QEMU closed the connection before `query-target and 2 more`"]),
    ("ask-fail", &["QEMU did not get ready: QEMU refused `", "FAIL out of luck"]),
    ("ask-number", &["clock_step 1 was answered with 0x1"]),
    ("ask-nothing", &["query-target was answered with null"]),
];

fn main() -> ExitCode {
    let faults = FAULTS.iter().map(|fault| {
        Trial::test(fault.role, || {
            a_fault_concerns_its_paths_alone(fault);
            Ok(())
        })
    });
    let probe_faults = PROBE_FAULTS.iter().map(|&(role, words)| {
        Trial::test(role, move || {
            a_fault_of_the_probe_concerns_one_emulator(role, words);
            Ok(())
        })
    });
    let reproducers = REPRODUCERS.iter().map(|&(role, script, same)| {
        Trial::test(format!("replay {role}"), move || {
            a_failure_can_be_replayed(role, script, same);
            Ok(())
        })
    });
    let others = trials![files_that_are_no_emulators, an_old_emulator, a_failure_is_remembered];
    fake::main(faults.chain(probe_faults).chain(reproducers).chain(others).collect())
}

/// Two paths on `pc`, where fakes misbehave, and the same on `q35`.
const PATHS: &str = "*/sdhci/sdhci-tests/{registers,block-count}";

/// Runs them on these emulators; the outcomes by emulator's folder, machine and test.
fn run(sandbox: &Sandbox, emulators: &[&Path], status: i32) -> (Finished, Outcomes) {
    // What writes a flood takes its time, which is that of whoever reads it.
    let is_flood = emulators.iter().any(|it| it.to_string_lossy().contains("-flood"));
    let timeout = if is_flood { "20" } else { TIMEOUT };
    let arguments = ["run", "--format", "json", "--timeout", timeout, "--jobs", "4", PATHS];
    let mut command = sandbox.qgraph(arguments);
    for emulator in emulators {
        command.arg("--qemu").arg(emulator);
    }
    let finished = sandbox.run(&mut command).expect(status);
    let outcomes = finished.outcomes().into_iter().map(|((emulator, path), outcome)| {
        let role = Path::new(&emulator).parent().and_then(Path::file_name);
        let machine = path.split('/').nth(2).unwrap_or_default().to_owned();
        let test = path.rsplit('/').next().unwrap_or_default().to_owned();
        ((role.unwrap_or_default().to_string_lossy().into_owned(), machine, test), outcome)
    });
    let outcomes = outcomes.collect();
    (finished, outcomes)
}

type Outcomes = BTreeMap<(String, String, String), serde_json::Value>;

/// Would catch a fault that is taken for another, is not explained, goes on for longer than
/// the deadline, or spoils a path that it does not concern.
fn a_fault_concerns_its_paths_alone(fault: &Fault) {
    let sandbox = Sandbox::new();
    let fake = sandbox.fake(fault.role);
    let (finished, outcomes) = run(&sandbox, &[&fake], i32::from(fault.outcome != "passed"));
    assert_eq!(outcomes.len(), 4, "{finished}");
    for ((_, machine, test), outcome) in outcomes {
        let everywhere = !fault.role.contains("request-");
        let concerned = machine == "pc" && (everywhere || test == "registers");
        let expected = if concerned { fault.outcome } else { "passed" };
        assert_eq!(outcome["outcome"], expected, "{machine} {test}: {outcome:#}");
        // The limit, the five seconds that a closed socket is given, and a busy machine. One
        // that spins is told when it has had the CPU for as long as the limit.
        let took = outcome["seconds"].as_f64().map(|took| took - lost(&outcome));
        assert!(took.is_some_and(|took| took < 20.0), "{outcome:#}");
        if expected == "passed" {
            continue;
        }
        let has = |key: &str, words: &[&str]| {
            let text = outcome[key].as_str().unwrap_or_default();
            for word in words {
                assert!(text.contains(word), "{word:?} is not in {key}: {outcome:#}");
            }
        };
        has("message", fault.message);
        has("output", fault.output);
        let line = [&*fake.to_string_lossy(), "-machine pc ", "-device sdhci-pci,addr=04.0"];
        has("command_line", &line);
        if test == "registers" {
            has("transcript", &[fault.transcript]);
        }
    }
}

/// For how many seconds the machine did not let QEMU run, by the outcome's message.
fn lost(outcome: &serde_json::Value) -> f64 {
    let message = outcome["message"].as_str().unwrap_or_default();
    let told = message.split(" (for ").nth(1).and_then(|rest| rest.split_once("s of that "));
    told.and_then(|(seconds, _)| seconds.parse().ok()).unwrap_or(0.0)
}

/// Faults, the exit status of the script that replays them, and what `qgraph replay` says.
const REPRODUCERS: &[(&str, i32, &str)] = &[
    ("request-abort", 1, "QEMU was killed by signal 6 (SIGABRT"),
    ("request-bail", 1, "QEMU says of itself what it said then: hw/foo/foo.c:5:foo_write"),
    ("old-request-bail", 1, "QEMU says of itself what it said then: hw/foo/foo.c:5:foo_write"),
    ("request-hwerror", 1, "then: hardware error: foo_write: Bad size 0x1"),
    ("request-segv", 1, "QEMU was killed by signal 11 (SIGSEGV"),
    ("request-asan", 1, "QEMU says of itself what it said then: AddressSanitizer: heap"),
    ("request-ubsan", 0, "QEMU says of itself what it said then: hw/foo/foo.c:5:17: runtime"),
    ("request-hang", 2, "QEMU gave no answer at `writeq 0xe0000040 0xffffffffffffffff`"),
    ("request-stop", 2, "QEMU gave no answer at `writeq 0xe0000040 0xffffffffffffffff`"),
    ("request-fail", 0, "the last one, to `writeq 0xe0000040 0xffffffffffffffff`, is `FAIL out"),
    ("request-latin1", 0, r"is `OK caf\xe9`"),
    (
        "start-exit",
        1,
        "QEMU did not start, because fake: cannot set up guest memory (it exited with",
    ),
    ("start-segv", 1, "QEMU did not start, because it was killed by signal 11"),
    ("start-hang", 2, "QEMU did not start, because it gave no answer, as then"),
    ("quit-segv", 1, "QEMU was killed by signal 11"),
    ("quit-exit", 1, "QEMU exited with status 1"),
    ("quit-hang", 2, "QEMU gave no answer at `{\"execute\":\"quit\""),
];

/// Would catch a reproducer that does not show the failure, in a shell or in `qgraph
/// replay`, that a healthy emulator fails too, or that leaves something behind.
fn a_failure_can_be_replayed(role: &str, script_status: i32, same: &str) {
    let sandbox = Sandbox::new();
    let (fake, healthy) = (sandbox.fake(role), sandbox.fake("healthy"));
    let (finished, outcomes) = run(&sandbox, &[&fake], 1);
    let key =
        |(_, machine, test): &&(String, String, String)| machine == "pc" && test == "registers";
    let outcome = &outcomes[outcomes.keys().find(key).expect("an outcome")];
    let file = outcome["reproducer"].as_str().expect("a reproducer");
    assert!(file.starts_with(&*sandbox.at("cache/reproducers").to_string_lossy()), "{finished}");

    let shell = |emulator: Option<&Path>| {
        let mut command = sandbox.command("/bin/sh");
        command.args([file, "2"]).env("PATH", "/usr/bin:/bin");
        command.envs(emulator.map(|emulator| ("QEMU", emulator)));
        sandbox.run(&mut command)
    };
    shell(None).expect(script_status);
    shell(Some(&healthy)).expect(0).says(&["QEMU answered all requests"]);

    let replay = |arguments: &[&str], status: i32| {
        let mut command = sandbox.qgraph(["replay", "--timeout", TIMEOUT, file]);
        sandbox.run(command.args(arguments)).expect(status)
    };
    let finished = replay(&[], 1);
    assert!(finished.stdout.contains("\nstill fails: "), "{finished}");
    assert!(finished.stdout.contains(same), "{finished}");
    let finished = replay(&["--qemu", &healthy.to_string_lossy()], 0);
    assert!(finished.stdout.contains("\nno longer fails: "), "{finished}");
}

/// Would catch a probe that hangs, a fault that is not explained, and an emulator that
/// spoils the run of another.
fn a_fault_of_the_probe_concerns_one_emulator(role: &str, words: &[&str]) {
    let sandbox = Sandbox::new();
    let (bad, good) = (sandbox.fake(role), sandbox.fake("healthy"));
    let (finished, outcomes) = run(&sandbox, &[&bad, &good], 1);
    let finished = finished.says(words).says(&["warning: ", &bad.to_string_lossy()]);
    assert_eq!(outcomes.len(), 4, "{finished}");
    for ((role, ..), outcome) in outcomes {
        assert_eq!((&*role, &outcome["outcome"]), ("healthy", &"passed".into()), "{outcome:#}");
    }
    // And without another one there is nothing to run on.
    let (finished, outcomes) = run(&sandbox, &[&bad], 2);
    assert!(outcomes.is_empty(), "{finished}");
    finished.says(words).says(&["error: no usable QEMU", &bad.to_string_lossy()]);
}

/// Would catch a file that is no emulator passed over in silence, or blamed for something
/// that it is not.
fn files_that_are_no_emulators() {
    let sandbox = Sandbox::new();
    let file = |name: &str, mode: u32| {
        let path = sandbox.at(name);
        fs::write(&path, "This is not a program.\n").expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("permissions");
        path
    };
    let other = sandbox.at("qemu-system-other");
    fs::hard_link(env!("CARGO_BIN_EXE_qgraph"), &other).expect("a link");
    let cases: [(_, &[&str]); 5] = [
        (sandbox.at("missing"), &["no such file"]),
        (file("plain", 0o644), &["not executable; is it a program?"]),
        (file("text", 0o755), &["neither a program (ELF) nor a script (#!)"]),
        (sandbox.at("tmp"), &["a folder without any qemu-system-* in it"]),
        (other, &["QEMU exited with status 2 before it was ready; it wrote: ", "-m"]),
    ];
    let good = sandbox.fake("healthy");
    for (bad, words) in cases {
        let (finished, outcomes) = run(&sandbox, &[&bad, &good], 1);
        assert_eq!(outcomes.len(), 4, "{finished}");
        finished.says(words).says(&["warning: ", &bad.to_string_lossy()]);
        let (finished, _) = run(&sandbox, &[&bad], 2);
        finished.says(words).says(&["no usable QEMU", &bad.to_string_lossy()]);
    }
}

/// Would catch a QEMU before 7.0, which has qtest on its standard input and output only,
/// connected in a way that it does not know.
fn an_old_emulator() {
    let sandbox = Sandbox::new();
    let old = sandbox.fake("old");
    let (finished, outcomes) = run(&sandbox, &[&old], 0);
    assert_eq!(outcomes.len(), 4, "{finished}");
}

/// Would catch an emulator that hangs and costs every test of a run its patience, and one
/// that is never tried again.
fn a_failure_is_remembered() {
    let sandbox = Sandbox::new();
    let bad = sandbox.fake("probe-exit");
    for _ in 0..2 {
        let list = sandbox.run(sandbox.qgraph(["list", "--qemu"]).arg(&bad)).expect(2);
        list.says(&["fake: cannot set up guest memory"]);
        assert_eq!(sandbox.launches(&bad), ["none"]);
    }
    // Who asks for a probe has perhaps just mended it.
    sandbox.run(sandbox.qgraph(["probe", "--qemu"]).arg(&bad)).expect(2);
    assert_eq!(sandbox.launches(&bad), ["none", "none"]);
    // And a short limit does not judge for others.
    let (slow, run) = (sandbox.fake("probe-hang"), ["run", "--timeout", "1", "--qemu"]);
    for count in 1..=2 {
        sandbox.run(sandbox.qgraph(run).arg(&slow)).expect(2);
        assert_eq!(sandbox.launches(&slow).len(), count);
    }
}
