//! Remote NDIS: messages of the control endpoint, their answers, and objects (MS-RNDIS).

use std::rc::Rc;

use serde_json::json;

use super::{into, out};
use crate::drivers::usb::net::{
    ADDRESS, NOT_SUPPORTED, PACKET_HEAD, PLAIN, SUCCESS, UsbNet, bytes, message, oid, packet, words,
};
use crate::qemu::Vm;
use crate::qos::net::{LONGEST, SOCKET, assert_frame};
use crate::qos::usb::Status;
use crate::tests::usb::hcd::frames as milliseconds;
use crate::{Result, attacks, tests};

tests!(UsbNet, "usb-net-tests":
    initialize,
    objects,
    frame_size = "frame-size",
    supported_list = "supported-list",
    unknown_object = "unknown-object",
    unknown_set = "unknown-set",
    filter_kept = "filter-kept",
    link,
    counters,
    keepalive,
    answers_in_order = "answers-in-order",
    no_answer = "no-answer",
    notification,
    reset,
    wrong_messages = "wrong-messages",
    refused_set = "refused-set",
);
attacks!(UsbNet, "usb-net-attacks": initialize, wrong_messages = "wrong-messages");

/// Would catch an answer to the first message with another version, medium or size (MS-RNDIS, 2.2.10).
fn initialize(net: &UsbNet, vm: &Rc<Vm>) -> Result<()> {
    let adapter = net.rndis()?;
    vm.set_up_ends()?;
    for _ in 0..2 {
        let answer = adapter.initialize()?;
        assert_eq!(answer.len(), 13, "words of the answer: {answer:x?}");
        // Version 1.0; connectionless; 802.3; a packet in a message.
        assert_eq!(answer[4..9], [1, 0, 1, 0, 1], "versions, flags, medium, packets");
        let most = answer[9] as usize;
        assert!(most >= PACKET_HEAD + LONGEST, "the largest message: {most}");
        assert!(answer[10] <= 7, "the alignment: {:#x}", answer[10]);
        assert_eq!(answer[11..], [0, 0], "what is reserved");
    }
    Ok(())
}

/// Would catch an object with another value than the adapter (NDIS, "General Operational OIDs",
/// "Ethernet OIDs").
fn objects(net: &UsbNet, vm: &Rc<Vm>) -> Result<()> {
    let adapter = net.rndis()?;
    adapter.initialize()?;
    vm.set_up_ends()?;
    for address in [oid::PERMANENT_ADDRESS, oid::CURRENT_ADDRESS] {
        assert_eq!(adapter.query(address)?, (SUCCESS, ADDRESS.to_vec()), "address {address:#x}");
    }
    for (oid, value, what) in [
        (oid::HARDWARE_STATUS, 0, "ready"),
        (oid::MEDIA_SUPPORTED, 0, "802.3"),
        (oid::MEDIA_IN_USE, 0, "802.3"),
        (oid::CONNECT_STATUS, 0, "connected"),
        (oid::LINK_SPEED, 1_000_000, "100 Mbit/s in units of 100 bit/s"),
        (oid::XMIT_OK, 0, "nothing was sent"),
        (oid::RCV_OK, 0, "nothing was received"),
    ] {
        assert_eq!(adapter.word(oid)?, value, "object {oid:#x}: {what}");
    }
    Ok(())
}

/// Would catch a largest frame with the header in it (NDIS, OID_GEN_MAXIMUM_FRAME_SIZE: without).
fn frame_size(net: &UsbNet, _: &Rc<Vm>) -> Result<()> {
    let adapter = net.rndis()?;
    adapter.initialize()?;
    assert_eq!(adapter.word(oid::MAXIMUM_FRAME_SIZE)?, 1500, "the largest frame without header");
    Ok(())
}

/// Would catch a list of objects with one that is not answered, or twice, and one without those that
/// every adapter has (NDIS, OID_GEN_SUPPORTED_LIST).
fn supported_list(net: &UsbNet, _: &Rc<Vm>) -> Result<()> {
    let adapter = net.rndis()?;
    adapter.initialize()?;
    let (status, list) = adapter.query(oid::SUPPORTED_LIST)?;
    assert_eq!((status, list.len() % 4), (SUCCESS, 0), "the list");
    let list = words(&list);
    let mandatory =
        (0x101..=0x104).chain([0x106, 0x107]).chain(0x10a..=0x10e).chain([0x111, 0x114]);
    let mandatory = mandatory.chain(0x2_0101 - 0x1_0000..=0x2_0105 - 0x1_0000);
    let general = mandatory.map(|it| 0x1_0000 + it);
    for oid in general.chain(0x0101_0101..=0x0101_0104).chain(0x0102_0101..=0x0102_0103) {
        assert!(list.contains(&oid), "{oid:#x} is not on the list");
    }
    for (at, oid) in list.iter().enumerate() {
        assert!(!list[..at].contains(oid), "{oid:#x} is on the list twice");
        assert_eq!(adapter.query(*oid)?.0, SUCCESS, "the status of {oid:#x}");
    }
    Ok(())
}

