//! The virtio input devices: what they say of themselves, the events that a user makes, and lights
//! that the guest switches.

use std::rc::Rc;

use serde_json::{Value, json};

use crate::qemu::{Buffer, Vm};
use crate::qos::virtio::input::{
    CFG_ABS_INFO, CFG_EV_BITS, CFG_ID_DEVIDS, CFG_ID_NAME, CFG_ID_SERIAL, EV_ABS, EV_KEY, EV_LED,
    EV_REL, EV_REP, EV_SYN, EVENT, Event, Live, Model, VirtioInput,
};
use crate::qos::virtio::{self, Segment, features};
use crate::qos::{settle, wait_until};
use crate::{Error, Result, attacks, tests};

tests!(VirtioInput, "virtio-input-tests":
    identity,
    event_bits = "event-bits",
    other_questions = "other-questions",
    events,
    reports,
    interrupts,
    too_few_buffers = "too-few-buffers",
    odd_buffers = "odd-buffers",
    ring_wrap = "ring-wrap",
    not_ready = "not-ready",
    status,
    no_lights = "no-lights",
    status_written = "status-written",
);
attacks!(VirtioInput, "virtio-input-attacks": events);

/// The end of a report.
const SYN: Event = (EV_SYN, 0, 0);
/// The wheel of a mouse, as a code of [`EV_REL`].
const REL_WHEEL: u16 = 8;

/// A key as QMP names it, pressed or released.
fn key(name: &str, down: bool) -> Value {
    let key = json!({ "type": "qcode", "data": name });
    json!({ "type": "key", "data": { "down": down, "key": key } })
}

/// A button, likewise.
fn button(name: &str, down: bool) -> Value {
    json!({ "type": "btn", "data": { "down": down, "button": name } })
}

/// A move along an axis: `kind` is `rel` or `abs`.
fn moved(kind: &str, axis: &str, value: i64) -> Value {
    json!({ "type": kind, "data": { "axis": axis, "value": value } })
}

/// What a user does, and the events that the guest must see of it (the codes are Linux's).
fn gestures(model: Model) -> Vec<(Value, Event)> {
    let press = |down: bool| u32::from(down);
    let both = [true, false];
    let keys = [
        ("esc", 1),
        ("1", 2),
        ("ret", 28),
        ("ctrl", 29),
        ("a", 30),
        ("shift", 42),
        ("f12", 88),
        ("kp_enter", 96),
        ("up", 103),
        ("delete", 111),
        ("meta_l", 125),
    ];
    let buttons = [("left", 0x110), ("right", 0x111), ("middle", 0x112)];
    let more = [("side", 0x113), ("extra", 0x114)];
    let pressed = buttons.into_iter().chain(more).flat_map(|(name, code)| {
        both.map(|down| (button(name, down), (EV_KEY, code, press(down))))
    });
    let wheel = [("wheel-up", 1), ("wheel-down", u32::MAX)]
        .map(|(name, value)| (button(name, true), (EV_REL, REL_WHEEL, value)));
    let axes = |kind: &'static str, event: u16, values: &[i64]| {
        let along = |(axis, code)| {
            let of = move |value: &i64| (moved(kind, axis, *value), (event, code, *value as u32));
            values.iter().map(of).collect::<Vec<_>>()
        };
        [("x", 0), ("y", 1)].map(along).concat()
    };
    match model {
        Model::Keyboard => keys
            .into_iter()
            .flat_map(|(name, code)| {
                both.map(|down| (key(name, down), (EV_KEY, code, press(down))))
            })
            .collect(),
        Model::Mouse => {
            let moves = axes("rel", EV_REL, &[1, -1, 127, -128, 300, -40_000, 70_000]);
            pressed.chain(wheel).chain(moves).collect()
        }
        Model::Tablet => {
            let moves = axes("abs", EV_ABS, &[0, 1, 255, 256, 0x3fff, 0x7ffe, 0x7fff]);
            pressed.chain(wheel).chain(moves).collect()
        }
    }
}

