//! Interrupt transfers: what a user does comes as reports of a tablet, a mouse and a keyboard
//! (USB 2.0, 5.7; HID 1.11, 8 and appendix B).

use std::rc::Rc;

use serde_json::{Value, json};

use super::{ended, frames, with_device};
use crate::qemu::Vm;
use crate::qos::usb::device::UsbDevice;
use crate::qos::usb::models::{KEYBOARD, MOUSE, TABLET};
use crate::qos::usb::{Completion, Endpoint, Status, UsbHcd};
use crate::{Result, attacks, tests};

tests!(dyn UsbHcd, "usb-hcd-tests":
    tablet,
    mouse,
    keyboard,
    nak,
    cancel,
    unplug_in_transfer = "unplug-in-transfer",
    wrong_endpoint = "wrong-endpoint",
);
attacks!(dyn UsbHcd, "usb-hcd-attacks": tablet, cancel, unplug_in_transfer = "unplug-in-transfer");

/// What a user does.
fn input(vm: &Vm, events: &[Value]) -> Result<()> {
    vm.qmp().execute("input-send-event", json!({ "events": events }))?;
    Ok(())
}

fn abs(axis: &str, value: i32) -> Value {
    json!({ "type": "abs", "data": { "axis": axis, "value": value } })
}

fn rel(axis: &str, value: i32) -> Value {
    json!({ "type": "rel", "data": { "axis": axis, "value": value } })
}

fn button(button: &str, down: bool) -> Value {
    json!({ "type": "btn", "data": { "button": button, "down": down } })
}

fn key(code: &str, down: bool) -> Value {
    let key = json!({ "type": "qcode", "data": code });
    json!({ "type": "key", "data": { "key": key, "down": down } })
}

/// The next report, `do_first` being done while the device is asked for it.
fn report(
    usb: &UsbDevice,
    endpoint: Endpoint,
    do_first: impl FnOnce() -> Result<()>,
) -> Result<Vec<u8>> {
    let data = usb.hcd.vm().ram().alloc(endpoint.packet, 16)?;
    let ticket = usb.hcd.submit(&usb.request(endpoint, &data, (0, endpoint.packet)))?;
    // Within these it is asked for the first time.
    frames(usb.hcd, 12)?;
    do_first()?;
    let moved = ended(usb.hcd, ticket, "a report")?.done("a report")?;
    let mut bytes = data.to_vec()?;
    bytes.truncate(moved);
    Ok(bytes)
}

/// Would catch coordinates, buttons or turns of the wheel that are lost, mixed up or out of order.
fn tablet(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    let plugged = with_device(hcd, 0, TABLET)?;
    let usb = plugged.connect(hcd, 2)?;
    let endpoint = usb.configure()?[0];
    let at = |x: i32, y: i32| [abs("x", x), abs("y", y)];
    for (x, y) in [(0x1234, 0x4567), (0x7fff, 0), (0, 0x7fff), (1, 0x100)] {
        let found = report(&usb, endpoint, || input(vm, &at(x, y)))?;
        let ([x0, x1], [y0, y1]) = ((x as u16).to_le_bytes(), (y as u16).to_le_bytes());
        assert_eq!(found, [0, x0, x1, y0, y1, 0], "at {x:#x}, {y:#x}");
    }
    // The place stays at (1, 0x100).
    for (number, name) in [(0, "left"), (1, "right"), (2, "middle")] {
        let down = report(&usb, endpoint, || input(vm, &[button(name, true)]))?;
        assert_eq!(down, [1 << number, 1, 0, 0, 1, 0], "{name}, pressed");
        let up = report(&usb, endpoint, || input(vm, &[button(name, false)]))?;
        assert_eq!(up, [0, 1, 0, 0, 1, 0], "{name}, released");
    }
    // Turning away from the user is positive.
    for (name, turn) in [("wheel-up", 1u8), ("wheel-down", 0xff)] {
        let found = report(&usb, endpoint, || input(vm, &[button(name, true)]))?;
        assert_eq!(found, [0, 1, 0, 0, 1, turn], "{name}");
    }
    // What happens while nobody asks comes afterwards, in order.
    for step in 0..4 {
        input(vm, &[abs("x", 0x10 + step), button("left", step % 2 == 0)])?;
    }
    for step in 0..4u8 {
        let found = report(&usb, endpoint, || Ok(()))?;
        assert_eq!(found, [1 - step % 2, 0x10 + step, 0, 0, 1, 0], "queued event {step}");
    }
    super::gone(hcd, vm, plugged)
}

