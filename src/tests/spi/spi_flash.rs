//! Serial flash: what is read, programmed and erased (M25P80 data sheet, chapter 6, and those of
//! later chips where they extend it). Every case erases what it uses.

use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos::spi::{PAGE, SpiFlash, command, status};
use crate::qos::wait_until;
use crate::{Result, attacks, tests};

tests!(SpiFlash, "spi-flash-tests":
    read_jedec,
    status_register = "status-register",
    read,
    fast_read = "fast-read",
    dual_read = "dual-read",
    quad_read = "quad-read",
    page_program = "page-program",
    page_wraps = "page-wraps",
    only_ones_to_zeroes = "only-ones-to-zeroes",
    erase_sector,
    erase_4k = "erase-4k",
    erase_32k = "erase-32k",
    erase_inside = "erase-inside",
    erase_last = "erase-last",
    erase_all = "erase-all",
    write_enable = "write-enable",
    latch_clears = "latch-clears",
    cut_short = "cut-short",
    read_end = "read-end",
    image,
);
attacks!(SpiFlash, "spi-flash-attacks": page_program = "page-program");

/// Where most cases work: in the third sector, so that there is one before and one behind it.
fn base(flash: &SpiFlash) -> u64 {
    2 * flash.part().sector
}

/// Bytes of which no two pages are alike, and none are all ones.
fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let byte = |at: u64| (at.wrapping_mul(0x9e37_79b9).wrapping_add(seed * 0x51) >> 7) as u8 & 0x7f;
    (0..length as u64).map(byte).collect()
}

#[track_caller]
fn assert_bytes(found: &[u8], expected: &[u8], what: &str) {
    if let Some(at) = (0..expected.len()).find(|at| found[*at] != expected[*at]) {
        panic!("{what}: byte {at:#x} is {:#04x}, not {:#04x}", found[at], expected[at]);
    }
    assert_eq!(found.len(), expected.len(), "{what}: bytes");
}

#[track_caller]
fn assert_erased(flash: &SpiFlash, address: u64, length: usize) -> Result<()> {
    let found = flash.read(address, length)?;
    assert_bytes(&found, &vec![0xff; length], &format!("erased at {address:#x}"));
    Ok(())
}

/// A begin with a sector at `base` erased.
fn begin(flash: &SpiFlash) -> Result<u64> {
    flash.begin()?;
    let at = base(flash);
    flash.erase_sector(at)?;
    Ok(at)
}

/// Would catch another type of chip than the board has, or an identification that changes when it
/// is read twice or one byte at a time.
fn read_jedec(flash: &SpiFlash, _: &Rc<Vm>) -> Result<()> {
    flash.begin()?;
    for length in [3, 1, 2, 3] {
        let id = flash.exchange(&[command::READ_ID], length)?;
        assert_bytes(&id, &flash.part().id[..length], "the identification");
    }
    Ok(())
}

/// Would catch a status that is read only once a transaction, that has bits set without a reason,
/// or a latch that is not seen in it.
fn status_register(flash: &SpiFlash, _: &Rc<Vm>) -> Result<()> {
    flash.begin()?;
    let read = flash.exchange(&[command::READ_STATUS], 5)?;
    assert_bytes(&read, &[0; 5], "the status, five times");
    flash.command(command::WRITE_ENABLE)?;
    let read = flash.exchange(&[command::READ_STATUS], 5)?;
    assert_bytes(&read, &[status::WRITE_ENABLED; 5], "the status after a write enable");
    flash.command(command::WRITE_DISABLE)?;
    assert_eq!(flash.status()?, 0, "the status after a write disable");
    Ok(())
}

/// Would catch a read that begins elsewhere, that does not go on to the next page, or that a
/// read before has an effect on.
fn read(flash: &SpiFlash, _: &Rc<Vm>) -> Result<()> {
    let at = begin(flash)?;
    let data = pattern(1, 2 * PAGE as usize);
    for (page, bytes) in data.chunks(PAGE as usize).enumerate() {
        flash.program(at + page as u64 * PAGE, bytes)?;
    }
    assert_bytes(&flash.read(at, data.len())?, &data, "two pages");
    for offset in [1, 2, 3, 255, 256, 300] {
        let length = (data.len() - offset).min(9);
        let found = flash.read(at + offset as u64, length)?;
        assert_bytes(&found, &data[offset..][..length], &format!("from byte {offset} on"));
    }
    assert_erased(flash, at + 2 * PAGE, 16)
}

