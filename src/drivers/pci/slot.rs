//! The empty slot of a root port of PCI Express, into which devices are plugged while the machine
//! runs, by the port's own registers.

use std::rc::Rc;

use crate::graph::{Addition, Consumes, QemuArgs, Site, When};
use crate::qemu::Version;
use crate::qos::pci::bridge::Bridge;
use crate::qos::pci::slot::Slot;
use crate::qos::pci::{PciAddress, PciDevice, PcieBus};
use crate::{Result, driver};

/// QEMU's `pcie-root-port` with nothing behind it.
pub struct PcieSlot {
    slot: Slot,
}

impl PcieSlot {
    /// QEMU's name of the bus behind the port.
    pub const BUS: &str = "slot0";

    /// The slot.
    pub fn slot(&self) -> &Slot {
        &self.slot
    }
}

/// From 6.1 on a PC's firmware tables tell of such devices, and the port does not, unless it is
/// told to. Other machines know no such option, and warn of it.
const NATIVE: &[When] = &[When::since(
    Version::new(6, 1, 0),
    Addition::NONE.before("-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"),
)];

impl Consumes<PcieBus> for PcieSlot {
    const ARGS: QemuArgs =
        QemuArgs::named("pcie-root-port", "id=slot0,chassis=5,slot=3,bus={bus},addr={addr}")
            .when(NATIVE);

    fn attach(bus: Rc<PcieBus>, site: &Site) -> Result<Self> {
        let at = PciAddress::plugged(&bus.0, site)?;
        let number = bus.0.number() + 1;
        let bridge = Bridge::open(PciDevice::find(&bus.0, at)?, number, number)?;
        Ok(Self { slot: Slot::new(Rc::new(bridge))? })
    }
}

driver!(PcieSlot = "pcie-slot"; consumes PcieBus);
