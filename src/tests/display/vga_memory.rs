//! The four planes of the VGA and the window of the CPU: write modes, read modes, latches, maps,
//! and odd/even and chained addresses (IBM, "Video Subsystem", "Graphics Controller Registers" and
//! "Memory Organization"), each access compared with a model.

use std::rc::Rc;

use fastrand::Rng;

use crate::qemu::Vm;
use crate::qos::display::registers as vga;
use crate::qos::display::{Graphics, Vga};
use crate::qos::registers::{RegistersExt, Width};
use crate::{Result, tests};

tests!(Vga, "vga-memory-tests":
    write_modes = "write-modes",
    memory_maps = "memory-maps",
    odd_even = "odd-even",
    chained,
    wide,
);

/// A mode in which the window is open. Nobody looks at the screen here.
const MODE: Graphics = Graphics { width: 160, height: 32, is_chained: false };
/// How many bytes of each plane are accessed.
const BYTES: usize = 64;

/// The graphics controller with its memory, as the manual has it. Bits of a register that stand
/// for planes are those of [`Model::planes`] in order.
struct Model {
    memory: Vec<[u8; 4]>,
    latch: [u8; 4],
    set_reset: u8,
    enable: u8,
    compare: u8,
    rotate: u8,
    function: u8,
    read_map: u8,
    write_mode: u8,
    read_mode: u8,
    dont_care: u8,
    bit_mask: u8,
    map_mask: u8,
}

/// All ones if this bit is set.
fn spread(bits: u8, plane: usize) -> u8 {
    if bits >> plane & 1 != 0 { 0xff } else { 0 }
}

impl Model {
    fn chosen(rng: &mut Rng) -> Self {
        Self {
            memory: (0..BYTES).map(|_| [0; 4].map(|_| rng.u8(..))).collect(),
            latch: [0; 4],
            set_reset: 0,
            enable: 0,
            compare: 0,
            rotate: 0,
            function: 0,
            read_map: 0,
            write_mode: 0,
            read_mode: 0,
            dont_care: 0xf,
            bit_mask: 0xff,
            map_mask: 0xf,
        }
    }

    /// Chooses all registers anew, and writes them to the card.
    fn choose(&mut self, rng: &mut Rng, card: &Vga) -> Result<()> {
        let half = |rng: &mut Rng| rng.u8(..0x10);
        self.set_reset = half(rng);
        self.enable = half(rng);
        self.compare = half(rng);
        self.rotate = rng.u8(..8);
        self.function = rng.u8(..4);
        self.read_map = rng.u8(..4);
        self.write_mode = rng.u8(..4);
        self.read_mode = rng.u8(..2);
        self.dont_care = half(rng);
        self.bit_mask = if rng.bool() { 0xff } else { rng.u8(..) };
        self.map_mask = half(rng);
        card.program(&[
            (vga::SET_RESET, self.set_reset),
            (vga::ENABLE_SET_RESET, self.enable),
            (vga::COMPARE, self.compare),
            (vga::ROTATE, self.rotate | self.function << 3),
            (vga::READ_MAP, self.read_map),
            (vga::GRAPHICS_MODE, self.write_mode | self.read_mode << 3),
            (vga::DONT_CARE, self.dont_care),
            (vga::BIT_MASK, self.bit_mask),
            (vga::MAP_MASK, self.map_mask),
        ])
    }

    fn read(&mut self, at: usize) -> u8 {
        self.latch = self.memory[at];
        if self.read_mode == 0 {
            return self.latch[usize::from(self.read_map)];
        }
        let differs = |plane: usize| {
            (self.latch[plane] ^ spread(self.compare, plane)) & spread(self.dont_care, plane)
        };
        !(differs(0) | differs(1) | differs(2) | differs(3))
    }

    fn write(&mut self, at: usize, byte: u8) {
        let rotated = byte.rotate_right(self.rotate.into());
        for plane in 0..4 {
            let latch = self.latch[plane];
            let set = spread(self.set_reset, plane);
            let (data, mask) = match self.write_mode {
                0 if spread(self.enable, plane) != 0 => (set, self.bit_mask),
                0 => (rotated, self.bit_mask),
                1 => (latch, 0),
                2 => (spread(byte, plane), self.bit_mask),
                _ => (set, self.bit_mask & rotated),
            };
            let done = match self.function {
                0 => data,
                1 => data & latch,
                2 => data | latch,
                _ => data ^ latch,
            };
            if spread(self.map_mask, plane) != 0 {
                self.memory[at][plane] = done & mask | latch & !mask;
            }
        }
    }

