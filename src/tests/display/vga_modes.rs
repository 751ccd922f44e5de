//! What the VGA shows: modes of 16 colours in planes, of 256 colours and of characters, with the
//! palettes, panning, split screens and cursor that they have, each pixel compared with the
//! monitor's `screendump` (IBM, "Video Subsystem", chapter 2).

use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;

use crate::qemu::Vm;
use crate::qos::display::registers as vga;
use crate::qos::display::{Colour, Graphics, Picture, Text, Vga};
use crate::qos::registers::RegistersExt;
use crate::{Result, tests};

tests!(Vga, "vga-tests":
    palette,
    planes,
    planes_scrolled = "planes-scrolled",
    panning,
    split,
    split_panned = "split-panned",
    chained = "256-colours",
    chained_panned = "256-colours-panned",
    changes,
    changes_of_registers = "changes-of-registers",
    text,
    text_nine_wide = "text-nine-wide",
    cursor,
    blank,
    protected,
    attribute_index = "attribute-index",
    colour_ports = "colour-ports",
    status,
);

/// Colours have 6 bits; how they become 8 is QEMU's affair.
pub(super) const MASK: Colour = [0xfc; 3];

/// 256 colours of which none is another's.
pub(super) fn colours() -> Vec<Colour> {
    let colour = |number: u8| [number & 0x3f, (number >> 2) ^ 0x15, number.wrapping_mul(5) & 0x3f];
    (0..=255).map(colour).collect()
}

/// A colour of 6 bits as a screen shows it.
pub(super) fn shown(colour: Colour) -> Colour {
    colour.map(|part| part << 2)
}

/// Would catch a palette that changes or swaps parts of a colour, counts wrongly, or does not begin
/// anew behind the last colour.
fn palette(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    let all = colours();
    card.set_colours(0, &all)?;
    assert_eq!(card.colours(0, 256)?, all, "all colours");
    let some: Vec<Colour> = all[10..14].iter().map(|it| it.map(|part| part ^ 0x3f)).collect();
    card.set_colours(254, &some)?;
    assert_eq!(card.colours(254, 4)?, some, "colours 254, 255, 0 and 1");
    assert_eq!(card.colours(2, 252)?, all[2..254], "all others");
    // A colour of which only two parts are written is not changed.
    let ports = card.ports();
    ports.write8(0x3c8, 7)?;
    ports.write8(0x3c9, !all[7][0] & 0x3f)?;
    ports.write8(0x3c9, !all[7][1] & 0x3f)?;
    assert_eq!(card.colours(7, 1)?, all[7..8], "a colour of which a part is missing");
    ports.write8(0x3c8, 9)?;
    assert_eq!(ports.read8(0x3c8)?, 9, "the index of writes");
    assert_eq!(ports.read8(0x3c7)? & 3, 0, "DAC State, writing");
    ports.write8(0x3c7, 9)?;
    assert_eq!(ports.read8(0x3c7)? & 3, 3, "DAC State, reading");
    Ok(())
}

/// What the screen shows once all of it is drawn anew, as after it was blank.
fn redrawn(card: &Vga) -> Result<Picture> {
    card.show(false)?;
    card.picture()?;
    card.show(true)?;
    card.picture()
}

/// A mode of 16 colours.
const PLANES: Graphics = Graphics { width: 176, height: 44, is_chained: false };

/// Fills `count` bytes of each plane; returns them.
pub(super) fn fill_planes(card: &Vga, count: usize, seed: u64) -> Result<[Vec<u8>; 4]> {
    let mut rng = Rng::with_seed(seed);
    let planes = [(); 4].map(|()| (0..count).map(|_| rng.u8(..)).collect::<Vec<u8>>());
    for (number, plane) in (0..).zip(&planes) {
        card.write_plane(number, 0, plane)?;
    }
    Ok(planes)
}

