//! NVMe controllers: identity, features, both memories, interrupts, shutting down (NVM Express
//! 1.4, whose sections are cited).

use std::cell::RefCell;
use std::rc::Rc;

use super::nvme_queues::{UNTAKEN, msix};
use crate::drivers::block::nvme::command::{Command, Completion, admin, io, status};
use crate::drivers::block::nvme::controller::Controller;
use crate::drivers::block::nvme::disk::{NAMESPACE, number, text};
use crate::drivers::block::nvme::registers::{self as regs};
use crate::drivers::block::nvme::{
    MEMORY_BUFFER, MEMORY_BUFFER_BAR, Nvme, PERSISTENT, PERSISTENT_BAR,
};
use crate::qemu::Vm;
use crate::qos::block::{DISK, PAGE, SERIAL};
use crate::qos::pci::{Space, intx};
use crate::qos::registers::{RegistersExt, Width};
use crate::qos::{reset, wait_until};
use crate::tests::pci::messages;
use crate::{Error, Result, attacks, tests};

tests!(Nvme, "nvme-tests":
    reg_read = "reg-read",
    oob_cmb_access = "oob-cmb-access",
    pmr_test_access = "pmr-test-access",
    identify,
    lists,
    features,
    features_refused = "features-refused",
    log_pages = "log-pages",
    shutdown,
    enable_refused = "enable-refused",
    interrupt_line = "interrupt-line",
    interrupt_mask = "interrupt-mask",
    messages_of_queues = "messages",
);
attacks!(Nvme, "nvme-attacks": identify, features);

/// The controller, enabled. Skipped where it does not reach RAM.
pub(super) fn enabled(nvme: &Nvme, vm: &Rc<Vm>) -> Result<Controller> {
    nvme.plug.device.bus().reaches_ram()?;
    Controller::enable(&nvme.plug.registers, vm)
}

/// Asserts how a command ends: with `status`, and a result of zero.
#[track_caller]
pub(super) fn assert_status(completion: Completion, expected: u16, what: &str) {
    assert_eq!((completion.status, completion.result), (expected, 0), "{what}: {completion:x?}");
}

/// Would catch a register of 64 bits that reads otherwise in its two halves, and capabilities
/// that a controller with both memories does not have.
fn reg_read(nvme: &Nvme, _: &Rc<Vm>) -> Result<()> {
    let registers = &nvme.plug.registers;
    let cap = registers.get(regs::CAP)?;
    let halves = (registers.read32(0)?, registers.read32(4)?);
    assert_eq!(halves, (cap as u32, (cap >> 32) as u32), "CAP in halves, {cap:#x} as a whole");
    assert_eq!(cap & 0xffff, 0x7ff, "CAP.MQES: {cap:#x}");
    assert_eq!(cap >> 32 & 0xf, 0, "CAP.DSTRD: doorbells are four bytes apart: {cap:#x}");
    assert_eq!(cap >> 37 & 1, 1, "CAP.CSS: the NVM command set: {cap:#x}");
    assert_eq!(cap >> 48 & 0xff, 0x40, "CAP.MPSMIN, CAP.MPSMAX: {cap:#x}");
    assert_eq!(cap >> 56, (regs::CAP_CMBS | regs::CAP_PMRS) >> 56, "CAP, both memories: {cap:#x}");
    for offset in [0x1c, 0x14, 0x0c] {
        assert_eq!(registers.read32(offset)?, 0, "register {offset:#x} of a disabled controller");
    }
    // Doorbells cannot be read (3.1.25); the controller is alive afterwards.
    registers.read32(regs::DOORBELLS)?;
    assert_eq!(registers.get(regs::CAP)?, cap, "CAP again");
    Ok(())
}

