//! AMD's PCnet-PCI II: address PROM, status of frames, interrupts of its own (Am79C970A data
//! sheet 19436).

mod modes;
mod rings;

use std::rc::Rc;

use serde_json::json;

use crate::drivers::net::pcnet::*;
use crate::qemu::Vm;
use crate::qos::net::{self, BROADCAST, MAC, PEER, Wire, check_sequence, frame, wait_received};
use crate::qos::nic::{Filter, Groups, Nic};
use crate::{Error, Result, tests};

tests!(Pcnet, "pcnet-tests":
    prom,
    user_interrupt = "user-interrupt",
    interrupt_enable = "interrupt-enable",
    receive_status = "receive-status",
    carrier,
    missed,
);

/// Would catch another address than was given, and a PROM without the signature and the sum
/// that drivers look for (Address PROM Space).
fn prom(nic: &Pcnet, _: &Rc<Vm>) -> Result<()> {
    let prom = nic.prom()?;
    assert_eq!(prom[..6], MAC, "the address");
    assert_eq!(prom[14..], *b"WW", "the signature");
    let sum = prom.iter().enumerate().filter(|(at, _)| ![12, 13].contains(at));
    let sum: u16 = sum.map(|(_, byte)| u16::from(*byte)).sum();
    assert_eq!(u16::from_le_bytes([prom[12], prom[13]]), sum, "the sum");
    Ok(())
}

/// Would catch a user interrupt (CSR4) that does not come, comes while interrupts are disabled
/// or is not cleared by a one, and only by that.
fn user_interrupt(nic: &Pcnet, _: &Rc<Vm>) -> Result<()> {
    nic.set(CSR0, CSR0_IENA)?;
    assert!(!nic.device().asserts_interrupt()?, "the pin at first");
    nic.set(CSR4, CSR4_MASKS | CSR4_UINTCMD)?;
    assert!(nic.device().asserts_interrupt()?, "the pin after UINTCMD");
    assert_eq!(nic.get(CSR4)? & (CSR4_UINT | CSR4_UINTCMD), CSR4_UINT, "CSR4");
    Ok(())
}

/// Would catch a pin that does not wait for CSR0.IENA although a cause is unmasked, and a cause
/// that CSR0.INTR does not report meanwhile.
fn interrupt_enable(nic: &Pcnet, vm: &Rc<Vm>) -> Result<()> {
    const INTR: u16 = 1 << 7;
    nic.device().bus().reaches_ram()?;
    nic.start(vm)?;
    nic.set(CSR3, 0)?;
    nic.queue(&frame(PEER, MAC, 100, 1))?;
    nic.send()?;
    wait_received(vm, "the end of a frame", || Ok(nic.get(CSR0)? & INTR != 0))?;
    assert!(!nic.device().asserts_interrupt()?, "the pin with interrupts disabled");
    nic.set(CSR0, CSR0_IENA)?;
    assert!(nic.device().asserts_interrupt()?, "the pin with interrupts enabled");
    nic.set(CSR0, 0)?;
    assert!(!nic.device().asserts_interrupt()?, "the pin with interrupts disabled again");
    Ok(())
}

/// Would catch a frame received without its check sequence, or marked as if another filter had
/// let it in.
fn receive_status(nic: &Pcnet, vm: &Rc<Vm>) -> Result<()> {
    const GROUP: net::Address = [1, 0, 0x5e, 1, 2, 3];
    nic.device().bus().reaches_ram()?;
    nic.start(vm)?;
    let wire = Wire::new(vm)?;
    nic.set_filter(&Filter { groups: Groups::One(GROUP), ..Filter::PLAIN })?;
    let mut sequences = Vec::new();
    for (to, bits, what) in
        [(MAC, 1u32 << 22, "PAM"), (GROUP, 1 << 21, "LAFM"), (BROADCAST, 1 << 20, "BAM")]
    {
        let sent = frame(to, PEER, 100, 1);
        wire.send(&sent)?;
        wait_received(vm, "a frame", || Ok(nic.arrived()? > 0))?;
        let (status, got) = nic.next_received()?;
        assert_eq!(status >> 20, 0x030 | bits >> 20, "RMD1 of a frame with {what}: {status:#x}");
        assert_eq!(got.len(), 104, "the length with its check sequence");
        sequences.push(got[100..] == check_sequence(&sent).to_le_bytes());
        nic.take()?;
        nic.recycle()?;
    }
    match sequences[..] {
        [true, true, true] => Ok(()),
        _ => Err(Error::skipped("pcnet: QEMU writes zeroes for the frame check sequence")),
    }
}

/// Would catch a frame that is reported as sent although there is no carrier (TMD2.LCAR), and a
/// CSR0 that does not tell (ERR, CERR).
fn carrier(nic: &Pcnet, vm: &Rc<Vm>) -> Result<()> {
    nic.device().bus().reaches_ram()?;
    nic.start(vm)?;
    let link = |up: bool| {
        vm.qmp().execute("set_link", json!({"name": net::SOCKET.name, "up": up})).map(drop)
    };
    link(false)?;
    nic.queue(&frame(PEER, MAC, 100, 1))?;
    nic.send()?;
    let status = nic.last_transmit_status();
    let told = nic.get(CSR0);
    link(true)?;
    let (status, errors) = status?;
    assert_eq!(status >> 24, 0x43, "TMD1: ERR, STP and ENP: {status:#x}");
    assert_eq!(errors, 1 << 27, "TMD2: LCAR: {errors:#x}");
    assert_eq!(told? & 0xa000, 0xa000, "CSR0: ERR and CERR");
    Ok(())
}

/// Would catch missed frames that are not counted (CSR112), or counted although they came.
fn missed(nic: &Pcnet, vm: &Rc<Vm>) -> Result<()> {
    nic.device().bus().reaches_ram()?;
    nic.start(vm)?;
    let wire = Wire::new(vm)?;
    for number in 0..COUNT + 3 {
        wire.send(&frame(MAC, PEER, 100, number as u8))?;
    }
    wait_received(vm, "three missed frames", || Ok(nic.get(CSR112)? == 3))?;
    assert_eq!(nic.arrived()?, COUNT, "how many frames came");
    Ok(())
}
