//! The CD-ROM on the second channel of an IDE controller (ATA/ATAPI-8, MMC-5): packet commands by
//! PIO in parts of every size and by DMA, sense data, the tray and the medium.

use std::rc::Rc;

use serde_json::json;

use crate::qemu::Vm;
use crate::qos::ide::{
    self, End, FAILED, IdeChannel, IdeController, READY, SEEK, Task, command, offset,
};
use crate::qos::scsi::cdb;
use crate::qos::wait_event;
use crate::{Error, Result, attacks, tests};

tests!(IdeController, "ide-atapi":
    identify,
    pio = "cdrom/pio",
    pio_large = "cdrom/pio_large",
    dma = "cdrom/dma",
    inquiry,
    capacity,
    sense,
    sense_once = "sense-once",
    tray,
    medium,
    device_reset = "device-reset",
);
attacks!(IdeController, "ide-attacks": pio = "cdrom/pio", dma = "cdrom/dma");

/// The size of a block of the medium in bytes.
const BLOCK: usize = 2048;
/// The blocks of the medium.
const BLOCKS: u32 = (2 << 20) / BLOCK as u32;

/// The channel with the CD-ROM, after a reset, when it is ready.
fn start(ide: &IdeController) -> Result<&IdeChannel> {
    let channel = &ide.channels[1];
    channel.reset()?;
    channel.vm.set_up_ends()?;
    for _ in 0..4 {
        if packet(channel, &cdb::TEST_UNIT_READY, 0)?.0 {
            return Ok(channel);
        }
        request_sense(channel)?;
    }
    Err(Error::failed("the CD-ROM does not become ready"))
}

/// Has a packet command done by PIO: whether it was, and its data.
fn packet(channel: &IdeChannel, cdb: &[u8], room: usize) -> Result<(bool, Vec<u8>)> {
    let (end, data, _) = channel.packet_pio(0, cdb, room, 0xfffe)?;
    let is_done = check(channel, end, &format!("the packet {cdb:02x?}"))?;
    Ok((is_done, data))
}

/// Looks at how a packet command has ended: well, or with a check condition.
fn check(channel: &IdeChannel, end: End, what: &str) -> Result<bool> {
    // The reason: the end, to the host.
    assert_eq!(channel.get(offset::COUNT)? & 3, 3, "{what}: the reason");
    match (end.status & !SEEK, end.error & 0x0f) {
        (READY, 0) if end.error == 0 => Ok(true),
        (status, _) if status == READY | FAILED && end.error >> 4 != 0 => Ok(false),
        _ => Err(Error::failed(format!("{what}: {end:x?}"))),
    }
}

/// Sense key, additional code and qualifier.
fn request_sense(channel: &IdeChannel) -> Result<(u8, u8, u8)> {
    let (is_done, data) = packet(channel, &cdb::request_sense(18), 18)?;
    assert!(is_done && data.len() == 18, "REQUEST SENSE: {data:02x?}");
    assert_eq!((data[0] & 0x7f, data[7]), (0x70, 10), "REQUEST SENSE: {data:02x?}");
    Ok((data[2], data[12], data[13]))
}

/// Has a packet command refused for this reason, which the error register tells as well.
fn refused(channel: &IdeChannel, cdb: &[u8], code: (u8, u8, u8)) -> Result<()> {
    let (end, data, _) = channel.packet_pio(0, cdb, 4096, 0xfffe)?;
    let what = format!("the packet {cdb:02x?}");
    assert!(!check(channel, end, &what)?, "{what} is done: {data:02x?}");
    assert_eq!(end.error >> 4, code.0, "{what}: the key in the error register");
    assert_eq!(request_sense(channel)?, code, "{what}: sense");
    Ok(())
}

fn read_10(block: u32, count: u16) -> Vec<u8> {
    cdb::transfer(10, false, block, count)
}

/// Would catch a packet device that is not told to be one.
fn identify(ide: &IdeController, _: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    let words = channel.identify(0, command::IDENTIFY_PACKET)?;
    // Packets of 12 bytes, a CD-ROM, removable.
    assert_eq!(words[0] & 0xdf83, 0x8580 & 0xdf83, "word 0 is {:#x}", words[0]);
    assert_eq!(ide::disk::text(&words[27..47]), "QEMU DVD-ROM", "the model");
    // IDENTIFY DEVICE is refused, with the signature in the registers.
    let end = channel.no_data(0, &Task::new(command::IDENTIFY))?;
    assert_eq!(end.status & FAILED, FAILED, "IDENTIFY DEVICE: {end:x?}");
    let found = [channel.get(offset::LBA_MIDDLE)?, channel.get(offset::LBA_HIGH)?];
    assert_eq!(found, [0x14, 0xeb], "the signature");
    Ok(())
}

