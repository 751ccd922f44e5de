//! The engine of the GD5446: blocks that are filled, copied, expanded and sent by the CPU, with every
//! raster operation, compared byte by byte with a model (CL-GD5446 Technical Reference Manual,
//! chapter "BitBLT engine"); its modes and its pointer on the screen; and blocks that leave video
//! memory.

use std::rc::Rc;

use fastrand::Rng;

use super::cirrus_bench::{Model, OPERATIONS, PITCH, expanded, set_mode};
use crate::drivers::display::cirrus_vga::{
    BACKWARDS, Block, CirrusVga, DOUBLEWORDS, EXTENDED, FROM_CPU, PATTERN, POINTER,
    POINTER_PATTERN, SOLID, TRANSPARENT,
};
use crate::qemu::Vm;
use crate::qos::display::registers::{CRTC, GRAPHICS, SEQUENCER};
use crate::qos::display::{Colour, screen};
use crate::qos::registers::{Access, RegistersExt, Width};
use crate::{Result, tests};

tests!(CirrusVga, "cirrus-vga-tests":
    copies,
    backwards,
    transparent_copies = "transparent-copies",
    patterns,
    expansions,
    expanded_patterns = "expanded-patterns",
    clipped_expansions = "clipped-expansions",
    clipped_patterns = "clipped-patterns",
    pattern_offsets = "pattern-offsets",
    fills,
    from_cpu = "from-cpu",
    from_cpu_expanded = "from-cpu-expanded",
    from_cpu_doublewords = "from-cpu-doublewords",
    locked,
    modes,
    pointer,
    wild_blocks = "wild-blocks",
    wild_screens = "wild-screens",
);

/// Would catch a raster operation that makes another byte of source and destination, and a copy that
/// reads or writes other bytes.
fn copies(card: &CirrusVga, _: &Rc<Vm>) -> Result<()> {
    let mut model = Model::new(card, 1)?;
    for _ in 0..2 {
        for (operation, _) in OPERATIONS {
            let block = model.block(1, 0, operation);
            for y in 0..u32::from(block.height) {
                for x in 0..u32::from(block.width) {
                    let from = (block.from + y * u32::from(block.from_pitch) + x) as usize;
                    let to = (block.to + y * u32::from(PITCH) + x) as usize;
                    let source = [model.memory[from]];
                    model.put(&block, to, &source, None);
                }
            }
            card.draw(&block)?;
            model.assert_same(card, &block)?;
        }
    }
    Ok(())
}

/// Would catch a copy from the last byte to the first that goes another way, which shows where source
/// and destination overlap.
fn backwards(card: &CirrusVga, _: &Rc<Vm>) -> Result<()> {
    let mut model = Model::new(card, 2)?;
    for (operation, _) in OPERATIONS {
        let mut block = model.block(1, BACKWARDS, operation);
        block.to += 9 * u32::from(PITCH) + 40;
        block.from = block.to - 5;
        block.from_pitch = PITCH;
        for y in 0..u32::from(block.height) {
            for x in 0..u32::from(block.width) {
                let back = y * u32::from(PITCH) + x;
                let source = [model.memory[(block.from - back) as usize]];
                model.put(&block, (block.to - back) as usize, &source, None);
            }
        }
        card.draw(&block)?;
        model.assert_same(card, &block)?;
    }
    Ok(())
}

