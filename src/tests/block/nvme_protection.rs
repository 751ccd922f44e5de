//! Metadata of NVMe, apart from the data and among them, and end-to-end protection information in it
//! (NVM Express 1.4, 8.2 and 8.3, whose sections are cited).

use std::rc::Rc;

use super::nvme_data::{NO_NAMESPACES, assert_code};
use super::nvme_protected::{
    CHECK_ALL, CHECK_APPLICATION, CHECK_GUARD, CHECK_REFERENCE, METADATA_AT, PRACT, Protected, TAG,
    TUPLE, Tuple,
};
use crate::drivers::block::nvme::Nvme;
use crate::drivers::block::nvme::command::{io, status};
use crate::drivers::block::nvme::disk::number;
use crate::graph::QemuArgs;
use crate::qemu::Vm;
use crate::qos::block::DISK;
use crate::{Error, Result, tests};

/// Options for a namespace with these properties instead of that of the controller.
macro_rules! namespace {
    ($properties:literal) => {
        QemuArgs::NONE
            .after(concat!(
                "-set device.nvme0.drive= -device nvme-ns,drive=drive0,bus=nvme0,nsid=1,",
                $properties
            ))
            .may_refuse(&NO_NAMESPACES)
    };
}

tests!(Nvme, "nvme-protection-tests":
    told = "type-1/told",
    generated = "type-1/generated",
    stripped = "type-1/stripped",
    checked_when_written = "type-1/checked-when-written",
    checked_when_read = "type-1/checked-when-read",
    application_mask = "type-1/application-mask",
    escape = "type-1/escape",
    first_reference = "type-1/first-reference",
    verified = "type-1/verified",
    zeroes = "type-1/zeroes";
    with namespace!("ms=8,pi=1"));
tests!(Nvme, "nvme-protection-tests":
    generated = "type-2/generated",
    checked_when_written = "type-2/checked-when-written",
    checked_when_read = "type-2/checked-when-read";
    with namespace!("ms=8,pi=2"));
tests!(Nvme, "nvme-protection-tests":
    told = "among-data/told",
    generated = "among-data/generated",
    stripped = "among-data/stripped",
    checked_when_written = "among-data/checked-when-written",
    checked_when_read = "among-data/checked-when-read";
    with namespace!("ms=8,mset=1,pi=1"));
tests!(Nvme, "nvme-protection-tests":
    told = "more-metadata/told",
    metadata = "more-metadata/metadata",
    generated = "more-metadata/generated",
    checked_when_written = "more-metadata/checked-when-written",
    checked_when_read = "more-metadata/checked-when-read";
    with namespace!("ms=16,pi=1"));
tests!(Nvme, "nvme-protection-tests":
    generated = "first-bytes/generated",
    checked_when_read = "first-bytes/checked-when-read";
    with namespace!("ms=16,pi=1,pil=1"));
tests!(Nvme, "nvme-protection-tests":
    told = "none/told",
    metadata = "none/metadata";
    with namespace!("ms=16"));
tests!(Nvme, "nvme-protection-tests":
    told = "none-among-data/told",
    metadata = "none-among-data/metadata";
    with namespace!("ms=16,mset=1"));

/// Faults of protection information: the check that finds it, how that ends, and the bytes of the
/// tuple that are wrong.
const FAULTS: [(u32, u16, [u8; TUPLE]); 4] = [
    (CHECK_GUARD, status::GUARD, [0x01, 0, 0, 0, 0, 0, 0, 0]),
    (CHECK_GUARD, status::GUARD, [0, 0x80, 0, 0, 0, 0, 0, 0]),
    (CHECK_APPLICATION, status::APPLICATION_TAG, [0, 0, 0, 0x10, 0, 0, 0, 0]),
    (CHECK_REFERENCE, status::REFERENCE_TAG, [0, 0, 0, 0, 0x40, 0, 0, 0]),
];

/// A block whose protection information differs in the bits of `fault`.
fn spoilt(
    protected: &Protected,
    block: &(Vec<u8>, Vec<u8>),
    fault: [u8; TUPLE],
) -> (Vec<u8>, Vec<u8>) {
    let (data, mut metadata) = block.clone();
    for (byte, wrong) in metadata[protected.at()..].iter_mut().zip(fault) {
        *byte ^= wrong;
    }
    (data, metadata)
}

