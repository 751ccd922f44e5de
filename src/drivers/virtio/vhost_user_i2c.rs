//! The virtio I2C adapter with a vhost-user back end.

use crate::Result;
use crate::drivers::virtio::pci::virtio_kind;
use crate::qemu::{Backend, Socket};
use crate::qos::vhost::{self, SimpleDevice, VhostUser, VhostUserDevice};
use crate::qos::virtio::{Features, Kind, Plain, Virtio};

/// The device type (5.16).
const DEVICE_TYPE: u32 = 34;
/// Feature: requests may have no data.
const F_ZERO_LENGTH_REQUEST: u64 = 1 << 0;
/// The queue of requests.
const REQUESTS: u16 = 0;

/// The back end.
const BACKEND: Backend = Backend::new(|stream| {
    let device = SimpleDevice::inverting(1);
    VhostUser::serve(stream, SimpleDevice { features: F_ZERO_LENGTH_REQUEST, ..device })
});

/// The I2C adapter.
pub struct VhostUserI2c;

impl Kind for VhostUserI2c {
    const DEVICE_TYPE: u32 = DEVICE_TYPE;
    const FEATURES: Features =
        Features { must: 0, may: F_ZERO_LENGTH_REQUEST, legacy_may: F_ZERO_LENGTH_REQUEST };
    const BACKEND: &str = vhost::CHARDEV;
    const SOCKETS: &[Socket] = &[vhost::SOCKET.served_by(BACKEND.of("vhost-user-i2c"))];
    const PROPERTIES: &str = "id=vhost0,chardev=vhost";
    const IS_TRANSITIONAL: bool = false;
    type Interface = VhostUserDevice;

    fn interface(virtio: Virtio) -> VhostUserDevice {
        VhostUserDevice(virtio)
    }

    fn plain(virtio: &Virtio) -> Result<Option<Plain>> {
        vhost::plain(virtio, REQUESTS)
    }
}

virtio_kind!(VhostUserI2c as VhostUserDevice: pci "vhost-user-i2c-pci", mmio "vhost-user-i2c-device");
