//! The virtio socket device with a vhost-user back end.

use crate::Result;
use crate::drivers::virtio::pci::virtio_kind;
use crate::qemu::{Backend, Socket};
use crate::qos::vhost::{self, SimpleDevice, VhostUser, VhostUserDevice};
use crate::qos::virtio::{Features, Kind, Plain, Virtio};

/// The device type (5.10).
const DEVICE_TYPE: u32 = 19;
/// The configuration: the guest is 3.
const CONFIG: &[u8] = &[3, 0, 0, 0, 0, 0, 0, 0];
/// The queue of requests.
const REQUESTS: u16 = 1;

/// The back end.
const BACKEND: Backend = Backend::new(|stream| {
    let device = SimpleDevice::inverting(2);
    VhostUser::serve(stream, SimpleDevice { config: CONFIG, ..device })
});

/// The socket device.
pub struct VhostUserVsock;

impl Kind for VhostUserVsock {
    const DEVICE_TYPE: u32 = DEVICE_TYPE;
    const FEATURES: Features = Features::NONE;
    const BACKEND: &str = vhost::CHARDEV;
    const SOCKETS: &[Socket] = &[vhost::SOCKET.served_by(BACKEND.of("vhost-user-vsock"))];
    const PROPERTIES: &str = "id=vhost0,chardev=vhost";
    type Interface = VhostUserDevice;

    fn interface(virtio: Virtio) -> VhostUserDevice {
        VhostUserDevice(virtio)
    }

    fn plain(virtio: &Virtio) -> Result<Option<Plain>> {
        vhost::plain(virtio, REQUESTS)
    }
}

virtio_kind!(VhostUserVsock as VhostUserDevice: pci "vhost-user-vsock-pci", mmio "vhost-user-vsock-device");
