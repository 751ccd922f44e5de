//! Any device with a vhost-user back end: what QEMU tells the back end of the guest, compared with
//! what the guest did.

use std::rc::Rc;

use serde_json::json;
use vm_memory::GuestAddress;

use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::qos::vhost::{F_LOG_ALL, F_PROTOCOL, Protocol, Seen, VhostUser, VhostUserDevice};
use crate::qos::virtio::{self, Queue, Virtio, features};
use crate::qos::{settle, wait_until};
use crate::{Error, Result, tests};

tests!(VhostUserDevice, "vhost-user-tests":
    negotiated,
    each_feature = "each-feature",
    memory = "read-guest-mem",
    rings,
    requests,
    index_wrap = "index-wrap",
    suppressed,
    reset,
    stop_cont = "stop-cont",
    configuration,
    disconnected,
);

/// Features of legacy drivers alone, which QEMU keeps to itself or not as it likes.
const LEGACY: u64 = features::NOTIFY_ON_EMPTY | features::ANY_LAYOUT;

/// The queues that the back end serves, live, of a driver that has accepted `wanted`.
fn start(device: &Virtio, wanted: u64) -> Result<(Vec<Queue>, u64)> {
    let accepted = device.negotiate(wanted)?;
    let count = device.queue_count().min(VhostUser::of(device.vm())?.queue_count());
    let queues = (0..count).map(|index| Queue::new(device, index, accepted, 64 << index));
    let queues = queues.collect::<Result<Vec<_>>>()?;
    device.driver_ok()?;
    // QEMU does not wait for the answers to all of its requests.
    let backend = VhostUser::of(device.vm())?;
    for index in 0..count {
        backend.wait(device.vm(), &format!("queue {index} to be live"), |backend| {
            backend.queue(index).is_ok_and(|seen| seen.has_kick && seen.is_enabled)
        })?;
    }
    Ok((queues, accepted))
}

/// Has the device do its good request, and asserts that the back end was asked it.
fn exchange(device: &Virtio, queues: &[Queue], times: usize) -> Result<()> {
    let backend = VhostUser::of(device.vm())?;
    for _ in 0..times {
        let plain = device.plain()?.ok_or_else(|| Error::skipped("it has no request to make"))?;
        backend.take_requests();
        let queue = &queues[usize::from(plain.queue)];
        let id = queue.add(&plain.segments)?;
        queue.kick()?;
        let used = queue.wait_used()?;
        assert_eq!(used.id, id, "the buffer that came back");
        (plain.check)(used.written)?;
        let (mut sent, mut room) = (Vec::new(), 0);
        for segment in &plain.segments {
            match segment.writable {
                true => room += segment.length as usize,
                false => {
                    let mut piece = vec![0; segment.length as usize];
                    device.vm().ram().read(GuestAddress(segment.address), &mut piece)?;
                    sent.extend(piece);
                }
            }
        }
        let asked = backend.take_requests();
        assert_eq!(asked.len(), 1, "requests that the back end was asked: {asked:x?}");
        assert_eq!((asked[0].queue, asked[0].room), (plain.queue, room), "queue and room");
        assert_eq!(asked[0].data, sent, "what the back end was asked");
    }
    Ok(())
}

/// Asserts that QEMU has done nothing against the protocol.
fn assert_faultless(device: &Virtio) -> Result<()> {
    let backend = VhostUser::of(device.vm())?;
    assert_eq!(backend.faults(), Vec::<String>::new(), "what QEMU did against the protocol");
    assert_eq!(backend.connections(), (1, true), "connections");
    for queue in 0..backend.queue_count() {
        assert_eq!(backend.queue(queue)?.broken, None, "queue {queue}");
    }
    Ok(())
}

/// Asserts that the back end knows the features that the driver accepted, of those it offers.
fn assert_features(device: &Virtio, accepted: u64) -> Result<()> {
    let backend = VhostUser::of(device.vm())?;
    let seen = backend.accepted().ok_or_else(|| Error::failed("no features were set"))?;
    assert_ne!(seen & F_PROTOCOL, 0, "the features of the protocol, of {seen:#x}");
    assert_eq!(seen & F_LOG_ALL, 0, "a log of writes, of {seen:#x}");
    let (seen, expected) = (seen & !F_PROTOCOL & !LEGACY, accepted & backend.offered() & !LEGACY);
    assert_eq!(seen, expected, "the features that the back end knows; accepted: {accepted:#x}");
    Ok(())
}

