//! The virtio block device: every kind of request, compared byte for byte with the image.

use std::rc::Rc;

use crate::drivers::virtio::blk::{IMAGE, SERIAL};
use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::qos::virtio::blk::{self, Outcome, Request, SECTOR, VirtioBlk};
use crate::qos::virtio::{self, Queue, features};
use crate::qos::wait_until;
use crate::{Result, attacks, tests};

tests!(VirtioBlk, "virtio-blk-tests":
    basic,
    config,
    indirect,
    resize,
    flush,
    discard,
    write_zeroes = "write-zeroes",
    get_id = "get-id",
    sizes,
    past_the_end = "past-the-end",
    scsi_commands = "scsi-commands",
    each_feature = "each-feature",
);
attacks!(VirtioBlk, "virtio-blk-attacks": basic, indirect, discard);

/// Bytes that are different from sector to sector, and from seed to seed.
fn pattern(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + i / SECTOR * 3 + i / 65_536 + seed) as u8).collect()
}

fn image(vm: &Vm, sector: u64, length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    vm.read_image(IMAGE.name, sector * SECTOR as u64, &mut bytes)?;
    Ok(bytes)
}

/// The capacity in sectors, which is that of the image.
fn capacity(blk: &VirtioBlk) -> Result<u64> {
    let sectors = blk.capacity()?;
    assert_eq!(sectors, IMAGE.size / SECTOR as u64, "capacity in sectors");
    Ok(sectors)
}

fn assert_same(found: &[u8], expected: &[u8], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    if let Some(at) = found.iter().zip(expected).position(|(a, b)| a != b) {
        let (found, expected) = (found[at], expected[at]);
        panic!("{what}: byte {at} is {found:#04x}, not {expected:#04x}");
    }
}

/// Reads from the image and writes to it through the device, one sector and then three.
fn exchange(blk: &VirtioBlk, queue: &Queue, vm: &Vm, seed: usize) -> Result<()> {
    for (seed, sector, count) in [(seed, 0, 1), (seed + 1, 100, 3)] {
        let length = count * SECTOR;
        let there = pattern(seed, length);
        vm.write_image(IMAGE.name, sector * SECTOR as u64, &there)?;
        assert_same(&blk.read(queue, sector, length)?, &there, "read through the device");
        let new = pattern(seed + 100, length);
        blk.write(queue, sector, &new)?;
        assert_same(&image(vm, sector, length)?, &new, "written, in the image");
        assert_same(&blk.read(queue, sector, length)?, &new, "written and read back");
    }
    Ok(())
}

/// Would catch data that is lost, shifted or swapped on its way in either direction, with
/// a driver that accepts nothing.
fn basic(blk: &VirtioBlk, vm: &Rc<Vm>) -> Result<()> {
    let queue = blk.start(blk.0.required())?;
    exchange(blk, &queue, vm, 1)?;
    let beside = image(vm, 1, SECTOR)?;
    assert_same(&beside, &[0; SECTOR], "the sector beside a written one");
    Ok(())
}

