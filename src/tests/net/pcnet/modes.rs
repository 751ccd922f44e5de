//! Modes of AMD's PCnet-PCI II: receiver and transmitter off, loopback, polling, suspension, double
//! word I/O, LEDs (Am79C970A data sheet 19436).

use std::rc::Rc;
use std::time::Duration;

use crate::drivers::net::pcnet::*;
use crate::qemu::Vm;
use crate::qos::net::{BROADCAST, MAC, PEER, Wire, frame, wait_received};
use crate::qos::nic::Nic;
use crate::qos::registers::RegistersExt;
use crate::qos::settle;
use crate::{Error, Result, tests};

tests!(Pcnet, "pcnet-tests":
    own_off = "own-address-off",
    loopback,
    polling,
    suspended,
    silent = "no-transmit-interrupt",
    stop,
    double_words = "double-words",
    leds,
);

/// CSR15: loopback; internal; own address off.
const LOOP: u16 = 1 << 2;
const INTL: u16 = 1 << 6;
const DRCVPA: u16 = 1 << 13;
/// CSR4: no polling of the transmit ring.
const DPOLL: u16 = 1 << 12;
/// CSR5: suspend; no interrupt for frames that are sent; but for those that ask for it.
const SPND: u16 = 1 << 0;
const TOKINTD: u16 = 1 << 15;
/// CSR0: a frame was sent.
const TINT: u16 = 1 << 9;

/// Starts with this mode (CSR15).
fn start(nic: &Pcnet, vm: &Rc<Vm>, mode: u16) -> Result<Wire> {
    nic.device().bus().reaches_ram()?;
    nic.start(vm)?;
    nic.set(CSR0, CSR0_STOP)?;
    nic.set(CSR15, mode)?;
    nic.set(CSR0, CSR0_STRT)?;
    Wire::new(vm)
}

/// Has QEMU take off the cable what is on it: it looks once in each turn of its main loop.
pub(super) fn let_arrive(vm: &Vm) -> Result<()> {
    (0..20).try_for_each(|_| settle(vm))
}

/// Would catch frames to the own address that are received although they are switched off.
fn own_off(nic: &Pcnet, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm, DRCVPA)?;
    wire.send(&frame(MAC, PEER, 100, 1))?;
    let sent = frame(BROADCAST, PEER, 101, 2);
    wire.send(&sent)?;
    wait_received(vm, "a broadcast", || Ok(nic.arrived()? > 0))?;
    assert!(nic.take()? == sent, "the only frame");
    assert_eq!(nic.arrived()?, 0, "frames besides");
    Ok(())
}

/// Would catch a loopback whose frames go out or do not come in, and one that receives what
/// others send.
fn loopback(nic: &Pcnet, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm, LOOP | INTL)?;
    wire.send(&frame(MAC, PEER, 90, 9))?;
    let_arrive(vm)?;
    assert_eq!(nic.arrived()?, 0, "frames of others in loopback");
    for number in 0..3 {
        let sent = frame(MAC, MAC, 100 + usize::from(number), number);
        nic.queue(&sent)?;
        nic.send()?;
        wait_received(vm, "a frame of its own", || Ok(nic.arrived()? == 1))?;
        assert!(nic.take()? == sent, "frame {number}");
        nic.recycle()?;
        wire.assert_silent("in loopback")?;
        assert_eq!(nic.sent()?, 1, "frame {number}: reported as sent");
    }
    Ok(())
}

/// Would catch a transmit ring that is not polled (CSR0.TDMD) although it should be, or is
/// although it should not (CSR4.DPOLL).
fn polling(nic: &Pcnet, vm: &Rc<Vm>) -> Result<()> {
    for polls in [true, false, true] {
        let wire = start(nic, vm, 0)?;
        let others = nic.get(CSR4)? & !DPOLL;
        nic.set(CSR4, others | if polls { 0 } else { DPOLL })?;
        // The first poll after that is not the one that counts.
        vm.qtest().clock_step(Some(Duration::from_millis(10)))?;
        let sent = frame(PEER, MAC, 100, 1);
        nic.queue(&sent)?;
        wire.assert_silent("before a poll")?;
        for _ in 0..4 {
            vm.qtest().clock_step(Some(Duration::from_millis(10)))?;
            nic.get(CSR0)?;
        }
        if polls {
            assert!(wire.receive("a frame that polling finds")? == sent, "the frame");
        } else {
            wire.assert_silent("without polling")?;
            nic.send()?;
            assert!(wire.receive("a frame on demand")? == sent, "the frame on demand");
        }
    }
    Ok(())
}