/// Would catch a namespace that does not say what its metadata is: where, how long, with which
/// protection; and a size that leaves no room for it (5.15.2.1).
fn told(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let protected = Protected::start(nvme, vm)?;
    let about = &protected.about;
    let (metadata, among_data, kind) =
        (protected.metadata, protected.among_data, usize::from(protected.kind));
    assert_eq!(protected.data, 512, "LBADS of the format in use");
    assert!([8, 16].contains(&metadata), "MS of the format in use: {metadata}");
    let capability = if among_data { 1 } else { 2 };
    assert_ne!(about[27] & capability, 0, "MC: metadata as it is in use: {:#x}", about[27]);
    if kind != 0 {
        assert_ne!(about[28] >> (kind - 1) & 1, 0, "DPC: type {kind}: {:#x}", about[28]);
        let place = if protected.first { 1 << 3 } else { 1 << 4 };
        assert_ne!(about[28] & place, 0, "DPC: its place in metadata: {:#x}", about[28]);
    }
    let blocks = number(about, 0, 8);
    let size = DISK.size;
    assert!(blocks * (512 + metadata as u64) <= size, "NSZE {blocks}, with metadata of {metadata}");
    // No more is lost than what does not make up a block, and what it is aligned to.
    assert!((blocks + 16) * (512 + metadata as u64) > size, "NSZE {blocks} of {size} bytes");
    Ok(())
}

/// Would catch metadata that is lost, that is another block's, or that is read or written beside
/// what a command has (8.2).
fn metadata(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let protected = Protected::start(nvme, vm)?;
    let end = number(&protected.about, 0, 8);
    for (first, count) in [(0, 1), (5, 3), (100, 8), (end - 2, 2)] {
        let blocks = protected.blocks(first, count);
        protected.store(first, &blocks)?;
        assert!(protected.load(first, count)? == blocks, "{count} blocks at {first}");
        let all = protected.memory.to_vec()?;
        let behind = METADATA_AT + count * protected.metadata;
        let behind = if protected.among_data { METADATA_AT } else { behind };
        assert!(all[behind..].iter().all(|byte| *byte == 0xa5), "{count} blocks: memory behind");
    }
    // One block anew: the metadata of its neighbours stays.
    let others = protected.blocks(200, 1);
    protected.store(101, &others)?;
    let mut expected = protected.blocks(100, 8);
    expected[1] = others[0].clone();
    assert!(protected.load(100, 8)? == expected, "one of eight blocks anew");
    let past = protected.plain(io::READ, (end - 1, 2), 0)?;
    assert_code(past, status::LBA_RANGE, "a read past the end");
    Ok(())
}

/// Would catch protection information that the controller is to make and that is wrong: its guard,
/// its application tag, its reference tag, which counts blocks, or their order (8.3.1.2).
fn generated(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let protected = Protected::start(nvme, vm)?;
    for (first, count) in [(0, 1), (7, 4), (0xff, 2), (300, 8)] {
        let mut expected = protected.blocks(first, count);
        // Metadata of eight bytes is not in memory at all; of more, all of it is.
        protected.put(&expected, protected.metadata == TUPLE)?;
        let completion = protected.plain(io::WRITE, (first, count), PRACT)?;
        assert_code(completion, status::SUCCESS, "a write with PRACT");
        for (at, (data, metadata)) in expected.iter_mut().enumerate() {
            let tuple = protected.tuple(first + at as u64, data, metadata);
            *metadata = protected.metadata_of(metadata, tuple);
        }
        assert_eq!(protected.load(first, count)?, expected, "{count} blocks at {first}");
        let checked = protected.plain(io::READ, (first, count), CHECK_ALL)?;
        assert_code(checked, status::SUCCESS, "a read with all checks");
    }
    Ok(())
}

