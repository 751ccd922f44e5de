//! What is published of the hash of receive side scaling (82574 datasheet, 7.1.11.1; 82576 datasheet,
//! 7.1.2.8; Microsoft, "Verifying the RSS hash calculation"): a key, and the hashes of packets with it.

use std::net::Ipv6Addr;

use crate::qos::net::{MAC, PEER};
use crate::qos::packets::{self, IP, TRANSPORT};

/// The key.
pub const KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// The key as registers of 32 bits take it.
pub fn key_words() -> impl Iterator<Item = u32> {
    KEY.chunks(4).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// Addresses and ports, and their hashes.
pub struct Vector<A = [u8; 4]> {
    from: (A, u16),
    to: (A, u16),
    /// The hash of the addresses.
    pub of_ip: u32,
    /// The hash of addresses and ports.
    pub of_tcp: u32,
}

/// Those of IPv4 that are published.
pub const VECTORS: [Vector; 3] = [
    Vector {
        from: ([66, 9, 149, 187], 2794),
        to: ([161, 142, 100, 80], 1766),
        of_ip: 0x323e_8fc2,
        of_tcp: 0x51cc_c178,
    },
    Vector {
        from: ([199, 92, 111, 2], 14230),
        to: ([65, 69, 140, 83], 4739),
        of_ip: 0xd718_262a,
        of_tcp: 0xc626_b0ea,
    },
    Vector {
        from: ([24, 19, 198, 95], 12898),
        to: ([12, 22, 207, 184], 38024),
        of_ip: 0xd2d0_a5de,
        of_tcp: 0x5c2b_394a,
    },
];

impl Vector {
    /// A packet of `protocol` with these addresses and ports.
    pub fn packet(&self, protocol: u8) -> Vec<u8> {
        let mut packet = packets::packet(MAC, PEER, protocol, &packets::payload(50));
        packet[IP + 12..IP + 16].copy_from_slice(&self.from.0);
        packet[IP + 16..IP + 20].copy_from_slice(&self.to.0);
        packet[TRANSPORT..TRANSPORT + 2].copy_from_slice(&self.from.1.to_be_bytes());
        packet[TRANSPORT + 2..TRANSPORT + 4].copy_from_slice(&self.to.1.to_be_bytes());
        packet
    }
}

/// Those of IPv6 that are published.
pub const VECTORS_OF_IPV6: [Vector<Ipv6Addr>; 3] = [
    Vector {
        from: (Ipv6Addr::new(0x3ffe, 0x2501, 0x200, 0x1fff, 0, 0, 0, 7), 2794),
        to: (Ipv6Addr::new(0x3ffe, 0x2501, 0x200, 3, 0, 0, 0, 1), 1766),
        of_ip: 0x2cc1_8cd5,
        of_tcp: 0x4020_7d3d,
    },
    Vector {
        from: (Ipv6Addr::new(0x3ffe, 0x501, 8, 0, 0x260, 0x97ff, 0xfe40, 0xefab), 14230),
        to: (Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), 4739),
        of_ip: 0x0f0c_461c,
        of_tcp: 0xdde5_1bbf,
    },
    Vector {
        from: (Ipv6Addr::new(0x3ffe, 0x1900, 0x4545, 3, 0x200, 0xf8ff, 0xfe21, 0x67cf), 44251),
        to: (Ipv6Addr::new(0xfe80, 0, 0, 0, 0x200, 0xf8ff, 0xfe21, 0x67cf), 38024),
        of_ip: 0x4b61_e985,
        of_tcp: 0x02d1_feef,
    },
];

impl Vector<Ipv6Addr> {
    /// A packet of `protocol` with these addresses and ports. Nothing looks at its checksum.
    pub fn packet(&self, protocol: u8) -> Vec<u8> {
        // What is behind the header of IPv4 is the same.
        let packet = packets::packet(MAC, PEER, protocol, &packets::payload(50));
        let behind = &packet[TRANSPORT..];
        let [high, low] = (behind.len() as u16).to_be_bytes();
        let mut frame = [&packet[..12], &[0x86, 0xdd, 0x60, 0, 0, 0, high, low]].concat();
        frame.extend([protocol, 64]);
        frame.extend(self.from.0.octets());
        frame.extend(self.to.0.octets());
        frame.extend(self.from.1.to_be_bytes());
        frame.extend(self.to.1.to_be_bytes());
        frame.extend(&behind[4..]);
        frame
    }
}
