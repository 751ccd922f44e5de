//! Reads `info mtree -f -o`: which regions the first CPU sees where, and whose they are.

use std::collections::HashMap;

use super::description::{Access, Piece, Region, Space};
use super::name::Name;

/// Whose a region is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Owner<'t> {
    /// The object at this QOM path.
    Path(&'t str),
    /// The device with this id.
    Id(&'t str),
    /// Nobody whom QEMU can name.
    Unknown,
}

/// The regions that the first CPU sees in memory, and those behind ports, each with its
/// owner, ordered by space and first visible address. Lines that are not understood are
/// passed over.
pub(super) fn regions(text: &str) -> Vec<(Owner<'_>, Region)> {
    let views = views(text);
    let memory = views.iter().enumerate().filter_map(|(number, view)| {
        Some((view.spaces.iter().filter_map(|space| rank(space)).min()?, number))
    });
    let memory = memory.min().map(|(_, number)| (Space::Memory, &views[number]));
    let ports = views.iter().find(|view| view.spaces.contains(&"I/O"));
    let ports = ports.map(|view| (Space::Ports, view));
    memory.into_iter().chain(ports).flat_map(|(space, view)| join(space, &view.lines)).collect()
}

/// How likely an address space is the one in which qtest reads and writes, which is the
/// first CPU's; less is likelier.
fn rank(space: &str) -> Option<(u8, u32)> {
    if let Some(number) = space.strip_prefix("cpu-memory-") {
        return Some((0, number.parse().ok()?));
    }
    (space == "memory").then_some((1, 0))
}

/// A memory map, and the address spaces that have it.
#[derive(Default)]
struct View<'t> {
    spaces: Vec<&'t str>,
    lines: Vec<Line<'t>>,
}

/// A range of addresses.
struct Line<'t> {
    owner: Owner<'t>,
    name: &'t str,
    access: Access,
    first: u64,
    last: u64,
    /// Where `first` is in the region.
    offset: u64,
}

fn views(text: &str) -> Vec<View<'_>> {
    let mut views: Vec<View> = Vec::new();
    for line in text.lines() {
        if line.starts_with("FlatView #") {
            views.push(View::default());
        } else if let Some(view) = views.last_mut() {
            if let Some((space, _)) =
                line.strip_prefix(" AS \"").and_then(|rest| rest.rsplit_once("\", root: "))
            {
                view.spaces.push(space);
            } else {
                view.lines.extend(Line::read(line));
            }
        }
    }
    views
}

impl<'t> Line<'t> {
    /// Reads `  FIRST-LAST (prio N, KIND): NAME[ @OFFSET] owner:{…}`.
    fn read(line: &'t str) -> Option<Self> {
        let (range, rest) = line.trim_start().split_once(" (prio ")?;
        let (first, last) = range.split_once('-')?;
        let (first, last) = (hex(first)?, hex(last)?);
        let (priority, rest) = rest.split_once("): ")?;
        let (_, kind) = priority.split_once(", ")?;
        let at = [" owner:{", " parent:{", " orphan"].iter().filter_map(|word| rest.find(word));
        let (name, owner) = rest.split_at(at.min().unwrap_or(rest.len()));
        let (name, offset) = match name.rsplit_once(" @") {
            // A name may end in an address too, which is shorter.
            Some((name, offset)) if offset.len() == 16 => (name, hex(offset)?),
            _ => (name, 0),
        };
        let access = match kind {
            "ram" | "ramd" | "nv-ram" => Access::Ram,
            "rom" | "romd" => Access::Rom,
            _ => Access::Registers,
        };
        let owner = Owner::read(owner);
        (first <= last).then_some(Self { owner, name, access, first, last, offset })
    }
}

impl<'t> Owner<'t> {
    /// Reads ` owner:{dev path=…}` or ` parent:{obj path=…}`, of which the first counts.
    fn read(text: &'t str) -> Self {
        let inside = text.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        let told = inside.and_then(|(inside, _)| inside.split_once(' ')?.1.split_once('='));
        match told {
            Some(("path", path)) => Self::Path(path),
            Some(("id", id)) => Self::Id(id),
            _ => Self::Unknown,
        }
    }
}

fn hex(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(text, 16).ok().filter(|_| digits)
}

