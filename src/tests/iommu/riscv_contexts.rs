//! Contexts of devices of RISC-V's IOMMU ("RISC-V IOMMU Architecture Specification", version 1.0):
//! which are refused, how they are found, and the entries for messages that they lead to.

use std::rc::Rc;

use super::riscv_bench::{
    BOTH, Bench, Dma, FILL, HERE, Second, THERE, capability, cause, context_of_first, control,
    entry, tables_of,
};
use crate::drivers::iommu::riscv::{ONE_LEVEL, RiscvStages, page_number};
use crate::qemu::Vm;
use crate::qos::iommu::{PAGE, Tables};
use crate::{Result, tests};

tests!(RiscvStages, "riscv-iommu-context-tests":
    invalid = "context/invalid",
    reserved = "context/reserved-bits",
    combinations = "context/combinations",
    modes = "context/modes",
    misaligned = "context/misaligned-root",
    silent = "context/no-records",
    off = "directory/off",
    bare = "directory/bare",
    levels = "directory/levels",
    no_memory = "directory/no-memory",
    messages = "messages/basic",
    messages_refused = "messages/refused",
);

/// A context of the first stage that maps [`HERE`], and its tables.
fn usual(bench: &Bench, vm: &Rc<Vm>) -> Result<([u64; 8], Tables)> {
    let tables = tables_of(vm, page_number(bench.memory.address().0) | entry::ALL)?;
    let mut context = [0; 8];
    context[..4].copy_from_slice(&context_of_first(&tables));
    Ok((context, tables))
}

/// Would catch a record without the kind and address of an access whose device has no context.
fn invalid(stages: &RiscvStages, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(stages, vm)?;
    let (mut context, _tables) = usual(&bench, vm)?;
    for dma in BOTH {
        bench.assert_done(&context, HERE + 4, dma, "a valid context")?;
    }
    context[0] = 0;
    for dma in BOTH {
        let why = (cause::DIRECTORY_INVALID, 0);
        bench.assert_refused(&context, (HERE + 4, dma), why, "V of 0")?;
    }
    Ok(())
}

/// Would catch bits of a context that mean nothing yet and are not refused.
fn reserved(stages: &RiscvStages, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(stages, vm)?;
    let (context, _tables) = usual(&bench, vm)?;
    let mut bits = vec![
        (0, 12, "tc"),
        (0, 23, "tc"),
        (0, 32, "tc"),
        (0, 63, "tc"),
        (2, 0, "ta"),
        (2, 11, "ta"),
        (2, 32, "ta"),
        (2, 39, "ta"),
        (3, 44, "fsc"),
        (3, 59, "fsc"),
    ];
    if bench.capabilities & capability::MSI_FLAT != 0 {
        bits.extend([
            (4, 44, "msiptp"),
            (4, 59, "msiptp"),
            (5, 52, "msi_addr_mask"),
            (5, 63, "msi_addr_mask"),
            (6, 52, "msi_addr_pattern"),
            (6, 63, "msi_addr_pattern"),
            (7, 0, "the last word"),
            (7, 63, "the last word"),
        ]);
    }
    for (word, bit, name) in bits {
        let mut context = context;
        context[word] |= 1 << bit;
        let (why, what) = ((cause::DIRECTORY_WRONG, 0), format!("{name} with bit {bit}"));
        bench.assert_refused(&context, (HERE, Dma::Write), why, &what)?;
    }
    Ok(())
}

/// Would catch settings that need others, or what the IOMMU is not able to, and are taken (3.1.4).
fn combinations(stages: &RiscvStages, vm: &Rc<Vm>) -> Result<()> {
    use control::{DPE, EN_ATS, EN_PRI, PRPR, SBE, T2GPA};
    let bench = Bench::new(stages, vm)?;
    let (context, _tables) = usual(&bench, vm)?;
    let mut wrong = vec![
        (EN_PRI, "EN_PRI without EN_ATS"),
        (PRPR, "PRPR without EN_PRI"),
        (T2GPA, "T2GPA without EN_ATS"),
        (EN_ATS | T2GPA, "T2GPA without a second stage"),
        (DPE, "DPE without PDTV"),
    ];
    if bench.capabilities & capability::ATS == 0 {
        wrong.push((EN_ATS, "EN_ATS without ATS"));
    } else {
        wrong.push((EN_ATS | PRPR, "PRPR without EN_PRI, with EN_ATS"));
    }
    if bench.capabilities & capability::END == 0 {
        wrong.push((SBE, "SBE where the byte order is fixed"));
    }
    for (bits, what) in wrong {
        let mut context = context;
        context[0] |= bits;
        for dma in BOTH {
            bench.assert_refused(&context, (HERE, dma), (cause::DIRECTORY_WRONG, 0), what)?;
        }
    }
    Ok(())
}

