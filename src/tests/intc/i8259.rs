//! What the two 8259A of a PC do beyond their inputs: which register a read gives, rotating
//! priorities, automatic ends, the special mask, ends without a number, and initialization.

use std::rc::Rc;

use crate::drivers::intc::i8259::{
    AUTO_EOI, CASCADE, COMMAND, I8259, ICW1, MASK, NESTED, NONSPECIFIC_EOI, OF_8086, Pair,
    READ_IRR, READ_ISR, SPECIFIC_EOI,
};
use crate::qemu::Vm;
use crate::qos::intc::InterruptController;
use crate::qos::registers::RegistersExt;
use crate::{Result, tests};

tests!(I8259, "i8259-tests":
    registers,
    nonspecific_end = "nonspecific-end",
    rotation,
    automatic_end = "automatic-end",
    special_mask = "special-mask",
    cascade,
    nested,
    initialize,
);

/// OCW2: the input with this number gets the lowest priority.
const SET_PRIORITY: u8 = 0xc0;
/// OCW2: ends, and the input that ends gets the lowest priority; that with the highest priority,
/// or that with this number.
const ROTATE_NONSPECIFIC: u8 = 0xa0;
const ROTATE_SPECIFIC: u8 = 0xe0;
/// OCW2: automatic ends rotate, or do not.
const ROTATE_AUTOMATIC: u8 = 0x80;
const ROTATE_AUTOMATIC_OFF: u8 = 0x00;
/// OCW3: the special mask mode.
const SPECIAL_MASK: u8 = 0x68;
const SPECIAL_MASK_OFF: u8 = 0x48;

/// The controllers, ready, with all inputs low and enabled.
fn ready(chip: &I8259, vm: &Vm) -> Result<Rc<Pair>> {
    let pair = chip.pair().clone();
    for input in pair.profile().inputs {
        pair.outside().drive(input, false)?;
    }
    pair.make_ready()?;
    for number in [0, 1] {
        pair.chip(number).set(MASK, 0)?;
    }
    vm.set_up_ends()?;
    Ok(pair)
}

/// The inputs of the first or the second that a test drives.
fn inputs(number: usize) -> impl Iterator<Item = u8> {
    (0..8).filter(move |input| number == 1 || u32::from(*input) != CASCADE)
}

/// Drives an input of the first or the second.
fn drive(pair: &Pair, number: usize, input: u8, is_high: bool) -> Result<()> {
    pair.outside().drive(number as u32 * 8 + u32::from(input), is_high)
}

/// Makes an input pending by an edge.
fn pulse(pair: &Pair, number: usize, input: u8) -> Result<()> {
    drive(pair, number, input, true)?;
    drive(pair, number, input, false)
}

/// Would catch a read of the request register that gives the in-service register, or the mask, a
/// choice that does not last, an acknowledge that leaves the request, and a mask that hides it.
fn registers(chip: &I8259, vm: &Rc<Vm>) -> Result<()> {
    let pair = ready(chip, vm)?;
    for number in [1, 0] {
        let ports = pair.chip(number);
        ports.set(MASK, 0xff)?;
        for input in inputs(number) {
            pulse(&pair, number, input)?;
        }
        let all = inputs(number).fold(0, |all, input| all | 1 << input);
        assert_eq!(pair.chosen(number, READ_IRR)? & all, all, "IRR, all masked");
        assert_eq!(pair.poll(number)?, None, "all are masked");
        let mut requests = all;
        for input in inputs(number) {
            ports.set(MASK, !(1 << input))?;
            assert_eq!(ports.get(MASK)?, !(1 << input), "IMR");
            assert_eq!(pair.chosen(number, READ_IRR)? & all, requests, "IRR before {input}");
            assert_eq!(pair.poll(number)?, Some(input), "the one that is not masked");
            requests &= !(1 << input);
            // Without a new choice, reads give the same register.
            assert_eq!(ports.get(COMMAND)? & all, requests, "IRR after {input}");
            assert_eq!(pair.chosen(number, READ_ISR)?, 1 << input, "ISR of {input}");
            assert_eq!(ports.get(COMMAND)?, 1 << input, "ISR of {input} again");
            ports.set(COMMAND, SPECIFIC_EOI | input)?;
            assert_eq!(ports.get(COMMAND)?, 0, "ISR after {input}");
        }
    }
    Ok(())
}

