//! VMware's SVGA II as a guest has it (VMware, "SVGA Device Developer Kit", `svga_reg.h` and
//! "VMware SVGA Device Interface and Programming Model"): registers behind an index, a frame buffer,
//! and a queue of commands in memory.

use std::rc::Rc;

use super::{Picture, dump};
use crate::qemu::Vm;
use crate::qos::registers::{Access, Registers, RegistersExt, Width};
use crate::{Error, Result, interface};

/// The indices of registers.
pub mod index {
    /// The version of the interface.
    pub const ID: u32 = 0;
    /// One while it shows its frame buffer, not the VGA.
    pub const ENABLE: u32 = 1;
    /// In pixels.
    pub const WIDTH: u32 = 2;
    /// In pixels.
    pub const HEIGHT: u32 = 3;
    /// The largest width.
    pub const MAX_WIDTH: u32 = 4;
    /// The largest height.
    pub const MAX_HEIGHT: u32 = 5;
    /// The number of bits that have colours.
    pub const DEPTH: u32 = 6;
    /// The width of a pixel.
    pub const BITS_PER_PIXEL: u32 = 7;
    /// The bits that are red; those behind it are green and blue.
    pub const RED_MASK: u32 = 9;
    /// The length of a line.
    pub const BYTES_PER_LINE: u32 = 12;
    /// The address of the frame buffer.
    pub const FB_START: u32 = 13;
    /// Where in it the screen begins.
    pub const FB_OFFSET: u32 = 14;
    /// The size of video memory.
    pub const VRAM_SIZE: u32 = 15;
    /// The size of the frame buffer.
    pub const FB_SIZE: u32 = 16;
    /// What it can do.
    pub const CAPABILITIES: u32 = 17;
    /// The address of the queue.
    pub const MEM_START: u32 = 18;
    /// The size of the queue.
    pub const MEM_SIZE: u32 = 19;
    /// One once the queue can be used.
    pub const CONFIG_DONE: u32 = 20;
    /// Has it do all commands.
    pub const SYNC: u32 = 21;
    /// One while it does that.
    pub const BUSY: u32 = 22;
    /// Which system the guest runs.
    pub const GUEST_ID: u32 = 23;
    /// The pointer; its place and whether it is shown follow.
    pub const CURSOR_ID: u32 = 24;
    /// The column of the pointer.
    pub const CURSOR_X: u32 = 25;
    /// The row of the pointer.
    pub const CURSOR_Y: u32 = 26;
    /// Whether the pointer is shown.
    pub const CURSOR_ON: u32 = 27;
    /// How many registers the guest has for itself.
    pub const SCRATCH_SIZE: u32 = 29;
    /// The first of them, behind 768 of a palette from 1024 on.
    pub const SCRATCH_BASE: u32 = 1024 + 768;
}

/// The number of the interface's version.
pub const ID_2: u32 = 0x9000_0002;

/// Commands: a part of the frame buffer has changed (column, row, width, height).
pub const UPDATE: u32 = 1;
/// Fills a rectangle (colour, column, row, width, height).
pub const RECT_FILL: u32 = 2;
/// Copies a rectangle (column and row of the source, of the destination, width, height).
pub const RECT_COPY: u32 = 3;
/// Defines the pointer (number, column and row of its tip, width, height, bits of the mask's and of
/// the image's pixels, the mask, the image).
pub const DEFINE_CURSOR: u32 = 19;
/// Defines a pointer with transparency (number, column and row of its tip, width, height, the image).
pub const DEFINE_ALPHA_CURSOR: u32 = 22;
/// Is told back once all before it is done (a number).
pub const FENCE: u32 = 30;

/// The first words of the queue, in bytes: where it begins.
pub const MIN: u64 = 0;
/// Where it ends.
pub const MAX: u64 = 4;
/// Where the guest writes next.
pub const NEXT_CMD: u64 = 8;
/// Where the device reads next.
pub const STOP: u64 = 12;

