//! The virtio GPU in two dimensions: every pixel that it shows compared with what it was given,
//! and commands that are refused without harm.

use std::rc::Rc;

use crate::qemu::{Buffer, Vm};
use crate::qos::display::{Colour, dump};
use crate::qos::virtio::gpu::{
    self, ERR_INVALID_PARAMETER, ERR_INVALID_RESOURCE_ID, ERR_INVALID_SCANOUT_ID,
    ERR_OUT_OF_MEMORY, ERR_UNSPEC, GET_DISPLAY_INFO, GET_EDID, HEADER, Live, MOVE_CURSOR,
    NUM_CAPSETS, NUM_SCANOUTS, OK_DISPLAY_INFO, OK_EDID, OK_NODATA, RESOURCE_ATTACH_BACKING,
    RESOURCE_CREATE_2D, RESOURCE_DETACH_BACKING, RESOURCE_FLUSH, RESOURCE_UNREF, Rectangle,
    SET_SCANOUT, TRANSFER_TO_HOST_2D, UPDATE_CURSOR, VirtioGpu, command, number,
};
use crate::{Result, attacks, tests};

tests!(VirtioGpu, "virtio-gpu-tests":
    screens,
    edid,
    formats,
    parts,
    memory_in_pieces = "memory-in-pieces",
    part_shown = "part-shown",
    two_resources = "two-resources",
    fences,
    refused,
    refused_rectangles = "refused-rectangles",
    offset_beyond = "offset-beyond",
    too_large = "too-large",
    unknown_commands = "unknown-commands",
    short_commands = "short-commands",
    short_answers = "short-answers",
    cursor,
    resources_after_reset = "resources-after-reset",
);
attacks!(VirtioGpu, "virtio-gpu-attacks": parts, memory_in_pieces = "memory-in-pieces");

/// The size of most resources. Widths are multiples of four: `screendump` fills up other rows.
pub(super) const SIZE: (usize, usize) = (76, 37);
/// All of one of that size.
pub(super) const ALL: Rectangle = [0, 0, SIZE.0 as u32, SIZE.1 as u32];
/// The format whose bytes are blue, green, red and one that is not used (5.7.6.8).
pub(super) const BGRX: u32 = 2;

/// The colour of a pixel, of which no two neighbours have the same, for a number.
pub(super) fn colour(seed: usize) -> impl Fn(usize, usize) -> Colour {
    move |x, y| [(x * 3 + seed * 40) as u8, (y * 5 + seed) as u8, (x * 7 + y * 11 + seed) as u8]
}

/// Memory of a resource of `size` filled with colours, in a format whose bytes of red, green and
/// blue are at these places.
pub(super) fn image(
    vm: &Vm,
    size: (usize, usize),
    places: [usize; 3],
    seed: usize,
) -> Result<Buffer> {
    let memory = vm.ram().alloc(4 * size.0 * size.1, 16)?;
    let mut bytes = vec![0xff; 4 * size.0 * size.1];
    for (at, pixel) in bytes.chunks_mut(4).enumerate() {
        let rgb = colour(seed)(at % size.0, at / size.0);
        (0..3).for_each(|part| pixel[places[part]] = rgb[part]);
    }
    memory.write(0, &bytes)?;
    Ok(memory)
}

/// The places of red, green and blue of [`BGRX`].
pub(super) const OF_BGRX: [usize; 3] = [2, 1, 0];

/// Makes resource `id` of the usual size, gives it memory, fills it and shows it.
pub(super) fn shown(live: &Live, vm: &Vm, id: u32, seed: usize) -> Result<Buffer> {
    let memory = image(vm, SIZE, OF_BGRX, seed)?;
    live.done(RESOURCE_CREATE_2D, &[id, BGRX, ALL[2], ALL[3]])?;
    live.attach(id, &memory, &[])?;
    live.show(id, ALL)?;
    live.transfer(id, ALL, 0)?;
    Ok(memory)
}

/// Asserts that the screen shows a resource of the usual size that was filled with `seed`.
#[track_caller]
pub(super) fn assert_shown(vm: &Vm, seed: usize, what: &str) -> Result<()> {
    dump(vm)?.assert_shows(what, SIZE, [0xff; 3], colour(seed));
    Ok(())
}

