//! A model of the GD5446's engine: video memory as it should be behind blocks that are chosen by
//! chance (CL-GD5446 Technical Reference Manual, chapter "BitBLT engine").

use fastrand::Rng;

use crate::Result;
use crate::drivers::display::cirrus_vga::{
    Block, CirrusVga, EXPAND, EXTENDED, INVERT, TRANSPARENT,
};
use crate::qos::display::Graphics;
use crate::qos::display::registers::{MAX_SCAN, OFFSET};
use crate::qos::registers::{Access, RegistersExt, Width};

/// How many bytes of video memory the blocks of these tests are in.
pub(super) const BYTES: usize = 4096;
/// From a line of the destination to the next.
pub(super) const PITCH: u16 = 96;
/// Where the destination begins, behind all sources.
pub(super) const TO: u32 = 2048;

/// What a raster operation makes of a byte of the source and one of the destination.
pub(super) type Operation = fn(u8, u8) -> u8;

/// The raster operations, and what each makes of a byte of the source and one of the destination.
pub(super) const OPERATIONS: [(u8, Operation); 16] = [
    (0x00, |_, _| 0),
    (0x05, |s, d| s & d),
    (0x06, |_, d| d),
    (0x09, |s, d| s & !d),
    (0x0b, |_, d| !d),
    (0x0d, |s, _| s),
    (0x0e, |_, _| 0xff),
    (0x50, |s, d| !s & d),
    (0x59, |s, d| s ^ d),
    (0x6d, |s, d| s | d),
    (0x90, |s, d| !s | !d),
    (0x95, |s, d| !(s ^ d)),
    (0xad, |s, d| s | !d),
    (0xd0, |s, _| !s),
    (0xd6, |s, d| !s | d),
    (0xda, |s, d| !s & !d),
];

/// Video memory as it should be.
pub(super) struct Model {
    /// From the beginning of video memory on.
    pub(super) memory: Vec<u8>,
    /// What the blocks are chosen by.
    pub(super) rng: Rng,
}

impl Model {
    /// Bytes by chance, in the card as well.
    pub(super) fn new(card: &CirrusVga, seed: u64) -> Result<Self> {
        let mut rng = Rng::with_seed(seed);
        let memory: Vec<u8> = (0..BYTES).map(|_| rng.u8(..)).collect();
        let longs = memory.chunks_exact(4).zip((0..).step_by(4)).map(|(it, at)| {
            let long = u32::from_le_bytes([it[0], it[1], it[2], it[3]]);
            Access::Write(at, Width::Long, long.into())
        });
        card.stop()?;
        set_mode(card, 8)?;
        card.memory().sequence(&longs.collect::<Vec<_>>())?;
        Ok(Self { memory, rng })
    }

    /// A block of pixels of `size` bytes, with a mode, of a size by chance.
    pub(super) fn block(&mut self, size: usize, mode: u8, operation: u8) -> Block {
        Block {
            width: (self.rng.usize(1..=36 / size) * size) as u16,
            height: self.rng.u16(1..=9),
            to_pitch: PITCH,
            from_pitch: 80,
            to: TO + self.rng.u32(..8) * 4,
            from: self.rng.u32(..32) * 4,
            mode: mode | ((size - 1) << 4) as u8,
            operation,
            ..Block::default()
        }
    }

    /// Writes `source` to the pixel of `size` bytes at `at`; with a transparent colour, not where
    /// that is what would be written.
    pub(super) fn put(&mut self, block: &Block, at: usize, source: &[u8], key: Option<u16>) {
        let operation = OPERATIONS.iter().find(|it| it.0 == block.operation);
        let Some((_, operation)) = operation else { return };
        let there = &mut self.memory[at..at + source.len()];
        let done: Vec<u8> = there.iter().zip(source).map(|(&d, &s)| operation(s, d)).collect();
        let is_key = key.is_some_and(|key| done == key.to_le_bytes()[..done.len()]);
        if !is_key {
            there.copy_from_slice(&done);
        }
    }

    /// Draws pixels of `size` bytes, each the one of two colours that `bit` says of its column and
    /// line.
    pub(super) fn expand(
        &mut self,
        block: &Block,
        size: usize,
        bit: impl Fn(&[u8], usize, usize) -> bool,
    ) {
        let (foreground, background) =
            (block.foreground.to_le_bytes(), block.background.to_le_bytes());
        for y in 0..usize::from(block.height) {
            let skip = usize::from(block.skip) / if size == 3 { size } else { 1 };
            for x in skip..usize::from(block.width) / size {
                let at = block.to as usize + y * usize::from(PITCH) + x * size;
                let is_set = bit(&self.memory, x, y);
                if block.mode & TRANSPARENT == 0 {
                    let colour = if is_set { foreground } else { background };
                    self.put(block, at, &colour[..size], None);
                } else if block.extension & INVERT == 0 && is_set {
                    self.put(block, at, &foreground[..size], None);
                } else if block.extension & INVERT != 0 && !is_set {
                    self.put(block, at, &background[..size], None);
                }
            }
        }
    }

    /// Compares all of it with the card's.
    pub(super) fn assert_same(&self, card: &CirrusVga, block: &Block) -> Result<()> {
        let reads = (0..BYTES as u64).step_by(8).map(|at| Access::Read(at, Width::Quad));
        let quads = card.memory().sequence(&reads.collect::<Vec<_>>())?;
        let bytes: Vec<u8> = quads.iter().flat_map(|quad| quad.to_le_bytes()).collect();
        if let Some(at) = (0..BYTES).find(|&at| bytes[at] != self.memory[at]) {
            let (is, should) = (bytes[at], self.memory[at]);
            let others = (0..BYTES).filter(|&at| bytes[at] != self.memory[at]).count();
            panic!("byte {at:#x} is {is:#x}, not {should:#x}, and {others} differ: {block:x?}");
        }
        Ok(())
    }
}

/// A block of two colours.
pub(super) fn expanded(model: &mut Model, size: usize, mode: u8, operation: u8) -> Block {
    let mut block = model.block(size, EXPAND | mode, operation);
    (block.foreground, block.background) = (model.rng.u32(..), model.rng.u32(..));
    if mode & TRANSPARENT != 0 && model.rng.bool() {
        block.extension |= INVERT;
    }
    block
}

/// A mode of pixels of `bits` bits, of which the length of a line is told.
pub(super) fn set_mode(card: &CirrusVga, bits: usize) -> Result<(usize, (usize, usize))> {
    let mode = Graphics { width: 160, height: 40, is_chained: true };
    let vga = card.vga();
    mode.set(vga)?;
    let line = mode.width * bits.div_ceil(8);
    let extended = match bits {
        8 => 0x01,
        15 | 16 => 0x07,
        24 => 0x05,
        _ => 0x09,
    };
    // Behind four reads, a write is one of the hidden register.
    let ports = vga.ports();
    for _ in 0..4 {
        ports.read8(0x3c6)?;
    }
    ports.write8(0x3c6, if bits == 16 { 0xe1 } else { 0xf0 })?;
    vga.program(&[(EXTENDED, extended), (MAX_SCAN, 0x40), (OFFSET, (line / 8) as u8)])?;
    Ok((line, (mode.width, mode.height)))
}