/// The four bits of the pixel `x` of a line that begins with byte `start`.
pub(super) fn bits(planes: &[Vec<u8>; 4], start: usize, x: usize) -> u8 {
    let bit = |plane: usize| planes[plane][start + x / 8] >> (7 - x % 8) & 1;
    bit(0) | bit(1) << 1 | bit(2) << 2 | bit(3) << 3
}

/// Would catch a plane that is shown as another or not at all, bits in another order, a palette
/// register or Color Select that leads to another colour, and Color Plane Enable that does nothing.
fn planes(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    let all = colours();
    card.set_colours(0, &all)?;
    PLANES.set(card)?;
    let bytes = fill_planes(card, PLANES.line() * PLANES.height, 16)?;
    let size = (PLANES.width, PLANES.height);
    let pixel = |x: usize, y: usize| usize::from(bits(&bytes, y * PLANES.line(), x));
    let plain = |x, y| shown(all[pixel(x, y)]);
    card.picture()?.assert_shows("16 colours", size, MASK, plain);

    let palette = |number: usize| (number * 11 + 5) as u8 & 0x3f;
    for number in 0..16 {
        card.registers().set(vga::PALETTE.nth(number as u64, 1), palette(number))?;
    }
    let own = |x, y| shown(all[usize::from(palette(pixel(x, y)))]);
    card.picture()?.assert_shows("another palette", size, MASK, own);
    // Bits 7 and 6 of a colour's number come from Color Select.
    card.program(&[(vga::COLOR_SELECT, 0x0b)])?;
    let upper = |x, y| shown(all[0x80 | usize::from(palette(pixel(x, y)))]);
    card.picture()?.assert_shows("bits 7 and 6 of Color Select", size, MASK, upper);
    // With bit 7 of the mode, bits 5 and 4 come from there, too.
    card.program(&[(vga::ATTRIBUTE_MODE, 0x81)])?;
    let half = |x, y| shown(all[0xb0 | usize::from(palette(pixel(x, y)) & 0xf)]);
    card.picture()?.assert_shows("four bits of Color Select", size, MASK, half);
    card.program(&[(vga::ATTRIBUTE_MODE, 0x01), (vga::COLOR_SELECT, 0)])?;
    for enabled in [0x7, 0xa, 0x0] {
        card.program(&[(vga::PLANE_ENABLE, enabled)])?;
        let some = |x, y| shown(all[usize::from(palette(pixel(x, y) & usize::from(enabled)))]);
        redrawn(card)?.assert_shows(&format!("planes {enabled:#x}"), size, MASK, some);
    }
    Ok(())
}

/// Would catch a start address or a length of lines that shows another part of the planes, and
/// lines that are not doubled or repeated as the CRT controller says.
fn planes_scrolled(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    let all = colours();
    card.set_colours(0, &all)?;
    PLANES.set(card)?;
    let offset = PLANES.width / 16 + 3;
    let line = offset * 2;
    let bytes = fill_planes(card, line * PLANES.height + 0x140, 17)?;
    let size = (PLANES.width, PLANES.height);
    card.program(&[(vga::OFFSET, offset as u8)])?;
    for start in [0, 1, 0x123] {
        card.program(&[(vga::START_HIGH, (start >> 8) as u8), (vga::START_LOW, start as u8)])?;
        let pixel = |x: usize, y: usize| shown(all[usize::from(bits(&bytes, start + y * line, x))]);
        card.picture()?.assert_shows(&format!("from byte {start:#x} on"), size, MASK, pixel);
    }
    card.program(&[(vga::START_HIGH, 0), (vga::START_LOW, 0)])?;
    for (scan, times) in [(0x41, 2), (0x43, 4), (0xc0, 2), (0xc1, 4)] {
        card.program(&[(vga::MAX_SCAN, scan)])?;
        let pixel = |x: usize, y: usize| shown(all[usize::from(bits(&bytes, y / times * line, x))]);
        let what = format!("Maximum Scan Line {scan:#x}");
        redrawn(card)?.assert_shows(&what, size, MASK, pixel);
    }
    Ok(())
}

