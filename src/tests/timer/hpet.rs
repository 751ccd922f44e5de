//! The high precision event timers of PCs: at which nanosecond of the virtual clock an interrupt
//! comes, how often, and what of them stands still when (IA-PC HPET Specification 1.0a).

use std::rc::Rc;
use std::time::Duration;

use crate::drivers::timer::hpet::{
    COMPARATOR, CONFIGURATION, COUNTER, ENABLE, Hpet, INTERRUPT, LEGACY, LEVEL, NARROW, PERIODIC,
    SET_VALUE, STATUS, TIMER, TIMERS, of,
};
use crate::qemu::Vm;
use crate::qos::interrupt::InterruptLine;
use crate::qos::registers::RegistersExt;
use crate::qos::reset;
use crate::qos::timer::Stopwatch;
use crate::{Result, tests};

tests!(Hpet, "hpet-tests":
    counter,
    counter_wraps = "counter-wraps",
    one_shot = "one-shot",
    periodic,
    level,
    masked,
    narrow,
    halted,
    independent,
    legacy,
    machine_reset = "machine-reset",
    reset_status = "reset-status",
    any_writes = "any-writes",
);

/// One of the timers, routed, with its line watched.
struct Bench<'a> {
    hpet: &'a Hpet,
    number: u64,
    tick: Duration,
    /// The bits of its configuration that route it.
    route: u64,
    line: InterruptLine,
}

impl<'a> Bench<'a> {
    /// The timer, its interrupt not enabled, the counter halted at zero.
    fn new(hpet: &'a Hpet, number: u64) -> Result<Self> {
        let route = hpet.route(number)?;
        hpet.registers().set(CONFIGURATION, 0)?;
        hpet.registers().set(COUNTER, 0)?;
        let line = hpet.line(route)?;
        Ok(Self { hpet, number, tick: hpet.tick()?, route: route << 9, line })
    }

    /// Its configuration, routed, with these bits.
    fn configure(&self, bits: u64) -> Result<()> {
        self.hpet.registers().set(of(TIMER, self.number), self.route | bits)
    }

    fn compare(&self, value: u64) -> Result<()> {
        self.hpet.registers().set(of(COMPARATOR, self.number), value)
    }

    fn run(&self, is_running: bool) -> Result<()> {
        self.hpet.registers().set(CONFIGURATION, if is_running { ENABLE } else { 0 })
    }

    fn count(&self) -> Result<u64> {
        self.hpet.registers().get(COUNTER)
    }

    /// The edges that have come since `before`.
    fn came(&self, before: u64) -> Result<u64> {
        Ok(self.line.edges()?.0 - before)
    }

    fn time(&self, ticks: u64) -> Duration {
        self.tick * ticks as u32
    }

    /// Sees that nothing comes until a nanosecond before `ticks` ticks are over on `watch`, and one
    /// interrupt when they are.
    fn assert_comes(&self, watch: &Stopwatch, ticks: u64, what: &str) -> Result<()> {
        let before = self.line.edges()?.0;
        watch.until(self.time(ticks) - Duration::from_nanos(1))?;
        assert_eq!(self.came(before)?, 0, "timer {}, {what}: a moment before", self.number);
        watch.until(self.time(ticks))?;
        assert_eq!(self.came(before)?, 1, "timer {}, {what}: at its end", self.number);
        Ok(())
    }
}

fn each(hpet: &Hpet, check: impl Fn(&Bench) -> Result<()>) -> Result<()> {
    for number in 0..TIMERS {
        let bench = Bench::new(hpet, number)?;
        bench.configure(0)?;
        check(&bench)?;
        bench.configure(0)?;
    }
    Ok(())
}

/// Would catch a counter that runs at another rate than it says, or while it is halted, loses its
/// value then, or whose halves are not those of one number.
fn counter(hpet: &Hpet, vm: &Rc<Vm>) -> Result<()> {
    let (registers, tick) = (hpet.registers(), hpet.tick()?);
    registers.set(CONFIGURATION, 0)?;
    for start in [0, 1000, 0xffff_ff00, 0x0123_ffff_ffff_ff00] {
        registers.set(COUNTER, start)?;
        assert_eq!(registers.get(COUNTER)?, start, "the counter, written");
        let watch = Stopwatch::new(vm);
        watch.until(tick * 1000)?;
        assert_eq!(registers.get(COUNTER)?, start, "the counter, halted");
        registers.set(CONFIGURATION, ENABLE)?;
        let watch = Stopwatch::new(vm);
        for ticks in [0, 1, 2, 255, 256, 100_000] {
            watch.until(tick * ticks)?;
            let expected = start.wrapping_add(ticks.into());
            assert_eq!(registers.get(COUNTER)?, expected, "from {start:#x}, {ticks} ticks");
            let halves = [registers.read32(0xf0)?, registers.read32(0xf4)?];
            assert_eq!(halves, [expected as u32, (expected >> 32) as u32], "in halves");
        }
        registers.set(CONFIGURATION, 0)?;
        assert_eq!(registers.get(COUNTER)?, start.wrapping_add(100_000), "halted again");
    }
    Ok(())
}

