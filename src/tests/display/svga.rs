//! VMware's SVGA II: its registers, what it shows of the frame buffer, and its queue of commands
//! (VMware, "SVGA Device Developer Kit").

use std::rc::Rc;

use fastrand::Rng;

use crate::qemu::Vm;
use crate::qos::display::svga::{
    DEFINE_CURSOR, FENCE, ID_2, NEXT_CMD, RECT_COPY, RECT_FILL, STOP, Svga, UPDATE, index,
};
use crate::qos::registers::RegistersExt;
use crate::{Result, attacks, tests};

tests!(Svga, "vmware-svga-tests":
    versions,
    memory,
    pixels,
    scratch,
    mode,
    modes,
    updates,
    fills,
    copies,
    queue_wraps = "queue-wraps",
    parts_of_commands = "parts-of-commands",
    cursors,
    fences,
    many_commands = "many-commands",
    disabled,
);

attacks!(Svga, "vmware-svga-attacks": fills, copies, cursors, queue_wraps = "queue-wraps");

/// The size of the screen.
pub(super) const SIZE: (usize, usize) = (80, 48);
/// Where the queue begins, and how long it is.
pub(super) const QUEUE: (u32, u32) = (0x400, 0x4000);

/// The frame buffer as it should be.
pub(super) struct Frame {
    pixels: Vec<u32>,
    pub(super) rng: Rng,
}

impl Frame {
    /// Starts the card and fills the frame buffer by chance.
    pub(super) fn start(card: &Svga, seed: u64) -> Result<Self> {
        card.start(SIZE, QUEUE.0, QUEUE.1)?;
        let mut rng = Rng::with_seed(seed);
        let pixels: Vec<u32> = (0..SIZE.0 * SIZE.1).map(|_| rng.u32(..) & 0xff_ffff).collect();
        card.write(&pixels)?;
        Ok(Self { pixels, rng })
    }

    /// A rectangle that is on the screen: column, row, width and height.
    pub(super) fn rectangle(&mut self) -> [usize; 4] {
        let (width, height) = (self.rng.usize(1..=30), self.rng.usize(1..=20));
        let x = self.rng.usize(..=SIZE.0 - width);
        [x, self.rng.usize(..=SIZE.1 - height), width, height]
    }

    /// Fills a rectangle.
    pub(super) fn fill(&mut self, [x, y, width, height]: [usize; 4], colour: u32) {
        for row in y..y + height {
            self.pixels[row * SIZE.0 + x..][..width].fill(colour);
        }
    }

    /// Copies a rectangle to a column and row.
    fn copy(&mut self, [x, y, width, height]: [usize; 4], to: (usize, usize)) {
        let before = self.pixels.clone();
        for row in 0..height {
            let from = &before[(y + row) * SIZE.0 + x..][..width];
            self.pixels[(to.1 + row) * SIZE.0 + to.0..][..width].copy_from_slice(from);
        }
    }

    /// Compares it with the card's, and with what the screen shows.
    pub(super) fn assert_same(&self, card: &Svga, what: &str) -> Result<()> {
        let is = card.read(self.pixels.len())?;
        let wrong = (0..is.len()).find(|&at| is[at] != self.pixels[at]);
        if let Some(at) = wrong {
            let (x, y) = (at % SIZE.0, at / SIZE.0);
            panic!("{what}: column {x} of row {y} is {:#x}, not {:#x}", is[at], self.pixels[at]);
        }
        card.picture()?.assert_shows(what, SIZE, [0xff; 3], |x, y| {
            let [_, red, green, blue] = self.pixels[y * SIZE.0 + x].to_be_bytes();
            [red, green, blue]
        });
        Ok(())
    }
}

/// Would catch a version that is not taken, or one that does not exist and is.
fn versions(card: &Svga, _: &Rc<Vm>) -> Result<()> {
    for version in [0x9000_0000, 0x9000_0001, ID_2] {
        card.set(index::ID, version)?;
        assert_eq!(card.get(index::ID)?, version, "a version that exists");
    }
    for version in [0x9000_00ff, 0, 0xffff_ffff, 0x9100_0002] {
        card.set(index::ID, version)?;
        assert_eq!(card.get(index::ID)?, ID_2, "after {version:#x} was written");
    }
    Ok(())
}

