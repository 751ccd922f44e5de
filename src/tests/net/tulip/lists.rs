//! Digital's 21143: lists of descriptors in every form, both ways; setup frames; what is reported
//! of frames; the EEPROM, the PHY, and a reset in the middle of a frame.

use std::rc::Rc;

use crate::drivers::net::tulip::{self as tulip, Tulip};
use crate::qemu::{Buffer, Vm};
use crate::qos::net::{
    Address, BROADCAST, MAC, PEER, Wire, assert_frame, check_sequence, frame, wait_received,
};
use crate::qos::nic::{Filter, Groups, Nic};
use crate::qos::registers::RegistersExt;
use crate::qos::{settle, wait_until};
use crate::{Result, tests};

tests!(Tulip, "tulip-tests":
    chains,
    skip,
    byte_order = "byte-order",
    small_buffers = "small-buffers",
    unfinished,
    perfect_filter = "perfect-filter",
    hash_filter = "hash-filter",
    frame_status = "frame-status",
    acknowledge,
    unreported,
    receiver_off = "receiver-off",
    read_only_counters = "read-only-counters",
    eeprom,
    phy,
);

/// Starts the card; returns the far end of its cable.
fn start(nic: &Tulip, vm: &Rc<Vm>) -> Result<Wire> {
    nic.plug.device.bus().reaches_ram()?;
    let wire = Wire::on(vm, nic.cable()?)?;
    nic.start(vm)?;
    Ok(wire)
}

/// Lets QEMU take from the cable what is on it.
fn let_arrive(vm: &Rc<Vm>) -> Result<()> {
    (0..20).try_for_each(|_| settle(vm))
}

/// Writes a descriptor's four words at `at`, its first last.
fn describe(memory: &Buffer, at: usize, words: [u32; 4], big: bool) -> Result<()> {
    for (word, value) in words.into_iter().enumerate().rev() {
        let bytes = if big { value.to_be_bytes() } else { value.to_le_bytes() };
        memory.write(at + 4 * word, &bytes)?;
    }
    Ok(())
}