/// Would catch a pixel that is written although it has the transparent colour, or is not although it
/// has another, in 8 and 16 bits.
fn transparent_copies(card: &CirrusVga, _: &Rc<Vm>) -> Result<()> {
    let mut model = Model::new(card, 3)?;
    for size in [1, 2] {
        for (operation, make) in OPERATIONS {
            let mut block = model.block(size, TRANSPARENT, operation);
            // The colour that the first pixel would get, so that it is there.
            let first = |model: &Model, at: u32| model.memory[at as usize];
            let low = make(first(&model, block.from), first(&model, block.to));
            let high = make(first(&model, block.from + 1), first(&model, block.to + 1));
            block.transparent = u16::from_le_bytes([low, if size == 2 { high } else { 0 }]);
            let key = Some(block.transparent);
            for y in 0..usize::from(block.height) {
                for x in (0..usize::from(block.width)).step_by(size) {
                    let from = block.from as usize + y * usize::from(block.from_pitch) + x;
                    let to = block.to as usize + y * usize::from(PITCH) + x;
                    let source = model.memory[from..from + size].to_vec();
                    model.put(&block, to, &source, key);
                }
            }
            card.draw(&block)?;
            model.assert_same(card, &block)?;
        }
    }
    Ok(())
}

/// Would catch a pattern of 8 by 8 pixels that does not repeat, or has lines of another length, in
/// every width of pixels.
fn patterns(card: &CirrusVga, _: &Rc<Vm>) -> Result<()> {
    let mut model = Model::new(card, 4)?;
    for size in [1, 2, 3, 4] {
        // A pixel of 24 bits is in a line of 32 bytes.
        let line = if size == 3 { 32 } else { 8 * size };
        set_mode(card, 8 * size)?;
        for (operation, _) in OPERATIONS {
            let mut block = model.block(size, PATTERN, operation);
            block.from = model.rng.u32(..4) * 256;
            let start = block.from as usize;
            for y in 0..usize::from(block.height) {
                for x in 0..usize::from(block.width) / size {
                    let from = start + y % 8 * line + x % 8 * size;
                    let to = block.to as usize + y * usize::from(PITCH) + x * size;
                    let source = model.memory[from..from + size].to_vec();
                    model.put(&block, to, &source, None);
                }
            }
            card.draw(&block)?;
            model.assert_same(card, &block)?;
        }
    }
    Ok(())
}

/// Would catch a bit that becomes another colour, a line that does not begin with a byte, and zeroes
/// that are drawn where they are transparent, in every width of pixels.
fn expansions(card: &CirrusVga, _: &Rc<Vm>) -> Result<()> {
    let mut model = Model::new(card, 5)?;
    for size in [1, 2, 3, 4] {
        for mode in [0, TRANSPARENT] {
            for (operation, _) in OPERATIONS {
                let block = expanded(&mut model, size, mode, operation);
                let line = (usize::from(block.width) / size).div_ceil(8);
                let from = block.from as usize;
                model.expand(&block, size, |memory, x, y| {
                    memory[from + y * line + x / 8] >> (7 - x % 8) & 1 != 0
                });
                card.draw(&block)?;
                model.assert_same(card, &block)?;
            }
        }
    }
    Ok(())
}

/// Would catch a pattern of 8 by 8 bits that begins with another bit, or does not repeat.
fn expanded_patterns(card: &CirrusVga, _: &Rc<Vm>) -> Result<()> {
    let mut model = Model::new(card, 6)?;
    for size in [1, 2, 3, 4] {
        for mode in [0, TRANSPARENT] {
            for (operation, _) in OPERATIONS {
                let mut block = expanded(&mut model, size, PATTERN | mode, operation);
                block.from = model.rng.u32(..4) * 256;
                let start = block.from as usize;
                model.expand(&block, size, |memory, x, y| {
                    memory[start + y % 8] >> (7 - x % 8) & 1 != 0
                });
                card.draw(&block)?;
                model.assert_same(card, &block)?;
            }
        }
    }
    Ok(())
}

/// The widths of pixels with what can be clipped of the left of a block that is expanded, and
/// whether only with transparency: up to 7 pixels, of 24 bits up to 31 bytes.
fn clippings() -> impl Iterator<Item = (usize, u8, u8)> {
    let modes = |size: usize| if size == 3 { &[TRANSPARENT][..] } else { &[0, TRANSPARENT] };
    let step = |size: usize| if size == 3 { 3 } else { 1 };
    [1, 2, 3, 4].into_iter().flat_map(move |size| {
        let skips = (0..if size == 3 { 32 } else { 8 }).step_by(step(size));
        skips.flat_map(move |skip| modes(size).iter().map(move |&mode| (size, mode, skip)))
    })
}

