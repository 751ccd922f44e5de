//! Guests that break the rules of VMware's SVGA II: screens without pixels, rectangles and pointers
//! of any size, and a queue whose pointers lead elsewhere.

use std::rc::Rc;

use fastrand::Rng;

use super::svga::{Frame, QUEUE, SIZE};
use crate::qemu::Vm;
use crate::qos::display::screen;
use crate::qos::display::svga::{
    DEFINE_ALPHA_CURSOR, DEFINE_CURSOR, RECT_COPY, RECT_FILL, Svga, UPDATE, index,
};
use crate::{Result, tests};

tests!(Svga, "vmware-svga-attack-tests":
    no_pixels = "no-pixels",
    largest_screen = "largest-screen",
    rectangles,
    pointers,
    transparent_pointers = "transparent-pointers",
    queue_elsewhere = "queue-elsewhere",
    any_commands = "any-commands",
    any_registers = "any-registers",
);

/// Would fail if a rectangle is not filled as before.
fn assert_works(card: &Svga, seed: u64) -> Result<()> {
    let mut frame = Frame::start(card, seed)?;
    card.push(&[RECT_FILL, 0x10_2030, 4, 5, 6, 7])?;
    card.sync()?;
    assert!(card.is_empty()?, "the queue");
    frame.fill([4, 5, 6, 7], 0x10_2030);
    frame.assert_same(card, "a rectangle")
}

/// Coordinates and sizes at their ends, for a screen of 80 by 48 pixels.
const EXTREMES: [u32; 14] = [
    0,
    1,
    47,
    48,
    79,
    80,
    81,
    2368,
    2369,
    0x7fff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffb0,
    0xffff_ffff,
];

/// Would catch a screen of no columns or rows that ends QEMU when it is drawn.
fn no_pixels(card: &Svga, vm: &Rc<Vm>) -> Result<()> {
    for (width, height) in [(0, 48), (80, 0), (0, 0), (1, 0)] {
        Frame::start(card, 60)?;
        card.set(index::WIDTH, width)?;
        card.set(index::HEIGHT, height)?;
        screen::dump_size(vm)?;
        card.push(&[RECT_FILL, 0xff, 0, 0, 1, 1, UPDATE, 0, 0, 1, 1])?;
        card.set(index::SYNC, 1)?;
        screen::dump_size(vm)?;
    }
    assert_works(card, 61)
}

/// Would catch the largest screen having lines behind the end of the frame buffer.
fn largest_screen(card: &Svga, vm: &Rc<Vm>) -> Result<()> {
    let (width, height) = (card.get(index::MAX_WIDTH)?, card.get(index::MAX_HEIGHT)?);
    assert!(u64::from(width * height * 4) <= card.frame.2, "{width} by {height} pixels");
    Frame::start(card, 62)?;
    card.set(index::WIDTH, width)?;
    card.set(index::HEIGHT, height)?;
    assert_eq!(screen::dump_size(vm)?, (width as usize, height as usize), "the largest screen");
    card.push(&[RECT_FILL, 0xff, width - 2, height - 2, 2, 2])?;
    card.push(&[RECT_COPY, width - 2, height - 2, 0, 0, 2, 2])?;
    card.sync()?;
    assert_eq!(card.read(2)?, [0xff; 2], "what is copied from the last line");
    assert_works(card, 63)
}

/// Would catch rectangles that leave the screen and are drawn, outside of the frame buffer.
fn rectangles(card: &Svga, vm: &Rc<Vm>) -> Result<()> {
    Frame::start(card, 64)?;
    let mut rng = Rng::with_seed(65);
    for round in 0..400 {
        let mut any = || EXTREMES[rng.usize(..EXTREMES.len())];
        let (x, y, width, height) = (any(), any(), any(), any());
        let command = match round % 3 {
            0 => vec![RECT_FILL, any(), x, y, width, height],
            1 => vec![RECT_COPY, any(), any(), x, y, width, height],
            _ => vec![UPDATE, x, y, width, height],
        };
        card.push(&command)?;
        if round % 8 == 7 {
            card.sync()?;
            screen::dump_size(vm)?;
        }
    }
    assert_works(card, 66)
}