/// Would catch a panning that shows another part of the planes, or none.
fn panning(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    let all = colours();
    card.set_colours(0, &all)?;
    PLANES.set(card)?;
    let line = PLANES.line();
    let bytes = fill_planes(card, line * PLANES.height + 0x140, 21)?;
    let size = (PLANES.width, PLANES.height);
    for (start, panning) in [(0, 1), (0, 7), (0x123, 5)] {
        card.program(&[
            (vga::START_HIGH, (start >> 8) as u8),
            (vga::START_LOW, start as u8),
            (vga::PANNING, panning as u8),
        ])?;
        let pixel = |x: usize, y: usize| {
            shown(all[usize::from(bits(&bytes, start + y * line, x + panning))])
        };
        let what = format!("from byte {start:#x} on, panned by {panning}");
        card.picture()?.assert_shows(&what, size, MASK, pixel);
    }
    Ok(())
}

/// Shows planes from a start address on, split behind each of these lines, panned by so many
/// pixels, with this attribute mode.
fn check_split(card: &Vga, splits: &[(usize, usize, u8)]) -> Result<()> {
    let all = colours();
    card.set_colours(0, &all)?;
    PLANES.set(card)?;
    let line = PLANES.line();
    let start = 0x200;
    let bytes = fill_planes(card, line * PLANES.height + start + 1, 18)?;
    let size = (PLANES.width, PLANES.height);
    card.program(&[(vga::START_HIGH, (start >> 8) as u8), (vga::START_LOW, start as u8)])?;
    // Line compare has bit 8 in Overflow, and bit 9 in Maximum Scan Line.
    let overflow = card.registers().get(vga::OVERFLOW)?;
    for &(last, panning, mode) in splits {
        card.program(&[
            (vga::LINE_COMPARE, last as u8),
            (vga::OVERFLOW, overflow & !0x10 | ((last >> 8 & 1) << 4) as u8),
            (vga::MAX_SCAN, ((last >> 9 & 1) << 6) as u8),
            (vga::PANNING, panning as u8),
            (vga::ATTRIBUTE_MODE, mode),
        ])?;
        let pixel = |x: usize, y: usize| {
            let number = match y.checked_sub(last + 1) {
                None => bits(&bytes, start + y * line, x + panning),
                Some(y) => {
                    let panning = if mode & 0x20 == 0 { panning } else { 0 };
                    bits(&bytes, y * line, x + panning)
                }
            };
            shown(all[usize::from(number)])
        };
        let what = format!("split behind line {last}, panned by {panning}, mode {mode:#x}");
        redrawn(card)?.assert_shows(&what, size, MASK, pixel);
    }
    Ok(())
}

/// Would catch a screen that is not split at the line that Line Compare names with all its bits,
/// or its lower part not from the beginning of the planes.
fn split(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    check_split(card, &[(9, 0, 0x01), (30, 0, 0x01), (0x109, 0, 0x01), (0x20a, 0, 0x01)])
}

/// Would catch a lower part that is panned although the attribute mode says otherwise, or the
/// reverse.
fn split_panned(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    check_split(card, &[(20, 3, 0x01), (20, 3, 0x21)])
}

/// A mode of 256 colours.
const CHAINED: Graphics = Graphics { width: 160, height: 32, is_chained: true };

/// Shows 256 colours from each of these starts on, panned by so many pixels of the screen.
fn check_chained(card: &Vga, starts: &[(usize, usize)]) -> Result<()> {
    let all = colours();
    card.set_colours(0, &all)?;
    CHAINED.set(card)?;
    let (line, size) = (CHAINED.line(), (CHAINED.width, CHAINED.height));
    let mut rng = Rng::with_seed(13);
    let bytes: Vec<u8> = (0..line * 16 + 0x200).map(|_| rng.u8(..)).collect();
    let memory = card.window().unwrap_or(card.memory());
    bytes.iter().zip(0..).try_for_each(|(&byte, at)| memory.write8(at, byte))?;
    for &(start, panning) in starts {
        card.program(&[
            (vga::START_HIGH, 0),
            (vga::START_LOW, start as u8),
            (vga::PANNING, panning as u8),
        ])?;
        // The start counts doublewords, which are four pixels, and panning half pixels.
        let pixel = |x: usize, y: usize| {
            shown(all[usize::from(bytes[start * 4 + y / 2 * line + (x + panning) / 2])])
        };
        let what = format!("256 colours from {start:#x} on, panned by {panning}");
        card.picture()?.assert_shows(&what, size, MASK, pixel);
    }
    Ok(())
}

