//! The IIC interfaces of IBM's and AMCC's PowerPC 405 and 440 (PPC405EP user's manual, chapter "IIC
//! Bus Interface"). A transfer of up to four bytes has the address before it, or goes on with one that
//! was chained to it. This driver transfers byte by byte.

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Plug, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::i2c::{I2cBus, OnBus, not_acknowledged};
use crate::qos::interrupt::InterruptLine;
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt};
use crate::qos::wait_until;
use crate::{Error, Result, discovered, driver};

/// Master Data Buffer, of four bytes.
const MDBUF: Register<u8> = register("IIC0_MDBUF", 0x00).read_effect().side_effect();
/// Low Master Address.
const LMADR: Register<u8> = register("IIC0_LMADR", 0x04).kept(0xff);
/// High Master Address, for addresses of ten bits.
const HMADR: Register<u8> = register("IIC0_HMADR", 0x05).kept(0xff);
/// Control.
const CNTL: Register<u8> =
    register("IIC0_CNTL", 0x06).reset(0).kept(0x3e).acts((HALT | TRANSFER) as u64).reserved(0x40);
/// Mode Control.
const MDCNTL: Register<u8> =
    register("IIC0_MDCNTL", 0x07).reset(0).kept(ENABLE_INTERRUPT as u64).acts(0xd8).reserved(0x23);
/// Status.
const STS: Register<u8> = register("IIC0_STS", 0x08).reset(0).w1c((STOPPED | INTERRUPT) as u64);
/// Extended Status.
const EXTSTS: Register<u8> = register("IIC0_EXTSTS", 0x09).reset(BUS_FREE as u64).w1c(0x8f);
/// Low Slave Address.
const LSADR: Register<u8> = register("IIC0_LSADR", 0x0a).kept(0xff);
/// High Slave Address.
const HSADR: Register<u8> = register("IIC0_HSADR", 0x0b).kept(0xff);
/// Clock Divide.
const CLKDIV: Register<u8> = register("IIC0_CLKDIV", 0x0c).reset(0).kept(0xff);
/// Interrupt Mask.
const INTRMSK: Register<u8> = register("IIC0_INTRMSK", 0x0d).reset(0).kept(0xff);
/// Transfer Count: bytes that were transferred.
const XFRCNT: Register<u8> = register("IIC0_XFRCNT", 0x0e).reset(0).volatile(0xff);
/// Extended Control and Slave Status.
const XTCNTLSS: Register<u8> = register("IIC0_XTCNTLSS", 0x0f).reset(0).side_effect();
/// Direct Control: both lines.
const DIRECTCNTL: Register<u8> =
    register("IIC0_DIRECTCNTL", 0x10).reset(0x0f).volatile(0x0f).side_effect();

const fn register(name: &'static str, offset: u64) -> Register<u8> {
    Register::new(name, offset).section(name)
}

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[
    &MDBUF,
    &LMADR,
    &HMADR,
    &CNTL,
    &MDCNTL,
    &STS,
    &EXTSTS,
    &LSADR,
    &HSADR,
    &CLKDIV,
    &INTRMSK,
    &XFRCNT,
    &XTCNTLSS,
    &DIRECTCNTL,
];

/// CNTL: end the transfer that is under way (HMT).
const HALT: u8 = 1 << 7;
/// CNTL: how many bytes the transfer has, less one (TCT).
const COUNT_SHIFT: u32 = 4;
/// CNTL: the next transfer goes on with this one, without a stop in between (CHT).
const CHAIN: u8 = 1 << 2;
/// CNTL: the next transfer begins with a repeated start (RPST).
const REPEATED_START: u8 = 1 << 3;
/// CNTL: read (RW).
const READ: u8 = 1 << 1;
/// CNTL: begin the transfer (PT).
const TRANSFER: u8 = 1 << 0;

/// MDCNTL: flush the master data buffer (FMDB).
const FLUSH: u8 = 1 << 6;
/// MDCNTL: interrupts are enabled (EINT).
const ENABLE_INTERRUPT: u8 = 1 << 2;
/// INTRMSK: an interrupt when the master's transfer is complete (EIMTC).
const TRANSFER_COMPLETE: u8 = 1 << 0;

/// STS: the master data buffer has data (MDBS).
const HAS_DATA: u8 = 1 << 5;
/// STS: the master data buffer is full (MDBF).
const IS_FULL: u8 = 1 << 4;
/// STS: a stop is complete (SCMP).
const STOPPED: u8 = 1 << 3;
/// STS: an error; IIC0_EXTSTS has which (ERR).
const ERROR: u8 = 1 << 2;
/// STS: an interrupt is active (IRQA).
const INTERRUPT: u8 = 1 << 1;
/// STS: a transfer is pending (PT).
const PENDING: u8 = 1 << 0;

/// EXTSTS: what the bus does (BCS).
const BUS_STATE: u8 = 0b111 << 4;
/// EXTSTS: the bus is free.
const BUS_FREE: u8 = 0b100 << 4;

/// QEMU's `ppc4xx-i2c`.
pub struct Ppc4xxI2c {
    registers: Rc<Mmio>,
    on_bus: Option<OnBus>,
}

impl Ppc4xxI2c {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    fn begin(&self, address: u8) -> Result<()> {
        let registers = self.registers();
        registers.set(INTRMSK, TRANSFER_COMPLETE)?;
        registers.set(MDCNTL, ENABLE_INTERRUPT | FLUSH)?;
        registers.set(LMADR, address << 1)?;
        registers.set(HMADR, 0)
    }