/// Would catch a screen that is said to be of another size, off, or not the only one (5.7.4).
fn screens(device: &VirtioGpu, _: &Rc<Vm>) -> Result<()> {
    assert_eq!(device.field(NUM_SCANOUTS)?, 1, "screens");
    assert_eq!(device.field(NUM_CAPSETS)?, 0, "sets of capabilities");
    for wanted in [device.0.required(), device.0.acceptable()?] {
        let live = device.start(wanted)?;
        for split in [HEADER, 1, 5] {
            let answer = live.exchange(&command(GET_DISPLAY_INFO, &[]), split, 408)?;
            assert_eq!(answer.len(), 408, "the length of the answer");
            let numbers: Vec<_> = (0..102).map(|at| number(&answer, 4 * at)).collect();
            assert_eq!(numbers[..6], [OK_DISPLAY_INFO, 0, 0, 0, 0, 0], "the header");
            assert_eq!(numbers[6..12], [0, 0, 640, 480, 1, 0], "the first screen");
            for screen in numbers[12..].chunks(6) {
                assert_eq!(screen[4], 0, "another screen is on: {screen:?}");
            }
        }
    }
    Ok(())
}

/// Would catch identification data that is none, cut off, of another size than the screen, or
/// given for a screen that is not there (5.7.6.8).
fn edid(device: &VirtioGpu, _: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.0.acceptable()?)?;
    let answer = live.exchange(&command(GET_EDID, &[0, 0]), usize::MAX, 1056)?;
    assert_eq!((answer.len(), number(&answer, 0)), (1056, OK_EDID), "length and kind");
    let size = number(&answer, HEADER) as usize;
    assert!((128..=1024).contains(&size) && size.is_multiple_of(128), "{size} bytes");
    let data = &answer[HEADER + 8..];
    assert_eq!(data[..8], [0, 255, 255, 255, 255, 255, 255, 0], "the beginning");
    for block in data[..size].chunks(128) {
        let sum = block.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte));
        assert_eq!(sum, 0, "the sum of a block");
    }
    assert!(data[size..].iter().all(|&byte| byte == 0), "behind the data");
    let timing = &data[54..72];
    let width = usize::from(timing[2]) | usize::from(timing[4] & 0xf0) << 4;
    let height = usize::from(timing[5]) | usize::from(timing[7] & 0xf0) << 4;
    assert_eq!((width, height), (640, 480), "the first timing");
    for screen in [1, 15, 16, u32::MAX] {
        assert_eq!(live.tell(GET_EDID, &[screen, 0])?, ERR_INVALID_PARAMETER, "screen {screen}");
    }
    Ok(())
}

/// The formats (5.7.6.8), and where in a pixel each has its red, green and blue byte.
pub const FORMATS: [(usize, [usize; 3]); 8] = [
    (1, [2, 1, 0]),
    (2, [2, 1, 0]),
    (3, [1, 2, 3]),
    (4, [1, 2, 3]),
    (67, [0, 1, 2]),
    (68, [3, 2, 1]),
    (121, [3, 2, 1]),
    (134, [0, 1, 2]),
];

/// Would catch a pixel that is another, or colours that are exchanged, in any format (5.7.6.8).
fn formats(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.0.acceptable()?)?;
    for (format, places) in FORMATS {
        for size in [(16, 16), (640, 480), (68, 33)] {
            let memory = image(vm, size, places, format)?;
            let all = [0, 0, size.0 as u32, size.1 as u32];
            live.done(RESOURCE_CREATE_2D, &[9, format as u32, all[2], all[3]])?;
            live.attach(9, &memory, &[])?;
            live.show(9, all)?;
            live.transfer(9, all, 0)?;
            let what = format!("format {format}, {size:?} pixels");
            dump(vm)?.assert_shows(&what, size, [0xff; 3], colour(format));
            live.done(RESOURCE_UNREF, &[9, 0])?;
        }
    }
    Ok(())
}

