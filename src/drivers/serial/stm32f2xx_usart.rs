//! The USART of ST's STM32F2 and F4 (RM0033, section 24.6).

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces, QemuArgs};
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::qos::uart::{self, Event, Line, Profile, Uart};
use crate::{Error, Result, discovered, driver};

/// Status.
const STATUS: Register<u32> =
    Register::new("USART_SR", 0x00).section("24.6.1").reset(0xc0).side_effect();
/// Data.
const DATA: Register<u32> =
    Register::new("USART_DR", 0x04).section("24.6.2").read_effect().side_effect();
/// Baud rate.
const BAUD: Register<u32> =
    Register::new("USART_BRR", 0x08).section("24.6.3").reset(0).kept(0xffff);
/// Control 1. Bit 0 sends a break.
const CONTROL_1: Register<u32> =
    Register::new("USART_CR1", 0x0c).section("24.6.4").reset(0).kept(0xbffe).acts(0x0001);
/// Control 2.
const CONTROL_2: Register<u32> =
    Register::new("USART_CR2", 0x10).section("24.6.5").reset(0).kept(0x7f6f);
/// Control 3.
const CONTROL_3: Register<u32> =
    Register::new("USART_CR3", 0x14).section("24.6.6").reset(0).kept(0x0fff);
/// Guard time and prescaler.
const GUARD: Register<u32> =
    Register::new("USART_GTPR", 0x18).section("24.6.7").reset(0).kept(0xffff);

/// All registers.
const TABLE: &[&dyn AnyRegister] =
    &[&STATUS, &DATA, &BAUD, &CONTROL_1, &CONTROL_2, &CONTROL_3, &GUARD];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[Fault::new(
    &["USART_BRR", "USART_CR1", "USART_CR2", "USART_CR3", "USART_GTPR"],
    &[Rule::ReadOnly],
    "QEMU's stm32f2xx-usart keeps what is written to reserved bits",
)];

/// USART_SR, and the interrupts of USART_CR1 for it: room for a byte; a byte.
const TXE: u32 = 1 << 7;
const RXNE: u32 = 1 << 5;
/// USART_SR: errors of a byte, and a byte that was lost.
const ERRORS: u32 = 0x0f;
/// USART_CR1: the USART, its transmitter and its receiver are on.
const READY: u32 = 1 << 13 | 1 << 3 | 1 << 2;

/// QEMU's `stm32f2xx-usart`.
pub struct Stm32F2xxUsart {
    vm: Rc<Vm>,
    device: FoundDevice,
    registers: Rc<Mmio>,
}

impl Stm32F2xxUsart {
    fn registers(&self) -> &dyn Registers {
        &*self.registers
    }
}

impl Uart for Stm32F2xxUsart {
    fn profile(&self) -> Profile {
        Profile { sent_is_level: true, ..Profile::of(1) }
    }

    fn enable(&self) -> Result<()> {
        let registers = self.registers();
        registers.set(CONTROL_1, 0)?;
        registers.set(CONTROL_2, 0)?;
        registers.set(CONTROL_3, 0)?;
        registers.set(BAUD, 0x683)?;
        registers.set(STATUS, 0)?;
        registers.get(DATA)?;
        registers.set(CONTROL_1, READY)
    }

    fn has_room(&self) -> Result<bool> {
        Ok(self.registers().get(STATUS)? & TXE != 0)
    }

    fn has_data(&self) -> Result<bool> {
        let status = self.registers().get(STATUS)?;
        match status & ERRORS {
            0 => Ok(status & RXNE != 0),
            _ => Err(Error::failed(format!("USART_SR reports an error: {status:#x}"))),
        }
    }

    fn write(&self, byte: u8) -> Result<()> {
        self.registers().set(DATA, byte.into())
    }

    fn read(&self) -> Result<u8> {
        let data = self.registers().get(DATA)?;
        u8::try_from(data).map_err(|_| Error::failed(format!("USART_DR is {data:#x}")))
    }

    fn enable_interrupt(&self, event: Option<Event>) -> Result<()> {
        let enable = match event {
            None => 0,
            Some(Event::Received) => RXNE,
            Some(Event::Sent) => TXE,
        };
        self.registers().set(CONTROL_1, READY | enable)
    }

    fn interrupts(&self, event: Event) -> Result<bool> {
        let registers = self.registers();
        let enabled = registers.get(CONTROL_1)? & (TXE | RXNE);
        let wanted = if event == Event::Sent { TXE } else { RXNE };
        match enabled & !wanted {
            0 => Ok(registers.get(STATUS)? & enabled != 0),
            others => Err(Error::failed(format!("USART_CR1 has {others:#x}, not asked for"))),
        }
    }

    fn is_full(&self) -> Result<Option<bool>> {
        Ok(Some(self.registers().get(STATUS)? & RXNE != 0))
    }

    fn interrupt(&self, _: Event) -> Result<Option<InterruptLine>> {
        Pin::of(&self.device, 0).map(|pin| pin.watch(&self.vm)).transpose()
    }

    fn line(&self) -> Result<Line> {
        Line::of_found(&self.vm, &self.device)
    }
}

impl Produces<dyn Uart> for Stm32F2xxUsart {
    const ARGS: QemuArgs = uart::ARGS;

    fn produced(self: Rc<Self>) -> Rc<dyn Uart> {
        self
    }
}

impl Produces<RegisterBlock> for Stm32F2xxUsart {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("RM0033", self.registers.clone(), TABLE).faults(FAULTS))
    }
}

impl Discovered for Stm32F2xxUsart {
    const QOM_TYPES: &'static [&'static str] = &["stm32f2xx-usart"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        Ok(Self { vm: vm.clone(), device: device.clone(), registers })
    }
}

driver!(Stm32F2xxUsart = "stm32f2xx-usart"; produces dyn Uart, RegisterBlock);
discovered!(Stm32F2xxUsart);
