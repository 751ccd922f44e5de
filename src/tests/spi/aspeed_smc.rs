//! The static memory controllers of ASPEED: their windows, chip selects, segments, DMA and
//! interrupt (AST2500 data sheet, chapter "Firmware SPI Memory Controller").

use std::rc::Rc;

use crate::drivers::spi::aspeed_smc::{
    AspeedSmc, DMA_CONTROL, DMA_FLASH, DMA_LENGTH, DMA_RAM, DMA_SUM, INTERRUPT, Mode, SEGMENT,
};
use crate::graph::{Addition, QemuArgs, When};
use crate::qemu::{MIB, Version, Vm};
use crate::qos::registers::{Registers, RegistersExt, Width};
use crate::qos::spi::{Chip, Maker, Part, SpiController, SpiFlash, command};
use crate::qos::{settle, wait_until};
use crate::{Error, Result, tests};

tests!(AspeedSmc, "aspeed_smc-tests":
    read_mapped = "read-mapped",
    fast_read_mapped = "fast-read-mapped",
    read_mapped_four_bytes = "read-mapped-four-bytes",
    write_mapped = "write-mapped",
    write_protected = "write-protected",
    chip_select = "chip-select",
    stop_active = "stop-active",
    empty_select = "empty-select",
    dma_read = "dma-read",
    dma_length = "dma-length",
    dma_checksum = "dma-checksum",
    dma_interrupt = "dma-interrupt",
    dma_grant = "dma-grant",
    dma_outside = "dma-outside",
    segment,
    segments_overlap = "segments-overlap";
    with QemuArgs::NONE.when(WITH_CHIPS));

/// Later QEMUs put no chips on the buses of boards without default devices.
const WITH_CHIPS: &[When] = &[When::since(
    Version::new(8, 2, 0),
    Addition::NONE.after("-device w25q256,bus=ssi.0 -device w25q256,bus=ssi.1"),
)];

/// The type of those.
const ADDED: &str = "w25q256";

/// DMA_CONTROL: begin; the sum only.
const ENABLE: u32 = 1 << 0;
const SUM_ONLY: u32 = 1 << 2;
/// DMA_CONTROL of the AST2600: granted; what asks for that, and what gives it back.
const GRANT: u32 = 1 << 30;
const REQUEST_GRANT: u32 = 0xaeed_0000;
const RETURN_GRANT: u32 = 0xdeea_0000;
/// INTERRUPT: DMA has ended; let that interrupt.
const DMA_DONE: u32 = 1 << 11;
const DMA_ENABLE: u32 = 1 << 3;

/// Where in the flash the cases work.
const AT: u64 = 0x2_0000;

/// The chip behind chip select 0, with a page at [`AT`] that has `data` and is erased behind them.
fn flash(smc: &AspeedSmc, data: &[u8]) -> Result<SpiFlash> {
    let unknown = || Error::failed(format!("nothing is known of {ADDED}"));
    let chip = match smc.chip() {
        Some(chip) => chip,
        None => {
            let part = Part::called(ADDED).ok_or_else(unknown)?;
            Chip { select: 0, part, path: String::new() }
        }
    };
    let flash = SpiFlash { controller: Rc::new(smc.clone()), chip, image: "" };
    if flash.exchange(&[command::READ_ID], 3)? != flash.part().id {
        return Err(Error::skipped("this controller has no chip"));
    }
    flash.begin()?;
    flash.erase_sector(AT)?;
    if !data.is_empty() {
        flash.program(AT, data)?;
    }
    flash.command(command::WRITE_DISABLE)?;
    Ok(flash)
}

/// Bytes of which no two words are alike.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 4 * 3) as u8 & 0x7f | 1).collect()
}

