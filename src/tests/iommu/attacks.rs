//! A guest that breaks an IOMMU's tables, queues and registers: whatever comes of its devices'
//! DMA, QEMU is alive after that, and the IOMMU translates when it is set up again.

use std::rc::Rc;

use fastrand::Rng;

use super::bench::{Bench, DOMAINS, HERE};
use crate::protocol::Width;
use crate::qemu::Vm;
use crate::qos;
use crate::qos::fuzz::{Block, Fuzz};
use crate::qos::iommu::{Access, Iommu, PAGE, Scope, Tables};
use crate::{Error, Result, tests};

tests!(dyn Iommu, "iommu-attacks":
    tables_that_loop = "tables-that-loop",
    tables_elsewhere = "tables-elsewhere",
    random_entries = "random-entries",
    devices_elsewhere = "devices-elsewhere",
    pages_elsewhere = "pages-elsewhere",
    every_command = "every-command",
    random_commands = "random-commands",
    own_registers = "own-registers",
    register_widths = "register-widths",
    random_registers = "random-registers",
    random_registers_live = "random-registers-live",
);

/// Asserts that the IOMMU, set up again, translates.
#[track_caller]
fn assert_translates(iommu: &dyn Iommu, what: &str) -> Result<()> {
    let bench = Bench::new(iommu)?;
    bench.forget_faults()?;
    for number in 0..2 {
        bench.map(number, HERE, number as u64 + 3, Access::BOTH)?;
        bench.assert_reaches(number, HERE, number as u64 + 3, what)?;
    }
    bench.live.stop()
}

/// The tables of the first domain, if the IOMMU has any in memory.
fn tables(bench: &Bench) -> Result<Rc<Tables>> {
    let tables = bench.live.tables(DOMAINS[0]);
    tables.ok_or_else(|| Error::skipped("this IOMMU has no page tables in memory"))
}

/// Addresses where no table can be: registers of a device and of the IOMMU, no memory at all, the
/// ends of all addresses.
fn elsewhere(iommu: &dyn Iommu, bench: &Bench) -> Vec<u64> {
    let ram = iommu.vm().ram().spec();
    let mut all = vec![ram.base + ram.size, 1 << 38, 1 << 45, (1 << 52) - PAGE, 0xfee0_0000];
    all.push(bench.engines[0].engine().registers_at());
    all.extend(iommu.place());
    all
}

/// Uses the first engine at some addresses, and takes what is recorded.
fn use_it(bench: &Bench, at: u64) -> Result<()> {
    let engine = bench.engines[0].engine();
    for at in [at, at + 8, at + 0x1ff8] {
        engine.load(at, 8)?;
    }
    engine.load(at, 2048)?;
    bench.forget_faults()
}

/// Would catch a walk through tables that does not end, or goes deeper than there are levels.
fn tables_that_loop(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    for level in 1.. {
        let bench = Bench::new(iommu)?;
        let tables = tables(&bench)?;
        if level >= tables.levels() {
            return bench.live.stop();
        }
        tables.lead(HERE, level, tables.root())?;
        bench.live.invalidate(Scope::All)?;
        use_it(&bench, HERE)?;
        bench.live.stop()?;
        assert_translates(
            iommu,
            &format!("after a table of level {level} that leads to the first"),
        )?;
    }
    Ok(())
}

/// Would catch tables that QEMU takes for RAM although they are not.
fn tables_elsewhere(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu)?;
    let tables = tables(&bench)?;
    for level in 1..tables.levels() {
        for address in elsewhere(iommu, &bench) {
            tables.lead(HERE, level, address & !(PAGE - 1))?;
            bench.live.invalidate(Scope::All)?;
            use_it(&bench, HERE)?;
            tables.set(HERE, level, 0)?;
        }
    }
    bench.live.stop()?;
    assert_translates(iommu, "after tables in odd places")
}

/// Would catch an entry that QEMU does not expect.
fn random_entries(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu)?;
    let tables = tables(&bench)?;
    let mut rng = Rng::with_seed(14);
    for number in 0..200 {
        let level = rng.u8(0..tables.levels());
        let entry = match number {
            0..64 => 1 << number,
            64..128 => !0 << (number - 64),
            _ => rng.u64(..),
        };
        tables.set(HERE, level, entry)?;
        bench.live.invalidate(Scope::All)?;
        bench.engines[0].engine().load(HERE, 8)?;
        tables.set(HERE, level, 0)?;
        bench.forget_faults()?;
    }
    bench.live.stop()?;
    assert_translates(iommu, "after random entries")
}

/// Would catch a table of devices in an odd place that kills QEMU.
fn devices_elsewhere(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu)?;
    for address in elsewhere(iommu, &bench) {
        bench.live.lead_astray(bench.requester(0), address)?;
        use_it(&bench, HERE)?;
    }
    bench.live.stop()?;
    assert_translates(iommu, "after devices in odd places")
}

