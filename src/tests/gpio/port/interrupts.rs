//! The interrupts of ports: edges and levels, pending and masked ones.

use std::rc::Rc;

use super::{each, pins, quiet, sample, start};
use crate::qemu::Vm;
use crate::qos::gpio::{Gpio, Ports, Trigger};
use crate::qos::interrupt::InterruptLine;
use crate::{Error, Result};

/// As [`start`], of ports that have interrupts and can be driven.
fn start_interrupts(ports: &Ports, vm: &Vm) -> Result<()> {
    start(ports, vm)?;
    let mut ports = each(ports).map(|(_, port)| port);
    if ports.all(|port| port.profile().triggers.is_empty()) {
        return Err(Error::skipped("this port has no interrupts"));
    }
    Ok(())
}

/// Asserts that just these pins are pending, and that the line is as it should be.
#[track_caller]
pub(super) fn assert_pending(
    port: &dyn Gpio,
    line: Option<&InterruptLine>,
    pending: u32,
    enabled: u32,
    when: &str,
) -> Result<()> {
    assert_eq!(port.pending()?, pending, "{when}: pending");
    if let Some(line) = line {
        assert_eq!(line.is_high()?, pending & enabled != 0, "{when}: the line");
    }
    Ok(())
}

/// Would catch an interrupt by an edge that does not come, comes by the other edge or a level, is
/// another pin's, or is not cleared.
pub(super) fn edges(ports: &Ports, vm: &Rc<Vm>) -> Result<()> {
    start_interrupts(ports, vm)?;
    let kinds = [Trigger::Rising, Trigger::Falling, Trigger::Both];
    for (number, port) in each(ports) {
        let known = port.profile().triggers;
        for pin in sample(port, number) {
            let line = port.interrupt(pin)?;
            let bit = 1 << pin;
            for trigger in kinds.into_iter().filter(|kind| known.contains(kind)) {
                quiet(port)?;
                port.set_trigger(pin, trigger)?;
                port.clear(bit)?;
                port.enable(bit)?;
                let check = |pending: bool, when: &str| {
                    let when = format!("port {number}, pin {pin}, {trigger:?}, {when}");
                    let pending = if pending { bit } else { 0 };
                    assert_pending(port, line.as_ref(), pending, bit, &when)
                };
                check(false, "low")?;
                for round in 0..2 {
                    for is_high in [true, false] {
                        let when = |what| format!("round {round}, high {is_high}, {what}");
                        let comes = match trigger {
                            Trigger::Rising => is_high,
                            Trigger::Falling => !is_high,
                            _ => true,
                        };
                        port.outside().drive(pin, is_high)?;
                        check(comes, &when("changed"))?;
                        port.outside().drive(pin, is_high)?;
                        check(comes, &when("driven so again"))?;
                        // Zeroes, and another pin's bit, clear nothing.
                        port.clear(!bit)?;
                        check(comes, &when("another one cleared"))?;
                        port.clear(bit)?;
                        check(false, &when("cleared"))?;
                    }
                }
            }
        }
        quiet(port)?;
    }
    Ok(())
}

/// Would catch edges that are counted: an interrupt that came several times, on one pin or on two
/// at once, and that one clear leaves asserted.
pub(super) fn edges_pile_up(ports: &Ports, vm: &Rc<Vm>) -> Result<()> {
    start_interrupts(ports, vm)?;
    for (number, port) in each(ports) {
        let Some(pin) = pins(port).next() else { continue };
        let Some(other) = pins(port).last() else { continue };
        let (line, other_line) = (port.interrupt(pin)?, port.interrupt(other)?);
        let both = 1 << pin | 1 << other;
        quiet(port)?;
        port.enable(both)?;
        for round in 0..3 {
            for _ in 0..3 {
                port.outside().drive(pin, true)?;
                port.outside().drive(pin, false)?;
            }
            port.outside().drive(other, true)?;
            port.outside().drive(other, false)?;
            let when = |what| format!("port {number}, round {round}, {what}");
            assert_pending(port, line.as_ref(), both, both, &when("edges on two pins"))?;
            port.clear(1 << pin)?;
            let one = both & !(1 << pin);
            assert_pending(port, other_line.as_ref(), one, both, &when("one cleared"))?;
            port.clear(both)?;
            assert_pending(port, line.as_ref(), 0, both, &when("both cleared"))?;
            assert_pending(port, other_line.as_ref(), 0, both, &when("both cleared"))?;
        }
        quiet(port)?;
    }
    Ok(())
}

