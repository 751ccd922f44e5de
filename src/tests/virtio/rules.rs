//! Drivers that break the rules of a device's registers: none may end QEMU, and after a reset the
//! device does a good request as if nothing had been. Rings and descriptors are in files of their
//! own.

use std::rc::Rc;

use vm_memory::GuestAddress;

use crate::qemu::{Version, Vm};
use crate::qos::registers::{Access, Width};
use crate::qos::settle;
use crate::qos::vhost::{self, VhostUser};
use crate::qos::virtio::{
    self, ACKNOWLEDGE, Area, DRIVER, DRIVER_OK, FEATURES_OK, RawQueue, RingAddresses, Segment,
    Virtio, features,
};
use crate::{Error, Result, tests};

tests!(Virtio, "virtio-rules-tests":
    size_while_live = "size-while-live",
    addresses_while_live = "addresses-while-live",
    enable_again = "enable-again",
    feature_bits = "features-not-offered",
    status_order = "status-order",
    notify_missing = "notify-missing",
    select_beyond = "select-beyond",
    register_accesses = "register-accesses",
    configuration_window = "configuration-window",
    reset_in_flight = "reset-in-flight",
    queue_reset = "queue-reset",
);

/// Queue numbers that QEMU has no queue for: the first is behind the last that any device has.
const BEYOND: [u16; 4] = [1024, 1025, 0x7fff, 0xffff];

/// The queues that a rule is broken with: the first ones, and that of the kind's good request.
pub(super) fn queues(device: &Virtio) -> Result<Vec<u16>> {
    let mut queues: Vec<u16> = (0..device.queue_count().min(3)).collect();
    if let Some(plain) = device.plain()?.filter(|plain| !queues.contains(&plain.queue)) {
        queues.push(plain.queue);
    }
    Ok(queues)
}

/// Resets the device and accepts all that it offers. Returns what was accepted.
pub(super) fn negotiate(device: &Virtio) -> Result<u64> {
    device.negotiate(device.acceptable()?)
}

/// As [`negotiate`], for a rule whose breach makes the device give up until it is reset.
pub(super) fn negotiate_to_break(device: &Virtio) -> Result<u64> {
    let accepted = negotiate(device)?;
    device.vm().hurry();
    let version = device.vm().emulator().capabilities.version;
    if accepted & features::RING_PACKED != 0 && version < Version::new(11, 1, 0) {
        device.reset()?;
        return Err(Error::skipped(
            "QEMU up to 10.2 spins for ever on a packed ring that it has given up, see the case \
             given-up",
        ));
    }
    Ok(accepted)
}

/// Asserts that a rule that was broken did no lasting harm: the status is that of a driver that
/// is ready, or says that a reset is needed.
pub(super) fn assert_status(device: &Virtio, what: &str) -> Result<()> {
    settle(device.vm())?;
    let status = device.transport().status()? & !virtio::DEVICE_NEEDS_RESET;
    assert_eq!(status, device.ready_status(), "the status, {what}");
    Ok(())
}

/// Asserts that the device, reset, works as if nothing had been.
pub(super) fn recover(device: &Virtio, what: &str) -> Result<()> {
    let works = || {
        device.reset()?;
        settle(device.vm())?;
        match device.transport().take_interrupts()? {
            0 => device.assert_works(),
            left => Err(Error::failed(format!("the interrupt status after a reset is {left:#x}"))),
        }
    };
    let works = vhost::once_connected(device.vm(), works);
    // Asked at the end: the back end may not have noticed before.
    if works.is_err() && VhostUser::of(device.vm()).is_ok_and(|it| !it.connections().1) {
        return Err(Error::skipped(
            "QEMU hangs up on a back end whose rings it cannot map, and does not connect again",
        ));
    }
    works.map_err(|e: Error| e.context(format!("after {what}")))
}

/// Would catch a device that takes a new size of a queue that is live and then reads or writes
/// behind the rings that it has mapped (4.1.4.3.2, 4.2.2.2): QEMU 7.2 ends by an assertion.
fn size_while_live(device: &Virtio, vm: &Rc<Vm>) -> Result<()> {
    for queue in queues(device)? {
        let most = device.max_queue_size(queue)?;
        for size in [8, 5, 1, 0, most, most.wrapping_mul(2), 0x8000, 0xffff] {
            let what = format!("queue {queue} of 4 descriptors was made one of {size}");
            let accepted = negotiate_to_break(device)?;
            let raw = RawQueue::new(device, queue, accepted, 4)?;
            device.driver_ok()?;
            device.transport().select_queue(queue)?;
            device.transport().write_queue_size(size)?;
            let memory = vm.ram().alloc(64, 16)?;
            for at in 0..4 {
                raw.describe(at, (memory.address().0, 64), 0, 0)?;
            }
            raw.publish(&[0; 4], 5)?;
            raw.notify()?;
            assert_status(device, &what)?;
            recover(device, &what)?;
        }
    }
    Ok(())
}

