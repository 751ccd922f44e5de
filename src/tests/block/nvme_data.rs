//! What NVMe does to blocks besides reading and writing: Copy, Verify, Dataset Management and
//! Format NVM (NVM Express 1.4 and, for Copy, NVM Command Set 1.0, whose sections are cited).

use std::rc::Rc;

use super::nvme::{assert_status, enabled};
use super::nvme_queues::read;
use crate::drivers::block::nvme::Nvme;
use crate::drivers::block::nvme::command::{Command, Completion, admin, io, status};
use crate::drivers::block::nvme::controller::Controller;
use crate::drivers::block::nvme::disk::{NAMESPACE, number};
use crate::drivers::block::nvme::queue::QueuePair;
use crate::graph::QemuArgs;
use crate::qemu::{Buffer, Vm};
use crate::qos::block::{DISK, PAGE};
use crate::{Error, Result, attacks, tests};

tests!(Nvme, "nvme-data-tests":
    commands_told = "commands-told",
    verify,
    copy,
    copy_limits = "copy-limits",
    copy_refused = "copy-refused",
    deallocate,
    deallocate_refused = "deallocate-refused",
    deallocated_error = "deallocated-error",
    format_sizes = "format",
    format_refused = "format-refused";
    with NAMESPACE_DEVICE);
tests!(Nvme, "nvme-data-tests": copy_of_own = "copy-of-own");
attacks!(Nvme, "nvme-attacks": deallocate);

/// The namespace as a device of its own, which has limits of Copy; that which the controller has
/// made itself is `copy-of-own`'s.
const NAMESPACE_DEVICE: QemuArgs = QemuArgs::NONE
    .after("-set device.nvme0.drive= -device nvme-ns,drive=drive0,bus=nvme0,nsid=1")
    .may_refuse(&NO_NAMESPACES);

/// How a QEMU refuses a namespace of its own, or with these properties.
pub(super) const NO_NAMESPACES: [&str; 2] =
    ["Property 'nvme-ns.", "'nvme-ns' is not a valid device model name"];

/// How many blocks at the start of the disk are filled.
const BLOCKS: usize = 512;

/// Optional commands of namespaces, and their bit of ONCS (5.15.2.2).
const OPTIONAL: [(u8, u32, &str); 6] = [
    (io::COMPARE, 0, "Compare"),
    (io::WRITE_UNCORRECTABLE, 1, "Write Uncorrectable"),
    (io::DATASET_MANAGEMENT, 2, "Dataset Management"),
    (io::WRITE_ZEROES, 3, "Write Zeroes"),
    (io::VERIFY, 7, "Verify"),
    (io::COPY, 8, "Copy"),
];
/// Optional admin commands, and their bit of OACS.
const OPTIONAL_ADMIN: [(u8, u32, &str); 5] = [
    (admin::FORMAT, 1, "Format NVM"),
    (admin::NAMESPACE_ATTACHMENT, 3, "Namespace Attachment"),
    (admin::DIRECTIVE_SEND, 5, "Directive Send"),
    (admin::VIRTUALIZATION, 7, "Virtualization Management"),
    (admin::DOORBELL_BUFFER, 8, "Doorbell Buffer Config"),
];
/// Commands Supported and Effects: where the entries of I/O commands begin (5.14.1.5).
const IO_EFFECTS: usize = 1024;

/// A queue, a page for what a command reads, and the start of the disk filled with a pattern.
struct Blocks {
    controller: Controller,
    queue: QueuePair,
    page: Buffer,
    /// What the filled blocks hold.
    bytes: Vec<u8>,
}

impl Blocks {
    fn start(nvme: &Nvme, vm: &Rc<Vm>) -> Result<Self> {
        let controller = enabled(nvme, vm)?;
        let queue = controller.create(1, (4, 4), 0)?;
        let page = controller.page()?;
        let bytes: Vec<u8> =
            (0..512 * BLOCKS).map(|at| (at * 5 + at / 512 * 11 + 1) as u8).collect();
        vm.write_image(DISK.name, 0, &bytes)?;
        Ok(Self { controller, queue, page, bytes })
    }

