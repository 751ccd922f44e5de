//! The virtio network device with a TAP device at the far end, which passes the header on: checksums
//! and segments that either side leaves to the other, and which of them are switched on (virtio 1.2,
//! 5.1.6).

use std::rc::Rc;

use crate::graph::QemuArgs;
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::net::{Address, MAC, PEER, assert_frame, frame};
use crate::qos::packets::{
    IP, TCP, TCP_SUM, TRANSPORT, UDP, UDP_SUM, headers, packet, payload, sums_are_right, unsummed,
};
use crate::qos::tap::{self, Tap};
use crate::qos::virtio::net::{self, CTRL_ERR, CTRL_GUEST_OFFLOADS, CTRL_OK, Live, VirtioNet};
use crate::qos::virtio::net_header::{F_DATA_VALID, F_NEEDS_CSUM, GSO_NONE, GSO_TCPV4, NetHeader};
use crate::{Result, tests};

const ARGS: QemuArgs = QemuArgs::NONE
    .before("-netdev tap,id=far,fd={tap} -set device.nic0.netdev=far")
    .sockets(&[tap::SOCKET]);

tests!(VirtioNet, "virtio-net-offload-tests":
    plain,
    sent_checksums = "sent-checksums",
    received_checksums = "received-checksums",
    sent_segments = "sent-segments",
    received_segments = "received-segments",
    control;
    with ARGS);

/// Room for the longest frame that can be received in one buffer (5.1.6.3.1).
const ROOM: usize = 65_550 + 12;
/// The byte order of headers on the TAP device: the host's.
const HOST: Endian = if cfg!(target_endian = "big") { Endian::Big } else { Endian::Little };
/// The length of each segment's payload.
const SEGMENT: usize = 1000;

/// Starts the device with these features, and drops what came before.
fn start<'a>(device: &VirtioNet, vm: &'a Rc<Vm>, wanted: u64) -> Result<(Live, &'a Tap)> {
    let tap = Tap::of(vm)?;
    let live = device.start(device.0.required() | wanted)?;
    assert_eq!(live.accepted & wanted, wanted, "features");
    tap.drain()?;
    Ok((live, tap))
}

/// Where the checksum of a frame is, as the header says it.
fn checksum(protocol: u8) -> NetHeader {
    let csum_offset = if protocol == TCP { TCP_SUM } else { UDP_SUM } as u16;
    let csum_start = TRANSPORT as u16;
    NetHeader { flags: F_NEEDS_CSUM, csum_start, csum_offset, ..NetHeader::default() }
}

/// `frame` without TCP's or UDP's checksum, as its sender gives it to another to insert: the pseudo
/// header's sum stands there, and the checksum of IPv4 is right.
fn partial(frame: &[u8]) -> Vec<u8> {
    let mut bytes = unsummed(frame, frame.len() - TRANSPORT);
    bytes[IP..TRANSPORT].copy_from_slice(&frame[IP..TRANSPORT]);
    bytes
}

/// Sends a frame to the device from the TAP device, and returns what the driver gets.
fn deliver(
    live: &Live,
    tap: &Tap,
    header: NetHeader,
    frame: &[u8],
    what: &str,
) -> Result<(NetHeader, Vec<u8>)> {
    live.offer(ROOM, 1)?;
    tap.send(header.bytes(HOST), frame)?;
    let (header, frame) = live.receive_with_header(what)?;
    Ok((NetHeader::of(&header, live.order()), frame))
}

/// Would catch frames that are lost or changed on either way, or have a header that names an offload,
/// when no offload was negotiated and when all were.
fn plain(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    for wanted in [0, net::F_MRG_RXBUF, device.0.acceptable()?] {
        let (live, tap) = start(device, vm, wanted)?;
        for (number, length) in [60, 61, 777, 1514].into_iter().enumerate() {
            let out = frame(PEER, MAC, length, number as u8);
            live.send(&out, &[14])?;
            let (header, got) = tap.receive(vm, "a plain one")?;
            assert_eq!(NetHeader::of(&header, HOST), NetHeader::default(), "the header, sent");
            assert_frame(&got, &out, "sent");
            let back = frame(MAC, PEER, length, !(number as u8));
            let (header, got) = deliver(&live, tap, NetHeader::default(), &back, "a frame")?;
            assert_eq!(header, NetHeader::default(), "the header, received");
            assert_frame(&got, &back, "received");
        }
        assert!(live.nothing_arrived()?, "one frame too many");
    }
    Ok(())
}

