//! The 8254 of PCs: its six modes, how counts are written and read, and the output of counter 0 up
//! to the interrupt controller (Intel, 231164-005).

use std::rc::Rc;
use std::time::Duration;

use crate::drivers::timer::i8254::{BCD, BOTH, HIGH, I8254, LOW, TICK};
use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::qos::reset;
use crate::qos::timer::Stopwatch;
use crate::{Result, tests};

tests!(I8254, "i8254-tests":
    rate_generator = "rate-generator",
    rate_generator_output = "rate-generator-output",
    square_wave = "square-wave",
    terminal_count = "terminal-count",
    one_shot = "one-shot",
    strobes,
    gate,
    gate_stops = "gate-stops",
    bytes,
    latch,
    latch_reprogrammed = "latch-reprogrammed",
    status,
    largest,
    decimal,
    interrupts,
    independent,
    machine_reset = "machine-reset",
    any_writes = "any-writes",
);

/// Moves the clock to the middle of the tick that follows `ticks` others.
fn until(watch: &Stopwatch, ticks: u64) -> Result<()> {
    let middle = TICK.middle(ticks).unwrap_or_default();
    if middle > watch.gone() { watch.until(middle) } else { Ok(()) }
}

/// Counter 2 with its gate open, counting, and the moment at which it began.
fn begin<'a>(pit: &I8254, vm: &'a Rc<Vm>, mode: u8, count: u16) -> Result<Stopwatch<'a>> {
    pit.set_gate(true)?;
    pit.start(2, mode, count)?;
    Ok(Stopwatch::new(vm))
}

/// Would catch a counter that counts at another rate or does not begin anew at its end (mode 2).
fn rate_generator(pit: &I8254, vm: &Rc<Vm>) -> Result<()> {
    for count in [2, 10, 1000, 40_000] {
        let watch = begin(pit, vm, 2, count)?;
        let period = u64::from(count);
        for ticks in [0, 1, period / 2, period - 1, period, period + 1, 3 * period - 1] {
            if watch.gone() > TICK.middle(ticks).unwrap_or_default() {
                continue;
            }
            until(&watch, ticks)?;
            let expected = period - ticks % period;
            let what = format!("mode 2, {count}: tick {ticks}");
            assert_eq!(u64::from(pit.value(2)?), expected, "{what}: the counter");
        }
    }
    Ok(())
}

/// Would catch an output that is low for another tick than the last one of each period (mode 2).
fn rate_generator_output(pit: &I8254, vm: &Rc<Vm>) -> Result<()> {
    let watch = begin(pit, vm, 2, 10)?;
    for ticks in 0..25 {
        until(&watch, ticks)?;
        assert_eq!(pit.output()?, ticks % 10 != 9, "mode 2, 10: the output in tick {ticks}");
    }
    Ok(())
}

/// Would catch a square wave whose halves have other lengths: the first is a tick longer where the
/// count is odd (mode 3).
fn square_wave(pit: &I8254, vm: &Rc<Vm>) -> Result<()> {
    for count in [4, 10, 11, 1001] {
        let watch = begin(pit, vm, 3, count)?;
        let period = u64::from(count);
        let high = period.div_ceil(2);
        for ticks in [0, 1, high - 1, high, period - 1, period, period + high - 1, period + high] {
            if watch.gone() > TICK.middle(ticks).unwrap_or_default() {
                continue;
            }
            until(&watch, ticks)?;
            let what = format!("mode 3, {count}: the output in tick {ticks}");
            assert_eq!(pit.output()?, ticks % period < high, "{what}");
        }
    }
    Ok(())
}

/// Would catch an output that is not low until the count is over and high from then on, and a
/// counter that does not count on below zero (mode 0).
fn terminal_count(pit: &I8254, vm: &Rc<Vm>) -> Result<()> {
    for count in [1_u16, 100, 50_000] {
        let watch = begin(pit, vm, 0, count)?;
        let end = u64::from(count);
        for ticks in [0, end / 2, end - 1, end, end + 1, end + 1000] {
            if watch.gone() > TICK.middle(ticks).unwrap_or_default() {
                continue;
            }
            until(&watch, ticks)?;
            let what = format!("mode 0, {count}: tick {ticks}");
            assert_eq!(pit.output()?, ticks >= end, "{what}: the output");
            assert_eq!(pit.value(2)?, count.wrapping_sub(ticks as u16), "{what}: the counter");
        }
        // A new count has the output low again.
        pit.reload(2, count)?;
        assert!(!pit.output()?, "mode 0, {count} again: the output");
    }
    Ok(())
}

