//! What only the GPIO modules of the NPCM7xx have: pulls, open drain, polarity of inputs and
//! outputs, the mask of inputs, and the lock of all registers.

use std::rc::Rc;

use crate::drivers::gpio::npcm7xx_gpio::{
    INPUT, INPUT_ENABLE, LOCK_1, LOCK_2, Module, Npcm7xxGpio, OPEN_DRAIN, OUTPUT, OUTPUT_ENABLE,
    OUTPUT_ENABLE_CLEAR, OUTPUT_ENABLE_SET, POLARITY, PULL_DOWN, PULL_UP,
};
use crate::qemu::Vm;
use crate::qos::gpio::{Gpio, Trigger};
use crate::qos::registers::{Registers, RegistersExt};
use crate::{Result, tests};

tests!(Npcm7xxGpio, "npcm7xx_gpio-tests":
    dout_to_din = "dout-to-din",
    pullup_pulldown = "pullup-pulldown",
    output_enable = "output-enable",
    open_drain = "open-drain",
    polarity,
    input_mask = "input-mask",
    temp_lock = "temp-lock",
);

/// What unlocks the registers, second half first.
const KEYS: (u32, u32) = (0xc0de_1248, 0xc0de_fa73);

/// The registers of a module that nobody drives from outside, with all pins inputs.
fn undriven<'a>(port: &'a Npcm7xxGpio, vm: &Vm) -> Result<&'a dyn Registers> {
    let module: &Module = &port.module;
    let registers = module.registers();
    registers.set(LOCK_2, KEYS.0)?;
    registers.set(LOCK_1, KEYS.1)?;
    if registers.get(LOCK_1)? != 0 {
        registers.set(LOCK_2, KEYS.0)?;
        registers.set(LOCK_1, KEYS.1)?;
    }
    module.enable(0)?;
    module.set_outputs(0)?;
    for pin in 0..32 {
        module.set_trigger(pin, Trigger::Rising)?;
        module.outside().release(pin)?;
    }
    for register in [OUTPUT, OPEN_DRAIN, PULL_DOWN] {
        registers.set(register, 0)?;
    }
    registers.set(PULL_UP, 0xffff_ffff)?;
    vm.set_up_ends()?;
    Ok(registers)
}

/// Would catch a pull that changes the level of an output.
fn dout_to_din(port: &Npcm7xxGpio, vm: &Rc<Vm>) -> Result<()> {
    let registers = undriven(port, vm)?;
    registers.set(OUTPUT_ENABLE, 0xffff_ffff)?;
    for pulls in [0xffff_0000, 0x0000_ffff, 0x5a5a_5a5a] {
        registers.set(PULL_UP, pulls)?;
        registers.set(PULL_DOWN, !pulls)?;
        for levels in [0x1234_5678, 0xedcb_a987, 0, 0xffff_ffff] {
            registers.set(OUTPUT, levels)?;
            assert_eq!(registers.get(INPUT)?, levels, "GPnDIN, outputs pulled by {pulls:#x}");
        }
    }
    Ok(())
}

/// Would catch a pull that is not seen on a pin which nobody drives, and a level of GPnDOUT that is
/// seen on an input.
fn pullup_pulldown(port: &Npcm7xxGpio, vm: &Rc<Vm>) -> Result<()> {
    let registers = undriven(port, vm)?;
    for levels in [0xffff_0000, 0x0000_ffff] {
        registers.set(OUTPUT, levels)?;
        for pulls in [0x2345_6789, 0xdcba_9876, 0, 0xffff_ffff] {
            registers.set(PULL_UP, pulls)?;
            registers.set(PULL_DOWN, !pulls)?;
            assert_eq!(registers.get(INPUT)?, pulls, "GPnDIN, GPnDOUT is {levels:#x}");
        }
    }
    Ok(())
}

/// Would catch an output that is not enabled or disabled alone by GPnOES and GPnOEC.
fn output_enable(port: &Npcm7xxGpio, vm: &Rc<Vm>) -> Result<()> {
    let registers = undriven(port, vm)?;
    registers.set(OUTPUT, 0xffff_ffff)?;
    registers.set(PULL_UP, 0)?;
    registers.set(PULL_DOWN, 0xffff_ffff)?;
    let seen = || Ok::<_, crate::Error>((registers.get(OUTPUT_ENABLE)?, registers.get(INPUT)?));
    registers.set(OUTPUT_ENABLE, 0x3456_789a)?;
    assert_eq!(seen()?, (0x3456_789a, 0x3456_789a), "GPnOE and GPnDIN");
    registers.set(OUTPUT_ENABLE_CLEAR, 0x0003_0002)?;
    assert_eq!(seen()?, (0x3454_7898, 0x3454_7898), "GPnOE and GPnDIN, some cleared");
    registers.set(OUTPUT_ENABLE_SET, 0x0000_f001)?;
    assert_eq!(seen()?, (0x3454_f899, 0x3454_f899), "GPnOE and GPnDIN, some set");
    Ok(())
}

