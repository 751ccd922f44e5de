//! A guest that breaks the rules of a network interface controller: rings and buffers where there
//! is no RAM, in the device's own registers, over each other, lengths that make no sense. Whatever
//! the device makes of it, QEMU answers, and after a reset the device is as any other.

use std::rc::Rc;

use super::bench::{Bench, into, out};
use crate::qemu::Vm;
use crate::qos::nic::{Attack, Events, RingNic};
use crate::{Result, tests};

tests!(dyn RingNic, "nic-attacks":
    rings_outside = "rings-outside",
    rings_in_registers = "rings-in-registers",
    rings_moved = "rings-moved",
    buffers_outside = "buffers-outside",
    buffers_in_registers = "buffers-in-registers",
    buffers_in_rings = "buffers-in-rings",
    no_length = "no-length",
    lengths,
);

/// Addresses where no machine has RAM, or none goes on.
const OUTSIDE: [u64; 4] = [0xffff_fff0, 0xffff_f000, 0xdead_0000, 0xffff_ffff_ffff_fff0];

/// Has the device work on what `attack` leaves, in both directions, and then resets it and asserts
/// that it works.
fn survive(bench: &Bench, nic: &dyn RingNic, attack: Attack, number: u8) -> Result<()> {
    nic.unmask(Events::ALL)?;
    nic.attack(attack)?;
    for length in [60, 1514] {
        bench.wire.send(&into(length, number))?;
        nic.send()?;
    }
    bench.let_frames_arrive()?;
    nic.reset(bench.vm)?;
    nic.start(bench.vm)?;
    bench.received_before(&into(300, number ^ 0x55), "frames before a reset")?;
    bench.sent_before(&out(301, number ^ 0xaa), "frames before a reset")?;
    bench.assert_reported_sent(1, "after a reset")?;
    bench.assert_sent(&[out(60, number), out(1514, number)], "after a reset")?;
    bench.assert_received(&[into(60, number), into(1514, number)], "after a reset")
}

/// Starts the device and lets it survive each of `attacks`.
fn survive_all(
    nic: &dyn RingNic,
    vm: &Rc<Vm>,
    attacks: impl IntoIterator<Item = Attack>,
) -> Result<()> {
    let bench = Bench::new(nic, vm)?;
    (0..).zip(attacks).try_for_each(|(number, attack)| survive(&bench, nic, attack, number))
}

/// Would catch a device that dies of descriptors it cannot read, or looks for them for ever.
fn rings_outside(nic: &dyn RingNic, vm: &Rc<Vm>) -> Result<()> {
    survive_all(nic, vm, OUTSIDE.map(Attack::Rings))
}

/// Would catch a device that writes its descriptors into its own registers and does not come back
/// from there.
fn rings_in_registers(nic: &dyn RingNic, vm: &Rc<Vm>) -> Result<()> {
    let base = nic.base();
    survive_all(nic, vm, [0, 0x10, 0x40, 0xf0].map(|offset| Attack::Rings(base + offset)))
}

/// Would catch a device that mixes an old and a new ring, or dies of both being one.
fn rings_moved(nic: &dyn RingNic, vm: &Rc<Vm>) -> Result<()> {
    // RAM of which each pattern looks like descriptors without end.
    let patterns = [0x00, 0xff, 0x80, 0xc0].map(|byte| {
        let ram = vm.ram().alloc(0x4000, 4096)?;
        ram.write(0, &[byte; 0x4000])?;
        Ok(ram)
    });
    let patterns = patterns.into_iter().collect::<Result<Vec<_>>>()?;
    let attacks = patterns.iter().map(|ram| Attack::Rings(ram.address().0 + 0x1000));
    survive_all(nic, vm, attacks)
}

/// Would catch a device that dies of a buffer that is not there.
fn buffers_outside(nic: &dyn RingNic, vm: &Rc<Vm>) -> Result<()> {
    survive_all(nic, vm, OUTSIDE.map(|at| Attack::Buffers { at, length: 1514 }))
}

/// Would catch a device that receives into its own registers and does not come back from there, or
/// dies of reading what it sends from them.
fn buffers_in_registers(nic: &dyn RingNic, vm: &Rc<Vm>) -> Result<()> {
    let base = nic.base();
    let attacks =
        [0, 0x10, 0x20, 0x40].map(|offset| Attack::Buffers { at: base + offset, length: 64 });
    survive_all(nic, vm, attacks)
}

/// Would catch a device that receives over the ring that it works on, and does not end.
fn buffers_in_rings(nic: &dyn RingNic, vm: &Rc<Vm>) -> Result<()> {
    let ram = vm.ram().alloc(0x4000, 4096)?;
    let attacks =
        [Attack::Rings(ram.address().0), Attack::Buffers { at: ram.address().0, length: 1514 }];
    survive_all(nic, vm, attacks)
}

/// Would catch a device that does not end with a frame of no bytes, or sends nothing after it.
fn no_length(nic: &dyn RingNic, vm: &Rc<Vm>) -> Result<()> {
    let ram = vm.ram().alloc(0x1000, 4096)?;
    survive_all(nic, vm, [Attack::Buffers { at: ram.address().0, length: 0 }])
}

/// Would catch lengths that are too many for what holds the frame.
fn lengths(nic: &dyn RingNic, vm: &Rc<Vm>) -> Result<()> {
    let ram = vm.ram().alloc(0x1_0000, 4096)?;
    let at = ram.address().0;
    let lengths = [1, 13, 1519, 2047, 2048, 4095, 9220, 0x3fff, 0xffff];
    survive_all(nic, vm, lengths.map(|length| Attack::Buffers { at, length }))
}
