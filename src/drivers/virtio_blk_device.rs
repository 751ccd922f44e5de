//! The virtio block device in a slot of a board.

use std::rc::Rc;

use super::virtio_blk_pci::{BACKEND, IMAGE};
use crate::graph::{Consumes, Place, Produces, QemuArgs, Variant};
use crate::qos::virtio::blk::{DEVICE_TYPE, VirtioBlk};
use crate::qos::virtio::{Virtio, VirtioBus};
use crate::{Result, driver};

/// QEMU's `virtio-blk-device`.
pub struct VirtioBlkDevice(Virtio);

const PLAIN: QemuArgs =
    QemuArgs::device("drive=drive0,serial=qgraph-disk").before(BACKEND).images(&[IMAGE]);

/// What makes slots those of version 2.
const MODERN: &str = "-global virtio-mmio.force-legacy=false";

impl Consumes<VirtioBus> for VirtioBlkDevice {
    const ARGS: QemuArgs = PLAIN;
    const MORE: &'static [Variant] = &[
        Variant { name: "modern", args: PLAIN.after(MODERN) },
        Variant {
            name: "packed",
            args: QemuArgs::device("drive=drive0,serial=qgraph-disk,packed=on")
                .before(BACKEND)
                .images(&[IMAGE])
                .after(MODERN),
        },
    ];

    fn attach(bus: Rc<VirtioBus>, place: &Place) -> Result<Self> {
        Ok(Self(Virtio::new(place.vm, &bus.find(DEVICE_TYPE)?)))
    }
}

impl Produces<VirtioBlk> for VirtioBlkDevice {
    fn produced(self: Rc<Self>) -> Rc<VirtioBlk> {
        Rc::new(VirtioBlk(self.0.clone()))
    }
}

impl Produces<Virtio> for VirtioBlkDevice {
    fn produced(self: Rc<Self>) -> Rc<Virtio> {
        Rc::new(self.0.clone())
    }
}

driver!(VirtioBlkDevice = "virtio-blk-device"; consumes VirtioBus; produces VirtioBlk, Virtio);
