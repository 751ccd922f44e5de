//! The forms of a path: what is done between its set-up and its check, on a real QEMU. What was
//! set up is there after a move to another QEMU, a path begins anew after a reset, and a driver errs
//! where it shall.

use std::cell::RefCell;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use qgraph::graph::Model;
use qgraph::harness::{Filter, Fleet, Plan, Settings, Trial, Verdict, run_alone};
use qgraph::prelude::*;
use qgraph::qemu::{Between, Emulator, Limits, Prober};
use qgraph::qos::virtio::blk::VirtioBlk;

thread_local! {
    static SEEN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

qgraph::tests!(VirtioBlk, "moving-tests": kept, begun);
qgraph::tests!(VirtioBlk, "erring-tests": writes, wrong, deadly);

/// The interrupt mask register (OCW1) of a PC's first 8259A.
const IMR: u16 = 0x21;
/// A line of the I/O APIC that nothing else drives.
const LINE: u32 = 23;

/// Sets up a register, RAM, an image, the clock and a line, and looks at them after the mark.
fn kept(_: &VirtioBlk, vm: &Rc<Vm>) -> Result<()> {
    let image = vm.config().images[0].name;
    let buffer = vm.ram().alloc(64, 64)?;
    buffer.write(0, &[0xa5; 64])?;
    vm.write_image(image, 512, &[0x5a; 512])?;
    vm.qtest().outb(IMR, 0x5a)?;
    vm.qtest().irq_intercept_in("ioapic")?;
    vm.qtest().set_irq_in("ioapic", "unnamed-gpio-in", LINE, 1)?;
    assert!(vm.qtest().irq_level(LINE));
    let time = vm.qtest().clock_step(Some(Duration::from_millis(1500)))?;

    vm.set_up_ends()?;
    let said = vm.qmp().execute("query-migrate", serde_json::Value::Null)?;
    assert_eq!(said["status"], "completed", "this QEMU took the machine over");
    assert_eq!(vm.qtest().inb(IMR)?, 0x5a, "a register");
    assert_eq!(buffer.to_vec()?, [0xa5; 64], "RAM here");
    let mut there = [0; 64];
    vm.qtest().b64read(buffer.address(), &mut there)?;
    assert_eq!(there, [0xa5; 64], "RAM there");
    let mut sector = [0; 512];
    vm.read_image(image, 512, &mut sector)?;
    assert_eq!(sector, [0x5a; 512], "the image");
    let step = Duration::from_nanos(1);
    assert_eq!(vm.qtest().clock_step(Some(step))?, time + step, "the clock");
    assert!(vm.qtest().irq_level(LINE), "a line is still high");
    vm.qtest().set_irq_in("ioapic", "unnamed-gpio-in", LINE, 0)?;
    assert!(!vm.qtest().irq_level(LINE), "and its fall is told");
    Ok(())
}

/// Notes what a register is whenever it is begun.
fn begun(_: &VirtioBlk, vm: &Rc<Vm>) -> Result<()> {
    let mask = vm.qtest().inb(IMR)?;
    SEEN.with_borrow_mut(|seen| seen.push(mask));
    vm.qtest().outb(IMR, 0x5a)?;
    vm.set_up_ends()
}

/// Writes a register and RAM often, and notes what is in them then.
fn writes(_: &VirtioBlk, vm: &Rc<Vm>) -> Result<()> {
    let buffer = vm.ram().alloc(4, 4)?;
    for _ in 0..200 {
        vm.qtest().outb(IMR, 0x5a)?;
        buffer.write(0, b"qemu")?;
        let mut bytes = buffer.to_vec()?;
        bytes.push(vm.qtest().inb(IMR)?);
        SEEN.with_borrow_mut(|seen| seen.extend(bytes));
    }
    Ok(())
}

/// Finds something wrong with every device.
fn wrong(_: &VirtioBlk, vm: &Rc<Vm>) -> Result<()> {
    assert_eq!(vm.qtest().inb(IMR)?, 0x5a, "nobody wrote that");
    Ok(())
}

/// Is the end of QEMU.
fn deadly(_: &VirtioBlk, vm: &Rc<Vm>) -> Result<()> {
    vm.kill();
    Ok(())
}

/// The path with this case, in this form, on any emulator, and a QEMU for it.
fn path(case: &str, between: Option<Between>) -> (Trial, Rc<Vm>) {
    let trial = trial(case, between);
    let vm = Vm::launch(&trial.emulator, trial.config(), Limits::default()).expect("a QEMU");
    (trial, Rc::new(vm))
}

fn trial(case: &str, between: Option<Between>) -> Trial {
    let fleet = Fleet::gather(&[], &Prober::new(), |warning| eprintln!("warning: {warning}"));
    let glob = format!("/x86_64/pc/i440FX-pcihost/pci-bus-pc/pci-bus/virtio-blk-pci/*/{case}");
    let filter = Filter::new(&[glob], &[], &[], false).expect("a glob").with_forms(vec![between]);
    let plan = Plan::new(Arc::new(Model::registered()), fleet.usable, filter);
    plan.trials().next().expect("a path; `make check` installs QEMU")
}

/// The trial with its emulator, and as the one to which machines move, a script that writes its
/// arguments to the file `log` of `folder` and becomes that emulator.
fn moving_to_script(trial: &Trial, folder: &Path) -> Trial {
    let program = folder.join("qemu");
    let (log, real) = (folder.join("log"), trial.emulator.path.display());
    let text = format!("#!/bin/sh\necho \"$*\" >> '{}'\nexec '{real}' \"$@\"\n", log.display());
    fs::write(&program, text).expect("a script");
    fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("executable");
    let to = Prober::new().probe(&program, |warning| panic!("{warning}")).expect("a QEMU");
    let emulator = Emulator { moves_to: Some(Arc::new(to)), ..(*trial.emulator).clone() };
    Trial { emulator: Arc::new(emulator), ..trial.clone() }
}

/// Would catch a move that loses RAM, images, the clock, or the level of an intercepted line, or
/// one that does not take place.
#[test]
fn a_machine_that_moves_keeps_all() {
    let (trial, vm) = path("moving-tests/kept", Some(Between::Migrate));
    assert!(trial.path.name().ends_with("/moving-tests/kept@migrate"));
    trial.path.run(&vm).expect("all is kept");
    assert_eq!(vm.lasting_change(), Some("a move to another QEMU"));
    assert!(vm.quit(Duration::from_secs(10)).expect("an end").is_success());
}

/// Would catch a machine that moves to the emulator from which it comes although another one is
/// named, or that is there of another version of its type.
#[test]
fn a_machine_moves_to_the_emulator_that_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let trial = trial("moving-tests/kept", Some(Between::Migrate));
    let trial = moving_to_script(&trial, folder.path());
    let vm = Vm::launch(&trial.emulator, trial.config(), Limits::default()).expect("a QEMU");
    assert_eq!(vm.emulator().path, trial.emulator.path);
    let vm = Rc::new(vm);
    trial.path.run(&vm).expect("all is kept");
    assert_eq!(vm.emulator().path, folder.path().join("qemu"), "where the machine is");
    let log = fs::read_to_string(folder.path().join("log")).expect("what was started");
    let restored: Vec<&str> = log.lines().filter(|line| line.contains("-incoming")).collect();
    let real = trial.emulator.capabilities.real_name("pc");
    assert!(real.starts_with("pc-i440fx-"), "{real}");
    // Once when all is attached, and once at the mark of the test.
    assert_eq!(restored.len(), 2, "{log}");
    let is_real = |line: &&str| line.contains(&format!("-machine {real},"));
    assert!(restored.iter().all(is_real), "{log}");
    assert_eq!(vm.config().machine, real, "where it comes from");
}