/// Would catch a capacity that is not the image's or that a guest can change, bytes of the
/// configuration in the wrong order, and a generation that changes for nothing.
fn config(blk: &VirtioBlk, _: &Rc<Vm>) -> Result<()> {
    let _queue = blk.start_with_everything()?;
    let transport = blk.0.transport();
    let (config, offered) = (transport.config(), blk.0.offered()?);
    // A back end of the user's has limits of its own.
    let is_ours = !blk.0.vm().has_user_backend();
    let generation = transport.config_generation()?;
    let sectors = capacity(blk)?;
    config.write32(blk::CAPACITY, 1)?;
    assert_eq!(blk.capacity()?, sectors, "capacity is read-only");
    let first = config.read8(blk::CAPACITY)?;
    let lowest = match transport.byte_order() {
        crate::protocol::Endian::Little => sectors as u8,
        crate::protocol::Endian::Big => (sectors >> 56) as u8,
    };
    assert_eq!(first, lowest, "the first byte of capacity");
    if offered & blk::F_BLK_SIZE != 0 {
        assert_eq!(config.read32(blk::BLK_SIZE)?, SECTOR as u32, "blk_size");
    }
    if is_ours && offered & blk::F_SEG_MAX != 0 {
        // Of QEMU's 256 descriptors header and status take one each. A queue over MMIO could
        // be made larger.
        assert_eq!(config.read32(blk::SEG_MAX)?, 254, "seg_max");
    }
    if is_ours && offered & blk::F_GEOMETRY != 0 {
        // 16 heads and 63 sectors, QEMU's guess for an image without partitions.
        let cylinders = (sectors / (16 * 63)) as u16;
        let (heads, track) = (config.read8(blk::HEADS)?, config.read8(blk::TRACK_SECTORS)?);
        let found = (config.read16(blk::CYLINDERS)?, heads, track);
        assert_eq!(found, (cylinders, 16, 63), "geometry");
    }
    if is_ours && offered & blk::F_TOPOLOGY != 0 {
        // Physical blocks are as large as logical ones and aligned; the image suggests nothing.
        assert_eq!(config.read8(blk::PHYSICAL_BLOCK_EXP)?, 0, "physical_block_exp");
        assert_eq!(config.read8(blk::ALIGNMENT_OFFSET)?, 0, "alignment_offset");
        assert_eq!(config.read16(blk::MIN_IO_SIZE)?, 0, "min_io_size");
        assert_eq!(config.read32(blk::OPT_IO_SIZE)?, 0, "opt_io_size");
    }
    if offered & blk::F_MQ != 0 {
        let queues = config.read16(blk::NUM_QUEUES)?;
        assert!(queues > 1, "{queues} queues, several of which are offered");
        assert_ne!(blk.0.max_queue_size(queues - 1)?, 0, "the last of {queues} queues");
        assert_eq!(blk.0.max_queue_size(queues)?, 0, "the queue after {queues}");
    }
    if offered & blk::F_CONFIG_WCE != 0 {
        for cache in [0, 1] {
            config.write8(blk::WRITEBACK, cache)?;
            assert_eq!(config.read8(blk::WRITEBACK)?, cache, "writeback");
        }
    }
    assert_eq!(transport.config_generation()?, generation, "nothing has changed");
    Ok(())
}

/// Would catch an indirect table that is not followed, or whose entries are mixed up.
fn indirect(blk: &VirtioBlk, vm: &Rc<Vm>) -> Result<()> {
    blk.0.needs(features::INDIRECT_DESC, "indirect descriptors")?;
    let queue = blk.start(blk.0.required() | features::INDIRECT_DESC | features::RING_PACKED)?;
    let data = pattern(5, 3 * SECTOR);
    let (first, rest) = data.split_at(SECTOR);
    let write = Request::new(&blk.0, blk::T_OUT, 9)?.with_data(&blk.0, first)?;
    let write = write.with_data(&blk.0, rest)?;
    let id = queue.add_indirect(&write.segments())?;
    queue.kick()?;
    let outcome = write.finish(id, queue.wait_used()?)?;
    assert_eq!(outcome, Outcome { status: blk::S_OK, written: 1 });
    assert_same(&image(vm, 9, data.len())?, &data, "written, in the image");

    let read = Request::new(&blk.0, blk::T_IN, 9)?.with_room(&blk.0, 2 * SECTOR)?;
    let read = read.with_room(&blk.0, SECTOR)?;
    let id = queue.add_indirect(&read.segments())?;
    queue.kick()?;
    let outcome = read.finish(id, queue.wait_used()?)?;
    assert_eq!(outcome, Outcome { status: blk::S_OK, written: 3 * SECTOR as u32 + 1 });
    assert_same(&read.data()?, &data, "read through the device");
    exchange(blk, &queue, vm, 6)
}