/// Would catch a controller memory buffer that takes accesses past its end, or loses or moves what
/// is written, and one that is told of although CMBMSC does not say so (3.1.16).
fn oob_cmb_access(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let registers = &nvme.plug.registers;
    assert_eq!(registers.get(regs::CMBSZ)?, 0, "CMBSZ while CMBMSC.CRE is clear");
    registers.set(regs::CMBMSC, regs::CMBMSC_CRE)?;
    // Of 2 times 1 MiB: submission queues, lists, data in both directions.
    assert_eq!(registers.get(regs::CMBSZ)?, 2 << 12 | 2 << 8 | 0b11101, "CMBSZ");
    let location = registers.get(regs::CMBLOC)?;
    assert_eq!(location & 7, u32::from(MEMORY_BUFFER_BAR), "CMBLOC.BIR: {location:#x}");
    assert_eq!(location >> 12, 0, "CMBLOC.OFST: {location:#x}");

    let memory = nvme.plug.device.map_bar(MEMORY_BUFFER_BAR)?;
    let at = (memory.space(), memory.size());
    assert_eq!(at, (Space::Memory, MEMORY_BUFFER), "where the controller memory buffer is");
    let end = memory.size();
    for (offset, value) in [(0, 0x1122_3344), (end - 4, 0xaabb_ccdd), (end / 2, 0x5566_7788)] {
        memory.write32(offset, value)?;
        assert_eq!(memory.read32(offset)?, value, "at {offset:#x}");
    }
    assert_eq!(memory.read32(0)?, 0x1122_3344, "at 0, after others were written");
    memory.write8(end - 1, 0x11)?;
    assert_eq!(memory.read8(end - 1)?, 0x11, "the last byte");
    assert_eq!(memory.read32(end - 4)?, 0x11bb_ccdd, "the last four bytes");
    // An access that begins in the buffer and ends behind it, and others behind it.
    let beyond = nvme.plug.device.bus().space(Space::Memory);
    for offset in [end - 3, end - 1, end, end + 0x1000] {
        beyond.write(memory.address() + offset, Width::Long, 0x99)?;
        beyond.read(memory.address() + offset, Width::Long)?;
    }
    assert_eq!(memory.read32(0)?, 0x1122_3344, "at 0, after accesses past the end");
    registers.set(regs::CMBMSC, 0)?;
    assert_eq!((registers.get(regs::CMBSZ)?, registers.get(regs::CMBLOC)?), (0, 0), "disabled");
    assert_eq!(registers.get(regs::VS)? >> 16, 1, "VS after all that");
    command_from_buffer(nvme, vm)
}

/// Data of a command that is in the controller memory buffer, at an address of the guest's choice.
fn command_from_buffer(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    /// An address that is no RAM's; where the buffer is for commands.
    const BASE: u64 = 0x40_0000_0000;
    let controller = enabled(nvme, vm)?;
    let queue = controller.create(1, (4, 4), 0)?;
    let registers = &nvme.plug.registers;
    let memory = nvme.plug.device.map_bar(MEMORY_BUFFER_BAR)?;
    registers.write32(regs::CMBMSC.offset() + 4, (BASE >> 32) as u32)?;
    let how = regs::CMBMSC_CRE | regs::CMBMSC_CMSE;
    registers.write32(regs::CMBMSC.offset(), BASE as u32 | how as u32)?;
    assert_eq!(registers.get(regs::CMBSTS)?, 0, "CMBSTS: the address is valid");
    let there: Vec<u8> = (0..512u32).map(|at| (at * 11 + at / 256) as u8).collect();
    vm.write_image(DISK.name, 3 * 512, &there)?;
    let read = Command::transfer(io::READ, NAMESPACE, 3, 1).at(BASE + 0x2000);
    assert_status(queue.run(&read, "a read into the buffer")?, 0, "a read into the buffer");
    for (at, expected) in there.chunks_exact(4).enumerate() {
        let found = memory.read32(0x2000 + 4 * at as u64)?.to_le_bytes();
        assert_eq!(found, expected, "word {at} of what was read into the buffer");
    }
    let write = Command::transfer(io::WRITE, NAMESPACE, 9, 1).at(BASE + 0x2000);
    assert_status(queue.run(&write, "a write from the buffer")?, 0, "a write from the buffer");
    let mut found = vec![0; 512];
    vm.read_image(DISK.name, 9 * 512, &mut found)?;
    assert_eq!(found, there, "what was written from the buffer");
    // Behind the buffer there is nothing.
    let behind = Command::transfer(io::READ, NAMESPACE, 3, 1).at(BASE + MEMORY_BUFFER);
    memory.write32(0, 0x1122_3344)?;
    // Whether the controller reports that depends on what is there.
    let _ = queue.run(&behind, "a read behind the buffer")?;
    assert_eq!(memory.read32(0)?, 0x1122_3344, "the buffer's start after a read behind its end");
    registers.set(regs::CMBMSC, 0)
}

