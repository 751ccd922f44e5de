//! The virtio GPU with resources that are memory of the guest (5.7.6.8, blobs): what a screen shows
//! of them, and numbers by which it would show what is behind them. QEMU has them where the kernel
//! has `/dev/udmabuf`.

use std::rc::Rc;

use super::gpu::{BGRX, FORMATS, OF_BGRX, colour, image, shown};
use crate::graph::QemuArgs;
use crate::qemu::{Buffer, Vm};
use crate::qos::display::dump;
use crate::qos::virtio::gpu::{
    ERR_INVALID_PARAMETER, ERR_INVALID_RESOURCE_ID, ERR_INVALID_SCANOUT_ID, F_RESOURCE_BLOB, Live,
    OK_NODATA, RESOURCE_ATTACH_BACKING, RESOURCE_CREATE_2D, RESOURCE_CREATE_BLOB,
    RESOURCE_DETACH_BACKING, RESOURCE_FLUSH, RESOURCE_UNREF, SET_SCANOUT, SET_SCANOUT_BLOB,
    TRANSFER_TO_HOST_2D, UPDATE_CURSOR, VirtioGpu, command,
};
use crate::{Result, tests};

/// Words of QEMU where the kernel has no blobs.
const REFUSALS: &[&str] = &[
    "need rutabaga or udmabuf for blob resources",
    "cannot enable blob resources without udmabuf",
];

tests!(VirtioGpu, "virtio-gpu-tests":
    shows = "blob-shown",
    corner = "blob-corner",
    other_command = "blob-set-scanout",
    formats = "blob-formats",
    strides = "blob-strides",
    beyond = "blob-beyond",
    refused = "blob-refused",
    sizes = "blob-sizes",
    empty = "blob-empty",
    memory = "blob-memory",
    gone = "blob-gone",
    two_dimensions = "blob-two-dimensions",
    cursor = "blob-cursor";
    with QemuArgs::NONE
        .before("-object memory-backend-memfd,id=own,size={ram},share=on -machine memory-backend=own \
            -global virtio-gpu-device.blob=on")
        .may_refuse(REFUSALS)
);

tests!(VirtioGpu, "virtio-gpu-tests": not_offered = "blob-not-offered");

/// The size of what is shown in pixels: less than a page, which needs nothing of the kernel.
const SIZE: (usize, usize) = (28, 36);
/// All of it.
const ALL: [u32; 4] = [0, 0, SIZE.0 as u32, SIZE.1 as u32];
/// A row of it in bytes.
const ROW: u32 = 4 * ALL[2];
/// Memory of the guest (blob_mem).
const GUEST: u32 = 1;
/// Memory that can be shared (blob_flags).
const SHAREABLE: u32 = 2;

/// The numbers of a command for a new resource of `size` bytes, of these pieces of memory.
fn create(id: u32, size: u64, pieces: &[(u64, u32)]) -> Vec<u32> {
    let mut numbers = vec![id, GUEST, SHAREABLE, pieces.len() as u32, 0, 0];
    numbers.extend([size as u32, (size >> 32) as u32]);
    for &(at, length) in pieces {
        numbers.extend([at as u32, (at >> 32) as u32, length, 0]);
    }
    numbers
}

/// What a screen is to show of a resource.
#[derive(Debug, Clone, Copy)]
struct Scanout {
    part: [u32; 4],
    screen: u32,
    size: [u32; 2],
    format: u32,
    stride: u32,
    offset: u32,
}

impl Scanout {
    /// All of a resource of the usual size.
    const ALL: Self =
        Self { part: ALL, screen: 0, size: [ALL[2], ALL[3]], format: BGRX, stride: ROW, offset: 0 };

    fn numbers(&self, resource: u32) -> Vec<u32> {
        let Self { part, screen, size, format, stride, offset } = *self;
        let rest = [screen, resource, size[0], size[1], format, 0];
        [&part[..], &rest, &[stride, 0, 0, 0], &[offset, 0, 0, 0]].concat()
    }
}

