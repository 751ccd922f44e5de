//! Control transfers: what devices say of themselves and take (USB 2.0, 9.4; HID 1.11, 7).

use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos::usb::device::{UsbDevice, control, descriptor, request, setup};
use crate::qos::usb::models::{ALL, HUB, KEYBOARD, MOUSE, Model, STORAGE, TABLET, plug};
use crate::qos::usb::{Device, Status, UsbHcd};
use crate::{Error, Result, attacks, tests};

tests!(dyn UsbHcd, "usb-hcd-tests":
    descriptors,
    short_answers = "short-answers",
    requests,
    unknown_configuration = "unknown-configuration",
    stall,
    unknown_text = "unknown-text",
    addresses,
    absent_device = "absent-device",
    hid_requests = "hid-requests",
);
attacks!(dyn UsbHcd, "usb-hcd-attacks": requests, unknown_text = "unknown-text");

/// Has `check` look at every model that runs on the controller.
fn each(
    hcd: &dyn UsbHcd,
    vm: &Rc<Vm>,
    models: &[Model],
    check: impl Fn(&UsbDevice, &Model) -> Result<()>,
) -> Result<()> {
    hcd.reaches_ram()?;
    hcd.start()?;
    let profile = hcd.profile();
    for (at, model) in models.iter().enumerate() {
        if profile.speed(model.speeds).is_some() {
            let plugged = plug(hcd, at % profile.ports, *model)?;
            let usb = plugged.connect(hcd, 1 + at as u8)?;
            check(&usb, model)?;
            hcd.close(&usb.device)?;
            super::gone(hcd, vm, plugged)?;
        }
    }
    Ok(())
}

/// Would catch a descriptor with a wrong byte, one of another type or device in its place, and a
/// text of another index.
fn descriptors(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    each(hcd, vm, &ALL, |usb, model| {
        let (what, speed) = (model.driver, usb.device.speed);
        let device = usb.descriptor(descriptor::DEVICE, 0, 0, 18)?;
        assert_eq!(device, model.device_descriptor(speed), "{what}: the device");
        assert_eq!(usb.configuration()?, model.configuration(speed), "{what}: the configuration");
        for (index, text) in model.texts() {
            assert_eq!(usb.text(index)?, text, "{what}: text {index}");
        }
        // The languages: American English alone.
        let languages = usb.descriptor(descriptor::STRING, 0, 0, 255)?;
        assert_eq!(languages, [4, 3, 9, 4], "{what}: the languages");
        Ok(())
    })
}

/// Would catch an answer that is longer than was asked for, or shorter than it could be; memory
/// behind it that is written; a control transfer that hangs after a short packet.
fn short_answers(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    each(hcd, vm, &ALL, |usb, model| {
        let what = model.driver;
        let device = model.device_descriptor(usb.device.speed);
        let all = model.configuration(usb.device.speed);
        for (kind, whole) in [(descriptor::DEVICE, device), (descriptor::CONFIGURATION, all)] {
            for length in [1, 7, 8, 9, 15, 16, 17, 18, 24, 32, 33, 34, 63, 64, 65, 200, 255] {
                let answer = usb.descriptor(kind, 0, 0, length)?;
                let expected = &whole[..whole.len().min(length.into())];
                assert_eq!(answer, expected, "{what}: descriptor {kind}, {length} bytes");
            }
        }
        Ok(())
    })
}

/// Would catch a standard request that is not done or does another's work.
fn requests(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    each(hcd, vm, &ALL, |usb, model| {
        let what = model.driver;
        let status = || usb.get(setup(0x80, request::GET_STATUS, 0, 0, 2), "GET_STATUS");
        let own_power = u8::from((model.power)(usb.device.speed)[1] & 0x40 != 0);
        assert_eq!(status()?, [own_power, 0], "{what}: its status");
        // DEVICE_REMOTE_WAKEUP is feature 1.
        usb.set(0, request::SET_FEATURE, 1, 0)?;
        assert_eq!(status()?, [own_power | 2, 0], "{what}: its status with remote wake-up");
        usb.set(0, request::CLEAR_FEATURE, 1, 0)?;
        assert_eq!(status()?, [own_power, 0], "{what}: its status without remote wake-up");
        let configuration =
            || usb.get(setup(0x80, request::GET_CONFIGURATION, 0, 0, 1), "GET_CONFIGURATION");
        assert_eq!(configuration()?, [0], "{what}: no configuration");
        usb.configure()?;
        assert_eq!(configuration()?, [1], "{what}: the first configuration");
        let interface = usb.get(setup(0x81, request::GET_INTERFACE, 0, 0, 1), "GET_INTERFACE")?;
        assert_eq!(interface, [0], "{what}: the alternate setting");
        usb.set(1, request::SET_INTERFACE, 0, 0)?;
        let refused = usb.tell(1, request::SET_INTERFACE, 3, 0)?;
        assert_eq!(refused.status, Status::Stall, "{what}: an alternate setting that is not there");
        usb.set(0, request::SET_CONFIGURATION, 0, 0)?;
        assert_eq!(configuration()?, [0], "{what}: no configuration again");
        Ok(())
    })
}

/// Would catch a configuration that the device does not have, and that it takes (USB 2.0, 9.4.7).
fn unknown_configuration(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    each(hcd, vm, &ALL, |usb, model| {
        usb.configure()?;
        let refused = usb.tell(0, request::SET_CONFIGURATION, 5, 0)?;
        let what = model.driver;
        assert_eq!(refused.status, Status::Done, "{what}: a configuration that is not there");
        Ok(())
    })?;
    Err(Error::skipped("QEMU's devices take every configuration, and stay in the one they have"))
}

