//! Any virtio device that gives buffers back in the order in which it got them (VIRTIO_F_IN_ORDER,
//! 2.7.9, 2.8.9): a ring that is full, and one after the other.

use std::rc::Rc;

use crate::graph::{Addition, QemuArgs, When};
use crate::qemu::{Version, Vm};
use crate::qos::virtio::{Plain, Queue, Used, Virtio, features, net};
use crate::{Error, Result, tests};

/// The version since which QEMU gives buffers back in order.
const HAS_ORDER: Version = Version::new(9, 2, 0);

tests!(Virtio, "virtio-tests":
    whole_queue = "in-order-whole-queue",
    part_of_queue = "in-order",
    chains = "in-order-chains";
    with QemuArgs::NONE.when(&[
        When::since(HAS_ORDER, Addition::NONE.before("-global virtio-device.in_order=on")),
    ])
);

/// How many descriptors the queue has.
const SIZE: u16 = 8;

/// A queue for good requests of a device that has agreed to the order, and how many parts they have.
fn start(device: &Virtio) -> Result<(Queue, usize)> {
    device.needs(features::IN_ORDER, "buffers that are used in order")?;
    if device.transport().device_type()? == net::DEVICE_TYPE {
        return Err(Error::skipped("its good requests are one frame, of which several look alike"));
    }
    let Some(plain) = device.plain()? else {
        return Err(Error::skipped("no request of this kind is done at once"));
    };
    let accepted = device.negotiate(device.acceptable()?)?;
    let queue = Queue::new(device, plain.queue, accepted, SIZE)?;
    device.driver_ok()?;
    Ok((queue, plain.segments.len()))
}

/// Has so many good requests carried out at once, each a descriptor of a table or as many as it has
/// parts, and sees them come back in turn.
fn carry_out(device: &Virtio, queue: &Queue, count: u16, indirect: bool) -> Result<()> {
    let mut given: Vec<(u16, Plain)> = Vec::new();
    for _ in 0..count {
        let plain = device.plain()?;
        let plain = plain.ok_or_else(|| Error::failed("there is no request any more"))?;
        let id = match indirect {
            true => queue.add_indirect(&plain.segments)?,
            false => queue.add(&plain.segments)?,
        };
        given.push((id, plain));
    }
    queue.kick()?;
    for (place, (id, plain)) in given.iter().enumerate() {
        let what = |e: Error| e.context(format!("buffer {place} of {count}"));
        let Used { id: came, written } = queue.wait_used().map_err(what)?;
        assert_eq!(came, *id, "the buffer in place {place} of {count}");
        (plain.check)(written).map_err(what)?;
    }
    assert_eq!(queue.take_used()?, None, "a buffer more than the device was given");
    Ok(())
}

/// Would catch buffers that are never given back when the device has as many as the queue has
/// descriptors: the first and the last have one place in the ring then.
fn whole_queue(device: &Virtio, _: &Rc<Vm>) -> Result<()> {
    let (queue, _) = start(device)?;
    for _ in 0..3 {
        carry_out(device, &queue, queue.size(), true)?;
    }
    Ok(())
}

/// Would catch buffers that are lost, or come back out of turn, where the ring wraps round.
fn part_of_queue(device: &Virtio, _: &Rc<Vm>) -> Result<()> {
    let (queue, _) = start(device)?;
    for count in [1, 2, 3, 5, 7, 1, 7, 7, 4, 4, 6] {
        carry_out(device, &queue, count.min(queue.size()), true)?;
    }
    Ok(())
}

/// Would catch a buffer of several descriptors that is taken for one of another number, so that
/// those behind it are lost.
fn chains(device: &Virtio, _: &Rc<Vm>) -> Result<()> {
    let (queue, parts) = start(device)?;
    let most = queue.size() / parts as u16;
    // Such descriptors are to follow one another in the table (2.7.6), so that the first time
    // round only a queue that is new has them so.
    match most {
        0 => Err(Error::skipped("a request has more parts than the queue has descriptors")),
        _ => carry_out(device, &queue, most, false),
    }
}
