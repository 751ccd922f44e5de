//! What a reset makes of a machine before the next path runs on it, on a real QEMU: all that
//! a test can leave behind is gone.

use std::io::Write;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;

use qgraph::GuestAddress;
use qgraph::graph::Model;
use qgraph::harness::{Filter, Fleet, Plan, Trial};
use qgraph::qemu::{Limits, Prober, Vm};
use serde_json::Value;

/// The first path on any emulator whose name matches. Without one there is nothing to test
/// with, which is a failure: `make check` installs QEMU.
fn trial(glob: &str) -> Trial {
    let fleet = Fleet::gather(&[], &Prober::new(), |warning| eprintln!("warning: {warning}"));
    let filter = Filter::new(&[glob.to_owned()], &[], &[], false).expect("a glob");
    let plan = Plan::new(Arc::new(Model::registered()), fleet.usable, filter);
    plan.trials().next().unwrap_or_else(|| panic!("no emulator at hand has {glob}"))
}

fn launch(trial: &Trial) -> Rc<Vm> {
    let vm = Vm::launch(&trial.emulator, trial.config(), Limits::default());
    Rc::new(vm.expect("a QEMU"))
}

/// Would catch RAM, an image, allocated memory or registers that the next path finds as the
/// one before left them, and a write that was put off and comes after the reset.
#[test]
fn nothing_is_left_of_the_path_before() {
    // The interrupt mask register (OCW1) of a PC's first 8259A.
    const IMR: u16 = 0x21;
    let trial = trial("/x86_64/pc/*/virtio-blk-pci/*/virtio-blk-tests/basic");
    let vm = launch(&trial);
    assert!(vm.ram().is_mapped());
    let leaked = vm.ram().alloc(64, 64).expect("memory");
    let address = leaked.address();
    leaked.write(0, &[0xa5; 64]).expect("written");
    std::mem::forget(leaked);
    assert_eq!(vm.ram().findings().len(), 1);
    let image = trial.config().images[0].name;
    vm.write_image(image, 512, &[0x5a; 512]).expect("written");
    vm.qtest().outb(IMR, 0x5a).expect("written");
    assert_eq!(vm.qtest().inb(IMR).expect("read"), 0x5a);
    // This one waits, as after a test that is skipped.
    vm.qtest().outb(IMR, 0xa5).expect("put off");

    vm.reset(Limits::default()).expect("a reset");
    assert_eq!(vm.qtest().inb(IMR).expect("read"), 0, "a register");
    let mut bytes = [0xff; 64];
    vm.ram().read(address, &mut bytes).expect("read");
    assert_eq!(bytes, [0; 64], "RAM here");
    vm.qtest().b64read(GuestAddress(address.0), &mut bytes).expect("read");
    assert_eq!(bytes, [0; 64], "RAM there");
    let mut sector = [0xff; 512];
    vm.read_image(image, 512, &mut sector).expect("read");
    assert_eq!(sector, [0; 512], "the image");
    assert!(vm.ram().findings().is_empty(), "allocations");
    assert_eq!(vm.lasting_change(), None);
    trial.path.run(&vm).expect("the path passes after it");
}

/// Would catch a frame of the path before that the next one receives.
#[test]
fn nothing_is_left_on_the_cable() {
    let trial = trial("/x86_64/pc/*/e1000/e1000-frames-tests/receive");
    let vm = launch(&trial);
    let mut cable = vm.socket("net").expect("the cable");
    // More than a frame, and not a whole one, that the device never asked for.
    cable.write_all(&[0, 0, 0, 60]).expect("written");
    cable.write_all(&[0x11; 60]).expect("written");
    vm.reset(Limits::default()).expect("a reset");
    trial.path.run(&vm).expect("the path passes after it");
}

/// Would catch a change that no reset undoes and after which the QEMU would be used again.
#[test]
fn what_outlives_a_reset_is_noted() {
    let trial = trial("/x86_64/pc/*/virtio-blk-pci/*/virtio-blk-tests/basic");
    let vm = launch(&trial);
    vm.qmp().execute("query-status", serde_json::Value::Null).expect("asked");
    assert_eq!(vm.lasting_change(), None);
    vm.qtest().irq_intercept_in("ioapic").expect("intercepted");
    assert_eq!(vm.lasting_change(), Some("irq_intercept"));
    let vm = launch(&trial);
    vm.qmp().execute("stop", serde_json::Value::Null).expect("done");
    assert_eq!(vm.lasting_change(), Some("a QMP command"));
}

/// Would catch paths that pass on a QEMU of their own and not after others, which is all that
/// `cargo test` has, and a run that uses no QEMU again.
#[test]
fn paths_pass_on_a_qemu_that_others_had() {
    let emulator = &trial("/x86_64/pc/*").emulator;
    let cache = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_qgraph"));
    command.args([
        "run",
        "--format",
        "json",
        "--timings",
        "--shard",
        "1/1",
        // Devices with much to leave behind: rings, queues, images, statistics, interrupts.
        "/x86_64/pc/i440FX-pcihost/pci-bus-pc/pci-bus/{e1000,pcnet,sdhci-pci,virtio-net-pci}/*",
        "/x86_64/pc/i440FX-pcihost/pci-bus-pc/pci-bus/{lsi53c895a,qemu-xhci,virtio-blk-pci}/*",
        // What is there to break QEMU, and requests over USB without end, which leave nothing.
        "--skip",
        "virtio-rules-tests",
        "--skip",
        "*-attacks/*",
        "--skip",
        "usb-hostile-tests",
        // One speed of USB leaves no more than the other.
        "--skip",
        "*/usb-full-speed/*",
        "--qemu",
    ]);
    let finished = command.arg(&emulator.path).env("QGRAPH_CACHE", cache.path()).output();
    let finished = finished.expect("qgraph");
    let said = String::from_utf8_lossy(&finished.stderr);
    let lines = String::from_utf8_lossy(&finished.stdout);
    let outcomes: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for outcome in &outcomes {
        let good = ["passed", "skipped", "expected-failure"]
            .map(Value::from)
            .contains(&outcome["outcome"]);
        assert!(good, "{outcome:#}\n{said}");
    }
    assert!(finished.status.success(), "{said}");
    let number = |what: &str| -> usize {
        let line = said.lines().find_map(|line| line.strip_prefix(what)).expect("timings");
        line.trim().parse().expect("a number")
    };
    let (started, used_again) = (number("QEMUs started"), number("reset and used again"));
    assert!(used_again > started, "{started} started, {used_again} used again");
    assert!(outcomes.len() <= started + used_again, "{}", outcomes.len());
}
