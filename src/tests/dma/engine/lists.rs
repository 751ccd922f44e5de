//! Lists in memory.

use std::rc::Rc;

use super::bench::{Areas, Bench};
use crate::qemu::Vm;
use crate::qos::dma::{DmaEngine, Next, Transfer};
use crate::{Error, Result};

/// Pieces of different sizes, in another order at the destination than at the source.
fn pieces(areas: &Areas, count: usize, unit: u64) -> Vec<Transfer> {
    let room = 16 * unit as usize;
    let piece = |index: usize| {
        let length = (index % 13 + 1) * unit as usize;
        let tells = index + 1 == count;
        let copy = areas.copy(index * room, (count - 1 - index) * room, length, unit);
        Transfer { tells, ..copy }
    };
    (0..count).map(piece).collect()
}

/// Would catch a piece of a list that is left out, done twice, or done with the size of another,
/// and a list that goes on behind its end.
pub(super) fn list(engine: &dyn DmaEngine, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    bench.need_lists()?;
    for &unit in bench.profile.units {
        for count in [2, 3, 4, 17, 40] {
            let mut areas = Areas::new(vm, count * 16 * unit as usize, count as u32)?;
            let work = pieces(&areas, count, unit);
            work.iter().for_each(|it| areas.expect(it));
            let when = format!("{count} pieces in units of {unit} bytes");
            bench.run(0, &work, &when)?;
            areas.assert_as_expected(&when)?;
        }
    }
    Ok(())
}

/// Would catch a list of one channel that is gone through by another, and what is left of a list
/// in the next one.
pub(super) fn list_by_list(engine: &dyn DmaEngine, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    bench.need_lists()?;
    let unit = bench.unit();
    for round in 0..2 {
        let mut all = Vec::new();
        for channel in 0..bench.profile.channels {
            let count = (channel + round) % 3 + 1;
            let seed = (channel * 2 + round) as u32;
            let mut areas = Areas::new(vm, count * 16 * unit as usize, seed)?;
            let work = pieces(&areas, count, unit);
            bench.prepare(channel, &work, false)?;
            work.iter().for_each(|it| areas.expect(it));
            all.push(areas);
        }
        vm.set_up_ends()?;
        (0..all.len()).try_for_each(|channel| engine.start(channel))?;
        for (channel, areas) in all.iter().enumerate() {
            bench.wait_idle(channel)?;
            let when = format!("round {round}, channel {channel}");
            areas.assert_as_expected(&when)?;
            assert!(engine.is_done(channel)?, "{when}: done");
            engine.clear(channel)?;
        }
    }
    Ok(())
}

/// Would catch a list in which the end of a piece is told as another one wants it.
pub(super) fn list_tells_of_each(engine: &dyn DmaEngine, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    bench.need_lists()?;
    let unit = bench.unit();
    for telling in [None, Some(0), Some(1), Some(2)] {
        let mut areas = Areas::new(vm, 3 * 16 * unit as usize, 3)?;
        let mut work = pieces(&areas, 3, unit);
        for (index, it) in work.iter_mut().enumerate() {
            it.tells = telling == Some(index);
        }
        work.iter().for_each(|it| areas.expect(it));
        let when = format!("three pieces, of which this one tells its end: {telling:?}");
        bench.run(0, &work, &when)?;
        areas.assert_as_expected(&when)?;
    }
    Ok(())
}

/// Would catch a list without end that keeps QEMU from answering.
pub(super) fn list_without_end(engine: &dyn DmaEngine, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    bench.need_lists()?;
    if let Some(why) = bench.profile.hangs_on_loops {
        return Err(Error::skipped(why));
    }
    let unit = bench.unit();
    let mut areas = Areas::new(vm, 3 * 16 * unit as usize, 3)?;
    let mut work = pieces(&areas, 3, unit);
    work.iter_mut().for_each(|it| it.tells = false);
    engine.prepare(0, &work, Next::Second)?;
    engine.start(0)?;
    for _ in 0..100 {
        vm.qtest().clock_step_next()?;
    }
    assert!(engine.is_active(0)?, "a list without end is over");
    work.iter().for_each(|it| areas.expect(it));
    areas.assert_as_expected("a list without end")?;
    engine.prepare(0, &[areas.copy(0, 0, unit as usize, unit)], Next::End)?;
    assert!(!engine.is_active(0)?, "a channel that has other work");
    bench.works(0, "after a list without end")
}
