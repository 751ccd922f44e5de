//! Ports of the root hub: devices that come and go, reset, speed (USB 2.0, 11.5).

use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos::reset;
use crate::qos::usb::models::{ALL, STORAGE, TABLET, plug};
use crate::qos::usb::{Port, UsbHcd};
use crate::{Error, Result, tests};

tests!(dyn UsbHcd, "usb-hcd-tests":
    hotplug,
    plugged_first = "plugged-before-start",
    all_ports = "all-ports",
    speeds,
    port_reset = "port-reset",
    reset_unconfigures = "port-reset-unconfigures",
    disabled,
    machine_reset = "machine-reset",
);

const EMPTY: Port = Port { connected: false, enabled: false, changed: false };
const CAME: Port = Port { connected: true, enabled: false, changed: true };
const WENT: Port = Port { connected: false, enabled: false, changed: true };
const THERE: Port = Port { connected: true, enabled: false, changed: false };
const ENABLED: Port = Port { connected: true, enabled: true, changed: false };

/// What all ports say that are at other places than `but`.
fn others(hcd: &dyn UsbHcd, but: usize) -> Result<Vec<Port>> {
    let speed = hcd.profile().speeds[0];
    let number = |number| hcd.port_of(number, speed);
    let all = (0..hcd.profile().ports).map(number).filter(|port| *port != but);
    all.map(|port| hcd.port(port)).collect()
}

/// Would catch a device that comes or goes and that its port does not report, or that another port
/// reports; a change that nobody can acknowledge; a port that stays enabled without a device.
fn hotplug(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    hcd.reaches_ram()?;
    hcd.start()?;
    for number in 0..hcd.profile().ports {
        for model in [TABLET, STORAGE] {
            let what = |text: &str| format!("{} at {number}, {text}", model.driver);
            let plugged = plug(hcd, number, model)?;
            let port = plugged.port(hcd);
            let now = hcd.port(port)?;
            // A port of USB 3 enables itself (USB 3.2, 10.3.1.1).
            let came = Port { enabled: now.enabled && hcd.enables_itself(port), ..CAME };
            assert_eq!(now, came, "{}", what("plugged in"));
            assert!(others(hcd, port)?.iter().all(|it| *it == EMPTY), "{}", what("the others"));
            hcd.acknowledge_port(port)?;
            let there = Port { changed: false, ..came };
            assert_eq!(hcd.port(port)?, there, "{}", what("acknowledged"));
            hcd.reset_port(port)?;
            assert_eq!(hcd.port(port)?, ENABLED, "{}", what("reset"));
            plugged.unplug(vm)?;
            assert_eq!(hcd.port(port)?, WENT, "{}", what("unplugged"));
            assert!(others(hcd, port)?.iter().all(|it| *it == EMPTY), "{}", what("others after"));
            hcd.acknowledge_port(port)?;
            assert_eq!(hcd.port(port)?, EMPTY, "{}", what("acknowledged at last"));
        }
    }
    Ok(())
}

/// Would catch a controller whose reset forgets the devices that are there.
fn plugged_first(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    hcd.reaches_ram()?;
    let plugged = plug(hcd, 1, TABLET)?;
    for round in 0..2 {
        hcd.start()?;
        let port = plugged.port(hcd);
        assert!(hcd.port(port)?.connected, "start {round}: a device that was there before");
        assert!(others(hcd, port)?.iter().all(|it| *it == EMPTY), "start {round}: the others");
        let usb = plugged.connect(hcd, 3)?;
        assert_eq!(usb.device.speed, plugged.speed, "start {round}: its speed");
        assert_eq!(usb.text(1)?, "QEMU", "start {round}: its first text");
    }
    super::gone(hcd, vm, plugged)
}

/// Would catch ports that share a device, and devices that answer for each other.
fn all_ports(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    hcd.reaches_ram()?;
    hcd.start()?;
    let ports = hcd.profile().ports;
    let all: Vec<_> = (0..ports).map(|at| plug(hcd, at, ALL[at % 3])).collect::<Result<_>>()?;
    let mut devices = Vec::new();
    for (at, plugged) in all.iter().enumerate() {
        devices.push(plugged.connect(hcd, 10 + at as u8)?);
    }
    for (at, (plugged, usb)) in all.iter().zip(&devices).enumerate() {
        assert_eq!(hcd.port(plugged.port(hcd))?, ENABLED, "port {at}");
        let product = usb.text(plugged.model.product)?;
        assert_eq!(product, plugged.model.texts[1], "the product at port {at}");
    }
    for plugged in all {
        super::gone(hcd, vm, plugged)?;
    }
    Ok(())
}