/// Would catch a persistent memory region that takes data while it is disabled, that loses or moves
/// them, or that is not the memory that the machine was given.
fn pmr_test_access(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let registers = &nvme.plug.registers;
    let capabilities = registers.get(regs::PMRCAP)?;
    assert_eq!(capabilities >> 5 & 7, u32::from(PERSISTENT_BAR), "PMRCAP.BIR: {capabilities:#x}");
    assert_eq!(capabilities >> 3 & 3, 0b11, "PMRCAP.RDS, PMRCAP.WDS: {capabilities:#x}");
    let memory = nvme.plug.device.map_bar(PERSISTENT_BAR)?;
    assert_eq!(memory.size(), PERSISTENT.size, "the size of the persistent memory region");
    let image = |offset: u64| -> Result<[u8; 4]> {
        let mut bytes = [0; 4];
        vm.read_image(PERSISTENT.name, offset, &mut bytes)?;
        Ok(bytes)
    };
    memory.write32(0, 0x1357_9bdf)?;
    assert_eq!(image(0)?, [0; 4], "what was written while it is disabled");
    registers.set(regs::PMRCTL, regs::PMRCTL_EN)?;
    wait_until(vm, "the persistent memory", || {
        Ok(registers.get(regs::PMRSTS)? & regs::PMRSTS_NRDY == 0)
    })?;
    assert_eq!(registers.get(regs::PMRCTL)?, regs::PMRCTL_EN, "PMRCTL");
    assert_eq!(registers.get(regs::PMRSTS)?, 0, "PMRSTS: ready and healthy");
    let end = memory.size();
    for (offset, value) in [(0, 0x4433_2211), (end - 4, 0xaabb_ccdd), (0x1234, 0x0102_0304)] {
        memory.write32(offset, value)?;
        assert_eq!(memory.read32(offset)?, value, "at {offset:#x}");
        registers.get(regs::PMRSTS)?;
        assert_eq!(image(offset)?, value.to_le_bytes(), "at {offset:#x} of the machine's memory");
    }
    memory.write8(end - 1, 0x22)?;
    assert_eq!(memory.read32(end - 4)?, 0x22bb_ccdd, "the last four bytes");
    registers.set(regs::PMRCTL, 0)?;
    let after = registers.get(regs::PMRSTS)?;
    assert_eq!(after, regs::PMRSTS_NRDY, "PMRSTS when it is disabled");
    memory.write32(0, 0)?;
    assert_eq!(image(0)?, 0x4433_2211u32.to_le_bytes(), "written when it was disabled again");
    Ok(())
}