/// Would catch chained planes that are shown in another order than they are written, a pixel that
/// is not two wide and two high, one of the 256 colours that is another, and a start that shows
/// another part.
fn chained(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    check_chained(card, &[(0, 0), (0x11, 0), (0x40, 0)])
}

/// Would catch a panning that shows another part of 256 colours than that many pixels farther.
fn chained_panned(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    check_chained(card, &[(0, 2), (0x20, 6)])
}

/// Would catch a screen that stays as it was where only memory, a colour or a palette register has
/// changed since it was drawn.
fn changes(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    let mut all = colours();
    card.set_colours(0, &all)?;
    PLANES.set(card)?;
    let (line, size) = (PLANES.line(), (PLANES.width, PLANES.height));
    let mut bytes = fill_planes(card, line * PLANES.height, 19)?;
    card.picture()?;
    for (plane, at) in [(0, 0), (3, line * 20 + 5), (2, line * PLANES.height - 1)] {
        bytes[plane][at] ^= 0xff;
        card.write_plane(plane as u8, at as u64, &[bytes[plane][at]])?;
        let pixel = |x: usize, y: usize| shown(all[usize::from(bits(&bytes, y * line, x))]);
        let what = format!("byte {at:#x} of plane {plane} changed");
        card.picture()?.assert_shows(&what, size, MASK, pixel);
    }
    bytes[1][7] ^= 0x3c;
    card.memory().write8(7 * 4 + 1, bytes[1][7])?;
    let pixel = |x: usize, y: usize| shown(all[usize::from(bits(&bytes, y * line, x))]);
    card.picture()?.assert_shows("a byte changed in video memory", size, MASK, pixel);
    all[6] = [0x3f, 0x00, 0x2a];
    card.set_colours(6, &all[6..7])?;
    let pixel = |x: usize, y: usize| shown(all[usize::from(bits(&bytes, y * line, x))]);
    card.picture()?.assert_shows("a colour changed", size, MASK, pixel);
    Ok(())
}

/// Would catch a screen that stays as it was when a register of what is shown changes, and nothing
/// else.
fn changes_of_registers(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    let all = colours();
    card.set_colours(0, &all)?;
    PLANES.set(card)?;
    let (line, size) = (PLANES.line(), (PLANES.width, PLANES.height));
    let bytes = fill_planes(card, line * PLANES.height, 22)?;
    let pixel = |x: usize, y: usize, mask: u8, times: usize| {
        shown(all[usize::from(bits(&bytes, y / times * line, x) & mask)])
    };
    // Twice, so that QEMU knows that memory has not changed.
    card.picture()?;
    card.picture()?.assert_shows("at first", size, MASK, |x, y| pixel(x, y, 0xf, 1));
    card.program(&[(vga::PLANE_ENABLE, 0x6)])?;
    card.picture()?.assert_shows("planes 1 and 2", size, MASK, |x, y| pixel(x, y, 0x6, 1));
    card.program(&[(vga::MAX_SCAN, 0x42)])?;
    card.picture()?.assert_shows("lines of three", size, MASK, |x, y| pixel(x, y, 0x6, 3));
    Ok(())
}

/// Characters, their attributes, and two fonts.
pub(super) struct Page {
    /// A byte of plane 0 each.
    pub(super) characters: Vec<u8>,
    attributes: Vec<u8>,
    fonts: [Vec<u8>; 2],
}

