//! A hub, and devices behind it (USB 2.0, chapter 11).

use std::rc::Rc;

use serde_json::json;

use super::{ended, frames, with_device};
use crate::qemu::{Buffer, Vm};
use crate::qos::usb::device::{UsbDevice, setup};
use crate::qos::usb::models::{HUB, KEYBOARD, Plugged, TABLET, addressed};
use crate::qos::usb::{Endpoint, Speed, Status, UsbHcd};
use crate::{Error, Result, attacks, tests};

tests!(dyn UsbHcd, "usb-hcd-tests":
    hub,
    behind_hub = "behind-hub",
    hub_unplugged = "hub-unplugged",
    hub_enable_change = "hub-enable-change",
);
attacks!(dyn UsbHcd, "usb-hcd-attacks": behind_hub = "behind-hub");

/// Features of a port (USB 2.0, table 11-17).
const PORT_ENABLE: u16 = 1;
const PORT_RESET: u16 = 4;
const C_CONNECTION: u16 = 16;
const C_ENABLE: u16 = 17;
const C_RESET: u16 = 20;

/// How many ports QEMU's hub has.
const PORTS: u16 = 8;
/// What a port says: connected; enabled; powered (USB 2.0, table 11-21).
const CONNECTED: u16 = 1;
const ENABLED: u16 = 2;
const POWER: u16 = 0x100;

struct Hub<'a> {
    usb: UsbDevice<'a>,
    changes: Endpoint,
    data: Buffer,
}

impl<'a> Hub<'a> {
    fn new(plugged: &Plugged, hcd: &'a dyn UsbHcd, address: u8) -> Result<Self> {
        let usb = plugged.connect(hcd, address)?;
        let changes = usb.configure()?[0];
        let data = hcd.vm().ram().alloc(16, 16)?;
        Ok(Self { usb, changes, data })
    }

    /// What a port, from 1, says, and what has changed.
    fn port(&self, port: u16) -> Result<(u16, u16)> {
        let bytes = self.usb.get(setup(0xa3, 0, 0, port, 4), "GetPortStatus")?;
        match bytes[..] {
            [a, b, c, d] => Ok((u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]))),
            _ => Err(crate::Error::failed(format!("port {port} says {bytes:02x?}"))),
        }
    }

    fn set(&self, feature: u16, port: u16) -> Result<()> {
        self.usb.set(0x23, 3, feature, port)
    }

    fn clear(&self, feature: u16, port: u16) -> Result<()> {
        self.usb.set(0x23, 1, feature, port)
    }

    /// Resets a port and takes back what changes.
    fn reset(&self, port: u16) -> Result<()> {
        self.set(PORT_RESET, port)?;
        let (_, changes) = self.port(port)?;
        assert_ne!(changes & 1 << (C_RESET - 16), 0, "port {port}: the end of its reset");
        for feature in [C_RESET, C_ENABLE, C_CONNECTION] {
            self.clear(feature, port)?;
        }
        Ok(())
    }

    /// Which ports have changed, bit 0 being the hub, when `do_first` was done.
    fn changed(&self, do_first: impl FnOnce() -> Result<()>) -> Result<u16> {
        let hcd = self.usb.hcd;
        self.data.write(0, &[0; 16])?;
        let packet = self.changes.packet;
        let ticket = hcd.submit(&self.usb.request(self.changes, &self.data, (0, packet)))?;
        frames(hcd, 2)?;
        do_first()?;
        let moved = ended(hcd, ticket, "a change of a port")?.done("a change of a port")?;
        assert_eq!(moved, 2, "the length of the report");
        self.data.read_le16(0)
    }
}

/// Would catch a hub with another number of ports than it says, ports without power, and requests
/// to a port that is not there which are done.
fn hub(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    let plugged = with_device(hcd, 0, HUB)?;
    let hub = Hub::new(&plugged, hcd, 3)?;
    let descriptor = hub.usb.get(setup(0xa0, 6, 0x2900, 0, 64), "the hub's descriptor")?;
    // Eight ports; no power switching; over-current of each port; 2 ms (USB 2.0, 11.23.2.1).
    assert_eq!(descriptor, [10, 0x29, 8, 0x0a, 0, 1, 0, 0, 0, 0xff], "the hub's descriptor");
    let status = hub.usb.get(setup(0xa0, 0, 0, 0, 4), "GetHubStatus")?;
    assert_eq!(status, [0; 4], "the hub's status");
    for port in 1..=PORTS {
        assert_eq!(hub.port(port)?, (POWER, 0), "port {port}, empty");
        hub.set(PORT_RESET, port)?;
        hub.clear(C_RESET, port)?;
        assert_eq!(hub.port(port)?, (POWER, 0), "port {port}, empty, after a reset");
    }
    for port in [0, PORTS + 1, 0xff] {
        let (refused, _) = hub.usb.ask(setup(0xa3, 0, 0, port, 4), "GetPortStatus")?;
        assert_eq!(refused.status, Status::Stall, "port {port}, which is not there");
        hcd.clear_halt(&hub.usb.device, &hub.usb.device.control())?;
        let refused = hub.usb.tell(0x23, 3, PORT_RESET, port)?;
        assert_eq!(refused.status, Status::Stall, "a reset of port {port}, which is not there");
        hcd.clear_halt(&hub.usb.device, &hub.usb.device.control())?;
    }
    hcd.close(&hub.usb.device)?;
    super::gone(hcd, vm, plugged)
}

