//! A network adapter of USB in both of its configurations: Remote NDIS with its messages (`control`) and
//! packets (`packets`), and the Ethernet model of CDC (`ecm`). Here is what both have.

mod control;
mod ecm;
mod packets;

use std::rc::Rc;

use crate::drivers::usb::net::{
    ADDRESS, ECM, PACKET_HEAD, RNDIS, UsbNet, bytes, message, oid, request,
};
use crate::qemu::Vm;
use crate::qos::net::{LONGEST, PEER, SHORTEST, frame};
use crate::qos::usb::Status;
use crate::qos::usb::device::{control as transfer, descriptor, request as standard, setup};
use crate::{Result, tests};

tests!(UsbNet, "usb-net-tests":
    descriptors,
    address_text = "address-text",
    configurations,
    bus_reset = "bus-reset",
);

/// Lengths of frames around those at which a message or a frame fills its last packet of 64 bytes.
fn lengths() -> impl Iterator<Item = usize> {
    let near = |length: usize| length - 1..=length + 1;
    let full = |multiple: usize| near(multiple).chain(near(multiple - PACKET_HEAD));
    full(128).chain(full(192)).chain(full(1024)).chain([SHORTEST, LONGEST])
}

fn out(length: usize, number: u8) -> Vec<u8> {
    frame(PEER, ADDRESS, length, number)
}

fn into(length: usize, number: u8) -> Vec<u8> {
    frame(ADDRESS, PEER, length, number)
}

/// Would catch a descriptor of either configuration that is missing, or has another length, class,
/// interface or endpoint than the adapter (CDC, 5.2; ECM120, 5.4).
fn descriptors(net: &UsbNet, _: &Rc<Vm>) -> Result<()> {
    let usb = net.function.connect()?;
    let device = usb.descriptor(descriptor::DEVICE, 0, 0, 18)?;
    assert_eq!(device[..8], [18, 1, 0, 2, 2, 0, 0, 64], "class, and the default endpoint");
    assert_eq!(device[17], 2, "the number of configurations");
    let of = |index| -> Result<Vec<Vec<u8>>> {
        let all = usb.configuration_at(index)?;
        let (mut rest, mut parts) = (&all[..], Vec::new());
        while let [length, ..] = *rest {
            let (part, after) = rest.split_at(length.into());
            let mut part = part.to_vec();
            // Indices of texts, of which every one is told.
            let texts = match part[1] {
                descriptor::CONFIGURATION => Some(6),
                descriptor::INTERFACE => Some(8),
                _ => None,
            };
            if let Some(at) = texts {
                assert!(part[at] == 0 || !usb.text(part[at])?.is_empty(), "text {}", part[at]);
                part[at] = 0;
            }
            parts.push(part);
            rest = after;
        }
        Ok(parts)
    };
    let rndis: [&[u8]; 10] = [
        &[9, 2, 67, 0, 2, 2, 0, 0xc0, 0x32],
        &[9, 4, 0, 0, 1, 2, 2, 0xff, 0],
        &[5, 0x24, 0, 0x10, 1],
        &[5, 0x24, 1, 0, 1],
        &[4, 0x24, 2, 0],
        &[5, 0x24, 6, 0, 1],
        &[7, 5, 0x81, 3, 16, 0, 32],
        &[9, 4, 1, 0, 2, 10, 0, 0, 0],
        &[7, 5, 0x82, 2, 64, 0, 0],
        &[7, 5, 0x02, 2, 64, 0, 0],
    ];
    assert_eq!(of(RNDIS)?, rndis, "Remote NDIS");
    let mut ecm = of(ECM)?;
    // The text that is the address has a case of its own.
    assert_ne!(std::mem::take(&mut ecm[4][3]), 0, "the text of the address");
    let [low, high] = (LONGEST as u16).to_le_bytes();
    let expected: [&[u8]; 10] = [
        &[9, 2, 80, 0, 2, 1, 0, 0xc0, 0x32],
        &[9, 4, 0, 0, 1, 2, 6, 0, 0],
        &[5, 0x24, 0, 0x10, 1],
        &[5, 0x24, 6, 0, 1],
        &[13, 0x24, 15, 0, 0, 0, 0, 0, low, high, 0, 0, 0],
        &[7, 5, 0x81, 3, 16, 0, 32],
        &[9, 4, 1, 0, 0, 10, 0, 0, 0],
        &[9, 4, 1, 1, 2, 10, 0, 0, 0],
        &[7, 5, 0x82, 2, 64, 0, 0],
        &[7, 5, 0x02, 2, 64, 0, 0],
    ];
    assert_eq!(ecm, expected, "Ethernet of CDC");
    Ok(())
}

/// Would catch an address that is told as another than the adapter's, or in letters that are none of
/// those that a host looks for: 0 to 9 and A to F (ECM120, table 3, iMACAddress).
fn address_text(net: &UsbNet, _: &Rc<Vm>) -> Result<()> {
    let usb = net.function.connect()?;
    let all = usb.configuration_at(ECM)?;
    let at = all.windows(3).position(|it| it == [13, 0x24, 15]).expect("a descriptor of Ethernet");
    let text = usb.text(all[at + 3])?;
    assert_eq!(text.to_uppercase(), hex::encode_upper(ADDRESS), "the address");
    assert_eq!(text, hex::encode_upper(ADDRESS), "the letters of the address");
    Ok(())
}

/// Would catch a configuration that is not told as it was set, and a message of Remote NDIS that is taken
/// in the configuration of CDC (USB 2.0, 9.4.2).
fn configurations(net: &UsbNet, vm: &Rc<Vm>) -> Result<()> {
    let usb = net.function.connect()?;
    let asked = setup(0x80, standard::GET_CONFIGURATION, 0, 0, 1);
    for (index, value) in [(RNDIS, 2), (ECM, 1), (RNDIS, 2)] {
        usb.configure_at(index)?;
        assert_eq!(usb.get(asked, "the configuration")?, [value], "the configuration");
    }
    usb.configure_at(ECM)?;
    let memory = vm.ram().alloc(24, 16)?;
    memory.write(0, &bytes(&[message::INITIALIZE, 24, 1, 1, 0, 0x4000]))?;
    let sent = setup(0x21, request::SEND_COMMAND, 0, 0, 24);
    let hcd = usb.hcd;
    let told = transfer(hcd, &usb.device, sent, Some(&memory), "it")?;
    assert_eq!(told.status, Status::Stall, "a message of Remote NDIS to CDC");
    hcd.clear_halt(&usb.device, &usb.device.control())
}

/// Would catch a reset of the bus by which the adapter does not become as it was at first: not
/// initialized, without a filter and without answers (USB 2.0, 9.1.1.3).
fn bus_reset(net: &UsbNet, _: &Rc<Vm>) -> Result<()> {
    let adapter = net.initialized()?;
    adapter.command(&bytes(&[message::KEEPALIVE, 12, 1]))?.done("a message")?;
    let adapter = net.configured()?;
    let answer = adapter.response()?;
    let mut last = answer.clone();
    while last != [0] {
        last = adapter.response()?;
    }
    adapter.initialize()?;
    let filter = adapter.word(oid::PACKET_FILTER)?;
    assert_eq!((&answer[..], filter), (&[0][..], 0), "an answer, and the filter");
    Ok(())
}
