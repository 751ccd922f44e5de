//! The two-wire interface of Allwinner's A10 and H3 (A10 user manual 1.50 and H3 datasheet, chapter
//! "TWI"), which differ in how a pending interrupt is cleared.

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Plug, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::i2c::{ByteMaster, Direction, I2cBus, OnBus};
use crate::qos::interrupt::InterruptLine;
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt};
use crate::qos::wait_until;
use crate::{Error, Result, discovered, driver};

/// Slave Address.
const ADDR: Register<u32> = register("TWI_ADDR", 0x00).reset(0).kept(0xff);
/// Extended Slave Address.
const XADDR: Register<u32> = register("TWI_XADDR", 0x04).reset(0).kept(0xff);
/// Data Byte.
const DATA: Register<u32> = register("TWI_DATA", 0x08).read_effect().side_effect();
/// Control.
const CNTR: Register<u32> = register("TWI_CNTR", 0x0c)
    .reset(0)
    .kept((INTERRUPTS | ENABLE | ACKNOWLEDGE) as u64)
    .acts((START | STOP) as u64)
    .volatile(PENDING as u64)
    .reserved(0x3);
/// Status.
const STAT: Register<u32> = register("TWI_STAT", 0x10).reset(IDLE as u64).read_only();
/// Clock Control.
const CCR: Register<u32> = register("TWI_CCR", 0x14).reset(0).kept(0x7f);
/// Software Reset.
const SRST: Register<u32> = register("TWI_SRST", 0x18).reset(0).side_effect();
/// Enhance Feature.
const EFR: Register<u32> = register("TWI_EFR", 0x1c).reset(0).kept(0x03);
/// Line Control: both lines, and what drives them.
const LCR: Register<u32> = register("TWI_LCR", 0x20).reset(0x3a).acts(0x0f).volatile(0x30);

const fn register(name: &'static str, offset: u64) -> Register<u32> {
    Register::new(name, offset).section(name)
}

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[&ADDR, &XADDR, &DATA, &CNTR, &STAT, &CCR, &SRST, &EFR, &LCR];

/// CNTR: interrupts are enabled (INT_EN).
const INTERRUPTS: u32 = 1 << 7;
/// CNTR: the interface is enabled (BUS_EN).
const ENABLE: u32 = 1 << 6;
/// CNTR: make a start (M_STA).
const START: u32 = 1 << 5;
/// CNTR: make a stop (M_STP).
const STOP: u32 = 1 << 4;
/// CNTR: an interrupt is pending, and the clock stands until it is cleared (INT_FLAG).
const PENDING: u32 = 1 << 3;
/// CNTR: acknowledge what is received (A_ACK).
const ACKNOWLEDGE: u32 = 1 << 2;

/// STAT: a start was made.
const STARTED: u32 = 0x08;
/// STAT: a repeated start was made.
const STARTED_AGAIN: u32 = 0x10;
/// STAT: the address was sent for a write: acknowledged, not acknowledged.
const WRITE: [u32; 2] = [0x18, 0x20];
/// STAT: a byte was sent: acknowledged, not acknowledged.
const SENT: [u32; 2] = [0x28, 0x30];
/// STAT: the address was sent for a read: acknowledged, not acknowledged.
const READ: [u32; 2] = [0x40, 0x48];
/// STAT: a byte was received: acknowledged, not acknowledged.
const RECEIVED: [u32; 2] = [0x50, 0x58];
/// STAT: nothing to say.
const IDLE: u32 = 0xf8;

/// QEMU's `allwinner.i2c` and `allwinner.i2c-sun6i`.
pub struct AllwinnerI2c {
    registers: Rc<Mmio>,
    on_bus: Option<OnBus>,
    /// What is written to CNTR to clear a pending interrupt: a one from sun6i on, before that a
    /// zero.
    clear: u32,
}

impl AllwinnerI2c {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Clears the pending interrupt, and lets the interface go on with `control`.
    fn go_on(&self, control: u32) -> Result<()> {
        self.registers().set(CNTR, ENABLE | INTERRUPTS | self.clear | control)
    }