/// Would catch a mark that does something on a plain path, and a path that does not begin anew
/// on a machine that was reset: once when it is attached, which the test does not see, and once
/// at its mark.
#[test]
fn a_path_begins_anew_after_a_reset() {
    for (between, expected) in [(None, &[0][..]), (Some(Between::Reset), &[0, 0])] {
        SEEN.take();
        let (trial, vm) = path("moving-tests/begun", between);
        trial.path.run(&vm).expect("it passes");
        assert_eq!(SEEN.take(), expected, "{between:?}");
    }
}

/// Would catch a machine that is said to pass although it cannot move, and one that loses its
/// QEMU in the attempt.
#[test]
fn what_cannot_move_says_so() {
    let (trial, vm) = path("moving-tests/kept", None);
    let formed = trial.path.with_between(Some(Between::Migrate));
    let error = formed.run(&vm).expect_err("it was started for the plain path");
    assert!(matches!(error.root(), Error::Skipped(_)), "{error}");
    assert!(error.to_string().contains("cannot move to another QEMU"), "{error}");
    vm.qtest().endianness().expect("QEMU is there");
}

/// Would catch a driver that errs on a plain path, or never on another, and errors that the same
/// seed does not make again.
#[test]
fn a_driver_errs_as_its_seed_says() {
    let errors = |seed: Option<u64>| {
        SEEN.take();
        let (trial, vm) = path("erring-tests/writes", seed.map(|_| Between::Fuzz));
        vm.set_fuzz_seed(seed.unwrap_or_default());
        trial.path.run(&vm).expect("it asserts nothing");
        vm.survives().expect("a register and RAM");
        SEEN.take()
    };
    let right = b"qemu\x5a".repeat(200);
    assert!(errors(None) == right, "a plain path");
    let first = errors(Some(1));
    assert!(first != right && first.len() == right.len(), "with errors");
    assert!(errors(Some(1)) == first, "the same seed");
    assert!(errors(Some(2)) != first, "another seed");
}

/// Would catch a path of the form fuzz that fails of what its test says, or passes although QEMU
/// has not survived.
#[test]
fn what_counts_of_a_driver_that_errs() {
    let verdict = |case, between| {
        run_alone(&trial(&format!("erring-tests/{case}"), between), &Settings::default()).verdict
    };
    assert!(matches!(verdict("wrong", None), Verdict::Failed(_)));
    assert_eq!(verdict("wrong", Some(Between::Fuzz)), Verdict::Passed);
    let died = verdict("deadly", Some(Between::Fuzz));
    assert!(matches!(died, Verdict::Crashed(_)), "{died:?}");
}
