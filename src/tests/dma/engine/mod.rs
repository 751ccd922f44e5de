//! Every DMA engine that copies memory to memory: what is copied and what is not, whatever size,
//! place and unit; channels, lists, interrupts, errors, and what a reset leaves of its work.

use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos::dma::{DmaEngine, Step, Transfer};
use crate::{Error, Result, attacks, tests};

mod bench;
mod control;
mod errors;
mod lists;

use bench::{Areas, Bench};
use control::{held, machine_reset, machine_reset_line, own_registers, reset_state, switched_off};
use errors::{unmapped_destination, unmapped_list, unmapped_source};
use lists::{list, list_by_list, list_tells_of_each, list_without_end};

tests!(dyn DmaEngine, "dma-engine-tests":
    reset_state = "reset-state",
    copy,
    units,
    longest,
    empty,
    fixed,
    silent,
    channels,
    not_started = "not-started",
    list,
    list_by_list = "list-by-list",
    list_tells_of_each = "list-tells-of-each",
    list_without_end = "list-without-end",
    interrupt,
    masked,
    unmapped_source = "unmapped-source",
    unmapped_destination = "unmapped-destination",
    unmapped_list = "unmapped-list",
    switched_off = "switched-off",
    held,
    machine_reset = "machine-reset",
    machine_reset_line = "machine-reset-line",
    own_registers = "own-registers",
);
attacks!(dyn DmaEngine, "dma-engine-attacks": short, at_once = "at-once", own_registers = "own-registers");

/// A skip of an engine whose work, if a driver errs, may keep QEMU from answering for long.
fn need_short_work(engine: &dyn DmaEngine) -> Result<()> {
    engine.profile().takes_long.map_or(Ok(()), |why| Err(Error::skipped(why)))
}

/// Would catch an engine that does not survive odd units, addresses and sizes.
fn short(engine: &dyn DmaEngine, vm: &Rc<Vm>) -> Result<()> {
    need_short_work(engine)?;
    units(engine, vm)
}

/// Would catch an engine that does not survive channels whose registers are mixed up.
fn at_once(engine: &dyn DmaEngine, vm: &Rc<Vm>) -> Result<()> {
    need_short_work(engine)?;
    channels(engine, vm)
}

/// Numbers of units that are tried.
const COUNTS: [u64; 18] = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 255, 257];

/// Would catch a copy that is a byte too short or too long, that begins at another place, or that
/// mixes bytes up, for small sizes and all places within a word.
fn copy(engine: &dyn DmaEngine, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    let unit = bench.unit();
    for (from, to) in [(0, 0), (1, 0), (0, 1), (2, 3), (3, 1), (5, 8), (15, 7)] {
        let (from, to) = (from * unit as usize, to * unit as usize);
        let mut areas = Areas::new(vm, 257 * unit as usize, from as u32 * 31 + to as u32)?;
        for length in COUNTS.map(|count| count * unit) {
            let it = areas.copy(from, to, length as usize, unit);
            areas.expect(&it);
            let when = format!("{length} bytes, from place {from} to {to}");
            bench.run(0, &[it], &when)?;
            areas.assert_as_expected(&when)?;
        }
    }
    Ok(())
}

/// Would catch a unit that is taken for another, so that too little or too much is copied.
fn units(engine: &dyn DmaEngine, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    for &unit in bench.profile.units {
        for (from, to) in [(0, 0), (1, 0), (0, 3)] {
            let (from, to) = (from * unit as usize, to * unit as usize);
            let mut areas = Areas::new(vm, 65 * unit as usize, unit as u32)?;
            for count in [1, 2, 3, 5, 16, 65] {
                let it = areas.copy(from, to, count * unit as usize, unit);
                areas.expect(&it);
                let when = format!("{count} units of {unit} bytes, from place {from} to {to}");
                bench.run(0, &[it], &when)?;
                areas.assert_as_expected(&when)?;
            }
        }
    }
    Ok(())
}

