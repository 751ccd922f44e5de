//! A guest that breaks the rules, against any PCI device: whatever it does, QEMU must go on
//! answering, and after a reset of the machine the device must be there as it was.

use std::rc::Rc;
use std::time::Duration;

use vm_memory::GuestAddress;

use super::{query, widest};
use crate::drivers::pci::pci_card::PciCard;
use crate::qemu::Vm;
use crate::qos::fuzz::{Block, Fuzz};
use crate::qos::pci::config::EXPRESS;
use crate::qos::pci::{Bar, PciDevice, Space, msix, regs};
use crate::qos::registers::{Access, Width};
use crate::qos::reset_from_any_state;
use crate::{Error, Result, tests};

tests!(PciCard, "pci-card-attacks":
    config_space = "config-space",
    moved_bars = "moved-bars",
    no_bus_master = "no-bus-master",
    own_registers = "own-registers",
    wild_messages = "wild-messages",
    resets,
    fuzz_0 = "fuzz-0",
    fuzz_1 = "fuzz-1",
    fuzz_2 = "fuzz-2",
    fuzz_3 = "fuzz-3",
);

/// How many accesses one attack makes.
const ACCESSES: usize = 6000;
/// After how many accesses virtual time passes, so that timers run.
const BETWEEN: usize = 250;
/// How much virtual time passes.
const STEP: Duration = Duration::from_micros(50);
/// The memory that is full of what may be descriptors, in bytes.
const BAIT: usize = 64 << 10;

/// A device under attack.
struct Attack<'c> {
    card: &'c PciCard,
    vm: &'c Rc<Vm>,
    bars: Vec<(u8, Rc<Bar>)>,
    /// The address of the bait.
    bait: u64,
}

impl<'c> Attack<'c> {
    /// The device with all its BARs mapped, as a bus master.
    fn new(card: &'c PciCard, vm: &'c Rc<Vm>) -> Result<Self> {
        let ram = vm.ram().spec();
        let bait = (ram.base + ram.usable.0).next_multiple_of(BAIT as u64);
        Ok(Self { card, vm, bars: card.bars()?, bait })
    }

    /// The addresses of its BARs in memory.
    fn own(&self) -> Vec<u64> {
        let in_memory = self.bars.iter().filter(|(_, bar)| bar.space() == Space::Memory);
        in_memory.map(|(_, bar)| bar.address()).collect()
    }

    /// Addresses that it is told: those of the bait, and of its own registers.
    fn addresses(&self) -> Vec<u64> {
        let mut all = self.own();
        all.extend(vec![self.bait; 2 * all.len() + 2]);
        all
    }

    /// Fills the memory with what may be descriptors, in which addresses are of `addresses`.
    fn lay_bait(&self, seed: u64, addresses: Vec<u64>) -> Result<Vec<u8>> {
        let bytes = Fuzz::new(seed, addresses).bait(BAIT);
        self.vm.ram().write(GuestAddress(self.bait), &bytes)?;
        Ok(bytes)
    }

    fn blocks(&self) -> Vec<Block<'_>> {
        let bus = self.card.device().bus();
        let block = |(_, bar): &(u8, Rc<Bar>)| Block {
            space: bus.space(bar.space()),
            base: bar.address(),
            size: bar.size(),
            widest: widest(bar.space()),
        };
        self.bars.iter().map(block).collect()
    }

    /// Makes `count` accesses to its registers, while virtual time passes.
    fn fuzz(&self, fuzz: &mut Fuzz, count: usize) -> Result<()> {
        let blocks = self.blocks();
        if blocks.is_empty() {
            return Err(Error::skipped("the device has no registers here"));
        }
        for _ in 0..count / BETWEEN {
            fuzz.run(&blocks, BETWEEN)?;
            self.vm.qtest().clock_step(Some(STEP))?;
        }
        query(self.vm)
    }

    /// Resets the machine, and makes sure that the device is there as it was.
    fn end(self) -> Result<()> {
        let Self { card, vm, bars, .. } = self;
        // What is mapped is so no longer.
        drop(bars);
        let device = card.device();
        reset_from_any_state(vm)?;
        device.bus().reopen()?;
        let ids = PciDevice::find(device.bus(), device.address())?.ids();
        assert_eq!(ids, device.ids(), "vendor and device after a reset of the machine");
        card.bars()?;
        query(vm)
    }
}

