//! Disks behind SCSI host adapters of every kind: parameters that are set, blocks that are given back
//! or written alike, and parameter lists that are cut off (SPC-4 and SBC-3, whose sections are cited).

use std::rc::Rc;

use super::hba::{BAD_FIELD, LAST, OUT_OF_RANGE, Started, assert_same, pattern};
use crate::qemu::Vm;
use crate::qos::scsi::cdb::{self, BLOCK};
use crate::qos::scsi::{Answer, DISK, Data, GOOD, ScsiHba};
use crate::{Result, tests};

tests!(dyn ScsiHba, "scsi-disk-tests":
    write_cache = "write-cache",
    mode_select_refused = "mode-select-refused",
    block_length = "block-length",
    unmap,
    unmap_refused = "unmap-refused",
    write_same = "write-same",
    write_same_refused = "write-same-refused",
    cut_off = "cut-off",
);

/// Sense key, additional code and qualifier: a parameter list is cut off, or longer than it says.
const LIST_LENGTH: (u8, u8, u8) = (5, 0x1a, 0);
/// A field of a parameter list is wrong.
const BAD_PARAMETER: (u8, u8, u8) = (5, 0x26, 0);
/// The mode page Caching (SBC-3, 6.4.5), and its bit by which writes are cached.
const CACHING: u8 = 0x08;
const WCE: u8 = 1 << 2;

/// MODE SELECT (6) and (10) of `length` bytes; pages are as the standard has them (PF).
fn mode_select(is_long: bool, length: usize) -> Vec<u8> {
    match is_long {
        false => vec![0x15, 0x10, 0, 0, length as u8, 0],
        true => vec![0x55, 0x10, 0, 0, 0, 0, 0, (length >> 8) as u8, length as u8, 0],
    }
}

/// UNMAP with a parameter list of `length` bytes (SBC-3, 5.28).
fn unmap_of(length: usize) -> [u8; 10] {
    [0x42, 0, 0, 0, 0, 0, 0, (length >> 8) as u8, length as u8, 0]
}

/// The parameter list of an UNMAP of `ranges`, each of a first block and a count.
fn unmap_list(ranges: &[(u64, u32)]) -> Vec<u8> {
    let length = ranges.len() * 16;
    let mut list = [(length + 6) as u16, length as u16].map(u16::to_be_bytes).concat();
    list.extend([0; 4]);
    for (first, count) in ranges {
        list.extend(first.to_be_bytes());
        list.extend(count.to_be_bytes());
        list.extend([0; 4]);
    }
    list
}

/// WRITE SAME (16) of `count` blocks, with these flags of byte 1 (SBC-3, 5.45).
fn write_same_16(flags: u8, block: u64, count: u32) -> Vec<u8> {
    let mut cdb = vec![0x93, flags];
    cdb.extend(block.to_be_bytes());
    cdb.extend(count.to_be_bytes());
    cdb.extend([0, 0]);
    cdb
}

impl Started<'_> {
    /// The page Caching, with its two bytes of code and length.
    fn caching(&self) -> Result<Vec<u8>> {
        // No block descriptor (DBD); the header has four bytes, and the page 20.
        let mut cdb = cdb::mode_sense_6(CACHING, 24);
        cdb[1] = 1 << 3;
        Ok(self.good(DISK, &cdb, Data::In(24))?[4..].to_vec())
    }

    /// A MODE SELECT of `list`, which is with its header.
    fn select(&self, is_long: bool, list: &[u8]) -> Result<()> {
        self.good(DISK, &mode_select(is_long, list.len()), Data::Out(list)).map(drop)
    }
}

/// Would catch a write cache that is not switched, or not said to be, and other bits of the page that
/// change with it (SPC-4, 6.11).
fn write_cache(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    let before = started.caching()?;
    assert_eq!(before[..2], [CACHING, 18], "the page Caching");
    for (round, is_long) in [false, true, false, true].into_iter().enumerate() {
        let mut page = before.clone();
        page[2] = if round < 2 { before[2] ^ WCE } else { before[2] };
        let header = vec![0; if is_long { 8 } else { 4 }];
        started.select(is_long, &[header, page.clone()].concat())?;
        assert_eq!(started.caching()?, page, "Caching, round {round}");
        started.works(round)?;
    }
    Ok(())
}

