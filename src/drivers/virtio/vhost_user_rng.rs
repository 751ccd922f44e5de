//! The virtio entropy device with a vhost-user back end, which is given guest memory a region at a
//! time.

use crate::drivers::virtio::pci::virtio_kind;
use crate::qemu::{Backend, Socket};
use crate::qos::vhost::{self, Protocol, SimpleDevice, VhostUser, VhostUserDevice};
use crate::qos::virtio::{Features, Kind, Plain, Segment, Virtio, rng};
use crate::{Error, Result};

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
    const SOCKETS: &[Socket] = &[vhost::SOCKET.served_by(BACKEND.of("vhost-user-rng"))];
    const PROPERTIES: &str = "id=vhost0,chardev=vhost";
    const IS_TRANSITIONAL: bool = false;
    const IN_SLOT: Option<&str> = Some("vhost-user-rng");
    type Interface = VhostUserDevice;

    fn interface(virtio: Virtio) -> VhostUserDevice {
        VhostUserDevice(virtio)
    }

    fn plain(virtio: &Virtio) -> Result<Option<Plain>> {
        match virtio.vm().has_user_backend() {
            true => entropy(virtio).map(Some),
            false => vhost::plain(virtio, 0),
        }
    }
}

/// A request for entropy: any number of bytes may come (5.4.6.2).
fn entropy(virtio: &Virtio) -> Result<Plain> {
    const ROOM: u32 = 24;
    let buffer = virtio.vm().ram().alloc(ROOM as usize, 1)?;
    let segments = vec![Segment::writable(&buffer)];
    let check = move |written| {
        let _buffer = &buffer;
        match written {
            1..=ROOM => Ok(()),
            _ => Err(Error::failed(format!("{written} bytes of entropy for {ROOM} were written"))),
        }
    };
    Ok(Plain { queue: 0, segments, check: Box::new(check) })
}

virtio_kind!(VhostUserRng as VhostUserDevice: pci "vhost-user-rng-pci", mmio "vhost-user-rng-device");