/// Would catch movements that are lost or turned round, and large ones that are cut off.
fn mouse(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    let plugged = with_device(hcd, 1, MOUSE)?;
    let usb = plugged.connect(hcd, 2)?;
    let endpoint = usb.configure()?[0];
    assert_eq!(endpoint.packet, 4, "the size of its reports");
    for (x, y) in [(3, 5), (-1, 127), (-127, -2), (0, 1)] {
        let found = report(&usb, endpoint, || input(vm, &[rel("x", x), rel("y", y)]))?;
        assert_eq!(found, [0, x as u8, y as u8, 0], "moved by {x}, {y}");
    }
    // 300 are two times 127 and 46.
    let first = report(&usb, endpoint, || input(vm, &[rel("x", 300)]))?;
    let rest = [report(&usb, endpoint, || Ok(()))?, report(&usb, endpoint, || Ok(()))?];
    assert_eq!([first, rest[0].clone(), rest[1].clone()].map(|it| it[1]), [127, 127, 46]);
    let found = report(&usb, endpoint, || input(vm, &[button("right", true)]))?;
    assert_eq!(found, [2, 0, 0, 0], "the right button, pressed");
    let found = report(&usb, endpoint, || input(vm, &[button("right", false)]))?;
    assert_eq!(found, [0, 0, 0, 0], "the right button, released");
    super::gone(hcd, vm, plugged)
}

/// Would catch keys that are lost, taken for others, or stay pressed.
fn keyboard(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    let plugged = with_device(hcd, 0, KEYBOARD)?;
    let usb = plugged.connect(hcd, 99)?;
    let endpoint = usb.configure()?[0];
    // The usages are those of the HID Usage Tables 1.12, chapter 10.
    for (code, usage) in [("a", 4u8), ("z", 0x1d), ("1", 0x1e), ("ret", 0x28), ("f12", 0x45)] {
        let down = report(&usb, endpoint, || input(vm, &[key(code, true)]))?;
        assert_eq!(down, [0, 0, usage, 0, 0, 0, 0, 0], "{code}, pressed");
        let up = report(&usb, endpoint, || input(vm, &[key(code, false)]))?;
        assert_eq!(up, [0; 8], "{code}, released");
    }
    for (bit, code) in ["ctrl", "shift", "alt", "meta_l", "ctrl_r", "shift_r", "alt_r", "meta_r"]
        .into_iter()
        .enumerate()
    {
        let down = report(&usb, endpoint, || input(vm, &[key(code, true)]))?;
        // Keys that QEMU has two scan codes for make a report without news first.
        let is_extended = down == [0; 8];
        let down = if is_extended { report(&usb, endpoint, || Ok(()))? } else { down };
        assert_eq!(down, [1 << bit, 0, 0, 0, 0, 0, 0, 0], "{code}, pressed");
        let up = report(&usb, endpoint, || input(vm, &[key(code, false)]))?;
        let up = if is_extended { report(&usb, endpoint, || Ok(()))? } else { up };
        assert_eq!(up, [0; 8], "{code}, released");
    }
    report(&usb, endpoint, || input(vm, &[key("a", true)]))?;
    let both = report(&usb, endpoint, || input(vm, &[key("b", true)]))?;
    assert_eq!(both, [0, 0, 4, 5, 0, 0, 0, 0], "two keys");
    let one = report(&usb, endpoint, || input(vm, &[key("a", false)]))?;
    assert_eq!(one, [0, 0, 5, 0, 0, 0, 0, 0], "the second of two keys");
    super::gone(hcd, vm, plugged)
}