/// Has a user do all of this in one moment.
fn act(vm: &Vm, gestures: &[Value]) -> Result<()> {
    vm.qmp().execute("input-send-event", json!({ "events": gestures }))?;
    Ok(())
}

/// Waits for one report, whose events these are.
#[track_caller]
fn expect(live: &Live, vm: &Vm, offered: &mut Vec<(u16, Buffer)>, report: &[Event]) -> Result<()> {
    for &expected in report.iter().chain([&SYN]) {
        let mut event = None;
        wait_until(vm, &format!("the event {expected:x?}"), || {
            event = live.take(offered)?;
            Ok(event.is_some())
        })?;
        assert_eq!(event, Some(expected), "an event of the report {report:x?}");
    }
    Ok(())
}

/// Asserts that no event comes.
#[track_caller]
fn assert_silent(live: &Live, vm: &Vm, what: &str) -> Result<()> {
    settle(vm)?;
    assert_eq!(live.events.take_used()?, None, "an event {what}");
    Ok(())
}

/// Would catch a name, a serial number or an identity that is another device's, cut off, or that
/// depends on what was asked before (5.8.5).
fn identity(device: &VirtioInput, _: &Rc<Vm>) -> Result<()> {
    let (name, product) = match device.model {
        Model::Keyboard => ("QEMU Virtio Keyboard", (1, 1)),
        Model::Mouse => ("QEMU Virtio Mouse", (2, 2)),
        Model::Tablet => ("QEMU Virtio Tablet", (3, 2)),
    };
    let numbers = [6, 0x0627, product.0, product.1].map(u16::to_le_bytes).concat();
    for _ in 0..2 {
        let is = device.ask(CFG_ID_NAME, 0)?;
        // QEMU gives the name with a zero at its end.
        assert_eq!(is.strip_suffix(&[0]).unwrap_or(&is), name.as_bytes(), "the name");
        assert_eq!(device.ask(CFG_ID_SERIAL, 0)?, b"qgraph-42", "the serial number");
        assert_eq!(device.ask(CFG_ID_DEVIDS, 0)?, numbers, "bus, vendor, product, version");
        device.device.reset()?;
    }
    Ok(())
}

/// Would catch a key, button, axis or light that is sent and was not said to be there, or the
/// other way round, and a range that is not that of the values (5.8.5).
fn event_bits(device: &VirtioInput, _: &Rc<Vm>) -> Result<()> {
    let bits = |kind: u16| -> Result<Vec<u16>> {
        let bytes = device.ask(CFG_EV_BITS, kind as u8)?;
        assert_ne!(bytes.last(), Some(&0), "the last byte of type {kind} has no bit");
        let bits = (0..8 * bytes.len()).filter(|bit| bytes[bit / 8] >> (bit % 8) & 1 != 0);
        Ok(bits.map(|bit| bit as u16).collect())
    };
    let keys = bits(EV_KEY)?;
    for (_, (kind, code, _)) in gestures(device.model) {
        assert!(kind != EV_KEY || keys.contains(&code), "key {code:#x} is not in {keys:x?}");
    }
    let (relative, absolute, lights): (&[u16], &[u16], &[u16]) = match device.model {
        Model::Keyboard => (&[], &[], &[0, 1, 2]),
        Model::Mouse => (&[0, 1, REL_WHEEL], &[], &[]),
        Model::Tablet => (&[REL_WHEEL], &[0, 1], &[]),
    };
    let is_keyboard = device.model == Model::Keyboard;
    assert_eq!(keys.contains(&30), is_keyboard, "the key A");
    assert_eq!(keys.contains(&0x110), !is_keyboard, "the left button");
    assert!(!keys.contains(&0), "a key without a code");
    assert_eq!(bits(EV_REL)?, relative, "relative axes");
    assert_eq!(bits(EV_ABS)?, absolute, "absolute axes");
    assert_eq!(bits(EV_LED)?, lights, "lights");
    for axis in 0..4 {
        let info = device.ask(CFG_ABS_INFO, axis)?;
        if absolute.contains(&axis.into()) {
            let numbers: Vec<_> = info.chunks(4).map(<[u8]>::to_vec).collect();
            let expected = [0, 0x7fffu32, 0, 0, 0].map(|number| number.to_le_bytes().to_vec());
            assert_eq!(numbers, expected, "minimum, maximum, fuzz, flat, resolution of {axis}");
        } else {
            assert!(info.is_empty(), "axis {axis}: {info:x?}");
        }
    }
    Ok(())
}

