//! One of the SMBus modules of the Nuvoton NPCM7xx, used as an I2C master without its FIFO
//! (NPCM750R data sheet, chapter "SMBus").

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Plug, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::i2c::{ByteMaster, Direction, I2cBus, OnBus};
use crate::qos::interrupt::InterruptLine;
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt};
use crate::{Error, Result, discovered, driver};

/// A register that is only a number.
const fn plain(name: &'static str, offset: u64) -> Register<u8> {
    Register::new(name, offset).section("SMBus Registers").reset(0).kept(0xff)
}

/// Serial data: reading takes a byte, writing sends one.
const SDA: Register<u8> =
    Register::new("SMBnSDA", 0x00).section("SMBnSDA").read_effect().side_effect();
/// Status.
const ST: Register<u8> = Register::new("SMBnST", 0x02).section("SMBnST").reset(0).w1c(0xbc);
/// Control status. Bit 4 is the level of SDA, which a reset shows as high and a disabled
/// module does not show.
const CST: Register<u8> =
    Register::new("SMBnCST", 0x04).section("SMBnCST").reset(0x10).volatile(0x13).side_effect();
/// Control 1.
const CTL1: Register<u8> = Register::new("SMBnCTL1", 0x06)
    .section("SMBnCTL1")
    .reset(0)
    .kept(0xec)
    .acts((START | STOP | ACK) as u64);
/// Own address 1.
const ADDR1: Register<u8> = plain("SMBnADDR1", 0x08);
/// Control 2: the module is enabled; disabling it clears others.
const CTL2: Register<u8> =
    Register::new("SMBnCTL2", 0x0a).section("SMBnCTL2").reset(0).volatile(0xff).side_effect();
/// Own address 2.
const ADDR2: Register<u8> = plain("SMBnADDR2", 0x0c);
/// Control 3: levels of the lines; the bank of further registers.
const CTL3: Register<u8> =
    Register::new("SMBnCTL3", 0x0e).section("SMBnCTL3").reset(0xc0).kept(0x1f).acts(1 << 5);
/// Own addresses of bank 0.
const ADDR3: Register<u8> = plain("SMBnADDR3", 0x10);
const ADDR7: Register<u8> = plain("SMBnADDR7", 0x11);
const ADDR4: Register<u8> = plain("SMBnADDR4", 0x12);
const ADDR8: Register<u8> = plain("SMBnADDR8", 0x13);
const ADDR5: Register<u8> = plain("SMBnADDR5", 0x14);
const ADDR9: Register<u8> = plain("SMBnADDR9", 0x15);
const ADDR6: Register<u8> = plain("SMBnADDR6", 0x16);
const ADDR10: Register<u8> = plain("SMBnADDR10", 0x17);
/// Control status 2: an interrupt is pending, own addresses were seen.
const CST2: Register<u8> = Register::new("SMBnCST2", 0x18).section("SMBnCST2").reset(0).read_only();
/// Control status 3: a transfer has ended.
const CST3: Register<u8> =
    Register::new("SMBnCST3", 0x19).section("SMBnCST3").reset(0).w1c(END_OF_BUSY as u64);
/// Control 4 of bank 0.
const CTL4: Register<u8> =
    Register::new("SMBnCTL4", 0x1a).section("SMBnCTL4").reset(0x07).kept(0xff);
/// Control 5 of bank 0.
const CTL5: Register<u8> = plain("SMBnCTL5", 0x1b);
/// SCL low time of bank 0.
const SCLLT: Register<u8> = plain("SMBnSCLLT", 0x1c);
/// SCL high time of bank 0.
const SCLHT: Register<u8> = plain("SMBnSCLHT", 0x1e);
/// Version: with FIFO.
const VER: Register<u8> =
    Register::new("SMBn_VER", 0x1f).section("SMBn_VER").reset(0x81).read_only();

/// All registers of bank 0.
const TABLE: &[&dyn AnyRegister] = &[
    &SDA, &ST, &CST, &CTL1, &ADDR1, &CTL2, &ADDR2, &CTL3, &ADDR3, &ADDR7, &ADDR4, &ADDR8, &ADDR5,
    &ADDR9, &ADDR6, &ADDR10, &CST2, &CST3, &CTL4, &CTL5, &SCLLT, &SCLHT, &VER,
];

/// ST: SDA can be read or written.
const SDA_STATUS: u8 = 1 << 6;
/// ST: not acknowledged.
const NEGATIVE: u8 = 1 << 4;
/// ST: master mode.
const MASTER: u8 = 1 << 1;
/// ST: transmitting.
const TRANSMIT: u8 = 1 << 0;
/// CST: the bus is busy, by this module or another.
const BUSY: u8 = 0b11;
/// CST3: a transfer has ended.
const END_OF_BUSY: u8 = 1 << 7;
/// CTL1: start.
const START: u8 = 1 << 0;
/// CTL1: stop.
const STOP: u8 = 1 << 1;
/// CTL1: interrupts are enabled.
const INTERRUPTS: u8 = 1 << 2;
/// CTL1: do not acknowledge the next byte.
const ACK: u8 = 1 << 4;
/// CTL2: enabled.
const ENABLE: u8 = 1 << 0;

