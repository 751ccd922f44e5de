//! Drivers that put descriptors into a queue that no buffer can have: loops, tables in tables,
//! lengths that overflow, memory that is not there. Nothing may end QEMU, and a reset puts all
//! right.

use std::rc::Rc;

use super::rules::{assert_status, negotiate, negotiate_to_break, queues, recover};
use crate::qemu::{Buffer, MIB, Vm};
use crate::qos::virtio::{
    self, DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE, Plain, RawQueue, RingAddresses, Segment,
    Virtio, features,
};
use crate::qos::wait_until;
use crate::{Error, Result, tests};

tests!(Virtio, "virtio-rules-tests":
    chains_that_loop = "chains-that-loop",
    heads_beyond = "heads-beyond",
    index_jumps = "index-jumps",
    indirect_tables = "indirect-tables",
    lengths,
    buffers_anywhere = "buffers-anywhere",
    buffers_in_own_registers = "buffers-in-own-registers",
    directions,
    given_up = "given-up",
    empty_table = "packed-empty-table",
);

/// What a device makes of a buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It gives up until it is reset (2.1.2).
    GivesUp,
    /// That depends on the device.
    Any,
}
use Verdict::{Any, GivesUp};

/// Has every queue that matters filled by `abuse`, which is given the segments of a good request,
/// and sees the device give up if it must, and recover.
fn attempt(
    device: &Virtio,
    what: &str,
    verdict: Verdict,
    abuse: impl Fn(&RawQueue, &[Segment]) -> Result<Option<Buffer>>,
) -> Result<()> {
    let (vm, transport) = (device.vm(), device.transport());
    let plain = device.plain()?;
    let others = vm.ram().alloc(256, 16)?;
    let stand_in = [
        Segment { length: 128, ..Segment::readable(&others) },
        Segment { length: 128, address: others.address().0 + 128, writable: true },
    ];
    for queue in queues(device)? {
        let what = format!("queue {queue} got {what}");
        let accepted = negotiate_to_break(device)?;
        let raw = RawQueue::new(device, queue, accepted, 16)?;
        device.driver_ok()?;
        let plain = plain.as_ref().filter(|plain| plain.queue == queue);
        let segments = plain.map_or(&stand_in[..], |plain| &plain.segments);
        let memory = abuse(&raw, segments)?;
        raw.notify()?;
        // A back end of its own has no say in the status.
        let is_other = vm.is_served();
        if plain.is_some() && verdict == GivesUp && transport.is_modern() && !is_other {
            wait_until(vm, &format!("DEVICE_NEEDS_RESET after {what}"), || {
                Ok(transport.status()? & virtio::DEVICE_NEEDS_RESET != 0)
            })?;
        }
        raw.notify()?;
        assert_status(device, &what)?;
        device.reset()?;
        drop(memory);
        recover(device, &what)?;
    }
    Ok(())
}

/// Skips a case of what packed rings do not have.
fn needs_split(device: &Virtio, what: &str) -> Result<()> {
    match device.acceptable()? & features::RING_PACKED {
        0 => Ok(()),
        _ => Err(Error::skipped(format!("a packed ring has no {what}"))),
    }
}

/// The address and length of a segment, and its direction as a flag.
fn parts(of: Segment) -> ((u64, u32), u16) {
    ((of.address, of.length), if of.writable { DESC_F_WRITE } else { 0 })
}

/// Would catch a chain that is followed for ever, or to a descriptor that is not there (2.7.5.2).
fn chains_that_loop(device: &Virtio, _: &Rc<Vm>) -> Result<()> {
    for cycle in [1, 2, 3, 16] {
        attempt(device, &format!("a chain of {cycle} that loops"), GivesUp, |raw, segments| {
            let (part, flag) = parts(segments[0]);
            let cycle = cycle.min(raw.size());
            for at in (0..if raw.is_packed() { raw.size() } else { cycle }).rev() {
                let next = if raw.is_packed() { 0 } else { (at + 1) % cycle };
                raw.describe(at, part, flag | DESC_F_NEXT, next)?;
            }
            raw.publish(&[0], 1).map(|()| None)
        })?;
    }
    needs_split(device, "next descriptor but the one behind")?;
    for beyond in [0, 1, 0x100, 0xffff] {
        attempt(
            device,
            &format!("a next descriptor {beyond} beyond"),
            GivesUp,
            |raw, segments| {
                let (part, flag) = parts(segments[0]);
                raw.describe(0, part, flag | DESC_F_NEXT, raw.size().max(beyond))?;
                raw.publish(&[0], 1).map(|()| None)
            },
        )?;
    }
    Ok(())
}

