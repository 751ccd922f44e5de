//! The virtio SCSI host adapter: commands of every length compared with the image, residuals and
//! sense data whole, units, task management, and units that come and go.

use std::rc::Rc;

use serde_json::json;

use crate::drivers::virtio::scsi::{IMAGE, ZEROES_SIZE};
use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::qos::virtio::scsi::{
    self, BLOCK, CDROM, CHECK_CONDITION, DISK, GOOD, Live, Reply, S_BAD_TARGET, S_OK, S_OVERRUN,
    Unit, VirtioScsi, ZEROES,
};
use crate::qos::wait_event;
use crate::{Error, Result, tests};

tests!(VirtioScsi, "virtio-scsi-tests":
    configuration,
    inquiry,
    capacity,
    read_write = "read-write",
    residuals,
    more_room = "more-room",
    sense,
    units,
    tasks,
    queues,
    hotplug,
    unaligned_write_same = "unaligned-write-same",
    large_lba_unmap = "large-lba-unmap",
    write_to_cdrom = "write-to-cdrom",
);

/// Starts the adapter and clears what each unit tells first: that it was reset.
fn start(device: &VirtioScsi) -> Result<Live> {
    let live = device.start()?;
    for unit in [DISK, ZEROES, CDROM] {
        for _ in 0..3 {
            if live.command(unit, &[0; 6], &[], 0)?.status == GOOD {
                break;
            }
        }
    }
    Ok(live)
}

/// Asserts that a command was carried out, with all of the room used; returns the data.
#[track_caller]
fn good(reply: Reply, what: &str) -> Vec<u8> {
    let outcome = (reply.response, reply.status, reply.residual, reply.sense.len());
    assert_eq!(outcome, (S_OK, GOOD, 0, 0), "{what}: response, status, residual, sense bytes");
    reply.data
}

/// Asserts that a command was refused with this sense key and code.
#[track_caller]
fn refused(reply: &Reply, code: (u8, u8, u8), what: &str) {
    assert_eq!((reply.response, reply.status), (S_OK, CHECK_CONDITION), "{what}");
    assert_eq!(reply.sense.first(), Some(&0x70), "{what}: sense of a current error, fixed format");
    assert_eq!(reply.sense_code(), code, "{what}: key, code and qualifier");
}

/// Would catch a field of the configuration (5.6.4) with another value, one that cannot be set
/// where it can, and a size of sense data or commands that a reset does not restore.
fn configuration(device: &VirtioScsi, _: &Rc<Vm>) -> Result<()> {
    let config = device.0.transport().config();
    device.0.negotiate(device.0.acceptable()?)?;
    let requests = u32::from(device.0.queue_count()) - 2;
    assert_eq!(config.read32(0)?, requests, "num_queues");
    assert_eq!(config.read32(8)?, 65_535, "max_sectors");
    assert_eq!(config.read32(12)?, 128, "cmd_per_lun");
    assert_eq!(config.read32(16)?, 16, "event_info_size");
    assert_eq!(config.read32(20)?, scsi::SENSE as u32, "sense_size");
    assert_eq!(config.read32(24)?, scsi::CDB as u32, "cdb_size");
    assert_eq!(config.read16(28)?, 0, "max_channel");
    assert_eq!(config.read16(30)?, 255, "max_target");
    assert_eq!(config.read32(32)?, 16_383, "max_lun");
    config.write32(20, 32)?;
    config.write32(24, 16)?;
    assert_eq!((config.read32(20)?, config.read32(24)?), (32, 16), "sizes that were written");
    device.0.reset()?;
    assert_eq!((config.read32(20)?, config.read32(24)?), (96, 32), "sizes after a reset");
    Ok(())
}