    /// Waits for an interrupt whose status is one of `expected`; returns which.
    fn await_status(&self, what: &str, expected: &[u32]) -> Result<usize> {
        let mut status = IDLE;
        wait_until(self.registers.vm(), what, || {
            status = self.registers().get(STAT)?;
            Ok(status != IDLE)
        })?;
        let index = expected.iter().position(|&it| it == status);
        index.ok_or_else(|| {
            let error = format!("TWI_STAT is {status:#04x}, not of {expected:#04x?}: {what}");
            Error::failed(error)
        })
    }

    /// Sends a byte; returns whether the status is the first of `expected`.
    fn send(&self, byte: u8, expected: [u32; 2]) -> Result<bool> {
        self.registers().set(DATA, byte.into())?;
        self.go_on(0)?;
        Ok(self.await_status("a byte on the I2C bus", &expected)? == 0)
    }
}

impl ByteMaster for AllwinnerI2c {
    fn start(&self, address: u8, direction: Direction, again: bool) -> Result<bool> {
        if !again {
            let status = self.registers().get(STAT)?;
            if status != IDLE {
                return Err(Error::failed(format!("TWI_STAT before a start is {status:#04x}")));
            }
        }
        self.go_on(START)?;
        self.await_status("a start", &[if again { STARTED_AGAIN } else { STARTED }])?;
        let expected = if direction == Direction::Write { WRITE } else { READ };
        self.send(direction.with_address(address), expected)
    }

    fn put(&self, byte: u8) -> Result<bool> {
        self.send(byte, SENT)
    }

    fn get(&self, index: usize, len: usize) -> Result<u8> {
        let is_last = index + 1 == len;
        self.go_on(if is_last { 0 } else { ACKNOWLEDGE })?;
        self.await_status("a byte from the I2C bus", &[RECEIVED[usize::from(is_last)]])?;
        let data = self.registers().get(DATA)?;
        u8::try_from(data).map_err(|_| Error::failed(format!("TWI_DATA is {data:#x}")))
    }

    fn stop(&self) -> Result<()> {
        let registers = self.registers();
        self.go_on(STOP)?;
        wait_until(self.registers.vm(), "a stop", || Ok(registers.get(CNTR)? & STOP == 0))?;
        let (control, status) = (registers.get(CNTR)?, registers.get(STAT)?);
        if control & PENDING == 0 && status == IDLE {
            return Ok(());
        }
        Err(Error::failed(format!(
            "after a stop TWI_CNTR is {control:#04x} and TWI_STAT {status:#04x}"
        )))
    }

    fn on_bus(&self) -> Option<&OnBus> {
        self.on_bus.as_ref()
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        let pin = self.on_bus.as_ref().and_then(OnBus::pin);
        pin.map(|pin| pin.watch(self.registers.vm())).transpose()
    }
}

impl Produces<dyn I2cBus> for AllwinnerI2c {
    fn produced(self: Rc<Self>) -> Rc<dyn I2cBus> {
        self
    }
}

impl Produces<RegisterBlock> for AllwinnerI2c {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("A10 user manual, TWI", self.registers.clone(), TABLE);
        let reset = |registers: &dyn Registers| {
            registers.set(SRST, 1)?;
            registers.set(SRST, 0)
        };
        Rc::new(block.software_reset(reset))
    }
}

impl Discovered for AllwinnerI2c {
    const QOM_TYPES: &'static [&'static str] = &["allwinner.i2c", "allwinner.i2c-sun6i"];

    fn plug(device: &FoundDevice) -> Plug {
        device.first_bus()
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, Endian::Little));
        let clear = if device.is_a("allwinner.i2c-sun6i") { PENDING } else { 0 };
        Ok(Self { registers, on_bus: OnBus::of(device, vm), clear })
    }
}

driver!(AllwinnerI2c = "allwinner.i2c"; produces dyn I2cBus, RegisterBlock);
discovered!(AllwinnerI2c);
