//! Serial flash: protection of its memory and of its status register, addresses of four bytes,
//! reset, parameter tables, and drives that cannot be written.

use std::rc::Rc;

use crate::graph::QemuArgs;
use crate::qemu::{MIB, Vm};
use crate::qos::spi::{Maker, SpiFlash, command, status};
use crate::qos::{reset as reset_machine, settle};
use crate::{Error, Result, tests};

tests!(SpiFlash, "spi-flash-protection-tests":
    block_protect = "block-protect",
    protected_erase = "protected-erase",
    register_protect = "register-protect",
    machine_reset = "machine-reset",
);

tests!(SpiFlash, "spi-flash-address-tests":
    four_byte_mode = "four-byte-mode",
    four_byte_commands = "four-byte-commands",
    extended_address = "extended-address",
    reset,
    sfdp,
);

tests!(SpiFlash, "spi-flash-read-only": keeps_image = "keeps-image";
    with QemuArgs::NONE.after("-set drive.spi-flash.readonly=on"));

/// Block protect bits of value 1: the last sector of 64 KiB, with addresses counted from the top.
const LAST: u8 = 1 << 2;

/// Writes the status, with its latch.
fn set_status(flash: &SpiFlash, value: u8) -> Result<()> {
    flash.enable_writes()?;
    flash.write_status(value)
}

/// The last address, and how many bytes it has; the chip takes as many from now on.
fn last(flash: &SpiFlash) -> Result<(u64, usize)> {
    let four = flash.part().needs_four_bytes();
    flash.take_four_bytes(four)?;
    Ok((flash.part().size - 1, if four { 4 } else { 3 }))
}

fn byte(flash: &SpiFlash, bytes: usize, at: u64) -> Result<u8> {
    Ok(flash.read_by((command::READ, bytes, 0), at, 1)?[0])
}

/// A begin with the last two sectors erased, and the first one.
fn begin(flash: &SpiFlash) -> Result<(u64, usize)> {
    flash.begin()?;
    let (last, bytes) = last(flash)?;
    let sector = flash.part().sector;
    for at in [0, last + 1 - 2 * sector, last + 1 - sector] {
        flash.erase_by(command::ERASE_SECTOR, bytes, at)?;
    }
    flash.command(command::WRITE_DISABLE)?;
    Ok((last, bytes))
}

/// Clears the protection that a case has set, for the next one.
fn end(flash: &SpiFlash) -> Result<()> {
    set_status(flash, 0)?;
    flash.take_four_bytes(false)
}

/// Would catch block protect bits that are not kept, that protect other blocks than the last one or
/// all (by value 1 or 7), or that a write without the latch changes (M25P80, table 2).
fn block_protect(flash: &SpiFlash, _: &Rc<Vm>) -> Result<()> {
    let (last, bytes) = begin(flash)?;
    let program = |at, data| flash.program_by(command::PROGRAM, bytes, at, &[data]);
    set_status(flash, LAST)?;
    assert_eq!(flash.status()?, LAST, "the status");
    program(last, 0x10)?;
    program(last + 1 - flash.part().sector, 0x11)?;
    assert_eq!(byte(flash, bytes, last)?, 0xff, "in the protected sector");
    assert_eq!(byte(flash, bytes, last + 1 - flash.part().sector)?, 0xff, "its first byte");
    program(last - flash.part().sector, 0x12)?;
    assert_eq!(byte(flash, bytes, last - flash.part().sector)?, 0x12, "before it");
    program(0, 0x13)?;
    assert_eq!(byte(flash, bytes, 0)?, 0x13, "the first byte");

    flash.command(command::WRITE_DISABLE)?;
    flash.write_status(0)?;
    assert_eq!(flash.status()?, LAST, "the status, written without the latch");

    set_status(flash, 0)?;
    assert_eq!(flash.status()?, 0, "the status without protection");
    program(last, 0x14)?;
    assert_eq!(byte(flash, bytes, last)?, 0x14, "no longer protected");
    if flash.part().size <= 4 * MIB || flash.part().maker == Maker::Macronix {
        return end(flash);
    }
    // 64 sectors at least: all of a chip of 4 MiB, and no other's first sector.
    set_status(flash, status::PROTECT)?;
    assert_eq!(flash.status()?, status::PROTECT, "all protect bits");
    program(last - 1, 0x15)?;
    assert_eq!(byte(flash, bytes, last - 1)?, 0xff, "with all protect bits");
    end(flash)
}

