//! Checksums and segmentation (3.3.5 to 3.5), and the 82574's checks of what is received (7.1.11).

use std::rc::Rc;

use super::advanced;
use super::bench::Bench;
use crate::drivers::net::e1000::nic::GigabitNic;
use crate::qemu::{Version, Vm};
use crate::qos::net::{MAC, PEER, SHORTEST, assert_frame};
use crate::qos::packets::{self, IP, IP_SUM, PSH_FIN, TCP, TCP_SUM, TRANSPORT, UDP, UDP_SUM};
use crate::qos::registers::Register;
use crate::{Error, Result, tests};

tests!(GigabitNic, "gigabit-tests":
    checksums = "checksums-sent",
    padded = "padded-sent",
    padded_sums = "padded-checksums-sent",
    segmentation,
    checked = "checksums-received",
);

/// Descriptor commands (3.3.7.1): end of packet, FCS, segmentation, status, extended.
const EOP: u64 = 1 << 24;
const IFCS: u64 = 1 << 25;
const TSE: u64 = 1 << 26;
const RS: u64 = 1 << 27;
const DEXT: u64 = 1 << 29;
/// Segmentation in an advanced descriptor (82576 datasheet, 7.2.2.3.5).
const ADVANCED_TSE: u64 = 1 << 31;
/// A data descriptor, other than one of a context.
const DATA: u64 = 1 << 20;
/// Options of a packet: insert the IP checksum, insert TCP's or UDP's.
const IXSM: u64 = 1 << 40;
const TXSM: u64 = 1 << 41;
/// Commands of a context (3.3.6.1): the packet is TCP, and IPv4.
const CONTEXT_TCP: u64 = 1 << 24;
const CONTEXT_IP: u64 = 1 << 25;

/// Where the checksums of a context begin, go to and end.
fn context_offsets(protocol: u8) -> u64 {
    let sum = TRANSPORT + if protocol == TCP { TCP_SUM } else { UDP_SUM };
    let ip = (IP | (IP + IP_SUM) << 8 | (TRANSPORT - 1) << 16) as u64;
    ip | (TRANSPORT as u64) << 32 | (sum as u64) << 40
}

/// Has what follows be packets of `protocol`.
fn context(bench: &Bench, protocol: u8) -> Result<usize> {
    match bench.nic.is_82576() {
        true => bench.transmit.put_raw(advanced::places(0), advanced::kind(Some(protocol), 0)),
        false => bench.transmit.put_raw(context_offsets(protocol), context_kind(protocol)),
    }
}

fn context_kind(protocol: u8) -> u64 {
    DEXT | CONTEXT_IP | if protocol == TCP { CONTEXT_TCP } else { 0 }
}

/// Would catch a checksum that is inserted at another place or over other bytes, one that nobody
/// asked for, and a context that is another's.
fn checksums(nic: &GigabitNic, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(nic, vm, 2048)?;
    for protocol in [TCP, UDP] {
        context(&bench, protocol)?;
        for length in [0, 1, 18, 100, 999, 1200] {
            let whole = packets::packet(PEER, MAC, protocol, &packets::payload(length));
            let given = packets::unsummed(&whole, whole.len() - TRANSPORT);
            for (options, ip, transport) in [
                (IXSM | TXSM, true, true),
                (IXSM, true, false),
                (TXSM, false, true),
                (0, false, false),
            ] {
                let what = format!("protocol {protocol}, {length} bytes, options {options:#x}");
                let at = bench.queue(&given, EOP | IFCS | RS | DEXT | DATA | options)?;
                bench.tell(at)?;
                let got = bench.wire.receive(&what)?;
                let mut expected = given.clone();
                if ip {
                    let at = IP + IP_SUM;
                    expected[at..at + 2].copy_from_slice(&whole[at..at + 2]);
                }
                if transport {
                    let at = TRANSPORT + if protocol == TCP { TCP_SUM } else { UDP_SUM };
                    expected[at..at + 2].copy_from_slice(&whole[at..at + 2]);
                }
                let same = got[..expected.len().min(got.len())] == expected[..];
                assert!(same, "{what}: {}", hex::encode(&got[..got.len().min(60)]));
            }
        }
    }
    // The IP checksum ends where the context says, and a packet in two buffers is one.
    let whole = packets::packet(PEER, MAC, TCP, &packets::payload(300));
    let given = packets::unsummed(&whole, whole.len() - TRANSPORT);
    context(&bench, TCP)?;
    let total = given.len();
    bench.queue_part(&given[..77], IFCS | DEXT | DATA | IXSM | TXSM, total)?;
    let at = bench.queue_part(&given[77..], EOP | IFCS | RS | DEXT | DATA, total)?;
    bench.tell(at)?;
    let got = bench.wire.receive("two buffers")?;
    bench.wire.assert_silent("at the end")?;
    if nic.is_82574() && got == given {
        return Err(Error::skipped(
            "e1000e: QEMU takes the options of a packet from its last descriptor, not its first",
        ));
    }
    assert!(got == whole, "a packet in two buffers: {}", hex::encode(&got[..60]));
    Ok(())
}