/// Reads `data` in the window of chip select 0, from `at` on, in every width.
fn assert_window(smc: &AspeedSmc, at: u64, data: &[u8], what: &str) -> Result<()> {
    let window = smc.window(0)?;
    for width in [Width::Byte, Width::Word, Width::Long, Width::Quad] {
        let bytes = width.bytes();
        for offset in (0..data.len() - 7).step_by(bytes.max(4)) {
            let found = window.read(at + offset as u64, width)?;
            let mut expected = [0; 8];
            expected[..bytes].copy_from_slice(&data[offset..][..bytes]);
            let expected = u64::from_le_bytes(expected);
            assert_eq!(found, expected, "{what}: {bytes} bytes at {:#x}", at + offset as u64);
        }
    }
    Ok(())
}

/// Would catch a window that shows other bytes than the chip has, in any width.
fn read_mapped(smc: &AspeedSmc, _: &Rc<Vm>) -> Result<()> {
    let data = pattern(64);
    flash(smc, &data)?;
    smc.set_mode(0, Mode::Read)?;
    assert_window(smc, AT, &data, "read")?;
    assert_window(smc, AT + 64, &[0xff; 16], "read behind it")
}

/// Would catch a window that leaves out dummy cycles, or another command than the one it is told.
fn fast_read_mapped(smc: &AspeedSmc, _: &Rc<Vm>) -> Result<()> {
    let data = pattern(64);
    let flash = flash(smc, &data)?;
    if flash.part().maker == Maker::Sst {
        return Err(Error::skipped("QEMU's chips of SST take another number of dummy cycles"));
    }
    for code in [command::FAST_READ, command::DUAL_READ, command::QUAD_READ] {
        smc.set_mode(0, Mode::FastRead(code))?;
        assert_window(smc, AT, &data, &format!("read by {code:#04x}"))?;
    }
    // The identification, whose command takes no address: its bytes are read in its place.
    smc.set_mode(0, Mode::Read)?;
    assert_window(smc, AT, &data, "read again")
}

/// Would catch a window behind 16 MiB that shows what is at the start, or that keeps the length of
/// addresses when that is changed.
fn read_mapped_four_bytes(smc: &AspeedSmc, _: &Rc<Vm>) -> Result<()> {
    let data = pattern(32);
    let flash = flash(smc, &data)?;
    if !flash.part().needs_four_bytes() {
        return Err(Error::skipped(format!("three bytes reach all of {}", flash.part().name)));
    }
    let high = AT + 16 * MIB;
    let other: Vec<u8> = data.iter().map(|byte| byte ^ 0x7e).collect();
    flash.take_four_bytes(true)?;
    flash.erase_by(command::ERASE_SECTOR, 4, high)?;
    flash.program_by(command::PROGRAM, 4, high, &other)?;
    smc.set_mode(0, Mode::Read)?;
    assert_window(smc, AT, &data, "low")?;
    assert_window(smc, high, &other, "high")?;
    flash.take_four_bytes(false)?;
    smc.set_mode(0, Mode::Read)?;
    assert_window(smc, AT, &data, "low, with three bytes again")
}

/// Would catch a write to the window that is not made a command with its address and data, or that
/// is made in a mode that only reads.
fn write_mapped(smc: &AspeedSmc, _: &Rc<Vm>) -> Result<()> {
    let flash = flash(smc, &[])?;
    let window = smc.window(0)?;
    let mut expected = vec![0xff; 16];
    for (offset, width) in [(0, Width::Long), (5, Width::Byte), (8, Width::Word)] {
        flash.enable_writes()?;
        smc.set_mode(0, Mode::Write(command::PROGRAM))?;
        let data = 0x1122_3344_u32.rotate_left(offset as u32).to_le_bytes();
        let bytes = width.bytes();
        let mut value = [0; 8];
        value[..bytes].copy_from_slice(&data[..bytes]);
        window.write(AT + offset, width, u64::from_le_bytes(value))?;
        expected[offset as usize..][..bytes].copy_from_slice(&data[..bytes]);
        assert_eq!(flash.read(AT, 16)?, expected, "after {bytes} bytes at {offset}");
    }
    flash.enable_writes()?;
    smc.set_mode(0, Mode::Read)?;
    window.write32(AT, 0)?;
    flash.command(command::WRITE_DISABLE)?;
    assert_eq!(flash.read(AT, 16)?, expected, "written in a mode that reads");
    Ok(())
}

