//! The CD-ROM behind an AHCI controller (ATA/ATAPI-8, MMC-5): packet commands by PIO in parts of
//! every size and by DMA, sense, the tray.

use std::rc::Rc;

use serde_json::json;

use crate::qemu::{Buffer, Vm};
use crate::qos::ahci::command::Command;
use crate::qos::ahci::port::{End, Fis, Port};
use crate::qos::ahci::{self as ahci, AhciHba, MEDIUM, Unit};
use crate::qos::block::Piece;
use crate::qos::ide::{ERROR_ABORT, command};
use crate::qos::scsi::cdb;
use crate::{Result, attacks, tests};

tests!(AhciHba, "ahci":
    identify = "cdrom/identify",
    dma_single = "cdrom/dma/single",
    dma_multi = "cdrom/dma/multi",
    pio_single = "cdrom/pio/single",
    pio_multi = "cdrom/pio/multi",
    bcl = "cdrom/pio/bcl",
    fragments = "cdrom/dma/fragmented",
    inquiry = "cdrom/inquiry",
    sense = "cdrom/sense",
    sense_once = "cdrom/sense-once",
    past_the_end = "cdrom/past-the-end",
    tray = "cdrom/eject",
);
attacks!(AhciHba, "ahci-attacks": dma_single = "cdrom/dma/single", pio_multi = "cdrom/pio/multi");

/// The size of a block of the medium in bytes.
const BLOCK: usize = 2048;
/// The blocks of the medium.
const BLOCKS: u32 = (MEDIUM.size / BLOCK as u64) as u32;
/// The largest limit of bytes.
const LIMIT: u16 = 0xfffe;

fn pattern(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / BLOCK * 13 + seed) as u8).collect()
}

/// The CD-ROM, ready.
struct CdRom {
    port: Port,
    memory: Buffer,
}

impl CdRom {
    fn start(hba: &AhciHba, vm: &Rc<Vm>) -> Result<Self> {
        let port = Port::start(hba, Unit::CdRom)?;
        let memory = vm.ram().alloc(128 * BLOCK, 4096)?;
        let cdrom = Self { port, memory };
        for _ in 0..4 {
            if cdrom.pio(&cdb::TEST_UNIT_READY, 0, LIMIT)?.error().is_none() {
                return Ok(cdrom);
            }
            cdrom.request_sense()?;
        }
        Err(crate::Error::failed("the CD-ROM does not become ready"))
    }

    /// Has a packet command done with `length` bytes of memory, and the port recovered from an
    /// error.
    fn packet(&self, packet: &[u8], length: usize, is_dma: bool, limit: u16) -> Result<End> {
        self.memory.write(0, &vec![0xa5; 128 * BLOCK])?;
        let pieces = [Piece::of(&self.memory, 0, length.max(2))];
        let pieces = if length == 0 { &pieces[..0] } else { &pieces[..] };
        self.port.forget()?;
        let end = self.port.issue(0, &Command::packet(packet, is_dma, limit).into(pieces))?;
        let fis = self.port.fis(Fis::Registers)?.expect("the device's registers");
        let task = [end.task as u8, (end.task >> 8) as u8];
        assert_eq!(fis[..4], [0x34, 0x40, task[0], task[1]], "packet {packet:02x?}: {fis:02x?}");
        // The reason: the end, to the host.
        assert_eq!(fis[12] & 3, 3, "packet {packet:02x?}: {fis:02x?}");
        match end.error() {
            None => {
                assert_eq!(end.task & !0x10, 0x40, "packet {packet:02x?}: {end:x?}");
                self.port.expect(ahci::PX_CI, 0, "done")?;
                self.port.set(ahci::PX_IS, !0)?;
            }
            Some(_) => {
                assert_eq!(end.task & 0xff & !0x10, 0x41, "packet {packet:02x?}: {end:x?}");
                self.port.expect(ahci::PX_CI, 1, "failed")?;
                self.port.resume()?;
            }
        }
        Ok(end)
    }

    fn pio(&self, packet: &[u8], length: usize, limit: u16) -> Result<End> {
        self.packet(packet, length, false, limit)
    }

