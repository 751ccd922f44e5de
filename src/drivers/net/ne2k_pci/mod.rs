//! The NE2000 on a PCI bus, Realtek's RTL8029 (National Semiconductor, data sheet DP8390D;
//! Realtek, data sheet RTL8029AS).

pub mod chip;
mod nic;

use std::rc::Rc;

use self::nic::Places;
pub use self::nic::{RING, TRANSMIT_PAGES};

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qos::net;
use crate::qos::nic::{Nic, Started};
use crate::qos::pci::{ExpectedBar, Identity, PciBus, PciFunction, PciPlug, Space};
use crate::qos::registers::{RegisterBlock, Registers, RegistersExt};
use crate::{Result, driver};

/// What its configuration space says; QEMU's subsystem is its own.
const IDENTITY: Identity = Identity {
    vendor: 0x10ec,
    device: 0x8029,
    revision: 0,
    class: 0x02_00_00,
    subsystem: (0x1af4, 0x1100),
    pin: 1,
    bars: &[ExpectedBar { number: 0, space: Space::Io, size: 0x100, witness: None }],
    capabilities: &[],
};

/// QEMU's `ne2k_pci`.
pub struct Ne2kPci {
    /// Where it is plugged in, and its registers.
    pub plug: PciPlug,
    places: Started<Places>,
}

impl Consumes<dyn PciBus> for Ne2kPci {
    const ARGS: QemuArgs = net::PCI_DEVICE;

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Ok(Self { plug: PciPlug::attach(&bus, site, 0)?, places: Started::default() })
    }
}

impl Produces<PciFunction> for Ne2kPci {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(IDENTITY)
    }
}

impl Produces<RegisterBlock> for Ne2kPci {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let plug = self.plug.clone();
        let block = RegisterBlock::new("DP8390D data sheet", Rc::new(self.pages()), chip::TABLE)
            .with_array(&chip::RSAR, 2, 1)
            .with_array(&chip::PAR, 6, 1)
            .with_array(&chip::MAR, 8, 1)
            .attach(move || -> Result<Rc<dyn Registers>> {
                Ok(Rc::new(chip::Pages(plug.again()?.registers)))
            })
            .software_reset(|registers| registers.get(chip::RESET).map(drop))
            .faults(chip::FAULTS);
        Rc::new(block)
    }
}

driver!(
    Ne2kPci = "ne2k_pci";
    consumes dyn PciBus;
    produces PciFunction, RegisterBlock, dyn Nic
);
