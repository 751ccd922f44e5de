//! The virtio network device: frames both ways with their headers, merged buffers, the filter and
//! the other commands of the control queue, and the status of the link.

use std::rc::Rc;

use serde_json::json;

use crate::drivers::virtio::net::Net;
use crate::drivers::virtio::pci::OverPci;
use crate::qemu::{Buffer, Vm};
use crate::qos::net::{
    Address, BROADCAST, LONGEST, MAC, PEER, SHORTEST, Wire, assert_frame, frame,
};
use crate::qos::packets::tagged;
use crate::qos::pci::hotplug;
use crate::qos::virtio::net::{self, CTRL_ERR, CTRL_OK, Live, VirtioNet};
use crate::qos::virtio::{self, Segment, Virtio, VirtioPci, features};
use crate::qos::{settle, wait_until};
use crate::{Error, Result, attacks, tests};

tests!(VirtioNet, "virtio-net-tests":
    basic,
    lengths,
    merged,
    rx_stop_cont,
    announce_self = "announce-self",
    net_bufsize = "large_tx/net_bufsize",
    uint_max = "large_tx/uint_max",
    modes = "filter-modes",
    mac_table = "mac-table",
    own_address = "own-address",
    vlans,
    short_frames = "short-frames",
    refused_commands = "refused-commands",
    link,
    sent_while_down = "sent-while-down",
    reset,
);
attacks!(VirtioNet, "virtio-net-attacks": basic, merged);
tests!(OverPci<Net>, "virtio-net-pci-tests": hotplug_of_another = "hotplug");

/// A group address.
const GROUP: Address = [0x01, 0x00, 0x5e, 1, 2, 3];
/// Another one.
const OTHER_GROUP: Address = [0x01, 0x00, 0x5e, 1, 2, 4];
/// A station that is not the device.
const OTHER: Address = [0x02, 0x99, 0x88, 0x77, 0x66, 0x55];
/// Room for one longest frame with tag and header.
const ROOM: usize = LONGEST + 4 + 12;

/// Sends and receives one frame each way.
fn exchange(live: &Live, wire: &Wire, length: usize, number: u8) -> Result<()> {
    let out = frame(PEER, MAC, length, number);
    live.send(&out, &[])?;
    assert_frame(&wire.receive("sent by the device")?, &out, "sent");
    let back = frame(MAC, PEER, length, !number);
    live.offer(ROOM, 1)?;
    wire.send(&back)?;
    assert_frame(&live.receive("a frame")?, &back, "received");
    Ok(())
}

/// Would catch a frame that is lost or changed on either way, a header that is taken for a part of
/// it or names an offload that was not negotiated (5.1.6.4), and a used length that is not the
/// frame's, with no, all, and each of the features that change the header.
fn basic(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let wire = Wire::new(vm)?;
    assert_eq!(device.0.offered()? & net::OFFLOADS, 0, "offloads, and no header on the cable");
    assert_eq!(device.address()?, MAC, "the address in the configuration");
    let required = device.0.required();
    for wanted in [
        required,
        required | net::F_MRG_RXBUF,
        required | features::RING_PACKED,
        device.0.acceptable()?,
    ] {
        let live = device.start(wanted)?;
        assert_eq!(device.status()?, net::S_LINK_UP, "the status in the configuration");
        for number in 0..4 {
            exchange(&live, &wire, 64 + usize::from(number), number)?;
        }
        assert!(live.nothing_arrived()?, "one frame too many");
        wire.assert_silent("after all that was sent")?;
    }
    Ok(())
}

/// Would catch a frame of some length, or cut into some pieces, that is one byte off, and frames
/// that change places.
fn lengths(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let wire = Wire::new(vm)?;
    let live = device.start_with_everything()?;
    let all = [SHORTEST, 61, 127, 128, 511, 1000, LONGEST - 1, LONGEST];
    for (number, length) in (0..).zip(all) {
        for pieces in [&[][..], &[1], &[14, 20], &[1, 2, 3, 5, 8]] {
            let out = frame(PEER, MAC, length, number);
            live.send(&out, pieces)?;
            let what = format!("sent, {length} bytes in pieces of {pieces:?}");
            assert_frame(&wire.receive(&what)?, &out, &what);
        }
    }
    live.offer(ROOM, all.len())?;
    for (number, length) in (0..).zip(all) {
        wire.send(&frame(MAC, PEER, length, number))?;
    }
    for (number, length) in (0..).zip(all) {
        let what = format!("received, {length} bytes");
        assert_frame(&live.receive(&what)?, &frame(MAC, PEER, length, number), &what);
    }
    Ok(())
}

