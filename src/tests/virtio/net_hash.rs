//! The virtio network device that reports hashes of received frames (virtio 1.2, 5.1.6.4.3 and
//! 5.1.6.5.6.4), with a TAP device at the far end.

use std::rc::Rc;

use crate::graph::QemuArgs;
use crate::qemu::Vm;
use crate::qos::net::{MAC, PEER, assert_frame, frame};
use crate::qos::nic::scaling::{KEY, VECTORS, VECTORS_OF_IPV6};
use crate::qos::packets::{TCP, UDP};
use crate::qos::tap::{self, Tap};
use crate::qos::virtio::net::{self, CTRL_ERR, CTRL_MQ, CTRL_OK, Live, VirtioNet};
use crate::qos::virtio::net_header::LENGTH;
use crate::{Result, tests};

const ARGS: QemuArgs = QemuArgs::NONE
    .before("-netdev tap,id=far,fd={tap} -set device.nic0.netdev=far -set device.nic0.hash=on")
    .sockets(&[tap::SOCKET]);

tests!(VirtioNet, "virtio-net-offload-tests":
    hashes,
    hash_types = "hash-types",
    hash_refused = "hash-refused";
    with ARGS);

/// The command that sets what is hashed, of the class [`CTRL_MQ`].
const HASH_CONFIG: u8 = 2;
/// Kinds of hashes: bits of what is wanted; a report is the bit's number and one.
const IPV4: u32 = 1 << 0;
const TCPV4: u32 = 1 << 1;
const UDPV4: u32 = 1 << 2;
const IPV6: u32 = 1 << 3;
const TCPV6: u32 = 1 << 4;
const UDPV6: u32 = 1 << 5;
/// A protocol that has no ports for the device: SCTP.
const OTHER: u8 = 132;

/// Starts the device with reports of hashes.
fn start<'a>(device: &VirtioNet, vm: &'a Rc<Vm>, more: u64) -> Result<(Live, &'a Tap)> {
    device.0.needs(net::F_HASH_REPORT, "reports of hashes, by a legacy interface")?;
    let wanted = net::F_CTRL_VQ | net::F_HASH_REPORT | more;
    let live = device.start(device.0.required() | wanted)?;
    assert_eq!(live.accepted & wanted, wanted, "features");
    Ok((live, Tap::of(vm)?))
}

/// Sets which kinds of hashes are reported, with this key; returns the answer.
fn configure(live: &Live, kinds: u32, key: &[u8]) -> Result<u8> {
    let config = [&live.bytes32(kinds)[..], &[0; 8], &[key.len() as u8], key].concat();
    live.command(CTRL_MQ, HASH_CONFIG, &config)
}

/// Has the device receive `sent`; returns the hash that it reports, and of which kind it is.
fn report(live: &Live, tap: &Tap, sent: &[u8], what: &str) -> Result<(u32, u16)> {
    live.offer(2000, 1)?;
    tap.send([0; LENGTH], sent)?;
    let (header, got) = live.receive_with_header(what)?;
    assert_frame(&got, sent, what);
    // Reports are there in modern interfaces only, whose numbers are little-endian.
    let hash = u32::from_le_bytes([header[12], header[13], header[14], header[15]]);
    Ok((hash, u16::from_le_bytes([header[16], header[17]])))
}

/// The report of the kind `of`.
fn kind(of: u32) -> u16 {
    of.trailing_zeros() as u16 + 1
}

