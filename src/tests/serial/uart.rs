//! Every UART: bytes out and in, whole and in order, more of them than it holds; its interrupts
//! up to the interrupt controller; loopback; and what a reset of the machine leaves of it.

use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos::reset;
use crate::qos::uart::{Event, Line, Loopback, Uart};
use crate::qos::wait_until;
use crate::{Error, Result, tests};

tests!(dyn Uart, "uart-tests":
    transmit,
    receive,
    receive_many = "receive-many",
    duplex,
    emptied,
    received_interrupt = "received-interrupt",
    sent_interrupt = "sent-interrupt",
    loopback,
    machine_reset = "machine-reset",
);

/// The UART, ready, and the far end of its line.
fn ready(uart: &dyn Uart, vm: &Vm) -> Result<Line> {
    let line = uart.line()?;
    uart.enable()?;
    vm.set_up_ends()?;
    Ok(line)
}

fn write(uart: &dyn Uart, vm: &Vm, byte: u8) -> Result<()> {
    wait_until(vm, "room for a byte to send", || uart.has_room())?;
    uart.write(byte)
}

fn read(uart: &dyn Uart, vm: &Vm) -> Result<u8> {
    wait_until(vm, "a byte that was received", || uart.has_data())?;
    uart.read()
}

/// Would catch a byte that is lost, doubled, changed in any bit or sent out of order, and one
/// that nobody wrote.
fn transmit(uart: &dyn Uart, vm: &Rc<Vm>) -> Result<()> {
    let line = ready(uart, vm)?;
    line.assert_silent("before a byte is written")?;
    let sent: Vec<u8> = (0..=255).rev().chain([0x55, 0x55, 0xaa]).collect();
    for &byte in &sent {
        write(uart, vm, byte)?;
    }
    assert_eq!(line.receive(sent.len(), "all that was written")?, sent);
    wait_until(vm, "an empty transmitter", || uart.has_room())?;
    line.assert_silent("when all was sent")
}

/// Would catch the same of bytes that are received, data reported too early or still when they
/// were read, and a byte that goes out because one came in.
fn receive(uart: &dyn Uart, vm: &Rc<Vm>) -> Result<()> {
    let line = ready(uart, vm)?;
    assert!(!uart.has_data()?, "data before a byte came");
    for byte in (0..=255).rev().chain([0x55, 0x55]) {
        line.send(&[byte])?;
        assert_eq!(read(uart, vm)?, byte, "the byte that was sent");
        assert!(!uart.has_data()?, "data after {byte:#04x} was read");
    }
    line.assert_silent("after bytes were received")
}

/// Would catch bytes that are lost or change places where more come than the device holds, or
/// where its FIFO wraps around.
fn receive_many(uart: &dyn Uart, vm: &Rc<Vm>) -> Result<()> {
    let line = ready(uart, vm)?;
    let depth = uart.profile().depth;
    for (round, count) in
        [depth, depth - 1, 1, depth * 4 + 3, depth * 3 - 1].into_iter().enumerate()
    {
        let sent: Vec<u8> = (0..count).map(|at| (at * 7 + round * 31 + 1) as u8).collect();
        line.send(&sent)?;
        for (number, &byte) in sent.iter().enumerate() {
            assert_eq!(read(uart, vm)?, byte, "byte {number} of {count}");
        }
        assert!(!uart.has_data()?, "data after {count} bytes were read");
    }
    Ok(())
}

/// Would catch bytes that get mixed up, are lost or come back where one comes in while another
/// goes out.
fn duplex(uart: &dyn Uart, vm: &Rc<Vm>) -> Result<()> {
    let line = ready(uart, vm)?;
    for byte in 0..=255u8 {
        line.send(&[byte ^ 0x69])?;
        write(uart, vm, byte)?;
        assert_eq!(read(uart, vm)?, byte ^ 0x69, "the byte that came in while {byte:#x} went out");
        assert_eq!(line.receive(1, "the byte that went out")?, [byte]);
    }
    assert!(!uart.has_data()?, "data after all was read");
    line.assert_silent("when all was sent")
}

/// Would catch a byte that is still there when the UART has been made ready anew, and comes out
/// before the next one.
fn emptied(uart: &dyn Uart, vm: &Rc<Vm>) -> Result<()> {
    if let Some(why) = uart.profile().keeps_data {
        return Err(Error::skipped(why));
    }
    let line = ready(uart, vm)?;
    for byte in [0x41, 0x42] {
        line.send(&[byte])?;
        wait_until(vm, "a byte", || uart.has_data())?;
        uart.enable()?;
        assert!(!uart.has_data()?, "data when the UART is made ready");
        line.send(&[byte ^ 0xff])?;
        assert_eq!(read(uart, vm)?, byte ^ 0xff, "the first byte after that");
        assert!(!uart.has_data()?, "data when that is read");
    }
    Ok(())
}