/// Would catch a device that is reported at another speed than it runs, or whose descriptors are
/// those of another speed.
fn speeds(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    hcd.reaches_ram()?;
    hcd.start()?;
    for model in ALL {
        if hcd.profile().speed(model.speeds).is_none() {
            continue;
        }
        let plugged = plug(hcd, 0, model)?;
        let usb = plugged.connect(hcd, 1)?;
        assert_eq!(hcd.speed(plugged.port(hcd))?, plugged.speed, "{}: its speed", model.driver);
        let descriptor = usb.descriptor(1, 0, 0, 18)?;
        let expected = model.device_descriptor(plugged.speed);
        assert_eq!(descriptor, expected, "{}: its descriptor", model.driver);
        hcd.close(&usb.device)?;
        super::gone(hcd, vm, plugged)?;
    }
    Ok(())
}

/// Would catch a port that is enabled by a reset without a device, and a reset that does not take
/// the device's address away.
fn port_reset(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    let plugged = super::with_device(hcd, 0, TABLET)?;
    let other = hcd.port_of(1, plugged.speed);
    let (before, after) = (hcd.port(other)?, hcd.reset_port(other).and_then(|()| hcd.port(other)));
    if let Ok(after) = after {
        assert_eq!((before, after), (EMPTY, EMPTY), "an empty port, before and after a reset");
    }
    let usb = plugged.connect(hcd, 7)?;
    usb.configure()?;
    assert_eq!(usb.get([0x80, 8, 0, 0, 0, 0, 1, 0], "GET_CONFIGURATION")?, [1]);
    hcd.close(&usb.device)?;
    drop(usb);
    // It answers at address 0 again.
    let usb = plugged.open(hcd)?;
    hcd.set_address(&usb.device, 9)?;
    assert_eq!(usb.text(1)?, "QEMU", "its first text after a reset of the port");
    super::gone(hcd, vm, plugged)
}

/// Would catch a reset of a port that leaves the device configured (USB 2.0, 9.1.1.3).
fn reset_unconfigures(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    let plugged = super::with_device(hcd, 0, TABLET)?;
    let usb = plugged.connect(hcd, 7)?;
    usb.configure()?;
    hcd.close(&usb.device)?;
    drop(usb);
    let usb = plugged.connect(hcd, 9)?;
    let configuration = usb.get([0x80, 8, 0, 0, 0, 0, 1, 0], "GET_CONFIGURATION")?;
    hcd.close(&usb.device)?;
    super::gone(hcd, vm, plugged)?;
    if configuration == [1] {
        return Err(Error::skipped("QEMU's devices stay configured in a reset of their port"));
    }
    assert_eq!(configuration, [0], "the configuration after a reset of the port");
    Ok(())
}

/// Would catch a port that cannot be disabled, or one that is enabled again by itself.
fn disabled(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    if !hcd.profile().disables_ports {
        return Err(Error::skipped("QEMU's controller does not disable a port"));
    }
    let plugged = super::with_device(hcd, 1, TABLET)?;
    let port = plugged.port(hcd);
    for round in 0..2 {
        hcd.reset_port(port)?;
        assert_eq!(hcd.port(port)?, ENABLED, "reset, round {round}");
        hcd.disable_port(port)?;
        assert_eq!(hcd.port(port)?, THERE, "disabled, round {round}");
        hcd.acknowledge_port(port)?;
        assert_eq!(hcd.port(port)?, THERE, "disabled and acknowledged, round {round}");
    }
    super::gone(hcd, vm, plugged)
}

/// Would catch a reset of the machine that leaves the controller running, a port enabled, or a
/// device configured.
fn machine_reset(hcd: &dyn UsbHcd, vm: &Rc<Vm>) -> Result<()> {
    let plugged = super::with_device(hcd, 0, TABLET)?;
    let usb = plugged.connect(hcd, 4)?;
    usb.configure()?;
    assert!(!hcd.is_halted()?, "the controller is halted while it runs");
    drop(usb);
    reset(vm)?;
    hcd.again()?;
    assert!(hcd.is_halted()?, "the controller runs after a reset of the machine");
    let state = hcd.port(plugged.port(hcd))?;
    assert!(
        !state.enabled || hcd.enables_itself(plugged.port(hcd)),
        "the port after it: {state:?}"
    );
    hcd.start()?;
    let usb = plugged.connect(hcd, 5)?;
    let configuration = usb.get([0x80, 8, 0, 0, 0, 0, 1, 0], "GET_CONFIGURATION")?;
    super::gone(hcd, vm, plugged)?;
    if configuration == [1] && !hcd.profile().resets_devices {
        let why = "a reset of the machine leaves devices behind QEMU's controller configured";
        return Err(Error::skipped(why));
    }
    assert_eq!(configuration, [0], "the configuration after a reset of the machine");
    Ok(())
}