/// Would catch an end without a number that ends another than the most urgent that is served, and
/// an end with a number that ends another.
fn nonspecific_end(chip: &I8259, vm: &Rc<Vm>) -> Result<()> {
    let pair = ready(chip, vm)?;
    for number in [0, 1] {
        let serve_all = || {
            let mut served = 0;
            let most_urgent_last = inputs(number).collect::<Vec<_>>().into_iter().rev();
            for input in most_urgent_last {
                pulse(&pair, number, input)?;
                assert_eq!(pair.poll(number)?, Some(input), "more urgent than {served:#x}");
                served |= 1 << input;
                assert_eq!(pair.chosen(number, READ_ISR)?, served, "ISR");
            }
            Ok::<u8, crate::Error>(served)
        };
        let mut served = serve_all()?;
        while served != 0 {
            pair.chip(number).set(COMMAND, NONSPECIFIC_EOI)?;
            served &= served - 1;
            assert_eq!(pair.chosen(number, READ_ISR)?, served, "ISR after an end");
        }
        pair.chip(number).set(COMMAND, NONSPECIFIC_EOI)?;
        assert_eq!(pair.chosen(number, READ_ISR)?, 0, "ISR after the end of nothing");
        let all = serve_all()?;
        let mut served = all;
        for input in [3, 7, 0, 5, 1, 6, 4, 2].into_iter().filter(|it| all >> it & 1 == 1) {
            pair.chip(number).set(COMMAND, SPECIFIC_EOI | input)?;
            served &= !(1 << input);
            assert_eq!(pair.chosen(number, READ_ISR)?, served, "ISR after the end of {input}");
        }
    }
    Ok(())
}

/// Would catch priorities that do not rotate, rotate by one too few or too many, or rotate where
/// they should not.
fn rotation(chip: &I8259, vm: &Rc<Vm>) -> Result<()> {
    let pair = ready(chip, vm)?;
    let number = 1;
    let ports = pair.chip(number);
    // All are taken, the most urgent first, and end without a rotation.
    let assert_order = |first: u8, when: &str| {
        inputs(number).try_for_each(|input| pulse(&pair, number, input))?;
        for place in 0..8 {
            let input = (first + place) % 8;
            assert_eq!(pair.poll(number)?, Some(input), "place {place} {when}");
            ports.set(COMMAND, SPECIFIC_EOI | input)?;
        }
        assert_eq!(pair.poll(number)?, None, "after all {when}");
        Ok::<_, crate::Error>(())
    };
    assert_order(0, "at first")?;
    for lowest in [3, 7, 0, 6] {
        ports.set(COMMAND, SET_PRIORITY | lowest)?;
        assert_order((lowest + 1) % 8, &format!("when {lowest} is the lowest"))?;
    }
    ports.set(COMMAND, SET_PRIORITY | 7)?;
    for input in [2, 5] {
        pulse(&pair, number, input)?;
        assert_eq!(pair.poll(number)?, Some(input), "it is alone");
        ports.set(COMMAND, ROTATE_NONSPECIFIC)?;
        assert_eq!(pair.chosen(number, READ_ISR)?, 0, "ISR after it has ended and rotated");
        assert_order((input + 1) % 8, &format!("after {input} has ended and rotated"))?;
        pulse(&pair, number, input)?;
        assert_eq!(pair.poll(number)?, Some(input), "it is alone again");
        ports.set(COMMAND, ROTATE_SPECIFIC | input)?;
        assert_eq!(pair.chosen(number, READ_ISR)?, 0, "ISR after its number has ended");
        assert_order((input + 1) % 8, &format!("after number {input} has ended and rotated"))?;
    }
    // Both at once: rotated ones nest by their new order.
    ports.set(COMMAND, SET_PRIORITY | 3)?;
    pulse(&pair, number, 2)?;
    assert_eq!(pair.poll(number)?, Some(2), "it is alone");
    for (input, comes) in [(3, false), (1, true), (0, true), (6, true), (4, true)] {
        pulse(&pair, number, input)?;
        let expected = comes.then_some(input);
        assert_eq!(pair.poll(number)?, expected, "input {input} while others are served");
    }
    Ok(())
}