/// Would catch a field of Identify that is at another's place, or contradicts registers and PCI
/// (5.15.2.1, 5.15.2.2).
fn identify(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let id = controller.identify(1, 0)?;
    let device = &nvme.plug.device;
    assert_eq!(number(&id, 0, 2), u64::from(device.vendor_id()?), "VID");
    assert_eq!(number(&id, 2, 2), 0x1af4, "SSVID");
    assert_eq!(id[4..24], *format!("{SERIAL:20}").as_bytes(), "SN, with blanks behind");
    assert_eq!(text(&id[24..64])?, "QEMU NVMe Ctrl", "MN");
    let version = vm.emulator().capabilities.version;
    let firmware = text(&id[64..72])?;
    assert!(
        format!("{}.{}.", version.major, version.minor).starts_with(&firmware[..3]),
        "FR {firmware:?} of QEMU {version}"
    );
    let registers = &nvme.plug.registers;
    assert_eq!(number(&id, 80, 4), u64::from(registers.get(regs::VS)?), "VER, as the register VS");
    assert_eq!((id[77], id[258], id[259]), (7, 3, 3), "MDTS, ACL, AERL");
    assert_eq!((id[512], id[513]), (0x66, 0x44), "SQES, CQES");
    assert_eq!(id[525] & 1, 1, "VWC: there is a write cache");
    // Compare, Dataset Management, Write Zeroes, Timestamp.
    assert_eq!(number(&id, 520, 2) & 0b100_1101, 0b100_1101, "ONCS");
    assert!(number(&id, 516, 4) >= 1, "NN");

    let namespace = controller.identify(0, NAMESPACE)?;
    let blocks = DISK.size / 512;
    for (at, what) in [(0, "NSZE"), (8, "NCAP"), (16, "NUSE")] {
        assert_eq!(number(&namespace, at, 8), blocks, "{what}");
    }
    assert_eq!(namespace[26] & 0xf, 0, "FLBAS: format 0 is in use");
    assert_eq!(namespace[130], 9, "LBAF0.LBADS: blocks of 512 bytes");
    Ok(())
}

/// Would catch a list of namespaces or descriptors that has others than there are, and a namespace
/// that is told of although it is not there (5.15.2.3, 5.15.2.4).
fn lists(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let mut one = vec![0; PAGE];
    one[0] = 1;
    for structure in [0x02, 0x10] {
        let found = controller.identify(structure, 0)?;
        assert!(found == one, "list {structure:#x} of namespaces: {:x?}", &found[..16]);
        let found = controller.identify(structure, 1)?;
        assert!(found == [0; PAGE], "list {structure:#x} behind 1: {:x?}", &found[..16]);
    }
    let descriptors = controller.identify(0x03, NAMESPACE)?;
    let kinds: Vec<(u8, u8)> = entries(&descriptors);
    // Versions differ in which of EUI-64 (1), NGUID (2), UUID (3) and command set (4) they tell;
    // each has the length of its kind.
    let lengths = [(1, 8), (2, 16), (3, 16), (4, 1)];
    assert!(!kinds.is_empty(), "no descriptor of the namespace");
    for (at, kind) in kinds.iter().enumerate() {
        assert!(lengths.contains(kind), "descriptor {kind:?}");
        assert!(!kinds[..at].contains(kind), "descriptor {kind:?} twice");
    }
    // A namespace that could be there, and is not, is all zeroes; others are refused.
    let absent = controller.identify(0, 2)?;
    assert!(absent == [0; PAGE], "namespace 2, which is not there: {:x?}", &absent[..32]);
    let page = controller.page()?;
    for (structure, namespace, expected) in [
        (0x00, 0, status::INVALID_NAMESPACE),
        (0x00, 0x1_0000, status::INVALID_NAMESPACE),
        (0x03, u32::MAX, status::INVALID_NAMESPACE),
        (0x02, u32::MAX, status::INVALID_NAMESPACE),
        (0x02, u32::MAX - 1, status::INVALID_NAMESPACE),
        (0x5f, 1, status::INVALID_FIELD),
    ] {
        let what = format!("Identify {structure:#x} of {namespace:#x}");
        let command = Command::new(admin::IDENTIFY, namespace).with(10, &[structure]);
        let completion = controller.admin().run(&command.at(page.address().0), &what)?;
        assert_status(completion, expected, &what);
        assert_eq!(page.to_vec()?, [0; PAGE], "{what}: the memory for its data");
    }
    Ok(())
}

/// Type and length of namespace identification descriptors.
fn entries(list: &[u8]) -> Vec<(u8, u8)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at + 4 <= list.len() && list[at] != 0 {
        found.push((list[at], list[at + 1]));
        at += 4 + usize::from(list[at + 1]);
    }
    found
}