/// Would catch an object that there is not and that is answered (MS-RNDIS, 2.2.1.2).
fn unknown_object(net: &UsbNet, _: &Rc<Vm>) -> Result<()> {
    let adapter = net.rndis()?;
    adapter.initialize()?;
    for oid in [0, 0x0001_01ff, 0x1234_5678, u32::MAX] {
        assert_eq!(adapter.query(oid)?, (NOT_SUPPORTED, Vec::new()), "object {oid:#x}");
    }
    Ok(())
}

/// Would catch an object that cannot be set and is set.
fn unknown_set(net: &UsbNet, vm: &Rc<Vm>) -> Result<()> {
    let adapter = net.rndis()?;
    adapter.initialize()?;
    vm.set_up_ends()?;
    for oid in [oid::LINK_SPEED, oid::PERMANENT_ADDRESS, oid::XMIT_OK, 0x1234_5678] {
        assert_eq!(adapter.assign(oid, 1)?, NOT_SUPPORTED, "object {oid:#x}");
    }
    assert_eq!(adapter.query(oid::PERMANENT_ADDRESS)?.1, ADDRESS, "the address");
    assert_eq!(adapter.word(oid::LINK_SPEED)?, 1_000_000, "the speed");
    assert_eq!(adapter.assign(oid::MULTICAST_LIST, 0x0000_5e01)?, SUCCESS, "the list of groups");
    Ok(())
}

/// Would catch a filter that is not told as it was set.
fn filter_kept(net: &UsbNet, vm: &Rc<Vm>) -> Result<()> {
    let adapter = net.rndis()?;
    adapter.initialize()?;
    vm.set_up_ends()?;
    for filter in [PLAIN, 1, 0x20, 0x2f, 0, PLAIN] {
        adapter.set_filter(filter)?;
        assert_eq!(adapter.word(oid::PACKET_FILTER)?, filter, "the filter");
    }
    Ok(())
}

/// Would catch a cable that is pulled and told to be in (NDIS, OID_GEN_MEDIA_CONNECT_STATUS).
fn link(net: &UsbNet, vm: &Rc<Vm>) -> Result<()> {
    let adapter = net.initialized()?;
    let set = |up: bool| vm.qmp().execute("set_link", json!({ "name": SOCKET.name, "up": up }));
    set(false)?;
    let down = adapter.word(oid::CONNECT_STATUS)?;
    set(true)?;
    assert_eq!((down, adapter.word(oid::CONNECT_STATUS)?), (1, 0), "without and with the cable");
    Ok(())
}

/// Would catch frames that are not counted (NDIS, OID_GEN_XMIT_OK and OID_GEN_RCV_OK).
fn counters(net: &UsbNet, _: &Rc<Vm>) -> Result<()> {
    let adapter = net.initialized()?;
    for number in 0..3 {
        adapter.transfer(&packet(&out(100, number)))?;
        adapter.wire.receive("a frame")?;
    }
    adapter.wire.send(&into(100, 9))?;
    adapter.receive_packet()?;
    let counted = (adapter.word(oid::XMIT_OK)?, adapter.word(oid::RCV_OK)?);
    assert_eq!(counted, (3, 1), "frames out, frames in");
    Ok(())
}

/// Would catch an adapter that does not say that it lives (MS-RNDIS, 2.2.17).
fn keepalive(net: &UsbNet, vm: &Rc<Vm>) -> Result<()> {
    let adapter = net.initialized()?;
    vm.set_up_ends()?;
    for _ in 0..3 {
        let answer = adapter.ask(message::KEEPALIVE, &[])?;
        assert_eq!(answer[1..], [16, answer[2], SUCCESS], "the answer");
    }
    Ok(())
}

/// Would catch answers that come in another order than the messages, or not once each.
fn answers_in_order(net: &UsbNet, _: &Rc<Vm>) -> Result<()> {
    let adapter = net.initialized()?;
    let numbers = [7u32, 0xffff_ffff, 0, 3, 3];
    for number in numbers {
        adapter.command(&bytes(&[message::KEEPALIVE, 12, number]))?.done("a message")?;
    }
    for number in numbers {
        let complete = message::KEEPALIVE | message::COMPLETE;
        assert_eq!(words(&adapter.response()?), [complete, 16, number, SUCCESS], "an answer");
    }
    assert_eq!(adapter.response()?, [0], "an answer where there is none");
    Ok(())
}

/// Would catch an answer that was not asked for: one byte of zero says that there is none (MS-RNDIS,
/// mapping to USB, "Control Channel Characteristics").
fn no_answer(net: &UsbNet, _: &Rc<Vm>) -> Result<()> {
    let adapter = net.rndis()?;
    assert_eq!(adapter.response()?, [0], "before the first message");
    adapter.initialize()?;
    assert_eq!(adapter.response()?, [0], "after the first answer");
    adapter.command(&bytes(&[message::HALT, 12, 9]))?.done("a halt")?;
    assert_eq!(adapter.response()?, [0], "after a halt, which has no answer");
    Ok(())
}

