//! What only the GPIO controllers of Aspeed have: pins that can be inputs only, the mask of inputs,
//! groups that another source commands, and the index register of the AST2600.

use std::rc::Rc;

use crate::drivers::gpio::aspeed_gpio::{AspeedGpio, INDEX, Set};
use crate::qemu::Vm;
use crate::qos::gpio::{Gpio, Trigger};
use crate::qos::registers::{Register, RegistersExt};
use crate::{Error, Result, attacks, tests};

tests!(AspeedGpio, "aspeed_gpio-tests":
    input_only = "input-only",
    input_mask = "input-mask",
    command_source = "command-source",
    index_data = "index-data",
    index_direction = "index-direction",
    index_interrupt = "index-interrupt",
    index_settings = "index-settings",
    index_storm = "index-storm",
);
attacks!(AspeedGpio, "aspeed_gpio-attacks": index_interrupt, index_storm, command_source);

/// Bits of the index register: the value, from bit 20 on, and the type of register.
const VALUE: u32 = 20;
const TYPE: u32 = 16;
/// Types of registers.
const DATA: u32 = 0;
const DIRECTION: u32 = 1;
const INTERRUPT: u32 = 2;
const DEBOUNCE: u32 = 3;
const TOLERANT: u32 = 4;
const SOURCE: u32 = 5;
const MASK: u32 = 6;

/// Makes all pins inputs without interrupts, and the CPU the source of commands.
fn quiet(port: &AspeedGpio, vm: &Vm) -> Result<()> {
    for set in &port.sets {
        for register in set.at.source.into_iter().chain([set.at.enable, set.at.mask]) {
            set.registers().set(register, 0)?;
        }
        set.set_outputs(0)?;
        for pin in (0..32).filter(|pin| set.pins.inputs >> pin & 1 == 1) {
            set.outside().drive(pin, false)?;
        }
        set.clear(u32::MAX)?;
        set.registers().set(set.at.data, 0)?;
    }
    vm.set_up_ends()
}

/// Would catch pins that can be inputs only and that become outputs, or that are written; and a
/// direction that pins have which are not there.
fn input_only(port: &AspeedGpio, vm: &Rc<Vm>) -> Result<()> {
    quiet(port, vm)?;
    for set in &port.sets {
        let registers = set.registers();
        registers.set(set.at.direction, u32::MAX)?;
        let number = set.number;
        let (inputs, outputs) = (set.pins.inputs, set.pins.outputs);
        let direction = registers.get(set.at.direction)?;
        assert_eq!(direction & (inputs | outputs), outputs, "directions of set {number}");
        registers.set(set.at.data, u32::MAX)?;
        assert_eq!(set.read()? & inputs & !outputs, 0, "inputs of set {number} were written");
        for pin in (0..32).filter(|pin| (inputs & !outputs) >> pin & 1 == 1) {
            set.outside().drive(pin, true)?;
            let read = set.read()? & inputs & !outputs;
            assert!(read >> pin & 1 == 1, "set {number}, pin {pin} is driven high: {read:#x}");
        }
    }
    Ok(())
}

/// Would catch a mask of inputs that does not hold the data value, holds it for other pins or for
/// outputs, lets an interrupt through, or does not end.
fn input_mask(port: &AspeedGpio, vm: &Rc<Vm>) -> Result<()> {
    quiet(port, vm)?;
    for set in &port.sets {
        let all = set.profile().pins;
        let masked = all & 0x3333_3333;
        if masked == 0 {
            continue;
        }
        for pin in (0..32).filter(|pin| all >> pin & 1 == 1) {
            set.set_trigger(pin, Trigger::Rising)?;
        }
        set.enable(all)?;
        set.registers().set(set.at.mask, masked)?;
        let drive_all = |is_high| -> Result<()> {
            let mut pins = (0..32).filter(|pin| all >> pin & 1 == 1);
            pins.try_for_each(|pin| set.outside().drive(pin, is_high))
        };
        drive_all(true)?;
        let number = set.number;
        assert_eq!(set.read()? & all, all & !masked, "set {number}, masked by {masked:#x}");
        assert_eq!(set.pending()?, all & !masked, "set {number}, pending");
        set.set_outputs(all)?;
        set.write(0)?;
        set.write(all)?;
        assert_eq!(set.read()? & all, all, "set {number}, outputs that are masked as inputs");
        set.write(0)?;
        set.set_outputs(0)?;
        set.registers().set(set.at.mask, 0)?;
        drive_all(false)?;
        drive_all(true)?;
        assert_eq!(set.read()? & all, all, "set {number}, not masked any more");
        set.clear(u32::MAX)?;
        set.enable(0)?;
    }
    Ok(())
}