    /// Skipped where the controller does not have the I/O command `opcode`.
    fn with(nvme: &Nvme, vm: &Rc<Vm>, opcode: u8) -> Result<Self> {
        let blocks = Self::start(nvme, vm)?;
        let effects = blocks.effects()?;
        match has(&effects[IO_EFFECTS..], opcode) {
            true => Ok(blocks),
            false => Err(Error::skipped(format!("no command {opcode:#x}"))),
        }
    }

    /// The log page Commands Supported and Effects.
    fn effects(&self) -> Result<Vec<u8>> {
        let command = Command::new(admin::GET_LOG_PAGE, u32::MAX).with(10, &[5 | 1023 << 16]);
        let command = command.at(self.page.address().0);
        self.controller.admin().succeed(&command, "Commands Supported and Effects")?;
        self.page.to_vec()
    }

    /// The bytes of `count` blocks from `first` on, as they were filled.
    fn of(&self, first: usize, count: usize) -> Vec<u8> {
        self.bytes[512 * first..][..512 * count].to_vec()
    }

    /// Asserts what the start of the disk holds.
    #[track_caller]
    fn assert_disk(&self, vm: &Vm, expected: &[u8], what: &str) -> Result<()> {
        let mut found = vec![0; expected.len()];
        vm.read_image(DISK.name, 0, &mut found)?;
        let differs = found.chunks(512).zip(expected.chunks(512)).position(|(one, two)| one != two);
        assert_eq!(differs, None, "{what}: the first block that is not as it should be");
        Ok(())
    }

    /// Copies `ranges`, each of a first block and a count, to `to`.
    fn copy(&self, to: u64, ranges: &[(u64, usize)], what: &str) -> Result<Completion> {
        // A Source Range entry, descriptor format 0: SLBA in bytes 8 to 15, NLB in 16 and 17.
        let memory = self.controller.vm().ram().alloc(ranges.len() * 32, PAGE as u64)?;
        for (at, (first, count)) in ranges.iter().enumerate() {
            memory.write_le64(32 * at + 8, *first)?;
            memory.write_le32(32 * at + 16, (*count as u32).wrapping_sub(1) & 0xffff)?;
        }
        let count = (ranges.len() as u32).wrapping_sub(1) & 0xff;
        let command =
            Command::new(io::COPY, NAMESPACE).with(10, &[to as u32, (to >> 32) as u32, count]);
        // At most 256 ranges: two pages.
        let (prp1, prp2) = (memory.address().0, memory.address().0 + PAGE as u64);
        self.queue.run(&Command { prp1, prp2, ..command }, what)
    }

    /// The limits of a Copy: blocks in a range (MSSRL) and in all (MCL), ranges (MSRC).
    fn copy_limits(&self) -> Result<(usize, usize, usize)> {
        let namespace = self.controller.identify(0, NAMESPACE)?;
        let field = |at, length| number(&namespace, at, length) as usize;
        Ok((field(74, 2), field(76, 4), field(80, 1) + 1))
    }

    /// Deallocates `ranges`, each of a first block and a count.
    fn deallocate(&self, ranges: &[(u64, u32)], what: &str) -> Result<Completion> {
        self.manage(ranges, 1 << 2, what)
    }

    /// Dataset Management of `ranges`, with `attributes` in dword 11.
    fn manage(&self, ranges: &[(u64, u32)], attributes: u32, what: &str) -> Result<Completion> {
        for (at, (first, count)) in ranges.iter().enumerate() {
            self.page.write_le32(16 * at, 0)?;
            self.page.write_le32(16 * at + 4, *count)?;
            self.page.write_le64(16 * at + 8, *first)?;
        }
        let count = (ranges.len() as u32).wrapping_sub(1) & 0xff;
        let command =
            Command::new(io::DATASET_MANAGEMENT, NAMESPACE).with(10, &[count, attributes]);
        self.queue.run(&command.at(self.page.address().0), what)
    }

    /// What a block reads as.
    fn block(&self, block: u64) -> Result<Vec<u8>> {
        let what = format!("a read of block {block}");
        self.page.write(0, &[0x5a; 512])?;
        let completion = self.queue.run(&read(block, self.page.address().0), &what)?;
        assert_status(completion, status::SUCCESS, &what);
        Ok(self.page.to_vec()?[..512].to_vec())
    }
}

/// Whether a half of [`Blocks::effects`] says that a command is supported (CSUPP).
fn has(effects: &[u8], opcode: u8) -> bool {
    effects[4 * usize::from(opcode)] & 1 != 0
}

