//! Commands of NVMe on queues of the driver's own: what is refused, lists of pages, data that go
//! nowhere, and commands in flight (NVM Express 1.4, whose sections are cited).

use std::rc::Rc;

use super::nvme::{assert_status, enabled};
use super::nvme_queues::{UNTAKEN, read};
use crate::drivers::block::nvme::Nvme;
use crate::drivers::block::nvme::command::{Command, Completion, Pages, io, status};
use crate::drivers::block::nvme::controller::{Controller, identify};
use crate::drivers::block::nvme::disk::NAMESPACE;
use crate::drivers::block::nvme::registers::{self as regs};
use crate::graph::QemuArgs;
use crate::qemu::Vm;
use crate::qos::block::{DISK, PAGE, Piece};
use crate::qos::registers::RegistersExt;
use crate::qos::settle;
use crate::{Error, Result, tests};

// QEMU saves no controller with memory of its own.
tests!(Nvme, "nvme-tests": migrate;
    with QemuArgs::NONE.after("-set device.nvme0.cmb_size_mb=0 -set device.nvme0.pmrdev="));

tests!(Nvme, "nvme-queue-tests":
    opcodes,
    namespaces,
    compare,
    page_lists = "page-lists",
    page_lists_refused = "page-lists-refused",
    memory_refused = "memory-refused",
    reset_in_flight = "reset-in-flight",
    without_bus_master = "without-bus-master",
);

/// Would catch a command that nobody knows and that is done, in both kinds of queues.
fn opcodes(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let queue = controller.create(1, (4, 4), 0)?;
    let page = controller.page()?;
    for opcode in [0x03, 0x07, 0x0b, 0x7e, 0xc0, 0xff] {
        let what = format!("admin command {opcode:#x}");
        let command = Command::new(opcode, NAMESPACE).at(page.address().0);
        assert_status(controller.admin().run(&command, &what)?, status::INVALID_OPCODE, &what);
    }
    for opcode in [0x03, 0x0a, 0x79, 0x7e, 0x80, 0xff] {
        let what = format!("I/O command {opcode:#x}");
        let command = Command::new(opcode, NAMESPACE).at(page.address().0);
        assert_status(queue.run(&command, &what)?, status::INVALID_OPCODE, &what);
    }
    assert_eq!(page.to_vec()?, [0; PAGE], "memory that no command has written");
    Ok(())
}

/// Would catch data of one namespace that are read and written as another's, and a namespace that
/// is not there and takes commands.
fn namespaces(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let queue = controller.create(1, (4, 4), 0)?;
    let page = controller.page()?;
    page.write(0, &[0x77; PAGE])?;
    for opcode in [io::READ, io::WRITE, io::WRITE_ZEROES, io::COMPARE, io::DATASET_MANAGEMENT] {
        // The second could be there; the others cannot.
        for (namespace, expected) in [
            (2, status::INVALID_FIELD),
            (0, status::INVALID_NAMESPACE),
            (0x1_0000, status::INVALID_NAMESPACE),
        ] {
            let what = format!("command {opcode:#x} of namespace {namespace:#x}");
            let command = Command::transfer(opcode, namespace, 0, 1).at(page.address().0);
            assert_status(queue.run(&command, &what)?, expected, &what);
        }
    }
    let mut first = vec![0; 512];
    vm.read_image(DISK.name, 0, &mut first)?;
    assert_eq!(first, [0; 512], "the first block of the namespace there is");
    assert_eq!(page.to_vec()?, [0x77; PAGE], "the memory for the data");
    // A flush is of all namespaces, if it says so.
    let flush = queue.run(&Command::new(io::FLUSH, u32::MAX), "a flush of all")?;
    assert_status(flush, 0, "a flush of all");
    Ok(())
}

/// Would catch a comparison that finds what differs equal, or the reverse, and one that writes.
fn compare(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let queue = controller.create(1, (4, 4), 0)?;
    let page = controller.page()?;
    let data: Vec<u8> = (0..1024u32).map(|at| (at * 13 + at / 256) as u8).collect();
    vm.write_image(DISK.name, 20 * 512, &data)?;
    let command = Command::transfer(io::COMPARE, NAMESPACE, 20, 2).at(page.address().0);
    page.write(0, &data)?;
    assert_status(queue.run(&command, "equal")?, 0, "equal");
    for at in [0, 511, 512, 1023] {
        page.write(at, &[data[at] ^ 0x10])?;
        let completion = queue.run(&command, "different")?;
        // Whether it is of use to try again is the controller's word.
        let found = Completion { status: completion.status & !status::DNR, ..completion };
        assert_status(found, status::COMPARE, &format!("byte {at} differs"));
        page.write(at, &data[at..=at])?;
    }
    page.write(1024, &[1; 16])?;
    assert_status(queue.run(&command, "equal")?, 0, "equal, but for what is behind it");
    let past = Command::transfer(io::COMPARE, NAMESPACE, DISK.size / 512 - 1, 2);
    let completion = queue.run(&past.at(page.address().0), "past the end")?;
    assert_status(completion, status::LBA_RANGE, "past the end");
    Ok(())
}