/// Would catch an INQUIRY of another device type, version or vendor, a length that is not as
/// asked, and pages that are not as the list of them says (SPC-4, 6.6).
fn inquiry(device: &VirtioScsi, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    for (unit, kind, removable, product) in [
        (DISK, 0, 0, b"QEMU HARDDISK   "),
        (ZEROES, 0, 0, b"QEMU HARDDISK   "),
        (CDROM, 5, 0x80, b"QEMU CD-ROM     "),
    ] {
        let data = good(live.command(unit, &[0x12, 0, 0, 0, 36, 0], &[], 36)?, "INQUIRY");
        // Format 2, with units numbered as SAM says.
        let expected = [kind, removable, 5, 0x12];
        assert_eq!(data[..4], expected, "type, removable, version, format: {unit:?}");
        assert_eq!(data[4], 31, "additional length of {unit:?}");
        assert_eq!((&data[8..16], &data[16..32]), (&b"QEMU    "[..], &product[..]), "{unit:?}");
        let list = live.command(unit, &[0x12, 1, 0, 0, 255, 0], &[], 255)?.data;
        let count = usize::from(list[3]);
        assert_eq!((list[0], list[1], list[4]), (kind, 0, 0), "the list of pages: {unit:?}");
        for page in &list[4..4 + count] {
            let reply = live.command(unit, &[0x12, 1, *page, 0, 255, 0], &[], 255)?;
            assert_eq!((reply.response, reply.status), (S_OK, GOOD), "page {page:#x} of {unit:?}");
            assert_eq!(reply.data[..2], [kind, *page], "page {page:#x} of {unit:?}");
            let length = u32::from(reply.data[2]) << 8 | u32::from(reply.data[3]);
            // QEMU fills the rest with zeroes.
            let left = [0, 255 - 4 - length];
            assert!(left.contains(&reply.residual), "page {page:#x} of {unit:?}: {reply:?}");
        }
        let unknown = live.command(unit, &[0x12, 1, 0x7f, 0, 255, 0], &[], 255)?;
        refused(&unknown, (5, 0x24, 0), "a page that is not there");
    }
    Ok(())
}

/// Would catch a capacity in other blocks, or one more than the last of them (SBC-3, 5.10, 5.11).
fn capacity(device: &VirtioScsi, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    for (unit, bytes) in [(DISK, IMAGE.size), (ZEROES, ZEROES_SIZE)] {
        let last = bytes / BLOCK as u64 - 1;
        let short = good(live.command(unit, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[], 8)?, "10");
        let expected = [&(last as u32).to_be_bytes()[..], &512u32.to_be_bytes()].concat();
        assert_eq!(short, expected, "READ CAPACITY (10) of {unit:?}");
        let cdb = [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0];
        let long = good(live.command(unit, &cdb, &[], 32)?, "READ CAPACITY (16)");
        let expected = [&last.to_be_bytes()[..], &512u32.to_be_bytes()].concat();
        assert_eq!(long[..12], expected, "READ CAPACITY (16) of {unit:?}");
    }
    Ok(())
}

/// A READ, or with the second number a WRITE, of 6, 10, 12 or 16 bytes.
fn cdb(length: usize, write: bool, block: u32, count: u8) -> Vec<u8> {
    let [_, b1, b2, b3] = block.to_be_bytes();
    let operation = match length {
        6 => 0x08,
        10 => 0x28,
        12 => 0xa8,
        _ => 0x88,
    } + if write { 2 } else { 0 };
    let long = block.to_be_bytes();
    match length {
        6 => vec![operation, b1 & 0x1f, b2, b3, count, 0],
        10 => [&[operation, 0][..], &long, &[0, 0, count, 0]].concat(),
        12 => [&[operation, 0][..], &long, &[0, 0, 0, count, 0, 0]].concat(),
        _ => [&[operation, 0, 0, 0, 0, 0][..], &long, &[0, 0, 0, count, 0, 0]].concat(),
    }
}

/// Bytes of which no block is like another's.
fn pattern(seed: usize, blocks: usize) -> Vec<u8> {
    (0..blocks * BLOCK).map(|at| (at * 7 + at / BLOCK * 13 + seed * 29) as u8).collect()
}

