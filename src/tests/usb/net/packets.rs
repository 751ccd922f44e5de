//! Remote NDIS: frames as messages of the bulk endpoints, and the filter (MS-RNDIS, 2.2.14).

use std::rc::Rc;

use super::{into, lengths, out};
use crate::drivers::usb::net::{Adapter, PLAIN, UsbNet, bytes, message, packet};
use crate::qemu::Vm;
use crate::qos::net::{BROADCAST, PEER, SHORTEST, assert_frame, frame};
use crate::tests::usb::hcd::frames as milliseconds;
use crate::{Result, attacks, tests};

tests!(UsbNet, "usb-net-tests":
    transmit,
    transmit_in_pieces = "transmit-in-pieces",
    transmit_wrong = "transmit-wrong",
    receive,
    receive_in_order = "receive-in-order",
    stopped,
    filter,
);
attacks!(UsbNet, "usb-net-attacks": transmit, receive);

/// Would catch a frame that is lost, cut, or has part of the message in it (MS-RNDIS, 2.2.14).
fn transmit(net: &UsbNet, vm: &Rc<Vm>) -> Result<()> {
    let adapter = net.initialized()?;
    vm.set_up_ends()?;
    for (number, length) in lengths().enumerate() {
        let sent = out(length, number as u8);
        adapter.transfer(&packet(&sent))?;
        let what = format!("a frame of {length} bytes");
        assert_frame(&adapter.wire.receive(&what)?, &sent, &what);
    }
    adapter.wire.assert_silent("at the end")
}

/// Would catch a message that is taken to end with a transfer: the length that it says is its end.
fn transmit_in_pieces(net: &UsbNet, _: &Rc<Vm>) -> Result<()> {
    let adapter = net.initialized()?;
    for (number, piece) in [64, 128, 192, 320].into_iter().enumerate() {
        let sent = out(700, number as u8);
        for part in packet(&sent).chunks(piece) {
            adapter.wire.assert_silent("before the last piece")?;
            adapter.transfer(part)?;
        }
        let what = format!("a frame in pieces of {piece} bytes");
        assert_frame(&adapter.wire.receive(&what)?, &sent, &what);
    }
    // Data that do not follow the head at once.
    let sent = out(100, 9);
    let mut message = bytes(&[1, 44 + 20 + 100, 36 + 20, 100, 0, 0, 0, 0, 0, 0, 0]);
    message.extend([[0x77; 20].as_slice(), &sent].concat());
    adapter.transfer(&message)?;
    assert_frame(&adapter.wire.receive("data with a gap")?, &sent, "data with a gap");
    adapter.wire.assert_silent("at the end")
}

/// Would catch a packet whose data are not within the message and that is sent.
fn transmit_wrong(net: &UsbNet, _: &Rc<Vm>) -> Result<()> {
    let adapter = net.initialized()?;
    for (offset, length) in [(36, 101), (36, 0xffff_ffff), (137, 0), (0x7fff_ffff, 100), (1000, 4)]
    {
        let mut message = bytes(&[1, 44 + 100, offset, length, 0, 0, 0, 0, 0, 0, 0]);
        message.extend(out(100, 1));
        adapter.transfer(&message)?;
    }
    // What is no packet.
    let mut message = packet(&out(100, 1));
    message[0] = 2;
    adapter.transfer(&message)?;
    let sent = out(100, 2);
    adapter.transfer(&packet(&sent))?;
    assert_frame(&adapter.wire.receive("the only whole frame")?, &sent, "the only whole frame");
    adapter.wire.assert_silent("at the end")
}

/// Would catch a frame that is lost, cut or changed on its way in, and a message around it that does not
/// fit it.
fn receive(net: &UsbNet, vm: &Rc<Vm>) -> Result<()> {
    let adapter = net.initialized()?;
    vm.set_up_ends()?;
    for (number, length) in lengths().enumerate() {
        let sent = into(length, number as u8);
        adapter.wire.send(&sent)?;
        let what = format!("a frame of {length} bytes");
        assert_frame(&adapter.receive_packet()?, &sent, &what);
    }
    Ok(())
}

/// Would catch frames that are lost or change places where several come before any is asked for.
fn receive_in_order(net: &UsbNet, _: &Rc<Vm>) -> Result<()> {
    let adapter = net.initialized()?;
    let frames: Vec<_> = (0..6).map(|number| into(90 + 70 * usize::from(number), number)).collect();
    adapter.wire.send_together(&frames)?;
    for (number, sent) in frames.iter().enumerate() {
        let what = format!("frame {number}");
        assert_frame(&adapter.receive_packet()?, sent, &what);
    }
    Ok(())
}

/// Whether a frame is received: the one behind it surely is.
fn passes(adapter: &Adapter, sent: &[u8]) -> Result<bool> {
    let last = into(SHORTEST, 0xff);
    adapter.wire.send_together(&[sent, &last])?;
    let first = adapter.receive_packet()?;
    if first == last {
        return Ok(false);
    }
    assert_frame(&first, sent, "the frame");
    assert_frame(&adapter.receive_packet()?, &last, "the frame behind");
    Ok(true)
}

/// Would catch frames that are received though the filter is zero, or before the adapter is initialized
/// or after it was halted (MS-RNDIS, 3.2.1.3: only in the state in which data are initialized).
fn stopped(net: &UsbNet, vm: &Rc<Vm>) -> Result<()> {
    let adapter = net.rndis()?;
    let lost = |when: &str| -> Result<()> {
        adapter.wire.send(&into(100, 1))?;
        let listening = adapter.listen(adapter.input)?;
        crate::qos::settle(vm)?;
        milliseconds(adapter.usb.hcd, 20)?;
        assert_eq!(listening.look()?, None, "{when}");
        listening.cancel()
    };
    lost("before it is initialized")?;
    adapter.initialize()?;
    lost("without a filter")?;
    adapter.set_filter(PLAIN)?;
    adapter.wire.send(&into(100, 2))?;
    assert_frame(&adapter.receive_packet()?, &into(100, 2), "with a filter");
    adapter.set_filter(0)?;
    lost("with a filter that is zero again")?;
    adapter.set_filter(PLAIN)?;
    adapter.command(&bytes(&[message::HALT, 12, 9]))?.done("a halt")?;
    lost("after a halt")?;
    adapter.initialize()?;
    adapter.set_filter(PLAIN)?;
    assert!(passes(&adapter, &into(100, 3))?, "after it was initialized again");
    Ok(())
}

/// Would catch frames of other stations, groups or of all that are received though the filter does not
/// let them in (NDIS, OID_GEN_CURRENT_PACKET_FILTER).
fn filter(net: &UsbNet, _: &Rc<Vm>) -> Result<()> {
    const DIRECTED: u32 = 1;
    let adapter = net.initialized()?;
    let foreign = frame([2, 9, 9, 9, 9, 9], PEER, 100, 1);
    let all = frame(BROADCAST, PEER, 100, 2);
    let group = frame([1, 0, 0x5e, 1, 2, 3], PEER, 100, 3);
    let mut wrong = Vec::new();
    for (filter, expected) in [
        (DIRECTED, [false, false, false]),
        (DIRECTED | 8, [false, true, false]),
        (DIRECTED | 4, [false, false, true]),
        (DIRECTED | 0x20, [true, true, true]),
    ] {
        adapter.set_filter(filter)?;
        let got = [passes(&adapter, &foreign)?, passes(&adapter, &all)?, passes(&adapter, &group)?];
        if got != expected {
            wrong.push(format!("filter {filter:#x}: {got:?} instead of {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "frames to another, to all, to a group: {wrong:?}");
    Ok(())
}