/// Would catch a pulse that does not begin with the gate, has another length, or does not begin
/// anew with the next one (mode 1).
fn one_shot(pit: &I8254, vm: &Rc<Vm>) -> Result<()> {
    pit.set_gate(false)?;
    pit.start(2, 1, 500)?;
    assert!(pit.output()?, "mode 1: the output before the gate rises");
    for _ in 0..2 {
        pit.set_gate(true)?;
        let watch = Stopwatch::new(vm);
        for ticks in [0, 250, 499, 500, 700] {
            until(&watch, ticks)?;
            assert_eq!(pit.output()?, ticks >= 500, "mode 1: the output in tick {ticks}");
        }
        pit.set_gate(false)?;
        assert!(pit.output()?, "mode 1: the output when the gate falls");
    }
    // While it is low, another rise has it begin anew.
    pit.set_gate(true)?;
    until(&Stopwatch::new(vm), 400)?;
    pit.set_gate(false)?;
    pit.set_gate(true)?;
    let watch = Stopwatch::new(vm);
    for ticks in [300, 499, 500] {
        until(&watch, ticks)?;
        assert_eq!(pit.output()?, ticks >= 500, "mode 1, again: the output in tick {ticks}");
    }
    Ok(())
}

/// Would catch a strobe that does not come a count later, lasts longer than a tick, or comes again
/// (mode 4 with the count, mode 5 with the gate).
fn strobes(pit: &I8254, vm: &Rc<Vm>) -> Result<()> {
    for mode in [4, 5] {
        pit.set_gate(mode == 4)?;
        pit.start(2, mode, 300)?;
        pit.set_gate(true)?;
        let watch = Stopwatch::new(vm);
        for ticks in [0, 150, 299, 300, 301, 600, 900] {
            until(&watch, ticks)?;
            assert_eq!(pit.output()?, ticks != 300, "mode {mode}: the output in tick {ticks}");
        }
    }
    Ok(())
}

/// Would catch a counter that does not begin anew when its gate rises in the modes that do (2 and
/// 3).
fn gate(pit: &I8254, vm: &Rc<Vm>) -> Result<()> {
    for mode in [2, 3] {
        let watch = begin(pit, vm, mode, 1000)?;
        until(&watch, 400)?;
        pit.set_gate(false)?;
        pit.set_gate(true)?;
        let watch = Stopwatch::new(vm);
        until(&watch, 100)?;
        let step = if mode == 3 { 2 } else { 1 };
        assert_eq!(pit.value(2)?, 1000 - 100 * step, "mode {mode}: begun anew by the gate");
    }
    Ok(())
}

/// Would catch a counter that goes on while its gate is low (modes 0, 2 and 3), or an output that
/// is low then (2 and 3).
fn gate_stops(pit: &I8254, vm: &Rc<Vm>) -> Result<()> {
    for mode in [0, 2, 3] {
        let watch = begin(pit, vm, mode, 1000)?;
        until(&watch, 400)?;
        pit.set_gate(false)?;
        let before = pit.value(2)?;
        until(&watch, 600)?;
        assert_eq!(pit.value(2)?, before, "mode {mode}: the counter while the gate is low");
        assert_eq!(pit.output()?, mode != 0, "mode {mode}: the output while the gate is low");
    }
    Ok(())
}

/// Would catch a count of one byte that leaves the other one, and bytes read in another order than
/// they were written.
fn bytes(pit: &I8254, vm: &Rc<Vm>) -> Result<()> {
    pit.set_gate(true)?;
    for (bits, byte, count) in [(LOW, 0x50, 0x0050_u16), (HIGH, 0x12, 0x1200)] {
        pit.control(2, 2, bits)?;
        pit.write(2, byte)?;
        let watch = Stopwatch::new(vm);
        for ticks in [0, 9, 200] {
            until(&watch, ticks)?;
            let value = u64::from(count) - ticks % u64::from(count);
            let expected = value.to_le_bytes()[usize::from(bits == HIGH)];
            let what = format!("access {bits:#x}, tick {ticks}");
            assert_eq!([pit.read(2)?, pit.read(2)?], [expected; 2], "{what}");
        }
    }
    // Until both bytes are there, the old count goes on.
    let watch = begin(pit, vm, 2, 500)?;
    pit.write(2, 0x10)?;
    until(&watch, 600)?;
    assert_eq!(pit.value(2)?, 400, "half of a count was written");
    Ok(())
}