/// Reads what was programmed by a command with eight dummy cycles.
fn read_with_dummies(flash: &SpiFlash, code: u8) -> Result<()> {
    let at = begin(flash)?;
    let data = pattern(u64::from(code), 64);
    flash.program(at, &data)?;
    for offset in [0, 1, 17] {
        let found = flash.read_by((code, 3, 8), at + offset as u64, data.len() - offset)?;
        assert_bytes(&found, &data[offset..], &format!("by {code:#04x} from byte {offset} on"));
    }
    Ok(())
}

/// Would catch a fast read that takes other than eight dummy cycles for its own, or gives data of
/// another place.
fn fast_read(flash: &SpiFlash, _: &Rc<Vm>) -> Result<()> {
    read_with_dummies(flash, command::FAST_READ)
}

/// Would catch a dual read that takes other than eight dummy cycles for its own, or gives data of
/// another place.
fn dual_read(flash: &SpiFlash, _: &Rc<Vm>) -> Result<()> {
    read_with_dummies(flash, command::DUAL_READ)
}

/// Would catch a quad read that takes other than eight dummy cycles for its own, or gives data of
/// another place.
fn quad_read(flash: &SpiFlash, _: &Rc<Vm>) -> Result<()> {
    read_with_dummies(flash, command::QUAD_READ)
}

/// Would catch a program command that programs elsewhere, other bytes than were sent, or bytes
/// beside them.
fn page_program(flash: &SpiFlash, _: &Rc<Vm>) -> Result<()> {
    let at = begin(flash)?;
    for (number, (offset, length)) in
        [(0, 256), (0x100, 1), (0x2ff, 1), (0x310, 16), (0x4f0, 16)].into_iter().enumerate()
    {
        let data = pattern(number as u64 + 7, length);
        flash.program(at + offset, &data)?;
        let found = flash.read(at + offset, length)?;
        assert_bytes(&found, &data, &format!("{length} bytes at {offset:#x}"));
    }
    for (beside, length) in [(0x101, 0x1fe), (0x300, 0x10), (0x320, 0x1d0), (0x500, 0x10)] {
        assert_erased(flash, at + beside, length)?;
    }
    Ok(())
}

/// Would catch a page program that goes on into the next page, where it has to begin anew in the
/// same page (M25P80, 6.8).
fn page_wraps(flash: &SpiFlash, _: &Rc<Vm>) -> Result<()> {
    let at = begin(flash)?;
    let data = pattern(3, 16);
    flash.program(at + PAGE - 8, &data)?;
    assert_bytes(&flash.read(at + PAGE - 8, 8)?, &data[..8], "the end of the page");
    assert_erased(flash, at + PAGE, 8)?;
    assert_bytes(&flash.read(at, 8)?, &data[8..], "the begin of the page");
    Ok(())
}

/// Would catch a program command that makes ones of zeroes, which only an erase does.
fn only_ones_to_zeroes(flash: &SpiFlash, _: &Rc<Vm>) -> Result<()> {
    let at = begin(flash)?;
    flash.program(at, &[0xf0, 0x0f, 0xaa, 0x00, 0x55])?;
    flash.program(at, &[0x3c, 0xff, 0x55, 0xff, 0xf5])?;
    assert_bytes(&flash.read(at, 5)?, &[0x30, 0x0f, 0x00, 0x00, 0x55], "programmed twice");
    Ok(())
}

