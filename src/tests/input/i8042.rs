//! The i8042: what the controller itself answers, its command byte, whose bytes come when, its
//! interrupts, its translation of codes, its output port and the resets that it makes.

use std::rc::Rc;

use serde_json::json;

use crate::drivers::input::i8042::{
    Controller, FULL, I8042, KEYBOARD_INTERRUPT, KEYBOARD_OFF, MOUSE_INTERRUPT, MOUSE_OFF,
    OF_MOUSE, READ_COMMAND_BYTE, SYSTEM, TRANSLATE, WRITE_COMMAND_BYTE, WRITE_MOUSE,
};
use crate::qemu::Vm;
use crate::qos::interrupt::InterruptLine;
use crate::qos::ps2::{ACK, ENABLE, PASSED, READ_ID, RESET, act, key, moved};
use crate::qos::wait_event;
use crate::{Error, Result, tests};

tests!(I8042, "i8042-tests":
    self_test = "self-test",
    command_byte = "command-byte",
    ports_off = "ports-off",
    output_buffer = "output-buffer",
    whose,
    keyboard_interrupt = "keyboard-interrupt",
    mouse_interrupt = "mouse-interrupt",
    late_keyboard_interrupt = "late-keyboard-interrupt",
    late_mouse_interrupt = "late-mouse-interrupt",
    translation,
    output_port = "output-port",
    resets,
    machine_reset = "machine-reset",
    reset_in_command = "reset-in-command",
    empty,
);

/// Commands: test the mouse's port, the controller, and the keyboard's port.
const TEST_MOUSE_PORT: u8 = 0xa9;
const SELF_TEST: u8 = 0xaa;
const TEST_KEYBOARD_PORT: u8 = 0xab;
/// Commands: disable and enable the mouse's port, and the keyboard's.
const DISABLE_MOUSE: u8 = 0xa7;
const ENABLE_MOUSE: u8 = 0xa8;
const DISABLE_KEYBOARD: u8 = 0xad;
const ENABLE_KEYBOARD: u8 = 0xae;
/// Commands: read and write the output port; put a byte there as if the keyboard, or the mouse,
/// had sent it.
const READ_OUTPUT_PORT: u8 = 0xd0;
const WRITE_OUTPUT_PORT: u8 = 0xd1;
const WRITE_KEYBOARD_BUFFER: u8 = 0xd2;
const WRITE_MOUSE_BUFFER: u8 = 0xd3;
/// Pulse bits of the output port that are zero here.
const PULSE_NOTHING: u8 = 0xff;
const PULSE_RESET: u8 = 0xfe;
const PULSE_ALL: u8 = 0xf0;

/// Output port: the machine runs, address bit 20 is as the CPU says.
const RUNS: u8 = 1 << 0;
const A20: u8 = 1 << 1;

/// The command byte of a controller that passes everything on.
const OPEN: u8 = KEYBOARD_INTERRUPT | MOUSE_INTERRUPT;

/// The controller with both ports open, both devices as after a reset and enabled.
fn ready<'c>(chip: &'c I8042, vm: &Vm) -> Result<&'c Controller> {
    let controller = chip.controller();
    controller.command_with(WRITE_COMMAND_BYTE, OPEN)?;
    send(controller, false, RESET)?;
    assert_eq!(all(controller)?, [(ACK, false), (PASSED, false)], "the keyboard's reset");
    send(controller, true, RESET)?;
    assert_eq!(all(controller)?, [(ACK, true), (PASSED, true), (0, true)], "the mouse's reset");
    send(controller, true, ENABLE)?;
    assert_eq!(all(controller)?, [(ACK, true)], "the mouse enabled");
    vm.set_up_ends()?;
    Ok(controller)
}

/// Sends a byte to the keyboard or the mouse.
fn send(controller: &Controller, to_mouse: bool, byte: u8) -> Result<()> {
    if to_mouse { controller.command_with(WRITE_MOUSE, byte) } else { controller.write(byte) }
}

/// All bytes that are there, each with whether it is the mouse's.
fn all(controller: &Controller) -> Result<Vec<(u8, bool)>> {
    let mut bytes = Vec::new();
    while let Some(byte) = controller.next()? {
        bytes.push(byte);
        if bytes.len() > 300 {
            return Err(Error::failed("there is no end of what the controller has"));
        }
    }
    Ok(bytes)
}

