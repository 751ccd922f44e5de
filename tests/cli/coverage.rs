//! `qgraph coverage`: which types of machines and devices are looked at.

use std::fs;

use serde_json::Value;

use crate::fake::Sandbox;
use crate::{qgraph, with_emulator};

/// Would catch a device that is taken for reached, or for not reached, and something that was
/// reached before and is not any more without anybody being told.
pub fn what_is_reached() {
    let sandbox = with_emulator();
    let coverage = |arguments: &[&str]| qgraph(&sandbox, &[&["coverage"], arguments].concat());
    let finished = coverage(&["--format", "json", "--html", "page.html"]).expect(0);
    let mut data: Value = serde_json::from_str(&finished.stdout).expect("JSON");
    let of = &data["qemu-system-x86_64"];
    assert_eq!(of["machines"]["pc"], "own", "{finished}");
    assert_eq!(of["devices"]["sdhci-pci"], "own", "{finished}");
    assert_ne!(of["devices"]["board-uart"], "own", "{finished}");
    assert_eq!(of["paths"].as_u64(), Some(all_paths(&sandbox)), "{finished}");
    let page = fs::read_to_string(sandbox.at("page.html")).expect("a page");
    assert!(page.contains("sdhci-pci") && page.ends_with("</html>\n"), "{page}");

    fs::write(sandbox.at("same"), &finished.stdout).expect("written");
    let same = coverage(&["--compare", "same"]).expect(0);
    assert!(same.stdout.contains("\nsince then 0 lost, 0 new; "), "{same}");
    data["qemu-system-x86_64"]["devices"]["<b>"] = "own".into();
    data["qemu-system-x86_64"]["devices"]["sdhci-pci"] = "none".into();
    fs::write(sandbox.at("old"), data.to_string()).expect("written");
    let finished = coverage(&["--compare", "old", "--html", "page.html"]).expect(1);
    let lines: Vec<&str> = finished.stdout.lines().collect();
    let expected = [
        "lost: device <b> (qemu-system-x86_64)",
        "lost: suites of device <b> (qemu-system-x86_64)",
        "new: device sdhci-pci (qemu-system-x86_64)",
        "new: suites of device sdhci-pci (qemu-system-x86_64)",
    ];
    assert!(lines.windows(4).any(|window| window == expected), "{finished}");
    assert!(!fs::read_to_string(sandbox.at("page.html")).unwrap().contains(" <b> "));

    coverage(&["--at-least", "0"]).expect(0);
    // It has a device type that nobody plugs in.
    let nasty = sandbox.fake("request-nasty").to_string_lossy().into_owned();
    let few = coverage(&["--qemu", &nasty, "--at-least", "100"]).expect(1);
    few.says(&["of the device types are reached: too few"]);
    coverage(&["--at-least", "101"]).expect(2).silent();
    fs::write(sandbox.at("no"), "{").expect("written");
    coverage(&["--compare", "no"]).expect(2).silent().says(&["cannot read the coverage no: "]);
    coverage(&["--html", "/dev/full"]).expect(3).says(&["the page could not be written"]);
}

/// How many paths there are with what machines tell of themselves.
fn all_paths(sandbox: &Sandbox) -> u64 {
    qgraph(sandbox, &["list", "--discover"]).expect(0).stdout.lines().count() as u64
}

/// Would catch a machine that does not start and costs more than itself, or says nothing of why.
pub fn what_does_not_start() {
    let sandbox = Sandbox::new();
    let emulator = sandbox.fake("start-exit").to_string_lossy().into_owned();
    let finished = qgraph(&sandbox, &["coverage", "--qemu", &emulator]).expect(0);
    assert!(finished.stdout.contains("\n    machine pc does not start: "), "{finished}");
    assert!(finished.stdout.contains("cannot set up guest memory"), "{finished}");
}