/// Would catch a head that is no descriptor's number (2.7.6) and is used as one.
fn heads_beyond(device: &Virtio, _: &Rc<Vm>) -> Result<()> {
    needs_split(device, "heads")?;
    for head in [0, 0x400, 0x7fff, 0x8000, 0xffff] {
        attempt(device, &format!("a head of at least {head}"), GivesUp, |raw, segments| {
            raw.offer(segments)?;
            raw.publish(&[raw.size().max(head)], 1).map(|()| None)
        })?;
    }
    Ok(())
}

/// Would catch an available index that says there are more buffers than the ring has places for
/// (2.7.13.3) and is believed, or that goes back by one.
fn index_jumps(device: &Virtio, _: &Rc<Vm>) -> Result<()> {
    needs_split(device, "index")?;
    // A device that is done with each buffer at once has no more in flight than the ring has room.
    let at_once = [
        virtio::net::DEVICE_TYPE,
        virtio::serial::DEVICE_TYPE,
        virtio::balloon::DEVICE_TYPE,
        virtio::input::DEVICE_TYPE,
        virtio::crypto::DEVICE_TYPE,
        virtio::gpu::DEVICE_TYPE,
        virtio::iommu::DEVICE_TYPE,
        virtio::mem::DEVICE_TYPE,
        virtio::pmem::DEVICE_TYPE,
    ];
    let verdict = match device.transport().device_type()? {
        kind if at_once.contains(&kind) => Any,
        _ => GivesUp,
    };
    for index in [0, 0x401, 0x7fff, 0x8000, 0x8001, 0xfffe, 0xffff] {
        attempt(device, &format!("an index of at least {index}"), verdict, |raw, segments| {
            raw.offer(segments)?;
            raw.publish(&[0], index.max(raw.size() + 1)).map(|()| None)
        })?;
    }
    Ok(())
}

/// Would catch a table whose length is no table's, that is not in memory, or that a table points
/// to (2.7.5.3.1), which is read all the same.
fn indirect_tables(device: &Virtio, vm: &Rc<Vm>) -> Result<()> {
    device.needs(features::INDIRECT_DESC, "indirect descriptors")?;
    let ram = vm.ram().spec();
    let end = ram.base + ram.size;
    let table = |length: u32| {
        move |raw: &RawQueue, segments: &[Segment]| {
            let rows: Vec<_> = segments.iter().map(|segment| (*segment, 0, 0)).collect();
            let table = raw.table(&rows)?;
            raw.describe(0, (table.address().0, length), DESC_F_INDIRECT, 0)?;
            raw.publish(&[0], 1).map(|()| Some(table))
        }
    };
    for length in [0, 1, 15, 17, 0x1_0001, 0x7fff_ffff, !0] {
        attempt(device, &format!("a table of {length} bytes"), GivesUp, table(length))?;
    }
    for length in [0x10_0000, 0xffff_fff0] {
        attempt(device, &format!("a table of {length:#x} bytes"), Any, table(length))?;
    }
    let own = device.transport().own_memory();
    for at in [end - 16, end, 1 << 52, !0 - 15, !0].into_iter().chain(own) {
        attempt(device, &format!("a table at {at:#x}"), Any, |raw, _| {
            raw.describe(0, (at, 64), DESC_F_INDIRECT, 0)?;
            raw.publish(&[0], 1).map(|()| None)
        })?;
    }
    attempt(device, "its own descriptors as a table", Any, |raw, _| {
        let at = raw.addresses().descriptors;
        raw.describe(0, (at, 64), DESC_F_INDIRECT, 0)?;
        raw.publish(&[0], 1).map(|()| None)
    })?;
    let rows = |flags: u16, next: u16, head: u16| {
        move |raw: &RawQueue, segments: &[Segment]| {
            let row = (segments[0], flags, next);
            let table = raw.table(&[row, row])?;
            raw.describe(0, (table.address().0, 32), DESC_F_INDIRECT | head, 1)?;
            raw.publish(&[0], 1).map(|()| Some(table))
        }
    };
    attempt(device, "a table in a table", Any, rows(DESC_F_INDIRECT, 0, 0))?;
    attempt(device, "a table in a chain", Any, rows(0, 0, DESC_F_NEXT))?;
    attempt(device, "a table that the device writes", Any, rows(0, 0, DESC_F_WRITE))?;
    if device.acceptable()? & features::RING_PACKED == 0 {
        attempt(device, "a table that loops", GivesUp, rows(DESC_F_NEXT, 0, 0))?;
        attempt(device, "a table that goes on behind", GivesUp, rows(DESC_F_NEXT, 2, 0))?;
        attempt(device, "a table that goes on far behind", GivesUp, rows(DESC_F_NEXT, 0xffff, 0))?;
    }
    Ok(())
}

