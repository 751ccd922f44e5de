//! The descriptor rings of Intel's gigabit controllers 8254x (PCI/PCI-X Family of Gigabit
//! Ethernet Controllers Software Developer's Manual, chapter 3). The device is `e1000`'s.

use std::cell::Cell;
use std::rc::Rc;

use super::{RDBAH, RDBAL, RDH, RDLEN, RDT};
use crate::qemu::{Buffer, Vm};
use crate::qos::pci::Bar;
use crate::qos::registers::{Register, RegistersExt};
use crate::{Error, Result};

/// Transmit descriptor command (3.3.3.1): end of packet.
pub const CMD_EOP: u8 = 1 << 0;
/// Transmit descriptor command: insert the frame check sequence.
pub const CMD_IFCS: u8 = 1 << 1;
/// Transmit descriptor command: report status.
pub const CMD_RS: u8 = 1 << 3;
/// Descriptor status (3.2.3.1, 3.3.3.2): done.
pub const STA_DD: u8 = 1 << 0;
/// Receive descriptor status: end of packet.
pub const STA_EOP: u8 = 1 << 1;
/// Receive descriptor status: no checksums were verified.
pub const STA_IXSM: u8 = 1 << 2;
/// Receive descriptor status of the end of a frame that is not IP.
pub const STA_RECEIVED: u8 = STA_DD | STA_EOP | STA_IXSM;

/// What the descriptors of a ring look like. Both kinds to send have address, length, command and
/// status at the same places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Those that all members know (3.2.3, 3.3.3).
    Legacy,
    /// The advanced ones of the 82576 (82576 datasheet, 7.1.5 and 7.2.2).
    Advanced,
}

/// Advanced transmit descriptor (82576 datasheet, 7.2.2.3): its type in the second half, that of
/// data, and that it is advanced at all.
pub const ADVANCED_DATA: u64 = 3 << 20 | 1 << 29;
/// Where the length of the whole payload is in the second half of an advanced descriptor.
pub const PAYLOAD_SHIFT: u32 = 46;

/// A ring of descriptors, a buffer behind each, and what the driver keeps of it: the tail.
pub struct Ring {
    registers: Rc<Bar>,
    format: Format,
    /// Whether it is one to receive into.
    receives: bool,
    /// By how many bytes its registers are above those of the receive ring.
    above: u64,
    descriptors: Buffer,
    buffers: Vec<Buffer>,
    tail: Cell<usize>,
}

/// The bytes of a descriptor.
const DESCRIPTOR: usize = 16;
/// Where in it the length is, after the address.
const LENGTH: usize = 8;
/// Where both have their status; a receive descriptor's errors follow.
const STATUS_BYTE: usize = 12;
/// Where both kinds to receive into have the tag.
const SPECIAL: usize = 14;
/// Where an advanced one to receive into has its errors and its length.
const ADVANCED_ERRORS: usize = 11;
const ADVANCED_LENGTH: usize = 12;

impl Ring {
    /// A ring of `count` descriptors, a multiple of eight, with buffers of `size` bytes, at
    /// the registers from `base` on: `RDBAL` or `TDBAL`. The device owns none of them yet.
    ///
    /// # Errors
    /// No guest memory is left.
    pub fn new(
        registers: &Rc<Bar>,
        vm: &Vm,
        base: Register<u32>,
        count: usize,
        size: usize,
    ) -> Result<Self> {
        Self::of_format(registers, vm, base, (count, size), Format::Legacy)
    }