/// Would catch a pointer that is larger than QEMU has room for.
fn pointers(card: &Svga, vm: &Rc<Vm>) -> Result<()> {
    let sizes =
        [0, 1, 31, 32, 33, 255, 256, 257, 512, 0x8000, 0x7fff_ffff, 0xffff_ffe1, 0xffff_ffff];
    let mut rng = Rng::with_seed(67);
    for width in sizes {
        for height in sizes {
            Frame::start(card, 68)?;
            let bits = [0, 1, 8, 24, 32, 33, 0x1000_0000, 0xffff_ffff][rng.usize(..8)];
            card.push(&[DEFINE_CURSOR, 0, rng.u32(..), rng.u32(..), width, height, 1, bits])?;
            card.push(&(0..600).map(|_| rng.u32(..)).collect::<Vec<_>>())?;
            card.set(index::SYNC, 1)?;
        }
        screen::dump_size(vm)?;
    }
    assert_works(card, 69)
}

/// Would catch a pointer with transparency of whose columns and rows the product overflows, so that
/// QEMU reads the queue for ever.
fn transparent_pointers(card: &Svga, vm: &Rc<Vm>) -> Result<()> {
    for (width, height) in [
        (0x10000, 0x10000),
        (0x8000, 0x10000),
        (0xffff_ffff, 1),
        (0xffff_ffff, 0x7fff_ffff),
        (0x10001, 0xffff),
        (0, 0),
        (64, 64),
    ] {
        Frame::start(card, 70)?;
        card.push(&[DEFINE_ALPHA_CURSOR, 0, 0, 0, width, height])?;
        card.push(&[0; 64])?;
        card.set(index::SYNC, 1)?;
        screen::dump_size(vm)?;
    }
    assert_works(card, 71)
}

/// Would catch a queue that begins, ends or goes on where there is none.
fn queue_elsewhere(card: &Svga, vm: &Rc<Vm>) -> Result<()> {
    let size = card.queue.2 as u32;
    let places = [
        0,
        4,
        12,
        16,
        17,
        QUEUE.0,
        size - 4,
        size - 2,
        size,
        size + 4,
        0x7fff_fffc,
        0x8000_0000,
        0xffff_fffc,
    ];
    let mut rng = Rng::with_seed(72);
    Frame::start(card, 73)?;
    for round in 0..400 {
        let mut any = || places[rng.usize(..places.len())];
        let (min, max, next, stop) = (any(), any(), any(), any());
        // Half of them have a place for commands.
        let (min, max) = if round % 2 == 0 { (min, max) } else { (QUEUE.0, size) };
        card.point(min, max, next, stop)?;
        card.set(index::SYNC, 1)?;
        if round % 8 == 0 {
            screen::dump_size(vm)?;
        }
    }
    assert_works(card, 74)
}

/// Would catch words that are harmless alone, but as commands bring QEMU to its end.
fn any_commands(card: &Svga, vm: &Rc<Vm>) -> Result<()> {
    let mut rng = Rng::with_seed(75);
    for _ in 0..40 {
        Frame::start(card, 76)?;
        let words: Vec<u32> = (0..400)
            .map(|_| match rng.u8(..4) {
                0 => rng.u32(..40),
                1 => EXTREMES[rng.usize(..EXTREMES.len())],
                2 => rng.u32(..SIZE.0 as u32),
                _ => rng.u32(..0x1_0000),
            })
            .collect();
        card.push(&words)?;
        card.set(index::SYNC, 1)?;
        screen::dump_size(vm)?;
    }
    assert_works(card, 77)
}

/// Would catch values of registers, in any order, at which QEMU ends.
fn any_registers(card: &Svga, vm: &Rc<Vm>) -> Result<()> {
    let mut rng = Rng::with_seed(78);
    for round in 0..200 {
        if round % 10 == 0 {
            Frame::start(card, 79)?;
        }
        let register = match rng.u8(..4) {
            0 => index::SCRATCH_BASE + rng.u32(..64),
            1 => rng.u32(..),
            _ => rng.u32(..34),
        };
        // Screens of a moderate size.
        let is_size = register == index::WIDTH || register == index::HEIGHT;
        let value = match rng.bool() {
            _ if is_size => rng.u32(1..300),
            true => rng.u32(..),
            false => EXTREMES[rng.usize(..EXTREMES.len())],
        };
        card.set(register, value)?;
        card.get(register)?;
        if round % 4 == 0 {
            screen::dump_size(vm)?;
        }
    }
    assert_works(card, 80)
}