/// Temperature Threshold, Error Recovery, Volatile Write Cache, Number of Queues, Interrupt Vector
/// Configuration, Asynchronous Event Configuration, Timestamp (5.21.1).
mod feature {
    pub(super) const ARBITRATION: u32 = 0x01;
    pub(super) const TEMPERATURE: u32 = 0x04;
    pub(super) const WRITE_CACHE: u32 = 0x06;
    pub(super) const QUEUES: u32 = 0x07;
    pub(super) const EVENTS: u32 = 0x0b;
    pub(super) const TIMESTAMP: u32 = 0x0e;
}

fn set(controller: &Controller, feature: u32, value: u32) -> Result<Completion> {
    let command = Command::new(admin::SET_FEATURES, 0).with(10, &[feature, value]);
    controller.admin().run(&command, &format!("feature {feature:#x} set to {value:#x}"))
}

/// What Get Features tells: `select` 0 for the current value, 1 for the default, 3 for what can be
/// done with it.
fn get(controller: &Controller, feature: u32, select: u32, value: u32) -> Result<u32> {
    let command = Command::new(admin::GET_FEATURES, 0).with(10, &[feature | select << 8, value]);
    controller.admin().succeed(&command, &format!("feature {feature:#x}, select {select}"))
}

/// Would catch a feature that does not keep what is set, changes another, or has another default,
/// and a number of queues that is not the number there is (5.14, 5.21).
fn features(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    // QEMU has 64 pairs; what is asked for does not matter.
    let pairs = 63 | 63 << 16;
    let completion = set(&controller, feature::QUEUES, 3 | 5 << 16)?;
    assert_eq!((completion.status, completion.result), (0, pairs), "Number of Queues, set");
    assert_eq!(get(&controller, feature::QUEUES, 0, 0)?, pairs, "Number of Queues");
    // Over and under the threshold of the composite temperature, in kelvins.
    const UNDER: u32 = 1 << 20;
    assert_eq!(get(&controller, feature::TEMPERATURE, 1, 0)?, 0x157, "the default threshold");
    assert_status(set(&controller, feature::TEMPERATURE, 0x170)?, 0, "over");
    assert_status(set(&controller, feature::TEMPERATURE, UNDER | 0x101)?, 0, "under");
    assert_eq!(get(&controller, feature::TEMPERATURE, 0, 0)?, 0x170, "over");
    assert_eq!(get(&controller, feature::TEMPERATURE, 0, UNDER)?, 0x101, "under");
    assert_eq!(get(&controller, feature::TEMPERATURE, 1, 0)?, 0x157, "the default is as before");
    // No feature can be saved; this one can be changed (5.14.1).
    assert_eq!(get(&controller, feature::TEMPERATURE, 3, 0)?, 0b100, "what can be done with it");
    assert_status(set(&controller, feature::TEMPERATURE, 0x157)?, 0, "over, as at first");
    assert_status(set(&controller, feature::TEMPERATURE, UNDER)?, 0, "under, as at first");

    for on in [0, 1] {
        assert_status(set(&controller, feature::WRITE_CACHE, on)?, 0, "the write cache");
        assert_eq!(get(&controller, feature::WRITE_CACHE, 0, 0)?, on, "the write cache");
    }
    for value in [0x1f, 0x100, 0] {
        assert_status(set(&controller, feature::EVENTS, value)?, 0, "events");
        assert_eq!(get(&controller, feature::EVENTS, 0, 0)?, value, "events");
    }
    timestamp(&controller, vm)
}

