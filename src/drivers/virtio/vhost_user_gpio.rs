//! The virtio GPIO controller with a vhost-user back end.

use crate::Result;
use crate::drivers::virtio::pci::virtio_kind;
use crate::qemu::{Backend, Socket};
use crate::qos::vhost::{self, SimpleDevice, VhostUser, VhostUserGpio as Interface};
use crate::qos::virtio::{Features, Kind, Plain, Virtio};

/// The device type (5.18).
const DEVICE_TYPE: u32 = 41;
/// Feature: lines interrupt.
const F_IRQ: u64 = 1 << 0;
/// The configuration: four lines without names.
const CONFIG: &[u8] = &[4, 0, 0, 0, 0, 0, 0, 0];
/// The queue of requests.
const REQUESTS: u16 = 0;

/// The back end.
const BACKEND: Backend = Backend::new(|stream| {
    let device = SimpleDevice::inverting(2);
    VhostUser::serve(stream, SimpleDevice { features: F_IRQ, config: CONFIG, ..device })
});

/// The GPIO controller.
pub struct VhostUserGpio;

impl Kind for VhostUserGpio {
    const DEVICE_TYPE: u32 = DEVICE_TYPE;
    const FEATURES: Features = Features { must: 0, may: F_IRQ, legacy_may: F_IRQ };
    const BACKEND: &str = vhost::CHARDEV;
    const SOCKETS: &[Socket] = &[vhost::SOCKET.served_by(BACKEND.of("vhost-user-gpio"))];
    const PROPERTIES: &str = "id=vhost0,chardev=vhost";
    const IS_TRANSITIONAL: bool = false;
    type Interface = Interface;

    fn interface(virtio: Virtio) -> Interface {
        Interface(virtio)
    }

    fn plain(virtio: &Virtio) -> Result<Option<Plain>> {
        vhost::plain(virtio, REQUESTS)
    }
}

virtio_kind!(VhostUserGpio as Interface: pci "vhost-user-gpio-pci", mmio "vhost-user-gpio-device");
