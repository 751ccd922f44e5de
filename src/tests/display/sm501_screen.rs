//! What the SM501 shows, on its panel and its CRT: modes of 8, 16 and 32 bits, palettes, lines with
//! room behind them and the cursor, compared with the monitor's `screendump` (SM501 MMCC Databook,
//! chapter "Display Controller").

use std::rc::Rc;

use fastrand::Rng;

use crate::qemu::Vm;
use crate::qos::display::Colour;
use crate::qos::display::sm501::{Drawing, FILL, Head, ROP2, Sm501};
use crate::qos::registers::RegistersExt;
use crate::{Result, tests};

tests!(Sm501, "sm501-screen-tests":
    panel,
    crt,
    palettes,
    starts,
    room_behind_lines = "room-behind-lines",
    changes,
    drawn,
    panel_cursor = "panel-cursor",
    crt_cursor = "crt-cursor",
    off,
);

/// The size of the screen.
const SIZE: (usize, usize) = (96, 40);
/// Where it begins in local memory.
const ADDRESS: u32 = 0x2_0000;

/// 256 colours of which none is another's.
fn colours() -> Vec<Colour> {
    (0..=255u8).map(|it| [it, it.wrapping_mul(7) ^ 0x55, it.wrapping_mul(29)]).collect()
}

/// Sets all colours of a screen.
fn set_colours(chip: &Sm501, head: Head, colours: &[Colour]) -> Result<()> {
    let first = head.registers().palette;
    colours.iter().zip((first..).step_by(4)).try_for_each(|(&[red, green, blue], at)| {
        chip.registers.write32(at, u32::from_be_bytes([0, red, green, blue]))
    })
}

/// The bits of a colour that a pixel of this format has.
const fn mask(format: u32) -> Colour {
    if format == 1 { [0xf8, 0xfc, 0xf8] } else { [0xff; 3] }
}

/// The colour of the pixel with these bytes.
fn colour(bytes: &[u8], all: &[Colour]) -> Colour {
    match *bytes {
        [index] => all[usize::from(index)],
        [low, high] => {
            let word = u16::from_le_bytes([low, high]);
            [word >> 8, word >> 3, word << 3].map(|part| part as u8)
        }
        _ => [bytes[2], bytes[1], bytes[0]],
    }
}

/// Bytes by chance, in local memory from `address` on.
fn fill(chip: &Sm501, address: u32, count: usize, seed: u64) -> Result<Vec<u8>> {
    let mut rng = Rng::with_seed(seed);
    let bytes: Vec<u8> = (0..count).map(|_| rng.u8(..)).collect();
    chip.write(address.into(), &bytes)?;
    Ok(bytes)
}

/// Compares the screen with bytes, a line of which has `line` of them.
fn check(chip: &Sm501, what: &str, format: u32, bytes: &[u8], line: usize) -> Result<()> {
    let all = colours();
    let pixel =
        |x: usize, y: usize| colour(&bytes[y * line + (x << format)..][..1 << format], &all);
    chip.picture()?.assert_shows(what, SIZE, mask(format), pixel);
    Ok(())
}

/// Shows a screen of each width of pixels.
fn check_modes(chip: &Sm501, head: Head) -> Result<()> {
    set_colours(chip, head, &colours())?;
    for format in [0, 1, 2] {
        let line = SIZE.0 << format;
        let bytes = fill(chip, ADDRESS, line * SIZE.1, 20 + u64::from(format))?;
        chip.show(head, format, SIZE, ADDRESS)?;
        check(chip, &format!("{head:?}, {} bits", 8 << format), format, &bytes, line)?;
    }
    Ok(())
}

/// Would catch a pixel of the panel of another colour or at another place.
fn panel(chip: &Sm501, _: &Rc<Vm>) -> Result<()> {
    check_modes(chip, Head::Panel)
}

/// Would catch a pixel of the CRT of another colour or at another place.
fn crt(chip: &Sm501, _: &Rc<Vm>) -> Result<()> {
    check_modes(chip, Head::Crt)
}

