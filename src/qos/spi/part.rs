//! The types of flash chips that boards have, as their data sheets describe them: identification
//! (JEDEC JEP106 and the makers' own bytes), size, and what can be erased.

use crate::qemu::{MIB, Version};

const KIB: u64 = 1 << 10;

/// Who makes a chip. Makers differ in registers and in commands beyond those of the M25P80.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// Numonyx, now Micron.
    Micron,
    /// Macronix.
    Macronix,
    /// Winbond.
    Winbond,
    /// Spansion, now Infineon.
    Spansion,
    /// Silicon Storage Technology, now Microchip.
    Sst,
    /// Integrated Silicon Solution.
    Issi,
}

/// A type of flash chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Its name, which is that of QEMU's device.
    pub name: &'static str,
    /// Who makes it.
    pub maker: Maker,
    /// Manufacturer, memory type and capacity, which RDID shows.
    pub id: [u8; 3],
    /// The capacity, as an option of QEMU has it.
    pub size_option: &'static str,
    /// The capacity in bytes.
    pub size: u64,
    /// What the command D8h erases, in bytes.
    pub sector: u64,
    /// Whether the command 20h erases 4 KiB.
    pub erases_4k: bool,
    /// Whether the command 52h erases 32 KiB.
    pub erases_32k: bool,
    /// The first QEMU that has the parameter tables of this type (JESD216), if one has.
    pub sfdp: Option<Version>,
}

/// A page, in bytes.
pub const PAGE: u64 = 256;

const fn part(
    name: &'static str,
    maker: Maker,
    id: [u8; 3],
    size: (&'static str, u64),
    erases: &[u8],
) -> Part {
    let (mut erases_4k, mut erases_32k, mut at) = (false, false, 0);
    while at < erases.len() {
        erases_4k |= erases[at] == 4;
        erases_32k |= erases[at] == 32;
        at += 1;
    }
    Part {
        name,
        maker,
        id,
        size_option: size.0,
        size: size.1 * MIB,
        sector: 64 * KIB,
        erases_4k,
        erases_32k,
        sfdp: None,
    }
}

impl Part {
    const fn sector(self, kib: u64) -> Self {
        Self { sector: kib * KIB, ..self }
    }

    const fn sfdp(self, major: u32, minor: u32) -> Self {
        Self { sfdp: Some(Version::new(major, minor, 0)), ..self }
    }

    /// The type that QEMU calls so, if it is known.
    pub fn called(name: &str) -> Option<&'static Self> {
        PARTS.iter().find(|part| part.name == name)
    }

    /// Whether three bytes of an address do not reach all of it.
    pub const fn needs_four_bytes(&self) -> bool {
        self.size > 16 * MIB
    }
}

use Maker::{Issi, Macronix, Micron, Spansion, Sst, Winbond};

/// All types that are known.
pub const PARTS: &[Part] = &[
    part("n25q128", Micron, [0x20, 0xba, 0x18], ("16M", 16), &[]),
    part("n25q256a", Micron, [0x20, 0xba, 0x19], ("32M", 32), &[4]).sfdp(7, 2),
    part("n25q512a", Micron, [0x20, 0xba, 0x20], ("64M", 64), &[4]),
    part("n25q512a11", Micron, [0x20, 0xbb, 0x20], ("64M", 64), &[4]),
    part("n25q00", Micron, [0x20, 0xba, 0x21], ("128M", 128), &[4]),
    part("mx25l25635e", Macronix, [0xc2, 0x20, 0x19], ("32M", 32), &[4, 32]).sfdp(7, 2),
    part("mx25l25635f", Macronix, [0xc2, 0x20, 0x19], ("32M", 32), &[4, 32]).sfdp(7, 2),
    part("mx66u51235f", Macronix, [0xc2, 0x25, 0x3a], ("64M", 64), &[4, 32]),
    part("mx66l1g45g", Macronix, [0xc2, 0x20, 0x1b], ("128M", 128), &[4, 32]).sfdp(7, 2),
    part("w25q256", Winbond, [0xef, 0x40, 0x19], ("32M", 32), &[4]).sfdp(7, 2),
    part("w25q512jv", Winbond, [0xef, 0x40, 0x20], ("64M", 64), &[4]).sfdp(8, 0),
    part("w25q01jvq", Winbond, [0xef, 0x40, 0x21], ("128M", 128), &[4]).sfdp(8, 0),
    part("s25sl12801", Spansion, [0x01, 0x20, 0x18], ("16M", 16), &[]),
    part("s25fl512s", Spansion, [0x01, 0x02, 0x20], ("64M", 64), &[]).sector(256),
    part("sst25wf080", Sst, [0xbf, 0x25, 0x05], ("1M", 1), &[4]),
    part("sst25vf016b", Sst, [0xbf, 0x25, 0x41], ("2M", 2), &[4]),
    part("sst25vf032b", Sst, [0xbf, 0x25, 0x4a], ("4M", 4), &[4]),
    part("is25wp256", Issi, [0x9d, 0x70, 0x19], ("32M", 32), &[4]).sfdp(8, 0),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch an option whose size is not that of the part.
    #[test]
    fn the_option_says_the_size() {
        for part in PARTS {
            assert_eq!(part.size_option, format!("{}M", part.size / MIB), "{}", part.name);
            assert!(part.size.is_power_of_two(), "{}", part.name);
        }
    }
}
