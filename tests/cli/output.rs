//! What a run says, where it says it, and what becomes of that when nobody reads it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use crate::fake::Sandbox;
use crate::{PATHS, REGISTERS, list, qgraph, with_emulator};

/// Would catch a pass that is not told as one, and words on the wrong channel.
pub fn everything_passes() {
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
pub fn something_fails() {
    let sandbox = Sandbox::new();
    let fake = sandbox.fake("request-fail");
    let finished = sandbox.run(sandbox.qgraph(["run", PATHS, "--qemu"]).arg(&fake)).expect(1);
    let (_, end) = finished.stdout.split_once("\nNot passed:\n").expect("a list of failures");
    assert!(end.contains(REGISTERS) && end.contains("FAIL out of luck"), "{finished}");
    assert!(end.contains("\n1 failed, "), "{finished}");
}

/// Would catch a format that is not written, or lacks what failed, and a file that is not
/// there at the end or has something beside it.
pub fn reports() {
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

/// Would catch a report that nobody can write and that changes what is said of the paths, or
/// that is lost without a word or with the exit status of a success.
pub fn a_report_that_cannot_be_written() {
    let sandbox = with_emulator();
    let early = ["run", REGISTERS, "--junit", "/proc/no/junit.xml", "--html", "."];
    let finished = qgraph(&sandbox, &early).expect(3);
    finished.says(&["warning: there will be no report", "/proc/no/junit.xml", " to .: "]);
    let finished = qgraph(&sandbox, &["run", REGISTERS, "--junit", "/dev/full"]).expect(3);
    let finished =
        finished.says(&["warning: the JUnit report /dev/full could not be written: No space left"]);
    assert!(finished.stdout.ends_with("\n1 passed\n"), "{finished}");
    finished.says(&["the results are not all kept, see above; exit status 3"]);
    // That of a failure says less.
    let fake = sandbox.fake("request-fail");
    let mut failing = sandbox.qgraph(["run", REGISTERS, "--html", "/dev/full", "--qemu"]);
    sandbox.run(failing.arg(&fake)).expect(3);
}

/// Would catch two reports, or a report and a journal, that take each other's place in one
/// file, whatever leads to it.
pub fn one_file_for_two() {
    let sandbox = with_emulator();
    symlink("page", sandbox.at("link")).expect("a link");
    symlink("../bin/../page", sandbox.at("bin/link")).expect("a link");
    for there in [false, true] {
        if there {
            fs::write(sandbox.at("page"), "precious").expect("written");
            fs::hard_link(sandbox.at("page"), sandbox.at("hard")).expect("a link");
        }
        for (one, other) in
            [("page", "page"), ("page", "./bin/../page"), ("link", "page"), ("bin/link", "link")]
        {
            let words = ["error: --junit and --html name the same file"];
            let arguments = ["run", PATHS, "--html", one, "--junit", other];
            qgraph(&sandbox, &arguments).expect(2).silent().says(&words);
            let words = ["error: --journal and --html name the same file"];
            let arguments = ["run", PATHS, "--journal", one, "--html", other];
            qgraph(&sandbox, &arguments).expect(2).silent().says(&words);
            assert_eq!(sandbox.at("page").exists(), there);
        }
    }
    let arguments = ["run", PATHS, "--journal", "page", "--html", "hard"];
    qgraph(&sandbox, &arguments).expect(2).silent();
    let arguments = ["run", PATHS, "--journal", "page", "--shard", "1/2", "--durations", "hard"];
    qgraph(&sandbox, &arguments).expect(2).silent().says(&["--durations and --journal name"]);
    let arguments = ["merge", "page", "--html", "hard"];
    qgraph(&sandbox, &arguments).expect(2).silent().says(&["JOURNAL and --html name"]);
    assert_eq!(fs::read_to_string(sandbox.at("page")).expect("it"), "precious");
    let null = ["run", REGISTERS, "--junit", "/dev/null", "--html", "/dev/null"];
    qgraph(&sandbox, &null).expect(0);
}

/// Would catch reports that do not say on what their outcomes came to be.
pub fn the_environment_is_told() {
    let sandbox = with_emulator();
    let files = ["--junit", "junit.xml", "--html", "page.html"];
    let journal = ["--journal", "journal"];
    let run = |arguments: &[&str]| qgraph(&sandbox, &[arguments, &files].concat()).expect(0);
    run(&["run", REGISTERS, journal[0], journal[1]]);
    for again in [false, true] {
        if again {
            run(&["merge", "journal"]);
        }
        let junit = fs::read_to_string(sandbox.at("junit.xml")).expect("a report");
        let page = fs::read_to_string(sandbox.at("page.html")).expect("a page");
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel");
        for (name, value) in [
            ("qemu-version", "7.2.0"),
            ("qemu-build", "fake"),
            ("architecture", "x86_64"),
            ("accelerator", "a module that comes with it"),
            ("kernel", kernel.trim()),
            ("host", fs::read_to_string("/proc/sys/kernel/hostname").expect("a host").trim()),
            ("qgraph", env!("CARGO_PKG_VERSION")),
            ("options", REGISTERS),
        ] {
            let property =
                junit.lines().find(|line| line.contains(&format!("<property name=\"{name}\"")));
            let property = property.unwrap_or_else(|| panic!("{name}: {junit}"));
            assert!(property.contains(value), "{property}");
            assert!(page.contains(&format!("[\"{name}\",\"")), "{name} is not on the page");
        }
    }
}

/// A pipe from which nobody reads any more.
fn closed_pipe() -> Stdio {
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

/// Would catch a device type that is misspelt, or that no emulator has, of which nobody is told;
/// and a graph that is called unsound for that.
pub fn names_that_no_emulator_has() {
    let sandbox = with_emulator();
    let told = sandbox.run(&mut sandbox.qgraph(["check"])).expect(0).stdout;
    let devices = told.lines().find(|line| line.starts_with("no emulator at hand has "));
    assert!(devices.is_some_and(|line| line.contains("max34451")), "{told}");
    assert!(!told.contains("sdhci-pci"), "{told}");
    assert!(told.contains("the graph is sound: "), "{told}");
}

/// Would catch a panic after `qgraph … | head`, or after `2>&1 | head` for warnings.
pub fn nobody_reads() {
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
pub fn nothing_can_be_written() {
    let sandbox = with_emulator();
    for (arguments, status) in [(["list", PATHS], 2), (["run", PATHS], 3)] {
        let full: Stdio = File::options().write(true).open("/dev/full").expect("/dev/full").into();
        let running = sandbox.start_with(&mut sandbox.qgraph(arguments), Some(full), None);
        running.finish().expect(status).says(&["No space left on device"]);
    }
}