/// Would catch a counter that does not begin anew behind 64 bits, and not before.
fn counter_wraps(hpet: &Hpet, vm: &Rc<Vm>) -> Result<()> {
    let (registers, tick) = (hpet.registers(), hpet.tick()?);
    registers.set(CONFIGURATION, 0)?;
    registers.set(COUNTER, !0 - 0xff)?;
    registers.set(CONFIGURATION, ENABLE)?;
    let watch = Stopwatch::new(vm);
    for ticks in [0, 0xff, 0x100, 0x1000_u32] {
        watch.until(tick * ticks)?;
        let expected = (!0_u64 - 0xff).wrapping_add(ticks.into());
        assert_eq!(registers.get(COUNTER)?, expected, "after {ticks} ticks");
    }
    registers.set(CONFIGURATION, 0)
}

/// Would catch an interrupt that comes too early, too late, again, or not at all.
fn one_shot(hpet: &Hpet, vm: &Rc<Vm>) -> Result<()> {
    each(hpet, |bench| {
        for ticks in [1, 100, 12_345, 10_000_000] {
            bench.run(true)?;
            bench.configure(INTERRUPT)?;
            let (now, watch) = (bench.count()?, Stopwatch::new(vm));
            bench.compare(now + ticks)?;
            bench.assert_comes(&watch, ticks, &format!("{ticks} ticks"))?;
            let before = bench.line.edges()?.0;
            watch.until(bench.time(ticks * 5))?;
            assert_eq!(bench.came(before)?, 0, "timer {}: it comes once", bench.number);
            assert_eq!(hpet.registers().get(STATUS)?, 0, "the status of an edge");
            bench.run(false)?;
        }
        Ok(())
    })
}

/// Would catch a period that is another than the one that was set, from the second interrupt on
/// above all, and a comparator that does not show the next one.
fn periodic(hpet: &Hpet, vm: &Rc<Vm>) -> Result<()> {
    each(hpet, |bench| {
        for (first, period) in [(500, 500), (200, 1500), (7000, 300)] {
            hpet.registers().set(COUNTER, 0)?;
            bench.configure(INTERRUPT | PERIODIC | SET_VALUE)?;
            bench.compare(first)?;
            bench.compare(period)?;
            bench.run(true)?;
            let watch = Stopwatch::new(vm);
            for times in 0..5 {
                let end = first + times * period;
                let what = format!("first {first}, period {period}, number {times}");
                bench.assert_comes(&watch, end, &what)?;
                watch.until(bench.time(end + 1))?;
                let next = hpet.registers().get(of(COMPARATOR, bench.number))?;
                assert_eq!(next, end + period, "timer {}, {what}: the next", bench.number);
            }
            bench.run(false)?;
            bench.configure(0)?;
        }
        Ok(())
    })
}

/// Would catch a level that is not held, is not told in the status, or is not lowered when its bit
/// of the status is cleared, or is by another bit.
fn level(hpet: &Hpet, vm: &Rc<Vm>) -> Result<()> {
    each(hpet, |bench| {
        let registers = hpet.registers();
        let (number, bit) = (bench.number, 1 << bench.number);
        for _ in 0..2 {
            registers.set(COUNTER, 0)?;
            bench.compare(1000)?;
            bench.configure(INTERRUPT | LEVEL)?;
            bench.run(true)?;
            let watch = Stopwatch::new(vm);
            bench.assert_comes(&watch, 1000, "a level")?;
            watch.until(bench.time(5000))?;
            assert!(bench.line.is_high()?, "timer {number}: the level, later");
            assert_eq!(registers.get(STATUS)?, bit, "timer {number}: the status");
            registers.set(STATUS, !bit)?;
            assert!(bench.line.is_high()?, "timer {number}: others' bits are cleared");
            registers.set(STATUS, bit)?;
            assert!(!bench.line.is_high()?, "timer {number}: its bit is cleared");
            assert_eq!(registers.get(STATUS)?, 0, "timer {number}: the status, cleared");
            bench.run(false)?;
        }
        Ok(())
    })
}