/// QEMU's `npcm7xx-smbus`.
pub struct Npcm7xxSmbus {
    registers: Rc<Mmio>,
    on_bus: Option<OnBus>,
}

impl Npcm7xxSmbus {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    fn expect(&self, register: Register<u8>, expected: u8, what: &str) -> Result<()> {
        let read = self.registers().get(register)?;
        if read == expected {
            return Ok(());
        }
        let name = register.name();
        Err(Error::failed(format!("{name} {what} is {read:#04x}, not {expected:#04x}")))
    }

    /// Whether what was sent is acknowledged; the status is either of two.
    fn acknowledged(&self, direction: u8, what: &str) -> Result<bool> {
        match self.registers().get(ST)? {
            status if status == MASTER | SDA_STATUS | direction => Ok(true),
            status if status == MASTER | NEGATIVE | direction => Ok(false),
            status => Err(Error::failed(format!("SMBnST after {what} is {status:#04x}"))),
        }
    }
}

impl ByteMaster for Npcm7xxSmbus {
    fn start(&self, address: u8, direction: Direction, again: bool) -> Result<bool> {
        let registers = self.registers();
        if !again {
            registers.set(CTL2, ENABLE)?;
            registers.set(CST3, END_OF_BUSY)?;
            self.expect(ST, 0, "before a start")?;
        }
        registers.set(CTL1, INTERRUPTS | START)?;
        self.expect(ST, MASTER | TRANSMIT | SDA_STATUS, "after a start")?;
        let status = registers.get(CST)?;
        if status & BUSY != BUSY {
            return Err(Error::failed(format!("SMBnCST after a start is {status:#04x}")));
        }
        registers.set(SDA, direction.with_address(address))?;
        let transmit = if direction == Direction::Write { TRANSMIT } else { 0 };
        self.acknowledged(transmit, "an address")
    }

    fn put(&self, byte: u8) -> Result<bool> {
        self.registers().set(SDA, byte)?;
        self.acknowledged(TRANSMIT, "a byte")
    }

    fn get(&self, index: usize, len: usize) -> Result<u8> {
        self.expect(ST, MASTER | SDA_STATUS, "with a byte received")?;
        // Reading takes a byte and clocks the next one in, unless the stop comes before it.
        match len - index {
            1 => self.registers().set(CTL1, INTERRUPTS | STOP)?,
            2 => self.registers().set(CTL1, INTERRUPTS | ACK)?,
            _ => {}
        }
        self.registers().get(SDA)
    }

    fn stop(&self) -> Result<()> {
        let registers = self.registers();
        let status = registers.get(ST)?;
        if status != 0 {
            registers.set(CTL1, INTERRUPTS | STOP)?;
            registers.set(ST, status & NEGATIVE)?;
        }
        self.expect(ST, 0, "after a stop")?;
        let busy = registers.get(CST)?;
        if busy & BUSY != 0 {
            return Err(Error::failed(format!("SMBnCST after a stop is {busy:#04x}")));
        }
        self.expect(CST3, END_OF_BUSY, "after a stop")?;
        registers.set(CST3, END_OF_BUSY)
    }

    fn on_bus(&self) -> Option<&OnBus> {
        self.on_bus.as_ref()
    }

    fn interrupt(&self) -> Result<Option<InterruptLine>> {
        let pin = self.on_bus.as_ref().and_then(OnBus::pin);
        pin.map(|pin| pin.watch(self.registers.vm())).transpose()
    }
}

impl Produces<dyn I2cBus> for Npcm7xxSmbus {
    fn produced(self: Rc<Self>) -> Rc<dyn I2cBus> {
        self
    }
}

impl Produces<RegisterBlock> for Npcm7xxSmbus {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let raise = |registers: &dyn Registers| {
            // Nobody has this address.
            registers.set(CTL2, ENABLE)?;
            registers.set(CTL1, START)?;
            registers.set(SDA, 0x02)
        };
        let block = RegisterBlock::new("NPCM750R data sheet", self.registers.clone(), TABLE).raise(
            &ST,
            NEGATIVE.into(),
            raise,
        );
        Rc::new(block)
    }
}

impl Discovered for Npcm7xxSmbus {
    const QOM_TYPES: &'static [&'static str] = &["npcm7xx-smbus"];

    fn plug(device: &FoundDevice) -> Plug {
        device.first_bus()
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, Endian::Little));
        Ok(Self { registers, on_bus: OnBus::of(device, vm) })
    }
}

driver!(Npcm7xxSmbus = "npcm7xx-smbus"; produces dyn I2cBus, RegisterBlock);
discovered!(Npcm7xxSmbus);
