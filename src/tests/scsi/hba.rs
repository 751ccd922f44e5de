//! SCSI host adapters of every kind: what units say of themselves, their data compared with the
//! image, statuses, sense data and residuals whole.

use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos::scsi::cdb::{self, BLOCK};
use crate::qos::scsi::{
    Answer, CDROM, CHECK_CONDITION, DISK, Data, GOOD, IMAGE, Profile, Reach, Reply, SENSE, SERIAL,
    SLOW, ScsiHba, Unit, ZEROES_SIZE,
};
use crate::{Error, Result, attacks, tests};

tests!(dyn ScsiHba, "scsi-hba-tests":
    inquiry,
    vital_data = "vital-product-data",
    ready,
    capacity,
    read_write = "read-write",
    large,
    past_the_end = "past-the-end",
    verify_past_the_end = "verify-past-the-end",
);
attacks!(dyn ScsiHba, "scsi-hba-attacks": inquiry, read_write = "read-write", large);

/// Sense key, additional code and qualifier: there is no such operation.
pub(super) const NO_OPERATION: (u8, u8, u8) = (5, 0x20, 0);
/// A block is not on the disk.
pub(super) const OUT_OF_RANGE: (u8, u8, u8) = (5, 0x21, 0);
/// A field of the command is wrong.
pub(super) const BAD_FIELD: (u8, u8, u8) = (5, 0x24, 0);
/// There is no such unit.
pub(super) const NO_UNIT: (u8, u8, u8) = (5, 0x25, 0);
/// The blocks of a disk: the last one.
pub(super) const LAST: u32 = (IMAGE.size / BLOCK as u64) as u32 - 1;

/// An adapter that takes commands.
pub(super) struct Started<'a> {
    pub(super) hba: &'a dyn ScsiHba,
    pub(super) vm: &'a Rc<Vm>,
    pub(super) profile: Profile,
}

impl<'a> Started<'a> {
    /// Starts the adapter, and clears what each unit tells first: that it was reset.
    pub(super) fn new(hba: &'a dyn ScsiHba, vm: &'a Rc<Vm>) -> Result<Self> {
        hba.start(vm)?;
        let started = Self { hba, vm, profile: hba.profile() };
        for unit in [DISK, started.profile.units.zeroes, CDROM, SLOW] {
            started.settle(unit)?;
        }
        vm.set_up_ends()?;
        Ok(started)
    }

    /// Has a unit tell all that it has to tell.
    pub(super) fn settle(&self, unit: Unit) -> Result<()> {
        for _ in 0..4 {
            if self.reply(unit, &cdb::TEST_UNIT_READY, Data::None)?.status == GOOD {
                return Ok(());
            }
        }
        Err(Error::failed(format!("{unit:?} does not become ready")))
    }

    /// The reply of a unit that is there.
    pub(super) fn reply(&self, unit: Unit, cdb: &[u8], data: Data) -> Result<Reply> {
        match self.hba.send(unit, cdb, data)? {
            Answer::Replied(reply) => Ok(reply),
            other => Err(Error::failed(format!("{unit:?}, command {cdb:02x?}: {other:?}"))),
        }
    }

    /// Has a command carried out that uses all of its memory; returns the data.
    pub(super) fn good(&self, unit: Unit, cdb: &[u8], data: Data) -> Result<Vec<u8>> {
        let reply = self.reply(unit, cdb, data)?;
        let what = format!("{unit:?}, command {cdb:02x?}");
        assert_eq!((reply.status, &reply.sense[..]), (GOOD, &[][..]), "{what}: status and sense");
        assert!([None, Some(0)].contains(&reply.residual), "{what}: {:?} left", reply.residual);
        Ok(reply.data)
    }

    /// Has a command carried out that asks for `asked` bytes and has `used`, and leaves the rest
    /// of its memory as it is; returns the data. QEMU may fill with zeroes what was asked for.
    pub(super) fn short(
        &self,
        unit: Unit,
        cdb: &[u8],
        (room, asked, used): (usize, usize, usize),
    ) -> Result<Vec<u8>> {
        let reply = self.reply(unit, cdb, Data::In(room))?;
        let what = format!("{unit:?}, command {cdb:02x?} with room for {room} bytes");
        assert_eq!(reply.status, GOOD, "{what}: status");
        let left = reply.residual.unwrap_or(room - used);
        assert!([room - used, room - asked].contains(&left), "{what}: {left} bytes left");
        let (data, rest) = reply.data.split_at(used);
        assert!(rest.iter().all(|byte| *byte == 0), "{what}: memory behind {used} bytes of data");
        Ok(data.to_vec())
    }

