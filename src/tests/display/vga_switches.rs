//! Changes between modes of the VGA while it is looked at: characters behind pixels and the reverse,
//! above all where one mode has as many characters as the other has pixels, and text whose dots are
//! doubled or whose screen is split (IBM, "Video Subsystem", chapter 2).

use std::rc::Rc;

use super::vga_modes::{MASK, Page, bits, colours, fill_planes, shown};
use crate::qemu::Vm;
use crate::qos::display::registers as vga;
use crate::qos::display::{Colour, Graphics, Text, Vga};
use crate::qos::registers::RegistersExt;
use crate::{Result, tests};

tests!(Vga, "vga-switch-tests":
    text_again = "text-again",
    graphics_again = "graphics-again",
    blank_behind_graphics = "blank-behind-graphics",
    blank_behind_text = "blank-behind-text",
    panned_behind_text = "panned-behind-text",
    doubled_text = "doubled-text",
    split_text = "split-text",
);

/// As many columns and rows of characters as pixels.
const COLUMNS: usize = 48;
const ROWS: usize = 24;

/// The mode of characters, of 8 or 9 dots.
const fn characters(is_nine_wide: bool) -> Text {
    Text { columns: COLUMNS, rows: ROWS, is_nine_wide }
}

/// The mode of pixels that has as many of them.
const PIXELS: Graphics = Graphics { width: COLUMNS, height: ROWS, is_chained: false };

/// Sets a mode of characters, fills it, and compares what is shown.
fn check_text(card: &Vga, all: &[Colour], mode: Text, seed: u64) -> Result<()> {
    mode.set(card)?;
    let page = Page::filled(card, mode.columns * mode.rows, seed)?;
    let wide = if mode.is_nine_wide { 9 } else { 8 };
    let pixel = |x: usize, y: usize| {
        let at = y / 16 * mode.columns + x / wide;
        shown(all[page.dot(at, x % wide, y % 16, [0, 0])])
    };
    card.picture()?.assert_shows(&format!("{mode:?}"), mode.size(), MASK, pixel);
    Ok(())
}

/// Sets a mode of 16 colours, fills it, and compares what is shown, panned by so many pixels.
fn check_planes(
    card: &Vga,
    all: &[Colour],
    mode: Graphics,
    seed: u64,
    panning: usize,
) -> Result<()> {
    mode.set(card)?;
    card.program(&[(vga::PANNING, panning as u8)])?;
    let (line, size) = (mode.line(), (mode.width, mode.height));
    let bytes = fill_planes(card, line * mode.height + 1, seed)?;
    let pixel = |x: usize, y: usize| shown(all[usize::from(bits(&bytes, y * line, x + panning))]);
    let what = format!("{mode:?}, panned by {panning}");
    card.picture()?.assert_shows(&what, size, MASK, pixel);
    Ok(())
}

/// Would catch characters that are drawn on a screen of the size that pixels had, and beyond its
/// end, because there are as many of one as there were of the other.
fn text_again(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    let all = colours();
    card.set_colours(0, &all)?;
    for is_nine_wide in [false, true] {
        let mode = characters(is_nine_wide);
        check_text(card, &all, mode, 90)?;
        check_planes(card, &all, PIXELS, 91, 0)?;
        check_text(card, &all, mode, 92)?;
        // 256 colours have the same number of pixels.
        Graphics { is_chained: true, ..PIXELS }.set(card)?;
        let picture = card.picture()?;
        assert_eq!((picture.width, picture.height), (COLUMNS, ROWS), "256 colours");
        check_text(card, &all, mode, 93)?;
    }
    Ok(())
}

/// Would catch pixels that are shown in a part of a screen of characters, or as they were before the
/// characters.
fn graphics_again(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    let all = colours();
    card.set_colours(0, &all)?;
    for seed in 94..97 {
        check_planes(card, &all, PIXELS, seed, 0)?;
        check_text(card, &all, characters(false), seed)?;
        check_planes(card, &all, PIXELS, !seed, 0)?;
        check_text(card, &all, Text { columns: 20, rows: 4, is_nine_wide: true }, seed)?;
    }
    Ok(())
}

/// Has the screen show nothing, and compares its size.
fn check_blank(card: &Vga, size: (usize, usize)) -> Result<()> {
    card.show(false)?;
    card.picture()?.assert_shows("a blank screen", size, [0xff; 3], |_, _| [0; 3]);
    card.show(true)
}

