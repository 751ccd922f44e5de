//! The virtio SCSI host adapter with a vhost-user back end.

use crate::Result;
use crate::drivers::virtio::pci::virtio_kind;
use crate::qemu::{Backend, Socket};
use crate::qos::vhost::{self, SimpleDevice, VhostUser, VhostUserDevice};
use crate::qos::virtio::{Features, Kind, Plain, Virtio};

/// The device type (5.6).
const DEVICE_TYPE: u32 = 8;
/// Feature: requests have data both ways.
const F_INOUT: u64 = 1 << 0;
/// Feature: units come and go.
const F_HOTPLUG: u64 = 1 << 1;
/// Feature: units change.
const F_CHANGE: u64 = 1 << 2;
/// The queue of requests.
const REQUESTS: u16 = 2;

/// The back end.
const BACKEND: Backend = Backend::new(|stream| {
    let device = SimpleDevice::inverting(3);
    VhostUser::serve(stream, SimpleDevice { features: F_INOUT | F_HOTPLUG | F_CHANGE, ..device })
});

/// The SCSI host adapter.
pub struct VhostUserScsi;

impl Kind for VhostUserScsi {
    const DEVICE_TYPE: u32 = DEVICE_TYPE;
    const FEATURES: Features = Features {
        must: 0,
        may: F_INOUT | F_HOTPLUG | F_CHANGE,
        legacy_may: F_INOUT | F_HOTPLUG | F_CHANGE,
    };
    const BACKEND: &str = vhost::CHARDEV;
    const SOCKETS: &[Socket] = &[vhost::SOCKET.served_by(BACKEND.of("vhost-user-scsi"))];
    const PROPERTIES: &str = "id=vhost0,chardev=vhost,num_queues=1";
    const IN_SLOT: Option<&str> = Some("vhost-user-scsi");
    type Interface = VhostUserDevice;

    fn interface(virtio: Virtio) -> VhostUserDevice {
        VhostUserDevice(virtio)
    }

    fn plain(virtio: &Virtio) -> Result<Option<Plain>> {
        vhost::plain(virtio, REQUESTS)
    }
}

virtio_kind!(VhostUserScsi as VhostUserDevice: pci "vhost-user-scsi-pci", mmio "vhost-user-scsi-device");
