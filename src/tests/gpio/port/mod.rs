//! Every port of general-purpose pins: outputs as they are seen outside, inputs as they are driven
//! from there, directions, and interrupts by edges and levels up to the interrupt controller.
//!
//! Of a device with several ports, all pins of the first are looked at one by one, and some of
//! those of others.

mod interrupts;

use std::rc::Rc;

use interrupts::{assert_pending, edges, edges_pile_up, levels, masked, pending_across};

use crate::qemu::Vm;
use crate::qos::gpio::{Gpio, Ports, Trigger};
use crate::qos::interrupt::InterruptLine;
use crate::qos::reset;
use crate::{Error, Result, tests};

tests!(Ports, "gpio-tests":
    outputs,
    masked_write = "masked-write",
    inputs,
    direction,
    edges,
    edges_pile_up = "edges-pile-up",
    pending_across = "pending-across",
    levels,
    masked,
    machine_reset = "machine-reset",
);

/// The numbers of the pins.
fn pins(port: &dyn Gpio) -> impl Iterator<Item = u32> + use<> {
    let pins = port.profile().pins;
    (0..32).filter(move |pin| pins >> pin & 1 == 1)
}

/// The numbers of the pins that are looked at one by one in port number `number`.
fn sample(port: &dyn Gpio, number: usize) -> impl Iterator<Item = u32> + use<> {
    let all: Vec<_> = pins(port).collect();
    let few = if number == 0 { 1 } else { (all.len() / 3).max(1) };
    all.into_iter().step_by(few)
}

/// The ports, numbered.
fn each(ports: &Ports) -> impl Iterator<Item = (usize, &dyn Gpio)> {
    ports.0.iter().map(|port| &**port).enumerate()
}

/// Makes all pins of all ports inputs that are low, without interrupts.
fn start(ports: &Ports, vm: &Vm) -> Result<()> {
    each(ports).try_for_each(|(_, port)| quiet(port))?;
    vm.set_up_ends()
}

