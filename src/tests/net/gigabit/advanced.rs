//! Context descriptors of the 82576, which say where the headers of a packet are (82576 datasheet,
//! 7.2.2.2), in halves as [`Ring::put_raw`](crate::drivers::net::e1000::ring::Ring::put_raw) takes
//! them.

use crate::qos::packets::{IP, TCP, TRANSPORT};

/// The first half: lengths of the headers, and the tag to insert.
pub(super) fn places(tag: u16) -> u64 {
    (TRANSPORT - IP) as u64 | (IP as u64) << 9 | u64::from(tag) << 16
}

/// The second half: IPv4 with this protocol on top, and segments of this size; no protocol for a
/// context that has a tag only.
pub(super) fn kind(protocol: Option<u8>, size: usize) -> u64 {
    const CONTEXT: u64 = 2 << 20 | 1 << 29;
    const IPV4: u64 = 1 << 10;
    const IS_TCP: u64 = 1 << 11;
    let Some(protocol) = protocol else {
        return CONTEXT;
    };
    let (bits, header) = if protocol == TCP { (IS_TCP, 20) } else { (0, 8) };
    CONTEXT | IPV4 | bits | header << 40 | (size as u64) << 48
}
