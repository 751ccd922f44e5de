//! The virtio block device with a vhost-user back end, over an image in memory.

use crate::Result;
use crate::drivers::virtio::blk::IMAGE;
use crate::drivers::virtio::pci::virtio_kind;
use crate::qemu::{Backend, Image, Socket};
use crate::qos::vhost::blk::Disk;
use crate::qos::vhost::{self, VhostUser, VhostUserBlk as Interface};
use crate::qos::virtio::{Features, Kind, Plain, Virtio, blk};

/// The back end.
const DISK: Backend =
    Backend::with_image(IMAGE.name, |stream, image| VhostUser::serve(stream, Disk::new(image)?));

/// The block device.
pub struct VhostUserBlk;

impl Kind for VhostUserBlk {
    const DEVICE_TYPE: u32 = blk::DEVICE_TYPE;
    const FEATURES: Features = blk::FEATURES;
    const BACKEND: &str = vhost::CHARDEV;
    const IMAGES: &[Image] = &[IMAGE];
    const SOCKETS: &[Socket] = &[vhost::SOCKET.served_by(DISK.of("vhost-user-blk"))];
    const PROPERTIES: &str = "id=vhost0,chardev=vhost,queue-size=256";
    // The plain device has one queue, the others several.
    const MODERN: &str = "num-queues=4";
    const IN_SLOT: Option<&str> = Some("vhost-user-blk");
    type Interface = Interface;

    fn interface(virtio: Virtio) -> Interface {
        Interface(virtio)
    }

    fn plain(virtio: &Virtio) -> Result<Option<Plain>> {
        blk::plain(virtio).map(Some)
    }
}

virtio_kind!(VhostUserBlk as Interface: pci "vhost-user-blk-pci", mmio "vhost-user-blk-device");
