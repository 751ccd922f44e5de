//! The virtio GPU with several screens, and given requests that are cut off before they say what
//! they are.

use std::rc::Rc;

use super::gpu::{ALL, BGRX, OF_BGRX, SIZE, assert_shown, colour, image, shown};
use crate::drivers::virtio::gpu::ID;
use crate::graph::QemuArgs;
use crate::qemu::Vm;
use crate::qos::display::dump_of;
use crate::qos::settle;
use crate::qos::virtio::gpu::{
    ERR_INVALID_PARAMETER, ERR_INVALID_SCANOUT_ID, GET_DISPLAY_INFO, GET_EDID, HEADER, Live,
    NUM_SCANOUTS, OK_DISPLAY_INFO, OK_EDID, RESOURCE_CREATE_2D, RESOURCE_FLUSH, RESOURCE_UNREF,
    SET_SCANOUT, TRANSFER_TO_HOST_2D, VirtioGpu, command, fenced, number,
};
use crate::qos::virtio::{ISR_QUEUE, Segment};
use crate::{Error, Result, tests};

tests!(VirtioGpu, "virtio-gpu-tests":
    cut_headers = "cut-headers",
    cut_headers_reset = "cut-headers-reset",
    no_room = "no-room",
);

/// How many screens the device has where it has several.
const SCREENS: u32 = 3;

tests!(VirtioGpu, "virtio-gpu-tests":
    several_screens = "several-screens",
    screens_apart = "screens-apart",
    one_on_several = "one-on-several";
    with QemuArgs::NONE.before("-global virtio-gpu-device.max_outputs=3")
);

/// Gives the device the first `length` bytes of a request, with room for an answer, and returns
/// what came back.
fn cut(live: &Live, vm: &Rc<Vm>, request: &[u8], length: usize) -> Result<Vec<u8>> {
    let (asked, room) = (vm.ram().alloc(length.max(1), 1)?, vm.ram().alloc(HEADER, 1)?);
    asked.write(0, &request[..length])?;
    let (asked, answer) = (Segment::readable(&asked), Segment::writable(&room));
    let segments = [asked, answer];
    let written = live.control.carry_out(if length == 0 { &segments[1..] } else { &segments })?;
    let mut answer = room.to_vec()?;
    answer.truncate(written as usize);
    Ok(answer)
}

/// Would catch a request that ends within its header (5.7.6.7) and is kept for ever, with all that
/// come after it, or is taken for the one before it: its type is not known, so it may only be
/// refused.
fn cut_headers(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    for length in 0..HEADER {
        let live = device.start(device.0.acceptable()?)?;
        let _memory = shown(&live, vm, 1, 1)?;
        for request in [
            command(RESOURCE_UNREF, &[1, 0]),
            fenced(RESOURCE_UNREF, 1, 5, &[1, 0]),
            vec![0xff; HEADER],
        ] {
            let what = format!("{length} bytes of {:#x}", number(&request, 0));
            let answer = cut(&live, vm, &request, length).map_err(|e| e.context(what.clone()))?;
            if !answer.is_empty() {
                assert_eq!(answer.len(), HEADER, "the length of an answer to {what}");
                let kind = number(&answer, 0);
                assert!((0x1200..0x1300).contains(&kind), "the answer to {what}: {kind:#x}");
            }
            live.done(RESOURCE_FLUSH, &[&ALL[..], &[1, 0]].concat())?;
            assert_shown(vm, 1, &what)?;
        }
    }
    Ok(())
}

/// Would catch memory of a request without a header that stays mapped after a reset (2.4): a
/// device can map only so much of what is no RAM.
fn cut_headers_reset(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let Some(own) = device.0.transport().own_memory() else {
        return Err(Error::skipped("the device's registers are ports, which it cannot reach"));
    };
    let at = |length| Segment { address: own, length, writable: false };
    for _ in 0..600 {
        let live = device.start(device.0.acceptable()?)?;
        live.control.add(&[at(20)])?;
        live.control.kick()?;
        settle(vm)?;
    }
    let live = device.start(device.0.acceptable()?)?;
    let room = vm.ram().alloc(HEADER, 1)?;
    live.control.carry_out(&[at(HEADER as u32 + 8), Segment::writable(&room)])?;
    live.done(RESOURCE_CREATE_2D, &[1, BGRX, 20, 20])
}

/// Would catch a request without room for an answer that is never given back, is not done, or
/// ends QEMU.
fn no_room(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.0.acceptable()?)?;
    let _memory = shown(&live, vm, 1, 2)?;
    let fill = [&ALL[..], &[0, 0, 1, 0]].concat();
    for (kind, numbers) in [
        (GET_DISPLAY_INFO, &[][..]),
        (GET_EDID, &[0, 0]),
        (RESOURCE_CREATE_2D, &[7, BGRX, 20, 20]),
        (RESOURCE_CREATE_2D, &[7, BGRX, 20, 20]),
        (TRANSFER_TO_HOST_2D, &fill),
        (0x1100, &[]),
    ] {
        let asked = vm.ram().alloc(HEADER + 4 * numbers.len(), 1)?;
        asked.write(0, &command(kind, numbers))?;
        let written = live.control.carry_out(&[Segment::readable(&asked)])?;
        assert_eq!(written, 0, "bytes written for {kind:#x}");
    }
    live.done(RESOURCE_UNREF, &[7, 0])?;
    assert_shown(vm, 2, "after requests without room for an answer")?;
    assert_ne!(device.0.transport().take_interrupts()? & ISR_QUEUE, 0, "interrupts");
    Ok(())
}