/// Makes all pins inputs that are low, without interrupts.
fn quiet(port: &dyn Gpio) -> Result<()> {
    let has_interrupts = !port.profile().triggers.is_empty();
    if has_interrupts {
        port.enable(0)?;
    }
    port.set_outputs(0)?;
    for pin in pins(port) {
        if has_interrupts {
            port.set_trigger(pin, Trigger::Rising)?;
        }
        if port.outside().can_drive() {
            port.outside().drive(pin, false)?;
        }
    }
    if has_interrupts {
        port.clear(port.profile().pins)?;
        assert_eq!(port.pending()?, 0, "at first");
    }
    Ok(())
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
fn outputs(ports: &Ports, vm: &Rc<Vm>) -> Result<()> {
    start(ports, vm)?;
    for (number, port) in each(ports) {
        let all = port.profile().pins;
        port.outside().watch()?;
        drive_inside(port, all)?;
        assert_eq!(port.outputs()?, all, "which are outputs, port {number}");
        // From a level that is known on, each change is seen.
        port.write(all)?;
        port.write(0)?;
        let mut before: u32 = 0;
        let ones = pins(port).map(|pin| 1 << pin);
        let patterns = [all & 0x5555_5555, all & 0xaaaa_aaaa, all, 0, all & 0x0f0f_0f0f];
        for levels in ones.chain(patterns) {
            let seen = |pin| port.outside().seen(pin);
            let old = pins(port).map(seen).collect::<Result<Vec<_>>>()?;
            port.write(levels)?;
            assert_eq!(port.read()? & all, levels, "what was written to port {number}");
            for (pin, (raised, lowered, _)) in pins(port).zip(old) {
                let (was, is) = (before >> pin & 1 == 1, levels >> pin & 1 == 1);
                let counts = (raised + u64::from(is && !was), lowered + u64::from(was && !is));
                let seen = port.outside().seen(pin)?;
                let expected = (counts.0, counts.1, is);
                assert_eq!(seen, expected, "port {number}, pin {pin}, {levels:#x} was written");
            }
            before = levels;
        }
        port.write(0)?;
    }
    Ok(())
}

/// Would catch a mask in the address, or ones that set and clear, that are shifted, inverted or
/// not looked at, of writes or of reads.
fn masked_write(ports: &Ports, vm: &Rc<Vm>) -> Result<()> {
    start(ports, vm)?;
    for (number, port) in each(ports) {
        let all = port.profile().pins;
        drive_inside(port, all)?;
        for base in [0, all, all & 0x3333_3333] {
            let ones = sample(port, number).map(|pin| 1 << pin);
            for mask in ones.chain([0, all, all & 0x5555_5555]) {
                for levels in [0, all, !base & all] {
                    port.write(base)?;
                    if port.write_masked(mask, levels)?.is_none() {
                        return Err(Error::skipped("this port has no masked writes"));
                    }
                    let expected = base & !mask | levels & mask;
                    let read = port.read()? & all;
                    assert_eq!(read, expected, "{levels:#x} over {base:#x}, mask {mask:#x}");
                }
            }
        }
    }
    Ok(())
}

/// Would catch an input that is not seen, inverted, or mixed up with another, of its port or of
/// the next.
fn inputs(ports: &Ports, vm: &Rc<Vm>) -> Result<()> {
    start(ports, vm)?;
    for (number, port) in each(ports) {
        let all = port.profile().pins;
        assert_eq!(port.read()? & all, 0, "all low, port {number}");
        let mut levels = 0;
        for pin in pins(port) {
            port.outside().drive(pin, true)?;
            levels |= 1 << pin;
            assert_eq!(port.read()? & all, levels, "port {number}, pin {pin} is high as well");
        }
        for pin in pins(port) {
            port.outside().drive(pin, false)?;
            levels &= !(1 << pin);
            assert_eq!(port.read()? & all, levels, "port {number}, pin {pin} is low again");
        }
    }
    Ok(())
}

/// Would catch an output that is changed from outside, and an input that is changed by a write.
fn direction(ports: &Ports, vm: &Rc<Vm>) -> Result<()> {
    start(ports, vm)?;
    for (_, port) in each(ports) {
        let all = port.profile().pins;
        for outputs in [all & 0x5555_5555, all & 0xaaaa_aaaa, all & 0x0f0f_0f0f] {
            quiet(port)?;
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
        quiet(port)?;
    }
    Ok(())
}

/// Would catch a reset of the machine that leaves a direction, an enable bit or a pending
/// interrupt.
fn machine_reset(ports: &Ports, vm: &Rc<Vm>) -> Result<()> {
    start(ports, vm)?;
    let port = &*ports.0[0];
    let Some(pin) = pins(port).next() else { return Ok(()) };
    let has_interrupts = !port.profile().triggers.is_empty();
    let line = if has_interrupts { port.interrupt(pin)? } else { None };
    let is_high = || line.as_ref().map_or(Ok(false), InterruptLine::is_high);
    let bit = 1 << pin;
    port.set_outputs(port.profile().pins & !bit)?;
    if has_interrupts {
        port.enable(bit)?;
        port.outside().drive(pin, true)?;
        assert_pending(port, line.as_ref(), bit, bit, "before a reset")?;
    }
    reset(vm)?;
    assert_eq!(port.outputs()?, 0, "outputs after a reset");
    if !has_interrupts {
        return Ok(());
    }
    assert_eq!(port.pending()?, 0, "pending after a reset");
    let known = port.profile().asserts_after_reset;
    assert!(known.is_some() || !is_high()?, "the line after a reset");
    port.outside().drive(pin, false)?;
    port.outside().drive(pin, true)?;
    port.outside().drive(pin, false)?;
    assert!(!is_high()?, "the interrupt was enabled before the reset");
    quiet(port)?;
    known.map_or(Ok(()), |why| Err(Error::skipped(why)))
}
