//! Every PS/2 mouse: what it says of itself, its packets in each mode and format, its settings, and
//! what is left of a reset.

use std::rc::Rc;

use serde_json::Value;

use crate::qemu::Vm;
use crate::qos::ps2::{
    ACK, DISABLE, ENABLE, Mouse, PASSED, Port, READ_ID, RESEND, RESET, SET_DEFAULTS, act, button,
    exchange, moved, received,
};
use crate::{Error, Result, tests};

tests!(Mouse, "ps2-mouse-tests":
    identity,
    status,
    status_buttons = "status-buttons",
    moves,
    buttons,
    long_moves = "long-moves",
    wheel,
    explorer,
    remote,
    wrap,
    disable,
    defaults,
    reset,
    reset_ends_wrap = "reset-ends-wrap",
    machine_reset = "machine-reset",
    unread,
    answers_when_unread = "answers-when-unread",
    unknown_commands = "unknown-commands",
    interrupt,
);

/// Scaling 1:1, scaling 2:1, resolution, and status.
const SCALE_1: u8 = 0xe6;
const SCALE_2: u8 = 0xe7;
const RESOLUTION: u8 = 0xe8;
const STATUS: u8 = 0xe9;
/// Send packets by itself, send one, send none but that, and how many a second.
const STREAM: u8 = 0xea;
const READ_DATA: u8 = 0xeb;
const REMOTE: u8 = 0xf0;
const RATE: u8 = 0xf3;
/// Answer each byte with itself, and no more.
const WRAP: u8 = 0xee;
const WRAP_ENDS: u8 = 0xec;

/// Status: modes and buttons, resolution, packets a second; as after a reset.
const AFTER_RESET: [u8; 4] = [ACK, 0x00, 2, 100];

/// The first byte of a packet: always; the sign of a move to the right; that of a move up.
const ALWAYS: u8 = 0x08;
const LEFTWARDS: u8 = 0x10;
const DOWNWARDS: u8 = 0x20;

/// The mouse as after a reset, enabled, with nothing to say.
fn ready(mouse: &Mouse, vm: &Vm) -> Result<Rc<dyn Port>> {
    let port = mouse.0.clone();
    port.make_ready()?;
    assert_eq!(exchange(&*port, &[RESET])?, [ACK, PASSED, 0], "the answer to Reset");
    assert_eq!(exchange(&*port, &[ENABLE])?, [ACK], "the answer to Enable");
    vm.set_up_ends()?;
    Ok(port)
}

/// The packet of a move to the right and up, with buttons held.
fn packet(right: i32, up: i32, buttons: u8) -> [u8; 3] {
    let signs = if right < 0 { LEFTWARDS } else { 0 } | if up < 0 { DOWNWARDS } else { 0 };
    [ALWAYS | signs | buttons, right as u8, up as u8]
}

/// A user's move to the right and up.
fn to(right: i32, up: i32) -> [Value; 2] {
    [moved("x", right), moved("y", -up)]
}

/// How far packets of three bytes go, together, which all have these buttons held.
fn sum(bytes: &[u8], buttons: u8) -> Result<(i32, i32)> {
    let (packets, []) = bytes.as_chunks::<3>() else {
        return Err(Error::failed(format!("{} bytes are no whole packets", bytes.len())));
    };
    packets.iter().try_fold((0, 0), |(right, up), packet| {
        let [flags, x, y] = *packet;
        let signed =
            |value: u8, sign: u8| i32::from(value) - if flags & sign != 0 { 256 } else { 0 };
        // No sign of zero, and no overflow, since all fits into several packets.
        if flags & !(LEFTWARDS | DOWNWARDS) != ALWAYS | buttons {
            return Err(Error::failed(format!("{packet:x?} is a packet, buttons {buttons:#x}")));
        }
        Ok((right + signed(x, LEFTWARDS), up + signed(y, DOWNWARDS)))
    })
}

/// Asserts that a small move arrives as one packet of three bytes.
#[track_caller]
fn assert_moves(port: &dyn Port, vm: &Vm, when: &str) -> Result<()> {
    act(vm, &to(3, -4))?;
    assert_eq!(received(port)?, packet(3, -4, 0), "a move {when}");
    Ok(())
}