/// Would catch an automatic end that leaves the interrupt served, or that rotates without being
/// told to, or does not though it was.
fn automatic_end(chip: &I8259, vm: &Rc<Vm>) -> Result<()> {
    let pair = ready(chip, vm)?;
    pair.initialize([AUTO_EOI, AUTO_EOI])?;
    let number = 1;
    let ports = pair.chip(number);
    ports.set(MASK, 0)?;
    let both = |first: u8, second: u8, when: &str| {
        pulse(&pair, number, 1)?;
        pulse(&pair, number, 4)?;
        for input in [first, second] {
            assert_eq!(pair.poll(number)?, Some(input), "{when}");
            assert_eq!(pair.chosen(number, READ_ISR)?, 0, "ISR {when}");
        }
        Ok::<_, crate::Error>(())
    };
    both(1, 4, "at first")?;
    both(1, 4, "without rotation")?;
    ports.set(COMMAND, ROTATE_AUTOMATIC)?;
    pulse(&pair, number, 1)?;
    assert_eq!(pair.poll(number)?, Some(1), "the last before it gets the lowest");
    both(4, 1, "with rotation")?;
    ports.set(COMMAND, ROTATE_AUTOMATIC_OFF)?;
    both(4, 1, "the order stays")?;
    both(4, 1, "and does not rotate")
}

/// Would catch a special mask mode in which what is served holds back what is less urgent although
/// it is masked, one that holds nothing back, and one that cannot be left.
fn special_mask(chip: &I8259, vm: &Rc<Vm>) -> Result<()> {
    let pair = ready(chip, vm)?;
    let number = 1;
    let ports = pair.chip(number);
    pulse(&pair, number, 2)?;
    assert_eq!(pair.poll(number)?, Some(2), "it is alone");
    pulse(&pair, number, 5)?;
    assert_eq!(pair.poll(number)?, None, "held back by what is served");
    ports.set(MASK, 1 << 2)?;
    assert_eq!(pair.poll(number)?, None, "held back though that is masked");
    ports.set(COMMAND, SPECIAL_MASK)?;
    assert_eq!(pair.poll(number)?, Some(5), "what is masked holds nothing back");
    ports.set(COMMAND, SPECIFIC_EOI | 5)?;
    ports.set(MASK, 0)?;
    pulse(&pair, number, 6)?;
    assert_eq!(pair.poll(number)?, None, "what is not masked holds back");
    ports.set(MASK, 1 << 2)?;
    ports.set(COMMAND, SPECIAL_MASK_OFF)?;
    assert_eq!(pair.poll(number)?, None, "without the mode");
    ports.set(COMMAND, SPECIFIC_EOI | 2)?;
    assert_eq!(pair.poll(number)?, Some(6), "when nothing holds it back");
    Ok(())
}

/// Would catch a second controller that does not tell the first when a mask is lifted, when what
/// held an interrupt back has ended, or when priorities rotate, and one that tells the first without a cause.
fn cascade(chip: &I8259, vm: &Rc<Vm>) -> Result<()> {
    let pair = ready(chip, vm)?;
    let second = pair.chip(1);
    for input in 0..8 {
        let told = |is_told: bool, when: &str| {
            let requests = pair.chosen(0, READ_IRR)?;
            assert_eq!(requests, u8::from(is_told) << CASCADE, "the first's IRR {when} {input}");
            Ok::<_, crate::Error>(())
        };
        second.set(MASK, 0xff)?;
        pulse(&pair, 1, input)?;
        told(false, "while all are masked, with")?;
        second.set(MASK, !(1 << input))?;
        told(true, "after the mask was lifted from")?;
        assert_eq!((pair.poll(0)?, pair.poll(1)?), (Some(2), Some(input)), "it comes");
        pair.chip(0).set(COMMAND, NONSPECIFIC_EOI)?;
        pulse(&pair, 1, input)?;
        told(false, "while it is held back by")?;
        second.set(COMMAND, [NONSPECIFIC_EOI, SPECIFIC_EOI | input][usize::from(input % 2)])?;
        told(true, "after the end of")?;
        assert_eq!((pair.poll(0)?, pair.poll(1)?), (Some(2), Some(input)), "it comes again");
        second.set(COMMAND, NONSPECIFIC_EOI)?;
        pair.chip(0).set(COMMAND, NONSPECIFIC_EOI)?;
    }
    // Number 1 holds 4 back until it is the least urgent.
    second.set(MASK, 0)?;
    pulse(&pair, 1, 1)?;
    assert_eq!((pair.poll(0)?, pair.poll(1)?), (Some(2), Some(1)), "it is alone");
    pair.chip(0).set(COMMAND, NONSPECIFIC_EOI)?;
    pulse(&pair, 1, 4)?;
    assert_eq!(pair.poll(0)?, None, "number 4 is held back");
    second.set(COMMAND, SET_PRIORITY | 1)?;
    assert_eq!((pair.poll(0)?, pair.poll(1)?), (Some(2), Some(4)), "number 4 is more urgent");
    Ok(())
}

