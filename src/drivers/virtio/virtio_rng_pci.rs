//! The virtio entropy device as a PCI function, fed from an image in memory.

use std::rc::Rc;

use crate::graph::{Consumes, Place, Produces, QemuArgs, Variant};
use crate::qemu::{Image, MIB};
use crate::qos::pci::{PciAddress, PciBus, PciFunction};
use crate::qos::virtio::rng::{DEVICE_TYPE, VirtioRng};
use crate::qos::virtio::{Virtio, VirtioPci};
use crate::{Result, driver};

/// Where the entropy comes from, from its first byte on.
pub const IMAGE: Image = Image { name: "entropy", size: MIB };
/// The back end that reads it.
pub const BACKEND: &str = "-object rng-random,id=rng0,filename={entropy}";
/// How many bytes the device gives in [`PERIOD_MS`].
pub const MAX_BYTES: usize = 65_536;
/// The time after which it gives as many again, in milliseconds.
pub const PERIOD_MS: u64 = 1000;

/// QEMU's `virtio-rng-pci`.
pub struct VirtioRngPci {
    pci: VirtioPci,
    bus: Rc<dyn PciBus>,
    virtio: Virtio,
}

const fn with(properties: &'static str) -> QemuArgs {
    QemuArgs::device(properties).before(BACKEND).images(&[IMAGE])
}

impl VirtioRngPci {
    /// The function.
    pub fn pci(&self) -> &VirtioPci {
        &self.pci
    }

    /// The bus it is on.
    pub fn bus(&self) -> &Rc<dyn PciBus> {
        &self.bus
    }
}

impl Consumes<dyn PciBus> for VirtioRngPci {
    const ARGS: QemuArgs = with("rng=rng0,max-bytes=65536,period=1000,addr=04.0");
    const MORE: &'static [Variant] = &[
        Variant {
            name: "modern",
            args: with("rng=rng0,max-bytes=65536,period=1000,addr=04.0,disable-legacy=on"),
        },
        Variant {
            name: "packed",
            args: with(
                "rng=rng0,max-bytes=65536,period=1000,addr=04.0,disable-legacy=on,packed=on",
            ),
        },
    ];

    fn attach(bus: Rc<dyn PciBus>, place: &Place) -> Result<Self> {
        let pci = VirtioPci::find(&bus, PciAddress::new(4, 0), place.vm)?;
        let virtio = Virtio::new(place.vm, pci.transport().clone(), DEVICE_TYPE)?;
        Ok(Self { pci, bus, virtio })
    }
}

impl Produces<VirtioRng> for VirtioRngPci {
    fn produced(self: Rc<Self>) -> Rc<VirtioRng> {
        Rc::new(VirtioRng(self.virtio.clone()))
    }
}

impl Produces<Virtio> for VirtioRngPci {
    fn produced(self: Rc<Self>) -> Rc<Virtio> {
        Rc::new(self.virtio.clone())
    }
}

impl Produces<PciFunction> for VirtioRngPci {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        let device = self.pci.device().clone();
        Rc::new(PciFunction { device, identity: None, mapped: Vec::new() })
    }
}

driver!(
    VirtioRngPci = "virtio-rng-pci";
    consumes dyn PciBus;
    produces VirtioRng, Virtio, PciFunction
);
