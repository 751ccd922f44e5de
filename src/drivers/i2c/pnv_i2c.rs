//! The I2C masters of the POWER9 and POWER10 processors (OpenPOWER, "POWER9 Processor Registers
//! Specification", volume 3, "I2C Master"), behind the processor's XSCOM. Bits are counted from the
//! most significant one.

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Plug, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::i2c::{I2cBus, OnBus, not_acknowledged};
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt};
use crate::qos::wait_until;
use crate::{Error, Result, discovered, driver};

/// FIFO: a byte, in the most significant bits.
const FIFO: Register<u64> = register("FIFO", 0x4).read_effect().side_effect();
/// Command.
const COMMAND: Register<u64> = register("command", 0x5).side_effect();
/// Mode: the rate, and the port.
const MODE: Register<u64> = register("mode", 0x6).reset(0).kept(0xffff << 48).reserved(!0 >> 16);
/// Watermarks: how much is in the FIFO when data are asked for.
const WATERMARK: Register<u64> =
    register("watermark", 0x7).reset(0).kept(0xf << 44 | 0xf << 36).reserved(!0xf0f0_0000_0000);
/// Interrupt Mask.
const MASK: Register<u64> =
    register("interrupt mask", 0x8).reset(0).kept(0xffff << 32).reserved(!(0xffff << 32));
/// Status; a write resets the master.
const STATUS: Register<u64> = register("status", 0xb).volatile(!0).side_effect();
/// Extended Status; a write clears errors.
const EXTENDED: Register<u64> = register("extended status", 0xc).volatile(!0).side_effect();
/// Residual Length: bytes that are left of a transfer, before and behind the FIFO.
const RESIDUAL: Register<u64> = register("residual length", 0xd).reset(0).side_effect();

/// Registers are eight bytes apart.
const fn register(name: &'static str, number: u64) -> Register<u64> {
    Register::new(name, 8 * number).section("I2C Master")
}

/// All registers.
const TABLE: &[&dyn AnyRegister] =
    &[&FIFO, &COMMAND, &MODE, &WATERMARK, &MASK, &STATUS, &EXTENDED, &RESIDUAL];

/// Bit `number` of a register, counted from the most significant one.
const fn bit(number: u32) -> u64 {
    1 << (63 - number)
}

/// COMMAND: start, the address, stop.
const START: u64 = bit(0) | bit(1);
/// COMMAND: stop.
const STOP: u64 = bit(3);
/// COMMAND: read.
const READ: u64 = bit(15);

/// STATUS: any error.
const ERRORS: u64 = 0xfc << 56 | bit(8);
/// STATUS: no acknowledgement.
const NOT_ACKNOWLEDGED: u64 = bit(5);
/// STATUS: data are asked for, or there.
const DATA: u64 = bit(6);
/// STATUS: the command is complete.
const COMPLETE: u64 = bit(7);
/// EXTENDED: the bus is busy, and by this master.
const BUSY: u64 = bit(24) | bit(25);

/// Where the XSCOM of the first processor begins, and the registers of the first master there.
const XSCOM: u64 = 0x0006_03fc_0000_0000;
const MASTERS: u64 = 0xa_0000;
/// How far the registers of one master are from those of the next.
const STRIDE: u64 = 0x1000;

/// A port of QEMU's `pnv-i2c`.
pub struct PnvI2c {
    registers: Rc<Mmio>,
    on_bus: Option<OnBus>,
    port: u64,
}

impl PnvI2c {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Waits until STATUS has one of `bits`, and sees that it has no error.
    fn step(&self, address: u8, what: &str, bits: u64) -> Result<()> {
        let registers = self.registers();
        let mut status = 0;
        wait_until(self.registers.vm(), what, || {
            status = registers.get(STATUS)?;
            Ok(status & (bits | ERRORS) != 0)
        })?;
        if status & ERRORS == 0 {
            return Ok(());
        }
        registers.set(EXTENDED, 0)?;
        let after = registers.get(STATUS)?;
        if after & ERRORS != 0 {
            return Err(Error::failed(format!("the status is {after:#018x}, errors cleared")));
        }
        match status & ERRORS {
            NOT_ACKNOWLEDGED => Err(not_acknowledged(address, what)),
            _ => Err(Error::failed(format!("the status is {status:#018x}, waiting for {what}"))),
        }
    }