/// Bytes of the keyboard or the mouse.
fn of(is_mouse: bool, bytes: &[u8]) -> Vec<(u8, bool)> {
    bytes.iter().map(|byte| (*byte, is_mouse)).collect()
}

/// A user presses and releases `a`; what it is in set 2.
fn type_a(vm: &Vm) -> Result<Vec<(u8, bool)>> {
    act(vm, &[key("a", true), key("a", false)])?;
    Ok(of(false, &[0x1c, 0xf0, 0x1c]))
}

/// A user moves the mouse by one to the right; its packet.
fn move_right(vm: &Vm) -> Result<Vec<(u8, bool)>> {
    act(vm, &[moved("x", 1)])?;
    Ok(of(true, &[0x08, 1, 0]))
}

/// Would catch a self-test that fails or is not told in the status, and tests of ports that find
/// something.
fn self_test(chip: &I8042, vm: &Rc<Vm>) -> Result<()> {
    let controller = ready(chip, vm)?;
    for _ in 0..2 {
        assert_eq!(controller.answer(SELF_TEST)?, 0x55, "the self-test");
        assert_eq!(controller.status()? & SYSTEM, SYSTEM, "the status after the self-test");
        assert_eq!(controller.answer(TEST_KEYBOARD_PORT)?, 0, "the test of the keyboard's port");
        assert_eq!(controller.answer(TEST_MOUSE_PORT)?, 0, "the test of the mouse's port");
    }
    assert_eq!(controller.answer(READ_COMMAND_BYTE)? & !SYSTEM & 0x77, OPEN, "after the tests");
    Ok(())
}

/// Would catch bits of the command byte that are not kept, and commands that change another bit
/// than theirs.
fn command_byte(chip: &I8042, vm: &Rc<Vm>) -> Result<()> {
    let controller = ready(chip, vm)?;
    for value in (0..0x80).filter(|value| value & 0x08 == 0) {
        controller.command_with(WRITE_COMMAND_BYTE, value)?;
        assert_eq!(controller.answer(READ_COMMAND_BYTE)?, value);
    }
    for start in [0, KEYBOARD_OFF | MOUSE_OFF, OPEN, TRANSLATE | SYSTEM] {
        controller.command_with(WRITE_COMMAND_BYTE, start)?;
        let mut expected = start;
        for (command, clear, set) in [
            (DISABLE_KEYBOARD, 0, KEYBOARD_OFF),
            (DISABLE_MOUSE, 0, MOUSE_OFF),
            (ENABLE_KEYBOARD, KEYBOARD_OFF, 0),
            (ENABLE_MOUSE, MOUSE_OFF, 0),
        ] {
            controller.command(command)?;
            expected = expected & !clear | set;
            assert_eq!(controller.answer(READ_COMMAND_BYTE)?, expected, "after {command:#x}");
        }
    }
    Ok(())
}

/// Would catch a port that passes bytes on while it is disabled, or loses them then, and one that
/// closes the other too.
fn ports_off(chip: &I8042, vm: &Rc<Vm>) -> Result<()> {
    let controller = ready(chip, vm)?;
    for is_mouse in [false, true] {
        let act = |mouse: bool| if mouse { move_right(vm) } else { type_a(vm) };
        let [off, on, bit] = if is_mouse {
            [DISABLE_MOUSE, ENABLE_MOUSE, MOUSE_OFF]
        } else {
            [DISABLE_KEYBOARD, ENABLE_KEYBOARD, KEYBOARD_OFF]
        };
        for by_command in [true, false] {
            let set = |is_off: bool| match (by_command, is_off) {
                (true, _) => controller.command(if is_off { off } else { on }),
                (false, true) => controller.command_with(WRITE_COMMAND_BYTE, OPEN | bit),
                (false, false) => controller.command_with(WRITE_COMMAND_BYTE, OPEN),
            };
            set(true)?;
            let later = act(is_mouse)?;
            assert_eq!(controller.status()? & FULL, 0, "of a port that is off, mouse {is_mouse}");
            let now = act(!is_mouse)?;
            assert_eq!(all(controller)?, now, "with the other port off, mouse {is_mouse}");
            set(false)?;
            assert_eq!(all(controller)?, later, "on again, mouse {is_mouse}");
        }
    }
    Ok(())
}