/// Would catch a mode that is none, or that the IOMMU does not have, and is taken for another.
fn modes(stages: &RiscvStages, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(stages, vm)?;
    let (context, _tables) = usual(&bench, vm)?;
    // 8 to 10 are Sv39, Sv48 and Sv57, or those of the second stage; capabilities have a bit each.
    let names = [(3, 9, "fsc"), (1, 17, "iohgatp")];
    for (word, first_capability, name) in names {
        for mode in 1..16_u64 {
            let known = (8..11).contains(&mode)
                && bench.capabilities >> (first_capability + mode - 8) & 1 != 0;
            if known {
                continue;
            }
            let mut context = context;
            context[word] = mode << 60 | (context[word] & ((1 << 44) - 1));
            let (why, what) = ((cause::DIRECTORY_WRONG, 0), format!("{name} of mode {mode}"));
            bench.assert_refused(&context, (HERE, Dma::Write), why, &what)?;
        }
    }
    if bench.capabilities & capability::MSI_FLAT != 0 {
        for mode in 2..16_u64 {
            let mut context = context;
            context[4] = mode << 60;
            let (why, what) = ((cause::DIRECTORY_WRONG, 0), format!("msiptp of mode {mode}"));
            bench.assert_refused(&context, (HERE, Dma::Write), why, &what)?;
        }
    }
    Ok(())
}

/// Would catch a first table of the second stage that begins where it cannot.
fn misaligned(stages: &RiscvStages, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(stages, vm)?;
    bench.needs(capability::SV48X4, "Sv48x4")?;
    let second = Second::new(vm)?;
    second.below.set(THERE, 0, page_number(bench.memory.address().0) | entry::ALL)?;
    for pages in 1..4 {
        let mut context = second.context();
        bench.assert_done(&context, THERE, Dma::Write, "aligned")?;
        context[1] |= pages;
        let (why, what) = ((cause::DIRECTORY_WRONG, 0), format!("{pages} pages off"));
        bench.assert_refused(&context, (THERE, Dma::Write), why, &what)?;
    }
    Ok(())
}

/// Would catch faults that are recorded although the context says that they are not to be, and a
/// context that is found wrong and keeps that to itself.
fn silent(stages: &RiscvStages, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(stages, vm)?;
    let (mut context, _tables) = usual(&bench, vm)?;
    context[0] |= control::DTF;
    for dma in BOTH {
        bench.assert_done(&context, HERE, dma, "DTF, nothing to record")?;
        let (done, records) = bench.access(&context, HERE + PAGE, dma)?;
        assert!(!done, "DTF: {dma:?} of what is not mapped");
        assert_eq!(records, Vec::<[u64; 4]>::new(), "DTF: {dma:?}: records of faults");
    }
    context[0] |= control::EN_PRI;
    let why = (cause::DIRECTORY_WRONG, 0);
    bench.assert_refused(&context, (HERE, Dma::Write), why, "DTF in a context that is wrong")
}

/// Would catch an IOMMU that is off and lets anything through, or records nothing of it.
fn off(stages: &RiscvStages, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(stages, vm)?;
    let (context, _tables) = usual(&bench, vm)?;
    bench.directory.set(Some(0));
    for dma in BOTH {
        bench.assert_refused(&context, (HERE + 8, dma), (cause::ALL, 0), "off")?;
    }
    bench.directory.set(None);
    bench.assert_done(&context, HERE + 8, Dma::Write, "on again")
}

/// Would catch a directory that is looked into although nothing is to be translated.
fn bare(stages: &RiscvStages, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(stages, vm)?;
    let (context, _tables) = usual(&bench, vm)?;
    bench.directory.set(Some(1));
    for dma in BOTH {
        bench.assert_done(&context, bench.memory.address().0 + 8, dma, "bare")?;
    }
    bench.directory.set(None);
    bench.assert_done(&context, HERE + 8, Dma::Write, "translated again")
}

/// Would catch a directory of two or three levels in which the wrong entry is looked for, and
/// entries of upper levels that are not checked.
fn levels(stages: &RiscvStages, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(stages, vm)?;
    let (context, _tables) = usual(&bench, vm)?;
    for count in [2, 3] {
        let upper: Vec<_> =
            (1..count).map(|_| vm.ram().alloc(PAGE as usize, PAGE)).collect::<Result<_>>()?;
        let what = format!("{count} levels");
        bench.directory.set(Some(page_number(upper[0].address().0) | (ONE_LEVEL + count - 1)));
        // All other entries lead nowhere.
        for table in &upper {
            table.write(0, &[0; PAGE as usize])?;
        }
        let refused = |cause: u64, what: &str| {
            bench.assert_refused(&context, (HERE, Dma::Write), (cause, 0), what)
        };
        refused(cause::DIRECTORY_INVALID, &what)?;
        let below = upper[1..].iter().map(|table| table.address().0);
        let targets: Vec<u64> = below.chain([bench.live.directory()]).collect();
        for (table, target) in upper.iter().zip(&targets) {
            table.write_le64(0, page_number(*target) | 1)?;
        }
        for dma in BOTH {
            bench.assert_done(&context, HERE, dma, &what)?;
        }
        for (number, (table, target)) in upper.iter().zip(&targets).enumerate() {
            let good = page_number(*target) | 1;
            for bit in [1, 9, 54, 63] {
                table.write_le64(0, good | 1 << bit)?;
                refused(cause::DIRECTORY_WRONG, &format!("{what}: table {number}, bit {bit}"))?;
            }
            table.write_le64(0, good & !1)?;
            refused(cause::DIRECTORY_INVALID, &format!("{what}: table {number}"))?;
            table.write_le64(0, page_number(1 << 45) | 1)?;
            refused(cause::DIRECTORY_ACCESS, &format!("{what}: table {number}, no memory"))?;
            table.write_le64(0, good)?;
        }
    }
    Ok(())
}

