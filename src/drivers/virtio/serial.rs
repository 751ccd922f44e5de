//! The virtio serial device, with a port whose far end is the harness.

use crate::Result;
use crate::drivers::virtio::pci::virtio_kind;
use crate::qemu::Socket;
use crate::qos::virtio::serial::{self, VirtioSerial};
use crate::qos::virtio::{Features, Kind, Plain, Virtio};

/// The far end of port 1.
pub const SOCKET: Socket = Socket::new("port", "null,id=port");
/// The name of port 1 as the guest is told it.
pub const NAME: &str = "qgraph.port";

/// The serial device.
pub struct Serial;

impl Kind for Serial {
    const DEVICE_TYPE: u32 = serial::DEVICE_TYPE;
    const FEATURES: Features = serial::FEATURES;
    const BACKEND: &str = "-chardev socket,id=port,fd={port}";
    const SOCKETS: &[Socket] = &[SOCKET];
    const PROPERTIES: &str = "id=serial0";
    const BEHIND: &str = "-device virtserialport,bus=serial0.0,nr=1,chardev=port,name=qgraph.port";
    type Interface = VirtioSerial;

    fn interface(virtio: Virtio) -> VirtioSerial {
        VirtioSerial(virtio)
    }

    fn plain(virtio: &Virtio) -> Result<Option<Plain>> {
        serial::plain(virtio).map(Some)
    }
}

virtio_kind!(Serial as VirtioSerial: pci "virtio-serial-pci", mmio "virtio-serial-device");
