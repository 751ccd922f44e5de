//! The virtio SCSI host adapter: commands of every length compared with the image, residuals and
//! sense data whole, units, task management, and units that come and go.

use std::rc::Rc;

use serde_json::json;

use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::qos::scsi::IMAGE;
use crate::qos::virtio::scsi::{
    self, BLOCK, CDROM, CHECK_CONDITION, DISK, GOOD, Live, Reply, S_BAD_TARGET, S_OK, Unit,
    VirtioScsi, ZEROES,
};
use crate::qos::wait_event;
use crate::{Error, Result, attacks, tests};

tests!(VirtioScsi, "virtio-scsi-tests":
    configuration,
    units,
    tasks,
    queues,
    hotplug,
    unaligned_write_same = "unaligned-write-same",
    large_lba_unmap = "large-lba-unmap",
    write_to_cdrom = "write-to-cdrom",
);
attacks!(VirtioScsi, "virtio-scsi-attacks": units, tasks);

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