/// Would catch an interrupt that does not come for a byte, comes twice for one, without one or while
/// it is masked, is not told by the device, and stays when the byte was read.
fn received_interrupt(uart: &dyn Uart, vm: &Rc<Vm>) -> Result<()> {
    let line = ready(uart, vm)?;
    let event = Event::Received;
    let interrupt = uart.interrupt(event)?;
    let is_high = || interrupt.as_ref().map(|it| it.is_high()).transpose();
    let assert_is = |is: bool, when: &str| -> Result<()> {
        assert_eq!(uart.interrupts(event)?, is, "{when}: the device's word");
        assert_eq!(is_high()?.unwrap_or(is), is, "{when}: the line");
        Ok(())
    };
    let edges = || interrupt.as_ref().map(|it| it.edges()).transpose();
    for byte in [0x31, 0x32] {
        uart.enable_interrupt(Some(event))?;
        assert_is(false, "no byte came")?;
        let before = edges()?;
        line.send(&[byte])?;
        wait_until(vm, "the interrupt for a byte", || uart.interrupts(event))?;
        assert_is(true, "a byte came")?;
        let once = before.map(|(raised, lowered)| (raised + 1, lowered));
        assert_eq!(edges()?, once, "how often the line was raised and lowered for a byte");
        if !uart.profile().latches {
            uart.enable_interrupt(None)?;
            assert!(!is_high()?.unwrap_or(false), "masked");
            assert!(uart.has_data()?, "masked, the byte is there");
            uart.enable_interrupt(Some(event))?;
            wait_until(vm, "the interrupt for a byte that was there", || uart.interrupts(event))?;
            assert_is(true, "enabled again")?;
        }
        assert_eq!(uart.read()?, byte);
        assert_is(false, "the byte was read")?;
        // One that comes while it is masked.
        uart.enable_interrupt(None)?;
        line.send(&[byte ^ 0xff])?;
        wait_until(vm, "a byte", || uart.has_data())?;
        assert!(!is_high()?.unwrap_or(false), "a byte came, masked");
        assert_eq!(uart.read()?, byte ^ 0xff);
    }
    Ok(())
}

/// Would catch an interrupt that does not come when a byte has gone, cannot be taken back or
/// masked, or comes while it is masked.
fn sent_interrupt(uart: &dyn Uart, vm: &Rc<Vm>) -> Result<()> {
    let line = ready(uart, vm)?;
    let event = Event::Sent;
    let interrupt = uart.interrupt(event)?;
    let is_high = || interrupt.as_ref().map(|it| it.is_high()).transpose();
    write(uart, vm, b'a')?;
    assert_eq!(line.receive(1, "the first byte")?, b"a");
    assert!(!is_high()?.unwrap_or(false), "masked");
    for byte in [b'b', b'c'] {
        uart.enable_interrupt(Some(event))?;
        if uart.profile().sent_is_level {
            wait_until(vm, "the interrupt for room that there is", || uart.interrupts(event))?;
            assert!(is_high()?.unwrap_or(true), "the line while there is room");
        } else {
            // Some tell of an empty transmitter at once.
            uart.acknowledge_sent()?;
            assert!(!is_high()?.unwrap_or(false), "nothing was written");
        }
        write(uart, vm, byte)?;
        assert_eq!(line.receive(1, "the byte")?, [byte]);
        if let Some(interrupt) = &interrupt {
            wait_until(vm, "the line of an empty transmitter", || interrupt.is_high())?;
        }
        assert!(uart.interrupts(event)?, "the device's word after a byte was sent");
        if uart.profile().sent_is_level {
            uart.enable_interrupt(None)?;
            assert!(!is_high()?.unwrap_or(false), "masked while there is room");
            continue;
        }
        uart.acknowledge_sent()?;
        assert!(!is_high()?.unwrap_or(false), "acknowledged");
        assert!(!uart.interrupts(event)?, "the device's word when it is acknowledged");
        uart.enable_interrupt(None)?;
    }
    line.assert_silent("after the bytes")
}

/// Would catch a loopback in which bytes do not come back, or go out or come in all the same.
fn loopback(uart: &dyn Uart, vm: &Rc<Vm>) -> Result<()> {
    let Some(kind) = uart.profile().loopback else {
        return Err(Error::skipped("this UART has no loopback"));
    };
    let line = ready(uart, vm)?;
    uart.set_loopback(true)?;
    for byte in [0x00, 0xff, 0x5a, 0x81] {
        write(uart, vm, byte)?;
        assert_eq!(read(uart, vm)?, byte, "the byte that was written comes back");
    }
    assert!(!uart.has_data()?, "a byte that nobody wrote");
    if kind == Loopback::Open {
        assert_eq!(line.receive(4, "bytes that go out as well")?, [0x00, 0xff, 0x5a, 0x81]);
    }
    line.assert_silent("with output connected to input")?;
    uart.set_loopback(false)?;
    write(uart, vm, b'x')?;
    assert_eq!(line.receive(1, "a byte without loopback")?, b"x");
    assert!(!uart.has_data()?, "it came back without loopback");
    line.send(b"y")?;
    assert_eq!(read(uart, vm)?, b'y');
    Ok(())
}

/// Would catch bytes, an interrupt or its enable bit that a reset of the machine leaves.
fn machine_reset(uart: &dyn Uart, vm: &Rc<Vm>) -> Result<()> {
    if let Some(why) = uart.profile().survives_reset {
        return Err(Error::skipped(why));
    }
    let line = ready(uart, vm)?;
    let interrupt = uart.interrupt(Event::Received)?;
    let is_high = || interrupt.as_ref().map(|it| it.is_high()).transpose();
    uart.enable_interrupt(Some(Event::Received))?;
    line.send(b"z")?;
    wait_until(vm, "the interrupt for a byte", || uart.interrupts(Event::Received))?;
    assert!(is_high()?.unwrap_or(true), "the line before the reset");
    reset(vm)?;
    let known = uart.profile().asserts_after_reset;
    assert!(known.is_some() || !is_high()?.unwrap_or(false), "the line after the reset");
    let again = uart.after_reset()?;
    let uart = again.as_deref().unwrap_or(uart);
    assert!(!uart.has_data()?, "a byte from before the reset");
    assert!(!uart.interrupts(Event::Received)?, "the device's word after the reset");
    uart.enable()?;
    line.send(b"w")?;
    assert_eq!(read(uart, vm)?, b'w', "the first byte after the reset");
    assert!(!is_high()?.unwrap_or(false), "the interrupt was enabled before the reset");
    known.map_or(Ok(()), |why| Err(Error::skipped(why)))
}
