//! Every register of a device of which nothing is known but where its registers are: which
//! accesses reach all of them, and how they are made, many for one round trip. What the values
//! mean, and what of them is right, is decided elsewhere.

use std::ops::RangeInclusive;

use crate::Result;
use crate::protocol::Width;
use crate::qemu::discovery::{Access as DiscoveredAccess, Found, Piece, Region, Space};
use crate::qos::registers::{Access, Registers};

/// Up to how many bytes of registers a device has all of them accessed in every width; of one
/// that has more, parts of each piece are.
const WHOLE: u64 = 64 << 10;
/// Up to how many bytes of registers a device has all of them taken for registers, which are
/// accessed again and again.
const WHOLE_AGAIN: u64 = 8 << 10;
/// The least and the most bytes that are accessed at either end of a larger piece.
const ENDS: RangeInclusive<u64> = 256..=4 << 10;
/// How many bytes are accessed at each power of two in a larger piece.
const SAMPLE: u64 = 64;
/// How many bytes at the start of each piece are taken for registers of one and two bytes, too.
const NARROW: u64 = 256;
/// How many accesses are sent together: enough that round trips cost nothing.
const TOGETHER: usize = 1024;

/// One access: where, and how wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The guest-physical address, or the port.
    pub address: u64,
    /// How wide the access is.
    pub width: Width,
}

/// The registers of a device.
pub struct Sweep {
    regions: Vec<Region>,
    /// The addresses of the visible pieces of the regions, in the order of their addresses.
    pieces: Vec<RangeInclusive<u64>>,
}

impl Sweep {
    /// The registers of this device in memory, or behind ports.
    pub fn of(device: &Found, space: Space) -> Self {
        Self::of_regions(device.registers_in(space).cloned().collect())
    }

    /// The registers called `name`, `size` bytes at `base`.
    pub fn of_block(name: &str, base: u64, size: u64) -> Self {
        let (name, space, access) = (name.into(), Space::Memory, DiscoveredAccess::Registers);
        let pieces = vec![Piece { offset: 0, last: size.saturating_sub(1) }];
        Self::of_regions(vec![Region { name, space, access, base, pieces }])
    }

    /// These regions, all of one space.
    pub fn of_regions(regions: Vec<Region>) -> Self {
        let addresses = |region: &Region| {
            let base = region.base;
            let pieces = region.pieces.clone().into_iter();
            pieces.map(move |it| base.wrapping_add(it.offset)..=base.wrapping_add(it.last))
        };
        let mut pieces: Vec<_> = regions.iter().flat_map(addresses).collect();
        pieces.retain(|piece| piece.start() <= piece.end());
        pieces.sort_by_key(|piece| *piece.start());
        Self { regions, pieces }
    }

    /// The pieces, each as the address of its first byte and its length; one that ends with the
    /// address space is a byte shorter.
    pub fn blocks(&self) -> Vec<(u64, u64)> {
        let block = |piece: &RangeInclusive<u64>| {
            let size = last_offset(piece).saturating_add(1);
            (*piece.start(), size.min(u64::MAX - piece.start()))
        };
        self.pieces.iter().map(block).filter(|(_, size)| *size > 0).collect()
    }

    /// The parts of the pieces that are accessed: everything if that is at most `whole` bytes.
    fn parts(&self, whole: u64) -> Vec<RangeInclusive<u64>> {
        let all = self.pieces.iter().map(last_offset).fold(0, u64::saturating_add);
        let share = whole / (4 * self.pieces.len().max(1) as u64);
        let end = share.clamp(*ENDS.start(), *ENDS.end());
        let of = |piece| if all < whole { vec![Clone::clone(piece)] } else { parts(piece, end) };
        self.pieces.iter().flat_map(of).collect()
    }

    /// Accesses of every width to every register: aligned ones in each width, then unaligned
    /// ones, those across the end of each piece among them.
    pub fn every_width(&self) -> Vec<Location> {
        let parts = &self.parts(WHOLE);
        let aligned = Width::ALL
            .into_iter()
            .flat_map(|width| parts.iter().flat_map(move |part| aligned(part, width)));
        aligned.chain(self.pieces.iter().flat_map(unaligned)).collect()
    }