/// Would catch addresses and sizes of the frame buffer and the queue that are not those of the BARs.
fn memory(card: &Svga, _: &Rc<Vm>) -> Result<()> {
    card.set(index::ID, ID_2)?;
    let (_, start, size) = card.frame;
    assert_eq!(u64::from(card.get(index::FB_START)?), start, "FB_START");
    assert_eq!(u64::from(card.get(index::FB_SIZE)?), size, "FB_SIZE");
    assert_eq!(u64::from(card.get(index::VRAM_SIZE)?), size, "VRAM_SIZE");
    assert_eq!(card.get(index::FB_OFFSET)?, 0, "FB_OFFSET");
    let (_, start, size) = card.queue;
    assert_eq!(u64::from(card.get(index::MEM_START)?), start, "MEM_START");
    assert_eq!(u64::from(card.get(index::MEM_SIZE)?), size, "MEM_SIZE");
    // Filling and copying; whether there are pointers depends on the display.
    assert_eq!(card.get(index::CAPABILITIES)? & 0x3, 0x3, "CAPABILITIES");
    Ok(())
}

/// Would catch pixels that are told to be of other bits or lines of another length than are shown.
fn pixels(card: &Svga, _: &Rc<Vm>) -> Result<()> {
    card.start(SIZE, QUEUE.0, QUEUE.1)?;
    for (register, should) in [
        (index::WIDTH, SIZE.0 as u32),
        (index::HEIGHT, SIZE.1 as u32),
        (index::BITS_PER_PIXEL, 32),
        (index::DEPTH, 24),
        (index::RED_MASK, 0xff_0000),
        (index::RED_MASK + 1, 0xff00),
        (index::RED_MASK + 2, 0xff),
        (index::BYTES_PER_LINE, SIZE.0 as u32 * 4),
        (index::ENABLE, 1),
        (index::CONFIG_DONE, 1),
        (index::BUSY, 0),
    ] {
        assert_eq!(card.get(register)?, should, "register {register}");
    }
    Ok(())
}

/// Would catch a register of the guest's own that does not keep what is written, or is another's.
fn scratch(card: &Svga, _: &Rc<Vm>) -> Result<()> {
    let count = card.get(index::SCRATCH_SIZE)?;
    assert!(count > 0, "no register of the guest's own");
    let value = |number: u32| number.wrapping_mul(0x9e37_79b9) ^ 0x5555_aaaa;
    for number in 0..count {
        card.set(index::SCRATCH_BASE + number, value(number))?;
    }
    for number in 0..count {
        let is = card.get(index::SCRATCH_BASE + number)?;
        assert_eq!(is, value(number), "register {number} of {count}");
    }
    for register in [index::GUEST_ID, index::CURSOR_ID, index::CURSOR_X, index::CURSOR_Y] {
        card.set(register, value(register))?;
        assert_eq!(card.get(register)?, value(register), "register {register}");
    }
    Ok(())
}

/// Would catch a pixel of the frame buffer that is shown in another colour or at another place.
fn mode(card: &Svga, _: &Rc<Vm>) -> Result<()> {
    let frame = Frame::start(card, 1)?;
    frame.assert_same(card, "at first")
}

/// Would catch a screen that does not get another size, and a size that is larger than the card has and
/// is taken.
fn modes(card: &Svga, _: &Rc<Vm>) -> Result<()> {
    for size in [(320, 200), (33, 7), SIZE] {
        card.start(size, QUEUE.0, QUEUE.1)?;
        let picture = card.picture()?;
        assert_eq!((picture.width, picture.height), size);
        assert_eq!(card.get(index::BYTES_PER_LINE)?, size.0 as u32 * 4, "BYTES_PER_LINE");
    }
    let (width, height) = (card.get(index::MAX_WIDTH)?, card.get(index::MAX_HEIGHT)?);
    card.set(index::WIDTH, width + 1)?;
    card.set(index::HEIGHT, height + 1)?;
    assert_eq!(card.get(index::WIDTH)?, SIZE.0 as u32, "a width that is too large");
    assert_eq!(card.get(index::HEIGHT)?, SIZE.1 as u32, "a height that is too large");
    Ok(())
}

