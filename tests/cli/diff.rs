//! Two runs, or two builds of QEMU, beside each other.

use std::fs;

use serde_json::{Value, json};

use crate::fake::{Finished, Sandbox};
use crate::{PATHS, qgraph};

/// A line of a journal.
fn line(name: &str, outcome: &str, message: &str) -> String {
    let mut line = json!({"name": name, "outcome": outcome, "seconds": 0.25, "emulator": "/b/q"});
    if !message.is_empty() {
        line["message"] = message.into();
    }
    format!("{line}\n")
}

/// A sandbox with the journals `old` and `new`, each with something the other has not.
fn two_journals() -> Sandbox {
    let sandbox = Sandbox::new();
    let bad = "<b>\u{1b}[31m\n::error::no";
    let old = [
        line("/a/m/i2c/tmp105/t/1", "passed", ""),
        line("/a/m/i2c/tmp105/t/2", "passed", ""),
        line("/a/m/sd/t/good", "passed", ""),
        line("/a/m/sd/t/bad", "failed", "x"),
        line("/a/m/sd/t/same", "passed", ""),
    ];
    let new = [
        line("/a/m/sd/t/good", "crashed", bad),
        line("/a/m/sd/t/bad", "passed", ""),
        line("/a/m/sd/t/same", "passed", ""),
        line("/a/n/sd/t/same", "passed", ""),
    ];
    fs::write(sandbox.at("old"), old.concat()).expect("written");
    fs::write(sandbox.at("new"), new.concat()).expect("written");
    sandbox
}

/// Would catch a difference that is not told, is told as a list of paths where a device is
/// gone, or does not reach the exit status; and text of QEMU's that drives a terminal or becomes
/// markup.
pub fn two_journals_differ() {
    let sandbox = two_journals();
    let diff = |arguments: &[&str]| -> Finished {
        qgraph(&sandbox, &[&["diff", "old", "new"], arguments].concat())
    };
    let expected = "\
now-failing: 1
  /a/m/sd/t/good (q)
      is crashed: <b>\u{fffd}[31m
      was passed
gone: 2
  node i2c: 2 paths
now-passing: 1
  /a/m/sd/t/bad (q)
      is passed
      was failed: x
new: 1
  machine a/n: 1 path
1 paths the same, 1 now-failing, 2 gone, 1 now-passing, 1 new
";
    let finished = diff(&["--html", "page.html"]).expect(1);
    assert_eq!(finished.stdout, expected, "{finished}");
    let page = fs::read_to_string(sandbox.at("page.html")).expect("a page");
    assert!(page.contains("&lt;b&gt;") && !page.contains("<b>") && page.contains("machine a/n"));

    let finished = diff(&["--format", "json"]).expect(1);
    let data: Value = serde_json::from_str(&finished.stdout).expect("JSON");
    assert_eq!((&data["common"], &data["same"]), (&json!(3), &json!(1)));
    let changes: Vec<_> = data["differences"].as_array().unwrap().iter().collect();
    assert_eq!(changes.len(), 5);
    assert_eq!(changes[0]["change"], "now-failing");
    assert_eq!(changes[0]["old"], json!({"outcome": "passed", "seconds": 0.25}));

    diff(&["--fail-on", "none"]).expect(0);
    diff(&["--fail-on", "slower,fails-otherwise"]).expect(0);
    diff(&["--fail-on", "new"]).expect(1);
    diff(&["--fail-on", "worse"]).expect(2).silent().says(&["one of now-failing, gone, "]);
    diff(&["--html", "/dev/full"]).expect(3).says(&["the page could not be written"]);
    qgraph(&sandbox, &["diff", "old", "old"]).expect(0);
    let finished = qgraph(&sandbox, &["diff", "old", "no-such"]).expect(2).silent();
    finished.says(&["error: cannot read no-such: No such file"]);
    fs::write(sandbox.at("empty"), "").expect("written");
    qgraph(&sandbox, &["diff", "old", "empty"])
        .expect(2)
        .silent()
        .says(&["no outcome is in empty"]);
}

/// Would catch two builds of QEMU that cannot be compared without four commands, or whose
/// paths are taken for different ones.
pub fn two_emulators_differ() {
    let sandbox = Sandbox::new();
    let (good, bad) = (sandbox.fake("good"), sandbox.fake("request-fail"));
    let [good, bad] = [good, bad].map(|it| it.to_string_lossy().into_owned());
    let diff = |old: &str, new: &str| qgraph(&sandbox, &["diff", old, new, "--", PATHS]);
    let finished = diff(&good, &good).expect(0);
    assert_eq!(finished.stdout, "10 paths the same\n", "{finished}");
    finished.says(&["note: running the paths on "]);
    let finished = diff(&good, &bad).expect(1);
    assert!(finished.stdout.starts_with("now-failing: "), "{finished}");
    let folder = good.trim_end_matches("/qemu-system-x86_64");
    diff(folder, &good).expect(0);
    let finished = qgraph(&sandbox, &["diff", folder, folder, "--", "no-such"]).expect(2).silent();
    finished.says(&["error: no path matches", "ended with exit status: 2"]);
}
