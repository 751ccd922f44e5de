//! Faraday's FTGMAC100: tags, frames in several buffers, long frames, errors and its PHY.

use std::rc::Rc;

use crate::drivers::net::ftgmac100::{self as mac, Ftgmac100};
use crate::qemu::Vm;
use crate::qos::net::{self, MAC, PEER, Wire, assert_frame, frame};
use crate::qos::nic::Nic;
use crate::qos::registers::RegistersExt;
use crate::qos::wait_until;
use crate::{Result, tests};

tests!(Ftgmac100, "ftgmac100-tests":
    insert_tag = "insert-tag",
    remove_tag = "remove-tag",
    segments,
    small_buffers = "small-buffers",
    long_frames = "long-frames",
    acknowledge,
    bus_error = "bus-error",
    lost_descriptor = "lost-descriptor",
    lost_buffer = "lost-buffer",
    half_on = "half-on",
    phy;
    with net::BOARD
);

/// Where nothing answers on any of Aspeed's chips, between SRAM and devices. The upper half of an
/// AST2600's addresses is its SDRAM controller's, which answers behind the end of RAM as well.
const NOBODY: u32 = 0x1400_0000;

/// Starts the controller; returns the other end of its cable.
fn start(nic: &Ftgmac100, vm: &Rc<Vm>) -> Result<Wire> {
    let wire = Wire::on(vm, nic.cable()?)?;
    nic.start(vm)?;
    Ok(wire)
}

/// `frame` with a tag behind its addresses (IEEE 802.1Q, 9.6).
fn tagged(frame: &[u8], tag: u16) -> Vec<u8> {
    [&frame[..12], &[0x81, 0x00], &tag.to_be_bytes(), &frame[12..]].concat()
}

/// Waits until receive descriptor `index` has a frame or a part of one; returns its first two
/// words.
fn received(nic: &Ftgmac100, vm: &Vm, index: usize) -> Result<(u32, u32)> {
    wait_until(vm, &format!("receive descriptor {index}"), || {
        Ok(nic.rings()?.receive.word(index, 0)? & mac::OWN != 0)
    })?;
    net::wait_received(vm, "the frame", || Ok(true))?;
    let rings = nic.rings()?;
    Ok((rings.receive.word(index, 0)?, rings.receive.word(index, 1)?))
}

/// Would catch a tag that is not put in, in another place, or not with all its bits.
fn insert_tag(nic: &Ftgmac100, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    for (number, tag) in [0x0001, 0x0080, 0x00ff, 0x0123, 0xefff].into_iter().enumerate() {
        let plain = frame(PEER, MAC, 60 + 200 * number, number as u8);
        let rings = nic.rings()?;
        let index = rings.queue(&plain)?;
        rings.transmit.set_word(index, 1, mac::INSERT_TAG | u32::from(tag))?;
        nic.send()?;
        let what = format!("a frame with the tag {tag:#06x}");
        assert_frame(&wire.receive(&what)?, &tagged(&plain, tag), &what);
        rings.sent()?;
    }
    Ok(())
}

/// Would catch a tag that is not reported, or left in or taken out against what is set up.
fn remove_tag(nic: &Ftgmac100, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    for (number, removes) in [false, true, false, true].into_iter().enumerate() {
        nic.control(mac::REMOVE_TAG, if removes { mac::REMOVE_TAG } else { 0 })?;
        let plain = frame(MAC, PEER, 60 + 300 * number, number as u8);
        let tag = 0x3123 + number as u16;
        wire.send(&tagged(&plain, tag))?;
        let (status, second) = received(nic, vm, 2 * number)?;
        let expected = mac::HAD_TAG | u32::from(tag);
        assert_eq!(second & 0x0100_ffff, expected, "RXDES1 of a frame with a tag");
        let inside = if removes { plain.clone() } else { tagged(&plain, tag) };
        assert_eq!(status & mac::TOO_LONG, 0, "RXDES0: too long");
        let bytes = nic.rings()?.receive.bytes(2 * number, inside.len())?;
        assert_frame(&bytes, &inside, "a frame with a tag, received");
        wire.send(&plain)?;
        let (_, second) = received(nic, vm, 2 * number + 1)?;
        assert_eq!(second & 0x0100_ffff, 0, "RXDES1 of a frame without a tag");
    }
    Ok(())
}