/// Would catch a command of some length that reads or writes other blocks, more or fewer, or not
/// to the image.
fn read_write(device: &VirtioScsi, vm: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let last = (IMAGE.size / BLOCK as u64) as u32 - 1;
    let mut seed = 0;
    for length in [6, 10, 12, 16] {
        for (block, count) in [(0, 1), (1, 8), (1000, 3), (last - 4, 5), (last, 1)] {
            seed += 1;
            let what = format!("of {length} bytes, block {block}, {count} blocks");
            let data = pattern(seed, usize::from(count));
            let wrote = live.command(DISK, &cdb(length, true, block, count), &data, 0)?;
            good(wrote, &format!("WRITE {what}"));
            let at = u64::from(block) * BLOCK as u64;
            let mut image = vec![0; data.len()];
            vm.read_image(IMAGE.name, at, &mut image)?;
            assert!(image == data, "WRITE {what}: the image");
            let other = pattern(seed + 100, usize::from(count));
            vm.write_image(IMAGE.name, at, &other)?;
            let read = live.command(DISK, &cdb(length, false, block, count), &[], data.len())?;
            assert!(good(read, &format!("READ {what}")) == other, "READ {what}: the data");
        }
    }
    // What is beside what was written is as it was.
    vm.write_image(IMAGE.name, 100 * BLOCK as u64, &[0x11; 3 * BLOCK])?;
    good(live.command(DISK, &cdb(10, true, 101, 1), &[0x22; BLOCK], 0)?, "WRITE of one block");
    let mut image = vec![0; 3 * BLOCK];
    vm.read_image(IMAGE.name, 100 * BLOCK as u64, &mut image)?;
    assert!(image == [[0x11; BLOCK], [0x22; BLOCK], [0x11; BLOCK]].concat(), "the neighbours");
    let zeroes = good(live.command(ZEROES, &cdb(10, false, 5, 2), &[], 2 * BLOCK)?, "READ");
    assert!(zeroes == [0; 2 * BLOCK], "a disk that reads as zeroes");
    // A write that ends is on the disk; a flush says so.
    good(live.command(DISK, &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[], 0)?, "SYNCHRONIZE CACHE");
    Ok(())
}

/// Would catch a residual that is not the room that was left (5.6.6.1), data that goes beyond what
/// was asked for, and more data than there is room for that is not told of as such.
fn residuals(device: &VirtioScsi, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    for (asked, room) in [(36, 96), (5, 36), (36, 37)] {
        let reply = live.command(DISK, &[0x12, 0, 0, 0, asked, 0], &[], room)?;
        let what = format!("an INQUIRY of {asked} bytes with room for {room}");
        assert_eq!((reply.response, reply.status), (S_OK, GOOD), "{what}");
        assert_eq!(reply.residual as usize, room - usize::from(asked), "{what}: residual");
        assert!(reply.data[asked.into()..].iter().all(|byte| *byte == 0), "{what}: beyond");
    }
    let reply = live.command(DISK, &[0x12, 0, 0, 0, 36, 0], &[], 20)?;
    assert_eq!(reply.response, S_OVERRUN, "an INQUIRY of 36 bytes with room for 20");
    let reply = live.command(DISK, &cdb(10, false, 0, 2), &[], BLOCK)?;
    assert_eq!(reply.response, S_OVERRUN, "two blocks with room for one");
    good(live.command(DISK, &cdb(10, false, 0, 1), &[], BLOCK)?, "a good READ after it");
    Ok(())
}

