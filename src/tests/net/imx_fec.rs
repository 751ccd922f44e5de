//! Freescale's FEC and ENET: frames in several buffers, long frames, events, the switch, the PHY,
//! and the ENET's larger descriptors with checksums.

use std::rc::Rc;

use crate::drivers::net::imx_fec::{self as fec, ImxFec};
use crate::qemu::{Buffer, Vm};
use crate::qos::net::{self, MAC, PEER, Wire, assert_frame, frame, wait_received};
use crate::qos::nic::Nic;
use crate::qos::packets::{self, IP, IP_SUM, TCP, TCP_SUM, TRANSPORT, UDP, UDP_SUM};
use crate::qos::registers::RegistersExt;
use crate::qos::settle;
use crate::{Error, Result, tests};

tests!(ImxFec, "imx.fec-tests":
    segments,
    small_buffers = "small-buffers",
    split_sequence = "split-sequence",
    total_length = "total-length",
    long_frames = "long-frames",
    events,
    switched_off = "switched-off",
    phy,
    phy_events = "phy-events",
    enhanced,
    enhanced_checksums = "enhanced-checksums",
    shifted;
    with net::BOARD
);

/// Starts the controller; returns the other end of its cable.
fn start(nic: &ImxFec, vm: &Rc<Vm>) -> Result<Wire> {
    let wire = Wire::on(vm, nic.cable()?)?;
    nic.start(vm)?;
    Ok(wire)
}

/// Waits until receive descriptor `index` is full; returns its first word.
fn received(nic: &ImxFec, vm: &Vm, index: usize) -> Result<u32> {
    full(vm, index, || nic.rings()?.receive.word(index, 0))
}

/// Waits until descriptor `index`, whose first word is `word`, is full; returns that.
fn full(vm: &Vm, index: usize, word: impl Fn() -> Result<u32>) -> Result<u32> {
    let what = format!("receive descriptor {index}");
    wait_received(vm, &what, || Ok(word()? & fec::OWN == 0))?;
    word()
}

/// Would catch the segments of a frame that are left out, mixed up or sent as frames, and an event
/// of a frame for what is only a part of one.
fn segments(nic: &ImxFec, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    for cuts in [vec![14], vec![1, 2, 3], vec![100, 101, 700], vec![60, 800, 801, 1000, 1400]] {
        let whole = frame(PEER, MAC, 1500, cuts.len() as u8);
        let ends: Vec<_> = cuts.iter().copied().chain([whole.len()]).collect();
        let rings = nic.rings()?;
        let mut begin = 0;
        for end in &ends {
            let index = rings.queue(&whole[begin..*end])?;
            let word = rings.transmit.word(index, 0)?;
            let more = if *end == whole.len() { 0 } else { fec::LAST };
            rings.transmit.set_word(index, 0, word & !more)?;
            begin = *end;
        }
        nic.registers().set(fec::EIR, !0)?;
        nic.send()?;
        let what = format!("a frame in {} segments", ends.len());
        assert_frame(&wire.receive(&what)?, &whole, &what);
        wire.assert_silent(&what)?;
        assert_eq!(rings.sent()?, ends.len(), "{what}: segments that are done");
        let seen = nic.registers().get(fec::EIR)?;
        assert_eq!(seen, fec::EIR_SENT | fec::EIR_BUFFER_SENT, "{what}: EIR");
    }
    Ok(())
}