/// Would catch a chip select whose writes are not enabled, and that passes them on.
fn write_protected(smc: &AspeedSmc, _: &Rc<Vm>) -> Result<()> {
    let flash = flash(smc, &[])?;
    let window = smc.window(0)?;
    for allow in [false, true] {
        flash.enable_writes()?;
        smc.set_mode(0, Mode::Write(command::PROGRAM))?;
        smc.allow_writes(0, allow)?;
        window.write32(AT, 0x0403_0201)?;
        let expected = if allow { [1, 2, 3, 4] } else { [0xff; 4] };
        assert_eq!(flash.read(AT, 4)?, expected, "with writes enabled: {allow}");
    }
    // Nor does the mode in which software makes the bytes.
    smc.select(0)?;
    smc.allow_writes(0, false)?;
    smc.send(&[command::READ_ID])?;
    let found = smc.receive(3)?;
    smc.deselect()?;
    assert_ne!(found, flash.part().id, "a command that could not be sent");
    Ok(())
}

/// Would catch a chip that hears what is sent while its select is not active, or a transaction that
/// goes on when it becomes active again.
fn chip_select(smc: &AspeedSmc, _: &Rc<Vm>) -> Result<()> {
    let flash = flash(smc, &[0x11])?;
    let window = smc.window(0)?;
    let id = flash.part().id;
    smc.select(0)?;
    smc.deselect()?;
    window.write8(0, command::READ_ID)?;
    let found = [window.read8(0)?, window.read8(0)?, window.read8(0)?];
    assert_ne!(found, id, "without a chip that is selected");
    window.write8(0, command::WRITE_ENABLE)?;
    assert_eq!(flash.status()?, 0, "a latch set without a chip that is selected");
    smc.select(0)?;
    smc.send(&[command::READ_ID])?;
    assert_eq!(smc.receive(1)?, id[..1], "the first byte");
    smc.deselect()?;
    smc.select(0)?;
    smc.send(&[command::READ_ID])?;
    assert_eq!(smc.receive(3)?, id, "anew");
    smc.deselect()
}

/// Would catch a mode in which software transfers bytes that selects the chip although its select
/// is to be inactive, as it enters that mode or when that is written again.
fn stop_active(smc: &AspeedSmc, _: &Rc<Vm>) -> Result<()> {
    let flash = flash(smc, &[])?;
    let window = smc.window(0)?;
    for when in ["written again", "entered"] {
        if when == "entered" {
            smc.set_mode(0, Mode::Read)?;
        }
        smc.stop(0)?;
        window.write8(0, command::READ_ID)?;
        let found = [window.read8(0)?, window.read8(0)?, window.read8(0)?];
        assert_ne!(found, flash.part().id, "the mode is {when} with the select inactive");
    }
    Ok(())
}

/// Would catch a chip select without a chip that reaches another's.
fn empty_select(smc: &AspeedSmc, _: &Rc<Vm>) -> Result<()> {
    let flash = flash(smc, &[0x22])?;
    let last = smc.selects() - 1;
    if last < 2 {
        return Err(Error::skipped("the controller has no chip select that is free"));
    }
    let other = SpiFlash { chip: Chip { select: last, ..flash.chip.clone() }, ..flash.clone() };
    assert_ne!(other.exchange(&[command::READ_ID], 3)?, flash.part().id, "of chip select {last}");
    other.command(command::WRITE_ENABLE)?;
    assert_eq!(flash.status()?, 0, "a latch set by chip select {last}");
    Ok(())
}