/// Would catch a frame that is not spread over buffers that are shorter than it, or a number of
/// buffers in its header that is not theirs (5.1.6.4.1).
fn merged(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let wire = Wire::new(vm)?;
    let live = device.start(device.0.required() | net::F_MRG_RXBUF)?;
    for (number, (length, each)) in
        (0..).zip([(1514, 256), (1514, 1526), (1514, 1525), (500, 256), (1012, 256), (60, 72)])
    {
        let count = (length + live.header()).div_ceil(each);
        live.offer(each, count)?;
        let sent = frame(MAC, PEER, length, number);
        wire.send(&sent)?;
        let what = format!("{length} bytes in {count} buffers of {each}");
        assert_frame(&live.receive(&what)?, &sent, &what);
        assert!(live.nothing_arrived()?, "{what}: a buffer more than its header says");
    }
    // Too few: it waits until there are enough.
    live.offer(256, 2)?;
    let sent = frame(MAC, PEER, 1514, 77);
    wire.send(&sent)?;
    settle(vm)?;
    assert!(live.nothing_arrived()?, "a part of a frame");
    live.offer(256, 4)?;
    assert_frame(&live.receive("the rest")?, &sent, "received when there was room");
    Ok(())
}

/// Would catch a frame that is lost when it comes while the machine is stopped, or arrives then.
fn rx_stop_cont(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let wire = Wire::new(vm)?;
    let live = device.start_with_everything()?;
    for number in 0..3 {
        live.offer(ROOM, 1)?;
        vm.qmp().execute("stop", json!(null))?;
        let sent = frame(MAC, PEER, 64, number);
        wire.send(&sent)?;
        vm.qmp().execute("query-status", json!(null))?;
        assert!(live.nothing_arrived()?, "a frame while the machine is stopped");
        vm.qmp().execute("cont", json!(null))?;
        assert_frame(&live.receive("a frame of before")?, &sent, "received after cont");
    }
    Ok(())
}

/// Would catch a device that does not announce itself, or does not ask its driver to (5.1.6.5.4),
/// or asks on although that has acknowledged.
fn announce_self(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let wire = Wire::new(vm)?;
    let live = device.start_with_everything()?;
    let transport = device.0.transport();
    transport.take_interrupts()?;
    let parameters = |rounds: u32| json!({"initial": 20, "max": 100, "rounds": rounds, "step": 40});
    vm.qmp().execute("announce-self", parameters(1))?;
    let announced = wire.receive("an announcement")?;
    assert_eq!(announced.len(), SHORTEST, "its length");
    let expected = [&BROADCAST[..], &MAC, &[0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3]].concat();
    assert_eq!(announced[..22], expected, "a request of RARP");
    assert_eq!((&announced[22..28], &announced[32..38]), (&MAC[..], &MAC[..]), "addresses in it");
    let told = transport.take_interrupts()?;
    assert_eq!(told & virtio::ISR_CONFIG, virtio::ISR_CONFIG, "the interrupt status");
    assert_eq!(device.status()?, net::S_LINK_UP | net::S_ANNOUNCE, "the status");
    assert_eq!(live.command(net::CTRL_ANNOUNCE, 0, &[])?, CTRL_OK, "acknowledged");
    assert_eq!(device.status()?, net::S_LINK_UP, "the status, acknowledged");
    assert_eq!(live.command(net::CTRL_ANNOUNCE, 0, &[])?, CTRL_ERR, "acknowledged twice");
    Ok(())
}

/// Has the device send 64 times `length` bytes in one frame, which is more than any cable takes.
fn large(device: &VirtioNet, vm: &Rc<Vm>, length: u32) -> Result<()> {
    let wire = Wire::new(vm)?;
    let live = device.start_with_everything()?;
    let ram = vm.ram().spec();
    if u64::from(length) + (ram.usable.0) > ram.size {
        return Err(Error::skipped("this machine's RAM is less than the frame's pieces"));
    }
    let header: Buffer = vm.ram().alloc(live.header(), 1)?;
    let piece = Segment { address: ram.base + ram.usable.0, length, writable: false };
    let segments = [&[Segment::readable(&header)][..], &[piece; 64]].concat();
    let id = live.transmit.add_indirect(&segments)?;
    live.transmit.kick()?;
    let used = live.transmit.wait_used()?;
    assert_eq!((used.id, used.written), (id, 0), "the buffer of the large frame");
    wire.assert_silent("after a frame that is too long")?;
    exchange(&live, &wire, 100, 1)
}