/// Would catch a directory in no memory whose entries are taken for anything but that.
fn no_memory(stages: &RiscvStages, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(stages, vm)?;
    let (context, _tables) = usual(&bench, vm)?;
    bench.directory.set(Some(page_number(1 << 45) | ONE_LEVEL));
    for dma in BOTH {
        let why = (cause::DIRECTORY_ACCESS, 0);
        bench.assert_refused(&context, (HERE, dma), why, "a directory in no memory")?;
    }
    Ok(())
}

/// Which bits of a page number tell interrupt files apart, and what the others are.
const MASK: u64 = 0b1011;
const FILES: u64 = 0x28_0400;

/// A context of the second stage with entries for messages in `table`.
fn with_messages(second: &Second, table: u64) -> [u64; 8] {
    let [control, iohgatp, ta, fsc] = second.context();
    [control, iohgatp, ta, fsc, 1 << 60 | table >> 12, MASK, FILES, 0]
}

/// Would catch a message that goes to the file of another processor, to the beginning of its file
/// wherever it should, or through the second stage.
fn messages(stages: &RiscvStages, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(stages, vm)?;
    bench.needs(capability::MSI_FLAT, "translation of messages")?;
    let (table, second) = (vm.ram().alloc(PAGE as usize, PAGE)?, Second::new(vm)?);
    let context = with_messages(&second, table.address().0);
    let good = page_number(bench.memory.address().0) | 0b111;
    // The bits of the mask, packed.
    for (bits, index) in [(0b0000, 0), (0b0001, 1), (0b0010, 2), (0b1000, 4), (0b1011, 7)] {
        for offset in [0, 4] {
            table.write(0, &[0; PAGE as usize])?;
            table.write_le64(16 * index, good)?;
            let (found, records) = bench.message(&context, (FILES | bits) << 12 | offset, 0x3a5)?;
            let mut expected = vec![FILL; PAGE as usize];
            expected[offset as usize..offset as usize + 4].copy_from_slice(&[0xa5, 3, 0, 0]);
            let what = format!("file {index}, offset {offset}");
            assert_eq!(records, Vec::<[u64; 4]>::new(), "{what}: records of faults");
            assert!(found == expected, "{what}: the memory begins with {:x?}", &found[..8]);
        }
    }
    // Bits that the mask does not have make it another address, of the second stage.
    let same = bench.memory.address().0 + 16;
    let (found, records) = bench.message(&context, same, 0x1b6)?;
    assert_eq!((found[16..20].to_vec(), records), (vec![0xb6, 1, 0, 0], vec![]), "no file");
    Ok(())
}

/// Would catch entries for messages that are used although they are not valid, of an unknown kind,
/// or have bits that mean nothing yet, and records of that without an address.
fn messages_refused(stages: &RiscvStages, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(stages, vm)?;
    bench.needs(capability::MSI_FLAT, "translation of messages")?;
    let (table, second) = (vm.ram().alloc(PAGE as usize, PAGE)?, Second::new(vm)?);
    let context = with_messages(&second, table.address().0);
    let good = page_number(bench.memory.address().0);
    let at = (FILES | 1) << 12;
    let assert_refused = |context: &[u64], cause: u64, what: &str| -> Result<()> {
        let (found, records) = bench.message(context, at, 0x123)?;
        assert!(found.iter().all(|&byte| byte == FILL), "{what}: memory was written");
        bench.assert_recorded(&records, (at, Dma::Write), (cause, 0), what);
        Ok(())
    };
    let cases = [
        (good | 0b110, 0, cause::MESSAGE_INVALID, "V of 0"),
        (good | 0b001, 0, cause::MESSAGE_WRONG, "M of 0"),
        (good | 0b101, 0, cause::MESSAGE_WRONG, "M of 2"),
        (good | 0b111 | 1 << 3, 0, cause::MESSAGE_WRONG, "bit 3"),
        (good | 0b111 | 1 << 9, 0, cause::MESSAGE_WRONG, "bit 9"),
        (good | 0b111 | 1 << 54, 0, cause::MESSAGE_WRONG, "bit 54"),
        (good | 0b111 | 1 << 62, 0, cause::MESSAGE_WRONG, "bit 62"),
        (good | 0b111, 1, cause::MESSAGE_WRONG, "the second word"),
    ];
    for (lower, upper, cause, what) in cases {
        table.write_le64(16, lower)?;
        table.write_le64(24, upper)?;
        assert_refused(&context, cause, what)?;
    }
    assert_refused(&with_messages(&second, 1 << 45), cause::MESSAGE_ACCESS, "no memory")
}