/// Would catch a command for one block that reads or writes two because there is room for two, and
/// a residual that does not say so: QEMU does all three.
fn more_room(device: &VirtioScsi, vm: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let before = pattern(1, 4);
    vm.write_image(IMAGE.name, 0, &before)?;
    let read = live.command(DISK, &cdb(10, false, 0, 1), &[], 2 * BLOCK)?;
    let write = live.command(DISK, &cdb(10, true, 2, 1), &[0xd7; 2 * BLOCK], 0)?;
    let mut image = vec![0; 4 * BLOCK];
    vm.read_image(IMAGE.name, 0, &mut image)?;
    assert_eq!((read.response, write.response), (S_OK, S_OK), "responses");
    assert!(read.data == [&before[..BLOCK], &[0; BLOCK]].concat(), "one block was to be read");
    let expected = [&before[..2 * BLOCK], &[0xd7; BLOCK], &before[3 * BLOCK..]].concat();
    assert!(image == expected, "one block was to be written");
    assert_eq!((read.residual, write.residual), (BLOCK as u32, BLOCK as u32), "residuals");
    Ok(())
}

/// Would catch a command that is not refused for the right reason, whole: unit attention after a
/// reset (SAM-5, 5.14), a command unknown, a block behind the last, a write to what cannot be.
fn sense(device: &VirtioScsi, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let last = (IMAGE.size / BLOCK as u64) as u32 - 1;
    for length in [10, 12, 16] {
        for write in [false, true] {
            for (block, count) in [(last + 1, 1), (last, 2), (0xffff_fff0, 8)] {
                let (out, room): (&[u8], usize) =
                    if write { (&[0x33; 8 * BLOCK], 0) } else { (&[], 8 * BLOCK) };
                let out = if write { &out[..usize::from(count) * BLOCK] } else { out };
                let reply = live.command(DISK, &cdb(length, write, block, count), out, room)?;
                let what = format!("{count} blocks from {block:#x} on, write: {write}");
                refused(&reply, (5, 0x21, 0), &what);
                assert!(reply.data.iter().all(|byte| *byte == 0), "{what}: data");
            }
        }
    }
    for operation in [0x02, 0x06, 0x0d] {
        let reply = live.command(DISK, &[operation, 0, 0, 0, 0, 0], &[], 0)?;
        refused(&reply, (5, 0x20, 0), &format!("the operation {operation:#x}"));
    }
    good(live.command(DISK, &[0; 6], &[], 0)?, "TEST UNIT READY");
    Ok(())
}

/// Would catch a unit that is not listed or another's (5.6.6.1), a target that is not there, and a
/// number that has no unit.
fn units(device: &VirtioScsi, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    let report =
        |unit: Unit| live.command(unit, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0], &[], 64);
    let list = report(DISK)?;
    assert_eq!((list.response, list.status), (S_OK, GOOD), "REPORT LUNS");
    assert_eq!(list.data[..4], [0, 0, 0, 16], "the length of two units");
    assert_eq!(list.data[8..24], [0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0], "units 0 and 2");
    assert_eq!(list.residual, 64 - 24, "REPORT LUNS: residual");
    let list = report(CDROM)?;
    assert_eq!(list.data[..16], [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "one unit");
    let absent = live.command((1, 1), &[0; 6], &[], 0)?;
    refused(&absent, (5, 0x25, 0), "a unit that is not there");
    let absent = live.command((1, 1), &[0x12, 0, 0, 0, 36, 0], &[], 36)?;
    assert_eq!((absent.status, absent.data[0]), (GOOD, 0x7f), "INQUIRY of no unit");
    for target in [0, 3, 255] {
        let absent = live.command((target, 0), &[0; 6], &[], 0)?;
        assert_eq!(absent.response, S_BAD_TARGET, "target {target}, which is not there");
    }
    Ok(())
}

