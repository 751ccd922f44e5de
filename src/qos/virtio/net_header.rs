//! The header before each frame of a virtio network device (5.1.6), as far as it is about offloads.

use crate::protocol::Endian;

/// Flag: the checksum is for the receiver to insert.
pub const F_NEEDS_CSUM: u8 = 1;
/// Flag: the checksum was found right.
pub const F_DATA_VALID: u8 = 2;
/// Flag: the fields of the checksum hold what was merged.
pub const F_RSC_INFO: u8 = 4;

/// Kind of segments: there are none.
pub const GSO_NONE: u8 = 0;
/// TCP over IPv4.
pub const GSO_TCPV4: u8 = 1;
/// TCP over IPv6.
pub const GSO_TCPV6: u8 = 4;

/// The length of these fields in bytes.
pub const LENGTH: usize = 10;

/// The fields that both ways have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetHeader {
    /// Flags.
    pub flags: u8,
    /// What the segments are.
    pub gso_type: u8,
    /// The length in bytes of all headers in the frame.
    pub hdr_len: u16,
    /// The length in bytes of each segment's payload.
    pub gso_size: u16,
    /// Where that begins of which the checksum is; with [`F_RSC_INFO`] how many segments were merged.
    pub csum_start: u16,
    /// Where the checksum is, from there; with [`F_RSC_INFO`] how many acknowledgements were alike.
    pub csum_offset: u16,
}

impl NetHeader {
    /// The header as it is in memory.
    pub fn bytes(&self, order: Endian) -> [u8; LENGTH] {
        let mut bytes = [self.flags, self.gso_type, 0, 0, 0, 0, 0, 0, 0, 0];
        let numbers = [self.hdr_len, self.gso_size, self.csum_start, self.csum_offset];
        for (place, number) in bytes[2..].chunks_exact_mut(2).zip(numbers) {
            place.copy_from_slice(&match order {
                Endian::Little => number.to_le_bytes(),
                Endian::Big => number.to_be_bytes(),
            });
        }
        bytes
    }

    /// The header at the start of `bytes`, which are at least [`LENGTH`].
    pub fn of(bytes: &[u8], order: Endian) -> Self {
        let number = |at: usize| {
            let pair = [bytes[at], bytes[at + 1]];
            match order {
                Endian::Little => u16::from_le_bytes(pair),
                Endian::Big => u16::from_be_bytes(pair),
            }
        };
        Self {
            flags: bytes[0],
            gso_type: bytes[1],
            hdr_len: number(2),
            gso_size: number(4),
            csum_start: number(6),
            csum_offset: number(8),
        }
    }
}
