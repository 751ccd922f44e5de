//! The gigabit Ethernet controller of Allwinner's H3: frames in several buffers, checksums, events,
//! the receiver's switch, the PHY, and lists that do not come back to where they begin.

use std::rc::Rc;

use crate::drivers::net::allwinner_sun8i_emac::{self as emac, Sun8iEmac};
use crate::qemu::Vm;
use crate::qos::net::{self, MAC, PEER, Wire, assert_frame, frame, wait_received};
use crate::qos::nic::Nic;
use crate::qos::packets::{self, TCP, TCP_SUM, TRANSPORT, UDP, UDP_SUM};
use crate::qos::registers::RegistersExt;
use crate::qos::settle;
use crate::{Error, Result, tests};

tests!(Sun8iEmac, "allwinner-sun8i-emac-tests":
    segments,
    small_buffers = "small-buffers",
    split_sequence = "split-sequence",
    checksums,
    events,
    receiver_off = "receiver-off",
    receiver_on = "receiver-on",
    moved_list = "moved-list",
    order,
    loops,
    phy;
    with net::BOARD
);

/// Starts the controller; returns the other end of its cable.
fn start(nic: &Sun8iEmac, vm: &Rc<Vm>) -> Result<Wire> {
    let wire = Wire::on(vm, nic.cable()?)?;
    nic.start(vm)?;
    Ok(wire)
}

/// Waits until receive descriptor `index` is full; returns its status.
fn received(nic: &Sun8iEmac, vm: &Vm, index: usize) -> Result<u32> {
    wait_received(vm, &format!("receive descriptor {index}"), || {
        Ok(nic.rings()?.receive.word(index, 0)? & emac::OWN == 0)
    })?;
    nic.rings()?.receive.word(index, 0)
}

/// Would catch the segments of a frame that are left out, mixed up or sent as frames.
fn segments(nic: &Sun8iEmac, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    for cuts in [vec![14], vec![1, 2, 3], vec![100, 101, 700], vec![60, 800, 801, 1000, 1400]] {
        let whole = frame(PEER, MAC, 1500, cuts.len() as u8);
        let ends: Vec<_> = cuts.iter().copied().chain([whole.len()]).collect();
        let rings = nic.rings()?;
        let mut begin = 0;
        for end in &ends {
            let index = rings.queue(&whole[begin..*end])?;
            let first = if begin == 0 { 0 } else { emac::FIRST };
            let last = if *end == whole.len() { 0 } else { emac::LAST };
            let word = rings.transmit.word(index, 1)?;
            rings.transmit.set_word(index, 1, word & !(first | last))?;
            begin = *end;
        }
        nic.send()?;
        let what = format!("a frame in {} segments", ends.len());
        assert_frame(&wire.receive(&what)?, &whole, &what);
        wire.assert_silent(&what)?;
        assert_eq!(rings.sent()?, ends.len(), "{what}: segments that are done");
    }
    Ok(())
}

/// Would catch a frame that is not spread over buffers that are too small for it, or parts of it
/// that are not marked as such.
fn small_buffers(nic: &Sun8iEmac, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let size = 256;
    let mut index = 0;
    for number in 0..8 {
        nic.rings()?.receive.set_word(number, 1, size as u32)?;
    }
    for (number, length) in [64, 252, 300, 508, 700].into_iter().enumerate() {
        let whole = frame(MAC, PEER, length, number as u8);
        wire.send(&whole)?;
        let parts = (length + 4).div_ceil(size);
        let what = format!("{length} bytes in buffers of {size}");
        let mut bytes = Vec::new();
        for part in 0..parts {
            let status = received(nic, vm, index)?;
            let marks = (if part == 0 { emac::RECEIVED_FIRST } else { 0 })
                | (if part + 1 == parts { emac::RECEIVED_LAST } else { 0 });
            let seen = status & (emac::RECEIVED_FIRST | emac::RECEIVED_LAST);
            assert_eq!(seen, marks, "{what}: the marks of part {part}");
            let rings = nic.rings()?;
            bytes.extend(rings.receive.bytes(index, size)?);
            rings.receive.set_word(index, 0, emac::OWN)?;
            index = (index + 1) % 8;
        }
        assert_frame(&bytes[..length], &whole, &what);
    }
    Ok(())
}

