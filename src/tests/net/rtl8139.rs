//! Realtek's RTL8139C+: what only it has (RTL8139C(L) data sheet 1.4, chapter 6).

use std::rc::Rc;
use std::time::Duration;

use crate::drivers::net::rtl8139::*;
use crate::qemu::Vm;
use crate::qos::net::{LONGEST, MAC, PEER, Wire, frame, wait_received};
use crate::qos::nic::{Events, Nic};
use crate::qos::registers::RegistersExt;
use crate::{Result, tests};

tests!(Rtl8139, "rtl8139-tests": locks, timer, descriptors, missed);

/// Would catch configuration that can be written although it is locked, or not when it is not.
fn locks(nic: &Rtl8139, _: &Rc<Vm>) -> Result<()> {
    let registers = &nic.plug.registers;
    let first = registers.get(CONFIG1)?;
    for (mode, expected) in [(0, first), (0xc0, first | 0x20), (0, first | 0x20), (0xc0, first)] {
        registers.set(EECR, mode)?;
        registers.set(CONFIG1, first | if mode == 0 { 0 } else { expected & 0x20 })?;
        assert_eq!(registers.get(CONFIG1)?, expected, "CONFIG1 in mode {mode:#x}");
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
