//! What turns an engine off, holds it, resets it, or comes to it from itself.

use std::rc::Rc;
use std::time::Duration;

use super::bench::{Areas, Bench};
use crate::qemu::Vm;
use crate::qos::dma::{DmaEngine, Next, Transfer};
use crate::qos::{reset, settle};
use crate::{Error, Result};

/// Would catch a channel that has work, or whose work is done, before anybody gave it any.
pub(super) fn reset_state(engine: &dyn DmaEngine, vm: &Rc<Vm>) -> Result<()> {
    for when in ["at first", "later"] {
        for channel in 0..engine.profile().channels {
            assert!(!engine.is_active(channel)?, "channel {channel}, {when}: active");
            assert!(!engine.is_done(channel)?, "channel {channel}, {when}: done");
            assert!(!engine.has_failed(channel)?, "channel {channel}, {when}: an error");
        }
        vm.qtest().clock_step(Some(Duration::from_secs(1)))?;
    }
    Ok(())
}

/// Would catch an engine that is off and works, or that is turned on and does not do the work for
/// which its channels were started.
pub(super) fn switched_off(engine: &dyn DmaEngine, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    if engine.enable(false)?.is_none() {
        return Err(Error::skipped("this engine has no switch"));
    }
    let mut areas = Areas::new(vm, 64, 6)?;
    let it = areas.copy(0, 0, 64, bench.unit());
    bench.prepare(0, &[it], false)?;
    engine.start(0)?;
    vm.set_up_ends()?;
    vm.qtest().clock_step(Some(Duration::from_secs(1)))?;
    areas.assert_as_expected("turned off")?;
    assert!(!engine.is_done(0)?, "turned off: done");
    engine.enable(true)?;
    bench.wait_idle(0)?;
    areas.expect(&it);
    areas.assert_as_expected("turned on")?;
    assert!(engine.is_done(0)?, "turned on: done");
    engine.clear(0)
}

/// Would catch a channel that is held and works, holds others, or does not go on.
pub(super) fn held(engine: &dyn DmaEngine, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    let channels = bench.profile.channels;
    for channel in 0..channels {
        let mut areas = Areas::new(vm, 64, 7)?;
        let it = areas.copy(0, 0, 64, bench.unit());
        bench.prepare(channel, &[it], false)?;
        if engine.hold(channel, true)?.is_none() {
            return Err(Error::skipped("a channel of this engine cannot be held"));
        }
        engine.start(channel)?;
        vm.qtest().clock_step(Some(Duration::from_secs(1)))?;
        areas.assert_as_expected("held")?;
        assert!(!engine.is_done(channel)?, "held: done");
        if channels > 1 {
            bench.works((channel + 1) % channels, "another channel is held")?;
            areas.assert_as_expected("held, while another works")?;
        }
        engine.hold(channel, false)?;
        bench.wait_idle(channel)?;
        areas.expect(&it);
        areas.assert_as_expected("let go")?;
        assert!(engine.is_done(channel)?, "let go: done");
        engine.clear(channel)?;
    }
    Ok(())
}

/// Would catch a reset of the machine that leaves the interrupt line high.
pub(super) fn machine_reset_line(engine: &dyn DmaEngine, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    let line = bench.line(0)?;
    let areas = Areas::new(vm, 64, 8)?;
    bench.prepare(0, &[areas.copy(0, 0, 64, bench.unit())], true)?;
    engine.start(0)?;
    bench.wait_idle(0)?;
    // Where a channel's registers alone do not act on the line, this does.
    engine.enable(true)?;
    assert!(line.is_high()?, "the line, before a reset");
    reset(vm)?;
    assert!(!line.is_high()?, "the line, after a reset");
    Ok(())
}

/// Would catch a reset of the machine that leaves work, or its end, and one that starts what was
/// prepared.
pub(super) fn machine_reset(engine: &dyn DmaEngine, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    let channels = bench.profile.channels;
    bench.prepare(0, &[Areas::new(vm, 64, 8)?.copy(0, 0, 64, bench.unit())], true)?;
    engine.start(0)?;
    bench.wait_idle(0)?;
    assert!(engine.is_done(0)?, "before a reset: done");
    let mut all = Vec::new();
    for channel in 1..channels {
        let areas = Areas::new(vm, 64, 9)?;
        bench.prepare(channel, &[areas.copy(0, 0, 64, bench.unit())], true)?;
        all.push(areas);
    }
    reset(vm)?;
    for channel in 0..channels {
        let when = format!("channel {channel}, after a reset");
        assert!(!engine.is_active(channel)?, "{when}: active");
        assert!(!engine.is_done(channel)?, "{when}: done");
        assert!(!engine.has_failed(channel)?, "{when}: an error");
    }
    engine.enable(true)?;
    vm.qtest().clock_step(Some(Duration::from_secs(1)))?;
    all.iter().try_for_each(|areas| areas.assert_as_expected("after a reset"))?;
    (0..channels).try_for_each(|channel| bench.works(channel, "after a reset"))
}

/// Would catch an engine that does not survive what it writes to its own registers: nothing, ones,
/// bytes by chance, and what starts another of its channels, or the one that writes.
pub(super) fn own_registers(engine: &dyn DmaEngine, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    if let Some(why) = bench.profile.takes_long.filter(|_| vm.errs()) {
        return Err(Error::skipped(why));
    }
    let (base, size) = engine.registers();
    let unit = bench.profile.register_unit;
    let words = (size / 4).min(bench.profile.most * unit / 4) as usize;
    let buffer = vm.ram().alloc(words * 4, 64)?;
    let few: Vec<u32> = (0..words as u32).map(|it| it & 1).collect();
    let chance = super::bench::pattern(words * 4, 1);
    let ones = few.iter().flat_map(|it| it.to_le_bytes()).collect();
    for bytes in [vec![0; words * 4], ones, chance] {
        buffer.write(0, &bytes)?;
        for channel in 0..bench.profile.channels.min(2) {
            let it = Transfer::copy(buffer.address().0, base, words as u64 * 4, unit);
            engine.prepare(channel, &[Transfer { tells: false, ..it }], Next::End)?;
            engine.start(channel)?;
            vm.qtest().clock_step(Some(Duration::from_millis(1)))?;
            settle(vm)?;
            reset(vm)?;
            engine.enable(true)?;
        }
    }
    if bench.profile.channels > 1 {
        let areas = Areas::new(vm, 64, 10)?;
        bench.prepare(1, &[areas.copy(0, 0, 64, bench.unit())], false)?;
        for (index, (address, value)) in engine.starting_writes(1).into_iter().enumerate() {
            buffer.write_le32(index * 4, value)?;
            let word = Transfer::copy(buffer.address().0 + index as u64 * 4, address, 4, unit);
            bench.prepare(0, &[word], false)?;
            engine.start(0)?;
            settle(vm)?;
        }
    }
    reset(vm)?;
    bench.engine.enable(true)?;
    bench.works(0, "after the engine wrote to its own registers")
}