/// Would catch a latch that does not hold the counter, is overwritten by another command, or stays
/// after both bytes were read (Counter Latch Command, Read-Back Command).
fn latch(pit: &I8254, vm: &Rc<Vm>) -> Result<()> {
    const CONTROL: crate::qos::registers::Register<u8> = crate::drivers::timer::i8254::CONTROL;
    let watch = begin(pit, vm, 2, 60_000)?;
    for (command, at) in [(0x80, 1000), (0xd8, 5000)] {
        until(&watch, at)?;
        pit.ports().set(CONTROL, command)?;
        until(&watch, at + 500)?;
        // A counter that is latched stays so.
        pit.ports().set(CONTROL, command)?;
        until(&watch, at + 700)?;
        assert_eq!(u64::from(pit.value(2)?), 60_000 - at, "latched by {command:#x}");
        assert_eq!(u64::from(pit.value(2)?), 60_000 - at - 700, "after {command:#x}");
    }
    // Status and count at once: the status comes first.
    until(&watch, 8000)?;
    pit.ports().set(CONTROL, 0xc8)?;
    until(&watch, 9000)?;
    assert_eq!(pit.read(2)? & 0x3f, 0x34, "the status that was latched");
    assert_eq!(pit.value(2)?, 52_000, "the count that was latched with it");
    Ok(())
}

/// Would catch a latch that outlives a new control word.
fn latch_reprogrammed(pit: &I8254, vm: &Rc<Vm>) -> Result<()> {
    let watch = begin(pit, vm, 2, 60_000)?;
    until(&watch, 1000)?;
    pit.ports().set(crate::drivers::timer::i8254::CONTROL, 0x80)?;
    let watch = begin(pit, vm, 2, 800)?;
    until(&watch, 100)?;
    assert_eq!(pit.value(2)?, 700, "a counter that was latched before it was set");
    Ok(())
}

/// Would catch a status that tells another mode, access or output than the counter has.
fn status(pit: &I8254, vm: &Rc<Vm>) -> Result<()> {
    pit.set_gate(true)?;
    for mode in 0..6 {
        for access in [LOW, HIGH, BOTH] {
            pit.control(2, mode, access)?;
            let told = pit.status(2)?;
            assert_eq!(told & 0x3f, access | mode << 1, "mode {mode}, access {access:#x}");
        }
    }
    // Modes 6 and 7 are 2 and 3.
    let watch = begin(pit, vm, 0, 100)?;
    assert_eq!(pit.status(2)? & 0x80, 0, "the output before the end");
    until(&watch, 150)?;
    assert_eq!(pit.status(2)? & 0x80, 0x80, "the output after the end");
    Ok(())
}

/// Would catch a count of zero that is not 65,536.
fn largest(pit: &I8254, vm: &Rc<Vm>) -> Result<()> {
    let watch = begin(pit, vm, 2, 0)?;
    for ticks in [1, 30_000, 65_535, 65_536, 65_540] {
        until(&watch, ticks)?;
        let expected = (0x1_0000 - ticks % 0x1_0000) as u16;
        assert_eq!(pit.value(2)?, expected, "tick {ticks} of 65536");
    }
    Ok(())
}

/// Would catch a counter of decimal digits that counts others, or another number of them.
fn decimal(pit: &I8254, vm: &Rc<Vm>) -> Result<()> {
    pit.set_gate(true)?;
    pit.control(2, 2, BOTH | BCD)?;
    assert_eq!(pit.status(2)? & 1, 1, "the status tells of decimal digits");
    pit.reload(2, 0x1000)?;
    let watch = Stopwatch::new(vm);
    for (ticks, expected) in [(1, 0x0999), (500, 0x0500), (999, 0x0001), (1000, 0x1000)] {
        until(&watch, ticks)?;
        assert_eq!(pit.value(2)?, expected, "tick {ticks} of 1000, in decimal digits");
    }
    Ok(())
}

