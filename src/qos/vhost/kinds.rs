//! The devices of which a back end can be one, as tests see them.

use std::rc::Rc;

use super::device::SimpleDevice;
use super::{Protocol, VhostUser};
use crate::graph::Produces;
use crate::qemu::Vm;
use crate::qos::virtio::blk::VirtioBlk;
use crate::qos::virtio::{Plain, Segment, Virtio};
use crate::{Error, Result, interface};

/// Any device with a vhost-user back end.
pub struct VhostUserDevice(
    /// The device.
    pub Virtio,
);

interface!(VhostUserDevice = "vhost-user");

impl VhostUserDevice {
    /// Its back end.
    ///
    /// # Errors
    /// It has none.
    pub fn backend(&self) -> Result<&VhostUser> {
        VhostUser::of(self.0.vm())
    }
}

/// A block device with a vhost-user back end.
pub struct VhostUserBlk(
    /// The device.
    pub Virtio,
);

interface!(VhostUserBlk = "vhost-user-blk"; produces VirtioBlk, VhostUserDevice);

impl VhostUserBlk {
    /// Returns this device behind the interface of virtio block devices.
    pub fn blk(&self) -> VirtioBlk {
        VirtioBlk(self.0.clone(), resize)
    }
}

/// Makes the disk of the back end one of so many bytes.
fn resize(vm: &Vm, bytes: u64) -> Result<()> {
    let sectors = bytes / crate::qos::virtio::blk::SECTOR as u64;
    VhostUser::of(vm)?.change_config(0, &sectors.to_le_bytes())
}

impl Produces<VirtioBlk> for VhostUserBlk {
    fn produced(self: Rc<Self>) -> Rc<VirtioBlk> {
        Rc::new(self.blk())
    }
}

impl Produces<VhostUserDevice> for VhostUserBlk {
    fn produced(self: Rc<Self>) -> Rc<VhostUserDevice> {
        Rc::new(VhostUserDevice(self.0.clone()))
    }
}

/// A GPIO controller with a vhost-user back end.
pub struct VhostUserGpio(
    /// The device.
    pub Virtio,
);

interface!(VhostUserGpio = "vhost-user-gpio"; produces VhostUserDevice);

impl Produces<VhostUserDevice> for VhostUserGpio {
    fn produced(self: Rc<Self>) -> Rc<VhostUserDevice> {
        Rc::new(VhostUserDevice(self.0.clone()))
    }
}

/// An interface for system control with a vhost-user back end.
pub struct VhostUserScmi(
    /// The device.
    pub Virtio,
);

interface!(VhostUserScmi = "vhost-user-scmi"; produces VhostUserDevice);

impl Produces<VhostUserDevice> for VhostUserScmi {
    fn produced(self: Rc<Self>) -> Rc<VhostUserDevice> {
        Rc::new(VhostUserDevice(self.0.clone()))
    }
}

/// The answer to a request of a device whose requests are not looked at: what the driver wrote,
/// each bit the other way.
pub fn inverted(_: u16, request: &[u8], room: usize) -> Vec<u8> {
    request.iter().cycle().map(|byte| !byte).take(room).collect()
}

impl SimpleDevice {
    /// A device of `queues` queues that answers with what was written, [inverted].
    pub const fn inverting(queues: u16) -> Self {
        Self {
            features: 0,
            protocol: Protocol::empty(),
            // QEMU 11.1 offers this feature of the back end to the guest of some devices.
            logs: false,
            queues,
            config: &[],
            waits: &[],
            answer: inverted,
        }
    }
}

/// A request of `queue` of a device that [inverts](inverted); `None` where a back end of the
/// user's serves it, which knows no such requests.
///
/// # Errors
/// No guest memory is left.
pub fn plain(device: &Virtio, queue: u16) -> Result<Option<Plain>> {
    if device.vm().has_user_backend() {
        return Ok(None);
    }
    let ram = device.vm().ram();
    let (request, answer) = (ram.alloc(24, 1)?, ram.alloc(24, 1)?);
    let sent: Vec<u8> = (0..24).map(|byte| 0x11 + 5 * byte).collect();
    request.write(0, &sent)?;
    let segments = vec![Segment::readable(&request), Segment::writable(&answer)];
    let check = move |written| {
        let (expected, came) = (inverted(queue, &sent, 24), answer.to_vec()?);
        let _request = &request;
        match written {
            24 if came == expected => Ok(()),
            _ => Err(Error::failed(format!(
                "the answer to {sent:x?}: {written} bytes written, {came:x?}"
            ))),
        }
    };
    Ok(Some(Plain { queue, segments, check: Box::new(check) }))
}