/// Would catch a part that is filled from elsewhere, to elsewhere, or beyond its edges, and memory
/// that is read when nobody asks for it.
fn parts(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.0.acceptable()?)?;
    let memory = shown(&live, vm, 1, 0)?;
    let mut seeds = vec![0; SIZE.0 * SIZE.1];
    assert_shown(vm, 0, "at first")?;
    let parts = [[0, 0, 1, 1], [75, 36, 1, 1], [10, 5, 20, 7], [0, 20, 76, 3], [33, 0, 1, 37]];
    for (number, part) in parts.into_iter().enumerate() {
        let seed = number + 1;
        memory.write(0, &image(vm, SIZE, OF_BGRX, seed)?.to_vec()?)?;
        let [x, y, width, height] = part.map(|number| number as usize);
        let offset = 4 * (y * SIZE.0 + x) as u64;
        live.transfer(1, part, offset)?;
        for row in y..y + height {
            seeds[row * SIZE.0 + x..][..width].fill(seed);
        }
        dump(vm)?.assert_shows(&format!("part {part:?}"), SIZE, [0xff; 3], |x, y| {
            colour(seeds[y * SIZE.0 + x])(x, y)
        });
    }
    // A part whose source is another place than its own.
    live.transfer(1, [4, 8, 10, 10], 0)?;
    dump(vm)?.assert_shows("another place", SIZE, [0xff; 3], |x, y| {
        let is_in = (4..14).contains(&x) && (8..18).contains(&y);
        if is_in { colour(parts.len())(x - 4, y - 8) } else { colour(seeds[y * SIZE.0 + x])(x, y) }
    });
    Ok(())
}

/// Would catch memory whose pieces are not joined, or joined with what is between (5.7.6.8), and
/// some that is kept when it is taken away.
fn memory_in_pieces(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.0.acceptable()?)?;
    let size = 4 * SIZE.0 * SIZE.1;
    let cuts = [&[1][..], &[4096], &[1, 2, 3, 304, 305], &[size - 1], &[4, 5000, 9999]];
    for (seed, cuts) in cuts.into_iter().enumerate() {
        let memory = image(vm, SIZE, OF_BGRX, seed)?;
        live.done(RESOURCE_CREATE_2D, &[2, BGRX, ALL[2], ALL[3]])?;
        live.attach(2, &memory, cuts)?;
        live.show(2, ALL)?;
        live.transfer(2, ALL, 0)?;
        assert_shown(vm, seed, &format!("memory cut at {cuts:?}"))?;
        live.done(RESOURCE_DETACH_BACKING, &[2, 0])?;
        let place = [&ALL[..], &[0, 0, 2, 0]].concat();
        assert_eq!(live.tell(TRANSFER_TO_HOST_2D, &place)?, ERR_UNSPEC, "without memory");
        assert_shown(vm, seed, "after its memory was taken away")?;
        live.done(RESOURCE_UNREF, &[2, 0])?;
    }
    Ok(())
}

/// Would catch a part of a resource that is shown from another place, or in another size.
fn part_shown(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.0.acceptable()?)?;
    let _memory = shown(&live, vm, 3, 6)?;
    for part in [[0, 0, 16, 16], [60, 21, 16, 16], [1, 2, 40, 20], [5, 0, 68, 37], ALL] {
        live.show(3, part)?;
        live.done(RESOURCE_FLUSH, &[&ALL[..], &[3, 0]].concat())?;
        let [left, top, width, height] = part.map(|number| number as usize);
        dump(vm)?.assert_shows(&format!("part {part:?}"), (width, height), [0xff; 3], |x, y| {
            colour(6)(x + left, y + top)
        });
    }
    Ok(())
}

/// Would catch resources that are mixed up, and one that is shown although another one is.
fn two_resources(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.0.acceptable()?)?;
    let (first, _second) = (shown(&live, vm, 1, 1)?, shown(&live, vm, u32::MAX, 2)?);
    assert_shown(vm, 2, "the second")?;
    first.write(0, &image(vm, SIZE, OF_BGRX, 3)?.to_vec()?)?;
    live.transfer(1, ALL, 0)?;
    assert_shown(vm, 2, "the second, when the first was filled")?;
    live.show(1, ALL)?;
    assert_shown(vm, 3, "the first")?;
    live.done(RESOURCE_UNREF, &[u32::MAX, 0])?;
    assert_shown(vm, 3, "the first, when the second is gone")?;
    live.show(0, [0; 4])?;
    live.show(1, ALL)?;
    assert_shown(vm, 3, "the first, when the screen was off")
}

