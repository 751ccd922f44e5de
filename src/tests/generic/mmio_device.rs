//! What holds of every device with registers in memory, whatever it is; and a guest that breaks
//! the rules, after which QEMU must go on answering, also after a reset of the machine.

use std::rc::Rc;

use crate::drivers::generic::mmio_device::MmioDevice;
use crate::qemu::Vm;
use crate::qemu::discovery::Space;
use crate::tests::generic::properties;
use crate::tests::generic::unknown::{Lures, Unknown};
use crate::{Result, tests};

tests!(MmioDevice, "mmio-device-tests":
    read_every_width = "read",
    stable,
    write_reset = "write-reset",
    answers,
    properties,
);

tests!(MmioDevice, "mmio-device-attacks":
    own_registers = "own-registers",
    fuzz_0 = "fuzz-0",
    fuzz_1 = "fuzz-1",
);

fn unknown<'d>(device: &'d MmioDevice, vm: &'d Rc<Vm>) -> Unknown<'d> {
    let found = device.found();
    Unknown::of(vm, found.machine(), found, Space::Memory)
}

/// Would catch a device that ends QEMU, or makes it hang, when a guest reads a register with a
/// width or at an offset that its author did not think of.
fn read_every_width(device: &MmioDevice, vm: &Rc<Vm>) -> Result<()> {
    unknown(device, vm).read_every_width()
}

/// Would catch a register whose value comes from memory that was never set, or that reading
/// corrupts.
fn stable(device: &MmioDevice, vm: &Rc<Vm>) -> Result<()> {
    unknown(device, vm).stable()
}

/// Would catch a reset of the machine that forgets what a guest wrote to a register.
fn write_reset(device: &MmioDevice, vm: &Rc<Vm>) -> Result<()> {
    unknown(device, vm).write_reset()
}

/// Would catch, where two builds are compared, a register that has another value after a reset,
/// keeps other bits, changes others with it or with time. By itself it fails only where QEMU
/// does not answer.
fn answers(device: &MmioDevice, vm: &Rc<Vm>) -> Result<()> {
    unknown(device, vm).answers()
}

/// Would catch a property that ends QEMU when it is looked at, or an error without words.
fn properties(device: &MmioDevice, vm: &Rc<Vm>) -> Result<()> {
    let machine = device.found().machine();
    let has_own_path =
        |path: &str| machine.device(path).is_some_and(|found| found.registers().next().is_some());
    properties::check(vm, &device.found().path, has_own_path)
}

/// Would catch a device that does not survive being told that its buffers and descriptors are
/// its own registers: an access of its own comes back to it while it is busy.
fn own_registers(device: &MmioDevice, vm: &Rc<Vm>) -> Result<()> {
    unknown(device, vm).attack(8, Lures::Own)
}

/// Would catch a device that does not survive what a guest writes to its registers, in the order
/// of the first seed.
fn fuzz_0(device: &MmioDevice, vm: &Rc<Vm>) -> Result<()> {
    unknown(device, vm).attack(100, Lures::All)
}

/// Would catch a device that does not survive what a guest writes to its registers, in the order
/// of the second seed.
fn fuzz_1(device: &MmioDevice, vm: &Rc<Vm>) -> Result<()> {
    unknown(device, vm).attack(101, Lures::All)
}
