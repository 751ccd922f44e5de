//! Every UART that has them: trigger levels and the timeout of its FIFO, the flag of a full one,
//! an overrun, and a break.

use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos::uart::{Event, Line, Uart};
use crate::qos::{wait_until, wait_with_clock_still};
use crate::{Error, Result, tests};

tests!(dyn Uart, "uart-fifo-tests":
    levels,
    full,
    overrun,
    breaks = "break",
);

/// The UART, ready, and the far end of its line.
fn ready(uart: &dyn Uart, vm: &Vm) -> Result<Line> {
    let line = uart.line()?;
    uart.enable()?;
    vm.set_up_ends()?;
    Ok(line)
}

/// Bytes of which no two neighbours are alike.
fn pattern(count: usize, first: u8) -> Vec<u8> {
    (0..count).map(|at| first.wrapping_add((at * 7) as u8)).collect()
}

/// Would catch a trigger level that is another, an interrupt for a byte less or only for a byte
/// more, one that stays below the level, and fewer bytes of which no timeout reminds.
fn levels(uart: &dyn Uart, vm: &Rc<Vm>) -> Result<()> {
    let profile = uart.profile();
    if profile.levels.is_empty() {
        return Err(Error::skipped("this UART has no trigger levels"));
    }
    let line = ready(uart, vm)?;
    let event = Event::Received;
    let interrupt = uart.interrupt(event)?;
    let assert_is = |is: bool, when: &str| -> Result<()> {
        assert_eq!(uart.interrupts(event)?, is, "{when}: the device's word");
        let is_high = interrupt.as_ref().map(|it| it.is_high()).transpose()?;
        assert_eq!(is_high.unwrap_or(is), is, "{when}: the line");
        Ok(())
    };
    for &level in profile.levels.iter().filter(|&&level| level <= profile.held()) {
        let when = |what: &str| format!("level {level}, {what}");
        uart.enable()?;
        uart.set_level(level)?;
        uart.enable_interrupt(Some(event))?;
        let sent = pattern(level, level as u8);
        line.send_through(&sent[..level - 1])?;
        assert_is(false, &when("a byte less"))?;
        line.send(&sent[level - 1..])?;
        wait_with_clock_still(vm, "the interrupt at the level", || uart.interrupts(event))?;
        assert_is(true, &when("as many bytes"))?;
        assert_eq!(uart.read()?, sent[0], "{}", when("the first byte"));
        if level > 1 {
            assert_is(false, &when("a byte less again"))?;
        }
        if level > 2 && profile.has_timeout {
            wait_until(vm, "the timeout of the FIFO", || uart.interrupts(event))?;
            assert_is(true, &when("after a timeout"))?;
            assert_eq!(uart.read()?, sent[1], "{}", when("the byte of a timeout"));
            assert_is(false, &when("after a timeout and a read"))?;
        }
        let rest = if level > 2 && profile.has_timeout { 2 } else { 1 };
        for &byte in sent.iter().skip(rest) {
            assert!(uart.has_data()?, "{}", when("bytes are left"));
            assert_eq!(uart.read()?, byte, "{}", when("the bytes that are left"));
        }
        assert!(!uart.has_data()?, "{}", when("data after the last byte"));
        assert_is(false, &when("all was read"))?;
    }
    uart.enable()?;
    profile.end_of_fifo()
}

/// Would catch a FIFO that is less deep or deeper, a flag that comes a byte early or late, or stays
/// when a byte was read, and bytes that are lost or change places in a full FIFO.
fn full(uart: &dyn Uart, vm: &Rc<Vm>) -> Result<()> {
    let line = ready(uart, vm)?;
    if uart.is_full()?.is_none() {
        return Err(Error::skipped("this UART does not say when it is full"));
    }
    let depth = uart.profile().held();
    let sent = pattern(depth + 1, 0x11);
    line.send_through(&sent[..depth - 1])?;
    assert_eq!(uart.is_full()?, Some(false), "with {} bytes", depth - 1);
    line.send(&sent[depth - 1..depth])?;
    wait_with_clock_still(vm, "a full FIFO", || Ok(uart.is_full()? == Some(true)))?;
    assert!(uart.has_data()?, "data in a full FIFO");
    assert_eq!(uart.read()?, sent[0], "the first byte");
    assert_eq!(uart.is_full()?, Some(false), "when one of {depth} was read");
    line.send(&sent[depth..])?;
    wait_with_clock_still(vm, "a FIFO that is full again", || Ok(uart.is_full()? == Some(true)))?;
    for (number, &byte) in sent.iter().enumerate().skip(1) {
        assert!(uart.has_data()?, "byte {number} of {depth} should be there");
        assert_eq!(uart.read()?, byte, "byte {number}");
        assert_eq!(uart.is_full()?, Some(false), "when byte {number} was read");
    }
    assert!(!uart.has_data()?, "data after the last byte");
    uart.profile().end_of_fifo()
}

/// Would catch a byte that is lost and not reported, one that is reported and not lost, an overrun
/// that cannot be cleared, and another byte than the last one that is lost.
fn overrun(uart: &dyn Uart, vm: &Rc<Vm>) -> Result<()> {
    let profile = uart.profile();
    if !profile.reports_overrun || profile.loopback.is_none() {
        return Err(Error::skipped("this UART cannot overrun itself and report it"));
    }
    ready(uart, vm)?;
    uart.set_loopback(true)?;
    let sent = pattern(profile.held() + 1, 0x23);
    for (number, &byte) in sent.iter().enumerate() {
        wait_until(vm, "room for a byte to send", || uart.has_room())?;
        assert!(!uart.take_overrun()?, "an overrun after {number} bytes");
        uart.write(byte)?;
    }
    wait_until(vm, "the overrun of a full FIFO", || uart.take_overrun())?;
    assert!(!uart.take_overrun()?, "an overrun that was cleared");
    for (number, &byte) in sent.iter().enumerate().take(profile.held()) {
        assert!(uart.has_data()?, "byte {number} should be there");
        assert_eq!(uart.read()?, byte, "byte {number} after an overrun");
    }
    assert!(!uart.has_data()?, "the byte for which there was no room");
    uart.set_loopback(false)?;
    uart.enable()?;
    profile.end_of_fifo()
}

/// Would catch a break that is not reported, reported of a byte that is zero or of the next one, or
/// followed by bytes that nobody sent.
fn breaks(uart: &dyn Uart, vm: &Rc<Vm>) -> Result<()> {
    if !uart.profile().reports_break {
        return Err(Error::skipped("this UART does not tell a break from a byte"));
    }
    let line = ready(uart, vm)?;
    let take = || {
        let mut taken = None;
        wait_until(vm, "a break or a byte", || {
            taken = uart.take_break()?;
            Ok(taken.is_some())
        })?;
        Ok::<_, Error>(taken == Some(true))
    };
    for _ in 0..2 {
        line.send(&[0])?;
        assert!(!take()?, "a byte that is zero is a break");
        line.send_break()?;
        assert!(take()?, "a break is a byte");
        assert_eq!(uart.take_break()?, None, "something follows the break");
        line.send(b"x")?;
        wait_until(vm, "a byte after a break", || uart.has_data())?;
        assert_eq!(uart.read()?, b'x', "the byte after a break");
        assert!(!uart.has_data()?, "data after that");
    }
    line.assert_silent("after a break")
}