/// Would catch a first controller that lets the second interrupt itself without the special fully
/// nested mode, or does not with it, and a cascade that does not follow.
fn nested(chip: &I8259, vm: &Rc<Vm>) -> Result<()> {
    for (icw4, comes) in [(NESTED, true), (0, false)] {
        let pair = ready(chip, vm)?;
        // To the second, the mode means nothing.
        pair.initialize([icw4, NESTED])?;
        let when = format!("with ICW4 {icw4:#x}");
        pulse(&pair, 1, 5)?;
        assert_eq!(pair.chosen(0, READ_IRR)?, 1 << CASCADE, "the first's IRR {when}");
        assert_eq!((pair.poll(0)?, pair.poll(1)?), (Some(2), Some(5)), "{when}");
        assert_eq!(pair.both(READ_ISR)?, 1 << (5 + 8) | 1 << CASCADE, "ISR {when}");
        pulse(&pair, 1, 3)?;
        assert_eq!(pair.poll(0)?, comes.then_some(2), "the more urgent {when}");
        if comes {
            assert_eq!(pair.poll(1)?, Some(3), "the more urgent {when}");
        }
        pair.chip(1).set(COMMAND, NONSPECIFIC_EOI)?;
        pulse(&pair, 1, 2)?;
        assert_eq!(pair.poll(1)?, Some(2), "number 2 of the second {when}");
        pulse(&pair, 1, 4)?;
        assert_eq!(pair.poll(1)?, None, "number 2 of the second holds back {when}");
        // What is more urgent than the cascade comes in both.
        pulse(&pair, 0, 1)?;
        assert_eq!(pair.poll(0)?, Some(1), "{when}");
        pulse(&pair, 0, 4)?;
        assert_eq!(pair.poll(0)?, None, "what is less urgent than the cascade {when}");
    }
    Ok(())
}

/// Would catch an initialization that leaves masks, requests, interrupts that are served, chosen
/// registers, modes or a rotation behind.
fn initialize(chip: &I8259, vm: &Rc<Vm>) -> Result<()> {
    let pair = ready(chip, vm)?;
    for number in [0, 1] {
        let ports = pair.chip(number);
        pulse(&pair, number, 6)?;
        assert_eq!(pair.poll(number)?, Some(6), "before");
        ports.set(COMMAND, SET_PRIORITY | 4)?;
        ports.set(COMMAND, SPECIAL_MASK)?;
        ports.set(MASK, 0xff)?;
        pulse(&pair, number, 7)?;
        assert_eq!(pair.chosen(number, READ_ISR)?, 1 << 6, "ISR before");
        ports.set(COMMAND, ICW1)?;
        assert_eq!(ports.get(COMMAND)? & 1 << 7, 0, "IRR is chosen, and empty, after ICW1");
        let cascade = if number == 0 { 1 << CASCADE } else { CASCADE as u8 };
        for word in [0x20, cascade, OF_8086] {
            ports.set(MASK, word)?;
        }
        assert_eq!(ports.get(MASK)?, 0, "IMR after ICW1");
        assert_eq!(pair.chosen(number, READ_ISR)?, 0, "ISR after ICW1");
        assert_eq!(pair.poll(number)?, None, "nothing comes after ICW1");
        // Number 7 is the least urgent again.
        for input in [6, 7] {
            pulse(&pair, number, input)?;
        }
        assert_eq!(pair.poll(number)?, Some(6), "the order after ICW1");
        ports.set(MASK, 1 << 6)?;
        assert_eq!(pair.poll(number)?, None, "no special mask after ICW1");
        ports.set(COMMAND, NONSPECIFIC_EOI)?;
        assert_eq!(pair.poll(number)?, Some(7), "after the end");
    }
    Ok(())
}
