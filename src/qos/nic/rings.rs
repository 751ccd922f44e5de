//! Two rings of descriptors with a buffer behind each, and the places in them. What a descriptor
//! looks like is a [`Layout`]; which registers the rings are given to is the driver's concern.

use std::cell::{Cell, RefCell};

use crate::protocol::Endian;
use crate::qemu::{Buffer, Vm};
use crate::{Error, Result};

/// Descriptors in guest memory, a buffer behind each.
pub struct Ring {
    descriptors: Buffer,
    stride: usize,
    buffers: Vec<Buffer>,
    order: Endian,
}

impl Ring {
    /// `count` descriptors of `stride` bytes with buffers of `size` bytes. All descriptors are
    /// zeros.
    ///
    /// # Errors
    /// Returns an error if no guest memory is left.
    pub fn new(vm: &Vm, count: usize, stride: usize, size: usize) -> Result<Self> {
        Self::aligned(vm, count, stride, size, 64)
    }

    /// As [`Ring::new`], with the first descriptor at a multiple of `alignment` bytes.
    ///
    /// # Errors
    /// Returns an error if no guest memory is left.
    pub fn aligned(
        vm: &Vm,
        count: usize,
        stride: usize,
        size: usize,
        alignment: u64,
    ) -> Result<Self> {
        let descriptors = vm.ram().alloc(count * stride, alignment)?;
        let buffers = (0..count).map(|_| vm.ram().alloc(size, 64)).collect::<Result<_>>()?;
        Ok(Self { descriptors, stride, buffers, order: Endian::Little })
    }

    /// How many descriptors it has.
    pub fn count(&self) -> usize {
        self.buffers.len()
    }

    /// Whether descriptor `index` is the last.
    pub fn is_last(&self, index: usize) -> bool {
        index + 1 == self.count()
    }

    /// The guest-physical address of the first descriptor.
    pub fn address(&self) -> u64 {
        self.descriptors.address().0
    }

    /// The guest-physical address of descriptor `index`, or of the one that follows the last.
    pub fn address_of(&self, index: usize) -> u64 {
        self.address() + (index % self.count() * self.stride) as u64
    }

    /// The buffer behind descriptor `index`.
    pub fn buffer(&self, index: usize) -> &Buffer {
        &self.buffers[index]
    }

    /// All descriptors.
    pub fn descriptors(&self) -> &Buffer {
        &self.descriptors
    }

    /// This ring with the words of its descriptors in this order of bytes. A ring that is not told one
    /// has the lowest byte first.
    #[must_use]
    pub fn ordered(self, order: Endian) -> Self {
        Self { order, ..self }
    }

    fn ordered_word(&self, word: u32) -> u32 {
        match self.order {
            Endian::Little => word,
            Endian::Big => word.swap_bytes(),
        }
    }

    /// Word number `word` of descriptor `index`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn word(&self, index: usize, word: usize) -> Result<u32> {
        self.descriptors.read_le32(index * self.stride + 4 * word).map(|it| self.ordered_word(it))
    }

    /// Writes word number `word` of descriptor `index`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set_word(&self, index: usize, word: usize, value: u32) -> Result<()> {
        let value = self.ordered_word(value);
        self.descriptors.write_le32(index * self.stride + 4 * word, value)
    }

    /// The first `length` bytes of the buffer behind descriptor `index`.
    ///
    /// # Errors
    /// Returns an error if the buffer is shorter.
    pub fn bytes(&self, index: usize, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.buffers[index].read(0, &mut bytes)?;
        Ok(bytes)
    }

    /// What is in all descriptors and buffers.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn memory(&self) -> Result<Vec<u8>> {
        super::contents(std::iter::once(&self.descriptors).chain(&self.buffers))
    }
}

/// What the descriptors of a device look like.
pub trait Layout {
    /// The order of the bytes in their words.
    fn order(&self) -> Endian {
        Endian::Little
    }

    /// Makes transmit descriptor `index` one of a frame of `length` bytes in the buffer at guest
    /// address `buffer`.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn put(&self, ring: &Ring, index: usize, buffer: u64, length: usize) -> Result<()>;

    /// Whether transmit descriptor `index` is reported as sent.
    ///
    /// # Errors
    /// Returns an error if its status is that of an error.
    fn is_sent(&self, ring: &Ring, index: usize) -> Result<bool>;

    /// Gives receive descriptor `index`, whose buffer at guest address `buffer` is zeros, to the
    /// device.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn give(&self, ring: &Ring, index: usize, buffer: u64) -> Result<()>;

    /// The length of the frame that is in receive descriptor `index`, check sequence included if
    /// the device stores it; `None` if there is none yet.
    ///
    /// # Errors
    /// Returns an error if its status is another than that of a whole frame.
    fn received(&self, ring: &Ring, index: usize) -> Result<Option<usize>>;
}

/// The ring to send from, the ring to receive into, and the driver's places in both.
pub struct Rings {
    layout: Box<dyn Layout>,
    /// The ring to send from.
    pub transmit: Ring,
    /// The ring to receive into.
    pub receive: Ring,
    /// How many frames were queued, how many of them reported as sent.
    queued: Cell<usize>,
    sent: Cell<usize>,
    /// How many frames were taken, how many of their descriptors given back.
    taken: Cell<usize>,
    given: Cell<usize>,
    /// The bytes of a check sequence behind a frame, and that of the last one taken.
    behind: usize,
    sequence: RefCell<Option<[u8; 4]>>,
}

