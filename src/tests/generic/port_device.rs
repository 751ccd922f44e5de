//! What holds of every device with registers behind I/O ports, whatever it is; and a guest that
//! breaks the rules, after which QEMU must go on answering, also after a reset of the machine.

use std::rc::Rc;

use crate::drivers::generic::port_device::PortDevice;
use crate::qemu::Vm;
use crate::qemu::discovery::Space;
use crate::tests::generic::unknown::{Lures, Unknown};
use crate::{Result, tests};

tests!(PortDevice, "port-device-tests":
    read_every_width = "read",
    stable,
    write_reset = "write-reset",
    answers,
);

tests!(PortDevice, "port-device-attacks":
    fuzz_0 = "fuzz-0",
    fuzz_1 = "fuzz-1",
    fuzz_2 = "fuzz-2",
);

fn unknown<'d>(device: &'d PortDevice, vm: &'d Rc<Vm>) -> Unknown<'d> {
    let found = device.found();
    Unknown::of(vm, found.machine(), found, Space::Ports)
}

/// Would catch a device that ends QEMU, or makes it hang, when a guest reads a register with a
/// width or at an offset that its author did not think of.
fn read_every_width(device: &PortDevice, vm: &Rc<Vm>) -> Result<()> {
    unknown(device, vm).read_every_width()
}

/// Would catch a register whose value comes from memory that was never set, or that reading
/// corrupts.
fn stable(device: &PortDevice, vm: &Rc<Vm>) -> Result<()> {
    unknown(device, vm).stable()
}

/// Would catch a reset of the machine that forgets what a guest wrote to a register.
fn write_reset(device: &PortDevice, vm: &Rc<Vm>) -> Result<()> {
    unknown(device, vm).write_reset()
}

/// Would catch, where two builds are compared, a register that has another value after a reset,
/// keeps other bits, changes others with it or with time. By itself it fails only where QEMU
/// does not answer.
fn answers(device: &PortDevice, vm: &Rc<Vm>) -> Result<()> {
    unknown(device, vm).answers()
}

/// Would catch a device that does not survive what a guest writes to its registers, in the order
/// of the first seed.
fn fuzz_0(device: &PortDevice, vm: &Rc<Vm>) -> Result<()> {
    unknown(device, vm).attack(100, Lures::All)
}

/// Would catch a device that does not survive what a guest writes to its registers, in the order
/// of the second seed.
fn fuzz_1(device: &PortDevice, vm: &Rc<Vm>) -> Result<()> {
    unknown(device, vm).attack(101, Lures::All)
}

/// Would catch a device that does not survive what a guest writes to its registers, in the order
/// of the third seed.
fn fuzz_2(device: &PortDevice, vm: &Rc<Vm>) -> Result<()> {
    unknown(device, vm).attack(102, Lures::All)
}
