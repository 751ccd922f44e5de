//! VMware's `vmxnet3`: revisions, commands, the station's address, the link, interrupts, and what a
//! driver may share that makes no sense.

mod queues;

use std::rc::Rc;

use serde_json::json;
use vm_memory::GuestAddress;

use crate::drivers::net::vmxnet3::Vmxnet3;
use crate::drivers::net::vmxnet3::registers::{self as nic, command, queue, shared};
use crate::drivers::net::vmxnet3::rings::COUNT;
use crate::qemu::Vm;
use crate::qos::net::{MAC, PEER, Wire, assert_frame, frame};
use crate::qos::nic::{Filter, Nic};
use crate::qos::registers::RegistersExt;
use crate::qos::{settle, wait_until};
use crate::{Error, Result, tests};

tests!(Vmxnet3, "vmxnet3-tests":
    registers,
    commands,
    masks,
    cause,
    auto_mask = "auto-mask",
    activation,
    quiesce,
    link_after_reset = "link-after-reset",
    bad_interrupt = "bad-interrupt",
    bad_interrupts = "bad-interrupts",
    queue_behind = "queue-behind",
    bad_buffer_type = "bad-buffer-type",
);

/// Starts the device; returns the far end of its cable.
fn start(nic: &Vmxnet3, vm: &Rc<Vm>) -> Result<Wire> {
    nic.plug.device.bus().reaches_ram()?;
    let wire = Wire::on(vm, nic.cable()?)?;
    nic.start(vm)?;
    Ok(wire)
}

/// Would catch an address that is another than the card was given, or that a guest cannot change;
/// a permanent address that it can; a link that is down, and revisions that no driver takes.
fn registers(device: &Vmxnet3, _: &Rc<Vm>) -> Result<()> {
    let registers = &device.plug.registers;
    assert_eq!(registers.get(nic::REVISION)? & 1, 1, "the revision of the device");
    assert_eq!(registers.get(nic::UPT_REVISION)? & 1, 1, "the revision of UPT");
    let [a, b, c, d, e, f] = MAC;
    let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, 0, 0]));
    let address =
        || Ok::<_, Error>((registers.get(nic::ADDRESS_LOW)?, registers.get(nic::ADDRESS_HIGH)?));
    assert_eq!(address()?, (low, high), "the station's address");
    registers.set(nic::ADDRESS_LOW, 0x4433_2202)?;
    assert_eq!(address()?, (low, high), "the station's address, half of it written");
    registers.set(nic::ADDRESS_HIGH, 0x0000_6655)?;
    assert_eq!(address()?, (0x4433_2202, 0x6655), "the station's address, written");
    let permanent =
        (device.command(command::GET_ADDRESS_LOW)?, device.command(command::GET_ADDRESS_HIGH)?);
    assert_eq!(permanent, (low, high), "the permanent address");
    let link = device.command(command::GET_LINK)?;
    assert_eq!((link & 0xffff, link >> 16), (1, 1000), "the link is up, 1,000 Mbit/s");
    registers.set(nic::ADDRESS_LOW, low)?;
    registers.set(nic::ADDRESS_HIGH, high)
}

/// Would catch a command whose answer is another's, or stays.
fn commands(device: &Vmxnet3, _: &Rc<Vm>) -> Result<()> {
    for _ in 0..2 {
        for (command, answer) in [
            (command::GET_DEVICE, 0x07b0),
            (command::GET_DEVICE_REVISION, 1),
            // Any type of interrupt, masked as the driver likes.
            (command::GET_INTERRUPTS, 0),
            (command::RESET, 0),
            (command::QUIESCE, 0),
            (0xf00d_1234, 0),
        ] {
            assert_eq!(device.command(command)?, answer, "the answer to {command:#x}");
        }
    }
    Ok(())
}

/// Would catch masks of interrupts that are not there, are each other, or are not set by a reset.
fn masks(device: &Vmxnet3, vm: &Rc<Vm>) -> Result<()> {
    start(device, vm)?;
    let mask = |number: u64| nic::IMR.nth(number, nic::STRIDE);
    let all = || (0..nic::INTERRUPTS).map(|number| device.queues.get(mask(number)));
    let seen = all().collect::<Result<Vec<_>>>()?;
    assert!(seen.iter().all(|mask| *mask == 1), "masks after a start: {seen:?}");
    for number in 0..nic::INTERRUPTS {
        device.queues.set(mask(number), 0)?;
        for (other, seen) in (0..).zip(all()) {
            assert_eq!(seen?, u32::from(other != number), "mask {other}, {number} cleared");
        }
        device.queues.set(mask(number), 1)?;
    }
    for number in 0..nic::INTERRUPTS {
        device.queues.set(mask(number), 0)?;
    }
    device.command(command::RESET)?;
    let seen = all().collect::<Result<Vec<_>>>()?;
    assert!(seen.iter().all(|mask| *mask == 1), "masks after a reset: {seen:?}");
    Ok(())
}