/// Where the second of these fonts is in plane 2, and how Character Map Select names it.
const SECOND_FONT: (u64, u8) = (0x4000, 0x04);

impl Page {
    /// Chooses and writes them.
    pub(super) fn filled(card: &Vga, count: usize, seed: u64) -> Result<Self> {
        let mut rng = Rng::with_seed(seed);
        let mut some = |count: usize| (0..count).map(|_| rng.u8(..)).collect::<Vec<u8>>();
        let (characters, attributes) = (some(count), some(count));
        let fonts = [(); 2].map(|()| some(256 * 32));
        card.write_plane(0, 0, &characters)?;
        card.write_plane(1, 0, &attributes)?;
        card.write_plane(2, 0, &fonts[0])?;
        card.write_plane(2, SECOND_FONT.0, &fonts[1])?;
        Ok(Self { characters, attributes, fonts })
    }

    /// The palette's number of the dot `x` of line `y` of the character at `at`; `fonts` are those
    /// for attributes with and without bit 3.
    pub(super) fn dot(&self, at: usize, x: usize, y: usize, fonts: [usize; 2]) -> usize {
        let (character, attribute) = (self.characters[at], usize::from(self.attributes[at]));
        let row = self.fonts[fonts[attribute >> 3 & 1]][usize::from(character) * 32 + y];
        let is_set = match x {
            0..8 => row >> (7 - x) & 1 != 0,
            // The ninth dot is the eighth again for characters that draw lines.
            _ => (0xb0..=0xdf).contains(&character) && row & 1 != 0,
        };
        if is_set { attribute & 0xf } else { attribute >> 4 }
    }
}

/// Would catch a character that is shown as another, at another place or in other colours, a font
/// that is taken from elsewhere, and a start or length of lines that shows another part.
fn text(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    let all = colours();
    card.set_colours(0, &all)?;
    let mode = Text { columns: 20, rows: 6, is_nine_wide: false };
    mode.set(card)?;
    let page = Page::filled(card, 24 * 8, 80)?;
    // Font A is for attributes with bit 3, B for those without.
    let second = SECOND_FONT.1;
    for (map, fonts) in [(0, [0, 0]), (second, [0, 1]), (second >> 2, [1, 0])] {
        for (start, columns) in [(0, 20), (7, 20), (0, 24)] {
            card.program(&[
                (vga::CHARACTER_MAP, map),
                (vga::START_LOW, start as u8),
                (vga::OFFSET, (columns / 2) as u8),
            ])?;
            let pixel = |x: usize, y: usize| {
                let at = start + y / 16 * columns + x / 8;
                shown(all[page.dot(at, x % 8, y % 16, fonts)])
            };
            let what = format!("font map {map:#x}, from {start} on, {columns} columns a line");
            card.picture()?.assert_shows(&what, mode.size(), MASK, pixel);
        }
    }
    Ok(())
}

/// Would catch a ninth dot that is set where it must not be, or not where it must be.
fn text_nine_wide(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    let all = colours();
    card.set_colours(0, &all)?;
    let mode = Text { columns: 20, rows: 13, is_nine_wide: true };
    mode.set(card)?;
    let mut page = Page::filled(card, 20 * 13, 81)?;
    page.characters = (0..20 * 13).map(|at| at as u8).collect();
    card.write_plane(0, 0, &page.characters)?;
    let pixel =
        |x: usize, y: usize| shown(all[page.dot(y / 16 * 20 + x / 9, x % 9, y % 16, [0, 0])]);
    card.picture()?.assert_shows("nine dots", mode.size(), MASK, pixel);
    Ok(())
}

