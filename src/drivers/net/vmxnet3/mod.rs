//! VMware's paravirtual network card `vmxnet3` (its registers are those of VMware's driver).

mod nic;
pub mod registers;
pub mod rings;

use std::rc::Rc;

pub use self::nic::Parts;

use crate::graph::{Consumes, Produces, QemuArgs, Site};
use crate::qos::net;
use crate::qos::nic::{Nic, RingNic, Started};
use crate::qos::pci::config::EXPRESS;
use crate::qos::pci::{Bar, ExpectedBar, Identity, PciBus, PciFunction, PciPlug, Space};
use crate::qos::registers::RegisterBlock;
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
    /// The registers of BAR 0, of interrupts and queues.
    pub queues: Rc<Bar>,
    parts: Started<Parts>,
}

impl Consumes<dyn PciBus> for Vmxnet3 {
    const ARGS: QemuArgs = net::PCI_DEVICE;

    fn attach(bus: Rc<dyn PciBus>, site: &Site) -> Result<Self> {
        let plug = PciPlug::attach(&bus, site, 1)?;
        let queues = plug.device.map_bar(0)?;
        Ok(Self { plug, queues, parts: Started::default() })
    }
}

impl Produces<PciFunction> for Vmxnet3 {
    fn produced(self: Rc<Self>) -> Rc<PciFunction> {
        // Plugged into PCI Express it has that capability (0x10) before the others.
        let list = self.plug.device.capabilities().unwrap_or_default();
        let express = list.iter().any(|capability| capability.id == EXPRESS);
        let capabilities: &[u8] =
            if express { &[EXPRESS, 0x11, 0x05] } else { IDENTITY.capabilities };
        let mapped = vec![self.queues.clone(), self.plug.registers.clone()];
        let identity = Some(Identity { capabilities, ..IDENTITY });
        Rc::new(PciFunction { device: self.plug.device.clone(), identity, mapped })
    }
}

impl Produces<RegisterBlock> for Vmxnet3 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(self.plug.block("vmxnet3", registers::TABLE))
    }
}

driver!(
    Vmxnet3 = "vmxnet3";
    consumes dyn PciBus;
    produces PciFunction, RegisterBlock, dyn Nic, dyn RingNic
);