impl Rings {
    /// Rings of `count` descriptors of `stride` bytes with buffers of `size` bytes. The receive
    /// descriptors are given to the device. With `stores_sequence`, a frame that is received ends
    /// with its check sequence.
    ///
    /// # Errors
    /// Returns an error if no guest memory is left.
    pub fn new(
        vm: &Vm,
        layout: impl Layout + 'static,
        (count, stride, size): (usize, usize, usize),
        stores_sequence: bool,
    ) -> Result<Self> {
        let ring = || Ring::new(vm, count, stride, size).map(|ring| ring.ordered(layout.order()));
        let (transmit, receive) = (ring()?, ring()?);
        let rings = Self {
            layout: Box::new(layout),
            transmit,
            receive,
            queued: Cell::default(),
            sent: Cell::default(),
            taken: Cell::default(),
            given: Cell::default(),
            behind: if stores_sequence { 4 } else { 0 },
            sequence: RefCell::default(),
        };
        (0..count).try_for_each(|index| rings.give(index))?;
        Ok(rings)
    }

    fn give(&self, index: usize) -> Result<()> {
        let buffer = self.receive.buffer(index).address().0;
        self.layout.give(&self.receive, index, buffer)
    }

    /// Gives all descriptors of both rings to the device, with buffers at guest address `at`, and
    /// frames of `length` bytes to send. Neither need make sense.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn fill(&self, at: u64, length: usize) -> Result<()> {
        (0..self.transmit.count()).try_for_each(|index| {
            self.layout.put(&self.transmit, index, at, length)?;
            self.layout.give(&self.receive, index, at)
        })
    }

    /// Puts a frame into the next transmit descriptor. Returns its index.
    ///
    /// # Errors
    /// Returns an error if the ring is full, or the frame longer than a buffer.
    pub fn queue(&self, frame: &[u8]) -> Result<usize> {
        let (queued, count) = (self.queued.get(), self.transmit.count());
        if queued - self.sent.get() == count {
            return Err(Error::failed(format!("all {count} descriptors hold frames")));
        }
        let index = queued % count;
        self.transmit.buffer(index).write(0, frame)?;
        let buffer = self.transmit.buffer(index).address().0;
        self.layout.put(&self.transmit, index, buffer, frame.len())?;
        self.queued.set(queued + 1);
        Ok(index)
    }

    /// How many frames more are reported as sent since this was asked.
    ///
    /// # Errors
    /// Returns the error of [`Layout::is_sent`] if a descriptor cannot be read.
    pub fn sent(&self) -> Result<usize> {
        let before = self.sent.get();
        while self.sent.get() < self.queued.get() {
            let index = self.sent.get() % self.transmit.count();
            if !self.layout.is_sent(&self.transmit, index)? {
                break;
            }
            self.sent.set(self.sent.get() + 1);
        }
        Ok(self.sent.get() - before)
    }

    /// The index of the receive descriptor that the next frame comes into.
    pub fn next(&self) -> usize {
        self.taken.get() % self.receive.count()
    }

    /// The length of the `after`th frame behind the next, with what is behind it.
    fn length(&self, after: usize) -> Result<Option<usize>> {
        let index = (self.taken.get() + after) % self.receive.count();
        self.layout.received(&self.receive, index)
    }

    /// How many frames have arrived that were not taken.
    ///
    /// # Errors
    /// Returns the error of [`Layout::received`] if a descriptor cannot be read.
    pub fn arrived(&self) -> Result<usize> {
        let owned = self.receive.count() - (self.taken.get() - self.given.get());
        for after in 0..owned {
            if self.length(after)?.is_none() {
                return Ok(after);
            }
        }
        Ok(owned)
    }

    /// Takes the next frame, without its check sequence.
    ///
    /// # Errors
    /// Returns an error if none has arrived, or it is shorter than a check sequence.
    pub fn take(&self) -> Result<Vec<u8>> {
        if self.arrived()? == 0 {
            return Err(Error::failed("no frame has arrived"));
        }
        let length = self.length(0)?.unwrap_or_default();
        let mut frame = self.receive.bytes(self.next(), length)?;
        let Some(end) = length.checked_sub(self.behind) else {
            return Err(Error::failed(format!(
                "a frame of {length} bytes, check sequence included"
            )));
        };
        let sequence = frame.split_off(end).try_into().ok();
        self.sequence.replace(sequence);
        self.taken.set(self.taken.get() + 1);
        Ok(frame)
    }

    /// The check sequence of the frame taken last; `None` if the device stores none.
    pub fn check_sequence(&self) -> Option<[u8; 4]> {
        *self.sequence.borrow()
    }

    /// Gives the descriptors of all frames taken back to the device. Returns how many these are.
    ///
    /// # Errors
    /// Returns the error of [`Layout::give`] if a descriptor cannot be written.
    pub fn recycle(&self) -> Result<usize> {
        let (given, taken) = (self.given.get(), self.taken.get());
        for number in given..taken {
            let index = number % self.receive.count();
            let buffer = self.receive.buffer(index);
            buffer.write(0, &vec![0; buffer.len()])?;
            self.give(index)?;
        }
        self.given.set(taken);
        Ok(taken - given)
    }

    /// What is in all descriptors and buffers.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn memory(&self) -> Result<Vec<u8>> {
        Ok([self.transmit.memory()?, self.receive.memory()?].concat())
    }
}
