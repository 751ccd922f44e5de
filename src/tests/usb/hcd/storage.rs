//! Bulk transfers: mass storage, its data compared with the medium byte for byte in both directions
//! (USB Mass Storage Class, Bulk-Only Transport 1.0, whose sections are cited; SPC-3, SBC-3).

use std::rc::Rc;

use super::{ended, frames, with_device};
use crate::qemu::Vm;
use crate::qos::usb::device::{request, setup};
use crate::qos::usb::models::{Plugged, STORAGE};
use crate::qos::usb::storage::{BLOCK, Data, Ended, Storage, transfer10};
use crate::qos::usb::{Completion, MEDIUM, Status, UsbHcd};
use crate::{Result, attacks, tests};

tests!(dyn UsbHcd, "usb-hcd-tests":
    inquiry,
    read,
    write,
    short_bulk = "short-bulk",
    refused,
    wrong_command = "wrong-command",
    stalled_out = "stalled-out",
    unplug_storage = "unplug-storage",
);
attacks!(dyn UsbHcd, "usb-hcd-attacks": inquiry, read, write);

/// INQUIRY of so many bytes (SPC-3, 6.4).
fn inquiry_of(length: u8) -> [u8; 6] {
    [0x12, 0, 0, 0, length, 0]
}

/// Bytes of which no two blocks are equal.
fn pattern(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / BLOCK * 11 + at / 64 + seed) as u8).collect()
}

fn started<'a>(hcd: &'a dyn UsbHcd) -> Result<(Plugged, Storage<'a>)> {
    let plugged = with_device(hcd, 0, STORAGE)?;
    let storage = Storage::new(plugged.connect(hcd, 6)?)?;
    // A unit attention of the reset, if there is one (SPC-3, 6.33).
    let _ = storage.run(1, &[0; 6], Data::None, "TEST UNIT READY")?;
    let ready = storage.run(2, &[0; 6], Data::None, "TEST UNIT READY")?;
    assert_eq!(ready, done(0), "TEST UNIT READY");
    Ok((plugged, storage))
}

/// What a command ends with that has moved so many bytes and no fewer than it should.
const fn done(moved: usize) -> Ended {
    Ended { data: Status::Done, moved, residue: 0, status: 0 }
}

/// Would catch a device that tells less of itself than it should, or another capacity than the
/// medium has.
fn inquiry(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    let (plugged, storage) = started(hcd)?;
    let units = storage.usb.get(setup(0xa1, 0xfe, 0, 0, 1), "GET_MAX_LUN")?;
    assert_eq!(units, [0], "the highest number of a logical unit");
    let data = vm.ram().alloc(64, 64)?;
    let ended = storage.run(0x1234_5678, &inquiry_of(36), Data::In(&data, 36), "INQUIRY")?;
    assert_eq!(ended, done(36), "INQUIRY");
    let bytes = data.to_vec()?;
    // A disk, fixed, SPC-3, hierarchical addresses, 31 further bytes.
    assert_eq!(bytes[..5], [0, 0, 5, 0x12, 31], "INQUIRY, the head");
    assert_eq!(&bytes[8..32], b"QEMU    QEMU HARDDISK   ", "INQUIRY, vendor and product");
    assert_eq!(bytes[36..], [0; 28], "memory behind the data");
    let mut capacity = [0; 10];
    capacity[0] = 0x25;
    let ended = storage.run(3, &capacity, Data::In(&data, 8), "READ CAPACITY")?;
    assert_eq!(ended, done(8), "READ CAPACITY");
    let mut bytes = [0; 8];
    data.read(0, &mut bytes)?;
    let last = (MEDIUM.size / BLOCK as u64) as u32 - 1;
    assert_eq!(bytes[..4], last.to_be_bytes(), "the last block");
    assert_eq!(bytes[4..], (BLOCK as u32).to_be_bytes(), "the size of a block");
    super::gone(hcd, vm, plugged)
}

/// Places and lengths in blocks, across packets, pages and descriptors.
const PLACES: [(u32, u16); 7] = [(0, 1), (1, 2), (7, 8), (100, 9), (1000, 33), (2047, 1), (64, 39)];