/// Would catch a task management function (5.6.6.2) that is not done, or done to another unit, and
/// one that is unknown but not refused.
fn tasks(device: &VirtioScsi, _: &Rc<Vm>) -> Result<()> {
    const COMPLETE: u8 = 0;
    const REJECTED: u8 = 11;
    const INCORRECT_LUN: u8 = 12;
    let live = start(device)?;
    for (subtype, unit, expected) in [
        // Abort a task, abort a set, clear a set: nothing is in flight.
        (0, DISK, COMPLETE),
        (1, DISK, COMPLETE),
        (3, DISK, COMPLETE),
        // Query a task, and a set: there is none.
        (6, DISK, COMPLETE),
        (7, DISK, COMPLETE),
        (2, DISK, REJECTED),
        (77, DISK, REJECTED),
        (0, (1, 1), INCORRECT_LUN),
        (5, (1, 1), INCORRECT_LUN),
        (5, (9, 0), S_BAD_TARGET),
    ] {
        let answer = live.manage(unit, subtype, 0x1122_3344)?;
        assert_eq!(answer, expected, "function {subtype} of {unit:?}");
        good(live.command(DISK, &[0; 6], &[], 0)?, "TEST UNIT READY after it");
    }
    // The reset of a unit, and of its target: the next command says so, once.
    for (subtype, both) in [(5, false), (4, true)] {
        assert_eq!(live.manage(DISK, subtype, 0)?, COMPLETE, "the reset {subtype}");
        for (unit, was_reset) in [(DISK, true), (ZEROES, both), (CDROM, false)] {
            let first = live.command(unit, &[0; 6], &[], 0)?;
            if was_reset {
                refused(&first, (6, 0x29, 0), &format!("{unit:?} after the reset {subtype}"));
            } else {
                good(first, &format!("{unit:?}, which was not reset"));
            }
            good(live.command(unit, &[0; 6], &[], 0)?, "the next one");
        }
    }
    Ok(())
}

/// Would catch a queue of requests that is dead, or gives back on another's ring.
fn queues(device: &VirtioScsi, vm: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    for round in 0..40 {
        for queue in 0..live.requests.len() {
            let block = (3 * round + queue) as u32;
            let data = pattern(round * 4 + queue, 1);
            vm.write_image(IMAGE.name, u64::from(block) * BLOCK as u64, &data)?;
            let read = live.command_by(queue, DISK, &cdb(10, false, block, 1), &[], BLOCK)?;
            assert!(good(read, "READ") == data, "block {block} by queue {queue}");
        }
    }
    Ok(())
}

/// Would catch a unit that comes or goes without the driver being told (5.6.6.3), told of another,
/// or that cannot be used when it has come, or can when it is gone.
fn hotplug(device: &VirtioScsi, vm: &Rc<Vm>) -> Result<()> {
    const TRANSPORT_RESET: u32 = 1;
    const RESCAN: u32 = 1;
    const REMOVED: u32 = 2;
    let live = start(device)?;
    let disk = json!({ "driver": "null-co", "node-name": "hot-node", "read-zeroes": true,
        "size": 1 << 20 });
    vm.qmp().execute("blockdev-add", disk)?;
    for _ in 0..2 {
        let (event, unit, reason) = live.event(|| {
            let new = json!({ "driver": "scsi-hd", "id": "hot", "bus": "scsi0.0",
                "drive": "hot-node", "scsi-id": 7, "lun": 3 });
            vm.qmp().execute("device_add", new)?;
            Ok(())
        })?;
        assert_eq!((event, reason), (TRANSPORT_RESET, RESCAN), "the event of a new unit");
        // By either of two methods of addressing.
        assert_eq!([unit[0], unit[1], unit[2] & !0x40, unit[3]], [1, 7, 0, 3], "the new unit");
        let (new, zeroes) = ((7, 3), [0; BLOCK]);
        for _ in 0..2 {
            live.command(new, &[0; 6], &[], 0)?;
        }
        let read = good(live.command(new, &cdb(10, false, 2, 1), &[], BLOCK)?, "READ");
        assert!(read == zeroes, "what is read of the new unit");
        let (event, unit, reason) = live.event(|| {
            vm.qmp().execute("device_del", json!({ "id": "hot" }))?;
            Ok(())
        })?;
        assert_eq!((event, reason), (TRANSPORT_RESET, REMOVED), "the event of a unit that goes");
        assert_eq!([unit[0], unit[1], unit[2] & !0x40, unit[3]], [1, 7, 0, 3], "the one that goes");
        wait_event(vm, "DEVICE_DELETED")?;
        let gone = live.command(new, &[0; 6], &[], 0)?;
        assert_eq!(gone.response, S_BAD_TARGET, "a unit that is gone");
    }
    // The other units tell of the change as well, in what they say next.
    for _ in 0..3 {
        if live.command(DISK, &[0; 6], &[], 0)?.status == GOOD {
            break;
        }
    }
    good(live.command(DISK, &[0; 6], &[], 0)?, "the disk afterwards");
    Ok(())
}

