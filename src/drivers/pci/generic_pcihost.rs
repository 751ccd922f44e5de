//! The generic PCI host bridge (`pci-host-ecam-generic` in device trees): configuration
//! space mapped in memory (PCI Express 3.0, 7.2.2), and windows into the two spaces.

use std::rc::Rc;

use crate::drivers::pci::pci_bus_generic::PciBusGeneric;
use crate::graph::{Contains, Plug, Produces};
use crate::qemu::Vm;
use crate::qos::pci::{PcieBus, SLOT};
use crate::{Result, driver};

/// Finds where an interrupt of the bridge ends, see [`Layout::line`].
pub type Line = fn(&Vm, u32) -> Result<(String, u32)>;

/// Where a machine has the bridge.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// The CPU address of the configuration space.
    pub ecam: u64,
    /// The CPU address of I/O port 0.
    pub io: u64,
    /// The ports free for BARs: first and count.
    pub ports: (u64, u64),
    /// The memory free for BARs, at the same address on the bus and for the CPU: start
    /// and length.
    pub memory: (u64, u64),
    /// Where the interrupt INTA# to INTD#, counted from 0, of the bridge ends: the path of the
    /// interrupt controller in QEMU's object model, and the number of its input. `None` if that
    /// is not known.
    pub line: Option<Line>,
}

/// A generic PCI host bridge.
pub struct GenericPcihost {
    vm: Rc<Vm>,
    layout: Layout,
}

impl GenericPcihost {
    /// The bridge of this machine.
    pub fn new(vm: &Rc<Vm>, layout: Layout) -> Self {
        Self { vm: vm.clone(), layout }
    }
}

impl Contains<PciBusGeneric> for GenericPcihost {
    fn contained(&self) -> Result<PciBusGeneric> {
        Ok(PciBusGeneric::new(&self.vm, self.layout))
    }
}

impl Produces<PcieBus> for GenericPcihost {
    const PLUG: Plug = SLOT;

    fn produced(self: Rc<Self>) -> Rc<PcieBus> {
        Rc::new(PcieBus(Rc::new(PciBusGeneric::new(&self.vm, self.layout))))
    }
}

driver!(GenericPcihost = "generic-pcihost"; contains PciBusGeneric; produces PcieBus);
