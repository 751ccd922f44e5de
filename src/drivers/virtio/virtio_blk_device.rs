//! The virtio block device in a slot of a board.

use std::rc::Rc;

use crate::drivers::virtio::virtio_blk_pci::{BACKEND, IMAGE};
use crate::drivers::virtio::virtio_mmio::MODERN;
use crate::graph::{Consumes, Place, Produces, QemuArgs, Variant};
use crate::qos::virtio::blk::{DEVICE_TYPE, VirtioBlk};
use crate::qos::virtio::{Slot, Virtio, VirtioBus};
use crate::{Result, driver};

/// QEMU's `virtio-blk-device`.
pub struct VirtioBlkDevice {
    virtio: Virtio,
    slot: Rc<Slot>,
}

impl VirtioBlkDevice {
    /// The slot it is in.
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// The block device.
    pub fn blk(&self) -> VirtioBlk {
        VirtioBlk(self.virtio.clone())
    }
}

/// With these properties besides those of every variant.
const fn with(properties: &'static str) -> QemuArgs {
    QemuArgs::device(properties).before(BACKEND).images(&[IMAGE])
}

impl Consumes<VirtioBus> for VirtioBlkDevice {
    // The plain one has one queue, the others several.
    const ARGS: QemuArgs = with("drive=drive0,serial=qgraph-disk");
    const MORE: &'static [Variant] = &[
        Variant {
            name: "modern",
            args: with("drive=drive0,serial=qgraph-disk,num-queues=4").after(MODERN),
        },
        Variant {
            name: "packed",
            args: with("drive=drive0,serial=qgraph-disk,num-queues=4,packed=on").after(MODERN),
        },
    ];

    fn attach(bus: Rc<VirtioBus>, place: &Place) -> Result<Self> {
        let slot = bus.find(DEVICE_TYPE)?;
        Ok(Self { virtio: Virtio::new(place.vm, slot.clone(), DEVICE_TYPE)?, slot })
    }
}

impl Produces<VirtioBlk> for VirtioBlkDevice {
    fn produced(self: Rc<Self>) -> Rc<VirtioBlk> {
        Rc::new(self.blk())
    }
}

impl Produces<Virtio> for VirtioBlkDevice {
    fn produced(self: Rc<Self>) -> Rc<Virtio> {
        Rc::new(self.blk().0)
    }
}

driver!(VirtioBlkDevice = "virtio-blk-device"; consumes VirtioBus; produces VirtioBlk, Virtio);