/// Would catch a list of pages that is read from another place than where it begins, one that does
/// not go on where its last entry says, and a second page that is taken for a list (4.3).
fn page_lists(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let queue = controller.create(1, (4, 4), 0)?;
    let memory = vm.ram().alloc(24 * PAGE, PAGE as u64)?;
    let expected: Vec<u8> =
        (0..20 * PAGE).map(|at| (at * 7 + at / 512 * 3 + at / PAGE) as u8).collect();
    vm.write_image(DISK.name, 0, &expected)?;
    for (offset, blocks) in [(0, 160), (512, 160), (4092, 160), (4, 9), (0, 16), (2048, 12)] {
        for entries in [2, 3, 8, 19, 512] {
            let what = format!("{blocks} blocks at {offset}, {entries} entries in the first list");
            memory.write(0, &vec![0xa5; memory.len()])?;
            let piece = Piece::of(&memory, offset, blocks * 512);
            let pages = Pages::new(vm.ram(), &[piece], entries)?;
            let command = Command::transfer(io::READ, NAMESPACE, 0, blocks).pages(&pages);
            assert_status(queue.run(&command, &what)?, 0, &what);
            let found = memory.to_vec()?;
            assert!(found[..offset].iter().all(|byte| *byte == 0xa5), "{what}: before");
            let (data, behind) = found[offset..].split_at(blocks * 512);
            assert!(data == &expected[..blocks * 512], "{what}: the data");
            assert!(behind.iter().all(|byte| *byte == 0xa5), "{what}: behind");
        }
    }
    Ok(())
}

/// Would catch pages of a list that do not begin at a page and are taken (4.3).
fn page_lists_refused(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let queue = controller.create(1, (4, 4), 0)?;
    let memory = vm.ram().alloc(8 * PAGE, PAGE as u64)?;
    let list = controller.page()?;
    let at = |page: usize| memory.address().0 + (page * PAGE) as u64;
    let refused = |what: &str, blocks: usize, prp1: u64, prp2: u64| -> Result<()> {
        let command = Command::transfer(io::READ, NAMESPACE, 0, blocks);
        let completion = queue.run(&Command { prp1, prp2, ..command }, what)?;
        assert_status(completion, status::INVALID_PRP_OFFSET, what);
        assert_eq!(memory.to_vec()?, vec![0; memory.len()], "{what}: the memory");
        Ok(())
    };
    vm.write_image(DISK.name, 0, &[0x5a; 8 * PAGE])?;
    refused("a second page that begins behind its start", 16, at(0), at(1) + 8)?;
    for (entry, value) in [(0, at(1) + 4), (1, at(2) + 2048), (2, at(3) + 8)] {
        for (number, page) in [at(1), at(2), at(3)].into_iter().enumerate() {
            list.write_le64(8 * number, page)?;
        }
        list.write_le64(8 * entry, value)?;
        refused(&format!("entry {entry} of a list"), 32, at(0), list.address().0)?;
    }
    Ok(())
}

/// Would catch a command whose data or list is in no memory, and that is said to be done, or ends
/// QEMU; and a controller that is of no use afterwards.
fn memory_refused(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    /// No machine has RAM there.
    const NOWHERE: u64 = 0x00f0_0000_0000;
    let controller = enabled(nvme, vm)?;
    let queue = controller.create(1, (4, 4), 0)?;
    let page = controller.page()?;
    for opcode in [io::READ, io::WRITE] {
        let command = Command::transfer(opcode, NAMESPACE, 0, 32);
        for (what, prp1, prp2) in [
            ("data in no memory", NOWHERE, NOWHERE + PAGE as u64),
            ("a list in no memory", page.address().0, NOWHERE),
        ] {
            let completion = queue.run(&Command { prp1, prp2, ..command }, what)?;
            assert_ne!(completion.status, status::SUCCESS, "{what}, command {opcode}");
        }
    }
    assert_status(queue.run(&read(0, page.address().0), "a read")?, 0, "a read after that");
    controller.identify(1, 0).map(drop)
}

