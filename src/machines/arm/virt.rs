//! The virtual machine of the Arm emulators.

use std::rc::Rc;

use vm_memory::GuestAddress;

use crate::drivers::iommu::smmuv3::{Linear, Smmuv3, Stage2, TwoLevels, Use};
use crate::drivers::pci::generic_pcihost::{GenericPcihost, Layout};
use crate::drivers::pci::pci_bus_generic::PciBusGeneric;
use crate::drivers::virtio::mmio::VirtioMmio;
use crate::graph::{Boots, Contains, Node, Produces, Setup};
use crate::guests::Way;
use crate::qemu::{MIB, RamSpec};
use crate::qos::platform_bus::PlatformBus;
use crate::qos::qom::find_one;
use crate::qos::virtio::Slots;
use crate::{Result, boots, machine};

machine! {
    /// QEMU's `virt`.
    pub struct ArmVirt = "arm/virt", "aarch64/virt";
    setup Setup::bare(RamSpec::new(0x4000_0000, 128 * MIB));
    contains GenericPcihost, VirtioMmio, Smmuv3<Linear>, Smmuv3<TwoLevels>, Smmuv3<Stage2>;
    produces PlatformBus
}

/// Where the first device on the platform bus is.
const PLATFORM: u64 = 0x0c00_0000;

impl Produces<PlatformBus> for ArmVirt {
    fn produced(self: Rc<Self>) -> Rc<PlatformBus> {
        Rc::new(PlatformBus { vm: self.vm().clone(), base: PLATFORM })
    }
}

boots!(ArmVirt, Boots::with_serial(Way::Kernel));
boots!(ArmVirt, Boots::with_serial(Way::Bios));

/// The configuration space, above the RAM where the CPU can address that.
const ECAM_HIGH: u64 = 0x40_1000_0000;
/// The configuration space elsewhere.
const ECAM_LOW: u64 = 0x3f00_0000;
/// Vendor and device of the host bridge itself, the first function there.
const BRIDGE: u32 = 0x0008_1b36;

impl ArmVirt {
    fn layout(&self) -> Result<Layout> {
        let is_high = self.vm.qtest().readl(GuestAddress(ECAM_HIGH))? == BRIDGE;
        Ok(Layout {
            ecam: if is_high { ECAM_HIGH } else { ECAM_LOW },
            io: 0x3eff_0000,
            ports: (0x1000, 0xf000),
            memory: (0x1000_0000, 0x2eff_0000),
            line: Some(|vm, pin| Ok((find_one(vm, "arm_gic")?, 3 + pin))),
        })
    }
}

impl Contains<GenericPcihost> for ArmVirt {
    fn contained(&self) -> Result<GenericPcihost> {
        Ok(GenericPcihost::new(&self.vm, self.layout()?))
    }
}

/// Where it has its System MMU, if it has one.
const SMMU: u64 = 0x0905_0000;

impl<U: Use> Contains<Smmuv3<U>> for ArmVirt
where
    Smmuv3<U>: Node,
{
    fn contained(&self) -> Result<Smmuv3<U>> {
        let bus = Rc::new(PciBusGeneric::new(&self.vm, self.layout()?));
        Ok(Smmuv3::new(&self.vm, bus, SMMU))
    }
}

/// Where it has its slots for virtio devices.
const SLOTS: Slots = Slots {
    base: 0x0a00_0000,
    step: 0x200,
    count: 32,
    line: |vm, slot| Ok((find_one(vm, "arm_gic")?, 16 + slot)),
};

impl Contains<VirtioMmio> for ArmVirt {
    fn contained(&self) -> Result<VirtioMmio> {
        Ok(VirtioMmio::new(&self.vm, SLOTS))
    }
}
