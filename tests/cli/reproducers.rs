//! What a failure leaves behind to replay it: where it is, and what `qgraph replay` makes of it.

use std::fs;
use std::path::Path;

use crate::fake::{Finished, Sandbox};
use crate::{REGISTERS, qgraph};

/// Runs a path that fails, with these arguments; the reproducer that it leaves.
fn failing(sandbox: &Sandbox, role: &str, arguments: &[&str]) -> (Finished, Option<String>) {
    let run = ["run", "--format", "json", "--exact", REGISTERS, "--qemu"];
    let mut command = sandbox.qgraph(run);
    let finished = sandbox.run(command.arg(sandbox.fake(role)).args(arguments)).expect(1);
    let outcomes = finished.outcomes();
    let (_, outcome) = outcomes.iter().next().expect("an outcome");
    let file = outcome["reproducer"].as_str().map(str::to_owned);
    (finished, file)
}

/// Would catch a reproducer that is not where it was asked for, one file more for each
/// failure of the same path, and a folder that cannot be written that changes an outcome.
pub fn where_reproducers_go() {
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
    let unwritable = sandbox.fake("request-fail");
    let arguments = ["--reproducers", &*unwritable.to_string_lossy()];
    let (finished, file) = failing(&sandbox, "request-fail", &arguments);
    assert_eq!(file, None, "{finished}");
    finished.says(&["warning: no reproducers can be kept in ", "--reproducers", "QGRAPH_CACHE"]);

    let fake = sandbox.fake("request-segv");
    let finished = sandbox.run(sandbox.qgraph(["run", "--exact", REGISTERS, "--qemu"]).arg(fake));
    assert!(finished.stdout.contains("\n    reproduce with: sh /"), "{finished}");
}

/// Would catch a file that is no reproducer and is run, or refused without a reason.
pub fn replay_of_something_else() {
    let sandbox = Sandbox::new();
    let (_, file) = failing(&sandbox, "request-fail", &[]);
    let file = file.expect("a reproducer");
    let usual = fs::read_to_string(&file).expect("text");
    let cases = [
        ("#!/bin/sh\nexit 0\n".to_owned(), "no script that pipes requests into QEMU"),
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
pub fn a_reproducer_gets_smaller() {
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

/// Would catch an emulator that does not start, which an old or a stripped build is, taken for
/// one that still fails: by people, by `git bisect run`, and by the script.
pub fn an_emulator_that_refuses_the_command_line() {
    let sandbox = Sandbox::new();
    let (_, file) = failing(&sandbox, "request-segv", &[]);
    let file = file.expect("a reproducer");
    let why =
        "cannot tell: QEMU did not start, because fake: cannot set up guest memory (it exited";
    let replay = |emulator: &Path, arguments: &[&str], status: i32| {
        let mut command = sandbox.qgraph(["replay", &file, "--qemu"]);
        sandbox.run(command.arg(emulator).args(arguments)).expect(status)
    };
    let (refusing, healthy) = (sandbox.fake("start-exit"), sandbox.fake("healthy"));
    for (arguments, status) in [(&[][..], 2), (&["--bisect"], 125)] {
        let finished = replay(&refusing, arguments, status);
        assert!(finished.stdout.contains(why), "{finished}");
    }
    let crashing = replay(&sandbox.fake("start-segv"), &[], 2);
    let why = "cannot tell: QEMU did not start, because it was killed by signal 11";
    assert!(crashing.stdout.contains(why), "{crashing}");
    replay(&sandbox.fake("request-segv"), &["--bisect"], 1);
    replay(&healthy, &["--bisect"], 0);
    replay(&sandbox.at("missing"), &["--bisect"], 125);
    let none = ["replay", "/no/such/file", "--bisect"];
    qgraph(&sandbox, &none).expect(128).says(&["cannot read /no/such/file"]);

    let mut script = sandbox.command("/bin/sh");
    script.args([&*file, "5"]).env("QEMU", &refusing).env("PATH", "/usr/bin:/bin");
    sandbox.run(&mut script).expect(3).says(&["QEMU did not start: status 1"]);
}

/// Would catch requests that an emulator does not know, and that therefore lead to nothing,
/// behind a plain "no longer fails".
pub fn requests_that_are_refused() {
    let sandbox = Sandbox::new();
    let (_, file) = failing(&sandbox, "request-segv", &[]);
    let text = fs::read_to_string(file.expect("a reproducer")).expect("text");
    let request = "outl 0xcf8 0x80002000\n";
    assert!(text.contains(request), "{text}");
    let changed = sandbox.at("changed.sh");
    fs::write(&changed, text.replacen(request, &format!("outlx 0xcf8 0x0\n{request}"), 1))
        .expect("a file");
    let mut command = sandbox.qgraph(["replay", "--qemu"]);
    let finished = sandbox.run(command.arg(sandbox.fake("healthy")).arg(&changed)).expect(0);
    let said = "requests was answered FAIL or ERR, the first `outlx 0xcf8 0x0`: FAIL";
    assert!(finished.stdout.contains("\n1 of ") && finished.stdout.contains(said), "{finished}");

    let mut script = sandbox.command("/bin/sh");
    script.arg(&changed).env("QEMU", sandbox.fake("healthy")).env("PATH", "/usr/bin:/bin");
    let said = "Requests answered FAIL or ERR: 1, the first outlx 0xcf8 0x0: FAIL";
    sandbox.run(&mut script).expect(0).says(&[said]);
}
