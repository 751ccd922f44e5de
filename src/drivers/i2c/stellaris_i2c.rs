//! The I2C controller of the Stellaris microcontrollers (Luminary Micro, LM3S6965 data sheet,
//! chapter 14, section 14.4). A start has the address and a byte.

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Plug, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::i2c::{I2cBus, OnBus, not_acknowledged};
use crate::qos::interrupt::InterruptLine;
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::qos::wait_until;
use crate::{Error, Result, discovered, driver};

/// Master Slave Address, and whether it is a read.
const MSA: Register<u32> = Register::new("I2CMSA", 0x00).section("I2CMSA").reset(0).kept(0xff);
/// Master Control/Status: a read has the status, a write is a command.
const MCS: Register<u32> = Register::new("I2CMCS", 0x04)
    .section("I2CMCS")
    .volatile(0xff)
    .reserved(0xffff_ff00)
    .side_effect();
/// Master Data.
const MDR: Register<u32> = Register::new("I2CMDR", 0x08).section("I2CMDR").reset(0).kept(0xff);
/// Master Timer Period.
const MTPR: Register<u32> =
    Register::new("I2CMTPR", 0x0c).section("I2CMTPR").reset(1).kept(0x7f).reserved(0xffff_ff80);
/// Master Interrupt Mask.
const MIMR: Register<u32> = Register::new("I2CMIMR", 0x10).section("I2CMIMR").reset(0).kept(1);
/// Master Raw Interrupt Status.
const MRIS: Register<u32> = Register::new("I2CMRIS", 0x14).section("I2CMRIS").reset(0).read_only();
/// Master Masked Interrupt Status.
const MMIS: Register<u32> = Register::new("I2CMMIS", 0x18).section("I2CMMIS").reset(0).read_only();
/// Master Interrupt Clear.
const MICR: Register<u32> =
    Register::new("I2CMICR", 0x1c).section("I2CMICR").write_only().side_effect();
/// Master Configuration. Loopback and the slave are left alone.
const MCR: Register<u32> =
    Register::new("I2CMCR", 0x20).section("I2CMCR").reset(0).kept(MASTER as u64).acts(0x21);

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[&MSA, &MCS, &MDR, &MTPR, &MIMR, &MRIS, &MMIS, &MICR, &MCR];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[
    Fault::new(
        &["I2CMIMR"],
        &[Rule::Kept, Rule::MachineReset],
        "the interrupt mask of QEMU's stellaris-i2c is set by any value",
    ),
    Fault::new(
        &["I2CMSA", "I2CMDR", "I2CMTPR", "I2CMCR", "I2CMIMR", "I2CMRIS", "I2CMMIS"],
        &[Rule::MachineReset],
        "QEMU's stellaris-i2c is not reset with the machine",
    )
    .before(10, 0),
];

/// MCR: the master is enabled (MFE).
const MASTER: u32 = 1 << 4;

/// MCS, written: transfer a byte (RUN).
const RUN: u32 = 1 << 0;
/// MCS, written: a start condition and the address before it (START).
const START: u32 = 1 << 1;
/// MCS, written: a stop condition after it (STOP).
const STOP: u32 = 1 << 2;
/// MCS, written: acknowledge the byte that is received (ACK).
const ACKNOWLEDGE: u32 = 1 << 3;

/// MCS, read: the controller is busy (BUSY).
const BUSY: u32 = 1 << 0;
/// MCS, read: the last operation went wrong (ERROR).
const ERROR: u32 = 1 << 1;
/// MCS, read: the address was not acknowledged (ADRACK).
const ADDRESS_NOT_ACKNOWLEDGED: u32 = 1 << 2;
/// MCS, read: the controller is idle (IDLE).
const IDLE: u32 = 1 << 5;
/// MCS, read: the bus is busy (BUSBSY).
const BUS_BUSY: u32 = 1 << 6;

/// QEMU's `stellaris-i2c`.
pub struct StellarisI2c {
    registers: Rc<Mmio>,
    on_bus: Option<OnBus>,
}

impl StellarisI2c {
    /// MCS after a read from an address that nobody has.
    pub const NOBODY: u32 = ERROR | ADDRESS_NOT_ACKNOWLEDGED;
    /// MCS: what went wrong.
    pub const ERRORS: u32 = 0x1e;
    /// MCS while nothing is going on.
    pub const IDLE: u32 = IDLE;

    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// Has the master enabled, and the address sent with the next start.
    fn address(&self, address: u8, reads: bool) -> Result<()> {
        let registers = self.registers();
        registers.set(MCR, MASTER)?;
        registers.set(MIMR, 1)?;
        registers.set(MSA, u32::from(address) << 1 | u32::from(reads))
    }