/// Would catch an answer to a question that has none: its size must be 0 (5.8.5.2), after any
/// other question.
fn other_questions(device: &VirtioInput, _: &Rc<Vm>) -> Result<()> {
    let has_lights = device.model == Model::Keyboard;
    let types: &[u16] = match device.model {
        Model::Keyboard => &[EV_KEY, EV_LED, EV_REP],
        Model::Mouse => &[EV_KEY, EV_REL],
        Model::Tablet => &[EV_KEY, EV_REL, EV_ABS],
    };
    for select in [0, 1, 2, 3, 4, 0x0f, 0x10, 0x11, 0x12, 0x13, 0x80, 0xff] {
        for subsel in (0..=0x20).chain([0x7f, 0x80, 0xff]) {
            let has_answer = match select {
                CFG_ID_NAME | CFG_ID_SERIAL | CFG_ID_DEVIDS => subsel == 0,
                CFG_EV_BITS => types.contains(&subsel.into()),
                CFG_ABS_INFO => device.model == Model::Tablet && subsel < 2,
                _ => false,
            };
            assert!(!device.ask(CFG_ID_DEVIDS, 0)?.is_empty(), "a question before");
            let answer = device.ask(select, subsel)?;
            assert_eq!(!answer.is_empty(), has_answer, "{select:#x}, {subsel:#x}: {answer:x?}");
        }
    }
    assert_eq!(has_lights, types.contains(&EV_LED), "the keyboard has lights");
    Ok(())
}

/// Would catch an event that is lost, doubled, another's, cut off, of the wrong sign, or without
/// the end of its report, and a used length that is not eight.
fn events(device: &VirtioInput, vm: &Rc<Vm>) -> Result<()> {
    for wanted in [device.device.required(), device.device.acceptable()?] {
        let live = device.start(wanted)?;
        for (gesture, event) in gestures(device.model) {
            let mut offered = live.offer(2, EVENT)?;
            act(vm, &[gesture])?;
            expect(&live, vm, &mut offered, &[event])?;
            assert_silent(&live, vm, &format!("after {event:x?}"))?;
        }
    }
    Ok(())
}

/// Would catch events of one moment that are split into reports, mixed up, or dropped.
fn reports(device: &VirtioInput, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.device.acceptable()?)?;
    let all = gestures(device.model);
    for count in [1, 2, 3, all.len()] {
        let (done, report): (Vec<_>, Vec<_>) = all[..count].iter().cloned().unzip();
        let mut offered = live.offer(count + 1, EVENT)?;
        act(vm, &done)?;
        expect(&live, vm, &mut offered, &report)?;
        assert_silent(&live, vm, "after the report")?;
        assert!(offered.is_empty(), "buffers left");
    }
    Ok(())
}

/// The first gesture, and its event.
fn first(device: &VirtioInput) -> Result<(Value, Event)> {
    let first = gestures(device.model).into_iter().next();
    first.ok_or_else(|| Error::failed("no gesture is known"))
}