/// Has the device insert the checksums that `options` say into packets that their driver has padded
/// with zeros to the shortest frame of Ethernet, and asserts that nothing else is changed.
fn assert_padded(nic: &GigabitNic, vm: &Rc<Vm>, options: u64) -> Result<()> {
    let bench = Bench::new(nic, vm, 2048)?;
    for protocol in [TCP, UDP] {
        context(&bench, protocol)?;
        for length in (0..).take_while(|length| packets::headers(protocol) + length < SHORTEST) {
            let mut whole = packets::packet(PEER, MAC, protocol, &packets::payload(length));
            let mut given = packets::unsummed(&whole, whole.len() - TRANSPORT);
            whole.resize(SHORTEST, 0);
            given.resize(SHORTEST, 0);
            let at = bench.queue(&given, EOP | IFCS | RS | DEXT | DATA | options)?;
            bench.tell(at)?;
            let kept = if options & IXSM != 0 { TRANSPORT..SHORTEST } else { IP..TRANSPORT };
            whole[kept.clone()].copy_from_slice(&given[kept]);
            let what = format!("protocol {protocol}, {length} bytes, padded");
            assert_frame(&bench.wire.receive(&what)?, &whole, &what);
        }
    }
    Ok(())
}

/// Would catch a length of an IP packet that is taken from that of the frame around it, where only
/// the checksum is to be inserted (3.3.7.1, IXSM).
fn padded(nic: &GigabitNic, vm: &Rc<Vm>) -> Result<()> {
    assert_padded(nic, vm, IXSM)
}

/// Would catch a checksum of TCP or UDP that counts the padding behind a packet as a part of it: the
/// pseudo header's sum is the driver's (3.3.7.1, TXSM).
fn padded_sums(nic: &GigabitNic, vm: &Rc<Vm>) -> Result<()> {
    assert_padded(nic, vm, TXSM)
}

/// Would catch segments of other lengths, with other numbers, flags, checksums or data than those
/// of the packet that was given (3.5).
fn segmentation(nic: &GigabitNic, vm: &Rc<Vm>) -> Result<()> {
    if nic.is_82574() && vm.emulator().capabilities.version < Version::new(8, 1, 0) {
        return Err(Error::skipped("e1000e: QEMU before 8.1 sends fragments of IP instead"));
    }
    let mut flags_are_lost = false;
    let bench = Bench::new(nic, vm, 2048)?;
    for (length, size, pieces) in
        [(2999, 1000, 3), (2500, 536, 5), (700, 1460, 1), (2921, 1460, 3), (3000, 1000, 3)]
    {
        let what = format!("{length} bytes in segments of {size}");
        let payload = packets::payload(length);
        let whole = packets::packet(PEER, MAC, TCP, &payload);
        // Length fields are zero, and so is the length in the pseudo header (3.5.2).
        let mut given = packets::unsummed(&whole, 0);
        given[IP + 2..IP + 4].fill(0);
        let headers = packets::headers(TCP);
        let kind = context_kind(TCP) | TSE | length as u64;
        let sizes = (headers as u64) << 40 | (size as u64) << 48;
        let command = match nic.is_82576() {
            false => {
                bench.transmit.put_raw(context_offsets(TCP), kind | sizes)?;
                TSE | DEXT | DATA
            }
            true => {
                bench.transmit.put_raw(advanced::places(0), advanced::kind(Some(TCP), size))?;
                ADVANCED_TSE
            }
        };
        bench.queue_part(&given[..headers], command | IFCS | IXSM | TXSM, length)?;
        let at = bench.queue_part(&given[headers..], EOP | IFCS | RS | command, length)?;
        bench.tell(at)?;
        let mut at = 0;
        for number in 0..pieces {
            let what = format!("{what}, number {number}");
            let got = bench.wire.receive(&what)?;
            let part = &payload[at..(at + size).min(length)];
            assert!(got.len() >= headers + part.len(), "{what}: {} bytes", got.len());
            let got = &got[..headers + part.len()];
            assert!(got[headers..] == *part, "{what}: the data");
            assert_eq!(got[..12], whole[..12], "{what}: the addresses");
            let field = |at: usize| u16::from_be_bytes([got[at], got[at + 1]]);
            assert_eq!(usize::from(field(IP + 2)), got.len() - IP, "{what}: the IP length");
            assert_eq!(field(IP + 4), 0x1234 + number as u16, "{what}: the IP identification");
            let sequence =
                [got[TRANSPORT + 4], got[TRANSPORT + 5], got[TRANSPORT + 6], got[TRANSPORT + 7]];
            let sequence = u32::from_be_bytes(sequence);
            assert_eq!(sequence, 0x1000 + at as u32, "{what}: the sequence number");
            let flags = if number + 1 == pieces { 0x10 | PSH_FIN } else { 0x10 };
            let last = got[TRANSPORT + 13];
            if !nic.is_8254x() && number + 1 == pieces && last == 0x10 {
                flags_are_lost = true;
                at += size;
                continue;
            }
            assert_eq!(last, flags, "{what}: the flags, {}", hex::encode(&got[..54]));
            assert_eq!(packets::sums_are_right(got), (true, true), "{what}: the checksums");
            at += size;
        }
    }
    // The last packet ends with a full segment.
    if flags_are_lost {
        return Err(Error::skipped("e1000e and igb: the last segment loses PSH and FIN as well"));
    }
    match bench.wire.waiting("after the last segment")?.first() {
        None => Ok(()),
        Some(frame) => {
            let length = frame.len();
            assert!(length <= 60, "{length} bytes after the last segment");
            Err(Error::skipped(
                "e1000, e1000e and igb: QEMU sends an empty segment after a packet of full ones",
            ))
        }
    }
}