/// Would catch a read that is to check protection information and take it away, and that writes it
/// to memory, or does not check it (8.3.1.3).
fn stripped(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let protected = Protected::start(nvme, vm)?;
    let blocks = protected.blocks(40, 4);
    protected.store(40, &blocks)?;
    protected.memory.write(0, &vec![0xa5; protected.memory.len()])?;
    let completion = protected.plain(io::READ, (40, 4), PRACT | CHECK_ALL)?;
    assert_code(completion, status::SUCCESS, "a read with PRACT and all checks");
    let data: Vec<Vec<u8>> = protected.take(4, true)?.into_iter().map(|block| block.0).collect();
    let expected: Vec<Vec<u8>> = blocks.iter().map(|block| block.0.clone()).collect();
    assert!(data == expected, "the data");
    let memory = protected.memory.to_vec()?;
    let behind = &memory[4 * protected.data..];
    assert!(behind.iter().all(|byte| *byte == 0xa5), "metadata was written to memory");
    for (check, expected, fault) in FAULTS {
        protected.store(42, &[spoilt(&protected, &blocks[2], fault)])?;
        let completion = protected.plain(io::READ, (40, 4), PRACT | check)?;
        assert_code(completion, expected, &format!("PRCHK {check:#x}, fault {fault:x?}"));
    }
    Ok(())
}

/// Would catch a write whose protection information is wrong, and that is done although it was to be
/// checked, or fails by another check (8.3.1.2).
fn checked_when_written(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let protected = Protected::start(nvme, vm)?;
    let blocks = protected.blocks(60, 4);
    protected.put(&blocks, false)?;
    let completion = protected.plain(io::WRITE, (60, 4), CHECK_ALL)?;
    assert_code(completion, status::SUCCESS, "a write with all checks");
    assert!(protected.load(60, 4)? == blocks, "what was written with all checks");
    for (check, expected, fault) in FAULTS {
        for at in [0, 3] {
            let what = format!("block {at}, PRCHK {check:#x}, fault {fault:x?}");
            let mut wrong: Vec<_> = protected.blocks(60, 4);
            for (data, _) in &mut wrong {
                data.reverse();
            }
            for (number, (data, metadata)) in wrong.iter_mut().enumerate() {
                let tuple = protected.tuple(60 + number as u64, data, metadata);
                *metadata = protected.metadata_of(metadata, tuple);
            }
            wrong[at] = spoilt(&protected, &wrong[at], fault);
            protected.put(&wrong, false)?;
            let completion = protected.plain(io::WRITE, (60, 4), check)?;
            assert_code(completion, expected, &what);
            assert!(protected.load(60, 4)?[at] == blocks[at], "{what}: it was written");
            // The other checks find nothing.
            protected.put(&wrong, false)?;
            let completion =
                protected.plain(io::WRITE, (70, 4), CHECK_ALL & !check & !CHECK_REFERENCE)?;
            assert_code(completion, status::SUCCESS, &format!("{what}: the other checks"));
        }
    }
    Ok(())
}

/// Would catch a read of blocks whose protection information is wrong, and that is done although it
/// was to be checked, or fails by another check (8.3.1.3).
fn checked_when_read(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let protected = Protected::start(nvme, vm)?;
    let blocks = protected.blocks(80, 4);
    for (check, expected, fault) in FAULTS {
        for at in [0, 3] {
            let what = format!("block {at}, PRCHK {check:#x}, fault {fault:x?}");
            let mut wrong = blocks.clone();
            wrong[at] = spoilt(&protected, &wrong[at], fault);
            protected.store(80, &wrong)?;
            let completion = protected.plain(io::READ, (80, 4), check)?;
            assert_code(completion, expected, &what);
            let completion = protected.plain(io::READ, (80, 4), CHECK_ALL & !check)?;
            assert_code(completion, status::SUCCESS, &format!("{what}: the other checks"));
            assert!(protected.take(4, false)? == wrong, "{what}: what was read");
        }
    }
    Ok(())
}

