//! SCSI host adapters of every kind: what units refuse, their sense data, units that are not there,
//! and data of other lengths than there is room for.

use std::rc::Rc;

use super::hba::{
    BAD_FIELD, LAST, NO_OPERATION, NO_UNIT, OUT_OF_RANGE, Started, assert_same, pattern, sense,
};
use crate::qemu::Vm;
use crate::qos::scsi::cdb::{self, BLOCK};
use crate::qos::scsi::{Answer, CDROM, DISK, Data, GOOD, IMAGE, SLOW, ScsiHba, Unit, ZEROES_SIZE};
use crate::{Result, tests};

tests!(dyn ScsiHba, "scsi-hba-tests":
    bad_commands = "bad-commands",
    mode_sense = "mode-sense",
    request_sense = "request-sense",
    sense_once = "sense-once",
    sense_attention = "sense-attention",
    sense_of_luns = "sense-of-luns",
    units,
    residuals,
    more_room = "more-room",
    less_room = "less-room",
    without_data = "without-data",
    many,
);

/// Would catch a command that nobody knows and that is done, a field that must not be as it is,
/// and an adapter that is of no use afterwards.
fn bad_commands(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    for (seed, operation) in [0x02, 0x06, 0x0d, 0x1f].into_iter().enumerate() {
        started.refused(DISK, &[operation, 0, 0, 0, 0, 0], Data::None, NO_OPERATION)?;
        started.works(seed)?;
    }
    for (seed, operation) in [0x26, 0x40, 0x5c].into_iter().enumerate() {
        let cdb = [operation, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        started.refused(DISK, &cdb, Data::None, NO_OPERATION)?;
        started.works(seed + 10)?;
    }
    // Service actions that are not there, and a read that asks for what the disk does not have.
    let mut cdb = cdb::read_capacity_16(32);
    cdb[1] = 0x1f;
    started.refused(DISK, &cdb, Data::In(32), BAD_FIELD)?;
    let mut cdb = cdb::transfer(10, false, 0, 1);
    cdb[1] = 0xe0;
    started.refused(DISK, &cdb, Data::In(BLOCK), BAD_FIELD)?;
    started.works(20)
}

/// Would catch a mode page with another code or length, a header that does not say how long the
/// rest is, and a capacity there that is not the disk's (SPC-4, 7.5; SBC-3, 6.4).
fn mode_sense(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    const CACHING: u8 = 0x08;
    let started = Started::new(hba, vm)?;
    let blocks = (IMAGE.size / BLOCK as u64) as u32;
    for page in [0x3f, CACHING] {
        let short = started.reply(DISK, &cdb::mode_sense_6(page, 255), Data::In(255))?;
        let long = started.reply(DISK, &cdb::mode_sense_10(page, 255), Data::In(255))?;
        assert_eq!((short.status, long.status), (GOOD, GOOD), "page {page:#x}");
        let length = usize::from(short.data[0]) + 1;
        let room = usize::from(u16::from_be_bytes([long.data[0], long.data[1]])) + 2;
        assert_eq!(room, length + 4, "page {page:#x}: the length with a header of 8 bytes");
        assert_eq!((short.data[1], short.data[3]), (0, 8), "medium, length of descriptors");
        assert_eq!((long.data[2], long.data[7]), (0, 8), "medium, length of descriptors");
        // Bit 7: protected; bit 4: DPO and FUA are known.
        assert_eq!(short.data[2], long.data[3], "page {page:#x}: the device's parameter");
        assert_eq!(short.data[2] & !0x10, 0, "page {page:#x}: the device's parameter");
        let descriptor = [&blocks.to_be_bytes()[1..], &[0], &512u32.to_be_bytes()[1..]].concat();
        let descriptor = [&[0][..], &descriptor].concat();
        assert_eq!(short.data[4..12], descriptor, "page {page:#x}: the descriptor");
        assert_eq!(short.data[4..length], long.data[8..room], "page {page:#x}: both forms");
        // QEMU fills the rest with zeroes, and counts them.
        let left = short.residual.unwrap_or(0);
        assert!([0, 255 - length].contains(&left), "page {page:#x}: {left} left of 255");
        let mut pages = &short.data[12..length];
        let mut codes = Vec::new();
        while let [code, rest, ..] = *pages {
            codes.push(code & 0x3f);
            assert!(pages.len() >= 2 + usize::from(rest), "page {code:#x} of {rest} bytes");
            pages = &pages[2 + usize::from(rest)..];
        }
        assert!(pages.is_empty(), "page {page:#x}: {} bytes behind the last", pages.len());
        assert!(codes.contains(&CACHING), "pages {codes:02x?}");
        assert!(codes.is_sorted() && (page == 0x3f || codes == [page]), "pages {codes:02x?}");
    }
    started.refused(DISK, &cdb::mode_sense_6(0x2f, 255), Data::In(255), BAD_FIELD)?;
    // Without a descriptor, the pages stand behind the header.
    let cdb = [0x1a, 0x08, CACHING, 0, 255, 0];
    let data = started.reply(DISK, &cdb, Data::In(255))?.data;
    assert_eq!((data[3], data[4] & 0x3f, data[5]), (0, CACHING, 18), "without a descriptor");
    // Bit 2: writes are cached.
    assert_eq!(data[6] & 4, 4, "the cache for writes");
    started.works(1)
}

/// Would catch sense data where nothing is wrong, and more or less of it than was asked for
/// (SPC-4, 6.39).
fn request_sense(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    let none = sense((0, 0, 0));
    assert_eq!(started.good(DISK, &cdb::request_sense(18), Data::In(18))?, none, "18 bytes");
    assert_eq!(started.short(DISK, &cdb::request_sense(18), (96, 18, 18))?, none, "more room");
    assert_eq!(started.good(DISK, &cdb::request_sense(8), Data::In(8))?, none[..8], "8 bytes");
    // Of descriptor format.
    let long = started.good(DISK, &[0x03, 1, 0, 0, 8, 0], Data::In(8))?;
    assert_eq!(long, [0x72, 0, 0, 0, 0, 0, 0, 0], "descriptors");
    started.works(1)
}

/// Would catch sense data that is told twice, or by another unit: the adapter, or its driver, has
/// asked for it already (SPC-4, 4.5.1; SAM-5, 5.13).
fn sense_once(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    let none = sense((0, 0, 0));
    for code in [NO_OPERATION, OUT_OF_RANGE] {
        let (cdb, data) = match code {
            NO_OPERATION => (vec![0x02, 0, 0, 0, 0, 0], Data::None),
            _ => (cdb::transfer(10, false, LAST + 1, 1), Data::In(BLOCK)),
        };
        started.refused(DISK, &cdb, data, code)?;
        let other = started.good(CDROM, &cdb::request_sense(18), Data::In(18))?;
        assert_eq!(other, none, "another unit's");
        assert_eq!(started.good(DISK, &cdb::request_sense(18), Data::In(18))?, none, "afterwards");
    }
    started.works(1)
}

/// Would catch a unit attention that a REQUEST SENSE does not tell in its data (SAM-5, 5.14.3).
fn sense_attention(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    hba.reset(DISK)?;
    let reply = started.reply(DISK, &cdb::request_sense(18), Data::In(18))?;
    assert_eq!(reply.status, GOOD, "the status of a REQUEST SENSE");
    assert_eq!(reply.data, sense((6, 0x29, 0)), "after a reset");
    started.good(DISK, &cdb::TEST_UNIT_READY, Data::None)?;
    Ok(())
}

/// Would catch sense data of a unit with another number than 0 that gets lost on its way.
fn sense_of_luns(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    let zeroes = started.profile.units.zeroes;
    started.refused(zeroes, &[0x02, 0, 0, 0, 0, 0], Data::None, NO_OPERATION)?;
    let last = (ZEROES_SIZE / BLOCK as u64) as u32 - 1;
    let cdb = cdb::transfer(10, false, last, 2);
    started.refused(zeroes, &cdb, Data::In(2 * BLOCK), OUT_OF_RANGE)?;
    started.good(zeroes, &cdb::transfer(10, false, last, 1), Data::In(BLOCK))?;
    started.works(1)
}

/// Would catch a unit that is another's, one that is there and should not be, and an absent one
/// after which the others are gone (SPC-4, 6.33).
fn units(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    let units = started.profile.units;
    for target in units.no_targets {
        for _ in 0..2 {
            let absent = hba.send(Unit::new(*target, 0), &cdb::TEST_UNIT_READY, Data::None)?;
            assert_eq!(absent, Answer::Absent, "target {target}, which is not there");
            started.works((*target).into())?;
        }
        let absent = hba.send(Unit::new(*target, 0), &cdb::inquiry(36), Data::In(36))?;
        assert_eq!(absent, Answer::Absent, "INQUIRY of target {target}");
    }
    if let Some(unit) = units.no_lun {
        match hba.send(unit, &cdb::TEST_UNIT_READY, Data::None)? {
            Answer::Absent => {}
            _ => drop(started.refused(unit, &cdb::TEST_UNIT_READY, Data::None, NO_UNIT)?),
        }
        match hba.send(unit, &cdb::inquiry(36), Data::In(36))? {
            Answer::Absent => {}
            Answer::Replied(reply) => assert_eq!(reply.data[0], 0x7f, "INQUIRY of {unit:?}"),
            other => panic!("INQUIRY of {unit:?}: {other:?}"),
        }
        started.works(3)?;
    }
    for (unit, luns) in [DISK, CDROM].into_iter().zip(units.luns).filter(|it| !it.1.is_empty()) {
        let mut list = vec![0, 0, 0, 8 * luns.len() as u8, 0, 0, 0, 0];
        list.extend(luns.iter().flat_map(|lun| [0, *lun, 0, 0, 0, 0, 0, 0]));
        let mut found = started.short(unit, &cdb::report_luns(64), (64, 64, list.len()))?;
        // They may be in any order.
        let (_, entries) = found.split_at_mut(8);
        entries.as_chunks_mut::<8>().0.sort_unstable();
        assert_eq!(found, list, "REPORT LUNS of {unit:?}");
    }
    // Less than 16 bytes are not enough.
    started.refused(DISK, &cdb::report_luns(8), Data::In(8), BAD_FIELD)?;
    started.set_image(5, &[0x99; BLOCK])?;
    for (unit, byte) in [(DISK, 0x99), (units.zeroes, 0), (SLOW, 0), (DISK, 0x99)] {
        let read = started.good(unit, &cdb::transfer(10, false, 5, 1), Data::In(BLOCK))?;
        assert_same(&read, &[byte; BLOCK], &format!("block 5 of {unit:?}"));
    }
    Ok(())
}

/// Would catch a residual that is not the room that was left, and data beyond what was asked for.
fn residuals(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    let whole = started.good(DISK, &cdb::inquiry(36), Data::In(36))?;
    for (asked, room) in [(36, 96), (5, 36), (36, 37), (96, 96), (255, 512)] {
        let used = whole.len().min(asked.into());
        let there = (room, asked.into(), used);
        let found = started.short(DISK, &cdb::inquiry(asked), there)?;
        // The fifth byte says how many follow.
        let what = format!("an INQUIRY of {asked} bytes with room for {room}");
        assert_eq!((&found[..4], &found[5..]), (&whole[..4], &whole[5..used]), "{what}");
        started.works(room)?;
    }
    Ok(())
}

/// Would catch a command for one block that reads or writes two because there is memory for two,
/// and a residual that does not say so.
fn more_room(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    let before = pattern(1, 4);
    started.set_image(0, &before)?;
    let read = started.reply(DISK, &cdb::transfer(10, false, 0, 1), Data::In(2 * BLOCK))?;
    let out = Data::Out(&[0xd7; 2 * BLOCK]);
    let write = started.reply(DISK, &cdb::transfer(10, true, 2, 1), out)?;
    assert_eq!((read.status, write.status), (GOOD, GOOD), "statuses");
    let expected = [&before[..BLOCK], &[0; BLOCK]].concat();
    assert_same(&read.data, &expected, "one block was to be read");
    let expected = [&before[..2 * BLOCK], &[0xd7; BLOCK], &before[3 * BLOCK..]].concat();
    assert_same(&started.image(0, 4 * BLOCK)?, &expected, "one block was to be written");
    if started.profile.tells_residual {
        assert_eq!((read.residual, write.residual), (Some(BLOCK), Some(BLOCK)), "residuals");
    }
    Ok(())
}

/// Would catch a command with more data than there is memory for that writes behind it, or whose
/// shortness nobody is told of.
fn less_room(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    started.set_image(0, &pattern(4, 2))?;
    for (cdb, room) in [(cdb::inquiry(36).to_vec(), 20), (cdb::transfer(10, false, 0, 2), BLOCK)] {
        let answer = hba.send(DISK, &cdb, Data::In(room))?;
        if started.profile.refuses_overrun {
            assert_eq!(answer, Answer::Overrun, "command {cdb:02x?} with room for {room}");
        }
        started.settle(DISK)?;
        started.works(room)?;
    }
    Ok(())
}

/// Would catch a command without data that is not done, or does more than it should, where the
/// image is concerned.
fn without_data(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    let before = pattern(9, 4);
    started.set_image(0, &before)?;
    for cdb in [
        cdb::transfer(10, false, 0, 0),
        cdb::transfer(10, true, 0, 0),
        cdb::transfer(16, true, LAST, 0),
        cdb::verify(0, 4).to_vec(),
        cdb::verify(LAST, 1).to_vec(),
        // PREVENT ALLOW MEDIUM REMOVAL, START STOP UNIT, SEEK.
        vec![0x1e, 0, 0, 0, 0, 0],
        vec![0x1b, 0, 0, 0, 1, 0],
        vec![0x2b, 0, 0, 0, 0, 9, 0, 0, 0, 0],
    ] {
        started.good(DISK, &cdb, Data::None)?;
        assert_same(&started.image(0, before.len())?, &before, &format!("after {cdb:02x?}"));
    }
    started.good(DISK, &cdb::write_same(1, 2), Data::Out(&[0x5b; BLOCK]))?;
    let expected = [&before[..BLOCK], &[0x5b; 2 * BLOCK], &before[3 * BLOCK..]].concat();
    assert_same(&started.image(0, before.len())?, &expected, "WRITE SAME of two blocks");
    started.works(1)
}

/// Would catch an adapter whose rings, frames or queues do not wrap, or come back out of order.
fn many(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    for round in 0..150u32 {
        let data = pattern(round as usize, 1);
        started.set_image(3 * round, &data)?;
        let read = started.good(DISK, &cdb::transfer(10, false, 3 * round, 1), Data::In(BLOCK))?;
        assert_same(&read, &data, &format!("block {}, command {round}", 3 * round));
    }
    Ok(())
}
