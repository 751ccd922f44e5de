//! What only the USARTs of ST's STM32L4 have: acknowledged enables, the width of their data
//! registers, and the flags of what is sent and received one by one (RM0351, 40.8).

use std::rc::Rc;

use crate::drivers::serial::stm32l4x5_usart::{
    CONTROL_1, ENABLE, RE, REACK, RECEIVED, RXNE, STATUS, Stm32L4x5Usart, TC, TE, TEACK, TRANSMIT,
    TXE,
};
use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::qos::uart::{self, Event, Line, Uart};
use crate::qos::wait_until;
use crate::{Result, tests};

tests!(Stm32L4x5Usart, "stm32l4x5_usart-tests":
    write_read = "write-read",
    receive_char = "receive-char",
    send_char = "send-char",
    receive_str = "receive-str",
    send_str = "send-str",
    ack;
    with uart::ARGS
);

/// The USART, ready, and the far end of its line.
fn ready(usart: &Stm32L4x5Usart, vm: &Vm) -> Result<Line> {
    let line = usart.line()?;
    usart.enable()?;
    vm.set_up_ends()?;
    Ok(line)
}

/// Would catch a data register that keeps more than its nine bits, and a received byte that a write
/// changes (40.8.10, 40.8.11).
fn write_read(usart: &Stm32L4x5Usart, vm: &Rc<Vm>) -> Result<()> {
    ready(usart, vm)?;
    let registers = usart.registers();
    registers.set(CONTROL_1, ENABLE)?;
    registers.set(RECEIVED, 0xffff_ffff)?;
    assert_eq!(registers.get(RECEIVED)?, 0, "USART_RDR was written, which is read-only");
    registers.set(TRANSMIT, 0xffff_ffff)?;
    assert_eq!(registers.get(TRANSMIT)?, 0x1ff, "USART_TDR, all ones written");
    Ok(())
}

/// Would catch a flag or an interrupt of a received byte that does not come, comes without being
/// enabled, or outlives the read of the byte.
fn receive_char(usart: &Stm32L4x5Usart, vm: &Rc<Vm>) -> Result<()> {
    let line = ready(usart, vm)?;
    let registers = usart.registers();
    let interrupt = usart.interrupt(Event::Received)?;
    let is_high = || interrupt.as_ref().map(|it| it.is_high()).transpose();
    for (byte, is_enabled) in [(b'a', false), (b'b', true)] {
        usart.enable_interrupt(is_enabled.then_some(Event::Received))?;
        line.send(&[byte])?;
        wait_until(vm, "USART_ISR.RXNE", || Ok(registers.get(STATUS)? & RXNE != 0))?;
        assert_eq!(is_high()?.unwrap_or(is_enabled), is_enabled, "the line for {byte:#x}");
        assert_eq!(registers.get(RECEIVED)?, u32::from(byte), "USART_RDR");
        assert_eq!(registers.get(STATUS)? & RXNE, 0, "USART_ISR.RXNE when {byte:#x} was read");
        assert!(!is_high()?.unwrap_or(false), "the line when {byte:#x} was read");
    }
    Ok(())
}

/// Would catch flags of a byte that was sent which do not come back, an interrupt of them that does
/// not come, and one that comes without being enabled.
fn send_char(usart: &Stm32L4x5Usart, vm: &Rc<Vm>) -> Result<()> {
    let line = ready(usart, vm)?;
    let registers = usart.registers();
    let interrupt = usart.interrupt(Event::Sent)?;
    let is_high = || interrupt.as_ref().map(|it| it.is_high()).transpose();
    for (byte, is_enabled) in [(b'c', false), (b'd', true)] {
        let enable = if is_enabled { TC } else { 0 };
        registers.set(CONTROL_1, ENABLE | RE | TE | enable)?;
        registers.set(TRANSMIT, byte.into())?;
        assert_eq!(line.receive(1, "the byte that was written")?, [byte]);
        wait_until(vm, "USART_ISR.TC and TXE", || {
            Ok(registers.get(STATUS)? & (TC | TXE) == TC | TXE)
        })?;
        assert_eq!(is_high()?.unwrap_or(is_enabled), is_enabled, "the line for {byte:#x}");
    }
    line.assert_silent("after two bytes")
}

/// Would catch bytes of a string that are lost, doubled or change places.
fn receive_str(usart: &Stm32L4x5Usart, vm: &Rc<Vm>) -> Result<()> {
    let line = ready(usart, vm)?;
    let registers = usart.registers();
    line.send(b"hello")?;
    for &byte in b"hello" {
        wait_until(vm, "USART_ISR.RXNE", || Ok(registers.get(STATUS)? & RXNE != 0))?;
        assert_eq!(registers.get(RECEIVED)?, u32::from(byte), "USART_RDR");
    }
    assert_eq!(registers.get(STATUS)? & RXNE, 0, "USART_ISR.RXNE after the last byte");
    Ok(())
}

/// Would catch bytes of a string that is sent which are lost, doubled or change places.
fn send_str(usart: &Stm32L4x5Usart, vm: &Rc<Vm>) -> Result<()> {
    let line = ready(usart, vm)?;
    let registers = usart.registers();
    for &byte in b"world" {
        wait_until(vm, "USART_ISR.TXE", || Ok(registers.get(STATUS)? & TXE != 0))?;
        registers.set(TRANSMIT, byte.into())?;
    }
    assert_eq!(line.receive(5, "a string")?, b"world");
    line.assert_silent("after the string")
}

/// Would catch an enable of transmitter or receiver that is not acknowledged, one of the other, and
/// an acknowledgement that stays (40.8.8).
fn ack(usart: &Stm32L4x5Usart, vm: &Rc<Vm>) -> Result<()> {
    ready(usart, vm)?;
    let registers = usart.registers();
    for (enable, expected) in [(0, 0), (TE, TEACK), (RE, REACK), (RE | TE, REACK | TEACK), (0, 0)] {
        registers.set(CONTROL_1, ENABLE | enable)?;
        let status = registers.get(STATUS)?;
        assert_eq!(status & (TEACK | REACK), expected, "USART_CR1 has {enable:#x}");
    }
    Ok(())
}