/// Makes resource `id` of `memory`.
fn made(live: &Live, memory: &Buffer, id: u32) -> Result<()> {
    let pieces = [(memory.address().0, memory.len() as u32)];
    live.done(RESOURCE_CREATE_BLOB, &create(id, memory.len() as u64, &pieces))
}

fn flush(live: &Live, id: u32) -> Result<u32> {
    live.tell(RESOURCE_FLUSH, &[&ALL[..], &[id, 0]].concat())
}

/// A device that is ready, resource 1 on the screen, and its memory.
fn start(device: &VirtioGpu, vm: &Vm) -> Result<(Live, Buffer)> {
    let live = device.start(device.0.acceptable()?)?;
    let memory = image(vm, SIZE, OF_BGRX, 1)?;
    made(&live, &memory, 1)?;
    live.done(SET_SCANOUT_BLOB, &Scanout::ALL.numbers(1))?;
    assert_eq!(flush(&live, 1)?, OK_NODATA, "the flush of a resource that is shown");
    assert_shown(vm, 1, "at first")?;
    Ok((live, memory))
}

#[track_caller]
fn assert_shown(vm: &Vm, seed: usize, what: &str) -> Result<()> {
    dump(vm)?.assert_shows(what, SIZE, [0xff; 3], colour(seed));
    Ok(())
}

/// Would catch commands that are carried out although the feature is not offered (5.7.3).
fn not_offered(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    assert_eq!(device.0.offered()? & F_RESOURCE_BLOB, 0, "the feature");
    let live = device.start(device.0.acceptable()?)?;
    let _memory = shown(&live, vm, 1, 1)?;
    let memory = image(vm, SIZE, OF_BGRX, 1)?;
    let new = create(2, memory.len() as u64, &[(memory.address().0, memory.len() as u32)]);
    assert_ne!(live.tell(RESOURCE_CREATE_BLOB, &new)?, OK_NODATA, "a new resource");
    assert_eq!(live.tell(RESOURCE_UNREF, &[2, 0])?, ERR_INVALID_RESOURCE_ID, "its end");
    let show = Scanout::ALL.numbers(1);
    assert_ne!(live.tell(SET_SCANOUT_BLOB, &show)?, OK_NODATA, "a resource of another kind");
    super::gpu::assert_shown(vm, 1, "after what is not offered")
}

/// Would catch a screen that shows a copy of the memory, or another part of it.
fn shows(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let (live, memory) = start(device, vm)?;
    for seed in [5, 6] {
        memory.write(0, &image(vm, SIZE, OF_BGRX, seed)?.to_vec()?)?;
        assert_eq!(flush(&live, 1)?, OK_NODATA, "a flush");
        assert_shown(vm, seed, "memory that has changed")?;
    }
    for part in [[0, 0, 16, 16], [12, 19, 16, 16], [3, 5, 20, 30], [0, 4, 28, 32]] {
        live.done(SET_SCANOUT_BLOB, &Scanout { part, ..Scanout::ALL }.numbers(1))?;
        let [left, top, width, height] = part.map(|number| number as usize);
        dump(vm)?.assert_shows(&format!("part {part:?}"), (width, height), [0xff; 3], |x, y| {
            colour(6)(x + left, y + top)
        });
    }
    Ok(())
}

/// Would catch a part that is refused although it is within the resource: its last row ends where
/// the resource ends.
fn corner(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let (live, _memory) = start(device, vm)?;
    for part in [[12, 20, 16, 16], [8, 0, 20, 36], [4, 1, 20, 35]] {
        live.done(SET_SCANOUT_BLOB, &Scanout { part, ..Scanout::ALL }.numbers(1))?;
        let [left, top, width, height] = part.map(|number| number as usize);
        dump(vm)?.assert_shows(&format!("part {part:?}"), (width, height), [0xff; 3], |x, y| {
            colour(1)(x + left, y + top)
        });
    }
    Ok(())
}