/// Would catch an interrupt that gets out of a timer whose interrupt is not enabled.
fn masked(hpet: &Hpet, vm: &Rc<Vm>) -> Result<()> {
    each(hpet, |bench| {
        for bits in [0, LEVEL] {
            hpet.registers().set(COUNTER, 0)?;
            bench.compare(100)?;
            bench.configure(bits)?;
            bench.run(true)?;
            let (watch, before) = (Stopwatch::new(vm), bench.line.edges()?.0);
            watch.until(bench.time(1000))?;
            assert_eq!(bench.came(before)?, 0, "timer {}, bits {bits:#x}", bench.number);
            hpet.registers().set(STATUS, !0)?;
            bench.run(false)?;
        }
        Ok(())
    })
}

/// Would catch a timer of 32 bits that does not compare by those alone, or keeps more.
fn narrow(hpet: &Hpet, vm: &Rc<Vm>) -> Result<()> {
    each(hpet, |bench| {
        let registers = hpet.registers();
        registers.set(COUNTER, 0x5_ffff_ff00)?;
        bench.configure(INTERRUPT | NARROW | PERIODIC | SET_VALUE)?;
        bench.compare(0xffff_ff80)?;
        bench.compare(0x100)?;
        bench.run(true)?;
        let watch = Stopwatch::new(vm);
        // The second interrupt comes behind the end of 32 bits.
        for (times, end) in [(0, 0x80), (1, 0x180), (2, 0x280)] {
            bench.assert_comes(&watch, end, &format!("32 bits, number {times}"))?;
        }
        let next = registers.get(of(COMPARATOR, bench.number))?;
        assert_eq!(next >> 32, 0, "timer {}: the comparator {next:#x}", bench.number);
        bench.run(false)?;
        bench.configure(0)
    })
}

/// Would catch a timer that goes on while the counter is halted, or not with it afterwards.
fn halted(hpet: &Hpet, vm: &Rc<Vm>) -> Result<()> {
    each(hpet, |bench| {
        hpet.registers().set(COUNTER, 0)?;
        bench.configure(INTERRUPT)?;
        bench.compare(1000)?;
        bench.run(true)?;
        Stopwatch::new(vm).until(bench.time(400))?;
        bench.run(false)?;
        let before = bench.line.edges()?.0;
        Stopwatch::new(vm).until(bench.time(5000))?;
        assert_eq!(bench.came(before)?, 0, "timer {}: halted", bench.number);
        assert_eq!(bench.count()?, 400, "timer {}: the counter", bench.number);
        bench.run(true)?;
        bench.assert_comes(&Stopwatch::new(vm), 600, "going on")?;
        bench.run(false)
    })
}

/// Would catch a timer whose comparator or configuration is another's.
fn independent(hpet: &Hpet, vm: &Rc<Vm>) -> Result<()> {
    let registers = hpet.registers();
    registers.set(CONFIGURATION, 0)?;
    registers.set(COUNTER, 0)?;
    let (route, tick) = (hpet.route(0)?, hpet.tick()?);
    let ends = [3000, 1000, 2000];
    for number in 0..TIMERS {
        registers.set(of(TIMER, number), route << 9 | INTERRUPT | LEVEL)?;
        registers.set(of(COMPARATOR, number), ends[number as usize])?;
    }
    registers.set(CONFIGURATION, ENABLE)?;
    let watch = Stopwatch::new(vm);
    for (after, status) in [(999, 0), (1500, 0b010), (2500, 0b110), (3500, 0b111)] {
        watch.until(tick * after)?;
        assert_eq!(registers.get(STATUS)?, status, "the status after {after} ticks");
    }
    registers.set(STATUS, 0b101)?;
    assert_eq!(registers.get(STATUS)?, 0b010, "the status, two bits cleared");
    registers.set(STATUS, 0b010)?;
    registers.set(CONFIGURATION, 0)
}

