//! A kind of virtio device: its type, the features it has as QEMU makes it, what it needs on
//! the command line, and the interface of its tests. A kind knows no transport.

use super::{Segment, Virtio, features};
use crate::graph::Variant;
use crate::qemu::{Image, Socket};
use crate::{Error, Result};

/// A kind of device, from which each transport makes a driver.
pub trait Kind: 'static {
    /// The device type (chapter 5).
    const DEVICE_TYPE: u32;
    /// The features of the kind.
    const FEATURES: Features;
    /// Those of them without which a device that offers them does not work.
    const NEEDED: u64 = 0;
    /// Options before the device: its back end.
    const BACKEND: &str = "";
    /// Options after the device: what is behind it.
    const BEHIND: &str = "";
    /// Images that the back end names.
    const IMAGES: &[Image] = &[];
    /// Sockets that the back end names.
    const SOCKETS: &[Socket] = &[];
    /// Properties of the device, whatever the transport.
    const PROPERTIES: &str;
    /// Whether QEMU's PCI function can have a legacy interface, and can be made one without.
    const IS_TRANSITIONAL: bool = true;
    /// QEMU's name of the device in a slot in memory, if that is not its node's.
    const IN_SLOT: Option<&str> = None;
    /// Further properties of the variants `modern` and `packed`.
    const MODERN: &str = "";
    /// A variant that only this kind has.
    const OWN: Option<Variant> = None;
    /// Words of QEMU by which it refuses to start where it cannot have the device.
    const REFUSALS: &[&str] = &[];
    /// Whether a PCI function of the kind is for root buses only.
    const ON_ROOT_ONLY: bool = false;
    /// How the tests of the kind see the device.
    type Interface;

    /// The device as its tests see it.
    fn interface(virtio: Virtio) -> Self::Interface;

    /// A request that a device of this kind that is in order carries out; `None` if the kind has
    /// none that is done at once.
    ///
    /// # Errors
    /// No guest memory is left.
    fn plain(_: &Virtio) -> Result<Option<Plain>> {
        Ok(None)
    }
}

/// One good request of a kind of device, by which tests of any kind see whether it works.
pub struct Plain {
    /// The queue that it is for.
    pub queue: u16,
    /// Its parts.
    pub segments: Vec<Segment>,
    /// Whether it was carried out, given how many bytes the device says it has written. It keeps
    /// the memory.
    pub check: Box<dyn Fn(u32) -> Result<()>>,
}

/// Which features of its own a kind of device offers (bits 0 to 23, and 50 up, 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// What every device of the kind offers.
    pub must: u64,
    /// What one offers that its properties give more, through a modern interface.
    pub may: u64,
    /// What one may offer through a legacy interface.
    pub legacy_may: u64,
}

impl Features {
    /// A kind without features of its own.
    pub const NONE: Self = Self { must: 0, may: 0, legacy_may: 0 };
    /// A kind of which nothing is known.
    pub const ANY: Self = Self { must: 0, may: OWN, legacy_may: OWN };
}

/// The bits that are for features of a kind of device (2.2).
const OWN: u64 = ((1 << 24) - 1) | !((1 << 41) - 1);
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

/// Checks what a device with these features of its own offers.
///
/// # Errors
/// Returns [`Error::Failed`] if it offers what none of its kind does, or does not offer what
/// all do.
pub(super) fn check(own: Features, modern: bool, offered: u64) -> Result<()> {
    let (must, may) = match modern {
        true => (ALWAYS | features::VERSION_1, MODERN_MAY | own.may),
        false => (ALWAYS | features::NOTIFY_ON_EMPTY, LEGACY_MAY | own.legacy_may),
    };
    let must = must | own.must;
    let (missing, unknown) = (must & !offered, offered & !(must | may));
    if missing | unknown != 0 {
        return Err(Error::failed(format!(
            "the device offers the features {offered:#x}: {missing:#x} are missing, {unknown:#x} \
             are not to be expected"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::blk;
    use super::*;

    /// Would catch an offer that is taken although a bit too much or too little is in it.
    #[test]
    fn every_bit_of_an_offer_counts() {
        let own = blk::FEATURES;
        for (modern, offered) in [(false, 0x7900_6e54), (true, 0x101_3000_7e54)] {
            check(own, modern, offered).unwrap();
            let may = if modern { own.may | MODERN_MAY } else { own.legacy_may | LEGACY_MAY };
            for bit in (0..64).map(|bit| 1 << bit).filter(|bit| may & bit == 0) {
                check(own, modern, offered ^ bit).unwrap_err();
            }
        }
        check(Features::NONE, true, 0x101_3000_0000).unwrap();
        check(Features::NONE, true, 0x101_3000_0001).unwrap_err();
        check(Features::ANY, true, 0x101_3000_7e54).unwrap();
    }
}