/// Would catch a checksum that the driver leaves to the device and that is neither inserted nor left
/// to the next one (5.1.6.2), or inserted in another place.
fn sent_checksums(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let (live, tap) = start(device, vm, net::F_CSUM)?;
    for protocol in [TCP, UDP] {
        for length in [1, 100, 1400] {
            let whole = packet(PEER, MAC, protocol, &payload(length));
            let (out, header) = (partial(&whole), checksum(protocol));
            live.send_with(&header.bytes(live.order()), &out, &[])?;
            let (got, data) = tap.receive(vm, "with a checksum to insert")?;
            assert_eq!(NetHeader::of(&got, HOST), header, "the header of {length} bytes");
            assert_frame(&data, &out, "with a checksum to insert");
            live.send(&whole, &[])?;
            let (got, data) = tap.receive(vm, "with its checksum")?;
            assert_eq!(NetHeader::of(&got, HOST), NetHeader::default(), "{length} bytes");
            assert_frame(&data, &whole, "with its checksum");
        }
    }
    Ok(())
}

/// Would catch a frame without checksum that a driver gets which takes none (5.1.6.4.1), or for which
/// a driver that takes them is not told where the checksum belongs; and a checksum that was found
/// right and is said to be missing.
fn received_checksums(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    for features in [0, net::F_GUEST_CSUM, net::F_GUEST_CSUM | net::F_MRG_RXBUF, 0] {
        let (live, tap) = start(device, vm, features)?;
        for protocol in [TCP, UDP] {
            for length in [1, 100, 1400] {
                let whole = packet(MAC, PEER, protocol, &payload(length));
                let (sent, header) = (partial(&whole), checksum(protocol));
                let (got, data) = deliver(&live, tap, header, &sent, "a frame without checksum")?;
                let what = format!("{length} bytes, features {features:#x}");
                if features & net::F_GUEST_CSUM != 0 {
                    assert_eq!(got, header, "the header, {what}");
                    assert_frame(&data, &sent, &what);
                } else {
                    assert_eq!(got, NetHeader::default(), "the header, {what}");
                    assert_eq!(sums_are_right(&data), (true, true), "checksums, {what}");
                    assert_frame(&data, &whole, &what);
                }
                let valid = NetHeader { flags: F_DATA_VALID, ..NetHeader::default() };
                let (got, data) = deliver(&live, tap, valid, &whole, "a frame that was checked")?;
                // The device may leave out that it is right, and must where it was not accepted.
                let may = if features & net::F_GUEST_CSUM != 0 { F_DATA_VALID } else { 0 };
                assert_eq!(got.flags & !may, 0, "flags of a frame that was checked, {what}");
                assert_eq!(NetHeader { flags: 0, ..got }, NetHeader::default(), "{what}");
                assert_frame(&data, &whole, &what);
            }
        }
    }
    Ok(())
}

/// A frame that is to be cut into segments, and its header.
fn segments(to: Address, from: Address, length: usize) -> (NetHeader, Vec<u8>) {
    let header = NetHeader {
        gso_type: GSO_TCPV4,
        hdr_len: headers(TCP) as u16,
        gso_size: SEGMENT as u16,
        ..checksum(TCP)
    };
    (header, partial(&packet(to, from, TCP, &payload(length))))
}

/// Would catch a frame with segments that the device cuts short or whose header it changes or drops
/// (5.1.6.2).
fn sent_segments(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let (live, tap) = start(device, vm, net::F_CSUM | net::F_HOST_TSO4)?;
    for (length, pieces) in [(8001, vec![]), (20_000, vec![54, 1000]), (64_000, vec![100; 30])] {
        let (header, out) = segments(PEER, MAC, length);
        live.send_with(&header.bytes(live.order()), &out, &pieces)?;
        let (got, data) = tap.receive(vm, "of segments")?;
        let got = NetHeader::of(&got, HOST);
        // The kernel says in `hdr_len` what it has in one piece, which is a hint.
        assert_eq!(NetHeader { hdr_len: header.hdr_len, ..got }, header, "{length} bytes");
        assert!(got.hdr_len >= header.hdr_len, "hdr_len {} of {length} bytes", got.hdr_len);
        assert_frame(&data, &out, "segments");
    }
    Ok(())
}

/// Receives the segments that came of `whole` one by one. Each has its checksum, unless the driver
/// takes frames without and the header says so.
fn one_by_one(live: &Live, whole: &[u8], without_sums: bool) -> Result<()> {
    let sent = &whole[headers(TCP)..];
    for (number, expected) in sent.chunks(SEGMENT).enumerate() {
        let (header, data) = live.receive_with_header(&format!("segment {number}"))?;
        let header = NetHeader::of(&header, live.order());
        assert_eq!(header.gso_type, GSO_NONE, "segment {number}: {header:?}");
        let is_without = without_sums && header.flags == F_NEEDS_CSUM;
        let expected_header = if is_without { checksum(TCP) } else { NetHeader::default() };
        assert_eq!(header, expected_header, "segment {number}: its header");
        let sums = (true, !is_without);
        assert_eq!(sums_are_right(&data), sums, "segment {number}: its checksums");
        assert_frame(&data[headers(TCP)..], expected, &format!("segment {number}"));
    }
    assert!(live.nothing_arrived()?, "one segment too many");
    Ok(())
}

