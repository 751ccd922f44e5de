//! QEMU's USB devices: how they are plugged in and out, and the descriptors that they tell (USB
//! 2.0, 9.6; Device Class Definition for HID 1.11, 6.2.1).

use serde_json::{Value, json};

use super::device::UsbDevice;
use super::{Device, Speed, UsbHcd};
use crate::graph::Plug;
use crate::qemu::Vm;
use crate::qos::wait_event;
use crate::{Error, Result};

/// The serial number that every device is given.
const SERIAL: &str = "qgraph-7";

/// A type of devices.
#[derive(Debug, Clone, Copy)]
pub struct Model {
    /// QEMU's name.
    pub driver: &'static str,
    /// The speeds at which it can run.
    pub speeds: &'static [Speed],
    /// Vendor and product.
    pub ids: (u16, u16),
    /// Its texts, from the first on, without the serial number, which is the third.
    pub texts: [&'static str; 2],
    /// Its class.
    pub class: u8,
    /// The version of USB that it claims, in BCD, by its speed.
    pub version: fn(Speed) -> u16,
    /// Its configuration behind the first nine bytes, by its speed.
    pub interface: fn(Speed) -> Vec<u8>,
    /// What it says of the index of its configuration's text, its attributes and its power.
    pub power: fn(Speed) -> [u8; 3],
    /// The index of the text that is its serial number.
    pub serial: u8,
    /// The index of the text that is the product.
    pub product: u8,
}

/// A mouse, a tablet, or a keyboard.
const HID_SPEEDS: &[Speed] = &[Speed::Full, Speed::High];

/// Interface, HID descriptor, and endpoint 1 with packets of so many bytes.
fn hid(protocol: [u8; 2], version: u16, report: u8, packet: u8, interval: u8) -> Vec<u8> {
    let [subclass, protocol] = protocol;
    let [low, high] = version.to_le_bytes();
    let mut bytes = vec![9, 4, 0, 0, 1, 3, subclass, protocol, 0];
    bytes.extend([9, 0x21, low, high, 0, 1, 0x22, report, 0]);
    bytes.extend([7, 5, 0x81, 3, packet, 0, interval]);
    bytes
}

/// 10 ms at full speed; at high speed a power of two of microframes.
const fn interval(speed: Speed, exponent: u8) -> u8 {
    if matches!(speed, Speed::Full) { 10 } else { exponent }
}

/// QEMU's `usb-tablet`.
pub const TABLET: Model = Model {
    driver: "usb-tablet",
    speeds: HID_SPEEDS,
    ids: (0x0627, 0x0001),
    texts: ["QEMU", "QEMU USB Tablet"],
    class: 0,
    version: |_| 0x0200,
    interface: |speed| hid([0, 0], 0x0001, 74, 8, interval(speed, 4)),
    power: |_| [7, 0xa0, 50],
    serial: 10,
    product: 3,
};

/// QEMU's `usb-mouse`.
pub const MOUSE: Model = Model {
    driver: "usb-mouse",
    texts: ["QEMU", "QEMU USB Mouse"],
    interface: |speed| hid([1, 2], 0x0001, 52, 4, interval(speed, 7)),
    power: |_| [6, 0xa0, 50],
    serial: 9,
    product: 2,
    ..TABLET
};

/// QEMU's `usb-kbd`.
pub const KEYBOARD: Model = Model {
    driver: "usb-kbd",
    texts: ["QEMU", "QEMU USB Keyboard"],
    interface: |speed| hid([1, 1], 0x0111, 63, 8, interval(speed, 7)),
    power: |_| [8, 0xa0, 50],
    serial: 11,
    product: 4,
    ..TABLET
};

/// QEMU's `usb-storage`, with the medium of [`MEDIUM`](super::MEDIUM).
pub const STORAGE: Model = Model {
    driver: "usb-storage",
    speeds: &[Speed::Full, Speed::High, Speed::Super],
    ids: (0x46f4, 0x0001),
    texts: ["QEMU", "QEMU USB HARDDRIVE"],
    class: 0,
    version: |speed| if speed == Speed::Super { 0x0300 } else { 0x0200 },
    interface: |speed| {
        let [low, high] = match speed {
            Speed::Low | Speed::Full => 64u16,
            Speed::High => 512,
            Speed::Super => 1024,
        }
        .to_le_bytes();
        let mut bytes = vec![9, 4, 0, 0, 2, 8, 6, 0x50, 0];
        for address in [0x81, 0x02] {
            bytes.extend([7, 5, address, 2, low, high, 0]);
            if speed == Speed::Super {
                // The companion: bursts of 16 packets (USB 3.2, 9.6.7).
                bytes.extend([6, 0x30, 15, 0, 0, 0]);
            }
        }
        bytes
    },
    power: |speed| match speed {
        Speed::Low | Speed::Full => [4, 0xc0, 0],
        Speed::High => [5, 0xc0, 0],
        Speed::Super => [6, 0xc0, 0],
    },
    serial: 3,
    product: 2,
};

/// QEMU's `usb-hub`.
pub const HUB: Model = Model {
    driver: "usb-hub",
    speeds: &[Speed::Full],
    ids: (0x0409, 0x55aa),
    texts: ["QEMU", "QEMU USB Hub"],
    class: 9,
    version: |_| 0x0110,
    interface: |_| {
        let mut bytes = vec![9, 4, 0, 0, 1, 9, 0, 0, 0];
        bytes.extend([7, 5, 0x81, 3, 2, 0, 0xff]);
        bytes
    },
    power: |_| [0, 0xe0, 0],
    serial: 3,
    product: 2,
};

/// All models.
pub const ALL: [Model; 5] = [TABLET, MOUSE, KEYBOARD, STORAGE, HUB];

impl Model {
    /// The device descriptor at `speed` (USB 2.0, 9.6.1).
    pub fn device_descriptor(&self, speed: Speed) -> Vec<u8> {
        let [v0, v1] = (self.version)(speed).to_le_bytes();
        let ([i0, i1], [p0, p1]) = (self.ids.0.to_le_bytes(), self.ids.1.to_le_bytes());
        let packet = match speed {
            Speed::Low | Speed::Full => 8,
            Speed::High => 64,
            // The exponent of 512 (USB 3.2, 9.6.1).
            Speed::Super => 9,
        };
        let release = if self.class == 9 { 0x0101u16 } else { 0 };
        let [r0, r1] = release.to_le_bytes();
        let mut bytes = vec![18, 1, v0, v1, self.class, 0, 0, packet, i0, i1, p0, p1, r0, r1];
        bytes.extend([1, self.product, self.serial, 1]);
        bytes
    }