/// DMA of `length` bytes from the flash at [`AT`] to `address` in RAM, whose register counts
/// from that of the shortest.
fn dma(smc: &AspeedSmc, address: u64, length: u32, control: u32) -> Result<()> {
    let registers = smc.registers();
    let base = smc.window(0)?.base();
    let shortest = if smc.generation() >= 2600 || smc.generation() == 1030 { 1 } else { 4 };
    // What wants a grant gets it, and others do not mind.
    registers.set(DMA_CONTROL, 0)?;
    registers.set(DMA_CONTROL, REQUEST_GRANT)?;
    registers.set(DMA_FLASH, (base + AT) as u32)?;
    registers.set(DMA_RAM, address as u32)?;
    registers.set(DMA_LENGTH, length - shortest)?;
    registers.set(DMA_CONTROL, control | ENABLE)?;
    wait_until(smc.vm(), "the DMA to end", || Ok(registers.get(INTERRUPT)? & DMA_DONE != 0))
}

/// Stops DMA.
fn stop_dma(smc: &AspeedSmc) -> Result<()> {
    smc.registers().set(DMA_CONTROL, REQUEST_GRANT)?;
    smc.registers().set(DMA_CONTROL, 0)
}

/// A chip with `length` bytes of a pattern, and a controller that reads it by DMA.
fn dma_flash(smc: &AspeedSmc, length: usize) -> Result<Vec<u8>> {
    if !smc.has_dma() {
        return Err(Error::skipped("the controller has no DMA"));
    }
    let data = pattern(length);
    flash(smc, &data)?;
    smc.set_mode(0, Mode::Read)?;
    Ok(data)
}

/// Transfers `length` bytes by DMA into the middle of a buffer, and returns that.
fn transferred(smc: &AspeedSmc, vm: &Vm, length: u32) -> Result<Vec<u8>> {
    let buffer = vm.ram().alloc(512, 64)?;
    buffer.write(0, &[0xa5; 512])?;
    dma(smc, buffer.address().0 + 64, length, 0)?;
    stop_dma(smc)?;
    assert_eq!(smc.registers().get(INTERRUPT)? & DMA_DONE, 0, "done, when it was stopped");
    buffer.to_vec()
}

/// Would catch DMA that transfers other bytes, or to another place. How many is for `dma-length`.
fn dma_read(smc: &AspeedSmc, vm: &Rc<Vm>) -> Result<()> {
    let data = dma_flash(smc, 256)?;
    for length in [16, 64, 256] {
        let found = transferred(smc, vm, length)?;
        let length = length as usize;
        assert_eq!(found[..64], [0xa5; 64], "before {length} bytes");
        assert_eq!(found[64..][..length - 4], data[..length - 4], "{length} bytes");
        assert_eq!(found[64 + length..], vec![0xa5; 448 - length], "behind {length} bytes");
    }
    Ok(())
}

/// Would catch DMA that transfers fewer bytes than it is told, or more.
fn dma_length(smc: &AspeedSmc, vm: &Rc<Vm>) -> Result<()> {
    let data = dma_flash(smc, 256)?;
    for length in [4, 8, 128, 256] {
        let found = transferred(smc, vm, length)?;
        let length = length as usize;
        assert_eq!(found[64..][..length], data[..length], "{length} bytes");
        assert_eq!(found[64 + length..], vec![0xa5; 448 - length], "behind {length} bytes");
    }
    Ok(())
}

/// Would catch a sum that is not that of the words, that a DMA before counts in, or that is made by
/// writing RAM.
fn dma_checksum(smc: &AspeedSmc, vm: &Rc<Vm>) -> Result<()> {
    let data = dma_flash(smc, 256)?;
    let buffer = vm.ram().alloc(256, 64)?;
    for length in [4_usize, 16, 256] {
        dma(smc, buffer.address().0, length as u32, SUM_ONLY)?;
        let words = data[..length].as_chunks::<4>().0.iter();
        let sum = words.fold(0_u32, |sum, word| sum.wrapping_add(u32::from_le_bytes(*word)));
        assert_eq!(smc.registers().get(DMA_SUM)?, sum, "the sum of {length} bytes");
        assert_eq!(buffer.to_vec()?, [0; 256], "the RAM");
        stop_dma(smc)?;
    }
    Ok(())
}

