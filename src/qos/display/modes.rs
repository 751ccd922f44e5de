//! Modes of the VGA as the values of its registers. Their sizes are the caller's: a test needs no
//! more pixels than it looks at.

use super::Vga;
use super::registers as vga;
use crate::Result;
use crate::qos::registers::Register;

/// A mode of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Graphics {
    /// In pixels of the screen, a multiple of 16. With 256 colours a pixel is two of them wide.
    pub width: usize,
    /// In lines of the screen, at most 1024. With 256 colours a pixel is two of them high.
    pub height: usize,
    /// Whether it has 256 colours, as mode 13h; else 16 in planes, as mode 12h.
    pub is_chained: bool,
}

/// A mode of characters of 16 lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text {
    /// In characters, an even number.
    pub columns: usize,
    /// In characters.
    pub rows: usize,
    /// Whether a character is 9 dots wide; else 8.
    pub is_nine_wide: bool,
}

/// The height of a character in lines.
const LINES: usize = 16;

impl Graphics {
    /// The length of a line in bytes of a plane, or in bytes where the planes are chained.
    pub const fn line(self) -> usize {
        if self.is_chained { self.width / 2 } else { self.width / 8 }
    }

    /// Has a card show this mode, with the palette's register of each number that number.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set(self, card: &Vga) -> Result<()> {
        // A line of planes is told in words, one of chained planes in doublewords of theirs.
        let (offset, chained) = if self.is_chained {
            (self.width / 16, [0x0e, 0x40, 0x40, 0xa3, 0x41, 0x41])
        } else {
            (self.width / 16, [0x06, 0x00, 0x00, 0xe3, 0x40, 0x01])
        };
        let [memory, mode, underline, crtc, scan, attribute] = chained;
        vertical(card, self.width / 8, self.height, scan)?;
        card.program(&[
            (vga::CLOCKING, 0x01),
            (vga::CHARACTER_MAP, 0),
            (vga::MEMORY_MODE, memory),
            (vga::MAP_MASK, 0x0f),
            (vga::OFFSET, offset as u8),
            (vga::UNDERLINE, underline),
            (vga::CRTC_MODE, crtc),
            (vga::GRAPHICS_MODE, mode),
            (vga::GRAPHICS_MISC, 0x05),
            (vga::ATTRIBUTE_MODE, attribute),
        ])?;
        plain(card)
    }
}

impl Text {
    /// The size of the screen in dots.
    pub const fn size(self) -> (usize, usize) {
        (self.columns * if self.is_nine_wide { 9 } else { 8 }, self.rows * LINES)
    }

    /// Has a card show this mode, without a cursor, and with the palette's register of each number
    /// that number.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set(self, card: &Vga) -> Result<()> {
        vertical(card, self.columns, self.rows * LINES, 0x40 | (LINES as u8 - 1))?;
        card.program(&[
            (vga::CLOCKING, if self.is_nine_wide { 0x00 } else { 0x01 }),
            (vga::CHARACTER_MAP, 0),
            (vga::MEMORY_MODE, 0x02),
            (vga::MAP_MASK, 0x03),
            (vga::OFFSET, (self.columns / 2) as u8),
            (vga::UNDERLINE, 0x1f),
            (vga::CRTC_MODE, 0xa3),
            (vga::CURSOR_START, 0x20),
            (vga::CURSOR_END, 0),
            (vga::GRAPHICS_MODE, 0x10),
            (vga::GRAPHICS_MISC, 0x0e),
            (vga::ATTRIBUTE_MODE, 0x04),
        ])?;
        plain(card)
    }
}

/// The size of the screen in characters and lines, and no line at which it is split.
fn vertical(card: &Vga, characters: usize, lines: usize, scan: u8) -> Result<()> {
    let end = lines - 1;
    let overflow = 0x10 | (end >> 8 & 1) << 1 | (end >> 9 & 1) << 6;
    card.program(&[
        (vga::V_RETRACE_END, 0),
        (vga::SEQ_RESET, 0x03),
        (vga::H_TOTAL, 0x5f),
        (vga::H_DISPLAY_END, (characters - 1) as u8),
        (vga::V_TOTAL, 0xbf),
        (vga::OVERFLOW, overflow as u8),
        (vga::MAX_SCAN, scan),
        (vga::V_DISPLAY_END, end as u8),
        (vga::LINE_COMPARE, 0xff),
        (vga::START_HIGH, 0),
        (vga::START_LOW, 0),
    ])
}

/// Everything as it is written, every palette register its number.
fn plain(card: &Vga) -> Result<()> {
    card.program(&[
        (vga::SET_RESET, 0),
        (vga::ENABLE_SET_RESET, 0),
        (vga::COMPARE, 0),
        (vga::ROTATE, 0),
        (vga::READ_MAP, 0),
        (vga::DONT_CARE, 0x0f),
        (vga::BIT_MASK, 0xff),
        (vga::OVERSCAN, 0),
        (vga::PLANE_ENABLE, 0x0f),
        (vga::PANNING, 0),
        (vga::COLOR_SELECT, 0),
    ])?;
    let numbers: Vec<(Register<u8>, u8)> =
        (0..16).map(|number| (vga::PALETTE.nth(number.into(), 1), number)).collect();
    card.program(&numbers)?;
    card.show(true)
}
