//! Realtek's RTL8139C+: what only it has (RTL8139C(L) data sheet 1.4, chapter 6).

use std::rc::Rc;
use std::time::Duration;

use crate::drivers::net::rtl8139::*;
use crate::qemu::Vm;
use crate::qos::net::{LONGEST, MAC, PEER, Wire, frame, wait_received};
use crate::qos::nic::{Events, Nic};
use crate::qos::registers::RegistersExt;
use crate::{Result, tests};

mod cplus;
mod ring;

tests!(Rtl8139, "rtl8139-tests": locks, timer, descriptors, missed, eeprom, reload, phy);

/// Would catch configuration that can be written although it is locked, or not when it is not.
fn locks(nic: &Rtl8139, _: &Rc<Vm>) -> Result<()> {
    let registers = &nic.plug.registers;
    let first = registers.get(CONFIG1)?;
    for (mode, expected) in [(0, first), (0xc0, first | 0x20), (0, first | 0x20), (0xc0, first)] {
        registers.set(EECR, mode)?;
        registers.set(CONFIG1, first | if mode == 0 { 0 } else { expected & 0x20 })?;
        assert_eq!(registers.get(CONFIG1)?, expected, "CONFIG1 in mode {mode:#x}");
    }
    // Of CONFIG3 and CONFIG4 some bits tell what the chip is.
    for (config, expected) in [(CONFIG3, 0x71), (CONFIG4, 0xf5)] {
        let first = registers.get(config)?;
        registers.set(EECR, 0)?;
        registers.set(config, 0xff)?;
        assert_eq!(registers.get(config)?, first, "{}, locked", config.name());
        registers.set(EECR, 0xc0)?;
        registers.set(config, 0xff)?;
        assert_eq!(registers.get(config)?, expected, "{}, unlocked", config.name());
    }
    registers.set(TCR, 0x700)?;
    assert_eq!(registers.get(TCR)? & 0x700, 0, "TCR, written with the transmitter off");
    registers.set(CR, CR_ON)?;
    registers.set(TCR, 0x700)?;
    assert_eq!(registers.get(TCR)?, 0x7480_0700, "TCR, written with the transmitter on");
    Ok(())
}

/// Would catch a timer that counts another clock than PCI's, comes at another count, again or
/// although it is zero, and a time out that other bits or a zero clear.
fn timer(nic: &Rtl8139, vm: &Rc<Vm>) -> Result<()> {
    let registers = &nic.plug.registers;
    let step = |ns: u64| vm.qtest().clock_step(Some(Duration::from_nanos(ns))).map(drop);
    registers.set(IMR, TIME_OUT)?;
    registers.set(TCTR, 0)?;
    step(30 * 2000)?;
    assert_eq!(registers.get(TCTR)?, 2000, "TCTR, in cycles of 30 ns");
    assert_eq!(registers.get(ISR)?, 0, "ISR without TimerInt");
    registers.set(TCTR, 0)?;
    registers.set(TIMER_INT, 1000)?;
    step(30 * 999)?;
    assert_eq!(registers.get(ISR)?, 0, "ISR before TimerInt");
    step(30)?;
    assert_eq!(registers.get(ISR)?, TIME_OUT, "ISR at TimerInt");
    assert!(nic.device().asserts_interrupt()?, "the pin at TimerInt");
    registers.set(ISR, !TIME_OUT)?;
    assert_eq!(registers.get(ISR)?, TIME_OUT, "ISR, other bits cleared");
    registers.set(ISR, TIME_OUT)?;
    assert!(!nic.device().asserts_interrupt()?, "the pin, cleared");
    step(30 * 5000)?;
    assert_eq!(registers.get(ISR)?, 0, "ISR after TimerInt");
    // A count that has gone by comes again only when all 32 bits have wrapped.
    registers.set(TIMER_INT, 500)?;
    step(30 * 5000)?;
    assert_eq!(registers.get(ISR)?, 0, "ISR, TimerInt having gone by");
    step(30 * (1 << 32) - 30 * 5000 - 30 * 6000)?;
    assert_eq!(registers.get(ISR)?, 0, "ISR before TCTR wraps");
    step(30 * 2000)?;
    assert_eq!(registers.get(ISR)?, TIME_OUT, "ISR after TCTR has wrapped");
    Ok(())
}

/// Would catch a transmit status that is not whole or another descriptor's, and a summary (6.17)
/// that differs from it.
fn descriptors(nic: &Rtl8139, vm: &Rc<Vm>) -> Result<()> {
    nic.device().bus().reaches_ram()?;
    nic.start(vm)?;
    for (number, expected) in [0x100f, 0x300f, 0x700f, 0xf00f].into_iter().enumerate() {
        nic.queue(&frame(PEER, MAC, 100 + number, 0))?;
        nic.send()?;
        let status = nic.plug.registers.get(TSD0.nth(number as u64, 4))?;
        assert_eq!(status, TSD_SENT | (100 + number as u32), "TSD{number}: {status:#x}");
        let all = nic.plug.registers.get(TSAD)?;
        assert_eq!(all, expected, "TSAD after {number} frames: {all:#06x}");
    }
    Ok(())
}