    fn plane(&self, plane: usize) -> Vec<u8> {
        self.memory.iter().map(|bytes| bytes[plane]).collect()
    }

    /// Writes all of it into the card's planes.
    fn fill(&self, card: &Vga) -> Result<()> {
        (0..4).try_for_each(|plane| card.write_plane(plane as u8, 0, &self.plane(plane)))
    }

    /// Compares the card's planes with it, through the window and where they are laid out.
    fn compare_all(&self, card: &Vga, what: &str) -> Result<()> {
        for plane in 0..4 {
            let expected = self.plane(plane);
            let number = plane as u8;
            let read = card.read_plane(number, 0, BYTES as u64)?;
            assert_eq!(read, expected, "plane {plane} in the window, {what}");
            let laid_out = card.laid_out(number, 0, BYTES as u64)?;
            assert_eq!(laid_out, expected, "plane {plane} in video memory, {what}");
        }
        Ok(())
    }
}

/// Would catch a write mode, a read mode, a function, a rotation, a mask or set/reset that makes
/// another byte of the CPU's and the latches' than the manual's, in any plane; latches that are not
/// loaded by a read, or are by a write.
fn write_modes(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    let window = card.window()?;
    let rng = &mut Rng::with_seed(0x0a00);
    let mut model = Model::chosen(rng);
    MODE.set(card)?;
    model.fill(card)?;
    for round in 0..150 {
        model.choose(rng, card)?;
        let what = format!(
            "round {round}: write mode {}, read mode {}, function {}, rotated by {}",
            model.write_mode, model.read_mode, model.function, model.rotate
        );
        for _ in 0..3 {
            let at = rng.usize(..BYTES);
            let (read, expected) = (window.read8(at as u64)?, model.read(at));
            assert_eq!(read, expected, "{what}: the byte {at:#x}");
            // Not where it was read, so that the latches are another byte's.
            let (at, byte) = (rng.usize(..BYTES), rng.u8(..));
            window.write8(at as u64, byte)?;
            model.write(at, byte);
        }
        if round % 10 == 0 || round == 149 {
            model.compare_all(card, &what)?;
            // What looks at the planes loads the latches.
            window.read8(0)?;
            model.read(0);
        }
    }
    Ok(())
}

/// Would catch a window that begins or ends elsewhere than the memory map says, in which the CPU
/// reads or writes what it must not.
fn memory_maps(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    let window = card.window()?;
    MODE.set(card)?;
    for (map, start, end) in
        [(0, 0, 0x2_0000), (1, 0, 0x1_0000), (2, 0x1_0000, 0x1_8000), (3, 0x1_8000, 0x2_0000)]
    {
        card.write_plane(0, 0, &[0x5a])?;
        card.program(&[(vga::MAP_MASK, 0x0f), (vga::GRAPHICS_MISC, 0x01 | map << 2)])?;
        for at in [0, 0x7fff, 0x8000, 0xffff, 0x1_0000, 0x1_7fff, 0x1_8000, 0x1_ffff] {
            let is_inside = (start..end).contains(&at);
            let byte = (at >> 8) as u8 ^ map ^ 0x21;
            if is_inside {
                window.write8(at, byte)?;
                let (read, there) = (window.read8(at)?, card.laid_out(2, at - start, 1)?);
                assert_eq!((read, &there[..]), (byte, &[byte][..]), "map {map}, offset {at:#x}");
            } else {
                let before = card.laid_out(1, 0, 1)?;
                window.write8(at, !before[0])?;
                assert_eq!(window.read8(at)?, 0xff, "map {map}, {at:#x}, which is outside");
                assert_eq!(card.laid_out(1, 0, 1)?, before, "map {map}, {at:#x} written");
            }
        }
    }
    Ok(())
}