/// Would catch a device that has another number of screens than it was made with, more than one on
/// before anybody asks for them, has no identification data of some, or takes a number behind the
/// last (5.7.6.8).
fn several_screens(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    assert_eq!(device.field(NUM_SCANOUTS)?, SCREENS, "screens");
    let live = device.start(device.0.acceptable()?)?;
    let answer = live.exchange(&command(GET_DISPLAY_INFO, &[]), usize::MAX, 408)?;
    assert_eq!((answer.len(), number(&answer, 0)), (408, OK_DISPLAY_INFO), "length and kind");
    let is_on: Vec<_> = (0..16).map(|screen| number(&answer, HEADER + 24 * screen + 16)).collect();
    assert_eq!(is_on[0], 1, "the first screen is on");
    assert!(is_on[1..].iter().all(|&on| on == 0), "others are on: {is_on:?}");
    for screen in 0..SCREENS {
        let answer = live.exchange(&command(GET_EDID, &[screen, 0]), usize::MAX, 1056)?;
        assert_eq!((answer.len(), number(&answer, 0)), (1056, OK_EDID), "data of {screen}");
    }
    let _memory = shown(&live, vm, 1, 3)?;
    for screen in [SCREENS, SCREENS + 1, 15, 16, 17, 0x8000_0000, u32::MAX] {
        let answer = live.exchange(&command(GET_EDID, &[screen, 0]), usize::MAX, 1056)?;
        assert_eq!(number(&answer, 0), ERR_INVALID_PARAMETER, "data of {screen}");
        for resource in [0, 1] {
            let show = [&ALL[..], &[screen, resource]].concat();
            let answer = live.tell(SET_SCANOUT, &show)?;
            assert_eq!(answer, ERR_INVALID_SCANOUT_ID, "resource {resource} on {screen}");
        }
    }
    assert_shown(vm, 3, "after screens that are not there")
}

/// The part of a resource that a screen shows.
fn part(screen: u32) -> [u32; 4] {
    [4 * screen, 3 * screen, 20 + 4 * screen, 17 + screen]
}

/// Asserts that a screen shows its part of a resource that was filled with `seed`.
#[track_caller]
fn assert_part(vm: &Vm, screen: u32, seed: usize, what: &str) -> Result<()> {
    let [left, top, width, height] = part(screen).map(|number| number as usize);
    dump_of(vm, ID, screen)?
        .assert_shows(what, (width, height), [0xff; 3], |x, y| colour(seed)(x + left, y + top));
    Ok(())
}

/// Would catch screens that are mixed up: each shows a resource of its own, and one after the other
/// is changed, and switched off (5.7.6.8).
fn screens_apart(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.0.acceptable()?)?;
    let mut memory = Vec::new();
    for screen in 0..SCREENS {
        let own = image(vm, SIZE, OF_BGRX, screen as usize)?;
        live.done(RESOURCE_CREATE_2D, &[10 + screen, BGRX, ALL[2], ALL[3]])?;
        live.attach(10 + screen, &own, &[])?;
        live.done(SET_SCANOUT, &[&part(screen)[..], &[screen, 10 + screen]].concat())?;
        live.transfer(10 + screen, ALL, 0)?;
        memory.push(own);
    }
    let mut seeds = [0, 1, 2];
    for changed in [1, 0, 2] {
        memory[changed].write(0, &image(vm, SIZE, OF_BGRX, 5 + changed)?.to_vec()?)?;
        live.transfer(10 + changed as u32, ALL, 0)?;
        seeds[changed] = 5 + changed;
        for screen in 0..SCREENS {
            let what = format!("screen {screen} when that of {changed} has changed");
            assert_part(vm, screen, seeds[screen as usize], &what)?;
        }
    }
    live.done(SET_SCANOUT, &[0, 0, 0, 0, 1, 0])?;
    live.done(RESOURCE_UNREF, &[12, 0])?;
    assert_part(vm, 0, seeds[0], "the first screen, when the others are off")?;
    for (screen, resource) in [(1, 11), (2, 11)] {
        live.done(SET_SCANOUT, &[&part(screen)[..], &[screen, resource]].concat())?;
        assert_part(vm, screen, seeds[1], &format!("screen {screen}, on again"))?;
    }
    assert_part(vm, 0, seeds[0], "the first screen at the end")
}

/// Would catch a resource on several screens of which only one is changed, or that is freed while
/// another screen shows it.
fn one_on_several(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.0.acceptable()?)?;
    let memory = shown(&live, vm, 1, 0)?;
    for screen in 0..SCREENS {
        live.done(SET_SCANOUT, &[&part(screen)[..], &[screen, 1]].concat())?;
    }
    memory.write(0, &image(vm, SIZE, OF_BGRX, 9)?.to_vec()?)?;
    live.transfer(1, ALL, 0)?;
    for screen in 0..SCREENS {
        assert_part(vm, screen, 9, &format!("screen {screen}"))?;
    }
    live.done(SET_SCANOUT, &[0, 0, 0, 0, 0, 0])?;
    for screen in 1..SCREENS {
        assert_part(vm, screen, 9, &format!("screen {screen}, when the first is off"))?;
    }
    live.done(RESOURCE_UNREF, &[1, 0])?;
    let _memory = shown(&live, vm, 1, 4)?;
    assert_shown(vm, 4, "another resource of its number")?;
    for screen in 1..SCREENS {
        let picture = dump_of(vm, ID, screen)?;
        let [left, top, ..] = part(screen).map(|number| number as usize);
        let is_kept = (0..16).all(|at| picture.pixel(at, at) == colour(9)(at + left, at + top));
        assert!(!is_kept, "screen {screen} shows what is gone");
    }
    Ok(())
}