/// Would catch bytes that a guest puts into the output buffer itself and that are altered, said to
/// be the other's, or do not interrupt.
fn output_buffer(chip: &I8042, vm: &Rc<Vm>) -> Result<()> {
    let controller = ready(chip, vm)?;
    for byte in [0x00, 0x1c, 0xfa, 0xff] {
        for (command, is_mouse) in [(WRITE_KEYBOARD_BUFFER, false), (WRITE_MOUSE_BUFFER, true)] {
            controller.command_with(command, byte)?;
            let status = controller.status()? & (FULL | OF_MOUSE);
            assert_eq!(status == FULL | OF_MOUSE, is_mouse, "the status after {command:#x}");
            assert_eq!(all(controller)?, [(byte, is_mouse)], "after {command:#x}");
        }
    }
    Ok(())
}

/// Would catch a byte that is said to be the other's while both have some, order that is lost, and an
/// answer of the controller in place of a byte.
fn whose(chip: &I8042, vm: &Rc<Vm>) -> Result<()> {
    let controller = ready(chip, vm)?;
    for first in [false, true, false] {
        let mut expected = [Vec::new(), Vec::new()];
        for is_mouse in [first, !first, first] {
            let more = if is_mouse { move_right(vm)? } else { type_a(vm)? };
            expected[usize::from(is_mouse)].extend(more);
        }
        let got = all(controller)?;
        for is_mouse in [false, true] {
            let own: Vec<_> = got.iter().copied().filter(|(_, it)| *it == is_mouse).collect();
            assert_eq!(own, expected[usize::from(is_mouse)], "mouse {is_mouse}");
        }
    }
    // What the controller answers itself may come before or behind them.
    let expected = type_a(vm)?;
    controller.command(READ_COMMAND_BYTE)?;
    let mut got = all(controller)?;
    let answer = got.iter().position(|byte| *byte == (OPEN, false));
    answer.map(|at| got.remove(at));
    assert!(answer.is_some(), "the command byte is missing from {got:x?}");
    assert_eq!(got, expected, "what the keyboard said");
    Ok(())
}

/// An interrupt line of the controller, and the other if both end at one interrupt controller.
fn lines(
    controller: &Controller,
    of_mouse: bool,
) -> Result<(InterruptLine, Option<InterruptLine>)> {
    let none = || Error::skipped("QEMU does not let the controller's interrupts be watched");
    let line = controller.interrupt(of_mouse)?.ok_or_else(none)?;
    let other = if controller.share_a_target() { controller.interrupt(!of_mouse)? } else { None };
    Ok((line, other))
}

/// Would catch an interrupt of the keyboard that comes though it is off, or as the mouse's, or is
/// missing, and one that stays once the byte has been read.
fn keyboard_interrupt(chip: &I8042, vm: &Rc<Vm>) -> Result<()> {
    interrupt_of(chip, vm, false)
}

/// Would catch an interrupt of the mouse that comes though it is off, or as the keyboard's, or is
/// missing, and one that stays once the byte has been read.
fn mouse_interrupt(chip: &I8042, vm: &Rc<Vm>) -> Result<()> {
    interrupt_of(chip, vm, true)
}

fn interrupt_of(chip: &I8042, vm: &Vm, is_mouse: bool) -> Result<()> {
    let controller = ready(chip, vm)?;
    let (line, other) = lines(controller, is_mouse)?;
    let own = if is_mouse { MOUSE_INTERRUPT } else { KEYBOARD_INTERRUPT };
    for enabled in [0, KEYBOARD_INTERRUPT, MOUSE_INTERRUPT, OPEN] {
        controller.command_with(WRITE_COMMAND_BYTE, enabled)?;
        let bytes = if is_mouse { move_right(vm)? } else { type_a(vm)? };
        for (number, byte) in bytes.iter().enumerate() {
            let when = format!("byte {number}, interrupts {enabled:#x}");
            assert_eq!(line.is_high()?, enabled & own != 0, "{when}");
            if let Some(other) = &other {
                assert!(!other.is_high()?, "the other's interrupt, {when}");
            }
            assert_eq!(controller.next()?.as_ref(), Some(byte), "{when}");
        }
        assert!(!line.is_high()?, "after the last byte");
    }
    Ok(())
}

