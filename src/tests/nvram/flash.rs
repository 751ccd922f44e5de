//! Parallel flash with Intel's command set (CFI, JESD68; Intel's 28F data sheets).

use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos::flash::{IntelFlash, READY, command};
use crate::{Result, tests};

tests!(IntelFlash, "intel-flash-tests":
    identification,
    query,
    status,
    program,
    program_buffer = "program-buffer",
    erase,
    other_commands = "other-commands",
);

/// Begins with all devices reading their memory, and a clear status.
fn start(flash: &IntelFlash) -> Result<()> {
    flash.command(0, command::CLEAR_STATUS)?;
    flash.read_array()
}

fn erase_block(flash: &IntelFlash, block: u64) -> Result<()> {
    let at = block * flash.block;
    flash.command(at, command::ERASE)?;
    flash.command(at, command::CONFIRM)?;
    assert_eq!(flash.status()? & 0xf0, READY, "the status after block {block} was erased");
    flash.read_array()
}

fn program_word(flash: &IntelFlash, offset: u64, how: u8, word: u64) -> Result<()> {
    flash.command(offset, how)?;
    flash.bank.write(offset, flash.width, word)?;
    assert_eq!(flash.status()? & 0xf0, READY, "the status after a word at {offset:#x}");
    flash.read_array()
}

/// The word for an offset; no two are alike near to each other.
fn pattern(flash: &IntelFlash, offset: u64) -> u64 {
    let bits = 8 * flash.width.bytes() as u32;
    (offset.wrapping_mul(0x9e37_79b9) ^ 0x5aa5_1122) & (u64::MAX >> (64 - bits))
}

/// Would catch another manufacturer or device than the board has.
fn identification(flash: &IntelFlash, _: &Rc<Vm>) -> Result<()> {
    start(flash)?;
    flash.command(0, command::READ_ID)?;
    let second = 1 << flash.shift;
    match flash.devices {
        Some(_) => {
            assert_eq!(u64::from(flash.query(0)?), flash.ids[0] & 0xff, "the manufacturer");
            assert_eq!(u64::from(flash.query(1)?), flash.ids[1] & 0xff, "the device");
        }
        None => {
            let [a, b, c, d] = flash.ids;
            let mask = u64::MAX >> (64 - 8 * flash.width.bytes());
            assert_eq!(flash.word(0)?, (a << 8 | b) & mask, "the manufacturer");
            assert_eq!(flash.word(second)?, (c << 8 | d) & mask, "the device");
        }
    }
    flash.read_array()
}

/// Would catch a table of CFI (JESD68, 5) that is none, or has another size or other blocks than
/// the bank.
fn query(flash: &IntelFlash, _: &Rc<Vm>) -> Result<()> {
    start(flash)?;
    flash.command(0x55 << flash.shift, command::QUERY)?;
    let found: Vec<u8> = (0x10..0x13).map(|at| flash.query(at)).collect::<Result<_>>()?;
    assert_eq!(found, b"QRY", "the signature");
    let pair = |at: u64| {
        Ok::<_, crate::Error>(u64::from(flash.query(at)?) | u64::from(flash.query(at + 1)?) << 8)
    };
    // Intel's extended or standard command set.
    let set = pair(0x13)?;
    assert!([1, 3].contains(&set), "the command set {set}");
    let size = 1u64 << flash.query(0x27)?;
    let regions = flash.query(0x2c)?;
    assert_eq!(regions, 1, "regions of blocks");
    let (blocks, block) = (pair(0x2d)? + 1, pair(0x2f)? << 8);
    assert_eq!(blocks * block, size, "{blocks} blocks of {block} bytes");
    let devices = u64::from(flash.devices.unwrap_or(1));
    assert_eq!(size * devices, flash.block * flash.blocks, "the size of the bank");
    assert_eq!(block * devices, flash.block, "the size of a block of the bank");
    flash.read_array()
}

/// Would catch devices that are not ready, or say so where memory is to be read.
fn status(flash: &IntelFlash, _: &Rc<Vm>) -> Result<()> {
    start(flash)?;
    let before = flash.word(0)?;
    program_word(flash, 0, command::PROGRAM, pattern(flash, 0))?;
    assert_eq!(flash.status()?, READY, "the status");
    flash.read_array()?;
    assert_eq!(flash.word(0)?, pattern(flash, 0), "memory after the status");
    program_word(flash, 0, command::PROGRAM, before)
}

