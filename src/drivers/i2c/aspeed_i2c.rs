//! One of the I2C buses of the ASPEED BMCs in the mode that all generations have (AST2500 data
//! sheet, chapter "I2C/SMBus Controller").

use std::cell::Cell;
use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Plug, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::i2c::{ByteMaster, Direction, I2cBus, OnBus};
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt};
use crate::qos::wait_until;
use crate::{Error, Result, discovered, driver};

/// Function control. Bit 1 makes the controller a slave, which puts it on its own bus.
const FUN_CTRL: Register<u32> = Register::new("I2CD00", 0x00)
    .section("Function Control")
    .reset(0)
    .kept(0x0001_c3fd)
    .acts(1 << 1)
    .reserved(0xfffe_3c00);
/// AC timing 1. The divisors of which generation it has which bits are reserved in others.
const AC_TIMING_1: Register<u32> = Register::new("I2CD04", 0x04)
    .section("Clock and AC Timing Control 1")
    .reset(0)
    .kept(0x0fff_f30f)
    .reserved(0xf000_0cf0);
/// AC timing 2.
const AC_TIMING_2: Register<u32> =
    Register::new("I2CD08", 0x08).section("Clock and AC Timing Control 2").reset(0).kept(0x7);
/// Interrupt control.
const INTR_CTRL: Register<u32> = Register::new("I2CD0C", 0x0c)
    .section("Interrupt Control")
    .reset(0)
    .kept(0x707f)
    .reserved(0x0f80);
/// Interrupt status.
const INTR_STS: Register<u32> =
    Register::new("I2CD10", 0x10).section("Interrupt Status").reset(0).w1c(0x707f).reserved(0x0f80);
/// Command and status.
const CMD: Register<u32> = Register::new("I2CD14", 0x14)
    .section("Command/Status")
    .volatile(BUS_BUSY as u64)
    .reserved(!(BUS_BUSY as u64) & 0xffff_ffff)
    .side_effect();
/// Own address as a slave.
const DEV_ADDR: Register<u32> = Register::new("I2CD18", 0x18)
    .section("Device Address")
    .reset(0)
    .kept(0x7f)
    .reserved(0xffff_ff80);
/// Pool buffer control.
const POOL_CTRL: Register<u32> = Register::new("I2CD1C", 0x1c)
    .section("Pool Buffer Control")
    .reset(0)
    .kept(0x001f_1f00)
    .reserved(0xc0e0_e0ff);
/// The byte that is sent, and the one that was received.
const BYTE_BUF: Register<u32> =
    Register::new("I2CD20", 0x20).section("Transmit/Receive Byte Buffer").reset(0).kept(0xff);

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[
    &FUN_CTRL,
    &AC_TIMING_1,
    &AC_TIMING_2,
    &INTR_CTRL,
    &INTR_STS,
    &CMD,
    &DEV_ADDR,
    &POOL_CTRL,
    &BYTE_BUF,
];

/// FUN_CTRL: master.
const MASTER: u32 = 1 << 0;

/// INTR_STS: a byte was sent and acknowledged.
const TX_ACK: u32 = 1 << 0;
/// INTR_STS: a byte was sent and not acknowledged.
const TX_NAK: u32 = 1 << 1;
/// INTR_STS: a byte was received.
const RX_DONE: u32 = 1 << 2;
/// INTR_STS: a stop condition was made.
const NORMAL_STOP: u32 = 1 << 4;
/// INTR_CTRL: all interrupts of a master.
const MASTER_INTERRUPTS: u32 = 0x7f;

/// CMD: start.
const START: u32 = 1 << 0;
/// CMD: send a byte.
const TX: u32 = 1 << 1;
/// CMD: receive a byte.
const RX: u32 = 1 << 3;
/// CMD: do not acknowledge it.
const RX_LAST: u32 = 1 << 4;
/// CMD: stop.
const STOP: u32 = 1 << 5;
/// CMD: the bus is busy.
const BUS_BUSY: u32 = 1 << 16;

/// QEMU's `aspeed.i2c.bus`.
pub struct AspeedI2cBus {
    registers: Rc<Mmio>,
    on_bus: Option<OnBus>,
    /// CMD while nothing is going on, as it was before the first start.
    idle: Cell<Option<u32>>,
    /// The byte that was sent last, which stays in the buffer.
    sent: Cell<u8>,
}

