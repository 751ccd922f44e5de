//! The virtio memory device: a region of guest memory whose blocks the guest has plugged and
//! unplugged. It has no place on a board without slots for memory.

use serde_json::json;

use crate::Result;
use crate::drivers::virtio::pci::virtio_kind;
use crate::qemu::{MIB, Vm};
use crate::qos::virtio::mem::{self, VirtioMem};
use crate::qos::virtio::{Features, Kind, Plain, Virtio};

/// The size of the region in bytes.
pub const REGION: u64 = 512 * MIB;
/// The size of a block.
pub const BLOCK: u64 = 2 * MIB;
/// How much memory the device asks for at first.
pub const REQUESTED: u64 = 16 * MIB;
/// The identifier of the device in QMP.
pub const ID: &str = "vm0";
/// The QOM path of the device.
const QOM_PATH: &str = "/machine/peripheral/vm0";

/// Words by which QEMU refuses it on machines that cannot have it.
pub(super) const REFUSALS: &[&str] = &[
    "memory hotplug is not enabled",
    "memory devices (e.g. for memory hotplug) are not supported",
    "the machine does not support memory hotplug",
    "is not supported by the machine",
    "unsupported amount of memory slots",
    "machine doesn't support hotplug",
    "'maxmem'",
    "maxmem",
    "Check your machine implements a hotplug handler",
];

/// Has the device ask for so many bytes of memory.
///
/// # Errors
/// QEMU refuses.
pub fn request(vm: &Vm, bytes: u64) -> Result<()> {
    vm.note_lasting("the size of memory that is asked for");
    let set = json!({ "path": QOM_PATH, "property": "requested-size", "value": bytes });
    vm.qmp().execute("qom-set", set)?;
    Ok(())
}

/// The memory device.
pub struct Mem;

impl Kind for Mem {
    const DEVICE_TYPE: u32 = mem::DEVICE_TYPE;
    const FEATURES: Features = mem::FEATURES;
    const NEEDED: u64 = mem::F_UNPLUGGED_INACCESSIBLE;
    const BACKEND: &str = "-m slots=2,maxmem=4G -object memory-backend-ram,id=vmem0,size=512M";
    const PROPERTIES: &str = "id=vm0,memdev=vmem0,block-size=2M,requested-size=16M";
    const IS_TRANSITIONAL: bool = false;
    const REFUSALS: &[&str] = REFUSALS;
    type Interface = VirtioMem;

    fn interface(virtio: Virtio) -> VirtioMem {
        VirtioMem(virtio, request)
    }

    fn plain(virtio: &Virtio) -> Result<Option<Plain>> {
        mem::plain(virtio).map(Some)
    }
}

virtio_kind!(Mem as VirtioMem: pci "virtio-mem-pci");
