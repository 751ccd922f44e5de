//! The device table and the page tables of AMD's IOMMU ("AMD I/O Virtualization Technology (IOMMU)
//! Specification", 48882, revision 3.00, 2.2.2 and 2.2.3): which bits of their entries let an access
//! through, and to where.

use std::rc::Rc;

use super::amd_bench::{Bench, HERE, MAY, OFFSET, tables, with_tables};
use super::riscv_bench::{BOTH, DATA, Dma, FILL};
use crate::drivers::iommu::amd::AmdLevels;
use crate::drivers::iommu::amd::words::{EXCLUSION_BASE, EXCLUSION_LIMIT, device};
use crate::qemu::Vm;
use crate::qos::iommu::{Access, PAGE, Tables};
use crate::{Result, tests};

tests!(AmdLevels, "amd-iommu-table-tests":
    entries = "device/entries",
    no_permission = "device/no-permission",
    permissions,
    present,
    modes,
    beyond,
    skipped_levels = "levels/skipped",
    skipped_bits = "levels/skipped-bits",
    next_level = "levels/not-lower",
    whole_levels = "levels/whole",
    sizes = "page-sizes",
    exclusion,
);

/// The access at [`HERE`] that tests try.
const AT: u64 = HERE + OFFSET;

/// Would catch a device that is translated although its entry is not valid, one that passes although
/// its tables are not valid, and one whose entry has reserved bits or a mode that is none.
fn entries(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu, vm)?;
    let own = bench.memory.address().0 + OFFSET;
    let mapped = bench.mapped(vm, bench.page(Access::BOTH) & 0xfff0_0000_0000_0fff)?;
    for dma in BOTH {
        bench.assert_done(0, own, dma, "not valid")?;
        bench.assert_done(mapped & !device::V, own, dma, "not valid, with tables")?;
        bench.assert_done(MAY, own, dma, "no tables")?;
        bench.assert_done(mapped, AT, dma, "tables")?;
        bench.assert_refused(mapped, own, dma, "tables, its own address")?;
        bench.assert_refused(mapped & !device::TV, AT, dma, "translation is not valid")?;
        bench.assert_refused(mapped & !device::TV, own, dma, "translation is not valid")?;
        let seven = mapped | 7 << device::MODE;
        bench.assert_refused(seven, AT, dma, "a mode that is none")?;
        for bit in 2..=3 {
            bench.assert_refused(mapped | 1 << bit, AT, dma, &format!("reserved bit {bit}"))?;
        }
        bench.assert_refused(mapped | 1 << 63, AT, dma, "reserved bit 63")?;
    }
    Ok(())
}

/// Would catch a device without tables that may only read, or only write, or nothing, and does more.
fn no_permission(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu, vm)?;
    let own = bench.memory.address().0 + OFFSET;
    let none = device::V | device::TV;
    bench.assert_done(none | device::IR, own, Dma::Read, "reads only")?;
    bench.assert_refused(none | device::IR, own, Dma::Write, "reads only")?;
    bench.assert_done(none | device::IW, own, Dma::Write, "writes only")?;
    bench.assert_refused(none | device::IW, own, Dma::Read, "writes only")?;
    for dma in BOTH {
        bench.assert_refused(none, own, dma, "nothing")?;
    }
    Ok(())
}

/// Would catch rights that only the last level gives: those of all levels, and of the device's entry,
/// have to agree.
fn permissions(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu, vm)?;
    for (right, refused) in [(device::IR, Dma::Read), (device::IW, Dma::Write)] {
        for lacking in 0..=4 {
            let tables = tables(vm, 4)?;
            let page = bench.page(Access::BOTH);
            tables.set(HERE, 0, if lacking == 0 { page & !right } else { page })?;
            if (1..4).contains(&lacking) {
                tables.change(HERE, lacking, |entry| entry & !right)?;
            }
            let entry = with_tables(&tables);
            let entry = if lacking == 4 { entry & !right } else { entry };
            for dma in BOTH {
                let what = format!("a right less at level {lacking}");
                match dma == refused {
                    true => bench.assert_refused(entry, AT, dma, &what)?,
                    false => bench.assert_done(entry, AT, dma, &what)?,
                }
            }
        }
    }
    Ok(())
}