/// Would catch data that are read from another place, cut off, or put elsewhere in memory.
fn read(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    let (plugged, storage) = started(hcd)?;
    for (seed, (first, count)) in PLACES.into_iter().enumerate() {
        for offset in [0, 64, 4096 - 128] {
            let what = format!("{count} blocks read at {first}, to offset {offset} of a page");
            let length = usize::from(count) * BLOCK;
            let there = pattern(seed + offset, length);
            vm.write_image(MEDIUM.name, u64::from(first) * BLOCK as u64, &there)?;
            let page = vm.ram().alloc(offset + length, 4096)?;
            let data = Aligned { offset, length };
            let moved = data.run(&storage, false, first, count, &page, &what)?;
            assert_eq!(moved, done(length), "{what}");
            let found = page.to_vec()?;
            assert!(found[offset..] == there, "{what}: the data");
            assert!(found[..offset].iter().all(|byte| *byte == 0), "{what}: memory before them");
        }
    }
    super::gone(hcd, vm, plugged)
}

/// Would catch data that are written to another place, cut off, or taken from elsewhere.
fn write(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    let (plugged, storage) = started(hcd)?;
    let size = MEDIUM.size as usize;
    for (seed, (first, count)) in PLACES.into_iter().enumerate() {
        for offset in [0, 64, 4096 - 128] {
            let what = format!("{count} blocks written at {first}, from offset {offset} of a page");
            let length = usize::from(count) * BLOCK;
            let data = pattern(seed + offset + 50, length);
            let page = vm.ram().alloc(offset + length, 4096)?;
            page.write(offset, &data)?;
            let mut expected = vec![0; size];
            vm.read_image(MEDIUM.name, 0, &mut expected)?;
            let at = first as usize * BLOCK;
            expected[at..at + length].copy_from_slice(&data);
            let aligned = Aligned { offset, length };
            let moved = aligned.run(&storage, true, first, count, &page, &what)?;
            assert_eq!(moved, done(length), "{what}");
            let mut found = vec![0; size];
            vm.read_image(MEDIUM.name, 0, &mut found)?;
            assert!(found == expected, "{what}: the medium");
        }
    }
    super::gone(hcd, vm, plugged)
}

/// Data that begin inside a page.
struct Aligned {
    offset: usize,
    length: usize,
}

impl Aligned {
    fn run(
        &self,
        storage: &Storage,
        writes: bool,
        first: u32,
        count: u16,
        page: &crate::qemu::Buffer,
        what: &str,
    ) -> Result<Ended> {
        let at = (self.offset, self.length);
        let (endpoint, data) = match writes {
            true => (storage.output, Data::Out(page, self.length)),
            false => (storage.input, Data::In(page, self.length)),
        };
        storage.command(9, &transfer10(writes, first, count), data)?.done(what)?;
        let Completion { status: data, moved } = storage.usb.transfer(endpoint, page, at, what)?;
        let (residue, status) = storage.status(9)?;
        Ok(Ended { data, moved, residue, status })
    }
}

/// Would catch fewer data than were asked for that are reported as all, and a status that is lost
/// after them (BOT, 6.7.2).
fn short_bulk(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    let (plugged, storage) = started(hcd)?;
    let data = vm.ram().alloc(2048, 64)?;
    for asked in [36, 64, 100, 512, 1100] {
        data.write(0, &[0xa5; 2048])?;
        let what = format!("INQUIRY of 36 bytes, {asked} asked for");
        let ended = storage.run(7, &inquiry_of(36), Data::In(&data, asked), &what)?;
        let residue = asked as u32 - 36;
        assert_eq!(ended.status, 0, "{what}");
        assert_eq!(ended.residue, residue, "{what}: the residue");
        let bytes = data.to_vec()?;
        assert_eq!(&bytes[8..16], b"QEMU    ", "{what}: the vendor");
        assert!(bytes[asked..].iter().all(|byte| *byte == 0xa5), "{what}: memory behind");
    }
    let again = storage.run(8, &[0; 6], Data::None, "TEST UNIT READY")?;
    assert_eq!(again, done(0), "TEST UNIT READY after that");
    super::gone(hcd, vm, plugged)
}

