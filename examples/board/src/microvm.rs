//! A machine: where paths begin.
//!
//! `microvm` is a small x86 machine for guests that boot fast (docs/system/i386/microvm in
//! QEMU's documentation). It has a PCI bus when it is asked for one, behind the same
//! generic host bridge as other machines: qgraph's driver for that needs only to be told
//! where the bridge is.

use std::rc::Rc;

use qgraph::Result;
use qgraph::drivers::generic_pcihost::{GenericPcihost, Layout};
use qgraph::graph::{Contains, Machine, Place, Setup};
use qgraph::qemu::{MIB, RamSpec, Vm};

/// QEMU's `microvm`, with PCI.
pub struct Microvm {
    vm: Rc<Vm>,
}

impl Machine for Microvm {
    /// `-machine microvm,pcie=on -m 128M`, with RAM from address 0 on. qgraph adds
    /// `-nodefaults`: a machine has only what it, or a driver, says it has.
    const SETUP: Setup = Setup::bare(RamSpec::new(0, 128 * MIB)).properties("pcie=on");

    fn boot(place: &Place) -> Result<Self> {
        Ok(Self { vm: place.vm.clone() })
    }
}

/// Where the bridge is (`info mtree` in QEMU's monitor tells). There is no window to I/O
/// ports: a device that needs a BAR there cannot be attached.
const LAYOUT: Layout =
    Layout { ecam: 0xe000_0000, io: 0, ports: (0, 0), memory: (0xc000_0000, 0x2000_0000) };

/// An edge of the graph: `x86_64/microvm --contains--> generic-pcihost`.
impl Contains<GenericPcihost> for Microvm {
    fn contained(&self) -> Result<GenericPcihost> {
        Ok(GenericPcihost::new(&self.vm, LAYOUT))
    }
}

// A machine's name is the target of its emulator and the machine type.
qgraph::machine!(Microvm = "x86_64/microvm"; contains GenericPcihost);