/// Tells the mouse these rates one after another, by which drivers ask for more than it has.
fn knock(port: &dyn Port, rates: [u8; 3]) -> Result<()> {
    for rate in rates {
        assert_eq!(exchange(port, &[RATE, rate])?, [ACK, ACK], "the answer to a rate of {rate}");
    }
    Ok(())
}

/// Would catch a mouse that says it is another, one that takes other rates than those that ask
/// for a wheel, and a reset that leaves the wheel.
fn identity(mouse: &Mouse, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(mouse, vm)?;
    let id = || exchange(&*port, &[READ_ID]);
    assert_eq!(id()?, [ACK, 0]);
    for wrong in [[200, 100, 60], [100, 100, 80], [80, 100, 100], [200, 80, 100]] {
        knock(&*port, wrong)?;
        assert_eq!(id()?, [ACK, 0], "after the rates {wrong:?}");
    }
    knock(&*port, [200, 100, 80])?;
    assert_eq!(id()?, [ACK, 3], "with a wheel");
    knock(&*port, [200, 200, 80])?;
    assert_eq!(id()?, [ACK, 4], "with five buttons");
    assert_eq!(exchange(&*port, &[RESET])?, [ACK, PASSED, 0], "a reset with five buttons");
    assert_eq!(id()?, [ACK, 0], "after a reset");
    assert_eq!(exchange(&*port, &[ENABLE])?, [ACK]);
    assert_moves(&*port, vm, "after a reset")
}

/// Would catch a status that misses a mode, or has another's bit, and resolution or rate that are
/// not kept or not told.
fn status(mouse: &Mouse, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(mouse, vm)?;
    let status = || exchange(&*port, &[STATUS]);
    assert_eq!(status()?, [ACK, 0x20, 2, 100], "enabled");
    let steps: [(&[u8], [u8; 3]); 9] = [
        (&[SCALE_2], [0x30, 2, 100]),
        (&[REMOTE], [0x70, 2, 100]),
        (&[DISABLE], [0x50, 2, 100]),
        (&[SCALE_1], [0x40, 2, 100]),
        (&[RESOLUTION, 0], [0x40, 0, 100]),
        (&[RATE, 10], [0x40, 0, 10]),
        (&[RESOLUTION, 3], [0x40, 3, 10]),
        (&[STREAM], [0x00, 3, 10]),
        (&[RATE, 200], [0x00, 3, 200]),
    ];
    for (command, expected) in steps {
        assert_eq!(exchange(&*port, command)?, vec![ACK; command.len()], "{command:x?}");
        assert_eq!(status()?[1..], expected, "after {command:x?}");
    }
    Ok(())
}

/// Would catch a status that does not tell which buttons are held.
fn status_buttons(mouse: &Mouse, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(mouse, vm)?;
    for (name, bit) in [("left", 4), ("right", 1)] {
        act(vm, &[button(name, true)])?;
        received(&*port)?;
        let status = exchange(&*port, &[STATUS])?;
        act(vm, &[button(name, false)])?;
        received(&*port)?;
        assert_eq!(status, [ACK, 0x20 | bit, 2, 100], "with the {name} button held");
    }
    Ok(())
}

/// Would catch axes that are exchanged or turned round, a sign that is missing or the other's, and
/// a move that is told again.
fn moves(mouse: &Mouse, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(mouse, vm)?;
    let along = [0, 1, -1, 2, 0x55, -0x56, 127, -127];
    for right in along {
        for up in along {
            act(vm, &to(right, up))?;
            assert_eq!(received(&*port)?, packet(right, up, 0), "{right} right and {up} up");
        }
    }
    act(vm, &[moved("x", 5), moved("x", -7), moved("y", -1), moved("y", -1)])?;
    assert_eq!(received(&*port)?, packet(-2, 2, 0), "four moves in one moment");
    Ok(())
}

