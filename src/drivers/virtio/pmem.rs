//! The virtio persistent memory device, whose region is an image in memory.

use super::mem::REFUSALS;
use crate::Result;
use crate::drivers::virtio::pci::virtio_kind;
use crate::qemu::{Image, MIB};
use crate::qos::virtio::pmem::{self, VirtioPmem};
use crate::qos::virtio::{Features, Kind, Plain, Virtio};

/// What is in the region.
pub const IMAGE: Image = Image { name: "pmem", size: 16 * MIB };

/// The persistent memory device.
pub struct Pmem;

impl Kind for Pmem {
    const DEVICE_TYPE: u32 = pmem::DEVICE_TYPE;
    const FEATURES: Features = pmem::FEATURES;
    const BACKEND: &str = "-m slots=2,maxmem=4G \
         -object memory-backend-file,id=pmem0,share=on,mem-path={pmem},size=16M";
    const IMAGES: &[Image] = &[IMAGE];
    const PROPERTIES: &str = "id=nv0,memdev=pmem0";
    const IS_TRANSITIONAL: bool = false;
    const REFUSALS: &[&str] = REFUSALS;
    type Interface = VirtioPmem;

    fn interface(virtio: Virtio) -> VirtioPmem {
        VirtioPmem(virtio)
    }

    fn plain(virtio: &Virtio) -> Result<Option<Plain>> {
        pmem::plain(virtio).map(Some)
    }
}

virtio_kind!(Pmem as VirtioPmem: pci "virtio-pmem-pci");
