//! The virtio IOMMU device, for the functions of the root bus that it is on.

use std::rc::Rc;

use crate::drivers::virtio::pci::OverPci;
use crate::graph::{Produces, QemuArgs};
use crate::qos::iommu::{NO_ENGINES, TWO_ENGINES};
use crate::qos::pci::{PciBus, PciFunction};
use crate::qos::virtio::iommu::{self, VirtioIommu};
use crate::qos::virtio::{Features, Kind, Plain, Virtio};
use crate::{Result, driver, qos};

/// The IOMMU device.
pub struct Iommu;

impl Kind for Iommu {
    const DEVICE_TYPE: u32 = iommu::DEVICE_TYPE;
    const FEATURES: Features = iommu::FEATURES;
    const PROPERTIES: &str = "";
    const IS_TRANSITIONAL: bool = false;
    // It has to be known to the machine, and there are devices behind it that test it.
    const REFUSALS: &[&str] = &["Check your machine implements a hotplug handler", NO_ENGINES];
    const ON_ROOT_ONLY: bool = true;
    type Interface = Virtio;

    fn interface(virtio: Virtio) -> Virtio {
        virtio
    }

    fn plain(virtio: &Virtio) -> Result<Option<Plain>> {
        iommu::plain(virtio).map(Some)
    }
}

impl Produces<VirtioIommu> for OverPci<Iommu> {
    fn produced(self: Rc<Self>) -> Rc<VirtioIommu> {
        let (bus, at) = (self.bus().clone(), self.pci().device().address());
        Rc::new(VirtioIommu { device: self.interface(), bus, at })
    }
}

impl Produces<dyn qos::iommu::Iommu> for OverPci<Iommu> {
    const ARGS: QemuArgs = QemuArgs::NONE.after(TWO_ENGINES);

    fn produced(self: Rc<Self>) -> Rc<dyn qos::iommu::Iommu> {
        Produces::<VirtioIommu>::produced(self)
    }
}

driver!(
    OverPci<Iommu> = "virtio-iommu-pci";
    consumes dyn PciBus;
    produces VirtioIommu, dyn qos::iommu::Iommu, Virtio, PciFunction
);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::graph::Model;

    /// Would catch paths to a device of root buses behind bridges, none at all, and a start that
    /// QEMU refuses in other words than those that are declared and that is skipped.
    #[test]
    fn is_on_root_buses_and_may_be_refused() {
        let model = Arc::new(Model::registered());
        let walk = model.walk(None, |machine| machine == "x86_64/q35");
        let walk = walk.within(|name| !name.contains("/pci-card"));
        let paths = walk.filter(|path| path.name().contains("/virtio-iommu-pci"));
        let mut seen = 0;
        for path in paths {
            let name = path.name();
            assert_eq!(name.matches("/pci-bus/").count(), 1, "{name}");
            assert!(path.may_be_refused("QEMU: Check your machine implements a hotplug handler"));
            assert!(!path.may_be_refused("QEMU: no such bus"), "{name}");
            seen += 1;
        }
        assert!(seen > 50, "{seen} paths");
    }
}