/// Would catch a group that the CPU writes though another source commands it, a group beside it
/// that it does not write, and a source that does not come back.
fn command_source(port: &AspeedGpio, vm: &Rc<Vm>) -> Result<()> {
    quiet(port, vm)?;
    for set in &port.sets {
        let registers = set.registers();
        let all = set.profile().pins;
        // The groups are commanded by the CPU, the LPC, the coprocessor, and the LPC.
        registers.set(set.at.source[0], 0x0100_0100)?;
        registers.set(set.at.source[1], 0x0001_0000)?;
        let own = 0x0000_00ff;
        let number = set.number;
        registers.set(set.at.direction, all)?;
        let direction = registers.get(set.at.direction)? & all;
        assert_eq!(direction, all & own, "set {number}, which are outputs");
        let others = [set.at.enable, set.at.tolerant, set.at.debounce[0], set.at.debounce[1]];
        for register in others.into_iter().chain(set.at.sensitivity) {
            registers.set(register, u32::MAX)?;
            assert_eq!(registers.get(register)?, own, "set {number}, {register}");
            registers.set(register, 0)?;
        }
        registers.set(set.at.data, all)?;
        assert_eq!(set.read()? & all, all & own, "set {number}, the levels");
        for register in set.at.source {
            registers.set(register, 0)?;
        }
        registers.set(set.at.direction, all)?;
        assert_eq!(set.outputs()?, all, "set {number}, which are outputs, all the CPU's");
        registers.set(set.at.direction, 0)?;
    }
    Ok(())
}

/// Writes a register of one pin by the index register.
fn write_index(set: &Set, pin: u32, kind: u32, value: u32) -> Result<()> {
    let number = set.number as u32 * 32 + pin;
    set.registers().set(INDEX, number | kind << TYPE | value << VALUE)
}

/// The sets of a controller that has the index register.
fn indexed<'a>(port: &'a AspeedGpio, vm: &Vm) -> Result<&'a [Rc<Set>]> {
    quiet(port, vm)?;
    if !port.has_index {
        return Err(Error::skipped("this chip has no index register"));
    }
    Ok(&port.sets)
}

/// Pins of a set of which each is looked at.
fn some_pins(set: &Set) -> impl Iterator<Item = u32> + use<> {
    let all = set.profile().pins;
    (0..32).filter(move |pin| all >> pin & 1 == 1).step_by(5)
}

/// Would catch a write by index that changes another pin's level, or not its own.
fn index_data(port: &AspeedGpio, vm: &Rc<Vm>) -> Result<()> {
    for set in indexed(port, vm)? {
        let all = set.profile().pins;
        set.set_outputs(all)?;
        for base in [0, all] {
            for pin in some_pins(set) {
                set.write(base)?;
                write_index(set, pin, DATA, u32::from(base == 0))?;
                assert_eq!(set.read()? & all, base ^ 1 << pin, "pin {pin}, from {base:#x}");
            }
        }
        set.set_outputs(0)?;
    }
    Ok(())
}

/// Would catch a direction that is written by index and that is another pin's, or stays.
fn index_direction(port: &AspeedGpio, vm: &Rc<Vm>) -> Result<()> {
    for set in indexed(port, vm)? {
        let all = set.profile().pins;
        for base in [0, all] {
            for pin in some_pins(set) {
                set.set_outputs(base)?;
                write_index(set, pin, DIRECTION, u32::from(base == 0))?;
                assert_eq!(set.outputs()?, base ^ 1 << pin, "pin {pin}, from {base:#x}");
            }
        }
        set.set_outputs(0)?;
    }
    Ok(())
}