/// Would catch a part of the frame buffer that is not shown although the guest says that it changed.
fn updates(card: &Svga, _: &Rc<Vm>) -> Result<()> {
    let mut frame = Frame::start(card, 2)?;
    frame.assert_same(card, "at first")?;
    for _ in 0..10 {
        let rectangle = frame.rectangle();
        let colour = frame.rng.u32(..) & 0xff_ffff;
        frame.fill(rectangle, colour);
        card.write(&frame.pixels)?;
        let [x, y, width, height] = rectangle.map(|it| it as u32);
        card.push(&[UPDATE, x, y, width, height])?;
        card.sync()?;
        assert!(card.is_empty()?, "the queue after an update");
        frame.assert_same(card, "updated")?;
    }
    Ok(())
}

/// Would catch a rectangle that is filled in another colour or at another place.
fn fills(card: &Svga, _: &Rc<Vm>) -> Result<()> {
    let mut frame = Frame::start(card, 3)?;
    for round in 0..20 {
        let rectangle = match round {
            0 => [0, 0, SIZE.0, SIZE.1],
            1 => [SIZE.0 - 1, SIZE.1 - 1, 1, 1],
            _ => frame.rectangle(),
        };
        let colour = frame.rng.u32(..);
        let [x, y, width, height] = rectangle.map(|it| it as u32);
        card.push(&[RECT_FILL, colour, x, y, width, height])?;
        card.sync()?;
        assert!(card.is_empty()?, "the queue after a rectangle");
        frame.fill(rectangle, colour);
        frame.assert_same(card, &format!("{rectangle:?} filled with {colour:#x}"))?;
    }
    Ok(())
}

/// Would catch a rectangle that is copied to another place, or overwrites its own source before it is
/// read, in each direction.
fn copies(card: &Svga, _: &Rc<Vm>) -> Result<()> {
    let mut frame = Frame::start(card, 4)?;
    let middle = [20, 12, 30, 20];
    let near = [(17, 12), (23, 12), (20, 10), (20, 14), (18, 9), (22, 9), (18, 15), (22, 15)];
    for round in 0..16 {
        let (rectangle, to) = if round < near.len() {
            (middle, near[round])
        } else {
            let rectangle = frame.rectangle();
            let (width, height) = (rectangle[2], rectangle[3]);
            let x = frame.rng.usize(..=SIZE.0 - width);
            (rectangle, (x, frame.rng.usize(..=SIZE.1 - height)))
        };
        let [x, y, width, height] = rectangle.map(|it| it as u32);
        card.push(&[RECT_COPY, x, y, to.0 as u32, to.1 as u32, width, height])?;
        card.sync()?;
        assert!(card.is_empty()?, "the queue after a copy");
        frame.copy(rectangle, to);
        frame.assert_same(card, &format!("{rectangle:?} copied to {to:?}"))?;
    }
    Ok(())
}

/// Would catch a command at the end of the queue that goes on behind it, and not at its beginning.
fn queue_wraps(card: &Svga, _: &Rc<Vm>) -> Result<()> {
    let mut frame = Frame::start(card, 5)?;
    for words in 1..=6 {
        let (first, end) = (QUEUE.0, QUEUE.0 + QUEUE.1);
        let start = end - words * 4;
        card.point(first, end, start, start)?;
        let rectangle = frame.rectangle();
        let colour = frame.rng.u32(..);
        let [x, y, width, height] = rectangle.map(|it| it as u32);
        card.push(&[RECT_FILL, colour, x, y, width, height])?;
        card.sync()?;
        assert_eq!(card.queue.0.read32(STOP)?, first + (6 - words) * 4, "STOP");
        frame.fill(rectangle, colour);
        frame.assert_same(card, &format!("{words} words before the end of the queue"))?;
    }
    Ok(())
}

