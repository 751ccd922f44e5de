//! The USART of Microchip's AVR (ATmega328P data sheet, section 19.10).

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces, QemuArgs};
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, Registers, RegistersExt};
use crate::qos::uart::{self, Event, Line, Profile, Uart};
use crate::{Error, Result, discovered, driver};

/// Control and status A.
const CONTROL_A: Register<u8> =
    Register::new("UCSRnA", 0).section("19.10.2").reset(0x20).kept(0x02).acts(0x01).volatile(0x40);
/// Control and status B.
const CONTROL_B: Register<u8> = Register::new("UCSRnB", 1).section("19.10.3").reset(0).kept(0xfd);
/// Control and status C.
const CONTROL_C: Register<u8> =
    Register::new("UCSRnC", 2).section("19.10.4").reset(0x06).kept(0xff);
/// Baud rate, lower and upper byte.
const BAUD_LOW: Register<u8> = Register::new("UBRRnL", 4).section("19.10.5").reset(0).kept(0xff);
const BAUD_HIGH: Register<u8> = Register::new("UBRRnH", 5).section("19.10.5").reset(0).kept(0x0f);
/// Data.
const DATA: Register<u8> = Register::new("UDRn", 6).section("19.10.1").read_effect().side_effect();

/// All registers.
const TABLE: &[&dyn AnyRegister] =
    &[&CONTROL_A, &CONTROL_B, &CONTROL_C, &BAUD_LOW, &BAUD_HIGH, &DATA];

/// UCSRnA: a byte was received; there is room for one; errors of a byte.
const RXC: u8 = 1 << 7;
const UDRE: u8 = 1 << 5;
const ERRORS: u8 = 7 << 2;
/// UCSRnB: interrupts for RXC and UDRE; receiver and transmitter are on.
const RXCIE: u8 = 1 << 7;
const UDRIE: u8 = 1 << 5;
const READY: u8 = 3 << 3;

/// QEMU's `avr-usart`.
pub struct AvrUsart {
    vm: Rc<Vm>,
    device: FoundDevice,
    registers: Rc<Mmio>,
}

impl AvrUsart {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }
}

impl Uart for AvrUsart {
    fn profile(&self) -> Profile {
        Profile {
            shallow: Some((1, "QEMU's avr-usart holds one byte, and the one of AVR two")),
            sent_is_level: true,
            ..Profile::of(2)
        }
    }

    fn enable(&self) -> Result<()> {
        let registers = self.registers();
        registers.set(CONTROL_C, 0x06)?;
        registers.set(CONTROL_A, 0)?;
        registers.set(BAUD_HIGH, 0)?;
        registers.set(BAUD_LOW, 103)?;
        registers.set(CONTROL_B, READY)?;
        // So the data sheet flushes the buffer (19.7.6).
        while registers.get(CONTROL_A)? & RXC != 0 {
            registers.get(DATA)?;
        }
        Ok(())
    }

    fn has_room(&self) -> Result<bool> {
        Ok(self.registers().get(CONTROL_A)? & UDRE != 0)
    }

    fn has_data(&self) -> Result<bool> {
        let status = self.registers().get(CONTROL_A)?;
        match status & ERRORS {
            0 => Ok(status & RXC != 0),
            _ => Err(Error::failed(format!("UCSRnA reports an error: {status:#x}"))),
        }
    }

    fn write(&self, byte: u8) -> Result<()> {
        self.registers().set(DATA, byte)
    }

    fn read(&self) -> Result<u8> {
        self.registers().get(DATA)
    }

    fn enable_interrupt(&self, event: Option<Event>) -> Result<()> {
        let enable = match event {
            None => 0,
            Some(Event::Received) => RXCIE,
            Some(Event::Sent) => UDRIE,
        };
        self.registers().set(CONTROL_B, READY | enable)
    }

    fn interrupts(&self, event: Event) -> Result<bool> {
        let registers = self.registers();
        // The enables are at the places of the flags.
        let enabled = registers.get(CONTROL_B)? & (RXCIE | UDRIE);
        let wanted = if event == Event::Sent { UDRIE } else { RXCIE };
        match enabled & !wanted {
            0 => Ok(registers.get(CONTROL_A)? & enabled != 0),
            others => Err(Error::failed(format!("UCSRnB has {others:#x}, not asked for"))),
        }
    }

    fn interrupt(&self, event: Event) -> Result<Option<InterruptLine>> {
        let number = if event == Event::Sent { 1 } else { 0 };
        Pin::of(&self.device, number).map(|pin| pin.watch(&self.vm)).transpose()
    }

    fn line(&self) -> Result<Line> {
        Line::of_found(&self.vm, &self.device)
    }
}

impl Produces<dyn Uart> for AvrUsart {
    const ARGS: QemuArgs = uart::ARGS;

    fn produced(self: Rc<Self>) -> Rc<dyn Uart> {
        self
    }
}

impl Produces<RegisterBlock> for AvrUsart {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("ATmega328P", self.registers.clone(), TABLE))
    }
}

impl Discovered for AvrUsart {
    const QOM_TYPES: &'static [&'static str] = &["avr-usart"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        Ok(Self { vm: vm.clone(), device: device.clone(), registers })
    }
}

driver!(AvrUsart = "avr-usart"; produces dyn Uart, RegisterBlock);
discovered!(AvrUsart);