/// Would catch a fence that does not come back, is another, or comes without being asked for
/// (5.7.6.7).
fn fences(device: &VirtioGpu, _: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.0.acceptable()?)?;
    for fence in [1, 0x1234_5678_9abc_def0, u64::MAX, 0] {
        for (kind, numbers, answer) in [
            (GET_DISPLAY_INFO, &[][..], OK_DISPLAY_INFO),
            (RESOURCE_UNREF, &[77, 0], ERR_INVALID_RESOURCE_ID),
        ] {
            let asked = gpu::fenced(kind, 1, fence, numbers);
            let came = live.exchange(&asked, usize::MAX, 408)?;
            assert_eq!(number(&came, 0), answer, "the answer, fence {fence:#x}");
            assert_eq!(number(&came, 4), 1, "its flags");
            let is = u64::from(number(&came, 8)) | u64::from(number(&came, 12)) << 32;
            assert_eq!(is, fence, "the fence of {kind:#x}");
        }
    }
    assert_eq!(live.tell(RESOURCE_UNREF, &[77, 0])?, ERR_INVALID_RESOURCE_ID, "without a fence");
    Ok(())
}

/// Would catch a command for a resource, screen or format that is not there, or that is there
/// already, which is done, or harms what is shown (5.7.6.8).
fn refused(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.0.acceptable()?)?;
    let memory = shown(&live, vm, 1, 4)?;
    live.done(RESOURCE_CREATE_2D, &[2, BGRX, 20, 20])?;
    let at = memory.address().0;
    let entry = [at as u32, (at >> 32) as u32, 64, 0];
    let of = |resource: u32| [&ALL[..], &[resource, 0]].concat();
    let show = |screen: u32, resource: u32| [&ALL[..], &[screen, resource]].concat();
    let fill = |resource: u32| [&ALL[..], &[0, 0, resource, 0]].concat();
    let attach = |resource: u32| [&[resource, 1][..], &entry].concat();
    for (kind, numbers, answer) in [
        (RESOURCE_CREATE_2D, vec![0, BGRX, 20, 20], ERR_INVALID_RESOURCE_ID),
        (RESOURCE_CREATE_2D, vec![1, BGRX, 20, 20], ERR_INVALID_RESOURCE_ID),
        (RESOURCE_CREATE_2D, vec![5, 0, 20, 20], ERR_INVALID_PARAMETER),
        (RESOURCE_CREATE_2D, vec![5, 5, 20, 20], ERR_INVALID_PARAMETER),
        (RESOURCE_CREATE_2D, vec![5, u32::MAX, 20, 20], ERR_INVALID_PARAMETER),
        (RESOURCE_UNREF, vec![5, 0], ERR_INVALID_RESOURCE_ID),
        (RESOURCE_UNREF, vec![0, 0], ERR_INVALID_RESOURCE_ID),
        (RESOURCE_FLUSH, of(5), ERR_INVALID_RESOURCE_ID),
        (SET_SCANOUT, show(0, 5), ERR_INVALID_RESOURCE_ID),
        (SET_SCANOUT, show(1, 1), ERR_INVALID_SCANOUT_ID),
        (SET_SCANOUT, show(16, 1), ERR_INVALID_SCANOUT_ID),
        (SET_SCANOUT, show(u32::MAX, 0), ERR_INVALID_SCANOUT_ID),
        (SET_SCANOUT, show(0, 2), ERR_UNSPEC),
        (TRANSFER_TO_HOST_2D, fill(5), ERR_INVALID_RESOURCE_ID),
        (TRANSFER_TO_HOST_2D, fill(2), ERR_UNSPEC),
        (RESOURCE_ATTACH_BACKING, attach(5), ERR_INVALID_RESOURCE_ID),
        (RESOURCE_ATTACH_BACKING, attach(1), ERR_UNSPEC),
        (RESOURCE_ATTACH_BACKING, vec![2, 2, entry[0], entry[1], 64, 0], ERR_UNSPEC),
        (RESOURCE_ATTACH_BACKING, vec![2, u32::MAX], ERR_UNSPEC),
        (RESOURCE_DETACH_BACKING, vec![2, 0], ERR_UNSPEC),
        (RESOURCE_DETACH_BACKING, vec![5, 0], ERR_INVALID_RESOURCE_ID),
    ] {
        let what = format!("command {kind:#x} with {numbers:x?}");
        assert_eq!(live.tell(kind, &numbers)?, answer, "{what}");
        live.done(RESOURCE_FLUSH, &of(1))?;
        assert_shown(vm, 4, &what)?;
    }
    live.done(RESOURCE_UNREF, &[2, 0])
}