/// Would catch a back end that is told of other features than the driver has accepted, or takes
/// part although nothing was negotiated, and protocol features that it did not offer.
fn negotiated(device: &VhostUserDevice, _: &Rc<Vm>) -> Result<()> {
    let (device, backend) = (&device.0, device.backend()?);
    assert_eq!(backend.owners(), 1, "how often QEMU has made itself the owner");
    let protocol = backend.protocol().ok_or_else(|| Error::failed("no protocol features"))?;
    let offered = backend.offered_protocol() | Protocol::REPLY_ACK;
    assert!(offered.contains(protocol), "the protocol features {protocol:?} of {offered:?}");
    // With these QEMU knows what became of a request, and whether it can be migrated.
    for needed in [Protocol::MQ, Protocol::LOG_SHMFD, Protocol::REPLY_ACK] {
        assert!(protocol.contains(needed), "{needed:?} among {protocol:?}");
    }
    for queue in 0..backend.queue_count() {
        let seen = backend.queue(queue)?;
        // A driver was there before if the machine was reset meanwhile.
        let is_new = seen.at.is_none() || seen.kicks > 0;
        assert!(!seen.has_kick && is_new, "before a driver: {seen:?}");
    }
    for wanted in [device.required(), device.acceptable()?, device.required()] {
        let (queues, accepted) = start(device, wanted)?;
        assert_features(device, accepted)?;
        exchange(device, &queues, 1)?;
        assert_faultless(device)?;
    }
    Ok(())
}

/// Would catch a feature that the back end is not told of, or that does harm alone.
fn each_feature(device: &VhostUserDevice, _: &Rc<Vm>) -> Result<()> {
    let device = &device.0;
    let (all, required) = (device.acceptable()?, device.required());
    for accepted in (0..64).map(|bit| 1 << bit).filter(|bit| all & bit != 0) {
        let (queues, accepted) = start(device, required | accepted)?;
        assert_features(device, accepted)?;
        exchange(device, &queues, 2)
            .map_err(|e| e.context(format!("with the features {accepted:#x}")))?;
    }
    assert_faultless(device)
}

/// Would catch guest memory that the back end does not see, sees elsewhere or twice, or more
/// memory than the guest has.
fn memory(device: &VhostUserDevice, vm: &Rc<Vm>) -> Result<()> {
    read_guest_memory(&device.0, vm)
}

/// Starts the device and compares guest memory with what its back end sees of it.
pub(super) fn read_guest_memory(device: &Virtio, vm: &Rc<Vm>) -> Result<()> {
    let backend = VhostUser::of(vm)?;
    let (queues, _) = start(device, device.acceptable()?)?;
    exchange(device, &queues, 1)?;
    let (spec, mut regions) = (vm.ram().spec(), backend.regions());
    assert!(!regions.is_empty(), "no region");
    regions.sort_by_key(|region| region.guest);
    for pair in regions.windows(2) {
        assert!(pair[0].guest + pair[0].length <= pair[1].guest, "overlapping: {regions:x?}");
    }
    let total: u64 = regions.iter().map(|region| region.length).sum();
    assert!(total <= spec.size, "{total:#x} bytes of RAM of {:#x}: {regions:x?}", spec.size);
    let (from, to) = (spec.base + spec.usable.0, spec.base + spec.usable.1);
    let mut before = 0;
    for region in &regions {
        // The rest of RAM may stand behind a hole of addresses, but there is none in RAM itself.
        let is_behind = region.guest >= to;
        let expected = if is_behind { Some(before) } else { region.guest.checked_sub(spec.base) };
        assert_eq!(Some(region.offset), expected, "the place in RAM of {region:x?}");
        before = region.offset + region.length;
    }
    let step = ((to - from) / 16).next_multiple_of(8);
    let mut addresses: Vec<u64> = (from..to).step_by(step as usize).collect();
    addresses.push(to - 8);
    // Not over the driver's own memory, which is at the start.
    for (number, &address) in (1_u64..).zip(&addresses[1..]) {
        let (mine, its) = (number * 0x0101_0203_0507, number * 0x0b0d_1113_1719);
        let mut seen = [0; 8];
        vm.ram().write(GuestAddress(address), &mine.to_le_bytes())?;
        // Over the protocol QEMU writes it itself, and may still be at it.
        settle(vm)?;
        backend.read(address, &mut seen)?;
        assert_eq!(u64::from_le_bytes(seen), mine, "written by the guest at {address:#x}");
        backend.write(address, &its.to_le_bytes())?;
        vm.ram().unmapped().read(GuestAddress(address), &mut seen)?;
        assert_eq!(u64::from_le_bytes(seen), its, "written by the back end at {address:#x}");
    }
    let before = spec.base.checked_sub(8);
    for outside in before.into_iter().chain([spec.base + spec.size, u64::MAX - 8]) {
        assert!(backend.read(outside, &mut [0; 8]).is_err(), "{outside:#x} is not RAM");
    }
    assert_faultless(device)
}

