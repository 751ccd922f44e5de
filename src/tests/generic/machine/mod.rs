//! What holds of every machine, whichever it is: its RAM keeps what is written, its monitors
//! answer what takes no argument, it stops, goes on, is reset and quits. Nothing here knows a
//! machine.

mod monitor;
mod ram;

use std::rc::Rc;

use serde_json::Value;

use crate::drivers::generic::machine::{AnyMachine, FirstBoot};
use crate::qemu::Vm;
use crate::qemu::discovery::Space;
use crate::qos::registers::Mmio;
use crate::qos::sweep::{self, Sweep};
use crate::qos::{reset, reset_from_any_state};
use crate::tests::generic::known::Device;
use crate::{Error, Result, tests};

tests!(AnyMachine, "machine-tests":
    ram,
    queries,
    infos = "info",
    stop_and_go_on = "stop-cont",
    system_reset = "system-reset",
    quit,
);

tests!(FirstBoot, "first-boot-tests":
    reset_restores = "reset",
);

/// Would catch RAM that is not where the machine says, whose ends are something else, or that
/// loses, mixes or doubles bytes.
fn ram(machine: &AnyMachine, vm: &Rc<Vm>) -> Result<()> {
    ram::check(machine.description(), vm)
}

/// Would catch a QMP command that only asks, and ends QEMU on this machine, hangs, or fails
/// without words.
fn queries(_: &AnyMachine, vm: &Rc<Vm>) -> Result<()> {
    monitor::queries(vm)
}

/// Would catch a command of the human monitor that only tells, and ends QEMU on this machine
/// or hangs.
fn infos(_: &AnyMachine, vm: &Rc<Vm>) -> Result<()> {
    monitor::infos(vm)
}

/// Would catch a machine that does not stop, or does not go on, or says that it did not.
fn stop_and_go_on(_: &AnyMachine, vm: &Rc<Vm>) -> Result<()> {
    assert_state(vm, "running")?;
    for (command, event, state) in [("stop", "STOP", "paused"), ("cont", "RESUME", "running")] {
        vm.qmp().execute(command, Value::Null)?;
        vm.qmp().wait_event(event)?;
        assert_state(vm, state)?;
    }
    Ok(())
}

/// Would catch a machine that does not survive being reset, again and again, stopped or not,
/// or does not say that it was reset.
fn system_reset(_: &AnyMachine, vm: &Rc<Vm>) -> Result<()> {
    for _ in 0..3 {
        reset(vm)?;
        assert_state(vm, "running")?;
    }
    vm.qmp().execute("stop", Value::Null)?;
    reset(vm)?;
    let state = vm.qmp().execute("query-status", Value::Null)?;
    if state["running"] != false {
        return Err(Error::failed(format!("it was stopped, and a reset made it {state}")));
    }
    vm.qmp().execute("cont", Value::Null)?;
    assert_state(vm, "running")
}

/// Would catch a machine whose QEMU does not end well when it is told to quit: that is looked
/// at after the last path on each QEMU, which this one makes itself.
fn quit(_: &AnyMachine, vm: &Rc<Vm>) -> Result<()> {
    vm.note_lasting("the end, which is to be looked at");
    Ok(())
}

/// Would catch a device whose reset does not bring back what it had when the machine started:
/// the registers of every device are read at the first boot, and after a reset.
fn reset_restores(machine: &FirstBoot, vm: &Rc<Vm>) -> Result<()> {
    let devices = machine.description().devices.iter();
    let sweeps: Vec<_> = devices.map(|device| (device, Sweep::of(device, Space::Memory))).collect();
    let registers: Vec<_> = sweeps.iter().map(|(_, sweep)| sweep.registers()).collect();
    let memory = Mmio::new(vm, 0, vm.endian()?);
    let read = || -> Result<Vec<Vec<u64>>> {
        registers.iter().map(|registers| sweep::read(&memory, registers)).collect()
    };
    let again = || {
        reset_from_any_state(vm)?;
        read()
    };
    // A third, to see what is not the same after every reset.
    let (first, second, third) = (read()?, again()?, again()?);
    let mut wrong = Vec::new();
    for (number, (device, sweep)) in sweeps.iter().enumerate() {
        let known = Device { machine: machine.description(), found: device, sweep };
        let values = first[number].iter().zip(second[number].iter().zip(&third[number]));
        let changed =
            registers[number].iter().zip(values).find(|(at, (first, (second, third)))| {
                second == third && first != second && !known.keeps(**at) && !known.changes(**at)
            });
        if let Some((location, (first, (second, _)))) = changed {
            let at = sweep.name(location.address);
            wrong.push(format!(
                "{} ({}), {at}: {first:#x}, then {second:#x}",
                device.path, device.ty
            ));
        }
    }
    match wrong.len() {
        0 => Ok(()),
        count => Err(Error::failed(format!(
            "after a reset, devices are not as at the first boot, {count} in all: {}",
            wrong.join("; ")
        ))),
    }
}

fn assert_state(vm: &Vm, wanted: &str) -> Result<()> {
    let state = vm.qmp().execute("query-status", Value::Null)?;
    if state["status"] != wanted || state["running"] != (wanted == "running") {
        return Err(Error::failed(format!("it should be {wanted}, and is {state}")));
    }
    Ok(())
}
