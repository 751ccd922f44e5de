//! The drawing engine of the SM501: rectangles that are filled and blocks that are copied, in every
//! width of pixels and both directions, compared byte by byte with a model (SM501 MMCC Databook,
//! chapter "Drawing Engine").

use std::rc::Rc;

use fastrand::Rng;

use crate::qemu::Vm;
use crate::qos::display::sm501::{
    BACKWARDS, CLIP_BOTTOM_RIGHT, CLIP_TOP_LEFT, DEVICE_ID, DRAM_CONTROL, Drawing, FILL, ROP2,
    Sm501,
};
use crate::qos::registers::RegistersExt;
use crate::{Result, attacks, tests};

tests!(Sm501, "sm501-tests":
    identity,
    fills,
    copies,
    overlapping,
    backwards,
    raster_operations = "raster-operations",
    all_raster_operations = "all-raster-operations",
    clipped,
    one_pixel = "one-pixel",
    last_bytes = "last-bytes",
);

attacks!(Sm501, "sm501-attacks": fills, copies, backwards, last_bytes = "last-bytes");

/// How much of local memory the model has.
const BYTES: usize = 0x4000;
/// Where that begins.
const START: u32 = 0x1_0000;
/// ROP2 and ROP3: the source.
const SOURCE_COPY: u32 = ROP2 | 0x0c;

/// A part of local memory as it should be.
pub(super) struct Model {
    bytes: Vec<u8>,
    pub(super) rng: Rng,
}

impl Model {
    /// Bytes by chance, in the chip as well.
    pub(super) fn new(chip: &Sm501, seed: u64) -> Result<Self> {
        let mut rng = Rng::with_seed(seed);
        let bytes: Vec<u8> = (0..BYTES).map(|_| rng.u8(..)).collect();
        chip.write(START.into(), &bytes)?;
        Ok(Self { bytes, rng })
    }

    /// A drawing of a size by chance whose destination is in the second half, and whose source is in
    /// the first.
    pub(super) fn drawing(&mut self, format: u32, control: u32) -> Drawing {
        let rng = &mut self.rng;
        let pitch = [24, 32, 40];
        Drawing {
            control,
            format,
            from: (rng.u32(..8), rng.u32(..6)),
            to: (rng.u32(..8), rng.u32(..6)),
            size: (rng.u32(1..=16), rng.u32(1..=12)),
            from_pitch: pitch[rng.usize(..3)],
            to_pitch: pitch[rng.usize(..3)],
            from_base: START + rng.u32(..8) * 0x10,
            to_base: START + (BYTES / 2) as u32 + rng.u32(..8) * 0x10,
            foreground: rng.u32(..),
        }
    }

    /// Where a pixel is in the model.
    fn at(drawing: &Drawing, base: u32, x: u32, y: u32, pitch: u32) -> usize {
        (base - START + ((y * pitch + x) << drawing.format)) as usize
    }

    /// Draws, pixel by pixel in the order of the engine; `make` says what becomes of the source and
    /// the destination. `clip` says of which columns and rows pixels are drawn.
    pub(super) fn draw(
        &mut self,
        drawing: &Drawing,
        clip: impl Fn(u32, u32) -> bool,
        make: impl Fn(u8, u8) -> u8,
    ) {
        let length = 1 << drawing.format;
        let colour = drawing.foreground.to_le_bytes();
        for row in 0..drawing.size.1 {
            for column in 0..drawing.size.0 {
                let moved = |(x, y): (u32, u32)| match drawing.control & BACKWARDS {
                    0 => (x + column, y + row),
                    _ => (x - column, y - row),
                };
                let (x, y) = moved(drawing.to);
                if !clip(x, y) {
                    continue;
                }
                let to = Self::at(drawing, drawing.to_base, x, y, drawing.to_pitch);
                let source: Vec<u8> = if drawing.control & FILL != 0 {
                    colour[..length].to_vec()
                } else {
                    let (x, y) = moved(drawing.from);
                    let from = Self::at(drawing, drawing.from_base, x, y, drawing.from_pitch);
                    self.bytes[from..from + length].to_vec()
                };
                for (at, source) in source.into_iter().enumerate() {
                    self.bytes[to + at] = make(source, self.bytes[to + at]);
                }
            }
        }
    }