/// Would catch an interrupt of the keyboard that does not come when it is switched on while a byte
/// is there, or does not go when it is switched off.
fn late_keyboard_interrupt(chip: &I8042, vm: &Rc<Vm>) -> Result<()> {
    late_interrupt_of(chip, vm, false)
}

/// Would catch an interrupt of the mouse that does not come when it is switched on while a byte is
/// there, or does not go when it is switched off.
fn late_mouse_interrupt(chip: &I8042, vm: &Rc<Vm>) -> Result<()> {
    late_interrupt_of(chip, vm, true)
}

fn late_interrupt_of(chip: &I8042, vm: &Vm, is_mouse: bool) -> Result<()> {
    let controller = ready(chip, vm)?;
    let (line, _) = lines(controller, is_mouse)?;
    controller.command_with(WRITE_COMMAND_BYTE, 0)?;
    let bytes = if is_mouse { move_right(vm)? } else { type_a(vm)? };
    for _ in 0..2 {
        assert!(!line.is_high()?, "an interrupt that is off");
        controller.command_with(WRITE_COMMAND_BYTE, OPEN)?;
        assert!(line.is_high()?, "no interrupt once it is on");
        controller.command_with(WRITE_COMMAND_BYTE, 0)?;
    }
    assert_eq!(all(controller)?, bytes);
    Ok(())
}

/// Would catch a code that is translated to another, a release that is not marked by its highest
/// bit, and a translation of what is no code of a key or of the mouse's packets.
fn translation(chip: &I8042, vm: &Rc<Vm>) -> Result<()> {
    /// Keys by QMP's names, with their codes in set 1.
    const KEYS: &[(&str, &[u8])] = &[
        ("esc", &[0x01]),
        ("1", &[0x02]),
        ("backspace", &[0x0e]),
        ("tab", &[0x0f]),
        ("q", &[0x10]),
        ("a", &[0x1e]),
        ("ret", &[0x1c]),
        ("ctrl", &[0x1d]),
        ("shift", &[0x2a]),
        ("shift_r", &[0x36]),
        ("m", &[0x32]),
        ("alt", &[0x38]),
        ("spc", &[0x39]),
        ("caps_lock", &[0x3a]),
        ("f1", &[0x3b]),
        ("f7", &[0x41]),
        ("f10", &[0x44]),
        ("f11", &[0x57]),
        ("f12", &[0x58]),
        ("num_lock", &[0x45]),
        ("scroll_lock", &[0x46]),
        ("kp_0", &[0x52]),
        ("kp_9", &[0x49]),
        ("kp_enter", &[0xe0, 0x1c]),
        ("ctrl_r", &[0xe0, 0x1d]),
        ("up", &[0xe0, 0x48]),
        ("delete", &[0xe0, 0x53]),
        ("meta_l", &[0xe0, 0x5b]),
    ];
    let controller = ready(chip, vm)?;
    controller.command_with(WRITE_COMMAND_BYTE, OPEN | TRANSLATE)?;
    for (name, code) in KEYS {
        act(vm, &[key(name, true)])?;
        assert_eq!(all(controller)?, of(false, code), "{name} pressed");
        act(vm, &[key(name, false)])?;
        let (last, prefix) = code.split_last().unwrap_or((&0, &[]));
        let released = [prefix, &[last | 0x80]].concat();
        assert_eq!(all(controller)?, of(false, &released), "{name} released");
    }
    assert_eq!(move_right(vm)?, all(controller)?, "a packet of the mouse");
    send(controller, false, READ_ID)?;
    assert_eq!(all(controller)?, of(false, &[ACK, 0xab, 0x41]), "the identification");
    controller.command_with(WRITE_COMMAND_BYTE, OPEN)?;
    assert_eq!(type_a(vm)?, all(controller)?, "without translation again");
    Ok(())
}

