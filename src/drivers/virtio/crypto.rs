//! The virtio crypto device, with QEMU's own algorithms behind it.

use crate::Result;
use crate::drivers::virtio::pci::virtio_kind;
use crate::qos::virtio::crypto::{self, VirtioCrypto};
use crate::qos::virtio::{Features, Kind, Plain, Virtio};

/// The crypto device.
pub struct Crypto;

impl Kind for Crypto {
    const DEVICE_TYPE: u32 = crypto::DEVICE_TYPE;
    const FEATURES: Features = Features::NONE;
    const BACKEND: &str = "-object cryptodev-backend-builtin,id=cryptodev0";
    const PROPERTIES: &str = "cryptodev=cryptodev0";
    const IS_TRANSITIONAL: bool = false;
    type Interface = VirtioCrypto;

    fn interface(virtio: Virtio) -> VirtioCrypto {
        VirtioCrypto(virtio)
    }

    fn plain(virtio: &Virtio) -> Result<Option<Plain>> {
        crypto::plain(virtio).map(Some)
    }
}

virtio_kind!(Crypto as VirtioCrypto: pci "virtio-crypto-pci", mmio "virtio-crypto-device");
