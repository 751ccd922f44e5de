//! SMSC's LAN91C111: its FIFOs of frames to send and received ones, their status words and ends.

use std::rc::Rc;

use super::smc91c111::{allocate_all, reports, start, take};
use crate::drivers::net::smc91c111::registers::{self as reg, Mmu};
use crate::drivers::net::smc91c111::{self as chip, Smc91c111};
use crate::qemu::Vm;
use crate::qos::net::{self, BROADCAST, MAC, PEER, assert_frame, frame, wait_received};
use crate::qos::registers::RegistersExt;
use crate::qos::settle;
use crate::{Result, tests};

tests!(Smc91c111, "smc91c111-tests":
    transmit_fifo = "transmit-fifo",
    auto_release = "auto-release",
    transmit_reset = "transmit-reset",
    transmit_empty = "transmit-empty",
    transmit_enable = "transmit-enable",
    padding,
    no_length = "no-length",
    receive_fifo = "receive-fifo",
    receive_status = "receive-status",
    receive_kinds = "receive-kinds",
    short_frames = "short-frames",
    check_sequence = "check-sequence",
    receiver_off = "receiver-off";
    with net::BOARD
);

/// Would catch frames that are sent out of order, ends of transmissions that are reported out of
/// order, and an acknowledgement that is for several (8.18, 8.21).
fn transmit_fifo(nic: &Smc91c111, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let registers = nic.registers();
    let packets = allocate_all(nic)?;
    for order in [[0, 1, 2, 3], [2, 0, 3, 1]] {
        let order = order.map(|at: usize| packets[at]);
        let sent = |packet: u8| frame(PEER, MAC, 100 + usize::from(packet), packet);
        packets.iter().try_for_each(|packet| nic.put(*packet, &sent(*packet)))?;
        order.iter().try_for_each(|packet| nic.with(*packet, Mmu::Enqueue))?;
        for packet in order {
            let what = format!("packet {packet} of {order:?}");
            assert_frame(&wire.receive(&what)?, &sent(packet), &what);
            let status = nic.read(Some(packet), 0, 2)?;
            assert_eq!(status[0] & 0x8f, 1, "{what}: the status is {status:x?}");
        }
        for packet in order {
            assert_eq!(registers.get(reg::TX_FIFO)?, packet, "the first whose transmission ended");
            assert!(reports(nic, reg::SENT)?, "IST with packet {packet} sent");
            registers.set(reg::IST, reg::SENT)?;
        }
        assert_eq!(registers.get(reg::TX_FIFO)?, reg::NONE, "TX_FIFO, all acknowledged");
        assert!(!reports(nic, reg::SENT)?, "IST, all acknowledged");
        registers.set(reg::IST, reg::SENT)?;
        assert_eq!(registers.get(reg::TX_FIFO)?, reg::NONE, "TX_FIFO, acknowledged once more");
    }
    wire.assert_silent("after all packets")
}

/// Would catch memory that is not free after a transmission although it should, or is although it
/// should not, and an interrupt for a frame that was sent well (8.15).
fn auto_release(nic: &Smc91c111, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let registers = nic.registers();
    for releases in [true, false] {
        registers.mmu(Mmu::Reset)?;
        registers.set(reg::CTR, 0x1210 | if releases { reg::CTR_RELEASES } else { 0 })?;
        let packets = allocate_all(nic)?;
        let sent = frame(PEER, MAC, 99, 1);
        nic.put(packets[2], &sent)?;
        nic.with(packets[2], Mmu::Enqueue)?;
        assert_frame(&wire.receive("a frame")?, &sent, "a frame");
        let expected = if releases { reg::NONE } else { packets[2] };
        assert_eq!(registers.get(reg::TX_FIFO)?, expected, "TX_FIFO, AUTO_RELEASE {releases}");
        assert_eq!(reports(nic, reg::SENT)?, !releases, "IST, AUTO_RELEASE {releases}");
        let free = releases.then_some(packets[2]);
        assert_eq!(nic.allocate()?, free, "the packet that is free, AUTO_RELEASE {releases}");
        registers.set(reg::IST, reg::SENT)?;
    }
    Ok(())
}

/// Would catch a reset of the transmit FIFOs that leaves an end of a transmission there (8.16).
fn transmit_reset(nic: &Smc91c111, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let registers = nic.registers();
    let packet = nic.allocate()?.unwrap_or(reg::NONE);
    let received = frame(MAC, PEER, 80, 9);
    wire.send(&received)?;
    for number in 0..3 {
        let sent = frame(PEER, MAC, 90, number);
        nic.put(packet, &sent)?;
        nic.with(packet, Mmu::Enqueue)?;
        assert_frame(&wire.receive("a frame")?, &sent, "a frame");
        assert_eq!(registers.get(reg::TX_FIFO)?, packet, "TX_FIFO with a frame sent");
        registers.mmu(Mmu::ResetTransmit)?;
        assert_eq!(registers.get(reg::TX_FIFO)?, reg::NONE, "TX_FIFO after its reset");
        registers.set(reg::IST, reg::SENT)?;
    }
    assert_frame(&take(nic, vm, "a frame")?.frame, &received, "a frame received before");
    Ok(())
}

