//! The USARTs, UARTs and the LPUART of ST's STM32L4 (RM0351, sections 40.8 and 41.7).

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces, QemuArgs};
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::qos::uart::{self, Event, Line, Profile, Uart};
use crate::{Error, Result, discovered, driver};

/// Control 1.
pub const CONTROL_1: Register<u32> =
    Register::new("USART_CR1", 0x00).section("40.8.1").reset(0).kept(0x1fff_ffff);
/// Control 2.
pub const CONTROL_2: Register<u32> =
    Register::new("USART_CR2", 0x04).section("40.8.2").reset(0).kept(0xffff_ff70);
/// Control 3.
pub const CONTROL_3: Register<u32> =
    Register::new("USART_CR3", 0x08).section("40.8.3").reset(0).kept(0x00fe_ffff);
/// Baud rate.
pub const BAUD: Register<u32> =
    Register::new("USART_BRR", 0x0c).section("40.8.4").reset(0).kept(0xffff);
/// Guard time and prescaler.
pub const GUARD: Register<u32> =
    Register::new("USART_GTPR", 0x10).section("40.8.5").reset(0).kept(0xffff);
/// Timeout of the receiver.
pub const TIMEOUT: Register<u32> =
    Register::new("USART_RTOR", 0x14).section("40.8.6").reset(0).kept(0xffff_ffff);
/// Requests.
pub const REQUEST: Register<u32> =
    Register::new("USART_RQR", 0x18).section("40.8.7").write_only().side_effect();
/// Status. The manual does not say what bit 25 of its reset value is;
/// bits 21 and 22 follow those of control 1 that turn transmitter and receiver on.
pub const STATUS: Register<u32> = Register::new("USART_ISR", 0x1c)
    .section("40.8.8")
    .reset(0xc0)
    .undefined(1 << 25)
    .volatile(3 << 21);
/// What clears bits of the status.
pub const CLEAR: Register<u32> =
    Register::new("USART_ICR", 0x20).section("40.8.9").write_only().side_effect();
/// Received byte.
pub const RECEIVED: Register<u32> =
    Register::new("USART_RDR", 0x24).section("40.8.10").read_effect().side_effect();
/// Byte to be sent.
pub const TRANSMIT: Register<u32> =
    Register::new("USART_TDR", 0x28).section("40.8.11").side_effect();

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[
    &CONTROL_1, &CONTROL_2, &CONTROL_3, &BAUD, &GUARD, &TIMEOUT, &REQUEST, &STATUS, &CLEAR,
    &RECEIVED, &TRANSMIT,
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[Fault::new(
    &["USART_CR1", "USART_CR2", "USART_CR3", "USART_BRR", "USART_GTPR"],
    &[Rule::ReadOnly],
    "QEMU's stm32l4x5-usart keeps what is written to reserved bits",
)];

/// USART_ISR, and the interrupts of USART_CR1 for it: room for a byte; a byte.
pub const TXE: u32 = 1 << 7;
/// There is a byte to be read.
pub const RXNE: u32 = 1 << 5;
/// USART_ISR: all was sent.
pub const TC: u32 = 1 << 6;
/// USART_ISR: receiver and transmitter are on.
pub const REACK: u32 = 1 << 22;
/// The transmitter is on.
pub const TEACK: u32 = 1 << 21;
/// USART_ISR: errors of a byte, and a byte that was lost.
const ERRORS: u32 = 0x0f;
/// USART_CR1: the USART, its receiver and its transmitter are on.
pub const ENABLE: u32 = 1 << 0;
/// The receiver is on.
pub const RE: u32 = 1 << 2;
/// The transmitter is on.
pub const TE: u32 = 1 << 3;
const READY: u32 = ENABLE | RE | TE;
/// USART_RQR: the received byte is dropped.
const FLUSH: u32 = 1 << 3;

/// QEMU's `stm32l4x5-usart`, `stm32l4x5-uart` and `stm32l4x5-lpuart`.
pub struct Stm32L4x5Usart {
    vm: Rc<Vm>,
    device: FoundDevice,
    registers: Rc<Mmio>,
}

impl Stm32L4x5Usart {
    /// Its registers.
    pub fn registers(&self) -> &dyn Registers {
        &*self.registers
    }
}

impl Uart for Stm32L4x5Usart {
    fn profile(&self) -> Profile {
        Profile { sent_is_level: true, ..Profile::of(1) }
    }

    fn enable(&self) -> Result<()> {
        let registers = self.registers();
        registers.set(CONTROL_1, 0)?;
        registers.set(CONTROL_2, 0)?;
        registers.set(CONTROL_3, 0)?;
        // The LPUART takes no less than 0x300 (41.7.4).
        registers.set(BAUD, 0x683)?;
        registers.set(CONTROL_1, READY)?;
        registers.set(REQUEST, FLUSH)?;
        registers.set(CLEAR, 0x0012_1b5f)
    }

    fn has_room(&self) -> Result<bool> {
        Ok(self.registers().get(STATUS)? & TXE != 0)
    }

    fn has_data(&self) -> Result<bool> {
        let status = self.registers().get(STATUS)?;
        match status & ERRORS {
            0 => Ok(status & RXNE != 0),
            _ => Err(Error::failed(format!("USART_ISR reports an error: {status:#x}"))),
        }
    }

    fn write(&self, byte: u8) -> Result<()> {
        self.registers().set(TRANSMIT, byte.into())
    }

    fn read(&self) -> Result<u8> {
        let data = self.registers().get(RECEIVED)?;
        u8::try_from(data).map_err(|_| Error::failed(format!("USART_RDR is {data:#x}")))
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

impl Produces<dyn Uart> for Stm32L4x5Usart {
    const ARGS: QemuArgs = uart::ARGS;

    fn produced(self: Rc<Self>) -> Rc<dyn Uart> {
        self
    }
}

impl Produces<RegisterBlock> for Stm32L4x5Usart {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("RM0351", self.registers.clone(), TABLE).faults(FAULTS))
    }
}

impl Discovered for Stm32L4x5Usart {
    const QOM_TYPES: &'static [&'static str] = &["stm32l4x5-usart-base"];

    fn drives(device: &FoundDevice) -> bool {
        device.is_mapped_one_of(Self::QOM_TYPES)
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        Ok(Self { vm: vm.clone(), device: device.clone(), registers })
    }
}

driver!(Stm32L4x5Usart = "stm32l4x5-usart"; produces dyn Uart, RegisterBlock);
discovered!(Stm32L4x5Usart);