/// Would catch SET_SCANOUT, which is for resources of the other kind, that ends QEMU: one that is
/// memory has no format and no width, so it can only be refused (5.7.6.8).
fn other_command(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let (live, memory) = start(device, vm)?;
    for id in [1, 2] {
        let answer = live.tell(SET_SCANOUT, &[&ALL[..], &[0, id]].concat())?;
        assert_ne!(answer, OK_NODATA, "resource {id}");
        assert_shown(vm, 1, &format!("after SET_SCANOUT of resource {id}"))?;
        if id == 1 {
            made(&live, &memory, 2)?;
        }
    }
    live.done(RESOURCE_DETACH_BACKING, &[2, 0])?;
    live.tell(SET_SCANOUT, &[&ALL[..], &[0, 2]].concat())?;
    assert_shown(vm, 1, "after SET_SCANOUT of a resource without memory")
}

/// Would catch colours that are exchanged, in any format, and a format that there is not which is
/// taken.
fn formats(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let (live, memory) = start(device, vm)?;
    for (format, places) in FORMATS {
        memory.write(0, &image(vm, SIZE, places, format)?.to_vec()?)?;
        live.done(SET_SCANOUT_BLOB, &Scanout { format: format as u32, ..Scanout::ALL }.numbers(1))?;
        assert_shown(vm, format, &format!("format {format}"))?;
        for none in [0, 5, 66, 0x8000_0001, u32::MAX] {
            let show = Scanout { format: none, ..Scanout::ALL }.numbers(1);
            let answer = live.tell(SET_SCANOUT_BLOB, &show)?;
            assert_eq!(answer, ERR_INVALID_PARAMETER, "format {none:#x}");
        }
    }
    Ok(())
}

/// Would catch rows whose distance is not the one that is asked for, or that begin elsewhere.
fn strides(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let live = device.start(device.0.acceptable()?)?;
    for (stride, offset) in [(64, 0), (68, 0), (96, 4), (128, 100), (200, 60)] {
        let memory = vm.ram().alloc(4092, 16)?;
        for y in 0..16 {
            for x in 0..16 {
                let [red, green, blue] = colour(3)(x, y);
                let at = offset + stride * y + 4 * x;
                memory.write(at, &[blue, green, red, 0xff])?;
            }
        }
        made(&live, &memory, 4)?;
        let (stride, offset) = (stride as u32, offset as u32);
        let part = [0, 0, 16, 16];
        let show = Scanout { part, size: [16, 16], stride, offset, ..Scanout::ALL };
        live.done(SET_SCANOUT_BLOB, &show.numbers(4))?;
        let what = format!("{show:?}");
        dump(vm)?.assert_shows(&what, (16, 16), [0xff; 3], colour(3));
        live.done(RESOURCE_UNREF, &[4, 0])?;
    }
    Ok(())
}