/// Would catch a frame longer than QEMU's buffer, 69,632 bytes, that overflows it, is sent, or
/// never given back.
fn net_bufsize(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    large(device, vm, (4096 + 65_536) / 64 + 64)
}

/// Would catch the same of a frame whose length does not go into 32 bits.
fn uint_max(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    large(device, vm, u32::MAX / 64 + 1)
}

/// Sends these frames from the wire, of which those that are to be received are marked, and
/// asserts that just those are.
fn assert_filter(live: &Live, wire: &Wire, frames: &[(Vec<u8>, bool)], what: &str) -> Result<()> {
    live.offer(ROOM, frames.len() + 1)?;
    for (sent, _) in frames {
        wire.send(sent)?;
    }
    // Own and untagged: behind all others.
    let marker = frame(MAC, PEER, 99, 0xfe);
    wire.send(&marker)?;
    for (sent, _) in frames.iter().filter(|(_, received)| *received) {
        let to = hex::encode(&sent[..6]);
        assert_frame(&live.receive(what)?, sent, &format!("{what}: to {to}"));
    }
    assert_frame(&live.receive(what)?, &marker, &format!("{what}: the frame behind"));
    // The buffers that were not used are the next frames'; a reset comes before those.
    Ok(())
}

/// Frames to every sort of address, and which are received: by own address, another's, a group,
/// everybody.
fn to_all([own, other, group, all]: [bool; 4]) -> Vec<(Vec<u8>, bool)> {
    [(MAC, own), (OTHER, other), (GROUP, group), (BROADCAST, all)]
        .into_iter()
        .zip(1..)
        .map(|((to, received), number)| (frame(to, PEER, 64, number), received))
        .collect()
}

/// Would catch a mode of the filter (5.1.6.5.1) that lets in or keeps out another sort of frames,
/// that cannot be left again, or outlasts a reset.
fn modes(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    const PROMISCUOUS: u8 = 0;
    const ALL_GROUPS: u8 = 1;
    const ALL_STATIONS: u8 = 2;
    const NO_GROUPS: u8 = 3;
    const NO_STATIONS: u8 = 4;
    const NO_BROADCAST: u8 = 5;
    let wire = Wire::new(vm)?;
    let plain = [true, false, false, true];
    for (mode, with) in [
        (PROMISCUOUS, [true; 4]),
        (ALL_GROUPS, [true, false, true, true]),
        (ALL_STATIONS, [true, true, false, true]),
        (NO_BROADCAST, [true, false, false, false]),
        (NO_GROUPS, plain),
    ] {
        let live = device.start_with_everything()?;
        // Until it is told otherwise, the device lets in everything, for drivers that cannot.
        assert_filter(&live, &wire, &to_all([true; 4]), "after a reset")?;
        assert_eq!(live.command(net::CTRL_RX, PROMISCUOUS, &[0])?, CTRL_OK);
        assert_filter(&live, &wire, &to_all(plain), "not promiscuous")?;
        assert_eq!(live.command(net::CTRL_RX, mode, &[1])?, CTRL_OK, "mode {mode}");
        assert_filter(&live, &wire, &to_all(with), &format!("mode {mode} on"))?;
        assert_eq!(live.command(net::CTRL_RX, mode, &[0])?, CTRL_OK, "mode {mode}");
        assert_filter(&live, &wire, &to_all(plain), &format!("mode {mode} off"))?;
    }
    // What keeps groups out is stronger than what lets all in; no station at all receives none.
    let live = device.start_with_everything()?;
    for (mode, on) in [(PROMISCUOUS, 0), (ALL_GROUPS, 1), (NO_GROUPS, 1)] {
        assert_eq!(live.command(net::CTRL_RX, mode, &[on])?, CTRL_OK, "mode {mode}");
    }
    assert_filter(&live, &wire, &to_all([true, false, false, true]), "no groups, and all")?;
    assert_eq!(live.command(net::CTRL_RX, NO_STATIONS, &[1])?, CTRL_OK);
    live.offer(ROOM, 4)?;
    wire.send(&frame(MAC, PEER, 64, 1))?;
    wire.send(&frame(BROADCAST, PEER, 64, 2))?;
    assert_frame(&live.receive("a broadcast")?, &frame(BROADCAST, PEER, 64, 2), "no stations");
    Ok(())
}

