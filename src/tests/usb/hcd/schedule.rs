//! Frames, stop and go, interrupts of transfers that end, and many transfers at a time.

use std::rc::Rc;
use std::time::Duration;

use super::{ended, frames, with_device};
use crate::qemu::Vm;
use crate::qos::pci::intx;
use crate::qos::usb::device::{descriptor, request, setup, wait};
use crate::qos::usb::models::{KEYBOARD, TABLET, plug};
use crate::qos::usb::{Completion, Request, Status, UsbHcd};
use crate::{Error, Result, tests};

tests!(dyn UsbHcd, "usb-hcd-tests":
    frame_number = "frame-number",
    stop,
    interrupts,
    interrupt_line = "interrupt-line",
    side_by_side = "side-by-side",
    many,
);

/// Would catch a number of frames that stands still, runs backwards, jumps, or goes on while the
/// controller is stopped.
fn frame_number(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    hcd.reaches_ram()?;
    hcd.start()?;
    let (modulus, lag) = (hcd.profile().frames, hcd.profile().lag);
    let step = 10 * lag;
    let first = hcd.frame()?;
    for round in 1..=40 {
        frames(hcd, step as usize)?;
        // A millisecond a frame (USB 2.0, 7.1.12).
        let passed = (hcd.frame()? + modulus - first) % modulus;
        let late = (step * round % modulus + modulus - passed) % modulus;
        assert!(late <= lag + 1, "{passed} frames in {} ms, round {round}", step * round);
    }
    hcd.set_running(false)?;
    let stopped = hcd.frame()?;
    vm.qtest().clock_step(Some(Duration::from_millis(50)))?;
    if hcd.profile().stops_frames {
        assert_eq!(hcd.frame()?, stopped, "the frame while the controller is stopped");
    }
    Ok(())
}

/// Would catch a controller that goes on after it was stopped, or does not after it was started
/// again.
fn stop(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    let plugged = with_device(hcd, 0, TABLET)?;
    let usb = plugged.connect(hcd, 2)?;
    let data = vm.ram().alloc(18, 16)?;
    for round in 0..3 {
        assert!(!hcd.is_halted()?, "running, round {round}");
        hcd.set_running(false)?;
        assert!(hcd.is_halted()?, "stopped, round {round}");
        data.write(0, &[0; 18])?;
        let request = Request {
            device: &usb.device,
            endpoint: usb.device.control(),
            setup: Some(setup(0x80, request::GET_DESCRIPTOR, 0x0100, 0, 18)),
            address: data.address().0,
            length: 18,
            stream: 0,
        };
        let ticket = hcd.submit(&request)?;
        vm.qtest().clock_step(Some(Duration::from_millis(50)))?;
        assert_eq!(data.to_vec()?, [0; 18], "data while the controller is stopped");
        assert_eq!(hcd.completion(ticket)?, None, "a transfer while it is stopped");
        hcd.set_running(true)?;
        let completion = ended(hcd, ticket, "the transfer after the controller was stopped")?;
        assert_eq!(completion, Completion { status: Status::Done, moved: 18 }, "round {round}");
        let expected = TABLET.device_descriptor(usb.device.speed);
        assert_eq!(data.to_vec()?, expected, "the descriptor, round {round}");
    }
    super::gone(hcd, vm, plugged)
}

/// Would catch a transfer whose end is not reported, one that is reported before, and a report that
/// cannot be taken back.
fn interrupts(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    let plugged = with_device(hcd, 0, TABLET)?;
    let usb = plugged.connect(hcd, 2)?;
    let endpoint = usb.configure()?[0];
    let data = vm.ram().alloc(8, 16)?;
    // What was done before may be told in two parts.
    for _ in 0..2 {
        frames(hcd, 2)?;
        hcd.acknowledge()?;
    }
    for round in 0..3 {
        assert!(!hcd.interrupts()?, "before a transfer, round {round}");
        let ticket = hcd.submit(&usb.request(endpoint, &data, (0, 8)))?;
        frames(hcd, 12)?;
        assert!(!hcd.interrupts()?, "a transfer without a report, round {round}");
        let events = serde_json::json!({ "events": [
            { "type": "abs", "data": { "axis": "x", "value": 7 + round } },
        ]});
        vm.qmp().execute("input-send-event", events)?;
        let _ = ended(hcd, ticket, "a report")?;
        frames(hcd, 2)?;
        assert!(hcd.interrupts()?, "the end of a transfer, round {round}");
        hcd.acknowledge()?;
        assert!(!hcd.interrupts()?, "the end of a transfer, acknowledged, round {round}");
        // One that is refused is told as well.
        let (refused, _) = usb.ask(setup(0xc0, 0x77, 0, 0, 8), "a request that is unknown")?;
        assert_eq!(refused.status, Status::Stall, "a request that is unknown");
        frames(hcd, 2)?;
        assert!(hcd.interrupts()? || hcd.reports_errors()?, "a refusal, round {round}");
        hcd.acknowledge()?;
        assert!(!hcd.interrupts()? && !hcd.reports_errors()?, "acknowledged, round {round}");
        hcd.clear_halt(&usb.device, &usb.device.control())?;
        for _ in 0..2 {
            frames(hcd, 2)?;
            hcd.acknowledge()?;
        }
    }
    super::gone(hcd, vm, plugged)
}

