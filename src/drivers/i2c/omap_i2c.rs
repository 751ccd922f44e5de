//! The I2C controller of the OMAP 2 family (OMAP2420 reference manual, chapter "I2C").

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Plug, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::i2c::{I2cBus, OnBus, not_acknowledged};
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, Registers, RegistersExt,
};
use crate::qos::wait_until;
use crate::{Error, Result, discovered, driver};

/// Module revision: that of the OMAP 2420's.
const I2C_REV: Register<u16> =
    Register::new("I2C_REV", 0x00).section("I2C_REV").reset(0x34).read_only();
/// Interrupt Enable: arbitration lost, no acknowledge, access, receive and transmit ready,
/// general call.
const I2C_IE: Register<u16> = Register::new("I2C_IE", 0x04).section("I2C_IE").reset(0).kept(0x003f);
/// Status; bits are cleared by writing ones.
const I2C_STAT: Register<u16> =
    Register::new("I2C_STAT", 0x08).section("I2C_STAT").reset(0).w1c(0x003f).volatile(0xffc0);
/// System status: the reset is over, while the module is enabled.
const I2C_SYSS: Register<u16> = Register::new("I2C_SYSS", 0x10).section("I2C_SYSS").volatile(1);
/// Buffer Configuration: DMA in either direction, instead of the interrupt for it.
const I2C_BUF: Register<u16> =
    Register::new("I2C_BUF", 0x14).section("I2C_BUF").reset(0).acts(0x8080);
/// How many bytes a transfer has; what is read is how many are left of the one under way.
const I2C_CNT: Register<u16> =
    Register::new("I2C_CNT", 0x18).section("I2C_CNT").reset(0).volatile(0xffff);
/// Two bytes of data, the first one in the low half.
const I2C_DATA: Register<u16> =
    Register::new("I2C_DATA", 0x1c).section("I2C_DATA").read_effect().side_effect();
/// System Configuration: bit 1 resets the module.
const I2C_SYSC: Register<u16> =
    Register::new("I2C_SYSC", 0x20).section("I2C_SYSC").reset(0).acts(0x0002).reserved(0x0001);
/// Configuration: starts a transfer, too.
const I2C_CON: Register<u16> = Register::new("I2C_CON", 0x24)
    .section("I2C_CON")
    .reset(0)
    .kept((I2C_EN | 1 << 14) as u64)
    .acts((MST | TRX | STP | STT | 1 << 11 | 1 << 8) as u64)
    .reserved(0x30fc)
    .values(&[0, 0x8000, 0xc000]);
/// Own Address.
const I2C_OA: Register<u16> = Register::new("I2C_OA", 0x28).section("I2C_OA").reset(0).kept(0x03ff);
/// Slave address.
const I2C_SA: Register<u16> = Register::new("I2C_SA", 0x2c).section("I2C_SA").kept(0x03ff);
/// Clock Prescaler.
const I2C_PSC: Register<u16> =
    Register::new("I2C_PSC", 0x30).section("I2C_PSC").reset(0).kept(0x00ff);
/// SCL Low Time.
const I2C_SCLL: Register<u16> =
    Register::new("I2C_SCLL", 0x34).section("I2C_SCLL").reset(0).kept(0x00ff);
/// SCL High Time.
const I2C_SCLH: Register<u16> =
    Register::new("I2C_SCLH", 0x38).section("I2C_SCLH").reset(0).kept(0x00ff);

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[
    &I2C_REV, &I2C_IE, &I2C_STAT, &I2C_SYSS, &I2C_BUF, &I2C_CNT, &I2C_DATA, &I2C_SYSC, &I2C_CON,
    &I2C_OA, &I2C_SA, &I2C_PSC, &I2C_SCLL, &I2C_SCLH,
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[];

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
    registers: Rc<Mmio>,
    on_bus: Option<OnBus>,
}

