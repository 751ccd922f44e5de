//! Requests that no driver makes, to every device that QEMU plugs in while the machine runs: the
//! device may refuse them or not, but it says afterwards what it has said before (USB 2.0, 9.4).

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::{Value, json};

use super::frames;
use crate::graph::Plug;
use crate::qemu::Vm;
use crate::qos::usb::device::{UsbDevice, descriptor, request, setup};
use crate::qos::usb::models::{give_address, open};
use crate::qos::usb::{Speed, Status, UsbHcd};
use crate::qos::wait_event;
use crate::{Error, Result, attacks, tests};

tests!(dyn UsbHcd, "usb-hostile-tests":
    descriptors,
    configurations,
    features,
    interfaces,
    wrong_direction = "wrong-direction",
    class_requests = "class-requests",
    halts,
    endpoints,
    wacom_endpoints = "wacom-endpoints",
    uas_endpoints = "uas-endpoints",
    addresses,
);
attacks!(dyn UsbHcd, "usb-hostile-attacks": descriptors, features, class_requests = "class-requests", endpoints);

/// The identifier of the device, and of its back end.
const ID: &str = "victim";
const BACKEND: &str = "victim-chardev";

/// A type of devices: QEMU's name, the speeds at which it can run, further properties.
struct Victim {
    driver: &'static str,
    speeds: &'static [Speed],
    properties: fn() -> Value,
}

const fn victim(driver: &'static str, speeds: &'static [Speed]) -> Victim {
    Victim { driver, speeds, properties: || json!({}) }
}

/// The tablet of Wacom.
const WACOM: &str = "usb-wacom-tablet";
/// USB Attached SCSI.
const UAS: &str = "usb-uas";
const FULL: &[Speed] = &[Speed::Full];
const UP_TO_HIGH: &[Speed] = &[Speed::Full, Speed::High];

/// All of them.
const VICTIMS: [Victim; 11] = [
    victim("usb-tablet", UP_TO_HIGH),
    victim("usb-mouse", UP_TO_HIGH),
    victim("usb-kbd", UP_TO_HIGH),
    victim(WACOM, FULL),
    victim("usb-hub", FULL),
    victim("usb-ccid", FULL),
    victim("usb-net", FULL),
    Victim {
        properties: || json!({ "chardev": BACKEND, "always-plugged": true }),
        ..victim("usb-serial", FULL)
    },
    Victim {
        properties: || json!({ "drive": "stick" }),
        ..victim("usb-storage", &[Speed::Full, Speed::High, Speed::Super])
    },
    victim(UAS, &[Speed::High, Speed::Super]),
    Victim { properties: || json!({ "rootdir": "/sys/module" }), ..victim("usb-mtp", UP_TO_HIGH) },
];