/// Would catch a report without an interrupt, one for each event, one for a report that is not
/// there, and one that comes although the driver wants none.
fn interrupts(device: &VirtioInput, vm: &Rc<Vm>) -> Result<()> {
    // A legacy device would notify of the last buffer all the same.
    let wanted = device.device.acceptable()? & !(features::EVENT_IDX | features::NOTIFY_ON_EMPTY);
    let live = device.start(wanted)?;
    let transport = device.device.transport();
    settle(vm)?;
    transport.take_interrupts()?;
    let (done, report): (Vec<_>, Vec<_>) = gestures(device.model).into_iter().take(5).unzip();
    for wanted in [true, false, true] {
        live.events.want_interrupts(wanted)?;
        let mut offered = live.offer(6, EVENT)?;
        settle(vm)?;
        assert_eq!(transport.take_interrupts()?, 0, "before the report");
        act(vm, &done)?;
        expect(&live, vm, &mut offered, &report)?;
        settle(vm)?;
        let expected = if wanted { virtio::ISR_QUEUE } else { 0 };
        assert_eq!(transport.take_interrupts()?, expected, "of the report, wanted: {wanted}");
        act(vm, &done)?;
        settle(vm)?;
        assert_eq!(transport.take_interrupts()?, 0, "of a report that has no buffers");
    }
    Ok(())
}

/// Would catch a report that comes in part when there are too few buffers, buffers that are lost
/// with it, and one that comes late, when there are buffers again (5.8.6.2).
fn too_few_buffers(device: &VirtioInput, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.device.acceptable()?)?;
    let (done, report): (Vec<_>, Vec<_>) = gestures(device.model).into_iter().take(5).unzip();
    let mut offered = Vec::new();
    for room in 0..6 {
        assert_eq!(offered.len(), room, "buffers that the device has");
        act(vm, &done)?;
        assert_silent(&live, vm, &format!("of six with {room} buffers"))?;
        offered.extend(live.offer(1, EVENT)?);
    }
    assert_silent(&live, vm, "of a report that was dropped")?;
    act(vm, &done[1..3])?;
    expect(&live, vm, &mut offered, &report[1..3])?;
    act(vm, &done)?;
    assert_silent(&live, vm, "of six with three buffers")?;
    act(vm, &done[..2])?;
    expect(&live, vm, &mut offered, &report[..2])?;
    assert!(offered.is_empty(), "buffers left");
    Ok(())
}

/// Would catch a buffer that is filled beyond its end or beyond the event, and an event that is not
/// spread over the pieces of a buffer.
fn odd_buffers(device: &VirtioInput, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.device.acceptable()?)?;
    let (done, event) = first(device)?;
    let whole = [event, SYN].map(|(kind, code, value)| {
        let half = [kind, code].map(u16::to_le_bytes).concat();
        [half, value.to_le_bytes().to_vec()].concat()
    });
    for room in [1, 2, 5, 7, 8, 9, 64, 4096] {
        let offered = live.offer(2, room)?;
        act(vm, std::slice::from_ref(&done))?;
        for ((id, buffer), whole) in offered.iter().zip(&whole) {
            let used = live.events.wait_used()?;
            let filled = room.min(EVENT);
            assert_eq!((used.id, used.written as usize), (*id, filled), "room for {room} bytes");
            let is = buffer.to_vec()?;
            assert_eq!(is[..filled], whole[..filled], "in room for {room} bytes");
            assert!(is[filled..].iter().all(|&byte| byte == 0xee), "behind the event: {is:x?}");
        }
    }
    for lengths in [[1, 3, 4], [2, 1, 20], [7, 1, 1]] {
        let mut offered = Vec::new();
        for _ in 0..2 {
            let pieces = lengths.map(|length| vm.ram().alloc(length, 1));
            let pieces = pieces.into_iter().collect::<Result<Vec<_>>>()?;
            let segments: Vec<_> = pieces.iter().map(Segment::writable).collect();
            offered.push((live.events.add(&segments)?, pieces));
        }
        live.events.kick()?;
        act(vm, std::slice::from_ref(&done))?;
        for ((id, pieces), whole) in offered.iter().zip(&whole) {
            let used = live.events.wait_used()?;
            assert_eq!((used.id, used.written as usize), (*id, EVENT), "in pieces of {lengths:?}");
            let is = pieces.iter().map(Buffer::to_vec).collect::<Result<Vec<_>>>()?.concat();
            assert_eq!(is[..EVENT], whole[..], "in pieces of {lengths:?}");
        }
    }
    Ok(())
}

