//! The two stages of RISC-V's IOMMU ("RISC-V IOMMU Architecture Specification", version 1.0): what
//! bits of their entries refuse, and how that is recorded.

use std::rc::Rc;

use super::riscv_bench::{
    BOTH, Bench, Dma, HERE, Second, THERE, capability, cause, context_of_first, control, entry,
    tables_of,
};
use crate::drivers::iommu::riscv::{FORMAT, RiscvStages, page_number};
use crate::qemu::Vm;
use crate::qos::iommu::{PAGE, Tables};
use crate::{Result, tests};

tests!(RiscvStages, "riscv-iommu-stage-tests":
    accessed = "first/accessed",
    user = "first/user",
    reserved = "first/reserved-bits",
    encodings = "first/encodings",
    upper_levels = "first/upper-levels",
    no_memory = "first/no-memory",
    second = "second/whole",
    second_entries = "second/entries",
    second_too_high = "second/too-high",
    both = "both/whole",
    both_refused = "both/refused",
    both_tables = "both/tables",
    updates = "updates",
);

/// The page number of the memory, as an entry has it.
fn page(bench: &Bench) -> u64 {
    page_number(bench.memory.address().0)
}

/// Asserts that reads, or writes, or both are refused where [`HERE`] has this entry of the first
/// stage, and that the others are done.
#[track_caller]
fn assert_first(bench: &Bench, vm: &Rc<Vm>, bits: u64, refused: &[Dma], what: &str) -> Result<()> {
    let tables = tables_of(vm, page(bench) | bits)?;
    let context = context_of_first(&tables);
    for (number, dma) in BOTH.into_iter().enumerate() {
        match refused.contains(&dma) {
            false => bench.assert_done(&context, HERE + 0x124, dma, what)?,
            true => {
                let (at, why) = ((HERE + 0x124, dma), (cause::PAGE[number], 0));
                bench.assert_refused(&context, at, why, what)?;
            }
        }
    }
    Ok(())
}

/// Would catch a page that was never accessed, or never written, and that a device reaches all the
/// same: nobody sees then that it has changed (3.4).
fn accessed(stages: &RiscvStages, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(stages, vm)?;
    assert_first(&bench, vm, entry::ALL, &[], "accessed and dirty")?;
    assert_first(&bench, vm, entry::ALL & !entry::D, &[Dma::Write], "not dirty")?;
    assert_first(&bench, vm, entry::ALL & !entry::A, &BOTH, "not accessed")?;
    assert_first(&bench, vm, entry::ALL & !entry::A & !entry::D, &BOTH, "neither")
}

/// Would catch a page of a supervisor that a device reaches which has no privilege.
fn user(stages: &RiscvStages, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(stages, vm)?;
    assert_first(&bench, vm, entry::ALL & !entry::U, &BOTH, "not for users")?;
    assert_first(&bench, vm, entry::ALL, &[], "for users")
}

/// Would catch bits that mean nothing yet and are not refused: software of tomorrow sets them where
/// the IOMMU does something else than it is asked for.
fn reserved(stages: &RiscvStages, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(stages, vm)?;
    // An extension has two of them for software.
    let last = if bench.capabilities & capability::SVRSW60T59B != 0 { 58 } else { 60 };
    for bit in 54..=last {
        assert_first(&bench, vm, entry::ALL | 1 << bit, &BOTH, &format!("bit {bit}"))?;
    }
    let types: &[u64] = match bench.capabilities & capability::SVPBMT {
        0 => &[1, 2, 3],
        _ => &[3],
    };
    for memory in types {
        let what = format!("a type of memory {memory}");
        assert_first(&bench, vm, entry::ALL | memory << 61, &BOTH, &what)?;
    }
    // What software has for itself is no matter.
    for bit in [8, 9] {
        assert_first(&bench, vm, entry::ALL | 1 << bit, &[], &format!("bit {bit}"))?;
    }
    Ok(())
}

/// Would catch rights that are taken for others, and an entry that is not valid or would be a
/// table's at the last level.
fn encodings(stages: &RiscvStages, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(stages, vm)?;
    let rest = entry::ALL & !entry::R & !entry::W;
    let cases: [(u64, &[Dma], &str); 7] = [
        (rest | entry::R, &[Dma::Write], "R"),
        (rest | entry::R | entry::W, &[], "R and W"),
        (rest | entry::W, &BOTH, "W without R"),
        (rest | entry::W | entry::X, &BOTH, "W and X"),
        (rest | entry::X, &BOTH, "X"),
        (rest, &BOTH, "no right: a table"),
        (entry::ALL & !entry::V, &BOTH, "not valid"),
    ];
    for (bits, refused, what) in cases {
        assert_first(&bench, vm, bits, refused, what)?;
    }
    Ok(())
}