/// Would catch a frame that is not spread over buffers that are too small for it, or parts of it
/// that are not marked as such, and a buffer's event that is missing.
fn small_buffers(nic: &ImxFec, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let size = 0x100;
    let mut index = 0;
    nic.registers().set(fec::MRBR, size as u32)?;
    for (number, length) in [60, 252, 256, 508, 700].into_iter().enumerate() {
        let whole = frame(MAC, PEER, length, number as u8);
        nic.registers().set(fec::EIR, !0)?;
        wire.send(&whole)?;
        let parts = (length + 4).div_ceil(size);
        let what = format!("{length} bytes in buffers of {size}");
        let mut bytes = Vec::new();
        for part in 0..parts {
            let rings = nic.rings()?;
            let word = received(nic, vm, index)?;
            let last = part + 1 == parts;
            assert_eq!(word & fec::LAST != 0, last, "{what}: part {part} is the last");
            let here = if last { length + 4 - part * size } else { size };
            bytes.extend(rings.receive.bytes(index, here)?);
            let wrap = if index == 7 { fec::WRAP } else { 0 };
            rings.receive.set_word(index, 0, fec::OWN | wrap)?;
            index = (index + 1) % 8;
        }
        nic.registers().set(fec::RDAR, fec::ACTIVE)?;
        assert_frame(&bytes[..length], &whole, &what);
        let seen = nic.registers().get(fec::EIR)?;
        assert_ne!(seen & fec::EIR_RECEIVED, 0, "{what}: EIR.RXF");
        assert_eq!(seen & fec::EIR_BUFFER_RECEIVED != 0, parts > 1, "{what}: EIR.RXB");
    }
    Ok(())
}

/// Would catch a controller that dies of a check sequence that does not fit in the buffer of the
/// frame's end.
fn split_sequence(nic: &ImxFec, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    nic.registers().set(fec::MRBR, 0x100)?;
    for (number, length) in [253, 254, 255].into_iter().enumerate() {
        let whole = frame(MAC, PEER, length, number as u8);
        wire.send(&whole)?;
        let rings = nic.rings()?;
        received(nic, vm, 2 * number + 1)?;
        let got = rings.receive.bytes(2 * number, length)?;
        assert_frame(&got, &whole, &format!("{length} bytes in buffers of 256"));
    }
    Ok(())
}

/// Would catch a last descriptor that says how long its own part is, instead of how long the frame
/// is (29.6.2, data length).
fn total_length(nic: &ImxFec, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    nic.registers().set(fec::MRBR, 0x100)?;
    wire.send(&frame(MAC, PEER, 300, 1))?;
    let first = received(nic, vm, 0)?;
    let last = received(nic, vm, 1)?;
    assert_eq!((first & 0xffff, last & 0xffff), (0x100, 304), "the lengths of both parts");
    Ok(())
}

/// Would catch a frame longer than RCR.MAX_FL that is not marked, and one marked that is not.
fn long_frames(nic: &ImxFec, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    for (index, (most, length)) in
        [(1518, 1514), (1518, 1515), (1522, 1518), (1522, 1519), (600, 596), (600, 597)]
            .into_iter()
            .enumerate()
    {
        let rcr = nic.registers().get(fec::RCR)? & 0xffff;
        nic.registers().set(fec::RCR, rcr | most << 16)?;
        let sent = frame(MAC, PEER, length, index as u8);
        wire.send(&sent)?;
        let rings = nic.rings()?;
        let word = received(nic, vm, index)?;
        let what = format!("{length} bytes with MAX_FL {most}");
        let long = length as u32 + 4 > most;
        assert_eq!(word & fec::LONG != 0, long, "{what}: LG of {word:#010x}");
        assert_eq!(word & 0xffff, length as u32 + 4, "{what}: its length");
        let got = rings.receive.bytes(index, length)?;
        assert_frame(&got, &sent, &what);
    }
    Ok(())
}

