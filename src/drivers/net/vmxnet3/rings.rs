//! The rings of a queue of vmxnet3: descriptors and their completions, which have generations.

use std::cell::Cell;

use super::registers::descriptor::*;
use crate::qemu::{Buffer, Vm};
use crate::qos::nic::rings::Ring;
use crate::{Error, Result};

/// How many descriptors a ring has: a multiple of 32.
pub const COUNT: usize = 32;
/// The bytes of a descriptor, and of a completion.
const STRIDE: usize = 16;
/// The bytes of a buffer.
pub const SIZE: usize = 1600;

/// Whether the generation bit of descriptor number `number`, counted from the start, is set.
fn generation(number: usize, count: usize) -> bool {
    (number / count).is_multiple_of(2)
}

/// A ring of completions.
pub struct Completions {
    memory: Buffer,
    count: usize,
    /// How many were seen.
    seen: Cell<usize>,
}

impl Completions {
    fn new(vm: &Vm, count: usize) -> Result<Self> {
        let memory = vm.ram().alloc(count * STRIDE, 512)?;
        Ok(Self { memory, count, seen: Cell::default() })
    }

    /// Where it is.
    pub fn address(&self) -> u64 {
        self.memory.address().0
    }

    /// The four words of the completion `after` the next; `None` if it is not there yet.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn peek(&self, after: usize) -> Result<Option<[u32; 4]>> {
        let number = self.seen.get() + after;
        let at = number % self.count * STRIDE;
        let mut words = [0; 4];
        // The last has the generation: the others are there when it is.
        for (word, value) in words.iter_mut().enumerate().rev() {
            *value = self.memory.read_le32(at + 4 * word)?;
        }
        let there = words[3] & GENERATION != 0;
        Ok((there == generation(number, self.count)).then_some(words))
    }

    /// The next completion is seen.
    pub fn advance(&self) {
        self.seen.set(self.seen.get() + 1);
    }

    fn forget(&self) -> Result<()> {
        self.seen.set(0);
        self.memory.write(0, &vec![0; self.memory.len()])
    }
}

/// A queue to send from.
pub struct SendQueue {
    /// Its descriptors.
    pub ring: Ring,
    /// Its completions.
    pub completions: Completions,
    queued: Cell<usize>,
    sent: Cell<usize>,
}

impl SendQueue {
    /// A queue with nothing to send.
    ///
    /// # Errors
    /// Returns an error if no guest memory is left.
    pub fn new(vm: &Vm) -> Result<Self> {
        let ring = Ring::aligned(vm, COUNT, STRIDE, SIZE, 512)?;
        let completions = Completions::new(vm, COUNT)?;
        Ok(Self { ring, completions, queued: Cell::default(), sent: Cell::default() })
    }

    /// The index behind the last descriptor.
    pub fn producer(&self) -> u32 {
        (self.queued.get() % COUNT) as u32
    }

    /// Puts `bytes` into the next buffer; `flags` are those of the fourth word. Returns the index.
    ///
    /// # Errors
    /// Returns an error if the ring is full, or there are more bytes than a buffer has.
    pub fn put(&self, bytes: &[u8], flags: u32) -> Result<usize> {
        if self.queued.get() - self.sent.get() == COUNT {
            return Err(Error::failed(format!("all {COUNT} descriptors hold frames")));
        }
        let index = self.queued.get() % COUNT;
        self.ring.buffer(index).write(0, bytes)?;
        self.describe(self.ring.buffer(index).address().0, bytes.len(), flags)?;
        Ok(index)
    }

    /// Has the next descriptor name `length` bytes at `at`.
    fn describe(&self, at: u64, length: usize, flags: u32) -> Result<()> {
        let number = self.queued.replace(self.queued.get() + 1);
        let index = number % COUNT;
        self.ring.set_word(index, 0, at as u32)?;
        self.ring.set_word(index, 1, (at >> 32) as u32)?;
        self.ring.set_word(index, 3, flags)?;
        let new = if generation(number, COUNT) { SEND_GENERATION } else { 0 };
        self.ring.set_word(index, 2, length as u32 & LENGTH | new)
    }

    /// How many descriptors more are complete since this was asked.
    ///
    /// # Errors
    /// Returns an error if a completion names a descriptor that holds nothing, or holds what is
    /// reserved.
    pub fn sent(&self) -> Result<usize> {
        let mut frames = 0;
        while let Some(words) = self.completions.peek(0)? {
            let [about, reserved @ .., last] = words;
            if about & !0xfff != 0 || reserved != [0; 2] || last & !GENERATION != 0 {
                return Err(Error::failed(format!("a frame sent is told of by {words:x?}")));
            }
            let index = (about & 0xfff) as usize;
            let ahead = (index + COUNT - self.sent.get() % COUNT) % COUNT;
            if self.sent.get() + ahead >= self.queued.get() {
                return Err(Error::failed(format!("completion of descriptor {index}, not queued")));
            }
            self.completions.advance();
            self.sent.set(self.sent.get() + ahead + 1);
            frames += 1;
        }
        Ok(frames)
    }