/// Would catch a command that the controller has and does not offer, or offers and does not have:
/// Identify and the log of commands contradict each other.
fn commands_told(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let blocks = Blocks::start(nvme, vm)?;
    let effects = blocks.effects()?;
    let about = blocks.controller.identify(1, 0)?;
    let (admin, io) = effects.split_at(IO_EFFECTS);
    let mut wrong = Vec::new();
    for (effects, optional, offered) in [
        (io, &OPTIONAL[..], number(&about, 520, 2)),
        (admin, &OPTIONAL_ADMIN, number(&about, 256, 2)),
    ] {
        for (opcode, bit, name) in optional {
            match (has(effects, *opcode), offered >> bit & 1 != 0) {
                (true, false) => wrong.push(format!("{name} is there and is not offered")),
                (false, true) => wrong.push(format!("{name} is offered and is not there")),
                _ => {}
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "ONCS, OACS and Commands Supported and Effects");
    Ok(())
}

/// Asserts that a command ended with `expected`; whether it is of use to try again is the
/// controller's word.
#[track_caller]
pub(super) fn assert_code(completion: Completion, expected: u16, what: &str) {
    let code = completion.status & !status::DNR;
    assert_eq!(code, expected & !status::DNR, "{what}: {completion:x?}");
}

/// Would catch a verification that writes, that finds fault with blocks that are well, or none with
/// blocks that are not there (6.14).
fn verify(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let blocks = Blocks::with(nvme, vm, io::VERIFY)?;
    let end = DISK.size / 512;
    for (first, count) in [(0, 1), (7, 130), (end - 1, 1), (end - 64, 64)] {
        let what = format!("{count} blocks at {first}");
        let command = Command::transfer(io::VERIFY, NAMESPACE, first, count);
        assert_status(blocks.queue.run(&command, &what)?, status::SUCCESS, &what);
    }
    for (first, count) in [(end - 1, 2), (end, 1), (end - 64, 65), (u64::MAX, 2)] {
        let what = format!("{count} blocks at {first:#x}");
        let command = Command::transfer(io::VERIFY, NAMESPACE, first, count);
        assert_code(blocks.queue.run(&command, &what)?, status::LBA_RANGE, &what);
    }
    blocks.assert_disk(vm, &blocks.bytes, "after Verify")
}

/// Would catch a range that is copied from or to another place, in another order, or in part.
fn copy(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let blocks = Blocks::with(nvme, vm, io::COPY)?;
    let mut expected = blocks.bytes.clone();
    for (to, ranges) in [
        (200, &[(3, 1)][..]),
        (201, &[(10, 8)]),
        (300, &[(20, 3), (8, 1), (100, 16), (21, 2)]),
        (400, &[(0, 1), (0, 1), (511, 1)]),
        // From what was copied just now.
        (500, &[(300, 4), (399, 3)]),
    ] {
        let what = format!("{ranges:?} copied to {to}");
        let mut at = 512 * to;
        for (first, count) in ranges {
            let bytes = expected[512 * *first..][..512 * count].to_vec();
            expected[at..][..bytes.len()].copy_from_slice(&bytes);
            at += bytes.len();
        }
        let ranges: Vec<(u64, usize)> =
            ranges.iter().map(|(first, count)| (*first as u64, *count)).collect();
        let completion = blocks.copy(to as u64, &ranges, &what)?;
        assert_eq!(completion.status, status::SUCCESS, "{what}: {completion:x?}");
        blocks.assert_disk(vm, &expected, &what)?;
    }
    Ok(())
}

/// Would catch a controller that has Copy (ONCS) and no block that may be copied: the limits of a
/// namespace that its own `drive` has made.
fn copy_of_own(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let blocks = Blocks::with(nvme, vm, io::COPY)?;
    let (in_range, in_all, _) = blocks.copy_limits()?;
    assert!(in_range > 0 && in_all >= in_range, "MSSRL {in_range}, MCL {in_all}");
    let completion = blocks.copy(100, &[(3, 1)], "one block")?;
    assert_eq!(completion.status, status::SUCCESS, "one block copied: {completion:x?}");
    let mut expected = blocks.bytes.clone();
    expected[100 * 512..][..512].copy_from_slice(&blocks.of(3, 1));
    blocks.assert_disk(vm, &expected, "one block copied")
}

/// Would catch a controller that copies less than it says it can in one range, in all, and in how
/// many ranges, or that takes more.
fn copy_limits(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let blocks = Blocks::with(nvme, vm, io::COPY)?;
    let (in_range, in_all, ranges) = blocks.copy_limits()?;
    assert!(in_range > 0 && in_all >= in_range, "MSSRL {in_range}, MCL {in_all}, MSRC {ranges}");
    // Where the data go, behind all that is filled.
    let to = 1024;
    let many = vec![(5, 1); ranges.min(in_all)];
    let long = in_range.min(BLOCKS);
    let whole = vec![(0, long); (in_all / long).min(ranges)];
    for (what, list) in
        [("ranges", many), ("blocks in a range", vec![(0, long)]), ("blocks", whole)]
    {
        vm.write_image(DISK.name, 512 * to, &vec![0; 512 * (in_all + 1)])?;
        let completion = blocks.copy(to, &list, what)?;
        assert_eq!(completion.status, status::SUCCESS, "as many {what} as there may be");
        let mut expected = Vec::new();
        for (first, count) in &list {
            expected.extend(blocks.of(*first as usize, *count));
        }
        expected.extend([0; 512]);
        let mut found = vec![0; expected.len()];
        vm.read_image(DISK.name, 512 * to, &mut found)?;
        assert!(found == expected, "as many {what} as there may be: what was copied");
    }
    vm.write_image(DISK.name, 512 * to, &vec![0; 512 * (in_all + 1)])?;
    let too_long = (in_range < 0x1_0000).then(|| vec![(0, in_range + 1)]);
    let too_many = (ranges < 256).then(|| vec![(5, 1); ranges + 1]);
    let more = vec![(0, in_range); in_all / in_range + 1];
    let more = (more.len() <= ranges && more.len() * in_range > in_all).then_some(more);
    for (what, list) in [("a long range", too_long), ("many ranges", too_many), ("much", more)] {
        let Some(list) = list else { continue };
        assert_code(blocks.copy(to, &list, what)?, status::SIZE_LIMIT, &format!("too {what}"));
        let mut found = vec![0; 512 * list.len()];
        vm.read_image(DISK.name, 512 * to, &mut found)?;
        assert!(found.iter().all(|byte| *byte == 0), "too {what}: something was copied");
    }
    Ok(())
}

/// Would catch a Copy from or to blocks that are not there, and one with ranges of a format that
/// does not exist, which is done or ends QEMU.
fn copy_refused(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let blocks = Blocks::with(nvme, vm, io::COPY)?;
    let end = DISK.size / 512;
    for (to, ranges) in [
        (100, &[(end, 1)][..]),
        (100, &[(end - 1, 2)]),
        (100, &[(u64::MAX, 2)]),
        (end, &[(0, 1)]),
        (end - 1, &[(0, 2)]),
        (end - 2, &[(0, 2), (4, 1)]),
        (u64::MAX, &[(0, 2)]),
    ] {
        let what = format!("{ranges:x?} copied to {to:#x}");
        assert_code(blocks.copy(to, ranges, &what)?, status::LBA_RANGE, &what);
    }
    blocks.assert_disk(vm, &blocks.bytes, "after what was refused")?;
    let command = Command::new(io::COPY, NAMESPACE).with(10, &[100, 0, 15 << 8]);
    let completion = blocks.queue.run(&command.at(blocks.page.address().0), "format 15")?;
    assert_code(completion, status::INVALID_FIELD, "ranges of format 15");
    blocks.assert_disk(vm, &blocks.bytes, "after what was refused")
}

/// Would catch a range that is deallocated although it was not to be, one that is not or in part, and
/// blocks that do not read as the namespace says that they do then (DLFEAT, 5.15.2.1).
fn deallocate(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let blocks = Blocks::start(nvme, vm)?;
    let dealt = blocks.controller.identify(0, NAMESPACE)?[33] & 7;
    // Attributes that are hints alone: nothing is deallocated.
    let hints = blocks.manage(&[(0, 64)], 0b011, "hints")?;
    assert_status(hints, status::SUCCESS, "hints");
    blocks.assert_disk(vm, &blocks.bytes, "after hints")?;
    // An image has pages of 4096 bytes, of which each range has whole ones.
    let ranges = [(8, 8), (0, 0), (64, 72), (256, 8), (504, 8)];
    let completion = blocks.deallocate(&ranges, "four ranges and an empty one")?;
    assert_status(completion, status::SUCCESS, "four ranges and an empty one");
    for block in 0..BLOCKS as u64 {
        let gone = ranges
            .iter()
            .any(|(first, count)| (*first..first + u64::from(*count)).contains(&block));
        let found = blocks.block(block)?;
        match (gone, dealt) {
            (false, _) => {
                assert!(found == blocks.of(block as usize, 1), "block {block}, not dealt")
            }
            (true, 1) => assert_eq!(found, [0; 512], "block {block}, deallocated"),
            (true, 2) => assert_eq!(found, [0xff; 512], "block {block}, deallocated"),
            (true, _) => {}
        }
    }
    // As many ranges as there can be.
    let many: Vec<(u64, u32)> = (0..256).map(|at| (2 * at, 1)).collect();
    vm.write_image(DISK.name, 0, &blocks.bytes)?;
    assert_status(blocks.deallocate(&many, "256 ranges")?, status::SUCCESS, "256 ranges");
    for block in (1..BLOCKS).step_by(2) {
        let found = blocks.block(block as u64)?;
        assert!(found == blocks.of(block, 1), "block {block}, between ranges");
    }
    Ok(())
}

/// Would catch a range of blocks that are not there and ends QEMU, or that takes others away. Whether
/// it fails or is passed over, 6.7 does not say.
fn deallocate_refused(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let blocks = Blocks::start(nvme, vm)?;
    let end = DISK.size / 512;
    for range in [(end, 1), (end - 1, 2), (0, u32::MAX), (u64::MAX, 1), (u64::MAX - 7, 16)] {
        let what = format!("{range:x?}");
        match blocks.deallocate(&[range], &what)?.status {
            status::SUCCESS | status::LBA_RANGE => {}
            other => return Err(Error::failed(format!("{what}: status {other:#x}"))),
        }
    }
    blocks.assert_disk(vm, &blocks.bytes, "after what was refused")
}

/// Would catch a read of deallocated blocks that does not fail although the feature Error Recovery
/// asks for it (DULBE, 5.21.1.5), and one of others that does.
fn deallocated_error(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    const ERROR_RECOVERY: u32 = 0x05;
    const DULBE: u32 = 1 << 16;
    let blocks = Blocks::start(nvme, vm)?;
    // NSFEAT: the error is supported.
    if blocks.controller.identify(0, NAMESPACE)?[24] & 1 << 2 == 0 {
        return Err(Error::skipped("no error for blocks that are deallocated"));
    }
    let feature = |opcode, value| {
        let command = Command::new(opcode, NAMESPACE).with(10, &[ERROR_RECOVERY, value]);
        blocks.controller.admin().succeed(&command, "Error Recovery")
    };
    let completion = blocks.deallocate(&[(64, 64)], "a range")?;
    assert_status(completion, status::SUCCESS, "a range");
    let at = blocks.page.address().0;
    feature(admin::SET_FEATURES, DULBE)?;
    assert_eq!(feature(admin::GET_FEATURES, 0)?, DULBE, "Error Recovery, as it was set");
    for (block, expected) in [
        (63, status::SUCCESS),
        (64, status::DEALLOCATED),
        (127, status::DEALLOCATED),
        (128, status::SUCCESS),
    ] {
        let what = format!("a read of block {block}, of which 64 to 127 are deallocated");
        assert_code(blocks.queue.run(&read(block, at), &what)?, expected, &what);
    }
    let write = Command::transfer(io::WRITE, NAMESPACE, 64, 8).at(at);
    assert_status(blocks.queue.run(&write, "a write")?, status::SUCCESS, "a write");
    let after = blocks.queue.run(&read(64, at), "a read of what was written")?;
    assert_status(after, status::SUCCESS, "a read of what was written");
    feature(admin::SET_FEATURES, 0)?;
    let after = blocks.queue.run(&read(100, at), "a read without the error")?;
    assert_status(after, status::SUCCESS, "a read without the error");
    Ok(())
}

/// Formats the namespace `namespace`, with these bits of dword 10 (5.23).
fn format(controller: &Controller, namespace: u32, bits: u32, what: &str) -> Result<Completion> {
    let command = Command::new(admin::FORMAT, namespace).with(10, &[bits]);
    controller.admin().run(&command, what)
}

/// The formats of the namespace that have no metadata, each with its number and the size of a block
/// in bytes.
fn formats(controller: &Controller) -> Result<Vec<(u32, usize)>> {
    let about = controller.identify(0, NAMESPACE)?;
    let count = usize::from(about[25]) + 1;
    let each = (0..count).map(|at| (at as u32, &about[128 + 4 * at..][..4]));
    let plain = each.filter(|(_, format)| number(format, 0, 2) == 0 && format[2] >= 9);
    Ok(plain.map(|(at, format)| (at, 1 << format[2])).collect())
}

/// Would catch a format that leaves data, that has another size of blocks than it says, or another
/// number of them than there is room for.
fn format_sizes(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let blocks = Blocks::start(nvme, vm)?;
    let controller = &blocks.controller;
    if number(&controller.identify(1, 0)?, 256, 2) & 2 == 0 {
        return Err(Error::skipped("no Format NVM (OACS)"));
    }
    vm.note_lasting("the format of its namespace");
    let mut formats = formats(controller)?;
    assert!(formats.iter().any(|(at, size)| (*at, *size) == (0, 512)), "{formats:?}");
    // Back to the first one at the end.
    formats.push((0, 512));
    for (at, size) in formats.into_iter().filter(|(_, size)| *size <= PAGE) {
        let what = format!("format {at}, of blocks of {size} bytes");
        assert_status(format(controller, NAMESPACE, at, &what)?, status::SUCCESS, &what);
        let about = controller.identify(0, NAMESPACE)?;
        assert_eq!(u32::from(about[26] & 0xf), at, "{what}: FLBAS");
        let count = DISK.size / size as u64;
        for (field, name) in [(0, "NSZE"), (8, "NCAP")] {
            assert_eq!(number(&about, field, 8), count, "{what}: {name}");
        }
        blocks.page.write(0, &vec![0x5a; PAGE])?;
        let data = blocks.page.address().0;
        let run = |opcode, block| -> Result<Completion> {
            blocks.queue.run(&Command::transfer(opcode, NAMESPACE, block, 1).at(data), &what)
        };
        assert_status(run(io::READ, 1)?, status::SUCCESS, &what);
        assert_eq!(blocks.page.to_vec()?[..size], vec![0; size], "{what}: what was there before");
        let pattern: Vec<u8> = (0..size).map(|byte| (byte * 3 + size / 512) as u8).collect();
        blocks.page.write(0, &pattern)?;
        assert_status(run(io::WRITE, count - 1)?, status::SUCCESS, &what);
        let mut found = vec![0; size];
        vm.read_image(DISK.name, DISK.size - size as u64, &mut found)?;
        assert!(found == pattern, "{what}: the last block on the disk");
        assert_code(run(io::WRITE, count)?, status::LBA_RANGE, &what);
    }
    Ok(())
}

/// Would catch a format that does not exist, or with protection that has no room, which is taken; and
/// a namespace that is not there (5.23).
fn format_refused(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let blocks = Blocks::start(nvme, vm)?;
    let controller = &blocks.controller;
    if number(&controller.identify(1, 0)?, 256, 2) & 2 == 0 {
        return Err(Error::skipped("no Format NVM (OACS)"));
    }
    let about = controller.identify(0, NAMESPACE)?;
    let beyond = u32::from(about[25]) + 1;
    for (what, namespace, bits, expected) in [
        ("a format that is not there", NAMESPACE, beyond.min(15), status::INVALID_FORMAT),
        ("format 15", NAMESPACE, 15, status::INVALID_FORMAT),
        ("protection without metadata", NAMESPACE, 1 << 5, status::INVALID_FORMAT),
        ("protection of type 7", NAMESPACE, 7 << 5, status::INVALID_FORMAT),
        ("no namespace", 0, 0, status::INVALID_NAMESPACE),
        ("a namespace that cannot be", 0x1_0000, 0, status::INVALID_NAMESPACE),
    ] {
        assert_code(format(controller, namespace, bits, what)?, expected, what);
        assert!(controller.identify(0, NAMESPACE)? == about, "{what}: Identify Namespace");
        blocks.assert_disk(vm, &blocks.bytes, what)?;
    }
    Ok(())
}
