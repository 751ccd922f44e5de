//! The virtio interface for system control with a vhost-user back end.

use crate::Result;
use crate::drivers::virtio::pci::virtio_kind;
use crate::qemu::{Backend, Socket};
use crate::qos::vhost::{self, SimpleDevice, VhostUser, VhostUserScmi as Interface};
use crate::qos::virtio::{Features, Kind, Plain, Virtio};

/// The device type (5.17).
const DEVICE_TYPE: u32 = 32;
/// Feature: the platform sends messages of its own.
const F_P2A_CHANNELS: u64 = 1 << 0;
/// The queue of requests.
const REQUESTS: u16 = 0;

/// The back end.
const BACKEND: Backend = Backend::new(|stream| {
    let device = SimpleDevice::inverting(2);
    VhostUser::serve(stream, SimpleDevice { features: F_P2A_CHANNELS, ..device })
});

/// The interface for system control.
pub struct VhostUserScmi;

impl Kind for VhostUserScmi {
    const DEVICE_TYPE: u32 = DEVICE_TYPE;
    const FEATURES: Features =
        Features { must: 0, may: F_P2A_CHANNELS, legacy_may: F_P2A_CHANNELS };
    const BACKEND: &str = vhost::CHARDEV;
    const SOCKETS: &[Socket] = &[vhost::SOCKET.served_by(BACKEND.of("vhost-user-scmi"))];
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

virtio_kind!(VhostUserScmi as Interface: pci "vhost-user-scmi-pci", mmio "vhost-user-scmi-device");
