//! Drivers that put a queue's rings where none can be: outside of RAM, over each other, into the
//! device's own registers. Nothing may end QEMU, and a reset puts all right.

use std::rc::Rc;

use super::rules::{assert_status, negotiate_to_break, queues, recover};
use crate::qemu::Vm;
use crate::qos::settle;
use crate::qos::virtio::{RingAddresses, Virtio};
use crate::{Error, Result, tests};

tests!(Virtio, "virtio-rules-tests":
    outside_ram = "rings-outside-ram",
    at_the_end = "rings-at-the-end-of-ram",
    overlapping = "rings-overlapping",
    unaligned = "rings-unaligned",
    own_registers = "rings-in-own-registers",
);

/// How many descriptors the queues have where their size can be chosen.
const SIZE: u16 = 16;
/// How long each of three rings may be in bytes, with room behind it.
const ROOM: u64 = 32_768;

/// All three rings at one address.
fn same(at: u64) -> RingAddresses {
    RingAddresses { descriptors: at, driver: at, device: at }
}

/// Each of the rings of `good` alone moved to `to`, and all of them.
fn moved(good: RingAddresses, to: u64) -> [RingAddresses; 4] {
    [
        RingAddresses { descriptors: to, ..good },
        RingAddresses { driver: to, ..good },
        RingAddresses { device: to, ..good },
        same(to),
    ]
}

/// Makes each queue live with its rings at `at`, notifies it, and sees the device recover.
fn place(device: &Virtio, at: RingAddresses, what: &str) -> Result<()> {
    place_and(device, at, what, assert_status)
}

/// Places the rings at these addresses, uses the device, and runs `check` before the reset.
fn place_and(
    device: &Virtio,
    at: RingAddresses,
    what: &str,
    check: impl Fn(&Virtio, &str) -> Result<()>,
) -> Result<()> {
    let transport = device.transport();
    for queue in queues(device)? {
        let what = format!("queue {queue} had its rings {what}: {at:x?}");
        negotiate_to_break(device)?;
        transport.select_queue(queue)?;
        transport.write_queue_size(SIZE)?;
        transport.write_queue_addresses(at)?;
        transport.write_queue_enable(1)?;
        device.driver_ok()?;
        transport.notify_any(queue)?;
        transport.notify_any(queue)?;
        check(device, &what)?;
        // A reset by hand: the status may be what the device has written there.
        transport.set_status(0)?;
        recover(device, &what)?;
    }
    Ok(())
}

/// Memory for three rings that asks for nothing, and where they are in it.
fn good(vm: &Vm) -> Result<(crate::qemu::Buffer, RingAddresses)> {
    let memory = vm.ram().alloc(3 * ROOM as usize, 4096)?;
    let at = memory.address().0;
    Ok((memory, RingAddresses { descriptors: at, driver: at + ROOM, device: at + 2 * ROOM }))
}

/// Would catch a ring where nothing is that is mapped, read or written all the same, and an
/// address that wraps round at 2^64.
fn outside_ram(device: &Virtio, vm: &Rc<Vm>) -> Result<()> {
    let (memory, good) = good(vm)?;
    let ram = vm.ram().spec();
    let end = ram.base + ram.size;
    for to in [end, end + (1 << 20), 1 << 44, 1 << 52, 1 << 63, !0 - 0xfff, !0 - 15, !0] {
        for at in moved(good, to) {
            place(device, at, "outside of RAM")?;
        }
    }
    // Only the driver writes there; the device may say in its own area what it wants to hear of.
    let mut driver = vec![0; ROOM as usize];
    memory.read(ROOM as usize, &mut driver)?;
    assert!(driver.iter().all(|byte| *byte == 0), "the driver's area was written");
    Ok(())
}

/// Would catch a ring of which a part is behind the end of RAM.
fn at_the_end(device: &Virtio, vm: &Rc<Vm>) -> Result<()> {
    let (_memory, good) = good(vm)?;
    let ram = vm.ram().spec();
    let end = ram.base + ram.size;
    for before in [2, 4, 16, 64, 240, 4096] {
        for at in moved(good, end - before) {
            place(device, at, "across the end of RAM")?;
        }
    }
    Ok(())
}

/// Would catch a device that does not stop where one ring is another one: it writes to what it
/// reads, and reads what it has written.
fn overlapping(device: &Virtio, vm: &Rc<Vm>) -> Result<()> {
    let memory = vm.ram().alloc(ROOM as usize, 4096)?;
    let at = memory.address().0;
    let pairs = [
        same(at),
        RingAddresses { driver: at + 2, ..same(at) },
        RingAddresses { device: at + 4, ..same(at) },
        RingAddresses { driver: at + 16, device: at + 16, ..same(at) },
        RingAddresses { driver: at + 4096, device: at + 4096, ..same(at) },
        RingAddresses { driver: at + 4096, device: at + 4100, ..same(at) },
        RingAddresses { descriptors: at + 64, driver: at, device: at + 2 },
    ];
    type Pattern = fn(usize) -> u8;
    let patterns: [Pattern; 5] =
        [|_| 0, |_| 1, |_| 0xff, |at| at as u8, |at| if at % 16 == 2 { 1 } else { 0 }];
    for pattern in patterns {
        for pair in pairs {
            memory.write(0, &(0..ROOM as usize).map(pattern).collect::<Vec<_>>())?;
            place(device, pair, "over each other")?;
        }
    }
    Ok(())
}

/// Would catch a ring without alignment (2.7, 2.8) at which an access of QEMU's fails.
fn unaligned(device: &Virtio, vm: &Rc<Vm>) -> Result<()> {
    let (_memory, good) = good(vm)?;
    for by in [1, 2, 3, 7, 15] {
        let to = [good.descriptors + by, good.driver + by, good.device + by];
        for at in [
            RingAddresses { descriptors: to[0], ..good },
            RingAddresses { driver: to[1], ..good },
            RingAddresses { device: to[2], ..good },
            RingAddresses { descriptors: to[0], driver: to[1], device: to[2] },
        ] {
            place(device, at, "at an odd address")?;
        }
    }
    Ok(())
}

/// Would catch a device that reads its rings from its own registers, or writes them there, and
/// so starts or resets itself while it is at it.
fn own_registers(device: &Virtio, vm: &Rc<Vm>) -> Result<()> {
    let Some(own) = device.transport().own_memory() else {
        return Err(Error::skipped("the device's registers are ports, which it cannot reach"));
    };
    let (_memory, good) = good(vm)?;
    for offset in [0, 0x10, 0x14, 0x16, 0x30, 0x70, 0x1000, 0x2000, 0x3000, 0x3ffe] {
        for at in moved(good, own + offset) {
            place_and(device, at, "in its own registers", |device, _| settle(device.vm()))?;
        }
    }
    Ok(())
}
