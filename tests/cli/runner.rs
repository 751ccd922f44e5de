//! The runner that `cargo test` and nextest start.

use crate::fake::Sandbox;
use crate::{REGISTERS, RUNNER, runner, with_emulator};

/// Would catch a listing that nextest cannot read, and names that are not unique.
pub fn the_runner_lists() {
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
pub fn the_runner_runs() {
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
pub fn the_runner_without_emulator() {
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