/// Would catch an interrupt that does not come, comes without its enable, or stays when the DMA is
/// stopped.
fn dma_interrupt(smc: &AspeedSmc, vm: &Rc<Vm>) -> Result<()> {
    dma_flash(smc, 16)?;
    let none = || Error::skipped("its interrupt line cannot be watched");
    let line = smc.interrupt()?.ok_or_else(none)?;
    let buffer = vm.ram().alloc(64, 64)?;
    smc.registers().set(INTERRUPT, 0)?;
    dma(smc, buffer.address().0, 16, 0)?;
    assert!(!line.is_high()?, "an interrupt that was not enabled");
    stop_dma(smc)?;
    smc.registers().set(INTERRUPT, DMA_ENABLE)?;
    dma(smc, buffer.address().0, 16, 0)?;
    assert!(line.is_high()?, "an interrupt that was enabled");
    stop_dma(smc)?;
    assert!(!line.is_high()?, "the interrupt of a DMA that was stopped");
    Ok(())
}

/// Would catch a controller that takes addresses of DMA, or begins one, without the grant that it
/// wants (AST2600 data sheet, SPI80).
fn dma_grant(smc: &AspeedSmc, vm: &Rc<Vm>) -> Result<()> {
    dma_flash(smc, 16)?;
    let registers = smc.registers();
    registers.set(DMA_CONTROL, REQUEST_GRANT)?;
    if smc.generation() != 2600 || registers.get(DMA_CONTROL)? & GRANT == 0 {
        return Err(Error::skipped("the controller wants no grant"));
    }
    let buffer = vm.ram().alloc(64, 64)?;
    registers.set(DMA_RAM, buffer.address().0 as u32)?;
    registers.set(DMA_FLASH, (smc.window(0)?.base() + AT) as u32)?;
    registers.set(DMA_LENGTH, 15)?;
    registers.set(DMA_CONTROL, RETURN_GRANT)?;
    assert_eq!(registers.get(DMA_CONTROL)? & GRANT, 0, "the grant that was given back");
    let before = registers.get(DMA_LENGTH)?;
    registers.set(DMA_LENGTH, 0x100)?;
    let is_kept = registers.get(DMA_LENGTH)? == before;
    registers.set(DMA_CONTROL, ENABLE)?;
    let has_run = buffer.to_vec()? != [0; 64];
    if !is_kept && has_run {
        return Err(Error::skipped("this controller wants no grant"));
    }
    assert!(is_kept && !has_run, "length kept: {is_kept}, has run: {has_run}");
    Ok(())
}

/// Would catch DMA to what is not RAM, from behind the flash, or of the greatest length that ends
/// QEMU, or writes elsewhere.
fn dma_outside(smc: &AspeedSmc, vm: &Rc<Vm>) -> Result<()> {
    dma_flash(smc, 16)?;
    let registers = smc.registers();
    let buffer = vm.ram().alloc(4096, 4096)?;
    buffer.write(0, &[0x5a; 4096])?;
    let base = smc.window(0)?.base() as u32;
    for (from, to, length) in [
        (base, 0, 0xff),
        (base, 0xffff_fffc, 0xff),
        (base, registers.base() as u32, 0xff),
        (base + 0x0fff_fffc, 0xffff_0000, 0xff),
        (0, 0xffff_0000, 0xff),
        (0xffff_fffc, 0xffff_fffc, 0x1_0000),
    ] {
        registers.set(DMA_CONTROL, 0)?;
        registers.set(DMA_CONTROL, REQUEST_GRANT)?;
        registers.set(DMA_FLASH, from)?;
        registers.set(DMA_RAM, to)?;
        registers.set(DMA_LENGTH, length)?;
        registers.set(DMA_CONTROL, ENABLE)?;
        settle(vm)?;
    }
    stop_dma(smc)?;
    assert_eq!(buffer.to_vec()?, [0x5a; 4096], "other RAM");
    let data = dma_flash(smc, 16)?;
    dma(smc, buffer.address().0, 16, 0)?;
    assert_eq!(buffer.to_vec()?[..12], data[..12], "a DMA after those");
    Ok(())
}