/// Would catch a command that is done before all of it is in the queue, or is lost.
fn parts_of_commands(card: &Svga, _: &Rc<Vm>) -> Result<()> {
    let mut frame = Frame::start(card, 6)?;
    let command = [RECT_FILL, 0x12_3456, 3, 4, 20, 10];
    for part in 1..command.len() {
        let before = card.queue.0.read32(NEXT_CMD)?;
        card.push(&command[..part])?;
        card.sync()?;
        assert_eq!(card.queue.0.read32(STOP)?, before, "STOP after {part} words of 6");
        frame.assert_same(card, &format!("{part} words of 6"))?;
        card.push(&command[part..])?;
        card.sync()?;
        assert!(card.is_empty()?, "the queue after the rest");
        frame.fill([3, 4, 20, 10], 0x12_3456);
        frame.assert_same(card, "all of it")?;
        let colour = frame.rng.u32(..);
        card.push(&[RECT_FILL, colour, 0, 0, 30, 30])?;
        card.sync()?;
        frame.fill([0, 0, 30, 30], colour);
    }
    Ok(())
}

/// The words of a pointer's image.
fn words(width: u32, height: u32, bits: u32) -> u32 {
    (width * bits).div_ceil(32) * height
}

/// Would catch a pointer of which more or fewer words are taken from the queue than it has, so that
/// what is behind it is not a command.
fn cursors(card: &Svga, _: &Rc<Vm>) -> Result<()> {
    let mut frame = Frame::start(card, 7)?;
    for (width, height, bits) in [(1, 1, 1), (32, 32, 1), (33, 5, 32), (48, 48, 32), (16, 16, 8)] {
        let mut command = vec![DEFINE_CURSOR, 0, 1, 2, width, height, 1, bits];
        let count = words(width, height, 1) + words(width, height, bits);
        command.extend((0..count).map(|_| frame.rng.u32(..)));
        let rectangle = frame.rectangle();
        let [x, y, columns, rows] = rectangle.map(|it| it as u32);
        command.extend([RECT_FILL, 0x65_4321, x, y, columns, rows]);
        card.push(&command)?;
        card.sync()?;
        assert!(card.is_empty()?, "the queue after a pointer of {width} by {height}, {bits} bits");
        frame.fill(rectangle, 0x65_4321);
        frame
            .assert_same(card, &format!("behind a pointer of {width} by {height}, {bits} bits"))?;
    }
    Ok(())
}

/// Would catch a fence behind which words are taken for commands that are not yet in the queue.
fn fences(card: &Svga, _: &Rc<Vm>) -> Result<()> {
    let mut frame = Frame::start(card, 8)?;
    // A number that does nothing if it is taken for a command.
    card.push(&[FENCE, 0, RECT_FILL, 0x33_2211, 1, 1, 5, 5])?;
    card.sync()?;
    assert!(card.is_empty()?, "the queue after a fence");
    frame.fill([1, 1, 5, 5], 0x33_2211);
    frame.assert_same(card, "behind a fence")
}

/// Would catch commands that are left in the queue because there are many of them.
fn many_commands(card: &Svga, _: &Rc<Vm>) -> Result<()> {
    let mut frame = Frame::start(card, 11)?;
    for number in 0..600 {
        card.push(&[UPDATE, number % 40, 0, 1, 1])?;
    }
    card.push(&[RECT_FILL, 0x11_2233, 7, 7, 5, 5])?;
    card.sync()?;
    assert!(card.is_empty()?, "the queue after 601 commands");
    frame.fill([7, 7, 5, 5], 0x11_2233);
    frame.assert_same(card, "behind 600 updates")
}

/// Would catch commands that are done while the card is not enabled or has no queue.
fn disabled(card: &Svga, _: &Rc<Vm>) -> Result<()> {
    let mut frame = Frame::start(card, 9)?;
    for register in [index::CONFIG_DONE, index::ENABLE] {
        card.set(register, 0)?;
        let before = card.queue.0.read32(STOP)?;
        card.push(&[RECT_FILL, 0x44_5566, 2, 2, 9, 9])?;
        card.set(index::SYNC, 1)?;
        assert_eq!(card.queue.0.read32(STOP)?, before, "STOP while register {register} is 0");
        assert_eq!(card.read(frame.pixels.len())?, frame.pixels, "while register {register} is 0");
        card.set(register, 1)?;
        card.picture()?;
        card.sync()?;
        assert!(card.is_empty()?, "the queue, as register {register} is 1 again");
        frame.fill([2, 2, 9, 9], 0x44_5566);
        frame.assert_same(card, "enabled again")?;
        let frame_before = Frame::start(card, 10)?;
        frame.pixels = frame_before.pixels;
    }
    Ok(())
}