/// Would catch a list of parameters that is wrong, and that is taken, in whole or in part.
fn mode_select_refused(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    let before = started.caching()?;
    let mut other = before.clone();
    other[2] ^= WCE;
    let header = vec![0; 4];
    let with = |parts: &[&[u8]]| [&header[..], &parts.concat()].concat();
    let unknown = [0x3b, 2, 0, 0];
    let mut descriptor = header.clone();
    descriptor[3] = 4;
    for (what, list, code) in [
        ("half a header", vec![0; 2], LIST_LENGTH),
        ("half a page", with(&[&other[..10]]), LIST_LENGTH),
        ("a page without its length", with(&[&other[..1]]), LIST_LENGTH),
        ("a page behind which another is cut off", with(&[&other, &other[..3]]), LIST_LENGTH),
        ("a page that nobody knows", with(&[&unknown]), BAD_PARAMETER),
        ("a good page in front of it", with(&[&other, &unknown]), BAD_PARAMETER),
        ("a block descriptor of four bytes", [&descriptor[..], &[0; 4]].concat(), BAD_PARAMETER),
        ("a page with another length", with(&[&[CACHING, 4, other[2], 0, 0, 0]]), BAD_PARAMETER),
    ] {
        let cdb = mode_select(false, list.len());
        let reply = started.reply(DISK, &cdb, Data::Out(&list))?;
        assert_eq!(reply.sense, super::hba::sense(code), "{what}: sense data");
        assert_eq!(started.caching()?, before, "{what}: Caching");
    }
    // Pages that are not as the standard has them, and values that are to be saved.
    let list = with(&[&other]);
    for flags in [0x00, 0x11] {
        let mut cdb = mode_select(false, list.len());
        cdb[1] = flags;
        started.refused(DISK, &cdb, Data::Out(&list), BAD_FIELD)?;
    }
    assert_eq!(started.caching()?, before, "Caching, after what was refused");
    started.works(1)
}

/// Would catch blocks of another size after a MODE SELECT that asks for it, although the disk was not
/// formatted since (SBC-3, 6.4.2.2).
fn block_length(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    let capacity = started.good(DISK, &cdb::READ_CAPACITY_10, Data::In(8))?;
    for length in [BLOCK as u32, 1024, 4096, 0xfe00, 0] {
        let [_, high, middle, low] = length.to_be_bytes();
        let list = [0, 0, 0, 8, 0, 0, 0, 0, 0, high, middle, low];
        // Whether it is refused is the disk's word.
        started.reply(DISK, &mode_select(false, list.len()), Data::Out(&list))?;
        started.settle(DISK)?;
        let now = started.good(DISK, &cdb::READ_CAPACITY_10, Data::In(8))?;
        assert_eq!(now, capacity, "READ CAPACITY after a MODE SELECT of blocks of {length} bytes");
        started.works(1)?;
        started.exchange(10, LAST, 1, 2)?;
    }
    Ok(())
}

/// Would catch an UNMAP that takes other blocks away than it was told, or leaves something else than
/// zeroes or what was there (SBC-3, 5.28).
fn unmap(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    let bytes = pattern(3, 128);
    started.set_image(0, &bytes)?;
    let ranges = [(8, 8), (0, 0), (32, 16), (100, 1), (u64::from(LAST), 1)];
    let list = unmap_list(&ranges);
    started.good(DISK, &unmap_of(list.len()), Data::Out(&list))?;
    for block in 0..128u32 {
        let gone = ranges
            .iter()
            .any(|(first, count)| (*first..first + u64::from(*count)).contains(&u64::from(block)));
        let read = cdb::transfer(10, false, block, 1);
        let found = started.good(DISK, &read, Data::In(BLOCK))?;
        let was = &bytes[block as usize * BLOCK..][..BLOCK];
        if !(gone && found.iter().all(|byte| *byte == 0)) {
            assert_same(&found, was, &format!("block {block}"));
        }
    }
    // A list without a range, and no list, do nothing.
    let list = unmap_list(&[]);
    started.good(DISK, &unmap_of(list.len()), Data::Out(&list))?;
    started.good(DISK, &unmap_of(0), Data::None)?;
    started.works(4)
}

/// Would catch an UNMAP of blocks that are not there, or with a list that is shorter than it says,
/// which is done.
fn unmap_refused(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    let bytes = pattern(5, 64);
    started.set_image(0, &bytes)?;
    for range in [(LAST.into(), 2), (u64::from(LAST) + 1, 1), (0, u32::MAX), (u64::MAX, 2)] {
        let list = unmap_list(&[range]);
        started.refused(DISK, &unmap_of(list.len()), Data::Out(&list), OUT_OF_RANGE)?;
    }
    let good = unmap_list(&[(0, 8), (16, 8)]);
    let mut long = good.clone();
    // UNMAP DATA LENGTH and UNMAP BLOCK DESCRIPTOR DATA LENGTH of more than there is.
    long[..4].copy_from_slice(&[0, 54, 0, 48]);
    for (what, list) in [("half a header", &good[..4]), ("more descriptors than bytes", &long)] {
        let reply = started.reply(DISK, &unmap_of(list.len()), Data::Out(list))?;
        assert_eq!(reply.sense, super::hba::sense(LIST_LENGTH), "{what}: sense data");
    }
    let mut anchor = unmap_of(good.len());
    anchor[1] = 1;
    started.refused(DISK, &anchor, Data::Out(&good), BAD_FIELD)?;
    assert_same(&started.image(0, bytes.len())?, &bytes, "after what was refused");
    started.works(6)
}