/// The timestamp in milliseconds goes on from what was set (5.21.1.14).
fn timestamp(controller: &Controller, vm: &Rc<Vm>) -> Result<()> {
    const SET: u64 = 0x0123_4567_89ab;
    let page = controller.page()?;
    let command =
        |opcode| Command::new(opcode, 0).with(10, &[feature::TIMESTAMP]).at(page.address().0);
    page.write_le64(0, SET)?;
    controller.admin().succeed(&command(admin::SET_FEATURES), "the timestamp, set")?;
    page.write_le64(0, u64::MAX)?;
    vm.qtest().clock_step(Some(std::time::Duration::from_millis(1234)))?;
    controller.admin().succeed(&command(admin::GET_FEATURES), "the timestamp")?;
    let value = page.read_le64(0)?;
    let (now, origin, reserved) = (value & 0xffff_ffff_ffff, value >> 49 & 7, value >> 52);
    assert!((SET + 1234..SET + 1334).contains(&now), "{now:#x} milliseconds, set to {SET:#x}");
    assert_eq!((origin, reserved), (1, 0), "where it is from: it was set; {value:#x}");
    assert_eq!(page.read_le64(8)?, 0, "behind the timestamp");
    Ok(())
}

/// Would catch a feature that is not there and is taken, one that is saved although none can be,
/// and a number of queues that changes while there are some.
fn features_refused(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let run = |opcode, feature: u32, value: u32, expected: u16| -> Result<()> {
        let what = format!("command {opcode:#x}, feature {feature:#x}, {value:#x}");
        let command = Command::new(opcode, 0).with(10, &[feature, value]);
        assert_status(controller.admin().run(&command, &what)?, expected, &what);
        Ok(())
    };
    for (feature, value, expected) in [
        (0x00, 0, status::INVALID_FIELD),
        (0x7f, 0, status::INVALID_FIELD),
        (0xc5, 0, status::INVALID_FIELD),
        (feature::TEMPERATURE | 1 << 31, 0x160, status::NOT_SAVEABLE),
        (feature::ARBITRATION, 0, status::NOT_CHANGEABLE),
        (feature::QUEUES, 0xffff, status::INVALID_FIELD),
        (feature::QUEUES, 0xffff_0000, status::INVALID_FIELD),
        (feature::TEMPERATURE, 3 << 20, status::INVALID_FIELD),
    ] {
        run(admin::SET_FEATURES, feature, value, expected)?;
    }
    for feature in [0x00, 0x7f, 0xc5] {
        run(admin::GET_FEATURES, feature, 0, status::INVALID_FIELD)?;
    }
    let queue = controller.create(1, (2, 2), 0)?;
    run(admin::SET_FEATURES, feature::QUEUES, 1, status::SEQUENCE)?;
    controller.delete(queue)
}

/// Would catch statistics that count nothing, or something else; a log page that begins or ends
/// somewhere else than was asked for, and one that is not there (5.14.1).
fn log_pages(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let controller = enabled(nvme, vm)?;
    let queue = controller.create(1, (4, 4), 0)?;
    let page = controller.page()?;
    let log = |id: u32, dwords: u32, offset: u32| -> Result<(u16, Vec<u8>)> {
        page.write(0, &[0xa5; PAGE])?;
        let command = Command::new(admin::GET_LOG_PAGE, u32::MAX)
            .with(10, &[id | (dwords - 1) << 16, 0, offset])
            .at(page.address().0);
        let completion = controller.admin().run(&command, &format!("log page {id}"))?;
        assert_eq!(completion.result, 0, "log page {id}: {completion:x?}");
        Ok((completion.status, page.to_vec()?))
    };
    let health = || log(2, 128, 0);
    let (status, before) = health()?;
    assert_eq!(status, 0, "SMART / health information");
    assert_eq!(before[512..], [0xa5; PAGE - 512], "behind the log page");
    // 323 K, the temperature of QEMU's. It tells no spare.
    assert_eq!((before[0], number(&before, 1, 2), before[3]), (0, 323, 0), "health");
    let data = controller.page()?;
    for _ in 0..3 {
        let read = Command::transfer(io::READ, NAMESPACE, 0, 8).at(data.address().0);
        assert_status(queue.run(&read, "a read")?, 0, "a read");
    }
    for _ in 0..2 {
        let write = Command::transfer(io::WRITE, NAMESPACE, 0, 8).at(data.address().0);
        assert_status(queue.run(&write, "a write")?, 0, "a write");
    }
    let (_, after) = health()?;
    let grown = |at: usize| number(&after, at, 8) - number(&before, at, 8);
    assert_eq!((grown(64), grown(80)), (3, 2), "reads and writes of the host");
    let (_, part) = log(2, 4, 64)?;
    assert_eq!(part[..16], after[64..80], "16 bytes of the log page, from byte 64 on");
    assert_eq!(part[16..], [0xa5; PAGE - 16], "behind them");

    let (status, slot) = log(3, 128, 0)?;
    assert_eq!((status, slot[0]), (0, 1), "firmware slot 1 is active");
    assert_eq!(text(&slot[8..16])?, "1.0", "the firmware's revision in slot 1");
    assert_eq!(log(1, 16, 0)?, (0, [vec![0; 64], vec![0xa5; PAGE - 64]].concat()), "no errors");
    // An offset behind the end, and a log page that is reserved.
    let (found, data) = log(2, 4, 512 + 4)?;
    assert_eq!(found, status::INVALID_FIELD, "a log page behind its end");
    assert_eq!(data, [0xa5; PAGE], "a log page behind its end, its memory");
    let (found, data) = log(0x7f, 4, 0)?;
    assert_eq!(data, [0xa5; PAGE], "a log page that is reserved, its memory");
    match found {
        status::INVALID_FIELD => {
            Err(Error::skipped("nvme: QEMU refuses a log page with another status than 109h"))
        }
        other => {
            assert_eq!(other, status::INVALID_LOG, "a log page that is reserved");
            Ok(())
        }
    }
}