    /// One access to every register, as far as its width can be guessed: of 32 bits
    /// everywhere, and of 16 and 8 bits at the start of each piece. Of a large device these are
    /// fewer than [`every_width`](Self::every_width) accesses.
    pub fn registers(&self) -> Vec<Location> {
        let parts = &self.parts(WHOLE_AGAIN);
        let longs = parts.iter().flat_map(|part| aligned(part, Width::Long));
        let narrow = [Width::Word, Width::Byte].into_iter().flat_map(|width| {
            self.pieces.iter().flat_map(move |piece| aligned(&start(piece, NARROW), width))
        });
        longs.chain(narrow).collect()
    }

    /// The region that `address` is in, and the offset in it; `None` if in none.
    pub fn register(&self, address: u64) -> Option<(&str, u64)> {
        self.regions.iter().find_map(|region| {
            let offset = address.wrapping_sub(region.base);
            let is_in = |piece: &Piece| (piece.offset..=piece.last).contains(&offset);
            region.pieces.iter().any(is_in).then_some((region.name.as_str(), offset))
        })
    }

    /// What is at `address`, for people: the region's name and the offset in it.
    pub fn name(&self, address: u64) -> String {
        match self.register(address) {
            Some((region, offset)) => format!("{region}+{offset:#x}"),
            None => format!("{address:#x}"),
        }
    }
}

/// Reads all of these in `space`, in this order.
///
/// # Errors
/// Returns an error if QEMU does not answer; it names the access.
pub fn read(space: &dyn Registers, locations: &[Location]) -> Result<Vec<u64>> {
    let mut values = Vec::with_capacity(locations.len());
    for some in locations.chunks(TOGETHER) {
        let reads: Vec<Access> = some.iter().map(|it| Access::Read(it.address, it.width)).collect();
        values.extend(space.sequence(&reads)?);
    }
    Ok(values)
}

/// Makes these writes in `space`, in this order. Bits of a value above the width are dropped.
///
/// # Errors
/// Returns an error if QEMU does not answer; it names the access.
pub fn write(
    space: &dyn Registers,
    writes: impl IntoIterator<Item = (Location, u64)>,
) -> Result<()> {
    let access =
        |(it, value): (Location, u64)| Access::Write(it.address, it.width, value & it.width.ones());
    let all: Vec<Access> = writes.into_iter().map(access).collect();
    for some in all.chunks(TOGETHER) {
        space.sequence(some)?;
    }
    Ok(())
}

fn last_offset(piece: &RangeInclusive<u64>) -> u64 {
    piece.end() - piece.start()
}

/// The first `length` bytes of a part.
fn start(part: &RangeInclusive<u64>, length: u64) -> RangeInclusive<u64> {
    *part.start()..=part.start().saturating_add(length - 1).min(*part.end())
}

/// The parts of a piece that are accessed: `end` bytes at both ends, and what is at each power
/// of two between; all of a small one.
fn parts(piece: &RangeInclusive<u64>, end: u64) -> Vec<RangeInclusive<u64>> {
    let last = last_offset(piece);
    if last < 2 * end {
        return vec![piece.clone()];
    }
    let powers = (end.ilog2()..u64::BITS).map(|bit| 1u64 << bit).filter(|power| *power >= end);
    let samples = powers
        .take_while(|power| power.saturating_add(SAMPLE) <= last - end)
        .map(|power| piece.start() + power..=piece.start() + power + (SAMPLE - 1));
    let last_part = piece.end() - (end - 1)..=*piece.end();
    [start(piece, end)].into_iter().chain(samples).chain([last_part]).collect()
}

/// The aligned accesses of this width that are wholly in `part`.
fn aligned(part: &RangeInclusive<u64>, width: Width) -> impl Iterator<Item = Location> + use<> {
    let bytes = width.bytes() as u64;
    let first = part.start().checked_next_multiple_of(bytes);
    let end = *part.end();
    let next = move |at: &u64| at.checked_add(bytes);
    let all = std::iter::successors(first, next);
    all.take_while(move |at| at.checked_add(bytes - 1).is_some_and(|last| last <= end))
        .map(move |address| Location { address, width })
}

