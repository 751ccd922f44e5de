//! VMware's `vmxnet3`: what its queues do, tags, checksums, buffers of every kind, statistics.

use std::rc::Rc;

use super::start;
use crate::drivers::net::vmxnet3::Vmxnet3;
use crate::drivers::net::vmxnet3::registers::{command, descriptor, queue, shared};
use crate::drivers::net::vmxnet3::rings::COUNT;
use crate::qemu::Vm;
use crate::qos::net::{BROADCAST, MAC, PEER, assert_frame, frame, wait_received};
use crate::qos::nic::{Filter, Groups, Nic};
use crate::qos::packets::{self, TCP, TCP_SUM, TRANSPORT, UDP, UDP_SUM, tagged};
use crate::qos::wait_until;
use crate::{Result, tests};

tests!(Vmxnet3, "vmxnet3-tests":
    segments,
    insert_tag = "insert-tag",
    remove_tag = "remove-tag",
    vlan_filter = "vlan-filter",
    group_list = "group-list",
    checksums,
    body_buffers = "body-buffers",
    many_buffers = "many-buffers",
    statistics,
    long_statistics = "long-statistics",
);

/// A frame's end, whose completion is reported.
const WHOLE: u32 = descriptor::SEND_END | descriptor::SEND_REPORT;

/// The words of the next `count` completions of what was received.
fn completions(nic: &Vmxnet3, vm: &Rc<Vm>, count: usize) -> Result<Vec<[u32; 4]>> {
    let parts = nic.parts()?;
    let ring = &parts.receive.completions;
    wait_received(vm, "the completions of a frame", || Ok(ring.peek(count - 1)?.is_some()))?;
    let mut all = Vec::new();
    for _ in 0..count {
        all.extend(ring.peek(0)?);
        ring.advance();
    }
    Ok(all)
}

/// Would catch the parts of a frame that are left out, mixed up or sent as frames, and a completion
/// that names another descriptor than the last.
fn segments(nic: &Vmxnet3, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    for cuts in [vec![14], vec![1, 2, 3], vec![100, 101, 700], vec![60, 800, 801, 1000, 1400]] {
        let whole = frame(PEER, MAC, 1500, cuts.len() as u8);
        let mut begin = 0;
        let mut last = 0;
        for end in cuts.iter().copied().chain([whole.len()]) {
            let flags = if end == whole.len() { WHOLE } else { 0 };
            last = nic.parts()?.send.put(&whole[begin..end], flags)?;
            begin = end;
        }
        nic.kick()?;
        let what = format!("a frame in {} parts", cuts.len() + 1);
        assert_frame(&wire.receive(&what)?, &whole, &what);
        wire.assert_silent(&what)?;
        let parts = nic.parts()?;
        let completion = parts.send.completions.peek(0)?.unwrap_or_default();
        assert_eq!(completion[0] & 0xfff, last as u32, "{what}: the index of its completion");
        assert!(parts.send.completions.peek(1)?.is_none(), "{what}: one completion");
        assert_eq!(parts.send.sent()?, 1, "{what}: frames that are complete");
    }
    Ok(())
}

/// Would catch a tag that is not put in, in another place, or not with all its bits.
fn insert_tag(nic: &Vmxnet3, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    for (number, tag) in [0x0001_u16, 0x0080, 0x0123, 0xefff, 0xe000].into_iter().enumerate() {
        let plain = frame(PEER, MAC, 60 + 200 * number, number as u8);
        let flags = WHOLE | descriptor::SEND_TAG | u32::from(tag) << 16;
        nic.parts()?.send.put(&plain, flags)?;
        nic.kick()?;
        let what = format!("a frame with the tag {tag:#06x}");
        assert_frame(&wire.receive(&what)?, &tagged(&plain, tag), &what);
        nic.sent()?;
    }
    Ok(())
}

