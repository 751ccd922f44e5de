//! What `qgraph replay` makes of files that somebody else wrote, and `qgraph exec`.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use crate::fake::{Finished, Sandbox};

/// What makes a fake of the role `request-segv` end: the last of these requests.
const REQUESTS: [&str; 5] = [
    "outl 0xcf8 0x80002010",
    "outl 0xcfc 0xe0000000",
    "outl 0xcf8 0x80002004",
    "outw 0xcfc 0x2",
    "writeq 0xe0000040 0xffffffffffffffff",
];

/// The requests, a line each.
fn requests() -> String {
    REQUESTS.map(|request| format!("{request}\n")).concat()
}

/// The same in each shape in which people report bugs.
fn shapes() -> Vec<(&'static str, String)> {
    let requests = requests();
    let command = "qemu-system-x86_64 -machine pc -accel qtest -qtest stdio";
    let logged = REQUESTS.map(|request| format!("[R +0.1] {request}\n[S +0.2] OK\n")).concat();
    let calls = REQUESTS.map(|request| {
        let words: Vec<&str> = request.split(' ').collect();
        format!("    qtest_{}(s, {}, {});\n", words[0], words[1], words[2])
    });
    vec![
        ("pipe.sh", format!("#!/bin/sh\ncat << EOF | ./{command}\n{requests}EOF\n")),
        (
            "variable.txt",
            format!(
                "export QEMU=/opt/other/qemu-system-x86_64\n> cat <<'EOF' | $QEMU \\\n>   -machine \
                 pc,accel=qtest \\\n> -qtest stdio\n{requests}EOF\n"
            ),
        ),
        (
            "prose.md",
            format!("It dies:\n\n  $ {command}\n  {}\n\nBye.\n", requests.replace('\n', "\n  ")),
        ),
        (
            "test.c",
            format!(
                "static void test_it(void)\n{{\n    QTestState *s = qtest_init(\"-machine pc\");\n{}    \
                 qtest_quit(s);\n}}\n",
                calls.concat()
            ),
        ),
        ("log", format!("$ {command}\n{logged}")),
    ]
}

/// A sandbox in which a fake of this role is the emulator that is found.
fn with_emulator(role: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.fake_at(Path::new(&format!("{role}/qemu-system-x86_64")));
    sandbox
}

/// Replays a file of this content.
fn replay(sandbox: &Sandbox, role: &str, name: &str, content: &str, more: &[&str]) -> Finished {
    let file = sandbox.at(name);
    fs::write(&file, content).expect("a file");
    let mut command = sandbox.qgraph(["replay"]);
    command.arg(&file).args(more);
    command.env("PATH", sandbox.at(role));
    sandbox.run(&mut command)
}

/// Would catch a shape that is not read, a request that is lost, an emulator that is not
/// found by its name, and an end that is not told.
pub fn reproducers_of_all_shapes() {
    let role = "request-segv";
    let sandbox = with_emulator(role);
    for (name, content) in shapes() {
        let finished = replay(&sandbox, role, name, &content, &[]).expect(1);
        for word in
            ["5 requests", "-machine pc", "\ncrashed: QEMU was killed by signal 11", REQUESTS[4]]
        {
            assert!(finished.stdout.contains(word), "{name}: {word}: {finished}");
        }
    }
    let healthy = with_emulator("healthy");
    for (name, content) in shapes() {
        let finished = replay(&healthy, "healthy", name, &content, &[]).expect(0);
        assert!(
            finished.stdout.contains("\npassed: QEMU answered all requests"),
            "{name}: {finished}"
        );
    }
}

/// Would catch a list without a command line that is run with a guessed one, one that is
/// given and not used, and answers FAIL that are not told.
pub fn a_list_without_a_command_line() {
    let role = "request-segv";
    let sandbox = with_emulator(role);
    let finished = replay(&sandbox, role, "list", &requests(), &[]).expect(2);
    finished.says(&["has no command line", "`--`"]);
    let given = ["--", "qemu-system-x86_64", "-machine", "pc"];
    let finished = replay(&sandbox, role, "list", &requests(), &given).expect(1);
    assert!(finished.stdout.contains("\ncrashed: "), "{finished}");
}

/// Would catch a reproducer that is saved and does not show the failure, or that is not made
/// smaller.
pub fn a_foreign_reproducer_is_saved() {
    let role = "request-segv";
    let sandbox = with_emulator(role);
    let (name, content) = shapes().swap_remove(0);
    let content = content.replace("outl 0xcfc", "inb 0x61\nclock_step 5\noutl 0xcfc");
    let (saved, smaller) = (sandbox.at("saved.sh"), sandbox.at("smaller.sh"));
    let paths = [saved.to_string_lossy(), smaller.to_string_lossy()];
    let more = ["--save", &paths[0], "--minimize", "-o", &paths[1]];
    let finished = replay(&sandbox, role, name, &content, &more).expect(1);
    assert!(finished.stdout.contains("\n5 of 7 requests are needed"), "{finished}");
    for file in [&saved, &smaller] {
        let finished = sandbox.run(sandbox.qgraph(["replay"]).arg(file)).expect(1);
        assert!(finished.stdout.contains("\nstill fails: "), "{finished}");
    }
    let text = fs::read_to_string(&smaller).expect("text");
    let (_, left) = text.split_once("<<'END_OF_REQUESTS'\n").expect("requests");
    assert_eq!(left.lines().take(5).collect::<Vec<_>>(), REQUESTS);
}