/// A block of two colours that is wider than what is clipped of its left.
fn clipped(model: &mut Model, size: usize, mode: u8, skip: u8) -> Block {
    let operation = OPERATIONS[model.rng.usize(..16)].0;
    let mut block = expanded(model, size, mode, operation);
    block.skip = skip;
    block.width = (model.rng.usize(12..=18) * size) as u16;
    block
}

/// Would catch pixels at the left that are drawn although they are clipped, above all more than eight
/// of them, or bits that become other pixels because of them.
fn clipped_expansions(card: &CirrusVga, _: &Rc<Vm>) -> Result<()> {
    let mut model = Model::new(card, 11)?;
    for (size, mode, skip) in clippings() {
        let block = clipped(&mut model, size, mode, skip);
        let line = (usize::from(block.width) / size).div_ceil(8);
        let from = block.from as usize;
        model.expand(&block, size, |memory, x, y| {
            memory[from + y * line + x / 8] >> (7 - x % 8) & 1 != 0
        });
        card.draw(&block)?;
        model.assert_same(card, &block)?;
    }
    Ok(())
}

/// Would catch a pattern of 8 by 8 bits that begins with another bit where pixels at the left are
/// clipped.
fn clipped_patterns(card: &CirrusVga, _: &Rc<Vm>) -> Result<()> {
    let mut model = Model::new(card, 12)?;
    for (size, mode, skip) in clippings() {
        let mut block = clipped(&mut model, size, PATTERN | mode, skip);
        block.from = model.rng.u32(..4) * 256;
        let start = block.from as usize;
        model.expand(&block, size, |memory, x, y| memory[start + y % 8] >> (7 - x % 8) & 1 != 0);
        card.draw(&block)?;
        model.assert_same(card, &block)?;
    }
    Ok(())
}

/// Would catch a pattern that does not begin with the line that the lowest three bits of its address
/// name, or one of 8 by 8 bits that is not at every eighth byte.
fn pattern_offsets(card: &CirrusVga, _: &Rc<Vm>) -> Result<()> {
    let mut model = Model::new(card, 10)?;
    for _ in 0..20 {
        let mut block = expanded(&mut model, 1, PATTERN, 0x0d);
        block.from = model.rng.u32(..128) * 8 + model.rng.u32(..8);
        let (start, first) = ((block.from & !7) as usize, (block.from & 7) as usize);
        model.expand(&block, 1, |memory, x, y| {
            memory[start + (first + y) % 8] >> (7 - x % 8) & 1 != 0
        });
        card.draw(&block)?;
        model.assert_same(card, &block)?;
    }
    Ok(())
}

/// Would catch a fill with another colour, or of other bytes.
fn fills(card: &CirrusVga, _: &Rc<Vm>) -> Result<()> {
    let mut model = Model::new(card, 7)?;
    for size in [1, 2, 3, 4] {
        for (operation, _) in OPERATIONS {
            let mut block = expanded(&mut model, size, PATTERN, operation);
            block.extension = SOLID;
            model.expand(&block, size, |_, _, _| true);
            card.draw(&block)?;
            model.assert_same(card, &block)?;
        }
    }
    Ok(())
}

