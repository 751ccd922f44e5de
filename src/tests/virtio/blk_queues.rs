//! The virtio block device's queues side by side, the reset of one of them, and its
//! configuration changing while it is read.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::drivers::virtio::blk::IMAGE;
use crate::graph::QemuArgs;
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::qos::virtio::blk::{self, Request, S_NONE, SECTOR, VirtioBlk};
use crate::qos::virtio::{self, Queue, features};
use crate::qos::wait_until;
use crate::tests::virtio::blk_ring::assert_works;
use crate::{Error, Result, tests};

tests!(VirtioBlk, "virtio-blk-tests":
    queues,
    ring_reset = "ring-reset",
    config_generation = "config-generation",
);

/// How many entries each queue of a device with small ones has.
const SMALL: u16 = 16;

tests!(VirtioBlk, "virtio-blk-tests":
    small_queues = "small-queues"; with QemuArgs::NONE
        .before("-global virtio-blk-device.queue-size=16")
);

/// Would catch a largest size of a queue that is not what the device takes (4.1.4.3, 4.2.2), and a
/// queue of that size in which not all entries can be used.
fn small_queues(blk: &VirtioBlk, vm: &Rc<Vm>) -> Result<()> {
    if vm.config().options.iter().any(|word| word.contains("vhost-user-blk")) {
        return Err(Error::skipped("the size of queues is that of another kind of device"));
    }
    for index in 0..blk.0.queue_count() {
        let most = blk.0.transport().max_queue_size(index)?;
        assert_eq!(most, SMALL, "the largest size of queue {index}");
    }
    let (queues, _) = start(blk)?;
    for (index, queue) in queues.iter().enumerate() {
        for seed in 0..3 * SMALL as u8 {
            assert_works(blk, queue, vm, seed ^ index as u8)?;
        }
    }
    Ok(())
}

/// All queues, live, with every feature that the device offers, and what was accepted.
fn start(blk: &VirtioBlk) -> Result<(Vec<Queue>, u64)> {
    let accepted = blk.0.negotiate(blk.0.acceptable()?)?;
    let queues = blk.queues(accepted)?;
    blk.0.driver_ok()?;
    Ok((queues, accepted))
}

/// Would catch a queue that is dead while others live, a request done by another queue's
/// data, and one that is given back on another ring, when all are busy at once.
fn queues(blk: &VirtioBlk, vm: &Rc<Vm>) -> Result<()> {
    const EACH: usize = 20;
    let (queues, _) = start(blk)?;
    let mut waiting: Vec<BTreeMap<_, _>> = queues.iter().map(|_| BTreeMap::new()).collect();
    for sector in 0..EACH * queues.len() {
        let data = [sector as u8 + 1; SECTOR];
        vm.write_image(IMAGE.name, (sector * SECTOR) as u64, &data)?;
        let request = Request::new(&blk.0, blk::T_IN, sector as u64)?.with_room(&blk.0, SECTOR)?;
        // Neighbours go to different queues, where they get the same numbers.
        let queue = sector % queues.len();
        let id = queues[queue].add(&request.segments())?;
        waiting[queue].insert(id, (request, data));
    }
    for queue in queues.iter().rev() {
        queue.kick()?;
    }
    for (index, (queue, mut waiting)) in queues.iter().zip(waiting).enumerate() {
        while !waiting.is_empty() {
            let used = queue.wait_used()?;
            let (request, data) = waiting.remove(&used.id).expect("the queue knows it");
            assert_eq!(request.status()?, blk::S_OK, "queue {index}");
            assert_eq!(used.written as usize, SECTOR + 1, "queue {index}: bytes written");
            assert_eq!(request.data()?, data, "queue {index}");
        }
    }
    for (index, queue) in queues.iter().enumerate() {
        assert_eq!(queue.take_used()?, None, "queue {index}: one too many");
        assert_works(blk, queue, vm, index as u8)?;
    }
    Ok(())
}

/// Would catch a queue that goes on after its reset (2.6.1), or does not begin anew with
/// other addresses and another size, and one that is reset in its place.
fn ring_reset(blk: &VirtioBlk, vm: &Rc<Vm>) -> Result<()> {
    blk.0.needs(features::RING_RESET, "the reset of one queue")?;
    let (mut queues, accepted) = start(blk)?;
    let transport = blk.0.transport();
    for (round, size) in [(0, 16), (1, 64), (2, u16::MAX)] {
        for (index, queue) in queues.iter().enumerate() {
            assert_works(blk, queue, vm, index as u8)?;
        }
        let index = (1 + round) % queues.len();
        let number = index as u16;
        transport.reset_queue(number)?;
        wait_until(vm, "the queue's reset", || {
            Ok(!transport.is_queue_resetting(number)? && !transport.is_queue_enabled(number)?)
        })?;
        let old = queues.remove(index);
        let late = Request::new(&blk.0, blk::T_OUT, 0)?.with_data(&blk.0, &[0xee; SECTOR])?;
        old.add(&late.segments())?;
        old.notify()?;
        for (seed, queue) in queues.iter().enumerate() {
            assert_works(blk, queue, vm, seed as u8 + 10)?;
        }
        let anew = Queue::new(&blk.0, number, accepted, size)?;
        assert!(transport.is_queue_enabled(number)?, "queue {index}, made live again");
        for seed in 0..40 {
            assert_works(blk, &anew, vm, seed + 20)?;
        }
        assert_eq!(old.take_used()?, None, "queue {index}: its ring from before the reset");
        assert_eq!(late.status()?, S_NONE, "queue {index}: a request there");
        queues.insert(index, anew);
    }
    Ok(())
}

/// Would catch a configuration that changes while it is read without its generation
/// telling (2.5.1), so that a driver takes half of the old and half of the new capacity.
fn config_generation(blk: &VirtioBlk, vm: &Rc<Vm>) -> Result<()> {
    let _queue = blk.start_with_everything()?;
    let transport = blk.0.transport();
    let (low, high) = match transport.byte_order() {
        Endian::Little => (blk::CAPACITY, blk::CAPACITY + 4),
        Endian::Big => (blk::CAPACITY + 4, blk::CAPACITY),
    };
    let (before, after) = (IMAGE.size / SECTOR as u64, 1 << 32 | 0x1_2345);
    transport.take_interrupts()?;
    let mut first = None;
    let capacity = blk.0.read_config(|config| {
        let low = u64::from(config.read32(low)?);
        if first.is_none() {
            let size = after * SECTOR as u64;
            blk.resize(size)?;
            wait_until(vm, "a configuration change", || {
                Ok(transport.take_interrupts()? & virtio::ISR_CONFIG != 0)
            })?;
        }
        let capacity = u64::from(config.read32(high)?) << 32 | low;
        first.get_or_insert(capacity);
        Ok(capacity)
    })?;
    assert_eq!(first, Some(1 << 32 | before), "half of the old capacity and half of the new");
    assert_eq!(capacity, after, "the capacity, read again");
    Ok(())
}
