//! A machine: where paths begin.
//!
//! `virt` is a made-up board of the Xtensa emulator, for guests that want PCI. Its bus is
//! behind the same generic host bridge as that of other machines: qgraph's driver for that
//! needs only to be told where the bridge is.

use qgraph::Result;
use qgraph::drivers::pci::generic_pcihost::{GenericPcihost, Layout};
use qgraph::graph::{Contains, Setup};
use qgraph::qemu::{MIB, RamSpec};

// A machine's name is the target of its emulator and the machine type. Its command line is
// `-machine virt -m 128M`, with RAM from address 0 on. qgraph adds `-nodefaults`: a machine has
// only what it, or a driver, says it has.
qgraph::machine! {
    /// QEMU's `virt` for Xtensa.
    pub struct XtensaVirt = "xtensa/virt";
    setup Setup::bare(RamSpec::new(0, 128 * MIB));
    contains GenericPcihost
}

/// Where the bridge is (`info mtree` in QEMU's monitor tells).
const LAYOUT: Layout = Layout {
    ecam: 0xf010_0000,
    io: 0xf000_0000,
    ports: (0x1000, 0xf000),
    memory: (0xf400_0000, 0x0800_0000),
    line: None,
};

/// An edge of the graph: `xtensa/virt --contains--> generic-pcihost`.
impl Contains<GenericPcihost> for XtensaVirt {
    fn contained(&self) -> Result<GenericPcihost> {
        Ok(GenericPcihost::new(self.vm(), LAYOUT))
    }
}