/// Would catch a tag that is left in or taken out against what is set up, or told wrongly.
fn remove_tag(nic: &Vmxnet3, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    // Every VLAN is let in.
    nic.parts()?.shared.write(shared::VLANS, &[0xff; 512])?;
    nic.command(command::UPDATE_VLANS)?;
    for (number, removes) in [false, true, false, true].into_iter().enumerate() {
        let features = if removes { shared::FEATURE_TAGS } else { 0 };
        nic.parts()?.shared.write_le64(shared::FEATURES, features.into())?;
        nic.command(command::UPDATE_FEATURES)?;
        let plain = frame(MAC, PEER, 60 + 300 * number, number as u8);
        let tag = 0x3123 + number as u16;
        for (sent, told, inside) in
            [(tagged(&plain, tag), removes.then_some(tag), removes), (plain.clone(), None, true)]
        {
            wire.send(&sent)?;
            let [first, _, third, _] = completions(nic, vm, 1)?[0];
            let inside = if inside { plain.clone() } else { sent };
            let seen = (third & descriptor::HAD_TAG != 0).then_some((third >> 16) as u16);
            assert_eq!(seen, told, "the tag that is told of, removed {removes}");
            let index = (first & 0xfff) as usize;
            let got = nic.parts()?.receive.rings[0].bytes(index, (third & 0x3fff) as usize)?;
            assert_frame(&got, &inside, "a frame with a tag, received");
        }
    }
    Ok(())
}

/// Would catch a VLAN that is let in although it is not in the table, or not although it is, and a
/// table that is looked at before it should be.
fn vlan_filter(nic: &Vmxnet3, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let table = |vlans: &[u16]| -> Result<()> {
        let mut bits = [0_u8; 512];
        vlans.iter().for_each(|vlan| bits[usize::from(vlan / 8)] |= 1 << (vlan % 8));
        nic.parts()?.shared.write(shared::VLANS, &bits)
    };
    let all = [1, 2, 31, 32, 33, 64, 0x123, 0x7ff, 0xffe];
    let came = || -> Result<Vec<u16>> {
        let mut came = Vec::new();
        for vlan in all {
            wire.send(&tagged(&frame(MAC, PEER, 60, 1), vlan))?;
            wire.send(&frame(MAC, PEER, 61, 2))?;
            loop {
                wait_received(vm, "the frame behind a VLAN's", || Ok(nic.arrived()? > 0))?;
                let got = nic.take()?;
                nic.recycle()?;
                if got.len() == 61 {
                    break;
                }
                came.push(u16::from_be_bytes([got[14], got[15]]));
            }
        }
        Ok(came)
    };
    assert_eq!(came()?, [0; 0], "VLANs with an empty table");
    for some in [&[1, 0x123][..], &[2, 31, 64, 0xffe], &[32, 33], &all] {
        table(some)?;
        nic.command(command::UPDATE_VLANS)?;
        assert_eq!(came()?, some, "VLANs of the table");
    }
    table(&[])?;
    assert_eq!(came()?, all, "VLANs, a table in memory that nothing was told of");
    Ok(())
}

/// Would catch a group of a list that is left out, one that is behind its end, and bytes of an
/// address that do not count.
fn group_list(nic: &Vmxnet3, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let list = vm.ram().alloc(256, 64)?;
    let group = |number: u8| [0x03, 0x10, 0x32, 0x54, number ^ 0xa5, number];
    let filter = Filter { groups: Groups::One(group(0)), ..Filter::PLAIN };
    nic.set_filter(&filter)?;
    for number in 0..20 {
        list.write(6 * usize::from(number), &group(number))?;
    }
    nic.parts()?.shared.write_le64(shared::GROUPS, list.address().0)?;
    for count in [1_u8, 2, 16, 19] {
        nic.parts()?.shared.write_le16(shared::GROUPS_LENGTH, 6 * u16::from(count))?;
        nic.command(command::UPDATE_GROUPS)?;
        let mut all: Vec<_> = (0..20).map(group).collect();
        all.extend((0..6).map(|at| {
            let mut near = group(count - 1);
            near[at] ^= 0x20;
            near
        }));
        let mut came = 0;
        for (number, to) in all.iter().enumerate() {
            wire.send(&frame(*to, PEER, 60, number as u8))?;
            wire.send(&frame(MAC, PEER, 61, 0xff))?;
            loop {
                wait_received(vm, "the frame behind a group's", || Ok(nic.arrived()? > 0))?;
                let got = nic.take()?;
                nic.recycle()?;
                if got.len() == 61 {
                    break;
                }
                assert_eq!(got[..6], group(got[14]), "the group of a frame that came");
                came += 1;
            }
        }
        assert_eq!(came, count, "frames to groups, of a list of {count}");
    }
    Ok(())
}

