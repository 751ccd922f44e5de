//! The serial controllers BSC of the BCM2835 (Broadcom, "BCM2835 ARM Peripherals", chapter 3).

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Plug, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::i2c::{I2cBus, OnBus, not_acknowledged};
use crate::qos::interrupt::InterruptLine;
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, Registers, RegistersExt,
};
use crate::qos::wait_until;
use crate::{Error, Result, discovered, driver};

/// Control.
const C: Register<u32> = Register::new("C", 0x00)
    .section("3.2, C")
    .reset(0)
    .kept(0x0701)
    .acts((ENABLE | START | CLEAR) as u64)
    .reserved(!0x87b1 & ALL);
/// Status.
const S: Register<u32> = Register::new("S", 0x04)
    .section("3.2, S")
    .reset(0x50)
    .w1c((CLOCK_STRETCH | ERROR | DONE) as u64)
    .reserved(!0x3ff & ALL);
/// Data Length: how many bytes a transfer has, and how many are left of one.
const DLEN: Register<u32> =
    Register::new("DLEN", 0x08).section("3.2, DLEN").reset(0).kept(0xffff).reserved(!0xffff & ALL);
/// Slave Address.
const A: Register<u32> =
    Register::new("A", 0x0c).section("3.2, A").reset(0).kept(0x7f).reserved(!0x7f & ALL);
/// Data FIFO.
const FIFO: Register<u32> =
    Register::new("FIFO", 0x10).section("3.2, FIFO").read_effect().side_effect();
/// Clock Divider.
const DIV: Register<u32> = Register::new("DIV", 0x14)
    .section("3.2, DIV")
    .reset(0x5dc)
    .kept(0xffff)
    .reserved(!0xffff & ALL);
/// Data Delay.
const DEL: Register<u32> =
    Register::new("DEL", 0x18).section("3.2, DEL").reset(0x0030_0030).kept(ALL);
/// Clock Stretch Timeout.
const CLKT: Register<u32> = Register::new("CLKT", 0x1c)
    .section("3.2, CLKT")
    .reset(0x40)
    .kept(0xffff)
    .reserved(!0xffff & ALL);

/// All bits of a register.
const ALL: u64 = 0xffff_ffff;

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[&C, &S, &DLEN, &A, &FIFO, &DIV, &DEL, &CLKT];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[];

/// C: the controller is enabled (I2CEN).
const ENABLE: u32 = 1 << 15;
/// C: an interrupt when the transfer is done (INTD).
const INTERRUPT_DONE: u32 = 1 << 8;
/// C: start a transfer (ST).
const START: u32 = 1 << 7;
/// C: clear the FIFO (CLEAR).
const CLEAR: u32 = 0b11 << 4;
/// C: the transfer is a read (READ).
const READ: u32 = 1 << 0;

/// S: the device stretches the clock for too long (CLKT).
const CLOCK_STRETCH: u32 = 1 << 9;
/// S: the device does not acknowledge its address (ERR).
const ERROR: u32 = 1 << 8;
/// S: the FIFO has data (RXD).
const HAS_DATA: u32 = 1 << 5;
/// S: the FIFO has room (TXD).
const HAS_ROOM: u32 = 1 << 4;
/// S: the FIFO is empty (TXE).
const EMPTY: u32 = 1 << 6;
/// S: the transfer is done (DONE).
const DONE: u32 = 1 << 1;
/// S: a transfer is active (TA).
const ACTIVE: u32 = 1 << 0;

/// QEMU's `bcm2835-i2c`.
pub struct Bcm2835I2c {
    registers: Rc<Mmio>,
    on_bus: Option<OnBus>,
}

impl Bcm2835I2c {
    /// S: the device does not acknowledge.
    pub const ERROR: u32 = ERROR;
    /// S while nothing is going on.
    pub const IDLE: u32 = HAS_ROOM | EMPTY;
    /// S: the transfer is done.
    pub const DONE: u32 = DONE;
    /// C: the controller is enabled.
    pub const ENABLE: u32 = ENABLE;

