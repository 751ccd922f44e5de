//! The virtio persistent memory device: where its region is, what the guest writes there as its file
//! has it, and requests that are wrong.

use std::rc::Rc;

use serde_json::Value;
use vm_memory::GuestAddress;

use crate::drivers::virtio::pmem::IMAGE;
use crate::qemu::{Image, Vm};
use crate::qos::settle;
use crate::qos::virtio::pmem::{REQ_FLUSH, SIZE, START, VirtioPmem};
use crate::qos::virtio::{self, DEVICE_NEEDS_RESET, Segment, features};
use crate::{Error, Result, attacks, tests};

tests!(VirtioPmem, "virtio-pmem-tests":
    config,
    contents,
    flush,
    lasts,
    unknown,
    malformed,
    many,
    reset,
);
attacks!(VirtioPmem, "virtio-pmem-attacks": flush, many);

/// A page of something.
fn content(seed: u64) -> Vec<u8> {
    (0..4096).map(|at| (at * 7 + seed * 13 + at / 256) as u8 | 1).collect()
}

/// Some pages of the region: its first and last, and between.
const PAGES: [u64; 5] = [0, 1, 1000, 2047, IMAGE.size / 4096 - 1];

fn read(vm: &Vm, address: u64) -> Result<Vec<u8>> {
    let mut page = vec![0xa5; 4096];
    vm.qtest().b64read(GuestAddress(address), &mut page)?;
    Ok(page)
}

fn write(vm: &Vm, address: u64, page: &[u8]) -> Result<()> {
    vm.qtest().b64write(GuestAddress(address), page)?;
    Ok(())
}

/// Would catch a region that is elsewhere than is told, of another size, or that the driver can move
/// (5.19.4).
fn config(device: &VirtioPmem, vm: &Rc<Vm>) -> Result<()> {
    let _queue = device.start(device.0.acceptable()?)?;
    let fields = || Ok::<_, Error>((device.field(START)?, device.field(SIZE)?));
    let (start, size) = fields()?;
    let spec = vm.ram().spec();
    assert_eq!((start % 4096, size), (0, IMAGE.size), "start and size: {start:#x}");
    assert!(start >= spec.base + spec.size, "start {start:#x} is in the RAM");
    let told = vm.qmp().execute("query-memory-devices", Value::Null)?;
    assert_eq!(told[0]["data"]["memaddr"], start, "as the host reads it: {told}");
    assert_eq!(told[0]["data"]["size"], size, "as the host reads it: {told}");
    for at in [0, 4, 8, 12] {
        device.0.set_config_le32(at, 0x1234_5000)?;
    }
    assert_eq!(fields()?, (start, size), "after the driver wrote to it");
    assert_eq!(device.0.queue_count(), 1, "queues");
    Ok(())
}

/// Would catch a region that does not show what is in the file, or is another part of it.
fn contents(device: &VirtioPmem, vm: &Rc<Vm>) -> Result<()> {
    let Image { name, .. } = IMAGE;
    for page in PAGES {
        vm.write_image(name, page * 4096, &content(page))?;
    }
    let start = device.field(START)?;
    for page in PAGES {
        let is = read(vm, start + page * 4096)?;
        assert!(is == content(page), "page {page} as the guest reads it");
    }
    Ok(())
}

/// Would catch what was written and is not in the file after a flush, or elsewhere (5.19.6), and a
/// flush that is not told to have been done.
fn flush(device: &VirtioPmem, vm: &Rc<Vm>) -> Result<()> {
    for wanted in [device.0.required(), device.0.acceptable()?] {
        let queue = device.start(wanted)?;
        let start = device.field(START)?;
        for (round, page) in (1..).zip(PAGES) {
            let written = content(page + 100 * round);
            write(vm, start + page * 4096, &written)?;
            assert_eq!(device.flush(&queue)?, 0, "a flush");
            let mut is = vec![0; 4096];
            vm.read_image(IMAGE.name, page * 4096, &mut is)?;
            assert!(is == written, "page {page} in the file");
            assert!(read(vm, start + page * 4096)? == written, "page {page} as the guest reads it");
        }
    }
    Ok(())
}

/// Would catch a region that loses what is in it by a reset of the device.
fn lasts(device: &VirtioPmem, vm: &Rc<Vm>) -> Result<()> {
    let queue = device.start(device.0.acceptable()?)?;
    let start = device.field(START)?;
    write(vm, start + 8192, &content(77))?;
    assert_eq!(device.flush(&queue)?, 0, "a flush");
    device.0.reset()?;
    assert_eq!((device.field(START)?, device.field(SIZE)?), (start, IMAGE.size), "the region");
    assert!(read(vm, start + 8192)? == content(77), "after a reset of the device");
    Ok(())
}