/// A good request with the segment at `at` replaced.
fn with(segments: &[Segment], at: usize, by: impl Fn(Segment) -> Segment) -> Vec<Segment> {
    let mut segments = segments.to_vec();
    segments[at] = by(segments[at]);
    segments
}

/// Tries a good request with each of its segments, one by one, replaced.
fn each(
    device: &Virtio,
    what: &str,
    verdict: Verdict,
    by: impl Fn(Segment) -> Segment + Copy,
) -> Result<()> {
    let most = device.plain()?.map_or(2, |plain| plain.segments.len().max(2));
    for at in 0..most {
        attempt(device, &format!("segment {at} {what}"), verdict, |raw, segments| {
            raw.offer(&with(segments, at.min(segments.len() - 1), by)).map(|()| None)
        })?;
    }
    Ok(())
}

/// Would catch a length of zero that is taken, and lengths whose sum overflows (2.7.5).
fn lengths(device: &Virtio, vm: &Rc<Vm>) -> Result<()> {
    // A device that is asked how much room there is need not look any further.
    let is_one = device.plain()?.is_some_and(|plain| plain.segments.len() == 1);
    let verdict = if is_one { Any } else { GivesUp };
    each(device, "of no byte", verdict, |it| Segment { length: 0, ..it })?;
    let memory = vm.ram().alloc(0x1_0000, 16)?;
    let address = memory.address().0;
    for length in [1, 3, 511, 0x1000, 0xffff] {
        let what = format!("of {length:#x} bytes");
        each(device, &what, Any, |it| Segment { length, address, ..it })?;
    }
    // What is behind the last page of RAM is not there.
    let address = vm.ram().spec().base + vm.ram().spec().size - 4096;
    for length in [0x1_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_f000, !0] {
        let what = format!("of {length:#x} bytes from the end of RAM on");
        each(device, &what, Any, |it| Segment { length, address, ..it })?;
    }
    for length in [0x1000_0000, 0xffff_fff0, !0] {
        for writable in [false, true] {
            let what = format!("16 segments of {length:#x} bytes, writable: {writable}");
            attempt(device, &what, Any, |raw, _| {
                let segment = Segment { length, writable, address };
                raw.offer(&vec![segment; usize::from(raw.size().min(16))]).map(|()| None)
            })?;
        }
    }
    Ok(())
}

/// Would catch a buffer that is not in RAM, or only in part, and is read or written all the same,
/// or ends QEMU.
fn buffers_anywhere(device: &Virtio, vm: &Rc<Vm>) -> Result<()> {
    let ram = vm.ram().spec();
    let end = ram.base + ram.size;
    // What becomes of a device that writes to itself is the next case.
    let own = device.transport().own_memory();
    let is_own = |address: u64| own.is_some_and(|own| address.wrapping_sub(own - MIB) < 2 * MIB);
    let all = [end - 1, end - 8, end, end + 4096, 1 << 44, 1 << 52, 1 << 63, !0 - 7, !0];
    for address in all.into_iter().filter(|&address| !is_own(address)) {
        each(device, &format!("at {address:#x}"), Any, |it| Segment { address, ..it })?;
    }
    // All at one address, where they are written while they are read.
    let memory = vm.ram().alloc(0x1_0000, 16)?;
    let address = memory.address().0;
    attempt(device, "all segments in one place", Any, |raw, segments| {
        let all: Vec<_> = segments.iter().map(|it| Segment { address, ..*it }).collect();
        raw.offer(&all).map(|()| None)
    })?;
    attempt(device, "all segments in its own rings", Any, |raw, segments| {
        let RingAddresses { descriptors, driver, .. } = raw.addresses();
        for (at, segment) in (0..).zip(segments) {
            let address = if at % 2 == 0 { driver } else { descriptors };
            let more = usize::from(at) + 1 < segments.len();
            let (_, flag) = parts(*segment);
            let next = if raw.is_packed() { 0 } else { at + 1 };
            let flags = if more { flag | DESC_F_NEXT } else { flag };
            raw.describe(at, (address, segment.length), flags, next)?;
        }
        raw.publish(&[0], 1).map(|()| None)
    })
}

