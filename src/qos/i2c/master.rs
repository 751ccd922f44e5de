//! A controller that works byte by byte: what its driver implements, and the bus that follows
//! from it.

use super::{I2cBus, OnBus, not_acknowledged};
use crate::qos::interrupt::InterruptLine;
use crate::{Error, Result};

/// What follows an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Bytes are written, or none.
    Write,
    /// That many bytes are read, at least one.
    Read(usize),
}

impl Direction {
    /// The address as it goes over the bus, with the bit for the direction.
    pub fn with_address(self, address: u8) -> u8 {
        address << 1 | u8::from(matches!(self, Self::Read(_)))
    }
}

/// A controller that works byte by byte. Each method looks at its whole status, and returns
/// [`Error::Failed`] where that is not as the manual says.
pub trait ByteMaster {
    /// Makes a start condition, or a repeated one if `again`, and sends the address. Returns
    /// whether it is acknowledged.
    ///
    /// # Errors
    /// Returns an error if the status is another than that of an address.
    fn start(&self, address: u8, direction: Direction, again: bool) -> Result<bool>;

    /// Sends a byte. Returns whether it is acknowledged.
    ///
    /// # Errors
    /// Returns an error if the status is another than that of a byte sent.
    fn put(&self, byte: u8) -> Result<bool>;

    /// Takes the byte number `index` of `len`. The last one is not acknowledged.
    ///
    /// # Errors
    /// Returns an error if the status is another than that of a byte received.
    fn get(&self, index: usize, len: usize) -> Result<u8>;

    /// Makes a stop condition, whatever came before it, and sees that the bus is free.
    ///
    /// # Errors
    /// Returns an error if the status is another than that of a free bus.
    fn stop(&self) -> Result<()>;

    /// Where the bus is in QEMU's object model, where that is known.
    fn on_bus(&self) -> Option<&OnBus>;

    /// The controller's interrupt line, from now on watched, where it is known where it ends.
    ///
    /// # Errors
    /// Returns an error if QEMU cannot watch it.
    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        Ok(None)
    }
}

/// Runs `transfer`, and then makes a stop, whether it failed or not.
fn stopped<T>(master: &impl ByteMaster, transfer: impl FnOnce() -> Result<T>) -> Result<T> {
    let result = transfer();
    let stop = master.stop();
    let result = result?;
    stop.map(|()| result)
}

fn write(master: &impl ByteMaster, address: u8, data: &[u8]) -> Result<()> {
    if !master.start(address, Direction::Write, false)? {
        return Err(not_acknowledged(address, "its address"));
    }
    for &byte in data {
        if !master.put(byte)? {
            return Err(not_acknowledged(address, &format!("the byte {byte:#04x}")));
        }
    }
    Ok(())
}

fn read(master: &impl ByteMaster, address: u8, into: &mut [u8], again: bool) -> Result<()> {
    if into.is_empty() {
        return Err(Error::failed("a read from an I2C device has at least one byte"));
    }
    let len = into.len();
    if !master.start(address, Direction::Read(len), again)? {
        return Err(not_acknowledged(address, "its address"));
    }
    for (index, byte) in into.iter_mut().enumerate() {
        *byte = master.get(index, len)?;
    }
    Ok(())
}

impl<M: ByteMaster> I2cBus for M {
    fn send(&self, address: u8, data: &[u8]) -> Result<()> {
        stopped(self, || write(self, address, data))
    }

    fn recv(&self, address: u8, into: &mut [u8]) -> Result<()> {
        stopped(self, || read(self, address, into, false))
    }

    fn send_recv(&self, address: u8, data: &[u8], into: &mut [u8]) -> Result<()> {
        stopped(self, || {
            write(self, address, data)?;
            read(self, address, into, true)
        })
    }

    fn probe(&self, address: u8) -> Result<bool> {
        stopped(self, || self.start(address, Direction::Write, false))
    }

    fn on_bus(&self) -> Option<&OnBus> {
        ByteMaster::on_bus(self)
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        ByteMaster::interrupt(self)
    }
}