/// Would catch a reset in the middle of commands that leaves the controller busy, or commands that
/// write to guest memory after it (7.3.2).
fn reset_in_flight(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    vm.note_lasting(UNTAKEN);
    let memory = vm.ram().alloc(128 * PAGE, PAGE as u64)?;
    for round in 0..4 {
        let controller = enabled(nvme, vm)?;
        let queue = controller.create(1, (16, 16), 0)?;
        let mut lists = Vec::new();
        for part in 0..8 {
            let piece = Piece::of(&memory, part * 16 * PAGE, 16 * PAGE);
            let pages = Pages::new(vm.ram(), &[piece], 512)?;
            let opcode = if round % 2 == 0 { io::READ } else { io::WRITE };
            let first = (part * 128) as u64;
            queue.put(&Command::transfer(opcode, NAMESPACE, first, 128).pages(&pages))?;
            lists.push(pages);
        }
        queue.ring()?;
        Controller::disable(&nvme.plug.registers, vm)?;
        assert_eq!(nvme.plug.registers.get(regs::CSTS)?, 0, "CSTS, round {round}");
        settle(vm)?;
        memory.write(0, &vec![0xc3; memory.len()])?;
        let before = queue.completion().to_vec()?;
        settle(vm)?;
        assert!(memory.to_vec()?.iter().all(|byte| *byte == 0xc3), "data after a reset");
        assert_eq!(queue.completion().to_vec()?, before, "completions after a reset");
    }
    enabled(nvme, vm)?.identify(1, 0).map(drop)
}

/// Would catch a function that reads or writes memory while it is no bus master.
fn without_bus_master(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    use crate::qos::pci::regs::{COMMAND, COMMAND_MASTER};
    let controller = enabled(nvme, vm)?;
    let device = &nvme.plug.device;
    let page = controller.page()?;
    let command = device.config_read16(COMMAND)?;
    device.config_write16(COMMAND, command & !COMMAND_MASTER)?;
    controller.admin().put(&identify(1, 0).at(page.address().0))?;
    controller.admin().ring()?;
    settle(vm)?;
    assert_eq!(page.to_vec()?, [0; PAGE], "what Identify has told without bus master");
    assert!(!controller.admin().has_completion()?, "a completion without bus master");
    device.config_write16(COMMAND, command)?;
    drop(controller);
    enabled(nvme, vm)?.identify(1, 0).map(drop)
}

/// Would catch a queue, a feature or data that does not come along when the machine moves to another
/// QEMU, and a controller that is disabled there.
fn migrate(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let queue = controller.create(1, (4, 4), 0)?;
    let registers = &nvme.plug.registers;
    let state = || {
        Ok::<_, Error>((
            registers.get(regs::CC)?,
            registers.get(regs::AQA)?,
            registers.get(regs::ASQ)?,
            registers.get(regs::ACQ)?,
            registers.get(regs::CSTS)?,
        ))
    };
    let page = controller.page()?;
    let piece = |block: u64| page.write(0, &vec![0x40 + block as u8; PAGE]);
    let blocks = PAGE / 512;
    // Not a whole turn of the queues: their pointers are in the middle.
    for block in 0..5 {
        piece(block)?;
        let write = Command::transfer(io::WRITE, NAMESPACE, 8 * block, blocks);
        let write = write.at(page.address().0);
        assert_status(queue.run(&write, "a write")?, 0, "a write");
    }
    let (before, about) = (state()?, controller.identify(1, 0)?);
    vm.set_up_ends()?;
    // On the form of the path that resets the machine, the path begins anew instead.
    assert_eq!(state()?, before, "CC, AQA, ASQ, ACQ, CSTS");
    for block in 0..5 {
        page.write(0, &vec![0; PAGE])?;
        let read = Command::transfer(io::READ, NAMESPACE, 8 * block, blocks);
        let read = read.at(page.address().0);
        assert_status(queue.run(&read, "a read after the move")?, 0, "a read after the move");
        assert!(page.to_vec()? == vec![0x40 + block as u8; PAGE], "block {block} after the move");
    }
    assert!(controller.identify(1, 0)? == about, "Identify Controller after the move");
    controller.delete(queue)
}
