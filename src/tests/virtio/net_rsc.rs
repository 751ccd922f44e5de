//! The virtio network device that merges segments of TCP on their way to the driver (virtio 1.2,
//! 5.1.6.4), with a TAP device at the far end.

use std::rc::Rc;

use crate::graph::QemuArgs;
use crate::qemu::Vm;
use crate::qos::net::{MAC, PEER, assert_frame};
use crate::qos::packets::{
    IP, IP_SUM, TCP, TCP_SUM, TRANSPORT, UDP, headers, packet, payload, seal,
};
use crate::qos::settle;
use crate::qos::tap::{self, Tap};
use crate::qos::virtio::net::{self, Live, VirtioNet};
use crate::qos::virtio::net_header::{F_RSC_INFO, GSO_NONE, GSO_TCPV4, LENGTH, NetHeader};
use crate::{Result, tests};

const ARGS: QemuArgs = QemuArgs::NONE
    .before(
        "-netdev tap,id=far,fd={tap} -set device.nic0.netdev=far -set device.nic0.guest_rsc_ext=on",
    )
    .sockets(&[tap::SOCKET]);

tests!(VirtioNet, "virtio-net-offload-tests":
    merged_segments = "merged-segments",
    not_merged = "merged-segments/not";
    with ARGS);

/// TCP: the flag ACK alone, of a segment in the middle of a stream.
const ACK: u8 = 0x10;
/// TCP: ACK and PSH.
const PSH_ACK: u8 = 0x18;
/// Where the sequence number and the flags are in TCP's header.
const SEQUENCE: usize = TRANSPORT + 4;
const FLAGS: usize = TRANSPORT + 13;
/// The sequence number of the first byte.
const FIRST: u32 = 0xffff_fe00;

/// Starts the device so that it merges segments.
fn start<'a>(device: &VirtioNet, vm: &'a Rc<Vm>) -> Result<(Live, &'a Tap)> {
    device.0.needs(net::F_RSC_EXT, "reports of merged segments, by a legacy interface")?;
    let wanted =
        net::F_CTRL_VQ | net::F_GUEST_CSUM | net::F_GUEST_TSO4 | net::F_RSC_EXT | net::F_MRG_RXBUF;
    let live = device.start(device.0.required() | wanted)?;
    assert_eq!(live.accepted & wanted, wanted, "features");
    let tap = Tap::of(vm)?;
    tap.drain()?;
    live.offer(2000, 40)?;
    Ok((live, tap))
}

/// A segment with the bytes of `data` from `from` to `to`.
fn segment(data: &[u8], (from, to): (usize, usize), flags: u8) -> Vec<u8> {
    let mut frame = packet(MAC, PEER, TCP, &data[from..to]);
    let sequence = FIRST.wrapping_add(from as u32);
    frame[SEQUENCE..SEQUENCE + 4].copy_from_slice(&sequence.to_be_bytes());
    frame[FLAGS] = flags;
    seal(&mut frame);
    frame
}

/// Sends frames in a row while the virtual clock stands still: the device waits for more of them.
fn send(tap: &Tap, vm: &Vm, frames: &[Vec<u8>]) -> Result<()> {
    frames.iter().try_for_each(|frame| tap.send([0; LENGTH], frame))?;
    settle(vm)
}

/// Receives one frame that was merged of `count` segments, whose payload is `data`.
fn receive_merged(live: &Live, data: &[u8], count: u16, flags: u8) -> Result<()> {
    let what = format!("{count} segments as one");
    let (header, got) = live.receive_with_header(&what)?;
    let header = NetHeader::of(&header, live.order());
    assert_eq!(header.flags, F_RSC_INFO, "{what}: flags");
    assert_eq!(header.gso_type, GSO_TCPV4, "{what}: gso_type");
    assert_eq!(header.csum_start, count, "{what}: how many it says it has merged");
    assert_eq!(header.csum_offset, 0, "{what}: acknowledgements that are alike");
    assert_frame(&got[headers(TCP).min(got.len())..], data, &what);
    let mut expected = segment(data, (0, data.len()), flags);
    // Nothing says that the checksums of what was merged are made anew.
    for at in [IP + IP_SUM, TRANSPORT + TCP_SUM] {
        expected[at..at + 2].copy_from_slice(&got[at..at + 2]);
    }
    assert_frame(&got, &expected, &what);
    assert!(live.nothing_arrived()?, "{what}, and another");
    Ok(())
}

/// Would catch segments in a row that do not come as one frame, a frame that says it is of another
/// number of them, and bytes that are lost or change places on the way.
fn merged_segments(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let (live, tap) = start(device, vm)?;
    let data = payload(1400);
    for cuts in [&[0, 700, 1400][..], &[0, 1, 2, 300, 301, 1400], &[0, 100, 1399, 1400]] {
        let pairs = || cuts.windows(2).map(|pair| (pair[0], pair[1]));
        let flags = |(_, to)| if to == data.len() { PSH_ACK } else { ACK };
        // The TAP device takes frames that are shorter than those of Ethernet.
        let frames: Vec<_> = pairs().map(|pair| segment(&data, pair, flags(pair))).collect();
        send(tap, vm, &frames)?;
        receive_merged(&live, &data, frames.len() as u16, PSH_ACK)?;
    }
    Ok(())
}

/// Would catch frames that are merged although they are of two streams, out of order, not of TCP, or
/// the last of a stream; that are lost; or that come late although no other is awaited.
fn not_merged(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let (live, tap) = start(device, vm)?;
    let data = payload(600);
    let of_another = |mut frame: Vec<u8>| {
        frame[IP + 15] ^= 1;
        seal(&mut frame);
        frame
    };
    let middle = segment(&data, (200, 400), ACK);
    for (what, frames) in [
        ("alone", vec![segment(&data, (0, 200), ACK)]),
        ("two streams", vec![segment(&data, (0, 200), ACK), of_another(middle.clone())]),
        ("a gap", vec![segment(&data, (0, 199), ACK), middle.clone()]),
        ("one too early", vec![segment(&data, (400, 600), ACK), middle]),
        ("a last one", vec![segment(&data, (0, 200), ACK), segment(&data, (200, 600), ACK | 1)]),
        ("UDP", vec![packet(MAC, PEER, UDP, &data[..300]), packet(MAC, PEER, UDP, &data[300..])]),
    ] {
        send(tap, vm, &frames)?;
        for (number, frame) in frames.iter().enumerate() {
            let (header, got) = live.receive_with_header(what)?;
            let header = NetHeader::of(&header, live.order());
            assert_eq!((header.flags, header.gso_type), (0, GSO_NONE), "{what}, {number}");
            assert_frame(&got, frame, &format!("{what}, {number}"));
        }
        assert!(live.nothing_arrived()?, "{what}: one frame too many");
    }
    Ok(())
}
