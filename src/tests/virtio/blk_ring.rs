//! The virtio block device's queue: drivers that go on for long, reset in the middle, or
//! make requests that no sane driver makes.

use std::rc::Rc;

use crate::drivers::virtio::blk::IMAGE;
use crate::qemu::{Version, Vm};
use crate::qos::registers::RegistersExt;
use crate::qos::vhost::{self, VhostUser};
use crate::qos::virtio::blk::{self, Request, S_NONE, SECTOR, VirtioBlk};
use crate::qos::virtio::{self, DESC_F_INDIRECT, DESC_F_NEXT, Queue, Segment, features};
use crate::qos::{settle, wait_until};
use crate::{Error, Result, tests};

tests!(VirtioBlk, "virtio-blk-tests":
    used_ring = "used-ring",
    suppressed,
    index_wrap = "index-wrap",
    reset,
    malformed,
    too_many_segments = "too-many-segments",
);

/// Writes through the device, and looks in the image and through the device.
pub(super) fn assert_works(blk: &VirtioBlk, queue: &Queue, vm: &Vm, seed: u8) -> Result<()> {
    let data: Vec<u8> = (0..SECTOR).map(|i| (i as u8).wrapping_mul(3) ^ seed).collect();
    let sector = 1000 + u64::from(seed);
    blk.write(queue, sector, &data)?;
    let mut image = vec![0; SECTOR];
    vm.read_image(IMAGE.name, sector * SECTOR as u64, &mut image)?;
    assert_eq!(image, data, "written, in the image");
    assert_eq!(blk.read(queue, sector, SECTOR)?, data, "written and read back");
    Ok(())
}

/// Would catch used buffers with wrong ids or lengths, one that comes twice, and one that
/// does not come, when many are in flight at once.
fn used_ring(blk: &VirtioBlk, vm: &Rc<Vm>) -> Result<()> {
    let queue = blk.start(blk.0.required() | features::RING_PACKED)?;
    let mut waiting = Vec::new();
    let count = usize::from(queue.size().min(256)) / 3;
    // Before any request: a device may look at the ring without being told to.
    let sectors: Vec<u8> = (0..count).flat_map(|number| [number as u8; SECTOR]).collect();
    vm.write_image(IMAGE.name, 0, &sectors)?;
    for number in 0..count {
        let (sector, length) = (number as u64, SECTOR * (1 + number % 5));
        let request = Request::new(&blk.0, blk::T_IN, sector)?.with_room(&blk.0, length)?;
        waiting.push((queue.add(&request.segments())?, length, sector, request));
    }
    queue.kick()?;
    while !waiting.is_empty() {
        let used = queue.wait_used()?;
        let at = waiting.iter().position(|(id, ..)| *id == used.id);
        let (_, length, sector, request) = waiting.remove(at.expect("the queue knows it"));
        assert_eq!(request.status()?, blk::S_OK);
        assert_eq!(used.written as usize, length + 1, "bytes written of the read at {sector}");
        let mut expected = vec![0; length];
        vm.read_image(IMAGE.name, sector * SECTOR as u64, &mut expected)?;
        assert_eq!(request.data()?, expected, "read at {sector}");
    }
    assert_eq!(queue.take_used()?, None, "one too many");
    Ok(())
}

/// Would catch a notification for a driver that does not want it, and none for one that
/// does (2.7.7.1, 2.8.10). A device may notify all the same; QEMU does not.
fn suppressed(blk: &VirtioBlk, vm: &Rc<Vm>) -> Result<()> {
    let queue = blk.start(blk.0.required() | features::RING_PACKED)?;
    let interrupts = || blk.0.transport().take_interrupts();
    let early = interrupts()?;
    // A back end of the user's may interrupt when it begins.
    assert!(early == 0 || vm.has_user_backend(), "{early:#x} before any request");
    // QEMU may put a notification off, but not until it has answered QMP.
    for sector in 0..8 {
        queue.want_interrupts(false)?;
        blk.write(&queue, sector, &[0x66; SECTOR])?;
        settle(vm)?;
        assert_eq!(interrupts()?, 0, "of a used buffer of which nobody wants to hear");
        queue.want_interrupts(true)?;
        blk.write(&queue, sector, &[0x99; SECTOR])?;
        wait_until(vm, "a notification", || Ok(interrupts()? == virtio::ISR_QUEUE))?;
        // It may say the same once more: it sets the status before it raises the line, and
        // again when it does.
        settle(vm)?;
        interrupts()?;
    }
    Ok(())
}