/// Would catch a page in an odd place that kills QEMU when a device reads there.
fn pages_elsewhere(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu)?;
    for (number, address) in (0..).zip(elsewhere(iommu, &bench)) {
        let at = HERE + number * PAGE;
        bench.live.map(DOMAINS[0], at, address & !(PAGE - 1), 12, Access::BOTH)?;
        use_it(&bench, at)?;
    }
    bench.live.stop()?;
    assert_translates(iommu, "after pages in odd places")
}

/// The second halves of commands: addresses where a command that writes does no harm.
fn harmless(iommu: &dyn Iommu, bench: &Bench) -> Vec<u64> {
    let mut all =
        vec![bench.at(3), bench.at(3) + 0xffc, bench.at(4) | 0x3f, 1 << 45, 0x7ff << 52, !0];
    all.extend(iommu.place());
    all
}

/// Would catch a command of any type, with any bits beside it, after which QEMU or the queue
/// does not go on.
fn every_command(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu)?;
    for second in harmless(iommu, &bench) {
        for kind in 0..=0xff {
            bench.live.command([kind, second])?;
        }
        for bit in 8..64 {
            bench.live.command([1 << bit, second])?;
        }
    }
    bench.memory.write(0, &vec![super::bench::FILL; bench.memory.len()])?;
    bench.live.stop()?;
    assert_translates(iommu, "after commands of every type")
}

/// Would catch a command with random bits after which QEMU or the queue does not go on.
fn random_commands(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu)?;
    let mut rng = Rng::with_seed(15);
    let second = harmless(iommu, &bench);
    for _ in 0..1000 {
        let at = second[rng.usize(..second.len())];
        // The type is a small number, mostly.
        let first = rng.u64(..) & !0xff | rng.u64(0..0x70);
        let first = if rng.bool() { first } else { first & !(rng.u64(..) & !0xff) };
        bench.live.command([first, at])?;
    }
    bench.live.stop()?;
    assert_translates(iommu, "after random commands")
}

/// Would catch a device whose DMA reaches the IOMMU's own registers while it is translated, and
/// kills QEMU with that.
fn own_registers(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(iommu)?;
    let Some((_, size)) = iommu.registers() else {
        return Err(Error::skipped("this IOMMU has no registers in memory"));
    };
    if let Some(base) = iommu.place() {
        for page in 0..size.div_ceil(PAGE) {
            bench.live.map(DOMAINS[0], HERE + page * PAGE, base + page * PAGE, 12, Access::BOTH)?;
        }
        for offset in (0..size.min(0x400)).step_by(8) {
            bench.engines[0].engine().load(HERE + offset, 8)?;
            for data in [[0xff; 8], [0; 8]] {
                bench.engines[0].write(HERE + offset, &data)?;
            }
        }
    }
    drop(bench);
    qos::reset(iommu.vm())?;
    assert_translates(iommu, "after its registers were written by a device")
}

/// Would catch an access to registers of some width, at some offset, that kills QEMU.
fn register_widths(iommu: &dyn Iommu, vm: &Rc<Vm>) -> Result<()> {
    let Some((registers, size)) = iommu.registers() else {
        return Err(Error::skipped("this IOMMU has no registers in memory"));
    };
    let bench = Bench::new(iommu)?;
    for width in [Width::Byte, Width::Word, Width::Long, Width::Quad] {
        for offset in (0..size.min(0x1000)).filter(|offset| offset % 4 < 2 || offset % 8 == 6) {
            if offset + width.bytes() as u64 > size {
                continue;
            }
            registers.read(offset, width)?;
            for value in [!0, 0] {
                registers.write(offset, width, value)?;
            }
        }
    }
    bench.engines[0].engine().load(HERE, 8)?;
    drop(bench);
    qos::reset(vm)?;
    assert_translates(iommu, "after its registers were written in every width")
}

/// Writes registers at random, with DMA in between.
fn check_random(iommu: &dyn Iommu, is_live: bool) -> Result<()> {
    let Some((registers, size)) = iommu.registers() else {
        return Err(Error::skipped("this IOMMU has no registers in memory"));
    };
    for seed in 0..4 {
        let bench = Bench::new(iommu)?;
        if !is_live {
            bench.live.stop()?;
        }
        let at = bench.at(4);
        let mut fuzz = Fuzz::new(seed, vec![at, at + 0x1000, 1 << 45]);
        for _ in 0..20 {
            let block = Block { space: &*registers, base: 0, size, widest: Width::Quad };
            fuzz.run(&[block], 100)?;
            bench.engines[0].engine().load(HERE, 8)?;
        }
        drop(bench);
        qos::reset(iommu.vm())?;
        assert_translates(iommu, &format!("after registers were written at random, seed {seed}"))?;
    }
    Ok(())
}

/// Would catch registers that, written at random, kill QEMU.
fn random_registers(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    check_random(iommu, false)
}

/// Would catch registers that, written at random while it translates, kill QEMU.
fn random_registers_live(iommu: &dyn Iommu, _: &Rc<Vm>) -> Result<()> {
    check_random(iommu, true)
}