/// Receive Checksum Control: IP and TCP/UDP are checked.
const RXCSUM: Register<u32> = Register::new("RXCSUM", 0x5000);
/// Status: checksums were not looked at; UDP's, TCP's, IP's was.
const NOT_CHECKED: u8 = 1 << 2;
const CHECKED_UDP: u8 = 1 << 4;
const CHECKED_TCP: u8 = 1 << 5;
const CHECKED_IP: u8 = 1 << 6;
/// Errors: TCP's or UDP's checksum, IP's checksum.
const WRONG_TRANSPORT: u8 = 1 << 5;
const WRONG_IP: u8 = 1 << 6;

/// Would catch a packet that is reported as checked although it was not, or was not although it
/// should be, and one that is reported as right or wrong and is not.
fn checked(nic: &GigabitNic, vm: &Rc<Vm>) -> Result<()> {
    if nic.is_8254x() {
        return Err(Error::skipped("e1000: QEMU checks nothing of what is received, and says so"));
    }
    let bench = Bench::new(nic, vm, 2048)?;
    let bits = NOT_CHECKED | CHECKED_UDP | CHECKED_TCP | CHECKED_IP;
    for control in [0x300, 0x100, 0x200, 0] {
        bench.set(RXCSUM, control)?;
        let (ip, transport) = (control & 0x100 != 0, control & 0x200 != 0);
        for protocol in [TCP, UDP] {
            let right = packets::packet(MAC, PEER, protocol, &packets::payload(100));
            let (mut wrong_ip, mut wrong_transport) = (right.clone(), right.clone());
            wrong_ip[IP + 8] ^= 1;
            wrong_transport[100] ^= 1;
            for (frame, errors, name) in [
                (&right, 0, "right"),
                (&wrong_ip, WRONG_IP, "wrong IP"),
                (&wrong_transport, WRONG_TRANSPORT, "wrong transport"),
            ] {
                let what = format!("{name}, protocol {protocol}, RXCSUM {control:#x}");
                let got = bench.through(frame, &what)?.remove(0);
                assert!(got.data == *frame, "{what}: the data");
                let looked = if ip { CHECKED_IP } else { 0 }
                    | match (transport, protocol) {
                        (false, _) => 0,
                        (true, TCP) => CHECKED_TCP,
                        (true, _) => CHECKED_TCP | CHECKED_UDP,
                    };
                assert_eq!(got.status & bits & !NOT_CHECKED, looked, "{what}: {:#x}", got.status);
                let mask =
                    if ip { WRONG_IP } else { 0 } | if transport { WRONG_TRANSPORT } else { 0 };
                assert_eq!(got.errors, errors & mask, "{what}: the errors");
            }
        }
    }
    Ok(())
}