    /// Begins anew, with descriptors that all name `length` bytes at `at`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn fill(&self, at: u64, length: usize) -> Result<()> {
        self.queued.set(0);
        self.sent.set(0);
        self.completions.forget()?;
        (0..COUNT).try_for_each(|_| self.describe(at, length, SEND_END | SEND_REPORT))
    }
}

/// A queue to receive from: a ring of buffers that frames begin in, and one of further buffers.
pub struct ReceiveQueue {
    /// Both rings.
    pub rings: [Ring; 2],
    /// Its completions.
    pub completions: Completions,
    taken: Cell<usize>,
    given: Cell<usize>,
}

impl ReceiveQueue {
    /// A queue of which all buffers are the device's.
    ///
    /// # Errors
    /// Returns an error if no guest memory is left.
    pub fn new(vm: &Vm) -> Result<Self> {
        let ring = || Ring::aligned(vm, COUNT, STRIDE, SIZE, 512);
        let rings = [ring()?, ring()?];
        let completions = Completions::new(vm, 2 * COUNT)?;
        let queue = Self { rings, completions, taken: Cell::default(), given: Cell::new(COUNT) };
        for index in 0..COUNT {
            queue.give(0, index, SIZE as u32)?;
            queue.give(1, index, SIZE as u32 | BODY)?;
        }
        Ok(queue)
    }

    /// Gives buffer number `number` of ring `which`, counted from the start, to the device; `size`
    /// is its length and type.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn give(&self, which: usize, number: usize, size: u32) -> Result<()> {
        let at = self.rings[which].buffer(number % COUNT).address().0;
        self.describe(which, number, at, size)
    }

    fn describe(&self, which: usize, number: usize, at: u64, size: u32) -> Result<()> {
        let (ring, index) = (&self.rings[which], number % COUNT);
        ring.set_word(index, 0, at as u32)?;
        ring.set_word(index, 1, (at >> 32) as u32)?;
        ring.set_word(index, 3, 0)?;
        let new = if generation(number, COUNT) { GENERATION } else { 0 };
        ring.set_word(index, 2, size | new)
    }

    /// Begins anew, with descriptors that all name `length` bytes at `at`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn fill(&self, at: u64, length: usize) -> Result<()> {
        self.completions.forget()?;
        let length = length as u32 & LENGTH;
        for number in 0..COUNT {
            self.describe(0, number, at, length)?;
            self.describe(1, number, at, length | BODY)?;
        }
        Ok(())
    }

    /// How many frames have arrived.
    ///
    /// # Errors
    /// Returns an error if a completion is not that of a whole frame in a buffer of its own.
    pub fn arrived(&self) -> Result<usize> {
        let mut count = 0;
        while let Some(words) = self.completions.peek(count)? {
            let [first, hash, third, fourth] = words;
            let about = (first & !(0xfff | UNCHECKED), hash, third & ERROR);
            // Nothing is spread by a hash unless that was asked for, and nothing is told of a frame
            // that was not looked into.
            let tells = first & UNCHECKED == 0 || fourth & !GENERATION == 0;
            if about != (BEGIN | END, 0, 0) || !tells {
                return Err(Error::failed(format!("a frame received is told of by {words:x?}")));
            }
            count += 1;
            if count == COUNT {
                break;
            }
        }
        Ok(count)
    }

    /// Takes the next frame.
    ///
    /// # Errors
    /// Returns an error if none has arrived.
    pub fn take(&self) -> Result<Vec<u8>> {
        let Some([first, _, third, _]) = self.completions.peek(0)? else {
            return Err(Error::failed("no frame has arrived"));
        };
        let expected = self.taken.get() % COUNT;
        let index = (first & 0xfff) as usize;
        if index != expected {
            return Err(Error::failed(format!("a frame is in buffer {index}, not {expected}")));
        }
        self.completions.advance();
        self.taken.set(self.taken.get() + 1);
        self.rings[0].bytes(index, (third & LENGTH) as usize)
    }

    /// Gives the buffers of all frames taken back to the device. Returns the index behind the
    /// last.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn recycle(&self) -> Result<u32> {
        for number in self.given.get()..self.taken.get() + COUNT {
            let buffer = self.rings[0].buffer(number % COUNT);
            buffer.write(0, &[0; SIZE])?;
            self.give(0, number, SIZE as u32)?;
        }
        self.given.set(self.taken.get() + COUNT);
        Ok((self.given.get() % COUNT) as u32)
    }
}