/// Would catch a request that nobody knows which is done, and a default endpoint that is of no use
/// after it has refused one (USB 2.0, 8.5.3.4).
fn stall(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    each(hcd, vm, &ALL, |usb, model| {
        let what = model.driver;
        let whole = model.device_descriptor(usb.device.speed);
        for unknown in [
            setup(0xc0, 0x77, 0, 0, 8),
            setup(0x40, 0x77, 0, 0, 0),
            setup(0x80, request::GET_DESCRIPTOR, 0x0205, 0, 9),
        ] {
            let (refused, _) = usb.ask(unknown, "a request that is unknown")?;
            let status = (refused.status, refused.moved);
            assert_eq!(status, (Status::Stall, 0), "{what}: {unknown:02x?}");
            hcd.clear_halt(&usb.device, &usb.device.control())?;
            let device = usb.descriptor(descriptor::DEVICE, 0, 0, 18)?;
            assert_eq!(device, whole, "{what}: the device after {unknown:02x?}");
        }
        Ok(())
    })
}

/// Would catch a text that a device does not have, and that it tells (USB 2.0, 9.4.3).
fn unknown_text(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    each(hcd, vm, &ALL, |usb, model| {
        let asked = setup(0x80, request::GET_DESCRIPTOR, 0x0377, 0x0409, 64);
        let (refused, _) = usb.ask(asked, "a text that is not there")?;
        let refused = (refused.status, refused.moved);
        assert_eq!(refused, (Status::Done, 0), "{}: a text that is not there", model.driver);
        Ok(())
    })?;
    Err(Error::skipped("QEMU's devices answer with no bytes for a text that they do not have"))
}

/// Would catch a device that does not take an address, and one that answers to another.
fn addresses(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    let software = hcd.profile().addresses;
    each(hcd, vm, &[TABLET, KEYBOARD], |usb, model| {
        let whole = model.device_descriptor(usb.device.speed);
        for address in [1, 64, 127, 85] {
            if software {
                hcd.set_address(&usb.device, address)?;
            }
            let device = usb.descriptor(descriptor::DEVICE, 0, 0, 18)?;
            assert_eq!(device, whole, "the device at address {address}");
        }
        assert_eq!(usb.text(model.product)?, model.texts[1], "its product");
        Ok(())
    })
}

/// Would catch an address without a device that answers, and a controller that never gives up on it
/// (USB 2.0, 8.7.1).
fn absent_device(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    let profile = hcd.profile();
    if !profile.addresses {
        return Err(Error::skipped("the controller chooses addresses"));
    }
    if !profile.ends_transfers {
        let why = "QEMU's controller leaves a transfer to a device that is not there as it is";
        return Err(Error::skipped(why));
    }
    each(hcd, vm, &[TABLET], |usb, model| {
        let whole = model.device_descriptor(usb.device.speed);
        hcd.set_address(&usb.device, 85)?;
        for address in [0, 1, 64, 84, 127] {
            let nobody = Device::new(usb.device.port, usb.device.speed, 0, 0);
            nobody.address.set(address);
            let what = format!("a request to address {address}, where nobody is");
            let asked = setup(0, request::SET_CONFIGURATION, 1, 0, 0);
            let completion = control(hcd, &nobody, asked, None, &what)?;
            assert_eq!(completion.status, Status::NoAnswer, "{what}");
        }
        assert_eq!(usb.descriptor(descriptor::DEVICE, 0, 0, 18)?, whole, "the device at last");
        Ok(())
    })
}

/// Would catch a report descriptor that is not as long as announced, and a request of the class
/// that is not done (HID 1.11, 7.1 and 7.2).
fn hid_requests(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    each(hcd, vm, &[TABLET, MOUSE, KEYBOARD], |usb, model| {
        let what = model.driver;
        usb.configure()?;
        let announced = (model.interface)(usb.device.speed)[16];
        let report = usb.get(setup(0x81, request::GET_DESCRIPTOR, 0x2200, 0, 255), "the report")?;
        assert_eq!(report.len(), usize::from(announced), "{what}: the report descriptor");
        // Usage page: generic desktop; usage; collection: application (HID 1.11, appendix E).
        let usage = if what == KEYBOARD.driver { 6 } else { 2 };
        assert_eq!(report[..6], [5, 1, 9, usage, 0xa1, 1], "{what}: its beginning");
        assert_eq!(report.last(), Some(&0xc0), "{what}: its end");
        let idle = || usb.get(setup(0xa1, 2, 0, 0, 1), "GET_IDLE");
        assert_eq!(idle()?, [0], "{what}: the idle rate");
        usb.set(0x21, 10, 0x2500, 0)?;
        assert_eq!(idle()?, [0x25], "{what}: the idle rate that was set");
        usb.set(0x21, 10, 0, 0)?;
        if what == TABLET.driver {
            assert_eq!(usb.tell(0x21, 11, 0, 0)?.status, Status::Stall, "{what}: no protocols");
            return Ok(());
        }
        let protocol = || usb.get(setup(0xa1, 3, 0, 0, 1), "GET_PROTOCOL");
        assert_eq!(protocol()?, [1], "{what}: the report protocol");
        usb.set(0x21, 11, 0, 0)?;
        assert_eq!(protocol()?, [0], "{what}: the boot protocol");
        Ok(())
    })?;
    each(hcd, vm, &[STORAGE, HUB], |usb, model| {
        let asked = setup(0x81, request::GET_DESCRIPTOR, 0x2200, 0, 64);
        let (refused, _) = usb.ask(asked, "a report descriptor")?;
        assert_eq!(refused.status, Status::Stall, "{}: it is no HID", model.driver);
        Ok(())
    })
}