/// Would catch large pages that are not aligned, and entries of upper levels with bits that only
/// pages have.
fn upper_levels(stages: &RiscvStages, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(stages, vm)?;
    for level in 1..=3 {
        let tables = Tables::new(vm, 4, FORMAT)?;
        // One page behind where one of that size may begin.
        tables.set(HERE, level, page_number(1 << 39 | PAGE) | entry::ALL)?;
        let what = format!("a page of level {level} that is not aligned");
        for (number, dma) in BOTH.into_iter().enumerate() {
            let (at, why) = ((HERE, dma), (cause::PAGE[number], 0));
            bench.assert_refused(&context_of_first(&tables), at, why, &what)?;
        }
    }
    for bit in [54, 57, 58, 61, 62, 63] {
        let tables = tables_of(vm, page(&bench) | entry::ALL)?;
        let table = Tables::new(vm, 3, FORMAT)?;
        table.set(HERE, 0, page(&bench) | entry::ALL)?;
        tables.set(HERE, 3, page_number(table.root()) | entry::V)?;
        let context = context_of_first(&tables);
        bench.assert_done(&context, HERE, Dma::Write, "a table in four levels")?;
        tables.set(HERE, 3, page_number(table.root()) | entry::V | 1 << bit)?;
        let what = format!("a table with bit {bit}");
        bench.assert_refused(&context, (HERE, Dma::Write), (cause::PAGE[1], 0), &what)?;
    }
    Ok(())
}

/// Would catch a table in no memory that is taken for one that says no, and is recorded so.
fn no_memory(stages: &RiscvStages, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(stages, vm)?;
    for level in 1..=3 {
        let tables = Tables::new(vm, 4, FORMAT)?;
        tables.set(HERE, level, page_number(1 << 45) | entry::V)?;
        for (number, dma) in BOTH.into_iter().enumerate() {
            let (at, why) = ((HERE, dma), (cause::ACCESS[number], 0));
            let what = format!("a table of level {level} in no memory");
            bench.assert_refused(&context_of_first(&tables), at, why, &what)?;
        }
    }
    Ok(())
}

/// Tables of the second stage, and where the memory is for the guest.
fn second_of(bench: &Bench, vm: &Rc<Vm>, bits: u64) -> Result<Second> {
    bench.needs(capability::SV48X4, "Sv48x4")?;
    let second = Second::new(vm)?;
    second.below.set(THERE, 0, page(bench) | bits)?;
    Ok(second)
}

/// Would catch a second stage that is not used, or uses the first entries of its first table for
/// all addresses.
fn second(stages: &RiscvStages, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(stages, vm)?;
    let second = second_of(&bench, vm, entry::ALL)?;
    for dma in BOTH {
        bench.assert_done(&second.context(), THERE + 0x18, dma, "a page")?;
        let same = bench.memory.address().0 + 0x18;
        bench.assert_done(&second.context(), same, dma, "a large page")?;
    }
    // The index of the first table has two bits more than others.
    let (above, at) = (1_u64 << 48, THERE | 1 << 48);
    for (number, dma) in BOTH.into_iter().enumerate() {
        let why = (cause::GUEST_PAGE[number], at);
        bench.assert_refused(&second.context(), (at, dma), why, &format!("above {above:#x}"))?;
    }
    Ok(())
}

/// Would catch what the first stage refuses and the second does not, and a record that does not
/// say which address of the guest it was.
fn second_entries(stages: &RiscvStages, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(stages, vm)?;
    let cases: [(u64, &[Dma], &str); 9] = [
        (entry::ALL & !entry::U, &BOTH, "not for users"),
        (entry::ALL & !entry::A, &BOTH, "not accessed"),
        (entry::ALL & !entry::D, &[Dma::Write], "not dirty"),
        (entry::ALL & !entry::W, &[Dma::Write], "R"),
        (entry::ALL & !entry::R, &BOTH, "W without R"),
        (entry::ALL & !entry::V, &BOTH, "not valid"),
        (entry::ALL | 1 << 54, &BOTH, "bit 54"),
        (entry::ALL | 1 << 58, &BOTH, "bit 58"),
        (entry::ALL | 3 << 61, &BOTH, "a type of memory 3"),
    ];
    for (bits, refused, what) in cases {
        let second = second_of(&bench, vm, bits)?;
        let at = THERE + 0x128;
        for (number, dma) in BOTH.into_iter().enumerate() {
            let why = (cause::GUEST_PAGE[number], at);
            match refused.contains(&dma) {
                false => bench.assert_done(&second.context(), at, dma, what)?,
                true => bench.assert_refused(&second.context(), (at, dma), why, what)?,
            }
        }
    }
    Ok(())
}