/// Would catch an event that is acknowledged with another or by a zero, and a mask that is
/// another's.
fn events(nic: &ImxFec, vm: &Rc<Vm>) -> Result<()> {
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
    nic.registers().set(fec::TCR, fec::TCR_FULL_DUPLEX | 1)?;
    let mut left = nic.registers().get(fec::EIR)?;
    let all = fec::EIR_SENT | fec::EIR_BUFFER_SENT | fec::EIR_RECEIVED | fec::EIR_STOPPED;
    assert_eq!(left, all, "EIR: sent, received, stopped gracefully");
    for bit in (19..32).map(|bit| 1 << bit) {
        nic.registers().set(fec::EIMR, bit)?;
        if !lines.is_empty() {
            assert_eq!(high()?, left & bit != 0, "the line, EIMR {bit:#x} and EIR {left:#x}");
        }
        nic.registers().set(fec::EIR, 0)?;
        assert_eq!(nic.registers().get(fec::EIR)?, left, "EIR, zeros written");
        nic.registers().set(fec::EIR, bit)?;
        left &= !bit;
        assert_eq!(nic.registers().get(fec::EIR)?, left, "EIR, {bit:#x} acknowledged");
        assert!(!high()?, "the line, {bit:#x} acknowledged");
    }
    Ok(())
}

/// Would catch a controller that is off and sends or receives, one that does not begin both rings
/// anew when it is turned on, and registers that say that it works while it is off.
fn switched_off(nic: &ImxFec, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    assert_eq!(nic.registers().get(fec::RDAR)?, fec::ACTIVE, "RDAR with empty buffers");
    for number in 0..3 {
        nic.registers().set(fec::ECR, 0xf000_0000)?;
        assert_eq!(nic.registers().get(fec::RDAR)?, 0, "RDAR, turned off");
        let rings = nic.rings()?;
        let sent = frame(PEER, MAC, 100, number);
        rings.transmit.buffer(0).write(0, &sent)?;
        rings.transmit.set_word(0, 1, rings.transmit.buffer(0).address().0 as u32)?;
        rings.transmit.set_word(0, 0, fec::OWN | fec::LAST | 100)?;
        rings.receive.set_word(0, 0, fec::OWN)?;
        nic.registers().set(fec::RDAR, fec::ACTIVE)?;
        nic.registers().set(fec::TDAR, fec::ACTIVE)?;
        wire.assert_silent("turned off")?;
        assert_eq!(nic.registers().get(fec::RDAR)?, 0, "RDAR, written while it is off");
        let incoming = frame(MAC, PEER, 101, number);
        wire.send(&incoming)?;
        (0..20).try_for_each(|_| settle(vm))?;
        assert_ne!(rings.receive.word(0, 0)? & fec::OWN, 0, "the receive descriptor, turned off");
        // Both rings begin anew without being told where they are.
        nic.registers().set(fec::ECR, 0xf000_0000 | fec::ECR_ON)?;
        nic.registers().set(fec::RDAR, fec::ACTIVE)?;
        if nic.kind == fec::Kind::ColdFire {
            // It loses what comes while it is off.
            wire.send(&incoming)?;
        }
        received(nic, vm, 0)?;
        assert_frame(&rings.receive.bytes(0, 101)?, &incoming, "a frame that waited");
        nic.registers().set(fec::TDAR, fec::ACTIVE)?;
        assert_frame(&wire.receive("turned on")?, &sent, "turned on");
        assert_eq!(nic.registers().get(fec::TDAR)?, 0, "TDAR when all is sent");
    }
    Ok(())
}

/// Would catch a PHY that is not there, one that answers at every address, and registers of it that
/// are mixed up or do not keep what they should (IEEE 802.3, 22.2.4).
fn phy(nic: &ImxFec, vm: &Rc<Vm>) -> Result<()> {
    start(nic, vm)?;
    let Some(phy) = nic.find_phy()? else {
        return Err(Error::skipped("it has no PHY"));
    };
    let mut silent = 0;
    for other in 0..32 {
        silent += usize::from(nic.phy(other, 2)? == 0xffff);
    }
    // Two controllers may share a bus.
    assert!(silent >= 30, "{} PHYs answer", 32 - silent);
    assert_eq!(nic.phy(phy, 1)? & 0x2c, 0x2c, "BMSR: it negotiates, has done so, the link is up");
    assert_ne!(nic.phy(phy, 0)? & 1 << 12, 0, "BMCR: it negotiates");
    let identity = (nic.phy(phy, 2)?, nic.phy(phy, 3)?);
    nic.set_phy(phy, 2, 0x1234)?;
    assert_eq!((nic.phy(phy, 2)?, nic.phy(phy, 3)?), identity, "PHYID, written");
    for value in [0x01a1, 0x00e1, 0x01e1] {
        nic.set_phy(phy, 4, value)?;
        assert_eq!(nic.phy(phy, 4)? & 0x1ff, value, "ANAR, written {value:#x}");
    }
    Ok(())
}