/// Would catch a driver that is not told of a new size, a configuration that is not
/// updated, a generation that stays, and sectors that cannot be reached.
fn resize(blk: &VirtioBlk, vm: &Rc<Vm>) -> Result<()> {
    let queue = blk.start_with_everything()?;
    let transport = blk.0.transport();
    let generation = transport.config_generation()?;
    transport.take_interrupts()?;
    let size = 2 * IMAGE.size;
    blk.resize(size)?;
    wait_until(vm, "a configuration change", || {
        Ok(transport.take_interrupts()? & virtio::ISR_CONFIG != 0)
    })?;
    assert_eq!(blk.capacity()?, size / SECTOR as u64, "capacity in sectors");
    if let Some(before) = generation {
        assert_ne!(transport.config_generation()?, Some(before), "the generation");
    }
    let (last, data) = (size / SECTOR as u64 - 1, pattern(9, SECTOR));
    blk.write(&queue, last, &data)?;
    assert_same(&image(vm, last, SECTOR)?, &data, "the new last sector, in the image");
    Ok(())
}

/// Would catch a flush that is not answered.
fn flush(blk: &VirtioBlk, vm: &Rc<Vm>) -> Result<()> {
    blk.0.needs(blk::F_FLUSH, "flush")?;
    let queue = blk.start_with_everything()?;
    blk.write(&queue, 3, &pattern(3, SECTOR))?;
    let outcome = Request::new(&blk.0, blk::T_FLUSH, 0)?.run(&queue)?;
    assert_eq!(outcome, Outcome { status: blk::S_OK, written: 1 });
    assert_same(&image(vm, 3, SECTOR)?, &pattern(3, SECTOR), "flushed, in the image");
    Ok(())
}

/// A segment of a discard or write zeroes request (5.2.6).
fn range(blk: &VirtioBlk, kind: u32, sector: u64, count: u32, flags: u32) -> Result<Request> {
    let words = [count, flags];
    let data = match blk.0.transport().byte_order() {
        crate::protocol::Endian::Little => {
            [&sector.to_le_bytes()[..], &words.map(u32::to_le_bytes).concat()].concat()
        }
        crate::protocol::Endian::Big => {
            [&sector.to_be_bytes()[..], &words.map(u32::to_be_bytes).concat()].concat()
        }
    };
    Request::new(&blk.0, kind, 0)?.with_data(&blk.0, &data)
}

/// Clears 8 of 24 sectors and looks what became of all of them.
fn clear(blk: &VirtioBlk, queue: &Queue, vm: &Vm, kind: u32, flags: u32) -> Result<()> {
    let data = pattern(17, 24 * SECTOR);
    vm.write_image(IMAGE.name, 64 * SECTOR as u64, &data)?;
    let outcome = range(blk, kind, 72, 8, flags)?.run(queue)?;
    assert_eq!(outcome, Outcome { status: blk::S_OK, written: 1 });
    let mut expected = data;
    expected[8 * SECTOR..16 * SECTOR].fill(0);
    assert_same(&image(vm, 64, expected.len())?, &expected, "in the image");
    assert_same(&blk.read(queue, 64, expected.len())?, &expected, "read through the device");

    let unknown = range(blk, kind, 64, 8, 1 << 31)?.run(queue)?;
    assert_eq!(unknown.status, blk::S_UNSUPP, "a flag that nobody knows");
    let outside = range(blk, kind, capacity(blk)? - 4, 8, 0)?.run(queue)?;
    assert_eq!(outside.status, blk::S_IOERR, "beyond the end");
    assert_same(&image(vm, 64, expected.len())?, &expected, "after refused requests");
    Ok(())
}

/// Would catch a discard of the wrong sectors, or one that does not reach the image (whose
/// holes read as zeroes), and one that is done although it is wrong.
fn discard(blk: &VirtioBlk, vm: &Rc<Vm>) -> Result<()> {
    blk.0.needs(blk::F_DISCARD, "discard")?;
    let queue = blk.start_with_everything()?;
    clear(blk, &queue, vm, blk::T_DISCARD, 0)
}