/// Would catch a cursor at another place or of another shape, one that is shown while it is off,
/// and one that does not blink.
fn cursor(card: &Vga, vm: &Rc<Vm>) -> Result<()> {
    let all = colours();
    card.set_colours(0, &all)?;
    let mode = Text { columns: 10, rows: 3, is_nine_wide: false };
    mode.set(card)?;
    let page = Page::filled(card, 30, 82)?;
    for (at, first, last) in [(0, 13, 14), (17, 0, 15), (29, 3, 3)] {
        card.program(&[
            (vga::CURSOR_HIGH, 0),
            (vga::CURSOR_LOW, at as u8),
            (vga::CURSOR_START, first as u8),
            (vga::CURSOR_END, last as u8),
        ])?;
        let dot = |x: usize, y: usize, is_shown: bool| {
            let there = y / 16 * 10 + x / 8;
            let is_there = there == at && (first..=last).contains(&(y % 16));
            if is_shown && is_there {
                return shown(all[usize::from(page.attributes[there] & 0xf)]);
            }
            shown(all[page.dot(there, x % 8, y % 16, [0, 0])])
        };
        // Whether it is shown at first depends on what was before.
        let is_shown = |vm: &Rc<Vm>| -> Result<bool> {
            vm.qtest().clock_step(Some(Duration::from_millis(300)))?;
            let picture = card.picture()?;
            let corner = (at % 10 * 8, at / 10 * 16 + first);
            let is_shown = (0..8).all(|x| {
                let (x, y) = (corner.0 + x, corner.1);
                picture.pixel(x, y).map(|it| it & 0xfc) == dot(x, y, true)
            });
            let what = format!("a cursor at {at}, lines {first} to {last}, shown: {is_shown}");
            picture.assert_shows(&what, mode.size(), MASK, |x, y| dot(x, y, is_shown));
            Ok(is_shown)
        };
        let seen = [is_shown(vm)?, is_shown(vm)?, is_shown(vm)?, is_shown(vm)?];
        assert!(seen.contains(&true), "the cursor at {at} is not shown in 1.2 s");
        assert!(seen.contains(&false), "the cursor at {at} does not blink in 1.2 s");
    }
    card.program(&[(vga::CURSOR_START, 0x20)])?;
    for _ in 0..3 {
        vm.qtest().clock_step(Some(Duration::from_millis(300)))?;
        let dot =
            |x: usize, y: usize| shown(all[page.dot(y / 16 * 10 + x / 8, x % 8, y % 16, [0, 0])]);
        card.picture()?.assert_shows("a cursor that is off", mode.size(), MASK, dot);
    }
    Ok(())
}

/// Would catch a screen that shows something while the CPU has the palette, or nothing afterwards.
fn blank(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    let all = colours();
    card.set_colours(0, &all)?;
    PLANES.set(card)?;
    let (line, size) = (PLANES.line(), (PLANES.width, PLANES.height));
    let bytes = fill_planes(card, line * PLANES.height, 20)?;
    let pixel = |x: usize, y: usize| shown(all[usize::from(bits(&bytes, y * line, x))]);
    card.picture()?.assert_shows("at first", size, MASK, pixel);
    card.show(false)?;
    card.picture()?.assert_shows("blank", size, [0xff; 3], |_, _| [0; 3]);
    card.show(true)?;
    card.picture()?.assert_shows("shown again", size, MASK, pixel);
    Ok(())
}

/// Would catch bit 7 of Vertical Retrace End that does not protect registers 0 to 7, or protects
/// bit 4 of Overflow or other registers, too.
fn protected(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    let registers = card.registers();
    let at = |index: u64| vga::H_TOTAL.nth(index, 1);
    for index in 0..=8 {
        registers.set(at(index), 0x40 | index as u8)?;
    }
    registers.set(vga::V_RETRACE_END, 0x80)?;
    for index in 0..=6 {
        registers.set(at(index), 0x3f)?;
        assert_eq!(registers.get(at(index))?, 0x40 | index as u8, "register {index}, protected");
    }
    for value in [0xff, 0x00, 0x10] {
        registers.set(vga::OVERFLOW, value)?;
        let expected = 0x47 & !0x10 | value & 0x10;
        assert_eq!(registers.get(vga::OVERFLOW)?, expected, "Overflow, protected: {value:#x}");
    }
    registers.set(at(8), 0x11)?;
    assert_eq!(registers.get(at(8))?, 0x11, "register 8");
    registers.set(vga::V_RETRACE_END, 0x00)?;
    registers.set(at(0), 0x3f)?;
    assert_eq!(registers.get(at(0))?, 0x3f, "register 0, not protected any more");
    Ok(())
}