/// Would catch a checksum of TCP or UDP that is not put in, in another place or over other bytes,
/// and one that nobody asked for.
fn checksums(nic: &Vmxnet3, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    for (protocol, sum) in [(TCP, TCP_SUM), (UDP, UDP_SUM)] {
        for length in [1, 18, 100, 999] {
            let whole = packets::packet(PEER, MAC, protocol, &packets::payload(length));
            let mut given = whole.clone();
            // QEMU sums the pseudo header itself; the field is what a driver leaves there.
            given[TRANSPORT + sum..TRANSPORT + sum + 2].copy_from_slice(&[0, 0]);
            for asked in [true, false] {
                let what = format!("protocol {protocol}, {length} bytes, asked {asked}");
                let offload = if asked { descriptor::SEND_CHECKSUM | TRANSPORT as u32 } else { 0 };
                let parts = nic.parts()?;
                let index = parts.send.put(&given, WHOLE | offload)?;
                let word = parts.send.ring.word(index, 2)?;
                parts.send.ring.set_word(index, 2, word | ((TRANSPORT + sum) as u32) << 18)?;
                nic.kick()?;
                let got = wire.receive(&what)?;
                assert_frame(&got, if asked { &whole } else { &given }, &what);
                nic.sent()?;
            }
        }
    }
    Ok(())
}

/// Gives the queue buffers of these sizes, `body` the second ring's.
fn resize(nic: &Vmxnet3, head: u32, body: u32) -> Result<()> {
    let parts = nic.parts()?;
    for number in 0..COUNT {
        parts.receive.give(0, number, head)?;
        parts.receive.give(1, number, body | descriptor::BODY)?;
    }
    Ok(())
}

/// Would catch a frame that is cut, or whose parts are mixed up or marked wrongly, when its first
/// buffer is too small for it, and one that begins in a buffer that is none of the first ring's.
fn body_buffers(nic: &Vmxnet3, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    resize(nic, 128, 256)?;
    let (mut heads, mut bodies) = (0, 0);
    for (number, length) in [60, 128, 129, 384, 385, 800, 1514].into_iter().enumerate() {
        let sent = frame(MAC, PEER, length, number as u8);
        wire.send(&sent)?;
        let parts = 1 + length.saturating_sub(128).div_ceil(256);
        let what = format!("{length} bytes in {parts} buffers");
        let mut got = Vec::new();
        for (part, [first, _, third, _]) in completions(nic, vm, parts)?.into_iter().enumerate() {
            let marks = (if part == 0 { descriptor::BEGIN } else { 0 })
                | (if part + 1 == parts { descriptor::END } else { 0 });
            let seen = first & (descriptor::BEGIN | descriptor::END);
            assert_eq!(seen, marks, "{what}: the marks of part {part}");
            assert_eq!(third & descriptor::ERROR, 0, "{what}: part {part} has no error");
            let (ring, place) = if part == 0 { (0, &mut heads) } else { (1, &mut bodies) };
            // One queue: its second ring has the number behind the last of the first rings.
            assert_eq!(first >> 16 & 0x3ff, ring, "{what}: the ring of part {part}");
            assert_eq!(first & 0xfff, *place, "{what}: the buffer of part {part}");
            *place += 1;
            let here = (third & descriptor::LENGTH) as usize;
            let index = (first & 0xfff) as usize;
            got.extend(nic.parts()?.receive.rings[ring as usize].bytes(index, here)?);
        }
        assert_frame(&got, &sent, &what);
    }
    Ok(())
}