/// Would catch an erase of a protected sector, and one of all while any is protected (M25P80, 6.9
/// and 6.10).
fn protected_erase(flash: &SpiFlash, _: &Rc<Vm>) -> Result<()> {
    let (last, bytes) = begin(flash)?;
    flash.program_by(command::PROGRAM, bytes, last, &[0x21])?;
    flash.program_by(command::PROGRAM, bytes, 0, &[0x22])?;
    set_status(flash, LAST)?;
    flash.erase_by(command::ERASE_SECTOR, bytes, last + 1 - flash.part().sector)?;
    let after_sector = byte(flash, bytes, last)?;
    flash.enable_writes()?;
    flash.command(command::ERASE_ALL)?;
    flash.ready()?;
    let after_all = (byte(flash, bytes, last)?, byte(flash, bytes, 0)?);
    end(flash)?;
    assert_eq!(after_sector, 0x21, "the protected sector was erased");
    assert_eq!(after_all, (0x21, 0x22), "all was erased although a sector is protected");
    Ok(())
}

/// Would catch a status register that is written while its protect bit is set and the pin W# is
/// low, or that is not while either is otherwise (M25P80, table 7).
fn register_protect(flash: &SpiFlash, vm: &Rc<Vm>) -> Result<()> {
    flash.begin()?;
    let pin =
        |level| -> Result<()> { Ok(vm.qtest().set_irq_in(&flash.chip.path, "WP#", 0, level)?) };
    pin(1)?;
    set_status(flash, status::REGISTER_PROTECTED)?;
    assert_eq!(flash.status()?, status::REGISTER_PROTECTED, "the protect bit");
    set_status(flash, status::REGISTER_PROTECTED | LAST)?;
    assert_eq!(flash.status()?, status::REGISTER_PROTECTED | LAST, "with W# high");
    pin(0)?;
    set_status(flash, 0)?;
    flash.command(command::WRITE_DISABLE)?;
    assert_eq!(flash.status()?, status::REGISTER_PROTECTED | LAST, "with W# low");
    pin(1)?;
    set_status(flash, 0)?;
    assert_eq!(flash.status()?, 0, "with W# high again");
    // Without the protect bit the pin does nothing.
    pin(0)?;
    set_status(flash, LAST)?;
    assert_eq!(flash.status()?, LAST, "without the protect bit");
    pin(1)?;
    end(flash)
}

/// Would catch a reset of the machine that leaves the latch, or a transaction that was not ended,
/// or that changes the memory.
fn machine_reset(flash: &SpiFlash, vm: &Rc<Vm>) -> Result<()> {
    let (last, bytes) = begin(flash)?;
    flash.program_by(command::PROGRAM, bytes, last, &[0x31])?;
    flash.enable_writes()?;
    // A program command that lacks its data.
    flash.controller.select(flash.chip.select)?;
    flash.controller.send(&SpiFlash::addressed(command::PROGRAM, last - 1, bytes))?;
    reset_machine(vm)?;
    flash.controller.deselect()?;
    assert_eq!(flash.status()?, 0, "the status after a reset");
    assert_eq!(flash.exchange(&[command::READ_ID], 3)?, flash.part().id, "the identification");
    flash.begin()?;
    let (_, bytes) = self::last(flash)?;
    let kept = flash.read_by((command::READ, bytes, 0), last - 1, 2)?;
    assert_eq!(kept, [0xff, 0x31], "the memory after a reset");
    end(flash)
}

/// Skips what is about chips that three bytes of an address do not reach all of.
fn need_large(flash: &SpiFlash) -> Result<()> {
    match flash.part().needs_four_bytes() {
        true => Ok(()),
        false => Err(Error::skipped(format!("three bytes reach all of {}", flash.part().name))),
    }
}

/// The two places that three bytes of an address do not tell apart.
const LOW: u64 = 0x2_0010;
const HIGH: u64 = 0x102_0010;