/// Would catch a controller that never reports that it has shut down, one that does so by itself,
/// and one that cannot be used afterwards (3.1.5, 3.1.6, 7.6.2).
fn shutdown(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let registers = &nvme.plug.registers;
    for notification in [1 << 14, 2 << 14] {
        let controller = enabled(nvme, vm)?;
        controller.identify(1, 0)?;
        let status = registers.get(regs::CSTS)?;
        assert_eq!(status, regs::CSTS_RDY, "CSTS before it is shut down");
        registers.set(regs::CC, regs::CC_ENTRIES | regs::CC_EN | notification)?;
        wait_until(vm, "the controller to shut down", || {
            Ok(registers.get(regs::CSTS)? & regs::CSTS_SHST == regs::CSTS_SHST_COMPLETE)
        })?;
        let status = registers.get(regs::CSTS)?;
        assert_eq!(status, regs::CSTS_RDY | regs::CSTS_SHST_COMPLETE, "CSTS, shut down");
        Controller::disable(registers, vm)?;
        assert_eq!(registers.get(regs::CSTS)?, 0, "CSTS, disabled after that");
    }
    enabled(nvme, vm)?.identify(1, 0).map(drop)
}

/// Would catch a controller that gets ready with queues or pages that cannot be, and one that
/// stays failed (3.1.5, 7.6.1).
fn enable_refused(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    nvme.plug.device.bus().reaches_ram()?;
    let registers = &nvme.plug.registers;
    let page = vm.ram().alloc(2 * PAGE, PAGE as u64)?;
    let at = page.address().0;
    let good = regs::CC_ENTRIES | regs::CC_EN;
    for (what, cc, aqa, asq, acq) in [
        ("no submission queue", good, 7 << 16, at, at + PAGE as u64),
        ("no completion queue", good, 7, at, at + PAGE as u64),
        ("a submission queue not at a page", good, 7 << 16 | 7, at + 64, at + PAGE as u64),
        ("a completion queue not at a page", good, 7 << 16 | 7, at, at + 64),
        ("pages of 128 KiB", good | 5 << 7, 7 << 16 | 7, at & !0x1_ffff, at & !0x1_ffff),
    ] {
        registers.set(regs::AQA, aqa)?;
        registers.set(regs::ASQ, asq)?;
        registers.set(regs::ACQ, acq)?;
        registers.set(regs::CC, cc)?;
        wait_until(vm, &format!("{what} to be refused"), || Ok(registers.get(regs::CSTS)? != 0))?;
        assert_eq!(registers.get(regs::CSTS)?, regs::CSTS_CFS, "CSTS with {what}");
        registers.set(regs::CC, 0)?;
        assert_eq!(registers.get(regs::CSTS)?, 0, "CSTS after it was disabled, with {what}");
    }
    enabled(nvme, vm)?.identify(1, 0).map(drop)
}