/// Has `check` look at every device that runs on the controller.
fn each(
    hcd: &dyn UsbHcd,
    vm: &Rc<Vm>,
    check: impl Fn(&UsbDevice, &str) -> Result<()>,
) -> Result<()> {
    hcd.reaches_ram()?;
    hcd.start()?;
    vm.set_up_ends()?;
    let profile = hcd.profile();
    if profile.bus == Plug::CLOSED.bus {
        return Err(Error::skipped("QEMU has no name for its bus"));
    }
    let null = json!({ "id": BACKEND, "backend": { "type": "null", "data": {} } });
    vm.qmp().execute("chardev-add", null)?;
    let list = json!({ "implements": "usb-device" });
    let types = vm.qmp().execute("qom-list-types", list)?;
    let mut looked = 0;
    for victim in VICTIMS {
        let has = |it: &Value| it["name"] == victim.driver;
        let Some(speed) = profile.speed(victim.speeds) else { continue };
        if !types.as_array().is_some_and(|types| types.iter().any(has)) {
            continue;
        }
        let mut properties = (victim.properties)();
        properties["driver"] = victim.driver.into();
        properties["id"] = ID.into();
        properties["bus"] = profile.bus.clone().into();
        properties["port"] = "1".into();
        vm.qmp().execute("device_add", properties)?;
        if victim.driver == UAS {
            let attached = json!({ "path": format!("/machine/peripheral/{ID}"),
                "property": "attached", "value": true });
            vm.qmp().execute("qom-set", attached)?;
        }
        let port = hcd.port_of(0, speed);
        let usb = give_address(open(hcd, port, speed, victim.driver)?, 9)?;
        let before = usb.descriptor(descriptor::DEVICE, 0, 0, 18)?;
        check(&usb, victim.driver)?;
        hcd.clear_halt(&usb.device, &usb.device.control())?;
        let after = usb.descriptor(descriptor::DEVICE, 0, 0, 18)?;
        assert_eq!(after, before, "{}: the device at last", victim.driver);
        hcd.close(&usb.device)?;
        vm.qmp().execute("device_del", json!({ "id": ID }))?;
        while wait_event(vm, "DEVICE_DELETED")?.data["device"] != ID {}
        hcd.acknowledge_port(port)?;
        looked += 1;
    }
    vm.qmp().execute("chardev-remove", json!({ "id": BACKEND }))?;
    assert!(looked > 0, "no device was looked at");
    Ok(())
}

/// Asks for data of a length that is sent as it is, and sees that no more than that come.
fn ask(usb: &UsbDevice, asked: [u8; 8], what: &str) -> Result<Status> {
    let what = format!("{what}: {asked:02x?}");
    let (completion, bytes) = usb.ask(asked, &what)?;
    let length = usize::from(u16::from_le_bytes([asked[6], asked[7]]));
    assert!(bytes.len() <= length, "{what}: {} bytes", bytes.len());
    if completion.status != Status::Done {
        usb.hcd.clear_halt(&usb.device, &usb.device.control())?;
    }
    Ok(completion.status)
}

/// Would catch a descriptor of some type, index, language or length by which a device fails or tells
/// what is behind it in memory.
fn descriptors(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    each(hcd, vm, |usb, what| {
        for kind in [0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 15, 0x21, 0x22, 0x23, 0x24, 0x29, 0x30, 0xff] {
            for index in [0u16, 1, 2, 9, 0xff] {
                for length in [0, 1, 3, 255, 4095] {
                    for recipient in [0x80, 0x81] {
                        let value = kind << 8 | index;
                        let asked = setup(recipient, request::GET_DESCRIPTOR, value, 0x409, length);
                        ask(usb, asked, what)?;
                    }
                }
            }
        }
        // The most that a request can ask for: a device tells what it has and no more.
        let asked = setup(0x80, request::GET_DESCRIPTOR, 0x0100, 0, 0xffff);
        let (completion, bytes) = usb.ask(asked, what)?;
        if completion.status == Status::Done {
            assert_eq!(bytes, usb.descriptor(descriptor::DEVICE, 0, 0, 18)?, "{what}: 65535 bytes");
        } else {
            hcd.clear_halt(&usb.device, &usb.device.control())?;
        }
        Ok(())
    })
}

/// Would catch a configuration that is set again, left, or none, and that a device fails by.
fn configurations(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    each(hcd, vm, |usb, what| {
        let asked = setup(0x80, request::GET_CONFIGURATION, 0, 0, 1);
        for value in [1, 1, 0, 0, 1, 2, 0xff, 0x100, 0xffff, 0] {
            let set = usb.tell(0, request::SET_CONFIGURATION, value, 0)?;
            if set.status == Status::Done && value < 2 && what != "usb-net" {
                assert_eq!(usb.get(asked, what)?, [value as u8], "{what}: its configuration");
            }
            hcd.clear_halt(&usb.device, &usb.device.control())?;
        }
        usb.configure()?;
        let first = usb.configuration()?[5];
        assert_eq!(usb.get(asked, what)?, [first], "{what}: its configuration at last");
        Ok(())
    })
}

