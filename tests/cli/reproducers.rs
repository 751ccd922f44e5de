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