    /// Has a command refused, and looks at all of the sense data (SPC-4, 4.5.3).
    pub(super) fn refused(
        &self,
        unit: Unit,
        cdb: &[u8],
        data: Data,
        code: (u8, u8, u8),
    ) -> Result<Vec<u8>> {
        let reply = self.reply(unit, cdb, data)?;
        let what = format!("{unit:?}, command {cdb:02x?}");
        assert_eq!(reply.status, CHECK_CONDITION, "{what}: status");
        assert_eq!(reply.sense, sense(code), "{what}: sense data");
        Ok(reply.data)
    }

    pub(super) fn image(&self, block: u32, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.vm.read_image(IMAGE.name, u64::from(block) * BLOCK as u64, &mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn set_image(&self, block: u32, bytes: &[u8]) -> Result<()> {
        self.vm.write_image(IMAGE.name, u64::from(block) * BLOCK as u64, bytes)
    }

    /// Writes blocks and compares with the image, changes the image and reads the blocks.
    pub(super) fn exchange(
        &self,
        length: usize,
        block: u32,
        count: u16,
        seed: usize,
    ) -> Result<()> {
        let what = format!("of {length} bytes, {count} blocks at {block}");
        let data = pattern(seed, count.into());
        self.good(DISK, &cdb::transfer(length, true, block, count), Data::Out(&data))?;
        assert_same(&self.image(block, data.len())?, &data, &format!("WRITE {what}: the image"));
        let other = pattern(seed + 100, count.into());
        self.set_image(block, &other)?;
        let room = Data::In(other.len());
        let read = self.good(DISK, &cdb::transfer(length, false, block, count), room)?;
        assert_same(&read, &other, &format!("READ {what}"));
        Ok(())
    }

    /// Reads and writes one block, as a sign that all is well.
    pub(super) fn works(&self, seed: usize) -> Result<()> {
        self.exchange(10, 77, 1, seed)
    }
}

/// All of the sense data of a current error in fixed format.
pub(super) fn sense((key, code, qualifier): (u8, u8, u8)) -> Vec<u8> {
    let mut sense = vec![0; SENSE];
    (sense[0], sense[2], sense[7]) = (0x70, key, 10);
    (sense[12], sense[13]) = (code, qualifier);
    sense
}

/// Bytes of which no block is like another's.
pub(super) fn pattern(seed: usize, blocks: usize) -> Vec<u8> {
    let byte = |at: usize| (at * 7 + at / BLOCK * 13 + at / 65_536 * 31 + seed * 29) as u8;
    (0..blocks * BLOCK).map(byte).collect()
}

#[track_caller]
pub(super) fn assert_same(found: &[u8], expected: &[u8], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: its length in bytes");
    if let Some(at) = found.iter().zip(expected).position(|(a, b)| a != b) {
        let some = |bytes: &[u8]| hex::encode(&bytes[at..bytes.len().min(at + 16)]);
        panic!("{what}: from byte {at} on it is {}, not {}", some(found), some(expected));
    }
}

/// Would catch an INQUIRY of another device type, version or vendor, and one that is longer or
/// shorter than was asked for (SPC-4, 6.6).
fn inquiry(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    for (unit, kind, removable, product) in [
        (DISK, 0, 0, b"QEMU HARDDISK   "),
        (started.profile.units.zeroes, 0, 0, b"QEMU HARDDISK   "),
        (CDROM, 5, 0x80, b"QEMU CD-ROM     "),
    ] {
        let data = started.good(unit, &cdb::inquiry(36), Data::In(36))?;
        // Format 2, with units numbered as SAM says, and 31 bytes behind the length.
        assert_eq!(data[..6], [kind, removable, 5, 0x12, 31, 0], "the first bytes of {unit:?}");
        // Commands are queued, or not; nothing of the parallel bus.
        assert!([0x10, 0x12].contains(&data[7]), "flags of {unit:?}: {:#x}", data[7]);
        assert_eq!((&data[8..16], &data[16..32]), (&b"QEMU    "[..], &product[..]), "{unit:?}");
        for length in [1, 5, 8, 35] {
            let some = started.good(unit, &cdb::inquiry(length), Data::In(length.into()))?;
            assert_eq!(some, data[..length.into()], "the first {length} bytes of {unit:?}");
        }
    }
    started.works(1)
}

/// Would catch a page of vital product data that is not as its list says, of another page or
/// length, and another serial number than the disk was given (SPC-4, 7.8; SBC-3, 6.6).
fn vital_data(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    for (unit, kind, must) in [(DISK, 0, &[0, 0x80, 0x83, 0xb0, 0xb1, 0xb2][..]), (CDROM, 5, &[0])]
    {
        let list = started.reply(unit, &cdb::vital(0, 255), Data::In(255))?;
        assert_eq!(list.status, GOOD, "the list of pages of {unit:?}");
        assert_eq!(list.data[..3], [kind, 0, 0], "the list of pages of {unit:?}");
        let pages = &list.data[4..4 + usize::from(list.data[3])];
        for page in must {
            assert!(pages.contains(page), "page {page:#x} of {unit:?} is not in {pages:02x?}");
        }
        assert!(pages.is_sorted(), "the list of pages of {unit:?}: {pages:02x?}");
        for page in pages {
            let reply = started.reply(unit, &cdb::vital(*page, 255), Data::In(255))?;
            let what = format!("page {page:#x} of {unit:?}");
            assert_eq!(reply.status, GOOD, "{what}");
            assert_eq!(reply.data[..2], [kind, *page], "{what}");
            let length = usize::from(reply.data[2]) << 8 | usize::from(reply.data[3]);
            // QEMU fills the rest with zeroes, and counts them.
            let left = reply.residual.unwrap_or(0);
            assert!([0, 255 - 4 - length].contains(&left), "{what}: {left} left of 255");
        }
        started.refused(unit, &cdb::vital(0x7f, 255), Data::In(255), BAD_FIELD)?;
        // Bytes of the page code without the bit that says that there is one.
        let cdb = [0x12, 0, 0x80, 0, 255, 0];
        started.refused(unit, &cdb, Data::In(255), BAD_FIELD)?;
    }
    let page = started.reply(DISK, &cdb::vital(0x80, 64), Data::In(64))?.data;
    assert_eq!(&page[4..4 + usize::from(page[3])], SERIAL.as_bytes(), "the serial number");
    let limits = started.reply(DISK, &cdb::vital(0xb0, 64), Data::In(64))?.data;
    assert_eq!(limits[3], 0x3c, "the length of the block limits");
    let provisioning = started.reply(DISK, &cdb::vital(0xb2, 64), Data::In(64))?.data;
    assert_eq!(provisioning[5] & 0x80, 0x80, "UNMAP of a disk that has it");
    started.works(1)
}

/// Would catch a unit that is not ready, one that tells of a reset twice or of none, and an
/// INQUIRY that does not come through before it was told (SPC-4, 5.8.1; SAM-5, 5.14).
fn ready(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    let zeroes = started.profile.units.zeroes;
    for unit in [DISK, zeroes, CDROM] {
        started.good(unit, &cdb::TEST_UNIT_READY, Data::None)?;
    }
    let Some(reach) = started.profile.reset else { return started.works(1) };
    for unit in [DISK, CDROM] {
        hba.reset(unit)?;
        let data = started.good(unit, &cdb::inquiry(36), Data::In(36))?;
        assert_eq!(&data[8..16], b"QEMU    ", "an INQUIRY before the reset is told");
        started.refused(unit, &cdb::TEST_UNIT_READY, Data::None, (6, 0x29, 0))?;
        started.good(unit, &cdb::TEST_UNIT_READY, Data::None)?;
        if reach == Reach::Unit {
            started.good(zeroes, &cdb::TEST_UNIT_READY, Data::None)?;
        }
        for unit in [DISK, zeroes, CDROM, SLOW] {
            started.settle(unit)?;
        }
    }
    started.works(1)
}

/// Would catch a capacity in other blocks, or one more than the last of them (SBC-3, 5.15, 5.16).
fn capacity(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    for (unit, bytes, block) in [
        (DISK, IMAGE.size, BLOCK),
        (started.profile.units.zeroes, ZEROES_SIZE, BLOCK),
        (CDROM, ZEROES_SIZE, 2048),
    ] {
        let last = bytes / block as u64 - 1;
        let size = (block as u32).to_be_bytes();
        let short = started.good(unit, &cdb::READ_CAPACITY_10, Data::In(8))?;
        let expected = [(last as u32).to_be_bytes(), size].concat();
        assert_eq!(short, expected, "READ CAPACITY (10) of {unit:?}");
        if unit != CDROM {
            let long = started.good(unit, &cdb::read_capacity_16(32), Data::In(32))?;
            let expected = [&last.to_be_bytes()[..], &size].concat();
            assert_eq!(long[..12], expected, "READ CAPACITY (16) of {unit:?}");
            // Blocks can be given up where the disk says so.
            assert_eq!(long[14] & 0x80, 0x80, "READ CAPACITY (16) of {unit:?}: LBPME");
            assert!(long[16..].iter().all(|byte| *byte == 0), "READ CAPACITY (16): reserved");
        }
    }
    // A block address, of which obsolete commands had some, must be zero without its bit.
    let cdb = [0x25, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    started.refused(DISK, &cdb, Data::In(8), BAD_FIELD)?;
    started.works(1)
}

/// Would catch a command of some length that reads or writes other blocks, more or fewer, or not
/// to the image.
fn read_write(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    for (at, length) in [6, 10, 12, 16].into_iter().enumerate() {
        let places = [(0, 1), (1, 8), (0x1234, 3), (0x7f00, 33), (LAST - 4, 5), (LAST, 1)];
        for (seed, (block, count)) in places.into_iter().enumerate() {
            started.exchange(length, block, count, 10 * at + seed)?;
        }
    }
    // Of 6 bytes, 0 stands for 256 blocks.
    let data = pattern(77, 256);
    started.good(DISK, &cdb::transfer(6, true, 500, 0), Data::Out(&data))?;
    assert_same(&started.image(500, data.len())?, &data, "WRITE (6) of 256 blocks: the image");
    // What is beside what was written is as it was.
    started.set_image(100, &[0x11; 3 * BLOCK])?;
    started.good(DISK, &cdb::transfer(10, true, 101, 1), Data::Out(&[0x22; BLOCK]))?;
    let expected = [[0x11; BLOCK], [0x22; BLOCK], [0x11; BLOCK]].concat();
    assert_same(&started.image(100, expected.len())?, &expected, "the neighbours");
    let zeroes = started.profile.units.zeroes;
    let read = started.good(zeroes, &cdb::transfer(10, false, 5, 2), Data::In(2 * BLOCK))?;
    assert_same(&read, &[0; 2 * BLOCK], "a disk that reads as zeroes");
    let read = started.good(CDROM, &cdb::transfer(10, false, 3, 2), Data::In(4096))?;
    assert_same(&read, &[0; 4096], "a medium that reads as zeroes");
    // A write that ends is on the disk; a flush says so.
    started.good(DISK, &cdb::SYNCHRONIZE_CACHE, Data::None)?;
    started.works(1)
}

/// Would catch a transfer of many blocks that is cut into pieces wrongly.
fn large(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    let most = started.profile.most / BLOCK;
    for (seed, count) in [127, 128, 129, 255, 257, 512, most].into_iter().enumerate() {
        if count <= most {
            started.exchange(10, 3000, count as u16, seed)?;
        }
    }
    Ok(())
}

/// Would catch a request past the end that is done, or half done, one that wraps round to the
/// first blocks, and one whose sense data does not say why.
fn past_the_end(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    let (first, last) = (pattern(1, 8), pattern(2, 8));
    started.set_image(0, &first)?;
    started.set_image(LAST - 7, &last)?;
    let check = |cdb: &[u8], is_write: bool, length: usize| -> Result<()> {
        let bytes = vec![0x33; length];
        let data = if is_write { Data::Out(&bytes) } else { Data::In(length) };
        let read = started.refused(DISK, cdb, data, OUT_OF_RANGE)?;
        assert!(read.iter().all(|byte| *byte == 0), "command {cdb:02x?}: data");
        assert_same(&started.image(0, first.len())?, &first, "the first blocks");
        assert_same(&started.image(LAST - 7, last.len())?, &last, "the last blocks");
        Ok(())
    };
    for is_write in [false, true] {
        for length in [10, 12, 16] {
            for (block, count) in [(LAST + 1, 1), (LAST, 2), (LAST - 6, 8), (0xffff_fff0, 8)] {
                let cdb = cdb::transfer(length, is_write, block, count);
                check(&cdb, is_write, usize::from(count) * BLOCK)?;
            }
        }
        check(&cdb::transfer(6, is_write, LAST + 1, 1), is_write, BLOCK)?;
        for block in [1 << 32, 1 << 55, 1 << 63, u64::MAX] {
            check(&cdb::transfer_far(is_write, block, 1), is_write, BLOCK)?;
        }
    }
    started.exchange(10, LAST, 1, 3)
}

/// Would catch a VERIFY of blocks that are not there which succeeds (SBC-3, 5.26).
fn verify_past_the_end(hba: &dyn ScsiHba, vm: &Rc<Vm>) -> Result<()> {
    let started = Started::new(hba, vm)?;
    started.good(DISK, &cdb::verify(LAST, 1), Data::None)?;
    for (block, count) in [(LAST, 2), (LAST + 1, 1), (0xffff_fff0, 8)] {
        started.refused(DISK, &cdb::verify(block, count), Data::None, OUT_OF_RANGE)?;
    }
    started.works(1)
}