    /// The configuration at `speed`, whole (USB 2.0, 9.6.3).
    pub fn configuration(&self, speed: Speed) -> Vec<u8> {
        let interface = (self.interface)(speed);
        let [low, high] = (9 + interface.len() as u16).to_le_bytes();
        let [text, attributes, power] = (self.power)(speed);
        let mut bytes = vec![9, 2, low, high, 1, 1, text, attributes, power];
        bytes.extend(interface);
        bytes
    }

    /// Its three texts by their index.
    pub fn texts(&self) -> [(u8, &'static str); 3] {
        [(1, self.texts[0]), (self.product, self.texts[1]), (self.serial, SERIAL)]
    }

    fn properties(&self, id: &str, bus: &str, port: &str) -> Value {
        let mut properties = json!({
            "driver": self.driver, "id": id, "bus": bus, "port": port, "serial": SERIAL,
        });
        if self.driver == STORAGE.driver {
            properties["drive"] = "stick".into();
        }
        properties
    }
}

/// A device that is plugged in.
#[derive(Debug)]
pub struct Plugged {
    /// Its type.
    pub model: Model,
    /// How fast it is.
    pub speed: Speed,
    /// QEMU's port of the root hub, from 0.
    pub number: usize,
    id: String,
}

/// Plugs a device into QEMU's port `number`, from 0, while the machine runs. The guest has not
/// noticed yet.
///
/// # Errors
/// Skipped if the controller has no such speed or no ports of its own. QEMU refuses.
pub fn plug(hcd: &dyn UsbHcd, number: usize, model: Model) -> Result<Plugged> {
    let profile = hcd.profile();
    let Some(speed) = profile.speed(model.speeds) else {
        return Err(Error::skipped(format!("{} is too slow for its ports", model.driver)));
    };
    if profile.bus == Plug::CLOSED.bus {
        return Err(Error::skipped(
            "QEMU has no name for its bus: another controller has its ports, or a bus of the name",
        ));
    }
    let id = format!("{}-{number}", model.driver);
    let port = (number + 1).to_string();
    hcd.vm().qmp().execute("device_add", model.properties(&id, &profile.bus, &port))?;
    Ok(Plugged { model, speed, number, id })
}

impl Plugged {
    /// The port of the root hub that it is at.
    pub fn port(&self, hcd: &dyn UsbHcd) -> usize {
        hcd.port_of(self.number, self.speed)
    }