/// Would catch an access to the PHY whose end is no event, and one that interrupts masked.
fn phy_events(nic: &ImxFec, vm: &Rc<Vm>) -> Result<()> {
    start(nic, vm)?;
    for frame in [0x6002_0000, 0x6006_0000, 0x5012_01e1] {
        nic.registers().set(fec::EIR, !0)?;
        assert_eq!(nic.registers().get(fec::EIR)?, 0, "EIR before an access to the PHY");
        nic.registers().set(fec::MMFR, frame)?;
        assert_eq!(nic.registers().get(fec::EIR)?, fec::EIR_PHY, "EIR after {frame:#010x}");
        let kept = nic.registers().get(fec::MMFR)? & 0xffff_0000;
        assert_eq!(kept, frame & 0xffff_0000, "MMFR's upper half");
    }
    Ok(())
}

/// The ENET's larger descriptors, two one way and two the other, and buffers for them.
struct Enhanced {
    transmit: Buffer,
    receive: Buffer,
    data: Buffer,
}

impl Enhanced {
    /// Turns on an ENET with four descriptors each way.
    fn new(nic: &ImxFec, vm: &Rc<Vm>) -> Result<Self> {
        if nic.kind != fec::Kind::Enet {
            return Err(Error::skipped("an FEC has no descriptors of 32 bytes"));
        }
        let ram = |length: usize| vm.ram().alloc(length, 64);
        let lists = Self { transmit: ram(128)?, receive: ram(128)?, data: ram(0x4000)? };
        for index in 0..4 {
            lists.give(index, true)?;
        }
        let (receive, transmit) = (lists.receive.address().0, lists.transmit.address().0);
        nic.turn_on(receive, transmit, fec::ECR_ENHANCED)?;
        nic.registers().set(fec::EIR, !0)?;
        Ok(lists)
    }

    fn give(&self, index: usize, event: bool) -> Result<()> {
        let at = 32 * index;
        let wrap = if index == 3 { fec::WRAP } else { 0 };
        self.receive.write_le32(at + 4, self.data.address().0 as u32 + 0x800 * index as u32)?;
        self.receive.write_le32(at + 8, if event { fec::RECEIVED_EVENT } else { 0 })?;
        self.receive.write_le32(at + 16, 0)?;
        self.receive.write_le32(at, fec::OWN | wrap)
    }

    fn put(&self, index: usize, frame: &[u8], options: u32) -> Result<()> {
        let (at, offset) = (32 * index, 0x2000 + 0x800 * index);
        let wrap = if index == 3 { fec::WRAP } else { 0 };
        self.data.write(offset, frame)?;
        self.transmit.write_le32(at + 4, self.data.address().0 as u32 + offset as u32)?;
        self.transmit.write_le32(at + 8, options)?;
        self.transmit.write_le32(at + 16, 0)?;
        let flags = fec::OWN | fec::LAST | fec::APPEND | wrap;
        self.transmit.write_le32(at, flags | frame.len() as u32)
    }
}

