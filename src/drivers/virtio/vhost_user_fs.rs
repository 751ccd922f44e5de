//! The virtio file system with a vhost-user back end.

use crate::Result;
use crate::drivers::virtio::pci::virtio_kind;
use crate::qemu::{Backend, Socket};
use crate::qos::vhost::{self, SimpleDevice, VhostUser, VhostUserDevice};
use crate::qos::virtio::{Features, Kind, Plain, Virtio};

/// The device type (5.11).
const DEVICE_TYPE: u32 = 26;
/// The queue of requests.
const REQUESTS: u16 = 1;

/// The back end.
const BACKEND: Backend = Backend::new(|stream| {
    let device = SimpleDevice::inverting(2);
    VhostUser::serve(stream, device)
});

/// The file system.
pub struct VhostUserFs;

impl Kind for VhostUserFs {
    const DEVICE_TYPE: u32 = DEVICE_TYPE;
    const FEATURES: Features = Features::NONE;
    const BACKEND: &str = vhost::CHARDEV;
    const SOCKETS: &[Socket] = &[vhost::SOCKET.served_by(BACKEND.of("vhost-user-fs"))];
    const PROPERTIES: &str = "id=vhost0,chardev=vhost,tag=share";
    const IS_TRANSITIONAL: bool = false;
    type Interface = VhostUserDevice;

    fn interface(virtio: Virtio) -> VhostUserDevice {
        VhostUserDevice(virtio)
    }

    fn plain(virtio: &Virtio) -> Result<Option<Plain>> {
        vhost::plain(virtio, REQUESTS)
    }
}

virtio_kind!(VhostUserFs as VhostUserDevice: pci "vhost-user-fs-pci", mmio "vhost-user-fs-device");
