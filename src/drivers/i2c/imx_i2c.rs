//! The I2C controller of the i.MX family (i.MX25 reference manual, chapter "I2C").

use std::cell::Cell;
use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Plug, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::i2c::{ByteMaster, Direction, I2cBus, OnBus};
use crate::qos::interrupt::InterruptLine;
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, Registers, RegistersExt,
};
use crate::qos::wait_until;
use crate::{Error, Result, discovered, driver};

/// I2C Address Register: the controller's own address as a slave.
const IADR: Register<u16> = Register::new("IADR", 0x00).section("IADR").reset(0).kept(0xfe);
/// I2C Frequency Divider Register.
const IFDR: Register<u16> = Register::new("IFDR", 0x04).section("IFDR").reset(0).kept(0x3f);
/// I2C Control Register. Disabled, the controller keeps nothing in it; MSTA and RSTA start
/// something.
const I2CR: Register<u16> = Register::new("I2CR", 0x08)
    .section("I2CR")
    .reset(0)
    .kept((IEN | IIEN | MTX | TXAK) as u64)
    .acts((MSTA | RSTA) as u64)
    .values(&[0, 0x80, 0xc0, 0x90, 0x88, 0xd8]);
/// I2C Status Register. A zero clears IIF and the loss of arbitration.
const I2SR: Register<u16> = Register::new("I2SR", 0x0c).section("I2SR").reset(0x81).side_effect();
/// I2C Data I/O Register.
const I2DR: Register<u16> = Register::new("I2DR", 0x10).section("I2DR").read_effect().side_effect();

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[&IADR, &IFDR, &I2CR, &I2SR, &I2DR];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[];

/// I2CR: the controller is enabled.
const IEN: u16 = 1 << 7;
/// I2CR: interrupts are enabled.
const IIEN: u16 = 1 << 6;
/// I2CR: master; setting it starts a transfer, clearing it stops it.
const MSTA: u16 = 1 << 5;
/// I2CR: transmit.
const MTX: u16 = 1 << 4;
/// I2CR: repeated start.
const RSTA: u16 = 1 << 2;
/// I2CR: do not acknowledge the next byte that is received.
const TXAK: u16 = 1 << 3;

/// I2SR: no byte is on its way.
const ICF: u16 = 1 << 7;
/// I2SR: the bus is busy.
const IBB: u16 = 1 << 5;
/// I2SR: an interrupt is pending: a byte went over the bus.
const IIF: u16 = 1 << 1;
/// I2SR: the byte was not acknowledged.
const RXAK: u16 = 1 << 0;

/// QEMU's `imx.i2c`.
pub struct ImxI2c {
    registers: Rc<Mmio>,
    on_bus: Option<OnBus>,
    /// Whether the last byte that was sent was acknowledged.
    acknowledged: Cell<bool>,
}

impl ImxI2c {
    /// The controller whose registers begin at `base`.
    pub fn new(vm: &Rc<Vm>, base: u64) -> Self {
        let registers = Rc::new(Mmio::new(vm, base, Endian::Little));
        Self { registers, on_bus: None, acknowledged: Cell::new(true) }
    }

    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Waits until a byte has gone over the bus; returns whether it was acknowledged.
    fn byte_done(&self) -> Result<bool> {
        let mut status = 0;
        wait_until(self.registers.vm(), "a byte on the I2C bus", || {
            status = self.registers().get(I2SR)?;
            // QEMU does not raise the interrupt for a byte that is not acknowledged.
            Ok(status & (IIF | RXAK) != 0)
        })?;
        self.registers().set(I2SR, 0)?;
        if status & !(IIF | RXAK) != ICF | IBB {
            return Err(Error::failed(format!("I2SR after a byte: {status:#06x}")));
        }
        Ok(status & RXAK == 0)
    }

