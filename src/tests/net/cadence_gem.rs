//! Cadence's GEM: four addresses, hashes, statistics, options of reception and its PHY.

use std::rc::Rc;

use crate::drivers::net::cadence_gem::{self as gem, CadenceGem};
use crate::qemu::Vm;
use crate::qos::net::{self, BROADCAST, MAC, PEER, Wire, assert_frame, frame};
use crate::qos::nic::{Filter, Groups, Nic};
use crate::qos::registers::{Register, RegistersExt};
use crate::{Result, tests};

tests!(CadenceGem, "cadence_gem-tests":
    addresses,
    station_hash = "station-hash",
    statistics,
    statistics_clear = "statistics-clear",
    remove_sequence = "remove-sequence",
    offset,
    length_check = "length-check",
    segments,
    pointers,
    off,
    phy;
    with net::BOARD
);

/// Starts the controller; returns the other end of its cable.
fn start(nic: &CadenceGem, vm: &Rc<Vm>) -> Result<Wire> {
    let wire = Wire::on(vm, nic.cable()?)?;
    nic.start(vm)?;
    Ok(wire)
}

/// Sends a frame to each address, then one to everybody, and asserts which of them are received.
fn assert_received(
    nic: &CadenceGem,
    vm: &Vm,
    wire: &Wire,
    to: &[(net::Address, bool)],
    what: &str,
) -> Result<()> {
    for (number, (to, _)) in to.iter().enumerate() {
        wire.send(&frame(*to, PEER, 60 + number, 1))?;
    }
    wire.send(&frame(BROADCAST, PEER, 100, 2))?;
    let due = to.iter().enumerate().filter(|(_, (_, due))| *due);
    let due: Vec<_> = due.map(|(number, _)| 60 + number).chain([100]).collect();
    net::wait_received(vm, what, || Ok(nic.arrived()? >= due.len()))?;
    let mut got = Vec::new();
    while nic.arrived()? > 0 {
        got.push(nic.take()?.len());
    }
    nic.recycle()?;
    assert_eq!(got, due, "{what}: the lengths of the frames received");
    Ok(())
}

/// Would catch addresses that are mixed up, that are compared in part, or that are on although only
/// their lower half was written.
fn addresses(nic: &CadenceGem, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let all = [1_u8, 2, 3].map(|last| [0x02, 0x10, 0x20, 0x30, 0x40, last]);
    assert_received(nic, vm, &wire, &all.map(|to| (to, false)), "no further address")?;
    for (index, address) in (1..).zip(all) {
        nic.set_address(index, address)?;
        let due = |to: net::Address| to[5] <= address[5];
        assert_received(nic, vm, &wire, &all.map(|to| (to, due(to))), "further addresses")?;
    }
    let low = gem::ADDRESS_LOW.nth(2, 8);
    nic.registers().set(low, nic.registers().get(low)?)?;
    let due = all.map(|to| (to, to[5] != 2));
    assert_received(nic, vm, &wire, &due, "the third address turned off")
}

/// Would catch stations that are received by their hash without leave, or not with it.
fn station_hash(nic: &CadenceGem, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let stations = [[0x02, 0, 0, 0, 0, 1], [0x02, 0, 0, 0, 0, 2], [0x02, 0x80, 0x40, 7, 9, 3]];
    for station in stations {
        // The table is that of a group with the same hash.
        nic.set_filter(&Filter { groups: Groups::One(station), ..Filter::PLAIN })?;
        assert_received(nic, vm, &wire, &stations.map(|to| (to, false)), "groups by hash")?;
        nic.configure(0, gem::STATIONS_BY_HASH)?;
        let due = stations.map(|to| (to, to == station));
        assert_received(nic, vm, &wire, &due, "stations by hash")?;
    }
    Ok(())
}

/// The counters of all frames, of broadcasts and of those to groups, from `first` on.
fn counts(nic: &CadenceGem, first: Register<u32>) -> Result<[u32; 3]> {
    let count = |above| nic.registers().get(first.above(above));
    Ok([count(0)?, count(4)?, count(8)?])
}

/// Would catch counters that reading does not clear (16.3.11).
fn statistics_clear(nic: &CadenceGem, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    nic.queue(&frame(PEER, MAC, 200, 1))?;
    nic.send()?;
    wire.receive("a frame to be counted")?;
    assert_ne!(counts(nic, gem::TX_FRAMES)?, [0; 3], "counters of sending");
    assert_eq!(counts(nic, gem::TX_FRAMES)?, [0; 3], "counters of sending, read again");
    Ok(())
}