/// Would catch an interrupt that was pending when the machine went on elsewhere and that is lost,
/// cannot be cleared with later ones, or stays asserted then.
pub(super) fn pending_across(ports: &Ports, vm: &Rc<Vm>) -> Result<()> {
    each(ports).try_for_each(|(_, port)| quiet(port))?;
    let mut raised = Vec::new();
    for (_, port) in each(ports) {
        let mut pins = pins(port).filter(|_| !port.profile().triggers.is_empty());
        let (Some(first), Some(second)) = (pins.next(), pins.next()) else { continue };
        let Some(third) = pins.next() else { continue };
        let line = port.interrupt(first)?;
        port.enable(1 << first | 1 << second | 1 << third)?;
        port.outside().drive(first, true)?;
        port.outside().drive(second, true)?;
        raised.push((port, line, 1 << first | 1 << second, third));
    }
    if raised.is_empty() {
        return Err(Error::skipped("this port has no interrupts"));
    }
    vm.set_up_ends()?;
    for (port, line, before, third) in &raised {
        let all = before | 1 << third;
        assert_pending(*port, line.as_ref(), *before, all, "from before")?;
        port.outside().drive(*third, true)?;
        assert_pending(*port, line.as_ref(), all, all, "with a later one")?;
        port.clear(all)?;
        // The line may be that of several ports.
        assert_pending(*port, None, 0, all, "all are cleared at once")?;
    }
    for (port, line, ..) in &raised {
        assert_pending(*port, line.as_ref(), 0, 0, "when nothing is pending any more")?;
        quiet(*port)?;
    }
    Ok(())
}

/// Would catch an interrupt by a level that does not come, comes by the other level, ends when it
/// is cleared though the level stays, or stays when the level has gone and it is cleared.
pub(super) fn levels(ports: &Ports, vm: &Rc<Vm>) -> Result<()> {
    start_interrupts(ports, vm)?;
    let kinds = [Trigger::High, Trigger::Low];
    for (number, port) in each(ports) {
        let known = port.profile().triggers;
        for pin in sample(port, number) {
            let line = port.interrupt(pin)?;
            let bit = 1 << pin;
            for trigger in kinds.into_iter().filter(|kind| known.contains(kind)) {
                quiet(port)?;
                let active = trigger == Trigger::High;
                port.outside().drive(pin, !active)?;
                port.set_trigger(pin, trigger)?;
                port.clear(bit)?;
                port.enable(bit)?;
                for round in 0..2 {
                    let check = |pending: bool, when: &str| {
                        let when = format!("pin {pin}, {trigger:?}, round {round}, {when}");
                        let pending = if pending { bit } else { 0 };
                        let when = format!("port {number}, {when}");
                        assert_pending(port, line.as_ref(), pending, bit, &when)
                    };
                    check(false, "not there")?;
                    port.outside().drive(pin, active)?;
                    check(true, "there")?;
                    port.clear(bit)?;
                    check(true, "cleared while it is there")?;
                    port.outside().drive(pin, !active)?;
                    port.clear(bit)?;
                    check(false, "gone and cleared")?;
                }
            }
        }
        quiet(port)?;
    }
    Ok(())
}

/// Would catch an interrupt that gets out though it is masked, is not told by the status before the
/// mask, or is lost when it is enabled.
pub(super) fn masked(ports: &Ports, vm: &Rc<Vm>) -> Result<()> {
    start_interrupts(ports, vm)?;
    for (number, port) in each(ports) {
        let all = port.profile().pins;
        let latches = port.profile().latches_masked;
        let mut pending = 0;
        for pin in sample(port, number) {
            let line = port.interrupt(pin)?;
            let bit = 1 << pin;
            let when = |what| format!("port {number}, pin {pin}, {what}");
            port.enable(0)?;
            port.outside().drive(pin, true)?;
            if latches {
                pending |= bit;
                assert_pending(port, line.as_ref(), pending, 0, &when("masked"))?;
                port.enable(bit)?;
                assert_pending(port, line.as_ref(), pending, bit, &when("enabled"))?;
                port.enable(all & !pending)?;
                assert_pending(port, line.as_ref(), pending, 0, &when("others enabled"))?;
                continue;
            }
            let is_high = || line.as_ref().map_or(Ok(false), InterruptLine::is_high);
            assert!(!is_high()?, "{}", when("masked"));
            port.enable(all & !bit)?;
            assert!(!is_high()?, "{}", when("others enabled"));
            port.outside().drive(pin, false)?;
            port.enable(bit)?;
            port.outside().drive(pin, true)?;
            assert_pending(port, line.as_ref(), bit, bit, &when("enabled"))?;
            port.clear(bit)?;
        }
        quiet(port)?;
    }
    Ok(())
}