/// Would catch data of the CPU that is written elsewhere, above all at the end of lines that are no
/// whole number of doublewords, and an engine that is done too early or too late.
fn from_cpu(card: &CirrusVga, _: &Rc<Vm>) -> Result<()> {
    let mut model = Model::new(card, 8)?;
    for (operation, _) in OPERATIONS {
        let block = model.block(1, FROM_CPU, operation);
        let line = usize::from(block.width).next_multiple_of(4);
        let data: Vec<u8> =
            (0..line * usize::from(block.height)).map(|_| model.rng.u8(..)).collect();
        for y in 0..usize::from(block.height) {
            for x in 0..usize::from(block.width) {
                let to = block.to as usize + y * usize::from(PITCH) + x;
                model.put(&block, to, &[data[y * line + x]], None);
            }
        }
        card.begin(&block)?;
        // Where nothing is read, no data is waited for.
        if operation != 0x06 {
            assert!(card.is_busy()?, "the engine waits for data: {block:x?}");
            card.send(&data[..data.len() - 4])?;
            assert!(card.is_busy()?, "the engine waits for the last data: {block:x?}");
            card.send(&data[data.len() - 4..])?;
            assert!(!card.is_busy()?, "the engine has all data: {block:x?}");
        } else {
            card.stop()?;
        }
        model.assert_same(card, &block)?;
    }
    Ok(())
}

/// Sends bits of the CPU, lines of which begin with one of so many bytes, and compares.
fn check_expanded(card: &CirrusVga, granularity: usize, extension: u8) -> Result<()> {
    let mut model = Model::new(card, 9)?;
    for size in [1, 2, 3, 4] {
        for mode in [0, TRANSPARENT] {
            let mut block = expanded(&mut model, size, FROM_CPU | mode, 0x0d);
            block.extension |= extension;
            // The CPU writes whole doublewords.
            block.height = model.rng.u16(1..=2) * 4;
            let line = (usize::from(block.width) / size).div_ceil(8 * granularity) * granularity;
            let data: Vec<u8> =
                (0..line * usize::from(block.height)).map(|_| model.rng.u8(..)).collect();
            model.expand(&block, size, |_, x, y| data[y * line + x / 8] >> (7 - x % 8) & 1 != 0);
            card.begin(&block)?;
            card.send(&data)?;
            assert!(!card.is_busy()?, "the engine has all data: {block:x?}");
            model.assert_same(card, &block)?;
        }
    }
    Ok(())
}

/// Would catch bits of the CPU that become other pixels, with lines that begin with a byte.
fn from_cpu_expanded(card: &CirrusVga, _: &Rc<Vm>) -> Result<()> {
    check_expanded(card, 1, 0)
}

/// Would catch lines of bits that do not begin with a doubleword although they should.
fn from_cpu_doublewords(card: &CirrusVga, _: &Rc<Vm>) -> Result<()> {
    check_expanded(card, 4, DOUBLEWORDS)
}

/// Would catch extensions that can be written while they are locked, or a lock that reads as another
/// value.
fn locked(card: &CirrusVga, _: &Rc<Vm>) -> Result<()> {
    let registers = card.vga().registers();
    let lock = crate::drivers::display::cirrus_vga::UNLOCK;
    for value in [0x12, 0x1a, 0x32] {
        registers.set(lock, value)?;
        assert_eq!(registers.get(lock)?, 0x12, "SR6 when {value:#x} was written");
    }
    for value in [0x00, 0x13, 0xff] {
        registers.set(lock, value)?;
        assert_eq!(registers.get(lock)?, 0x0f, "SR6 when {value:#x} was written");
    }
    registers.set(lock, 0x12)
}

fn write(card: &CirrusVga, from: u64, bytes: &[u8]) -> Result<()> {
    let longs = bytes.chunks_exact(4).zip((from..).step_by(4)).map(|(it, at)| {
        let long = u32::from_le_bytes([it[0], it[1], it[2], it[3]]);
        Access::Write(at, Width::Long, long.into())
    });
    card.memory().sequence(&longs.collect::<Vec<_>>()).map(drop)
}

/// 256 colours of which none is another's.
fn colours() -> Vec<Colour> {
    let colour = |number: u8| [number & 0x3f, (number >> 2) ^ 0x11, number.wrapping_mul(3) & 0x3f];
    (0..=255).map(colour).collect()
}