/// Would catch a palette that reads as another than was written, or is that of the other screen.
fn palettes(chip: &Sm501, _: &Rc<Vm>) -> Result<()> {
    let all = colours();
    let other: Vec<Colour> = all.iter().map(|it| it.map(|part| !part)).collect();
    for (head, hidden) in [(Head::Panel, Head::Crt), (Head::Crt, Head::Panel)] {
        set_colours(chip, head, &all)?;
        set_colours(chip, hidden, &other)?;
        for (number, &[red, green, blue]) in all.iter().enumerate() {
            let value = chip.registers.read32(head.registers().palette + 4 * number as u64)?;
            let should = u32::from_be_bytes([0, red, green, blue]);
            assert_eq!(value & 0xff_ffff, should, "{head:?}: colour {number}");
        }
        let bytes = fill(chip, ADDRESS, SIZE.0 * SIZE.1, 30)?;
        chip.show(head, 0, SIZE, ADDRESS)?;
        check(chip, &format!("{head:?}"), 0, &bytes, SIZE.0)?;
    }
    Ok(())
}

/// Would catch a screen that does not begin at its address, or stays where it was when that changes.
fn starts(chip: &Sm501, _: &Rc<Vm>) -> Result<()> {
    let line = SIZE.0 * 2;
    let bytes = fill(chip, ADDRESS, line * SIZE.1 + 0x400, 31)?;
    for head in [Head::Panel, Head::Crt] {
        chip.show(head, 1, SIZE, ADDRESS)?;
        for start in [0, 0x10, 0x3f0] {
            chip.registers.write32(head.registers().address, ADDRESS + start)?;
            let what = format!("{head:?}, from {start:#x} on");
            check(chip, &what, 1, &bytes[start as usize..], line)?;
        }
    }
    Ok(())
}

/// Would catch lines that are shown one behind the other although FB Offset says that there is more
/// between their beginnings.
fn room_behind_lines(chip: &Sm501, _: &Rc<Vm>) -> Result<()> {
    let (shown, line) = (SIZE.0 * 2, SIZE.0 * 2 + 64);
    let bytes = fill(chip, ADDRESS, line * SIZE.1, 32)?;
    for head in [Head::Panel, Head::Crt] {
        chip.show(head, 1, SIZE, ADDRESS)?;
        let offset = (shown as u32) << 16 | line as u32;
        chip.registers.write32(head.registers().offset, offset)?;
        check(chip, &format!("{head:?}"), 1, &bytes, line)?;
    }
    Ok(())
}

/// Would catch a screen that stays as it was where a byte or a colour has changed since it was drawn.
fn changes(chip: &Sm501, _: &Rc<Vm>) -> Result<()> {
    let mut all = colours();
    let mut bytes = fill(chip, ADDRESS, SIZE.0 * SIZE.1, 33)?;
    for head in [Head::Panel, Head::Crt] {
        set_colours(chip, head, &all)?;
        chip.show(head, 0, SIZE, ADDRESS)?;
        check(chip, "at first", 0, &bytes, SIZE.0)?;
        for at in [0, 0x555, SIZE.0 * SIZE.1 - 1] {
            bytes[at] ^= 0xff;
            chip.memory.write8(u64::from(ADDRESS) + at as u64, bytes[at])?;
            check(chip, &format!("byte {at:#x} changed"), 0, &bytes, SIZE.0)?;
        }
        all[9] = [0x12, 0x34, 0x56];
        set_colours(chip, head, &all)?;
        let pixel = |x: usize, y: usize| all[usize::from(bytes[y * SIZE.0 + x])];
        chip.picture()?.assert_shows("a colour changed", SIZE, [0xff; 3], pixel);
        all = colours();
    }
    Ok(())
}

