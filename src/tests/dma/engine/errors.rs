//! Addresses behind which nothing is.

use std::rc::Rc;

use super::bench::{Areas, Bench};
use crate::Result;
use crate::qemu::Vm;
use crate::qos::dma::{DmaEngine, Next, Transfer};

/// Has each channel do this work, which fails, and sees that the error is recorded, that the work
/// is over and not done, and that the channel is of use after that.
fn fails(bench: &Bench, work: &[Transfer], next: Next, what: &str) -> Result<()> {
    let engine = bench.engine;
    for channel in 0..bench.profile.channels.min(2) {
        let when = format!("channel {channel}, {what}");
        engine.clear(channel)?;
        engine.prepare(channel, work, next)?;
        engine.start(channel)?;
        bench.wait_idle(channel)?;
        assert!(engine.has_failed(channel)?, "{when}: no error is recorded");
        assert!(!engine.is_done(channel)?, "{when}: done");
        engine.clear(channel)?;
        assert!(!engine.has_failed(channel)?, "{when}: an error, cleared");
        bench.works(channel, &format!("{when}, after the error"))?;
    }
    Ok(())
}

/// Would catch a read of nothing that is not recorded, or after which the work goes on.
pub(super) fn unmapped_source(engine: &dyn DmaEngine, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    let source = bench.nowhere()?;
    let areas = Areas::new(vm, 64, 1)?;
    let it = Transfer { source, ..areas.copy(0, 0, 64, bench.unit()) };
    fails(&bench, &[it], Next::End, "a source that is nowhere")
}

/// Would catch a write to nowhere that is not recorded, or after which the work goes on.
pub(super) fn unmapped_destination(engine: &dyn DmaEngine, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    let destination = bench.nowhere()?;
    let areas = Areas::new(vm, 64, 2)?;
    let it = Transfer { destination, ..areas.copy(0, 0, 64, bench.unit()) };
    fails(&bench, &[it], Next::End, "a destination that is nowhere")?;
    areas.assert_as_expected("a destination that is nowhere")
}

/// Would catch a list whose next piece is nowhere, and that is taken for one that has ended well.
pub(super) fn unmapped_list(engine: &dyn DmaEngine, vm: &Rc<Vm>) -> Result<()> {
    let bench = Bench::new(engine, vm)?;
    bench.need_lists()?;
    let next = Next::At(bench.nowhere()?);
    let areas = Areas::new(vm, 64, 3)?;
    let it = Transfer { tells: false, ..areas.copy(0, 0, 64, bench.unit()) };
    fails(&bench, &[it], next, "a list that goes on nowhere")
}
