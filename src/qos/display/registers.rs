//! The registers of the VGA (IBM, "Video Subsystem" technical reference for the PS/2, May 1992,
//! chapter 2), an offset each: the file of registers in bits 8 to 11, the index in bits 0 to 7.

use crate::qos::registers::{AnyRegister, Register};

/// The offset of registers that have a port of their own.
pub const DIRECT: u64 = 0x000;
/// The offset of the sequencer's registers.
pub const SEQUENCER: u64 = 0x100;
/// The offset of the registers of the graphics controller.
pub const GRAPHICS: u64 = 0x200;
/// The offset of the registers of the CRT controller.
pub const CRTC: u64 = 0x300;
/// The offset of the registers of the attribute controller.
pub const ATTRIBUTE: u64 = 0x400;

/// A register that a machine's reset clears, with the bits that keep what is written.
const fn cleared(name: &'static str, offset: u64, kept: u64) -> Register<u8> {
    Register::new(name, offset).reset(0).kept(kept)
}

/// A register of the sequencer.
const fn sequencer(name: &'static str, index: u64, kept: u64) -> Register<u8> {
    cleared(name, SEQUENCER + index, kept).section("Sequencer Registers")
}

/// A register of the graphics controller.
const fn graphics(name: &'static str, index: u64, kept: u64) -> Register<u8> {
    cleared(name, GRAPHICS + index, kept).section("Graphics Controller Registers")
}

/// A register of the CRT controller.
const fn crtc(name: &'static str, index: u64, kept: u64) -> Register<u8> {
    cleared(name, CRTC + index, kept).section("CRT Controller Registers")
}

/// A register of the attribute controller.
const fn attribute(name: &'static str, index: u64, kept: u64) -> Register<u8> {
    cleared(name, ATTRIBUTE + index, kept).section("Attribute Controller Registers")
}

/// Miscellaneous Output. Bit 0 says where the ports of the CRT controller are.
pub const MISC: Register<u8> = cleared("Miscellaneous Output", DIRECT, 0xee).acts(0x01);
/// Reset of the sequencer.
pub const SEQ_RESET: Register<u8> = sequencer("Reset", 0, 0x03);
/// Clocking Mode: bit 0 for characters of 8 dots, bit 3 for half the dot clock.
pub const CLOCKING: Register<u8> = sequencer("Clocking Mode", 1, 0x3d);
/// Map Mask: the planes that are written.
pub const MAP_MASK: Register<u8> = sequencer("Map Mask", 2, 0x0f);
/// Character Map Select.
pub const CHARACTER_MAP: Register<u8> = sequencer("Character Map Select", 3, 0x3f);
/// Memory Mode: bit 1 for more than 64 KiB, bit 2 against odd/even, bit 3 for Chain 4.
pub const MEMORY_MODE: Register<u8> = sequencer("Memory Mode", 4, 0x0e);

/// Set/Reset.
pub const SET_RESET: Register<u8> = graphics("Set/Reset", 0, 0x0f);
/// Enable Set/Reset.
pub const ENABLE_SET_RESET: Register<u8> = graphics("Enable Set/Reset", 1, 0x0f);
/// Color Compare.
pub const COMPARE: Register<u8> = graphics("Color Compare", 2, 0x0f);
/// Data Rotate, and in bits 3 and 4 the function.
pub const ROTATE: Register<u8> = graphics("Data Rotate", 3, 0x1f);
/// Read Map Select.
pub const READ_MAP: Register<u8> = graphics("Read Map Select", 4, 0x03);
/// Graphics Mode: write mode in bits 0 and 1, read mode in bit 3, odd/even in bit 4, shift
/// register in bits 5 and 6.
pub const GRAPHICS_MODE: Register<u8> = graphics("Graphics Mode", 5, 0x7b);
/// Miscellaneous: graphics in bit 0, chained odd/even in bit 1, memory map in bits 2 and 3.
pub const GRAPHICS_MISC: Register<u8> = graphics("Miscellaneous", 6, 0x0f);
/// Color Don't Care.
pub const DONT_CARE: Register<u8> = graphics("Color Don't Care", 7, 0x0f);
/// Bit Mask.
pub const BIT_MASK: Register<u8> = graphics("Bit Mask", 8, 0xff);

