//! Digital's 21143 (21143 PCI/CardBus LAN Controller Hardware Reference Manual, whose sections are
//! cited), which QEMU calls `tulip`.

mod nic;
mod registers;

use std::rc::Rc;

pub use self::nic::{Parts, SETUP_LENGTH, Words, setup_frame};
pub use self::registers::*;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qos::net;
use crate::qos::nic::{Nic, RingNic, Started};
use crate::qos::pci::{ExpectedBar, Identity, PciBus, PciFunction, PciPlug, Space};
use crate::qos::registers::{RegisterBlock, RegistersExt};
use crate::{Result, driver};

/// What its configuration space says.
const IDENTITY: Identity = Identity {
    vendor: 0x1011,
    device: 0x0019,
    revision: 0,
    class: 0x02_00_00,
    subsystem: (0x103c, 0x104f),
    pin: 1,
    bars: &[
        ExpectedBar { number: 0, space: Space::Io, size: 0x80, witness: Some(CSR6.offset()) },
        ExpectedBar { number: 1, space: Space::Memory, size: 0x80, witness: Some(CSR6.offset()) },
    ],
    capabilities: &[],
};

/// QEMU's `tulip`.
pub struct Tulip {
    /// Where it is plugged in, and its registers.
    pub plug: PciPlug,
    parts: Started<Parts>,
}

impl Consumes<dyn PciBus> for Tulip {
    const ARGS: QemuArgs = net::PCI_DEVICE;

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        Ok(Self { plug: PciPlug::attach(&bus, site, 1)?, parts: Started::default() })
    }
}

impl Produces<PciFunction> for Tulip {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        self.plug.function(IDENTITY)
    }
}

impl Produces<RegisterBlock> for Tulip {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = self.plug.block("21143 Hardware Reference Manual", TABLE);
        Rc::new(block.software_reset(|registers| registers.set(CSR0, CSR0_RESET)))
    }
}

driver!(
    Tulip = "tulip";
    consumes dyn PciBus;
    produces PciFunction, RegisterBlock, dyn Nic, dyn RingNic
);