/// Would catch a screen that shows memory that is not the resource's: rectangles, rows and offsets
/// that reach behind it, by a byte, or by numbers that overflow in 32 bits.
fn beyond(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let (live, _memory) = start(device, vm)?;
    let all = Scanout::ALL;
    let [.., width, height] = ALL;
    let mut wrong = vec![
        // Behind the end, by a byte, a row, and more.
        Scanout { offset: 4, ..all },
        Scanout { offset: ROW, ..all },
        Scanout { offset: ROW * height, ..all },
        Scanout { stride: ROW + 4, ..all },
        Scanout { stride: 0x1000_0000, ..all },
        Scanout { part: [0, 0, width, height + 1], size: [width, height + 1], ..all },
        // Before the beginning: the sum of an offset and what comes to it is small in 32 bits.
        Scanout { offset: u32::MAX - 3, ..all },
        Scanout { offset: 0u32.wrapping_sub(ROW), ..all },
        Scanout { part: [4, 0, 16, 16], offset: 0u32.wrapping_sub(16), ..all },
        Scanout { part: [0, 1, 16, 16], offset: 0u32.wrapping_sub(ROW), ..all },
        Scanout { part: [0, 16, 16, 16], size: [width, 64], stride: 0x1000_0000, offset: 0, ..all },
        Scanout { part: [0, 2, 16, 16], stride: 0x8000_0000, ..all },
        Scanout { part: [0x4000_0000, 0, 16, 16], size: [u32::MAX, 16], ..all },
        Scanout { part: [0, 0, 16, 0x1000_0000], size: [16, u32::MAX], stride: 64, ..all },
        // Rows that are longer than their distance.
        Scanout { stride: ROW - 4, ..all },
        Scanout { stride: 4, ..all },
        Scanout { stride: 0, ..all },
        Scanout { part: [0, 0, 4000, 16], size: [4000, 16], stride: 64, ..all },
        Scanout { part: [0, 0, 0x4000_0010, 16], size: [0x4000_0010, 16], stride: 64, ..all },
        Scanout { part: [0, 0, 0x8000_0000, 16], size: [0x8000_0000, 16], stride: 64, ..all },
        // A distance that is no number of pixels, or is negative as a signed number.
        Scanout { stride: ROW - 1, part: [0, 0, 16, 16], size: [28, 16], ..all },
        Scanout { stride: 0u32.wrapping_sub(ROW), part: [0, 0, 16, 16], ..all },
        Scanout { stride: u32::MAX, part: [0, 0, 16, 16], ..all },
    ];
    for part in [
        [0, 0, width + 1, height],
        [1, 0, width, height],
        [0, 1, width, height],
        [width, 0, 16, 16],
        [0, height, 16, 16],
        [u32::MAX, 0, 20, 20],
        [u32::MAX - 15, 0, 16, 16],
        [0, u32::MAX - 15, 16, 16],
        [16, 0, u32::MAX - 15, 16],
        [0, 16, 16, u32::MAX - 15],
        [u32::MAX; 4],
        [0; 4],
    ] {
        wrong.push(Scanout { part, ..all });
    }
    for show in wrong {
        let answer = live.tell(SET_SCANOUT_BLOB, &show.numbers(1))?;
        assert_eq!(answer, ERR_INVALID_PARAMETER, "{show:x?}");
        assert_eq!(flush(&live, 1)?, OK_NODATA, "a flush after {show:x?}");
        assert_shown(vm, 1, &format!("after {show:x?}"))?;
    }
    Ok(())
}

/// Would catch a command for a resource or screen that is not there, or that is there already,
/// which is done, or harms what is shown.
fn refused(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let (live, memory) = start(device, vm)?;
    let (at, length) = (memory.address().0, memory.len() as u32);
    let with = |place: usize, value: u32| {
        let mut numbers = create(7, length.into(), &[(at, length)]);
        numbers[place] = value;
        numbers
    };
    let on = |screen: u32| Scanout { screen, ..Scanout::ALL };
    for (kind, numbers, answer) in [
        (RESOURCE_CREATE_BLOB, with(0, 0), ERR_INVALID_RESOURCE_ID),
        (RESOURCE_CREATE_BLOB, with(0, 1), ERR_INVALID_RESOURCE_ID),
        (SET_SCANOUT_BLOB, Scanout::ALL.numbers(7), ERR_INVALID_RESOURCE_ID),
        (SET_SCANOUT_BLOB, Scanout::ALL.numbers(u32::MAX), ERR_INVALID_RESOURCE_ID),
        (SET_SCANOUT_BLOB, on(1).numbers(1), ERR_INVALID_SCANOUT_ID),
        (SET_SCANOUT_BLOB, on(16).numbers(1), ERR_INVALID_SCANOUT_ID),
        (SET_SCANOUT_BLOB, on(u32::MAX).numbers(0), ERR_INVALID_SCANOUT_ID),
    ] {
        let what = format!("command {kind:#x} with {numbers:x?}");
        assert_eq!(live.tell(kind, &numbers)?, answer, "{what}");
        assert_shown(vm, 1, &what)?;
    }
    // More pieces than there are, or more than can be.
    for pieces in [2, 3, 16_384, 16_385, 0x1000_0001, u32::MAX] {
        let answer = live.tell(RESOURCE_CREATE_BLOB, &with(3, pieces))?;
        assert_ne!(answer, OK_NODATA, "{pieces} pieces");
        assert_eq!(live.tell(RESOURCE_UNREF, &[7, 0])?, ERR_INVALID_RESOURCE_ID, "{pieces}");
    }
    assert_shown(vm, 1, "after too many pieces")
}