/// Would catch a device that follows the addresses of a queue that is live to where nothing is,
/// or mixes old and new ones (4.1.4.3.2).
fn addresses_while_live(device: &Virtio, vm: &Rc<Vm>) -> Result<()> {
    for queue in queues(device)? {
        let memory = vm.ram().alloc(65_536, 4096)?;
        let at = memory.address().0;
        let same = |at| RingAddresses { descriptors: at, driver: at, device: at };
        for (what, at) in [
            ("to 0", same(0)),
            ("to the last byte", same(u64::MAX)),
            ("elsewhere", RingAddresses { driver: at + 8192, device: at + 16_384, ..same(at) }),
            ("over each other", same(at)),
            ("by one byte", same(at + 1)),
            ("above 2^48", same(1 << 48)),
        ] {
            let what = format!("the rings of queue {queue} were moved {what}");
            let accepted = negotiate_to_break(device)?;
            let raw = RawQueue::new(device, queue, accepted, 16)?;
            let plain = device.plain()?.filter(|plain| plain.queue == queue);
            device.driver_ok()?;
            if let Some(plain) = &plain {
                raw.offer(&plain.segments)?;
                raw.notify()?;
            }
            device.transport().select_queue(queue)?;
            device.transport().write_queue_addresses(at)?;
            raw.notify()?;
            // Page 0 of a legacy queue resets a device of QEMU's.
            if device.transport().is_modern() || (at.descriptors >> 12) as u32 != 0 {
                assert_status(device, &what)?;
            }
            recover(device, &what)?;
        }
    }
    Ok(())
}

/// Would catch a queue that is made live twice, is taken away (4.1.4.3.2), or is live without an
/// address, and ends QEMU when it is notified.
fn enable_again(device: &Virtio, _: &Rc<Vm>) -> Result<()> {
    let transport = device.transport();
    for queue in queues(device)? {
        for value in [0, 2, 0xffff, 1] {
            let what = format!("queue {queue}, live, was enabled with {value}");
            let accepted = negotiate_to_break(device)?;
            let raw = RawQueue::new(device, queue, accepted, 16)?;
            device.driver_ok()?;
            transport.select_queue(queue)?;
            transport.write_queue_enable(value)?;
            raw.notify()?;
            assert_status(device, &what)?;
            recover(device, &what)?;
        }
        let what = format!("queue {queue} was enabled without an address");
        negotiate_to_break(device)?;
        transport.select_queue(queue)?;
        transport.write_queue_enable(1)?;
        device.driver_ok()?;
        transport.notify_any(queue)?;
        assert_status(device, &what)?;
        recover(device, &what)?;
    }
    Ok(())
}

/// Would catch a device that dies of a feature that it did not offer (2.2.1), or of features that
/// change after they were agreed on (3.1.1), or offers others then.
fn feature_bits(device: &Virtio, _: &Rc<Vm>) -> Result<()> {
    let (transport, offered) = (device.transport(), device.offered()?);
    let begin = |accepted: u64, what: &str| -> Result<()> {
        device.reset()?;
        device.set_status(ACKNOWLEDGE | DRIVER)?;
        transport.set_driver_features(accepted)?;
        transport.set_status(device.ready_status() & !DRIVER_OK)?;
        // Whether the device agrees is its affair. No other bit may change.
        let status = transport.status()? | FEATURES_OK;
        assert_eq!(status, ACKNOWLEDGE | DRIVER | FEATURES_OK, "the status with {what}");
        Ok(())
    };
    let all = device.acceptable()?;
    let bits = (0..64).map(|bit| 1 << bit).filter(|bit| offered & bit == 0);
    for accepted in bits.map(|bit| all | bit).chain([!offered, u64::MAX, 0]) {
        let what = format!("{accepted:#x} was accepted of {offered:#x}");
        begin(accepted, &what)?;
        for queue in queues(device)? {
            RawQueue::new(device, queue, all & accepted, 16)?;
        }
        transport.set_status(device.ready_status())?;
        assert_eq!(device.offered()?, offered, "the offer: {what}");
        recover(device, &what)?;
    }
    for late in [0, u64::MAX, features::RING_PACKED | features::VERSION_1] {
        let what = format!("{late:#x} was accepted when the driver was ready");
        negotiate(device)?;
        transport.set_driver_features(late)?;
        device.driver_ok()?;
        transport.set_driver_features(late)?;
        assert_status(device, &what)?;
        recover(device, &what)?;
    }
    Ok(())
}

