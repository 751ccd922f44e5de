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
attacks!(dyn ScsiHba, "scsi-hba-attacks": inquiry, read_write = "read-write", large);

/// Sense key, additional code and qualifier: there is no such operation.
const NO_OPERATION: (u8, u8, u8) = (5, 0x20, 0);
/// A block is not on the disk.
const OUT_OF_RANGE: (u8, u8, u8) = (5, 0x21, 0);
/// A field of the command is wrong.
const BAD_FIELD: (u8, u8, u8) = (5, 0x24, 0);
/// There is no such unit.
const NO_UNIT: (u8, u8, u8) = (5, 0x25, 0);
/// The blocks of a disk: the last one.
const LAST: u32 = (IMAGE.size / BLOCK as u64) as u32 - 1;

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
    fn short(
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
    fn exchange(&self, length: usize, block: u32, count: u16, seed: usize) -> Result<()> {
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
    let mut list = vec![0; 4];
    list[3] = if units.no_lun.is_some() { 16 } else { 8 };
    list.extend([0; 12]);
    if units.no_lun.is_some() {
        list.extend([0, units.zeroes.lun, 0, 0, 0, 0, 0, 0]);
    }
    let found = started.short(DISK, &cdb::report_luns(64), (64, 64, list.len()))?;
    assert_eq!(found, list, "REPORT LUNS of the disk");
    let found = started.short(CDROM, &cdb::report_luns(64), (64, 64, 16))?;
    assert_eq!(found, [&[0, 0, 0, 8][..], &[0; 12]].concat(), "REPORT LUNS of the CD-ROM");
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
