//! SMSC's LAN91C111: its banks, its memory and what allocates it, and a guest that breaks their
//! rules.

use std::rc::Rc;

use serde_json::json;

use crate::drivers::net::smc91c111::registers::{self as reg, Mmu};
use crate::drivers::net::smc91c111::{self as chip, Smc91c111};
use crate::qemu::Vm;
use crate::qos::net::{self, MAC, PEER, Wire, assert_frame, frame, wait_received};
use crate::qos::nic::Nic;
use crate::qos::registers::{Registers, RegistersExt, Width};
use crate::qos::{settle, wait_until};
use crate::{Result, tests};

tests!(Smc91c111, "smc91c111-tests":
    banks,
    memory,
    memory_information = "memory-information",
    allocation_waits = "allocation-waits",
    pointer,
    mmu_reset = "mmu-reset",
    mmu_reset_goes_on = "mmu-reset-goes-on",
    loopback,
    link,
    no_such_packet = "no-such-packet",
    released_early = "released-early",
    byte_counts = "byte-counts",
    no_data = "no-data";
    with net::BOARD
);

/// Starts the controller with all its memory free; returns the other end of its cable.
pub(super) fn start(nic: &Smc91c111, vm: &Rc<Vm>) -> Result<Wire> {
    let wire = Wire::on(vm, nic.cable()?)?;
    nic.start(vm)?;
    nic.registers().mmu(Mmu::Reset)?;
    Ok(wire)
}

/// All packets that are free, up to four. An allocation that fails would wait for the next.
pub(super) fn allocate_all(nic: &Smc91c111) -> Result<Vec<u8>> {
    let mut packets = Vec::new();
    while packets.len() < 4 {
        match nic.allocate()? {
            Some(packet) => packets.push(packet),
            None => break,
        }
    }
    Ok(packets)
}

/// Waits until a frame is in the receive FIFO, and takes it.
pub(super) fn take(nic: &Smc91c111, vm: &Vm, what: &str) -> Result<chip::Packet> {
    let there = || Ok(nic.registers().get(reg::RX_FIFO)? & reg::NONE == 0);
    wait_received(vm, what, there)?;
    let packet = nic.first()?;
    nic.registers().mmu(Mmu::RemoveAndRelease)?;
    Ok(packet)
}

/// Whether IST has `bit`.
pub(super) fn reports(nic: &Smc91c111, bit: u8) -> Result<bool> {
    Ok(nic.registers().get(reg::IST)? & bit != 0)
}

/// Asserts that frames pass in both directions after a reset.
fn assert_works(nic: &Smc91c111, vm: &Rc<Vm>, wire: &Wire) -> Result<()> {
    nic.start(vm)?;
    let (inward, outward) = (frame(MAC, PEER, 301, 0x31), frame(PEER, MAC, 302, 0x32));
    wire.send(&inward)?;
    loop {
        wait_received(vm, "a frame after a reset", || Ok(nic.arrived()? > 0))?;
        if nic.take()? == inward {
            break;
        }
    }
    nic.queue(&outward)?;
    nic.send()?;
    while wire.receive("a frame after a reset")? != outward {}
    Ok(())
}

/// Would catch a bank that is not selected, or one that does not show which it is (8.4).
fn banks(nic: &Smc91c111, _: &Rc<Vm>) -> Result<()> {
    let raw = &nic.registers().0;
    for bank in [3, 0, 2, 1, 0] {
        // A word and the upper half of a double word select it.
        for (offset, width, shift) in [(reg::BANK, Width::Word, 0), (0xc, Width::Long, 16)] {
            raw.write(reg::BANK, Width::Word, (bank + 1) % 4)?;
            raw.write(offset, width, bank << shift)?;
            assert_eq!(raw.read(reg::BANK, Width::Word)?, 0x3300 | bank, "the bank selected");
        }
        let revision = raw.read(0x0a, Width::Word)?;
        assert_eq!(revision & 0xfff0 == 0x3390, bank == 3, "{revision:#x}, register 10 of {bank}");
    }
    Ok(())
}