    /// As [`Ring::new`], with descriptors of `format`.
    ///
    /// # Errors
    /// No guest memory is left.
    pub fn of_format(
        registers: &Rc<Bar>,
        vm: &Vm,
        base: Register<u32>,
        (count, size): (usize, usize),
        format: Format,
    ) -> Result<Self> {
        // The 82576 ignores the lower seven bits of the address.
        let descriptors = vm.ram().alloc(count * DESCRIPTOR, 128)?;
        let buffers = (0..count).map(|_| vm.ram().alloc(size, 16)).collect::<Result<Vec<_>>>()?;
        for (index, buffer) in buffers.iter().enumerate() {
            descriptors.write_le64(index * DESCRIPTOR, buffer.address().0)?;
        }
        let (registers, above) = (registers.clone(), base.offset() - RDBAL.offset());
        let tail = Cell::new(0);
        // The registers of receive rings are below those of transmit rings, twice in the 82576.
        let receives = matches!(base.offset(), 0x2800..0x3800 | 0xc000..0xe000);
        let ring = Self { registers, format, receives, above, descriptors, buffers, tail };
        let at = ring.descriptors.address().0;
        ring.set(RDBAL, at as u32)?;
        ring.set(RDBAH, (at >> 32) as u32)?;
        ring.set(RDLEN, ring.descriptors.len() as u32)?;
        ring.set(RDH, 0)?;
        ring.set(RDT, 0)?;
        Ok(ring)
    }

    /// Writes the register of this ring that is called `register` in the receive ring.
    fn set(&self, register: Register<u32>, value: u32) -> Result<()> {
        self.registers.set(register.above(self.above), value)
    }

    /// The descriptor the driver is to use next, whose index the tail is.
    pub fn tail(&self) -> usize {
        self.tail.get()
    }

    /// The index of the descriptor that the device is to use next.
    pub fn head(&self) -> Result<usize> {
        Ok(self.registers.get(RDH.above(self.above))? as usize)
    }

    /// The index `after` descriptors behind `index`.
    pub fn wrap(&self, index: usize, after: usize) -> usize {
        (index + after) % self.buffers.len()
    }

    /// Prepares the next descriptor to send `data` with this command, without telling the
    /// device. Returns its index.
    pub fn put(&self, data: &[u8], command: u8) -> Result<usize> {
        let index = self.tail();
        self.buffers[index].write(0, data)?;
        let at = index * DESCRIPTOR + LENGTH;
        let kind = self.data_bits(data.len());
        self.descriptors.write_le64(at, data.len() as u64 | u64::from(command) << 24 | kind)?;
        self.tail.set(self.wrap(index, 1));
        Ok(index)
    }

    /// What the second half of a transmit descriptor of data has besides length and command, if
    /// the packet has `total` bytes.
    pub fn data_bits(&self, total: usize) -> u64 {
        match self.format {
            Format::Legacy => 0,
            Format::Advanced => ADVANCED_DATA | (total as u64) << PAYLOAD_SHIFT,
        }
    }

    /// What its descriptors look like.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether its descriptors are advanced ones to receive into, whose second half is status,
    /// errors, length and tag (82576 datasheet, 7.1.5.2).
    fn is_advanced_receive(&self) -> bool {
        self.receives && self.format == Format::Advanced
    }

    /// Where in a descriptor the status is.
    fn status_byte(&self) -> usize {
        if self.is_advanced_receive() { LENGTH } else { STATUS_BYTE }
    }