/// Would catch a feature, of the device, an interface or an endpoint, that a device fails by.
fn features(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    each(hcd, vm, |usb, _| {
        usb.configure()?;
        for recipient in [0, 1, 2, 3, 0x1f] {
            for feature in [0, 1, 2, 3, 48, 0xffff] {
                for index in [0, 1, 0x81, 0x02, 0x8f, 0xffff] {
                    for request in [request::SET_FEATURE, request::CLEAR_FEATURE] {
                        // TEST_MODE of the device ends all traffic.
                        if (recipient, feature) != (0, 2) {
                            let _ = usb.tell(recipient, request, feature, index)?;
                            hcd.clear_halt(&usb.device, &usb.device.control())?;
                        }
                    }
                }
            }
        }
        Ok(())
    })
}

/// Would catch an interface or an alternate setting that is not there and that a device fails by, and
/// one that is there and is not set.
fn interfaces(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    each(hcd, vm, |usb, what| {
        // Not configured, there are none.
        ask(usb, setup(0x81, request::GET_INTERFACE, 0, 0, 1), what)?;
        let _ = usb.tell(1, request::SET_INTERFACE, 0, 0)?;
        hcd.clear_halt(&usb.device, &usb.device.control())?;
        usb.configure()?;
        for interface in [0, 1, 2, 15, 16, 0xff, 0x100, 0xffff] {
            for setting in [0, 1, 2, 0xff, 0xffff] {
                let _ = usb.tell(1, request::SET_INTERFACE, setting, interface)?;
                hcd.clear_halt(&usb.device, &usb.device.control())?;
            }
            for length in [0, 1, 2, 255] {
                ask(usb, setup(0x81, request::GET_INTERFACE, 0, interface, length), what)?;
            }
        }
        usb.set(1, request::SET_INTERFACE, 0, 0)?;
        let setting = usb.get(setup(0x81, request::GET_INTERFACE, 0, 0, 1), what)?;
        assert_eq!(setting, [0], "{what}: the alternate setting");
        Ok(())
    })
}

/// Would catch a request whose data go the other way than they should, and that a device fails by.
fn wrong_direction(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    each(hcd, vm, |usb, what| {
        usb.configure()?;
        let memory = vm.ram().alloc(4096, 64)?;
        for number in 0..13 {
            // Not SET_ADDRESS.
            if number == 5 {
                continue;
            }
            for recipient in 0..3 {
                for length in [0, 1, 3, 64, 4095] {
                    ask(usb, setup(0x80 | recipient, number, 0, 0, length), what)?;
                    let sent = setup(recipient, number, 0, 0, length);
                    let _ = crate::qos::usb::device::control(
                        hcd,
                        &usb.device,
                        sent,
                        Some(&memory),
                        what,
                    )?;
                    hcd.clear_halt(&usb.device, &usb.device.control())?;
                }
            }
        }
        usb.set(0, request::SET_CONFIGURATION, 1, 0)
    })
}

/// Would catch a request of a class or of a vendor by which a device fails, whatever data it has.
fn class_requests(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    each(hcd, vm, |usb, what| {
        usb.configure()?;
        let memory = vm.ram().alloc(4096, 64)?;
        for kind in [0x20, 0x21, 0x22, 0x23, 0x40, 0x41, 0x60] {
            for number in (0..16).chain([0x63, 0x64, 0x65, 0x66, 0x67, 0x81, 0xfe, 0xff]) {
                for (value, length) in [(0, 0), (0xffff, 1), (0x0200, 24), (1, 4095)] {
                    ask(usb, setup(kind | 0x80, number, value, 0, length), what)?;
                    let sent = setup(kind, number, value, 0, length);
                    let _ = crate::qos::usb::device::control(
                        hcd,
                        &usb.device,
                        sent,
                        Some(&memory),
                        what,
                    )?;
                    hcd.clear_halt(&usb.device, &usb.device.control())?;
                }
            }
        }
        Ok(())
    })
}