/// Would catch a frame that takes more buffers than it may and is not marked so, or takes the next
/// frame with it.
fn many_buffers(nic: &Vmxnet3, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    nic.command(command::QUIESCE)?;
    nic.parts()?.shared.write_le16(shared::MOST_BUFFERS, 3)?;
    nic.activate()?;
    nic.set_filter(&Filter::PLAIN)?;
    resize(nic, 128, 256)?;
    for (number, (length, fits)) in [(640, true), (641, false), (640, true)].into_iter().enumerate()
    {
        wire.send(&frame(MAC, PEER, length, number as u8))?;
        let all = completions(nic, vm, 3)?;
        let last = all[2];
        let what = format!("{length} bytes in 3 buffers at the most");
        assert_ne!(last[0] & descriptor::END, 0, "{what}: the last is the end");
        assert_eq!(last[2] & descriptor::ERROR == 0, fits, "{what}: whether it is whole");
    }
    Ok(())
}

/// Would catch a counter of frames or bytes that does not count, counts another kind of frame, or
/// goes on when the device is activated anew.
fn statistics(nic: &Vmxnet3, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    let group = [0x01, 0, 0x5e, 1, 2, 3];
    nic.set_filter(&Filter { groups: Groups::All, ..Filter::PLAIN })?;
    let all = |receives: bool| -> Result<Vec<u64>> {
        nic.command(command::GET_STATISTICS)?;
        (0..10).map(|number| nic.parts()?.statistic(receives, number)).collect()
    };
    for round in 0..2 {
        let mut expected = [vec![0; 10], vec![0; 10]];
        assert_eq!([all(false)?, all(true)?], expected, "statistics after a start");
        for (at, address, length) in [
            (queue::STATIONS, None, 60),
            (queue::GROUPS, Some(group), 100),
            (queue::GROUPS, Some(group), 1400),
            (queue::BROADCASTS, Some(BROADCAST), 200),
            (queue::STATIONS, None, 1000),
        ] {
            let (to, into) = (address.unwrap_or(PEER), address.unwrap_or(MAC));
            nic.parts()?.send.put(&frame(to, MAC, length, round), WHOLE)?;
            nic.kick()?;
            wire.receive("a frame that is counted")?;
            nic.sent()?;
            wire.send(&frame(into, PEER, length, round))?;
            wait_received(vm, "a frame that is counted", || Ok(nic.arrived()? > 0))?;
            nic.take()?;
            nic.recycle()?;
            for counts in &mut expected {
                counts[at] += 1;
                counts[at + 1] += length as u64;
            }
            let what = format!("{length} bytes to {}", hex::encode(to));
            assert_eq!([all(false)?, all(true)?], expected, "statistics after {what}");
        }
        // No buffer is left for two of these.
        for number in 0..COUNT + 2 {
            wire.send(&frame(MAC, PEER, 60, number as u8))?;
        }
        let ok = COUNT as u64;
        wait_until(vm, "a frame without a buffer", || Ok(all(true)?[queue::NO_BUFFER] == 2))?;
        expected[1][queue::STATIONS] += ok;
        expected[1][queue::STATIONS + 1] += 60 * ok;
        expected[1][queue::NO_BUFFER] = 2;
        assert_eq!([all(false)?, all(true)?], expected, "statistics without a buffer");
        nic.start(vm)?;
        nic.set_filter(&Filter { groups: Groups::All, ..Filter::PLAIN })?;
    }
    Ok(())
}

/// Would catch an ordinary frame of 1,514 bytes, 1,500 of them payload, that is counted as several
/// that were joined.
fn long_statistics(nic: &Vmxnet3, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(nic, vm)?;
    wire.send(&frame(MAC, PEER, 1514, 1))?;
    wait_received(vm, "a frame of 1,514 bytes", || Ok(nic.arrived()? > 0))?;
    nic.command(command::GET_STATISTICS)?;
    let parts = nic.parts()?;
    let counts = (0..4).map(|number| parts.statistic(true, number)).collect::<Result<Vec<_>>>()?;
    assert_eq!(counts, [0, 0, 1, 1514], "joined frames and bytes, frames and bytes to stations");
    Ok(())
}