/// Would catch an answer of which the host is not told, and a notification without an answer: two words,
/// 1 and 0 (MS-RNDIS, mapping to USB, RESPONSE_AVAILABLE).
fn notification(net: &UsbNet, _: &Rc<Vm>) -> Result<()> {
    let adapter = net.rndis()?;
    let hcd = adapter.usb.hcd;
    for round in 0..3 {
        let listening = adapter.listen(adapter.interrupt)?;
        milliseconds(hcd, 100)?;
        assert_eq!(listening.look()?, None, "a notification of nothing, round {round}");
        adapter
            .command(&bytes(&[message::INITIALIZE, 24, round, 1, 0, 0x4000]))?
            .done("a message")?;
        let told = listening.wait("the notification of an answer")?;
        assert_eq!(told, bytes(&[1, 0]), "the notification, round {round}");
        assert_eq!(words(&adapter.response()?)[2], round, "the number of the answer");
    }
    Ok(())
}

/// Would catch a reset that leaves answers, or part of a message (MS-RNDIS, 2.2.15).
fn reset(net: &UsbNet, _: &Rc<Vm>) -> Result<()> {
    let adapter = net.initialized()?;
    adapter.command(&bytes(&[message::KEEPALIVE, 12, 5]))?.done("a message")?;
    let whole = packet(&out(200, 1));
    adapter.transfer(&whole[..128])?;
    adapter.command(&bytes(&[message::RESET, 12, 0]))?.done("a reset")?;
    let complete = message::RESET | message::COMPLETE;
    assert_eq!(words(&adapter.response()?), [complete, 16, SUCCESS, 1], "the answer to a reset");
    assert_eq!(adapter.response()?, [0], "the answers before the reset");
    // The filter is set again, as the answer asks for.
    adapter.set_filter(PLAIN)?;
    adapter.transfer(&packet(&out(100, 2)))?;
    assert_frame(&adapter.wire.receive("after the reset")?, &out(100, 2), "after the reset");
    adapter.wire.assert_silent("of the part before the reset")
}

/// Would catch a message that is too short, or points behind its end, by which the adapter fails or tells
/// what is in memory there.
fn wrong_messages(net: &UsbNet, _: &Rc<Vm>) -> Result<()> {
    let adapter = net.initialized()?;
    let usb = &adapter.usb;
    for kind in [0, 1, 7, 9, 0x100, message::INITIALIZE | message::COMPLETE, u32::MAX] {
        let told = adapter.command(&bytes(&[kind, 12, 1]))?;
        assert_eq!(told.status, Status::Stall, "a message of type {kind:#x}");
        usb.hcd.clear_halt(&usb.device, &usb.device.control())?;
    }
    for (length, offset) in [(1, 20), (0xffff_ffff, 20), (4, 0xffff_fff0), (4, 1000), (1000, 20)] {
        for (kind, oid) in [(message::QUERY, oid::XMIT_OK), (message::SET, oid::PACKET_FILTER)] {
            let _ = adapter.command(&bytes(&[kind, 28, 1, oid, length, offset, 0]))?;
            usb.hcd.clear_halt(&usb.device, &usb.device.control())?;
        }
    }
    for length in [0, 1, 3, 7, 8, 11, 12, 27] {
        for kind in 2..9u8 {
            let short = [&[kind, 0, 0, 0][..], &[0; 24]].concat();
            let _ = adapter.command(&short[..length])?;
            usb.hcd.clear_halt(&usb.device, &usb.device.control())?;
        }
    }
    adapter.command(&bytes(&[message::RESET, 12, 0]))?.done("a reset")?;
    assert_eq!(words(&adapter.response()?)[2], SUCCESS, "the answer to a reset");
    adapter.initialize()?;
    assert_eq!(adapter.query(oid::CURRENT_ADDRESS)?.1, ADDRESS, "the address after that");
    Ok(())
}

/// Would catch a message that is refused and leaves an answer besides, by which the host takes every
/// later answer for that to another message (MS-RNDIS, 2.2.13).
fn refused_set(net: &UsbNet, _: &Rc<Vm>) -> Result<()> {
    let adapter = net.initialized()?;
    let wrong = bytes(&[message::SET, 32, 1, oid::PACKET_FILTER, 4, 1000, 0, 0]);
    let told = adapter.command(&wrong)?;
    if told.status == Status::Done {
        let answer = words(&adapter.response()?);
        assert_eq!(answer[..3], [message::SET | message::COMPLETE, 16, 1], "the answer");
        assert_ne!(answer[3], SUCCESS, "the status of data outside of the message");
    } else {
        adapter.usb.hcd.clear_halt(&adapter.usb.device, &adapter.usb.device.control())?;
    }
    assert_eq!(adapter.response()?, [0], "an answer to a message that was refused");
    assert_eq!(adapter.word(oid::PACKET_FILTER)?, PLAIN, "the filter");
    Ok(())
}