/// Programs the edges of an erasable block and its neighbours, erases it with an address that is
/// `inside` bytes from its begin, and sees what is left.
fn erases(flash: &SpiFlash, code: u8, length: u64, inside: u64) -> Result<()> {
    flash.begin()?;
    let at = base(flash);
    for sector in [at - flash.part().sector, at, at + flash.part().sector] {
        flash.erase_sector(sector)?;
    }
    let block = at + if length < flash.part().sector { length } else { 0 };
    let edges = [block - 1, block, block + length / 2, block + length - 1, block + length];
    for edge in edges {
        flash.program(edge, &[0x42])?;
    }
    flash.erase_by(code, 3, block + inside)?;
    for edge in edges {
        let is_in = (block..block + length).contains(&edge);
        let expected = if is_in { 0xff } else { 0x42 };
        assert_eq!(
            flash.read(edge, 1)?[0],
            expected,
            "the byte at {edge:#x}, erased {length:#x} at {block:#x}"
        );
    }
    Ok(())
}

/// Would catch a sector that is erased in part, or with its neighbours.
fn erase_sector(flash: &SpiFlash, _: &Rc<Vm>) -> Result<()> {
    erases(flash, command::ERASE_SECTOR, flash.part().sector, 0)
}

/// Would catch an erase of 4 KiB that erases less or more.
fn erase_4k(flash: &SpiFlash, _: &Rc<Vm>) -> Result<()> {
    if !flash.part().erases_4k {
        return Err(crate::Error::skipped(format!("{} has no blocks of 4 KiB", flash.part().name)));
    }
    erases(flash, command::ERASE_4K, 0x1000, 0)
}

/// Would catch an erase of 32 KiB that erases less or more.
fn erase_32k(flash: &SpiFlash, _: &Rc<Vm>) -> Result<()> {
    if !flash.part().erases_32k {
        return Err(crate::Error::skipped(format!(
            "{} has no blocks of 32 KiB",
            flash.part().name
        )));
    }
    erases(flash, command::ERASE_32K, 0x8000, 0)
}

/// Would catch an erase that begins at its address: any address inside of a sector stands for the
/// whole (M25P80, 6.9).
fn erase_inside(flash: &SpiFlash, _: &Rc<Vm>) -> Result<()> {
    erases(flash, command::ERASE_SECTOR, flash.part().sector, 0x1234)
}

/// Would catch an erase with the last address of the chip that leaves the chip: what is behind its
/// memory is QEMU's own.
fn erase_last(flash: &SpiFlash, _: &Rc<Vm>) -> Result<()> {
    flash.begin()?;
    let last = flash.part().size.min(1 << 24) - 1;
    if flash.part().needs_four_bytes() {
        flash.exchange(&[command::WRITE_ENABLE], 0)?;
        flash.exchange(&[command::WRITE_EXTENDED, (flash.part().size >> 24) as u8 - 1], 0)?;
        flash.command(command::WRITE_DISABLE)?;
    }
    flash.program(last, &[0])?;
    flash.erase_sector(last)?;
    assert_eq!(flash.read(last, 1)?, [0xff], "the last byte");
    assert_erased(flash, last + 1 - flash.part().sector, 16)
}

/// Would catch an erase of all that leaves some.
fn erase_all(flash: &SpiFlash, _: &Rc<Vm>) -> Result<()> {
    flash.begin()?;
    let size = flash.part().size.min(1 << 24);
    let places = [0, 0x1_0000, size / 2 - 1, size / 2, size - 1];
    for place in places {
        flash.program(place, &[0])?;
        assert_eq!(flash.read(place, 1)?, [0], "programmed at {place:#x}");
    }
    // The command without its latch does nothing.
    flash.command(command::WRITE_DISABLE)?;
    flash.command(command::ERASE_ALL)?;
    flash.ready()?;
    assert_eq!(flash.read(0, 1)?, [0], "after an erase that was not enabled");
    flash.enable_writes()?;
    flash.command(command::ERASE_ALL)?;
    flash.ready()?;
    for place in places {
        assert_eq!(flash.read(place, 1)?, [0xff], "erased at {place:#x}");
    }
    Ok(())
}

