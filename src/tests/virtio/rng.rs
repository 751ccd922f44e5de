//! The virtio entropy device: every byte that it gives is the next one of its source.

use std::rc::Rc;
use std::time::Duration;

use serde_json::json;

use crate::drivers::virtio::pci::OverPci;
use crate::drivers::virtio::rng::{IMAGE, MAX_BYTES, PERIOD_MS, Rng};
use crate::qemu::Vm;
use crate::qos::pci::hotplug;
use crate::qos::virtio::rng::{DEVICE_TYPE, Request, VirtioRng};
use crate::qos::virtio::{Queue, Virtio, VirtioPci, features};
use crate::{Error, Result, attacks, tests};

tests!(VirtioRng, "virtio-rng-tests":
    entropy,
    in_flight = "in-flight",
    rate_limit = "rate-limit",
    reset,
);
attacks!(VirtioRng, "virtio-rng-attacks": entropy);
tests!(OverPci<Rng>, "virtio-rng-pci-tests": hotplug);

/// Fills the source with bytes of which no four in a row come twice.
fn fill(vm: &Vm) -> Result<Vec<u8>> {
    let words = (0..MAX_BYTES as u32).map(|i| i.wrapping_mul(0x9e37_79b1) ^ 0x5a5a_a5a5);
    let bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
    vm.write_image(IMAGE.name, 0, &bytes)?;
    Ok(bytes)
}

/// Would catch bytes that are lost, repeated, shifted or never written, a used length that
/// is not the buffer's, and a device that cannot do with what it offers.
fn entropy(rng: &VirtioRng, vm: &Rc<Vm>) -> Result<()> {
    assert_eq!(rng.0.transport().device_type()?, DEVICE_TYPE);
    let source = fill(vm)?;
    let mut at = 0;
    for wanted in [rng.0.required(), rng.0.acceptable()?] {
        let queue = rng.start(wanted)?;
        for lengths in [&[1][..], &[16], &[16], &[4096], &[1, 2, 3, 500], &[16_384], &[7; 8]] {
            let data = rng.entropy(&queue, lengths)?;
            assert!(data == source[at..at + data.len()], "{lengths:?} bytes from {at} on");
            at += data.len();
        }
    }
    Ok(())
}

/// Would catch buffers that get each other's bytes or come back out of turn, when the queue
/// is full.
fn in_flight(rng: &VirtioRng, vm: &Rc<Vm>) -> Result<()> {
    let source = fill(vm)?;
    let queue = rng.start(rng.0.required() | features::RING_PACKED)?;
    let mut at = 0;
    for round in 0..10 {
        let make = |number| Request::new(&rng.0, &[16 * usize::from(number) + round]);
        // QEMU's queue has eight descriptors. One over MMIO could be made larger.
        let requests = (1..=queue.size().min(8)).map(make).collect::<Result<Vec<_>>>()?;
        let ids = requests.iter().map(|request| request.add(&queue)).collect::<Result<Vec<_>>>()?;
        queue.kick()?;
        for (id, request) in ids.into_iter().zip(&requests) {
            let data = rng.finish(&queue, id, request)?;
            assert!(data == source[at..at + data.len()], "round {round}, bytes from {at} on");
            at += data.len();
        }
        assert_eq!(queue.take_used()?, None, "round {round}: one too many");
    }
    Ok(())
}

/// Would catch a device that gives more than its share of a period, or no more when it is
/// over.
fn rate_limit(rng: &VirtioRng, vm: &Rc<Vm>) -> Result<()> {
    const EACH: usize = 16_384;
    let source = fill(vm)?;
    let queue = rng.start(rng.0.required())?;
    let mut at = 0;
    for period in 0..3 {
        for number in 0..MAX_BYTES / EACH {
            let request = Request::new(&rng.0, &[EACH])?;
            let id = request.add(&queue)?;
            queue.kick()?;
            if period > 0 && number == 0 {
                assert_nothing_comes(&queue, vm, "at once")?;
                vm.qtest().clock_step(Some(Duration::from_millis(PERIOD_MS - 1)))?;
                assert_nothing_comes(&queue, vm, "before the period is over")?;
                vm.qtest().clock_step(Some(Duration::from_millis(1)))?;
            }
            let data = rng.finish(&queue, id, &request)?;
            assert!(data == source[at..at + EACH], "period {period}, bytes from {at} on");
            at += EACH;
        }
    }
    Ok(())
}

/// QEMU's main loop reads the source, and answers qtest as well.
fn assert_nothing_comes(queue: &Queue, vm: &Vm, when: &str) -> Result<()> {
    for _ in 0..20 {
        vm.qtest().endianness()?;
    }
    assert_eq!(queue.take_used()?, None, "more than {MAX_BYTES} bytes a period, {when}");
    Ok(())
}

/// Would catch a buffer from before a reset that is still written, and a device that gives
/// nothing after it.
fn reset(rng: &VirtioRng, vm: &Rc<Vm>) -> Result<()> {
    let source = fill(vm)?;
    let find = |data: &[u8]| source.windows(data.len()).position(|window| window == data);
    for _ in 0..3 {
        let queue = rng.start(rng.0.acceptable()?)?;
        let request = Request::new(&rng.0, &[64])?;
        request.add(&queue)?;
        queue.kick()?;
        rng.0.reset()?;
        let before = request.data()?;
        assert!(before == [0; 64] || find(&before).is_some(), "before the reset: {before:x?}");
        let anew = rng.start(rng.0.acceptable()?)?;
        // How much the source has lost with the buffer depends on when the reset came.
        let (one, other) = (rng.entropy(&anew, &[32])?, rng.entropy(&anew, &[32])?);
        let (one, other) = (find(&one), find(&other));
        let follows = one.zip(other).is_some_and(|(one, other)| other >= one + 32);
        assert!(follows, "bytes {one:?} and then {other:?} of the source");
        assert_eq!(request.data()?, before, "a buffer from before the reset");
    }
    Ok(())
}

/// Would catch a device that was plugged in while the machine runs and cannot be found or
/// gives no entropy, or one that cannot be unplugged.
fn hotplug(device: &OverPci<Rng>, vm: &Rc<Vm>) -> Result<()> {
    let Some(slot) = device.bus().free_slot() else {
        return Err(Error::skipped("this bus has no slot left for another device"));
    };
    for id in ["hot0", "hot1"] {
        let plug = (id, "virtio-rng-pci");
        let Some(function) = hotplug::plug(device.bus(), vm, slot, plug, json!({}))? else {
            // The root bus of PCI Express.
            break;
        };
        let pci = VirtioPci::new(function, vm)?;
        assert_eq!(pci.capabilities(), device.pci().capabilities(), "as of the old device");
        let vectors = |pci: &VirtioPci| pci.msix().map(|msix| msix.size());
        assert_eq!(vectors(&pci), vectors(device.pci()), "as the old device has");
        let new = VirtioRng(Virtio::of_kind::<Rng>(vm, pci.transport().clone())?);
        assert_eq!(new.0.queue_count(), 1, "queues");
        let queue = new.start(new.0.acceptable()?)?;
        let (one, other) = (new.entropy(&queue, &[32])?, new.entropy(&queue, &[32])?);
        assert!(one != other && one != [0; 32] && other != [0; 32], "{one:x?} and {other:x?}");
        hotplug::unplug(vm, pci.device(), id, &[VirtioPci::PART])?;
    }
    Ok(())
}