/// Would catch a test in Rust that lacks a request, or the machine.
pub fn a_foreign_reproducer_as_a_test() {
    let role = "request-segv";
    let sandbox = with_emulator(role);
    let (name, content) = shapes().swap_remove(0);
    let finished = replay(&sandbox, role, name, &content, &["--as-test"]).expect(1);
    for word in [
        "//! Replays the report `pipe`",
        "impl Consumes<Pc> for Report {",
        "tests!(Report, \"pipe-tests\": replay);",
        "    vm.qtest().outl(0xcf8, 0x80002010)?;\n",
        "    vm.qtest().writeq(GuestAddress(0xe0000040), 0xffffffffffffffff)?;\n",
    ] {
        assert!(finished.stdout.contains(word), "{word}: {finished}");
    }
}

/// Would catch a file of a stranger that runs a program, or a program that it names.
pub fn what_a_stranger_may_not() {
    let role = "request-segv";
    let sandbox = with_emulator(role);
    let (name, content) = shapes().swap_remove(0);
    let mark = sandbox.at("mark");
    let evil = content.replace(
        "-accel qtest",
        &format!(
            "-accel qtest -netdev tap,id=n,script={} -chardev file,id=c,path=x",
            mark.display()
        ),
    );
    let finished = replay(&sandbox, role, name, &evil, &[]).expect(2);
    let finished = finished.says(&["-netdev tap", "-chardev file", "--trust"]);
    assert!(!finished.stdout.contains("crashed") && !mark.exists(), "{finished}");
    replay(&sandbox, role, name, &evil, &["--trust"]).expect(1);
    // What a command substitution would do.
    let shell =
        content.replace("#!/bin/sh", &format!("X=$(touch {0})\n`touch {0}`", mark.display()));
    replay(&sandbox, role, name, &shell, &[]).expect(1);
    assert!(!mark.exists());

    let saved = sandbox.at("saved.sh");
    replay(&sandbox, role, name, &content, &["--save", &saved.to_string_lossy()]).expect(1);
    let text = fs::read_to_string(&saved).expect("text");
    let program = sandbox.at("program");
    fs::write(&program, format!("#!/bin/sh\ntouch {}\n", mark.display())).expect("a file");
    let cases = [
        (text.replace("\"-accel\"", "\"-plugin\",\"x\",\"-accel\""), "-plugin x"),
        (
            text.replace("\noutl 0xcf8 0x80002010\n", "\n{\"execute\": \"migrate\"}\n"),
            "the QMP command migrate",
        ),
        (text.replace("\"emulator\":\"", "\"emulator\":\"/nowhere"), "no such file"),
    ];
    for (content, word) in cases {
        let other = sandbox.at("other.sh");
        fs::write(&other, content).expect("a file");
        sandbox.run(sandbox.qgraph(["replay"]).arg(&other)).expect(2).says(&[word]);
    }
    let known = sandbox.at(format!("{role}/qemu-system-x86_64"));
    let named = text.replace(&*known.to_string_lossy(), &program.to_string_lossy());
    let other = sandbox.at("other.sh");
    fs::write(&other, named).expect("a file");
    let finished = sandbox.run(sandbox.qgraph(["replay"]).arg(&other)).expect(2);
    finished.says(&["neither finds nor has run before", "--qemu"]);
    assert!(!mark.exists());
}

/// Would catch an emulator whose input, output or end is not its caller's.
pub fn exec_becomes_the_emulator() {
    let sandbox = with_emulator("request-segv");
    let emulator = sandbox.at("request-segv/qemu-system-x86_64");
    let input = sandbox.at("requests");
    fs::write(&input, requests()).expect("a file");
    let words = ["exec", "--", &*emulator.to_string_lossy()];
    let mut command = sandbox.qgraph(words);
    command.args(["-machine", "pc", "-qtest", "stdio"]);
    let finished = sandbox.run(command.stdin(fs::File::open(input).expect("it")));
    assert_eq!(finished.status.signal(), Some(11), "{finished}");
    assert_eq!(finished.stdout, "OK\nOK\nOK\nOK\n", "{finished}");
    let nowhere = ["exec", "--", "/no/such/qemu"];
    sandbox.run(&mut sandbox.qgraph(nowhere)).expect(2).says(&["no such file"]);
    sandbox.run(&mut sandbox.qgraph(["exec"])).expect(2);
}