/// Sends a frame and waits until it is out.
fn send_one(device: &Vmxnet3, wire: &Wire, number: u8) -> Result<()> {
    let sent = frame(PEER, MAC, 100, number);
    device.queue(&sent)?;
    device.kick()?;
    assert_frame(&wire.receive("a frame")?, &sent, "a frame");
    device.sent().map(drop)
}

/// Would catch a cause that is told although the pin is not asserted, or twice; a pin that stays
/// when the cause is read, or is asserted while it is masked.
fn cause(device: &Vmxnet3, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(device, vm)?;
    let pin = || device.plug.device.asserts_interrupt();
    let cause = || device.plug.registers.get(nic::CAUSE);
    for round in 0..3 {
        send_one(device, &wire, round)?;
        assert!(!pin()?, "the pin while the interrupt is masked");
        assert_eq!(cause()?, 0, "ICR while the interrupt is masked");
        device.queues.set(nic::IMR, 0)?;
        assert!(pin()?, "the pin when the interrupt is unmasked");
        assert_eq!((cause()?, cause()?), (1, 0), "ICR, read twice");
        assert!(!pin()?, "the pin when ICR was read");
        send_one(device, &wire, round)?;
        assert!(pin()?, "the pin while the interrupt is not masked");
        assert_eq!(cause()?, 1, "ICR while the interrupt is not masked");
        device.queues.set(nic::IMR, 1)?;
        assert!(!pin()?, "the pin when ICR was read, and masked");
    }
    Ok(())
}

/// Would catch an interrupt that does not mask itself when that is set up, or does when it is not.
fn auto_mask(device: &Vmxnet3, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(device, vm)?;
    for (round, auto) in [false, true, false].into_iter().enumerate() {
        device.command(command::RESET)?;
        device.start(vm)?;
        device.command(command::QUIESCE)?;
        device.parts()?.shared.write(shared::AUTO_MASK, &[u8::from(auto)])?;
        device.activate()?;
        device.queues.set(nic::IMR, 0)?;
        send_one(device, &wire, round as u8)?;
        assert_eq!(device.plug.registers.get(nic::CAUSE)?, 1, "ICR, masked by itself {auto}");
        assert_eq!(device.queues.get(nic::IMR)?, u32::from(auto), "IMR, masked by itself {auto}");
        assert!(!device.plug.device.asserts_interrupt()?, "the pin when ICR was read");
    }
    Ok(())
}

/// Would catch a device that starts with what is not for it, with too many queues or a length of
/// payload that it does not have, and one that does not start after that.
fn activation(device: &Vmxnet3, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(device, vm)?;
    for (at, wrong, right) in [
        (0, &[0xe0, 0xfe, 0xbe, 0xba][..], &[0xe1, 0xfe, 0xbe, 0xba][..]),
        (shared::COUNTS, &[9, 1], &[1, 1]),
        (shared::COUNTS, &[1, 17], &[1, 1]),
        (shared::MTU, &[59, 0, 0, 0], &[0xdc, 5, 0, 0]),
        (shared::MTU, &[0x29, 0x23, 0, 0], &[0xdc, 5, 0, 0]),
    ] {
        device.command(command::QUIESCE)?;
        device.parts()?.shared.write(at, wrong)?;
        assert!(device.activate().is_err(), "activated with {wrong:?} at {at:#x}");
        device.queue(&frame(PEER, MAC, 60, 1))?;
        device.kick()?;
        wire.assert_silent("while it is not activated")?;
        device.parts()?.shared.write(at, right)?;
        device.start(vm)?;
        send_one(device, &wire, 2)?;
    }
    // Activated twice it goes on where it is.
    device.activate()?;
    send_one(device, &wire, 3)
}

/// Would catch a device that is stopped and sends, receives or reads what is shared all the same.
fn quiesce(device: &Vmxnet3, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(device, vm)?;
    send_one(device, &wire, 1)?;
    for stop in [command::QUIESCE, command::RESET] {
        device.command(stop)?;
        device.queue(&frame(PEER, MAC, 60, 2))?;
        let memory = device.memory()?;
        device.kick()?;
        wire.send(&frame(MAC, PEER, 60, 3))?;
        (0..20).try_for_each(|_| settle(vm))?;
        wire.assert_silent("while it is stopped")?;
        assert!(device.memory()? == memory, "memory is written while it is stopped");
        device.start(vm)?;
        send_one(device, &wire, 4)?;
    }
    // A start of the driver's memory at zero stops it as well.
    device.plug.registers.set(nic::SHARED_LOW, 0)?;
    device.queue(&frame(PEER, MAC, 60, 5))?;
    device.kick()?;
    wire.assert_silent("with no memory to share")?;
    device.start(vm)?;
    device.set_filter(&Filter::PLAIN)?;
    send_one(device, &wire, 6)
}