    /// Takes the byte that has come, and clocks the next one in.
    fn data(&self) -> Result<u8> {
        let data = self.registers().get(I2DR)?;
        u8::try_from(data)
            .map_err(|_| Error::failed(format!("I2DR is wider than a byte: {data:#06x}")))
    }
}

impl ByteMaster for ImxI2c {
    fn start(&self, address: u8, direction: Direction, again: bool) -> Result<bool> {
        let registers = self.registers();
        if !again {
            registers.set(I2CR, IEN)?;
        }
        let before = registers.get(I2SR)?;
        let free = if again { ICF | IBB } else { ICF };
        // RXAK tells of the last byte, or of a reset.
        if before & !RXAK != free {
            return Err(Error::failed(format!(
                "I2SR before a start is {before:#06x} instead of {free:#06x}"
            )));
        }
        let repeated = if again { RSTA } else { 0 };
        registers.set(I2CR, IEN | IIEN | MSTA | MTX | repeated)?;
        let status = registers.get(I2SR)?;
        if status != before | IBB {
            return Err(Error::failed(format!(
                "I2SR was {before:#06x}, and a start did not make it busy only: {status:#06x}"
            )));
        }
        let is_acknowledged = self.put(direction.with_address(address))?;
        if let (true, Direction::Read(len)) = (is_acknowledged, direction) {
            let receive = IEN | IIEN | MSTA;
            registers.set(I2CR, if len == 1 { receive | TXAK } else { receive })?;
            // The first read only clocks the first byte in.
            self.data()?;
        }
        Ok(is_acknowledged)
    }

    fn put(&self, byte: u8) -> Result<bool> {
        self.registers().set(I2DR, byte.into())?;
        let is_acknowledged = self.byte_done()?;
        self.acknowledged.set(is_acknowledged);
        Ok(is_acknowledged)
    }

    fn get(&self, index: usize, len: usize) -> Result<u8> {
        // The last byte is not acknowledged, whether RXAK shows that or not.
        if !self.byte_done()? && index + 1 != len {
            return Err(Error::failed(format!("RXAK is set after byte {index} of {len}")));
        }
        // A read takes a byte and clocks the next in, so the stop must come before the last.
        match len - index {
            1 => self.registers().set(I2CR, IEN)?,
            2 => self.registers().set(I2CR, IEN | IIEN | MSTA | TXAK)?,
            _ => {}
        }
        self.data()
    }

    fn stop(&self) -> Result<()> {
        self.registers().set(I2CR, IEN)?;
        let status = self.registers().get(I2SR)?;
        let expected = if self.acknowledged.get() { ICF } else { ICF | RXAK };
        if status != expected {
            return Err(Error::failed(format!(
                "I2SR after a stop is {status:#06x} instead of {expected:#06x}"
            )));
        }
        Ok(())
    }

    fn on_bus(&self) -> Option<&OnBus> {
        self.on_bus.as_ref()
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        let pin = self.on_bus.as_ref().and_then(OnBus::pin);
        pin.map(|pin| pin.watch(self.registers.vm())).transpose()
    }
}

impl Produces<dyn I2cBus> for ImxI2c {
    fn produced(self: Rc<Self>) -> Rc<dyn I2cBus> {
        self
    }
}

impl Produces<RegisterBlock> for ImxI2c {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block =
            RegisterBlock::new("i.MX25 reference manual, I2C", self.registers.clone(), TABLE)
                .prepare(|registers| registers.set(I2CR, IEN))
                .faults(FAULTS);
        Rc::new(block)
    }
}

impl Discovered for ImxI2c {
    const QOM_TYPES: &'static [&'static str] = &["imx.i2c"];

    fn plug(device: &FoundDevice) -> Plug {
        device.first_bus()
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        Ok(Self { on_bus: OnBus::of(device, vm), ..Self::new(vm, device.base()?) })
    }
}

driver!(ImxI2c = "imx.i2c"; produces dyn I2cBus, RegisterBlock);
discovered!(ImxI2c);