/// Would catch a command that is refused and reported as done, and a reason that is another's.
fn refused(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    let (plugged, storage) = started(hcd)?;
    let data = vm.ram().alloc(512, 64)?;
    // ILLEGAL REQUEST: invalid operation code; block out of range (SPC-3, 4.5.6).
    let past = transfer10(false, (MEDIUM.size / BLOCK as u64) as u32, 1);
    let unknown = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (command, code, length) in [(unknown, 0x20u8, 0), (past, 0x21, BLOCK), (unknown, 0x20, 0)] {
        let what = format!("command {:#x}", command[0]);
        let asked = if length > 0 { Data::In(&data, length) } else { Data::None };
        let ended = storage.run(0x55aa, &command, asked, &what)?;
        assert_eq!((ended.status, ended.residue), (1, length as u32), "{what}: its status");
        let sense = storage.run(5, &[3, 0, 0, 0, 18, 0], Data::In(&data, 18), "REQUEST SENSE")?;
        assert_eq!(sense, done(18), "{what}: its sense");
        let bytes = data.to_vec()?;
        assert_eq!((bytes[0] & 0x7f, bytes[2] & 0xf, bytes[12]), (0x70, 5, code), "{what}");
    }
    super::gone(hcd, vm, plugged)
}

/// Would catch a command with a wrong signature or length that is taken, and a device that cannot
/// be recovered after that (BOT, 5.3.4 and 6.6.1).
fn wrong_command(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    let (plugged, storage) = started(hcd)?;
    let data = vm.ram().alloc(64, 64)?;
    let mut valid = b"USBC".to_vec();
    valid.extend([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6]);
    valid.resize(31, 0);
    let mut wrong = valid.clone();
    wrong[0] = b'X';
    for (bytes, what) in [(&wrong[..], "a wrong signature"), (&valid[..30], "30 bytes")] {
        data.write(0, bytes)?;
        let refused = storage.usb.transfer(storage.output, &data, (0, bytes.len()), what)?;
        assert_eq!(refused.status, Status::Stall, "{what}");
        hcd.clear_halt(&storage.usb.device, &storage.output)?;
        // Bulk-Only Mass Storage Reset (BOT, 3.1), then both endpoints.
        storage.usb.set(0x21, 0xff, 0, 0)?;
        storage.usb.clear_halt(&storage.output)?;
        storage.usb.clear_halt(&storage.input)?;
        let ended = storage.run(4, &inquiry_of(36), Data::In(&data, 36), "INQUIRY")?;
        assert_eq!(ended, done(36), "INQUIRY after {what}");
    }
    let configuration = setup(0x80, request::GET_CONFIGURATION, 0, 0, 1);
    assert_eq!(storage.usb.get(configuration, "GET_CONFIGURATION")?, [1], "its configuration");
    super::gone(hcd, vm, plugged)
}

/// Would catch data that the device has refused and that are reported as moved (USB 2.0, 8.4.5).
fn stalled_out(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    let (plugged, storage) = started(hcd)?;
    let data = vm.ram().alloc(64, 64)?;
    let what = "a command that is none";
    let refused = storage.usb.transfer(storage.output, &data, (0, 31), what)?;
    assert_eq!(refused, Completion { status: Status::Stall, moved: 0 }, "{what}");
    hcd.clear_halt(&storage.usb.device, &storage.output)?;
    super::gone(hcd, vm, plugged)
}

/// Would catch a disk that is taken away in a command and takes QEMU with it, or whose medium is
/// gone after that.
fn unplug_storage(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    for round in 0..2u32 {
        let (plugged, storage) = started(hcd)?;
        let data = vm.ram().alloc(8 * BLOCK, 64)?;
        let length = 8 * BLOCK;
        let command = transfer10(false, 8 * round, 8);
        storage.command(3, &command, Data::In(&data, length))?.done("READ")?;
        // The status of this one does not come before its data are read.
        let unrelated = vm.ram().alloc(64, 64)?;
        let request = storage.usb.request(storage.input, &unrelated, (0, 64));
        let ticket = hcd.submit(&request)?;
        let first = ended(hcd, ticket, "the first packet")?;
        assert_eq!(first, Completion { status: Status::Done, moved: 64 }, "the first data");
        super::gone(hcd, vm, plugged)?;
        frames(hcd, 10)?;
        hcd.close(&storage.usb.device)?;
    }
    let (plugged, _storage) = started(hcd)?;
    super::gone(hcd, vm, plugged)
}