/// Erases both, and programs 0x41 at the low, 0x42 at the high one, with four bytes of address.
fn two_places(flash: &SpiFlash) -> Result<()> {
    flash.begin()?;
    flash.take_four_bytes(true)?;
    for (at, data) in [(LOW, 0x41), (HIGH, 0x42)] {
        flash.erase_by(command::ERASE_SECTOR, 4, at - 0x10)?;
        flash.program_by(command::PROGRAM, 4, at, &[data])?;
    }
    Ok(())
}

/// Would catch a mode of four bytes that is not entered or left, in which the upper byte does not
/// count, or in which only some commands are.
fn four_byte_mode(flash: &SpiFlash, _: &Rc<Vm>) -> Result<()> {
    need_large(flash)?;
    two_places(flash)?;
    assert_eq!(byte(flash, 4, LOW)?, 0x41, "the low place");
    assert_eq!(byte(flash, 4, HIGH)?, 0x42, "the high place");
    let fast = flash.read_by((command::FAST_READ, 4, 8), HIGH, 2)?;
    assert_eq!(fast, [0x42, 0xff], "the high place, read fast");
    flash.erase_by(command::ERASE_SECTOR, 4, HIGH - 0x10)?;
    assert_eq!(byte(flash, 4, HIGH)?, 0xff, "erased");
    assert_eq!(byte(flash, 4, LOW)?, 0x41, "not erased");
    flash.take_four_bytes(false)?;
    assert_eq!(flash.read(LOW, 2)?, [0x41, 0xff], "with three bytes again");
    Ok(())
}

/// Would catch a command of four bytes that takes three where that is the mode.
fn four_byte_commands(flash: &SpiFlash, _: &Rc<Vm>) -> Result<()> {
    need_large(flash)?;
    two_places(flash)?;
    flash.take_four_bytes(false)?;
    let read = |at| flash.read_by((command::READ_4, 4, 0), at, 2);
    assert_eq!(read(LOW)?, [0x41, 0xff], "the low place");
    assert_eq!(read(HIGH)?, [0x42, 0xff], "the high place");
    flash.program_by(command::PROGRAM_4, 4, HIGH + 1, &[0x43])?;
    assert_eq!(read(HIGH)?, [0x42, 0x43], "programmed");
    assert_eq!(flash.read(LOW, 2)?, [0x41, 0xff], "the low place, by three bytes");
    flash.erase_by(command::ERASE_SECTOR_4, 4, HIGH - 0x10)?;
    assert_eq!(read(HIGH)?, [0xff, 0xff], "the high place, erased");
    assert_eq!(read(LOW)?, [0x41, 0xff], "the low place, not erased");
    flash.controller.set_address_length(flash.chip.select, 4)?;
    let fast = flash.read_by((command::FAST_READ_4, 4, 8), LOW, 2)?;
    assert_eq!(fast, [0x41, 0xff], "the low place, read fast");
    flash.controller.set_address_length(flash.chip.select, 3)?;
    if flash.part().erases_4k {
        flash.erase_by(command::ERASE_4K_4, 4, LOW - 0x10)?;
        assert_eq!(read(LOW)?, [0xff, 0xff], "4 KiB erased");
    }
    Ok(())
}

/// Would catch an extended address register that is not kept, is written without the latch, or
/// does not count in addresses of three bytes.
fn extended_address(flash: &SpiFlash, _: &Rc<Vm>) -> Result<()> {
    need_large(flash)?;
    if !matches!(flash.part().maker, Maker::Micron | Maker::Winbond | Maker::Macronix) {
        return Err(Error::skipped(format!("{} has no such register", flash.part().name)));
    }
    two_places(flash)?;
    flash.take_four_bytes(false)?;
    flash.exchange(&[command::WRITE_EXTENDED, 1], 0)?;
    assert_eq!(flash.exchange(&[command::READ_EXTENDED], 1)?, [0], "written without the latch");
    assert_eq!(flash.read(LOW, 1)?, [0x41], "with 0");
    flash.enable_writes()?;
    flash.exchange(&[command::WRITE_EXTENDED, 1], 0)?;
    assert_eq!(flash.exchange(&[command::READ_EXTENDED], 1)?, [1], "written");
    assert_eq!(flash.read(LOW, 1)?, [0x42], "with 1");
    flash.enable_writes()?;
    flash.exchange(&[command::WRITE_EXTENDED, 0], 0)?;
    assert_eq!(flash.read(LOW, 1)?, [0x41], "with 0 again");
    flash.command(command::WRITE_DISABLE)
}

