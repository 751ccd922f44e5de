//! The command buffer of AMD's IOMMU ("AMD I/O Virtualization Technology (IOMMU)
//! Specification", 48882, revision 3.00, 2.4), and how it is found.

use std::rc::Rc;

use super::amd_bench::{Bench, HERE, MAY, OFFSET};
use super::riscv_bench::Dma;
use crate::drivers::iommu::amd::words::{
    COMMAND_BASE, COMMAND_HEAD, COMMAND_TAIL, CONTROL, FORGET_DEVICE, STATUS, STORE, WAIT, control,
    event, status,
};
use crate::drivers::iommu::amd::{AmdLevels, RING, RING_SIZE, RUNNING};
use crate::qemu::{Buffer, Vm};
use crate::qos::iommu::Access;
use crate::qos::pci::{PciAddress, PciDevice, regs};
use crate::qos::registers::RegistersExt;
use crate::{Error, Result, tests};

tests!(AmdLevels, "amd-iommu-command-tests":
    capability,
    revision,
    ring_wraps = "wrap",
    ring_sizes = "lengths",
    ring_beyond = "beyond",
    commands_off = "off",
    illegal = "illegal",
    reserved = "reserved",
    commands_nowhere = "no-memory",
);

/// The PCI function of the IOMMU, and where its capability (3.2) is.
pub fn function(iommu: &AmdLevels) -> Result<(PciDevice, u16)> {
    for devfn in 0..=0xff_u8 {
        let Ok(found) = PciDevice::find(iommu.bus(), PciAddress::new(devfn >> 3, devfn & 7)) else {
            continue;
        };
        if found.config_read16(regs::REVISION_ID + 2)? != 0x0806 {
            continue;
        }
        let all = found.capabilities()?;
        let at = all.iter().find(|it| it.id == 0x0f).map(|it| it.offset);
        return at.map(|at| (found, at)).ok_or_else(|| {
            Error::failed(format!("an IOMMU without the capability 0xf: {all:x?}"))
        });
    }
    Err(Error::failed("no function on the root bus has the class of an IOMMU, 0806"))
}

/// Would catch an IOMMU that no driver finds: another class, no capability, or registers elsewhere than
/// that says (3.2.1 to 3.2.3).
fn capability(iommu: &AmdLevels, _: &Rc<Vm>) -> Result<()> {
    let (function, at) = function(iommu)?;
    let header = function.config_read32(at)?;
    assert_eq!(header >> 16 & 7, 3, "the type in the header {header:#x}");
    let low = function.config_read32(at + 4)?;
    let base = u64::from(function.config_read32(at + 8)?) << 32 | u64::from(low & !0x3fff);
    assert_eq!(Some(base), iommu.iommu().place(), "the base address");
    assert!(function.capabilities()?.iter().any(|it| it.id == 0x05), "no MSI");
    Ok(())
}

/// Would catch the capability of another revision, 0, which no IOMMU has had (3.2.1).
fn revision(iommu: &AmdLevels, _: &Rc<Vm>) -> Result<()> {
    let (function, at) = function(iommu)?;
    let header = function.config_read32(at)?;
    assert_eq!(header >> 19 & 0x1f, 1, "CapRev in the header {header:#x}");
    Ok(())
}

/// A wait that stores `number` at `to`.
fn wait(to: &Buffer, number: u64) -> [u64; 2] {
    [WAIT | STORE | to.address().0, number]
}

/// Would catch a head that does not say what was read: after every command, on whatever place of the
/// buffer.
fn ring_wraps(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu, vm)?;
    let to = vm.ram().alloc(8, 8)?;
    let registers = bench.live.registers();
    for number in 1..=600_u64 {
        bench.live.put(wait(&to, number))?;
        // One at a time, then three.
        if number < 300 || number % 3 == 0 {
            bench.live.run()?;
            assert_eq!(to.read_le64(0)?, number, "what wait {number} stores");
            let (head, tail) = (registers.get(COMMAND_HEAD)?, registers.get(COMMAND_TAIL)?);
            assert_eq!(tail, bench.live.tail(), "the tail after wait {number}");
            assert_eq!(head, tail, "the head after wait {number}");
        }
    }
    Ok(())
}

/// Would catch a buffer that ends elsewhere than its length says.
fn ring_sizes(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu, vm)?;
    let registers = bench.live.registers();
    for order in [8, 9, 10, 12, 15] {
        let entries = 1_u64 << order;
        let ring = vm.ram().alloc(16 << order, 4096)?;
        let to = vm.ram().alloc(8, 8)?;
        registers.set(CONTROL, RUNNING & !control::COMMANDS)?;
        registers.set(COMMAND_BASE, ring.address().0 | order << 56)?;
        registers.set(COMMAND_HEAD, 0)?;
        registers.set(COMMAND_TAIL, 0)?;
        registers.set(CONTROL, RUNNING)?;
        let at = |place: u64| 16 * (place % entries);
        for (place, number) in [(0, 1_u64), (entries - 1, 2), (entries, 3), (entries + 1, 4)] {
            let [low, high] = wait(&to, number);
            ring.write_le64(at(place) as usize, low)?;
            ring.write_le64(at(place) as usize + 8, high)?;
            if number == 2 {
                // In between there are waits that store nothing.
                for between in 1..entries - 1 {
                    ring.write_le64(at(between) as usize, WAIT)?;
                }
            }
            registers.set(COMMAND_TAIL, at(place + 1))?;
            assert_eq!(to.read_le64(0)?, number, "2^{order} commands: what wait {number} stores");
        }
    }
    Ok(())
}