/// Would catch a resource that is longer than its memory, whose screen shows what is behind that.
fn sizes(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let (live, memory) = start(device, vm)?;
    let (at, length) = (memory.address().0, memory.len() as u32);
    let long = u64::from(length);
    for (size, pieces) in [
        (long + 1, vec![(at, length)]),
        (long + 4096, vec![(at, length)]),
        (1 << 32, vec![(at, length)]),
        ((1 << 32) + long, vec![(at, length)]),
        (u64::MAX, vec![(at, length)]),
        (long, vec![(at, length - 1)]),
        (long, vec![(at, 64)]),
        (long, vec![(at, 64), (at + 64, 64)]),
    ] {
        let answer = live.tell(RESOURCE_CREATE_BLOB, &create(3, size, &pieces))?;
        assert_ne!(answer, OK_NODATA, "{size:#x} bytes of {pieces:x?}");
        let gone = live.tell(RESOURCE_UNREF, &[3, 0])?;
        assert_eq!(gone, ERR_INVALID_RESOURCE_ID, "{size:#x} bytes of {pieces:x?}");
        assert_shown(vm, 1, &format!("after {size:#x} bytes of {pieces:x?}"))?;
    }
    Ok(())
}

/// All commands for resource `id`, none of which may end QEMU.
fn use_all(live: &Live, memory: &Buffer, id: u32) -> Result<()> {
    let (at, length) = (memory.address().0, memory.len() as u32);
    let fill = [&ALL[..], &[0, 0, id, 0]].concat();
    let small = Scanout { part: [0, 0, 16, 16], size: [16, 16], stride: 64, ..Scanout::ALL };
    for (kind, numbers) in [
        (SET_SCANOUT_BLOB, Scanout::ALL.numbers(id)),
        (SET_SCANOUT_BLOB, small.numbers(id)),
        (TRANSFER_TO_HOST_2D, fill.clone()),
        (RESOURCE_FLUSH, [&ALL[..], &[id, 0]].concat()),
        (RESOURCE_FLUSH, vec![0, 0, 0, 0, id, 0]),
        (RESOURCE_ATTACH_BACKING, vec![id, 1, at as u32, (at >> 32) as u32, length, 0]),
        (TRANSFER_TO_HOST_2D, fill),
        (RESOURCE_DETACH_BACKING, vec![id, 0]),
        (RESOURCE_DETACH_BACKING, vec![id, 0]),
        (SET_SCANOUT_BLOB, small.numbers(id)),
    ] {
        live.tell(kind, &numbers)?;
        let pointer = [0, 8, 8, 0, id, 1, 1, 0];
        live.tell_cursor(&command(UPDATE_CURSOR, &pointer))?;
    }
    Ok(())
}

/// Would catch a resource without a byte that is taken for one of the other kind, whose image it
/// does not have: each command for it ends QEMU.
fn empty(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let (live, memory) = start(device, vm)?;
    let at = memory.address().0;
    for (size, pieces) in [(0, vec![]), (0, vec![(at, 64)]), (0, vec![(at, 4000), (at, 32)])] {
        if live.tell(RESOURCE_CREATE_BLOB, &create(3, size, &pieces))? == OK_NODATA {
            use_all(&live, &memory, 3)?;
            live.done(RESOURCE_UNREF, &[3, 0])?;
        }
        live.done(SET_SCANOUT_BLOB, &Scanout::ALL.numbers(1))?;
        assert_shown(vm, 1, &format!("after no byte of {pieces:x?}"))?;
    }
    Ok(())
}