/// Would catch a status, or an order of them, that ends QEMU (2.1.1), or that a reset does not
/// take back: each value after a reset, and each after a driver that is ready.
fn status_order(device: &Virtio, _: &Rc<Vm>) -> Result<()> {
    let transport = device.transport();
    let queues = queues(device)?;
    for status in 1..=255u8 {
        device.reset()?;
        transport.set_status(status)?;
        for &queue in &queues {
            transport.notify_any(queue)?;
        }
        // Ready, and then another status, by which the device may stop and start.
        let accepted = negotiate(device)?;
        let raw = RawQueue::new(device, queues[0], accepted, 16)?;
        device.driver_ok()?;
        transport.set_status(status)?;
        raw.notify()?;
        transport.set_status(device.ready_status())?;
        raw.notify()?;
        if status % 16 == 15 || status.is_power_of_two() {
            recover(device, &format!("the status was {status:#x}"))?;
        }
    }
    Ok(())
}

/// Would catch a notification of a queue that is not there, not live, or of a device that is not
/// ready, that ends QEMU (4.1.5.2, 4.2.3.3).
fn notify_missing(device: &Virtio, _: &Rc<Vm>) -> Result<()> {
    let transport = device.transport();
    let count = device.queue_count();
    let numbers = || (0..count.min(8)).chain([count, count + 1, 63, 64, 1023]).chain(BEYOND);
    let all = || numbers().try_for_each(|number| transport.notify_any(number));
    device.reset()?;
    all()?;
    recover(device, "queues of a device that was reset were notified")?;
    let accepted = negotiate(device)?;
    all()?;
    let _queue = RawQueue::new(device, 0, accepted, 16)?;
    all()?;
    recover(device, "queues of a device that was not ready were notified")?;
    negotiate(device)?;
    device.driver_ok()?;
    all()?;
    assert_status(device, "queues that are not live were notified")?;
    recover(device, "queues that are not live were notified")
}

/// Would catch a queue beyond the last whose registers are another's, or are memory behind an
/// array (4.1.4.3): they are written and read, and the first queue is as it was.
fn select_beyond(device: &Virtio, vm: &Rc<Vm>) -> Result<()> {
    let (transport, count) = (device.transport(), device.queue_count());
    let memory = vm.ram().alloc(65_536, 4096)?;
    let at = memory.address().0;
    let at = RingAddresses { descriptors: at, driver: at + 8192, device: at + 16_384 };
    for number in [count, count + 1, 63, 64, 1023].into_iter().chain(BEYOND) {
        if number < count {
            continue;
        }
        let what = format!("queue {number} of {count} was made live");
        negotiate(device)?;
        // QEMU takes no number from 1024 on: the queue that was selected before stays so.
        assert_eq!(device.max_queue_size(count)?, 0, "the size of queue {count}");
        assert_eq!(device.max_queue_size(number)?, 0, "the size of queue {number}");
        for queue in [number, number.wrapping_add(1).max(count)] {
            transport.select_queue(queue)?;
            transport.write_queue_size(16)?;
            transport.write_queue_addresses(at)?;
            transport.write_queue_enable(1)?;
        }
        device.driver_ok()?;
        transport.notify_any(number)?;
        assert_eq!(device.max_queue_size(number)?, 0, "the size: {what}");
        for queue in 0..count.min(3) {
            assert!(!transport.is_queue_enabled(queue)?, "queue {queue} is live: {what}");
        }
        assert_status(device, &what)?;
        recover(device, &what)?;
    }
    assert!(memory.to_vec()?.iter().all(|byte| *byte == 0), "memory that is no queue's");
    Ok(())
}

/// The offsets of an area that are tried: all of a small one, both ends of a large one.
fn offsets(area: &Area) -> impl Iterator<Item = u64> {
    let length = area.length;
    (0..length).filter(move |at| length <= 0x300 || *at < 0x80 || *at + 0x40 >= length)
}

/// Would catch an access of some width, at some offset, aligned or not, across the end of a
/// structure, that ends QEMU, or changes what a reset does not restore (4.1.3.1, 4.2.2.2).
fn register_accesses(device: &Virtio, _: &Rc<Vm>) -> Result<()> {
    for area in device.transport().areas() {
        let fits = |at: u64, width: Width| at + width.bytes() as u64 <= area.length;
        for width in area.widths {
            let at = || offsets(&area).filter(|at| fits(*at, *width));
            let reads: Vec<_> = at().map(|at| Access::Read(at, *width)).collect();
            area.registers.sequence(&reads)?;
            for value in [0, 1, 0x5555_5555_5555_5555, u64::MAX] {
                let value = value & (u64::MAX >> (64 - 8 * width.bytes()));
                let write = |at| [Access::Write(at, *width, value), Access::Read(at, *width)];
                let writes: Vec<_> = at().flat_map(write).collect();
                area.registers.sequence(&writes)?;
                settle(device.vm())?;
            }
            recover(device, &format!("accesses of {width:?} to the {}", area.name))?;
        }
    }
    Ok(())
}