/// The table of addresses as a command has it: stations, then groups.
fn table(live: &Live, stations: &[Address], groups: &[Address]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for list in [stations, groups] {
        bytes.extend(live.bytes32(list.len() as u32));
        bytes.extend(list.iter().flatten());
    }
    bytes
}

/// Would catch an address of the table (5.1.6.5.2) that does not let in its frames, one that stays
/// when it is replaced, and a table too long for the device that loses frames.
fn mac_table(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let wire = Wire::new(vm)?;
    let live = device.start_with_everything()?;
    assert_eq!(live.command(net::CTRL_RX, 0, &[0])?, CTRL_OK, "not promiscuous");
    let frames = |station: bool, group: bool, other: bool| {
        [(OTHER, station), (GROUP, group), (OTHER_GROUP, other), (BROADCAST, true)]
            .into_iter()
            .zip(1..)
            .map(|((to, received), number)| (frame(to, PEER, 64, number), received))
            .collect::<Vec<_>>()
    };
    let set = |stations: &[Address], groups: &[Address]| -> Result<()> {
        let answer = live.command(net::CTRL_MAC, 0, &table(&live, stations, groups))?;
        assert_eq!(answer, CTRL_OK, "a table of {stations:x?} and {groups:x?}");
        Ok(())
    };
    assert_filter(&live, &wire, &frames(false, false, false), "no table")?;
    set(&[OTHER], &[])?;
    assert_filter(&live, &wire, &frames(true, false, false), "a station")?;
    set(&[], &[GROUP])?;
    assert_filter(&live, &wire, &frames(false, true, false), "a group")?;
    set(&[PEER, OTHER], &[GROUP, OTHER_GROUP])?;
    assert_filter(&live, &wire, &frames(true, true, true), "two each")?;
    set(&[], &[])?;
    assert_filter(&live, &wire, &frames(false, false, false), "an empty table")?;
    let many = |first: u8| (0..200).map(|number| [first, 1, 1, 1, 1, number]).collect::<Vec<_>>();
    set(&many(2), &[])?;
    assert_filter(&live, &wire, &frames(true, false, false), "stations without number")?;
    set(&[], &many(3))?;
    assert_filter(&live, &wire, &frames(false, true, true), "groups without number")
}

/// Would catch an own address that is not the device's when it was set (5.1.6.5.2.1), with another
/// length, or that a reset of the machine does not take back.
fn own_address(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let wire = Wire::new(vm)?;
    let live = device.start_with_everything()?;
    assert_eq!(live.command(net::CTRL_RX, 0, &[0])?, CTRL_OK, "not promiscuous");
    for wrong in [&[][..], &OTHER[..5], &[2; 7]] {
        assert_eq!(live.command(net::CTRL_MAC, 1, wrong)?, CTRL_ERR, "{} bytes", wrong.len());
        assert_eq!(device.address()?, MAC, "after {} bytes", wrong.len());
    }
    assert_eq!(live.command(net::CTRL_MAC, 1, &OTHER)?, CTRL_OK);
    assert_eq!(device.address()?, OTHER, "the address in the configuration");
    live.offer(ROOM, 3)?;
    for (number, to) in [(1, MAC), (2, OTHER), (3, BROADCAST)] {
        wire.send(&frame(to, PEER, 64, number))?;
    }
    for (number, to) in [(2, OTHER), (3, BROADCAST)] {
        assert_frame(&live.receive("a frame")?, &frame(to, PEER, 64, number), "with the new one");
    }
    assert_eq!(live.command(net::CTRL_MAC, 1, &MAC)?, CTRL_OK);
    assert_eq!(device.address()?, MAC, "the address set back");
    Ok(())
}

