//! What holds of the registers of every device that a user plugs into the ISA bus, and a guest that
//! breaks the rules, after which QEMU must go on answering, also after a reset of the machine.

use std::rc::Rc;

use crate::drivers::generic::isa_card::IsaCard;
use crate::qemu::Vm;
use crate::qemu::discovery::{Region, Space};
use crate::qos::sweep::Sweep;
use crate::tests::generic::unknown::{Lures, Unknown};
use crate::{Error, Result, tests};

tests!(IsaCard, "isa-card-tests":
    read_every_width = "read",
    stable,
    write_reset = "write-reset",
    answers,
);

tests!(IsaCard, "isa-card-attacks":
    fuzz_0 = "fuzz-0",
    fuzz_1 = "fuzz-1",
    fuzz_2 = "fuzz-2",
);

/// Does this with the device's registers, those in memory and those behind ports.
fn each(card: &IsaCard, vm: &Rc<Vm>, act: impl Fn(&Unknown) -> Result<()>) -> Result<()> {
    let regions = card.registers()?;
    if regions.is_empty() {
        return Err(Error::skipped("the device has no registers of its own"));
    }
    for space in [Space::Ports, Space::Memory] {
        let own = regions.iter().filter(|region| region.space == space);
        let own: Vec<Region> = own.cloned().collect();
        if !own.is_empty() {
            act(&Unknown::plugged(vm, card.ty(), space, Sweep::of_regions(own)))?;
        }
    }
    Ok(())
}

/// Would catch a device that ends QEMU, or makes it hang, when a guest reads a register with a
/// width or at an offset that its author did not think of.
fn read_every_width(card: &IsaCard, vm: &Rc<Vm>) -> Result<()> {
    each(card, vm, |registers| registers.read_every_width())
}

/// Would catch a register whose value comes from memory that was never set, or that reading
/// corrupts.
fn stable(card: &IsaCard, vm: &Rc<Vm>) -> Result<()> {
    each(card, vm, |registers| registers.stable())
}

/// Would catch a reset of the machine that forgets what a guest wrote to a register.
fn write_reset(card: &IsaCard, vm: &Rc<Vm>) -> Result<()> {
    each(card, vm, |registers| registers.write_reset())
}

/// Would catch, where two builds are compared, a register that has another value after a reset,
/// keeps other bits, changes others with it or with time. By itself it fails only where QEMU
/// does not answer.
fn answers(card: &IsaCard, vm: &Rc<Vm>) -> Result<()> {
    each(card, vm, |registers| registers.answers())
}

/// Would catch a device that does not survive what a guest writes to its registers, in the order
/// of the first seed.
fn fuzz_0(card: &IsaCard, vm: &Rc<Vm>) -> Result<()> {
    each(card, vm, |registers| registers.attack(100, Lures::All))
}

/// Would catch a device that does not survive what a guest writes to its registers, in the order
/// of the second seed.
fn fuzz_1(card: &IsaCard, vm: &Rc<Vm>) -> Result<()> {
    each(card, vm, |registers| registers.attack(101, Lures::All))
}

/// Would catch a device that does not survive what a guest writes to its registers, in the order
/// of the third seed.
fn fuzz_2(card: &IsaCard, vm: &Rc<Vm>) -> Result<()> {
    each(card, vm, |registers| registers.attack(102, Lures::All))
}