/// Would catch a button that is another's, is not released, or is lost where two are held.
fn buttons(mouse: &Mouse, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(mouse, vm)?;
    let all = [("left", 1), ("right", 2), ("middle", 4)];
    for (name, bit) in all {
        act(vm, &[button(name, true)])?;
        assert_eq!(received(&*port)?, packet(0, 0, bit), "{name} pressed");
        act(vm, &to(-9, 8))?;
        assert_eq!(received(&*port)?, packet(-9, 8, bit), "a move with {name} held");
        act(vm, &[button(name, false)])?;
        assert_eq!(received(&*port)?, packet(0, 0, 0), "{name} released");
    }
    let mut held = 0;
    for (name, bit) in all.into_iter().chain(all) {
        let is_down = held & bit == 0;
        held ^= bit;
        act(vm, &[button(name, is_down)])?;
        assert_eq!(received(&*port)?, packet(0, 0, held), "{name} of several");
    }
    // Neither has a bit in this format.
    for name in ["side", "extra", "wheel-up", "wheel-down"] {
        for is_down in [true, false] {
            act(vm, &[button(name, is_down)])?;
            assert_eq!(sum(&received(&*port)?, 0)?, (0, 0), "{name}");
        }
    }
    assert_moves(&*port, vm, "after that")
}

/// Would catch a move that does not fit into one packet and comes too short, too long or turned
/// round, or stays behind for ever.
fn long_moves(mouse: &Mouse, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(mouse, vm)?;
    for (right, up) in [(128, 0), (0, -128), (255, 256), (-300, 200), (500, -500), (-600, -1)] {
        act(vm, &to(right, up))?;
        assert_eq!(sum(&received(&*port)?, 0)?, (right, up), "{right} right and {up} up");
    }
    // More than is kept at once: the rest comes with the next moves.
    act(vm, &to(2000, -1500))?;
    let mut all = sum(&received(&*port)?, 0)?;
    for _ in 0..40 {
        act(vm, &to(1, 0))?;
        let (right, up) = sum(&received(&*port)?, 0)?;
        all = (all.0 + right, all.1 + up);
    }
    // A mouse may forget what is more than a packet can say, but not turn round for it.
    assert!((500..=2040).contains(&all.0), "{} right of 2040", all.0);
    assert!((-1500..=-500).contains(&all.1), "{} up of -1500", all.1);
    assert_moves(&*port, vm, "after that")
}

/// Would catch a wheel that turns the other way, is lost or counted again, or is told to a driver
/// that did not ask for it.
fn wheel(mouse: &Mouse, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(mouse, vm)?;
    knock(&*port, [200, 100, 80])?;
    let turned = |name: &str| [button(name, true), button(name, false)];
    let with =
        |right, up, buttons, wheel: i8| [&packet(right, up, buttons)[..], &[wheel as u8]].concat();
    act(vm, &turned("wheel-up"))?;
    assert_eq!(received(&*port)?, with(0, 0, 0, -1), "up");
    act(vm, &turned("wheel-down"))?;
    assert_eq!(received(&*port)?, with(0, 0, 0, 1), "down");
    let three = [turned("wheel-down"), turned("wheel-down"), turned("wheel-down")].concat();
    act(vm, &three)?;
    assert_eq!(received(&*port)?, with(0, 0, 0, 3), "down three times in one moment");
    act(vm, &vec![turned("wheel-down"); 200].concat())?;
    let packets = received(&*port)?;
    let (packets, []) = packets.as_chunks::<4>() else {
        return Err(Error::failed(format!("{packets:x?} are no packets of four bytes")));
    };
    let all: i32 = packets.iter().map(|packet| i32::from(packet[3] as i8)).sum();
    assert_eq!(all, 200, "down 200 times in one moment: {packets:x?}");
    act(vm, &[&to(-1, 2)[..], &turned("wheel-up"), &[button("left", true)]].concat())?;
    assert_eq!(received(&*port)?, with(-1, 2, 1, -1), "with a move and a button");
    act(vm, &[button("left", false)])?;
    assert_eq!(received(&*port)?, with(0, 0, 0, 0), "after that");
    Ok(())
}

/// Would catch the fourth and the fifth button missing from the format that has them, or in place
/// of each other, and a wheel that reaches into their bits.
fn explorer(mouse: &Mouse, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(mouse, vm)?;
    knock(&*port, [200, 100, 80])?;
    knock(&*port, [200, 200, 80])?;
    let with = |last: u8| [packet(0, 0, 0).as_slice(), &[last]].concat();
    for (name, bit) in [("side", 0x10), ("extra", 0x20)] {
        act(vm, &[button(name, true)])?;
        assert_eq!(received(&*port)?, with(bit), "{name} pressed");
        act(vm, &[button("wheel-up", true), button("wheel-up", false)])?;
        assert_eq!(received(&*port)?, with(bit | 0x0f), "the wheel with {name} held");
        act(vm, &[button(name, false)])?;
        assert_eq!(received(&*port)?, with(0), "{name} released");
    }
    Ok(())
}