/// Would catch an open drain that drives a pin high, or does not drive it low.
fn open_drain(port: &Npcm7xxGpio, vm: &Rc<Vm>) -> Result<()> {
    let registers = undriven(port, vm)?;
    let (drains, outputs, pulls) = (0x4567_89ab_u32, 0xf0f0_f0f0, 0xff00_ff00);
    registers.set(OPEN_DRAIN, drains)?;
    registers.set(OUTPUT_ENABLE, outputs)?;
    registers.set(PULL_UP, pulls)?;
    registers.set(PULL_DOWN, !pulls)?;
    for levels in [0xffff_0000, 0x0000_ffff, 0, 0xffff_ffff] {
        registers.set(OUTPUT, levels)?;
        let driven = outputs & !(drains & levels);
        let expected = levels & driven | pulls & !driven;
        assert_eq!(registers.get(INPUT)?, expected, "GPnDIN, GPnDOUT is {levels:#x}");
    }
    Ok(())
}

/// Would catch a polarity that inverts the input or the output alone, or in spite of an open drain
/// the wrong level of it.
fn polarity(port: &Npcm7xxGpio, vm: &Rc<Vm>) -> Result<()> {
    let registers = undriven(port, vm)?;
    registers.set(OUTPUT_ENABLE, 0xffff_ffff)?;
    registers.set(OUTPUT, 0x5678_9abc)?;
    registers.set(POLARITY, 0x6789_abcd)?;
    assert_eq!(registers.get(INPUT)?, 0x5678_9abc, "GPnDIN, inverted twice");
    registers.set(OUTPUT_ENABLE, 0)?;
    registers.set(POLARITY, 0xffff_ffff)?;
    registers.set(PULL_UP, 0x789a_bcde)?;
    registers.set(PULL_DOWN, !0x789a_bcde)?;
    assert_eq!(registers.get(INPUT)?, !0x789a_bcde, "GPnDIN, inverted pulls");
    registers.set(OPEN_DRAIN, 0xffff_ffff)?;
    registers.set(OUTPUT_ENABLE, 0xffff_ffff)?;
    registers.set(PULL_UP, 0xffff_0000)?;
    registers.set(PULL_DOWN, 0x0000_ffff)?;
    registers.set(OUTPUT, 0xff00_ff00)?;
    assert_eq!(registers.get(INPUT)?, 0xff00_ffff, "GPnDIN, inverted open drains");
    registers.set(POLARITY, 0)
}

/// Would catch an input that is seen though it is masked, and a mask behind the polarity.
fn input_mask(port: &Npcm7xxGpio, vm: &Rc<Vm>) -> Result<()> {
    let registers = undriven(port, vm)?;
    registers.set(OUTPUT_ENABLE, 0xffff_ffff)?;
    registers.set(OUTPUT, 0xff00_ff00)?;
    registers.set(POLARITY, 0xffff_0000)?;
    registers.set(INPUT_ENABLE, 0x8765_4321)?;
    let pads = 0xff00_ff00 ^ 0xffff_0000;
    assert_eq!(registers.get(INPUT)?, pads & 0x8765_4321 ^ 0xffff_0000, "GPnDIN");
    registers.set(INPUT_ENABLE, 0xffff_ffff)?;
    registers.set(POLARITY, 0)
}

/// Would catch a lock that does not hold, that one key or both in the other order open, and that
/// does not open.
fn temp_lock(port: &Npcm7xxGpio, vm: &Rc<Vm>) -> Result<()> {
    let registers = undriven(port, vm)?;
    let mut levels = 0x9876_5432;
    registers.set(OUTPUT, levels)?;
    assert_eq!(registers.get(LOCK_1)?, 0, "GPnTLOCK1 at first");
    for lock in [LOCK_1, LOCK_2] {
        registers.set(lock, 0)?;
        let assert_locked = |when: &str| -> Result<()> {
            registers.set(OUTPUT, !levels)?;
            assert_eq!(registers.get(LOCK_1)?, 1, "GPnTLOCK1, {when}");
            assert_eq!(registers.get(OUTPUT)?, levels, "GPnDOUT, {when}");
            Ok(())
        };
        assert_locked("locked")?;
        registers.set(LOCK_1, KEYS.1)?;
        assert_locked("one key alone")?;
        registers.set(LOCK_2, KEYS.1)?;
        registers.set(LOCK_1, KEYS.0)?;
        assert_locked("the keys exchanged")?;
        registers.set(LOCK_2, KEYS.0)?;
        registers.set(LOCK_1, KEYS.1)?;
        assert_eq!(registers.get(LOCK_1)?, 0, "GPnTLOCK1, unlocked");
        levels = !levels;
        registers.set(OUTPUT, levels)?;
        assert_eq!(registers.get(OUTPUT)?, levels, "GPnDOUT, unlocked");
    }
    Ok(())
}