/// Would catch a controller that dies of a check sequence that does not fit in the buffer of the
/// frame's end.
fn split_sequence(nic: &Sun8iEmac, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    for number in 0..8 {
        nic.rings()?.receive.set_word(number, 1, 256)?;
    }
    for (number, length) in [253, 254, 255, 256].into_iter().enumerate() {
        let whole = frame(MAC, PEER, length, number as u8);
        wire.send(&whole)?;
        received(nic, vm, 2 * number + 1)?;
        let got = nic.rings()?.receive.bytes(2 * number, length)?;
        assert_frame(&got, &whole, &format!("{length} bytes in buffers of 256"));
    }
    Ok(())
}

/// Would catch a checksum that is not put in, is wrong, or that nobody asked for.
fn checksums(nic: &Sun8iEmac, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    for (protocol, sum) in [(TCP, TCP_SUM), (UDP, UDP_SUM)] {
        for asked in [false, true, false] {
            let whole = packets::packet(PEER, MAC, protocol, &packets::payload(99));
            let mut given = whole.clone();
            given[TRANSPORT + sum..TRANSPORT + sum + 2].fill(0);
            let rings = nic.rings()?;
            let index = rings.queue(&given)?;
            let word = rings.transmit.word(index, 1)?;
            let bits = if asked { emac::CHECKSUMS } else { 0 };
            rings.transmit.set_word(index, 1, word | bits)?;
            nic.send()?;
            let what = format!("protocol {protocol}, checksums asked for {asked}");
            let expected = if asked { whole } else { given };
            assert_frame(&wire.receive(&what)?, &expected, &what);
            rings.sent()?;
        }
    }
    Ok(())
}

/// Would catch an event that is acknowledged with another or by a zero, or a mask that is another's.
fn events(nic: &Sun8iEmac, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let lines = nic.lines()?;
    let high = || -> Result<bool> {
        lines.iter().try_fold(false, |high, line| Ok(high | line.is_high()?))
    };
    nic.queue(&frame(PEER, MAC, 60, 1))?;
    nic.send()?;
    wire.receive("a frame")?;
    wire.send(&frame(MAC, PEER, 60, 2))?;
    wait_received(vm, "a frame", || Ok(nic.arrived()? > 0))?;
    let mut left = nic.registers().get(emac::INT_STA)?;
    assert_eq!(left & 0x101, 0x101, "INT_STA: sent and received");
    for bit in (0..14).map(|bit| 1 << bit) {
        nic.registers().set(emac::INT_EN, bit)?;
        if !lines.is_empty() {
            assert_eq!(high()?, left & bit != 0, "the line, INT_EN {bit:#x} and {left:#x}");
        }
        nic.registers().set(emac::INT_STA, 0)?;
        assert_eq!(nic.registers().get(emac::INT_STA)?, left, "INT_STA, zeros written");
        nic.registers().set(emac::INT_STA, bit)?;
        left &= !bit;
        assert_eq!(nic.registers().get(emac::INT_STA)?, left, "INT_STA, {bit:#x} acknowledged");
        assert!(!high()?, "the line, {bit:#x} acknowledged");
    }
    Ok(())
}

/// Would catch a receiver that is off and writes memory, and one that does not go on.
fn receiver_off(nic: &Sun8iEmac, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    for number in 0..3 {
        nic.registers().set(emac::RX_CTL_0, 0)?;
        let memory = nic.memory()?;
        wire.send(&frame(MAC, PEER, 100, number))?;
        (0..20).try_for_each(|_| settle(vm))?;
        assert!(nic.memory()? == memory, "memory is written by a receiver that is off");
        nic.registers().set(emac::RX_CTL_0, 1 << 31)?;
        nic.recycle()?;
        let sent = frame(MAC, PEER, 101, number);
        wire.send(&sent)?;
        let mut got = Vec::new();
        while got != sent {
            wait_received(vm, "a frame, the receiver on", || Ok(nic.arrived()? > 0))?;
            got = nic.take()?;
            nic.recycle()?;
        }
    }
    Ok(())
}

/// Would catch a receiver that, turned on by RX_CTL0 alone, receives nothing because a frame came
/// while it was off.
fn receiver_on(nic: &Sun8iEmac, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    for number in 0..3 {
        nic.registers().set(emac::RX_CTL_0, 0)?;
        wire.send(&frame(MAC, PEER, 100, number))?;
        (0..20).try_for_each(|_| settle(vm))?;
        nic.registers().set(emac::RX_CTL_0, 1 << 31)?;
        let sent = frame(MAC, PEER, 101, number);
        wire.send(&sent)?;
        let mut got = Vec::new();
        while got != sent {
            wait_received(vm, "a frame, the receiver on", || Ok(nic.arrived()? > 0))?;
            got = nic.take()?;
        }
    }
    Ok(())
}