/// Would catch a device that writes data to its own registers, and so resets itself or starts
/// over while it is at it.
fn buffers_in_own_registers(device: &Virtio, _: &Rc<Vm>) -> Result<()> {
    let Some(own) = device.transport().own_memory() else {
        return Err(Error::skipped("the device's registers are ports, which it cannot reach"));
    };
    let transport = device.transport();
    for offset in [0, 0x14, 0x16, 0x1c, 0x30, 0x44, 0x50, 0x70, 0x1000, 0x2000, 0x3000] {
        let what = format!("at {offset:#x} of its own registers");
        let most = device.plain()?.map_or(2, |plain| plain.segments.len());
        for at in 0..most {
            negotiate_to_break(device)?;
            let Some(plain) = device.plain()? else {
                return Err(Error::skipped("no request of this kind is done at once"));
            };
            let accepted = negotiate(device)?;
            let raw = RawQueue::new(device, plain.queue, accepted, 16)?;
            device.driver_ok()?;
            raw.offer(&with(&plain.segments, at, |it| Segment { address: own + offset, ..it }))?;
            raw.notify()?;
            // What it has written to itself is its status then.
            (0..4).try_for_each(|_| crate::qos::settle(device.vm()))?;
            transport.status()?;
            transport.set_status(0)?;
            recover(device, &format!("a request had segment {at} {what}"))?;
        }
    }
    Ok(())
}

/// Would catch a device that writes to what it may only read, or takes what is to be written
/// before what is to be read (2.7.4.2), or needs a part that is not there.
fn directions(device: &Virtio, _: &Rc<Vm>) -> Result<()> {
    each(device, "in the other direction", Any, |it| Segment { writable: !it.writable, ..it })?;
    for writable in [false, true] {
        attempt(device, &format!("all segments writable: {writable}"), Any, |raw, segments| {
            let all: Vec<_> = segments.iter().map(|it| Segment { writable, ..*it }).collect();
            raw.offer(&all).map(|()| None)
        })?;
    }
    attempt(device, "segments in reverse", Any, |raw, segments| {
        raw.offer(&segments.iter().rev().copied().collect::<Vec<_>>()).map(|()| None)
    })?;
    for left in 0..3 {
        attempt(device, &format!("all segments but number {left}"), Any, |raw, segments| {
            let mut some = segments.to_vec();
            if some.len() > 1 {
                some.remove(left.min(some.len() - 1));
            }
            raw.offer(&some).map(|()| None)
        })?;
    }
    attempt(device, "every segment twice", Any, |raw, segments| {
        raw.offer(&segments.iter().flat_map(|it| [*it; 2]).collect::<Vec<_>>()).map(|()| None)
    })
}

/// Would catch a device that goes on looking at a queue that it has given up, for ever: QEMU up
/// to 10.2 does so with packed rings, and answers nobody any more.
fn given_up(device: &Virtio, vm: &Rc<Vm>) -> Result<()> {
    let plain = plain_of_qemu(device)?;
    let accepted = negotiate(device)?;
    let raw = RawQueue::new(device, plain.queue, accepted, 16)?;
    device.driver_ok()?;
    raw.offer(&with(&plain.segments, 0, |it| Segment { length: 0, ..it }))?;
    raw.notify()?;
    // One that spins is seen sooner so.
    vm.hurry();
    assert_status(device, "a buffer of no byte")?;
    recover(device, "a buffer of no byte")
}

/// Would catch a table of no byte (2.8.7) whose first descriptor is read all the same, from behind
/// it: in a packed ring its length is all that says how many there are.
fn empty_table(device: &Virtio, vm: &Rc<Vm>) -> Result<()> {
    device.needs(features::RING_PACKED, "packed rings")?;
    device.needs(features::INDIRECT_DESC, "indirect descriptors")?;
    let plain = plain_of_qemu(device)?;
    vm.hurry();
    let memory = vm.ram().alloc(64, 16)?;
    let accepted = negotiate(device)?;
    let raw = RawQueue::new(device, plain.queue, accepted, 16)?;
    device.driver_ok()?;
    raw.describe(0, (memory.address().0, 0), DESC_F_INDIRECT, 0)?;
    raw.notify()?;
    assert_status(device, "a table of no byte")?;
    recover(device, "a table of no byte")
}

/// A good request of the kind, where it is QEMU that looks at the rings.
fn plain_of_qemu(device: &Virtio) -> Result<Plain> {
    if device.vm().is_served() {
        return Err(Error::skipped("the rings are looked at by a back end, not by QEMU"));
    }
    let plain = device.plain()?;
    plain.ok_or_else(|| Error::skipped("no request of this kind is done at once"))
}