/// Would catch frames that are counted in another counter, twice or not.
fn statistics(nic: &CadenceGem, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    nic.set_filter(&Filter { groups: Groups::All, ..Filter::PLAIN })?;
    let group = [0x01, 0, 0x5e, 1, 1, 1];
    for (count, to) in [(1, PEER), (2, BROADCAST), (3, group)] {
        for first in [gem::TX_FRAMES, gem::RX_FRAMES] {
            counts(nic, first)?;
        }
        // What reading has cleared, if it clears.
        let before = (counts(nic, gem::TX_FRAMES)?, counts(nic, gem::RX_FRAMES)?);
        for number in 0..count {
            nic.queue(&frame(to, MAC, 200, number as u8))?;
            nic.send()?;
            wire.receive("a frame to be counted")?;
            nic.sent()?;
            let to = if to == PEER { MAC } else { to };
            wire.send(&frame(to, PEER, 200, number as u8))?;
            net::wait_received(vm, "a frame to be counted", || Ok(nic.arrived()? > 0))?;
            nic.take()?;
            nic.recycle()?;
        }
        let expected =
            [count, if to == BROADCAST { count } else { 0 }, if to == group { count } else { 0 }];
        let after = (counts(nic, gem::TX_FRAMES)?, counts(nic, gem::RX_FRAMES)?);
        let more = |after: [u32; 3], before: [u32; 3]| {
            [0, 1, 2].map(|at: usize| after[at].wrapping_sub(before[at]))
        };
        assert_eq!(more(after.0, before.0), expected, "frames, broadcasts and groups sent");
        assert_eq!(more(after.1, before.1), expected, "frames, broadcasts and groups received");
    }
    Ok(())
}

/// Would catch a check sequence that is left behind a frame although it is to be taken off.
fn remove_sequence(nic: &CadenceGem, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    for (index, removes) in [true, false, true].into_iter().enumerate() {
        nic.configure(gem::REMOVE_SEQUENCE, if removes { gem::REMOVE_SEQUENCE } else { 0 })?;
        let whole = frame(MAC, PEER, 300, index as u8);
        wire.send(&whole)?;
        net::wait_received(vm, "a frame", || Ok(nic.arrived()? > index))?;
        let (status, bytes) = nic.with_rings(|rings| {
            Ok((rings.receive.word(index, 1)?, rings.receive.bytes(index, 304)?))
        })?;
        let behind = if removes { 0 } else { 4 };
        assert_eq!(status & 0x1fff, 300 + behind, "the length with the sequence removed {removes}");
        assert_frame(&bytes[..300], &whole, "a frame received");
        let sequence = net::check_sequence(&whole).to_le_bytes();
        let expected = if removes { [0; 4] } else { sequence };
        assert_eq!(bytes[300..], expected, "what is behind the frame, removed {removes}");
    }
    Ok(())
}

/// Would catch a frame that does not begin where the configuration says.
fn offset(nic: &CadenceGem, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    for index in 0..4 {
        nic.configure(0b11 << gem::OFFSET, (index as u32) << gem::OFFSET)?;
        let whole = frame(MAC, PEER, 100 + index, index as u8);
        wire.send(&whole)?;
        net::wait_received(vm, "a frame", || Ok(nic.arrived()? > index))?;
        let bytes = nic.with_rings(|rings| rings.receive.bytes(index, 100 + 2 * index))?;
        assert!(bytes[..index].iter().all(|byte| *byte == 0), "bytes before offset {index}");
        assert_frame(&bytes[index..], &whole, &format!("a frame at offset {index}"));
    }
    Ok(())
}

/// Would catch a frame whose length field says too much and that is received, and one that says no
/// more than there is and is not.
fn length_check(nic: &CadenceGem, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    nic.configure(0, gem::CHECK_LENGTH)?;
    for (field, is_good) in [(50_u16, true), (0x5ff, false), (46, true), (0x600, true)] {
        let mut whole = frame(MAC, PEER, 64, 3);
        whole[12..14].copy_from_slice(&field.to_be_bytes());
        wire.send(&whole)?;
        let last = frame(BROADCAST, PEER, 99, 4);
        wire.send(&last)?;
        let due = 1 + usize::from(is_good);
        net::wait_received(vm, "a frame", || Ok(nic.arrived()? >= due))?;
        if is_good {
            assert_frame(&nic.take()?, &whole, &format!("a length field of {field}"));
        }
        assert_frame(&nic.take()?, &last, &format!("what came after a length field of {field}"));
        nic.recycle()?;
    }
    Ok(())
}