/// Would catch a tail behind the end of the buffer that the IOMMU never reaches, or up to which it
/// takes other memory for commands: it must go on when it is set up anew.
fn ring_beyond(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    vm.hurry();
    for (register, name) in [(COMMAND_TAIL, "tail"), (COMMAND_HEAD, "head")] {
        for beyond in [RING_SIZE, RING_SIZE + 0x10, 0x4_0000, 0x7_fff0] {
            let bench = Bench::new(iommu, vm)?;
            bench.live.registers().set(register, beyond)?;
            // Whoever reads it makes sure that QEMU still answers.
            bench.live.registers().get(STATUS)?;
            bench.live.registers().set(CONTROL, 0)?;
            drop(bench);
            let bench = Bench::new(iommu, vm)?;
            let entry = bench.mapped(vm, bench.page(Access::BOTH) & MAY | 1)?;
            let what = format!("after a {name} of {beyond:#x}");
            bench.assert_done(entry, HERE + OFFSET, Dma::Write, &what)?;
        }
    }
    Ok(())
}

/// Would catch commands that are carried out while the buffer, or the IOMMU, is off, and that are lost
/// when it is on again.
fn commands_off(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu, vm)?;
    let registers = bench.live.registers();
    let to = vm.ram().alloc(8, 8)?;
    for (number, off) in [(1, control::COMMANDS), (2, control::IOMMU)] {
        registers.set(CONTROL, RUNNING & !off)?;
        let now = registers.get(STATUS)?;
        assert_eq!(now & status::COMMANDS, 0, "off by {off:#x}: CmdBufRun in {now:#x}");
        bench.live.put(wait(&to, number))?;
        bench.live.run()?;
        assert_eq!(to.read_le64(0)?, number - 1, "off by {off:#x}: what a wait stores");
        registers.set(CONTROL, RUNNING)?;
        let now = registers.get(STATUS)?;
        assert_eq!(now & status::COMMANDS, status::COMMANDS, "on: CmdBufRun in {now:#x}");
        assert_eq!(to.read_le64(0)?, number, "on after it was off by {off:#x}: what a wait stores");
    }
    Ok(())
}

/// Asserts that the IOMMU stops at this command with an event, and goes on with a good one in its
/// place (2.4, 2.5.6).
#[track_caller]
fn check_illegal(iommu: &AmdLevels, vm: &Rc<Vm>, words: [u64; 2], what: &str) -> Result<()> {
    let bench = Bench::new(iommu, vm)?;
    let registers = bench.live.registers();
    let to = vm.ram().alloc(8, 8)?;
    let tail = bench.live.tail();
    let at = bench.live.commands().address().0 + tail;
    bench.events()?;
    bench.live.put(words)?;
    bench.live.put(wait(&to, 1))?;
    bench.live.run()?;
    assert_eq!(bench.events()?, [[event::COMMAND << 60, at]], "{what}: events");
    let now = registers.get(STATUS)?;
    assert_eq!(now & status::COMMANDS, 0, "{what}: CmdBufRun in {now:#x}");
    assert_eq!(registers.get(COMMAND_HEAD)?, tail, "{what}: the head");
    assert_eq!(to.read_le64(0)?, 0, "{what}: what the next command stores");
    bench.live.commands().write_le64(tail as usize, WAIT)?;
    bench.live.commands().write_le64(tail as usize + 8, 0)?;
    registers.set(CONTROL, RUNNING & !control::COMMANDS)?;
    registers.set(CONTROL, RUNNING)?;
    assert_eq!(to.read_le64(0)?, 1, "{what}: what the next command stores after it is mended");
    Ok(())
}

/// Would catch a command that is none and is passed over in silence.
fn illegal(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    for code in [0_u64, 9, 0xa, 0xf] {
        check_illegal(iommu, vm, [code << 60, 0], &format!("command {code:#x}"))?;
    }
    Ok(())
}

/// Would catch bits of a command that mean nothing and are passed over.
fn reserved(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    check_illegal(iommu, vm, [WAIT | 1 << 52, 0], "a wait with bit 52")?;
    check_illegal(iommu, vm, [FORGET_DEVICE | 1 << 16, 0], "an entry to forget with bit 16")?;
    check_illegal(iommu, vm, [FORGET_DEVICE, 1], "an entry to forget with bit 64")
}

/// Would catch a buffer that is in no memory, and is read for ever, or not told (2.5.7).
fn commands_nowhere(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    vm.hurry();
    let bench = Bench::new(iommu, vm)?;
    let registers = bench.live.registers();
    bench.events()?;
    registers.set(CONTROL, RUNNING & !control::COMMANDS)?;
    registers.set(COMMAND_BASE, NOWHERE | RING << 56)?;
    registers.set(COMMAND_HEAD, 0)?;
    registers.set(COMMAND_TAIL, 0)?;
    registers.set(CONTROL, RUNNING)?;
    registers.set(COMMAND_TAIL, 0x20)?;
    let events = bench.events()?;
    assert_eq!(events.len(), 1, "events: {events:x?}");
    let [who, address] = events[0];
    assert_eq!(who >> 60, event::COMMAND_MEMORY, "the event {:x?}", events[0]);
    assert_eq!(address, NOWHERE, "the address in the event {:x?}", events[0]);
    let now = registers.get(STATUS)?;
    assert_eq!(now & status::COMMANDS, 0, "CmdBufRun in {now:#x}");
    Ok(())
}

/// Where no memory is.
pub const NOWHERE: u64 = 0x7f_ff00_0000;