/// Would catch a transmitter that goes on in its list although it is told where that begins.
fn moved_list(nic: &Sun8iEmac, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    for number in 0..3 {
        let rings = nic.rings()?;
        let ring = &rings.transmit;
        let sent = frame(PEER, MAC, 100, number);
        ring.buffer(0).write(0, &sent)?;
        ring.set_word(0, 2, ring.buffer(0).address().0 as u32)?;
        ring.set_word(0, 1, emac::REPORT | emac::LAST | emac::FIRST | 100)?;
        ring.set_word(0, 0, emac::OWN)?;
        nic.registers().set(emac::TX_LIST, ring.address() as u32)?;
        nic.send()?;
        let what = format!("frame {number} at the begin of the list");
        assert_frame(&wire.receive(&what)?, &sent, &what);
        assert_eq!(ring.word(0, 0)? & emac::OWN, 0, "{what}: it is done");
    }
    Ok(())
}

/// Would catch a receiver that begins its list anew, instead of going on where it was, when all
/// buffers were used.
fn order(nic: &Sun8iEmac, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    // Three frames move its place; then all eight buffers are used.
    for number in 0..3 {
        wire.send(&frame(MAC, PEER, 70, number))?;
        wait_received(vm, "a frame", || Ok(nic.arrived()? > 0))?;
        nic.take()?;
        nic.recycle()?;
    }
    for number in 3..11 {
        wire.send(&frame(MAC, PEER, 70, number))?;
    }
    wait_received(vm, "frames for all buffers", || Ok(nic.arrived()? == 8))?;
    for _ in 0..8 {
        nic.take()?;
    }
    nic.recycle()?;
    wire.send(&frame(MAC, PEER, 70, 11))?;
    received(nic, vm, 3)?;
    assert_frame(&nic.take()?, &frame(MAC, PEER, 70, 11), "the frame behind");
    Ok(())
}

/// Would catch a controller that looks for a buffer for ever in a list that does not come back to
/// where it began.
fn loops(nic: &Sun8iEmac, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let list = vm.ram().alloc(64, 64)?;
    let at = list.address().0 as u32;
    // The first leads to the second, which leads to itself; none is the device's.
    list.write_le32(12, at + 16)?;
    list.write_le32(28, at + 16)?;
    nic.registers().set(emac::RX_LIST, at)?;
    wire.send(&frame(MAC, PEER, 70, 1))?;
    nic.registers().get(emac::INT_STA)?;
    (0..20).try_for_each(|_| settle(vm))?;
    nic.start(vm)?;
    let sent = frame(MAC, PEER, 71, 2);
    wire.send(&sent)?;
    let mut got = Vec::new();
    while got != sent {
        wait_received(vm, "a frame after a list that loops", || Ok(nic.arrived()? > 0))?;
        got = nic.take()?;
        nic.recycle()?;
    }
    Ok(())
}

/// Would catch a PHY that is not there, one that answers at every address, and registers of it that
/// are mixed up or do not keep what they should (IEEE 802.3, 22.2.4).
fn phy(nic: &Sun8iEmac, vm: &Rc<Vm>) -> Result<()> {
    start(nic, vm)?;
    let Some(phy) = nic.find_phy()? else {
        return Err(Error::skipped("it has no PHY"));
    };
    for other in (0..16).filter(|other| *other != phy) {
        assert_eq!(nic.phy(other, 2)?, 0xffff, "register 2 of PHY {other}, which is not there");
    }
    assert_eq!(nic.phy(phy, 1)? & 0x2c, 0x2c, "BMSR: it negotiates, has done so, the link is up");
    assert_ne!(nic.phy(phy, 0)? & 1 << 12, 0, "BMCR: it negotiates");
    let identity = (nic.phy(phy, 2)?, nic.phy(phy, 3)?);
    nic.set_phy(phy, 2, 0x1234)?;
    assert_eq!((nic.phy(phy, 2)?, nic.phy(phy, 3)?), identity, "PHYID, written");
    for value in [0x01a1, 0x0141, 0x01e1] {
        nic.set_phy(phy, 4, value)?;
        assert_eq!(nic.phy(phy, 4)?, value, "ANAR, written {value:#x}");
    }
    nic.set_phy(phy, 0, 1 << 15)?;
    assert_eq!(nic.phy(phy, 0)? & 1 << 15, 0, "BMCR: a reset ends");
    Ok(())
}