impl AspeedI2cBus {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Gives a command, waits for its interrupt, sees that its status is one of `expected`, and
    /// clears that.
    fn command(&self, command: u32, expected: &[u32]) -> Result<u32> {
        let registers = self.registers();
        registers.set(CMD, command)?;
        let mut status = 0;
        wait_until(self.registers.vm(), "an interrupt of the I2C bus", || {
            status = registers.get(INTR_STS)?;
            Ok(status != 0)
        })?;
        if !expected.contains(&status) {
            return Err(Error::failed(format!(
                "the interrupt status after the command {command:#x} is {status:#x}, not one of \
                 {expected:#x?}"
            )));
        }
        registers.set(INTR_STS, status)?;
        match registers.get(INTR_STS)? {
            0 => Ok(status),
            left => Err(Error::failed(format!("{status:#x} was cleared, {left:#x} is left"))),
        }
    }

    fn expect_busy(&self, what: &str) -> Result<()> {
        let command = self.registers().get(CMD)?;
        if command & BUS_BUSY != 0 {
            return Ok(());
        }
        Err(Error::failed(format!("the bus should be busy {what}: {command:#010x}")))
    }

    /// Sees that the bus is free, and that no command and no line is other than it was then
    /// before.
    fn expect_free(&self, what: &str) -> Result<()> {
        let command = self.registers().get(CMD)?;
        let idle = self.idle.get().unwrap_or(command);
        self.idle.set(Some(idle));
        if command & BUS_BUSY == 0 && command == idle {
            return Ok(());
        }
        Err(Error::failed(format!("the bus should be free {what}: {command:#010x}")))
    }
}

impl ByteMaster for AspeedI2cBus {
    fn start(&self, address: u8, direction: Direction, again: bool) -> Result<bool> {
        let registers = self.registers();
        if !again {
            registers.set(FUN_CTRL, MASTER)?;
            registers.set(INTR_CTRL, MASTER_INTERRUPTS)?;
        }
        match again {
            true => self.expect_busy("before a repeated start")?,
            false => self.expect_free("before a start")?,
        }
        self.sent.set(direction.with_address(address));
        registers.set(BYTE_BUF, self.sent.get().into())?;
        let is_acknowledged = self.command(START | TX, &[TX_ACK, TX_NAK])? == TX_ACK;
        if is_acknowledged {
            self.expect_busy("after a start")?;
        }
        Ok(is_acknowledged)
    }

    fn put(&self, byte: u8) -> Result<bool> {
        self.sent.set(byte);
        self.registers().set(BYTE_BUF, byte.into())?;
        Ok(self.command(TX, &[TX_ACK, TX_NAK])? == TX_ACK)
    }

    fn get(&self, index: usize, len: usize) -> Result<u8> {
        let last = if index + 1 == len { RX_LAST } else { 0 };
        self.command(RX | last, &[RX_DONE])?;
        let read = self.registers().get(BYTE_BUF)?;
        if read >> 16 != 0 || read as u8 != self.sent.get() {
            return Err(Error::failed(format!("the byte buffer is {read:#010x}")));
        }
        Ok((read >> 8) as u8)
    }

    fn stop(&self) -> Result<()> {
        self.command(STOP, &[NORMAL_STOP])?;
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

impl Produces<dyn I2cBus> for AspeedI2cBus {
    fn produced(self: Rc<Self>) -> Rc<dyn I2cBus> {
        self
    }
}

impl Produces<RegisterBlock> for AspeedI2cBus {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let sheet = "AST2500 data sheet, I2C";
        let raise = |registers: &dyn Registers| {
            // Nobody has this address.
            registers.set(FUN_CTRL, MASTER)?;
            registers.set(INTR_CTRL, MASTER_INTERRUPTS)?;
            registers.set(BYTE_BUF, 0x02)?;
            registers.set(CMD, START | TX)
        };
        let block = RegisterBlock::new(sheet, self.registers.clone(), TABLE);
        Rc::new(block.raise(&INTR_STS, TX_NAK.into(), raise))
    }
}

impl Discovered for AspeedI2cBus {
    const QOM_TYPES: &'static [&'static str] = &["aspeed.i2c.bus"];

    fn plug(device: &FoundDevice) -> Plug {
        device.first_bus()
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        // Where all buses share a line, it is that of the controller around them.
        let around = || {
            let (controller, _) = device.path.rsplit_once('/')?;
            Pin::at(device, controller, 0)
        };
        let pin = Pin::of(device, 0).or_else(around);
        let on_bus = OnBus::of(device, vm).map(|bus| bus.with_pin(pin));
        // The buffer of newer QEMUs' buses is a region of its own, which may be below the registers.
        let mut regions = device.registers().filter(|region| !region.name.ends_with(".pool"));
        let base = regions.next().map_or_else(|| device.base(), |region| Ok(region.base))?;
        let registers = Rc::new(Mmio::new(vm, base, Endian::Little));
        Ok(Self { registers, on_bus, idle: Cell::new(None), sent: Cell::new(0) })
    }
}

driver!(AspeedI2cBus = "aspeed.i2c.bus"; produces dyn I2cBus, RegisterBlock);
discovered!(AspeedI2cBus);