/// Would catch an entry of any level that is used although it is not present.
fn present(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu, vm)?;
    for level in 0..4 {
        let tables = tables(vm, 4)?;
        tables.set(HERE, 0, bench.page(Access::BOTH))?;
        tables.change(HERE, level, |entry| entry & !1)?;
        for dma in BOTH {
            let what = format!("not present at level {level}");
            bench.assert_refused(with_tables(&tables), AT, dma, &what)?;
        }
    }
    Ok(())
}

/// Would catch a mode that is taken for another: tables of each height translate, at their beginning
/// and at their end.
fn modes(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu, vm)?;
    for levels in 1..=6_u8 {
        let bits = (12 + 9 * u32::from(levels)).min(64);
        let last = u64::MAX >> (64 - bits) & !(PAGE - 1);
        for at in [0, PAGE, last - PAGE, last] {
            let tables = tables(vm, levels)?;
            tables.set(at, 0, bench.page(Access::BOTH))?;
            for dma in BOTH {
                let what = format!("{levels} levels, {at:#x}");
                bench.assert_done(with_tables(&tables), at + OFFSET, dma, &what)?;
            }
        }
    }
    Ok(())
}

/// Would catch an address that is too high for its tables and is taken for a lower one.
fn beyond(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu, vm)?;
    for levels in 1..=5_u8 {
        let tables = tables(vm, levels)?;
        tables.set(0, 0, bench.page(Access::BOTH))?;
        for bit in 12 + 9 * u32::from(levels)..64 {
            let what = format!("{levels} levels, bit {bit}");
            bench.assert_refused(with_tables(&tables), 1 << bit | OFFSET, Dma::Write, &what)?;
        }
    }
    Ok(())
}

/// Where [`skipping`] maps the memory.
const SKIPPED: u64 = 5 << 39 | 0x7_7000;

/// The entry of a device with tables whose level 4 leads to a table of level 1: bits 21 to 38 of the
/// address are skipped.
fn skipping(bench: &Bench, vm: &Rc<Vm>) -> Result<(u64, [Tables; 2])> {
    let at = SKIPPED;
    let (top, low) = (tables(vm, 4)?, tables(vm, 1)?);
    low.set(at & 0x1f_ffff, 0, bench.page(Access::BOTH))?;
    top.set(at, 3, low.root() | 1 | 1 << 9 | device::IR | device::IW)?;
    Ok((with_tables(&top), [top, low]))
}

/// Would catch an entry that skips levels and does not lead to where it says.
fn skipped_levels(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu, vm)?;
    let (entry, _tables) = skipping(&bench, vm)?;
    for dma in BOTH {
        bench.assert_done(entry, SKIPPED + OFFSET, dma, "levels that are skipped")?;
    }
    Ok(())
}

/// Would catch bits of an address that no level looks at: where one of them is set that is skipped,
/// nothing is mapped.
fn skipped_bits(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu, vm)?;
    let (entry, _tables) = skipping(&bench, vm)?;
    for bit in [21, 29, 30, 38] {
        let what = format!("bit {bit}, which is skipped");
        bench.assert_refused(entry, (SKIPPED + OFFSET) | (1 << bit), Dma::Write, &what)?;
    }
    Ok(())
}

/// Would catch an entry that leads to a table of its own level or of a higher one, and is followed:
/// such a walk need not end.
fn next_level(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu, vm)?;
    vm.hurry();
    for level in 0..4_u8 {
        for next in level + 1..=6 {
            let tables = tables(vm, 4)?;
            tables.set(HERE, 0, bench.page(Access::BOTH))?;
            let wrong = bench.page(Access::BOTH) | u64::from(next) << 9;
            tables.set(HERE, level, wrong)?;
            let what = format!("an entry of level {} leads to level {next}", level + 1);
            bench.assert_refused(with_tables(&tables), AT, Dma::Write, &what)?;
            // Into itself, where everything leads to the same.
            tables.set(HERE, level, tables.root() | 1 | u64::from(next) << 9 | MAY & !0xfff)?;
            bench.assert_refused(with_tables(&tables), AT, Dma::Read, &what)?;
        }
    }
    Ok(())
}