    /// Writes C.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn control(&self, value: u32) -> Result<()> {
        self.registers().set(C, value)
    }

    /// Reads S.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn status(&self) -> Result<u32> {
        self.registers().get(S)
    }

    /// Its registers.
    pub fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// The register S after a transfer of a byte to or from an address that nobody has.
    ///
    /// # Errors
    /// Returns an error if the transfer does not end.
    pub fn status_of_nobody(&self, reads: bool) -> Result<u32> {
        self.start(0x01, 1, if reads { READ } else { 0 })?;
        self.await_status("an end without acknowledgement", DONE | ERROR)
    }

    /// Clears the FIFO, and what S has to be cleared.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn clear(&self) -> Result<()> {
        self.registers().set(C, CLEAR)?;
        self.registers().set(S, CLOCK_STRETCH | ERROR | DONE)
    }

    /// Begins a transfer of `len` bytes.
    fn start(&self, address: u8, len: usize, direction: u32) -> Result<()> {
        let len = u16::try_from(len)
            .map_err(|_| Error::failed(format!("{len} bytes are too many for DLEN")))?;
        let registers = self.registers();
        registers.set(A, address.into())?;
        registers.set(DLEN, len.into())?;
        registers.set(C, ENABLE | INTERRUPT_DONE | START | direction)?;
        let control = registers.get(C)?;
        if control & START != 0 {
            return Err(Error::failed(format!("ST of C does not read as 0: {control:#06x}")));
        }
        Ok(())
    }

    fn await_status(&self, what: &str, bits: u32) -> Result<u32> {
        let mut status = 0;
        wait_until(self.registers.vm(), what, || {
            status = self.registers().get(S)?;
            Ok(status & bits != 0)
        })?;
        Ok(status)
    }

    /// Sees that the device acknowledges, waits for one of `bits`.
    fn step(&self, address: u8, what: &str, bits: u32) -> Result<()> {
        let status = self.await_status(what, bits | ERROR)?;
        if status & ERROR == 0 {
            return Ok(());
        }
        let registers = self.registers();
        self.clear()?;
        let left = registers.get(S)? & (CLOCK_STRETCH | ERROR | DONE);
        if left != 0 {
            return Err(Error::failed(format!("{left:#x} of S is left after it was cleared")));
        }
        Err(not_acknowledged(address, what))
    }

    fn put(&self, address: u8, data: &[u8]) -> Result<()> {
        for &byte in data {
            self.step(address, "its address or a byte", HAS_ROOM)?;
            self.registers().set(FIFO, byte.into())?;
        }
        Ok(())
    }

    fn get(&self, address: u8, into: &mut [u8]) -> Result<()> {
        for byte in into {
            self.step(address, "its address", HAS_DATA)?;
            let data = self.registers().get(FIFO)?;
            *byte = u8::try_from(data)
                .map_err(|_| Error::failed(format!("FIFO is wider than a byte: {data:#x}")))?;
        }
        Ok(())
    }

    /// Waits for the end of the transfer, and sees that the controller is as before it.
    fn end(&self, address: u8, len: usize) -> Result<()> {
        self.step(address, "its address or the last byte", DONE)?;
        let registers = self.registers();
        let status = registers.get(S)?;
        if status != DONE | HAS_ROOM | EMPTY {
            return Err(Error::failed(format!("S after a transfer is {status:#05x}")));
        }
        registers.set(S, DONE)?;
        let (status, left) = (registers.get(S)?, registers.get(DLEN)?);
        // DLEN reads as what was written once DONE is cleared.
        if status != HAS_ROOM | EMPTY || left as usize != len {
            return Err(Error::failed(format!(
                "after DONE was cleared, S is {status:#05x} and DLEN {left:#x}"
            )));
        }
        Ok(())
    }
}

impl I2cBus for Bcm2835I2c {
    fn send(&self, address: u8, data: &[u8]) -> Result<()> {
        self.start(address, data.len(), 0)?;
        self.put(address, data)?;
        self.end(address, data.len())
    }

    fn recv(&self, address: u8, into: &mut [u8]) -> Result<()> {
        self.start(address, into.len(), READ)?;
        self.get(address, into)?;
        self.end(address, into.len())
    }

    /// A second start while the bytes of the first are on their way is a repeated one.
    fn send_recv(&self, address: u8, data: &[u8], into: &mut [u8]) -> Result<()> {
        self.start(address, data.len(), 0)?;
        self.put(address, data)?;
        self.step(address, "its address or a byte", HAS_ROOM)?;
        // A transfer that takes no time is over by now.
        self.registers().set(S, DONE)?;
        self.start(address, into.len(), READ)?;
        self.get(address, into)?;
        self.end(address, into.len())
    }

    fn probe(&self, address: u8) -> Result<bool> {
        self.start(address, 0, 0)?;
        let status = self.await_status("an end", DONE | ERROR)?;
        self.registers().set(S, ERROR | DONE)?;
        let after = self.registers().get(S)?;
        if after & !ACTIVE != HAS_ROOM | EMPTY {
            return Err(Error::failed(format!("S is {after:#05x}, cleared after a probe")));
        }
        Ok(status & ERROR == 0)
    }

    fn on_bus(&self) -> Option<&OnBus> {
        self.on_bus.as_ref()
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        let pin = self.on_bus.as_ref().and_then(OnBus::pin);
        pin.map(|pin| pin.watch(self.registers.vm())).transpose()
    }
}

impl Produces<dyn I2cBus> for Bcm2835I2c {
    fn produced(self: Rc<Self>) -> Rc<dyn I2cBus> {
        self
    }
}

impl Produces<RegisterBlock> for Bcm2835I2c {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let raise = |registers: &dyn Registers| {
            // A transfer without data is done at once.
            registers.set(DLEN, 0)?;
            registers.set(C, ENABLE | INTERRUPT_DONE | START)
        };
        let block = RegisterBlock::new("BCM2835 ARM Peripherals, 3", self.registers.clone(), TABLE)
            .raise(&S, DONE.into(), raise)
            .faults(FAULTS);
        Rc::new(block)
    }
}

impl Discovered for Bcm2835I2c {
    const QOM_TYPES: &'static [&'static str] = &["bcm2835-i2c"];

    fn plug(device: &FoundDevice) -> Plug {
        device.first_bus()
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, Endian::Little));
        Ok(Self { registers, on_bus: OnBus::of(device, vm) })
    }
}

driver!(Bcm2835I2c = "bcm2835-i2c"; produces dyn I2cBus, RegisterBlock);
discovered!(Bcm2835I2c);
