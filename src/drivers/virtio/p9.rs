//! The virtio 9P device, whose files exist for tests alone: QEMU makes them up where it runs
//! under its accelerator for tests.

use crate::Result;
use crate::drivers::virtio::pci::virtio_kind;
use crate::qos::virtio::p9::{self, Virtio9p};
use crate::qos::virtio::{Features, Kind, Plain, Virtio};

/// The tag in the configuration.
pub const TAG: &str = "qgraph";

/// The 9P device.
pub struct P9;

impl Kind for P9 {
    const DEVICE_TYPE: u32 = p9::DEVICE_TYPE;
    const FEATURES: Features = p9::FEATURES;
    const BACKEND: &str = "-fsdev synth,id=fsdev0";
    const PROPERTIES: &str = "id=p9,fsdev=fsdev0,mount_tag=qgraph";
    type Interface = Virtio9p;

    fn interface(virtio: Virtio) -> Virtio9p {
        Virtio9p(virtio)
    }

    fn plain(virtio: &Virtio) -> Result<Option<Plain>> {
        p9::plain(virtio).map(Some)
    }
}

virtio_kind!(P9 as Virtio9p: pci "virtio-9p-pci", mmio "virtio-9p-device");
