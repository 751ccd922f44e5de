//! The virtio memory balloon, with all of its queues but that of hints.

use crate::Result;
use crate::drivers::virtio::pci::virtio_kind;
use crate::qos::virtio::balloon::{self, VirtioBalloon};
use crate::qos::virtio::{Features, Kind, Plain, Virtio};

/// Its QOM path.
pub const QOM_PATH: &str = "/machine/peripheral/balloon0";

/// The balloon.
pub struct Balloon;

impl Kind for Balloon {
    const DEVICE_TYPE: u32 = balloon::DEVICE_TYPE;
    const FEATURES: Features = balloon::FEATURES;
    const PROPERTIES: &str = "id=balloon0,deflate-on-oom=on,free-page-reporting=on";
    type Interface = VirtioBalloon;

    fn interface(virtio: Virtio) -> VirtioBalloon {
        VirtioBalloon(virtio)
    }

    fn plain(virtio: &Virtio) -> Result<Option<Plain>> {
        balloon::plain(virtio).map(Some)
    }
}

virtio_kind!(Balloon as VirtioBalloon: pci "virtio-balloon-pci", mmio "virtio-balloon-device");