/// Would catch a word that is programmed elsewhere, not at all, or beside what is meant.
fn program(flash: &IntelFlash, _: &Rc<Vm>) -> Result<()> {
    start(flash)?;
    let step = flash.width.bytes() as u64;
    let last = flash.block * flash.blocks - step;
    let middle = flash.block * (flash.blocks / 2);
    for block in [0, flash.blocks / 2, flash.blocks - 1] {
        erase_block(flash, block)?;
    }
    for (number, offset) in [0, 4 * step, middle, middle + 12 * step, last].into_iter().enumerate()
    {
        let how = [command::PROGRAM, command::PROGRAM_OTHER][number % 2];
        program_word(flash, offset, how, pattern(flash, offset))?;
        assert_eq!(flash.word(offset)?, pattern(flash, offset), "the word at {offset:#x}");
        let beside = if offset == last { offset - step } else { offset + step };
        assert_eq!(
            flash.word(beside)?,
            flash.all(0xff) | pattern_ones(flash),
            "beside {offset:#x}"
        );
    }
    Ok(())
}

/// All ones, in the width of the bank.
fn pattern_ones(flash: &IntelFlash) -> u64 {
    u64::MAX >> (64 - 8 * flash.width.bytes())
}

/// Would catch a buffer whose words are programmed in another order, or only some of them.
fn program_buffer(flash: &IntelFlash, _: &Rc<Vm>) -> Result<()> {
    start(flash)?;
    let step = flash.width.bytes() as u64;
    let at = flash.block;
    erase_block(flash, 1)?;
    for (base, count) in [(at, 1u64), (at + 0x40, 8), (at + 0x100, 16)] {
        flash.command(base, command::PROGRAM_BUFFER)?;
        assert_eq!(flash.word(base)? as u8 & READY, READY, "a buffer is free");
        // How many words, less one.
        flash.command(base, count as u8 - 1)?;
        for word in 0..count {
            let offset = base + word * step;
            flash.bank.write(offset, flash.width, pattern(flash, offset))?;
        }
        flash.command(base, command::CONFIRM)?;
        assert_eq!(flash.status()?, READY, "the status after {count} words");
        flash.read_array()?;
        for word in 0..count {
            let offset = base + word * step;
            assert_eq!(flash.word(offset)?, pattern(flash, offset), "word {word} of {count}");
        }
        assert_eq!(flash.word(base + count * step)?, pattern_ones(flash), "behind {count} words");
    }
    Ok(())
}

/// Would catch an erased block that is not all ones, or another that is.
fn erase(flash: &IntelFlash, _: &Rc<Vm>) -> Result<()> {
    start(flash)?;
    let step = flash.width.bytes() as u64;
    let edges = [flash.block - step, flash.block, 2 * flash.block - step, 2 * flash.block];
    let edges: Vec<u64> = edges.into_iter().filter(|at| *at < flash.block * flash.blocks).collect();
    for offset in &edges {
        program_word(flash, *offset, command::PROGRAM, pattern(flash, *offset))?;
    }
    // In the middle of a block, too, it is the whole that is erased.
    flash.command(flash.block + 8 * step, command::ERASE)?;
    flash.command(flash.block + 8 * step, command::CONFIRM)?;
    assert_eq!(flash.status()?, READY, "the status");
    flash.read_array()?;
    for offset in edges {
        let is_erased = offset / flash.block == 1;
        let expected = if is_erased { pattern_ones(flash) } else { pattern(flash, offset) };
        assert_eq!(flash.word(offset)?, expected, "the word at {offset:#x}");
    }
    Ok(())
}

/// Would catch a command that nobody knows, or one that is not confirmed, and that does something
/// all the same.
fn other_commands(flash: &IntelFlash, _: &Rc<Vm>) -> Result<()> {
    start(flash)?;
    let offset = 16 * flash.width.bytes() as u64;
    program_word(flash, offset, command::PROGRAM, pattern(flash, offset))?;
    for unknown in [0x33, 0xa5, 0xd0] {
        flash.command(offset, unknown)?;
        flash.read_array()?;
        assert_eq!(flash.word(offset)?, pattern(flash, offset), "after the command {unknown:#x}");
    }
    flash.command(offset, command::QUERY)?;
    flash.read_array()?;
    assert_eq!(flash.word(offset)?, pattern(flash, offset), "after a query");
    Ok(())
}