    /// Plugs another into port `number`, from 0, of this one, which is a hub.
    ///
    /// # Errors
    /// QEMU refuses.
    pub fn plug_behind(&self, hcd: &dyn UsbHcd, number: usize, model: Model) -> Result<Self> {
        let id = format!("{}-{}-{number}", model.driver, self.number);
        let port = format!("{}.{}", self.number + 1, number + 1);
        let bus = hcd.profile().bus;
        hcd.vm().qmp().execute("device_add", model.properties(&id, &bus, &port))?;
        Ok(Self { model, speed: Speed::Full, number: self.number, id })
    }

    /// Takes it away.
    ///
    /// # Errors
    /// QEMU does not tell that it is gone.
    pub fn unplug(self, vm: &Vm) -> Result<()> {
        self.unplug_with(vm, &[])
    }

    /// Takes it away with the devices that are plugged into it.
    ///
    /// # Errors
    /// QEMU does not tell that it and they are gone, or that another is.
    pub fn unplug_with(self, vm: &Vm, others: &[Self]) -> Result<()> {
        vm.qmp().execute("device_del", json!({ "id": self.id }))?;
        let part = format!("/machine/peripheral/{}/", self.id);
        let mut left: Vec<&str> = others.iter().map(|it| it.id.as_str()).collect();
        left.push(&self.id);
        while !left.is_empty() {
            let event = wait_event(vm, "DEVICE_DELETED")?.data;
            let (device, path) = (event["device"].as_str(), event["path"].as_str());
            match left.iter().position(|id| Some(*id) == device) {
                Some(at) => drop(left.remove(at)),
                // Devices inside have no identifier.
                None if path.is_some_and(|path| path.starts_with(&part)) => {}
                None => return Err(Error::failed(format!("{event} is gone, not {left:?}"))),
            }
        }
        Ok(())
    }

    /// Resets it and begins to talk to it: it has no address.
    ///
    /// # Errors
    /// Its port does not say that it is there and enabled.
    pub fn open<'a>(&self, hcd: &'a dyn UsbHcd) -> Result<UsbDevice<'a>> {
        open(hcd, self.port(hcd), self.speed, &self.id)
    }

    /// Resets it and gives it an address.
    ///
    /// # Errors
    /// Returns the error of [`Plugged::open`], or that of a device that refuses the address.
    pub fn connect<'a>(&self, hcd: &'a dyn UsbHcd, address: u8) -> Result<UsbDevice<'a>> {
        let device = self.open(hcd)?;
        give_address(device, address)
    }
}

/// Resets the device at a port of the root hub and begins to talk to it: it has no address. `what`
/// is what it is called in errors.
///
/// # Errors
/// The port does not say that it is there, of this speed, and enabled.
pub fn open<'a>(
    hcd: &'a dyn UsbHcd,
    port: usize,
    speed: Speed,
    what: &str,
) -> Result<UsbDevice<'a>> {
    hcd.reset_port(port)?;
    let (state, found) = (hcd.port(port)?, hcd.speed(port)?);
    if !state.connected || !state.enabled || found != speed {
        let why =
            format!("{what} at port {port}, reset: it is {state:?} and {found:?}, not {speed:?}");
        return Err(Error::failed(why));
    }
    addressed(hcd, hcd.open(port, speed, 0)?, None)
}

/// Gives a device an address.
///
/// # Errors
/// It refuses.
pub fn give_address(device: UsbDevice<'_>, address: u8) -> Result<UsbDevice<'_>> {
    device.hcd.set_address(&device.device, address)?;
    Ok(device)
}

/// Learns how large the packets of a device are that was opened, and gives it an address.
///
/// # Errors
/// The device or its controller refuses.
pub fn addressed(hcd: &dyn UsbHcd, device: Device, to: Option<u8>) -> Result<UsbDevice<'_>> {
    let device = UsbDevice { hcd, device: device.into() };
    let head = device.descriptor(super::device::descriptor::DEVICE, 0, 0, 8)?;
    let packet = match head[..] {
        [18, 1, _, _, _, _, _, packet] if device.device.speed == Speed::Super => {
            1usize.checked_shl(packet.into()).unwrap_or(0)
        }
        [18, 1, _, _, _, _, _, packet] => usize::from(packet),
        _ => return Err(Error::failed(format!("a device descriptor begins with {head:02x?}"))),
    };
    hcd.set_packet(&device.device, packet)?;
    if let Some(address) = to {
        hcd.set_address(&device.device, address)?;
    }
    Ok(device)
}