/// Would catch guest addresses above what the second stage translates, 50 bits, that are taken for
/// lower ones.
fn second_too_high(stages: &RiscvStages, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(stages, vm)?;
    let second = second_of(&bench, vm, entry::ALL)?;
    for bit in [50, 56, 62] {
        let at = THERE | 1 << bit;
        for (number, dma) in BOTH.into_iter().enumerate() {
            let why = (cause::GUEST_PAGE[number], at);
            let what = format!("an address with bit {bit}");
            bench.assert_refused(&second.context(), (at, dma), why, &what)?;
        }
    }
    Ok(())
}

/// Would catch two stages of which one is left out.
fn both(stages: &RiscvStages, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(stages, vm)?;
    let second = second_of(&bench, vm, entry::ALL)?;
    let tables = tables_of(vm, page_number(THERE) | entry::ALL)?;
    for dma in BOTH {
        bench.assert_done(&second.context_with(&tables), HERE + 0x40, dma, "both stages")?;
    }
    Ok(())
}

/// Would catch a record that does not tell which stage has refused, and where the guest had it.
fn both_refused(stages: &RiscvStages, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(stages, vm)?;
    let at = HERE + 0x48;
    for (number, dma) in BOTH.into_iter().enumerate() {
        let second = second_of(&bench, vm, entry::ALL)?;
        let tables = tables_of(vm, page_number(THERE) | (entry::ALL & !entry::A))?;
        let (context, why) = (second.context_with(&tables), (cause::PAGE[number], 0));
        bench.assert_refused(&context, (at, dma), why, "refused by the first stage")?;

        let second = second_of(&bench, vm, entry::ALL & !entry::A)?;
        let tables = tables_of(vm, page_number(THERE) | entry::ALL)?;
        let why = (cause::GUEST_PAGE[number], THERE + 0x48);
        let context = second.context_with(&tables);
        bench.assert_refused(&context, (at, dma), why, "refused by the second stage")?;
    }
    Ok(())
}

/// Would catch a table of the first stage that the second refuses, and a record that takes it for
/// the page itself: bit 0 of iotval2 says that (4.2).
fn both_tables(stages: &RiscvStages, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(stages, vm)?;
    let second = second_of(&bench, vm, entry::ALL)?;
    let tables = Tables::new(vm, 4, FORMAT)?;
    let (nowhere, at) = (0x66_0000_0000_u64, HERE + 0x50);
    for level in 1..=3 {
        tables.set(HERE, level, page_number(nowhere) | entry::V)?;
        second.below.set(nowhere, 0, 0)?;
        // The table's entry that is looked for.
        let index = HERE >> (12 + 9 * (level - 1)) & 511;
        for (number, dma) in BOTH.into_iter().enumerate() {
            let why = (cause::GUEST_PAGE[number], (nowhere + 8 * index) | 1);
            let what = format!("a table of level {level}");
            bench.assert_refused(&second.context_with(&tables), (at, dma), why, &what)?;
        }
    }
    Ok(())
}

/// Would catch accessed and dirty bits that are not set where they are to be, and a context that
/// asks for that of an IOMMU which is not able to (3.1.3.1).
fn updates(stages: &RiscvStages, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(stages, vm)?;
    let bits = entry::ALL & !entry::A & !entry::D;
    let is_able = bench.capabilities & capability::AMO_HWAD != 0;
    for (update, name) in [(control::SADE, "SADE"), (control::GADE, "GADE")] {
        let tables = tables_of(vm, page(&bench) | bits)?;
        let second = second_of(&bench, vm, bits)?;
        let (mut context, at) = match update {
            control::SADE => (context_of_first(&tables), HERE + 8),
            _ => (second.context(), THERE + 8),
        };
        context[0] |= update;
        for dma in BOTH {
            match is_able {
                true => bench.assert_done(&context, at, dma, name)?,
                false => {
                    let why = (cause::DIRECTORY_WRONG, 0);
                    bench.assert_refused(&context, (at, dma), why, name)?;
                }
            }
        }
    }
    Ok(())
}
