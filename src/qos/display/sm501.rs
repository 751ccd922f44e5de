//! Silicon Motion's SM501 as a guest has it (Silicon Motion, "SM501 MMCC Databook"): its registers,
//! its local memory, its drawing engine and its two screens. It does not know which bus it is on.

use std::rc::Rc;

use super::{Picture, dump};
use crate::qemu::Vm;
use crate::qos::registers::{Access, AnyRegister, Register, Registers, RegistersExt, Width};
use crate::{Error, Result, interface};

/// Of its 64 MiB, the registers are behind this.
pub const REGISTERS: u64 = 0x3e0_0000;

/// A register of the system configuration.
const fn system(name: &'static str, offset: u64) -> Register<u32> {
    Register::new(name, offset).section("System Configuration")
}

/// A register of a screen. No reset gives it a value.
const fn screen(name: &'static str, offset: u64, kept: u64) -> Register<u32> {
    Register::new(name, 0x8_0000 + offset).section("Display Controller").kept(kept)
}

/// A register of the drawing engine.
const fn engine(name: &'static str, offset: u64) -> Register<u32> {
    Register::new(name, 0x10_0000 + offset).section("Drawing Engine").reset(0).kept(0xffff_ffff)
}

/// Device ID.
pub const DEVICE_ID: Register<u32> = system("Device ID", 0x60).reset(0x0501_00a0).read_only();
/// DRAM Control: the size of local memory in bits 13 to 15.
pub const DRAM_CONTROL: Register<u32> = system("DRAM Control", 0x10).side_effect();

/// 2D Source: X from bit 16 on, Y.
pub const SOURCE: Register<u32> = engine("2D Source", 0x00);
/// 2D Destination: X from bit 16 on, Y.
pub const DESTINATION: Register<u32> = engine("2D Destination", 0x04);
/// 2D Dimension: width from bit 16 on, height.
pub const DIMENSION: Register<u32> = engine("2D Dimension", 0x08);
/// 2D Control: what is drawn. Bit 31 starts it.
pub const CONTROL: Register<u32> =
    Register::new("2D Control", 0x10_000c).section("Drawing Engine").side_effect();
/// 2D Pitch: of the destination from bit 16 on, of the source; in pixels.
pub const PITCH: Register<u32> = engine("2D Pitch", 0x10);
/// 2D Foreground.
pub const FOREGROUND: Register<u32> = engine("2D Foreground", 0x14);
/// 2D Stretch & Format: the width of a pixel in bits 20 and 21, of which 3 is none.
pub const FORMAT: Register<u32> =
    engine("2D Stretch & Format", 0x1c).values(&[0, 0x10_0000, 0x20_0000]);
/// 2D Mask.
pub const MASK: Register<u32> = engine("2D Mask", 0x28);
/// 2D Clip TL: top from bit 16 on, left; bit 13 clips.
pub const CLIP_TOP_LEFT: Register<u32> = engine("2D Clip TL", 0x2c);
/// 2D Clip BR: bottom from bit 16 on, right.
pub const CLIP_BOTTOM_RIGHT: Register<u32> = engine("2D Clip BR", 0x30);
/// 2D Window Width: of the destination from bit 16 on, of the source; in pixels.
pub const WINDOW_WIDTH: Register<u32> = engine("2D Window Width", 0x3c);
/// 2D Source Base.
pub const SOURCE_BASE: Register<u32> = engine("2D Source Base", 0x40);
/// 2D Destination Base.
pub const DESTINATION_BASE: Register<u32> = engine("2D Destination Base", 0x44);

/// Panel Display Control: the width of a pixel in bits 0 and 1; bit 2 shows it.
pub const PANEL_CONTROL: Register<u32> = screen("Panel Display Control", 0x000, 0x0fff_73ff);
/// CRT Display Control: as that of the panel; bit 9 has the CRT show its own data.
pub const CRT_CONTROL: Register<u32> = screen("CRT Display Control", 0x200, 0x0000_7fff);