/// Would catch a wrong hash of any of the packets whose hashes are published, and one of another kind
/// than it says.
fn hashes(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    for more in [0, net::F_MRG_RXBUF] {
        let (live, tap) = start(device, vm, more)?;
        let all = IPV4 | TCPV4 | UDPV4 | IPV6 | TCPV6 | UDPV6;
        assert_eq!(configure(&live, all, &KEY)?, CTRL_OK, "all kinds");
        for (number, vector) in VECTORS.iter().enumerate() {
            for (protocol, expected) in [
                (TCP, (vector.of_tcp, kind(TCPV4))),
                (UDP, (vector.of_tcp, kind(UDPV4))),
                (OTHER, (vector.of_ip, kind(IPV4))),
            ] {
                let what = format!("packet {number} of IPv4 and {protocol}");
                assert_eq!(
                    report(&live, tap, &vector.packet(protocol), &what)?,
                    expected,
                    "{what}"
                );
            }
        }
        for (number, vector) in VECTORS_OF_IPV6.iter().enumerate() {
            for (protocol, expected) in [
                (TCP, (vector.of_tcp, kind(TCPV6))),
                (UDP, (vector.of_tcp, kind(UDPV6))),
                (OTHER, (vector.of_ip, kind(IPV6))),
            ] {
                let what = format!("packet {number} of IPv6 and {protocol}");
                assert_eq!(
                    report(&live, tap, &vector.packet(protocol), &what)?,
                    expected,
                    "{what}"
                );
            }
        }
        let neither = frame(MAC, PEER, 100, 1);
        assert_eq!(report(&live, tap, &neither, "neither IPv4 nor IPv6")?, (0, 0), "not IP");
    }
    Ok(())
}

/// Would catch a hash of a kind that is not wanted, also before anything is, and one that is left out
/// where a coarser one is wanted (5.1.6.4.3.1).
fn hash_types(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let (live, tap) = start(device, vm, 0)?;
    let (four, six) = (&VECTORS[1], &VECTORS_OF_IPV6[1]);
    let none = (0, 0);
    assert_eq!(report(&live, tap, &four.packet(TCP), "at first")?, none, "at first");
    for (kinds, of_four, of_six) in [
        (IPV4 | IPV6, (four.of_ip, kind(IPV4)), (six.of_ip, kind(IPV6))),
        (TCPV4 | TCPV6, (four.of_tcp, kind(TCPV4)), (six.of_tcp, kind(TCPV6))),
        (UDPV4 | IPV4, (four.of_ip, kind(IPV4)), none),
        (UDPV4 | UDPV6, none, none),
        (UDPV6 | IPV6, none, (six.of_ip, kind(IPV6))),
        (TCPV4 | IPV4 | IPV6, (four.of_tcp, kind(TCPV4)), (six.of_ip, kind(IPV6))),
        (0, none, none),
    ] {
        let key = if kinds == 0 { &[][..] } else { &KEY };
        assert_eq!(configure(&live, kinds, key)?, CTRL_OK, "kinds {kinds:#x}");
        let what = format!("TCP, kinds {kinds:#x}");
        assert_eq!(report(&live, tap, &four.packet(TCP), &what)?, of_four, "IPv4, {what}");
        assert_eq!(report(&live, tap, &six.packet(TCP), &what)?, of_six, "IPv6, {what}");
    }
    Ok(())
}

/// Would catch a command that is taken although its key is too long or missing, or it is cut short.
fn hash_refused(device: &VirtioNet, vm: &Rc<Vm>) -> Result<()> {
    let (live, tap) = start(device, vm, 0)?;
    assert_eq!(configure(&live, TCPV4, &[0x5a; 41])?, CTRL_ERR, "a key that is too long");
    assert_eq!(configure(&live, TCPV4, &[])?, CTRL_ERR, "no key");
    let whole = [&live.bytes32(TCPV4)[..], &[0; 8], &[KEY.len() as u8], &KEY].concat();
    for length in [0, 4, 12, 13, whole.len() - 1] {
        let answer = live.command(CTRL_MQ, HASH_CONFIG, &whole[..length])?;
        assert_eq!(answer, CTRL_ERR, "{length} bytes of {}", whole.len());
    }
    assert_eq!(live.command(CTRL_MQ, HASH_CONFIG, &whole)?, CTRL_OK, "all of them");
    let expected = (VECTORS[0].of_tcp, kind(TCPV4));
    assert_eq!(report(&live, tap, &VECTORS[0].packet(TCP), "at last")?, expected, "at last");
    Ok(())
}