/// Would catch a suspended controller (CSR5.SPND) that receives, and one that does not go on
/// where it was.
fn suspended(nic: &Pcnet, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm, 0)?;
    nic.set(CSR5, SPND)?;
    assert_eq!(nic.get(CSR5)? & SPND, SPND, "CSR5.SPND, set");
    wire.send(&frame(MAC, PEER, 100, 1))?;
    let_arrive(vm)?;
    assert_eq!(nic.arrived()?, 0, "frames received while suspended");
    nic.set(CSR5, 0)?;
    let sent = frame(MAC, PEER, 101, 2);
    wire.send(&sent)?;
    wait_received(vm, "a frame", || Ok(nic.arrived()? > 0))?;
    assert!(nic.take()? == sent, "the frame after the suspension");
    Ok(())
}

/// Would catch an event for a frame that was sent although CSR5.TOKINTD holds it back, or none
/// when it does not.
fn silent(nic: &Pcnet, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm, 0)?;
    for (quiet, expected) in [(false, TINT), (true, 0), (false, TINT)] {
        nic.set(CSR5, if quiet { TOKINTD } else { 0 })?;
        nic.queue(&frame(PEER, MAC, 100, 1))?;
        nic.send()?;
        wire.receive("a frame")?;
        wait_received(vm, "the end of a frame", || Ok(nic.sent()? == 1))?;
        assert_eq!(nic.get(CSR0)? & TINT, expected, "CSR0.TINT, TOKINTD {quiet}");
        nic.set(CSR0, TINT)?;
    }
    Ok(())
}

/// Would catch a stop that leaves the controller running, or a cause or a user interrupt
/// pending.
fn stop(nic: &Pcnet, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm, 0)?;
    nic.queue(&frame(PEER, MAC, 100, 1))?;
    nic.send()?;
    wire.receive("a frame")?;
    nic.set(CSR0, CSR0_IENA)?;
    nic.set(CSR4, CSR4_MASKS | CSR4_UINTCMD)?;
    assert_eq!(nic.get(CSR4)? & CSR4_UINT, CSR4_UINT, "CSR4.UINT before");
    assert_eq!(nic.get(CSR0)? & TINT, TINT, "CSR0.TINT before");
    nic.set(CSR0, CSR0_STOP)?;
    let told = nic.get(CSR0)?;
    assert_eq!(told & !CSR0_TXON, CSR0_STOP, "CSR0 after a stop");
    assert_eq!(nic.get(CSR4)? & (CSR4_UINT | CSR4_UINTCMD), 0, "CSR4 after a stop");
    assert!(!nic.device().asserts_interrupt()?, "the pin after a stop");
    match told & CSR0_TXON {
        0 => Ok(()),
        _ => Err(Error::skipped("pcnet: CSR0.STOP sets CSR0.TXON, and no mode clears it then")),
    }
}

/// Would catch a controller that cannot be switched to double word I/O (Bus I/O Resources),
/// and ports that are elsewhere then.
fn double_words(nic: &Pcnet, _: &Rc<Vm>) -> Result<()> {
    let ports = nic.ports();
    ports.write32(0x10, 0)?;
    let read = |rap: u32, port: u64| -> Result<u32> {
        ports.write32(0x14, rap)?;
        assert_eq!(ports.read32(0x14)?, rap, "RAP");
        ports.read32(port)
    };
    let switched = read(18, 0x1c)?;
    assert_eq!(switched & 1 << 7, 1 << 7, "BCR18.DWIO: {switched:#x}");
    assert_eq!(read(88, 0x10)? & 0xffff, 0x1003, "CSR88");
    assert_eq!(read(80, 0x10)? & 0xffff, 0x1410, "CSR80");
    ports.write32(0x14, 1)?;
    ports.write32(0x10, 0xa55a)?;
    assert_eq!(read(1, 0x10)? & 0xffff, 0xa55a, "CSR1, written");
    ports.write32(0x14, 4)?;
    ports.write32(0x1c, 0x00c1)?;
    assert_eq!(read(4, 0x1c)? & 0x01ff, 0x00c1, "BCR4, written");
    Ok(())
}

/// Would catch an LED that does not show the link, or shows the link although that is masked.
fn leds(nic: &Pcnet, _: &Rc<Vm>) -> Result<()> {
    const LINK: u16 = 1 << 6;
    const OUT: u16 = 1 << 15;
    let mut wrong = Vec::new();
    for led in 0..4 {
        let register = BCR4.nth(led, 2);
        for (shown, expected) in [(LINK, OUT), (0, 0), (LINK | 1 << 7, OUT)] {
            nic.set(register, shown)?;
            if nic.get(register)? & OUT != expected {
                wrong.push(format!("LED {led}, {shown:#x} written"));
            }
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Error::failed(wrong.join("; "))),
    }
}
