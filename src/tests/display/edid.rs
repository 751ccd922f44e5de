//! The identification that a card's monitor gives (VESA Enhanced EDID Standard, release A,
//! revision 2).

use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos::display::Edid;
use crate::qos::registers::RegistersExt;
use crate::{Result, tests};

tests!(Edid, "edid-tests": blocks, read_only = "read-only");

/// The length of a block in bytes.
const BLOCK: usize = 128;

fn block(edid: &Edid, number: usize) -> Result<Vec<u8>> {
    let start = (number * BLOCK) as u64;
    (start..start + BLOCK as u64).map(|at| edid.0.read8(at)).collect()
}

/// Would catch a header, version, checksum, count of extensions or preferred timing that no guest
/// takes for a monitor's.
fn blocks(edid: &Edid, _: &Rc<Vm>) -> Result<()> {
    let first = block(edid, 0)?;
    assert_eq!(first[..8], [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0], "header (3.3)");
    assert_eq!((first[0x12], first[0x13] >= 3), (1, true), "version and revision (3.5)");
    assert_ne!(first[0x14] & 0x80, 0, "its input is digital (3.6.1)");
    let sum = |block: &[u8]| block.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte));
    assert_eq!(sum(&first), 0, "checksum of the first block (3.11)");
    for number in 1..=usize::from(first[0x7e]) {
        let extension = block(edid, number)?;
        assert_eq!(sum(&extension), 0, "checksum of extension {number}");
        assert_eq!(extension[0], 0x02, "extension {number} is CEA's");
        assert!((4..=127).contains(&extension[2]), "where its timings begin: {}", extension[2]);
    }
    // The first descriptor is the preferred timing (3.10.2).
    let timing = &first[0x36..0x48];
    let twelve = |low: usize, high: usize, shift: u8| {
        usize::from(timing[low]) | usize::from(timing[high] >> shift & 0xf) << 8
    };
    let clock = usize::from(timing[0]) | usize::from(timing[1]) << 8;
    let size = (twelve(2, 4, 4), twelve(5, 7, 4));
    let blank = (twelve(3, 4, 0), twelve(6, 7, 0));
    assert!(size == (1280, 800) || size == (1024, 768), "the preferred size is {size:?}");
    let total = (size.0 + blank.0) * (size.1 + blank.1);
    let rate = clock * 10_000 / total.max(1);
    assert!((50..=130).contains(&rate), "{clock} × 10 kHz and {total} dots are {rate} Hz");
    Ok(())
}

/// Would catch an identification that a guest can change, or that differs with the width of reads.
fn read_only(edid: &Edid, _: &Rc<Vm>) -> Result<()> {
    let before = block(edid, 0)?;
    for at in 0..BLOCK as u64 {
        edid.0.write8(at, !before[at as usize])?;
    }
    assert_eq!(block(edid, 0)?, before, "the first block, written");
    for (at, bytes) in before.chunks(4).enumerate() {
        let long = edid.0.read32(4 * at as u64)?;
        assert_eq!(long.to_le_bytes(), bytes, "32 bits at {:#x}", 4 * at);
    }
    Ok(())
}