/// Would catch packets that share memory or are handed out twice, more or fewer than four of them,
/// and bytes that are lost.
fn memory(nic: &Smc91c111, vm: &Rc<Vm>) -> Result<()> {
    start(nic, vm)?;
    for round in 0..2 {
        let packets = allocate_all(nic)?;
        let mut sorted = packets.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2, 3], "the packets that can be allocated");
        let content = |packet: u8| frame(PEER, MAC, 2048, packet * 16 + round);
        packets.iter().try_for_each(|packet| nic.write(*packet, 0, &content(*packet)))?;
        for packet in &packets {
            let got = nic.read(Some(*packet), 0, 2048)?;
            assert_frame(&got, &content(*packet), &format!("the memory of packet {packet}"));
        }
        packets.iter().rev().try_for_each(|packet| nic.with(*packet, Mmu::Release))?;
    }
    allocate_all(nic)?;
    assert_eq!(nic.allocate()?, None, "a fifth packet");
    assert!(!reports(nic, reg::ALLOCATED)?, "IST when there is no packet left");
    Ok(())
}

/// Would catch a register that does not tell how much memory is free (8.9).
fn memory_information(nic: &Smc91c111, vm: &Rc<Vm>) -> Result<()> {
    start(nic, vm)?;
    for used in 0..=4 {
        let seen = nic.registers().get(reg::MIR)?;
        assert_eq!(seen, (4 - used) << 8 | 4, "MIR with {used} packets in use");
        nic.allocate()?;
    }
    Ok(())
}

/// Would catch an allocation that fails, instead of waiting for memory, and one that is forgotten
/// or served twice (8.16, 8.17).
fn allocation_waits(nic: &Smc91c111, vm: &Rc<Vm>) -> Result<()> {
    start(nic, vm)?;
    let packets = allocate_all(nic)?;
    for (number, packet) in packets.iter().enumerate() {
        nic.registers().mmu(Mmu::Allocate)?;
        assert!(!reports(nic, reg::ALLOCATED)?, "IST while no packet is free");
        assert_ne!(nic.registers().get(reg::ARR)? & reg::NONE, 0, "ARR while no packet is free");
        nic.with(*packet, Mmu::Release)?;
        assert!(reports(nic, reg::ALLOCATED)?, "IST when packet {number} is free");
        assert_eq!(nic.registers().get(reg::ARR)?, *packet, "ARR when packet {number} is free");
        nic.registers().set(reg::IST, 0xff)?;
    }
    nic.with(packets[0], Mmu::Release)?;
    assert_eq!(nic.allocate()?, Some(packets[0]), "a packet that nobody waited for");
    Ok(())
}

/// Would catch a pointer that counts although it should not, or does not, or by another number of
/// bytes than were accessed (8.19, 8.20).
fn pointer(nic: &Smc91c111, vm: &Rc<Vm>) -> Result<()> {
    start(nic, vm)?;
    let packet = nic.allocate()?.unwrap_or(reg::NONE);
    let content: Vec<u8> = (0..=255).collect();
    nic.write(packet, 0, &content)?;
    let registers = nic.registers();
    let byte = |at: u64| content[at as usize];
    for at in [0_u64, 1, 5, 100] {
        // As it stands: the offset of the register counts.
        registers.set(reg::PTR, reg::PTR_READS | at as u16)?;
        for offset in [3, 0, 2, 1] {
            let got = registers.read8(reg::DATA.offset() + offset)?;
            assert_eq!(got, byte(at + offset), "byte {offset} of the data from {at} on");
        }
        let mut next = at;
        registers.set(reg::PTR, reg::PTR_READS | reg::PTR_COUNTS | at as u16)?;
        for width in [Width::Byte, Width::Word, Width::Long, Width::Word, Width::Byte] {
            let got = registers.read(reg::DATA.offset(), width)?.to_le_bytes();
            let count = width.bytes() as u64;
            let expected: Vec<_> = (next..next + count).map(byte).collect();
            assert_eq!(&got[..count as usize], expected, "{count} bytes from {next} on");
            next += count;
            let pointer = registers.get(reg::PTR)? & 0x7ff;
            assert_eq!(u64::from(pointer), next, "PTR after {count} bytes");
        }
    }
    // A pointer at the end of the packet begins again.
    registers.set(reg::PTR, reg::PTR_COUNTS | 0x7fe)?;
    registers.set(reg::DATA, 0xd3c2_b1a0)?;
    assert_eq!(nic.read(Some(packet), 0x7fe, 2)?, [0xa0, 0xb1], "the last two bytes");
    assert_eq!(nic.read(Some(packet), 0, 3)?, [0xc2, 0xd3, 2], "the first three bytes");
    Ok(())
}

