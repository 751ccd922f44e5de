//! The virtio block device, with an image in memory.

use serde_json::json;

use crate::Result;
use crate::drivers::virtio::pci::virtio_kind;
use crate::qemu::{Image, Vm};
use crate::qos::virtio::blk::{self, VirtioBlk};
use crate::qos::virtio::{Features, Kind, Plain, Virtio};

/// The disk's image, and the device's ID as the guest sees it.
pub use crate::qos::block::{DISK as IMAGE, SERIAL};

/// Makes the drive one of so many bytes.
///
/// # Errors
/// QEMU refuses.
pub fn resize(vm: &Vm, bytes: u64) -> Result<()> {
    vm.qmp().execute("block_resize", json!({ "device": "drive0", "size": bytes }))?;
    Ok(())
}

/// The block device.
pub struct Blk;

impl Kind for Blk {
    const DEVICE_TYPE: u32 = blk::DEVICE_TYPE;
    const FEATURES: Features = blk::FEATURES;
    // Discards reach the image.
    const BACKEND: &str =
        "-drive if=none,id=drive0,format=raw,discard=unmap,auto-read-only=off,file={disk}";
    const IMAGES: &[Image] = &[IMAGE];
    const PROPERTIES: &str = "id=drv0,drive=drive0,serial=qgraph-disk";
    // The plain device has one queue, the others several.
    const MODERN: &str = "num-queues=4";
    type Interface = VirtioBlk;

    fn interface(virtio: Virtio) -> VirtioBlk {
        VirtioBlk(virtio, resize)
    }

    fn plain(virtio: &Virtio) -> Result<Option<Plain>> {
        blk::plain(virtio).map(Some)
    }
}

virtio_kind!(Blk as VirtioBlk: pci "virtio-blk-pci", mmio "virtio-blk-device");