/// Memory that is mapped as one page of `1 << order` bytes with these bits in its entry, at a
/// level: what is at its beginning, in it, at its end, and outside.
#[track_caller]
fn check_size(bench: &Bench, vm: &Rc<Vm>, order: u32, level: u8, entry: u64) -> Result<()> {
    let size = 1_u64 << order;
    // The page of which the memory is a part.
    let (start, offset) = (bench.memory.address().0 & !(size - 1), bench.memory.address().0 % size);
    let here = HERE & !(size - 1);
    let tables = tables(vm, 4)?;
    // An entry of a size between those of two levels stands in all the places that it covers.
    let step = 1_u64 << (12 + 9 * u32::from(level));
    for number in 0..(size / step).max(1) {
        tables.set(here + number * step, level, start | entry)?;
    }
    let device = with_tables(&tables);
    let what = format!("a page of 2^{order} bytes at level {}", level + 1);
    for dma in BOTH {
        bench.assert_done(device, here + offset + OFFSET, dma, &what)?;
        for outside in [here - 4, here + size] {
            bench.assert_refused(device, outside, dma, &format!("{what}, outside"))?;
        }
    }
    // Once it is known, of the rest of it no more is known than is so.
    bench.set(device)?;
    bench.memory.write(0, &[FILL; PAGE as usize])?;
    bench.engine.store(here + offset, DATA.len())?;
    bench.engine.store(here + size, DATA.len())?;
    bench.engine.store(here + offset + PAGE - 4, DATA.len())?;
    let found = bench.memory.to_vec()?;
    let mut expected = vec![FILL; PAGE as usize];
    for (byte, of) in expected[..4].iter_mut().zip(&found) {
        *byte = *of;
    }
    assert!(found[..4] != [FILL; 4], "{what}: the first bytes of it should be written");
    expected[PAGE as usize - 4..].copy_from_slice(&found[..4]);
    assert!(found == expected, "{what}: the memory after three writes");
    Ok(())
}

/// Would catch a page of a level above the first that is not as large as what one entry of that level
/// covers.
fn whole_levels(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu, vm)?;
    let all = bench.page(Access::BOTH) & !(PAGE - 1) & MAY | 1;
    check_size(&bench, vm, 12, 0, all)?;
    check_size(&bench, vm, 21, 1, all)?;
    check_size(&bench, vm, 30, 2, all)
}

/// Would catch a page whose size its address says, by the first bit from 12 on that is clear, and that
/// is taken for a larger or smaller one.
fn sizes(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu, vm)?;
    let all = bench.page(Access::BOTH) & MAY & !0xfff | 1 | 7 << 9;
    for order in [13, 14, 15, 16, 18, 20, 22, 23, 26, 29] {
        let level = u8::from(order > 21);
        let ones = ((1_u64 << (order - 1)) - 1) & !(PAGE - 1);
        check_size(&bench, vm, order, level, all | ones)?;
    }
    Ok(())
}

/// Would catch a range that is excluded from translation and is translated all the same, for devices
/// that may use it, and the page behind it with it.
fn exclusion(iommu: &AmdLevels, vm: &Rc<Vm>) -> Result<()> {
    use crate::qos::registers::RegistersExt;
    /// The entry of a device: it may use the range.
    const EX: u64 = 1 << (104 - 64);
    let bench = Bench::new(iommu, vm)?;
    let own = bench.memory.address().0;
    let registers = bench.live.registers();
    registers.set(EXCLUSION_LIMIT, own)?;
    registers.set(EXCLUSION_BASE, own | 1)?;
    let tables = tables(vm, 4)?;
    let entry = with_tables(&tables);
    bench.assert_refused(entry, own + OFFSET, Dma::Write, "a device that may not use the range")?;
    registers.set(EXCLUSION_BASE, own | 3)?;
    bench.assert_done(entry, own + OFFSET, Dma::Write, "all devices may use the range")?;
    registers.set(EXCLUSION_BASE, own | 1)?;
    bench.live.set_device(bench.engine.requester(), [entry, EX])?;
    bench.memory.write(0, &[FILL; PAGE as usize])?;
    bench.engine.store(own, DATA.len())?;
    let found = bench.memory.to_vec()?;
    assert!(found[..4] != [FILL; 4], "a device that may use the range");
    Ok(())
}