/// What the back end should know of a queue that is live, but for the counts.
fn assert_live(seen: &Seen, queue: &Queue, base: u32, what: &str) {
    assert_eq!(seen.size, u32::from(queue.size()), "{what}: the size");
    assert_eq!(seen.at, Some(queue.addresses()), "{what}: where it is");
    assert_eq!(seen.base, Some(base), "{what}: where it begins");
    assert_eq!(seen.log, None, "{what}: a log");
    assert!(seen.is_enabled && seen.has_kick && seen.has_call, "{what}: {seen:?}");
}

/// Would catch a ring of another size, at another place or of another queue, and files to kick
/// and call that are missing.
fn rings(device: &VhostUserDevice, _: &Rc<Vm>) -> Result<()> {
    let backend = device.backend()?;
    for wanted in [device.0.required(), device.0.acceptable()?] {
        let (queues, _) = start(&device.0, wanted)?;
        for (index, queue) in (0..).zip(&queues) {
            assert_live(&backend.queue(index)?, queue, 0, &format!("queue {index}"));
        }
        for index in queues.len() as u16..backend.queue_count() {
            let seen = backend.queue(index)?;
            assert!(!seen.has_kick && seen.at.is_none(), "queue {index}, not used: {seen:?}");
        }
        exchange(&device.0, &queues, 1)?;
    }
    assert_faultless(&device.0)
}

/// Would catch a kick that does not reach the back end or reaches it twice, an answer that does
/// not come, and a call that does not reach the driver or comes without one.
fn requests(device: &VhostUserDevice, _: &Rc<Vm>) -> Result<()> {
    let (backend, transport) = (device.backend()?, device.0.transport());
    let (queues, _) = start(&device.0, device.0.required())?;
    let number = match device.0.plain()? {
        Some(plain) => plain.queue,
        None => return Err(Error::skipped("it has no request to make")),
    };
    exchange(&device.0, &queues, 1)?;
    settle(device.0.vm())?;
    transport.take_interrupts()?;
    for round in 0..10 {
        settle(device.0.vm())?;
        assert_eq!(transport.take_interrupts()?, 0, "round {round}: an interrupt for nothing");
        let before = backend.queue(number)?;
        exchange(&device.0, &queues, 1)?;
        wait_until(device.0.vm(), "the interrupt", || {
            Ok(transport.take_interrupts()? == virtio::ISR_QUEUE)
        })?;
        let after = backend.queue(number)?;
        assert_eq!(after.kicks, before.kicks + 1, "round {round}: kicks");
        assert_eq!(after.calls, before.calls + 1, "round {round}: calls");
        assert_eq!(after.done, before.done + 1, "round {round}: requests done");
    }
    assert_faultless(&device.0)
}

/// Would catch a ring that does not go on at its end, or past 65,535 requests.
fn index_wrap(device: &VhostUserDevice, _: &Rc<Vm>) -> Result<()> {
    let (queues, _) = start(&device.0, device.0.acceptable()?)?;
    exchange(&device.0, &queues, 200)?;
    assert_faultless(&device.0)
}

/// Would catch a call that reaches a driver which wants none, and one that does not reach a
/// driver which wants calls again.
fn suppressed(device: &VhostUserDevice, _: &Rc<Vm>) -> Result<()> {
    let (backend, transport) = (device.backend()?, device.0.transport());
    let (queues, _) = start(&device.0, device.0.required())?;
    let Some(plain) = device.0.plain()? else {
        return Err(Error::skipped("it has no request to make"));
    };
    let queue = &queues[usize::from(plain.queue)];
    exchange(&device.0, &queues, 1)?;
    settle(device.0.vm())?;
    transport.take_interrupts()?;
    queue.want_interrupts(false)?;
    let before = backend.queue(plain.queue)?.calls;
    exchange(&device.0, &queues, 5)?;
    settle(device.0.vm())?;
    assert_eq!(backend.queue(plain.queue)?.calls, before, "calls");
    assert_eq!(transport.take_interrupts()?, 0, "interrupts");
    queue.want_interrupts(true)?;
    exchange(&device.0, &queues, 1)?;
    wait_until(device.0.vm(), "the interrupt", || {
        Ok(transport.take_interrupts()? == virtio::ISR_QUEUE)
    })
}