impl OmapI2c {
    /// The controller whose registers begin at `base`, enabled.
    ///
    /// # Errors
    /// It is of another revision, or not there.
    pub fn new(vm: &Rc<Vm>, base: u64) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, base, Endian::Little));
        let controller = Self { registers, on_bus: None };
        let revision = controller.registers().get(I2C_REV)?;
        if revision != REVISION {
            return Err(Error::failed(format!("I2C_REV says {revision:#x}, not {REVISION:#x}")));
        }
        controller.registers().set(I2C_CON, I2C_EN)?;
        Ok(controller)
    }

    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Begins a transfer that ends by itself after `len` bytes, and with a stop if `stop`.
    fn start(&self, address: u8, len: usize, direction: u16, stop: u16) -> Result<()> {
        let count = u16::try_from(len);
        let count =
            count.map_err(|_| Error::failed(format!("{len} bytes are too many for I2C")))?;
        self.registers().set(I2C_STAT, !0)?;
        self.registers().set(I2C_SA, address.into())?;
        self.registers().set(I2C_CNT, count)?;
        self.registers().set(I2C_CON, I2C_EN | MST | STT | stop | direction)
    }

    /// Sends `data`, without what ends it.
    fn put(&self, address: u8, data: &[u8]) -> Result<()> {
        for pair in data.chunks(2) {
            self.await_ready(address, TRANSMIT_READY, "its address or a byte")?;
            let word = u16::from_le_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
            self.registers().set(I2C_DATA, word)?;
        }
        Ok(())
    }

    fn get(&self, address: u8, into: &mut [u8]) -> Result<()> {
        for pair in into.chunks_mut(2) {
            self.await_ready(address, RECEIVE_READY, "its address")?;
            let word = self.registers().get(I2C_DATA)?.to_le_bytes();
            pair.copy_from_slice(&word[..pair.len()]);
        }
        self.await_stop(address, 0)
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
            status = self.registers().get(I2C_STAT)?;
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
        let (control, expected) = (self.registers().get(I2C_CON)?, I2C_EN | direction);
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
        self.start(address, data.len(), TRX, STP)?;
        self.put(address, data)?;
        self.await_stop(address, TRX)
    }

    fn recv(&self, address: u8, into: &mut [u8]) -> Result<()> {
        self.start(address, into.len(), 0, STP)?;
        self.get(address, into)
    }

    fn send_recv(&self, address: u8, data: &[u8], into: &mut [u8]) -> Result<()> {
        self.start(address, data.len(), TRX, 0)?;
        self.put(address, data)?;
        let is_over = |status| status & ACCESS_READY != 0;
        self.await_status(address, "all bytes", is_over, ACCESS_READY | BUS_BUSY, SINGLE_BYTE)?;
        self.start(address, into.len(), 0, STP)?;
        self.get(address, into)
    }

    /// A transfer has at least one byte: one is read.
    fn probe(&self, address: u8) -> Result<bool> {
        self.start(address, 1, 0, STP)?;
        let mut status = 0;
        wait_until(self.registers.vm(), "an acknowledgement or none", || {
            status = self.registers().get(I2C_STAT)?;
            Ok(status & (NO_ACKNOWLEDGE | RECEIVE_READY) != 0)
        })?;
        if status & NO_ACKNOWLEDGE == 0 {
            self.registers().get(I2C_DATA)?;
            self.await_stop(address, 0)?;
            return Ok(true);
        }
        if status & !(ACCESS_READY | SINGLE_BYTE) != NO_ACKNOWLEDGE {
            return Err(Error::failed(format!("I2C_STAT without acknowledge is {status:#06x}")));
        }
        self.registers().set(I2C_STAT, !0)?;
        match self.registers().get(I2C_STAT)? & !SINGLE_BYTE {
            0 => Ok(false),
            left => Err(Error::failed(format!("I2C_STAT is {left:#06x}, cleared"))),
        }
    }

    fn on_bus(&self) -> Option<&OnBus> {
        self.on_bus.as_ref()
    }
}

impl Produces<dyn I2cBus> for OmapI2c {
    fn produced(self: Rc<Self>) -> Rc<dyn I2cBus> {
        self
    }
}

impl Produces<RegisterBlock> for OmapI2c {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block =
            RegisterBlock::new("OMAP2420 reference manual, I2C", self.registers.clone(), TABLE)
                .touched(&[&I2C_CON])
                .prepare(|registers| registers.set(I2C_CON, I2C_EN))
                .software_reset(|registers| registers.set(I2C_SYSC, 1 << 1))
                .faults(FAULTS);
        Rc::new(block)
    }
}

impl Discovered for OmapI2c {
    const QOM_TYPES: &'static [&'static str] = &["omap_i2c"];

    /// That of OMAP1 is of another revision, with other registers.
    fn drives(device: &FoundDevice) -> bool {
        let is_known = device.number("revision").is_none_or(|it| it == u64::from(REVISION));
        device.is_a("omap_i2c") && is_known
    }

    fn plug(device: &FoundDevice) -> Plug {
        device.first_bus()
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        Ok(Self { on_bus: OnBus::of(device, vm), ..Self::new(vm, device.base()?)? })
    }
}

discovered!(OmapI2c);
driver!(OmapI2c = "omap_i2c"; produces dyn I2cBus, RegisterBlock);
