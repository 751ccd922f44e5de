//! Ensoniq's AudioPCI ES1370 (data sheet ES1370).

use std::rc::Rc;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qos::pci::{ExpectedBar, Identity, PciBus, PciFunction, PciPlug, Space};
use crate::{Result, driver};

/// What its configuration space says.
const IDENTITY: Identity = Identity {
    vendor: 0x1274,
    device: 0x5000,
    revision: 0,
    class: 0x04_01_00,
    subsystem: (0x4942, 0x4c4c),
    pin: 1,
    bars: &[ExpectedBar { number: 0, space: Space::Io, size: 0x100, witness: None }],
    capabilities: &[],
};

/// QEMU's `ES1370`.
pub struct Es1370 {
    /// Where it is plugged in, and its registers.
    pub plug: PciPlug,
}

impl Consumes<dyn PciBus> for Es1370 {
    const ARGS: QemuArgs =
        QemuArgs::device("bus={bus},addr={addr},audiodev=snd0").before("-audiodev none,id=snd0");

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Ok(Self { plug: PciPlug::attach(&bus, site, 0)? })
    }
}

impl Produces<PciFunction> for Es1370 {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(IDENTITY)
    }
}

driver!(Es1370 = "ES1370"; consumes dyn PciBus; produces PciFunction);