/// Would catch blocks by PIO that come in other parts than the host has room for.
fn pio(ide: &IdeController, _: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    for limit in [BLOCK as u16, 512, 2046, 100, 0xfffe] {
        let (end, data, parts) = channel.packet_pio(0, &read_10(4, 1), BLOCK, limit)?;
        assert!(check(channel, end, "READ (10)")?, "READ (10) with a limit of {limit}: {end:x?}");
        assert!(data == [0; BLOCK], "READ (10) with a limit of {limit}");
        let (last, rest) = parts.split_last().expect("parts");
        let part = BLOCK.min(usize::from(limit & 0xfffe));
        assert!(rest.iter().all(|length| *length == part), "{parts:?} with a limit of {limit}");
        assert!(*last <= part, "{parts:?} with a limit of {limit}");
    }
    Ok(())
}

/// Would catch many blocks by PIO of which some are lost.
fn pio_large(ide: &IdeController, _: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    for (count, limit) in [(33u16, 0xfffe), (64, BLOCK as u16), (20, 4096)] {
        let room = usize::from(count) * BLOCK;
        let (end, data, _) = channel.packet_pio(0, &read_10(1, count), room, limit)?;
        assert!(check(channel, end, "READ (10)")?, "{count} blocks: {end:x?}");
        assert!(data.len() == room && data.iter().all(|byte| *byte == 0), "{count} blocks");
    }
    Ok(())
}

/// Would catch DMA of a packet command that leaves memory as it is, or writes behind its data.
fn dma(ide: &IdeController, vm: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    for count in [1u16, 2, 16, 33] {
        let memory = vm.ram().alloc(usize::from(count) * BLOCK, 4096)?;
        memory.write(0, &vec![0xa5; memory.len()])?;
        let end = channel.packet_dma(0, &read_10(BLOCKS - u32::from(count), count), &memory)?;
        assert!(check(channel, end, "READ (10)")?, "{count} blocks by DMA: {end:x?}");
        assert!(memory.to_vec()?.iter().all(|byte| *byte == 0), "{count} blocks by DMA");
    }
    Ok(())
}

/// Would catch an INQUIRY of another device, or of another length than was asked for.
fn inquiry(ide: &IdeController, _: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    let (is_done, data) = packet(channel, &cdb::inquiry(36), 36)?;
    assert!(is_done && data.len() == 36, "INQUIRY: {data:02x?}");
    assert_eq!(data[..5], [5, 0x80, 0, 0x21, 31], "INQUIRY");
    assert_eq!(&data[8..32], b"QEMU    QEMU DVD-ROM    ", "vendor and product");
    let (is_done, data) = packet(channel, &cdb::inquiry(8), 8)?;
    assert!(is_done && data.len() == 8, "INQUIRY of 8 bytes: {data:02x?}");
    Ok(())
}

/// Would catch another last block, or a table of contents of other tracks (MMC-5, 6.25, 6.26).
fn capacity(ide: &IdeController, _: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    let (is_done, data) = packet(channel, &cdb::READ_CAPACITY_10, 8)?;
    let expected = [(BLOCKS - 1).to_be_bytes(), (BLOCK as u32).to_be_bytes()].concat();
    assert!(is_done && data == expected, "READ CAPACITY: {data:02x?}");
    let (is_done, data) = packet(channel, &[0x43, 0, 0, 0, 0, 0, 0, 0, 64, 0], 64)?;
    assert!(is_done, "READ TOC");
    // Tracks 1 to 1; the first, and where it ends.
    assert_eq!(data[..12], [0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0], "READ TOC");
    assert_eq!(data[14], 0xaa, "the lead-out");
    assert_eq!(data[16..20], BLOCKS.to_be_bytes(), "where the lead-out is");
    Ok(())
}

/// Would catch a command that is refused for another reason, or done, and one that is not done
/// afterwards.
fn sense(ide: &IdeController, _: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    for (cdb, code) in [
        (vec![0x02, 0, 0, 0, 0, 0], (5, 0x20, 0)),
        (vec![0xff, 0, 0, 0, 0, 0], (5, 0x20, 0)),
        (cdb::transfer(10, true, 0, 1), (5, 0x20, 0)),
        (read_10(BLOCKS, 1), (5, 0x21, 0)),
        (read_10(0xffff_ffff, 1), (5, 0x21, 0)),
        (cdb::mode_sense_10(0x3e, 64).to_vec(), (5, 0x24, 0)),
    ] {
        refused(channel, &cdb, code)?;
        let (is_done, data) = packet(channel, &read_10(0, 1), BLOCK)?;
        assert!(is_done && data == [0; BLOCK], "READ (10) afterwards");
    }
    // No block is no error.
    let (is_done, data) = packet(channel, &read_10(0, 0), BLOCK)?;
    assert!(is_done && data.is_empty(), "READ (10) of no block");
    Ok(())
}