/// Would catch a count that lacks its uppermost bits, and what is copied in parts of which one is
/// left out.
fn longest(engine: &dyn DmaEngine, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    for &unit in bench.profile.units {
        let most = bench.profile.most;
        for count in [most / 2, most / 2 + 1, most - 1, most] {
            let length = (count * unit) as usize;
            let mut areas = Areas::new(vm, length, count as u32)?;
            let it = areas.copy(0, 0, length, unit);
            areas.expect(&it);
            let when = format!("{count} units of {unit} bytes");
            bench.run(0, &[it], &when)?;
            areas.assert_as_expected(&when)?;
        }
    }
    Ok(())
}

/// Would catch an engine for which nothing is as much as there can be.
fn empty(engine: &dyn DmaEngine, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    if !bench.profile.has_empty {
        return Err(Error::skipped("the data sheet does not say what a transfer of no bytes is"));
    }
    let areas = Areas::new(vm, 64, 5)?;
    bench.run(0, &[areas.copy(0, 0, 0, bench.unit())], "no bytes")?;
    areas.assert_as_expected("no bytes")?;
    bench.works(0, "after a transfer of no bytes")
}

/// Would catch an address that should stay and increments, or the reverse, and one whose steps are
/// those of the other.
fn fixed(engine: &dyn DmaEngine, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    if bench.profile.steps.is_empty() {
        return Err(Error::skipped("the addresses of this engine always increment"));
    }
    let copies = (Step::Increment, Step::Increment);
    for &(source_step, destination_step) in bench.profile.steps.iter().chain([&copies]) {
        for &unit in bench.profile.fixed_units {
            for count in [1, 2, 3, 16, 63] {
                let length = count * unit as usize;
                let mut areas = Areas::new(vm, length, count as u32 + unit as u32)?;
                let copy = areas.copy(0, 0, length, unit);
                let it = Transfer { source_step, destination_step, ..copy };
                areas.expect(&it);
                let steps = format!("source {source_step:?}, destination {destination_step:?}");
                let when = format!("{count} units of {unit} bytes, {steps}");
                bench.run(0, &[it], &when)?;
                areas.assert_as_expected(&when)?;
            }
        }
    }
    Ok(())
}

/// Would catch work whose end is told although that is not wanted.
fn silent(engine: &dyn DmaEngine, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    for channel in 0..bench.profile.channels {
        let mut areas = Areas::new(vm, 64, channel as u32)?;
        let it = Transfer { tells: false, ..areas.copy(0, 0, 64, bench.unit()) };
        areas.expect(&it);
        let when = format!("channel {channel}, silent");
        bench.run(channel, &[it], &when)?;
        areas.assert_as_expected(&when)?;
    }
    Ok(())
}

/// Would catch channels of which one uses registers of another, starts it, or tells its end.
fn channels(engine: &dyn DmaEngine, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    let channels = bench.profile.channels;
    let length = 96;
    let mut all = Vec::new();
    for channel in 0..channels {
        let areas = Areas::new(vm, length, channel as u32 + 100)?;
        bench.prepare(channel, &[areas.copy(0, channel, length, bench.unit())], false)?;
        all.push(areas);
    }
    vm.set_up_ends()?;
    // Those with odd numbers first.
    let order = (0..channels).filter(|it| it % 2 == 1).chain((0..channels).step_by(2));
    let mut done = vec![false; channels];
    for channel in order {
        engine.start(channel)?;
        bench.wait_idle(channel)?;
        let it = all[channel].copy(0, channel, length, bench.unit());
        all[channel].expect(&it);
        done[channel] = true;
        for (other, areas) in all.iter().enumerate() {
            let when = format!("channel {other}, after {channel}");
            areas.assert_as_expected(&when)?;
            assert_eq!(engine.is_done(other)?, done[other], "{when}: done");
            assert!(!engine.has_failed(other)?, "{when}: an error");
        }
    }
    for channel in 0..channels {
        engine.clear(channel)?;
        done[channel] = false;
        for (other, &is_done) in done.iter().enumerate() {
            let when = format!("channel {other}, {channel} is cleared");
            assert_eq!(engine.is_done(other)?, is_done, "{when}: done");
        }
    }
    // All at once.
    for (channel, areas) in all.iter().enumerate() {
        bench.prepare(channel, &[areas.copy(channel, 1, length, bench.unit())], false)?;
    }
    (0..channels).try_for_each(|channel| engine.start(channel))?;
    for (channel, areas) in all.iter_mut().enumerate() {
        bench.wait_idle(channel)?;
        let it = areas.copy(channel, 1, length, bench.unit());
        areas.expect(&it);
        areas.assert_as_expected(&format!("channel {channel}, all at once"))?;
        assert!(engine.is_done(channel)?, "channel {channel}, all at once: done");
        engine.clear(channel)?;
    }
    Ok(())
}

