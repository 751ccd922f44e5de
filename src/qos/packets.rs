//! Packets of IPv4 with TCP or UDP in an Ethernet frame, for what NICs do to them: checksums,
//! segmentation, tags (RFC 791, RFC 793, RFC 768, IEEE 802.1Q).

use super::net::Address;

/// Where the IPv4 header begins in a frame.
pub const IP: usize = 14;
/// Where the header behind it begins: there are no options.
pub const TRANSPORT: usize = IP + 20;
/// Where the checksum is in the IPv4 header, in TCP's and in UDP's.
pub const IP_SUM: usize = 10;
/// As [`IP_SUM`].
pub const TCP_SUM: usize = 16;
/// As [`IP_SUM`].
pub const UDP_SUM: usize = 6;
/// The protocol numbers of IPv4.
pub const TCP: u8 = 6;
/// As [`TCP`].
pub const UDP: u8 = 17;
/// TCP: the flags PSH and FIN, which only the last segment has.
pub const PSH_FIN: u8 = 0x09;

/// The length of the headers up to the payload.
pub const fn headers(protocol: u8) -> usize {
    TRANSPORT + if protocol == TCP { 20 } else { 8 }
}

/// The sum of 16-bit words, the highest byte first, with the carry at the end (RFC 1071).
fn sum(bytes: &[u8], start: u32) -> u32 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
    let mut sum = words.fold(start, |sum, word| sum + word);
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}

/// The sum of TCP's or UDP's pseudo header of `frame`, as if `length` bytes were behind it.
pub fn pseudo_sum(frame: &[u8], length: usize) -> u16 {
    let start = u32::from(frame[IP + 9]) + length as u32;
    sum(&frame[IP + 12..IP + 20], start) as u16
}

/// A frame with a packet of `protocol` that carries `payload`, all its checksums right.
pub fn packet(to: Address, from: Address, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&to[..], &from, &[8, 0]].concat();
    let total = (headers(protocol) - IP + payload.len()) as u16;
    let [high, low] = total.to_be_bytes();
    frame.extend([0x45, 0, high, low, 0x12, 0x34, 0x40, 0, 64, protocol, 0, 0]);
    frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    let [high, low] = (total - 20).to_be_bytes();
    match protocol {
        TCP => {
            let flags = 0x10 | PSH_FIN;
            frame.extend([0x11, 0x22, 0x33, 0x44, 0, 0, 0x10, 0, 0, 0, 0x20, 0]);
            frame.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
        }
        _ => frame.extend([0x11, 0x22, 0x33, 0x44, high, low, 0, 0]),
    }
    frame.extend(payload);
    seal(&mut frame);
    frame
}

/// Where the transport's checksum is in a frame.
fn transport_sum(frame: &[u8]) -> usize {
    TRANSPORT + if frame[IP + 9] == TCP { TCP_SUM } else { UDP_SUM }
}

/// Writes both checksums of a frame.
pub fn seal(frame: &mut [u8]) {
    let at = transport_sum(frame);
    frame[IP + IP_SUM..IP + IP_SUM + 2].fill(0);
    frame[at..at + 2].fill(0);
    let ip = !sum(&frame[IP..TRANSPORT], 0) as u16;
    let pseudo = pseudo_sum(frame, frame.len() - TRANSPORT);
    let transport = !sum(&frame[TRANSPORT..], pseudo.into()) as u16;
    frame[IP + IP_SUM..IP + IP_SUM + 2].copy_from_slice(&ip.to_be_bytes());
    frame[at..at + 2].copy_from_slice(&transport.to_be_bytes());
}

/// Whether the checksums of a frame are right: that of the IPv4 header, and that behind it.
pub fn sums_are_right(frame: &[u8]) -> (bool, bool) {
    let pseudo = pseudo_sum(frame, frame.len() - TRANSPORT);
    let ip = sum(&frame[IP..TRANSPORT], 0) == 0xffff;
    (ip, sum(&frame[TRANSPORT..], pseudo.into()) == 0xffff)
}

/// `packet` as a driver gives it to a NIC that inserts checksums: without that of the IPv4
/// header, and with the pseudo header's sum of `length` bytes in place of the other.
pub fn unsummed(packet: &[u8], length: usize) -> Vec<u8> {
    let mut frame = packet.to_vec();
    frame[IP + IP_SUM..IP + IP_SUM + 2].fill(0);
    let at = transport_sum(&frame);
    let seed = pseudo_sum(&frame, length);
    frame[at..at + 2].copy_from_slice(&seed.to_be_bytes());
    frame
}

/// `frame` with a tag of IEEE 802.1Q behind the addresses.
pub fn tagged(frame: &[u8], tag: u16) -> Vec<u8> {
    let [high, low] = tag.to_be_bytes();
    [&frame[..12], &[0x81, 0, high, low], &frame[12..]].concat()
}

/// A payload of which no two bytes in a row are alike.
pub fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 13 + at / 251 + 1) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qos::net::{MAC, PEER};

    /// Would catch a checksum of other bytes or another order: that of the IPv4 header of RFC
    /// 1071's successors is well known.
    #[test]
    fn a_sum_that_is_known() {
        let header = [
            0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0,
            0xc7,
        ];
        assert_eq!(!sum(&header, 0) as u16, 0xb861);
    }

    /// Would catch packets whose own checksums do not hold, or a wrong byte that is not noticed.
    #[test]
    fn packets_hold_their_own_sums() {
        for protocol in [TCP, UDP] {
            let frame = packet(PEER, MAC, protocol, &payload(101));
            assert_eq!(sums_are_right(&frame), (true, true), "{protocol}");
            let mut wrong = frame.clone();
            wrong[IP + 8] ^= 1;
            assert!(!sums_are_right(&wrong).0);
            let mut wrong = frame.clone();
            wrong[120] ^= 1;
            assert!(!sums_are_right(&wrong).1);
            let (ip, transport) = sums_are_right(&unsummed(&frame, frame.len() - TRANSPORT));
            assert!(!ip && !transport);
        }
    }
}