/// Asserts that the back end has stopped all these queues.
fn assert_stopped(backend: &VhostUser, vm: &Vm, count: usize, what: &str) -> Result<()> {
    for queue in 0..count as u16 {
        backend.wait(vm, &format!("queue {queue} to stop, {what}"), |backend| {
            backend.queue(queue).is_ok_and(|seen| !seen.has_kick)
        })?;
    }
    Ok(())
}

/// Would catch a reset (of the device, of the machine) that leaves a ring with the back end, which
/// then writes to memory that is no longer its, and a ring that does not begin anew.
fn reset(device: &VhostUserDevice, vm: &Rc<Vm>) -> Result<()> {
    let (device, backend) = (&device.0, device.backend()?);
    for round in 0..3 {
        let (queues, _) = start(device, device.acceptable()?)?;
        for (index, queue) in (0..).zip(&queues) {
            let what = format!("queue {index} in round {round}");
            assert_live(&backend.queue(index)?, queue, 0, &what);
        }
        exchange(device, &queues, 3)?;
        device.reset()?;
        assert_stopped(backend, vm, queues.len(), "after a reset")?;
        let asked = backend.asked();
        let stops = asked.iter().filter(|asked| **asked == "GET_VRING_BASE").count();
        assert!(stops >= queues.len() * (round + 1), "{stops} stops of {} queues", queues.len());
        assert_eq!(device.transport().status()?, 0, "the status after a reset");
    }
    let (queues, _) = start(device, device.acceptable()?)?;
    crate::qos::reset(vm)?;
    assert_stopped(backend, vm, queues.len(), "after a reset of the machine")?;
    assert_faultless(device)
}

/// Would catch rings that the back end still has while the machine is stopped, and rings that go
/// on elsewhere than where they were afterwards.
fn stop_cont(device: &VhostUserDevice, vm: &Rc<Vm>) -> Result<()> {
    let (device, backend) = (&device.0, device.backend()?);
    let (queues, accepted) = start(device, device.acceptable()?)?;
    let number = device.plain()?.map_or(0, |plain| plain.queue);
    let mut done = 0;
    for times in [3, 70, 1] {
        exchange(device, &queues, times)?;
        done += times as u32;
        vm.qmp().execute("stop", json!(null))?;
        assert_stopped(backend, vm, queues.len(), "while the machine is stopped")?;
        vm.qmp().execute("cont", json!(null))?;
        for (index, queue) in (0..).zip(&queues) {
            let base = if index == number { done } else { 0 };
            let what = format!("queue {index} after cont");
            backend.wait(vm, &what, |backend| {
                backend.queue(index).is_ok_and(|seen| seen.has_kick && seen.is_enabled)
            })?;
            assert_live(&backend.queue(index)?, queue, base, &what);
        }
        assert_features(device, accepted)?;
    }
    exchange(device, &queues, 2)?;
    assert_faultless(device)
}

/// Would catch a configuration that is not the back end's, or in another order.
fn configuration(device: &VhostUserDevice, _: &Rc<Vm>) -> Result<()> {
    let backend = device.backend()?;
    let expected = backend.config();
    if expected.is_empty() {
        return Err(Error::skipped("the back end has no configuration"));
    }
    if !device.0.transport().is_modern() {
        return Err(Error::skipped("a legacy device's configuration is in the guest's byte order"));
    }
    let length = expected.len() as u64;
    let found = device.0.read_still_config(|config| {
        (0..length).map(|at| config.read8(at)).collect::<Result<Vec<u8>>>()
    })?;
    assert_eq!(found, expected, "the configuration");
    let written = device.0.transport().config();
    for at in 0..length {
        let before = written.read8(at)?;
        assert_eq!(before, expected[at as usize], "byte {at} alone");
    }
    Ok(())
}

/// Would catch a QEMU that ends when its back end does, or waits for it for ever.
fn disconnected(device: &VhostUserDevice, vm: &Rc<Vm>) -> Result<()> {
    let (device, backend) = (&device.0, device.backend()?);
    let (queues, _) = start(device, device.acceptable()?)?;
    exchange(device, &queues, 1)?;
    backend.hang_up();
    backend.wait(vm, "the end of the connection", |backend| !backend.connections().1)?;
    settle(vm)?;
    if let Some(plain) = device.plain()? {
        let queue = &queues[usize::from(plain.queue)];
        queue.add(&plain.segments)?;
        queue.notify()?;
        settle(vm)?;
        assert_eq!(queue.take_used()?, None, "an answer of nobody");
    }
    device.transport().set_status(0)?;
    settle(vm)?;
    crate::qos::reset(vm)
}