/// Would catch an index of the rings, or a wrap counter, that does not wrap as it should:
/// there are more requests than the 16-bit index of a split ring has values. A packed ring
/// begins anew after its last descriptor, and that several times.
fn index_wrap(blk: &VirtioBlk, vm: &Rc<Vm>) -> Result<()> {
    if !vm.ram().is_mapped() {
        return Err(Error::skipped("this machine's RAM is not mapped; it would take a minute"));
    }
    let queue = blk.start_with_everything()?;
    let request = Request::new(&blk.0, blk::T_GET_ID, 0)?.with_room(&blk.0, blk::ID_BYTES)?;
    // A descriptor each, of one table that all share, is what makes most requests at once.
    let table = queue.indirect_table(&request.segments())?;
    // Every second batch is of another kind, so that what is left of the one before shows.
    let nothing = Request::new(&blk.0, blk::T_IN, 0)?;
    let other = queue.indirect_table(&nothing.segments())?;
    let kinds = [(&table, blk::ID_BYTES as u32 + 1), (&other, 1)];
    let mut kinds = kinds.into_iter().cycle();
    let mut left = if queue.is_packed() { 4 * usize::from(queue.size()) } else { 65_537 };
    while left > 0 {
        let batch = left.min(queue.size().into());
        let Some((table, written)) = kinds.next() else { unreachable!("they never end") };
        let whole = [(Segment::readable(table), DESC_F_INDIRECT)];
        for _ in 0..batch {
            queue.put(&whole, None)?;
        }
        queue.kick()?;
        for _ in 0..batch {
            let used = queue.wait_used()?;
            assert_eq!(used.written, written, "with {left} requests left");
        }
        left -= batch;
    }
    assert_eq!(queue.take_used()?, None, "one too many");
    assert_works(blk, &queue, vm, 1)
}

/// Would catch a reset that does not stop requests in flight, after which they are still
/// written to memory that is the driver's again, and a device that does not start anew.
fn reset(blk: &VirtioBlk, vm: &Rc<Vm>) -> Result<()> {
    for seed in 0..4 {
        let queue = blk.start_with_everything()?;
        let mut requests = Vec::new();
        for sector in 0..u64::from(queue.size().min(256)) / 3 {
            let request = Request::new(&blk.0, blk::T_IN, sector)?;
            let request = request.with_room(&blk.0, 16 * SECTOR)?;
            queue.add(&request.segments())?;
            requests.push(request);
        }
        queue.notify()?;
        blk.0.reset()?;
        let used = || -> Result<usize> {
            let mut count = 0;
            while queue.take_used()?.is_some() {
                count += 1;
            }
            Ok(count)
        };
        used()?;
        let statuses = requests.iter().map(Request::status).collect::<Result<Vec<_>>>()?;
        let anew = blk.start_with_everything()?;
        assert_eq!(anew.take_used()?, None, "a used buffer in a new ring");
        assert_works(blk, &anew, vm, seed)?;
        assert_eq!(used()?, 0, "a buffer used after the reset");
        let later = requests.iter().map(Request::status).collect::<Result<Vec<_>>>()?;
        assert_eq!(later, statuses, "a status written after the reset");
    }
    Ok(())
}

/// Has the device look at a buffer that it cannot do anything with. It may stop until it is
/// reset (2.1.2); it must not do it.
fn refuse(
    blk: &VirtioBlk,
    vm: &Vm,
    request: &Request,
    make: impl FnOnce(&Queue) -> Result<()>,
    what: &str,
) -> Result<()> {
    let queue = blk.start_with_everything()?;
    let transport = blk.0.transport();
    if queue.is_packed() && vm.emulator().capabilities.version < Version::new(11, 1, 0) {
        return Err(Error::skipped(format!(
            "{what}: QEMU up to 10.2 spins for ever on a packed ring that it has given up"
        )));
    }
    make(&queue)?;
    queue.notify()?;
    // A back end has no say in the status.
    if transport.is_modern() && !vm.has_user_backend() {
        wait_until(vm, &format!("DEVICE_NEEDS_RESET, after {what}"), || {
            Ok(transport.status()? & virtio::DEVICE_NEEDS_RESET != 0)
        })?;
        // The driver hears of it as of a change of the configuration (2.1.2).
        let told = transport.take_interrupts()?;
        assert_ne!(told & virtio::ISR_CONFIG, 0, "{what}: the interrupt status {told:#x}");
    }
    blk.0.reset()?;
    assert_eq!(request.status()?, S_NONE, "{what}: the status was written");
    let mut image = vec![0; SECTOR];
    vm.read_image(IMAGE.name, 0, &mut image)?;
    assert_eq!(image, [0; SECTOR], "{what}: the image was written");
    let works = || assert_works(blk, &blk.start_with_everything()?, vm, 7);
    vhost::once_connected(vm, works).map_err(|e| e.context(format!("after {what}")))
}

