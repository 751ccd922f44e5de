//! I2C: what a bus does, and a device on one with registers behind a pointer byte. Which
//! controller drives the bus is the drivers' affair (I2C-bus specification UM10204).

mod master;
mod on_bus;
pub mod pmbus;

use std::collections::BTreeSet;
use std::rc::Rc;

pub use self::master::{ByteMaster, Direction};
pub use self::on_bus::OnBus;
use crate::graph::Site;
use crate::protocol::Endian;
use crate::qos::interrupt::InterruptLine;
use crate::qos::registers::{Registers, Width};
use crate::{Error, Result, interface};

/// A bus with one controller on it.
pub trait I2cBus {
    /// Writes `data` to the device at the 7-bit `address`: start, address, data, stop.
    ///
    /// # Errors
    /// The device does not acknowledge its address or a byte.
    fn send(&self, address: u8, data: &[u8]) -> Result<()>;

    /// Fills `into` from the device at the 7-bit `address`, no byte more: start, address,
    /// data, stop. `into` must not be empty.
    ///
    /// # Errors
    /// The device does not acknowledge its address.
    fn recv(&self, address: u8, into: &mut [u8]) -> Result<()>;

    /// Writes `data` to the device at the 7-bit `address` and fills `into` from it, with a
    /// repeated start in between instead of a stop.
    ///
    /// # Errors
    /// The device does not acknowledge its address or a byte.
    fn send_recv(&self, address: u8, data: &[u8], into: &mut [u8]) -> Result<()>;

    /// Whether a device acknowledges the 7-bit `address` for a write: start, address, stop.
    ///
    /// # Errors
    /// The controller's status is another than that of an address that is acknowledged, or of
    /// one that is not.
    fn probe(&self, address: u8) -> Result<bool>;

    /// Where the bus is in QEMU's object model, where that is known.
    fn on_bus(&self) -> Option<&OnBus> {
        None
    }

    /// The addresses of all devices that answer on the bus now, as far as they are known.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    fn taken(&self) -> Result<BTreeSet<u8>> {
        self.on_bus().map_or_else(|| Ok(BTreeSet::new()), OnBus::addresses)
    }

    /// The interrupt line of the controller, which transfers use, from now on watched, where it
    /// is known where it ends.
    ///
    /// # Errors
    /// Returns an error if QEMU cannot watch it.
    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        Ok(None)
    }
}

interface!(dyn I2cBus = "i2c-bus");

/// A bus behind a multiplexer. Only devices that consume it are plugged in there: one that makes
/// transfers of every kind is enough to see that they come through.
pub struct I2cChannel(pub Rc<dyn I2cBus>);

interface!(I2cChannel = "i2c-channel"; counts as dyn I2cBus);

/// What a controller's driver says of a device that does not acknowledge.
pub fn not_acknowledged(address: u8, what: &str) -> Error {
    Error::failed(format!("the I2C device at {address:#04x} does not acknowledge {what}"))
}

/// A device whose first written byte is the number of a register. Wide registers have the
/// byte order of its data sheet.
#[derive(Clone)]
pub struct I2cDevice {
    bus: Rc<dyn I2cBus>,
    address: u8,
    order: Endian,
}

impl I2cDevice {
    /// The device that this path has plugged into `bus`.
    ///
    /// # Errors
    /// Returns an error if the address of the edge is not of the form `0xNN`, or
    /// [`Error::Skipped`] if QEMU has plugged it into another bus.
    pub fn plugged(bus: Rc<dyn I2cBus>, site: &Site, order: Endian) -> Result<Self> {
        let address = site.plug.address;
        let number = address.strip_prefix("0x").and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let number = number.filter(|number| *number < 0x80).ok_or_else(|| {
            Error::failed(format!("{}: {address:?} is no I2C address", site.node))
        })?;
        // Where buses share a name, QEMU cannot be told which of them is meant.
        if let Some(on_bus) = bus.on_bus()
            && (site.plug.bus.is_empty() || on_bus.shares_its_name())
            && !on_bus.has_plugged(number)?
        {
            let why = "other buses have the same name, and QEMU plugs the device into another";
            return Err(Error::skipped(why));
        }
        Ok(Self::new(bus, number, order))
    }