/// Would catch a block that is written to fewer or more blocks than it was to be, or in parts
/// (SBC-3, 5.44, 5.45).
fn write_same(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    let one = pattern(7, 1);
    for (cdb, first, count) in [
        (cdb::write_same(3, 5).to_vec(), 3u32, 5usize),
        (write_same_16(0, 3, 1), 3, 1),
        // More than a disk may write in one go.
        (write_same_16(0, 10, 2500), 10, 2500),
        (cdb::write_same(LAST - 3, 4).to_vec(), LAST - 3, 4),
    ] {
        for block in [&one, &vec![0; BLOCK]] {
            let what = format!("{count} blocks at {first}");
            let before = pattern(9, count + 1);
            let behind = if first + count as u32 > LAST { 0 } else { 1 };
            started.set_image(first - 1, &before[..BLOCK])?;
            started.set_image(first, &before[..(count + behind) * BLOCK])?;
            started.good(DISK, &cdb, Data::Out(block))?;
            let mut expected = before[..BLOCK].to_vec();
            for _ in 0..count {
                expected.extend(block);
            }
            expected.extend(&before[count * BLOCK..][..behind * BLOCK]);
            assert_same(&started.image(first - 1, expected.len())?, &expected, &what);
        }
    }
    // Blocks that may be given back read as zeroes, if zeroes were to be written.
    let before = pattern(9, 24);
    started.set_image(64, &before)?;
    started.good(DISK, &write_same_16(1 << 3, 72, 8), Data::Out(&[0; BLOCK]))?;
    let expected = [&before[..8 * BLOCK], &[0; 8 * BLOCK], &before[16 * BLOCK..]].concat();
    assert_same(&started.image(64, expected.len())?, &expected, "WRITE SAME with UNMAP");
    started.works(8)
}

/// Would catch a WRITE SAME of blocks that are not there, or with bits that the disk does not have,
/// which is done.
fn write_same_refused(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    let bytes = pattern(5, 64);
    started.set_image(0, &bytes)?;
    let one = Data::Out(&[0x77; BLOCK]);
    for (first, count) in [(LAST.into(), 2), (u64::from(LAST) + 1, 1), (u64::MAX, 2), (1, u32::MAX)]
    {
        started.refused(DISK, &write_same_16(0, first, count), one, OUT_OF_RANGE)?;
    }
    // LBDATA, PBDATA, ANCHOR without UNMAP; and no block at all, which WSNZ forbids.
    for cdb in [
        write_same_16(1 << 1, 0, 4),
        write_same_16(1 << 2, 0, 4),
        write_same_16(1 << 4, 0, 4),
        write_same_16(0, 0, 0),
        cdb::write_same(0, 0).to_vec(),
    ] {
        started.refused(DISK, &cdb, one, BAD_FIELD)?;
    }
    assert_same(&started.image(0, bytes.len())?, &bytes, "after what was refused");
    started.works(9)
}

/// Would catch a command that goes on with memory which the driver has not filled, because less came
/// than it asked for; and a disk or an adapter that is of no use afterwards.
fn cut_off(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    let bytes = pattern(11, 64);
    started.set_image(0, &bytes)?;
    let caching = started.caching()?;
    let mut other = caching.clone();
    other[2] ^= WCE;
    let select = [vec![0; 4], other].concat();
    let unmap = unmap_list(&[(0, 8), (16, 8)]);
    let block = vec![0x66; BLOCK];
    for (cdb, list) in [
        (mode_select(false, select.len()), &select),
        (unmap_of(unmap.len()).to_vec(), &unmap),
        (cdb::write_same(0, 4).to_vec(), &block),
        (write_same_16(0, 0, 4), &block),
        (cdb::transfer(10, true, 0, 1), &block),
    ] {
        for length in [4, 8, 12, 16] {
            let what = format!("command {cdb:02x?} with {length} bytes of {}", list.len());
            let answer = hba.send(DISK, &cdb, Data::Out(&list[..length]))?;
            if let Answer::Replied(reply) = &answer {
                assert_ne!((reply.status, reply.residual), (GOOD, Some(0)), "{what}: it is done");
            }
            started.settle(DISK)?;
            assert_eq!(started.caching()?, caching, "{what}: Caching");
            // Of a block that was written in part, the rest is not known.
            let from = if cdb[0] == 0x2a { BLOCK } else { 0 };
            let found = started.image(0, bytes.len())?;
            assert_same(&found[from..], &bytes[from..], &what);
            started.set_image(0, &bytes)?;
        }
    }
    started.works(10)
}
