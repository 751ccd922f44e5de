//! The virtio GPU, with one screen of 640 by 480 pixels and no third dimension.

use crate::Result;
use crate::drivers::virtio::pci::virtio_kind;
use crate::qemu::Image;
use crate::qos::display::SCREEN;
use crate::qos::virtio::gpu::{self, VirtioGpu};
use crate::qos::virtio::{Features, Kind, Plain, Virtio};

/// The identifier of the device in QMP.
pub const ID: &str = "gpu0";

/// The GPU.
pub struct Gpu;

impl Kind for Gpu {
    const DEVICE_TYPE: u32 = gpu::DEVICE_TYPE;
    const FEATURES: Features = gpu::FEATURES;
    const IMAGES: &[Image] = &[SCREEN];
    const PROPERTIES: &str = "id=gpu0,edid=on,xres=640,yres=480";
    const IS_TRANSITIONAL: bool = false;
    type Interface = VirtioGpu;

    fn interface(virtio: Virtio) -> VirtioGpu {
        VirtioGpu(virtio)
    }

    fn plain(virtio: &Virtio) -> Result<Option<Plain>> {
        gpu::plain(virtio).map(Some)
    }
}

virtio_kind!(Gpu as VirtioGpu: pci "virtio-gpu-pci", mmio "virtio-gpu-device");