/// Would catch a WRITE SAME that fails or ends QEMU where the blocks are not aligned to what the
/// disk likes, writes other blocks, or takes a buffer that is no block.
fn unaligned_write_same(device: &VirtioScsi, vm: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    for (seed, block, count) in [(1, 1, 2u8), (2, 1, 0x33), (3, 100, 1), (4, 2047, 100)] {
        let around = vec![0x77; (usize::from(count) + 2) * BLOCK];
        let at = (block - 1) * BLOCK as u64;
        vm.write_image(IMAGE.name, at, &around)?;
        let data = if seed == 2 { vec![0; BLOCK] } else { pattern(seed, 1) };
        let [_, _, _, _, a, b, c, d] = block.to_be_bytes();
        let cdb = [0x41, 0, a, b, c, d, 0, 0, count, 0];
        good(live.command(DISK, &cdb, &data, 0)?, &format!("WRITE SAME of {count} blocks"));
        let mut image = vec![0; around.len()];
        vm.read_image(IMAGE.name, at, &mut image)?;
        let expected = [&[0x77; BLOCK][..], &data.repeat(count.into()), &[0x77; BLOCK]].concat();
        assert!(image == expected, "WRITE SAME of {count} blocks at {block}: the image");
    }
    Ok(())
}

/// Would catch an UNMAP whose block is far behind the last that is carried out somewhere else, or
/// ends QEMU.
fn large_lba_unmap(device: &VirtioScsi, vm: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    vm.write_image(IMAGE.name, 0, &[0x66; 64 * BLOCK])?;
    for (block, count) in [(u64::MAX, 1u32), (u64::MAX - 7, 16), (1 << 55, 8), (1 << 63, !0)] {
        let mut list = vec![0, 22, 0, 16, 0, 0, 0, 0];
        list.extend(block.to_be_bytes());
        list.extend(count.to_be_bytes());
        list.extend([0; 4]);
        let cdb = [0x42, 0, 0, 0, 0, 0, 0, 0, list.len() as u8, 0];
        let reply = live.command(DISK, &cdb, &list, 0)?;
        assert_eq!(reply.status, CHECK_CONDITION, "UNMAP of {count} blocks at {block:#x}");
        let mut image = vec![0; 64 * BLOCK];
        vm.read_image(IMAGE.name, 0, &mut image)?;
        assert!(image == [0x66; 64 * BLOCK], "the image after an UNMAP at {block:#x}");
    }
    good(live.command(DISK, &cdb(10, false, 0, 1), &[], BLOCK)?, "READ after them");
    Ok(())
}

/// Would catch a CD-ROM that takes a write, or dies of one.
fn write_to_cdrom(device: &VirtioScsi, _: &Rc<Vm>) -> Result<()> {
    let live = start(device)?;
    for length in [10, 12, 16] {
        let reply = live.command(CDROM, &cdb(length, true, 0, 1), &[0x44; 2048], 0)?;
        assert_eq!((reply.response, reply.status), (S_OK, CHECK_CONDITION), "a write of a CD-ROM");
        let code = reply.sense_code();
        assert!([(5, 0x20, 0), (7, 0x27, 0)].contains(&code), "a write of a CD-ROM: {code:x?}");
    }
    let read = good(live.command(CDROM, &cdb(10, false, 3, 1), &[], 2048)?, "READ of a CD-ROM");
    match read == [0; 2048] {
        true => Ok(()),
        false => Err(Error::failed("the medium of the CD-ROM reads as zeroes")),
    }
}