/// Would catch a VLAN that is let in without leave (5.1.6.5.3), kept out with it, or another one
/// than that of the command, and one that cannot be taken away.
fn vlans(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let wire = Wire::new(vm)?;
    let live = device.start_with_everything()?;
    assert_eq!(live.command(net::CTRL_RX, 0, &[0])?, CTRL_OK, "not promiscuous");
    let numbers = [0u16, 1, 31, 32, 1000, 4095];
    let frames = |allowed: &[u16]| {
        (1..)
            .zip(numbers)
            .map(|(number, vlan)| {
                // The priority is no part of the number.
                (tagged(&frame(MAC, PEER, 64, number), vlan | 0x6000), allowed.contains(&vlan))
            })
            .collect::<Vec<_>>()
    };
    assert_filter(&live, &wire, &frames(&[]), "no VLAN")?;
    for (at, &vlan) in numbers.iter().enumerate() {
        let answer = live.command(net::CTRL_VLAN, 0, &live.bytes16(vlan))?;
        assert_eq!(answer, CTRL_OK, "VLAN {vlan} added");
        assert_filter(&live, &wire, &frames(&numbers[..=at]), &format!("VLANs up to {vlan}"))?;
    }
    for (at, &vlan) in numbers.iter().enumerate() {
        let answer = live.command(net::CTRL_VLAN, 1, &live.bytes16(vlan))?;
        assert_eq!(answer, CTRL_OK, "VLAN {vlan} taken away");
        let left = &numbers[at + 1..];
        assert_filter(&live, &wire, &frames(left), &format!("VLANs after {vlan}"))?;
    }
    assert_eq!(live.command(net::CTRL_VLAN, 0, &live.bytes16(4096))?, CTRL_ERR, "VLAN 4096");
    // Without the feature every VLAN is let in.
    let live = device.start(device.0.acceptable()? & !net::F_CTRL_VLAN)?;
    assert_eq!(live.command(net::CTRL_RX, 0, &[0])?, CTRL_OK, "not promiscuous");
    assert_filter(&live, &wire, &frames(&numbers), "no filter of VLANs")
}

/// Would catch a filter that looks behind the end of a frame that is shorter than its header or its
/// tag: which frames are let in must not depend on those of before.
fn short_frames(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    const ALLOWED: u16 = 5;
    const OTHER_VLAN: u16 = 6;
    let wire = Wire::new(vm)?;
    let live = device.start_with_everything()?;
    assert_eq!(live.command(net::CTRL_RX, 0, &[0])?, CTRL_OK, "not promiscuous");
    let answer = live.command(net::CTRL_VLAN, 0, &live.bytes16(ALLOWED))?;
    assert_eq!(answer, CTRL_OK, "VLAN {ALLOWED} added");
    let before = |vlan: u16| tagged(&frame(MAC, PEER, 64, 1), vlan);
    let marker = frame(MAC, PEER, 99, 2);
    let comes = |short: &[u8], vlan: u16| -> Result<bool> {
        let what = format!("{} bytes after a frame of VLAN {vlan}", short.len());
        live.offer(ROOM, 3)?;
        for sent in [&before(vlan)[..], short, &marker] {
            wire.send(sent)?;
        }
        if vlan == ALLOWED {
            assert_frame(&live.receive(&what)?, &before(vlan), &what);
        }
        let got = live.receive(&what)?;
        if got == marker {
            return Ok(false);
        }
        assert_frame(&got, short, &what);
        assert_frame(&live.receive(&what)?, &marker, &what);
        Ok(true)
    };
    for length in 6..=17 {
        for vlan in [ALLOWED, OTHER_VLAN] {
            let short = &tagged(&frame(MAC, PEER, 64, 3), vlan)[..length];
            let both = (comes(short, ALLOWED)?, comes(short, OTHER_VLAN)?);
            assert_eq!(both.0, both.1, "whether {length} bytes are let in, after other frames");
        }
    }
    Ok(())
}

/// Would catch a command that the device does not know, or of another length, that is done all
/// the same, or changes what it should not.
fn refused_commands(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let wire = Wire::new(vm)?;
    let live = device.start_with_everything()?;
    assert_eq!(live.command(net::CTRL_RX, 0, &[0])?, CTRL_OK, "not promiscuous");
    for (class, command, data) in [
        (net::CTRL_RX, 6, &[1][..]),
        (net::CTRL_RX, 255, &[1]),
        (net::CTRL_RX, 0, &[]),
        (net::CTRL_MAC, 2, &OTHER),
        (net::CTRL_MAC, 0, &[]),
        (net::CTRL_MAC, 0, &[1, 0, 0]),
        (net::CTRL_VLAN, 2, &[1, 0]),
        (net::CTRL_VLAN, 0, &[1]),
        (net::CTRL_ANNOUNCE, 1, &[]),
        (net::CTRL_MQ, 0, &[0, 0]),
        (net::CTRL_MQ, 0, &[2, 0]),
        (6, 0, &[1]),
        (255, 255, &[1]),
    ] {
        let what = format!("command {class}:{command} with {data:x?}");
        assert_eq!(live.command(class, command, data)?, CTRL_ERR, "{what}");
        let plain = to_all([true, false, false, true]);
        assert_filter(&live, &wire, &plain, &what)?;
        assert_eq!(device.address()?, MAC, "the address after {what}");
    }
    Ok(())
}