/// Would catch a window that shows something else than the register that it points to, and one
/// that ends QEMU when it points nowhere, or has a length that is no access's (4.1.4.9.1).
fn configuration_window(device: &Virtio, _: &Rc<Vm>) -> Result<()> {
    let transport = device.transport();
    let Some(window) = transport.window() else {
        return Err(Error::skipped("there is no window to the registers"));
    };
    const STATUS: u32 = 20;
    let (bar, common) = window.common();
    device.reset()?;
    for status in [ACKNOWLEDGE, ACKNOWLEDGE | DRIVER] {
        window.point(bar, common + STATUS, 1)?;
        window.write(Width::Byte, status.into())?;
        assert_eq!(transport.status()?, status, "the status, written through the window");
        assert_eq!(window.read(Width::Byte)?, u32::from(status), "the status through the window");
    }
    let offsets = [0, 1, common + STATUS, 0xffe, 0x2000, 0x3000, 0x3fff, 0x4000, !0 - 3, !0];
    for bar in (0..8).chain([0x80, 0xff]) {
        for offset in offsets {
            for length in [0, 1, 2, 3, 4, 5, 8, 0x8000_0000, !0] {
                window.point(bar, offset, length)?;
                for width in [Width::Byte, Width::Word, Width::Long] {
                    window.read(width)?;
                    window.write(width, 0)?;
                }
            }
        }
        recover(device, &format!("accesses through the window to BAR {bar}"))?;
    }
    Ok(())
}

/// What is in the segments that a device writes.
pub(super) fn written(vm: &Vm, segments: &[Segment]) -> Result<Vec<Vec<u8>>> {
    let read = |segment: &Segment| {
        let mut bytes = vec![0; segment.length as usize];
        vm.ram().read(GuestAddress(segment.address), &mut bytes).map(|()| bytes)
    };
    segments.iter().filter(|segment| segment.writable).map(read).collect()
}

/// Would catch a request that is still carried out after a reset, when its memory is the driver's
/// again (2.4), and one that a device that was reset gives back.
fn reset_in_flight(device: &Virtio, vm: &Rc<Vm>) -> Result<()> {
    let transport = device.transport();
    for round in 0..8 {
        let Some(plain) = device.plain()? else {
            return Err(Error::skipped("no request of this kind is done at once"));
        };
        let accepted = negotiate(device)?;
        let raw = RawQueue::new(device, plain.queue, accepted, 16)?;
        device.driver_ok()?;
        raw.offer(&plain.segments)?;
        raw.notify()?;
        // In some rounds it has time to begin.
        (0..round).try_for_each(|_| vm.qtest().endianness().map(|_| ()))?;
        if round % 2 == 0 {
            transport.set_status(0)?;
        } else {
            transport.set_status(device.ready_status() & !DRIVER_OK)?;
            raw.notify()?;
            transport.set_status(0)?;
        }
        let before = written(vm, &plain.segments)?;
        (0..8).try_for_each(|_| settle(vm))?;
        assert_eq!(written(vm, &plain.segments)?, before, "written after the reset, {round}");
        recover(device, "a reset with a request in flight")?;
    }
    Ok(())
}

/// Would catch a reset of a queue that is not live, not there, in use, or without the feature,
/// that ends QEMU or resets another (2.6.1.1).
fn queue_reset(device: &Virtio, vm: &Rc<Vm>) -> Result<()> {
    device.needs(features::RING_RESET, "the reset of one queue")?;
    let transport = device.transport();
    for accepted in [device.acceptable()?, device.acceptable()? & !features::RING_RESET] {
        for queue in queues(device)? {
            let what = format!("queue {queue} was reset, with {accepted:#x} accepted");
            device.negotiate(accepted)?;
            transport.reset_queue(queue)?;
            let raw = RawQueue::new(device, queue, accepted, 16)?;
            transport.reset_queue(queue)?;
            device.driver_ok()?;
            transport.reset_queue(queue)?;
            raw.notify()?;
            assert_status(device, &what)?;
            if let Some(plain) = device.plain()?.filter(|plain| plain.queue == queue) {
                device.negotiate(accepted)?;
                let raw = RawQueue::new(device, queue, accepted, 16)?;
                device.driver_ok()?;
                raw.offer(&plain.segments)?;
                raw.notify()?;
                transport.reset_queue(queue)?;
                transport.reset_queue(queue)?;
                raw.notify()?;
                settle(vm)?;
            }
            recover(device, &what)?;
        }
        for queue in [device.queue_count()].into_iter().chain(BEYOND) {
            device.negotiate(accepted)?;
            device.driver_ok()?;
            transport.reset_queue(queue)?;
            transport.notify_any(queue)?;
            recover(device, &format!("queue {queue}, which is not there, was reset"))?;
        }
    }
    Ok(())
}
