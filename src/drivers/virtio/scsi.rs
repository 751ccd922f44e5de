//! The virtio SCSI host adapter, with a disk at two units and a CD-ROM.

use crate::Result;
use crate::drivers::virtio::pci::virtio_kind;
use crate::qemu::Image;
use crate::qos::scsi::{BACKEND, BEHIND_WITH_LUNS, IMAGE};
use crate::qos::virtio::scsi::{self, VirtioScsi};
use crate::qos::virtio::{Features, Kind, Plain, Virtio};

/// The host adapter.
pub struct Scsi;

impl Kind for Scsi {
    const DEVICE_TYPE: u32 = scsi::DEVICE_TYPE;
    const FEATURES: Features = scsi::FEATURES;
    const BACKEND: &str = BACKEND;
    const IMAGES: &[Image] = &[IMAGE];
    const PROPERTIES: &str = "id=scsi0";
    const BEHIND: &str = BEHIND_WITH_LUNS;
    const MODERN: &str = "num_queues=2";
    type Interface = VirtioScsi;

    fn interface(virtio: Virtio) -> VirtioScsi {
        VirtioScsi(virtio)
    }

    fn plain(virtio: &Virtio) -> Result<Option<Plain>> {
        scsi::plain(virtio).map(Some)
    }
}

virtio_kind!(Scsi as VirtioScsi: pci "virtio-scsi-pci", mmio "virtio-scsi-device");