/// A segment of `size` bytes, `start` behind the begin of that which is `now`, as the register has
/// it.
fn segment_value(smc: &AspeedSmc, now: u32, start: u64, size: u64) -> Option<u32> {
    match smc.generation() {
        2400 | 2500 => {
            let first = (u64::from(now >> 16 & 0xff) << 23) + start;
            let end = first + size;
            Some(((first >> 23 & 0xff) << 16 | (end >> 23 & 0xff) << 24) as u32)
        }
        2600 | 1030 => {
            Some(((start + size - 1) & 0x0ff0_0000 | (start & 0x0ff0_0000) >> 16) as u32)
        }
        _ => None,
    }
}

/// Would catch a segment that does not say where its window is, whose end is not moved, or whose
/// window shows the chip beyond it.
fn segment(smc: &AspeedSmc, _: &Rc<Vm>) -> Result<()> {
    let data = pattern(16);
    flash(smc, &data)?;
    smc.set_mode(0, Mode::Read)?;
    let other = || Error::skipped("its segments are of another kind");
    let window = smc.window(0)?;
    if !smc.is_usual() {
        return Err(other());
    }
    let size = 16 * MIB;
    let registers = smc.registers();
    let before = registers.get(SEGMENT)?;
    let value = segment_value(smc, before, 0, size).ok_or_else(other)?;
    registers.set(SEGMENT, value)?;
    assert_eq!(registers.get(SEGMENT)?, value, "the segment");
    assert_window(smc, AT, &data, "in a shorter segment")?;
    let beyond = window.read32(size + AT)?;
    assert_ne!(beyond.to_le_bytes(), data[..4], "behind the segment");
    registers.set(SEGMENT, before)?;
    assert_eq!(registers.get(SEGMENT)?, before, "the segment as it was");
    assert_window(smc, AT, &data, "in the segment as it was")
}

/// Would catch segments over each other, behind the window of all, or that end before they begin,
/// that end QEMU, or that outlive a reset.
fn segments_overlap(smc: &AspeedSmc, vm: &Rc<Vm>) -> Result<()> {
    let data = pattern(16);
    flash(smc, &data)?;
    if !smc.is_usual() {
        return Err(Error::skipped("its segments are of another kind"));
    }
    let registers = smc.registers();
    let before: Vec<u32> = (0..smc.selects() as u64)
        .map(|select| registers.get(SEGMENT.nth(select, 4)))
        .collect::<Result<_>>()?;
    for value in [0, !0, 0x0001_ffff, 0xff00_0000, 0x00ff_0000, 0x4840_0000, 0x0ff0_0000] {
        for select in 0..smc.selects() as u64 {
            registers.set(SEGMENT.nth(select, 4), value)?;
        }
        smc.set_mode(0, Mode::Read)?;
        for offset in [0, AT, 16 * MIB] {
            smc.window(0)?.read32(offset)?;
            smc.window(0)?.write32(offset, 0)?;
        }
        settle(vm)?;
    }
    crate::qos::reset(vm)?;
    for (select, before) in before.into_iter().enumerate() {
        let now = registers.get(SEGMENT.nth(select as u64, 4))?;
        assert_eq!(now, before, "segment {select} after a reset");
    }
    smc.set_mode(0, Mode::Read)?;
    assert_window(smc, AT, &data, "after a reset")
}
