//! Every PS/2 keyboard: what it says of itself, the codes of its keys in all three sets, what it
//! does with settings, and what is left of a reset.

use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos::ps2::{
    ACK, DISABLE, ENABLE, Keyboard, PASSED, Port, READ_ID, RESEND, RESET, SET_DEFAULTS, act,
    exchange, key, received,
};
use crate::{Error, Result, tests};

tests!(Keyboard, "ps2-keyboard-tests":
    identity,
    echo,
    reset,
    key_codes = "key-codes",
    combinations,
    order,
    overflow,
    disable,
    defaults,
    code_sets = "code-sets",
    settings,
    unknown_commands = "unknown-commands",
    answers_first = "answers-first",
    interrupt,
);

/// Answered with itself.
const ECHO: u8 = 0xee;
/// The next byte chooses the set of codes, or asks for it with 0.
const CODE_SET: u8 = 0xf0;
/// The next byte is the state of the lights.
const LIGHTS: u8 = 0xed;
/// The next byte is how fast a key that is held repeats.
const RATE: u8 = 0xf3;
/// Comes before the code of a key that is released, in sets 2 and 3.
const RELEASED: u8 = 0xf0;
/// The answer to [`READ_ID`].
const ID: [u8; 3] = [ACK, 0xab, 0x83];