    /// Makes a transfer, which is `control`. Returns whether all of it was acknowledged.
    fn transfer(&self, control: u8) -> Result<bool> {
        let registers = self.registers();
        registers.set(CNTL, TRANSFER | control)?;
        let mut status = 0;
        wait_until(self.registers.vm(), "a transfer on the I2C bus", || {
            status = registers.get(STS)?;
            Ok(status & PENDING == 0)
        })?;
        registers.set(STS, status & (INTERRUPT | STOPPED))?;
        if status & ERROR != 0 {
            if registers.get(EXTSTS)? & BUS_STATE != BUS_FREE {
                registers.set(CNTL, HALT)?;
            }
            registers.set(EXTSTS, 0x8f)?;
            registers.set(STS, INTERRUPT | STOPPED)?;
            return Ok(false);
        }
        let data = if control & READ == 0 { 0 } else { HAS_DATA };
        // What was sent may still be in the buffer of QEMU's interface.
        if status & !(STOPPED | HAS_DATA | IS_FULL) != INTERRUPT || status & data != data {
            return Err(Error::failed(format!("IIC0_STS after a transfer is {status:#04x}")));
        }
        Ok(true)
    }

    fn put(&self, address: u8, data: &[u8], end: u8) -> Result<()> {
        if data.is_empty() {
            return Err(Error::skipped("the IIC interface makes no transfer without data"));
        }
        self.begin(address)?;
        for (number, &byte) in (1..).zip(data) {
            self.registers().set(MDCNTL, ENABLE_INTERRUPT | FLUSH)?;
            self.registers().set(MDBUF, byte)?;
            if !self.transfer(if number == data.len() { end } else { CHAIN })? {
                return Err(not_acknowledged(address, "its address or a byte"));
            }
        }
        Ok(())
    }

    fn get(&self, address: u8, into: &mut [u8]) -> Result<()> {
        self.begin(address)?;
        let len = into.len();
        for (number, byte) in (1..).zip(into) {
            if !self.transfer(READ | if number == len { 0 } else { CHAIN })? {
                return Err(not_acknowledged(address, "its address"));
            }
            *byte = self.registers().get(MDBUF)?;
            let status = self.registers().get(STS)?;
            if status & HAS_DATA != 0 {
                return Err(Error::failed(format!("IIC0_STS is {status:#04x}, the byte taken")));
            }
        }
        Ok(())
    }

    fn expect_free(&self) -> Result<()> {
        match self.registers().get(EXTSTS)? {
            BUS_FREE => Ok(()),
            other => Err(Error::failed(format!("IIC0_EXTSTS after a stop is {other:#04x}"))),
        }
    }

    /// Writes bytes, up to `at_once` of them in a transfer, each chained to the one before it. The
    /// buffer is flushed before the first only.
    ///
    /// # Errors
    /// Returns an error if they are not acknowledged.
    pub fn send_chained(&self, address: u8, data: &[u8], at_once: usize) -> Result<()> {
        self.begin(address)?;
        let count = data.chunks(at_once).count();
        for (number, bytes) in (1..).zip(data.chunks(at_once)) {
            for &byte in bytes {
                self.registers().set(MDBUF, byte)?;
            }
            let chain = if number == count { 0 } else { CHAIN };
            if !self.transfer((bytes.len() as u8 - 1) << COUNT_SHIFT | chain)? {
                return Err(not_acknowledged(address, "its address or a byte"));
            }
        }
        self.expect_free()
    }
}

impl I2cBus for Ppc4xxI2c {
    fn send(&self, address: u8, data: &[u8]) -> Result<()> {
        self.put(address, data, 0)?;
        self.expect_free()
    }

    fn recv(&self, address: u8, into: &mut [u8]) -> Result<()> {
        self.get(address, into)?;
        self.expect_free()
    }

    fn send_recv(&self, address: u8, data: &[u8], into: &mut [u8]) -> Result<()> {
        self.put(address, data, CHAIN | REPEATED_START)?;
        self.recv(address, into)
    }

    /// A transfer has at least one byte: one is read.
    fn probe(&self, address: u8) -> Result<bool> {
        self.begin(address)?;
        let is_acknowledged = self.transfer(READ)?;
        if is_acknowledged {
            self.registers().get(MDBUF)?;
        }
        self.expect_free()?;
        Ok(is_acknowledged)
    }

    fn on_bus(&self) -> Option<&OnBus> {
        self.on_bus.as_ref()
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        let pin = self.on_bus.as_ref().and_then(OnBus::pin);
        pin.map(|pin| pin.watch(self.registers.vm())).transpose()
    }
}

impl Produces<dyn I2cBus> for Ppc4xxI2c {
    fn produced(self: Rc<Self>) -> Rc<dyn I2cBus> {
        self
    }
}

impl Produces<RegisterBlock> for Ppc4xxI2c {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("PPC405EP user's manual, IIC", self.registers.clone(), TABLE))
    }
}

impl Discovered for Ppc4xxI2c {
    const QOM_TYPES: &'static [&'static str] = &["ppc4xx-i2c"];

    /// Where several buses have the name, QEMU finds the device that was made last by its type.
    /// Without a name it would find the bus of another controller, such as a display's.
    fn plug(device: &FoundDevice) -> Plug {
        match device.first_bus() {
            Plug::NONE => Plug::new("/ppc4xx-i2c/i2c", ""),
            other => other,
        }
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, Endian::Big));
        Ok(Self { registers, on_bus: OnBus::of(device, vm).map(OnBus::with_shared_name) })
    }
}

driver!(Ppc4xxI2c = "ppc4xx-i2c"; produces dyn I2cBus, RegisterBlock);
discovered!(Ppc4xxI2c);