/// Would catch a device that does not survive an access to its configuration space: every byte
/// is read in every width, aligned and not, and written with none, all, and each of its bits.
fn config_space(card: &PciCard, vm: &Rc<Vm>) -> Result<()> {
    let attack = Attack::new(card, vm)?;
    let (bus, at) = (card.device().bus(), card.device().address());
    let is_large = bus.config_read(at, 0x100, Width::Long).is_ok();
    let size: u16 = if is_large { 0x400 } else { 0x100 };
    let widths = [Width::Byte, Width::Word, Width::Long];
    for width in widths {
        for register in 0..=size - width.bytes() as u16 {
            bus.config_read(at, register, width)?;
        }
    }
    for width in widths {
        for register in (0..size).step_by(width.bytes()) {
            let bits = if width == Width::Long { 32 } else { 0 };
            let alone = (0..bits).map(|bit| 1u32 << bit);
            for value in [0].into_iter().chain(alone).chain([width.ones() as u32]) {
                bus.config_write(at, register, width, value)?;
            }
        }
    }
    query(vm)?;
    attack.end()
}

/// Would catch a device, or QEMU's memory map, that does not survive BARs over each other, over
/// RAM and at the ends of the address space, and decoding that is switched while they are used.
fn moved_bars(card: &PciCard, vm: &Rc<Vm>) -> Result<()> {
    let attack = Attack::new(card, vm)?;
    let (device, bus) = (card.device(), card.device().bus());
    let ram = vm.ram().spec().base;
    let mut places = vec![0, ram, 0xfee0_0000, 0xffff_f000, !0xfff, 1 << 32];
    places.extend(attack.own());
    let decode = device.config_read16(regs::COMMAND)?;
    for &place in &places {
        for (number, bar) in &attack.bars {
            let register = regs::BASE_ADDRESS_0 + 4 * u16::from(*number);
            let is_64 = device.bar_size(*number)?.is_some_and(|size| size.is_64);
            device.config_write32(register, place as u32)?;
            if is_64 {
                device.config_write32(register + 4, (place >> 32) as u32)?;
            }
            let space = bus.space(bar.space());
            let mask = if bar.space() == Space::Io { 0xffff } else { u64::MAX };
            let at = place & (bar.size().wrapping_neg()) & mask;
            for on in [true, false, true] {
                let off = decode & !(regs::COMMAND_IO | regs::COMMAND_MEMORY);
                device.config_write16(regs::COMMAND, if on { decode } else { off })?;
                space.sequence(&[
                    Access::Read(at, Width::Long),
                    Access::Write(at, Width::Long, 0),
                    Access::Read(at.wrapping_add(4), Width::Byte),
                ])?;
            }
        }
    }
    query(vm)?;
    attack.end()
}

/// Would catch a device that writes to memory although it is no bus master (PCI 3.0, 6.2.2):
/// whatever is written to its registers, RAM stays as it was.
fn no_bus_master(card: &PciCard, vm: &Rc<Vm>) -> Result<()> {
    card.device().bus().reaches_ram()?;
    let attack = Attack::new(card, vm)?;
    let command = card.device().config_read16(regs::COMMAND)?;
    card.device().config_write16(regs::COMMAND, command & !regs::COMMAND_MASTER)?;
    let before = attack.lay_bait(5, attack.addresses())?;
    attack.fuzz(&mut Fuzz::new(6, vec![attack.bait]), ACCESSES)?;
    let mut after = vec![0; before.len()];
    vm.ram().read(GuestAddress(attack.bait), &mut after)?;
    let changed = before.iter().zip(&after).position(|(before, after)| before != after);
    let changed = changed.map(|at| format!("{:#x}", attack.bait + at as u64));
    assert_eq!(changed, None, "memory that a device wrote although it is no bus master");
    attack.end()
}

/// Would catch a device that does not survive being told that its buffers and descriptors are
/// its own registers: an access of its own comes back to it while it is busy.
fn own_registers(card: &PciCard, vm: &Rc<Vm>) -> Result<()> {
    let attack = Attack::new(card, vm)?;
    let own = attack.own();
    if own.is_empty() {
        return Err(Error::skipped("the device has no registers in memory here"));
    }
    attack.lay_bait(7, own.clone())?;
    attack.fuzz(&mut Fuzz::new(8, attack.addresses()), ACCESSES / 2)?;
    attack.fuzz(&mut Fuzz::new(9, own), ACCESSES / 2)?;
    attack.end()
}