/// Would catch zeroes in the wrong sectors or none, with and without the permission to
/// unmap, and a request that is done although it is wrong.
fn write_zeroes(blk: &VirtioBlk, vm: &Rc<Vm>) -> Result<()> {
    blk.0.needs(blk::F_WRITE_ZEROES, "write zeroes")?;
    let queue = blk.start_with_everything()?;
    for unmap in [0, 1] {
        clear(blk, &queue, vm, blk::T_WRITE_ZEROES, unmap)?;
    }
    Ok(())
}

/// Would catch another ID than the one on the command line, or bytes behind it.
fn get_id(blk: &VirtioBlk, _: &Rc<Vm>) -> Result<()> {
    let queue = blk.start_with_everything()?;
    let request = Request::new(&blk.0, blk::T_GET_ID, 0)?.with_room(&blk.0, blk::ID_BYTES)?;
    let outcome = request.run(&queue)?;
    assert_eq!(outcome, Outcome { status: blk::S_OK, written: blk::ID_BYTES as u32 + 1 });
    let mut expected = SERIAL.as_bytes().to_vec();
    expected.resize(blk::ID_BYTES, 0);
    let found = request.data()?;
    match blk.0.vm().has_user_backend() {
        // It chooses: characters, filled up with zeroes.
        true => {
            let text = found.split(|byte| *byte == 0).next().unwrap_or_default();
            assert!(text.is_ascii() && !text.is_empty(), "the ID: {found:x?}");
            assert!(found[text.len()..].iter().all(|byte| *byte == 0), "behind the ID: {found:x?}");
        }
        false => assert_same(&found, &expected, "the ID"),
    }
    Ok(())
}

/// Would catch requests whose segments are mixed up, requests of no sector or many that
/// are cut short, and a last sector that cannot be reached.
fn sizes(blk: &VirtioBlk, vm: &Rc<Vm>) -> Result<()> {
    let queue = blk.start_with_everything()?;
    for kind in [blk::T_IN, blk::T_OUT] {
        let nothing = Request::new(&blk.0, kind, 0)?.run(&queue)?;
        assert_eq!(nothing, Outcome { status: blk::S_OK, written: 1 }, "no sector");
    }
    let last = capacity(blk)? - 1;
    for (seed, sector, segments) in [
        (1, last, &[SECTOR][..]),
        (2, last - 1, &[2 * SECTOR]),
        (3, 7, &[256 * SECTOR]),
        (4, 300, &[100, 412, 1, SECTOR - 1]),
        (5, 400, &[SECTOR; 100]),
    ] {
        let length: usize = segments.iter().sum();
        let data = pattern(seed, length);
        let (mut write, mut rest) = (Request::new(&blk.0, blk::T_OUT, sector)?, &data[..]);
        let mut read = Request::new(&blk.0, blk::T_IN, sector)?;
        for &segment in segments {
            let (part, after) = rest.split_at(segment);
            write = write.with_data(&blk.0, part)?;
            read = read.with_room(&blk.0, segment)?;
            rest = after;
        }
        let outcome = write.run(&queue)?;
        assert_eq!(outcome, Outcome { status: blk::S_OK, written: 1 }, "sector {sector}");
        assert_same(&image(vm, sector, length)?, &data, "written, in the image");
        let outcome = read.run(&queue)?;
        let expected = Outcome { status: blk::S_OK, written: length as u32 + 1 };
        assert_eq!(outcome, expected, "sector {sector}");
        assert_same(&read.data()?, &data, "read through the device");
    }
    Ok(())
}

