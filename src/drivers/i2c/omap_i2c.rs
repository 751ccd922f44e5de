//! The I2C controller of the OMAP 2 family (OMAP2420 reference manual, chapter "I2C").

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Plug, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::i2c::{I2cBus, not_acknowledged};
use crate::qos::registers::{Mmio, Registers, RegistersExt};
use crate::qos::wait_until;
use crate::{Error, Result, discovered, driver};

/// Module revision.
const I2C_REV: u64 = 0x00;
/// Status; bits are cleared by writing ones.
const I2C_STAT: u64 = 0x08;
/// How many bytes a transfer has.
const I2C_CNT: u64 = 0x18;
/// Two bytes of data, the first one in the low half.
const I2C_DATA: u64 = 0x1c;
/// Configuration: starts a transfer, too.
const I2C_CON: u64 = 0x24;
/// Slave address.
const I2C_SA: u64 = 0x2c;

/// STAT: the last data are a single byte (SBD).
const SINGLE_BYTE: u16 = 1 << 15;
/// STAT: the bus is busy (BB).
const BUS_BUSY: u16 = 1 << 12;
/// STAT: there is room in I2C_DATA (XRDY).
const TRANSMIT_READY: u16 = 1 << 4;
/// STAT: there are data in I2C_DATA (RRDY).
const RECEIVE_READY: u16 = 1 << 3;
/// STAT: the registers may be accessed, the transfer is over (ARDY).
const ACCESS_READY: u16 = 1 << 2;
/// STAT: no acknowledge (NACK).
const NO_ACKNOWLEDGE: u16 = 1 << 1;

/// CON: the controller is enabled.
const I2C_EN: u16 = 1 << 15;
/// CON: master.
const MST: u16 = 1 << 10;
/// CON: transmit.
const TRX: u16 = 1 << 9;
/// CON: stop when as many bytes went over the bus as I2C_CNT says.
const STP: u16 = 1 << 1;
/// CON: start.
const STT: u16 = 1 << 0;

/// The revision of the OMAP 2420's module.
const REVISION: u16 = 0x34;

/// QEMU's `omap_i2c`.
pub struct OmapI2c {
    registers: Mmio,
}

impl OmapI2c {
    /// The controller whose registers begin at `base`, enabled.
    ///
    /// # Errors
    /// It is of another revision, or not there.
    pub fn new(vm: &Rc<Vm>, base: u64) -> Result<Self> {
        let controller = Self { registers: Mmio::new(vm, base, Endian::Little) };
        let revision = controller.registers().read16(I2C_REV)?;
        if revision != REVISION {
            return Err(Error::failed(format!("I2C_REV says {revision:#x}, not {REVISION:#x}")));
        }
        controller.registers().write16(I2C_CON, I2C_EN)?;
        Ok(controller)
    }

    fn registers(&self) -> &dyn Registers {
        &self.registers
    }

    /// Begins a transfer that stops by itself after `len` bytes.
    fn start(&self, address: u8, len: usize, direction: u16) -> Result<()> {
        let count = u16::try_from(len);
        let count =
            count.map_err(|_| Error::failed(format!("{len} bytes are too many for I2C")))?;
        self.registers().write16(I2C_STAT, !0)?;
        self.registers().write16(I2C_SA, address.into())?;
        self.registers().write16(I2C_CNT, count)?;
        self.registers().write16(I2C_CON, I2C_EN | MST | STT | STP | direction)
    }

    /// Waits until I2C_STAT is as `done` wants it, and sees that it is `expected` then but for
    /// the bits of `either`.
    fn await_status(
        &self,
        address: u8,
        what: &str,
        done: impl Fn(u16) -> bool,
        expected: u16,
        either: u16,
    ) -> Result<()> {
        let mut status = 0;
        wait_until(self.registers.vm(), what, || {
            status = self.registers().read16(I2C_STAT)?;
            if status & NO_ACKNOWLEDGE != 0 {
                return Err(not_acknowledged(address, what));
            }
            Ok(done(status))
        })?;
        if status & !either != expected {
            return Err(Error::failed(format!(
                "I2C_STAT is {status:#06x} instead of {expected:#06x}, waiting for {what}"
            )));
        }
        Ok(())
    }

    fn await_ready(&self, address: u8, bit: u16, what: &str) -> Result<()> {
        // All that is received may be there before it is asked for, and the bus free again.
        let either = SINGLE_BYTE | BUS_BUSY;
        self.await_status(address, what, |status| status & bit != 0, bit, either)
    }

    fn await_stop(&self, address: u8, direction: u16) -> Result<()> {
        let is_free = |status| status & BUS_BUSY == 0;
        self.await_status(address, "a stop", is_free, ACCESS_READY, SINGLE_BYTE)?;
        let (control, expected) = (self.registers().read16(I2C_CON)?, I2C_EN | direction);
        if control != expected {
            return Err(Error::failed(format!(
                "I2C_CON after a stop is {control:#06x} instead of {expected:#06x}"
            )));
        }
        Ok(())
    }
}

impl I2cBus for OmapI2c {
    fn send(&self, address: u8, data: &[u8]) -> Result<()> {
        self.start(address, data.len(), TRX)?;
        for pair in data.chunks(2) {
            self.await_ready(address, TRANSMIT_READY, "its address or a byte")?;
            let word = u16::from_le_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
            self.registers().write16(I2C_DATA, word)?;
        }
        self.await_stop(address, TRX)
    }

    fn recv(&self, address: u8, into: &mut [u8]) -> Result<()> {
        self.start(address, into.len(), 0)?;
        for pair in into.chunks_mut(2) {
            self.await_ready(address, RECEIVE_READY, "its address")?;
            let word = self.registers().read16(I2C_DATA)?.to_le_bytes();
            pair.copy_from_slice(&word[..pair.len()]);
        }
        self.await_stop(address, 0)
    }
}

impl Produces<dyn I2cBus> for OmapI2c {
    fn produced(self: Rc<Self>) -> Rc<dyn I2cBus> {
        self
    }
}

impl Discovered for OmapI2c {
    const QOM_TYPES: &'static [&'static str] = &["omap_i2c"];

    fn plug(device: &FoundDevice) -> Plug {
        device.first_bus()
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        Self::new(vm, device.base()?)
    }
}

discovered!(OmapI2c);
driver!(OmapI2c = "omap_i2c"; produces dyn I2cBus);