/// Would catch a rectangle beyond the resource, by one pixel, or by numbers that overflow, that
/// is written or read all the same.
fn refused_rectangles(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.0.acceptable()?)?;
    let _memory = shown(&live, vm, 1, 5)?;
    let [.., width, height] = ALL;
    for part in [
        [0, 0, width + 1, height],
        [0, 0, width, height + 1],
        [1, 0, width, height],
        [0, 1, width, height],
        [width, 0, 16, 16],
        [0, height, 16, 16],
        [u32::MAX, 0, 20, 20],
        [0, u32::MAX, 20, 20],
        [u32::MAX - 15, 0, 16, 16],
        [0, u32::MAX - 15, 16, 16],
        [16, 0, u32::MAX - 15, 16],
        [0, 16, 16, u32::MAX - 15],
        [0x8000_0000, 0, 0x8000_0000, 16],
        [u32::MAX; 4],
    ] {
        for (kind, more) in [
            (SET_SCANOUT, &[0, 1][..]),
            (RESOURCE_FLUSH, &[1, 0]),
            (TRANSFER_TO_HOST_2D, &[0, 0, 1, 0]),
        ] {
            let answer = live.tell(kind, &[&part[..], more].concat())?;
            assert_eq!(answer, ERR_INVALID_PARAMETER, "command {kind:#x}, {part:?}");
        }
        live.done(RESOURCE_FLUSH, &[&ALL[..], &[1, 0]].concat())?;
        assert_shown(vm, 5, &format!("after {part:?}"))?;
    }
    Ok(())
}

/// Would catch an offset beyond the resource's memory that ends QEMU, or from which something is
/// read: an offset has 64 bits.
fn offset_beyond(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.0.acceptable()?)?;
    let memory = shown(&live, vm, 1, 1)?;
    memory.write(0, &image(vm, SIZE, OF_BGRX, 2)?.to_vec()?)?;
    let size = memory.len() as u64;
    for offset in [size, size + 4, 1 << 31, 1 << 32, (1 << 32) + 304, 1 << 63, u64::MAX - 3] {
        for part in [ALL, [3, 3, 5, 5]] {
            let place = [offset as u32, (offset >> 32) as u32, 1, 0];
            // Whether it is an error is the device's affair.
            live.tell(TRANSFER_TO_HOST_2D, &[&part[..], &place].concat())?;
            live.done(RESOURCE_FLUSH, &[&ALL[..], &[1, 0]].concat())?;
            assert_shown(vm, 1, &format!("after an offset of {offset:#x}"))?;
        }
    }
    Ok(())
}

/// Would catch a resource for which there is no room and whose size overflows, and room that is
/// lost with it.
fn too_large(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.0.acceptable()?)?;
    let _memory = shown(&live, vm, 1, 7)?;
    // The bytes of some are few in 32 bits: those of a row, or those of all rows.
    for size in [
        (0x8000, 0x8000),
        (0x8001, 0x8000),
        (0x1_0000, 0x1_0010),
        (0xffff, 0xffff),
        (0x0800_0010, 16),
        (0x4000_0010, 16),
        (0x8000_0010, 16),
        (16, 0x0400_0010),
        (16, 0x1000_0010),
        (16, 0x8000_0010),
        (0x0010_0000, 0x1010),
        (u32::MAX, 1),
        (1, u32::MAX),
        (!0, !0),
    ] {
        let answer = live.tell(RESOURCE_CREATE_2D, &[2, BGRX, size.0, size.1])?;
        assert_eq!(answer, ERR_OUT_OF_MEMORY, "{size:?} pixels");
        assert_eq!(live.tell(RESOURCE_UNREF, &[2, 0])?, ERR_INVALID_RESOURCE_ID, "{size:?}");
    }
    for round in 0..20 {
        // Forty megabytes at a time, of the 256 that there are.
        live.done(RESOURCE_CREATE_2D, &[2, BGRX, 4096, 2500])?;
        live.done(RESOURCE_UNREF, &[2, 0])?;
        assert_shown(vm, 7, &format!("round {round}"))?;
    }
    Ok(())
}

