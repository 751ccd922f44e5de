//! A machine: where paths begin.
//!
//! `sbsa-ref` is a board after Arm's Server Base System Architecture (docs/system/arm/sbsa
//! in QEMU's documentation). Its PCI bus is behind the same generic host bridge as that of
//! other machines: qgraph's driver for it needs only to be told where the bridge is.

use std::rc::Rc;

use qgraph::Result;
use qgraph::drivers::generic_pcihost::{GenericPcihost, Layout};
use qgraph::graph::{Contains, Machine, Place, Setup};
use qgraph::qemu::{MIB, RamSpec, Vm};

/// QEMU's `sbsa-ref`.
pub struct SbsaRef {
    vm: Rc<Vm>,
}

impl Machine for SbsaRef {
    /// `-machine sbsa-ref -m 128M`, with RAM from 1 TiB on. qgraph adds `-nodefaults`: a
    /// machine has only what it, or a driver, says it has.
    const SETUP: Setup = Setup::bare(RamSpec::new(0x100_0000_0000, 128 * MIB));

    fn boot(place: &Place) -> Result<Self> {
        Ok(Self { vm: place.vm.clone() })
    }
}

/// Where the bridge is (`info mtree` in QEMU's monitor tells).
const LAYOUT: Layout = Layout {
    ecam: 0xf000_0000,
    io: 0x7fff_0000,
    ports: (0x1000, 0xf000),
    memory: (0x8000_0000, 0x7000_0000),
};

/// An edge of the graph: `aarch64/sbsa-ref --contains--> generic-pcihost`.
impl Contains<GenericPcihost> for SbsaRef {
    fn contained(&self) -> Result<GenericPcihost> {
        Ok(GenericPcihost::new(&self.vm, LAYOUT))
    }
}

// A machine's name is the target of its emulator and the machine type.
qgraph::machine!(SbsaRef = "aarch64/sbsa-ref"; contains GenericPcihost);