/// Would catch a device that does not survive messages to anywhere: every entry of its MSI-X
/// table is unmasked with the address of its own registers, of RAM or of nothing, and so is MSI
/// (PCI 3.0, 6.8).
fn wild_messages(card: &PciCard, vm: &Rc<Vm>) -> Result<()> {
    const MSI: u8 = 0x05;
    let (attack, device) = (Attack::new(card, vm)?, card.device());
    let mut fuzz = Fuzz::new(10, attack.addresses());
    let mut has_messages = false;
    for capability in device.capabilities()? {
        let at = capability.offset;
        if capability.id == MSI {
            for register in [4, 8, 12] {
                device.config_write32(at + register, fuzz.value() as u32)?;
            }
            device.config_write16(at + 2, 0x71)?;
        } else if capability.id == msix::CAPABILITY {
            let control = device.config_read16(at + 2)?;
            let table = device.config_read32(at + 4)?;
            let bar = attack.bars.iter().find(|(number, _)| u32::from(*number) == table & 7);
            let Some((_, bar)) = bar else { continue };
            let base = bar.address() + u64::from(table & !7);
            let words = 4 * (u64::from(control & 0x7ff) + 1);
            let word = |number: u64| match number % 4 {
                3 => 0,
                _ => fuzz.value() & 0xffff_ffff,
            };
            let values: Vec<u64> = (0..words).map(word).collect();
            let write =
                |(number, value): (u64, u64)| Access::Write(base + 4 * number, Width::Long, value);
            let accesses: Vec<Access> = (0..).zip(values).map(write).collect();
            device.bus().space(bar.space()).sequence(&accesses)?;
            device.config_write16(at + 2, 0x8000)?;
        } else {
            continue;
        }
        has_messages = true;
    }
    if !has_messages {
        return Err(Error::skipped("the device has neither MSI nor MSI-X here"));
    }
    attack.lay_bait(11, attack.addresses())?;
    attack.fuzz(&mut fuzz, ACCESSES / 2)?;
    attack.end()
}

/// Would catch a device that does not survive a reset while it is busy, or what was pending then:
/// of the function, by its power state, and of the machine.
fn resets(card: &PciCard, vm: &Rc<Vm>) -> Result<()> {
    let device = card.device();
    let capabilities = device.capabilities()?;
    let find = |id: u8| capabilities.iter().find(|it| it.id == id).map(|it| it.offset);
    let (express, power) = (find(EXPRESS), find(regs::CAPABILITY_POWER_MANAGEMENT));
    for round in 0..8 {
        let attack = Attack::new(card, vm)?;
        attack.lay_bait(12 + round, attack.addresses())?;
        let mut fuzz = Fuzz::new(30 + round, attack.addresses());
        attack.fuzz(&mut fuzz, 500)?;
        if let Some(at) = express {
            // Device Control: Initiate Function Level Reset (PCI Express 3.0, 7.8.4).
            let control = device.config_read16(at + 8)?;
            device.config_write16(at + 8, control | 1 << 15)?;
            attack.fuzz(&mut fuzz, 250)?;
            device.enable()?;
        }
        if let Some(at) = power {
            // PMCSR: D3hot, and back (PCI Power Management 1.2, 3.2.4).
            for state in [3, 0] {
                device.config_write16(at + 4, state)?;
                attack.fuzz(&mut fuzz, 250)?;
            }
        }
        attack.end()?;
    }
    Ok(())
}

fn fuzz(card: &PciCard, vm: &Rc<Vm>, seed: u64) -> Result<()> {
    let attack = Attack::new(card, vm)?;
    attack.lay_bait(seed + 1000, attack.addresses())?;
    attack.fuzz(&mut Fuzz::new(seed, attack.addresses()), ACCESSES)?;
    attack.end()
}

/// Would catch a device that does not survive what a guest writes to its registers, in the order
/// of the first seed.
fn fuzz_0(card: &PciCard, vm: &Rc<Vm>) -> Result<()> {
    fuzz(card, vm, 100)
}

/// Would catch what [`fuzz_0`] would, in the order of another seed.
fn fuzz_1(card: &PciCard, vm: &Rc<Vm>) -> Result<()> {
    fuzz(card, vm, 101)
}

/// Would catch what [`fuzz_0`] would, in the order of another seed.
fn fuzz_2(card: &PciCard, vm: &Rc<Vm>) -> Result<()> {
    fuzz(card, vm, 102)
}

/// Would catch what [`fuzz_0`] would, in the order of another seed.
fn fuzz_3(card: &PciCard, vm: &Rc<Vm>) -> Result<()> {
    fuzz(card, vm, 103)
}
