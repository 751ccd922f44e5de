//! The Ethernet model of CDC: settings, frames, the filter and the notification (ECM120).

use std::rc::Rc;

use super::{into, lengths, out};
use crate::drivers::usb::net::{Adapter, DATA, ECM, UsbNet, request};
use crate::qemu::Vm;
use crate::qos::net::assert_frame;
use crate::qos::usb::Status;
use crate::qos::usb::device::{request as standard, setup};
use crate::{Result, attacks, tests};

tests!(UsbNet, "usb-net-tests":
    ecm_settings = "ecm-settings",
    ecm_transmit = "ecm-transmit",
    ecm_receive = "ecm-receive",
    ecm_full_packets = "ecm-full-packets",
    ecm_filter = "ecm-filter",
    ecm_connection = "ecm-connection",
    ecm_interface = "ecm-interface",
);
attacks!(UsbNet, "usb-net-attacks": ecm_transmit = "ecm-transmit");

/// Would catch a setting of the interface with the frames that is not kept (ECM120, 3.3).
fn ecm_settings(net: &UsbNet, vm: &Rc<Vm>) -> Result<()> {
    let adapter = net.ecm()?;
    let usb = &adapter.usb;
    vm.set_up_ends()?;
    let now = || usb.get(setup(0x81, standard::GET_INTERFACE, 0, DATA.into(), 1), "a setting");
    assert_eq!(now()?, [1], "the setting in which it moves frames");
    for setting in [0, 1, 0, 1] {
        usb.set_interface_at(ECM, DATA, setting)?;
        assert_eq!(now()?, [setting], "the setting");
    }
    let told = usb.tell(1, standard::SET_INTERFACE, 2, DATA.into())?;
    assert_eq!(told.status, Status::Stall, "a setting that there is not");
    usb.hcd.clear_halt(&usb.device, &usb.device.control())?;
    usb.configure_at(ECM)?;
    assert_eq!(now()?, [0], "the setting after a configuration");
    Ok(())
}

/// Would catch a frame that is cut where a packet is full, or that is not ended by one that is not
/// (ECM120, 3.3.1).
fn ecm_transmit(net: &UsbNet, vm: &Rc<Vm>) -> Result<()> {
    let adapter = net.ecm()?;
    vm.set_up_ends()?;
    for (number, length) in lengths().enumerate() {
        let sent = out(length, number as u8);
        adapter.send_frame(&sent)?;
        let what = format!("a frame of {length} bytes");
        assert_frame(&adapter.wire.receive(&what)?, &sent, &what);
    }
    // In transfers that end with full packets, of which none ends the frame.
    let sent = out(500, 0xfe);
    for part in sent.chunks(128) {
        adapter.wire.assert_silent("before the last piece")?;
        adapter.transfer(part)?;
    }
    assert_frame(&adapter.wire.receive("a frame in pieces")?, &sent, "a frame in pieces");
    adapter.wire.assert_silent("at the end")
}

/// Would catch a frame that is lost or cut on its way in (ECM120, 3.3.1).
fn ecm_receive(net: &UsbNet, vm: &Rc<Vm>) -> Result<()> {
    let adapter = net.ecm()?;
    vm.set_up_ends()?;
    let is_short = |length: &usize| !length.is_multiple_of(adapter.input.packet);
    for (number, length) in lengths().filter(is_short).enumerate() {
        let sent = into(length, number as u8);
        adapter.wire.send(&sent)?;
        let what = format!("a frame of {length} bytes");
        assert_frame(&adapter.receive_frame()?, &sent, &what);
    }
    let frames: Vec<_> = (0..5).map(|number| into(70 + 64 * usize::from(number), number)).collect();
    adapter.wire.send_together(&frames)?;
    for (number, sent) in frames.iter().enumerate() {
        assert_frame(&adapter.receive_frame()?, sent, &format!("frame {number}"));
    }
    Ok(())
}

/// Would catch a frame of full packets whose end is not told by an empty one, or that is told as two
/// frames (ECM120, 3.3.1).
fn ecm_full_packets(net: &UsbNet, _: &Rc<Vm>) -> Result<()> {
    let adapter = net.ecm()?;
    let frames: Vec<_> = (0..5).map(|number| into(64 + 64 * usize::from(number), number)).collect();
    adapter.wire.send_together(&frames)?;
    for (number, sent) in frames.iter().enumerate() {
        assert_frame(&adapter.receive_frame()?, sent, &format!("frame {number}"));
    }
    Ok(())
}

/// Would catch a filter that is refused, which every adapter has (ECM120, 6.2.4).
fn ecm_filter(net: &UsbNet, _: &Rc<Vm>) -> Result<()> {
    let adapter = net.ecm()?;
    for filter in [0x0c, 0x04, 0x0f, 0x0e] {
        adapter.usb.set(0x21, request::SET_FILTER, filter, 0)?;
    }
    let sent = into(100, 1);
    adapter.wire.send(&sent)?;
    assert_frame(&adapter.receive_frame()?, &sent, "a frame to the adapter");
    Ok(())
}

/// The next notification that comes.
fn notified(adapter: &Adapter) -> Result<Vec<u8>> {
    adapter.listen(adapter.interrupt)?.wait("the notification of a connection")
}

/// Would catch a cable of which the host is not told: NETWORK_CONNECTION (ECM120, 6.3.1).
fn ecm_connection(net: &UsbNet, _: &Rc<Vm>) -> Result<()> {
    let adapter = net.ecm()?;
    let told = notified(&adapter)?;
    assert_eq!(told.len(), 8, "the length of a notification: {told:02x?}");
    assert_eq!((&told[..4], &told[6..]), (&[0xa1, 0, 1, 0][..], &[0, 0][..]), "connected");
    Ok(())
}

/// Would catch a notification of another interface than that of control (CDC, 6.3).
fn ecm_interface(net: &UsbNet, _: &Rc<Vm>) -> Result<()> {
    let adapter = net.ecm()?;
    assert_eq!(notified(&adapter)?[4..6], [0, 0], "the interface of the notification");
    Ok(())
}