    fn data(&self, length: usize) -> Result<Vec<u8>> {
        let mut data = self.memory.to_vec()?;
        assert!(data[length..].iter().all(|byte| *byte == 0xa5), "memory behind {length} bytes");
        data.truncate(length);
        Ok(data)
    }

    /// Reads blocks, which must succeed and be those of the medium.
    fn read(&self, vm: &Vm, (first, count): (u32, u16), is_dma: bool, limit: u16) -> Result<()> {
        let length = usize::from(count) * BLOCK;
        let there = pattern(first as usize + usize::from(count), length);
        vm.write_image(MEDIUM.name, u64::from(first) * BLOCK as u64, &there)?;
        let packet = cdb::transfer(10, false, first, count);
        let end = self.packet(&packet, length, is_dma, limit)?;
        let what = format!("{count} blocks at {first:#x}, at most {limit:#x} bytes");
        assert_eq!(end.error(), None, "{what}: {end:x?}");
        assert_eq!(end.moved, length, "{what}: the bytes moved");
        assert!(self.data(length)? == there, "{what}: the data");
        let pending = if is_dma { ahci::IS_DHRS } else { ahci::IS_DHRS | ahci::IS_PSS };
        assert_eq!(end.pending, pending, "{what}: PxIS");
        Ok(())
    }

    /// Sense key, additional code and qualifier.
    fn request_sense(&self) -> Result<(u8, u8, u8)> {
        let end = self.pio(&cdb::request_sense(18), 18, LIMIT)?;
        let data = self.data(18)?;
        assert_eq!(end.error(), None, "REQUEST SENSE: {end:x?}");
        assert_eq!((data[0] & 0x7f, data[7]), (0x70, 10), "REQUEST SENSE: {data:02x?}");
        Ok((data[2], data[12], data[13]))
    }

    /// Has a packet command refused for this reason, which the error register tells as well.
    fn refused(&self, packet: &[u8], is_dma: bool, sense: (u8, u8, u8)) -> Result<()> {
        let end = self.packet(packet, BLOCK, is_dma, LIMIT)?;
        let error = end.error().unwrap_or(0);
        assert_eq!(error >> 4, sense.0, "packet {packet:02x?}: {end:x?}");
        assert_eq!(self.request_sense()?, sense, "packet {packet:02x?}: sense");
        Ok(())
    }
}

/// Would catch a CD-ROM that takes itself for a disk, or tells less than it can.
fn identify(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let port = Port::start(hba, Unit::CdRom)?;
    vm.set_up_ends()?;
    port.expect(ahci::PX_SIG, ahci::SIG_PACKET, "started")?;
    let words = port.identify(command::IDENTIFY_PACKET)?;
    // A removable CD-ROM that takes packets of 12 bytes.
    assert_eq!(words[0] & 0xff83, 0x8580, "word 0: {:#x}", words[0]);
    assert_eq!(words[49] & 0x300, 0x300, "word 49: DMA and LBA");
    let model: Vec<u8> = words[27..47].iter().flat_map(|word| word.to_be_bytes()).collect();
    assert_eq!(model, format!("{:40}", "QEMU DVD-ROM").into_bytes(), "words 27 to 46");
    for code in [command::IDENTIFY, command::READ_DMA_EXT, command::WRITE_DMA] {
        let what = format!("command {code:#x} to a CD-ROM");
        assert_eq!(port.run(&Command::new(code), &what)?, Some(ERROR_ABORT), "{what}");
        if code == command::IDENTIFY {
            // A device that is refused this shows its signature.
            let fis = port.fis(Fis::Registers)?.expect("the device's registers");
            assert_eq!(fis[4..7], [1, 0x14, 0xeb], "{what}: {fis:02x?}");
        }
    }
    Ok(())
}

/// Would catch one block by DMA that is another, or not all.
fn dma_single(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let cdrom = CdRom::start(hba, vm)?;
    for first in [0, 1, 100, BLOCKS - 1] {
        cdrom.read(vm, (first, 1), true, 0)?;
    }
    Ok(())
}

/// Would catch blocks by DMA of which some are missing or repeated.
fn dma_multi(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let cdrom = CdRom::start(hba, vm)?;
    for count in [2, 3, 31, 32, 33, 64, 65, 128] {
        cdrom.read(vm, (7, count), true, 0)?;
    }
    cdrom.read(vm, (BLOCKS - 9, 9), true, 0)
}