/// Would catch an interrupt for an empty transmit FIFO that cannot be acknowledged (8.21).
fn transmit_empty(nic: &Smc91c111, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let packet = nic.allocate()?.unwrap_or(reg::NONE);
    for number in 0..2 {
        nic.put(packet, &frame(PEER, MAC, 90, number))?;
        nic.with(packet, Mmu::Enqueue)?;
        wire.receive("a frame")?;
        assert!(reports(nic, reg::EMPTY)?, "IST when all is sent");
        nic.registers().set(reg::IST, reg::EMPTY | reg::SENT)?;
        assert!(!reports(nic, reg::EMPTY)?, "IST when that is acknowledged");
    }
    Ok(())
}

/// Would catch frames that are sent while the transmitter is off, or not when it is turned on (8.5).
fn transmit_enable(nic: &Smc91c111, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let registers = nic.registers();
    let packets = allocate_all(nic)?;
    registers.set(reg::TCR, 0)?;
    let sent = |packet: u8| frame(PEER, MAC, 95, packet);
    for packet in &packets[..2] {
        nic.put(*packet, &sent(*packet))?;
        nic.with(*packet, Mmu::Enqueue)?;
        wire.assert_silent("while the transmitter is off")?;
        assert_eq!(registers.get(reg::TX_FIFO)?, reg::NONE, "TX_FIFO, the transmitter off");
    }
    registers.set(reg::TCR, reg::TCR_ON)?;
    for packet in &packets[..2] {
        let what = "a frame that waited for the transmitter";
        assert_frame(&wire.receive(what)?, &sent(*packet), what);
    }
    Ok(())
}

/// Would catch a packet whose byte count is less than what is around its data (8.1), and is sent,
/// never done, or has QEMU write around its memory.
fn no_length(nic: &Smc91c111, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let packet = nic.allocate()?.unwrap_or(reg::NONE);
    for pads in [0, reg::TCR_PADS] {
        nic.registers().set(reg::TCR, reg::TCR_ON | pads)?;
        for count in 0..6 {
            nic.write(packet, 0, &[0xff; 128])?;
            nic.write(packet, 2, &[count, 0])?;
            nic.with(packet, Mmu::Enqueue)?;
            let what = format!("a byte count of {count}, PAD_EN {}", pads != 0);
            wire.assert_silent(&what)?;
            assert_eq!(nic.registers().get(reg::TX_FIFO)?, packet, "TX_FIFO, {what}");
            nic.registers().set(reg::IST, reg::SENT)?;
            let sent = frame(PEER, MAC, 100, count);
            nic.put(packet, &sent)?;
            nic.with(packet, Mmu::Enqueue)?;
            assert_frame(&wire.receive(&what)?, &sent, &what);
            nic.registers().set(reg::IST, reg::SENT)?;
        }
    }
    Ok(())
}

/// Would catch a short frame that is not padded to 64 bytes with its check sequence, or padded
/// although nobody asked for it (8.5).
fn padding(nic: &Smc91c111, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let packet = nic.allocate()?.unwrap_or(reg::NONE);
    for length in [15, 42, 59, 60, 61] {
        for pads in [0, reg::TCR_PADS] {
            nic.registers().set(reg::TCR, reg::TCR_ON | pads)?;
            nic.write(packet, 0, &[0xff; 128])?;
            let mut sent = frame(PEER, MAC, length, 7);
            nic.put(packet, &sent)?;
            nic.with(packet, Mmu::Enqueue)?;
            if pads != 0 {
                sent.resize(length.max(net::SHORTEST), 0);
            }
            let what = format!("{length} bytes sent, PAD_EN {}", pads != 0);
            assert_frame(&wire.receive(&what)?, &sent, &what);
            nic.registers().set(reg::IST, reg::SENT)?;
        }
    }
    Ok(())
}