/// Would catch a halt of an endpoint that a device does not let the host clear (USB 2.0, 9.4.1: every
/// bulk and interrupt endpoint has one).
fn halts(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    let refused = RefCell::new(Vec::new());
    each(hcd, vm, |usb, what| {
        for endpoint in usb.configure()? {
            let cleared = usb.tell(2, request::CLEAR_FEATURE, 0, endpoint.address.into())?;
            if cleared.status != Status::Done {
                refused.borrow_mut().push(format!("{what} {:#x}", endpoint.address));
            }
            hcd.clear_halt(&usb.device, &usb.device.control())?;
            hcd.clear_halt(&usb.device, &endpoint)?;
        }
        Ok(())
    })?;
    assert!(refused.borrow().is_empty(), "endpoints whose halt is not cleared: {refused:?}");
    Ok(())
}

/// Would catch data of some length to or from an endpoint that a device fails by.
fn endpoints(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    check_endpoints(hcd, vm, |driver| driver != WACOM && driver != UAS)
}

/// Would catch the same of the tablet of Wacom.
fn wacom_endpoints(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    check_endpoints(hcd, vm, |driver| driver == WACOM)
}

/// Would catch the same of mass storage by USB Attached SCSI.
fn uas_endpoints(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    check_endpoints(hcd, vm, |driver| driver == UAS)
}

/// Lengths of data, and what it is filled with.
const LENGTHS: [(usize, u8); 9] =
    [(0, 0), (1, 0xff), (2, 1), (3, 0xff), (7, 0), (31, 0), (63, 0x55), (64, 1), (4096, 0xff)];
/// A request of a class to an interface, and that by which reports are repeated.
const CLASS_INTERFACE: u8 = 0x21;
const SET_IDLE: u8 = 0x0a;

fn check_endpoints(hcd: &dyn UsbHcd, vm: &Rc<Vm>, of: fn(&str) -> bool) -> Result<()> {
    each(hcd, vm, |usb, what| {
        if !of(what) {
            return Ok(());
        }
        let memory = vm.ram().alloc(8192, 64)?;
        let endpoints = usb.configure()?;
        // SET_IDLE (HID 1.11, 7.2.4): what reports, does so again and again, whatever room there is.
        // Others do not know it.
        let _ = usb.tell(CLASS_INTERFACE, SET_IDLE, 1 << 8, 0)?;
        hcd.clear_halt(&usb.device, &usb.device.control())?;
        for endpoint in endpoints {
            for (length, byte) in LENGTHS {
                memory.write(0, &[byte; 4096])?;
                let mut request = usb.request(endpoint, &memory, (0, length));
                request.stream = u16::from(endpoint.streams.min(hcd.profile().streams) != 0);
                let ticket = hcd.submit(&request)?;
                frames(hcd, 12)?;
                if hcd.completion(ticket)?.is_none() {
                    hcd.cancel(ticket)?;
                }
                let _ = usb.tell(2, request::CLEAR_FEATURE, 0, endpoint.address.into())?;
                hcd.clear_halt(&usb.device, &usb.device.control())?;
                hcd.clear_halt(&usb.device, &endpoint)?;
            }
        }
        Ok(())
    })
}

/// Would catch an address that is given twice, or taken away, and that a device fails by (USB 2.0,
/// 9.4.6).
fn addresses(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    if !hcd.profile().addresses {
        return Err(Error::skipped("the controller chooses addresses"));
    }
    each(hcd, vm, |usb, what| {
        let name = |address: u8| -> Result<()> {
            hcd.set_address(&usb.device, address)?;
            let device = usb.descriptor(descriptor::DEVICE, 0, 0, 18)?;
            assert_eq!(device[..2], [18, 1], "{what} at address {address}");
            Ok(())
        };
        for address in [9, 9, 10, 0, 127, 127] {
            name(address)?;
        }
        usb.configure()?;
        name(11)
    })
}