/// Would catch a command that there is not, for which there is no answer, or a good one.
fn unknown_commands(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.0.acceptable()?)?;
    let _memory = shown(&live, vm, 1, 8)?;
    for kind in [0, 0xff, 0x1ff, 0x200, 0x20a, 0x300, 0x1100, 0x8000_0101, u32::MAX] {
        assert_eq!(live.tell(kind, &[0; 40])?, ERR_UNSPEC, "command {kind:#x}");
        assert_shown(vm, 8, &format!("after command {kind:#x}"))?;
    }
    Ok(())
}

/// Would catch a command that is cut off and is said to be done all the same.
fn short_commands(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.0.acceptable()?)?;
    let _memory = shown(&live, vm, 1, 9)?;
    for kind in [RESOURCE_CREATE_2D, RESOURCE_UNREF, SET_SCANOUT, RESOURCE_FLUSH] {
        let answer = live.tell(kind, &[1])?;
        assert_ne!(answer, OK_NODATA, "command {kind:#x} of {} bytes", HEADER + 4);
        assert_shown(vm, 9, &format!("after command {kind:#x}"))?;
    }
    Ok(())
}

/// Would catch an answer that is written behind the end of its room, or a used length of more.
fn short_answers(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.0.acceptable()?)?;
    let _memory = shown(&live, vm, 1, 10)?;
    for room in [1, 4, 23, 24, 25, 407] {
        let answer = live.exchange(&command(GET_DISPLAY_INFO, &[]), usize::MAX, room)?;
        assert!(answer.len() <= room, "{} bytes written of {room}", answer.len());
        assert_shown(vm, 10, &format!("after an answer of {room} bytes"))?;
    }
    Ok(())
}

/// Would catch a command for the cursor that ends QEMU, is answered, or changes what is shown:
/// a resource that is not there, or is no cursor, and places beyond the screen (5.7.6.9).
fn cursor(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.0.acceptable()?)?;
    let _memory = shown(&live, vm, 1, 11)?;
    let shape = image(vm, (64, 64), OF_BGRX, 12)?;
    live.done(RESOURCE_CREATE_2D, &[2, 1, 64, 64])?;
    live.attach(2, &shape, &[])?;
    live.done(TRANSFER_TO_HOST_2D, &[0, 0, 64, 64, 0, 0, 2, 0])?;
    for screen in [0, 1, 16, u32::MAX] {
        for resource in [2, 0, 1, 3, u32::MAX, 2] {
            for place in [[0, 0], [639, 479], [u32::MAX, 0x8000_0000]] {
                let numbers = [screen, place[0], place[1], 0, resource, 3, 4, 0];
                for kind in [UPDATE_CURSOR, MOVE_CURSOR, 0x302] {
                    live.tell_cursor(&command(kind, &numbers))?;
                }
            }
        }
    }
    live.tell_cursor(&command(UPDATE_CURSOR, &[]))?;
    live.done(RESOURCE_UNREF, &[2, 0])?;
    live.tell_cursor(&command(MOVE_CURSOR, &[0, 1, 1, 0, 2, 0, 0, 0]))?;
    assert_shown(vm, 11, "after the cursor moved")
}

/// Would catch a resource, or its memory, that outlives a reset (2.4).
fn resources_after_reset(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    for round in 0..4 {
        let live = device.start(device.0.acceptable()?)?;
        assert_eq!(live.tell(RESOURCE_UNREF, &[1, 0])?, ERR_INVALID_RESOURCE_ID, "{round}");
        let memory = shown(&live, vm, 1, round)?;
        assert_shown(vm, round, "before the reset")?;
        device.0.reset()?;
        drop(memory);
    }
    Ok(())
}