/// Would catch a mask of the application tag that is not regarded: bits that are not in it may differ
/// (8.3.1.4).
fn application_mask(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let protected = Protected::start(nvme, vm)?;
    protected.store(90, &protected.blocks(90, 1))?;
    for (tag, mask, expected) in [
        (TAG, 0xffff, status::SUCCESS),
        (TAG ^ 0x0001, 0xffff, status::APPLICATION_TAG),
        (TAG ^ 0x0001, 0xfffe, status::SUCCESS),
        (TAG ^ 0x8000, 0x7fff, status::SUCCESS),
        (TAG ^ 0x8000, 0x8000, status::APPLICATION_TAG),
        (!TAG, 0, status::SUCCESS),
    ] {
        let completion = protected.run(
            io::READ,
            (90, 1),
            CHECK_APPLICATION,
            (tag, mask),
            protected.reference(90),
        )?;
        assert_code(completion, expected, &format!("tag {tag:#x}, mask {mask:#x}"));
    }
    Ok(())
}

/// Would catch a check of blocks whose application tag says that nothing is to be checked: 0xffff
/// (8.3.1.5).
fn escape(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let protected = Protected::start(nvme, vm)?;
    let (data, metadata) = protected.blocks(95, 1).remove(0);
    let none = Tuple { guard: 0x1234, application: 0xffff, reference: 0x9999_9999 };
    let unchecked = (data, protected.metadata_of(&metadata, none));
    protected.store(95, std::slice::from_ref(&unchecked))?;
    let completion = protected.plain(io::READ, (95, 1), CHECK_ALL)?;
    assert_code(completion, status::SUCCESS, "a read of a block that is not to be checked");
    assert!(protected.take(1, false)? == [unchecked], "what was read");
    Ok(())
}

/// Would catch a command whose first reference tag is not the block's, although that of type 1 is,
/// and that is done (8.3.1.4).
fn first_reference(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let protected = Protected::start(nvme, vm)?;
    let blocks = protected.blocks(110, 2);
    protected.store(110, &blocks)?;
    for opcode in [io::READ, io::WRITE] {
        for reference in [0, 109, 111, 110 | 1 << 31] {
            protected.put(&protected.blocks(500, 2), false)?;
            let what = format!("command {opcode} of block 110, reference tag {reference:#x}");
            let completion =
                protected.run(opcode, (110, 2), CHECK_REFERENCE, (TAG, 0xffff), reference)?;
            assert_code(completion, status::INVALID_PROTECTION, &what);
        }
    }
    assert!(protected.load(110, 2)? == blocks, "the blocks, after what was refused");
    Ok(())
}

/// Would catch a verification that does not check protection information (6.14).
fn verified(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let protected = Protected::start(nvme, vm)?;
    let blocks = protected.blocks(120, 4);
    protected.store(120, &blocks)?;
    let completion = protected.plain(io::VERIFY, (120, 4), CHECK_ALL)?;
    if completion.status & !status::DNR == status::INVALID_OPCODE & !status::DNR {
        return Err(Error::skipped("no Verify"));
    }
    assert_code(completion, status::SUCCESS, "Verify");
    for (check, expected, fault) in FAULTS {
        protected.store(122, &[spoilt(&protected, &blocks[2], fault)])?;
        let completion = protected.plain(io::VERIFY, (120, 4), check)?;
        assert_code(completion, expected, &format!("PRCHK {check:#x}, fault {fault:x?}"));
    }
    Ok(())
}

/// Would catch zeroes without the protection information that the controller was to make (6.16).
fn zeroes(nvme: &Nvme, vm: &Rc<Vm>) -> Result<()> {
    let protected = Protected::start(nvme, vm)?;
    let blocks = protected.blocks(130, 6);
    protected.store(130, &blocks)?;
    let completion = protected.plain(io::WRITE_ZEROES, (131, 4), PRACT)?;
    assert_code(completion, status::SUCCESS, "Write Zeroes with PRACT");
    let mut expected = blocks;
    for block in 131..135u64 {
        let data = vec![0; protected.data];
        let metadata = vec![0; protected.metadata];
        let tuple = protected.tuple(block, &data, &metadata);
        expected[(block - 130) as usize] = (data, protected.metadata_of(&metadata, tuple));
    }
    assert_eq!(protected.load(130, 6)?, expected, "four blocks of zeroes and their neighbours");
    let completion = protected.plain(io::READ, (130, 6), CHECK_ALL)?;
    assert_code(completion, status::SUCCESS, "a read with all checks");
    Ok(())
}