/// Would catch frames that are kept while the link is down, are sent late, or after which nothing
/// is sent any more: QEMU counts wrong with packed rings.
fn sent_while_down(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let wire = Wire::new(vm)?;
    let live = device.start_with_everything()?;
    for number in 0..3 {
        vm.qmp().execute("set_link", json!({"name": "net", "up": false}))?;
        live.send(&frame(PEER, MAC, 64, 9), &[])?;
        wire.assert_silent("while the link is down")?;
        vm.qmp().execute("set_link", json!({"name": "net", "up": true}))?;
        exchange(&live, &wire, 100, number)?;
    }
    Ok(())
}

/// Would catch a link whose status does not change, or without an interrupt (5.1.4), and one that
/// passes no frame when it is up again.
fn link(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let wire = Wire::new(vm)?;
    let live = device.start_with_everything()?;
    let transport = device.0.transport();
    let set = |up: bool| -> Result<()> {
        transport.take_interrupts()?;
        vm.qmp().execute("set_link", json!({"name": "net", "up": up}))?;
        wait_until(vm, "a configuration change", || {
            Ok(transport.take_interrupts()? & virtio::ISR_CONFIG != 0)
        })
    };
    // A device that has moved asks for an announcement besides.
    let announces = if vm.config().moves { net::S_ANNOUNCE } else { 0 };
    let status = || Ok::<_, Error>(device.status()? & !announces);
    for number in 0..3 {
        exchange(&live, &wire, 100, number)?;
        set(false)?;
        assert_eq!(status()?, 0, "the status while the link is down");
        set(true)?;
        assert_eq!(status()?, net::S_LINK_UP, "the status when it is up again");
    }
    exchange(&live, &wire, 100, 4)
}

/// Would catch a reset that leaves frames, buffers or the filter of before.
fn reset(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let wire = Wire::new(vm)?;
    for number in 0..4 {
        let live = device.start_with_everything()?;
        assert_eq!(live.command(net::CTRL_RX, 0, &[0])?, CTRL_OK, "not promiscuous");
        assert_eq!(live.command(net::CTRL_VLAN, 0, &live.bytes16(5))?, CTRL_OK, "a VLAN");
        live.offer(ROOM, 8)?;
        device.0.reset()?;
        let again = device.start_with_everything()?;
        exchange(&again, &wire, 200, number)?;
        assert!(live.nothing_arrived()?, "a buffer of before the reset");
        assert_filter(&again, &wire, &to_all([true; 4]), "after a reset")?;
        assert_eq!(again.command(net::CTRL_RX, 0, &[0])?, CTRL_OK, "not promiscuous");
        let vlan = (tagged(&frame(MAC, PEER, 64, 1), 5), false);
        assert_filter(&again, &wire, &[vlan], "a VLAN of before the reset")?;
    }
    Ok(())
}

/// Would catch a device that was plugged in while the machine runs and cannot be found or used,
/// has another address, or cannot be unplugged.
fn hotplug_of_another(device: &OverPci<Net>, vm: &Rc<Vm>) -> Result<()> {
    let Some(slot) = device.bus().free_slot() else {
        return Err(Error::skipped("this bus has no slot left for another device"));
    };
    for id in ["hot0", "hot1"] {
        let plug = (id, "virtio-net-pci");
        let mac = json!({ "mac": "02:99:88:77:66:55" });
        let Some(function) = hotplug::plug(device.bus(), vm, slot, plug, mac)? else {
            // The root bus of PCI Express.
            break;
        };
        let pci = VirtioPci::new(function, vm)?;
        assert_eq!(pci.capabilities(), device.pci().capabilities(), "as of the old device");
        let new = VirtioNet(Virtio::of_kind::<Net>(vm, pci.transport().clone())?);
        assert_eq!(new.address()?, OTHER, "the address of the new device");
        assert_eq!(new.0.queue_count(), 3, "queues");
        // Without a cable what it sends is gone.
        let live = new.start_with_everything()?;
        live.send(&frame(PEER, OTHER, 64, 1), &[])?;
        assert_eq!(live.command(net::CTRL_RX, 0, &[0])?, CTRL_OK, "not promiscuous");
        hotplug::unplug(vm, pci.device(), id, &[VirtioPci::PART])?;
    }
    let old = device.interface();
    let live = old.start_with_everything()?;
    exchange(&live, &Wire::new(vm)?, 100, 1)
}