/// Would catch a port of the attribute controller that takes an index for a value, or the reverse,
/// above all after Input Status 1 was read.
fn attribute_index(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    let ports = card.ports();
    ports.read8(0x3da)?;
    ports.write8(0x3c0, 0x02)?;
    assert_eq!(ports.read8(0x3c1)?, card.registers().get(vga::PALETTE.nth(2, 1))?);
    ports.read8(0x3da)?;
    for (index, value) in [(0x03, 0x15), (0x04, 0x2a), (0x11, 0x81)] {
        ports.write8(0x3c0, index)?;
        ports.write8(0x3c0, value)?;
    }
    // An index without a value, and then another.
    ports.write8(0x3c0, 0x05)?;
    ports.read8(0x3da)?;
    ports.write8(0x3c0, 0x03)?;
    assert_eq!(ports.read8(0x3c0)? & 0x1f, 0, "the port between index and value");
    ports.read8(0x3da)?;
    assert_eq!(ports.read8(0x3c0)?, 0x03, "the index");
    let registers = card.registers();
    assert_eq!(registers.get(vga::PALETTE.nth(3, 1))?, 0x15);
    assert_eq!(registers.get(vga::PALETTE.nth(4, 1))?, 0x2a);
    assert_eq!(registers.get(vga::PALETTE.nth(5, 1))?, 0, "no value was written");
    assert_eq!(registers.get(vga::OVERSCAN)?, 0x81);
    Ok(())
}

/// Would catch ports of the CRT controller that do not move with bit 0 of Miscellaneous Output.
fn colour_ports(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    let (registers, ports) = (card.registers(), card.ports());
    for value in [0xef, 0x63, 0x01] {
        registers.set(vga::MISC, value)?;
        assert_eq!(registers.get(vga::MISC)?, value, "Miscellaneous Output");
    }
    registers.set(vga::CURSOR_LOW, 0x5a)?;
    registers.set(vga::MISC, 0x00)?;
    assert_eq!(ports.read8(0x3d5)?, 0xff, "the port of colour screens, moved away");
    ports.write8(0x3d5, 0x11)?;
    if ports.read8(0x3b4).is_ok() {
        ports.write8(0x3b4, 0x0f)?;
        assert_eq!(ports.read8(0x3b4)?, 0x0f, "the index at the port of other screens");
        assert_eq!(ports.read8(0x3b5)?, 0x5a, "the data at the port of other screens");
        ports.write8(0x3b5, 0xa5)?;
        registers.set(vga::MISC, 0x01)?;
        assert_eq!(ports.read8(0x3b5)?, 0xff, "the port of other screens, moved away");
        assert_eq!(registers.get(vga::CURSOR_LOW)?, 0xa5, "what was written there");
    } else {
        registers.set(vga::MISC, 0x01)?;
        assert_eq!(registers.get(vga::CURSOR_LOW)?, 0x5a, "what must not be written");
    }
    Ok(())
}

/// Would catch a retrace that guests wait for and that never begins or never ends.
fn status(card: &Vga, vm: &Rc<Vm>) -> Result<()> {
    let mut seen = [false; 4];
    for _ in 0..100 {
        let status = card.ports().read8(0x3da)?;
        seen[usize::from(status >> 3 & 1)] = true;
        seen[2 + usize::from(status & 1)] = true;
        vm.qtest().clock_step(Some(Duration::from_micros(397)))?;
    }
    assert_eq!(seen, [true; 4], "retrace off and on, display off and on");
    Ok(())
}