/// Skips a test of what QEMU does with a request that is wrong where a back end has it instead.
fn needs_qemu(vm: &Vm) -> Result<()> {
    match VhostUser::of(vm) {
        Ok(_) => Err(Error::skipped("what becomes of a wrong request is the back end's affair")),
        Err(_) => Ok(()),
    }
}

/// Would catch a device that does what it cannot have been asked, dies of it, or does not
/// work any more after a reset.
fn malformed(blk: &VirtioBlk, vm: &Rc<Vm>) -> Result<()> {
    needs_qemu(vm)?;
    let request = Request::new(&blk.0, blk::T_OUT, 0)?.with_data(&blk.0, &[0xee; SECTOR])?;
    let [header, data, status] = request.segments()[..] else { unreachable!("three parts") };
    let add = |segments: Vec<Segment>| move |queue: &Queue| queue.add(&segments).map(|_| ());
    let refused = |segments, what| refuse(blk, vm, &request, add(segments), what);
    refused(vec![header], "a header alone")?;
    refused(vec![status], "a status alone")?;
    refused(vec![header, data], "no room for the status")?;
    refused(vec![Segment { length: 15, ..header }, status], "a header cut short")?;
    refused(vec![status, header, data], "what is written before what is read")?;
    refused(vec![header, Segment { length: 0, ..data }, status], "an empty segment")?;

    let put = |described: Vec<(Segment, u16)>, what| {
        refuse(blk, vm, &request, move |queue| queue.put(&described, None).map(|_| ()), what)
    };
    put(vec![(header, 0), (data, 0), (data, DESC_F_NEXT)], "a chain that loops")?;
    put(vec![(Segment { length: 0, ..data }, DESC_F_INDIRECT)], "an empty indirect table")?;
    put(vec![(Segment { length: 17, ..data }, DESC_F_INDIRECT)], "part of an indirect table")
}

/// Would catch a device that does not refuse a table longer than any chain may be, or that
/// refuses one of `seg_max` segments.
fn too_many_segments(blk: &VirtioBlk, vm: &Rc<Vm>) -> Result<()> {
    needs_qemu(vm)?;
    blk.0.needs(features::INDIRECT_DESC, "indirect descriptors")?;
    let queue = blk.start_with_everything()?;
    let most = blk.0.transport().config().read32(blk::SEG_MAX)? as usize;
    // With a header and a status no chain may be longer than the queue (2.7.5.3.1).
    assert!((1..=usize::from(queue.size()) - 2).contains(&most), "seg_max {most}");
    let request = Request::new(&blk.0, blk::T_OUT, 0)?.with_data(&blk.0, &[0; SECTOR])?;
    let [header, data, status] = request.segments()[..] else { unreachable!("three parts") };
    let chain = |count: usize| [&[header], &vec![data; count][..], &[status]].concat();
    let id = queue.add_indirect(&chain(most))?;
    queue.kick()?;
    let outcome = request.finish(id, queue.wait_used()?)?;
    assert_eq!(outcome.status, blk::S_OK, "{most} segments");

    let request = Request::new(&blk.0, blk::T_OUT, 0)?.with_data(&blk.0, &[0xee; SECTOR])?;
    let [header, data, status] = request.segments()[..] else { unreachable!("three parts") };
    let chain = |count: usize| [&[header], &vec![data; count][..], &[status]].concat();
    // QEMU takes 1024 elements of any buffer.
    let make = |queue: &Queue| queue.add_indirect(&chain(1030)).map(|_| ());
    refuse(blk, vm, &request, make, "1030 segments")
}
