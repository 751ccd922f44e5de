//! The virtio block device as a PCI function, with an image in memory.

use std::rc::Rc;

use crate::graph::{Consumes, Place, Produces, QemuArgs, Variant};
use crate::qemu::{Image, MIB};
use crate::qos::pci::{PciAddress, PciBus};
use crate::qos::virtio::blk::{DEVICE_TYPE, VirtioBlk};
use crate::qos::virtio::{Virtio, VirtioPci};
use crate::{Result, driver};

/// The disk's image.
pub const IMAGE: Image = Image { name: "disk", size: 16 * MIB };
/// The device's ID as the guest sees it.
pub const SERIAL: &str = "qgraph-disk";
/// The back end; discards reach the image.
pub const BACKEND: &str =
    "-drive if=none,id=drive0,format=raw,discard=unmap,auto-read-only=off,file={disk}";

/// QEMU's `virtio-blk-pci`.
pub struct VirtioBlkPci {
    pci: VirtioPci,
    bus: Rc<dyn PciBus>,
    virtio: Virtio,
}

/// With these properties besides those of every variant.
const fn with(properties: &'static str) -> QemuArgs {
    QemuArgs::device(properties).before(BACKEND).images(&[IMAGE])
}

impl VirtioBlkPci {
    /// The function.
    pub fn pci(&self) -> &VirtioPci {
        &self.pci
    }

    /// The bus it is on.
    pub fn bus(&self) -> &Rc<dyn PciBus> {
        &self.bus
    }

    /// The block device.
    pub fn blk(&self) -> VirtioBlk {
        VirtioBlk(self.virtio.clone())
    }
}

impl Consumes<dyn PciBus> for VirtioBlkPci {
    // The plain one has one queue, the others several.
    const ARGS: QemuArgs = with("id=drv0,drive=drive0,serial=qgraph-disk,addr=04.0");
    const MORE: &'static [Variant] = &[
        Variant {
            name: "modern",
            args: with(
                "id=drv0,drive=drive0,serial=qgraph-disk,addr=04.0,disable-legacy=on,num-queues=4",
            ),
        },
        Variant {
            name: "packed",
            args: with(
                "id=drv0,drive=drive0,serial=qgraph-disk,addr=04.0,disable-legacy=on,\
                 num-queues=4,packed=on",
            ),
        },
    ];

    fn attach(bus: Rc<dyn PciBus>, place: &Place) -> Result<Self> {
        let pci = VirtioPci::find(&bus, PciAddress::new(4, 0), place.vm)?;
        let virtio = Virtio::new(place.vm, pci.transport().clone(), DEVICE_TYPE)?;
        Ok(Self { pci, bus, virtio })
    }
}

impl Produces<VirtioBlk> for VirtioBlkPci {
    fn produced(self: Rc<Self>) -> Rc<VirtioBlk> {
        Rc::new(self.blk())
    }
}

impl Produces<Virtio> for VirtioBlkPci {
    fn produced(self: Rc<Self>) -> Rc<Virtio> {
        Rc::new(self.blk().0)
    }
}

driver!(VirtioBlkPci = "virtio-blk-pci"; consumes dyn PciBus; produces VirtioBlk, Virtio);
