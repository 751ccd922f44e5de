//! Every port of general-purpose pins: outputs as they are seen outside, inputs as they are driven
//! from there, directions, and interrupts by edges and levels up to the interrupt controller.

use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos::gpio::{Gpio, Trigger};
use crate::qos::interrupt::InterruptLine;
use crate::qos::reset;
use crate::{Error, Result, tests};

tests!(dyn Gpio, "gpio-tests":
    outputs,
    masked_write = "masked-write",
    inputs,
    direction,
    edges,
    levels,
    masked,
    machine_reset = "machine-reset",
);

/// The numbers of the pins.
fn pins(port: &dyn Gpio) -> impl Iterator<Item = u32> + use<> {
    let pins = port.profile().pins;
    (0..32).filter(move |pin| pins >> pin & 1 == 1)
}

/// A port with all pins inputs that are low, and no interrupt.
fn quiet(port: &dyn Gpio, vm: &Vm) -> Result<()> {
    port.enable(0)?;
    port.set_outputs(0)?;
    for pin in pins(port) {
        port.set_trigger(pin, Trigger::Rising)?;
        port.outside().drive(pin, false)?;
    }
    port.clear(port.profile().pins)?;
    assert_eq!(port.pending()?, 0, "at first");
    vm.set_up_ends()
}

/// Makes these pins outputs that nothing outside drives against.
fn drive_inside(port: &dyn Gpio, outputs: u32) -> Result<()> {
    port.set_outputs(outputs)?;
    if port.profile().reads_pads {
        pins(port)
            .filter(|pin| outputs >> pin & 1 == 1)
            .try_for_each(|pin| port.outside().release(pin))?;
    }
    Ok(())
}

/// Would catch an output that does not get out, is inverted, is mixed up with another, is seen
/// although it did not change, or reads otherwise than it was written.
fn outputs(port: &dyn Gpio, vm: &Rc<Vm>) -> Result<()> {
    let all = port.profile().pins;
    quiet(port, vm)?;
    port.outside().watch()?;
    drive_inside(port, all)?;
    assert_eq!(port.outputs()?, all, "which are outputs");
    // From a level that is known on, each change is seen.
    port.write(all)?;
    port.write(0)?;
    let mut before: u32 = 0;
    let ones = pins(port).map(|pin| 1 << pin);
    let patterns = ones.chain([all & 0x5555_5555, all & 0xaaaa_aaaa, all, 0, all & 0x0f0f_0f0f]);
    for levels in patterns {
        let seen = |pin| port.outside().seen(pin);
        let old = pins(port).map(seen).collect::<Result<Vec<_>>>()?;
        port.write(levels)?;
        assert_eq!(port.read()? & all, levels, "what was written");
        for (pin, (raised, lowered, _)) in pins(port).zip(old) {
            let (was, is) = (before >> pin & 1 == 1, levels >> pin & 1 == 1);
            let expected = (raised + u64::from(is && !was), lowered + u64::from(was && !is), is);
            assert_eq!(port.outside().seen(pin)?, expected, "pin {pin}, {levels:#x} was written");
        }
        before = levels;
    }
    port.write(0)
}

/// Would catch a mask in the address that is shifted, inverted or not looked at, of writes or of
/// reads.
fn masked_write(port: &dyn Gpio, vm: &Rc<Vm>) -> Result<()> {
    let all = port.profile().pins;
    quiet(port, vm)?;
    drive_inside(port, all)?;
    for base in [0, all, all & 0x3333_3333] {
        for mask in pins(port).map(|pin| 1 << pin).chain([0, all, all & 0x5555_5555]) {
            for levels in [0, all, !base & all] {
                port.write(base)?;
                if port.write_masked(mask, levels)?.is_none() {
                    return Err(Error::skipped("this port has no masked writes"));
                }
                let expected = base & !mask | levels & mask;
                assert_eq!(port.read()?, expected, "{levels:#x} over {base:#x}, mask {mask:#x}");
            }
        }
    }
    Ok(())
}

/// Would catch an input that is not seen, inverted, or mixed up with another.
fn inputs(port: &dyn Gpio, vm: &Rc<Vm>) -> Result<()> {
    let all = port.profile().pins;
    quiet(port, vm)?;
    assert_eq!(port.read()? & all, 0, "all low");
    let mut levels = 0;
    for pin in pins(port) {
        port.outside().drive(pin, true)?;
        levels |= 1 << pin;
        assert_eq!(port.read()? & all, levels, "pin {pin} is high as well");
    }
    for pin in pins(port) {
        port.outside().drive(pin, false)?;
        levels &= !(1 << pin);
        assert_eq!(port.read()? & all, levels, "pin {pin} is low again");
    }
    Ok(())
}