    /// Puts in a descriptor of any kind: its first and its second half. Returns its index.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn put_raw(&self, first: u64, second: u64) -> Result<usize> {
        let index = self.tail();
        self.descriptors.write_le64(index * DESCRIPTOR, first)?;
        self.descriptors.write_le64(index * DESCRIPTOR + LENGTH, second)?;
        self.tail.set(self.wrap(index, 1));
        Ok(index)
    }

    /// The tag that was stripped from the frame in a receive descriptor.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn special(&self, index: usize) -> Result<u16> {
        self.descriptors.read_le16(index * DESCRIPTOR + SPECIAL)
    }

    /// A descriptor: its first and its second half.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn halves(&self, index: usize) -> Result<(u64, u64)> {
        let half = |at: usize| self.descriptors.read_le64(index * DESCRIPTOR + at);
        Ok((half(0)?, half(LENGTH)?))
    }

    /// Writes the second half of a descriptor.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set_second_half(&self, index: usize, value: u64) -> Result<()> {
        self.descriptors.write_le64(index * DESCRIPTOR + LENGTH, value)
    }

    /// Writes the status of a descriptor, as a driver that does not clear it leaves it.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn set_status(&self, index: usize, status: u8) -> Result<()> {
        self.descriptors.write(index * DESCRIPTOR + self.status_byte(), &[status])
    }

    /// The buffer behind a descriptor.
    pub fn buffer(&self, index: usize) -> &Buffer {
        &self.buffers[index]
    }

    /// How many descriptors it has.
    pub fn count(&self) -> usize {
        self.buffers.len()
    }

    /// Gives the next `count` descriptors to the device, to receive into.
    pub fn give(&self, count: usize) -> Result<()> {
        for _ in 0..count {
            let index = self.tail();
            // What is written back may stand where the address was.
            let address = self.buffers[index].address().0;
            self.descriptors.write_le64(index * DESCRIPTOR, address)?;
            self.descriptors.write_le64(index * DESCRIPTOR + LENGTH, 0)?;
            self.buffers[index].write(0, &vec![0; self.buffers[index].len()])?;
            self.tail.set(self.wrap(index, 1));
        }
        self.ring()
    }

    /// Gives all descriptors but one to the device, with buffers at guest address `at`, and frames
    /// of `length` bytes to send, cut to what a descriptor can hold.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn fill(&self, at: u64, length: usize) -> Result<()> {
        let length = length.min(usize::from(u16::MAX));
        let command = u64::from(CMD_EOP | CMD_IFCS | CMD_RS) << 24;
        let second = match self.receives {
            true => 0,
            false => length as u64 | command | self.data_bits(length),
        };
        for index in 0..self.count() {
            self.descriptors.write_le64(index * DESCRIPTOR, at)?;
            self.descriptors.write_le64(index * DESCRIPTOR + LENGTH, second)?;
        }
        self.give_all()
    }

    /// Has the ring begin at guest address `at`, and all its descriptors but one be the device's.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn begin_at(&self, at: u64) -> Result<()> {
        self.set(RDBAL, at as u32)?;
        self.set(RDBAH, (at >> 32) as u32)?;
        self.give_all()
    }

    /// Puts the tail before the head; a ring to send from is not told yet.
    fn give_all(&self) -> Result<()> {
        self.tail.set(self.wrap(self.head()?, self.count() - 1));
        if self.receives { self.ring() } else { Ok(()) }
    }

    /// Tells the device of the tail.
    pub fn ring(&self) -> Result<()> {
        self.set(RDT, self.tail() as u32)
    }

    /// The status of a descriptor.
    pub fn status(&self, index: usize) -> Result<u8> {
        let mut status = [0];
        self.descriptors.read(index * DESCRIPTOR + self.status_byte(), &mut status)?;
        Ok(status[0])
    }

    /// Whether a descriptor is done, and then with the status `expected`.
    ///
    /// # Errors
    /// The status has other bits, or is done without all of these.
    pub fn is_done(&self, index: usize, expected: u8) -> Result<bool> {
        let status = self.status(index)?;
        let is_done = status & STA_DD != 0;
        // The other bits may show before DD.
        if status & !expected != 0 || is_done && status != expected {
            let why = format!("status of descriptor {index}: {status:#04x}, not {expected:#04x}");
            return Err(Error::failed(why));
        }
        Ok(is_done)
    }

    /// The errors of a receive descriptor.
    pub fn errors(&self, index: usize) -> Result<u8> {
        let mut errors = [0];
        let at = if self.is_advanced_receive() { ADVANCED_ERRORS } else { STATUS_BYTE + 1 };
        self.descriptors.read(index * DESCRIPTOR + at, &mut errors)?;
        Ok(errors[0])
    }

    /// The bytes that a receive descriptor says are in its buffer.
    ///
    /// # Errors
    /// It says more than the buffer has.
    pub fn received(&self, index: usize) -> Result<Vec<u8>> {
        let at = if self.is_advanced_receive() { ADVANCED_LENGTH } else { LENGTH };
        let length = self.descriptors.read_le16(index * DESCRIPTOR + at)?;
        let mut bytes = vec![0; length.into()];
        self.buffers[index].read(0, &mut bytes)?;
        Ok(bytes)
    }

    /// What is in the descriptors and all buffers.
    pub fn memory(&self) -> Result<Vec<u8>> {
        let all = std::iter::once(&self.descriptors).chain(&self.buffers);
        all.map(Buffer::to_vec).collect::<Result<Vec<_>>>().map(|all| all.concat())
    }
}
