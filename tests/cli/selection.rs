//! Which paths are chosen, and how they are listed.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{PATHS, REGISTERS, list, qgraph, with_emulator};

/// Would catch a run of nothing that counts as a pass, and a message that does not say why.
pub fn nothing_matches() {
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

/// Would catch a filter that lets through what it should not, or the reverse.
pub fn filters() {
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
pub fn list_as_json() {
    let sandbox = with_emulator();
    let finished = qgraph(&sandbox, &["list", "--json", "--exact", REGISTERS]).expect(0);
    let paths: Value = serde_json::from_str(&finished.stdout).expect("JSON");
    let emulator = sandbox.at("bin/qemu-system-x86_64");
    let expected = serde_json::json!([{
        "name": REGISTERS,
        "machine": "x86_64/pc",
        "test": "sdhci-tests/registers",
        "emulator": emulator,
        "command": paths[0]["command"],
    }]);
    assert_eq!(paths, expected, "{finished}");
}

/// Would catch a cover that leaves a test or a machine out, that is as large as the whole, or
/// that runs something else than it lists.
pub fn covers() {
    let sandbox = with_emulator();
    let all = list(&sandbox, &[PATHS]);
    let covers = |cover: &str| qgraph(&sandbox, &["list", PATHS, "--cover", cover]).expect(0);
    let covered: Vec<_> = covers("tests").stdout.lines().map(str::to_owned).collect();
    let case = |name: &String| name.rsplit_once("-tests/").map(|(_, case)| case.to_owned());
    let cases = |names: &[String]| names.iter().filter_map(case).collect::<BTreeSet<_>>();
    assert_eq!(cases(&covered), cases(&all));
    assert!(covered.len() == cases(&all).len() && covered.len() < all.len(), "{covered:#?}");
    let finished = covers("nodes");
    for machine in ["/x86_64/pc/", "/x86_64/q35/"] {
        assert!(finished.stdout.contains(machine), "{finished}");
    }
    let said = format!("note: {} of {} paths; ", finished.stdout.lines().count(), all.len());
    finished.says(&[&said]);
    let run = ["run", "--format", "json", PATHS, "--cover", "tests"];
    let ran = qgraph(&sandbox, &run).expect(0).outcomes();
    assert_eq!(
        ran.into_keys().map(|(_, name)| name).collect::<BTreeSet<_>>(),
        covered.into_iter().collect()
    );
    let finished = qgraph(&sandbox, &["list", "--cover", "all"]).expect(2).silent();
    finished.says(&["\"all\" is none of nodes, edges, cases and tests"]);
}