/// Would catch interrupts of counter 0 that come at another rate, or not at all, in the modes that
/// systems use (0, 2 and 3).
fn interrupts(pit: &I8254, vm: &Rc<Vm>) -> Result<()> {
    // Its output is low in mode 0 until a count is over.
    pit.control(0, 0, BOTH)?;
    let line = pit.line()?;
    for (mode, count) in [(2, 1193), (3, 1193), (2, 20), (3, 64)] {
        pit.start(0, mode, count)?;
        let (watch, before) = (Stopwatch::new(vm), line.edges()?);
        until(&watch, u64::from(count) * 10 + u64::from(count) / 4)?;
        let raised = line.edges()?.0 - before.0;
        assert!((10..=11).contains(&raised), "mode {mode}, {count}: {raised} edges in 10 periods");
        pit.control(0, 0, BOTH)?;
    }
    for count in [1, 100, 30_000] {
        pit.start(0, 0, count)?;
        let (watch, before) = (Stopwatch::new(vm), line.edges()?);
        until(&watch, u64::from(count) - 1)?;
        assert_eq!(line.edges()?.0 - before.0, 0, "mode 0, {count}: before its end");
        until(&watch, u64::from(count) + 1)?;
        assert_eq!(line.edges()?.0 - before.0, 1, "mode 0, {count}: at its end");
        assert!(line.is_high()?, "mode 0, {count}: the line stays high");
        until(&watch, u64::from(count) + 70_000)?;
        assert_eq!(line.edges()?.0 - before.0, 1, "mode 0, {count}: it comes once");
    }
    Ok(())
}

/// Would catch a counter that a write of another one changes, or that the gate of counter 2 stops.
fn independent(pit: &I8254, vm: &Rc<Vm>) -> Result<()> {
    pit.set_gate(true)?;
    let counts = [10_000, 20_000, 30_000];
    for (number, count) in (0..).zip(counts) {
        pit.start(number, 2, count)?;
    }
    let watch = Stopwatch::new(vm);
    until(&watch, 700)?;
    pit.set_gate(false)?;
    for (number, count) in (0..2).zip(counts) {
        assert_eq!(pit.value(number)?, count - 700, "counter {number}");
    }
    pit.start(1, 2, 5000)?;
    assert_eq!(pit.value(0)?, counts[0] - 700, "counter 0, when counter 1 has a new count");
    Ok(())
}

/// Would catch a counter that a reset of the machine leaves with half of a count, or with half of
/// it read.
fn machine_reset(pit: &I8254, vm: &Rc<Vm>) -> Result<()> {
    begin(pit, vm, 0, 1000)?;
    pit.write(2, 0x55)?;
    pit.read(2)?;
    reset(vm)?;
    let watch = begin(pit, vm, 2, 800)?;
    until(&watch, 100)?;
    assert_eq!(pit.value(2)?, 700, "a counter that is set after a reset");
    Ok(())
}

/// Would catch control words and counts, in any order and before others are complete, at which QEMU
/// ends or is busy for ever.
fn any_writes(pit: &I8254, vm: &Rc<Vm>) -> Result<()> {
    let mut rng = fastrand::Rng::with_seed(0x8254);
    for _ in 0..600 {
        match rng.u8(..8) {
            0..=3 => pit.ports().write8(0x43, rng.u8(..))?,
            4 | 5 => pit.ports().write8(0x40 + rng.u64(..3), rng.u8(..))?,
            6 => pit.ports().write8(0x61, rng.u8(..0x10))?,
            _ => drop(pit.ports().read8(0x40 + rng.u64(..4))?),
        }
        vm.qtest().clock_step(Some(Duration::from_nanos(rng.u64(..200_000))))?;
    }
    // It still counts, once all that is latched was read.
    for _ in 0..3 {
        pit.read(2)?;
    }
    let watch = begin(pit, vm, 2, 800)?;
    until(&watch, 100)?;
    assert_eq!(pit.value(2)?, 700, "a counter that is set anew");
    Ok(())
}
