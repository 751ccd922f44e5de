//! A guest that breaks the rules, against any device with registers in memory: whatever it
//! writes, QEMU must go on answering, also after a reset of the machine.

use std::rc::Rc;
use std::time::Duration;

use vm_memory::GuestAddress;

use super::settle;
use crate::drivers::generic::mmio_device::MmioDevice;
use crate::protocol::{Endian, Width};
use crate::qemu::Vm;
use crate::qemu::discovery::Piece;
use crate::qos::fuzz::{Block, Fuzz};
use crate::qos::registers::Mmio;
use crate::qos::reset_from_any_state;
use crate::{Result, tests};

tests!(MmioDevice, "mmio-device-attacks":
    own_registers = "own-registers",
    fuzz_0 = "fuzz-0",
    fuzz_1 = "fuzz-1",
);

/// How many accesses one attack makes.
const ACCESSES: usize = 2000;
/// After how many accesses virtual time passes, so that timers run.
const BETWEEN: usize = 250;
/// How much virtual time passes.
const STEP: Duration = Duration::from_micros(50);
/// The memory that is full of what may be descriptors, in bytes.
const BAIT: u64 = 64 << 10;

/// Where the bait is: in RAM that tests may use, if the machine has some.
fn bait(vm: &Vm) -> Option<u64> {
    let ram = vm.ram().spec();
    let start = (ram.base + ram.usable.0).next_multiple_of(BAIT);
    (start + BAIT <= ram.base + ram.usable.1).then_some(start)
}

/// Makes accesses to all registers of the device as `seed` chooses them. Descriptors in memory
/// hold addresses of the device itself, and of memory unless `only_own`.
fn attack(device: &MmioDevice, vm: &Rc<Vm>, seed: u64, only_own: bool) -> Result<()> {
    let found = device.found();
    let space = Mmio::new(vm, 0, Endian::Little);
    let pieces = found.registers().flat_map(|region| {
        let piece = |it: &Piece| (region.address(it.offset), it.last - it.offset);
        region.pieces.iter().map(piece)
    });
    // A piece that ends with the address space is one byte shorter.
    let blocks: Vec<Block> = pieces
        .map(|(base, last)| Block {
            space: &space,
            base,
            size: last.saturating_add(1).min(u64::MAX - base),
            widest: Width::Quad,
        })
        .filter(|block| block.size > 0)
        .collect();
    let own: Vec<u64> = blocks.iter().map(|block| block.base).collect();
    let mut all = own.clone();
    if let Some(bait) = bait(vm) {
        all.extend(vec![bait; own.len() + 1]);
        let held = if only_own { own } else { all.clone() };
        let bytes = Fuzz::new(seed + 1000, held).bait(BAIT as usize);
        vm.ram().write(GuestAddress(bait), &bytes)?;
    }
    let mut fuzz = Fuzz::new(seed, all);
    for _ in 0..ACCESSES / BETWEEN {
        fuzz.run(&blocks, BETWEEN)?;
        vm.qtest().clock_step(Some(STEP))?;
    }
    settle(vm)?;
    reset_from_any_state(vm)?;
    settle(vm)
}

/// Would catch a device that does not survive being told that its buffers and descriptors are
/// its own registers: an access of its own comes back to it while it is busy.
fn own_registers(device: &MmioDevice, vm: &Rc<Vm>) -> Result<()> {
    attack(device, vm, 8, true)
}

/// Would catch a device that does not survive what a guest writes to its registers, in the order
/// of the first seed.
fn fuzz_0(device: &MmioDevice, vm: &Rc<Vm>) -> Result<()> {
    attack(device, vm, 100, false)
}

/// Would catch what [`fuzz_0`] would, in the order of another seed.
fn fuzz_1(device: &MmioDevice, vm: &Rc<Vm>) -> Result<()> {
    attack(device, vm, 101, false)
}