    /// Compares all of it with the chip's.
    pub(super) fn assert_same(&self, chip: &Sm501, drawing: &Drawing) -> Result<()> {
        let bytes = chip.read(START.into(), BYTES)?;
        let mut wrong = (0..BYTES).filter(|&at| bytes[at] != self.bytes[at]);
        if let Some(at) = wrong.next() {
            let (is, should, others) = (bytes[at], self.bytes[at], wrong.count());
            let at = at + START as usize;
            panic!("byte {at:#x} is {is:#x}, not {should:#x}, and {others} others: {drawing:x?}");
        }
        Ok(())
    }
}

/// Draws in the chip and in the model, and compares.
fn check(
    chip: &Sm501,
    model: &mut Model,
    drawing: &Drawing,
    make: impl Fn(u8, u8) -> u8,
) -> Result<()> {
    chip.draw(drawing)?;
    model.draw(drawing, |_, _| true, make);
    model.assert_same(chip, drawing)
}

/// Would catch a chip that is taken for another, or one whose DRAM Control does not tell the 8 MiB of
/// local memory that it has.
fn identity(chip: &Sm501, _: &Rc<Vm>) -> Result<()> {
    assert_eq!(chip.registers.get(DEVICE_ID)?, 0x0501_00a0, "Device ID");
    assert_eq!(chip.memory_size, 0x80_0000, "local memory");
    assert_eq!(chip.registers.get(DRAM_CONTROL)? >> 13 & 7, 1, "DRAM Control: 8 MiB");
    Ok(())
}

/// Would catch a rectangle of another colour, size, place or width of pixels.
fn fills(chip: &Sm501, _: &Rc<Vm>) -> Result<()> {
    let mut model = Model::new(chip, 1)?;
    for format in [0, 1, 2] {
        for _ in 0..8 {
            let drawing = model.drawing(format, FILL | SOURCE_COPY);
            check(chip, &mut model, &drawing, |source, _| source)?;
        }
    }
    Ok(())
}

/// Would catch a block that is copied from or to elsewhere, above all with other pitches and bases of
/// source and destination.
fn copies(chip: &Sm501, _: &Rc<Vm>) -> Result<()> {
    let mut model = Model::new(chip, 2)?;
    for format in [0, 1, 2] {
        for round in 0..8 {
            let operation = if round % 2 == 0 { SOURCE_COPY } else { 0xcc };
            let drawing = model.drawing(format, operation);
            check(chip, &mut model, &drawing, |source, _| source)?;
        }
    }
    Ok(())
}

/// A block of which the destination is `(x, y)` pixels behind the source, on the same plane.
fn moved(model: &mut Model, format: u32, control: u32, x: i32, y: i32) -> Drawing {
    let mut drawing = model.drawing(format, control | SOURCE_COPY);
    drawing.size = (model.rng.u32(8..=16), model.rng.u32(6..=12));
    drawing.from = (24, 16);
    drawing.to = (24i32.wrapping_add(x) as u32, 16i32.wrapping_add(y) as u32);
    drawing.from_pitch = 48;
    drawing.to_pitch = 48;
    drawing.to_base = drawing.from_base;
    drawing
}

/// Would catch a block that overwrites its own source before it is read, where it is moved to the
/// left or upwards.
fn overlapping(chip: &Sm501, _: &Rc<Vm>) -> Result<()> {
    let mut model = Model::new(chip, 3)?;
    for format in [0, 1, 2] {
        for (x, y) in [(0, -1), (0, -4), (-3, -2), (3, -2)] {
            let drawing = moved(&mut model, format, 0, x, y);
            check(chip, &mut model, &drawing, |source, _| source)?;
        }
    }
    Ok(())
}

/// Would catch a block that is not drawn from its last pixel to its first, whose coordinates are not
/// those of its last pixel, or that overwrites its own source where it is moved to the right or
/// downwards.
fn backwards(chip: &Sm501, _: &Rc<Vm>) -> Result<()> {
    let mut model = Model::new(chip, 4)?;
    for format in [0, 1, 2] {
        for (x, y) in [(0, 1), (0, 5), (3, 0), (4, 2), (-3, 2), (20, 13)] {
            let drawing = moved(&mut model, format, BACKWARDS, x, y);
            check(chip, &mut model, &drawing, |source, _| source)?;
        }
        let mut drawing = model.drawing(format, BACKWARDS | SOURCE_COPY);
        drawing.from = (20, 14);
        drawing.to = (21, 15);
        check(chip, &mut model, &drawing, |source, _| source)?;
        drawing.control |= FILL;
        check(chip, &mut model, &drawing, |source, _| source)?;
    }
    Ok(())
}