/// Would catch a chip that programs or erases although the write enable latch is not set (M25P80,
/// 6.1).
fn write_enable(flash: &SpiFlash, _: &Rc<Vm>) -> Result<()> {
    let at = begin(flash)?;
    flash.command(command::WRITE_DISABLE)?;
    flash.raw_program(command::PROGRAM, 3, at, &[0x11])?;
    assert_erased(flash, at, 1)?;
    flash.program(at, &[0x22])?;
    flash.command(command::WRITE_DISABLE)?;
    flash.exchange(&SpiFlash::addressed(command::ERASE_SECTOR, at, 3), 0)?;
    flash.ready()?;
    assert_eq!(flash.read(at, 1)?, [0x22], "erased without the latch");
    // The status register is not written, either.
    flash.write_status(status::PROTECT)?;
    assert_eq!(flash.status()?, 0, "the status, written without the latch");
    Ok(())
}

/// Would catch a latch that a program, erase or status write leaves set (M25P80, 6.1).
fn latch_clears(flash: &SpiFlash, _: &Rc<Vm>) -> Result<()> {
    let at = begin(flash)?;
    flash.enable_writes()?;
    flash.write_status(0)?;
    assert_eq!(flash.status()?, 0, "after a status write");
    flash.program(at, &[0x11])?;
    assert_eq!(flash.status()?, 0, "after a program");
    flash.erase_sector(at)?;
    assert_eq!(flash.status()?, 0, "after an erase");
    Ok(())
}

/// Would catch a command that is carried out although its address is cut short, and one that the
/// next transaction goes on with.
fn cut_short(flash: &SpiFlash, _: &Rc<Vm>) -> Result<()> {
    let at = begin(flash)?;
    flash.program(at, &[0x5a])?;
    for code in [command::ERASE_SECTOR, command::PROGRAM] {
        for bytes in 0..3 {
            flash.enable_writes()?;
            let whole = SpiFlash::addressed(code, at, 3);
            flash.exchange(&whole[..=bytes], 0)?;
            flash.exchange(&[0, 0, 0], 0)?;
            assert_eq!(flash.read(at, 1)?, [0x5a], "after {bytes} bytes of {code:#04x}");
        }
    }
    // No data is nothing to program.
    flash.program(at + 1, &[])?;
    flash.command(command::WRITE_DISABLE)?;
    assert_bytes(&flash.read(at, 3)?, &[0x5a, 0xff, 0xff], "after a program of nothing");
    Ok(())
}

/// Would catch a read that does not go on at address 0 behind the last one.
fn read_end(flash: &SpiFlash, _: &Rc<Vm>) -> Result<()> {
    flash.begin()?;
    let size = flash.part().size;
    let bytes = if flash.part().needs_four_bytes() { 4 } else { 3 };
    flash.take_four_bytes(bytes == 4)?;
    for sector in [0, size - flash.part().sector] {
        flash.erase_by(command::ERASE_SECTOR, bytes, sector)?;
    }
    flash.program_by(command::PROGRAM, bytes, size - 4, &[1, 2, 3, 4])?;
    flash.program_by(command::PROGRAM, bytes, 0, &[5, 6, 7, 8])?;
    let found = flash.read_by((command::READ, bytes, 0), size - 4, 9)?;
    assert_bytes(&found, &[1, 2, 3, 4, 5, 6, 7, 8, 0xff], "over the end");
    flash.take_four_bytes(false)
}

/// Would catch data that do not reach the image of the drive, or that reach it elsewhere.
fn image(flash: &SpiFlash, vm: &Rc<Vm>) -> Result<()> {
    let at = begin(flash)?;
    let same = |what: &str, at: u64, expected: &[u8]| {
        wait_until(vm, what, || Ok(flash.in_image(at, expected.len())? == expected))
    };
    let sector = flash.part().sector as usize;
    same("an erased sector in the image", at, &vec![0xff; sector])?;
    let data = pattern(9, 2 * PAGE as usize);
    flash.program(at, &data[..PAGE as usize])?;
    flash.program(at + PAGE, &data[PAGE as usize..])?;
    flash.program(at + 5 * PAGE + 3, &[0x77])?;
    let mut expected = vec![0xff; sector];
    expected[..data.len()].copy_from_slice(&data);
    expected[5 * PAGE as usize + 3] = 0x77;
    same("programmed pages in the image", at, &expected)?;
    flash.erase_sector(at)?;
    same("a sector that is erased again in the image", at, &vec![0xff; sector])
}
