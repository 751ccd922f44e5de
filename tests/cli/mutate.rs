//! How strong tests are, by `qgraph mutate`.

use std::fs;

use serde_json::Value;

use crate::{REGISTERS, qgraph, with_emulator};

/// Would catch a weakness that is not told, or that is told of another line, and a wanted
/// strength that is missed without anybody knowing.
pub fn how_strong_tests_are() {
    let sandbox = with_emulator();
    let finished = qgraph(&sandbox, &["mutate", "pc/*/sdhci-tests/reset-values"]).expect(2);
    finished.says(&["error: no path matches"]);
    let reset_values = ["mutate", "--machine", "pc", "sdhci-tests/reset-values"];
    let finished = qgraph(&sandbox, &reset_values).expect(0);
    assert_eq!(finished.stderr, "", "{finished}");
    // Present State has bits that this test leaves alone.
    for words in [
        "9 answers, ",
        "Ignored:\nsdhci-tests/reset-values\n    src/tests/sd/sdhci.rs:",
        "seed 0:\n",
    ] {
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
pub fn strength_as_json() {
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
