//! One of the I2C controllers of the Samsung Exynos 4210 (user's manual, chapter
//! "Inter-Integrated Circuit").

use std::cell::Cell;
use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Plug, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::i2c::{ByteMaster, Direction, I2cBus, OnBus};
use crate::qos::interrupt::InterruptLine;
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt};
use crate::qos::wait_until;
use crate::{Error, Result, discovered, driver};

/// Control: acknowledge, clock, interrupt.
const CON: Register<u32> = Register::new("I2CCON", 0x00)
    .section("I2CCON")
    .reset(0)
    .kept((ACKNOWLEDGE | INTERRUPTS | 0x4f) as u64)
    .volatile(PENDING as u64);
/// Status: mode, busy, output. Bit 5 starts and stops.
const STAT: Register<u32> = Register::new("I2CSTAT", 0x04)
    .section("I2CSTAT")
    .reset(0)
    .volatile(0x0f)
    .acts((MASTER_TRANSMIT | BUSY | OUTPUT) as u64);
/// Own address as a slave.
const ADD: Register<u32> =
    Register::new("I2CADD", 0x08).section("I2CADD").undefined(0xff).kept(0xff);
/// The byte that is shifted out or in.
const DS: Register<u32> = Register::new("I2CDS", 0x0c).section("I2CDS").read_effect().side_effect();
/// Line control: filter and delay.
const LC: Register<u32> =
    Register::new("I2CLC", 0x10).section("I2CLC").reset(0).kept(0x07).reserved(0xf8);

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[&CON, &STAT, &ADD, &DS, &LC];

/// CON: acknowledge.
const ACKNOWLEDGE: u32 = 1 << 7;
/// CON: interrupts are enabled.
const INTERRUPTS: u32 = 1 << 5;
/// CON: an interrupt is pending, and the clock stands until it is cleared.
const PENDING: u32 = 1 << 4;

/// STAT: master, transmitting.
const MASTER_TRANSMIT: u32 = 0b11 << 6;
/// STAT: master, receiving.
const MASTER_RECEIVE: u32 = 0b10 << 6;
/// STAT: read, the bus is busy; written, start or stop.
const BUSY: u32 = 1 << 5;
/// STAT: the controller may drive the lines.
const OUTPUT: u32 = 1 << 4;
/// STAT: the last bit was not an acknowledgement.
const LAST_BIT: u32 = 1 << 0;

/// QEMU's `exynos4210.i2c`.
pub struct Exynos4210I2c {
    registers: Rc<Mmio>,
    on_bus: Option<OnBus>,
    mode: Cell<u32>,
}

impl Exynos4210I2c {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Waits until a byte has gone over the bus; returns whether it was acknowledged.
    fn byte_done(&self) -> Result<bool> {
        let registers = self.registers();
        wait_until(self.registers.vm(), "a byte on the I2C bus", || {
            Ok(registers.get(CON)? & PENDING != 0)
        })?;
        let status = registers.get(STAT)?;
        let expected = self.mode.get() | BUSY | OUTPUT;
        if status & !LAST_BIT != expected {
            return Err(Error::failed(format!(
                "I2CSTAT after a byte is {status:#04x} instead of {expected:#04x}"
            )));
        }
        Ok(status & LAST_BIT == 0)
    }

    /// Lets the clock go on.
    fn go_on(&self, acknowledge: u32) -> Result<()> {
        self.registers().set(CON, acknowledge | INTERRUPTS)
    }
}

impl ByteMaster for Exynos4210I2c {
    fn start(&self, address: u8, direction: Direction, again: bool) -> Result<bool> {
        let registers = self.registers();
        if !again {
            let status = registers.get(STAT)?;
            if status & BUSY != 0 {
                return Err(Error::failed(format!("I2CSTAT before a start is {status:#04x}")));
            }
            registers.set(CON, ACKNOWLEDGE | INTERRUPTS)?;
        }
        self.mode.set(match direction {
            Direction::Write => MASTER_TRANSMIT,
            Direction::Read(_) => MASTER_RECEIVE,
        });
        if !again {
            registers.set(STAT, self.mode.get() | OUTPUT)?;
        }
        registers.set(DS, direction.with_address(address).into())?;
        registers.set(STAT, self.mode.get() | OUTPUT | BUSY)?;
        if again {
            self.go_on(ACKNOWLEDGE)?;
        }
        self.byte_done()
    }

    fn put(&self, byte: u8) -> Result<bool> {
        self.registers().set(DS, byte.into())?;
        self.go_on(ACKNOWLEDGE)?;
        self.byte_done()
    }

    fn get(&self, index: usize, len: usize) -> Result<u8> {
        // Each byte, from the first on, comes when the interrupt of the one before is cleared.
        self.go_on(if index + 1 == len { 0 } else { ACKNOWLEDGE })?;
        self.byte_done()?;
        let data = self.registers().get(DS)?;
        u8::try_from(data).map_err(|_| Error::failed(format!("I2CDS is {data:#x}")))
    }

    fn stop(&self) -> Result<()> {
        let registers = self.registers();
        registers.set(STAT, self.mode.get() | OUTPUT)?;
        // A clock that stands still would keep the bus busy.
        registers.set(CON, ACKNOWLEDGE | PENDING)?;
        registers.set(CON, ACKNOWLEDGE)?;
        let (control, status) = (registers.get(CON)?, registers.get(STAT)?);
        let free = self.mode.get() | OUTPUT;
        if control != ACKNOWLEDGE || status & !LAST_BIT != free {
            return Err(Error::failed(format!(
                "after a stop, I2CCON is {control:#04x} and I2CSTAT {status:#04x}"
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

impl Produces<dyn I2cBus> for Exynos4210I2c {
    fn produced(self: Rc<Self>) -> Rc<dyn I2cBus> {
        self
    }
}

impl Produces<RegisterBlock> for Exynos4210I2c {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("Exynos 4210 manual, I2C", self.registers.clone(), TABLE))
    }
}

impl Discovered for Exynos4210I2c {
    const QOM_TYPES: &'static [&'static str] = &["exynos4210.i2c"];

    fn plug(device: &FoundDevice) -> Plug {
        device.first_bus()
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, Endian::Little));
        Ok(Self { registers, on_bus: OnBus::of(device, vm), mode: Cell::new(MASTER_TRANSMIT) })
    }
}

driver!(Exynos4210I2c = "exynos4210.i2c"; produces dyn I2cBus, RegisterBlock);
discovered!(Exynos4210I2c);
