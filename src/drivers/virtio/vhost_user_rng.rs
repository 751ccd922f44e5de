//! The virtio entropy device with a vhost-user back end, which is given guest memory a region at a
//! time.

use crate::Result;
use crate::drivers::virtio::pci::virtio_kind;
use crate::qemu::{Backend, Socket};
use crate::qos::vhost::{self, Protocol, SimpleDevice, VhostUser, VhostUserDevice};
use crate::qos::virtio::{Features, Kind, Plain, Virtio, rng};

/// The back end.
const BACKEND: Backend = Backend::new(|stream| {
    let device = SimpleDevice::inverting(1);
    VhostUser::serve(stream, SimpleDevice { protocol: Protocol::CONFIGURE_MEM_SLOTS, ..device })
});

/// The entropy device.
pub struct VhostUserRng;

impl Kind for VhostUserRng {
    const DEVICE_TYPE: u32 = rng::DEVICE_TYPE;
    const FEATURES: Features = Features::NONE;
    const BACKEND: &str = vhost::CHARDEV;
    const SOCKETS: &[Socket] = &[vhost::SOCKET.served_by(BACKEND)];
    const PROPERTIES: &str = "id=vhost0,chardev=vhost";
    const IS_TRANSITIONAL: bool = false;
    const IN_SLOT: Option<&str> = Some("vhost-user-rng");
    type Interface = VhostUserDevice;

    fn interface(virtio: Virtio) -> VhostUserDevice {
        VhostUserDevice(virtio)
    }

    fn plain(virtio: &Virtio) -> Result<Option<Plain>> {
        vhost::plain(virtio, 0).map(Some)
    }
}

virtio_kind!(VhostUserRng as VhostUserDevice: pci "vhost-user-rng-pci", mmio "vhost-user-rng-device");