/// Would catch a reset of the MMU that leaves a packet in use, a FIFO with something in it, or an
/// interrupt for what is no longer there (8.16).
fn mmu_reset(nic: &Smc91c111, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let registers = nic.registers();
    let packet = nic.allocate()?.unwrap_or(reg::NONE);
    nic.put(packet, &frame(PEER, MAC, 70, 1))?;
    nic.with(packet, Mmu::Enqueue)?;
    wire.receive("a frame")?;
    wire.send(&frame(MAC, PEER, 71, 2))?;
    wait_received(vm, "a frame", || Ok(registers.get(reg::RX_FIFO)? & reg::NONE == 0))?;
    registers.mmu(Mmu::Reset)?;
    assert_eq!(registers.get(reg::TX_FIFO)?, reg::NONE, "TX_FIFO after a reset of the MMU");
    assert_eq!(registers.get(reg::RX_FIFO)?, reg::NONE, "RX_FIFO after a reset of the MMU");
    assert_eq!(allocate_all(nic)?.len(), 4, "packets that are free after a reset of the MMU");
    assert!(!reports(nic, reg::RECEIVED)?, "IST: frames received, after a reset of the MMU");
    Ok(())
}

/// Would catch frames that wait for memory for ever when a reset of the MMU has made it free.
fn mmu_reset_goes_on(nic: &Smc91c111, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let registers = nic.registers();
    for number in 0..2 {
        let sent = frame(MAC, PEER, 80, number);
        allocate_all(nic)?;
        wire.send(&sent)?;
        (0..20).try_for_each(|_| settle(vm))?;
        assert_eq!(registers.get(reg::RX_FIFO)?, reg::NONE, "RX_FIFO without memory");
        registers.mmu(Mmu::Reset)?;
        let there = || Ok(registers.get(reg::RX_FIFO)? & reg::NONE == 0);
        wait_until(vm, "a frame that waited for memory", there)?;
        assert_frame(&nic.first()?.frame, &sent, "a frame that waited for memory");
        registers.mmu(Mmu::RemoveAndRelease)?;
    }
    Ok(())
}

/// Would catch a loop that is not there, or is open (8.5, EPH_LOOP).
fn loopback(nic: &Smc91c111, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let packet = nic.allocate()?.unwrap_or(reg::NONE);
    nic.registers().set(reg::TCR, reg::TCR_ON | reg::TCR_LOOP | reg::TCR_FULL_DUPLEX)?;
    let own = frame(MAC, PEER, 99, 1);
    nic.put(packet, &own)?;
    nic.with(packet, Mmu::Enqueue)?;
    assert_frame(&take(nic, vm, "a frame that loops back")?.frame, &own, "a frame that loops");
    wire.assert_silent("while frames loop back")
}

/// Would catch a link that is said to be up while it is down (8.6).
fn link(nic: &Smc91c111, vm: &Rc<Vm>) -> Result<()> {
    start(nic, vm)?;
    let is_up = || Ok(nic.registers().get(reg::EPHSR)? & reg::LINK_UP != 0);
    assert!(is_up()?, "EPHSR: the link, at first");
    let cable = nic.cable()?;
    let set = |up: bool| vm.qmp().execute("set_link", json!({"name": cable, "up": up}));
    set(false)?;
    let down = wait_until(vm, "EPHSR: the link to be down", || Ok(!is_up()?));
    set(true)?;
    down?;
    wait_until(vm, "EPHSR: the link to be up", is_up)
}