    fn command(&self, address: u8, len: usize, command: u64) -> Result<()> {
        let len = u16::try_from(len)
            .map_err(|_| Error::failed(format!("{len} bytes are too many for a command")))?;
        let registers = self.registers();
        registers.set(MODE, 0x3f << 48 | self.port << 42)?;
        // Data are asked for while less than four bytes are there, and given from one on.
        registers.set(WATERMARK, 1 << 44 | 4 << 36)?;
        let status = registers.get(STATUS)?;
        if status & (ERRORS | COMPLETE) != COMPLETE {
            return Err(Error::failed(format!("the status before a command is {status:#018x}")));
        }
        let address = u64::from(address) << 49;
        registers.set(COMMAND, command | address | u64::from(len) << 32)
    }

    fn put(&self, address: u8, data: &[u8], stop: u64) -> Result<()> {
        self.command(address, data.len(), START | stop)?;
        for &byte in data {
            self.step(address, "its address or a byte", DATA)?;
            self.registers().set(FIFO, u64::from(byte) << 56)?;
        }
        self.step(address, "its address or the last byte", COMPLETE)
    }

    fn get(&self, address: u8, into: &mut [u8]) -> Result<()> {
        self.command(address, into.len(), START | STOP | READ)?;
        for byte in into {
            self.step(address, "its address", DATA)?;
            *byte = (self.registers().get(FIFO)? >> 56) as u8;
        }
        self.step(address, "its address", COMPLETE)
    }

    /// Sees that the bus is free, and that no bytes are left of a transfer.
    fn expect_free(&self) -> Result<()> {
        let (extended, left) = (self.registers().get(EXTENDED)?, self.registers().get(RESIDUAL)?);
        if extended & BUSY == 0 && left == 0 {
            return Ok(());
        }
        Err(Error::failed(format!(
            "after a stop the extended status is {extended:#018x} and the residual length {left:#x}"
        )))
    }
}

impl I2cBus for PnvI2c {
    fn send(&self, address: u8, data: &[u8]) -> Result<()> {
        self.put(address, data, STOP)?;
        self.expect_free()
    }

    fn recv(&self, address: u8, into: &mut [u8]) -> Result<()> {
        self.get(address, into)?;
        self.expect_free()
    }

    fn send_recv(&self, address: u8, data: &[u8], into: &mut [u8]) -> Result<()> {
        self.put(address, data, 0)?;
        let extended = self.registers().get(EXTENDED)?;
        if extended & BUSY != BUSY {
            return Err(Error::failed(format!(
                "without a stop the extended status is {extended:#018x}"
            )));
        }
        self.recv(address, into)
    }

    fn probe(&self, address: u8) -> Result<bool> {
        self.command(address, 0, START | STOP)?;
        let mut status = 0;
        wait_until(self.registers.vm(), "an acknowledgement or none", || {
            status = self.registers().get(STATUS)?;
            Ok(status & (COMPLETE | ERRORS) != 0)
        })?;
        let is_acknowledged = match status & ERRORS {
            0 => true,
            NOT_ACKNOWLEDGED => false,
            _ => return Err(Error::failed(format!("the status of a probe is {status:#018x}"))),
        };
        self.registers().set(EXTENDED, 0)?;
        self.expect_free()?;
        Ok(is_acknowledged)
    }

    fn on_bus(&self) -> Option<&OnBus> {
        self.on_bus.as_ref()
    }
}

impl Produces<dyn I2cBus> for PnvI2c {
    fn produced(self: Rc<Self>) -> Rc<dyn I2cBus> {
        self
    }
}

impl Produces<RegisterBlock> for PnvI2c {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("POWER9 registers, I2C", self.registers.clone(), TABLE))
    }
}

impl Discovered for PnvI2c {
    const QOM_TYPES: &'static [&'static str] = &["pnv-i2c"];

    /// Those of the first processor.
    fn drives(device: &FoundDevice) -> bool {
        device.is_a("pnv-i2c") && device.path.contains("/chip[0]/")
    }

    /// QEMU's command line does not reach these buses, which are not below the system's.
    fn plug(_: &FoundDevice) -> Plug {
        Plug::CLOSED
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let bus = device.buses.first().map(|bus| bus.name.to_string());
        let port = bus.as_deref().and_then(|name| name.rsplit_once('.')?.1.parse().ok());
        let port = port.ok_or_else(|| Error::skipped("the master has no port"))?;
        let number = device.number("engine").unwrap_or(1).saturating_sub(1);
        let base = XSCOM + ((MASTERS + number * STRIDE) << 3);
        let registers = Rc::new(Mmio::new(vm, base, Endian::Big));
        Ok(Self { registers, on_bus: OnBus::of(device, vm), port })
    }
}

driver!(PnvI2c = "pnv-i2c"; produces dyn I2cBus, RegisterBlock);
discovered!(PnvI2c);