/// Would catch address bit 20 that a command does not switch, or not as the output port tells.
fn output_port(chip: &I8042, vm: &Rc<Vm>) -> Result<()> {
    let controller = ready(chip, vm)?;
    let steps: [(&[u8], u8); 6] = [
        (&[WRITE_OUTPUT_PORT, RUNS], RUNS),
        (&[WRITE_OUTPUT_PORT, RUNS | A20], RUNS | A20),
        (&[0xdd], RUNS),
        (&[0xdf], RUNS | A20),
        (&[0xdd], RUNS),
        (&[WRITE_OUTPUT_PORT, RUNS | A20], RUNS | A20),
    ];
    for (step, expected) in steps {
        match *step {
            [command, byte] => controller.command_with(command, byte)?,
            _ => controller.command(step[0])?,
        }
        let port = controller.answer(READ_OUTPUT_PORT)?;
        assert_eq!(port & (RUNS | A20), expected, "the output port after {step:x?}");
    }
    assert_eq!(controller.answer(SELF_TEST)?, 0x55, "after that");
    Ok(())
}

/// Would catch a pulse of the reset line that does not reset the machine, or one of other lines that
/// does.
fn resets(chip: &I8042, vm: &Rc<Vm>) -> Result<()> {
    let controller = ready(chip, vm)?;
    vm.qmp().events();
    controller.command(PULSE_NOTHING)?;
    assert_eq!(controller.answer(SELF_TEST)?, 0x55, "after a pulse of nothing");
    let events = vm.qmp().events();
    assert!(!events.iter().any(|event| event.name == "RESET"), "a pulse of nothing resets");
    let steps: [&[u8]; 3] = [&[PULSE_RESET], &[PULSE_ALL], &[WRITE_OUTPUT_PORT, A20]];
    for step in steps {
        match *step {
            [command, byte] => controller.command_with(command, byte)?,
            _ => controller.command(step[0])?,
        }
        let event = wait_event(vm, "RESET")?;
        let expected = json!({"guest": true, "reason": "guest-reset"});
        assert_eq!(event.data, expected, "by {step:x?}");
        assert_eq!(controller.answer(SELF_TEST)?, 0x55, "after the reset by {step:x?}");
    }
    Ok(())
}

/// Would catch a reset of the machine that leaves the command byte, a byte that was not read, or the
/// address bit 20.
fn machine_reset(chip: &I8042, vm: &Rc<Vm>) -> Result<()> {
    let controller = chip.controller();
    crate::qos::reset(vm)?;
    let told = || {
        Ok::<_, Error>([
            controller.status()?,
            controller.answer(READ_COMMAND_BYTE)?,
            controller.answer(READ_OUTPUT_PORT)?,
        ])
    };
    let expected = told()?;
    ready(chip, vm)?;
    controller.command_with(WRITE_COMMAND_BYTE, KEYBOARD_OFF | TRANSLATE)?;
    controller.command_with(WRITE_OUTPUT_PORT, RUNS | A20 ^ expected[2] & A20)?;
    move_right(vm)?;
    controller.command_with(WRITE_MOUSE_BUFFER, 0x77)?;
    assert_ne!(controller.status()? & FULL, 0, "bytes are there before the reset");
    crate::qos::reset(vm)?;
    assert_eq!(told()?, expected, "status, command byte and output port");
    controller.write(READ_ID)?;
    assert_eq!(all(controller)?, of(false, &[ACK, 0xab, 0x83]), "the keyboard");
    assert_eq!(told()?, expected, "and again");
    Ok(())
}

/// Would catch a reset of the machine after which a command still waits for its data.
fn reset_in_command(chip: &I8042, vm: &Rc<Vm>) -> Result<()> {
    let controller = ready(chip, vm)?;
    for command in [WRITE_COMMAND_BYTE, WRITE_OUTPUT_PORT, WRITE_MOUSE, WRITE_MOUSE_BUFFER] {
        controller.command(command)?;
        crate::qos::reset(vm)?;
        controller.write(READ_ID)?;
        assert_eq!(all(controller)?, of(false, &[ACK, 0xab, 0x83]), "the keyboard, {command:#x}");
    }
    Ok(())
}

/// Would catch a read of data that are not there, which takes something away, or interrupts.
fn empty(chip: &I8042, vm: &Rc<Vm>) -> Result<()> {
    let controller = ready(chip, vm)?;
    for round in 0..300 {
        controller.data()?;
        assert_eq!(controller.status()? & FULL, 0, "after {round} reads of nothing");
    }
    let expected = [type_a(vm)?, move_right(vm)?].concat();
    let mut got = all(controller)?;
    got.sort_by_key(|(_, is_mouse)| *is_mouse);
    assert_eq!(got, expected, "after reads of nothing");
    Ok(())
}