/// Would catch memory that is shown after it was taken away, or other memory that is given to a
/// resource later and is not shown (RESOURCE_ATTACH_BACKING, RESOURCE_DETACH_BACKING).
fn memory(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let (live, first) = start(device, vm)?;
    live.done(SET_SCANOUT, &[0; 6])?;
    live.done(RESOURCE_DETACH_BACKING, &[1, 0])?;
    let answer = live.tell(SET_SCANOUT_BLOB, &Scanout::ALL.numbers(1))?;
    assert_ne!(answer, OK_NODATA, "a screen that shows what has no memory");
    let second = image(vm, SIZE, OF_BGRX, 8)?;
    live.attach(1, &second, &[])?;
    live.done(SET_SCANOUT_BLOB, &Scanout::ALL.numbers(1))?;
    assert_shown(vm, 8, "other memory")?;
    first.write(0, &[0; 64])?;
    assert_shown(vm, 8, "after the first memory has changed")?;
    second.write(0, &image(vm, SIZE, OF_BGRX, 9)?.to_vec()?)?;
    assert_eq!(flush(&live, 1)?, OK_NODATA, "a flush");
    assert_shown(vm, 9, "other memory that has changed")
}

/// Would catch a screen that shows a resource, or its memory, that is gone: each of the ways in
/// which it goes, and the screen drawn after it.
fn gone(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    for round in 0..3 {
        let (live, memory) = start(device, vm)?;
        match round {
            0 => live.done(RESOURCE_UNREF, &[1, 0])?,
            1 => live.done(RESOURCE_DETACH_BACKING, &[1, 0])?,
            _ => device.0.reset()?,
        }
        dump(vm)?;
        if round < 2 {
            flush(&live, 1)?;
            use_all(&live, &memory, 1)?;
            dump(vm)?;
        }
        device.0.reset()?;
        drop(memory);
    }
    start(device, vm).map(drop)
}

/// Would catch commands of one kind of resource that end QEMU with the other kind, or change what
/// is shown.
fn two_dimensions(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let (live, memory) = start(device, vm)?;
    for pages in [0, 1, 5] {
        let own = vm.ram().alloc(4096 * pages + 2048, 4096)?;
        made(&live, &own, 3)?;
        use_all(&live, &memory, 3)?;
        live.done(RESOURCE_UNREF, &[3, 0])?;
        live.done(RESOURCE_CREATE_2D, &[3, BGRX, ALL[2], ALL[3]])?;
        use_all(&live, &memory, 3)?;
        live.done(RESOURCE_UNREF, &[3, 0])?;
        live.done(SET_SCANOUT_BLOB, &Scanout::ALL.numbers(1))?;
        assert_shown(vm, 1, &format!("after a resource of {} bytes", own.len()))?;
    }
    Ok(())
}

/// Would catch a cursor whose image is longer than the resource (5.7.6.9).
fn cursor(device: &VirtioGpu, vm: &Rc<Vm>) -> Result<()> {
    let (live, _memory) = start(device, vm)?;
    for length in [4, 1024, 4092, 4096, 16_380, 16_384, 18_432, 20_480] {
        let shape = vm.ram().alloc(length, 4096)?;
        made(&live, &shape, 2)?;
        for detach in [false, true] {
            if detach {
                live.tell(RESOURCE_DETACH_BACKING, &[2, 0])?;
            }
            live.tell_cursor(&command(UPDATE_CURSOR, &[0, 8, 8, 0, 2, 1, 1, 0]))?;
        }
        live.done(RESOURCE_UNREF, &[2, 0])?;
        live.tell_cursor(&command(UPDATE_CURSOR, &[0, 8, 8, 0, 2, 1, 1, 0]))?;
    }
    assert_shown(vm, 1, "after cursors")
}