/// Would catch the segments of a frame that are left out, mixed up or sent as frames.
fn segments(nic: &Ftgmac100, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    for cuts in [vec![14], vec![1, 2, 3], vec![100, 101, 700], vec![60, 800, 801, 1000, 1400]] {
        let whole = frame(PEER, MAC, 1500, cuts.len() as u8);
        let ends: Vec<_> = cuts.iter().copied().chain([whole.len()]).collect();
        let rings = nic.rings()?;
        let mut begin = 0;
        let mut indices = Vec::new();
        for end in &ends {
            let index = rings.queue(&whole[begin..*end])?;
            let first = if begin == 0 { 0 } else { mac::FIRST };
            let last = if *end == whole.len() { 0 } else { mac::LAST };
            let word = rings.transmit.word(index, 0)?;
            rings.transmit.set_word(index, 0, word & !(first | last))?;
            indices.push(index);
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
fn small_buffers(nic: &Ftgmac100, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    nic.registers().set(mac::BUFFER_SIZE, 0x100)?;
    let mut index = 0;
    for (number, length) in [252, 253, 256, 508, 700].into_iter().enumerate() {
        let whole = frame(MAC, PEER, length, number as u8);
        wire.send(&whole)?;
        let parts = (length + 4).div_ceil(0x100);
        let mut bytes = Vec::new();
        for part in 0..parts {
            let (status, _) = received(nic, vm, index)?;
            let expected = (if part == 0 { mac::FIRST } else { 0 })
                | (if part + 1 == parts { mac::LAST } else { 0 });
            let what = format!("part {part} of {parts} of {length} bytes");
            assert_eq!(status & (mac::FIRST | mac::LAST), expected, "{what}: RXDES0");
            let here = (status & 0x3fff) as usize;
            assert!(here <= 0x100, "{what} has {here} bytes");
            bytes.extend(nic.rings()?.receive.bytes(index, here)?);
            index += 1;
            if index == 8 {
                nic.start(vm)?;
                nic.registers().set(mac::BUFFER_SIZE, 0x100)?;
                index = 0;
                break;
            }
        }
        if index != 0 {
            assert_eq!(bytes.len(), length + 4, "the bytes of all parts");
            assert_frame(&bytes[..length], &whole, "a frame in parts");
        }
    }
    Ok(())
}

/// Would catch a frame that is too long and not marked, one that is marked although it may be
/// long, and an end that is written behind a buffer.
fn long_frames(nic: &Ftgmac100, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    for (index, (length, jumbo)) in
        [(1514, false), (1515, false), (1590, false), (1590, true)].into_iter().enumerate()
    {
        nic.control(mac::JUMBO, if jumbo { mac::JUMBO } else { 0 })?;
        let whole = frame(MAC, PEER, length, index as u8);
        wire.send(&whole)?;
        let (status, _) = received(nic, vm, index)?;
        let what = format!("{length} bytes, jumbo frames {jumbo}");
        let too_long = !jumbo && length > 1514;
        assert_eq!(status & mac::TOO_LONG != 0, too_long, "{what}: RXDES0 {status:#x}");
        let here = (status & 0x3fff) as usize;
        let expected = if too_long { 1518 } else { length + 4 };
        assert_eq!(here, expected, "{what}: the length in RXDES0");
        let bytes = nic.rings()?.receive.bytes(index, here - 4)?;
        assert_frame(&bytes, &whole[..here - 4], &what);
    }
    Ok(())
}

/// Would catch an acknowledgement that takes others with it, or nothing.
fn acknowledge(nic: &Ftgmac100, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    nic.queue(&frame(PEER, MAC, 60, 1))?;
    nic.send()?;
    wire.receive("a frame")?;
    wire.send(&frame(MAC, PEER, 60, 2))?;
    net::wait_received(vm, "a frame", || Ok(nic.arrived()? > 0))?;
    let mut left = nic.registers().get(mac::STATUS)?;
    assert_eq!(left & 0x11, 0x11, "MAC00: sent and received");
    for bit in (0..11).map(|bit| 1 << bit) {
        nic.registers().set(mac::STATUS, bit)?;
        left &= !bit;
        assert_eq!(nic.registers().get(mac::STATUS)?, left, "MAC00, {bit:#x} acknowledged");
    }
    Ok(())
}

/// Would catch a buffer that cannot be read and is not reported, and a frame that is sent all the
/// same.
fn bus_error(nic: &Ftgmac100, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let rings = nic.rings()?;
    let index = rings.queue(&frame(PEER, MAC, 100, 1))?;
    rings.transmit.set_word(index, 3, NOBODY)?;
    rings.transmit.set_word(index, 2, 0)?;
    nic.send()?;
    let status = nic.registers().get(mac::STATUS)?;
    assert_ne!(status & mac::BUS_ERROR, 0, "MAC00 after a buffer that is not there: {status:#x}");
    wire.assert_silent("after a buffer that is not there")
}

/// Would catch a descriptor that cannot be read and is reported as one of the driver's, or not at
/// all (MAC00, AHB_ERR).
fn lost_descriptor(nic: &Ftgmac100, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    nic.registers().set(mac::TRANSMIT_RING, NOBODY)?;
    nic.send()?;
    let status = nic.registers().get(mac::STATUS)?;
    assert_ne!(status & mac::BUS_ERROR, 0, "MAC00 after a lost descriptor to send: {status:#x}");
    wire.assert_silent("after a descriptor that is not there")?;
    nic.start(vm)?;
    nic.registers().set(mac::RECEIVE_RING, NOBODY)?;
    wire.send(&frame(MAC, PEER, 100, 1))?;
    wait_until(vm, "AHB_ERR for a lost descriptor to receive into", || {
        Ok(nic.registers().get(mac::STATUS)? & mac::BUS_ERROR != 0)
    })
}

/// Would catch a frame that cannot be written to its buffer and is reported as received.
fn lost_buffer(nic: &Ftgmac100, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    nic.rings()?.receive.set_word(0, 3, NOBODY)?;
    nic.rings()?.receive.set_word(0, 2, 0)?;
    wire.send(&frame(MAC, PEER, 100, 1))?;
    wait_until(vm, "AHB_ERR for a buffer that is not there", || {
        Ok(nic.registers().get(mac::STATUS)? & mac::BUS_ERROR != 0)
    })
}

/// Would catch frames that are sent or received with either the DMA or the MAC switched off.
fn half_on(nic: &Ftgmac100, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    for (bit, number) in [(1 << 0, 1), (1 << 2, 2)] {
        nic.control(bit, 0)?;
        nic.queue(&frame(PEER, MAC, 100, number))?;
        nic.send()?;
        wire.assert_silent("with half of the transmitter off")?;
        nic.control(0, bit)?;
        nic.send()?;
        let sent = wire.receive("with all of the transmitter on")?;
        assert_frame(&sent, &frame(PEER, MAC, 100, number), "with all of the transmitter on");
        nic.sent()?;
    }
    for (bit, number) in [(1 << 1, 3), (1 << 3, 4)] {
        nic.control(bit, 0)?;
        wire.send(&frame(MAC, PEER, 100, number))?;
        for _ in 0..20 {
            wire.assert_silent("with half of the receiver off")?;
        }
        assert_eq!(nic.arrived()?, 0, "frames received with half of the receiver off");
        nic.control(0, bit)?;
        wire.send(&frame(MAC, PEER, 101, number))?;
        net::wait_received(vm, "a frame with all of the receiver on", || Ok(nic.arrived()? > 0))?;
        // The one that waited may come.
        while nic.arrived()? > 0 {
            nic.take()?;
        }
        nic.recycle()?;
    }
    Ok(())
}

/// Would catch a PHY that is not there or another, and registers of it that are mixed up.
fn phy(nic: &Ftgmac100, vm: &Rc<Vm>) -> Result<()> {
    start(nic, vm)?;
    // RTL8211E (Realtek, RTL8211E data sheet, 8.4): organisation 00-07-32.
    assert_eq!((nic.phy(2)?, nic.phy(3)? & 0xfff0), (0x001c, 0xc910), "PHYID1 and PHYID2");
    assert_eq!(nic.phy(1)? & 0x24, 0x24, "BMSR: link and negotiation complete");
    assert_ne!(nic.phy(0)? & 1 << 12, 0, "BMCR: negotiates");
    for value in [0x0de1, 0x0141, 0x01e1] {
        nic.set_phy(4, value)?;
        assert_eq!(nic.phy(4)?, value | 1 << 7, "ANAR, written {value:#x}");
    }
    nic.set_phy(0, 1 << 15)?;
    assert_eq!(nic.phy(0)? & 1 << 15, 0, "BMCR: a reset ends");
    assert_eq!(nic.phy(4)?, 0x0de1, "ANAR after a reset");
    Ok(())
}