/// Would catch a queue's pointer that stays where it was set up although frames were moved: a read
/// returns the descriptor that is worked on (B.18, rx_qbar and tx_qbar).
fn pointers(nic: &CadenceGem, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let addresses = |index: usize| {
        nic.with_rings(|rings| {
            Ok((rings.transmit.address_of(index) as u32, rings.receive.address_of(index) as u32))
        })
    };
    let read = || -> Result<(u32, u32)> {
        Ok((nic.registers().get(gem::TX_RING)?, nic.registers().get(gem::RX_RING)?))
    };
    assert_eq!(read()?, addresses(0)?, "tx_qbar and rx_qbar at first");
    for number in 1..20 {
        let sent = frame(PEER, MAC, 60 + number, number as u8);
        nic.queue(&sent)?;
        nic.send()?;
        assert_frame(&wire.receive("a frame")?, &sent, "sent");
        nic.sent()?;
        let back = frame(MAC, PEER, 60 + number, number as u8);
        wire.send(&back)?;
        net::wait_received(vm, "a frame", || Ok(nic.arrived()? > 0))?;
        assert_frame(&nic.take()?, &back, "received");
        nic.recycle()?;
        assert_eq!(read()?, addresses(number)?, "tx_qbar and rx_qbar after {number} frames");
    }
    Ok(())
}

/// Would catch buffers of a frame that are left out, mixed up or sent as frames.
fn segments(nic: &CadenceGem, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    for cuts in [vec![14], vec![1, 2, 3], vec![60, 800, 801, 1000, 1400]] {
        nic.start(vm)?;
        let whole = frame(PEER, MAC, 1500, cuts.len() as u8);
        let ends: Vec<_> = cuts.iter().copied().chain([whole.len()]).collect();
        let mut begin = 0;
        for end in &ends {
            nic.with_rings(|rings| {
                let index = rings.queue(&whole[begin..*end])?;
                let last = if *end == whole.len() { gem::LAST } else { 0 };
                let word = rings.transmit.word(index, 1)? & !gem::LAST;
                rings.transmit.set_word(index, 1, word | last)
            })?;
            begin = *end;
        }
        nic.send()?;
        let what = format!("a frame in {} buffers", ends.len());
        assert_frame(&wire.receive(&what)?, &whole, &what);
        wire.assert_silent(&what)?;
        let first = nic.with_rings(|rings| rings.transmit.word(0, 1))?;
        assert_ne!(first & gem::USED, 0, "{what}: the first descriptor is done");
    }
    Ok(())
}

/// Would catch frames that are sent or received although that is off.
fn off(nic: &CadenceGem, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let registers = nic.registers();
    let control = registers.get(gem::CONTROL)?;
    registers.set(gem::CONTROL, control & !gem::TRANSMIT)?;
    nic.queue(&frame(PEER, MAC, 100, 1))?;
    nic.send()?;
    wire.assert_silent("with the transmitter off")?;
    registers.set(gem::CONTROL, control)?;
    nic.send()?;
    let got = wire.receive("with the transmitter on")?;
    assert_frame(&got, &frame(PEER, MAC, 100, 1), "with the transmitter on");
    registers.set(gem::CONTROL, control & !gem::RECEIVE)?;
    wire.send(&frame(MAC, PEER, 100, 2))?;
    for _ in 0..20 {
        wire.assert_silent("with the receiver off")?;
    }
    assert_eq!(nic.arrived()?, 0, "frames received with the receiver off");
    registers.set(gem::CONTROL, control)?;
    wire.send(&frame(MAC, PEER, 101, 3))?;
    net::wait_received(vm, "a frame with the receiver on", || Ok(nic.arrived()? > 0))
}

/// Would catch a PHY that is another, one that answers at every address, and registers of it that
/// are mixed up.
fn phy(nic: &CadenceGem, vm: &Rc<Vm>) -> Result<()> {
    start(nic, vm)?;
    let phy = nic.phy_address()?;
    assert_eq!(nic.phy((phy + 1) % 32, 2)?, 0xffff, "the PHY at another address");
    // Marvell's 88E1111: organisation 00-50-43.
    assert_eq!((nic.phy(phy, 2)?, nic.phy(phy, 3)? & 0xfc00), (0x0141, 0x0c00), "identifiers");
    assert_eq!(nic.phy(phy, 1)? & 0x24, 0x24, "status: link, negotiated");
    for value in [0x01e1, 0x0de1, 0x0061] {
        nic.set_phy(phy, 4, value)?;
        assert_eq!(nic.phy(phy, 4)?, value, "the advertisement");
    }
    nic.set_phy(phy, 0, 1 << 15)?;
    assert_eq!(nic.phy(phy, 0)? & 1 << 15, 0, "control: a reset ends");
    assert_eq!(nic.phy(phy, 4)?, 0x01e1, "the advertisement after a reset");
    Ok(())
}