/// Would catch a transfer that ends without a report, one that holds others up, and one that the
/// controller does not try again (USB 2.0, 8.5.2).
fn nak(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    let plugged = with_device(hcd, 0, TABLET)?;
    let usb = plugged.connect(hcd, 2)?;
    let endpoint = usb.configure()?[0];
    let data = vm.ram().alloc(8, 16)?;
    data.write(0, &[0xa5; 8])?;
    let ticket = hcd.submit(&usb.request(endpoint, &data, (0, 8)))?;
    for round in 0..8 {
        frames(hcd, 12)?;
        assert_eq!(hcd.completion(ticket)?, None, "nothing to report, round {round}");
        assert_eq!(usb.text(1)?, "QEMU", "a text in between, round {round}");
    }
    assert_eq!(data.to_vec()?, [0xa5; 8], "memory for a report, before there is one");
    input(vm, &[abs("x", 0x123), abs("y", 0x456)])?;
    let completion = ended(hcd, ticket, "a report")?;
    assert_eq!(completion, Completion { status: Status::Done, moved: 6 }, "the report");
    assert_eq!(data.to_vec()?, [0, 0x23, 1, 0x56, 4, 0, 0xa5, 0xa5], "its data");
    super::gone(hcd, vm, plugged)
}

/// Would catch a transfer that goes on after it was taken back.
fn cancel(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    let plugged = with_device(hcd, 1, TABLET)?;
    let usb = plugged.connect(hcd, 2)?;
    let endpoint = usb.configure()?[0];
    for round in 0..3 {
        let data = vm.ram().alloc(8, 16)?;
        let ticket = hcd.submit(&usb.request(endpoint, &data, (0, 8)))?;
        frames(hcd, 12)?;
        assert_eq!(hcd.completion(ticket)?, None, "nothing to report, round {round}");
        hcd.cancel(ticket)?;
        input(vm, &[abs("x", 0x77 + round)])?;
        frames(hcd, 12)?;
        assert_eq!(data.to_vec()?, [0; 8], "memory of a transfer that was taken back");
        let found = report(&usb, endpoint, || Ok(()))?;
        assert_eq!(found[1], 0x77 + round as u8, "the report after that, round {round}");
    }
    super::gone(hcd, vm, plugged)
}

/// Would catch a transfer of a device that is gone which goes on, or takes QEMU with it; and a
/// controller that is of no use for the next device.
fn unplug_in_transfer(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    for round in 0..3u8 {
        let plugged = with_device(hcd, 0, TABLET)?;
        let usb = plugged.connect(hcd, 2 + round)?;
        let endpoint = usb.configure()?[0];
        let data = vm.ram().alloc(8, 16)?;
        let ticket = hcd.submit(&usb.request(endpoint, &data, (0, 8)))?;
        frames(hcd, 12)?;
        assert_eq!(hcd.completion(ticket)?, None, "nothing to report, round {round}");
        let port = plugged.port(hcd);
        plugged.unplug(vm)?;
        if hcd.profile().ends_transfers {
            let completion = ended(hcd, ticket, "the transfer of a device that is gone")?;
            let expected = Completion { status: Status::NoAnswer, moved: 0 };
            assert_eq!(completion, expected, "a device that is gone, round {round}");
        } else {
            frames(hcd, 12)?;
            hcd.cancel(ticket)?;
        }
        hcd.close(&usb.device)?;
        hcd.acknowledge_port(port)?;
        assert_eq!(data.to_vec()?, [0; 8], "memory for a report that nobody made");
    }
    Ok(())
}

/// Would catch an endpoint that a device does not have which answers.
fn wrong_endpoint(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    if !hcd.profile().addresses {
        let why = "the controller knows which endpoints a device has";
        return Err(crate::Error::skipped(why));
    }
    let plugged = with_device(hcd, 0, TABLET)?;
    let usb = plugged.connect(hcd, 2)?;
    let endpoint = usb.configure()?[0];
    let data = vm.ram().alloc(8, 16)?;
    for address in [0x82, 0x8f] {
        let other = Endpoint { address, ..endpoint };
        let what = format!("endpoint {address:#x}");
        let refused = usb.transfer(other, &data, (0, 8), &what)?;
        assert_eq!(refused.status, Status::Stall, "{what}");
    }
    let found = report(&usb, endpoint, || input(vm, &[abs("x", 5), abs("y", 6)]))?;
    assert_eq!(found, [0, 5, 0, 6, 0, 0], "a report of its own endpoint");
    super::gone(hcd, vm, plugged)
}
