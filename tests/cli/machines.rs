//! `qgraph machines`: what machines tell of themselves.

use crate::fake::Sandbox;
use crate::fake::emulator::LAUNCHES;
use crate::{qgraph, with_emulator};

/// Would catch a device without what it has, a machine that is started although it is known,
/// or not started although it is to be, and one version of a machine that nobody asked for.
pub fn machines_are_described() {
    let sandbox = with_emulator();
    let launches = || {
        let log = std::fs::read_to_string(sandbox.at("bin").join(LAUNCHES)).unwrap_or_default();
        log.lines().filter(|machine| *machine != "none").count()
    };
    let first = qgraph(&sandbox, &["machines", "--devices"]).expect(0).stdout;
    let said = "x86_64/pc: 1 devices, 1 of them with registers in memory\n    /machine/uart \
                (board-uart)\n        memory 0x1000-0x10ff registers\n        sysbus-irq[0] to \
                /machine/pic/unnamed-gpio-in[4]\nx86_64/q35: ";
    assert!(first.starts_with(said), "{first}");
    assert_eq!(launches(), 2);
    assert_eq!(qgraph(&sandbox, &["machines", "--devices"]).expect(0).stdout, first);
    assert_eq!(launches(), 2, "they are known");
    qgraph(&sandbox, &["machines", "pc", "--refresh"]).expect(0);
    assert_eq!(launches(), 3);
    let named = qgraph(&sandbox, &["machines", "pc-q35-7.2", "--json"]).expect(0).stdout;
    let data: serde_json::Value = serde_json::from_str(&named).expect("JSON");
    assert_eq!(data["machine"], "pc-q35-7.2");
    assert_eq!(data["devices"][0]["regions"][0]["base"], 0x1000);
    qgraph(&sandbox, &["machines", "no-such"]).expect(2).silent().says(&["no-such"]);
}

/// Would catch a machine that ends, hangs or talks nonsense while it is asked, and costs more
/// than itself, or says nothing of why.
pub fn machines_that_tell_nothing() {
    let faults = [
        ("start-exit", "fake: cannot set up guest memory"),
        ("start-abort", "QEMU was killed by signal 6 (SIGABRT"),
        ("monitor-exit", "fake: cannot set up guest memory"),
        ("monitor-segv", "QEMU was killed by signal 11"),
        ("monitor-close", "closed the connection"),
        ("monitor-mute", "a tree of objects was expected"),
        ("start-garbage", "the greeting of QMP was expected"),
    ];
    for (role, words) in faults {
        let sandbox = Sandbox::new();
        let emulator = sandbox.fake(role).to_string_lossy().into_owned();
        let said = qgraph(&sandbox, &["machines", "--qemu", &emulator]).expect(0).stdout;
        assert!(said.starts_with("x86_64/pc: does not start\n    "), "{role}: {said}");
        assert!(said.contains(words), "{role}: {said}");
        assert!(said.contains("\nx86_64/q35: 1 devices"), "{role}: {said}");
    }
}
