//! Block devices as an interface: the operations of a disk, such as a read or a flush. Which
//! controller it is behind, and how requests get there, is its driver's affair.

use std::rc::Rc;

use crate::qemu::{Buffer, Image, MIB, Vm};
use crate::{Error, Result, interface};

/// The image of a disk that a suite compares with.
pub const DISK: Image = Image { name: "disk", size: 16 * MIB };
/// The serial number that disks are given.
pub const SERIAL: &str = "qgraph-disk";
/// What all addresses are multiples of where two pieces of one request meet, in bytes.
pub const PAGE: usize = 4096;

/// What a device says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The capacity in blocks.
    pub blocks: u64,
    /// The size of a logical block in bytes, the unit of requests.
    pub block_size: usize,
    /// The serial number, without what pads it.
    pub serial: String,
    /// The model, without what pads it, if the device tells one.
    pub model: Option<String>,
}

/// What a device, set up by [`BlockDevice::start`], is able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many blocks a request has at the most, as the device says or its specification.
    pub most_blocks: usize,
    /// The fewest blocks above that which are refused; `None` if a request cannot ask for more.
    pub too_many: Option<usize>,
    /// What the address of memory must be a multiple of, in bytes.
    pub alignment: usize,
    /// The model that an emulator's device should tell.
    pub model: Option<&'static str>,
    /// Whether blocks can be given up by [`BlockDevice::trim`].
    pub trims: bool,
    /// Whether that is a hint: past the end it does nothing, and is done all the same.
    pub trim_is_hint: bool,
    /// Whether blocks can be cleared without data, by [`BlockDevice::write_zeroes`].
    pub writes_zeroes: bool,
}

/// A piece of guest memory that a request reads or writes.
#[derive(Debug, Clone, Copy)]
pub struct Piece {
    /// Guest-physical address.
    pub address: u64,
    /// Length in bytes.
    pub length: usize,
}

impl Piece {
    /// `length` bytes from `offset` on of `buffer`.
    ///
    /// # Panics
    /// If the buffer is shorter.
    pub fn of(buffer: &Buffer, offset: usize, length: usize) -> Self {
        assert!(offset + length <= buffer.len(), "a piece that is not in its buffer");
        Self { address: buffer.address().0 + offset as u64, length }
    }

    /// All of `buffer`.
    pub fn whole(buffer: &Buffer) -> Self {
        Self::of(buffer, 0, buffer.len())
    }
}

/// What became of a request, as the device has reported it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// It was done.
    Done,
    /// Blocks are not on the device: it was refused.
    PastTheEnd,
    /// The request has more blocks than the device takes.
    TooMany,
}

impl Outcome {
    /// Makes sure that the request was done.
    ///
    /// # Errors
    /// Returns an error if it was not.
    pub fn done(self, what: &str) -> Result<()> {
        match self {
            Self::Done => Ok(()),
            other => Err(Error::failed(format!("{what}: {other:?}"))),
        }
    }
}

/// A disk with the image [`DISK`] and the serial number [`SERIAL`]. Until
/// [`BlockDevice::start`] it takes no requests. A request of several pieces has them meet at
/// multiples of [`PAGE`]; all but [`BlockDevice::start`] fail if the device reports another
/// error than [`Outcome`] names.
pub trait BlockDevice {
    /// Resets the device by software and sets it up, so that it takes requests.
    ///
    /// # Errors
    /// Returns an error if the device does not do it, or no guest memory is left.
    fn start(&self, vm: &Rc<Vm>) -> Result<()>;

    /// What the device says of itself.
    ///
    /// # Errors
    /// Returns an error if the device does not tell, or tells what cannot be.
    fn identify(&self) -> Result<Identity>;

    /// What it is able to do.
    ///
    /// # Errors
    /// Returns an error if the device does not tell.
    fn limits(&self) -> Result<Limits>;

    /// Reads from block `first` on into `memory`, whose length is a multiple of the block size.
    ///
    /// # Errors
    /// Returns an error if the request does not end.
    fn read(&self, first: u64, memory: &[Piece]) -> Result<Outcome>;

    /// Writes `memory` to the device from block `first` on.
    ///
    /// # Errors
    /// Returns an error if the request does not end.
    fn write(&self, first: u64, memory: &[Piece]) -> Result<Outcome>;

    /// Has the device keep what was written before.
    ///
    /// # Errors
    /// Returns an error if the request does not end.
    fn flush(&self) -> Result<Outcome>;

    /// Gives `count` blocks up from `first` on: they read as zeroes afterwards, since their image
    /// has a hole there.
    ///
    /// # Errors
    /// [`Error::Skipped`] if the device cannot; or the request does not end.
    fn trim(&self, _first: u64, _count: usize) -> Result<Outcome> {
        Err(Error::skipped("the device cannot trim"))
    }

    /// Clears `count` blocks from `first` on.
    ///
    /// # Errors
    /// [`Error::Skipped`] if the device cannot; or the request does not end.
    fn write_zeroes(&self, _first: u64, _count: usize) -> Result<Outcome> {
        Err(Error::skipped("the device cannot write zeroes"))
    }

    /// Finds the device again after a reset of the machine. The device that is returned is not
    /// started.
    ///
    /// # Errors
    /// [`Error::Skipped`] if its driver cannot find it again; or it is not there.
    fn remapped(&self) -> Result<Rc<dyn BlockDevice>>;
}

interface!(dyn BlockDevice = "block");
