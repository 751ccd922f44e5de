//! The PCA9554: pins that are read, driven, and shown inverted.

use std::rc::Rc;

use crate::drivers::sensor::pca9554::{CONFIGURATION, INPUT, OUTPUT, POLARITY, Pca9554};
use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::qos::reset;
use crate::{Result, tests};

tests!(Pca9554, "pca9554-tests":
    tx_rx = "tx-rx",
    inputs,
    outputs,
    polarity,
    outside,
    same_register = "same-register",
    machine_reset = "machine-reset",
);

/// Would catch a register with another reset value than the data sheet's, that does not keep what is
/// written, or takes its neighbour's; and an input port that can be written.
fn tx_rx(pca: &Pca9554, _: &Rc<Vm>) -> Result<()> {
    let registers = pca.registers();
    let kept = [(OUTPUT, 0xff), (POLARITY, 0x00), (CONFIGURATION, 0xff)];
    for (register, value) in kept {
        assert_eq!(registers.get(register)?, value, "{register}");
    }
    assert_eq!(registers.get(INPUT)?, 0xff, "pins that nobody pulls low");
    for seed in [0x5a, 0xa5, 0x00, 0xff, 0x31] {
        for ((register, _), number) in kept.into_iter().zip(1..) {
            registers.set(register, seed ^ number)?;
        }
        for ((register, _), number) in kept.into_iter().zip(1..) {
            assert_eq!(registers.get(register)?, seed ^ number, "{register}");
        }
    }
    registers.set(POLARITY, 0)?;
    registers.set(CONFIGURATION, 0xff)?;
    registers.set(INPUT, 0x00)?;
    assert_eq!(registers.get(INPUT)?, 0xff, "the input port, which is read-only");
    assert_eq!(registers.get(OUTPUT)?, 0xff ^ 0x31 ^ 0x01 ^ 0xff, "the output port");
    Ok(())
}

/// Would catch a pin that is read as another, or not at all.
fn inputs(pca: &Pca9554, _: &Rc<Vm>) -> Result<()> {
    for pin in 0..8 {
        pca.drive(pin, false)?;
        assert_eq!(pca.registers().get(INPUT)?, !(1 << pin), "pin {pin} is low");
        pca.drive(pin, true)?;
        assert_eq!(pca.registers().get(INPUT)?, 0xff, "pin {pin} is high again");
    }
    for (pin, level) in (0..8).zip([false, true, true, false, false, true, false, true]) {
        pca.drive(pin, level)?;
    }
    assert_eq!(pca.registers().get(INPUT)?, 0b1010_0110);
    Ok(())
}

/// Would catch an output whose level the input port does not show, and a pin that is driven although
/// it is an input.
fn outputs(pca: &Pca9554, _: &Rc<Vm>) -> Result<()> {
    let registers = pca.registers();
    registers.set(OUTPUT, 0x00)?;
    assert_eq!(registers.get(INPUT)?, 0xff, "all pins are inputs");
    for pin in 0..8 {
        registers.set(CONFIGURATION, !(1 << pin))?;
        assert_eq!(registers.get(INPUT)?, !(1 << pin), "pin {pin} is driven low");
        registers.set(OUTPUT, 1 << pin)?;
        assert_eq!(registers.get(INPUT)?, 0xff, "pin {pin} is driven high");
        registers.set(OUTPUT, 0x00)?;
    }
    registers.set(CONFIGURATION, 0x0f)?;
    registers.set(OUTPUT, 0x5a)?;
    assert_eq!(registers.get(INPUT)?, 0x5f, "four outputs");
    registers.set(CONFIGURATION, 0xff)?;
    assert_eq!(registers.get(INPUT)?, 0xff, "inputs again");
    Ok(())
}

/// Would catch an inversion that is none, is of another pin, or reaches a pin itself or its output.
fn polarity(pca: &Pca9554, _: &Rc<Vm>) -> Result<()> {
    let registers = pca.registers();
    pca.drive(3, false)?;
    pca.drive(6, false)?;
    for inverted in [0x00, 0xff, 0x08, 0x41, 0x0f] {
        registers.set(POLARITY, inverted)?;
        assert_eq!(registers.get(INPUT)?, 0b1011_0111 ^ inverted, "inverted: {inverted:#04x}");
    }
    registers.set(CONFIGURATION, 0xf0)?;
    registers.set(OUTPUT, 0xf5)?;
    registers.set(POLARITY, 0x03)?;
    assert_eq!(registers.get(INPUT)?, 0b1011_0101 ^ 0x03, "outputs");
    assert_eq!(registers.get(OUTPUT)?, 0xf5);
    Ok(())
}

/// Would catch a level that the world outside sees otherwise than the guest.
fn outside(pca: &Pca9554, _: &Rc<Vm>) -> Result<()> {
    pca.watch()?;
    let registers = pca.registers();
    registers.set(CONFIGURATION, 0x00)?;
    for levels in [0x00, 0xff, 0x5a, 0xa5, 0x01, 0x80] {
        registers.set(OUTPUT, levels)?;
        for pin in 0..8 {
            assert_eq!(pca.seen(pin)?, levels >> pin & 1 != 0, "pin {pin} of {levels:#04x}");
        }
    }
    Ok(())
}

/// Would catch a register number that goes up: further bytes are of the same register (6.3).
fn same_register(pca: &Pca9554, _: &Rc<Vm>) -> Result<()> {
    pca.device().write_from(OUTPUT.offset() as u8, &[0x11, 0x22, 0x3c])?;
    assert_eq!(pca.registers().get(OUTPUT)?, 0x3c);
    assert_eq!(pca.registers().get(POLARITY)?, 0);
    assert_eq!(pca.registers().get(CONFIGURATION)?, 0xff);
    assert_eq!(pca.device().read_from::<3>(OUTPUT.offset() as u8)?, [0x3c; 3]);
    assert_eq!(pca.device().recv()?, [0x3c], "the number stays");
    Ok(())
}

/// Would catch outputs that a reset leaves driven.
fn machine_reset(pca: &Pca9554, vm: &Rc<Vm>) -> Result<()> {
    let registers = pca.registers();
    registers.set(OUTPUT, 0x0f)?;
    registers.set(POLARITY, 0x33)?;
    registers.set(CONFIGURATION, 0x00)?;
    reset(vm)?;
    let registers = pca.registers();
    for (register, value) in [(OUTPUT, 0xff), (POLARITY, 0x00), (CONFIGURATION, 0xff)] {
        assert_eq!(registers.get(register)?, value, "{register}, after a reset");
    }
    assert_eq!(registers.get(INPUT)?, 0xff, "no pin is driven");
    Ok(())
}