/// Would catch sectors past the end, or parts of a sector, that are read or written, and
/// a request of an unknown type that is not refused as such.
fn past_the_end(blk: &VirtioBlk, vm: &Rc<Vm>) -> Result<()> {
    let queue = blk.start_with_everything()?;
    let end = capacity(blk)?;
    vm.write_image(IMAGE.name, IMAGE.size - SECTOR as u64, &pattern(4, SECTOR))?;
    for (sector, length) in [
        (end, SECTOR),
        (end - 1, 2 * SECTOR),
        (end + (1 << 40), SECTOR),
        (u64::MAX, SECTOR),
        (u64::MAX / SECTOR as u64 + 1, SECTOR),
        (end - 1, SECTOR - 1),
    ] {
        let read = Request::new(&blk.0, blk::T_IN, sector)?.with_room(&blk.0, length)?;
        let status = read.run(&queue)?.status;
        assert_eq!(status, blk::S_IOERR, "{length} bytes read at {sector:#x}");
        assert_eq!(read.data()?, vec![0; length], "{length} bytes read at {sector:#x}");
        let write = Request::new(&blk.0, blk::T_OUT, sector)?;
        let status = write.with_data(&blk.0, &vec![0xee; length])?.run(&queue)?.status;
        assert_eq!(status, blk::S_IOERR, "{length} bytes written at {sector:#x}");
        assert_same(&image(vm, end - 1, SECTOR)?, &pattern(4, SECTOR), "the last sector");
    }
    let unknown = Request::new(&blk.0, 0x7fff_fff0, 0)?.with_room(&blk.0, SECTOR)?;
    assert_eq!(unknown.run(&queue)?.status, blk::S_UNSUPP, "a request of an unknown type");
    exchange(blk, &queue, vm, 20)
}

/// Would catch a SCSI command (legacy, 5.2.6.3) whose answer is written beyond the room for it. The
/// device may know none.
fn scsi_commands(blk: &VirtioBlk, vm: &Rc<Vm>) -> Result<()> {
    const T_SCSI_CMD: u32 = 2;
    const ROOM: usize = 64;
    const UNTOUCHED: u8 = 0x5a;
    let queue = blk.start_with_everything()?;
    // INQUIRY; the parts to be written are data, sense data and how the command ended.
    let cdb = [0x12, 0, 0, 0, 36, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for lengths in [[36, 64, 16], [36, 64, 1], [36, 1, 3], [1, 64, 15], [1, 1, 1]] {
        let mut request = Request::new(&blk.0, T_SCSI_CMD, 0)?.with_data(&blk.0, &cdb)?;
        for _ in lengths {
            request = request.with_room(&blk.0, ROOM)?;
        }
        request.fill(UNTOUCHED)?;
        let mut segments = request.segments();
        for (segment, length) in segments[2..].iter_mut().zip(lengths) {
            segment.length = length;
        }
        let id = queue.add(&segments)?;
        queue.kick()?;
        let used = queue.wait_used()?;
        let room = lengths.iter().sum::<u32>() + 1;
        assert_eq!(used.id, id, "the buffer that was used");
        assert!(used.written <= room, "{used:?} of a command with {lengths:?}");
        let status = request.status()?;
        assert!([blk::S_IOERR, blk::S_UNSUPP].contains(&status), "status {status:#x}, {lengths:?}");
        let data = request.data()?;
        for (part, length) in data[cdb.len()..].chunks(ROOM).zip(lengths) {
            let behind = &part[length as usize..];
            assert!(
                behind.iter().all(|byte| *byte == UNTOUCHED),
                "behind one of {lengths:?}: {behind:x?}"
            );
        }
    }
    exchange(blk, &queue, vm, 21)
}

/// Would catch a feature that does harm when it is accepted alone, or a device that is not
/// the same after it was reset and negotiated with anew.
fn each_feature(blk: &VirtioBlk, vm: &Rc<Vm>) -> Result<()> {
    let (all, required) = (blk.0.acceptable()?, blk.0.required());
    let alone = (0..64).map(|bit| 1 << bit).filter(|bit| all & bit != 0);
    for (seed, accepted) in [0, all].into_iter().chain(alone).enumerate() {
        let queue = blk.start(required | accepted)?;
        exchange(blk, &queue, vm, seed)
            .map_err(|e| e.context(format!("with the features {:#x}", required | accepted)))?;
        blk.0.reset()?;
    }
    Ok(())
}