/// Would catch a request of no type that is told to have been done (5.19.6).
fn unknown(device: &VirtioPmem, vm: &Rc<Vm>) -> Result<()> {
    for kind in [REQ_FLUSH + 1, 0x100, 0x8000_0000, u32::MAX] {
        let queue = device.start(device.0.acceptable()?)?;
        let (asked, answer) = (vm.ram().alloc(4, 4)?, vm.ram().alloc(4, 4)?);
        asked.write_le32(0, kind)?;
        answer.write_le32(0, 0xeeee_eeee)?;
        queue.add(&[Segment::readable(&asked), Segment::writable(&answer)])?;
        queue.notify()?;
        settle_threads(vm)?;
        assert_ne!(answer.read_le32(0)?, 0, "a request of type {kind:#x} succeeds");
    }
    Ok(())
}

/// Lets a request that another thread of QEMU carries out come to its end, if it does.
fn settle_threads(vm: &Vm) -> Result<()> {
    (0..50).try_for_each(|_| settle(vm))
}

/// Would catch a request that is cut off, has no room for the answer, or none of either, of which QEMU
/// dies, or after which a reset does not help.
fn malformed(device: &VirtioPmem, vm: &Rc<Vm>) -> Result<()> {
    for (length, room) in [(0, 4), (4, 0), (1, 4), (3, 4), (4, 1), (4, 3), (64, 64)] {
        let queue = device.start(device.0.acceptable()?)?;
        let what = format!("a request of {length} bytes, room for {room}");
        let (asked, answer) = (vm.ram().alloc(64, 4)?, vm.ram().alloc(64, 4)?);
        answer.write(0, &[0xee; 64])?;
        let read = Segment { length, ..Segment::readable(&asked) };
        let written = Segment { length: room, ..Segment::writable(&answer) };
        let segments: Vec<_> = [read, written].into_iter().filter(|it| it.length > 0).collect();
        queue.add(&segments)?;
        queue.notify()?;
        settle_threads(vm)?;
        let status = device.0.transport().status()?;
        let gave_up = status & DEVICE_NEEDS_RESET != 0 || !device.0.transport().is_modern();
        let is_done = queue.take_used()?.is_some();
        assert!(is_done || gave_up || room < 4 || length < 4, "{what}: status {status:#x}");
        let told = answer.to_vec()?;
        let most = room.min(4) as usize;
        assert!(told[most..].iter().all(|&byte| byte == 0xee), "{what}: {told:x?}");
        let queue = device.start(device.0.acceptable()?)?;
        assert_eq!(device.flush(&queue)?, 0, "a flush after {what}");
    }
    Ok(())
}

/// Would catch requests that are lost when many are waiting, whatever the order in which they are
/// done, and the last of them without an interrupt.
fn many(device: &VirtioPmem, vm: &Rc<Vm>) -> Result<()> {
    let queue = device.start(device.0.acceptable()? & !features::EVENT_IDX)?;
    for round in 0..3 {
        let count = usize::from(queue.size() / 4).min(16);
        let mut asked = Vec::new();
        for _ in 0..count {
            let (request, answer) = (vm.ram().alloc(4, 4)?, vm.ram().alloc(4, 4)?);
            answer.write_le32(0, 0xeeee_eeee)?;
            let id = queue.add(&[Segment::readable(&request), Segment::writable(&answer)])?;
            // Each is told of by itself.
            queue.notify()?;
            asked.push((id, request, answer));
        }
        for _ in 0..count {
            let used = queue.wait_used()?;
            let at = asked.iter().position(|(id, _, _)| *id == used.id);
            let (_, _, answer) = asked.remove(at.expect("a request that is waiting"));
            assert_eq!((used.written, answer.read_le32(0)?), (4, 0), "round {round}");
        }
        let interrupts = device.0.transport().take_interrupts()?;
        assert_eq!(interrupts, virtio::ISR_QUEUE, "round {round}: interrupts");
    }
    Ok(())
}

/// Would catch a flush that is under way when the device is reset, and comes back in another ring.
fn reset(device: &VirtioPmem, vm: &Rc<Vm>) -> Result<()> {
    for _ in 0..10 {
        let queue = device.start(device.0.acceptable()?)?;
        let (request, answer) = (vm.ram().alloc(4, 4)?, vm.ram().alloc(4, 4)?);
        queue.add(&[Segment::readable(&request), Segment::writable(&answer)])?;
        queue.notify()?;
        device.0.reset()?;
        let again = device.start(device.0.acceptable()?)?;
        settle_threads(vm)?;
        assert_eq!(again.take_used()?, None, "a flush of before the reset");
        assert_eq!(device.flush(&again)?, 0, "a flush after the reset");
    }
    Ok(())
}