/// The colour of the pixel with these bytes; the palette is the second.
type Pixel = fn(&[u8], &[Colour]) -> Colour;

/// Would catch pixels that are shown in other colours or at other places in a mode that a VGA does
/// not have.
fn modes(card: &CirrusVga, _: &Rc<Vm>) -> Result<()> {
    let all = colours();
    card.vga().set_colours(0, &all)?;
    let mut rng = Rng::with_seed(0x5446);
    for bits in [8, 15, 16, 24, 32] {
        let (line, size) = set_mode(card, bits)?;
        let bytes: Vec<u8> = (0..line * size.1).map(|_| rng.u8(..)).collect();
        write(card, 0, &bytes)?;
        let length = bits.div_ceil(8);
        let (mask, pixel): (Colour, Pixel) = match bits {
            8 => ([0xfc; 3], |it, all| all[usize::from(it[0])].map(|part| part << 2)),
            15 => ([0xf8; 3], |it, _| {
                let word = u16::from_le_bytes([it[0], it[1]]);
                [word >> 7, word >> 2, word << 3].map(|part| part as u8)
            }),
            16 => ([0xf8, 0xfc, 0xf8], |it, _| {
                let word = u16::from_le_bytes([it[0], it[1]]);
                [word >> 8, word >> 3, word << 3].map(|part| part as u8)
            }),
            _ => ([0xff; 3], |it, _| [it[2], it[1], it[0]]),
        };
        let there = |x: usize, y: usize| pixel(&bytes[y * line + x * length..][..length], &all);
        card.vga().picture()?.assert_shows(&format!("{bits} bits"), size, mask, there);
    }
    card.vga().program(&[(EXTENDED, 0)])
}

/// Where the pointers are: in the last 16 KiB of video memory, of which QEMU's card has 4 MiB.
const POINTERS: u64 = 0x40_0000 - 0x4000;

/// Would catch a pointer at another place, of another shape or in other colours than its two planes
/// and two colours say.
fn pointer(card: &CirrusVga, _: &Rc<Vm>) -> Result<()> {
    let all = colours();
    let vga = card.vga();
    vga.set_colours(0, &all)?;
    let (line, size) = set_mode(card, 8)?;
    let mut rng = Rng::with_seed(0x5447);
    let bytes: Vec<u8> = (0..line * size.1).map(|_| rng.u8(..)).collect();
    write(card, 0, &bytes)?;
    // Two planes of 32 lines of 4 bytes, of pointer number 3.
    let planes: Vec<u8> = (0..256).map(|_| rng.u8(..)).collect();
    write(card, POINTERS + 3 * 256, &planes)?;
    // Its colours are numbers 0 and 15 of a palette of their own.
    let (back, front) = ([0x2a, 0x05, 0x3f], [0x10, 0x3c, 0x21]);
    vga.program(&[(POINTER, 0x02)])?;
    vga.set_colours(0, &[back])?;
    vga.set_colours(15, &[front])?;
    vga.program(&[(POINTER, 0x01), (POINTER_PATTERN, 3)])?;
    for (left, top) in [(0, 0), (37, 4), (100, 8)] {
        // The lower three bits of a place are in the index.
        let registers = vga.registers();
        registers.write8(SEQUENCER + (0x10 | (left & 7) << 5), (left >> 3) as u8)?;
        registers.write8(SEQUENCER + (0x11 | (top & 7) << 5), (top >> 3) as u8)?;
        let pixel = |x: usize, y: usize| {
            let below = all[usize::from(bytes[y * line + x])].map(|part| part << 2);
            let (x, y) = (x.wrapping_sub(left as usize), y.wrapping_sub(top as usize));
            if x >= 32 || y >= 32 {
                return below;
            }
            let bit = |plane: usize| planes[plane * 128 + y * 4 + x / 8] >> (7 - x % 8) & 1;
            match (bit(0), bit(1)) {
                (0, 0) => below,
                (1, 0) => below.map(|part| !part),
                (0, _) => back.map(|part| part << 2),
                (1, _) => front.map(|part| part << 2),
                _ => below,
            }
        };
        let what = format!("a pointer at {left}, {top}");
        vga.picture()?.assert_shows(&what, size, [0xfc; 3], pixel);
    }
    vga.program(&[(POINTER, 0x00)])?;
    let below = |x: usize, y: usize| all[usize::from(bytes[y * line + x])].map(|part| part << 2);
    vga.picture()?.assert_shows("no pointer", size, [0xfc; 3], below);
    vga.program(&[(EXTENDED, 0)])
}