/// Would catch an output that is changed from outside, and an input that is changed by a write.
fn direction(port: &dyn Gpio, vm: &Rc<Vm>) -> Result<()> {
    let all = port.profile().pins;
    for outputs in [all & 0x5555_5555, all & 0xaaaa_aaaa, all & 0x0f0f_0f0f] {
        quiet(port, vm)?;
        drive_inside(port, outputs)?;
        assert_eq!(port.outputs()?, outputs, "which are outputs");
        port.write(0)?;
        let driven = if port.profile().reads_pads { all & !outputs } else { all };
        for pin in pins(port).filter(|pin| driven >> pin & 1 == 1) {
            port.outside().drive(pin, true)?;
        }
        assert_eq!(port.read()? & all, all & !outputs, "all are driven high from outside");
        port.write(all)?;
        assert_eq!(port.read()? & all, all, "and written");
        for pin in pins(port).filter(|pin| driven >> pin & 1 == 1) {
            port.outside().drive(pin, false)?;
        }
        assert_eq!(port.read()? & all, outputs, "all are driven low from outside");
    }
    quiet(port, vm)
}

/// Asserts that just these pins are pending, and that the line is as it should be.
#[track_caller]
fn assert_pending(
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
fn edges(port: &dyn Gpio, vm: &Rc<Vm>) -> Result<()> {
    let kinds = [Trigger::Rising, Trigger::Falling, Trigger::Both];
    let known = port.profile().triggers;
    for pin in pins(port) {
        let line = port.interrupt(pin)?;
        let bit = 1 << pin;
        for trigger in kinds.into_iter().filter(|kind| known.contains(kind)) {
            quiet(port, vm)?;
            port.set_trigger(pin, trigger)?;
            port.clear(bit)?;
            port.enable(bit)?;
            let check = |pending: bool, when: &str| {
                let when = format!("pin {pin}, {trigger:?}, {when}");
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
    quiet(port, vm)
}

/// Would catch an interrupt by a level that does not come, comes by the other level, ends when it
/// is cleared though the level stays, or stays when the level has gone and it is cleared.
fn levels(port: &dyn Gpio, vm: &Rc<Vm>) -> Result<()> {
    let known = port.profile().triggers;
    let kinds = [Trigger::High, Trigger::Low];
    for pin in pins(port) {
        let line = port.interrupt(pin)?;
        let bit = 1 << pin;
        for trigger in kinds.into_iter().filter(|kind| known.contains(kind)) {
            quiet(port, vm)?;
            let active = trigger == Trigger::High;
            port.outside().drive(pin, !active)?;
            port.set_trigger(pin, trigger)?;
            port.clear(bit)?;
            port.enable(bit)?;
            for round in 0..2 {
                let check = |pending: bool, when: &str| {
                    let when = format!("pin {pin}, {trigger:?}, round {round}, {when}");
                    let pending = if pending { bit } else { 0 };
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
    quiet(port, vm)
}

/// Would catch an interrupt that gets out though it is masked, is not told by the status before the
/// mask, or is lost when it is enabled.
fn masked(port: &dyn Gpio, vm: &Rc<Vm>) -> Result<()> {
    quiet(port, vm)?;
    let all = port.profile().pins;
    let mut pending = 0;
    for pin in pins(port) {
        let line = port.interrupt(pin)?;
        let bit = 1 << pin;
        port.enable(0)?;
        port.outside().drive(pin, true)?;
        pending |= bit;
        assert_pending(port, line.as_ref(), pending, 0, &format!("pin {pin}, masked"))?;
        port.enable(bit)?;
        assert_pending(port, line.as_ref(), pending, bit, &format!("pin {pin}, enabled"))?;
        port.enable(all & !pending)?;
        assert_pending(port, line.as_ref(), pending, 0, &format!("pin {pin}, others enabled"))?;
    }
    quiet(port, vm)
}

/// Would catch a reset of the machine that leaves a direction, an enable bit or a pending
/// interrupt.
fn machine_reset(port: &dyn Gpio, vm: &Rc<Vm>) -> Result<()> {
    quiet(port, vm)?;
    let Some(pin) = pins(port).next() else { return Ok(()) };
    let line = port.interrupt(pin)?;
    let bit = 1 << pin;
    port.set_outputs(port.profile().pins & !bit)?;
    port.enable(bit)?;
    port.outside().drive(pin, true)?;
    assert_pending(port, line.as_ref(), bit, bit, "before a reset")?;
    reset(vm)?;
    assert_eq!(port.outputs()?, 0, "outputs after a reset");
    assert_eq!(port.pending()?, 0, "pending after a reset");
    let is_high = line.as_ref().map(|line| line.is_high()).transpose()?.unwrap_or(false);
    let known = port.profile().asserts_after_reset;
    assert!(known.is_some() || !is_high, "the line after a reset");
    port.outside().drive(pin, false)?;
    port.outside().drive(pin, true)?;
    port.outside().drive(pin, false)?;
    let is_high = line.as_ref().map(|line| line.is_high()).transpose()?.unwrap_or(false);
    assert!(!is_high, "the interrupt was enabled before the reset");
    quiet(port, vm)?;
    known.map_or(Ok(()), |why| Err(Error::skipped(why)))
}