/// Would catch events that are lost or repeated where the ring begins anew.
fn ring_wrap(device: &VirtioInput, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.device.acceptable()?)?;
    let all = gestures(device.model);
    let mut offered = Vec::new();
    for round in 0..3 * usize::from(live.events.size()) / 2 {
        // One buffer more than is used, so that another one is given each time.
        let wanted = if round == 0 { 5 } else { 2 };
        offered.extend(live.offer(wanted, EVENT)?);
        let (gesture, event) = all[round % all.len()].clone();
        act(vm, &[gesture])?;
        expect(&live, vm, &mut offered, &[event])?;
        if round > 100 {
            break;
        }
    }
    assert_silent(&live, vm, "more")
}

/// Would catch events of before the driver is ready or of after a reset, and buffers of before
/// that are filled.
fn not_ready(device: &VirtioInput, vm: &Rc<Vm>) -> Result<()> {
    let (done, event) = first(device)?;
    // Where nobody else listens, QEMU refuses it.
    let act_anyhow = || vm.qmp().execute("input-send-event", json!({ "events": [done] })).ok();
    for _ in 0..3 {
        let before = device.start(device.device.acceptable()?)?;
        let old = before.offer(4, EVENT)?;
        device.device.reset()?;
        act_anyhow();
        settle(vm)?;
        for (_, buffer) in &old {
            assert_eq!(buffer.to_vec()?, [0xee; EVENT], "a buffer of before the reset");
        }
        let live = device.start(device.device.acceptable()?)?;
        let mut offered = live.offer(4, EVENT)?;
        assert_silent(&live, vm, "of before the driver was ready")?;
        act(vm, std::slice::from_ref(&done))?;
        expect(&live, vm, &mut offered, &[event])?;
        assert_eq!(live.take(&mut offered)?, None, "more than the report");
        for (_, buffer) in &old {
            assert_eq!(buffer.to_vec()?, [0xee; EVENT], "a buffer of before the reset");
        }
    }
    Ok(())
}

/// Would catch an event to the device that is not taken, stops it when it is of no type that it
/// knows or too short, or changes what it sends.
fn status(device: &VirtioInput, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.device.acceptable()?)?;
    let (done, event) = first(device)?;
    let lights = (0..3).flat_map(|code| [1, 0].map(|value| (EV_LED, code, value)));
    let lights = lights.chain([(EV_LED, 0xffff, 1)]).filter(|_| device.model == Model::Keyboard);
    let others = [(EV_KEY, 1, 1), (EV_REP, 0, 250), (0xffff, 0, 0), SYN];
    for (number, told) in lights.chain(others).enumerate() {
        for length in [EVENT, 1, 7, 9, 100] {
            live.tell(told, length)?;
        }
        if number % 3 == 0 {
            let mut offered = live.offer(2, EVENT)?;
            act(vm, std::slice::from_ref(&done))?;
            expect(&live, vm, &mut offered, &[event])?;
        }
    }
    Ok(())
}

/// Would catch a light of a device that has none, which a driver switches all the same, that ends
/// QEMU.
fn no_lights(device: &VirtioInput, _: &Rc<Vm>) -> Result<()> {
    if device.model == Model::Keyboard {
        return Err(Error::skipped("a keyboard has lights"));
    }
    let live = device.start(device.device.acceptable()?)?;
    for code in [0, 1, 2, 0xffff] {
        live.tell((EV_LED, code, 1), EVENT)?;
    }
    Ok(())
}

/// Would catch a used length for what the device only reads (2.7.8.2).
fn status_written(device: &VirtioInput, _: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.device.acceptable()?)?;
    assert_eq!(live.tell(SYN, EVENT)?, 0, "bytes written to no memory");
    Ok(())
}