/// All registers but those that start something, and the palettes.
pub const TABLE: &[&dyn AnyRegister] = &[
    &system("GPIO31:0 Control", 0x08).reset(0).kept(0xffff_ffff),
    &system("GPIO63:32 Control", 0x0c).reset(0).kept(0xff80_ffff),
    &DRAM_CONTROL,
    &system("Arbitration Control", 0x14).reset(0x0514_6732).kept(0x3777_7777),
    &system("Interrupt Mask", 0x30).reset(0).kept(0xffdf_3f5f),
    &system("Power Mode Control", 0x54).reset(0).kept(0x3),
    &DEVICE_ID,
    &PANEL_CONTROL,
    &screen("Panel Panning Control", 0x004, 0xff3f_ff3f),
    &screen("Panel FB Address", 0x00c, 0x0fff_fff0).reserved(0xf000_000f),
    &screen("Panel FB Offset", 0x010, 0x3ff0_3ff0),
    &screen("Panel FB Width", 0x014, 0x0fff_0fff),
    &screen("Panel FB Height", 0x018, 0x0fff_0fff),
    &screen("Panel Plane TL", 0x01c, 0x07ff_07ff),
    &screen("Panel Plane BR", 0x020, 0x07ff_07ff),
    &screen("Panel Horizontal Total", 0x024, 0x0fff_0fff),
    &screen("Panel Horizontal Sync", 0x028, 0x00ff_0fff),
    &screen("Panel Vertical Total", 0x02c, 0x0fff_0fff),
    &screen("Panel Vertical Sync", 0x030, 0x003f_0fff),
    &screen("Panel HW Cursor Location", 0x0f4, 0x0fff_0fff),
    &screen("Panel HW Cursor Color 1 & 2", 0x0f8, 0xffff_ffff),
    &screen("Panel HW Cursor Color 3", 0x0fc, 0x0000_ffff),
    &CRT_CONTROL.reserved(0xffff_8000),
    &screen("CRT FB Address", 0x204, 0x0fff_fff0).reserved(0xf000_000f),
    &screen("CRT FB Offset", 0x208, 0x3ff0_3ff0),
    &screen("CRT Horizontal Total", 0x20c, 0x0fff_0fff),
    &screen("CRT Horizontal Sync", 0x210, 0x00ff_0fff),
    &screen("CRT Vertical Total", 0x214, 0x0fff_0fff),
    &screen("CRT Vertical Sync", 0x218, 0x003f_0fff),
    &screen("CRT HW Cursor Location", 0x234, 0x0fff_0fff),
    &screen("CRT HW Cursor Color 1 & 2", 0x238, 0xffff_ffff),
    &screen("CRT HW Cursor Color 3", 0x23c, 0x0000_ffff),
    &SOURCE,
    &DESTINATION,
    &DIMENSION,
    &CONTROL,
    &PITCH,
    &FOREGROUND,
    &engine("2D Background", 0x18),
    &FORMAT,
    &engine("2D Color Compare", 0x20),
    &engine("2D Color Compare Mask", 0x24),
    &MASK,
    &CLIP_TOP_LEFT,
    &CLIP_BOTTOM_RIGHT,
    &engine("2D Mono Pattern Low", 0x34),
    &engine("2D Mono Pattern High", 0x38),
    &WINDOW_WIDTH,
    &SOURCE_BASE,
    &DESTINATION_BASE,
    &engine("2D Alpha", 0x48),
    &engine("2D Wrap", 0x4c),
];

/// 2D Control: fills a rectangle; without it, a block is copied.
pub const FILL: u32 = 1 << 16;
/// 2D Control: from the right to the left, and from the bottom to the top.
pub const BACKWARDS: u32 = 1 << 27;
/// 2D Control: the raster operation has two operands, not three.
pub const ROP2: u32 = 1 << 15;
/// 2D Control: begins.
const START: u32 = 1 << 31;

/// What the engine draws. Sizes, pitches and coordinates are pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drawing {
    /// [`FILL`] and others, with the raster operation in bits 0 to 7.
    pub control: u32,
    /// A pixel has 8, 16 or 32 bits with 0, 1 or 2.
    pub format: u32,
    /// The column and row of the first pixel of the source.
    pub from: (u32, u32),
    /// The column and row of the first pixel of the destination.
    pub to: (u32, u32),
    /// The number of columns and rows.
    pub size: (u32, u32),
    /// From a row of the source to the next.
    pub from_pitch: u32,
    /// From a row of the destination to the next.
    pub to_pitch: u32,
    /// The address of the source, in bytes.
    pub from_base: u32,
    /// The address of the destination, in bytes.
    pub to_base: u32,
    /// The colour of a filled rectangle.
    pub foreground: u32,
}

/// One of the two screens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// The panel.
    Panel,
    /// The CRT.
    Crt,
}

/// The registers of a screen, as offsets.
#[derive(Debug, Clone, Copy)]
pub struct HeadRegisters {
    /// FB Address.
    pub address: u64,
    /// FB Offset: the length of a line in bytes, and in the upper half of a window.
    pub offset: u64,
    /// Horizontal Total: the number of columns that are shown, less one.
    pub horizontal: u64,
    /// Vertical Total: the number of rows that are shown, less one.
    pub vertical: u64,
    /// HW Cursor Address; bit 31 shows it.
    pub cursor: u64,
    /// The first of 256 colours.
    pub palette: u64,
}