/// Would catch a rectangle of the engine that is not shown, or only in a part of its lines.
fn drawn(chip: &Sm501, _: &Rc<Vm>) -> Result<()> {
    let line = SIZE.0 * 2;
    let bytes = fill(chip, ADDRESS, line * SIZE.1, 34)?;
    for head in [Head::Panel, Head::Crt] {
        chip.write(ADDRESS.into(), &bytes)?;
        chip.show(head, 1, SIZE, ADDRESS)?;
        check(chip, "at first", 1, &bytes, line)?;
        let mut bytes = bytes.clone();
        for (to, size) in [((3, 2), (5, 7)), ((80, 30), (16, 10)), ((0, 39), (96, 1))] {
            chip.draw(&Drawing {
                control: FILL | ROP2 | 0xc,
                format: 1,
                to,
                size,
                to_pitch: SIZE.0 as u32,
                from_pitch: SIZE.0 as u32,
                to_base: ADDRESS,
                foreground: 0x5ac3,
                ..Drawing::default()
            })?;
            for y in to.1..to.1 + size.1 {
                for x in to.0..to.0 + size.0 {
                    let at = y as usize * line + x as usize * 2;
                    bytes[at..at + 2].copy_from_slice(&[0xc3, 0x5a]);
                }
            }
            check(chip, &format!("{head:?}, filled at {to:?}"), 1, &bytes, line)?;
        }
    }
    Ok(())
}

/// A colour of 5, 6 and 5 bits.
fn short(word: u16) -> Colour {
    [word >> 8, word >> 3, word << 3].map(|part| part as u8)
}

/// Shows the cursor at some places, in 32 bits a pixel.
fn check_cursor(chip: &Sm501, head: Head) -> Result<()> {
    let cursor = 0x4_0000;
    let line = SIZE.0 * 4;
    let below = fill(chip, ADDRESS, line * SIZE.1, 35)?;
    // 64 lines of 64 pixels of two bits.
    let shape = fill(chip, cursor, 64 * 16, 36)?;
    chip.show(head, 2, SIZE, ADDRESS)?;
    let words = [0xf81f, 0x07e0, 0x8410];
    let at = head.registers().cursor;
    chip.registers.write32(at + 8, u32::from(words[1]) << 16 | u32::from(words[0]))?;
    chip.registers.write32(at + 12, words[2].into())?;
    chip.registers.write32(at, 1 << 31 | cursor)?;
    for (left, top) in [(0, 0), (5, 3), (90, 39), (33, 17)] {
        chip.registers.write32(at + 4, (top << 16 | left) as u32)?;
        let pixel = |x: usize, y: usize| {
            let (column, row) = (x.wrapping_sub(left), y.wrapping_sub(top));
            if column < 64 && row < 64 {
                let byte = shape[row * 16 + column / 4];
                if let Some(number) = usize::from(byte >> (column % 4 * 2) & 3).checked_sub(1) {
                    return short(words[number]);
                }
            }
            colour(&below[y * line + x * 4..][..4], &[])
        };
        let what = format!("{head:?}, a cursor at {left}, {top}");
        chip.picture()?.assert_shows(&what, SIZE, [0xf8, 0xfc, 0xf8], pixel);
    }
    chip.registers.write32(at, cursor)?;
    check(chip, "no cursor", 2, &below, line)
}

/// Would catch a cursor of the panel at another place, of another shape or in other colours, or one
/// that stays where it was.
fn panel_cursor(chip: &Sm501, _: &Rc<Vm>) -> Result<()> {
    check_cursor(chip, Head::Panel)
}

/// Would catch a cursor of the CRT at another place, of another shape or in other colours, or one that
/// stays where it was.
fn crt_cursor(chip: &Sm501, _: &Rc<Vm>) -> Result<()> {
    check_cursor(chip, Head::Crt)
}

/// Would catch a CRT that shows its own data although bit 9 of its control says those of the panel,
/// or the reverse.
fn off(chip: &Sm501, _: &Rc<Vm>) -> Result<()> {
    let other = ADDRESS + 0x1_0000;
    let line = SIZE.0 * 2;
    let panel = fill(chip, ADDRESS, line * SIZE.1, 37)?;
    let crt = fill(chip, other, line * SIZE.1, 38)?;
    chip.show(Head::Crt, 1, SIZE, other)?;
    chip.show(Head::Panel, 1, SIZE, ADDRESS)?;
    // The latter has the CRT show what the panel does.
    check(chip, "the panel's data", 1, &panel, line)?;
    chip.show(Head::Crt, 1, SIZE, other)?;
    check(chip, "the CRT's own data", 1, &crt, line)?;
    Ok(())
}