/// Would catch a frame with segments that a driver gets which takes none, or that one which takes
/// them does not get whole, in one buffer or in many, with the header that says how to cut it.
fn received_segments(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    for length in [8001, 20_000, 60_000] {
        let (header, sent) = segments(MAC, PEER, length);
        let takes = net::F_GUEST_CSUM | net::F_GUEST_TSO4;
        for features in [takes, takes | net::F_MRG_RXBUF] {
            let (live, tap) = start(device, vm, features)?;
            let room = if features & net::F_MRG_RXBUF != 0 { (1500, 50) } else { (ROOM, 1) };
            live.offer(room.0, room.1)?;
            tap.send(header.bytes(HOST), &sent)?;
            let (got, data) = live.receive_with_header("segments")?;
            let got = NetHeader::of(&got, live.order());
            assert_eq!(NetHeader { hdr_len: header.hdr_len, ..got }, header, "{length} bytes");
            assert!(got.hdr_len >= header.hdr_len, "hdr_len {} of {length} bytes", got.hdr_len);
            assert_frame(&data, &sent, "segments");
        }
        let (live, tap) = start(device, vm, 0)?;
        live.offer(2000, length.div_ceil(SEGMENT))?;
        tap.send(header.bytes(HOST), &sent)?;
        one_by_one(&live, &sent, false)?;
    }
    Ok(())
}

/// Has the device switch these offloads on, and all others off; returns its answer.
fn set_offloads(live: &Live, offloads: u64) -> Result<u8> {
    let bytes = match live.order() {
        Endian::Little => offloads.to_le_bytes(),
        Endian::Big => offloads.to_be_bytes(),
    };
    live.command(CTRL_GUEST_OFFLOADS, 0, &bytes)
}

/// Would catch offloads that a command does not switch on or off (5.1.6.5.6.1), one that can be
/// switched on although it was not negotiated, and a command that is taken although it is not whole or
/// unknown.
fn control(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let all = net::F_GUEST_CSUM | net::F_GUEST_TSO4 | net::F_GUEST_TSO6 | net::F_GUEST_ECN;
    device.0.needs(net::F_CTRL_GUEST_OFFLOADS, "changes of offloads")?;
    let control = net::F_CTRL_VQ | net::F_CTRL_GUEST_OFFLOADS;
    let (live, tap) = start(device, vm, control | all)?;
    let (header, sent) = segments(MAC, PEER, 8001);
    let takes_segments = |is_so: bool, without_sums: bool, what: &str| -> Result<()> {
        if is_so {
            let (got, data) = deliver(&live, tap, header, &sent, what)?;
            assert_eq!(got.gso_type, GSO_TCPV4, "{what}");
            assert_frame(&data, &sent, what);
            return Ok(());
        }
        live.offer(2000, 9)?;
        tap.send(header.bytes(HOST), &sent)?;
        one_by_one(&live, &sent, without_sums).map_err(|e| e.context(what.to_owned()))
    };
    let checksum_left = |is_so: bool, what: &str| -> Result<()> {
        let whole = packet(MAC, PEER, UDP, &payload(333));
        let (got, data) = deliver(&live, tap, checksum(UDP), &partial(&whole), what)?;
        assert_eq!(got.flags, if is_so { F_NEEDS_CSUM } else { 0 }, "{what}: flags");
        assert_frame(&data, &if is_so { partial(&whole) } else { whole }, what);
        Ok(())
    };
    takes_segments(true, true, "all that were negotiated are on")?;
    for (offloads, checksums, segments) in [
        (0, false, false),
        (net::F_GUEST_CSUM, true, false),
        (all, true, true),
        (net::F_GUEST_CSUM | net::F_GUEST_TSO4, true, true),
    ] {
        assert_eq!(set_offloads(&live, offloads)?, CTRL_OK, "offloads {offloads:#x}");
        let what = format!("offloads {offloads:#x}");
        checksum_left(checksums, &what)?;
        takes_segments(segments, checksums, &what)?;
    }
    let one = net::F_GUEST_CSUM | net::F_GUEST_TSO4;
    for refused in [net::F_GUEST_UFO, net::F_CSUM, net::F_HOST_TSO4, 1 << 63] {
        assert_eq!(set_offloads(&live, one | refused)?, CTRL_ERR, "not negotiated: {refused:#x}");
        takes_segments(true, true, "a refused command changes nothing")?;
    }
    for (command, data, what) in [(0, &[0; 4][..], "a command cut short"), (1, &[0; 8], "unknown")]
    {
        assert_eq!(live.command(CTRL_GUEST_OFFLOADS, command, data)?, CTRL_ERR, "{what}");
        takes_segments(true, true, what)?;
    }
    Ok(())
}