/// Would catch an interrupt that does not reach the machine's interrupt controller, comes although
/// it is not enabled, or stays.
fn interrupt_line(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    let plugged = with_device(hcd, 0, TABLET)?;
    let usb = plugged.connect(hcd, 2)?;
    let transfer = || -> Result<()> {
        usb.descriptor(descriptor::DEVICE, 0, 0, 18)?;
        frames(hcd, 2)
    };
    if let Some(function) = hcd.function() {
        hcd.acknowledge()?;
        hcd.enable_interrupts(false)?;
        transfer()?;
        assert!(!function.asserts_interrupt()?, "an interrupt that is not enabled");
        hcd.acknowledge()?;
        hcd.enable_interrupts(true)?;
        intx::check(function, vm, transfer, || hcd.acknowledge())?;
    } else {
        let Some(line) = hcd.line()? else {
            return Err(Error::skipped("QEMU cannot watch its interrupt line"));
        };
        hcd.acknowledge()?;
        hcd.enable_interrupts(false)?;
        transfer()?;
        assert!(!line.is_high()?, "an interrupt that is not enabled");
        hcd.acknowledge()?;
        hcd.enable_interrupts(true)?;
        for round in 0..2 {
            assert!(!line.is_high()?, "at first, round {round}");
            transfer()?;
            assert!(line.is_high()?, "the end of a transfer, round {round}");
            hcd.acknowledge()?;
            assert!(!line.is_high()?, "acknowledged, round {round}");
        }
        crate::qos::reset(vm)?;
    }
    hcd.again()?;
    super::gone(hcd, vm, plugged)
}

/// Would catch transfers of two devices at a time that get each other's data, or of which one keeps
/// the other waiting.
fn side_by_side(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    let tablet = with_device(hcd, 0, TABLET)?;
    let keyboard = plug(hcd, 1, KEYBOARD)?;
    let (first, second) = (tablet.connect(hcd, 20)?, keyboard.connect(hcd, 21)?);
    let (to_first, to_second) = (first.configure()?[0], second.configure()?[0]);
    let data = [vm.ram().alloc(8, 16)?, vm.ram().alloc(8, 16)?];
    for round in 0..4u8 {
        let tickets = [
            hcd.submit(&first.request(to_first, &data[0], (0, 8)))?,
            hcd.submit(&second.request(to_second, &data[1], (0, 8)))?,
        ];
        frames(hcd, 3)?;
        let down = round % 2 == 0;
        let key = serde_json::json!({ "type": "qcode", "data": "q" });
        let events = serde_json::json!({ "events": [
            { "type": "key", "data": { "key": key, "down": down } },
        ]});
        vm.qmp().execute("input-send-event", events)?;
        assert_eq!(ended(hcd, tickets[1], "a report of a key")?.done("a key")?, 8);
        let expected = [0, 0, if down { 0x14 } else { 0 }, 0, 0, 0, 0, 0];
        assert_eq!(data[1].to_vec()?, expected, "the keyboard, round {round}");
        assert_eq!(hcd.completion(tickets[0])?, None, "the tablet, round {round}");
        let events = serde_json::json!({ "events": [
            { "type": "abs", "data": { "axis": "y", "value": 0x40 + u16::from(round) } },
        ]});
        vm.qmp().execute("input-send-event", events)?;
        assert_eq!(ended(hcd, tickets[0], "a report of a place")?.done("a place")?, 6);
        assert_eq!(data[0].read_le16(3)?, 0x40 + u16::from(round), "the tablet, round {round}");
    }
    super::gone(hcd, vm, tablet)?;
    super::gone(hcd, vm, keyboard)
}

/// Would catch a schedule that ends after so many transfers, as where a ring is not followed to its
/// first entry again.
fn many(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    let plugged = with_device(hcd, 0, TABLET)?;
    let usb = plugged.connect(hcd, 2)?;
    let whole = TABLET.device_descriptor(usb.device.speed);
    let data = vm.ram().alloc(18, 16)?;
    for round in 0..300u32 {
        data.write(0, &[0; 18])?;
        let request = Request {
            device: &usb.device,
            endpoint: usb.device.control(),
            setup: Some(setup(0x80, request::GET_DESCRIPTOR, 0x0100, 0, 18)),
            address: data.address().0,
            length: 18,
            stream: 0,
        };
        let what = "one of many transfers";
        assert_eq!(wait(hcd, &request, what)?.done(what)?, 18, "transfer {round}");
        assert_eq!(data.to_vec()?, whole, "the data of transfer {round}");
    }
    super::gone(hcd, vm, plugged)
}