/// Would catch a mouse that speaks unasked in remote mode, or does not when it is asked, or does
/// not sum up what came between.
fn remote(mouse: &Mouse, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(mouse, vm)?;
    let asked = |when: &str, expected: [u8; 3]| {
        let answer = exchange(&*port, &[READ_DATA])?;
        assert_eq!(answer, [&[ACK][..], &expected].concat(), "{when}");
        Ok::<_, Error>(())
    };
    asked("asked in stream mode", packet(0, 0, 0))?;
    assert_eq!(exchange(&*port, &[REMOTE])?, [ACK]);
    for round in 0..3 {
        act(vm, &to(10, 20))?;
        act(vm, &to(-13, 5))?;
        act(vm, &[button("right", true)])?;
        assert_eq!(received(&*port)?, [0; 0], "unasked, round {round}");
        asked("asked", packet(-3, 25, 2))?;
        act(vm, &[button("right", false)])?;
        asked("asked again", packet(0, 0, 0))?;
    }
    assert_eq!(exchange(&*port, &[STREAM])?, [ACK]);
    assert_moves(&*port, vm, "in stream mode again")
}

/// Would catch wrap mode that does a command instead of sending it back, adds to it, or never ends.
fn wrap(mouse: &Mouse, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(mouse, vm)?;
    assert_eq!(exchange(&*port, &[WRAP])?, [ACK]);
    for byte in [0, 1, STATUS, SCALE_2, SET_DEFAULTS, DISABLE, REMOTE, WRAP, 0xfe] {
        assert_eq!(exchange(&*port, &[byte])?, [byte], "{byte:#x} in wrap mode");
    }
    assert_eq!(exchange(&*port, &[WRAP_ENDS])?, [ACK]);
    assert_eq!(exchange(&*port, &[STATUS])?, [ACK, 0x20, 2, 100], "the status after wrap mode");
    assert_moves(&*port, vm, "after wrap mode")
}

/// Would catch a mouse that speaks while it is disabled, that does not answer then, or that tells
/// later what happened then.
fn disable(mouse: &Mouse, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(mouse, vm)?;
    for _ in 0..2 {
        assert_eq!(exchange(&*port, &[DISABLE])?, [ACK]);
        act(vm, &to(40, 40))?;
        act(vm, &[button("left", true), button("left", false)])?;
        assert_eq!(received(&*port)?, [0; 0], "while the mouse is disabled");
        assert_eq!(exchange(&*port, &[STATUS])?, AFTER_RESET, "while it is disabled");
        assert_eq!(exchange(&*port, &[ENABLE])?, [ACK]);
        assert_moves(&*port, vm, "enabled again")?;
    }
    Ok(())
}

/// Would catch defaults that leave a mode, the resolution or the rate, and that take the wheel away.
fn defaults(mouse: &Mouse, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(mouse, vm)?;
    knock(&*port, [200, 100, 80])?;
    assert_eq!(exchange(&*port, &[SCALE_2, REMOTE, RESOLUTION, 1])?, [ACK; 4]);
    assert_eq!(exchange(&*port, &[SET_DEFAULTS])?, [ACK]);
    assert_eq!(exchange(&*port, &[STATUS])?, AFTER_RESET);
    assert_eq!(exchange(&*port, &[READ_ID])?, [ACK, 3], "the type");
    Ok(())
}

/// Would catch a reset that keeps settings, a move that was not told yet, or what was not read.
fn reset(mouse: &Mouse, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(mouse, vm)?;
    for settings in [&[SCALE_2, RESOLUTION, 1, RATE, 20][..], &[REMOTE], &[DISABLE]] {
        assert_eq!(exchange(&*port, settings)?, vec![ACK; settings.len()]);
        assert_eq!(exchange(&*port, &[RESET])?, [ACK, PASSED, 0]);
        assert_eq!(exchange(&*port, &[STATUS])?, AFTER_RESET, "after {settings:x?} and Reset");
        assert_eq!(exchange(&*port, &[ENABLE])?, [ACK]);
        assert_moves(&*port, vm, "after Reset")?;
    }
    act(vm, &to(2000, 2000))?;
    assert_eq!(exchange(&*port, &[RESET])?, [ACK, PASSED, 0], "with a move that was not read");
    assert_eq!(exchange(&*port, &[ENABLE])?, [ACK]);
    assert_moves(&*port, vm, "after a long move and Reset")
}

