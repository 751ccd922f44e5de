//! What an emulator, a file or a name says drives neither a terminal nor a CI system, wherever
//! it is printed.

use std::fs;
use std::path::Path;

use crate::fake::{Finished, Sandbox};
use crate::{PATHS, REGISTERS, RUNNER};

/// Makes sure that a text holds nothing that acts: no control characters but line ends, none
/// that turn the direction of writing, no command of a CI system.
#[track_caller]
fn assert_tame(what: &str, text: &str) {
    let acts = |c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c);
    let at = text.find(acts);
    assert!(at.is_none(), "{what}: {:?}", &text[at.unwrap_or(0)..]);
    assert!(!text.contains("##["), "{what}: {text}");
    let command = text.lines().find(|line| line.trim_start().starts_with("::"));
    assert!(command.is_none(), "{what}: {command:?}");
}

#[track_caller]
fn assert_output_is_tame(what: &str, finished: &Finished) {
    assert_tame(what, &finished.stdout);
    assert_tame(what, &finished.stderr);
}

/// The log without the commands that qgraph makes itself, which have no text of others but in
/// an annotation's message.
fn without_own_commands(log: &str) -> String {
    let own = |line: &&str| {
        !["::error file=", "::group::What", "::stop-commands::qgraph-", "::qgraph-", "::endgroup::"]
            .iter()
            .any(|command| line.starts_with(command))
    };
    log.lines().filter(own).map(|line| format!("{line}\n")).collect()
}

/// Would catch a version, a device's name, an answer or standard error of an emulator that is
/// printed as it is, by any command and in any format.
pub fn what_others_say_is_tame() {
    let sandbox = Sandbox::new();
    let fake = sandbox.fake("request-nasty");
    let qemu = fake.to_string_lossy();
    let run = |arguments: &[&str]| {
        let mut command = sandbox.qgraph(arguments);
        sandbox.run(command.args(["--qemu", &qemu]))
    };
    let probe = run(&["probe"]).expect(0);
    assert_output_is_tame("probe", &probe);
    assert!(probe.stdout.contains("made up"), "{probe}");
    assert_output_is_tame("why", &run(&["why", "sdhci-pci"]).expect(0));
    assert_output_is_tame("list", &run(&["list", "--json", PATHS]).expect(0));
    for format in ["pretty", "tap", "json", "github"] {
        let files = ["--junit", "junit.xml", "--html", "page.html", "--journal", "journal"];
        let arguments = [&["run", PATHS, "--format", format], &files[..]].concat();
        let mut finished = run(&arguments).expect(1);
        assert!(finished.stdout.contains("made up"), "{finished}");
        finished.stdout = without_own_commands(&finished.stdout);
        assert_output_is_tame(format, &finished);
    }
    for file in ["junit.xml", "page.html"] {
        let text = fs::read_to_string(sandbox.at(file)).expect("a report");
        assert!(text.contains("made up"), "{file}: {text}");
        assert_tame(file, &text);
    }
    let journal = sandbox.run(&mut sandbox.qgraph(["merge", "journal"])).expect(1);
    assert_output_is_tame("merge", &journal);
    let reproducer = sandbox.files("cache/reproducers").pop().expect("a file");
    let script = fs::read_to_string(&reproducer).expect("a script");
    assert!(!script.contains("\n::error::"), "{script}");
    let mut replay = sandbox.qgraph(["replay"]);
    let replay = sandbox.run(replay.arg(reproducer)).expect(1);
    assert!(replay.stdout.contains("QEMU wrote:\n"), "{replay}");
    assert_output_is_tame("replay", &replay);
    assert_output_is_tame("mutate", &run(&["mutate", "--exact", REGISTERS]).expect(1));
    let mut runner = sandbox.command(sandbox.fake_at(Path::new(RUNNER)));
    let runner = sandbox.run(runner.args(["--exact", REGISTERS]).env("QTEST_QEMU_BINARY", &fake));
    assert!(runner.stdout.contains("made up"), "{runner}");
    assert_output_is_tame("the runner", &runner);

    // What cannot be used is told in its own words, too.
    let unusable = sandbox.fake("probe-nasty");
    for command in ["probe", "run", "graph"] {
        let mut command = sandbox.qgraph([command]);
        let finished = sandbox.run(command.arg("--qemu").arg(&unusable)).expect(2);
        assert!(format!("{finished}").contains("made up"), "{finished}");
        assert_output_is_tame("an unusable emulator", &finished);
    }
}

/// Would catch the name of a file, or what is in one, that is printed as it is.
pub fn what_files_say_is_tame() {
    let sandbox = Sandbox::new();
    let odd = "\u{1b}[31m\n::error::made up\n##[error]";
    let line = serde_json::json!({
        "name": format!("/x/{odd}"), "outcome": "failed", "message": odd, "seconds": 1.0,
        "emulator": odd, "command_line": odd, "file": odd, "output": odd,
    });
    fs::write(sandbox.at("journal"), format!("{line}\n{odd}\n")).expect("written");
    for format in ["pretty", "tap", "json"] {
        let mut command = sandbox.qgraph(["merge", "journal", "--format", format]);
        let finished = sandbox.run(&mut command).expect(1).says(&["journal:2: "]);
        assert!(finished.stdout.contains("made up"), "{finished}");
        assert_output_is_tame(format, &finished);
    }
    for arguments in [["merge", odd], ["replay", odd], ["list", odd], ["why", odd]] {
        let finished = sandbox.run(&mut sandbox.qgraph(arguments)).expect(2);
        assert_output_is_tame(arguments[0], &finished);
    }
}