/// Horizontal Total.
pub const H_TOTAL: Register<u8> = crtc("Horizontal Total", 0x00, 0xff);
/// Horizontal Display Enable End, in characters.
pub const H_DISPLAY_END: Register<u8> = crtc("Horizontal Display-Enable End", 0x01, 0xff);
/// Vertical Total.
pub const V_TOTAL: Register<u8> = crtc("Vertical Total", 0x06, 0xff);
/// Overflow: bits 8 and 9 of vertical numbers.
pub const OVERFLOW: Register<u8> = crtc("Overflow", 0x07, 0xff);
/// Maximum Scan Line: bit 6 is bit 9 of Line Compare, bit 7 doubles lines.
pub const MAX_SCAN: Register<u8> = crtc("Maximum Scan Line", 0x09, 0xff);
/// Cursor Start; bit 5 turns it off.
pub const CURSOR_START: Register<u8> = crtc("Cursor Start", 0x0a, 0x3f).reserved(0xc0);
/// Cursor End.
pub const CURSOR_END: Register<u8> = crtc("Cursor End", 0x0b, 0x7f).reserved(0x80);
/// Start Address High.
pub const START_HIGH: Register<u8> = crtc("Start Address High", 0x0c, 0xff);
/// Start Address Low.
pub const START_LOW: Register<u8> = crtc("Start Address Low", 0x0d, 0xff);
/// Cursor Location High.
pub const CURSOR_HIGH: Register<u8> = crtc("Cursor Location High", 0x0e, 0xff);
/// Cursor Location Low.
pub const CURSOR_LOW: Register<u8> = crtc("Cursor Location Low", 0x0f, 0xff);
/// Vertical Retrace End; bit 7 protects registers 0 to 7.
pub const V_RETRACE_END: Register<u8> = crtc("Vertical Retrace End", 0x11, 0x7f).acts(0x80);
/// Vertical Display Enable End.
pub const V_DISPLAY_END: Register<u8> = crtc("Vertical Display-Enable End", 0x12, 0xff);
/// Offset: the length of a line.
pub const OFFSET: Register<u8> = crtc("Offset", 0x13, 0xff);
/// Underline Location, with bit 6 for doublewords.
pub const UNDERLINE: Register<u8> = crtc("Underline Location", 0x14, 0x7f).reserved(0x80);
/// CRTC Mode Control.
pub const CRTC_MODE: Register<u8> = crtc("CRT Mode Control", 0x17, 0xef).reserved(0x10);
/// Line Compare.
pub const LINE_COMPARE: Register<u8> = crtc("Line Compare", 0x18, 0xff);

/// The first of the 16 registers of the internal palette.
pub const PALETTE: Register<u8> = attribute("Internal Palette", 0x00, 0x3f);
/// Attribute Mode Control.
pub const ATTRIBUTE_MODE: Register<u8> = attribute("Attribute Mode Control", 0x10, 0xef);
/// Overscan Color.
pub const OVERSCAN: Register<u8> = attribute("Overscan Color", 0x11, 0xff);
/// Color Plane Enable.
pub const PLANE_ENABLE: Register<u8> = attribute("Color Plane Enable", 0x12, 0x3f);
/// Horizontal PEL Panning.
pub const PANNING: Register<u8> = attribute("Horizontal PEL Panning", 0x13, 0x0f);
/// Color Select.
pub const COLOR_SELECT: Register<u8> = attribute("Color Select", 0x14, 0x0f);

/// All of them that stay where they are: without bit 0 of [`MISC`] others are elsewhere.
pub const TABLE: &[&dyn AnyRegister] = &[
    &SEQ_RESET,
    &CLOCKING,
    &MAP_MASK,
    &CHARACTER_MAP,
    &MEMORY_MODE,
    &SET_RESET,
    &ENABLE_SET_RESET,
    &COMPARE,
    &ROTATE,
    &READ_MAP,
    &GRAPHICS_MODE,
    &GRAPHICS_MISC,
    &DONT_CARE,
    &BIT_MASK,
    &H_TOTAL,
    &H_DISPLAY_END,
    &crtc("Start Horizontal Blanking", 0x02, 0xff),
    &crtc("End Horizontal Blanking", 0x03, 0x7f).reserved(0x80),
    &crtc("Start Horizontal Retrace", 0x04, 0xff),
    &crtc("End Horizontal Retrace", 0x05, 0xff),
    &V_TOTAL,
    &OVERFLOW,
    &crtc("Preset Row Scan", 0x08, 0x7f).reserved(0x80),
    &MAX_SCAN,
    &CURSOR_START,
    &CURSOR_END,
    &START_HIGH,
    &START_LOW,
    &CURSOR_HIGH,
    &CURSOR_LOW,
    &crtc("Vertical Retrace Start", 0x10, 0xff),
    &V_RETRACE_END,
    &V_DISPLAY_END,
    &OFFSET,
    &UNDERLINE,
    &crtc("Start Vertical Blanking", 0x15, 0xff),
    &crtc("End Vertical Blanking", 0x16, 0x7f).reserved(0x80),
    &CRTC_MODE,
    &LINE_COMPARE,
    &PALETTE,
    &PALETTE.nth(1, 1),
    &PALETTE.nth(2, 1),
    &PALETTE.nth(3, 1),
    &PALETTE.nth(4, 1),
    &PALETTE.nth(5, 1),
    &PALETTE.nth(6, 1),
    &PALETTE.nth(7, 1),
    &PALETTE.nth(8, 1),
    &PALETTE.nth(9, 1),
    &PALETTE.nth(10, 1),
    &PALETTE.nth(11, 1),
    &PALETTE.nth(12, 1),
    &PALETTE.nth(13, 1),
    &PALETTE.nth(14, 1),
    &PALETTE.nth(15, 1),
    &ATTRIBUTE_MODE,
    &OVERSCAN,
    &PLANE_ENABLE,
    &PANNING,
    &COLOR_SELECT,
];