/// Would catch sense data that is told twice (SPC-4, 4.5.1).
fn sense_once(ide: &IdeController, _: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    refused(channel, &read_10(BLOCKS, 1), (5, 0x21, 0))?;
    assert_eq!(request_sense(channel)?, (0, 0, 0), "the sense afterwards");
    Ok(())
}

fn tray_moved(vm: &Rc<Vm>, is_open: bool) -> Result<()> {
    let event = wait_event(vm, "DEVICE_TRAY_MOVED")?;
    assert_eq!(event.data["tray-open"], is_open, "DEVICE_TRAY_MOVED");
    Ok(())
}

/// Would catch a tray that the guest opens although it is locked, or cannot open, and a medium
/// that can be read when the tray is open (MMC-5, 6.42, 6.18).
fn tray(ide: &IdeController, vm: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    assert!(packet(channel, &[0x1e, 0, 0, 0, 1, 0], 0)?.0, "PREVENT MEDIUM REMOVAL");
    refused(channel, &[0x1b, 0, 0, 0, 2, 0], (2, 0x53, 0))?;
    assert!(packet(channel, &[0x1e, 0, 0, 0, 0, 0], 0)?.0, "ALLOW MEDIUM REMOVAL");
    for _ in 0..2 {
        assert!(packet(channel, &[0x1b, 0, 0, 0, 2, 0], 0)?.0, "START STOP UNIT, open");
        tray_moved(vm, true)?;
        refused(channel, &read_10(0, 1), (2, 0x3a, 0))?;
        assert!(packet(channel, &[0x1b, 0, 0, 0, 3, 0], 0)?.0, "START STOP UNIT, close");
        tray_moved(vm, false)?;
        start(ide)?;
        assert!(packet(channel, &read_10(0, 1), BLOCK)?.0, "READ (10) afterwards");
    }
    Ok(())
}

/// Would catch a medium that the user changes and the guest is not told of.
fn medium(ide: &IdeController, vm: &Rc<Vm>) -> Result<()> {
    let channel = start(ide)?;
    vm.qmp().execute("blockdev-open-tray", json!({ "id": "cd", "force": true }))?;
    tray_moved(vm, true)?;
    let (end, _, _) = channel.packet_pio(0, &read_10(0, 1), BLOCK, 0xfffe)?;
    assert!(!check(channel, end, "READ (10)")?, "READ (10) without a medium");
    assert_eq!(request_sense(channel)?.1, 0x3a, "no medium");
    vm.qmp().execute("blockdev-close-tray", json!({ "id": "cd" }))?;
    tray_moved(vm, false)?;
    // First that it was gone, then that there is another.
    let mut told = Vec::new();
    for _ in 0..5 {
        if packet(channel, &cdb::TEST_UNIT_READY, 0)?.0 {
            break;
        }
        told.push(request_sense(channel)?);
    }
    assert_eq!(told.last(), Some(&(6, 0x28, 0)), "what is told: {told:x?}");
    assert!(packet(channel, &read_10(0, 1), BLOCK)?.0, "READ (10) of the new medium");
    Ok(())
}

/// Would catch a DEVICE RESET that does not end a command whose data waits (ATA8-ACS, 7.10).
fn device_reset(ide: &IdeController, _: &Rc<Vm>) -> Result<()> {
    const DEVICE_RESET: u8 = 0x08;
    let channel = start(ide)?;
    let task = Task { first: 0xfffe << 8, ..Task::new(command::PACKET) };
    channel.issue(0, &task)?;
    let end = channel.wait("the packet to be wanted")?;
    assert_eq!(end.status & ide::REQUEST, ide::REQUEST, "{end:x?}");
    channel.set(offset::STATUS, DEVICE_RESET)?;
    let end = channel.wait("DEVICE RESET")?;
    assert_eq!(end.status & (ide::REQUEST | FAILED), 0, "DEVICE RESET: {end:x?}");
    let found: Vec<u8> = (2..6).map(|at| channel.get(at)).collect::<Result<_>>()?;
    assert_eq!(found, [1, 1, 0x14, 0xeb], "the signature");
    start(ide)?;
    assert!(packet(channel, &read_10(0, 1), BLOCK)?.0, "READ (10) afterwards");
    Ok(())
}