/// Would catch one block by PIO that is another, or not all.
fn pio_single(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let cdrom = CdRom::start(hba, vm)?;
    for first in [0, 1, 100, BLOCKS - 1] {
        cdrom.read(vm, (first, 1), false, BLOCK as u16)?;
    }
    Ok(())
}

/// Would catch blocks by PIO of which some are missing or repeated.
fn pio_multi(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let cdrom = CdRom::start(hba, vm)?;
    for count in [2, 3, 16, 33, 64] {
        cdrom.read(vm, (7, count), false, BLOCK as u16)?;
    }
    cdrom.read(vm, (BLOCKS - 9, 9), false, BLOCK as u16)
}

/// Would catch parts of another size than the host's limit, with which a part ends in the middle
/// of a block or takes several, and a limit of zero that is taken.
fn bcl(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let cdrom = CdRom::start(hba, vm)?;
    for limit in [2, 128, 1000, 1001, 2046, 2049, 2050, 4096, 6144, 0xfffe, 0xffff] {
        let count = if limit < 100 { 1 } else { 9 };
        cdrom.read(vm, (40, count), false, limit)?;
        let whole = usize::from(count) * BLOCK;
        let limit = usize::from(limit & !1);
        let last = if whole.is_multiple_of(limit) { limit.min(whole) } else { whole % limit };
        let fis = cdrom.port.fis(Fis::PioSetup)?.expect("a PIO set-up");
        assert_eq!((fis[0], fis[1] & 0x40), (0x5f, 0x40), "{fis:02x?}");
        let told = usize::from(fis[5]) | usize::from(fis[6]) << 8;
        assert_eq!(told, last, "the last part's size with a limit of {limit:#x}: {fis:02x?}");
    }
    let packet = cdb::transfer(10, false, 0, 1);
    let pieces = [Piece::of(&cdrom.memory, 0, BLOCK)];
    let end = cdrom.port.issue(0, &Command::packet(&packet, false, 0).into(&pieces))?;
    assert_eq!(end.error(), Some(ERROR_ABORT), "a limit of zero: {end:x?}");
    assert_eq!(end.moved, 0, "a limit of zero: {end:x?}");
    cdrom.port.resume()?;
    cdrom.read(vm, (3, 2), false, LIMIT)
}

/// Would catch pieces of memory that are mixed up by a packet command's DMA.
fn fragments(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let cdrom = CdRom::start(hba, vm)?;
    let there = pattern(66, 40 * BLOCK);
    vm.write_image(MEDIUM.name, 20 * BLOCK as u64, &there)?;
    for length in [BLOCK - 2, 514, BLOCK + 6] {
        let count = (40 * BLOCK).div_ceil(length);
        let mut left = 40 * BLOCK;
        let memory = vm.ram().alloc(count * (length + 10), 2)?;
        memory.write(0, &vec![0xa5; count * (length + 10)])?;
        let mut pieces = Vec::new();
        for at in (0..count).rev() {
            pieces.push(Piece::of(&memory, at * (length + 10), length.min(left)));
            left -= length.min(left);
        }
        let packet = cdb::transfer(10, false, 20, 40);
        let end = cdrom.port.issue(5, &Command::packet(&packet, true, 0).into(&pieces))?;
        assert_eq!((end.error(), end.moved), (None, 40 * BLOCK), "pieces of {length} bytes");
        let mut expected = vec![0xa5; memory.len()];
        let mut from = &there[..];
        for piece in &pieces {
            let (part, rest) = from.split_at(piece.length);
            let at = (piece.address - memory.address().0) as usize;
            expected[at..at + piece.length].copy_from_slice(part);
            from = rest;
        }
        assert!(memory.to_vec()? == expected, "pieces of {length} bytes");
        cdrom.port.set(ahci::PX_IS, !0)?;
    }
    Ok(())
}