/// Would catch odd/even addresses that reach other planes or bytes than those of text: even ones
/// planes 0 and 2, odd ones 1 and 3, two addresses a byte, of the planes that the mask lets through.
fn odd_even(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    let window = card.window()?;
    MODE.set(card)?;
    let zeroes = vec![0; BYTES];
    for (mask, read_map) in [(0x3, 0), (0xf, 2), (0x5, 0), (0xa, 3)] {
        for plane in 0..4 {
            card.write_plane(plane, 0, &zeroes)?;
        }
        card.program(&[
            (vga::MEMORY_MODE, 0x02),
            (vga::GRAPHICS_MODE, 0x10),
            (vga::GRAPHICS_MISC, 0x0f),
            (vga::CRTC_MODE, 0xa3),
            (vga::MAP_MASK, mask),
            (vga::READ_MAP, read_map),
        ])?;
        let byte = |at: u64| (at as u8).wrapping_mul(7).wrapping_add(1);
        for at in 0..2 * BYTES as u64 {
            window.write8(0x1_8000 + at, byte(at))?;
        }
        let written = |plane: u64| mask >> plane & 1 != 0;
        for at in 0..2 * BYTES as u64 {
            let plane = u64::from(read_map) & 2 | at & 1;
            let expected = if written(plane) { byte(at) } else { 0 };
            let read = window.read8(0x1_8000 + at)?;
            assert_eq!(read, expected, "mask {mask:#x}, map {read_map}: address {at:#x}");
        }
        for plane in 0..4 {
            let expected = (0..BYTES as u64)
                .map(|at| if written(plane) { byte(2 * at + (plane & 1)) } else { 0 });
            let laid_out = card.laid_out(plane as u8, 0, BYTES as u64)?;
            assert_eq!(laid_out, expected.collect::<Vec<_>>(), "mask {mask:#x}, plane {plane}");
        }
        MODE.set(card)?;
    }
    Ok(())
}

/// Would catch chained planes whose bytes are not one after another, and a mask of planes that does
/// not hold there.
fn chained(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    let window = card.window()?;
    Graphics { is_chained: true, ..MODE }.set(card)?;
    for mask in [0x0f, 0x05] {
        let before: Vec<u8> = (0..64).map(|at| card.memory().read8(at)).collect::<Result<_>>()?;
        card.program(&[(vga::MAP_MASK, mask)])?;
        for at in 0..64 {
            window.write8(at, !before[at as usize] ^ at as u8)?;
        }
        for (at, &before) in before.iter().enumerate() {
            let expected = if mask >> (at & 3) & 1 != 0 { !before ^ at as u8 } else { before };
            let read = [window.read8(at as u64)?, card.memory().read8(at as u64)?];
            assert_eq!(read, [expected; 2], "mask {mask:#x}: byte {at:#x}");
        }
    }
    // The last byte of the window.
    card.program(&[(vga::MAP_MASK, 0x0f)])?;
    window.write8(0xffff, 0x77)?;
    assert_eq!(card.memory().read8(0xffff)?, 0x77, "the last byte of the window");
    Ok(())
}

/// Would catch an access of 16 or 32 bits that is not one to each of its bytes, the lowest first.
fn wide(card: &Vga, _: &Rc<Vm>) -> Result<()> {
    let window = card.window()?;
    let rng = &mut Rng::with_seed(0x0a32);
    let mut model = Model::chosen(rng);
    MODE.set(card)?;
    model.fill(card)?;
    window.read8(0)?;
    model.read(0);
    for round in 0..60 {
        model.choose(rng, card)?;
        let width = if rng.bool() { Width::Word } else { Width::Long };
        let at = rng.usize(..BYTES - 4);
        let read = window.read(at as u64, width)?;
        let bytes = (0..width.bytes()).map(|byte| u64::from(model.read(at + byte)) << (8 * byte));
        assert_eq!(read, bytes.sum::<u64>(), "round {round}: {width:?} at {at:#x}");
        let (at, value) = (rng.usize(..BYTES - 4), rng.u32(..));
        window.write(at as u64, width, u64::from(value) & width.ones())?;
        for byte in 0..width.bytes() {
            model.write(at + byte, (value >> (8 * byte)) as u8);
        }
    }
    model.compare_all(card, "after accesses of 16 and 32 bits")
}