/// The card.
pub struct Svga {
    /// The machine that it is in.
    pub vm: Rc<Vm>,
    /// The ports of index and value.
    pub ports: Rc<dyn Registers>,
    /// The frame buffer, and its address and size.
    pub frame: (Rc<dyn Registers>, u64, u64),
    /// The queue of commands, and its address and size.
    pub queue: (Rc<dyn Registers>, u64, u64),
}

interface!(Svga = "svga");

impl Svga {
    /// Reads a register.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn get(&self, index: u32) -> Result<u32> {
        self.ports.write32(0, index)?;
        self.ports.read32(1)
    }

    /// Writes a register.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set(&self, index: u32, value: u32) -> Result<()> {
        self.ports.write32(0, index)?;
        self.ports.write32(1, value)
    }

    /// Has it show `size` pixels of 32 bits, with an empty queue from `first` on, of `length` bytes.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn start(&self, size: (usize, usize), first: u32, length: u32) -> Result<()> {
        self.set(index::ENABLE, 0)?;
        self.set(index::CONFIG_DONE, 0)?;
        self.set(index::ID, ID_2)?;
        self.set(index::WIDTH, size.0 as u32)?;
        self.set(index::HEIGHT, size.1 as u32)?;
        self.set(index::BITS_PER_PIXEL, 32)?;
        self.point(first, first + length, first, first)?;
        self.set(index::ENABLE, 1)?;
        self.set(index::CONFIG_DONE, 1)?;
        self.picture().map(drop)
    }

    /// Sets all pointers of the queue.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn point(&self, min: u32, max: u32, next: u32, stop: u32) -> Result<()> {
        let pointers = [(MIN, min), (MAX, max), (NEXT_CMD, next), (STOP, stop)];
        pointers.iter().try_for_each(|&(at, value)| self.queue.0.write32(at, value))
    }

    /// Writes words to the queue, behind what is there, and has its end be behind them.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn push(&self, words: &[u32]) -> Result<()> {
        let queue = &self.queue.0;
        let (min, max) = (queue.read32(MIN)?, queue.read32(MAX)?);
        let mut next = queue.read32(NEXT_CMD)?;
        for &word in words {
            queue.write32(next.into(), word)?;
            next = if next + 4 == max { min } else { next + 4 };
        }
        queue.write32(NEXT_CMD, next)
    }

    /// Has it do all commands, and waits until it has.
    ///
    /// # Errors
    /// Returns [`Error::Failed`] if it stays busy.
    pub fn sync(&self) -> Result<()> {
        self.set(index::SYNC, 1)?;
        for _ in 0..100 {
            if self.get(index::BUSY)? == 0 {
                return Ok(());
            }
        }
        Err(Error::failed("the SVGA stays busy after SYNC"))
    }

    /// Whether all commands were taken.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.queue.0.read32(STOP)? == self.queue.0.read32(NEXT_CMD)?)
    }

    /// Writes pixels to the beginning of the frame buffer.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn write(&self, pixels: &[u32]) -> Result<()> {
        let writes = pixels.iter().zip((0..).step_by(4));
        let writes = writes.map(|(&it, at)| Access::Write(at, Width::Long, it.into()));
        self.frame.0.sequence(&writes.collect::<Vec<_>>()).map(drop)
    }

    /// Reads `count` pixels from the beginning of the frame buffer.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn read(&self, count: usize) -> Result<Vec<u32>> {
        let reads = (0..count as u64).map(|at| Access::Read(at * 4, Width::Long));
        let values = self.frame.0.sequence(&reads.collect::<Vec<_>>())?;
        Ok(values.into_iter().map(|value| value as u32).collect())
    }

    /// What the screen shows.
    ///
    /// # Errors
    /// As [`dump`].
    pub fn picture(&self) -> Result<Picture> {
        dump(&self.vm)
    }
}