/// What becomes of the source and the destination, for each bit.
fn operation(code: u32) -> impl Fn(u8, u8) -> u8 {
    // Bit 3 of the code is for ones in both, bit 2 for one in the source alone.
    move |source, destination| {
        (0..8).fold(0, |all, bit| {
            let which = (source >> bit & 1) << 1 | destination >> bit & 1;
            all | ((code >> which & 1) as u8) << bit
        })
    }
}

/// Would catch one of the raster operations that drivers use that makes other bits: with three
/// operands, of which the pattern does not matter, and with two.
fn raster_operations(chip: &Sm501, _: &Rc<Vm>) -> Result<()> {
    let mut model = Model::new(chip, 5)?;
    for format in [0, 1, 2] {
        for (control, code) in [(0x55, 0x5), (0x99, 0x9), (0xee, 0xe), (0xcc, 0xc), (ROP2 | 5, 5)] {
            let drawing = model.drawing(format, control);
            check(chip, &mut model, &drawing, operation(code))?;
        }
    }
    Ok(())
}

/// Would catch any raster operation with two operands that makes other bits of them.
fn all_raster_operations(chip: &Sm501, _: &Rc<Vm>) -> Result<()> {
    let mut model = Model::new(chip, 6)?;
    for code in 0..16 {
        let drawing = model.drawing(code % 3, ROP2 | code);
        check(chip, &mut model, &drawing, operation(code))?;
    }
    Ok(())
}

/// Would catch pixels that are drawn outside of the rectangle that clips them.
fn clipped(chip: &Sm501, _: &Rc<Vm>) -> Result<()> {
    let mut model = Model::new(chip, 7)?;
    let (left, top, right, bottom) = (6, 5, 13, 9);
    chip.registers.set(CLIP_TOP_LEFT, top << 16 | 1 << 13 | left)?;
    chip.registers.set(CLIP_BOTTOM_RIGHT, bottom << 16 | right)?;
    let mut drawing = model.drawing(1, FILL | SOURCE_COPY);
    (drawing.to, drawing.size) = ((2, 2), (16, 12));
    chip.draw(&drawing)?;
    chip.registers.set(CLIP_TOP_LEFT, 0)?;
    // Whether the last column and row are drawn is not looked at.
    let is_inside = |x: u32, y: u32| (left..right).contains(&x) && (top..bottom).contains(&y);
    model.draw(&drawing, is_inside, |source, _| source);
    let bytes = chip.read(START.into(), BYTES)?;
    for (x, y) in [(2, 2), (5, 5), (6, 4), (6, 5), (12, 8), (14, 8), (12, 10), (17, 13)] {
        let at = Model::at(&drawing, drawing.to_base, x, y, drawing.to_pitch);
        assert_eq!(bytes[at..at + 2], model.bytes[at..at + 2], "column {x} of row {y}");
    }
    Ok(())
}

/// Would catch a single pixel that is drawn or copied as another number of bytes.
fn one_pixel(chip: &Sm501, _: &Rc<Vm>) -> Result<()> {
    let mut model = Model::new(chip, 8)?;
    for format in [0, 1, 2] {
        for control in [0, FILL, BACKWARDS] {
            let mut drawing = model.drawing(format, control | SOURCE_COPY);
            drawing.size = (1, 1);
            check(chip, &mut model, &drawing, |source, _| source)?;
        }
    }
    Ok(())
}

/// Would catch a rectangle at the very end of local memory that is not drawn, or whose pixels wrap to
/// its beginning.
fn last_bytes(chip: &Sm501, _: &Rc<Vm>) -> Result<()> {
    let end = chip.memory_size as u32;
    let first = vec![0x5a; 0x100];
    for format in [0, 1, 2] {
        chip.write(0, &first)?;
        chip.write(u64::from(end) - 0x100, &first)?;
        // Four rows of 16 pixels, of which the last ends with local memory.
        let drawing = Drawing {
            control: FILL | SOURCE_COPY,
            format,
            to: (8, 0),
            size: (8, 4),
            to_pitch: 16,
            from_pitch: 16,
            to_base: end - (64 << format),
            foreground: 0xa1b2_c3d4,
            ..Drawing::default()
        };
        chip.draw(&drawing)?;
        let bytes = chip.read(u64::from(end) - (64 << format), 64 << format)?;
        let colour = drawing.foreground.to_le_bytes();
        for (at, &byte) in bytes.iter().enumerate() {
            let is_drawn = (at >> format) % 16 >= 8;
            let should = if is_drawn { colour[at % (1 << format)] } else { 0x5a };
            assert_eq!(byte, should, "byte {at} of {drawing:x?}");
        }
        assert_eq!(chip.read(0, 0x100)?, first, "the beginning of local memory");
    }
    Ok(())
}
