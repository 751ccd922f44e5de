//! The virtio SCSI host adapter, with a disk at two units and a CD-ROM.

use crate::Result;
use crate::drivers::virtio::pci::virtio_kind;
use crate::qemu::{Image, MIB};
use crate::qos::virtio::scsi::{self, VirtioScsi};
use crate::qos::virtio::{Features, Kind, Plain, Virtio};

/// The image of the disk at [`scsi::DISK`].
pub const IMAGE: Image = Image { name: "disk", size: 16 * MIB };
/// The size in bytes of the disk at [`scsi::ZEROES`].
pub const ZEROES_SIZE: u64 = 2 * MIB;

/// The host adapter.
pub struct Scsi;

impl Kind for Scsi {
    const DEVICE_TYPE: u32 = scsi::DEVICE_TYPE;
    const FEATURES: Features = scsi::FEATURES;
    const BACKEND: &str = "-drive if=none,id=drive0,format=raw,auto-read-only=off,file={disk} \
         -blockdev null-co,node-name=zeroes,read-zeroes=on,size=2097152 \
         -blockdev null-co,node-name=medium,read-zeroes=on,size=2097152,read-only=on";
    const IMAGES: &[Image] = &[IMAGE];
    const PROPERTIES: &str = "id=scsi0";
    const BEHIND: &str = "-device scsi-hd,bus=scsi0.0,scsi-id=1,lun=0,drive=drive0 \
         -device scsi-hd,bus=scsi0.0,scsi-id=1,lun=2,drive=zeroes \
         -device scsi-cd,bus=scsi0.0,scsi-id=2,lun=0,drive=medium";
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