    /// Gives a command, and waits until it is done. Returns the status.
    fn command(&self, command: u32) -> Result<u32> {
        let registers = self.registers();
        registers.set(MCS, command)?;
        let mut status = 0;
        wait_until(self.registers.vm(), "an operation on the I2C bus", || {
            status = registers.get(MCS)?;
            Ok(status & BUSY == 0)
        })?;
        registers.set(MICR, 1)?;
        match registers.get(MRIS)? {
            0 => Ok(status),
            other => Err(Error::failed(format!("I2CMRIS is {other:#x}, cleared"))),
        }
    }

    /// Gives a command with a byte, and sees that it goes well.
    fn run(&self, address: u8, command: u32) -> Result<()> {
        let status = self.command(RUN | command)?;
        if status & ERROR != 0 {
            // The bus is free again, whichever byte it was.
            if status & BUS_BUSY != 0 {
                self.command(STOP)?;
            }
            return Err(not_acknowledged(address, "its address or a byte"));
        }
        let busy = if command & STOP == 0 { BUS_BUSY } else { 0 };
        if status != IDLE | busy {
            return Err(Error::failed(format!("I2CMCS after a byte is {status:#04x}")));
        }
        Ok(())
    }

    fn put(&self, address: u8, data: &[u8], end: u32) -> Result<()> {
        if data.is_empty() {
            return Err(Error::skipped("a start of this controller has a byte of data with it"));
        }
        self.address(address, false)?;
        for (index, &byte) in data.iter().enumerate() {
            let start = if index == 0 { START } else { 0 };
            let stop = if index + 1 == data.len() { end } else { 0 };
            self.registers().set(MDR, byte.into())?;
            self.run(address, start | stop)?;
        }
        Ok(())
    }

    fn get(&self, address: u8, into: &mut [u8]) -> Result<()> {
        self.address(address, true)?;
        let len = into.len();
        for (index, byte) in into.iter_mut().enumerate() {
            let start = if index == 0 { START } else { 0 };
            let end = if index + 1 == len { STOP } else { ACKNOWLEDGE };
            self.run(address, start | end)?;
            let data = self.registers().get(MDR)?;
            *byte =
                u8::try_from(data).map_err(|_| Error::failed(format!("I2CMDR is {data:#x}")))?;
        }
        Ok(())
    }

    /// MCS after a read of a byte from `address`.
    ///
    /// # Errors
    /// Returns an error if the read does not end.
    pub fn status_of_read(&self, address: u8) -> Result<u32> {
        self.address(address, true)?;
        self.command(RUN | START | STOP)
    }

    /// MCS after a start while the master is disabled.
    ///
    /// # Errors
    /// Returns an error if the controller stays busy.
    pub fn status_disabled(&self, address: u8) -> Result<u32> {
        self.address(address, true)?;
        self.registers().set(MCR, 0)?;
        self.command(RUN | START)
    }
}

impl I2cBus for StellarisI2c {
    fn send(&self, address: u8, data: &[u8]) -> Result<()> {
        self.put(address, data, STOP)
    }

    fn recv(&self, address: u8, into: &mut [u8]) -> Result<()> {
        self.get(address, into)
    }

    fn send_recv(&self, address: u8, data: &[u8], into: &mut [u8]) -> Result<()> {
        self.put(address, data, 0)?;
        self.get(address, into)
    }

    /// A start has a byte of data with it: one is read.
    fn probe(&self, address: u8) -> Result<bool> {
        let status = self.status_of_read(address)?;
        if status & ERROR != 0 {
            return Ok(false);
        }
        match status {
            IDLE => Ok(true),
            other => Err(Error::failed(format!("I2CMCS after a stop is {other:#04x}"))),
        }
    }

    fn on_bus(&self) -> Option<&OnBus> {
        self.on_bus.as_ref()
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        let pin = self.on_bus.as_ref().and_then(OnBus::pin);
        pin.map(|pin| pin.watch(self.registers.vm())).transpose()
    }
}

impl Produces<dyn I2cBus> for StellarisI2c {
    fn produced(self: Rc<Self>) -> Rc<dyn I2cBus> {
        self
    }
}

impl Produces<RegisterBlock> for StellarisI2c {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("LM3S6965 data sheet, 14", self.registers.clone(), TABLE);
        Rc::new(block.faults(FAULTS))
    }
}

impl Discovered for StellarisI2c {
    const QOM_TYPES: &'static [&'static str] = &["stellaris-i2c"];

    fn plug(device: &FoundDevice) -> Plug {
        device.first_bus()
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, Endian::Little));
        Ok(Self { registers, on_bus: OnBus::of(device, vm) })
    }
}

driver!(StellarisI2c = "stellaris-i2c"; produces dyn I2cBus, RegisterBlock);
discovered!(StellarisI2c);