/// Would catch an interrupt that does not reach the machine's interrupt controller, or stays there.
fn interrupt_line(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    vm.note_lasting(UNTAKEN);
    let controller = enabled(nvme, vm)?;
    let admin = controller.admin();
    let raise = || -> Result<()> {
        admin.put(&Command::new(admin::ABORT, 0).with(10, &[0xeeee_0000]))?;
        admin.ring()?;
        admin.wait("an Abort").map(drop)
    };
    intx::check(&nvme.plug.device, vm, raise, || admin.release())
}

/// Would catch an interrupt that is masked and comes, or is unmasked and does not; one that goes
/// before every completion is taken, and a mask that a reset keeps (3.1.3, 7.5.1).
fn interrupt_mask(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    vm.note_lasting(UNTAKEN);
    let controller = enabled(nvme, vm)?;
    let (device, registers, admin) = (&nvme.plug.device, &nvme.plug.registers, controller.admin());
    let abort = Command::new(admin::ABORT, 0).with(10, &[0xeeee_0000]);
    let pin = |expected: bool, when: &str| -> Result<()> {
        assert_eq!(device.asserts_interrupt()?, expected, "the pin {when}");
        Ok(())
    };
    pin(false, "at first")?;
    registers.set(regs::INTMS, 1)?;
    admin.put(&abort)?;
    admin.put(&abort)?;
    admin.ring()?;
    admin.wait("the first")?;
    admin.wait("the second")?;
    pin(false, "while it is masked")?;
    registers.set(regs::INTMC, 2)?;
    pin(false, "with another unmasked")?;
    registers.set(regs::INTMC, 1)?;
    assert_eq!(registers.get(regs::INTMS)?, 0, "INTMS, all unmasked");
    pin(true, "when it is unmasked")?;
    registers.set(regs::INTMS, 0xffff_fffe)?;
    pin(true, "with all others masked")?;
    admin.ring_head(1)?;
    pin(true, "with one of two completions taken")?;
    admin.ring_head(2)?;
    pin(false, "with both taken")?;
    registers.set(regs::INTMC, u32::MAX)?;

    admin.put(&abort)?;
    admin.ring()?;
    admin.wait("the third")?;
    pin(true, "before a reset")?;
    registers.set(regs::INTMS, 2)?;
    drop(controller);
    assert_eq!(registers.get(regs::INTMS)?, 0, "INTMS after the controller was disabled");
    let stays = device.asserts_interrupt()?;
    let controller = enabled(nvme, vm)?;
    controller.admin().put(&abort)?;
    controller.admin().ring()?;
    controller.admin().wait("the fourth")?;
    pin(true, "before a reset of the machine")?;
    reset(vm)?;
    device.bus().reopen()?;
    pin(false, "after a reset of the machine")?;
    match stays {
        true => Err(Error::skipped("nvme: QEMU leaves the pin asserted when CC.EN is cleared")),
        false => Ok(()),
    }
}

/// Would catch what the checks of every function's MSI-X would, and completions of a queue that
/// come as another's message.
fn messages_of_queues(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    nvme.plug.device.bus().reaches_ram()?;
    // MSI-X is enabled before queues are created, as every driver does.
    let controller: RefCell<Option<Controller>> = RefCell::default();
    let send = || -> Result<()> {
        if controller.borrow().is_none() {
            controller.replace(Some(enabled(nvme, vm)?));
        }
        let abort = Command::new(admin::ABORT, 0).with(10, &[0xeeee_0000]);
        match &*controller.borrow() {
            Some(controller) => controller.admin().run(&abort, "an Abort").map(drop),
            None => Err(Error::failed("the controller was not enabled")),
        }
    };
    messages::check_control(&nvme.plug.device, vm, &msix(nvme)?, 0, send)
}
