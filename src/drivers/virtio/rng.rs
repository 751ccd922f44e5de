//! The virtio entropy device, fed from an image in memory.

use crate::Result;
use crate::drivers::virtio::pci::virtio_kind;
use crate::qemu::{Image, MIB};
use crate::qos::virtio::rng::{self, VirtioRng};
use crate::qos::virtio::{Features, Kind, Plain, Virtio};

/// Where the entropy comes from, from its first byte on. QEMU spins at its end.
pub const IMAGE: Image = Image { name: "entropy", size: 64 * MIB };
/// How many bytes the device gives in [`PERIOD_MS`].
pub const MAX_BYTES: usize = 65_536;
/// The time after which it gives as many again, in milliseconds.
pub const PERIOD_MS: u64 = 1000;

/// The entropy device.
pub struct Rng;

impl Kind for Rng {
    const DEVICE_TYPE: u32 = rng::DEVICE_TYPE;
    const FEATURES: Features = Features::NONE;
    const BACKEND: &str = "-object rng-random,id=rng0,filename={entropy}";
    const IMAGES: &[Image] = &[IMAGE];
    const PROPERTIES: &str = "rng=rng0,max-bytes=65536,period=1000";
    type Interface = VirtioRng;

    fn interface(virtio: Virtio) -> VirtioRng {
        VirtioRng(virtio)
    }

    fn plain(virtio: &Virtio) -> Result<Option<Plain>> {
        rng::plain(virtio).map(Some)
    }
}

virtio_kind!(Rng as VirtioRng: pci "virtio-rng-pci", mmio "virtio-rng-device");