/// Waits until a descriptor at `at` is the driver's again; returns its status.
fn status(vm: &Rc<Vm>, memory: &Buffer, at: usize, big: bool) -> Result<u32> {
    let mut status = 0;
    let read = || -> Result<u32> {
        let mut bytes = [0; 4];
        memory.read(at, &mut bytes)?;
        Ok(if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    };
    wait_received(vm, &format!("descriptor at {at:#x}"), || {
        status = read()?;
        Ok(status & tulip::OWN == 0)
    })?;
    Ok(status)
}

/// Has the card, started, work on lists at `memory` and behind it, with `mode` in CSR0.
fn relist(nic: &Tulip, mode: u32, receive: u64, transmit: u64) -> Result<()> {
    let registers = &nic.plug.registers;
    nic.mode(tulip::CSR6_SEND | tulip::CSR6_RECEIVE, 0)?;
    registers.set(tulip::CSR0, registers.get(tulip::CSR0)? & !0x0010_007c | mode)?;
    registers.set(tulip::CSR3, receive as u32)?;
    registers.set(tulip::CSR4, transmit as u32)?;
    registers.set(tulip::CSR5, !0)?;
    nic.mode(0, tulip::CSR6_SEND | tulip::CSR6_RECEIVE)
}

/// Sends and receives four frames with descriptors at `places` of a list, whose further control
/// bits and second address `link` gives by number, in `mode`.
fn both_ways(
    nic: &Tulip,
    vm: &Rc<Vm>,
    mode: u32,
    places: &[usize],
    link: impl Fn(usize, u64) -> (u32, u32),
) -> Result<()> {
    let wire = start(nic, vm)?;
    let big = mode & tulip::CSR0_BIG_ENDIAN != 0;
    let lists = [vm.ram().alloc(2048, 64)?, vm.ram().alloc(2048, 64)?];
    let data = vm.ram().alloc(0x8000, 64)?;
    let buffer = |number: usize| data.address().0 as u32 + 0x800 * number as u32;
    let [receive, transmit] = &lists;
    let frames: Vec<_> =
        (0..places.len()).map(|n| frame(PEER, MAC, 60 + 301 * n, n as u8)).collect();
    for (number, place) in places.iter().enumerate() {
        let (bits, next) = link(number, receive.address().0);
        describe(receive, *place, [tulip::OWN, bits | 1600, buffer(number), next], big)?;
        let (bits, next) = link(number, transmit.address().0);
        let bits = bits | tulip::FIRST | tulip::LAST | tulip::REPORT;
        let length = frames[number].len() as u32;
        data.write(0x4000 + 0x800 * number, &frames[number])?;
        describe(transmit, *place, [tulip::OWN, bits | length, buffer(number + 8), next], big)?;
    }
    relist(nic, mode, receive.address().0, transmit.address().0)?;
    nic.plug.registers.set(tulip::CSR1, 1)?;
    for (number, sent) in frames.iter().enumerate() {
        let what = format!("frame {number} of a list, out");
        assert_frame(&wire.receive(&what)?, sent, &what);
        assert_eq!(status(vm, transmit, places[number], big)?, 0, "{what}: its status");
    }
    for (number, place) in places.iter().enumerate() {
        let sent = frame(MAC, PEER, 61 + 300 * number, 0x40 + number as u8);
        wire.send(&sent)?;
        let status = status(vm, receive, *place, big)?;
        let what = format!("frame {number} of a list, in");
        let whole = tulip::RECEIVED_FIRST | tulip::RECEIVED_LAST;
        assert_eq!(status & (whole | 1 << 15), whole, "{what}: its status is {status:#x}");
        assert_eq!((status >> 16 & 0x3fff) as usize, sent.len() + 4, "{what}: its length");
        let mut got = vec![0; sent.len()];
        data.read(0x800 * number, &mut got)?;
        assert_frame(&got, &sent, &what);
    }
    wire.assert_silent("behind the lists")
}

/// Would catch a card that takes the descriptor behind instead of the one that is named, or that
/// takes an address for a second buffer.
fn chains(nic: &Tulip, vm: &Rc<Vm>) -> Result<()> {
    let places = [0, 0x200, 0x40, 0x600];
    both_ways(nic, vm, 0, &places, |number, list| {
        let next = places[(number + 1) % places.len()];
        (tulip::CHAINED, list as u32 + next as u32)
    })
}

/// Would catch a gap between descriptors that is left out, or of another size.
fn skip(nic: &Tulip, vm: &Rc<Vm>) -> Result<()> {
    for longwords in [1, 12, 31] {
        let stride = 16 + 4 * longwords;
        let places = [0, stride, 2 * stride, 3 * stride];
        let mode = tulip::CSR0_SKIP * longwords as u32;
        both_ways(nic, vm, mode, &places, |number, _| {
            (if number == 3 { tulip::END_OF_RING } else { 0 }, 0)
        })?;
    }
    Ok(())
}

/// Would catch descriptors whose bytes stay in their order when they should not, or data that is
/// turned with them.
fn byte_order(nic: &Tulip, vm: &Rc<Vm>) -> Result<()> {
    both_ways(nic, vm, tulip::CSR0_BIG_ENDIAN, &[0, 16, 32, 48], |_, _| (0, 0))
}

/// Would catch a frame that is cut, or whose parts are mixed up or marked wrongly, when it needs
/// both buffers of a descriptor, or several descriptors.
fn small_buffers(nic: &Tulip, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let list = vm.ram().alloc(256, 64)?;
    let data = vm.ram().alloc(0x1000, 64)?;
    let at = data.address().0 as u32;
    for (number, length) in [124_usize, 125, 252, 380, 381, 700].into_iter().enumerate() {
        // Buffers of 64 bytes, two a descriptor, that lie apart.
        for index in 0..8 {
            let end = if index == 7 { tulip::END_OF_RING } else { 0 };
            let first = at + 256 * index;
            let sizes = 64 | 64 << 11;
            describe(
                &list,
                16 * index as usize,
                [tulip::OWN, end | sizes, first, first + 128],
                false,
            )?;
        }
        data.write(0, &[0; 0x1000])?;
        relist(nic, 0, list.address().0, nic.parts()?.rings.transmit.address())?;
        let sent = frame(MAC, PEER, length, number as u8);
        wire.send(&sent)?;
        let parts = (length + 4).div_ceil(128);
        let what = format!("{length} bytes in buffers of 64");
        let last = status(vm, &list, 16 * (parts - 1), false)?;
        assert_eq!((last >> 16 & 0x3fff) as usize, length + 4, "{what}: the length");
        let marks = tulip::RECEIVED_FIRST | tulip::RECEIVED_LAST;
        let mut got = Vec::new();
        for part in 0..parts {
            let seen = status(vm, &list, 16 * part, false)?;
            let expected = (if part == 0 { tulip::RECEIVED_FIRST } else { 0 })
                | (if part + 1 == parts { tulip::RECEIVED_LAST } else { 0 });
            assert_eq!(seen & marks, expected, "{what}: part {part} of {parts}");
            for half in 0..2 {
                let mut bytes = [0; 64];
                data.read(256 * part + 128 * half, &mut bytes)?;
                got.extend(bytes);
            }
        }
        assert_frame(&got[..length], &sent, &what);
        let next = list.read_le32(16 * parts)?;
        assert_eq!(next, tulip::OWN, "{what}: the descriptor behind");
    }
    Ok(())
}

/// Would catch a receiver that a frame, for which descriptors run out in its middle, ends for good.
fn unfinished(nic: &Tulip, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let list = vm.ram().alloc(64, 64)?;
    let data = vm.ram().alloc(256, 64)?;
    describe(&list, 0, [tulip::OWN, 64, data.address().0 as u32, 0], false)?;
    relist(nic, 0, list.address().0, nic.parts()?.rings.transmit.address())?;
    wire.send(&frame(MAC, PEER, 300, 1))?;
    wait_until(vm, "the event that no buffer is left", || {
        Ok(nic.plug.registers.get(tulip::CSR5)? & tulip::CSR5_NO_BUFFER != 0)
    })?;
    nic.start(vm)?;
    let sent = frame(MAC, PEER, 301, 2);
    wire.send(&sent)?;
    // What is left of the first frame may come before.
    let mut got = Vec::new();
    while got != sent {
        wait_received(vm, "a frame after a reset", || Ok(nic.arrived()? > 0))?;
        got = nic.take()?;
        nic.recycle()?;
    }
    Ok(())
}

/// The group of number `number`, or a station.
fn address(number: u8, group: bool) -> Address {
    [if group { 0x03 } else { 0x06 }, 0x10, 0x32, 0x54, number ^ 0xa5, number]
}

/// Sends a frame to each of `to`, and then one to `own`; returns which of them came.
fn came(
    nic: &Tulip,
    vm: &Rc<Vm>,
    wire: &Wire,
    own: Address,
    to: &[Address],
) -> Result<Vec<Address>> {
    let mut came = Vec::new();
    for (number, to) in to.iter().enumerate() {
        wire.send(&frame(*to, PEER, 70, number as u8))?;
        wire.send(&frame(own, PEER, 71, 0xff))?;
        loop {
            wait_received(vm, "the marker behind a frame", || Ok(nic.arrived()? > 0))?;
            let got = nic.take()?;
            nic.recycle()?;
            if got.len() == 71 {
                break;
            }
            came.extend(got.first_chunk::<6>());
        }
    }
    Ok(came)
}

/// Would catch an address of a setup frame that is left out or of which some bytes do not count,
/// and one that is still let in by the next.
fn perfect_filter(nic: &Tulip, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    for round in 0..2 {
        let mut addresses: [Address; 16] =
            std::array::from_fn(|n| address(round * 16 + n as u8, n % 2 == 1));
        addresses[usize::from(round) * 15] = MAC;
        nic.set_up(&tulip::setup_frame(&addresses), 0)?;
        let mut all: Vec<Address> = (0..32).map(|n| address(n, n % 2 == 1)).collect();
        all.extend((0..6).map(|at| {
            let mut near = addresses[7];
            near[at] ^= 0x10;
            near
        }));
        let expected: Vec<_> = all.iter().copied().filter(|to| addresses.contains(to)).collect();
        let seen = came(nic, vm, &wire, MAC, &all)?;
        assert!(seen == expected, "round {round}: {} of {} came", seen.len(), expected.len());
    }
    // A setup frame of another length is none (4.2.3).
    nic.set_up(&[0; 160], 0)?;
    let seen = came(nic, vm, &wire, MAC, &[address(17, true), address(1, true)])?;
    assert_eq!(seen, [address(17, true)], "after a setup frame of another length");
    Ok(())
}

/// Would catch groups that are not found by their hash, and stations that are (4.2.3.2).
fn hash_filter(nic: &Tulip, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let groups = [address(1, true), address(2, true), [0x01, 0, 0x5e, 1, 2, 3]];
    let mut setup = vec![0; tulip::SETUP_LENGTH];
    for group in groups {
        // The lower nine bits of the check sequence, before it is inverted, are the place.
        let hash = (!check_sequence(&group) & 0x1ff) as usize;
        // Each longword holds 16 bits of the table.
        setup[hash / 16 * 4 + hash % 16 / 8] |= 1 << (hash % 8);
    }
    for (at, pair) in MAC.chunks(2).enumerate() {
        setup[156 + 4 * at..158 + 4 * at].copy_from_slice(pair);
    }
    nic.set_up(&setup, tulip::HASHED)?;
    let others = [address(3, true), address(4, false), [0x33, 0x33, 0, 0, 0, 1]];
    let all: Vec<_> = groups.into_iter().chain(others).collect();
    wire.send(&frame(MAC, PEER, 71, 0xfe))?;
    let own = || Ok(nic.arrived()? > 0);
    wait_received(vm, "a frame to the one station of a hash table", own)?;
    nic.take()?;
    nic.recycle()?;
    assert_eq!(came(nic, vm, &wire, MAC, &all)?, groups, "the groups of a hash table");
    Ok(())
}

/// Would catch a frame whose status does not say that it is to a group, or that only the
/// promiscuous mode let it in, or that it is too long (4.2.1).
fn frame_status(nic: &Tulip, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let group = address(9, true);
    let filter = Filter { groups: Groups::One(group), foreign: true, ..Filter::PLAIN };
    nic.set_filter(&filter)?;
    let to_group = tulip::TO_GROUP;
    let cases = [
        (MAC, 60, 0),
        (BROADCAST, 61, to_group),
        (group, 62, to_group),
        (address(8, false), 63, tulip::FILTER_FAILED),
        (MAC, 1514, 0),
        (MAC, 1515, tulip::RECEIVED_LONG),
    ];
    let about = to_group | tulip::FILTER_FAILED | tulip::RECEIVED_LONG;
    let mut wrong = Vec::new();
    for (index, (to, length, expected)) in cases.into_iter().enumerate() {
        wire.send(&frame(to, PEER, length, index as u8))?;
        let parts = nic.parts()?;
        let seen = status(vm, parts.rings.receive.descriptors(), 16 * index, false)?;
        if seen & about != expected {
            wrong.push(format!("a frame of {length} bytes to {} has {seen:#x}", hex::encode(to)));
        }
    }
    assert!(wrong.is_empty(), "RDES0: {}", wrong.join("; "));
    Ok(())
}

/// Would catch an event that is acknowledged with another, or by a zero, and summaries that do not
/// follow what is enabled (3.2.2.5).
fn acknowledge(nic: &Tulip, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let registers = &nic.plug.registers;
    let events = tulip::CSR5_SENT
        | tulip::CSR5_NOTHING_TO_SEND
        | tulip::CSR5_RECEIVED
        | tulip::CSR5_NO_BUFFER;
    nic.queue(&frame(PEER, MAC, 60, 1))?;
    nic.send()?;
    wire.receive("a frame")?;
    // One more than there are descriptors.
    for number in 0..17 {
        wire.send(&frame(MAC, PEER, 60, number))?;
    }
    let summary = tulip::CSR5_NORMAL | tulip::CSR5_ABNORMAL;
    let read = || -> Result<u32> { Ok(registers.get(tulip::CSR5)? & (events | summary)) };
    wait_until(vm, "all four events", || Ok(read()? & events == events))?;
    assert_eq!(read()?, events, "CSR5 with nothing enabled");
    for (enabled, expected) in [
        (tulip::CSR5_SENT, tulip::CSR5_NORMAL),
        (tulip::CSR5_RECEIVED, tulip::CSR5_NORMAL),
        (tulip::CSR5_NOTHING_TO_SEND, tulip::CSR5_NORMAL),
        (tulip::CSR5_NO_BUFFER, tulip::CSR5_ABNORMAL),
        (events, summary),
        (0, 0),
    ] {
        registers.set(tulip::CSR7, enabled)?;
        assert_eq!(read()?, events | expected, "CSR5 with {enabled:#x} enabled");
        assert!(!nic.plug.device.asserts_interrupt()?, "the pin with no summary enabled");
        registers.set(tulip::CSR7, enabled | summary)?;
        let pin = nic.plug.device.asserts_interrupt()?;
        assert_eq!(pin, enabled != 0, "the pin with {enabled:#x} and the summaries enabled");
        registers.set(tulip::CSR7, enabled | expected ^ summary)?;
        let pin = nic.plug.device.asserts_interrupt()?;
        assert!(!pin, "the pin with {enabled:#x} and the other summary enabled");
    }
    registers.set(tulip::CSR5, 0)?;
    assert_eq!(read()?, events, "CSR5, zeros written");
    let mut left = events;
    for bit in (0..17).map(|bit| 1 << bit) {
        registers.set(tulip::CSR5, bit)?;
        left &= !bit;
        assert_eq!(read()?, left, "CSR5, {bit:#x} acknowledged");
    }
    Ok(())
}

/// Would catch a completion that is reported although its descriptor does not ask for it.
fn unreported(nic: &Tulip, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let registers = &nic.plug.registers;
    for (number, asked) in [false, true, false].into_iter().enumerate() {
        registers.set(tulip::CSR5, !0)?;
        let sent = frame(PEER, MAC, 80, number as u8);
        let index = nic.parts()?.rings.queue(&sent)?;
        let ring = &nic.parts()?.rings.transmit;
        let control = ring.word(index, 1)? & !tulip::REPORT;
        ring.set_word(index, 1, control | if asked { tulip::REPORT } else { 0 })?;
        nic.send()?;
        assert_frame(&wire.receive("a frame")?, &sent, "a frame");
        let seen = registers.get(tulip::CSR5)? & tulip::CSR5_SENT != 0;
        assert_eq!(seen, asked, "TI of frame {number}");
        nic.sent()?;
    }
    // A setup frame may ask for it as well.
    for asked in [false, true] {
        registers.set(tulip::CSR5, !0)?;
        let setup = tulip::setup_frame(&[MAC; 16]);
        nic.set_up(&setup, if asked { tulip::REPORT } else { 0 })?;
        let seen = registers.get(tulip::CSR5)? & tulip::CSR5_SENT != 0;
        assert_eq!(seen, asked, "TI of a setup frame");
    }
    Ok(())
}

/// Would catch a receiver that is stopped and goes on, or started and does not, and states of
/// transmitter and receiver that do not show it (3.2.2.5).
fn receiver_off(nic: &Tulip, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let states = || -> Result<(bool, bool)> {
        let status = nic.plug.registers.get(tulip::CSR5)?;
        Ok((status >> 17 & 7 != 0, status >> 20 & 7 != 0))
    };
    assert_eq!(states()?, (true, true), "receiver and transmitter run");
    for round in 0..2 {
        nic.mode(tulip::CSR6_RECEIVE, 0)?;
        assert_eq!(states()?, (false, true), "the receiver is stopped");
        let memory = nic.memory()?;
        wire.send(&frame(MAC, PEER, 90, round))?;
        let_arrive(vm)?;
        assert!(nic.memory()? == memory, "memory is written by a receiver that is stopped");
        nic.mode(tulip::CSR6_SEND, tulip::CSR6_RECEIVE)?;
        assert_eq!(states()?, (true, false), "the transmitter is stopped");
        let sent = frame(MAC, PEER, 91, round);
        wire.send(&sent)?;
        let mut got = Vec::new();
        while got != sent {
            wait_received(vm, "a frame, the receiver started", || Ok(nic.arrived()? > 0))?;
            got = nic.take()?;
            nic.recycle()?;
        }
        nic.mode(0, tulip::CSR6_SEND)?;
        assert_eq!(states()?, (true, true), "receiver and transmitter run again");
    }
    Ok(())
}

/// Would catch a register of counters that can be written, or that is another's.
fn read_only_counters(nic: &Tulip, vm: &Rc<Vm>) -> Result<()> {
    start(nic, vm)?;
    let registers = &nic.plug.registers;
    let before = (registers.get(tulip::CSR8)?, registers.get(tulip::CSR9)?);
    registers.set(tulip::CSR8, 0x1234)?;
    let after = (registers.get(tulip::CSR8)?, registers.get(tulip::CSR9)?);
    assert_eq!(after, before, "CSR8 and CSR9, CSR8 written");
    Ok(())
}

/// Would catch an EEPROM whose address is not that of the card, or whose check sequence is not
/// that of what is in it (21143 Serial ROM Format, 3.0).
fn eeprom(nic: &Tulip, vm: &Rc<Vm>) -> Result<()> {
    start(nic, vm)?;
    let mut bytes = Vec::new();
    for word in 0..64 {
        bytes.extend(nic.eeprom(word)?.to_le_bytes());
    }
    assert_eq!(bytes[..4], [0x3c, 0x10, 0x4f, 0x10], "the subsystem");
    assert_eq!(bytes[20..26], MAC, "the station's address");
    let sequence = check_sequence(&bytes[..126]) as u16;
    assert_eq!(bytes[126..], sequence.to_le_bytes(), "the check sequence");
    Ok(())
}

/// Does a transfer of a PHY's registers, bit by bit (IEEE 802.3, 22.2.4.5): 32 ones, then `bits`,
/// of which the last 16 come from the PHY if `reads`.
fn mii(nic: &Tulip, bits: u32, reads: bool) -> Result<u16> {
    const CLOCK: u32 = 1 << 16;
    const OUT: u32 = 1 << 17;
    const READ: u32 = 1 << 18;
    const IN: u32 = 1 << 19;
    let registers = &nic.plug.registers;
    let mut value = 0;
    for bit in (0..64).rev() {
        let out = bit >= 32 || bits >> bit & 1 != 0;
        let from_phy = reads && bit < 18;
        let pins = if from_phy { READ } else { 0 } | if out && !from_phy { OUT } else { 0 };
        registers.set(tulip::CSR9, pins)?;
        if from_phy && bit < 16 {
            value = value << 1 | u16::from(registers.get(tulip::CSR9)? & IN != 0);
        }
        registers.set(tulip::CSR9, pins | CLOCK)?;
    }
    Ok(value)
}

/// Would catch a PHY that is not there, registers of its that are mixed up, can be written although
/// they only say what it is, or cannot although they should (IEEE 802.3, 22.2.4).
fn phy(nic: &Tulip, vm: &Rc<Vm>) -> Result<()> {
    start(nic, vm)?;
    let read = |register: u32| mii(nic, 0b0110 << 28 | 1 << 23 | register << 18, true);
    let write = |register: u32, value: u32| {
        mii(nic, 0b0101 << 28 | 1 << 23 | register << 18 | 0b10 << 16 | value, false)
    };
    let status = read(1)?;
    assert_eq!(status & 0x002c, 0x002c, "BMSR: it negotiates, has done so, the link is up");
    let identity = (read(2)?, read(3)?);
    write(2, 0x5a5a)?;
    write(1, 0x1234)?;
    let after = (read(2)?, read(3)?, read(1)?);
    // Left as it was, whatever comes of it.
    write(2, identity.0.into())?;
    write(1, status.into())?;
    assert_eq!(after, (identity.0, identity.1, status), "PHYID and BMSR, written");
    Ok(())
}