/// Would catch a reset that does nothing, that leaves the mode of four bytes or the latch, or that
/// comes without its enable just before.
fn reset(flash: &SpiFlash, _: &Rc<Vm>) -> Result<()> {
    flash.begin()?;
    let is_latched = || Ok::<_, Error>(flash.status()? & status::WRITE_ENABLED != 0);
    flash.enable_writes()?;
    flash.command(command::RESET)?;
    assert!(is_latched()?, "a reset without its enable");
    flash.command(command::RESET_ENABLE)?;
    flash.command(command::WRITE_ENABLE)?;
    flash.command(command::RESET)?;
    assert!(is_latched()?, "a reset with another command in between");
    flash.command(command::RESET_ENABLE)?;
    flash.command(command::RESET)?;
    assert!(!is_latched()?, "after a reset");
    if flash.part().needs_four_bytes() {
        two_places(flash)?;
        flash.command(command::RESET_ENABLE)?;
        flash.command(command::RESET)?;
        flash.controller.set_address_length(flash.chip.select, 3)?;
        assert_eq!(flash.read(LOW, 2)?, [0x41, 0xff], "with three bytes after a reset");
    }
    Ok(())
}

/// Would catch parameter tables (JESD216, 6) that are none, that are cut, or that tell another size
/// or other erases than the chip has.
fn sfdp(flash: &SpiFlash, vm: &Rc<Vm>) -> Result<()> {
    flash.begin()?;
    let part = flash.part();
    let has = part.sfdp.is_some_and(|since| vm.emulator().capabilities.version >= since);
    if !has {
        return Err(Error::skipped(format!("this QEMU has no tables of {}", part.name)));
    }
    let read = |at, length| flash.read_by((command::READ_SFDP, 3, 8), at, length);
    let header = read(0, 16)?;
    assert_eq!(&header[..4], b"SFDP", "the signature");
    assert_eq!(header[5], 1, "the major revision");
    assert_eq!([header[8], header[15]], [0x00, 0xff], "the first table is the basic one");
    let length = usize::from(header[11]) * 4;
    assert!(length >= 36, "the basic table has {length} bytes");
    let at = u32::from_le_bytes([header[12], header[13], header[14], 0]).into();
    let table = read(at, length)?;
    assert_eq!(read(at + 4, 4)?, table[4..8], "the second word, read by itself");
    let word =
        |number: usize| u32::from_le_bytes(table[4 * number..][..4].try_into().unwrap_or([0; 4]));
    let density = word(1);
    let bits =
        if density >> 31 == 0 { u64::from(density) + 1 } else { 1 << (density & 0x7fff_ffff) };
    assert_eq!(bits / 8, part.size, "the density");
    // Four kinds of erase: a power of two, and the command.
    let kinds =
        [table[28], table[29], table[30], table[31], table[32], table[33], table[34], table[35]];
    let has_kind = |size: u64, code| {
        kinds.as_chunks::<2>().0.iter().any(|kind| *kind == [size.trailing_zeros() as u8, code])
    };
    assert!(has_kind(part.sector, command::ERASE_SECTOR), "no erase of a sector in {kinds:x?}");
    assert_eq!(has_kind(0x1000, command::ERASE_4K), part.erases_4k, "4 KiB in {kinds:x?}");
    Ok(())
}

/// Would catch a drive that cannot be written and is, or a chip that loses what it was programmed
/// before it is turned off.
fn keeps_image(flash: &SpiFlash, vm: &Rc<Vm>) -> Result<()> {
    flash.begin()?;
    let at = 2 * flash.part().sector;
    flash.erase_sector(at)?;
    flash.program(at, &[0x51, 0x52])?;
    flash.command(command::WRITE_DISABLE)?;
    assert_eq!(flash.read(at, 3)?, [0x51, 0x52, 0xff], "the chip");
    settle(vm)?;
    assert_eq!(flash.in_image(at, 3)?, [0, 0, 0], "the image");
    Ok(())
}