/// Would catch frames out of order, a frame that is removed but not there afterwards, memory that is
/// free too early or not at all, and an interrupt that ends before the last frame is taken.
fn receive_fifo(nic: &Smc91c111, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let registers = nic.registers();
    let sent: Vec<_> = (0..6).map(|number| frame(MAC, PEER, 200, number)).collect();
    sent[..4].iter().try_for_each(|frame| wire.send(frame))?;
    let mut removed = Vec::new();
    for sent in &sent[..4] {
        wait_received(vm, "a frame", || Ok(registers.get(reg::RX_FIFO)? & reg::NONE == 0))?;
        let packet = registers.get(reg::RX_FIFO)?;
        assert_frame(&nic.first()?.frame, sent, "a frame in the FIFO");
        assert!(reports(nic, reg::RECEIVED)?, "IST with a frame in the FIFO");
        registers.set(reg::IST, reg::RECEIVED)?;
        assert!(reports(nic, reg::RECEIVED)?, "IST, acknowledged with a frame in the FIFO");
        registers.mmu(Mmu::Remove)?;
        removed.push(packet);
    }
    assert_eq!(registers.get(reg::RX_FIFO)?, reg::NONE, "RX_FIFO, all removed");
    assert!(!reports(nic, reg::RECEIVED)?, "IST, all removed");
    assert_eq!(nic.allocate()?, None, "a packet allocated while all hold frames");
    registers.mmu(Mmu::Reset)?;
    // What was removed keeps its content until it is used again.
    for (packet, sent) in removed.iter().zip(&sent) {
        assert_frame(&nic.read(Some(*packet), 4, 200)?, sent, "a frame removed");
    }
    for late in &sent[4..] {
        wire.send(late)?;
        assert_frame(&take(nic, vm, "a frame")?.frame, late, "a frame after a reset");
    }
    Ok(())
}

/// Would catch a status, a byte count or a control byte that is not the frame's (8.1, 8.2).
fn receive_status(nic: &Smc91c111, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    for length in [64, 65, 66, 67, 100, 255, 256, 1001, 1513, 1514, 1600, 1601] {
        let sent = frame(MAC, PEER, length, length as u8);
        wire.send(&sent)?;
        let what = format!("{length} bytes");
        let got = take(nic, vm, &what)?;
        assert_frame(&got.frame, &sent, &what);
        let odd = if length % 2 == 1 { chip::STATUS_ODD } else { 0 };
        let long = if length > 1518 { chip::STATUS_LONG } else { 0 };
        assert_eq!(got.status, odd | long, "{what}: the status");
        assert_eq!(got.count, length / 2 * 2 + chip::AROUND, "{what}: the byte count");
        assert_eq!(got.control & chip::ODD != 0, length % 2 == 1, "{what}: the control byte");
    }
    Ok(())
}

/// Would catch a status that does not tell broadcasts and groups (8.2).
fn receive_kinds(nic: &Smc91c111, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    nic.registers().set(reg::RCR, reg::RCR_ON | reg::RCR_STRIPS | reg::RCR_GROUPS)?;
    let group = [0x01, 0x00, 0x5e, 1, 2, 3];
    let kinds = chip::STATUS_BROADCAST | chip::STATUS_GROUP;
    for (to, kind) in
        [(MAC, 0), (BROADCAST, chip::STATUS_BROADCAST), (group, chip::STATUS_GROUP), (MAC, 0)]
    {
        wire.send(&frame(to, PEER, 70, 1))?;
        let got = take(nic, vm, "a frame")?;
        assert_eq!(got.status & kinds, kind, "the status of a frame to {to:x?}");
    }
    Ok(())
}

/// Would catch frames of the least length that are received as others.
fn short_frames(nic: &Smc91c111, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    for length in 60..64 {
        let sent = frame(MAC, PEER, length, length as u8);
        wire.send(&sent)?;
        let what = format!("{length} bytes received");
        let got = take(nic, vm, &what)?;
        assert_frame(&got.frame, &sent, &what);
        assert_eq!(got.count, length / 2 * 2 + chip::AROUND, "{what}: the byte count");
    }
    Ok(())
}

/// Would catch a check sequence that is not stored behind a frame, or is not the frame's (8.7).
fn check_sequence(nic: &Smc91c111, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    nic.registers().set(reg::RCR, reg::RCR_ON)?;
    for length in [64, 100, 65, 1514] {
        let sent = frame(MAC, PEER, length, length as u8);
        wire.send(&sent)?;
        let what = format!("{length} bytes and a check sequence");
        let got = take(nic, vm, &what)?.frame;
        assert_eq!(got.len(), length + 4, "{what}: its length");
        assert_frame(&net::without_check_sequence(got)?, &sent, &what);
    }
    Ok(())
}

/// Would catch a receiver that is off and receives, or one that keeps what came meanwhile.
fn receiver_off(nic: &Smc91c111, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let registers = nic.registers();
    for number in 0..3 {
        registers.set(reg::RCR, reg::RCR_STRIPS)?;
        wire.send(&frame(MAC, PEER, 100, number))?;
        (0..20).try_for_each(|_| settle(vm))?;
        assert_eq!(registers.get(reg::RX_FIFO)?, reg::NONE, "RX_FIFO, the receiver off");
        assert!(!reports(nic, reg::RECEIVED)?, "IST, the receiver off");
        registers.set(reg::RCR, reg::RCR_STRIPS | reg::RCR_ON)?;
        let sent = frame(MAC, PEER, 101, number);
        wire.send(&sent)?;
        assert_frame(&take(nic, vm, "a frame")?.frame, &sent, "a frame, the receiver on again");
    }
    Ok(())
}