/// Would catch a device behind a hub that is not reported, does not answer, or answers although its
/// port is disabled.
fn behind_hub(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    let plugged = with_device(hcd, 0, HUB)?;
    let hub = Hub::new(&plugged, hcd, 3)?;
    for (at, model) in [TABLET, KEYBOARD, TABLET].into_iter().enumerate() {
        let port = [1, 8, 3][at];
        let what = |text: &str| format!("{} at port {port} of the hub, {text}", model.driver);
        let mut behind = None;
        let changed = hub.changed(|| {
            behind = Some(plugged.plug_behind(hcd, usize::from(port) - 1, model)?);
            Ok(())
        })?;
        assert_eq!(changed, 1 << port, "{}", what("reported"));
        assert_eq!(hub.port(port)?, (POWER | CONNECTED, 1), "{}", what("plugged in"));
        hub.clear(C_CONNECTION, port)?;
        assert_eq!(hub.port(port)?, (POWER | CONNECTED, 0), "{}", what("acknowledged"));
        hub.reset(port)?;
        assert_eq!(hub.port(port)?, (POWER | CONNECTED | ENABLED, 0), "{}", what("reset"));
        let device = hcd.open(plugged.port(hcd), Speed::Full, port.into())?;
        let usb = addressed(hcd, device, Some(20 + port as u8))?;
        let descriptor = usb.descriptor(1, 0, 0, 18)?;
        assert_eq!(descriptor, model.device_descriptor(Speed::Full), "{}", what("its descriptor"));
        assert_eq!(usb.text(model.product)?, model.texts[1], "{}", what("its product"));
        if model.driver == TABLET.driver {
            let endpoint = usb.configure()?[0];
            let data = vm.ram().alloc(8, 16)?;
            let ticket = hcd.submit(&usb.request(endpoint, &data, (0, 8)))?;
            frames(hcd, 12)?;
            let events = json!([{ "type": "abs", "data": { "axis": "x", "value": 0x321 } }]);
            vm.qmp().execute("input-send-event", json!({ "events": events }))?;
            assert_eq!(
                ended(hcd, ticket, "a report")?.done("a report")?,
                6,
                "{}",
                what("a report")
            );
            assert_eq!(data.read_le16(1)?, 0x321, "{}", what("its place"));
        }
        if hcd.profile().ends_transfers {
            hub.clear(PORT_ENABLE, port)?;
            // QEMU's controllers look for a device anew when its queue was idle.
            frames(hcd, 40)?;
            let disabled = usb.tell(0, 9, 1, 0)?.status;
            assert_eq!(disabled, Status::NoAnswer, "{}", what("its port disabled"));
        }
        hcd.close(&usb.device)?;
        let changed = hub.changed(|| behind.take().map_or(Ok(()), |it| it.unplug(vm)))?;
        assert_eq!(changed, 1 << port, "{}", what("reported as gone"));
        let (state, _) = hub.port(port)?;
        assert_eq!(state, POWER, "{}", what("gone"));
        for feature in [C_CONNECTION, C_ENABLE] {
            hub.clear(feature, port)?;
        }
        assert_eq!(hub.port(port)?, (POWER, 0), "{}", what("gone and acknowledged"));
    }
    hcd.close(&hub.usb.device)?;
    super::gone(hcd, vm, plugged)
}

/// Would catch a hub that is taken away while a device behind it is asked, and takes QEMU with it.
fn hub_unplugged(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    let plugged = with_device(hcd, 0, HUB)?;
    let hub = Hub::new(&plugged, hcd, 3)?;
    let tablet = plugged.plug_behind(hcd, 1, TABLET)?;
    hub.reset(2)?;
    let device = hcd.open(plugged.port(hcd), Speed::Full, 2)?;
    let usb = addressed(hcd, device, Some(30))?;
    let endpoint = usb.configure()?[0];
    let data = vm.ram().alloc(8, 16)?;
    let ticket = hcd.submit(&usb.request(endpoint, &data, (0, 8)))?;
    frames(hcd, 12)?;
    let port = plugged.port(hcd);
    plugged.unplug_with(vm, &[tablet])?;
    if hcd.profile().ends_transfers {
        let status = ended(hcd, ticket, "the transfer of a device that is gone")?.status;
        assert_eq!(status, Status::NoAnswer, "a device behind a hub that is gone");
    } else {
        frames(hcd, 12)?;
        hcd.cancel(ticket)?;
    }
    hcd.close(&usb.device)?;
    hcd.close(&hub.usb.device)?;
    hcd.acknowledge_port(port)?;
    assert!(!hcd.port(port)?.connected, "the port of the hub");
    Ok(())
}

/// Would catch a hub that reports, after a reset that has enabled a port, that it was disabled for
/// an error (USB 2.0, 11.24.2.7.2.2).
fn hub_enable_change(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    let plugged = with_device(hcd, 0, HUB)?;
    let hub = Hub::new(&plugged, hcd, 3)?;
    let behind = plugged.plug_behind(hcd, 0, TABLET)?;
    hub.clear(C_CONNECTION, 1)?;
    hub.set(PORT_RESET, 1)?;
    hub.clear(C_RESET, 1)?;
    let state = hub.port(1)?;
    hub.clear(C_ENABLE, 1)?;
    hcd.close(&hub.usb.device)?;
    behind.unplug(vm)?;
    super::gone(hcd, vm, plugged)?;
    match state {
        (ports, 2) if ports == POWER | CONNECTED | ENABLED => Err(Error::skipped(
            "QEMU's usb-hub reports C_PORT_ENABLE after a reset that has enabled a port",
        )),
        _ => {
            assert_eq!(state, (POWER | CONNECTED | ENABLED, 0), "a port that a reset has enabled");
            Ok(())
        }
    }
}
