//! QEMU's UFS host controller with one device of two logical units: one with an image, one that
//! reads as zeroes (JESD223E, UFSHCI 4.0; JESD220F, UFS 4.0).

mod disk;
pub mod host;
pub mod registers;
pub mod upiu;

use std::rc::Rc;

use crate::graph::{Addition, Consumes, Produces, QemuArgs, Site, When};
use crate::qemu::Version;
use crate::qos::block::{BlockDevice, DISK};
use crate::qos::pci::{PciBus, PciFunction, PciPlug};
use crate::{Result, driver};

/// The logical unit with the image [`DISK`].
pub const UNIT: u8 = 0;
/// The logical unit that reads as zeroes.
pub const ZEROES: u8 = 3;
/// The size of that unit in bytes.
pub const ZEROES_SIZE: u64 = 2 << 20;
/// The size of a logical block in bytes.
pub const BLOCK: usize = 4096;

/// QEMU's `ufs`.
pub struct Ufs {
    /// Where it is plugged in, and its registers.
    pub plug: PciPlug,
}

/// Queues beside the list of requests.
const WHEN: &[When] =
    &[When::since(Version::new(8, 2, 50), Addition::properties(&["mcq=on", "mcq-maxq=2"]))];

impl Consumes<dyn PciBus> for Ufs {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr},id=ufs0,serial=qgraph-disk")
        .before(
            "-drive if=none,id=drive0,format=raw,auto-read-only=off,discard=unmap,file={disk} \
             -blockdev null-co,node-name=zeroes,read-zeroes=on,size=2097152",
        )
        .after(
            "-device ufs-lu,bus=ufs0,drive=drive0,lun=0 -device ufs-lu,bus=ufs0,drive=zeroes,lun=3",
        )
        .images(&[DISK])
        .when(WHEN);

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Ok(Self { plug: PciPlug::attach(&bus, site, 0)? })
    }
}

impl Produces<PciFunction> for Ufs {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        let (device, mapped) = (self.plug.device.clone(), vec![self.plug.registers.clone()]);
        Rc::new(PciFunction { device, identity: None, mapped })
    }
}

driver!(Ufs = "ufs"; consumes dyn PciBus; produces PciFunction, dyn BlockDevice);
