//! What holds of every device with registers in memory, whatever it is: that no access to it
//! ends QEMU, that reading changes nothing by itself, that a reset of the machine undoes what a
//! guest wrote, and that its properties can be looked at. Nothing here knows a device; what is
//! known of some is in [`known`](super::known).

mod attacks;

use std::rc::Rc;

use crate::drivers::generic::mmio_device::MmioDevice;
use crate::protocol::Width;
use crate::qemu::Vm;
use crate::qos::reset_from_any_state;
use crate::qos::sweep::{Location, Sweep, read, write};
use crate::tests::generic::findings::Findings;
use crate::tests::generic::known::Device;
use crate::tests::generic::properties;
use crate::{Result, tests};

tests!(MmioDevice, "mmio-device-tests":
    read_every_width = "read",
    stable,
    write_reset = "write-reset",
    properties,
);

/// To how many registers of 32 and of 8 bits every bit is written alone.
const WALKED: usize = 128;

/// Would catch a device that ends QEMU, or makes it hang, when a guest reads a register with a
/// width or at an offset that its author did not think of: every register is read with every
/// width, aligned and not, and across the ends of the device.
fn read_every_width(device: &MmioDevice, vm: &Rc<Vm>) -> Result<()> {
    read(vm, &Sweep::of(device.found()).every_width())?;
    settle(vm)
}

/// Would catch a register whose value comes from memory that was never set, or that reading
/// corrupts: while no time passes, all registers are read three times, and the third time
/// reads what the second did. What the first reading cleared or took out is another value the
/// second time, rightly. Registers that change each time are in `known`.
fn stable(device: &MmioDevice, vm: &Rc<Vm>) -> Result<()> {
    let sweep = Sweep::of(device.found());
    let registers = sweep.registers();
    read(vm, &registers)?;
    let (second, third) = (read(vm, &registers)?, read(vm, &registers)?);
    let mut findings = Findings::new(&sweep);
    let known = known(device, &sweep);
    let read = registers.iter().zip(second.into_iter().zip(third));
    for (&location, (second, third)) in read {
        if second != third && !known.changes(location) {
            findings.add(location, format!("{second:#x}, then {third:#x}"));
        }
    }
    findings.into_result("read again while no time passes, registers have other values")
}

/// Would catch a reset of the machine that forgets a register of the device: every register is
/// written, with none, all, and each of its bits, and after a reset all read what they read
/// after a reset without that.
fn write_reset(device: &MmioDevice, vm: &Rc<Vm>) -> Result<()> {
    let sweep = Sweep::of(device.found());
    let registers = sweep.registers();
    let after_reset = || {
        reset_from_any_state(vm)?;
        read(vm, &registers)
    };
    // Two, to see what is not the same after every reset.
    let before = [after_reset()?, after_reset()?];
    write(vm, writes(&registers))?;
    settle(vm)?;
    let after = after_reset()?;
    let mut findings = Findings::new(&sweep);
    let known = known(device, &sweep);
    for (number, &location) in registers.iter().enumerate() {
        let ([first, second], now) = (before.each_ref().map(|it| it[number]), after[number]);
        if first == second && second != now && !known.keeps(location) {
            findings.add(location, format!("{second:#x} became {now:#x}"));
        }
    }
    findings.into_result("a reset does not undo what was written to registers")
}

/// Would catch a property that ends QEMU when it is looked at, or an error without words.
fn properties(device: &MmioDevice, vm: &Rc<Vm>) -> Result<()> {
    let machine = device.found().machine();
    let has_own_path =
        |path: &str| machine.device(path).is_some_and(|found| found.registers().next().is_some());
    properties::check(vm, &device.found().path, has_own_path)
}

/// What is known of the device.
fn known<'d>(device: &'d MmioDevice, sweep: &'d Sweep) -> Device<'d> {
    let found = device.found();
    Device { machine: found.machine(), found, sweep }
}

/// What is written to `registers`: zero, ones, and to some of them each bit alone. Ones come
/// last, so that a reset has something to do.
pub(in crate::tests) fn writes(registers: &[Location]) -> impl Iterator<Item = (Location, u64)> {
    [Width::Long, Width::Word, Width::Byte].into_iter().flat_map(move |width| {
        let walked = if width == Width::Word { 0 } else { WALKED };
        let of_width = registers.iter().filter(move |location| location.width == width);
        of_width.enumerate().flat_map(move |(number, &location)| {
            let bits = if number < walked { 8 * width.bytes() } else { 0 };
            let alone = (0..bits).map(|bit| 1 << bit);
            let values = [0].into_iter().chain(alone).chain([width.ones()]);
            values.map(move |value| (location, value))
        })
    })
}

/// Waits until QEMU has done what an access made it put off to its main loop.
fn settle(vm: &Vm) -> Result<()> {
    vm.qmp().execute("query-status", serde_json::Value::Null)?;
    Ok(())
}