/// Would catch larger descriptors that are taken for small ones, do not wrap, are not marked when
/// they are through, or that are an event although they do not ask for it.
fn enhanced(nic: &ImxFec, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let lists = Enhanced::new(nic, vm)?;
    for number in 0..10 {
        let (index, event) = (number % 4, number % 3 != 1);
        nic.registers().set(fec::EIR, !0)?;
        let sent = frame(PEER, MAC, 60 + 140 * number, number as u8);
        lists.put(index, &sent, if event { fec::SENT_EVENT } else { 0 })?;
        nic.registers().set(fec::TDAR, fec::ACTIVE)?;
        let what = format!("frame {number}, its event asked for {event}");
        assert_frame(&wire.receive(&what)?, &sent, &what);
        let words =
            (lists.transmit.read_le32(32 * index)?, lists.transmit.read_le32(32 * index + 16)?);
        assert_eq!((words.0 & fec::OWN, words.1), (0, fec::UPDATED), "{what}: sent");
        let expected = if event { fec::EIR_SENT | fec::EIR_BUFFER_SENT } else { 0 };
        assert_eq!(nic.registers().get(fec::EIR)?, expected, "{what}: EIR, sent");

        nic.registers().set(fec::EIR, !0)?;
        lists.give(index, event)?;
        nic.registers().set(fec::RDAR, fec::ACTIVE)?;
        let sent = frame(MAC, PEER, 61 + 140 * number, number as u8);
        wire.send(&sent)?;
        let word = full(vm, index, || lists.receive.read_le32(32 * index))?;
        assert_eq!(word & 0xffff, sent.len() as u32 + 4, "{what}: its length, received");
        assert_eq!(lists.receive.read_le32(32 * index + 16)?, fec::UPDATED, "{what}: received");
        let mut got = vec![0; sent.len()];
        lists.data.read(0x800 * index, &mut got)?;
        assert_frame(&got, &sent, &what);
        let expected = if event { fec::EIR_RECEIVED } else { 0 };
        assert_eq!(nic.registers().get(fec::EIR)?, expected, "{what}: EIR, received");
    }
    Ok(())
}

/// Would catch a checksum that is not put in, is wrong, or that nobody asked for.
fn enhanced_checksums(nic: &ImxFec, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let lists = Enhanced::new(nic, vm)?;
    let mut index = 0;
    for (protocol, sum) in [(TCP, TCP_SUM), (UDP, UDP_SUM)] {
        for options in [0, fec::IP_SUM, fec::TRANSPORT_SUM, fec::IP_SUM | fec::TRANSPORT_SUM] {
            let whole = packets::packet(PEER, MAC, protocol, &packets::payload(99));
            let mut given = whole.clone();
            let mut expected = whole;
            for (at, asked) in [
                (IP + IP_SUM, options & fec::IP_SUM != 0),
                (TRANSPORT + sum, options & fec::TRANSPORT_SUM != 0),
            ] {
                given[at..at + 2].fill(0);
                if !asked {
                    expected[at..at + 2].fill(0);
                }
            }
            lists.put(index, &given, options)?;
            nic.registers().set(fec::TDAR, fec::ACTIVE)?;
            let what = format!("protocol {protocol}, options {options:#x}");
            assert_frame(&wire.receive(&what)?, &expected, &what);
            index = (index + 1) % 4;
        }
    }
    Ok(())
}

/// Would catch a frame that is not shifted by two bytes when that is asked for, or shifted when it
/// is not, and a length that does not count them (i.MX 6, ENET_RACC).
fn shifted(nic: &ImxFec, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let lists = Enhanced::new(nic, vm)?;
    for (index, shift) in [true, false, true].into_iter().enumerate() {
        nic.registers().set(fec::RACC, if shift { 1 << 7 } else { 0 })?;
        let sent = frame(MAC, PEER, 77 + index, index as u8);
        wire.send(&sent)?;
        let word = full(vm, index, || lists.receive.read_le32(32 * index))?;
        let before = if shift { 2 } else { 0 };
        let what = format!("a frame shifted by {before} bytes");
        assert_eq!((word & 0xffff) as usize, sent.len() + 4 + before, "{what}: its length");
        let mut got = vec![0; sent.len() + before];
        lists.data.read(0x800 * index, &mut got)?;
        assert_frame(&got[before..], &sent, &what);
    }
    Ok(())
}
