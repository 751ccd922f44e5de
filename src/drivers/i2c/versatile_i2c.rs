//! The two lines of an I2C bus as bits of a register, as Arm's boards have them (Versatile
//! Application Baseboard user guide, DUI 0225D, section "Serial bus interface").

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Plug, Produces};
use crate::qemu::Vm;
use crate::qos::i2c::{ByteMaster, Direction, I2cBus, OnBus};
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, RegistersExt};
use crate::{Error, Result, discovered, driver};

/// Read: the lines. Written: ones let go of lines, which are high then unless a device pulls
/// them low.
const CONTROL: Register<u32> =
    Register::new("SB_CONTROL", 0x00).section("SB_CONTROL").volatile(0b11).side_effect();
/// Ones pull lines low.
const CLEAR: Register<u32> =
    Register::new("SB_CONTROLC", 0x04).section("SB_CONTROLC").write_only().side_effect();

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[&CONTROL, &CLEAR];

/// The clock.
const SCL: u32 = 1 << 0;
/// The data.
const SDA: u32 = 1 << 1;

/// QEMU's `versatile_i2c`.
pub struct VersatileI2c {
    registers: Rc<Mmio>,
    on_bus: Option<OnBus>,
}

impl VersatileI2c {
    fn high(&self, line: u32) -> Result<()> {
        self.registers.set(CONTROL, line)
    }

    fn low(&self, line: u32) -> Result<()> {
        self.registers.set(CLEAR, line)
    }

    fn data(&self) -> Result<bool> {
        let lines = self.registers.get(CONTROL)?;
        if lines & !(SCL | SDA) != 0 {
            return Err(Error::failed(format!("SB_CONTROL is {lines:#x}")));
        }
        Ok(lines & SDA != 0)
    }

    /// One bit: the data line changes while the clock is low, and is looked at while it is
    /// high.
    fn bit(&self, bit: bool) -> Result<bool> {
        if bit {
            self.high(SDA)?
        } else {
            self.low(SDA)?
        }
        self.high(SCL)?;
        let lines = self.registers.get(CONTROL)?;
        if lines & SCL == 0 {
            return Err(Error::failed("SB_CONTROL shows the clock low that is high"));
        }
        let read = self.data()?;
        self.low(SCL)?;
        Ok(read)
    }

    /// Sends a byte; returns whether it is acknowledged.
    fn byte_out(&self, byte: u8) -> Result<bool> {
        for number in (0..8).rev() {
            self.bit(byte >> number & 1 != 0)?;
        }
        Ok(!self.bit(true)?)
    }
}

impl ByteMaster for VersatileI2c {
    fn start(&self, address: u8, direction: Direction, _: bool) -> Result<bool> {
        // The lines are let go, the data line first, as the clock is low before a repeated start.
        self.high(SDA)?;
        self.high(SCL)?;
        let lines = self.registers.get(CONTROL)?;
        if lines != SCL | SDA {
            return Err(Error::failed(format!("the lines of a free bus are {lines:#x}")));
        }
        self.low(SDA)?;
        self.low(SCL)?;
        self.byte_out(direction.with_address(address))
    }

    fn put(&self, byte: u8) -> Result<bool> {
        self.byte_out(byte)
    }

    fn get(&self, index: usize, len: usize) -> Result<u8> {
        let mut byte = 0;
        for _ in 0..8 {
            byte = byte << 1 | u8::from(self.bit(true)?);
        }
        self.bit(index + 1 == len)?;
        Ok(byte)
    }

    fn stop(&self) -> Result<()> {
        self.low(SDA)?;
        self.high(SCL)?;
        self.high(SDA)?;
        let lines = self.registers.get(CONTROL)?;
        if lines != SCL | SDA {
            return Err(Error::failed(format!("the lines after a stop are {lines:#x}")));
        }
        Ok(())
    }

    fn on_bus(&self) -> Option<&OnBus> {
        self.on_bus.as_ref()
    }
}

impl Produces<dyn I2cBus> for VersatileI2c {
    fn produced(self: Rc<Self>) -> Rc<dyn I2cBus> {
        self
    }
}

impl Produces<RegisterBlock> for VersatileI2c {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("DUI 0225D", self.registers.clone(), TABLE))
    }
}

impl Discovered for VersatileI2c {
    const QOM_TYPES: &'static [&'static str] = &["versatile_i2c"];

    fn plug(device: &FoundDevice) -> Plug {
        device.first_bus()
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        Ok(Self { registers, on_bus: OnBus::of(device, vm) })
    }
}

driver!(VersatileI2c = "versatile_i2c"; produces dyn I2cBus, RegisterBlock);
discovered!(VersatileI2c);