/// Would catch an inquiry or a capacity that is another by DMA than by PIO, or is cut wrong.
fn inquiry(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let cdrom = CdRom::start(hba, vm)?;
    let mut whole = None;
    for (is_dma, room) in [(false, 36), (true, 36), (false, 20), (true, 20)] {
        let end = cdrom.packet(&cdb::inquiry(room), room.into(), is_dma, LIMIT)?;
        assert_eq!((end.error(), end.moved), (None, room.into()), "INQUIRY of {room}");
        let data = cdrom.data(room.into())?;
        assert_eq!(data[..2], [0x05, 0x80], "a removable CD-ROM: {data:02x?}");
        let whole = whole.get_or_insert_with(|| data.clone());
        assert!(whole.starts_with(&data), "INQUIRY: {data:02x?}, not {whole:02x?}");
    }
    let whole = whole.expect("four were made");
    assert_eq!(&whole[8..32], b"QEMU    QEMU DVD-ROM    ", "INQUIRY");
    for is_dma in [false, true] {
        let end = cdrom.packet(&cdb::READ_CAPACITY_10, 8, is_dma, LIMIT)?;
        assert_eq!((end.error(), end.moved), (None, 8), "READ CAPACITY: {end:x?}");
        let expected = [(BLOCKS - 1).to_be_bytes(), (BLOCK as u32).to_be_bytes()].concat();
        assert_eq!(cdrom.data(8)?, expected, "READ CAPACITY");
    }
    Ok(())
}

/// Would catch a packet that nobody knows which is done, or a reason that is not kept.
fn sense(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let cdrom = CdRom::start(hba, vm)?;
    for is_dma in [false, true] {
        // An invalid operation.
        cdrom.refused(&[0xff; 12], is_dma, (5, 0x20, 0))?;
        cdrom.read(vm, (3, 2), is_dma, LIMIT)?;
    }
    Ok(())
}

/// Would catch sense data that is told twice (SPC-4, 4.5.1).
fn sense_once(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let cdrom = CdRom::start(hba, vm)?;
    cdrom.refused(&[0xff; 12], false, (5, 0x20, 0))?;
    assert_eq!(cdrom.request_sense()?, (0, 0, 0), "the sense afterwards");
    Ok(())
}

/// Would catch blocks past the end that are read, in part or as a whole.
fn past_the_end(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let cdrom = CdRom::start(hba, vm)?;
    for is_dma in [false, true] {
        for (first, count) in [(BLOCKS, 1), (BLOCKS - 1, 2), (u32::MAX, 1)] {
            let packet = cdb::transfer(10, false, first, count);
            cdrom.refused(&packet, is_dma, (5, 0x21, 0))?;
            let end = cdrom.packet(&packet, 2 * BLOCK, is_dma, LIMIT)?;
            assert_ne!(end.error(), None, "{count} blocks at {first:#x}");
            cdrom.data(0)?;
        }
    }
    cdrom.read(vm, (BLOCKS - 1, 1), true, 0)
}

/// Would catch a tray that does not open for the guest, or a medium that is there while it is
/// open.
fn tray(hba: &AhciHba, vm: &Rc<Vm>) -> Result<()> {
    let cdrom = CdRom::start(hba, vm)?;
    let is_open = || -> Result<bool> {
        let all = vm.qmp().execute("query-block", json!({}))?;
        let devices = all.as_array().cloned().unwrap_or_default();
        let is_cd = |it: &&serde_json::Value| {
            it["qdev"].as_str().is_some_and(|name| name.split('/').any(|part| part == "cd"))
        };
        let device = devices.iter().find(is_cd).expect("the CD-ROM");
        Ok(device["tray_open"] == true)
    };
    let mut eject = [0; 12];
    (eject[0], eject[4]) = (0x1b, 2);
    let mut load = eject;
    load[4] = 3;
    assert!(!is_open()?, "the tray at first");
    for _ in 0..2 {
        assert_eq!(cdrom.pio(&eject, 0, LIMIT)?.error(), None, "START STOP UNIT, eject");
        assert!(is_open()?, "the tray, ejected");
        cdrom.refused(&cdb::TEST_UNIT_READY, false, (2, 0x3a, 0))?;
        assert_eq!(cdrom.pio(&load, 0, LIMIT)?.error(), None, "START STOP UNIT, load");
        assert!(!is_open()?, "the tray, loaded");
        for _ in 0..3 {
            if cdrom.pio(&cdb::TEST_UNIT_READY, 0, LIMIT)?.error().is_none() {
                break;
            }
            cdrom.request_sense()?;
        }
        cdrom.read(vm, (0, 1), true, 0)?;
    }
    Ok(())
}