/// Would catch a blank screen of the size that characters had before the pixels, beyond the end of
/// what is shown.
fn blank_behind_graphics(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    let all = colours();
    card.set_colours(0, &all)?;
    for seed in 97..99 {
        check_text(card, &all, characters(false), seed)?;
        check_planes(card, &all, PIXELS, seed, 0)?;
        check_blank(card, (COLUMNS, ROWS))?;
        check_planes(card, &all, PIXELS, !seed, 0)?;
    }
    Ok(())
}

/// Would catch a blank screen of the size that pixels had before the characters.
fn blank_behind_text(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    let all = colours();
    card.set_colours(0, &all)?;
    for is_nine_wide in [false, true] {
        let mode = characters(is_nine_wide);
        check_planes(card, &all, PIXELS, 99, 0)?;
        check_text(card, &all, mode, 99)?;
        check_blank(card, mode.size())?;
        check_text(card, &all, mode, 100)?;
    }
    Ok(())
}

/// Would catch lines of pixels that are panned through a line that is as short as that of a narrower
/// mode before, because characters between them were as many as the pixels are.
fn panned_behind_text(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    let all = colours();
    card.set_colours(0, &all)?;
    for (columns, rows, panning) in [(128, 8, 5), (192, 16, 1), (256, 24, 7)] {
        let wide = Graphics { width: columns, height: rows, is_chained: false };
        let narrow = Graphics { width: 16, ..wide };
        // Lines of both begin as far from each other.
        narrow.set(card)?;
        card.program(&[(vga::OFFSET, (columns / 16) as u8)])?;
        let picture = card.picture()?;
        assert_eq!((picture.width, picture.height), (16, rows), "the narrow mode");
        check_text(card, &all, Text { columns, rows, is_nine_wide: false }, 101)?;
        check_planes(card, &all, wide, 102, panning)?;
    }
    Ok(())
}

/// Would catch characters that are not twice as wide with half the dot clock, or whose pixels are
/// those of others.
fn doubled_text(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    let all = colours();
    card.set_colours(0, &all)?;
    let mode = Text { columns: 20, rows: 4, is_nine_wide: false };
    mode.set(card)?;
    card.program(&[(vga::CLOCKING, 0x09)])?;
    let page = Page::filled(card, 20 * 4, 103)?;
    let size = (20 * 16, 4 * 16);
    let pixel =
        |x: usize, y: usize| shown(all[page.dot(y / 16 * 20 + x / 16, x / 2 % 8, y % 16, [0, 0])]);
    card.picture()?.assert_shows("half the dot clock", size, MASK, pixel);
    // And as wide as before, with the same number of characters.
    card.program(&[(vga::CLOCKING, 0x01)])?;
    let pixel =
        |x: usize, y: usize| shown(all[page.dot(y / 16 * 20 + x / 8, x % 8, y % 16, [0, 0])]);
    card.picture()?.assert_shows("the whole dot clock", mode.size(), MASK, pixel);
    Ok(())
}

/// Would catch a screen of characters that is not split behind the line that Line Compare names, or
/// whose lower part does not begin with the first character.
fn split_text(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    let all = colours();
    card.set_colours(0, &all)?;
    let mode = Text { columns: 20, rows: 6, is_nine_wide: false };
    mode.set(card)?;
    let start = 60;
    let page = Page::filled(card, start + 20 * 6, 104)?;
    let overflow = card.registers().get(vga::OVERFLOW)?;
    card.program(&[
        (vga::START_LOW, start as u8),
        (vga::OVERFLOW, overflow & !0x10),
        (vga::MAX_SCAN, 0x0f),
    ])?;
    for row in [1, 2, 5] {
        // The last line of a row.
        card.program(&[(vga::LINE_COMPARE, (row * 16 - 1) as u8)])?;
        card.show(false)?;
        card.picture()?;
        card.show(true)?;
        let pixel = |x: usize, y: usize| {
            let first = (y / 16).checked_sub(row).map_or(start + y / 16 * 20, |row| row * 20);
            shown(all[page.dot(first + x / 8, x % 8, y % 16, [0, 0])])
        };
        let what = format!("characters split in front of row {row}");
        card.picture()?.assert_shows(&what, mode.size(), MASK, pixel);
    }
    Ok(())
}