/// Joins the ranges that are parts of one region: those of one name and owner that have the
/// region's byte 0 at the same address.
fn join<'t>(space: Space, lines: &[Line<'t>]) -> Vec<(Owner<'t>, Region)> {
    let mut known = HashMap::new();
    let mut regions: Vec<(Owner, Region)> = Vec::new();
    for line in lines {
        let base = line.first.wrapping_sub(line.offset);
        let key = (line.owner, line.name, line.access, base);
        let at = *known.entry(key).or_insert_with(|| {
            let (name, pieces) = (Name::new(line.name), Vec::new());
            regions.push((line.owner, Region { name, space, access: line.access, base, pieces }));
            regions.len() - 1
        });
        let last = line.offset.saturating_add(line.last - line.first);
        let pieces = &mut regions[at].1.pieces;
        match pieces.last_mut() {
            Some(before) if before.last.checked_add(1) == Some(line.offset) => before.last = last,
            _ => pieces.push(Piece { offset: line.offset, last }),
        }
    }
    for (_, region) in &mut regions {
        region.pieces.sort_by_key(|piece| piece.offset);
    }
    regions
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = r#"FlatView #0
 AS "memory", root: system
 Root memory region: system
  0000000000000000-0000000000000fff (prio 0, i/o): not the CPU's owner:{dev path=/machine/x}

FlatView #1
 AS "cpu-secure-memory-0", root: system
 AS "cpu-memory-1", root: system
 AS "cpu-memory-0", root: system
 Root memory region: system
  0000000000001000-00000000000010ff (prio 0, i/o): sdhci owner:{dev path=/machine/soc/sd[0]}
  0000000000001200-00000000000012ff (prio 0, i/o): regs @0000000000000200 owner:{dev id=five}
  0000000000001300-00000000000013ff (prio 0, i/o): regs @0000000000000300 owner:{dev id=five}
  0000000000001800-0000000000001fff (prio -9, i/o): regs @0000000000000800 owner:{dev id=five}
  0000000000002000-0000000000002fff (prio 0, romd): area @0x4000 @0000000000000010 orphan
  0000000080000000-ffffffffffffffff (prio 0, ram): a ram owner:{obj path=/objects/r} parent:{x}

FlatView #2
 AS "I/O", root: io
  0000000000000060-0000000000000060 (prio 0, i/o): data owner:{dev path=/machine/kbd}

FlatView #3
 AS "cpu-memory-2", root: none
  No rendered FlatView
"#;

    /// Would catch another CPU's view taken for the first one's, parts of a region that are
    /// not joined, and names, offsets and owners that are taken apart wrongly.
    #[test]
    fn regions_have_address_name_and_owner() {
        let found = regions(TEXT);
        let of = |number: usize| {
            let (owner, region) = &found[number];
            let pieces: Vec<_> =
                region.pieces.iter().map(|piece| (piece.offset, piece.last)).collect();
            (*owner, region.name.as_str(), region.base, pieces)
        };
        assert_eq!(found.len(), 5);
        assert_eq!(of(0), (Owner::Path("/machine/soc/sd[0]"), "sdhci", 0x1000, vec![(0, 0xff)]));
        let pieces = vec![(0x200, 0x3ff), (0x800, 0xfff)];
        assert_eq!(of(1), (Owner::Id("five"), "regs", 0x1000, pieces));
        assert_eq!(of(2), (Owner::Unknown, "area @0x4000", 0x1ff0, vec![(0x10, 0x100f)]));
        let pieces = vec![(0, u64::MAX - 0x8000_0000)];
        assert_eq!(of(3), (Owner::Path("/objects/r"), "a ram", 0x8000_0000, pieces));
        assert_eq!(of(4), (Owner::Path("/machine/kbd"), "data", 0x60, vec![(0, 0)]));
        let access = |number: usize| (found[number].1.space, found[number].1.access);
        assert_eq!(access(1), (Space::Memory, Access::Registers));
        assert_eq!(access(2), (Space::Memory, Access::Rom));
        assert_eq!(access(3), (Space::Memory, Access::Ram));
        assert_eq!(access(4), (Space::Ports, Access::Registers));
        assert_eq!(found[3].1.size(), u64::MAX - 0x8000_0000 + 1);
    }

    proptest! {
        /// Would catch a text on which the reader panics.
        #[test]
        fn any_text_is_read(text in r#"(FlatView #|\n| AS "|memory|", root: |(  )?[0-9a-f]{1,17}-[0-9a-f]{1,17} \(prio |, ram\)|: | @|[0-9a-f]{16}| owner:\{| path=|\}|.){0,60}"#) {
            regions(&text);
        }
    }
}
