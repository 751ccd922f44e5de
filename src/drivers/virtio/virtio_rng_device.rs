//! The virtio entropy device in a slot of a board.

use std::rc::Rc;

use crate::drivers::virtio::virtio_mmio::MODERN;
use crate::drivers::virtio::virtio_rng_pci::{BACKEND, IMAGE};
use crate::graph::{Consumes, Place, Produces, QemuArgs, Variant};
use crate::qos::virtio::rng::{DEVICE_TYPE, VirtioRng};
use crate::qos::virtio::{Virtio, VirtioBus};
use crate::{Result, driver};

/// QEMU's `virtio-rng-device`.
pub struct VirtioRngDevice(Virtio);

const fn with(properties: &'static str) -> QemuArgs {
    QemuArgs::device(properties).before(BACKEND).images(&[IMAGE])
}

impl Consumes<VirtioBus> for VirtioRngDevice {
    const ARGS: QemuArgs = with("rng=rng0,max-bytes=65536,period=1000");
    const MORE: &'static [Variant] = &[
        Variant {
            name: "modern",
            args: with("rng=rng0,max-bytes=65536,period=1000").after(MODERN),
        },
        Variant {
            name: "packed",
            args: with("rng=rng0,max-bytes=65536,period=1000,packed=on").after(MODERN),
        },
    ];

    fn attach(bus: Rc<VirtioBus>, place: &Place) -> Result<Self> {
        Ok(Self(Virtio::new(place.vm, bus.find(DEVICE_TYPE)?, DEVICE_TYPE)?))
    }
}

impl Produces<VirtioRng> for VirtioRngDevice {
    fn produced(self: Rc<Self>) -> Rc<VirtioRng> {
        Rc::new(VirtioRng(self.0.clone()))
    }
}

impl Produces<Virtio> for VirtioRngDevice {
    fn produced(self: Rc<Self>) -> Rc<Virtio> {
        Rc::new(self.0.clone())
    }
}

driver!(VirtioRngDevice = "virtio-rng-device"; consumes VirtioBus; produces VirtioRng, Virtio);