/// Would catch a block that leaves video memory and takes QEMU with it: sizes, pitches and addresses
/// at their ends, in every mode, begun while another is not done.
fn wild_blocks(card: &CirrusVga, vm: &Rc<Vm>) -> Result<()> {
    let mut rng = Rng::with_seed(0x5448);
    set_mode(card, 8)?;
    let extreme = |rng: &mut Rng| match rng.u8(..4) {
        0 => [0, 1, 2, 7, 8, 0x1fff, 0x2000, 0xffff][rng.usize(..8)],
        1 => rng.u16(..64),
        _ => rng.u16(..),
    };
    let address = |rng: &mut Rng| match rng.u8(..4) {
        0 => [0, 1, 0x3f_ffff, 0x40_0000, 0xff_ffff, 0x3f_fff0][rng.usize(..6)],
        1 => 0x40_0000 - rng.u32(..0x100),
        _ => rng.u32(..0x100_0000),
    };
    for round in 0..500 {
        let block = Block {
            width: extreme(&mut rng),
            height: extreme(&mut rng),
            to_pitch: extreme(&mut rng),
            from_pitch: extreme(&mut rng),
            to: address(&mut rng),
            from: address(&mut rng),
            mode: rng.u8(..),
            operation: if rng.bool() { OPERATIONS[rng.usize(..16)].0 } else { rng.u8(..) },
            extension: rng.u8(..8),
            foreground: rng.u32(..),
            background: rng.u32(..),
            transparent: rng.u16(..),
            skip: rng.u8(..),
        };
        card.begin(&block)?;
        if card.is_busy()? {
            let data: Vec<u8> = (0..64).map(|_| rng.u8(..)).collect();
            card.send(&data)?;
        }
        for at in [0, 0x3f_fffc, 0x80_0000, 0x1ff_fffc] {
            card.memory().read32(at)?;
        }
        if rng.bool() {
            card.stop()?;
        }
        if round % 50 == 0 {
            screen::dump_size(vm)?;
        }
    }
    card.stop()?;
    // The engine still works.
    fills(card, vm)
}

/// Would catch values of the registers that a VGA does not have at which QEMU ends when it draws the
/// screen or moves data of the CPU.
fn wild_screens(card: &CirrusVga, vm: &Rc<Vm>) -> Result<()> {
    let mut rng = Rng::with_seed(0x5449);
    let files = [(SEQUENCER, 0x20), (GRAPHICS, 0x3a), (CRTC, 0x28)];
    for round in 0..150 {
        if round % 10 == 0 {
            set_mode(card, [8, 15, 16, 24, 32][rng.usize(..5)])?;
        }
        for _ in 0..6 {
            let (file, count) = files[rng.usize(..3)];
            let (index, value) = (rng.u64(..count), rng.u8(..));
            card.vga().registers().write8(file + index, value)?;
        }
        card.vga().registers().write8(SEQUENCER + 0x06, 0x12)?;
        card.vga().show(true)?;
        screen::dump_size(vm)?;
        if let Ok(window) = card.vga().window() {
            let at = rng.u64(..0x2_0000 - 4);
            window.write32(at, rng.u32(..))?;
            window.read32(at)?;
        }
        card.memory().write32(rng.u64(..0x200_0000 - 4) & !3, rng.u32(..))?;
    }
    Ok(())
}