impl Head {
    /// Where its registers are.
    pub const fn registers(self) -> HeadRegisters {
        match self {
            Self::Panel => HeadRegisters {
                address: 0x8_000c,
                offset: 0x8_0010,
                horizontal: 0x8_0024,
                vertical: 0x8_002c,
                cursor: 0x8_00f0,
                palette: 0x8_0400,
            },
            Self::Crt => HeadRegisters {
                address: 0x8_0204,
                offset: 0x8_0208,
                horizontal: 0x8_020c,
                vertical: 0x8_0214,
                cursor: 0x8_0230,
                palette: 0x8_0c00,
            },
        }
    }
}

/// The chip.
pub struct Sm501 {
    /// The machine that it is in.
    pub vm: Rc<Vm>,
    /// Its registers.
    pub registers: Rc<dyn Registers>,
    /// Its local memory.
    pub memory: Rc<dyn Registers>,
    /// The size of that in bytes.
    pub memory_size: u64,
}

interface!(Sm501 = "sm501-chip");

impl Sm501 {
    /// Has the engine draw, and returns without waiting for its end.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn begin(&self, drawing: &Drawing) -> Result<()> {
        let pair = |(high, low): (u32, u32)| high << 16 | low & 0xffff;
        let pitches = pair((drawing.to_pitch, drawing.from_pitch));
        let values = [
            (SOURCE, pair(drawing.from)),
            (DESTINATION, pair(drawing.to)),
            (DIMENSION, pair(drawing.size)),
            (PITCH, pitches),
            (WINDOW_WIDTH, pitches),
            (FOREGROUND, drawing.foreground),
            (FORMAT, drawing.format << 20),
            (MASK, 0xffff_ffff),
            (SOURCE_BASE, drawing.from_base),
            (DESTINATION_BASE, drawing.to_base),
            (CONTROL, START | drawing.control),
        ];
        values.iter().try_for_each(|&(register, value)| self.registers.set(register, value))
    }

    /// Has the engine draw, and waits until it is done.
    ///
    /// # Errors
    /// Returns [`Error::Failed`] if it does not end.
    pub fn draw(&self, drawing: &Drawing) -> Result<()> {
        self.begin(drawing)?;
        if self.registers.get(CONTROL)? & START != 0 {
            return Err(Error::failed(format!("the engine does not end: {drawing:x?}")));
        }
        Ok(())
    }

    /// Writes bytes to local memory, from `at` on, both multiples of 4.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        let longs = bytes.chunks_exact(4).zip((at..).step_by(4)).map(|(it, at)| {
            let long = u32::from_le_bytes([it[0], it[1], it[2], it[3]]);
            Access::Write(at, Width::Long, long.into())
        });
        self.memory.sequence(&longs.collect::<Vec<_>>()).map(drop)
    }

    /// Reads `count` bytes of local memory, from `at` on, both multiples of 4.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn read(&self, at: u64, count: usize) -> Result<Vec<u8>> {
        let reads = (0..count as u64).step_by(4).map(|it| Access::Read(at + it, Width::Long));
        let longs = self.memory.sequence(&reads.collect::<Vec<_>>())?;
        Ok(longs.iter().flat_map(|&long| (long as u32).to_le_bytes()).collect())
    }

    /// Has a screen show `size` pixels of `8 << format` bits from address `address` on.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn show(&self, head: Head, format: u32, size: (usize, usize), address: u32) -> Result<()> {
        let at = head.registers();
        let (width, height) = (size.0 as u32, size.1 as u32);
        let line = width << format;
        let total = |shown: u32| (shown + 99) << 16 | (shown - 1);
        for (register, value) in [
            (at.address, address),
            (at.offset, line << 16 | line),
            (at.horizontal, total(width)),
            (at.vertical, total(height)),
            (at.cursor, 0),
        ] {
            self.registers.write32(register, value)?;
        }
        let own = if head == Head::Crt { 1 << 9 } else { 0 };
        if head == Head::Panel {
            self.registers.set(PANEL_CONTROL, 0x0f01_0004 | format)?;
            self.registers.write32(0x8_0014, width << 16)?;
            self.registers.write32(0x8_0018, height << 16)?;
            self.registers.write32(0x8_001c, 0)?;
            self.registers.write32(0x8_0020, (height - 1) << 16 | (width - 1))?;
        }
        self.registers.set(CRT_CONTROL, own | 0x0001_0004 | format)
    }

    /// What the first screen shows.
    ///
    /// # Errors
    /// As [`dump`].
    pub fn picture(&self) -> Result<Picture> {
        dump(&self.vm)
    }
}
