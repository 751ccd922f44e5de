//! Any virtio device: status and features.

use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos::virtio::{self, Virtio, features};
use crate::{Result, tests};

tests!(Virtio, "virtio-tests":
    nop,
    status,
    features_offered = "features",
);

/// Would catch a device that cannot even be found: its driver was attached before this.
fn nop(_: &Virtio, _: &Rc<Vm>) -> Result<()> {
    Ok(())
}

/// Would catch status bits that do not stay (2.1), and a reset that forgets some, or that
/// leaves a queue live.
fn status(device: &Virtio, _: &Rc<Vm>) -> Result<()> {
    let transport = device.transport();
    let accepted = device.negotiate(device.required())?;
    let queue = device.queue(0, accepted)?;
    assert!(transport.is_queue_enabled(0)?, "queue 0 is live");
    device.driver_ok()?;
    device.set_status(device.ready_status() | virtio::FAILED)?;
    device.reset()?;
    assert!(!transport.is_queue_enabled(0)?, "queue 0 after a reset");
    drop(queue);
    Ok(())
}

/// Would catch a device of version 1 that does not say so, one that refuses what it offers
/// itself, and an offer that changes once it was accepted.
fn features_offered(device: &Virtio, _: &Rc<Vm>) -> Result<()> {
    let transport = device.transport();
    let offered = device.offered()?;
    assert_eq!(offered & device.required(), device.required(), "offered: {offered:#x}");
    if transport.is_modern() {
        assert_ne!(offered & features::VERSION_1, 0, "offered: {offered:#x}");
    }
    device.negotiate(device.acceptable()?)?;
    assert_eq!(device.offered()?, offered, "after negotiation");
    Ok(())
}
