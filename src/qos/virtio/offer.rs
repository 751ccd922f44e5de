//! Which features a device must and may offer, as QEMU makes it: those of the transport and
//! its queues, and those of its type.

use super::{blk, features, rng};
use crate::{Error, Result};

/// What QEMU offers through any interface.
const ALWAYS: u64 = features::INDIRECT_DESC | features::EVENT_IDX;
/// What it offers through a legacy one over PCI, but not over MMIO.
const LEGACY_MAY: u64 = features::ANY_LAYOUT | features::UNUSED_30;
/// What it offers through a modern one if its properties say so, or its version is new enough.
const MODERN_MAY: u64 = features::ACCESS_PLATFORM
    | features::RING_PACKED
    | features::IN_ORDER
    | features::NOTIFICATION_DATA
    | features::RING_RESET;

/// What every block device offers (5.2.3).
const BLK: u64 = blk::F_SEG_MAX
    | blk::F_GEOMETRY
    | blk::F_BLK_SIZE
    | blk::F_FLUSH
    | blk::F_TOPOLOGY
    | blk::F_CONFIG_WCE
    | blk::F_DISCARD
    | blk::F_WRITE_ZEROES;
/// What one offers that has several queues, or is read-only.
const BLK_MAY: u64 = blk::F_MQ | blk::F_RO;
/// What one offers through a legacy interface over MMIO.
const BLK_LEGACY_MAY: u64 = BLK_MAY | blk::F_SCSI;

/// Checks what a device of a type offers; of types that are not known here only the features
/// that are not its own are (bits 24 to 40, 2.2).
///
/// # Errors
/// It offers what none of its type does, or does not offer what all do.
pub(super) fn check(device_type: u32, modern: bool, offered: u64) -> Result<()> {
    let (must, may) = match modern {
        true => (ALWAYS | features::VERSION_1, MODERN_MAY),
        false => (ALWAYS | features::NOTIFY_ON_EMPTY, LEGACY_MAY),
    };
    let (own, own_may) = match device_type {
        blk::DEVICE_TYPE => (BLK, if modern { BLK_MAY } else { BLK_LEGACY_MAY }),
        rng::DEVICE_TYPE => (0, 0),
        _ => (0, ((1 << 24) - 1) | !((1 << 41) - 1)),
    };
    let (missing, unknown) = ((must | own) & !offered, offered & !(must | may | own | own_may));
    if missing | unknown != 0 {
        return Err(Error::failed(format!(
            "a device of type {device_type} offers the features {offered:#x}: {missing:#x} are \
             missing, {unknown:#x} are not to be expected"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch an offer that is taken although a bit too much or too little is in it.
    #[test]
    fn every_bit_of_an_offer_counts() {
        for (kind, modern, offered) in [(2, false, 0x7900_6e54), (2, true, 0x101_3000_7e54)] {
            check(kind, modern, offered).unwrap();
            let may = if modern { BLK_MAY | MODERN_MAY } else { BLK_LEGACY_MAY | LEGACY_MAY };
            for bit in (0..64).map(|bit| 1 << bit).filter(|bit| may & bit == 0) {
                check(kind, modern, offered ^ bit).unwrap_err();
            }
        }
        check(rng::DEVICE_TYPE, true, 0x101_3000_0000).unwrap();
        check(rng::DEVICE_TYPE, true, 0x101_3000_0001).unwrap_err();
        check(1, true, 0x101_3000_7e54).unwrap();
    }
}