/// Would catch an overflow of the receive ring that is not reported or not counted, and a count
/// that writing does not clear.
fn missed(nic: &Rtl8139, vm: &Rc<Vm>) -> Result<()> {
    nic.device().bus().reaches_ram()?;
    nic.start(vm)?;
    let (wire, most) = (Wire::new(vm)?, nic.limits().receive);
    nic.unmask(Events { overrun: true, ..Events::NONE })?;
    for number in 0..=most {
        wire.send(&frame(MAC, PEER, LONGEST, number as u8))?;
    }
    let count = || nic.plug.registers.get(MPC);
    wait_received(vm, "a missed packet", || Ok(count()? != 0))?;
    assert_eq!(nic.arrived()?, most, "how many frames fit");
    assert!(nic.device().asserts_interrupt()?, "the pin after an overflow");
    assert!(nic.events()?.overrun, "the event of an overflow");
    nic.plug.registers.set(MPC, 0)?;
    assert_eq!(count()?, 0, "MPC, written");
    Ok(())
}

/// Would catch an EEPROM (6.9, chapter 5) that answers other words than are asked for, shifted
/// or in another order, and one without the identification or the address.
fn eeprom(nic: &Rtl8139, _: &Rc<Vm>) -> Result<()> {
    const CHIP_SELECT: u8 = 0x88;
    const CLOCK: u8 = 1 << 2;
    const IN: u8 = 1 << 1;
    let registers = &nic.plug.registers;
    let read = |word: u16| -> Result<u16> {
        registers.set(EECR, 0x80)?;
        registers.set(EECR, CHIP_SELECT)?;
        // A start bit, the operation 10, six bits of address; then 16 bits of data come.
        let request = u32::from(0b110 << 6 | word) << 16;
        let mut value = 0;
        for bit in (0..25).rev() {
            let pins = CHIP_SELECT | if request >> bit & 1 == 1 { IN } else { 0 };
            registers.set(EECR, pins)?;
            registers.set(EECR, pins | CLOCK)?;
            value = value << 1 | u16::from(registers.get(EECR)? & 1);
        }
        registers.set(EECR, 0x80)?;
        Ok(value)
    };
    let [a, b, c, d, e, f] = MAC;
    let address = [[a, b], [c, d], [e, f]].map(u16::from_le_bytes);
    let expected = [(0, 0x8129), (1, 0x10ec), (2, 0x8139)];
    for (word, expected) in expected.into_iter().chain((7..).zip(address)) {
        assert_eq!(read(word)?, expected, "word {word}");
    }
    Ok(())
}

/// Would catch an auto-load (6.9) that does not end, or does not reset the registers.
fn reload(nic: &Rtl8139, vm: &Rc<Vm>) -> Result<()> {
    let registers = &nic.plug.registers;
    let first = registers.get(CONFIG1)?;
    registers.set(EECR, 0xc0)?;
    registers.set(CONFIG1, first | 0x20)?;
    registers.set(IMR, TIME_OUT)?;
    registers.set(TCTR, 0)?;
    registers.set(TIMER_INT, 1)?;
    vm.qtest().clock_step(Some(Duration::from_millis(1)))?;
    assert!(nic.device().asserts_interrupt()?, "the pin before");
    registers.set(EECR, 0x40)?;
    vm.qtest().clock_step(Some(Duration::from_millis(2)))?;
    assert_eq!(registers.get(EECR)? & 0xc0, 0, "the mode after an auto-load");
    assert_eq!(registers.get(CONFIG1)?, first, "CONFIG1 after an auto-load");
    assert_eq!(registers.get(IMR)?, 0, "IMR after an auto-load");
    assert_eq!(registers.get(TIMER_INT)?, 0, "TimerInt after an auto-load");
    assert!(!nic.device().asserts_interrupt()?, "the pin after an auto-load");
    Ok(())
}

/// Would catch a PHY whose registers do not keep what is written, or keep it over a reset of
/// the PHY (6.18).
fn phy(nic: &Rtl8139, _: &Rc<Vm>) -> Result<()> {
    const RESET: u16 = 1 << 15;
    let registers = &nic.plug.registers;
    let first = registers.get(ANAR)?;
    registers.set(ANAR, 0x0061)?;
    assert_eq!(registers.get(ANAR)?, 0x0061, "ANAR, written");
    registers.set(BMCR, registers.get(BMCR)? | RESET)?;
    assert_eq!(registers.get(BMCR)?, 0x1000, "BMCR after a reset of the PHY");
    assert_eq!(registers.get(ANAR)?, first, "ANAR after a reset of the PHY");
    Ok(())
}