/// Would catch a packet that is not there and is written, read, sent or freed all the same (8.17: the
/// packet number has six bits, and there are four packets).
fn no_such_packet(nic: &Smc91c111, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let registers = nic.registers();
    let packets = allocate_all(nic)?;
    let content = |packet: u8| frame(PEER, MAC, 2048, packet);
    packets.iter().try_for_each(|packet| nic.write(*packet, 0, &content(*packet)))?;
    for packet in [4, 5, 7, 8, 16, 31, 63, 0x80, 0xff] {
        nic.write(packet, 0, &[0xee; 64])?;
        nic.write(packet, 0x7c0, &[0xee; 64])?;
        nic.read(Some(packet), 0, 64)?;
        nic.with(packet, Mmu::Enqueue)?;
        nic.with(packet, Mmu::Release)?;
        wire.assert_silent(&format!("when packet {packet} was enqueued"))?;
    }
    // Nor is there one in the empty receive FIFO.
    registers.mmu(Mmu::Reset)?;
    for command in [Mmu::Remove, Mmu::RemoveAndRelease] {
        registers.mmu(command)?;
        assert_eq!(registers.get(reg::RX_FIFO)?, reg::NONE, "RX_FIFO after {command:?}");
    }
    for packet in packets {
        let got = nic.read(Some(packet), 0, 2048)?;
        assert_frame(&got, &content(packet), &format!("the memory of packet {packet}"));
    }
    assert_works(nic, vm, &wire)
}

/// Would catch a receive FIFO that holds more than there are packets, because these were freed while
/// they stood in it, and one that dies of a packet that is in it twice.
fn released_early(nic: &Smc91c111, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let registers = nic.registers();
    for number in 0..40_u8 {
        wire.send(&frame(MAC, PEER, 64, number))?;
        (0..3).try_for_each(|_| settle(vm))?;
        (0..4).try_for_each(|packet| nic.with(packet, Mmu::Release))?;
    }
    for _ in 0..50 {
        registers.mmu(Mmu::RemoveAndRelease)?;
    }
    (0..20).try_for_each(|_| settle(vm))?;
    // The transmit FIFOs as well: a packet is enqueued more often than they have places.
    let packet = nic.allocate()?.unwrap_or(0);
    for on in [0, reg::TCR_ON] {
        registers.set(reg::TCR, on)?;
        nic.put(packet, &frame(PEER, MAC, 64, 1))?;
        for _ in 0..20 {
            nic.with(packet, Mmu::Enqueue)?;
        }
    }
    assert_works(nic, vm, &wire)
}

/// Would catch a byte count that is shorter than what surrounds a frame, or longer than a packet,
/// and makes the device read what is not the packet's (8.1).
fn byte_counts(nic: &Smc91c111, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let packets = allocate_all(nic)?;
    // What must not be sent.
    packets.iter().try_for_each(|packet| nic.write(*packet, 0, &[0xb7; 2048]))?;
    let packet = packets[0];
    for pads in [0, reg::TCR_PADS] {
        nic.registers().set(reg::TCR, reg::TCR_ON | pads)?;
        for count in [0_u16, 1, 2, 5, 7, 0x7fe, 0x7ff, 0x800, 0x806, 0xfff, 0x7fff, 0xffff] {
            nic.write(packet, 0, &[&[0, 0], &count.to_le_bytes()[..], &[0x11; 2044]].concat())?;
            nic.with(packet, Mmu::Enqueue)?;
            nic.registers().set(reg::IST, reg::SENT)?;
            for sent in wire.waiting("what was enqueued")? {
                let foreign = sent.contains(&0xb7);
                assert!(!foreign, "a byte count of {count:#x} sends another packet's memory");
                assert!(sent.len() <= 2044, "a byte count of {count:#x} sends {}", sent.len());
            }
        }
    }
    assert_works(nic, vm, &wire)
}

/// Would catch a frame without any data that keeps all others from being sent.
fn no_data(nic: &Smc91c111, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let packet = nic.allocate()?.unwrap_or(reg::NONE);
    nic.put(packet, &[])?;
    nic.with(packet, Mmu::Enqueue)?;
    assert_works(nic, vm, &wire)
}
