//! VMware's paravirtual network card `vmxnet3` (its registers are those of VMware's driver).

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qos::net;
use crate::qos::pci::config::EXPRESS;
use crate::qos::pci::{ExpectedBar, Identity, PciBus, PciFunction, PciPlug, Space};
use crate::{Result, driver};

/// What its configuration space says: MSI-X (0x11) and MSI (5).
const IDENTITY: Identity = Identity {
    vendor: 0x15ad,
    device: 0x07b0,
    revision: 0x01,
    class: 0x02_00_00,
    subsystem: (0x15ad, 0x07b0),
    pin: 1,
    bars: &[
        ExpectedBar { number: 0, space: Space::Memory, size: 0x1000, witness: None },
        ExpectedBar { number: 1, space: Space::Memory, size: 0x1000, witness: Some(0) },
        ExpectedBar { number: 2, space: Space::Memory, size: 0x2000, witness: None },
    ],
    capabilities: &[0x11, 0x05],
};

/// QEMU's `vmxnet3`.
pub struct Vmxnet3 {
    /// Where it is plugged in, and the registers of BAR 1.
    pub plug: PciPlug,
}

impl Consumes<dyn PciBus> for Vmxnet3 {
    const ARGS: QemuArgs = net::PCI_DEVICE;

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Ok(Self { plug: PciPlug::attach(&bus, site, 1)? })
    }
}

impl Produces<PciFunction> for Vmxnet3 {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        // Plugged into PCI Express it has that capability (0x10) before the others.
        let list = self.plug.device.capabilities().unwrap_or_default();
        let express = list.iter().any(|capability| capability.id == EXPRESS);
        let capabilities: &[u8] =
            if express { &[EXPRESS, 0x11, 0x05] } else { IDENTITY.capabilities };
        self.plug.function(Identity { capabilities, ..IDENTITY })
    }
}

driver!(Vmxnet3 = "vmxnet3"; consumes dyn PciBus; produces PciFunction);