/// Would catch wrap mode from which Reset does not lead.
fn reset_ends_wrap(mouse: &Mouse, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(mouse, vm)?;
    assert_eq!(exchange(&*port, &[WRAP])?, [ACK]);
    assert_eq!(exchange(&*port, &[RESET])?, [ACK, PASSED, 0]);
    assert_eq!(exchange(&*port, &[STATUS])?, AFTER_RESET);
    Ok(())
}

/// Would catch a reset of the machine that leaves a mode, the wheel, a button, the second byte of a
/// command, or a packet.
fn machine_reset(mouse: &Mouse, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(mouse, vm)?;
    knock(&*port, [200, 100, 80])?;
    assert_eq!(exchange(&*port, &[SCALE_2, RESOLUTION, 1])?, [ACK; 3]);
    act(vm, &[button("left", true)])?;
    act(vm, &to(1000, 0))?;
    port.send(RATE)?;
    crate::qos::reset(vm)?;
    port.make_ready()?;
    assert_eq!(received(&*port)?, [0; 0], "what is there");
    assert_eq!(exchange(&*port, &[STATUS])?, AFTER_RESET);
    assert_eq!(exchange(&*port, &[READ_ID])?, [ACK, 0], "the type");
    assert_eq!(exchange(&*port, &[ENABLE])?, [ACK]);
    assert_moves(&*port, vm, "after a reset of the machine")
}

/// Would catch packets of which a part is missing because nobody reads them.
fn unread(mouse: &Mouse, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(mouse, vm)?;
    for round in 0..3 {
        for _ in 0..50 {
            act(vm, &to(1, -1))?;
        }
        let (right, up) = sum(&received(&*port)?, 0)?;
        assert!(right >= 5 && right == -up, "round {round}: {right} right, {up} up of 50");
        act(vm, &to(1, -1))?;
        let (more, down) = sum(&received(&*port)?, 0)?;
        assert!((1..=51 - right).contains(&more) && more == -down, "{more} right, {down} up later");
    }
    Ok(())
}

/// Would catch an answer that is lost because nobody has read the packets before it.
fn answers_when_unread(mouse: &Mouse, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(mouse, vm)?;
    let expected = [ACK, 0x20, 2, 100];
    for packets in [1, 5, 20] {
        for _ in 0..packets {
            act(vm, &to(1, 1))?;
        }
        port.send(STATUS)?;
        let all = received(&*port)?;
        let packets = all.strip_prefix(&expected).or_else(|| all.strip_suffix(&expected));
        let is_whole = packets.is_some_and(|packets| packets.len() % 3 == 0);
        assert!(is_whole, "the status is asked for, nothing has been read: {all:x?}");
    }
    Ok(())
}

/// Would catch what is no command, and is not answered, or taken for one.
fn unknown_commands(mouse: &Mouse, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(mouse, vm)?;
    for wrong in [0x00, 0x7f, 0xe5, 0xef] {
        assert_eq!(exchange(&*port, &[wrong])?, [RESEND], "the answer to {wrong:#x}");
        assert_eq!(exchange(&*port, &[STATUS])?, [ACK, 0x20, 2, 100], "after {wrong:#x}");
    }
    Ok(())
}

/// Would catch an interrupt that is missing, that is one for two bytes, or that stays once all have
/// been read.
fn interrupt(mouse: &Mouse, vm: &Rc<Vm>) -> Result<()> {
    let port = ready(mouse, vm)?;
    let none = || Error::skipped("QEMU does not let the port's interrupt be watched");
    let line = port.interrupt()?.ok_or_else(none)?;
    for packets in 1..4 {
        let (before, _) = line.edges()?;
        for _ in 0..packets {
            act(vm, &to(1, 1))?;
        }
        for left in (1..=packets * 3).rev() {
            assert!(line.is_high()?, "{left} bytes are there, without an interrupt");
            assert!(port.receive()?.is_some(), "{left} bytes are missing");
        }
        assert!(!line.is_high()?, "an interrupt, though all bytes have been read");
        assert_eq!(port.receive()?, None);
        let (after, lowered) = line.edges()?;
        assert_eq!(after - before, packets * 3, "interrupts of {packets} packets");
        assert_eq!(lowered, after);
    }
    Ok(())
}