    /// The device at the 7-bit `address`.
    pub fn new(bus: Rc<dyn I2cBus>, address: u8, order: Endian) -> Self {
        Self { bus, address, order }
    }

    /// Its registers, one at a time.
    pub fn registers(&self) -> &dyn Registers {
        self
    }

    /// Writes bytes as they are, the first of them the register's number or a command.
    ///
    /// # Errors
    /// Not acknowledged.
    pub fn send(&self, data: &[u8]) -> Result<()> {
        self.bus.send(self.address, data)
    }

    /// Reads bytes from where the device's register pointer is.
    ///
    /// # Errors
    /// Not acknowledged.
    pub fn recv<const N: usize>(&self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.bus.recv(self.address, &mut bytes)?;
        Ok(bytes)
    }

    /// The bus that the device is on.
    pub fn bus(&self) -> &dyn I2cBus {
        &*self.bus
    }

    /// The 7-bit address of the device.
    pub fn address(&self) -> u8 {
        self.address
    }

    /// Reads bytes from `register` on.
    ///
    /// # Errors
    /// Not acknowledged.
    pub fn read_from<const N: usize>(&self, register: u8) -> Result<[u8; N]> {
        self.send(&[register])?;
        self.recv()
    }

    /// Writes bytes from `register` on.
    ///
    /// # Errors
    /// Not acknowledged.
    pub fn write_from(&self, register: u8, data: &[u8]) -> Result<()> {
        self.send(&[&[register], data].concat())
    }
}

fn number(register: u64) -> Result<u8> {
    u8::try_from(register).map_err(|_| Error::failed(format!("{register:#x} is no I2C register")))
}

impl Registers for I2cDevice {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        self.send(&[number(offset)?])?;
        let (mut bytes, len) = ([0; 8], width.bytes());
        self.bus.recv(self.address, &mut bytes[..len])?;
        if self.order == Endian::Big {
            bytes[..len].reverse();
        }
        Ok(u64::from_le_bytes(bytes))
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        let mut bytes = value.to_le_bytes();
        let bytes = &mut bytes[..width.bytes()];
        if self.order == Endian::Big {
            bytes.reverse();
        }
        self.write_from(number(offset)?, bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::qos::registers::RegistersExt;

    /// A bus that keeps what was sent and answers every read with 1, 2, 3, …
    #[derive(Default)]
    struct Fake(RefCell<Vec<(u8, Vec<u8>)>>);

    impl I2cBus for Fake {
        fn send(&self, address: u8, data: &[u8]) -> Result<()> {
            self.0.borrow_mut().push((address, data.to_vec()));
            Ok(())
        }

        fn recv(&self, _: u8, into: &mut [u8]) -> Result<()> {
            into.iter_mut().zip(1..).for_each(|(byte, number)| *byte = number);
            Ok(())
        }

        fn send_recv(&self, address: u8, data: &[u8], into: &mut [u8]) -> Result<()> {
            self.send(address, data)?;
            self.recv(address, into)
        }

        fn probe(&self, _: u8) -> Result<bool> {
            Ok(true)
        }
    }

    /// Would catch registers with their bytes in the wrong order, or with the neighbour's.
    #[test]
    fn registers_have_the_byte_order_of_the_device() -> Result<()> {
        for (order, read, sent) in
            [(Endian::Big, 0x0102, [7, 0xab, 0xcd]), (Endian::Little, 0x0201, [7, 0xcd, 0xab])]
        {
            let bus = Rc::new(Fake::default());
            let device = I2cDevice::new(bus.clone(), 0x49, order);
            assert_eq!(device.registers().read16(6)?, read);
            device.registers().write16(7, 0xabcd)?;
            assert_eq!(device.registers().read8(8)?, 1);
            let sent = [vec![6], sent.to_vec(), vec![8]].map(|bytes| (0x49, bytes));
            assert_eq!(*bus.0.borrow(), sent);
            assert!(device.registers().read8(0x100).is_err());
        }
        Ok(())
    }
}
