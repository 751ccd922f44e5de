//! The virtio network device, whose cable ends at the harness.

use crate::Result;
use crate::drivers::virtio::pci::virtio_kind;
use crate::qemu::Socket;
use crate::qos::net::{BACKEND, SOCKET};
use crate::qos::virtio::net::{self, VirtioNet};
use crate::qos::virtio::{Features, Kind, Plain, Virtio};

/// The network device.
pub struct Net;

impl Kind for Net {
    const DEVICE_TYPE: u32 = net::DEVICE_TYPE;
    const FEATURES: Features = net::FEATURES;
    const BACKEND: &str = BACKEND;
    const SOCKETS: &[Socket] = &[SOCKET];
    const PROPERTIES: &str = "netdev=net,mac=02:11:22:33:44:55,id=nic0";
    type Interface = VirtioNet;

    fn interface(virtio: Virtio) -> VirtioNet {
        VirtioNet(virtio)
    }

    fn plain(virtio: &Virtio) -> Result<Option<Plain>> {
        net::plain(virtio).map(Some)
    }
}

virtio_kind!(Net as VirtioNet: pci "virtio-net-pci", mmio "virtio-net-device");
