//! The I2C bus interface units of Intel's PXA family (PXA27x developer's manual 280000, chapter 9),
//! of which the second is for the power manager.

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Plug, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qemu::discovery::FoundBus;
use crate::qos::i2c::{ByteMaster, Direction, I2cBus, OnBus};
use crate::qos::interrupt::InterruptLine;
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::qos::wait_until;
use crate::{Error, Result, discovered, driver};

/// Bus Monitor: the state of both lines.
const IBMR: Register<u32> = Register::new("IBMR", 0x80).section("9.9.1").volatile(0b11);
/// Data Buffer.
const IDBR: Register<u32> =
    Register::new("IDBR", 0x88).section("9.9.2").reset(0).kept(0xff).reserved(!0xff & ALL);
/// Control.
const ICR: Register<u32> = Register::new("ICR", 0x90)
    .section("9.9.3")
    .reset(0)
    .kept(0xbfe4)
    .acts((UNIT_RESET | MASTER_ABORT | TRANSFER | STOP | START) as u64)
    .reserved(!0xffff & ALL);
/// Status.
const ISR: Register<u32> = Register::new("ISR", 0x98)
    .section("9.9.4")
    .reset(0)
    .w1c(0x07f0)
    .volatile((UNIT_BUSY | BUS_BUSY) as u64)
    .reserved(!0x7ff & ALL);
/// Slave Address.
const ISAR: Register<u32> =
    Register::new("ISAR", 0xa0).section("9.9.5").reset(0).kept(0x7f).reserved(!0x7f & ALL);

/// All bits of a register.
const ALL: u64 = 0xffff_ffff;

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[&IBMR, &IDBR, &ICR, &ISR, &ISAR];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[Fault::new(
    &["IDBR", "ICR", "ISR", "ISAR"],
    &[Rule::MachineReset],
    "QEMU's pxa2xx_i2c is not reset with the machine",
)];

/// ICR: a start condition before the byte.
const START: u32 = 1 << 0;
/// ICR: a stop condition after the byte.
const STOP: u32 = 1 << 1;
/// ICR: the byte that is received is not acknowledged (ACKNAK).
const NO_ACKNOWLEDGE: u32 = 1 << 2;
/// ICR: a byte is transferred (TB).
const TRANSFER: u32 = 1 << 3;
/// ICR: a stop condition without a byte (MA).
const MASTER_ABORT: u32 = 1 << 4;
/// ICR: the unit drives the clock (SCLE) and is enabled (IUE).
const ENABLE: u32 = 1 << 5 | 1 << 6;
/// ICR: interrupts of a byte sent (ITEIE), a byte received (DRFIE), an error of the bus (BEIE).
const INTERRUPTS: u32 = 1 << 8 | 1 << 9 | 1 << 10;
/// ICR: the unit is reset (UR).
const UNIT_RESET: u32 = 1 << 14;

/// ISR: the unit reads (RWM).
const READS: u32 = 1 << 0;
/// ISR: the last byte was not acknowledged (ACKNAK).
const NOT_ACKNOWLEDGED: u32 = 1 << 1;
/// ISR: the unit is busy (UB).
const UNIT_BUSY: u32 = 1 << 2;
/// ISR: the bus is busy with others (IBB).
const BUS_BUSY: u32 = 1 << 3;
/// ISR: a byte was sent (ITE).
const SENT: u32 = 1 << 6;
/// ISR: a byte was received (IRF).
const RECEIVED: u32 = 1 << 7;
/// ISR: an error of the bus, such as no acknowledgement (BED).
const BUS_ERROR: u32 = 1 << 10;

/// QEMU's `pxa2xx_i2c`.
pub struct Pxa2xxI2c {
    registers: Rc<Mmio>,
    on_bus: Option<OnBus>,
}

impl Pxa2xxI2c {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Transfers a byte, waits for one of the bits of `done`, and clears what the status tells.
    fn transfer(&self, command: u32, done: u32) -> Result<u32> {
        let registers = self.registers();
        registers.set(ICR, ENABLE | INTERRUPTS | TRANSFER | command)?;
        let mut status = 0;
        wait_until(self.registers.vm(), "a byte on the I2C bus", || {
            status = registers.get(ISR)?;
            Ok(status & done != 0)
        })?;
        registers.set(ISR, status)?;
        let control = registers.get(ICR)?;
        if control & TRANSFER != 0 {
            return Err(Error::failed(format!("ICR after a byte is {control:#06x}")));
        }
        Ok(status)
    }