/// Would catch an interrupt that is set up by index for another pin, with another sensitivity, or
/// that clears or masks those of other pins.
fn index_interrupt(port: &AspeedGpio, vm: &Rc<Vm>) -> Result<()> {
    for set in indexed(port, vm)? {
        let registers = set.registers();
        let mut pins = (0..32).filter(|pin| set.profile().pins >> pin & 1 == 1);
        let (Some(pin), Some(other)) = (pins.next(), pins.next_back()) else { continue };
        for trigger in [Trigger::Rising, Trigger::Falling, Trigger::Both] {
            for pin in [pin, other] {
                set.set_trigger(pin, Trigger::Rising)?;
                set.outside().drive(pin, false)?;
            }
            set.enable(1 << other)?;
            set.clear(u32::MAX)?;
            set.outside().drive(other, true)?;
            assert_eq!(set.pending()?, 1 << other, "the other pin's is pending");
            // Bit 20 enables, 21 to 23 are the sensitivity, and 24 clears the status.
            let sensitivity = match trigger {
                Trigger::Falling => 0,
                Trigger::Rising => 0b0010,
                _ => 0b1000,
            };
            write_index(set, pin, INTERRUPT, 1 | sensitivity)?;
            let number = set.number;
            let when = format!("set {number}, pin {pin}, {trigger:?}");
            assert_eq!(registers.get(set.at.enable)?, 1 << pin | 1 << other, "{when}: enabled");
            assert_eq!(set.pending()?, 1 << other, "{when}: set up");
            set.outside().drive(pin, true)?;
            let rises = trigger != Trigger::Falling;
            let pending = 1 << other | u32::from(rises) << pin;
            assert_eq!(set.pending()?, pending, "{when}: risen");
            write_index(set, pin, INTERRUPT, 1 | sensitivity | 1 << 4)?;
            assert_eq!(set.pending()?, 1 << other, "{when}: cleared by index");
            set.outside().drive(pin, false)?;
            let pending = 1 << other | u32::from(trigger != Trigger::Rising) << pin;
            assert_eq!(set.pending()?, pending, "{when}: fallen");
            write_index(set, pin, INTERRUPT, 0)?;
            assert_eq!(registers.get(set.at.enable)?, 1 << other, "{when}: disabled");
        }
        set.clear(u32::MAX)?;
        set.enable(0)?;
    }
    Ok(())
}

/// Would catch debouncing, tolerance of resets, a command source or a mask that is written by
/// index for another pin or group.
fn index_settings(port: &AspeedGpio, vm: &Rc<Vm>) -> Result<()> {
    for set in indexed(port, vm)? {
        let registers = set.registers();
        let number = set.number;
        let check = |register: Register<u32>, expected: u32, pin: u32| -> Result<()> {
            assert_eq!(registers.get(register)?, expected, "set {number}, {register}, pin {pin}");
            Ok(())
        };
        for pin in some_pins(set) {
            let bit = 1 << pin;
            write_index(set, pin, DEBOUNCE, 0b01)?;
            check(set.at.debounce[0], bit, pin)?;
            check(set.at.debounce[1], 0, pin)?;
            write_index(set, pin, DEBOUNCE, 0b10)?;
            check(set.at.debounce[0], 0, pin)?;
            check(set.at.debounce[1], bit, pin)?;
            write_index(set, pin, DEBOUNCE, 0)?;
            write_index(set, pin, TOLERANT, 1)?;
            check(set.at.tolerant, bit, pin)?;
            write_index(set, pin, TOLERANT, 0)?;
            write_index(set, pin, MASK, 1)?;
            check(set.at.mask, bit, pin)?;
            write_index(set, pin, MASK, 0)?;
            write_index(set, pin, SOURCE, 0b01)?;
            check(set.at.source[0], 1 << (pin / 8 * 8), pin)?;
            write_index(set, pin, SOURCE, 0)?;
            check(set.at.source[0], 0, pin)?;
        }
    }
    Ok(())
}

/// Would catch an index of a pin, a type or a command that is not there and that ends QEMU, with
/// interrupts pending or not.
fn index_storm(port: &AspeedGpio, vm: &Rc<Vm>) -> Result<()> {
    let sets = indexed(port, vm)?;
    let registers = sets[0].registers();
    sets[0].enable(u32::MAX)?;
    for number in (0..256).step_by(3) {
        for kind in 0..16 {
            for value in [0, 0x1f, 0xfff] {
                for command in [0, 1] {
                    let index = number | command << 12 | kind << TYPE | value << VALUE;
                    registers.set(INDEX, index)?;
                }
            }
        }
        sets[0].outside().drive(number % 32, number & 32 != 0)?;
    }
    for set in sets {
        for register in set.at.source {
            registers.set(register, 0)?;
        }
        set.clear(u32::MAX)?;
        assert_eq!(set.pending()?, 0, "set {}, all cleared", set.number);
    }
    Ok(())
}