/// Would catch a device that is reset and writes, when the link changes, to memory that it was
/// never given.
fn link_after_reset(device: &Vmxnet3, vm: &Rc<Vm>) -> Result<()> {
    start(device, vm)?;
    device.command(command::RESET)?;
    let event = shared::EVENTS as u64;
    let link = |up: bool| -> Result<()> {
        vm.qmp().execute("set_link", json!({"name": device.cable()?, "up": up}))?;
        Ok(())
    };
    // Where there is RAM at 0.
    let before = vm.qtest().readl(GuestAddress(event))?;
    link(false)?;
    link(true)?;
    let after = vm.qtest().readl(GuestAddress(event))?;
    assert_eq!(after, before, "RAM at {event:#x} when the link changes after a reset");
    Ok(())
}

/// Would catch a device that dies of an interrupt that there is not.
fn bad_interrupt(device: &Vmxnet3, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(device, vm)?;
    device.command(command::QUIESCE)?;
    device.parts()?.queues.write(queue::INTERRUPT, &[7])?;
    // Whether it is activated is its affair.
    let _ = device.activate();
    device.start(vm)?;
    send_one(device, &wire, 1)
}

/// Would catch a device that dies of an interrupt that there is not, of events or of a queue to
/// receive from, or is activated with it.
fn bad_interrupts(device: &Vmxnet3, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(device, vm)?;
    for number in [nic::INTERRUPTS as u8, 255] {
        for which in 0..3 {
            device.command(command::QUIESCE)?;
            match which {
                0 => device.parts()?.shared.write(shared::EVENT_INTERRUPT, &[number])?,
                1 => device.parts()?.queues.write(queue::INTERRUPT, &[number])?,
                _ => {
                    device.parts()?.queues.write(queue::LENGTH + queue::INTERRUPT, &[number])?;
                }
            }
            assert!(device.activate().is_err(), "activated with interrupt {number} for {which}");
            device.start(vm)?;
            send_one(device, &wire, number)?;
        }
    }
    Ok(())
}

/// Would catch a queue that is used although there are fewer: the one behind the last.
fn queue_behind(device: &Vmxnet3, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(device, vm)?;
    let second = nic::TXPROD.nth(1, nic::STRIDE);
    let queues = vm.ram().alloc(3 * queue::LENGTH, 128)?;
    // Activated with these queues to send from, all of which are the one that there is.
    let activate = |count: u8, at: u64, length: usize| -> Result<()> {
        device.command(command::QUIESCE)?;
        let parts = device.parts()?;
        parts.shared.write_le64(shared::QUEUES, at)?;
        parts.shared.write_le32(shared::QUEUES_LENGTH, length as u32)?;
        parts.shared.write(shared::COUNTS, &[count, 1])?;
        drop(parts);
        device.activate()
    };
    let one = device.parts()?.queues.to_vec()?;
    let (send, receive) = one.split_at(queue::LENGTH);
    queues.write(0, &[send, send, receive].concat())?;
    activate(2, queues.address().0, queues.len())?;
    let at = device.parts()?.queues.address().0;
    activate(1, at, one.len())?;
    let sent = frame(PEER, MAC, 100, 1);
    device.queue(&sent)?;
    for number in 1..8 {
        device.queues.set(nic::TXPROD.nth(number, nic::STRIDE), 1)?;
        wire.assert_silent("told of a queue that there is not")?;
    }
    device.kick()?;
    assert_frame(&wire.receive("the first queue")?, &sent, "from the queue that there is");
    // It would have been sent if the queue were there.
    device.start(vm)?;
    let one = device.parts()?.queues.to_vec()?;
    let (send, receive) = one.split_at(queue::LENGTH);
    queues.write(0, &[send, send, receive].concat())?;
    activate(2, queues.address().0, queues.len())?;
    device.queue(&sent)?;
    device.queues.set(second, 1)?;
    assert_frame(&wire.receive("the second queue")?, &sent, "from the second queue");
    Ok(())
}

/// Would catch a device that dies of a buffer of the second ring that is one to begin a frame in.
fn bad_buffer_type(device: &Vmxnet3, vm: &Rc<Vm>) -> Result<()> {
    let wire = start(device, vm)?;
    for number in 0..COUNT {
        device.parts()?.receive.give(0, number, 128)?;
        device.parts()?.receive.give(1, number, 128)?;
    }
    wire.send(&frame(MAC, PEER, 300, 1))?;
    wait_until(vm, "what becomes of a frame", || {
        device.command(command::GET_STATISTICS)?;
        let parts = device.parts()?;
        let all = (0..10).map(|number| parts.statistic(true, number));
        Ok(all.collect::<Result<Vec<_>>>()?.iter().any(|count| *count != 0))
    })?;
    device.start(vm)?;
    send_one(device, &wire, 2)
}