    /// Transfers a byte that is sent; returns whether it was acknowledged.
    fn send(&self, byte: u8, command: u32, direction: u32) -> Result<bool> {
        self.registers().set(IDBR, byte.into())?;
        let status = self.transfer(command, SENT)?;
        if status == SENT | UNIT_BUSY | direction {
            return Ok(true);
        }
        // QEMU's unit is not busy any more after an address that nobody has.
        if status & !UNIT_BUSY == SENT | BUS_ERROR | NOT_ACKNOWLEDGED | direction {
            return Ok(false);
        }
        Err(Error::failed(format!("ISR after a byte that was sent is {status:#06x}")))
    }

    /// Sees that neither the unit nor the bus is busy.
    fn expect_free(&self, what: &str) -> Result<()> {
        let status = self.registers().get(ISR)?;
        if status & !(READS | NOT_ACKNOWLEDGED) == 0 {
            return Ok(());
        }
        Err(Error::failed(format!("ISR {what} is {status:#06x}")))
    }
}

impl ByteMaster for Pxa2xxI2c {
    fn start(&self, address: u8, direction: Direction, again: bool) -> Result<bool> {
        if !again {
            self.registers().set(ICR, ENABLE)?;
            self.expect_free("before a start")?;
        }
        let reads = if direction == Direction::Write { 0 } else { READS };
        self.send(direction.with_address(address), START, reads)
    }

    fn put(&self, byte: u8) -> Result<bool> {
        self.send(byte, 0, 0)
    }

    fn get(&self, index: usize, len: usize) -> Result<u8> {
        let (last, busy) = match index + 1 == len {
            true => (NO_ACKNOWLEDGE | STOP, 0),
            false => (0, UNIT_BUSY),
        };
        let status = self.transfer(last, RECEIVED)?;
        // QEMU does not show that the last byte is not acknowledged.
        if status & !NOT_ACKNOWLEDGED != RECEIVED | READS | busy {
            return Err(Error::failed(format!("ISR after byte {index} of {len}: {status:#06x}")));
        }
        let data = self.registers().get(IDBR)?;
        u8::try_from(data).map_err(|_| Error::failed(format!("IDBR is {data:#x}")))
    }

    fn stop(&self) -> Result<()> {
        let registers = self.registers();
        // A read has stopped with its last byte.
        if registers.get(ISR)? & UNIT_BUSY != 0 {
            registers.set(ICR, ENABLE | MASTER_ABORT)?;
        }
        registers.set(ICR, ENABLE)?;
        self.expect_free("after a stop")
    }

    fn on_bus(&self) -> Option<&OnBus> {
        self.on_bus.as_ref()
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        let pin = self.on_bus.as_ref().and_then(OnBus::pin);
        pin.map(|pin| pin.watch(self.registers.vm())).transpose()
    }
}

impl Produces<dyn I2cBus> for Pxa2xxI2c {
    fn produced(self: Rc<Self>) -> Rc<dyn I2cBus> {
        self
    }
}

impl Produces<RegisterBlock> for Pxa2xxI2c {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let raise = |registers: &dyn Registers| {
            // Nobody has this address.
            registers.set(IDBR, 0x02)?;
            registers.set(ICR, ENABLE | TRANSFER | START)
        };
        let block = RegisterBlock::new("280000", self.registers.clone(), TABLE)
            .raise(&ISR, (SENT | BUS_ERROR).into(), raise)
            .faults(FAULTS);
        Rc::new(block)
    }
}

/// The bus that the unit drives. Its own slave is on another one.
fn bus(device: &FoundDevice) -> Option<&FoundBus> {
    device.buses.iter().find(|bus| *bus.name != *"dummy")
}

impl Discovered for Pxa2xxI2c {
    const QOM_TYPES: &'static [&'static str] = &["pxa2xx_i2c"];

    fn plug(device: &FoundDevice) -> Plug {
        bus(device).map_or(Plug::CLOSED, |bus| device.plug_into(bus))
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let base = device.base()? + device.number("offset").unwrap_or(0);
        let registers = Rc::new(Mmio::new(vm, base, Endian::Little));
        Ok(Self { registers, on_bus: bus(device).map(|bus| OnBus::of_bus(device, bus, vm)) })
    }
}

driver!(Pxa2xxI2c = "pxa2xx_i2c"; produces dyn I2cBus, RegisterBlock);
discovered!(Pxa2xxI2c);