/// Unaligned accesses: one byte past the start of a piece, and across its end, where what is
/// behind the end may be anything or nothing.
fn unaligned(piece: &RangeInclusive<u64>) -> Vec<Location> {
    let mut all = Vec::new();
    for width in [Width::Word, Width::Long, Width::Quad] {
        let bytes = width.bytes() as u64;
        let across = [piece.end() - (last_offset(piece).min(bytes / 2 - 1)), *piece.end()];
        let inside = piece.start().saturating_add(1);
        let is_inside = inside.checked_add(bytes - 1).is_some_and(|last| last <= *piece.end());
        let places = is_inside.then_some(inside).into_iter().chain(across);
        let fits = |at: &u64| at.checked_add(bytes - 1).is_some();
        all.extend(places.filter(fits).map(|address| Location { address, width }));
    }
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::discovery::Access;

    fn sweep(pieces: &[(u64, u64)]) -> Sweep {
        let pieces = pieces.iter().map(|&(offset, last)| Piece { offset, last }).collect();
        let (name, space, access) = ("r".into(), Space::Memory, Access::Registers);
        Sweep::of_regions(vec![Region { name, space, access, base: 0x1000, pieces }])
    }

    fn at(locations: &[Location], width: Width) -> Vec<u64> {
        let of = locations.iter().filter(|location| location.width == width);
        of.map(|location| location.address).collect()
    }

    /// Would catch a register that is left out, an access that leaves a piece where it should
    /// not, and one across the end that does not cross it.
    #[test]
    fn every_register_is_accessed_in_every_width() {
        let all = sweep(&[(0, 7), (0x12, 0x12)]).every_width();
        assert_eq!(at(&all, Width::Byte), [(0x1000..0x1008).collect(), vec![0x1012]].concat());
        let words = [0x1000, 0x1002, 0x1004, 0x1006, 0x1001, 0x1007, 0x1012];
        assert_eq!(at(&all, Width::Word), words);
        assert_eq!(at(&all, Width::Long), [0x1000, 0x1004, 0x1001, 0x1006, 0x1007, 0x1012]);
        assert_eq!(at(&all, Width::Quad), [0x1000, 0x1004, 0x1007, 0x1012]);
    }

    /// Would catch a large region that takes minutes, or of which an end is never looked at,
    /// and a small one that is only sampled.
    #[test]
    fn large_regions_are_sampled() {
        let all = sweep(&[(0, WHOLE - 1)]).every_width();
        assert_eq!(at(&all, Width::Byte).len() as u64, WHOLE);
        let large = sweep(&[(0, (1 << 40) - 1)]);
        let all = large.every_width();
        assert!(all.len() < 40_000, "{}", all.len());
        let bytes = at(&all, Width::Byte);
        for offset in [0, 0xfff, 0x1000, 0x10000, 1 << 39, (1 << 40) - 1] {
            assert!(bytes.contains(&(0x1000 + offset)), "{offset:#x}");
        }
        let mut sorted = bytes.clone();
        sorted.dedup();
        assert!(bytes.is_sorted() && sorted.len() == bytes.len(), "each byte once");
        assert!(large.registers().len() < 2_500, "{}", large.registers().len());
    }

    /// Would catch an overflow at the end of all addresses.
    #[test]
    fn a_region_may_end_where_addresses_do() {
        let piece = u64::MAX - 7..=u64::MAX;
        let longs: Vec<_> = aligned(&piece, Width::Long).map(|it| it.address).collect();
        assert_eq!(longs, [u64::MAX - 7, u64::MAX - 3]);
        assert!(unaligned(&piece).iter().all(|it| it.address < u64::MAX));
        assert!(parts(&(0..=u64::MAX), 4096).len() < 60);
    }

    /// Would catch a finding that names the wrong register.
    #[test]
    fn a_register_has_a_name() {
        let sweep = sweep(&[(0x10, 0x1f)]);
        assert_eq!(sweep.name(0x1014), "r+0x14");
        assert_eq!(sweep.register(0x1014), Some(("r", 0x14)));
        assert_eq!(sweep.name(0x1000), "0x1000");
    }
}