/// Would catch a timer 0 that does not take the place of the 8254, which then must be silent, or
/// does not give it back.
fn legacy(hpet: &Hpet, vm: &Rc<Vm>) -> Result<()> {
    let (registers, tick) = (hpet.registers(), hpet.tick()?);
    hpet.route(0)?;
    // To QEMU it is input 0 of the I/O APIC, which stands for input 2 there.
    let line = hpet.line(0)?;
    registers.set(COUNTER, 0)?;
    registers.set(of(TIMER, 0), INTERRUPT)?;
    registers.set(of(COMPARATOR, 0), 1000)?;
    registers.set(CONFIGURATION, ENABLE | LEGACY)?;
    let watch = Stopwatch::new(vm);
    watch.until(tick * 999)?;
    let before = line.edges()?.0;
    watch.until(tick * 1000)?;
    assert_eq!(line.edges()?.0 - before, 1, "timer 0 in the place of the 8254");
    // The 8254 counts, but nobody hears it.
    let qtest = vm.qtest();
    qtest.outb(0x43, 0x34)?;
    qtest.outb(0x40, 0xe8)?;
    qtest.outb(0x40, 0x03)?;
    let before = line.edges()?.0;
    watch.until(Duration::from_millis(20))?;
    assert_eq!(line.edges()?.0, before, "the 8254, replaced");
    registers.set(CONFIGURATION, 0)?;
    let before = line.edges()?.0;
    watch.until(Duration::from_millis(40))?;
    let came = line.edges()?.0 - before;
    assert!((20..=30).contains(&came), "the 8254, again: {came} edges in 20 ms");
    qtest.outb(0x43, 0x30)?;
    Ok(())
}

/// Would catch a counter or an interrupt that a reset of the machine leaves running.
fn machine_reset(hpet: &Hpet, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(hpet, 1)?;
    bench.configure(INTERRUPT | LEVEL)?;
    bench.compare(1000)?;
    bench.run(true)?;
    Stopwatch::new(vm).until(bench.time(500))?;
    reset(vm)?;
    let registers = hpet.registers();
    assert_eq!(registers.get(CONFIGURATION)?, 0, "the configuration after a reset");
    assert_eq!(registers.get(COUNTER)?, 0, "the counter after a reset");
    hpet.route(1)?;
    let before = bench.line.edges()?.0;
    Stopwatch::new(vm).until(bench.time(5000))?;
    assert_eq!(bench.came(before)?, 0, "an interrupt that was due after the reset");
    assert_eq!(registers.get(COUNTER)?, 0, "the counter long after a reset");
    Ok(())
}

/// Would catch interrupts that were pending and are told of after a reset of the machine: the
/// status register is 0 then (section 2.3.6), and no line stays high.
fn reset_status(hpet: &Hpet, vm: &Rc<Vm>) -> Result<()> {
    let registers = hpet.registers();
    for number in 0..TIMERS {
        let bench = Bench::new(hpet, number)?;
        bench.configure(INTERRUPT | LEVEL)?;
        bench.compare(1000)?;
        bench.run(true)?;
        Stopwatch::new(vm).until(bench.time(1500))?;
        assert_eq!(registers.get(STATUS)?, 1 << number, "timer {number}: pending");
        reset(vm)?;
        assert_eq!(registers.get(STATUS)?, 0, "timer {number}: after a reset");
        hpet.route(number)?;
        assert!(!bench.line.is_high()?, "timer {number}: its line after a reset");
    }
    Ok(())
}

/// Would catch values of any register, in any order and width, at which QEMU ends or does not
/// return.
fn any_writes(hpet: &Hpet, vm: &Rc<Vm>) -> Result<()> {
    let (registers, mut rng) = (hpet.registers(), fastrand::Rng::with_seed(0x4be7));
    let some = [0, 1, 0xff, 0xffff_ffff, 1 << 32, !0, !0 - 1, 1 << 63];
    for _ in 0..800 {
        let offset =
            if rng.bool() { rng.u64(..0x30) & !7 } else { 0x100 + (rng.u64(..0x300) & !3) };
        let value = if rng.bool() { some[rng.usize(..some.len())] } else { rng.u64(..) };
        match rng.u8(..4) {
            0 => registers.write32(offset, value as u32)?,
            // Periods of a tick make a storm of interrupts, which is what they are asked for.
            1 if offset & 0x1f != 8 => registers.write64(offset & !7, value)?,
            2 => drop(registers.read32(offset)?),
            _ => drop(registers.read64(offset & !7)?),
        }
        vm.qtest().clock_step(Some(Duration::from_nanos(rng.u64(..2000))))?;
    }
    registers.set(CONFIGURATION, 0)?;
    counter(hpet, vm)
}