/// Would catch work that begins before its channel is started.
fn not_started(engine: &dyn DmaEngine, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    for channel in 0..bench.profile.channels {
        let areas = Areas::new(vm, 64, channel as u32)?;
        bench.prepare(channel, &[areas.copy(0, 0, 64, bench.unit())], true)?;
        vm.qtest().clock_step(Some(std::time::Duration::from_secs(1)))?;
        let when = format!("channel {channel}, not started");
        areas.assert_as_expected(&when)?;
        assert!(!engine.is_active(channel)?, "{when}: active");
        assert!(!engine.is_done(channel)?, "{when}: done");
        engine.enable_interrupt(channel, false)?;
    }
    Ok(())
}

/// Would catch an end of work that is not told on the interrupt line, is told twice, is told
/// without being enabled, or stays when it is cleared.
fn interrupt(engine: &dyn DmaEngine, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    for channel in 0..bench.profile.channels {
        let line = bench.line(channel)?;
        for is_enabled in [true, false, true] {
            let areas = Areas::new(vm, 64, channel as u32)?;
            bench.prepare(channel, &[areas.copy(0, 0, 64, bench.unit())], is_enabled)?;
            let (before, _) = line.edges()?;
            let when = format!("channel {channel}, its interrupt enabled: {is_enabled}");
            assert!(!line.is_high()?, "{when}: the line, before it is started");
            engine.start(channel)?;
            bench.wait_idle(channel)?;
            assert_eq!(line.is_high()?, is_enabled, "{when}: the line");
            let (after, _) = line.edges()?;
            assert_eq!(after - before, u64::from(is_enabled), "{when}: how often it was raised");
            engine.clear(channel)?;
            assert!(!line.is_high()?, "{when}: the line, cleared");
        }
        engine.enable_interrupt(channel, false)?;
    }
    Ok(())
}

/// Would catch a mask that forgets, or that does not act on an interrupt that is out.
fn masked(engine: &dyn DmaEngine, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    if !bench.profile.latches {
        return Err(Error::skipped("the mask of this engine acts when work ends, not later"));
    }
    for channel in 0..bench.profile.channels {
        let line = bench.line(channel)?;
        let areas = Areas::new(vm, 64, channel as u32)?;
        bench.prepare(channel, &[areas.copy(0, 0, 64, bench.unit())], false)?;
        engine.start(channel)?;
        bench.wait_idle(channel)?;
        for is_enabled in [false, true, false, true] {
            engine.enable_interrupt(channel, is_enabled)?;
            let when = format!("channel {channel}, its interrupt enabled: {is_enabled}");
            assert_eq!(line.is_high()?, is_enabled, "{when}: the line");
            assert!(engine.is_done(channel)?, "{when}: done");
        }
        engine.clear(channel)?;
        assert!(!line.is_high()?, "channel {channel}: the line, cleared");
        engine.enable_interrupt(channel, false)?;
    }
    Ok(())
}