/// A key's code when it is pressed, in sets 1, 2 and 3.
type Key = (&'static str, &'static [u8], &'static [u8], u8);

/// Keys by QMP's names, with their codes ("Scan Codes").
const KEYS: &[Key] = &[
    ("esc", &[0x01], &[0x76], 0x08),
    ("1", &[0x02], &[0x16], 0x16),
    ("0", &[0x0b], &[0x45], 0x45),
    ("minus", &[0x0c], &[0x4e], 0x4e),
    ("backspace", &[0x0e], &[0x66], 0x66),
    ("tab", &[0x0f], &[0x0d], 0x0d),
    ("q", &[0x10], &[0x15], 0x15),
    ("a", &[0x1e], &[0x1c], 0x1c),
    ("z", &[0x2c], &[0x1a], 0x1a),
    ("m", &[0x32], &[0x3a], 0x3a),
    ("spc", &[0x39], &[0x29], 0x29),
    ("ret", &[0x1c], &[0x5a], 0x5a),
    ("caps_lock", &[0x3a], &[0x58], 0x14),
    ("shift", &[0x2a], &[0x12], 0x12),
    ("shift_r", &[0x36], &[0x59], 0x59),
    ("ctrl", &[0x1d], &[0x14], 0x11),
    ("alt", &[0x38], &[0x11], 0x19),
    ("ctrl_r", &[0xe0, 0x1d], &[0xe0, 0x14], 0x58),
    ("alt_r", &[0xe0, 0x38], &[0xe0, 0x11], 0x39),
    ("f1", &[0x3b], &[0x05], 0x07),
    ("f7", &[0x41], &[0x83], 0x37),
    ("f12", &[0x58], &[0x07], 0x5e),
    ("scroll_lock", &[0x46], &[0x7e], 0x5f),
    ("num_lock", &[0x45], &[0x77], 0x76),
    ("kp_0", &[0x52], &[0x70], 0x70),
    ("kp_9", &[0x49], &[0x7d], 0x7d),
    ("kp_enter", &[0xe0, 0x1c], &[0xe0, 0x5a], 0x79),
    ("up", &[0xe0, 0x48], &[0xe0, 0x75], 0x63),
    ("left", &[0xe0, 0x4b], &[0xe0, 0x6b], 0x61),
    ("insert", &[0xe0, 0x52], &[0xe0, 0x70], 0x67),
    ("delete", &[0xe0, 0x53], &[0xe0, 0x71], 0x64),
    ("home", &[0xe0, 0x47], &[0xe0, 0x6c], 0x6e),
    ("pgdn", &[0xe0, 0x51], &[0xe0, 0x7a], 0x6d),
    ("meta_l", &[0xe0, 0x5b], &[0xe0, 0x1f], 0x8b),
];

/// The code of a key that is released, by that of the key pressed, in set 1 or 2.
fn released(set: u8, pressed: &[u8]) -> Vec<u8> {
    let (last, prefix) = pressed.split_last().unwrap_or((&0, &[]));
    let end = if set == 1 { vec![last | 0x80] } else { vec![RELEASED, *last] };
    [prefix, &end].concat()
}

/// The keyboard with its settings as after a reset, and nothing to say.
fn ready(keyboard: &Keyboard, vm: &Vm) -> Result<Rc<dyn Port>> {
    let port = keyboard.0.clone();
    port.make_ready()?;
    assert_eq!(exchange(&*port, &[SET_DEFAULTS])?, [ACK], "the answer to Set Default");
    assert_eq!(exchange(&*port, &[ENABLE])?, [ACK], "the answer to Enable");
    vm.set_up_ends()?;
    Ok(port)
}

/// The set of codes that the keyboard says it uses.
fn code_set(port: &dyn Port) -> Result<u8> {
    match exchange(port, &[CODE_SET, 0])?[..] {
        [ACK, ACK, set] => Ok(set),
        ref other => Err(Error::failed(format!("{other:x?} is answered for the set of codes"))),
    }
}

/// Asserts that a user's `a`, pressed and released, arrives, in set 2.
#[track_caller]
fn assert_types(port: &dyn Port, vm: &Vm, when: &str) -> Result<()> {
    act(vm, &[key("a", true), key("a", false)])?;
    assert_eq!(received(port)?, [0x1c, RELEASED, 0x1c], "the key A {when}");
    Ok(())
}

/// Would catch an identification with other bytes, or one that comes but once.
fn identity(keyboard: &Keyboard, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(keyboard, vm)?;
    for _ in 0..3 {
        assert_eq!(exchange(&*port, &[READ_ID])?, ID);
    }
    assert_types(&*port, vm, "after that")
}

/// Would catch an echo that is acknowledged instead.
fn echo(keyboard: &Keyboard, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(keyboard, vm)?;
    assert_eq!(exchange(&*port, &[ECHO, ECHO])?, [ECHO, ECHO]);
    Ok(())
}

/// Would catch a reset that does not tell of the self-test, keeps the set of codes, keeps what was
/// not read yet, or leaves the keyboard disabled, and one that a machine's reset leaves waiting
/// for the second byte of a command.
fn reset(keyboard: &Keyboard, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(keyboard, vm)?;
    let unset = |when: &str| {
        assert_eq!(exchange(&*port, &[CODE_SET, 1])?, [ACK, ACK]);
        assert_eq!(exchange(&*port, &[DISABLE])?, [ACK], "the answer to Default Disable");
        assert_eq!(exchange(&*port, &[CODE_SET, 3])?, [ACK, ACK], "{when}");
        Ok::<_, Error>(())
    };
    unset("before Reset")?;
    assert_eq!(exchange(&*port, &[RESET])?, [ACK, PASSED]);
    assert_eq!(code_set(&*port)?, 2, "the set of codes after Reset");
    assert_types(&*port, vm, "after Reset")?;

    act(vm, &[key("b", true), key("b", false)])?;
    assert_eq!(exchange(&*port, &[RESET])?, [ACK, PASSED], "with a key that was not read");

    unset("before the reset of the machine")?;
    assert_eq!(exchange(&*port, &[LIGHTS])?, [ACK]);
    crate::qos::reset(vm)?;
    port.make_ready()?;
    assert_eq!(received(&*port)?, [0; 0], "what is there after a reset of the machine");
    assert_eq!(exchange(&*port, &[READ_ID])?, ID, "after a reset of the machine");
    assert_eq!(code_set(&*port)?, 2, "the set of codes after a reset of the machine");
    assert_types(&*port, vm, "after a reset of the machine")
}

/// Would catch a wrong code of a key in a set, a prefix that is missing, a release that is lost or
/// told like a press. Which keys of set 3 tell their release is a setting.
fn key_codes(keyboard: &Keyboard, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(keyboard, vm)?;
    for set in [1, 2, 3] {
        assert_eq!(exchange(&*port, &[CODE_SET, set])?, [ACK, ACK]);
        for (name, first, second, third) in KEYS {
            let code = match set {
                1 => *first,
                2 => *second,
                _ => &[*third][..],
            };
            act(vm, &[key(name, true)])?;
            assert_eq!(received(&*port)?, code, "{name} pressed, in set {set}");
            act(vm, &[key(name, false)])?;
            let up = received(&*port)?;
            let is_silent = set == 3 && up.is_empty();
            assert!(
                is_silent || up == released(set, code),
                "{name} released, in set {set}: {up:x?}"
            );
        }
    }
    Ok(())
}

/// Would catch Pause and Print Screen with other codes than theirs, and such that do not depend on
/// the keys that are held.
fn combinations(keyboard: &Keyboard, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(keyboard, vm)?;
    let pause: [(u8, &[u8], &[u8]); 2] = [
        (1, &[0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5], &[0xe0, 0x46, 0xe0, 0xc6]),
        (2, &[0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77], &[0xe0, 0x7e, 0xe0, 0xf0, 0x7e]),
    ];
    let print: [[&[u8]; 4]; 2] = [
        [&[0xe0, 0x2a, 0xe0, 0x37], &[0xe0, 0xb7, 0xe0, 0xaa], &[0xe0, 0x37], &[0xe0, 0xb7]],
        [
            &[0xe0, 0x12, 0xe0, 0x7c],
            &[0xe0, 0xf0, 0x7c, 0xe0, 0xf0, 0x12],
            &[0xe0, 0x7c],
            &[0xe0, 0xf0, 0x7c],
        ],
    ];
    for ((set, alone, held), print) in pause.into_iter().zip(print) {
        assert_eq!(exchange(&*port, &[CODE_SET, set])?, [ACK, ACK]);
        let typed = |name: &str, down: bool| {
            act(vm, &[key(name, down)])?;
            received(&*port)
        };
        assert_eq!(typed("pause", true)?, alone, "Pause in set {set}");
        assert_eq!(typed("pause", false)?, [0; 0], "Pause released in set {set}");
        assert_eq!(typed("print", true)?, print[0], "Print Screen in set {set}");
        assert_eq!(typed("print", false)?, print[1], "Print Screen released in set {set}");
        for name in ["ctrl", "ctrl_r"] {
            typed(name, true)?;
            assert_eq!(typed("pause", true)?, held, "Pause with {name} in set {set}");
            assert_eq!(typed("pause", false)?, [0; 0], "released with {name} in set {set}");
            assert_eq!(typed("print", true)?, print[2], "Print Screen with {name} in set {set}");
            assert_eq!(typed("print", false)?, print[3], "released with {name} in set {set}");
            typed(name, false)?;
        }
        assert_eq!(typed("pause", true)?, alone, "Pause again in set {set}");
    }
    Ok(())
}

/// Would catch codes that overtake each other, get lost, or come twice, before the keyboard is read
/// and after the end of its buffer was passed.
fn order(keyboard: &Keyboard, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(keyboard, vm)?;
    for round in 0..40 {
        for (name, ..) in &KEYS[round % 3..][..5] {
            act(vm, &[key(name, true), key(name, false)])?;
        }
        let expected: Vec<u8> = KEYS[round % 3..][..5]
            .iter()
            .flat_map(|(_, _, code, _)| [code.to_vec(), released(2, code)].concat())
            .collect();
        assert_eq!(received(&*port)?, expected, "round {round}");
    }
    Ok(())
}

/// Would catch more keys than the keyboard keeps that make it say what nobody typed, or silent ever
/// after. What does not fit is lost, and may be told by one code of its own.
fn overflow(keyboard: &Keyboard, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(keyboard, vm)?;
    for round in 0..3 {
        let expected: Vec<u8> = KEYS[5..][..6].iter().map(|(_, _, code, _)| code[0]).collect();
        let expected: Vec<u8> = expected.iter().copied().cycle().take(60).collect();
        for (name, ..) in KEYS[5..][..6].iter().cycle().take(60) {
            act(vm, &[key(name, true)])?;
        }
        let mut codes = received(&*port)?;
        if codes.last() == Some(&0) {
            codes.pop();
        }
        assert!(codes.len() >= 15, "round {round}: {} codes of 60 are kept", codes.len());
        assert_eq!(codes, expected[..codes.len()], "round {round}");
        assert_types(&*port, vm, "after that")?;
    }
    Ok(())
}

/// Would catch a keyboard that speaks while it is disabled, stays so, or is not told by its answer.
fn disable(keyboard: &Keyboard, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(keyboard, vm)?;
    for _ in 0..2 {
        assert_eq!(exchange(&*port, &[DISABLE])?, [ACK]);
        act(vm, &[key("b", true), key("b", false)])?;
        assert_eq!(received(&*port)?, [0; 0], "a key while the keyboard is disabled");
        assert_eq!(exchange(&*port, &[READ_ID])?, ID, "while it is disabled");
        assert_eq!(exchange(&*port, &[ENABLE])?, [ACK]);
        assert_types(&*port, vm, "enabled again")?;
    }
    Ok(())
}

/// Would catch defaults that keep the set of codes, or leave the keyboard disabled.
fn defaults(keyboard: &Keyboard, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(keyboard, vm)?;
    for command in [SET_DEFAULTS, DISABLE] {
        assert_eq!(exchange(&*port, &[CODE_SET, 1, command])?, [ACK, ACK, ACK]);
        assert_eq!(code_set(&*port)?, 2, "the set of codes after {command:#x}");
    }
    assert_eq!(exchange(&*port, &[SET_DEFAULTS])?, [ACK]);
    assert_types(&*port, vm, "after Set Default")
}

/// Would catch a set of codes that is not told, one that is none and is taken, and a choice that
/// makes the keyboard take the next command for its argument.
fn code_sets(keyboard: &Keyboard, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(keyboard, vm)?;
    for set in [1, 3, 2] {
        assert_eq!(exchange(&*port, &[CODE_SET, set])?, [ACK, ACK]);
        assert_eq!(code_set(&*port)?, set);
        for wrong in [4, 0x7f] {
            assert_eq!(exchange(&*port, &[CODE_SET, wrong])?, [ACK, RESEND], "set {wrong:#x}");
            assert_eq!(code_set(&*port)?, set, "after set {wrong:#x}");
        }
    }
    Ok(())
}

/// Would catch a setting whose second byte is taken for a command, or not answered.
fn settings(keyboard: &Keyboard, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(keyboard, vm)?;
    for (command, values) in [(LIGHTS, 0..8), (RATE, 0..0x7f)] {
        for value in values {
            let answer = exchange(&*port, &[command, value])?;
            assert_eq!(answer, [ACK, ACK], "{command:#x}, then {value:#x}");
            assert_eq!(exchange(&*port, &[ECHO])?, [ECHO], "after {command:#x}, {value:#x}");
        }
        assert_types(&*port, vm, "after that")?;
    }
    Ok(())
}

/// Would catch an answer to what is no command that says it was done, or none.
fn unknown_commands(keyboard: &Keyboard, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(keyboard, vm)?;
    for wrong in [0x01, 0x7f, 0xec, 0xef, 0xf1] {
        assert_eq!(exchange(&*port, &[wrong])?, [RESEND], "the answer to {wrong:#x}");
        assert_eq!(exchange(&*port, &[READ_ID])?, ID, "after {wrong:#x}");
    }
    assert_types(&*port, vm, "after that")
}

/// Would catch an answer to a command that comes behind keys or is lost because nobody reads them,
/// and keys that an answer overwrites.
fn answers_first(keyboard: &Keyboard, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(keyboard, vm)?;
    for count in [1, 15, 16, 40] {
        for _ in 0..count {
            act(vm, &[key("a", true)])?;
        }
        // An answer that is not read gives way to the next.
        for command in [READ_ID, ECHO, READ_ID] {
            port.send(command)?;
        }
        let all = received(&*port)?;
        assert_eq!(all[..3], ID, "the answer with {count} keys waiting");
        let keys = &all[3..];
        assert!(keys.len() >= count.min(15), "{} of {count} keys are left", keys.len());
        assert!(keys.iter().all(|code| [0, 0x1c].contains(code)), "the keys are {keys:x?}");
    }
    Ok(())
}

/// Would catch an interrupt that is missing, that is one for two bytes, or that stays once all have
/// been read.
fn interrupt(keyboard: &Keyboard, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(keyboard, vm)?;
    let none = || Error::skipped("QEMU does not let the port's interrupt be watched");
    let line = port.interrupt()?.ok_or_else(none)?;
    for bytes in [1, 3] {
        let (before, _) = line.edges()?;
        port.send(if bytes == 1 { ECHO } else { READ_ID })?;
        for left in (1..=bytes).rev() {
            assert!(line.is_high()?, "{left} of {bytes} bytes are there, without an interrupt");
            assert!(port.receive()?.is_some(), "{left} of {bytes} bytes are missing");
        }
        assert!(!line.is_high()?, "an interrupt, though all bytes have been read");
        assert_eq!(port.receive()?, None);
        let (after, lowered) = line.edges()?;
        assert_eq!(after - before, bytes, "interrupts of {bytes} bytes");
        assert_eq!(lowered, after);
    }
    Ok(())
}
